//! The unspent coins of a chain, counted from its blocks and from nothing else: to be held against its ledger.

use std::collections::{BTreeMap, BTreeSet};

use spindle::blockchain::block::Block;
use spindle::blockchain::chain::Chain;
use spindle::blockchain::transaction::{CoinId, Input, Outpoint, Output, Transaction};
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;

/// A coin that comes or goes.
#[derive(Clone, Copy)]
enum Change {
    Made(Input),
    Spent(Input),
}

/// A block that was counted, and how to take it back.
struct Counted {
    id: Hash,
    changes: Vec<Change>,
    transfers: Vec<Hash>,
}

/// What the blocks of an active chain come to.
#[derive(Default)]
pub(crate) struct Supply {
    blocks: Vec<Counted>,
    unspent: BTreeMap<CoinId, Input>,
    confirmed: BTreeSet<Hash>,
    /// Of all unspent coins.
    sum: u128,
    /// Of all rewards so far.
    emitted: u128,
}

impl Supply {
    /// The unspent coins, with what an input says of each.
    pub(crate) fn unspent(&self) -> &BTreeMap<CoinId, Input> {
        &self.unspent
    }

    /// Transfers in the blocks.
    pub(crate) fn confirmed(&self) -> &BTreeSet<Hash> {
        &self.confirmed
    }

    /// Follows a chain to its tip. After every block all coins together must be what emission says, and in the
    /// end the ledger must have just these.
    pub(crate) fn follow(&mut self, chain: &Chain) {
        if self.blocks.last().map(|block| block.id) == Some(chain.tip().id) {
            return;
        }
        let (reader, params) = (chain.reader(), chain.params());
        let mut touched = BTreeSet::new();
        while let Some(block) = self.blocks.last() {
            let height = self.blocks.len() as u64;
            let active = reader.record_at(height).map(|record| reader.meta(record).expect("memory").id);
            if active == Some(block.id) {
                break;
            }
            let block = self.blocks.pop().expect("looked at above");
            for change in block.changes.into_iter().rev() {
                touched.insert(match change {
                    Change::Made(coin) => self.take(&coin),
                    Change::Spent(coin) => self.put(coin),
                });
            }
            block.transfers.iter().for_each(|id| assert!(self.confirmed.remove(id)));
            self.emitted -= u128::from(params.reward(height));
        }
        for height in self.blocks.len() as u64 + 1..=chain.tip().header.height {
            let bytes = reader.block(reader.record_at(height).expect("active")).expect("memory");
            let block = self.count(&codec::decode(&bytes).expect("a block"), params.spec().maturity);
            touched.extend(block.changes.iter().map(|(Change::Made(coin) | Change::Spent(coin))| coin.coin()));
            self.blocks.push(block);
            self.emitted += u128::from(params.reward(height));
            assert_eq!(self.sum, self.emitted, "all coins at height {height} against all rewards");
        }
        let ledger = chain.ledger();
        assert_eq!(ledger.len(), self.unspent.len(), "the ledger has as many coins as the blocks have left");
        for id in touched {
            assert_eq!(ledger.contains(&id), self.unspent.contains_key(&id), "and the same ones");
        }
    }

    fn count(&mut self, block: &Block, maturity: u64) -> Counted {
        let mut changes = Vec::new();
        for transfer in &block.transfers {
            for coin in &transfer.inputs {
                self.take(coin);
                changes.push(Change::Spent(*coin));
            }
            let id = transfer.id();
            assert!(self.confirmed.insert(id), "an id stands in one block");
            changes.extend((0..).zip(transfer.outputs.iter()).map(|(index, output)| made(id, index, output, 0)));
            self.put_from(&changes, transfer.outputs.len());
        }
        changes.push(made(block.coinbase.id(), 0, &block.coinbase.output, block.header.height + maturity));
        self.put_from(&changes, 1);
        Counted { id: block.id(), changes, transfers: block.transfers.iter().map(Transaction::id).collect() }
    }

    fn put_from(&mut self, changes: &[Change], last: usize) {
        for change in &changes[changes.len() - last..] {
            if let Change::Made(coin) = change {
                self.put(*coin);
            }
        }
    }

    fn put(&mut self, coin: Input) -> CoinId {
        self.sum += u128::from(coin.amount);
        assert!(self.unspent.insert(coin.coin(), coin).is_none(), "a coin is made once");
        coin.coin()
    }

    fn take(&mut self, coin: &Input) -> CoinId {
        self.sum -= u128::from(coin.amount);
        assert!(self.unspent.remove(&coin.coin()).is_some(), "a coin is spent once, and it was there");
        coin.coin()
    }
}

fn made(transaction: Hash, index: u32, output: &Output, matures_at: u64) -> Change {
    let outpoint = Outpoint { transaction, index };
    Change::Made(Input { outpoint, amount: output.amount, key: output.key, matures_at })
}
