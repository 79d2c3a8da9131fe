//! Connections between machines: bytes that take a while, in order, and the ends that sessions drive.

use spindle::node::event::{Asked, Direction, Event, PeerId, Target};
use spindle::node::message::Message;
use spindle::node::reason::Reason;
use spindle::node::serve::{Request, Server};
use spindle::node::session::{Output, Session, SessionConfig};
use spindle::primitives::codec::List;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK, frame_into};
use spindle::primitives::hash::Hash;

use crate::common::verifier;
use crate::puppet::{Answer, Shown, next_message};
use crate::stage::{Actor, Happening, Life, Stage, Who};
use crate::words;

/// From one machine to another.
const LATENCY_MS: u64 = 10;
/// A dial that nobody answers is given up after this.
const CONNECT_MS: u64 = 3_000;

/// A connection: who dialled, and who was dialled.
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    /// What is on its way while the two are cut off from each other: TCP brings it when they no longer are.
    held: Vec<(usize, Piece)>,
}

/// One end of it.
pub(crate) struct End {
    pub(crate) who: Who,
    life: Life,
    /// What its process calls it.
    pub(crate) peer: PeerId,
    pub(crate) is_open: bool,
    is_ready: bool,
    /// A node's.
    session: Option<Session>,
    /// A puppet's.
    bytes: Vec<u8>,
    target: Option<Target>,
}

/// Something on its way.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// The other side has closed.
    End,
    /// The other side's machine knows of no such connection.
    Reset,
}

impl Stage {
    // --- coming ---

    /// Somebody dials.
    pub(crate) fn dial(&mut self, from: Who, to: Who) {
        let words = format!("dials {}", self.hosts[to].name);
        self.line(from, &words);
        let in_ms = if self.is_cut(from, to) { CONNECT_MS } else { LATENCY_MS };
        let life = self.hosts[from].life;
        self.plan(in_ms, Happening::Dialled { from, life, to });
    }

    pub(crate) fn dialled(&mut self, from: Who, to: Who) {
        let target = Target::Address(Self::address(to));
        let (now, ip) = (self.now().wall, Self::address(from).ip());
        let failed = match &self.hosts[to].actor {
            _ if self.is_cut(from, to) => Some(Reason::Broken("connection timed out".into())),
            Actor::Nothing => Some(Reason::Broken("connection refused".into())),
            Actor::Node(node) if node.refused.get(&ip).is_some_and(|until| *until > now) => {
                Some(Reason::Bye(Reason::Banned.to_string()))
            }
            _ => None,
        };
        if let Some(reason) = failed {
            if matches!(self.hosts[from].actor, Actor::Puppet(_)) {
                return self.line(from, &format!("cannot connect to {}: {reason}", self.hosts[to].name));
            }
            return self.step(from, Event::DialFailed { target, reason });
        }
        let ends = [(from, Direction::Outbound, Some(target)), (to, Direction::Inbound, None)]
            .map(|(who, direction, target)| self.attach(who, direction, target));
        self.links.push(Link { ends, held: Vec::new() });
        let link = self.links.len() - 1;
        let opening = match &self.links[link].ends[0].session {
            Some(session) => session.opening().expect("whoever dials speaks first"),
            None => Message::Hello(self.hello_of(from)).to_frame(),
        };
        let hello = words::said(&self.names, &Message::Hello(self.hello_of(from)), None);
        self.line_between(from, to, &hello.expect("a word worth telling"));
        self.transmit(link, 0, opening);
    }

    fn attach(&mut self, who: Who, direction: Direction, target: Option<Target>) -> End {
        let hello = self.hello_of(who);
        let now = self.now().mono;
        let config = SessionConfig { params: self.params.clone(), verifier: verifier() };
        let host = &mut self.hosts[who];
        let peer = PeerId(host.next_peer);
        host.next_peer += 1;
        let is_node = matches!(host.actor, Actor::Node(_));
        let session = is_node.then(|| Session::new(config, peer, direction, hello, now));
        let life = host.life;
        End { who, life, peer, is_open: true, is_ready: false, session, bytes: Vec::new(), target }
    }

    fn hello_of(&self, who: Who) -> spindle::node::message::Hello {
        match &self.hosts[who].actor {
            Actor::Node(running) => self.config(who).hello(&running.node.reader()),
            Actor::Puppet(puppet) => puppet.hello(&self.params, 900_000 + who as u64),
            Actor::Nothing => unreachable!("nobody is there to speak"),
        }
    }

    // --- on the way ---

    fn is_cut(&self, a: Who, b: Who) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    /// The two reach each other again: what was on its way comes.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        for link in 0..self.links.len() {
            for (side, piece) in std::mem::take(&mut self.links[link].held) {
                self.plan(LATENCY_MS, Happening::Arrive(link, side, piece));
            }
        }
    }

    fn transmit(&mut self, link: usize, from: usize, bytes: Vec<u8>) {
        self.carry(link, from, Piece::Bytes(bytes));
    }

    fn carry(&mut self, link: usize, from: usize, piece: Piece) {
        self.plan(LATENCY_MS, Happening::Arrive(link, 1 - from, piece));
    }

    pub(crate) fn arrive(&mut self, link: usize, side: usize, piece: Piece) {
        let [caller, called] = self.links[link].ends.each_ref().map(|end| end.who);
        if self.is_cut(caller, called) {
            return self.links[link].held.push((side, piece));
        }
        let end = &mut self.links[link].ends[side];
        if !end.is_open {
            let (who, life) = (end.who, end.life);
            // A machine that has lost its power and came back knows nothing of it.
            let is_another = self.hosts[who].life != life && !matches!(self.hosts[who].actor, Actor::Nothing);
            if is_another && matches!(piece, Piece::Bytes(_)) {
                self.carry(link, side, Piece::Reset);
            }
            return;
        }
        match piece {
            Piece::Bytes(bytes) => {
                if let Some(session) = &mut end.session {
                    session.feed(&bytes);
                    self.drive(link, side);
                } else {
                    end.bytes.extend(bytes);
                    self.let_puppet_hear(link, side);
                }
            }
            Piece::End => self.end(link, side, Reason::Closed),
            Piece::Reset => self.end(link, side, Reason::Broken("connection reset by peer".into())),
        }
    }

    // --- a node's end ---

    /// All ends of a process that are open.
    pub(crate) fn ends_of(&self, who: Who) -> Vec<(usize, usize)> {
        let ends = (0..self.links.len()).flat_map(|link| [(link, 0), (link, 1)]);
        ends.filter(|&(link, side)| {
            let end = &self.links[link].ends[side];
            end.who == who && end.life == self.hosts[who].life
        })
        .collect()
    }

    pub(crate) fn end_of(&self, who: Who, peer: PeerId) -> Option<(usize, usize)> {
        let ends = self.ends_of(who).into_iter();
        ends.map(|(link, side)| (link, side, &self.links[link].ends[side]))
            .find(|(.., end)| end.peer == peer && end.is_open)
            .map(|(link, side, _)| (link, side))
    }

    /// Lets each session of a node look at the clock.
    pub(crate) fn drive_all(&mut self, who: Who) {
        for (link, side) in self.ends_of(who) {
            if self.links[link].ends[side].session.is_some() {
                self.drive(link, side);
            }
        }
    }

    fn drive(&mut self, link: usize, side: usize) {
        let now = self.now().mono;
        while let End { is_open: true, who, peer, session: Some(session), .. } = &mut self.links[link].ends[side] {
            let (who, peer) = (*who, *peer);
            match session.next(now) {
                Ok(None) => return,
                Ok(Some(Output::Event(event))) => self.step(who, event),
                Ok(Some(Output::Serve(request))) => self.serve(link, side, &request),
                Ok(Some(Output::Ready { hello, answer })) => {
                    let other = self.links[link].ends[1 - side].who;
                    if let Some(answer) = answer {
                        let ack = words::said(&self.names, &Message::HelloAck(self.hello_of(who)), None);
                        self.line_between(who, other, &ack.expect("a word worth telling"));
                        self.transmit(link, side, answer);
                    }
                    let end = &mut self.links[link].ends[side];
                    end.is_ready = true;
                    let target = end.target.clone();
                    let direction = if side == 0 { Direction::Outbound } else { Direction::Inbound };
                    let address = Self::address(other);
                    self.step(who, Event::Connected { peer, direction, address, target, hello });
                }
                Err(reason) => self.end(link, side, reason),
            }
        }
    }

    fn serve(&mut self, link: usize, side: usize, request: &Request) {
        let (who, other) = (self.links[link].ends[side].who, self.links[link].ends[1 - side].who);
        let server = Server::new(self.running(who).expect("a node's session").node.reader());
        let frame = match request {
            Request::Headers { locator } => server.headers(locator).expect("a disk that works"),
            Request::BlockTxs { block, places } => server.transfers(*block, places).expect("a disk that works"),
            Request::Blocks { last, count } => match server.run(*last, *count).expect("a disk that works") {
                None => Message::Missing(*last).to_frame(),
                Some(mut run) => {
                    let mut chunk = Vec::new();
                    while server.fill(&mut run, &mut chunk).expect("a disk that works") {
                        let frames = std::mem::take(&mut chunk);
                        let names = self.names.row(&blocks_in(&frames));
                        if self.hosts[who].withholds {
                            self.line(who, &format!("keeps blocks {names} back"));
                        } else {
                            self.line_between(who, other, &format!("blocks {names}"));
                            self.transmit(link, side, frames);
                        }
                    }
                    return;
                }
            },
        };
        let kind = spindle::node::message::Kind::from_number(frame[4]).expect("made here");
        let message = Message::from_payload(kind, &frame[HEADER_BYTES..]).expect("made here");
        self.tell_said(who, other, None, &message);
        self.transmit(link, side, frame);
    }

    pub(crate) fn say(&mut self, who: Who, peer: PeerId, asked: Option<Asked>, message: &Message) {
        let Some((link, side)) = self.end_of(who, peer) else { return };
        let other = self.links[link].ends[1 - side].who;
        self.tell_said(who, other, asked.as_ref(), message);
        if let (Some(session), Some(asked)) = (&mut self.links[link].ends[side].session, asked) {
            session.note(asked);
        }
        self.transmit(link, side, message.to_frame());
    }

    fn tell_said(&mut self, from: Who, to: Who, asked: Option<&Asked>, message: &Message) {
        let Some(mut words) = words::said(&self.names, message, asked) else { return };
        if self.is_cut(from, to) {
            words += " (does not arrive)";
        }
        self.line_between(from, to, &words);
    }

    // --- going ---

    /// A connection ends here, for this reason; the other side hears of it when its end arrives.
    pub(crate) fn end(&mut self, link: usize, side: usize, reason: Reason) {
        let other = self.links[link].ends[1 - side].who;
        let End { who, peer, is_open, is_ready, target, .. } = &mut self.links[link].ends[side];
        let (who, peer, is_ready, target) = (*who, *peer, *is_ready, target.clone());
        if !std::mem::replace(is_open, false) {
            return;
        }
        let verb = match reason {
            Reason::Closed | Reason::Broken(_) | Reason::Bye(_) => "loses",
            _ => "hangs up on",
        };
        let why = self.in_words(who, &reason.to_string());
        let words = format!("{verb} {}: {why}", self.hosts[other].name);
        self.line(who, &words);
        if reason.is_told() {
            let text = List::first_of(reason.to_string().into_bytes());
            self.transmit(link, side, Message::Bye(text).to_frame());
        }
        self.carry(link, side, Piece::End);
        let event = match (is_ready, target) {
            (true, _) => Event::Closed { peer, reason },
            (false, Some(target)) => Event::DialFailed { target, reason },
            (false, None) => return,
        };
        let life = self.hosts[who].life;
        self.plan(0, Happening::Event(who, life, Box::new(event)));
    }

    /// A process is gone. Its system says so to the others, unless the power has failed.
    pub(crate) fn end_all(&mut self, who: Who, is_silent: bool) {
        for (link, side) in self.ends_of(who) {
            if std::mem::replace(&mut self.links[link].ends[side].is_open, false) && !is_silent {
                self.carry(link, side, Piece::End);
            }
        }
    }

    // --- a puppet's end ---

    fn let_puppet_hear(&mut self, link: usize, side: usize) {
        let (who, other) = (self.links[link].ends[side].who, self.links[link].ends[1 - side].who);
        while let Some(message) = next_message(&mut self.links[link].ends[side].bytes) {
            if let Message::Hello(_) = message {
                let ack = Message::HelloAck(self.hello_of(who));
                self.tell_said(who, other, None, &ack);
                self.transmit(link, side, ack.to_frame());
                continue;
            }
            if let Message::Bye(text) = &message {
                let why = self.names.in_text(&String::from_utf8_lossy(text));
                self.line(who, &format!("loses {}: it said: {why}", self.hosts[other].name));
                self.links[link].ends[side].is_open = false;
                return;
            }
            let Actor::Puppet(puppet) = &self.hosts[who].actor else { return };
            match puppet.hears(message) {
                Some(Answer::Say(message)) => {
                    self.tell_said(who, other, None, &message);
                    self.transmit(link, side, message.to_frame());
                }
                Some(Answer::Show(blocks)) => self.show(link, side, &blocks),
                None => {}
            }
        }
    }

    fn show(&mut self, link: usize, side: usize, blocks: &[Shown]) {
        let (who, other) = (self.links[link].ends[side].who, self.links[link].ends[1 - side].who);
        let ids: Vec<Hash> = blocks.iter().map(|block| block.header.id()).collect();
        let words = format!("blocks {}", self.names.row(&ids));
        self.line_between(who, other, &words);
        let mut frames = Vec::new();
        for block in blocks {
            frame_into(KIND_BLOCK, &block.bytes, &mut frames);
        }
        self.transmit(link, side, frames);
    }
}

/// The ids of the blocks in these frames.
fn blocks_in(mut frames: &[u8]) -> Vec<Hash> {
    let mut ids = Vec::new();
    while let Some(header) = frames.first_chunk().and_then(FrameHeader::from_bytes) {
        ids.push(Hash::sha256d(&frames[HEADER_BYTES..HEADER_BYTES + 100]));
        frames = &frames[HEADER_BYTES + header.length as usize..];
    }
    ids
}
