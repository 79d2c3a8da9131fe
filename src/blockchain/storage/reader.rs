//! Reading beside the owner: any thread, no waiting but for a lock that is held for microseconds.
//!
//! Each look copies a few numbers under the lock and reads the files after letting it go. That is
//! sound because a file only grows: a reorganisation changes which records are active, never a record.

use std::sync::atomic::Ordering;

use crate::blockchain::storage::error::{BadRecord, StoreError};
use crate::blockchain::storage::file::{BlockFile, check_frame};
use crate::blockchain::storage::index::{BlockMeta, IndexView, RECORD_BYTES, RUN, Raw, RecordNo};
use crate::primitives::frame;
use crate::primitives::hash::Hash;

/// The chain as everybody but the owner sees it.
#[derive(Clone, Debug)]
pub struct ReadHandle {
    pub(super) data: BlockFile,
    pub(super) index: IndexView,
}

impl ReadHandle {
    /// The published tip.
    pub fn tip(&self) -> BlockMeta {
        self.index.shared.read().tip.expect("an opened store has a tip")
    }

    /// Blocks in the file, genesis included.
    pub fn records(&self) -> u32 {
        self.index.shared.read().records
    }

    /// Bytes of the block file that are known to be on the disk.
    pub fn durable_bytes(&self) -> u64 {
        self.index.durable_bytes.load(Ordering::Relaxed)
    }

    /// The block at this height of the active chain.
    pub fn record_at(&self, height: u64) -> Option<RecordNo> {
        let height = usize::try_from(height).ok()?;
        self.index.shared.read().heights.get(height).copied().map(RecordNo)
    }

    /// The block with this id, on any branch.
    pub fn find(&self, id: &Hash) -> Result<Option<RecordNo>, StoreError> {
        Ok(self.find_meta(id)?.map(|meta| meta.record))
    }

    /// The same, with what the look-up has read anyway.
    pub fn find_meta(&self, id: &Hash) -> Result<Option<BlockMeta>, StoreError> {
        self.index.find(id)
    }

    /// What is known of a block.
    pub fn meta(&self, record: RecordNo) -> Result<BlockMeta, StoreError> {
        self.index.meta(record.0)
    }

    /// Whether a block is on the active chain.
    pub fn is_active(&self, meta: &BlockMeta) -> bool {
        self.record_at(meta.header.height) == Some(meta.record)
    }

    /// Whether a block was connected once: on the active chain now, or on a branch that it has left.
    pub fn is_served(&self, record: RecordNo) -> bool {
        self.index.shared.read().connected.contains(record.0)
    }

    /// A block's bytes; none for genesis, which has no body. Frame, checksum and id are verified.
    pub fn block(&self, record: RecordNo) -> Result<Vec<u8>, StoreError> {
        if record == RecordNo::GENESIS {
            return Ok(Vec::new());
        }
        self.data.block(&self.meta(record)?, self.durable_bytes())
    }

    /// Fills `buffer` with whole frames as they travel, from `first` on in file order: at most `count`
    /// and at most `bytes_max` bytes, but at least one. Gives how many; 0 if `first` is genesis or not
    /// there. One read; each frame's checksum and id are verified.
    pub fn frames(
        &self,
        first: RecordNo,
        count: usize,
        bytes_max: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<usize, StoreError> {
        buffer.clear();
        if first == RecordNo::GENESIS {
            return Ok(0);
        }
        let there = self.records().saturating_sub(first.0) as usize;
        // A frame has at least 113 bytes, so no more records than these can be needed.
        let wanted = count.min(there).min(RUN).min(bytes_max / 113 + 1);
        let mut records = vec![0; wanted * RECORD_BYTES];
        self.index.read(&mut records, first.0)?;
        let (mut run, mut run_bytes) = (Vec::with_capacity(wanted), 0);
        for (record, bytes) in (first.0..).zip(records.chunks_exact(RECORD_BYTES)) {
            let raw = Raw::check(bytes).ok_or_else(|| self.index.damaged(record))?;
            let frame_bytes = frame::HEADER_BYTES + raw.size_bytes() as usize;
            if !run.is_empty() && run_bytes + frame_bytes > bytes_max {
                break;
            }
            run_bytes += frame_bytes;
            run.push((raw, frame_bytes));
        }
        let Some(&(front, _)) = run.first() else { return Ok(0) };
        buffer.resize(run_bytes, 0);
        let read = self.data.file.read_at(buffer, front.offset());
        buffer.truncate(read.map_err(StoreError::io("read", &self.data.path))?);
        let verified = self.verify_run(&run, first, front.offset(), buffer);
        verified.inspect_err(|_| buffer.clear())?;
        Ok(run.len())
    }

    fn verify_run(&self, run: &[(Raw<'_>, usize)], first: RecordNo, at: u64, buffer: &[u8]) -> Result<(), StoreError> {
        let mut rest = buffer;
        let mut offset = at;
        for (record, &(raw, frame_bytes)) in (first.0..).zip(run) {
            let (frame, after) = rest.split_at(frame_bytes.min(rest.len()));
            let checked = if raw.offset() == offset {
                check_frame(frame, raw.size_bytes(), raw.id())
            } else {
                // The index says that the frames do not follow each other.
                Err(BadRecord::Magic)
            };
            checked.map_err(|reason| self.data.damaged(record, offset, self.durable_bytes(), reason))?;
            rest = after;
            offset += frame_bytes as u64;
        }
        Ok(())
    }
}
