//! A disk in memory that forgets what was not synced, and fails when told to. For tests and the simulator.
//!
//! [`MemoryDisk::kill`] is `kill -9`; [`MemoryDisk::crash`] is the power cut that takes all it may, and
//! [`MemoryDisk::power_cut`] the one that takes what it likes ([`platter`] says what that can be). Faults
//! are told beforehand, by the number of a call or by seeded chance ([`faults`]). The same calls with the
//! same seeds give the same bytes.
//!
//! Reads and writes come down here as system calls do, in pieces and interrupted when told to, so that
//! the loops that put them together again ([`read_whole`], [`write_whole`]) are the real disk's own.
//!
//! Left out: time. A call takes none, and nothing reaches the platter before it is synced but at a power cut.

mod faults;

mod platter;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::blockchain::disk::{Disk, DiskFile, Pieces, read_whole, write_whole};
use faults::{Call, Faults};
use platter::Platter;

pub use faults::{Calls, Chances, Fault};

/// What a disk is born with: a tebibyte.
const FREE_BYTES: u64 = 1 << 40;

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    platter: Platter,
    faults: Faults,
    /// A checksum over every change and every sync.
    history: u32,
}

impl State {
    /// Something is changed, or synced.
    fn note(&mut self, what: u8, number: u64, bytes: &[u8]) {
        let front = crc32c::crc32c_append(self.history, &[&[what][..], &number.to_le_bytes()].concat());
        self.history = crc32c::crc32c_append(front, bytes);
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::with(Platter::default(), FREE_BYTES)
    }
}

impl MemoryDisk {
    /// The disk as it is found after the power failed now and took all that was not synced.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.power_cut(&mut |_| 0)
    }

    /// The disk as it is found after the power failed now. Of what was not synced some lasts: `choose` is
    /// asked for a number below each number of possibilities, 0 being the oldest state and the greatest the newest.
    /// A sector is torn in the middle of what differs, so that all possibilities can be counted through.
    #[must_use]
    pub fn power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        self.power_cut_torn(choose, &mut |bytes| bytes / 2)
    }

    /// The same, and `tear` says how many of so many bytes of a torn sector are new.
    #[must_use]
    pub fn power_cut_torn(&self, choose: &mut dyn FnMut(usize) -> usize, tear: &mut dyn FnMut(usize) -> usize) -> Self {
        let state = self.0.lock();
        Self::with(state.platter.after_power_cut(choose, tear), state.faults.free_bytes)
    }

    /// The disk as it is found after the process was killed now: all that was written is there, and what
    /// was not synced still is not. No faults are left.
    #[must_use]
    pub fn kill(&self) -> Self {
        let state = self.0.lock();
        Self::with(state.platter.fork(), state.faults.free_bytes)
    }

    /// A file's bytes as a process reads them now.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().platter.find(name).map(|images| images.now.clone())
    }

    /// Puts a file there, synced: what an earlier life left, or damage.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.0.lock().platter.put(name, bytes);
    }

    /// Flips these bits of a file's byte where they lie; nothing is there behind its end.
    pub fn flip(&self, name: &str, at: usize, mask: u8) {
        if let Some(images) = self.0.lock().platter.find(name) {
            images.flip(at, mask);
        }
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().platter.names().cloned().collect()
    }

    /// How many calls were made so far.
    pub fn made(&self, calls: Calls) -> u64 {
        self.0.lock().faults.made(calls)
    }

    /// How many writes (and cuts) and how many syncs (of files and of the directory) were asked for so far.
    pub fn calls(&self) -> (u64, u64) {
        (self.made(Calls::Writes), self.made(Calls::Syncs))
    }

    /// From now on the `nth` of these calls, counted from 1, meets this fault, once.
    pub fn plan(&self, calls: Calls, nth: u64, fault: Fault) {
        self.0.lock().faults.plan(calls, nth, fault);
    }

    /// From now on faults come by chance.
    pub fn by_chance(&self, seed: u64, chances: Chances) {
        self.0.lock().faults.by_chance(seed, chances);
    }

    /// From now on the `n`th write, counted from 1, fails with EIO, once.
    pub fn fail_write(&self, n: u64) {
        self.plan(Calls::Writes, n, Fault::Io);
    }

    /// From now on the `n`th sync, counted from 1, fails with EIO, once.
    pub fn fail_sync(&self, n: u64) {
        self.plan(Calls::Syncs, n, Fault::Io);
    }

    /// From now on no call fails: what was planned or left to chance is taken back. What was lost stays lost.
    pub fn heal(&self) {
        self.0.lock().faults.heal();
    }

    /// Whether the process has met its planned end: no call does anything any more.
    pub fn has_died(&self) -> bool {
        self.0.lock().faults.dead
    }

    /// Whether the two are alike, bytes, names and what of them is not synced: no death would leave on the one what
    /// it could not leave on the other.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let other = other.0.lock().platter.fork();
        self.0.lock().platter.fork() == other
    }

    /// How many calls have failed so far, with EIO or for want of space; what came in pieces did not fail.
    pub fn struck(&self) -> u64 {
        self.0.lock().faults.struck
    }

    /// All that was ever changed here, in its order, as one number: two disks with the same history have the same.
    pub fn history(&self) -> u32 {
        self.0.lock().history
    }

    /// Lets somebody look who is no process: whatever it calls meets no fault and counts for none.
    pub fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let swap = |faults| std::mem::replace(&mut self.0.lock().faults, faults);
        let free_bytes = self.0.lock().faults.free_bytes;
        let kept = swap(Faults::none(free_bytes));
        let found = look();
        drop(swap(kept));
        found
    }

    /// How many bytes files can still grow by before ENOSPC.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.0.lock().faults.free_bytes = free_bytes;
    }

    fn with(platter: Platter, free_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State { platter, faults: Faults::none(free_bytes), history: 0 })))
    }

    /// Counts a call that a fault stops or does not touch.
    fn call(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        match state.faults.strike(call) {
            None => Ok(state),
            Some(fault) => Err(fault.error()),
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call(Call::Name)?;
        state.note(b'o', 0, name.as_bytes());
        let (id, held) = state.platter.open(name);
        drop(state);
        Ok(Arc::new(MemoryFile { disk: self.clone(), id, _held: held }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.call(Call::Look)?.platter.find(name).is_some())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call(Call::Name)?;
        state.note(b'n', from.len() as u64, [from, to].concat().as_bytes());
        let renamed = state.platter.rename(from, to);
        if renamed { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.call(Call::Name)?;
        state.note(b'r', 0, name.as_bytes());
        state.platter.remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.call(Call::SyncDir)?;
        state.note(b'd', 0, &[]);
        state.platter.sync_dir();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.call(Call::Look)?.faults.free_bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }

    fn unique(&self) -> io::Result<[u8; 16]> {
        let names_given = &mut self.call(Call::Look)?.platter.names_given;
        *names_given = names_given.wrapping_add(1);
        Ok([*names_given; 16])
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    id: u64,
    _held: Arc<()>,
}

impl DiskFile for MemoryFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.call(Call::Look)?.platter.file(self.id).now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_whole(self, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        write_whole(self, bytes, at)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.call(Call::SetSize)?;
        state.note(b'c', size_bytes, &self.id.to_le_bytes());
        state.platter.file(self.id).set_size(place(size_bytes)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fault = state.faults.strike(Call::Sync);
        state.note(b's', self.id, &[u8::from(fault.is_none())]);
        let file = state.platter.file(self.id);
        match fault {
            None => {
                file.sync();
                Ok(())
            }
            Some(fault) => {
                if matches!(fault, Fault::Io | Fault::Full) {
                    file.lose_pending();
                }
                Err(fault.error())
            }
        }
    }
}

impl Pieces for MemoryFile {
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        let wanted = match state.faults.strike(Call::Read) {
            None => buffer.len(),
            Some(Fault::Short) => buffer.len().div_ceil(2),
            Some(fault) => return Err(fault.error()),
        };
        let rest = state.platter.file(self.id).now.get(place(at)?..).unwrap_or_default();
        let read = rest.len().min(wanted);
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        let State { platter, faults, .. } = &mut *state;
        let (mut taken, mut error) = match faults.strike(Call::Write) {
            None => (bytes.len(), None),
            Some(Fault::Short) => (bytes.len().div_ceil(2), None),
            Some(fault @ (Fault::Full | Fault::DeadInside)) => (bytes.len() / 2, Some(fault.error())),
            Some(fault) => return Err(fault.error()),
        };
        let (file, at) = (platter.file(self.id), place(at)?);
        let room = file.now.len().saturating_add(place(faults.free_bytes)?).saturating_sub(at);
        if taken > room {
            // As a file system does: what still fits is written, and then it is full.
            (taken, error) = (room, Some(Fault::Full.error()));
            faults.struck += 1;
        }
        if taken > 0 {
            faults.free_bytes -= (at + taken).saturating_sub(file.now.len()) as u64;
            file.write(&bytes[..taken], at);
            state.note(b'w', at as u64, &bytes[..taken]);
        }
        error.map_or(Ok(taken), Err)
    }
}

fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Goal: a power cut keeps what was synced and nothing else; a kill keeps all, and syncs nothing.
    #[test]
    fn a_crash_forgets_what_was_not_synced() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        file.write_at(b"one", 0).expect("room");
        file.sync().expect("no fault");
        assert_eq!(disk.crash().bytes("a"), None, "its name was not synced");
        disk.sync_dir().expect("no fault");
        file.write_at(b"two", 3).expect("room");
        disk.rename("a", "b").expect("there");
        assert_eq!(disk.crash().bytes("a"), Some(b"one".to_vec()));
        let killed = disk.kill();
        assert_eq!((killed.bytes("a"), killed.bytes("b")), (None, Some(b"onetwo".to_vec())));
        assert_eq!(killed.crash().bytes("a"), Some(b"one".to_vec()), "the power can still fail");
        killed.open("b").expect("there").sync().expect("no fault");
        killed.sync_dir().expect("no fault");
        assert_eq!((killed.crash().bytes("b"), disk.crash().bytes("b")), (Some(b"onetwo".to_vec()), None));
    }

    /// Goal: disks are alike if no death could tell them apart. Method: one change after the other, and a copy from
    /// before it.
    #[test]
    fn disks_that_any_death_leaves_alike_are_alike() {
        let disk = MemoryDisk::default();
        let changes: [fn(&MemoryDisk); 7] = [
            |disk| _ = disk.open("a").expect("made"),
            |disk| disk.open("a").expect("there").write_at(b"one", 0).expect("room"),
            |disk| disk.open("a").expect("there").set_size(2).expect("room"),
            |disk| disk.open("a").expect("there").sync().expect("no fault"),
            |disk| disk.sync_dir().expect("no fault"),
            |disk| disk.rename("a", "b").expect("there"),
            |disk| disk.remove("b").expect("there"),
        ];
        for (nth, change) in changes.into_iter().enumerate() {
            let before = disk.kill();
            assert!(disk.is_like(&before) && disk.is_like(&disk), "before change {nth}");
            change(&disk);
            assert!(!disk.is_like(&before) && disk.is_like(&disk.kill()), "after change {nth}");
            disk.exists("a").expect("looked");
            assert!(disk.is_like(&disk.kill()), "to look changes nothing");
        }
    }

    /// Goal: faults come when they were asked for, and a full disk keeps what fitted.
    #[test]
    fn faults_are_counted_from_one() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        disk.fail_write(2);
        disk.fail_sync(1);
        file.write_at(b"x", 0).expect("the first");
        assert!(file.write_at(b"y", 0).is_err() && file.sync().is_err());
        file.sync().expect("once");
        disk.set_free_bytes(2);
        assert_eq!(file.write_at(b"abcd", 1).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes("a"), Some(b"xab".to_vec()));
        assert_eq!(file.write_at(b"z", 9).expect_err("still").kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes("a"), Some(b"xab".to_vec()), "nor is there room for a hole");
    }

    /// Goal: a sync that fails has lost what it was to write, although it is read and the next sync succeeds.
    #[test]
    fn a_failed_sync_is_a_loss_that_nobody_sees() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        disk.sync_dir().expect("no fault");
        file.write_at(b"lost", 0).expect("room");
        disk.fail_sync(1);
        assert!(file.sync().is_err());
        file.write_at(b"kept", 4).expect("room");
        file.sync().expect("as if nothing had been");
        assert_eq!(disk.bytes("a"), Some(b"lostkept".to_vec()));
        assert_eq!(disk.crash().bytes("a"), Some(b"\0\0\0\0kept".to_vec()));
    }

    /// Goal: calls that are interrupted or short are put together again; an end of the process ends all.
    #[test]
    fn pieces_are_put_together() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        let calls = disk.made(Calls::All);
        for (nth, fault) in (1..).zip([Fault::Short, Fault::Interrupted, Fault::Short]) {
            disk.plan(Calls::All, nth, fault);
        }
        file.write_at(b"0123456789", 0).expect("in three pieces and a pause");
        assert_eq!(disk.made(Calls::All) - calls, 4);
        disk.plan(Calls::All, 1, Fault::Interrupted);
        disk.plan(Calls::All, 2, Fault::Short);
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(&mut buffer, 2).expect("in pieces"), 8);
        assert_eq!(&buffer[..8], b"23456789");
        disk.plan(Calls::All, 1, Fault::DeadInside);
        assert!(!disk.has_died() && file.write_at(b"abcd", 0).is_err() && disk.has_died());
        assert!(file.sync().is_err() && disk.exists("a").is_err() && disk.aside(|| disk.exists("a")).is_ok());
        assert!(disk.exists("a").is_err(), "whoever looks on does not bring it back");
        assert_eq!(disk.kill().bytes("a"), Some(b"ab23456789".to_vec()));
    }

    /// Goal: a power cut can leave every mixture of old and new sectors, sizes and names, and no other;
    /// the same choices leave the same bytes. Method: every choice there is, counted through.
    #[test]
    fn a_power_cut_leaves_any_mixture() {
        let disk = MemoryDisk::default();
        let file = disk.open("a").expect("made");
        file.write_at(&[b'o'; 1_024], 0).expect("room");
        file.sync().expect("no fault");
        disk.sync_dir().expect("no fault");
        file.write_at(&[b'n'; 4], 510).expect("room");
        file.write_at(b"m", 1_500).expect("room");
        disk.rename("a", "b").expect("there");
        let mut found = BTreeSet::new();
        let mut digits: Vec<(usize, usize)> = Vec::new();
        loop {
            let mut place = 0;
            let left = disk.power_cut(&mut |bound| {
                if place == digits.len() {
                    digits.push((0, bound));
                }
                place += 1;
                digits[place - 1].0
            });
            let names = left.names();
            let bytes = left.bytes(&names[0]).expect("named");
            assert!(bytes.iter().enumerate().all(|(at, byte)| match at {
                510..514 => b"on".contains(byte),
                1_500 => [0, b'm'].contains(byte),
                at => *byte == if at < 1_024 { b'o' } else { 0 },
            }));
            found.insert((names, bytes));
            while digits.pop_if(|(digit, bound)| *digit + 1 == *bound).is_some() {}
            let Some((digit, _)) = digits.last_mut() else { break };
            *digit += 1;
        }
        // Two names; the first two sectors old, new or torn; short, or long with the third sector or zeros.
        assert_eq!(found.len(), 2 * 3 * 3 * 3);
    }

    /// Goal: chance is seeded. Method: the same calls twice, and their faults.
    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let run = |seed| {
            let disk = MemoryDisk::default();
            let file = disk.open("a").expect("made");
            disk.by_chance(seed, Chances { io: 200_000, full: 100_000, interrupted: 100_000, short: 100_000 });
            let outcomes: Vec<bool> = (0..200).map(|n| file.write_at(b"abcd", n).is_ok()).collect();
            (outcomes, disk.bytes("a"))
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let fine = run(7).0.iter().filter(|fine| **fine).count();
        assert!((100..180).contains(&fine), "{fine} of 200");
    }
}
