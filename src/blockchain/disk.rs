//! What the chain asks of a disk: the seam at which the simulator puts one that fails.
//!
//! A [`Disk`] is one directory of files. Nothing is buffered on our side: what `write_at` returned
//! from is in the page cache, and what `sync` returned from is on the disk. The real one is
//! [`DataDir`](crate::blockchain::os::DataDir), the one in memory
//! [`MemoryDisk`](crate::blockchain::memory_disk::MemoryDisk), which forgets what was not synced when its power
//! fails. tests/disk.rs holds both to what is written here.
//!
//! Whoever implements it copes with the system's ways: no call is ever given up because a signal came,
//! and none does a part of its work and claims success ([`read_whole`], [`write_whole`]). Whoever calls
//! it copes with the rest: a write that failed may have been done in part, and a sync that failed may have
//! lost for good what it was to write, although it is still read and a second sync succeeds.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory of files.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing; an empty one is made if it is missing. The handle stays with the
    /// file when that is renamed or removed.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Whether a file is there.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Puts one file in another's place, at once: at no moment is there neither.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; none there is not an error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals last. No other call promises it, not even the file's own sync.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Where a file is, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Sixteen bytes that no other directory gives: the name of a new block file. Asked of the disk, so
    /// that a simulated one gives the same on every run.
    fn unique(&self) -> io::Result<[u8; 16]>;
}

/// One file. Readers and the writer share it: every access says where.
pub trait DiskFile: Send + Sync + Debug {
    /// Its length in bytes.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Reads at `at` until the buffer is full or the file ends; gives how many bytes: none behind the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of these bytes at `at`, in one call where the system can. What lies between the file's old end
    /// and `at` is zeros. After an error any part of them may be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros.
    fn set_size(&self, size_bytes: u64) -> io::Result<()>;

    /// Returns when everything written before is on the disk, its length included (fdatasync).
    fn sync(&self) -> io::Result<()>;

    /// Lets the next sync write the bytes from `from` to `to`, even if an earlier one failed at them: a system
    /// may go on showing what it never wrote, and hold it for written.
    fn write_again(&self, from: u64, to: u64) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut at = from;
        while at < to {
            let left = usize::try_from(to - at).unwrap_or(usize::MAX);
            buffer.resize(left.min(AGAIN_BYTES), 0);
            let read = self.read_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            self.write_at(&buffer[..read], at)?;
            at += read as u64;
        }
        Ok(())
    }
}

/// Bytes that are written again at once.
const AGAIN_BYTES: usize = 256 << 10;

/// Reading and writing as systems do it: as much as suits them, and interrupted by signals.
pub trait Pieces {
    /// Reads something at `at`; nothing only at the end.
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes some of these bytes at `at`; gives how many.
    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
}

/// [`DiskFile::read_at`] out of pieces.
pub fn read_whole(file: &impl Pieces, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_some(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// [`DiskFile::write_at`] out of pieces.
pub fn write_whole(file: &impl Pieces, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_some(&bytes[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts `bytes` into a file so that after a crash it holds all of the old or all of the new. A failure
/// leaves the old, and no half of the new beside it. For a directory whose names are all our own: what is
/// called `NAME.new` there is removed.
pub fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_by(disk, name, &format!("{name}.new"), bytes)
}

/// The same, where the name of the new file until it takes the old one's place is the caller's choice: in a
/// directory of other people's files it must be one that nobody else uses, since what is there is removed.
pub fn replace_by(disk: &dyn Disk, name: &str, fresh: &str, bytes: &[u8]) -> io::Result<()> {
    disk.remove(fresh)?;
    let replaced = disk.open(fresh).and_then(|file| {
        file.write_at(bytes, 0)?;
        file.sync()?;
        disk.rename(fresh, name)
    });
    // The first failure is the one to be told; a rest that cannot be removed goes with the next try.
    replaced.inspect_err(|_| _ = disk.remove(fresh))?;
    disk.sync_dir()
}

/// A whole small file, or `None` if it is not there or larger than `bytes_max`.
pub fn read_small(disk: &dyn Disk, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    if !disk.exists(name)? {
        return Ok(None);
    }
    let file = disk.open(name)?;
    let Ok(size_bytes) = usize::try_from(file.size_bytes()?) else { return Ok(None) };
    if size_bytes > bytes_max {
        return Ok(None);
    }
    let mut bytes = vec![0; size_bytes];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
