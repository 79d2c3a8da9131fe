//! What `std`, `crossbeam_channel`, `parking_lot` and `getrandom` are in this test: the same names and the same
//! promises, with every step of a thread in the hands of the explorer.
//!
//! [`weave`] is the one place where a thread gives way or waits; everything else is built on it. The promises are
//! those of sequential consistency: each operation on a channel, a lock, an atomic or a socket is one indivisible
//! step. Left out: weak memory orders, names that are looked up, and data that a broken connection loses on its way.
//!
//! Outside an exploration (the unit tests of the files under test run in this binary, too) all of it works with
//! real threads and real time, by asking again and again.

pub(crate) mod chance;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod lock;
pub(crate) mod net;
pub(crate) mod panic;
pub(crate) mod sync;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod weave;
