//! How a node behaves: what each event means, and what follows from it.
//!
//! Here are the events, time, and what is asked for after each of them; what blocks bring about, from the news
//! of one to the ledger and the pool, stands in [`blocks`].

mod blocks;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::blockchain::chain::Chain;
use crate::blockchain::condemned;
use crate::blockchain::mempool::{self, Mempool, Saved};
use crate::blockchain::params::RULES_KNOWN;
use crate::blockchain::storage::{Room, StoreError};
use crate::node::NodeConfig;
use crate::node::addresses::{self, AddressBook};
use crate::node::dialer::Dialer;
use crate::node::durability::Durability;
use crate::node::event::{Asked, Direction, Effect, Event, PeerId, Target};
use crate::node::message::{Activation, Hello, Message, PeerAddress, shown};
use crate::node::orders::{Answer, Order, Orders, Ticket};
use crate::node::peers::{self, Newcomer, Peer};
use crate::node::reason::{Ending, Reason};
use crate::node::relay::Relay;
use crate::node::report::{Level, Report};
use crate::node::sketches::Sketches;
use crate::node::streams::Streams;
use crate::node::sync::Sync;
use crate::node::templates::Templates;
use crate::node::transactions::Transactions;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::rng::Rng;
use crate::primitives::time::{Mono, Now};

/// A peer that came is not asked for addresses before: by then those we chose ourselves are there, mostly.
const LONELY_MS: u64 = 60_000;
/// Between two looks at whether small files have changed.
const SAVE_MS: u64 = 10_000;
/// Between two looks at a disk that was too full.
const ROOM_MS: u64 = 1_000;

/// How a node behaves: every part but the chain and the peers, on which all of them work.
#[derive(Debug)]
pub(super) struct Conduct {
    config: NodeConfig,
    book: AddressBook,
    dialer: Dialer,
    streams: Streams,
    sync: Sync,
    relay: Relay,
    sketches: Sketches,
    transactions: Transactions,
    templates: Templates,
    durability: Durability,
    rng: Rng,
    orders: Orders,
    room: Room,
    room_asked_at: Mono,
    saved_at: Mono,
    /// Some of the header tree has become useless.
    prune_due: bool,
    pruned_at: Mono,
}

impl Conduct {
    /// How a node begins; `durability` knows what is on the disk, `saved` waited when it stopped.
    pub(super) fn new(config: NodeConfig, book: AddressBook, durability: Durability, saved: Vec<Saved>) -> Self {
        let seeds: &[String] = if config.seeds { &config.params.spec().seeds } else { &[] };
        Self {
            dialer: Dialer::new(config.connect.clone(), seeds, config.listen_port, config.outbound_max),
            rng: Rng::new(u64::from_le_bytes(*config.secret.first_chunk().expect("16 bytes hold eight"))),
            config,
            book,
            durability,
            streams: Streams::default(),
            sync: Sync::default(),
            relay: Relay::default(),
            sketches: Sketches::default(),
            transactions: Transactions::new(saved),
            templates: Templates::default(),
            orders: Orders::default(),
            room: Room::Enough,
            room_asked_at: Mono(0),
            saved_at: Mono(0),
            prune_due: false,
            pruned_at: Mono(0),
        }
    }

    /// Where others are said to listen.
    pub(super) fn book(&self) -> &AddressBook {
        &self.book
    }

    /// One event, with all that follows from it at once.
    ///
    /// Peers hear of a new tip before the pool does: what the walk has passed is taken note of first thing in
    /// the next turn, and until then there is more to do.
    pub(super) fn turn(&mut self, turn: &mut Turn, event: Event) -> Result<(), StoreError> {
        self.follow(turn)?;
        self.handle(turn, event)?;
        self.walk(turn)?;
        self.pump(turn)
    }

    /// Whether miners have something to work on.
    pub(super) fn is_mining(&self) -> bool {
        self.templates.is_mining()
    }

    /// Blocks that orders for them still lack.
    pub(super) fn blocks_owed(&self) -> u64 {
        self.orders.owed()
    }

    /// Whether the disk has room for blocks.
    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// What lasts by now, and who has been told.
    pub(super) fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Whether there are blocks to catch up with.
    pub(super) fn is_catching_up(&self, now: Mono) -> bool {
        self.sync.is_catching_up(now)
    }

    /// Whether a turn was cut short, apart from the chain and the pool.
    pub(super) fn has_more(&self) -> bool {
        self.transactions.has_verdicts()
    }

    /// The last effects.
    pub(super) fn close(&mut self, now: Now, chain: &mut Chain, pool: &mut Mempool, out: &mut Vec<Effect>) {
        let passed = chain.take_passed();
        let ids: Vec<_> = passed.iter().flat_map(|passed| blocks::pool_follows(pool, passed)).collect();
        if !ids.is_empty() {
            out.push(Effect::Tell(Report::Dropped { ids }));
        }
        self.durability.close(chain, out);
        self.save(chain, out);
        let bytes = pool.to_file(chain.params(), self.transactions.saved(), now.wall);
        out.push(Effect::Save { file: mempool::FILE, bytes });
    }

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
            Event::Closed { peer, reason } => {
                self.judge_last_words(turn, &reason);
                turn.gone(peer, reason);
            }
            Event::DialFailed { target, reason } => {
                if let Target::Address(address) = target {
                    self.book.failed(now, address);
                }
                self.dialer.failed(now, &target, &reason, turn.out);
            }
            Event::Ping { peer, nonce } => turn.send(peer, Message::Pong(nonce)),
            Event::Pong { peer, nonce } => turn.peers.pong(now.mono, peer, nonce),
            Event::Headers { peer, headers } => self.streams.on_headers(turn, peer, &headers)?,
            Event::Blocks { peer, blocks } => self.on_blocks(turn, peer, blocks)?,
            Event::Progress { peer } => {
                self.sync.on_progress(now.mono, peer);
                self.streams.on_progress(now.mono, peer);
            }
            Event::Missing { peer, last } => self.sync.on_missing(turn, peer, last),
            Event::NewBlock { peer, block } => self.on_new_block(turn, peer, block)?,
            Event::BlockTxs { peer, block, transfers } => {
                if let Some(block) = self.sketches.on_transfers(turn, peer, &block, &transfers) {
                    self.take_news(turn, peer, block)?;
                }
            }
            Event::BlockTxsMissing { peer, block } => self.sketches.on_missing(turn, peer, &block),
            Event::NewTx { peer, ids } => self.transactions.on_new(turn, peer, &ids),
            Event::GetTxs { peer, ids } => self.transactions.on_get(turn, peer, &ids),
            Event::Txs { peer, asked, transactions } => {
                self.transactions.on_answer(turn, peer, &asked, transactions);
            }
            Event::GetPool { peer, after } => self.transactions.on_get_pool(turn, peer, after),
            Event::Pool { peer, ids } => self.transactions.on_pool(turn, peer, &ids),
            Event::Verified { verdicts } => self.transactions.on_verified(turn, verdicts),
            Event::GetPeers { peer } => self.on_get_peers(turn, peer),
            // Asked for once per connection, so no peer can pour addresses into the book.
            Event::Peers { peer, addresses } => {
                if let Some(known) = turn.peers.get(peer) {
                    self.book.learn(known.address.ip(), &addresses);
                }
            }
            Event::Mined { block } => self.on_mined(turn, *block)?,
            Event::Order { ticket, order } => self.on_order(turn, ticket, order)?,
            // What was appended before this may now be told to people.
            Event::Durable { upto } => self.on_durable(turn, upto),
            Event::Checkpointed { tip } => self.durability.on_checkpointed(tip),
        }
        Ok(())
    }

    // --- what happens ---

    fn on_tick(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let now = turn.now;
        self.sync.on_tick(turn);
        self.streams.on_tick(turn);
        self.sketches.on_tick(turn);
        self.transactions.on_tick(turn);
        turn.pool.tick(now);
        for peer in turn.peers.on_tick(now.mono, &mut self.rng, turn.out) {
            turn.hang_up(peer, Reason::PongTimeout { limit_ms: peers::PONG_MS });
        }
        for ip in turn.peers.lift_bans(now.wall) {
            turn.out.push(Effect::Refuse { ip, until: None });
        }
        self.dialer.on_tick(now.mono, turn.peers, &self.book, &mut self.rng, turn.out);
        ask_who_came(turn);
        if self.room != Room::Enough && now.mono.since(self.room_asked_at) >= ROOM_MS {
            self.room_asked_at = now.mono;
            turn.chain.store_mut().refresh_room()?;
        }
        if now.mono.since(self.saved_at) >= SAVE_MS {
            self.saved_at = now.mono;
            self.save(turn.chain, turn.out);
        }
        Ok(())
    }

    /// Small files that have changed. A block that is condemned between two looks and forgotten in a crash
    /// is refused once more, and no harm done.
    fn save(&mut self, chain: &mut Chain, out: &mut Vec<Effect>) {
        if let Some(bytes) = chain.condemned_to_save() {
            out.push(Effect::Save { file: condemned::FILE, bytes });
        }
        if let Some(bytes) = self.book.to_save() {
            out.push(Effect::Save { file: addresses::FILE, bytes });
        }
    }

    fn on_durable(&mut self, turn: &mut Turn, upto: u64) {
        let mined = self.durability.on_durable(turn.chain, upto, turn.out);
        let reader = turn.chain.reader();
        self.orders.on_durable(&mined, |meta| reader.is_active(meta), turn.out);
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
        self.transactions.on_connected(peer);
        warn_of_other_rules(turn, peer, &hello.activations);
        if direction == Direction::Outbound {
            ask_for_addresses(turn, peer);
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

    // --- what people want ---

    /// Why no block can be made here, whoever wants it.
    fn bar_to_mining(&self, turn: &Turn) -> Option<String> {
        let height = turn.chain.tip().header.height + 1;
        let rules = turn.chain.params().rules_at(height);
        if rules > RULES_KNOWN {
            return Some(format!(
                "block {height} needs rules {rules} and this program knows {RULES_KNOWN}; a newer one has to make it"
            ));
        }
        (self.room != Room::Enough).then(|| blocks::TOO_FULL.into())
    }

    fn on_order(&mut self, turn: &mut Turn, ticket: Ticket, order: Order) -> Result<(), StoreError> {
        let done = match order {
            Order::Submit(transaction) => {
                self.transactions.on_submit(turn, ticket, *transaction);
                return Ok(());
            }
            Order::SubmitBlock(block) => return self.on_submitted(turn, ticket, *block),
            Order::Generate { count, payout } => {
                self.orders.on_generate(ticket, count, payout, self.config.payout.is_some(), turn.out);
                // Whatever bars it is told at once.
                if let Some(why) = self.bar_to_mining(turn) {
                    self.orders.stop(&why, turn.out);
                }
                return Ok(());
            }
            Order::Mine { threads, payout } => {
                self.config.payout = payout.or(self.config.payout.take());
                if threads == 0 {
                    self.orders.stop("mining was stopped by order", turn.out);
                }
                if threads > 0 && self.config.payout.is_none() {
                    Err("nobody is known whom a block could pay; name an address".into())
                } else {
                    turn.out.push(Effect::Miners { threads });
                    Ok(())
                }
            }
            Order::Connect(target) => self.dialer.want(turn.now.mono, target, turn.peers),
            Order::Disconnect(peer) => match turn.peers.get(peer) {
                Some(known) => {
                    self.dialer.leave_alone(known);
                    if let Some(Target::Address(address)) = known.target {
                        self.book.failed(turn.now, address);
                    }
                    turn.hang_up(peer, Reason::Ordered);
                    Ok(())
                }
                None => Err(format!("there is no {peer}; `spindle peers` lists who is connected")),
            },
            Order::Ban { ip, until } => turn.ban(ip, until),
            Order::Unban(ip) => turn.unban(ip),
            Order::Withdraw(ticket) => {
                self.orders.withdraw(ticket, turn.out);
                Ok(())
            }
        };
        turn.out.push(Effect::Answer { ticket, answer: Answer::Done(done) });
        Ok(())
    }

    // --- what follows from every event ---

    /// Asks for whatever can be asked for now: of peers, of the disk, of the miner.
    fn pump(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let room = turn.chain.store_mut().room()?;
        if (room == Room::Enough) != (self.room == Room::Enough) {
            turn.tell(Report::Room { room });
        }
        self.room = room;
        let lost = std::mem::take(turn.lost);
        if !lost.is_empty() {
            self.dial_again(turn.now.mono, &lost);
            self.sync.forget_gone(turn);
            self.streams.forget_gone(turn);
            self.sketches.forget_gone(turn);
            self.transactions.forget_gone(turn);
            self.prune_due |= lost.iter().any(|(peer, _)| peer.leaves().next().is_some());
        }
        self.prune_headers(turn);
        if room == Room::Enough {
            let now = turn.now.mono;
            self.streams.pump(turn, |peer| self.sync.is_slow(now, peer) || self.sketches.is_open(peer))?;
            self.sync.pump(turn);
        }
        let catching_up = self.sync.is_catching_up(turn.now.mono);
        self.relay.pump(turn, catching_up)?;
        self.durability.pump(turn.now.mono, turn.chain, catching_up, turn.out);
        let is_calm = room == Room::Enough && !catching_up && turn.chain.rests();
        let follows = turn.chain.passed().is_empty();
        self.transactions.pump(turn, is_calm && follows);
        // A template is made of chain and pool: until the next turn, when both say the same, the old one does.
        if follows {
            let bar = self.bar_to_mining(turn);
            if let Some(why) = bar.as_ref().filter(|_| self.orders.wanted().is_some()) {
                self.orders.stop(why, turn.out);
            }
            let mines = is_calm && self.dialer.has_looked() && bar.is_none();
            // What an order wants should hold what waits at this moment.
            if self.orders.is_new() {
                self.templates.hurry();
            }
            let ours = self.config.payout.as_ref();
            let payout = self.orders.wanted().map_or(ours, |theirs| theirs.or(ours));
            self.templates.pump(turn, payout.filter(|_| mines));
            if mines {
                self.orders.pump(turn.out);
            }
        }
        Ok(())
    }

    /// Those of these whom we had dialled are dialled again, sooner or later.
    fn dial_again(&mut self, now: Mono, lost: &[(Peer, Reason)]) {
        for (peer, reason) in lost {
            let Some(target) = &peer.target else { continue };
            let ending = Ending::of(now.since(peer.came_at), reason);
            self.dialer.lost(now, target, ending);
            self.book.lost(now, peer.address, ending);
        }
    }
}

/// Asks a peer where others listen: once, since the second answer is empty.
fn ask_for_addresses(turn: &mut Turn, peer: PeerId) {
    if let Some(known) = turn.peers.get_mut(peer)
        && !std::mem::replace(&mut known.was_asked, true)
    {
        turn.ask(peer, Asked::Peers, Message::GetPeers);
    }
}

/// Whoever has been a while without a connection of its own choice asks those who came, one after the other:
/// else the first node of a network, whom everybody dials, would never hear of anybody.
fn ask_who_came(turn: &mut Turn) {
    if turn.peers.outbound() > 0 {
        return;
    }
    let patient = |peer: &Peer| turn.now.mono.since(peer.came_at) >= LONELY_MS;
    let unasked = turn.peers.iter().find(|(_, peer)| !peer.was_asked && peer.listen_port != 0 && patient(peer));
    if let Some(peer) = unasked.map(|(id, _)| id) {
        ask_for_addresses(turn, peer);
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
