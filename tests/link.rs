//! A node as a wallet asks it over HTTP: what is asked, and what is made of each answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use spindle::blockchain::params::Params;
use spindle::blockchain::transaction::Transaction;
use spindle::primitives::codec::encode;
use spindle::primitives::frame::{KIND_BLOCK, frame_into};
use spindle::primitives::hash::Hash;
use spindle::rpc::client::Client;
use spindle::rpc::link::NodeLink;
use spindle::wallet::link::{Link, LinkError, Verdict};

mod common;

/// Ids in a page of a pool, as `rpc.md` has it.
const POOL_PAGE: usize = 8_192;

/// What the server does with a question.
enum Reply {
    Is(u16, Vec<u8>),
    /// Announces so many bytes, and no more.
    Promises(usize),
    HangsUp,
}

fn ok(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply::Is(200, bytes.into())
}

/// A question: its first line without the version, and its body.
type Question = (String, Vec<u8>);

/// The next question; none when the client has gone.
fn heard(stream: &mut TcpStream) -> Option<Question> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).expect("the client speaks");
        bytes.extend_from_slice(&piece[..count]);
        count > 0
    };
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None if !more(&mut bytes) => return None,
            None => {}
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.map_or(0, |text| text.parse().expect("a number"));
    while bytes.len() < end + length {
        assert!(more(&mut bytes), "a body comes whole");
    }
    let line = head.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).expect("a question");
    Some((line.to_owned(), bytes.split_off(end)))
}

fn reply(stream: &mut TcpStream, status: u16, bytes: usize) {
    write!(stream, "HTTP/1.1 {status} So\r\nContent-Length: {bytes}\r\n\r\n").expect("the client listens");
}

/// A conversation with a server that has these answers: what the link makes of them, and what was asked.
fn talk<T>(
    replies: Vec<Reply>,
    asks: impl FnOnce(&mut NodeLink) -> Result<T, LinkError>,
) -> (Result<T, LinkError>, Vec<Question>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let mut link = NodeLink::new(Client::new(listener.local_addr().expect("bound"), None));
    let server = std::thread::spawn(move || {
        let mut questions = Vec::new();
        let mut visitor = None;
        for answer in replies {
            let mut stream = visitor.take().unwrap_or_else(|| listener.accept().expect("a visitor").0);
            let Some(question) = heard(&mut stream) else { break };
            questions.push(question);
            match answer {
                Reply::HangsUp => continue,
                Reply::Promises(bytes) => reply(&mut stream, 200, bytes),
                Reply::Is(status, bytes) => {
                    reply(&mut stream, status, bytes.len());
                    stream.write_all(&bytes).expect("the client listens");
                }
            }
            visitor = Some(stream);
        }
        questions
    });
    let outcome = asks(&mut link);
    drop(link);
    (outcome, server.join().expect("it was asked well"))
}

/// The complaint about one answer that makes no sense.
fn odd<T: std::fmt::Debug>(answer: Reply, asks: impl FnOnce(&mut NodeLink) -> Result<T, LinkError>) -> String {
    match talk(vec![answer], asks).0 {
        Err(LinkError::Odd(why)) => why,
        other => panic!("it was taken for {other:?}"),
    }
}

fn lines(questions: &[Question]) -> Vec<&str> {
    questions.iter().map(|(line, _)| line.as_str()).collect()
}

fn transfer(number: u64) -> Transaction {
    common::pay(&Params::regtest(), &[common::coin(number, 1_000_000)], &[900_000])
}

/// Goal: headers come as their bytes, heights as people count them, and nothing else is taken for either. Method: a
/// header, a piece of one, a chain of one block, of none, and what is no JSON.
#[test]
fn headers_and_heights_are_read() {
    let header = *Params::regtest().genesis();
    let known = [Hash([1; 32]), Hash([2; 32])];
    let (headers, questions) =
        talk(vec![ok([header.to_bytes(); 3].concat()), ok("")], |link| Ok([link.headers(&known)?, link.headers(&[])?]));
    assert_eq!(headers, Ok([vec![header; 3], vec![]]));
    assert_eq!(lines(&questions), ["POST /headers.bin"; 2]);
    assert_eq!(questions[0].1, [[1; 32], [2; 32]].concat());
    assert!(odd(ok([0; 150]), |link| link.headers(&known)).contains("150 bytes"));

    let (height, questions) = talk(vec![ok(r#"{"height":78,"hash":"ab","status":"OK"}"#)], Link::height);
    assert_eq!((height, lines(&questions)), (Ok(77), vec!["GET /get_height"]));
    assert!(odd(ok(r#"{"height":0}"#), Link::height).contains("without genesis"));
    odd(ok(r#"{"height":-1}"#), Link::height);
    odd(ok("<html>"), Link::height);
}

/// Goal: a question that only reads is asked once more when the node hangs up, and only once. Method: a node that hangs
/// up once, and one that does it always.
#[test]
fn a_reading_question_is_asked_again() {
    let tip = || ok(r#"{"height":2}"#);
    let (heights, questions) = talk(vec![tip(), Reply::HangsUp, tip()], |link| Ok([link.height()?, link.height()?]));
    assert_eq!((heights, questions.len()), (Ok([1, 1]), 3));
    let (height, questions) = talk(vec![Reply::HangsUp, Reply::HangsUp], Link::height);
    assert!(matches!(height, Err(LinkError::Broken(_))), "{height:?}");
    assert_eq!(questions.len(), 2);
}

/// Goal: a run comes in pieces, one in memory at a time, each asked for when it is needed; a node that does not have it
/// says so. Method: five blocks in answers of two, two and one; a 404 at first, and in the middle.
#[test]
fn a_run_comes_in_pieces() {
    let block = common::block(&Params::regtest(), vec![]).to_bytes();
    let frames = |count| {
        let mut bytes = Vec::new();
        (0..count).for_each(|_| frame_into(KIND_BLOCK, &block, &mut bytes));
        bytes
    };
    let last = Hash([3; 32]);
    let asked = |left: u32| format!("GET /blocks.bin?last={last}&count={left}");
    let (run, questions) = talk(vec![ok(frames(2)), ok(frames(2)), ok(frames(1))], |link| {
        link.blocks(last, 5)?.expect("it is there").collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(run, Ok(vec![block.clone(); 5]));
    assert_eq!(lines(&questions), [asked(5), asked(3), asked(1)]);
    // What nobody reads is not asked for.
    let (first, questions) =
        talk(vec![ok(frames(2)), ok(frames(2))], |link| Ok(link.blocks(last, 5)?.and_then(|mut run| run.next())));
    assert_eq!((first, lines(&questions)), (Ok(Some(Ok(block.clone()))), vec![asked(5).as_str()]));

    let missing = || Reply::Is(404, b"{}".to_vec());
    let (run, _) = talk(vec![missing()], |link| Ok(link.blocks(last, 5)?.is_none()));
    assert_eq!(run, Ok(true));
    let (run, _) = talk(vec![ok(frames(2)), missing()], |link| {
        Ok(link.blocks(last, 5)?.expect("it is there").map(|block| block.is_ok()).collect::<Vec<_>>())
    });
    assert_eq!(run, Ok(vec![true, true, false]), "an error is the end of it");
}

/// Goal: bytes that are no run of that length are refused, however many they are. Method: a wrong bit, a wrong kind, a
/// cut frame, nothing, one block too many, and the promise of more than a block has.
#[test]
fn a_run_of_other_bytes_is_refused() {
    let block = common::block(&Params::regtest(), vec![]).to_bytes();
    let framed = |kind| {
        let mut bytes = Vec::new();
        frame_into(kind, &block, &mut bytes);
        bytes
    };
    let good = framed(KIND_BLOCK);
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let cases = [
        (flipped, "checksum"),
        (framed(KIND_BLOCK + 1), "no block where one begins"),
        (good[..good.len() - 1].to_vec(), "ends too early"),
        (good[..5].to_vec(), "no block where one begins"),
        (vec![], "no block where one begins"),
        ([good.clone(), good.clone()].concat(), "more blocks than"),
    ];
    let read =
        |link: &mut NodeLink| link.blocks(Hash([3; 32]), 1)?.expect("it is there").collect::<Result<Vec<_>, _>>();
    for (bytes, why) in cases {
        let said = odd(ok(bytes), read);
        assert!(said.contains(why), "{said}");
    }
    let said = odd(Reply::Promises(3 << 20), read);
    assert!(said.contains("limit 2097152"), "{said}");
}

/// Goal: a pool's ids come page by page to the end, in order or not at all. Method: a full page and a piece; a page that
/// goes back; a page that starts again; half an id.
#[test]
fn a_pool_is_read_to_its_end() {
    let ids: Vec<Hash> = (1..=10_000_u16)
        .map(|n| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            Hash(id)
        })
        .collect();
    let bytes = |ids: &[Hash]| ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>();
    let (first, second) = ids.split_at(POOL_PAGE);
    let (pool, questions) = talk(vec![ok(bytes(first)), ok(bytes(second))], Link::pool);
    assert_eq!(pool.as_ref(), Ok(&ids));
    let after = |id: Hash| format!("GET /pool.bin?after={id}");
    assert_eq!(lines(&questions), [after(Hash::ZERO), after(first[POOL_PAGE - 1])]);
    for page in [vec![ids[1], ids[0]], vec![ids[0], ids[0]], vec![Hash::ZERO]] {
        assert!(odd(ok(bytes(&page)), Link::pool).contains("in order"));
    }
    odd(ok(&bytes(&ids)[..50]), Link::pool);
}

/// A length and the transaction, as `rpc.md` has it.
fn waiting(transaction: Option<&Transaction>) -> Vec<u8> {
    let bytes = transaction.map(encode).unwrap_or_default();
    [&u32::try_from(bytes.len()).expect("small").to_le_bytes()[..], &bytes].concat()
}

/// Goal: transactions are asked for until a word was said of each, and only those are taken. Method: a node that speaks
/// of three at a time and lacks one; one that gives another, too many, a piece, or nothing.
#[test]
fn transactions_are_asked_for_until_all_have_come() {
    let transfers: Vec<Transaction> = (0..5).map(transfer).collect();
    let ids: Vec<Hash> = transfers.iter().map(Transaction::id).collect();
    let of = |places: &[Option<usize>]| -> Vec<u8> {
        places.iter().flat_map(|place| waiting(place.map(|at| &transfers[at]))).collect()
    };
    let (found, questions) =
        talk(vec![ok(of(&[Some(0), None, Some(2)])), ok(of(&[Some(3), Some(4)]))], |link| link.transactions(&ids));
    assert_eq!(found, Ok([0, 2, 3, 4].map(|at: usize| transfers[at].clone()).to_vec()));
    assert_eq!(lines(&questions), ["POST /transactions.bin"; 2]);
    assert_eq!((questions[0].1.len(), questions[1].1.len()), (5 * 32, 2 * 32));

    let asks = |link: &mut NodeLink| link.transactions(&ids[..1]);
    assert!(odd(ok(of(&[Some(1)])), asks).contains("another transaction"));
    assert!(odd(ok(of(&[Some(0), None])), asks).contains("more transactions"));
    assert!(odd(ok(&of(&[Some(0)])[..90]), asks).contains("ends too early"));
    assert!(odd(ok([9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), asks).contains("decoded"));
    assert!(odd(ok(""), asks).contains("no word"));
}

/// Goal: an offer is made once, whatever becomes of it, and its answer is of this transaction. Method: the answers that
/// there are, one of another transaction, one with codes of a terminal in it, and a node that hangs up.
#[test]
fn an_offer_is_made_once() {
    let (ours, other) = (transfer(0), transfer(1).id());
    let id = ours.id();
    let submit = |link: &mut NodeLink| link.submit(&ours);
    let (verdict, questions) = talk(vec![ok(format!(r#"{{"status":"OK","tx_hash":"{id}"}}"#))], submit);
    assert_eq!((verdict, lines(&questions)), (Ok(Verdict::Waits), vec!["POST /sendrawtransaction"]));
    let body: serde_json::Value = serde_json::from_slice(&questions[0].1).expect("JSON");
    assert_eq!(body, serde_json::json!({ "tx_as_hex": hex::encode(encode(&ours)) }));
    let refused = ok(r#"{"status":"Failed","reason":"too\u001b[1m cheap"}"#);
    assert_eq!(talk(vec![refused], submit).0, Ok(Verdict::Refused("too[1m cheap".into())));
    odd(ok(format!(r#"{{"status":"OK","tx_hash":"{other}"}}"#)), submit);
    odd(ok(r#"{"status":"OK"}"#), submit);
    odd(ok(r#"{"status":"BUSY"}"#), submit);
    let (verdict, questions) = talk(vec![Reply::HangsUp], submit);
    assert!(matches!(verdict, Err(LinkError::Broken(_))), "{verdict:?}");
    assert_eq!(questions.len(), 1);
}
