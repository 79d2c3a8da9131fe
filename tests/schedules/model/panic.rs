//! `std::panic`: only a panic that the test has planned can be caught. Every other one ends the exploration.

pub(crate) use real_std::panic::*;

/// A panic that a test has planned.
#[derive(Debug)]
pub(crate) struct Planned;

/// As std's.
pub(crate) fn catch_unwind<T>(body: impl FnOnce() -> T + UnwindSafe) -> real_std::thread::Result<T> {
    match real_std::panic::catch_unwind(body) {
        Err(panic) if crate::model::weave::is_explored() && !panic.is::<Planned>() => resume_unwind(panic),
        outcome => outcome,
    }
}
