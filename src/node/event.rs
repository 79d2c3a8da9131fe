//! What the core is told and what it wants done: plain data, printed, compared, saved and replayed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::blockchain::block::{CheckedBlock, CheckedHeader};
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::ledger::Ledger;
use crate::blockchain::reject::Reject;
use crate::blockchain::template::Template;
use crate::node::message::{Hello, Message, NewBlock, PeerAddress};
use crate::node::orders::{Answer, Order, Ticket};
use crate::node::reason::Reason;
use crate::node::report::Report;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// A connection's number: never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They did.
    Inbound,
    /// We did.
    Outbound,
}

/// Somebody to dial: an address, or a name that has to be looked up first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// `host:port`.
    Name(String),
}

impl Target {
    /// From `HOST:PORT`; an error is the rest of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "HOST:PORT is needed, such as 192.168.1.7:9000, [::1]:9000 or node.example:9000";
        let Some((host, port)) = text.rsplit_once(':') else { return Err(format!("has no port; {form}")) };
        // `parse` would take a sign.
        let is_port =
            port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !is_port {
            return Err(format!("has a wrong port, `{port:.20}`; 1 to 65535 are allowed"));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.ip().is_unspecified() {
                return Err(format!("is nobody's address; {form}"));
            }
            return Ok(Self::Address(address));
        }
        let label = |label: &str| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let name = host.strip_suffix('.').unwrap_or(host);
        if numeric || name.len() > 253 || !name.split('.').all(label) {
            return Err(format!("has no such host as `{host:.260}`; {form}"));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed; comes a few times a second.
    Tick,
    /// The last turn was cut short: go on.
    Continue,
    /// A handshake is complete.
    Connected {
        /// The connection's number.
        peer: PeerId,
        /// Who dialled.
        direction: Direction,
        /// The other end of the socket.
        address: SocketAddr,
        /// What we dialled, if we did.
        target: Option<Target>,
        /// What they said of themselves.
        hello: Box<Hello>,
    },
    /// A connection that was `Connected` has ended; its last event.
    Closed {
        /// Which.
        peer: PeerId,
        /// Why, as its threads saw it.
        reason: Reason,
    },
    /// A dial or its handshake came to nothing.
    DialFailed {
        /// What we dialled.
        target: Target,
        /// Why.
        reason: Reason,
    },
    /// A peer wants a sign of life.
    Ping {
        /// Who.
        peer: PeerId,
        /// To be sent back.
        nonce: u64,
    },
    /// A peer's sign of life.
    Pong {
        /// Who.
        peer: PeerId,
        /// What we sent.
        nonce: u64,
    },
    /// The answer to a `GetHeaders` of ours; each links to the one before.
    Headers {
        /// Who.
        peer: PeerId,
        /// Their work is checked.
        headers: Vec<CheckedHeader>,
    },
    /// Some of the blocks that we asked for, in the order that we asked.
    Blocks {
        /// Who.
        peer: PeerId,
        /// All checks that need no chain are done.
        blocks: Vec<CheckedBlock>,
    },
    /// A large frame is on its way: the peer is slow, not silent.
    Progress {
        /// Who.
        peer: PeerId,
    },
    /// A peer does not have the run that we asked for.
    Missing {
        /// Who.
        peer: PeerId,
        /// The run's last block.
        last: Hash,
    },
    /// A peer has a new tip.
    NewBlock {
        /// Who.
        peer: PeerId,
        /// What it told of it.
        block: Announced,
    },
    /// The missing transfers of a new block, asked for.
    BlockTxs {
        /// Who.
        peer: PeerId,
        /// The block.
        block: Hash,
        /// Their signatures are verified.
        transfers: Vec<CheckedTx>,
    },
    /// A peer does not have the block whose transfers we asked for.
    BlockTxsMissing {
        /// Who.
        peer: PeerId,
        /// The block.
        block: Hash,
    },
    /// A peer has let transactions into its pool.
    NewTx {
        /// Who.
        peer: PeerId,
        /// Their ids.
        ids: Vec<Hash>,
    },
    /// A peer wants transactions of our pool.
    GetTxs {
        /// Who.
        peer: PeerId,
        /// Their ids.
        ids: Vec<Hash>,
    },
    /// Transactions that we asked for.
    Txs {
        /// Who.
        peer: PeerId,
        /// All that were asked for.
        asked: Vec<Hash>,
        /// Those that came: right in themselves, but for their signatures.
        transactions: Vec<ReadTx>,
    },
    /// A peer wants to know what waits in our pool.
    GetPool {
        /// Who.
        peer: PeerId,
        /// Ids greater than this one.
        after: Hash,
    },
    /// A page of what waits in a peer's pool, asked for.
    Pool {
        /// Who.
        peer: PeerId,
        /// The ids, ascending.
        ids: Vec<Hash>,
    },
    /// The signatures of an [`Effect::Verify`] are checked.
    Verified {
        /// For each, in the order given.
        verdicts: Vec<Result<CheckedTx, Reject>>,
    },
    /// A peer wants addresses.
    GetPeers {
        /// Who.
        peer: PeerId,
    },
    /// A peer's addresses, asked for.
    Peers {
        /// Who.
        peer: PeerId,
        /// Where nodes are said to listen.
        addresses: Vec<PeerAddress>,
    },
    /// Somebody who may give orders wants something; an [`Effect::Answer`] follows.
    Order {
        /// Under which it is answered.
        ticket: Ticket,
        /// What.
        order: Order,
    },
    /// A miner of ours found a block.
    Mined {
        /// The block.
        block: Box<CheckedBlock>,
    },
    /// Everything up to here survives a power cut.
    Durable {
        /// Bytes of the block file.
        upto: u64,
    },
    /// A checkpoint is written (or was not worth it).
    Checkpointed {
        /// The block that it stands on.
        tip: Hash,
    },
}

impl Event {
    /// The connected peer that it comes from.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Ping { peer, .. }
            | Self::Pong { peer, .. }
            | Self::Headers { peer, .. }
            | Self::Blocks { peer, .. }
            | Self::Progress { peer }
            | Self::Missing { peer, .. }
            | Self::NewBlock { peer, .. }
            | Self::BlockTxs { peer, .. }
            | Self::BlockTxsMissing { peer, .. }
            | Self::NewTx { peer, .. }
            | Self::GetTxs { peer, .. }
            | Self::Txs { peer, .. }
            | Self::GetPool { peer, .. }
            | Self::Pool { peer, .. }
            | Self::GetPeers { peer }
            | Self::Peers { peer, .. } => Some(*peer),
            Self::Tick
            | Self::Continue
            | Self::Connected { .. }
            | Self::Closed { .. }
            | Self::DialFailed { .. }
            | Self::Verified { .. }
            | Self::Order { .. }
            | Self::Mined { .. }
            | Self::Durable { .. }
            | Self::Checkpointed { .. } => None,
        }
    }
}

/// A new block as a peer announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// All of it: there was nothing but the coinbase.
    Whole(Box<CheckedBlock>),
    /// Its transfers have to be found.
    Sketch(CheckedHeader, Box<NewBlock>),
}

impl Announced {
    /// The block's header.
    pub fn header(&self) -> CheckedHeader {
        match self {
            Self::Whole(block) => block.checked_header(),
            Self::Sketch(header, _) => *header,
        }
    }
}

/// What a peer's session is told that it may receive: noted before the question leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One `Headers`.
    Headers,
    /// These blocks, in this order, or a `Missing`.
    Blocks(Vec<Hash>),
    /// One `Peers`.
    Peers,
    /// One `Txs` with some of these.
    Txs(Vec<Hash>),
    /// One `Pool`.
    Pool,
    /// One `BlockTxs` of this block with so many transfers, or a `Missing`.
    BlockTxs(Hash, usize),
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A reply or a notice: it fits into the peer's outbox or the peer is hung up on.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// A question: the session learns what it may receive, then the message goes out like `Send`.
    Ask {
        /// Whom.
        peer: PeerId,
        /// What will be a legitimate answer.
        asked: Asked,
        /// The question.
        message: Message,
    },
    /// News of a block for all of these; who has no room for it goes without.
    BroadcastBlock {
        /// Who has not heard of it.
        peers: Vec<PeerId>,
        /// The news.
        block: Box<NewBlock>,
    },
    /// News of transactions for all of these; who has no room for it goes without.
    BroadcastTx {
        /// Who has not heard of them.
        peers: Vec<PeerId>,
        /// Their ids, as many as a message holds at the most.
        ids: Vec<Hash>,
    },
    /// Check signatures, elsewhere; one `Verified` follows. There are never more of these open than
    /// [`VERIFYING_MAX`](crate::node::transactions::VERIFYING_MAX).
    Verify {
        /// Whose.
        transactions: Vec<ReadTx>,
    },
    /// End a connection; a `Closed` follows.
    HangUp {
        /// Whose.
        peer: PeerId,
        /// Why; told in a `Bye` where that makes sense.
        reason: Reason,
    },
    /// Connect to somebody; `Connected` or `DialFailed` follows.
    Dial {
        /// Whom.
        target: Target,
    },
    /// Refuse connections from this address until further notice.
    Refuse {
        /// The banned address.
        ip: std::net::IpAddr,
        /// Until then; `None` lifts it.
        until: Option<Wall>,
    },
    /// Make the block file last up to here; `Durable` follows.
    Sync {
        /// Bytes of the block file.
        upto: u64,
    },
    /// Write a checkpoint; `Checkpointed` follows.
    Checkpoint {
        /// The block that the ledger stands on.
        tip: Hash,
        /// A clone that shares its shards.
        ledger: Ledger,
    },
    /// Replace a small file of ours.
    Save {
        /// Its name in the data directory.
        file: &'static str,
        /// What it shall hold.
        bytes: Vec<u8>,
    },
    /// There is something new to mine on, or nothing while we are behind.
    Mine {
        /// A block that lacks only time and nonce.
        template: Option<Arc<Template>>,
    },
    /// So many threads shall mine at all times.
    Miners {
        /// 0: only what is asked for.
        threads: usize,
    },
    /// So many blocks are wanted at once, on the template given last.
    Generate {
        /// How many; 0: those that were wanted before are not wanted any more.
        count: u32,
    },
    /// What became of an order.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// What.
        answer: Answer,
    },
    /// Something that a person may want to know.
    Tell(Report),
}
