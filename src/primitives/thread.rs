//! Threads: the one way to start one, with a name, an explicit stack and a last line.
//!
//! Every thread that this crate starts goes through [`spawn`]. When the system refuses one it is an
//! error for whoever asked, never a panic. A thread that panics ends alone: [`caught`] gives the
//! panic's text to whoever has to draw the consequence. How threads end and in which order they are
//! joined stands in `runtime/mod.rs`.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle, available_parallelism};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Stack of a thread that only moves bytes, or checks one peer's: the largest block with the most
/// signatures takes less than an eighth of it (tests/session.rs). Only touched pages cost memory.
pub const STACK_SMALL_BYTES: usize = 256 << 10;
/// Stack of the owner and of threads that compute.
pub const STACK_LARGE_BYTES: usize = 2 << 20;

/// Starts a thread. What `body` returns is the cause of its end, for the log.
pub fn spawn<C: Display>(
    name: impl Into<String>,
    stack_bytes: usize,
    body: impl FnOnce() -> C + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = name.into();
    let builder = Builder::new().name(name.clone()).stack_size(stack_bytes);
    builder.spawn(move || match caught(body) {
        Ok(cause) => log::debug!("thread {name} ended: {cause}"),
        Err(panic) => log::error!("thread {name} ended: it panicked, which is a bug in spindle: {panic}"),
    })
}

/// A pool of threads for checks that come in batches, `check-N`, and its threads to be joined once
/// nobody holds it any more. None on a single core: its one thread could do nothing that the caller's
/// own cannot.
pub fn check_pool() -> io::Result<Option<(ThreadPool, Vec<JoinHandle<()>>)>> {
    let cores = available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        return Ok(None);
    }
    let mut threads = Vec::new();
    let pool = ThreadPoolBuilder::new().num_threads(cores).spawn_handler(|thread| {
        let name = format!("check-{}", thread.index());
        threads.push(spawn(name, STACK_LARGE_BYTES, move || {
            thread.run();
            "nobody has anything to check any more"
        })?);
        Ok(())
    });
    let pool = pool.build().map_err(io::Error::other)?;
    Ok(Some((pool, threads)))
}

/// Runs something whose panic ends only itself; an error is the panic's text.
///
/// What it touched is given up by the caller, who must not go on with it.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| text_of(&*panic))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it left no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a panic ends its thread and is told, and the thread can be joined like any other.
    /// Method: one that panics inside, and one whose body catches it.
    #[test]
    fn a_panic_ends_one_thread() {
        let thread = spawn("unlucky", STACK_SMALL_BYTES, || -> &str { panic!("on purpose") }).expect("a thread");
        assert!(thread.join().is_ok(), "the helper has caught it");
        assert_eq!(caught(|| -> () { panic!("number {}", 7) }), Err("number 7".to_owned()));
    }

    /// Goal: a refusal of the system is an error. Method: a stack that no machine has.
    #[test]
    fn a_refused_thread_is_an_error() {
        assert!(spawn("giant", 1 << 60, || "never").is_err());
    }
}
