//! Chance: the explorer's own, so that a schedule can be shown again.

use real_getrandom as real;
use shuttle::rand::{Rng, thread_rng};

pub(crate) use real::Error;

use crate::model::weave::is_explored;

/// True once in so many times.
pub(crate) fn once_in(times: usize) -> bool {
    below(times) == 0
}

/// A number below this one.
pub(crate) fn below(limit: usize) -> usize {
    thread_rng().gen_range(0..limit)
}

/// As `getrandom::fill`.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    if !is_explored() {
        return real::fill(bytes);
    }
    thread_rng().fill(bytes);
    Ok(())
}

/// As `getrandom::u64`.
pub(crate) fn u64() -> Result<u64, Error> {
    if is_explored() { Ok(thread_rng().r#gen()) } else { real::u64() }
}
