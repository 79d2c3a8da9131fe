//! `kill -9` at any moment is a supported way to stop: nothing that was told to be durable is lost.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::process::{Process, free_port, spindle};
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::blockchain::storage::PersistentBlockchain;
use spindle::primitives::hash::Hash;
use spindle::primitives::rng::Rng;

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

/// Makes a regtest chain of so many blocks that pay this key; gives its tip.
fn generate(data: &Path, blocks: u64, key: u64) -> Hash {
    let key = common::secret(key).public().to_string();
    let blocks = blocks.to_string();
    let mut command = spindle();
    command.args(["chain", "generate", "--blocks", &blocks, "--mine-to", &key, "--data-dir"]).arg(data);
    let made = command.output().expect("the binary runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (store, _) = PersistentBlockchain::open_read_only(data, &Params::regtest(), &mut |_, _| {}).expect("it opens");
    store.reader().tip().id
}

/// What is left of a killed node: every block that it ever called durable is in the file, at its height
/// and whole. Gives the tip.
fn look_at(data: &Path, durable: &BTreeSet<(u64, Hash)>, life: &str) -> Hash {
    let (store, _) = PersistentBlockchain::open_read_only(data, &Params::regtest(), &mut |_, _| {}).expect("it opens");
    for (height, id) in durable {
        let meta = store.find_meta(id).expect("no damage").unwrap_or_else(|| panic!("{life}: {height} {id} is lost"));
        assert_eq!(meta.header.height, *height, "{life}");
        store.block(meta.record).expect("no damage");
    }
    store.reader().tip().id
}

/// The whole file, judged anew from genesis.
fn verify(data: &Path) {
    let verified = spindle().args(["chain", "verify", "--data-dir"]).arg(data).output().expect("the binary runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A life ends within this: a sync of these chains takes longer, so most end in the middle of it.
const MOMENT_MS: usize = 250;
/// Lives before the one that is left in peace.
const LIVES: u64 = 8;
/// How often each story is told, with other moments of death.
const ROUNDS: u64 = 3;

/// Lives and deaths of a node until it has the tip of the peer that it dials, and one more in peace.
fn die_until(data: &Path, server: u16, goal: Hash, seed: u64) {
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut told = BTreeSet::new();
    let peer = format!("127.0.0.1:{server}");
    let more = ["--network", "regtest", "--no-seeds", "--peer", &peer];
    for life in 0..LIVES {
        let process = Process::daemon(data, free_port(), &more);
        // The moment of death, and nothing that is waited for: most lives end in the middle of something.
        let ms = rng.below(MOMENT_MS) as u64;
        std::thread::sleep(Duration::from_millis(ms));
        let lines = process.kill();
        told.extend(lines.iter().filter_map(|line| durable(line)));
        let life = format!("life {life} of {ms} ms");
        if !data.join("blocks.dat").exists() {
            continue;
        }
        if look_at(data, &told, &life) == goal {
            println!("{life}: at the goal");
            break;
        }
    }
    let mut process = Process::daemon(data, free_port(), &more);
    process.wait_for("listening");
    if look_at(data, &told, "before the last life") != goal {
        while durable(&process.wait_for(&format!("hash={goal}"))).is_none() {}
    }
    let lines = process.kill();
    told.extend(lines.iter().filter_map(|line| durable(line)));
    assert_eq!(look_at(data, &told, "the end"), goal);
    // What was told and is of the winning branch is on it.
    let (store, _) = PersistentBlockchain::open_read_only(data, &Params::regtest(), &mut |_, _| {}).expect("it opens");
    let meta = |id: &Hash| store.find_meta(id).expect("no damage").expect("looked at");
    let on_branch = told.iter().filter(|(_, id)| store.reader().is_active(&meta(id))).count();
    println!("seed {seed}: {} blocks were told to be durable, {on_branch} of them on the winning branch", told.len());
    verify(data);
}

/// Goal: a node that is killed again and again while it fetches a chain from a peer keeps every block
/// that it called durable, and gets there in the end. Method: 40,000 blocks; seeded moments of death.
#[test]
fn kills_during_a_sync_lose_nothing_that_was_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let (served, port) = (dir.path().join("served"), free_port());
    let goal = generate(&served, 40_000, 1);
    let mut server = Process::daemon(&served, port, &["--network", "regtest", "--no-seeds"]);
    server.wait_for("listening");
    for seed in 0..ROUNDS {
        die_until(&dir.path().join(format!("data-{seed}")), port, goal, 5_190 + seed);
    }
}

/// Goal: the same in the middle of a reorganisation: what was durable on the branch that lost is still in
/// the file, and the winning branch is taken. Method: the node has 6,000 blocks of its own when it meets a peer with
/// 9,000 others.
#[test]
fn kills_during_a_reorganisation_lose_nothing_that_was_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let (served, port) = (dir.path().join("served"), free_port());
    let goal = generate(&served, 9_000, 1);
    let mut server = Process::daemon(&served, port, &["--network", "regtest", "--no-seeds"]);
    server.wait_for("listening");
    for seed in 0..ROUNDS {
        let data = dir.path().join(format!("data-{seed}"));
        let own = generate(&data, 6_000, 2 + seed);
        die_until(&data, port, goal, 6_190 + seed);
        look_at(&data, &BTreeSet::from([(6_000, own)]), "after all");
    }
}
