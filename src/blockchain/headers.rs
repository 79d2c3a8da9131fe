//! Headers whose bodies are still missing: a small tree above the blocks in the file.
//!
//! On a network with tiny difficulty headers cost nothing to make, so structure bounds them and not
//! work: at most [`HEADERS_MAX`] in the whole node, and only branches that have at least the tip's work,
//! or were proven to get there (RULES 13, 17, 18), and that some connected peer has. Everything else is
//! forgotten; its next announcement brings it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::blockchain::block::CheckedHeader;
use crate::blockchain::position::Position;
use crate::primitives::hash::Hash;

/// Headers without bodies in the whole node: about 5 MiB.
pub const HEADERS_MAX: usize = 20_000;
/// Branches that are as heavy as the tip and no heavier.
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
        if self.room() == 0 {
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

    /// Whether one more branch that is only as heavy as the tip may be kept (RULES 13).
    pub fn takes_equal(&self, work: u128) -> bool {
        let equal = (work, Hash::ZERO)..=(work, Hash([0xff; 32]));
        self.by_work.range(equal).count() < SIBLINGS_MAX
    }

    /// The heaviest header: what a locator starts from.
    pub fn heaviest(&self) -> Option<Position> {
        let (_, id) = self.by_work.last()?;
        self.position(id)
    }

    /// Whether a header's bodies are worth a download: it is heavier than the tip, or proven to lead there.
    pub fn is_worth(&self, id: &Hash, tip_work: u128) -> Option<Position> {
        let pending = self.headers.get(id)?;
        (pending.position.work > tip_work || pending.proven).then_some(pending.position)
    }

    /// The ids up to this header, oldest first, and the block that they follow: `known` if that is on the way,
    /// else the last one whose body is there.
    pub fn branch(&self, leaf: &Hash, known: Option<&Hash>) -> (Vec<Hash>, Hash) {
        let mut ids = Vec::new();
        let mut next = *leaf;
        while let Some(pending) = self.headers.get(&next).filter(|_| Some(&next) != known) {
            ids.push(next);
            next = pending.header.header().prev;
        }
        ids.reverse();
        (ids, next)
    }

    /// Forgets everything that does not lead to one of these leaves: nobody who is here has it, or the
    /// tip has outgrown it.
    pub fn keep_only(&mut self, leaves: impl Iterator<Item = Hash>, tip_work: u128) {
        let mut alive: BTreeSet<Hash> = BTreeSet::new();
        for leaf in leaves {
            let is_light = |pending: &&Pending| pending.position.work < tip_work && !pending.proven;
            if self.headers.get(&leaf).as_ref().is_none_or(is_light) {
                continue;
            }
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

    /// Whether the tip has outgrown something in here.
    pub fn has_outgrown(&self, tip_work: u128) -> bool {
        self.by_work.first().is_some_and(|(work, _)| *work < tip_work)
    }
}
