//! Runs a story in many schedules: half of them at random, half by probabilistic concurrency testing (PCT), which
//! finds a bug that takes few untimely switches with a known chance.
//!
//! `SCHEDULES=100000` explores as many of each story, `SEED=7` others. A failure names the file that has its schedule;
//! `SCHEDULE=FILE` shows that one again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use real_std::io::{self, Write};
use real_std::sync::Once;
use real_std::time::Instant;
use real_std::{env, panic};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::model::thread::STACK_BYTES;
use crate::model::weave::{World, begin, end};

/// Schedules of each story when nobody says how many.
const SCHEDULES: u64 = 400;
/// Steps of a schedule that goes round in circles.
const STEPS_MAX: usize = 200_000;
/// Untimely switches.
const DEPTH: usize = 4;

/// What a story begins with unless it says otherwise.
pub(crate) fn calm() -> World {
    World { socket_bytes: 1 << 20, ..World::default() }
}

thread_local! {
    /// The story that is being explored, and how many schedules of it there were.
    static NOW: Cell<(&'static str, usize)> = const { Cell::new(("", 0)) };
    static SEEN: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// One more schedule has come to this, which not every one does: printed at the end, so that a story that explores
/// nothing shows.
pub(crate) fn seen(what: &'static str) {
    SEEN.with_borrow_mut(|seen| *seen.entry(what).or_default() += 1);
}

/// Runs a story in as many schedules as are asked for. It panics with what went wrong and how to see it again.
pub(crate) fn explore(name: &'static str, world: fn() -> World, story: impl Fn() + Clone + Send + Sync + 'static) {
    let (schedules, seed) = (number("SCHEDULES", SCHEDULES), number("SEED", 0));
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let story = story.clone();
        Runner::new(scheduler, config()).run(move || {
            NOW.set((name, NOW.get().1 + 1));
            begin(world());
            story();
        })
    };
    show_failures();
    let began = Instant::now();
    if let Ok(schedule) = env::var("SCHEDULE") {
        run(Box::new(ReplayScheduler::new_from_file(schedule).expect("a schedule")));
    } else {
        let half = usize::try_from(schedules).expect("not so many") / 2;
        run(Box::new(RandomScheduler::new_from_seed(seed, half)));
        run(Box::new(PctScheduler::new_from_seed(seed, DEPTH, half)));
    }
    end();
    NOW.set(("", 0));
    let seen: Vec<String> = SEEN.take().iter().map(|(what, count)| format!(", {count} {what}")).collect();
    println!("{name}: {schedules} schedules in {:.1?}{}", began.elapsed(), seen.concat());
}

/// Failures go to the terminal at once, since what a test has printed is lost if a destructor cannot end after one.
fn show_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // What it fails in may hold the world: only this may be asked.
            let (name, number) = NOW.get();
            if number > 0 {
                // Nobody may read it.
                let _ = writeln!(io::stderr(), "{name}, schedule {number}: {info}");
            }
            hook(info);
        }));
    });
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = FailurePersistence::File(Some(env::temp_dir()));
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // All atomics are of one order here; the module says so.
    config.silence_warnings = true;
    config
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}
