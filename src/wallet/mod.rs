//! The wallet: secrets, coins, payments. Keys never leave this process, and the node never sees one.
//!
//! A payment's way: [`send`] chooses coins and signs with [`keys`]; the receiver's [`scan`] finds it with the
//! view keys alone; [`state`] keeps what was found through reorganisations; [`mod@file`] keeps it through
//! crashes. Blocks come, and payments go, over a [`link`] to a node, along which [`mod@sync`] keeps up with the
//! chain and [`find`] looks things up. What is on the chain hides only the receiver's address: amounts, and
//! whose coins paid for what, are for everybody to see, and the node learns which blocks a wallet asks for.
//!
//! Nothing in here opens a socket, reads a clock or draws chance: those are arguments.

pub mod amount;

pub mod words;

pub mod keys;

pub mod text;

pub mod address;

pub mod note;

pub mod proof;

pub mod scan;

pub mod state;

pub mod history;

pub mod send;

pub mod file;

pub mod link;

pub mod find;

pub mod sync;
