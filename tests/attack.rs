//! A real process among hostile peers: it stays within its caps, and an honest peer is served.

mod common;

use std::sync::Arc;

use common::hostile::{Crowd, greeted, ping};
use common::process::{Process, free_port, spindle};
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::PersistentBlockchain;

/// What all caps together may come to, in KiB (DESIGN.md, Limits).
const CAPS_KIB: u64 = 160 << 10;

/// Goal: 32 hostile peers neither push the process over its caps nor keep an honest peer from its pongs,
/// and when they are gone nothing of them is left. Method: a chain of 3,000 blocks to hoard, eight ways
/// to misbehave, a hundred pings in between; peak memory and the slowest pong are printed.
#[test]
fn hostile_crowd_stays_within_the_caps() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let generated = spindle()
        .args(["chain", "generate", "--network", "regtest", "--blocks", "3000", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary runs");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    let params = Arc::new(Params::regtest());
    let tip = {
        let (store, _) = PersistentBlockchain::open_read_only(&data, &params, &mut |_, _| {}).expect("it opens");
        store.reader().tip().id
    };
    let port = free_port();
    let more = ["--network", "regtest", "--no-seeds", "--max-inbound", "40"];
    let mut process = Process::daemon(&data, port, &more);
    process.wait_for("listening");
    let mut honest = greeted(port, &params, 1).expect("there is room");
    ping(&mut honest, 1).expect("it answers");
    let threads = process.threads();
    let crowd = Crowd::gather(port, &params, tip, 32);
    let mut pongs: Vec<_> = (0..100)
        .map(|nonce| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            ping(&mut honest, 5_000_000 + nonce).expect("an honest peer is never cut")
        })
        .collect();
    let peak_kib = process.status("VmHWM");
    crowd.disperse();
    pongs.sort_unstable();
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
