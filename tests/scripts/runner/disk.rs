//! A disk that remembers what was done to it, call by call, and whose power can fail in the middle of a write.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::{BLOCKS, INDEX, MARK};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};
use spindle::primitives::hash::Hash;

use crate::common::between::{self, Between};

/// Bytes of a block's header, which its id hashes.
const BLOCK_HEADER_BYTES: usize = 100;
/// Where a slot of the mark says how much is durable: behind magic, version, file id and sequence.
const MARK_LENGTH_AT: usize = 4 + 4 + 16 + 8;

/// Something that was done to the disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// These blocks were written to the block file, each up to this byte; of the next one only a part was, and
    /// then the power failed.
    Append { blocks: Vec<(Hash, u64)>, torn: Option<Hash> },
    /// The block file was synced.
    SyncBlocks,
    /// The mark was set to this length of the block file, but not synced.
    Mark(u64),
    /// The mark was synced.
    SyncMark,
    /// Some other file was replaced, durably.
    Replace(String),
}

#[derive(Debug, Default)]
struct Log {
    /// Nothing is noted while a node opens its files: what that came to it says by itself.
    is_on: bool,
    ops: Vec<Op>,
    /// While this block is written the power fails.
    fatal: Option<Hash>,
    is_dead: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct WatchedDisk {
    pub(crate) memory: MemoryDisk,
    /// As a node sees it.
    pub(crate) seen: Arc<dyn Disk>,
    log: Arc<Mutex<Log>>,
}

impl WatchedDisk {
    pub(crate) fn over(memory: MemoryDisk) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        Self { seen: between::before(&memory, Watcher(Arc::clone(&log))), memory, log }
    }

    /// From now on what is done is noted.
    pub(crate) fn watch(&self) {
        self.log.lock().is_on = true;
    }

    /// What was done since the last call.
    pub(crate) fn take(&self) -> Vec<Op> {
        std::mem::take(&mut self.log.lock().ops)
    }

    /// The power will fail while this block is written.
    pub(crate) fn fail_in(&self, block: Hash) {
        self.log.lock().fatal = Some(block);
    }
}

fn power_failed() -> io::Error {
    io::Error::other("the power has failed")
}

/// Who notes what is done.
#[derive(Debug)]
struct Watcher(Arc<Mutex<Log>>);

impl Watcher {
    fn note(&self, op: Op) {
        let mut log = self.0.lock();
        if log.is_on {
            log.ops.push(op);
        }
    }
}

impl Between for Watcher {
    fn may_change(&self) -> io::Result<()> {
        if self.0.lock().is_dead { Err(power_failed()) } else { Ok(()) }
    }

    fn rename(&self, disk: &MemoryDisk, from: &str, to: &str) -> io::Result<()> {
        disk.rename(from, to)?;
        self.note(Op::Replace(to.to_owned()));
        Ok(())
    }

    fn write_at(&self, name: &str, file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
        if name == MARK {
            let length = bytes.get(MARK_LENGTH_AT..MARK_LENGTH_AT + 8).and_then(|bytes| bytes.try_into().ok());
            file.write_at(bytes, at)?;
            self.note(Op::Mark(u64::from_le_bytes(length.expect("a slot is written whole"))));
            return Ok(());
        }
        if name != BLOCKS {
            return file.write_at(bytes, at);
        }
        let mut blocks = blocks_in(bytes, at);
        let fatal = self.0.lock().fatal;
        let Some(place) = blocks.iter().position(|(id, _)| Some(*id) == fatal) else {
            file.write_at(bytes, at)?;
            self.note(Op::Append { blocks, torn: None });
            return Ok(());
        };
        // Half of that block, and nothing after it.
        let begins = if place == 0 { at } else { blocks[place - 1].1 };
        let written = usize::try_from(u64::midpoint(begins, blocks[place].1) - at).expect("part of a buffer");
        file.write_at(&bytes[..written], at)?;
        blocks.truncate(place);
        self.note(Op::Append { blocks, torn: fatal });
        self.0.lock().is_dead = true;
        Err(power_failed())
    }

    fn sync(&self, name: &str, file: &dyn DiskFile) -> io::Result<()> {
        file.sync()?;
        match name {
            BLOCKS => self.note(Op::SyncBlocks),
            MARK => self.note(Op::SyncMark),
            // A cache, and files on their way to be renamed.
            _ => {}
        }
        Ok(())
    }
}

/// The blocks in what is written to the block file, and where each ends there.
fn blocks_in(mut bytes: &[u8], mut at: u64) -> Vec<(Hash, u64)> {
    let mut blocks = Vec::new();
    while let Some(header) = bytes.first_chunk().and_then(FrameHeader::from_bytes) {
        let Some((frame, rest)) = bytes.split_at_checked(HEADER_BYTES + header.length as usize) else { break };
        at += frame.len() as u64;
        bytes = rest;
        if header.kind == KIND_BLOCK {
            blocks.push((Hash::sha256d(&frame[HEADER_BYTES..HEADER_BYTES + BLOCK_HEADER_BYTES]), at));
        }
    }
    blocks
}

/// Whether a trace tells of it when this file is replaced: not of caches, and not of gossip.
pub(crate) fn is_worth_telling(file: &str) -> bool {
    ![INDEX, spindle::node::addresses::FILE].contains(&file)
}
