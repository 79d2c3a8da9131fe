//! One simulated computer: what stays when its process dies.
//!
//! Its disk, its clock, its place in the network, and how often it has started. A crash is a killed process
//! (what was written is there) or a failure of power (only what was synced is), at any event, and also while
//! the node opens its files.

use std::sync::Arc;

use crate::blockchain::disk::Disk;
use crate::blockchain::memory_disk::MemoryDisk;
use crate::blockchain::storage::StoreError;
use crate::node::NodeConfig;
use crate::node::session::SessionConfig;
use crate::simulator::chance::Chance;
use crate::simulator::clock::Clock;
use crate::simulator::miner::Miner;
use crate::simulator::net::{Host, Life, Net};
use crate::simulator::process::{Pace, Process, Start};
use crate::simulator::vice::Vice;

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// `kill -9`: the system goes on, so all that was written is there, and connections are reset.
    Killed,
    /// Only what was synced is there, and nobody is told.
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
    process: Option<Process>,
    vice: Option<Box<dyn Vice>>,
    /// Whether it cheats, whatever its vice is doing now.
    pub(crate) is_vicious: bool,
    /// A call to its disk is going to fail.
    pub(crate) is_failing: bool,
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
}

impl Machine {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let Plan { host, config, session, clock, pace, rate, vice, is_vicious } = plan;
        let (chance, disk) = (Chance::new(seed, "machine", host), MemoryDisk::default());
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
            process: None,
            vice,
            is_vicious,
            is_failing: false,
        }
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
        self.is_failing = false;
        self.disk = match how {
            Crash::Killed => self.disk.kill(),
            Crash::PowerFailed => self.disk.crash(),
        };
    }

    /// The `n`th write from now fails, counted from 1: the moment at which the power goes.
    pub(crate) fn fail_write(&self, n: u64) {
        self.disk.fail_write(n);
    }

    /// The same for a sync.
    pub(crate) fn fail_sync(&self, n: u64) {
        self.disk.fail_sync(n);
    }

    /// No call to the disk fails any more.
    pub(crate) fn heal_disk(&mut self) {
        self.disk.heal();
        self.is_failing = false;
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
