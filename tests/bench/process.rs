//! A spindle process under measurement: its log as it comes, and what the kernel says of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The release binary that cargo has built beside this benchmark.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_spindle");

/// A directory of its own under `target/bench`, empty.
pub(crate) fn fresh_dir(name: &str) -> PathBuf {
    let dir = dir(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// A directory under `target/bench`, as it is.
pub(crate) fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench").join(name)
}

/// Runs a command to its end; gives what it printed and how long it took.
pub(crate) fn run(arguments: &[&str]) -> (String, Duration) {
    let start = Instant::now();
    let output = Command::new(BINARY).args(arguments).output().expect("the binary runs");
    let took = start.elapsed();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), took)
}

/// A chain of so many coinbase-only regtest blocks; made once and kept.
pub(crate) fn chain_of(blocks: u64) -> PathBuf {
    made(&format!("chain-{blocks}"), "--blocks", blocks)
}

/// A regtest chain with so many 1-input 2-output transfers; made once and kept.
pub(crate) fn chain_of_transfers(txs: u64) -> PathBuf {
    made(&format!("chain-{txs}-txs"), "--txs", txs)
}

fn made(name: &str, option: &str, count: u64) -> PathBuf {
    let dir = dir(name);
    if !dir.join("complete").exists() {
        let _ = std::fs::remove_dir_all(&dir);
        let text = dir.to_str().expect("a plain path");
        run(&["chain", "generate", "--network", "regtest", option, &count.to_string(), "--data-dir", text]);
        std::fs::write(dir.join("complete"), "").expect("the directory was just made");
    }
    dir
}

/// Processor time of a process so far, user and system.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // Behind the name in brackets, which may hold anything: fields 14 and 15 of proc(5), in hundredths.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}

/// A figure of `/proc/PID/status` in KiB: `VmRSS` or `VmHWM`.
pub(crate) fn status_kib_of(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
    line.trim_start_matches(':').split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) started: Instant,
    lines: Receiver<(Instant, String)>,
}

impl Daemon {
    /// Starts a regtest daemon on a port and directory; more arguments may follow.
    pub(crate) fn start(port: u16, dir: &Path, more: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = Command::new(BINARY)
            .args(["daemon", "--network", "regtest", "--no-seeds", "--port", &port.to_string(), "--data-dir"])
            .arg(dir)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = child.stderr.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { child, started, lines }
    }

    /// Waits for a line with this text; gives when it came and the line.
    pub(crate) fn wait_for(&self, text: &str) -> (Instant, String) {
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if line.contains(text) => return (at, line),
                Ok(_) => {}
                Err(error) => panic!("no line with `{text}` came: {error}"),
            }
        }
    }

    /// The number behind `key=` in the latest line that has it; every line so far is used up.
    pub(crate) fn latest(&self, marker: &str, key: &str) -> Option<u64> {
        let lines = self.lines.try_iter().map(|(_, line)| line).filter(|line| line.contains(marker));
        lines.filter_map(|line| number_after(&line, key)).last()
    }

    /// Processor time so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Processor time of the threads that are alive, to the nanosecond.
    pub(crate) fn cpu_exact(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let times = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
        let spent = |text: String| text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        Duration::from_nanos(times.map(spent).sum())
    }

    /// A figure of `/proc/PID/status` in KiB: `VmRSS` or `VmHWM`.
    pub(crate) fn status_kib(&self, name: &str) -> u64 {
        status_kib_of(self.child.id(), name)
    }

    /// Ends it as a power switch would, but for what the kernel still writes.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Killed or ended already: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number that follows `key=` in a line.
pub(crate) fn number_after(line: &str, key: &str) -> Option<u64> {
    let rest = line.split(&format!("{key}=")).nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
