//! Blocks and transactions as clients see them, under monerod's names where those mean the same.
//!
//! Amounts are whole units, sizes bytes, times seconds since 1970; what is finer has `_ms` in its name. A number that
//! may outgrow 64 bits comes as monerod has it: its lower half, its upper half, and `wide_…` in hex. A block's blob is
//! its header, its coinbase and the ids of its transfers, as monerod's is; the transfers themselves come by
//! `get_transactions`, or with the block's own bytes from `/blocks.bin`.

use serde::{Serialize, Serializer};

use crate::blockchain::block::{Block, Header};
use crate::blockchain::storage::BlockMeta;
use crate::blockchain::transaction::{Coinbase, Input, NOTE_BYTES, Output, Transaction};
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::rpc::chain::Front;

/// `"0x1f"`.
pub(super) struct Hex(pub(super) u128);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Bytes in hex.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

/// The lower and the upper half.
pub(super) fn halves(wide: u128) -> (u64, u64) {
    let bytes = wide.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of 16 bytes"));
    (half(low), half(high))
}

/// A block's header, with what follows from its place and its coinbase.
#[derive(Serialize)]
pub(super) struct BlockHeader {
    block_size: u32,
    block_weight: u32,
    cumulative_difficulty: u64,
    cumulative_difficulty_top64: u64,
    depth: u64,
    difficulty: u64,
    difficulty_top64: u64,
    hash: Hash,
    height: u64,
    major_version: u32,
    merkle_root: Hash,
    miner_tx_hash: Hash,
    minor_version: u8,
    nonce: u64,
    num_txes: u16,
    orphan_status: bool,
    /// A block's id is the hash that its work shows.
    pow_hash: Hash,
    prev_hash: Hash,
    reward: u64,
    timestamp: u64,
    timestamp_ms: u64,
    wide_cumulative_difficulty: Hex,
    wide_difficulty: Hex,
}

impl BlockHeader {
    /// `tip_height`: of the last durable block. `is_active`: it is on the active chain.
    pub(super) fn new(meta: &BlockMeta, front: Front, tip_height: u64, is_active: bool) -> Self {
        let Header { version, height, prev, merkle_root, time, difficulty, nonce } = meta.header;
        let (cumulative_difficulty, cumulative_difficulty_top64) = halves(meta.work);
        // Genesis is all header; what the index has for it is of the file's own frame.
        let size_bytes = if front.coinbase.is_some() { meta.size_bytes } else { 100 };
        Self {
            block_size: size_bytes,
            block_weight: size_bytes,
            cumulative_difficulty,
            cumulative_difficulty_top64,
            depth: tip_height.saturating_sub(height),
            difficulty,
            difficulty_top64: 0,
            hash: meta.id,
            height,
            major_version: version,
            merkle_root,
            miner_tx_hash: front.coinbase.map_or(Hash::ZERO, |coinbase| coinbase.id()),
            minor_version: 0,
            nonce,
            num_txes: front.transfers,
            orphan_status: !is_active,
            pow_hash: meta.id,
            prev_hash: prev,
            reward: front.coinbase.map_or(0, |coinbase| coinbase.output.amount),
            timestamp: time / 1_000,
            timestamp_ms: time,
            wide_cumulative_difficulty: Hex(meta.work),
            wide_difficulty: Hex(difficulty.into()),
        }
    }

    pub(super) fn miner_tx_hash(&self) -> Hash {
        self.miner_tx_hash
    }
}

/// What stands in the `json` of a block.
#[derive(Serialize)]
pub(super) struct BlockJson<'a> {
    major_version: u32,
    minor_version: u8,
    timestamp: u64,
    prev_id: Hash,
    nonce: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    miner_tx: Option<TxJson<'a>>,
    tx_hashes: &'a [Hash],
}

impl<'a> BlockJson<'a> {
    pub(super) fn new(header: &Header, front: &'a Front, maturity: u64, tx_hashes: &'a [Hash]) -> Self {
        Self {
            major_version: header.version,
            minor_version: 0,
            timestamp: header.time / 1_000,
            prev_id: header.prev,
            nonce: header.nonce,
            miner_tx: front.coinbase.as_ref().map(|coinbase| TxJson::of_coinbase(coinbase, maturity)),
            tx_hashes,
        }
    }
}

/// The short form of a block: header, coinbase, count, ids of its transfers.
pub(super) fn block_blob(header: &Header, front: &Front, transfers: &[Hash]) -> Vec<u8> {
    let mut blob = header.to_bytes().to_vec();
    if let Some(coinbase) = &front.coinbase {
        crate::primitives::codec::encode_into(coinbase, &mut blob);
        blob.extend_from_slice(&front.transfers.to_le_bytes());
    }
    for id in transfers {
        blob.extend_from_slice(&id.0);
    }
    blob
}

/// The ids of a block's transfers, in order.
pub(super) fn transfer_ids(block: &Block) -> Vec<Hash> {
    block.transfers.iter().map(Transaction::id).collect()
}

/// A transaction or a coinbase in the form of monerod's version 1, whose amounts are public too.
#[derive(Serialize)]
pub(super) struct TxJson<'a> {
    version: u8,
    unlock_time: u64,
    vin: Vec<VinJson<'a>>,
    vout: Vec<VoutJson>,
    extra: Vec<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<Bytes<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum VinJson<'a> {
    Gen { height: u64 },
    Key(KeyJson<'a>),
}

/// A coin that is spent: all that an input claims of it.
#[derive(Serialize)]
struct KeyJson<'a> {
    amount: u64,
    key: Bytes<'a>,
    transaction: Hash,
    index: u32,
    matures_at: u64,
}

#[derive(Serialize)]
struct VoutJson {
    amount: u64,
    target: TargetJson,
}

#[derive(Serialize)]
struct TargetJson {
    tagged_key: TaggedKey,
}

#[derive(Serialize)]
struct TaggedKey {
    key: String,
    view_tag: String,
}

impl From<&Output> for VoutJson {
    fn from(output: &Output) -> Self {
        let tagged_key = TaggedKey { key: output.key.to_string(), view_tag: hex::encode([output.view_tag]) };
        Self { amount: output.amount, target: TargetJson { tagged_key } }
    }
}

impl<'a> From<&'a Input> for VinJson<'a> {
    fn from(input: &'a Input) -> Self {
        let Input { outpoint, amount, key, matures_at } = input;
        let (transaction, index) = (outpoint.transaction, outpoint.index);
        Self::Key(KeyJson { amount: *amount, key: Bytes(&key.0), transaction, index, matures_at: *matures_at })
    }
}

impl<'a> TxJson<'a> {
    /// `size_bytes`, `bytes`: the transaction's own; its signatures are its end. Without them if `is_pruned`.
    pub(super) fn of_transfer(transfer: &'a Transaction, bytes: &'a [u8], is_pruned: bool) -> Self {
        let signatures = &bytes[bytes.len() - 64 * transfer.inputs.len()..];
        let signatures = if is_pruned { &[] } else { signatures };
        Self {
            version: transfer.version,
            unlock_time: 0,
            vin: transfer.inputs.iter().map(VinJson::from).collect(),
            vout: transfer.outputs.iter().map(VoutJson::from).collect(),
            extra: extra(&transfer.tx_key, transfer.note.as_ref()),
            signatures: signatures.chunks_exact(64).map(Bytes).collect(),
        }
    }

    /// `maturity`: blocks that it waits.
    pub(super) fn of_coinbase(coinbase: &Coinbase, maturity: u64) -> Self {
        Self {
            version: coinbase.version,
            unlock_time: coinbase.height.saturating_add(maturity),
            vin: vec![VinJson::Gen { height: coinbase.height }],
            vout: vec![VoutJson::from(&coinbase.output)],
            extra: extra(&coinbase.tx_key, None),
            signatures: Vec::new(),
        }
    }
}

/// The transaction's key and note behind monerod's tags for them: 1 and 32 bytes, 2 with a length and a nonce.
fn extra(tx_key: &Key, note: Option<&[u8; NOTE_BYTES]>) -> Vec<u8> {
    let mut extra = Vec::with_capacity(1 + 32 + 2 + NOTE_BYTES);
    extra.push(1);
    extra.extend_from_slice(&tx_key.0);
    if let Some(note) = note {
        extra.extend([2, u8::try_from(NOTE_BYTES).expect("a small constant")]);
        extra.extend_from_slice(note);
    }
    extra
}
