//! The rules of a chain once more, from the rules' text and by other means than the nodes go by.
//!
//! A bug in a rule that all nodes share is seen by none of them. So nothing here calls what it checks: work is
//! one long division, the root is built from the left as leaves come, the emission works its constants out.

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::blockchain::params::NetworkSpec;
use crate::blockchain::transaction::Transaction;
use crate::primitives::codec;
use crate::primitives::hash::Hash;

/// Intervals longer than this many times the target count as this long.
const PAUSE: u128 = 90;

/// SHA-256 of SHA-256.
pub(super) fn id_of(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(Sha256::digest(bytes)).into())
}

/// Whether a hash is worth this difficulty: at most the greatest 256-bit number divided by it.
pub(super) fn is_worth(id: &Hash, difficulty: u64) -> bool {
    if difficulty == 0 {
        return false;
    }
    let (mut target, mut rest) = ([0; 32], 0);
    for digit in &mut target {
        let dividend = rest << 8 | 0xff;
        let quotient = dividend / u128::from(difficulty);
        *digit = u8::try_from(quotient).expect("the rest is less than the divisor");
        rest = dividend % u128::from(difficulty);
    }
    id.0 <= target
}

/// What a block must be worth: `parent` and `grandparent` are times and difficulties, from block 1 on.
pub(super) fn due(spec: &NetworkSpec, parent: Option<(u64, u64)>, grandparent: Option<u64>) -> u64 {
    let Some((time, difficulty)) = parent.filter(|_| spec.retarget) else { return spec.difficulty_first };
    let target = u128::from(spec.block_time_ms);
    // Before block 1 there is no time: it counts as having been on time.
    let took = grandparent.map_or(target, |before| u128::from(time - before)).min(PAUSE * target);
    let next = (u128::from(difficulty) * 45 * target) / (44 * target + took);
    u64::try_from(next.clamp(u128::from(spec.difficulty_min), u128::from(u64::MAX))).expect("clamped")
}

/// The root over these ids (RFC 6962), grown from the left: each leaf completes as many whole trees as its
/// number has trailing ones.
pub(super) fn root(ids: impl Iterator<Item = Hash>) -> Hash {
    let node = |left: Hash, right: Hash| Hash(Sha256::digest([&[1], &left.0[..], &right.0[..]].concat()).into());
    let mut trees: Vec<Hash> = Vec::new();
    for (place, id) in (0_u64..).zip(ids) {
        trees.push(Hash(Sha256::digest([&[0], &id.0[..]].concat()).into()));
        for _ in 0..place.trailing_ones() {
            let right = trees.pop().expect("a tree for each bit of its number");
            let left = trees.pop().expect("a tree for each bit of its number");
            trees.push(node(left, right));
        }
    }
    let right_to_left = trees.into_iter().rev();
    right_to_left.reduce(|right, left| node(left, right)).unwrap_or_else(|| Hash(Sha256::digest([]).into()))
}

/// What a miner gets for a block besides its fees (RULES 28), in integers.
#[derive(Debug)]
pub(super) struct Emission {
    base: u128,
    tail: u64,
    half: i128,
    /// `round(2^32 · 2^(2^−k))` for k = 1..=24.
    powers: [u128; 24],
}

impl Emission {
    pub(super) fn new(spec: &NetworkSpec) -> Self {
        // Square roots of two, one out of the other, with 60 binary places.
        let mut root: u128 = 2 << 60;
        let powers = std::array::from_fn(|_| {
            root = (root << 60).isqrt();
            (root + (1 << 27)) >> 28
        });
        let half = i128::from(spec.reward_half_life);
        Self { base: spec.reward_base.into(), tail: spec.reward_tail, half, powers }
    }

    pub(super) fn at(&self, height: u64) -> u64 {
        let exponent = (-(i128::from(height) - 1) * (1 << 24)).div_euclid(self.half);
        let (whole, part) = (exponent >> 24, exponent & 0xff_ffff);
        let mut factor: u128 = 1 << 32;
        for (k, power) in (1..=24).zip(self.powers) {
            if part & (1 << (24 - k)) != 0 {
                factor = (factor * power + (1 << 31)) >> 32;
            }
        }
        let shift = 32 + u32::try_from(-whole).expect("heights only halve");
        let halved = if shift > 96 { 0 } else { (self.base * factor + (1 << (shift - 1))) >> shift };
        self.tail + u64::try_from(halved).expect("no more than the base")
    }
}

/// Whether each input's key signed this, on this network.
pub(super) fn is_signed(genesis: Hash, transfer: &Transaction) -> bool {
    const TAG: &[u8] = b"spindle/sign/1";
    let bytes = codec::encode(transfer);
    let Some(signed) = bytes.len().checked_sub(64 * transfer.inputs.len()) else { return false };
    let (signed, signatures) = bytes.split_at(signed);
    let tag_length = u8::try_from(TAG.len()).expect("short");
    let digest = Sha256::digest([&[tag_length], TAG, &genesis.0, signed].concat());
    (0_u32..).zip(transfer.inputs.iter().zip(signatures.chunks_exact(64))).all(|(place, (input, signature))| {
        let message = [&digest[..], &place.to_le_bytes()].concat();
        let key = VerifyingKey::from_bytes(&input.key.0);
        let signature = Signature::from_slice(signature);
        key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify(&message, &signature).is_ok()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blockchain::params::Params;

    /// Goal: the emission is the one that the rules state, and the nodes' own at every kind of height.
    #[test]
    fn emission_is_that_of_the_rules() {
        let local = Params::local();
        let emission = Emission::new(local.spec());
        for (height, reward) in
            [(1, 2_020_000_000), (2, 2_019_998_595), (1_000_001, 1_020_000_000), (10_000_001, 21_953_125)]
        {
            assert_eq!(emission.at(height), reward);
        }
        let heights = (1..2_000).chain((1..60).map(|n| n * 1_234_567));
        heights.for_each(|height| assert_eq!(emission.at(height), local.reward(height), "height {height}"));
    }

    /// Goal: work, root and retarget are the nodes' own wherever both are right. Method: drawn numbers, and the
    /// edges.
    #[test]
    fn the_two_opinions_agree() {
        let mut rng = crate::primitives::rng::Rng::new(7);
        let local = Params::local();
        for n in 0..300 {
            let ids: Vec<Hash> = (0..n).map(|_| Hash::sha256d(&rng.draw().to_le_bytes())).collect();
            assert_eq!(root(ids.iter().copied()), crate::blockchain::block::merkle_root(&ids), "{n} leaves");
            let (mut id, difficulty) = (Hash::sha256d(&rng.draw().to_le_bytes()), rng.draw() >> (n % 64));
            id.0[..n % 8].fill(0);
            assert_eq!(is_worth(&id, difficulty), crate::blockchain::difficulty::meets(&id, difficulty));
            let took = rng.draw() % (200 * local.spec().block_time_ms);
            let expected = crate::blockchain::difficulty::due(&local, 3, difficulty, took);
            assert_eq!(due(local.spec(), Some((took + 5, difficulty)), Some(5)), expected);
        }
        assert!(!is_worth(&Hash::ZERO, 0) && is_worth(&Hash([0xff; 32]), 1) && !is_worth(&Hash([0xff; 32]), 2));
    }
}
