//! Several nodes in one thread: the core and the sessions of the real node, with bytes handed over by
//! hand and a clock that only the test moves. No socket, no thread, no waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use spindle::blockchain::block::{Block, CheckedBlock, ReadBlock};
use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::disk::{self, Disk};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mempool::PoolReject;
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::checkpoint;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{CoinId, Input, Outpoint, Transaction};
use spindle::node::event::{Announced, Asked, Direction, Effect, Event, PeerId, Target};
use spindle::node::message::{Hello, Message, NewBlock};
use spindle::node::orders::{Order, Ticket};
use spindle::node::reason::Reason;
use spindle::node::report::Report;
use spindle::node::serve::{Request, Server};
use spindle::node::session::{Output, Session, SessionConfig};
use spindle::node::{Node, NodeConfig};
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::{Mono, Now, Wall};

use super::supply::Supply;
use super::{Coin, verifier};

/// The wall clock when a world begins.
pub(crate) const START: u64 = 1_800_000_000_000;

/// A node's number in its world.
pub(crate) type Who = usize;

/// One node, and what it has said so far.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) disk: MemoryDisk,
    pub(crate) told: Vec<Report>,
    pub(crate) template: Option<Arc<Template>>,
    /// Everything that it wanted done, if the test keeps that.
    pub(crate) effects: Option<Vec<Effect>>,
    /// What its blocks come to, counted beside its ledger.
    pub(crate) supply: Supply,
    /// Transactions on their way to be verified.
    batches: VecDeque<Vec<ReadTx>>,
    next_peer: u64,
}

/// One end of a connection.
struct End {
    who: Who,
    peer: PeerId,
    session: Session,
    target: Option<Target>,
    arriving: VecDeque<Vec<u8>>,
    ready: bool,
    open: bool,
    /// Nothing that this end sends arrives any more; the connection stays.
    mute: bool,
    /// A body of this end arrives every so often, the rest waits.
    slow_ms: u64,
    /// What waits, and when the last piece of it went.
    held: VecDeque<Vec<u8>>,
    sent_at: Mono,
    /// Requests that came in here and whose answers have not arrived at the other end.
    open_requests: usize,
    /// Ends of runs that were asked for through here.
    asked_runs: Vec<Hash>,
    sent_bytes: usize,
}

/// All of it.
pub(crate) struct World {
    pub(crate) params: Arc<Params>,
    pub(crate) now: Now,
    pub(crate) members: Vec<Member>,
    /// Even and odd neighbours are the two ends of one connection.
    ends: Vec<End>,
    /// Nobody dials across.
    pub(crate) cut: bool,
    /// What verifies transactions.
    pub(crate) verifying: Verifying,
    /// A digest of all events and effects so far, if the test compares them.
    pub(crate) transcript: Option<Hash>,
    next_ticket: u64,
}

/// What becomes of transactions whose signatures are to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verifying {
    /// They are, before anything else happens.
    AtOnce,
    /// Nobody looks at them: for tests with very many.
    Trusting,
    /// They wait for [`World::verify`].
    Held,
}

impl World {
    /// So many nodes, strangers to each other, on empty disks.
    pub(crate) fn new(params: Params, nodes: usize) -> Self {
        let params = Arc::new(params);
        let now = Now { mono: Mono(0), wall: Wall(START) };
        let (verifying, transcript) = (Verifying::AtOnce, None);
        let mut world = Self {
            params,
            now,
            members: Vec::new(),
            ends: Vec::new(),
            cut: false,
            verifying,
            transcript,
            next_ticket: 1,
        };
        for _ in 0..nodes {
            world.add(MemoryDisk::default());
        }
        world
    }

    fn config(&self, who: Who) -> NodeConfig {
        NodeConfig {
            params: Arc::clone(&self.params),
            nonce: 1_000 + who as u64,
            secret: [u8::try_from(who).expect("few nodes"); 16],
            agent: format!("node-{who}"),
            listen_port: 9000,
            connect: Vec::new(),
            seeds: false,
            outbound_max: 8,
            payout: Some(super::secret(who as u64).public().into()),
        }
    }

    /// One more node, on this disk.
    pub(crate) fn add(&mut self, disk: MemoryDisk) -> Who {
        let who = self.members.len();
        let member = self.open(who, disk);
        self.members.push(member);
        who
    }

    fn open(&self, who: Who, disk: MemoryDisk) -> Member {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (node, _) = Node::open(self.config(who), &shared, &mut |_| {}).expect("a memory disk opens");
        let (supply, batches) = (Supply::default(), VecDeque::new());
        Member { node, disk, told: Vec::new(), template: None, effects: None, supply, batches, next_peer: 1 }
    }

    /// The node stops without a word and starts again from what was synced.
    pub(crate) fn crash(&mut self, who: Who) {
        self.leave(who);
        let disk = self.members[who].disk.crash();
        self.members[who] = self.open(who, disk);
        self.settle();
    }

    /// The node stops as it should and starts again.
    pub(crate) fn restart(&mut self, who: Who) {
        let effects = self.members[who].node.close(self.now);
        for effect in effects {
            self.perform(who, effect);
        }
        self.leave(who);
        let disk = self.members[who].disk.crash();
        self.members[who] = self.open(who, disk);
        self.settle();
    }

    /// All connections of a node end without a word.
    fn leave(&mut self, who: Who) {
        for end in 0..self.ends.len() {
            if self.ends[end].who == who && self.ends[end].open {
                self.ends[end].open = false;
                self.closed(end ^ 1, Reason::Closed);
            }
        }
    }

    /// Where others find a node.
    pub(crate) fn address(who: Who) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, u8::try_from(who).expect("few nodes") + 1], 9000))
    }

    /// Connects two nodes, and lets everything happen that follows at once.
    pub(crate) fn connect(&mut self, from: Who, to: Who) {
        self.dial(from, to);
        self.settle();
    }

    /// Dials, and lets nothing arrive yet.
    pub(crate) fn dial(&mut self, from: Who, to: Who) {
        for (who, direction) in [(from, Direction::Outbound), (to, Direction::Inbound)] {
            let member = &mut self.members[who];
            let peer = PeerId(member.next_peer);
            member.next_peer += 1;
            let config = SessionConfig { params: Arc::clone(&self.params), verifier: verifier() };
            let hello = self.config(who).hello(&self.members[who].node.reader());
            let session = Session::new(config, peer, direction, hello, self.now.mono);
            let target = (direction == Direction::Outbound).then(|| Target::Address(Self::address(to)));
            self.ends.push(End {
                who,
                peer,
                session,
                target,
                arriving: VecDeque::new(),
                ready: false,
                open: true,
                mute: false,
                slow_ms: 0,
                held: VecDeque::new(),
                sent_at: self.now.mono,
                open_requests: 0,
                asked_runs: Vec::new(),
                sent_bytes: 0,
            });
        }
        let end = self.ends.len() - 2;
        let opening = self.ends[end].session.opening().expect("whoever dials speaks first");
        self.transmit(end, opening);
    }

    /// Ends all connections between two nodes.
    pub(crate) fn disconnect(&mut self, a: Who, b: Who) {
        for end in (0..self.ends.len()).step_by(2) {
            let pair = [self.ends[end].who, self.ends[end + 1].who];
            if self.ends[end].open && (pair == [a, b] || pair == [b, a]) {
                self.closed(end, Reason::Closed);
                self.closed(end + 1, Reason::Closed);
            }
        }
        self.settle();
    }

    /// From now on nothing that `from` sends to `to` arrives.
    pub(crate) fn mute(&mut self, from: Who, to: Who) {
        for end in 0..self.ends.len() {
            if self.ends[end].who == from && self.ends[end ^ 1].who == to {
                self.ends[end].mute = true;
            }
        }
    }

    /// Connects to somebody whose bodies come one by one, three seconds apart.
    pub(crate) fn connect_slow(&mut self, from: Who, to: Who) {
        self.dial(from, to);
        let end = self.ends.len() - 1;
        self.ends[end].slow_ms = 3_000;
        self.settle();
    }

    /// How many open connections a node has.
    pub(crate) fn connections(&self, who: Who) -> usize {
        self.ends.iter().filter(|end| end.who == who && end.open && end.ready).count()
    }

    /// Bytes that a node has sent so far.
    pub(crate) fn sent_bytes(&self, who: Who) -> usize {
        self.ends.iter().filter(|end| end.who == who).map(|end| end.sent_bytes).sum()
    }

    /// Bytes that a stranger would send, as if they came from `from` to `to`.
    pub(crate) fn inject(&mut self, from: Who, to: Who, bytes: Vec<u8>) {
        let end = (0..self.ends.len())
            .find(|&end| self.ends[end].who == from && self.ends[end ^ 1].who == to && self.ends[end].open)
            .expect("connected");
        self.transmit(end, bytes);
        self.settle();
    }

    fn transmit(&mut self, from: usize, bytes: Vec<u8>) {
        self.ends[from].sent_bytes += bytes.len();
        if !self.ends[from].mute {
            self.ends[from ^ 1].arriving.push_back(bytes);
        }
    }

    /// Hands over everything that is on its way, and what follows from it, until nothing moves.
    pub(crate) fn settle(&mut self) {
        while self.deliver_one() {}
    }

    /// Hands over the oldest piece that is on its way, and lets walks go on; false if nothing moves.
    pub(crate) fn deliver_one(&mut self) -> bool {
        for who in 0..self.members.len() {
            if self.verifying != Verifying::Held {
                while self.verify(who) {}
            }
            while self.members[who].node.has_more() {
                self.step(who, Event::Continue);
            }
        }
        if self.members.iter().any(|member| self.verifying != Verifying::Held && !member.batches.is_empty()) {
            return true;
        }
        let waiting = |end: &End| end.open && !end.arriving.is_empty();
        let Some(end) = self.ends.iter().position(waiting) else { return false };
        let bytes = self.ends[end].arriving.pop_front().expect("not empty");
        self.ends[end].session.feed(&bytes);
        self.drive(end);
        true
    }

    /// The oldest batch of a node is verified; false if there is none.
    pub(crate) fn verify(&mut self, who: Who) -> bool {
        let Some(batch) = self.members[who].batches.pop_front() else { return false };
        let verdicts = match self.verifying {
            Verifying::Trusting => batch.into_iter().map(|read| Ok(read.trusted())).collect(),
            Verifying::AtOnce | Verifying::Held => ReadTx::verified_all(batch, &verifier()),
        };
        self.step(who, Event::Verified { verdicts });
        true
    }

    /// The number that `who` has given to its connection with `other`.
    pub(crate) fn peer_of(&self, who: Who, other: Who) -> PeerId {
        let ends = self.ends.iter().enumerate();
        let mut ours = ends.filter(|(n, end)| end.who == who && self.ends[n ^ 1].who == other && end.open);
        ours.next().expect("connected").1.peer
    }

    /// A branch of so many blocks on a node's tip, of which one, counted from 1, spends a coin that was
    /// never made; every other rule is kept.
    pub(crate) fn forge_branch(&self, who: Who, blocks: u64, bad: u64) -> Vec<CheckedBlock> {
        let mut parent = *self.members[who].node.chain().tip_position();
        let mut forged = Vec::new();
        for number in 1..=blocks {
            let mut block = Template::new(&self.params, &parent, &Key([0xbb; 32]).into(), &[]).to_block();
            block.header.time = self.now.wall.0.max(block.header.time);
            if number == bad {
                let coin = super::coin(77, 5_000);
                let transfer = super::pay(&self.params, &[coin], &[4_000]);
                block.coinbase.output.amount += super::fee(&transfer);
                block.transfers = List::first_of(vec![transfer]);
            }
            let block = self.checked(block);
            let now = Wall(self.now.wall.0 + 1_000_000);
            parent = parent.child(&self.params, &block.checked_header(), now).expect("right in its place");
            forged.push(block);
        }
        forged
    }

    fn drive(&mut self, end: usize) {
        while self.ends[end].open {
            let who = self.ends[end].who;
            match self.ends[end].session.next(self.now.mono) {
                Ok(None) => return,
                Ok(Some(Output::Ready { hello, answer })) => {
                    if let Some(answer) = answer {
                        self.transmit(end, answer);
                    }
                    self.ends[end].ready = true;
                    let (peer, target) = (self.ends[end].peer, self.ends[end].target.clone());
                    let direction = if end.is_multiple_of(2) { Direction::Outbound } else { Direction::Inbound };
                    let other = self.ends[end ^ 1].who;
                    let address = Self::address(other);
                    self.step(who, Event::Connected { peer, direction, address, target, hello });
                }
                Ok(Some(Output::Event(event))) => self.step(who, event),
                Ok(Some(Output::Serve(request))) => self.serve(end, &request),
                Err(reason) => self.hang_up(end, reason),
            }
        }
    }

    fn serve(&mut self, end: usize, request: &Request) {
        let server = Server::new(self.members[self.ends[end].who].node.reader());
        // A server whose answers do not arrive is one whose socket is full: its requests stay open.
        self.ends[end].open_requests += 1;
        assert!(self.ends[end].open_requests <= 4, "the protocol allows four open requests");
        if !self.ends[end].mute {
            self.ends[end].open_requests -= 1;
        }
        match request {
            Request::Headers { locator } => {
                let frame = server.headers(locator).expect("memory");
                self.transmit(end, frame);
            }
            Request::BlockTxs { block, places } => {
                let frame = server.transfers(*block, places).expect("memory");
                self.transmit(end, frame);
            }
            Request::Blocks { last, count } => {
                let Some(mut run) = server.run(*last, *count).expect("memory") else {
                    return self.transmit(end, Message::Missing(*last).to_frame());
                };
                let mut chunk = Vec::new();
                while server.fill(&mut run, &mut chunk).expect("memory") {
                    if self.ends[end].slow_ms > 0 {
                        self.hold(end, &chunk);
                    } else {
                        self.transmit(end, std::mem::take(&mut chunk));
                    }
                }
            }
        }
    }

    /// A block as somebody announces it who keeps the body back.
    pub(crate) fn sketch_of(block: &CheckedBlock) -> Announced {
        let decoded: Block = codec::decode(block.bytes()).expect("a block");
        let (header, coinbase) = (decoded.header, decoded.coinbase);
        let news = NewBlock { header, coinbase, short_ids: List::first_of(vec![[1; 6]]) };
        Announced::Sketch(block.checked_header(), Box::new(news))
    }

    /// The ends of the runs that `who` has asked `other` for.
    pub(crate) fn asked_of(&self, who: Who, other: Who) -> Vec<Hash> {
        let ends = self.ends.iter().enumerate();
        let here = ends.filter(|(n, end)| end.who == who && self.ends[n ^ 1].who == other && end.open);
        here.flat_map(|(_, end)| end.asked_runs.iter().copied()).collect()
    }

    /// Keeps frames back that go out one by one.
    fn hold(&mut self, end: usize, mut frames: &[u8]) {
        while let Some(header) = frames.first_chunk().and_then(FrameHeader::from_bytes) {
            let (frame, rest) = frames.split_at(HEADER_BYTES + header.length as usize);
            self.ends[end].held.push_back(frame.to_vec());
            frames = rest;
        }
    }

    /// Lets go what its time has come for.
    fn release_held(&mut self) {
        for end in 0..self.ends.len() {
            let due = self.now.mono.since(self.ends[end].sent_at) >= self.ends[end].slow_ms;
            if due && let Some(frame) = self.ends[end].held.pop_front() {
                self.ends[end].sent_at = self.now.mono;
                self.transmit(end, frame);
            }
        }
    }

    fn hang_up(&mut self, end: usize, reason: Reason) {
        if reason.is_told() {
            let text = List::first_of(reason.to_string().into_bytes());
            self.transmit(end, Message::Bye(text).to_frame());
        }
        // What was sent before still arrives, as it does over TCP.
        while let Some(bytes) = self.ends[end ^ 1].arriving.pop_front() {
            self.ends[end ^ 1].session.feed(&bytes);
        }
        self.closed(end, reason);
        self.drive(end ^ 1);
        self.closed(end ^ 1, Reason::Closed);
    }

    fn closed(&mut self, end: usize, reason: Reason) {
        if !std::mem::replace(&mut self.ends[end].open, false) {
            return;
        }
        let End { who, peer, ready, target, .. } = &self.ends[end];
        let (who, peer) = (*who, *peer);
        match (ready, target.clone()) {
            (true, _) => self.step(who, Event::Closed { peer, reason }),
            (false, Some(target)) => self.step(who, Event::DialFailed { target, reason }),
            (false, None) => {}
        }
    }

    /// One event for one node, and all that it wants done.
    pub(crate) fn step(&mut self, who: Who, event: Event) {
        let said = self.transcript.map(|_| format!("{who} {event:?}"));
        let member = &mut self.members[who];
        let effects = member.node.step(self.now, event).expect("a memory disk does not fail");
        if let (Some(digest), Some(said)) = (self.transcript, said) {
            self.transcript = Some(Hash::sha256d(format!("{digest} {said} {effects:?}").as_bytes()));
        }
        if let Some(kept) = &mut member.effects {
            kept.extend(effects.iter().cloned());
        }
        if member.node.chain().rests() {
            member.supply.follow(member.node.chain());
        }
        for effect in effects {
            self.perform(who, effect);
        }
    }

    fn end_of(&self, who: Who, peer: PeerId) -> Option<usize> {
        self.ends.iter().position(|end| end.who == who && end.peer == peer && end.open)
    }

    fn perform(&mut self, who: Who, effect: Effect) {
        match effect {
            Effect::Send { peer, message } => self.send(who, peer, None, &message),
            Effect::Ask { peer, asked, message } => self.send(who, peer, Some(asked), &message),
            Effect::BroadcastBlock { peers, block } => {
                for peer in peers {
                    self.send(who, peer, None, &Message::NewBlock(block.clone()));
                }
            }
            Effect::BroadcastTx { peers, ids } => {
                for peer in peers {
                    self.send(who, peer, None, &Message::NewTx(List::first_of(ids.clone())));
                }
            }
            Effect::Verify { transactions } => self.members[who].batches.push_back(transactions),
            Effect::HangUp { peer, reason } => {
                if let Some(end) = self.end_of(who, peer) {
                    self.hang_up(end, reason);
                }
            }
            Effect::Dial { target } => self.dialed(who, target),
            Effect::Sync { upto } => {
                self.members[who].node.syncer().sync(upto).expect("a memory disk does not fail");
                self.step(who, Event::Durable { upto });
            }
            Effect::Checkpoint { tip, ledger } => {
                let identity = self.members[who].node.chain().store().identity();
                let disk = &self.members[who].disk;
                checkpoint::write(disk, &identity, tip, &ledger, &mut || true).expect("a memory disk does not fail");
                self.step(who, Event::Checkpointed { tip });
            }
            Effect::Save { file, bytes } => {
                disk::replace(&self.members[who].disk, file, &bytes).expect("a memory disk does not fail");
            }
            Effect::Mine { template } => self.members[who].template = template,
            Effect::Tell(report) => self.members[who].told.push(report),
            // Tests mine by themselves, with what the node would pack.
            Effect::Refuse { .. } | Effect::Generate { .. } | Effect::Miners { .. } | Effect::Answer { .. } => {}
        }
    }

    fn send(&mut self, who: Who, peer: PeerId, asked: Option<Asked>, message: &Message) {
        let Some(end) = self.end_of(who, peer) else { return };
        if let Some(asked) = asked {
            if let Asked::Blocks(ids) = &asked {
                self.ends[end].asked_runs.extend(ids.last());
            }
            self.ends[end].session.note(asked);
        }
        self.transmit(end, message.to_frame());
    }

    fn dialed(&mut self, who: Who, target: Target) {
        let found = (0..self.members.len()).find(|&to| target == Target::Address(Self::address(to)));
        match found {
            Some(to) if !self.cut => self.dial(who, to),
            _ => self.step(who, Event::DialFailed { target, reason: Reason::Broken("nobody is there".into()) }),
        }
    }

    /// Lets time pass, a tick each quarter of a second.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono.after(ms);
        while self.now.mono < end {
            let step = (end.0 - self.now.mono.0).min(250);
            self.now = Now { mono: self.now.mono.after(step), wall: Wall(self.now.wall.0 + step) };
            self.release_held();
            for end in 0..self.ends.len() {
                if self.ends[end].open {
                    self.drive(end);
                }
            }
            for who in 0..self.members.len() {
                self.step(who, Event::Tick);
            }
            self.settle();
        }
    }

    /// A node finds so many blocks, each told to whoever is connected; gives their ids.
    pub(crate) fn mine(&mut self, who: Who, blocks: usize) -> Vec<Hash> {
        let mut ids = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            let block = self.next_block(who, 0);
            ids.push(block.id());
            self.step(who, Event::Mined { block: Box::new(block) });
            self.settle();
        }
        ids
    }

    /// Somebody hands a transaction in, and all that follows happens.
    pub(crate) fn submit(&mut self, who: Who, transfer: &Transaction) {
        self.hand_in(who, transfer);
        self.settle();
    }

    /// Somebody hands a transaction in; gives the ticket under which he is answered.
    pub(crate) fn hand_in(&mut self, who: Who, transfer: &Transaction) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let order = Order::Submit(Box::new(self.read(transfer)));
        self.step(who, Event::Order { ticket, order });
        ticket
    }

    /// A transaction as a session would hand it over.
    pub(crate) fn read(&self, transfer: &Transaction) -> ReadTx {
        ReadTx::read(&self.params, &codec::encode(transfer)).expect("right in itself")
    }

    /// Somebody at this address connects to a node who says only what the test makes him say, and to whom
    /// what is sent goes nowhere.
    pub(crate) fn puppet(&mut self, who: Who, ip: impl Into<IpAddr>) -> PeerId {
        let peer = PeerId(self.members[who].next_peer);
        self.members[who].next_peer += 1;
        let address = SocketAddr::new(ip.into(), 50_000);
        let hello = Hello { nonce: 900_000 + peer.0, listen_port: 0, height: 0, work: 0, ..self.hello_of(who) };
        let (direction, hello) = (Direction::Inbound, Box::new(hello));
        self.step(who, Event::Connected { peer, direction, address, target: None, hello });
        peer
    }

    /// From now on what a node wants done is kept.
    pub(crate) fn keep_effects(&mut self, who: Who) {
        self.members[who].effects = Some(Vec::new());
    }

    /// What it wanted done since the last call.
    pub(crate) fn effects(&mut self, who: Who) -> Vec<Effect> {
        self.members[who].effects.replace(Vec::new()).expect("they are kept")
    }

    /// Coins whose owner the tests know, that the next block of a node may spend and nothing in its pool does;
    /// those of its pool too. In the order of their ids.
    pub(crate) fn spendable(&self, who: Who) -> Vec<Coin> {
        let Member { node, supply, .. } = &self.members[who];
        let next_height = node.chain().tip().header.height + 1;
        let mut coins: BTreeMap<CoinId, Input> = supply.unspent().clone();
        let waiting: Vec<Transaction> = node
            .pool()
            .snapshot()
            .iter()
            .map(|tx| node.pool().get(&tx.id).expect("it waits").to_transaction())
            .collect();
        for transfer in &waiting {
            let id = transfer.id();
            for (index, output) in (0..).zip(transfer.outputs.iter()) {
                let outpoint = Outpoint { transaction: id, index };
                let coin = Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 };
                coins.insert(coin.coin(), coin);
            }
            for input in &transfer.inputs {
                coins.remove(&input.coin());
            }
        }
        let mature = coins.into_values().filter(|coin| coin.matures_at <= next_height);
        mature.filter_map(|input| Some(Coin { input, owner: super::owner_of(&input.key)? })).collect()
    }

    /// A node's pool stands on its ledger: each input is a coin of the ledger or of one before it, each coin is
    /// spent once, and all of it may be in the next block.
    pub(crate) fn assert_pool_stands(&self, who: Who) {
        let node = &self.members[who].node;
        let next_height = node.chain().tip().header.height + 1;
        let (mut made, mut spent): (BTreeSet<CoinId>, BTreeSet<CoinId>) = Default::default();
        for waiting in node.pool().snapshot() {
            let tx = node.pool().get(&waiting.id).expect("it waits");
            for coin in tx.spent() {
                assert!(made.contains(coin) || node.chain().ledger().contains(coin), "node {who}: a coin is missing");
                assert!(spent.insert(*coin), "node {who}: a coin is spent twice");
            }
            assert!(tx.matures_at() <= next_height, "node {who}: an immature coin");
            made.extend(tx.created());
        }
    }

    /// What a node would say of a transaction, signatures apart.
    pub(crate) fn match_inputs(&self, who: Who, tx: &ReadTx) -> Result<(), PoolReject> {
        let node = &self.members[who].node;
        node.pool().match_inputs(tx, &node.chain().ground(self.now))
    }

    /// What a node says of itself.
    pub(crate) fn hello_of(&self, who: Who) -> Hello {
        self.config(who).hello(&self.members[who].node.reader())
    }

    /// A block on a node's tip that pays the key of that node and holds what waits there; `variant` makes
    /// it another one.
    pub(crate) fn next_block(&self, who: Who, variant: u64) -> CheckedBlock {
        let (chain, pack) = (self.members[who].node.chain(), self.members[who].node.pool().pack());
        let payout = self.config(who).payout.expect("every member has a key");
        let mut block = Template::new(&self.params, chain.tip_position(), &payout, &pack.transfers).to_block();
        block.header.time = self.now.wall.0.max(block.header.time) + variant;
        self.checked(block)
    }

    /// A block as a session would hand it over.
    pub(crate) fn checked(&self, block: Block) -> CheckedBlock {
        let block = super::sealed(block);
        let read = ReadBlock::read(&self.params, block.to_bytes()).expect("a valid block");
        read.verified(&verifier()).expect("a valid block")
    }

    /// A node's tip.
    pub(crate) fn tip(&self, who: Who) -> Hash {
        self.members[who].node.chain().tip().id
    }

    /// A node's height.
    pub(crate) fn height(&self, who: Who) -> u64 {
        self.members[who].node.chain().tip().header.height
    }

    /// The ledger of a node, and the ledger that a replay of its file from genesis gives.
    pub(crate) fn ledger_and_replay(&self, who: Who) -> (Hash, Hash) {
        let kept = self.members[who].node.chain().ledger().hash();
        let disk = self.members[who].disk.kill();
        disk.remove(spindle::blockchain::storage::CHECKPOINT).expect("memory");
        let replayed = self.open(who, disk);
        assert_eq!(replayed.node.chain().tip().id, self.tip(who), "a restart keeps the tip");
        (kept, replayed.node.chain().ledger().hash())
    }

    /// Everything that a node has told people since the last call.
    pub(crate) fn told(&mut self, who: Who) -> Vec<Report> {
        std::mem::take(&mut self.members[who].told)
    }
}
