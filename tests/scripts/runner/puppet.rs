//! Who speaks the protocol but is no node: a peer that shows what it was given, true or not.

use spindle::blockchain::block::{Block, Header};
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::transaction::Transaction;
use spindle::node::message::{HEADERS_MAX, Hello, Message, PROTOCOL_GREATEST, PROTOCOL_LEAST};
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};
use spindle::primitives::hash::Hash;

/// A block as a puppet shows it: its header, and bytes that may be another block's.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) header: Header,
    pub(crate) bytes: Vec<u8>,
}

/// Shows a chain, and answers for it.
#[derive(Debug)]
pub(crate) struct Puppet {
    pub(crate) blocks: Vec<Shown>,
    pub(crate) tip: Position,
}

/// What it does with a message.
#[derive(Debug)]
pub(crate) enum Answer {
    Say(Message),
    /// These blocks, each in a frame.
    Show(Vec<Shown>),
}

impl Puppet {
    /// What it says of itself.
    pub(crate) fn hello(&self, params: &Params, nonce: u64) -> Hello {
        Hello {
            protocol_least: PROTOCOL_LEAST,
            protocol_greatest: PROTOCOL_GREATEST,
            genesis: params.genesis_id(),
            nonce,
            agent: List::first_of(b"puppet".to_vec()),
            listen_port: 0,
            height: self.tip.height,
            work: self.tip.work,
            activations: List::default(),
        }
    }

    /// What it does when it hears this.
    pub(crate) fn hears(&self, message: Message) -> Option<Answer> {
        let blocks = &self.blocks[..];
        Some(match message {
            Message::Ping(nonce) => Answer::Say(Message::Pong(nonce)),
            Message::GetPeers => Answer::Say(Message::Peers(List::default())),
            Message::GetPool(_) => Answer::Say(Message::Pool(List::default())),
            Message::GetTxs(_) => Answer::Say(Message::Txs(Vec::new())),
            Message::GetHeaders(locator) => {
                let known = blocks.iter().rposition(|block| locator.contains(&block.header.id()));
                let rest = &blocks[known.map_or(0, |known| known + 1)..];
                let headers = rest.iter().take(HEADERS_MAX).map(|block| block.header).collect();
                Answer::Say(Message::Headers(List::first_of(headers)))
            }
            Message::GetBlocks { last, count } => match place_of(blocks, last) {
                Some(place) => Answer::Show(blocks[place + 1 - usize::from(count)..=place].to_vec()),
                None => Answer::Say(Message::Missing(last)),
            },
            Message::GetBlockTxs { block, places } => match place_of(blocks, block) {
                Some(place) => {
                    let body: Block = codec::decode(&blocks[place].bytes).expect("it was made here");
                    let transfer = |place: &u16| codec::encode::<Transaction>(&body.transfers[usize::from(*place)]);
                    Answer::Say(Message::BlockTxs { block, transfers: places.iter().map(transfer).collect() })
                }
                None => Answer::Say(Message::Missing(block)),
            },
            _ => return None,
        })
    }
}

fn place_of(blocks: &[Shown], id: Hash) -> Option<usize> {
    blocks.iter().position(|block| block.header.id() == id)
}

/// The next whole frame of these bytes; none in a block's place, since nobody sends a puppet blocks.
pub(crate) fn next_message(bytes: &mut Vec<u8>) -> Option<Message> {
    let header = FrameHeader::from_bytes(bytes.first_chunk()?).expect("nodes speak the protocol");
    let length = HEADER_BYTES + header.length as usize;
    if bytes.len() < length {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..length).collect();
    assert_ne!(header.kind, KIND_BLOCK, "a puppet asks for no blocks");
    let kind = spindle::node::message::Kind::from_number(header.kind).expect("nodes speak the protocol");
    Some(Message::from_payload(kind, &frame[HEADER_BYTES..]).expect("nodes speak the protocol"))
}
