//! The machine's clocks, as `primitives/time.rs` has them.

pub(crate) use spindle::primitives::time::*;

use spindle::primitives::time::Clock as Real;

use crate::model::time::now_ms;
use crate::model::weave::is_explored;

/// What the wall clock shows when a schedule begins.
const BEGIN_MS: u64 = 1_800_000_000_000;

/// As ours; in an exploration, both clocks show the time of its world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Real);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Real::start())
    }

    pub(crate) fn now(&self) -> Now {
        if !is_explored() {
            return self.0.now();
        }
        let now_ms = now_ms();
        Now { mono: Mono(now_ms), wall: Wall(BEGIN_MS + now_ms) }
    }
}
