//! Locks as parking_lot has them.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use real_std::sync::{Mutex as Real, MutexGuard as RealGuard, TryLockError};

use crate::model::chance::{below, once_in};
use crate::model::time::pass;
use crate::model::weave::{Bell, give_way, is_explored, wait};

/// As parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    value: Real<T>,
    bell: Bell,
}

/// As parking_lot's.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// `None` only while a condition is waited for.
    value: Option<RealGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Real::new(value), bell: Bell::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, value: Some(self.taken()) }
    }

    fn taken(&self) -> RealGuard<'_, T> {
        wait(&[&self.bell], || match self.value.try_lock() {
            Ok(value) => Some(value),
            Err(TryLockError::Poisoned(value)) => Some(value.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}

impl<T> MutexGuard<'_, T> {
    fn release(&mut self) {
        self.value = None;
        self.lock.bell.ring();
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is held")
    }
}

/// As parking_lot's, but nobody asks it here.
#[derive(Debug)]
pub(crate) struct WaitTimeoutResult;

/// As parking_lot's; whom `notify_one` wakes is a matter of chance.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    waiting: Real<Waiting>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    tickets: Vec<u64>,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_while(guard, || false);
    }

    /// The time may be over at once; or not before it is rung for, which a stop does at the latest.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> WaitTimeoutResult {
        let until = Instant::now() + limit;
        let mut looks = 0;
        self.wait_while(guard, || {
            looks += 1;
            if !is_explored() {
                return Instant::now() >= until;
            }
            // Whoever woke it for nothing may have taken its time, too.
            let is_over = looks > 1 || once_in(2);
            if is_over {
                pass(limit);
            }
            is_over
        });
        WaitTimeoutResult
    }

    pub(crate) fn notify_one(&self) {
        give_way();
        let mut waiting = self.waiting.lock().expect("never poisoned");
        if !waiting.tickets.is_empty() {
            let lucky = if is_explored() { below(waiting.tickets.len()) } else { 0 };
            waiting.tickets.remove(lucky);
        }
        drop(waiting);
        self.bell.ring();
    }

    pub(crate) fn notify_all(&self) {
        give_way();
        self.waiting.lock().expect("never poisoned").tickets.clear();
        self.bell.ring();
    }

    fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut is_over: impl FnMut() -> bool) {
        let mut waiting = self.waiting.lock().expect("never poisoned");
        let ticket = waiting.next;
        waiting.next += 1;
        waiting.tickets.push(ticket);
        drop(waiting);
        guard.release();
        wait(&[&self.bell], || {
            let mut waiting = self.waiting.lock().expect("never poisoned");
            match waiting.tickets.iter().position(|waits| *waits == ticket) {
                None => Some(()),
                Some(place) => is_over().then(|| _ = waiting.tickets.remove(place)),
            }
        });
        guard.value = Some(guard.lock.taken());
    }
}
