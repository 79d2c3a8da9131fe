//! spindle
pub mod primitives;

pub mod blockchain;
