//! Connections that were turned away at the door, until they have heard it.
//!
//! Who is told 503 may still be sending. Closing at once would have his system throw the answer away, and the
//! listener waits for nobody; so the last few are kept a moment, unread. Whoever comes back for the next visitor
//! lets them go.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More are not kept: the oldest goes for the newest. A descriptor each.
const LEAVING_MAX: usize = 32;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Leaving {
    limit: Duration,
    streams: Mutex<VecDeque<(Instant, TcpStream)>>,
}

impl Leaving {
    /// Each may stay so long.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, streams: Mutex::default() }
    }

    /// Keeps one that has been told.
    pub(super) fn keep(&self, stream: TcpStream) {
        let mut streams = self.streams.lock();
        if streams.len() == LEAVING_MAX {
            streams.pop_front();
        }
        streams.push_back((Instant::now() + self.limit, stream));
    }

    /// Lets those go whose time is over; when the next one's is.
    pub(super) fn reap(&self) -> Option<Instant> {
        let (mut streams, now) = (self.streams.lock(), Instant::now());
        while streams.front().is_some_and(|(until, _)| *until <= now) {
            streams.pop_front();
        }
        streams.front().map(|(until, _)| *until)
    }

    /// Lets all of them go: their descriptors are needed.
    pub(super) fn clear(&self) {
        self.streams.lock().clear();
    }
}
