//! A disk over the one in memory that meddles with some calls and passes the others on.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use spindle::blockchain::disk::{Disk, DiskFile};
use spindle::blockchain::memory_disk::MemoryDisk;

/// What becomes of calls on their way to the disk: unless it is said otherwise, they get there.
pub(crate) trait Between: Debug + Send + Sync + 'static {
    /// Before anything that changes something: an error is what that call gives.
    fn may_change(&self) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, disk: &MemoryDisk, from: &str, to: &str) -> io::Result<()> {
        disk.rename(from, to)
    }

    fn sync_dir(&self, disk: &MemoryDisk) -> io::Result<()> {
        disk.sync_dir()
    }

    fn read_at(&self, _name: &str, file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        file.read_at(buffer, at)
    }

    fn write_at(&self, _name: &str, file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_at(bytes, at)
    }

    fn sync(&self, _name: &str, file: &dyn DiskFile) -> io::Result<()> {
        file.sync()
    }
}

/// This disk, with somebody before it.
pub(crate) fn before(disk: &MemoryDisk, between: impl Between) -> Arc<dyn Disk> {
    Arc::new(Meddled { disk: disk.clone(), between: Arc::new(between) })
}

#[derive(Debug)]
struct Meddled {
    disk: MemoryDisk,
    between: Arc<dyn Between>,
}

impl Disk for Meddled {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.between.may_change()?;
        let (file, between) = (self.disk.open(name)?, Arc::clone(&self.between));
        Ok(Arc::new(MeddledFile { file, between, name: name.to_owned() }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.between.may_change()?;
        self.between.rename(&self.disk, from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.between.may_change()?;
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.between.may_change()?;
        self.between.sync_dir(&self.disk)
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
struct MeddledFile {
    file: Arc<dyn DiskFile>,
    between: Arc<dyn Between>,
    name: String,
}

impl DiskFile for MeddledFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.between.read_at(&self.name, &*self.file, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.between.may_change()?;
        self.between.write_at(&self.name, &*self.file, bytes, at)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.between.may_change()?;
        self.file.set_size(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.between.may_change()?;
        self.between.sync(&self.name, &*self.file)
    }
}
