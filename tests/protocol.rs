//! The protocol page holds the bytes that this program speaks: each message's vector stands on it.

use std::net::SocketAddr;

use proptest::prelude::*;
use spindle::blockchain::block::Header;
use spindle::blockchain::params::Params;
use spindle::blockchain::transaction::{Coinbase, Input, Outpoint, Output, Transaction};
use spindle::node::message::{Activation, Hello, Kind, Message, NewBlock, PeerAddress, ShortIdKey};
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Signature};

const PAGE: &str = include_str!("../src/node/protocol.md");

fn header() -> Header {
    Header {
        version: 1,
        height: 7,
        prev: Hash([0x11; 32]),
        merkle_root: Hash([0x22; 32]),
        time: 1_800_000_000_000,
        difficulty: 1_048_576,
        nonce: 42,
    }
}

fn hello() -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: Params::regtest().genesis_id(),
        nonce: 0x0123_4567_89ab_cdef,
        agent: List::first_of(b"spindle/0.1.0".to_vec()),
        listen_port: 9000,
        height: 7,
        work: 7 << 20,
        activations: List::first_of(vec![Activation { rules: 2, height: 1_000 }]),
    }
}

fn news() -> NewBlock {
    let output = Output { amount: 2_020_000_000, key: Key([0x33; 32]), view_tag: 0 };
    let coinbase = Coinbase { version: 1, height: 7, output, tx_key: Key([0; 32]) };
    let short_id = ShortIdKey::of(&header()).short_id(&Hash([0x44; 32]));
    NewBlock { header: header(), coinbase, short_ids: List::first_of(vec![short_id]) }
}

/// One input, one output, no note.
fn transfer() -> Vec<u8> {
    let outpoint = Outpoint { transaction: Hash([0x66; 32]), index: 1 };
    let input = Input { outpoint, amount: 1_000, key: Key([0x77; 32]), matures_at: 17 };
    let output = Output { amount: 700, key: Key([0x88; 32]), view_tag: 9 };
    let (inputs, outputs) = (List::first_of(vec![input]), List::first_of(vec![output]));
    let unsigned = Transaction::unsigned(inputs, outputs, Key([0x99; 32]), None);
    codec::encode(&unsigned.signed(Params::regtest().genesis_id(), |_, _| Signature([0xaa; 64])))
}

/// One of each kind that has a message.
fn one_of_each() -> Vec<Message> {
    let addresses: [SocketAddr; 2] = ["192.0.2.1:9000".parse().expect("v4"), "[2001:db8::1]:9001".parse().expect("v6")];
    vec![
        Message::Hello(hello()),
        Message::HelloAck(hello()),
        Message::Ping(0x0102_0304_0506_0708),
        Message::Pong(0x0102_0304_0506_0708),
        Message::GetHeaders(List::first_of(vec![Hash([0x11; 32]), Hash([0x55; 32])])),
        Message::Headers(List::first_of(vec![header()])),
        Message::GetBlocks { last: Hash([0x11; 32]), count: 500 },
        Message::Missing(Hash([0x11; 32])),
        Message::NewBlock(Box::new(news())),
        Message::GetPeers,
        Message::Peers(List::first_of(addresses.into_iter().map(PeerAddress::from).collect())),
        Message::Bye(List::first_of(b"this node is stopping".to_vec())),
        Message::NewTx(List::first_of(vec![Hash([0x44; 32])])),
        Message::GetTxs(List::first_of(vec![Hash([0x44; 32])])),
        Message::Txs(vec![transfer()]),
        Message::GetBlockTxs { block: Hash([0x11; 32]), places: List::first_of(vec![0, 5]) },
        Message::BlockTxs { block: Hash([0x11; 32]), transfers: vec![transfer()] },
        Message::GetPool(Hash([0x44; 32])),
        Message::Pool(List::first_of(vec![Hash([0x55; 32])])),
    ]
}

fn payload(frame: &[u8]) -> &[u8] {
    &frame[HEADER_BYTES..]
}

/// Goal: the page and the program say the same. Method: the frame of one message of each kind, in hex,
/// stands on the page beside its name.
#[test]
fn each_message_stands_on_the_page() {
    for message in one_of_each() {
        let line = format!("{:?} {}", message.kind(), hex::encode(message.to_frame()));
        assert!(PAGE.lines().any(|on_page| on_page.trim() == line), "not on the page:\n{line}");
        let row = format!("| {} | `{:?}` | {} |", message.kind() as u8, message.kind(), message.kind().bytes_max());
        assert!(PAGE.contains(&row), "not in the table: {row}");
    }
}

/// Goal: a message has one encoding: nothing may follow it, nothing may be missing. Method: each vector
/// cut at every byte, and with one more.
#[test]
fn each_message_is_exactly_its_bytes() {
    for message in one_of_each() {
        let frame = message.to_frame();
        let bytes = payload(&frame);
        assert_eq!(Message::from_payload(message.kind(), bytes), Ok(message.clone()));
        for end in 0..bytes.len() {
            assert!(Message::from_payload(message.kind(), &bytes[..end]).is_err(), "{:?} cut at {end}", message.kind());
        }
        assert!(Message::from_payload(message.kind(), &[bytes, &[0]].concat()).is_err());
        let header = FrameHeader::from_bytes(frame.first_chunk().expect("a header")).expect("our magic");
        assert!(header.matches(bytes) && header.kind == message.kind() as u8);
    }
}

/// Goal: the longest message of each kind fits its cap, and a longer list is refused. Method: lists at
/// and above their limits.
#[test]
fn caps_hold_the_longest_message_and_no_longer() {
    let longest = [
        Message::GetHeaders(List::first_of(vec![Hash::ZERO; 100])),
        Message::Headers(List::first_of(vec![header(); 3_000])),
        Message::NewBlock(Box::new(NewBlock { short_ids: List::first_of(vec![[0; 6]; 60_000]), ..news() })),
        Message::Peers(List::first_of(vec![PeerAddress::from(SocketAddr::from(([1, 2, 3, 4], 5))); 300])),
        Message::Bye(List::first_of(vec![b'x'; 300])),
        Message::NewTx(List::first_of(vec![Hash::ZERO; 2_000])),
        Message::GetBlockTxs { block: Hash::ZERO, places: List::first_of(vec![0; 9_000]) },
    ];
    for message in longest {
        let frame = message.to_frame();
        assert!(payload(&frame).len() <= message.kind().bytes_max(), "{:?}", message.kind());
    }
    let mut lie = payload(&Message::Headers(List::default()).to_frame()).to_vec();
    lie[..2].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(Message::from_payload(Kind::Headers, &lie).is_err(), "a count without its elements");
}

proptest! {
    /// Goal: every byte string that is accepted encodes back to itself. Method: random payloads of every
    /// kind, and valid ones with a byte changed.
    #[test]
    fn accepted_bytes_encode_back_to_themselves(
        which in 0..one_of_each().len(),
        random in proptest::collection::vec(any::<u8>(), 0..600),
        place in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let message = &one_of_each()[which];
        let mut changed = payload(&message.to_frame()).to_vec();
        if !changed.is_empty() {
            let place = place.index(changed.len());
            changed[place] = value;
        }
        for bytes in [random, changed] {
            if let Ok(accepted) = Message::from_payload(message.kind(), &bytes) {
                let frame = accepted.to_frame();
                prop_assert_eq!(payload(&frame), &bytes[..]);
            }
        }
    }
}
