//! What a running node tells and what it is told, over HTTP. Nothing in here changes the chain: blocks and
//! transactions that come this way, and orders to mine, are laid before the owner, which judges and does.
//!
//! [`http`] is a small bounded server: it says who may ask, and hands each request to one function,
//! [`service::Service::answer`]. That finds the row in [`methods`], by the path or through JSON-RPC's `envelope`;
//! `call` turns the client's words into a value with a type and back. `chain` shows blocks as far as they are durable,
//! `finding` looks transactions up, `pool` tells what waits, `show` puts them into monerod's words, `binary` hands out
//! bytes as they rest, `metrics` speaks to Prometheus, `page` to browsers, and `threads` tells of the process's own.
//! [`cookie`] is the secret that gives the right to change something; [`running`] starts and stops all of it;
//! [`client`] is the other end, for commands, and [`link`] the same for wallets.
//!
//! `rpc.md` is the page for those who ask.

pub mod http;

pub mod cookie;

pub mod running;

pub mod service;

mod fault;

mod call;

mod envelope;

mod methods;

mod chain;

mod finding;

mod pool;

mod show;

mod binary;

mod threads;

mod page;

mod metrics;

pub mod client;

pub mod link;
