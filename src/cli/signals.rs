//! Ctrl-C and SIGTERM: the first asks for an ordered end, the second ends the process where it stands,
//! which is a supported way to stop too.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::failure::Failure;

/// What shells know as "ended by Ctrl-C".
const INTERRUPTED: i32 = 130;

/// Calls `ask` at the first signal. Said once in the life of a process.
pub fn on_stop(ask: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let asked = AtomicBool::new(false);
    let handler = move || {
        if asked.swap(true, Ordering::Relaxed) {
            process::exit(INTERRUPTED);
        }
        ask();
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::world(format!("cannot listen for Ctrl-C: {error}")))
}
