//! What a run is about: how many nodes, how far apart, what goes wrong. All of it plain data.
//!
//! [`Story::of_seed`] draws everything, each fault switched on or off by itself: runs in which only two kinds
//! of trouble meet find what is lost in the noise when all of them do ("swarm testing", Groce et al. 2012).

use serde::Serialize;

use crate::simulator::chance::Chance;
use crate::simulator::vice::Kind;

/// Stories of a thousand in which nobody mines for a while.
const PAUSE_PERMILLE: u32 = 60;
/// Stories of a thousand in which nothing goes wrong but what peers do: nobody has an excuse for lagging behind.
const QUIET_PERMILLE: u32 = 120;
/// Of a thousand who cheat, those who do it in a way that was thought of later.
const LATEST_PERMILLE: u32 = 80;
/// Stories of a thousand in which those who cheat stay when trouble is over.
const STAY_PERMILLE: u32 = 400;
/// Nodes that cheat in a drawn story, at the most.
const BYZANTINE_MAX: usize = 8;
/// Drawn stories of a thousand in which nodes begin with chains longer than a message of headers.
const LONG_PERMILLE: u32 = 80;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Packets of a thousand that are lost.
    pub loss_permille: u32,
    /// What is written at once arrives in several pieces.
    pub shreds: bool,
    /// The network falls apart for a while.
    pub partitions: bool,
    /// Connections break in the middle of anything.
    pub resets: bool,
    /// Nothing passes a connection for a while.
    pub stalls: bool,
    /// Processes are killed, and power fails.
    pub crashes: bool,
    /// The power fails between two calls to the disk, also while a node opens its files.
    pub torn: bool,
    /// Disks fail, are full for a while, and do things in pieces; nodes end with an error, and are started again.
    pub disks: bool,
    /// Wall clocks are set wrong by minutes.
    pub clocks: bool,
}

impl Faults {
    /// Whether something happens now and then.
    pub(crate) fn has_troubles(&self) -> bool {
        self.partitions || self.resets || self.stalls || self.crashes || self.torn || self.disks || self.clocks
    }
}

/// See the top of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// From which all chance follows.
    pub seed: u64,
    /// Honest nodes.
    pub nodes: usize,
    /// Those that cheat, each in its way.
    pub byzantine: Vec<Kind>,
    /// Virtual minutes of trouble; calm follows until all agree.
    pub minutes: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Virtual seconds between two troubles, on average.
    pub trouble_s: u64,
    /// Blocks an hour that the network is made for.
    pub blocks_per_hour: u64,
    /// Payments an hour.
    pub payments_per_hour: u64,
    /// How many come together through one node, on average.
    pub payments_at_once: u64,
    /// Coins that a payment spends at the most; it makes twice as many.
    pub coins_per_payment: usize,
    /// Half of the way between two nodes is drawn up to this.
    pub latency_ms_max: u64,
    /// A node's uplink, which all its connections share, is drawn from this up to a hundred times as much; no
    /// connection is faster than the slower of its two nodes.
    pub bytes_per_s_min: u64,
    /// Connections that a node opens.
    pub outbound_max: usize,
    /// Virtual minutes for which nobody finds a block once trouble is over: more than the retarget forgives, or 0.
    pub pause_minutes: u64,
    /// Those who cheat go on with it when trouble is over, as far as that takes no mining.
    pub cheats_stay: bool,
    /// Blocks of a chain that some nodes begin with; others begin with a heavier one that parts from it at genesis.
    pub prepared: u64,
}

impl Story {
    /// Nothing goes wrong.
    pub fn calm(seed: u64, nodes: usize, minutes: u64) -> Self {
        Self {
            seed,
            nodes,
            byzantine: Vec::new(),
            minutes,
            faults: Faults::default(),
            trouble_s: 60,
            blocks_per_hour: 120,
            payments_per_hour: 2_000,
            payments_at_once: 1,
            coins_per_payment: 1,
            latency_ms_max: 100,
            bytes_per_s_min: 100_000,
            outbound_max: 8,
            pause_minutes: 0,
            cheats_stay: false,
            prepared: 0,
        }
    }

    /// Everything drawn: an hour of eight nodes, up to eight that cheat, and whichever faults.
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "story", 0);
        // What was thought of later has a stream of its own, so that a seed's story stays what it was.
        let mut later = Chance::new(seed, "story, later", 0);
        let mut latest = Chance::new(seed, "story, latest", 0);
        let mut coin = |permille| chance.permille(permille);
        let faults = Faults {
            loss_permille: if coin(300) { 20 } else { 0 },
            shreds: coin(500),
            partitions: coin(500),
            resets: coin(500),
            stalls: coin(500),
            crashes: coin(500),
            torn: coin(300),
            disks: later.permille(300),
            clocks: coin(200),
        };
        let byzantine = if chance.permille(700) { chance.below(BYZANTINE_MAX + 1) } else { 0 };
        let mut byzantine: Vec<Kind> =
            (0..byzantine).map(|_| *chance.pick(Kind::EARLIER).expect("there are some")).collect();
        let prepared = if later.permille(LONG_PERMILLE) { later.between(2_001, 2_400) } else { 0 };
        if prepared > 0 && byzantine.len() < BYZANTINE_MAX {
            // Those whom such a chain is about.
            byzantine.push(if later.permille(500) { Kind::Waverer } else { Kind::Spammer });
        }
        for kind in &mut byzantine {
            if latest.permille(LATEST_PERMILLE) {
                *kind = *latest.pick(&Kind::LATEST).expect("there are some");
            }
        }
        Self {
            byzantine,
            cheats_stay: latest.permille(STAY_PERMILLE),
            trouble_s: chance.between(20, 240),
            latency_ms_max: chance.between(1, 1_000),
            bytes_per_s_min: chance.between(8_000, 200_000),
            outbound_max: 2 + chance.below(7),
            prepared,
            payments_at_once: later.between(1, 12),
            pause_minutes: if later.permille(PAUSE_PERMILLE) { later.between(46, 70) } else { 0 },
            faults: if later.permille(QUIET_PERMILLE) { Faults::default() } else { faults },
            ..Self::calm(seed, 8, 60)
        }
    }
}
