//! The program as a person meets it: words in; lines, files and an exit code out.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::process::free_port;
use serde_json::{Value, json};
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::{PersistentBlockchain, RecordNo};
use spindle::primitives::keys::SecretKey;
use spindle::wallet::keys::SpendKeys;
use spindle::wallet::{address, scan, words as seed_words};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The program, with its home in a directory that is made for the test.
fn spindle(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spindle"));
    command.current_dir(home).env("HOME", home).env_remove("XDG_DATA_HOME").env_remove("JOURNAL_STREAM");
    command.stdin(Stdio::null());
    command
}

fn run<W: Into<OsString>>(home: &Path, words: impl IntoIterator<Item = W>) -> Output {
    spindle(home).args(words.into_iter().map(Into::into)).output().expect("the program starts")
}

/// Splits at blanks: no word of these tests holds one.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Every path below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        }
        found.push(path.display().to_string());
    }
    found.sort();
    found
}

/// A key that can be paid.
fn key() -> String {
    SecretKey::from_seed(&[7; 32]).public().to_string()
}

/// A wallet, and its address on a network.
fn wallet(params: &Params) -> (SpendKeys, String) {
    let keys = SpendKeys::from_seed(&seed_words::from_entropy(&[9; 32]).1);
    let address = address::show(params, &keys.view().address(params.genesis_id()));
    (keys, address)
}

const NO_NUMBER: [&str; 14] =
    ["x", "-1", "-0.5", "1.5", "1e3", "0x10", "+1", "1_000", "1,000", "NaN", "٣", "''", "--mine", "1k"];
const TOO_LARGE: [&str; 3] = ["18446744073709551615", "18446744073709551616", "99999999999999999999999999999999"];

/// Lines of wrong numbers and receivers for `chain generate`.
fn wrong_orders() -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut each = |options: &str, option: &str, values: &[&str]| {
        let command = format!("chain generate --data-dir d {options}");
        lines.extend(values.iter().map(|value| format!("{command} {option} {value}")));
    };
    for option in ["--blocks", "--txs"] {
        each("", option, &NO_NUMBER);
        each("", option, &TOO_LARGE);
        each("", option, &["0"]);
    }
    each("", "--blocks", &["4000000001"]);
    each("", "--txs", &["10000001"]);
    each("--txs 3912", "--blocks", &["1", "11"]);
    each("--txs 1", "--mine-to", &[&key(), &wallet(&Params::regtest()).1]);
    each("", "", &[""]);
    lines
}

/// Lines of what `wallet` cannot take.
fn wrong_wallets() -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut each = |command: &str, option: &str, values: &[&str]| {
        lines.extend(values.iter().map(|value| format!("wallet {command} {option} {value}")));
    };
    let asks = ["balance", "history", "send a 1", "prove a b", "restore", "watch", "check-proof a b c"];
    for command in asks {
        each(command, "--port", &["0", "64536", "x", "-1"]);
        each(command, "--network", &["main", "a-file"]);
    }
    for command in asks.into_iter().filter(|asks| !asks.starts_with("check")).chain(["new", "address", "view-key"]) {
        each(command, "--wallet", &[".", "..", "''", "/"]);
        each(command, "--fly", &[""]);
    }
    each("send a 1", "--fee-rate", &NO_NUMBER);
    each("send a 1", "--fee-rate", &["0", "999", "18446744073709551616"]);
    for command in ["restore --words-file a-file", "watch --view-key-file a-file"] {
        each(command, "--from-height", &NO_NUMBER);
        // The file holds neither words nor a key.
        each(command, "", &["", "--password-file a-file"]);
    }
    each(
        "",
        "",
        &["", "fly", "send", "send a", "send a 1 b", "send a 1", "prove x y", "watch", "watch local-view1qqqq"],
    );
    each("new", "", &["", "--json=yes", "--port 9000", "--password-file missing", "--password-file ."]);
    each("watch x", "", &["--view-key-file a-file", "y"]);
    lines
}

/// Lines of options that are wrong, by option and value.
fn wrong_options() -> Vec<String> {
    let mut lines = wrong_orders();
    lines.extend(wrong_wallets());
    let mut each = |command: &str, option: &str, values: &[&str]| {
        lines.extend(values.iter().map(|value| format!("{command} {option} {value}")));
    };
    each("daemon", "--port", &NO_NUMBER);
    each("daemon", "--port", &TOO_LARGE);
    each("daemon", "--port", &["0", "64536", "65535", "65536", "70000"]);
    each("daemon --mine", "--mining-threads", &NO_NUMBER);
    each("daemon --mine", "--mining-threads", &TOO_LARGE);
    each("daemon --mine", "--mining-threads", &["0", "257"]);
    for option in ["--max-inbound", "--max-outbound"] {
        each("daemon", option, &NO_NUMBER);
        each("daemon", option, &TOO_LARGE);
        each("daemon", option, &["1025", "65536"]);
    }
    each("daemon", "--bind", &["x", "localhost", "127.0.0.1:9000", "256.0.0.1", "1.2.3", "[::1]", "::g", "-1", "*"]);
    each("daemon", "--log", &["loud", "trace", "off", "INFO", "Info", "1", "-1", "info,debug", "warning"]);
    each(
        "daemon",
        "--peer",
        &["x", "x:", ":9000", "x:0", "x:65536", "x:-1", "x:y", "::1:9000", "1.2.3:9000", "-x:9000"],
    );
    each(
        "daemon",
        "--peer",
        &["0.0.0.0:9000", "[::]:9000", "a..b:9000", "http://a:9000", "a/b:1", "a@b:1", "x:9000:1"],
    );
    each("daemon", "--network", &["main", "Local", "regtest2", "missing.json", ".", "../..", "a-file", "-1"]);
    let short = &key()[1..];
    let long = format!("{}0", key());
    let nobodys = "0".repeat(64);
    let neutral = format!("01{}", "0".repeat(62));
    let keys = [short, &long, &nobodys, &neutral, "key", "0x12", "-1", "no/such/dir/some.key", "a-file", "."];
    each("daemon --mine", "--mine-to", &keys);
    let (keys_of_wallet, of_regtest) = wallet(&Params::regtest());
    let with_a_slip = of_regtest.replace("regtest1", "regtest1q");
    let view_key = keys_of_wallet.view().show(&Params::regtest());
    each("daemon --mine", "--mine-to", &[&of_regtest, &wallet(&Params::local()).1[1..], "local1.key"]);
    each("daemon --mine --network regtest", "--mine-to", &[&with_a_slip, &of_regtest[..50], &view_key]);
    each("chain generate --data-dir d --blocks 1", "--mine-to", &keys);
    each("daemon", "--data-dir", &["a-file", "a-file/below", "a-file/far/below"]);
    each("chain generate --blocks 1", "--data-dir", &["a-file", "a-file/below"]);
    each("chain show --data-dir d", "", &["x", "-1", "1.5", "+1", "abc", "18446744073709551616", "0x1", &nobodys[1..]]);
    for option in ["--port", "--bind", "--data-dir", "--network", "--log", "--mine-to", "--max-inbound", "--peer"] {
        lines.push(format!("daemon {option}"));
    }
    let twice = [
        "--port 9000 --port 9001",
        "--bind 127.0.0.1 --bind 127.0.0.1",
        "--network local --network local",
        "--log info --log info",
        "--data-dir d --data-dir d",
        "--max-inbound 1 --max-inbound=1",
    ];
    lines.extend(twice.map(|twice| format!("daemon {twice}")));
    let others = [
        "",
        "fly",
        "--fly",
        "-",
        "-x",
        "daemon fly",
        "daemon --fly",
        "daemon --mines",
        "daemon -p 9000",
        "daemon daemon",
        "chain",
        "chain fly",
        "chain --blocks 1",
        "chain generate",
        "chain generate --blocks 1",
        "chain verify",
        "chain verify d",
        "chain verify --data-dir d fly",
        "chain show --data-dir d",
        "chain show 1",
        "chain show 1 2 --data-dir d",
        "daemon --mining-threads 2",
        "daemon --network regtest --bind 0.0.0.0",
        "daemon --network regtest --bind 192.168.1.1",
        "daemon --network regtest --bind ::",
        "daemon --version",
        "daemon chain",
        "chain daemon",
        "daemon --port=x",
        "chain generate --blocks 1 --data-dir d --network main",
        "chain verify --data-dir d --network main",
        "chain show 1 --data-dir d --network a-file",
        "daemon --json",
        "chain verify --json",
    ];
    lines.extend(others.map(str::to_owned));
    lines
}

/// Goal: more than 200 wrong configurations end with exit code 2 and one line on stderr that is no
/// panic, and leave no trace. Method: each as a process in a directory that is compared before and after.
#[test]
fn wrong_options_leave_no_trace() {
    let home = directory();
    fs::write(home.path().join("a-file"), "no directory, no spec, no key").expect("a small file");
    let before = files(home.path());
    let lines = wrong_options();
    assert!(lines.len() >= 200, "only {}", lines.len());
    for line in &lines {
        let words = words(line).into_iter().map(|word| if word == "''" { "" } else { word });
        let output = run(home.path(), words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "`spindle {line}` said {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1 && said.ends_with('\n'), "`{line}`: {said}");
        assert!(!said.contains("panicked") && said.len() < 500, "`{line}`: {said}");
        assert!(output.stdout.is_empty(), "`{line}`");
    }
    assert_eq!(files(home.path()), before);
}

/// Goal: a broken spec is refused with its file, field, value and limit. Method: the spec of `local` with
/// one thing wrong.
#[test]
fn a_broken_spec_is_named_field_and_value() {
    let home = directory();
    let path = home.path().join("lab.json");
    let good = serde_json::to_value(Params::local().spec()).expect("a spec is JSON");
    let fields: [(&str, Value); 28] = [
        ("name", json!("regtest")),
        ("name", json!("")),
        ("name", json!("two words")),
        ("name", json!(7)),
        ("name", json!("x".repeat(33))),
        ("block_time_ms", json!(0)),
        ("block_time_ms", json!(86_400_001)),
        ("block_time_ms", json!("10 s")),
        ("retarget", json!("yes")),
        ("retarget", Value::Null),
        ("difficulty_first", json!(1)),
        ("difficulty_first", json!(-1)),
        ("difficulty_min", json!(0)),
        ("difficulty_min", json!(1_023)),
        ("difficulty_min", json!(1.5)),
        ("future_limit_ms", json!(999)),
        ("reward_base", json!(u64::MAX)),
        ("reward_tail", json!(0)),
        ("reward_half_life", json!(0)),
        ("maturity", json!(0)),
        ("maturity", json!(100_001)),
        ("port", json!(0)),
        ("port", json!(64_536)),
        ("seeds", json!("127.0.0.1:9000")),
        ("seeds", json!(["nowhere"])),
        ("activations", json!({"x": 1})),
        ("activations", json!({"0": 1})),
        ("blocktime", json!(1)),
    ];
    for (field, value) in fields {
        let mut spec = good.clone();
        spec[field] = value.clone();
        fs::write(&path, spec.to_string()).expect("a small file");
        let said = stderr(&run(home.path(), words("daemon --network lab.json")));
        assert!(said.contains("lab.json") && said.contains(field) && said.lines().count() == 1, "{field}: {said}");
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = value.as_array().map_or(shown, |seeds| seeds[0].as_str().unwrap_or_default().to_owned());
        assert!(said.contains(&shown) || value.is_object() || field == "blocktime", "{field}: {shown}: {said}");
    }
    let twice = good.to_string().replacen('{', r#"{"name":"local","#, 1);
    for text in ["", "{", "[]", "{}", "null", "7", "{\"name\":\"x\"}", &twice, &" ".repeat(70_000)] {
        fs::write(&path, text).expect("a small file");
        let output = run(home.path(), words("daemon --network lab.json"));
        assert_eq!(output.status.code(), Some(2), "{text:.20}");
        assert_eq!(stderr(&output).lines().count(), 1, "{text:.20}");
    }
    assert_eq!(files(home.path()).len(), 1, "nothing but the spec");
}

/// Goal: without a home there is no guess where the chain goes. Method: an empty environment.
#[test]
fn no_home_is_an_error_that_says_so() {
    let home = directory();
    let output = spindle(home.path()).arg("daemon").env_remove("HOME").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--data-dir"));
}

/// Goal: help and version go to stdout, on every level. Method: each.
#[test]
fn help_is_there_on_every_level() {
    let home = directory();
    let chain = ["--help", "help", "daemon --help", "chain --help", "chain generate --help", "chain verify --help"];
    let wallet = ["wallet --help", "wallet new --help", "wallet send --help", "wallet check-proof --help"];
    for line in chain.into_iter().chain(wallet) {
        let output = run(home.path(), words(line));
        assert!(output.status.success() && output.stdout.starts_with(b"Usage: spindle"), "{line}");
    }
    let version = run(home.path(), ["--version"]);
    assert_eq!(version.stdout, format!("spindle {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

/// Goal: a generated chain verifies, can be extended, and its blocks can be looked at; all commands agree.
/// Method: regtest, once 300 blocks and once 200 more.
#[test]
fn a_generated_chain_verifies_and_shows() {
    let home = directory();
    let first = json_of(&run(home.path(), words("chain generate --blocks 300 --data-dir d --json")));
    assert_eq!((&first["blocks"], &first["height"]), (&json!(300), &json!(300)));
    let second = json_of(&run(home.path(), words("chain generate --blocks 200 --data-dir d --json")));
    assert_eq!((&second["blocks"], &second["height"], &second["key"]), (&json!(200), &json!(500), &first["key"]));
    let verdict = json_of(&run(home.path(), words("chain verify --data-dir d --json")));
    assert_eq!((&verdict["height"], &verdict["tip"]), (&json!(500), &second["tip"]));
    assert_eq!((&verdict["durable_height"], &verdict["work"]), (&json!(500), &json!(500)));
    let supply = u64::try_from(Params::regtest().supply(500)).expect("a short chain");
    assert_eq!((&verdict["supply"], &verdict["coins"], &verdict["torn"]), (&json!(supply), &json!(500), &Value::Null));
    let shown = json_of(&run(home.path(), words("chain show 300 --data-dir d --json")));
    assert_eq!((&shown["hash"], &shown["confirmations"], &shown["active"]), (&first["tip"], &json!(201), &json!(true)));
    assert_eq!((&shown["coinbase"]["key"], &shown["size_bytes"]), (&first["key"], &json!(184)));
    let tip = second["tip"].as_str().expect("a hash");
    let by_hash = json_of(&run(home.path(), ["chain", "show", tip, "--data-dir", "d", "--json"]));
    assert_eq!((&by_hash["height"], &by_hash["confirmations"]), (&json!(500), &json!(1)));
    for wrong in ["501", &"5".repeat(64)] {
        let output = run(home.path(), ["chain", "show", wrong, "--data-dir", "d"]);
        assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(1), 1));
    }
}

/// Goal: `--txs` makes so many transfers, on an empty chain and on one that is there, in blocks of which the
/// last are full; the chain verifies, supply included, and each transfer leaves one coin more. Method: regtest,
/// as many blocks as it takes and then more than that.
#[test]
fn a_chain_full_of_transfers_verifies() {
    let home = directory();
    let full = 3_911;
    let first = json_of(&run(home.path(), words("chain generate --txs 5000 --data-dir d --json")));
    assert_eq!((&first["txs"], &first["blocks"], &first["height"]), (&json!(5_000), &json!(12), &json!(12)));
    let second = json_of(&run(home.path(), words("chain generate --txs 100 --blocks 15 --data-dir d --json")));
    assert_eq!((&second["txs"], &second["blocks"], &second["height"]), (&json!(100), &json!(15), &json!(27)));
    let verdict = json_of(&run(home.path(), words("chain verify --data-dir d --json")));
    let supply = u64::try_from(Params::regtest().supply(27)).expect("a short chain");
    assert_eq!((&verdict["supply"], &verdict["tip"]), (&json!(supply), &second["tip"]));
    assert_eq!((&verdict["coins"], &verdict["refused"]), (&json!(27 + 5_100), &json!(0)));
    for (height, transfers) in [(10, 0), (11, 5_000 - full), (12, full), (26, 0), (27, 100)] {
        let shown = json_of(&run(home.path(), ["chain", "show", &height.to_string(), "--data-dir", "d", "--json"]));
        assert_eq!(shown["transfers"].as_array().map(Vec::len), Some(transfers), "height {height}");
        assert_eq!(shown["coinbase"]["key"], first["key"]);
    }
}

/// Goal: where coins are too small for so many transfers that is said, with the way out, and the way out works.
/// Method: a network whose coinbases can be split once.
#[test]
fn too_small_coins_are_no_endless_search() {
    let home = directory();
    let mut spec = serde_json::to_value(Params::regtest().spec()).expect("a spec is JSON");
    (spec["name"], spec["reward_base"], spec["reward_tail"]) = (json!("poor"), json!(0), json!(1_000));
    fs::write(home.path().join("poor.json"), spec.to_string()).expect("a small file");
    let line = "chain generate --txs 100 --network poor.json --data-dir";
    let refused = run(home.path(), words(&format!("{line} a")));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--blocks") && stderr(&refused).lines().count() == 2, "{}", stderr(&refused));
    assert_eq!(json_of(&run(home.path(), words(&format!("{line} b --blocks 200 --json"))))["txs"], json!(100));
    let verdict = json_of(&run(home.path(), words("chain verify --network poor.json --data-dir b --json")));
    assert_eq!((&verdict["supply"], &verdict["coins"]), (&json!(200_000), &json!(300)));
}

/// Goal: a real difficulty is mined for, and the network is read from the directory. Method: three blocks
/// of `local`.
#[test]
fn a_chain_with_work_is_mined() {
    let home = directory();
    let line = format!("chain generate --network local --blocks 3 --data-dir d --json --mine-to {}", key());
    assert_eq!(json_of(&run(home.path(), words(&line)))["key"], json!(key()));
    let verdict = json_of(&run(home.path(), words("chain verify --data-dir d --json")));
    assert_eq!((&verdict["network"], &verdict["height"]), (&json!("local"), &json!(3)));
    assert!(verdict["work"].as_u64() >= Some(3 << 20));
    let other = run(home.path(), words("chain verify --data-dir d --network regtest"));
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("network"), "{}", stderr(&other));
}

/// Goal: verify passes over a torn tail and says so; a byte that changed before the mark is damage with
/// its file and offset; nothing is written either way. Method: bytes added to, and one flipped in, a block
/// file whose index and checkpoint are fine.
#[test]
fn verify_tells_a_torn_tail_from_damage() {
    let home = directory();
    json_of(&run(home.path(), words("chain generate --blocks 50 --data-dir d --json")));
    let path = home.path().join("d").join("blocks.dat");
    let whole = fs::read(&path).expect("a block file");
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[whole.len() - 100..]);
    fs::write(&path, &torn).expect("written");
    let verdict = json_of(&run(home.path(), words("chain verify --data-dir d --json")));
    assert_eq!((&verdict["height"], &verdict["torn"]["bytes"]), (&json!(50), &json!(100)));
    assert_eq!(verdict["torn"]["offset"], json!(whole.len()));
    let said = run(home.path(), words("chain verify --data-dir d")).stdout;
    assert!(String::from_utf8_lossy(&said).contains("torn tail of 100 bytes"));
    assert_eq!(fs::read(&path).expect("still there"), torn);

    // The tenth block's frame: 65 bytes of the file's own, then 197 for each block.
    let offset = 65 + 9 * 197;
    for at in [offset, offset + 13, offset + 150, offset + 196] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("written");
        let output = run(home.path(), words("chain verify --data-dir d --json"));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "byte {at}: {said}");
        assert!(said.contains("blocks.dat") && said.contains(&format!("byte {offset}")), "byte {at}: {said}");
        let damage: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!((&damage["offset"], &damage["record"]), (&json!(offset), &json!(10)), "byte {at}");
    }
    fs::write(&path, &whole).expect("written");
    fs::write(home.path().join("d").join("blocks.index"), "not an index").expect("written");
    assert_eq!(json_of(&run(home.path(), words("chain verify --data-dir d --json")))["height"], json!(50));
    assert_eq!(run(home.path(), words("chain verify --data-dir nowhere")).status.code(), Some(1));
    assert!(!home.path().join("nowhere").exists());
}

/// Goal: a result that nobody reads, and complaints that nobody hears, are no panic. Method: pipes whose
/// other end is closed before the program writes.
#[test]
fn closed_pipes_are_no_panic() {
    let home = directory();
    for (line, code) in [("--help", 0), ("daemon --fly", 2), ("chain generate --blocks 5 --data-dir d", 0)] {
        let mut command = spindle(home.path());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        command.args(words(line)).stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
        assert_eq!(command.status().expect("the program starts").code(), Some(code), "{line}");
    }
}

/// A running daemon and the lines of its log.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(home: &Path, line: &str) -> Self {
        let mut child = spindle(home).args(words(line)).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, log }
    }

    /// Reads on up to a line that holds this.
    fn line_with(&mut self, part: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "no `{part}` in:\n{before}");
            if line.contains(part) {
                return line;
            }
            before += &line;
        }
    }

    /// SIGINT or SIGTERM, and how it ended.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill is there").success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ended").code(), rest)
    }
}

/// Goal: a daemon says at its start what it is, keeps others from its directory and port, can be verified
/// while it runs, and stops in order at either signal. Method: regtest with a generated chain.
#[test]
#[cfg(unix)]
fn a_daemon_starts_says_what_it_is_and_stops() {
    let home = directory();
    let made = json_of(&run(home.path(), words("chain generate --blocks 20 --data-dir d --json")));
    let tip = made["tip"].as_str().expect("a hash");
    let (port, other_port) = (free_port(), free_port());
    for signal in ["-INT", "-TERM"] {
        let line = format!("daemon --network regtest --port {port} --data-dir d");
        let mut running = Running::start(home.path(), &line);
        let genesis = Params::regtest().genesis_id().to_string();
        assert!(running.line_with("genesis").contains(&genesis));
        assert!(running.line_with("data directory").contains(&home.path().join("d").display().to_string()));
        assert!(running.line_with("opened at height=20").contains(tip));
        let held = run(home.path(), words(&format!("daemon --network regtest --port {other_port} --data-dir d")));
        assert_eq!(held.status.code(), Some(1));
        assert!(stderr(&held).contains(&running.child.id().to_string()), "{}", stderr(&held));
        assert!(running.line_with("listening on").contains(&port.to_string()));
        let line = format!("daemon --network regtest --port {port} --data-dir e --mine --log error");
        let busy = run(home.path(), words(&line));
        assert!(!home.path().join("e").exists(), "a port in use is found out before anything is made");
        assert_eq!((busy.status.code(), stderr(&busy).lines().count()), (Some(1), 1), "{}", stderr(&busy));
        assert!(stderr(&busy).contains(&port.to_string()), "{}", stderr(&busy));
        assert_eq!(json_of(&run(home.path(), words("chain verify --data-dir d --json")))["height"], json!(20));
        let (code, rest) = running.end(signal);
        assert_eq!(code, Some(0), "{signal}: {rest}");
        assert!(rest.contains("stopped at height 20"), "{rest}");
    }
}

/// Goal: a signal while the chain is being opened ends the process in order, and the chain opens again.
/// Method: a chain without its index and checkpoint, so that opening reads and replays it all; the signal comes at the
/// line before. It may also meet a node that is open already: that has to end as well.
#[test]
#[cfg(unix)]
fn a_signal_while_the_chain_opens_is_honoured() {
    let home = directory();
    json_of(&run(home.path(), words("chain generate --blocks 5000 --data-dir d --json")));
    for signal in ["-INT", "-TERM", "-TERM"] {
        for cache in ["blocks.index", "ledger.checkpoint"] {
            let _ = fs::remove_file(home.path().join("d").join(cache));
        }
        let line = format!("daemon --network regtest --port {} --data-dir d", free_port());
        let mut running = Running::start(home.path(), &line);
        running.line_with("data directory");
        let (code, rest) = running.end(signal);
        assert_eq!(code, Some(0), "{signal}: {rest}");
        assert!(rest.contains("stopped"), "{rest}");
        println!("{}", rest.lines().last().unwrap_or_default());
    }
    assert_eq!(json_of(&run(home.path(), words("chain verify --data-dir d --json")))["height"], json!(5_000));
}

/// Goal: a daemon that mines to a wallet's address makes blocks in which that wallet finds its coins, each
/// under another key; so does `chain generate`. Method: four generated blocks, one mined; then the wallet
/// looks at the file.
#[test]
#[cfg(unix)]
fn a_daemon_mines_to_a_wallet() {
    let home = directory();
    let params = Params::regtest();
    let (keys, address) = wallet(&params);
    let made = format!("chain generate --blocks 4 --data-dir d --mine-to {address} --json");
    assert_eq!(json_of(&run(home.path(), words(&made)))["address"], json!(address));
    let line = format!("daemon --network regtest --port {} --data-dir d --mine --mine-to {address}", free_port());
    let mut running = Running::start(home.path(), &line);
    running.line_with("durable height=5");
    assert_eq!(running.end("-INT").0, Some(0));
    assert!(!home.path().join("d").join("miner.key").exists());

    let (store, _) =
        PersistentBlockchain::open_read_only(&home.path().join("d"), &params, &mut |_, _| {}).expect("sound");
    let blocks: Vec<Vec<u8>> = (1..=5).map(|record| store.block(RecordNo(record)).expect("sound")).collect();
    let seen = scan::blocks(keys.view(), &params, &blocks, None).expect("sound blocks");
    let coins: Vec<_> = seen.iter().flat_map(|block| &block.transactions[0].received).collect();
    let found: u64 = coins.iter().map(|coin| coin.input.amount).sum();
    assert_eq!((coins.len(), u128::from(found)), (5, params.supply(5)));
    let paid: BTreeSet<_> = coins.iter().map(|coin| coin.input.key).collect();
    assert_eq!(paid.len(), 5, "no key is used twice");
}

/// Goal: two daemons, told nothing of each other but one address, come to one chain; the key file is made
/// on first use and kept. Method: regtest; the second dials the first; its log names the first one's tip.
#[test]
#[cfg(unix)]
fn a_second_daemon_syncs_from_the_first() {
    let home = directory();
    let made = json_of(&run(home.path(), words("chain generate --blocks 2000 --data-dir a --json")));
    let (first, second) = (free_port(), free_port());
    let mut one = Running::start(home.path(), &format!("daemon --network regtest --port {first} --data-dir a"));
    one.line_with("listening on");
    let line =
        format!("daemon --network regtest --port {second} --data-dir b --peer 127.0.0.1:{first} --mine --log info");
    let mut two = Running::start(home.path(), &line);
    let tip = two.line_with("durable height=2000");
    assert!(tip.contains(made["tip"].as_str().expect("a hash")), "{tip}");
    assert!(home.path().join("b").join("miner.key").is_file());
    assert_eq!(two.end("-INT").0, Some(0));
    assert_eq!(one.end("-INT").0, Some(0));
    let verdicts = ["a", "b"].map(|dir| json_of(&run(home.path(), ["chain", "verify", "--data-dir", dir, "--json"])));
    assert!(verdicts[1]["height"].as_u64() >= Some(2_000), "{}", verdicts[1]);
}

/// Goal: a directory that may not be written is the world's fault, not the options'. Method: a read-only
/// parent; root may write everywhere, so there it says nothing.
#[test]
#[cfg(unix)]
fn an_unwritable_directory_is_exit_code_1() {
    use std::os::unix::fs::PermissionsExt;
    let home = directory();
    let closed = home.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("ours");
    if fs::write(closed.join("probe"), "").is_err() {
        for line in ["daemon --data-dir closed/d", "chain generate --blocks 1 --data-dir closed/d"] {
            let output = run(home.path(), words(line));
            assert_eq!(output.status.code(), Some(1), "{line}: {}", stderr(&output));
            assert!(stderr(&output).contains("closed"), "{line}");
        }
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("ours");
}
