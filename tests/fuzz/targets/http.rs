//! The front of the RPC before anything is asked: any bytes, cut anywhere, through the HTTP reader and the gate.
//!
//! The first byte is a number of pieces, then come their sizes, a byte each and over and over; the rest is what a
//! client sends. In it the byte `fd` stands for the cookie, and `fe COUNT BYTE` for 256 bytes of one kind, COUNT
//! times, so that a short input comes to every limit.
//!
//! What comes out depends on the bytes alone. What is accepted means the same when it is said in the plainest way.
//! And nobody may do more than a second, simpler reading of the same fields allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use spindle::rpc::cookie::Cookie;
use spindle::rpc::http::gate::{Ends, Gate};
use spindle::rpc::http::parse::{
    After, BODY_BYTES_MAX, BUFFER_BYTES_MAX, FIELDS_BYTES_MAX, Front, Head, LINE_BYTES_MAX, RequestBuffer,
};
use spindle::rpc::http::refusal::Refusal;
use spindle::rpc::http::{Method, Status};

use super::bytes::Bytes;

/// Of what a client sends: several of the largest requests.
const STREAM_BYTES_MAX: usize = 1 << 20;
const PORT: u16 = 10_000;
/// A name that the owner of this machine has given it.
const NAME: &str = "node.lan";

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Out {
    /// A head in words, and its body.
    Request(String, Vec<u8>),
    Refused(Refusal),
    /// The bytes ended within a request.
    Partial,
}

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let count = usize::from(bytes.byte() % 8);
    let mut sizes: Vec<usize> = (0..count).map(|_| 1 + usize::from(bytes.byte())).collect();
    sizes.push(usize::MAX);
    let stream = stream_of(bytes.rest());
    let whole = read(&stream, &[usize::MAX], &mut check);
    assert_eq!(read(&stream, &sizes, &mut |_, _| {}), whole, "cut into {sizes:?}");
    // Byte by byte as well, unless that is long.
    if stream.len() <= 2_048 {
        assert_eq!(read(&stream, &[1], &mut |_, _| {}), whole, "byte by byte");
    }
}

fn cookie() -> &'static Cookie {
    static COOKIE: OnceLock<Cookie> = OnceLock::new();
    COOKIE.get_or_init(|| Cookie::random().expect("random bytes"))
}

fn stream_of(data: &[u8]) -> Vec<u8> {
    let (mut stream, mut rest) = (Vec::new(), data);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, rest) {
            (0xfd, _) => stream.extend_from_slice(cookie().hex().as_bytes()),
            (0xfe, [count, byte, after @ ..]) => {
                stream.resize(stream.len() + 256 * usize::from(*count), *byte);
                rest = after;
            }
            _ => stream.push(byte),
        }
        if stream.len() > STREAM_BYTES_MAX {
            stream.truncate(STREAM_BYTES_MAX);
            break;
        }
    }
    stream
}

/// Everything that comes out of bytes that come in pieces of these sizes; each request is shown to `see`.
fn read(stream: &[u8], sizes: &[usize], see: &mut dyn FnMut(&Head<'_>, &[u8])) -> Vec<Out> {
    let (mut buffer, mut all, mut is_told) = (RequestBuffer::default(), Vec::new(), false);
    // What has come, and what of it was passed.
    let (mut to, mut from, mut sizes) = (0, 0, sizes.iter().cycle());
    while to < stream.len() {
        let space = buffer.space();
        assert!(!space.is_empty() && to - from + space.len() <= BUFFER_BYTES_MAX, "{from}..{to} and {}", space.len());
        let count = (stream.len() - to).min(space.len()).min(*sizes.next().expect("there is one"));
        space[..count].copy_from_slice(&stream[to..to + count]);
        buffer.filled(count);
        to += count;
        loop {
            match buffer.front() {
                Err(refusal) => {
                    check_refusal(refusal);
                    all.push(Out::Refused(refusal));
                    return all;
                }
                Ok(Front::Whole(head, body)) => {
                    let body_from = head_end(stream, from);
                    from = body_from + body.len();
                    assert_eq!(stream.get(body_from..from), Some(body), "the body is what follows the empty line");
                    see(&head, body);
                    all.push(Out::Request(format!("{head:?}"), body.to_vec()));
                }
                Ok(Front::Head(head)) => {
                    assert!(!std::mem::replace(&mut is_told, true), "each head is shown once before its body");
                    assert!(head.body_bytes > 0 && head.body_bytes <= BODY_BYTES_MAX);
                    break;
                }
                Ok(front) => {
                    from = skip_empty_lines(&stream[..to], from);
                    assert_eq!(front == Front::Nothing, from == to, "only empty lines are nothing");
                    break;
                }
            }
            is_told = false;
            buffer.pass();
        }
    }
    match buffer.front() {
        Ok(Front::Nothing) => {}
        Err(refusal) => panic!("nothing came since the last look, and now {refusal:?}"),
        Ok(_) => all.push(Out::Partial),
    }
    all
}

/// Where a request begins: empty lines before it are nothing.
fn skip_empty_lines(stream: &[u8], mut from: usize) -> usize {
    while stream[from..].starts_with(b"\r\n") {
        from += 2;
    }
    from
}

/// Where the empty line of the request that begins here ends.
fn head_end(stream: &[u8], from: usize) -> usize {
    let from = skip_empty_lines(stream, from);
    let lines = stream[from..].windows(4).position(|window| window == b"\r\n\r\n");
    from + lines.expect("a request has one") + 4
}

fn check_refusal(refusal: Refusal) {
    assert!(refusal.status.code() >= 400 && refusal.status != Status::InternalError && !refusal.why.is_empty());
    assert_eq!(refusal.response().status, refusal.status);
}

/// What holds of every request that is whole.
fn check(head: &Head<'_>, body: &[u8]) {
    assert_eq!(head.body_bytes, body.len());
    assert!(body.len() <= BODY_BYTES_MAX);
    assert!(head.path.starts_with('/') && !head.path.contains('?'));
    assert!(head.path.len() + head.query.len() < LINE_BYTES_MAX);
    assert!([head.path, head.query].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_graphic())));
    let texts = [head.host, head.origin, head.fetch_site, head.authorization, head.content_type];
    for text in texts.into_iter().flatten() {
        assert!(text.is_ascii() && text.len() < FIELDS_BYTES_MAX && text.trim_matches([' ', '\t']) == text);
    }
    let again = read(&plain(head, body), &[usize::MAX], &mut |_, _| {});
    assert_eq!(again, [Out::Request(format!("{head:?}"), body.to_vec())], "said in the plainest way");
    for (listening_on, peer, local) in [
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 7).into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
    ] {
        check_gate(head, listening_on, peer, local);
    }
}

/// The same request with no byte more than it needs.
fn plain(head: &Head<'_>, body: &[u8]) -> Vec<u8> {
    let method = match (head.method, head.wants_body) {
        (Method::Get, true) => "GET",
        (Method::Get, false) => "HEAD",
        (Method::Post, _) => "POST",
    };
    // HTTP/1.0 ends its connections unless it says otherwise, and knows no word before a body.
    let is_old = head.after != After::Keep && !head.expects_continue;
    let mark = if head.query.is_empty() { "" } else { "?" };
    let version = if is_old { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text = format!("{method} {}{mark}{} {version}\r\n", head.path, head.query);
    let connection = match head.after {
        After::KeepAndSay => Some("keep-alive"),
        After::Close if !is_old => Some("close"),
        After::Keep | After::Close => None,
    };
    let length = (head.method == Method::Post || !body.is_empty()).then(|| body.len().to_string());
    for (name, value) in [
        ("Host", head.host),
        ("Origin", head.origin),
        ("Sec-Fetch-Site", head.fetch_site),
        ("Authorization", head.authorization),
        ("Content-Type", head.content_type),
        ("Connection", connection),
        ("Content-Length", length.as_deref()),
        ("Expect", head.expects_continue.then_some("100-continue")),
    ] {
        if let Some(value) = value {
            text.extend([name, ":", value, "\r\n"]);
        }
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// Holds what the gate says against what the fields say.
fn check_gate(head: &Head<'_>, listening_on: IpAddr, peer: IpAddr, local: IpAddr) {
    let gate = Gate::new(cookie().clone(), vec![NAME.into()], listening_on);
    let access = gate.admit(head, Ends::new(peer, SocketAddr::new(local, PORT)));
    let by_page = head.origin.is_some() || head.fetch_site.is_some();
    match access {
        Err(refusal) => {
            check_refusal(refusal);
            assert!([Status::Unauthorised, Status::Forbidden].contains(&refusal.status));
        }
        Ok(access) => {
            assert!(head.host.is_none_or(|host| names_us(host, local)), "{head:?}");
            let origin = head.origin.map(str::to_ascii_lowercase);
            assert!(origin.is_none_or(|origin| Some(origin) == head.host.map(own_origin)), "{head:?}");
            assert!(head.fetch_site.is_none_or(|site| site == "same-origin" || site == "none"), "{head:?}");
            let shown = head.authorization.map(|shown| shown.contains(cookie().hex()));
            assert_eq!(access.is_holder, shown == Some(true), "{head:?}");
            assert_ne!(shown, Some(false), "a wrong cookie is worse than none: {head:?}");
            assert!(access.is_holder || listening_on.is_loopback() && peer.is_loopback(), "{head:?}");
            assert_eq!(access.may_change, access.is_holder && !by_page, "{head:?}");
        }
    }
}

fn own_origin(host: &str) -> String {
    format!("http://{}", host.to_ascii_lowercase())
}

/// Whether a `Host` is one of the ways to name where the connection came to.
fn names_us(host: &str, local: IpAddr) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else { return false };
    let name = name.to_ascii_lowercase();
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    port.trim_start_matches('0') == PORT.to_string()
        && (name == NAME
            || local.is_loopback() && ["127.0.0.1", "localhost", "[::1]"].contains(&name.as_str())
            || ip == Ok(local))
}
