//! Many drawn stories, on every core, until one fails.
//!
//! A failure too: when of many stories some kind of trouble never came, and when the same seed twice is not the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::simulate::failed;
use crate::primitives::thread::{STACK_LARGE_BYTES, caught, spawn};
use crate::primitives::time::Clock;
use crate::simulator::judge::Violation;
use crate::simulator::reached::Reached;
use crate::simulator::story::Story;
use crate::simulator::world::{self, Outcome};

/// After so many drawn stories each kind of trouble, vice and effect must have been there.
const ENOUGH_SEEDS: u64 = 200;
/// One story of so many is told twice.
const TWICE_EVERY: u64 = 50;

/// What many runs came to.
#[derive(Debug, Serialize)]
struct Soaked {
    first_seed: u64,
    seeds: u64,
    seeds_per_minute: u64,
    crashes: u64,
    reorganisations: u64,
    blamed: u64,
    /// Stories that were told twice, and were the same.
    repeated: u64,
    /// What came to pass in all of them, and what did not although it should.
    reached: Reached,
    missing: Vec<&'static str>,
    /// The first seed that fails, and how.
    failed: BTreeMap<u64, Violation>,
}

/// Runs so many, from `first_seed` on.
pub(super) fn run(first_seed: u64, seeds: u64, json: bool) -> Result<(), Failure> {
    let work = Arc::new(Work { first_seed, seeds, ..Work::default() });
    let clock = Clock::start();
    let mut threads = Vec::new();
    for n in 0..available_parallelism().map_or(1, usize::from) {
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
    let Sums { crashes, reorganisations, blamed, repeated, reached, failed } = std::mem::take(&mut *work.sums.lock());
    let missing = if seeds >= ENOUGH_SEEDS { reached.missing() } else { Vec::new() };
    let seeds_per_minute = done * 60_000 / clock.now().mono.0.max(1);
    let soaked = Soaked {
        first_seed,
        seeds: done,
        seeds_per_minute,
        crashes,
        reorganisations,
        blamed,
        repeated,
        reached,
        missing,
        failed: failed.into_iter().collect(),
    };
    tell(&soaked, json)
}

fn tell(soaked: &Soaked, json: bool) -> Result<(), Failure> {
    let Soaked { first_seed, seeds, seeds_per_minute, crashes, reorganisations, blamed, repeated, .. } = soaked;
    if json {
        output::say_json(soaked)?;
    }
    if let Some((seed, violation)) = soaked.failed.first_key_value() {
        if !json {
            output::remark(&format!("{seeds} seeds, {seeds_per_minute} a minute; seed {seed} is the first that fails"));
        }
        let again = format!("spindle simulate --draw --seed {seed} --trace FILE");
        return Err(failed(*seed, violation, &again));
    }
    if !soaked.missing.is_empty() {
        let missing = soaked.missing.join(", ");
        return Err(Failure::world(format!("{seeds} seeds prove too little, since these never came: {missing}")));
    }
    if json {
        return Ok(());
    }
    output::say(&format!(
        "{seeds} seeds from {first_seed} on are clean ({seeds_per_minute} a minute): {crashes} crashes, {reorganisations} \
         reorganisations, {blamed} connections ended for a fault; {repeated} seeds gave the same twice"
    ))
}

/// What threads share that run seeds.
#[derive(Debug, Default)]
struct Work {
    first_seed: u64,
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
    repeated: u64,
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
            let seed = self.first_seed.wrapping_add(place);
            let outcome = told(seed);
            let again = (place % TWICE_EVERY == TWICE_EVERY - 1).then(|| told(seed));
            self.done.fetch_add(1, Ordering::Relaxed);
            self.add(seed, outcome, again);
        }
        "a seed has failed"
    }

    fn add(&self, seed: u64, outcome: Result<Outcome, String>, again: Option<Result<Outcome, String>>) {
        let mut sums = self.sums.lock();
        sums.repeated += u64::from(again.is_some());
        let violation = match (outcome, again) {
            (Ok(first), Some(Ok(second))) if first.figures != second.figures => Some(Violation::of_simulator(
                &format!("the same seed came to trace {} and to trace {}", first.figures.trace, second.figures.trace),
            )),
            (Ok(Outcome { figures, violation, .. }), _) => {
                sums.crashes += figures.crashes;
                sums.reorganisations += figures.reorganisations;
                sums.blamed += figures.blamed;
                sums.reached.extend(&figures.reached);
                violation
            }
            (Err(panic), _) => Some(Violation::of_simulator(&panic)),
        };
        let Some(violation) = violation else { return };
        self.is_over.store(true, Ordering::Relaxed);
        if sums.failed.as_ref().is_none_or(|(other, _)| seed < *other) {
            sums.failed = Some((seed, violation));
        }
    }
}

/// A drawn story, or the panic in which it ended.
fn told(seed: u64) -> Result<Outcome, String> {
    caught(|| world::run(Story::of_seed(seed), None, &mut |_| {}).expect("nothing is written"))
}
