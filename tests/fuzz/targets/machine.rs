//! A node without threads or sockets, and everything that it is promised around it: what it asks for is remembered,
//! what it wants done is done or put off, and what it may never do is looked at after each event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::disk::{self, Disk};
use spindle::blockchain::headers::HEADERS_MAX;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mempool::{ORPHANS_MAX, POOL_BYTES_MAX};
use spindle::blockchain::storage::{BlockMeta, CHECKPOINT, PersistentBlockchain};
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::CoinId;
use spindle::node::event::{Asked, Direction, Effect, Event, PeerId, Target};
use spindle::node::message::{BLOCKS_MAX, Hello, Message};
use spindle::node::orders::{Order, Ticket};
use spindle::node::reason::Reason;
use spindle::node::report::Report;
use spindle::node::transactions::VERIFYING_MAX;
use spindle::node::{Node, NodeConfig};
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::time::{Mono, Now, Wall};

use super::kit;

/// Requests that a peer answers from its file: the protocol allows so many at a time.
const REQUESTS_MAX: usize = 4;

/// One connection, as the peer sees it.
pub(crate) struct Link {
    /// What it is asked for and has not answered.
    pub(crate) asked: Vec<(Asked, Message)>,
    /// The end of the branch that it is on.
    pub(crate) leaf: Hash,
}

pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) disk: MemoryDisk,
    pub(crate) now: Now,
    pub(crate) links: BTreeMap<PeerId, Link>,
    /// Transactions whose signatures are being verified.
    pub(crate) batches: VecDeque<Vec<ReadTx>>,
    /// What the disk is to make last.
    pub(crate) sync: Option<u64>,
    pub(crate) dials: Vec<Target>,
    pub(crate) template: Option<Arc<Template>>,
    /// Hung up on; a `Closed` is owed.
    ending: Vec<(PeerId, Reason)>,
    /// The block with most work that was told to be durable.
    promised: Option<BlockMeta>,
    next_peer: u64,
    /// Orders that are not answered.
    pub(crate) tickets: BTreeSet<Ticket>,
    next_ticket: u64,
}

/// A disk with the first blocks of the short chain on it.
pub(crate) fn disk_with(blocks: usize) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, _) = PersistentBlockchain::open(shared, kit::params(), &mut |_, _| {}).expect("memory");
    store.append(&kit::chain().blocks[..blocks]).expect("memory");
    store.syncer().sync(store.appended_bytes()).expect("memory");
    disk
}

fn config() -> NodeConfig {
    NodeConfig {
        params: kit::params().clone(),
        nonce: 1_000,
        secret: [7; 16],
        agent: "fuzzed".into(),
        listen_port: 9000,
        connect: vec![Target::Name("wanted:9000".into())],
        seeds: false,
        outbound_max: 3,
        payout: Some(kit::owner_key().into()),
    }
}

fn open(disk: &MemoryDisk) -> Node {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (node, _) = Node::open(config(), &shared, &mut |_| {}).expect("a disk without damage");
    node
}

impl Machine {
    /// On a copy of this disk.
    pub(crate) fn new(disk: &MemoryDisk) -> Self {
        let disk = disk.kill();
        Self {
            node: open(&disk),
            disk,
            now: Now { mono: Mono(0), wall: kit::WALL },
            links: BTreeMap::new(),
            batches: VecDeque::new(),
            sync: None,
            dials: Vec::new(),
            template: None,
            ending: Vec::new(),
            promised: None,
            next_peer: 1,
            tickets: BTreeSet::new(),
            next_ticket: 0,
        }
    }

    /// With some blocks of the short chain: 4, 8 or 12.
    pub(crate) fn with_chain(choice: u8) -> Self {
        static DISKS: OnceLock<[MemoryDisk; 3]> = OnceLock::new();
        let disks = DISKS.get_or_init(|| [4, 8, 12].map(disk_with));
        Self::new(&disks[usize::from(choice % 3)])
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = Now { mono: self.now.mono.after(ms), wall: Wall(self.now.wall.0 + ms) };
    }

    /// Somebody connects, or was dialled.
    pub(crate) fn connect(&mut self, target: Option<Target>, address: SocketAddr, hello: Hello, leaf: Hash) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let direction = if target.is_some() { Direction::Outbound } else { Direction::Inbound };
        self.links.insert(peer, Link { asked: Vec::new(), leaf });
        self.step(Event::Connected { peer, direction, address, target, hello: Box::new(hello) });
        peer
    }

    pub(crate) fn hello(&self) -> Hello {
        config().hello(&self.node.reader())
    }

    /// A connection ends.
    pub(crate) fn close(&mut self, peer: PeerId, reason: Reason) {
        if self.links.remove(&peer).is_some() {
            self.step(Event::Closed { peer, reason });
        }
    }

    /// Somebody who may give orders wants something.
    pub(crate) fn order(&mut self, order: Order) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket);
        self.step(Event::Order { ticket, order });
    }

    /// An event, and all that follows from it at once. What comes from a peer that is gone is not heard.
    pub(crate) fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut turns = 0;
        while let Some(event) = events.pop_front() {
            turns += 1;
            assert!(turns < 10_000, "a turn that has no end");
            let before = *self.node.chain().tip();
            let effects = self.node.step(self.now, event).expect("a disk in memory does not fail");
            for effect in effects {
                self.perform(effect);
            }
            let tip = self.node.chain().tip();
            assert!(tip.id == before.id || tip.work > before.work, "a tip goes for one with more work alone");
            if self.node.has_more() {
                events.push_back(Event::Continue);
            } else {
                self.check();
                let ended = self.ending.pop();
                events.extend(ended.map(|(peer, reason)| Event::Closed { peer, reason }));
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { peer, message } => self.sent(peer, &message),
            Effect::Ask { peer, asked, message } => self.asked(peer, asked, message),
            Effect::BroadcastBlock { peers, block } => {
                let message = Message::NewBlock(block);
                for peer in peers {
                    self.sent(peer, &message);
                }
            }
            Effect::BroadcastTx { peers, ids } => {
                let waits = |id| self.node.pool().contains(id) || !self.node.pool().is_settled();
                assert!(!peers.is_empty() && !ids.is_empty() && ids.iter().all(waits), "news is of what waits");
                let message = Message::NewTx(List::first_of(ids));
                for peer in peers {
                    self.sent(peer, &message);
                }
            }
            Effect::Verify { transactions } => {
                assert!(!transactions.is_empty() && self.batches.len() < VERIFYING_MAX);
                self.batches.push_back(transactions);
            }
            Effect::HangUp { peer, reason } => {
                self.links.remove(&peer).expect("only who is connected is hung up on, and once");
                self.ending.push((peer, reason));
            }
            Effect::Dial { target } => self.dials.push(target),
            Effect::Sync { upto } => {
                assert!(upto <= self.node.chain().store().appended_bytes());
                assert!(self.sync.replace(upto).is_none(), "one sync at a time");
            }
            Effect::Save { file, bytes } => disk::replace(&self.disk, file, &bytes).expect("memory"),
            Effect::Mine { template } => {
                let tip = self.node.chain().tip().id;
                assert!(template.as_ref().is_none_or(|template| template.header().prev == tip));
                self.template = template;
            }
            Effect::Tell(report) => self.told(&report),
            Effect::Checkpoint { tip, ledger } => {
                assert_eq!(tip, self.node.chain().tip().id);
                assert_eq!(ledger.len(), self.node.chain().ledger().len());
            }
            Effect::Answer { ticket, .. } => assert!(self.tickets.remove(&ticket), "{ticket:?} is answered once"),
            Effect::Generate { count } => assert!(count > 0 && self.template.is_some(), "there is something to find"),
            Effect::Refuse { .. } | Effect::Miners { .. } => {}
        }
    }

    fn sent(&self, peer: PeerId, message: &Message) {
        assert!(self.links.contains_key(&peer), "{message:?} for {peer}, who is not connected");
        let bytes = message.to_frame().len() - spindle::primitives::frame::HEADER_BYTES;
        assert!(bytes <= message.kind().bytes_max(), "{bytes} bytes of {:?}", message.kind());
    }

    fn asked(&mut self, peer: PeerId, asked: Asked, message: Message) {
        self.sent(peer, &message);
        match (&asked, &message) {
            (Asked::Headers, Message::GetHeaders(locator)) => assert!(!locator.is_empty()),
            (Asked::Blocks(ids), Message::GetBlocks { last, count }) => {
                assert!(ids.last() == Some(last) && ids.len() == usize::from(*count) && *count <= BLOCKS_MAX);
            }
            (Asked::Txs(ids), Message::GetTxs(same)) => assert!(!ids.is_empty() && ids[..] == same[..]),
            (Asked::BlockTxs(block, count), Message::GetBlockTxs { block: same, places }) => {
                assert!(block == same && *count == places.len() && places.is_sorted_by(|a, b| a < b));
            }
            (Asked::Peers, Message::GetPeers) | (Asked::Pool, Message::GetPool(_)) => {}
            _ => panic!("{message:?} is no question for {asked:?}"),
        }
        let link = self.links.get_mut(&peer).expect("looked at above");
        link.asked.push((asked, message));
        let requests = link
            .asked
            .iter()
            .filter(|(asked, _)| matches!(asked, Asked::Headers | Asked::Blocks(_) | Asked::BlockTxs(..)));
        let requests: Vec<&(Asked, Message)> = requests.collect();
        assert!(requests.len() <= REQUESTS_MAX, "more than four requests at a time of {peer}: {requests:?}");
    }

    fn told(&mut self, report: &Report) {
        let (Report::Durable { hash, .. } | Report::Mined { hash, .. }) = report else { return };
        let meta = self.node.reader().find_meta(hash).expect("memory").expect("it is told to be durable");
        assert!(meta.end() <= self.node.chain().store().durable_bytes(), "told before it is durable");
        if self.promised.as_ref().is_none_or(|promised| promised.work < meta.work) {
            self.promised = Some(meta);
        }
    }

    /// The disk has done what it was asked for.
    pub(crate) fn synced(&mut self) {
        if let Some(upto) = self.sync.take() {
            self.node.syncer().sync(upto).expect("memory");
            self.step(Event::Durable { upto });
        }
    }

    /// The oldest batch is verified: those of these places have bad signatures.
    pub(crate) fn verified(&mut self, bad: u8) {
        let Some(batch) = self.batches.pop_front() else { return };
        let verdict = |(place, read): (usize, ReadTx)| {
            if place < 8 && bad >> place & 1 == 1 {
                Err(spindle::blockchain::reject::Reject::BadSignature { transaction: read.id() })
            } else {
                Ok(read.trusted())
            }
        };
        self.step(Event::Verified { verdicts: batch.into_iter().enumerate().map(verdict).collect() });
    }

    /// What holds whenever nothing is left to do.
    fn check(&self) {
        let (chain, pool) = (self.node.chain(), self.node.pool());
        assert!(chain.rests() && chain.passed().is_empty() && pool.is_settled() && !pool.orphans_ready());
        assert!(chain.headers().len() <= HEADERS_MAX && pool.orphans() <= ORPHANS_MAX);
        assert!(pool.used_bytes() <= POOL_BYTES_MAX && self.batches.len() <= VERIFYING_MAX);
        assert!(self.node.peers().iter().map(|(peer, _)| peer).eq(self.links.keys().copied()));
        let next_height = chain.tip().header.height + 1;
        let (mut made, mut spent): (BTreeSet<CoinId>, BTreeSet<CoinId>) = Default::default();
        for waiting in pool.snapshot() {
            let transaction = pool.get(&waiting.id).expect("it waits");
            for coin in transaction.spent() {
                assert!(made.contains(coin) || chain.ledger().contains(coin), "a coin is missing");
                assert!(spent.insert(*coin), "a coin is spent twice");
            }
            assert!(transaction.matures_at() <= next_height, "a young coin");
            made.extend(transaction.created());
        }
    }

    /// The end: a power cut costs nothing that was promised; and after a stop everything is as it was.
    pub(crate) fn finish(mut self) {
        let crashed = open(&self.disk.crash());
        if let Some(promised) = self.promised {
            let found = crashed.reader().find_meta(&promised.id).expect("memory").expect("it was durable");
            assert!(crashed.reader().is_active(&found) || crashed.chain().tip().work > promised.work);
        }
        drop(crashed);
        self.sync = None;
        let effects = self.node.close(self.now);
        for effect in effects {
            self.perform(effect);
        }
        if let Some(upto) = self.sync {
            self.node.syncer().sync(upto).expect("memory");
        }
        let disk = self.disk.crash();
        assert_eq!(disk.bytes(CHECKPOINT), None, "a checkpoint of its own would spare the replay");
        let again = open(&disk);
        assert_eq!(again.chain().tip(), self.node.chain().tip(), "a restart keeps the tip");
        assert!(again.chain().ledger() == self.node.chain().ledger(), "the ledger is what the file says");
    }
}
