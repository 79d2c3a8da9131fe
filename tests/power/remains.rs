//! What may be found after a death: every mixture that a power cut can leave, or samples of them.

use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::primitives::rng::Rng;

/// So many come first: killed, all lost, all there.
pub(crate) const PLAIN: usize = 3;

/// Disks as they may be found after a death: killed; all lost, all there; every mixture if there are not more than
/// `every`. Of more, so many samples; and every mixture of only old and new ones if there are not many more of these:
/// of up to twelve sectors, 4,096 are every subset, and each is tried with the old and the new size and a name.
pub(crate) fn remains(
    disk: &MemoryDisk,
    seed: u64,
    every: usize,
    samples: u64,
) -> Box<dyn Iterator<Item = MemoryDisk> + '_> {
    let plain: [_; PLAIN] = [disk.kill(), disk.crash(), disk.power_cut(&mut |bound| bound - 1)];
    let plain = plain.into_iter();
    let are_few = |mixtures: Mixtures, most| mixtures.take(most + 1).count() <= most;
    if are_few(Mixtures::of(disk), every) {
        return Box::new(plain.chain(Mixtures::of(disk)));
    }
    let old_or_new = are_few(Mixtures::old_or_new(disk), 4 * every).then(|| Mixtures::old_or_new(disk));
    let drawn = (0..samples).map(move |n| sample(disk, &mut Rng::new(seed << 16 | n)));
    Box::new(plain.chain(old_or_new.into_iter().flatten()).chain(drawn))
}

/// A power cut that takes little, much or anything.
pub(crate) fn sample(disk: &MemoryDisk, rng: &mut Rng) -> MemoryDisk {
    let mood = rng.below(3);
    disk.power_cut(&mut |bound| match (mood, rng.below(4)) {
        (0, 0..3) => 0,
        (1, 0..3) => bound - 1,
        _ => rng.below(bound),
    })
}

/// Every choice that a power cut has, counted through: the choices so far are the digits of a number.
struct Mixtures<'a> {
    disk: &'a MemoryDisk,
    /// Each digit and the base of its place.
    digits: Vec<(usize, usize)>,
    /// Whether nothing between the oldest and the newest is chosen.
    only_ends: bool,
    is_over: bool,
}

impl<'a> Mixtures<'a> {
    fn of(disk: &'a MemoryDisk) -> Self {
        Self { disk, digits: Vec::new(), only_ends: false, is_over: false }
    }

    /// Each sector, size and name what it was or what it became: the subsets of what was not synced.
    fn old_or_new(disk: &'a MemoryDisk) -> Self {
        Self { only_ends: true, ..Self::of(disk) }
    }
}

impl Iterator for Mixtures<'_> {
    type Item = MemoryDisk;

    fn next(&mut self) -> Option<MemoryDisk> {
        if self.is_over {
            return None;
        }
        let Self { disk, digits, only_ends, .. } = self;
        let mut place = 0;
        let left = disk.power_cut(&mut |bound| {
            if place == digits.len() {
                digits.push((0, if *only_ends { bound.min(2) } else { bound }));
            }
            place += 1;
            let digit = digits[place - 1].0;
            if *only_ends && digit == 1 { bound - 1 } else { digit }
        });
        while digits.pop_if(|(digit, base)| *digit + 1 == *base).is_some() {}
        match digits.last_mut() {
            Some((digit, _)) => *digit += 1,
            None => self.is_over = true,
        }
        Some(left)
    }
}
