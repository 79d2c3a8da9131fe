//! What a node's readers and writers do: connections come, say and are told something, and go.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::blockchain::storage::StoreError;
use crate::node::event::{Asked, Direction, Event, PeerId, Target};
use crate::node::message::{Hello, Message};
use crate::node::reason::Reason;
use crate::node::session::{Output, Session};
use crate::simulator::end::{End, Frame};
use crate::simulator::link::Side;
use crate::simulator::net::{LinkId, Net, Note};
use crate::simulator::process::{INBOUND_MAX, INBOUND_PER_IP, Process};
use crate::simulator::vice::{Deed, Vice};

impl Process {
    // --- how they come ---

    /// Somebody has dialled us; gives our number for the link, or nothing where the door stays shut.
    pub(crate) fn admit(&mut self, net: &mut Net, link: LinkId, address: SocketAddr) -> Option<PeerId> {
        let ip = address.ip();
        let from = |end: &&End| {
            end.side == Side::Called && net.address_across(end.link, end.side).is_some_and(|a| a.ip() == ip)
        };
        let is_refused = self.refused.get(&ip).is_some_and(|until| self.now(net).wall < *until);
        let inbound = self.ends.values().filter(|end| end.side == Side::Called).count();
        if is_refused || inbound >= INBOUND_MAX || self.ends.values().filter(from).count() >= INBOUND_PER_IP {
            return None;
        }
        let peer = self.attach(net, link, Side::Called, None);
        self.tempt(net, Deed::Opens(peer));
        Some(peer)
    }

    /// A dial of ours got through.
    pub(crate) fn attach(&mut self, net: &Net, link: LinkId, side: Side, target: Option<Target>) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let direction = if side == Side::Caller { Direction::Outbound } else { Direction::Inbound };
        let session = Session::new(self.session.clone(), peer, direction, self.hello(), self.now(net).mono);
        self.ends.insert(peer, End::new(link, side, peer, target, session));
        peer
    }

    /// Whoever dialled speaks first.
    pub(crate) fn open(&mut self, net: &mut Net, peer: PeerId) {
        if self.tempt(net, Deed::Opens(peer)) {
            return;
        }
        if let Some(end) = self.ends.get(&peer)
            && let Some(opening) = end.session.opening()
        {
            self.push(net, peer, opening.into());
        }
    }

    /// A dial came to nothing.
    pub(crate) fn dial_failed(&mut self, net: &mut Net, target: Target, reason: Reason) -> Result<(), StoreError> {
        self.desk.inbox(Event::DialFailed { target, reason }, None);
        self.run(net)
    }

    // --- what they say ---

    /// Bytes have come from a peer, or their end.
    pub(crate) fn readable(&mut self, net: &mut Net, peer: PeerId) -> Result<(), StoreError> {
        self.read(net, peer);
        self.run(net)
    }

    fn read(&mut self, net: &mut Net, peer: PeerId) {
        let mono = self.now(net).mono;
        loop {
            let Some(end) = self.ends.get_mut(&peer) else { return };
            if end.ending.is_some() || end.waiting.is_some() || end.is_deaf {
                return;
            }
            match end.session.next(end.clock(mono)) {
                Ok(Some(Output::Event(event))) if end.credits > 0 => {
                    end.credits -= 1;
                    self.desk.inbox(event, Some(peer));
                }
                Ok(Some(Output::Event(event))) => end.waiting = Some((event, mono)),
                Ok(Some(Output::Serve(request))) => {
                    if self.tempt(net, Deed::Answers(peer, &request)) {
                        continue;
                    }
                    let Some(end) = self.ends.get_mut(&peer) else { return };
                    match end.request(request) {
                        Ok(()) => self.write(net, peer),
                        Err(reason) => self.end(net, peer, reason),
                    }
                }
                Ok(Some(Output::Ready { hello, answer })) => self.greeted(net, peer, hello, answer),
                Ok(None) => match net.read(end.link, end.side) {
                    Some(piece) => end.session.feed(piece.bytes()),
                    None if net.has_ended(end.link, end.side) => self.end(net, peer, Reason::Closed),
                    None => return,
                },
                Err(reason) => {
                    if reason == Reason::Oneself && end.side == Side::Called {
                        // Our own dialler has to see its own nonce.
                        let ack = Message::HelloAck(self.hello()).to_frame();
                        self.push(net, peer, ack.into());
                    }
                    self.end(net, peer, reason);
                }
            }
        }
    }

    fn greeted(&mut self, net: &mut Net, peer: PeerId, hello: Box<Hello>, answer: Option<Vec<u8>>) {
        if let Some(answer) = answer {
            self.push(net, peer, answer.into());
        }
        let Some(end) = self.ends.get_mut(&peer) else { return };
        end.is_open = true;
        let (direction, target) = (end.direction(), end.target.clone());
        let address = net.address_across(end.link, end.side).expect("a link has two ends once it is made");
        self.desk.inbox(Event::Connected { peer, direction, address, target, hello }, None);
        self.tempt(net, Deed::Meets(peer));
    }

    pub(super) fn give_credit(&mut self, net: &mut Net, peer: PeerId) {
        let mono = self.now(net).mono;
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        if let Some(event) = end.take_credit(mono) {
            self.desk.inbox(event, Some(peer));
            self.read(net, peer);
        }
    }

    // --- what we say ---

    pub(super) fn say(&mut self, net: &mut Net, peer: PeerId, asked: Option<Asked>, message: &Message) {
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        if let Some(asked) = asked {
            end.session.note(asked);
        }
        if !self.tempt(net, Deed::Says(peer, message)) {
            self.push(net, peer, message.to_frame().into());
        }
    }

    /// News for several; who has no room for it goes without.
    pub(super) fn broadcast(&mut self, net: &mut Net, peers: &[PeerId], message: &Message) {
        let frame = Frame::from(message.to_frame());
        for &peer in peers {
            if self.tempt(net, Deed::Says(peer, message)) {
                continue;
            }
            let end = self.ends.get_mut(&peer).filter(|end| end.ending.is_none());
            if end.is_some_and(|end| end.push(Arc::clone(&frame)).is_ok()) {
                self.write(net, peer);
            }
        }
    }

    /// A frame that fits, or the peer is hung up on.
    pub(super) fn push(&mut self, net: &mut Net, peer: PeerId, frame: Frame) {
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        match end.push(frame) {
            Ok(()) => self.write(net, peer),
            Err(reason) => self.end(net, peer, reason),
        }
    }

    /// A writer has something to write, or room for it.
    pub(crate) fn write(&mut self, net: &mut Net, peer: PeerId) {
        let Some(end) = self.ends.get_mut(&peer) else { return };
        if let Err(reason) = end.write(net, &self.server) {
            return self.end(net, peer, reason);
        }
        if end.is_over(net.now) {
            self.close(net, peer);
        }
    }

    /// There is room to write again.
    pub(crate) fn writable(&mut self, net: &mut Net, peer: PeerId) -> Result<(), StoreError> {
        self.write(net, peer);
        self.run(net)
    }

    // --- how they go ---

    /// The connection ends, by whichever thread; the first reason counts.
    pub(super) fn end(&mut self, net: &mut Net, peer: PeerId, reason: Reason) {
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        if let Some(on) = net.link(end.link).and_then(|link| link.host(end.side.other())) {
            net.note(self.host, Note::HungUp { on, reason: reason.clone() });
        }
        if net.trace.has_lines() {
            net.trace.line(net.now, &format!("host {} ends link {} ({peer}): {reason}", self.host, end.link));
        }
        end.end(reason, net.now);
        self.write(net, peer);
    }

    /// Everything is said: the last of a connection.
    pub(super) fn close(&mut self, net: &mut Net, peer: PeerId) {
        let Some(end) = self.ends.remove(&peer) else { return };
        net.shut(end.link, end.side);
        let reason = end.ending.map_or(Reason::Closed, |(reason, _)| reason);
        if end.is_open {
            self.desk.inbox(Event::Closed { peer, reason }, None);
        } else if let Some(target) = end.target {
            self.desk.inbox(Event::DialFailed { target, reason }, None);
        }
    }

    /// Everybody is told that we stop; what they have not read by then, they may still read.
    pub(super) fn end_all(&mut self, net: &mut Net) {
        let peers: Vec<PeerId> = self.ends.keys().copied().collect();
        for peer in peers {
            self.end(net, peer, Reason::Stopping);
            self.close(net, peer);
        }
    }

    /// The process is gone: each connection breaks, or vanishes where the power failed.
    pub(crate) fn die(self, net: &mut Net, power: bool) -> Option<Box<dyn Vice>> {
        for end in self.ends.values() {
            if power {
                net.vanish(end.link, end.side);
            } else {
                net.reset(end.link);
                net.shut(end.link, end.side);
            }
        }
        self.vice
    }
}
