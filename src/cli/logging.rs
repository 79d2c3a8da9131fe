//! The log: one line for each thing that happens, on stderr.
//!
//! With the time in front, unless the journal that reads it adds its own.

use std::env;
use std::io::Write;

use log::{Level, LevelFilter};

use crate::cli::failure::Failure;
use crate::cli::when;
use crate::primitives::time::Clock;

/// Starts it. Said once in the life of a process.
pub fn start(level: LevelFilter) -> Result<(), Failure> {
    let clock = Clock::start();
    // systemd says so: https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24JOURNAL_STREAM
    let timed = env::var_os("JOURNAL_STREAM").is_none();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Debug).format(move |line, record| {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn ",
            Level::Info => "info ",
            Level::Debug | Level::Trace => "debug",
        };
        if timed {
            write!(line, "{} ", when::utc(clock.now().wall.0))?;
        }
        writeln!(line, "{level} {}", record.args())
    });
    builder.try_init().map_err(|error| Failure::world(format!("cannot start the log: {error}")))?;
    // The log itself takes every line; this says which are made, and may be said again while the node runs.
    log::set_max_level(level);
    Ok(())
}
