//! Five real processes, wires that are cut, nodes that are stopped and killed, and what the disks say at the end.
//!
//! Nodes mine and are paid through while a nemesis works from a seed: `SIGSTOP` and `SIGCONT`, `kill -9` and a new
//! start, wires cut or silent (five/net.rs, common/proxy.rs). Then all is mended, everybody must agree, and each data
//! directory is judged offline with `spindle chain verify` (five/offline.rs).
//!
//! `cargo test` does a few rounds; `make five` works for longer, with the release binary. `FIVE_ROUNDS` and
//! `FIVE_SEED` say otherwise.

mod common;
#[path = "five/nemesis.rs"]
mod nemesis;
#[path = "five/net.rs"]
mod net;
#[path = "five/node.rs"]
mod node;
#[path = "five/offline.rs"]
mod offline;
#[path = "five/purse.rs"]
mod purse;

use nemesis::Nemesis;
use net::Net;

/// Rounds when nobody says how many: each lasts until a block has come.
const ROUNDS: u64 = 3;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The whole story on wires between these nodes.
fn live_through(name: &str, wires: &[(usize, usize)], stream: u64) {
    let (rounds, seed) = (number("FIVE_ROUNDS", ROUNDS), number("FIVE_SEED", 1));
    println!("{name}: FIVE_SEED={seed} FIVE_ROUNDS={rounds}");
    let mut net = Net::start(wires);
    let mut nemesis = Nemesis::new(seed.wrapping_mul(2).wrapping_add(stream));
    for _ in 0..rounds {
        nemesis.strike(&mut net);
        net.pay_now_and_then(nemesis.chance());
        net.await_block();
    }
    net.mend();
    net.agree();
    let told = net.stop();
    offline::check(&told);
    println!("{name}: {nemesis}; {}", told.figures());
}

/// Goal: five nodes in a row agree after all that a nemesis does to them, and nothing that one of them told as durable
/// is lost. Method: the story above; only neighbours know each other.
#[test]
fn five_in_a_row_agree_in_the_end() {
    live_through("row", &[(0, 1), (1, 2), (2, 3), (3, 4)], 0);
}

/// Goal: the same in a ring, where a cut leaves another way round.
/// Method: the story above.
#[test]
fn five_in_a_ring_agree_in_the_end() {
    live_through("ring", &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)], 1);
}
