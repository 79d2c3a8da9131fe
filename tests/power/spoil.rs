//! What may become of a file's bytes where they lie.

use spindle::primitives::rng::Rng;

const SECTOR_BYTES: usize = 512;

/// Bytes that go bad.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// The file ends here.
    Cut(usize),
    /// This bit is flipped.
    Bit(usize),
    /// The byte here becomes this one.
    Byte(usize, u8),
    /// These sectors become zeros.
    Zeros(Vec<usize>),
    /// These sectors become noise of this seed.
    Noise(Vec<usize>, u64),
}

impl Damage {
    pub(crate) fn done_to(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        let sector = |n: usize| n * SECTOR_BYTES..good.len().min((n + 1) * SECTOR_BYTES);
        match self {
            Self::Cut(at) => bytes.truncate(*at),
            Self::Bit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::Byte(at, new) => bytes[*at] = *new,
            Self::Zeros(sectors) => sectors.iter().for_each(|&n| bytes[sector(n)].fill(0)),
            Self::Noise(sectors, seed) => {
                let mut rng = Rng::new(*seed);
                let places = sectors.iter().flat_map(|&n| sector(n));
                places.for_each(|at| bytes[at] = rng.draw().to_le_bytes()[0]);
            }
        }
        bytes
    }
}

/// A row of the table of damages: its name and what is done.
pub(crate) type Row = (&'static str, Vec<Damage>);

/// Every damage to a file of so many bytes: the end, a bit and a byte at each of these places; each sector, two
/// neighbours, and so many drawn pairs.
pub(crate) fn rows(size_bytes: usize, places: &[usize], pairs: u64) -> [Row; 6] {
    let each = |damage: &dyn Fn(usize) -> Vec<Damage>| places.iter().flat_map(|&at| damage(at)).collect();
    let sectors = size_bytes.div_ceil(SECTOR_BYTES);
    let mut runs: Vec<Vec<usize>> = (0..sectors).map(|n| vec![n]).collect();
    runs.extend((1..sectors).map(|n| vec![n - 1, n]));
    let seeded = |runs: &[Vec<usize>]| (0..).zip(runs).map(|(seed, run)| Damage::Noise(run.clone(), seed)).collect();
    let mut rng = Rng::new(size_bytes as u64);
    let mut any_two = |seed: u64| {
        let two = vec![rng.below(sectors), rng.below(sectors)];
        if seed.is_multiple_of(2) { Damage::Zeros(two) } else { Damage::Noise(two, seed) }
    };
    [
        ("cut at each byte", each(&|at| vec![Damage::Cut(at)])),
        ("each bit", each(&|at| (at * 8..at * 8 + 8).map(Damage::Bit).collect())),
        ("each byte 0 or 255", each(&|at| vec![Damage::Byte(at, 0), Damage::Byte(at, 255)])),
        ("zeroed sectors", runs.iter().cloned().map(Damage::Zeros).collect()),
        ("sectors of noise", seeded(&runs)),
        ("any two sectors", (0..pairs).map(&mut any_two).collect()),
    ]
}
