//! The index: where each block lies, found by number, by id and by height.
//!
//! On disk a header (`magic 4 | version u32 | file id 16 | crc32c 4`), then records of 164 bytes in
//! file order: `id 32 | header 100 | offset u64 | size u32 | cumulative work u128 | crc32c 4`, read by
//! positioned reads. Record 0 is genesis, whose "payload" is that of the file's own frame. In memory
//! 4 bytes a height, 8 to 16 a record in a table from id to record, one bit for "was connected".
//!
//! It is a cache: never synced but at start, and made anew from the block file where it is bad.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;

use crate::blockchain::block::{HEADER_BYTES, Header};
use crate::blockchain::disk::DiskFile;
use crate::blockchain::storage::error::{BadRecord, StoreError};
use crate::blockchain::storage::table::{Bits, Table};
use crate::primitives::codec;
use crate::primitives::frame;
use crate::primitives::hash::Hash;

const MAGIC: [u8; 4] = *b"spni";
const VERSION: u32 = 1;
/// Bytes before record 0.
pub(super) const HEADER: usize = 28;
/// One record.
pub(super) const RECORD_BYTES: usize = 164;
/// Records that are read at once where many are read: 256 KiB.
pub(super) const RUN: usize = 1_600;

/// A block's number in the file: 0 is genesis, n the nth block that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNo(pub u32);

impl RecordNo {
    /// Genesis.
    pub const GENESIS: Self = Self(0);
}

/// What the index knows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Its number in the file.
    pub record: RecordNo,
    /// Its id.
    pub id: Hash,
    /// Its header.
    pub header: Header,
    /// Where its frame begins.
    pub offset: u64,
    /// Bytes of the block; for genesis, which has none, of the file's own frame.
    pub size_bytes: u32,
    /// Of its whole branch, itself included.
    pub work: u128,
}

impl BlockMeta {
    /// Genesis, as record 0.
    pub(super) fn genesis(id: Hash, header: Header) -> Self {
        let size_bytes = crate::blockchain::storage::file::FILE_FRAME_BYTES - frame::HEADER_BYTES;
        let size_bytes = u32::try_from(size_bytes).expect("a small constant");
        Self { record: RecordNo::GENESIS, id, header, offset: 0, size_bytes, work: 0 }
    }

    /// Where its frame ends: the length that must be durable for it to be.
    pub fn end(&self) -> u64 {
        self.offset + frame::HEADER_BYTES as u64 + u64::from(self.size_bytes)
    }
}

/// A record's bytes, whose checksum holds, read where they lie.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// `None` if it is not whole.
    pub(super) fn check(bytes: &'a [u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<4>()?;
        let right = bytes.len() == RECORD_BYTES && crc32c::crc32c(content) == u32::from_le_bytes(*checksum);
        right.then_some(Self(bytes))
    }

    /// A record whose checksum was verified a moment ago.
    pub(super) fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Where its frame ends.
    pub(super) fn end(self) -> u64 {
        self.offset() + frame::HEADER_BYTES as u64 + u64::from(self.size_bytes())
    }

    pub(super) fn id(self) -> Hash {
        Hash(self.array(0))
    }

    pub(super) fn height(self) -> u64 {
        u64::from_le_bytes(self.array(36))
    }

    pub(super) fn prev(self) -> Hash {
        Hash(self.array(44))
    }

    pub(super) fn offset(self) -> u64 {
        u64::from_le_bytes(self.array(132))
    }

    pub(super) fn size_bytes(self) -> u32 {
        u32::from_le_bytes(self.array(140))
    }

    pub(super) fn work(self) -> u128 {
        u128::from_le_bytes(self.array(144))
    }

    pub(super) fn meta(self, record: u32) -> BlockMeta {
        let header = codec::decode(&self.0[32..32 + HEADER_BYTES]).expect("a header is 100 bytes of any value");
        let record = RecordNo(record);
        BlockMeta {
            record,
            id: self.id(),
            header,
            offset: self.offset(),
            size_bytes: self.size_bytes(),
            work: self.work(),
        }
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("a slice of N bytes")
    }
}

/// Appends a record's bytes.
pub(super) fn record_into(meta: &BlockMeta, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&meta.id.0);
    out.extend_from_slice(&meta.header.to_bytes());
    out.extend_from_slice(&meta.offset.to_le_bytes());
    out.extend_from_slice(&meta.size_bytes.to_le_bytes());
    out.extend_from_slice(&meta.work.to_le_bytes());
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The bytes before record 0.
pub(super) fn header_bytes(file_id: &[u8; 16]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..24].copy_from_slice(file_id);
    let checksum = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Where a record lies in the index.
pub(super) fn record_at(record: u32) -> u64 {
    HEADER as u64 + u64::from(record) * RECORD_BYTES as u64
}

/// What the owner changes and readers look at, under one lock that nobody holds while reading a file.
#[derive(Default)]
pub(super) struct Shared {
    /// Of those that are written.
    pub(super) records: u32,
    pub(super) table: Table,
    /// The active chain: height to record.
    pub(super) heights: Vec<u32>,
    /// Which were connected once: only they are served.
    pub(super) connected: Bits,
    /// Its last block; `None` only while the store is being opened.
    pub(super) tip: Option<BlockMeta>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the tables: they have an entry for every block.
        f.debug_struct("Shared").field("records", &self.records).field("tip", &self.tip).finish_non_exhaustive()
    }
}

/// The index as every thread reads it.
#[derive(Clone, Debug)]
pub(super) struct IndexView {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) shared: Arc<RwLock<Shared>>,
    /// Bytes of the block file that are known to be synced: for messages.
    pub(super) durable_bytes: Arc<AtomicU64>,
}

impl IndexView {
    /// A record, its checksum verified. It must exist.
    pub(super) fn meta(&self, record: u32) -> Result<BlockMeta, StoreError> {
        let mut bytes = [0; RECORD_BYTES];
        self.read(&mut bytes, record)?;
        Ok(Raw::check(&bytes).ok_or_else(|| self.damaged(record))?.meta(record))
    }

    /// The block with this id, if it is in the file.
    pub(super) fn find(&self, id: &Hash) -> Result<Option<BlockMeta>, StoreError> {
        let candidates = self.shared.read().table.candidates(id);
        for record in candidates {
            let meta = self.meta(record)?;
            if meta.id == *id {
                return Ok(Some(meta));
            }
        }
        Ok(None)
    }

    /// The block before this one on its branch; genesis has none.
    pub(super) fn parent(&self, meta: &BlockMeta) -> Result<BlockMeta, StoreError> {
        let before = self.meta(meta.record.0.checked_sub(1).ok_or_else(|| self.damaged(meta.record.0))?)?;
        if before.id == meta.header.prev {
            return Ok(before);
        }
        self.find(&meta.header.prev)?.ok_or_else(|| self.damaged(meta.record.0))
    }

    /// Whether the file begins with these bytes.
    pub(super) fn begins_with(&self, expected: &[u8]) -> Result<bool, StoreError> {
        let mut bytes = vec![0; expected.len()];
        let read = self.file.read_at(&mut bytes, 0).map_err(StoreError::io("read", &self.path))?;
        Ok(bytes[..read] == *expected)
    }

    /// Fills the buffer with records from this one on.
    pub(super) fn read(&self, bytes: &mut [u8], first: u32) -> Result<(), StoreError> {
        let read = self.file.read_at(bytes, record_at(first)).map_err(StoreError::io("read", &self.path))?;
        if read == bytes.len() { Ok(()) } else { Err(self.damaged(first)) }
    }

    /// Drops the records from this number on, which are not believed: were they left there until those before them
    /// are written anew, the next opening would believe them, if this one ends in an error.
    pub(super) fn end_at(&self, records: u32) -> Result<(), StoreError> {
        let size_bytes = self.file.size_bytes().map_err(StoreError::io("look at", &self.path))?;
        if size_bytes > record_at(records) {
            self.file.set_size(record_at(records)).map_err(StoreError::io("cut", &self.path))?;
        }
        Ok(())
    }

    /// Visits records in file order, `from` to the last but `to`, through one buffer.
    pub(super) fn each(
        &self,
        from: u32,
        to: u32,
        visit: &mut dyn FnMut(u32, Raw<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        let mut next = from;
        while next < to {
            buffer.resize(RECORD_BYTES * RUN.min((to - next) as usize), 0);
            self.read(&mut buffer, next)?;
            for bytes in buffer.chunks_exact(RECORD_BYTES) {
                visit(next, Raw::check(bytes).ok_or_else(|| self.damaged(next))?)?;
                next += 1;
            }
        }
        Ok(())
    }

    pub(super) fn damaged(&self, record: u32) -> StoreError {
        StoreError::IndexDamaged { path: self.path.clone(), record }
    }
}

/// The index as the owner extends it: records are staged, then written together, then told to readers.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) view: IndexView,
    /// Bytes of staged records.
    staged: Vec<u8>,
    /// Written ones.
    written: u32,
    /// The last one, staged or written.
    last: BlockMeta,
}

impl Index {
    /// Continues an index whose last written record is this one.
    pub(super) fn new(view: IndexView, last: BlockMeta) -> Self {
        Self { view, staged: Vec::new(), written: last.record.0 + 1, last }
    }

    /// Records, staged ones included.
    pub(super) fn records(&self) -> u32 {
        self.last.record.0 + 1
    }

    /// The last record: the block file ends where it ends.
    pub(super) fn last(&self) -> &BlockMeta {
        &self.last
    }

    /// Bytes that `commit` will write.
    pub(super) fn staged_bytes(&self) -> usize {
        self.staged.len()
    }

    /// Appends a record for a block that lies behind the last one.
    pub(super) fn stage(
        &mut self,
        id: Hash,
        header: Header,
        size_bytes: u32,
    ) -> Result<Result<BlockMeta, BadRecord>, StoreError> {
        let Some((height, work)) = self.parent(&header.prev)? else {
            return Ok(Err(BadRecord::UnknownParent(header.prev)));
        };
        if header.height.checked_sub(1) != Some(height) {
            return Ok(Err(BadRecord::Height { height: header.height, parent: height }));
        }
        let record = RecordNo(self.last.record.0.checked_add(1).expect("a block file has fewer than 2^32 blocks"));
        let work = work + u128::from(header.difficulty);
        let meta = BlockMeta { record, id, header, offset: self.last.end(), size_bytes, work };
        record_into(&meta, &mut self.staged);
        self.last = meta;
        Ok(Ok(meta))
    }

    /// Writes what is staged, in one call, and lets readers find it.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let write = self.view.file.write_at(&self.staged, record_at(self.written));
        write.map_err(StoreError::io("write", &self.view.path))?;
        let records = self.records();
        self.make_room(records)?;
        let mut shared = self.view.shared.write();
        for (record, bytes) in (self.written..).zip(self.staged.chunks_exact(RECORD_BYTES)) {
            shared.table.insert(&Hash(bytes[..32].try_into().expect("an id is 32 bytes")), record);
        }
        shared.records = records;
        drop(shared);
        self.written = records;
        self.staged.clear();
        // A long answer's worth of records is not kept for the next single block.
        self.staged.shrink_to(64 << 10);
        Ok(())
    }

    /// The height and work of a block that is staged or written.
    fn parent(&self, id: &Hash) -> Result<Option<(u64, u128)>, StoreError> {
        if self.last.id == *id {
            return Ok(Some((self.last.header.height, self.last.work)));
        }
        // The nearest first: among staged blocks branches lie close together.
        let mut staged = self.staged.rchunks_exact(RECORD_BYTES).map(Raw::trusted);
        if let Some(raw) = staged.find(|raw| raw.id() == *id) {
            return Ok(Some((raw.height(), raw.work())));
        }
        Ok(self.view.find(id)?.map(|meta| (meta.header.height, meta.work)))
    }

    /// Before the table is three quarters full it is made anew, twice as large: ids are read back from
    /// the file, once per doubling, and readers go on with the old one meanwhile.
    fn make_room(&self, records: u32) -> Result<(), StoreError> {
        if self.view.shared.read().table.has_room(records) {
            return Ok(());
        }
        let mut table = Table::for_records(records);
        self.view.each(0, self.written, &mut |record, raw| {
            table.insert(&raw.id(), record);
            Ok(())
        })?;
        self.view.shared.write().table = table;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blockchain::params::Params;

    /// Goal: the format. Method: the header and record 0 of regtest, in hex.
    #[test]
    fn the_index_has_these_bytes() {
        let header = header_bytes(&[7; 16]);
        assert_eq!(hex::encode(&header[..24]), "73706e690100000007070707070707070707070707070707");
        assert_eq!(header[24..], crc32c::crc32c(&header[..24]).to_le_bytes());
        let params = Params::regtest();
        let meta = BlockMeta::genesis(params.genesis_id(), *params.genesis());
        let mut bytes = Vec::new();
        record_into(&BlockMeta { work: 5, ..meta }, &mut bytes);
        let expected = [
            hex::encode(params.genesis_id().0),
            hex::encode(params.genesis().to_bytes()),
            "0000000000000000".to_owned(),
            "34000000".to_owned(),
            "05000000000000000000000000000000".to_owned(),
            hex::encode(crc32c::crc32c(&bytes[..160]).to_le_bytes()),
        ];
        assert_eq!(hex::encode(&bytes), expected.concat());
        let raw = Raw::check(&bytes).expect("whole");
        assert_eq!(raw.meta(0), BlockMeta { work: 5, ..meta });
        assert_eq!((raw.height(), raw.prev(), raw.work()), (0, Hash::ZERO, 5));
    }
}
