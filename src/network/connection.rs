//! One socket, shared by whoever has to end it.
//!
//! Reader, writer, owner and registry hold the same `Arc`: one descriptor a peer. The first reason to
//! end is the one that is told and logged; whoever gives it also wakes the reader.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::network::limits::FAREWELL_MS;
use crate::node::event::PeerId;
use crate::node::message::{Message, Text};
use crate::node::reason::Reason;

/// A write that is stuck looks this often whether it is still wanted. Nothing wakes while writes flow.
const WRITE_SLICE: Duration = Duration::from_millis(250);

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: PeerId,
    pub(crate) address: SocketAddr,
    stream: TcpStream,
    ending: Mutex<Option<(Reason, Instant)>>,
    is_ending: AtomicBool,
    /// Requests on their way from the reader to the writer, for whoever wants to know.
    pub(crate) requests: AtomicUsize,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

impl Connection {
    /// Takes a connected socket.
    pub(crate) fn new(peer: PeerId, address: SocketAddr, stream: TcpStream) -> io::Result<Self> {
        // Messages are written whole, so waiting for more would only delay them.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_SLICE))?;
        Ok(Self {
            peer,
            address,
            stream,
            ending: Mutex::new(None),
            is_ending: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        })
    }

    /// Ends the connection: the first reason counts. The reader wakes; the writer says goodbye.
    pub(crate) fn end(&self, reason: Reason) {
        self.ending.lock().get_or_insert_with(|| (reason, Instant::now()));
        self.is_ending.store(true, Ordering::Release);
        // Fails only on a socket that is gone already.
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    /// Whether somebody has ended it.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Why it ends; without a word if nobody has said so.
    pub(crate) fn reason(&self) -> Reason {
        self.ending.lock().as_ref().map_or(Reason::Closed, |(reason, _)| reason.clone())
    }

    /// Bytes that came, and bytes that went.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.read_bytes.load(Ordering::Relaxed), self.written_bytes.load(Ordering::Relaxed))
    }

    /// Nothing goes either way any more; wakes a write that is stuck.
    pub(crate) fn shut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads what there is. `None` for the time limit means to wait as long as it takes.
    ///
    /// `Ok(None)`: the time is over. An error is the end of the connection.
    pub(crate) fn read(&self, buffer: &mut [u8], timeout: Timeout) -> Result<Option<usize>, Reason> {
        if let Timeout::Changed(limit) = timeout {
            // Zero would mean "for ever".
            let limit = limit.map(|limit| limit.max(Duration::from_millis(1)));
            self.stream.set_read_timeout(limit).map_err(|error| broken(&error))?;
        }
        match (&self.stream).read(buffer) {
            _ if self.is_ending() => Err(self.reason()),
            Ok(0) => Err(Reason::Closed),
            Ok(count) => {
                self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
                Ok(Some(count))
            }
            Err(error) if is_pause(&error) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Writes all of it within the limit for so many bytes, however slowly it goes. What was written is
    /// never repeated.
    ///
    /// Once the connection is ending, there is only the time of the farewell.
    pub(crate) fn write_all(&self, bytes: &[u8], limit_ms: u64) -> Result<(), Reason> {
        let limit_ms = write_limit_ms(limit_ms, bytes.len());
        self.write_until(bytes, Instant::now() + Duration::from_millis(limit_ms), limit_ms)
    }

    /// The same for a part of something that has until then, `limit_ms` in all.
    pub(crate) fn write_until(&self, mut bytes: &[u8], until: Instant, limit_ms: u64) -> Result<(), Reason> {
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(Reason::Closed),
                Ok(count) => {
                    self.written_bytes.fetch_add(count as u64, Ordering::Relaxed);
                    bytes = &bytes[count..];
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(broken(&error)),
            }
            if !bytes.is_empty() {
                let now = Instant::now();
                if now >= until {
                    return Err(Reason::WriteTimeout { limit_ms });
                }
                if self.is_ending() && self.farewell_is_over(now) {
                    return Err(self.reason());
                }
            }
        }
        Ok(())
    }

    /// Tells the other side why, where that makes sense, and closes both ways. For a writer: it may
    /// take the time of a farewell.
    pub(crate) fn farewell(&self, reason: &Reason) {
        if reason.is_told() {
            // They may be gone; then nobody needs to know.
            let _ = self.write_all(&bye(reason), FAREWELL_MS);
        }
        self.shut();
    }

    /// The same without waiting: what the socket does not take at once is not said.
    pub(crate) fn curt_farewell(&self, reason: &Reason) {
        curt_farewell(&self.stream, reason);
    }

    /// Whether both ends of this socket are the same: a dial to a free port of this machine can meet
    /// itself.
    pub(crate) fn is_loop(&self) -> bool {
        self.stream.local_addr().is_ok_and(|local| local == self.address)
    }

    fn farewell_is_over(&self, now: Instant) -> bool {
        let ending = self.ending.lock();
        ending.as_ref().is_some_and(|(_, since)| now.duration_since(*since) >= Duration::from_millis(FAREWELL_MS))
    }
}

/// What writing so many bytes may take: with the usual 20 s a second more for each 16 KiB, which is what
/// the other side gives a frame of ours to arrive, and so in proportion.
pub(crate) fn write_limit_ms(limit_ms: u64, bytes: usize) -> u64 {
    limit_ms + limit_ms * (bytes >> 14) as u64 / 20
}

/// What a read does to the socket's time limit: each change is a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// It is still right.
    Kept,
    /// It has to be set; `None`: wait as long as it takes.
    Changed(Option<Duration>),
}

/// Tells a stranger why it is sent away if that takes no time, and closes.
pub(crate) fn curt_farewell(stream: &TcpStream, reason: &Reason) {
    if reason.is_told() && stream.set_nonblocking(true).is_ok() {
        let _ = (&*stream).write(&bye(reason));
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn bye(reason: &Reason) -> Vec<u8> {
    Message::Bye(Text::first_of(reason.to_string().into_bytes())).to_frame()
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

pub(crate) fn broken(error: &io::Error) -> Reason {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Reason::Closed,
        _ => Reason::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::limits::{SERVED_BYTES, WRITE_MS};

    /// Goal: a write may take as long as the protocol gives the frame in it; the largest takes 84 s, a
    /// chunk of blocks 36 s. Method: the figures of the protocol page.
    #[test]
    fn a_write_has_the_time_of_its_frame() {
        let limits = [13, 256 << 10, SERVED_BYTES].map(|bytes| write_limit_ms(WRITE_MS, bytes));
        assert_eq!(limits, [20_000, 36_000, 84_000]);
    }
}
