//! A budget of bytes that all peers share, first come, first served.
//!
//! Whoever waits here holds no portion, and a portion is never held while waiting for a peer: what
//! decoding takes comes back when the owner has handled it, what reading the file takes when it is
//! read. So there is no circle, nobody is overtaken, and nobody can keep it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
struct State {
    free_bytes: usize,
    closed: bool,
    next_ticket: u64,
    /// Tickets of those who wait; the front one is served next, however much it needs.
    queue: VecDeque<u64>,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Budget {
    total_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Budget {
    pub(crate) fn new(total_bytes: usize) -> Arc<Self> {
        let state = State { free_bytes: total_bytes, closed: false, next_ticket: 0, queue: VecDeque::new() };
        Arc::new(Self { total_bytes, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Waits for so many bytes (at most all there are) behind everybody who came before; `None` when
    /// the node is stopping.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Portion> {
        let bytes = bytes.min(self.total_bytes);
        let mut state = self.state.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(ticket);
        while !state.closed && (state.queue.front() != Some(&ticket) || state.free_bytes < bytes) {
            self.changed.wait(&mut state);
        }
        if state.closed {
            return None;
        }
        state.queue.pop_front();
        state.free_bytes -= bytes;
        // The next in the queue may be content with the rest.
        self.changed.notify_all();
        Some(Portion { budget: Arc::clone(self), bytes })
    }

    /// Lets everybody go who waits: the node is stopping.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Bytes of the budget; dropping gives them back.
#[derive(Debug)]
pub struct Portion {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.budget.state.lock().free_bytes += self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    /// Waits until so many wait; what they wait for is not to be had meanwhile, so this is a fact.
    fn wait_for_queue(budget: &Budget, length: usize) {
        while budget.state.lock().queue.len() < length {
            std::thread::yield_now();
        }
    }

    /// Goal: no more is out than there is, and what comes back wakes whoever waits; closing wakes all.
    /// Method: one thread that needs everything while a portion is out.
    #[test]
    fn portions_never_exceed_the_budget() {
        let budget = Budget::new(100);
        let first = budget.take(60).expect("free");
        let waiting = Arc::clone(&budget);
        let waiter = std::thread::spawn(move || waiting.take(1_000).map(|portion| portion.bytes));
        drop(first);
        assert_eq!(waiter.join().expect("no panic"), Some(100));
        let all = budget.take(100).expect("all came back");
        let waiting = Arc::clone(&budget);
        let waiter = std::thread::spawn(move || waiting.take(1).is_none());
        budget.close();
        assert!(waiter.join().expect("no panic"));
        drop(all);
    }

    /// Goal: who needs much is not starved by many who need little. Method: one waits for everything,
    /// twenty come after it for whom there would be room at once; the order in which they are served.
    #[test]
    fn first_come_is_first_served() {
        let budget = Budget::new(100);
        let first = budget.take(10).expect("free");
        let (tell, told) = unbounded();
        let mut threads = Vec::new();
        for n in 0..21 {
            let (budget, tell) = (Arc::clone(&budget), tell.clone());
            threads.push(std::thread::spawn(move || {
                let portion = budget.take(if n == 0 { 100 } else { 1 });
                tell.send(n).expect("the test listens");
                drop(portion);
            }));
            wait_for_queue(&first.budget, n + 1);
        }
        assert!(told.is_empty(), "nobody overtakes");
        drop(first);
        assert_eq!(told.recv(), Ok(0));
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}
