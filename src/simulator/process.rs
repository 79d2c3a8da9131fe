//! A running node: the core, and in place of its threads one function for what each of them does.
//!
//! The owner takes one event at a time and is busy with it for a while, so that inboxes fill, credits run
//! out and turns are cut short as they are between threads. The disk and the verifier answer after a while.
//! What is not shared with the real node is the order in which threads run, and that is what is drawn.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::disk::{self, Disk};
use crate::blockchain::storage::{StoreError, Syncer, checkpoint};
use crate::node::event::{Asked, Effect, Event, PeerId, Target};
use crate::node::message::{Hello, Message};
use crate::node::reason::Reason;
use crate::node::serve::Server;
use crate::node::session::{Output, Session, SessionConfig};
use crate::node::{Node, NodeConfig};
use crate::primitives::time::{Now, Wall};
use crate::simulator::clock::Clock;
use crate::simulator::desk::Desk;
use crate::simulator::end::{End, Frame};
use crate::simulator::link::Side;
use crate::simulator::miner::Miner;
use crate::simulator::net::{Happening, Host, Life, LinkId, Net, Note};
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// Connections from others.
pub const INBOUND_MAX: usize = 32;
/// The same from one address.
pub const INBOUND_PER_IP: usize = 4;
/// A connection that does not come about is given up after this.
pub const CONNECT_MS: u64 = 3_000;
/// What verifying one signature takes.
const SIGNATURE_US: u64 = 50;

/// How fast a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What the owner takes for an event.
    pub(crate) turn_us: u64,
    /// What the disk takes for a sync.
    pub(crate) sync_us: u64,
    /// How often the node is told that time has passed: a quarter of a second, or later where that was busy.
    pub(crate) tick_us: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Process {
    host: Host,
    life: Life,
    config: NodeConfig,
    session: SessionConfig,
    clock: Clock,
    pace: Pace,
    node: Node,
    server: Server,
    syncer: Syncer,
    disk: Arc<dyn Disk>,
    desk: Desk,
    ends: BTreeMap<PeerId, End>,
    next_peer: u64,
    /// Addresses that are sent away at the door.
    refused: BTreeMap<IpAddr, Wall>,
    /// Batches whose signatures are being checked.
    verifying: VecDeque<Vec<ReadTx>>,
    /// When the owner is free again, and whether it is called then.
    busy_until: crate::simulator::queue::At,
    is_called: bool,
    pub(crate) miner: Miner,
    vice: Option<Box<dyn Vice>>,
}

/// What a process is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) host: Host,
    pub(crate) life: Life,
    pub(crate) config: NodeConfig,
    pub(crate) session: SessionConfig,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    pub(crate) miner: Miner,
    pub(crate) vice: Option<Box<dyn Vice>>,
}

impl Process {
    /// Opens the chain on this disk; the first tick is planned.
    pub(crate) fn start(start: Start, disk: Arc<dyn Disk>, net: &mut Net) -> Result<Self, StoreError> {
        let Start { host, life, config, session, clock, pace, miner, vice } = start;
        let (node, _) = Node::open(config.clone(), &disk, &mut |_| {})?;
        let in_us = net.chance.between(0, pace.tick_us);
        net.plan(in_us, Happening::Tick(host, life));
        Ok(Self {
            server: Server::new(node.reader()),
            syncer: node.syncer(),
            host,
            life,
            config,
            session,
            clock,
            pace,
            node,
            disk,
            desk: Desk::default(),
            ends: BTreeMap::new(),
            next_peer: 0,
            refused: BTreeMap::new(),
            verifying: VecDeque::new(),
            busy_until: net.now,
            is_called: false,
            miner,
            vice,
        })
    }

    /// Where it runs.
    pub(crate) fn host(&self) -> Host {
        self.host
    }

    /// The node, to look at.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Whether this is its number for this link.
    pub(crate) fn has(&self, peer: PeerId, link: LinkId) -> bool {
        self.ends.get(&peer).is_some_and(|end| end.link == link)
    }

    /// Its connections, to look at.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &End> {
        self.ends.values()
    }

    /// The most events that ever waited for the owner.
    pub(crate) fn inbox_most(&self) -> usize {
        self.desk.most()
    }

    /// Whether the owner and everybody who works for it rest.
    pub(crate) fn rests(&self) -> bool {
        self.desk.is_clear(self.node.has_more()) && self.verifying.is_empty()
    }

    /// Somebody has set the clock.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    fn now(&self, net: &Net) -> Now {
        self.clock.now(net.now)
    }

    fn hello(&self) -> Hello {
        let hello = self.config.hello(&self.node.reader());
        match &self.vice {
            Some(vice) => vice.greets(hello),
            None => hello,
        }
    }

    // --- the owner ---

    /// Lets the owner work if it is free; else it is called when it is.
    fn run(&mut self, net: &mut Net) -> Result<(), StoreError> {
        while !self.is_called && !self.desk.is_clear(self.node.has_more()) {
            if net.now < self.busy_until {
                self.is_called = true;
                net.queue.push(self.busy_until, Happening::Turn(self.host, self.life));
            } else {
                self.take_turn(net)?;
            }
        }
        Ok(())
    }

    fn take_turn(&mut self, net: &mut Net) -> Result<(), StoreError> {
        let Some((event, credit)) = self.desk.next(self.node.has_more()) else { return Ok(()) };
        if net.trace.has_lines() && event != Event::Tick {
            net.trace.line(net.now, &format!("host {} takes {}", self.host, brief(&event)));
        }
        let effects = self.node.step(self.now(net), event)?;
        self.busy_until = net.now.after_us(self.pace.turn_us);
        for effect in effects {
            self.perform(net, effect)?;
        }
        if let Some(peer) = credit {
            self.give_credit(net, peer);
        }
        Ok(())
    }

    /// The owner is free.
    pub(crate) fn on_turn(&mut self, net: &mut Net) -> Result<(), StoreError> {
        self.is_called = false;
        self.run(net)
    }

    /// Some time has passed.
    pub(crate) fn on_tick(&mut self, net: &mut Net) -> Result<(), StoreError> {
        net.plan(self.pace.tick_us, Happening::Tick(self.host, self.life));
        self.desk.tick();
        let (now, mono) = (net.now, self.now(net).mono);
        let (mut late, mut over) = (Vec::new(), Vec::new());
        for end in self.ends.values() {
            if end.is_over(now) {
                over.push(end.peer);
            } else if let Err(reason) = end.on_time(now, mono) {
                late.push((end.peer, reason));
            }
        }
        for (peer, reason) in late {
            self.end(net, peer, reason);
        }
        for peer in over {
            self.close(net, peer);
        }
        self.tempt(net, Deed::Waits);
        self.run(net)
    }

    /// Something from a thread of our own.
    pub(crate) fn tell(&mut self, net: &mut Net, event: Event) -> Result<(), StoreError> {
        self.desk.control(event);
        self.run(net)
    }

    fn perform(&mut self, net: &mut Net, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Send { peer, message } => self.say(net, peer, None, &message),
            Effect::Ask { peer, asked, message } => self.say(net, peer, Some(asked), &message),
            Effect::BroadcastBlock { peers, block } => self.broadcast(net, &peers, &Message::NewBlock(block)),
            Effect::BroadcastTx { peers, ids } => {
                self.broadcast(net, &peers, &Message::NewTx(crate::primitives::codec::List::first_of(ids)));
            }
            Effect::Verify { transactions } => {
                let signatures: usize = transactions.iter().map(ReadTx::signatures).sum();
                self.verifying.push_back(transactions);
                net.plan(signatures as u64 * SIGNATURE_US, Happening::Verified(self.host, self.life));
            }
            Effect::HangUp { peer, reason } => self.end(net, peer, reason),
            Effect::Dial { target } => net.dial(self.host, self.life, target, CONNECT_MS),
            Effect::Refuse { ip, until: Some(until) } => drop(self.refused.insert(ip, until)),
            Effect::Refuse { ip, until: None } => drop(self.refused.remove(&ip)),
            Effect::Sync { upto } => net.plan(self.pace.sync_us, Happening::Synced(self.host, self.life, upto)),
            Effect::Checkpoint { tip, ledger } => {
                let identity = self.node.chain().store().identity();
                checkpoint::write(&*self.disk, &identity, tip, &ledger, &mut || true)?;
                self.desk.control(Event::Checkpointed { tip });
            }
            Effect::Save { file, bytes } => {
                let path = self.disk.path(file);
                disk::replace(&*self.disk, file, &bytes).map_err(StoreError::io("replace", path))?;
            }
            Effect::Mine { template } => self.miner.take(net, (self.host, self.life), template),
            // Nobody asks for blocks at once here.
            Effect::Generate { .. } => {}
            Effect::Tell(report) => {
                if net.trace.has_lines() {
                    net.trace.line(net.now, &format!("host {} says: {report}", self.host));
                }
                net.note(self.host, Note::Told(report));
            }
        }
        Ok(())
    }

    // --- the disk, the verifier, the miner ---

    /// The disk has had its time.
    pub(crate) fn on_synced(&mut self, net: &mut Net, upto: u64) -> Result<(), StoreError> {
        self.syncer.sync(upto)?;
        self.tell(net, Event::Durable { upto })
    }

    /// The oldest batch of signatures is checked.
    pub(crate) fn on_verified(&mut self, net: &mut Net) -> Result<(), StoreError> {
        let batch = self.verifying.pop_front().expect("one of these is planned for each batch");
        let verdicts = ReadTx::verified_all(batch, &self.session.verifier);
        self.tell(net, Event::Verified { verdicts })
    }

    /// The miner's search has come to its end.
    pub(crate) fn on_found(&mut self, net: &mut Net) -> Result<(), StoreError> {
        let now = self.now(net);
        self.miner.search_on(net, (self.host, self.life));
        let Some((template, header)) = self.miner.draft(now.wall) else { return Ok(()) };
        if self.tempt(net, Deed::Finds(&template, header)) {
            return self.run(net);
        }
        let block = self.miner.seal(&template, header);
        self.take_block(net, block)
    }

    fn take_block(&mut self, net: &mut Net, block: CheckedBlock) -> Result<(), StoreError> {
        net.note(self.host, Note::Found { id: block.id() });
        self.tell(net, Event::Mined { block: Box::new(block) })
    }

    // --- peers: how they come ---

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
        Some(self.attach(net, link, Side::Called, None))
    }

    /// A dial of ours got through.
    pub(crate) fn attach(&mut self, net: &Net, link: LinkId, side: Side, target: Option<Target>) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let direction = if side == Side::Caller {
            crate::node::event::Direction::Outbound
        } else {
            crate::node::event::Direction::Inbound
        };
        let session = Session::new(self.session.clone(), peer, direction, self.hello(), self.now(net).mono);
        self.ends.insert(peer, End::new(link, side, peer, target, session));
        peer
    }

    /// Whoever dialled speaks first.
    pub(crate) fn open(&mut self, net: &mut Net, peer: PeerId) {
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

    // --- peers: what they say ---

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

    fn give_credit(&mut self, net: &mut Net, peer: PeerId) {
        let mono = self.now(net).mono;
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        if let Some(event) = end.take_credit(mono) {
            self.desk.inbox(event, Some(peer));
            self.read(net, peer);
        }
    }

    // --- peers: what we say ---

    fn say(&mut self, net: &mut Net, peer: PeerId, asked: Option<Asked>, message: &Message) {
        let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) else { return };
        if let Some(asked) = asked {
            end.session.note(asked);
        }
        if !self.tempt(net, Deed::Says(peer, message)) {
            self.push(net, peer, message.to_frame().into());
        }
    }

    /// News for several; who has no room for it goes without.
    fn broadcast(&mut self, net: &mut Net, peers: &[PeerId], message: &Message) {
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
    fn push(&mut self, net: &mut Net, peer: PeerId, frame: Frame) {
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

    // --- peers: how they go ---

    /// The connection ends, by whichever thread; the first reason counts.
    fn end(&mut self, net: &mut Net, peer: PeerId, reason: Reason) {
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
    fn close(&mut self, net: &mut Net, peer: PeerId) {
        let Some(end) = self.ends.remove(&peer) else { return };
        net.shut(end.link, end.side);
        let reason = end.ending.map_or(Reason::Closed, |(reason, _)| reason);
        if end.is_open {
            self.desk.inbox(Event::Closed { peer, reason }, None);
        } else if let Some(target) = end.target {
            self.desk.inbox(Event::DialFailed { target, reason }, None);
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

    /// Something of our own to a wallet's node: it talks to us as a program on the same machine does.
    pub(crate) fn submit(&mut self, net: &mut Net, transaction: ReadTx) -> Result<(), StoreError> {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let hello = Hello { nonce: u64::MAX - peer.0, listen_port: 0, height: 0, work: 0, ..self.hello() };
        let direction = crate::node::event::Direction::Inbound;
        self.desk.inbox(Event::Connected { peer, direction, address, target: None, hello: Box::new(hello) }, None);
        self.desk.inbox(Event::SubmitTx { peer, transaction: Box::new(transaction) }, None);
        self.desk.inbox(Event::Closed { peer, reason: Reason::Closed }, None);
        self.run(net)
    }

    // --- vice ---

    /// Whether a vicious node does something else than this.
    fn tempt(&mut self, net: &mut Net, deed: Deed) -> bool {
        let Some(mut vice) = self.vice.take() else { return false };
        let peers: Vec<PeerId> =
            self.ends.values().filter(|end| end.is_open && end.ending.is_none()).map(|end| end.peer).collect();
        let mut scene =
            Scene { node: &self.node, now: self.now(net), peers: &peers, chance: &mut net.chance, miner: &self.miner };
        let reaction = vice.react(deed, &mut scene);
        self.vice = Some(vice);
        let Reaction::Instead(acts) = reaction else { return false };
        for act in acts {
            self.act(net, act);
        }
        true
    }

    fn act(&mut self, net: &mut Net, act: Act) {
        match act {
            Act::Send(peer, frame) => self.push(net, peer, frame),
            Act::Take(block) => {
                net.note(self.host, Note::Found { id: block.id() });
                self.desk.control(Event::Mined { block });
            }
            Act::Deafen(peer) => {
                if let Some(end) = self.ends.get_mut(&peer) {
                    end.is_deaf = true;
                }
            }
        }
    }
}

/// An event in a line of the trace.
fn brief(event: &Event) -> String {
    let text = format!("{event:?}");
    text.chars().take(100).collect()
}
