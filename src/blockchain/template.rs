//! A block that lacks only time and nonce: what a miner works on.

use crate::blockchain::block::{Block, CheckedBlock, CheckedHeader, Header, merkle_root};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::Coinbase;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;

/// The template. Its transfers were verified when they came, so the block that is found need not be
/// verified again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    header: Header,
    coinbase: Coinbase,
    transfers: Vec<CheckedTx>,
}

impl Template {
    /// The block after `parent` that pays `payout` the reward and the fees of `transfers`. Its time is the
    /// least that is allowed.
    ///
    /// The transfers must fit a block, parents before children: [`Mempool::pack`] gives such a list.
    ///
    /// [`Mempool::pack`]: crate::blockchain::mempool::Mempool::pack
    pub fn new(params: &Params, parent: &Position, payout: &Payout, transfers: &[&CheckedTx]) -> Self {
        let height = parent.height + 1;
        let fees: u64 = transfers.iter().map(|transfer| transfer.fee()).sum();
        let coinbase = payout.coinbase(height, parent.id, params.reward(height) + fees);
        let ids = transfers.iter().map(|transfer| transfer.id());
        let ids: Vec<Hash> = std::iter::once(coinbase.id()).chain(ids).collect();
        let header = Header {
            version: params.rules_at(height),
            height,
            prev: parent.id,
            merkle_root: merkle_root(&ids),
            time: parent.time + 1,
            difficulty: parent.difficulty_due(params),
            nonce: 0,
        };
        Self { header, coinbase, transfers: transfers.iter().map(|&transfer| transfer.clone()).collect() }
    }

    /// The header to vary.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the miner gets.
    pub fn coinbase(&self) -> &Coinbase {
        &self.coinbase
    }

    /// The block with this header, which differs in time and nonce; every rule is checked but the
    /// signatures.
    pub fn found(&self, params: &Params, header: Header) -> Result<CheckedBlock, Reject> {
        let transfers: Vec<&CheckedTx> = self.transfers.iter().collect();
        CheckedBlock::assemble(params, CheckedHeader::check(header)?, &self.coinbase, &transfers)
    }

    /// The block as it stands, to be looked at or changed.
    pub fn to_block(&self) -> Block {
        let transfers = self.transfers.iter().map(|transfer| transfer.to_transaction()).collect();
        Block { header: self.header, coinbase: self.coinbase, transfers: List::first_of(transfers) }
    }
}
