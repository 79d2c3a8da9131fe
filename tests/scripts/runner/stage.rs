//! The stage: real nodes in virtual time. What happens next is the earliest thing planned; between two things
//! of one millisecond, the one planned first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::CHECKPOINT;
use spindle::node::Node;
use spindle::node::event::Event;
use spindle::primitives::hash::Hash;
use spindle::primitives::time::{Mono, Now, Wall};

use crate::common::supply::Supply;
use crate::disk::WatchedDisk;
use crate::names::Names;
use crate::puppet::Puppet;
use crate::trace::Trace;
use crate::wire::{Link, Piece};

/// A node is told so often that time has passed.
pub(crate) const TICK_MS: u64 = 250;
/// The wall clock when a story begins.
const START: u64 = 1_800_000_000_000;

/// A machine's number.
pub(crate) type Who = usize;
/// How often it was started: what was planned in an earlier life does not happen.
pub(crate) type Life = u64;

/// A machine, and what runs on it.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) actor: Actor,
    /// What its node dials for ever.
    pub(crate) connects_to: Vec<Who>,
    pub(crate) next_peer: u64,
    /// It answers everything but questions for blocks.
    pub(crate) withholds: bool,
    /// What lies on its disk while nothing runs.
    pub(crate) disk: MemoryDisk,
    /// Which block ends at which byte of its block file.
    pub(crate) ends: BTreeMap<u64, Hash>,
}

/// What runs on a machine.
pub(crate) enum Actor {
    Nothing,
    Node(Box<Running>),
    Puppet(Puppet),
}

/// A running node.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) disk: WatchedDisk,
    pub(crate) supply: Supply,
    /// Addresses that are sent away at the door.
    pub(crate) refused: BTreeMap<IpAddr, Wall>,
    pub(crate) verifying: VecDeque<Vec<ReadTx>>,
}

/// Something that is going to happen.
pub(crate) enum Happening {
    /// To this end of a connection.
    Arrive(usize, usize, Piece),
    /// A dial comes to something, or nothing.
    Dialled {
        from: Who,
        life: Life,
        to: Who,
    },
    /// For a node, from its own threads.
    Event(Who, Life, Box<Event>),
    Synced(Who, Life, u64),
    Verified(Who, Life),
    Tick(Who, Life),
}

/// All of it.
pub(crate) struct Stage {
    pub(crate) params: Arc<Params>,
    pub(crate) names: Names,
    pub(crate) trace: Trace,
    pub(crate) hosts: Vec<Host>,
    pub(crate) links: Vec<Link>,
    /// Between these nothing arrives.
    pub(crate) cuts: BTreeSet<(Who, Who)>,
    /// What wallets have handed in, by the number of the ticket.
    pub(crate) handed_in: Vec<Hash>,
    now_ms: u64,
    planned: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    /// Of what is planned, everything but ticks.
    busy: usize,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let params = Arc::new(Params::regtest());
        let mut names = Names::default();
        names.add(params.genesis_id(), "genesis");
        Self {
            params,
            names,
            trace: Trace::default(),
            hosts: Vec::new(),
            links: Vec::new(),
            cuts: BTreeSet::new(),
            handed_in: Vec::new(),
            now_ms: 0,
            planned: BTreeMap::new(),
            sequence: 0,
            busy: 0,
        }
    }

    // --- time ---

    pub(crate) fn now(&self) -> Now {
        Now { mono: Mono(self.now_ms), wall: Wall(START + self.now_ms) }
    }

    /// So much later this happens.
    pub(crate) fn plan(&mut self, in_ms: u64, what: Happening) {
        self.busy += usize::from(!matches!(what, Happening::Tick(..)));
        self.sequence += 1;
        self.planned.insert((self.now_ms + in_ms, self.sequence), what);
    }

    /// Lets happen what is planned, until nothing but time would pass.
    pub(crate) fn settle(&mut self) {
        while self.busy > 0 {
            self.happen();
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.planned.first_key_value().is_some_and(|((at_ms, _), _)| *at_ms <= end_ms) {
            self.happen();
        }
        self.now_ms = end_ms;
    }

    fn happen(&mut self) {
        let Some(((at_ms, _), what)) = self.planned.pop_first() else { return };
        self.now_ms = at_ms;
        self.busy -= usize::from(!matches!(what, Happening::Tick(..)));
        match what {
            Happening::Arrive(link, side, piece) => self.arrive(link, side, piece),
            Happening::Dialled { from, life, to } if self.lives(from, life) => self.dialled(from, to),
            Happening::Event(who, life, event) if self.lives(who, life) => self.step(who, *event),
            Happening::Synced(who, life, upto) if self.lives(who, life) => self.synced(who, upto),
            Happening::Verified(who, life) if self.lives(who, life) => self.verified(who),
            Happening::Tick(who, life) if self.lives(who, life) => {
                self.plan(TICK_MS, Happening::Tick(who, life));
                self.drive_all(who);
                self.step(who, Event::Tick);
            }
            // Planned by a process that has ended.
            _ => {}
        }
    }

    /// Whether this process still runs.
    pub(crate) fn lives(&self, who: Who, life: Life) -> bool {
        self.hosts[who].life == life && !matches!(self.hosts[who].actor, Actor::Nothing)
    }

    // --- who is there ---

    /// One more machine.
    pub(crate) fn add(&mut self, name: &str, actor: Actor) -> Who {
        self.hosts.push(Host {
            name: name.to_owned(),
            life: 0,
            actor,
            connects_to: Vec::new(),
            next_peer: 1,
            withholds: false,
            disk: MemoryDisk::default(),
            ends: BTreeMap::new(),
        });
        self.hosts.len() - 1
    }

    pub(crate) fn find(&self, name: &str) -> Option<Who> {
        self.hosts.iter().position(|host| host.name == name)
    }

    pub(crate) fn running(&self, who: Who) -> Option<&Running> {
        match &self.hosts[who].actor {
            Actor::Node(running) => Some(running),
            _ => None,
        }
    }

    pub(crate) fn running_mut(&mut self, who: Who) -> Option<&mut Running> {
        match &mut self.hosts[who].actor {
            Actor::Node(running) => Some(running),
            _ => None,
        }
    }

    /// Where a machine is: a public place of its own.
    pub(crate) fn address(who: Who) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, u8::try_from(who + 1).expect("few machines")], 9000))
    }

    pub(crate) fn host_at(&self, address: SocketAddr) -> Option<Who> {
        (0..self.hosts.len()).find(|&who| Self::address(who) == address)
    }

    /// A line about one machine.
    pub(crate) fn line(&mut self, who: Who, what: &str) {
        self.trace.line(self.now_ms, &self.hosts[who].name, what);
    }

    /// A line about what one says to another.
    pub(crate) fn line_between(&mut self, from: Who, to: Who, what: &str) {
        let who = format!("{} → {}", self.hosts[from].name, self.hosts[to].name);
        self.trace.line(self.now_ms, &who, what);
    }

    /// A line about what a node and a wallet beside it say to each other.
    pub(crate) fn line_of_wallet(&mut self, from: &str, to: &str, what: &str) {
        self.trace.line(self.now_ms, &format!("{from} → {to}"), what);
    }

    /// A text for people, with names in place of hashes, and of what `who` calls its peers.
    pub(crate) fn in_words(&self, who: Who, text: &str) -> String {
        let mut text = self.names.in_text(text);
        for host in 0..self.hosts.len() {
            text = text.replace(&Self::address(host).to_string(), &self.hosts[host].name);
        }
        // The greatest numbers first: `peer 1` is also the beginning of `peer 12`.
        for (link, side) in self.ends_of(who).into_iter().rev() {
            let (peer, other) = (self.links[link].ends[side].peer, self.links[link].ends[1 - side].who);
            text = text.replace(&peer.to_string(), &self.hosts[other].name);
        }
        text
    }

    // --- the end ---

    /// What must hold in the end on each node: its ledger is what a replay of its file gives, its coins are
    /// those that its blocks have left, and its pool stands on both. Says so.
    pub(crate) fn check(&mut self) {
        for who in 0..self.hosts.len() {
            let Some(running) = self.running(who) else { continue };
            let (chain, tip) = (running.node.chain(), running.node.chain().tip());
            let disk = running.disk.memory.kill();
            disk.remove(CHECKPOINT).expect("memory");
            let shared: Arc<dyn Disk> = Arc::new(disk);
            let (again, _) = Node::open(self.config(who), &shared, &mut |_| {}).expect("a disk that works");
            assert_eq!(again.chain().tip().id, tip.id, "a restart keeps the tip");
            assert_eq!(again.chain().ledger().hash(), chain.ledger().hash(), "the ledger is a replay of the file");
            let coins = chain.ledger().len();
            assert_eq!(coins, running.supply.unspent().len(), "the ledger has what the blocks have left");
            let waiting: BTreeSet<&str> = running.node.pool().ids().map(|id| self.names.of(&id)).collect();
            let waiting: Vec<&str> = waiting.into_iter().collect();
            let waits = if waiting.is_empty() { String::new() } else { format!(", {} waits", waiting.join(", ")) };
            let (name, height) = (self.names.of(&tip.id), tip.header.height);
            let words =
                format!("in the end: tip {name}, height {height}; ledger = replay, {coins} unspent coins{waits}");
            self.line(who, &words);
        }
    }
}
