//! spindle
pub mod primitives;

pub mod blockchain;

pub mod node;

pub mod network;

pub mod wallet;

pub mod runtime;

pub mod cli;
