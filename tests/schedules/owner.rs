//! The owner of a network, as a story wants it, and what must hold of all that it hears.
//!
//! It goes through the same steps as the chain owner's loop (take, admit, act, handled) on the network's real
//! public face. Whatever the story: a peer is `Connected`, then it speaks, then it is `Closed`, once; never are
//! more of its events in the owner's hands than it has credits; the inbox never holds more than it was made for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use real_std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};
use spindle::blockchain::block::{Block, CheckedBlock, Header, ReadBlock};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::{PersistentBlockchain, ReadHandle, RecordNo};
use spindle::blockchain::transaction::{Coinbase, Output};
use spindle::node::NodeConfig;
use spindle::node::event::{Event, PeerId};
use spindle::node::reason::Reason;
use spindle::node::session::SessionConfig;
use spindle::primitives::keys::{Key, Verifier};

use crate::model::net::at;
use crate::net::TcpListener;
use crate::network::limits::{CREDITS, inbox_capacity};
use crate::network::p2p::{Input, P2PConfig, P2PNode, P2PThreads};
use crate::primitives::codec::List;
use crate::primitives::time::Clock;
use crate::thread::{JoinHandle, spawn};

/// Where the node under test listens.
pub(crate) const PORT: u16 = 9_000;

/// Peers that a story may have at a time.
const PEERS_MAX: usize = 8;

/// An owner between two events.
pub(crate) struct Owner {
    pub(crate) node: P2PNode,
    inbox: Receiver<Input>,
    stop: Receiver<()>,
    /// Whose event is being handled, and one; 0: nobody's.
    in_hand: Arc<AtomicU64>,
    pub(crate) heard: BTreeMap<PeerId, Life>,
}

/// What the owner heard of one peer.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) nonces: Vec<u64>,
    pub(crate) events: usize,
    pub(crate) closed: Option<Reason>,
}

/// A network that runs: the owner's part of it and that of whoever stops it.
pub(crate) fn network(max_inbound: usize, write_ms: u64) -> (Owner, P2PThreads, Sender<()>) {
    let (sender, inbox) = unbounded();
    let in_hand = Arc::new(AtomicU64::new(0));
    let guarded = Arc::clone(&in_hand);
    inbox.guard(move |waiting| check_inbox(waiting, guarded.load(Ordering::SeqCst)));
    let (params, reader) = fixture().clone();
    let config = P2PConfig {
        listener: TcpListener::bind(at(PORT)).expect("the port is free"),
        session: SessionConfig { params: Arc::clone(&params), verifier: Verifier::new([7; 32], None) },
        reader,
        node: NodeConfig {
            secret: [4; 16],
            params,
            nonce: 1,
            agent: "story".into(),
            listen_port: PORT,
            connect: Vec::new(),
            seeds: false,
            outbound_max: 8,
            payout: None,
        },
        max_inbound,
        write_ms,
        clock: Clock::start(),
    };
    let node = P2PNode::new(config, sender).expect("it is bound");
    let threads = node.start().expect("a thread");
    let (stopper, stop) = bounded(1);
    (Owner { node, inbox, stop, in_hand, heard: BTreeMap::new() }, threads, stopper)
}

impl Owner {
    /// The next event, which is now in the owner's hands; none when it is told to stop.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let stillborn = self.node.take_stillborn();
        let input = if let Some(input) = stillborn {
            input
        } else {
            select_biased! {
                recv(self.stop) -> _ => return None,
                recv(self.inbox) -> input => input.expect("the network has a sender"),
            }
        };
        if let Input::Peer { peer, .. } = &input {
            self.in_hand.store(peer.0 + 1, Ordering::SeqCst);
        }
        let event = self.node.admit(input);
        self.note(&event);
        Some(event)
    }

    /// That event is handled.
    pub(crate) fn handled(&mut self) {
        self.in_hand.store(0, Ordering::SeqCst);
        self.node.handled();
    }

    /// Handles what comes until the story has heard enough or it is told to stop.
    pub(crate) fn run(&mut self, mut handle: impl FnMut(&mut Self, Event) -> bool) {
        while let Some(event) = self.next() {
            let goes_on = handle(self, event);
            self.handled();
            if !goes_on {
                return;
            }
        }
    }

    /// Whether so many peers have come and gone.
    pub(crate) fn has_seen_off(&self, peers: usize) -> bool {
        self.heard.values().filter(|life| life.closed.is_some()).count() == peers
    }

    fn note(&mut self, event: &Event) {
        if let Event::Connected { peer, .. } = event {
            assert!(self.heard.insert(*peer, Life::default()).is_none(), "{peer} is connected twice");
            return;
        }
        let peer = match event {
            Event::Closed { peer, .. } => *peer,
            event => match event.peer() {
                Some(peer) => peer,
                None => return,
            },
        };
        let life = self.heard.get_mut(&peer).unwrap_or_else(|| panic!("{peer} was not connected: {event:?}"));
        assert!(life.closed.is_none(), "{peer} was closed: {event:?}");
        match event {
            Event::Closed { reason, .. } => life.closed = Some(reason.clone()),
            Event::Ping { nonce, .. } => life.nonces.push(*nonce),
            _ => {}
        }
        life.events += 1;
    }
}

/// Runs a story's owner in a thread of its own, as the chain owner is; it gives back what it heard.
pub(crate) fn own(
    mut owner: Owner,
    handle: impl FnMut(&mut Owner, Event) -> bool + Send + 'static,
) -> JoinHandle<BTreeMap<PeerId, Life>> {
    spawn(move || {
        owner.run(handle);
        let Owner { node, heard, .. } = owner;
        node.close();
        heard
    })
}

/// The bounds that the inbox was made for.
fn check_inbox(waiting: &VecDeque<Input>, in_hand: u64) {
    assert!(waiting.len() <= inbox_capacity(PEERS_MAX), "{} events wait for the owner", waiting.len());
    let mut events: BTreeMap<u64, usize> = BTreeMap::new();
    if let Some(peer) = in_hand.checked_sub(1) {
        events.insert(peer, 1);
    }
    for input in waiting {
        if let Input::Peer { peer, .. } = input {
            *events.entry(peer.0).or_default() += 1;
        }
    }
    for (peer, count) in events {
        assert!(count <= CREDITS, "{count} events of peer {peer} in the owner's hands for {CREDITS} credits");
    }
}

pub(crate) fn params() -> &'static Arc<Params> {
    &fixture().0
}

pub(crate) fn reader() -> &'static ReadHandle {
    &fixture().1
}

/// What all schedules read from: a short regtest chain.
fn fixture() -> &'static (Arc<Params>, ReadHandle) {
    static FIXTURE: OnceLock<(Arc<Params>, ReadHandle)> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let params = Arc::new(Params::regtest());
        let reader = chain(&params, 4);
        (params, reader)
    })
}

fn chain(params: &Arc<Params>, blocks: u32) -> ReadHandle {
    let disk = Arc::new(MemoryDisk::default());
    let (mut store, _) = PersistentBlockchain::open(disk, params, &mut |_, _| {}).expect("an empty disk");
    let mut prev = *params.genesis();
    let mut checked = Vec::new();
    let path: Vec<RecordNo> = (1..=blocks).map(RecordNo).collect();
    for height in 1..=u64::from(blocks) {
        let block = block_on(params, &prev, height);
        prev = *block.header();
        checked.push(block);
    }
    store.append(&checked).expect("room in memory");
    let tip = store.meta(*path.last().expect("a chain")).expect("just appended");
    store.publish(0, &path, tip);
    store.reader()
}

fn block_on(params: &Params, prev: &Header, height: u64) -> CheckedBlock {
    let output = Output { amount: params.reward(height), key: Key([3; 32]), view_tag: 0 };
    let coinbase = Coinbase { version: 1, height, output, tx_key: Key::default() };
    let header = Header { version: 1, height, prev: prev.id(), time: prev.time + 1, difficulty: 1, ..*prev };
    let mut block = Block { header, coinbase, transfers: List::default() };
    block.header.merkle_root = block.merkle_root();
    let read = ReadBlock::read(params, block.to_bytes()).expect("right in itself");
    read.verified(&Verifier::new([7; 32], None)).expect("nothing is signed")
}
