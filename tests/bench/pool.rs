//! Transactions on their way: from one pool into another, and from there into a block.
//!
//! This process plays two peers over real sockets: one that announces and delivers transactions, one that
//! only listens. Between them stand two daemons.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use spindle::blockchain::block::{Block, CheckedBlock};
use spindle::blockchain::chain::{Chain, Step};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::disk::Disk;
use spindle::blockchain::mining::Miner;
use spindle::blockchain::os::DataDir;
use spindle::blockchain::params::Params;
use spindle::blockchain::payout::Payout;
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint, Output, Transaction};
use spindle::node::event::Target;
use spindle::node::frame::{FrameBuffer, Front};
use spindle::node::message::{Hello, Message, NewBlock, ShortIdKey, TX_IDS_MAX, TXS_BYTES};
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, SecretKey};
use spindle::primitives::time::Wall;
use spindle::rpc::client::Client;
use spindle::rpc::link::NodeLink;
use spindle::runtime::{self, Config};
use spindle::wallet::link::Link;

use crate::figures::{Figure, spread};
use crate::process::{Daemon, fresh_dir};

/// Transactions of the rate: nearly as many as a pool holds.
const RATE_TXS: usize = 16_000;
/// What nodes relay at least for a transfer of one input and two outputs: 268 bytes.
const TRANSFER_FEE_MIN: u64 = 268;
/// Transactions of a block whose latency is measured, and how many such blocks.
const BLOCK_TXS: usize = 3_000;
const BLOCKS: usize = 7;
/// Transactions of the least fee that are poured over a node, and how many wallets do that together.
const FLOOD_TXS: usize = 100_000;
const FLOOD_WALLETS: usize = 6;
/// Coins that one coinbase is split into.
const SPLIT: usize = 1_000;

pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = vec![relay_rate()];
    figures.extend(known_block());
    figures.extend(flood());
    figures
}

// --- coins to spend ---

fn secret(number: usize) -> SecretKey {
    SecretKey::from_seed(&Hash::sha256d(&(number as u64).to_le_bytes()).0)
}

/// A chain whose last blocks split coinbases, and the coins that came of it.
struct Coins {
    params: Arc<Params>,
    inputs: Vec<(Input, usize)>,
}

impl Coins {
    /// So many coins, each with a key of its own, in a chain in this directory.
    fn make(dir: &Path, count: usize) -> Self {
        let params = Arc::new(Params::regtest());
        let disk: Arc<dyn Disk> = Arc::new(DataDir::open(dir).expect("an empty directory"));
        let (mut chain, _) = Chain::open(Arc::clone(&params), &disk, &mut |_| {}).expect("an empty chain");
        let miner = secret(0);
        let payout = Payout::Key(miner.public());
        let mut coinbases = Vec::new();
        let splits = count.div_ceil(SPLIT);
        for _ in 0..splits + 10 {
            let block = append(&params, &mut chain, &payout, &[]);
            let height = block.header().height;
            let outpoint = Outpoint { transaction: block.transactions()[0], index: 0 };
            let (amount, key) = (params.reward(height), miner.public());
            coinbases.push(Input { outpoint, amount, key, matures_at: height + params.spec().maturity });
        }
        let mut inputs = Vec::new();
        for group in coinbases[..splits].chunks(8) {
            let split = |input: &Input| {
                let each = input.amount / SPLIT as u64 - 1_000;
                let first = 1 + inputs.len();
                let keys: Vec<usize> = (first..first + SPLIT).collect();
                let outputs = keys.iter().map(|&key| output(each, key)).collect();
                let (tx, id) = signed(&params, *input, &miner, outputs);
                let made = (0..).zip(keys).map(|(index, key)| {
                    let outpoint = Outpoint { transaction: id, index };
                    (Input { outpoint, amount: each, key: secret(key).public(), matures_at: 0 }, key)
                });
                inputs.extend(made);
                tx
            };
            let transfers: Vec<CheckedTx> = group.iter().map(split).collect();
            append(&params, &mut chain, &payout, &transfers);
        }
        inputs.truncate(count);
        Self { params, inputs }
    }

    /// One transfer for each coin, of one input and two outputs, that pays this fee.
    fn spend(&self, fee: u64) -> Vec<CheckedTx> {
        let pay = |&(input, key): &(Input, usize)| {
            let half = (input.amount - fee) / 2;
            signed(&self.params, input, &secret(key), vec![output(half, key), output(half, 0)]).0
        };
        self.inputs.iter().map(pay).collect()
    }
}

fn output(amount: u64, key: usize) -> Output {
    Output { amount, key: secret(key).public(), view_tag: 0 }
}

fn signed(params: &Params, input: Input, secret: &SecretKey, outputs: Vec<Output>) -> (CheckedTx, Hash) {
    let (inputs, outputs) = (List::first_of(vec![input]), List::first_of(outputs));
    let unsigned = Transaction::unsigned(inputs, outputs, Key::default(), None);
    let signed = unsigned.signed(params.genesis_id(), |_, message| secret.sign(message));
    let read = ReadTx::read(params, &codec::encode(&signed)).expect("right in itself");
    let id = read.id();
    (read.trusted(), id)
}

/// The next block of a chain in this process.
fn append(params: &Params, chain: &mut Chain, payout: &Payout, transfers: &[CheckedTx]) -> CheckedBlock {
    let transfers: Vec<&CheckedTx> = transfers.iter().collect();
    let template = Template::new(params, chain.tip_position(), payout, &transfers);
    let block = found(params, &template);
    let acceptance = chain.accept(Wall(u64::MAX / 2), vec![block.clone()], true).expect("the disk works");
    assert_eq!(acceptance.appended, 1, "{:?}", acceptance.refused);
    while chain.advance().expect("the disk works") != Step::Still {}
    block
}

fn found(params: &Params, template: &Template) -> CheckedBlock {
    let header = Miner::new(*template.header()).search(0, u64::MAX).expect("regtest takes any hash");
    template.found(params, header).expect("a valid block")
}

// --- a peer in this process ---

struct Peer {
    stream: TcpStream,
    buffer: FrameBuffer,
}

impl Peer {
    fn connect(params: &Params, address: SocketAddr, nonce: u64) -> Self {
        let stream = TcpStream::connect(address).expect("the daemon listens");
        stream.set_nodelay(true).expect("a socket");
        let mut peer = Self { stream, buffer: FrameBuffer::default() };
        let hello = Hello {
            protocol_least: 1,
            protocol_greatest: 1,
            genesis: params.genesis_id(),
            nonce,
            agent: List::first_of(b"bench".to_vec()),
            listen_port: 0,
            height: 0,
            work: 0,
            activations: List::default(),
        };
        peer.say(&Message::Hello(hello));
        while !matches!(peer.hear(), Message::HelloAck(_)) {}
        peer
    }

    fn say(&mut self, message: &Message) {
        self.stream.write_all(&message.to_frame()).expect("the daemon reads");
    }

    /// The next message; pings are answered.
    fn hear(&mut self) -> Message {
        loop {
            match self.buffer.front().expect("sound frames") {
                Front::Whole(kind, header) => {
                    let message = Message::from_payload(kind, self.buffer.payload(&header)).expect("a sound message");
                    self.buffer.pass(&header);
                    match message {
                        Message::Ping(nonce) => self.say(&Message::Pong(nonce)),
                        Message::Bye(text) => panic!("the daemon said: {}", String::from_utf8_lossy(&text)),
                        other => return other,
                    }
                }
                Front::Unknown(header) => self.buffer.pass(&header),
                Front::Nothing | Front::Partial(_) => {
                    let count = self.stream.read(self.buffer.space()).expect("the daemon is there");
                    assert!(count > 0, "the daemon has hung up");
                    self.buffer.filled(count);
                }
            }
        }
    }

    /// Announces these and delivers what is asked for; then it is given back, for it has to stay connected.
    fn deliver(mut self, transactions: &[CheckedTx]) -> Self {
        let by_id: HashMap<Hash, &CheckedTx> = transactions.iter().map(|tx| (tx.id(), tx)).collect();
        let ids: Vec<Hash> = transactions.iter().map(|tx| tx.id()).collect();
        for ids in ids.chunks(TX_IDS_MAX) {
            self.say(&Message::NewTx(List::first_of(ids.to_vec())));
        }
        let mut left = transactions.len();
        while left > 0 {
            if let Message::GetTxs(ids) = self.hear() {
                let (mut answer, mut size) = (Vec::new(), 0);
                for id in &ids {
                    if size >= TXS_BYTES {
                        break;
                    }
                    let bytes = by_id[id].bytes();
                    size += bytes.len();
                    answer.push(bytes.to_vec());
                }
                left -= answer.len();
                self.say(&Message::Txs(answer));
            }
        }
        self
    }

    /// Waits until all of these are announced.
    fn count(&mut self, wanted: &HashSet<Hash>) -> Instant {
        let mut seen = HashSet::new();
        while seen.len() < wanted.len() {
            if let Message::NewTx(ids) = self.hear() {
                seen.extend(ids.iter().filter(|id| wanted.contains(id)).copied());
            }
        }
        Instant::now()
    }
}

// --- the figures ---

fn relay_rate() -> Figure {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let dir = fresh_dir("pool-a");
        let coins = Coins::make(&dir, RATE_TXS);
        let transactions = coins.spend(400);
        let (first, second) = (Daemon::start(9801, &dir, &[]), fresh_dir("pool-b"));
        first.wait_for("listening");
        let second = Daemon::start(9802, &second, &["--peer", "127.0.0.1:9801"]);
        second.wait_for("durable height=");
        let mut listener = Peer::connect(&coins.params, ([127, 0, 0, 1], 9802).into(), 77);
        let announcer = Peer::connect(&coins.params, ([127, 0, 0, 1], 9801).into(), 78);
        std::thread::sleep(Duration::from_millis(500));
        let wanted: HashSet<Hash> = transactions.iter().map(|tx| tx.id()).collect();
        let start = Instant::now();
        let delivery = std::thread::spawn(move || announcer.deliver(&transactions));
        let end = listener.count(&wanted);
        rates.push(RATE_TXS as f64 / end.duration_since(start).as_secs_f64());
        delivery.join().expect("everything was asked for");
        drop((first, second));
    }
    Figure {
        what: "transactions from a peer into one node's pool and from there into a second node's, loopback (Bitcoin Core: 7,285 into one)",
        must: "10,000 tx/s",
        aim: "30,000 tx/s",
        measured: spread(rates, |rate| format!("{rate:.0} tx/s")),
    }
}

/// What hands transactions in to the first node.
fn wallet() -> NodeLink {
    NodeLink::new(Client::new(([127, 0, 0, 1], 10_801).into(), None))
}

/// Whether it is let in is not the question here.
fn hand_in(wallet: &mut NodeLink, transaction: &CheckedTx) {
    let transaction: Transaction = codec::decode(transaction.bytes()).expect("it was encoded here");
    wallet.submit(&transaction).expect("the node answers");
}

/// A node under a flood of transactions that pay the least, and one that pays ten times as much.
fn flood() -> Vec<Figure> {
    let dir = fresh_dir("flood-a");
    let mut coins = Coins::make(&dir, FLOOD_TXS + 1);
    let honest = Coins { params: Arc::clone(&coins.params), inputs: vec![coins.inputs.pop().expect("one more")] };
    let cheap = coins.spend(TRANSFER_FEE_MIN);
    let honest = honest.spend(10 * TRANSFER_FEE_MIN).remove(0);
    let first = Daemon::start(9801, &dir, &[]);
    first.wait_for("listening");
    let second = Daemon::start(9802, &fresh_dir("flood-b"), &["--peer", "127.0.0.1:9801"]);
    second.wait_for("durable height=");
    let mut listener = Peer::connect(&coins.params, ([127, 0, 0, 1], 9802).into(), 77);
    let arrival = std::sync::mpsc::channel();
    let (sender, wanted) = (arrival.0, honest.id());
    let listening = std::thread::spawn(move || {
        let _ = sender.send(listener.count(&HashSet::from([wanted])));
    });
    let (sent, begun) = (AtomicUsize::new(0), OnceLock::new());
    std::thread::scope(|scope| {
        for part in cheap.chunks(cheap.len().div_ceil(FLOOD_WALLETS)) {
            let (sent, begun, honest) = (&sent, &begun, &honest);
            scope.spawn(move || {
                let mut wallet = wallet();
                for transaction in part {
                    hand_in(&mut wallet, transaction);
                    if sent.fetch_add(1, Ordering::Relaxed) == FLOOD_TXS * 9 / 10 {
                        // In the middle of it.
                        begun.set(Instant::now()).expect("once");
                        hand_in(&mut wallet, honest);
                    }
                }
            });
        }
    });
    let begun = *begun.get().expect("nine tenths are sent before all");
    let arrived = arrival.1.recv_timeout(Duration::from_secs(30)).expect("it reaches the second node");
    listening.join().expect("it ends with what it waited for");
    let peak = [&first, &second].map(|daemon| daemon.status_kib("VmHWM") as f64 / 1024.0);
    vec![
        Figure {
            what: "peak RSS of a node and its neighbour under 100,000 transactions of the least fee",
            must: "bounded",
            aim: "under 64 MiB",
            measured: format!("{:.1} and {:.1} MiB", peak[0], peak[1]),
        },
        Figure {
            what: "one that pays ten times as much, handed in meanwhile: until the neighbour announces it",
            must: "2 s",
            aim: "0.1 s",
            measured: format!("{:.3} s", arrived.duration_since(begun).as_secs_f64()),
        },
    ]
}

/// Passes bytes on between a daemon and another, and counts those to the second.
fn counting_proxy(to: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for inbound in listener.incoming().map_while(Result::ok) {
            let outbound = TcpStream::connect(to).expect("the daemon listens");
            let (from, back) = (inbound.try_clone().expect("a socket"), outbound.try_clone().expect("a socket"));
            std::thread::spawn(move || pump(from, outbound, None));
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || pump(back, inbound, Some(&counted)));
        }
    });
    (address, count)
}

fn pump(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // One end has gone, so the other may.
    let _ = to.shutdown(Shutdown::Both);
}

/// Two daemons in this process whose pools hold the transactions of the blocks that come: latency on a
/// direct connection, bytes through a proxy.
fn known_block() -> Vec<Figure> {
    let dir = fresh_dir("block-a");
    let coins = Coins::make(&dir, BLOCK_TXS * BLOCKS);
    let transactions = coins.spend(400);
    let daemon = |dir: &Path, peer: Option<Target>| {
        let mut config = Config::new(Arc::clone(&coins.params), dir.to_path_buf());
        config.bind.set_port(0);
        config.seeds = false;
        config.peers.extend(peer);
        runtime::Daemon::start(&config, &mut |_| {}).expect("it starts")
    };
    let first = daemon(&dir, None);
    let direct = daemon(&fresh_dir("block-b"), Some(Target::Address(first.address())));
    let (proxy, bytes) = counting_proxy(first.address());
    let behind = daemon(&fresh_dir("block-c"), Some(Target::Address(proxy)));
    let tip = first.tip().id;
    wait_until(|| direct.tip().id == tip && behind.tip().id == tip);
    let mut source = Peer::connect(&coins.params, first.address(), 78);
    let mut announcer = Peer::connect(&coins.params, first.address(), 79);
    let mut listeners = [&direct, &behind].map(|daemon| Peer::connect(&coins.params, daemon.address(), 77));
    std::thread::sleep(Duration::from_millis(500));
    let mut parent = position_of(&first);
    let (mut latencies, mut per_tx) = (Vec::new(), Vec::new());
    for group in transactions.chunks(BLOCK_TXS) {
        announcer = announcer.deliver(group);
        let wanted: HashSet<Hash> = group.iter().map(|tx| tx.id()).collect();
        for listener in &mut listeners {
            listener.count(&wanted);
        }
        std::thread::sleep(Duration::from_millis(300));
        let group: Vec<&CheckedTx> = group.iter().collect();
        let block =
            found(&coins.params, &Template::new(&coins.params, &parent, &Payout::Key(secret(0).public()), &group));
        let before = bytes.load(Ordering::Relaxed);
        let news = Message::NewBlock(Box::new(sketch_of(&block))).to_frame();
        let start = Instant::now();
        source.stream.write_all(&news).expect("the daemon reads");
        wait_until(|| direct.tip().id == block.id());
        latencies.push(start.elapsed().as_secs_f64() * 1e3);
        wait_until(|| behind.tip().id == block.id());
        std::thread::sleep(Duration::from_millis(100));
        per_tx.push((bytes.load(Ordering::Relaxed) - before) as f64 / BLOCK_TXS as f64);
        parent = parent.child(&coins.params, &block.checked_header(), Wall(u64::MAX)).expect("right in its place");
    }
    drop((source, listeners));
    vec![
        Figure {
            what: "bytes on the wire for a block of 3,000 transactions that the other side has, everything that is said meanwhile included",
            must: "12 bytes a tx",
            aim: "6.5 bytes a tx",
            measured: spread(per_tx, |bytes| format!("{bytes:.2} bytes a tx")),
        },
        Figure {
            what: "from that block's arrival at one node to the other's tip, median (Bitcoin Core, 7,000 known: 31 to 51 ms)",
            must: "20 ms",
            aim: "3 ms",
            measured: spread(latencies, |ms| format!("{ms:.1} ms")),
        },
    ]
}

/// Asks again and again without a pause: a sleep would be longer than what is measured.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "it happens");
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn position_of(daemon: &runtime::Daemon) -> Position {
    let tip = daemon.tip();
    let parent = daemon.reader().record_at(tip.header.height - 1).expect("below the tip");
    let parent = daemon.reader().metas(parent, 1).expect("the disk works")[0];
    Position::of(&tip.header, tip.id, parent.header.time, tip.work)
}

fn sketch_of(block: &CheckedBlock) -> NewBlock {
    let Block { header, coinbase, .. } = codec::decode(block.bytes()).expect("a block");
    let key = ShortIdKey::of(&header);
    let short_ids = block.transactions()[1..].iter().map(|id| key.short_id(id)).collect();
    NewBlock { header, coinbase, short_ids: List::first_of(short_ids) }
}
