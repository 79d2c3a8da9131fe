//! What is asked over JSON-RPC, of a whole node on a short chain in memory: any text, and questions that are nearly
//! right.
//!
//! The first byte says whether the node may be changed. If it may, each input has a node of its own, which mines,
//! bans and is paid; if not, all of them ask the same one, which must not be moved by anything. Then come the
//! questions, in a grammar of their own ([`World::ask_something`]).
//!
//! Every answer is JSON and none tells of a bug. Ids come back as they were sent. A number is taken exactly or refused.
//! A batch is answered as its questions are one by one. Nothing changes without the cookie, and what was done counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};

use crossbeam_channel::{Sender, bounded};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use spindle::blockchain::transaction::Transaction;
use spindle::network::limits::RPC_BYTES;
use spindle::primitives::codec;
use spindle::rpc::http::counters::Counters;
use spindle::rpc::http::{Method, Request, Response, Status};
use spindle::rpc::service::{Service, catalogue};
use spindle::runtime::{Config, Daemon};

use super::bytes::Bytes;
use super::words::{VALUES, WORDS};
use super::{kit, machine, universe};

/// Questions of one input.
const QUESTIONS_MAX: usize = 16;

/// Answers that are the same as long as the chain is.
const STEADY: [&str; 13] = [
    "get_block_count",
    "on_get_block_hash",
    "get_last_block_header",
    "get_block_header_by_height",
    "getblockheaderbyheight",
    "get_block_header_by_hash",
    "get_block_headers_range",
    "get_block",
    "get_alternate_chains",
    "get_fee_estimate",
    "get_version",
    "hard_fork_info",
    "no_such_method",
];

/// Where a number is expected: a method, its parameters with `#` for the number, and the largest that its type holds.
const NUMBERS: [(&str, &str, u64); 9] = [
    ("get_block_header_by_height", r#"{"height":#}"#, u64::MAX),
    ("get_block_header_by_height", "[#]", u64::MAX),
    ("get_block", r#"{"height":#}"#, u64::MAX),
    ("on_get_block_hash", "[#]", u64::MAX),
    ("get_block_headers_range", r#"{"start_height":#,"end_height":12}"#, u64::MAX),
    ("disconnect", r#"{"peer":#,"address":"x"}"#, u64::MAX),
    ("set_bans", r#"{"bans":[{"host":"203.0.113.7","ban":true,"seconds":#}]}"#, u32::MAX as u64),
    ("generateblocks", r#"{"amount_of_blocks":#}"#, u32::MAX as u64),
    ("hard_fork_info", r#"{"version":#}"#, u32::MAX as u64),
];

/// What is left out where a question is made at random: it would mine without end, or dial whoever is named.
const NOT_AT_RANDOM: [&str; 3] = ["generateblocks", "/start_mining", "connect"];

/// A node, and what answers for it.
struct World {
    service: Service,
    daemon: Daemon,
    _running: Sender<Infallible>,
    /// Its tip's.
    height: u64,
    may_change: bool,
}

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    if bytes.byte() % 64 == 1 {
        World::new(true).ask_all(&mut bytes);
    } else {
        quiet().lock().expect("a panic ends everything").ask_all(&mut bytes);
    }
}

/// The node that nobody may change.
fn quiet() -> &'static Mutex<World> {
    static QUIET: OnceLock<Mutex<World>> = OnceLock::new();
    QUIET.get_or_init(|| {
        let world = World::new(false);
        assert_eq!(world.offer(0)["status"], json!("OK"), "something waits");
        Mutex::new(world)
    })
}

impl World {
    fn new(may_change: bool) -> Self {
        let mut config = Config::new(Arc::clone(kit::params()), "memory".into());
        config.bind.set_port(0);
        (config.seeds, config.payout) = (false, Some(kit::owner_key().into()));
        let disk = machine::disk_with(kit::chain().blocks.len());
        let daemon = Daemon::start_on(&config, || Ok(Arc::new(disk)), &mut |_| {}).expect("a node on memory");
        let (running, stopping) = bounded(0);
        let counters = Arc::new(Counters::default());
        let service = Service::new(daemon.handle().clone(), counters, stopping).expect("random bytes");
        let height = daemon.tip().header.height;
        Self { service, daemon, _running: running, height, may_change }
    }

    fn ask_all(&mut self, bytes: &mut Bytes<'_>) {
        for _ in 0..QUESTIONS_MAX {
            if bytes.is_empty() {
                break;
            }
            self.ask_something(bytes);
        }
        let count = self.result("get_block_count", "{}");
        assert_eq!(count["count"], json!(self.height + 1), "as many blocks as were made");
        assert_eq!(self.daemon.tip().header.height, self.height);
    }

    fn ask_something(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 8 {
            0 => {
                let length = usize::from(bytes.byte());
                drop(self.request(Method::Post, "/json_rpc", bytes.take(length), self.may_change));
            }
            1 => self.ask_a_path(bytes),
            2 | 3 => self.ask_a_method(bytes),
            4 => self.ask_a_number(bytes),
            5 => self.ask_a_batch(bytes),
            _ if self.may_change => self.change(bytes),
            _ => self.ask_to_change(bytes),
        }
    }

    /// A path with a body that may mean something to it.
    fn ask_a_path(&self, bytes: &mut Bytes<'_>) {
        const MORE: [&str; 10] = [
            "/",
            "/metrics",
            "/nothing",
            "/headers.bin",
            "/transactions.bin",
            "/submit_block.bin",
            "/pool.bin",
            "/blocks.bin",
            "/blocks.bin?count=3&last=",
            "/pool.bin?after=",
        ];
        let paths: Vec<&str> = names().filter(|name| name.starts_with('/')).chain(MORE).collect();
        let path = *bytes.pick(&paths).expect("there are some");
        if NOT_AT_RANDOM.contains(&path) {
            return;
        }
        let method = if bytes.byte().is_multiple_of(4) { Method::Get } else { Method::Post };
        let target = if path.ends_with('=') { format!("{path}{}", self.id(bytes)) } else { path.to_owned() };
        let is_raw = path.contains(".bin");
        let body = if is_raw { self.ids(bytes) } else { self.value(bytes, 0).into_bytes() };
        let response = self.request(method, &target, &body, self.may_change);
        if is_raw || response.status != Status::Ok || path == "/" || path == "/metrics" {
            return;
        }
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert!(answer["status"].is_string() || answer.get("height").is_some(), "{path}: {answer}");
    }

    /// A method with parameters that may be right.
    fn ask_a_method(&self, bytes: &mut Bytes<'_>) {
        let methods: Vec<&str> = names().filter(|name| !name.starts_with('/')).chain(["no_such_method"]).collect();
        let method = *bytes.pick(&methods).expect("there are some");
        if self.may_change && NOT_AT_RANDOM.contains(&method) {
            return;
        }
        let (id, params) = (Self::id_text(bytes), self.value(bytes, 0));
        let response = self.request(
            Method::Post,
            "/json_rpc",
            question(id.as_deref(), method, &params).as_bytes(),
            self.may_change,
        );
        // What is no value might make a question of another shape.
        if !is_value(&params) || id.as_ref().is_some_and(|id| !is_value(id)) {
            return;
        }
        match (response.status, id) {
            (Status::Unauthorised, _) => assert!(changes(method) && !self.may_change, "{method}"),
            (status, None) => assert_eq!(status, Status::NoContent, "{method} {params}"),
            (status, Some(id)) => {
                assert_eq!(status, Status::Ok, "{method} {params}");
                let answer = fields(&response);
                assert_eq!(answer["id"].get(), id.trim_matches([' ', '\t', '\r', '\n']), "the id as it was sent");
                assert!(answer.contains_key("result") != answer.contains_key("error"));
                assert!(method != "no_such_method" || answer["error"].get().contains("-32601"));
            }
        }
    }

    /// One number, in words of any kind: it is taken for what it is, or refused.
    fn ask_a_number(&mut self, bytes: &mut Bytes<'_>) {
        let (method, template, most) = *bytes.pick(&NUMBERS).expect("there are some");
        if changes(method) && !self.may_change {
            return;
        }
        let text = if bytes.flag() {
            (*bytes.pick(&VALUES).expect("there are some")).to_owned()
        } else {
            let length = bytes.below(25);
            String::from_utf8_lossy(bytes.take(length)).into_owned()
        };
        let number = text.trim_matches([' ', '\t', '\r', '\n']);
        // Where there need not be a number, null is none.
        if !is_value(&text) || number == "null" {
            return;
        }
        let exact = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok()).flatten();
        let exact = exact.filter(|exact| *exact <= most);
        if method == "generateblocks" && exact.is_some_and(|count| (5..=10_000).contains(&count)) {
            return;
        }
        let params = template.replace('#', &text);
        let answer = self.answer(method, &params);
        let code = answer["error"]["code"].as_i64();
        let Some(exact) = exact else {
            return assert_eq!(code, Some(-32602), "{method} {params}: {answer}");
        };
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        let result = &answer["result"];
        match method {
            "disconnect" => assert!(code == Some(-32000) && message.contains(&exact.to_string()), "{params}: {answer}"),
            "set_bans" => assert_eq!(code, (exact == 0).then_some(-1), "{params}: {answer}"),
            "hard_fork_info" => assert_eq!(code, (exact > 1).then_some(-1), "{params}: {answer}"),
            "generateblocks" if (1..5).contains(&exact) => {
                assert_eq!(result["blocks"].as_array().map(Vec::len), usize::try_from(exact).ok(), "{answer}");
                self.height += exact;
                assert_eq!(result["height"], json!(self.height));
            }
            "generateblocks" => assert_eq!(code, Some(-1), "{params}: {answer}"),
            // The range ends at a height that there is.
            "get_block_headers_range" if exact > 12 => assert_eq!(code, Some(-2), "{params}: {answer}"),
            _ if exact > self.height => {
                assert!(code == Some(-2) && message.contains(&exact.to_string()), "{method} {params}: {answer}");
            }
            "on_get_block_hash" => assert_eq!(*result, json!(self.id_at(exact))),
            _ => {
                let header =
                    if method == "get_block_headers_range" { &result["headers"][0] } else { &result["block_header"] };
                assert_eq!((&header["height"], &header["hash"]), (&json!(exact), &json!(self.id_at(exact))));
            }
        }
    }

    /// Questions whose answers do not change, together and one by one.
    fn ask_a_batch(&self, bytes: &mut Bytes<'_>) {
        let count = 1 + bytes.below(6);
        let mut questions = Vec::new();
        for _ in 0..count {
            let (id, params) = (Self::id_text(bytes), self.value(bytes, 1));
            let method = bytes.pick(&STEADY).expect("there are some");
            let whole = !bytes.byte().is_multiple_of(8);
            questions.push(if whole { question(id.as_deref(), method, &params) } else { params });
        }
        let batch = format!("[{}]", questions.join(","));
        // What is no value by itself may be two of them, or none, in a list.
        if !questions.iter().all(|question| is_value(question)) {
            drop(self.request(Method::Post, "/json_rpc", batch.as_bytes(), false));
            return;
        }
        let alone = questions.iter().filter(|question| !question.trim_start().starts_with('[')).map(|question| {
            let response = self.request(Method::Post, "/json_rpc", question.as_bytes(), false);
            String::from_utf8(response.body.into_owned()).expect("JSON is text")
        });
        let alone: Vec<String> = alone.filter(|answer| !answer.is_empty()).collect();
        let response = self.request(Method::Post, "/json_rpc", batch.as_bytes(), false);
        if questions.iter().any(|question| question.trim_start().starts_with('[')) {
            // Alone it would be a batch, and in one it is no question.
            return;
        }
        let expected = if alone.is_empty() { String::new() } else { format!("[{}]", alone.join(",")) };
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{batch}");
    }

    /// Whatever changes something, without the cookie.
    fn ask_to_change(&self, bytes: &mut Bytes<'_>) {
        let all: Vec<&str> = names().filter(|name| changes(name)).collect();
        let (method, params) = (*bytes.pick(&all).expect("there are some"), self.value(bytes, 0));
        let (path, body) = match method.strip_prefix('/') {
            Some(_) => (method, params.clone()),
            None => ("/json_rpc", question(Some("1"), method, &params)),
        };
        let response = self.request(Method::Post, path, body.as_bytes(), false);
        assert!(response.status == Status::Unauthorised || !is_value(&params), "{method} {params}");
    }

    /// Something that changes the node, with the cookie.
    fn change(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 4 {
            0 | 1 => self.submit(bytes),
            2 => {
                let place = bytes.below(8);
                self.offer(place);
            }
            _ => {
                const ADDRESSES: [&str; 5] = ["127.0.0.1:1", "127.0.0.1", "[::1]:1", "", ":1"];
                let address = bytes.pick(&ADDRESSES).expect("there are some");
                self.answer("connect", &json!({ "address": address }).to_string());
            }
        }
    }

    /// A template, with a nonce and perhaps a fault, as a block that somebody has found.
    fn submit(&mut self, bytes: &mut Bytes<'_>) {
        let key = json!({ "wallet_address": kit::owner_key().to_string() }).to_string();
        let template = self.answer("get_block_template", &key);
        let template = &template["result"];
        let mut blob = hex::decode(template["blocktemplate_blob"].as_str().expect("hex")).expect("hex");
        assert_eq!(template["height"], json!(self.height + 1));
        blob[92] = bytes.byte();
        let is_whole = !bytes.flag();
        if !is_whole {
            let place = bytes.below(blob.len());
            blob[place] ^= bytes.byte();
            blob.truncate(blob.len() - bytes.below(40).min(blob.len()));
        }
        let response = self.request(Method::Post, "/submit_block.bin", &blob, self.may_change);
        if is_whole {
            assert_eq!(response.status, Status::Ok, "{response:?}");
        }
        if response.status == Status::Ok {
            self.height += 1;
            assert_eq!(response.body, self.daemon.tip().id.0.as_slice());
        }
    }

    /// A payment that the owner of the coins has signed.
    fn offer(&self, place: usize) -> Value {
        let coins = &kit::chain().coins;
        let coin = coins[place % coins.len()];
        let payment: Transaction = kit::transfer(&[coin], &[coin.amount - 100_000], true);
        let params = json!({ "tx_as_hex": hex::encode(codec::encode(&payment)) }).to_string();
        let response = self.request(Method::Post, "/sendrawtransaction", params.as_bytes(), false);
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert!(answer["status"] == json!("OK") || answer["reason"].is_string(), "{answer}");
        answer
    }

    // --- how it is asked ---

    fn request(&self, method: Method, target: &str, body: &[u8], may_change: bool) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let content_type = "application/json";
        let request = Request { method, path, query, content_type, body, is_loopback: true, may_change };
        let response = self.service.answer(&request);
        let shown = String::from_utf8_lossy(body);
        assert_ne!(response.status, Status::InternalError, "{target} {shown}: {response:?}");
        assert!(response.body.len() <= RPC_BYTES, "{target} {shown}");
        if response.content_type == "application/json" {
            let text = std::str::from_utf8(&response.body).expect("JSON is UTF-8");
            assert!(is_value(text), "{target} {shown}: {text}");
            assert!(!text.contains(r#""code":-32603"#), "{target} {shown}: {text}");
        }
        response
    }

    /// The answer to a question of ours.
    fn answer(&self, method: &str, params: &str) -> Value {
        let text = question(Some("7"), method, params);
        let response = self.request(Method::Post, "/json_rpc", text.as_bytes(), self.may_change);
        assert_eq!(response.status, Status::Ok, "{text}");
        serde_json::from_slice(&response.body).expect("JSON whose numbers are ours")
    }

    fn result(&self, method: &str, params: &str) -> Value {
        let mut answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    fn id_at(&self, height: u64) -> String {
        let reader = self.daemon.reader();
        reader.meta(reader.record_at(height).expect("it is there")).expect("memory").id.to_string()
    }

    // --- what is asked ---

    /// The text of an id, or none.
    fn id_text(bytes: &mut Bytes<'_>) -> Option<String> {
        match bytes.byte() % 8 {
            0 => None,
            1 => {
                let length = bytes.below(16);
                Some(String::from_utf8_lossy(bytes.take(length)).into_owned())
            }
            2..=4 => bytes.pick(&VALUES).map(|value| (*value).to_owned()),
            _ => Some("1".into()),
        }
    }

    /// A value, mostly of JSON.
    fn value(&self, bytes: &mut Bytes<'_>, depth: usize) -> String {
        match bytes.byte() % if depth < 4 { 10 } else { 6 } {
            0 => format!("\"{}\"", self.id(bytes)),
            1 => {
                let length = bytes.below(24);
                String::from_utf8_lossy(bytes.take(length)).into_owned()
            }
            2 => {
                let transfers = &universe::universe().transactions;
                format!("\"{}\"", hex::encode(bytes.pick(transfers).expect("there are some").bytes()))
            }
            3..=5 => (*bytes.pick(&VALUES).expect("there are some")).to_owned(),
            6 => {
                let count = bytes.below(4);
                let items: Vec<String> = (0..count).map(|_| self.value(bytes, depth + 1)).collect();
                format!("[{}]", items.join(","))
            }
            _ => {
                let count = bytes.below(4);
                let fields = (0..count).map(|_| {
                    let word = bytes.pick(&WORDS).expect("there are some");
                    format!("\"{word}\":{}", self.value(bytes, depth + 1))
                });
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The id of a block, of a transaction, or of nothing.
    fn id(&self, bytes: &mut Bytes<'_>) -> String {
        let chain = kit::chain();
        match bytes.byte() % 4 {
            0 => self.id_at(bytes.below(13) as u64),
            1 => chain.decoded[bytes.below(12)].coinbase.id().to_string(),
            2 => {
                let transfers: Vec<_> = chain.decoded.iter().flat_map(|block| block.transfers.iter()).collect();
                bytes.pick(&transfers).expect("there are some").id().to_string()
            }
            _ => hex::encode(bytes.array::<32>()),
        }
    }

    /// Ids as bytes, perhaps a little too long.
    fn ids(&self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let count = bytes.below(5);
        let mut body: Vec<u8> = (0..count).flat_map(|_| hex::decode(self.id(bytes)).expect("hex")).collect();
        let more = bytes.byte() % 16;
        if more < 3 {
            body.extend_from_slice(bytes.take(usize::from(more)));
        }
        body
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    catalogue().flat_map(|(names, _, _)| names.iter().copied())
}

fn changes(name: &str) -> bool {
    catalogue().any(|(names, changes, _)| changes && names.contains(&name))
}

fn question(id: Option<&str>, method: &str, params: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!("\"id\":{id},"));
    format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{params}}}"#)
}

/// Whether a text is one value of JSON.
fn is_value(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// What an object holds, as it stands.
fn fields(response: &Response) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_slice(&response.body).expect("an object")
}
