//! What people and other programs do with a node from outside: a network of their own, a file of options, a
//! service, a terminal; and questions and orders (`commands/asking.rs`).

mod common;

#[path = "commands/asking.rs"]
mod asking;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Output, Stdio};

use common::process::{PATIENCE, Process, free_port, spindle};
use serde_json::Value;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Runs a command in a directory that is its home, too.
fn run(home: &Path, line: &str) -> Output {
    let mut command = spindle();
    command.current_dir(home).env("HOME", home).env_remove("XDG_DATA_HOME").stdin(Stdio::null());
    command.args(line.split_whitespace()).output().expect("the program starts")
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(home: &Path, line: &str) -> Value {
    serde_json::from_str(&out(&run(home, line))).expect("one JSON value")
}

/// A daemon in a directory that is its home, too.
fn daemon(home: &Path, line: &str) -> Process {
    let mut command = spindle();
    command.current_dir(home).env("HOME", home).env_remove("XDG_DATA_HOME").env_remove("JOURNAL_STREAM");
    command.arg("daemon").args(line.split_whitespace()).env_remove("NOTIFY_SOCKET");
    Process::start(command)
}

fn stop(mut process: Process) -> Vec<String> {
    process.signal("TERM");
    assert!(process.wait().success(), "{}", process.seen.join("\n"));
    std::mem::take(&mut process.seen)
}

/// The tip that a line of a log names: its height and hash.
fn tip(line: &str) -> (u64, String) {
    let mut values = line.split(' ').filter_map(|word| word.split_once('=')).map(|(_, value)| value);
    let height = values.next().and_then(|height| height.parse().ok()).expect("a height");
    (height, values.next().expect("a hash").to_owned())
}

// --- a network of one's own ---

/// Goal: `chain new` makes a spec that the loader takes as it is; the same words make the same network, other words
/// another one with another port. Method: several sets of options, each spec used by `chain generate`.
#[test]
fn a_new_network_is_its_words() {
    let home = directory();
    let plain = "chain new --name lab --difficulty 1 --no-retarget";
    let lines = [
        plain.to_owned(),
        format!("{plain} --block-time 11"),
        format!("{plain} --maturity 5 --reward 1.5 --reward-tail 0.00000001 --reward-half-life 7"),
        plain.replace("lab", "Lab"),
    ];
    let mut seen = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let spec = out(&run(home.path(), line));
        assert_eq!(spec, out(&run(home.path(), line)), "nothing is drawn by chance");
        fs::write(home.path().join("spec.json"), &spec).expect("a small file");
        let made = json(home.path(), &format!("chain generate --network spec.json --blocks 3 --data-dir d{n} --json"));
        assert_eq!(made["height"], 3);
        let verdict = json(home.path(), &format!("chain verify --network spec.json --data-dir d{n} --json"));
        assert_eq!((&verdict["height"], &verdict["tip"]), (&made["height"], &made["tip"]));
        let spec: Value = serde_json::from_str(&spec).expect("a spec is JSON");
        assert_eq!(spec["seeds"][1], format!("127.0.0.1:{}", spec["port"].as_u64().expect("a port") + 1));
        seen.push((spec["port"].clone(), made["tip"].clone()));
    }
    for (n, one) in seen.iter().enumerate() {
        assert!(seen[..n].iter().all(|other| other.0 != one.0 && other.1 != one.1), "{seen:?}");
    }
    let measured = json(home.path(), "chain new --name lab --block-time 2 --difficulty measure");
    assert!(measured["difficulty_first"].as_u64() >= Some(1_024), "{measured}");
}

/// Goal: options that make no network are refused with exit code 2, their name and one line. Method: one of each.
#[test]
fn what_is_no_network_is_refused() {
    let home = directory();
    let wrong = [
        ("", "--name"),
        ("--name local", "built in"),
        ("--name Regtest", "built in"),
        ("--name a.b", "--name"),
        ("--name x --block-time 0", "--block-time"),
        ("--name x --block-time 86401", "--block-time"),
        ("--name x --block-time 1.5", "--block-time"),
        ("--name x --difficulty 1023", "--no-retarget"),
        ("--name x --difficulty much", "measure"),
        ("--name x --difficulty 5000 --difficulty-min 6000", "--difficulty"),
        ("--name x --difficulty-min 6", "--difficulty-min"),
        ("--name x --reward 1e3", "--reward"),
        ("--name x --reward 99999999999", "--reward"),
        ("--name x --reward-tail 0", "--reward-tail"),
        ("--name x --maturity 100001", "--maturity"),
        ("--name x --seed :9000", "--seed"),
        ("--name x --seed 0.0.0.0", "--seed"),
        ("--name x --port 65000", "--port"),
        ("--name x --future-limit 0", "--future-limit"),
        ("--name x y", "`y`"),
    ];
    for (options, part) in wrong {
        let output = run(home.path(), &format!("chain new {options}"));
        let said = err(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{options}: {said}");
        assert!(said.contains(part) && output.stdout.is_empty(), "{options}: {said}");
    }
}

/// Goal: a node of another network is turned away, and both sides say that this is why, with the genesis of the other
/// one. Method: two specs that differ in one number; one node dials the other.
#[test]
fn a_node_with_another_spec_is_turned_away_with_that_reason() {
    let home = directory();
    let (port, other) = (free_port(), free_port());
    let mut genesis = Vec::new();
    for (file, maturity) in [("ours.json", 10), ("theirs.json", 11)] {
        let made = run(home.path(), &format!("chain new --name class --maturity {maturity} --port {port}"));
        fs::write(home.path().join(file), out(&made)).expect("a small file");
        let said = err(&made);
        let id = said.split("genesis ").nth(1).expect("it says which").split(',').next().expect("a word").to_owned();
        genesis.push(id[..12].to_owned());
    }
    let mut ours = daemon(home.path(), "--network ours.json --data-dir a --no-seeds");
    ours.wait_for("listening on");
    let mut theirs = daemon(
        home.path(),
        &format!("--network theirs.json --port {other} --data-dir b --no-seeds --peer 127.0.0.1:{port}"),
    );
    let refused = theirs.wait_for("on another network");
    assert!(refused.contains("cannot connect to") && refused.contains(&port.to_string()), "{refused}");
    let sent_away = ours.wait_for("on another network");
    assert!(sent_away.contains("sent away") && sent_away.contains(&genesis[1]), "{sent_away}: {genesis:?}");
    stop(theirs);
    stop(ours);
}

/// Goal: the story of the README: one command makes the network, one starts the teacher's node, one each the others',
/// and all come to one chain, although two of them mine. Method: all on this machine, so each of the others gets a
/// port, and little work; as soon as one block was the tip of all, they stop, and that block is in every chain.
#[test]
fn a_class_comes_to_one_chain_with_one_command_each() {
    let home = directory();
    let port = free_port();
    let line = format!("chain new --name class2026 --block-time 1 --difficulty 262144 --seed 127.0.0.1 --port {port}");
    fs::write(home.path().join("class2026.json"), out(&run(home.path(), &line))).expect("a small file");
    let mut nodes = vec![daemon(home.path(), "--network class2026.json --bind 0.0.0.0 --mine")];
    nodes[0].wait_for("listening on");
    for mine in ["--mine", "", ""] {
        nodes.push(daemon(home.path(), &format!("--network class2026.json --port {} {mine}", free_port())));
    }
    let mut tips: Vec<BTreeSet<(u64, String)>> = vec![BTreeSet::new(); nodes.len()];
    let (height, hash) = loop {
        for (node, tips) in nodes.iter_mut().zip(&mut tips) {
            tips.insert(tip(&node.wait_for("tip height=")));
        }
        let common = tips[0].iter().rfind(|tip| tip.0 >= 5 && tips.iter().all(|tips| tips.contains(tip)));
        if let Some(tip) = common {
            break tip.clone();
        }
    };
    for node in nodes {
        drop(stop(node));
    }
    let chains: Vec<_> = fs::read_dir(home.path().join(".local/share/spindle")).expect("made").collect();
    assert_eq!(chains.len(), 4, "{chains:?}");
    for chain in chains {
        let at = format!("--network class2026.json --data-dir {} --json", chain.expect("readable").path().display());
        assert!(json(home.path(), &format!("chain verify {at}"))["height"].as_u64() >= Some(height));
        assert_eq!(json(home.path(), &format!("chain show {height} {at}"))["hash"], hash);
    }
}

// --- a file of options, and a service ---

/// Goal: a file says what the command line says, paths in it are meant from where it is, and the command line wins.
/// Method: a file in another directory; its port is overruled.
#[test]
fn a_file_of_options_is_a_command_line() {
    let home = directory();
    fs::create_dir(home.path().join("etc")).expect("a directory");
    let (port, other) = (free_port(), free_port());
    let config = home.path().join("etc/node.conf");
    let text = format!("# ours\nnetwork = regtest\n\nport = {port}\ndata-dir = ../data\nlog = debug\nno-seeds\n");
    fs::write(&config, text).expect("a small file");
    let mut node = daemon(home.path(), &format!("--config etc/node.conf --port={other}"));
    assert!(node.wait_for("with the options in").contains("etc/node.conf"));
    assert!(node.wait_for("listening on").contains(&other.to_string()));
    let said = stop(node);
    assert!(said.iter().any(|line| line.contains(" debug ")), "{}", said.join("\n"));
    assert!(home.path().join("data/blocks.dat").is_file());

    let wrong = [
        ("prot = 1", "line 1: `prot` is no option; did you mean `port`?"),
        ("mine\nport = 70000", "line 2: `port`: `70000` is too large"),
        ("\nmine\nmine", "line 3: `mine` comes a second time"),
        ("network = none.json", "none.json"),
        ("mining-threads = 2", "does nothing without `--mine`"),
    ];
    for (text, part) in wrong {
        fs::write(&config, text).expect("a small file");
        for command in ["daemon", "service-file"] {
            let output = run(home.path(), &format!("{command} --config etc/node.conf"));
            let said = err(&output);
            assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{text}: {said}");
            assert!(said.contains(part), "{text}: {said}");
        }
    }
    for path in ["etc", "none", "''"] {
        let output = run(home.path(), &format!("daemon --config {path}"));
        assert_eq!((output.status.code(), err(&output).lines().count()), (Some(2), 1), "{}", err(&output));
    }
}

/// What the supervisor hears until a word comes.
fn hear(socket: &UnixDatagram, word: &str) -> Vec<String> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut heard = Vec::new();
    loop {
        let mut bytes = [0; 4_096];
        let count = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no `{word}`: {error}; {heard:?}"));
        heard.push(String::from_utf8(bytes[..count].to_vec()).expect("text"));
        if heard.last().is_some_and(|last| last.lines().any(|line| line == word)) {
            return heard;
        }
    }
}

/// Goal: the command of the unit that is printed starts a node, which says that it is ready when others can connect,
/// and that it stops when it does. Method: its words, run with a socket of ours in the place of systemd's, once in the
/// file system and once without a file.
#[test]
fn a_service_says_when_it_is_ready_and_when_it_stops() {
    use std::os::linux::net::SocketAddrExt;
    let home = directory();
    let port = free_port();
    fs::write(home.path().join("node.conf"), format!("network = regtest\nport = {port}\n")).expect("a small file");
    let unit = out(&run(home.path(), "service-file --config node.conf --data-dir some/data"));
    assert!(unit.contains("Type=notify\n") && unit.contains("ProtectSystem=strict\n"), "{unit}");
    assert!(unit.contains(&format!("ReadWritePaths={}\n", home.path().display())), "{unit}");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let name = format!("spindle-test-{port}");
    let abstractly = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let places = [
        (home.path().join("notify").display().to_string(), UnixDatagram::bind(home.path().join("notify"))),
        (format!("@{name}"), UnixDatagram::bind_addr(&abstractly)),
    ];
    for (place, socket) in places {
        let socket = socket.expect("a socket");
        let mut words = command.split(' ');
        let mut command = std::process::Command::new(words.next().expect("a program"));
        command.args(words).current_dir("/").env("NOTIFY_SOCKET", &place).env_remove("JOURNAL_STREAM");
        let process = Process::start(command);
        let heard = hear(&socket, "READY=1");
        assert_eq!(heard.len(), 1, "{heard:?}");
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("others can connect");
        process.signal("TERM");
        let heard = hear(&socket, "STOPPING=1");
        assert!(heard.iter().all(|words| words.contains("STATUS=")), "{heard:?}");
        let mut process = process;
        assert!(process.wait().success());
        assert!(process.seen.iter().all(|line| !line.contains(" warn ")), "{:?}", process.seen);
    }
    assert!(home.path().join("some/data/blocks.dat").is_file());
}

/// Goal: without `--data-dir` systemd keeps the chain, and words that mean something to systemd are quoted.
/// Method: the unit's lines.
#[test]
fn a_unit_leaves_the_directory_to_systemd() {
    let home = directory();
    let unit = out(&run(home.path(), "service-file --network regtest --port 9105 --mine --mine-to ./50%.key"));
    for line in ["DynamicUser=yes", "StateDirectory=spindle", "NoNewPrivileges=yes", "CapabilityBoundingSet="] {
        assert!(unit.lines().any(|other| other == line), "{line}: {unit}");
    }
    let key = format!("--mine-to {}/./50%%.key --data-dir /var/lib/spindle/regtest-9105\n", home.path().display());
    assert!(unit.replace("/./", "/").contains(&key.replace("/./", "/")), "{unit}");
    let low = out(&run(home.path(), "service-file --port 443"));
    assert!(low.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"), "{low}");
    for wrong in ["--fly", "--port x", "fly", "--mining-threads 2", "--data-dir"] {
        let output = run(home.path(), &format!("service-file {wrong}"));
        assert_eq!((output.status.code(), err(&output).lines().count()), (Some(2), 1), "{}", err(&output));
    }
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0, "nothing is made");
}

/// Goal: lines for the journal have no time and say how loud they are; a variable that is left over from somebody
/// else's journal changes nothing. Method: stderr is a file, and `JOURNAL_STREAM` names it, or another.
#[test]
fn the_journal_adds_its_own_time() {
    let home = directory();
    let port = free_port();
    fs::create_dir(home.path().join("a-directory")).expect("a directory");
    for is_journal in [true, false] {
        let path = home.path().join("log");
        let file = File::create(&path).expect("a file");
        let metadata = file.metadata().expect("known");
        let inode = metadata.ino() + u64::from(!is_journal);
        let mut command = spindle();
        command.args(["daemon", "--network", "regtest", "--no-seeds", "--port", &port.to_string(), "--data-dir", "d"]);
        command.current_dir(home.path()).env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()));
        let socket = UnixDatagram::bind(home.path().join(format!("{is_journal}"))).expect("a socket");
        command.env("NOTIFY_SOCKET", home.path().join(format!("{is_journal}")));
        let mut child = command.stderr(file).spawn().expect("the program starts");
        hear(&socket, "READY=1");
        let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().expect("kill is there");
        assert!(stopped.success() && child.wait().expect("it ends").success());
        let mut text = String::new();
        File::open(&path).and_then(|mut file| file.read_to_string(&mut text)).expect("readable");
        for line in text.lines() {
            assert_eq!(line.starts_with("<6>info  "), is_journal, "{line}");
            assert_eq!(line.starts_with("20"), !is_journal, "{line}");
        }
        assert!(text.contains("listening on"), "{text}");
    }
}

// --- a terminal ---

/// Runs a command whose stderr is a terminal; gives what that shows, codes and all.
fn on_a_terminal(home: &Path, line: &str, environment: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name").into_string().expect("text");
    let theirs = File::options().read(true).write(true).open(name).expect("the other end");
    // Wide enough for a bar beside the longest numbers.
    let size = rustix::termios::Winsize { ws_row: 25, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).expect("it is a terminal");
    let mut command = spindle();
    command.args(line.split_whitespace()).current_dir(home).env_remove("NO_COLOR").env("TERM", "xterm");
    command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let mut child = command.spawn().expect("the program starts");
    // It holds the other end, which has to be closed for ours to come to an end.
    drop(command);
    let mut shown = Vec::new();
    // Linux ends a terminal with an error.
    let _ = File::from(ours).read_to_end(&mut shown);
    assert!(child.wait().expect("it ends").success(), "{}", String::from_utf8_lossy(&shown));
    String::from_utf8_lossy(&shown).into_owned()
}

/// Goal: on a terminal long work draws one line again and again, with a bar, and takes it away at the end; in colours
/// unless they are not wanted; nothing with `--quiet`. Method: a chain that takes a while, on a terminal of ours.
#[test]
fn progress_is_one_line_on_a_terminal() {
    let home = directory();
    let line = "chain generate --txs 30000 --data-dir";
    let shown = on_a_terminal(home.path(), &format!("{line} a"), &[]);
    assert!(shown.contains("\rgenerating [") || shown.contains("\u{1b}[Kgenerating ["), "{shown:?}");
    assert!(shown.contains("of 30000 transfers") && shown.contains("\u{1b}[32m"), "{shown:?}");
    assert!(shown.ends_with("\r\u{1b}[K"), "{shown:?}");
    let shown = on_a_terminal(home.path(), &format!("{line} b"), &[("NO_COLOR", "1")]);
    assert!(shown.contains("generating [") && !shown.contains("\u{1b}[32m"), "{shown:?}");
    for (options, environment) in [("c --quiet", ("TERM", "xterm")), ("d", ("TERM", "dumb"))] {
        let shown = on_a_terminal(home.path(), &format!("{line} {options}"), &[environment]);
        assert!(!shown.contains("generating [") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}
