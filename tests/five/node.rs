//! One node: its process, or the lack of one, and everything that it ever said.

use std::path::PathBuf;

use crate::common::process::{Process, spindle};

/// What a node can be told to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    pub(crate) network: PathBuf,
    /// Where to dial.
    pub(crate) peers: Vec<u16>,
    /// Whom it mines for, if it mines.
    pub(crate) mine_to: Option<String>,
}

/// See the top of the file.
pub(crate) struct Node {
    pub(crate) orders: Orders,
    process: Option<Process>,
    is_asleep: bool,
    /// Lines of its lives that have ended.
    past: Vec<String>,
}

/// A block that a line names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) height: u64,
    pub(crate) hash: String,
}

/// The block in a line that says `WORD height=… hash=…`.
pub(crate) fn named(line: &str, word: &str) -> Option<Named> {
    let (before, rest) = line.split_once(&format!("{word} height="))?;
    // "opened at height=": the word stands alone or at the end of its words.
    before.is_empty().then_some(()).or_else(|| before.ends_with(' ').then_some(()))?;
    let (height, rest) = rest.split_once(" hash=")?;
    let hash = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    Some(Named { height: height.parse().ok()?, hash })
}

impl Node {
    pub(crate) fn new(orders: Orders) -> Self {
        Self { orders, process: None, is_asleep: false, past: Vec::new() }
    }

    /// Starts it, and checks that it finds at least what it told as durable in an earlier life.
    pub(crate) fn start(&mut self) {
        let Orders { port, data, network, peers, mine_to } = &self.orders;
        let mut command = spindle();
        command.args(["daemon", "--no-seeds", "--max-outbound", "0", "--port", &port.to_string(), "--data-dir"]);
        command.arg(data).arg("--network").arg(network);
        for peer in peers {
            command.args(["--peer", &format!("127.0.0.1:{peer}")]);
        }
        if let Some(mine_to) = mine_to {
            command.args(["--mine", "--mine-to", mine_to]);
        }
        let mut process = Process::start(command);
        let opened = named(&process.wait_for("opened at height="), "opened at").expect("a block");
        process.wait_for("listening on");
        self.process = Some(process);
        if let Some(durable) = self.past.iter().rev().find_map(|line| named(line, "durable")) {
            assert!(opened.height >= durable.height, "{durable:?} was durable, and it opened at {opened:?}");
            assert!(opened.height > durable.height || opened == durable, "{durable:?} became {opened:?} without work");
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it runs and can answer.
    pub(crate) fn is_awake(&self) -> bool {
        self.is_up() && !self.is_asleep
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it is up")
    }

    /// `SIGSTOP`.
    pub(crate) fn put_to_sleep(&mut self) {
        self.process().signal("STOP");
        self.is_asleep = true;
    }

    /// `SIGCONT`, if it sleeps.
    pub(crate) fn wake(&mut self) {
        if self.is_asleep {
            self.process().signal("CONT");
            self.is_asleep = false;
        }
    }

    /// `kill -9`, asleep or not.
    pub(crate) fn kill(&mut self) {
        let process = self.process.take().expect("it is up");
        self.is_asleep = false;
        self.past.extend(process.kill());
    }

    /// `SIGTERM`, which must end it in order.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it is up");
        process.signal("TERM");
        let status = process.wait();
        self.past.append(&mut process.seen);
        assert!(status.success(), "{status}: {}", self.past.join("\n"));
    }

    /// All that it has said so far.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = &String> {
        if let Some(process) = &mut self.process {
            process.catch_up();
        }
        self.past.iter().chain(self.process.iter().flat_map(|process| &process.seen))
    }

    /// The blocks of all lines with this word.
    pub(crate) fn all_named(&mut self, word: &str) -> Vec<Named> {
        self.lines().filter_map(|line| named(line, word)).collect()
    }
}
