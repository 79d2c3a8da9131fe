//! What a run was like, in figures: for a person who watches, and as JSON.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::blockchain::params::BLOCK_BYTES_MAX;
use crate::primitives::hash::Hash;
use crate::simulator::queue::At;
use crate::simulator::reached::Reached;

/// A block is full from here on. Payments that make twice as many coins as they spend come to 91 % of the bytes
/// when they come to all of the outputs that a block may have (RULES 30).
const FULL_BYTES: usize = BLOCK_BYTES_MAX / 100 * 90;

/// How long blocks took to get around, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// Half of the nodes had a block as their tip by then.
    pub p50_ms: u64,
    /// Nine of ten.
    pub p90_ms: u64,
    /// 99 of a hundred.
    pub p99_ms: u64,
    /// What these are of: pairs of a block and a node.
    pub samples: usize,
}

impl Propagation {
    /// Of all ways; they are put in order.
    fn of(ways_ms: &mut [u64]) -> Self {
        ways_ms.sort_unstable();
        let of = |percent: usize| ways_ms.get(ways_ms.len() * percent / 100).copied().unwrap_or(0);
        Self { p50_ms: of(50), p90_ms: of(90), p99_ms: of(99), samples: ways_ms.len() }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p90_ms, p99_ms, .. } = self;
        write!(f, "half of the nodes after {p50_ms} ms, with 90 % after {p90_ms} ms, with 99 % after {p99_ms} ms")
    }
}

/// The figures of a run so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Virtual time.
    pub virtual_ms: u64,
    /// Height of the best tip.
    pub height: u64,
    /// Different tips of honest nodes that run.
    pub tips: usize,
    /// Honest nodes that run.
    pub running: usize,
    /// Connections.
    pub connections: usize,
    /// Blocks that were found.
    pub found: u64,
    /// Times that an honest node left a branch.
    pub reorganisations: u64,
    /// The most blocks that one of them undid.
    pub deepest: u64,
    /// Payments that were handed to a node.
    pub payments: u64,
    /// Times that a node told of a payment in a block.
    pub confirmed: u64,
    /// Transactions that wait, in the fullest pool.
    pub waiting: usize,
    /// Bytes on wires.
    pub bytes: u64,
    /// Connections that ended.
    pub hang_ups: u64,
    /// Of those, for a fault.
    pub blamed: u64,
    /// Processes that were killed, and machines whose power failed.
    pub crashes: u64,
    /// Of those, in the middle of a call to the disk.
    pub torn: u64,
    /// Of those, processes that ended because their disk failed, or was full.
    pub disk_failures: u64,
    /// Other troubles: partitions, resets, stalls, full disks, clocks.
    pub troubles: u64,
    /// Things that happened.
    pub happenings: u64,
    /// How blocks got around.
    pub propagation: Propagation,
    /// Blocks of those found that were full.
    pub full: u64,
    /// How these got around.
    pub propagation_full: Propagation,
    /// What came to pass.
    pub reached: Reached,
    /// The same seed gives the same.
    pub trace: String,
}

/// Who counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) figures: Figures,
    /// When a block was found, and whether it is full. Look-up only.
    found: HashMap<Hash, (At, bool)>,
    ways_ms: Vec<u64>,
    full_ways_ms: Vec<u64>,
    /// Blocks that somebody had as a tip.
    tips: HashSet<Hash>,
}

impl Tally {
    /// A block was found.
    pub(crate) fn found(&mut self, at: At, id: Hash, bytes: usize) {
        let is_full = bytes >= FULL_BYTES;
        self.figures.found += 1;
        self.figures.full += u64::from(is_full);
        self.found.insert(id, (at, is_full));
    }

    /// An honest node has a new tip.
    pub(crate) fn tip(&mut self, at: At, id: &Hash) {
        let Some((found_at, is_full)) = self.found.get(id) else { return };
        let way_ms = at.since(*found_at) / 1_000;
        self.ways_ms.push(way_ms);
        if *is_full {
            self.full_ways_ms.push(way_ms);
        }
    }

    /// Whether nobody had this tip before.
    pub(crate) fn is_news(&mut self, id: &Hash) -> bool {
        self.tips.insert(*id)
    }

    /// Brings the percentiles up to date.
    pub(crate) fn measure(&mut self) {
        self.figures.propagation = Propagation::of(&mut self.ways_ms);
        self.figures.propagation_full = Propagation::of(&mut self.full_ways_ms);
    }
}
