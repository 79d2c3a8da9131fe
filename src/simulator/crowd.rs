//! A crowd of people who pay each other through whichever node is near.
//!
//! They own what the miners earn, so their payments hang together: a payment spends what another made,
//! sometimes before that is in a block, and falls with it when a branch is left. Now and then somebody spends a
//! coin twice, through two nodes, or before it is ripe, or one coin after the other in a long row. Whether a
//! payment came through the crowd learns from the chain alone.
//!
//! A few of them share a wallet, as one person's one-time keys do, so that its way to sign is tried as well.

use std::collections::{BTreeSet, HashMap};

use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::{CoinId, Input, Outpoint, Output, Transaction};
use crate::node::Node;
use crate::primitives::codec::{self, List};
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::primitives::stealth::TxSecret;
use crate::simulator::chance::Chance;
use crate::wallet::keys::{Coin as Found, OneTimeKey, SpendKeys};
use crate::wallet::words::Seed;

/// People.
const PEOPLE: usize = 16;
/// Those of them who share a wallet.
const TOGETHER: usize = 4;
/// Coins that are looked at before one gives up.
const LOOKS: usize = 12;
/// What is left to the miner: enough for every pool's floor.
const FEE_UNITS: u64 = 20_000;
/// A coin that is worth less stays where it is.
const LEAST_UNITS: u64 = FEE_UNITS + 3_000;
/// Coins that are remembered for each that a payment spends; the oldest are forgotten.
const COINS_MAX: usize = 4_096;
/// Payments of a thousand that spend a coin that was spent already.
const TWICE_PERMILLE: u32 = 20;
/// Payments of a thousand that spend a coin one block before it is ripe.
const EARLY_PERMILLE: u32 = 10;
/// Payments of a thousand after which somebody passes on what came last, again and again.
const ROW_PERMILLE: u32 = 2;
/// Payments in such a row: more than may wait one for another.
const ROW: usize = 30;

/// A coin and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coin {
    input: Input,
    owner: usize,
}

/// The people and what they know to be theirs.
#[derive(Debug)]
pub(crate) struct Crowd {
    keys: Vec<(Key, OneTimeKey)>,
    coins: Vec<Coin>,
    /// How many of them a payment spends at the most.
    coins_per_payment: usize,
    /// Spent by a payment that may have been refused or lost since.
    spent: BTreeSet<Outpoint>,
    /// Every payment that was ever made.
    made: HashMap<Hash, ReadTx>,
    /// Payments that are still to come of a row.
    row: usize,
    chance: Chance,
}

/// What wants a coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// One that was never spent.
    Fresh,
    /// One that was spent already.
    Spent,
    /// One that is ripe a block later.
    Unripe,
}

impl Crowd {
    pub(crate) fn new(seed: u64, coins_per_payment: usize) -> Self {
        let mut chance = Chance::new(seed, "crowd", 0);
        let keys = (0..PEOPLE / TOGETHER).flat_map(|_| wallet(&mut chance)).collect();
        let (coins, spent, made) = (Vec::new(), BTreeSet::new(), HashMap::new());
        Self { keys, coins, coins_per_payment, spent, made, row: 0, chance }
    }

    /// No two keys may hide their signatures of one message behind the same nonce: whoever knows how far the keys
    /// lie apart, as everybody does who sees with a wallet, could work out both (RULES 37).
    pub(crate) fn check_nonces(&self) -> Result<(), String> {
        let nonces: BTreeSet<Vec<u8>> = self.keys.iter().map(|(_, key)| key.sign(&[7; 36]).0[..32].to_vec()).collect();
        if nonces.len() == self.keys.len() {
            return Ok(());
        }
        Err(format!("{} keys sign one message with {} nonces: two of them can be worked out", PEOPLE, nonces.len()))
    }

    /// A payment of theirs, by its id.
    pub(crate) fn made(&self, id: &Hash) -> Option<&ReadTx> {
        self.made.get(id)
    }

    /// Whom a miner pays.
    pub(crate) fn key(&self, person: usize) -> Key {
        self.keys[person % PEOPLE].0
    }

    fn owner_of(&self, key: &Key) -> Option<usize> {
        self.keys.iter().position(|(own, _)| own == key)
    }

    /// A coin that may come to be: what a miner earns, or what was paid.
    fn learn(&mut self, input: Input) {
        let Some(owner) = self.owner_of(&input.key) else { return };
        let most = COINS_MAX * self.coins_per_payment;
        if self.coins.len() >= most {
            let forgotten = self.coins.swap_remove(self.chance.below(most / 2));
            self.spent.remove(&forgotten.input.outpoint);
        }
        self.coins.push(Coin { input, owner });
    }

    /// A node has a new tip: its miner earned something.
    pub(crate) fn on_coinbase(&mut self, params: &Params, height: u64, id: Hash, output: &Output) {
        let outpoint = Outpoint { transaction: id, index: 0 };
        let matures_at = height + params.spec().maturity;
        self.learn(Input { outpoint, amount: output.amount, key: output.key, matures_at });
    }

    /// A payment that this node should take, or one that it should refuse because it comes second.
    pub(crate) fn pay(&mut self, params: &Params, node: &Node) -> Option<ReadTx> {
        if self.chance.permille(ROW_PERMILLE) {
            self.row = ROW;
        }
        if self.row > 0 {
            self.row -= 1;
            return self.pass_on(params, node);
        }
        let wish = match self.chance.below(1_000) as u64 {
            drawn if drawn < u64::from(TWICE_PERMILLE) => Wish::Spent,
            drawn if drawn < u64::from(TWICE_PERMILLE + EARLY_PERMILLE) => Wish::Unripe,
            _ => Wish::Fresh,
        };
        let mut coins = vec![self.choose(node, wish)?];
        // No more than one that waits itself: such rows may not be long.
        let is_settled = |coin: &Coin| node.chain().ledger().contains(&coin.input.coin());
        for _ in 1..self.coins_per_payment {
            let another = self.choose(node, Wish::Fresh).filter(|coin| is_settled(coin) && !coins.contains(coin));
            coins.extend(another);
        }
        Some(self.spend(params, &coins))
    }

    /// Whether a row of payments is under way: they come one right after the other.
    pub(crate) fn has_row(&self) -> bool {
        self.row > 0
    }

    /// What was paid last, or else anything, is paid on.
    fn pass_on(&mut self, params: &Params, node: &Node) -> Option<ReadTx> {
        let is_there = |coin: &Coin| node.pool().contains(&coin.input.outpoint.transaction);
        let latest = self.coins.iter().rev().take(2).copied().max_by_key(|coin| coin.input.amount);
        let latest = latest.filter(|coin| {
            is_there(coin) && coin.input.amount > LEAST_UNITS && !self.spent.contains(&coin.input.outpoint)
        });
        let coin = latest.or_else(|| self.choose(node, Wish::Fresh))?;
        Some(self.spend(params, &[coin]))
    }

    /// A payment of a coin that `is_there`: one that was never spent before, or else one whose payments came to nothing.
    pub(crate) fn pay_safely(
        &mut self,
        params: &Params,
        height: u64,
        is_there: impl Fn(&CoinId) -> bool,
    ) -> Option<ReadTx> {
        let is_ripe = |input: &Input| input.matures_at <= height && input.amount > LEAST_UNITS;
        let good = || self.coins.iter().filter(|coin| is_ripe(&coin.input) && is_there(&coin.input.coin()));
        let coin = *good().find(|coin| !self.spent.contains(&coin.input.outpoint)).or_else(|| good().next())?;
        Some(self.spend(params, &[coin]))
    }

    /// A part of each coin goes to somebody, and what is left of it to its owner.
    fn spend(&mut self, params: &Params, coins: &[Coin]) -> ReadTx {
        let mut outputs = Vec::with_capacity(2 * coins.len());
        let output = |person: usize, amount| Output { amount, key: self.keys[person].0, view_tag: 0 };
        for Coin { input, owner } in coins {
            let payee = self.chance.below(PEOPLE);
            let paid = self.chance.between(1_000, input.amount - FEE_UNITS - 1_000);
            let change = input.amount - FEE_UNITS - paid;
            outputs.extend([output(payee, paid), output(*owner, change)]);
        }
        let inputs = coins.iter().map(|coin| coin.input).collect();
        let unsigned = Transaction::unsigned(List::first_of(inputs), List::first_of(outputs), Key([5; 32]), None);
        let signer = |place: usize| &self.keys[coins[place].owner].1;
        let transaction = unsigned.signed(params.genesis_id(), |place, message| signer(place).sign(message));
        self.spent.extend(coins.iter().map(|coin| coin.input.outpoint));
        let read = ReadTx::read(params, &codec::encode(&transaction)).expect("it is right in itself");
        for (index, output) in (0..).zip(&transaction.outputs) {
            let outpoint = Outpoint { transaction: read.id(), index };
            self.learn(Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 });
        }
        self.made.insert(read.id(), read.clone());
        read
    }

    /// A coin that this node has, in its ledger or its pool.
    fn choose(&mut self, node: &Node, wish: Wish) -> Option<Coin> {
        let next_height = node.chain().tip().header.height + 1;
        // Coins that are not ripe are few, and the newest.
        let from = if wish == Wish::Unripe { self.coins.len().saturating_sub(8 * LOOKS) } else { 0 };
        for _ in 0..LOOKS {
            let coin = *self.chance.pick(&self.coins[from..])?;
            let Input { outpoint, amount, matures_at, .. } = coin.input;
            let is_there =
                node.chain().ledger().contains(&coin.input.coin()) || node.pool().contains(&outpoint.transaction);
            let is_ripe = matures_at <= next_height && amount > LEAST_UNITS;
            let is_wished = match wish {
                Wish::Fresh => is_ripe && !self.spent.contains(&outpoint),
                Wish::Spent => is_ripe && self.spent.contains(&outpoint),
                Wish::Unripe => matures_at == next_height + 1,
            };
            if is_there && is_wished {
                return Some(coin);
            }
        }
        None
    }
}

/// The one-time keys of one wallet, each as it was paid.
fn wallet(chance: &mut Chance) -> Vec<(Key, OneTimeKey)> {
    let words: [u64; 8] = std::array::from_fn(|_| chance.draw());
    let bytes = words.map(u64::to_le_bytes).concat();
    let spend = SpendKeys::from_seed(&Seed::from_bytes(bytes.try_into().expect("eight times eight")));
    let paid = |index| {
        let tx_key = TxSecret::of("spindle/simulator/1", &[&chance.draw().to_le_bytes()]).public();
        let shared = spend.view().shared(&tx_key).expect("a sound point");
        let key = shared.key(index, spend.view().spend_point());
        let outpoint = Outpoint { transaction: Hash::ZERO, index };
        let input = Input { outpoint, amount: 1, key, matures_at: 0 };
        (key, spend.one_time(&Found { input, tx_key }).expect("it was paid to this wallet"))
    };
    (0..).take(TOGETHER).map(paid).collect()
}
