//! The real disk: positioned reads and writes, the directory's lock, free space. The only file that
//! knows which system it runs on; where a system lacks something, the fallback stands beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blockchain::disk::{Disk, DiskFile, read_whole, write_whole};
use crate::blockchain::storage::StoreError;

/// The file whose lock is the directory's; it holds the holder's pid, for people.
const LOCK: &str = "lock";

/// A data directory of this machine.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held as long as this lives; `None` in a directory that is only read.
    lock: Option<File>,
    /// Whether files are made for their owner's eyes alone.
    private: bool,
}

impl DataDir {
    /// Takes a directory for this process alone, and makes it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::lock(path, LOCK, false)
    }

    /// Takes one file of a directory, by a lock file beside it that has a name of its own; files that are
    /// made through this can be read by their owner alone, from the first moment.
    pub fn open_private(path: &Path, lock_name: &str) -> Result<Self, StoreError> {
        Self::lock(path, lock_name, true)
    }

    fn lock(path: &Path, lock_name: &str, private: bool) -> Result<Self, StoreError> {
        create_dir(path).map_err(StoreError::io("create", path))?;
        let lock_path = path.join(lock_name);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let mut lock = opened.map_err(StoreError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: path.to_owned(), pid: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &lock_path)(source)),
        }
        if !looks_like_lock(&mut lock).map_err(StoreError::io("read", &lock_path))? {
            let other = io::Error::new(io::ErrorKind::AlreadyExists, "it is another file, and no lock; move it away");
            return Err(StoreError::io("lock", &lock_path)(other));
        }
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(StoreError::io("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), lock: Some(lock), private })
    }

    /// Who holds a directory at this moment, in words; `None`: nobody.
    pub fn held_by(path: &Path) -> Option<String> {
        let mut lock = File::open(path.join(LOCK)).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                Some(holder(&mut lock).map_or_else(|| "another process".into(), |pid| format!("process {pid}")))
            }
            _ => None,
        }
    }

    /// Looks into a directory that another process may hold. Takes no lock, makes nothing, and every
    /// write is refused; put an [`Overlay`](crate::blockchain::storage::Overlay) over it to open a chain.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let blocks = path.join(crate::blockchain::storage::BLOCKS);
        if !blocks.is_file() {
            return Err(StoreError::NoChain { path: blocks });
        }
        Ok(Self { path: path.to_owned(), lock: None, private: false })
    }

    fn writable(&self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the directory was opened for reading alone"))
    }
}

impl Disk for DataDir {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let write = self.lock.is_some();
        let mut options = OpenOptions::new();
        options.read(true).write(write).create(write).truncate(false);
        #[cfg(unix)]
        if self.private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let file = options.open(self.path(name))?;
        Ok(Arc::new(OsFile(positioned::Handle::from(file))))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.path(name).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.writable()?;
        sync_dir(&self.path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// One open file.
#[derive(Debug)]
struct OsFile(positioned::Handle);

impl DiskFile for OsFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.0.with(|file| Ok(file.metadata()?.len()))
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_whole(&self.0, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        write_whole(&self.0, bytes, at)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.0.with(|file| file.set_len(size_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.with(File::sync_data)
    }
}

/// The pid in the lock file; none if the holder has not written it yet, or the system hides it.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a file is empty or holds a pid, and nothing is lost if it is written anew. Leaves it at its start.
fn looks_like_lock(lock: &mut File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    lock.rewind()?;
    lock.take(17).read_to_end(&mut bytes)?;
    lock.rewind()?;
    Ok(bytes.len() <= 16 && bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace()))
}

/// Makes a directory and its parents, and makes them last: what is synced inside one that a power cut
/// takes away was not durable.
fn create_dir(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|ancestor| !ancestor.exists()).count();
    fs::create_dir_all(path)?;
    for parent in path.ancestors().skip(1).take(missing) {
        // The parent of a plain name is written as nothing at all.
        sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Makes creations and renames in a directory last.
#[cfg(unix)]
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file, and the system orders renames itself.
#[cfg(not(unix))]
pub fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes a small file whole or not at all, for its owner's eyes alone from the first moment. What it
/// replaces is gone, whoever could read that.
pub fn save_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    // Never into a file or a link that somebody else has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&beside)?.write_all(bytes)?;
    fs::rename(&beside, path)
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Unknown elsewhere: a full disk is then met when a write fails.
#[cfg(not(unix))]
fn free_bytes(_path: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

#[cfg(any(unix, windows))]
mod positioned {
    use std::fs::File;
    use std::io;

    use crate::blockchain::disk::Pieces;

    /// A file that many threads read, each where it likes.
    #[derive(Debug)]
    pub(super) struct Handle(File);

    impl From<File> for Handle {
        fn from(file: File) -> Self {
            Self(file)
        }
    }

    impl Handle {
        pub(super) fn with<T>(&self, call: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
            call(&self.0)
        }
    }

    impl Pieces for Handle {
        #[cfg(unix)]
        fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            std::os::unix::fs::FileExt::read_at(&self.0, buffer, at)
        }

        #[cfg(unix)]
        fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
            std::os::unix::fs::FileExt::write_at(&self.0, bytes, at)
        }

        #[cfg(windows)]
        fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            std::os::windows::fs::FileExt::seek_read(&self.0, buffer, at)
        }

        #[cfg(windows)]
        fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
            std::os::windows::fs::FileExt::seek_write(&self.0, bytes, at)
        }
    }
}

#[cfg(not(any(unix, windows)))]
mod positioned {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};

    use parking_lot::Mutex;

    use crate::blockchain::disk::Pieces;

    /// A file with one cursor: whoever moves it holds the lock until the bytes are through.
    #[derive(Debug)]
    pub(super) struct Handle(Mutex<File>);

    impl From<File> for Handle {
        fn from(file: File) -> Self {
            Self(Mutex::new(file))
        }
    }

    impl Handle {
        pub(super) fn with<T>(&self, call: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
            call(&self.0.lock())
        }
    }

    impl Pieces for Handle {
        fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            let mut file = self.0.lock();
            file.seek(SeekFrom::Start(at))?;
            file.read(buffer)
        }

        fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
            let mut file = self.0.lock();
            file.seek(SeekFrom::Start(at))?;
            file.write(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: two processes never write one directory, and the second learns who holds it.
    /// Method: a second open of a held directory; and again after the first has let go.
    #[test]
    fn a_held_directory_is_refused_with_the_holders_pid() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let path = parent.path().join("deep").join("data");
        let held = DataDir::open(&path).expect("free");
        let refused = DataDir::open(&path).expect_err("held");
        let text = refused.to_string();
        assert!(matches!(refused, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{text}");
        assert!(text.contains(&std::process::id().to_string()) && text.contains("deep/data"), "{text}");
        drop(held);
        DataDir::open(&path).expect("free again");
    }

    /// Goal: a directory that is only read stays as it is.
    #[test]
    fn a_read_only_directory_refuses_every_write() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let missing = DataDir::open_read_only(parent.path());
        assert!(matches!(missing, Err(StoreError::NoChain { .. })));
        fs::write(parent.path().join("blocks.dat"), b"abc").expect("a small file");
        let dir = DataDir::open_read_only(parent.path()).expect("a file is there");
        let file = dir.open("blocks.dat").expect("readable");
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(&mut buffer, 1).expect("readable"), 2);
        assert_eq!(&buffer[..2], b"bc");
        assert!(file.write_at(b"x", 0).is_err() && dir.rename("blocks.dat", "b").is_err() && dir.sync_dir().is_err());
        assert!(dir.open("other").is_err() && !dir.exists("other").expect("looked up"));
        assert!(dir.free_bytes().expect("asked") > 0);
    }
}
