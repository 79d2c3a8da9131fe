//! Chance from a seed: the same numbers on every machine.
//!
//! Each part of a world draws from a stream of its own, named after it, so that a part that draws more
//! than it did does not shift what the others get. No floating point anywhere: a logarithm may differ in
//! its last digit between two machines, and then two traces would.

use crate::primitives::hash::tagged;
use crate::primitives::rng::Rng;

/// One stream of chance.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Rng);

impl Chance {
    /// The stream of this name under a seed.
    pub(crate) fn new(seed: u64, stream: &str, number: usize) -> Self {
        let number = number as u64;
        Self(Rng::new(
            tagged("spindle/simulator/1", &[&seed.to_le_bytes(), &number.to_le_bytes(), stream.as_bytes()]).table_key(),
        ))
    }

    /// 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// A number from `least` to `greatest`, both included.
    pub(crate) fn between(&mut self, least: u64, greatest: u64) -> u64 {
        let wide = u128::from(self.draw()) * (u128::from(greatest - least) + 1);
        least + u64::try_from(wide >> 64).expect("less than the span, which fits")
    }

    /// True so many times of a thousand.
    pub(crate) fn permille(&mut self, permille: u32) -> bool {
        self.below(1_000) < permille as usize
    }

    /// One of these; `None` of none.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.below(of.len())]) }
    }

    /// These in another order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }

    /// A wait with this mean and no memory.
    ///
    /// Von Neumann's method: numbers are drawn while they fall; where the fall has odd length its first
    /// number is the part behind the point, else there is one whole more. Comparisons, no logarithm.
    /// J. von Neumann, "Various techniques used in connection with random digits", 1951.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let mut whole: u64 = 0;
        loop {
            let first = self.draw();
            let (mut last, mut length) = (first, 1);
            loop {
                let next = self.draw();
                if next >= last {
                    break;
                }
                (last, length) = (next, length + 1);
            }
            if length % 2 == 1 {
                let part = (u128::from(mean) * u128::from(first)) >> 64;
                return whole * mean + u64::try_from(part).expect("less than the mean");
            }
            whole += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: waits have the mean that was asked for, and as many long ones as a memoryless wait has.
    /// Method: 100,000 of them; e^-1 of them pass the mean, e^-3 three times that.
    #[test]
    fn waits_are_exponential() {
        let mut chance = Chance::new(1, "waits", 0);
        let waits: Vec<u64> = (0..100_000).map(|_| chance.exponential(1_000_000)).collect();
        let mean = waits.iter().sum::<u64>() / 100_000;
        assert!((985_000..1_015_000).contains(&mean), "{mean}");
        let past = |limit: u64| waits.iter().filter(|wait| **wait > limit).count();
        assert!((36_200..37_400).contains(&past(1_000_000)), "{}", past(1_000_000));
        assert!((4_700..5_250).contains(&past(3_000_000)), "{}", past(3_000_000));
    }

    /// Goal: streams of one seed differ, and each is the same every time.
    #[test]
    fn a_stream_has_a_name() {
        let draw = |stream, number| Chance::new(7, stream, number).draw();
        assert_eq!(draw("links", 0), draw("links", 0));
        assert!(draw("links", 0) != draw("links", 1) && draw("links", 0) != draw("disks", 0));
    }
}
