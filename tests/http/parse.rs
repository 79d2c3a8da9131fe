//! Framing: what is a request, what is refused, and that the cuts between bytes do not matter.

use proptest::collection::vec;
use proptest::prelude::*;
use spindle::rpc::http::Method;
use spindle::rpc::http::parse::{
    After, BODY_BYTES_MAX, BUFFER_BYTES_MAX, FIELDS_BYTES_MAX, FIELDS_MAX, Front, LINE_BYTES_MAX, RequestBuffer,
};

/// What comes out of a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Out {
    Request {
        method: Method,
        wants_body: bool,
        path: String,
        query: String,
        body: Vec<u8>,
        after: After,
    },
    Refused(u16, &'static str),
    /// More was expected when the bytes ended.
    Partial,
}

/// Everything that comes out of bytes that are cut into pieces of these sizes, over and over.
fn read(bytes: &[u8], sizes: &[usize]) -> Vec<Out> {
    let mut buffer = RequestBuffer::default();
    let mut all = Vec::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let space = buffer.space();
        let count = rest.len().min(space.len()).min(*sizes.next().expect("sizes are given"));
        let (piece, after) = rest.split_at(count);
        space[..count].copy_from_slice(piece);
        buffer.filled(count);
        rest = after;
        loop {
            let out = match buffer.front() {
                Err(refusal) => {
                    all.push(Out::Refused(refusal.status.code(), refusal.why));
                    return all;
                }
                Ok(Front::Whole(head, body)) => Out::Request {
                    method: head.method,
                    wants_body: head.wants_body,
                    path: head.path.into(),
                    query: head.query.into(),
                    body: body.into(),
                    after: head.after,
                },
                Ok(_) => break,
            };
            all.push(out);
            buffer.pass();
        }
    }
    if buffer.front() != Ok(Front::Nothing) {
        all.push(Out::Partial);
    }
    all
}

fn refusal(bytes: &[u8]) -> Option<u16> {
    match read(bytes, &[usize::MAX]).pop() {
        Some(Out::Refused(status, _)) => Some(status),
        _ => None,
    }
}

fn get(path: &str, query: &str) -> Out {
    let (path, query) = (path.to_owned(), query.to_owned());
    Out::Request { method: Method::Get, wants_body: true, path, query, body: Vec::new(), after: After::Keep }
}

const HOST: &str = "Host: 127.0.0.1:10000\r\n";

/// Goal: requests come out as they went in, several from one piece too. Method: three that differ in everything.
#[test]
fn requests_come_out_in_order() {
    let text = format!(
        "GET /a?b=c HTTP/1.1\r\n{HOST}\r\nPOST /json_rpc HTTP/1.1\r\n{HOST}Content-Length: 4\r\nConnection: close\r\n\r\n{{}}\0\n\
         HEAD /%20?x?y HTTP/1.0\r\nConnection:  x,Keep-Alive \r\n\r\n"
    );
    let post = Out::Request {
        method: Method::Post,
        wants_body: true,
        path: "/json_rpc".into(),
        query: String::new(),
        body: b"{}\0\n".to_vec(),
        after: After::Close,
    };
    let head = Out::Request {
        method: Method::Get,
        wants_body: false,
        path: "/%20".into(),
        query: "x?y".into(),
        body: Vec::new(),
        after: After::KeepAndSay,
    };
    assert_eq!(read(text.as_bytes(), &[usize::MAX]), [get("/a", "b=c"), post, head]);
}

/// Goal: what other servers might read differently is refused, and everything else that is wrong with the status
/// that says so. Method: one fault each in a request that is good otherwise.
#[test]
fn every_fault_has_its_status() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n0123456789").into_bytes();
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n").into_bytes();
    let with = |fields: &str| format!("GET / HTTP/1.1\r\n{HOST}{fields}\r\n").into_bytes();
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("a good one", post("Content-Length: 10\r\n"), None),
        ("a good one without a body", with(""), None),
        ("two lengths", post("Content-Length: 10\r\nContent-Length: 5\r\n"), Some(400)),
        ("the same length twice", post("Content-Length: 10\r\nContent-Length: 10\r\n"), Some(400)),
        ("a list of lengths", post("Content-Length: 10, 10\r\n"), Some(400)),
        ("a signed length", post("Content-Length: +10\r\n"), Some(400)),
        ("a negative length", post("Content-Length: -1\r\n"), Some(400)),
        ("a hexadecimal length", post("Content-Length: 0xa\r\n"), Some(400)),
        ("an empty length", post("Content-Length:\r\n"), Some(400)),
        ("length and chunked", post("Content-Length: 10\r\nTransfer-Encoding: chunked\r\n"), Some(400)),
        ("chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 10\r\n"), Some(400)),
        ("chunked", post("Transfer-Encoding: chunked\r\n"), Some(501)),
        ("another coding", post("transfer-encoding: gzip\r\n"), Some(501)),
        ("chunked in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Some(400)),
        ("a space before the colon", post("Content-Length : 10\r\n"), Some(400)),
        ("a tab before the colon", with("X\t: y\r\n"), Some(400)),
        ("a folded line", post("Content-Length: 1\r\n 0\r\n"), Some(400)),
        ("a fold after the first line", format!("GET / HTTP/1.1\r\n x: y\r\n{HOST}\r\n").into(), Some(400)),
        ("a field without a colon", with("nonsense\r\n"), Some(400)),
        ("a field without a name", with(": x\r\n"), Some(400)),
        ("bare LF after the first line", format!("GET / HTTP/1.1\n{HOST}\r\n").into(), Some(400)),
        ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n".into(), Some(400)),
        ("bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n".into(), Some(400)),
        ("bare LF before the request", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Some(400)),
        ("bare CR in a field", b"GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n".into(), Some(400)),
        ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n".into(), Some(400)),
        ("a NUL in the target", line("GET /\0 HTTP/1.1"), Some(400)),
        ("a NUL in a field", with("X: a\0b\r\n"), Some(400)),
        ("a control character in a field", with("X: a\x07b\r\n"), Some(400)),
        ("two hosts", with("Host: other\r\n"), Some(400)),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".into(), Some(400)),
        ("no host in HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n".into(), None),
        ("two logins", with("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), Some(400)),
        ("two origins", with("Origin: null\r\nOrigin: http://127.0.0.1:10000\r\n"), Some(400)),
        ("a login that is not ASCII", with("Authorization: Bearer \u{e4}\r\n"), Some(400)),
        ("a field that nobody looks at and is not ASCII", with("X-Name: J\u{fc}rgen\r\n"), None),
        ("a URL of this server", line("GET http://127.0.0.1:10000/x HTTP/1.1"), None),
        ("a URL of another", line("GET http://127.0.0.1:1/x HTTP/1.1"), Some(400)),
        ("a URL with a user", line("GET http://me@127.0.0.1:10000/x HTTP/1.1"), Some(400)),
        ("a URL of another scheme", line("GET ftp://127.0.0.1:10000/x HTTP/1.1"), Some(400)),
        ("a target without a slash", line("GET x HTTP/1.1"), Some(400)),
        ("a target with a fragment", line("GET /#x HTTP/1.1"), Some(400)),
        ("a target that is not ASCII", line("GET /\u{e4} HTTP/1.1"), Some(400)),
        ("two spaces", line("GET  / HTTP/1.1"), Some(400)),
        ("three words in front", line("GET / x HTTP/1.1"), Some(505)),
        ("no version", line("GET /"), Some(400)),
        ("an old version", line("GET / HTTP/0.9"), Some(505)),
        ("a newer version", line("GET / HTTP/2.0"), Some(505)),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Some(505)),
        ("the hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(), Some(400)),
        ("another method", line("DELETE / HTTP/1.1"), Some(405)),
        ("options", line("OPTIONS * HTTP/1.1"), Some(405)),
        ("connect", line("CONNECT a:1 HTTP/1.1"), Some(405)),
        ("a method in small letters", line("get / HTTP/1.1"), Some(405)),
        ("a POST without a length", post(""), Some(411)),
        ("a POST of HTTP/1.0 without a length", b"POST / HTTP/1.0\r\n\r\n".into(), Some(411)),
        ("a body of the largest size, to come", post(&format!("Content-Length: {BODY_BYTES_MAX}\r\n")), None),
        ("one byte more", post(&format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1)), Some(413)),
        ("a length that no integer holds", post(&format!("Content-Length: {}\r\n", "9".repeat(40))), Some(413)),
        ("too many fields", with(&"X: y\r\n".repeat(FIELDS_MAX)), Some(431)),
        ("as many fields as may be", with(&"X: y\r\n".repeat(FIELDS_MAX - 1)), None),
        ("something unknown is expected", post("Content-Length: 10\r\nExpect: cake\r\n"), Some(417)),
        ("a go-ahead is expected", post("Content-Length: 10\r\nExpect: 100-Continue\r\n"), None),
    ];
    for (what, bytes, status) in cases {
        assert_eq!(refusal(&bytes), status, "{what}: {}", String::from_utf8_lossy(&bytes));
    }
}

/// Goal: each cap is where it is said to be. Method: the longest that fits, and one byte more, without an end.
#[test]
fn lines_and_fields_have_caps() {
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(bytes - 16));
    assert_eq!(refusal(line(LINE_BYTES_MAX).as_bytes()), None);
    assert_eq!(refusal(line(LINE_BYTES_MAX + 1).as_bytes()), Some(414));
    assert_eq!(refusal(&vec![b'a'; LINE_BYTES_MAX]), None, "there may be an end yet");
    assert_eq!(refusal(&vec![b'a'; LINE_BYTES_MAX + 1]), Some(414));
    let fields = |bytes: usize| format!("GET / HTTP/1.1\r\n{HOST}X: {}\r\n\r\n", "a".repeat(bytes - HOST.len() - 7));
    assert_eq!(refusal(fields(FIELDS_BYTES_MAX).as_bytes()), None);
    assert_eq!(refusal(fields(FIELDS_BYTES_MAX + 1).as_bytes()), Some(431));
    let endless = format!("GET / HTTP/1.1\r\n{}", "a".repeat(FIELDS_BYTES_MAX + 1));
    assert_eq!(refusal(endless.as_bytes()), Some(431));
}

/// Goal: empty lines between requests are passed over and are nothing of a request.
#[test]
fn empty_lines_between_requests_are_nothing() {
    let text = format!("\r\n\r\nGET /a HTTP/1.1\r\n{HOST}\r\n\r\nGET /b HTTP/1.1\r\n{HOST}\r\n\r\n\r\n");
    for size in [1, 2, 3, usize::MAX] {
        assert_eq!(read(text.as_bytes(), &[size]), [get("/a", ""), get("/b", "")], "pieces of {size}");
    }
}

/// Goal: a head whose body is to come is told once, and the memory grows only with what has come.
/// Method: the largest body, promised first; then in small pieces; then a small request.
#[test]
fn a_promise_takes_no_memory() {
    let mut buffer = RequestBuffer::default();
    let give = |buffer: &mut RequestBuffer, bytes: &[u8]| {
        let space = buffer.space();
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        buffer.filled(count);
        count
    };
    let head = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: {BODY_BYTES_MAX}\r\n\r\n");
    give(&mut buffer, head.as_bytes());
    let Ok(Front::Head(told)) = buffer.front() else { panic!("{:?}", buffer.front()) };
    assert_eq!(told.body_bytes, BODY_BYTES_MAX);
    assert_eq!(buffer.front(), Ok(Front::Partial), "it is told once");
    assert!(buffer.space().len() < 16 << 10, "nothing has come yet");
    let mut left = BODY_BYTES_MAX;
    while left > 0 {
        assert_eq!(buffer.front(), Ok(Front::Partial));
        let had = head.len() + BODY_BYTES_MAX - left;
        assert!(buffer.space().len() <= had.max(16 << 10), "it doubles at most");
        left -= give(&mut buffer, &vec![7; left]);
    }
    let Ok(Front::Whole(_, body)) = buffer.front() else { panic!("it is whole") };
    assert_eq!(body.len(), BODY_BYTES_MAX);
    buffer.pass();
    assert_eq!(buffer.front(), Ok(Front::Nothing));
    assert!(buffer.space().len() <= 16 << 10, "it is small again");
}

/// What streams are made of: good requests, faults, and noise.
const PIECES: [&[u8]; 16] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x?y HTTP/1.0\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    b"abc",
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"GET ",
    b"http://a/",
    b"Host: a\r\n",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b" folded\r\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// A stream of pieces, some bytes of which were changed.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec(prop_oneof![3 => 0..4_usize, 1 => 0..PIECES.len()], 0..24);
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (pieces, changes, 0..40_usize).prop_map(|(pieces, changes, padding)| {
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|&place| PIECES[place]).copied().collect();
        // Sometimes long enough for the caps.
        bytes.extend(vec![b'y'; if padding > 36 { padding * 256 } else { 0 }]);
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: whatever comes, it means the same however it is cut, and nothing panics.
    /// Method: streams of good and bad pieces with bytes changed, whole and in random cuts.
    #[test]
    fn cuts_do_not_matter(bytes in streams(), sizes in vec(1..40_usize, 1..8)) {
        let whole = read(&bytes, &[usize::MAX]);
        prop_assert_eq!(&read(&bytes, &sizes), &whole);
        prop_assert_eq!(&read(&bytes, &[1]), &whole);
    }

    /// Goal: bodies come out as they went in. Method: random bodies one after the other, in random cuts.
    #[test]
    fn bodies_are_kept(bodies in vec(vec(any::<u8>(), 0..5_000), 1..6), sizes in vec(1..9_000_usize, 1..5)) {
        let mut bytes = Vec::new();
        for body in &bodies {
            bytes.extend(format!("POST / HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            bytes.extend(body);
        }
        prop_assert!(bytes.len() < BUFFER_BYTES_MAX);
        let outs = read(&bytes, &sizes).into_iter();
        let came: Vec<Vec<u8>> = outs
            .map(|out| match out {
                Out::Request { body, .. } => body,
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(came, bodies);
    }
}
