//! Answers to reads.

use crate::primitives::hash::Hash;

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
}
