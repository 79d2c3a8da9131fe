//! A network's file: what is accepted can be run on at any height, and is written and read as the same network.
//!
//! The first 32 bytes are a hash, a height, an interval and a difficulty; the rest is the JSON.

use spindle::blockchain::difficulty;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let (height, interval_ms, difficulty) = (input.u64(), input.u64(), input.u64());
    check_work(difficulty, &mut input);
    let Ok(spec) = serde_json::from_slice::<NetworkSpec>(input.rest()) else { return };
    let json = serde_json::to_string(&spec).expect("a spec is JSON");
    assert_eq!(serde_json::from_str::<NetworkSpec>(&json).expect("its own JSON"), spec);
    let Ok(params) = Params::new(spec.clone()) else { return };
    assert_eq!(params.genesis_id(), params.genesis().id());
    for height in [height, height.saturating_add(1), 0, 1, 2, u64::MAX] {
        let (now, next) = (params.reward(height), params.reward(height.saturating_add(1)));
        assert!(now >= next && next >= spec.reward_tail, "a reward never rises, and never falls below the tail");
        assert!(now - spec.reward_tail <= spec.reward_base);
        assert!(params.rules_at(height) <= params.rules_at(u64::MAX));
        let due = difficulty::due(&params, height, difficulty, interval_ms);
        assert!(due >= spec.difficulty_min);
        if spec.retarget && height > 1 {
            let slower = difficulty::due(&params, height, difficulty, interval_ms.saturating_add(1));
            assert!(slower <= due, "a longer interval never asks for more");
            let most = difficulty.saturating_add(difficulty / 44).saturating_add(1);
            assert!(height == 2 || due <= most.max(spec.difficulty_min), "a step up is a 44th at the most");
        } else {
            assert_eq!(due, spec.difficulty_first);
        }
    }
    // Ports, seeds and later rules make no other network.
    let moved = NetworkSpec { port: 1, seeds: Vec::new(), ..spec };
    assert_eq!(Params::new(moved).expect("still sound").genesis_id(), params.genesis_id());
}

/// `hash · difficulty < 2^256`, by adding and doubling.
fn check_work(difficulty: u64, input: &mut Bytes<'_>) {
    let mut hash: [u8; 32] = input.array();
    // Random hashes are all of full length.
    let zeros = usize::from(input.byte() % 16);
    hash[..zeros].fill(0);
    let mut product = Some([0_u64; 4]);
    let limbs: Vec<u64> =
        hash.rchunks_exact(8).map(|limb| u64::from_be_bytes(limb.try_into().expect("eight bytes"))).collect();
    for bit in (0..64).rev() {
        product = product.and_then(|product| add(&product, &product));
        if difficulty >> bit & 1 == 1 {
            product = product.and_then(|product| add(&product, &limbs));
        }
    }
    assert_eq!(difficulty::meets(&Hash(hash), difficulty), product.is_some() && difficulty > 0);
}

/// The sum of two numbers of 256 bits, if it has no more.
fn add(a: &[u64], b: &[u64]) -> Option<[u64; 4]> {
    let (mut sum, mut carry) = ([0; 4], false);
    for (place, (&a, &b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        let (partial, over) = a.overflowing_add(b);
        let (whole, again) = partial.overflowing_add(u64::from(carry));
        (*place, carry) = (whole, over || again);
    }
    (!carry).then_some(sum)
}
