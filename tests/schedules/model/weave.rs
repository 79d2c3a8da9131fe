//! The one place where a thread of the model gives way or waits, and the world that one schedule has to itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use real_std::process::exit;
use real_std::sync::Mutex;
use shuttle::future::block_on;

use crate::model::net::Door;
use crate::model::sync::atomic::Counter;

/// What one schedule has to itself.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Milliseconds since the schedule began.
    pub(crate) now_ms: u64,
    /// Whether somebody who waits with a limit can find that his time is over.
    pub(crate) limits_end: bool,
    /// How often a ticker ticks.
    pub(crate) ticks: usize,
    /// What a socket holds each way.
    pub(crate) socket_bytes: usize,
    /// The system refuses a thread after so many.
    pub(crate) threads_left: Option<usize>,
    /// Who listens.
    pub(crate) doors: BTreeMap<u16, Weak<Door>>,
    pub(crate) sockets: u16,
    /// Every `AtomicUsize` that was made.
    pub(crate) counters: Vec<Arc<Counter>>,
}

thread_local! {
    /// An explorer runs all threads of a schedule on its own one.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl World {
    /// Whether the system gives one more thread.
    pub(crate) fn take_thread(&mut self) -> bool {
        match &mut self.threads_left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

/// Begins a schedule.
pub(crate) fn begin(world: World) {
    WORLD.with_borrow_mut(|place| *place = Some(world));
}

/// No schedule is explored here any more.
pub(crate) fn end() {
    WORLD.with_borrow_mut(|place| *place = None);
}

/// Whether a schedule is being explored here.
pub(crate) fn is_explored() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// Looks at the world of this schedule, or changes it.
pub(crate) fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("only within an exploration")))
}

/// Wakes those who wait for something to change.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<Vec<Waker>>);

impl Bell {
    /// Something has changed: whoever waits looks again.
    pub(crate) fn ring(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().expect("never poisoned"));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Lets others run, then waits until there is something; each of the bells makes it look again.
pub(crate) fn wait<T>(bells: &[&Bell], mut look: impl FnMut() -> Option<T>) -> T {
    if !is_explored() {
        loop {
            if let Some(found) = look() {
                return found;
            }
            std::thread::yield_now();
        }
    }
    if std::thread::panicking() {
        // The schedule has failed, nobody else runs any more, and a destructor wants to wait for somebody.
        return look().unwrap_or_else(|| exit(101));
    }
    // In shuttle nobody sleeps: this only lets the explorer choose who goes on.
    shuttle::thread::sleep(Duration::ZERO);
    block_on(poll_fn(|context| {
        let found = look();
        if found.is_none() {
            for bell in bells {
                bell.0.lock().expect("never poisoned").push(context.waker().clone());
            }
        }
        found.map_or(Poll::Pending, Poll::Ready)
    }))
}

/// Lets others run before the next step.
pub(crate) fn give_way() {
    wait(&[], || Some(()));
}
