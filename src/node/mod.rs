//! The deterministic core: events in, effects out.
//!
//! [`Node::step`] takes one event at one instant and says what should happen next. Nothing under
//! `node/` opens a socket, starts a thread or reads a clock; time comes as an argument, chance from a
//! seed, and the disk through a trait. So the very same code runs behind threads and in a simulator.
//!
//! [`session`] is one connection without its socket and [`serve`] answers reads; both run on the
//! peer's own threads. What they let through arrives here: [`peers`] knows who is connected,
//! [`streams`] and [`sync`] catch up, [`relay`] and [`sketches`] spread new blocks, [`transactions`] what
//! waits for one, [`templates`] are for our miners, [`orders`] come from people, [`addresses`] and [`dialer`] find others,
//! [`durability`] says what may be promised, [`summary`] how it all is. `conduct` puts them together: what each event means, and what
//! follows. Each part owns its fields; a [`turn::Turn`] lends them the rest.

pub mod message;

pub mod frame;

pub mod session;

pub mod serve;

pub mod reason;

pub mod report;

pub mod event;

pub mod orders;

pub mod turn;

pub mod peers;

pub mod addresses;

pub mod dialer;

pub mod streams;

pub mod sync;

pub mod relay;

pub mod sketches;

pub mod transactions;

pub mod templates;

pub mod durability;

pub mod summary;

mod conduct;

use std::sync::Arc;

use conduct::Conduct;

use crate::blockchain::chain::{Chain, Opening, Progress};
use crate::blockchain::disk::{self, Disk};
use crate::blockchain::mempool::{self, Mempool, Saved};
use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::blockchain::storage::{BlockMeta, ReadHandle, Room, StoreError, Syncer};
use crate::node::addresses::AddressBook;
use crate::node::durability::Durability;
use crate::node::event::{Effect, Event, Target};
use crate::node::message::{Activation, Hello, PROTOCOL_GREATEST, PROTOCOL_LEAST};
use crate::node::peers::Peers;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::time::{Mono, Now};

/// What a node is told before it starts.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The network.
    pub params: Arc<Params>,
    /// Drawn once per process, told to everybody: tells ourselves from others.
    pub nonce: u64,
    /// Drawn once per process, told to nobody: the seed of the core's chance, and the key of tables that
    /// strangers fill.
    pub secret: [u8; 16],
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
    pub payout: Option<Payout>,
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
    pool: Mempool,
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
        let checkpointed = match opening.checkpoint.and_then(|height| chain.reader().record_at(height)) {
            Some(record) => chain.store().meta(record)?.end(),
            None => 0,
        };
        let pool = Mempool::new(config.secret);
        let saved = saved_pool(&config.params, &**disk)?;
        let conduct = Conduct::new(config, book, Durability::new(&chain, checkpointed), saved);
        Ok((Self { chain, pool, peers: Peers::default(), conduct }, opening))
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

    /// What waits for a block, to look at.
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// What waited here and stands in blocks that nobody has been told of, because a power cut could take them back.
    pub fn untold(&self) -> impl Iterator<Item = (&BlockMeta, &[Hash])> {
        self.conduct.durability().untold(&self.chain)
    }

    /// Who is connected, to look at.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Where others are said to listen, to look at.
    pub fn addresses(&self) -> &AddressBook {
        self.conduct.book()
    }

    /// Whether miners have something to work on.
    pub fn is_mining(&self) -> bool {
        self.conduct.is_mining()
    }

    /// Blocks that orders for them still lack.
    pub fn blocks_owed(&self) -> u64 {
        self.conduct.blocks_owed()
    }

    /// Whether there are blocks to catch up with.
    pub fn is_catching_up(&self, now: Mono) -> bool {
        self.conduct.is_catching_up(now)
    }

    /// Whether the disk has room for blocks, as of the last turn.
    pub fn room(&self) -> Room {
        self.conduct.room()
    }

    /// Whether the last turn was cut short: [`Event::Continue`] goes on with it.
    pub fn has_more(&self) -> bool {
        let walks = !self.chain.rests() || !self.chain.passed().is_empty();
        walks || !self.pool.is_settled() || self.pool.orphans_ready() || self.conduct.has_more()
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
        let Self { chain, pool, peers, conduct } = self;
        let mut turn = Turn { now, chain, pool, peers, out: &mut out, lost: &mut lost };
        conduct.turn(&mut turn, event)?;
        Ok(out)
    }

    /// The last effects: nothing that was promised is lost, and the next start is quick.
    pub fn close(&mut self, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        self.conduct.close(now, &mut self.chain, &mut self.pool, &mut out);
        out
    }
}

/// What waited when the node stopped the last time. A file that cannot be used costs what waited: wallets
/// offer theirs again.
fn saved_pool(params: &Params, disk: &dyn Disk) -> Result<Vec<Saved>, StoreError> {
    let bytes = disk::read_small(disk, mempool::FILE, mempool::FILE_BYTES_MAX);
    let Some(bytes) = bytes.map_err(StoreError::io("read", disk.path(mempool::FILE)))? else { return Ok(Vec::new()) };
    Ok(mempool::read_file(params, &bytes).unwrap_or_else(|error| {
        log::warn!("the transactions that waited are lost, because {} cannot be used: {error}", mempool::FILE);
        Vec::new()
    }))
}
