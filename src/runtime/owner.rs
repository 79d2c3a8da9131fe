//! The chain owner's loop. This thread alone changes the chain, and it never waits for a peer or for
//! the disk.
//!
//! Control comes first, then peers, then time. A tick is handled after those who were in the inbox
//! before it (no deadline passes for somebody whose answer is already here) and before those who came
//! after it (no flood keeps time from passing). A turn that was cut short goes on between two inputs.

use crossbeam_channel::{Receiver, after, never, select_biased};
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::blockchain::storage::StoreError;
use crate::network::p2p::{Input, P2PNode};
use crate::node::Node;
use crate::node::event::{Effect, Event};
use crate::node::report::{Level, Report};
use crate::primitives::chatter::Chatter;
use crate::primitives::time::Clock;
use crate::runtime::control::{Ask, Control, Status};
use crate::runtime::disk::DiskDesk;
use crate::runtime::miner::MinerDesk;

/// How often the node is told that time has passed.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Lines a minute of one kind that others can cause.
pub(crate) const LINES_PER_MINUTE: u32 = 100;

/// Everything that the owner's thread touches besides the node.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) control: Receiver<Control>,
    pub(crate) inbox: Receiver<Input>,
    pub(crate) ticks: Receiver<Instant>,
    pub(crate) network: P2PNode,
    pub(crate) disk: DiskDesk,
    /// `None`: nobody mines here.
    pub(crate) miner: Option<MinerDesk>,
    pub(crate) clock: Clock,
    pub(crate) queue: Queue,
    /// Holds back lines that others can cause.
    pub(crate) chatter: Chatter<(log::Level, Discriminant<Report>)>,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Queue {
    /// A tick has come; so many were in the inbox before it.
    before_tick: Option<usize>,
    /// The last thing that was done was to go on with a turn.
    continued: bool,
}

impl Default for Queue {
    /// Time has always passed when a node starts: whom to dial is decided at once.
    fn default() -> Self {
        Self { before_tick: Some(0), continued: false }
    }
}

/// What to do next.
enum Next {
    Event(Event),
    Generate(u32),
    Answer(Ask),
    Stop,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(mut node: Node, mut ports: Ports) -> Result<(), StoreError> {
    loop {
        let event = match ports.next(node.has_more()) {
            Next::Event(event) => event,
            Next::Generate(count) => {
                ports.generate(count);
                continue;
            }
            Next::Answer(ask) => {
                answer(&node, ask);
                continue;
            }
            Next::Stop => break,
        };
        for effect in node.step(ports.clock.now(), event)? {
            ports.perform(effect); // never waits: a peer that cannot keep up is hung up on
        }
        ports.network.handled();
    }
    for effect in node.close() {
        ports.perform(effect);
    }
    ports.network.close();
    Ok(())
}

fn answer(node: &Node, ask: Ask) {
    match ask {
        Ask::Status(reply) => {
            let status = Status { tip: *node.chain().tip(), peers: node.peers().len(), is_busy: node.has_more() };
            // Whoever asked may have gone.
            let _ = reply.try_send(status);
        }
    }
}

impl Ports {
    /// Waits for the next thing to do; `busy`: a turn was cut short and goes on.
    fn next(&mut self, busy: bool) -> Next {
        if let Some(input) = self.network.take_stillborn() {
            return Next::Event(self.network.admit(input));
        }
        if busy && !self.queue.continued && self.control.is_empty() {
            self.queue.continued = true;
            return Next::Event(Event::Continue);
        }
        self.queue.continued = false;
        let go_on = if busy { after(Duration::ZERO) } else { never() };
        loop {
            if self.queue.before_tick == Some(0) {
                self.queue.before_tick = None;
                return Next::Event(Event::Tick);
            }
            select_biased! {
                recv(self.control) -> control => return control.map_or(Next::Stop, next_of), // every sender is gone
                recv(self.ticks) -> _ => self.queue.before_tick = Some(self.inbox.len()),
                recv(self.inbox) -> input => {
                    let Ok(input) = input else { return Next::Stop };
                    self.queue.before_tick = self.queue.before_tick.map(|before| before - 1);
                    return Next::Event(self.network.admit(input));
                }
                recv(go_on) -> _ => return Next::Event(Event::Continue),
            }
        }
    }

    /// Does what the node wants done.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { peer, message } => self.network.send(peer, &message),
            Effect::Ask { peer, asked, message } => self.network.ask(peer, asked, &message),
            Effect::BroadcastBlock { peers, block } => self.network.broadcast_block(&peers, &block),
            Effect::HangUp { peer, reason } => self.network.hang_up(peer, reason),
            Effect::Dial { target } => self.network.dial(target),
            Effect::Refuse { ip, until } => self.network.refuse(ip, until),
            Effect::Sync { upto } => self.disk.sync(upto),
            Effect::Checkpoint { tip, ledger } => self.disk.checkpoint(tip, ledger),
            Effect::Save { file, bytes } => self.disk.save(file, bytes),
            Effect::Mine { template } => {
                if let Some(miner) = &self.miner {
                    miner.publish(template.map(|template| *template));
                }
            }
            Effect::Tell(report) => self.tell(&report),
        }
    }

    /// A line in the log, unless there were many like it lately.
    fn tell(&mut self, report: &Report) {
        let level = match report.level() {
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        if report.is_ours() {
            return log::log!(level, "{report}");
        }
        match self.chatter.admit((level, discriminant(report)), self.clock.now().mono) {
            Some(0) => log::log!(level, "{report}"),
            Some(more) => log::log!(level, "{report} (and {more} lines like it were left out)"),
            None => {}
        }
    }

    fn generate(&self, count: u32) {
        match &self.miner {
            Some(miner) => miner.generate(count),
            None => log::warn!("asked for {count} blocks, but no key is known that they could pay"),
        }
    }
}

fn next_of(control: Control) -> Next {
    match control {
        // The reason waits where the thread is joined.
        Control::Stop | Control::DiskFailed => Next::Stop,
        Control::Event(event) => Next::Event(event),
        Control::Generate { count } => Next::Generate(count),
        Control::Ask(ask) => Next::Answer(ask),
    }
}
