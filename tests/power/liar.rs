//! Disks that break a promise, to show that the checks would see it. Only tests can reach them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::{BLOCKS, MARK};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};

use crate::fixture::WALLET;

/// What is not done although it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Syncs (fdatasync) of the files whose name has this in it.
    Sync(&'static str),
    /// Syncs of the directory.
    SyncDir,
    /// Every write of the mark but the first: it stays where the file was founded.
    MarkMoves,
    /// Every write of the mark.
    Mark,
    /// Checksums of the block file's frames: they are right whatever a frame holds.
    Checksum,
}

/// Each safeguard that can be missing.
pub(crate) const LIES: [(&str, Lie); 9] = [
    ("no fdatasync", Lie::Sync("")),
    ("none of the block file", Lie::Sync(BLOCKS)),
    ("none of the mark", Lie::Sync(MARK)),
    ("none of replaced files", Lie::Sync(".new")),
    ("none of a wallet", Lie::Sync(WALLET)),
    ("no sync of the directory", Lie::SyncDir),
    ("a mark that never moves", Lie::MarkMoves),
    ("no mark", Lie::Mark),
    ("no checksum", Lie::Checksum),
];

#[derive(Debug)]
pub(crate) struct Liar {
    disk: MemoryDisk,
    lie: Lie,
}

impl Liar {
    pub(crate) fn over(disk: &MemoryDisk, lie: Lie) -> Arc<dyn Disk> {
        Arc::new(Self { disk: disk.clone(), lie })
    }
}

impl Disk for Liar {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LiarFile { file: self.disk.open(name)?, lie: self.lie, name: name.to_owned() }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.lie == Lie::SyncDir { Ok(()) } else { self.disk.sync_dir() }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        self.disk.unique()
    }
}

#[derive(Debug)]
struct LiarFile {
    file: Arc<dyn DiskFile>,
    lie: Lie,
    name: String,
}

impl DiskFile for LiarFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.lie != Lie::Checksum || self.name != BLOCKS {
            return self.file.read_at(buffer, at);
        }
        let mut whole = vec![0; usize::try_from(self.size_bytes()?).expect("small")];
        self.file.read_at(&mut whole, 0)?;
        forge(&mut whole);
        let rest = usize::try_from(at).ok().and_then(|at| whole.get(at..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let swallowed = match self.lie {
            Lie::Mark => self.name == MARK,
            Lie::MarkMoves => self.name == MARK && self.size_bytes()? > 0,
            Lie::Sync(_) | Lie::SyncDir | Lie::Checksum => false,
        };
        if swallowed { Ok(()) } else { self.file.write_at(bytes, at) }
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_size(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        match self.lie {
            Lie::Sync(part) if self.name.contains(part) => Ok(()),
            _ => self.file.sync(),
        }
    }
}

/// Sets the checksum of each whole block's frame to what it holds.
fn forge(mut file: &mut [u8]) {
    while let Some(header) = file.first_chunk().and_then(FrameHeader::from_bytes) {
        let Some((frame, rest)) = file.split_at_mut_checked(HEADER_BYTES + header.length as usize) else { return };
        let (head, payload) = frame.split_at_mut(HEADER_BYTES);
        if header.kind == KIND_BLOCK {
            head.copy_from_slice(&FrameHeader::of(KIND_BLOCK, payload).to_bytes());
        }
        file = rest;
    }
}
