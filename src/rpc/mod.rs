//! What a running node tells and what it is told, over HTTP. Nothing in here changes the chain.
//!
//! [`http`] is a small bounded server: it says who may ask, and hands each request to one function. [`cookie`]
//! is the secret that gives the right to change something; [`client`] is the other end, for commands.

pub mod http;

pub mod cookie;

pub mod client;
