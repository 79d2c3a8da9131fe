//! How far a long piece of work is: a line with a bar that is drawn again on a terminal, a plain line every few
//! seconds elsewhere, nothing where somebody wants quiet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cli::console::{Colour, Console};
use crate::cli::output;

/// Between two drawings on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two lines elsewhere: a log is read later.
const LINE: Duration = Duration::from_secs(5);
/// The rate is that of the last so many seconds, not that of all the time: work is not equally hard throughout.
const REMEMBERED: usize = 10;
/// The longest and the shortest bar that is worth its place.
const BAR_MAX: usize = 30;
const BAR_MIN: usize = 8;

/// See the top of the file.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    unit: &'static str,
    console: Console,
    is_quiet: bool,
    told: Instant,
    /// How much was done when, about once a second; the first is the oldest.
    known: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// Nothing is said until it takes a moment. Sizes, the unit `bytes`, are shown in mebibytes.
    pub fn new(what: &'static str, unit: &'static str) -> Self {
        let (console, told) = (Console::stderr(), Instant::now());
        Self { what, unit, console, is_quiet: false, told, known: VecDeque::from([(told, 0)]) }
    }

    /// So much was done before this work began.
    #[must_use]
    pub fn from(mut self, done: u64) -> Self {
        self.known = VecDeque::from([(self.told, done)]);
        self
    }

    /// Shares the terminal with others.
    #[must_use]
    pub fn on(mut self, console: &Console) -> Self {
        self.console = console.clone();
        self
    }

    /// Says nothing at all, if that is wanted.
    #[must_use]
    pub fn quiet(mut self, is_quiet: bool) -> Self {
        self.is_quiet = is_quiet;
        self
    }

    /// So much of so much is done.
    pub fn at(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        let between = if self.console.is_terminal() { REDRAW } else { LINE };
        if self.is_quiet || now.duration_since(self.told) < between {
            return;
        }
        self.told = now;
        let (since, from) = self.known[0];
        let elapsed_ms = now.duration_since(since).as_millis();
        let per_min = u128::from(done.saturating_sub(from)) * 60_000 / elapsed_ms.max(1);
        let per_min = u64::try_from(per_min).unwrap_or(u64::MAX);
        let state = State { what: self.what, unit: self.unit, done: done.min(total), total, per_min };
        if self.console.is_terminal() {
            self.console.draw(&state.drawn(&self.console, self.console.columns()));
        } else {
            output::remark(&state.line());
        }
        if self.known.back().is_some_and(|(last, _)| now.duration_since(*last) >= Duration::from_secs(1)) {
            self.known.push_back((now, done));
            self.known.drain(..self.known.len().saturating_sub(REMEMBERED));
        }
    }

    /// Takes the line away again.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.console.draw("");
    }
}

/// What there is to say at one moment.
#[derive(Clone, Copy, Debug)]
struct State {
    what: &'static str,
    unit: &'static str,
    done: u64,
    total: u64,
    per_min: u64,
}

impl State {
    fn permille(&self) -> u128 {
        u128::from(self.done) * 1_000 / u128::from(self.total.max(1))
    }

    fn amounts(&self) -> String {
        let Self { unit, done, total, per_min, .. } = *self;
        match (unit, per_min / 60) {
            ("bytes", per_s) => format!("{} of {} MiB, {} MiB/s", mebibytes(done), mebibytes(total), mebibytes(per_s)),
            // What is slow is told by the minute: `1 a second` may as well be nearly two.
            (_, 0..10) => format!("{done} of {total} {unit}, {per_min} a minute"),
            (_, per_s) => format!("{done} of {total} {unit}, {per_s} a second"),
        }
    }

    /// How long it still takes at this rate; nobody knows while nothing moves.
    fn left(&self) -> String {
        let left_s = (u128::from(self.total - self.done) * 60).checked_div(u128::from(self.per_min));
        let left_s = left_s.and_then(|seconds| u64::try_from(seconds).ok());
        left_s.map_or(String::new(), |seconds| format!(", {} left", span(seconds)))
    }

    fn line(&self) -> String {
        format!("{}: {} %, {}{}", self.what, self.permille() / 10, self.amounts(), self.left())
    }

    /// The line for a terminal: the bar takes what is left of its width.
    fn drawn(&self, console: &Console, columns: usize) -> String {
        let text = format!(" {:>3} %, {}{}", self.permille() / 10, self.amounts(), self.left());
        // One place stays free, so that no terminal goes on to the next line; two are the brackets.
        let room = columns.saturating_sub(1 + self.what.len() + 1 + 2 + text.len()).min(BAR_MAX);
        if room < BAR_MIN {
            return format!("{}{text}", self.what).chars().take(columns.saturating_sub(1)).collect();
        }
        let full = usize::try_from(self.permille() * room as u128 / 1_000).expect("it is at most the room");
        let (full, rest) = ("#".repeat(full), ".".repeat(room - full));
        let (full, rest) = (console.paint(Colour::Green, &full), console.paint(Colour::Faint, &rest));
        format!("{} [{full}{rest}]{text}", self.what)
    }
}

/// With one place.
fn mebibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A span of time as people say it: its two greatest units, the smaller one if there is any of it.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let (large, small) = match (days, hours, minutes) {
        (0, 0, 0) => ((seconds, "s"), (0, "")),
        (0, 0, _) => ((minutes, "min"), (seconds % 60, "s")),
        (0, _, _) => ((hours, "h"), (minutes % 60, "min")),
        _ => ((days, "d"), (hours % 24, "h")),
    };
    let (count, unit) = large;
    if small.0 == 0 { format!("{count} {unit}") } else { format!("{count} {unit} {} {}", small.0, small.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unit: &'static str, done: u64, total: u64, per_min: u64) -> State {
        State { what: "verifying", unit, done, total, per_min }
    }

    /// Goal: lines say what is done, how fast and how long it takes, also at their edges. Method: each form.
    #[test]
    fn lines_say_how_far_it_is() {
        let cases = [
            (
                state("blocks", 4_200, 10_000, 3_000),
                "verifying: 42 %, 4200 of 10000 blocks, 50 a second, 1 min 56 s left",
            ),
            (state("seeds", 4, 50, 100), "verifying: 8 %, 4 of 50 seeds, 100 a minute, 27 s left"),
            (state("blocks", 0, 10_000, 0), "verifying: 0 %, 0 of 10000 blocks, 0 a minute"),
            (state("blocks", 0, 0, 0), "verifying: 0 %, 0 of 0 blocks, 0 a minute"),
            (state("blocks", u64::MAX, u64::MAX, 1), "of 18446744073709551615 blocks, 1 a minute, 0 s left"),
            (state("bytes", 3 << 19, 15 << 20, 60 << 20), "verifying: 10 %, 1.5 of 15.0 MiB, 1.0 MiB/s, 13 s left"),
        ];
        for (state, line) in cases {
            assert!(state.line().ends_with(line), "{}", state.line());
        }
        assert_eq!((span(59), span(3_599), span(7_500)), ("59 s".into(), "59 min 59 s".into(), "2 h 5 min".into()));
        assert_eq!((span(180_000), span(7_200), span(0)), ("2 d 2 h".into(), "2 h".into(), "0 s".into()));
    }

    /// Goal: a drawn line never reaches a terminal's last place, whatever its width; the bar shows the part that is
    /// done. Method: every width, without colours.
    #[test]
    fn a_drawn_line_fits() {
        let console = Console::stderr();
        let half = state("blocks", 5_000, 10_000, 60_000);
        for columns in 0..200 {
            let drawn = half.drawn(&console, columns);
            let plain: String = if drawn.contains('\u{1b}') { continue } else { drawn };
            assert!(plain.len() < columns.max(1), "{columns}: {plain}");
        }
        if !console.is_terminal() {
            let drawn = half.drawn(&console, 120);
            assert!(drawn.contains(&format!("[{}{}]", "#".repeat(15), ".".repeat(15))), "{drawn}");
        }
    }
}
