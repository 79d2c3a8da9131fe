//! The threads of the server: `rpc-listen` accepts and finds places, `rpc-1` to `rpc-8` serve a connection each.
//!
//! They are started once. A connection goes from one to the other through a channel that never fills: each one
//! in it has a place. Who finds none is told at the door and waited for by nobody. What goes wrong with a connection
//! never ends the listener; out of descriptors, it waits a little longer each time and goes on.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::network::listen::wake;
use crate::primitives::chatter::Chatter;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};
use crate::primitives::time::Clock;
use crate::rpc::cookie::Cookie;
use crate::rpc::http::connection;
use crate::rpc::http::counters::Counters;
use crate::rpc::http::desk::{BUSY, OUT_BYTES, last_answer};
use crate::rpc::http::gate::{Ends, Gate};
use crate::rpc::http::leaving::Leaving;
use crate::rpc::http::message::{Handler, Status};
use crate::rpc::http::parse::{BUFFER_BYTES_MAX, Front, RequestBuffer};
use crate::rpc::http::places::{Place, Places};

/// Connections at a time, each with its thread.
pub const CONNECTIONS_MAX: usize = 8;
/// Of these, kept for holders of the cookie.
const CONNECTIONS_KEPT: usize = 1;
/// The largest request and what is collected of answers, for each: 8 × 300 KiB, and as much of the stack as a
/// thread touches. Each answer that is being made comes on top, and what one request with a large body has more; how
/// large both may be is the handler's.
pub const SUM_BYTES: usize = CONNECTIONS_MAX * (BUFFER_BYTES_MAX + 2 * OUT_BYTES + (64 << 10));
const _: () = assert!(SUM_BYTES <= 4 << 20, "whatever clients send, it is a small part of the node");

/// After an accept that failed: doubling from the first to the second.
const BACK_OFF_MS: (u64, u64) = (10, 1_000);
/// For how long the listener looks whether a newcomer shows the cookie, when there is no place for him otherwise: we
/// often accept before his first byte has come. Two hundred strangers a second are sent away that way, at the least.
const GLANCE_MS: u64 = 5;
/// Lines a minute about connections that found no place.
const COMPLAINTS_PER_MINUTE: u32 = 2;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From a request's first byte to its last; a connection's first request begins with the connection.
    pub read_ms: u64,
    /// From an answer to the next request.
    pub idle_ms: u64,
    /// Idle for less, a connection is not closed in favour of another.
    pub moment_ms: u64,
    /// To show the cookie in the kept place.
    pub trial_ms: u64,
    /// There for so long, a connection makes room for the next.
    pub trial_moment_ms: u64,
    /// To take an answer, for each MiB of it that is begun.
    pub write_ms: u64,
    /// To close after the last answer.
    pub linger_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            read_ms: 5_000,
            idle_ms: 30_000,
            moment_ms: 100,
            trial_ms: 500,
            trial_moment_ms: 50,
            write_ms: 5_000,
            linger_ms: 1_000,
        }
    }
}

/// What a server is told.
#[derive(Debug)]
pub struct Config {
    /// Bound already, so that a port in use is found out before anything else is touched.
    pub listener: TcpListener,
    /// What gives the right to change something.
    pub cookie: Cookie,
    /// Names that others have for this machine, without a port; its addresses need none.
    pub names: Vec<String>,
    /// What it has done so far is told here.
    pub counters: Arc<Counters>,
    /// How long things may take.
    pub limits: Limits,
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) gate: Gate,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) counters: Arc<Counters>,
    /// Whether a body is coming, or answered, that is larger than most may be.
    pub(super) has_large: Arc<AtomicBool>,
    places: Arc<Places>,
    leaving: Leaving,
}

/// A running server, in the hands of whoever started it; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    places: Arc<Places>,
    /// Dropped to end a wait of the listener.
    running: Option<Sender<Infallible>>,
    /// A second name of the listening socket, kept only to be dropped: waking the listener takes a descriptor,
    /// and a flood may have taken all others.
    spare: Option<TcpListener>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the threads. `handler` answers what the gate lets through.
    pub fn start(config: Config, handler: Arc<dyn Handler>) -> io::Result<Self> {
        let Config { listener, cookie, names, counters, limits } = config;
        let address = listener.local_addr()?;
        let moments = (Duration::from_millis(limits.moment_ms), Duration::from_millis(limits.trial_moment_ms));
        let places = Places::new((CONNECTIONS_MAX, CONNECTIONS_KEPT), moments, Arc::clone(&counters));
        let gate = Gate::new(cookie, names, address.ip());
        let leaving = Leaving::new(Duration::from_millis(limits.linger_ms));
        let (has_large, shown) = (Arc::default(), Arc::clone(&places));
        let shared = Arc::new(Shared { limits, gate, handler, counters, has_large, places: shown, leaving });
        let (running, stopped) = bounded(0);
        let spare = Some(listener.try_clone()?);
        let mut server = Self { address, places, running: Some(running), spare, threads: Vec::new() };
        // If a thread cannot be started, this channel goes first, and then `server` joins the others.
        let (visitors, queue) = bounded(CONNECTIONS_MAX);
        for number in 1..=CONNECTIONS_MAX {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            let body = move || serve(&shared, &queue);
            server.threads.push(spawn(format!("rpc-{number}"), STACK_SMALL_BYTES, body)?);
        }
        let body = move || listen(&shared, &listener, &visitors, &stopped);
        server.threads.push(spawn("rpc-listen", STACK_SMALL_BYTES, body)?);
        Ok(server)
    }

    /// Where it can be asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more, lets answers that are being made go out for a moment, and joins every thread:
    /// within a second, whatever clients do, if each handler comes back.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.places.stop();
        self.running = None;
        self.spare = None;
        wake(self.address);
        for thread in self.threads.drain(..) {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

/// Serves one connection after the other.
fn serve(shared: &Shared, queue: &Receiver<Place>) -> &'static str {
    loop {
        let visitor = match shared.leaving.reap() {
            Some(until) => queue.recv_deadline(until),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match visitor {
            Ok(place) => {
                shared.counters.now_visiting(queue.len());
                if let Err(error) = connection::run(shared, place) {
                    log::debug!("rpc: a connection ended: {error}");
                }
            }
            // Somebody who was turned away has had his time.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return "the server is stopping",
        }
    }
}

/// Accepts until the server stops.
fn listen(
    shared: &Shared,
    listener: &TcpListener,
    visitors: &Sender<Place>,
    stopped: &Receiver<Infallible>,
) -> &'static str {
    let (busy, clock) = (last_answer(BUSY), Clock::start());
    let mut chatter = Chatter::new(COMPLAINTS_PER_MINUTE);
    let mut back_off_ms = BACK_OFF_MS.0;
    loop {
        let accepted = listener.accept();
        if shared.places.is_stopping() {
            return "the server is stopping";
        }
        match accepted {
            Ok((stream, address)) => {
                back_off_ms = BACK_OFF_MS.0;
                match admit(shared, stream) {
                    Ok(place) => {
                        visitors.send(place).expect("`serve` outlives the listener");
                        shared.counters.now_visiting(visitors.len());
                        continue;
                    }
                    Err(stream) => turn_away(shared, stream, &busy),
                }
                shared.counters.busy();
                shared.counters.responded(Status::ServiceUnavailable);
                if let Some(more) = chatter.admit((), clock.now().mono) {
                    let others = if more == 0 { String::new() } else { format!(" (and {more} others before)") };
                    log::info!("rpc: {address} sent away, all connections are in use{others}");
                }
            }
            // The visitor has gone before we opened.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                shared.leaving.clear();
                if back_off_ms == BACK_OFF_MS.0 {
                    log::warn!("rpc: cannot accept connections: {error}; trying on");
                }
                // Not a sleep: a stop ends it. To accept once more would take the descriptor that wakes us.
                let wait = stopped.recv_timeout(Duration::from_millis(back_off_ms));
                if wait == Err(RecvTimeoutError::Disconnected) {
                    return "the server is stopping";
                }
                back_off_ms = (2 * back_off_ms).min(BACK_OFF_MS.1);
            }
        }
    }
}

/// A place for a newcomer. If there is none, what he sends at once may show that one is his.
fn admit(shared: &Shared, stream: TcpStream) -> Result<Place, TcpStream> {
    let stream = match shared.places.admit(stream, false) {
        Err(stream) if shows_cookie(shared, &stream).unwrap_or(false) => stream,
        other => return other,
    };
    shared.places.admit(stream, true)
}

/// Whether the request that lies there, or comes within a moment, shows the cookie. The bytes stay where they are.
fn shows_cookie(shared: &Shared, stream: &TcpStream) -> io::Result<bool> {
    let mut buffer = RequestBuffer::default();
    stream.set_read_timeout(Some(Duration::from_millis(GLANCE_MS)))?;
    let peeked = stream.peek(buffer.space());
    stream.set_read_timeout(None)?;
    buffer.filled(peeked?);
    let Ok(Front::Head(head) | Front::Whole(head, _)) = buffer.front() else { return Ok(false) };
    let ends = Ends::new(stream.peer_addr()?.ip(), stream.local_addr()?);
    Ok(shared.gate.admit(&head, ends).is_ok_and(|access| access.is_holder))
}

/// Says that there is no place, without waiting for anything.
fn turn_away(shared: &Shared, stream: TcpStream, busy: &[u8]) {
    // What a new socket does not take at once is not said.
    let told = stream.set_nonblocking(true).and_then(|()| (&stream).write(busy));
    if told.and_then(|_| stream.shutdown(Shutdown::Write)).is_ok() {
        shared.leaving.keep(stream);
    }
}
