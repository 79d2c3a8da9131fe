//! A disk in memory that forgets what was not synced, and fails when told to. For tests.
//!
//! Each file is two images: what a running process reads, and what is on the platter, with the calls
//! between them in order. [`MemoryDisk::crash`] is the power cut, [`MemoryDisk::kill`] is `kill -9`.
//! A creation, rename or removal lasts once `sync_dir` has returned.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::blockchain::disk::{Disk, DiskFile};

/// EIO, ENOSPC: what Linux says.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    directory: Arc<Mutex<Directory>>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Directory {
    now: BTreeMap<String, Arc<Mutex<Images>>>,
    durable: BTreeMap<String, Arc<Mutex<Images>>>,
    /// Counts the files that were named after it.
    names_given: u8,
}

/// One file's two images.
#[derive(Debug, Default)]
struct Images {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A call that is not yet on the platter.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetSize(usize),
}

#[derive(Debug)]
struct Faults {
    writes: u64,
    syncs: u64,
    failing_write: Option<u64>,
    failing_sync: Option<u64>,
    free_bytes: u64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        let faults = Faults { writes: 0, syncs: 0, failing_write: None, failing_sync: None, free_bytes: 1 << 40 };
        Self { directory: Arc::default(), faults: Arc::new(Mutex::new(faults)) }
    }
}

impl MemoryDisk {
    /// The disk as it is found after the power failed now: only what was synced.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.copy(|directory| &directory.durable, |images| &images.durable)
    }

    /// The disk as it is found after the process was killed now: all that was written.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.copy(|directory| &directory.now, |images| &images.now)
    }

    /// A file's bytes as a process reads them now.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.directory.lock().now.get(name).map(|file| file.lock().now.clone())
    }

    /// Puts a file there, synced: what an earlier life left, or damage.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let images = Images { now: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
        let file = Arc::new(Mutex::new(images));
        let mut directory = self.directory.lock();
        directory.now.insert(name.to_owned(), Arc::clone(&file));
        directory.durable.insert(name.to_owned(), file);
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.directory.lock().now.keys().cloned().collect()
    }

    /// How many writes (and cuts) and how many syncs (of files and of the directory) were asked for so far.
    pub fn calls(&self) -> (u64, u64) {
        let faults = self.faults.lock();
        (faults.writes, faults.syncs)
    }

    /// From now on the `n`th write, counted from 1, fails with EIO, once.
    pub fn fail_write(&self, n: u64) {
        let mut faults = self.faults.lock();
        faults.failing_write = Some(faults.writes + n);
    }

    /// From now on the `n`th sync, counted from 1, fails with EIO, once.
    pub fn fail_sync(&self, n: u64) {
        let mut faults = self.faults.lock();
        faults.failing_sync = Some(faults.syncs + n);
    }

    /// How many bytes files can still grow by before ENOSPC.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.faults.lock().free_bytes = free_bytes;
    }

    fn copy(
        &self,
        files: impl Fn(&Directory) -> &BTreeMap<String, Arc<Mutex<Images>>>,
        image: impl Fn(&Images) -> &Vec<u8>,
    ) -> Self {
        let copy = Self::default();
        let directory = self.directory.lock();
        for (name, file) in files(&directory) {
            copy.put(name, image(&file.lock()));
        }
        copy.directory.lock().names_given = directory.names_given;
        copy.set_free_bytes(self.faults.lock().free_bytes);
        copy
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let images = Arc::clone(self.directory.lock().now.entry(name.to_owned()).or_default());
        Ok(Arc::new(MemoryFile { images, faults: Arc::clone(&self.faults) }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.directory.lock().now.contains_key(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut directory = self.directory.lock();
        let file = directory.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        directory.now.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.lock().now.remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.faults.lock().sync()?;
        let mut directory = self.directory.lock();
        directory.durable = directory.now.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.faults.lock().free_bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        let mut directory = self.directory.lock();
        directory.names_given = directory.names_given.wrapping_add(1);
        Ok([directory.names_given; 16])
    }
}

#[derive(Debug)]
struct MemoryFile {
    images: Arc<Mutex<Images>>,
    faults: Arc<Mutex<Faults>>,
}

impl DiskFile for MemoryFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.images.lock().now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let images = self.images.lock();
        let rest = images.now.get(place(at)?..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut images = self.images.lock();
        let at = place(at)?;
        let mut faults = self.faults.lock();
        faults.write()?;
        let grows_by = (at + bytes.len()).saturating_sub(images.now.len()) as u64;
        if grows_by > faults.free_bytes {
            // As a file system does: what still fits is written, and then it is full.
            let over = place(grows_by - faults.free_bytes)?;
            faults.free_bytes = 0;
            images.change(Change::Write { at, bytes: bytes[..bytes.len().saturating_sub(over)].to_vec() });
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        faults.free_bytes -= grows_by;
        images.change(Change::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.faults.lock().write()?;
        self.images.lock().change(Change::SetSize(place(size_bytes)?));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.lock().sync()?;
        let mut images = self.images.lock();
        let Images { durable, pending, .. } = &mut *images;
        pending.drain(..).for_each(|change| change.apply(durable));
        Ok(())
    }
}

impl Images {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*at..end].copy_from_slice(bytes);
            }
            Self::SetSize(size_bytes) => image.resize(*size_bytes, 0),
        }
    }
}

impl Faults {
    fn write(&mut self) -> io::Result<()> {
        self.writes += 1;
        if self.failing_write == Some(self.writes) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.failing_sync == Some(self.syncs) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }
}

fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a power cut keeps what was synced and nothing else; a kill keeps all.
    #[test]
    fn a_crash_forgets_what_was_not_synced() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        file.write_at(b"one", 0).expect("room");
        file.sync().expect("no fault");
        assert_eq!(disk.crash().bytes("a"), None, "its name was not synced");
        disk.sync_dir().expect("no fault");
        file.write_at(b"two", 3).expect("room");
        disk.rename("a", "b").expect("there");
        assert_eq!(disk.crash().bytes("a"), Some(b"one".to_vec()));
        assert_eq!((disk.kill().bytes("a"), disk.kill().bytes("b")), (None, Some(b"onetwo".to_vec())));
    }

    /// Goal: faults come when they were asked for, and a full disk keeps what fitted.
    #[test]
    fn faults_are_counted_from_one() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        disk.fail_write(2);
        disk.fail_sync(1);
        file.write_at(b"x", 0).expect("the first");
        assert!(file.write_at(b"y", 0).is_err() && file.sync().is_err());
        file.sync().expect("once");
        disk.set_free_bytes(2);
        assert_eq!(file.write_at(b"abcd", 1).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes("a"), Some(b"xab".to_vec()));
    }
}
