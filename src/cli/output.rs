//! What commands say: results on stdout, progress and warnings on stderr.
//!
//! A closed stdout or stderr is nobody's fault: whoever closed it has read enough. So nothing here
//! panics, and `println!` is not used anywhere.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::failure::Failure;

/// Between two redraws of a progress line on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two progress lines elsewhere: a log is read later.
const LINE: Duration = Duration::from_secs(3);

/// Writes a result to stdout.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::world(format!("cannot write the result to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes to stdout what is said only once: here a closed stdout is an error like any other.
pub fn say_surely(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let said = writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush());
    said.map_err(|error| Failure::world(format!("cannot write the result to stdout: {error}")))
}

/// Writes a result to stdout as one JSON object.
pub fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value)?)
}

/// A remark beside the result.
pub fn remark(text: &str) {
    // Nobody reads it any more.
    let _ = writeln!(io::stderr(), "{text}");
}

/// How far a long piece of work is: one line that is drawn again on a terminal, a plain line every few
/// seconds elsewhere.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    unit: &'static str,
    started: Instant,
    told: Instant,
    drawn: bool,
    terminal: bool,
}

impl Progress {
    /// Nothing is said until it takes a moment.
    pub fn new(what: &'static str, unit: &'static str) -> Self {
        let now = Instant::now();
        Self { what, unit, started: now, told: now, drawn: false, terminal: io::stderr().is_terminal() }
    }

    /// So much of so much is done.
    pub fn at(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        if now.duration_since(self.told) < if self.terminal { REDRAW } else { LINE } {
            return;
        }
        self.told = now;
        let elapsed_ms = now.duration_since(self.started).as_millis().max(1);
        let (what, unit) = (self.what, self.unit);
        let line = format!("{what}: {}", state(unit, u128::from(done), u128::from(total), elapsed_ms));
        if self.terminal {
            let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
            self.drawn = true;
        } else {
            remark(&line);
        }
    }

    /// Takes the line away again.
    pub fn end(self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// How far it is, how fast, and how long it will take: by the minute where that is slow.
fn state(unit: &str, done: u128, total: u128, elapsed_ms: u128) -> String {
    let per_minute = done * 60_000 / elapsed_ms;
    let left_s = (total.saturating_sub(done) * elapsed_ms).checked_div(done * 1_000);
    let rate =
        if per_minute >= 600 { format!("{} {unit}/s", per_minute / 60) } else { format!("{per_minute} {unit}/min") };
    let left = left_s.map_or_else(String::new, |left_s| format!(", about {left_s} s left"));
    format!("{} %, {done} of {total} {unit}, {rate}{left}", done * 100 / total.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what is slow has a rate too, and a time that is left. Method: a fast, a slow and an idle one.
    #[test]
    fn a_slow_rate_is_told_by_the_minute() {
        assert_eq!(state("blocks", 500, 1_000, 1_000), "50 %, 500 of 1000 blocks, 500 blocks/s, about 1 s left");
        assert_eq!(state("seeds", 5, 400, 10_000), "1 %, 5 of 400 seeds, 30 seeds/min, about 790 s left");
        assert_eq!(state("seeds", 0, 400, 10_000), "0 %, 0 of 400 seeds, 0 seeds/min");
    }
}
