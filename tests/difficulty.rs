//! Work against big integers, and the retarget in simulation.
//!
//! Mining is simulated as Poisson with a generator of our own: no clock, no threads, the same figures on
//! every run. The figures of RULES 11 are reproduced with the consensus function itself; each test prints
//! what it found (`cargo test --test difficulty -- --nocapture`).

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated time is a float; every number here is small against 2^53"
)]

use proptest::prelude::*;
use spindle::blockchain::difficulty::{due, meets};
use spindle::blockchain::params::Params;
use spindle::primitives::hash::Hash;

// --- work ---

/// `hash · difficulty < 2^256` by long multiplication, byte by byte, in 320 bits.
fn meets_by_bytes(hash: &Hash, difficulty: u64) -> bool {
    let mut product = [0_u32; 40];
    for (i, &a) in hash.0.iter().rev().enumerate() {
        for (j, b) in difficulty.to_le_bytes().into_iter().enumerate() {
            // At most 8 · 255² in one place: no carry is needed before the end.
            product[i + j] += u32::from(a) * u32::from(b);
        }
    }
    for place in 0..39 {
        product[place + 1] += product[place] / 256;
        product[place] %= 256;
    }
    difficulty > 0 && product[32..].iter().all(|&byte| byte == 0)
}

/// `floor((2^256 − 1) / difficulty)`: the greatest hash that meets it.
fn greatest_hash(difficulty: u64) -> Hash {
    let mut rest: u128 = 0;
    let quotient = [0xff_u8; 32].map(|byte| {
        rest = rest << 8 | u128::from(byte);
        let digit = rest / u128::from(difficulty);
        rest %= u128::from(difficulty);
        u8::try_from(digit).expect("a digit")
    });
    Hash(quotient)
}

/// The next number; `None` after 2^256 − 1.
fn successor(mut hash: Hash) -> Option<Hash> {
    for byte in hash.0.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(hash);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: `meets` is the rule, exactly. Method: any hash of any number of leading zeros, any difficulty of
    /// any size, against long multiplication.
    #[test]
    fn meets_is_the_rule(mut hash in any::<[u8; 32]>(), zeros in 0..=32_usize, difficulty in any::<u64>(), shift in 0..64_u32) {
        hash[..zeros].fill(0);
        let difficulty = difficulty >> shift;
        prop_assert_eq!(meets(&Hash(hash), difficulty), meets_by_bytes(&Hash(hash), difficulty));
    }

    /// Goal: and at its edge: the greatest hash that meets a difficulty does, the next does not.
    #[test]
    fn meets_is_exact_at_the_edge(difficulty in 1..=u64::MAX, shift in 0..64_u32) {
        let difficulty = (difficulty >> shift).max(1);
        let edge = greatest_hash(difficulty);
        prop_assert!(meets(&edge, difficulty) && meets_by_bytes(&edge, difficulty));
        if let Some(beyond) = successor(edge) {
            prop_assert!(!meets(&beyond, difficulty) && !meets_by_bytes(&beyond, difficulty));
        }
    }

    /// Goal: the retarget is the formula. Method: the same in other arithmetic (a remainder checked by
    /// multiplication), any figures.
    #[test]
    fn due_is_the_formula(parent in 1..=u64::MAX, shift in 0..64_u32, interval in any::<u64>(), small in 0..60_u32) {
        let params = Params::local();
        let (parent, interval) = ((parent >> shift).max(1), interval >> small);
        let next = due(&params, 3, parent, interval);
        let numerator = u128::from(parent) * 450_000;
        let denominator = 440_000 + u128::from(interval.min(900_000));
        prop_assert!(next >= 1 << 20);
        if next > 1 << 20 && next < u64::MAX {
            prop_assert!(u128::from(next) * denominator <= numerator && (u128::from(next) + 1) * denominator > numerator);
        } else if next == 1 << 20 {
            prop_assert!(numerator / denominator <= 1 << 20);
        } else {
            prop_assert!(numerator / denominator >= u128::from(u64::MAX));
        }
    }
}

/// Goal: the corners. Method: difficulty 0, 1, 2 and 2^64 − 1 against hashes 0, 2^255 and 2^256 − 1.
#[test]
fn meets_at_the_corners() {
    let most = Hash([0xff; 32]);
    let mut half = Hash::ZERO;
    half.0[0] = 0x80;
    let mut below_half = Hash([0xff; 32]);
    below_half.0[0] = 0x7f;
    for hash in [Hash::ZERO, half, most] {
        assert!(!meets(&hash, 0), "0 would let every hash pass");
        assert!(meets(&hash, 1), "1 lets every hash pass");
    }
    assert!(meets(&below_half, 2) && !meets(&half, 2) && !meets(&most, 2));
    assert!(meets(&Hash::ZERO, u64::MAX));
}

/// Goal: the first blocks, the clamp at both ends, and networks that do not retarget.
#[test]
fn due_at_its_edges() {
    let (local, regtest) = (Params::local(), Params::regtest());
    let least = 1 << 20;
    assert_eq!([0, 1].map(|height| due(&local, height, 99, 99)), [least, least], "the first difficulty");
    assert_eq!(due(&local, 2, least, u64::MAX), least, "block 1 counts as on time, whatever its time is");
    assert_eq!(due(&local, 2, 1_000_000_007, 1), 1_000_000_007);
    assert_eq!(due(&local, 3, 1 << 30, 10_000), 1 << 30, "on time: nothing changes");
    assert_eq!(due(&local, 3, 1 << 30, 1), (1_u64 << 30) * 450_000 / 440_001, "a step up is at most 45/44");
    let paused = (1_u64 << 30) * 45 / 134;
    assert_eq!([900_000, 900_001, u64::MAX].map(|ms| due(&local, 3, 1 << 30, ms)), [paused; 3], "a pause is 90 T");
    assert_eq!(due(&local, 3, least, 900_000), least, "never below the minimum");
    assert_eq!(due(&local, 3, u64::MAX, 1), u64::MAX, "never above 2^64 − 1");
    assert_eq!(due(&local, 3, 1_024 << 10, 1), 1_072_404, "the minimum can rise");
    assert_eq!([1, 2, 3, 1_000].map(|height| due(&regtest, height, 77, 1)), [1; 4]);
}

// --- the retarget in simulation ---

const SECOND: f64 = 1_000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
/// Of `local`, in ms.
const T: f64 = 10.0 * SECOND;
/// Of `local`, in ms.
const FUTURE_LIMIT_MS: u64 = 120_000;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    /// Evenly in (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A chain of headers, and the clock of those who mine it.
struct Mine {
    params: Params,
    random: Random,
    /// Real time, in ms.
    clock: f64,
    height: u64,
    difficulty: u64,
    /// The tip's own time, and how much later than its parent's that is.
    time: u64,
    interval_ms: u64,
}

impl Mine {
    /// A new chain; the clock starts at a time of our age.
    fn new(seed: u64) -> Self {
        let (params, random) = (Params::local(), Random(seed));
        Self { params, random, clock: 1.7e12, height: 0, difficulty: 0, time: 0, interval_ms: 0 }
    }

    /// A chain that has long been mined at this many hashes a millisecond.
    fn settled(seed: u64, rate: f64) -> Self {
        let mut mine = Self::new(seed);
        mine.height = 1_000;
        (mine.difficulty, mine.interval_ms, mine.time) = ((rate * T) as u64, 10_000, mine.clock as u64);
        (0..500).for_each(|_| mine.block(rate));
        mine
    }

    fn next_difficulty(&self) -> u64 {
        due(&self.params, self.height + 1, self.difficulty, self.interval_ms)
    }

    /// Waits for the next block and stamps it as the honest do.
    fn block(&mut self, rate: f64) {
        self.block_stamped(rate, |now, _| now);
    }

    /// Waits for the next block; `stamp` is given the clock and the parent's time, and is kept to the rules.
    fn block_stamped(&mut self, rate: f64, stamp: impl FnOnce(u64, u64) -> u64) {
        let difficulty = self.next_difficulty();
        self.clock += -self.random.unit().ln() * difficulty as f64 / rate;
        // Nobody mines a block that would be more than F ahead of the clock; that is never far off here.
        self.clock = self.clock.max((self.time + 1).saturating_sub(FUTURE_LIMIT_MS) as f64);
        let now = self.clock as u64;
        let time = stamp(now, self.time).min(now + FUTURE_LIMIT_MS).max(self.time + 1);
        (self.interval_ms, self.time) = (time - self.time, time);
        (self.height, self.difficulty) = (self.height + 1, difficulty);
    }

    /// How long it takes at this rate, in ms, until a block takes less than 3 T on average.
    fn usable_after(&mut self, rate: f64) -> f64 {
        let start = self.clock;
        while self.next_difficulty() as f64 / rate > 3.0 * T {
            self.block(rate);
        }
        self.clock - start
    }

    /// Blocks found from here on within `ms`.
    fn blocks_within(&mut self, rate: f64, ms: f64) -> u64 {
        let (start, first) = (self.clock, self.height);
        while self.clock <= start + ms {
            self.block(rate);
        }
        self.height - first - 1
    }
}

/// The mean over some seeds.
fn mean_of(runs: u64, mut run: impl FnMut(u64) -> f64) -> f64 {
    (1..=runs).map(&mut run).sum::<f64>() / runs as f64
}

fn assert_about(what: &str, found: f64, bounds: std::ops::RangeInclusive<f64>) {
    println!("{what}: {found:.3} (bounds {bounds:?})");
    assert!(bounds.contains(&found), "{what}: {found} is not within {bounds:?}");
}

/// Goal: a constant hash rate gives blocks every 1.011 T, deviating 1.02 T, at difficulties that vary by 11 %.
#[test]
fn spacing_at_a_constant_rate() {
    let rate = 10_000.0;
    let mut mine = Mine::settled(1, rate);
    let (mut spacings, mut difficulties) = (Vec::new(), Vec::new());
    for _ in 0..300_000 {
        let before = mine.clock;
        mine.block(rate);
        spacings.push((mine.clock - before) / T);
        difficulties.push(mine.difficulty as f64 / (rate * T));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let deviation = |values: &[f64]| {
        let middle = mean(values);
        (values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    assert_about("spacing / T (1.011)", mean(&spacings), 1.004..=1.018);
    assert_about("its deviation / T (1.02)", deviation(&spacings), 1.0..=1.05);
    assert_about("difficulty varies by (0.11)", deviation(&difficulties) / mean(&difficulties), 0.09..=0.13);
}

/// Goal: a chain left alone for 12 hours of driven clock does not flood blocks when mining resumes, and its
/// spacing comes back after the hash rate falls or rises a thousandfold.
/// Method: 200 chains each. The first hour after the pause brings an eighth more blocks than any other and
/// the second none more. After a rise or a fall spacing is measured over 300 blocks, 700 blocks on; a fall is
/// sat out first: a block lowers difficulty to a third at most, so the first takes a thousand times T.
#[test]
fn pause_of_12_hours_does_not_flood_and_spacing_returns_after_a_thousandfold_change() {
    let rate = 1_000_000.0;
    let mut first_hours = 0;
    let second_hour = mean_of(200, |seed| {
        let mut mine = Mine::settled(seed, rate);
        mine.clock += 12.0 * HOUR;
        let first = mine.blocks_within(rate, HOUR);
        assert!(first < 550, "seed {seed}: {first} blocks in the first hour after the pause");
        first_hours += first;
        mine.blocks_within(rate, HOUR) as f64
    });
    assert_about("blocks in the first hour after 12 h off", first_hours as f64 / 200.0, 375.0..=430.0);
    assert_about("blocks in the second hour (356)", second_hour, 340.0..=375.0);
    let hours = mean_of(200, |seed| Mine::settled(seed, rate * 100.0).usable_after(rate / 10.0) / HOUR);
    assert_about("hours until usable after a fall to a 1000th", hours, 3.0..=7.0);
    for (what, factor) in [("fallen", 1e-3), ("risen", 1e3)] {
        let spacing = mean_of(200, |seed| {
            let mut mine = Mine::settled(seed, rate);
            (0..700).for_each(|_| mine.block(rate * factor));
            let before = mine.clock;
            (0..300).for_each(|_| mine.block(rate * factor));
            (mine.clock - before) / 300.0 / T
        });
        assert_about(
            &format!("spacing / T, 700 blocks after the rate has {what} a thousandfold"),
            spacing,
            0.97..=1.05,
        );
    }
}

/// Goal: a night's pause is forgiven. RULES: after 14 h 2 blocks in 10 s, 91 in 10 min, 397 in the hour.
#[test]
fn resuming_after_14_hours() {
    let rate = 10_000.0;
    let after_pause = |ms: f64| {
        mean_of(2_000, |seed| {
            let mut mine = Mine::settled(seed, rate);
            mine.clock += 14.0 * HOUR;
            mine.blocks_within(rate, ms) as f64
        })
    };
    assert_about("blocks in 10 s after 14 h (2)", after_pause(10.0 * SECOND), 1.0..=5.0);
    assert_about("blocks in 10 min after 14 h (91)", after_pause(10.0 * MINUTE), 80.0..=105.0);
    assert_about("blocks in the hour after 14 h (397)", after_pause(HOUR), 375.0..=420.0);
}

/// Goal: a rate risen a thousandfold gives 220 blocks in the first minute, 354 in ten.
#[test]
fn rate_risen_a_thousandfold() {
    let flood = |ms| mean_of(200, |seed| Mine::settled(seed, 1_000.0).blocks_within(1_000_000.0, ms) as f64);
    assert_about("blocks in the first minute (220)", flood(MINUTE), 195.0..=245.0);
    assert_about("blocks in ten minutes (354)", flood(10.0 * MINUTE), 325.0..=385.0);
}

/// Goal: after a fall to a 10th the chain is usable again in 15 min, to a 30th in 24 min.
/// Method: the time until the block being mined takes less than 3 T on average.
#[test]
fn rate_fallen_to_a_tenth_and_a_thirtieth() {
    let minutes = |part: f64| mean_of(1_000, |seed| Mine::settled(seed, 1e6).usable_after(1e6 / part) / MINUTE);
    assert_about("minutes after a fall to a 10th (15)", minutes(10.0), 10.0..=18.0);
    assert_about("minutes after a fall to a 30th (24)", minutes(30.0), 19.0..=30.0);
}

/// Goal: a new network has its first block at once. RULES: from nothing at 1 MH/s the first block after
/// 1.1 s and the 20th after 26 s; at 0.2 MH/s the 20th after 119 s.
#[test]
fn starting_from_nothing() {
    let seconds = |rate: f64, blocks: u64| {
        mean_of(2_000, |seed| {
            let mut mine = Mine::new(seed);
            let start = mine.clock;
            (0..blocks).for_each(|_| mine.block(rate));
            (mine.clock - start) / SECOND
        })
    };
    assert_about("first block at 1 MH/s, seconds (1.1)", seconds(1_000.0, 1), 0.9..=1.3);
    assert_about("20th block at 1 MH/s, seconds (26)", seconds(1_000.0, 20), 22.0..=31.0);
    assert_about("20th block at 0.2 MH/s, seconds (119)", seconds(200.0, 20), 100.0..=138.0);
}

/// Goal: miners with 30 or 60 % of the power who stamp as they like within F gain no block and no rate.
/// Method: four ways to stamp (always as late as allowed, always as early, by turns, at random). Everybody
/// mines on one tip at one difficulty, so their share of the blocks is their share of the power by
/// construction; what stamps could move is the rate, and with it what a share is worth. It only falls.
#[test]
fn stamping_miners_gain_nothing() {
    let rate = 10_000.0;
    let blocks = 100_000_u32;
    for power in [0.3, 0.6] {
        for way in ["late", "early", "by turns", "at random"] {
            let mut mine = Mine::settled(7, rate);
            let mut choice = Random(11);
            let start = mine.clock;
            for n in 0..blocks {
                let dishonest = choice.unit() < power;
                let late = match way {
                    "late" => 1.0,
                    "early" => 0.0,
                    "by turns" => f64::from(n / 10 % 2),
                    _ => choice.unit().round(),
                };
                mine.block_stamped(rate, |now, parent| match (dishonest, late > 0.5) {
                    (false, _) => now,
                    (true, true) => now + FUTURE_LIMIT_MS,
                    (true, false) => parent + 1,
                });
            }
            let spacing = (mine.clock - start) / f64::from(blocks) / T;
            assert_about(&format!("spacing / T, {power} of the power stamping {way}"), spacing, 1.0..=1.12);
        }
    }
}
