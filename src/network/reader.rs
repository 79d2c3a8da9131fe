//! `peer-N-read`: one peer's bytes through its session; typed, checked events to the owner.
//!
//! It writes the two words of the handshake itself, because there is no writer before it. It waits
//! only for its socket, for a credit, and for the common budget of large frames; while it waits for
//! us (a credit, the budget) the peer's clock stands still, so no deadline passes that is our fault.
//!
//! Promise: whoever was told `Connected` is told `Closed` exactly once, and last. A panic in here
//! ends this peer with [`Reason::Bug`] and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::network::budget::Portion;
use crate::network::connection::{Connection, Timeout};
use crate::network::limits::{ASKED_MAX, BULK_FACTOR, BULK_FROM_BYTES, CREDITS, REQUESTS_MAX};
use crate::network::outbox::outbox;
use crate::network::p2p::{Hub, Input, Link};
use crate::network::registry::Place;
use crate::network::writer::Writer;
use crate::node::event::{Asked, Direction, Event, PeerId, Target};
use crate::node::message::{Hello, Kind, Message};
use crate::node::reason::Reason;
use crate::node::serve::Request;
use crate::node::session::{HANDSHAKE_MS, Output, Session};
use crate::primitives::thread::{STACK_SMALL_BYTES, caught, spawn};
use crate::primitives::time::Mono;

/// Takes a connection from its first byte to its end; what it returns is for the thread's last line.
pub(crate) fn run(hub: &Arc<Hub>, place: Place, connection: &Arc<Connection>, target: Option<Target>) -> Reason {
    let direction = if target.is_some() { Direction::Outbound } else { Direction::Inbound };
    let ours = hub.hello();
    let mut reader = Reader {
        session: Session::new(hub.session.clone(), place.peer, direction, ours.clone(), hub.clock.now().mono),
        hub: Arc::clone(hub),
        connection: Arc::clone(connection),
        stood_ms: 0,
        is_limited: false,
    };
    let greeted = place.occupy(connection).and_then(|()| caught(|| reader.greet()).unwrap_or(Err(Reason::Bug)));
    let connected = greeted.and_then(|hello| reader.connect(place, direction, target.clone(), hello));
    match connected {
        Ok((channels, writer)) => reader.stay(channels, writer),
        Err(reason) => {
            part(hub, connection, &ours, direction, &reason);
            if let Some(target) = target {
                hub.tell(Input::DialFailed { target, reason: reason.clone() });
            }
            reason
        }
    }
}

/// Sends somebody away who has not got through the handshake.
fn part(hub: &Hub, connection: &Connection, ours: &Hello, direction: Direction, reason: &Reason) {
    if direction == Direction::Inbound {
        // Failed dials are told by the core, which knows whether they are news.
        hub.complain(connection.address, reason);
    }
    if direction == Direction::Inbound && *reason == Reason::Oneself {
        // Our own dialler cannot tell itself from others by a `Bye`: it has to see its own nonce.
        let ack = Message::HelloAck(ours.clone()).to_frame();
        let _ = connection.write_all(&ack, HANDSHAKE_MS);
        connection.shut();
        return;
    }
    connection.curt_farewell(reason);
}

/// The reader's ends of what the owner and the writer hold the other ends of.
struct Channels {
    credits: Receiver<()>,
    asked: Receiver<Asked>,
    requests: Sender<Request>,
}

struct Reader {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    session: Session,
    /// How long the peer had to wait for us.
    stood_ms: u64,
    /// Whether the socket has a time limit set.
    is_limited: bool,
}

impl Reader {
    fn peer(&self) -> PeerId {
        self.connection.peer
    }

    /// The peer's clock: it stands still while the peer waits for us.
    fn now(&self) -> Mono {
        Mono(self.hub.clock.now().mono.0.saturating_sub(self.stood_ms))
    }

    /// Does something that may keep the peer waiting.
    fn while_clock_stands<T>(&mut self, wait: impl FnOnce(&Self) -> T) -> T {
        let began = self.now();
        let value = wait(self);
        self.stood_ms += self.now().since(began);
        value
    }

    /// The handshake.
    fn greet(&mut self) -> Result<Box<Hello>, Reason> {
        if self.connection.is_loop() {
            return Err(Reason::Oneself);
        }
        if let Some(opening) = self.session.opening() {
            self.connection.write_all(&opening, HANDSHAKE_MS)?;
        }
        loop {
            match self.session.next(self.now())? {
                Some(Output::Ready { hello, answer }) => {
                    if let Some(answer) = answer {
                        self.connection.write_all(&answer, HANDSHAKE_MS)?;
                    }
                    return Ok(hello);
                }
                // The session lets nothing else through before it is ready.
                Some(_) => return Err(Reason::Bug),
                None => self.read()?,
            }
        }
    }

    /// Starts the writer and hands the owner its ends of everything. From here on a `Closed` is owed.
    fn connect(
        &self,
        place: Place,
        direction: Direction,
        target: Option<Target>,
        hello: Box<Hello>,
    ) -> Result<(Channels, JoinHandle<()>), Reason> {
        let peer = self.peer();
        let (outbox, outgoing) = outbox();
        let (credit, credits) = bounded(CREDITS);
        let (ask, asked) = bounded(ASKED_MAX);
        let (requests, requested) = bounded(REQUESTS_MAX);
        for _ in 0..CREDITS {
            credit.try_send(()).expect("the channel holds as many as there are");
        }
        let connection = Arc::clone(&self.connection);
        let writer = Writer { hub: Arc::clone(&self.hub), connection, outgoing, requests: requested };
        let writer = spawn(format!("peer-{}-write", peer.0), STACK_SMALL_BYTES, move || writer.run());
        let writer = writer.map_err(|error| Reason::Broken(format!("no thread to write with: {error}")))?;
        let address = self.connection.address;
        let event = Event::Connected { peer, direction, address, target, hello };
        let link = Link::new(Arc::clone(&self.connection), place, outbox, ask, credit);
        self.hub.tell(Input::Connected { event, link: Box::new(link) });
        Ok((Channels { credits, asked, requests }, writer))
    }

    /// The life of a connection after its handshake.
    fn stay(mut self, channels: Channels, writer: JoinHandle<()>) -> Reason {
        let reason = caught(|| self.talk(&channels)).unwrap_or_else(|panic| {
            log::error!("{} failed, which is a bug in spindle: {panic}", self.peer());
            Reason::Bug
        });
        self.connection.end(reason);
        // Without requests the writer says goodbye and ends, within the time of a farewell.
        drop(channels);
        writer.join().expect("the spawn helper catches panics");
        let reason = self.connection.reason();
        self.hub.tell(Input::Closed { peer: self.peer(), reason: reason.clone() });
        reason
    }

    fn talk(&mut self, channels: &Channels) -> Reason {
        loop {
            if let Err(reason) = self.turn(channels) {
                return reason;
            }
        }
    }

    /// Handles what is at hand, then reads once.
    fn turn(&mut self, channels: &Channels) -> Result<(), Reason> {
        loop {
            let portion = self.portion(channels)?;
            match self.session.next(self.now())? {
                Some(Output::Event(event)) => self.tell(channels, event, portion)?,
                Some(Output::Serve(request)) => self.serve(channels, request)?,
                Some(Output::Ready { .. }) => return Err(Reason::Bug),
                None => break,
            }
        }
        self.read()?;
        // What was noted before a question left is here before its answer can be.
        channels.asked.try_iter().for_each(|asked| self.session.note(asked));
        Ok(())
    }

    /// Before a large frame is decoded: a credit, then a share of the common budget. In this order, so
    /// that whoever holds a share has nothing more to wait for.
    fn portion(&mut self, channels: &Channels) -> Result<Option<Portion>, Reason> {
        let bulk_bytes = self.session.bulk_bytes();
        if bulk_bytes <= BULK_FROM_BYTES {
            return Ok(None);
        }
        self.take_credit(channels)?;
        let portion = self.while_clock_stands(|reader| reader.hub.budget.take(BULK_FACTOR * bulk_bytes));
        portion.map(Some).ok_or(Reason::Stopping)
    }

    /// Waits for a credit.
    fn take_credit(&mut self, channels: &Channels) -> Result<(), Reason> {
        let credit = match channels.credits.try_recv() {
            Err(TryRecvError::Empty) => self.while_clock_stands(|_| channels.credits.recv().is_ok()),
            credit => credit.is_ok(),
        };
        if credit && !self.connection.is_ending() { Ok(()) } else { Err(self.connection.reason()) }
    }

    /// Gives the owner an event, for a credit; one that came with a portion has its credit already.
    fn tell(&mut self, channels: &Channels, event: Event, portion: Option<Portion>) -> Result<(), Reason> {
        log::debug!("from {}: {}", self.peer(), name_of(&event));
        if portion.is_none() {
            self.take_credit(channels)?;
        }
        self.hub.tell(Input::Peer { peer: self.peer(), event, portion, sent: Instant::now() });
        Ok(())
    }

    /// Passes a question on to the writer, and never waits for it.
    fn serve(&self, channels: &Channels, request: Request) -> Result<(), Reason> {
        let kind = match request {
            Request::Headers { .. } => Kind::GetHeaders,
            Request::Blocks { .. } => Kind::GetBlocks,
            Request::BlockTxs { .. } => Kind::GetBlockTxs,
        };
        log::debug!("from {}: {kind:?}", self.peer());
        // Counted first, so that the writer never takes away what is not there yet.
        self.connection.requests.fetch_add(1, Ordering::Relaxed);
        channels.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Reason::TooManyRequests { limit: REQUESTS_MAX },
            TrySendError::Disconnected(_) => self.connection.reason(),
        })
    }

    /// One read, as long as the session's deadline allows.
    fn read(&mut self) -> Result<(), Reason> {
        let deadline = self.session.deadline();
        let timeout = match deadline {
            None if !self.is_limited => Timeout::Kept,
            None => Timeout::Changed(None),
            Some(until) => Timeout::Changed(Some(Duration::from_millis(until.since(self.now())))),
        };
        self.is_limited = deadline.is_some();
        // Nothing within the limit: the session itself says what that means.
        let count = self.connection.read(self.session.space(), timeout)?.unwrap_or(0);
        self.session.filled(count);
        Ok(())
    }
}

/// The message behind an event, for the log.
fn name_of(event: &Event) -> String {
    let kind = match event {
        Event::Ping { .. } => Kind::Ping,
        Event::Pong { .. } => Kind::Pong,
        Event::Headers { headers, .. } => return format!("{:?}, {} of them", Kind::Headers, headers.len()),
        Event::Blocks { blocks, .. } => return format!("{:?}, {} of them", Kind::Blocks, blocks.len()),
        Event::Progress { .. } => return "a part of a large frame".into(),
        Event::Missing { last, .. } => return format!("{:?} {last:.12}", Kind::Missing),
        Event::NewBlock { block, .. } => return format!("{:?} {:.12}", Kind::NewBlock, block.header().id()),
        Event::GetPeers { .. } => Kind::GetPeers,
        Event::Peers { .. } => Kind::Peers,
        Event::NewTx { ids, .. } => return format!("{:?}, {} of them", Kind::NewTx, ids.len()),
        Event::GetTxs { ids, .. } => return format!("{:?}, {} of them", Kind::GetTxs, ids.len()),
        Event::Txs { transactions, .. } => return format!("{:?}, {} of them", Kind::Txs, transactions.len()),
        Event::BlockTxs { transfers, .. } => return format!("{:?}, {} of them", Kind::BlockTxs, transfers.len()),
        Event::BlockTxsMissing { block, .. } => return format!("{:?} {block:.12}", Kind::Missing),
        Event::GetPool { .. } => Kind::GetPool,
        Event::Pool { ids, .. } => return format!("{:?}, {} of them", Kind::Pool, ids.len()),
        // A session gives nothing else.
        other => return format!("{other:?}"),
    };
    format!("{kind:?}")
}
