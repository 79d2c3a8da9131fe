//! What the page weighs, and how soon it shows a block.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::figures::Figure;
use crate::process::{Daemon, chain_of};

/// Bytes of the page's whole answer, head and body: it fetches nothing else but figures.
fn weight_bytes() -> usize {
    let node = Daemon::start(9801, &chain_of(20_000), &[]);
    node.wait_for("rpc on");
    let mut stream = TcpStream::connect("127.0.0.1:10801").expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:10801\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    answer.len()
}

/// What the page's own test says, in a real browser; where there is none, why not.
fn block_to_picture() -> String {
    let run = Command::new("tests/page/run.sh").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let said = run.map_or_else(|error| error.to_string(), |run| String::from_utf8_lossy(&run.stderr).into_owned());
    let found = said.lines().find_map(|line| line.split_once("block to picture: "));
    let missing = || format!("not measured: {}", said.lines().last().unwrap_or("it said nothing"));
    found.map_or_else(missing, |(_, figures)| figures.to_owned())
}

pub(crate) fn figures() -> Vec<Figure> {
    vec![
        Figure {
            what: "the page's whole weight",
            must: "100 kB",
            aim: "40 kB",
            measured: format!("{:.1} kB", weight_bytes() as f64 / 1_000.0),
        },
        Figure {
            what: "from a block's acceptance to its picture on an open page (Chromium without a screen)",
            must: "1 s",
            aim: "500 ms",
            measured: block_to_picture(),
        },
    ]
}
