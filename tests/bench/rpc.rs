//! How fast a node answers, at rest and while it syncs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::figures::{Figure, spread};
use crate::process::{Daemon, chain_of, fresh_dir};

/// The RPC's port above the peers'.
const OFFSET: u16 = 1_000;
/// Questions of one measurement.
const QUESTIONS: u32 = 20_000;
const PIPELINED: u32 = 16;
/// Blocks that the newcomer has to fetch meanwhile.
const SYNC_BLOCKS: u64 = 1_000_000;

const BODY: &str = r#"{"jsonrpc":"2.0","id":0,"method":"get_info"}"#;

/// A connection that is kept, with what came over it and was not looked at.
struct Asker {
    stream: TcpStream,
    question: Vec<u8>,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Asker {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let head =
            format!("POST /json_rpc HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\r\n", BODY.len());
        Self { stream, question: (head + BODY).into_bytes(), buffer: vec![0; 64 << 10], from: 0, to: 0 }
    }

    fn ask(&mut self, times: u32) {
        let questions = self.question.repeat(times as usize);
        self.stream.write_all(&questions).expect("the node reads");
        for _ in 0..times {
            self.take();
        }
    }

    /// One whole answer.
    fn take(&mut self) {
        loop {
            if let Some(bytes) = answer_bytes(&self.buffer[self.from..self.to])
                && self.from + bytes <= self.to
            {
                self.from += bytes;
                return;
            }
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let read = self.stream.read(&mut self.buffer[self.to..]).expect("the node answers");
            assert!(read > 0, "the node keeps the connection");
            self.to += read;
        }
    }
}

/// Head and body together, once the head is here.
fn answer_bytes(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head is text");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("it says how long it is");
    Some(head + length.parse::<usize>().expect("a number"))
}

fn rate(asker: &mut Asker, at_once: u32) -> f64 {
    let begun = Instant::now();
    for _ in 0..QUESTIONS / at_once {
        asker.ask(at_once);
    }
    f64::from(QUESTIONS) / begun.elapsed().as_secs_f64()
}

/// Round trips of the same sizes with nothing behind them: what the machine allows at this moment.
fn bare_rate() -> f64 {
    const ANSWER: usize = 1_400;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody");
        stream.set_nodelay(true).expect("a socket");
        let mut buffer = [0; 4 << 10];
        while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
            stream.write_all(&[7; ANSWER]).expect("somebody reads");
        }
    });
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut answer = [0; ANSWER];
    let begun = Instant::now();
    for _ in 0..QUESTIONS {
        stream.write_all(&[7; 120]).expect("it reads");
        stream.read_exact(&mut answer).expect("it answers");
    }
    let rate = f64::from(QUESTIONS) / begun.elapsed().as_secs_f64();
    drop(stream);
    echo.join().expect("no panic");
    rate
}

/// Times of single questions to a node that syncs as fast as it can, and how fast that was.
fn while_syncing() -> (Vec<Duration>, f64) {
    let chain = chain_of(SYNC_BLOCKS);
    let server = Daemon::start(9801, &chain, &[]);
    server.wait_for("rpc on");
    let newcomer = Daemon::start(9803, &fresh_dir("rpc-sync"), &["--peer", "127.0.0.1:9801"]);
    newcomer.wait_for("rpc on");
    let mut asker = Asker::new(9803 + OFFSET);
    let mut times = Vec::new();
    let done = std::thread::spawn(move || {
        let (at, _) = newcomer.wait_for(&format!("durable height={SYNC_BLOCKS}"));
        (at.duration_since(newcomer.started), newcomer)
    });
    while !done.is_finished() {
        let begun = Instant::now();
        asker.ask(1);
        times.push(begun.elapsed());
    }
    let (took, _newcomer) = done.join().expect("it syncs");
    #[allow(clippy::cast_precision_loss, reason = "a rate is shown with a few digits")]
    let rate = SYNC_BLOCKS as f64 / took.as_secs_f64();
    (times, rate)
}

pub(crate) fn figures() -> Vec<Figure> {
    let chain = chain_of(20_000);
    let (mut single, mut pipelined, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    {
        let node = Daemon::start(9801, &chain, &[]);
        node.wait_for("rpc on");
        let mut asker = Asker::new(9801 + OFFSET);
        for _ in 0..5 {
            bare.push(bare_rate());
            single.push(rate(&mut asker, 1));
            pipelined.push(rate(&mut asker, PIPELINED));
        }
    }
    let (mut times, sync_rate) = while_syncing();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 1_000).min(times.len() - 1)];
    let per_s = |rate: f64| format!("{rate:.0}/s");
    vec![
        Figure {
            what: "get_info over one kept connection, one by one",
            must: "8,000/s",
            aim: "12,000/s",
            measured: format!("{}; a bare round trip: {}", spread(single, per_s), spread(bare, per_s)),
        },
        Figure {
            what: "get_info over one kept connection, 16 pipelined",
            must: "25,000/s",
            aim: "40,000/s",
            measured: spread(pipelined, per_s),
        },
        Figure {
            what: "get_info while the node syncs at full speed, p99",
            must: "20 ms",
            aim: "2 ms",
            measured: format!(
                "{:?} (median {:?}, p99.9 {:?}, longest {:?}, n={}; {sync_rate:.0} blocks/s meanwhile)",
                at(990),
                at(500),
                at(999),
                at(1_000),
                times.len()
            ),
        },
    ]
}
