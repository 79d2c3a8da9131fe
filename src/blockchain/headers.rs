//! Headers whose bodies are still missing: a small tree above the blocks in the file.
//!
//! On a network with tiny difficulty headers cost nothing to make, so structure bounds them and not
//! work: at most [`HEADERS_MAX`] in the whole node, and only branches that at some moment had at least
//! the tip's work, or were proven to get there (RULES 13, 17, 18). What is weaker is forgotten; its
//! next announcement brings it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::blockchain::block::CheckedHeader;
use crate::blockchain::position::Position;
use crate::primitives::hash::Hash;

/// Headers without bodies in the whole node: about 5 MiB.
pub const HEADERS_MAX: usize = 20_000;
/// Headers of the same work.
const SIBLINGS_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Pending {
    header: CheckedHeader,
    position: Position,
    proven: bool,
}

/// The tree.
#[derive(Debug, Default)]
pub struct HeaderTree {
    headers: BTreeMap<Hash, Pending>,
    /// The same by work: the heaviest and the lightest are at the ends.
    by_work: BTreeSet<(u128, Hash)>,
}

impl HeaderTree {
    /// How many headers wait for their bodies.
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// How many more may be taken.
    pub fn room(&self) -> usize {
        HEADERS_MAX - self.headers.len()
    }

    /// Where a header stands.
    pub fn position(&self, id: &Hash) -> Option<Position> {
        self.headers.get(id).map(|pending| pending.position)
    }

    /// Takes a header; false if there is no room for it. `proven`: a stream has shown that its branch
    /// will outweigh the tip, although this header alone does not.
    pub fn insert(&mut self, header: CheckedHeader, position: Position, proven: bool) -> bool {
        if let Some(known) = self.headers.get_mut(&header.id()) {
            known.proven |= proven;
            return true;
        }
        let equal = (position.work, Hash::ZERO)..=(position.work, Hash([0xff; 32]));
        if self.room() == 0 || self.by_work.range(equal).count() >= SIBLINGS_MAX {
            return false;
        }
        self.by_work.insert((position.work, header.id()));
        self.headers.insert(header.id(), Pending { header, position, proven });
        true
    }

    /// Forgets a header: its body has come, or it was condemned.
    pub fn remove(&mut self, id: &Hash) {
        if let Some(pending) = self.headers.remove(id) {
            self.by_work.remove(&(pending.position.work, *id));
        }
    }

    /// Forgets a header and all that build on it.
    pub fn remove_branch(&mut self, root: &Hash) {
        // By height, so that one pass meets every parent before its children.
        let mut by_height: Vec<&Pending> = self.headers.values().collect();
        by_height.sort_unstable_by_key(|pending| pending.position.height);
        let mut doomed = BTreeSet::from([*root]);
        for pending in by_height {
            if doomed.contains(&pending.header.header().prev) {
                doomed.insert(pending.header.id());
            }
        }
        for id in &doomed {
            self.remove(id);
        }
    }

    /// The heaviest header worth a download: heavier than the tip, or proven to lead there.
    pub fn best(&self, tip_work: u128) -> Option<Position> {
        let mut by_work = self.by_work.iter().rev().filter_map(|(_, id)| self.headers.get(id));
        by_work.find(|pending| pending.position.work > tip_work || pending.proven).map(|pending| pending.position)
    }

    /// The ids from the first missing body up to this header, oldest first.
    pub fn branch(&self, leaf: &Hash) -> Vec<Hash> {
        let mut ids = Vec::new();
        let mut next = *leaf;
        while let Some(pending) = self.headers.get(&next) {
            ids.push(next);
            next = pending.header.header().prev;
        }
        ids.reverse();
        ids
    }

    /// Forgets branches that the tip has outgrown, but for the one that leads to `keep`.
    pub fn evict(&mut self, tip_work: u128, keep: Option<&Hash>) {
        // While a chain only grows, nothing in here is lighter than its tip.
        if self.by_work.first().is_none_or(|(work, _)| *work >= tip_work) {
            return;
        }
        // A branch lives as long as its heaviest leaf does.
        let mut alive: BTreeSet<Hash> = keep.into_iter().flat_map(|leaf| self.branch(leaf)).collect();
        let leaves = self.headers.values().filter(|pending| pending.position.work >= tip_work);
        for leaf in leaves.map(|pending| pending.header.id()).collect::<Vec<_>>() {
            let mut next = leaf;
            while let Some(pending) = self.headers.get(&next)
                && alive.insert(next)
            {
                next = pending.header.header().prev;
            }
        }
        let dead: Vec<Hash> = self.headers.keys().filter(|id| !alive.contains(id)).copied().collect();
        for id in &dead {
            self.remove(id);
        }
    }
}
