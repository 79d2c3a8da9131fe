//! `std::time`: time passes only where somebody waits for it.

use std::ops::Add;

use real_std::time::Instant as Real;

pub(crate) use real_std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::weave::{is_explored, world};

/// As std's; in an exploration, milliseconds of its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Instant {
    Modelled(Duration),
    Real(Real),
}

impl Instant {
    pub(crate) fn now() -> Self {
        if is_explored() { Self::Modelled(Duration::from_millis(now_ms())) } else { Self::Real(Real::now()) }
    }

    pub(crate) fn duration_since(&self, earlier: Self) -> Duration {
        match (self, earlier) {
            (Self::Modelled(now), Self::Modelled(earlier)) => now.saturating_sub(earlier),
            (Self::Real(now), Self::Real(earlier)) => now.duration_since(earlier),
            _ => unreachable!("two worlds"),
        }
    }

    pub(crate) fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        match self {
            Self::Modelled(at) => Self::Modelled(at + more),
            Self::Real(at) => Self::Real(at + more),
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    world(|world| world.now_ms)
}

/// Somebody has waited so long.
pub(crate) fn pass(time: Duration) {
    if is_explored() {
        let more_ms = u64::try_from(time.as_millis()).expect("a limit of ours");
        world(|world| world.now_ms += more_ms);
    }
}
