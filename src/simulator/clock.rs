//! A machine's clocks: one virtual time, seen by each machine through clocks of its own.

use crate::primitives::time::{Mono, Now, Wall};
use crate::simulator::queue::At;

/// The wall clock of a machine whose clock is right when the world begins: in the year 2027.
pub(crate) const BEGAN: Wall = Wall(1_800_000_000_000);

/// What is wrong with a machine's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock is ahead by so much.
    pub ahead_ms: i64,
    /// Both clocks are too fast by so many millionths.
    pub drift_ppm: i64,
}

impl Clock {
    /// Both clocks at an instant of the world.
    pub(crate) fn now(&self, at: At) -> Now {
        let us = i128::from(at.0) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        let mono = u64::try_from(us / 1_000).unwrap_or(0);
        Now { mono: Mono(mono), wall: Wall(BEGAN.0.saturating_add(mono).saturating_add_signed(self.ahead_ms)) }
    }
}
