//! What a wallet asks of a node, whatever carries the question: the one seam between the two.
//!
//! Nothing of the wallet's goes the other way but signed transactions: the node never hears of a key or an
//! address. It does learn which blocks are asked for, and which transactions come from here.
//!
//! Answers are not believed here: `sync.rs` and `find.rs` check links, work and roots (RULES 41).

use crate::blockchain::block::Header;
use crate::blockchain::transaction::Transaction;
use crate::primitives::hash::Hash;

/// Hashes that a node takes in one question.
pub const KNOWN_MAX: usize = 64;
/// Transactions that are asked for at once.
pub const TXS_MAX: usize = 1_000;

/// Why a node could not be asked, or not to any purpose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is nobody at the other end any more.
    #[error("the connection to the node broke: {0}")]
    Broken(String),
    /// There is, but it makes no sense.
    #[error("the node's answer makes no sense: {0}")]
    Odd(String),
}

/// What became of a transaction that a node was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits in the node's pool now, or did so already, or is in a block.
    Waits,
    /// It does not, for this reason.
    Refused(String),
}

/// Blocks on their way, oldest first, each as its bytes.
pub type Run<'a> = Box<dyn Iterator<Item = Result<Vec<u8>, LinkError>> + 'a>;

/// A node that can be asked.
pub trait Link {
    /// The height at which its chain ends now.
    fn height(&mut self) -> Result<u64, LinkError>;

    /// Headers of its chain, some thousand at most: those after the first of these (newest first, at most
    /// [`KNOWN_MAX`]) that is on it, or after genesis if none is. None are left when it ends there.
    fn headers(&mut self, known: &[Hash]) -> Result<Vec<Header>, LinkError>;

    /// The run of so many blocks that ends in this one; none if the node does not have it any more. No
    /// longer than an answer to [`Link::headers`].
    fn blocks(&mut self, last: Hash, count: usize) -> Result<Option<Run<'_>>, LinkError>;

    /// The ids of what waits in its pool.
    fn pool(&mut self) -> Result<Vec<Hash>, LinkError>;

    /// Those of these (at most [`TXS_MAX`]) that wait in its pool, whole.
    fn transactions(&mut self, ids: &[Hash]) -> Result<Vec<Transaction>, LinkError>;

    /// Offers a transaction.
    fn submit(&mut self, transaction: &Transaction) -> Result<Verdict, LinkError>;
}
