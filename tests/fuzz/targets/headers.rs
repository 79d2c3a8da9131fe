//! Following headers: branches weaker and heavier than our own, longer than one message, from peers that are honest,
//! change their minds, or lie. Cheap headers buy no memory, and whoever is honest is followed to the end.
//!
//! The node has 2,100 blocks, so that a branch of full messages can begin far below its tip. The input says who comes
//! and how each question is answered; in the end an honest peer comes with the heaviest branch.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use spindle::blockchain::block::CheckedHeader;
use spindle::blockchain::chain::Chain;
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::position::Position;
use spindle::blockchain::storage::{PersistentBlockchain, checkpoint};
use spindle::blockchain::template::Template;
use spindle::node::event::{Announced, Asked, Event, PeerId};
use spindle::node::message::{HEADERS_MAX, Hello, Message, NewBlock};
use spindle::node::reason::Reason;
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;

use super::bytes::Bytes;
use super::kit;
use super::machine::Machine;

/// The node's own blocks.
const OWN: usize = 2_100;
const EVENTS_MAX: usize = 40;
const PEERS_MAX: usize = 4;
/// Questions after which an honest peer has shown the longest branch twice.
const PATIENCE: usize = 40;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let mut story = Story { machine: Machine::new(&world().disk), branches: BTreeMap::new() };
    for _ in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        story.happen(&mut input);
    }
    // The long one takes a while.
    story.follow_the_honest(usize::from(data.first().is_none_or(|first| first % 4 != 3)));
    story.part();
}

/// Headers in a row.
type Headers = Vec<CheckedHeader>;

/// A branch: its headers from the first one after genesis on, and their heights.
struct Branch {
    headers: Headers,
    heights: HashMap<Hash, usize>,
}

impl Branch {
    fn new(headers: Headers) -> Self {
        let heights = headers.iter().zip(1..).map(|(header, height)| (header.id(), height)).collect();
        Self { headers, heights }
    }

    /// What follows the first of a locator that is on this branch, as far as a message goes.
    fn after(&self, locator: &[Hash]) -> Headers {
        let known = locator.iter().find_map(|id| self.heights.get(id)).copied();
        self.headers[known.unwrap_or(0)..].iter().take(HEADERS_MAX).copied().collect()
    }

    fn leaf(&self) -> Hash {
        self.headers.last().expect("no branch is empty").id()
    }
}

struct World {
    disk: MemoryDisk,
    /// The heaviest first, which begins low; then one that begins at our tip, and weaker ones.
    branches: Vec<Branch>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (own, positions) = extend(&[], &Position::genesis(kit::params()), OWN, 0);
        let on = |height: usize, blocks, key| extend(&own[..height], &positions[height], blocks, key).0;
        let mut branches = vec![on(3, 4_300, 1), on(OWN, 30, 2), on(50, 2_020, 3), on(50, 4_000, 4), on(2_000, 100, 5)];
        branches.push(own);
        World { disk: own_disk(), branches: branches.into_iter().map(Branch::new).collect() }
    })
}

/// A branch with so many more headers, and the position of each header of it.
fn extend(below: &[CheckedHeader], on: &Position, blocks: usize, key: u8) -> (Headers, Vec<Position>) {
    let (mut branch, mut positions) = (below.to_vec(), vec![*on]);
    for _ in 0..blocks {
        let parent = positions.last().expect("it begins with one");
        let header = *Template::new(kit::params(), parent, &Key([key; 32]).into(), &[]).header();
        let header = CheckedHeader::check(header).expect("any hash is work enough");
        positions.push(kit::position_of(parent, &header));
        branch.push(header);
    }
    (branch, positions)
}

/// A disk with the own chain on it, and a checkpoint at its end.
fn own_disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, _) =
        PersistentBlockchain::open(Arc::clone(&shared), kit::params(), &mut |_, _| {}).expect("memory");
    let (mut blocks, mut parent) = (Vec::with_capacity(OWN), Position::genesis(kit::params()));
    for _ in 0..OWN {
        let template = Template::new(kit::params(), &parent, &Key([0; 32]).into(), &[]);
        let block = template.found(kit::params(), *template.header()).expect("any hash is work enough");
        parent = kit::position_of(&parent, &block.checked_header());
        blocks.push(block);
    }
    store.append(&blocks).expect("memory");
    store.syncer().sync(store.appended_bytes()).expect("memory");
    let (chain, _) = Chain::open(kit::params().clone(), &shared, &mut |_| {}).expect("memory");
    checkpoint::write(&disk, &store.identity(), chain.tip().id, chain.ledger(), &mut || true).expect("memory");
    disk
}

struct Story {
    machine: Machine,
    /// Which branch each peer is on.
    branches: BTreeMap<PeerId, usize>,
}

impl Story {
    fn happen(&mut self, input: &mut Bytes<'_>) {
        match input.byte() % 12 {
            0 | 1 => {
                let (branch, claim) = (input.below(world().branches.len()), input.byte());
                self.connect(branch, claim);
            }
            2..=6 => {
                if let Some(peer) = self.peer(input) {
                    self.answer(input, peer);
                }
            }
            7 => self.news(input),
            8 => {
                if let Some(peer) = self.peer(input) {
                    self.machine.close(peer, Reason::Closed);
                }
            }
            9 => {
                // Others have found blocks meanwhile.
                if let Some(peer) = self.peer(input) {
                    self.branches.insert(peer, input.below(world().branches.len()));
                }
            }
            _ => self.tick([250, 1_000, 6_000, 40_000][usize::from(input.byte() % 4)]),
        }
    }

    fn tick(&mut self, ms: u64) {
        self.machine.pass(ms);
        self.machine.step(Event::Tick);
    }

    fn peer(&self, input: &mut Bytes<'_>) -> Option<PeerId> {
        input.pick(&self.machine.links.keys().copied().collect::<Vec<_>>()).copied()
    }

    /// Somebody on this branch comes, and says so or something else.
    fn connect(&mut self, branch: usize, claim: u8) -> Option<PeerId> {
        if self.machine.links.len() > PEERS_MAX {
            return None;
        }
        let height = world().branches[branch].headers.len() as u64;
        let work = [u128::from(height), 0, u128::MAX, u128::from(height) + 1][usize::from(claim % 4)];
        let hello = Hello { nonce: 5_000 + self.branches.len() as u64, height, work, ..self.machine.hello() };
        let address = SocketAddr::from(([8, 8, 4, claim], 50_000));
        let peer = self.machine.connect(None, address, hello, Hash::ZERO);
        self.branches.insert(peer, branch);
        Some(peer)
    }

    /// The next question of a peer that is one for headers, answered.
    fn answer(&mut self, input: &mut Bytes<'_>, peer: PeerId) {
        let Some((asked, message)) = self.next_question(peer) else { return };
        let how = input.byte();
        let (Asked::Headers, Message::GetHeaders(locator)) = (&asked, &message) else {
            return self.answer_other(peer, asked);
        };
        let other = input.below(world().branches.len());
        let branch = &world().branches[if how % 8 == 1 { other } else { self.branches[&peer] }];
        let mut headers = branch.after(locator);
        match how % 8 {
            2 => headers.truncate(usize::from(input.u16())),
            3 => headers.clear(),
            4 => drop(headers.drain(..usize::from(input.u16()).min(headers.len()))),
            5 => {
                headers.truncate(usize::from(input.u16()));
                self.spoil(input, &mut headers);
            }
            _ => {}
        }
        self.machine.step(Event::Headers { peer, headers });
    }

    fn next_question(&mut self, peer: PeerId) -> Option<(Asked, Message)> {
        let link = self.machine.links.get_mut(&peer)?;
        if link.asked.is_empty() { None } else { Some(link.asked.remove(0)) }
    }

    /// There are no bodies in this world.
    fn answer_other(&mut self, peer: PeerId, asked: Asked) {
        self.machine.step(match asked {
            Asked::Blocks(ids) => Event::Missing { peer, last: *ids.last().expect("runs are not empty") },
            Asked::Peers => Event::Peers { peer, addresses: Vec::new() },
            Asked::Pool => Event::Pool { peer, ids: Vec::new() },
            Asked::Txs(asked) => Event::Txs { peer, asked, transactions: Vec::new() },
            Asked::BlockTxs(block, _) => Event::BlockTxsMissing { peer, block },
            Asked::Headers => unreachable!("answered elsewhere"),
        });
    }

    /// Puts a last header on top that breaks a rule, or one that is right and that nobody knows.
    fn spoil(&self, input: &mut Bytes<'_>, headers: &mut Headers) {
        let Some(last) = headers.last() else { return };
        let mut header = *last.header();
        (header.prev, header.height, header.time) = (last.id(), header.height + 1, header.time + 1);
        header.nonce = 77;
        match input.byte() % 6 {
            0 => header.difficulty = 2,
            1 => header.height += 1,
            2 => header.time = 0,
            3 => header.version = 2,
            4 => header.time = self.machine.now.wall.0 + 130_000,
            _ => {}
        }
        if let Ok(header) = CheckedHeader::check(header) {
            headers.push(header);
        }
    }

    /// Somebody announces a block of its branch.
    fn news(&mut self, input: &mut Bytes<'_>) {
        let Some(peer) = self.peer(input) else { return };
        let branch = &world().branches[self.branches[&peer]].headers;
        let header = branch[branch.len() - 1 - usize::from(input.byte()).min(branch.len() - 1)];
        let coinbase = kit::chain().decoded[0].coinbase;
        let news = NewBlock { header: *header.header(), coinbase, short_ids: List::first_of(vec![[1; 6]]) };
        self.machine.step(Event::NewBlock { peer, block: Announced::Sketch(header, Box::new(news)) });
    }

    /// An honest peer comes with a branch that is heavier than ours: all its headers are taken, and nobody blames it.
    fn follow_the_honest(&mut self, branch: usize) {
        for peer in self.machine.links.keys().copied().collect::<Vec<_>>() {
            self.machine.close(peer, Reason::Closed);
        }
        // Until a pause is over that somebody else has caused.
        self.tick(70_000);
        let peer = self.connect(branch, 0).expect("there is room");
        let leaf = world().branches[branch].leaf();
        for _ in 0..PATIENCE {
            self.tick(1_000);
            let question = self.next_question(peer);
            if let Some((Asked::Headers, Message::GetHeaders(locator))) = &question {
                let headers = world().branches[branch].after(locator);
                self.machine.step(Event::Headers { peer, headers });
            }
            assert!(self.machine.links.contains_key(&peer), "an honest peer is hung up on");
            if self.machine.node.chain().headers().position(&leaf).is_some() {
                return;
            }
        }
        panic!("an honest peer is not followed");
    }

    /// Everybody goes: what nobody here has is forgotten.
    fn part(&mut self) {
        for peer in self.machine.links.keys().copied().collect::<Vec<_>>() {
            self.machine.close(peer, Reason::Closed);
        }
        (0..3).for_each(|_| self.tick(2_000));
        assert!(self.machine.node.chain().headers().is_empty(), "headers that nobody has are kept");
        assert_eq!(self.machine.node.chain().tip().header.height, OWN as u64);
    }
}
