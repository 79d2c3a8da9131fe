//! What goes wrong at which call: told beforehand by number, or by seeded chance.

use std::io;

use crate::primitives::rng::Rng;

/// EINTR, EIO, ENOSPC: what Linux says.
const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What can go wrong at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO: nothing is done. A sync that fails so has lost what it was to write: the next one succeeds, and
    /// it is not there all the same.
    Io,
    /// ENOSPC: half of a write is done. Calls that take no space do not meet it.
    Full,
    /// EINTR at a read or a write: nothing is done. At other calls the system's library goes on by itself.
    Interrupted,
    /// Half of a read or a write is done, and no more is claimed.
    Short,
    /// The process ends before this call: neither it nor any after it does anything.
    Dead,
    /// The process ends in the middle of this call: half of a write is done.
    DeadInside,
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Every one: one for each method, and one for each piece of a read or a write that came in pieces.
    All,
    /// Writes to files, and changes of their size.
    Writes,
    /// Syncs of files and of the directory.
    Syncs,
}

/// How often each fault comes by chance, in a million calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chances {
    /// [`Fault::Io`].
    pub io: usize,
    /// [`Fault::Full`].
    pub full: usize,
    /// [`Fault::Interrupted`].
    pub interrupted: usize,
    /// [`Fault::Short`].
    pub short: usize,
}

/// The calls, as far as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Looks, and changes nothing.
    Look,
    Read,
    /// Makes, renames or removes a name.
    Name,
    Write,
    SetSize,
    Sync,
    SyncDir,
}

#[derive(Debug)]
pub(super) struct Faults {
    all: u64,
    writes: u64,
    syncs: u64,
    planned: Vec<(Calls, u64, Fault)>,
    chance: Option<(Rng, Chances)>,
    pub(super) dead: bool,
    /// Calls that failed with EIO or ENOSPC, and writes for which there was no space.
    pub(super) struck: u64,
    /// How far files can still grow.
    pub(super) free_bytes: u64,
}

impl Faults {
    pub(super) fn none(free_bytes: u64) -> Self {
        Self { all: 0, writes: 0, syncs: 0, planned: Vec::new(), chance: None, dead: false, struck: 0, free_bytes }
    }

    pub(super) fn made(&self, calls: Calls) -> u64 {
        match calls {
            Calls::All => self.all,
            Calls::Writes => self.writes,
            Calls::Syncs => self.syncs,
        }
    }

    pub(super) fn plan(&mut self, calls: Calls, nth: u64, fault: Fault) {
        self.planned.push((calls, self.made(calls) + nth, fault));
    }

    pub(super) fn heal(&mut self) {
        self.planned.clear();
        self.chance = None;
    }

    pub(super) fn by_chance(&mut self, seed: u64, chances: Chances) {
        self.chance = Some((Rng::new(seed), chances));
    }

    /// Counts a call; gives the fault that it meets, if any.
    pub(super) fn strike(&mut self, call: Call) -> Option<Fault> {
        let counted = match call {
            Call::Write | Call::SetSize => Some(Calls::Writes),
            Call::Sync | Call::SyncDir => Some(Calls::Syncs),
            Call::Look | Call::Read | Call::Name => None,
        };
        self.all += 1;
        self.writes += u64::from(counted == Some(Calls::Writes));
        self.syncs += u64::from(counted == Some(Calls::Syncs));
        if self.dead {
            return Some(Fault::Dead);
        }
        let here = |(calls, nth, _): &(Calls, u64, Fault)| {
            (*calls == Calls::All || counted == Some(*calls)) && *nth == self.made(*calls)
        };
        let planned = self.planned.iter().position(here).map(|place| self.planned.swap_remove(place).2);
        let fault = planned.or_else(|| self.drawn())?;
        self.dead = matches!(fault, Fault::Dead | Fault::DeadInside);
        let struck = meets(call, fault).then_some(fault);
        self.struck += u64::from(matches!(struck, Some(Fault::Io | Fault::Full)));
        struck
    }

    fn drawn(&mut self) -> Option<Fault> {
        let (rng, Chances { io, full, interrupted, short }) = self.chance.as_mut()?;
        let mut drawn = rng.below(1_000_000);
        for (chance, fault) in
            [(io, Fault::Io), (full, Fault::Full), (interrupted, Fault::Interrupted), (short, Fault::Short)]
        {
            if drawn < *chance {
                return Some(fault);
            }
            drawn -= *chance;
        }
        None
    }
}

/// Whether a fault of this kind can be seen at this call.
fn meets(call: Call, fault: Fault) -> bool {
    match fault {
        Fault::Io | Fault::Dead | Fault::DeadInside => true,
        Fault::Full => !matches!(call, Call::Look | Call::Read),
        Fault::Interrupted | Fault::Short => matches!(call, Call::Read | Call::Write),
    }
}

impl Fault {
    /// What the system says.
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::from_raw_os_error(EIO),
            Self::Full => io::Error::from_raw_os_error(ENOSPC),
            Self::Interrupted => io::Error::from_raw_os_error(EINTR),
            Self::Short => io::ErrorKind::WriteZero.into(),
            Self::Dead | Self::DeadInside => io::Error::other("the process has ended"),
        }
    }
}
