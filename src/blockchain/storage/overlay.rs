//! A disk over another one that is only read: what is written stays in memory.
//!
//! So that a chain can be opened, recovery and all, in a directory that a running node holds, without
//! a second way of opening: a torn tail is "cut" and a bad index "rebuilt" up here alone. A file is
//! seen with the length that it had when it was opened; what the node appends later is not.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::blockchain::disk::{Disk, DiskFile};

/// The upper disk.
#[derive(Debug)]
pub struct Overlay<D> {
    base: D,
    /// Files that are as good as not there.
    hidden: &'static [&'static str],
    files: Mutex<BTreeMap<String, Arc<OverlayFile>>>,
}

impl<D: Disk> Overlay<D> {
    /// Over this disk, of which nothing is changed.
    pub fn new(base: D) -> Self {
        Self::hiding(base, &[])
    }

    /// The same without these files: what can be made anew from the others need not be believed.
    pub fn hiding(base: D, hidden: &'static [&'static str]) -> Self {
        Self { base, hidden, files: Mutex::default() }
    }

    fn is_below(&self, name: &str) -> io::Result<bool> {
        Ok(!self.hidden.contains(&name) && self.base.exists(name)?)
    }
}

impl<D: Disk> Disk for Overlay<D> {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        if let Some(file) = files.get(name) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        let base = if self.is_below(name)? { Some(self.base.open(name)?) } else { None };
        let below_bytes = base.as_ref().map_or(Ok(0), |file| file.size_bytes())?;
        let file = Arc::new(OverlayFile { base, upper: Mutex::new(Upper { below_bytes, tail: Vec::new() }) });
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.files.lock().contains_key(name) || self.is_below(name)?)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.base.free_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        self.base.unique()
    }
}

#[derive(Debug)]
struct OverlayFile {
    base: Option<Arc<dyn DiskFile>>,
    upper: Mutex<Upper>,
}

/// Where the upper file takes over, and what it holds from there on.
#[derive(Debug)]
struct Upper {
    below_bytes: u64,
    tail: Vec<u8>,
}

impl Upper {
    fn size_bytes(&self) -> u64 {
        self.below_bytes + self.tail.len() as u64
    }
}

impl DiskFile for OverlayFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.upper.lock().size_bytes())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let upper = self.upper.lock();
        let mut done = 0;
        if let Some(base) = self.base.as_ref().filter(|_| at < upper.below_bytes) {
            let below = usize::try_from(upper.below_bytes - at).unwrap_or(usize::MAX).min(buffer.len());
            done = base.read_at(&mut buffer[..below], at)?;
            if done < below {
                return Ok(done);
            }
        }
        let from = place(at + done as u64 - upper.below_bytes.min(at + done as u64))?;
        let rest = upper.tail.get(from..).unwrap_or_default();
        let read = rest.len().min(buffer.len() - done);
        buffer[done..done + read].copy_from_slice(&rest[..read]);
        Ok(done + read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut upper = self.upper.lock();
        if at < upper.below_bytes {
            // Everything from here on comes up: writes are appends, but for a mark's 44 bytes.
            let mut raised = vec![0; place(upper.below_bytes - at)?];
            let read = self.base.as_ref().map_or(Ok(0), |base| base.read_at(&mut raised, at))?;
            raised.truncate(read);
            raised.append(&mut upper.tail);
            *upper = Upper { below_bytes: at, tail: raised };
        }
        let from = place(at - upper.below_bytes)?;
        let end = from + bytes.len();
        if upper.tail.len() < end {
            upper.tail.resize(end, 0);
        }
        upper.tail[from..end].copy_from_slice(bytes);
        Ok(())
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        let mut upper = self.upper.lock();
        if size_bytes < upper.below_bytes {
            *upper = Upper { below_bytes: size_bytes, tail: Vec::new() };
        }
        let tail = place(size_bytes - upper.below_bytes)?;
        upper.tail.resize(tail, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_again(&self, _from: u64, _to: u64) -> io::Result<()> {
        // Nothing up here lasts, and what lies below stays there.
        Ok(())
    }
}

fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the directory was opened for reading alone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blockchain::memory_disk::MemoryDisk;

    /// Goal: through the overlay a file reads as if every call had happened, and below nothing did.
    #[test]
    fn writes_stay_above() {
        let base = MemoryDisk::default();
        base.put("a", b"0123456789");
        let overlay = Overlay::new(base.clone());
        let file = overlay.open("a").expect("there");
        let read = |at| {
            let mut buffer = [0; 32];
            let size_bytes = file.read_at(&mut buffer, at).expect("readable");
            buffer[..size_bytes].to_vec()
        };
        file.write_at(b"ab", 10).expect("above");
        assert_eq!(read(8), b"89ab");
        file.write_at(b"xy", 4).expect("above");
        assert_eq!(read(0), b"0123xy6789ab");
        file.set_size(2).expect("above");
        file.write_at(b"z", 3).expect("above");
        assert_eq!((read(0), read(2), read(9)), (b"01\0z".to_vec(), b"\0z".to_vec(), Vec::new()));
        assert_eq!(file.size_bytes().expect("known"), 4);
        assert_eq!(overlay.open("new").expect("above").size_bytes().expect("known"), 0);
        assert_eq!((base.bytes("a"), base.names()), (Some(b"0123456789".to_vec()), vec!["a".to_owned()]));
    }
}
