//! Peers that speak the protocol by hand over a real socket: one that is honest, and a crowd that is not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use spindle::blockchain::block::Header;
use spindle::blockchain::params::{BLOCK_BYTES_MAX, Params};
use spindle::node::message::{HEADERS_MAX, Hello, Kind, Message, NewBlock};
use spindle::primitives::codec::List;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK, MAGIC, frame_into};
use spindle::primitives::hash::Hash;

/// A hello that the node at the other end accepts.
pub(crate) fn hello(params: &Params, nonce: u64) -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: params.genesis_id(),
        nonce,
        agent: List::first_of(b"by hand".to_vec()),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    }
}

/// Connects without a word.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Reads one frame.
pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let header = FrameHeader::from_bytes(&header).ok_or(io::ErrorKind::InvalidData)?;
    let mut payload = vec![0; header.length as usize];
    stream.read_exact(&mut payload)?;
    Ok((header.kind, payload))
}

/// Connects and shakes hands.
pub(crate) fn greeted(port: u16, params: &Params, nonce: u64) -> io::Result<TcpStream> {
    let mut stream = connect(port);
    stream.write_all(&Message::Hello(hello(params, nonce)).to_frame())?;
    let (kind, _) = read_frame(&mut stream)?;
    if kind == Kind::HelloAck as u8 { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// Sends a ping and waits for its pong; other messages in between are passed over.
pub(crate) fn ping(stream: &mut TcpStream, nonce: u64) -> io::Result<Duration> {
    let sent = Instant::now();
    stream.write_all(&Message::Ping(nonce).to_frame())?;
    loop {
        let (kind, payload) = read_frame(stream)?;
        if kind == Kind::Pong as u8 && payload == nonce.to_le_bytes() {
            return Ok(sent.elapsed());
        }
        if kind == Kind::Ping as u8 {
            let theirs = u64::from_le_bytes(payload.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
            stream.write_all(&Message::Pong(theirs).to_frame())?;
        }
    }
}

/// A crowd that does its worst until it is told to stop.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A way to misbehave: given a port, the network and a nonce of its own.
type Way = fn(u16, &Params, u64) -> io::Result<()>;

/// All of them.
const WAYS: [Way; 11] = [
    silent,
    drip,
    flood_pings,
    flood_pings_unread,
    hoard_blocks,
    huge_frame,
    garbage,
    many_requests,
    flood_news,
    claim_a_heavier_chain,
    claim_a_heavier_chain,
];

impl Crowd {
    /// So many members, each with a way of its own, coming back whenever they are cut.
    pub(crate) fn gather(port: u16, params: &Params, tip: Hash, members: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        TIP.get_or_init(|| tip);
        let threads = (0..members).map(|member| {
            let (stop, params) = (Arc::clone(&stop), params.clone());
            std::thread::spawn(move || {
                let way = WAYS[usize::try_from(member).unwrap_or(0) % WAYS.len()];
                for turn in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // To be cut is what each of them expects.
                    let _ = way(port, &params, 1_000_000 + member * 1_000_000 + turn);
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Ends it; each member ends with what it is at.
    pub(crate) fn disperse(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a member does not panic");
        }
    }
}

static TIP: std::sync::OnceLock<Hash> = std::sync::OnceLock::new();

/// How long a member stays at one connection at most.
const STAY: Duration = Duration::from_secs(3);

fn patient(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(STAY))?;
    stream.set_write_timeout(Some(STAY))
}

/// Connects and says nothing.
fn silent(port: u16, _: &Params, _: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    patient(&stream)?;
    stream.read(&mut [0]).map(|_| ())
}

/// Shakes hands and sends a large frame byte by byte.
fn drip(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let frame = Message::NewBlock(Box::new(news())).to_frame();
    for byte in &frame[..30] {
        stream.write_all(&[*byte])?;
        std::thread::sleep(STAY / 30);
    }
    Ok(())
}

fn news() -> NewBlock {
    use spindle::blockchain::transaction::{Coinbase, Output};
    use spindle::primitives::keys::Key;
    let output = Output { amount: 1, key: Key([1; 32]), view_tag: 0 };
    NewBlock {
        header: *Params::regtest().genesis(),
        coinbase: Coinbase { version: 1, height: 1, output, tx_key: Key([0; 32]) },
        short_ids: List::first_of(vec![[7; 6]; 4_000]),
    }
}

/// Pings as fast as it can, reading the pongs.
fn flood_pings(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let mut reading = stream.try_clone()?;
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while reading.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    let burst = Message::Ping(7).to_frame().repeat(1_000);
    let end = Instant::now() + STAY;
    let outcome = (|| {
        while Instant::now() < end {
            stream.write_all(&burst)?;
        }
        Ok(())
    })();
    let _ = stream.shutdown(Shutdown::Both);
    reader.join().expect("it only reads");
    outcome
}

/// Pings as fast as it can, reading nothing.
fn flood_pings_unread(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let burst = Message::Ping(7).to_frame().repeat(1_000);
    let end = Instant::now() + STAY;
    while Instant::now() < end {
        stream.write_all(&burst)?;
    }
    Ok(())
}

/// Asks for everything and reads nothing.
fn hoard_blocks(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let last = *TIP.get().expect("set before the crowd gathers");
    for _ in 0..4 {
        stream.write_all(&Message::GetBlocks { last, count: 1_000 }.to_frame())?;
    }
    std::thread::sleep(STAY);
    Ok(())
}

/// Promises a block that nobody asked for.
fn huge_frame(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let mut header = MAGIC.to_vec();
    header.push(Kind::Blocks as u8);
    header.extend((1_u32 << 20).to_le_bytes());
    header.extend([0; 4]);
    stream.write_all(&header)?;
    stream.read(&mut [0; 64]).map(|_| ())
}

/// Bytes that mean nothing.
fn garbage(port: u16, _: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    patient(&stream)?;
    let bytes: Vec<u8> = Hash::sha256d(&nonce.to_le_bytes()).0.repeat(100);
    stream.write_all(&bytes)?;
    stream.read(&mut [0]).map(|_| ())
}

/// More questions at a time than the protocol allows, over and over.
fn many_requests(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let question = Message::GetHeaders(List::first_of(vec![Hash::ZERO; 64])).to_frame();
    for _ in 0..1_000 {
        stream.write_all(&question)?;
    }
    Ok(())
}

/// Sends the largest news of a block that there can be, over and over, unasked.
fn flood_news(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let mut stream = greeted(port, params, nonce)?;
    patient(&stream)?;
    let most = (Kind::NewBlock.bytes_max() - 184) / 6;
    let news = NewBlock { header: fork(params)[0], short_ids: List::first_of(vec![[7; 6]; most]), ..news() };
    let frame = Message::NewBlock(Box::new(news)).to_frame();
    let end = Instant::now() + STAY;
    while Instant::now() < end {
        stream.write_all(&frame)?;
    }
    Ok(())
}

/// Says that it has a heavier chain, sends its headers in full messages, and answers the question for
/// bodies with the right header and a mebibyte of nothing, of which the last byte is long in coming.
fn claim_a_heavier_chain(port: u16, params: &Params, nonce: u64) -> io::Result<()> {
    let fork = fork(params);
    let (height, work) = (fork.len() as u64, fork.len() as u128);
    let mut stream = connect(port);
    patient(&stream)?;
    stream.write_all(&Message::Hello(Hello { height, work, ..hello(params, nonce) }).to_frame())?;
    let end = Instant::now() + STAY;
    while Instant::now() < end {
        let (kind, payload) = read_frame(&mut stream)?;
        let Some(kind) = Kind::from_number(kind).filter(|kind| *kind != Kind::HelloAck) else { continue };
        match Message::from_payload(kind, &payload) {
            Ok(Message::GetHeaders(locator)) => {
                let known = fork.iter().rposition(|header| locator.contains(&header.id()));
                let rest = &fork[known.map_or(0, |known| known + 1)..];
                let some = rest[..rest.len().min(HEADERS_MAX)].to_vec();
                stream.write_all(&Message::Headers(List::first_of(some)).to_frame())?;
            }
            Ok(Message::GetBlocks { last, count }) => {
                let place = fork.iter().position(|header| header.id() == last).ok_or(io::ErrorKind::InvalidData)?;
                let mut body = fork[place + 1 - usize::from(count)].to_bytes().to_vec();
                body.resize(BLOCK_BYTES_MAX, 0);
                let mut frame = Vec::new();
                frame_into(KIND_BLOCK, &body, &mut frame);
                stream.write_all(&frame[..frame.len() - 1])?;
                BODIES_BEGUN.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
                stream.write_all(&frame[frame.len() - 1..])?;
            }
            Ok(Message::Ping(theirs)) => stream.write_all(&Message::Pong(theirs).to_frame())?,
            _ => {}
        }
    }
    Ok(())
}

static BODIES_BEGUN: AtomicUsize = AtomicUsize::new(0);

/// How many bodies of a heavier chain a node has asked for.
pub(crate) fn bodies_begun() -> usize {
    BODIES_BEGUN.load(Ordering::Relaxed)
}

/// Headers of a chain that is heavier than any that is served here.
fn fork(params: &Params) -> &'static [Header] {
    static FORK: std::sync::OnceLock<Vec<Header>> = std::sync::OnceLock::new();
    FORK.get_or_init(|| super::chains::headers(params, 25_000))
}
