//! The figures, one function for each section of the table.

use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::block_api::compress256;
use spindle::blockchain::mining::Miner;
use spindle::blockchain::params::Params;
use spindle::node::event::Target;
use spindle::node::orders::{Answer, Order};
use spindle::primitives::keys::Key;
use spindle::runtime::{self, Config};

use crate::process::{BINARY, Daemon, chain_of, fresh_dir, number_after, run};

/// A row of the table.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) must: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) measured: String,
}

/// A name to choose it by, and what measures it.
type Section = (&'static str, fn() -> Vec<Figure>);

/// In the order of the table.
pub(crate) const SECTIONS: [Section; 13] = [
    ("sync", sync),
    ("open", open),
    ("idle", idle),
    ("relay", relay),
    ("kill", kill),
    ("nonces", nonces),
    ("pool", crate::pool::figures),
    ("rpc", crate::rpc::figures),
    ("page", crate::page::figures),
    ("simulator", crate::simulator::figures),
    ("wallet", crate::wallet::figures),
    ("transfers", crate::transfers::figures),
    ("binary", binary),
];

/// Blocks of the sync figures, as in the comparison with Bitcoin Core.
const SYNC_BLOCKS: u64 = 20_000;
/// Blocks of the long chain.
const LONG_BLOCKS: u64 = 1_000_000;

/// The middle of the measured values, and their range.
pub(crate) fn spread<T: Copy + PartialOrd>(mut values: Vec<T>, show: impl Fn(T) -> String) -> String {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no measured value is not a number"));
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{} ({} to {}, n={})", show(values[values.len() / 2]), show(least), show(most), values.len())
}

fn plain(value: impl Display) -> String {
    value.to_string()
}

fn sync() -> Vec<Figure> {
    let chain = chain_of(SYNC_BLOCKS);
    let mut rates = Vec::new();
    for _ in 0..7 {
        let server = Daemon::start(9801, &chain, &[]);
        server.wait_for("listening");
        let dir = fresh_dir("sync");
        let newcomer = Daemon::start(9802, &dir, &["--peer", "127.0.0.1:9801"]);
        let (at, _) = newcomer.wait_for(&format!("durable height={SYNC_BLOCKS}"));
        let took = at.duration_since(newcomer.started);
        rates.push(SYNC_BLOCKS as f64 / took.as_secs_f64());
    }
    let share = long_sync_share();
    vec![
        Figure {
            what: "sync of 20,000 coinbase-only blocks, two processes, from start to equal tips, durable (Bitcoin Core: 5,630)",
            must: "30,000 blocks/s",
            aim: "150,000 blocks/s",
            measured: spread(rates, |rate| format!("{rate:.0} blocks/s")),
        },
        Figure {
            what: "processor time of the serving process against the syncing one (over 1,000,000 blocks, where a hundredth of a second counts)",
            must: "a quarter",
            aim: "a twentieth",
            measured: share,
        },
    ]
}

/// Over 20,000 blocks both processes use less than the kernel's clock can tell apart.
fn long_sync_share() -> String {
    let chain = chain_of(LONG_BLOCKS);
    let server = Daemon::start(9801, &chain, &[]);
    server.wait_for("listening");
    let before = server.cpu();
    let dir = fresh_dir("long-sync");
    let newcomer = Daemon::start(9802, &dir, &["--peer", "127.0.0.1:9801"]);
    let (at, _) = newcomer.wait_for(&format!("durable height={LONG_BLOCKS}"));
    let took = at.duration_since(newcomer.started).as_secs_f64();
    let (serving, syncing) = (server.cpu().saturating_sub(before).as_secs_f64(), newcomer.cpu().as_secs_f64());
    format!(
        "1 to {:.1} ({serving:.2} s to {syncing:.2} s; {:.0} blocks/s; peak RSS of the newcomer {:.1} MiB)",
        syncing / serving.max(0.01),
        LONG_BLOCKS as f64 / took,
        newcomer.status_kib("VmHWM") as f64 / 1024.0,
    )
}

fn open() -> Vec<Figure> {
    let chain = chain_of(LONG_BLOCKS);
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let daemon = Daemon::start(9801, &chain, &[]);
        let (at, _) = daemon.wait_for("listening");
        // The first round warms the page cache.
        if round > 0 {
            times.push(at.duration_since(daemon.started).as_secs_f64());
            peaks.push(daemon.status_kib("VmHWM") as f64 / 1024.0);
        }
    }
    vec![
        Figure {
            what: "open a 1,000,000-block chain, ready to serve (checkpoint at the tip, page cache warm)",
            must: "2 s",
            aim: "0.3 s",
            measured: spread(times, |time| format!("{time:.3} s")),
        },
        Figure {
            what: "peak RSS of a node with a 1,000,000-block chain and its 1,000,000 unspent coins open",
            must: "96 MiB",
            aim: "64 MiB",
            measured: spread(peaks, |peak| format!("{peak:.1} MiB")),
        },
    ]
}

fn idle() -> Vec<Figure> {
    let daemon = Daemon::start(9801, &fresh_dir("idle"), &["--max-inbound", "64"]);
    daemon.wait_for("listening");
    settle();
    let alone = daemon.status_kib("VmRSS");
    let peers: Vec<_> = (0..32).map(|_| quiet_peer(9801)).collect();
    settle();
    let crowded = daemon.status_kib("VmRSS");
    let before = daemon.cpu_exact();
    std::thread::sleep(Duration::from_secs(10));
    let spent = daemon.cpu_exact().saturating_sub(before);
    drop(peers);
    vec![
        Figure {
            what: "idle RSS with no peers (Grin: 14.4 MB)",
            must: "12 MiB",
            aim: "6 MiB",
            measured: format!("{:.1} MiB", alone as f64 / 1024.0),
        },
        Figure {
            what: "RSS for each further connected peer (Grin: 52 KiB)",
            must: "128 KiB",
            aim: "48 KiB",
            measured: format!("{:.1} KiB", (crowded.saturating_sub(alone)) as f64 / 32.0),
        },
        Figure {
            what: "idle processor time with 32 connected, quiet peers, in 10 s",
            must: "50 ms",
            aim: "10 ms",
            measured: format!("{:.1} ms", spent.as_secs_f64() * 1e3),
        },
    ]
}

/// Time for threads to go to sleep before memory is read.
fn settle() {
    std::thread::sleep(Duration::from_millis(1_500));
}

/// A peer that shakes hands, answers pings and says nothing else.
fn quiet_peer(port: u16) -> std::net::TcpStream {
    use spindle::node::message::{Hello, Kind, Message};
    use spindle::primitives::codec::List;
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let hello = Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: Params::regtest().genesis_id(),
        nonce: u64::from(stream.local_addr().expect("connected").port()),
        agent: List::default(),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    };
    stream.write_all(&Message::Hello(hello).to_frame()).expect("it reads");
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(answer[4], Kind::HelloAck as u8, "the handshake succeeds");
    stream
}

/// The lines of two daemons in this process, with the instant at which each was written.
#[derive(Debug, Default)]
struct Stopwatch(Mutex<Vec<(Instant, String)>>);

impl log::Log for Stopwatch {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let now = Instant::now();
        let line = record.args().to_string();
        if line.starts_with("tip height=") {
            self.0.lock().expect("no panic while held").push((now, line));
        }
    }

    fn flush(&self) {}
}

static STOPWATCH: Stopwatch = Stopwatch(Mutex::new(Vec::new()));

/// From the line in which one node's owner tells its new tip to the line in which the other's does.
fn relay() -> Vec<Figure> {
    log::set_logger(&STOPWATCH).expect("nobody else has set one");
    log::set_max_level(log::LevelFilter::Info);
    let daemon = |name: &str, peer: Option<Target>| {
        let mut config = Config::new(Arc::new(Params::regtest()), fresh_dir(name));
        config.bind.set_port(0);
        config.seeds = false;
        config.payout = Some(Key([7; 32]).into());
        config.peers.extend(peer);
        runtime::Daemon::start(&config, &mut |_| {}).expect("it starts")
    };
    let miner = daemon("relay-a", None);
    let follower = daemon("relay-b", Some(Target::Address(miner.address())));
    let mut latencies = Vec::new();
    for height in 1..=220_u64 {
        let order = Order::Generate { count: 1, payout: None };
        let answer = miner.handle().order(order, Duration::from_secs(10));
        assert!(matches!(answer, Ok(Answer::Blocks(Ok(_)))), "regtest blocks are made on demand: {answer:?}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while follower.tip().header.height < height {
            assert!(Instant::now() < deadline, "the block arrives");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(5));
        let lines = std::mem::take(&mut *STOPWATCH.0.lock().expect("no panic while held"));
        // The first blocks may travel before the two are connected, or through the first sync.
        if let [(told, _), (heard, _)] = lines[..]
            && height > 20
        {
            latencies.push(heard.duration_since(told).as_secs_f64() * 1e3);
        }
    }
    follower.stop().expect("it stops");
    miner.stop().expect("it stops");
    log::set_max_level(log::LevelFilter::Off);
    vec![Figure {
        what: "a new block from one node's owner to the other's tip, loopback, median (Core: 0.53 to 0.73 ms)",
        must: "2 ms",
        aim: "0.3 ms",
        measured: spread(latencies, |ms| format!("{ms:.2} ms")),
    }]
}

fn kill() -> Vec<Figure> {
    let chain = chain_of(LONG_BLOCKS);
    let mut lost = Vec::new();
    for round in 0..5 {
        let server = Daemon::start(9801, &chain, &[]);
        server.wait_for("listening");
        let dir = fresh_dir("kill");
        let newcomer = Daemon::start(9802, &dir, &["--peer", "127.0.0.1:9801"]);
        newcomer.wait_for("tip height=");
        std::thread::sleep(Duration::from_millis(150 + 250 * round));
        let reported = newcomer.latest("tip height=", "height").unwrap_or(0);
        newcomer.kill();
        lost.push(reported.saturating_sub(verified_height(&dir)));
    }
    vec![Figure {
        what: "blocks lost by `kill -9` in the middle of a sync, of those that were reported as tip (Bitcoin Core: all)",
        must: "the last 1,000",
        aim: "the last group commit",
        measured: spread(lost, plain),
    }]
}

fn verified_height(dir: &Path) -> u64 {
    let (text, _) = run(&["chain", "verify", "--json", "--data-dir", dir.to_str().expect("a plain path")]);
    number_after(&text.replace("\"height\":", "height=").replace("height= ", "height="), "height").expect("a height")
}

fn nonces() -> Vec<Figure> {
    // Out of reach, so that every nonce is tried.
    let mut header = *Params::local().genesis();
    header.difficulty = u64::MAX;
    let miner = Miner::new(header);
    let count = 4_000_000_u64;
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        assert!(miner.search(0, count).is_none(), "nothing meets that difficulty");
        let ours = start.elapsed().as_secs_f64();
        let bare = bare_loop(count);
        ratios.push(100.0 * bare / ours);
        rates.push(count as f64 / ours / 1e6);
    }
    vec![Figure {
        what: "sha256d nonces per second and core, against `sha2::compress256` twice in a bare loop",
        must: "85 %",
        aim: "98 %",
        measured: format!("{}; {}", spread(ratios, |r| format!("{r:.1} %")), spread(rates, |r| format!("{r:.2} M/s"))),
    }]
}

/// What no search can do without: two compressions, the second of what the first gave. No nonce is
/// written and nothing is compared.
fn bare_loop(count: u64) -> f64 {
    let start = Instant::now();
    let block = std::hint::black_box([7_u8; 64]);
    let mut outer = std::hint::black_box([0x80_u8; 64]);
    for _ in 0..count {
        let mut inner = [1_u32; 8];
        compress256(&mut inner, std::slice::from_ref(&block));
        for (bytes, word) in outer.chunks_exact_mut(4).zip(inner) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let mut hash = [2_u32; 8];
        compress256(&mut hash, std::slice::from_ref(&outer));
        std::hint::black_box(hash);
    }
    start.elapsed().as_secs_f64()
}

fn binary() -> Vec<Figure> {
    let size = std::fs::metadata(BINARY).expect("cargo built it").len();
    vec![Figure {
        what: "stripped release binary (Bitcoin Core: 11.3 MB)",
        must: "5 MiB",
        aim: "2.5 MiB",
        measured: format!("{:.2} MiB", size as f64 / f64::from(1 << 20)),
    }]
}
