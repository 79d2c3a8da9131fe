//! What the tests build with: keys by number, coins, signed transactions, blocks that keep every rule.
//!
//! A test of a rule starts from something valid made here and breaks one thing. Nothing here is
//! random and nothing reads a clock.

#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

pub(crate) mod between;
pub(crate) mod chains;
pub(crate) mod hostile;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod supply;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use spindle::blockchain::block::{Block, CheckedBlock, Header, ReadBlock, merkle_root};
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::{Coinbase, Input, Outpoint, Output, Transaction, VERSION};
use spindle::blockchain::{difficulty, transaction};
use spindle::primitives::codec::{List, encode};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, SecretKey, Verifier};

/// The height of blocks whose height does not matter.
pub(crate) const HEIGHT: u64 = 20;

/// A secret key by its number.
pub(crate) fn secret(number: u64) -> SecretKey {
    SecretKey::from_seed(&Hash::sha256d(&number.to_le_bytes()).0)
}

/// The number of a key that [`secret`] gives to a node or [`outputs`] to a coin.
pub(crate) fn owner_of(key: &Key) -> Option<u64> {
    static OWNERS: OnceLock<BTreeMap<[u8; 32], u64>> = OnceLock::new();
    let numbers = (0..20).chain(1_000..1_010);
    let owners = OWNERS.get_or_init(|| numbers.map(|number| (secret(number).public().0, number)).collect());
    owners.get(&key.0).copied()
}

/// A coin and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coin {
    pub(crate) input: Input,
    pub(crate) owner: u64,
}

/// A coin by its number, owned by the key of that number.
pub(crate) fn coin(number: u64, amount: u64) -> Coin {
    coin_of(number, number, amount)
}

/// A coin by its number, owned by another number's key.
pub(crate) fn coin_of(owner: u64, number: u64, amount: u64) -> Coin {
    let outpoint = Outpoint { transaction: Hash::sha256d(format!("coin {number}").as_bytes()), index: 0 };
    Coin { input: Input { outpoint, amount, key: secret(owner).public(), matures_at: 0 }, owner }
}

/// The coin that a transaction makes at a place, when its outputs were made by [`outputs`] or [`pay`].
pub(crate) fn coin_from(transfer: &Transaction, place: usize) -> Coin {
    let output = transfer.outputs[place];
    let index = u32::try_from(place).expect("an output list is counted by a u16");
    let outpoint = Outpoint { transaction: transfer.id(), index };
    Coin {
        input: Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 },
        owner: 1_000 + place as u64,
    }
}

/// Outputs of these amounts; the one at place `n` belongs to key `1_000 + n`.
pub(crate) fn outputs(amounts: &[u64]) -> Vec<Output> {
    let key = |owner| if owner < 1_010 { secret(owner).public() } else { Key([9; 32]) };
    (1_000..).zip(amounts).map(|(owner, &amount)| Output { amount, key: key(owner), view_tag: 7 }).collect()
}

/// A transaction that nobody has signed.
pub(crate) fn unsigned(coins: &[Coin], made: Vec<Output>, note: bool) -> Transaction {
    let inputs: Vec<Input> = coins.iter().map(|coin| coin.input).collect();
    let inputs = List::try_from(inputs).expect("within the limit of inputs");
    let made = List::try_from(made).expect("within the limit of outputs");
    Transaction::unsigned(inputs, made, Key([5; 32]), note.then_some([6; transaction::NOTE_BYTES]))
}

/// Signs with the owners' keys for a network.
pub(crate) fn sign(network: Hash, coins: &[Coin], transfer: Transaction) -> Transaction {
    transfer.signed(network, |place, message| secret(coins[place].owner).sign(message))
}

/// A signed transaction that spends these coins into outputs of these amounts.
pub(crate) fn pay(params: &Params, coins: &[Coin], amounts: &[u64]) -> Transaction {
    sign(params.genesis_id(), coins, unsigned(coins, outputs(amounts), false))
}

/// What a transaction leaves to the miner, if it can be said.
pub(crate) fn fee(transfer: &Transaction) -> u64 {
    let spent: u128 = transfer.inputs.iter().map(|input| u128::from(input.amount)).sum();
    let made: u128 = transfer.outputs.iter().map(|output| u128::from(output.amount)).sum();
    u64::try_from(spent.saturating_sub(made)).unwrap_or(0)
}

/// A valid block at a height, on a parent that is nowhere.
pub(crate) fn block_at(params: &Params, height: u64, transfers: Vec<Transaction>) -> Block {
    let fees = transfers.iter().map(fee).fold(0, u64::saturating_add);
    let output = Output { amount: params.reward(height).saturating_add(fees), key: secret(0).public(), view_tag: 0 };
    let header = Header {
        version: 1,
        height,
        prev: Hash::sha256d(b"parent"),
        merkle_root: Hash::ZERO,
        time: 1_700_000_000_000 + height * 10_000,
        difficulty: params.spec().difficulty_first,
        nonce: 0,
    };
    let coinbase = Coinbase { version: VERSION, height, output, tx_key: Key([0; 32]) };
    let transfers = List::try_from(transfers).expect("within the limit of transfers");
    sealed(Block { header, coinbase, transfers })
}

/// A valid block at [`HEIGHT`].
pub(crate) fn block(params: &Params, transfers: Vec<Transaction>) -> Block {
    block_at(params, HEIGHT, transfers)
}

/// The block with its merkle root and its work set right again.
pub(crate) fn sealed(mut block: Block) -> Block {
    block.header.merkle_root = block.merkle_root();
    block.header = mined(block.header);
    block
}

/// The header with the first nonce that meets its difficulty.
pub(crate) fn mined(mut header: Header) -> Header {
    assert!(header.difficulty <= 1 << 22, "a test must not mine for minutes");
    while header.difficulty > 0 && !difficulty::meets(&header.id(), header.difficulty) {
        header.nonce += 1;
    }
    header
}

/// The bytes of a block of these transactions, whatever they are, under a header that commits to them.
pub(crate) fn raw_block(like: &Block, transfers: &[Vec<u8>]) -> Vec<u8> {
    let ids = transfers.iter().map(|bytes| Hash::sha256d(bytes));
    let ids: Vec<Hash> = std::iter::once(like.coinbase.id()).chain(ids).collect();
    let header = mined(Header { merkle_root: merkle_root(&ids), ..like.header });
    let count = u16::try_from(transfers.len()).expect("few");
    let parts = [header.to_bytes().to_vec(), encode(&like.coinbase), count.to_le_bytes().to_vec()];
    parts.concat().into_iter().chain(transfers.concat()).collect()
}

/// A verifier with a known secret, on this thread alone.
pub(crate) fn verifier() -> Verifier {
    Verifier::new([3; 32], None)
}

/// What a peer's thread says of a block's bytes.
pub(crate) fn check_bytes(params: &Params, bytes: Vec<u8>) -> Result<CheckedBlock, Reject> {
    ReadBlock::read(params, bytes)?.verified(&verifier())
}

/// What a peer's thread says of a block.
pub(crate) fn check(params: &Params, block: &Block) -> Result<CheckedBlock, Reject> {
    check_bytes(params, block.to_bytes())
}

/// A ledger that has these coins.
pub(crate) fn ledger_with(coins: &[Coin]) -> Ledger {
    let mut ledger = Ledger::default();
    let ids: Vec<_> = coins.iter().map(|coin| coin.input.coin()).collect();
    ledger.apply(&[], &ids).expect("coins of different numbers");
    ledger
}

/// What becomes of a block where these coins are unspent: the peer's thread first, then the ledger.
pub(crate) fn judge(params: &Params, coins: &[Coin], block: &Block) -> Result<Ledger, Reject> {
    let checked = check(params, block)?;
    let mut ledger = ledger_with(coins);
    ledger.apply(checked.spent(), checked.created())?;
    Ok(ledger)
}

/// `regtest` with something changed.
pub(crate) fn regtest_with(change: impl FnOnce(&mut NetworkSpec)) -> Params {
    let mut spec = Params::regtest().spec().clone();
    change(&mut spec);
    Params::new(spec).expect("a sound spec")
}
