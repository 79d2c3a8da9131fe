//! Which block has a transaction: a look-up for people, beside the chain and derived from it.
//!
//! No rule needs it, so it follows the block file at leisure and never holds up the owner. What is new waits in
//! memory; before that would be more than 8,192 entries they are merged with the smallest runs on the disk into one
//! sorted [`run`] ("log-structured merge", O'Neil et al. 1996), each level eight times as large as the one below, so
//! that a look-up asks a few files and an entry is written a few times. Only durable blocks are taken, of all
//! branches; a look-up reads the block itself, so an answer is right or there is none.
//!
//! Whatever does not match the block file is made anew from it. Removing the files costs nothing but time.
//!
//! Left out: places within a block, which a look-up finds by reading it.

mod run;

use std::collections::BTreeSet;
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

use parking_lot::RwLock;

use self::run::{Entry, Run};
use crate::blockchain::block::{Block, COINBASE_BYTES, HEADER_BYTES, TRANSFERS_AT, TRANSFERS_MAX};
use crate::blockchain::disk::Disk;
use crate::blockchain::params::BLOCK_BYTES_MAX;
use crate::blockchain::storage::{BlockMeta, FileIdentity, ROOM_MIN_BYTES, ReadHandle, RecordNo, StoreError};
use crate::blockchain::transaction::Transaction;
use crate::primitives::codec;
use crate::primitives::frame::{self, FrameHeader};
use crate::primitives::hash::Hash;

/// Entries that wait in memory.
const TAIL_MAX: usize = 8_192;
/// How much larger a level is than the one below.
const GROWTH: u64 = 8;
/// Levels: the last holds 8,192 × 8^7 entries, 200 GB of them.
const LEVELS: usize = 7;
/// Blocks that are read at once, and their bytes.
const READ_BLOCKS: usize = 256;
const READ_BYTES: usize = 256 << 10;
/// Entries of one read: those of the largest block at the worst.
const READ_ENTRIES: usize = TRANSFERS_MAX + 1;
const _: () = assert!(READ_ENTRIES <= TAIL_MAX, "the tail never holds more than it should");
/// All that the index has in memory at its worst: the tail (16 bytes in a tree that is a third empty and has inner
/// nodes), the largest block with its entries, and what a merge reads and writes.
pub const INDEX_BYTES: usize = 32 * TAIL_MAX
    + (BLOCK_BYTES_MAX + frame::HEADER_BYTES)
    + size_of::<Entry>() * READ_ENTRIES
    + (LEVELS * (run::READ_BYTES + size_of::<Entry>() * run::CHUNK) + run::READ_BYTES);

/// A confirmed transaction, or one in a branch that was left.
#[derive(Debug)]
pub struct Found {
    /// The block that has it.
    pub meta: BlockMeta,
    /// The same, whole.
    pub block: Block,
    /// 0: the coinbase; n: the nth transfer.
    pub place: usize,
}

/// See the top of the file.
#[derive(Debug)]
pub struct TxIndex {
    disk: Arc<dyn Disk>,
    reader: ReadHandle,
    identity: FileIdentity,
    tail_max: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest records lie in the lowest level.
    levels: [Option<Arc<Run>>; LEVELS],
    /// Newer still. Shared with a merge, which changes nothing.
    tail: Arc<BTreeSet<Entry>>,
    /// The first record that the tail covers.
    tail_first: u32,
    /// The first record that is not indexed.
    next: u32,
}

fn name(level: usize) -> String {
    format!("transactions.{level}")
}

impl TxIndex {
    /// What is there already of this block file's index.
    pub fn open(disk: Arc<dyn Disk>, reader: ReadHandle, identity: FileIdentity) -> Result<Self, StoreError> {
        Self::with_tail(disk, reader, identity, TAIL_MAX)
    }

    /// The same with another number of entries that wait in memory.
    pub fn with_tail(
        disk: Arc<dyn Disk>,
        reader: ReadHandle,
        identity: FileIdentity,
        tail_max: usize,
    ) -> Result<Self, StoreError> {
        let mut state = State { next: 1, ..State::default() };
        // From the oldest down, each has to begin where the one above ends; a crash in the middle of a merge
        // leaves runs below whose records are in the one above already.
        for level in (0..LEVELS).rev() {
            let opened = Run::open(&*disk, &name(level), &identity);
            let run = opened.map_err(StoreError::io("read", disk.path(&name(level))))?;
            if let Some(run) = run.filter(|run| run.first == state.next && run.end <= reader.records()) {
                state.next = run.end;
                state.levels[level] = Some(Arc::new(run));
            }
        }
        state.tail_first = state.next;
        Ok(Self { disk, reader, identity, tail_max, state: RwLock::new(state) })
    }

    /// How many blocks of the file are indexed, and how many there are.
    pub fn progress(&self) -> (u32, u32) {
        (self.state.read().next - 1, self.reader.records() - 1)
    }

    /// Looks at every byte of the runs; drops those that have decayed, to be made anew. Asks now and then
    /// whether to go on.
    pub fn check(&self, go_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
        for level in (0..LEVELS).rev() {
            let Some(run) = self.state.read().levels[level].clone() else { continue };
            if !go_on() {
                return Ok(());
            }
            if !run.is_whole().map_err(StoreError::io("read", self.disk.path(&name(level))))? {
                let mut state = self.state.write();
                // Whatever is newer goes too: runs follow one another without a gap.
                state.levels[..=level].fill(None);
                (state.next, state.tail_first) = (run.first, run.first);
                state.tail = Arc::default();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the durable blocks that are not indexed yet, as long as it shall go on.
    pub fn follow(&self, go_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
        let mut frames = Vec::new();
        while go_on() {
            let next = self.state.read().next;
            let taken = self.durable(next)?;
            if taken == 0 {
                return Ok(());
            }
            let taken = self.reader.frames(RecordNo(next), taken, READ_BYTES, &mut frames)?;
            let entries = entries_of(&frames, next);
            let waiting = self.state.read().tail.len();
            if waiting > 0 && waiting + entries.len() > self.tail_max && !self.merge()? {
                return Ok(());
            }
            let mut state = self.state.write();
            // No merge is under way: nobody else holds it, and nothing is copied.
            Arc::make_mut(&mut state.tail).extend(entries);
            state.next += u32::try_from(taken).expect("a few hundred");
        }
        Ok(())
    }

    /// How many blocks from this record on may be taken now.
    fn durable(&self, next: u32) -> Result<usize, StoreError> {
        let durable_bytes = self.reader.durable_bytes();
        let there = self.reader.records().saturating_sub(next) as usize;
        if there == 0 {
            return Ok(0);
        }
        let metas = self.reader.metas(RecordNo(next), there.min(READ_BLOCKS))?;
        Ok(metas.iter().take_while(|meta| meta.end() <= durable_bytes).count())
    }

    /// Puts the tail and the smallest runs into one; false if the disk has no room for it.
    fn merge(&self) -> Result<bool, StoreError> {
        // Only this thread changes the state, so what is read here still holds below.
        let (tail, runs, level, first, end) = {
            let state = self.state.read();
            let (mut entries, mut level) = (state.tail.len() as u64, 0);
            loop {
                entries += state.levels[level].as_ref().map_or(0, |run| run.entries);
                if level + 1 == LEVELS || entries <= self.capacity(level) {
                    break;
                }
                level += 1;
            }
            let runs: Vec<Arc<Run>> = state.levels[..=level].iter().flatten().cloned().collect();
            let first = runs.iter().map(|run| run.first).min().unwrap_or(state.tail_first);
            (Arc::clone(&state.tail), runs, level, first, state.next)
        };
        let entries = runs.iter().map(|run| run.entries).sum::<u64>() + tail.len() as u64;
        let path = self.disk.path(&name(level));
        let free_bytes = self.disk.free_bytes().map_err(StoreError::io("look for space at", &path))?;
        // Blocks come first: the index goes on when there is space again.
        if free_bytes < 2 * ROOM_MIN_BYTES + entries * run::ENTRY_BYTES as u64 {
            return Ok(false);
        }
        let mut sources: Vec<Box<dyn Iterator<Item = io::Result<Entry>> + '_>> =
            vec![Box::new(tail.iter().copied().map(Ok))];
        sources.extend(runs.iter().map(|run| Box::new(run.iter()) as Box<_>));
        let merged = Merge { sources: sources.into_iter().map(Iterator::peekable).collect() };
        let run = Run::write(&*self.disk, &name(level), &self.identity, (first, end), merged);
        let run = run.map_err(StoreError::io("write", &path))?;
        let mut state = self.state.write();
        state.levels[..level].fill(None);
        state.levels[level] = Some(Arc::new(run));
        state.tail = Arc::default();
        state.tail_first = end;
        drop(state);
        // Left behind they would be overlooked at the next start.
        for below in 0..level {
            self.disk.remove(&name(below)).map_err(StoreError::io("remove", self.disk.path(&name(below))))?;
        }
        Ok(true)
    }

    fn capacity(&self, level: usize) -> u64 {
        (0..=level).fold(self.tail_max as u64, |capacity, _| capacity * GROWTH)
    }

    /// Where a transaction is; one on the active chain counts before one in a branch that was left.
    pub fn find(&self, id: &Hash) -> Result<Option<Found>, StoreError> {
        let least = Entry::least(id);
        let (mut records, levels) = {
            let state = self.state.read();
            let tail = state.tail.range(least..).take_while(|entry| entry.is_like(least));
            (tail.map(|entry| entry.record()).collect::<Vec<_>>(), state.levels.clone())
        };
        for run in levels.iter().flatten() {
            run.find(least, &mut records).map_err(StoreError::io("read", self.disk.path("transactions")))?;
        }
        let mut left = None;
        for record in records {
            let meta = self.reader.meta(record)?;
            let block: Block =
                codec::decode(&self.reader.block(record)?).expect("what is in the file was decoded once");
            let Some(place) = ids(&block).position(|other| other == *id) else { continue };
            let found = Found { meta, block, place };
            if self.reader.is_active(&found.meta) {
                return Ok(Some(found));
            }
            left = Some(found);
        }
        Ok(left)
    }
}

/// The ids of a block's transactions, the coinbase first.
fn ids(block: &Block) -> impl Iterator<Item = Hash> + '_ {
    std::iter::once(block.coinbase.id()).chain(block.transfers.iter().map(Transaction::id))
}

/// The entries of whole frames, verified, that begin with this record.
fn entries_of(frames: &[u8], first: u32) -> Vec<Entry> {
    let (mut rest, mut entries, mut record) = (frames, Vec::new(), first);
    while let Some(header) = rest.first_chunk::<{ frame::HEADER_BYTES }>() {
        let header = FrameHeader::from_bytes(header).expect("frames that were verified a moment ago");
        let size_bytes = header.length as usize;
        let (block, after) = rest[frame::HEADER_BYTES..].split_at(size_bytes);
        entries.extend(ids_in(block).map(|id| Entry::new(&id, RecordNo(record))));
        (rest, record) = (after, record + 1);
    }
    entries
}

/// The same as [`ids`] for a block's bytes, one transaction at a time: a block taken apart has three times its bytes.
fn ids_in(block: &[u8]) -> impl Iterator<Item = Hash> + '_ {
    let mut rest = &block[TRANSFERS_AT..];
    let transfers = std::iter::from_fn(move || {
        let transfer = Some(rest).filter(|rest| !rest.is_empty())?;
        let (_, after) = codec::decode_prefix::<Transaction>(transfer).expect("what is in the file was decoded once");
        rest = after;
        Some(Hash::sha256d(&transfer[..transfer.len() - after.len()]))
    });
    std::iter::once(Hash::sha256d(&block[HEADER_BYTES..HEADER_BYTES + COINBASE_BYTES])).chain(transfers)
}

/// Several ascending sources as one; the first error ends it.
struct Merge<I: Iterator> {
    sources: Vec<Peekable<I>>,
}

impl<I: Iterator<Item = io::Result<Entry>>> Iterator for Merge<I> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        // An error sorts before every entry, so that it comes out at once.
        let key = |source: &mut Peekable<I>| source.peek().map(|entry| entry.as_ref().ok().copied());
        let least =
            self.sources.iter_mut().filter_map(|source| Some((key(source)?, source))).min_by_key(|(key, _)| *key);
        least?.1.next()
    }
}
