//! The block file: a frame that names the file, then one frame for each block, only ever appended to.
//!
//! Frame 0 (kind 0) holds `format version u32 | genesis id 32 | file id 16`. Frame n (kind 1) is
//! block n exactly as it came, so the file is the recorded stream of `Blocks` frames. The file id is
//! random: a mark, an index or a checkpoint that names another one speaks of another file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::blockchain::block::{CheckedHeader, HEADER_BYTES, Header};
use crate::blockchain::disk::DiskFile;
use crate::blockchain::params::BLOCK_BYTES_MAX;
use crate::blockchain::storage::error::{BadRecord, StoreError};
use crate::blockchain::storage::index::BlockMeta;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::frame::{self, FrameHeader, KIND_BLOCK, KIND_FILE, frame_into};
use crate::primitives::hash::Hash;

/// The format that this program writes.
pub(super) const VERSION: u32 = 1;
/// The size of frame 0.
pub(super) const FILE_FRAME_BYTES: usize = frame::HEADER_BYTES + 52;
/// More than frame 0 of any version will have.
const FRONT_BYTES_MAX: usize = 4_096;
/// Bytes that recovery reads at a time, unless one frame is larger.
const SCAN_BYTES: usize = 256 << 10;

/// Which block file: what everything beside it must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The network's.
    pub genesis_id: Hash,
    /// The file's own, random.
    pub file_id: [u8; 16],
}

/// The payload of frame 0.
#[derive(Encode, Decode)]
struct FilePayload {
    version: u32,
    genesis_id: Hash,
    file_id: [u8; 16],
}

/// The block file, read by any thread.
#[derive(Clone, Debug)]
pub(super) struct BlockFile {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
}

/// What stands at the front of a block file.
pub(super) enum Front {
    /// A file of ours and of this network.
    Ours(FileIdentity),
    /// Nothing, or what a crash leaves of a frame 0 that was being written.
    Unfinished,
    /// Not a whole frame 0, with more behind it.
    Bad(BadRecord),
}

impl BlockFile {
    /// Reads frame 0 and refuses by name what is not ours.
    pub(super) fn front(&self, genesis_id: Hash) -> Result<Front, StoreError> {
        let mut bytes = vec![0; FRONT_BYTES_MAX];
        let read = self.file.read_at(&mut bytes, 0).map_err(StoreError::io("read", &self.path))?;
        bytes.truncate(read);
        // A crash may leave a part of the frame and zeros behind it.
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let begun = written.min(frame::MAGIC.len());
        if bytes[..begun] != frame::MAGIC[..begun] {
            return Ok(Front::Bad(BadRecord::Magic));
        }
        let header = bytes.first_chunk().and_then(FrameHeader::from_bytes).filter(|header| header.kind == KIND_FILE);
        let payload = header.and_then(|header| {
            let payload = bytes.get(frame::HEADER_BYTES..)?.get(..header.length as usize)?;
            // An empty payload has the checksum 0: that is how a torn header followed by zeros looks.
            (!payload.is_empty() && header.matches(payload)).then_some(payload)
        });
        match payload {
            Some(payload) => self.identity(payload, genesis_id).map(Front::Ours),
            None if self.size_bytes()? <= FILE_FRAME_BYTES as u64 => Ok(Front::Unfinished),
            None if header.is_some() => Ok(Front::Bad(BadRecord::Checksum)),
            None => Ok(Front::Bad(BadRecord::Magic)),
        }
    }

    /// Writes frame 0 over whatever is there.
    pub(super) fn create(&self, identity: FileIdentity) -> Result<(), StoreError> {
        let FileIdentity { genesis_id, file_id } = identity;
        let mut bytes = Vec::with_capacity(FILE_FRAME_BYTES);
        frame_into(KIND_FILE, &codec::encode(&FilePayload { version: VERSION, genesis_id, file_id }), &mut bytes);
        self.file.write_at(&bytes, 0).map_err(StoreError::io("write", &self.path))?;
        self.file.sync().map_err(StoreError::io("sync", &self.path))
    }

    /// The file's length.
    pub(super) fn size_bytes(&self) -> Result<u64, StoreError> {
        self.file.size_bytes().map_err(StoreError::io("look at", &self.path))
    }

    /// A block's payload, checked against its frame and against the index.
    pub(super) fn block(&self, meta: &BlockMeta, mark: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; frame::HEADER_BYTES + meta.size_bytes as usize];
        let read = self.file.read_at(&mut bytes, meta.offset).map_err(StoreError::io("read", &self.path))?;
        let checked = check_frame(&bytes[..read], meta.size_bytes, meta.id);
        checked.map_err(|reason| self.damaged(meta.record.0, meta.offset, mark, reason))?;
        bytes.drain(..frame::HEADER_BYTES);
        Ok(bytes)
    }

    /// The error for a bad record that was synced.
    pub(super) fn damaged(&self, record: u32, offset: u64, mark: u64, reason: BadRecord) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), record, offset, mark, reason }
    }

    fn identity(&self, payload: &[u8], genesis_id: Hash) -> Result<FileIdentity, StoreError> {
        let foreign = |reason: String| StoreError::Foreign { path: self.path.clone(), reason };
        // Every version begins with its number, whatever else it has.
        let version = payload.first_chunk().map_or(0, |version| u32::from_le_bytes(*version));
        if version > VERSION {
            return Err(StoreError::Newer { path: self.path.clone(), version, known: VERSION });
        }
        let found: FilePayload = codec::decode(payload).map_err(|error| foreign(error.to_string()))?;
        if found.version < VERSION {
            return Err(foreign(format!("format version {} never existed", found.version)));
        }
        if found.genesis_id != genesis_id {
            let (found, expected) = (found.genesis_id, genesis_id);
            return Err(StoreError::OtherNetwork { path: self.path.clone(), found, expected });
        }
        Ok(FileIdentity { genesis_id, file_id: found.file_id })
    }
}

/// Whether a whole frame holds the block that the index says.
pub(super) fn check_frame(frame: &[u8], size_bytes: u32, id: Hash) -> Result<(), BadRecord> {
    let torn = BadRecord::Torn { needed: 13 + u64::from(size_bytes), there: frame.len() as u64 };
    let (header, payload) = frame.split_first_chunk().ok_or(torn.clone())?;
    let header = FrameHeader::from_bytes(header).ok_or(BadRecord::Magic)?;
    if header.kind != KIND_BLOCK {
        return Err(BadRecord::Kind(header.kind));
    }
    if header.length != size_bytes {
        return Err(BadRecord::Length(header.length));
    }
    if payload.len() < size_bytes as usize {
        return Err(torn);
    }
    if !header.matches(payload) {
        return Err(BadRecord::Checksum);
    }
    let head = payload.get(..HEADER_BYTES).ok_or(BadRecord::Length(header.length))?;
    match Hash::sha256d(head) {
        found if found == id => Ok(()),
        found => Err(BadRecord::Id(found)),
    }
}

/// A frame's block and its payload's size, or why there is none.
type Scanned = Result<(CheckedHeader, u32), BadRecord>;

/// Reads frame after frame through one buffer, trusting nothing.
pub(super) struct Scan<'a> {
    file: &'a BlockFile,
    /// Where the next frame begins.
    pub(super) at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The file position of the buffer's first byte.
    buffer_at: u64,
}

impl<'a> Scan<'a> {
    /// The frames from `at` to `end`.
    pub(super) fn new(file: &'a BlockFile, at: u64, end: u64) -> Self {
        Self { file, at, end, buffer: Vec::new(), buffer_at: at }
    }

    /// The next block's header and payload size; `None` at the end. After a bad record it stays there.
    pub(super) fn next(&mut self) -> Result<Option<Scanned>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let Some(front) = self.window(frame::HEADER_BYTES)? else {
            return Ok(Some(Err(self.torn(frame::HEADER_BYTES as u64))));
        };
        let header = FrameHeader::from_bytes(front.first_chunk().expect("as many were asked for"));
        let header = match header.ok_or(BadRecord::Magic).and_then(plausible) {
            Ok(header) => header,
            Err(bad) => return Ok(Some(Err(bad))),
        };
        let frame_bytes = frame::HEADER_BYTES + header.length as usize;
        let Some(whole) = self.window(frame_bytes)? else {
            return Ok(Some(Err(self.torn(frame_bytes as u64))));
        };
        let checked = read_block(header, &whole[frame::HEADER_BYTES..]);
        if checked.is_ok() {
            self.at += frame_bytes as u64;
        }
        Ok(Some(checked.map(|checked| (checked, header.length))))
    }

    /// This many bytes from `at`, or `None` if the file ends before.
    fn window(&mut self, bytes: usize) -> Result<Option<&[u8]>, StoreError> {
        let start = usize::try_from(self.at - self.buffer_at).expect("within the buffer");
        if self.buffer.len() < start + bytes && self.buffer_at + (self.buffer.len() as u64) < self.end {
            self.buffer.drain(..start.min(self.buffer.len()));
            self.buffer_at = self.at;
            let kept = self.buffer.len();
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.buffer.resize(bytes.max(SCAN_BYTES).min(left), 0);
            let from = self.at + kept as u64;
            let read = self.file.file.read_at(&mut self.buffer[kept..], from);
            let read = read.map_err(StoreError::io("read", &self.file.path))?;
            self.buffer.truncate(kept + read);
        }
        let start = usize::try_from(self.at - self.buffer_at).expect("within the buffer");
        Ok(self.buffer.get(start..start + bytes))
    }

    fn torn(&self, needed: u64) -> BadRecord {
        BadRecord::Torn { needed, there: self.end - self.at }
    }
}

/// Before memory is taken for it: whether such a frame can hold a block.
fn plausible(header: FrameHeader) -> Result<FrameHeader, BadRecord> {
    if header.kind != KIND_BLOCK {
        return Err(BadRecord::Kind(header.kind));
    }
    let length = header.length as usize;
    if !(HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&length) {
        return Err(BadRecord::Length(header.length));
    }
    Ok(header)
}

fn read_block(frame: FrameHeader, payload: &[u8]) -> Result<CheckedHeader, BadRecord> {
    if !frame.matches(payload) {
        return Err(BadRecord::Checksum);
    }
    let (header, _) = codec::decode_prefix::<Header>(payload).expect("a header is 100 bytes of any value");
    CheckedHeader::check(header).map_err(|_| BadRecord::Work)
}
