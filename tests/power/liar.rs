//! Disks that break a promise, to show that the checks would see it. Only tests can reach them.

use std::io;
use std::sync::Arc;

use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::{BLOCKS, MARK};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};

use crate::common::between::{self, Between};
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

/// The disk, through a lie.
pub(crate) fn lying(disk: &MemoryDisk, lie: Lie) -> Arc<dyn Disk> {
    between::before(disk, lie)
}

impl Between for Lie {
    fn sync_dir(&self, disk: &MemoryDisk) -> io::Result<()> {
        if *self == Self::SyncDir { Ok(()) } else { disk.sync_dir() }
    }

    fn read_at(&self, name: &str, file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if *self != Self::Checksum || name != BLOCKS {
            return file.read_at(buffer, at);
        }
        let mut whole = vec![0; usize::try_from(file.size_bytes()?).expect("small")];
        file.read_at(&mut whole, 0)?;
        forge(&mut whole);
        let rest = usize::try_from(at).ok().and_then(|at| whole.get(at..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, name: &str, file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
        let swallowed = match self {
            Self::Mark => name == MARK,
            Self::MarkMoves => name == MARK && file.size_bytes()? > 0,
            Self::Sync(_) | Self::SyncDir | Self::Checksum => false,
        };
        if swallowed { Ok(()) } else { file.write_at(bytes, at) }
    }

    fn sync(&self, name: &str, file: &dyn DiskFile) -> io::Result<()> {
        match self {
            Self::Sync(part) if name.contains(part) => Ok(()),
            _ => file.sync(),
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
