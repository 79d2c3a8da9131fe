//! One connection as a machine's threads see it: what a reader, a writer and the owner's link hold.
//!
//! It keeps what those promise. The reader spends a credit with each event and waits without one, while the
//! peer's clock stands still. The writer takes messages before blocks, and waiting ones between two chunks of
//! blocks; what a peer does not take in time, or what does not fit its outbox, ends the connection. A hang-up
//! lets what waits go out for a moment, and a `Bye` after it.
//!
//! Left out: the common budgets of large frames, which bound memory and not behaviour.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::node::event::{Direction, Event, PeerId, Target};
use crate::node::message::{Message, Text};
use crate::node::reason::Reason;
use crate::node::serve::{Request, Run, Server};
use crate::node::session::Session;
use crate::primitives::time::Mono;
use crate::simulator::link::Side;
use crate::simulator::net::{LinkId, Net, Note};
use crate::simulator::queue::At;

/// Events of one peer that may be in the owner's hands.
pub const CREDITS: usize = 2;
/// Messages that wait for one peer, in bytes.
pub const OUTBOX_BYTES: usize = 256 << 10;
/// What a waiting message costs besides its bytes.
pub const OUTBOX_MESSAGE_BYTES: usize = 64;
/// Requests that wait for one peer's writer.
pub const REQUESTS_MAX: usize = 4;
/// One write must be through by then, and gets a second more for each 16 KiB.
pub const WRITE_MS: u64 = 20_000;
/// After a hang-up what waits may still go out for so long.
pub const FAREWELL_MS: u64 = 1_000;

/// A whole frame, or several; a broadcast's is shared by all who get it.
pub(crate) type Frame = Arc<[u8]>;

/// What is being written.
#[derive(Debug)]
struct Writing {
    frame: Frame,
    at: usize,
    until: At,
    /// Comes from the outbox, where it takes room until it is written.
    is_message: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) link: LinkId,
    pub(crate) side: Side,
    pub(crate) peer: PeerId,
    pub(crate) target: Option<Target>,
    pub(crate) session: Session,
    /// The owner knows of it, so a `Closed` is owed.
    pub(crate) is_open: bool,
    pub(crate) credits: usize,
    /// An event that waits for a credit, and since when the peer's clock stands.
    pub(crate) waiting: Option<(Event, Mono)>,
    stood_ms: u64,
    outbox: VecDeque<Frame>,
    queued_bytes: usize,
    requests: VecDeque<Request>,
    run: Option<Run>,
    writing: Option<Writing>,
    /// Why it ends, and since when.
    pub(crate) ending: Option<(Reason, At)>,
    /// Somebody who never reads.
    pub(crate) is_deaf: bool,
}

impl End {
    pub(crate) fn new(link: LinkId, side: Side, peer: PeerId, target: Option<Target>, session: Session) -> Self {
        Self {
            link,
            side,
            peer,
            target,
            session,
            is_open: false,
            credits: CREDITS,
            waiting: None,
            stood_ms: 0,
            outbox: VecDeque::new(),
            queued_bytes: 0,
            requests: VecDeque::new(),
            run: None,
            writing: None,
            ending: None,
            is_deaf: false,
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        match self.side {
            Side::Caller => Direction::Outbound,
            Side::Called => Direction::Inbound,
        }
    }

    // --- the reader ---

    /// The peer's clock: it stands still while the peer waits for us.
    pub(crate) fn clock(&self, now: Mono) -> Mono {
        Mono(now.0.saturating_sub(self.stood_ms))
    }

    /// A credit has come back; gives the event that waited for one.
    pub(crate) fn take_credit(&mut self, now: Mono) -> Option<Event> {
        let Some((event, since)) = self.waiting.take() else {
            self.credits += 1;
            return None;
        };
        self.stood_ms += now.since(since);
        Some(event)
    }

    // --- the outbox ---

    /// Queues a frame, or says that it does not fit.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), Reason> {
        let cost_bytes = frame.len() + OUTBOX_MESSAGE_BYTES;
        if self.queued_bytes + cost_bytes > OUTBOX_BYTES {
            return Err(Reason::OutboxFull { queued_bytes: self.queued_bytes, limit_bytes: OUTBOX_BYTES });
        }
        self.queued_bytes += cost_bytes;
        self.outbox.push_back(frame);
        Ok(())
    }

    /// Queues a frame that need not fit: nobody who keeps the rules does that.
    pub(crate) fn pour(&mut self, frame: Frame) {
        self.queued_bytes += frame.len() + OUTBOX_MESSAGE_BYTES;
        self.outbox.push_back(frame);
    }

    /// Queues a question of the peer's.
    pub(crate) fn request(&mut self, request: Request) -> Result<(), Reason> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(Reason::TooManyRequests { limit: REQUESTS_MAX });
        }
        self.requests.push_back(request);
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    // --- the writer ---

    /// Writes as much as there is room for.
    pub(crate) fn write(&mut self, net: &mut Net, server: &Server) -> Result<(), Reason> {
        loop {
            let Some(writing) = &mut self.writing else {
                let Some((frame, is_message)) = self.next_frame(server)? else { return Ok(()) };
                if let Some(host) = net.link(self.link).and_then(|link| link.host(self.side)).filter(|_| !is_message) {
                    net.note(host, Note::Served { frames: Arc::clone(&frame) });
                }
                let until = net.now.after_ms(WRITE_MS + 1_000 * (frame.len() as u64 >> 14));
                self.writing = Some(Writing { frame, at: 0, until, is_message });
                continue;
            };
            let room = net.room(self.link, self.side);
            if room == 0 {
                return Ok(());
            }
            let end = writing.frame.len().min(writing.at.saturating_add(room));
            net.send(self.link, self.side, &writing.frame, writing.at..end);
            writing.at = end;
            if end == writing.frame.len() {
                if writing.is_message {
                    self.queued_bytes -= end + OUTBOX_MESSAGE_BYTES;
                }
                self.writing = None;
            }
        }
    }

    /// What is to be written next; whether it is a message.
    fn next_frame(&mut self, server: &Server) -> Result<Option<(Frame, bool)>, Reason> {
        if let Some(frame) = self.outbox.pop_front() {
            return Ok(Some((frame, true)));
        }
        let unreadable = |_| Reason::Broken("what it asked for cannot be read here".into());
        if let Some(run) = &mut self.run {
            let mut chunk = Vec::new();
            if server.fill(run, &mut chunk).map_err(unreadable)? {
                return Ok(Some((chunk.into(), false)));
            }
            self.run = None;
        }
        let Some(request) = self.requests.pop_front() else { return Ok(None) };
        let frame = match request {
            Request::Headers { locator } => server.headers(&locator).map_err(unreadable)?,
            Request::BlockTxs { block, places } => server.transfers(block, &places).map_err(unreadable)?,
            Request::Blocks { last, count } => match server.run(last, count).map_err(unreadable)? {
                Some(run) => {
                    self.run = Some(run);
                    return self.next_frame(server);
                }
                None => Message::Missing(last).to_frame(),
            },
        };
        Ok(Some((frame.into(), false)))
    }

    /// The connection is to end: what waits may go out for a moment, then a `Bye` where that makes sense.
    pub(crate) fn end(&mut self, reason: Reason, now: At) {
        if self.ending.is_some() {
            return;
        }
        self.requests.clear();
        self.run = None;
        if reason.is_told() {
            let bye = Frame::from(Message::Bye(Text::first_of(reason.to_string().into_bytes())).to_frame());
            self.queued_bytes += bye.len() + OUTBOX_MESSAGE_BYTES;
            self.outbox.push_back(bye);
        }
        self.ending = Some((reason, now));
    }

    /// Whether everything is written, or its time is over.
    pub(crate) fn is_over(&self, now: At) -> bool {
        let Some((reason, since)) = &self.ending else { return false };
        let is_written = self.writing.is_none() && self.outbox.is_empty();
        is_written || !reason.is_told() || now.since(*since) >= FAREWELL_MS * 1_000
    }

    /// Whether a deadline of the reader or the writer has passed.
    pub(crate) fn on_time(&self, now: At, mono: Mono) -> Result<(), Reason> {
        if let Some(writing) = self.writing.as_ref().filter(|writing| now >= writing.until) {
            return Err(Reason::WriteTimeout { limit_ms: WRITE_MS + 1_000 * (writing.frame.len() as u64 >> 14) });
        }
        if self.waiting.is_some() || self.is_deaf {
            return Ok(());
        }
        self.session.on_time(self.clock(mono))
    }
}
