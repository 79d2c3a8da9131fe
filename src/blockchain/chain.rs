//! The chain: which blocks there are, which branch is the heaviest, and a ledger that stands on it.
//!
//! Two motions, kept apart. [`Chain::accept`] decides where checked blocks belong and appends them to
//! the file, whatever their branch. [`Chain::advance`] walks the ledger one block at a time towards
//! the heaviest branch: it undoes blocks until it stands where the branches part, then applies blocks
//! until it stands on the goal. A reorganisation of any depth, the recovery at start, and the plain
//! extension of the tip are this one walk; it can stop after any block and go on in the next turn, so
//! no turn is long. Readers see the new tip only when the walk has arrived.
//!
//! A block that the ledger refuses is condemned and the walk turns back to the tip that readers still
//! see. First seen wins a tie: "first" is the order in the file, so a restart does not change it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::blockchain::block::{CheckedBlock, CheckedHeader, ReadBlock};
use crate::blockchain::condemned::{self, Condemned};
use crate::blockchain::disk::Disk;
use crate::blockchain::headers::HeaderTree;
use crate::blockchain::ledger::Ledger;
use crate::blockchain::params::Params;
use crate::blockchain::position::Position;
use crate::blockchain::reject::{Blame, Reject};
use crate::blockchain::storage::checkpoint::{self, Loaded};
use crate::blockchain::storage::{BlockMeta, PersistentBlockchain, ReadHandle, RecordNo, Recovery, StoreError};
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Bytes of blocks that one turn applies or undoes: a count, so that it is the same on every run.
pub const TURN_BYTES: usize = 4 << 20;
/// Equal-work blocks of one height that are kept in the file.
const SIBLINGS_MAX: usize = 4;

/// A walk under way.
#[derive(Debug)]
struct Walk {
    /// Where the branches part.
    fork: BlockMeta,
    /// The block at the end of the path.
    goal: Hash,
    /// From the fork's child up to the goal.
    path: VecDeque<RecordNo>,
    /// Those of the path that are applied.
    applied: Vec<RecordNo>,
    /// Blocks of the old branch that were undone.
    undone: u64,
    /// Whether this is the way back from a branch that failed.
    back: bool,
}

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

/// How far opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Of what.
    pub stage: Stage,
    /// Bytes read, or blocks replayed.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// What opening is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the block file, in bytes.
    Reading,
    /// Replaying blocks into the ledger.
    Replaying,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Of the files.
    pub recovery: Recovery,
    /// The height of the checkpoint that was used.
    pub checkpoint: Option<u64>,
    /// Why one was not.
    pub ignored: Option<String>,
    /// Blocks replayed into the ledger.
    pub replayed: u64,
    /// Blocks of the file that the ledger refused.
    pub condemned: Vec<(Hash, Reject)>,
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
    /// Blocks as heavy as the tip that came unasked, at this height: a few are kept, the rest is spam.
    siblings: (u64, usize),
    /// In the file, but on top of a condemned block.
    bad: BTreeSet<RecordNo>,
}

impl Chain {
    /// Opens the file, takes the newest checkpoint that matches it, and walks from there to the
    /// heaviest branch. `progress` hears how far each stage is.
    pub fn open(
        params: Arc<Params>,
        disk: &Arc<dyn Disk>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opening), StoreError> {
        let condemned = Condemned::load(&**disk).map_err(StoreError::io("read", disk.path(condemned::FILE)))?;
        let mut reading = |done, total| progress(Progress { stage: Stage::Reading, done, total });
        let (store, recovery) = PersistentBlockchain::open(Arc::clone(disk), &params, &mut reading)?;
        let loaded = checkpoint::read(&**disk, &store.identity())?;
        let genesis = store.meta(RecordNo::GENESIS)?;
        let mut chain = Self {
            ledger: Ledger::default(),
            headers: HeaderTree::default(),
            condemned_changed: false,
            tip_position: Position::genesis(&params),
            tip: store.reader().tip(),
            at: genesis,
            walk: None,
            next_goal: None,
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            siblings: (0, 0),
            bad: BTreeSet::new(),
            params,
            store,
            condemned,
        };
        let mut opening = Opening { recovery, checkpoint: None, ignored: None, replayed: 0, condemned: Vec::new() };
        match loaded {
            Loaded::Ledger { tip, ledger } => match chain.store.find_meta(&tip)? {
                Some(meta) => {
                    (chain.at, chain.ledger) = (meta, ledger);
                    opening.checkpoint = Some(meta.header.height);
                }
                None => opening.ignored = Some(format!("it stands on block {tip}, which is not in the file")),
            },
            Loaded::Ignored(why) => opening.ignored = Some(why),
            Loaded::Missing => {}
        }
        chain.choose()?;
        while let Some((id, reject)) = chain.replay(&mut opening.replayed, progress)? {
            opening.condemned.push((id, reject));
            chain.choose()?;
        }
        chain.tip_position = chain.position_of(&chain.tip)?;
        chain.store.mark_active_connected();
        Ok((chain, opening))
    }

    /// Makes the heaviest branch without a condemned block the active one, before anybody looks.
    fn choose(&mut self) -> Result<(), StoreError> {
        if self.condemned.is_empty() {
            return Ok(());
        }
        let best = self.heaviest()?;
        let Walk { fork, path, .. } = self.walk_to(best)?;
        let path: Vec<RecordNo> = path.into();
        self.tip = best;
        self.store.publish(fork.header.height, &path, best);
        Ok(())
    }

    /// The first block of the file to have most work, of those that build on nothing condemned; notes
    /// which do. One pass over the index.
    fn heaviest(&mut self) -> Result<BlockMeta, StoreError> {
        let (mut bad, mut best) = (BTreeSet::new(), self.store.meta(RecordNo::GENESIS)?);
        // Few blocks are ever condemned and fewer of those are in the file: their descendants fit in memory.
        let mut bad_ids = BTreeSet::new();
        let condemned = &self.condemned;
        self.store.each_meta(RecordNo(1), &mut |meta| {
            if condemned.contains(&meta.id) || (!bad_ids.is_empty() && bad_ids.contains(&meta.header.prev)) {
                bad_ids.insert(meta.id);
                bad.insert(meta.record);
            } else if meta.work > best.work {
                best = meta;
            }
        })?;
        self.bad = bad;
        Ok(best)
    }

    /// Walks from the checkpoint to the tip; gives the block that the ledger refused, if it did.
    fn replay(
        &mut self,
        replayed: &mut u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<(Hash, Reject)>, StoreError> {
        // The checkpoint may stand on a branch that was left since.
        while !self.store.reader().is_active(&self.at) {
            self.undo_one()?;
        }
        let (start, end) = (self.at.header.height, self.tip.header.height);
        let mut told = 0;
        for height in start + 1..=end {
            let record = self.store.reader().record_at(height).expect("heights up to the tip are active");
            match self.apply_one(record)? {
                Ok(size_bytes) => told += size_bytes,
                Err((id, reject)) => {
                    self.condemn(id);
                    return Ok(Some((id, reject)));
                }
            }
            *replayed += 1;
            if told >= TURN_BYTES {
                told = 0;
                progress(Progress { stage: Stage::Replaying, done: height - start, total: end - start });
            }
        }
        Ok(None)
    }

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
        let parent = self.store.find_meta(&meta.header.prev)?;
        Ok(parent.expect("a block is appended after its parent"))
    }

    /// Ids by which another node finds where our chains part: from the best header we have down,
    /// ten one by one and then at doubling distances, genesis last.
    pub fn locator(&self) -> Result<Vec<Hash>, StoreError> {
        let mut ids = Vec::new();
        if let Some(best) = self.headers.best(self.tip.work) {
            ids.push(best.id);
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

    /// Forgets header-only branches that the tip has outgrown, but for the one that leads to `keep`.
    pub fn evict_headers(&mut self, keep: Option<&Hash>) {
        self.headers.evict(self.tip.work, keep);
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
        if !asked && position.work <= self.tip.work {
            if self.siblings.0 != position.height {
                self.siblings = (position.height, 0);
            }
            self.siblings.1 += 1;
            if position.work < self.tip.work || self.siblings.1 > SIBLINGS_MAX {
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
                self.fresh_bytes += block.bytes().len();
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
            walk.goal = meta.id;
            return;
        }
        let heaviest = self.next_goal.as_ref().map_or(self.tip.work, |goal| goal.work.max(self.tip.work));
        if meta.work > heaviest {
            self.next_goal = Some(meta);
        }
    }

    // --- the walk ---

    /// Goes on with the walk, for at most [`TURN_BYTES`] of blocks.
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
                budget = budget.saturating_sub(self.undo_one()?);
            } else if let Some(record) = walk.path.pop_front() {
                match self.apply_one(record)? {
                    Ok(size_bytes) => budget = budget.saturating_sub(size_bytes),
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

    /// The way from the tip to a heavier block.
    fn walk_to(&self, goal: BlockMeta) -> Result<Walk, StoreError> {
        let reader = self.store.reader();
        let mut path = VecDeque::new();
        let mut fork = goal;
        while !reader.is_active(&fork) {
            path.push_front(fork.record);
            fork = self.parent(&fork)?;
        }
        Ok(Walk { fork, goal: goal.id, path, applied: Vec::new(), undone: 0, back: false })
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
        let (fork, goal) = (walk.fork, self.tip.id);
        self.walk = Some(Walk { fork, goal, path, applied: Vec::new(), undone: 0, back: true });
        // Chosen anew when the way back is done.
        self.next_goal = None;
    }

    fn forget_fresh(&mut self) {
        self.fresh.clear();
        self.fresh_bytes = 0;
    }

    /// Applies a block on top of where the ledger stands; gives its size, or why it was refused.
    fn apply_one(&mut self, record: RecordNo) -> Result<Result<usize, (Hash, Reject)>, StoreError> {
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
        Ok(Ok(block.bytes().len()))
    }

    /// Takes the block back on which the ledger stands; gives its size.
    fn undo_one(&mut self) -> Result<usize, StoreError> {
        let (_, block) = self.block_for_walk(self.at.record)?;
        self.ledger.undo(block.spent(), block.created());
        self.at = self.parent(&self.at)?;
        Ok(block.bytes().len())
    }

    /// A block of the file: from memory if it was appended just now, else read back and re-read into
    /// its tables. Its signatures were verified before it was written.
    fn block_for_walk(&mut self, record: RecordNo) -> Result<(BlockMeta, CheckedBlock), StoreError> {
        while let Some((fresh, block)) = self.fresh.pop_front_if(|(fresh, _)| fresh.record <= record) {
            self.fresh_bytes -= block.bytes().len();
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
