//! Who is connected, and who makes room for whom.
//!
//! There are 8 places. One of them is kept for holders of the cookie, so that nobody else's connections lock out
//! the node's own user. Who comes while all others are taken
//!
//! 1. gets the place of the connection that has been idle longest (longer than a moment: a client is not cut off
//!    between an answer and its next question), so that any number of pages can poll;
//! 2. else is on trial in the kept place: he shows the cookie within half a second, or hears 503. After a moment of
//!    that the next newcomer may have the place, so that nobody sits in it;
//! 3. else hears 503, unless his request comes within 5 ms and shows the cookie. He then gets the place of
//!    whoever is on trial, or of the stranger whose request has been coming for longest.
//!
//! So strangers who come again and again, however many and fast, do not lock the node's own user out: what they hold
//! without being answered is his as soon as he says who he is.
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
    /// The cookie is waited for.
    Trial(Instant),
    /// A request is coming.
    Coming(Instant),
    /// One is being answered.
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
    /// On trial for less, nobody makes room.
    trial_moment: Duration,
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
    pub(super) fn new(
        (connections_max, kept): (usize, usize),
        (moment, trial_moment): (Duration, Duration),
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let strangers_max = connections_max - kept;
        let (table, is_stopping) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { connections_max, strangers_max, moment, trial_moment, table, is_stopping, counters })
    }

    /// A place for a newcomer, somebody else's if need be; his connection comes back if there is none.
    /// `is_holder`: what he has sent already shows the cookie.
    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream, is_holder: bool) -> Result<Place, TcpStream> {
        let now = Instant::now();
        let mut table = self.table.lock();
        // Under the lock, so that a stop finds everybody.
        if self.is_stopping() {
            return Err(stream);
        }
        let strangers = |table: &Table| table.open.values().filter(|open| open.is_stranger).count();
        if table.open.len() >= self.connections_max || strangers(&table) >= self.strangers_max {
            self.make_room(&mut table, now, is_holder);
        }
        if table.open.len() >= self.connections_max {
            return Err(stream);
        }
        let (stream, number) = (Arc::new(stream), table.next);
        let on_trial = !is_holder && strangers(&table) >= self.strangers_max;
        table.next += 1;
        let state = if on_trial { State::Trial(now) } else { State::Idle(now) };
        let is_stranger = !on_trial && !is_holder;
        table.open.insert(number, Open { stream: Arc::clone(&stream), state, is_stranger });
        self.counters.now_open(table.open.len());
        Ok(Place { places: Arc::clone(self), number, stream, on_trial })
    }

    /// Ends the connection that is missed least, if one may be ended for this newcomer.
    fn make_room(&self, table: &mut Table, now: Instant, for_holder: bool) {
        let is_full = table.open.len() >= self.connections_max;
        let ranked = table.open.iter().filter_map(|(number, open)| {
            let rank = self.rank(open, now, is_full, for_holder)?;
            Some(((rank, open.state), *number))
        });
        let Some((_, number)) = ranked.min() else { return };
        let Some(open) = table.open.remove(&number) else { return };
        // Its thread wakes, finds its place taken, and takes the newcomer. Whoever has begun is told.
        let how = match open.state {
            State::Trial(_) | State::Coming(_) => Shutdown::Read,
            State::Ending | State::Idle(_) | State::Busy => Shutdown::Both,
        };
        let _ = open.stream.shutdown(how);
    }

    /// Who goes first: strangers who wait for nothing, then whoever is on trial, then idle holders, whose next question
    /// finds them another place; and strangers' half requests for a holder only. `None`: he stays.
    fn rank(&self, open: &Open, now: Instant, is_full: bool, for_holder: bool) -> Option<u8> {
        let is_old = |since: Instant, moment| now.saturating_duration_since(since) >= moment;
        let (rank, goes) = match open.state {
            State::Ending => (if open.is_stranger { 0 } else { 2 }, open.is_stranger || is_full),
            State::Idle(since) => {
                let goes = is_old(since, self.moment) && (open.is_stranger || is_full);
                (if open.is_stranger { 0 } else { 2 }, goes)
            }
            State::Trial(since) => (1, is_full && (for_holder || is_old(since, self.trial_moment))),
            State::Coming(_) => (3, is_full && for_holder && open.is_stranger),
            State::Busy => (4, false),
        };
        goes.then_some(rank)
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
    /// A part of a request has come; false if the place was taken away before.
    pub(super) fn becomes_coming(&self) -> bool {
        self.set(State::Coming(Instant::now()))
    }

    /// A request is whole; false if the place was taken away before.
    pub(super) fn becomes_busy(&self) -> bool {
        self.set(State::Busy)
    }

    /// All that was asked is answered.
    pub(super) fn becomes_idle(&self) {
        self.set(State::Idle(Instant::now()));
    }

    /// The last answer is out; false if somebody else has the place.
    pub(super) fn becomes_ending(&self) -> bool {
        self.set(State::Ending)
    }

    /// The cookie was shown; false if the place was taken away before.
    pub(super) fn becomes_holders(&mut self) -> bool {
        let mut table = self.places.table.lock();
        let Some(open) = table.open.get_mut(&self.number) else { return false };
        open.is_stranger = false;
        if std::mem::take(&mut self.on_trial) {
            open.state = State::Busy;
        }
        true
    }

    /// Whether somebody else has the place.
    pub(super) fn is_taken(&self) -> bool {
        !self.places.table.lock().open.contains_key(&self.number)
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
