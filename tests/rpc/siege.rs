//! A daemon that everybody wants something of: more questions than it has places, pages that never rest, more
//! connections than it has descriptors.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use spindle::blockchain::params::Params;
use spindle::node::message::{Kind, Message};
use spindle::rpc::client::Client;
use spindle::rpc::cookie::Cookie;

use crate::PATIENCE;
use crate::common::hostile::{hello, read_frame};
use crate::common::process::{Process, free_port, spindle};

/// Descriptors of the daemon that has too few: enough to open its files and both ports, and not for the peers that
/// it would take.
const DESCRIPTORS: &str = "40";
/// Peers and as many clients: together more than that, and no more peers than there are places.
const FLOOD: usize = 30;

/// What a page asks for again and again, when it shows the threads.
const PAGE_ASKS: &str = r#"[{"jsonrpc":"2.0","id":0,"method":"get_info"},{"jsonrpc":"2.0","id":1,"method":"get_last_block_header"},{"jsonrpc":"2.0","id":2,"method":"get_connections"},{"jsonrpc":"2.0","id":3,"method":"get_inside"}]"#;

/// A daemon on regtest that looks for nobody, and where it answers.
pub(crate) struct Besieged {
    process: Process,
    port: u16,
    pub(crate) rpc: SocketAddr,
}

impl Besieged {
    /// `limit`: how many descriptors it may have.
    pub(crate) fn start(data: &Path, limit: Option<&str>) -> Self {
        let port = free_port();
        let mut command = match limit {
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", limit]);
                shell.arg(spindle().get_program());
                shell
            }
            None => spindle(),
        };
        command.args(["daemon", "--network", "regtest", "--no-seeds", "--port", &port.to_string(), "--data-dir"]);
        let mut process = Process::start({
            command.arg(data);
            command
        });
        process.wait_for("rpc on");
        Self { process, port, rpc: ([127, 0, 0, 1], port + 1_000).into() }
    }

    /// What a command about this node says.
    pub(crate) fn says(&self, command: &str, data: &Path) -> Value {
        let port = self.port.to_string();
        let mut asked = spindle();
        asked.args([command, "--network", "regtest", "--port", &port, "--json", "--data-dir"]).arg(data);
        let output = asked.output().expect("the binary runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON value")
    }

    fn to_peers(&self) -> TcpStream {
        connected(([127, 0, 0, 1], self.port).into())
    }

    /// Connects as a peer and says hello, without waiting for what comes of it.
    fn greets(&self, nonce: u64) -> TcpStream {
        let mut stream = self.to_peers();
        let hello = Message::Hello(hello(&Params::regtest(), nonce));
        stream.write_all(&hello.to_frame()).expect("the system takes it");
        stream
    }

    /// Sends these questions at once, the last of which ends the connection.
    fn asks(&self, questions: &[String]) -> TcpStream {
        let mut stream = connected(self.rpc);
        // Who is turned away at the door may be gone before he has asked.
        let _ = stream.write_all(&requests(self.rpc, questions));
        stream
    }

    /// A figure of `/metrics`.
    fn figure(&self, name: &str) -> f64 {
        let metrics = Client::new(self.rpc, None).get("/metrics").expect("answered");
        let metrics = String::from_utf8(metrics).expect("text");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
    }

    pub(crate) fn ends_well(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait().success(), "{}", self.process.seen.join("\n"));
    }
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the system answers for it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

fn question(height: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{height},"method":"get_block","params":{{"height":{height}}}}}"#)
}

fn requests(address: SocketAddr, questions: &[String]) -> Vec<u8> {
    let one = |(n, body): (usize, &String)| {
        let close = if n + 1 == questions.len() { "Connection: close\r\n" } else { "" };
        let length = body.len();
        format!("POST /json_rpc HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{close}\r\n{body}")
    };
    questions.iter().enumerate().map(one).collect::<String>().into_bytes()
}

/// Every answer until the connection ends: its status and its body.
fn answers(stream: &mut TcpStream) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    // A connection that is cut after its last answer has given that all the same.
    let ended = stream.read_to_end(&mut all);
    let (mut rest, mut answers) = (&all[..], Vec::new());
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let (head, after) = rest.split_at(end + 4);
        let head = std::str::from_utf8(head).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let (body, after) = after.split_at(length.parse().expect("a number"));
        answers.push((head[9..12].parse().expect("a status"), body.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty(), "{} after {ended:?}", String::from_utf8_lossy(rest));
    answers
}

fn generate(data: &Path) {
    let mut command = spindle();
    command.args(["chain", "generate", "--network", "regtest", "--blocks", "40", "--txs", "60", "--data-dir"]);
    let generated = command.arg(data).output().expect("the binary runs");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
}

/// Goal: of a thousand `get_block` that come at once each is answered with that block or with 503, asking again gets
/// all of them, and none takes a turn of the owner's. Method: a hundred connections with ten questions each, opened
/// before the first answer is read; those who heard 503 come again, together; the answers are those that one client
/// got one by one, and the owner's turns are counted by `/metrics`: those of its clock, fewer than one for each second
/// question.
#[test]
fn a_thousand_questions_at_once_are_answered_or_told_to_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    generate(&data);
    let node = Besieged::start(&data, None);
    let mut client = Client::new(node.rpc, None);
    let right: BTreeMap<u64, Value> = (0..=40)
        .map(|height| (height, client.call("get_block", &json!({ "height": height })).expect("answered")))
        .collect();
    drop(client);
    let turns = node.figure("spindle_owner_turn_seconds_count");
    let mut waiting: Vec<Vec<u64>> = (0..100).map(|n| (0..10).map(|m| (10 * n + m) % 41).collect()).collect();
    let (mut taken, mut refused) = (0, 0);
    while !waiting.is_empty() {
        let asked: Vec<(Vec<u64>, TcpStream)> = std::mem::take(&mut waiting)
            .into_iter()
            .map(|heights| {
                let questions: Vec<String> = heights.iter().copied().map(question).collect();
                let stream = node.asks(&questions);
                (heights, stream)
            })
            .collect();
        for (heights, mut stream) in asked {
            let answers = answers(&mut stream);
            let mut left = heights.iter();
            for (status, body) in &answers {
                if *status == 503 {
                    break;
                }
                let height = left.next().expect("no more answers than questions");
                let answer: Value = serde_json::from_slice(body).expect("JSON");
                assert_eq!(*status, 200, "{answer}");
                assert_eq!((&answer["id"], &answer["result"]), (&json!(height), &right[height]));
                taken += 1;
            }
            let left: Vec<u64> = left.copied().collect();
            if !left.is_empty() {
                assert_eq!(answers.last().map(|(status, _)| *status), Some(503), "who is not answered is told");
                refused += 1;
                waiting.push(left);
            }
        }
    }
    assert_eq!(taken, 1_000);
    assert!(refused > 0, "a hundred find no place at once");
    let turns = node.figure("spindle_owner_turn_seconds_count") - turns;
    println!("{turns} turns while 1,000 questions were answered and connections refused {refused} times");
    assert!(turns < 500.0, "{turns}");
    node.ends_well();
}

/// Goal: pages that are open do not keep their user from stopping the node. Method: eight connections that ask what
/// a page asks, with no pause, come again when they are cut, and have all been answered; `spindle stop` meanwhile.
#[test]
fn pages_do_not_lock_out_the_one_who_stops_the_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut node = Besieged::start(&data, None);
    let (is_over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let poll = || -> io::Result<()> {
        let mut stream = TcpStream::connect(node.rpc)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = String::from_utf8(requests(node.rpc, &[PAGE_ASKS.to_owned()])).expect("text");
        let request = request.replace("Connection: close\r\n", "");
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(request.as_bytes())?;
            if !read_answer(&mut stream)?.starts_with("HTTP/1.1 200") {
                break;
            }
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // To be cut or turned away is what a page expects.
                    let _ = poll();
                }
            });
        }
        crate::wait_until("the pages are served", || rounds.load(Ordering::Relaxed) >= 200);
        let stopped = std::panic::catch_unwind(|| node.says("stop", &data));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(stopped.expect("it was heard")["done"], json!("the node has stopped"));
    });
    assert!(node.process.wait().success(), "{}", node.process.seen.join("\n"));
}

/// One answer, with its head.
fn read_answer(stream: &mut TcpStream) -> io::Result<String> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&all);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if length.and_then(|length| length.parse().ok()).is_none_or(|length: usize| body.len() >= length) {
            return Ok(text.into_owned());
        }
    }
}

/// Goal: a node whose descriptors are all taken says so on both ports, and is back on both when there are some again:
/// who waited is answered, `status` works, a peer shakes hands. Method: a daemon that may have 40, and more peers and
/// clients than that; twice.
#[test]
fn out_of_descriptors_both_ports_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut node = Besieged::start(&data, Some(DESCRIPTORS));
    for round in 0..2_u64 {
        let peers: Vec<TcpStream> = (0..FLOOD as u64).map(|n| node.greets(100 * round + n + 1)).collect();
        let clients: Vec<TcpStream> = (0..FLOOD).map(|_| connected(node.rpc)).collect();
        let mut missing = vec![" cannot accept connections", "rpc: cannot accept connections"];
        while !missing.is_empty() {
            let line = node.process.wait_for("cannot accept connections");
            let is_rpc = line.contains("rpc: ");
            missing.retain(|what| what.starts_with("rpc") != is_rpc);
        }
        let (mut peer, mut client) = (node.greets(100 * round + 99), node.asks(&[question(0)]));
        drop((peers, clients));
        let (kind, _) = read_frame(&mut peer).expect("who has waited is answered");
        assert_eq!(kind, Kind::HelloAck as u8);
        let answer = answers(&mut client);
        assert!(answer.iter().all(|(status, _)| [200, 503].contains(status)) && answer.len() == 1, "{answer:?}");
        let status = node.says("status", &data);
        assert_eq!((&status["height"], &status["network"]), (&json!(0), &json!("regtest")));
        let (kind, _) = read_frame(&mut node.greets(100 * round + 98)).expect("who comes now is answered");
        assert_eq!(kind, Kind::HelloAck as u8);
    }
    let cookie = Cookie::read(&data).expect("it is there");
    let made: Value = Client::new(node.rpc, Some(cookie))
        .call(
            "generateblocks",
            &json!({ "amount_of_blocks": 1, "wallet_address": crate::secret(0).public().to_string() }),
        )
        .expect("followed");
    assert_eq!(made["height"], json!(1), "its disk has what it needs, too");
    node.ends_well();
}
