//! The core under events in any order: peers that are honest, mistaken or lying, a disk that is late, verdicts that
//! are late, time that jumps.
//!
//! The input is a story, told in events. What reaches the core is what sessions let through, so blocks and
//! transactions are right in themselves, and answers come to questions; everything else may be wrong. What must
//! always hold is in `machine.rs`. In the end an honest peer comes, and the node must follow it.

use std::net::{IpAddr, SocketAddr};

use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::{Coinbase, Output, VERSION};
use spindle::node::event::{Announced, Asked, Event, PeerId, Target};
use spindle::node::message::{Hello, Kind, Message, NewBlock};
use spindle::node::orders::Order;
use spindle::node::reason::Reason;
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::Wall;

use super::bytes::Bytes;
use super::machine::Machine;
use super::universe::universe;
use super::{kit, session};

const EVENTS_MAX: usize = 160;
const PEERS_MAX: usize = 6;
/// Seconds in which a node has found out that everybody else is silent.
const PATIENCE: usize = 400;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let mut story = Story { machine: Machine::with_chain(input.byte()), fresh: Vec::new() };
    for _ in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        story.happen(&mut input);
    }
    story.follow_the_honest();
    story.machine.finish();
}

struct Story {
    machine: Machine,
    /// Blocks that were made while it was told.
    fresh: Vec<(CheckedBlock, Block)>,
}

impl Story {
    fn happen(&mut self, input: &mut Bytes<'_>) {
        match input.byte() % 24 {
            0 | 1 => self.connect(input),
            2 => self.close(input),
            3..=8 => self.answer(input),
            9 | 10 => self.news(input),
            11 => self.announce(input),
            12 => self.want(input),
            13 => self.submit(input),
            14 | 15 => {
                let ms = [0, 250, 1_000, 3_000, 10_000, 65_000, 700_000, 90_000_000][usize::from(input.byte() % 8)];
                self.machine.pass(ms);
                self.machine.step(Event::Tick);
            }
            16 | 17 => {
                let bad = input.byte();
                self.machine.verified(if bad >= 192 { bad } else { 0 });
            }
            18 => self.machine.synced(),
            19 => self.mined(input),
            20 => self.order(input),
            21 => self.last_words(input),
            22 => self.dialled(input),
            _ => self.machine.disk.set_free_bytes(if input.flag() { 1 << 20 } else { 1 << 40 }),
        }
    }

    /// What somebody with the right to do so wants.
    fn order(&mut self, input: &mut Bytes<'_>) {
        let ip = IpAddr::from([203, 0, 113, input.byte() % 4]);
        let order = match input.byte() % 7 {
            0 => Order::Generate { count: input.u32(), payout: input.flag().then(|| Key([5; 32]).into()) },
            1 => Order::Mine { threads: usize::from(input.byte()), payout: input.flag().then(|| Key([6; 32]).into()) },
            2 => Order::Connect(Target::Address(SocketAddr::from((ip, 9_000)))),
            3 => match self.peer(input) {
                Some(peer) => Order::Disconnect(peer),
                None => return,
            },
            4 => Order::Ban { ip, until: Wall(u64::from(input.u32()) << 12) },
            5 => Order::Unban(ip),
            _ if self.fresh.is_empty() => return,
            _ => {
                let place = usize::from(input.byte()) % self.fresh.len();
                Order::SubmitBlock(Box::new(self.fresh[place].0.clone()))
            }
        };
        self.machine.order(order);
    }

    fn peer(&self, input: &mut Bytes<'_>) -> Option<PeerId> {
        input.pick(&self.machine.links.keys().copied().collect::<Vec<_>>()).copied()
    }

    // --- connections ---

    fn hello(&self, input: &mut Bytes<'_>) -> (Hello, Hash) {
        let how = input.byte();
        let leaf = *input.pick(&universe().leaves).expect("there are some");
        let height = universe().branch(&leaf).len() as u64;
        let hello = Hello {
            nonce: u64::from(how % 8),
            listen_port: if how & 8 == 0 { 9000 } else { 0 },
            height,
            work: if how & 16 == 0 { u128::from(height) } else { u128::from(input.u64()) },
            ..self.machine.hello()
        };
        (hello, leaf)
    }

    fn connect(&mut self, input: &mut Bytes<'_>) {
        if self.machine.links.len() >= PEERS_MAX {
            return;
        }
        let (hello, leaf) = self.hello(input);
        let host = input.byte();
        let ip = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, host]), IpAddr::from([8, 8, host, 8])];
        let address = SocketAddr::new(ip[usize::from(host % 3)], 50_000 + u16::from(host));
        self.machine.connect(None, address, hello, leaf);
    }

    fn dialled(&mut self, input: &mut Bytes<'_>) {
        let Some(target) = self.machine.dials.pop() else { return };
        if input.flag() || self.machine.links.len() >= PEERS_MAX {
            let reason = if input.flag() { Reason::Oneself } else { Reason::Broken("nobody".into()) };
            return self.machine.step(Event::DialFailed { target, reason });
        }
        let address = match &target {
            Target::Address(address) => *address,
            Target::Name(_) => SocketAddr::from(([9, 9, 9, 9], 9000)),
        };
        let (hello, leaf) = self.hello(input);
        self.machine.connect(Some(target), address, hello, leaf);
    }

    fn close(&mut self, input: &mut Bytes<'_>) {
        if let Some(peer) = self.peer(input) {
            self.machine.close(peer, Reason::Closed);
        }
    }

    /// A session ends its connection over what came.
    fn last_words(&mut self, input: &mut Bytes<'_>) {
        let Some(peer) = self.peer(input) else { return };
        let id = universe().all[input.below(universe().all.len())].header.id();
        let rejects = [Reject::NoInputs, Reject::CoinbaseAmount { found: 1, due: 2 }, Reject::SumOverflows];
        let reject = rejects[input.below(3)].clone();
        let reason = match input.byte() % 4 {
            0 => Reason::Unasked { kind: Kind::Blocks },
            1 => Reason::BadTransaction { reject },
            // Of a body that was asked for and is wrong; nothing else is read.
            _ if universe().find(&id).is_some_and(|known| known.body.is_none()) => Reason::Rejected { id, reject },
            _ => Reason::Closed,
        };
        self.machine.close(peer, reason);
    }

    // --- answers ---

    /// Somebody answers the oldest question of some kind, as it should be or not.
    fn answer(&mut self, input: &mut Bytes<'_>) {
        let Some(peer) = self.peer(input) else { return };
        let Some(link) = self.machine.links.get_mut(&peer) else { return };
        let Some(picked) = input.pick(&link.asked).map(|(asked, _)| std::mem::discriminant(asked)) else { return };
        let of_kind = |(asked, _): &(Asked, Message)| std::mem::discriminant(asked) == picked;
        let place = link.asked.iter().position(of_kind).expect("one was picked");
        let (leaf, (asked, message)) = (link.leaf, link.asked.remove(place));
        let event = match (asked, message) {
            (Asked::Headers, Message::GetHeaders(locator)) => {
                Event::Headers { peer, headers: headers(input, &leaf, &locator) }
            }
            (Asked::Blocks(ids), message) => {
                let Some(event) = self.blocks(input, peer, ids, message) else { return };
                event
            }
            (Asked::Peers, _) => {
                let some = (0..input.byte() % 4).map(|_| SocketAddr::from((input.array::<4>(), 9000)).into());
                Event::Peers { peer, addresses: some.collect() }
            }
            (Asked::Txs(asked), _) => Event::Txs { peer, transactions: transactions(input, &asked), asked },
            (Asked::Pool, _) => Event::Pool { peer, ids: some_ids(input) },
            (Asked::BlockTxs(block, count), Message::GetBlockTxs { places, .. }) => {
                match self.transfers(input, block, &places) {
                    Some(transfers) if transfers.len() == count => Event::BlockTxs { peer, block, transfers },
                    _ => Event::BlockTxsMissing { peer, block },
                }
            }
            (asked, message) => unreachable!("{message:?} is no question for {asked:?}"),
        };
        self.machine.step(event);
    }

    /// Some of the blocks that were asked for, in order; the rest is still owed.
    fn blocks(&mut self, input: &mut Bytes<'_>, peer: PeerId, mut ids: Vec<Hash>, message: Message) -> Option<Event> {
        let how = input.byte();
        let body = |id: &Hash| {
            let known = universe().find(id).and_then(|known| known.body.as_ref());
            known.or_else(|| self.fresh.iter().map(|(block, _)| block).find(|block| block.id() == *id)).cloned()
        };
        let there = ids.iter().map_while(body).take(usize::from(how % 8) + 1);
        let blocks: Vec<CheckedBlock> = there.collect();
        if blocks.is_empty() || how >= 224 {
            let last = *ids.last().expect("runs are not empty");
            return Some(Event::Missing { peer, last });
        }
        ids.drain(..blocks.len());
        if !ids.is_empty() {
            let link = self.machine.links.get_mut(&peer)?;
            let place = link.asked.iter().position(|(asked, _)| matches!(asked, Asked::Blocks(_)));
            link.asked.insert(place.unwrap_or(link.asked.len()), (Asked::Blocks(ids), message));
        }
        Some(Event::Blocks { peer, blocks })
    }

    /// The transfers at some places of a block, or others.
    fn transfers(&self, input: &mut Bytes<'_>, block: Hash, places: &[u16]) -> Option<Vec<CheckedTx>> {
        let how = input.byte();
        if how >= 192 {
            let all = &universe().transactions;
            return Some((0..places.len()).map(|_| all[input.below(all.len())].clone().trusted()).collect());
        }
        let fresh = self.fresh.iter().find(|(fresh, _)| fresh.id() == block).map(|(_, block)| block);
        let block = universe().find(&block).map(|known| &known.block).or(fresh).filter(|_| how < 160)?;
        let transfer = |place: &u16| Some(kit::read(block.transfers.get(usize::from(*place))?)?.trusted());
        places.iter().map(transfer).collect()
    }

    // --- news ---

    /// Somebody tells of a block: one that everybody knows, or a new one; with its sketch, or another.
    fn news(&mut self, input: &mut Bytes<'_>) {
        let Some(peer) = self.peer(input) else { return };
        let how = input.byte();
        let (header, body, news) = if how.is_multiple_of(4) {
            let (body, block) = self.block_on_tip(input);
            (body.checked_header(), Some(body), session::news(&block))
        } else {
            let known = &universe().all[input.below(universe().all.len())];
            (known.header, known.body.clone(), session::news(&known.block))
        };
        let block = match body.filter(|_| news.short_ids.is_empty()) {
            Some(whole) => Announced::Whole(Box::new(whole)),
            None => Announced::Sketch(header, Box::new(sketch(input, how, news))),
        };
        self.machine.step(Event::NewBlock { peer, block });
    }

    /// A block on the tip, of what waits and what others know.
    fn block_on_tip(&mut self, input: &mut Bytes<'_>) -> (CheckedBlock, Block) {
        let (chain, how) = (self.machine.node.chain(), input.byte());
        let mut chosen: Vec<CheckedTx> = match how % 3 {
            0 => Vec::new(),
            _ => self.machine.node.pool().pack().transfers.into_iter().take(usize::from(how / 16)).cloned().collect(),
        };
        if how % 3 == 2 {
            let stranger = input.pick(&universe().transactions).expect("there are some").clone().trusted();
            let apart =
                |other: &CheckedTx| other.id() != stranger.id() && !other.spent().contains(&stranger.spent()[0]);
            if stranger.matures_at() <= chain.tip().header.height + 1 && chosen.iter().all(apart) {
                chosen.push(stranger);
            }
        }
        let transfers: Vec<&CheckedTx> = chosen.iter().collect();
        let block = kit::block_on(chain.tip_position(), &transfers, u64::from(how) + 100);
        let decoded: Block = codec::decode(block.bytes()).expect("a block");
        self.fresh.push((block.clone(), decoded.clone()));
        (block, decoded)
    }

    fn announce(&mut self, input: &mut Bytes<'_>) {
        if let Some(peer) = self.peer(input) {
            self.machine.step(Event::NewTx { peer, ids: some_ids(input) });
        }
    }

    fn want(&mut self, input: &mut Bytes<'_>) {
        let Some(peer) = self.peer(input) else { return };
        self.machine.step(match input.byte() % 7 {
            0 => Event::GetTxs { peer, ids: some_ids(input) },
            1 => Event::GetPool { peer, after: Hash(input.array()) },
            2 => Event::GetPool { peer, after: Hash::ZERO },
            3 => Event::GetPeers { peer },
            4 => Event::Ping { peer, nonce: input.u64() },
            5 => Event::Pong { peer, nonce: input.u64() },
            _ => Event::Progress { peer },
        });
    }

    fn submit(&mut self, input: &mut Bytes<'_>) {
        let transaction = input.pick(&universe().transactions).expect("there are some").clone();
        self.machine.order(Order::Submit(Box::new(transaction)));
    }

    /// A miner of ours has found a block: on the template that it was given, or by itself.
    fn mined(&mut self, input: &mut Bytes<'_>) {
        let template = self.machine.template.clone().filter(|_| input.flag());
        let block = match template {
            Some(template) => {
                let mut header = *template.header();
                header.nonce = u64::from(input.byte());
                template.found(kit::params(), header).expect("a template is a block but for time and nonce")
            }
            None => self.block_on_tip(input).0,
        };
        let id = block.id();
        self.machine.step(Event::Mined { block: Box::new(block) });
        assert!(self.machine.node.chain().tip().work > 0, "after block {id} there is something");
    }

    // --- the end ---

    /// Somebody honest comes, with a branch that is heavier than that of whoever came before and told the truth. The
    /// others say nothing more: they cost time, and nothing else.
    fn follow_the_honest(&mut self) {
        self.machine.disk.set_free_bytes(1 << 40);
        let leaf = universe().leaves[1];
        let branch = universe().branch(&leaf);
        let (height, work) = (branch.len() as u64, branch.len() as u128);
        let hello = Hello { nonce: 77, height, work, ..self.machine.hello() };
        let peer = self.machine.connect(None, SocketAddr::from(([8, 8, 77, 77], 50_000)), hello, leaf);
        for _ in 0..PATIENCE {
            while self.answer_honestly(peer, &branch) {}
            self.machine.synced();
            if self.machine.node.chain().tip().work >= work {
                return;
            }
            self.machine.pass(1_000);
            self.machine.step(Event::Tick);
            assert!(self.machine.links.contains_key(&peer), "an honest peer is hung up on");
        }
        panic!("an honest peer's chain is not followed");
    }

    /// The oldest question of an honest peer, answered as it should be; false if there is none.
    fn answer_honestly(&mut self, peer: PeerId, branch: &[CheckedHeader]) -> bool {
        let Some(link) = self.machine.links.get_mut(&peer).filter(|link| !link.asked.is_empty()) else { return false };
        let event = match link.asked.remove(0) {
            (Asked::Headers, Message::GetHeaders(locator)) => {
                let known = |id: &Hash| branch.iter().position(|header| header.id() == *id);
                let start = locator.iter().find_map(known).map_or(0, |place| place + 1);
                Event::Headers { peer, headers: branch[start..].to_vec() }
            }
            // It may be asked for a branch that it has not shown, since it says that it is ahead.
            (Asked::Blocks(ids), _) => {
                let body = |id: &Hash| {
                    let known = universe().find(id).filter(|_| branch.iter().any(|header| header.id() == *id));
                    known.and_then(|known| known.body.clone())
                };
                let blocks: Option<Vec<CheckedBlock>> = ids.iter().map(body).collect();
                let last = *ids.last().expect("runs are not empty");
                blocks.map_or(Event::Missing { peer, last }, |blocks| Event::Blocks { peer, blocks })
            }
            (Asked::Txs(asked), _) => Event::Txs { peer, asked, transactions: Vec::new() },
            (Asked::Pool, _) => Event::Pool { peer, ids: Vec::new() },
            (Asked::Peers, _) => Event::Peers { peer, addresses: Vec::new() },
            (asked, message) => unreachable!("{message:?} asks a peer that has announced nothing for {asked:?}"),
        };
        self.machine.step(event);
        true
    }
}

/// Headers of a branch after the first of a locator that is on it; or of another branch, fewer, or from elsewhere.
fn headers(input: &mut Bytes<'_>, leaf: &Hash, locator: &[Hash]) -> Vec<CheckedHeader> {
    let how = input.byte();
    let leaf = if how % 8 == 4 { input.pick(&universe().leaves).expect("there are some") } else { leaf };
    let mut branch = universe().branch(leaf);
    let known = |id: &Hash| branch.iter().rposition(|header| header.id() == *id).map(|place| place + 1);
    let start = locator.iter().find_map(known).unwrap_or(0);
    branch.drain(..if how % 8 == 5 { input.below(branch.len() + 1) } else { start });
    match how % 8 {
        6 => branch.truncate(usize::from(how / 8)),
        7 => branch.clear(),
        _ => {}
    }
    branch
}

fn some_ids(input: &mut Bytes<'_>) -> Vec<Hash> {
    let all = &universe().transactions;
    let mut ids: Vec<Hash> = (0..input.byte() % 12).map(|_| all[input.below(all.len())].id()).collect();
    if input.byte() % 8 == 7 {
        ids.push(Hash(input.array()));
    }
    ids.sort_unstable();
    ids
}

/// Those of the ids asked for that everybody knows, or some of them.
fn transactions(input: &mut Bytes<'_>, asked: &[Hash]) -> Vec<ReadTx> {
    let mask = input.byte();
    let known = |id: &Hash| universe().transactions.iter().find(|transaction| transaction.id() == *id).cloned();
    let sent = |place: usize| mask < 192 || mask >> (place % 6) & 1 == 0;
    asked.iter().enumerate().filter(|(place, _)| sent(*place)).filter_map(|(_, id)| known(id)).collect()
}

/// What somebody says of a block; one without short ids would be taken for the whole of it.
fn sketch(input: &mut Bytes<'_>, how: u8, news: NewBlock) -> NewBlock {
    let mut short_ids = news.short_ids.into_vec();
    let mut coinbase = news.coinbase;
    match how / 4 % 8 {
        0 => {
            if let Some(other) = input.pick(&short_ids.clone()) {
                short_ids.push(*other);
            }
        }
        1 => drop(short_ids.pop()),
        2 => short_ids.push(input.array()),
        3 => short_ids.reverse(),
        4 => {
            let output = Output { amount: input.u64(), key: Key(input.array()), view_tag: 0 };
            coinbase = Coinbase { version: VERSION, height: news.header.height, output, tx_key: Key::default() };
        }
        _ => {}
    }
    if short_ids.is_empty() {
        short_ids.push([1; 6]);
    }
    NewBlock { header: news.header, coinbase, short_ids: List::first_of(short_ids) }
}
