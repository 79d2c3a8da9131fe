//! The network through its public API, on real sockets (port 0), with the test as the owner.
//!
//! Nothing here sleeps: each step waits for an event, an answer or a line of the log. The tests run
//! one at a time, because threads are counted by name over the whole process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader, Header, ReadBlock};
use spindle::blockchain::chain::{Chain, Step};
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mining::Miner;
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::storage::{PersistentBlockchain, ReadHandle, RecordNo};
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Coinbase, Input as CoinInput, Outpoint, Output, Transaction};
use spindle::network::limits::{OUTBOX_BYTES, OUTBOX_MESSAGE_BYTES, inbox_capacity};
use spindle::network::p2p::{Input, P2PConfig, P2PNode, P2PThreads};
use spindle::node::NodeConfig;
use spindle::node::event::{Announced, Asked, Event, PeerId, Target};
use spindle::node::message::{Hello, Kind, Message, NewBlock};
use spindle::node::reason::Reason;
use spindle::node::session::SessionConfig;
use spindle::primitives::codec::List;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, SecretKey, Verifier};
use spindle::primitives::time::Clock;

/// Far beyond anything that is right: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

// --- the log -------------------------------------------------------------------------------------

/// Lines that were logged, to be waited for.
struct Log(Mutex<Vec<String>>);

static LOG: OnceLock<Log> = OnceLock::new();

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }
    fn flush(&self) {}
}

/// The first line in which both stand, waiting for it.
fn logged(first: &str, second: &str) -> String {
    let log = LOG.get().expect("a test has begun");
    let until = Instant::now() + PATIENCE;
    loop {
        let lines = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.iter().find(|line| line.contains(first) && line.contains(second)) {
            return line.clone();
        }
        assert!(Instant::now() < until, "no line with `{first}` and `{second}` in {lines:#?}");
        drop(lines);
        std::thread::yield_now();
    }
}

/// Takes the turn of one test.
fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let log = LOG.get_or_init(|| Log(Mutex::default()));
    let _ = log::set_logger(log);
    log::set_max_level(log::LevelFilter::Debug);
    log.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    turn
}

/// Peers' threads in this process, where the system tells.
fn peer_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("peer-") || name.starts_with("listen")).count()
}

fn wait_for_peer_threads(count: usize) {
    let until = Instant::now() + PATIENCE;
    while peer_threads() != count {
        assert!(Instant::now() < until, "{} threads, {count} expected", peer_threads());
        std::thread::yield_now();
    }
}

// --- the node's side -----------------------------------------------------------------------------

/// A network whose owner is the test.
struct Owner {
    node: P2PNode,
    threads: P2PThreads,
    inbox: Receiver<Input>,
    address: SocketAddr,
    params: Arc<Params>,
    reader: ReadHandle,
}

struct Setup {
    nonce: u64,
    max_inbound: usize,
    write_ms: u64,
    blocks: u32,
    block_outputs: usize,
}

const SETUP: Setup = Setup { nonce: 1, max_inbound: 40, write_ms: 20_000, blocks: 0, block_outputs: 0 };

impl Owner {
    fn new(setup: &Setup) -> Self {
        let params = Arc::new(Params::regtest());
        let reader = chain(&params, setup.blocks, setup.block_outputs);
        let (sender, inbox) = bounded(inbox_capacity(setup.max_inbound + 8));
        let config = P2PConfig {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"),
            session: SessionConfig { params: Arc::clone(&params), verifier: Verifier::new([7; 32], None) },
            reader: reader.clone(),
            node: NodeConfig {
                secret: [4; 16],
                params: Arc::clone(&params),
                nonce: setup.nonce,
                agent: "test".into(),
                listen_port: 0,
                connect: Vec::new(),
                seeds: false,
                outbound_max: 8,
                payout: None,
            },
            max_inbound: setup.max_inbound,
            write_ms: setup.write_ms,
            clock: Clock::start(),
        };
        let node = P2PNode::new(config, sender).expect("a bound listener has an address");
        let threads = node.start().expect("a thread");
        let address = node.address();
        Self { node, threads, inbox, address, params, reader }
    }

    /// The next event, which is then handled.
    fn next(&mut self) -> Event {
        let event = self.next_unhandled();
        self.node.handled();
        event
    }

    fn next_unhandled(&mut self) -> Event {
        let input = self.node.take_stillborn().or_else(|| self.inbox.recv_timeout(PATIENCE).ok());
        self.node.admit(input.expect("an event"))
    }

    fn connected(&mut self) -> PeerId {
        match self.next() {
            Event::Connected { peer, .. } => peer,
            other => panic!("{other:?}"),
        }
    }

    fn closed(&mut self) -> Reason {
        match self.next() {
            Event::Closed { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// An honest client that has shaken hands.
    fn client(&mut self) -> (Client, PeerId) {
        let client = Client::greeted(self.address, &self.params);
        let peer = self.connected();
        (client, peer)
    }

    /// Stops as the daemon does; fails if that takes more than five seconds.
    fn stop(self) {
        let (node, threads) = (self.node, self.threads);
        let (done, is_done) = bounded(1);
        std::thread::spawn(move || {
            node.close();
            threads.stop();
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(5)).expect("stopped within five seconds");
    }
}

/// A regtest chain on a memory disk; with outputs, of large blocks.
fn chain(params: &Arc<Params>, blocks: u32, outputs: usize) -> ReadHandle {
    let disk = Arc::new(MemoryDisk::default());
    let (mut store, _) = PersistentBlockchain::open(disk, params, &mut |_, _| {}).expect("an empty disk");
    let verifier = Verifier::new([7; 32], None);
    let (mut prev, mut path) = (*params.genesis(), Vec::new());
    let mut checked = Vec::new();
    for height in 1..=u64::from(blocks) {
        let transfers: Vec<_> = (0..outputs.div_ceil(1_024)).map(|n| transfer(params, height, n)).collect();
        let output = Output { amount: params.reward(height), key: Key([3; 32]), view_tag: 0 };
        let coinbase = Coinbase { version: 1, height, output, tx_key: Key::default() };
        let header = Header { version: 1, height, prev: prev.id(), time: prev.time + 1, difficulty: 1, ..prev };
        let mut block = Block { header, coinbase, transfers: List::first_of(transfers) };
        block.header.merkle_root = block.merkle_root();
        prev = block.header;
        let read = ReadBlock::read(params, block.to_bytes()).expect("right in itself");
        checked.push(read.verified(&verifier).expect("signed"));
        path.push(RecordNo(u32::try_from(height).expect("few blocks")));
    }
    store.append(&checked).expect("room in memory");
    if let Some(&tip) = path.last() {
        let meta = store.meta(tip).expect("just appended");
        store.publish(0, &path, meta);
    }
    store.reader()
}

/// A transfer without a fee, of 1,024 outputs; that its coin does not exist is not the network's business.
fn transfer(params: &Params, height: u64, n: usize) -> Transaction {
    let key = SecretKey::from_seed(&[5; 32]);
    let index = u32::try_from(n).expect("few");
    let outpoint = Outpoint { transaction: Hash::sha256d(&height.to_le_bytes()), index };
    let input = CoinInput { outpoint, amount: 1_024, key: key.public(), matures_at: 0 };
    let output = Output { amount: 1, key: Key([9; 32]), view_tag: 0 };
    let (inputs, outputs) = (List::first_of(vec![input]), List::first_of(vec![output; 1_024]));
    let unsigned = Transaction::unsigned(inputs, outputs, Key::default(), None);
    unsigned.signed(params.genesis_id(), |_, message| key.sign(message))
}

// --- the other side ------------------------------------------------------------------------------

/// A peer that does whatever a test wants.
struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    fn greeted(address: SocketAddr, params: &Params) -> Self {
        let mut client = Self::connect(address);
        client.say(&Message::Hello(hello(params, 99)));
        assert_eq!(client.hears().kind(), Kind::HelloAck);
        client
    }

    fn say(&mut self, message: &Message) {
        self.0.write_all(&message.to_frame()).expect("the other side is there");
    }

    fn port(&self) -> String {
        format!("{} ", self.0.local_addr().expect("a socket"))
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("{error}"),
        }
        let header = FrameHeader::from_bytes(&header).expect("our magic");
        let mut payload = vec![0; header.length as usize];
        self.0.read_exact(&mut payload).expect("a whole frame");
        assert!(header.matches(&payload), "the checksum holds");
        Some((header.kind, payload))
    }

    fn hears(&mut self) -> Message {
        let (kind, payload) = self.frame().expect("a frame, not the end");
        Message::from_payload(Kind::from_number(kind).expect("a known kind"), &payload).expect("a message")
    }

    /// Reads to the end; what the last `Bye` said.
    fn hears_bye(&mut self) -> Option<String> {
        let mut said = None;
        while let Some((kind, payload)) = self.frame() {
            if kind == Kind::Bye as u8 {
                said = Some(String::from_utf8(payload[2..].to_vec()).expect("plain words"));
            }
        }
        said
    }
}

fn hello(params: &Params, nonce: u64) -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: params.genesis_id(),
        nonce,
        agent: List::first_of(b"client".to_vec()),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    }
}

// --- strangers -----------------------------------------------------------------------------------

/// Goal: whoever does not get through the handshake is closed at once, hears why (unless it does not
/// even speak our protocol), is told of in the log with address and reason, and leaves nothing behind.
/// Method: a wrong network, a strange protocol version, garbage, a message before the hello, a frame
/// over its cap; then an honest peer.
#[test]
fn strangers_are_sent_away_with_a_reason() {
    let _turn = turn();
    let mut owner = Owner::new(&SETUP);
    let right = hello(&owner.params, 5);
    let other = Message::Hello(Hello { genesis: Hash([9; 32]), ..right.clone() }).to_frame();
    let newer = Message::Hello(Hello { protocol_least: 7, protocol_greatest: 9, ..right }).to_frame();
    let mut long = FrameHeader { kind: Kind::Hello as u8, length: 513, checksum: 0 }.to_bytes().to_vec();
    long.truncate(HEADER_BYTES);
    let cases: [(&[u8], &str, bool); 6] = [
        (&other, "it is on another network (genesis 090909090909)", true),
        (&newer, "it speaks protocols 7 to 9 and we 1 to 1", true),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "it does not speak spindle's protocol", false),
        (&Message::Ping(1).to_frame(), "Ping out of place", true),
        (&long, "a frame of kind 2 declares 513 bytes (limit 512)", true),
        (&[], "the connection closed", false),
    ];
    for (bytes, reason, is_told) in cases {
        let mut client = Client::connect(owner.address);
        client.0.write_all(bytes).expect("it listens");
        if bytes.is_empty() {
            client.0.shutdown(Shutdown::Write).expect("a socket");
        }
        assert_eq!(client.hears_bye(), is_told.then(|| reason.to_owned()));
        let line = logged(&client.port(), reason);
        assert!(line.contains("sent away"), "{line}");
    }
    wait_for_peer_threads(1);
    let _honest = owner.client();
    wait_for_peer_threads(3);
    owner.stop();
    wait_for_peer_threads(0);
}

/// Goal: silence, and a drip of one byte a second, are cut by the handshake's deadline, which does not
/// move with the bytes. Method: both at once on real sockets; the pauses between the bytes are waits
/// for an answer.
#[test]
fn silence_and_a_drip_are_cut_by_the_handshake_deadline() {
    let _turn = turn();
    let owner = Owner::new(&SETUP);
    let mut silent = Client::connect(owner.address);
    let mut drip = Client::connect(owner.address);
    let bytes = Message::Hello(hello(&owner.params, 5)).to_frame();
    drip.0.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let mut sent = 0;
    for byte in bytes.chunks(1) {
        if drip.0.write_all(byte).is_err()
            || !matches!(drip.0.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
        {
            break;
        }
        sent += 1;
    }
    assert!((3..=6).contains(&sent), "{sent} seconds");
    for client in [&mut drip, &mut silent] {
        assert_eq!(client.hears_bye().as_deref(), Some("no handshake within 5000 ms"));
        logged(&client.port(), "no handshake within 5000 ms");
    }
    owner.stop();
}

/// Goal: a node that dials itself finds out, and both ends of that connection go. Method: its own port.
#[test]
fn a_node_recognises_itself() {
    let _turn = turn();
    let mut owner = Owner::new(&SETUP);
    let target = Target::Address(owner.address);
    owner.node.dial(target.clone());
    assert_eq!(owner.next(), Event::DialFailed { target, reason: Reason::Oneself });
    wait_for_peer_threads(1);
    owner.stop();
}

/// Goal: the caps at the door hold, and who is over them or refused hears so. Method: two places, then
/// a refused address.
#[test]
fn the_door_is_closed_when_it_is_full() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { max_inbound: 2, ..SETUP });
    let (first, _) = owner.client();
    let (_second, _) = owner.client();
    let mut third = Client::connect(owner.address);
    assert_eq!(third.hears_bye().as_deref(), Some("all 2 places for connections are taken"));
    drop(first);
    assert_eq!(owner.closed(), Reason::Closed);
    let (_third, peer) = owner.client();
    owner.node.hang_up(peer, Reason::Duplicate);
    assert_eq!(owner.closed(), Reason::Duplicate);
    let now = Clock::start().now().wall;
    owner.node.refuse(Ipv4Addr::LOCALHOST.into(), Some(spindle::primitives::time::Wall(now.0 + 60_000)));
    let mut refused = Client::connect(owner.address);
    assert_eq!(refused.hears_bye().as_deref(), Some("its address is banned"));
    owner.stop();
}

// --- peers ---------------------------------------------------------------------------------------

/// Goal: whoever is `Connected` is `Closed` once, with the reason that came first, and hears it.
/// Method: a breach by the peer, a hang-up by us, and an end by the peer.
#[test]
fn each_peer_is_closed_once_with_the_first_reason() {
    let _turn = turn();
    let mut owner = Owner::new(&SETUP);
    let (mut peer, _) = owner.client();
    peer.say(&Message::Peers(List::default()));
    assert_eq!(owner.closed(), Reason::Unasked { kind: Kind::Peers });
    assert_eq!(peer.hears_bye().as_deref(), Some("Peers that nobody asked for"));
    let (mut peer, id) = owner.client();
    owner.node.send(id, &Message::Ping(3));
    owner.node.hang_up(id, Reason::Duplicate);
    owner.node.hang_up(id, Reason::Stopping);
    assert_eq!(peer.hears(), Message::Ping(3), "what waited still goes out");
    assert_eq!(peer.hears_bye().as_deref(), Some("we are connected to that node already"));
    assert_eq!(owner.closed(), Reason::Duplicate);
    let (mut peer, _) = owner.client();
    peer.say(&Message::Bye(List::first_of(b"enough".to_vec())));
    assert_eq!(owner.closed(), Reason::Bye("enough".into()));
    wait_for_peer_threads(1);
    assert!(owner.inbox.is_empty());
    owner.stop();
}

/// Goal: two nodes shake hands, and questions bring answers: headers, blocks, "missing"; each message is
/// in the log of either side. Method: one
/// dials the other by name; three blocks are there.
#[test]
fn questions_are_answered_from_the_file() {
    let _turn = turn();
    let mut server = Owner::new(&Setup { blocks: 3, ..SETUP });
    let mut asker = Owner::new(&Setup { nonce: 2, ..SETUP });
    asker.node.dial(Target::Name(format!("localhost:{}", server.address.port())));
    let peer = match asker.next() {
        Event::Connected { peer, hello, .. } => {
            assert_eq!((hello.height, hello.work), (3, 3));
            peer
        }
        other => panic!("{other:?}"),
    };
    server.connected();
    let locator = List::first_of(vec![asker.params.genesis_id()]);
    asker.node.ask(peer, Asked::Headers, &Message::GetHeaders(locator));
    let Event::Headers { headers, .. } = asker.next() else { panic!("headers") };
    let ids: Vec<Hash> = headers.iter().map(CheckedHeader::id).collect();
    assert_eq!(ids.len(), 3);
    let last = ids[2];
    asker.node.ask(peer, Asked::Blocks(ids.clone()), &Message::GetBlocks { last, count: 3 });
    let mut got = Vec::new();
    while got.len() < 3 {
        let Event::Blocks { blocks, .. } = asker.next() else { panic!("blocks") };
        got.extend(blocks.iter().map(CheckedBlock::id));
    }
    assert_eq!(got, ids);
    let strange = Hash([8; 32]);
    asker.node.ask(peer, Asked::Blocks(vec![strange]), &Message::GetBlocks { last: strange, count: 1 });
    assert_eq!(asker.next(), Event::Missing { peer, last: strange });
    for message in ["GetHeaders", "Headers, ", "GetBlocks", "Blocks, ", "Missing"] {
        logged("to peer", message);
        logged("from peer", message);
    }
    asker.stop();
    assert_eq!(server.closed(), Reason::Bye("this node is stopping".into()));
    server.stop();
}

/// Goal: the test that this node began with: two `P2PNode`s, a block mined on the first, the second has
/// it. Method: the first broadcasts a block that it has just mined; what arrives at the second is that
/// block, checked, and the second's own chain takes it.
#[test]
fn a_block_mined_on_the_first_node_reaches_the_second() {
    let _turn = turn();
    let mut first = Owner::new(&SETUP);
    let mut second = Owner::new(&Setup { nonce: 2, ..SETUP });
    second.node.dial(Target::Address(first.address));
    let from_first = second.connected();
    let to_second = first.connected();
    let params = Arc::clone(&first.params);
    let template = Template::new(&params, &Position::genesis(&params), &Key([7; 32]).into(), &[]).to_block();
    let mined = Miner::new(template.header).search(0, 1_000).expect("regtest takes any hash");
    let block = Block { header: mined, ..template };
    let news = NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::default() };
    first.node.broadcast_block(&[to_second], &news);
    let Event::NewBlock { peer, block: Announced::Whole(received) } = second.next() else { panic!("the news") };
    assert_eq!((peer, received.id(), received.bytes()), (from_first, block.id(), &block.to_bytes()[..]));
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (mut chain, _) = Chain::open(params, &disk, &mut |_| {}).expect("an empty disk");
    let now = Clock::start().now().wall;
    assert_eq!(chain.accept(now, vec![*received], false).expect("memory").appended, 1);
    assert_eq!(chain.advance().expect("memory"), Step::NewTip { undone: 0 });
    assert_eq!(chain.tip().id, block.id());
    first.stop();
    second.stop();
}

/// Goal: a dial that comes to nothing is an event. Method: a port that nobody listens on, a name that
/// nobody has.
#[test]
fn failed_dials_are_told() {
    let _turn = turn();
    let mut owner = Owner::new(&SETUP);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("bound");
    for target in [Target::Address(free), Target::Name("no.such.host.invalid:1".into())] {
        owner.node.dial(target.clone());
        match owner.next() {
            Event::DialFailed { target: told, reason: Reason::Broken(_) } => assert_eq!(told, target),
            other => panic!("{other:?}"),
        }
    }
    owner.stop();
}

/// Goal: blocks larger than a chunk leave in pieces and arrive whole. Method: five of 330 KiB, compared
/// with the file.
#[test]
fn large_blocks_arrive_whole() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { blocks: 5, block_outputs: 8_192, ..SETUP });
    let (mut peer, _) = owner.client();
    peer.say(&Message::GetBlocks { last: owner.reader.tip().id, count: 5 });
    for number in 1..=5 {
        let (kind, payload) = peer.frame().expect("a block");
        let meta = owner.reader.metas(RecordNo(number), 1).expect("memory")[0];
        assert!(kind == Kind::Blocks as u8 && payload.len() > 256 << 10 && payload.len() == meta.size_bytes as usize);
        assert_eq!(Hash::sha256d(&payload[..100]), meta.id);
    }
    owner.stop();
}

/// Goal: a peer that asks for 1,000 large blocks and never reads is cut by the deadline of a write.
/// Method: 330 KiB a block, so that no system's socket buffers swallow them all; a write may take 500 ms,
/// and in proportion to the usual 20 s a little more for its bytes.
#[test]
fn a_peer_that_never_reads_is_cut() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { write_ms: 500, blocks: 60, block_outputs: 8_192, ..SETUP });
    let (mut peer, _) = owner.client();
    peer.say(&Message::GetBlocks { last: owner.reader.tip().id, count: 60 });
    let Reason::WriteTimeout { limit_ms } = owner.closed() else { panic!("another reason") };
    assert!((501..=1_000).contains(&limit_ms), "{limit_ms} ms");
    wait_for_peer_threads(1);
    owner.stop();
}

/// Goal: what waits for a peer that does not read is bounded by its outbox, to the byte; and the owner
/// is not kept waiting. Method: a stuck writer, then pings until the hang-up.
#[test]
fn a_stuck_peer_costs_at_most_its_outbox() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { blocks: 60, block_outputs: 8_192, ..SETUP });
    let (mut peer, id) = owner.client();
    // The writer is busy with the run: a fifth request that waits is a breach, the four before are not.
    peer.say(&Message::GetBlocks { last: owner.reader.tip().id, count: 60 });
    assert_eq!(peer.frame().map(|(kind, _)| kind), Some(Kind::Blocks as u8));
    let cost_bytes = Message::Ping(0).to_frame().len() + OUTBOX_MESSAGE_BYTES;
    let fit = OUTBOX_BYTES / cost_bytes;
    for n in 0..=10 * fit {
        owner.node.send(id, &Message::Ping(n as u64));
        if !owner.inbox.is_empty() {
            break;
        }
    }
    let Reason::OutboxFull { queued_bytes, limit_bytes } = owner.closed() else { panic!("another reason") };
    assert!(queued_bytes <= limit_bytes && queued_bytes + cost_bytes > limit_bytes);
    owner.stop();
}

/// Goal: more requests than the protocol allows end the connection. Method: nothing is read, so the
/// first stays in the writer's hands and four wait; the sixth is one too many.
#[test]
fn too_many_requests_are_a_breach() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { blocks: 60, block_outputs: 8_192, ..SETUP });
    let (mut peer, _) = owner.client();
    let last = owner.reader.tip().id;
    peer.say(&Message::GetBlocks { last, count: 60 });
    assert_eq!(peer.frame().map(|(kind, _)| kind), Some(Kind::Blocks as u8));
    for _ in 0..5 {
        peer.say(&Message::GetBlocks { last, count: 60 });
    }
    assert_eq!(owner.closed(), Reason::TooManyRequests { limit: 4 });
    owner.stop();
}

/// Goal: a peer that floods pings as fast as it can does not keep an honest one from its pong.
/// Method: three flooders that read nothing or everything; 200 pings of an honest peer, each answered.
#[test]
fn a_ping_flood_delays_nobody_else() {
    let _turn = turn();
    let mut owner = Owner::new(&SETUP);
    let flood: Vec<u8> = (0..4_000).flat_map(|n| Message::Ping(n).to_frame()).collect();
    let clients = [true, true, false].map(|reads| (reads, owner.client().0));
    let (mut honest, honest_id) = owner.client();
    let mut flooders = Vec::new();
    for (reads, client) in clients {
        let mut reader = client.0.try_clone().expect("a socket");
        if reads {
            flooders.push(std::thread::spawn(move || while matches!(reader.read(&mut vec![0; 65_536]), Ok(1..)) {}));
        }
        let (mut stream, flood) = (client.0, flood.clone());
        flooders.push(std::thread::spawn(move || while stream.write_all(&flood).is_ok() {}));
    }
    let (done, is_done) = bounded(1);
    let asker = std::thread::spawn(move || {
        let mut took: Vec<Duration> = (0..200)
            .map(|n| {
                let asked = Instant::now();
                honest.say(&Message::Ping(n));
                assert_eq!(honest.hears(), Message::Pong(n));
                asked.elapsed()
            })
            .collect();
        took.sort_unstable();
        done.send(()).expect("the owner waits");
        (took[197], honest)
    });
    let mut floods = 0u64;
    while is_done.is_empty() {
        match owner.next_unhandled() {
            Event::Ping { peer, nonce } => {
                floods += u64::from(peer != honest_id);
                owner.node.send(peer, &Message::Pong(nonce));
            }
            Event::Closed { peer, .. } => assert_ne!(peer, honest_id),
            other => panic!("{other:?}"),
        }
        owner.node.handled();
    }
    let (p99, honest) = asker.join().expect("each ping has its pong");
    println!("p99 of 200 pings while {floods} others came: {p99:?}");
    owner.stop();
    drop(honest);
    for thread in flooders {
        thread.join().expect("no panic");
    }
}

/// Goal: a stop takes less than five seconds whatever peers do, and joins every thread. Method: 32
/// connections: quiet, in the middle of a frame, in the handshake, without credits, never reading.
#[test]
fn a_stop_waits_for_nobody() {
    let _turn = turn();
    let mut owner = Owner::new(&Setup { blocks: 60, block_outputs: 8_192, ..SETUP });
    let half = &Message::Ping(0).to_frame()[..15];
    let mut clients = Vec::new();
    for n in 0..32 {
        if n % 5 == 0 {
            let mut client = Client::connect(owner.address);
            client.0.write_all(&Message::Hello(hello(&owner.params, 5)).to_frame()[..20]).expect("it listens");
            clients.push(client);
            continue;
        }
        // One at a time, and only `Connected` is handled: the floods below stay without credits.
        let mut client = Client::greeted(owner.address, &owner.params);
        match n % 5 {
            1 => {}
            2 => client.0.write_all(half).expect("it listens"),
            3 => client.0.write_all(&Message::Ping(0).to_frame().repeat(50)).expect("it listens"),
            _ => client.say(&Message::GetBlocks { last: owner.reader.tip().id, count: 60 }),
        }
        clients.push(client);
    }
    let mut connected = 0;
    while connected < 25 {
        connected += usize::from(matches!(owner.next_unhandled(), Event::Connected { .. }));
    }
    let began = Instant::now();
    owner.stop();
    println!("stopped with 32 connections in {:?}", began.elapsed());
    wait_for_peer_threads(0);
}
