//! The thread that looks at a running node for whoever has started it: a progress line on a terminal while there is
//! much to catch up with, and a sentence now and then for `systemctl status`.
//!
//! It reads the board, where the owner lays down how the node is, and costs nobody anything. Where nobody would see
//! what it says there is no such thread; in a log the node itself says how far a long sync is.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::cli::notify::Supervisor;
use crate::cli::output::Progress;
use crate::node::summary::Summary;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};
use crate::runtime::handle::Handle;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two sentences for `systemctl status`.
const STATUS_LOOKS: u32 = 25;
/// Blocks that are worth a progress line.
const MUCH: u64 = 100;

/// A thread that watches, until this is dropped.
#[derive(Debug)]
pub struct Watching {
    /// Its end is the sign.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to watch, if anybody would see it.
pub fn start(
    handle: &Handle,
    console: &Console,
    quiet: bool,
    supervisor: &Supervisor,
) -> Result<Option<Watching>, Failure> {
    let draws = console.is_terminal() && !quiet;
    if !draws && !supervisor.is_there() {
        return Ok(None);
    }
    let (stop, stopped) = bounded(0);
    let (handle, supervisor) = (handle.clone(), supervisor.clone());
    let console = draws.then(|| console.clone());
    let thread = spawn("watch", STACK_SMALL_BYTES, move || {
        watch(&handle, console.as_ref(), &supervisor, &stopped);
        "the node is stopping"
    })?;
    Ok(Some(Watching { stop: Some(stop), thread: Some(thread) }))
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

fn watch(handle: &Handle, console: Option<&Console>, supervisor: &Supervisor, stopped: &Receiver<()>) {
    let (mut syncing, mut looks) = (None, 0);
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let summary = handle.board().summary();
        if let Some(console) = console {
            draw(&mut syncing, console, &summary);
        }
        if looks % STATUS_LOOKS == 0 {
            supervisor.status(&sentence(&summary));
        }
        looks += 1;
    }
}

/// The progress line, if there is much to do; it stays to the end once it is there.
fn draw(syncing: &mut Option<Progress>, console: &Console, summary: &Summary) {
    let (height, target) = (summary.tip.header.height, summary.target_height);
    let much = if syncing.is_some() { 0 } else { MUCH };
    if summary.is_catching_up && target > height + much {
        let progress = syncing.get_or_insert_with(|| Progress::new("syncing", "blocks").from(height).on(console));
        progress.at(height, target);
    } else {
        *syncing = None;
    }
}

/// How a node is, in a sentence.
fn sentence(summary: &Summary) -> String {
    let (height, target) = (summary.tip.header.height, summary.target_height);
    let peers = summary.inbound + summary.outbound;
    let more = if summary.is_catching_up && target > height { format!(" of {target}") } else { String::new() };
    format!("height {height}{more}, {peers} peers, {} transactions wait", summary.pool_transactions)
}
