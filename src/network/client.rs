//! A program that asks one node something: a socket, one thread, no node of its own.
//!
//! It speaks the peers' protocol to their port, from the same machine, and is a poor peer: it claims no work,
//! has nothing to serve, and says so to whoever asks. One question at a time; what the node says meanwhile of
//! its own accord is passed over.
//!
//! Nothing is waited for without an end: 3 s for the connection, 5 s for the handshake, and for an answer 20 s
//! after the last of its bytes. An error ends the conversation: a client that had one is of no further use.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::blockchain::block::Header;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::Transaction;
use crate::network::limits::CONNECT_MS;
use crate::node::frame::{FrameBuffer, Front};
use crate::node::message::{
    Activation, BLOCKS_MAX, Hello, Kind, Message, PROTOCOL_GREATEST, PROTOCOL_LEAST, TX_IDS_MAX, shown,
};
use crate::node::reason::Reason;
use crate::node::session::HANDSHAKE_MS;
use crate::primitives::codec::{self, CodecError, List};
use crate::primitives::hash::Hash;

/// For an answer, after the last byte of it.
const ANSWER_MS: u64 = 20_000;
/// Ids of a node's pool that are taken in: more than its bytes allow.
const POOL_IDS_MAX: usize = 1 << 20;

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no node listens on {address}")]
    Nobody {
        /// Where it was looked for.
        address: SocketAddr,
    },
    /// It would not talk to us.
    #[error("the node on {address} turned us away: {why}")]
    TurnedAway {
        /// Where it is.
        address: SocketAddr,
        /// In its words.
        why: String,
    },
    /// It has another genesis.
    #[error("the node on {address} is of another network (genesis {theirs:.12})")]
    OtherNetwork {
        /// Where it is.
        address: SocketAddr,
        /// Its network.
        theirs: Hash,
    },
    /// It is no node, or of a time that we do not know.
    #[error("what listens on {address} does not answer as a spindle node: {why}")]
    NoNode {
        /// Where it is.
        address: SocketAddr,
        /// How that shows.
        why: String,
    },
    /// It has gone.
    #[error("{0}")]
    Ended(String),
    /// It is silent.
    #[error("no answer within {limit_ms} ms")]
    Silent {
        /// How long it was waited for.
        limit_ms: u64,
    },
    /// It answers something else.
    #[error("{0}")]
    Odd(String),
}

/// A conversation with one node.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: FrameBuffer,
    hello: Hello,
    /// Blocks that were asked for and have not been read.
    due: usize,
}

/// A frame that is an answer.
#[derive(Debug)]
enum Answer {
    Block(Vec<u8>),
    Message(Message),
}

impl Client {
    /// Greets the node of this network on this machine's port. `agent` is what it may call us, and the nonce
    /// tells us from other programs.
    pub fn connect(params: &Params, port: u16, agent: &str, nonce: u64) -> Result<Self, ClientError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(CONNECT_MS));
        let stream = stream.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => ClientError::Nobody { address },
            _ => ClientError::NoNode { address, why: error.to_string() },
        })?;
        let setup = stream.set_nodelay(true);
        setup
            .and_then(|()| stream.set_write_timeout(Some(Duration::from_millis(ANSWER_MS))))
            .map_err(|error| ended(&error))?;
        let ours = hello(params, agent, nonce);
        let mut client = Self { address, stream, buffer: FrameBuffer::default(), hello: ours.clone(), due: 0 };
        let no_node = |why| ClientError::NoNode { address, why };
        // A node that is full has said so and hung up by now: its word is heard before our own failure is told.
        let said = client.say(&Message::Hello(ours));
        match client.next(HANDSHAKE_MS) {
            Ok(Answer::Message(Message::HelloAck(theirs))) => client.hello = theirs,
            Ok(_) => return Err(no_node("it does not greet".into())),
            Err(away @ ClientError::TurnedAway { .. }) => return Err(away),
            Err(error) => return Err(no_node(said.err().unwrap_or(error).to_string())),
        }
        let Hello { genesis, protocol_least: least, protocol_greatest: greatest, .. } = client.hello;
        if genesis != params.genesis_id() {
            return Err(ClientError::OtherNetwork { address, theirs: genesis });
        }
        if least > PROTOCOL_GREATEST || greatest < PROTOCOL_LEAST {
            return Err(no_node(Reason::NoCommonProtocol { least, greatest }.to_string()));
        }
        Ok(client)
    }

    /// The height of the node's tip when it greeted us.
    pub fn height(&self) -> u64 {
        self.hello.height
    }

    /// Headers of its chain after the first of these that is on it, or after genesis.
    pub fn headers(&mut self, locator: &[Hash]) -> Result<Vec<Header>, ClientError> {
        self.ask(&Message::GetHeaders(List::first_of(locator.to_vec())))?;
        match self.next(ANSWER_MS)? {
            Answer::Message(Message::Headers(headers)) => Ok(headers.into_vec()),
            other => Err(odd(&other)),
        }
    }

    /// Asks for the run of so many blocks that ends in this one; false if the node does not have it. Then
    /// [`Client::next_block`] gives them one by one.
    pub fn ask_blocks(&mut self, last: Hash, count: usize) -> Result<bool, ClientError> {
        let few = u16::try_from(count).ok().filter(|count| (1..=BLOCKS_MAX).contains(count));
        let count = few.ok_or_else(|| ClientError::Odd(format!("{count} blocks at once (1 to {BLOCKS_MAX})")))?;
        self.ask(&Message::GetBlocks { last, count })?;
        // Looked at and left there: the first block, or that there is none.
        if self.await_front(ANSWER_MS)? == Kind::Missing {
            return match self.next(ANSWER_MS)? {
                Answer::Message(Message::Missing(found)) if found == last => Ok(false),
                other => Err(odd(&other)),
            };
        }
        self.due = usize::from(count);
        Ok(true)
    }

    /// The next of the blocks that were asked for; none when that was the last.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        if self.due == 0 {
            return Ok(None);
        }
        match self.next(ANSWER_MS)? {
            Answer::Block(bytes) => {
                self.due -= 1;
                Ok(Some(bytes))
            }
            other @ Answer::Message(_) => Err(odd(&other)),
        }
    }

    /// The ids of all that waits in its pool.
    pub fn pool(&mut self) -> Result<Vec<Hash>, ClientError> {
        let mut all: Vec<Hash> = Vec::new();
        loop {
            let after = all.last().copied().unwrap_or_default();
            self.ask(&Message::GetPool(after))?;
            let page = match self.next(ANSWER_MS)? {
                Answer::Message(Message::Pool(page)) => page,
                other => return Err(odd(&other)),
            };
            let ascends = page.first().is_none_or(|first| *first > after) && page.is_sorted_by(|a, b| a < b);
            if !ascends || all.len() > POOL_IDS_MAX {
                return Err(ClientError::Odd("its pool's ids do not come in order, or do not end".into()));
            }
            all.extend_from_slice(&page);
            if page.len() < TX_IDS_MAX {
                return Ok(all);
            }
        }
    }

    /// Those of these that wait in its pool, at most 1,000 at once.
    pub fn transactions(&mut self, mut ids: &[Hash]) -> Result<Vec<Transaction>, ClientError> {
        let mut all = Vec::new();
        while !ids.is_empty() {
            self.ask(&Message::GetTxs(List::first_of(ids.to_vec())))?;
            let page = match self.next(ANSWER_MS)? {
                Answer::Message(Message::Txs(page)) => page,
                other => return Err(odd(&other)),
            };
            // What a page passes over is not there; what comes after its last one is asked for again.
            if page.is_empty() {
                break;
            }
            for bytes in page {
                let transaction: Transaction = codec::decode(&bytes).map_err(|error| undecodable(&error))?;
                let id = transaction.id();
                let place = ids.iter().position(|asked| *asked == id);
                let place = place.ok_or_else(|| ClientError::Odd(format!("transaction {id:.12}, unasked")))?;
                ids = &ids[place + 1..];
                all.push(transaction);
            }
        }
        Ok(all)
    }

    /// Offers a transaction; gives why it is refused, or nothing if it waits there now.
    pub fn submit(&mut self, transaction: &Transaction) -> Result<Option<String>, ClientError> {
        self.ask(&Message::SubmitTx(codec::encode(transaction)))?;
        match self.next(ANSWER_MS)? {
            Answer::Message(Message::Verdict { id, why }) if id == transaction.id() => {
                Ok((!why.is_empty()).then(|| shown(&why)))
            }
            other => Err(odd(&other)),
        }
    }

    /// Asks something new, once all that was asked before has come.
    fn ask(&mut self, question: &Message) -> Result<(), ClientError> {
        while self.next_block()?.is_some() {}
        self.say(question)
    }

    fn say(&mut self, message: &Message) -> Result<(), ClientError> {
        self.stream.write_all(&message.to_frame()).map_err(|error| ended(&error))
    }

    /// The next frame that is an answer.
    fn next(&mut self, limit_ms: u64) -> Result<Answer, ClientError> {
        let kind = self.await_front(limit_ms)?;
        let Front::Whole(_, header) = self.buffer.front().map_err(|reason| wrong(&reason))? else {
            unreachable!("a whole frame is at the front")
        };
        let payload = self.buffer.payload(&header);
        let answer = match kind {
            Kind::Blocks => Answer::Block(payload.to_vec()),
            _ => Answer::Message(Message::from_payload(kind, payload).map_err(|error| undecodable(&error))?),
        };
        self.buffer.pass(&header);
        match answer {
            Answer::Message(Message::Bye(text)) => {
                Err(ClientError::TurnedAway { address: self.address, why: shown(&text) })
            }
            answer => Ok(answer),
        }
    }

    /// Reads until a whole frame that is an answer is at the front; answers what the node asks meanwhile.
    fn await_front(&mut self, limit_ms: u64) -> Result<Kind, ClientError> {
        let limit = Duration::from_millis(limit_ms);
        let mut until = Instant::now() + limit;
        loop {
            match self.buffer.front().map_err(|reason| wrong(&reason))? {
                Front::Whole(kind, header) => match chatter(kind) {
                    Chatter::None => return Ok(kind),
                    Chatter::Heard => self.buffer.pass(&header),
                    Chatter::Asked => {
                        let question = Message::from_payload(kind, self.buffer.payload(&header))
                            .map_err(|error| undecodable(&error))?;
                        self.buffer.pass(&header);
                        self.reply(&question)?;
                    }
                },
                Front::Unknown(header) => self.buffer.pass(&header),
                front @ (Front::Nothing | Front::Partial(_)) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if !self.read(left)? {
                        return Err(ClientError::Silent { limit_ms });
                    }
                    // An answer may take long as long as it comes; news do not count.
                    if let Front::Partial(header) = front
                        && Kind::from_number(header.kind).is_some_and(|kind| chatter(kind) == Chatter::None)
                    {
                        until = Instant::now() + limit;
                    }
                }
            }
        }
    }

    /// Reads what there is; false if nothing has come in time.
    fn read(&mut self, limit: Duration) -> Result<bool, ClientError> {
        if limit.is_zero() {
            return Ok(false);
        }
        self.stream.set_read_timeout(Some(limit)).map_err(|error| ended(&error))?;
        match self.stream.read(self.buffer.space()) {
            Ok(0) => Err(ClientError::Ended("the node closed it".into())),
            Ok(count) => {
                self.buffer.filled(count);
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(true),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(false),
                _ => Err(ended(&error)),
            },
        }
    }

    /// What a peer owes to whoever asks it; we have nothing.
    fn reply(&mut self, question: &Message) -> Result<(), ClientError> {
        let answer = match *question {
            Message::Ping(nonce) => Message::Pong(nonce),
            Message::GetHeaders(_) => Message::Headers(List::default()),
            Message::GetBlocks { last, .. } => Message::Missing(last),
            Message::GetBlockTxs { block, .. } => Message::Missing(block),
            Message::GetPeers => Message::Peers(List::default()),
            Message::GetTxs(_) => Message::Txs(Vec::new()),
            Message::GetPool(_) => Message::Pool(List::default()),
            _ => return Ok(()),
        };
        self.say(&answer)
    }
}

/// What a frame is that no question of ours has called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chatter {
    /// An answer, or the last word.
    None,
    /// News.
    Heard,
    /// A question.
    Asked,
}

fn chatter(kind: Kind) -> Chatter {
    match kind {
        Kind::NewBlock | Kind::NewTx | Kind::Pong | Kind::Peers => Chatter::Heard,
        Kind::Ping
        | Kind::GetHeaders
        | Kind::GetBlocks
        | Kind::GetBlockTxs
        | Kind::GetPeers
        | Kind::GetTxs
        | Kind::GetPool => Chatter::Asked,
        _ => Chatter::None,
    }
}

/// What we say of ourselves: no work, so that nobody asks us for any.
fn hello(params: &Params, agent: &str, nonce: u64) -> Hello {
    let activations = params.spec().activations.iter();
    let activations = activations.map(|(&rules, &height)| Activation { rules, height }).collect();
    Hello {
        protocol_least: PROTOCOL_LEAST,
        protocol_greatest: PROTOCOL_GREATEST,
        genesis: params.genesis_id(),
        nonce,
        agent: List::first_of(agent.as_bytes().to_vec()),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::first_of(activations),
    }
}

fn ended(error: &std::io::Error) -> ClientError {
    ClientError::Ended(error.to_string())
}

fn wrong(reason: &Reason) -> ClientError {
    ClientError::Odd(reason.to_string())
}

fn undecodable(error: &CodecError) -> ClientError {
    ClientError::Odd(format!("it cannot be decoded: {error}"))
}

fn odd(answer: &Answer) -> ClientError {
    ClientError::Odd(match answer {
        Answer::Block(_) => "a block that was not asked for".into(),
        Answer::Message(message) => format!("{:?} in the place of an answer", message.kind()),
    })
}
