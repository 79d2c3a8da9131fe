//! `kill -9` at any moment is a supported way to stop: nothing that was told to be durable is lost.
//!
//! Each test prints what the killed were at. `KILLS=1000` kills so many, among them at least a hundred in recovery;
//! `make power` does.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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

/// What a process was at when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It had not begun to open its files, or it founded them.
    Beginning,
    /// It was opening what an earlier death had left.
    Recovery,
    Mining,
    /// It was fetching the chain that won in the end.
    Sync,
    /// It had seen that another branch is heavier than its own, and was still on its own.
    Reorganisation,
    /// It had nothing left to do.
    Rest,
}

/// How often processes were killed at what.
#[derive(Debug, Default)]
struct Deaths(BTreeMap<Phase, u64>);

impl Deaths {
    fn count(&mut self, phase: Phase) {
        *self.0.entry(phase).or_default() += 1;
    }

    fn of(&self, phase: Phase) -> u64 {
        self.0.get(&phase).copied().unwrap_or_default()
    }

    fn sum(&self) -> u64 {
        self.0.values().sum()
    }

    /// Prints them; there must be some of each of these, and in a long run some in recovery.
    fn judge(&self, story: &str, phases: &[Phase]) {
        println!("{story}: {} kills, {:?}", self.sum(), self.0);
        for &phase in phases {
            assert!(self.of(phase) > 0, "{story}: nobody was killed in {phase:?}");
        }
        if let Some(asked) = asked() {
            assert!(self.of(Phase::Recovery) >= asked / RECOVERY_PART / STORIES, "{story}: too few in recovery");
        }
    }
}

/// How many are to be killed in all three stories, if anybody says.
fn asked() -> Option<u64> {
    std::env::var("KILLS").ok().map(|number| number.parse().expect("KILLS is a number"))
}

/// What one story does of what was asked for, or its own measure.
fn kills_or(plain: u64) -> u64 {
    asked().map_or(plain, |kills| kills.div_ceil(STORIES))
}

const STORIES: u64 = 3;
/// Of so many kills one must fall into a recovery, of so many lives one is meant to end there.
const RECOVERY_PART: u64 = 10;
const RECOVERY_EACH: u64 = 3;

/// A moment of death somewhere between two lines, whose distance is found out.
struct Aim {
    from: &'static str,
    to: &'static str,
    window_us: usize,
}

impl Aim {
    fn at_recovery() -> Self {
        Self { from: OPENS, to: OPENED, window_us: 5_000 }
    }

    fn at_reorganisation() -> Self {
        Self { from: HEAVIER, to: "reorganised", window_us: 50_000 }
    }

    /// Waits for the first line, and a moment more.
    fn kill(&mut self, mut process: Process, rng: &mut Rng) -> Vec<String> {
        process.wait_for(self.from);
        // The moment of death, and nothing that is waited for.
        std::thread::sleep(Duration::from_micros(rng.below(self.window_us) as u64));
        let lines = process.kill();
        let was_late = lines.iter().any(|line| line.contains(self.to));
        self.window_us = if was_late { self.window_us / 2 } else { self.window_us * 3 / 2 }.clamp(100, 100_000);
        lines
    }
}

/// The last line before the files are opened, and the first after it.
const OPENS: &str = "at most";
const OPENED: &str = "opened at height";
/// The line that begins a reorganisation.
const HEAVIER: &str = "has shown a heavier branch";

/// How many lives one directory sees.
const LIVES_MINING: u64 = 50;

/// Goal: a mining process that is killed again and again starts again each time and has every block that it
/// reported as durable. Method: one directory, fifty lives, each killed after a few more durable lines, and some
/// while they recover; the file is read beside the process's remains.
#[test]
fn kills_while_mining_lose_nothing_that_was_durable() {
    let mut deaths = Deaths::default();
    while deaths.sum() < kills_or(LIVES_MINING) {
        mine_and_die(&mut deaths);
    }
    deaths.judge("mining", &[Phase::Mining]);
}

fn mine_and_die(deaths: &mut Deaths) {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = dir.path().join("quick.json");
    std::fs::write(&spec, serde_json::to_string(&quick()).expect("plain data")).expect("written");
    let params = Params::new(quick()).expect("a sound spec");
    let data = dir.path().join("data");
    let mut known = (0, params.genesis_id());
    let (mut rng, mut recovery) = (Rng::new(deaths.sum()), Aim::at_recovery());
    for life in 0..LIVES_MINING {
        let more = ["--network", spec.to_str().expect("plain"), "--mine", "--mining-threads", "1"];
        let mut process = Process::daemon(&data, free_port(), &more);
        let is_short = life % RECOVERY_EACH == 1;
        let lines = if is_short {
            recovery.kill(process, &mut rng)
        } else {
            // Each life dies at another point of its day.
            for _ in 0..=life % 4 {
                process.wait_for("durable height=");
            }
            process.kill()
        };
        let has_opened = lines.iter().any(|line| line.contains(OPENED));
        deaths.count(if has_opened { Phase::Mining } else { Phase::Recovery });
        let latest = lines.iter().filter_map(|line| durable(line)).max_by_key(|(height, _)| *height);
        let latest = latest.or(is_short.then_some(known)).expect("waited for");
        assert!(is_short || latest.0 > known.0, "life {life} goes on where the last ended: {latest:?} after {known:?}");
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
const LIVES: u64 = 10;
/// How often each story is told at least, with other moments of death.
const ROUNDS: u64 = 3;

/// Nodes that serve a node that dies, and the chain that wins.
struct Servers {
    _running: Vec<Process>,
    /// The node's options.
    options: Vec<String>,
    /// Each block of the winning chain, the last one last.
    winning: Vec<Hash>,
}

impl Servers {
    /// One node for each of these directories; the first has the chain that wins.
    fn start(directories: &[PathBuf]) -> Self {
        let params = Params::regtest();
        let (store, _) = PersistentBlockchain::open_read_only(&directories[0], &params, &mut |_, _| {}).expect("whole");
        let reader = store.reader();
        let heights = 0..=reader.tip().header.height;
        let id_at = |height| store.meta(reader.record_at(height).expect("below the tip")).expect("no damage").id;
        let winning = heights.map(id_at).collect();
        let mut options = ["--network", "regtest", "--no-seeds"].map(String::from).to_vec();
        let mut start = |directory: &PathBuf| {
            let port = free_port();
            options.extend(["--peer".to_owned(), format!("127.0.0.1:{port}")]);
            let mut server = Process::daemon(directory, port, &["--network", "regtest", "--no-seeds"]);
            server.wait_for("listening");
            server
        };
        let running = directories.iter().map(&mut start).collect();
        Self { _running: running, options, winning }
    }

    fn goal(&self) -> Hash {
        *self.winning.last().expect("genesis at least")
    }

    /// A node that dials them all.
    fn dial(&self, data: &Path) -> Process {
        Process::daemon(data, free_port(), &self.options.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a node was at when it was killed.
    fn phase_of(&self, lines: &[String], had_files: bool, tip: Hash) -> Phase {
        let has_said = |what| lines.iter().any(|line| line.contains(what));
        match tip {
            _ if has_said(OPENS) && !has_said(OPENED) && had_files => Phase::Recovery,
            _ if !has_said(OPENED) => Phase::Beginning,
            tip if tip == self.goal() => Phase::Rest,
            tip if !self.winning.contains(&tip) && has_said(HEAVIER) => Phase::Reorganisation,
            _ if has_said(" connected to ") => Phase::Sync,
            _ => Phase::Beginning,
        }
    }
}

/// A copy of a node's files while it does not run.
fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("there") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("room");
    }
    to.to_owned()
}

/// Lives and deaths of a node until it has the tip that wins, and one more in peace. It may begin on a branch that
/// loses.
fn die_until(data: &Path, servers: &Servers, is_on_loser: bool, seed: u64, deaths: &mut Deaths) {
    let goal = servers.goal();
    let (mut rng, mut recovery, mut reorganisation) = (Rng::new(seed), Aim::at_recovery(), Aim::at_reorganisation());
    let (mut is_on_loser, mut is_there) = (is_on_loser, false);
    let mut told = BTreeSet::new();
    let is_founded = || data.join("blocks.dat").exists();
    for life in 0..LIVES {
        let had_files = is_founded();
        let process = servers.dial(data);
        let lines = match life % RECOVERY_EACH {
            0 if is_on_loser => reorganisation.kill(process, &mut rng),
            _ if is_there => recovery.kill(process, &mut rng),
            1 if had_files => recovery.kill(process, &mut rng),
            _ => {
                // The moment of death, and nothing that is waited for: most lives end in the middle of something.
                std::thread::sleep(Duration::from_millis(rng.below(MOMENT_MS) as u64));
                process.kill()
            }
        };
        told.extend(lines.iter().filter_map(|line| durable(line)));
        if !is_founded() {
            deaths.count(Phase::Beginning);
            continue;
        }
        let tip = look_at(data, &told, &format!("seed {seed}, life {life}"));
        let phase = servers.phase_of(&lines, had_files, tip);
        deaths.count(phase);
        is_on_loser = !servers.winning.contains(&tip);
        // One that has it all has nothing else to die in.
        is_there = tip == goal;
    }
    let mut process = servers.dial(data);
    process.wait_for("listening");
    if look_at(data, &told, "before the last life") != goal {
        while durable(&process.wait_for(&format!("hash={goal}"))).is_none() {}
    }
    let lines = process.kill();
    deaths.count(Phase::Rest);
    told.extend(lines.iter().filter_map(|line| durable(line)));
    assert_eq!(look_at(data, &told, "the end"), goal);
    // What was told and is of the winning branch is on it.
    let (store, _) = PersistentBlockchain::open_read_only(data, &Params::regtest(), &mut |_, _| {}).expect("it opens");
    let meta = |id: &Hash| store.find_meta(id).expect("no damage").expect("looked at");
    let on_branch = told.iter().filter(|(_, id)| store.reader().is_active(&meta(id))).count();
    println!("seed {seed}: {} blocks were told to be durable, {on_branch} of them on the winning branch", told.len());
    verify(data);
}

/// Tells a story until enough were killed in it.
fn until_enough(mut round: impl FnMut(u64, &mut Deaths)) -> Deaths {
    let mut deaths = Deaths::default();
    let enough = kills_or(0);
    for seed in 0.. {
        if seed >= ROUNDS && deaths.sum() >= enough {
            break;
        }
        round(seed, &mut deaths);
    }
    deaths
}

/// Goal: a node that is killed again and again while it fetches a chain from its peers keeps every block
/// that it called durable, and gets there in the end. Method: three peers, 40,000 blocks; seeded moments of death.
#[test]
fn kills_during_a_sync_lose_nothing_that_was_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = dir.path().join("first");
    generate(&first, 40_000, 1);
    let others = ["second", "third"].map(|name| copy(&first, &dir.path().join(name)));
    let servers = Servers::start(&[&[first][..], &others].concat());
    let deaths = until_enough(|seed, deaths| {
        let data = dir.path().join(format!("data-{seed}"));
        die_until(&data, &servers, false, 5_190 + seed, deaths);
        std::fs::remove_dir_all(data).expect("no longer used");
    });
    deaths.judge("sync", &[Phase::Sync]);
}

/// Goal: the same in the middle of a reorganisation: what was durable on the branch that lost is still in
/// the file, and the winning branch is taken. Method: the node has 6,000 blocks of its own when it meets a peer with
/// 7,500 others and two with 9,000 others again.
#[test]
fn kills_during_a_reorganisation_lose_nothing_that_was_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, third) = (dir.path().join("first"), dir.path().join("third"));
    generate(&first, 9_000, 1);
    generate(&third, 7_500, 9);
    let second = copy(&first, &dir.path().join("second"));
    let servers = Servers::start(&[first, second, third]);
    let deaths = until_enough(|seed, deaths| {
        let data = dir.path().join(format!("data-{seed}"));
        let own = generate(&data, 6_000, 10 + seed);
        die_until(&data, &servers, true, 6_190 + seed, deaths);
        look_at(&data, &BTreeSet::from([(6_000, own)]), "after all");
        std::fs::remove_dir_all(data).expect("no longer used");
    });
    deaths.judge("reorganisation", &[Phase::Reorganisation]);
}
