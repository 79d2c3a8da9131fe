//! One sorted run: a file of entries for a row of records, written once and then only read.
//!
//! `magic 4 | version u32 | file id 16 | first record u32 | end u32 | entries u64 | crc32c of the entries u32 |
//! crc32c of all this u32`, then the entries, ascending: `prefix u64, big-endian, so that bytes sort as numbers |
//! record u32, big-endian`. The prefix is a transaction id's first eight bytes.
//!
//! It is written under another name, synced, and put in its place, so a run that is there is whole, unless the
//! disk has spoilt it since; then its checksum says so.

use std::io;
use std::sync::Arc;

use crate::blockchain::disk::{Disk, DiskFile};
use crate::blockchain::storage::{FileIdentity, RecordNo};
use crate::primitives::hash::Hash;

const MAGIC: [u8; 4] = *b"spnt";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
/// One entry.
pub(super) const ENTRY_BYTES: usize = 12;
/// Entries that are read and written at once, and their bytes: 12 KiB.
pub(super) const CHUNK: usize = 1_024;
pub(super) const READ_BYTES: usize = CHUNK * ENTRY_BYTES;

/// A transaction's id, shortened, and a block that has it. Sorts as its bytes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    prefix: u64,
    record: u32,
}

impl Entry {
    /// The least entry that a transaction can have.
    pub(super) fn least(id: &Hash) -> Self {
        Self { prefix: u64::from_be_bytes(*id.0.first_chunk().expect("32 bytes hold eight")), record: 0 }
    }

    /// The one of a transaction in this block.
    pub(super) fn new(id: &Hash, record: RecordNo) -> Self {
        Self { record: record.0, ..Self::least(id) }
    }

    /// Where to look.
    pub(super) fn record(self) -> RecordNo {
        RecordNo(self.record)
    }

    /// Whether both begin alike.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.prefix == other.prefix
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        (u128::from(self.prefix) << 32 | u128::from(self.record)).to_be_bytes()[4..].try_into().expect("twelve of 16")
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let (prefix, record) = bytes.split_first_chunk().expect("an entry has twelve bytes");
        let record = record.first_chunk().expect("an entry has twelve bytes");
        Self { prefix: u64::from_be_bytes(*prefix), record: u32::from_be_bytes(*record) }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Run {
    file: Arc<dyn DiskFile>,
    /// The records that it covers: from the first up to the end, which is not in it.
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) entries: u64,
    checksum: u32,
}

impl Run {
    /// Opens a run of this block file; `None` if there is none under that name, or one that does not count.
    pub(super) fn open(disk: &dyn Disk, name: &str, identity: &FileIdentity) -> io::Result<Option<Self>> {
        if !disk.exists(name)? {
            return Ok(None);
        }
        let file = disk.open(name)?;
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(&mut header, 0)?;
        let size_bytes = file.size_bytes()?;
        let run = (read == HEADER_BYTES).then(|| Self::parse(file, &header, identity)).flatten();
        Ok(run.filter(|run| size_bytes == HEADER_BYTES as u64 + run.entries * ENTRY_BYTES as u64))
    }

    fn parse(file: Arc<dyn DiskFile>, header: &[u8; HEADER_BYTES], identity: &FileIdentity) -> Option<Self> {
        let (content, checksum) = header.split_last_chunk::<4>()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let number = |at: usize| content.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let is_ours = content.starts_with(&MAGIC) && number(4)? == VERSION && content[8..24] == identity.file_id;
        let (first, end) = (number(24)?, number(28)?);
        let entries = u64::from_le_bytes(*content.get(32..40)?.first_chunk()?);
        // Each block has a transaction at the least, and a file of more entries than fit a u64 is no file.
        let is_sound = first < end && entries >= u64::from(end - first) && entries < u64::MAX / 64;
        (is_ours && is_sound).then_some(Self { file, first, end, entries, checksum: number(40)? })
    }

    /// Writes a run of all these entries, which ascend, and puts it in its place.
    pub(super) fn write(
        disk: &dyn Disk,
        name: &str,
        identity: &FileIdentity,
        (first, end): (u32, u32),
        entries: impl Iterator<Item = io::Result<Entry>>,
    ) -> io::Result<Self> {
        let fresh = format!("{name}.new");
        disk.remove(&fresh)?;
        let written = disk.open(&fresh).and_then(|file| {
            let (entries, checksum) = fill(&*file, entries)?;
            let mut header = Vec::with_capacity(HEADER_BYTES);
            header.extend_from_slice(&MAGIC);
            header.extend_from_slice(&VERSION.to_le_bytes());
            header.extend_from_slice(&identity.file_id);
            header.extend_from_slice(&first.to_le_bytes());
            header.extend_from_slice(&end.to_le_bytes());
            header.extend_from_slice(&entries.to_le_bytes());
            header.extend_from_slice(&checksum.to_le_bytes());
            header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
            file.write_at(&header, 0)?;
            file.sync()?;
            disk.rename(&fresh, name)?;
            Ok(Self { file, first, end, entries, checksum })
        });
        // The first failure is the one to be told; a rest that cannot be removed goes with the next try.
        let run = written.inspect_err(|_| _ = disk.remove(&fresh))?;
        disk.sync_dir()?;
        Ok(run)
    }

    /// Whether every byte is as it was written.
    pub(super) fn is_whole(&self) -> io::Result<bool> {
        let (mut buffer, mut at, mut checksum) = (vec![0; READ_BYTES], HEADER_BYTES as u64, 0);
        loop {
            let read = self.file.read_at(&mut buffer, at)?;
            if read == 0 {
                return Ok(checksum == self.checksum);
            }
            checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
            at += read as u64;
        }
    }

    /// Adds the blocks that have a transaction whose id begins like this one's.
    pub(super) fn find(&self, least: Entry, found: &mut Vec<RecordNo>) -> io::Result<()> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle)? < least { low = middle + 1 } else { high = middle }
        }
        while low < self.entries {
            let entry = self.at(low)?;
            if !entry.is_like(least) {
                break;
            }
            found.push(entry.record());
            low += 1;
        }
        Ok(())
    }

    fn at(&self, place: u64) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        let read = self.file.read_at(&mut bytes, HEADER_BYTES as u64 + place * ENTRY_BYTES as u64)?;
        if read < ENTRY_BYTES { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Entry::from_bytes(&bytes)) }
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = io::Result<Entry>> + '_ {
        let mut buffer = vec![0; READ_BYTES];
        let (mut next, mut entries) = (0, Vec::new().into_iter());
        std::iter::from_fn(move || {
            if entries.len() == 0 {
                let at = HEADER_BYTES as u64 + next * ENTRY_BYTES as u64;
                let read = match self.file.read_at(&mut buffer, at) {
                    Ok(read) => read,
                    Err(error) => return Some(Err(error)),
                };
                let read: Vec<Entry> = buffer[..read].chunks_exact(ENTRY_BYTES).map(Entry::from_bytes).collect();
                next += read.len() as u64;
                entries = read.into_iter();
            }
            entries.next().map(Ok)
        })
    }
}

/// Writes entries behind the place of the header; gives how many, and their checksum.
fn fill(file: &dyn DiskFile, entries: impl Iterator<Item = io::Result<Entry>>) -> io::Result<(u64, u32)> {
    let (mut buffer, mut at, mut checksum) = (Vec::with_capacity(READ_BYTES), HEADER_BYTES as u64, 0);
    let mut flush = |buffer: &mut Vec<u8>| -> io::Result<()> {
        file.write_at(buffer, at)?;
        checksum = crc32c::crc32c_append(checksum, buffer);
        at += buffer.len() as u64;
        buffer.clear();
        Ok(())
    };
    for entry in entries {
        buffer.extend_from_slice(&entry?.to_bytes());
        if buffer.len() == READ_BYTES {
            flush(&mut buffer)?;
        }
    }
    flush(&mut buffer)?;
    Ok(((at - HEADER_BYTES as u64) / ENTRY_BYTES as u64, checksum))
}
