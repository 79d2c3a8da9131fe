//! One connection: whatever comes, in whatever pieces, nothing but what was asked for gets through, and the pieces
//! make no difference.
//!
//! The input says who dialled, the pieces, the hello, what was asked, and the stream: raw frames, and real messages
//! of a short chain, whole or with a byte changed. Two sessions get the same stream, one in pieces and one at once.

use std::collections::VecDeque;
use std::sync::OnceLock;

use spindle::blockchain::block::{Block, Header};
use spindle::blockchain::transaction::Transaction;
use spindle::node::event::{Announced, Asked, Direction, Event, PeerId};
use spindle::node::message::{Hello, Kind, Message, NewBlock, ShortIdKey};
use spindle::node::reason::Reason;
use spindle::node::session::{Output, Session, SessionConfig};
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{FrameHeader, frame_into};
use spindle::primitives::hash::Hash;
use spindle::primitives::time::Mono;

use super::bytes::Bytes;
use super::kit;

const NOW: Mono = Mono(1_000);

/// What was seen: outputs, blocks one by one, and the end.
type Seen = (Vec<Output>, Option<Reason>);

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let direction = if input.flag() { Direction::Outbound } else { Direction::Inbound };
    let pieces: Vec<usize> = (0..input.byte() % 6).map(|_| usize::from(input.u16())).collect();
    let mut asked = Vec::new();
    let mut stream = greeting(&mut input, direction);
    while !input.is_empty() && stream.len() < 1 << 20 {
        add(&mut input, &mut stream, &mut asked);
    }
    let (mut in_pieces, mut at_once) = (session(direction, &asked), session(direction, &asked));
    let (some, end) = read(&mut in_pieces, &stream, &pieces);
    check(direction, &asked, &some);
    let (same, same_end) = read(&mut at_once, &stream, &[]);
    // Blocks are read a batch at a time: a bad one takes those of its batch along.
    assert!(same.len() <= some.len() && same == some[..same.len()], "{same:?} at once, {some:?} in pieces");
    assert_eq!(same_end.is_some(), end.is_some());
    if asked.iter().all(|asked| !matches!(asked, Asked::Blocks(_))) {
        // A frame that has no place here is known from its header alone, and whatever else is wrong comes later.
        let fault = |end: &Option<Reason>| end.as_ref().map(Reason::is_fault);
        assert_eq!((same, fault(&same_end)), (some, fault(&end)));
    }
    if end.is_none() {
        check_deadline(&in_pieces);
    }
}

fn hello() -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: kit::params().genesis_id(),
        nonce: 1,
        agent: List::default(),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    }
}

fn session(direction: Direction, asked: &[Asked]) -> Session {
    let config = SessionConfig { params: kit::params().clone(), verifier: kit::verifier().clone() };
    let mut session = Session::new(config, PeerId(1), direction, hello(), NOW);
    assert_eq!(session.opening().is_some(), direction == Direction::Outbound);
    for asked in asked {
        session.note(asked.clone());
    }
    session
}

/// The first frame: a hello that is accepted, one with another field, or none.
fn greeting(input: &mut Bytes<'_>, direction: Direction) -> Vec<u8> {
    let mut theirs = Hello { nonce: 2, ..hello() };
    match input.byte() % 16 {
        0 => return Vec::new(),
        1 => theirs.nonce = input.u64(),
        2 => theirs.genesis = Hash(input.array()),
        3 => (theirs.protocol_least, theirs.protocol_greatest) = (input.u16(), input.u16()),
        4 => return Message::Hello(theirs).to_frame(),
        5 => return Message::HelloAck(theirs).to_frame(),
        6 => return Message::Bye(List::first_of(input.take(9).to_vec())).to_frame(),
        _ => {}
    }
    match direction {
        Direction::Inbound => Message::Hello(theirs).to_frame(),
        Direction::Outbound => Message::HelloAck(theirs).to_frame(),
    }
}

/// Real messages: the blocks of a chain, their headers, their transfers, news of them, questions.
pub(crate) fn prepared() -> &'static [(Kind, Vec<u8>)] {
    static PREPARED: OnceLock<Vec<(Kind, Vec<u8>)>> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let chain = kit::chain();
        let headers: Vec<Header> = chain.decoded.iter().map(|block| block.header).collect();
        let transfers = chain.decoded.iter().flat_map(|block| block.transfers.iter().map(codec::encode));
        let transfers: Vec<Vec<u8>> = transfers.collect();
        let mut messages = vec![
            Message::Headers(List::first_of(headers.clone())),
            Message::Headers(List::first_of(headers[3..].to_vec())),
            Message::Headers(List::default()),
            Message::Txs(transfers.clone()),
            Message::Txs(transfers[..1].to_vec()),
            Message::Txs(Vec::new()),
            Message::Ping(1),
            Message::Pong(2),
            Message::GetPeers,
            Message::Peers(List::default()),
            Message::Pool(List::first_of(vec![Hash([4; 32]), Hash([5; 32])])),
            Message::GetPool(Hash::ZERO),
            Message::NewTx(List::first_of(vec![Hash([6; 32])])),
            Message::GetTxs(List::first_of(vec![Hash([6; 32])])),
            Message::GetHeaders(List::first_of(vec![headers[0].id()])),
            Message::GetBlocks { last: headers[5].id(), count: 3 },
            Message::GetBlockTxs { block: headers[5].id(), places: List::first_of(vec![0, 1]) },
            Message::Missing(headers[5].id()),
            Message::Bye(List::first_of(b"bye".to_vec())),
        ];
        for block in &chain.decoded {
            messages.push(Message::NewBlock(Box::new(news(block))));
            let transfers = block.transfers.iter().map(codec::encode).collect();
            messages.push(Message::BlockTxs { block: block.id(), transfers });
        }
        let of = |message: &Message| (message.kind(), message.to_frame().split_off(13));
        let blocks = chain.blocks.iter().map(|block| (Kind::Blocks, block.bytes().to_vec()));
        messages.iter().map(of).chain(blocks).collect()
    })
}

/// A block as its finder announces it.
pub(crate) fn news(block: &Block) -> NewBlock {
    let key = ShortIdKey::of(&block.header);
    let short_ids = block.transfers.iter().map(|transfer| key.short_id(&transfer.id())).collect();
    NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) }
}

fn add(input: &mut Bytes<'_>, stream: &mut Vec<u8>, asked: &mut Vec<Asked>) {
    let how = input.byte();
    let (kind, mut payload) = match how % 8 {
        0 => {
            let (kind, length) = (input.byte() % 24, usize::from(input.byte()));
            (kind, input.take(length).to_vec())
        }
        1 => {
            let header = FrameHeader { kind: input.byte(), length: input.u32() % (1 << 21), checksum: input.u32() };
            return stream.extend_from_slice(&header.to_bytes());
        }
        2 => {
            let length = usize::from(input.byte());
            return stream.extend_from_slice(input.take(length));
        }
        3 => return asked.push(any_question(input)),
        _ => {
            let (kind, payload) = input.pick(prepared()).expect("there are some");
            (*kind as u8, payload.clone())
        }
    };
    if how & 8 != 0 {
        let (at, mask) = (usize::from(input.u16()), input.byte());
        if let Some(byte) = payload.get_mut(at) {
            *byte ^= mask;
        }
    }
    if how & 16 == 0 {
        asked.extend(question(kind, &payload));
    }
    frame_into(kind, &payload, stream);
}

/// The question to which this is an answer.
fn question(kind: u8, payload: &[u8]) -> Option<Asked> {
    let ids = |mut rest: &[u8]| {
        let mut ids = Vec::new();
        while let Ok((_, after)) = codec::decode_prefix::<Transaction>(rest) {
            ids.push(Hash::sha256d(&rest[..rest.len() - after.len()]));
            rest = after;
        }
        ids
    };
    Some(match Kind::from_number(kind)? {
        Kind::Headers => Asked::Headers,
        Kind::Peers => Asked::Peers,
        Kind::Pool => Asked::Pool,
        Kind::Blocks => Asked::Blocks(vec![Hash::sha256d(payload.get(..100)?)]),
        Kind::Missing => Asked::Blocks(vec![Hash([8; 32]), Hash(*payload.first_chunk()?)]),
        Kind::Txs => Asked::Txs(ids(payload.get(2..)?)),
        Kind::BlockTxs => Asked::BlockTxs(Hash(*payload.first_chunk()?), ids(payload.get(34..)?).len()),
        _ => return None,
    })
}

/// A question that may have nothing to do with what comes.
fn any_question(input: &mut Bytes<'_>) -> Asked {
    let ids = |input: &mut Bytes<'_>| {
        let blocks = &kit::chain().blocks;
        let some = (0..=input.byte() % 4).map(|_| blocks[input.below(blocks.len())].id());
        some.collect::<Vec<_>>()
    };
    match input.byte() % 6 {
        0 => Asked::Headers,
        1 => Asked::Blocks(ids(input)),
        2 => Asked::Peers,
        3 => Asked::Txs(ids(input)),
        4 => Asked::Pool,
        _ => Asked::BlockTxs(ids(input)[0], usize::from(input.byte() % 4)),
    }
}

/// The stream through a session, in pieces of these sizes, over and over; at once if there are none.
fn read(session: &mut Session, stream: &[u8], pieces: &[usize]) -> Seen {
    let mut seen = Vec::new();
    let mut rest = stream;
    let mut sizes = pieces.iter().cycle();
    loop {
        let piece = sizes.next().map_or(rest.len(), |&size| size.max(1)).min(rest.len());
        session.feed(&rest[..piece]);
        rest = &rest[piece..];
        loop {
            let bulk_bytes = session.bulk_bytes();
            match session.next(NOW) {
                Ok(Some(Output::Event(Event::Blocks { peer, blocks }))) => {
                    let size_bytes: usize = blocks.iter().map(|block| block.bytes().len()).sum();
                    assert!(size_bytes <= bulk_bytes, "{size_bytes} bytes of blocks, and {bulk_bytes} were announced");
                    let single = |block| Output::Event(Event::Blocks { peer, blocks: vec![block] });
                    seen.extend(blocks.into_iter().map(single));
                }
                Ok(Some(output)) => seen.push(output),
                Ok(None) => break,
                Err(reason) => return (seen, Some(reason)),
            }
        }
        if rest.is_empty() {
            return (seen, None);
        }
    }
}

/// Nothing comes before the handshake, and no answer without its question.
fn check(direction: Direction, asked: &[Asked], seen: &[Output]) {
    let of = |is: fn(&Asked) -> bool| asked.iter().filter(|asked| is(asked)).count();
    let mut headers = of(|asked| matches!(asked, Asked::Headers));
    let mut peers = of(|asked| matches!(asked, Asked::Peers));
    let mut pools = of(|asked| matches!(asked, Asked::Pool));
    let mut runs: VecDeque<VecDeque<Hash>> = VecDeque::new();
    let (mut txs, mut block_txs) = (VecDeque::new(), VecDeque::new());
    for asked in asked {
        match asked {
            Asked::Blocks(ids) => runs.push_back(ids.clone().into()),
            Asked::Txs(ids) => txs.push_back(ids),
            Asked::BlockTxs(block, count) => block_txs.push_back((*block, *count)),
            _ => {}
        }
    }
    for (place, output) in seen.iter().enumerate() {
        match output {
            Output::Ready { hello, answer } => {
                assert!(place == 0 && hello.nonce != 1 && hello.genesis == kit::params().genesis_id());
                assert_eq!(answer.is_some(), direction == Direction::Inbound);
                continue;
            }
            Output::Serve(_) => {}
            Output::Event(event) => match event {
                Event::Headers { headers: came, .. } => {
                    headers = headers.checked_sub(1).expect("asked for");
                    assert!(came.windows(2).all(|pair| pair[1].header().prev == pair[0].id()));
                }
                Event::Peers { .. } => peers = peers.checked_sub(1).expect("asked for"),
                Event::Pool { .. } => pools = pools.checked_sub(1).expect("asked for"),
                Event::Blocks { blocks, .. } => {
                    let run = runs.front_mut().expect("asked for");
                    assert_eq!(run.pop_front(), Some(blocks[0].id()), "in the order of the question");
                    runs.retain(|run| !run.is_empty());
                }
                Event::Missing { last, .. } => {
                    assert_eq!(runs.pop_front().and_then(|mut run| run.pop_back()), Some(*last));
                }
                Event::Txs { asked, transactions, .. } => {
                    assert_eq!(txs.pop_front(), Some(asked));
                    assert!(transactions.iter().all(|transaction| asked.contains(&transaction.id())));
                    assert!(transactions.len() <= asked.len());
                }
                Event::BlockTxs { block, transfers, .. } => {
                    assert_eq!(block_txs.pop_front(), Some((*block, transfers.len())));
                }
                Event::BlockTxsMissing { block, .. } => {
                    assert_eq!(block_txs.pop_front().map(|(asked, _)| asked), Some(*block));
                }
                Event::NewBlock { block: Announced::Sketch(header, news), .. } => {
                    assert!(header.id() == news.header.id() && !news.short_ids.is_empty());
                }
                _ => {}
            },
        }
        assert!(place > 0, "the handshake comes first");
    }
}

/// A deadline is neither early nor late.
fn check_deadline(session: &Session) {
    match session.deadline() {
        Some(deadline) => {
            assert!(deadline > NOW && session.on_time(Mono(deadline.0 - 1)).is_ok());
            assert!(session.on_time(deadline).is_err());
        }
        None => assert!(session.on_time(Mono(u64::MAX)).is_ok()),
    }
}
