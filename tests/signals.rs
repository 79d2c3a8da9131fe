//! A signal ends a node in order and soon, whatever its peers are at.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use common::chains::add_large_blocks;
use common::hostile::{connect, greeted, hello};
use common::process::{Process, free_port, spindle};
use spindle::blockchain::params::Params;
use spindle::node::message::{Kind, Message};
use spindle::primitives::frame::MAGIC;
use spindle::primitives::hash::Hash;

/// A chain of blocks to ask for, the last of them too large for any socket's buffers, and its tip.
fn generate(data: &std::path::Path, params: &Arc<Params>) -> Hash {
    let mut command = spindle();
    command.args(["chain", "generate", "--network", "regtest", "--blocks", "3000", "--data-dir"]).arg(data);
    let made = command.output().expect("the binary runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    add_large_blocks(data, params, 40)
}

/// One of 32 peers: they are at eight different things when the signal comes.
fn peer(n: u64, port: u16, params: &Params, tip: Hash) -> TcpStream {
    if n.is_multiple_of(8) {
        return connect(port); // without a word
    }
    let frame = Message::Hello(hello(params, n)).to_frame();
    if n % 8 == 1 {
        let mut stream = connect(port);
        stream.write_all(&frame[..20]).expect("it listens"); // in the middle of the handshake
        return stream;
    }
    let mut stream = greeted(port, params, n + 100).expect("there is room");
    let mut large = MAGIC.to_vec();
    large.push(Kind::NewBlock as u8);
    large.extend(20_000_u32.to_le_bytes());
    large.extend([0; 1_000]);
    let everything = Message::GetBlocks { last: tip, count: 40 }.to_frame().repeat(4);
    let sent = match n % 8 {
        2 => Ok(()),                                                       // quiet
        3 => stream.write_all(&Message::Ping(1).to_frame()[..15]),         // in the middle of a small frame
        4 => stream.write_all(&large),                                     // in the middle of a large one
        5 => stream.write_all(&everything),                                // never reading what it asked for
        6 => stream.write_all(&Message::Ping(1).to_frame().repeat(2_000)), // nor its pongs
        _ => stream.write_all(&[everything, large].concat()),              // both
    };
    sent.expect("it listens");
    stream
}

/// Goal: the first SIGTERM or SIGINT ends a node in order with exit code 0, however many peers are in the
/// middle of something. Method: 32 connections in eight states that neither read nor close; the time that
/// the end takes is printed.
#[test]
#[cfg(unix)]
fn a_signal_ends_a_node_among_32_peers() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let params = Arc::new(Params::regtest());
    let tip = generate(&data, &params);
    for signal in ["TERM", "INT"] {
        let port = free_port();
        let mut process =
            Process::daemon(&data, port, &["--network", "regtest", "--no-seeds", "--mine", "--log", "debug"]);
        process.wait_for("listening");
        let peers: Vec<TcpStream> = (0..32).map(|n| peer(n, port, &params, tip)).collect();
        process.wait_for("(peers=24)");
        let asked = Instant::now();
        process.signal(signal);
        let status = process.wait();
        println!("{signal}: ended after {:?} with {} connections", asked.elapsed(), peers.len());
        assert!(status.success(), "{signal}: {status}\n{}", process.seen.join("\n"));
        assert!(process.seen.iter().any(|line| line.contains("stopped at height")), "{}", process.seen.join("\n"));
        drop(peers);
    }
}
