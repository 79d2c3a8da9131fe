//! The hand-off between threads, in every order that chance comes upon.
//!
//! The files under test are those of the node: `network` and `runtime` are compiled a second time, as they are,
//! and nothing in them knows of it. In this crate the names `std`, `crossbeam_channel`, `parking_lot` and
//! `getrandom` mean the crate itself, so that what these files import is what schedules/model has: channels,
//! locks, atomics, sockets, threads and time, each step of which is chosen by an explorer (shuttle). A thread that
//! waits for ever is a deadlock, and an error. What such a file comes to import and the model lacks does not compile
//! here, and is to be added there.
//!
//! schedules/handoff.rs has the stories of reader, writer, owner and stop, schedules/daemon.rs those of whole nodes;
//! schedules/explore.rs says how a failure is shown again. The unit tests of the files under test run here as well,
//! on the model with real threads, which is a test of the model.

#![allow(dead_code, unused_imports, reason = "what is compiled a second time is not used as a whole")]
#![allow(unreachable_pub, reason = "what is public in the library is public here, too")]
#![allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the model has the signatures of what it stands for")]
#![allow(clippy::redundant_else, reason = "a choice between channels is written out as ifs here")]

extern crate crossbeam_channel as real_crossbeam;
extern crate getrandom as real_getrandom;
extern crate std as real_std;

extern crate self as crossbeam_channel;
extern crate self as getrandom;
extern crate self as parking_lot;
extern crate self as std;

pub(crate) use real_std::{
    any, cell, cmp, collections, error, fmt, future, io, iter, mem, num, ops, path, string, task, vec,
};

pub(crate) use model::chance::{Error, fill, u64};
pub(crate) use model::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, TrySendError, after, bounded, never,
    select, select_biased, tick, unbounded,
};
pub(crate) use model::lock::{Condvar, Mutex, MutexGuard};
pub(crate) use model::{net, panic, sync, thread, time};
pub(crate) use spindle::{blockchain, node};

#[path = "schedules/model/mod.rs"]
mod model;

#[path = "../src/primitives/thread.rs"]
mod our_threads;

/// The ground floor as it is, but for what touches threads and clocks.
mod primitives {
    pub(crate) use spindle::primitives::*;

    pub(crate) use crate::model::clock as time;
    pub(crate) use crate::our_threads as thread;
}

#[path = "../src/network/mod.rs"]
mod network;

#[path = "../src/runtime/mod.rs"]
mod runtime;

#[path = "schedules/daemon.rs"]
mod daemon;
#[path = "schedules/explore.rs"]
mod explore;
#[path = "schedules/handoff.rs"]
mod handoff;
#[path = "schedules/owner.rs"]
mod owner;
#[path = "schedules/peer.rs"]
mod peer;
