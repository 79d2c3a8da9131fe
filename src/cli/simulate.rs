//! `spindle simulate`: a whole network in this one process, in virtual time; the same again for the same seed.
//!
//! One run prints a line each virtual minute and its figures at the end. With `--seeds` it runs many stories,
//! everything drawn from the seed of each, on every core, and stops at the first in which something is that must
//! never be, with the command that shows it again. Many in which some kind of trouble never came are a failure too.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use argh::FromArgs;
use parking_lot::Mutex;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::values;
use crate::primitives::thread::{STACK_LARGE_BYTES, caught, spawn};
use crate::primitives::time::Clock;
use crate::simulator::judge::Violation;
use crate::simulator::reached::Reached;
use crate::simulator::story::{Faults, Story};
use crate::simulator::vice::Kind;
use crate::simulator::world::{self, Outcome};

/// simulate a network in virtual time: every run can be repeated
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "simulate")]
pub struct SimulateCommand {
    /// from which all chance follows [1]
    #[argh(option, default = "1", from_str_fn(seed))]
    seed: u64,
    /// how many honest nodes [8]
    #[argh(option, default = "8", from_str_fn(nodes))]
    nodes: usize,
    /// virtual minutes, before the calm in which all must agree [60]
    #[argh(option, default = "60", from_str_fn(minutes))]
    minutes: u64,
    /// payments an hour [2000]
    #[argh(option, default = "2000", from_str_fn(payments))]
    payments: u64,
    /// coins that a payment spends at the most: with 40000 payments of 16 blocks are full [1]
    #[argh(option, default = "1", from_str_fn(coins))]
    coins: usize,
    /// how many nodes cheat, each in a way of its own [0]
    #[argh(option, default = "0", from_str_fn(byzantine))]
    byzantine: usize,
    /// how many packets are lost and sent again, such as 2% or 0.5% [0%]
    #[argh(option, default = "0", from_str_fn(loss))]
    loss: u32,
    /// the network falls apart now and then
    #[argh(switch)]
    partition: bool,
    /// connections break and stall now and then
    #[argh(switch)]
    reset: bool,
    /// processes are killed and power fails, also between two calls to the disk
    #[argh(switch)]
    crash: bool,
    /// disks fail, and are full for a while
    #[argh(switch)]
    disks: bool,
    /// clocks are set wrong
    #[argh(switch)]
    clocks: bool,
    /// draw the whole story from the seed, as --seeds does; only --seed, --trace and --json are looked at
    #[argh(switch)]
    draw: bool,
    /// run so many drawn stories, from --seed on, until one fails
    #[argh(option, from_str_fn(seeds))]
    seeds: Option<u64>,
    /// write a line for each thing that happens
    #[argh(option)]
    trace: Option<PathBuf>,
    /// print the figures as JSON, and nothing else
    #[argh(switch)]
    json: bool,
}

fn seed(text: &str) -> Result<u64, String> {
    values::number(text, 0..=u64::MAX, "0 to 18446744073709551615 are allowed")
}

fn nodes(text: &str) -> Result<usize, String> {
    values::count(text, 1..=10_000, "1 to 10000 are allowed")
}

fn minutes(text: &str) -> Result<u64, String> {
    values::number(text, 1..=100_000, "1 to 100000 are allowed")
}

fn payments(text: &str) -> Result<u64, String> {
    values::number(text, 0..=1_000_000, "0 to 1000000 are allowed")
}

fn coins(text: &str) -> Result<usize, String> {
    values::count(text, 1..=100, "1 to 100 are allowed")
}

fn byzantine(text: &str) -> Result<usize, String> {
    values::count(text, 0..=1_000, "0 to 1000 are allowed")
}

fn seeds(text: &str) -> Result<u64, String> {
    values::number(text, 1..=1_000_000_000, "1 to 1000000000 are allowed")
}

/// Per mille of a share in percent with at most one place behind the point.
fn loss(text: &str) -> Result<u32, String> {
    const FORM: &str = "a share from 0% to 50% is needed, such as 2% or 0.5%";
    let number = text.strip_suffix('%').ok_or_else(|| format!("has no `%`; {FORM}"))?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let whole = values::number(whole, 0..=50, FORM)?;
    let tenth = values::number(tenth, 0..=9, FORM)?;
    u32::try_from(10 * whole + tenth)
        .ok()
        .filter(|permille| *permille <= 500)
        .ok_or_else(|| format!("is too large; {FORM}"))
}

/// What many runs came to.
#[derive(Debug, Serialize)]
struct Soaked {
    first_seed: u64,
    seeds: u64,
    seeds_per_minute: u64,
    crashes: u64,
    reorganisations: u64,
    blamed: u64,
    /// What came to pass in all of them, and what did not.
    reached: Reached,
    missing: Vec<&'static str>,
}

/// After so many drawn stories each kind of trouble, vice and effect must have been there.
const ENOUGH_SEEDS: u64 = 200;

impl SimulateCommand {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self.seeds {
            Some(seeds) => self.soak(seeds),
            None => self.tell(),
        }
    }

    fn story(&self) -> Story {
        if self.draw {
            return Story::of_seed(self.seed);
        }
        let faults = Faults {
            loss_permille: self.loss,
            shreds: self.loss > 0,
            partitions: self.partition,
            resets: self.reset,
            stalls: self.reset,
            crashes: self.crash,
            torn: self.crash,
            disks: self.disks,
            clocks: self.clocks,
        };
        let byzantine = Kind::ALL.iter().copied().cycle().take(self.byzantine).collect();
        let (payments_per_hour, coins_per_payment) = (self.payments, self.coins);
        Story {
            byzantine,
            faults,
            payments_per_hour,
            coins_per_payment,
            ..Story::calm(self.seed, self.nodes, self.minutes)
        }
    }

    /// One run, for a person to follow.
    fn tell(&self) -> Result<(), Failure> {
        let lines = match &self.trace {
            Some(path) => {
                let cannot = |error| Failure::world(format!("cannot write `{}`: {error}", path.display()));
                Some(Box::new(BufWriter::new(File::create(path).map_err(cannot)?)) as Box<dyn Write>)
            }
            None => None,
        };
        let clock = Clock::start();
        let outcome = world::run(self.story(), lines, &mut |figures| {
            if !self.json {
                output::remark(&figures.to_string());
            }
        });
        let outcome = outcome.map_err(|error| Failure::world(format!("cannot write the trace: {error}")))?;
        if self.json {
            output::say_json(&outcome)?;
        } else {
            output::say(&summary(&outcome, clock.now().mono.0))?;
        }
        let again = if self.draw { drawn_again(self.seed) } else { "the same options with `--trace FILE`".into() };
        outcome.violation.map_or(Ok(()), |violation| Err(failed(self.seed, &violation, &again)))
    }

    /// Many runs, on every core.
    fn soak(&self, seeds: u64) -> Result<(), Failure> {
        let work = Arc::new(Work { first: self.seed, seeds, ..Work::default() });
        let clock = Clock::start();
        let cores = available_parallelism().map_or(1, usize::from);
        let mut threads = Vec::new();
        for n in 0..cores {
            let work = Arc::clone(&work);
            threads.push(spawn(format!("soak-{n}"), STACK_LARGE_BYTES, move || work.run())?);
        }
        let mut progress = Progress::new("simulating", "seeds");
        for thread in threads {
            while !thread.is_finished() {
                progress.at(work.done.load(Ordering::Relaxed), seeds);
                std::thread::park_timeout(Duration::from_millis(100));
            }
            thread.join().expect("the spawn helper catches panics");
        }
        progress.end();
        let done = work.done.load(Ordering::Relaxed);
        let seeds_per_minute = done * 60_000 / clock.now().mono.0.max(1);
        let Sums { crashes, reorganisations, blamed, reached, failed: first } = std::mem::take(&mut *work.sums.lock());
        if let Some((seed, violation)) = first {
            output::remark(&format!("{done} seeds, {seeds_per_minute} a minute; seed {seed} is the first that fails"));
            return Err(failed(seed, &violation, &drawn_again(seed)));
        }
        let (first_seed, missing) = (self.seed, reached.missing());
        if seeds >= ENOUGH_SEEDS && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Failure::world(format!("{seeds} seeds prove too little, since these never came: {missing}")));
        }
        let soaked = Soaked { first_seed, seeds, seeds_per_minute, crashes, reorganisations, blamed, reached, missing };
        if self.json {
            return output::say_json(&soaked);
        }
        output::say(&format!(
            "{seeds} seeds from {first_seed} on are clean ({seeds_per_minute} seeds a minute): {crashes} crashes, \
             {reorganisations} reorganisations, {blamed} connections ended for a fault"
        ))
    }
}

/// What threads share that run seeds.
#[derive(Debug, Default)]
struct Work {
    first: u64,
    seeds: u64,
    taken: AtomicU64,
    done: AtomicU64,
    is_over: AtomicBool,
    sums: Mutex<Sums>,
}

/// What all runs come to.
#[derive(Debug, Default)]
struct Sums {
    crashes: u64,
    reorganisations: u64,
    blamed: u64,
    reached: Reached,
    /// The first seed that fails: those before it were taken before it, and are run to their end.
    failed: Option<(u64, Violation)>,
}

impl Work {
    fn run(&self) -> &'static str {
        while !self.is_over.load(Ordering::Relaxed) {
            let place = self.taken.fetch_add(1, Ordering::Relaxed);
            if place >= self.seeds {
                return "all seeds are taken";
            }
            let seed = self.first.wrapping_add(place);
            let outcome = caught(|| world::run(Story::of_seed(seed), None, &mut |_| {}).expect("nothing is written"));
            self.done.fetch_add(1, Ordering::Relaxed);
            self.add(seed, outcome);
        }
        "a seed has failed"
    }

    fn add(&self, seed: u64, outcome: Result<Outcome, String>) {
        let mut sums = self.sums.lock();
        let violation = match outcome {
            Ok(Outcome { figures, violation, .. }) => {
                sums.crashes += figures.crashes;
                sums.reorganisations += figures.reorganisations;
                sums.blamed += figures.blamed;
                sums.reached.extend(&figures.reached);
                violation
            }
            Err(panic) => Some(Violation::of_simulator(&panic)),
        };
        let Some(violation) = violation else { return };
        self.is_over.store(true, Ordering::Relaxed);
        if sums.failed.as_ref().is_none_or(|(other, _)| seed < *other) {
            sums.failed = Some((seed, violation));
        }
    }
}

fn drawn_again(seed: u64) -> String {
    format!("`spindle simulate --draw --seed {seed} --trace FILE`")
}

fn failed(seed: u64, violation: &Violation, again: &str) -> Failure {
    Failure::world(format!("seed {seed}: {violation}; {again} shows it again"))
}

fn summary(outcome: &Outcome, elapsed_ms: u64) -> String {
    let figures = &outcome.figures;
    let speed = figures.virtual_ms / elapsed_ms.max(1);
    let mut lines = vec![
        format!(
            "{} honest nodes and {} that cheat, seed {}",
            outcome.story.nodes,
            outcome.story.byzantine.len(),
            outcome.story.seed
        ),
        format!("{} virtual minutes in {elapsed_ms} ms ({speed} times as fast)", figures.virtual_ms / 60_000),
        format!(
            "{} blocks found, height {}, {} reorganisations, the deepest of {}",
            figures.found, figures.height, figures.reorganisations, figures.deepest
        ),
        format!("a block is with {}", figures.propagation),
    ];
    if figures.full > 0 {
        lines.push(format!("{} blocks are full; one of these is with {}", figures.full, figures.propagation_full));
    }
    lines.extend([
        format!("{} payments; {} bytes on wires", figures.payments, figures.bytes),
        format!(
            "{} crashes, {} of them in the middle of a call to the disk, {} for a disk that failed; {} other troubles; {} \
             connections ended, {} for a fault",
            figures.crashes, figures.torn, figures.disk_failures, figures.troubles, figures.hang_ups, figures.blamed
        ),
        format!("{} things happened; trace {}", figures.happenings, figures.trace),
    ]);
    let verdict =
        if outcome.violation.is_none() { "all nodes agree, and nothing is wrong" } else { "something is wrong" };
    format!("{}\n{verdict}", lines.join("\n"))
}
