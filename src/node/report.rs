//! What a running node tells people: one line each, with the cause.

use std::fmt;

use crate::blockchain::storage::{ROOM_MIN_BYTES, Room};
use crate::node::event::{Direction, PeerId, Target};
use crate::node::reason::Reason;
use crate::primitives::hash::Hash;

/// Ids that one line shows.
const IDS_SHOWN: usize = 4;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is wrong that a person should look at.
    Warn,
    /// The story.
    Info,
    /// Every step.
    Debug,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The chain has a new tip.
    Tip {
        /// Its height.
        height: u64,
        /// Its id.
        hash: Hash,
        /// Peers connected.
        peers: usize,
        /// Blocks of the old branch that were undone.
        undone: u64,
    },
    /// A transaction has entered the pool.
    Waits {
        /// Its id.
        id: Hash,
        /// What it pays, in units.
        fee: u64,
        /// Its size.
        size_bytes: usize,
        /// How many wait now.
        waiting: usize,
    },
    /// Transactions that waited here are in a block.
    Confirmed {
        /// The block's height.
        height: u64,
        /// Their ids.
        ids: Vec<Hash>,
    },
    /// Transactions were in blocks that are undone, and wait again.
    Unconfirmed {
        /// Their ids.
        ids: Vec<Hash>,
    },
    /// Transactions that waited here, or were in blocks that are undone, cannot be in a block any more.
    Dropped {
        /// Their ids.
        ids: Vec<Hash>,
    },
    /// Blocks up to here survive a power cut.
    Durable {
        /// Height of the newest block on the active chain that is durable.
        height: u64,
        /// Its id.
        hash: Hash,
    },
    /// A block of ours is on the chain and durable.
    Mined {
        /// Its height.
        height: u64,
        /// Its id.
        hash: Hash,
    },
    /// How far a long sync is.
    Syncing {
        /// Where we are.
        height: u64,
        /// Where the best peer says that it is.
        target: u64,
        /// Since the last such line.
        blocks_per_s: u64,
    },
    /// A peer came.
    Connected {
        /// Its number.
        peer: PeerId,
        /// Who dialled.
        direction: Direction,
        /// Where it is.
        address: std::net::SocketAddr,
        /// What it runs.
        agent: String,
        /// How far it is.
        height: u64,
        /// Peers now.
        peers: usize,
    },
    /// A peer went.
    Disconnected {
        /// Its number.
        peer: PeerId,
        /// Where it was.
        address: std::net::SocketAddr,
        /// Why.
        reason: Reason,
        /// Peers now.
        peers: usize,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Whom.
        target: Target,
        /// Why.
        reason: Reason,
        /// How loud: a missing neighbour on this machine is no news.
        level: Level,
    },
    /// A peer has shown headers of a heavier branch that were only weighed: it is to show them again.
    Heavier {
        /// Who.
        peer: PeerId,
        /// Where the branch parts from ours.
        from: Hash,
    },
    /// A block was refused.
    Refused {
        /// Its id.
        id: Hash,
        /// Why.
        why: String,
    },
    /// The disk is too full to go on, or no longer.
    Room {
        /// What is left.
        room: Room,
    },
    /// Miners begin, or rest.
    Mining {
        /// Whether they begin.
        begins: bool,
    },
    /// Anything else.
    Note {
        /// How loud.
        level: Level,
        /// The line.
        text: String,
    },
}

impl Report {
    /// Whether it comes from our own progress, which no stranger can hasten.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Tip { .. } | Self::Durable { .. } | Self::Mined { .. } | Self::Syncing { .. } | Self::Room { .. }
        )
    }

    /// How loud it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Refused { .. } | Self::Room { .. } => Level::Warn,
            Self::DialFailed { level, .. } | Self::Note { level, .. } => *level,
            _ => Level::Info,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tip { height, hash, peers, undone: 0 } => write!(f, "tip height={height} hash={hash} peers={peers}"),
            Self::Tip { height, hash, peers, undone } => {
                write!(f, "tip height={height} hash={hash} peers={peers} (reorganised: {undone} blocks undone)")
            }
            Self::Waits { id, fee, size_bytes, waiting } => {
                write!(f, "transaction {id} waits: fee {fee} for {size_bytes} bytes (waiting={waiting})")
            }
            Self::Confirmed { height, ids } => {
                write!(f, "block at height={height} confirms")?;
                write_some(f, ids, "that waited here")
            }
            Self::Unconfirmed { ids } => {
                f.write_str("no longer confirmed, and waiting again:")?;
                write_some(f, ids, "of blocks that are undone")
            }
            Self::Dropped { ids } => {
                f.write_str("given up, since this chain has spent their coins or never made them:")?;
                write_some(f, ids, "that waited here or were in blocks that are undone")
            }
            Self::Durable { height, hash } => write!(f, "durable height={height} hash={hash}"),
            Self::Mined { height, hash } => write!(f, "mined height={height} hash={hash}, durable"),
            Self::Syncing { height, target, blocks_per_s } => {
                let left = target.saturating_sub(*height);
                write!(f, "syncing height={height} of {target}, {blocks_per_s} blocks/s")?;
                match left.checked_div(*blocks_per_s) {
                    Some(seconds) => write!(f, ", about {seconds} s left"),
                    None => Ok(()),
                }
            }
            Self::Connected { peer, direction, address, agent, height, peers, .. } => {
                let way = if *direction == Direction::Inbound { "from" } else { "to" };
                write!(f, "{peer} connected {way} {address}: {agent} at height {height} (peers={peers})")
            }
            Self::Disconnected { peer, address, reason, peers, .. } => {
                write!(f, "{peer} at {address} disconnected: {reason} (peers={peers})")
            }
            Self::DialFailed { target, reason, .. } => write!(f, "cannot connect to {target}: {reason}"),
            Self::Heavier { peer, from } => write!(f, "{peer} has shown a heavier branch from {from:.12}: fetching it"),
            Self::Refused { id, why } => write!(f, "block {id:.12} rejected: {why}"),
            Self::Room { room: Room::Enough } => f.write_str("there is space on the disk again: going on"),
            Self::Room { room: Room::Low { free_bytes } } => write!(
                f,
                "only {} MiB are free on the disk (least {} MiB): no block is taken until there is more; free some space",
                free_bytes >> 20,
                ROOM_MIN_BYTES >> 20
            ),
            Self::Mining { begins: true } => f.write_str("ready to mine: there is nothing to catch up with"),
            Self::Mining { begins: false } => {
                f.write_str("mining rests: nobody wants blocks, there are some to catch up with, or none can be made")
            }
            Self::Note { text, .. } => f.write_str(text),
        }
    }
}

/// The first of these, and how many more there are.
fn write_some(f: &mut fmt::Formatter<'_>, ids: &[Hash], which: &str) -> fmt::Result {
    for id in ids.iter().take(IDS_SHOWN) {
        write!(f, " {id:.16}")?;
    }
    match ids.len().saturating_sub(IDS_SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more transactions {which}"),
    }
}
