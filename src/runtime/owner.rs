//! The chain owner's loop. This thread alone changes the chain, and it never waits for a peer or for
//! the disk.
//!
//! Control comes first, then peers and those who ask, one after the other, then time. A tick is handled after those who
//! were in the inbox before it (no deadline passes for somebody whose answer is already here) and before those who came
//! after it (no flood keeps time from passing). A turn that was cut short goes on between two inputs.

use crossbeam_channel::{Receiver, RecvError, after, never, select_biased};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blockchain::storage::StoreError;
use crate::network::p2p::{Input, P2PNode};
use crate::node::Node;
use crate::node::event::{Effect, Event};
use crate::node::report::{Level, Report};
use crate::primitives::chatter::Chatter;
use crate::primitives::time::Clock;
use crate::runtime::control::Control;
use crate::runtime::disk::DiskDesk;
use crate::runtime::handle::{self, Ask, Board, Mining, Tickets, View};
use crate::runtime::index::IndexDesk;
use crate::runtime::miner::MinerDesk;
use crate::runtime::trail::Tracker;
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
    pub(crate) asks: Receiver<Ask>,
    pub(crate) ticks: Receiver<Instant>,
    pub(crate) network: P2PNode,
    pub(crate) disk: DiskDesk,
    pub(crate) verify: VerifyDesk,
    pub(crate) miner: MinerDesk,
    pub(crate) clock: Clock,
    pub(crate) queue: Queue,
    pub(crate) tickets: Tickets,
    pub(crate) tracker: Tracker,
    pub(crate) board: Arc<Board>,
    pub(crate) index: IndexDesk,
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
    /// The last thing that was done was to answer somebody: now a peer is heard first.
    answered: bool,
}

impl Default for Queue {
    /// Time has always passed when a node starts: whom to dial is decided at once.
    fn default() -> Self {
        Self { before_tick: Some(0), continued: false, answered: false }
    }
}

/// Whose turn it is, with what it brings.
#[derive(Debug)]
enum Picked<T, A> {
    Control(Control),
    Input(T),
    Ask(A),
    Tick,
    Continue,
    /// Every sender is gone.
    End,
}

impl Queue {
    /// Waits for whoever is next; `busy`: a turn was cut short and goes on between two others.
    fn next<T, A>(
        &mut self,
        control: &Receiver<Control>,
        inbox: &Receiver<T>,
        asks: &Receiver<A>,
        ticks: &Receiver<Instant>,
        busy: bool,
    ) -> Picked<T, A> {
        if busy && !self.continued && control.is_empty() {
            self.continued = true;
            return Picked::Continue;
        }
        self.continued = false;
        let go_on = if busy { after(Duration::ZERO) } else { never() };
        let (nobody, answered) = (never(), std::mem::take(&mut self.answered));
        let asks_first = if answered { &nobody } else { asks };
        loop {
            if self.before_tick == Some(0) {
                self.before_tick = None;
                return Picked::Tick;
            }
            select_biased! {
                recv(control) -> control => return control.map_or(Picked::End, Picked::Control),
                // A tick that is waiting already is not put off by the next one: time must pass in a flood.
                recv(ticks) -> _ => self.before_tick = self.before_tick.or(Some(inbox.len())),
                recv(asks_first) -> ask => return self.ask(ask),
                recv(inbox) -> input => {
                    self.before_tick = self.before_tick.map(|before| before - 1);
                    return input.map_or(Picked::End, Picked::Input);
                }
                recv(go_on) -> _ => return Picked::Continue,
                recv(asks) -> ask => return self.ask(ask),
            }
        }
    }
}

/// What to do next.
enum Next {
    Event(Event),
    Look(handle::Look),
    Stop,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(mut node: Node, mut ports: Ports) -> Result<(), StoreError> {
    loop {
        let event = match ports.next(node.has_more()) {
            Next::Event(event) => event,
            Next::Look(look) => {
                let begun = Instant::now();
                look(&ports.view(&node));
                ports.board.looks().add(begun.elapsed());
                continue;
            }
            Next::Stop => break,
        };
        let (begun, now) = (Instant::now(), ports.clock.now());
        ports.tracker.begin(&event);
        for effect in node.step(now, event)? {
            ports.tracker.perform(&effect);
            ports.perform(effect); // never waits: a peer that cannot keep up is hung up on
        }
        ports.network.handled();
        let summary = node.summary(now);
        ports.board.publish(&summary);
        let durable_bytes = node.chain().store().durable_bytes();
        ports.index.tell(&summary, durable_bytes);
        ports.tracker.end(ports.board.trails(), &summary.tip, durable_bytes, (begun, now.wall));
        ports.board.turns().add(begun.elapsed());
    }
    for effect in node.close(ports.clock.now()) {
        ports.perform(effect);
    }
    ports.network.close();
    Ok(())
}

impl Queue {
    fn ask<T, A>(&mut self, ask: Result<A, RecvError>) -> Picked<T, A> {
        self.answered = true;
        // Whoever started the node holds a sender until the owner has ended.
        ask.map_or(Picked::End, Picked::Ask)
    }
}

impl Ports {
    /// Waits for the next thing to do; `busy`: a turn was cut short and goes on.
    fn next(&mut self, busy: bool) -> Next {
        if let Some(input) = self.network.take_stillborn() {
            return Next::Event(self.network.admit(input));
        }
        if let Some((ticket, order)) = self.tickets.withdrawal() {
            return Next::Event(Event::Order { ticket, order });
        }
        match self.queue.next(&self.control, &self.inbox, &self.asks, &self.ticks, busy) {
            Picked::Control(control) => next_of(control),
            Picked::Input(input) => {
                self.tracker.took(&input);
                Next::Event(self.network.admit(input))
            }
            Picked::Ask(Ask::Look(look)) => Next::Look(look),
            Picked::Ask(Ask::Order(order, reply)) => {
                Next::Event(Event::Order { ticket: self.tickets.draw(reply), order })
            }
            Picked::Tick => {
                self.tickets.look();
                let (hashes, hashes_per_s) = self.miner.hashes();
                self.board.publish_mining(Mining { threads: self.miner.threads(), hashes, hashes_per_s });
                Next::Event(Event::Tick)
            }
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
            Effect::Mine { template } => self.miner.publish(template),
            Effect::Miners { threads } => started(self.miner.mine(threads)),
            Effect::Generate { count } => started(self.miner.generate(count)),
            Effect::Answer { ticket, answer } => self.tickets.answer(ticket, answer),
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

    /// The node as it is between two turns.
    fn view<'a>(&'a self, node: &'a Node) -> View<'a> {
        let of = |name, waiting, capacity: Option<usize>| handle::Queue {
            name,
            waiting,
            capacity: capacity.expect("every channel of the owner's is bounded"),
        };
        let queues = vec![
            of("control", self.control.len(), self.control.capacity()),
            of("inbox", self.inbox.len(), self.inbox.capacity()),
            of("asks", self.asks.len(), self.asks.capacity()),
            self.verify.queue(),
            self.index.queue(),
            self.disk.queue(),
            self.miner.queue(),
        ];
        View { node, now: self.clock.now(), network: &self.network, queues }
    }
}

/// Miners that the system refuses a thread are a loss, and no reason to end.
fn started(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        log::error!("cannot start a mining thread: {error}");
    }
}

fn next_of(control: Control) -> Next {
    match control {
        // The reason waits where the thread is joined.
        Control::Stop | Control::DiskFailed => Next::Stop,
        Control::Event(event) => Next::Event(event),
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
        let (_asker, asks) = bounded::<()>(1);
        let mut queue = Queue { before_tick: None, ..Queue::default() };
        (0..PLACES).for_each(|n| sender.send(n).expect("room"));
        let mut since_tick = 0;
        let mut ticked = 0;
        for n in PLACES..100 * PLACES {
            // Full if the one before has not been taken, as with a real ticker.
            let _ = ticker.try_send(Instant::now());
            match queue.next(&controls, &inbox, &asks, &ticks, false) {
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

    /// Goal: whoever asks without end is answered, and keeps nobody waiting for more than one answer. Method: two
    /// channels that are never empty; then only the one.
    #[test]
    fn questions_and_peers_take_turns() {
        let (_control, controls) = bounded(1);
        let ((peer, inbox), (asker, asks)) = (bounded(1), bounded(1));
        let mut queue = Queue { before_tick: None, ..Queue::default() };
        let mut next = |peer_talks: bool| {
            let _ = asker.try_send("ask");
            if peer_talks {
                let _ = peer.try_send("peer");
            }
            match queue.next(&controls, &inbox, &asks, &never(), false) {
                Picked::Input(word) | Picked::Ask(word) => word,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([true; 4].map(&mut next), ["ask", "peer", "ask", "peer"]);
        assert_eq!([false; 2].map(&mut next), ["ask", "ask"]);
    }
}
