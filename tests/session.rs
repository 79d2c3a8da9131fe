//! One connection without its socket, under a clock that the test moves: every reason for which a
//! session ends, the deadlines, and that it does not matter how the bytes arrive.

use std::sync::Arc;

use spindle::blockchain::block::{Block, Header, ReadBlock};
use spindle::blockchain::params::{Params, TRANSACTION_BYTES_MAX};
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::{Coinbase, Input, Outpoint, Output as CoinOutput, Transaction};
use spindle::node::event::{Announced, Asked, Direction, Event, PeerId};
use spindle::node::message::{Hello, Kind, Message, NewBlock};
use spindle::node::reason::Reason;
use spindle::node::session::{HANDSHAKE_MS, Output, Session, SessionConfig};
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{FrameHeader, KIND_BLOCK, frame_into};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, SecretKey, Verifier};
use spindle::primitives::thread::{STACK_SMALL_BYTES, spawn};
use spindle::primitives::time::Mono;

fn params() -> Arc<Params> {
    Arc::new(Params::regtest())
}

fn hello(nonce: u64) -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: params().genesis_id(),
        nonce,
        agent: List::first_of(b"test".to_vec()),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    }
}

fn session(direction: Direction) -> Session {
    let config = SessionConfig { params: params(), verifier: Verifier::new([7; 32], None) };
    Session::new(config, PeerId(1), direction, hello(1), Mono(0))
}

/// One that has shaken hands at time 0 and may be answered these.
fn open(asked: &[Asked]) -> Session {
    let mut session = session(Direction::Inbound);
    session.feed(&Message::Hello(hello(2)).to_frame());
    assert!(matches!(session.next(Mono(0)), Ok(Some(Output::Ready { answer: Some(_), .. }))));
    asked.iter().cloned().for_each(|asked| session.note(asked));
    session
}

/// Everything that comes out of these pieces, and the end if it comes to one.
fn play(mut session: Session, pieces: &[&[u8]]) -> (Vec<Output>, Option<Reason>) {
    let mut outputs = Vec::new();
    for piece in pieces {
        session.feed(piece);
        loop {
            match session.next(Mono(0)) {
                Ok(Some(output)) => outputs.push(output),
                Ok(None) => break,
                Err(reason) => return (outputs, Some(reason)),
            }
        }
    }
    (outputs, None)
}

/// Plays bytes whole, byte by byte, and cut in two at every place: always the same.
fn played(session: impl Fn() -> Session, bytes: &[u8]) -> (Vec<Output>, Option<Reason>) {
    let whole = play(session(), &[bytes]);
    let drip = play(session(), &bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!(drip, whole, "byte by byte");
    for cut in 0..bytes.len() {
        assert_eq!(play(session(), &[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    whole
}

/// What ends it, if these bytes do.
fn ends(session: impl Fn() -> Session, bytes: &[u8]) -> Option<Reason> {
    played(session, bytes).1
}

fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame_into(kind, payload, &mut frame);
    frame
}

/// A regtest block after this header, with these transfers.
fn block_after(prev: &Header, transfers: Vec<Transaction>) -> Block {
    let height = prev.height + 1;
    let output = CoinOutput { amount: params().reward(height), key: Key([3; 32]), view_tag: 0 };
    let coinbase = Coinbase { version: 1, height, output, tx_key: Key::default() };
    let header = Header { version: 1, height, prev: prev.id(), time: prev.time + 1, difficulty: 1, ..*prev };
    let block = Block { header, coinbase, transfers: List::first_of(transfers) };
    Block { header: Header { merkle_root: block.merkle_root(), ..header }, ..block }
}

/// Three blocks in a row.
fn blocks() -> [Block; 3] {
    let first = block_after(params().genesis(), Vec::new());
    let second = block_after(&first.header, Vec::new());
    let third = block_after(&second.header, Vec::new());
    [first, second, third]
}

fn block_frame(block: &Block) -> Vec<u8> {
    raw(KIND_BLOCK, &block.to_bytes())
}

/// Goal: whatever is wrong with a first word has its own reason, known as soon as its bytes are there.
/// Method: each case in every chunking.
#[test]
fn each_wrong_first_word_has_its_reason() {
    let inbound = || session(Direction::Inbound);
    let says = |hello: Hello| ends(inbound, &Message::Hello(hello).to_frame());
    assert_eq!(ends(inbound, b"GET / HTTP/1.1\r\n"), Some(Reason::Foreign));
    assert_eq!(ends(inbound, b"s"), None, "it may yet be ours");
    assert_eq!(ends(inbound, b"sx"), Some(Reason::Foreign), "known at the first wrong byte");
    let theirs = Hash([9; 32]);
    assert_eq!(says(Hello { genesis: theirs, ..hello(2) }), Some(Reason::OtherNetwork { theirs }));
    for (least, greatest) in [(2, 9), (0, 0), (1, 0)] {
        let odd = Hello { protocol_least: least, protocol_greatest: greatest, ..hello(2) };
        assert_eq!(says(odd), Some(Reason::NoCommonProtocol { least, greatest }));
    }
    assert_eq!(says(hello(1)), Some(Reason::Oneself));
    assert_eq!(ends(inbound, &raw(77, b"newer")), Some(Reason::Foreign), "no unknown words before the hello");
    for early in [Message::Ping(1), Message::HelloAck(hello(2)), Message::Bye(List::default())] {
        assert_eq!(ends(inbound, &early.to_frame()), Some(Reason::OutOfPlace { kind: early.kind() }));
    }
    let outbound = || session(Direction::Outbound);
    assert_eq!(ends(outbound, &Message::Hello(hello(2)).to_frame()), Some(Reason::OutOfPlace { kind: Kind::Hello }));
    assert_eq!(ends(outbound, &Message::HelloAck(hello(1)).to_frame()), Some(Reason::Oneself));
    let bye = Message::Bye(List::first_of(b"full\x1b[2J".to_vec())).to_frame();
    assert_eq!(ends(outbound, &bye), Some(Reason::Bye("full?[2J".into())), "a stranger's text is shown escaped");
    let ready = played(outbound, &Message::HelloAck(hello(2)).to_frame());
    assert_eq!(ready, (vec![Output::Ready { hello: Box::new(hello(2)), answer: None }], None));
}

/// Goal: a frame that is not what it should be ends the connection with a reason that says how.
/// Method: a cap, a checksum, a payload, kinds out of place, each in every chunking.
#[test]
fn each_bad_frame_has_its_reason() {
    let open = || open(&[]);
    let too_long = FrameHeader { kind: Kind::Ping as u8, length: 9, checksum: 0 }.to_bytes();
    let reason = Reason::FrameTooLong { kind: 4, length_bytes: 9, limit_bytes: 8 };
    assert_eq!(ends(open, &too_long), Some(reason), "on its header alone");
    for length in [1 << 16, 1 << 31, u32::MAX] {
        let lie = FrameHeader { kind: 77, length, checksum: 0 }.to_bytes();
        let reason = Reason::FrameTooLong { kind: 77, length_bytes: length, limit_bytes: 4_096 };
        assert_eq!(ends(open, &lie), Some(reason));
    }
    let mut flipped = Message::Ping(5).to_frame();
    flipped[15] ^= 1;
    assert_eq!(ends(open, &flipped), Some(Reason::BadChecksum { kind: Kind::Ping }));
    assert!(matches!(ends(open, &raw(4, &[0; 7])), Some(Reason::Malformed { kind: Kind::Ping, .. })));
    assert_eq!(ends(open, &raw(14, &[])), None);
    assert_eq!(ends(open, &Message::Hello(hello(2)).to_frame()), Some(Reason::OutOfPlace { kind: Kind::Hello }));
    for count in [0, 2_001] {
        let request = Message::GetBlocks { last: Hash::ZERO, count }.to_frame();
        assert_eq!(ends(open, &request), Some(Reason::BadCount { count, limit: 2_000 }));
    }
    let mut newer = raw(77, &[1; 4_096]);
    newer.extend(Message::Ping(5).to_frame());
    let ping = Output::Event(Event::Ping { peer: PeerId(1), nonce: 5 });
    let pieces: Vec<_> = newer.chunks(1_000).collect();
    assert_eq!(play(open(), &pieces), (vec![ping], None), "unknown kinds are skipped");
}

/// Goal: an answer that nobody asked for ends the connection on its header alone, before anything of it
/// is decoded. Method: each kind of answer, unasked, asked once and sent twice.
#[test]
fn answers_come_only_to_questions() {
    let [first, second, _] = blocks();
    let headers = Message::Headers(List::first_of(vec![first.header, second.header])).to_frame();
    let peers = Message::Peers(List::default()).to_frame();
    let missing = Message::Missing(first.id()).to_frame();
    let block = block_frame(&first);
    let ask_block = Asked::Blocks(vec![first.id()]);
    let transfer = transfer(1, 2);
    let txs = Message::Txs(vec![codec::encode(&transfer)]).to_frame();
    let block_txs = Message::BlockTxs { block: first.id(), transfers: vec![codec::encode(&transfer)] }.to_frame();
    let ask_block_txs = Asked::BlockTxs(first.id(), 1);
    let cases = [
        (Kind::Txs, txs, Asked::Txs(vec![transfer.id()])),
        (Kind::Pool, Message::Pool(List::default()).to_frame(), Asked::Pool),
        (Kind::BlockTxs, block_txs, ask_block_txs.clone()),
        (Kind::Missing, missing.clone(), ask_block_txs),
        (Kind::Headers, headers, Asked::Headers),
        (Kind::Peers, peers, Asked::Peers),
        (Kind::Missing, missing, ask_block.clone()),
        (Kind::Blocks, block, ask_block),
    ];
    for (kind, frame, asked) in cases {
        let unasked = Some(Reason::Unasked { kind });
        assert_eq!(ends(|| open(&[]), &frame[..13]), unasked);
        let (outputs, reason) = play(open(std::slice::from_ref(&asked)), &[&frame, &frame]);
        assert_eq!((outputs.len(), reason), (1, unasked), "an answer uses its question up");
    }
    let other = Message::Missing(Hash([8; 32])).to_frame();
    let asked = [Asked::Blocks(vec![first.id()])];
    assert_eq!(ends(|| open(&asked), &other), Some(Reason::Unasked { kind: Kind::Missing }));
}

/// A transfer of a coin by its number into one output, signed by the key of another number.
fn transfer(number: u8, signer: u8) -> Transaction {
    let outpoint = Outpoint { transaction: Hash([number; 32]), index: 0 };
    let input = Input { outpoint, amount: 9_000, key: SecretKey::from_seed(&[2; 32]).public(), matures_at: 0 };
    let output = CoinOutput { amount: 8_000, key: Key([9; 32]), view_tag: 0 };
    let unsigned =
        Transaction::unsigned(List::first_of(vec![input]), List::first_of(vec![output]), Key::default(), None);
    unsigned.signed(params().genesis_id(), |_, message| SecretKey::from_seed(&[signer; 32]).sign(message))
}

/// Goal: transactions come in the order of the question, each once, and nothing else comes; signatures of what no
/// block vouches for are not looked at here. Method: some of three; none; twice, in another order, another one;
/// one that breaks a rule; bytes that follow; a bad signature.
#[test]
fn transactions_are_those_that_were_asked_for() {
    let [a, b, c] = [transfer(1, 2), transfer(2, 2), transfer(3, 1)];
    let ids = vec![a.id(), b.id(), c.id()];
    let asked = [Asked::Txs(ids.clone())];
    let frame = |all: &[&Transaction]| Message::Txs(all.iter().map(|one| codec::encode(*one)).collect()).to_frame();
    for right in [&[&a, &b, &c][..], &[&a, &c], &[&c], &[]] {
        let (outputs, reason) = played(|| open(&asked), &frame(right));
        let [Output::Event(Event::Txs { asked, transactions, .. })] = &outputs[..] else { panic!("{reason:?}") };
        assert_eq!(asked, &ids);
        assert!(transactions.iter().map(|tx| tx.id()).eq(right.iter().map(|one| one.id())));
    }
    let other = transfer(4, 2);
    for (wrong, found) in [(&[&a, &a][..], &a), (&[&b, &a], &a), (&[&other], &other)] {
        assert_eq!(ends(|| open(&asked), &frame(wrong)), Some(Reason::WrongTransaction { found: found.id() }));
    }
    let mut breaks = a.clone();
    breaks.outputs = List::first_of(vec![CoinOutput { amount: 9_001, ..a.outputs[0] }]);
    let reason = ends(|| open(&[Asked::Txs(vec![breaks.id()])]), &frame(&[&breaks]));
    assert!(matches!(reason, Some(Reason::BadTransaction { .. })), "{reason:?}");
    let mut longer = frame(&[&a])[13..].to_vec();
    longer.push(0);
    let reason = ends(|| open(&asked), &raw(Kind::Txs as u8, &longer));
    assert!(matches!(reason, Some(Reason::Malformed { kind: Kind::Txs, .. })), "{reason:?}");
    let lie = raw(Kind::Txs as u8, &u16::MAX.to_le_bytes());
    assert!(ends(|| open(&asked), &lie).is_some(), "a count without its elements");
}

/// Goal: transfers of a block are those of that block, as many as were asked for, and verified here. Method: right
/// ones; another block, another number, a bad signature.
#[test]
fn transfers_of_a_block_are_counted_and_verified() {
    let (a, bad) = (transfer(1, 2), transfer(2, 1));
    let block = Hash([7; 32]);
    let asked = [Asked::BlockTxs(block, 1)];
    let frame = |block, all: &[&Transaction]| {
        let transfers = all.iter().map(|one| codec::encode(*one)).collect();
        Message::BlockTxs { block, transfers }.to_frame()
    };
    let (outputs, _) = played(|| open(&asked), &frame(block, &[&a]));
    assert!(matches!(&outputs[..], [Output::Event(Event::BlockTxs { transfers, .. })] if transfers[0].id() == a.id()));
    let found = Hash([8; 32]);
    assert_eq!(ends(|| open(&asked), &frame(found, &[&a])), Some(Reason::WrongBlock { found, asked: block }));
    for (wrong, count) in [(&[][..], 0), (&[&a, &a], 2)] {
        let reason = Reason::WrongCount { count, asked: 1 };
        assert_eq!(ends(|| open(&asked), &frame(block, wrong)), Some(reason));
    }
    let reject = Reject::BadSignature { transaction: bad.id() };
    assert_eq!(ends(|| open(&asked), &frame(block, &[&bad])), Some(Reason::BadTransaction { reject }));
}

/// Goal: an announcement without short ids is the whole block, and is judged as one; one with some is a sketch, of
/// which only the work is checked. Method: both; a wrong root; a lie about the work.
#[test]
fn an_announcement_is_a_block_or_its_sketch() {
    let [block, ..] = blocks();
    let news = NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::default() };
    let frame = |news: &NewBlock| Message::NewBlock(Box::new(news.clone())).to_frame();
    let (outputs, _) = played(|| open(&[]), &frame(&news));
    let [Output::Event(Event::NewBlock { block: Announced::Whole(whole), .. })] = &outputs[..] else { panic!("whole") };
    assert_eq!(whole.id(), block.id());
    let mut wrong = news.clone();
    wrong.coinbase.output.key = Key([4; 32]);
    let reason = ends(|| open(&[]), &frame(&wrong));
    assert!(matches!(reason, Some(Reason::Rejected { id, reject: Reject::MerkleRoot { .. } }) if id == block.id()));
    let sketch = NewBlock { short_ids: List::first_of(vec![[1; 6]]), ..wrong };
    let (outputs, _) = played(|| open(&[]), &frame(&sketch));
    assert!(matches!(&outputs[..], [Output::Event(Event::NewBlock { block: Announced::Sketch(..), .. })]));
    let worthless = NewBlock { header: Header { difficulty: u64::MAX, ..block.header }, ..sketch };
    assert!(matches!(ends(|| open(&[]), &frame(&worthless)), Some(Reason::Rejected { .. })));
}

/// Goal: bodies come in the order in which they were asked for, headers are linked and have their work,
/// and what breaks a rule is named with its id. Method: valid and broken answers in every chunking.
#[test]
fn answers_are_checked_before_the_owner_sees_them() {
    let [first, second, third] = blocks();
    let ids = vec![first.id(), second.id(), third.id()];
    let asked = [Asked::Blocks(ids.clone())];
    let answer: Vec<u8> = [&first, &second, &third].into_iter().flat_map(block_frame).collect();
    let whole = play(open(&asked), &[&answer]).0;
    let [Output::Event(Event::Blocks { blocks, .. })] = whole.as_slice() else { panic!("{whole:?}") };
    assert_eq!(blocks.iter().map(spindle::blockchain::block::CheckedBlock::id).collect::<Vec<_>>(), ids);
    for cut in 0..answer.len() {
        let (outputs, reason) = play(open(&asked), &[&answer[..cut], &answer[cut..]]);
        let blocks: usize = outputs
            .iter()
            .map(|output| if let Output::Event(Event::Blocks { blocks, .. }) = output { blocks.len() } else { 0 })
            .sum();
        assert_eq!((blocks, reason), (3, None), "cut at {cut}");
    }
    let wrong = Reason::WrongBlock { found: second.id(), asked: first.id() };
    assert_eq!(ends(|| open(&asked), &block_frame(&second)), Some(wrong));
    let mut torn = first.to_bytes();
    torn[150] ^= 1;
    let rejected = ends(|| open(&asked), &raw(KIND_BLOCK, &torn));
    assert!(matches!(rejected, Some(Reason::Rejected { id, .. }) if id == first.id()), "{rejected:?}");
    let asked = [Asked::Headers];
    let unlinked = Message::Headers(List::first_of(vec![first.header, third.header])).to_frame();
    assert_eq!(ends(|| open(&asked), &unlinked), Some(Reason::Unlinked));
    let worthless = Header { difficulty: u64::MAX, ..first.header };
    let headers = Message::Headers(List::first_of(vec![worthless])).to_frame();
    let rejected = ends(|| open(&asked), &headers);
    assert!(matches!(rejected, Some(Reason::Rejected { id, .. }) if id == worthless.id()), "{rejected:?}");
}

/// Goal: what decoding a frame may take is known beforehand, whatever stands in front of it: nobody gets past the
/// budget that all peers share behind words that are skipped. Method: blocks behind frames of unknown kinds; a length
/// that no cap has been held against.
#[test]
fn nothing_hides_a_large_frame_from_the_budget() {
    let [first, second, _] = blocks();
    let asked = [Asked::Blocks(vec![first.id(), second.id()])];
    let answer = [raw(200, b"a newer word"), raw(0, b""), block_frame(&first), block_frame(&second)].concat();
    let mut session = open(&asked);
    session.feed(&answer[..answer.len() - 1]);
    assert!(session.bulk_bytes() >= first.to_bytes().len(), "one is whole");
    session.feed(&answer[answer.len() - 1..]);
    assert!(session.bulk_bytes() >= first.to_bytes().len() + second.to_bytes().len());
    let Ok(Some(Output::Event(Event::Blocks { blocks, .. }))) = session.next(Mono(0)) else { panic!("two blocks") };
    assert_eq!((blocks.len(), session.bulk_bytes()), (2, 0));
    session.feed(&FrameHeader { kind: 200, length: u32::MAX, checksum: 0 }.to_bytes());
    assert_eq!(session.bulk_bytes(), 0);
}

/// Goal: the handshake's deadline does not move with the bytes; a session without a partial frame has
/// no deadline at all. Method: a hello that drips, one byte a second.
#[test]
fn a_dripping_hello_is_cut_after_five_seconds() {
    let mut session = session(Direction::Inbound);
    let bytes = Message::Hello(hello(2)).to_frame();
    for (second, byte) in bytes.iter().take(5).enumerate() {
        session.feed(&[*byte]);
        assert_eq!(session.deadline(), Some(Mono(HANDSHAKE_MS)));
        assert_eq!(session.next(Mono(1_000 * second as u64)), Ok(None));
    }
    let cut = Err(Reason::HandshakeTimeout { limit_ms: HANDSHAKE_MS });
    assert_eq!((session.next(Mono(HANDSHAKE_MS - 1)), session.next(Mono(HANDSHAKE_MS))), (Ok(None), cut));
    assert_eq!(open(&[]).deadline(), None);
}

/// Goal: a frame's deadline runs from its first byte, 20 s and one more for each 16 KiB that it declares,
/// however it drips; meanwhile the owner hears that it is slow and not silent; with the frame the
/// deadline goes. Method: a frame of 40,000 bytes, one byte a second.
#[test]
fn a_dripping_frame_is_cut_at_its_own_deadline() {
    let headers = Message::Headers(List::first_of(vec![blocks()[0].header; 400])).to_frame();
    let (limit_ms, length_bytes) = (20_000 + 2_000, 40_002);
    let mut dripped = open(&[Asked::Headers]);
    dripped.feed(&headers[..13]);
    assert_eq!(dripped.next(Mono(7_000)), Ok(None));
    let mut progress = 0;
    for second in 1..22 {
        dripped.feed(&headers[12 + second..13 + second]);
        match dripped.next(Mono(7_000 + 1_000 * second as u64)) {
            Ok(Some(Output::Event(Event::Progress { .. }))) => progress += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(dripped.deadline(), Some(Mono(7_000 + limit_ms)));
    }
    assert_eq!(progress, 21);
    assert_eq!(dripped.next(Mono(7_000 + limit_ms)), Err(Reason::FrameTimeout { length_bytes, limit_ms }));
    let mut headless = open(&[]);
    headless.feed(&headers[..5]);
    assert_eq!((headless.next(Mono(100)), headless.deadline()), (Ok(None), Some(Mono(20_100))), "not even a header");
    let mut in_time = open(&[]);
    let ping = Message::Ping(1).to_frame();
    in_time.feed(&ping[..20]);
    assert_eq!((in_time.next(Mono(0)), in_time.deadline()), (Ok(None), Some(Mono(20_000))));
    in_time.feed(&ping[20..]);
    assert!(matches!(in_time.next(Mono(19_999)), Ok(Some(_))));
    assert_eq!((in_time.next(Mono(50_000)), in_time.deadline()), (Ok(None), None));
}

/// Goal: the largest block with the most signatures fits a reader's stack, checked in debug and release.
/// Method: two transfers short of a MiB, all inputs, through a session on a thread of that size.
#[test]
fn the_costliest_block_fits_a_readers_stack() {
    let key = SecretKey::from_seed(&[5; 32]);
    let inputs_max = (TRANSACTION_BYTES_MAX - 200) / (84 + 64);
    let transfer = |n: usize| {
        let input = |index| {
            let outpoint = Outpoint { transaction: Hash([u8::try_from(n).expect("few"); 32]), index };
            Input { outpoint, amount: 1, key: key.public(), matures_at: 0 }
        };
        let inputs: Vec<_> = (0..u32::try_from(inputs_max).expect("few")).map(input).collect();
        let output = CoinOutput { amount: inputs.len() as u64, key: Key([9; 32]), view_tag: 0 };
        let unsigned =
            Transaction::unsigned(List::first_of(inputs), List::first_of(vec![output]), Key::default(), None);
        unsigned.signed(params().genesis_id(), |_, message| key.sign(message))
    };
    let block = block_after(params().genesis(), (0..15).map(transfer).collect());
    assert!(block.to_bytes().len() > 900 << 10);
    assert!(ReadBlock::read(&params(), block.to_bytes()).is_ok_and(|read| read.signatures() > 6_000));
    let (id, frame) = (block.id(), block_frame(&block));
    let (sender, outcome) = crossbeam_channel::bounded(1);
    let reader = spawn("small-stack", STACK_SMALL_BYTES, move || {
        let outcome = play(open(&[Asked::Blocks(vec![id])]), &[&frame]);
        sender.send(outcome).expect("the test waits");
        "done"
    });
    reader.expect("a thread").join().expect("no panic");
    let (outputs, reason) = outcome.recv().expect("the thread has sent it");
    assert!(matches!(outputs.as_slice(), [Output::Event(Event::Blocks { blocks, .. })] if blocks.len() == 1));
    assert_eq!(reason, None);
}
