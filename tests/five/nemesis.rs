//! What is done to the network, drawn from a seed.

use std::fmt;

use spindle::primitives::rng::Rng;

use crate::common::proxy::Flow;
use crate::net::{MINERS, Net};

/// See the top of the file; it counts what it did.
pub(crate) struct Nemesis {
    rng: Rng,
    cut: usize,
    silenced: usize,
    slept: usize,
    killed: usize,
    stopped: usize,
}

impl Nemesis {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), cut: 0, silenced: 0, slept: 0, killed: 0, stopped: 0 }
    }

    /// The chance that the rest of the story draws from, too.
    pub(crate) fn chance(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Mends some of what is broken, then breaks something.
    pub(crate) fn strike(&mut self, net: &mut Net) {
        for wire in &net.wires {
            if wire.flow() != Flow::All && self.rng.below(2) == 0 {
                wire.set(Flow::All);
            }
        }
        for node in &mut net.nodes {
            if !node.is_up() {
                node.start();
            }
            if self.rng.below(2) == 0 {
                node.wake();
            }
        }
        let wire = self.rng.below(net.wires.len());
        let victim = self.rng.below(net.nodes.len());
        // Somebody goes on mining: rounds are counted in blocks.
        let others_mine = MINERS.iter().any(|&miner| miner != victim && net.nodes[miner].is_awake());
        match self.rng.below(6) {
            0 | 1 => {
                net.wires[wire].set(Flow::Cut);
                self.cut += 1;
            }
            2 => {
                net.wires[wire].set(Flow::Stopped);
                self.silenced += 1;
            }
            _ if !others_mine => {}
            3 if net.nodes[victim].is_awake() => {
                net.nodes[victim].put_to_sleep();
                self.slept += 1;
            }
            5 if net.nodes[victim].is_awake() => {
                net.nodes[victim].stop();
                self.stopped += 1;
            }
            _ => {
                net.nodes[victim].kill();
                self.killed += 1;
                // At once, or in the next round.
                if self.rng.below(2) == 0 {
                    net.nodes[victim].start();
                }
            }
        }
    }
}

impl fmt::Display for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut, silenced, slept, killed, stopped, .. } = self;
        write!(f, "{cut} wires cut, {silenced} silent; {slept} nodes asleep, {killed} killed, {stopped} stopped")
    }
}
