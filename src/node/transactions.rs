//! Transactions between peers: announced by id, fetched once, checked once, told on.
//!
//! An unknown id is asked of the first peer that announced it; when that one does not deliver, of the
//! next. What comes is matched with ledger and pool before its signatures cost anything, then verified
//! elsewhere ([`Effect::Verify`]), then let into the pool, and told to every peer that does not have it.
//! What waits in a newcomer's pool is read page by page, at our pace. A transaction that is only too cheap,
//! or came second, or lacks its parents, blames nobody; one that could be in no block ends its sender's
//! connection.
//!
//! Left out: hiding where a transaction began (Dandelion). Whoever listens to enough nodes can tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::mempool::{Offer, PoolReject, Saved, Source};
use crate::blockchain::reject::Reject;
use crate::node::event::{Asked, Effect, PeerId};
use crate::node::message::{Kind, Message, TX_IDS_MAX, TXS_BYTES};
use crate::node::peers::{Scope, scope};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::time::{Mono, Wall};

/// Ids that one peer announced and that wait to be asked for, whatever others hold: 40 peers × 1,024 × 32 B.
pub const QUEUE_OWN: usize = 1_024;
/// More of them, for all peers together: a whole pool at once, 32,768 × 32 B. What finds no room is not asked
/// for; it may come with a block, or from somebody else.
pub const QUEUE_SHARED: usize = 32_768;
/// Ids that a peer is known to have: 40 × 4,096 × 24 B = 3.8 MiB.
pub const KNOWN_MAX: usize = 4_096;
/// Ids that were refused since the last block and are not asked for again.
const REFUSED_MAX: usize = 4_096;
/// Ids that one question asks for: what comes is verified together.
const BATCH: usize = 256;
/// For an answer; then the next announcer is asked.
pub const ANSWER_MS: u64 = 2_000;
/// A peer that has not answered at all by then is cut.
const ANSWER_MS_MAX: u64 = 60_000;
/// Batches that are being verified.
pub const VERIFYING_MAX: usize = 64;
/// Their bytes; their tables and claims come to twice as many.
pub const VERIFYING_BYTES_MAX: usize = 2 << 20;
/// Ids that wait for others, looked at in one turn for each peer.
const LATER_TURN: usize = 256;

/// The last so many ids, as their first eight bytes: two that share them cost 2^64 hashes to make, and
/// gain that one of them is not relayed.
#[derive(Debug, Default)]
struct Recent {
    ids: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Adds one; false if it is there already.
    fn add(&mut self, id: &Hash, most: usize) -> bool {
        let short = short(id);
        let is_new = self.ids.insert(short);
        if is_new {
            self.order.push_back(short);
            if self.order.len() > most
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
        is_new
    }

    fn contains(&self, id: &Hash) -> bool {
        self.ids.contains(&short(id))
    }
}

fn short(id: &Hash) -> u64 {
    u64::from_le_bytes(*id.0.first_chunk().expect("a hash has 32 bytes"))
}

/// A question for transactions that is not answered.
#[derive(Debug)]
struct Open {
    since: Mono,
    ids: Vec<Hash>,
}

/// How much of a peer's pool we have read.
#[derive(Debug, PartialEq, Eq)]
enum Page {
    /// What is greater than this id is to be asked for.
    Due(Hash),
    Asked,
    Done,
}

/// What passes between one peer and us.
#[derive(Debug)]
struct Exchange {
    /// It announced these: to be asked for.
    queue: VecDeque<Hash>,
    /// It announced these, which others are asked for, or whose parents are on their way.
    later: VecDeque<Hash>,
    open: Option<Open>,
    /// It has these.
    known: Recent,
    /// To be told.
    news: Vec<Hash>,
    page: Page,
}

impl Exchange {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            later: VecDeque::new(),
            open: None,
            known: Recent::default(),
            news: Vec::new(),
            page: Page::Due(Hash::ZERO),
        }
    }

    /// Ids that wait to be asked for.
    fn waiting(&self) -> usize {
        self.queue.len() + self.later.len()
    }
}

/// Where a transaction that is being verified came from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Peer(PeerId),
    /// It waits for a verdict.
    Wallet(PeerId),
    /// Our own file says when it arrived.
    File(Wall),
}

/// The relay of transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    exchanges: BTreeMap<PeerId, Exchange>,
    /// Who is asked for what.
    in_flight: BTreeMap<Hash, PeerId>,
    verifying: BTreeMap<Hash, (Origin, usize)>,
    verifying_bytes: usize,
    /// `Verify` effects without their `Verified`.
    batches: usize,
    refused: Recent,
    /// What waited when the node stopped, the rest of it.
    saved: VecDeque<Saved>,
}

impl Transactions {
    /// The relay of a node that has kept these over a restart.
    pub fn new(saved: Vec<Saved>) -> Self {
        Self { saved: saved.into(), ..Self::default() }
    }

    /// What waited when the node stopped the last time and has not been looked at again: not to be lost.
    pub fn saved(&self) -> impl Iterator<Item = &Saved> {
        self.saved.iter()
    }

    // --- what peers say ---

    /// A peer has come.
    pub fn on_connected(&mut self, peer: PeerId) {
        self.exchanges.insert(peer, Exchange::new());
    }

    /// A peer has transactions; those that we lack are wanted.
    pub fn on_new(&mut self, turn: &Turn, peer: PeerId, ids: &[Hash]) {
        let mut room = self.room_for(peer);
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        for id in ids {
            exchange.known.add(id, KNOWN_MAX);
            if room == 0 || turn.pool.knows(id) || self.refused.contains(id) {
                continue;
            }
            room -= 1;
            if self.verifying.contains_key(id) || self.in_flight.contains_key(id) {
                exchange.later.push_back(*id);
            } else {
                exchange.queue.push_back(*id);
            }
        }
    }

    /// A page of a peer's pool.
    pub fn on_pool(&mut self, turn: &Turn, peer: PeerId, ids: &[Hash]) {
        self.on_new(turn, peer, ids);
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        exchange.page = match ids.last() {
            Some(last) if ids.len() == TX_IDS_MAX => Page::Due(*last),
            _ => Page::Done,
        };
    }

    /// What was asked for has come, or some of it.
    pub fn on_answer(&mut self, turn: &mut Turn, peer: PeerId, asked: &[Hash], transactions: Vec<ReadTx>) {
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        exchange.open = None;
        for id in asked {
            // Somebody else may have been asked meanwhile.
            if self.in_flight.get(id) == Some(&peer) {
                self.in_flight.remove(id);
            }
        }
        let size_bytes: usize = transactions.iter().map(|transaction| transaction.bytes().len()).sum();
        if let Some(last) = transactions.last().filter(|_| size_bytes >= TXS_BYTES) {
            // There was no room for the rest.
            let rest = asked.iter().rev().take_while(|id| **id != last.id());
            rest.for_each(|id| exchange.queue.push_front(*id));
        }
        let news = transactions.iter().map(|transaction| transaction.id()).filter(|id| !turn.pool.knows(id));
        let together: BTreeSet<Hash> = news.collect();
        let mut ready = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let id = transaction.id();
            if turn.pool.knows(&id) || self.verifying.contains_key(&id) {
                continue;
            }
            if self.has_parent_on_its_way(&transaction, &together) {
                self.put_off(peer, id);
                continue;
            }
            let offer = turn.pool.offer(Source(peer.0), transaction, &turn.chain.ground(turn.now));
            if !self.take_offer(turn, peer, id, offer, &mut ready) {
                return;
            }
        }
        self.verify(turn, ready, Origin::Peer(peer));
    }

    /// Whether it hangs on one that will be in the pool in a moment, or not at all: until then nothing can
    /// be said of it.
    fn has_parent_on_its_way(&self, transaction: &ReadTx, together: &BTreeSet<Hash>) -> bool {
        transaction.inputs().any(|input| {
            let parent = input.outpoint.transaction;
            together.contains(&parent) || self.verifying.contains_key(&parent) || self.in_flight.contains_key(&parent)
        })
    }

    /// How many more ids of this peer may wait.
    fn room_for(&self, peer: PeerId) -> usize {
        let Some(own) = self.exchanges.get(&peer) else { return 0 };
        let shared: usize = self.exchanges.values().map(|other| other.waiting().saturating_sub(QUEUE_OWN)).sum();
        QUEUE_OWN.saturating_sub(own.waiting()) + QUEUE_SHARED.saturating_sub(shared)
    }

    /// An id is asked of this peer again, after a while.
    fn put_off(&mut self, peer: PeerId, id: Hash) {
        if self.room_for(peer) > 0
            && let Some(exchange) = self.exchanges.get_mut(&peer)
        {
            exchange.later.push_back(id);
        }
    }

    /// What an offer means; false if it was the end of its sender.
    fn take_offer(&mut self, turn: &mut Turn, peer: PeerId, id: Hash, offer: Offer, ready: &mut Vec<ReadTx>) -> bool {
        match offer {
            Offer::Ready(transaction) => ready.push(transaction),
            // Whoever has the child has the parent, or had it.
            Offer::Held { parent } => self.on_new(turn, peer, &[parent]),
            Offer::Refused(reject) => return self.refuse(turn, peer, id, reject),
        }
        true
    }

    /// A peer's transaction is not taken; false if its sender had to know that and is cut.
    fn refuse(&mut self, turn: &mut Turn, peer: PeerId, id: Hash, reject: PoolReject) -> bool {
        turn.note(Level::Debug, format!("transaction {id:.12} of {peer} is not taken: {reject}"));
        match reject {
            PoolReject::Known { .. } => {}
            PoolReject::Reorganising => self.put_off(peer, id),
            PoolReject::Rule(reject) => {
                turn.hang_up(peer, Reason::BadTransaction { reject });
                return false;
            }
            _ => {
                self.refused.add(&id, REFUSED_MAX);
            }
        }
        true
    }

    /// A peer wants transactions: those that wait here, as many as a message holds.
    pub fn on_get(&self, turn: &mut Turn, peer: PeerId, ids: &[Hash]) {
        let (mut transactions, mut size_bytes) = (Vec::new(), 0);
        for id in ids {
            if size_bytes >= TXS_BYTES {
                break;
            }
            if let Some(transaction) = turn.pool.get(id) {
                size_bytes += transaction.bytes().len();
                transactions.push(transaction.bytes().to_vec());
            }
        }
        turn.send(peer, Message::Txs(transactions));
    }

    /// A peer wants to know what waits: a page of ids. All of the pool is looked at for that, so strangers
    /// get each page once.
    pub fn on_get_pool(&self, turn: &mut Turn, peer: PeerId, after: Hash) {
        let Some(known) = turn.peers.get_mut(peer) else { return };
        let goes_on = known.pool_read_to.is_none_or(|read_to| after > read_to);
        known.pool_read_to = Some(after);
        let mut ids: Vec<Hash> = if goes_on || scope(known.address.ip()) == Scope::Loopback {
            turn.pool.ids().filter(|id| *id > after).collect()
        } else {
            Vec::new()
        };
        if ids.len() > TX_IDS_MAX {
            ids.select_nth_unstable(TX_IDS_MAX);
            ids.truncate(TX_IDS_MAX);
        }
        ids.sort_unstable();
        turn.send(peer, Message::Pool(List::first_of(ids)));
    }

    /// A wallet hands one in. It hears what becomes of it, so it may not be held as an orphan.
    pub fn on_submit(&mut self, turn: &mut Turn, peer: PeerId, transaction: ReadTx) {
        let Some(known) = turn.peers.get(peer) else { return };
        if scope(known.address.ip()) != Scope::Loopback {
            return turn.hang_up(peer, Reason::OutOfPlace { kind: Kind::SubmitTx });
        }
        let id = transaction.id();
        if let Some(exchange) = self.exchanges.get_mut(&peer) {
            exchange.known.add(&id, KNOWN_MAX);
        }
        if let Some((origin, _)) = self.verifying.get_mut(&id) {
            *origin = Origin::Wallet(peer);
            return;
        }
        let why = if turn.pool.contains(&id) {
            String::new()
        } else {
            match turn.pool.match_inputs(&transaction, &turn.chain.ground(turn.now)) {
                Ok(()) if self.verify(turn, vec![transaction], Origin::Wallet(peer)) => return,
                Ok(()) => "the node is busy with other transactions; try again".into(),
                Err(reject) => reject.to_string(),
            }
        };
        tell_verdict(turn, peer, id, why);
    }

    // --- checking ---

    /// Has signatures checked; false if too many are being checked. What peers brought is asked for again
    /// later then.
    fn verify(&mut self, turn: &mut Turn, transactions: Vec<ReadTx>, origin: Origin) -> bool {
        if transactions.is_empty() {
            return true;
        }
        if self.batches >= VERIFYING_MAX || self.verifying_bytes >= VERIFYING_BYTES_MAX {
            if let Origin::Peer(peer) = origin {
                for transaction in &transactions {
                    self.put_off(peer, transaction.id());
                }
            }
            return false;
        }
        for transaction in &transactions {
            let size_bytes = transaction.bytes().len();
            self.verifying_bytes += size_bytes;
            self.verifying.insert(transaction.id(), (origin, size_bytes));
        }
        self.batches += 1;
        turn.out.push(Effect::Verify { transactions });
        true
    }

    /// Signatures are checked: in with those that are right, and on to others.
    pub fn on_verified(&mut self, turn: &mut Turn, verdicts: Vec<Result<CheckedTx, Reject>>) {
        self.batches -= 1;
        for verdict in verdicts {
            let id = match &verdict {
                Ok(transaction) => transaction.id(),
                Err(Reject::BadSignature { transaction }) => *transaction,
                Err(reject) => unreachable!("only signatures are looked at, and not {reject}"),
            };
            let (origin, size_bytes) = self.verifying.remove(&id).expect("what is verified was given to be");
            self.verifying_bytes -= size_bytes;
            let arrived = if let Origin::File(arrived) = origin { arrived } else { turn.now.wall };
            let outcome = verdict.map_err(PoolReject::Rule).and_then(|transaction| {
                let (fee, size_bytes) = (transaction.fee(), transaction.bytes().len());
                turn.pool.insert(transaction, arrived, &turn.chain.ground(turn.now)).map(|()| (fee, size_bytes))
            });
            match outcome {
                Ok((fee, size_bytes)) => {
                    self.tell_on(id);
                    if !matches!(origin, Origin::File(_)) {
                        turn.tell(Report::Waits { id, fee, size_bytes, waiting: turn.pool.len() });
                    }
                    if let Origin::Wallet(peer) = origin {
                        tell_verdict(turn, peer, id, String::new());
                    }
                }
                Err(reject) => match origin {
                    Origin::Peer(peer) => drop(self.refuse(turn, peer, id, reject)),
                    Origin::Wallet(peer) => tell_verdict(turn, peer, id, reject.to_string()),
                    Origin::File(_) => {
                        turn.note(Level::Debug, format!("transaction {id:.12} no longer waits: {reject}"));
                    }
                },
            }
        }
    }

    /// One orphan whose parent has come; one in each turn, so that a parent of many makes no long one.
    pub fn adopt(&mut self, turn: &mut Turn) {
        let Some((source, id, offer)) = turn.pool.next_orphan(&turn.chain.ground(turn.now)) else { return };
        let peer = PeerId(source.0);
        let mut ready = Vec::new();
        self.take_offer(turn, peer, id, offer, &mut ready);
        self.verify(turn, ready, Origin::Peer(peer));
    }

    /// What could not be in the next block may be in the one after.
    pub fn on_tip(&mut self) {
        self.refused = Recent::default();
    }

    // --- telling and asking ---

    /// Everybody who does not have it shall hear of it.
    fn tell_on(&mut self, id: Hash) {
        for exchange in self.exchanges.values_mut() {
            if exchange.known.add(&id, KNOWN_MAX) {
                exchange.news.push(id);
            }
        }
    }

    /// Passes on what does not come, and cuts who never answers.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        let mut silent = Vec::new();
        for (&peer, exchange) in &mut self.exchanges {
            let Some(open) = &mut exchange.open else { continue };
            if now.since(open.since) >= ANSWER_MS_MAX {
                silent.push(peer);
            } else if now.since(open.since) >= ANSWER_MS {
                for id in open.ids.drain(..) {
                    if self.in_flight.get(&id) == Some(&peer) {
                        self.in_flight.remove(&id);
                    }
                }
            }
        }
        for peer in silent {
            turn.hang_up(peer, Reason::Stalled { limit_ms: ANSWER_MS_MAX });
        }
    }

    /// Forgets peers that are gone; what they owed is asked of others.
    pub fn forget_gone(&mut self, turn: &mut Turn) {
        let gone: Vec<PeerId> =
            self.exchanges.keys().filter(|peer| turn.peers.get(**peer).is_none()).copied().collect();
        for peer in gone {
            self.exchanges.remove(&peer);
            turn.pool.forget_source(Source(peer.0));
        }
        self.in_flight.retain(|_, peer| turn.peers.get(*peer).is_some());
    }

    /// Asks for what can be asked for, if now is a time for that, and tells what is to be told.
    pub fn pump(&mut self, turn: &mut Turn, may_ask: bool) {
        if may_ask && !self.saved.is_empty() {
            // It has its room in the pool before newcomers.
            self.bring_back(turn);
        } else if may_ask {
            let peers: Vec<PeerId> = self.exchanges.keys().copied().collect();
            for peer in peers {
                self.ask(turn, peer);
            }
        }
        let mut news: BTreeMap<Vec<Hash>, Vec<PeerId>> = BTreeMap::new();
        for (&peer, exchange) in &mut self.exchanges {
            if !exchange.news.is_empty() {
                news.entry(std::mem::take(&mut exchange.news)).or_default().push(peer);
            }
        }
        for (ids, peers) in news {
            for ids in ids.chunks(TX_IDS_MAX) {
                turn.out.push(Effect::BroadcastTx { peers: peers.clone(), ids: ids.to_vec() });
            }
        }
    }

    /// What waited when the node stopped is verified again, a batch at a time and in the old order.
    fn bring_back(&mut self, turn: &mut Turn) {
        if self.batches > 0 || !turn.pool.is_settled() {
            return;
        }
        let batch: Vec<Saved> = self.saved.drain(..self.saved.len().min(BATCH)).collect();
        for saved in &batch {
            let size_bytes = saved.tx.bytes().len();
            self.verifying_bytes += size_bytes;
            self.verifying.insert(saved.tx.id(), (Origin::File(saved.arrived), size_bytes));
        }
        self.batches += 1;
        turn.out.push(Effect::Verify { transactions: batch.into_iter().map(|saved| saved.tx).collect() });
    }

    /// Asks one peer for what it announced, or for more of what it has.
    fn ask(&mut self, turn: &mut Turn, peer: PeerId) {
        self.look_again(turn, peer);
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        if exchange.open.is_none() && !exchange.queue.is_empty() && self.verifying_bytes < VERIFYING_BYTES_MAX {
            let mut ids = Vec::new();
            while ids.len() < BATCH
                && let Some(id) = exchange.queue.pop_front()
            {
                if turn.pool.knows(&id) || self.verifying.contains_key(&id) {
                    continue;
                }
                if self.in_flight.contains_key(&id) {
                    exchange.later.push_back(id);
                    continue;
                }
                self.in_flight.insert(id, peer);
                ids.push(id);
            }
            if !ids.is_empty() {
                exchange.open = Some(Open { since: turn.now.mono, ids: ids.clone() });
                turn.ask(peer, Asked::Txs(ids.clone()), Message::GetTxs(List::first_of(ids)));
            }
        }
        if let Page::Due(after) = exchange.page
            && exchange.waiting() + TX_IDS_MAX <= 2 * QUEUE_OWN
        {
            exchange.page = Page::Asked;
            turn.ask(peer, Asked::Pool, Message::GetPool(after));
        }
    }

    /// Looks again at what a peer announced while others were asked for it.
    fn look_again(&mut self, turn: &Turn, peer: PeerId) {
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        for _ in 0..exchange.later.len().min(LATER_TURN) {
            let Some(id) = exchange.later.pop_front() else { return };
            if turn.pool.knows(&id) || self.refused.contains(&id) {
                continue;
            }
            if self.verifying.contains_key(&id) || self.in_flight.contains_key(&id) {
                exchange.later.push_back(id);
            } else {
                exchange.queue.push_back(id);
            }
        }
    }
}

/// Tells a wallet what became of its transaction; no words mean that it waits.
fn tell_verdict(turn: &mut Turn, peer: PeerId, id: Hash, why: String) {
    if turn.peers.get(peer).is_some() {
        turn.send(peer, Message::Verdict { id, why: List::first_of(why.into_bytes()) });
    }
}
