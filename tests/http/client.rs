//! The client: what it makes of answers, and of what is none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use spindle::rpc::client::{Client, ClientError};
use spindle::rpc::http::Limits;

use crate::world::{LONG, World};

/// A server that does this with its first visitor after it has heard the question.
fn server(does: impl FnOnce(TcpStream) + Send + 'static) -> (Client, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a visitor");
        let mut question = Vec::new();
        while !question.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).expect("a question");
            question.extend_from_slice(&bytes[..count]);
        }
        does(stream);
    });
    (Client::new(address, None), thread)
}

/// What a client makes of these bytes for an answer.
fn heard(bytes: &[u8]) -> Result<Vec<u8>, ClientError> {
    let bytes = bytes.to_vec();
    let (mut client, thread) = server(move |mut stream| stream.write_all(&bytes).expect("the client listens"));
    let answer = client.get("/");
    thread.join().expect("no panic");
    answer
}

fn called(result: &str) -> Result<Value, ClientError> {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{result}", result.len());
    let (mut client, thread) = server(move |mut stream| stream.write_all(answer.as_bytes()).expect("it listens"));
    let answer = client.call("get_info", &json!({}));
    thread.join().expect("no panic");
    answer
}

/// Goal: one connection serves many questions; one that the node has closed is made anew without a word.
/// Method: the real server; then one with hardly any patience for idle connections.
#[test]
fn a_connection_is_kept_and_made_anew() {
    let world = World::new(LONG);
    let mut client = Client::new(world.address, None);
    for number in 0..10 {
        assert_eq!(client.get(&format!("/echo?{number}")).expect("an answer"), format!("{number}\n").as_bytes());
        let body = vec![7; 100_000];
        assert_eq!(client.post("/echo", "text/plain", &body).expect("an answer"), body);
    }
    assert_eq!(world.counters.connections(), 1);
    let world = World::new(Limits { idle_ms: 1, ..LONG });
    let mut client = Client::new(world.address, None);
    for _ in 0..5 {
        assert_eq!(client.get("/").expect("an answer"), b"hello\n");
        crate::world::wait_until("it is closed", || world.counters.connections() == 0);
    }
}

/// Goal: the cookie opens what it should, and its absence has a name. Method: the real server.
#[test]
fn the_cookie_is_shown() {
    let world = World::new(LONG);
    let refused = Client::new(world.address, None).post("/change", "text/plain", b"").expect_err("no cookie");
    assert!(matches!(&refused, ClientError::Unauthorised { why, .. } if why == "this needs the cookie"), "{refused}");
    let mut client = Client::new(world.address, Some(world.cookie.clone()));
    assert_eq!(client.post("/change", "text/plain", b"").expect("an answer"), b"changed\n");
    let missing = client.get("/missing").expect_err("nothing there");
    assert!(matches!(missing, ClientError::Refused { status: 404, .. }), "{missing}");
}

/// Goal: a node without a free place is asked again for a while. Method: seven busy ones; one goes once the node
/// has said no, and then there is an answer.
#[test]
fn a_busy_node_is_asked_again() {
    let world = World::new(LONG);
    let mut busy: Vec<_> = (0..7).map(|_| world.busy("")).collect();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| Client::new(world.address, None).get("/"));
        crate::world::wait_until("it is told to come back", || world.counters.refused_busy() > 0);
        busy.clear();
        world.release.send(()).expect("one waits");
        assert_eq!(asking.join().expect("no panic").expect("an answer"), b"hello\n");
    });
    drop(world.release);
}

/// Goal: each way in which there is no answer has its own error, which names the address. Method: servers that do
/// each of them.
#[test]
fn every_failure_has_its_name() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let silent = Client::new(address, None).with_patience(1).get("/").expect_err("nobody answers");
    assert!(matches!(silent, ClientError::Silent { limit_ms: 1, .. }), "{silent}");
    drop(listener);
    let nobody = Client::new(address, None).get("/").expect_err("nobody is there");
    assert_eq!(nobody.to_string(), format!("nobody listens on {address}"));

    let ended = heard(b"").expect_err("no answer");
    assert!(matches!(ended, ClientError::Ended { .. }), "{ended}");
    let cut = heard(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").expect_err("half an answer");
    assert!(matches!(cut, ClientError::Ended { .. }), "{cut}");
    for odd in [
        &b"\xf9\xbe\xb4\xd9\x01\0\0\0"[..],
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc",
        format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)).as_bytes(),
    ] {
        let error = heard(odd).expect_err("no answer of ours");
        assert!(matches!(error, ClientError::NotHttp { .. }), "{error} to {}", String::from_utf8_lossy(odd));
    }
    let long = heard(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").expect_err("too long");
    assert!(matches!(long, ClientError::TooLong { bytes: 99_999_999_999, .. }), "{long}");
    let refused = heard(b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno\x1b[2Jway\n").expect_err("refused");
    assert!(refused.to_string().ends_with("with 404: no[2Jway"), "no control characters: {refused}");
    assert_eq!(
        heard(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("it is"),
        b"ok"
    );
}

/// Goal: results and errors of JSON-RPC are told apart. Method: answers by hand.
#[test]
fn results_and_errors_are_told_apart() {
    let result = called(r#"{"jsonrpc":"2.0","id":0,"result":{"height":7}}"#).expect("a result");
    assert_eq!(result, json!({"height": 7}));
    let failed = called(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"no such\u0007 method"}}"#);
    let failed = failed.expect_err("an error");
    assert!(matches!(failed, ClientError::Failed { code: -32601, .. }), "{failed}");
    assert_eq!(failed.to_string(), "no such method");
    for odd in ["", "[]", "{}", r#"{"id":9,"result":1}"#, r#"{"result":1}"#, "<html>"] {
        let error = called(odd).expect_err("neither");
        assert!(matches!(error, ClientError::NotHttp { .. }), "{error} to {odd}");
    }
}
