//! Where a header stands: all that the rules ask of a parent.
//!
//! Contextual rules (RULES 7 to 10) look at the parent and at the time between it and its own parent,
//! nothing else. So a run of headers is checked by folding [`Position::child`] over it, with no look
//! at the chain after the first, and a header stream of any length needs only its last position.

use crate::blockchain::block::{CheckedHeader, Header};
use crate::blockchain::difficulty;
use crate::blockchain::params::{Params, TIME_STEP_MIN_MS};
use crate::blockchain::reject::Reject;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// A header's place on its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its id.
    pub id: Hash,
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time: u64,
    /// Its difficulty.
    pub difficulty: u64,
    /// Its time less its parent's.
    pub interval_ms: u64,
    /// Difficulties from genesis up to it, added up.
    pub work: u128,
}

impl Position {
    /// Where every chain of this network begins.
    pub fn genesis(params: &Params) -> Self {
        let Header { time, difficulty, .. } = *params.genesis();
        Self { id: params.genesis_id(), height: 0, time, difficulty, interval_ms: 0, work: 0 }
    }

    /// The position of a header whose parent has this time and whose work is known.
    pub fn of(header: &Header, id: Hash, parent_time: u64, work: u128) -> Self {
        let Header { height, time, difficulty, .. } = *header;
        Self { id, height, time, difficulty, interval_ms: time.saturating_sub(parent_time), work }
    }

    /// The difficulty that a child must have.
    pub fn difficulty_due(&self, params: &Params) -> u64 {
        difficulty::due(params, self.height.saturating_add(1), self.difficulty, self.interval_ms)
    }

    /// Checks a header that names this one as its parent; gives the child's own position.
    pub fn child(&self, params: &Params, header: &CheckedHeader, now: Wall) -> Result<Self, Reject> {
        let Header { height, time, difficulty, .. } = *header.header();
        debug_assert_eq!(header.header().prev, self.id, "the caller looked the parent up");
        if self.height.checked_add(1) != Some(height) {
            return Err(Reject::Height { height, parent: self.height });
        }
        header.header().check_rules(params)?;
        let expected = self.difficulty_due(params);
        if difficulty != expected {
            return Err(Reject::Difficulty { difficulty, expected });
        }
        if time < self.time.saturating_add(TIME_STEP_MIN_MS) {
            return Err(Reject::TimeOrder { time, parent: self.time });
        }
        // Last, because it alone may be right later: who is early but otherwise wrong is wrong.
        let (ahead_ms, limit_ms) = (time.saturating_sub(now.0), params.spec().future_limit_ms);
        if ahead_ms > limit_ms {
            return Err(Reject::TooEarly { ahead_ms, limit_ms });
        }
        Ok(Self::of(header.header(), header.id(), self.time, self.work + u128::from(difficulty)))
    }
}
