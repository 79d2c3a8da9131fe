//! Whole nodes in one process, each with its threads, its file and its port (0: any).
//!
//! Nothing here sleeps: each test waits for a state, and fails when that does not come.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::os::DataDir;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::blockchain::storage::StoreError;
use spindle::node::event::Target;
use spindle::node::orders::{Answer, Order};
use spindle::primitives::keys::Key;
use spindle::runtime::handle::{HandleError, View};
use spindle::runtime::{Config, Daemon, DaemonError, Opened, bind};
use tempfile::TempDir;

/// Far beyond anything that is right.
const PATIENCE: Duration = Duration::from_secs(30);

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Regtest on any port, mining only when asked.
fn config(directory: &Path, peers: &[SocketAddr]) -> Config {
    let mut config = Config::new(Arc::new(Params::regtest()), directory.join("data"));
    config.bind.set_port(0);
    config.peers = peers.iter().copied().map(Target::Address).collect();
    config.payout = Some(Key([3; 32]).into());
    config
}

fn start(config: &Config) -> Daemon {
    Daemon::start(config, &mut |_| {}).expect("a daemon")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn generate(daemon: &Daemon, count: u32) {
    let order = Order::Generate { count, payout: None };
    match daemon.handle().order(order, PATIENCE).expect("it runs") {
        Answer::Blocks(Ok(blocks)) => assert_eq!(blocks.last(), Some(&daemon.tip().id)),
        other => panic!("{other:?}"),
    }
}

/// Goal: three nodes in a line; a block mined at one end reaches the other, what was there before they
/// met too, and all of it is there after a restart. Method: regtest, blocks on demand.
#[test]
fn blocks_travel_along_a_line() {
    let directories = [directory(), directory(), directory()];
    let first = start(&config(directories[0].path(), &[]));
    generate(&first, 30);
    let second = start(&config(directories[1].path(), &[first.address()]));
    let third = start(&config(directories[2].path(), &[second.address()]));
    wait_until("synced", || third.tip().id == first.tip().id);
    generate(&first, 5);
    wait_until("relayed", || third.tip().id == first.tip().id);
    generate(&third, 1);
    wait_until("relayed back", || first.tip().id == third.tip().id);
    let tip = third.tip();
    assert_eq!(tip.header.height, 36);
    let peers = |view: &View<'_>| view.node.peers().len();
    assert_eq!(second.handle().look(peers).expect("it runs"), 2);
    for daemon in [first, second, third] {
        daemon.stop().expect("nothing failed");
    }
    for directory in &directories {
        let again = start(&config(directory.path(), &[]));
        assert_eq!(again.tip().id, tip.id);
        again.stop().expect("nothing failed");
    }
}

/// Goal: two nodes that mined apart agree on the longer chain when they meet. Method: 10 blocks
/// against 12.
#[test]
fn the_heavier_of_two_chains_wins() {
    let directories = [directory(), directory()];
    let short = start(&config(directories[0].path(), &[]));
    generate(&short, 10);
    let mut other = config(directories[1].path(), &[short.address()]);
    other.peers.clear();
    let long = start(&other);
    generate(&long, 12);
    let (tip, address) = (long.tip().id, short.address());
    long.stop().expect("nothing failed");
    other.peers.push(Target::Address(address));
    let long = start(&other);
    wait_until("agreed", || short.tip().id == tip);
    assert_eq!(long.tip().id, tip);
    short.stop().expect("nothing failed");
    long.stop().expect("nothing failed");
}

/// Goal: a port or a directory that is in use is an error that says so, and nothing is made or left.
/// Method: both taken by somebody else.
#[test]
fn what_is_in_use_is_refused() {
    let (one, two) = (directory(), directory());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut refused = config(two.path(), &[]);
    refused.bind = taken.local_addr().expect("bound");
    let error = Daemon::start(&refused, &mut |_| {}).expect_err("the port is taken");
    assert!(matches!(error, DaemonError::Listen { .. }), "{error}");
    assert!(!refused.data_dir.exists());
    let daemon = start(&config(one.path(), &[]));
    let error = Daemon::start(&config(one.path(), &[]), &mut |_| {}).expect_err("the directory is taken");
    assert!(matches!(error, DaemonError::Store(StoreError::Locked { .. })), "{error}");
    daemon.stop().expect("nothing failed");
}

/// Goal: a stop handle ends `wait`, with strangers connected, within five seconds; port and directory
/// are free again. Method: 32 connections that say nothing.
#[test]
fn a_stop_handle_ends_the_wait() {
    let directory = directory();
    let daemon = start(&config(directory.path(), &[]));
    let address = daemon.address();
    let strangers: Vec<_> = (0..32).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let (handle, (done, is_done)) = (daemon.stop_handle(), crossbeam_channel::bounded(1));
    let waiter = std::thread::spawn(move || done.send(daemon.wait().is_ok()));
    handle.stop();
    handle.stop();
    assert_eq!(is_done.recv_timeout(Duration::from_secs(5)), Ok(true));
    waiter.join().expect("no panic").expect("the test waits");
    drop(strangers);
    let mut again = config(directory.path(), &[]);
    again.bind = address;
    start(&again).stop().expect("nothing failed");
}

/// Goal: a daemon that is dropped, and one that was opened and never ran, leave nothing: port and directory
/// are free again. Method: both, with a connection, on one directory and one port.
#[test]
fn a_dropped_daemon_leaves_nothing() {
    let directory = directory();
    let mut config = config(directory.path(), &[]);
    config.mining_threads = 1;
    let daemon = start(&config);
    config.bind = daemon.address();
    let stranger = TcpStream::connect(config.bind).expect("it listens");
    drop(daemon);
    let listener = bind(&config).expect("the port is free");
    let disk = Arc::new(DataDir::open(&config.data_dir).expect("the directory is free"));
    drop(Opened::open(&config, listener, disk, &mut |_| {}).expect("it opens"));
    drop(stranger);
    start(&config).stop().expect("nothing failed");
}

/// Goal: a disk that fails ends the node with an error, and no block is called durable that is not.
/// Method: a memory disk whose next sync fails; then the disk as a power cut leaves it.
#[test]
fn a_failing_disk_ends_the_node() {
    let (directory, disk) = (directory(), MemoryDisk::default());
    let config = config(directory.path(), &[]);
    let on = disk.clone();
    let daemon = Daemon::start_on(&config, || Ok(Arc::new(on)), &mut |_| {}).expect("a daemon");
    generate(&daemon, 2);
    wait_until("durable", || daemon.reader().durable_bytes() == daemon.tip().end());
    disk.fail_sync(1);
    let order = Order::Generate { count: 1, payout: None };
    assert_eq!(daemon.handle().order(order, PATIENCE), Err(HandleError::Stopping));
    let reader = daemon.reader().clone();
    let durable_bytes = reader.durable_bytes();
    let error = daemon.wait().expect_err("the disk has failed");
    assert!(matches!(error, DaemonError::Store(_)), "{error}");
    assert_eq!(reader.durable_bytes(), durable_bytes, "nothing more was acknowledged");
    let crashed: MemoryDisk = disk.crash();
    let again = Daemon::start_on(&config, || Ok(Arc::new(crashed)), &mut |_| {}).expect("it opens");
    assert_eq!(again.tip().header.height, 2);
    again.stop().expect("nothing failed");
}

/// Goal: no work goes into an order that nobody waits for. Method: a block that takes more work than there is, ordered
/// by somebody who goes; then another, and mining is stopped.
#[test]
fn an_order_ends_with_whoever_gave_it() {
    let directory = directory();
    let mut config = config(directory.path(), &[]);
    let hard = 1 << 50;
    let spec = NetworkSpec { difficulty_first: hard, difficulty_min: hard, ..Params::regtest().spec().clone() };
    config.params = Arc::new(Params::new(spec).expect("a legal network"));
    let daemon = start(&config);
    let board = daemon.handle().board();
    let give = || daemon.handle().give(Order::Generate { count: 1, payout: None }, PATIENCE).expect("it runs");
    let waiting = give();
    wait_until("it is searched for", || board.summary().blocks_owed == 1 && board.mining().hashes > 0);
    drop(waiting);
    wait_until("it is withdrawn", || board.summary().blocks_owed == 0);
    let waiting = give();
    daemon.handle().order(Order::Mine { threads: 0, payout: None }, PATIENCE).expect("it runs");
    let answer = waiting.answer().recv_timeout(PATIENCE).expect("it is told");
    assert!(matches!(answer, Answer::Blocks(Err(_))), "{answer:?}");
    daemon.stop().expect("nothing failed");
}
