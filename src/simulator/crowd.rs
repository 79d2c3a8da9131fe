//! A crowd of people who pay each other through whichever node is near.
//!
//! They own what the miners earn, so their payments hang together: a payment spends what another made,
//! sometimes before that is in a block, and falls with it when a branch is left. Now and then somebody spends a
//! coin twice, through two nodes. Whether a payment came through the crowd learns from the chain alone.

use std::collections::BTreeSet;

use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::{CoinId, Input, Outpoint, Output, Transaction};
use crate::node::Node;
use crate::primitives::codec::{self, List};
use crate::primitives::hash::Hash;
use crate::primitives::keys::{Key, SecretKey};
use crate::simulator::chance::Chance;

/// People.
const PEOPLE: usize = 16;
/// Coins that are looked at before one gives up.
const LOOKS: usize = 12;
/// What is left to the miner: enough for every pool's floor.
const FEE_UNITS: u64 = 20_000;
/// A coin that is worth less stays where it is.
const LEAST_UNITS: u64 = FEE_UNITS + 3_000;
/// Coins that are remembered, the oldest are forgotten.
const COINS_MAX: usize = 4_096;
/// Payments of a thousand that spend a coin that was spent already.
const TWICE_PERMILLE: u32 = 20;

/// A coin and whose it is.
#[derive(Clone, Copy, Debug)]
struct Coin {
    input: Input,
    owner: usize,
}

/// The people and what they know to be theirs.
#[derive(Debug)]
pub(crate) struct Crowd {
    keys: Vec<(Key, Signer)>,
    coins: Vec<Coin>,
    /// Spent by a payment that may have been refused or lost since.
    spent: BTreeSet<Outpoint>,
    chance: Chance,
}

/// A secret key whose bytes are never shown.
struct Signer(SecretKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Crowd {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "crowd", 0);
        let mut person = |_| {
            let words: [u64; 4] = std::array::from_fn(|_| chance.draw());
            let secret = SecretKey::from_seed(&Hash::sha256d(&words.map(u64::to_le_bytes).concat()).0);
            (secret.public(), Signer(secret))
        };
        let keys = (0..PEOPLE).map(&mut person).collect();
        Self { keys, coins: Vec::new(), spent: BTreeSet::new(), chance }
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
        if self.coins.len() >= COINS_MAX {
            let forgotten = self.coins.swap_remove(self.chance.below(COINS_MAX / 2));
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
        let twice = self.chance.permille(TWICE_PERMILLE);
        let coin = self.choose(node, twice)?;
        Some(self.spend(params, coin))
    }

    /// A payment of a coin that was never spent before and that `is_there`.
    pub(crate) fn pay_safely(
        &mut self,
        params: &Params,
        height: u64,
        is_there: impl Fn(&CoinId) -> bool,
    ) -> Option<ReadTx> {
        let is_ripe = |input: &Input| input.matures_at <= height && input.amount > LEAST_UNITS;
        let is_good =
            |input: &Input| is_ripe(input) && !self.spent.contains(&input.outpoint) && is_there(&input.coin());
        let coin = *self.coins.iter().find(|coin| is_good(&coin.input))?;
        Some(self.spend(params, coin))
    }

    fn spend(&mut self, params: &Params, coin: Coin) -> ReadTx {
        let payee = self.chance.below(PEOPLE);
        let paid = self.chance.between(1_000, coin.input.amount - FEE_UNITS - 1_000);
        let change = coin.input.amount - FEE_UNITS - paid;
        let output = |person: usize, amount| Output { amount, key: self.keys[person].0, view_tag: 0 };
        let outputs = List::first_of(vec![output(payee, paid), output(coin.owner, change)]);
        let unsigned = Transaction::unsigned(List::first_of(vec![coin.input]), outputs, Key([5; 32]), None);
        let signer = &self.keys[coin.owner].1.0;
        let transaction = unsigned.signed(params.genesis_id(), |_, message| signer.sign(message));
        self.spent.insert(coin.input.outpoint);
        let read = ReadTx::read(params, &codec::encode(&transaction)).expect("it is right in itself");
        for (index, output) in (0..).zip(&transaction.outputs) {
            let outpoint = Outpoint { transaction: read.id(), index };
            self.learn(Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 });
        }
        read
    }

    /// A coin that this node has, in its ledger or its pool.
    fn choose(&mut self, node: &Node, twice: bool) -> Option<Coin> {
        let next_height = node.chain().tip().header.height + 1;
        for _ in 0..LOOKS {
            let coin = *self.chance.pick(&self.coins)?;
            let Input { outpoint, amount, matures_at, .. } = coin.input;
            let is_there =
                node.chain().ledger().contains(&coin.input.coin()) || node.pool().contains(&outpoint.transaction);
            let is_ripe = matures_at <= next_height && amount > LEAST_UNITS;
            if is_there && is_ripe && self.spent.contains(&outpoint) == twice {
                return Some(coin);
            }
        }
        None
    }
}
