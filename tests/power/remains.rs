//! What may be found after a death: every mixture that a power cut can leave, or samples of them.

use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::primitives::rng::Rng;

/// Disks as they may be found after a death: killed; all lost, all there; every mixture or samples of them.
pub(crate) fn remains(disk: &MemoryDisk, seed: u64, every: usize, samples: u64) -> Vec<MemoryDisk> {
    let mut left = vec![disk.kill(), disk.crash(), disk.power_cut(&mut |bound| bound - 1)];
    if let Some(all) = mixtures(disk, every) {
        left.extend(all);
        return left;
    }
    left.extend((0..samples).map(|n| {
        let mut rng = Rng::new(seed << 8 | n);
        sample(disk, &mut rng)
    }));
    left
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

/// Every choice that a power cut has, if there are not more than so many.
fn mixtures(disk: &MemoryDisk, most: usize) -> Option<Vec<MemoryDisk>> {
    let mut found = Vec::new();
    let mut digits: Vec<(usize, usize)> = Vec::new();
    loop {
        let mut place = 0;
        found.push(disk.power_cut(&mut |bound| {
            if place == digits.len() {
                digits.push((0, bound));
            }
            place += 1;
            digits[place - 1].0
        }));
        if found.len() > most {
            return None;
        }
        while digits.pop_if(|(digit, bound)| *digit + 1 == *bound).is_some() {}
        let Some((digit, _)) = digits.last_mut() else { return Some(found) };
        *digit += 1;
    }
}
