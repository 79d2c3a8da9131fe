//! Sockets and channels; no rules. Two threads per peer, none of which the owner ever waits for.
//!
//! ```text
//!            socket                                       socket
//!              │ bytes                                      ▲ bytes
//!        peer-N-read ── serve::Request, bounded(4) ──▶ peer-N-write
//!          ▲   ▲   │                                        ▲
//!   credits│   │asked, bounded                              │ outbox, 256 KiB
//!          │   │   └── Input, a credit each ──▶ owner ──────┘
//!          └───┴─────────────────────────────────┘
//! ```
//!
//! A peer's way: [`listen`] or [`dial`] makes a connection and takes a [`registry`] place, [`reader`]
//! drives its session and, once the handshake is done, spawns its [`writer`] and hands the owner a
//! link. From then on the owner holds the only senders of credits, asked and outbox: dropping them
//! ends both threads. [`p2p`] is the owner's side of all that. [`limits`] has every cap with its cost.
//!
//! `tests/schedules.rs` compiles these files a second time on channels, locks and sockets of a model, and lets their
//! threads meet in every order that chance comes upon.

pub mod limits;

pub mod p2p;

pub(crate) mod connection;

pub(crate) mod registry;

pub(crate) mod listen;

pub(crate) mod dial;

pub(crate) mod reader;

pub(crate) mod writer;

pub(crate) mod outbox;

pub(crate) mod budget;
