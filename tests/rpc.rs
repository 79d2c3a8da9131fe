//! A whole node, asked and steered as its clients do it: in this process by the function that answers, and as a process
//! over HTTP.

mod common;
#[path = "rpc/numbers.rs"]
mod numbers;
#[path = "rpc/siege.rs"]
mod siege;
#[path = "rpc/told.rs"]
mod told;
#[path = "fuzz/targets/words.rs"]
mod words;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::process::{Process, free_port, spindle};
use common::{pay, secret};
use crossbeam_channel::{Sender, bounded};
use serde_json::{Value, json};
use spindle::blockchain::block::{Block, HEADER_BYTES};
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::transaction::{Input, Outpoint, Transaction};
use spindle::node::orders::{Answer, Order};
use spindle::primitives::codec;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES as FRAME_BYTES};
use spindle::primitives::hash::Hash;
use spindle::primitives::rng::Rng;
use spindle::rpc::client::{Client, ClientError};
use spindle::rpc::cookie::Cookie;
use spindle::rpc::http::counters::Counters;
use spindle::rpc::http::{Method, Request, Response, Status};
use spindle::rpc::service::{Service, catalogue};
use spindle::runtime::{Config, Daemon};
use words::{VALUES, WORDS};

const PAGE: &str = include_str!("../src/rpc/rpc.md");
/// Far beyond anything that is right.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node in this process, and what answers for it.
struct Node {
    daemon: Daemon,
    service: Service,
    disk: MemoryDisk,
    running: Option<Sender<Infallible>>,
}

impl Node {
    /// Regtest on memory; its blocks pay key 0.
    fn new(blocks: u32) -> Self {
        let disk = MemoryDisk::default();
        Self::on(disk.clone(), Arc::new(disk), blocks)
    }

    /// The same on a disk that keeps what it is given in memory in the end.
    fn on(memory: MemoryDisk, disk: Arc<dyn Disk>, blocks: u32) -> Self {
        let mut config = Config::new(Arc::new(Params::regtest()), "memory".into());
        config.bind.set_port(0);
        config.payout = Some(secret(0).public().into());
        let daemon = Daemon::start_on(&config, || Ok(disk), &mut |_| {}).expect("a daemon");
        let (running, stopping) = bounded(0);
        let service = Service::new(daemon.handle().clone(), Arc::new(Counters::default()), stopping).expect("chance");
        let node = Self { daemon, service, disk: memory, running: Some(running) };
        if blocks > 0 {
            node.generate(blocks);
        }
        node
    }

    fn generate(&self, count: u32) {
        let order = Order::Generate { count, payout: None };
        let answer = self.daemon.handle().order(order, PATIENCE).expect("it runs");
        assert!(matches!(answer, Answer::Blocks(Ok(_))), "{answer:?}");
    }

    fn request(&self, method: Method, target: &str, body: &[u8], may_change: bool) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let content_type = "application/json";
        self.service.answer(&Request { method, path, query, content_type, body, is_loopback: true, may_change })
    }

    /// What `/json_rpc` answers to a text.
    fn say(&self, text: &str) -> (Status, Value) {
        let response = self.request(Method::Post, "/json_rpc", text.as_bytes(), true);
        let value = if response.body.is_empty() { Value::Null } else { parsed(&response) };
        (response.status, value)
    }

    /// The result of a method.
    fn call(&self, method: &str, params: &Value) -> Value {
        let (status, mut answer) =
            self.say(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string());
        assert_eq!((status, &answer["id"]), (Status::Ok, &json!(7)), "{method}: {answer}");
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// The code and message of a method that fails.
    fn fails(&self, method: &str, params: &str) -> (i64, String) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        let (status, answer) = self.say(&text);
        assert_eq!(status, Status::Ok, "{answer}");
        let error = &answer["error"];
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{method} {params}: {answer}"));
        (error["code"].as_i64().expect("a number"), message.to_owned())
    }

    fn path(&self, path: &str, params: &Value) -> Value {
        let response = self.request(Method::Post, path, params.to_string().as_bytes(), true);
        assert_eq!(response.status, Status::Ok, "{path}: {response:?}");
        parsed(&response)
    }

    /// The coinbase of a block, as an input; key 0 signs.
    fn coin(&self, height: u64) -> common::Coin {
        let reader = self.daemon.reader();
        let block: Block =
            codec::decode(&reader.block(reader.record_at(height).expect("there")).expect("memory")).expect("a block");
        let outpoint = Outpoint { transaction: block.coinbase.id(), index: 0 };
        let output = block.coinbase.output;
        let matures_at = height + Params::regtest().spec().maturity;
        common::Coin { input: Input { outpoint, amount: output.amount, key: output.key, matures_at }, owner: 0 }
    }

    /// A payment out of the coinbase at a height, with a generous fee.
    fn payment(&self, height: u64) -> Transaction {
        let coin = self.coin(height);
        pay(&Params::regtest(), &[coin], &[coin.input.amount / 2, coin.input.amount / 4])
    }

    fn offer(&self, transaction: &Transaction) -> Value {
        self.path("/sendrawtransaction", &json!({ "tx_as_hex": hex::encode(codec::encode(transaction)) }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running = None;
    }
}

fn parsed(response: &Response) -> Value {
    assert_eq!(response.content_type, "application/json");
    serde_json::from_slice(&response.body).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&response.body));
    })
}

fn hash(value: &Value) -> Hash {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no hash"))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

// --- the envelope ---

/// Goal: ids of any kind come back as they were sent, and who sends none hears nothing. Method: ids of every kind of
/// JSON, numbers among them that no other type would keep.
#[test]
fn ids_come_back_as_they_were_sent() {
    let node = Node::new(0);
    let ids =
        ["0", "-1", "1e400", "18446744073709551617", "0.10", "\"a\\u00e9\"", "null", "true", "[1, 2]", "{\"a\":1}"];
    for id in ids {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"get_block_count"}}"#);
        let response = node.request(Method::Post, "/json_rpc", text.as_bytes(), false);
        let begin = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"count":1,"#);
        let body = String::from_utf8(response.body.into_owned()).expect("text");
        assert!(body.starts_with(&begin), "{id}: {body}");
    }
    for silent in [
        r#"{"jsonrpc":"2.0","method":"get_block_count"}"#,
        r#"{"jsonrpc":"2.0","method":"no_such_thing"}"#,
        r#"[{"jsonrpc":"2.0","method":"get_info"},{"jsonrpc":"2.0","method":"get_info"}]"#,
    ] {
        assert_eq!(node.say(silent), (Status::NoContent, Value::Null), "{silent}");
    }
}

/// Goal: what is wrong with a message is told by JSON-RPC's numbers, fast and with 400 where it is no message at all.
/// Method: one of each kind, a hundred thousand brackets among them.
#[test]
fn wrong_messages_are_told_apart() {
    let node = Node::new(0);
    let deep =
        ["[".repeat(100_000), "{\"a\":".repeat(50_000), format!("{{\"id\":{}1{}}}", "[".repeat(99), "]".repeat(99))];
    let many = format!("[{}1]", "1,".repeat(64));
    let bad = [
        ("", -32700),
        ("{", -32700),
        ("nonsense", -32700),
        ("{\"method\":\"get_info\",\"id\":NaN}", -32700),
        ("{\"method\":\"get_info\",\"id\":1}x", -32700),
        ("{\"method\":\"get\u{0}info\",\"id\":1}", -32700),
        (&deep[0], -32700),
        (&deep[1], -32700),
        (&deep[2], -32700),
        ("1", -32600),
        ("{}", -32600),
        ("[]", -32600),
        (&many, -32600),
        ("{\"method\":7,\"id\":1}", -32600),
        ("{\"method\":\"get_info\",\"method\":\"get_info\",\"id\":1}", -32600),
        ("{\"jsonrpc\":\"1.0\",\"method\":\"get_info\",\"id\":1}", -32600),
    ];
    for (text, code) in bad {
        let (status, answer) = node.say(text);
        assert_eq!(
            (status, answer["error"]["code"].as_i64()),
            (Status::BadRequest, Some(code)),
            "{text:.60}: {answer}"
        );
    }
    let no_text = node.request(Method::Post, "/json_rpc", &[b'"', 0xff, b'"'], true);
    assert_eq!(parsed(&no_text)["error"]["code"], json!(-32700));
    assert_eq!(node.fails("no_such_thing", "{}").0, -32601);
    assert_eq!(node.fails("get_block_header_by_height", "{}").0, -32602);
    assert_eq!(node.request(Method::Get, "/json_rpc", b"", true).status, Status::MethodNotAllowed);
}

/// Goal: a batch is answered question by question, in order, up to its limits. Method: good, bad and silent ones
/// together; then one whose answers are large.
#[test]
fn a_batch_is_answered_in_order() {
    let node = Node::new(3);
    let (status, answers) = node.say(
        r#"[{"id":1,"method":"get_block_count"}, 5, {"method":"get_info"}, {"id":"x","method":"nothing"},
            {"id":2,"method":"on_get_block_hash","params":[0]}]"#,
    );
    let answers = answers.as_array().expect("a list");
    assert_eq!((status, answers.len()), (Status::Ok, 4));
    assert_eq!((&answers[0]["id"], &answers[0]["result"]["count"]), (&json!(1), &json!(4)));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(null), &json!(-32600)));
    assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&json!("x"), &json!(-32601)));
    assert_eq!(hash(&answers[3]["result"]), Params::regtest().genesis_id());

    node.generate(500);
    let large = json!({ "id": 1, "method": "get_block_headers_range", "params": [0, 499] });
    let (_, answers) = node.say(&json!([large, large, large]).to_string());
    let errors: Vec<_> = answers.as_array().expect("a list").iter().map(|answer| &answer["error"]["code"]).collect();
    assert_eq!(errors, [&json!(null), &json!(-19), &json!(-19)], "the others can be asked again");
}

/// Goal: numbers are exact or refused. Method: every way to write a number that is none of ours, as a height; and
/// 2^53 + 1, which a double does not hold, as one that is merely too high.
#[test]
fn numbers_are_exact_or_refused() {
    let node = Node::new(1);
    for number in ["1e400", "-0", "1.0", "1e0", "-1", "18446744073709551616", "\"1\"", "true", "null", "[1]", "0.5"] {
        let (code, message) = node.fails("get_block_header_by_height", &format!("{{\"height\":{number}}}"));
        assert_eq!(code, -32602, "{number}: {message}");
        assert!(message.contains("get_block_header_by_height") && message.contains("height (a number)"), "{message}");
    }
    for number in ["NaN", "Infinity", "+1", "01", "0x1", "1_0", "."] {
        let text = format!(r#"{{"id":1,"method":"get_block_header_by_height","params":{{"height":{number}}}}}"#);
        assert_eq!(node.say(&text).0, Status::BadRequest, "{number}");
    }
    for exact in ["9007199254740993", "18446744073709551615"] {
        let (code, message) = node.fails("get_block_header_by_height", &format!("[{exact}]"));
        assert!(code == -2 && message.contains(exact), "{message}");
    }
    let unknown = r#"{"height":1,"more":{"x":[1e400,null]},"height_":-0}"#;
    let text = format!(r#"{{"id":1,"method":"get_block_header_by_height","params":{unknown}}}"#);
    assert_eq!(node.say(&text).1["result"]["block_header"]["height"], json!(1), "what we do not know is passed over");
}

// --- who may ---

/// Goal: whatever changes something takes the cookie, alone and in a batch, and nothing is done without it. Method:
/// every row of the tables; then a batch that reads and changes.
#[test]
fn a_change_without_the_cookie_is_401() {
    let node = Node::new(1);
    let (mut changing, before) = (0, node.daemon.tip().id);
    for (names, changes, _) in catalogue() {
        for name in names {
            let (path, body) = match name.strip_prefix('/') {
                Some(_) => (*name, "{}".to_owned()),
                None => ("/json_rpc", format!(r#"{{"id":1,"method":"{name}","params":{{}}}}"#)),
            };
            let response = node.request(Method::Post, path, body.as_bytes(), false);
            assert_eq!(response.status == Status::Unauthorised, changes, "{name}: {response:?}");
            changing += usize::from(changes);
        }
    }
    assert!(changing >= 9, "{changing}");
    let batch = r#"[{"id":1,"method":"get_info"},{"id":2,"method":"generateblocks","params":[1]}]"#;
    let response = node.request(Method::Post, "/json_rpc", batch.as_bytes(), false);
    assert_eq!(response.status, Status::Unauthorised);
    assert!(response.headers.iter().any(|(name, _)| *name == "WWW-Authenticate"));
    assert_eq!(node.daemon.tip().id, before);
    for path in ["/stop_daemon", "/start_mining"] {
        assert_eq!(node.request(Method::Get, path, b"", true).status, Status::MethodNotAllowed, "{path}");
    }
}

/// Goal: the page and the program say the same. Method: each row of the tables stands on the page with its names,
/// what it takes and the star of those that take the cookie; each path of bytes and each code too.
#[test]
fn everything_that_can_be_asked_stands_on_the_page() {
    for (names, changes, takes) in catalogue() {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let row = format!("| {}{} | {takes} |", names.join(", "), if changes { " *" } else { "" });
        assert!(PAGE.contains(&row), "not on the page: {row}");
    }
    let rows = PAGE.lines().filter(|line| line.starts_with("| `")).filter(|line| line.split('|').count() == 5).count();
    let bytes = PAGE.lines().filter(|line| line.contains(".bin")).filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows - bytes, catalogue().count(), "and nothing else does");
    let node = Node::new(0);
    for line in PAGE.lines().filter(|line| line.starts_with("| `POST /") || line.starts_with("| `GET /")) {
        let target = line.split(['`', ' ', '?']).find(|word| word.starts_with('/')).expect("a path");
        let method = if line.contains("POST") { Method::Post } else { Method::Get };
        assert_ne!(node.request(method, target, b"", true).content_type, "text/plain; charset=utf-8", "{target}");
    }
    for code in
        ["-32700", "-32600", "-32601", "-32602", "-32603", "-32000", "-1", "-2", "-4", "-5", "-6", "-7", "-9", "-19"]
    {
        assert!(PAGE.contains(&format!("| {code} | ")), "{code}");
    }
}

// --- what is told ---

/// Goal: every form of asking for a block gives the same block, the one that is in the file. Method: by height, by
/// hash, in a range, as the last; blocks with transfers.
#[test]
fn blocks_are_those_of_the_file() {
    let node = Node::new(12);
    let sent = node.payment(1);
    assert_eq!(node.offer(&sent)["status"], json!("OK"));
    node.generate(2);
    let reader = node.daemon.reader();
    let range = node.call("get_block_headers_range", &json!({ "start_height": 0, "end_height": 14 }));
    let headers = range["headers"].as_array().expect("a list");
    assert_eq!(headers.len(), 15);
    for (height, header) in (0_u64..).zip(headers) {
        let meta = reader.meta(reader.record_at(height).expect("there")).expect("memory");
        assert_eq!((hash(&header["hash"]), &header["height"]), (meta.id, &json!(height)));
        assert_eq!(header["cumulative_difficulty"], json!(meta.work));
        assert_eq!(header["depth"], json!(14 - height));
        let by_height = node.call("get_block_header_by_height", &json!([height]));
        let by_hash = node.call("get_block_header_by_hash", &json!({ "hash": header["hash"] }));
        let block = node.call("get_block", &json!({ "height": height }));
        assert_eq!(node.call("get_block", &json!({ "hash": header["hash"] })), block);
        for other in [&by_height, &by_hash, &block] {
            assert_eq!(other["block_header"], *header);
        }
        let bytes = reader.block(meta.record).expect("memory");
        let blob = hex::decode(block["blob"].as_str().expect("hex")).expect("hex");
        assert_eq!(blob[..HEADER_BYTES], meta.header.to_bytes());
        if height > 0 {
            let file: Block = codec::decode(&bytes).expect("a block");
            let ids: Vec<Hash> = file.transfers.iter().map(Transaction::id).collect();
            assert_eq!(blob[HEADER_BYTES..184], bytes[HEADER_BYTES..184], "coinbase and count");
            assert_eq!(blob[184..], ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>());
            assert_eq!(block["tx_hashes"], json!(ids));
            assert_eq!(hash(&header["miner_tx_hash"]), file.coinbase.id());
            assert_eq!(header["reward"], json!(file.coinbase.output.amount));
        }
    }
    assert_eq!(headers[13]["num_txes"], json!(1));
    assert_eq!(node.call("get_last_block_header", &json!({}))["block_header"], headers[14]);
    assert_eq!(node.call("get_block", &json!({}))["block_header"], headers[0], "as monero-python asks for genesis");
    assert_eq!(node.fails("get_block", r#"{"hash":"00"}"#).0, -1);
    assert_eq!(node.fails("get_block", &format!(r#"{{"hash":"{}"}}"#, Hash::ZERO)).0, -5);
    assert_eq!(node.fails("get_block_headers_range", "[0,15]").0, -2);
    assert_eq!(node.fails("get_block_headers_range", "[3,2]").0, -2);
    node.generate(1_000);
    assert_eq!(node.fails("get_block_headers_range", "[0,1000]").0, -1);
    assert_eq!(
        node.call("get_block_headers_range", &json!([1, 1000]))["headers"].as_array().map(Vec::len),
        Some(1_000)
    );
}

/// Goal: nothing is told that a power cut could take back. Method: a disk whose sync fails; the block that was found
/// meanwhile is published, and asked for in every way.
#[test]
fn what_is_not_durable_is_not_told() {
    let node = Node::new(3);
    let tip = node.daemon.tip();
    node.disk.fail_sync(1);
    let order = Order::Generate { count: 1, payout: None };
    assert!(node.daemon.handle().order(order, PATIENCE).is_err(), "nobody can say that it is durable");
    let lost = node.daemon.tip();
    assert_eq!(lost.header.height, 4, "it was published all the same");
    assert_eq!(node.call("get_block_count", &json!([]))["count"], json!(4));
    let info = node.call("get_info", &json!({}));
    assert_eq!((hash(&info["top_block_hash"]), &info["height"]), (tip.id, &json!(4)));
    assert_eq!(node.fails("get_block", r#"{"height":4}"#).0, -2);
    assert_eq!(node.fails("get_block", &format!(r#"{{"hash":"{}"}}"#, lost.id)).0, -5);
    let headers = node.request(Method::Post, "/headers.bin", b"", false);
    assert_eq!(headers.body.len(), 3 * HEADER_BYTES);
    let run = node.request(Method::Get, &format!("/blocks.bin?last={}&count=1", lost.id), b"", false);
    assert_eq!(run.status, Status::NotFound);
}

/// Goal: a transaction is found where it is, in the pool or in a block, with the same words; what is nowhere is said to
/// be missed. Method: a payment that waits, then is mined; the coinbase before it; an id of nobody.
#[test]
fn transactions_are_found_where_they_are() {
    let node = Node::new(11);
    let payment = node.payment(1);
    let (id, bytes) = (payment.id(), codec::encode(&payment));
    assert_eq!(hash(&node.offer(&payment)["tx_hash"]), id);
    assert_eq!(node.offer(&payment)["status"], json!("OK"), "it waits, as was wanted");
    let coinbase = node.coin(5).input.outpoint.transaction;
    let ask = |prune: bool| {
        let params = json!({ "txs_hashes": [id, Hash::ZERO, coinbase], "decode_as_json": true, "prune": prune });
        node.path("/get_transactions", &params)
    };
    let answer = ask(false);
    assert_eq!((&answer["missed_tx"], &answer["status"]), (&json!([Hash::ZERO]), &json!("OK")));
    let (waits, mined) = (&answer["txs"][0], &answer["txs"][1]);
    assert_eq!((hash(&waits["tx_hash"]), &waits["in_pool"]), (id, &json!(true)));
    assert_eq!(
        (hash(&mined["tx_hash"]), &mined["block_height"], &mined["confirmations"]),
        (coinbase, &json!(5), &json!(7))
    );
    assert_eq!(waits["as_hex"], json!(hex::encode(&bytes)));
    let page = node.path("/get_transaction_pool", &json!({}));
    let row = &page["transactions"][0];
    assert_eq!((hash(&row["id_hash"]), &row["tx_json"]), (id, &waits["as_json"]));
    assert_eq!((&page["total"], &page["more"], &page["after"]), (&json!(1), &json!(false), &json!(null)));
    let best = node.call("get_pool", &json!({ "count": 1 }));
    assert_eq!((hash(&best["transactions"][0]["id_hash"]), &best["total"]), (id, &json!(1)));
    let as_json: Value = serde_json::from_str(waits["as_json"].as_str().expect("text")).expect("JSON");
    let spent = node.coin(1).input;
    assert_eq!(as_json["vin"][0]["key"]["amount"], json!(spent.amount));
    assert_eq!(as_json["vout"][1]["amount"], json!(spent.amount / 4));
    assert_eq!(as_json["signatures"][0].as_str().map(str::len), Some(128));

    node.generate(1);
    let confirmed = ask(false)["txs"].clone();
    let confirmed = confirmed.as_array().expect("a list").iter().find(|tx| hash(&tx["tx_hash"]) == id).expect("found");
    assert_eq!((&confirmed["in_pool"], &confirmed["block_height"]), (&json!(false), &json!(12)));
    for same in ["as_json", "as_hex", "fee", "size"] {
        assert_eq!(confirmed[same], waits[same], "{same}");
    }
    let pruned = &ask(true)["txs"];
    assert!(pruned.as_array().expect("a list").iter().all(|tx| tx["as_hex"] == json!("")));
    assert_eq!(node.offer(&payment)["status"], json!("OK"), "in a block it is as good as waiting");
    let double = pay(&Params::regtest(), &[node.coin(1)], &[1_000_000]);
    let refused = node.offer(&double);
    assert_eq!(refused["status"], json!("Failed"));
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("which is not there")), "{refused}");
    for bad in ["", "zz", "00", &"00".repeat(70_000)] {
        assert_eq!(
            node.path("/sendrawtransaction", &json!({ "tx_as_hex": bad }))["status"],
            json!("Failed"),
            "{bad:.9}"
        );
    }
}

/// Goal: the pages of the pool hold each waiting transaction once. Method: forty that wait, read with a page that ends
/// early because its memory is short, in words and in bytes.
#[test]
fn the_pool_is_read_to_its_end() {
    let node = Node::new(60);
    let payments: Vec<Transaction> = (1..=40).map(|height| node.payment(height)).collect();
    for payment in &payments {
        assert_eq!(node.offer(payment)["status"], json!("OK"));
    }
    let mut ids: Vec<Hash> = payments.iter().map(Transaction::id).collect();
    ids.sort_unstable();
    let (mut seen, mut after) = (Vec::new(), json!(null));
    loop {
        let page = node.path("/get_transaction_pool", &json!({ "after": after }));
        seen.extend(page["transactions"].as_array().expect("a list").iter().map(|tx| hash(&tx["id_hash"])));
        after = page["after"].clone();
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(seen, ids);
    let listed = node.request(Method::Get, "/pool.bin", b"", false).body;
    assert_eq!(listed.chunks(32).map(|id| Hash(id.try_into().expect("32 bytes"))).collect::<Vec<_>>(), ids);
    let behind = node.request(Method::Get, &format!("/pool.bin?after={}", ids[30]), b"", false).body;
    assert_eq!(behind.len(), 32 * 9);

    let asked = [ids[3], Hash::ZERO, ids[3], ids[0]];
    let body: Vec<u8> = asked.iter().flat_map(|id| id.0).collect();
    let answer = node.request(Method::Post, "/transactions.bin", &body, false).body;
    let (mut rest, mut found) = (&answer[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        found.push((!bytes.is_empty()).then(|| Hash::sha256d(bytes)));
        rest = after;
    }
    assert_eq!(found, [Some(ids[3]), None, Some(ids[3]), Some(ids[0])]);
}

/// Goal: a scanning program gets every block as it rests in the file, in runs that it can go on with. Method: headers
/// behind a locator, then the run that they make, in pieces; runs that are not there.
#[test]
fn bytes_are_those_of_the_file() {
    let node = Node::new(2_500);
    let reader = node.daemon.reader();
    let at = |height: u64| reader.meta(reader.record_at(height).expect("there")).expect("memory");
    let ids_of = |body: &[u8]| body.chunks(HEADER_BYTES).map(Hash::sha256d).collect::<Vec<_>>();
    let first = ids_of(&node.request(Method::Post, "/headers.bin", &Hash::ZERO.0, false).body);
    assert_eq!(first, (1..=2_000).map(|height| at(height).id).collect::<Vec<_>>());
    let locator = [Hash::sha256d(b"nobody"), first[1_999], first[5]];
    let body: Vec<u8> = locator.iter().flat_map(|id| id.0).collect();
    let second = ids_of(&node.request(Method::Post, "/headers.bin", &body, false).body);
    assert_eq!(second, (2_001..=2_500).map(|height| at(height).id).collect::<Vec<_>>());
    assert!(node.request(Method::Post, "/headers.bin", &second[499].0, false).body.is_empty());

    // Large blocks, so that a run takes more than one answer.
    let amounts = [1_000; 1_000];
    for height in 1..=16 {
        let wide = pay(&Params::regtest(), &[node.coin(height)], &amounts);
        assert_eq!(node.offer(&wide)["status"], json!("OK"));
        node.generate(1);
    }
    let (last, mut left, mut height, mut answers) = (node.daemon.tip().id, 1_000, 2_516 - 999, 0);
    while left > 0 {
        let body = node.request(Method::Get, &format!("/blocks.bin?last={last}&count={left}"), b"", false).body;
        assert!((1..=512 << 10).contains(&body.len()));
        let mut rest = &body[..];
        while let Some((front, after)) = rest.split_first_chunk::<FRAME_BYTES>() {
            let frame = FrameHeader::from_bytes(front).expect("a frame");
            let (block, after) = after.split_at(frame.length as usize);
            assert!(frame.matches(block) && block == reader.block(at(height).record).expect("memory"));
            (rest, height, left) = (after, height + 1, left - 1);
        }
        answers += 1;
    }
    assert!((2..=4).contains(&answers), "{answers}");
    let status = |query: &str| node.request(Method::Get, &format!("/blocks.bin?{query}"), b"", false).status;
    let last = first[9];
    assert_eq!(status(&format!("last={last}&count=11")), Status::NotFound, "genesis has no bytes");
    assert_eq!(status(&format!("last={}&count=1", Hash::ZERO)), Status::NotFound);
    for wrong in
        ["", "count=1", &format!("last={last}"), &format!("last={last}&count=0"), &format!("last={last}&count=2001")]
    {
        assert_eq!(status(wrong), Status::BadRequest, "{wrong}");
    }
    assert_eq!(node.request(Method::Post, "/headers.bin", &[0; 31], false).status, Status::BadRequest);
    assert_eq!(node.request(Method::Post, "/headers.bin", &[0; 32 * 65], false).status, Status::BadRequest);
    assert_eq!(node.request(Method::Get, "/headers.bin", b"", false).status, Status::MethodNotAllowed);
}

// --- what is ordered ---

/// Goal: blocks come on demand and are durable when that is told; whoever mines elsewhere gets a template with what
/// waits, and his block is taken in its short form. Method: both; then the same block again, and others that are wrong.
#[test]
fn blocks_are_mined_here_and_elsewhere() {
    let node = Node::new(0);
    let key = secret(0).public().to_string();
    let made = node.call("generateblocks", &json!({ "amount_of_blocks": 12, "wallet_address": key }));
    assert_eq!((made["blocks"].as_array().map(Vec::len), &made["height"]), (Some(12), &json!(12)));
    let tip = node.daemon.tip();
    assert!(tip.end() <= node.daemon.reader().durable_bytes() && hash(&made["blocks"][11]) == tip.id);
    let payment = node.payment(1);
    assert_eq!(node.offer(&payment)["status"], json!("OK"));

    let template = node.call("get_block_template", &json!({ "wallet_address": key }));
    let mut blob = hex::decode(template["blocktemplate_blob"].as_str().expect("hex")).expect("hex");
    assert_eq!((hash(&template["prev_hash"]), &template["height"]), (tip.id, &json!(13)));
    assert_eq!(blob[184..], payment.id().0);
    let hashed = hex::decode(template["blockhashing_blob"].as_str().expect("hex")).expect("hex");
    assert_eq!(hashed, blob[..HEADER_BYTES]);
    let reward = Params::regtest().reward(13) + common::fee(&payment);
    assert_eq!(template["expected_reward"], json!(reward));
    blob[usize::try_from(template["nonce_offset"].as_u64().expect("a number")).expect("small")] = 9;
    let taken = node.call("submit_block", &json!([hex::encode(&blob)]));
    let new = node.daemon.tip();
    assert_eq!((hash(&taken["block_id"]), new.header.height), (new.id, 13));
    assert!(new.end() <= node.daemon.reader().durable_bytes(), "durable before anybody is told");

    assert_eq!(
        node.fails("submit_block", &json!([hex::encode(&blob)]).to_string()).0,
        -7,
        "its transfer waits no more"
    );
    let whole = node.daemon.reader().block(new.record).expect("memory");
    let known = node.fails("submit_block", &json!([hex::encode(&whole)]).to_string());
    assert!(known.0 == -7 && known.1.contains("known"), "{known:?}");
    let orphan = [&whole[..12], &[7; 32], &whole[44..]].concat();
    let unknown = node.request(Method::Post, "/submit_block.bin", &orphan, false);
    assert_eq!(unknown.status, Status::Conflict, "{unknown:?}");
    for (wrong, code) in [("[\"zz\"]", -6), ("[\"00\"]", -6), ("[7]", -32602), ("{}", -32602), ("[]", -32602)] {
        assert_eq!(node.fails("submit_block", wrong).0, code, "{wrong}");
    }
    assert_eq!(node.fails("generateblocks", "[0]").0, -1);
    assert_eq!(node.fails("generateblocks", "[10001]").0, -1);
    assert_eq!(node.fails("get_block_template", "[\"nobody\"]").0, -4);
}

/// Goal: orders are followed or refused with a reason. Method: mining on and off, bans, connections.
#[test]
fn orders_are_followed_or_refused() {
    let node = Node::new(1);
    assert_eq!(node.path("/start_mining", &json!({ "threads_count": 2 }))["status"], json!("OK"));
    wait_until("the board tells", || node.path("/mining_status", &json!({}))["threads_count"] == json!(2));
    assert_eq!(node.path("/stop_mining", &json!({}))["status"], json!("OK"));

    let ban = json!({ "bans": [{ "host": "203.0.113.7", "ban": true, "seconds": 60 }, { "ip": 0x0100_7fcb, "ban": true, "seconds": 9 }] });
    node.call("set_bans", &ban);
    let bans = node.call("get_bans", &json!({}))["bans"].clone();
    assert_eq!((&bans[0]["host"], &bans[1]["host"]), (&json!("203.0.113.7"), &json!("203.127.0.1")));
    assert!(bans[0]["seconds"].as_u64().is_some_and(|left| (1..=60).contains(&left)), "{bans}");
    node.call("set_bans", &json!({ "bans": [{ "host": "203.0.113.7", "ban": false }] }));
    assert_eq!(node.call("get_info", &json!({}))["bans_count"], json!(1));
    for wrong in [
        r#"{"bans":[{"host":"x","ban":true,"seconds":1}]}"#,
        r#"{"bans":[{"ban":true,"seconds":1}]}"#,
        r#"{"bans":[{"host":"203.0.113.9","ban":true}]}"#,
    ] {
        assert_eq!(node.fails("set_bans", wrong).0, -1, "{wrong}");
    }
    assert_eq!(node.fails("set_bans", r#"{"bans":[{"host":"127.0.0.1","ban":true,"seconds":1}]}"#).0, -32000);

    let other = Node::new(0);
    node.call("connect", &json!({ "address": other.daemon.address().to_string() }));
    let connections = || node.call("get_connections", &json!({}))["connections"].as_array().expect("a list").clone();
    wait_until("it was dialled", || !connections().is_empty());
    let there = &connections()[0];
    assert_eq!((&there["incoming"], &there["localhost"]), (&json!(false), &json!(true)));
    assert!(there["agent"].as_str().is_some_and(|agent| agent.starts_with("spindle/")), "{there}");
    node.call("disconnect", &json!({ "peer": there["peer"] }));
    assert!(connections().is_empty());
    assert_eq!(node.fails("disconnect", &json!({ "peer": there["peer"] }).to_string()).0, -32000);
    assert_eq!(node.fails("connect", r#"["nowhere"]"#).0, -1);
}

/// Goal: reading the chain and the board never takes the owner's time, and never waits for it. Method: an owner that is
/// held fast in a look; meanwhile a thousand blocks and `get_info` are asked for, by eight threads, and answered.
#[test]
fn a_thousand_blocks_are_read_without_the_owner() {
    let node = Node::new(50);
    let (held, is_held) = bounded(1);
    let (release, released) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let handle = node.daemon.handle().clone();
        scope.spawn(move || {
            handle.look(move |_| {
                held.send(()).expect("awaited");
                // Ends when the other end is dropped.
                let _ = released.recv();
            })
        });
        is_held.recv_timeout(PATIENCE).expect("the owner looks");
        let before = node.daemon.handle().board().turns().counts();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let node = &node;
                scope.spawn(move || {
                    for n in 0..125 {
                        let block = node.call("get_block", &json!({ "height": (thread * 125 + n) % 51 }));
                        assert_eq!(block["status"], json!("OK"));
                        assert_eq!(node.call("get_info", &json!({}))["height"], json!(51));
                    }
                });
            }
        });
        assert_eq!(node.daemon.handle().board().turns().counts(), before);
        drop(release);
    });
}

/// Goal: whatever is asked, no panic, and the answer is JSON or says what it is. Method: random questions from a
/// grammar that is mostly right, with the numbers, texts and depths that break programs. `RPC_CALLS` says how many.
#[test]
fn random_calls_are_answered() {
    const ORDERS_OF_THE_END: [&str; 3] = ["/stop_daemon", "generateblocks", "/start_mining"];
    let count = std::env::var("RPC_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000);
    let node = Node::new(30);
    let mut rng = Rng::new(20_260_101);
    let tip = node.daemon.tip().id.to_string();
    for _ in 0..count {
        let (names, _, _) = catalogue().nth(rng.below(catalogue().count())).expect("below");
        let name = names[rng.below(names.len())];
        let may_change = rng.below(4) == 0 && !ORDERS_OF_THE_END.contains(&names[0]);
        let params = random_value(&mut rng, &tip, 0);
        let (path, mut body) = if name.starts_with('/') {
            (name, params)
        } else {
            let id = ["", r#""id":1,"#, r#""id":"x","#][rng.below(3)];
            ("/json_rpc", format!(r#"{{"jsonrpc":"2.0",{id}"method":"{name}","params":{params}}}"#))
        };
        if rng.below(8) == 0 && !body.is_empty() {
            let mut bytes = body.into_bytes();
            let place = rng.below(bytes.len());
            bytes[place] = u8::try_from(rng.below(128)).expect("below");
            body = String::from_utf8(bytes).unwrap_or_default();
        }
        let method = if rng.below(10) == 0 { Method::Get } else { Method::Post };
        let response = node.request(method, path, body.as_bytes(), may_change);
        assert_ne!(response.status, Status::InternalError, "{path} {body}: {response:?}");
        if response.content_type == "application/json" {
            let answer = parsed(&response);
            assert_ne!(answer["error"]["code"], json!(-32603), "{body}: {answer}");
        } else {
            assert!([Status::Unauthorised, Status::MethodNotAllowed, Status::NoContent].contains(&response.status));
        }
    }
}

fn random_value(rng: &mut Rng, tip: &str, depth: usize) -> String {
    /// Heights about the tip's, and a peer.
    const NEAR: [&str; 3] = ["30", "31", "\"203.0.113.7:9000\""];
    match rng.below(if depth < 4 { 8 } else { 5 }) {
        0 => format!("\"{tip}\""),
        1 => NEAR[rng.below(NEAR.len())].to_owned(),
        2..=4 => VALUES[rng.below(VALUES.len())].to_owned(),
        5 => {
            let items: Vec<String> = (0..rng.below(4)).map(|_| random_value(rng, tip, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let fields = (0..rng.below(4)).map(|_| {
                let word = WORDS[rng.below(WORDS.len())];
                format!("\"{word}\":{}", random_value(rng, tip, depth + 1))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

// --- the process ---

/// Goal: what a running node says of itself is what its files say, and it stops when it is told to, leaving no cookie.
/// Method: a generated chain and some mined blocks; `chain verify` beside the node.
#[test]
fn every_number_is_the_one_that_verify_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let generated = spindle()
        .args(["chain", "generate", "--network", "regtest", "--txs", "300", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary runs");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    let port = free_port();
    let mut process = Process::daemon(&data, port, &["--network", "regtest", "--no-seeds"]);
    let said = process.wait_for("rpc on");
    let address: SocketAddr = format!("127.0.0.1:{}", port + 1_000).parse().expect("an address");
    assert!(said.contains(&address.to_string()), "{said}");
    let cookie = Cookie::read(&data).expect("it is there");
    let mut client = Client::new(address, Some(cookie)).with_patience(60_000);
    let key = secret(0).public().to_string();
    let params = json!({ "amount_of_blocks": 7, "wallet_address": key });
    let made: Value = client.call("generateblocks", &params).expect("followed");
    let info: Value = client.call("get_info", &json!({})).expect("answered");
    let metrics = String::from_utf8(client.get("/metrics").expect("answered")).expect("text");

    let verified = spindle().args(["chain", "verify", "--json", "--data-dir"]).arg(&data).output().expect("it runs");
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let height = verified["height"].as_u64().expect("a height");
    assert_eq!(made["height"], json!(height));
    assert_eq!((&info["height"], &info["top_block_hash"]), (&json!(height + 1), &verified["tip"]));
    assert_eq!((&info["cumulative_difficulty"], &info["coins"]), (&verified["work"], &verified["coins"]));
    assert_eq!((&info["nettype"], &info["alt_blocks_count"]), (&verified["network"], &json!(0)));
    for (name, value) in [
        ("spindle_height", &verified["height"]),
        ("spindle_durable_height", &verified["durable_height"]),
        ("spindle_coins", &verified["coins"]),
        ("spindle_work_total", &verified["work"]),
    ] {
        assert!(metrics.lines().any(|line| line == format!("{name} {value}")), "{name} {value}\n{metrics}");
    }
    let mut stranger = Client::new(address, None);
    let refused = stranger.post("/stop_daemon", "application/json", b"");
    assert!(matches!(refused, Err(ClientError::Unauthorised { .. })), "{refused:?}");
    client.post("/stop_daemon", "application/json", b"").expect("followed");
    assert!(process.wait().success(), "{}", process.seen.join("\n"));
    assert!(Cookie::read(&data).is_err(), "the cookie went with the node");
}

/// Goal: a port that the RPC cannot have is an error that names the ways out, before anything is made; without the RPC
/// it does not matter. Method: a listener on that port.
#[test]
fn a_taken_rpc_port_names_the_ways_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, port) = (dir.path().join("data"), free_port());
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1_000)).expect("free");
    let daemon = |more: &[&str]| {
        let mut command = spindle();
        command.args(["daemon", "--network", "regtest", "--no-seeds", "--port", &port.to_string(), "--data-dir"]);
        command.arg(&data).args(more);
        command
    };
    let refused = daemon(&[]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(
        said.contains("--rpc-port") && said.contains("--no-rpc") && said.contains(&(port + 1_000).to_string()),
        "{said}"
    );
    assert!(!data.exists(), "nothing was made");
    let mut process = Process::start(daemon(&["--no-rpc"]));
    process.wait_for("listening");
    process.signal("TERM");
    assert!(process.wait().success() && !process.seen.iter().any(|line| line.contains("rpc on")));
    let both = daemon(&["--no-rpc", "--rpc-port", "1"]).output().expect("it runs");
    assert_eq!(both.status.code(), Some(2));
}
