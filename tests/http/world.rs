//! A server with a small handler, and a client that says what it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use spindle::rpc::cookie::Cookie;
use spindle::rpc::http::counters::Counters;
use spindle::rpc::http::{Config, Handler, Limits, Method, Request, Response, Server, Status};

/// Far beyond anything that is right: a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing ends by itself within a test.
pub(crate) const LONG: Limits = Limits {
    read_ms: 60_000,
    idle_ms: 60_000,
    moment_ms: 60_000,
    trial_ms: 60_000,
    trial_moment_ms: 60_000,
    write_ms: 60_000,
    linger_ms: 60_000,
};

/// A running server.
pub(crate) struct World {
    /// One message lets one request to `/wait` go. Dropped first: all of them go, and the server can stop.
    pub(crate) release: Sender<()>,
    pub(crate) server: Option<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) cookie: Cookie,
    pub(crate) counters: Arc<Counters>,
    /// One message for each of those requests that has come in.
    pub(crate) waiting: Receiver<()>,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        let ((came, waiting), (release, released)) = (unbounded(), unbounded());
        let handler = Arc::new(move |request: &Request<'_>| answer(request, &came, &released));
        Self { release, waiting, ..Self::with(limits, handler) }
    }

    /// One that answers as this handler does.
    pub(crate) fn with(limits: Limits, handler: Arc<dyn Handler>) -> Self {
        let cookie = Cookie::random().expect("random bytes");
        let counters = Arc::new(Counters::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let names = Vec::new();
        let config = Config { listener, cookie: cookie.clone(), names, counters: Arc::clone(&counters), limits };
        let server = Server::start(config, handler).expect("threads");
        let address = server.address();
        let (release, waiting) = (unbounded().0, unbounded().1);
        Self { release, server: Some(server), address, cookie, counters, waiting }
    }

    /// Connects without a word.
    pub(crate) fn connect(&self) -> Raw {
        self.connect_if_open().expect("it listens")
    }

    /// The same with a server that may have ended.
    pub(crate) fn connect_if_open(&self) -> Option<Raw> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let login = format!("Authorization: Bearer {}\r\n", self.cookie.hex());
        Some(Raw { stream, host: self.address.to_string(), login })
    }

    /// A request that is in the handler's hands until it is released.
    pub(crate) fn busy(&self, fields: &str) -> Raw {
        let mut raw = self.connect();
        raw.ask("GET", "/wait", fields, b"");
        self.waiting.recv_timeout(PATIENCE).expect("it comes to the handler");
        raw
    }

    /// How many answers had this status.
    pub(crate) fn answers(&self, status: Status) -> u64 {
        self.counters.responses().find(|(of, _)| *of == status).map_or(0, |(_, count)| count)
    }

    /// Stops it; fails if that does not come to an end.
    pub(crate) fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        let (done, is_done) = bounded(1);
        let thread = std::thread::spawn(move || {
            server.stop();
            done.send(()).expect("the test waits");
        });
        is_done.recv_timeout(PATIENCE).expect("it stops whatever clients do");
        thread.join().expect("it did not panic");
    }
}

/// What the tests ask for.
fn answer(request: &Request<'_>, came: &Sender<()>, released: &Receiver<()>) -> Response {
    match (request.method, request.path) {
        (Method::Get, "/") => Response::text(Status::Ok, "hello").with("X-Test", "yes"),
        (Method::Post, "/echo") => Response::json(request.body.to_vec()),
        (Method::Get, "/echo") => Response::text(Status::Ok, request.query),
        (_, "/") => Response::method_not_allowed("GET, HEAD"),
        (Method::Post, "/change") if request.may_change => Response::text(Status::Ok, "changed"),
        (Method::Post, "/change") => Response::unauthorised("this needs the cookie"),
        (Method::Get, "/nothing") => Response::new(Status::NoContent, "text/plain", Vec::new()),
        (Method::Get, "/large") => {
            let bytes = request.query.parse().expect("the test says how many");
            Response::new(Status::Ok, "application/octet-stream", vec![b'x'; bytes])
        }
        (Method::Get, "/wait") => {
            came.send(()).expect("the world outlives its server");
            // Gone if the test is over.
            let _ = released.recv();
            Response::text(Status::Ok, "waited")
        }
        (Method::Get, "/panic") => panic!("on purpose"),
        _ => Response::not_found(),
    }
}

/// A client that says what it likes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    host: String,
    /// The field that shows the cookie.
    pub(crate) login: String,
}

/// An answer, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line == field)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Raw {
    /// Writes; a server that has closed is no fault of a test.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// A request with Host, these fields, and this body.
    pub(crate) fn request(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
        let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n", self.host);
        [head.as_bytes(), body].concat()
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) {
        let request = self.request(method, target, fields, body);
        self.say(request);
    }

    /// Asks for a path and gives the answer.
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "", b"");
        self.answer().expect("an answer")
    }

    /// The next answer; `None` if the connection ends before one begins.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let head = self.head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
        self.stream.read_exact(&mut body).expect("all of the body");
        let status = head[9..12].parse().expect("a status");
        Some(Answer { status, head, body })
    }

    /// The same where no body follows, whatever the head says.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) if head.is_empty() => return None,
                Err(error) if head.is_empty() && error.kind() == ErrorKind::ConnectionReset => return None,
                other => panic!("{other:?} within a head: {}", String::from_utf8_lossy(&head)),
            }
        }
        Some(String::from_utf8(head).expect("text"))
    }

    /// Waits until the server has closed; nothing else may come.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.head().is_none()
    }

    /// Whether nothing has come and nothing has ended, now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let pending = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        pending.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }
}

/// Asks again and again until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}
