//! What goes wrong, now and then, as far as the story allows it.

use crate::blockchain::storage::StoreError;
use crate::simulator::clock::Clock;
use crate::simulator::judge::Violation;
use crate::simulator::machine::Crash;
use crate::simulator::net::{Happening, Host, Life, Partition};
use crate::simulator::world::World;

/// The longest that a machine stays down.
const DOWN_S_MAX: u64 = 600;
/// The longest that the network stays apart.
const APART_S_MAX: u64 = 900;
/// The longest that nothing passes a connection.
const STALL_S_MAX: u64 = 90;
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
    pub(super) fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        self.plan_trouble();
        let faults = self.story.faults;
        let all = [
            (faults.partitions, Trouble::Partition),
            (faults.resets, Trouble::Reset),
            (faults.stalls, Trouble::Stall),
            (faults.crashes, Trouble::Crash),
            (faults.torn, Trouble::Torn),
            (faults.clocks, Trouble::Clock),
        ];
        let allowed: Vec<Trouble> = all.iter().filter(|(is_on, _)| *is_on).map(|(_, trouble)| *trouble).collect();
        let Some(&trouble) = self.chance.pick(&allowed) else { return };
        if self.net.trace.has_lines() {
            self.net.trace.line(self.net.now, &format!("trouble: {trouble:?}"));
        }
        self.tally.figures.troubles += u64::from(!matches!(trouble, Trouble::Crash | Trouble::Torn));
        let host = self.chance.below(self.story.nodes);
        match trouble {
            Trouble::Partition => self.part(),
            Trouble::Reset => {
                if let Some(&link) = self.chance.pick(&self.net.open_links()) {
                    self.net.reset(link);
                }
            }
            Trouble::Stall => {
                if let Some(&link) = self.chance.pick(&self.net.open_links()) {
                    let us = self.chance.between(1_000_000, STALL_S_MAX * 1_000_000);
                    self.net.stall(link, us);
                }
            }
            Trouble::Crash => {
                let how = if self.chance.permille(500) { Crash::Killed } else { Crash::PowerFailed };
                self.crash(host, how);
            }
            Trouble::Torn => self.fail_soon(host),
            Trouble::Clock => self.set_clock_wrong(host),
        }
    }

    /// The network falls into two parts, or one host out of it.
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
        self.net.partition = Some(Partition { parts, until });
    }

    /// One of the next calls to the disk is the last that this machine makes.
    fn fail_soon(&mut self, host: Host) {
        let n = self.chance.between(1, 12);
        if self.chance.permille(500) {
            self.machines[host].fail_write(n);
        } else {
            self.machines[host].fail_sync(n);
        }
        self.machines[host].is_failing = true;
    }

    fn set_clock_wrong(&mut self, host: Host) {
        let wrong_ms = i64::try_from(self.chance.between(0, 2_000 * WRONG_S_MAX)).expect("small");
        let ahead_ms = wrong_ms - i64::try_from(1_000 * WRONG_S_MAX).expect("small");
        let drift_ppm = self.machines[host].clock.drift_ppm;
        self.machines[host].set_clock(Clock { ahead_ms, drift_ppm });
    }

    /// A machine stops without a word, and comes back after a while.
    fn crash(&mut self, host: Host, how: Crash) {
        let machine = &mut self.machines[host];
        if machine.process().is_none() {
            return;
        }
        self.tally.figures.crashes += 1;
        machine.crash(&mut self.net, how);
        self.plan_restart(host);
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
        machine.start(&mut self.net)
    }

    /// A call to a disk has failed: that was when the power went, if it was planned; else it is a bug.
    pub(super) fn disk_failed(&mut self, host: Option<Host>, error: &StoreError) -> Result<(), Violation> {
        let failing = host.filter(|host| self.machines[*host].is_failing);
        let Some(host) = failing else {
            return Err(self.violation(host, format!("a disk without faults failed: {error}")));
        };
        self.machines[host].is_failing = false;
        self.tally.figures.crashes += 1;
        self.tally.figures.torn += 1;
        self.machines[host].crash(&mut self.net, Crash::PowerFailed);
        self.plan_restart(host);
        Ok(())
    }
}
