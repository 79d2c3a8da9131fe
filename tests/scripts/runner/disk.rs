//! A disk that remembers what was done to it, call by call, and whose power can fail in the middle of a write.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::{BLOCKS, INDEX, MARK};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};
use spindle::primitives::hash::Hash;

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

/// See the top of the file. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct WatchedDisk {
    pub(crate) memory: MemoryDisk,
    log: Arc<Mutex<Log>>,
}

impl WatchedDisk {
    pub(crate) fn over(memory: MemoryDisk) -> Self {
        Self { memory, log: Arc::default() }
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

    fn note(&self, op: Op) {
        let mut log = self.log.lock();
        if log.is_on {
            log.ops.push(op);
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.log.lock().is_dead { Err(power_failed()) } else { Ok(()) }
    }
}

fn power_failed() -> io::Error {
    io::Error::other("the power has failed")
}

impl Disk for WatchedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        Ok(Arc::new(WatchedFile { file: self.memory.open(name)?, disk: self.clone(), name: name.to_owned() }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.memory.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.alive()?;
        self.memory.rename(from, to)?;
        self.note(Op::Replace(to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.alive()?;
        self.memory.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.alive()?;
        self.memory.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.memory.free_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.memory.path(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        self.memory.unique()
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    disk: WatchedDisk,
    name: String,
}

impl DiskFile for WatchedFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.alive()?;
        if self.name == MARK {
            let length = bytes.get(MARK_LENGTH_AT..MARK_LENGTH_AT + 8).and_then(|bytes| bytes.try_into().ok());
            self.file.write_at(bytes, at)?;
            self.disk.note(Op::Mark(u64::from_le_bytes(length.expect("a slot is written whole"))));
            return Ok(());
        }
        if self.name != BLOCKS {
            return self.file.write_at(bytes, at);
        }
        let mut blocks = blocks_in(bytes, at);
        let fatal = self.disk.log.lock().fatal;
        let Some(place) = blocks.iter().position(|(id, _)| Some(*id) == fatal) else {
            self.file.write_at(bytes, at)?;
            self.disk.note(Op::Append { blocks, torn: None });
            return Ok(());
        };
        // Half of that block, and nothing after it.
        let begins = if place == 0 { at } else { blocks[place - 1].1 };
        let written = usize::try_from(u64::midpoint(begins, blocks[place].1) - at).expect("part of a buffer");
        self.file.write_at(&bytes[..written], at)?;
        blocks.truncate(place);
        self.disk.note(Op::Append { blocks, torn: fatal });
        self.disk.log.lock().is_dead = true;
        Err(power_failed())
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.set_size(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.alive()?;
        self.file.sync()?;
        match self.name.as_str() {
            BLOCKS => self.disk.note(Op::SyncBlocks),
            MARK => self.disk.note(Op::SyncMark),
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
