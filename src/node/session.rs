//! One peer's connection without its socket: the handshake, frames, what was asked, deadlines.
//!
//! Bytes go in ([`Session::space`], [`Session::filled`]) and outputs come out ([`Session::next`]), one
//! at a time, so that a flood waits as bytes and not as work. The reader's thread drives it with a
//! socket, the simulator with a virtual wire. Everything that can be checked without the chain is
//! checked here: what reaches the owner is typed, and was asked for where it is expensive.
//!
//! An error from here ends the connection. Left out: pings, which the owner sends because only it
//! knows whether a silent peer is one that waits for us.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::blockchain::block::{Block, CheckedHeader, Header, ReadBlock};
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::params::Params;
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::TRANSACTION_BYTES_MIN;
use crate::node::event::{Announced, Asked, Direction, Event, PeerId};
use crate::node::frame::{FrameBuffer, Front};
use crate::node::message::{BLOCKS_MAX, Hello, Kind, Message, NewBlock, PROTOCOL_GREATEST, PROTOCOL_LEAST, shown};
use crate::node::reason::Reason;
use crate::node::serve::Request;
use crate::primitives::codec::{self, CodecError, List};
use crate::primitives::frame::FrameHeader;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Verifier;
use crate::primitives::time::Mono;

/// From the connection to a complete handshake.
pub const HANDSHAKE_MS: u64 = 5_000;
/// What a frame may take, and a second more for each 16 KiB that it declares.
const FRAME_MS: u64 = 20_000;
/// A batch of blocks goes to the owner when it holds this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// While a large frame comes in, the owner hears so once in this time.
const PROGRESS_MS: u64 = 1_000;

/// What all sessions of a node share.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The network.
    pub params: Arc<Params>,
    /// Verifies signatures of bodies that were asked for.
    pub verifier: Verifier,
}

/// Something for the thread that drives the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// The handshake is complete.
    Ready {
        /// What they said of themselves.
        hello: Box<Hello>,
        /// Our answer, to be written before anything else; the side that dialled has none to give.
        answer: Option<Vec<u8>>,
    },
    /// For the owner; costs a credit.
    Event(Event),
    /// For the writer.
    Serve(Request),
}

#[derive(Debug)]
enum Stage {
    /// Nothing but a hello may come.
    Greeting { until: Mono },
    /// Everything may come.
    Open,
}

/// A frame that has begun and is not complete.
#[derive(Debug)]
struct Partial {
    until: Mono,
    limit_ms: u64,
    length_bytes: u32,
    told: Mono,
}

impl Partial {
    /// Its first bytes are here; what it declares may not be.
    fn begun(now: Mono) -> Self {
        Self { until: now.after(FRAME_MS), limit_ms: FRAME_MS, length_bytes: 0, told: now }
    }

    /// It declares so much, and gets its time for that, counted from its first byte.
    fn declare(&mut self, length_bytes: u32) {
        let limit_ms = FRAME_MS + 1_000 * u64::from(length_bytes >> 14);
        self.until = self.until.after(limit_ms - self.limit_ms);
        (self.limit_ms, self.length_bytes) = (limit_ms, length_bytes);
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    peer: PeerId,
    direction: Direction,
    ours: Hello,
    stage: Stage,
    buffer: FrameBuffer,
    partial: Option<Partial>,
    headers_asked: u32,
    peers_asked: u32,
    blocks_asked: VecDeque<VecDeque<Hash>>,
    txs_asked: VecDeque<Vec<Hash>>,
    block_txs_asked: VecDeque<(Hash, usize)>,
    pools_asked: u32,
}

impl Session {
    /// A connection that was opened now; `ours` is what we say of ourselves.
    pub fn new(config: SessionConfig, peer: PeerId, direction: Direction, ours: Hello, now: Mono) -> Self {
        Self {
            config,
            peer,
            direction,
            ours,
            stage: Stage::Greeting { until: now.after(HANDSHAKE_MS) },
            buffer: FrameBuffer::default(),
            partial: None,
            headers_asked: 0,
            peers_asked: 0,
            blocks_asked: VecDeque::new(),
            txs_asked: VecDeque::new(),
            block_txs_asked: VecDeque::new(),
            pools_asked: 0,
        }
    }

    /// What whoever dialled says first; the other side answers.
    pub fn opening(&self) -> Option<Vec<u8>> {
        (self.direction == Direction::Outbound).then(|| Message::Hello(self.ours.clone()).to_frame())
    }

    /// Room for received bytes.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.space()
    }

    /// So many bytes of the space were received.
    pub fn filled(&mut self, count: usize) {
        self.buffer.filled(count);
    }

    /// Bytes that the next output is made of, if that may be large: what decoding it takes is a multiple of
    /// these. 0 for everything else, and while the front is incomplete.
    pub fn bulk_bytes(&self) -> usize {
        let Some(header) = self.buffer.whole() else { return 0 };
        match Kind::from_number(header.kind) {
            Some(kind) if self.may_come(kind).is_err() => 0,
            Some(Kind::Blocks) => self.buffer.held_bytes().min(BATCH_BYTES.max(header.length as usize)),
            // It goes to the writer, and small as it is.
            Some(Kind::GetBlockTxs) | None => 0,
            Some(_) => header.length as usize,
        }
    }

    /// Appends received bytes, for a driver that has them elsewhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.feed(bytes);
    }

    /// The owner has a question on its way: this may be answered.
    pub fn note(&mut self, asked: Asked) {
        match asked {
            Asked::Headers => self.headers_asked += 1,
            Asked::Peers => self.peers_asked += 1,
            Asked::Blocks(ids) => self.blocks_asked.push_back(ids.into()),
            Asked::Txs(ids) => self.txs_asked.push_back(ids),
            Asked::BlockTxs(block, count) => self.block_txs_asked.push_back((block, count)),
            Asked::Pool => self.pools_asked += 1,
        }
    }

    /// When [`on_time`](Self::on_time) has something to say at the latest; `None` while nothing is due.
    pub fn deadline(&self) -> Option<Mono> {
        match (&self.stage, &self.partial) {
            (Stage::Greeting { until }, _) => Some(*until),
            (Stage::Open, partial) => partial.as_ref().map(|partial| partial.until),
        }
    }

    /// Whether a deadline has passed.
    pub fn on_time(&self, now: Mono) -> Result<(), Reason> {
        match (&self.stage, &self.partial) {
            (Stage::Greeting { until }, _) if now >= *until => Err(Reason::HandshakeTimeout { limit_ms: HANDSHAKE_MS }),
            (Stage::Open, Some(partial)) if now >= partial.until => {
                Err(Reason::FrameTimeout { length_bytes: partial.length_bytes, limit_ms: partial.limit_ms })
            }
            _ => Ok(()),
        }
    }

    /// The next output of the bytes at hand; `None` when more are needed.
    pub fn next(&mut self, now: Mono) -> Result<Option<Output>, Reason> {
        self.on_time(now)?;
        loop {
            let (kind, header) = match self.buffer.front()? {
                Front::Nothing => {
                    self.buffer.rest();
                    if self.buffer.held_bytes() > 0 && self.partial.is_none() {
                        self.partial = Some(Partial::begun(now));
                    }
                    return Ok(None);
                }
                Front::Partial(header) => return self.wait(now, &header),
                Front::Unknown(header) => {
                    // A word of a newer protocol; before the handshake there are none.
                    if matches!(self.stage, Stage::Greeting { .. }) {
                        return Err(Reason::Foreign);
                    }
                    self.buffer.pass(&header);
                    self.partial = None;
                    continue;
                }
                Front::Whole(kind, header) => (kind, header),
            };
            self.partial = None;
            self.may_come(kind)?;
            match kind {
                Kind::Blocks => return self.blocks().map(Some),
                Kind::Txs => return self.transactions(&header).map(Some),
                Kind::BlockTxs => return self.block_transfers(&header).map(Some),
                _ => {}
            }
            let message = Message::from_payload(kind, self.buffer.payload(&header));
            let message = message.map_err(|error| Reason::Malformed { kind, error })?;
            self.buffer.pass(&header);
            return self.handle(message).map(Some);
        }
    }

    /// A frame is incomplete: it has a deadline of its own, from its first byte, however it drips.
    fn wait(&mut self, now: Mono, header: &FrameHeader) -> Result<Option<Output>, Reason> {
        // An answer that nobody asked for need not arrive in full to be one.
        if let Some(kind) = Kind::from_number(header.kind) {
            self.may_come(kind)?;
        }
        let is_new = self.partial.is_none();
        let partial = self.partial.get_or_insert_with(|| Partial::begun(now));
        partial.declare(header.length);
        if is_new {
            return Ok(None);
        }
        if matches!(self.stage, Stage::Open) && now.since(partial.told) >= PROGRESS_MS {
            partial.told = now;
            return Ok(Some(Output::Event(Event::Progress { peer: self.peer })));
        }
        Ok(None)
    }

    /// Whether a frame of this kind has a place here at all; known from its header alone.
    fn may_come(&self, kind: Kind) -> Result<(), Reason> {
        let due = match (&self.stage, self.direction) {
            (Stage::Greeting { .. }, Direction::Inbound) => kind == Kind::Hello,
            (Stage::Greeting { .. }, Direction::Outbound) => matches!(kind, Kind::HelloAck | Kind::Bye),
            (Stage::Open, _) => !matches!(kind, Kind::Hello | Kind::HelloAck),
        };
        if !due {
            return Err(Reason::OutOfPlace { kind });
        }
        let asked = match kind {
            Kind::Headers => self.headers_asked > 0,
            Kind::Peers => self.peers_asked > 0,
            Kind::Blocks => !self.blocks_asked.is_empty(),
            Kind::Missing => !self.blocks_asked.is_empty() || !self.block_txs_asked.is_empty(),
            Kind::Txs => !self.txs_asked.is_empty(),
            Kind::BlockTxs => !self.block_txs_asked.is_empty(),
            Kind::Pool => self.pools_asked > 0,
            _ => true,
        };
        if asked { Ok(()) } else { Err(Reason::Unasked { kind }) }
    }

    fn handle(&mut self, message: Message) -> Result<Output, Reason> {
        let peer = self.peer;
        Ok(match message {
            Message::Hello(hello) | Message::HelloAck(hello) => self.greeted(hello)?,
            Message::Ping(nonce) => Output::Event(Event::Ping { peer, nonce }),
            Message::Pong(nonce) => Output::Event(Event::Pong { peer, nonce }),
            Message::GetHeaders(locator) => Output::Serve(Request::Headers { locator: locator.into_vec() }),
            Message::GetBlocks { last, count } => {
                if count == 0 || count > BLOCKS_MAX {
                    return Err(Reason::BadCount { count, limit: BLOCKS_MAX });
                }
                Output::Serve(Request::Blocks { last, count })
            }
            Message::Headers(headers) => {
                self.headers_asked -= 1;
                Output::Event(Event::Headers { peer, headers: check_headers(headers.into_vec())? })
            }
            Message::Missing(last) => Output::Event(self.missing(last)?),
            Message::NewBlock(block) => Output::Event(Event::NewBlock { peer, block: announced(&self.config, block)? }),
            Message::GetPeers => Output::Event(Event::GetPeers { peer }),
            Message::Peers(addresses) => {
                self.peers_asked -= 1;
                Output::Event(Event::Peers { peer, addresses: addresses.into_vec() })
            }
            Message::Bye(text) => return Err(Reason::Bye(shown(&text))),
            Message::GetBlockTxs { block, places } => {
                Output::Serve(Request::BlockTxs { block, places: places.into_vec() })
            }
            Message::NewTx(ids) => Output::Event(Event::NewTx { peer, ids: ids.into_vec() }),
            Message::GetTxs(ids) => Output::Event(Event::GetTxs { peer, ids: ids.into_vec() }),
            Message::GetPool(after) => Output::Event(Event::GetPool { peer, after }),
            Message::Pool(ids) => {
                self.pools_asked -= 1;
                Output::Event(Event::Pool { peer, ids: ids.into_vec() })
            }
            // These two are read where they lie.
            Message::Txs(_) | Message::BlockTxs { .. } => {
                return Err(Reason::OutOfPlace { kind: message.kind() });
            }
        })
    }

    fn greeted(&mut self, hello: Hello) -> Result<Output, Reason> {
        self.check_hello(&hello)?;
        self.stage = Stage::Open;
        let answer = (self.direction == Direction::Inbound).then(|| Message::HelloAck(self.ours.clone()).to_frame());
        Ok(Output::Ready { hello: Box::new(hello), answer })
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), Reason> {
        if hello.genesis != self.ours.genesis {
            return Err(Reason::OtherNetwork { theirs: hello.genesis });
        }
        let (least, greatest) = (hello.protocol_least, hello.protocol_greatest);
        if least > PROTOCOL_GREATEST || greatest < PROTOCOL_LEAST || least > greatest {
            return Err(Reason::NoCommonProtocol { least, greatest });
        }
        if hello.nonce == self.ours.nonce {
            return Err(Reason::Oneself);
        }
        Ok(())
    }

    /// All whole blocks at the front, checked, as far as a batch goes.
    ///
    /// Each is compared with the id that was asked for before anything of its body is looked at, so a
    /// stranger cannot have signatures verified that no chain contains.
    fn blocks(&mut self) -> Result<Output, Reason> {
        let mut read = Vec::new();
        let mut bytes = 0;
        while let Front::Whole(Kind::Blocks, header) = self.buffer.front()? {
            if bytes > 0 && bytes + header.length as usize > BATCH_BYTES {
                break;
            }
            let Some(asked) = self.next_asked() else { break };
            let payload = self.buffer.payload(&header);
            let found = payload.get(..100).map_or(Hash::ZERO, Hash::sha256d);
            if found != asked {
                return Err(Reason::WrongBlock { found, asked });
            }
            bytes += payload.len();
            let block = ReadBlock::read(&self.config.params, payload.to_vec());
            read.push(block.map_err(|reject| Reason::Rejected { id: asked, reject })?);
            self.buffer.pass(&header);
        }
        if read.is_empty() {
            return Err(Reason::Unasked { kind: Kind::Blocks });
        }
        let blocks = ReadBlock::verified_all(read, &self.config.verifier)
            .map_err(|(id, reject)| Reason::Rejected { id, reject })?;
        Ok(Output::Event(Event::Blocks { peer: self.peer, blocks }))
    }

    /// A block, or a run of them, is not to be had there.
    fn missing(&mut self, last: Hash) -> Result<Event, Reason> {
        let peer = self.peer;
        if self.block_txs_asked.front().is_some_and(|(block, _)| *block == last) {
            self.block_txs_asked.pop_front();
            return Ok(Event::BlockTxsMissing { peer, block: last });
        }
        // Instead of a run, not in the middle of one: answers come in the order of the questions.
        let asked = self.blocks_asked.pop_front();
        if asked.and_then(|ids| ids.back().copied()) != Some(last) {
            return Err(Reason::Unasked { kind: Kind::Missing });
        }
        Ok(Event::Missing { peer, last })
    }

    /// Transactions that were asked for, right in themselves. Their signatures wait until the owner has
    /// matched them with the ledger: invented coins must not buy verification (RULES 31).
    fn transactions(&mut self, header: &FrameHeader) -> Result<Output, Reason> {
        let asked = self.txs_asked.pop_front().unwrap_or_default();
        let transactions = read_all(&self.config.params, self.buffer.payload(header), Kind::Txs)?;
        self.buffer.pass(header);
        // In the order of the question, so one look at each id is enough.
        let mut due = asked.iter();
        if let Some(other) = transactions.iter().find(|tx| !due.any(|id| *id == tx.id())) {
            return Err(Reason::WrongTransaction { found: other.id() });
        }
        Ok(Output::Event(Event::Txs { peer: self.peer, asked, transactions }))
    }

    /// Transfers of a block that were asked for. There is work in their block, so they are verified here.
    fn block_transfers(&mut self, header: &FrameHeader) -> Result<Output, Reason> {
        let (asked, count) = self.block_txs_asked.pop_front().unwrap_or_default();
        let payload = self.buffer.payload(header);
        let malformed = |error| Reason::Malformed { kind: Kind::BlockTxs, error };
        let (block, rest) = codec::decode_prefix::<Hash>(payload).map_err(malformed)?;
        if block != asked {
            return Err(Reason::WrongBlock { found: block, asked });
        }
        let read = read_all(&self.config.params, rest, Kind::BlockTxs)?;
        self.buffer.pass(header);
        if read.len() != count {
            return Err(Reason::WrongCount { count: read.len(), asked: count });
        }
        let verdicts = ReadTx::verified_all(read, &self.config.verifier);
        let transfers = verdicts.into_iter().collect::<Result<Vec<CheckedTx>, Reject>>().map_err(bad_transaction)?;
        Ok(Output::Event(Event::BlockTxs { peer: self.peer, block, transfers }))
    }

    fn next_asked(&mut self) -> Option<Hash> {
        let run = self.blocks_asked.front_mut()?;
        let asked = run.pop_front();
        if run.is_empty() {
            self.blocks_asked.pop_front();
        }
        asked
    }
}

/// Checks work and links of headers in a row.
fn check_headers(headers: Vec<Header>) -> Result<Vec<CheckedHeader>, Reason> {
    let mut checked: Vec<CheckedHeader> = Vec::with_capacity(headers.len());
    for header in headers {
        if checked.last().is_some_and(|before| before.id() != header.prev) {
            return Err(Reason::Unlinked);
        }
        checked.push(CheckedHeader::check(header).map_err(|reject| Reason::Rejected { id: header.id(), reject })?);
    }
    Ok(checked)
}

/// Reads a list of transactions where it lies.
fn read_all(params: &Params, payload: &[u8], kind: Kind) -> Result<Vec<ReadTx>, Reason> {
    let malformed = |error| Reason::Malformed { kind, error };
    let (count, mut rest) = codec::decode_prefix::<u16>(payload).map_err(malformed)?;
    let mut transactions = Vec::with_capacity(usize::from(count).min(rest.len() / TRANSACTION_BYTES_MIN));
    for _ in 0..count {
        let (read, after) = ReadTx::read_prefix(params, rest).map_err(bad_transaction)?;
        transactions.push(read);
        rest = after;
    }
    match rest.len() {
        0 => Ok(transactions),
        extra => Err(malformed(CodecError::Trailing { extra })),
    }
}

fn bad_transaction(reject: Reject) -> Reason {
    Reason::BadTransaction { reject }
}

/// Checks what can be checked of an announcement; one without transfers is a whole block already.
fn announced(config: &SessionConfig, block: Box<NewBlock>) -> Result<Announced, Reason> {
    let id = block.header.id();
    let rejected = |reject| Reason::Rejected { id, reject };
    if !block.short_ids.is_empty() {
        return Ok(Announced::Sketch(CheckedHeader::check(block.header).map_err(rejected)?, block));
    }
    let bytes = Block { header: block.header, coinbase: block.coinbase, transfers: List::default() }.to_bytes();
    let read = ReadBlock::read(&config.params, bytes).map_err(rejected)?;
    Ok(Announced::Whole(Box::new(read.verified(&config.verifier).map_err(rejected)?)))
}
