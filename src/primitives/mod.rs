//! Words everybody uses: hashes, exact bytes, keys, stealth addresses, time, chance, threads. Imports nothing of ours.

pub mod hash;

pub mod codec;

pub mod frame;

pub mod keys;

pub mod stealth;

pub mod time;

pub mod rng;

pub mod chatter;

pub mod thread;
