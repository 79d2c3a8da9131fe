//! Blocks: the header that is hashed, the body that it commits to, and what can be checked of both
//! without knowing any other block.
//!
//! [`ReadBlock::read`] takes bytes and checks everything but signatures and chain state;
//! [`ReadBlock::verified`] checks the signatures and gives a [`CheckedBlock`], the only form in which
//! a block reaches the owner. It is one buffer with flat tables, so that a full inbox is not a forest
//! of small allocations, and the buffer is exactly what was received: it is what will be stored and
//! served.
//!
//! Bytes: header 100 | coinbase 82 | count of transfers u16 | transfers.

use sha2::{Digest, Sha256};

use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::difficulty;
use crate::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, Params, RULES_KNOWN};
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::{
    CoinId, Coinbase, Input, Outpoint, SIGNATURE_BYTES, TRANSACTION_BYTES_MIN, Transaction, VERSION, signed_digest,
};
use crate::primitives::codec::{self, CodecError, Decode, Encode, List};
use crate::primitives::hash::Hash;
use crate::primitives::keys::{Claim, Verifier};

/// A header's size in bytes. Within 119, so that hashing it costs three compressions and not four;
/// the nonce lies in the second 64 bytes, so that a miner repeats only two.
pub const HEADER_BYTES: usize = 100;
/// A coinbase's size in bytes.
pub const COINBASE_BYTES: usize = 82;

/// Where the transfers of a block begin: after header, coinbase and count.
pub const TRANSFERS_AT: usize = HEADER_BYTES + COINBASE_BYTES + 2;

/// As many transfers as fit a block: each takes at least 227 bytes.
pub const TRANSFERS_MAX: usize = (BLOCK_BYTES_MAX - TRANSFERS_AT) / TRANSACTION_BYTES_MIN;

/// What is hashed: 100 bytes that commit to everything in the block and before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// The number of the rules in force.
    pub version: u32,
    /// Blocks before it on its chain; genesis has 0.
    pub height: u64,
    /// The parent's id.
    pub prev: Hash,
    /// Of the ids of coinbase and transfers (RFC 6962).
    pub merkle_root: Hash,
    /// Milliseconds since 1970.
    pub time: u64,
    /// Hashes that it takes on average to find one like it.
    pub difficulty: u64,
    /// What a miner varies.
    pub nonce: u64,
}

impl Header {
    /// The block's id: the double SHA-256 of these 100 bytes.
    pub fn id(&self) -> Hash {
        Hash::sha256d(&self.to_bytes())
    }

    /// Checks that its version is the number of the rules in force at its height (RULES 10).
    ///
    /// A number that we do not know is [`Reject::NeedsRules`], whose blame is nobody's: it may be we who
    /// are behind, so such a block is neither judged nor condemned.
    pub fn check_rules(&self, params: &Params) -> Result<(), Reject> {
        let rules = params.rules_at(self.height);
        let newest = rules.max(self.version);
        if newest > RULES_KNOWN {
            return Err(Reject::NeedsRules { rules: newest });
        }
        if self.version != rules {
            return Err(Reject::Version { version: self.version, rules });
        }
        Ok(())
    }

    /// The bytes that are hashed.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        codec::encode_fixed(self)
    }
}

/// A header whose hash meets the difficulty that it states. Whether that is the difficulty due only
/// the chain can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader {
    header: Header,
    id: Hash,
}

impl CheckedHeader {
    /// Checks the work.
    pub fn check(header: Header) -> Result<Self, Reject> {
        let id = header.id();
        if !difficulty::meets(&id, header.difficulty) {
            return Err(Reject::Work { id, difficulty: header.difficulty });
        }
        Ok(Self { header, id })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its id.
    pub fn id(&self) -> Hash {
        self.id
    }
}

/// A block as it is built and looked at; on its way through the node it is a [`CheckedBlock`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// What is hashed.
    pub header: Header,
    /// Exactly one: none, or a second, cannot be said.
    pub coinbase: Coinbase,
    /// In an order in which parents come before children.
    pub transfers: List<Transaction, TRANSFERS_MAX>,
}

impl Block {
    /// The block's id.
    pub fn id(&self) -> Hash {
        self.header.id()
    }

    /// The root that its header must have.
    pub fn merkle_root(&self) -> Hash {
        let ids = std::iter::once(self.coinbase.id()).chain(self.transfers.iter().map(Transaction::id));
        merkle_root(&ids.collect::<Vec<_>>())
    }

    /// The bytes that travel and rest.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// A block that is right in itself, but for its signatures.
#[derive(Debug)]
pub struct ReadBlock {
    block: CheckedBlock,
    claims: Vec<Claim>,
    /// For each transfer, where its claims end: names the culprit.
    claim_ends: Vec<usize>,
}

/// A block that keeps every rule that can be checked without the chain.
///
/// What is left for the owner: that the parent is known, the difficulty due, the time in order, and
/// that the ledger has what is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    bytes: Vec<u8>,
    header: CheckedHeader,
    transactions: Vec<Hash>,
    spent: Vec<CoinId>,
    created: Vec<CoinId>,
}

impl CheckedBlock {
    /// A block from its header, its coinbase and transfers whose signatures were verified before: by the
    /// mempool, or just now. Every other rule is checked as [`ReadBlock::read`] does, the root first.
    pub fn assemble(
        params: &Params,
        header: CheckedHeader,
        coinbase: &Coinbase,
        transfers: &[&CheckedTx],
    ) -> Result<Self, Reject> {
        let size_bytes = TRANSFERS_AT + transfers.iter().map(|transfer| transfer.bytes().len()).sum::<usize>();
        if size_bytes > BLOCK_BYTES_MAX {
            return Err(Reject::BlockTooLarge { size_bytes });
        }
        header.header().check_rules(params)?;
        let ids = transfers.iter().map(|transfer| transfer.id());
        let transactions: Vec<Hash> = std::iter::once(coinbase.id()).chain(ids).collect();
        check_root(header.header(), &transactions)?;
        let mut bytes = Vec::with_capacity(size_bytes);
        bytes.extend_from_slice(&header.header().to_bytes());
        codec::encode_into(coinbase, &mut bytes);
        let count = u16::try_from(transfers.len()).expect("a block of legal size has few enough transfers");
        codec::encode_into(&count, &mut bytes);
        let mut tables = Tables::for_lists(transfers.iter().map(|t| (t.spent().len(), t.created().len())))?;
        for transfer in transfers {
            bytes.extend_from_slice(transfer.bytes());
            let inputs: Vec<Input> = transfer.inputs().collect();
            inputs.iter().try_for_each(|input| input.check_maturity(header.header().height))?;
            let (spent, created) = (transfer.spent().iter().copied(), transfer.created().iter().copied());
            tables.add(transfer.fee(), &inputs, spent, created)?;
        }
        tables.into_block(params, bytes, header, transactions, coinbase)
    }

    /// The block's bytes, as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header.
    pub fn header(&self) -> &Header {
        self.header.header()
    }

    /// The header, as one whose work is checked.
    pub fn checked_header(&self) -> CheckedHeader {
        self.header
    }

    /// The block's id.
    pub fn id(&self) -> Hash {
        self.header.id()
    }

    /// What it takes in memory: its bytes, its flat tables, and what the allocator adds to each.
    pub fn memory_bytes(&self) -> usize {
        let entries = self.transactions.len() + self.spent.len() + self.created.len();
        size_of::<Self>() + self.bytes.len() + entries * size_of::<Hash>() + 4 * 16
    }

    /// Ids of the coinbase and of the transfers, in order.
    pub fn transactions(&self) -> &[Hash] {
        &self.transactions
    }

    /// Coins that the ledger must have and loses. Coins made and spent in this block are in neither list.
    pub fn spent(&self) -> &[CoinId] {
        &self.spent
    }

    /// Coins that the ledger gains.
    pub fn created(&self) -> &[CoinId] {
        &self.created
    }
}

impl ReadBlock {
    /// Decodes a block and checks all that needs neither signatures nor the chain.
    ///
    /// Size comes before decoding, and the merkle root before every rule of the body: a body that
    /// does not belong to its header says nothing about the block (RULES 14).
    pub fn read(params: &Params, bytes: Vec<u8>) -> Result<Self, Reject> {
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(Reject::BlockTooLarge { size_bytes: bytes.len() });
        }
        let (header, body) = codec::decode_prefix::<Header>(&bytes)?;
        let header = CheckedHeader::check(header)?;
        // Under rules that we do not know even the body's form may be another.
        header.header().check_rules(params)?;
        let (coinbase, mut rest) = codec::decode_prefix::<Coinbase>(body)?;
        let mut transactions = vec![Hash::sha256d(&body[..body.len() - rest.len()])];
        let count = read_count(&mut rest)?;
        let mut transfers = Vec::with_capacity(count.min(rest.len() / TRANSACTION_BYTES_MIN));
        for _ in 0..count {
            let (transfer, after) = codec::decode_prefix::<Transaction>(rest)?;
            let transfer_bytes = &rest[..rest.len() - after.len()];
            transactions.push(Hash::sha256d(transfer_bytes));
            transfers.push((transfer, transfer_bytes));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(CodecError::Trailing { extra: rest.len() }.into());
        }
        check_root(header.header(), &transactions)?;
        let mut tables = Tables::for_lists(transfers.iter().map(|(t, _)| (t.inputs.len(), t.outputs.len())))?;
        let mut claims = Vec::with_capacity(transfers.iter().map(|(transfer, _)| transfer.inputs.len()).sum());
        let mut claim_ends = Vec::with_capacity(transfers.len());
        for ((transfer, transfer_bytes), id) in transfers.iter().zip(&transactions[1..]) {
            let fee = transfer.check(transfer_bytes.len(), header.header().height)?;
            tables.add(fee, &transfer.inputs, transfer.inputs.iter().map(Input::coin), transfer.coins(*id))?;
            let signed_part = &transfer_bytes[..transfer_bytes.len() - SIGNATURE_BYTES * transfer.inputs.len()];
            claims.extend(transfer.claims_to(signed_digest(params.genesis_id(), signed_part)));
            claim_ends.push(claims.len());
        }
        let block = tables.into_block(params, bytes, header, transactions, &coinbase)?;
        Ok(Self { block, claims, claim_ends })
    }

    /// How many signatures are yet to be verified.
    pub fn signatures(&self) -> usize {
        self.claims.len()
    }

    /// The block without another look at its signatures: for bytes from our own file, which were
    /// verified before they were written.
    pub fn trusted(self) -> CheckedBlock {
        self.block
    }

    /// Verifies the signatures of several blocks together: small blocks share a batch. On a failure it
    /// gives the id of the block that is to blame.
    pub fn verified_all(blocks: Vec<Self>, verifier: &Verifier) -> Result<Vec<CheckedBlock>, (Hash, Reject)> {
        let claims: Vec<Claim> = blocks.iter().flat_map(|read| &read.claims).cloned().collect();
        if verifier.verify(&claims).is_err() {
            let guilty = blocks.into_iter().map(|read| (read.block.id(), read.verified(verifier)));
            let (id, reject) = guilty
                .into_iter()
                .find_map(|(id, verdict)| Some((id, verdict.err()?)))
                .expect("single and batched verification share one verdict, so a bad batch has a bad block");
            return Err((id, reject));
        }
        Ok(blocks.into_iter().map(|read| read.block).collect())
    }

    /// Verifies the signatures.
    pub fn verified(self, verifier: &Verifier) -> Result<CheckedBlock, Reject> {
        match verifier.verify(&self.claims) {
            Ok(()) => Ok(self.block),
            Err(bad) => {
                let transfer = self.claim_ends.partition_point(|&end| end <= bad);
                Err(Reject::BadSignature { transaction: self.block.transactions[1 + transfer] })
            }
        }
    }
}

fn read_count(bytes: &mut &[u8]) -> Result<usize, Reject> {
    let (count, rest) = codec::decode_prefix::<u16>(bytes)?;
    *bytes = rest;
    Ok(usize::from(count))
}

/// What the transfers of a body come to, all together, wherever they were read.
struct Tables {
    fees: u64,
    outpoints: Vec<Outpoint>,
    /// For each transfer, where its coins end in the two lists below.
    ends: Vec<(usize, usize)>,
    spent: Vec<CoinId>,
    created: Vec<CoinId>,
}

impl Tables {
    /// Room for transfers of so many inputs and outputs each, if a block may have that many.
    fn for_lists(lists: impl Iterator<Item = (usize, usize)>) -> Result<Self, Reject> {
        let (transfers, inputs, outputs) =
            lists.fold((0, 0, 0), |sum, (inputs, outputs)| (sum.0 + 1, sum.1 + inputs, sum.2 + outputs));
        if inputs > BLOCK_INPUTS_MAX {
            return Err(Reject::TooManyInputs { inputs });
        }
        if outputs > BLOCK_OUTPUTS_MAX {
            return Err(Reject::TooManyOutputs { outputs });
        }
        Ok(Self {
            fees: 0,
            outpoints: Vec::with_capacity(inputs),
            ends: Vec::with_capacity(transfers),
            spent: Vec::with_capacity(inputs),
            created: Vec::with_capacity(outputs + 1),
        })
    }

    /// Adds the next transfer, which was checked alone.
    fn add<'a>(
        &mut self,
        fee: u64,
        inputs: impl IntoIterator<Item = &'a Input>,
        spent: impl Iterator<Item = CoinId>,
        created: impl Iterator<Item = CoinId>,
    ) -> Result<(), Reject> {
        self.fees = self.fees.checked_add(fee).ok_or(Reject::SumOverflows)?;
        self.outpoints.extend(inputs.into_iter().map(|input| input.outpoint));
        self.spent.extend(spent);
        self.created.extend(created);
        self.ends.push((self.spent.len(), self.created.len()));
        Ok(())
    }

    /// Checks what takes all transfers together, then the coinbase.
    fn into_block(
        mut self,
        params: &Params,
        bytes: Vec<u8>,
        header: CheckedHeader,
        transactions: Vec<Hash>,
        coinbase: &Coinbase,
    ) -> Result<CheckedBlock, Reject> {
        self.outpoints.sort_unstable();
        if let Some(pair) = self.outpoints.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Reject::DuplicateInput { outpoint: pair[0] });
        }
        // Two of a family are rare, and to look for what cancels takes a table of every coin.
        let spent_from = |id: &Hash| self.outpoints.binary_search_by_key(id, |outpoint| outpoint.transaction).is_ok();
        if transactions[1..].iter().any(spent_from) {
            self.cancel_within();
        }
        self.created.push(coinbase_coin(params, header.header().height, coinbase, transactions[0], self.fees)?);
        Ok(CheckedBlock { bytes, header, transactions, spent: self.spent, created: self.created })
    }

    /// Takes coins that are made and then spent in this very block out of both lists.
    ///
    /// A coin spent *before* it is made stays in `spent`, where the ledger will miss it: parents come
    /// before children.
    fn cancel_within(&mut self) {
        let mut made: std::collections::HashMap<CoinId, (usize, usize)> = std::collections::HashMap::new();
        let mut place = 0;
        for (owner, &(_, created_end)) in self.ends.iter().enumerate() {
            while place < created_end {
                made.insert(self.created[place], (owner, place));
                place += 1;
            }
        }
        let mut gone_created = vec![false; self.created.len()];
        let mut spent = Vec::with_capacity(self.spent.len());
        let mut place = 0;
        for (owner, &(spent_end, _)) in self.ends.iter().enumerate() {
            while place < spent_end {
                match made.get(&self.spent[place]) {
                    Some(&(parent, coin)) if parent < owner => gone_created[coin] = true,
                    _ => spent.push(self.spent[place]),
                }
                place += 1;
            }
        }
        self.spent = spent;
        let mut gone = gone_created.iter();
        self.created.retain(|_| !gone.next().copied().unwrap_or(false));
    }
}

/// Checks the coinbase against height, reward and fees; gives its coin.
fn coinbase_coin(params: &Params, height: u64, coinbase: &Coinbase, id: Hash, fees: u64) -> Result<CoinId, Reject> {
    if coinbase.version != VERSION {
        return Err(Reject::TransactionVersion { version: coinbase.version });
    }
    if coinbase.height != height {
        return Err(Reject::CoinbaseHeight { coinbase: coinbase.height, header: height });
    }
    let due = params.reward(height).checked_add(fees).ok_or(Reject::SumOverflows)?;
    let found = coinbase.output.amount;
    if found != due {
        return Err(Reject::CoinbaseAmount { found, due });
    }
    let outpoint = Outpoint { transaction: id, index: 0 };
    let matures_at = height.saturating_add(params.spec().maturity);
    Ok(CoinId::new(&outpoint, found, &coinbase.output.key, matures_at))
}

/// Whether these ids are the ones that the header commits to.
fn check_root(header: &Header, transactions: &[Hash]) -> Result<(), Reject> {
    let found = merkle_root(transactions);
    if found != header.merkle_root {
        return Err(Reject::MerkleRoot { found, header: header.merkle_root });
    }
    Ok(())
}

/// The Merkle tree hash of RFC 6962 over ids: leaves and nodes are hashed under different prefixes
/// and a list is split at the largest power of two below its length, so no two lists share a root.
pub fn merkle_root(ids: &[Hash]) -> Hash {
    match ids {
        [] => Hash(Sha256::digest([]).into()),
        [leaf] => Hash(Sha256::new().chain_update([0]).chain_update(leaf.0).finalize().into()),
        _ => {
            let (left, right) = ids.split_at(ids.len().next_power_of_two() / 2);
            let (left, right) = (merkle_root(left), merkle_root(right));
            Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
        }
    }
}

const _: () = assert!(TRANSFERS_MAX <= u16::MAX as usize, "transfers are counted by a u16");
