//! Bytes in, requests out: HTTP/1.1 framing without a socket (RFC 9112).
//!
//! What comes out depends on the bytes alone, not on how they were cut. Every line ends in CR LF, and a length
//! is said once and in digits: wherever two servers could read one stream differently, this one refuses it with
//! 400. Caps hold before memory is taken: 414 for the first line, 431 for the fields, 413 for the body, which is
//! refused by what it promises.
//!
//! Left out: chunked bodies and every other transfer coding (501; beside a length 400), trailers, upgrades,
//! authority-form targets. No client of a node needs them, and they are where smuggling lives.

use std::str;

use crate::rpc::http::message::{Method, Status};
use crate::rpc::http::refusal::Refusal;

/// The first line: method, target, version.
pub const LINE_BYTES_MAX: usize = 4 << 10;
/// All fields together, with the empty line after them.
pub const FIELDS_BYTES_MAX: usize = 8 << 10;
/// Fields of one request.
pub const FIELDS_MAX: usize = 64;
/// A body.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// A body on paths that take larger ones; there is one of these at a time.
pub const LARGE_BODY_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// A buffer holds no more, but for such a body: one request of the largest size, or several smaller ones.
pub const BUFFER_BYTES_MAX: usize = LINE_BYTES_MAX + FIELDS_BYTES_MAX + BODY_BYTES_MAX;
/// A buffer begins with this and comes back to it; no more is read before a head is whole.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

const TOO_LARGE: Refusal =
    Refusal::new(Status::ContentTooLarge, "the body is longer than 256 KiB, or than 1088 KiB where a block may come");

/// What a client wants to become of the connection once it has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is kept, as HTTP/1.1 has it.
    Keep,
    /// It is kept, which the answer has to say: the client speaks HTTP/1.0.
    KeepAndSay,
    /// It ends.
    Close,
}

/// What a request says before its body. Borrowed from the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// `HEAD` is `Get` with [`Head::wants_body`] unset.
    pub method: Method,
    /// Whether the answer's body is to be sent.
    pub wants_body: bool,
    /// Up to the question mark.
    pub path: &'a str,
    /// After it.
    pub query: &'a str,
    /// `Host`; there is one unless the client speaks HTTP/1.0.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Whether the client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// What becomes of the connection.
    pub after: After,
    /// Bytes of the body.
    pub body_bytes: usize,
}

/// What is at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// Not a byte of a request.
    Nothing,
    /// Some of one.
    Partial,
    /// Its head and less than its body. This is said once for each request, so that it can be refused before the
    /// body comes.
    Head(Head<'a>),
    /// All of it. [`RequestBuffer::pass`] comes next.
    Whole(Head<'a>, &'a [u8]),
}

/// How far the head at the front has been looked at: each byte once.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    at: usize,
    /// Where the line that `at` is in begins.
    line_from: usize,
    /// Where the fields begin, once the first line is whole.
    fields_from: Option<usize>,
}

/// Sizes of the request at the front, once its head is whole.
#[derive(Clone, Copy, Debug)]
struct Extent {
    head_bytes: usize,
    body_bytes: usize,
}

/// What has come and has not been answered.
#[derive(Debug)]
pub struct RequestBuffer {
    bytes: Vec<u8>,
    /// `bytes[from..to]` has come.
    from: usize,
    to: usize,
    scan: Scan,
    extent: Option<Extent>,
    large_paths: &'static [&'static str],
}

impl Default for RequestBuffer {
    fn default() -> Self {
        Self::with_large(&[])
    }
}

impl RequestBuffer {
    /// One that takes bodies of up to [`LARGE_BODY_BYTES_MAX`] on these paths.
    pub fn with_large(large_paths: &'static [&'static str]) -> Self {
        Self { bytes: vec![0; BUFFER_BYTES], from: 0, to: 0, scan: Scan::default(), extent: None, large_paths }
    }

    /// Room for what comes next, never empty; [`RequestBuffer::filled`] says how much of it came. Everything
    /// that is whole has been passed by now.
    pub fn space(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == 0 && self.bytes.len() > BUFFER_BYTES {
            self.bytes.truncate(BUFFER_BYTES);
            self.bytes.shrink_to_fit();
        }
        if self.to == self.bytes.len() {
            // The memory grows with bytes that came, not with bytes that were promised.
            let is_large = self.extent.is_some_and(|extent| extent.body_bytes > BODY_BYTES_MAX);
            let more = if is_large { LARGE_BODY_BYTES_MAX - BODY_BYTES_MAX } else { 0 };
            self.bytes.resize((2 * self.to).min(BUFFER_BYTES_MAX + more), 0);
        }
        let room = if self.extent.is_some() { self.bytes.len() } else { self.bytes.len().min(self.to + BUFFER_BYTES) };
        &mut self.bytes[self.to..room]
    }

    /// So many bytes have come into the space.
    pub fn filled(&mut self, count: usize) {
        self.to += count;
        assert!(self.to <= self.bytes.len(), "no more came than there was space for");
    }

    /// What is at the front. After a refusal there is no way on.
    pub fn front(&mut self) -> Result<Front<'_>, Refusal> {
        let head_bytes = match self.extent {
            Some(extent) if self.to - self.from < extent.head_bytes + extent.body_bytes => return Ok(Front::Partial),
            Some(extent) => extent.head_bytes,
            None => match self.find_head()? {
                Some(head_bytes) => head_bytes,
                None if self.from == self.to => return Ok(Front::Nothing),
                None => return Ok(Front::Partial),
            },
        };
        let (head, rest) = self.bytes[self.from..self.to].split_at(head_bytes);
        let head = parse_head(head, self.large_paths)?;
        self.extent = Some(Extent { head_bytes, body_bytes: head.body_bytes });
        Ok(rest.get(..head.body_bytes).map_or(Front::Head(head), |body| Front::Whole(head, body)))
    }

    /// The whole request at the front is answered.
    pub fn pass(&mut self) {
        let extent = self.extent.take().expect("a whole request is at the front");
        self.from += extent.head_bytes + extent.body_bytes;
        assert!(self.from <= self.to, "it was whole");
        self.scan = Scan::default();
    }

    /// Whether more has come than the request at the front.
    pub fn has_more(&self) -> bool {
        self.to > self.from + self.extent.map_or(0, |extent| extent.head_bytes + extent.body_bytes)
    }

    /// What the head at the front takes, once it is whole.
    fn find_head(&mut self) -> Result<Option<usize>, Refusal> {
        // Some clients end a body with an empty line that is not part of it (RFC 9112, 2.2).
        while self.scan.at == 0 {
            match &self.bytes[self.from..self.to] {
                [b'\r', b'\n', ..] => self.from += 2,
                // Perhaps the first half of one.
                [b'\r'] => return Ok(None),
                _ => break,
            }
        }
        self.scan.run(&self.bytes[self.from..self.to])
    }
}

impl Scan {
    /// Looks on for the empty line that ends a head, and gives what the head takes.
    fn run(&mut self, here: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = here.get(self.at) {
            let before = self.at.checked_sub(1).map(|before| here[before]);
            match byte {
                0 => return Err(Refusal::bad("a NUL in the head")),
                b'\n' if before != Some(b'\r') => return Err(Refusal::bad("a line ends in LF without CR")),
                b'\n' => {}
                _ if before == Some(b'\r') => return Err(Refusal::bad("a CR that does not end a line")),
                _ => {}
            }
            self.at += 1;
            match self.fields_from {
                None if self.at > LINE_BYTES_MAX => {
                    return Err(Refusal::new(Status::TargetTooLong, "the first line is longer than 4 KiB"));
                }
                Some(from) if self.at - from > FIELDS_BYTES_MAX => {
                    return Err(Refusal::new(Status::HeadersTooLarge, "the fields are longer than 8 KiB together"));
                }
                _ => {}
            }
            if byte == b'\n' {
                let is_empty = self.at - self.line_from == 2;
                self.line_from = self.at;
                match self.fields_from {
                    None => self.fields_from = Some(self.at),
                    Some(_) if is_empty => return Ok(Some(self.at)),
                    Some(_) => {}
                }
            }
        }
        Ok(None)
    }
}

/// Fields that decide something, each at most once.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    origin: Option<&'a str>,
    fetch_site: Option<&'a str>,
    authorization: Option<&'a str>,
    content_type: Option<&'a str>,
    content_length: Option<&'a str>,
    expect: Option<&'a str>,
    has_transfer_encoding: bool,
    says_close: bool,
    says_keep_alive: bool,
}

/// A head from its first byte to its empty line.
fn parse_head<'a>(bytes: &'a [u8], large_paths: &[&str]) -> Result<Head<'a>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Refusal::bad("the head does not end where its empty line is")),
        Err(error) => return Err(unreadable(error)),
    }
    let is_old = parsed.version == Some(0);
    let fields = Fields::read(parsed.headers)?;
    let body_bytes = body_bytes(&fields, is_old)?;
    let (method, wants_body) = match parsed.method {
        Some("GET") => (Method::Get, true),
        Some("HEAD") => (Method::Get, false),
        Some("POST") => (Method::Post, true),
        _ => return Err(Refusal::new(Status::MethodNotAllowed, "only GET, HEAD and POST are known here")),
    };
    if method == Method::Post && body_bytes.is_none() {
        return Err(Refusal::new(Status::LengthRequired, "a POST says how long its body is: Content-Length"));
    }
    if fields.host.is_none() && !is_old {
        return Err(Refusal::bad("HTTP/1.1 without Host"));
    }
    let (path, query) = split_target(parsed.path.unwrap_or_default(), fields.host)?;
    let is_large = body_bytes.is_some_and(|bytes| bytes > BODY_BYTES_MAX);
    if is_large && !(method == Method::Post && large_paths.contains(&path)) {
        return Err(TOO_LARGE);
    }
    let expects_continue = match fields.expect {
        Some(what) if what.eq_ignore_ascii_case("100-continue") => !is_old,
        Some(_) => return Err(Refusal::new(Status::ExpectationFailed, "only 100-continue can be expected")),
        None => false,
    };
    let after = match (fields.says_close, is_old) {
        (false, false) => After::Keep,
        (false, true) if fields.says_keep_alive => After::KeepAndSay,
        _ => After::Close,
    };
    Ok(Head {
        method,
        wants_body,
        path,
        query,
        host: fields.host,
        origin: fields.origin,
        fetch_site: fields.fetch_site,
        authorization: fields.authorization,
        content_type: fields.content_type,
        expects_continue,
        after,
        body_bytes: body_bytes.unwrap_or(0),
    })
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let single = if is("host") {
                &mut fields.host
            } else if is("content-length") {
                &mut fields.content_length
            } else if is("authorization") {
                &mut fields.authorization
            } else if is("origin") {
                &mut fields.origin
            } else if is("sec-fetch-site") {
                &mut fields.fetch_site
            } else if is("content-type") {
                &mut fields.content_type
            } else if is("expect") {
                &mut fields.expect
            } else if is("connection") {
                for option in text(header.value)?.split(',').map(|option| option.trim_matches([' ', '\t'])) {
                    fields.says_close |= option.eq_ignore_ascii_case("close");
                    fields.says_keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
                continue;
            } else {
                fields.has_transfer_encoding |= is("transfer-encoding");
                continue;
            };
            if single.replace(text(header.value)?).is_some() {
                return Err(Refusal::bad("a field that decides something is there twice"));
            }
        }
        Ok(fields)
    }
}

/// A value that we look into is ASCII, and has no space at its ends.
fn text(value: &[u8]) -> Result<&str, Refusal> {
    let text = str::from_utf8(value).ok().filter(|text| text.is_ascii());
    text.map(|text| text.trim_matches([' ', '\t'])).ok_or(Refusal::bad("a field that decides something is not ASCII"))
}

/// How long the body is; `None` if nothing says so, and then there is none.
fn body_bytes(fields: &Fields<'_>, is_old: bool) -> Result<Option<usize>, Refusal> {
    if fields.has_transfer_encoding {
        return Err(if fields.content_length.is_some() || is_old {
            Refusal::bad("a transfer coding beside a length, or in HTTP/1.0")
        } else {
            Refusal::new(Status::NotImplemented, "bodies are sent with Content-Length here, not in a transfer coding")
        });
    }
    let Some(length) = fields.content_length else { return Ok(None) };
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::bad("Content-Length is not a number"));
    }
    // Digits that no integer holds are too large all the same.
    match length.parse() {
        Ok(bytes) if bytes <= LARGE_BODY_BYTES_MAX => Ok(Some(bytes)),
        _ => Err(TOO_LARGE),
    }
}

/// Path and query of a target in origin form, or in absolute form where it names the host that `Host` names.
fn split_target<'a>(target: &'a str, host: Option<&str>) -> Result<(&'a str, &'a str), Refusal> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::bad("the target holds what a target cannot hold"));
    }
    let local = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = &target[7..];
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
                return Err(Refusal::bad("the target names another host than Host"));
            }
            local
        }
        _ if target.starts_with('/') => target,
        _ => return Err(Refusal::bad("the target is neither a path nor a URL of this server")),
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    // Only a URL can come without a path, and means the root.
    Ok((if path.is_empty() { "/" } else { path }, query))
}

fn unreadable(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(Status::HeadersTooLarge, "more than 64 fields"),
        httparse::Error::Version => Refusal::new(Status::VersionNotSupported, "only HTTP/1.1 and HTTP/1.0 are spoken"),
        httparse::Error::HeaderName => Refusal::bad("a field's name is not one"),
        httparse::Error::HeaderValue => Refusal::bad("a field's value is not one"),
        _ => Refusal::bad("the first line is not one of HTTP"),
    }
}
