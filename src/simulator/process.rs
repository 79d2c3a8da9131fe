//! A running node: the core, and in place of its threads one function for what each of them does.
//!
//! The owner takes one event at a time and is busy with it for a while, so that inboxes fill, credits run
//! out and turns are cut short as they are between threads. The disk and the verifier answer after a while.
//! What is not shared with the real node is the order in which threads run, and that is what is drawn.
//! `peers` does what readers and writers do.

mod peers;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::disk::{self, Disk};
use crate::blockchain::storage::{CHECKPOINT, StoreError, Syncer, checkpoint};
use crate::node::event::{Effect, Event, PeerId};
use crate::node::message::{Hello, Message};
use crate::node::orders::{Order, Ticket};
use crate::node::serve::Server;
use crate::node::session::SessionConfig;
use crate::node::{Node, NodeConfig};
use crate::primitives::codec::List;
use crate::primitives::time::{Now, Wall};
use crate::simulator::clock::Clock;
use crate::simulator::desk::Desk;
use crate::simulator::end::End;
use crate::simulator::miner::Miner;
use crate::simulator::net::{Happening, Host, Life, LinkId, Net, Note};
use crate::simulator::queue::At;
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
    next_ticket: u64,
    /// Addresses that are sent away at the door.
    refused: BTreeMap<IpAddr, Wall>,
    /// Batches whose signatures are being checked.
    verifying: VecDeque<Vec<ReadTx>>,
    /// When the owner is free again, and whether it is called then.
    busy_until: At,
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
        if let Err(error) = checkpoint::clean(&*disk) {
            net.trace.line(net.now, &format!("host {host} cannot remove what was left: {error}"));
        }
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
            next_ticket: 0,
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
            self.perform(net, effect);
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

    fn perform(&mut self, net: &mut Net, effect: Effect) {
        net.effects.count(&effect);
        match effect {
            Effect::Send { peer, message } => self.say(net, peer, None, &message),
            Effect::Ask { peer, asked, message } => self.say(net, peer, Some(asked), &message),
            Effect::BroadcastBlock { peers, block } => self.broadcast(net, &peers, &Message::NewBlock(block)),
            Effect::BroadcastTx { peers, ids } => {
                self.broadcast(net, &peers, &Message::NewTx(List::first_of(ids)));
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
                // A cache, as small files are: the node goes on without.
                let written = checkpoint::write(&*self.disk, &identity, tip, &ledger, &mut || true);
                self.warn(net, CHECKPOINT, written.map(drop).map_err(|error| error.cause()));
                self.desk.control(Event::Checkpointed { tip });
            }
            Effect::Save { file, bytes } => {
                let saved = disk::replace(&*self.disk, file, &bytes);
                self.warn(net, file, saved.map_err(|error| error.to_string()));
            }
            Effect::Mine { template } => self.miner.take(net, (self.host, self.life), template),
            // Nobody asks for blocks at once here.
            Effect::Generate { .. } | Effect::Miners { .. } | Effect::Answer { .. } => {}
            Effect::Tell(report) => {
                net.trace.report(self.host, &report);
                if net.trace.has_lines() {
                    net.trace.line(net.now, &format!("host {} says: {report}", self.host));
                }
                net.note(self.host, Note::Told(report));
            }
        }
    }

    /// Something could not be saved that a node can do without.
    fn warn(&self, net: &mut Net, file: &str, saved: Result<(), String>) {
        if let Err(cause) = saved
            && net.trace.has_lines()
        {
            net.trace.line(net.now, &format!("host {} cannot save {file}: {cause}", self.host));
        }
    }

    /// It is told to stop, and does all that is to be done then; gives the vice for its next life.
    pub(crate) fn stop(mut self, net: &mut Net) -> (Option<Box<dyn Vice>>, Result<(), StoreError>) {
        let effects = self.node.close(self.now(net));
        let stopped = effects.into_iter().try_for_each(|effect| match effect {
            Effect::Sync { upto } => self.syncer.sync(upto),
            effect => {
                self.perform(net, effect);
                Ok(())
            }
        });
        self.end_all(net);
        (self.vice, stopped)
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
        net.note(self.host, Note::Found { id: block.id(), bytes: block.bytes().len() });
        self.tell(net, Event::Mined { block: Box::new(block) })
    }

    // --- people ---

    /// A transaction that somebody hands in, as by RPC. What becomes of it the chain tells.
    pub(crate) fn submit(&mut self, net: &mut Net, transaction: ReadTx) -> Result<(), StoreError> {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.desk.inbox(Event::Order { ticket, order: Order::Submit(Box::new(transaction)) }, None);
        self.run(net)
    }

    // --- vice ---

    /// Whether a vicious node does something else than this.
    fn tempt(&mut self, net: &mut Net, deed: Deed) -> bool {
        let Some(mut vice) = self.vice.take() else { return false };
        let peers: Vec<PeerId> =
            self.ends.values().filter(|end| end.is_open && end.ending.is_none()).map(|end| end.peer).collect();
        let (node, now, accomplices) = (&self.node, self.now(net), Arc::clone(&net.accomplices));
        let accomplices = &*accomplices;
        let mut scene = Scene { node, now, peers: &peers, chance: &mut net.chance, miner: &self.miner, accomplices };
        let reaction = vice.react(deed, &mut scene);
        self.vice = Some(vice);
        let Reaction::Instead(acts) = reaction else { return false };
        net.misdeeds[self.host] += 1;
        for act in acts {
            self.act(net, act);
        }
        true
    }

    fn act(&mut self, net: &mut Net, act: Act) {
        match act {
            Act::Send(peer, frame) => self.push(net, peer, frame),
            Act::Pour(peer, frame) => {
                if let Some(end) = self.ends.get_mut(&peer).filter(|end| end.ending.is_none()) {
                    end.pour(frame);
                    self.write(net, peer);
                }
            }
            Act::Take(block) => {
                net.note(self.host, Note::Found { id: block.id(), bytes: block.bytes().len() });
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
