//! The deterministic core: events in, effects out.

pub mod message;

pub mod frame;

pub mod session;

pub mod serve;

pub mod reason;

pub mod report;

pub mod event;
