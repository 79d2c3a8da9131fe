//! Time in milliseconds, in two kinds that cannot be mixed up.
//!
//! Timers run on the monotonic clock ([`Mono`]), consensus on the wall clock ([`Wall`]). Peers move
//! neither. The core never reads a clock: whoever calls it says what time it is ([`Now`]).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds on a clock that only runs forward. Its zero means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// This much later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` until now; 0 when it lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970, by this machine's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// One instant on both clocks: what an event's handling takes for the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub mono: Mono,
    /// For consensus and for people.
    pub wall: Wall,
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic zero is now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A clock set before 1970 reads as 1970: every block is then ahead of it, and nothing is condemned.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis());
        Now { mono: Mono(mono), wall: Wall(u64::try_from(wall).unwrap_or(u64::MAX)) }
    }
}
