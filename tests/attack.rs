//! A real process among hostile peers: it stays within its caps, and an honest peer is served.

mod common;

use std::sync::Arc;

use common::chains::add_large_blocks;
use common::hostile::{Crowd, greeted, ping};
use common::process::{Process, free_port, spindle};
use spindle::blockchain::params::Params;

/// What all caps together may come to, in KiB (DESIGN.md, Limits).
const CAPS_KIB: u64 = 160 << 10;

/// Goal: 33 hostile peers neither push the process over its caps nor keep an honest peer from its pongs,
/// and when they are gone nothing of them is left. Method: a chain to hoard whose last blocks are large,
/// ten ways to misbehave (one of them the headers of a heavier chain, and a mebibyte for its first body), a hundred pings in between; peak memory and the slowest pong are printed.
#[test]
fn hostile_crowd_stays_within_the_caps() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let generated = spindle()
        .args(["chain", "generate", "--network", "regtest", "--blocks", "1000", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary runs");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    let params = Arc::new(Params::regtest());
    let tip = add_large_blocks(&data, &params, 20);
    let port = free_port();
    let more = ["--network", "regtest", "--no-seeds", "--max-inbound", "40"];
    let mut process = Process::daemon(&data, port, &more);
    process.wait_for("listening");
    let mut honest = greeted(port, &params, 1).expect("there is room");
    ping(&mut honest, 1).expect("it answers");
    let threads = process.threads();
    let crowd = Crowd::gather(port, &params, tip, 33);
    let mut pongs: Vec<_> = (0..100)
        .map(|nonce| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            ping(&mut honest, 5_000_000 + nonce).expect("an honest peer is never cut")
        })
        .collect();
    let peak_kib = process.status("VmHWM");
    crowd.disperse();
    pongs.sort_unstable();
    let bodies = common::hostile::bodies_begun();
    println!("{bodies} bodies of a mebibyte were asked of liars");
    assert!(bodies > 0, "the headers of the heavier chain were believed, as they are valid");
    println!("peak RSS {} MiB; slowest of 100 pongs {:?}, median {:?}", peak_kib >> 10, pongs[99], pongs[50]);
    assert!(peak_kib < CAPS_KIB, "{peak_kib} KiB");
    // Silent ones go at their deadlines; nothing else is awaited here than that they are gone.
    let gone = (0..400).find(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        process.threads().len() <= threads.len()
    });
    assert!(gone.is_some(), "{:?} are left, {threads:?} were there before", process.threads());
    drop(honest);
    process.signal("TERM");
    assert!(process.wait().success(), "{}", process.seen.join("\n"));
}
