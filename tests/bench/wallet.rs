//! The wallet's figures: looking for coins, and what a password costs.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use rayon::ThreadPool;
use spindle::blockchain::block::{Block, Header};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::payout::Payout;
use spindle::blockchain::transaction::{Input, Outpoint, Output, Transaction};
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Signature};
use spindle::primitives::stealth::{TxSecret, scalar_of};
use spindle::rpc::client::Client;
use spindle::rpc::link::NodeLink;
use spindle::wallet::file::{Contents, Cost, Secrets, WalletFile};
use spindle::wallet::keys::{SpendKeys, ViewKeys};
use spindle::wallet::state::{Mark, State};
use spindle::wallet::sync::Sync;
use spindle::wallet::{scan, words};

use crate::figures::{Figure, spread};
use crate::process::{Daemon, chain_of_transfers};

const BLOCKS: u64 = 20;
const TRANSFERS: u64 = 1_000;
const ROUNDS: usize = 7;
/// Transactions of the chain that is read from a daemon, and where that answers.
const SCANNED: u64 = 100_000;
const RPC_PORT: u16 = 10_811;

pub(crate) fn figures() -> Vec<Figure> {
    let params = Params::regtest();
    let (_, seed) = words::from_entropy(&[1; 32]);
    let keys = SpendKeys::from_seed(&seed);
    let blocks: Vec<Vec<u8>> = (1..=BLOCKS).map(|height| block_of_strangers(&params, height)).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build().expect("a few threads");
    let count = (BLOCKS * TRANSFERS) as f64;
    let (mut one, mut all, mut share) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let look = |pool| {
            let start = Instant::now();
            black_box(scan::blocks(keys.view(), &params, &blocks, pool).expect("sound blocks"));
            start.elapsed().as_secs_f64()
        };
        let (alone, together) = (look(None), look(Some(&pool)));
        one.push(count / alone);
        all.push(count / together);
        share.push(100.0 * bare_multiplications(BLOCKS * TRANSFERS) / alone);
    }
    let rate = |rate: f64| format!("{rate:.0} tx/s");
    vec![
        Figure {
            what: "wallet scan, one core, two-output transactions, and the share of bare curve multiplications in it",
            must: "20,000 tx/s",
            aim: "60,000 tx/s with threads",
            measured: format!("{}; {}", spread(one, rate), spread(share, |share| format!("{share:.0} %"))),
        },
        Figure { what: "the same on all cores", must: "", aim: "60,000 tx/s", measured: spread(all, rate) },
        Figure {
            what: "a new wallet reads a running daemon's chain of 100,000 transactions over its RPC, all cores",
            must: "20,000 tx/s",
            aim: "60,000 tx/s",
            measured: spread(over_rpc(&params, keys.view(), &pool), rate),
        },
        Figure {
            what: "a wrong password is refused after",
            must: "2 s",
            aim: "0.5 s",
            measured: spread(
                password(&Contents {
                    genesis: params.genesis_id(),
                    secrets: Secrets::Spend(seed),
                    state: State::new(Mark { height: 0, id: params.genesis_id() }),
                }),
                |seconds| format!("{seconds:.2} s"),
            ),
        },
    ]
}

/// All that a wallet does to catch up, from a running daemon.
fn over_rpc(params: &Params, keys: &ViewKeys, pool: &ThreadPool) -> Vec<f64> {
    let daemon = Daemon::start(RPC_PORT - 1_000, &chain_of_transfers(SCANNED), &[]);
    daemon.wait_for("listening");
    let scan = |_| {
        let mut link = NodeLink::new(Client::new(([127, 0, 0, 1], RPC_PORT).into(), None));
        let mut state = State::new(Mark { height: 0, id: params.genesis_id() });
        let (save, progress) = (&mut |_: &State| Ok(()), &mut |_, _| {});
        let start = Instant::now();
        let sync = Sync { params, keys, pool: Some(pool), now: 0, save, progress };
        sync.run(&mut state, &mut link).expect("an honest node");
        SCANNED as f64 / start.elapsed().as_secs_f64()
    };
    (0..3).map(scan).collect()
}

/// What no scan can do without.
fn bare_multiplications(count: u64) -> f64 {
    let (secret, mut point) = (scalar_of("bench", &[]), EdwardsPoint::mul_base(&Scalar::from(7_u8)));
    let start = Instant::now();
    for _ in 0..count {
        point = black_box(point) * black_box(&secret);
    }
    black_box(point);
    start.elapsed().as_secs_f64()
}

/// A block whose every transaction is somebody else's.
fn block_of_strangers(params: &Params, height: u64) -> Vec<u8> {
    let transfer = |n: u64| {
        let number = (height * TRANSFERS + n).to_le_bytes();
        let hash = |place: u8| Hash::sha256d(&[number.as_slice(), &[place]].concat());
        let output = |place| Output { amount: 1, key: Key(hash(place).0), view_tag: hash(place).0[0] };
        let outpoint = Outpoint { transaction: hash(0), index: 0 };
        let input = Input { outpoint, amount: 3, key: Key(hash(1).0), matures_at: 0 };
        let outputs = List::first_of(vec![output(2), output(3)]);
        let tx_key = TxSecret::of("bench", &[&number]).public();
        let unsigned = Transaction::unsigned(List::first_of(vec![input]), outputs, tx_key, None);
        unsigned.signed(params.genesis_id(), |_, _| Signature([7; 64]))
    };
    let header =
        Header { version: 1, height, prev: Hash::ZERO, merkle_root: Hash::ZERO, time: height, difficulty: 1, nonce: 0 };
    let coinbase = Payout::Key(Key([1; 32])).coinbase(height, header.prev, 1);
    let block = Block { header, coinbase, transfers: List::first_of((0..TRANSFERS).map(transfer).collect()) };
    Block { header: Header { merkle_root: block.merkle_root(), ..header }, ..block }.to_bytes()
}

fn password(contents: &Contents) -> Vec<f64> {
    let disk = MemoryDisk::default();
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other);
    let held = || (Arc::new(disk.clone()) as Arc<dyn spindle::blockchain::disk::Disk>, "wallet".to_owned());
    WalletFile::create(held(), random, Cost::DEFAULT, b"right", contents).expect("a new file");
    let attempt = |_| {
        let start = Instant::now();
        assert!(WalletFile::open(held(), random, b"wrong", contents.genesis).is_err());
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(attempt).collect()
}
