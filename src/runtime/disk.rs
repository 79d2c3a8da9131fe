//! `disk`: the only thread that waits for the disk. It changes nothing that the owner wrote.
//!
//! The owner leaves jobs on a desk and goes on; there is room for one sync, one checkpoint and one
//! content per small file, and a newer one takes the place of an older. Syncs come first, also in the
//! middle of a checkpoint, because people wait for them. The first failure is kept and told to the
//! owner, and nothing is tried again: after a failed fsync a second one that succeeds means nothing.
//!
//! When the owner has let go of the desk, what lies on it is still done; a checkpoint only as far as a
//! second goes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use crate::blockchain::disk::{Disk, replace};
use crate::blockchain::ledger::Ledger;
use crate::blockchain::storage::{FileIdentity, StoreError, Syncer, checkpoint};
use crate::node::event::Event;
use crate::primitives::hash::Hash;
use crate::primitives::thread::{STACK_LARGE_BYTES, caught, spawn};
use crate::runtime::control::Control;

/// At stop a checkpoint may take so long; the next start replays the tail without it.
const LAST_CHECKPOINT: Duration = Duration::from_secs(1);

/// What is to be done: at most 40 bytes an unspent output (a ledger that shares its shards) and a few
/// small files.
#[derive(Debug, Default)]
struct Desk {
    sync: Option<u64>,
    checkpoint: Option<(Hash, Ledger)>,
    saves: BTreeMap<&'static str, Vec<u8>>,
    closed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
    failure: Mutex<Option<StoreError>>,
}

/// The owner's side; dropping it ends the thread once all is done.
#[derive(Debug)]
pub(crate) struct DiskDesk(Arc<Shared>);

impl DiskDesk {
    /// Make the block file last up to here; `Durable` follows.
    pub(crate) fn sync(&self, upto: u64) {
        self.put(|desk| desk.sync = desk.sync.max(Some(upto)));
    }

    /// Write a checkpoint; `Checkpointed` follows.
    pub(crate) fn checkpoint(&self, tip: Hash, ledger: Ledger) {
        self.put(|desk| desk.checkpoint = Some((tip, ledger)));
    }

    /// Replace a small file.
    pub(crate) fn save(&self, file: &'static str, bytes: Vec<u8>) {
        self.put(|desk| drop(desk.saves.insert(file, bytes)));
    }

    fn put(&self, change: impl FnOnce(&mut Desk)) {
        change(&mut self.0.desk.lock());
        self.0.changed.notify_one();
    }
}

impl Drop for DiskDesk {
    fn drop(&mut self) {
        self.put(|desk| desk.closed = Some(Instant::now()));
    }
}

/// The thread, in the hands of whoever started it.
#[derive(Debug)]
pub(crate) struct DiskThread {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl DiskThread {
    /// Starts the thread. It tells the owner what is done over `control`.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        syncer: Syncer,
        identity: FileIdentity,
        control: Sender<Control>,
    ) -> io::Result<(Self, DiskDesk)> {
        let shared = Arc::new(Shared::default());
        let mut work = Work { shared: Arc::clone(&shared), disk, syncer, identity, control };
        let thread = spawn("disk", STACK_LARGE_BYTES, move || work.run())?;
        Ok((Self { shared: Arc::clone(&shared), thread }, DiskDesk(shared)))
    }

    /// Waits until everything is done; after the desk is dropped. Gives the failure if there was one.
    pub(crate) fn join(self) -> Result<(), StoreError> {
        self.thread.join().expect("the spawn helper catches panics");
        self.shared.failure.lock().take().map_or(Ok(()), Err)
    }
}

enum Job {
    Sync(u64),
    Save(&'static str, Vec<u8>),
    Checkpoint(Hash, Ledger),
}

struct Work {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    syncer: Syncer,
    identity: FileIdentity,
    control: Sender<Control>,
}

impl Work {
    fn run(&mut self) -> &'static str {
        let outcome = caught(|| {
            while let Some(job) = self.next() {
                self.handle(job)?;
            }
            Ok(())
        });
        let failure = match outcome {
            Ok(Ok(())) => return "the owner has ended and everything is done",
            Ok(Err(error)) => error,
            Err(panic) => {
                let source = io::Error::other(format!("a bug in spindle: {panic}"));
                StoreError::Io { action: "go on with", path: self.disk.path("."), source }
            }
        };
        *self.shared.failure.lock() = Some(failure);
        // If the owner has ended, whoever joins this thread takes the failure.
        let _ = self.control.send(Control::DiskFailed);
        "the disk failed"
    }

    /// The most urgent job; `None` when the owner has gone and nothing is left.
    fn next(&self) -> Option<Job> {
        let mut desk = self.shared.desk.lock();
        loop {
            if let Some(upto) = desk.sync.take() {
                return Some(Job::Sync(upto));
            }
            if let Some((file, bytes)) = desk.saves.pop_first() {
                return Some(Job::Save(file, bytes));
            }
            if let Some((tip, ledger)) = desk.checkpoint.take() {
                return Some(Job::Checkpoint(tip, ledger));
            }
            if desk.closed.is_some() {
                return None;
            }
            self.shared.changed.wait(&mut desk);
        }
    }

    fn handle(&mut self, job: Job) -> Result<(), StoreError> {
        match job {
            Job::Sync(upto) => self.sync(upto),
            Job::Save(file, bytes) => {
                replace(&*self.disk, file, &bytes).map_err(StoreError::io("replace", self.disk.path(file)))
            }
            Job::Checkpoint(tip, ledger) => self.checkpoint(tip, &ledger),
        }
    }

    fn sync(&mut self, upto: u64) -> Result<(), StoreError> {
        self.syncer.sync(upto)?;
        self.tell(Event::Durable { upto });
        Ok(())
    }

    fn checkpoint(&mut self, tip: Hash, ledger: &Ledger) -> Result<(), StoreError> {
        let (disk, identity) = (Arc::clone(&self.disk), self.identity);
        let mut failure = None;
        let began = Instant::now();
        let written = checkpoint::write(&*disk, &identity, tip, ledger, &mut || {
            let desk = self.shared.desk.lock();
            let in_time = desk.closed.is_none_or(|closed| closed.elapsed() < LAST_CHECKPOINT);
            drop(desk);
            failure = failure.take().or_else(|| self.sync_between().err());
            failure.is_none() && in_time
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let what = if written { "written" } else { "given up: it would take too long at a stop" };
        log::debug!("checkpoint of {} coins {what} after {:?}", ledger.len(), began.elapsed());
        self.tell(Event::Checkpointed { tip });
        Ok(())
    }

    /// A sync that has come in while a checkpoint is written.
    fn sync_between(&mut self) -> Result<(), StoreError> {
        let waiting = self.shared.desk.lock().sync.take();
        waiting.map_or(Ok(()), |upto| self.sync(upto))
    }

    fn tell(&self, event: Event) {
        // An owner that has ended hears nothing, and nobody waits for it.
        let _ = self.control.send(Control::Event(event));
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::blockchain::disk::read_small;
    use crate::blockchain::memory_disk::MemoryDisk;
    use crate::blockchain::params::Params;
    use crate::blockchain::storage::PersistentBlockchain;

    fn start(disk: &MemoryDisk) -> (DiskThread, DiskDesk, Receiver<Control>, PersistentBlockchain) {
        let (control, controls) = bounded(8);
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let opened = PersistentBlockchain::open(Arc::clone(&disk), &Params::regtest(), &mut |_, _| {});
        let (store, _) = opened.expect("an empty disk");
        let started = DiskThread::start(disk, store.syncer(), store.identity(), control);
        let (thread, desk) = started.expect("a thread");
        (thread, desk, controls, store)
    }

    /// Goal: everything on the desk is done before the thread ends, and the newest content of a file is
    /// the one that stays. Method: the desk is filled and dropped at once.
    #[test]
    fn what_lies_on_the_desk_is_done_at_the_end() {
        let disk = MemoryDisk::default();
        let (thread, desk, controls, store) = start(&disk);
        let tip = store.reader().tip().id;
        desk.checkpoint(tip, Ledger::default());
        (0..50).for_each(|n| desk.save("small", vec![n]));
        desk.sync(store.appended_bytes());
        drop(desk);
        thread.join().expect("nothing failed");
        assert_eq!(read_small(&disk, "small", 10).expect("readable"), Some(vec![49]));
        let done: Vec<_> = controls.try_iter().map(|control| format!("{control:?}")).collect();
        let last = format!("{:?}", Control::Event(Event::Checkpointed { tip }));
        assert!(done.contains(&last), "{done:?}");
    }

    /// Goal: the first failure is told, kept, and the last thing that is tried. Method: a file that
    /// cannot be synced, and another one after it.
    #[test]
    fn the_first_failure_is_the_end() {
        let disk = MemoryDisk::default();
        let (thread, desk, controls, _store) = start(&disk);
        disk.fail_sync(1);
        desk.save("first", vec![1]);
        assert!(matches!(controls.recv_timeout(Duration::from_secs(20)), Ok(Control::DiskFailed)));
        desk.save("second", vec![2]);
        drop(desk);
        let error = thread.join().expect_err("it failed");
        assert!(error.to_string().contains("cannot replace `"), "{error}");
        assert_eq!(read_small(&disk, "second", 10).expect("readable"), None);
    }
}
