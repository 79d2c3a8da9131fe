//! The ledger: the set of unspent coins, and nothing about them.
//!
//! A block removes the ids of what it spends and adds those of what it makes; undoing a block is the
//! same with the lists swapped, so undo needs the block itself and no record of its own. The set is
//! kept in sorted shards (by leading bits; ids are hashes, so the shards stay even): 35 MiB for a
//! million coins. Each shard is behind an `Arc`: cloning the ledger for a checkpoint costs 4,096
//! counters, and a shard is copied only if the owner changes it meanwhile.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;

/// Shards, by the leading twelve bits of an id.
pub const SHARDS: usize = 4_096;

/// Coins for which a full shard gets room. Shards grow evenly, so what one leaves is too small for any other:
/// in small steps the allocator can mostly extend them in place. Growing by an eighth a million coins took
/// 42 MiB instead of 35, and no less time.
const GROWTH: usize = 4;

/// The unspent coins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    shards: Vec<Arc<Vec<CoinId>>>,
    coins: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARDS], coins: 0 }
    }
}

impl Ledger {
    /// How many coins are unspent.
    pub fn len(&self) -> usize {
        self.coins
    }

    /// Whether nothing is unspent.
    pub fn is_empty(&self) -> bool {
        self.coins == 0
    }

    /// Whether this coin is unspent.
    pub fn contains(&self, coin: &CoinId) -> bool {
        self.shards[shard_of(coin)].binary_search(coin).is_ok()
    }

    /// Removes what a block spends and adds what it makes; on a refusal nothing has changed.
    pub fn apply(&mut self, spent: &[CoinId], created: &[CoinId]) -> Result<(), Reject> {
        for (n, &coin) in spent.iter().enumerate() {
            if !self.remove(&coin) {
                self.restore(&spent[..n]);
                return Err(Reject::MissingCoin { coin });
            }
        }
        for (n, &coin) in created.iter().enumerate() {
            if !self.insert(coin) {
                for coin in &created[..n] {
                    assert!(self.remove(coin), "it was inserted a moment ago");
                }
                self.restore(spent);
                return Err(Reject::CoinExists { coin });
            }
        }
        Ok(())
    }

    /// Takes a block back that was applied last.
    pub fn undo(&mut self, spent: &[CoinId], created: &[CoinId]) {
        self.apply(created, spent).expect("a block that was applied can be undone");
    }

    /// SHA-256 over all ids in order: two nodes that agree on this agree on who owns what.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        for coin in self.shards.iter().flat_map(|shard| shard.iter()) {
            hasher.update(coin.0);
        }
        Hash(hasher.finalize().into())
    }

    /// The shards in order, each sorted: what a checkpoint writes.
    pub fn shards(&self) -> impl Iterator<Item = &Arc<Vec<CoinId>>> {
        self.shards.iter()
    }

    /// Puts a shard that a checkpoint read into its place; `None` if the ids do not belong there in
    /// this order.
    pub fn restore_shard(&mut self, shard: usize, coins: Vec<CoinId>) -> Option<()> {
        let ordered = coins.windows(2).all(|pair| pair[0] < pair[1]);
        let here = coins.first().is_none_or(|coin| shard_of(coin) == shard)
            && coins.last().is_none_or(|coin| shard_of(coin) == shard);
        let empty = self.shards.get(shard).is_some_and(|old| old.is_empty());
        (ordered && here && empty).then(|| {
            self.coins += coins.len();
            self.shards[shard] = Arc::new(coins);
        })
    }

    /// Puts back what a refused block had removed.
    fn restore(&mut self, coins: &[CoinId]) {
        for &coin in coins {
            assert!(self.insert(coin), "it was removed a moment ago");
        }
    }

    fn insert(&mut self, coin: CoinId) -> bool {
        let shard = Arc::make_mut(&mut self.shards[shard_of(&coin)]);
        match shard.binary_search(&coin) {
            Ok(_) => false,
            Err(place) => {
                if shard.len() == shard.capacity() {
                    shard.reserve_exact(GROWTH);
                }
                shard.insert(place, coin);
                self.coins += 1;
                true
            }
        }
    }

    fn remove(&mut self, coin: &CoinId) -> bool {
        let shard = &mut self.shards[shard_of(coin)];
        match shard.binary_search(coin) {
            Ok(place) => {
                Arc::make_mut(shard).remove(place);
                self.coins -= 1;
                true
            }
            Err(_) => false,
        }
    }
}

fn shard_of(coin: &CoinId) -> usize {
    usize::from(u16::from_be_bytes([coin.0[0], coin.0[1]]) >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coin(n: u32) -> CoinId {
        CoinId(Hash::sha256d(&n.to_le_bytes()).0)
    }

    /// Goal: a refused block leaves no trace, and undo is apply with the lists swapped.
    /// Method: the ledger's hash before and after each.
    #[test]
    fn refusal_and_undo_leave_the_ledger_as_it_was() {
        let mut ledger = Ledger::default();
        let first: Vec<_> = (0..1_000).map(coin).collect();
        ledger.apply(&[], &first).expect("new coins");
        let before = ledger.hash();
        assert_eq!(
            ledger.apply(&[coin(1), coin(2_000)], &[coin(3_000)]),
            Err(Reject::MissingCoin { coin: coin(2_000) })
        );
        assert_eq!(ledger.apply(&[coin(1)], &[coin(3_000), coin(2)]), Err(Reject::CoinExists { coin: coin(2) }));
        assert_eq!((ledger.hash(), ledger.len()), (before, 1_000));
        ledger.apply(&[coin(1), coin(2)], &[coin(3_000)]).expect("valid");
        assert_eq!((ledger.len(), ledger.contains(&coin(1))), (999, false));
        ledger.undo(&[coin(1), coin(2)], &[coin(3_000)]);
        assert_eq!(ledger.hash(), before);
    }
}
