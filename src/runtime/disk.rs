//! `disk`: the only thread that waits for the disk. It changes nothing that the owner wrote.
//!
//! The owner leaves jobs on a desk and goes on; there is room for one sync, one checkpoint and one
//! content per small file, and a newer one takes the place of an older. Syncs come first, also in the
//! middle of a checkpoint, because people wait for them. The first sync that fails is kept and told to
//! the owner, and nothing is tried again: after a failed fsync a second one that succeeds means nothing.
//!
//! Checkpoints and small files are caches, and a node can do without: one that cannot be written is a
//! warning, leaves what was there before, and is due again later. None is begun that would take the
//! space that the block file still needs.
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
use crate::blockchain::storage::{CHECKPOINT, FileIdentity, ROOM_MIN_BYTES, StoreError, Syncer, checkpoint};
use crate::node::event::Event;
use crate::primitives::chatter::Chatter;
use crate::primitives::hash::Hash;
use crate::primitives::thread::{STACK_LARGE_BYTES, caught, spawn};
use crate::primitives::time::Clock;
use crate::runtime::control::Control;
use crate::runtime::handle::Queue;

/// At stop a checkpoint may take so long; the next start replays the tail without it.
const LAST_CHECKPOINT: Duration = Duration::from_secs(1);

/// Small files that are saved: the pool, the addresses, what is condemned.
const SMALL_FILES: usize = 3;

/// Warnings a minute about one file: a full disk stays full for a while.
const WARNINGS_PER_MINUTE: u32 = 1;

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

impl Shared {
    /// Nothing more will be laid on the desk.
    fn close(&self) {
        self.desk.lock().closed.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }
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

    /// How many jobs wait: there is room for a sync, a checkpoint, and one content of each small file.
    pub(crate) fn queue(&self) -> Queue {
        let desk = self.0.desk.lock();
        let waiting = usize::from(desk.sync.is_some()) + usize::from(desk.checkpoint.is_some()) + desk.saves.len();
        Queue { name: "disk", waiting, capacity: 2 + SMALL_FILES }
    }

    fn put(&self, change: impl FnOnce(&mut Desk)) {
        change(&mut self.0.desk.lock());
        self.0.changed.notify_one();
    }
}

impl Drop for DiskDesk {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread, in the hands of whoever started it; dropping it takes no more jobs and waits for the last.
#[derive(Debug)]
pub(crate) struct DiskThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
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
        let (clock, warned) = (Clock::start(), Chatter::new(WARNINGS_PER_MINUTE));
        let mut work = Work { shared: Arc::clone(&shared), disk, syncer, identity, control, clock, warned };
        let thread = spawn("disk", STACK_LARGE_BYTES, move || work.run())?;
        Ok((Self { shared: Arc::clone(&shared), thread: Some(thread) }, DiskDesk(shared)))
    }

    /// Waits until everything is done; after the desk is dropped. Gives the failure if there was one.
    pub(crate) fn join(self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.failure.lock().take().map_or(Ok(()), Err)
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the spawn helper catches panics");
        }
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
    clock: Clock,
    warned: Chatter<&'static str>,
}

impl Work {
    fn run(&mut self) -> &'static str {
        let outcome = caught(|| {
            if let Err(error) = checkpoint::clean(&*self.disk) {
                self.warn(CHECKPOINT, &error.cause());
            }
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
                let saved = replace(&*self.disk, file, &bytes).map_err(StoreError::io("replace", self.disk.path(file)));
                if let Err(error) = saved {
                    self.warn(file, &error.cause());
                }
                Ok(())
            }
            Job::Checkpoint(tip, ledger) => {
                let done = self.checkpoint(tip, &ledger);
                // Whatever became of it: the core must not wait for this one for ever.
                self.tell(Event::Checkpointed { tip });
                done
            }
        }
    }

    fn sync(&mut self, upto: u64) -> Result<(), StoreError> {
        self.syncer.sync(upto)?;
        self.tell(Event::Durable { upto });
        Ok(())
    }

    /// An error is that of a sync in between; one of the checkpoint itself is a warning.
    fn checkpoint(&mut self, tip: Hash, ledger: &Ledger) -> Result<(), StoreError> {
        let (disk, identity) = (Arc::clone(&self.disk), self.identity);
        if let Err(cause) = has_room(&*disk, checkpoint::size_bytes(ledger.len())) {
            self.warn(CHECKPOINT, &cause);
            return Ok(());
        }
        let mut failure = None;
        let began = Instant::now();
        let written = checkpoint::write(&*disk, &identity, tip, ledger, &mut || {
            let desk = self.shared.desk.lock();
            let in_time = desk.closed.is_none_or(|closed| closed.elapsed() < LAST_CHECKPOINT);
            drop(desk);
            failure = failure.take().or_else(|| self.sync_between().err());
            failure.is_none() && in_time
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let what = match written {
            Ok(true) => "written",
            Ok(false) => "given up: it would take too long at a stop",
            Err(error) => {
                self.warn(CHECKPOINT, &error.cause());
                return Ok(());
            }
        };
        log::debug!("checkpoint of {} coins {what} after {:?}", ledger.len(), began.elapsed());
        Ok(())
    }

    /// A cache was not written: what that means, and the way out.
    fn warn(&mut self, file: &'static str, cause: &str) {
        if self.warned.admit(file, self.clock.now().mono).is_none() {
            return;
        }
        let cost =
            if file == CHECKPOINT { "the next start replays more blocks" } else { "its newest content may be lost" };
        log::warn!(
            "`{file}` is not saved: {cause}; the node goes on without, and {cost}; free some space, or check the disk"
        );
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

/// Whether so many bytes more leave what the block file needs.
fn has_room(disk: &dyn Disk, bytes: u64) -> Result<(), String> {
    let path = disk.path(CHECKPOINT);
    let free_bytes =
        disk.free_bytes().map_err(|error| StoreError::io("ask for the free space beside", &path)(error).cause())?;
    let needed = bytes.saturating_add(ROOM_MIN_BYTES);
    if free_bytes >= needed {
        return Ok(());
    }
    Err(format!(
        "{} MiB are free where it takes {} MiB, with {} MiB kept for blocks",
        free_bytes >> 20,
        needed.div_ceil(1 << 20),
        ROOM_MIN_BYTES >> 20
    ))
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

    /// Goal: the first sync that fails is told, kept, and the last thing that is tried. Method: a block file
    /// that cannot be synced, and a small file after it.
    #[test]
    fn the_first_failed_sync_is_the_end() {
        let disk = MemoryDisk::default();
        let (thread, desk, controls, store) = start(&disk);
        disk.fail_sync(1);
        desk.sync(store.appended_bytes() + 1);
        assert!(matches!(controls.recv_timeout(Duration::from_secs(20)), Ok(Control::DiskFailed)));
        desk.save("second", vec![2]);
        drop(desk);
        let error = thread.join().expect_err("it failed");
        assert!(error.to_string().contains("cannot sync `"), "{error}");
        assert_eq!(read_small(&disk, "second", 10).expect("readable"), None);
    }

    /// Goal: caches that cannot be written cost the node nothing: the thread goes on, the core hears that
    /// the checkpoint is done with, the old content stays and nothing half written is left. Method: each
    /// write and each sync of both fails once; then a disk without space for a checkpoint; then all is well.
    #[test]
    fn a_cache_that_cannot_be_written_is_no_end() {
        let disk = MemoryDisk::default();
        disk.put("ledger.checkpoint.new", b"what a killed process left");
        let (thread, desk, controls, _store) = start(&disk);
        let faults: [fn(&MemoryDisk); 6] = [
            |disk| disk.fail_write(1),
            |disk| disk.fail_sync(1),
            |disk| disk.fail_sync(2),
            |disk| disk.set_free_bytes(10),
            |disk| disk.set_free_bytes(ROOM_MIN_BYTES),
            |disk| disk.set_free_bytes(1 << 40),
        ];
        for (n, fault) in (1..).zip(faults) {
            let tip = Hash([n; 32]);
            fault(&disk);
            desk.checkpoint(tip, Ledger::default());
            let told = controls.recv_timeout(Duration::from_secs(20)).expect("the core hears of it");
            assert!(matches!(told, Control::Event(Event::Checkpointed { tip: done }) if done == tip), "{told:?}");
            assert!(!disk.names().contains(&"ledger.checkpoint.new".to_owned()));
            fault(&disk);
            desk.save("small", vec![n]);
            // Jobs are done one after the other: when this is told, the file has been tried.
            desk.checkpoint(tip, Ledger::default());
            controls.recv_timeout(Duration::from_secs(20)).expect("still there");
            assert!(!disk.names().contains(&"small.new".to_owned()), "{:?}", disk.names());
        }
        drop(desk);
        thread.join().expect("nothing failed that counts");
        assert_eq!(read_small(&disk, "small", 10).expect("readable"), Some(vec![6]));
        assert!(disk.bytes(CHECKPOINT).is_some());
    }
}
