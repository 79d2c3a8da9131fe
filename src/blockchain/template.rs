//! A block that lacks only time and nonce: what a miner works on.

use crate::blockchain::block::{Block, Header};
use crate::blockchain::params::Params;
use crate::blockchain::position::Position;
use crate::blockchain::transaction::{Coinbase, Output, VERSION};
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;

/// The block after `parent` that pays `payout`. Its time is the least that is allowed.
pub fn template(params: &Params, parent: &Position, payout: Key) -> Block {
    let height = parent.height + 1;
    let coinbase = Coinbase {
        version: VERSION,
        height,
        output: Output { amount: params.reward(height), key: payout, view_tag: 0 },
        // A plain key: no stealth address, so no sender's half of a secret.
        tx_key: Key::default(),
    };
    let header = Header {
        version: params.rules_at(height),
        height,
        prev: parent.id,
        merkle_root: Hash::ZERO,
        time: parent.time + 1,
        difficulty: parent.difficulty_due(params),
        nonce: 0,
    };
    let block = Block { header, coinbase, transfers: List::default() };
    Block { header: Header { merkle_root: block.merkle_root(), ..header }, ..block }
}
