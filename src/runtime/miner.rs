//! `mine-N`: nonce search on threads of its own.
//!
//! The owner lays a template on the desk and raises the epoch; a thread looks at the epoch every
//! [`CHUNK`] hashes, about a millisecond. Each has its own range of nonces. Once a second the time
//! stamp is renewed; nobody mines on a tip that is further ahead of our clock than a block may be.
//!
//! On a network without retarget (regtest) a hash costs nothing, so difficulty does not set the pace:
//! a block is found no earlier than a block time after its parent's time. `generate` is exempt: it asks
//! for blocks now.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use crate::blockchain::block::{CheckedBlock, Header};
use crate::blockchain::mining::Miner;
use crate::blockchain::params::{Params, TIME_STEP_MIN_MS};
use crate::blockchain::template::Template;
use crate::node::event::Event;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};
use crate::primitives::time::Clock;
use crate::runtime::control::Control;
use crate::runtime::handle::Queue;

/// Hashes between two looks at the epoch and at the clock.
const CHUNK: u64 = 16_384;
/// A time stamp is renewed after this.
const STAMP_MS: u64 = 1_000;
/// A found block that brings no new template is looked for again after this: it was refused.
const RETRY: Duration = Duration::from_secs(10);

/// Threads that there can be: more than any small machine has.
pub(crate) const MINING_THREADS_MAX: usize = 256;
/// The rate is what was searched in about this time.
const RATE: Duration = Duration::from_secs(5);

/// How to mine.
#[derive(Clone, Debug)]
pub(crate) struct MinerConfig {
    pub(crate) params: Arc<Params>,
    /// Threads that mine at all times; 0: only what `generate` asks for.
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
}

#[derive(Debug, Default)]
struct Desk {
    template: Option<Arc<Template>>,
    /// So many threads mine at all times.
    always: usize,
    /// Blocks that are to be found at once.
    owed: u32,
    /// When a block for this template was found.
    found: Option<Instant>,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
    /// Raised with everything that makes a search stale.
    epoch: AtomicU64,
    /// Tried by all threads together.
    hashes: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Desk)) {
        let mut desk = self.desk.lock();
        change(&mut desk);
        self.epoch.fetch_add(1, Ordering::Release);
        drop(desk);
        self.changed.notify_all();
    }
}

/// The owner's side.
#[derive(Debug)]
pub(crate) struct MinerDesk {
    shared: Arc<Shared>,
    config: MinerConfig,
    control: Sender<Control>,
    rate: Rate,
}

impl MinerDesk {
    /// So many threads at all times; those that are not there yet are started.
    pub(crate) fn mine(&self, threads: usize) -> io::Result<()> {
        let threads = threads.min(MINING_THREADS_MAX);
        self.shared.change(|desk| desk.always = threads);
        self.start(threads)
    }

    fn start(&self, wanted: usize) -> io::Result<()> {
        let mut threads = self.shared.threads.lock();
        for n in threads.len()..wanted {
            let (config, shared, control) = (self.config.clone(), Arc::clone(&self.shared), self.control.clone());
            let search = Search { number: n, config, shared, control };
            threads.push(spawn(format!("mine-{n}"), STACK_SMALL_BYTES, move || search.run())?);
        }
        Ok(())
    }

    /// Threads that mine at all times.
    pub(crate) fn threads(&self) -> usize {
        self.shared.desk.lock().always
    }

    /// Hashes tried so far, and about how many in a second of late.
    pub(crate) fn hashes(&mut self) -> (u64, u64) {
        let total = self.shared.hashes.load(Ordering::Relaxed);
        (total, self.rate.at(Instant::now(), total))
    }

    /// Whether there is something to mine on.
    pub(crate) fn queue(&self) -> Queue {
        Queue { name: "mine", waiting: usize::from(self.shared.desk.lock().template.is_some()), capacity: 1 }
    }

    /// Something new to mine on; `None` for a pause. Its time is the least that is allowed.
    pub(crate) fn publish(&self, template: Option<Arc<Template>>) {
        self.shared.change(|desk| (desk.template, desk.found) = (template, None));
    }

    /// So many blocks at once, whatever the pace; 0: none of those that are owed any more.
    pub(crate) fn generate(&self, count: u32) -> io::Result<()> {
        self.shared.change(|desk| desk.owed = if count == 0 { 0 } else { desk.owed.saturating_add(count) });
        self.start(1)
    }
}

/// How fast a count grows.
#[derive(Debug)]
struct Rate {
    since: Instant,
    count: u64,
    per_s: u64,
}

impl Rate {
    fn at(&mut self, now: Instant, count: u64) -> u64 {
        let passed = now.duration_since(self.since);
        if passed >= RATE {
            let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            self.per_s = (count - self.count).saturating_mul(1_000) / passed_ms;
            (self.since, self.count) = (now, count);
        }
        self.per_s
    }
}

/// The threads, in the hands of whoever started them; dropping it ends the search and joins them.
#[derive(Debug)]
pub(crate) struct MinerThreads {
    shared: Arc<Shared>,
}

impl MinerThreads {
    /// Starts the threads. What they find goes to the owner over `control`.
    pub(crate) fn start(config: MinerConfig, control: Sender<Control>) -> io::Result<(Self, MinerDesk)> {
        let shared = Arc::new(Shared::default());
        let miners = Self { shared: Arc::clone(&shared) };
        let rate = Rate { since: Instant::now(), count: 0, per_s: 0 };
        let desk = MinerDesk { shared, config, control, rate };
        desk.mine(desk.config.threads)?;
        Ok((miners, desk))
    }
}

impl Drop for MinerThreads {
    fn drop(&mut self) {
        self.shared.change(|desk| desk.stopping = true);
        // The desk is gone by now, so nobody starts another.
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        for thread in threads {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

/// Something to search, as of an epoch.
struct Task {
    template: Arc<Template>,
    epoch: u64,
}

struct Search {
    number: usize,
    config: MinerConfig,
    shared: Arc<Shared>,
    control: Sender<Control>,
}

impl Search {
    fn run(&self) -> &'static str {
        while let Some(task) = self.next() {
            if let Some(header) = self.search(&task)
                && let Some(block) = self.claim(&task, header)
                && self.control.send(Control::Event(Event::Mined { block: Box::new(block) })).is_err()
            {
                return "the owner has ended";
            }
        }
        "the node is stopping"
    }

    /// Waits until there is something to search; `None` at the end.
    fn next(&self) -> Option<Task> {
        let mut desk = self.shared.desk.lock();
        loop {
            if desk.stopping {
                return None;
            }
            match self.wait_before(&desk) {
                Some(Duration::ZERO) => {
                    let template = desk.template.clone().expect("without a template there is no end to the wait");
                    return Some(Task { template, epoch: self.shared.epoch.load(Ordering::Acquire) });
                }
                Some(wait) => drop(self.shared.changed.wait_for(&mut desk, wait)),
                None => self.shared.changed.wait(&mut desk),
            }
        }
    }

    /// How long nothing should be searched; `None`: until something changes.
    fn wait_before(&self, desk: &Desk) -> Option<Duration> {
        let template = desk.template.as_ref()?;
        if let Some(found) = desk.found {
            return Some(RETRY.saturating_sub(found.elapsed()));
        }
        if self.number >= desk.always && desk.owed == 0 {
            return None;
        }
        let spec = self.config.params.spec();
        let parent_time = template.header().time - TIME_STEP_MIN_MS;
        let not_before = if spec.retarget || desk.owed > 0 || template.header().height == 1 {
            parent_time.saturating_sub(spec.future_limit_ms)
        } else {
            parent_time + spec.block_time_ms
        };
        Some(Duration::from_millis(not_before.saturating_sub(self.config.clock.now().wall.0)))
    }

    /// Searches until something is found or the task is stale.
    fn search(&self, task: &Task) -> Option<Header> {
        let mut miner = Miner::new(*task.template.header());
        let mut stamped = None;
        let mut nonce = self.number as u64 * (u64::MAX / MINING_THREADS_MAX as u64);
        while self.shared.epoch.load(Ordering::Acquire) == task.epoch {
            let now = self.config.clock.now();
            if stamped.is_none_or(|stamped| now.mono.since(stamped) >= STAMP_MS) {
                stamped = Some(now.mono);
                miner.stamp(now.wall.0.max(task.template.header().time));
            }
            if let Some(found) = miner.search(nonce, CHUNK) {
                return Some(found);
            }
            self.shared.hashes.fetch_add(CHUNK, Ordering::Relaxed);
            nonce = nonce.wrapping_add(CHUNK);
        }
        None
    }

    /// Makes the found header a block, if nobody was faster and nothing has changed.
    fn claim(&self, task: &Task, header: Header) -> Option<CheckedBlock> {
        let checked = task.template.found(&self.config.params, header);
        let mut desk = self.shared.desk.lock();
        if self.shared.epoch.load(Ordering::Acquire) != task.epoch {
            return None;
        }
        desk.found = Some(Instant::now());
        desk.owed = desk.owed.saturating_sub(1);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(desk);
        match checked {
            Ok(block) => Some(block),
            Err(reject) => {
                log::error!(
                    "a bug in spindle: the block that it mined at height {} is refused: {reject}",
                    header.height
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::blockchain::position::Position;
    use crate::primitives::keys::Key;

    fn config(params: Params) -> MinerConfig {
        MinerConfig { params: Arc::new(params), threads: 2, clock: Clock::start() }
    }

    /// On a parent with this time, at height 1 or later.
    fn template_on(params: &Params, time: u64, height: u64) -> Arc<Template> {
        let parent = Position { height, time, ..Position::genesis(params) };
        Arc::new(Template::new(params, &parent, &Key([3; 32]).into(), &[]))
    }

    fn search(config: MinerConfig) -> Search {
        Search { number: 0, config, shared: Arc::default(), control: bounded(1).0 }
    }

    fn found(controls: &Receiver<Control>) -> CheckedBlock {
        match controls.recv_timeout(Duration::from_secs(20)) {
            Ok(Control::Event(Event::Mined { block })) => *block,
            other => panic!("{other:?}"),
        }
    }

    /// Goal: when to wait before a search, and how long. Method: parents in the past and in the future,
    /// with and without retarget; waits are compared with bounds that hold whatever the time is.
    #[test]
    fn the_pace_is_kept_and_the_future_left_alone() {
        let now = Clock::start().now().wall.0;
        let wait = |config: &MinerConfig, time: u64, owed: u32| {
            let template = Some(template_on(&config.params, time, 5));
            search(config.clone()).wait_before(&Desk { template, always: 1, owed, ..Desk::default() })
        };
        let (regtest, local) = (config(Params::regtest()), config(Params::local()));
        let spacing = Duration::from_millis(regtest.params.spec().block_time_ms);
        let limit = Duration::from_millis(regtest.params.spec().future_limit_ms);
        assert_eq!(wait(&regtest, now - 20_000, 0), Some(Duration::ZERO));
        assert!(wait(&regtest, now, 0).is_some_and(|wait| wait > spacing / 2 && wait <= spacing));
        assert_eq!(wait(&regtest, now, 1), Some(Duration::ZERO), "what is asked for is not paced");
        assert_eq!(wait(&local, now + 60_000, 0), Some(Duration::ZERO), "ahead, but within the limit");
        assert!(wait(&local, now + 240_000, 0).is_some_and(|wait| wait > limit / 2 && wait <= limit));
        let template = Some(template_on(&regtest.params, now - 20_000, 5));
        let idle = Desk { template, ..Desk::default() };
        assert_eq!(search(regtest.clone()).wait_before(&idle), None, "only what is asked for");
        assert_eq!(search(regtest).wait_before(&Desk::default()), None);
    }

    /// Goal: one block for each template however many threads search; a new template brings the next,
    /// later than its parent; a pause brings none. Method: two threads that mine what is asked for.
    #[test]
    fn each_template_brings_one_block() {
        let (control, controls) = bounded(64);
        let config = MinerConfig { threads: 0, ..config(Params::regtest()) };
        let params = Arc::clone(&config.params);
        let (threads, desk) = MinerThreads::start(config, control).expect("no threads yet");
        desk.start(2).expect("threads");
        desk.generate(3).expect("they are there");
        desk.publish(Some(template_on(&params, 1_000, 1)));
        let first = found(&controls);
        assert_eq!((first.header().height, first.header().time > 1_000), (2, true));
        desk.publish(None);
        desk.publish(Some(template_on(&params, first.header().time, 2)));
        let second = found(&controls);
        assert!(second.header().height == 3 && second.header().time > first.header().time);
        desk.publish(None);
        drop(desk);
        drop(threads);
        assert!(controls.is_empty(), "one block for a template");
    }
}
