//! Words everybody uses: hashes, exact bytes, keys, time, threads. Imports nothing of ours.

pub mod hash;

pub mod codec;

pub mod frame;

pub mod keys;

pub mod time;

pub mod chatter;

pub mod thread;
