//! Answers to reads: headers and runs of blocks, over the read handle, beside the owner.
//!
//! A block travels as it rests: the file's frames are copied to the wire, 64 KiB at a time,
//! each checked once more. Because the file only grows, a reorganisation in the middle of an answer
//! changes nothing. Only blocks that were connected once are served: those of the active chain and of
//! branches that it has left, never one that nobody has checked against a ledger.

use crate::blockchain::block::Block;
use crate::blockchain::storage::{ReadHandle, RecordNo, StoreError};
use crate::node::message::{HEADERS_MAX, Message};
use crate::primitives::codec::{self, List};
use crate::primitives::hash::Hash;

/// Bytes that a run is read and written by; a larger block goes alone. Small enough that allocators keep
/// the buffers: with 256 KiB they went back to the system each time, and serving took twice as long.
pub const CHUNK_BYTES: usize = 64 << 10;

/// A read that a peer asked for: answered by its writer, never by the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The headers after the first of these that is on our active chain.
    Headers {
        /// Newest first.
        locator: Vec<Hash>,
    },
    /// A run of blocks.
    Blocks {
        /// Its last block.
        last: Hash,
        /// How many, 1 to 2,000.
        count: u16,
    },
    /// Some transfers of a block.
    BlockTxs {
        /// The block.
        block: Hash,
        /// Their places, from 0.
        places: Vec<u16>,
    },
}

/// Answers reads.
#[derive(Clone, Debug)]
pub struct Server {
    reader: ReadHandle,
}

/// Blocks on their way out: record numbers that are still to be sent, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    records: Vec<RecordNo>,
    next: usize,
}

impl Server {
    /// Answers from this chain.
    pub fn new(reader: ReadHandle) -> Self {
        Self { reader }
    }

    /// The frame of a `Headers` message: what follows the first hash that is on the active chain, or
    /// genesis if none is.
    pub fn headers(&self, locator: &[Hash]) -> Result<Vec<u8>, StoreError> {
        let mut fork_height = 0;
        for id in locator {
            if let Some(meta) = self.reader.find_meta(id)?
                && self.reader.is_active(&meta)
            {
                fork_height = meta.header.height;
                break;
            }
        }
        let records = self.reader.records_from(fork_height + 1, HEADERS_MAX);
        let mut headers = Vec::with_capacity(records.len());
        for row in records.chunk_by(|a, b| a.0 + 1 == b.0) {
            headers.extend(self.reader.metas(row[0], row.len())?.into_iter().map(|meta| meta.header));
        }
        Ok(Message::Headers(List::first_of(headers)).to_frame())
    }

    /// The frame of a `BlockTxs`; of a `Missing` if the block, or a place in it, is not to be had here.
    pub fn transfers(&self, block: Hash, places: &[u16]) -> Result<Vec<u8>, StoreError> {
        // Each place once, or a short question could ask for the largest transfer a thousand times.
        let picked = if places.is_sorted_by(|a, b| a < b) { self.pick(block, places)? } else { None };
        let answer = match picked {
            Some(transfers) => Message::BlockTxs { block, transfers },
            None => Message::Missing(block),
        };
        Ok(answer.to_frame())
    }

    fn pick(&self, block: Hash, places: &[u16]) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let meta = self.reader.find_meta(&block)?.filter(|meta| self.reader.is_served(meta.record));
        // Genesis has no body.
        let Some(meta) = meta.filter(|meta| meta.record != RecordNo::GENESIS) else { return Ok(None) };
        let bytes = self.reader.block(meta.record)?;
        let block: Block = codec::decode(&bytes).expect("a block that was connected was decoded before");
        let transfer = |&place: &u16| block.transfers.get(usize::from(place)).map(codec::encode);
        Ok(places.iter().map(transfer).collect())
    }

    /// The run of `count` blocks that ends in `last`; `None` if it is not to be had here.
    pub fn run(&self, last: Hash, count: u16) -> Result<Option<Run>, StoreError> {
        let Some(mut meta) = self.reader.find_meta(&last)? else { return Ok(None) };
        if u64::from(count) > meta.header.height || !self.reader.is_served(meta.record) {
            return Ok(None);
        }
        if self.reader.is_active(&meta) {
            let first = meta.header.height + 1 - u64::from(count);
            let records = self.reader.records_from(first, usize::from(count));
            // A reorganisation between the two looks is told by the last record being another one.
            if records.last() == Some(&meta.record) {
                return Ok(Some(Run { records, next: 0 }));
            }
        }
        let mut records = vec![meta.record];
        for _ in 1..count {
            let Some(parent) = self.reader.find_meta(&meta.header.prev)? else { return Ok(None) };
            records.push(parent.record);
            meta = parent;
        }
        records.reverse();
        Ok(Some(Run { records, next: 0 }))
    }

    /// Fills `buffer` with the next whole frames of a run, at most [`CHUNK_BYTES`] or one block; false
    /// when the run is complete.
    pub fn fill(&self, run: &mut Run, buffer: &mut Vec<u8>) -> Result<bool, StoreError> {
        let rest = &run.records[run.next..];
        let Some(row) = rest.chunk_by(|a, b| a.0 + 1 == b.0).next() else {
            buffer.clear();
            return Ok(false);
        };
        let sent = self.reader.frames(row[0], row.len(), CHUNK_BYTES, buffer)?;
        run.next += sent;
        Ok(sent > 0)
    }
}
