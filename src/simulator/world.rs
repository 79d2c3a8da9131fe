//! A story as it happens: machines, what lies between them, and what goes wrong, one happening at a time.
//!
//! Two acts. In the first there is trouble, for as long as the story says. Then it stops: the weather clears,
//! clocks are set right, whoever cheated is gone (in some stories only those who would mine on, or keep a branch to
//! themselves), whoever is down comes back; and within a bounded time all
//! must agree ([`crate::simulator::judge`] has looked on all the while).

mod calm;

mod trouble;

mod watch;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::params::{NetworkSpec, Params};
use crate::blockchain::storage::StoreError;
use crate::node::NodeConfig;
use crate::node::event::{PeerId, Target};
use crate::node::reason::Reason;
use crate::node::session::SessionConfig;
use crate::primitives::keys::Verifier;
use crate::primitives::thread::caught;
use crate::simulator::chance::Chance;
use crate::simulator::clock::Clock;
use crate::simulator::crowd::Crowd;
use crate::simulator::history;
use crate::simulator::judge::{Judge, Violation};
use crate::simulator::link::{Side, Wire};
use crate::simulator::machine::{Machine, Plan};
use crate::simulator::net::{Happening, Host, LinkId, Net};
use crate::simulator::process::{Pace, Process};
use crate::simulator::queue::At;
use crate::simulator::story::Story;
use crate::simulator::tally::{Figures, Tally};
use crate::simulator::trace::Trace;
use crate::simulator::vice::Kind;

/// Hashes that a block takes at the least: enough for whole numbers to follow the rate, few enough to be found
/// in a tenth of a millisecond.
const DIFFICULTY: u64 = 1_024;
/// The same where thousands of blocks are made beforehand; on that network it never changes.
const DIFFICULTY_LONG: u64 = 64;
/// Blocks that the heavier of two chains made beforehand has more than the other, at the most.
const LEAD_MAX: u64 = 40;
/// Between two looks of the judge.
const LOOK_MS: u64 = 60_000;
/// Between two payments of a row.
const ROW_STEP_US: u64 = 100_000;
/// Addresses that a node is told to stay connected to.
const NAMED: usize = 2;
/// Between two ticks of a node, where the machine has time for it; and where it has little.
const TICK_MS: u64 = 250;
const TICK_LATE_MS: u64 = 1_000;
/// How much of the hash power cheats at the most, in percent, however many they are.
const VICIOUS_PERCENT: u64 = 30;

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What it was about.
    pub story: Story,
    /// What it was like.
    pub figures: Figures,
    /// What must never be, and was.
    pub violation: Option<Violation>,
}

/// Lets a story happen. `lines` get a line for each happening; `watch` gets the figures once a virtual minute.
///
/// An error is one of writing those lines; what is wrong with the nodes stands in the outcome.
pub fn run(
    story: Story,
    lines: Option<Box<dyn Write>>,
    watch: &mut dyn FnMut(&Figures),
) -> Result<Outcome, std::io::Error> {
    let mut world = World::new(story, Trace::new(lines));
    let violation = world.happen(watch).err();
    world.measure();
    world.sum_up();
    match world.net.trace.finish() {
        Some(error) => Err(error),
        None => Ok(Outcome { story: world.story, figures: world.tally.figures, violation }),
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct World {
    story: Story,
    params: Arc<Params>,
    net: Net,
    machines: Vec<Machine>,
    judge: Judge,
    tally: Tally,
    crowd: Crowd,
    /// Through whom the last payment went; a row of them goes through one node.
    row_at: Host,
    chance: Chance,
    /// For what was thought of later, so that a seed's story stays what it was.
    later: Chance,
    /// Whose node something happens to at this moment.
    acting: Option<Host>,
    /// Trouble is over.
    is_calm: bool,
}

/// The network of a story: an easy target, and the retarget that follows the rate.
fn params_of(story: &Story) -> Params {
    let (difficulty_first, difficulty_min) = match story {
        Story { prepared: 1.., .. } => (DIFFICULTY_LONG, DIFFICULTY_LONG),
        // A third is left after a pause, which must not be less than the least.
        Story { pause_minutes: 1.., .. } => (4 * DIFFICULTY, DIFFICULTY),
        _ => (DIFFICULTY, DIFFICULTY),
    };
    let spec = NetworkSpec {
        name: "simulated".into(),
        block_time_ms: 3_600_000 / story.blocks_per_hour.clamp(1, 3_600),
        difficulty_first,
        difficulty_min,
        retarget: story.prepared == 0,
        seeds: Vec::new(),
        ..Params::local().spec().clone()
    };
    Params::new(spec).expect("a sound spec")
}

impl World {
    fn new(story: Story, trace: Trace) -> Self {
        let (seed, hosts) = (story.seed, story.nodes + story.byzantine.len());
        let mut chance = Chance::new(seed, "world", 0);
        let params = Arc::new(params_of(&story));
        let wires = (0..hosts).map(|_| wire(&story, &mut chance)).collect();
        let (net, crowd) = (Net::new(seed, wires, trace), Crowd::new(seed, story.coins_per_payment));
        let (judge, tally) = (Judge::new(hosts, &params), Tally::default());
        let (machines, acting, is_calm) = (Vec::new(), None, false);
        let (row_at, later) = (0, Chance::new(seed, "world, later", 0));
        let mut world =
            Self { story, params, net, machines, judge, tally, crowd, row_at, chance, later, acting, is_calm };
        world.net.accomplices = (world.story.nodes..hosts).map(Net::address).collect();
        let verifier = Verifier::remembering([3; 32]);
        for host in 0..hosts {
            let plan = world.plan(host, &verifier);
            world.machines.push(Machine::new(seed, plan));
        }
        world.prepare();
        world
    }

    /// Gives some nodes one chain and some a heavier one, if the story begins with chains; the rest begin with none.
    fn prepare(&mut self) {
        let blocks = self.story.prepared;
        if blocks == 0 {
            return;
        }
        let mut chance = Chance::new(self.story.seed, "history", 0);
        let lead = chance.between(1, LEAD_MAX);
        let chain = |blocks, person| history::disk_with(&self.params, blocks, self.crowd.key(person));
        let disks = [chain(blocks, 0), chain(blocks + lead, 1)].map(|disk| disk.expect("a disk without faults"));
        for (host, machine) in self.machines.iter_mut().enumerate() {
            let place = match host {
                0 | 1 => host,
                _ if machine.is_vicious => 1,
                _ => chance.below(3),
            };
            if let Some(disk) = disks.get(place) {
                machine.set_disk(disk.kill());
            }
        }
    }

    fn plan(&mut self, host: Host, verifier: &Verifier) -> Plan {
        let (nodes, chance) = (self.story.nodes, &mut self.chance);
        let kind = host.checked_sub(nodes).map(|place| self.story.byzantine[place]);
        let secret = [chance.draw().to_le_bytes(), chance.draw().to_le_bytes()].concat();
        // An honest node is told of earlier ones, so that they all hang together.
        let known = if kind.is_some() { nodes } else { host };
        let mut connect: BTreeSet<Host> = (0..NAMED.min(known)).map(|_| chance.below(known)).collect();
        // The first is told of the second: whoever is dialled by others alone learns of nobody else.
        connect.extend((host == 0 && nodes > 1).then_some(1));
        let config = NodeConfig {
            params: Arc::clone(&self.params),
            nonce: 0,
            secret: *secret.first_chunk().expect("two times eight bytes"),
            agent: format!("node-{host}"),
            listen_port: Net::address(host).port(),
            connect: connect.into_iter().map(|other| Target::Address(Net::address(other))).collect(),
            seeds: false,
            outbound_max: self.story.outbound_max,
            payout: Some(self.crowd.key(host).into()),
        };
        let session = SessionConfig { params: Arc::clone(&self.params), verifier: verifier.clone() };
        let honest_ms = i64::try_from(chance.between(0, 40_000)).expect("small") - 20_000;
        let drift_ppm = i64::try_from(chance.between(0, 1_000)).expect("small") - 500;
        let ahead_ms = kind.and_then(|kind| kind.clock_ms(chance)).unwrap_or(honest_ms);
        let pace = Pace {
            turn_us: chance.between(20, 1_000),
            sync_us: chance.between(500, 100_000),
            tick_us: chance.between(TICK_MS * 1_000, TICK_LATE_MS * 1_000),
        };
        Plan {
            host,
            config,
            session,
            clock: Clock { ahead_ms, drift_ppm },
            pace,
            rate: self.rate(kind.is_some()),
            vice: kind.and_then(Kind::vice),
            is_vicious: kind.is_some(),
            in_pieces: kind.is_none() && self.story.faults.disks,
        }
    }

    /// Hashes an hour of one node.
    fn rate(&self, is_vicious: bool) -> u64 {
        let (honest, vicious) = (self.story.nodes as u64, self.story.byzantine.len() as u64);
        let total = self.params.spec().difficulty_first * self.story.blocks_per_hour;
        let share = if vicious == 0 { 0 } else { VICIOUS_PERCENT.min(100 * vicious / (honest + vicious)) };
        if is_vicious { total * share / 100 / vicious } else { total * (100 - share) / 100 / honest.max(1) }
    }

    /// In which way a host cheats.
    fn kind(&self, host: Host) -> Option<Kind> {
        host.checked_sub(self.story.nodes).map(|place| self.story.byzantine[place])
    }

    /// Hosts that keep the rules.
    fn honest(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| !machine.is_vicious)
    }

    /// The nodes of honest hosts that run.
    fn running(&self) -> impl Iterator<Item = (Host, &Process)> {
        self.honest().filter_map(|machine| Some((machine.host, machine.process()?)))
    }

    /// All of it.
    fn happen(&mut self, watch: &mut dyn FnMut(&Figures)) -> Result<(), Violation> {
        self.crowd.check_nonces().map_err(|what| self.violation(None, what))?;
        for host in 0..self.machines.len() {
            let in_us = self.chance.between(1, 10_000_000);
            self.net.plan(in_us, Happening::Restart(host, 0));
        }
        self.net.plan(LOOK_MS * 1_000, Happening::Look);
        self.plan_payment();
        self.plan_trouble();
        self.run_until(At(self.story.minutes * 60_000_000), watch)?;
        self.calm_down(watch)
    }

    /// Lets everything happen up to an instant.
    fn run_until(&mut self, until: At, watch: &mut dyn FnMut(&Figures)) -> Result<(), Violation> {
        while self.net.queue.next_at().is_some_and(|at| at <= until) {
            self.step(watch)?;
        }
        self.net.now = until;
        Ok(())
    }

    fn step(&mut self, watch: &mut dyn FnMut(&Figures)) -> Result<(), Violation> {
        let Some((at, what)) = self.net.queue.pop() else { return Ok(()) };
        self.net.now = at;
        self.net.trace.happening(at, &what);
        if what == Happening::Look {
            self.look()?;
            self.measure();
            watch(&self.tally.figures);
            return Ok(());
        }
        self.acting = self.host_of(&what);
        if let Happening::Restart(host, life) = what {
            self.judge_recovery(host, life)?;
        }
        let stepped = caught(|| self.handle(what));
        let stepped = stepped.map_err(|panic| self.violation(self.acting, format!("a panic: {panic}")))?;
        self.settle(stepped)?;
        self.judge_step(self.acting)
    }

    fn violation(&self, host: Option<Host>, what: String) -> Violation {
        Violation { at: self.net.now, host, what }
    }

    /// Whose node something happens to, if that is not still to be drawn.
    fn host_of(&self, what: &Happening) -> Option<Host> {
        match *what {
            Happening::Arrive(link, side) | Happening::Room(link, side) => self.net.link(link)?.host(side),
            Happening::Dialled(link) => self.net.link(link)?.host(Side::Caller),
            Happening::Turn(host, _)
            | Happening::Tick(host, _)
            | Happening::Synced(host, ..)
            | Happening::Verified(host, _)
            | Happening::Found(host, ..)
            | Happening::Restart(host, _)
            | Happening::Freed(host) => Some(host),
            Happening::Trouble | Happening::Payment | Happening::Look => None,
        }
    }

    fn handle(&mut self, what: Happening) -> Result<(), StoreError> {
        match what {
            Happening::Arrive(link, side) => {
                if !self.net.arrive(link, side) {
                    return Ok(());
                }
                self.at_end(link, side, Process::readable)
            }
            Happening::Room(link, side) => self.at_end(link, side, Process::writable),
            Happening::Dialled(link) => self.dialled(link),
            Happening::Turn(host, life) => self.in_life(host, life, Process::on_turn),
            Happening::Tick(host, life) => self.in_life(host, life, Process::on_tick),
            Happening::Synced(host, life, upto) => {
                self.in_life(host, life, |process, net| process.on_synced(net, upto))
            }
            Happening::Verified(host, life) => self.in_life(host, life, Process::on_verified),
            Happening::Found(host, life, search) => self.in_life(host, life, |process, net| {
                if process.miner.is_searching(search) { process.on_found(net) } else { Ok(()) }
            }),
            Happening::Restart(host, life) => self.restart(host, life),
            Happening::Freed(host) => {
                self.free_disk(host);
                Ok(())
            }
            Happening::Trouble => self.trouble(),
            Happening::Payment => self.payment(),
            Happening::Look => Ok(()),
        }
    }

    /// Lends the network to a process, if it is still the one that was meant.
    fn in_life(
        &mut self,
        host: Host,
        life: u32,
        act: impl FnOnce(&mut Process, &mut Net) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Self { machines, net, .. } = self;
        machines[host].living(life).map_or(Ok(()), |process| act(process, net))
    }

    /// The same to whoever has this end of a link.
    fn at_end(
        &mut self,
        link: LinkId,
        side: Side,
        act: impl FnOnce(&mut Process, &mut Net, PeerId) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Self { machines, net, .. } = self;
        let Some(found) = net.link(link).filter(|link| link.dial.is_none()) else { return Ok(()) };
        let (host, peer) = (found.host(side), found.peer(side));
        // A number of an earlier life may belong to another link by now.
        let process = host.and_then(|host| machines[host].process_mut()).filter(|process| process.has(peer, link));
        process.map_or(Ok(()), |process| act(process, net, peer))
    }

    /// A dial comes to something, if there is somebody who lets us in.
    fn dialled(&mut self, link: LinkId) -> Result<(), StoreError> {
        let Self { machines, net, .. } = self;
        let Some((hosts, Some(dial))) = net.link(link).map(|link| (link.hosts, link.dial.clone())) else {
            return Ok(());
        };
        let [Some(from), to] = hosts else { return Ok(()) };
        if machines[from].living(dial.life).is_none() {
            net.forget(link);
            return Ok(());
        }
        let address = {
            let mut address = Net::address(from);
            address.set_port(50_000);
            address
        };
        let to = to.filter(|to| net.apart_until(from, *to).is_none());
        let called = to.and_then(|to| machines[to].process_mut()).and_then(|called| called.admit(net, link, address));
        let process = machines[from].living(dial.life).expect("it was there");
        let Some(called) = called else {
            net.forget(link);
            return process.dial_failed(net, dial.target, Reason::Broken("nobody lets us in".into()));
        };
        let caller = process.attach(net, link, Side::Caller, Some(dial.target));
        net.connect(link, [caller, called]);
        process.open(net, caller);
        Ok(())
    }

    // --- people ---

    fn plan_payment(&mut self) {
        if let Some(mean_us) = 3_600_000_000_u64.checked_div(self.story.payments_per_hour) {
            let mean_us = mean_us * self.story.payments_at_once;
            let wait_us = if self.crowd.has_row() { ROW_STEP_US } else { self.chance.exponential(mean_us) };
            self.net.plan(wait_us, Happening::Payment);
        }
    }

    fn payment(&mut self) -> Result<(), StoreError> {
        if !self.is_calm {
            self.plan_payment();
        }
        let host = if self.crowd.has_row() { self.row_at } else { self.chance.below(self.story.nodes) };
        self.row_at = host;
        self.acting = Some(host);
        let together = self.chance.between(1, 2 * self.story.payments_at_once - 1);
        let together = if self.crowd.has_row() { 1 } else { together };
        let Self { machines, net, crowd, params, tally, .. } = self;
        let Some(process) = machines[host].process_mut() else { return Ok(()) };
        let payments: Vec<ReadTx> = (0..together).map_while(|_| crowd.pay(params, process.node())).collect();
        tally.figures.payments += payments.len() as u64;
        payments.into_iter().try_for_each(|payment| process.submit(net, payment))
    }
}

/// How far a host is from the middle of the network.
fn wire(story: &Story, chance: &mut Chance) -> Wire {
    let latency_us = chance.between(100, 1_000 * story.latency_ms_max.max(1));
    let jitter_us = chance.between(0, 200 * story.latency_ms_max);
    let bytes_per_s = chance.between(story.bytes_per_s_min, 100 * story.bytes_per_s_min);
    Wire {
        latency_us,
        jitter_us,
        bytes_per_s,
        uplink_bytes_per_s: bytes_per_s,
        loss_permille: story.faults.loss_permille,
        shreds: story.faults.shreds,
    }
}
