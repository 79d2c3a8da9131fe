//! Blocks come and go under the pool.
//!
//! The chain's walk undoes and applies blocks one at a time, and after each of these steps the pool is
//! again what the ledger at that moment allows: a connected block takes what it holds and what conflicts
//! with it; an undone one takes what spends its coins, for those are gone, and what is no longer mature.
//! What an undone block takes is not lost: it waits beside the pool, behind the undone blocks' own
//! transactions, and when the walk has arrived all of it enters anew, in that order, a slice in each
//! call. What was confirmed meanwhile, or conflicts, finds its coins missing and drops out.
//!
//! So the pool after a reorganisation is what would be there if the undone transactions had come first,
//! in the order of their blocks, and then everybody else in the order of arrival (tests/mempool.rs holds
//! it to that). Those that neither hang on an undone block nor lose a coin stay where they are, and the
//! result is the same: what was confirmed conflicts with nothing that was in the pool.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::blockchain::block::{CheckedBlock, TRANSFERS_AT};
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::mempool::graph::{Entry, Slot, memory_bytes};
use crate::blockchain::mempool::{Ground, Mempool};
use crate::blockchain::params::Params;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Bytes of transactions that a turn should let [`Mempool::readmit`] look at: a count, so that it is the
/// same on every run.
pub const READMIT_BYTES: usize = 256 << 10;
/// Bytes of undone blocks whose transactions may return. Of deeper reorganisations the newest are given
/// up: what hangs together begins with the oldest.
pub const RETURNING_BYTES_MAX: usize = 6 << 20;

/// What entered anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// All of it.
    pub entered: Vec<Hash>,
    /// Those that were in blocks which are undone.
    pub unconfirmed: Vec<Hash>,
    /// What did not enter, and is not in the ledger either.
    pub dropped: Vec<Hash>,
}

/// What waits to enter anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Returning {
    /// The last one goes first: what it holds was in the pool or the chain when the others were not, so
    /// theirs may hang on it.
    rounds: Vec<Round>,
    /// Whether what is undone now joins the last round; not if some of that has returned already.
    open: bool,
    block_bytes: usize,
    /// Memory of what was in the pool; it counts as the pool's.
    pool_bytes: usize,
}

/// What was undone without anything returning in between: usually all that there is.
#[derive(Clone, Debug, Default)]
struct Round {
    /// Blocks with transfers, the oldest first.
    blocks: VecDeque<Body>,
    /// What the pool had to give up, in the order of entry.
    pool: BTreeMap<u64, (CheckedTx, Wall)>,
}

impl Round {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.pool.is_empty()
    }
}

/// A block's bytes, and which of them are still to be looked at.
#[derive(Clone, Debug)]
struct Body {
    bytes: Vec<u8>,
    at: usize,
}

impl Returning {
    pub(super) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    pub(super) fn pool_bytes(&self) -> usize {
        self.pool_bytes
    }

    /// All of them, in the order of their return; those of blocks arrive now.
    pub(super) fn all(&self, params: &Params, now: Wall) -> Vec<(CheckedTx, Wall)> {
        let mut copy = self.clone();
        std::iter::from_fn(|| copy.next(params)).map(|(tx, arrived)| (tx, arrived.unwrap_or(now))).collect()
    }

    fn round(&mut self) -> &mut Round {
        if !self.open {
            self.rounds.push(Round::default());
            self.open = true;
        }
        self.rounds.last_mut().expect("an open round is the last one")
    }

    fn give_up(&mut self, number: u64, tx: CheckedTx, arrived: Wall) {
        self.pool_bytes += memory_bytes(&tx);
        self.round().pool.insert(number, (tx, arrived));
    }

    fn undone(&mut self, block: &CheckedBlock) {
        if block.bytes().len() == TRANSFERS_AT {
            return;
        }
        self.block_bytes += block.bytes().len();
        self.round().blocks.push_front(Body { bytes: block.bytes().to_vec(), at: TRANSFERS_AT });
        while self.block_bytes > RETURNING_BYTES_MAX
            && let Some(newest) = self.rounds.iter_mut().find_map(|round| round.blocks.pop_back())
        {
            self.block_bytes -= newest.bytes.len();
        }
        self.rounds.retain(|round| !round.is_empty());
    }

    /// The next one, and when it arrived if it was here before.
    fn next(&mut self, params: &Params) -> Option<(CheckedTx, Option<Wall>)> {
        self.open = false;
        let round = self.rounds.last_mut()?;
        let next = if let Some(body) = round.blocks.front_mut() {
            let (read, rest) = ReadTx::read_prefix(params, &body.bytes[body.at..])
                .expect("a block of the chain was decoded and checked before");
            body.at = body.bytes.len() - rest.len();
            if rest.is_empty() {
                self.block_bytes -= body.bytes.len();
                round.blocks.pop_front();
            }
            (read.trusted(), None)
        } else {
            let (_, (tx, arrived)) = round.pool.pop_first().expect("a round without anything is dropped");
            self.pool_bytes -= memory_bytes(&tx);
            (tx, Some(arrived))
        };
        if round.is_empty() {
            self.rounds.pop();
        }
        Some(next)
    }
}

impl Mempool {
    /// The chain's walk has applied a block. Gives what waited here and never can be in a block on top of it, since
    /// the block spends its coins, or those of one that it hangs on.
    pub fn on_block_connected(&mut self, block: &CheckedBlock) -> Vec<Hash> {
        let mut dropped = Vec::new();
        let mut children: BTreeSet<Hash> = BTreeSet::new();
        for id in block.transactions() {
            self.orphans.remove(id);
            if let Some(slot) = self.graph.find(id) {
                children.extend(self.graph.children(slot).iter().map(|&child| self.graph.entry(child).tx.id()));
                self.graph.remove(slot);
            }
        }
        for coin in block.spent() {
            if let Some(slot) = self.graph.spender(coin) {
                dropped.extend(self.graph.remove_with_descendants(slot));
            }
        }
        dropped.extend(self.robbed(&children, block));
        self.orphans.appeared(block.created());
        dropped.iter().map(|entry| entry.tx.id()).collect()
    }

    /// Lets those leave whose parent was confirmed and whose coin another spent in that very block.
    fn robbed(&mut self, children: &BTreeSet<Hash>, block: &CheckedBlock) -> Vec<Entry> {
        let mut dropped = Vec::new();
        if !children.iter().any(|id| self.graph.find(id).is_some()) {
            return dropped;
        }
        let created: BTreeSet<&CoinId> = block.created().iter().collect();
        let confirmed: BTreeSet<&Hash> = block.transactions().iter().collect();
        for id in children {
            let Some(slot) = self.graph.find(id) else { continue };
            let tx = &self.graph.entry(slot).tx;
            let robbed = tx
                .spent()
                .iter()
                .zip(tx.inputs())
                .any(|(coin, input)| confirmed.contains(&input.outpoint.transaction) && !created.contains(coin));
            if robbed {
                dropped.extend(self.graph.remove_with_descendants(slot));
            }
        }
        dropped
    }

    /// The chain's walk has undone a block.
    pub fn on_block_undone(&mut self, block: &CheckedBlock) {
        for coin in block.created() {
            if let Some(slot) = self.graph.spender(coin) {
                self.give_up(slot);
            }
        }
        // The block to come now has the height of the one that was undone.
        let height = block.header().height;
        while let Some(slot) = self.graph.immature_at(height) {
            self.give_up(slot);
        }
        self.returning.undone(block);
        self.orphans.appeared(block.spent());
    }

    fn give_up(&mut self, slot: Slot) {
        for entry in self.graph.remove_with_descendants(slot) {
            self.returning.give_up(entry.number, entry.tx, entry.arrived);
        }
    }

    /// Whether nothing waits to enter anew; until then nothing else enters.
    pub fn is_settled(&self) -> bool {
        self.returning.is_empty()
    }

    /// Lets a slice of what returns enter anew, if it still may: so many bytes (a turn's are
    /// [`READMIT_BYTES`]) and the transaction that passes them. Whether more is left
    /// [`is_settled`](Self::is_settled) tells. To be called only while the chain rests: it takes the ground for
    /// the tip's.
    ///
    /// The limit of rows and the bound in bytes hold for these too; the floor does not, for they were
    /// let in before.
    pub fn readmit(&mut self, params: &Params, ground: &Ground, turn_bytes: usize) -> Returned {
        let (mut looked_bytes, mut returned) = (0, Returned::default());
        while looked_bytes < turn_bytes
            && let Some((tx, arrived)) = self.returning.next(params)
        {
            looked_bytes += tx.bytes().len();
            let id = tx.id();
            let is_confirmed = tx.created().iter().any(|coin| ground.ledger.contains(coin));
            match self.enter(tx, arrived.unwrap_or(ground.now.wall), ground) {
                Ok(()) => {
                    returned.entered.push(id);
                    returned.unconfirmed.extend(arrived.is_none().then_some(id));
                }
                Err(reject) => {
                    log::trace!("transaction {id} does not return: {reject}");
                    returned.dropped.extend((!is_confirmed).then_some(id));
                }
            }
        }
        returned
    }
}
