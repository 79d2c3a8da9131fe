//! What peers say to each other: the kinds, their bytes, and a cap for each.
//!
//! Every message travels in a [frame](crate::primitives::frame). A kind's cap is checked on the
//! frame's header, before any memory is taken. Kinds that we do not know are skipped up to 4 KiB, so
//! that a newer node may say more than we understand.
//!
//! What follows is the whole of it, for people who write another implementation.
//!
#![doc = include_str!("protocol.md")]

use siphasher::sip::SipHasher24;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::blockchain::block::{Header, TRANSFERS_MAX};
use crate::blockchain::params::{BLOCK_BYTES_MAX, TRANSACTION_BYTES_MAX};
use crate::blockchain::transaction::{Coinbase, Transaction};
use crate::primitives::codec::{self, CodecError, Decode, Encode, List};
use crate::primitives::frame::{KIND_BLOCK, frame_into};
use crate::primitives::hash::{Hash, tagged};

/// The oldest protocol that we speak.
pub const PROTOCOL_LEAST: u16 = 1;
/// The newest.
pub const PROTOCOL_GREATEST: u16 = 1;
/// Headers in one message.
pub const HEADERS_MAX: usize = 2_000;
/// Hashes in a locator.
pub const LOCATOR_MAX: usize = 64;
/// Addresses in one message.
pub const ADDRESSES_MAX: usize = 250;
/// Blocks in one request.
pub const BLOCKS_MAX: u16 = 2_000;
/// Ids of transactions in one message.
pub const TX_IDS_MAX: usize = 1_000;
/// An answer with transactions ends with the one that passes these bytes.
pub const TXS_BYTES: usize = 128 << 10;
/// Transfers of a block that are sent by their places: the longest transfer fits. Who lacks more fetches the
/// block.
pub const BLOCK_TXS_BYTES: usize = TRANSACTION_BYTES_MAX;
/// Bytes of a frame of unknown kind.
pub const UNKNOWN_BYTES_MAX: usize = 4_096;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One block of an answer to `GetBlocks`; the payload is the block.
    Blocks = KIND_BLOCK,
    /// The first word of whoever dialled.
    Hello = 2,
    /// The answer to it.
    HelloAck = 3,
    /// "Are you there?"
    Ping = 4,
    /// "Yes."
    Pong = 5,
    /// "What follows the newest of these that you know?"
    GetHeaders = 6,
    /// The answer, at most 2,000.
    Headers = 7,
    /// "Send me this run of blocks."
    GetBlocks = 8,
    /// "I do not have that run." No fault.
    Missing = 9,
    /// A block that the sender has just made its tip.
    NewBlock = 10,
    /// Transactions that the sender has just let into its pool.
    NewTx = 11,
    /// "Send me these of your pool."
    GetTxs = 12,
    /// The answer: those that are there.
    Txs = 13,
    /// "Who else is there?"
    GetPeers = 14,
    /// The answer.
    Peers = 15,
    /// Why the sender is about to hang up.
    Bye = 16,
    /// "Send me the transfers of this block at these places."
    GetBlockTxs = 17,
    /// The answer.
    BlockTxs = 18,
    /// "What waits in your pool?"
    GetPool = 19,
    /// A page of the answer.
    Pool = 20,
}

impl Kind {
    /// The kind of this number, if we know it.
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Blocks,
            Self::Hello,
            Self::HelloAck,
            Self::Ping,
            Self::Pong,
            Self::GetHeaders,
            Self::Headers,
            Self::GetBlocks,
            Self::Missing,
            Self::NewBlock,
            Self::NewTx,
            Self::GetTxs,
            Self::Txs,
            Self::GetPeers,
            Self::Peers,
            Self::Bye,
            Self::GetBlockTxs,
            Self::BlockTxs,
            Self::GetPool,
            Self::Pool,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The most bytes that a payload of this kind may have.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Blocks => BLOCK_BYTES_MAX,
            Self::BlockTxs => 34 + BLOCK_TXS_BYTES,
            Self::Hello | Self::HelloAck => 512,
            Self::Ping | Self::Pong => 8,
            Self::GetHeaders => 2 + 32 * LOCATOR_MAX,
            Self::Headers => 2 + 100 * HEADERS_MAX,
            Self::GetBlocks => 34,
            Self::Missing | Self::GetPool => 32,
            Self::NewBlock => 100 + 82 + 2 + 6 * TRANSFERS_MAX,
            Self::NewTx | Self::GetTxs | Self::Pool => 2 + 32 * TX_IDS_MAX,
            Self::Txs => 2 + TXS_BYTES + TRANSACTION_BYTES_MAX,
            Self::GetPeers => 0,
            Self::Peers => 2 + 18 * ADDRESSES_MAX,
            Self::Bye => 256,
            Self::GetBlockTxs => 32 + 2 + 2 * TRANSFERS_MAX,
        }
    }
}

/// Bytes that are meant as text. A stranger chose them: shown only escaped.
pub type Text<const MAX: usize> = List<u8, MAX>;

/// A stranger's text as a person may see it: printable ASCII, the rest as `?`.
pub fn shown<const MAX: usize>(text: &Text<MAX>) -> String {
    text.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '?' }).collect()
}

/// Who somebody is and how far they are. Nothing else is answered before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The oldest protocol that they speak.
    pub protocol_least: u16,
    /// The newest.
    pub protocol_greatest: u16,
    /// Their network's identity.
    pub genesis: Hash,
    /// Drawn once per process: one's own means that one has dialled oneself.
    pub nonce: u64,
    /// Program and version.
    pub agent: Text<64>,
    /// Where they can be dialled; 0 if they do not listen.
    pub listen_port: u16,
    /// Height of their tip.
    pub height: u64,
    /// Cumulative work of their tip.
    pub work: u128,
    /// Which rules they will apply from which height (RULES 10).
    pub activations: List<Activation, 16>,
}

/// "From this height on these rules are in force."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Activation {
    /// The rules' number.
    pub rules: u32,
    /// The first height.
    pub height: u64,
}

/// A newly found block, without the transactions that the other side is likely to have.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NewBlock {
    /// Its header.
    pub header: Header,
    /// Its coinbase, which nobody can have.
    pub coinbase: Coinbase,
    /// Its transfers in order, six bytes each (RULES 40).
    pub short_ids: List<[u8; 6], TRANSFERS_MAX>,
}

/// The key under which a block's transactions are shortened (RULES 40): another one for each block, so
/// that nobody can prepare collisions.
#[derive(Clone, Copy, Debug)]
pub struct ShortIdKey(SipHasher24);

impl ShortIdKey {
    /// The key of this block.
    pub fn of(header: &Header) -> Self {
        let hash = tagged("spindle/short-id/1", &[&header.to_bytes()]);
        let key = hash.0.first_chunk::<16>().expect("a hash has 32 bytes");
        Self(SipHasher24::new_with_key(key))
    }

    /// The low six bytes of SipHash-2-4 of a transaction's id.
    pub fn short_id(&self, transaction: &Hash) -> [u8; 6] {
        let hash = self.0.hash(&transaction.0).to_le_bytes();
        *hash.first_chunk().expect("eight bytes hold six")
    }
}

/// Where a node listens: an IPv6 address (IPv4 is mapped into it) and a port. 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PeerAddress {
    ip: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port: address.port() }
    }
}

impl From<PeerAddress> for SocketAddr {
    fn from(address: PeerAddress) -> Self {
        Self::new(Ipv6Addr::from(address.ip).to_canonical(), address.port)
    }
}

/// Everything that is said, but for `Blocks`: that one is streamed from the file, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Kind::Hello`].
    Hello(Hello),
    /// See [`Kind::HelloAck`].
    HelloAck(Hello),
    /// See [`Kind::Ping`].
    Ping(u64),
    /// See [`Kind::Pong`].
    Pong(u64),
    /// Newest first; the answer follows the first that the other side has on its active chain.
    GetHeaders(List<Hash, LOCATOR_MAX>),
    /// Each links to the one before.
    Headers(List<Header, HEADERS_MAX>),
    /// The `count` blocks that end in `last`, oldest first, on whatever branch.
    GetBlocks {
        /// The id of the run's last block.
        last: Hash,
        /// 1 to 2,000.
        count: u16,
    },
    /// The run that ends in this block is not to be had here.
    Missing(Hash),
    /// See [`Kind::NewBlock`].
    NewBlock(Box<NewBlock>),
    /// See [`Kind::NewTx`].
    NewTx(List<Hash, TX_IDS_MAX>),
    /// See [`Kind::GetTxs`].
    GetTxs(List<Hash, TX_IDS_MAX>),
    /// In the order of the question, each as its bytes; at most [`TXS_BYTES`] and the one that passes them.
    Txs(Vec<Vec<u8>>),
    /// See [`Kind::GetPeers`].
    GetPeers,
    /// See [`Kind::Peers`].
    Peers(List<PeerAddress, ADDRESSES_MAX>),
    /// See [`Kind::Bye`].
    Bye(Text<200>),
    /// See [`Kind::GetBlockTxs`].
    GetBlockTxs {
        /// The block's id.
        block: Hash,
        /// Which of its transfers, counted from 0; ascending, each once.
        places: List<u16, TRANSFERS_MAX>,
    },
    /// All that were asked for, in that order, at most [`BLOCK_TXS_BYTES`]; or a `Missing` with the block's id.
    BlockTxs {
        /// The block's id.
        block: Hash,
        /// The bytes of each.
        transfers: Vec<Vec<u8>>,
    },
    /// The ids that are greater than this one are wanted.
    GetPool(Hash),
    /// Ascending; fewer than 1,000 are the last.
    Pool(List<Hash, TX_IDS_MAX>),
}

impl Message {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::HelloAck(_) => Kind::HelloAck,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::GetHeaders(_) => Kind::GetHeaders,
            Self::Headers(_) => Kind::Headers,
            Self::GetBlocks { .. } => Kind::GetBlocks,
            Self::Missing(_) => Kind::Missing,
            Self::NewBlock(_) => Kind::NewBlock,
            Self::NewTx(_) => Kind::NewTx,
            Self::GetTxs(_) => Kind::GetTxs,
            Self::Txs(_) => Kind::Txs,
            Self::GetPeers => Kind::GetPeers,
            Self::Peers(_) => Kind::Peers,
            Self::Bye(_) => Kind::Bye,
            Self::GetBlockTxs { .. } => Kind::GetBlockTxs,
            Self::BlockTxs { .. } => Kind::BlockTxs,
            Self::GetPool(_) => Kind::GetPool,
            Self::Pool(_) => Kind::Pool,
        }
    }

    /// The whole frame.
    pub fn to_frame(&self) -> Vec<u8> {
        let payload = match self {
            Self::Hello(hello) | Self::HelloAck(hello) => codec::encode(hello),
            Self::Ping(nonce) | Self::Pong(nonce) => codec::encode(nonce),
            Self::GetHeaders(locator) => codec::encode(locator),
            Self::Headers(headers) => codec::encode(headers),
            Self::GetBlocks { last, count } => codec::encode(&(*last, *count)),
            Self::Missing(last) => codec::encode(last),
            Self::NewBlock(announced) => codec::encode(&**announced),
            Self::NewTx(ids) | Self::GetTxs(ids) | Self::Pool(ids) => codec::encode(ids),
            Self::Txs(transactions) => join(Vec::new(), transactions),
            Self::GetPeers => Vec::new(),
            Self::Peers(addresses) => codec::encode(addresses),
            Self::Bye(text) => codec::encode(text),
            Self::GetBlockTxs { block, places } => codec::encode(&(*block, places)),
            Self::BlockTxs { block, transfers } => join(codec::encode(block), transfers),
            Self::GetPool(after) => codec::encode(after),
        };
        let mut frame = Vec::with_capacity(crate::primitives::frame::HEADER_BYTES + payload.len());
        frame_into(self.kind() as u8, &payload, &mut frame);
        frame
    }

    /// Decodes a payload of any kind but `Blocks`, whose payload is a block as it stands.
    pub fn from_payload(kind: Kind, payload: &[u8]) -> Result<Self, CodecError> {
        Ok(match kind {
            Kind::Blocks => return Err(CodecError::Malformed("a block is no message".into())),
            Kind::Hello => Self::Hello(codec::decode(payload)?),
            Kind::HelloAck => Self::HelloAck(codec::decode(payload)?),
            Kind::Ping => Self::Ping(codec::decode(payload)?),
            Kind::Pong => Self::Pong(codec::decode(payload)?),
            Kind::GetHeaders => Self::GetHeaders(codec::decode(payload)?),
            Kind::Headers => Self::Headers(codec::decode(payload)?),
            Kind::GetBlocks => {
                let (last, count) = codec::decode(payload)?;
                Self::GetBlocks { last, count }
            }
            Kind::Missing => Self::Missing(codec::decode(payload)?),
            Kind::NewBlock => Self::NewBlock(Box::new(codec::decode(payload)?)),
            Kind::NewTx => Self::NewTx(codec::decode(payload)?),
            Kind::GetTxs => Self::GetTxs(codec::decode(payload)?),
            Kind::Txs => Self::Txs(split(payload)?),
            Kind::GetPeers => codec::decode::<()>(payload).map(|()| Self::GetPeers)?,
            Kind::Peers => Self::Peers(codec::decode(payload)?),
            Kind::Bye => Self::Bye(codec::decode(payload)?),
            Kind::GetBlockTxs => {
                let (block, places) = codec::decode(payload)?;
                Self::GetBlockTxs { block, places }
            }
            Kind::BlockTxs => {
                let (block, rest) = codec::decode_prefix(payload)?;
                Self::BlockTxs { block, transfers: split(rest)? }
            }
            Kind::GetPool => Self::GetPool(codec::decode(payload)?),
            Kind::Pool => Self::Pool(codec::decode(payload)?),
        })
    }
}

/// Whole transactions, as they came, behind their count as a `u16`.
fn join(mut payload: Vec<u8>, transactions: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(transactions.len()).expect("a message's cap holds fewer than 65,536 transactions");
    codec::encode_into(&count, &mut payload);
    for bytes in transactions {
        payload.extend_from_slice(bytes);
    }
    payload
}

/// The bytes of each transaction: where one ends only its decoding tells.
fn split(payload: &[u8]) -> Result<Vec<Vec<u8>>, CodecError> {
    let (count, mut rest) = codec::decode_prefix::<u16>(payload)?;
    let mut transactions = Vec::new();
    for _ in 0..count {
        let (_, after) = codec::decode_prefix::<Transaction>(rest)?;
        transactions.push(rest[..rest.len() - after.len()].to_vec());
        rest = after;
    }
    if rest.is_empty() { Ok(transactions) } else { Err(CodecError::Trailing { extra: rest.len() }) }
}
