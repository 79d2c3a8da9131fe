//! What a run was like, in figures: for a person who watches, and as JSON.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::blockchain::params::BLOCK_BYTES_MAX;
use crate::primitives::hash::Hash;
use crate::simulator::net::Host;
use crate::simulator::queue::At;
use crate::simulator::reached::Reached;

/// A block is full from here on. Payments that make twice as many coins as they spend come to 91 % of the bytes
/// when they come to all of the outputs that a block may have (RULES 30).
const FULL_BYTES: usize = BLOCK_BYTES_MAX / 100 * 90;

/// How long blocks took to get around, in milliseconds.
///
/// Of all pairs of a block and a node: each block of the best chain that was found in this run, with each honest node
/// that ran when it was found. The block has got there when it is first on that node's chain, in whichever life. A
/// pair that has not come to pass counts as one that takes for ever, so a share that was not reached has no figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// Half of the pairs had come to pass by then.
    pub p50_ms: Option<u64>,
    /// Nine of ten.
    pub p90_ms: Option<u64>,
    /// 99 of a hundred.
    pub p99_ms: Option<u64>,
    /// All pairs.
    pub pairs: usize,
    /// Those of them that have come to pass.
    pub samples: usize,
}

impl Propagation {
    /// Of these ways, and so many pairs that have not come to pass.
    fn of(mut ways_ms: Vec<u64>, missing: usize) -> Self {
        ways_ms.sort_unstable();
        let pairs = ways_ms.len() + missing;
        // The least time by which at least so many of them were there.
        let of = |percent: usize| ways_ms.get((pairs * percent).div_ceil(100).checked_sub(1)?).copied();
        Self { p50_ms: of(50), p90_ms: of(90), p99_ms: of(99), pairs, samples: ways_ms.len() }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |way_ms: Option<u64>| way_ms.map_or("at no time yet".into(), |ms| format!("after {ms} ms"));
        let Self { p50_ms, p90_ms, p99_ms, .. } = self;
        write!(f, "half of the nodes {}, with 90 % {}, with 99 % {}", when(*p50_ms), when(*p90_ms), when(*p99_ms))
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

/// A block that was found, and how it gets around.
#[derive(Debug)]
struct Found {
    at: At,
    is_full: bool,
    /// Honest nodes that ran then, and do not have it yet.
    waiting: BTreeSet<Host>,
    /// How long it took to each of the others.
    ways_ms: Vec<u64>,
}

/// Who counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) figures: Figures,
    /// Look-up only.
    found: HashMap<Hash, Found>,
    /// Blocks that somebody had as a tip.
    tips: HashSet<Hash>,
}

impl Tally {
    /// A block was found, while these honest nodes run.
    pub(crate) fn found(&mut self, at: At, id: Hash, bytes: usize, waiting: BTreeSet<Host>) {
        let is_full = bytes >= FULL_BYTES;
        self.figures.found += 1;
        self.figures.full += u64::from(is_full);
        self.found.insert(id, Found { at, is_full, waiting, ways_ms: Vec::new() });
    }

    /// A block is on the chain of an honest node for the first time.
    pub(crate) fn arrived(&mut self, at: At, host: Host, id: &Hash) {
        // Others were made before the run began.
        if let Some(found) = self.found.get_mut(id)
            && found.waiting.remove(&host)
        {
            found.ways_ms.push(at.since(found.at) / 1_000);
        }
    }

    /// Whether nobody had this tip before.
    pub(crate) fn is_news(&mut self, id: &Hash) -> bool {
        self.tips.insert(*id)
    }

    /// Brings the percentiles up to date, for the blocks of this chain.
    pub(crate) fn measure(&mut self, chain: &[Hash]) {
        let blocks: Vec<&Found> = chain.iter().filter_map(|id| self.found.get(id)).collect();
        let propagation = |blocks: &[&Found]| {
            let ways_ms = blocks.iter().flat_map(|block| block.ways_ms.iter().copied()).collect();
            Propagation::of(ways_ms, blocks.iter().map(|block| block.waiting.len()).sum())
        };
        let full: Vec<&Found> = blocks.iter().copied().filter(|block| block.is_full).collect();
        (self.figures.propagation, self.figures.propagation_full) = (propagation(&blocks), propagation(&full));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a way counts once for each block and node, and what has not come to pass counts as taking for ever.
    /// Method: two nodes of three get a block, one of them again after a restart, and somebody who did not run
    /// when it was found.
    #[test]
    fn a_block_gets_to_a_node_once() {
        let (mut tally, id) = (Tally::default(), Hash([7; 32]));
        tally.found(At(0), id, 1, BTreeSet::from([0, 1, 2]));
        for (at, host) in [(0, 0), (40_000, 1), (600_000_000, 0), (700_000_000, 9)] {
            tally.arrived(At(at), host, &id);
        }
        tally.measure(&[id]);
        let expected = Propagation { p50_ms: Some(40), p90_ms: None, p99_ms: None, pairs: 3, samples: 2 };
        assert_eq!(tally.figures.propagation, expected);
        assert_eq!(tally.figures.propagation_full, Propagation::default());
        tally.measure(&[]);
        assert_eq!(tally.figures.propagation, Propagation::default(), "it is on no chain that counts");
    }
}
