//! A hand on a running node, for whoever asks and whoever orders.
//!
//! What many ask often is read from the [`Board`], where the owner lays it down after each turn, and from the
//! chain's read side; neither costs the owner anything. For the rest there are [`Handle::look`], which lets a
//! function look at the node between two turns, and [`Handle::order`], which brings an event in and waits for its
//! answer. Both come in through a bounded channel of their own, from which the owner takes one between two of its
//! peers' events: however many ask, peers are not kept waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use parking_lot::Mutex;

use crate::blockchain::params::Params;
use crate::blockchain::storage::ReadHandle;
use crate::blockchain::tx_index::TxIndex;
use crate::network::p2p::{P2PNode, Traffic};
use crate::node::Node;
use crate::node::event::PeerId;
use crate::node::orders::{Answer, Order, Ticket};
use crate::node::summary::Summary;
use crate::primitives::keys::Verifier;
use crate::primitives::time::{Clock, Now};
use crate::runtime::StopHandle;
use crate::runtime::trail::Trails;

/// Questions and orders that wait for the owner; more wait in their own threads. 16 × 200 B, and what they carry:
/// a transaction or a block each.
pub(crate) const ASKS_MAX: usize = 16;
/// Orders whose answers are awaited. One for which nobody waits any more is withdrawn.
const TICKETS_MAX: usize = 64;
/// For the answer to a question: the owner's turns take milliseconds.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// A function that looks at the node and gives what it has seen to whoever waits.
pub(crate) type Look = Box<dyn FnOnce(&View<'_>) + Send>;

/// What the owner is asked.
pub(crate) enum Ask {
    /// Let this look.
    Look(Look),
    /// Do this, and tell.
    Order(Order, Reply),
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Look(_) => f.write_str("Look"),
            Self::Order(order, _) => order.fmt(f),
        }
    }
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(crate) struct Reply {
    answer: Sender<Answer>,
    /// Breaks when nobody waits any more.
    waits: Receiver<()>,
}

/// An order under way, in the hands of whoever gave it. Dropped before the answer has come, it withdraws the order.
#[derive(Debug)]
pub struct Waiting {
    answer: Receiver<Answer>,
    _waits: Sender<()>,
}

impl Waiting {
    fn new() -> (Reply, Self) {
        let ((answer, heard), (waits, gone)) = (bounded(1), bounded(0));
        (Reply { answer, waits: gone }, Self { answer: heard, _waits: waits })
    }

    /// What becomes of it comes through here, which breaks when the node ends.
    pub fn answer(&self) -> &Receiver<Answer> {
        &self.answer
    }
}

/// The node between two turns, to look at.
#[derive(Debug)]
pub struct View<'a> {
    /// Chain, pool, peers and addresses.
    pub node: &'a Node,
    /// The instant.
    pub now: Now,
    pub(crate) network: &'a P2PNode,
    pub(crate) queues: Vec<Queue>,
}

impl View<'_> {
    /// What goes over a connection and waits for it.
    pub fn traffic(&self, peer: PeerId) -> Option<Traffic> {
        self.network.traffic(peer)
    }

    /// The node's own channels; each connection's stand in its [`Traffic`].
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }
}

/// How full a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Whose it is.
    pub name: &'static str,
    /// What waits in it.
    pub waiting: usize,
    /// What it can hold.
    pub capacity: usize,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The node has ended, or is about to.
    #[error("the node is stopping")]
    Stopping,
    /// It is at something else, and has begun nothing of what was asked for.
    #[error("the node has been at something else for {limit_ms} ms; nothing was begun, so ask again in a moment")]
    Busy {
        /// The limit.
        limit_ms: u128,
    },
    /// It has heard the order and is not done with it.
    #[error("there is no answer within {limit_ms} ms; what was asked for may still come about")]
    Late {
        /// The limit.
        limit_ms: u128,
    },
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) asks: Sender<Ask>,
    pub(crate) reader: ReadHandle,
    pub(crate) index: Arc<TxIndex>,
    pub(crate) board: Arc<Board>,
    pub(crate) params: Arc<Params>,
    pub(crate) verifier: Verifier,
    pub(crate) stop: StopHandle,
    pub(crate) clock: Clock,
}

impl Handle {
    /// The network.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The read side of the chain.
    pub fn reader(&self) -> &ReadHandle {
        &self.reader
    }

    /// Finds transactions in blocks.
    pub fn index(&self) -> &TxIndex {
        &self.index
    }

    /// How the node was after its last turn.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Checks signatures on the caller's own thread.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The node's clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Asks the node to stop.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Lets a function look at the node between two turns. The owner waits for it, so it copies what it needs and
    /// nothing more.
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (reply, answer) = bounded(1);
        let look: Look = Box::new(move |view| {
            // Whoever asked may have given up.
            let _ = reply.try_send(look(view));
        });
        // To look is to begin nothing.
        let looked = self.send(Ask::Look(look), &answer, LOOK_LIMIT);
        looked.map_err(|error| match error {
            HandleError::Late { limit_ms } => HandleError::Busy { limit_ms },
            other => other,
        })
    }

    /// Gives an order, and waits for what becomes of it.
    pub fn order(&self, order: Order, limit: Duration) -> Result<Answer, HandleError> {
        let (reply, waiting) = Waiting::new();
        self.send(Ask::Order(order, reply), &waiting.answer, limit)
    }

    /// Gives an order and does not wait, for whoever has to look at something else meanwhile.
    pub fn give(&self, order: Order, limit: Duration) -> Result<Waiting, HandleError> {
        let (reply, waiting) = Waiting::new();
        self.bring(Ask::Order(order, reply), Instant::now() + limit, limit)?;
        Ok(waiting)
    }

    fn bring(&self, ask: Ask, until: Instant, limit: Duration) -> Result<(), HandleError> {
        let busy = HandleError::Busy { limit_ms: limit.as_millis() };
        let sent = self.asks.send_deadline(ask, until);
        sent.map_err(|error| if error.is_timeout() { busy } else { HandleError::Stopping })
    }

    fn send<T>(&self, ask: Ask, answer: &Receiver<T>, limit: Duration) -> Result<T, HandleError> {
        let until = Instant::now() + limit;
        let late = HandleError::Late { limit_ms: limit.as_millis() };
        self.bring(ask, until, limit)?;
        answer.recv_deadline(until).map_err(|error| match error {
            RecvTimeoutError::Timeout => late,
            RecvTimeoutError::Disconnected => HandleError::Stopping,
        })
    }
}

/// Orders under way, and who waits for each.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    next: u64,
    waiting: BTreeMap<Ticket, Reply>,
    /// Whose answers nobody waits for; the node has not heard of it yet.
    given_up: Vec<Ticket>,
}

impl Tickets {
    pub(crate) fn draw(&mut self, reply: Reply) -> Ticket {
        if self.waiting.len() >= TICKETS_MAX
            && let Some((oldest, _)) = self.waiting.pop_first()
        {
            self.given_up.push(oldest);
        }
        let ticket = self.fresh();
        self.waiting.insert(ticket, reply);
        ticket
    }

    fn fresh(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }

    /// Looks who does not wait any more.
    pub(crate) fn look(&mut self) {
        let gone = |reply: &Reply| reply.waits.try_recv() == Err(TryRecvError::Disconnected);
        let gone = self.waiting.extract_if(.., |_, reply| gone(reply));
        self.given_up.extend(gone.map(|(ticket, _)| ticket));
    }

    /// An order that withdraws one that nobody waits for, with its own ticket.
    pub(crate) fn withdrawal(&mut self) -> Option<(Ticket, Order)> {
        let given_up = self.given_up.pop()?;
        Some((self.fresh(), Order::Withdraw(given_up)))
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&ticket) {
            // Whoever asked may have given up.
            let _ = reply.answer.try_send(answer);
        }
    }
}

/// Where the owner lays down how the node is.
#[derive(Debug)]
pub struct Board {
    state: Mutex<(Summary, Mining)>,
    turns: Turns,
    looks: Turns,
    trails: Trails,
    started: Now,
}

/// How the node mines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mining {
    /// Threads that mine at all times.
    pub threads: usize,
    /// Hashes tried since the start.
    pub hashes: u64,
    /// Hashes in a second, of late.
    pub hashes_per_s: u64,
}

impl Board {
    pub(crate) fn new(summary: &Summary, started: Now) -> Self {
        Self {
            state: Mutex::new((*summary, Mining::default())),
            turns: Turns::default(),
            looks: Turns::default(),
            trails: Trails::default(),
            started,
        }
    }

    /// How the node was after its last turn.
    pub fn summary(&self) -> Summary {
        self.state.lock().0
    }

    /// How it mines, as of less than a second ago.
    pub fn mining(&self) -> Mining {
        self.state.lock().1
    }

    /// How long the owner's turns took.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// How long those took who looked at the node between two turns.
    pub fn looks(&self) -> &Turns {
        &self.looks
    }

    /// The ways of the last tips through the threads.
    pub fn trails(&self) -> &Trails {
        &self.trails
    }

    /// When the node started.
    pub fn started(&self) -> Now {
        self.started
    }

    pub(crate) fn publish(&self, summary: &Summary) {
        self.state.lock().0 = *summary;
    }

    pub(crate) fn publish_mining(&self, mining: Mining) {
        self.state.lock().1 = mining;
    }
}

/// Least upper bounds of the classes of turns, in microseconds.
pub const TURN_BOUNDS_US: [u64; 8] = [50, 200, 1_000, 5_000, 20_000, 100_000, 500_000, u64::MAX];

/// How long the owner's turns took: from taking an event to the last of its effects; or those took who looked.
#[derive(Debug, Default)]
pub struct Turns {
    counts: [AtomicU64; TURN_BOUNDS_US.len()],
    sum_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Turns {
    pub(crate) fn add(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = TURN_BOUNDS_US.iter().position(|bound| took_us <= *bound).expect("the last has no bound");
        self.counts[class].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
        self.longest_us.fetch_max(took_us, Ordering::Relaxed);
    }

    /// How many there were in each class of [`TURN_BOUNDS_US`].
    pub fn counts(&self) -> [u64; TURN_BOUNDS_US.len()] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// All of them together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// The longest since the start, in microseconds.
    pub fn longest_us(&self) -> u64 {
        self.longest_us.load(Ordering::Relaxed)
    }
}
