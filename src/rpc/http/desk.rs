//! Where one connection's requests are answered: the gate, the handler, and the bytes that go out.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::primitives::thread::caught;
use crate::rpc::http::connection::is_pause;
use crate::rpc::http::gate::{Access, Ends};
use crate::rpc::http::message::{Request, Response, Status};
use crate::rpc::http::parse::{After, BODY_BYTES_MAX, Head};
use crate::rpc::http::places::Place;
use crate::rpc::http::refusal::Refusal;
use crate::rpc::http::server::Shared;

/// Answers are collected up to this; a body that is larger by itself is not copied.
pub(super) const OUT_BYTES: usize = 32 << 10;
/// A write that is stuck looks this often whether it is still wanted. Nothing wakes while writes flow.
const WRITE_SLICE: Duration = Duration::from_millis(200);
/// What is being answered when the server stops may still go out for so long.
const FAREWELL: Duration = Duration::from_millis(400);
/// With so many bytes more, a write gets its time once more.
const WRITE_STEP_BYTES: usize = 1 << 20;

/// What whoever finds no place is told.
pub(super) const BUSY: Refusal =
    Refusal::new(Status::ServiceUnavailable, "all connections are in use; try again in a moment");
const BUSY_LARGE: Refusal =
    Refusal::new(Status::ServiceUnavailable, "another body of more than 256 KiB is coming; try again in a moment");
/// What whoever does not finish is told.
pub(super) const TOO_SLOW: Refusal = Refusal::new(Status::RequestTimeout, "the request did not end in time");
const BUG: Refusal = Refusal::new(Status::InternalError, "this is a bug in spindle; its log has the details");

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// In every answer: nobody guesses what a body is, keeps it, or shows it within a page of his own.
const ALWAYS: &str = "Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

/// See the top of the file.
pub(super) struct Desk<'a> {
    shared: &'a Shared,
    /// The connection's.
    pub(super) place: Place,
    ends: Ends,
    /// Answers that have not been written.
    out: Vec<u8>,
    /// While the request at the front has a large body.
    large: Option<Large>,
}

/// The place of the one large body that there may be.
struct Large(Arc<AtomicBool>);

impl Drop for Large {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<'a> Desk<'a> {
    /// For a connection that begins.
    pub(super) fn new(shared: &'a Shared, place: Place) -> io::Result<Self> {
        // Answers are written whole, so waiting for more would only delay them.
        place.stream.set_nodelay(true)?;
        place.stream.set_write_timeout(Some(WRITE_SLICE))?;
        let ends = Ends::new(place.stream.peer_addr()?.ip(), place.stream.local_addr()?);
        Ok(Self { shared, place, ends, out: Vec::new(), large: None })
    }

    /// A head whose body is still to come: is it wanted.
    pub(super) fn receive(&mut self, head: &Head<'_>) -> Result<(), Refusal> {
        self.admit(head)?;
        if head.body_bytes > BODY_BYTES_MAX {
            if self.shared.has_large.swap(true, Ordering::AcqRel) {
                return Err(BUSY_LARGE);
            }
            self.large = Some(Large(Arc::clone(&self.shared.has_large)));
        }
        if head.expects_continue {
            self.out.extend_from_slice(CONTINUE);
        }
        Ok(())
    }

    /// The large body, if it was one, is answered.
    pub(super) fn let_large_go(&mut self) {
        self.large = None;
    }

    /// Answers a request; whether another may follow.
    pub(super) fn answer(&mut self, head: &Head<'_>, body: &[u8]) -> io::Result<Result<bool, Refusal>> {
        let access = match self.admit(head) {
            Ok(access) => access,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let request = Request {
            method: head.method,
            path: head.path,
            query: head.query,
            content_type: head.content_type.unwrap_or_default(),
            body,
            is_loopback: self.ends.peer.is_loopback(),
            may_change: access.may_change,
        };
        let began = Instant::now();
        let response = match caught(|| self.shared.handler.answer(&request, &|| is_there(&self.place.stream))) {
            Ok(response) => response,
            Err(panic) => {
                log::error!("the answer to `{}` panicked, which is a bug in spindle: {panic}", head.path);
                return Ok(Err(BUG));
            }
        };
        self.shared.counters.handled(began.elapsed());
        log::debug!("rpc: {:?} {} for {}: {}", head.method, head.path, self.ends.peer, response.status.code());
        let after = if self.place.is_stopping() { After::Close } else { head.after };
        self.push(&response, after, head.wants_body)?;
        Ok(Ok(after != After::Close))
    }

    /// The last answer.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if refusal == BUSY {
            self.shared.counters.busy();
        }
        self.shared.counters.responded(refusal.status);
        log::debug!("rpc: {} sent away: {}", self.ends.peer, refusal.why);
        self.out.extend_from_slice(&last_answer(refusal));
    }

    /// Writes what is collected.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let written = self.write(&self.out);
        self.out.clear();
        written
    }

    /// What the sender may do. A stranger in the kept place may nothing.
    fn admit(&mut self, head: &Head<'_>) -> Result<Access, Refusal> {
        let access = self.shared.gate.admit(head, self.ends)?;
        let has_place = if access.is_holder { self.place.becomes_holders() } else { !self.place.on_trial };
        if !has_place {
            return Err(BUSY);
        }
        Ok(access)
    }

    fn push(&mut self, response: &Response, after: After, wants_body: bool) -> io::Result<()> {
        self.shared.counters.responded(response.status);
        write_head(&mut self.out, response, after);
        if wants_body {
            if response.body.len() > OUT_BYTES {
                self.flush()?;
                return self.write(&response.body);
            }
            self.out.extend_from_slice(&response.body);
        }
        if self.out.len() > OUT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes all of it within the limit for so many bytes, however slowly it goes.
    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let steps = u32::try_from(bytes.len() / WRITE_STEP_BYTES).unwrap_or(u32::MAX).saturating_add(1);
        let mut until = Instant::now() + Duration::from_millis(self.shared.limits.write_ms).saturating_mul(steps);
        let mut is_stopping = false;
        while !bytes.is_empty() {
            match (&*self.place.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
            if bytes.is_empty() {
                break;
            }
            let now = Instant::now();
            if !is_stopping && self.place.is_stopping() {
                is_stopping = true;
                until = until.min(now + FAREWELL);
            }
            if now >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// Whether a client may still want its answer: it has not closed its side.
fn is_there(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_there = peeked.map_or_else(|error| is_pause(&error), |bytes| bytes > 0);
    stream.set_nonblocking(false).is_ok() && is_there
}

/// The bytes of a refusal, after which the connection ends.
pub(super) fn last_answer(refusal: Refusal) -> Vec<u8> {
    let (mut bytes, response) = (Vec::new(), refusal.response());
    write_head(&mut bytes, &response, After::Close);
    bytes.extend_from_slice(&response.body);
    bytes
}

fn write_head(out: &mut Vec<u8>, response: &Response, after: After) {
    let Response { status, content_type, headers, body } = response;
    let mut line = |args: std::fmt::Arguments<'_>| out.write_fmt(args).expect("memory takes it");
    line(format_args!("HTTP/1.1 {} {}\r\n", status.code(), status.reason()));
    // This one has no body, and says nothing of one (RFC 9110, 8.6).
    if *status != Status::NoContent {
        line(format_args!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    let connection = match after {
        After::Keep => "",
        After::KeepAndSay => "Connection: keep-alive\r\n",
        After::Close => "Connection: close\r\n",
    };
    line(format_args!("{ALWAYS}{connection}\r\n"));
}
