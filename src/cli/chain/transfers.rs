//! Transfers by the thousand for `spindle chain generate`: one owner's coins, split in two again and again.
//!
//! Each has one input and two outputs and pays the least fee that nodes relay. The oldest coin goes first,
//! so a single mature coinbase is enough to begin with: the first block of transfers is a tree on it, and
//! as soon as there are more coins than a block has transfers, each block spends coins of earlier ones.
//!
//! Every output has a key of its own, as payments to addresses have. Were they all the miner's, a batch of
//! signatures would be cheaper to verify, and every figure taken from such a chain would flatter.
//!
//! Left out: coins of earlier runs, since whose they are would have to be looked for in the whole chain.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::blockchain::block::TRANSFERS_AT;
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::mempool::{DUST_UNITS, FEE_RATE_MIN};
use crate::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, Params};
use crate::blockchain::transaction::{Coinbase, Input, Outpoint, Output, TRANSACTION_BYTES_MIN, Transaction};
use crate::primitives::codec::{self, List};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::keys::{Key, SecretKey};

/// A transfer's size: the least that there is, and one more output.
const TRANSFER_BYTES: usize = TRANSACTION_BYTES_MIN + 41;
/// What it pays.
const FEE: u64 = (TRANSFER_BYTES as u64 * FEE_RATE_MIN).div_ceil(1_000);
/// A coin of less gives no two outputs that nodes relay.
const WORTH_MIN: u64 = 2 * DUST_UNITS + FEE;

/// Transfers that fit a block.
pub const PER_BLOCK: usize =
    least([(BLOCK_BYTES_MAX - TRANSFERS_AT) / TRANSFER_BYTES, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX / 2]);

const fn least([a, b, c]: [usize; 3]) -> usize {
    let ab = if a < b { a } else { b };
    if ab < c { ab } else { c }
}

/// A coin that is ours.
#[derive(Clone, Copy, Debug)]
struct Coin {
    outpoint: Outpoint,
    amount: u64,
    matures_at: u64,
    /// Which of our keys has it: 0 is the miner's own.
    key: u64,
}

/// Who makes them.
pub struct Payer {
    params: Arc<Params>,
    pool: Option<ThreadPool>,
    secret: Zeroizing<[u8; 32]>,
    /// Sets this run's keys apart from those of another on the same chain.
    begin: Hash,
    /// Keys given out, the miner's among them.
    keys: u64,
    /// What can be spent now, the oldest first.
    coins: VecDeque<Coin>,
    /// Coinbases that wait to be.
    immature: VecDeque<Coin>,
}

impl Payer {
    /// The owner of a miner's secret key, on a chain whose tip is `begin`; signs on the pool if there is one.
    pub fn new(params: Arc<Params>, pool: Option<ThreadPool>, secret: Zeroizing<[u8; 32]>, begin: Hash) -> Self {
        Self { params, pool, secret, begin, keys: 1, coins: VecDeque::new(), immature: VecDeque::new() }
    }

    /// A block of ours has this coinbase, which pays the miner's key.
    pub fn mined(&mut self, coinbase: &Coinbase) {
        let outpoint = Outpoint { transaction: coinbase.id(), index: 0 };
        let matures_at = coinbase.height + self.params.spec().maturity;
        self.immature.push_back(Coin { outpoint, amount: coinbase.output.amount, matures_at, key: 0 });
    }

    /// The next transfers, parents before children, for a block at `height`; fewer than `count` if the coins
    /// do not give that many.
    pub fn transfers(&mut self, height: u64, count: usize) -> Vec<CheckedTx> {
        while let Some(coin) = self.immature.pop_front_if(|coin| coin.matures_at <= height) {
            self.keep(coin);
        }
        let mut made = Vec::with_capacity(count);
        while made.len() < count && !self.coins.is_empty() {
            // What these make can be spent only when they are signed, for an id covers the signatures.
            let wave = self.coins.len().min(count - made.len());
            let wave: Vec<(Coin, u64)> = self.coins.drain(..wave).zip((self.keys..).step_by(2)).collect();
            self.keys += 2 * wave.len() as u64;
            let split = |&(coin, key): &(Coin, u64)| self.split(coin, key);
            let pairs: Vec<(CheckedTx, [Coin; 2])> = match &self.pool {
                Some(pool) => pool.install(|| wave.par_iter().map(split).collect()),
                None => wave.iter().map(split).collect(),
            };
            for (transfer, coins) in pairs {
                made.push(transfer);
                for coin in coins {
                    self.keep(coin);
                }
            }
        }
        made
    }

    fn keep(&mut self, coin: Coin) {
        if coin.amount >= WORTH_MIN {
            self.coins.push_back(coin);
        }
    }

    /// Spends a coin on two, which get the keys `first` and `first + 1`.
    fn split(&self, coin: Coin, first: u64) -> (CheckedTx, [Coin; 2]) {
        let owner = self.key(coin.key);
        let rest = coin.amount - FEE;
        let halves = [(rest.div_ceil(2), first), (rest / 2, first + 1)];
        let input =
            Input { outpoint: coin.outpoint, amount: coin.amount, key: owner.public(), matures_at: coin.matures_at };
        let outputs = halves.map(|(amount, key)| Output { amount, key: self.key(key).public(), view_tag: 0 });
        let (inputs, outputs) = (List::first_of(vec![input]), List::first_of(outputs.to_vec()));
        // No address is paid, so there is no sender's half of a secret.
        let unsigned = Transaction::unsigned(inputs, outputs, Key::default(), None);
        let signed = unsigned.signed(self.params.genesis_id(), |_, message| owner.sign(message));
        let read = ReadTx::read(&self.params, &codec::encode(&signed)).expect("it is made to the rules");
        let transaction = read.id();
        let coins = [0, 1].map(|index| {
            let (amount, key) = halves[index];
            let index = u32::try_from(index).expect("0 or 1");
            Coin { outpoint: Outpoint { transaction, index }, amount, matures_at: 0, key }
        });
        // It was signed a moment ago, by the key that its input names.
        (read.trusted(), coins)
    }

    fn key(&self, number: u64) -> SecretKey {
        if number == 0 {
            return SecretKey::from_seed(&self.secret);
        }
        let parts: [&[u8]; 3] = [&*self.secret, &self.begin.0, &number.to_le_bytes()];
        SecretKey::from_seed(&Zeroizing::new(tagged("spindle/generate/1", &parts).0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::blockchain::mempool::FeeRate;
    use crate::blockchain::payout::Payout;
    use crate::primitives::keys::Verifier;

    const SECRET: [u8; 32] = [7; 32];

    /// A payer with one coin of so many units that matures at height 11.
    fn payer(amount: u64) -> Payer {
        let mut payer = Payer::new(Arc::new(Params::regtest()), None, SECRET.into(), Hash::ZERO);
        let key = SecretKey::from_seed(&SECRET).public();
        payer.mined(&Payout::Key(key).coinbase(1, Hash::ZERO, amount));
        payer
    }

    /// Goal: one coin gives a whole block of transfers that fit it, hold, would be relayed, and share no key.
    /// Method: all of them read and verified as a stranger's.
    #[test]
    fn one_coin_fills_a_block() {
        let mut payer = payer(2_000_000_000);
        assert!(payer.transfers(10, PER_BLOCK).is_empty(), "a coinbase has to mature");
        let made = payer.transfers(11, PER_BLOCK);
        assert_eq!(made.len(), PER_BLOCK);
        let size_bytes: usize = made.iter().map(|transfer| transfer.bytes().len()).sum();
        let room = BLOCK_BYTES_MAX - TRANSFERS_AT - size_bytes;
        assert!(room < TRANSFER_BYTES, "one more would not fit into {room} bytes");
        let reads = made.iter().map(|t| ReadTx::read(&Params::regtest(), t.bytes()).expect("to the rules")).collect();
        let verdicts = ReadTx::verified_all(reads, &Verifier::new([1; 32], None));
        assert!(verdicts.iter().all(Result::is_ok));
        let (mut keys, mut coins) = (BTreeSet::new(), BTreeSet::new());
        for transfer in &made {
            assert!(FeeRate::new(transfer.fee(), TRANSFER_BYTES) >= FeeRate::per_1000(FEE_RATE_MIN));
            assert!(transfer.least_output() >= DUST_UNITS);
            let transaction = transfer.to_transaction();
            assert_eq!((transaction.inputs.len(), transaction.outputs.len()), (1, 2));
            keys.extend(transaction.outputs.iter().map(|output| output.key));
            coins.extend(transfer.spent().iter().copied());
        }
        assert_eq!((keys.len(), coins.len()), (2 * PER_BLOCK, PER_BLOCK));
        let next = payer.transfers(12, PER_BLOCK);
        assert!(next.iter().all(|transfer| coins.insert(transfer.spent()[0])), "no coin is spent twice");
        let made: BTreeSet<_> = made.iter().flat_map(|transfer| transfer.created().to_vec()).collect();
        assert!(next.iter().all(|transfer| made.contains(&transfer.spent()[0])), "an earlier block made them");
    }

    /// Goal: coins that are too small are left, and it ends. Method: a coin that can be split three times,
    /// and one that cannot be split once.
    #[test]
    fn small_coins_are_left() {
        let enough_for_two = 2 * WORTH_MIN + FEE;
        assert_eq!(payer(enough_for_two).transfers(11, 100).len(), 3);
        assert_eq!(payer(enough_for_two - 1).transfers(11, 100).len(), 2);
        assert_eq!(payer(WORTH_MIN - 1).transfers(11, 100).len(), 0);
    }
}
