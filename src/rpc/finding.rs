//! Transactions in blocks, by id: each block is read once, however many of its transactions are asked for.
//!
//! The index follows the chain at leisure. What it has not taken yet is looked through here, newest first, if it is
//! little; otherwise whoever asks is told how far the index is, and never that something does not exist which does.
//!
//! Only the active chain counts, as far as it is durable: a branch that was left has confirmed nothing.

use std::collections::BTreeSet;

use crate::blockchain::block::Block;
use crate::blockchain::storage::{BlockMeta, RecordNo};
use crate::blockchain::transaction::Transaction;
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::rpc::chain::Chain;
use crate::rpc::fault::Fault;
use crate::rpc::service::Service;

/// Blocks that are looked through without the index, and their bytes.
const NEW_MAX: u32 = 64;
const NEW_BYTES: u64 = 4 << 20;

/// A search for some transactions; made for one question.
pub(super) struct Finding<'a> {
    service: &'a Service,
    chain: Chain<'a>,
    /// In the order in which they are looked for.
    wanted: Vec<Hash>,
    missing: BTreeSet<Hash>,
    /// New blocks that are still to be looked through.
    new: Vec<BlockMeta>,
    /// How far the index is, if what it lacks is too much to look through.
    unread: Option<(u32, u32)>,
    /// Of the last block: which, and their places in it.
    found: Vec<(Hash, usize)>,
}

impl<'a> Finding<'a> {
    pub(super) fn new(service: &'a Service, ids: &[Hash]) -> Result<Self, Fault> {
        let chain = service.chain();
        let (done, all) = service.node().index().progress();
        let behind = all.saturating_sub(done);
        let (mut new, mut unread) = (Vec::new(), None);
        if behind > NEW_MAX {
            unread = Some((done, all));
        } else if behind > 0 {
            new = chain.reader().metas(RecordNo(done + 1), behind as usize)?;
            new.retain(|meta| chain.is_told(meta) && chain.reader().is_active(meta));
            if new.iter().map(|meta| u64::from(meta.size_bytes)).sum::<u64>() > NEW_BYTES {
                new.clear();
                unread = Some((done, all));
            }
        }
        let missing = ids.iter().copied().collect();
        Ok(Self { service, chain, wanted: ids.to_vec(), missing, new, unread, found: Vec::new() })
    }

    /// The next block that has some of them; `found` says which.
    pub(super) fn next(&mut self) -> Result<Option<(BlockMeta, Block)>, Fault> {
        while let Some(meta) = self.new.pop() {
            if self.missing.is_empty() {
                break;
            }
            let bytes = self.chain.reader().block(meta.record)?;
            let block: Block = codec::decode(&bytes).expect("what is in the file was decoded once");
            if self.take(&block) {
                return Ok(Some((meta, block)));
            }
        }
        while let Some(id) = self.wanted.pop() {
            if !self.missing.contains(&id) {
                continue;
            }
            let found = self.service.node().index().find(&id)?;
            if let Some(found) =
                found.filter(|found| self.chain.is_told(&found.meta) && self.chain.reader().is_active(&found.meta))
            {
                self.take(&found.block);
                return Ok(Some((found.meta, found.block)));
            }
        }
        Ok(None)
    }

    /// Which of them the last block has, in its order.
    pub(super) fn found(&self) -> &[(Hash, usize)] {
        &self.found
    }

    /// What was not found, and how far the index is if that may be why.
    pub(super) fn rest(self) -> (Vec<Hash>, Option<(u32, u32)>) {
        (self.missing.into_iter().collect(), self.unread)
    }

    /// Notes which of those that are missing a block has.
    fn take(&mut self, block: &Block) -> bool {
        let ids = std::iter::once(block.coinbase.id()).chain(block.transfers.iter().map(Transaction::id));
        self.found = (0..).zip(ids).map(|(place, id)| (id, place)).filter(|(id, _)| self.missing.remove(id)).collect();
        !self.found.is_empty()
    }
}
