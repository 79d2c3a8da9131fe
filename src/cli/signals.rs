//! Ctrl-C and SIGTERM: the first asks for an ordered end, the second ends the process where it stands,
//! which is a supported way to stop too.

#[cfg(unix)]
use std::fs::File;
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

/// Ends the process at a signal, and leaves the terminal as it is now: while a password is asked for, it shows
/// nothing of what is typed, and not every shell makes that good. For commands that run no node.
#[cfg(unix)]
pub fn restore_terminal_on_stop() -> Result<(), Failure> {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    let cannot = |error: std::io::Error| Failure::world(format!("cannot look at the terminal: {error}"));
    let terminal = File::open("/dev/tty").map_err(cannot)?;
    let modes = tcgetattr(&terminal).map_err(|error| cannot(error.into()))?;
    let handler = move || {
        // The process ends, whether or not somebody still looks at the terminal.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
        process::exit(INTERRUPTED);
    };
    match ctrlc::set_handler(handler) {
        // It was asked for before, and nothing has changed since.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Failure::world(format!("cannot listen for Ctrl-C: {error}"))),
    }
}

/// Elsewhere the terminal looks after itself.
#[cfg(not(unix))]
pub fn restore_terminal_on_stop() -> Result<(), Failure> {
    Ok(())
}
