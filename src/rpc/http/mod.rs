//! A small bounded HTTP/1.1 server: it knows who may ask and how long it may take, and nothing of a chain.
//!
//! ```text
//!   rpc-listen ── a place each, bounded(8) ──▶ rpc-1 … rpc-8 ── Request ──▶ the handler
//!        ▲                                        │    ▲                        │
//!     accept                                      │  bytes                   Response
//!                                                 └─────────── bytes ◀──────────┘
//! ```
//!
//! A request's way: [`server`] accepts and [`places`] finds room, [`connection`] reads with a deadline, [`parse`]
//! cuts bytes into requests, [`gate`] says who may ask, and [`desk`] hands it to the handler and writes the
//! answer; [`leaving`] has those who found no room. What is refused, and why, stands in [`refusal`]; [`counters`] count
//! all of it.
//!
//! | refused with | what |
//! | --- | --- |
//! | 400 | whatever two servers could read differently: two lengths, a length and a transfer coding, LF without CR, NUL, folded lines, a space before a colon, a target that names another host; no Host |
//! | 401 | a wrong cookie; from another machine, none |
//! | 403 | a Host that is not ours; a page of another origin or site |
//! | 405 | methods but GET, HEAD, POST, with Allow |
//! | 408 | not whole 5 s after its first byte |
//! | 411, 413, 414, 431 | a POST without a length; a body over 256 KiB, or 1088 KiB where a block may come; a first line over 4 KiB; fields over 8 KiB |
//! | 417, 501, 505 | expectations but 100-continue; transfer codings; versions but 1.1 and 1.0 |
//! | 503 | no place, or a second body over 256 KiB; at once |
//!
//! Left out: TLS (from afar use a tunnel to this port: behind a proxy that adds TLS the page's origin is not ours, and it
//! hears 403), compression, ranges, chunked bodies, the `Date` field.

pub mod message;

pub mod refusal;

pub mod parse;

pub mod gate;

pub mod counters;

pub mod server;

pub(crate) mod places;

pub(crate) mod leaving;

pub(crate) mod connection;

pub(crate) mod desk;

pub use message::{Handler, IsWanted, Method, Request, Response, Status};
pub use server::{Config, Limits, Server};
