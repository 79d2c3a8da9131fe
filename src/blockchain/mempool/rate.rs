//! Fee rates: what is paid for a byte, compared exactly; and the floor that moves with demand.

use std::cmp::Ordering;

use crate::primitives::time::Mono;

/// The least fee rate that is ever relayed, in units per 1,000 bytes.
pub const FEE_RATE_MIN: u64 = 1_000;
/// By how much the floor lies above the rate of what was evicted last, in units per 1,000 bytes: who
/// pushes others out pays for the relay of both.
pub const FLOOR_STEP: u64 = 1_000;
/// The time in which a raised floor halves.
pub const FLOOR_HALVES_MS: u64 = 10 * 60 * 1_000;

/// Units for so many bytes. Equal when the quotients are, whatever the parts.
#[derive(Clone, Copy, Debug)]
pub struct FeeRate {
    fee: u64,
    size_bytes: u64,
}

impl FeeRate {
    /// This fee for so many bytes.
    pub fn new(fee: u64, size_bytes: usize) -> Self {
        Self { fee, size_bytes: size_bytes as u64 }
    }

    /// So many units for 1,000 bytes.
    pub fn per_1000(units: u64) -> Self {
        Self { fee: units, size_bytes: 1_000 }
    }

    /// Units for 1,000 bytes, rounded down.
    pub fn to_per_1000(self) -> u64 {
        let units = u128::from(self.fee) * 1_000 / u128::from(self.size_bytes.max(1));
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

impl Ord for FeeRate {
    fn cmp(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (u128::from(self.fee), u128::from(other.fee));
        (ours * u128::from(other.size_bytes)).cmp(&(theirs * u128::from(self.size_bytes)))
    }
}

impl PartialOrd for FeeRate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FeeRate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FeeRate {}

/// The least rate at which a transaction enters: rises when others are pushed out, and falls back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    raised_to: u64,
    raised_at: Mono,
}

impl Floor {
    /// The floor now, in units per 1,000 bytes.
    pub(super) fn at(&self, now: Mono) -> u64 {
        let halvings = now.since(self.raised_at) / FLOOR_HALVES_MS;
        let left = u32::try_from(halvings).ok().and_then(|halvings| self.raised_to.checked_shr(halvings));
        left.unwrap_or(0).max(FEE_RATE_MIN)
    }

    /// Something of this rate was pushed out.
    pub(super) fn raise(&mut self, evicted: FeeRate, now: Mono) {
        let above = evicted.to_per_1000().saturating_add(FLOOR_STEP);
        if above > self.at(now) {
            *self = Self { raised_to: above, raised_at: now };
        }
    }
}
