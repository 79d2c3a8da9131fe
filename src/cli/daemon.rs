//! `spindle daemon`: a node, until Ctrl-C.
//!
//! Its options become one [`Config`], checked in full before anything is made or opened; what runs then
//! stands in [`crate::runtime`]. The log is how a person follows it: what it is and what it found at its
//! start, then one line for each thing that happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use log::LevelFilter;
use parking_lot::Mutex;

use crate::blockchain::chain::{Opening, Stage};
use crate::blockchain::os::DataDir;
use crate::blockchain::params::Params;
use crate::blockchain::params::RULES_KNOWN;
use crate::blockchain::storage::Cut;
use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::cli::notify::Supervisor;
use crate::cli::output::Progress;
use crate::cli::payout::MineTo;
use crate::cli::{directory, logging, network, signals, values, version, watch};
use crate::network::limits::{INBOUND_MAX, OUTBOUND_MAX};
use crate::node::event::Target;
use crate::rpc::running::{self, Rpc, RpcError};
use crate::runtime::{Config, DaemonError, Opened, StopHandle, bind};

/// Mining threads that an option may ask for: more than any small machine has.
const MINING_THREADS_MAX: u64 = 256;
/// Connections that an option may ask for. Each costs two threads.
const PEERS_MAX: u64 = 1_024;

/// run a node
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "daemon")]
pub struct DaemonCommand {
    /// a file with more of these options, one `name = value` a line; what stands here wins [none]
    #[argh(option)]
    config: Option<PathBuf>,
    /// port to listen on; the RPC's is 1000 above it [the network's: local 9000, regtest 9100]
    #[argh(option, from_str_fn(values::port))]
    port: Option<u16>,
    /// do without the RPC: no command, page or wallet reaches the node [no]
    #[argh(switch)]
    no_rpc: bool,
    /// port of the RPC [1000 above the peers']
    #[argh(option, from_str_fn(values::rpc_port))]
    rpc_port: Option<u16>,
    /// address of the RPC; from another machine everything takes the cookie, and nothing is encrypted
    /// [127.0.0.1: this machine alone]
    #[argh(option, from_str_fn(values::bind))]
    rpc_bind: Option<IpAddr>,
    /// a name that others have for this machine, by which the RPC may be asked; may come several times [none]
    #[argh(option, from_str_fn(values::host))]
    rpc_name: Vec<String>,
    /// address to listen on [127.0.0.1: this machine alone]
    #[argh(option, from_str_fn(values::bind), default = "IpAddr::V4(Ipv4Addr::LOCALHOST)")]
    bind: IpAddr,
    /// where the chain is kept [one for each network and port, under the home directory]
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// local, regtest or a spec's file [local]
    #[argh(option, default = "String::from(\"local\")")]
    network: String,
    /// a node to stay connected to, HOST:PORT; may come several times [none]
    #[argh(option, from_str_fn(values::target))]
    peer: Vec<Target>,
    /// look for nobody but the given peers [look where the network says]
    #[argh(switch)]
    no_seeds: bool,
    /// mine blocks [no]
    #[argh(switch)]
    mine: bool,
    /// threads that mine [1]
    #[argh(option, from_str_fn(mining_threads))]
    mining_threads: Option<usize>,
    /// whom mined blocks pay, also those that `spindle mine` asks for: a wallet's address, a public key in hex, or
    /// a key file, made on first use [with --mine: miner.key in the data directory; otherwise nobody]
    #[argh(option)]
    mine_to: Option<String>,
    /// connections from others, at most [32]
    #[argh(option, from_str_fn(peers), default = "INBOUND_MAX")]
    max_inbound: usize,
    /// connections to others, at most [8]
    #[argh(option, from_str_fn(peers), default = "OUTBOUND_MAX")]
    max_outbound: usize,
    /// let regtest listen beyond this machine, where anybody can rewrite it at no cost [no]
    #[argh(switch)]
    expose_regtest: bool,
    /// error, warn, info or debug [info]
    #[argh(option, from_str_fn(values::level), default = "LevelFilter::Info")]
    log: LevelFilter,
    /// no progress lines: the log alone [no]
    #[argh(switch)]
    quiet: bool,
}

fn mining_threads(text: &str) -> Result<usize, String> {
    values::count(text, 1..=MINING_THREADS_MAX, "1 to 256 are allowed")
}

fn peers(text: &str) -> Result<usize, String> {
    values::count(text, 0..=PEERS_MAX, "0 to 1024 are allowed")
}

impl DaemonCommand {
    /// Runs the node until it is told to stop.
    pub fn run(self) -> Result<(), Failure> {
        let (level, quiet, options) = (self.log, self.quiet, self.config.clone());
        let Checked { mut config, mine_to, rpc } = self.check()?;
        let (console, supervisor) = (Console::stderr(), Supervisor::of_environment());
        logging::start(level, &console)?;
        // What is in use is found out before anything is made.
        let listener = bind(&config)?;
        let rpc = rpc.map(|(address, names)| Ok::<_, RpcError>((running::bind(address)?, names))).transpose()?;
        let directory = Arc::new(DataDir::open(&config.data_dir).map_err(DaemonError::Store)?);
        if let Some(mine_to) = mine_to {
            let (payout, made) = mine_to.payout()?;
            config.payout = Some(payout);
            if let Some(path) = made {
                log::info!("made the key file {}: whoever has it has the coins that this node mines", path.display());
            }
        }
        let stopper = Arc::new(Stopper::default());
        let (handler, told) = (Arc::clone(&stopper), supervisor.clone());
        signals::on_stop(move || {
            told.stopping();
            handler.ask();
        })?;
        if let Some(path) = options {
            log::info!("with the options in {}", path.display());
        }
        greet(&config);
        let opened = open(&config, listener, directory, &|progress| progress.on(&console).quiet(quiet))?;
        stopper.set(opened.stop_handle());
        tell(&opened);
        let daemon = opened.run()?;
        let rpc = rpc.map(|(listener, names)| Rpc::start(daemon.handle().clone(), listener, names, &config.data_dir));
        // A node that should be asked and cannot be is stopped like any other.
        let rpc = match rpc.transpose() {
            Ok(rpc) => rpc,
            Err(error) => {
                daemon.stop()?;
                return Err(error.into());
            }
        };
        supervisor.ready(&format!("at height {}", daemon.tip().header.height));
        let watching = watch::start(daemon.handle(), &console, quiet, &supervisor)?;
        Ok(daemon.wait_then(|| drop((watching, rpc)))?)
    }

    /// The data directory, if it is named.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The network's name, and the port that the node listens on.
    pub fn network_and_port(&self) -> Result<(String, u16), Failure> {
        let params = network::load(&self.network)?;
        Ok((params.spec().name.clone(), self.port.unwrap_or(params.spec().port)))
    }

    /// Everything that can be wrong with the options, before anything is touched.
    pub(super) fn check(self) -> Result<Checked, Failure> {
        let params = network::load(&self.network)?;
        let port = self.port.unwrap_or(params.spec().port);
        let rpc = self.rpc(port)?;
        if params.spec().name == Params::regtest().spec().name && !self.bind.is_loopback() && !self.expose_regtest {
            return Err(Failure::options(format!(
                "option `--bind`: `{}` would let others reach regtest, whose blocks take no work, so that anybody could \
                 rewrite it; add `--expose-regtest` if that is meant",
                self.bind
            )));
        }
        let data_dir = match self.data_dir {
            Some(data_dir) => data_dir,
            None => directory::default_for(&params.spec().name, port)?,
        };
        directory::check(&data_dir)?;
        if !self.mine && self.mining_threads.is_some() {
            return Err(Failure::options("option `--mining-threads` does nothing without `--mine`; add that"));
        }
        // Blocks that are asked for pay somebody too, and nobody may have to be named for each.
        let knows_whom = self.mine || self.mine_to.is_some();
        let mine_to = knows_whom.then(|| MineTo::check(&params, self.mine_to.as_deref(), &data_dir)).transpose()?;
        let config = Config {
            bind: SocketAddr::new(self.bind, port),
            peers: self.peer,
            seeds: !self.no_seeds,
            mining_threads: if self.mine { self.mining_threads.unwrap_or(1) } else { 0 },
            payout: None,
            max_inbound: self.max_inbound,
            max_outbound: self.max_outbound,
            ..Config::new(Arc::new(params), data_dir)
        };
        Ok(Checked { config, mine_to, rpc })
    }

    /// Where the RPC listens, and by which names it may be asked; `None` without one.
    fn rpc(&self, port: u16) -> Result<Option<(SocketAddr, Vec<String>)>, Failure> {
        if self.no_rpc {
            let idle = [
                ("--rpc-port", self.rpc_port.is_some()),
                ("--rpc-bind", self.rpc_bind.is_some()),
                ("--rpc-name", !self.rpc_name.is_empty()),
            ];
            return match idle.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(Failure::options(format!(
                    "option `{option}` does nothing beside `--no-rpc`; leave one of them out"
                ))),
                None => Ok(None),
            };
        }
        let neighbour = || port.checked_add(values::RPC_PORT_OFFSET).expect("a port was checked to have a neighbour");
        let rpc_port = self.rpc_port.unwrap_or_else(neighbour);
        if rpc_port == port {
            return Err(Failure::options(format!("option `--rpc-port`: `{port}` is the peers' port; choose another")));
        }
        let ip = self.rpc_bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Some((SocketAddr::new(ip, rpc_port), self.rpc_name.clone())))
    }
}

/// What the options come to.
pub(super) struct Checked {
    config: Config,
    mine_to: Option<MineTo>,
    /// Where the RPC listens, and by which names it may be asked.
    rpc: Option<(SocketAddr, Vec<String>)>,
}

/// Passes a wish to stop on to the node. While that is still opening its chain, the process ends at
/// once: nothing is promised to anybody yet, and what it was doing to the files is begun anew next time.
#[derive(Default)]
struct Stopper(Mutex<Option<StopHandle>>);

impl Stopper {
    fn ask(&self) {
        // Held to the end, so that no node starts while its process ends.
        let node = self.0.lock();
        if let Some(node) = &*node {
            return node.stop();
        }
        log::info!("stopped while the chain was being opened");
        process::exit(0);
    }

    fn set(&self, node: StopHandle) {
        *self.0.lock() = Some(node);
    }
}

/// What this node is.
fn greet(config: &Config) {
    let spec = config.params.spec();
    let path = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    log::info!("{}, network {}, genesis {}", version(), spec.name, config.params.genesis_id());
    let unknown = spec.activations.iter().find(|(rules, _)| **rules > RULES_KNOWN);
    if let Some((rules, height)) = unknown {
        log::warn!(
            "rules {rules} of this network hold from block {height} on, and this program knows {RULES_KNOWN}: it stops there; \
             get a newer one in time"
        );
    }
    log::info!("data directory {}", path.display());
    let (inbound, outbound, named) = (config.max_inbound, config.max_outbound, config.peers.len());
    log::info!("at most {inbound} connections from others, {outbound} to others, and to {named} named peers");
    if spec.name == Params::local().spec().name && !config.bind.ip().is_loopback() {
        log::warn!(
            "local is one network all over the world: who reaches this node with a heavier chain replaces yours; for a \
             network of your own write a spec and name it with `--network FILE`"
        );
    }
}

/// Opens the chain, with a progress line if it is long; `shown` says where that goes.
fn open(
    config: &Config,
    listener: TcpListener,
    directory: Arc<DataDir>,
    shown: &dyn Fn(Progress) -> Progress,
) -> Result<Opened, Failure> {
    let mut reading = shown(Progress::new("reading the chain", "bytes"));
    let mut replaying = shown(Progress::new("replaying the chain", "blocks"));
    let opened = Opened::open(config, listener, directory, &mut |progress| match progress.stage {
        Stage::Reading => reading.at(progress.done, progress.total),
        Stage::Replaying => replaying.at(progress.done, progress.total),
    })?;
    reading.end();
    replaying.end();
    Ok(opened)
}

/// What opening found.
fn tell(opened: &Opened) {
    let Opening { recovery, checkpoint, ignored, replayed, condemned } = opened.opening();
    let tip = opened.tip();
    let from = match checkpoint {
        Some(height) => format!("from the checkpoint at height {height}"),
        None => "from genesis".into(),
    };
    log::info!(
        "opened at height={} hash={}, {} blocks in the file, {replayed} replayed {from}",
        tip.header.height,
        tip.id,
        recovery.records - 1
    );
    if let Some(Cut { offset, bytes, reason }) = &recovery.cut {
        log::warn!(
            "cut a torn tail of {bytes} bytes at byte {offset} ({reason}): it was never synced, so nobody was told of it"
        );
    }
    if recovery.index_rebuilt {
        log::warn!("the index did not hold all of the chain and was made anew");
    }
    if let Some(why) = ignored {
        log::warn!("the checkpoint was ignored: {why}");
    }
    for (id, reject) in condemned {
        log::warn!("block {id:.16} in the file is refused: {reject}");
    }
}
