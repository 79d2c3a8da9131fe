//! `kill -9` at any moment is a supported way to stop: nothing that was told to be durable is lost.

mod common;

use std::path::Path;

use common::process::{Process, free_port};
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::blockchain::storage::PersistentBlockchain;
use spindle::primitives::hash::Hash;

/// A network on which blocks come many a second at first.
fn quick() -> NetworkSpec {
    NetworkSpec {
        name: "quick".into(),
        block_time_ms: 1_000,
        difficulty_first: 1 << 12,
        difficulty_min: 1 << 12,
        seeds: Vec::new(),
        ..Params::local().spec().clone()
    }
}

/// Height and id of a line such as `durable height=7 hash=…`.
fn durable(line: &str) -> Option<(u64, Hash)> {
    let rest = line.split("durable height=").nth(1)?;
    let (height, hash) = rest.split_once(" hash=")?;
    Some((height.parse().ok()?, hash.trim().parse().ok()?))
}

/// The block at a height of the active chain, read from its bytes as a stranger would.
fn block_at(dir: &Path, params: &Params, height: u64) -> Option<Hash> {
    let (store, _) = PersistentBlockchain::open_read_only(dir, params, &mut |_, _| {}).expect("it opens");
    let record = store.reader().record_at(height)?;
    let bytes = store.block(record).expect("no damage");
    assert_eq!(bytes.is_empty(), height == 0, "only genesis has no body");
    Some(store.meta(record).expect("no damage").id)
}

/// Goal: a mining process that is killed fifty times starts again each time and has every block that it
/// reported as durable. Method: one directory, fifty lives, each killed after a few more durable lines;
/// the file is read beside the process's remains.
#[test]
fn fifty_kills_lose_nothing_that_was_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = dir.path().join("quick.json");
    std::fs::write(&spec, serde_json::to_string(&quick()).expect("plain data")).expect("written");
    let params = Params::new(quick()).expect("a sound spec");
    let data = dir.path().join("data");
    let mut known = (0, params.genesis_id());
    for life in 0..50 {
        let more = ["--network", spec.to_str().expect("plain"), "--mine", "--mining-threads", "1"];
        let mut process = Process::daemon(&data, free_port(), &more);
        // Each life dies at another point of its day.
        for _ in 0..=life % 4 {
            process.wait_for("durable height=");
        }
        let lines = process.kill();
        let latest = lines.iter().filter_map(|line| durable(line)).max_by_key(|(height, _)| *height);
        let latest = latest.expect("waited for");
        assert!(latest.0 > known.0, "life {life} goes on where the last one ended: {latest:?} after {known:?}");
        for (height, id) in [known, latest] {
            assert_eq!(
                block_at(&data, &params, height).filter(|_| height > 0),
                (height > 0).then_some(id),
                "life {life}"
            );
        }
        known = latest;
    }
}
