//! A block that lacks only time and nonce: what a miner works on.

use crate::blockchain::block::{Block, Header, merkle_root};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;

/// The block after `parent` that pays `payout` the reward and the fees of `transfers`. Its time is the
/// least that is allowed.
///
/// The transfers must fit a block, parents before children: [`Mempool::pack`] gives such a list.
///
/// [`Mempool::pack`]: crate::blockchain::mempool::Mempool::pack
pub fn template(params: &Params, parent: &Position, payout: &Payout, transfers: &[&CheckedTx]) -> Block {
    let height = parent.height + 1;
    let fees: u64 = transfers.iter().map(|transfer| transfer.fee()).sum();
    let coinbase = payout.coinbase(height, parent.id, params.reward(height) + fees);
    let ids: Vec<Hash> = std::iter::once(coinbase.id()).chain(transfers.iter().map(|transfer| transfer.id())).collect();
    let header = Header {
        version: params.rules_at(height),
        height,
        prev: parent.id,
        merkle_root: merkle_root(&ids),
        time: parent.time + 1,
        difficulty: parent.difficulty_due(params),
        nonce: 0,
    };
    let transfers = transfers.iter().map(|transfer| transfer.to_transaction()).collect();
    Block { header, coinbase, transfers: List::first_of(transfers) }
}
