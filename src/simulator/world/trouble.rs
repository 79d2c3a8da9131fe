//! What goes wrong, now and then, as far as the story allows it.

use crate::blockchain::memory_disk::{Calls, Fault};
use crate::blockchain::storage::{ROOM_AGAIN_BYTES, StoreError};
use crate::simulator::clock::Clock;
use crate::simulator::judge::Violation;
use crate::simulator::machine::Crash;
use crate::simulator::net::{Happening, Host, Life, Partition};
use crate::simulator::world::World;

/// The longest that a machine stays down.
const DOWN_S_MAX: u64 = 600;
/// The longest that the network stays apart.
const APART_S_MAX: u64 = 900;
/// Partitions of a thousand in which one part still reaches the other.
const ONE_WAY_PERMILLE: u32 = 250;
/// The longest that nothing passes a connection.
const STALL_S_MAX: u64 = 90;
/// The longest that a disk stays full.
const FULL_S_MAX: u64 = 600;
/// Of a thousand starts, those in which the power fails again while the node opens its files; and those in which
/// a call to the disk fails then.
const AGAIN_PERMILLE: u32 = 200;
/// How wrong a clock is set at most.
const WRONG_S_MAX: u64 = 300;

/// Kinds of trouble.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Partition,
    Reset,
    Stall,
    Crash,
    Torn,
    Disk,
    Full,
    Clock,
}

impl World {
    pub(super) fn plan_trouble(&mut self) {
        if self.story.faults.has_troubles() {
            let wait_us = self.chance.exponential(self.story.trouble_s * 1_000_000);
            self.net.plan(wait_us, Happening::Trouble);
        }
    }

    /// Something goes wrong.
    pub(super) fn trouble(&mut self) -> Result<(), StoreError> {
        if self.is_calm {
            return Ok(());
        }
        self.plan_trouble();
        let faults = self.story.faults;
        let all = [
            (faults.partitions, Trouble::Partition),
            (faults.resets, Trouble::Reset),
            (faults.stalls, Trouble::Stall),
            (faults.crashes, Trouble::Crash),
            (faults.torn, Trouble::Torn),
            (faults.disks, Trouble::Disk),
            (faults.disks, Trouble::Full),
            (faults.clocks, Trouble::Clock),
        ];
        let allowed: Vec<Trouble> = all.iter().filter(|(is_on, _)| *is_on).map(|(_, trouble)| *trouble).collect();
        let Some(&trouble) = self.chance.pick(&allowed) else { return Ok(()) };
        if self.net.trace.has_lines() {
            self.net.trace.line(self.net.now, &format!("trouble: {trouble:?}"));
        }
        let host = self.chance.below(self.story.nodes);
        self.acting = Some(host);
        match trouble {
            Trouble::Partition => self.part(),
            Trouble::Reset => {
                if let Some(&link) = self.chance.pick(&self.net.open_links()) {
                    self.net.reset(link);
                    self.count_trouble(trouble);
                }
            }
            Trouble::Stall => {
                if let Some(&link) = self.chance.pick(&self.net.open_links()) {
                    let us = self.chance.between(1_000_000, STALL_S_MAX * 1_000_000);
                    self.net.stall(link, us);
                    self.count_trouble(trouble);
                }
            }
            Trouble::Crash => self.end_process(host)?,
            Trouble::Torn => self.lose_power_soon(host),
            Trouble::Disk => self.fail_soon(host),
            Trouble::Full => self.fill_disk(host),
            Trouble::Clock => self.set_clock_wrong(host),
        }
        Ok(())
    }

    /// Trouble that somebody could notice, and that ends no process by itself.
    fn count_trouble(&mut self, trouble: Trouble) {
        self.tally.figures.troubles += 1;
        self.tally.figures.reached.add(format!("trouble {trouble:?}"), 1);
    }

    /// The network falls into two parts, or one host out of it; now and then one way only.
    fn part(&mut self) {
        let mut parts = vec![0; self.machines.len()];
        if self.chance.permille(300) {
            let alone = self.chance.below(parts.len());
            parts[alone] = 1;
        } else {
            for part in &mut parts {
                *part = u8::from(self.chance.permille(500));
            }
        }
        let until = self.net.now.after_us(self.chance.between(1_000_000, APART_S_MAX * 1_000_000));
        let is_one_way = self.later.permille(ONE_WAY_PERMILLE);
        self.net.partition = Some(Partition { parts, is_one_way, until });
        if self.net.open_links().into_iter().any(|link| self.net.is_apart(link)) {
            self.count_trouble(Trouble::Partition);
            self.tally.figures.reached.add("trouble one way", u64::from(is_one_way));
        }
    }

    /// One of the next calls to the disk is the last that this machine makes: the power fails before it or in its
    /// middle.
    fn lose_power_soon(&mut self, host: Host) {
        let calls = *self.chance.pick(&[Calls::Writes, Calls::Syncs, Calls::All]).expect("three");
        let nth = self.chance.between(1, if calls == Calls::All { 60 } else { 12 });
        let fault = if self.chance.permille(500) { Fault::Dead } else { Fault::DeadInside };
        self.machines[host].fail_soon(calls, nth, fault);
    }

    /// One of the next calls to the disk fails.
    fn fail_soon(&mut self, host: Host) {
        let calls = *self.chance.pick(&[Calls::Writes, Calls::Syncs, Calls::All]).expect("three");
        let nth = self.chance.between(1, if calls == Calls::All { 60 } else { 12 });
        let fault = if self.chance.permille(700) { Fault::Io } else { Fault::Full };
        self.machines[host].fail_soon(calls, nth, fault);
    }

    /// A disk has less space than a node wants to leave, or next to none.
    fn fill_disk(&mut self, host: Host) {
        let free_bytes = if self.chance.permille(500) { ROOM_AGAIN_BYTES } else { 4_096 };
        let free_bytes = self.chance.between(0, free_bytes);
        self.machines[host].set_free_bytes(Some(free_bytes));
        let us = self.chance.between(1_000_000, FULL_S_MAX * 1_000_000);
        self.net.plan(us, Happening::Freed(host));
    }

    /// Somebody has made room.
    pub(super) fn free_disk(&mut self, host: Host) {
        self.machines[host].set_free_bytes(None);
    }

    fn set_clock_wrong(&mut self, host: Host) {
        let wrong_ms = i64::try_from(self.chance.between(0, 2_000 * WRONG_S_MAX)).expect("small");
        let ahead_ms = wrong_ms - i64::try_from(1_000 * WRONG_S_MAX).expect("small");
        let drift_ppm = self.machines[host].clock.drift_ppm;
        self.machines[host].set_clock(Clock { ahead_ms, drift_ppm });
        if self.machines[host].process().is_some() {
            self.count_trouble(Trouble::Clock);
        }
    }

    /// A process is told to stop, or killed, or its machine's power fails; it comes back after a while.
    fn end_process(&mut self, host: Host) -> Result<(), StoreError> {
        let machine = &mut self.machines[host];
        if machine.process().is_none() {
            return Ok(());
        }
        self.tally.figures.crashes += 1;
        self.tally.figures.reached.add("trouble Crash", 1);
        let (how, stopped) = match self.chance.below(5) {
            0 => {
                let (is_full, struck) = (machine.is_full(), machine.struck());
                let stopped = machine.stop(&mut self.net);
                let is_whole = !machine.has_lost_power() && !is_full && machine.struck() == struck;
                let is_kept = stopped.is_ok() && is_whole;
                self.judge.on_stop(host, is_kept);
                ("Stopped".to_owned(), stopped)
            }
            drawn => {
                let how = if drawn < 3 { Crash::Killed } else { Crash::PowerFailed };
                machine.crash(&mut self.net, how);
                (format!("{how:?}"), Ok(()))
            }
        };
        self.tally.figures.reached.add(format!("end {how}"), 1);
        self.plan_restart(host);
        stopped
    }

    fn plan_restart(&mut self, host: Host) {
        let life = self.machines[host].life;
        let down_us = if self.is_calm { 1_000_000 } else { self.chance.between(0, DOWN_S_MAX * 1_000_000) };
        self.net.plan(down_us, Happening::Restart(host, life));
    }

    /// A machine comes back, unless it has already.
    pub(super) fn restart(&mut self, host: Host, life: Life) -> Result<(), StoreError> {
        let machine = &mut self.machines[host];
        if machine.life != life || machine.process().is_some() {
            return Ok(());
        }
        let is_fragile = self.story.faults.torn && !self.is_calm && !machine.is_vicious;
        if is_fragile && self.chance.permille(AGAIN_PERMILLE) {
            let nth = self.chance.between(1, 60);
            machine.fail_soon(Calls::All, nth, Fault::Dead);
        }
        let is_failing = self.story.faults.disks && !self.is_calm && !machine.is_vicious;
        if is_failing && self.later.permille(AGAIN_PERMILLE) {
            let nth = self.later.between(1, 60);
            machine.fail_soon(Calls::All, nth, Fault::Io);
        }
        let started = machine.start(&mut self.net);
        if machine.struck() > 0 {
            // What it saved of its pool may be what it could not read.
            self.judge.on_stop(host, false);
        }
        started
    }

    /// A step has come to its end, or to an error.
    ///
    /// The power may have gone in the middle, and then an error means nothing; a disk of which a call has failed in
    /// this life ends its process with an error of the disk. Any other is a bug.
    pub(super) fn settle(&mut self, stepped: Result<(), StoreError>) -> Result<(), Violation> {
        let host = self.acting;
        if let Some(host) = host.filter(|host| self.machines[*host].has_lost_power()) {
            self.tally.figures.torn += 1;
            self.tally.figures.reached.add("end in a call", 1);
            self.tally.figures.reached.add("trouble Torn", 1);
            self.fall(host, Crash::PowerFailed);
            return Ok(());
        }
        let Err(error) = stepped else { return Ok(()) };
        let is_of_disk = matches!(error, StoreError::Io { .. } | StoreError::Poisoned { .. });
        match host.filter(|host| is_of_disk && self.machines[*host].struck() > 0) {
            Some(host) => {
                self.tally.figures.disk_failures += 1;
                self.tally.figures.reached.add("end by the disk", 1);
                self.tally.figures.reached.add("trouble Disk", 1);
                if self.machines[host].process().is_none() {
                    self.tally.figures.reached.add("end by the disk at the start", 1);
                }
                self.fall(host, Crash::Killed);
                Ok(())
            }
            None => Err(self.violation(host, format!("a disk without faults failed: {error}"))),
        }
    }

    fn fall(&mut self, host: Host, how: Crash) {
        self.tally.figures.crashes += 1;
        self.machines[host].crash(&mut self.net, how);
        self.plan_restart(host);
    }
}
