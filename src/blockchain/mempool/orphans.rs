//! Transactions whose coins we have never seen: held unverified, few, and nobody's can push out another's.
//!
//! Each source may always have one, and up to [`ORPHANS_PER_SOURCE`] while the places that are free to
//! all last. An orphan watches one missing coin; when that appears it is to be looked at again, one in
//! each call, so that a parent of many makes no long turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::mempool::reject::PoolReject;
use crate::blockchain::params::TRANSACTION_BYTES_MAX;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Orphans in all.
pub const ORPHANS_MAX: usize = 64;
/// Orphans of one source.
pub const ORPHANS_PER_SOURCE: usize = 8;
/// So many sources find a place for one, whatever the others hold: as many as a node has peers.
pub const ORPHAN_SOURCES: usize = 40;
/// How long one is held.
pub const ORPHAN_LIFE_MS: u64 = 20 * 60 * 1_000;
/// A larger one is not held: half of what a transaction may have, over 300 inputs.
pub const ORPHAN_BYTES_MAX: usize = TRANSACTION_BYTES_MAX / 2;
/// Their worst case in memory, 4 MiB: each has at most as many bytes of coin ids as of its own.
pub const ORPHANS_BYTES_MAX: usize = ORPHANS_MAX * (2 * ORPHAN_BYTES_MAX + 1_024);

const SHARED: usize = ORPHANS_MAX - ORPHAN_SOURCES;

/// Who sent something: a number that means nothing in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(pub u64);

#[derive(Clone, Debug)]
struct Orphan {
    tx: ReadTx,
    source: Source,
    since: Mono,
    /// The coin that it watches.
    missing: CoinId,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orphans {
    held: BTreeMap<Hash, Orphan>,
    watched: BTreeSet<(CoinId, Hash)>,
    shares: BTreeMap<Source, usize>,
    /// Those whose coin has appeared.
    ready: VecDeque<Hash>,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn contains(&self, id: &Hash) -> bool {
        self.held.contains_key(id)
    }

    pub(super) fn of_source(&self, source: Source) -> usize {
        self.shares.get(&source).copied().unwrap_or(0)
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether this source may leave one more.
    pub(super) fn room_for(&self, source: Source) -> Result<(), PoolReject> {
        let (held, share) = (self.held.len(), self.of_source(source));
        if share >= ORPHANS_PER_SOURCE {
            return Err(PoolReject::OrphanShare { held: share });
        }
        let shared = held - self.shares.len();
        if held >= ORPHANS_MAX || (share > 0 && shared >= SHARED) {
            return Err(PoolReject::OrphansFull { held });
        }
        Ok(())
    }

    /// Holds one until its coin appears.
    pub(super) fn hold(&mut self, source: Source, tx: ReadTx, missing: CoinId, now: Mono) -> Result<(), PoolReject> {
        self.room_for(source)?;
        if tx.bytes().len() > ORPHAN_BYTES_MAX {
            return Err(PoolReject::OrphanTooLarge { size_bytes: tx.bytes().len() });
        }
        self.put(Orphan { tx, source, since: now, missing });
        Ok(())
    }

    fn put(&mut self, orphan: Orphan) {
        *self.shares.entry(orphan.source).or_default() += 1;
        self.watched.insert((orphan.missing, orphan.tx.id()));
        self.held.insert(orphan.tx.id(), orphan);
    }

    /// These coins are there now.
    pub(super) fn appeared(&mut self, coins: &[CoinId]) {
        if self.watched.is_empty() {
            return;
        }
        for &coin in coins {
            let watchers = self.watched.range((coin, Hash([0; 32]))..=(coin, Hash([0xff; 32])));
            let watchers: Vec<Hash> = watchers.map(|&(_, id)| id).collect();
            for id in watchers {
                self.watched.remove(&(coin, id));
                self.ready.push_back(id);
            }
        }
    }

    /// The next one to be looked at again, taken out.
    pub(super) fn next_ready(&mut self) -> Option<(Source, Mono, ReadTx)> {
        let id = self.ready.pop_front()?;
        let orphan = self.take(&id).expect("what is ready is held: removals clear both");
        Some((orphan.source, orphan.since, orphan.tx))
    }

    /// Puts one back that was looked at and lacks another coin. Its place is still its own.
    pub(super) fn put_back(&mut self, source: Source, since: Mono, tx: ReadTx, missing: CoinId) {
        self.put(Orphan { tx, source, since, missing });
    }

    pub(super) fn remove(&mut self, id: &Hash) {
        if self.take(id).is_some() {
            self.ready.retain(|ready| ready != id);
        }
    }

    fn take(&mut self, id: &Hash) -> Option<Orphan> {
        let orphan = self.held.remove(id)?;
        self.watched.remove(&(orphan.missing, *id));
        if let Some(share) = self.shares.get_mut(&orphan.source) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&orphan.source);
            }
        }
        Some(orphan)
    }

    /// The source has gone, and what it left goes too.
    pub(super) fn forget(&mut self, source: Source) {
        self.remove_if(|orphan| orphan.source == source);
    }

    pub(super) fn expire(&mut self, now: Mono) {
        self.remove_if(|orphan| now.since(orphan.since) >= ORPHAN_LIFE_MS);
    }

    fn remove_if(&mut self, gone: impl Fn(&Orphan) -> bool) {
        let ids: Vec<Hash> = self.held.iter().filter(|(_, orphan)| gone(orphan)).map(|(&id, _)| id).collect();
        for id in &ids {
            self.remove(id);
        }
    }
}
