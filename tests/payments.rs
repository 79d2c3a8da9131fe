//! Payments as people make them: wallets as commands, nodes as processes.

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use common::process::{Process, free_port, spindle};
use serde_json::Value;
use spindle::blockchain::params::{COIN, Params};
use spindle::wallet::{amount, file};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";

/// A person's directory: a wallet, its password, and what else there is.
struct Person(TempDir);

impl Person {
    /// Somebody with nothing but a password.
    fn bare() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        // What follows the first line is for notes.
        fs::write(home.path().join("password"), format!("{PASSWORD}\nof the wallet\n")).expect("a small file");
        Self(home)
    }

    /// Somebody with a new wallet; gives the words too.
    fn new() -> (Self, String) {
        let person = Self::bare();
        let made = person.json("new", &[]);
        let words = made["words"].as_str().expect("words").to_owned();
        assert_eq!((words.split(' ').count(), &made["address"]), (24, &Value::from(person.address())));
        (person, words)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `spindle wallet …` in that directory, with its wallet.
    fn command(&self, name: &str, more: &[&str]) -> Command {
        let mut command = spindle();
        command.current_dir(self.path()).env("HOME", self.path()).env_remove("XDG_DATA_HOME").stdin(Stdio::null());
        command.args(["wallet", name]).args(more).args(["--network", "regtest"]);
        if name != "check-proof" {
            command.args(["--password-file", "password"]);
        }
        command
    }

    fn run(&self, name: &str, more: &[&str]) -> Output {
        self.command(name, more).output().expect("the program starts")
    }

    fn json(&self, name: &str, more: &[&str]) -> Value {
        let output = self.run(name, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{name} {more:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What a command says that fails with this code, in one line.
    fn fails(&self, code: i32, name: &str, more: &[&str]) -> String {
        let output = self.run(name, more);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{name} {more:?}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && !said.contains("panicked"), "{name} {more:?}: {said}");
        assert!(!said.contains(PASSWORD) && output.stdout.is_empty(), "{name} {more:?}: {said}");
        last.to_owned()
    }

    fn address(&self) -> String {
        self.json("address", &[])["address"].as_str().expect("an address").to_owned()
    }

    /// Confirmed, unconfirmed, immature, in units.
    fn balance(&self, port: u16) -> [u64; 3] {
        let balance = self.json("balance", &["--port", &port.to_string()]);
        ["confirmed", "unconfirmed", "immature"].map(|part| units(&balance[part]))
    }

    fn send(&self, address: &str, coins: &str, port: u16, more: &[&str]) -> (String, u64) {
        let port = port.to_string();
        let sent = self.json("send", &[&[address, coins, "--yes", "--port", &port], more].concat());
        (sent["txid"].as_str().expect("an id").to_owned(), units(&sent["fee"]))
    }

    fn history(&self, port: u16) -> Vec<Value> {
        let told = self.json("history", &["--port", &port.to_string()]);
        told.as_array().expect("a list").clone()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn units(amount: &Value) -> u64 {
    amount::parse(amount.as_str().expect("amounts are texts")).expect("an amount")
}

/// A regtest chain of so many blocks that pay this address.
fn generate(data: &Path, blocks: u64, address: &str) {
    let mut command = spindle();
    command.args(["chain", "generate", "--network", "regtest", "--mine-to", address, "--blocks", &blocks.to_string()]);
    let output = command.arg("--data-dir").arg(data).output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A regtest node that listens.
fn daemon(data: &Path, port: u16, more: &[&str]) -> Process {
    let mut daemon = Process::daemon(data, port, &[&["--network", "regtest", "--no-seeds"], more].concat());
    daemon.wait_for("listening on");
    daemon
}

fn supply(height: u64) -> u64 {
    u64::try_from(Params::regtest().supply(height)).expect("a short chain")
}

/// Goal: a person is paid on another node, sees it unconfirmed, then confirmed, across restarts of both nodes;
/// a third who has only the words, or only the view key, sees the same; nothing is lost of the supply; the
/// payment can be proven to anybody. Method: two processes, five wallets, commands alone.
#[test]
fn a_payment_travels_and_everybody_sees_the_same() {
    let ((alice, _), (bob, bobs_words)) = (Person::new(), Person::new());
    let (to_alice, to_bob) = (alice.address(), bob.address());
    let (first_data, second_data) = (alice.path().join("node"), bob.path().join("node"));
    generate(&first_data, 12, &to_alice);
    let ports = [free_port(), free_port()];
    let at_first = format!("127.0.0.1:{}", ports[0]);
    let mut first = daemon(&first_data, ports[0], &[]);
    let mut second = daemon(&second_data, ports[1], &["--peer", &at_first]);
    second.wait_for("tip height=12");
    let [confirmed, 0, immature] = alice.balance(ports[0]) else { panic!("nothing waits") };
    assert_eq!((confirmed, confirmed + immature), (supply(3), supply(12)));
    assert_eq!(bob.balance(ports[1]), [0, 0, 0]);

    let (id, fee) = alice.send(&to_bob, "5.25", ports[0], &["--note", "für das Brot"]);
    second.wait_for(&format!("transaction {id} waits"));
    let paid = 5 * COIN + COIN / 4;
    assert_eq!(bob.balance(ports[1]), [0, paid, 0]);
    let [confirmed, change, immature] = alice.balance(ports[0]);
    assert_eq!(confirmed + change + immature, supply(12) - paid - fee);

    // Both nodes stop and start; what waits is still there, on the disk of each.
    for node in [&mut first, &mut second] {
        node.signal("TERM");
        assert!(node.wait().success());
    }
    let _second = daemon(&second_data, ports[1], &[]);
    assert_eq!(bob.balance(ports[1]), [0, paid, 0]);
    let mut first = daemon(&first_data, ports[0], &["--mine", "--mine-to", &to_alice]);
    first.wait_for("durable height=13");
    assert_eq!(alice.balance(ports[0]).iter().sum::<u64>() + paid, supply(13), "the fee went to Alice, who mined it");
    assert_eq!(bob.balance(ports[0]), [paid, 0, 0]);

    let restored = Person::bare();
    fs::write(restored.path().join("words"), bobs_words.replace(' ', "\n")).expect("a small file");
    restored.json("restore", &["--words-file", "words"]);
    let late = Person::bare();
    fs::copy(restored.path().join("words"), late.path().join("words")).expect("a small file");
    let port = ports[0].to_string();
    late.json("restore", &["--words-file", "words", "--from-height", "13", "--port", &port]);
    let watching = Person::bare();
    let key = bob.json("view-key", &[])["view_key"].as_str().expect("a key").to_owned();
    fs::write(watching.path().join("key"), format!("{key}\n")).expect("a small file");
    watching.json("watch", &["--view-key-file", "key"]);
    for other in [&restored, &late, &watching] {
        assert_eq!((other.address(), other.balance(ports[0])), (to_bob.clone(), [paid, 0, 0]));
        assert_eq!(other.history(ports[0]), bob.history(ports[0]));
    }
    let entry = &bob.history(ports[0])[0];
    let told = ["txid", "direction", "amount", "note"].map(|field| entry[field].as_str().expect("a text"));
    assert_eq!(told, [&id, "received", "5.25000000", "für das Brot"]);
    assert_eq!((entry["height"].as_u64(), &entry["address"]), (Some(13), &Value::Null));
    assert!(watching.fails(1, "send", &[&to_alice, "1", "--yes", "--port", &port]).contains("cannot sign"));
    assert!(watching.fails(1, "prove", &[&id, &to_alice, "--port", &port]).contains("view key"));

    let proven = alice.json("prove", &[&id, &to_bob, "--port", &port]);
    assert_eq!((proven["amount"].as_str(), proven["height"].as_u64()), (Some("5.25000000"), Some(13)));
    let proof = proven["proof"].as_str().expect("a proof");
    for more in [&["--height", "13"][..], &[]] {
        let words = [&[&id, &to_bob, proof, "--port", &port], more].concat();
        let holds = Person::bare().json("check-proof", &words);
        assert_eq!((holds["amount"].as_str(), holds["height"].as_u64()), (Some("5.25000000"), Some(13)));
    }
    assert!(bob.fails(1, "check-proof", &[&id, &to_alice, proof, "--port", &port]).contains("does not hold"));
    let words = [&id, &to_bob, proof, "--port", &port, "--height", "12"];
    assert!(bob.fails(1, "check-proof", &words).contains("block 12"));
}

/// Goal: a wallet is never overwritten, is for one command at a time, opens for its password alone, and says
/// what it knew last without a node. Method: one wallet, each mistake.
#[test]
fn mistakes_end_in_one_line_and_change_nothing() {
    let (alice, words) = Person::new();
    let wallet = alice.path().join(".local/share/spindle/regtest.wallet");
    let before = fs::read(&wallet).expect("the default place");
    let free = free_port().to_string();
    assert!(alice.fails(1, "new", &[]).contains("already"));
    assert!(alice.fails(1, "restore", &["--words-file", "password"]).contains("already"));
    let nobody = alice.fails(1, "balance", &["--port", &free]);
    assert!(nobody.contains("no node runs here") && nobody.contains("spindle daemon --network regtest"), "{nobody}");
    let offline = alice.json("balance", &["--offline"]);
    assert_eq!((offline["confirmed"].as_str(), offline["height"].as_u64()), (Some("0.00000000"), Some(0)));
    assert_eq!(alice.json("history", &["--offline"]), Value::Array(vec![]));

    fs::write(alice.path().join("wrong"), "incorrect horse").expect("a small file");
    let mut command = spindle();
    command.current_dir(alice.path()).args(["wallet", "address", "--network", "regtest", "--wallet"]).arg(&wallet);
    let output = command.args(["--password-file", "wrong"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not open") && !stderr(&output).contains("incorrect"), "{}", stderr(&output));
    let mut command = spindle();
    command.args(["wallet", "address", "--network", "regtest", "--wallet"]).arg(&wallet).stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "nobody can be asked");
    assert!(stderr(&output).contains("--password-file"), "{}", stderr(&output));

    let held = file::hold(&wallet).expect("nobody is at it");
    let refused = alice.fails(1, "address", &[]);
    assert!(refused.contains("in use by process"), "{refused}");
    drop(held);
    assert_eq!(fs::read(&wallet).expect("still there"), before);

    // Slips in the words are named by their place, never repeated.
    let bare = Person::bare();
    for (slip, why) in [(words.replacen(' ', " xylophon ", 1), "25 words"), ("a b".into(), "2 words")] {
        fs::write(bare.path().join("words"), slip).expect("a small file");
        let said = bare.fails(2, "restore", &["--words-file", "words"]);
        assert!(said.contains(why) && !said.contains("xylophon"), "{said}");
    }
    let second = words.split(' ').nth(1).expect("24 words");
    fs::write(bare.path().join("words"), words.replacen(second, "xylophon", 1)).expect("a small file");
    let said = bare.fails(2, "restore", &["--words-file", "words"]);
    assert!(said.contains("word ") && !said.contains("xylophon"), "{said}");
    fs::write(bare.path().join("password"), "\n").expect("a small file");
    assert!(bare.fails(1, "new", &[]).contains("empty"));
    assert!(bare.fails(1, "address", &[]).contains("spindle wallet new"));
    assert_eq!(fs::read_dir(bare.path()).expect("there").count(), 2, "no wallet was begun");
}

/// Goal: no wallet is left whose words nobody could read. Method: `new` into a pipe that is closed.
#[test]
fn a_wallet_whose_words_cannot_be_shown_is_not_made() {
    let alice = Person::bare();
    for more in [&["--wallet", "a.w"][..], &["--wallet", "a.w", "--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = alice.command("new", more).stdout(writer).output().expect("the program starts");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no wallet was made"), "{said}");
        assert!(!alice.path().join("a.w").exists());
    }
    alice.json("new", &["--wallet", "a.w"]);
}

/// Goal: what must not be sent is refused before anything is signed: slips in the address, other networks, dust,
/// too much, nobody to ask. Method: one node, each of these, and one's own address, which is fine.
#[test]
fn payments_that_must_not_be_made_are_refused() {
    let (alice, _) = Person::new();
    let to_alice = alice.address();
    let data = alice.path().join("node");
    generate(&data, 12, &to_alice);
    let port = free_port();
    let _node = daemon(&data, port, &[]);
    let port_text = port.to_string();
    let try_send = |code, words: &[&str]| alice.fails(code, "send", &[words, &["--port", &port_text]].concat());
    let mut slip = to_alice.clone();
    slip.replace_range(30..31, if &slip[30..31] == "q" { "p" } else { "q" });
    assert!(try_send(2, &[&slip, "1", "--yes"]).contains("checksum"));
    let local = spindle::wallet::address::show(
        &Params::local(),
        &spindle::wallet::address::parse(&Params::regtest(), &to_alice).expect("our own"),
    );
    assert!(try_send(2, &[&local, "1", "--yes"]).contains("network `local`"));
    assert!(try_send(2, &[&to_alice, "1.000000001", "--yes"]).contains("8 places"));
    assert!(try_send(2, &[&to_alice, "1", "--yes", "--fee-rate", "999"]).contains("1000"));
    let dear = try_send(2, &[&to_alice, "1", "--yes", "--fee-rate", "100000000"]);
    assert!(dear.contains("100000000") && dear.contains("at most 1000000") && dear.contains("leave"), "{dear}");
    assert!(try_send(2, &[&to_alice, "1", "--yes", "--fee-rate", "1000001"]).contains("at most 1000000"));
    assert!(try_send(2, &[&to_alice, "1", "--yes", "--note", &"x".repeat(65)]).contains("64"));
    assert!(try_send(1, &[&to_alice, "0.00000001", "--yes"]).contains("too little"));
    assert!(try_send(1, &[&to_alice, "1000000", "--yes"]).contains("more than can be spent"));
    assert!(try_send(2, &[&to_alice, "1"]).contains("--yes"));
    assert_eq!(alice.history(port).len(), 12, "nothing was sent");
    let (_, fee) = alice.send(&to_alice, "1", port, &["--fee-rate", "5000"]);
    assert_eq!(alice.balance(port).iter().sum::<u64>(), supply(12) - fee);
}

/// What stands between a wallet and its node's RPC: passes every question on, but not a transaction.
fn proxy(node: u16, answer: Option<&'static str>) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let thread = std::thread::spawn(move || {
        let mut submitted = false;
        while !submitted {
            let (wallet, _) = listener.accept().expect("a wallet");
            submitted = pass_on(wallet, (port, node + 1_000), answer);
        }
    });
    (port, thread)
}

/// One connection through the proxy, from one port to another; says whether a transaction came.
fn pass_on(mut wallet: TcpStream, (from, to): (u16, u16), answer: Option<&str>) -> bool {
    let mut node = TcpStream::connect(("127.0.0.1", to)).expect("a node");
    while let Some(question) = next_message(&mut wallet) {
        let end = question.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&question[..end]).expect("a text");
        if !head.starts_with("POST /sendrawtransaction ") {
            // The node answers to its own name alone.
            let head = head.replace(&format!("Host: 127.0.0.1:{from}"), &format!("Host: 127.0.0.1:{to}"));
            node.write_all(&[head.as_bytes(), &question[end..]].concat()).expect("the node listens");
            wallet.write_all(&next_message(&mut node).expect("an answer")).expect("the wallet listens");
            continue;
        }
        let Some(why) = answer else { return true };
        let body = format!("{{\"status\":\"Failed\",\"reason\":\"{why}\"}}");
        write!(wallet, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .expect("the wallet listens");
        return true;
    }
    false
}

/// The next question or answer, whole; none when the other side has gone.
fn next_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&bytes[..end]).expect("a text");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if bytes.len() >= end + 4 + length.map_or(0, |text| text.parse().expect("a number")) {
                return Some(bytes);
            }
        }
        let mut piece = [0; 4_096];
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            read => bytes.extend_from_slice(&piece[..read.expect("it speaks")]),
        }
    }
}

/// Goal: a payment whose answer is lost is kept, and offered again by the next command; one that is refused is
/// forgotten, its coins are free, and its note's key is not used for another note. Method: a proxy that breaks
/// off, or refuses, at the transaction.
#[test]
fn a_payment_is_kept_when_the_link_breaks_and_forgotten_when_it_is_refused() {
    let ((alice, _), (bob, _)) = (Person::new(), Person::new());
    let (to_alice, to_bob) = (alice.address(), bob.address());
    let data = alice.path().join("node");
    generate(&data, 11, &to_alice);
    let port = free_port();
    let mut node = daemon(&data, port, &[]);
    let before = alice.balance(port);

    let (refusing, thread) = proxy(port, Some("the pool is full"));
    let refusing = refusing.to_string();
    let words = [&to_bob, "2", "--note", "rye bread", "--yes", "--rpc-port", &refusing];
    let said = alice.fails(1, "send", &words);
    assert!(said.contains("nothing was sent") && said.contains("the pool is full"), "{said}");
    thread.join().expect("it has served");
    assert_eq!(alice.balance(port), before);
    let port_text = port.to_string();
    let said = alice.fails(1, "send", &[&to_bob, "2", "--note", "oat bread", "--yes", "--port", &port_text]);
    assert!(said.contains("another note"), "{said}");
    assert_eq!((alice.balance(port), alice.history(port).len()), (before, 11));

    let (breaking, thread) = proxy(port, None);
    let breaking = breaking.to_string();
    let said = alice.fails(1, "send", &[&to_bob, "2", "--note", "rye bread", "--yes", "--rpc-port", &breaking]);
    assert!(said.contains("is signed and kept") && said.contains("offers it again"), "{said}");
    thread.join().expect("it has served");
    // Whoever would rather have the coins can; the payment is made again, byte by byte the same but for its order.
    let told = alice.json("history", &["--offline"]);
    let id =
        told.as_array().and_then(|told| told.last()).expect("it waits")["txid"].as_str().expect("an id").to_owned();
    assert!(alice.fails(2, "forget", &[&id]).contains("--yes"));
    assert!(alice.fails(1, "forget", &[&"0".repeat(64), "--yes"]).contains("none of this wallet's"));
    let mined = told[0]["txid"].as_str().expect("an id");
    assert!(alice.fails(1, "forget", &[mined, "--yes"]).contains("is in block"));
    let output = alice.run("forget", &[&id, "--yes"]);
    assert!(output.status.success() && stderr(&output).contains("can still have it mined"), "{}", stderr(&output));
    assert_eq!(alice.balance(port), before);
    let (breaking, thread) = proxy(port, None);
    let breaking = breaking.to_string();
    alice.fails(1, "send", &[&to_bob, "2", "--note", "rye bread", "--yes", "--rpc-port", &breaking]);
    thread.join().expect("it has served");
    assert_eq!(bob.balance(port), [0, 0, 0]);
    let output = alice.run("balance", &["--port", &port_text]);
    assert!(output.status.success() && stderr(&output).contains("offered to it again"), "{}", stderr(&output));
    node.wait_for(" waits: fee ");
    assert_eq!(bob.balance(port), [0, 2 * COIN, 0]);
    let sent: Vec<Value> = alice.history(port).into_iter().filter(|entry| entry["direction"] == "sent").collect();
    assert_eq!(
        (sent.len(), sent[0]["note"].as_str(), sent[0]["address"].as_str()),
        (1, Some("rye bread"), Some(&*to_bob))
    );
}
