//! The rules and the file. Nothing in here has ever heard of peers.
//!
//! A block's way through this layer: [`block`] checks bytes on the thread of whoever sent them,
//! [`chain`] decides where the block belongs and walks the [`ledger`] to the heaviest branch,
//! [`storage`] keeps the bytes, [`tx_index`] finds a transaction in them. A transaction's way: [`checked_tx`] checks its bytes, [`mempool`] keeps it
//! until a [`template`] packs it into a block. [`params`] is every number on which nodes must agree.

pub mod params;

pub mod reject;

pub mod transaction;

pub mod checked_tx;

pub mod block;

pub mod difficulty;

pub mod ledger;

pub mod disk;

pub mod os;

pub mod memory_disk;

pub mod storage;

pub mod position;

pub mod headers;

pub mod condemned;

pub mod chain;

pub mod tx_index;

pub mod mempool;

pub mod payout;

pub mod template;

pub mod mining;
