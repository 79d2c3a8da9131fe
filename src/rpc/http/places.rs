//! Who is connected, and who makes room for whom.
//!
//! There are 8 places. One of them is kept for holders of the cookie, so that nobody else's connections lock out
//! the node's own user. Who comes while all others are taken
//!
//! 1. gets the place of the connection that has been idle longest (longer than a moment: a client is not cut off
//!    between an answer and its next question), so that any number of pages can poll;
//! 2. else is on trial in the kept place, for half a second: he shows the cookie, or hears 503;
//! 3. else hears 503 at once.
//!
//! A connection that has shown the cookie does not count as a stranger's any more, so the next newcomer finds
//! the kept place free as long as there are 8 in all.
//!
//! The lock is held for moments, and nothing waits under it.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::rpc::http::counters::Counters;

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It is only waiting to be closed in peace.
    Ending,
    /// Nothing of a request has come since.
    Idle(Instant),
    /// A request is coming, or being answered, or the cookie is waited for.
    Busy,
}

#[derive(Debug)]
struct Open {
    stream: Arc<TcpStream>,
    state: State,
    /// Strangers have all places but the kept one.
    is_stranger: bool,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Open>,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Places {
    connections_max: usize,
    strangers_max: usize,
    /// Idle for less is not idle.
    moment: Duration,
    table: Mutex<Table>,
    is_stopping: AtomicBool,
    counters: Arc<Counters>,
}

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    /// The connection. It is shut when the place is taken away.
    pub(super) stream: Arc<TcpStream>,
    /// Whether it is the kept place, and the cookie has to be shown.
    pub(super) on_trial: bool,
}

impl Places {
    pub(super) fn new(connections_max: usize, kept: usize, moment: Duration, counters: Arc<Counters>) -> Arc<Self> {
        let strangers_max = connections_max - kept;
        let (table, is_stopping) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { connections_max, strangers_max, moment, table, is_stopping, counters })
    }

    /// A place for a newcomer, somebody else's if need be; his connection comes back if there is none.
    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream) -> Result<Place, TcpStream> {
        let now = Instant::now();
        let mut table = self.table.lock();
        // Under the lock, so that a stop finds everybody.
        if self.is_stopping() {
            return Err(stream);
        }
        let strangers = |table: &Table| table.open.values().filter(|open| open.is_stranger).count();
        if table.open.len() >= self.connections_max || strangers(&table) >= self.strangers_max {
            self.close_idle(&mut table, now);
        }
        if table.open.len() >= self.connections_max {
            return Err(stream);
        }
        let (stream, number) = (Arc::new(stream), table.next);
        let on_trial = strangers(&table) >= self.strangers_max;
        table.next += 1;
        let state = if on_trial { State::Busy } else { State::Idle(now) };
        table.open.insert(number, Open { stream: Arc::clone(&stream), state, is_stranger: !on_trial });
        self.counters.now_open(table.open.len());
        Ok(Place { places: Arc::clone(self), number, stream, on_trial })
    }

    /// Ends the connection that has been idle longest; strangers' first, and a holder's only if all places are
    /// taken.
    fn close_idle(&self, table: &mut Table, now: Instant) {
        let is_full = table.open.len() >= self.connections_max;
        let idle = table.open.iter().filter(|(_, open)| match open.state {
            State::Ending => true,
            State::Idle(since) => now.saturating_duration_since(since) >= self.moment,
            State::Busy => false,
        });
        let idle = idle.filter(|(_, open)| open.is_stranger || is_full);
        let longest = idle.min_by_key(|(_, open)| (!open.is_stranger, open.state)).map(|(number, _)| *number);
        if let Some(open) = longest.and_then(|number| table.open.remove(&number)) {
            // Its thread wakes, finds its place taken, and takes the newcomer.
            let _ = open.stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether the server is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Lets nobody in any more, and nobody say more than he has said. Answers that are being made still go out.
    pub(super) fn stop(&self) {
        let table = self.table.lock();
        self.is_stopping.store(true, Ordering::Release);
        for open in table.open.values() {
            // Fails only on a socket that is gone already.
            let _ = open.stream.shutdown(Shutdown::Read);
        }
    }
}

impl Place {
    /// A request is coming; false if the place was taken away before it came.
    pub(super) fn becomes_busy(&self) -> bool {
        self.set(State::Busy)
    }

    /// All that was asked is answered.
    pub(super) fn becomes_idle(&self) {
        self.set(State::Idle(Instant::now()));
    }

    /// The last answer is out.
    pub(super) fn becomes_ending(&self) {
        self.set(State::Ending);
    }

    /// The cookie was shown.
    pub(super) fn becomes_holders(&mut self) {
        self.on_trial = false;
        if let Some(open) = self.places.table.lock().open.get_mut(&self.number) {
            open.is_stranger = false;
        }
    }

    /// Whether the server is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        self.places.is_stopping()
    }

    fn set(&self, state: State) -> bool {
        let mut table = self.places.table.lock();
        table.open.get_mut(&self.number).map(|open| open.state = state).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The client hears of it before the place counts as free.
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut table = self.places.table.lock();
        table.open.remove(&self.number);
        self.places.counters.now_open(table.open.len());
    }
}
