//! The second act: nothing goes wrong any more, and within a bounded time all must agree.
//!
//! Nothing but peers: in some stories those who cheat without mining go on to the end. First all agree on work (two
//! branches of equal work may stand side by side: first seen stays), then, after one more block, on one tip, on one
//! ledger, and on a payment that was made meanwhile, wherever anybody has a coin that is ripe. Each node must have an
//! honest peer that it chose itself, its ledger must be what the blocks come to, by a second opinion, and what a
//! restart from the file gives. Then those who cheat are gone, nothing is left to do, and next to nothing may be done.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::blockchain::disk::Disk;
use crate::blockchain::memory_disk::MemoryDisk;
use crate::blockchain::storage::CHECKPOINT;
use crate::blockchain::transaction::CoinId;
use crate::node::Node;
use crate::node::event::{Direction, PeerId};
use crate::primitives::hash::Hash;
use crate::simulator::clock::Clock;
use crate::simulator::end::End;
use crate::simulator::judge::{Judge, Violation, list};
use crate::simulator::machine::Crash;
use crate::simulator::net::{Happening, Host, Net};
use crate::simulator::process::Process;
use crate::simulator::queue::At;
use crate::simulator::tally::Figures;
use crate::simulator::vice::Kind;
use crate::simulator::world::World;
use crate::simulator::world::watch::scene;

/// Everybody comes back and finds others; blocks are still found.
const SETTLE_S: u64 = 240;
/// The longest until all have the same work.
const AGREE_S: u64 = 900;
/// A payment is in every pool, and a block everybody's tip, by then.
const SPREAD_S: u64 = 60;
/// Two looks at whether all agree.
const STEP_S: u64 = 5;
/// What a connection may carry in a minute in which nothing happens: pings, both ways.
const IDLE_LINK_BYTES: u64 = 1_024;
/// What a node may send in it besides: to somebody whom it has just found.
const IDLE_NODE_BYTES: u64 = 8_192;
/// What may happen to a node in it: four ticks a second, and what a few pings take.
const IDLE_NODE_HAPPENINGS: u64 = 1_000;

type Watch<'a> = &'a mut dyn FnMut(&Figures);

impl World {
    /// See the top of the file.
    pub(super) fn calm_down(&mut self, watch: Watch) -> Result<(), Violation> {
        self.end_trouble();
        self.pause(watch)?;
        self.pass(SETTLE_S, watch)?;
        // Blocks are still found: a branch that was too far ahead of the clocks is heard of with its next one.
        self.await_all("all have the same work", AGREE_S, watch, |world| world.works().len() == 1)?;
        self.machines.iter_mut().for_each(|machine| machine.set_rate(0));
        self.await_all("all still have the same work", SPREAD_S, watch, |world| world.works().len() == 1)?;
        let payment = self.last_payment()?;
        if let Some(payment) = payment {
            let has = |process: &Process| process.node().pool().contains(&payment);
            let what = format!("payment {payment:.12} waits everywhere");
            self.await_all(&what, SPREAD_S, watch, |world| world.running().all(|(_, process)| has(process)))?;
        }
        // Miners take better fees up once a second.
        self.pass(STEP_S, watch)?;
        self.last_block()?;
        self.await_all("all have one tip", SPREAD_S, watch, |world| world.tips().len() == 1)?;
        self.await_all("all rest", SPREAD_S, watch, |world| world.running().all(|(_, process)| process.rests()))?;
        self.look_at_the_end(payment)?;
        self.tally.figures.reached.add("calm payment", u64::from(payment.is_some()));
        self.end_cheats(watch)?;
        self.idle(watch)
    }

    /// The last of those who cheat go; whoever had to do with them finds somebody else.
    fn end_cheats(&mut self, watch: Watch) -> Result<(), Violation> {
        let Self { machines, net, .. } = self;
        let staying: Vec<_> = machines.iter_mut().filter(|m| m.is_vicious && m.process().is_some()).collect();
        if staying.is_empty() {
            return Ok(());
        }
        for machine in staying {
            machine.crash(net, Crash::Killed);
        }
        self.tally.figures.reached.add("calm among cheats", 1);
        self.pass(SETTLE_S, watch)
    }

    fn end_trouble(&mut self) {
        self.is_calm = true;
        self.net.clear_up();
        for host in 0..self.machines.len() {
            let stays = self.story.cheats_stay && self.kind(host).is_some_and(Kind::may_stay);
            let machine = &mut self.machines[host];
            machine.heal_disk();
            if machine.is_vicious {
                machine.set_rate(0);
                if !stays {
                    machine.crash(&mut self.net, Crash::Killed);
                }
                continue;
            }
            let drift_ppm = machine.clock.drift_ppm;
            machine.set_clock(Clock { ahead_ms: 0, drift_ppm });
            if machine.process().is_none() {
                let life = machine.life;
                self.net.plan(1_000_000, Happening::Restart(host, life));
            }
        }
    }

    /// Nobody finds a block for a while, as in a night in which all machines are off.
    fn pause(&mut self, watch: Watch) -> Result<(), Violation> {
        if self.story.pause_minutes == 0 {
            return Ok(());
        }
        self.machines.iter_mut().for_each(|machine| machine.set_rate(0));
        self.pass(self.story.pause_minutes * 60, watch)?;
        let rate = self.rate(false);
        for host in 0..self.machines.len() {
            let Self { machines, net, .. } = self;
            if !machines[host].is_vicious {
                machines[host].mine_again(net, rate);
            }
        }
        Ok(())
    }

    fn pass(&mut self, seconds: u64, watch: Watch) -> Result<(), Violation> {
        self.run_until(self.net.now.after_ms(seconds * 1_000), watch)
    }

    /// Lets time pass until something holds, or too much has passed.
    fn await_all(
        &mut self,
        what: &str,
        limit_s: u64,
        watch: Watch,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let until: At = self.net.now.after_ms(limit_s * 1_000);
        while !(self.running().count() == self.story.nodes && holds(self)) {
            if self.net.now >= until {
                let (running, tips) = (self.running().count(), self.tips());
                let text = format!(
                    "{limit_s} s after trouble ended it does not hold that {what}: {running} of {} nodes run, {} tips: {}",
                    self.story.nodes,
                    tips.len(),
                    list(&tips)
                );
                return Err(self.violation(None, text));
            }
            self.pass(STEP_S, watch)?;
        }
        Ok(())
    }

    fn works(&self) -> BTreeSet<u128> {
        self.running().map(|(_, process)| process.node().chain().tip().work).collect()
    }

    fn tips(&self) -> BTreeSet<Hash> {
        self.running().map(|(_, process)| process.node().chain().tip().id).collect()
    }

    /// A payment of a coin that every ledger has, or one that waits already; none if nobody owns such a coin.
    fn last_payment(&mut self) -> Result<Option<Hash>, Violation> {
        let host = self.chance.below(self.story.nodes);
        let Self { machines, net, crowd, params, .. } = self;
        let nodes: Vec<&Node> = machines
            .iter()
            .filter(|machine| !machine.is_vicious)
            .filter_map(|machine| Some(machine.process()?.node()))
            .collect();
        let height = machines[host].process().map_or(0, |process| process.node().chain().tip().header.height);
        let wanted: BTreeSet<CoinId> = nodes
            .iter()
            .flat_map(|node| node.pool().ids().filter_map(|id| node.pool().get(&id)))
            .flat_map(|transfer| transfer.spent().iter().copied())
            .collect();
        let is_free =
            |coin: &CoinId| !wanted.contains(coin) && nodes.iter().all(|node| node.chain().ledger().contains(coin));
        let Some(payment) = crowd.pay_safely(params, height + 1, is_free) else {
            // Every coin that is ripe is spent by what waits.
            return Ok(nodes.iter().find_map(|node| node.pool().ids().next()));
        };
        let Some(process) = machines[host].process_mut() else { return Ok(None) };
        let id = payment.id();
        let submitted = process.submit(net, payment);
        submitted.map_err(|error| self.violation(Some(host), error.to_string()))?;
        Ok(Some(id))
    }

    /// Somebody finds one more block.
    fn last_block(&mut self) -> Result<(), Violation> {
        let mut hosts: Vec<Host> = (0..self.story.nodes).collect();
        self.chance.shuffle(&mut hosts);
        for host in hosts {
            let before = self.tips();
            let Self { machines, net, .. } = self;
            let Some(process) = machines[host].process_mut() else { continue };
            let found = process.on_found(net);
            found.map_err(|error| self.violation(Some(host), error.to_string()))?;
            self.judge_step(Some(host))?;
            // An owner that is busy takes it in a moment.
            self.run_until(self.net.now.after_ms(1_000), &mut |_| {})?;
            if self.tips() != before {
                return Ok(());
            }
        }
        Err(self.violation(None, "nobody works on a block, although all agree".into()))
    }

    fn look_at_the_end(&mut self, payment: Option<Hash>) -> Result<(), Violation> {
        let ledgers: BTreeSet<Hash> =
            self.running().map(|(_, process)| process.node().chain().ledger().hash()).collect();
        if ledgers.len() != 1 {
            return Err(self.violation(None, format!("one tip and {} ledgers: {}", ledgers.len(), list(&ledgers))));
        }
        for host in 0..self.story.nodes {
            self.look_at_node(host, payment).map_err(|what| self.violation(Some(host), what))?;
        }
        Ok(())
    }

    fn look_at_node(&mut self, host: Host, payment: Option<Hash>) -> Result<(), String> {
        let Self { machines, net, judge, crowd, .. } = self;
        let Some(process) = machines[host].process() else { return Ok(()) };
        let scene = scene(&machines[host], process, net, crowd);
        Judge::look(scene, process)?;
        judge.look_at_ledger(scene)?;
        if let Some(payment) = payment
            && !judge.has_paid(scene, &payment)?
        {
            return Err(format!("payment {payment:.12} is in no block, although the last should hold it"));
        }
        let Some(process) = self.machines[host].process() else { return Ok(()) };
        self.look_at_peers(process)?;
        self.look_at_disk(host, process.node())
    }

    /// It has an honest peer that it chose itself, unless each honest node that answered it once and may be dialled
    /// again chose it first, or peers that cheat and stay have all the places.
    fn look_at_peers(&self, process: &Process) -> Result<(), String> {
        let (node, host) = (process.node(), process.host());
        let at = |ip| self.net.host_at(SocketAddr::new(ip, Net::address(host).port()));
        let honest = |other: Host| other != host && !self.machines[other].is_vicious;
        let peers = node.peers().iter().filter_map(|(_, peer)| Some((at(peer.address.ip())?, peer.direction)));
        let peers: Vec<(Host, Direction)> = peers.filter(|(other, _)| honest(*other)).collect();
        if peers.is_empty() && self.story.nodes > 1 {
            return Err(format!("it has none of {} honest peers", self.story.nodes - 1));
        }
        let is_full = node.peers().outbound() >= self.story.outbound_max;
        if is_full || peers.iter().any(|(_, direction)| *direction == Direction::Outbound) {
            return Ok(());
        }
        // Whoever did not answer for long is not dialled again at once; one is dialled after the other; and whoever
        // never answered may be one of thousands that were made up.
        let since = self.machines[host].clock.now(self.net.now).mono.0.saturating_sub(1_000 * SPREAD_S);
        let due = node.addresses().iter().filter(|known| known.talked_at.is_some() && known.next_try.0 <= since);
        let mut known = due.filter_map(|known| self.net.host_at(known.address));
        match known.find(|&other| honest(other) && peers.iter().all(|(peer, _)| *peer != other)) {
            Some(other) => {
                Err(format!("it has no honest peer of its own choice, although node {other} has answered it once"))
            }
            None => Ok(()),
        }
    }

    /// Connections that a node holds and nobody else does.
    fn dead_ends(&self) -> BTreeSet<(Host, PeerId)> {
        let ends = self.running().flat_map(|(host, process)| process.ends().map(move |end| (host, end)));
        ends.filter(|(_, end)| !self.is_alive(end)).map(|(host, end)| (host, end.peer)).collect()
    }

    /// Whether somebody is at the other end of a connection.
    fn is_alive(&self, end: &End) -> bool {
        let (link, other) = (self.net.link(end.link), end.side.other());
        let there = link.and_then(|link| Some((link.peer(other), self.machines[link.host(other)?].process()?)));
        there.is_some_and(|(peer, process)| process.has(peer, end.link))
    }

    /// A restart from the file gives the same. One of the nodes, in each story another, is started a second time, and
    /// without its checkpoint if it has one.
    fn look_at_disk(&self, host: Host, node: &Node) -> Result<(), String> {
        let here = (node.chain().tip().id, node.chain().ledger().hash());
        let disk = self.machines[host].disk_copy();
        self.look_at_restart("a restart", host, &disk, here)?;
        if host as u64 != self.story.seed % self.story.nodes as u64 {
            return Ok(());
        }
        self.look_at_restart("a second restart", host, &disk, here)?;
        if disk.bytes(CHECKPOINT).is_none() {
            return Ok(());
        }
        disk.remove(CHECKPOINT).map_err(|error| error.to_string())?;
        self.look_at_restart("a restart without a checkpoint", host, &disk, here)
    }

    fn look_at_restart(&self, what: &str, host: Host, disk: &MemoryDisk, here: (Hash, Hash)) -> Result<(), String> {
        let opened = self.reopened(host, disk)?;
        let (tip, ledger) = (opened.chain().tip().id, opened.chain().ledger().hash());
        if (tip, ledger) == here {
            return Ok(());
        }
        Err(format!("{what} gives tip {tip:.12} instead of {:.12}, or another ledger", here.0))
    }

    fn reopened(&self, host: Host, disk: &MemoryDisk) -> Result<Node, String> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let opened = Node::open(self.machines[host].config().clone(), &disk, &mut |_| {});
        opened.map(|(node, _)| node).map_err(|error| format!("it does not start again: {error}"))
    }

    /// A minute in which nothing happens.
    fn idle(&mut self, watch: Watch) -> Result<(), Violation> {
        let (before, links) = (self.net.bytes_sent, self.net.open_links().len() as u64);
        let (happened, dead) = (self.net.trace.happenings(), self.dead_ends());
        self.pass(60, watch)?;
        // What was being closed a minute ago is.
        if let Some((host, peer)) = self.dead_ends().intersection(&dead).next() {
            return Err(self.violation(Some(*host), format!("it still holds {peer}, whose other end is gone")));
        }
        let happenings = self.net.trace.happenings() - happened;
        let limit = self.story.nodes as u64 * IDLE_NODE_HAPPENINGS;
        if happenings > limit {
            let text = format!("{happenings} things happened in a minute in which nothing happened (limit {limit})");
            return Err(self.violation(None, text));
        }
        let sent = self.net.bytes_sent - before;
        let limit = links * IDLE_LINK_BYTES + self.story.nodes as u64 * IDLE_NODE_BYTES;
        if sent > limit {
            let text = format!("{sent} bytes in a minute in which nothing happened (limit {limit})");
            return Err(self.violation(None, text));
        }
        Ok(())
    }
}
