//! One budget of bytes that all peers' large frames share.
//!
//! A reader takes a portion before it decodes a large buffer; the portion travels with the event and
//! comes back when the owner has handled it. Whoever waits here holds no portion, and whoever holds
//! one waits only for the owner, which never comes here: so there is no circle.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
struct State {
    free_bytes: usize,
    closed: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Budget {
    total_bytes: usize,
    state: Mutex<State>,
    freed: Condvar,
}

impl Budget {
    pub(crate) fn new(total_bytes: usize) -> Arc<Self> {
        let state = Mutex::new(State { free_bytes: total_bytes, closed: false });
        Arc::new(Self { total_bytes, state, freed: Condvar::new() })
    }

    /// Waits for so many bytes (at most all there are); `None` when the node is stopping.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Portion> {
        let bytes = bytes.min(self.total_bytes);
        let mut state = self.state.lock();
        while state.free_bytes < bytes && !state.closed {
            self.freed.wait(&mut state);
        }
        if state.closed {
            return None;
        }
        state.free_bytes -= bytes;
        Some(Portion { budget: Arc::clone(self), bytes })
    }

    /// Lets everybody go who waits: the node is stopping.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.freed.notify_all();
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
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
