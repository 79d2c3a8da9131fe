//! Commands that ask a running node and steer it, beside what `chain verify` and `chain show` say of its files.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::common::process::{Process, free_port, spindle};
use super::{daemon, directory, err, json as json_of, on_a_terminal, out, run, stop};

/// Each with what it cannot do without.
const COMMANDS: [&str; 15] = [
    "status",
    "peers",
    "addresses",
    "connect 127.0.0.1:1",
    "disconnect 1",
    "bans",
    "ban 192.0.2.7",
    "unban 192.0.2.7",
    "blocks",
    "block 0",
    "tx 0000000000000000000000000000000000000000000000000000000000000000",
    "mempool",
    "mine 1",
    "stop",
    "log info",
];

/// A node of regtest on a generated chain, and the options that find it.
fn node(home: &Path, blocks: &str) -> (Process, String) {
    let port = free_port();
    out(&run(home, &format!("chain generate {blocks} --data-dir data")));
    let at = format!("--network regtest --port {port} --data-dir data");
    let mut process = daemon(home, &format!("{at} --no-seeds --mine-to data/miner.key"));
    process.wait_for("rpc on http");
    (process, at)
}

/// The command's error: exit code 1 and one line.
fn fails(home: &Path, line: &str) -> String {
    let output = run(home, line);
    let said = err(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{line}: {said}");
    assert!(said.starts_with("error: ") && output.stdout.is_empty(), "{line}: {said}");
    said
}

/// Goal: where no node runs, each command says so in one line, with the command that starts one, and exit code 1.
/// Method: all of them, with every way to name a node.
#[test]
fn where_no_node_runs_each_command_says_so() {
    let home = directory();
    let port = free_port();
    std::fs::write(home.path().join("node.conf"), format!("network = regtest\nport = {port}\nmine\n")).expect("small");
    for command in COMMANDS {
        let named = format!("--network regtest --port {port}");
        let said = fails(home.path(), &format!("{command} {named}"));
        assert!(said.contains("no node runs here") && said.contains(&format!("`spindle daemon {named}`")), "{said}");
        let said = fails(home.path(), &format!("{command} --config node.conf"));
        assert!(said.contains("`spindle daemon --config node.conf`"), "{said}");
        assert!(said.contains(&(port + 1_000).to_string()), "{said}");
    }
    assert!(!home.path().join(".local").exists(), "nothing is made");
}

/// Goal: wrong words are refused before anybody is asked, with exit code 2 and one line. Method: one of each kind.
#[test]
fn wrong_words_are_refused_before_anybody_is_asked() {
    let home = directory();
    let wrong = [
        "status fly",
        "status --fly",
        "status --port 0",
        "status --port 65000",
        "status --rpc-port x",
        "status --rpc-bind here",
        "status --network none.json",
        "status --config none.conf",
        "status --data-dir",
        "peers 1",
        "blocks -1",
        "blocks --count 0",
        "blocks --count 1001",
        "block",
        "block 1 2",
        "block abc",
        "tx",
        "tx 12",
        "mempool --count x",
        "mine",
        "mine 0",
        "mine 1000001",
        "mine 1 --to nobody",
        "mine 1 --to 0000000000000000000000000000000000000000000000000000000000000000",
        "ban",
        "ban host",
        "ban 1.2.3.4:9000",
        "ban 1.2.3.4 --for 2",
        "ban 1.2.3.4 --for 9999999999d",
        "unban x",
        "connect x",
        "connect 127.0.0.1",
        "disconnect -1",
        "disconnect 127.0.0.1",
        "log",
        "log loud",
        "stop now",
    ];
    for line in wrong {
        let output = run(home.path(), line);
        let said = err(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{line}: {said}");
        assert!(said.starts_with("error: ") && output.stdout.is_empty(), "{line}: {said}");
    }
    for command in COMMANDS {
        let name = command.split(' ').next().expect("a name");
        let help = out(&run(home.path(), &format!("{name} --help")));
        assert!(help.starts_with(&format!("Usage: spindle {name}")) && help.contains("--json"), "{help}");
    }
}

/// Goal: every number that a command shows is the one that `chain verify` and `chain show` read from the file, also
/// for genesis and for a chain that grows. Method: a generated chain with transfers; each block by height and by hash,
/// the supply as the sum of what all blocks pay less their fees; then blocks on demand, and the same again.
#[test]
fn numbers_are_those_of_the_file() {
    let home = directory();
    let (process, at) = node(home.path(), "--blocks 30 --txs 40");
    for round in 0..2 {
        let verdict = json_of(home.path(), "chain verify --data-dir data --json");
        let status = json_of(home.path(), &format!("status {at} --json"));
        for field in ["network", "height", "tip", "work", "coins"] {
            assert_eq!(status[field], verdict[field], "{field}");
        }
        let height = verdict["height"].as_u64().expect("a height");
        let blocks = json_of(home.path(), &format!("blocks {at} --count 1000 --json"));
        let blocks = blocks["blocks"].as_array().expect("a list").clone();
        assert_eq!(blocks.len() as u64, height + 1);
        let (mut paid, mut fees) = (0, 0);
        for (block, expected) in blocks.iter().zip((0..=height).rev()) {
            let shown = json_of(home.path(), &format!("chain show {expected} --data-dir data --json"));
            for field in ["height", "hash", "time_ms", "difficulty", "work"] {
                assert_eq!(block[field], shown[field], "{field} at height {expected}");
            }
            let transfers = shown["transfers"].as_array().expect("a list");
            assert_eq!(block["transfers"], transfers.len());
            let asked = if expected % 2 == 0 { shown["hash"].clone() } else { json!(expected.to_string()) };
            let asked = asked.as_str().expect("text");
            let one = json_of(home.path(), &format!("block {asked} {at} --json"));
            for field in
                ["height", "hash", "prev", "merkle_root", "version", "time_ms", "nonce", "active", "confirmations"]
            {
                assert_eq!(one[field], shown[field], "{field} at height {expected}");
            }
            assert_eq!(one["coinbase"]["id"], shown["coinbase"]["id"]);
            assert_eq!([&one["size_bytes"], &block["size_bytes"]], [&shown["size_bytes"]; 2]);
            let ids: Vec<&Value> = transfers.iter().map(|transfer| &transfer["id"]).collect();
            assert_eq!(one["transfers"], json!(ids));
            paid += block["paid"].as_u64().expect("units");
            fees += transfers.iter().map(|transfer| transfer["fee"].as_u64().expect("units")).sum::<u64>();
        }
        assert_eq!(verdict["supply"], paid - fees);
        if round == 0 {
            let mined = json_of(home.path(), &format!("mine 5 {at} --json"));
            assert_eq!(mined["height"], height + 5);
            assert_eq!(mined["blocks"].as_array().map(Vec::len), Some(5));
        }
    }
    let said = fails(home.path(), &format!("block 99 {at}"));
    assert!(said.contains("there is no block at height 99; the last one's is 35"), "{said}");
    stop(process);
}

/// Goal: a transaction is shown with the same numbers while it waits and when it is in a block, and the pool lists it
/// in between. Method: a wallet that is paid by `mine --to` and pays itself; a coinbase, and a transfer of the file.
#[test]
fn a_transaction_is_shown_where_it_is() {
    let home = directory();
    let (process, at) = node(home.path(), "--blocks 12 --txs 3");
    std::fs::write(home.path().join("password"), "correct horse\n").expect("a small file");
    let port = at.split(' ').nth(3).expect("a port");
    let wallet =
        |line: &str| json_of(home.path(), &format!("wallet {line} --network regtest --password-file password --json"));
    let address = wallet("new")["address"].as_str().expect("an address").to_owned();
    json_of(home.path(), &format!("mine 12 --to {address} {at} --json"));
    let sent = wallet(&format!("send {address} 1.5 --yes --port {port}"));
    let id = sent["txid"].as_str().expect("an id").to_owned();
    let pool = json_of(home.path(), &format!("mempool {at} --json"));
    let waiting = json_of(home.path(), &format!("tx {id} {at} --json"));
    assert_eq!((&pool["total"], &pool["transactions"][0]["id"]), (&json!(1), &json!(id)));
    // A wallet speaks of coins, a node of units: eight places.
    let fee: u64 = sent["fee"].as_str().expect("an amount").replace('.', "").parse().expect("digits");
    assert_eq!((&pool["transactions"][0]["fee"], &waiting["fee"]), (&json!(fee), &json!(fee)));
    assert_eq!(waiting["size_bytes"], pool["transactions"][0]["size_bytes"]);
    assert_eq!((&waiting["height"], &waiting["confirmations"]), (&Value::Null, &json!(0)));
    assert!(out(&run(home.path(), &format!("mempool {at}"))).contains(&id));
    assert!(out(&run(home.path(), &format!("tx {id} {at}"))).contains("it waits for a block"));
    json_of(home.path(), &format!("mine 2 {at} --json"));
    let confirmed = json_of(home.path(), &format!("tx {id} {at} --json"));
    assert_eq!((&confirmed["height"], &confirmed["confirmations"]), (&json!(25), &json!(2)));
    for field in ["fee", "size_bytes", "inputs", "outputs"] {
        assert_eq!(confirmed[field], waiting[field], "{field}");
    }
    for height in [5, 12, 25] {
        let shown = json_of(home.path(), &format!("chain show {height} --data-dir data --json"));
        let coinbase =
            json_of(home.path(), &format!("tx {} {at} --json", shown["coinbase"]["id"].as_str().expect("an id")));
        assert_eq!((&coinbase["is_coinbase"], &coinbase["height"]), (&json!(true), &json!(height)));
        assert_eq!(coinbase["outputs"][0]["amount"], shown["coinbase"]["amount"]);
        for transfer in shown["transfers"].as_array().expect("a list") {
            let one = json_of(home.path(), &format!("tx {} {at} --json", transfer["id"].as_str().expect("an id")));
            assert_eq!((&one["fee"], &one["is_coinbase"]), (&transfer["fee"], &json!(false)));
            for (output, expected) in
                one["outputs"].as_array().expect("a list").iter().zip(transfer["outputs"].as_array().expect("a list"))
            {
                assert_eq!((&output["amount"], &output["key"]), (&expected["amount"], &expected["key"]));
            }
        }
    }
    let said = fails(home.path(), &format!("tx {} {at}", "0".repeat(64)));
    assert!(said.contains("knows no transaction"), "{said}");
    stop(process);
}

/// Goal: both ends of a connection are shown as what they are, connections are made and ended by hand, and a banned
/// address is listed until it is forgiven. Method: two nodes that look for nobody.
#[test]
fn connections_and_bans_are_made_and_ended_by_hand() {
    let home = directory();
    let (mut first, at) = node(home.path(), "--blocks 3");
    let port = free_port();
    let other = format!("--network regtest --port {port} --data-dir other");
    let mut second = daemon(home.path(), &format!("{other} --no-seeds"));
    second.wait_for("rpc on http");
    let here = at.split(' ').nth(3).expect("a port");
    assert!(out(&run(home.path(), &format!("peers {at}"))).contains("no peer is connected"));
    out(&run(home.path(), &format!("connect 127.0.0.1:{here} {other}")));
    second.wait_for("durable height=3");
    let ours = json_of(home.path(), &format!("peers {at} --json"))["peers"][0].clone();
    let theirs = json_of(home.path(), &format!("peers {other} --json"))["peers"][0].clone();
    assert_eq!((&ours["direction"], &theirs["direction"]), (&json!("in"), &json!("out")));
    assert_eq!((&theirs["address"], &theirs["height"]), (&json!(format!("127.0.0.1:{here}")), &json!(3)));
    assert!(ours["out_bytes"].as_u64() >= Some(3 * 184), "{ours}");
    let status = json_of(home.path(), &format!("status {other} --json"));
    assert_eq!((&status["state"], &status["peers_outbound"]), (&json!("in_sync"), &json!(1)));
    let table = out(&run(home.path(), &format!("peers {other}")));
    let head: Vec<&str> = table.lines().next().expect("a head").split_whitespace().collect();
    let columns = ["peer", "dir", "address", "agent", "height", "ping", "heard", "in", "out", "queue", "state"];
    assert_eq!(head, columns);
    assert!(table.contains(concat!("spindle/", env!("CARGO_PKG_VERSION"))), "{table}");
    let addresses = json_of(home.path(), &format!("addresses {other} --json"));
    assert!(addresses["addresses"].is_array(), "{addresses}");
    let peer = theirs["peer"].as_u64().expect("a number");
    out(&run(home.path(), &format!("disconnect {peer} {other}")));
    first.wait_for("disconnected");
    assert!(fails(home.path(), &format!("disconnect {peer} {other}")).contains("there is no peer"));

    let said = out(&run(home.path(), &format!("ban 192.0.2.7 --for 2h {at}")));
    assert_eq!(said, "192.0.2.7 is banned for 2 h\n");
    let bans = json_of(home.path(), &format!("bans {at} --json"));
    assert_eq!(bans["bans"][0]["address"], "192.0.2.7");
    let left_s = bans["bans"][0]["left_s"].as_u64().expect("seconds");
    assert!(left_s <= 7_200, "{left_s}");
    assert!(out(&run(home.path(), &format!("bans {at}"))).contains("192.0.2.7"));
    out(&run(home.path(), &format!("unban 192.0.2.7 {at}")));
    assert_eq!(out(&run(home.path(), &format!("bans {at}"))), "nobody is banned\n");
    stop(first);
    stop(second);
}

/// Goal: `stop` returns when the node has ended, so that the next one can start at once; the log's level changes while
/// it runs. Method: three lives of one node, without a pause.
#[test]
fn stop_waits_for_the_end() {
    let home = directory();
    let (mut process, at) = node(home.path(), "--blocks 3");
    for _ in 0..3 {
        let said = out(&run(home.path(), &format!("log debug {at}")));
        assert_eq!(said, "the log says debug from now on\n");
        let said = json_of(home.path(), &format!("stop {at} --json"));
        assert_eq!(said["done"], "the node has stopped");
        assert!(process.wait().success());
        assert!(process.seen.iter().any(|line| line.contains(" debug ")), "{}", process.seen.join("\n"));
        process = daemon(home.path(), &format!("{at} --no-seeds"));
        process.wait_for("rpc on http");
    }
    stop(process);
}

/// Goal: who cannot read the cookie may look and not touch, and is told what is missing. Method: no data directory of
/// the node's, then one with another node's cookie.
#[test]
fn without_the_cookie_nothing_is_changed() {
    let home = directory();
    let (process, at) = node(home.path(), "--blocks 3");
    let elsewhere = at.replace("data-dir data", "data-dir elsewhere");
    assert_eq!(json_of(home.path(), &format!("status {elsewhere} --json"))["height"], 3);
    for command in ["stop", "mine 1", "ban 192.0.2.7", "log debug", "connect 127.0.0.1:1", "disconnect 1"] {
        let said = fails(home.path(), &format!("{command} {elsewhere}"));
        assert!(said.contains("elsewhere/rpc.cookie") && said.contains("--data-dir"), "{command}: {said}");
    }
    std::fs::create_dir(home.path().join("elsewhere")).expect("a directory");
    std::fs::write(home.path().join("elsewhere/rpc.cookie"), "0".repeat(64)).expect("a small file");
    let said = fails(home.path(), &format!("stop {elsewhere}"));
    assert!(said.contains("does not take the cookie in `elsewhere`"), "{said}");
    assert_eq!(json_of(home.path(), &format!("status {at} --json"))["height"], 3, "it runs on");
    stop(process);
}

/// A command that goes on, and what it prints.
fn watching(home: &Path, line: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = spindle();
    command.current_dir(home).env("HOME", home).env_remove("XDG_DATA_HOME").args(line.split(' '));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let printed = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, printed)
}

/// Goal: `--watch` shows a node again and again, also when it goes and comes back, one object a line with `--json`, and
/// ends when nobody reads it any more. Method: a node that is stopped and started while it is watched.
#[test]
fn a_node_is_watched_through_its_end_and_return() {
    let home = directory();
    let (process, at) = node(home.path(), "--blocks 3");
    let (mut child, printed) = watching(home.path(), &format!("status --watch --json {at}"));
    let mut pictures =
        printed.lines().map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("one object a line"));
    assert!(pictures.by_ref().take(2).all(|picture| picture["height"] == 3));
    stop(process);
    let gone = pictures.by_ref().find(|picture| picture["error"].is_string()).expect("it goes on");
    assert!(gone["error"].as_str().is_some_and(|error| error.contains("no node")), "{gone}");
    let mut process = daemon(home.path(), &format!("{at} --no-seeds"));
    process.wait_for("rpc on http");
    assert!(pictures.by_ref().any(|picture| picture["height"] == 3), "it comes back");
    drop(pictures);
    assert!(child.wait().expect("it ends").success(), "nobody reads it");

    let (mut child, printed) = watching(home.path(), &format!("peers --watch {at}"));
    let lines: Vec<String> = printed.lines().map(|line| line.expect("text")).take(3).collect();
    assert_eq!(lines, ["no peer is connected", "", "no peer is connected"]);
    assert!(child.wait().expect("it ends").success(), "nobody reads it");
    stop(process);
}

/// Goal: nothing but the terminal's own words are coloured, and a bar is drawn while blocks are mined by hand.
/// Method: results into a pipe, remarks onto a terminal.
#[test]
fn mining_by_hand_shows_how_far_it_is() {
    let home = directory();
    let (process, at) = node(home.path(), "--blocks 3");
    assert!(!out(&run(home.path(), &format!("status {at}"))).contains('\u{1b}'));
    let shown = on_a_terminal(home.path(), &format!("mine 20000 {at}"), &[]);
    assert!(shown.contains("mining [") && shown.contains("of 20000 blocks"), "{shown:?}");
    assert!(on_a_terminal(home.path(), &format!("mine 2000 --quiet {at}"), &[]).is_empty());
    assert_eq!(json_of(home.path(), &format!("status {at} --json"))["height"], 22_003);
    stop(process);
}
