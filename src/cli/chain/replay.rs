//! A chain replayed from its file, trusting nothing but the bytes: every rule, every signature, every
//! branch, and a ledger that ends on the heaviest branch that keeps the rules.
//!
//! The node's own walk ([`crate::blockchain::chain`]) believes what it has checked before; this one is
//! the second opinion, and shares with it only the rules themselves.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::blockchain::block::{Block, CheckedBlock, ReadBlock};
use crate::blockchain::ledger::Ledger;
use crate::blockchain::params::Params;
use crate::blockchain::position::Position;
use crate::blockchain::reject::Reject;
use crate::blockchain::storage::{BLOCKS, BlockMeta, INDEX, PersistentBlockchain, ReadHandle, RecordNo, StoreError};
use crate::primitives::codec;
use crate::primitives::frame::HEADER_BYTES;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Verifier;
use crate::primitives::time::Wall;

/// Blocks that are judged together: their signatures share batches.
const RUN_BLOCKS: usize = 2_000;
/// Bytes of them.
const RUN_BYTES: usize = 1 << 20;

/// See the top of the file.
pub struct Replay<'a> {
    params: &'a Params,
    store: &'a PersistentBlockchain,
    reader: ReadHandle,
    verifier: Verifier,
    pool: Option<Arc<ThreadPool>>,
    ledger: Ledger,
    supply: u128,
    /// Where the ledger stands.
    at: BlockMeta,
    /// The heaviest block that is not bad; the first of them in the file.
    best: BlockMeta,
    /// What the ledger refused, and what builds on it.
    bad: BTreeSet<RecordNo>,
    /// The first record that is yet to be judged.
    judged: RecordNo,
}

impl<'a> Replay<'a> {
    /// At genesis.
    pub fn new(
        params: &'a Params,
        store: &'a PersistentBlockchain,
        pool: Option<Arc<ThreadPool>>,
    ) -> Result<Self, StoreError> {
        // Whoever wrote the file must not know the coefficients of a batch (RULES 26).
        let mut secret = [0; 32];
        let drawn = getrandom::fill(&mut secret).map_err(io::Error::other);
        drawn.map_err(StoreError::io("draw random numbers to verify", BLOCKS))?;
        let genesis = store.meta(RecordNo::GENESIS)?;
        Ok(Self {
            params,
            store,
            reader: store.reader(),
            verifier: Verifier::new(secret, pool.clone()),
            pool,
            ledger: Ledger::default(),
            supply: 0,
            at: genesis,
            best: genesis,
            bad: BTreeSet::new(),
            judged: RecordNo(1),
        })
    }

    /// Judges every block in the file; the first that is bad is the error. `progress` hears blocks done
    /// and blocks in all.
    pub fn run(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let records = self.store.records();
        let (mut next, mut buffer) = (1, Vec::new());
        let mut parent = Position::genesis(self.params);
        while next < records {
            let count = self.reader.frames(RecordNo(next), RUN_BLOCKS, RUN_BYTES, &mut buffer)?;
            let metas = self.reader.metas(RecordNo(next), count)?;
            for (meta, block) in metas.iter().zip(self.checked(&metas, &buffer)?) {
                parent = self.place(parent, meta, &block)?;
                self.follow(meta, &block)?;
            }
            next = metas.last().map_or(records, |last| last.record.0 + 1);
            self.judged = RecordNo(next);
            self.walk()?;
            progress(next.into(), records.into());
        }
        Ok(())
    }

    /// The heaviest block that keeps the rules.
    pub fn tip(&self) -> &BlockMeta {
        &self.at
    }

    /// The unspent coins.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What they add up to.
    pub fn supply(&self) -> u128 {
        self.supply
    }

    /// Blocks that the ledger refused, and those that build on them.
    pub fn refused(&self) -> usize {
        self.bad.len()
    }

    /// The height of the newest block of the chain that lies before the mark.
    pub fn durable_height(&self, durable_bytes: u64) -> Result<u64, StoreError> {
        let mut meta = self.at;
        // Never far: what is not durable was appended in the last seconds.
        while meta.record != RecordNo::GENESIS && meta.end() > durable_bytes {
            meta = self.parent(&meta)?;
        }
        Ok(meta.header.height)
    }

    /// The blocks of a run, checked alone: form, work, root, sums, signatures.
    fn checked(&self, metas: &[BlockMeta], buffer: &[u8]) -> Result<Vec<CheckedBlock>, StoreError> {
        let mut rest = buffer;
        let mut bodies = Vec::with_capacity(metas.len());
        for meta in metas {
            let (frame, after) = rest.split_at(HEADER_BYTES + meta.size_bytes as usize);
            bodies.push(&frame[HEADER_BYTES..]);
            rest = after;
        }
        let read = |body: &&[u8]| ReadBlock::read(self.params, body.to_vec());
        let reads: Vec<_> = match &self.pool {
            Some(pool) => pool.install(|| bodies.par_iter().map(read).collect()),
            None => bodies.iter().map(read).collect(),
        };
        let mut sound = Vec::with_capacity(reads.len());
        for (meta, read) in metas.iter().zip(reads) {
            match read {
                Ok(read) => sound.push(read),
                Err(reject) => return Err(self.store.broken(meta.record, reject)?),
            }
        }
        ReadBlock::verified_all(sound, &self.verifier).or_else(|(id, reject)| {
            let guilty = metas.iter().find(|meta| meta.id == id).expect("the culprit is one of the run");
            Err(self.store.broken(guilty.record, reject)?)
        })
    }

    /// Where a block stands, which its parent decides; and whether the index says the same.
    fn place(&self, last: Position, meta: &BlockMeta, block: &CheckedBlock) -> Result<Position, StoreError> {
        let prev = block.header().prev;
        let parent = if last.id == prev { last } else { self.position_of(prev)? };
        // Clocks change, and a chain that was early once is none the worse for it.
        let position = match parent.child(self.params, &block.checked_header(), Wall(u64::MAX)) {
            Ok(position) => position,
            Err(reject) => return Err(self.store.broken(meta.record, reject)?),
        };
        if (meta.id, meta.header, meta.work) != (block.id(), *block.header(), position.work) {
            return Err(StoreError::IndexDamaged { path: INDEX.into(), record: meta.record.0 });
        }
        Ok(position)
    }

    fn position_of(&self, id: Hash) -> Result<Position, StoreError> {
        let meta = self.store.find_meta(&id)?.expect("a block in the file comes after its parent");
        if meta.record == RecordNo::GENESIS {
            return Ok(Position::genesis(self.params));
        }
        let parent = self.parent(&meta)?;
        Ok(Position::of(&meta.header, meta.id, parent.header.time, meta.work))
    }

    fn parent(&self, meta: &BlockMeta) -> Result<BlockMeta, StoreError> {
        let parent = self.store.find_meta(&meta.header.prev)?;
        Ok(parent.expect("a block in the file comes after its parent"))
    }

    /// Applies a block that extends the chain; one of another branch waits for the walk.
    fn follow(&mut self, meta: &BlockMeta, block: &CheckedBlock) -> Result<(), StoreError> {
        if !self.bad.is_empty() && self.bad.contains(&self.parent(meta)?.record) {
            self.bad.insert(meta.record);
            return Ok(());
        }
        let leads = meta.work > self.best.work;
        let extends = block.header().prev == self.at.id && self.best.id == self.at.id;
        if extends && self.apply(meta, block).is_err() {
            self.bad.insert(meta.record);
            return Ok(());
        }
        if leads {
            self.best = *meta;
        }
        Ok(())
    }

    /// Takes the ledger to the heaviest branch that it accepts.
    fn walk(&mut self) -> Result<(), StoreError> {
        while self.at.id != self.best.id {
            let mut path = Vec::new();
            let mut fork = self.best;
            while self.at.id != fork.id {
                if fork.header.height >= self.at.header.height {
                    path.push(fork);
                    fork = self.parent(&fork)?;
                } else {
                    self.undo()?;
                }
            }
            while let Some(meta) = path.pop() {
                let block = self.block(&meta)?;
                if self.apply(&meta, &block).is_err() {
                    self.bad.insert(meta.record);
                    self.choose()?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Finds the heaviest block that builds on none that is bad, among those judged so far.
    fn choose(&mut self) -> Result<(), StoreError> {
        let (mut bad_ids, mut bad) = (BTreeSet::new(), std::mem::take(&mut self.bad));
        let (mut best, judged) = (self.store.meta(RecordNo::GENESIS)?, self.judged);
        self.store.each_meta(RecordNo(1), &mut |meta| {
            if meta.record >= judged {
                return;
            }
            if bad.contains(&meta.record) || bad_ids.contains(&meta.header.prev) {
                bad_ids.insert(meta.id);
                bad.insert(meta.record);
            } else if meta.work > best.work {
                best = meta;
            }
        })?;
        (self.bad, self.best) = (bad, best);
        Ok(())
    }

    fn apply(&mut self, meta: &BlockMeta, block: &CheckedBlock) -> Result<(), Reject> {
        self.ledger.apply(block.spent(), block.created())?;
        let (made, spent) = amounts(block.bytes());
        self.supply = self.supply + made - spent;
        self.at = *meta;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        let block = self.block(&self.at)?;
        self.ledger.undo(block.spent(), block.created());
        let (made, spent) = amounts(block.bytes());
        self.supply = self.supply + spent - made;
        self.at = self.parent(&self.at)?;
        Ok(())
    }

    /// A block that was judged before.
    fn block(&self, meta: &BlockMeta) -> Result<CheckedBlock, StoreError> {
        match ReadBlock::read(self.params, self.store.block(meta.record)?) {
            Ok(read) => Ok(read.trusted()),
            Err(reject) => Err(self.store.broken(meta.record, reject)?),
        }
    }
}

/// What a block makes and what it spends, in units.
fn amounts(bytes: &[u8]) -> (u128, u128) {
    let block: Block = codec::decode(bytes).expect("it was decoded a moment ago");
    let transfers = || block.transfers.iter();
    let outputs = transfers().flat_map(|transfer| &transfer.outputs).map(|output| output.amount);
    let inputs = transfers().flat_map(|transfer| &transfer.inputs).map(|input| input.amount);
    (outputs.chain([block.coinbase.output.amount]).map(u128::from).sum(), inputs.map(u128::from).sum())
}
