//! Why a connection ends: logged here, told there in `Bye`, and what it costs the other side.

use crate::blockchain::reject::{Blame, Reject};
use crate::node::message::{Kind, PROTOCOL_GREATEST, PROTOCOL_LEAST};
use crate::primitives::codec::CodecError;
use crate::primitives::hash::Hash;

/// The longest pause after connections that ended for what the peer did.
pub const CUT_MS_MAX: u64 = 300_000;
/// A connection that lasted so long was good, whatever its end.
pub const GOOD_MS: u64 = 300_000;

/// Why we hang up, or how we learnt that they did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    // --- the handshake ---
    /// The first bytes are not ours: it gets no answer.
    #[error("it does not speak spindle's protocol")]
    Foreign,
    /// Another chain.
    #[error("it is on another network (genesis {theirs:.12})")]
    OtherNetwork {
        /// Their genesis.
        theirs: Hash,
    },
    /// No version in common.
    #[error("it speaks protocols {least} to {greatest} and we {PROTOCOL_LEAST} to {PROTOCOL_GREATEST}")]
    NoCommonProtocol {
        /// Their oldest.
        least: u16,
        /// Their newest.
        greatest: u16,
    },
    /// We dialled ourselves.
    #[error("it is this very node")]
    Oneself,
    /// Two connections between the same two nodes.
    #[error("we are connected to that node already")]
    Duplicate,
    /// Silence, or a drip.
    #[error("no handshake within {limit_ms} ms")]
    HandshakeTimeout {
        /// The deadline.
        limit_ms: u64,
    },
    /// All places are taken.
    #[error("all {limit} places for connections are taken")]
    Full {
        /// How many there are.
        limit: usize,
    },
    /// Too many from one address.
    #[error("{limit} connections from its address are enough")]
    FullForAddress {
        /// How many there may be.
        limit: usize,
    },
    /// Hung up on for cause, not long ago.
    #[error("its address is banned")]
    Banned,

    // --- frames ---
    /// A kind that has no place there: anything before the handshake, a second hello.
    #[error("{kind:?} out of place")]
    OutOfPlace {
        /// What came.
        kind: Kind,
    },
    /// More than a kind may have.
    #[error("a frame of kind {kind} declares {length_bytes} bytes (limit {limit_bytes})")]
    FrameTooLong {
        /// Its number.
        kind: u8,
        /// What it declares.
        length_bytes: u32,
        /// The cap.
        limit_bytes: usize,
    },
    /// Bytes that are not those that were framed.
    #[error("a {kind:?} frame fails its checksum")]
    BadChecksum {
        /// Its kind.
        kind: Kind,
    },
    /// Bytes that are no message.
    #[error("{kind:?} cannot be decoded: {error}")]
    Malformed {
        /// Its kind.
        kind: Kind,
        /// What is wrong.
        error: CodecError,
    },
    /// A frame that takes too long to come.
    #[error("a frame of {length_bytes} bytes was not complete within {limit_ms} ms")]
    FrameTimeout {
        /// What it declared.
        length_bytes: u32,
        /// What it was given.
        limit_ms: u64,
    },
    /// An answer to no question.
    #[error("{kind:?} that nobody asked for")]
    Unasked {
        /// What came.
        kind: Kind,
    },
    /// Another block than the one that was asked for.
    #[error("block {found:.12} instead of {asked:.12}")]
    WrongBlock {
        /// What came.
        found: Hash,
        /// What was due.
        asked: Hash,
    },
    /// A transaction that was not asked for.
    #[error("transaction {found:.12}, which we did not ask for")]
    WrongTransaction {
        /// What came.
        found: Hash,
    },
    /// Another number of a block's transfers than was asked for.
    #[error("{count} transfers of a block instead of {asked}")]
    WrongCount {
        /// What came.
        count: usize,
        /// What was due.
        asked: usize,
    },
    /// A transaction that could be in no block at all.
    #[error("a transaction is rejected: {reject}")]
    BadTransaction {
        /// The rule.
        reject: Reject,
    },
    /// Headers that do not follow one another.
    #[error("headers that do not link")]
    Unlinked,
    /// More requests at a time than the protocol allows.
    #[error("more than {limit} requests at a time")]
    TooManyRequests {
        /// How many it may have.
        limit: usize,
    },
    /// A request that cannot be meant.
    #[error("a request for {count} blocks (1 to {limit})")]
    BadCount {
        /// What it asked for.
        count: u16,
        /// The most.
        limit: u16,
    },

    // --- the chain ---
    /// A block or header that breaks a rule.
    #[error("block {id:.12} rejected: {reject}")]
    Rejected {
        /// Its id.
        id: Hash,
        /// The rule.
        reject: Reject,
    },
    /// Headers that start from a block that we do not have.
    #[error("headers from {prev:.12}, which we did not ask from")]
    UnknownStart {
        /// Where they start.
        prev: Hash,
    },
    /// On the second pass other headers than on the first.
    #[error("other headers on the second pass than on the first")]
    OtherHeaders,
    /// It claimed more work than it can show.
    #[error("it claimed work {claimed} and showed {shown}")]
    WorkNotShown {
        /// What its hello said.
        claimed: u128,
        /// What its headers add up to.
        shown: u128,
    },

    // --- time and space ---
    /// No answer to a ping.
    #[error("no pong within {limit_ms} ms")]
    PongTimeout {
        /// The deadline.
        limit_ms: u64,
    },
    /// An answer that does not come, again and again.
    #[error("no answer within {limit_ms} ms")]
    Stalled {
        /// What it was given.
        limit_ms: u64,
    },
    /// It does not read.
    #[error("it does not read: {queued_bytes} bytes wait for it (limit {limit_bytes})")]
    OutboxFull {
        /// In its outbox.
        queued_bytes: usize,
        /// The cap.
        limit_bytes: usize,
    },
    /// It does not read.
    #[error("it did not take what we sent within {limit_ms} ms")]
    WriteTimeout {
        /// The deadline.
        limit_ms: u64,
    },
    /// Whoever runs this node wants it so.
    #[error("this node's operator ended it")]
    Ordered,
    /// We are going down.
    #[error("this node is stopping")]
    Stopping,

    // --- their side ---
    /// They said why.
    #[error("it said: {0}")]
    Bye(String),
    /// The connection ended without a word.
    #[error("the connection closed")]
    Closed,
    /// The connection broke.
    #[error("the connection failed: {0}")]
    Broken(String),
    /// A bug of ours in the peer's thread: it ends the peer and nothing else.
    #[error("its thread failed: this is a bug in spindle")]
    Bug,
}

impl Reason {
    /// Whether the other side broke the protocol, so that its address is refused for a while.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Rejected { reject, .. } => reject.blame() != Blame::Nobody,
            Self::OutOfPlace { .. }
            | Self::FrameTooLong { .. }
            | Self::BadChecksum { .. }
            | Self::Malformed { .. }
            | Self::Unasked { .. }
            | Self::WrongBlock { .. }
            | Self::WrongTransaction { .. }
            | Self::WrongCount { .. }
            | Self::BadTransaction { .. }
            | Self::Unlinked
            | Self::TooManyRequests { .. }
            | Self::BadCount { .. } => true,
            // Headers from an unknown start, other headers on the second pass, less work than was claimed:
            // an honest peer that has just changed its branch can look like that. It is hung up on, no more.
            _ => false,
        }
    }

    /// Whether it speaks against dialling there again soon: all that a peer did or left undone. A connection that
    /// broke, or was one too many, says nothing of whoever was at its other end; nor does silence, which may be a
    /// cable's.
    pub fn is_held_against(&self) -> bool {
        !matches!(
            self,
            Self::Closed
                | Self::Broken(_)
                | Self::PongTimeout { .. }
                | Self::Duplicate
                | Self::Oneself
                | Self::Stopping
                | Self::Bug
        )
    }

    /// Whether it may hear why: a stranger who does not speak our protocol gets no bytes, and who is
    /// gone cannot.
    pub fn is_told(&self) -> bool {
        !matches!(self, Self::Foreign | Self::Bye(_) | Self::Closed | Self::Broken(_) | Self::WriteTimeout { .. })
    }
}

/// How a connection that we had opened ended, as far as it bears on the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had lasted.
    Good,
    /// It was short, for nothing that the peer did.
    Broken,
    /// It was short, for what the peer did or left undone.
    Cut,
}

impl Ending {
    /// Of a connection that lasted so long and ended for this.
    pub fn of(lasted_ms: u64, reason: &Reason) -> Self {
        match reason {
            _ if lasted_ms >= GOOD_MS => Self::Good,
            reason if reason.is_held_against() => Self::Cut,
            _ => Self::Broken,
        }
    }

    /// How many in a row were cut by now.
    pub fn cuts_after(self, cuts: u32) -> u32 {
        match self {
            Self::Good => 0,
            Self::Broken => cuts,
            Self::Cut => cuts.saturating_add(1),
        }
    }
}

/// The pause after so many cuts in a row: this one after none and after the first, then twice as long each time.
pub fn cut_pause_ms(least_ms: u64, cuts: u32) -> u64 {
    least_ms.saturating_mul(1 << cuts.saturating_sub(1).min(20)).min(CUT_MS_MAX)
}
