//! Transactions between peers: announced by id, fetched once, checked once, told on.
//!
//! An unknown id is asked of the first peer that announced it; when that one does not deliver, of the
//! next. What comes is matched with ledger and pool before its signatures cost anything, then verified
//! elsewhere ([`Effect::Verify`]), then let into the pool, and told to every peer that does not have it.
//! What waits in a newcomer's pool is read page by page, at our pace. A transaction that is only too cheap,
//! or came second, or lacks its parents, blames nobody; one that could be in no block ends its sender's
//! connection.
//!
//! An id that is on its way keeps others waiting: whoever announced it too, and children, of which nothing can
//! be said before. When its fate is clear just those are asked, so nothing is searched and no time is lost.
//!
//! Left out: hiding where a transaction began (Dandelion). Whoever listens to enough nodes can tell.

mod checking;
pub mod exchange;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use checking::Checking;

use crate::blockchain::chain::Passed;
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::mempool::{Offer, PoolReject, Saved, Source};
use crate::blockchain::reject::Reject;
use crate::node::event::{Asked, Direction, Effect, PeerId};
use crate::node::message::{Message, TX_IDS_MAX, TXS_BYTES};
use crate::node::reason::Reason;
use crate::node::report::Level;
use crate::node::transactions::exchange::{
    Exchange, KNOWN_MAX, Open, Page, QUEUE_OWN, QUEUE_SHARED, Recent, Waiting, short,
};
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;

/// Ids that were refused since the last block and are not asked for again.
const REFUSED_MAX: usize = 4_096;
/// Ids in blocks of late: three full ones. 8 bytes in a list and 16 in a tree that is a third empty: 0.4 MiB.
const CONFIRMED_MAX: usize = 16_384;
/// Ids that one question asks for: what comes is verified together.
const BATCH: usize = 256;
/// For an answer; then the next announcer is asked.
pub const ANSWER_MS: u64 = 2_000;
/// A peer that has not answered at all by then is cut.
const ANSWER_MS_MAX: u64 = 60_000;
/// Batches that are being verified.
pub const VERIFYING_MAX: usize = 64;
/// Their bytes; their tables and claims come to twice as many.
pub const VERIFYING_BYTES_MAX: usize = 3 << 19;

/// The relay of transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    exchanges: BTreeMap<PeerId, Exchange>,
    /// Who is asked for what.
    in_flight: BTreeMap<Hash, PeerId>,
    waiting: Waiting,
    verifying: BTreeMap<Hash, Checking>,
    verifying_bytes: usize,
    /// `Verify` effects whose verdicts are not in.
    batches: usize,
    /// Verdicts that came while the chain walked: judged when it rests.
    verdicts: VecDeque<Vec<Result<CheckedTx, Reject>>>,
    refused: Recent,
    /// They are in blocks of the active chain. A ledger that is a set cannot tell their coins from invented ones.
    confirmed: Recent,
    /// What waited when the node stopped, and is not verified again yet; each once.
    saved: VecDeque<Saved>,
    /// Somebody is to be told of something.
    has_news: bool,
}

impl Transactions {
    /// The relay of a node that has kept these over a restart.
    pub fn new(mut saved: Vec<Saved>) -> Self {
        let mut seen = BTreeSet::new();
        saved.retain(|saved| seen.insert(saved.tx.id()));
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
        let shared_free = self.shared_free();
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        let mut room = exchange.room(shared_free);
        for id in ids {
            exchange.known.add(id, KNOWN_MAX);
            let is_over = self.refused.contains(id) || self.confirmed.contains(id);
            if is_over || turn.pool.knows(id) || self.verifying.contains_key(id) {
                // One that is being verified has come whole: its id fixes every byte.
                continue;
            }
            if self.in_flight.contains_key(id) && self.waiting.add(exchange, *id, peer, *id) {
                continue;
            }
            if room > 0 {
                room -= 1;
                exchange.queue.push_back(*id);
            }
        }
    }

    /// A page of a peer's pool.
    pub fn on_pool(&mut self, turn: &Turn, peer: PeerId, ids: &[Hash]) {
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        let Page::Asked(after) = exchange.page else { return };
        exchange.page = match ids.last() {
            // Who does not get on has no end.
            Some(last) if ids.len() == TX_IDS_MAX && *last > after => Page::Due(*last),
            _ => Page::Done,
        };
        self.on_new(turn, peer, ids);
    }

    /// What was asked for has come, or some of it.
    pub fn on_answer(&mut self, turn: &mut Turn, peer: PeerId, asked: &[Hash], transactions: Vec<ReadTx>) {
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        exchange.open = None;
        exchange.misses = if transactions.is_empty() { exchange.misses.saturating_add(1) } else { 0 };
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
        if !is_firm(turn) {
            return asked.iter().for_each(|id| self.ask_again(peer, *id));
        }
        let put_off = self.take(turn, peer, transactions);
        for id in asked {
            if !self.verifying.contains_key(id) && !put_off.contains(id) {
                self.release(turn, *id);
            }
        }
    }

    /// Transactions of a peer: those whose coins are there have their signatures verified. Gives those of
    /// which nothing can be said yet.
    fn take(&mut self, turn: &mut Turn, peer: PeerId, transactions: Vec<ReadTx>) -> BTreeSet<Hash> {
        let mut put_off = BTreeSet::new();
        let news = transactions.iter().map(|transaction| transaction.id()).filter(|id| !turn.pool.knows(id));
        let together: BTreeSet<Hash> = news.collect();
        let mut ready = Vec::with_capacity(transactions.len());
        // What the peer is still to be asked for; looked up only if there are children without parents.
        let mut queued: Option<BTreeSet<u64>> = None;
        for transaction in transactions {
            let id = transaction.id();
            if turn.pool.knows(&id) || self.verifying.contains_key(&id) || self.confirmed.contains(&id) {
                continue;
            }
            if let Some(parent) = self.parent_on_its_way(&transaction, &together) {
                self.put_behind(parent, peer, id);
                put_off.insert(id);
                continue;
            }
            let ground = turn.chain.ground(turn.now);
            let offer = match turn.pool.match_inputs(&transaction, &ground) {
                Ok(()) => Offer::Ready(transaction),
                Err(PoolReject::Missing { parent, .. }) => {
                    let is_asked = self.asks_for_parent(turn, peer, parent);
                    if is_asked && let Some(queued) = &mut queued {
                        queued.insert(short(&parent));
                    }
                    if is_asked || self.is_to_come(peer, &parent, &mut queued) {
                        self.put_behind(parent, peer, id);
                        put_off.insert(id);
                        continue;
                    }
                    turn.pool.offer(Source(peer.0), transaction, &turn.chain.ground(turn.now))
                }
                Err(reject) => Offer::Refused(reject),
            };
            if !self.take_offer(turn, peer, id, offer, &mut ready) {
                return put_off;
            }
        }
        self.verify_of(turn, peer, ready);
        put_off
    }

    /// One that it hangs on and that will be in the pool in a moment, or not at all: until then nothing can
    /// be said of it.
    fn parent_on_its_way(&self, transaction: &ReadTx, together: &BTreeSet<Hash>) -> Option<Hash> {
        transaction.inputs().map(|input| input.outpoint.transaction).find(|parent| {
            together.contains(parent) || self.verifying.contains_key(parent) || self.in_flight.contains_key(parent)
        })
    }

    /// Has the peer that brought a child asked for its missing parent; false if it was before, or is not worth
    /// it. Pools are read in the order of ids, so children often come first, and orphans are few.
    fn asks_for_parent(&mut self, turn: &Turn, peer: PeerId, parent: Hash) -> bool {
        if turn.pool.knows(&parent) || self.refused.contains(&parent) || self.confirmed.contains(&parent) {
            return false;
        }
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return false };
        // Whoever has the child has the parent, or had it.
        let is_new = exchange.known.add(&parent, KNOWN_MAX);
        if is_new {
            exchange.queue.push_front(parent);
        }
        is_new
    }

    /// Whether a missing parent was announced by this peer and is yet to be asked for.
    fn is_to_come(&self, peer: PeerId, parent: &Hash, queued: &mut Option<BTreeSet<u64>>) -> bool {
        let Some(exchange) = self.exchanges.get(&peer) else { return false };
        let queued = queued.get_or_insert_with(|| exchange.queue.iter().map(short).collect());
        self.waiting.has_child(parent) || queued.contains(&short(parent))
    }

    /// Places for ids that any peer may take.
    fn shared_free(&self) -> usize {
        let taken: usize = self.exchanges.values().map(|other| other.held().saturating_sub(QUEUE_OWN)).sum();
        QUEUE_SHARED.saturating_sub(taken)
    }

    /// A child is asked for again when it is clear what becomes of its parent; of everybody who has it.
    fn put_behind(&mut self, parent: Hash, peer: PeerId, child: Hash) {
        let others = self.take_waiting(child, false);
        for (peer, child) in others.into_iter().chain([(peer, child)]) {
            let Some(exchange) = self.exchanges.get_mut(&peer) else { continue };
            if !self.waiting.add(exchange, parent, peer, child) {
                exchange.queue.push_back(child);
            }
        }
    }

    /// It is clear what became of this one: who waited for that is asked.
    fn release(&mut self, turn: &Turn, first: Hash) {
        for (peer, then) in self.take_waiting(first, true) {
            if !turn.pool.knows(&then) && !self.refused.contains(&then) {
                self.ask_again(peer, then);
            }
        }
    }

    fn take_waiting(&mut self, first: Hash, and_children: bool) -> Vec<(PeerId, Hash)> {
        let taken = self.waiting.take(&first, and_children);
        for (peer, _) in &taken {
            if let Some(exchange) = self.exchanges.get_mut(peer) {
                exchange.waiting -= 1;
            }
        }
        taken
    }

    /// An id is asked of this peer again, as soon as anything is asked.
    fn ask_again(&mut self, peer: PeerId, id: Hash) {
        if let Some(exchange) = self.exchanges.get_mut(&peer) {
            exchange.queue.push_back(id);
        }
    }

    /// What an offer means; false if it was the end of its sender.
    fn take_offer(&mut self, turn: &mut Turn, peer: PeerId, id: Hash, offer: Offer, ready: &mut Vec<ReadTx>) -> bool {
        match offer {
            Offer::Ready(transaction) => ready.push(transaction),
            Offer::Held { parent } => {
                self.asks_for_parent(turn, peer, parent);
            }
            Offer::Refused(reject) => return self.refuse(turn, peer, id, reject),
        }
        true
    }

    /// A peer's transaction is not taken; false if its sender had to know that and is cut.
    fn refuse(&mut self, turn: &mut Turn, peer: PeerId, id: Hash, reject: PoolReject) -> bool {
        turn.note(Level::Debug, format!("transaction {id:.12} of {peer} is not taken: {reject}"));
        match reject {
            // It is here; or there is no room for it at this moment, or for more of this peer's: another peer, or
            // another moment, may do better.
            PoolReject::Known { .. } | PoolReject::OrphansFull { .. } | PoolReject::OrphanShare { .. } => {}
            PoolReject::Reorganising => self.ask_again(peer, id),
            // Its sender is a block ahead, and we shall be in a moment.
            PoolReject::Immature { matures_at, next_height } if matures_at == next_height + 1 => {
                let shared_free = self.shared_free();
                if let Some(exchange) = self.exchanges.get_mut(&peer)
                    && exchange.room(shared_free) > 0
                {
                    exchange.for_next_tip.push(id);
                }
            }
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

    /// A peer wants to know what waits: a page of ids. All of the pool is looked at for that, so each peer
    /// gets each page once.
    pub fn on_get_pool(&self, turn: &mut Turn, peer: PeerId, after: Hash) {
        let Some(known) = turn.peers.get_mut(peer) else { return };
        let goes_on = known.pool_from.is_some_and(|from| after >= from);
        if !goes_on {
            return turn.send(peer, Message::Pool(List::default()));
        }
        let mut ids: Vec<Hash> = turn.pool.ids().filter(|id| *id > after).collect();
        if ids.len() > TX_IDS_MAX {
            ids.select_nth_unstable(TX_IDS_MAX);
            ids.truncate(TX_IDS_MAX);
        }
        ids.sort_unstable();
        known.pool_from = ids.last().filter(|_| ids.len() == TX_IDS_MAX).copied();
        turn.send(peer, Message::Pool(List::first_of(ids)));
    }

    // --- what blocks change ---

    /// The chain's walk has applied or undone a block.
    pub fn on_passed(&mut self, passed: &Passed) {
        match passed {
            Passed::Connected(block) => {
                for id in block.transactions().iter().skip(1) {
                    self.confirmed.add(id, CONFIRMED_MAX);
                }
            }
            // Rare, and to forget the others too costs no more than a question.
            Passed::Undone(_) => self.confirmed = Recent::default(),
        }
    }

    /// Blocks were undone and these wait again: news for whoever was on the other branch.
    pub fn on_returned(&mut self, ids: &[Hash]) {
        for id in ids {
            self.tell_on(*id);
        }
    }

    /// What could not be in the next block may be in the one after.
    pub fn on_tip(&mut self) {
        self.refused = Recent::default();
        for exchange in self.exchanges.values_mut() {
            exchange.queue.extend(exchange.for_next_tip.drain(..));
        }
    }

    // --- telling and asking ---

    /// Everybody who does not have it shall hear of it.
    fn tell_on(&mut self, id: Hash) {
        for exchange in self.exchanges.values_mut() {
            if exchange.known.add(&id, KNOWN_MAX) {
                exchange.news.push(id);
                self.has_news = true;
            }
        }
    }

    /// Passes on what does not come, and cuts who never answers.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        let (mut silent, mut late) = (Vec::new(), Vec::new());
        for (&peer, exchange) in &mut self.exchanges {
            let Some(open) = &mut exchange.open else { continue };
            if now.since(open.since) >= ANSWER_MS_MAX {
                silent.push(peer);
            } else if now.since(open.since) >= ANSWER_MS && !open.ids.is_empty() {
                exchange.misses = exchange.misses.saturating_add(1);
                late.extend(open.ids.drain(..).filter(|id| self.in_flight.get(id) == Some(&peer)));
            }
        }
        for id in late {
            self.in_flight.remove(&id);
            self.release(turn, id);
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
        let on_its_way = self.in_flight.keys().chain(self.verifying.keys());
        for (peer, then) in self.waiting.take_stranded(|peer| turn.peers.get(peer).is_some(), on_its_way) {
            if let Some(exchange) = self.exchanges.get_mut(&peer) {
                exchange.waiting -= 1;
                exchange.queue.push_back(then);
            }
        }
    }

    /// Asks for what can be asked for, if now is a time for that, and tells what is to be told.
    pub fn pump(&mut self, turn: &mut Turn, may_ask: bool) {
        let may_ask = may_ask && is_firm(turn);
        if may_ask && !self.saved.is_empty() {
            // It has its room in the pool before newcomers.
            self.bring_back(turn);
        } else if may_ask {
            self.ask_all(turn);
        }
        if std::mem::take(&mut self.has_news) {
            self.tell_all(turn);
        }
    }

    /// Tells everybody the news; those of the same news get the same bytes.
    fn tell_all(&mut self, turn: &mut Turn) {
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

    /// Asks every peer for what can be asked of it: first those that have not let us wait, and of these those
    /// that we have chosen ourselves. So strangers that announce much and deliver nothing come last.
    fn ask_all(&mut self, turn: &mut Turn) {
        let is_inbound = |peer: &PeerId| turn.peers.get(*peer).is_none_or(|peer| peer.direction == Direction::Inbound);
        let asked = self.exchanges.iter().filter(|(_, exchange)| exchange.wants());
        let mut peers: Vec<(u32, bool, PeerId)> =
            asked.map(|(peer, exchange)| (exchange.misses, is_inbound(peer), *peer)).collect();
        peers.sort_unstable();
        for (.., peer) in peers {
            self.ask(turn, peer);
        }
    }

    /// Asks one peer for what it announced, or for more of what it has.
    fn ask(&mut self, turn: &mut Turn, peer: PeerId) {
        let Some(exchange) = self.exchanges.get_mut(&peer) else { return };
        let (mut over, mut later) = (Vec::new(), Vec::new());
        let has_room = self.verifying_bytes < VERIFYING_BYTES_MAX && self.batches < VERIFYING_MAX;
        if exchange.open.is_none() && has_room {
            let mut ids = Vec::new();
            while ids.len() < BATCH
                && let Some(id) = exchange.queue.pop_front()
            {
                let is_here = turn.pool.knows(&id) || self.verifying.contains_key(&id);
                if is_here || self.refused.contains(&id) || self.confirmed.contains(&id) {
                    over.push(id);
                    continue;
                }
                if self.in_flight.contains_key(&id) {
                    if !self.waiting.add(exchange, id, peer, id) {
                        later.push(id);
                        if later.len() >= BATCH {
                            break;
                        }
                    }
                    continue;
                }
                self.in_flight.insert(id, peer);
                ids.push(id);
            }
            // No room among those that wait: looked at again when something has come.
            exchange.queue.extend(later);
            if !ids.is_empty() {
                exchange.open = Some(Open { since: turn.now.mono, ids: ids.clone() });
                turn.ask(peer, Asked::Txs(ids.clone()), Message::GetTxs(List::first_of(ids)));
            }
        }
        if let Page::Due(after) = exchange.page
            && exchange.held() + TX_IDS_MAX <= 2 * QUEUE_OWN
        {
            self.turn_page(turn, peer, after);
        }
        over.retain(|id| !self.verifying.contains_key(id));
        for id in over {
            self.release(turn, id);
        }
    }

    /// Asks for the next page of a peer's pool, if there is room for it.
    fn turn_page(&mut self, turn: &mut Turn, peer: PeerId, after: Hash) {
        let shared_free = self.shared_free();
        if let Some(exchange) = self.exchanges.get_mut(&peer)
            && exchange.room(shared_free) >= TX_IDS_MAX
        {
            exchange.page = Page::Asked(after);
            turn.ask(peer, Asked::Pool, Message::GetPool(after));
        }
    }
}

/// Whether the chain rests and the pool stands on it: on moving ground what is right today looks wrong.
fn is_firm(turn: &Turn) -> bool {
    turn.chain.rests() && turn.pool.is_settled()
}
