//! One connection: refusals, rights, order, and what clients do with time.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use spindle::rpc::http::parse::{BODY_BYTES_MAX, LARGE_BODY_BYTES_MAX};
use spindle::rpc::http::{Handler, IsWanted, Limits, Request, Response, Status};

use crate::world::{LONG, PATIENCE, World};

/// Goal: a refusal is an answer, says that the connection ends, and ends it. Method: one of each status over a
/// socket, with a second request behind it that nobody answers.
#[test]
fn a_refusal_is_told_and_ends_the_connection() {
    let world = World::new(LONG);
    let host = world.address;
    let cases = [
        (400, format!("GET / HTTP/1.1\nHost: {host}\r\n\r\n")),
        (400, format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        (
            400,
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (400, format!("GET /\0 HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (401, format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\n\r\n")),
        (403, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into()),
        (403, format!("GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n\r\n")),
        (403, format!("GET / HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\n\r\n")),
        (405, format!("OPTIONS / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (411, format!("POST / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (413, format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1)),
        (414, format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(5_000))),
        (417, format!("POST / HTTP/1.1\r\nHost: {host}\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(9_000))),
        (501, format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        (505, format!("GET / HTTP/3.0\r\nHost: {host}\r\n\r\n")),
    ];
    for (status, request) in &cases {
        let mut raw = world.connect();
        let second = raw.request("GET", "/", "", b"");
        raw.say([request.as_bytes(), &second].concat());
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.status, *status, "{request}");
        assert!(answer.has("Connection: close") && answer.text().len() > 10, "{answer:?}");
        assert!(!answer.head.contains("Access-Control"), "no field of CORS, ever");
        assert_eq!(answer.has("Allow: GET, HEAD, POST"), *status == 405);
        assert_eq!(answer.head.contains("WWW-Authenticate: Bearer"), *status == 401);
        assert!(raw.is_closed(), "{request}");
    }
    let told: u64 = world.counters.responses().map(|(_, count)| count).sum();
    assert_eq!(told, cases.len() as u64);
    assert_eq!(world.answers(Status::BadRequest), 4);
}

/// Goal: whoever sends a body that is too large reads the 413, and the server does not read on. Method: the head
/// first, then the body until the server will have no more.
#[test]
fn a_body_that_is_too_large_is_refused_by_its_head() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    let head = format!("POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000000\r\n\r\n", world.address);
    raw.say(&head);
    assert_eq!(raw.answer().expect("before the body").status, 413);
    let body = vec![b'x'; 64 << 10];
    // 1 GB would take longer than any patience if it were read.
    while std::io::Write::write_all(&mut raw.stream, &body).is_ok() {}
    assert_eq!(world.counters.responses().count(), 1);
}

/// Goal: reading is open, changing needs the cookie, in either form. Method: all of them over one connection, but
/// for the wrong ones, which end it.
#[test]
fn changing_needs_the_cookie() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    assert_eq!(raw.get("/").status, 200);
    raw.ask("POST", "/change", "", b"");
    let refused = raw.answer().expect("an answer");
    assert!(refused.status == 401 && refused.head.contains("WWW-Authenticate: Bearer"), "{refused:?}");
    let login = raw.login.clone();
    raw.ask("POST", "/change", &login, b"");
    assert_eq!(raw.answer().expect("an answer").text(), "changed\n");
    raw.ask("POST", "/change", &login, b"");
    assert_eq!(raw.answer().expect("an answer").status, 200);
    raw.ask("POST", "/change", "", b"");
    assert_eq!(raw.answer().expect("an answer").status, 401, "the right is the request's, not the connection's");
    let page = format!("{login}Origin: http://{}\r\n", world.address);
    raw.ask("POST", "/change", &page, b"");
    assert_eq!(raw.answer().expect("an answer").status, 401, "our own page reads only");
    raw.ask("POST", "/change", "Authorization: Basic c3BpbmRsZTp3cm9uZw==\r\n", b"");
    assert_eq!(raw.answer().expect("an answer").status, 401);
    assert!(raw.is_closed());
}

/// Goal: a connection is kept, and answers carry what they should. Method: four requests of all kinds over one.
#[test]
fn a_connection_is_kept() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    let hello = raw.get("/");
    assert_eq!((hello.status, hello.text()), (200, "hello\n"));
    for field in ["X-Test: yes", "X-Content-Type-Options: nosniff", "Content-Type: text/plain; charset=utf-8"] {
        assert!(hello.has(field), "{field} in {hello:?}");
    }
    assert!(!hello.head.contains("Connection:"), "it is kept without a word");
    assert_eq!(raw.get("/missing").status, 404);
    raw.ask("POST", "/", "", b"");
    let wrong = raw.answer().expect("an answer");
    assert!(wrong.status == 405 && wrong.has("Allow: GET, HEAD"), "{wrong:?}");
    raw.ask("POST", "/echo", "", b"{}");
    assert_eq!(raw.answer().expect("an answer").text(), "{}");
    let nothing = raw.get("/nothing");
    assert!(nothing.status == 204 && !nothing.head.contains("Content-Length"), "{nothing:?}");
    assert_eq!(raw.get("/echo?a=b").text(), "a=b\n");
    assert_eq!(world.counters.connections(), 1);
    assert_eq!(world.answers(Status::Ok), 3);
}

/// Goal: `HEAD` is `GET` without the body. Method: the heads of both are the same, and the next answer follows.
#[test]
fn head_is_get_without_a_body() {
    let world = World::new(LONG);
    for target in ["/", "/large?100000"] {
        let mut raw = world.connect();
        let whole = raw.get(target);
        raw.ask("HEAD", target, "", b"");
        assert_eq!(raw.head().expect("an answer"), whole.head);
        assert_eq!(raw.get("/").text(), "hello\n", "nothing is in between");
    }
}

/// Goal: a connection ends when its client says so, and one of HTTP/1.0 unless its client says otherwise.
#[test]
fn clients_say_whether_a_connection_is_kept() {
    let world = World::new(LONG);
    let old = |fields: &str| format!("GET / HTTP/1.0\r\n{fields}\r\n");
    let new = |fields: &str| format!("GET / HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", world.address);
    let cases = [
        (new("Connection: close\r\n"), "Connection: close", false),
        (new("Connection: Keep-Alive, Close\r\n"), "Connection: close", false),
        (old(""), "Connection: close", false),
        (old("Connection: keep-alive\r\n"), "Connection: keep-alive", true),
    ];
    for (request, field, is_kept) in cases {
        let mut raw = world.connect();
        raw.say(&request);
        let answer = raw.answer().expect("an answer");
        assert!(answer.status == 200 && answer.has(field), "{answer:?} to {request}");
        if is_kept {
            assert_eq!(raw.get("/").status, 200);
        } else {
            assert!(raw.is_closed(), "{request}");
        }
    }
}

/// Goal: requests that come together are answered in order, large answers and refusals among them. Method: 64 in
/// one write, each answer with its number; the last ends it.
#[test]
fn pipelined_answers_keep_their_order() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    let request = |number: usize| match number % 4 {
        0 => raw.request("POST", "/echo", "", number.to_string().as_bytes()),
        1 => raw.request("GET", &format!("/echo?{number}"), "", b""),
        2 => raw.request("GET", &format!("/large?{}", 30_000 + number), "", b""),
        _ => raw.request("GET", "/missing", "", b""),
    };
    let mut all: Vec<u8> = (0..64).flat_map(request).collect();
    all.extend(raw.request("GET", "/", "Connection: close\r\n", b""));
    all.extend(raw.request("POST", "/change", "", b""));
    raw.say(&all);
    for number in 0..64 {
        let answer = raw.answer().expect("an answer");
        match number % 4 {
            0 => assert_eq!(answer.text(), number.to_string()),
            1 => assert_eq!(answer.text(), format!("{number}\n")),
            2 => assert_eq!(answer.body.len(), 30_000 + number),
            _ => assert_eq!(answer.status, 404),
        }
    }
    assert_eq!(raw.answer().expect("an answer").text(), "hello\n");
    assert!(raw.is_closed(), "nothing after the last");
    assert_eq!(world.answers(Status::Unauthorised), 0);
}

/// Goal: an answer of any size comes whole. Method: 8 MiB to a client that has asked and closed its side.
#[test]
fn a_large_answer_comes_whole() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    raw.ask("GET", "/large?8388608", "", b"");
    raw.finish();
    assert_eq!(raw.answer().expect("an answer").body.len(), 8 << 20);
    assert!(raw.is_closed());
}

/// Goal: a body whose sender waits for a word gets it once, or a refusal instead. Method: the largest body, after
/// its head was welcomed; one that is too large, and one without a right.
#[test]
fn whoever_expects_a_word_gets_it() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    let head = |fields: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\n{fields}\r\n", world.address)
    };
    raw.say(head(&format!("Content-Length: {BODY_BYTES_MAX}\r\n")));
    assert_eq!(raw.head().as_deref(), Some("HTTP/1.1 100 Continue\r\n\r\n"));
    raw.say(vec![b'x'; BODY_BYTES_MAX]);
    assert_eq!(raw.answer().expect("an answer").body.len(), BODY_BYTES_MAX);
    raw.say([head("Content-Length: 2\r\n").as_bytes(), b"ab"].concat());
    assert_eq!(raw.answer().expect("an answer").text(), "ab", "no word where the body is there already");
    raw.say(head("Content-Length: 300000\r\n"));
    assert_eq!(raw.answer().expect("an answer").status, 413);
    let mut raw = world.connect();
    raw.say(head("Content-Length: 3\r\nAuthorization: Bearer x\r\n"));
    assert_eq!(raw.answer().expect("an answer").status, 401);
}

/// Goal: a request that is not whole in time ends with 408, however its bytes drip in. Method: a short limit; one
/// client stops half way, one sends a byte whenever nothing has come for a moment.
#[test]
fn dripping_buys_no_time() {
    let world = World::new(Limits { read_ms: 200, ..LONG });
    for text in ["G", "GET / HTTP/1.1\r\nHost", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n\r\nabc"] {
        let mut raw = world.connect();
        raw.say(text.replace("HOST", &world.address.to_string()));
        assert_eq!(raw.answer().expect("an answer").status, 408, "{text}");
        assert!(raw.is_closed());
    }
    let mut raw = world.connect();
    raw.stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
    let mut is_told = false;
    for _ in 0..8_000 {
        raw.say("x");
        match raw.stream.peek(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => {
                is_told = true;
                break;
            }
        }
    }
    assert!(is_told, "it would go on for longer than anybody has patience");
    let mut silent = world.connect();
    assert!(silent.is_closed(), "whoever never begins hears nothing");
}

/// Goal: an idle connection ends by itself, without a word, and empty lines do not keep it. Method: a short limit
/// after one answer.
#[test]
fn an_idle_connection_ends() {
    let world = World::new(Limits { idle_ms: 100, ..LONG });
    let mut raw = world.connect();
    assert_eq!(raw.get("/").status, 200);
    raw.say("\r\n");
    assert!(raw.is_closed());
    assert_eq!(world.counters.responses().count(), 1);
}

/// Goal: a client that does not read its answer loses its connection. Method: more than any socket takes in, and a
/// short limit; then its place is free.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let world = World::new(Limits { write_ms: 10, ..LONG });
    let mut raw = world.connect();
    raw.ask("GET", "/large?67108864", "", b"");
    crate::world::wait_until("the connection is gone", || {
        world.answers(Status::Ok) == 1 && world.counters.connections() == 0
    });
    let mut came = Vec::new();
    let end = raw.stream.read_to_end(&mut came);
    assert!(came.len() < 64 << 20, "{end:?} after {} bytes", came.len());
}

/// Goal: a handler's panic is its request's end and nobody else's. Method: a panic, then a good request.
#[test]
fn a_panic_is_a_500() {
    let world = World::new(LONG);
    let mut raw = world.connect();
    assert_eq!(raw.get("/panic").status, 500);
    assert!(raw.is_closed());
    for _ in 0..16 {
        assert_eq!(world.connect().get("/panic").status, 500, "no thread is lost");
    }
    assert_eq!(world.connect().get("/").status, 200);
}

/// Goal: a handler that takes its time can tell that its client has gone. Method: one that answers only those who go; a
/// client that waits, and goes.
#[test]
fn a_handler_hears_that_its_client_has_gone() {
    struct Patient(Sender<()>);
    impl Handler for Patient {
        fn answer(&self, _: &Request<'_>, is_wanted: IsWanted<'_>) -> Response {
            assert!(is_wanted());
            self.0.send(()).expect("the test waits");
            while is_wanted() {
                std::thread::yield_now();
            }
            self.0.send(()).expect("the test waits");
            Response::not_found()
        }
    }
    let (said, heard) = bounded(2);
    let mut world = World::with(LONG, Arc::new(Patient(said)));
    let mut raw = world.connect();
    raw.ask("GET", "/", "", b"");
    heard.recv_timeout(PATIENCE).expect("it comes to the handler");
    assert!(heard.is_empty(), "its client waits");
    drop(raw);
    heard.recv_timeout(PATIENCE).expect("its client has gone");
    world.stop();
}

/// Goal: where a block may come, one larger body is taken at a time, and nothing is larger elsewhere or yet. Method: a
/// handler that says how much came; a body of the largest size, another meanwhile, after it, and too much.
#[test]
fn one_large_body_is_taken_at_a_time() {
    struct Sizes;
    impl Handler for Sizes {
        fn answer(&self, request: &Request<'_>, _: IsWanted<'_>) -> Response {
            Response::text(Status::Ok, request.body.len().to_string())
        }

        fn large_paths(&self) -> &'static [&'static str] {
            &["/block"]
        }
    }
    let mut world = World::with(LONG, Arc::new(Sizes));
    let post = |path: &str, bytes: usize| {
        let mut raw = world.connect();
        raw.say(format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {bytes}\r\n\r\n", world.address));
        raw
    };
    let mut first = world.connect();
    first.say(format!("POST /block HTTP/1.1\r\nHost: {}\r\n", world.address));
    first.say(format!("Expect: 100-continue\r\nContent-Length: {LARGE_BODY_BYTES_MAX}\r\n\r\n"));
    assert!(first.head().is_some_and(|head| head.starts_with("HTTP/1.1 100 ")), "it may come");
    first.say(vec![b'x'; BODY_BYTES_MAX]);
    let refused = |path: &str, bytes: usize| post(path, bytes).answer().map(|answer| answer.status);
    assert_eq!(refused("/block", BODY_BYTES_MAX + 1), Some(503));
    assert_eq!(refused("/", BODY_BYTES_MAX + 1), Some(413));
    assert_eq!(refused("/block", LARGE_BODY_BYTES_MAX + 1), Some(413));
    let mut small = post("/block", 3);
    small.say("abc");
    assert_eq!(small.answer().expect("an answer").text(), "3\n");
    first.say(vec![b'x'; LARGE_BODY_BYTES_MAX - BODY_BYTES_MAX]);
    assert_eq!(first.answer().expect("an answer").text(), format!("{LARGE_BODY_BYTES_MAX}\n"));
    let mut second = post("/block", BODY_BYTES_MAX + 1);
    second.say(vec![b'x'; BODY_BYTES_MAX + 1]);
    assert_eq!(second.answer().expect("an answer").text(), format!("{}\n", BODY_BYTES_MAX + 1));
    drop((first, small, second));
    world.stop();
}
