//! The chain as it is shown: up to the last block that no power cut can take away.
//!
//! Blocks are published as soon as the ledger has taken them, and are durable some milliseconds later (while
//! catching up, half a second). What is told to people and programs is told after that; so the end of the chain is
//! looked for here, and what lies behind it is not there yet.

use std::sync::atomic::Ordering;

use crate::blockchain::block::{COINBASE_BYTES, HEADER_BYTES, TRANSFERS_AT};
use crate::blockchain::position::Position;
use crate::blockchain::storage::{BlockMeta, ReadHandle, RecordNo, StoreError};
use crate::blockchain::transaction::Coinbase;
use crate::node::summary::Summary;
use crate::primitives::codec;
use crate::primitives::frame;
use crate::primitives::hash::Hash;
use crate::rpc::fault::{Code, Fault};
use crate::rpc::service::Service;

/// Bytes of blocks that are read at once where many small ones are.
const RUN_BYTES: usize = 256 << 10;

/// See the top of the file. Made for one question.
pub(super) struct Chain<'a> {
    service: &'a Service,
    reader: &'a ReadHandle,
    durable_bytes: u64,
}

/// What stands in a block before its transfers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    /// Genesis has none.
    pub(super) coinbase: Option<Coinbase>,
    pub(super) transfers: u16,
}

impl Front {
    /// Of a block's bytes, which were checked when it was read; genesis has none.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let coinbase = bytes.get(HEADER_BYTES..HEADER_BYTES + COINBASE_BYTES);
        let coinbase = coinbase.map(|bytes| codec::decode(bytes).expect("any 82 bytes are a coinbase"));
        let count = bytes.get(HEADER_BYTES + COINBASE_BYTES..TRANSFERS_AT);
        let transfers = count.and_then(|count| count.try_into().ok()).map_or(0, u16::from_le_bytes);
        Self { coinbase, transfers }
    }
}

impl<'a> Chain<'a> {
    pub(super) fn new(service: &'a Service) -> Self {
        let reader = service.node().reader();
        Self { service, reader, durable_bytes: reader.durable_bytes() }
    }

    /// For what is looked up elsewhere.
    pub(super) fn reader(&self) -> &'a ReadHandle {
        self.reader
    }

    /// Whether a block may be told of.
    pub(super) fn is_told(&self, meta: &BlockMeta) -> bool {
        // Genesis is a part of the program.
        meta.record == RecordNo::GENESIS || meta.end() <= self.durable_bytes
    }

    /// The last block of the active chain that is durable, and the difficulty of the one after it.
    pub(super) fn end(&self, summary: &Summary) -> Result<(BlockMeta, u64), StoreError> {
        if self.is_told(&summary.tip) {
            return Ok((summary.tip, summary.next_difficulty));
        }
        let tip = self.search(summary.tip.header.height)?;
        let before = match tip.header.height.checked_sub(1) {
            Some(height) => self.at(height)?.map_or(tip.header.time, |meta| meta.header.time),
            None => tip.header.time,
        };
        let position = Position::of(&tip.header, tip.id, before, tip.work);
        Ok((tip, position.difficulty_due(self.service.node().params())))
    }

    /// The last block of the active chain that is durable.
    pub(super) fn tip(&self) -> Result<BlockMeta, StoreError> {
        let tip = self.reader.tip();
        if self.is_told(&tip) { Ok(tip) } else { self.search(tip.header.height) }
    }

    /// Parents lie before their children in the file, so the durable part of a chain is its lower end.
    fn search(&self, tip_height: u64) -> Result<BlockMeta, StoreError> {
        let (mut low, mut high) = (self.service.durable_from.load(Ordering::Relaxed), tip_height);
        let mut best = self.at(low)?;
        if best.is_none() {
            (low, best) = (0, self.at(0)?);
        }
        let mut best = best.expect("genesis is always there");
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match self.at(middle)? {
                Some(meta) => (low, best) = (middle, meta),
                None => high = middle,
            }
        }
        self.service.durable_from.store(low, Ordering::Relaxed);
        Ok(best)
    }

    /// The block at a height of the active chain.
    pub(super) fn at(&self, height: u64) -> Result<Option<BlockMeta>, StoreError> {
        let Some(record) = self.reader.record_at(height) else { return Ok(None) };
        Ok(Some(self.reader.meta(record)?).filter(|meta| self.is_told(meta)))
    }

    /// The same for whoever has asked for it.
    pub(super) fn need_at(&self, height: u64) -> Result<BlockMeta, Fault> {
        if let Some(meta) = self.at(height)? {
            return Ok(meta);
        }
        let tip = self.tip()?.header.height;
        Err(Fault::new(Code::TooBigHeight, format!("there is no block at height {height}; the last one's is {tip}")))
    }

    /// The block with this id, on any branch.
    pub(super) fn need(&self, id: &Hash) -> Result<BlockMeta, Fault> {
        let found = self.reader.find_meta(id)?.filter(|meta| self.is_told(meta));
        found.ok_or_else(|| Fault::new(Code::NotFound, format!("there is no block {id} in this node's file")))
    }

    /// Reads a block and what stands at its front.
    pub(super) fn front(&self, meta: &BlockMeta) -> Result<Front, StoreError> {
        Ok(Front::of(&self.reader.block(meta.record)?))
    }

    /// Visits blocks of the active chain from a height up, with what stands at the front of each. Every block is read
    /// whole, so that its checksum vouches for what is told of it.
    pub(super) fn each_front(
        &self,
        from: u64,
        count: usize,
        buffer: &mut Vec<u8>,
        visit: &mut dyn FnMut(&BlockMeta, Front),
    ) -> Result<(), StoreError> {
        let records = self.reader.records_from(from, count);
        for row in records.chunk_by(|a, b| a.0 + 1 == b.0) {
            let metas = self.reader.metas(row[0], row.len())?;
            let mut rest = &metas[..];
            while let Some(first) = rest.first() {
                if !self.is_told(first) {
                    return Ok(());
                }
                if first.record == RecordNo::GENESIS {
                    visit(first, Front::of(&[]));
                    rest = &rest[1..];
                    continue;
                }
                let read = self.reader.frames(first.record, rest.len(), RUN_BYTES, buffer)?;
                if read == 0 {
                    return Ok(());
                }
                let (now, later) = rest.split_at(read);
                let mut bytes = &buffer[..];
                for meta in now {
                    let (framed, after) = bytes.split_at(frame::HEADER_BYTES + meta.size_bytes as usize);
                    if self.is_told(meta) {
                        visit(meta, Front::of(&framed[frame::HEADER_BYTES..]));
                    }
                    bytes = after;
                }
                rest = later;
            }
        }
        Ok(())
    }
}
