//! What the owner is told by everything that is not a peer; it comes before what peers say.

use crossbeam_channel::Sender;

use crate::blockchain::storage::BlockMeta;
use crate::node::event::Event;

/// Messages that wait for the owner: it takes them first, so this is for the length of one turn.
/// 64 × 200 B, a found block of 1 MiB from each mining thread at the most, and what was verified, which
/// has a bound of its own.
pub(crate) const CONTROL_MAX: usize = 64;

/// For the owner.
#[derive(Debug)]
pub enum Control {
    /// End.
    Stop,
    /// The disk or the verify thread is done with something, a miner has found a block, somebody wants one.
    Event(Event),
    /// The disk thread has failed, which is the end; it keeps the reason.
    DiskFailed,
    /// A question.
    Ask(Ask),
}

/// Questions that only the owner can answer; each carries where the answer goes (bounded to one, so
/// that the owner never waits).
#[derive(Debug)]
pub enum Ask {
    /// How the node is.
    Status(Sender<Status>),
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The tip of the chain.
    pub tip: BlockMeta,
    /// Peers that have shaken hands.
    pub peers: usize,
    /// Whether a longer walk to another tip is under way.
    pub is_busy: bool,
}
