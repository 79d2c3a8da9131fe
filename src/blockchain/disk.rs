//! What the chain asks of a disk: the seam at which the simulator puts one that fails.
//!
//! A [`Disk`] is one directory of files. Nothing is buffered on our side: what `write_at` returned
//! from is in the page cache, and what `sync` returned from is on the disk. The real one is
//! [`crate::blockchain::os::DataDir`]; a memory disk (this file) forgets what was not synced when it crashes.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory of files.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing; an empty one is made if it is missing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Whether a file is there.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Puts one file in another's place, at once.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; none there is not an error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and renames last.
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

    /// Reads at `at` until the buffer is full or the file ends; gives how many bytes.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of these bytes at `at`, in one call where the system can.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros.
    fn set_size(&self, size_bytes: u64) -> io::Result<()>;

    /// Returns when everything written before is on the disk (fdatasync).
    fn sync(&self) -> io::Result<()>;
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
