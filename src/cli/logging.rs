//! The log: one line for each thing that happens, on stderr.
//!
//! With the time in front, and on a terminal with colours for what a person should look at. The journal of
//! systemd adds its own time, and is told how loud a line is, so that `journalctl -p warning` works.

use std::env;
use std::io::{self, Write};

use env_logger::Target;
use log::{Level, LevelFilter};

use crate::cli::console::{Colour, Console};
use crate::cli::failure::Failure;
use crate::cli::when;
use crate::primitives::time::Clock;

/// Starts it. Said once in the life of a process. The level is [`log::max_level`] from then on, which may change.
pub fn start(level: LevelFilter, console: &Console) -> Result<(), Failure> {
    let clock = Clock::start();
    let in_journal = is_journal(env::var("JOURNAL_STREAM").ok().as_deref());
    let (lines, colours) = (console.clone(), console.clone());
    let mut builder = env_logger::Builder::new();
    builder.target(Target::Pipe(Box::new(lines))).filter_level(LevelFilter::Debug).format(move |line, record| {
        let (word, priority) = match record.level() {
            Level::Error => (colours.paint(Colour::Red, "error"), 3),
            Level::Warn => (colours.paint(Colour::Yellow, "warn "), 4),
            Level::Info => ("info ".to_owned(), 6),
            Level::Debug | Level::Trace => (colours.paint(Colour::Faint, "debug"), 7),
        };
        if in_journal {
            // https://www.freedesktop.org/software/systemd/man/sd-daemon.html
            writeln!(line, "<{priority}>{word} {}", record.args())
        } else {
            writeln!(line, "{} {word} {}", when::utc(clock.now().wall.0), record.args())
        }
    });
    builder.try_init().map_err(|error| Failure::world(format!("cannot start the log: {error}")))?;
    // The log itself takes every line; this says which are made, and may be said again while the node runs.
    log::set_max_level(level);
    Ok(())
}

/// Whether our stderr is what systemd has named as its journal. The variable alone says little: it is passed on to
/// programs whose stderr is something else.
/// <https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24JOURNAL_STREAM>
#[cfg(unix)]
fn is_journal(named: Option<&str>) -> bool {
    let stderr = rustix::fs::fstat(io::stderr());
    named.is_some_and(|named| stderr.is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// There is none elsewhere.
#[cfg(not(unix))]
fn is_journal(_named: Option<&str>) -> bool {
    false
}
