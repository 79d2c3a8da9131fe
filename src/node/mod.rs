//! The deterministic core: events in, effects out.
//!
//! [`Node::step`] takes one event at one instant and says what should happen next. Nothing under
//! `node/` opens a socket, starts a thread or reads a clock; time comes as an argument, chance from a
//! seed, and the disk through a trait. So the very same code runs behind threads and in a simulator.
//!
//! [`session`] is one connection without its socket and [`serve`] answers reads; both run on the
//! peer's own threads. What they let through arrives here: [`peers`] knows who is connected,
//! [`streams`] and [`sync`] catch up, [`relay`] spreads news, [`addresses`] and [`dialer`] find others,
//! [`durability`] says what may be promised. Each owns its fields; a [`turn::Turn`] lends them the rest.

pub mod message;

pub mod frame;

pub mod session;

pub mod serve;

pub mod reason;

pub mod report;

pub mod event;

pub mod turn;

pub mod rng;

pub mod peers;

pub mod addresses;

pub mod dialer;

pub mod streams;

pub mod sync;

pub mod relay;

pub mod durability;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::chain::{Chain, Opening, Progress, Refusal, Step};
use crate::blockchain::condemned;
use crate::blockchain::disk::Disk;
use crate::blockchain::params::Params;
use crate::blockchain::reject::{Blame, Reject};
use crate::blockchain::storage::{ReadHandle, Room, StoreError, Syncer};
use crate::node::addresses::AddressBook;
use crate::node::dialer::Dialer;
use crate::node::durability::Durability;
use crate::node::event::{Announced, Asked, Direction, Effect, Event, PeerId, Target};
use crate::node::message::{Activation, Hello, Message, PROTOCOL_GREATEST, PROTOCOL_LEAST, PeerAddress, shown};
use crate::node::peers::{Newcomer, Peers};
use crate::node::reason::Reason;
use crate::node::relay::Relay;
use crate::node::report::{Level, Report};
use crate::node::rng::Rng;
use crate::node::streams::Streams;
use crate::node::sync::Sync;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::keys::Key;
use crate::primitives::time::{Mono, Now};

/// Between two looks at whether small files have changed.
const SAVE_MS: u64 = 60_000;
/// Between two looks at a disk that was too full.
const ROOM_MS: u64 = 1_000;

/// What a node is told before it starts.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The network.
    pub params: Arc<Params>,
    /// Drawn once per process: tells ourselves from others, and seeds the core's chance.
    pub nonce: u64,
    /// What others are told of the program.
    pub agent: String,
    /// Where others can dial us; 0 if they cannot.
    pub listen_port: u16,
    /// Peers that are dialled for ever.
    pub connect: Vec<Target>,
    /// Whether the network's seeds are dialled.
    pub seeds: bool,
    /// Connections that we open.
    pub outbound_max: usize,
    /// Whom a block that we mine pays; `None` if we do not mine.
    pub payout: Option<Key>,
}

impl NodeConfig {
    /// What we say of ourselves to a peer.
    pub fn hello(&self, reader: &ReadHandle) -> Hello {
        let tip = reader.tip();
        let activations = self.params.spec().activations.iter();
        let activations = activations.map(|(&rules, &height)| Activation { rules, height }).collect();
        Hello {
            protocol_least: PROTOCOL_LEAST,
            protocol_greatest: PROTOCOL_GREATEST,
            genesis: self.params.genesis_id(),
            nonce: self.nonce,
            agent: List::first_of(self.agent.clone().into_bytes()),
            listen_port: self.listen_port,
            height: tip.header.height,
            work: tip.work,
            activations: List::first_of(activations),
        }
    }
}

/// A node, but for its threads and sockets.
#[derive(Debug)]
pub struct Node {
    chain: Chain,
    peers: Peers,
    conduct: Conduct,
}

impl Node {
    /// Opens the chain on this disk. `progress` hears how far that is.
    pub fn open(
        config: NodeConfig,
        disk: &Arc<dyn Disk>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opening), StoreError> {
        let (chain, opening) = Chain::open(Arc::clone(&config.params), disk, progress)?;
        let book = AddressBook::load(&**disk).map_err(StoreError::io("read", disk.path(addresses::FILE)))?;
        let seeds: &[String] = if config.seeds { &config.params.spec().seeds } else { &[] };
        let checkpointed = match opening.checkpoint.and_then(|height| chain.reader().record_at(height)) {
            Some(record) => chain.store().meta(record)?.end(),
            None => 0,
        };
        let conduct = Conduct {
            dialer: Dialer::new(config.connect.clone(), seeds, config.listen_port, config.outbound_max),
            durability: Durability::new(&chain, checkpointed),
            rng: Rng::new(config.nonce),
            config,
            book,
            streams: Streams::default(),
            sync: Sync::default(),
            relay: Relay::default(),
            room: Room::Enough,
            room_asked_at: Mono(0),
            saved_at: Mono(0),
        };
        Ok((Self { chain, peers: Peers::default(), conduct }, opening))
    }

    /// For threads that read the chain.
    pub fn reader(&self) -> ReadHandle {
        self.chain.reader()
    }

    /// For the thread that makes it durable.
    pub fn syncer(&self) -> Syncer {
        self.chain.store().syncer()
    }

    /// Blocks and ledger, to look at.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Who is connected, to look at.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Whether the last turn was cut short: [`Event::Continue`] goes on with it.
    pub fn has_more(&self) -> bool {
        !self.chain.rests()
    }

    /// Takes one event at one instant; says what should happen next.
    ///
    /// The same events at the same times give the same effects: there is no clock, no socket and no
    /// hidden chance in here. `Err` means that our own disk failed. No peer can cause it.
    pub fn step(&mut self, now: Now, event: Event) -> Result<Vec<Effect>, StoreError> {
        if let Some(peer) = event.peer() {
            // What a peer had on its way when it was hung up on is not heard.
            let Some(known) = self.peers.get_mut(peer) else { return Ok(Vec::new()) };
            known.heard_at = now.mono;
        }
        let (mut out, mut lost) = (Vec::new(), Vec::new());
        let Self { chain, peers, conduct } = self;
        let mut turn = Turn { now, chain, peers, out: &mut out, lost: &mut lost };
        conduct.handle(&mut turn, event)?;
        conduct.walk(&mut turn)?;
        conduct.pump(&mut turn)?;
        Ok(out)
    }

    /// The last effects: nothing that was promised is lost, and the next start is quick.
    pub fn close(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        self.conduct.durability.close(&self.chain, &mut out);
        self.conduct.save(&mut out);
        out
    }
}

/// How a node behaves: every part but the chain and the peers, on which all of them work.
#[derive(Debug)]
struct Conduct {
    config: NodeConfig,
    book: AddressBook,
    dialer: Dialer,
    streams: Streams,
    sync: Sync,
    relay: Relay,
    durability: Durability,
    rng: Rng,
    room: Room,
    room_asked_at: Mono,
    saved_at: Mono,
}

impl Conduct {
    fn handle(&mut self, turn: &mut Turn, event: Event) -> Result<(), StoreError> {
        let now = turn.now;
        match event {
            // Deadlines, dials, saves: whatever time alone brings about.
            Event::Tick => self.on_tick(turn)?,
            // The walk goes on, as it does after every event.
            Event::Continue => {}
            Event::Connected { peer, direction, address, target, hello } => {
                self.on_connected(turn, (peer, direction, address, target), &hello)?;
            }
            Event::Closed { peer, reason } => turn.gone(peer, reason),
            Event::DialFailed { target, reason } => {
                if let Target::Address(address) = target {
                    self.book.failed(now, address);
                }
                self.dialer.failed(now, &target, &reason, turn.out);
            }
            Event::Ping { peer, nonce } => turn.send(peer, Message::Pong(nonce)),
            Event::Pong { peer, nonce } => turn.peers.pong(now.mono, peer, nonce),
            Event::Headers { peer, headers } => self.streams.on_headers(turn, peer, &headers)?,
            // Bodies that find no room on the disk are asked for again when there is some.
            Event::Blocks { .. } if self.room != Room::Enough => self.sync.start_over(),
            Event::Blocks { peer, blocks } => self.sync.on_blocks(turn, peer, blocks)?,
            Event::Progress { peer } => self.sync.on_progress(now.mono, peer),
            Event::Missing { peer, last } => self.sync.on_missing(now.mono, peer, last),
            Event::NewBlock { peer, block } => self.on_new_block(turn, peer, block)?,
            Event::GetPeers { peer } => self.on_get_peers(turn, peer),
            // Asked for once per connection, so no peer can pour addresses into the book.
            Event::Peers { peer, addresses } => {
                if let Some(known) = turn.peers.get(peer) {
                    self.book.learn(known.address.ip(), &addresses);
                }
            }
            Event::Mined { block } => self.on_mined(turn, *block)?,
            // What was appended before this may now be told to people.
            Event::Durable { upto } => self.durability.on_durable(turn.chain, upto, turn.out),
            Event::Checkpointed { tip } => self.durability.on_checkpointed(tip),
        }
        Ok(())
    }

    // --- what happens ---

    fn on_tick(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let now = turn.now;
        self.sync.on_tick(turn);
        self.streams.on_tick(turn);
        for peer in turn.peers.on_tick(now.mono, &mut self.rng, turn.out) {
            turn.hang_up(peer, Reason::PongTimeout { limit_ms: peers::PONG_MS });
        }
        for ip in turn.peers.lift_bans(now.wall) {
            turn.out.push(Effect::Refuse { ip, until: None });
        }
        self.dialer.on_tick(now.mono, turn.peers, &self.book, &mut self.rng, turn.out);
        if self.room != Room::Enough && now.mono.since(self.room_asked_at) >= ROOM_MS {
            self.room_asked_at = now.mono;
            turn.chain.store_mut().refresh_room()?;
        }
        if now.mono.since(self.saved_at) >= SAVE_MS {
            self.saved_at = now.mono;
            self.save(turn.out);
        }
        Ok(())
    }

    fn save(&mut self, out: &mut Vec<Effect>) {
        if let Some(bytes) = self.book.to_save() {
            out.push(Effect::Save { file: addresses::FILE, bytes });
        }
    }

    fn on_connected(
        &mut self,
        turn: &mut Turn,
        (peer, direction, address, target): (PeerId, Direction, SocketAddr, Option<Target>),
        hello: &Hello,
    ) -> Result<(), StoreError> {
        if let Some(target) = &target {
            self.dialer.connected(target, hello.nonce);
            self.book.talked(turn.now, address);
        } else if hello.listen_port != 0 {
            let listens = SocketAddr::new(address.ip(), hello.listen_port);
            self.book.learn(address.ip(), &[PeerAddress::from(listens)]);
        }
        let newcomer = Newcomer { peer, direction, address, target, hello };
        let surplus = turn.peers.add(turn.now.mono, self.config.nonce, newcomer, &mut self.rng);
        let (agent, height, peers) = (shown(&hello.agent), hello.height, turn.peers.len());
        turn.tell(Report::Connected { peer, direction, address, agent, height, peers });
        if let Some(surplus) = surplus {
            turn.hang_up(surplus, Reason::Duplicate);
            if surplus == peer {
                return Ok(());
            }
        }
        warn_of_other_rules(turn, peer, &hello.activations);
        if direction == Direction::Outbound {
            turn.ask(peer, Asked::Peers, Message::GetPeers);
        }
        // A block may have come between our hello and now.
        if hello.work < turn.chain.tip().work {
            self.relay.announce(turn, &[peer])?;
        }
        Ok(())
    }

    /// Once per connection: who asks again learns nothing more, and is not cut for asking.
    fn on_get_peers(&mut self, turn: &mut Turn, peer: PeerId) {
        let Some(known) = turn.peers.get_mut(peer) else { return };
        let again = std::mem::replace(&mut known.had_addresses, true);
        let ip = known.address.ip();
        let sample = if again { List::default() } else { self.book.sample(&mut self.rng, ip) };
        turn.send(peer, Message::Peers(sample));
    }

    fn on_new_block(&mut self, turn: &mut Turn, peer: PeerId, block: Announced) -> Result<(), StoreError> {
        let header = block.header();
        let (id, prev) = (header.id(), header.header().prev);
        if let Some(known) = turn.peers.get_mut(peer) {
            known.has(id);
        }
        if turn.chain.has_body(&id)? || self.room != Room::Enough {
            return Ok(());
        }
        if let Some(&id) = [id, prev].iter().find(|id| turn.chain.is_condemned(id)) {
            turn.hang_up(peer, Reason::Rejected { id, reject: Reject::Condemned { id } });
            return Ok(());
        }
        let Some(parent) = turn.chain.position(&prev)? else {
            // It is ahead of us, or on another branch: its headers will tell.
            self.streams.follow(peer);
            return Ok(());
        };
        let position = match parent.child(turn.chain.params(), &header, turn.now.wall) {
            Ok(position) => position,
            Err(reject) if reject.blame() == Blame::Nobody => {
                turn.note(Level::Info, format!("block {id:.12} of {peer} is not taken now: {reject}"));
                self.streams.remember_early(turn, peer, &header);
                return Ok(());
            }
            Err(reject) => {
                turn.chain.condemn(id);
                turn.tell(Report::Refused { id, why: reject.to_string() });
                turn.hang_up(peer, Reason::Rejected { id, reject });
                return Ok(());
            }
        };
        if let Some(known) = turn.peers.get_mut(peer) {
            known.work = known.work.max(position.work);
            known.height = known.height.max(position.height);
        }
        match block {
            Announced::Whole(block) if turn.chain.has_body(&prev)? => {
                // Its rules were checked above; refused it can only be as one too many of its height.
                turn.chain.accept(turn.now.wall, vec![*block], false)?;
                self.sync.brought(turn, peer);
            }
            // Its body is fetched, with those of the headers below it.
            _ if position.work > turn.chain.tip().work => {
                turn.chain.insert_header(header, position, false);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_mined(&mut self, turn: &mut Turn, block: CheckedBlock) -> Result<(), StoreError> {
        let id = block.id();
        let acceptance = turn.chain.accept(turn.now.wall, vec![block], false)?;
        match acceptance.refused.first() {
            None => {
                if let Some(meta) = turn.chain.store().find_meta(&id)? {
                    self.durability.on_mined(&meta);
                }
            }
            // Somebody else's block came first.
            Some((_, Refusal::Weak | Refusal::Known)) => {}
            Some((_, refusal)) => {
                turn.note(Level::Warn, format!("block {id:.12} of our own was refused: {refusal:?}"));
            }
        }
        Ok(())
    }

    // --- what follows from every event ---

    /// Goes on towards the heaviest branch, for one turn's bytes.
    fn walk(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        match turn.chain.advance()? {
            Step::Still | Step::More => {}
            Step::NewTip { undone } => {
                self.durability.on_tip(*turn.chain.tip());
                turn.chain.evict_headers(self.sync.goal().as_ref());
                self.relay.on_tip(turn, undone, self.sync.is_busy())?;
            }
            Step::Failed { id, record, reject } => {
                turn.tell(Report::Refused { id, why: reject.to_string() });
                self.sync.start_over();
                if let Some(peer) = self.sync.deliverer(record) {
                    turn.hang_up(peer, Reason::Rejected { id, reject });
                }
            }
        }
        if let Some(bytes) = turn.chain.condemned_to_save() {
            turn.out.push(Effect::Save { file: condemned::FILE, bytes });
        }
        Ok(())
    }

    /// Asks for whatever can be asked for now: of peers, of the disk, of the miner.
    fn pump(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let room = turn.chain.store_mut().room()?;
        if (room == Room::Enough) != (self.room == Room::Enough) {
            turn.note(Level::Warn, room_text(room));
        }
        self.room = room;
        if room == Room::Enough {
            self.streams.pump(turn)?;
            self.sync.pump(turn);
        }
        for peer in std::mem::take(turn.lost) {
            if let Some(target) = &peer.target {
                self.dialer.lost(turn.now.mono, target);
            }
            self.sync.forget_gone(turn);
            self.streams.forget_gone(turn);
        }
        let catching_up = self.sync.is_busy();
        self.durability.pump(turn.now.mono, turn.chain, catching_up, turn.out);
        let mines = room == Room::Enough && !catching_up && turn.chain.rests() && self.dialer.has_looked();
        self.relay.pump_miner(turn, self.config.payout.filter(|_| mines));
        Ok(())
    }
}

fn room_text(room: Room) -> String {
    match room {
        Room::Enough => "there is space on the disk again: going on".into(),
        Room::Low { free_bytes } => format!(
            "only {} MiB are free on the disk (least {} MiB): no block is taken until there is more; free some space",
            free_bytes >> 20,
            crate::blockchain::storage::ROOM_MIN_BYTES >> 20,
        ),
    }
}

/// Says in time that a peer will follow other rules than we (RULES 10).
fn warn_of_other_rules(turn: &mut Turn, peer: PeerId, theirs: &[Activation]) {
    let params = Arc::clone(turn.chain.params());
    let ours = &params.spec().activations;
    let differ = theirs.iter().any(|theirs| ours.get(&theirs.rules) != Some(&theirs.height));
    if differ || theirs.len() != ours.len() {
        let theirs: Vec<_> = theirs.iter().map(|a| format!("{} from {}", a.rules, a.height)).collect();
        let ours: Vec<_> = ours.iter().map(|(rules, height)| format!("{rules} from {height}")).collect();
        let text = format!(
            "{peer} has other rules ahead than we: rules {} there, rules {} here; one of the two needs the other's network file",
            theirs.join(", "),
            ours.join(", "),
        );
        turn.note(Level::Warn, text);
    }
}
