//! A program that asks one node over HTTP: for commands, and for the wallet.
//!
//! One connection, kept as long as the node keeps it, and one question at a time. Nothing is waited for without
//! an end, and no answer takes more memory than its cap. A question is sent once: whoever hears that the
//! connection broke does not know whether it was understood, and only he can say whether to ask again. The one
//! exception is a node that says it has no place free, for it has read nothing: it is asked again for five seconds.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::network::limits::CONNECT_MS;
use crate::rpc::cookie::Cookie;

/// Where JSON-RPC is spoken.
const JSON_RPC: &str = "/json_rpc";
/// For an answer, and between two pieces of one.
const ANSWER_MS: u64 = 20_000;
/// The largest answer, unless its asker knows better.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What stands before it.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Fields in that.
const FIELDS_MAX: usize = 64;
/// What is read at a time.
const READ_BYTES: usize = 64 << 10;
/// How often a node without a free place is asked again, and after what time each.
const BUSY_TRIES: (u32, Duration) = (100, Duration::from_millis(50));
/// Of what a node says in words.
const WORDS_MAX: usize = 300;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("nobody listens on {address}")]
    Nobody {
        /// Where it was looked for.
        address: SocketAddr,
    },
    /// There is no way to it.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It is there and says nothing.
    #[error("{address} has not answered for {limit_ms} ms")]
    Silent {
        /// Where it is.
        address: SocketAddr,
        /// How long it was waited for.
        limit_ms: u64,
    },
    /// It has gone, with the question perhaps.
    #[error("{address} ended the connection before it had answered ({why}); whether it did what was asked is unknown")]
    Ended {
        /// Where it was.
        address: SocketAddr,
        /// How that showed.
        why: String,
    },
    /// It is something else.
    #[error("what listens on {address} does not answer as a spindle node: {why}")]
    NotHttp {
        /// Where it is.
        address: SocketAddr,
        /// How that shows.
        why: String,
    },
    /// The cookie is missing or wrong.
    #[error("the node on {address} wants its cookie: {why}")]
    Unauthorised {
        /// Where it is.
        address: SocketAddr,
        /// In its words.
        why: String,
    },
    /// All its places are taken.
    #[error("the node on {address} has no connection free")]
    Busy {
        /// Where it is.
        address: SocketAddr,
    },
    /// It does not answer this.
    #[error("the node on {address} refuses this with {status}: {why}")]
    Refused {
        /// Where it is.
        address: SocketAddr,
        /// Of HTTP.
        status: u16,
        /// In its words.
        why: String,
    },
    /// Its answer is larger than anything that it should say.
    #[error("the answer of {address} has {bytes} bytes (limit {limit_bytes})")]
    TooLong {
        /// Where it is.
        address: SocketAddr,
        /// As announced.
        bytes: usize,
        /// What is taken in.
        limit_bytes: usize,
    },
    /// It understood, and the answer is an error.
    #[error("{message}")]
    Failed {
        /// Of JSON-RPC.
        code: i64,
        /// In its words.
        message: String,
    },
}

/// A conversation with one node, which begins with the first question.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    cookie: Option<Cookie>,
    answer_ms: u64,
    answer_bytes_max: usize,
    /// Kept from the last question.
    stream: Option<TcpStream>,
    questions: u64,
}

impl Client {
    /// For the node that listens here; with its cookie, things can be changed.
    pub fn new(address: SocketAddr, cookie: Option<Cookie>) -> Self {
        Self { address, cookie, answer_ms: ANSWER_MS, answer_bytes_max: ANSWER_BYTES_MAX, stream: None, questions: 0 }
    }

    /// Waits so long for an answer instead of 20 s: some questions take their time.
    #[must_use]
    pub fn with_patience(mut self, answer_ms: u64) -> Self {
        // Zero would mean "for ever".
        self.answer_ms = answer_ms.max(1);
        self
    }

    /// Takes in answers of so many bytes instead of 64 MiB.
    #[must_use]
    pub fn with_answers_of(mut self, bytes_max: usize) -> Self {
        self.answer_bytes_max = bytes_max;
        self
    }

    /// Calls a method of JSON-RPC; gives its result.
    pub fn call<T: DeserializeOwned>(&mut self, method: &str, params: &impl Serialize) -> Result<T, ClientError> {
        let id = self.questions;
        let question = Question { jsonrpc: "2.0", id, method, params };
        let body = serde_json::to_vec(&question).map_err(|error| self.odd(format!("the question: {error}")))?;
        let answer = self.post(JSON_RPC, "application/json", &body)?;
        let answer: Answer<T> = serde_json::from_slice(&answer).map_err(|error| self.odd(error.to_string()))?;
        match answer {
            Answer { error: Some(Failure { code, message }), .. } => {
                Err(ClientError::Failed { code, message: words(message.as_bytes()) })
            }
            Answer { result: Some(result), id: of, .. } if of == Some(id) => Ok(result),
            _ => Err(self.odd("neither the result nor an error of what was asked".into())),
        }
    }

    /// What is at a path.
    pub fn get(&mut self, target: &str) -> Result<Vec<u8>, ClientError> {
        self.ask("GET", target, "", &[])
    }

    /// Sends something to a path; gives what comes back.
    pub fn post(&mut self, target: &str, content_type: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        let content = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        self.ask("POST", target, &content, body)
    }

    fn ask(&mut self, method: &str, target: &str, content: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.questions += 1;
        let cookie = self.cookie.as_ref().map(|cookie| format!("Authorization: Bearer {}\r\n", cookie.hex()));
        let cookie = cookie.unwrap_or_default();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{cookie}{content}\r\n", self.address);
        // In one write, so that it goes out as one.
        let question = [head.as_bytes(), body].concat();
        for _ in 0..BUSY_TRIES.0 {
            match self.exchange(&question)? {
                (200..300, answer) => return Ok(answer),
                (401, why) => return Err(ClientError::Unauthorised { address: self.address, why: words(&why) }),
                (503, _) => sleep(BUSY_TRIES.1),
                (status, why) => return Err(ClientError::Refused { address: self.address, status, why: words(&why) }),
            }
        }
        Err(ClientError::Busy { address: self.address })
    }

    /// One question, one answer. The connection is kept if all went well.
    fn exchange(&mut self, question: &[u8]) -> Result<(u16, Vec<u8>), ClientError> {
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => self.connect()?,
        };
        // A node that has no place says so and closes: its word is heard before our own failure is told.
        let sent = stream.write_all(question);
        let answered = self.receive(&mut stream);
        if let (Err(error), Err(ClientError::Ended { .. })) = (sent, &answered) {
            return Err(self.ended(&error));
        }
        let (status, keep, body) = answered?;
        self.stream = keep.then_some(stream);
        Ok((status, body))
    }

    fn connect(&self) -> Result<TcpStream, ClientError> {
        let address = self.address;
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(CONNECT_MS));
        let stream = stream.map_err(|source| match source.kind() {
            ErrorKind::ConnectionRefused => ClientError::Nobody { address },
            _ => ClientError::Unreachable { address, source },
        })?;
        let limit = Some(Duration::from_millis(self.answer_ms));
        let setup = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(limit));
        let setup = setup.and_then(|()| stream.set_write_timeout(limit));
        setup.map_err(|source| ClientError::Unreachable { address, source })?;
        Ok(stream)
    }

    /// Reads one answer: its status, whether another may follow, its body.
    fn receive(&self, stream: &mut TcpStream) -> Result<(u16, bool, Vec<u8>), ClientError> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(head) = AnswerHead::parse(&bytes).map_err(|why| self.odd(why))? {
                if !(100..200).contains(&head.status) {
                    break head;
                }
                // Only a word in between.
                bytes.drain(..head.head_bytes);
                continue;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(self.odd(format!("no end of its head after {HEAD_BYTES_MAX} bytes")));
            }
            self.read_some(stream, &mut bytes)?;
        };
        if head.body_bytes > self.answer_bytes_max {
            let (bytes, limit_bytes) = (head.body_bytes, self.answer_bytes_max);
            return Err(ClientError::TooLong { address: self.address, bytes, limit_bytes });
        }
        bytes.drain(..head.head_bytes);
        while bytes.len() < head.body_bytes {
            self.read_some(stream, &mut bytes)?;
        }
        if bytes.len() > head.body_bytes {
            return Err(self.odd("more than was asked for".into()));
        }
        Ok((head.status, head.keep_alive, bytes))
    }

    fn read_some(&self, stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), ClientError> {
        let from = bytes.len();
        // The memory grows with bytes that came, not with bytes that were promised.
        bytes.resize(from + READ_BYTES, 0);
        let count = stream.read(&mut bytes[from..]);
        bytes.truncate(from + count.as_ref().copied().unwrap_or(0));
        match count {
            Ok(0) => Err(ClientError::Ended { address: self.address, why: "it closed it".into() }),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    Err(ClientError::Silent { address: self.address, limit_ms: self.answer_ms })
                }
                _ => Err(self.ended(&error)),
            },
        }
    }

    fn ended(&self, error: &io::Error) -> ClientError {
        ClientError::Ended { address: self.address, why: error.to_string() }
    }

    fn odd(&self, why: String) -> ClientError {
        ClientError::NotHttp { address: self.address, why }
    }
}

#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Answer<T> {
    id: Option<u64>,
    result: Option<T>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    message: String,
}

/// What stands before an answer's body.
#[derive(Debug)]
struct AnswerHead {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    keep_alive: bool,
}

impl AnswerHead {
    /// `None` as long as it is not whole; an error says in which way it is none.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut fields);
        let head_bytes = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("this is not HTTP: {error}")),
        };
        let status = parsed.code.unwrap_or(0);
        let value = |name: &str| {
            let field = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(field.value).ok().map(str::trim)
        };
        let body_bytes = match value("Content-Length").map(str::parse) {
            Some(Ok(bytes)) => bytes,
            None if status < 200 || status == 204 => 0,
            _ => return Err("it does not say how long its answer is".into()),
        };
        let closes = value("Connection").is_some_and(|option| option.eq_ignore_ascii_case("close"));
        Ok(Some(Self { status, head_bytes, body_bytes, keep_alive: !closes && parsed.version == Some(1) }))
    }
}

/// Whether a connection that was kept is still there: nothing has come since the last answer, no end either.
fn is_open(stream: &TcpStream) -> bool {
    let pending = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_open = pending.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    is_open && stream.set_nonblocking(false).is_ok()
}

/// What a node says for a person, as far as it can be printed.
pub(super) fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}
