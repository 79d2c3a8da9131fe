//! Opening a chain: the newest checkpoint that matches the file, and a replay from there to its
//! heaviest branch, before anybody looks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::walk::Walk;
use super::{Chain, TURN_BYTES};
use crate::blockchain::condemned::{self, Condemned};
use crate::blockchain::disk::Disk;
use crate::blockchain::headers::HeaderTree;
use crate::blockchain::ledger::Ledger;
use crate::blockchain::params::Params;
use crate::blockchain::position::Position;
use crate::blockchain::reject::Reject;
use crate::blockchain::storage::checkpoint::{self, Loaded};
use crate::blockchain::storage::{BlockMeta, PersistentBlockchain, RecordNo, Recovery, StoreError};
use crate::primitives::hash::Hash;

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
            passed: Vec::new(),
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
    pub(super) fn heaviest(&mut self) -> Result<BlockMeta, StoreError> {
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
                Ok(block) => told += block.memory_bytes(),
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
}
