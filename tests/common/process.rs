//! A real spindle process: started, read line by line, stopped or killed.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine: running out is a failure, never a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The binary under test.
pub(crate) fn spindle() -> Command {
    Command::new(env!("CARGO_BIN_EXE_spindle"))
}

/// A port that nobody listens on at this moment, and nobody on its neighbour, which is the RPC's.
///
/// Both stay free while their node is down: they lie below those that the system deals out by itself, and are never
/// dealt twice in one process. Of each two thousand the lower one is for peers and the upper one for their neighbours.
pub(crate) fn free_port() -> u16 {
    static DEALT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let dealt = DEALT.fetch_add(1, Ordering::Relaxed);
        // Of two processes that begin at the same time each looks elsewhere.
        let place = (std::process::id().wrapping_mul(37) + dealt) % 10_000;
        let port = u16::try_from(10_000 + place / 1_000 * 2_000 + place % 1_000).expect("below 30,000");
        if is_free(port) && is_free(port + 1_000) {
            return port;
        }
    }
}

/// A running daemon and its log.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// Every line so far, for messages of tests that fail.
    pub(crate) seen: Vec<String>,
}

impl Process {
    /// Starts `spindle daemon` with these arguments.
    pub(crate) fn daemon(data_dir: &Path, port: u16, more: &[&str]) -> Self {
        let mut command = spindle();
        command.args(["daemon", "--port", &port.to_string(), "--data-dir"]).arg(data_dir).args(more);
        Self::start(command)
    }

    /// Starts a command whose log comes over standard error.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = child.stderr.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with this text.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.try_wait_for(text)
            .unwrap_or_else(|| panic!("no line with `{text}` came; so far:\n{}", self.seen.join("\n")))
    }

    /// The same; `None` if the process ends first.
    pub(crate) fn try_wait_for(&mut self, text: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Reads what it has written so far.
    pub(crate) fn catch_up(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Ends it as `kill -9` does, and reads what it had still written.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }

    /// Sends a signal by its name, as a shell does.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill(1) is there");
        assert!(sent.success(), "the process takes signals");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it was started here");
        self.seen.extend(self.lines.iter());
        status
    }

    /// A figure of `/proc/PID/status`, `VmHWM` in KiB or `Threads`.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let mut text = String::new();
        let path = format!("/proc/{}/status", self.child.id());
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
        line.trim_start_matches(':').split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
    }
}

impl Process {
    /// The names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
