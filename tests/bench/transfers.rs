//! The figures of a chain full of transfers: how fast it is synced, against what no sync can do without,
//! and what the coins that it leaves take in memory.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use spindle::blockchain::block::Block;
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::{PersistentBlockchain, RecordNo};
use spindle::blockchain::transaction::CoinId;
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Claim, Verifier};
use spindle::primitives::thread::check_pool;

use crate::figures::{Figure, spread};
use crate::process::{Daemon, chain_of_transfers, cpu_of, fresh_dir, status_kib_of};

/// Transfers of the chain that is synced.
const TRANSFERS: u64 = 200_000;
const ROUNDS: usize = 7;
/// Unspent coins whose memory is measured.
const COINS: u32 = 1_000_000;
/// Transfers of a full block.
const PER_BLOCK: u32 = 3_911;

/// The argument by which this program, started by itself, fills a ledger and does nothing else.
pub(crate) const LEDGER_ALONE: &str = "ledger-alone";

pub(crate) fn figures() -> Vec<Figure> {
    let chain = chain_of_transfers(TRANSFERS);
    let claims = claims_of(&chain);
    let signatures: usize = claims.iter().map(Vec::len).sum();
    assert_eq!(signatures as u64, TRANSFERS, "one signature for each");
    let height = claims.len();
    let (pool, threads) = check_pool().expect("threads").unzip();
    let verifier = Verifier::new([7; 32], pool.map(Arc::new));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // By turns, so that both have the same share of a machine that others use too.
        let bare = bare(&claims, &verifier);
        rounds.push((sync(&chain, height), bare));
    }
    drop(verifier);
    for thread in threads.into_iter().flatten() {
        thread.join().expect("no panic");
    }
    let count = TRANSFERS as f64;
    let each = |pick: fn(&(Cost, Cost)) -> f64| rounds.iter().map(pick).collect::<Vec<_>>();
    let processor = spread(each(|(sync, _)| sync.processor_s / TRANSFERS as f64 * 1e6), |us| format!("{us:.1} µs"));
    let rates = each(|(sync, _)| TRANSFERS as f64 / sync.wall_s);
    let bare_rates = spread(each(|(_, bare)| TRANSFERS as f64 / bare.wall_s), |rate| format!("{rate:.0}/s"));
    let bare_processor = each(|(_, bare)| bare.processor_s).into_iter().sum::<f64>() / ROUNDS as f64 / count * 1e6;
    vec![
        Figure {
            what: "sync of 200,000 1-in-2-out transactions, two processes, all signatures verified, from start to equal tips, \
                   durable (Bitcoin Core: 24,760), and the newcomer's processor time for each",
            must: "30,000 tx/s",
            aim: "75,000 tx/s",
            measured: format!("{}; {processor}", spread(rates, |rate| format!("{rate:.0} tx/s"))),
        },
        Figure {
            what: "time of bare batch verification of the same signatures on all cores, in that of the sync",
            must: "45 %",
            aim: "85 %",
            measured: format!(
                "{}; bare {bare_rates}, {bare_processor:.1} µs of processor time each",
                spread(each(|(sync, bare)| 100.0 * bare.wall_s / sync.wall_s), |share| format!("{share:.0} %"))
            ),
        },
        Figure {
            what: "memory of 1,000,000 unspent coins in the ledger: growth of a process that applies blocks of 1-in-2-out \
                   transfers to one until it holds them",
            must: "64 MiB",
            aim: "36 MiB",
            measured: spread((0..3).map(|_| ledger_mib()).collect(), |mib| format!("{mib:.1} MiB")),
        },
    ]
}

/// What something took.
struct Cost {
    wall_s: f64,
    processor_s: f64,
}

/// A newcomer's first sync, from its start to a durable tip.
fn sync(chain: &Path, height: usize) -> Cost {
    let server = Daemon::start(9801, chain, &[]);
    server.wait_for("listening");
    let newcomer = Daemon::start(9802, &fresh_dir("transfers"), &["--peer", "127.0.0.1:9801"]);
    let (at, _) = newcomer.wait_for(&format!("durable height={height}"));
    Cost { wall_s: at.duration_since(newcomer.started).as_secs_f64(), processor_s: newcomer.cpu().as_secs_f64() }
}

/// The verification that a sync cannot do without, and nothing else: a block's signatures at a time, as
/// `ReadBlock::verified_all` has them.
fn bare(claims: &[Vec<Claim>], verifier: &Verifier) -> Cost {
    let (before, start) = (cpu_of(std::process::id()), Instant::now());
    for block in claims {
        verifier.verify(block).expect("every signature holds");
    }
    let wall_s = start.elapsed().as_secs_f64();
    Cost { wall_s, processor_s: cpu_of(std::process::id()).saturating_sub(before).as_secs_f64() }
}

/// What the blocks of a chain claim, block by block.
fn claims_of(chain: &Path) -> Vec<Vec<Claim>> {
    let params = Params::regtest();
    let (store, _) = PersistentBlockchain::open_read_only(chain, &params, &mut |_, _| {}).expect("a sound chain");
    let claims = |record| {
        let block: Block = codec::decode(&store.block(RecordNo(record)).expect("a sound chain")).expect("a block");
        block.transfers.iter().flat_map(|transfer| transfer.claims(params.genesis_id())).collect()
    };
    (1..store.records()).map(claims).collect()
}

/// What a process says that does nothing but fill a ledger.
fn ledger_mib() -> f64 {
    let this = std::env::current_exe().expect("it runs");
    let output = Command::new(this).arg(LEDGER_ALONE).output().expect("it runs once more");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    kib / 1024.0
}

/// Fills a ledger as a sync would, and prints by how many KiB this process grew.
pub(crate) fn tell_ledger_kib() {
    let rss_kib = || status_kib_of(std::process::id(), "VmRSS");
    let coin = |number: u32| CoinId(Hash::sha256d(&number.to_le_bytes()).0);
    let (mut spent, mut created) = (vec![coin(0); PER_BLOCK as usize], vec![coin(0); 2 * PER_BLOCK as usize]);
    let before = rss_kib();
    let mut ledger = Ledger::default();
    let (mut first, mut next) = (0, 1);
    ledger.apply(&[], &[coin(0)]).expect("a new coin");
    while next - first < COINS {
        // The oldest go, as many as there are; each leaves two.
        let transfers = PER_BLOCK.min(next - first).min(COINS - (next - first));
        spent.clear();
        spent.extend((first..first + transfers).map(coin));
        created.clear();
        created.extend((next..next + 2 * transfers).map(coin));
        ledger.apply(&spent, &created).expect("they are there, and new");
        (first, next) = (first + transfers, next + 2 * transfers);
    }
    assert_eq!(ledger.len(), COINS as usize);
    println!("{}", rss_kib() - before);
    assert!(ledger.contains(&coin(first)), "it is there until it was measured");
}
