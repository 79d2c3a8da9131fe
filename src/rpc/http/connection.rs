//! One connection: what has come is answered in order, then more is read.
//!
//! Deadlines are absolute, so that bytes that drip in buy no time. Answers to requests that came together leave
//! together ([`desk`](super::desk)). A connection that the server ends is closed in peace: closing while the
//! client is still sending would have its system throw the answer away.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::rpc::http::desk::{BUSY, Desk, TOO_SLOW};
use crate::rpc::http::parse::{BUFFER_BYTES, Front, RequestBuffer};
use crate::rpc::http::places::Place;
use crate::rpc::http::server::Shared;

/// What is thrown away of a request that was refused: less than 64 KiB together with what a buffer takes in
/// before it knows the head.
const LINGER_BYTES: usize = 40 << 10;
const _: () = assert!(BUFFER_BYTES + LINGER_BYTES < 64 << 10, "no more than that is read of a body that is too large");

/// How a connection goes on once what has come is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing of a request is at hand.
    Idle,
    /// A part of one is.
    More,
    /// The last answer is made.
    End,
    /// The place was taken away before anything was answered.
    Taken,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Bytes,
    /// The other side has closed, or somebody here has shut the socket.
    Nothing,
    /// The time is over.
    Late,
}

/// What the place is marked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Idle,
    Coming,
    Busy,
}

/// Serves a connection to its end. An error is one of its socket: clients just go.
pub(super) fn run(shared: &Shared, place: Place) -> io::Result<()> {
    // On trial a place is not idle from the start.
    let marked = if place.on_trial { Mark::Busy } else { Mark::Idle };
    let mut connection = Connection {
        shared,
        desk: Desk::new(shared, place)?,
        buffer: RequestBuffer::with_large(shared.handler.large_paths()),
        wait: Wait::new(0),
        read_limit: None,
        marked,
        is_begun: false,
    };
    connection.talk()
}

/// A deadline.
#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Instant,
    limit: Duration,
    /// Nothing has come since it was set: the socket's limit can be the whole.
    is_fresh: bool,
}

impl Wait {
    fn new(limit_ms: u64) -> Self {
        let limit = Duration::from_millis(limit_ms);
        Self { until: Instant::now() + limit, limit, is_fresh: true }
    }

    /// What is left of it.
    fn left(&mut self) -> Duration {
        if std::mem::take(&mut self.is_fresh) {
            return self.limit;
        }
        self.until.saturating_duration_since(Instant::now())
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    desk: Desk<'a>,
    buffer: RequestBuffer,
    wait: Wait,
    /// What the socket has for a limit: each change is a system call.
    read_limit: Option<Duration>,
    marked: Mark,
    /// Whether the request at the front has its deadline.
    is_begun: bool,
}

impl Connection<'_> {
    fn talk(&mut self) -> io::Result<()> {
        let limits = &self.shared.limits;
        // Whoever connects has something to ask; on trial, soon.
        self.wait = Wait::new(if self.desk.place.on_trial { limits.trial_ms } else { limits.read_ms });
        loop {
            match self.read()? {
                Came::Bytes => {}
                Came::Nothing => return self.end_if_taken(),
                Came::Late => return self.end_late(),
            }
            let next = self.answer_all()?;
            self.desk.flush()?;
            match next {
                Next::End => return self.end_in_peace(),
                Next::Taken => return self.end_if_taken(),
                _ if self.desk.place.is_stopping() => return Ok(()),
                Next::Idle if self.marked != Mark::Idle && !self.desk.place.on_trial => {
                    self.marked = Mark::Idle;
                    self.desk.place.becomes_idle();
                    self.wait = Wait::new(limits.idle_ms);
                }
                Next::Idle | Next::More => {}
            }
        }
    }

    /// Answers every request that is whole.
    fn answer_all(&mut self) -> io::Result<Next> {
        loop {
            let front = self.buffer.front();
            if front == Ok(Front::Nothing) {
                return Ok(Next::Idle);
            }
            // On trial the place is marked once it is over.
            let mark = if matches!(front, Ok(Front::Whole(..))) { Mark::Busy } else { Mark::Coming };
            if !self.desk.place.on_trial && self.marked != mark {
                let place = &self.desk.place;
                if !(if mark == Mark::Busy { place.becomes_busy() } else { place.becomes_coming() }) {
                    return Ok(Next::Taken);
                }
                self.marked = mark;
            }
            let outcome = match front {
                Ok(Front::Whole(head, body)) => self.desk.answer(&head, body)?,
                Ok(Front::Head(head)) => self.desk.receive(&head).map(|()| true),
                Ok(_) => Ok(true),
                Err(refusal) => Err(refusal),
            };
            match outcome {
                Ok(true) => {}
                Ok(false) => return Ok(Next::End),
                Err(refusal) => {
                    self.desk.refuse(refusal);
                    return Ok(Next::End);
                }
            }
            if !matches!(front, Ok(Front::Whole(..))) {
                if !self.is_begun && !self.desk.place.on_trial {
                    self.is_begun = true;
                    self.wait = Wait::new(self.shared.limits.read_ms);
                }
                return Ok(Next::More);
            }
            self.buffer.pass();
            self.is_begun = false;
            // What came behind it begins in the same buffer, which is small again before the next read.
            self.desk.let_large_go();
        }
    }

    /// One read, until the deadline.
    fn read(&mut self) -> io::Result<Came> {
        loop {
            let left = self.wait.left();
            if left.is_zero() {
                return Ok(Came::Late);
            }
            let mut stream = &*self.desk.place.stream;
            if self.read_limit != Some(left) {
                stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                self.read_limit = Some(left);
            }
            match stream.read(self.buffer.space()) {
                Ok(0) => return Ok(Came::Nothing),
                Ok(count) => {
                    self.buffer.filled(count);
                    return Ok(Came::Bytes);
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Nothing has come in time: whoever has begun hears why, and an idle connection just ends.
    fn end_late(&mut self) -> io::Result<()> {
        if self.desk.place.on_trial {
            self.desk.refuse(BUSY);
        } else if self.is_begun {
            self.desk.refuse(TOO_SLOW);
        }
        self.desk.flush()
    }

    /// Nothing more comes. Whoever has begun, and had to make room, hears why.
    fn end_if_taken(&mut self) -> io::Result<()> {
        if self.marked != Mark::Idle && self.desk.place.is_taken() {
            self.desk.refuse(BUSY);
            self.desk.flush()?;
        }
        Ok(())
    }

    /// Closes our side and waits a little for theirs; meanwhile anybody may have the place.
    fn end_in_peace(&mut self) -> io::Result<()> {
        let mut stream = &*self.desk.place.stream;
        stream.shutdown(Shutdown::Write)?;
        if !self.desk.place.becomes_ending() {
            return Ok(());
        }
        self.wait = Wait::new(self.shared.limits.linger_ms);
        let (mut thrown_away, mut bytes) = (0, [0; 4 << 10]);
        while thrown_away < LINGER_BYTES && !self.desk.place.is_stopping() {
            let left = self.wait.left();
            if left.is_zero() {
                break;
            }
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => thrown_away += count,
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a read or a write may be tried again.
pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
