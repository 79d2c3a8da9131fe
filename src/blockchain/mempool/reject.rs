//! Why a transaction does not enter: the rule, the figure, the limit, and whether its sender is to blame.

use crate::blockchain::mempool::orphans::{ORPHAN_BYTES_MAX, ORPHANS_MAX, ORPHANS_PER_SOURCE};
use crate::blockchain::mempool::{CHAIN_MAX, DUST_UNITS, POOL_BYTES_MAX};
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolReject {
    /// It could be in no block at all.
    #[error(transparent)]
    Rule(#[from] Reject),
    /// It waits here already.
    #[error("transaction {id} is known")]
    Known {
        /// Its id.
        id: Hash,
    },
    /// An output that costs more to spend than it is worth.
    #[error("an output is worth {amount} units (at least {DUST_UNITS} are relayed)")]
    Dust {
        /// Of its smallest output.
        amount: u64,
    },
    /// Pays less than the floor.
    #[error("it pays {fee} units for {size_bytes} bytes (at least {floor} per 1,000 bytes are needed)")]
    TooCheap {
        /// What it pays.
        fee: u64,
        /// Its size.
        size_bytes: usize,
        /// Units per 1,000 bytes.
        floor: u64,
    },
    /// Another that came first spends the same coin.
    #[error("it spends coin {} which transaction {with} spends", Hash(coin.0))]
    Conflict {
        /// The coin.
        coin: CoinId,
        /// The one that came first.
        with: Hash,
    },
    /// Neither the ledger nor the pool has a coin: not yet, no longer, or never.
    #[error("it spends coin {} of transaction {parent}, which is not there", Hash(coin.0))]
    Missing {
        /// The first such coin.
        coin: CoinId,
        /// The transaction that should have made it.
        parent: Hash,
    },
    /// A coinbase that the next block may not spend.
    #[error("it spends a coin that matures at height {matures_at} (the next block's is {next_height})")]
    Immature {
        /// The least height.
        matures_at: u64,
        /// The next block's.
        next_height: u64,
    },
    /// Too many unconfirmed ones before it.
    #[error("with its unconfirmed ancestors it makes {count} in a row (limit {CHAIN_MAX})")]
    TooManyAncestors {
        /// Those seen until it was clear, itself included.
        count: usize,
    },
    /// Too many unconfirmed ones after one of its ancestors.
    #[error("with it {count} unconfirmed ones would hang on transaction {ancestor} (limit {CHAIN_MAX})")]
    TooManyDescendants {
        /// The one that they hang on.
        ancestor: Hash,
        /// Itself included.
        count: usize,
    },
    /// All that waits pays more.
    #[error(
        "the pool is full ({POOL_BYTES_MAX} bytes) of better paying ones; {floor} units per 1,000 bytes are needed"
    )]
    Full {
        /// Units per 1,000 bytes.
        floor: u64,
    },
    /// Blocks were undone and what they held is yet to return; try again.
    #[error("the pool is being put in order after a reorganisation")]
    Reorganising,
    /// Its coins are unknown, and its sender has its share of such.
    #[error("its sender has {held} transactions with unknown coins here already (limit {ORPHANS_PER_SOURCE})")]
    OrphanShare {
        /// So many.
        held: usize,
    },
    /// Its coins are unknown, and it is too large to be held until they appear.
    #[error("its coins are unknown, and it has {size_bytes} bytes (at most {ORPHAN_BYTES_MAX} are held for later)")]
    OrphanTooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// Its coins are unknown, and so are those of too many.
    #[error("{held} transactions with unknown coins are held already (limit {ORPHANS_MAX})")]
    OrphansFull {
        /// So many.
        held: usize,
    },
}

impl PoolReject {
    /// Whether its sender must have known: only what could be in no block at all. Everything else depends
    /// on what we have seen and when.
    pub fn blames_sender(&self) -> bool {
        matches!(self, Self::Rule(_))
    }
}
