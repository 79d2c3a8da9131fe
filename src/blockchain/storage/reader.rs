//! Reading beside the owner: any thread, no waiting but for a lock that is held for microseconds.
//!
//! Each look copies a few numbers under the lock and reads the files after letting it go. That is
//! sound because a file only grows: a reorganisation changes which records are active, never a record.

use std::sync::atomic::Ordering;

use crate::blockchain::storage::error::StoreError;
use crate::blockchain::storage::file::{BlockFile, check_frame};
use crate::blockchain::storage::index::{BlockMeta, IndexView, RECORD_BYTES, Raw, RecordNo};
use crate::primitives::frame;
use crate::primitives::hash::Hash;

/// Index records that are read at once for a run: few beside one large block, many beside a system call.
const LOOK: usize = 256;

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

    /// The records of at most `count` blocks of the active chain, from this height up.
    pub fn records_from(&self, height: u64, count: usize) -> Vec<RecordNo> {
        let Ok(first) = usize::try_from(height) else { return Vec::new() };
        let shared = self.index.shared.read();
        shared.heights.iter().skip(first).take(count).copied().map(RecordNo).collect()
    }

    /// What is known of `count` blocks that follow one another in the file: one read.
    pub fn metas(&self, first: RecordNo, count: usize) -> Result<Vec<BlockMeta>, StoreError> {
        let mut bytes = vec![0; count * RECORD_BYTES];
        self.index.read(&mut bytes, first.0)?;
        let records = (first.0..).zip(bytes.chunks_exact(RECORD_BYTES));
        let metas = records.map(|(record, bytes)| Raw::check(bytes).map(|raw| raw.meta(record)).ok_or(record));
        metas.collect::<Result<_, _>>().map_err(|record| self.index.damaged(record))
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
        let (at, run) = self.run(first, count.min(there), bytes_max)?;
        let run_bytes = run.iter().map(|&(_, size_bytes)| frame::HEADER_BYTES + size_bytes as usize).sum();
        buffer.resize(run_bytes, 0);
        let read = self.data.file.read_at(buffer, at);
        buffer.truncate(read.map_err(StoreError::io("read", &self.data.path))?);
        let verified = self.verify_run(&run, first, at, buffer);
        verified.inspect_err(|_| buffer.clear())?;
        Ok(run.len())
    }

    /// Where a run begins, and id and size of each block in it.
    fn run(&self, first: RecordNo, count: usize, bytes_max: usize) -> Result<(u64, Vec<(Hash, u32)>), StoreError> {
        let mut buffer = vec![0; RECORD_BYTES * count.min(LOOK)];
        let (mut at, mut end, mut run) = (0, 0, Vec::new());
        let mut next = first.0;
        while run.len() < count {
            let records = &mut buffer[..RECORD_BYTES * LOOK.min(count - run.len())];
            self.index.read(records, next)?;
            for bytes in records.chunks_exact(RECORD_BYTES) {
                let raw = Raw::check(bytes).ok_or_else(|| self.index.damaged(next))?;
                if run.is_empty() {
                    (at, end) = (raw.offset(), raw.offset());
                } else if raw.end() - at > bytes_max as u64 {
                    return Ok((at, run));
                }
                if raw.offset() != end {
                    return Err(self.index.damaged(next));
                }
                run.push((raw.id(), raw.size_bytes()));
                (end, next) = (raw.end(), next + 1);
            }
        }
        Ok((at, run))
    }

    fn verify_run(&self, run: &[(Hash, u32)], first: RecordNo, at: u64, buffer: &[u8]) -> Result<(), StoreError> {
        let (mut rest, mut offset) = (buffer, at);
        for (record, &(id, size_bytes)) in (first.0..).zip(run) {
            let frame_bytes = frame::HEADER_BYTES + size_bytes as usize;
            let (frame, after) = rest.split_at(frame_bytes.min(rest.len()));
            let checked = check_frame(frame, size_bytes, id);
            checked.map_err(|reason| self.data.damaged(record, offset, self.durable_bytes(), reason))?;
            (rest, offset) = (after, offset + frame_bytes as u64);
        }
        Ok(())
    }
}
