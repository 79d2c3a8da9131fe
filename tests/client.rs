//! The client that asks one node: what it makes of answers, of other talk, and of what is no node at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use spindle::blockchain::params::Params;
use spindle::blockchain::transaction::Transaction;
use spindle::network::client::{Client, ClientError};
use spindle::node::frame::{FrameBuffer, Front};
use spindle::node::message::{Hello, Kind, Message, TX_IDS_MAX};
use spindle::primitives::codec::{List, encode};
use spindle::primitives::frame::frame_into;
use spindle::primitives::hash::Hash;

mod common;

/// The node's end of a connection.
struct Server {
    stream: TcpStream,
    buffer: FrameBuffer,
}

impl Server {
    /// What the client says next.
    fn hears(&mut self) -> Message {
        loop {
            if let Front::Whole(kind, header) = self.buffer.front().expect("the client speaks well") {
                let message = Message::from_payload(kind, self.buffer.payload(&header)).expect("sound");
                self.buffer.pass(&header);
                return message;
            }
            let read = self.stream.read(self.buffer.space()).expect("the client is there");
            assert!(read > 0, "the client says more");
            self.buffer.filled(read);
        }
    }

    fn says(&mut self, message: &Message) {
        self.stream.write_all(&message.to_frame()).expect("the client listens");
    }

    /// The handshake, and no more.
    fn greets(&mut self, params: &Params) {
        let Message::Hello(hello) = self.hears() else { panic!("a client greets first") };
        assert_eq!((hello.listen_port, hello.height, hello.work, hello.genesis), (0, 0, 0, params.genesis_id()));
        self.says(&Message::HelloAck(Hello { nonce: 1, height: 77, ..hello }));
    }
}

/// A server that does this with its first visitor, and its port.
fn server(does: impl FnOnce(Server) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a visitor");
        does(Server { stream, buffer: FrameBuffer::default() });
    });
    (port, thread)
}

fn connect(port: u16) -> Result<Client, ClientError> {
    Client::connect(&Params::regtest(), port, "test/1", 7)
}

/// A conversation after the handshake: what the server does, and what the client makes of it.
fn talk<T>(
    does: impl FnOnce(&mut Server) + Send + 'static,
    asks: impl FnOnce(&mut Client) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let (port, thread) = server(|mut server| {
        server.greets(&Params::regtest());
        does(&mut server);
    });
    let mut client = connect(port).expect("a good greeting");
    assert_eq!(client.height(), 77);
    let answer = asks(&mut client);
    thread.join().expect("the server met what it expected");
    answer
}

fn transfer(number: u64) -> Transaction {
    let params = Params::regtest();
    common::pay(&params, &[common::coin(number, 1_000_000)], &[900_000])
}

/// Goal: what cannot be talked to is told apart: nobody, no node, another network, a node that has no room.
/// Method: a closed port, and servers that each do one of these; one that says nothing until the deadline.
#[test]
fn who_is_no_node_of_ours_is_named() {
    let (port, thread) = server(drop);
    assert!(matches!(connect(port), Err(ClientError::NoNode { .. })));
    thread.join().expect("served");
    // No test is given this port, so nobody can listen on it by chance.
    assert!(matches!(connect(1), Err(ClientError::Nobody { .. })));
    let (port, _thread) = server(|mut server| _ = server.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let said = connect(port).expect_err("no node").to_string();
    assert!(said.contains("does not answer as a spindle node"), "{said}");
    let (port, _thread) = server(|mut server| {
        let Message::Hello(hello) = server.hears() else { panic!("a client greets first") };
        server.says(&Message::HelloAck(Hello { genesis: Params::local().genesis_id(), ..hello }));
    });
    assert!(matches!(connect(port), Err(ClientError::OtherNetwork { .. })));
    let (port, _thread) = server(|mut server| {
        server.hears();
        server.says(&Message::Bye(List::first_of(b"all 32 places are \x1btaken".to_vec())));
    });
    let said = connect(port).expect_err("no room").to_string();
    assert!(said.contains("turned us away: all 32 places are ?taken"), "{said}");
    let (port, _thread) = server(|mut server| {
        server.hears();
        server.says(&Message::Pool(List::default()));
    });
    assert!(matches!(connect(port), Err(ClientError::NoNode { .. })));
    let (port, thread) = server(|mut server| {
        server.hears();
        // Until the client has had enough.
        let _ = server.stream.read(&mut [0]);
    });
    assert!(matches!(connect(port), Err(ClientError::NoNode { .. })));
    thread.join().expect("it was left");
}

/// Goal: a node may say and ask other things before it answers, and gets what it is owed. Method: pings,
/// news, questions and words of a newer protocol, in small pieces, before headers.
#[test]
fn other_talk_is_passed_over_and_questions_are_answered() {
    let params = Params::regtest();
    let header = *params.genesis();
    let headers = talk(
        move |server| {
            assert_eq!(server.hears(), Message::GetHeaders(List::first_of(vec![Hash::ZERO])));
            let mut bytes = Vec::new();
            frame_into(200, b"a newer word", &mut bytes);
            for message in [
                Message::Ping(5),
                Message::NewTx(List::first_of(vec![Hash::ZERO])),
                Message::GetHeaders(List::default()),
                Message::GetBlocks { last: Hash::ZERO, count: 3 },
                Message::GetPeers,
                Message::GetPool(Hash::ZERO),
                Message::GetTxs(List::default()),
                Message::Headers(List::first_of(vec![header])),
            ] {
                bytes.extend(message.to_frame());
            }
            for piece in bytes.chunks(7) {
                server.stream.write_all(piece).expect("the client listens");
            }
            assert_eq!(server.hears(), Message::Pong(5));
            assert_eq!(server.hears(), Message::Headers(List::default()));
            assert_eq!(server.hears(), Message::Missing(Hash::ZERO));
            assert_eq!(server.hears(), Message::Peers(List::default()));
            assert_eq!(server.hears(), Message::Pool(List::default()));
            assert_eq!(server.hears(), Message::Txs(vec![]));
        },
        |client| client.headers(&[Hash::ZERO]),
    );
    assert_eq!(headers.expect("answered"), [header]);
}

/// Goal: runs of blocks come one by one; what of one is not read does not disturb the next question; none is
/// an answer; anything else is an error. Method: a run of three, of which two are read; `Missing`; a bit.
#[test]
fn blocks_come_one_by_one() {
    let params = Params::regtest();
    let block = common::block(&params, vec![]).to_bytes();
    let served = block.clone();
    let frame = move || {
        let mut bytes = Vec::new();
        frame_into(Kind::Blocks as u8, &served, &mut bytes);
        bytes
    };
    let (first, second, third) = (Hash([1; 32]), Hash([2; 32]), Hash([3; 32]));
    let verdict = talk(
        move |server| {
            assert_eq!(server.hears(), Message::GetBlocks { last: first, count: 3 });
            (0..3).for_each(|_| server.stream.write_all(&frame()).expect("the client listens"));
            assert_eq!(server.hears(), Message::GetBlocks { last: second, count: 1 });
            server.says(&Message::Missing(second));
            assert_eq!(server.hears(), Message::GetBlocks { last: third, count: 1 });
            let mut bad = frame();
            *bad.last_mut().expect("not empty") ^= 1;
            server.stream.write_all(&bad).expect("the client listens");
        },
        |client| {
            assert!(client.ask_blocks(first, 3)?);
            assert_eq!(client.next_block()?.as_ref(), Some(&block));
            assert_eq!(client.next_block()?.as_ref(), Some(&block));
            assert!(!client.ask_blocks(second, 1)?);
            assert_eq!(client.next_block()?, None);
            client.ask_blocks(third, 1)
        },
    );
    let said = verdict.expect_err("a bit is wrong").to_string();
    assert!(said.contains("checksum"), "{said}");
    let verdict = talk(
        move |server| {
            server.hears();
            server.says(&Message::Missing(second));
        },
        |client| client.ask_blocks(first, 1),
    );
    assert!(matches!(verdict, Err(ClientError::Odd(_))), "{verdict:?}");
}

/// Goal: a pool's ids come page by page to the end, in order or not at all. Method: 2,500 of them; a page that
/// goes back; a page that starts again.
#[test]
fn a_pool_is_read_to_its_end() {
    let ids: Vec<Hash> = (1..=2_500_u16).map(|n| Hash(std::array::from_fn(|at| n.to_be_bytes()[at % 2]))).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    let all = sorted.clone();
    let found = talk(
        move |server| {
            for _ in 0..3 {
                let Message::GetPool(after) = server.hears() else { panic!("a page is asked for") };
                let page = all.iter().filter(|id| **id > after).take(TX_IDS_MAX).copied().collect();
                server.says(&Message::Pool(List::first_of(page)));
            }
        },
        Client::pool,
    );
    assert_eq!(found.expect("honest"), sorted);
    for page in [vec![sorted[1], sorted[0]], vec![sorted[0], sorted[0]], vec![Hash::ZERO]] {
        let verdict = talk(
            move |server| {
                server.hears();
                server.says(&Message::Pool(List::first_of(page)));
            },
            Client::pool,
        );
        assert!(matches!(verdict, Err(ClientError::Odd(_))), "{verdict:?}");
    }
}

/// Goal: transactions are asked for until all are there that are to be had, and only those are taken. Method: a
/// node that gives two at a time and lacks one; one that gives another; verdicts of the right and a wrong id.
#[test]
fn transactions_are_asked_for_until_all_have_come() {
    let transfers: Vec<Transaction> = (0..6).map(transfer).collect();
    let ids: Vec<Hash> = transfers.iter().map(Transaction::id).collect();
    let there: Vec<Transaction> = [&transfers[..3], &transfers[4..]].concat();
    let served = there.clone();
    let found = talk(
        move |server| {
            for _ in 0..3 {
                let Message::GetTxs(asked) = server.hears() else { panic!("transactions are asked for") };
                let page = served.iter().filter(|it| asked.contains(&it.id())).take(2).map(encode).collect();
                server.says(&Message::Txs(page));
            }
        },
        |client| client.transactions(&ids),
    );
    assert_eq!(found.expect("honest"), there);
    let other = encode(&transfers[5]);
    let verdict = talk(
        move |server| {
            server.hears();
            server.says(&Message::Txs(vec![other]));
        },
        |client| client.transactions(&ids[..5]),
    );
    assert!(matches!(verdict, Err(ClientError::Odd(_))), "{verdict:?}");

    for (id, why, expected) in [(ids[0], "", Some(None)), (ids[0], "no", Some(Some("no"))), (ids[1], "", None)] {
        let verdict = talk(
            move |server| {
                let Message::SubmitTx(_) = server.hears() else { panic!("a transaction is offered") };
                server.says(&Message::Verdict { id, why: List::first_of(why.as_bytes().to_vec()) });
            },
            |client| client.submit(&transfers[0]),
        );
        assert_eq!(verdict.ok(), expected.map(|why| why.map(str::to_owned)));
    }
}
