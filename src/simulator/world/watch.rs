//! Who looks on: after each step the judge sees the node that made it, and now and then all of them.

use std::collections::BTreeSet;

use crate::blockchain::block::Block;
use crate::blockchain::storage::Room;
use crate::node::report::Report;
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::simulator::crowd::Crowd;
use crate::simulator::judge::{self, Judge, Scene, Violation};
use crate::simulator::machine::Machine;
use crate::simulator::net::{Happening, Host, Life, Net, Note};
use crate::simulator::process::Process;
use crate::simulator::reached::name_of;
use crate::simulator::vice::Kind;
use crate::simulator::world::{LOOK_MS, World};

impl World {
    pub(super) fn judge_step(&mut self, host: Option<Host>) -> Result<(), Violation> {
        let notes = std::mem::take(&mut self.net.notes);
        for (host, note) in &notes {
            self.judge_note(*host, note)?;
        }
        if let Some(host) = host {
            self.judge_tip(host)?;
        }
        // What is served may be the newest block.
        for (host, note) in notes {
            if let Note::Served { frames } = note
                && !self.machines[host].is_vicious
            {
                self.judge.on_served(host, &frames).map_err(|what| self.violation(Some(host), what))?;
            }
        }
        Ok(())
    }

    fn judge_tip(&mut self, host: Host) -> Result<(), Violation> {
        let Self { machines, net, judge, crowd, .. } = self;
        let machine = &machines[host];
        let Some(process) = machine.process() else { return Ok(()) };
        let tip = if machine.is_vicious {
            judge.glimpse(host, process.node())
        } else {
            let judged = machine.aside(|| judge.after_step(scene(machine, process, net, crowd)));
            let tip = judged.map_err(|what| self.violation(Some(host), what))?;
            for block in self.judge.news(host) {
                self.tally.arrived(self.net.now, host, &block);
            }
            tip
        };
        if tip.is_some() {
            self.learn_coinbase(host);
        }
        Ok(())
    }

    /// What a crash has left is opened beforehand, as often as it takes to see that it is always the same.
    pub(super) fn judge_recovery(&mut self, host: Host, life: Life) -> Result<(), Violation> {
        let machine = &self.machines[host];
        if machine.is_vicious || machine.life != life || machine.process().is_some() {
            return Ok(());
        }
        let judged = judge::recovers_alike(machine.config(), &machine.disk_copy());
        judged.map_err(|what| self.violation(Some(host), what))
    }

    /// The crowd hears of what the miner of a new tip earned.
    fn learn_coinbase(&mut self, host: Host) {
        let Some(process) = self.machines[host].process() else { return };
        let tip = process.node().chain().tip();
        if !self.tally.is_news(&tip.id) {
            return;
        }
        let bytes = self.machines[host].aside(|| process.node().reader().block(tip.record));
        let Ok(bytes) = bytes else { return };
        let Ok(block) = codec::decode::<Block>(&bytes) else { return };
        self.crowd.on_coinbase(&self.params, tip.header.height, block.coinbase.id(), &block.coinbase.output);
    }

    fn judge_note(&mut self, host: Host, note: &Note) -> Result<(), Violation> {
        if let Note::Found { id, bytes } = note {
            let waiting = self.running().map(|(host, _)| host).collect();
            self.tally.found(self.net.now, *id, *bytes, waiting);
            // It does nothing else than it should, and what it should do is wrong.
            self.net.misdeeds[host] += u64::from(self.kind(host) == Some(Kind::WrongClock));
        }
        if self.machines[host].is_vicious {
            return Ok(());
        }
        let judged = match note {
            Note::Told(report) => {
                self.count(report);
                let Self { machines, net, judge, crowd, .. } = self;
                let machine = &machines[host];
                machine.process().map_or(Ok(()), |process| {
                    machine.aside(|| judge.on_report(scene(machine, process, net, crowd), report))
                })
            }
            Note::HungUp { on, reason } => {
                self.tally.figures.hang_ups += 1;
                self.tally.figures.blamed += u64::from(reason.is_fault());
                self.tally.figures.reached.add(format!("hang-up {}", name_of(reason)), 1);
                if self.machines[*on].is_vicious { Ok(()) } else { Judge::on_hang_up(*on, reason) }
            }
            Note::Found { .. } | Note::Served { .. } => Ok(()),
        };
        judged.map_err(|what| self.violation(Some(host), what))
    }

    fn count(&mut self, report: &Report) {
        let figures = &mut self.tally.figures;
        match report {
            Report::Tip { undone, .. } if *undone > 0 => {
                figures.reorganisations += 1;
                figures.deepest = figures.deepest.max(*undone);
            }
            Report::Confirmed { ids, .. } => figures.confirmed += ids.len() as u64,
            Report::Heavier { .. } => figures.reached.add("second pass", 1),
            Report::Room { room: Room::Low { .. } } => figures.reached.add("trouble Full", 1),
            _ => {}
        }
    }

    pub(super) fn look(&mut self) -> Result<(), Violation> {
        self.net.plan(LOOK_MS * 1_000, Happening::Look);
        let mut works = Vec::new();
        for host in 0..self.machines.len() {
            let Self { machines, net, crowd, .. } = self;
            let machine = &machines[host];
            let Some(process) = machine.process().filter(|_| !machine.is_vicious) else { continue };
            let judged = machine.aside(|| Judge::look(scene(machine, process, net, crowd), process));
            works.push((host, process.node().chain().tip().work));
            judged.map_err(|what| self.violation(Some(host), what))?;
        }
        let behind = self.judge.look_at_works(&works).filter(|_| !self.story.faults.has_troubles());
        match behind {
            Some(host) => Err(self.violation(Some(host), "it stays behind, although nothing is in its way".into())),
            None => Ok(()),
        }
    }

    pub(super) fn measure(&mut self) {
        for machine in &self.machines {
            self.net.trace.disk(machine.host, machine.disk());
        }
        let tips: BTreeSet<Hash> = self.running().map(|(_, process)| process.node().chain().tip().id).collect();
        let height = self.running().map(|(_, process)| process.node().chain().tip().header.height).max();
        let waiting = self.running().map(|(_, process)| process.node().pool().len()).max();
        let (running, connections) = (self.running().count(), self.net.open_links().len());
        self.measure_propagation();
        let figures = &mut self.tally.figures;
        figures.virtual_ms = self.net.now.0 / 1_000;
        (figures.tips, figures.running, figures.connections) = (tips.len(), running, connections);
        (figures.height, figures.waiting) = (height.unwrap_or(0), waiting.unwrap_or(0));
        (figures.bytes, figures.happenings) = (self.net.bytes_sent, self.net.trace.happenings());
        figures.trace = format!("{:016x}", self.net.trace.hash());
    }

    /// How blocks of the best chain got around; the others are still on their way or lost, and no figure is about them.
    fn measure_propagation(&mut self) {
        let best = self.running().max_by_key(|(_, process)| process.node().chain().tip().work);
        let Some((host, process)) = best else { return };
        let (chain, tip) = (process.node().chain(), process.node().chain().tip());
        let ids = (1..=tip.header.height).rev().map_while(|height| chain.reader().record_at(height));
        let ids = self.machines[host].aside(|| -> Vec<Hash> {
            ids.map_while(|record| chain.store().meta(record).ok()).map(|meta| meta.id).collect()
        });
        self.tally.measure(&ids);
    }

    /// Counts at the end what is too much for names while it happens.
    pub(super) fn sum_up(&mut self) {
        let reached = &mut self.tally.figures.reached;
        self.net.effects.add_to(reached);
        for (kind, times) in self.story.byzantine.iter().zip(&self.net.misdeeds[self.story.nodes..]) {
            reached.add(kind.name(), *times);
        }
    }
}

/// An honest node, to be judged.
pub(super) fn scene<'a>(machine: &Machine, process: &'a Process, net: &Net, crowd: &'a Crowd) -> Scene<'a> {
    let (host, life, at) = (machine.host, machine.life, net.now);
    Scene { host, life, at, now: machine.clock.now(at), node: process.node(), crowd }
}
