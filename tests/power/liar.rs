//! Disks that break a promise, to show that the checks would see it. Only tests can reach them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::{BLOCKS, MARK};
use spindle::primitives::frame::{self, FrameHeader, KIND_BLOCK};

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
}

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
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let swallowed = match self.lie {
            Lie::Mark => self.name == MARK,
            Lie::MarkMoves => self.name == MARK && self.size_bytes()? > 0,
            Lie::Sync(_) | Lie::SyncDir => false,
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

/// How a bit of the block file goes bad.
pub(crate) type Rot = fn(&MemoryDisk, usize, u8);

/// As bits do.
pub(crate) fn rot(disk: &MemoryDisk, at: usize, mask: u8) {
    disk.flip(BLOCKS, at, mask);
}

/// And the frame's checksum goes along, as if there were none.
pub(crate) fn rot_unseen(disk: &MemoryDisk, at: usize, mask: u8) {
    disk.flip(BLOCKS, at, mask);
    let bytes = disk.bytes(BLOCKS).expect("there");
    let mut start = 0;
    while let Some((head, rest)) = bytes[start..].split_first_chunk() {
        let Some(header) = FrameHeader::from_bytes(head) else { return };
        let end = start + frame::HEADER_BYTES + header.length as usize;
        if header.kind == KIND_BLOCK && (start + frame::HEADER_BYTES..end).contains(&at) {
            let payload = &rest[..header.length as usize];
            let forged = FrameHeader::of(KIND_BLOCK, payload).to_bytes();
            for (place, (old, new)) in head.iter().zip(forged).enumerate() {
                disk.flip(BLOCKS, start + place, old ^ new);
            }
            return;
        }
        start = end;
    }
}
