//! What the owner is told by its own threads; it comes before what peers say.

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
    /// The disk or the verify thread is done with something, or a miner has found a block.
    Event(Event),
    /// The disk thread has failed, which is the end; it keeps the reason.
    DiskFailed,
}
