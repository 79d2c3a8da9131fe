//! What is going to happen, in one order: by time, and at one time in the order in which it was planned.
//!
//! The number behind the time is what makes a run repeatable: a heap alone gives equals in any order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;

use serde::Serialize;

/// An instant of the world, in microseconds since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At(pub u64);

impl At {
    /// This much later.
    #[must_use]
    pub fn after_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// This much later.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        self.after_us(ms.saturating_mul(1_000))
    }

    /// Microseconds from `earlier` until now; 0 when it lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000;
        write!(f, "{:3}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: At,
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (At, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The plan.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    planned: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Queue<T> {
    /// Plans something.
    pub(crate) fn push(&mut self, at: At, what: T) {
        self.planned += 1;
        self.heap.push(Reverse(Entry { at, number: self.planned, what }));
    }

    /// What comes next.
    pub(crate) fn pop(&mut self) -> Option<(At, T)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }

    /// When that is.
    pub(crate) fn next_at(&self) -> Option<At> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: equals come in the order in which they were planned. Method: 100 things at two times.
    #[test]
    fn equals_keep_their_order() {
        let mut queue = Queue::default();
        (0..100).for_each(|n| queue.push(At(n % 2), n));
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop().map(|(_, n)| n)).collect();
        let (even, odd): (Vec<u64>, Vec<u64>) = (0..100).partition(|n| n % 2 == 0);
        assert_eq!(order, [even, odd].concat());
    }
}
