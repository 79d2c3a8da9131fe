//! The walk: the ledger goes to the heaviest branch, one block at a time.
//!
//! It undoes blocks until it stands where the branches part, then applies blocks until it stands on the
//! goal, and only then do readers see the new tip. A block that the ledger refuses is condemned and the
//! walk turns back. It can stop after any block and go on in the next turn.

use std::collections::VecDeque;

use super::{Chain, TURN_BYTES};
use crate::blockchain::block::{CheckedBlock, ReadBlock};
use crate::blockchain::reject::Reject;
use crate::blockchain::storage::{BlockMeta, RecordNo, StoreError};
use crate::primitives::hash::Hash;

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where the branches part.
    pub(super) fork: BlockMeta,
    /// The block at the end of the path.
    pub(super) goal: Hash,
    /// Its work.
    pub(super) goal_work: u128,
    /// From the fork's child up to the goal.
    pub(super) path: VecDeque<RecordNo>,
    /// Those of the path that are applied.
    pub(super) applied: Vec<RecordNo>,
    /// Blocks of the old branch that were undone.
    pub(super) undone: u64,
    /// Whether this is the way back from a branch that failed.
    pub(super) back: bool,
}

/// A step of the walk.
#[derive(Debug)]
pub enum Passed {
    /// This block was applied.
    Connected(CheckedBlock),
    /// This one was undone.
    Undone(CheckedBlock),
}

/// What a piece of the walk came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The ledger stands on the goal; nothing is left to do.
    Still,
    /// The turn's bytes are used up: call again.
    More,
    /// The goal is reached and published.
    NewTip {
        /// Blocks of the old branch that were undone.
        undone: u64,
    },
    /// A block broke a rule that only the ledger knows: it is condemned, and the walk turns back.
    Failed {
        /// Its id.
        id: Hash,
        /// Where it lies in the file.
        record: RecordNo,
        /// The rule.
        reject: Reject,
    },
}

impl Chain {
    /// Goes on with the walk, for at most [`TURN_BYTES`] of blocks. [`Self::take_passed`] tells which ones.
    pub fn advance(&mut self) -> Result<Step, StoreError> {
        let mut budget = TURN_BYTES;
        if self.walk.is_none() {
            // What was heavier than the tip when it came may have been overtaken since.
            let Some(goal) = self.next_goal.take().filter(|goal| goal.work > self.tip.work) else {
                self.forget_fresh();
                return Ok(Step::Still);
            };
            self.walk = Some(self.walk_to(goal)?);
        }
        loop {
            let walk = self.walk.as_mut().expect("set above, and only an arrival takes it");
            if self.at.record != walk.fork.record && walk.applied.is_empty() {
                walk.undone += 1;
                let block = self.undo_one()?;
                budget = budget.saturating_sub(block.memory_bytes());
                self.passed.push(Passed::Undone(block));
            } else if let Some(record) = walk.path.pop_front() {
                match self.apply_one(record)? {
                    Ok(block) => {
                        budget = budget.saturating_sub(block.memory_bytes());
                        self.passed.push(Passed::Connected(block));
                    }
                    Err((id, reject)) => {
                        self.turn_back(record, id);
                        return Ok(Step::Failed { id, record, reject });
                    }
                }
            } else {
                return self.arrive();
            }
            if budget == 0 {
                return Ok(Step::More);
            }
        }
    }

    /// The blocks that were applied or undone and nobody has taken note of, in order.
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// Takes note of them: a turn's at the most, if it is called in each.
    pub fn take_passed(&mut self) -> Vec<Passed> {
        std::mem::take(&mut self.passed)
    }

    /// The way from the tip to a heavier block.
    pub(super) fn walk_to(&self, goal: BlockMeta) -> Result<Walk, StoreError> {
        let reader = self.store.reader();
        let mut path = VecDeque::new();
        let mut fork = goal;
        while !reader.is_active(&fork) {
            path.push_front(fork.record);
            fork = self.parent(&fork)?;
        }
        Ok(Walk { fork, goal: goal.id, goal_work: goal.work, path, applied: Vec::new(), undone: 0, back: false })
    }

    /// Publishes where the walk has led.
    fn arrive(&mut self) -> Result<Step, StoreError> {
        let walk = self.walk.take().expect("only a walk arrives");
        if walk.back {
            // Readers have seen this tip all the time. A third branch may be heavier, which the one that
            // failed had outshone.
            let best = self.heaviest()?;
            self.next_goal = (best.work > self.tip.work).then_some(best);
            return Ok(if self.next_goal.is_some() { Step::More } else { Step::Still });
        }
        self.tip = self.at;
        self.tip_position = self.position_of(&self.tip)?;
        self.store.publish(walk.fork.header.height, &walk.applied, self.tip);
        Ok(Step::NewTip { undone: walk.undone })
    }

    /// A block of the path was refused: it and the rest are bad, and the ledger returns to the tip.
    fn turn_back(&mut self, record: RecordNo, id: Hash) {
        let walk = self.walk.take().expect("only a walk fails");
        self.condemn(id);
        self.bad.insert(record);
        self.bad.extend(walk.path);
        self.forget_fresh();
        let reader = self.store.reader();
        let heights = walk.fork.header.height + 1..=self.tip.header.height;
        let path = heights.filter_map(|height| reader.record_at(height)).collect();
        // Undoing begins while nothing of the way back is applied: first what this walk had applied.
        let (fork, goal, goal_work) = (walk.fork, self.tip.id, self.tip.work);
        self.walk = Some(Walk { fork, goal, goal_work, path, applied: Vec::new(), undone: 0, back: true });
        // Chosen anew when the way back is done.
        self.next_goal = None;
    }

    fn forget_fresh(&mut self) {
        self.fresh.clear();
        self.fresh_bytes = 0;
    }

    /// Applies a block on top of where the ledger stands; gives it, or why it was refused.
    pub(super) fn apply_one(&mut self, record: RecordNo) -> Result<Result<CheckedBlock, (Hash, Reject)>, StoreError> {
        let (meta, block) = self.block_for_walk(record)?;
        debug_assert_eq!(block.header().prev, self.at.id, "a path links");
        if let Err(reject) = self.ledger.apply(block.spent(), block.created()) {
            return Ok(Err((block.id(), reject)));
        }
        self.at = meta;
        self.store.mark_connected(record);
        if let Some(walk) = &mut self.walk {
            walk.applied.push(record);
        }
        Ok(Ok(block))
    }

    /// Takes the block back on which the ledger stands; gives it.
    pub(super) fn undo_one(&mut self) -> Result<CheckedBlock, StoreError> {
        let (_, block) = self.block_for_walk(self.at.record)?;
        self.ledger.undo(block.spent(), block.created());
        self.at = self.parent(&self.at)?;
        Ok(block)
    }

    /// A block of the file: from memory if it was appended just now, else read back and re-read into
    /// its tables. Its signatures were verified before it was written.
    fn block_for_walk(&mut self, record: RecordNo) -> Result<(BlockMeta, CheckedBlock), StoreError> {
        while let Some((fresh, block)) = self.fresh.pop_front_if(|(fresh, _)| fresh.record <= record) {
            self.fresh_bytes -= block.memory_bytes();
            if fresh.record == record {
                return Ok((fresh, block));
            }
        }
        let bytes = self.store.block(record)?;
        match ReadBlock::read(&self.params, bytes) {
            Ok(read) => Ok((self.store.meta(record)?, read.trusted())),
            Err(reject) => Err(self.store.broken(record, reject)?),
        }
    }
}
