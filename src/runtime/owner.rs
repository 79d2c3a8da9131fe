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
use crate::runtime::verify::VerifyDesk;

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
    pub(crate) verify: VerifyDesk,
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

/// Whose turn it is, with what it brings.
#[derive(Debug)]
enum Picked<T> {
    Control(Control),
    Input(T),
    Tick,
    Continue,
    /// Every sender is gone.
    End,
}

impl Queue {
    /// Waits for whoever is next; `busy`: a turn was cut short and goes on between two others.
    fn next<T>(
        &mut self,
        control: &Receiver<Control>,
        inbox: &Receiver<T>,
        ticks: &Receiver<Instant>,
        busy: bool,
    ) -> Picked<T> {
        if busy && !self.continued && control.is_empty() {
            self.continued = true;
            return Picked::Continue;
        }
        self.continued = false;
        let go_on = if busy { after(Duration::ZERO) } else { never() };
        loop {
            if self.before_tick == Some(0) {
                self.before_tick = None;
                return Picked::Tick;
            }
            select_biased! {
                recv(control) -> control => return control.map_or(Picked::End, Picked::Control),
                // A tick that is waiting already is not put off by the next one: time must pass in a flood.
                recv(ticks) -> _ => self.before_tick = self.before_tick.or(Some(inbox.len())),
                recv(inbox) -> input => {
                    self.before_tick = self.before_tick.map(|before| before - 1);
                    return input.map_or(Picked::End, Picked::Input);
                }
                recv(go_on) -> _ => return Picked::Continue,
            }
        }
    }
}

/// What to do next.
enum Next {
    Event(Event),
    Answer(Ask),
    Stop,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(mut node: Node, mut ports: Ports) -> Result<(), StoreError> {
    loop {
        let event = match ports.next(node.has_more()) {
            Next::Event(event) => event,
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
    for effect in node.close(ports.clock.now()) {
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
        match self.queue.next(&self.control, &self.inbox, &self.ticks, busy) {
            Picked::Control(control) => next_of(control),
            Picked::Input(input) => Next::Event(self.network.admit(input)),
            Picked::Tick => Next::Event(Event::Tick),
            Picked::Continue => Next::Event(Event::Continue),
            Picked::End => Next::Stop,
        }
    }

    /// Does what the node wants done.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { peer, message } => self.network.send(peer, &message),
            Effect::Ask { peer, asked, message } => self.network.ask(peer, asked, &message),
            Effect::BroadcastBlock { peers, block } => self.network.broadcast_block(&peers, &block),
            Effect::BroadcastTx { peers, ids } => self.network.broadcast_tx(&peers, ids),
            Effect::Verify { transactions } => self.verify.verify(transactions),
            Effect::HangUp { peer, reason } => self.network.hang_up(peer, reason),
            Effect::Dial { target } => self.network.dial(target),
            Effect::Refuse { ip, until } => self.network.refuse(ip, until),
            Effect::Sync { upto } => self.disk.sync(upto),
            Effect::Checkpoint { tip, ledger } => self.disk.checkpoint(tip, ledger),
            Effect::Save { file, bytes } => self.disk.save(file, bytes),
            Effect::Mine { template } => {
                if let Some(miner) = &self.miner {
                    miner.publish(template);
                }
            }
            Effect::Generate { count } => self.generate(count),
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
        Control::Ask(ask) => Next::Answer(ask),
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    /// Goal: time passes however slowly the owner handles what never ends, and those who were there before
    /// a tick are heard before it. Method: an inbox that is filled up after each input, and a new tick
    /// after each too, as if each took longer than the time between two ticks; no clock.
    #[test]
    fn a_flood_that_is_handled_slowly_does_not_stop_time() {
        const PLACES: usize = 10;
        let (_control, controls) = bounded(1);
        let (sender, inbox) = bounded(PLACES);
        let (ticker, ticks) = bounded(1);
        let mut queue = Queue { before_tick: None, continued: false };
        (0..PLACES).for_each(|n| sender.send(n).expect("room"));
        let mut since_tick = 0;
        let mut ticked = 0;
        for n in PLACES..100 * PLACES {
            // Full if the one before has not been taken, as with a real ticker.
            let _ = ticker.try_send(Instant::now());
            match queue.next(&controls, &inbox, &ticks, false) {
                Picked::Input(_) => {
                    since_tick += 1;
                    sender.send(n).expect("one was taken");
                }
                Picked::Tick => {
                    assert_eq!(since_tick, PLACES, "as many as were there before it");
                    (since_tick, ticked) = (0, ticked + 1);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ticked, 90);
    }
}
