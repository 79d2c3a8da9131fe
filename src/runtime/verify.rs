//! `verify`: checks the signatures of transactions that wait at the door, so that the owner does not.
//!
//! The owner lays batches on a bounded channel and goes on; what they came to returns as an event. The core
//! never has more batches open than the channel holds, so laying one down never waits. The work itself is
//! done by the `check` pool, a batch at a time.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::blockchain::checked_tx::ReadTx;
use crate::node::event::Event;
use crate::node::transactions::VERIFYING_MAX;
use crate::primitives::keys::Verifier;
use crate::primitives::thread::{STACK_LARGE_BYTES, spawn};
use crate::runtime::control::Control;
use crate::runtime::handle::Queue;

/// The owner's side; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct VerifyDesk(Sender<Vec<ReadTx>>);

impl VerifyDesk {
    /// How many batches wait.
    pub(crate) fn queue(&self) -> Queue {
        Queue { name: "verify", waiting: self.0.len(), capacity: VERIFYING_MAX }
    }

    /// Check these; a `Verified` follows.
    pub(crate) fn verify(&self, transactions: Vec<ReadTx>) {
        let laid_down = self.0.try_send(transactions);
        laid_down.expect("the core has fewer batches open than there is room for, and the thread outlives the desk");
    }
}

/// The thread, in the hands of whoever started it; dropping it joins it, after the desk has gone.
#[derive(Debug)]
pub(crate) struct VerifyThread(Option<JoinHandle<()>>);

impl VerifyThread {
    /// Starts the thread. It tells the owner over `control` what it has found.
    pub(crate) fn start(verifier: Verifier, control: Sender<Control>) -> io::Result<(Self, VerifyDesk)> {
        let (desk, batches) = bounded(VERIFYING_MAX);
        let thread = spawn("verify", STACK_LARGE_BYTES, move || run(&verifier, &batches, &control))?;
        Ok((Self(Some(thread)), VerifyDesk(desk)))
    }
}

impl Drop for VerifyThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

fn run(verifier: &Verifier, batches: &Receiver<Vec<ReadTx>>, control: &Sender<Control>) -> &'static str {
    for batch in batches {
        let verdicts = ReadTx::verified_all(batch, verifier);
        if control.send(Control::Event(Event::Verified { verdicts })).is_err() {
            return "the owner has ended";
        }
    }
    "the node is stopping"
}
