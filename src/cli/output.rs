//! What commands say: results on stdout, progress and warnings on stderr.
//!
//! A closed stdout or stderr is nobody's fault: whoever closed it has read enough. So nothing here
//! panics, and `println!` is not used anywhere.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::cli::failure::Failure;
pub use crate::cli::progress::Progress;

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

/// Writes one of many results to stdout; whether anybody still reads them.
pub fn say_to_reader(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::world(format!("cannot write the result to stdout: {error}"))),
    }
}

/// A remark beside the result.
pub fn remark(text: &str) {
    // Nobody reads it any more.
    let _ = writeln!(io::stderr(), "{text}");
}
