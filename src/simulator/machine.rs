//! One simulated computer: what stays when its process dies.
//!
//! Its disk, its clock, its place in the network, and how often it has started. A process is told to stop, or
//! killed (what was written is there), or the power fails (what was synced is there, and of the rest any sectors and
//! names, old, new or torn), at any event, between two calls to the disk, and also while the node opens its files.
//! A disk that fails or is full ends a process too, with an error.

use std::sync::Arc;

use crate::blockchain::disk::Disk;
use crate::blockchain::memory_disk::{Calls, Chances, Fault, MemoryDisk};
use crate::blockchain::storage::StoreError;
use crate::node::NodeConfig;
use crate::node::session::SessionConfig;
use crate::simulator::chance::Chance;
use crate::simulator::clock::Clock;
use crate::simulator::miner::Miner;
use crate::simulator::net::{Host, Life, Net};
use crate::simulator::process::{Pace, Process, Start};
use crate::simulator::vice::Vice;

/// Of a million reads and writes, those that come in pieces or are interrupted: no node may notice.
const PIECES: Chances = Chances { io: 0, full: 0, interrupted: 20_000, short: 20_000 };
/// Bytes that are free on a disk that is not full.
const FREE_BYTES: u64 = 1 << 40;

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// `kill -9`: the system goes on, so all that was written is there, and connections are reset.
    Killed,
    /// What was synced is there, and of the rest anything; nobody is told.
    PowerFailed,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) life: Life,
    config: NodeConfig,
    session: SessionConfig,
    pub(crate) clock: Clock,
    pace: Pace,
    disk: MemoryDisk,
    rate: u64,
    chance: Chance,
    /// Where sectors tear.
    tears: Chance,
    process: Option<Process>,
    vice: Option<Box<dyn Vice>>,
    /// Whether it cheats, whatever its vice is doing now.
    pub(crate) is_vicious: bool,
    /// Its disk does things in pieces.
    in_pieces: bool,
    /// A call to its disk is going to fail, or has.
    is_failing: bool,
    /// Calls to its disk that had failed when it started last.
    struck_before: u64,
    /// Its disk is all but full.
    is_full: bool,
}

/// What a machine is like.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) host: Host,
    pub(crate) config: NodeConfig,
    pub(crate) session: SessionConfig,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    /// Hashes an hour.
    pub(crate) rate: u64,
    pub(crate) vice: Option<Box<dyn Vice>>,
    pub(crate) is_vicious: bool,
    /// Whether its disk does reads and writes in pieces.
    pub(crate) in_pieces: bool,
}

impl Machine {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let Plan { host, config, session, clock, pace, rate, vice, is_vicious, in_pieces } = plan;
        let (chance, disk) = (Chance::new(seed, "machine", host), MemoryDisk::default());
        let tears = Chance::new(seed, "tears", host);
        Self {
            host,
            life: 0,
            config,
            session,
            clock,
            pace,
            disk,
            rate,
            chance,
            tears,
            process: None,
            vice,
            is_vicious,
            in_pieces,
            is_failing: false,
            struck_before: 0,
            is_full: false,
        }
    }

    /// What it has before it first starts.
    pub(crate) fn set_disk(&mut self, disk: MemoryDisk) {
        self.disk = disk;
    }

    /// The running process, if it runs.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// The process of this life, if it still runs.
    pub(crate) fn living(&mut self, life: Life) -> Option<&mut Process> {
        self.process.as_mut().filter(|_| self.life == life)
    }

    /// The running process.
    pub(crate) fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts the node on what the disk has.
    pub(crate) fn start(&mut self, net: &mut Net) -> Result<(), StoreError> {
        self.life += 1;
        self.struck_before = self.disk.struck();
        // As a process draws it once.
        self.config.nonce = self.chance.draw();
        let luck = Chance::new(self.chance.draw(), "luck", self.host);
        let start = Start {
            host: self.host,
            life: self.life,
            config: self.config.clone(),
            session: self.session.clone(),
            clock: self.clock,
            pace: self.pace,
            miner: Miner::new(Arc::clone(&self.config.params), self.rate, luck),
            vice: self.vice.take(),
        };
        if self.in_pieces {
            self.disk.by_chance(self.chance.draw(), PIECES);
        }
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.process = Some(Process::start(start, disk, net)?);
        Ok(())
    }

    /// Stops it without a word.
    pub(crate) fn crash(&mut self, net: &mut Net, how: Crash) {
        if let Some(process) = self.process.take() {
            self.vice = process.die(net, how == Crash::PowerFailed);
        }
        self.life += 1;
        (self.is_failing, self.struck_before) = (false, 0);
        net.trace.disk(self.host, &self.disk);
        let (chance, tears) = (&mut self.chance, &mut self.tears);
        self.disk = match how {
            Crash::Killed => self.disk.kill(),
            Crash::PowerFailed => {
                self.disk.power_cut_torn(&mut |bound| chance.below(bound), &mut |bytes| tears.below(bytes + 1))
            }
        };
    }

    /// Tells it to stop, and waits.
    pub(crate) fn stop(&mut self, net: &mut Net) -> Result<(), StoreError> {
        let Some(process) = self.process.take() else { return Ok(()) };
        self.life += 1;
        let (vice, stopped) = process.stop(net);
        self.vice = vice;
        stopped
    }

    /// The `nth` of these calls to the disk from now on, counted from 1, meets this.
    pub(crate) fn fail_soon(&mut self, calls: Calls, nth: u64, fault: Fault) {
        self.disk.plan(calls, nth, fault);
        self.is_failing = true;
    }

    /// The disk has so little space from now on, or as much as it likes.
    pub(crate) fn set_free_bytes(&mut self, free_bytes: Option<u64>) {
        self.is_full = free_bytes.is_some();
        self.disk.set_free_bytes(free_bytes.unwrap_or(FREE_BYTES));
    }

    /// No call to the disk fails any more.
    pub(crate) fn heal_disk(&mut self) {
        (self.is_failing, self.in_pieces) = (false, false);
        self.disk.heal();
        self.set_free_bytes(None);
    }

    /// How many calls to the disk have failed since the process started: only then may it end with an error.
    pub(crate) fn struck(&self) -> u64 {
        self.disk.struck() - self.struck_before
    }

    /// Whether there is next to no space on its disk.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Its disk, whose history is a part of what happened.
    pub(crate) fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// Whether the power has gone, in the middle of a call to the disk.
    pub(crate) fn has_lost_power(&self) -> bool {
        self.is_failing && self.disk.has_died()
    }

    /// Lets somebody look at its node who must not meet the faults of its disk.
    pub(crate) fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        if self.is_failing || self.in_pieces { self.disk.aside(look) } else { look() }
    }

    /// What the disk holds now, as another disk, to be looked at.
    pub(crate) fn disk_copy(&self) -> MemoryDisk {
        self.disk.kill()
    }

    /// What its node is started with.
    pub(crate) fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Sets the clock right, or wrong.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        if let Some(process) = &mut self.process {
            process.set_clock(clock);
        }
    }

    /// Its miner begins anew, as if it had only been off.
    pub(crate) fn mine_again(&mut self, net: &mut Net, rate: u64) {
        self.set_rate(rate);
        let who = (self.host, self.life);
        if let Some(process) = &mut self.process {
            process.miner.search_on(net, who);
        }
    }

    /// How much it hashes from now on.
    pub(crate) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
        if let Some(process) = &mut self.process {
            process.miner.set_rate(rate);
        }
    }
}
