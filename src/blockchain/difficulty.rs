//! Work: what a hash is worth, and what the next block must be worth.
//!
//! The retarget is one line over two headers, a weighted exponential average (WTEMA) in integers:
//!
//! ```text
//! D(h) = clamp(D(h−1) · 45·T / (44·T + min(Δ, 90·T)), D_min, 2^64 − 1),  Δ = time(h−1) − time(h−2)
//! ```
//!
//! The cap of 90·T on one interval forgives pauses: a chain that nobody mined for a night does not
//! flood blocks in the morning. Times strictly increase, so Δ is at least 1 ms and a miner cannot buy
//! difficulty down by stamping backwards (median-time-past would allow it).

use crate::blockchain::params::Params;
use crate::primitives::hash::Hash;

/// Whether `hash · difficulty < 2^256`, exactly. Difficulty 0 is never met.
pub fn meets(hash: &Hash, difficulty: u64) -> bool {
    if difficulty == 0 {
        return false;
    }
    // Four limbs from the least significant up; what is left over must be nothing.
    let mut carry: u128 = 0;
    for limb in hash.0.rchunks_exact(8) {
        let limb = u64::from_be_bytes(limb.try_into().expect("chunks of eight"));
        carry = (u128::from(limb) * u128::from(difficulty) + carry) >> 64;
    }
    carry == 0
}

/// The difficulty due at `height`, whose parent has this difficulty and took `interval_ms` (the
/// parent's time less its own parent's; ignored where the rule does not look at it).
pub fn due(params: &Params, height: u64, parent_difficulty: u64, interval_ms: u64) -> u64 {
    let spec = params.spec();
    if height <= 1 || !spec.retarget {
        return spec.difficulty_first;
    }
    let target_ms = u128::from(spec.block_time_ms);
    // Block 1 has no parent with a time of its own: it counts as having been on time.
    let interval_ms = if height == 2 { target_ms } else { u128::from(interval_ms).min(90 * target_ms) };
    let next = u128::from(parent_difficulty) * 45 * target_ms / (44 * target_ms + interval_ms);
    u64::try_from(next).unwrap_or(u64::MAX).max(spec.difficulty_min)
}
