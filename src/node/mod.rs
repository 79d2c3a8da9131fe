//! The deterministic core: events in, effects out.

pub mod message;

pub mod frame;

pub mod session;

pub mod serve;

pub mod reason;

pub mod report;

pub mod event;

pub mod turn;

pub mod rng;

pub mod peers;

pub mod addresses;

pub mod dialer;

pub mod streams;

pub mod sync;
