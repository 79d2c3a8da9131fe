//! What the fetching of bodies keeps books on: runs, sources, deliveries.

use std::collections::VecDeque;

use crate::blockchain::block::CheckedBlock;
use crate::node::event::PeerId;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Consecutive blocks that one peer is asked for.
#[derive(Debug)]
pub(super) struct Run {
    /// Those that have not come yet, oldest first.
    pub(super) missing: VecDeque<Hash>,
    /// Those that have come before their predecessors' run was complete, and from whom.
    pub(super) waiting: Vec<(PeerId, CheckedBlock)>,
    /// Who is asked; nobody yet, or nobody any more.
    pub(super) peer: Option<PeerId>,
    /// Since when.
    pub(super) asked_at: Mono,
}

impl Run {
    /// Who owes us blocks of it.
    pub(super) fn owed_by(&self) -> Option<PeerId> {
        self.peer.filter(|_| !self.missing.is_empty())
    }

    /// Whether somebody has to be asked for it.
    pub(super) fn is_orphaned(&self) -> bool {
        self.peer.is_none() && !self.missing.is_empty()
    }
}

/// What we know of a peer as a source of bodies.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Blocks of each question that is not answered in full. It outlives every plan: what we asked for
    /// stays asked.
    pub(super) unanswered: VecDeque<usize>,
    /// When it last sent a body, or began to owe one.
    pub(super) moved_at: Mono,
    /// Not asked before then, nor believed to have what it has shown.
    pub(super) slow_until: Mono,
    /// How often in a row it has let us wait.
    pub(super) lates: u32,
    /// It does not have the branch that ends here.
    pub(super) lacks: Option<Hash>,
    /// It has answered a question in full.
    pub(super) has_delivered: bool,
}

impl Source {
    /// So many blocks have come from it.
    pub(super) fn delivered(&mut self, mut blocks: usize) {
        while let Some(owed) = self.unanswered.front_mut() {
            let taken = blocks.min(*owed);
            (*owed, blocks) = (*owed - taken, blocks - taken);
            if *owed > 0 {
                return;
            }
            self.unanswered.pop_front();
            (self.lates, self.has_delivered) = (0, true);
        }
    }
}

/// A delivery: whose the records from `first` up to `end` are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) peer: PeerId,
}
