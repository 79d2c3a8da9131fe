//! A node's life on the stage: how it starts, takes events, has its effects performed, and dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::checkpoint;
use spindle::node::event::{Effect, Event, Target};
use spindle::node::message::Message;
use spindle::node::orders::{Answer, Order, Ticket};
use spindle::node::report::Report;
use spindle::node::{Node, NodeConfig};
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::time::Wall;

use crate::common::supply::Supply;
use crate::common::verifier;
use crate::disk::{Op, WatchedDisk};
use crate::stage::{Actor, Happening, Running, Stage, TICK_MS, Who};
use crate::words;

/// What a sync of the disk takes.
const SYNC_MS: u64 = 4;
/// From a wallet to the node beside it.
const LOOPBACK_MS: u64 = 1;
/// What verifying the signatures of a payment takes.
const VERIFY_MS: u64 = 1;

impl Stage {
    pub(crate) fn config(&self, who: Who) -> NodeConfig {
        let host = &self.hosts[who];
        NodeConfig {
            params: Arc::clone(&self.params),
            nonce: 1_000 * (who as u64 + 1) + host.life,
            secret: [u8::try_from(who).expect("few machines"); 16],
            agent: host.name.clone(),
            listen_port: 9000,
            connect: host.connects_to.iter().map(|&to| Target::Address(Self::address(to))).collect(),
            seeds: false,
            // Only whom it is told to: a story has no chance acquaintances.
            outbound_max: 0,
            payout: None,
        }
    }

    /// A node starts on what lies on its machine's disk.
    pub(crate) fn start(&mut self, who: Who) {
        self.hosts[who].life += 1;
        let disk = WatchedDisk::over(self.hosts[who].disk.clone());
        let (node, opening) = Node::open(self.config(who), &disk.seen, &mut |_| {}).expect("a disk that works");
        disk.watch();
        let host = &self.hosts[who];
        let words = words::opened(&self.names, &host.ends, &node.chain().tip().id, &opening);
        let (supply, refused, verifying) = (Supply::default(), BTreeMap::new(), VecDeque::new());
        let mut running = Running { node, disk, supply, refused, verifying };
        running.supply.follow(running.node.chain());
        let life = host.life;
        self.hosts[who].actor = Actor::Node(Box::new(running));
        for words in words {
            self.line(who, &words);
        }
        self.plan(TICK_MS, Happening::Tick(who, life));
        self.plan(0, Happening::Event(who, life, Box::new(Event::Tick)));
    }

    /// The process is killed: what it wrote is there, and the system closes its connections.
    pub(crate) fn kill(&mut self, who: Who) {
        self.line(who, "is killed");
        self.hosts[who].disk = self.disk_of(who).kill();
        self.end_all(who, false);
        self.hosts[who].actor = Actor::Nothing;
    }

    /// The power fails. `choose` says what lasts of what was not synced; nobody hears a word.
    pub(crate) fn power_fails(&mut self, who: Who, choose: &mut dyn FnMut(usize) -> usize) {
        self.hosts[who].disk = self.disk_of(who).power_cut(choose);
        self.end_all(who, true);
        self.hosts[who].actor = Actor::Nothing;
    }

    fn disk_of(&self, who: Who) -> MemoryDisk {
        self.running(who).map_or(&self.hosts[who].disk, |running| &running.disk.memory).clone()
    }

    /// One event for a node, all that it wants done, and the turns that it needs for the rest.
    pub(crate) fn step(&mut self, who: Who, event: Event) {
        self.turn(who, event);
        while self.running(who).is_some_and(|running| running.node.has_more()) {
            self.turn(who, Event::Continue);
        }
    }

    fn turn(&mut self, who: Who, event: Event) {
        let now = self.now();
        let Some(Running { node, .. }) = self.running_mut(who) else { return };
        // Words of a peer that is gone are not heard, and change nothing.
        if event.peer().is_some_and(|peer| node.peers().get(peer).is_none()) {
            return;
        }
        let was = (node.chain().tip().id, node.pool().ids().collect::<BTreeSet<Hash>>());
        let effects = node.step(now, event);
        self.tell_disk(who);
        let Ok(effects) = effects else {
            // Half of a block is on the disk, as it was written.
            return self.power_fails(who, &mut |possibilities| possibilities - 1);
        };
        self.tell_changes(who, was);
        for effect in effects {
            self.perform(who, effect);
        }
    }

    /// What the last calls to a node's disk came to.
    fn tell_disk(&mut self, who: Who) {
        let Some(running) = self.running(who) else { return };
        let ops = running.disk.take();
        for op in &ops {
            if let Op::Append { blocks, .. } = op {
                self.hosts[who].ends.extend(blocks.iter().map(|&(id, end)| (end, id)));
            }
        }
        if let Some(words) = words::done(&self.names, &self.hosts[who].ends, &ops) {
            self.line(who, &words);
        }
    }

    /// What the last turn has changed in ledger, tip and pool.
    fn tell_changes(&mut self, who: Who, (tip, pool): (Hash, BTreeSet<Hash>)) {
        let Some(Running { node, supply, .. }) = self.running_mut(who) else { return };
        if node.chain().rests() {
            supply.follow(node.chain());
        }
        let Some(Running { node, .. }) = self.running(who) else { return };
        let mut words: Vec<String> = words::walked(&self.names, node.chain().passed()).into_iter().collect();
        let now = node.chain().tip();
        if now.id != tip {
            let (name, was) = (self.names.of(&now.id), self.names.of(&tip));
            words.push(format!("tip: {name}, height {}, was {was}", now.header.height));
        }
        let waiting: BTreeSet<Hash> = node.pool().ids().collect();
        for (verb, ids) in [("drops", pool.difference(&waiting)), ("takes", waiting.difference(&pool))] {
            let mut names: Vec<&str> = ids.map(|id| self.names.of(id)).collect();
            names.sort_unstable();
            if !names.is_empty() {
                words.push(format!("pool: {verb} {}", names.join(", ")));
            }
        }
        for words in words {
            self.line(who, &words);
        }
    }

    fn perform(&mut self, who: Who, effect: Effect) {
        match effect {
            Effect::Send { peer, message } => self.say(who, peer, None, &message),
            Effect::Ask { peer, asked, message } => self.say(who, peer, Some(asked), &message),
            Effect::BroadcastBlock { peers, block } => {
                let message = Message::NewBlock(block);
                for peer in peers {
                    self.say(who, peer, None, &message);
                }
            }
            Effect::BroadcastTx { peers, ids } => {
                let message = Message::NewTx(List::first_of(ids));
                for peer in peers {
                    self.say(who, peer, None, &message);
                }
            }
            Effect::Verify { transactions } => {
                let life = self.hosts[who].life;
                self.running_mut(who).expect("it speaks").verifying.push_back(transactions);
                self.plan(VERIFY_MS, Happening::Verified(who, life));
            }
            Effect::HangUp { peer, reason } => {
                if let Some((link, side)) = self.end_of(who, peer) {
                    self.end(link, side, reason);
                }
            }
            Effect::Dial { target: Target::Address(address) } => {
                let to = self.host_at(address).expect("nodes are told of nodes");
                self.dial(who, to);
            }
            Effect::Dial { target: Target::Name(name) } => panic!("nobody is called {name}"),
            Effect::Refuse { ip, until } => self.refuse(who, ip, until),
            Effect::Sync { upto } => self.plan(SYNC_MS, Happening::Synced(who, self.hosts[who].life, upto)),
            Effect::Checkpoint { tip, ledger } => {
                let running = self.running(who).expect("it speaks");
                let identity = running.node.chain().store().identity();
                checkpoint::write(&*running.disk.seen, &identity, tip, &ledger, &mut || true)
                    .expect("a disk that works");
                self.tell_disk(who);
                let event = Event::Checkpointed { tip };
                self.plan(0, Happening::Event(who, self.hosts[who].life, Box::new(event)));
            }
            Effect::Save { file, bytes } => {
                let disk = &*self.running(who).expect("it speaks").disk.seen;
                disk::replace(disk, file, &bytes).expect("a disk that works");
                self.tell_disk(who);
            }
            Effect::Tell(report) => self.tell(who, &report),
            // Stories say when a block is found.
            Effect::Mine { .. } | Effect::Generate { .. } | Effect::Miners { .. } => {}
            Effect::Answer { ticket, answer } => self.tell_wallet(who, ticket, &answer),
        }
    }

    /// A wallet beside a node hands a payment in.
    pub(crate) fn hand_in(&mut self, who: Who, transaction: ReadTx) {
        let (id, ticket) = (transaction.id(), Ticket(self.handed_in.len() as u64));
        self.handed_in.push(id);
        let (name, words) = (self.hosts[who].name.clone(), format!("submit {}", self.names.of(&id)));
        self.line_of_wallet("wallet", &name, &words);
        let event = Event::Order { ticket, order: Order::Submit(Box::new(transaction)) };
        self.plan(LOOPBACK_MS, Happening::Event(who, self.hosts[who].life, Box::new(event)));
    }

    /// It hears what became of it.
    fn tell_wallet(&mut self, who: Who, ticket: Ticket, answer: &Answer) {
        let id = self.handed_in[usize::try_from(ticket.0).expect("few payments")];
        let words = match answer {
            Answer::Done(Err(why)) => format!("{} is refused: {}", self.names.of(&id), self.names.in_text(why)),
            _ => format!("{} waits", self.names.of(&id)),
        };
        let name = self.hosts[who].name.clone();
        self.line_of_wallet(&name, "wallet", &words);
    }

    fn tell(&mut self, who: Who, report: &Report) {
        if let Some(words) = words::told(&self.names, report) {
            let words = self.in_words(who, &words);
            self.line(who, &words);
        }
    }

    fn refuse(&mut self, who: Who, ip: IpAddr, until: Option<Wall>) {
        let now = self.now().wall;
        let other = self.host_at(SocketAddr::new(ip, 9000)).expect("only strangers are refused");
        let name = self.hosts[other].name.clone();
        let refused = &mut self.running_mut(who).expect("it speaks").refused;
        if let Some(until) = until {
            refused.insert(ip, until);
            let hours = (until.0 - now.0) / 3_600_000;
            self.line(who, &format!("refuses connections from {name} for {hours} h"));
        } else {
            refused.remove(&ip);
            self.line(who, &format!("lets {name} in again"));
        }
    }

    pub(crate) fn synced(&mut self, who: Who, upto: u64) {
        let synced = self.running(who).expect("it lives").node.syncer().sync(upto);
        self.tell_disk(who);
        match synced {
            Ok(()) => self.step(who, Event::Durable { upto }),
            Err(_) => self.power_fails(who, &mut |possibilities| possibilities - 1),
        }
    }

    pub(crate) fn verified(&mut self, who: Who) {
        let running = self.running_mut(who).expect("it lives");
        let batch = running.verifying.pop_front().expect("one of these is planned for each batch");
        let verdicts = ReadTx::verified_all(batch, &verifier());
        self.step(who, Event::Verified { verdicts });
    }
}
