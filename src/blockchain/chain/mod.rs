//! The chain: which blocks there are, which branch is the heaviest, and a ledger that stands on it.
//!
//! Three motions, kept apart. [`Chain::open`] ([`opening`]) replays the file at start. [`Chain::accept`],
//! here, decides where checked blocks belong and appends them to the file, whatever their branch.
//! [`Chain::advance`] ([`walk`]) takes the ledger to the heaviest branch, a bounded piece at a time. A
//! reorganisation of any depth and the plain extension of the tip are the same walk.
//!
//! First seen wins a tie: "first" is the order in the file, so a restart does not change it.

mod opening;

mod walk;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub use opening::{Opening, Progress, Stage};
use walk::Walk;
pub use walk::{Passed, Step};

use crate::blockchain::block::{CheckedBlock, CheckedHeader};
use crate::blockchain::condemned::Condemned;
use crate::blockchain::headers::HeaderTree;
use crate::blockchain::ledger::Ledger;
use crate::blockchain::mempool::Ground;
use crate::blockchain::params::Params;
use crate::blockchain::position::Position;
use crate::blockchain::reject::{Blame, Reject};
use crate::blockchain::storage::{BlockMeta, PersistentBlockchain, ReadHandle, RecordNo, StoreError};
use crate::primitives::hash::Hash;
use crate::primitives::time::{Now, Wall};

/// Bytes of blocks, in memory, that one turn applies or undoes: a count, so that it is the same on every run.
pub const TURN_BYTES: usize = 4 << 20;
/// Equal-work blocks of one height that are kept in the file.
const SIBLINGS_MAX: usize = 4;

/// Why a block was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks a rule.
    Rule(Reject),
    /// Its parent's body is not in the file.
    NoParent,
    /// It is in the file already.
    Known,
    /// Weaker than the tip, and nobody asked for it.
    Weak,
}

/// What became of blocks that were handed in: in the file, or not for this reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// How many were appended.
    pub appended: usize,
    /// The others.
    pub refused: Vec<(Hash, Refusal)>,
}

/// Blocks, ledger and the headers above them. The owner thread alone has it.
#[derive(Debug)]
pub struct Chain {
    params: Arc<Params>,
    store: PersistentBlockchain,
    ledger: Ledger,
    headers: HeaderTree,
    condemned: Condemned,
    condemned_changed: bool,
    /// What readers see.
    tip: BlockMeta,
    tip_position: Position,
    /// Where the ledger stands; the tip, unless a walk is under way.
    at: BlockMeta,
    walk: Option<Walk>,
    /// The heaviest block in the file that the walk under way does not lead to.
    next_goal: Option<BlockMeta>,
    /// Blocks just appended, at most a turn's bytes of them: the walk need not read them back.
    fresh: VecDeque<(BlockMeta, CheckedBlock)>,
    fresh_bytes: usize,
    /// Blocks that the walk has applied or undone and nobody has taken note of.
    passed: Vec<Passed>,
    /// How many blocks of this work, the tip's, came unasked: a few are kept, the rest is spam.
    siblings: (u128, usize),
    /// In the file, but on top of a condemned block.
    bad: BTreeSet<RecordNo>,
}

impl Chain {
    // --- what is known ---

    /// The network.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The tip that readers see.
    pub fn tip(&self) -> &BlockMeta {
        &self.tip
    }

    /// Where the tip stands.
    pub fn tip_position(&self) -> &Position {
        &self.tip_position
    }

    /// The unspent coins, as of where the walk is; of the tip when it [rests](Self::rests).
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What a pool of transactions stands on: the ledger where the walk is.
    pub fn ground(&self, now: Now) -> Ground<'_> {
        Ground { ledger: &self.ledger, next_height: self.at.header.height + 1, now }
    }

    /// Whether the ledger stands on the tip.
    pub fn rests(&self) -> bool {
        self.walk.is_none() && self.next_goal.is_none()
    }

    /// The file.
    pub fn store(&self) -> &PersistentBlockchain {
        &self.store
    }

    /// The file, for marking what is durable.
    pub fn store_mut(&mut self) -> &mut PersistentBlockchain {
        &mut self.store
    }

    /// A handle for threads that read.
    pub fn reader(&self) -> ReadHandle {
        self.store.reader()
    }

    /// Headers whose bodies are missing.
    pub fn headers(&self) -> &HeaderTree {
        &self.headers
    }

    /// The bytes of the condemned ids, if they changed since the last call.
    pub fn condemned_to_save(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.condemned_changed).then(|| self.condemned.to_bytes())
    }

    /// Whether a block was refused for good.
    pub fn is_condemned(&self, id: &Hash) -> bool {
        self.condemned.contains(id)
    }

    /// Whether the block's body is in the file.
    pub fn has_body(&self, id: &Hash) -> Result<bool, StoreError> {
        Ok(self.store.find(id)?.is_some())
    }

    /// Where a header stands that we know, with its body or without.
    pub fn position(&self, id: &Hash) -> Result<Option<Position>, StoreError> {
        if *id == self.tip_position.id {
            return Ok(Some(self.tip_position));
        }
        if let Some(position) = self.headers.position(id) {
            return Ok(Some(position));
        }
        match self.store.find_meta(id)? {
            Some(meta) => Ok(Some(self.position_of(&meta)?)),
            None => Ok(None),
        }
    }

    fn position_of(&self, meta: &BlockMeta) -> Result<Position, StoreError> {
        if meta.record == RecordNo::GENESIS {
            return Ok(Position::genesis(&self.params));
        }
        let parent = self.parent(meta)?;
        Ok(Position::of(&meta.header, meta.id, parent.header.time, meta.work))
    }

    fn parent(&self, meta: &BlockMeta) -> Result<BlockMeta, StoreError> {
        // Nearly always the record before it.
        let before = self.store.meta(RecordNo(meta.record.0.saturating_sub(1)))?;
        if before.id == meta.header.prev {
            return Ok(before);
        }
        let parent = self.store.find_meta(&meta.header.prev)?;
        Ok(parent.expect("a block is appended after its parent"))
    }

    /// Ids by which another node finds where our chains part: from the best header we have down,
    /// ten one by one and then at doubling distances, genesis last.
    pub fn locator(&self) -> Result<Vec<Hash>, StoreError> {
        let mut ids = Vec::new();
        if let Some(heaviest) = self.headers.heaviest().filter(|heaviest| heaviest.work > self.tip.work) {
            ids.push(heaviest.id);
        }
        let reader = self.store.reader();
        let (mut height, mut step) = (self.tip.header.height, 1);
        loop {
            if let Some(record) = reader.record_at(height) {
                ids.push(self.store.meta(record)?.id);
            }
            if height == 0 {
                return Ok(ids);
            }
            if ids.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
    }

    // --- headers ---

    /// Takes a header that was checked against its position; false if there is no room for it.
    pub fn insert_header(&mut self, header: CheckedHeader, position: Position, proven: bool) -> bool {
        self.headers.insert(header, position, proven)
    }

    /// Forgets header-only branches that do not lead to one of these, or that the tip has outgrown.
    pub fn keep_headers(&mut self, leaves: impl Iterator<Item = Hash>) {
        self.headers.keep_only(leaves, self.tip.work);
    }

    /// Forgets a header-only branch from this block up.
    pub fn forget_headers(&mut self, root: &Hash) {
        self.headers.remove_branch(root);
    }

    /// The most work that we know of and have the bodies for, published or not yet.
    pub fn known_work(&self) -> u128 {
        let walk = self.walk.as_ref().filter(|walk| !walk.back).map_or(0, |walk| walk.goal_work);
        let next = self.next_goal.as_ref().map_or(0, |goal| goal.work);
        self.tip.work.max(walk).max(next)
    }

    /// Never again this block, nor what builds on it.
    pub fn condemn(&mut self, id: Hash) {
        self.condemned_changed |= self.condemned.add(id);
        self.headers.remove_branch(&id);
    }

    // --- blocks ---

    /// Appends blocks to the file, each after its parent; a walk may follow ([`Self::advance`]).
    ///
    /// `asked`: we fetched them, so a weaker branch is kept too. Everything is appended in one write.
    pub fn accept(&mut self, now: Wall, blocks: Vec<CheckedBlock>, asked: bool) -> Result<Acceptance, StoreError> {
        let mut acceptance = Acceptance::default();
        let mut taken: Vec<CheckedBlock> = Vec::with_capacity(blocks.len());
        // The last one taken is the parent of the next in nearly every case.
        let mut last: Option<Position> = None;
        for block in blocks {
            let parent = match last {
                Some(position) if position.id == block.header().prev => Ok(position),
                _ => self.parent_for(&block, &taken)?,
            };
            let verdict = parent.and_then(|parent| self.judge(now, &block, &parent, asked));
            match verdict {
                Ok(_) if self.has_body(&block.id())? => acceptance.refused.push((block.id(), Refusal::Known)),
                Ok(position) => {
                    last = Some(position);
                    taken.push(block);
                }
                Err(refusal) => {
                    if let Refusal::Rule(reject) = &refusal
                        && reject.blame() == Blame::Block
                    {
                        self.condemn(block.id());
                    }
                    acceptance.refused.push((block.id(), refusal));
                }
            }
        }
        acceptance.appended = taken.len();
        self.append(taken)?;
        Ok(acceptance)
    }

    /// The position of a block's parent, whose body must be in the file or on its way there.
    fn parent_for(
        &self,
        block: &CheckedBlock,
        taken: &[CheckedBlock],
    ) -> Result<Result<Position, Refusal>, StoreError> {
        let prev = block.header().prev;
        if self.condemned.contains(&prev) {
            return Ok(Err(Refusal::Rule(Reject::Condemned { id: prev })));
        }
        if taken.iter().any(|before| before.id() == prev) {
            // Not the last one taken: two branches in one batch. Rare enough to be asked for again.
            return Ok(Err(Refusal::NoParent));
        }
        let Some(record) = self.store.find(&prev)? else { return Ok(Err(Refusal::NoParent)) };
        if self.bad.contains(&record) {
            return Ok(Err(Refusal::Rule(Reject::Condemned { id: prev })));
        }
        match self.position(&prev)? {
            Some(position) => Ok(Ok(position)),
            None => Ok(Err(Refusal::NoParent)),
        }
    }

    fn judge(&mut self, now: Wall, block: &CheckedBlock, parent: &Position, asked: bool) -> Result<Position, Refusal> {
        if self.condemned.contains(&block.id()) {
            return Err(Refusal::Rule(Reject::Condemned { id: block.id() }));
        }
        let position = parent.child(&self.params, &block.checked_header(), now).map_err(Refusal::Rule)?;
        if !asked && position.work < self.tip.work {
            return Err(Refusal::Weak);
        }
        if !asked && position.work == self.tip.work {
            if self.siblings.0 != position.work {
                self.siblings = (position.work, 0);
            }
            self.siblings.1 += 1;
            if self.siblings.1 > SIBLINGS_MAX {
                return Err(Refusal::Weak);
            }
        }
        Ok(position)
    }

    fn append(&mut self, blocks: Vec<CheckedBlock>) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let metas = self.store.append(&blocks)?;
        for (meta, block) in metas.into_iter().zip(blocks) {
            self.headers.remove(&meta.id);
            self.consider(meta);
            if self.fresh_bytes < TURN_BYTES {
                self.fresh_bytes += block.memory_bytes();
                self.fresh.push_back((meta, block));
            }
        }
        Ok(())
    }

    /// Makes a block of the file the goal if nothing heavier is.
    fn consider(&mut self, meta: BlockMeta) {
        if let Some(walk) = &mut self.walk
            && !walk.back
            && walk.goal == meta.header.prev
        {
            walk.path.push_back(meta.record);
            (walk.goal, walk.goal_work) = (meta.id, meta.work);
            return;
        }
        let heaviest = self.next_goal.as_ref().map_or(self.tip.work, |goal| goal.work.max(self.tip.work));
        if meta.work > heaviest {
            self.next_goal = Some(meta);
        }
    }
}
