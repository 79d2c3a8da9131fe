//! spindle
pub mod primitives;

pub mod blockchain;

pub mod node;

pub mod cli;
