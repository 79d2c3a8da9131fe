//! What a node tells and takes over HTTP: one function from a request to its answer.
//!
//! [`Service::answer`] is all that the server calls, on any of its threads. What is asked often comes from the
//! node's board and from the chain's read side and costs the owner nothing; the rest are short looks and orders,
//! which it takes in turn with its peers.
//!
//! **Nothing is told that a power cut could take back**: the chain that is shown here ends at the last durable block
//! ([`chain`](super::chain)).
//!
//! Answers are bounded. Up to [`ANSWER_BYTES`] each connection may have one in memory. What could be that large, or
//! takes a whole block to make, is made by one at a time, who holds [`Service::making`]; the others wait a moment and
//! are then told that the node is busy. A block that is submitted takes part in that until it is checked, and keeps only
//! others who submit waiting until it is durable. Of answers that are larger still there is one ([`Service::hold_large`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, select, tick};
use parking_lot::{Mutex, MutexGuard};

use crate::blockchain::params::BLOCK_BYTES_MAX;
use crate::network::limits::{CHECKED_BYTES, RPC_BYTES};
use crate::node::orders::{Answer, Order};
use crate::rpc::binary;
use crate::rpc::call::{Call, Method};
use crate::rpc::chain::Chain;
use crate::rpc::envelope::{self, text_of};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::http::counters::Counters;
use crate::rpc::http::parse::{BODY_BYTES_MAX, LARGE_BODY_BYTES_MAX};
use crate::rpc::http::server::{self, CONNECTIONS_MAX};
use crate::rpc::http::{Handler, IsWanted, Method as Verb, Request, Response, Status};
use crate::rpc::methods::mining::Packed;
use crate::rpc::methods::transactions::TXS_BYTES;
use crate::rpc::methods::{METHODS, PATHS};
use crate::rpc::metrics;
use crate::rpc::page;
use crate::runtime::handle::{Handle, HandleError};

/// An answer that nobody has to wait for.
pub(super) const ANSWER_BYTES: usize = 1 << 20;
/// One that is larger goes out within this, or its connection ends: 5 s for each mebibyte that is begun, and one more.
const LARGE_LIMIT: Duration = Duration::from_secs(16);
/// What is at hand while a large answer is made: the largest block as bytes and taken apart, another in the buffer.
const MAKING_BYTES: usize = 4 * BLOCK_BYTES_MAX;
/// While a block that was submitted is with the owner: the block, and what its request had more than others. Its answer
/// is small, so that it takes the place of one.
const SUBMITTING_BYTES: usize = CHECKED_BYTES + (LARGE_BODY_BYTES_MAX - BODY_BYTES_MAX);
const _: () = assert!(SUBMITTING_BYTES >= ANSWER_BYTES, "the greater of the two is counted");
const _: () = assert!(
    server::SUM_BYTES
        + (CONNECTIONS_MAX - 1) * ANSWER_BYTES
        + SUBMITTING_BYTES
        + (TXS_BYTES - ANSWER_BYTES)
        + MAKING_BYTES
        <= RPC_BYTES,
    "whatever clients ask, it is what limits.rs counts"
);
const _: () = assert!(BLOCK_BYTES_MAX <= LARGE_BODY_BYTES_MAX, "the largest block can be submitted");
/// Where a block may come, which is larger than anything else that is asked.
const LARGE_PATHS: [&str; 2] = ["/json_rpc", "/submit_block.bin"];
/// For whoever makes a large answer before: each takes some ten milliseconds.
const MAKING_LIMIT: Duration = Duration::from_secs(2);
/// Whoever waits for an order looks so often whether its client is still there.
const LOOK: Duration = Duration::from_millis(500);
/// Orders whose end may be far that are waited for at a time: each keeps a connection.
const WAITS_MAX: usize = 3;

/// A turn at making a large answer, with a buffer for blocks.
pub(super) type Making<'a> = MutexGuard<'a, Vec<u8>>;

/// See the top of the file.
pub struct Service {
    handle: Handle,
    counters: Arc<Counters>,
    /// Breaks when the server is about to stop: no order is waited for any longer.
    stopping: Receiver<Infallible>,
    /// What blocks for an address of others' wallets are derived with, in this process.
    pub(super) node_secret: [u8; 32],
    /// For what needs a whole block in memory; blocks are read into it.
    making: Mutex<Vec<u8>>,
    /// For a block that is submitted, until it is durable.
    submitting: Mutex<()>,
    /// Whose answer is larger than others', and when it is gone at the latest.
    large: Mutex<Option<(ThreadId, Instant)>>,
    waits: AtomicUsize,
    /// A height that was durable a while ago: where the search for the last one begins.
    pub(super) durable_from: AtomicU64,
    /// What the pool has for a block.
    pub(super) packed: Mutex<Option<Packed>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// For this node. `stopping` breaks before the server stops. An error: the system has no random bytes.
    pub fn new(
        handle: Handle,
        counters: Arc<Counters>,
        stopping: Receiver<Infallible>,
    ) -> Result<Self, getrandom::Error> {
        let mut node_secret = [0; 32];
        getrandom::fill(&mut node_secret)?;
        Ok(Self {
            handle,
            counters,
            stopping,
            node_secret,
            making: Mutex::default(),
            submitting: Mutex::default(),
            large: Mutex::default(),
            waits: AtomicUsize::new(0),
            durable_from: AtomicU64::new(0),
            packed: Mutex::default(),
        })
    }

    /// The answer to a request that may read, for somebody who waits for it however long it takes.
    pub fn answer(&self, request: &Request<'_>) -> Response {
        self.answer_while(request, &|| true)
    }

    fn answer_while(&self, request: &Request<'_>, is_wanted: IsWanted<'_>) -> Response {
        match request.path {
            "/json_rpc" => envelope::answer(self, request, is_wanted),
            "/" => only_get(request).unwrap_or_else(page::answer),
            "/metrics" => only_get(request).unwrap_or_else(|| metrics::answer(self)),
            path => match Method::find(PATHS, path) {
                Some(method) => self.answer_path(method, request, is_wanted),
                None => binary::answer(self, request).unwrap_or_else(Response::not_found),
            },
        }
    }

    /// The node.
    pub(super) fn node(&self) -> &Handle {
        &self.handle
    }

    /// The server's own figures.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The chain as far as it may be told.
    pub(super) fn chain(&self) -> Chain<'_> {
        Chain::new(self)
    }

    /// For whoever makes a large answer: one at a time. Gives a buffer for blocks.
    pub(super) fn making(&self) -> Result<Making<'_>, Fault> {
        let turn = self.making.try_lock_for(MAKING_LIMIT);
        turn.ok_or_else(|| Fault::new(Code::Busy, "the node is busy with other large answers; ask again in a moment"))
    }

    /// For whoever submits a block: one at a time, and nobody who only reads waits for it.
    pub(super) fn submitting(&self) -> Result<MutexGuard<'_, ()>, Fault> {
        let turn = self.submitting.try_lock_for(MAKING_LIMIT);
        turn.ok_or_else(|| Fault::new(Code::Busy, "another block is being taken; submit yours again in a moment"))
    }

    /// For an answer of more than [`ANSWER_BYTES`]: there is one at a time, which goes when its thread answers again,
    /// when there is no other connection than this one, or when its time is over.
    pub(super) fn hold_large(&self) -> Result<(), Fault> {
        let (mut large, ours, now) = (self.large.lock(), std::thread::current().id(), Instant::now());
        let is_other = |(holder, until): &(ThreadId, Instant)| *holder != ours && now < *until;
        if large.as_ref().is_some_and(is_other) && self.counters.connections() > 1 {
            let message =
                "another client is being sent an answer as large as this one; ask for less, or again in a while";
            return Err(Fault::new(Code::Busy, message));
        }
        *large = Some((ours, now + LARGE_LIMIT));
        Ok(())
    }

    /// Gives an order and waits for what becomes of it; not longer than until the server stops, or nobody wants to
    /// know any more. An order that is not waited for is withdrawn.
    pub(super) fn order(&self, order: Order, limit: Duration, is_wanted: IsWanted<'_>) -> Result<Answer, Fault> {
        let until = Instant::now() + limit;
        let waiting = self.node().give(order, limit)?;
        let (late, looks) = (after(until.saturating_duration_since(Instant::now())), tick(LOOK));
        loop {
            select! {
                recv(waiting.answer()) -> answer => return answer.map_err(|_| HandleError::Stopping.into()),
                recv(self.stopping) -> _ => return Err(HandleError::Stopping.into()),
                recv(late) -> _ => return Err(HandleError::Late { limit_ms: limit.as_millis() }.into()),
                recv(looks) -> _ => if !is_wanted() {
                    return Err(Fault::new(Code::Refused, "whoever asked has gone"));
                },
            }
        }
    }

    /// The same for an order that says no more than whether it was followed.
    pub(super) fn have_done(&self, order: Order, limit: Duration) -> Result<(), Fault> {
        match self.order(order, limit, &|| true)? {
            Answer::Done(done) => done.map_err(|why| Fault::new(Code::Refused, why)),
            Answer::Blocks(_) => Err(Fault::mixed_up()),
        }
    }

    /// A place for whoever waits for something that may take minutes.
    pub(super) fn long_wait(&self) -> Result<LongWait<'_>, Fault> {
        let taken = self
            .waits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waits| (waits < WAITS_MAX).then_some(waits + 1));
        let full = format!("{WAITS_MAX} clients wait for blocks already; ask again when they are done");
        taken.map(|_| LongWait(&self.waits)).map_err(|_| Fault::new(Code::Busy, full))
    }

    /// A path that stands for a method: its parameters are the body.
    fn answer_path(&self, method: &'static Method, request: &Request<'_>, is_wanted: IsWanted<'_>) -> Response {
        if method.changes && request.method != Verb::Post {
            return Response::method_not_allowed("POST");
        }
        if let Some(refused) = needs_cookie(method, request) {
            return refused;
        }
        let mut out = Vec::with_capacity(2 << 10);
        let answered = text_of(request.body).and_then(|text| {
            // Clients send no body at all where there are no parameters.
            let params = Some(text).filter(|text| !text.trim().is_empty());
            (method.answer)(Call { service: self, method, params, is_wanted, out: &mut out })
        });
        answered.map_or_else(|fault| failed(&fault), |()| Response::json(out))
    }
}

impl Handler for Service {
    fn answer(&self, request: &Request<'_>, is_wanted: IsWanted<'_>) -> Response {
        self.answer_while(request, is_wanted)
    }

    fn large_paths(&self) -> &'static [&'static str] {
        &LARGE_PATHS
    }
}

/// The place of [`Service::long_wait`].
pub(super) struct LongWait<'a>(&'a AtomicUsize);

impl Drop for LongWait<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One row for each thing that can be asked: its names, whether it changes something, and what it takes.
pub fn catalogue() -> impl Iterator<Item = (&'static [&'static str], bool, &'static str)> {
    METHODS.iter().chain(PATHS).map(|method| (method.names, method.changes, method.takes))
}

/// The answer of a path that has none.
pub(super) fn failed(fault: &Fault) -> Response {
    let body = serde_json::json!({ "status": fault.message, "error": fault.sent() });
    let response = Response::new(fault.code.status(), "application/json", body.to_string().into_bytes());
    if response.status == Status::ServiceUnavailable { response.with("Retry-After", "1") } else { response }
}

/// The answer to whoever wants something changed and has not shown the cookie.
pub(super) fn needs_cookie(method: &Method, request: &Request<'_>) -> Option<Response> {
    (method.changes && !request.may_change).then(|| {
        Response::unauthorised(format!(
            "`{}` changes the node, which takes its cookie: the text in `rpc.cookie` in its data directory, as \
             `Authorization: Bearer` or as the password of the user `spindle`, and no web page may send it",
            method.names[0]
        ))
    })
}

/// The refusal of whoever does not just look.
pub(super) fn only_get(request: &Request<'_>) -> Option<Response> {
    (request.method != Verb::Get).then(|| Response::method_not_allowed("GET, HEAD"))
}
