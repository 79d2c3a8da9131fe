//! Transactions that wait for a block: bounded, best fee first, and never two that spend one coin.
//!
//! The pool stands on the ledger: what is in it spends coins of the ledger, or of others in it, each
//! coin once; so all of it could be in the next blocks. First seen wins a conflict, nothing is replaced.
//! When its memory is used up whoever pays least for a byte leaves, with all that hangs on it, and the
//! floor rises above what that paid (rate.rs).
//!
//! A stranger's transaction comes in two steps (RULES 31). [`Mempool::offer`] matches what it claims with
//! the ledger and the pool before a signature is looked at: invented coins buy no verification. Then the
//! caller has the signatures verified, elsewhere, and hands the result to [`Mempool::insert`], which
//! matches again: the world has moved on meanwhile. What lacks only its parents is held as an orphan.
//!
//! Blocks come and go through [`Mempool::on_block_connected`] and [`Mempool::on_block_undone`], one call
//! for each step of the chain's walk. After a walk that has undone blocks [`Mempool::readmit`] brings
//! back what they held, a slice in each call (reorg.rs).
//!
//! Nothing here knows peers, threads or clocks; memory and the limits of chains are counted, never
//! guessed. Left out: replacement by fee, packages from peers.

mod file;
mod graph;
mod orphans;
mod pack;
mod rate;
mod reject;
mod reorg;

use crate::blockchain::checked_tx::{CheckedTx, ReadTx, TxFacts};
use crate::blockchain::ledger::Ledger;
use crate::blockchain::reject::Reject;
use crate::primitives::hash::Hash;
use crate::primitives::time::{Mono, Now, Wall};

pub use file::{FILE, FILE_BYTES_MAX, FileError, Saved, read_file};
pub use graph::memory_bytes;
use graph::{Graph, Slot};
use orphans::Orphans;
pub use orphans::{
    ORPHAN_BYTES_MAX, ORPHAN_LIFE_MS, ORPHAN_SOURCES, ORPHANS_BYTES_MAX, ORPHANS_MAX, ORPHANS_PER_SOURCE, Source,
};
pub use pack::{Pack, PackMark};
use rate::Floor;
pub use rate::{FEE_RATE_MIN, FLOOR_HALVES_MS, FLOOR_STEP, FeeRate};
pub use reject::PoolReject;
use reorg::Returning;
pub use reorg::{READMIT_BYTES, RETURNING_BYTES_MAX, Returned};

/// Memory of what waits, as [`memory_bytes`] counts it. While one is inserted it may be above by that one.
pub const POOL_BYTES_MAX: usize = 16 << 20;
/// Unconfirmed ones in a row, in either direction, itself included.
pub const CHAIN_MAX: usize = 25;
/// Outputs worth less are not relayed, in units.
pub const DUST_UNITS: u64 = 300;
/// How long one waits at most: 3 days.
pub const LIFE_MS: u64 = 3 * 24 * 60 * 60 * 1_000;
/// How often the pool is searched for what has waited too long.
const EXPIRY_EVERY_MS: u64 = 60_000;
/// How many such leave in one turn, what hangs on them apart.
const EXPIRY_TURN: usize = 500;

/// All that the pool may ever take, orphans and what returns after a reorganisation included.
pub const MEMPOOL_BYTES_MAX: usize = POOL_BYTES_MAX + ORPHANS_BYTES_MAX + RETURNING_BYTES_MAX;

/// What the pool stands on: the ledger at rest, and the block to come.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The unspent coins as of the tip.
    pub ledger: &'a Ledger,
    /// The height of the block after the tip.
    pub next_height: u64,
    /// The present.
    pub now: Now,
}

/// One that waits, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub id: Hash,
    /// What it pays.
    pub fee: u64,
    /// Its size.
    pub size_bytes: usize,
    /// When we saw it first.
    pub arrived: Wall,
    /// How many must be mined before it.
    pub ancestors: usize,
}

/// What became of an offered transaction.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer {
    /// Its coins are there: have its signatures verified, then insert it.
    Ready(ReadTx),
    /// Held until a coin of this transaction appears.
    Held {
        /// The one to ask for.
        parent: Hash,
    },
    /// Not taken.
    Refused(PoolReject),
}

/// The transactions that wait.
#[derive(Clone, Debug)]
pub struct Mempool {
    graph: Graph,
    orphans: Orphans,
    returning: Returning,
    floor: Floor,
    searched_at: Mono,
}

/// Where a transaction hangs in the pool.
struct Links {
    parents: Vec<Slot>,
    ancestors: Vec<Slot>,
}

impl Mempool {
    /// An empty pool. `key` is drawn at random: strangers must not know it (look-up tables hash with it).
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            graph: Graph::new(key),
            orphans: Orphans::default(),
            returning: Returning::default(),
            floor: Floor::default(),
            searched_at: Mono::default(),
        }
    }

    // --- what is there ---

    /// How many wait.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their memory, as [`memory_bytes`] counts it; those between two places after a reorganisation too.
    pub fn used_bytes(&self) -> usize {
        self.graph.used_bytes() + self.returning.pool_bytes()
    }

    /// Whether it waits here.
    pub fn contains(&self, id: &Hash) -> bool {
        self.graph.find(id).is_some()
    }

    /// Whether it waits here or is held as an orphan: no need to ask for it.
    pub fn knows(&self, id: &Hash) -> bool {
        self.contains(id) || self.orphans.contains(id)
    }

    /// One that waits.
    pub fn get(&self, id: &Hash) -> Option<&CheckedTx> {
        self.graph.find(id).map(|slot| &self.graph.entry(slot).tx)
    }

    /// The ids of all that wait; the same order on every run, and no other meaning.
    pub fn ids(&self) -> impl Iterator<Item = Hash> {
        self.graph.entries().map(|(_, entry)| entry.tx.id())
    }

    /// All that wait, in the order in which they entered: parents before children.
    pub fn snapshot(&self) -> Vec<Waiting> {
        self.in_order().into_iter().map(|slot| self.shown(slot)).collect()
    }

    /// One that waits, as people see it.
    pub fn waiting(&self, id: &Hash) -> Option<Waiting> {
        self.graph.find(id).map(|slot| self.shown(slot))
    }

    fn shown(&self, slot: Slot) -> Waiting {
        let entry = self.graph.entry(slot);
        Waiting {
            id: entry.tx.id(),
            fee: entry.tx.fee(),
            size_bytes: entry.tx.bytes().len(),
            arrived: entry.arrived,
            ancestors: entry.above.count - 1,
        }
    }

    fn in_order(&self) -> Vec<Slot> {
        let mut numbered: Vec<(u64, Slot)> = self.graph.entries().map(|(slot, entry)| (entry.number, slot)).collect();
        numbered.sort_unstable();
        numbered.into_iter().map(|(_, slot)| slot).collect()
    }

    /// What has to be paid at least, in units per 1,000 bytes. While half of the room is free nobody has to pay
    /// for a crowd that has gone.
    pub fn floor(&self, now: Mono) -> u64 {
        if self.used_bytes() < POOL_BYTES_MAX / 2 { FEE_RATE_MIN } else { self.floor.at(now) }
    }

    /// How many orphans are held.
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }

    /// How many of them came from one source.
    pub fn orphans_of(&self, source: Source) -> usize {
        self.orphans.of_source(source)
    }

    // --- coming in ---

    /// Whether it may enter, as far as can be said without its signatures: policy, conflicts, coins,
    /// maturity, and the length of the row that it would be in. Changes nothing.
    pub fn match_inputs(&self, tx: &ReadTx, ground: &Ground) -> Result<(), PoolReject> {
        self.check_policy(tx, ground)?;
        self.links(tx, ground).map(|_| ())
    }

    /// Takes a transaction that has just come in, unverified: says whether to verify it, and holds it if
    /// only its parents are missing. While the pool is not [settled](Self::is_settled) it takes none: the
    /// caller offers it again, or asks for it again.
    pub fn offer(&mut self, source: Source, tx: ReadTx, ground: &Ground) -> Offer {
        if self.orphans.contains(&tx.id()) {
            return Offer::Refused(PoolReject::Known { id: tx.id() });
        }
        match self.match_inputs(&tx, ground) {
            Ok(()) => Offer::Ready(tx),
            Err(PoolReject::Missing { coin, parent }) => {
                let held = self.orphans.hold(source, tx, coin, ground.now.mono);
                held.map_or_else(Offer::Refused, |()| Offer::Held { parent })
            }
            Err(reject) => Offer::Refused(reject),
        }
    }

    /// Lets a verified transaction in, if it still may. `arrived`: now, or what a saved file says.
    pub fn insert(&mut self, tx: CheckedTx, arrived: Wall, ground: &Ground) -> Result<(), PoolReject> {
        self.check_policy(&tx, ground)?;
        self.enter(tx, arrived, ground)
    }

    /// One orphan whose coin has appeared, who sent it, and its id, looked at again; `None` when there is none,
    /// or when what returns after a reorganisation goes first.
    ///
    /// One in each call, whatever appeared: the caller takes its turns in between.
    pub fn next_orphan(&mut self, ground: &Ground) -> Option<(Source, Hash, Offer)> {
        if !self.orphans_ready() {
            return None;
        }
        let (source, since, tx) = self.orphans.next_ready()?;
        let id = tx.id();
        let offer = match self.match_inputs(&tx, ground) {
            Ok(()) => Offer::Ready(tx),
            Err(PoolReject::Missing { coin, parent }) => {
                self.orphans.put_back(source, since, tx, coin);
                Offer::Held { parent }
            }
            Err(reject) => Offer::Refused(reject),
        };
        Some((source, id, offer))
    }

    /// Whether [`Self::next_orphan`] has one.
    pub fn orphans_ready(&self) -> bool {
        self.is_settled() && self.orphans.any_ready()
    }

    /// A source has gone: its orphans go too.
    pub fn forget_source(&mut self, source: Source) {
        self.orphans.forget(source);
    }

    /// Time passes: what has waited too long leaves.
    pub fn tick(&mut self, now: Now) {
        if now.mono.since(self.searched_at) < EXPIRY_EVERY_MS {
            return;
        }
        self.orphans.expire(now.mono);
        let old = |arrived: Wall| now.wall.0.saturating_sub(arrived.0) >= LIFE_MS;
        let expired = self.graph.entries().filter(|(_, entry)| old(entry.arrived)).map(|(_, entry)| entry.tx.id());
        let expired: Vec<Hash> = expired.take(EXPIRY_TURN).collect();
        for id in &expired {
            // It may have left with one that it hung on.
            if let Some(slot) = self.graph.find(id) {
                self.graph.remove_with_descendants(slot);
            }
        }
        if expired.len() < EXPIRY_TURN {
            self.searched_at = now.mono;
        }
    }

    // --- the rules ---

    /// What we ask of strangers' transactions beyond what blocks ask.
    fn check_policy(&self, tx: &TxFacts, ground: &Ground) -> Result<(), PoolReject> {
        if !self.is_settled() {
            return Err(PoolReject::Reorganising);
        }
        if self.contains(&tx.id()) {
            return Err(PoolReject::Known { id: tx.id() });
        }
        if tx.least_output() < DUST_UNITS {
            return Err(PoolReject::Dust { amount: tx.least_output() });
        }
        let (fee, size_bytes, floor) = (tx.fee(), tx.bytes().len(), self.floor(ground.now.mono));
        if FeeRate::new(fee, size_bytes) < FeeRate::per_1000(floor) {
            return Err(PoolReject::TooCheap { fee, size_bytes, floor });
        }
        Ok(())
    }

    /// Matches a transaction with the pool and the ledger.
    fn links(&self, tx: &TxFacts, ground: &Ground) -> Result<Links, PoolReject> {
        if self.contains(&tx.id()) {
            return Err(PoolReject::Known { id: tx.id() });
        }
        for &coin in tx.spent() {
            if let Some(slot) = self.graph.spender(&coin) {
                return Err(PoolReject::Conflict { coin, with: self.graph.entry(slot).tx.id() });
            }
        }
        let mut parents: Vec<Slot> = Vec::new();
        for (&coin, input) in tx.spent().iter().zip(tx.inputs()) {
            let parent = input.outpoint.transaction;
            if let Some(slot) = self.graph.find(&parent) {
                let made = usize::try_from(input.outpoint.index).ok();
                let made = made.and_then(|index| self.graph.entry(slot).tx.created().get(index));
                if made != Some(&coin) {
                    // The parent's id fixes what it makes: no such coin can ever be.
                    return Err(Reject::MissingCoin { coin }.into());
                }
                if !parents.contains(&slot) {
                    parents.push(slot);
                }
            } else if !ground.ledger.contains(&coin) {
                return Err(PoolReject::Missing { coin, parent });
            }
            if parents.len() >= CHAIN_MAX {
                return Err(PoolReject::TooManyAncestors { count: parents.len() + 1 });
            }
        }
        if tx.matures_at() > ground.next_height {
            return Err(PoolReject::Immature { matures_at: tx.matures_at(), next_height: ground.next_height });
        }
        let ancestors = self.graph.ancestors(&parents);
        if ancestors.len() >= CHAIN_MAX {
            return Err(PoolReject::TooManyAncestors { count: ancestors.len() + 1 });
        }
        let full = ancestors.iter().find(|&&slot| self.graph.descendants(slot) >= CHAIN_MAX);
        if let Some(&slot) = full {
            let (ancestor, count) = (self.graph.entry(slot).tx.id(), self.graph.descendants(slot) + 1);
            return Err(PoolReject::TooManyDescendants { ancestor, count });
        }
        Ok(Links { parents, ancestors })
    }

    /// Lets a transaction in that may be in a block, then makes room.
    fn enter(&mut self, tx: CheckedTx, arrived: Wall, ground: &Ground) -> Result<(), PoolReject> {
        let Links { parents, ancestors } = self.links(&tx, ground)?;
        let id = tx.id();
        self.orphans.remove(&id);
        self.orphans.appeared(tx.created());
        self.graph.insert(tx, arrived, parents, &ancestors);
        self.make_room(ground.now.mono);
        if self.contains(&id) { Ok(()) } else { Err(PoolReject::Full { floor: self.floor.at(ground.now.mono) }) }
    }

    /// Lets the worst-paying leave until the rest fits.
    fn make_room(&mut self, now: Mono) {
        while self.used_bytes() > POOL_BYTES_MAX {
            let Some((worth, slot)) = self.graph.worst() else { return };
            self.floor.raise(worth, now);
            self.graph.remove_with_descendants(slot);
        }
    }
}
