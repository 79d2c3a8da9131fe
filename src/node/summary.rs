//! How a node is, in a few numbers: what the owner publishes after each turn for whoever wants to know.

use crate::blockchain::storage::{BlockMeta, Room};
use crate::node::Node;
use crate::node::event::Direction;
use crate::primitives::time::Now;

/// See the top of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The tip of the chain.
    pub tip: BlockMeta,
    /// The difficulty that a block on it must have.
    pub next_difficulty: u64,
    /// The greatest height that a peer is known to have, if that is above our own.
    pub target_height: u64,
    /// Whether there are blocks to catch up with, or a longer walk to another tip is under way.
    pub is_catching_up: bool,
    /// Peers that came.
    pub inbound: usize,
    /// Peers that we dialled.
    pub outbound: usize,
    /// Addresses in the book.
    pub addresses: usize,
    /// Those of them that were talked with once.
    pub addresses_talked_with: usize,
    /// Banned addresses.
    pub bans: usize,
    /// Transactions that wait for a block.
    pub pool_transactions: usize,
    /// Memory that they take.
    pub pool_bytes: usize,
    /// Transactions that wait for others.
    pub orphans: usize,
    /// What a transaction must pay at the least to be let in, in units per 1,000 bytes.
    pub fee_rate_min: u64,
    /// Headers whose bodies are missing.
    pub headers: usize,
    /// Unspent coins.
    pub coins: usize,
    /// Whether there is something to mine on.
    pub can_mine: bool,
    /// Blocks that orders for them still lack.
    pub blocks_owed: u64,
    /// Whether the disk has room for blocks.
    pub room: Room,
}

impl Node {
    /// How it is now.
    pub fn summary(&self, now: Now) -> Summary {
        let (chain, pool, peers) = (self.chain(), self.pool(), self.peers());
        let (tip, position) = (*chain.tip(), chain.tip_position());
        let inbound = peers.iter().filter(|(_, peer)| peer.direction == Direction::Inbound).count();
        let greatest = peers.iter().map(|(_, peer)| peer.height).max().unwrap_or(0);
        Summary {
            tip,
            next_difficulty: position.difficulty_due(chain.params()),
            target_height: greatest.max(tip.header.height),
            is_catching_up: self.is_catching_up(now.mono) || !chain.rests(),
            inbound,
            outbound: peers.len() - inbound,
            addresses: self.addresses().len(),
            addresses_talked_with: self.addresses().talked_with(),
            bans: peers.bans().len(),
            pool_transactions: pool.len(),
            pool_bytes: pool.used_bytes(),
            orphans: pool.orphans(),
            fee_rate_min: pool.floor(now.mono),
            headers: chain.headers().len(),
            coins: chain.ledger().len(),
            can_mine: self.is_mining(),
            blocks_owed: self.blocks_owed(),
            room: self.room(),
        }
    }
}
