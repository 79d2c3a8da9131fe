//! The mark: how far the block file is known to be on the disk.
//!
//! Two slots, 4,096 bytes apart so that no torn sector spoils both, written in turn; the newest valid
//! one counts. `magic 4 | version u32 | file id 16 | sequence u64 | durable length u64 | crc32c 4`.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::blockchain::disk::DiskFile;
use crate::blockchain::storage::Poison;
use crate::blockchain::storage::error::StoreError;
use crate::blockchain::storage::file::{BlockFile, FILE_FRAME_BYTES};

const MAGIC: [u8; 4] = *b"spnm";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 44;
const SLOT_STEP: u64 = 4_096;

/// The mark's file and what it says.
#[derive(Debug)]
pub(super) struct Mark {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    file_id: [u8; 16],
    sequence: u64,
    /// 0 when no slot is valid.
    durable_bytes: u64,
}

/// Both slots as they were read, before it is known which block file they should name.
///
/// They are read before the block file's length is: beside a running node the file then covers them.
pub(super) struct Slots {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    both: [Vec<u8>; 2],
}

impl Slots {
    /// Reads both.
    pub(super) fn read(file: Arc<dyn DiskFile>, path: PathBuf) -> Result<Self, StoreError> {
        let slot = |place: u64| {
            let mut slot = vec![0; SLOT_BYTES];
            let read = file.read_at(&mut slot, place * SLOT_STEP).map_err(StoreError::io("read", &path))?;
            slot.truncate(read);
            Ok(slot)
        };
        let both = [slot(0)?, slot(1)?];
        Ok(Self { file, path, both })
    }

    /// Whether nothing was ever written here.
    pub(super) fn is_blank(&self) -> bool {
        self.both.iter().flatten().all(|&byte| byte == 0)
    }

    /// The greatest length that a valid slot states, of whatever block file: for messages.
    pub(super) fn stated_bytes(&self) -> Option<u64> {
        self.both.iter().filter_map(|bytes| Slot::read(bytes)).map(|slot| slot.durable_bytes).max()
    }

    /// The newest valid mark of this block file; its length is 0 if there is none.
    pub(super) fn mark_of(self, file_id: [u8; 16]) -> Result<Mark, StoreError> {
        let Self { file, path, both } = self;
        let mut mark = Mark { file, path, file_id, sequence: 0, durable_bytes: 0 };
        for (place, bytes) in (0..).zip(&both) {
            let Some(slot) = Slot::read(bytes).filter(|slot| slot.file_id == file_id) else { continue };
            if slot.version > VERSION {
                return Err(StoreError::Newer { path: mark.path, version: slot.version, known: VERSION });
            }
            let sound = slot.sequence % 2 == place && slot.durable_bytes >= FILE_FRAME_BYTES as u64;
            if sound && slot.sequence > mark.sequence {
                (mark.sequence, mark.durable_bytes) = (slot.sequence, slot.durable_bytes);
            }
        }
        Ok(mark)
    }
}

impl Mark {
    /// Bytes of the block file that were synced.
    pub(super) fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    /// Writes the next slot and syncs it.
    pub(super) fn advance(&mut self, durable_bytes: u64) -> Result<(), StoreError> {
        let sequence = self.sequence + 1;
        self.put(sequence, durable_bytes)?;
        (self.sequence, self.durable_bytes) = (sequence, durable_bytes);
        Ok(())
    }

    /// Makes what was read last. Whoever wrote it may have ended before its sync, or failed at it; the system
    /// shows it all the same, and the next slot would take the place of the only one that is on the disk.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.put(self.sequence, self.durable_bytes)
    }

    fn put(&self, sequence: u64, durable_bytes: u64) -> Result<(), StoreError> {
        let slot = Slot { version: VERSION, file_id: self.file_id, sequence, durable_bytes };
        self.file.write_at(&slot.to_bytes(), sequence % 2 * SLOT_STEP).map_err(StoreError::io("write", &self.path))?;
        self.file.sync().map_err(StoreError::io("sync", &self.path))
    }
}

/// One slot.
struct Slot {
    version: u32,
    file_id: [u8; 16],
    sequence: u64,
    durable_bytes: u64,
}

impl Slot {
    /// `None` if it is torn, or was never written.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SLOT_BYTES] = bytes.try_into().ok()?;
        let slot = Self {
            version: u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")),
            file_id: bytes[8..24].try_into().expect("sixteen bytes"),
            sequence: u64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes")),
            durable_bytes: u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes")),
        };
        (slot.to_bytes() == *bytes).then_some(slot)
    }

    fn to_bytes(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.file_id);
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// What the disk thread holds: makes appended blocks last, and says how far.
#[derive(Clone, Debug)]
pub struct Syncer {
    data: BlockFile,
    mark: Arc<Mutex<Mark>>,
    poison: Poison,
}

impl Syncer {
    pub(super) fn new(data: BlockFile, mark: Mark, poison: Poison) -> Self {
        Self { data, mark: Arc::new(Mutex::new(mark)), poison }
    }

    /// Returns when the first `upto` bytes of the block file and the mark that says so are on the disk.
    ///
    /// They must have been appended before this call. The first failure is final: after a failed fsync
    /// the system may have dropped the very pages that failed, so a second one that succeeds means nothing.
    pub fn sync(&mut self, upto: u64) -> Result<(), StoreError> {
        self.poison.check(&self.data.path)?;
        let mut mark = self.mark.lock();
        if upto <= mark.durable_bytes() {
            return Ok(());
        }
        let synced = self.data.file.sync().map_err(StoreError::io("sync", &self.data.path));
        synced.and_then(|()| mark.advance(upto)).inspect_err(|error| self.poison.set(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blockchain::disk::Disk;
    use crate::blockchain::memory_disk::MemoryDisk;

    fn read(disk: &MemoryDisk) -> Mark {
        let slots = Slots::read(disk.open("m").expect("made"), "m".into()).expect("readable");
        slots.mark_of([7; 16]).expect("not a newer one")
    }

    /// Goal: the format. Method: the bytes of one slot, in hex.
    #[test]
    fn a_slot_has_these_bytes() {
        let expected = "73706e6d010000000707070707070707070707070707070703000000000000002a01000000000000";
        let slot = Slot { version: VERSION, file_id: [7; 16], sequence: 3, durable_bytes: 298 }.to_bytes();
        assert_eq!(hex::encode(&slot[..40]), expected);
        assert_eq!(slot[40..], crc32c::crc32c(&slot[..40]).to_le_bytes());
    }

    /// Goal: a mark that is torn while it is written leaves the one before; it never invents one.
    /// Method: the third slot cut at every byte over the first, whose place it takes.
    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let disk = MemoryDisk::default();
        let mut mark = read(&disk);
        assert_eq!((mark.sequence, mark.durable_bytes()), (0, 0));
        mark.advance(100).expect("no fault");
        mark.advance(200).expect("no fault");
        let before = disk.bytes("m").expect("there");
        mark.advance(300).expect("no fault");
        let after = disk.bytes("m").expect("there");
        let slot = usize::try_from(SLOT_STEP).expect("small");
        for torn in 0..=SLOT_BYTES {
            let mut bytes = before.clone();
            bytes[slot..slot + torn].copy_from_slice(&after[slot..slot + torn]);
            disk.put("m", &bytes);
            let found = read(&disk).durable_bytes();
            assert_eq!(found, if bytes == after { 300 } else { 200 }, "torn at {torn}");
        }
        let slots = Slots::read(disk.open("m").expect("made"), "m".into()).expect("readable");
        let other = slots.mark_of([8; 16]).expect("not a newer one");
        assert_eq!(other.durable_bytes(), 0, "a mark of another file says nothing");
    }
}
