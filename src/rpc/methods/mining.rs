//! New blocks: on demand, all the time, or found by others.

/// What the pool had for a block.
#[derive(Debug)]
pub(in crate::rpc) struct Packed;
