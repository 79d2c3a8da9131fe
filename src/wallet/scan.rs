//! Looking for our coins in blocks and transactions, with the view keys alone.
//!
//! One multiplication on the curve for each transaction, which is nearly all that it costs; then a hash
//! for each output, whose first byte passes over 255 of 256 that are not ours; then, for the rest, the
//! one-time key in full. Blocks are looked at in parallel on a pool that the caller brings.
//!
//! Whoever serves the blocks is not believed: that each is worth its stated work, that its body belongs to
//! its header, and (in `state.rs`) that it follows the last one. Signatures and the rules are the node's
//! business; a wallet that wants them checked asks a node that it trusts.

use rayon::prelude::*;

use crate::blockchain::block::{Block, CheckedHeader, merkle_root};
use crate::blockchain::params::{BLOCK_BYTES_MAX, Params};
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::{Coinbase, Input, Outpoint, Output, Transaction};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::primitives::stealth::Shared;
use crate::wallet::keys::{Coin, ViewKeys};
use crate::wallet::note;

/// What a wallet sees of a transaction or coinbase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: Hash,
    /// Whether it is a coinbase.
    pub coinbase: bool,
    /// What it spends; whether that is ours only the wallet's state can tell.
    pub inputs: Vec<Outpoint>,
    /// The coins that it makes for us.
    pub received: Vec<Coin>,
    /// What its sender paid to have it mined, in units.
    pub fee: u64,
    /// The note, if we are who can read it.
    pub note: Option<String>,
}

/// What a wallet sees of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBlock {
    /// Its height.
    pub height: u64,
    /// Its id.
    pub id: Hash,
    /// The parent's id.
    pub prev: Hash,
    /// Milliseconds since 1970.
    pub time: u64,
    /// The coinbase and then the transfers, in order.
    pub transactions: Vec<Seen>,
}

/// A block whose body belongs to its header, which is worth the work that it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its header.
    pub header: CheckedHeader,
    /// The ids of coinbase and transfers.
    pub ids: Vec<Hash>,
    /// Where its coins come from.
    pub coinbase: Coinbase,
    /// Who paid whom.
    pub transfers: Vec<Transaction>,
}

/// Opens a block's bytes; what is wrong with them is the fault of whoever served them.
pub fn open(bytes: &[u8]) -> Result<Opened, Reject> {
    if bytes.len() > BLOCK_BYTES_MAX {
        return Err(Reject::BlockTooLarge { size_bytes: bytes.len() });
    }
    let Block { header, coinbase, transfers } = codec::decode(bytes)?;
    let ids: Vec<Hash> = std::iter::once(coinbase.id()).chain(transfers.iter().map(Transaction::id)).collect();
    let found = merkle_root(&ids);
    if found != header.merkle_root {
        return Err(Reject::MerkleRoot { found, header: header.merkle_root });
    }
    if coinbase.height != header.height {
        return Err(Reject::CoinbaseHeight { coinbase: coinbase.height, header: header.height });
    }
    Ok(Opened { header: CheckedHeader::check(header)?, ids, coinbase, transfers: transfers.into_vec() })
}

/// Looks at a block's bytes.
pub fn block(keys: &ViewKeys, params: &Params, bytes: &[u8]) -> Result<SeenBlock, Reject> {
    let Opened { header, ids, coinbase, transfers } = open(bytes)?;
    let tx_keys: Vec<Key> = transfers.iter().map(|transfer| transfer.tx_key).collect();
    let secrets = keys.shared_all(&tx_keys);
    let mut transactions = vec![self::coinbase(keys, params, ids[0], &coinbase)];
    let known = ids[1..].iter().zip(&transfers).zip(secrets);
    transactions.extend(known.map(|((id, transfer), shared)| seen(keys, *id, transfer, shared.as_ref())));
    let (id, header) = (header.id(), header.header());
    Ok(SeenBlock { height: header.height, id, prev: header.prev, time: header.time, transactions })
}

/// Looks at many blocks, each on one thread of the pool; without a pool, on this thread.
pub fn blocks<B: AsRef<[u8]> + Sync>(
    keys: &ViewKeys,
    params: &Params,
    blocks: &[B],
    pool: Option<&rayon::ThreadPool>,
) -> Result<Vec<SeenBlock>, Reject> {
    let look = |bytes: &B| block(keys, params, bytes.as_ref());
    match pool {
        Some(pool) => pool.install(|| blocks.par_iter().map(look).collect()),
        None => blocks.iter().map(look).collect(),
    }
}

/// Looks at one transaction that is in no block yet.
pub fn transaction(keys: &ViewKeys, transfer: &Transaction) -> Seen {
    seen(keys, transfer.id(), transfer, keys.shared(&transfer.tx_key).as_ref())
}

/// Looks at many of those, on all threads of the pool; without a pool, on this thread.
pub fn transactions(keys: &ViewKeys, transfers: &[Transaction], pool: Option<&rayon::ThreadPool>) -> Vec<Seen> {
    let look = |transfer| transaction(keys, transfer);
    match pool {
        Some(pool) => pool.install(|| transfers.par_iter().map(look).collect()),
        None => transfers.iter().map(look).collect(),
    }
}

fn coinbase(keys: &ViewKeys, params: &Params, id: Hash, coinbase: &Coinbase) -> Seen {
    let Coinbase { height, output, tx_key, .. } = *coinbase;
    let ours = if tx_key == Key::default() {
        // A plain key; the only plain key of ours is the spend key.
        output.key == keys.spend_key()
    } else {
        keys.shared(&tx_key).is_some_and(|shared| is_ours(keys, &shared, 0, &output))
    };
    let matures_at = height.saturating_add(params.spec().maturity);
    let received = ours.then(|| coin(id, 0, &output, matures_at, tx_key)).into_iter().collect();
    Seen { id, coinbase: true, inputs: Vec::new(), received, fee: 0, note: None }
}

fn seen(keys: &ViewKeys, id: Hash, transfer: &Transaction, shared: Option<&Shared>) -> Seen {
    let mut received = Vec::new();
    let mut note = None;
    if let Some(shared) = shared {
        let outputs = (0..).zip(&transfer.outputs).filter(|(index, output)| is_ours(keys, shared, *index, output));
        received.extend(outputs.map(|(index, output)| coin(id, index, output, 0, transfer.tx_key)));
        if !received.is_empty() {
            note = transfer.note.and_then(|note| note::open(shared, &transfer.tx_key, &note));
        }
    }
    let spent = transfer.inputs.iter().fold(0_u64, |sum, input| sum.saturating_add(input.amount));
    let made = transfer.outputs.iter().fold(0_u64, |sum, output| sum.saturating_add(output.amount));
    let inputs = transfer.inputs.iter().map(|input| input.outpoint).collect();
    Seen { id, coinbase: false, inputs, received, fee: spent.saturating_sub(made), note }
}

/// The tag first: it is a hash, and the key is a point.
fn is_ours(keys: &ViewKeys, shared: &Shared, index: u32, output: &Output) -> bool {
    output.view_tag == shared.view_tag(index) && output.key == shared.key(index, keys.spend_point())
}

fn coin(transaction: Hash, index: u32, output: &Output, matures_at: u64, tx_key: Key) -> Coin {
    let outpoint = Outpoint { transaction, index };
    Coin { input: Input { outpoint, amount: output.amount, key: output.key, matures_at }, tx_key }
}
