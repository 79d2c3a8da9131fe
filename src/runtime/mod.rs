//! The threads: every one of them, its start and its end, on one page.
//!
//! Start, in this order: bind the port (so that a port in use touches nothing else), take the
//! directory, open the chain ([`Opened`]), then `disk`, `verify`, `index`, `mine-N`, `listen`, `owner`; peers' threads come
//! and go. Each handle ends its threads when it is dropped, so a start that fails half way leaves none.
//!
//! Stop, in this order, whatever peers do within five seconds: tell the owner, which does its last
//! writes, ends every socket and drops every channel; wake the listener and join it and all peers'
//! threads (but look-ups of names, which nobody can end); join the miners, `index` and `verify`; join the disk, which
//! finishes what the owner left; join the pool that checks signatures.
//!
//! A panic in a peer's thread ends that peer. One in the owner or the disk thread ends the node, with
//! an error.

pub mod handle;

pub mod control;

pub mod trail;

pub(crate) mod owner;

pub(crate) mod disk;

pub(crate) mod verify;

pub(crate) mod index;

pub(crate) mod miner;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};

use crate::blockchain::chain::{Opening, Progress};
use crate::blockchain::disk::Disk;
use crate::blockchain::os::DataDir;
use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::blockchain::storage::{BlockMeta, ReadHandle, StoreError};
use crate::blockchain::tx_index::TxIndex;
use crate::network::limits::{self, INBOUND_MAX, OUTBOUND_MAX, inbox_capacity};
use crate::network::p2p::{P2PConfig, P2PNode, P2PThreads};
use crate::node::event::Target;
use crate::node::session::SessionConfig;
use crate::node::{Node, NodeConfig};
use crate::primitives::chatter::Chatter;
use crate::primitives::keys::Verifier;
use crate::primitives::thread::{STACK_LARGE_BYTES, caught, check_pool, spawn};
use crate::primitives::time::Clock;
use crate::runtime::control::{CONTROL_MAX, Control};
use crate::runtime::disk::DiskThread;
use crate::runtime::handle::{ASKS_MAX, Board, Handle, Tickets};
use crate::runtime::index::IndexThread;
use crate::runtime::miner::{MinerConfig, MinerThreads};
use crate::runtime::owner::{LINES_PER_MINUTE, Ports, Queue, TICK};
use crate::runtime::trail::Tracker;
use crate::runtime::verify::VerifyThread;

/// What a daemon is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network.
    pub params: Arc<Params>,
    /// Where to listen; port 0 for any.
    pub bind: SocketAddr,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Peers to stay connected to.
    pub peers: Vec<Target>,
    /// Whether to look for others where the network's file says.
    pub seeds: bool,
    /// Threads that mine at all times; 0: blocks only when asked for.
    pub mining_threads: usize,
    /// Whom mined blocks pay; `None`: no block can be mined.
    pub payout: Option<Payout>,
    /// Connections from others.
    pub max_inbound: usize,
    /// Connections that we make.
    pub max_outbound: usize,
}

impl Config {
    /// The defaults, listening on loopback at the network's port.
    pub fn new(params: Arc<Params>, data_dir: PathBuf) -> Self {
        let bind = SocketAddr::from(([127, 0, 0, 1], params.spec().port));
        Self {
            params,
            bind,
            data_dir,
            peers: Vec::new(),
            seeds: true,
            mining_threads: 0,
            payout: None,
            max_inbound: INBOUND_MAX,
            max_outbound: OUTBOUND_MAX,
        }
    }

    /// Connections that there can be at a time. Peers that were named are dialled also when there are
    /// enough others, so they come on top.
    pub fn connections_max(&self) -> usize {
        self.max_inbound + self.max_outbound + self.peers.len()
    }
}

/// Why a daemon did not start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The port is not to be had.
    #[error("cannot listen on {address}: {source}; choose another with `--port`, or stop what listens there")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Our own disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refuses a thread or a descriptor.
    #[error("cannot start the {what}: {source}")]
    Start {
        /// Which.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A bug of ours.
    #[error("the owner's thread failed, which is a bug in spindle: {0}")]
    Panicked(String),
}

fn start_error(what: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Start { what, source }
}

/// Asks a daemon to stop; for a signal handler, or anybody.
#[derive(Clone, Debug)]
pub struct StopHandle(Sender<()>);

impl StopHandle {
    /// Asks; [`Daemon::wait`] then stops it. Never waits.
    pub fn stop(&self) {
        // Full: somebody has asked already.
        let _ = self.0.try_send(());
    }
}

/// Binds the port of a node: what is in use is found out before anything else is touched.
pub fn bind(config: &Config) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(config.bind).map_err(|source| DaemonError::Listen { address: config.bind, source })
}

/// A node whose chain is open and whose threads do not run yet.
#[derive(Debug)]
pub struct Opened {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    node_config: NodeConfig,
    node: Node,
    opening: Opening,
    disk: Arc<dyn Disk>,
    clock: Clock,
    pool: Pool,
    asked_to_stop: (Sender<()>, Receiver<()>),
}

impl Opened {
    /// Opens the chain on this disk. `progress` hears how far that is.
    pub fn open(
        config: &Config,
        listener: TcpListener,
        disk: Arc<dyn Disk>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DaemonError> {
        let listen = |source| DaemonError::Listen { address: config.bind, source };
        let address = listener.local_addr().map_err(listen)?;
        let clock = Clock::start();
        let pool = Pool::new()?;
        let node_config = node_config(config, address)?;
        let (node, opening) = Node::open(node_config.clone(), &disk, progress)?;
        let (config, asked_to_stop) = (config.clone(), bounded(1));
        Ok(Self { config, listener, address, node_config, node, opening, disk, clock, pool, asked_to_stop })
    }

    /// What opening the chain found.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The tip that it ends in.
    pub fn tip(&self) -> &BlockMeta {
        self.node.chain().tip()
    }

    /// For whoever may want it to stop once it runs.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.asked_to_stop.0.clone())
    }

    /// Starts the threads.
    pub fn run(self) -> Result<Daemon, DaemonError> {
        let Self { config, listener, address, node_config, node, opening, disk, clock, pool, .. } = self;
        let (stop, asked_to_stop) = self.asked_to_stop;
        let reader = node.reader();
        let (control, controls) = bounded(CONTROL_MAX);
        let (asker, asks) = bounded(ASKS_MAX);
        let (sender, inbox) = bounded(inbox_capacity(config.connections_max()));
        let network = P2PConfig {
            listener,
            session: SessionConfig { params: Arc::clone(&config.params), verifier: pool.verifier() },
            reader: reader.clone(),
            node: node_config,
            max_inbound: config.max_inbound,
            write_ms: limits::WRITE_MS,
            clock,
        };
        let network = P2PNode::new(network, sender).map_err(start_error("network"))?;
        let identity = node.chain().store().identity();
        let index = Arc::new(TxIndex::open(Arc::clone(&disk), reader.clone(), identity)?);
        let disk = DiskThread::start(disk, node.syncer(), identity, control.clone());
        let (disk, disk_desk) = disk.map_err(start_error("disk thread"))?;
        let (verify, verify_desk) =
            VerifyThread::start(pool.verifier(), control.clone()).map_err(start_error("verifying thread"))?;
        let started = MinerThreads::start(miner_config(&config, clock), control.clone());
        let (miners, miner) = started.map_err(start_error("mining threads"))?;
        let peers = network.start().map_err(start_error("listening thread"))?;
        let now = clock.now();
        let tracker = Tracker::new(node.chain().tip());
        let board = Arc::new(Board::new(&node.summary(now), now));
        let started = IndexThread::start(Arc::clone(&index), Arc::clone(&board));
        let (indexer, index_desk) = started.map_err(start_error("indexing thread"))?;
        let handle = Handle {
            asks: asker,
            reader,
            index,
            board: Arc::clone(&board),
            params: Arc::clone(&config.params),
            verifier: Verifier::new(random()?, None),
            stop: StopHandle(stop),
            clock,
        };
        let ports = Ports {
            control: controls,
            inbox,
            asks,
            ticks: tick(TICK),
            network,
            disk: disk_desk,
            verify: verify_desk,
            miner,
            clock,
            queue: Queue::default(),
            tickets: Tickets::default(),
            tracker,
            board,
            index: index_desk,
            chatter: Chatter::new(LINES_PER_MINUTE),
        };
        tell_of_start(&config, address);
        let owner = Owner::start(node, ports, control)?;
        Ok(Daemon { handle, opening, address, asked_to_stop, owner, peers, miners, indexer, verify, disk, pool })
    }
}

/// A running node. Dropping it stops it in order, too, but nobody hears whether something failed.
///
/// The threads stand in the order in which they end.
#[derive(Debug)]
pub struct Daemon {
    handle: Handle,
    opening: Opening,
    address: SocketAddr,
    asked_to_stop: Receiver<()>,
    owner: Owner,
    peers: P2PThreads,
    miners: MinerThreads,
    indexer: IndexThread,
    verify: VerifyThread,
    disk: DiskThread,
    pool: Pool,
}

impl Daemon {
    /// Starts everything. `progress` hears how far opening the chain is.
    pub fn start(config: &Config, progress: &mut dyn FnMut(Progress)) -> Result<Self, DaemonError> {
        Self::start_on(config, || Ok(Arc::new(DataDir::open(&config.data_dir)?)), progress)
    }

    /// The same on any disk: `disk` is asked for it once the port is ours.
    pub fn start_on(
        config: &Config,
        disk: impl FnOnce() -> Result<Arc<dyn Disk>, StoreError>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DaemonError> {
        let listener = bind(config)?;
        Opened::open(config, listener, disk()?, progress)?.run()
    }

    /// Where others can connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What opening the chain found.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The published tip.
    pub fn tip(&self) -> BlockMeta {
        self.handle.reader.tip()
    }

    /// The read side of the chain.
    pub fn reader(&self) -> &ReadHandle {
        &self.handle.reader
    }

    /// For whoever asks and whoever orders.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// For whoever may want it to stop.
    pub fn stop_handle(&self) -> StopHandle {
        self.handle.stop.clone()
    }

    /// Waits until it is asked to stop, or has ended by itself; then stops it in order.
    pub fn wait(self) -> Result<(), DaemonError> {
        self.wait_then(|| {})
    }

    /// The same; `first` ends whatever asks it questions, before it ends itself.
    pub fn wait_then(self, first: impl FnOnce()) -> Result<(), DaemonError> {
        select! {
            recv(self.asked_to_stop) -> _ => {
                first();
                self.stop()
            }
            recv(self.owner.ended) -> outcome => {
                first();
                self.finish(outcome.ok())
            }
        }
    }

    /// Stops it in order; an error if something failed before or while it did.
    pub fn stop(self) -> Result<(), DaemonError> {
        // An owner that has ended needs no telling.
        let _ = self.owner.control.send(Control::Stop);
        let outcome = self.owner.ended.recv().ok();
        self.finish(outcome)
    }

    /// Joins everything once the owner has ended.
    fn finish(self, outcome: Option<Result<(), DaemonError>>) -> Result<(), DaemonError> {
        drop(self.owner);
        self.peers.stop();
        drop(self.miners);
        drop(self.indexer);
        drop(self.verify);
        let disk = self.disk.join();
        drop(self.pool);
        log::info!("stopped at height {}", self.handle.reader.tip().header.height);
        // The owner ends quietly when the disk thread has failed: that one has the reason.
        outcome.expect("the owner says how it ended")?;
        Ok(disk?)
    }
}

fn tell_of_start(config: &Config, address: SocketAddr) {
    log::info!(
        "listening on {address}, network {} (genesis {:.12}); all caps together: {} MiB",
        config.params.spec().name,
        config.params.genesis_id(),
        limits::sum_bytes(config.connections_max()) >> 20
    );
}

fn random<const N: usize>() -> Result<[u8; N], DaemonError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(DaemonError::Random)?;
    Ok(bytes)
}

fn miner_config(config: &Config, clock: Clock) -> MinerConfig {
    MinerConfig { params: Arc::clone(&config.params), threads: config.mining_threads, clock }
}

fn node_config(config: &Config, address: SocketAddr) -> Result<NodeConfig, DaemonError> {
    Ok(NodeConfig {
        secret: random()?,
        params: Arc::clone(&config.params),
        nonce: getrandom::u64().map_err(DaemonError::Random)?,
        agent: concat!("spindle/", env!("CARGO_PKG_VERSION")).into(),
        listen_port: address.port(),
        connect: config.peers.clone(),
        seeds: config.seeds,
        outbound_max: config.max_outbound,
        payout: config.payout.clone(),
    })
}

/// The owner's thread; dropping it ends and joins it.
#[derive(Debug)]
struct Owner {
    control: Sender<Control>,
    /// How it ended; one message.
    ended: Receiver<Result<(), DaemonError>>,
    thread: Option<JoinHandle<()>>,
}

impl Owner {
    fn start(node: Node, ports: Ports, control: Sender<Control>) -> Result<Self, DaemonError> {
        let (end, ended) = bounded(1);
        let thread = spawn("owner", STACK_LARGE_BYTES, move || {
            let outcome = match caught(|| owner::run(node, ports)) {
                Ok(outcome) => outcome.map_err(DaemonError::Store),
                Err(panic) => Err(DaemonError::Panicked(panic)),
            };
            let cause = outcome.as_ref().map_or_else(ToString::to_string, |()| "the node is stopping".to_owned());
            // Nobody listens if the daemon was dropped.
            let _ = end.try_send(outcome);
            cause
        });
        Ok(Self { control, ended, thread: Some(thread.map_err(start_error("owner"))?) })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.control.send(Control::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

/// The threads that check signatures of blocks that we asked for; dropping it joins them, after every
/// other holder of the verifier has ended.
#[derive(Debug)]
struct Pool {
    /// `None` once it ends.
    verifier: Option<Verifier>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new() -> Result<Self, DaemonError> {
        let (pool, threads) = check_pool().map_err(start_error("checking threads"))?.unzip();
        let verifier = Verifier::new(random()?, pool.map(Arc::new));
        Ok(Self { verifier: Some(verifier), threads: threads.unwrap_or_default() })
    }

    fn verifier(&self) -> Verifier {
        self.verifier.clone().expect("it is there until the pool is dropped")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.verifier = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}
