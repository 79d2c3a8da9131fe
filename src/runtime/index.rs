//! `index`: follows the block file so that people can look transactions up, and nobody waits for it.
//!
//! It rests while the node catches up: both want the same disk and the same cores, and the chain comes first. A
//! disk that fails here ends the looking up and not the node, whose own writes will meet the same disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::blockchain::storage::StoreError;
use crate::blockchain::tx_index::TxIndex;
use crate::node::summary::Summary;
use crate::primitives::thread::{STACK_LARGE_BYTES, spawn};
use crate::runtime::handle::{Board, Queue};

/// The owner's side; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct IndexDesk {
    news: Sender<()>,
    told_bytes: u64,
}

impl IndexDesk {
    /// Tells the thread of durable blocks, while there is nothing to catch up with. Never waits.
    pub(crate) fn tell(&mut self, summary: &Summary, durable_bytes: u64) {
        if durable_bytes > self.told_bytes && !summary.is_catching_up {
            self.told_bytes = durable_bytes;
            // Full: it is told already. Gone: it has said why.
            let _ = self.news.try_send(());
        }
    }

    /// Whether it knows already that there is something new.
    pub(crate) fn queue(&self) -> Queue {
        Queue { name: "index", waiting: self.news.len(), capacity: 1 }
    }
}

/// The thread, in the hands of whoever started it; dropping it joins it, after the desk has gone.
#[derive(Debug)]
pub(crate) struct IndexThread {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl IndexThread {
    /// Starts the thread.
    pub(crate) fn start(index: Arc<TxIndex>, board: Arc<Board>) -> io::Result<(Self, IndexDesk)> {
        let (news, heard) = bounded(1);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&is_stopping);
        let thread = spawn("index", STACK_LARGE_BYTES, move || {
            let go_on = || !stopping.load(Ordering::Relaxed) && !board.summary().is_catching_up;
            match run(&index, &heard, &go_on) {
                Ok(()) => "the node is stopping".to_owned(),
                Err(error) => {
                    log::warn!("transactions can no longer be looked up, but for those that wait: {error}");
                    error.to_string()
                }
            }
        })?;
        Ok((Self { is_stopping, thread: Some(thread) }, IndexDesk { news, told_bytes: 0 }))
    }
}

impl Drop for IndexThread {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

fn run(index: &TxIndex, news: &Receiver<()>, go_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
    let mut is_checked = false;
    for () in news {
        if !is_checked {
            index.check(go_on)?;
            is_checked = true;
        }
        index.follow(go_on)?;
    }
    Ok(())
}
