//! Bytes that go bad where they lie: nothing of it goes unseen, and nothing is cut that was synced.

use spindle::blockchain::condemned::{self, Condemned};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mempool;
use spindle::blockchain::storage::{BLOCKS, CHECKPOINT, INDEX, MARK};
use spindle::node::addresses::{self, AddressBook};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};
use spindle::primitives::rng::Rng;
use spindle::wallet::file::{FileError, WalletFile};

use crate::cases::Case;
use crate::fixture::{Fixture, NO_CHANCE, PASSWORD, WALLET};
use crate::liar::{Lie, lying};
use crate::life::{self, Act, Depth, Told, Verdict, View, check, honest, image, live, verdict};
use crate::scale::Scale;
use crate::spoil::{Damage, rows};

/// Pairs of sectors that are drawn.
fn pairs() -> u64 {
    Scale::asked().or_deep(200, 4_000)
}

/// Goal: damage in the block file is never served and never cut away where it was synced: it is named, at
/// opening or when it is read; behind the mark it costs nothing that was told, and the longest valid prefix stays.
/// Method: the file cut at every byte; every bit flipped; every byte made 0 and 255; every sector, every pair of
/// neighbours and drawn pairs made zeros and noise; each with an index and without. What was cut is opened again.
#[test]
fn no_damage_to_the_block_file_goes_unseen() {
    let fixture = Fixture::sized(Scale::asked().or_deep(11, 190));
    let damaged = Damaged::new(&fixture, &honest);
    let places: Vec<usize> = (0..damaged.good.len()).collect();
    for (what, damages) in rows(damaged.good.len(), &places, pairs()) {
        let again_each = if what.starts_with("cut") { 1 } else { 16 };
        let [refused, named, whole] =
            damaged.row(&honest, &damages, again_each).unwrap_or_else(|error| panic!("{what}, {error}"));
        println!(
            "blocks.dat, {what:<19} {refused:>6} refused at opening {named:>6} named when read {whole:>6} behind the mark"
        );
        assert!(refused > 0 && whole > 0, "{what}");
    }
}

/// Goal: the rows of the block file see when a safeguard is missing. Method: two of them without checksums, and
/// without a mark.
#[test]
fn a_missing_safeguard_fails_its_rows_of_damage() {
    let fixture = Fixture::new();
    for (lie, row) in
        [(Lie::Checksum, "each bit"), (Lie::Checksum, "sectors of noise"), (Lie::Mark, "cut at each byte")]
    {
        let view = |disk: &_| lying(disk, lie);
        let damaged = Damaged::new(&fixture, &view);
        let places: Vec<usize> = (0..damaged.good.len()).collect();
        let found = rows(damaged.good.len(), &places, 0).into_iter().find(|(what, _)| *what == row);
        let error = damaged.row(&view, &found.expect("a row of the table").1, 1);
        println!("{lie:?}, {row}: {}", error.expect_err("it goes unseen"));
    }
}

/// A block file, its end behind the mark, and what is to become of it.
struct Damaged<'a> {
    fixture: &'a Fixture,
    told: Told,
    good: Vec<u8>,
    mark: Vec<u8>,
    index: Vec<u8>,
    /// Where the last block ends that was told, and each behind it.
    ends: Vec<usize>,
}

impl<'a> Damaged<'a> {
    fn new(fixture: &'a Fixture, view: View) -> Self {
        let case = damaged_case(fixture, view);
        let [good, mark, index] = [BLOCKS, MARK, INDEX].map(|name| case.disk.bytes(name).expect("there"));
        let told_ends = told_end(&case, fixture);
        let mut ends = vec![told_ends];
        while let Some(header) = good[ends[ends.len() - 1]..].first_chunk().and_then(FrameHeader::from_bytes) {
            ends.push(ends[ends.len() - 1] + HEADER_BYTES + header.length as usize);
        }
        assert!(ends.len() > 2 && ends.ends_with(&[good.len()]), "whole blocks behind the mark");
        Self { fixture, told: case.told, good, mark, index, ends }
    }

    /// Does each of these; gives how many were refused, named and harmless. One in so many is opened twice.
    fn row(&self, view: View, damages: &[Damage], again_each: usize) -> Result<[u64; 3], String> {
        let mut seen = [0; 3];
        for (n, damage) in damages.iter().enumerate() {
            let disk = MemoryDisk::default();
            disk.put(BLOCKS, &damage.done_to(&self.good));
            disk.put(MARK, &self.mark);
            disk.put(INDEX, if n % 8 == 7 { b"" } else { &self.index });
            let outcome = self.outcome(view, &disk, n % again_each == 0);
            seen[outcome.map_err(|error| format!("{damage:?}: {error}"))? as usize] += 1;
        }
        Ok(seen)
    }

    fn outcome(&self, view: View, disk: &MemoryDisk, again: bool) -> Result<Verdict, String> {
        let bytes = disk.bytes(BLOCKS).expect("put there");
        let differs = bytes.iter().zip(&self.good).position(|(new, old)| new != old);
        let from = differs.unwrap_or(bytes.len());
        let outcome = verdict(view, disk, self.fixture, &self.told)?;
        if (outcome == Verdict::Whole) != (from >= self.ends[0]) {
            return Err(format!(
                "{outcome:?}, although it is bad from byte {from} and was told up to {}",
                self.ends[0]
            ));
        }
        if outcome != Verdict::Refused {
            // Behind the mark everything that is whole stays, up to the first that is not.
            let (begin, mut prefix) = (self.ends[0], self.ends[0]);
            for &end in self.ends.iter().take_while(|&&end| bytes.get(begin..end) == Some(&self.good[begin..end])) {
                prefix = end;
            }
            if disk.bytes(BLOCKS).as_deref() != Some(&bytes[..prefix]) {
                return Err(format!("not the first {prefix} bytes are left"));
            }
        }
        if again {
            let before = image(disk);
            let second = verdict(view, disk, self.fixture, &self.told)?;
            if second != outcome || image(disk) != before {
                return Err(format!("opened again it is {second:?} after {outcome:?}, or a byte has changed"));
            }
        }
        Ok(outcome)
    }
}

/// Goal: the mark, the index and the checkpoint may be damaged anyhow: all that was told is there, with the
/// right ledger. Method: each cut at every length, every bit flipped, every byte 0 and 255, sectors and pairs of them
/// made zeros and noise; of the checkpoint, which is all alike, and of the gap in the mark only some places.
#[test]
fn damage_beside_the_block_file_costs_nothing() {
    let fixture = Fixture::new();
    let case = damaged_case(&fixture, &honest);
    for name in [MARK, INDEX, CHECKPOINT] {
        let good = case.disk.bytes(name).expect("there");
        let mut rng = Rng::new(9);
        let chosen: Vec<usize> = match name {
            MARK => (0..44).chain(4_090..good.len()).collect(),
            CHECKPOINT => (0..200).chain((0..200).map(|_| rng.below(good.len()))).collect(),
            _ => (0..good.len()).collect(),
        };
        let places = Scale::asked().or_deep(chosen, (0..good.len()).collect());
        for (what, damages) in rows(good.len(), &places, pairs()) {
            for damage in &damages {
                let disk = case.disk.kill();
                disk.put(name, &damage.done_to(&good));
                let told = Told { mark_is_hurt: name == MARK, ..case.told.clone() };
                let held = check(&honest, &disk, &fixture, &told, Depth::Look);
                held.unwrap_or_else(|error| panic!("{name}, {damage:?}: {error}"));
            }
            println!("{name}, {what:<19} {:>6} times: all that was told is there", damages.len());
        }
    }
}

/// Goal: a small file that is damaged is as good as none; a wallet that is damaged is refused and kept.
/// Method: each at every length, with every bit flipped, every byte 0 and 255, and its sectors zeros and noise.
#[test]
fn damaged_small_files_are_ignored_and_a_wallet_is_refused() {
    let fixture = Fixture::new();
    let acts = fixture.small(2).map(|(name, bytes)| Act::Save(name, bytes));
    let case = Case::after("small", &fixture, &honest, &[&acts, &[Act::Wallet(1)]], vec![]);
    let lost = |name: &str, disk: &MemoryDisk, bytes: &[u8]| match name {
        condemned::FILE => Condemned::load(disk).expect("no fault").is_empty(),
        addresses::FILE => AddressBook::load(disk).expect("no fault").is_empty(),
        mempool::FILE => mempool::read_file(&fixture.params, bytes).is_err(),
        _ => {
            let held = (honest(disk), WALLET.to_owned());
            let opened = WalletFile::open(held, NO_CHANCE, PASSWORD, fixture.params.genesis_id());
            let refused = matches!(opened, Err(FileError::Damaged { .. } | FileError::NotAWallet { .. }));
            refused && disk.bytes(WALLET).as_deref() == Some(bytes)
        }
    };
    for name in [condemned::FILE, addresses::FILE, mempool::FILE, WALLET] {
        let good = case.disk.bytes(name).expect("there");
        let is_lost = |bytes: &[u8]| {
            let disk = MemoryDisk::default();
            disk.put(name, bytes);
            lost(name, &disk, bytes)
        };
        assert!(!is_lost(&good));
        let places: Vec<usize> = (0..good.len()).collect();
        for (what, damages) in rows(good.len(), &places, pairs()) {
            let damages: Vec<_> = damages.iter().filter(|damage| damage.done_to(&good) != good).collect();
            for damage in &damages {
                assert!(is_lost(&damage.done_to(&good)), "{name}, {damage:?}");
            }
            println!("{name}, {what:<19} {:>6} times: none goes unseen", damages.len());
        }
    }
}

/// A synced chain with a fork and a checkpoint, and an end that was never synced.
fn damaged_case(fixture: &Fixture, view: View) -> Case {
    let lives: [&[Act]; 4] = [
        &[Act::Append(fixture.plain().to_vec()), Act::Sync],
        &[Act::Checkpoint],
        &[Act::Append(fixture.rival[..1].to_vec()), Act::Sync],
        &[Act::Append(fixture.spending()[..2].to_vec()), Act::Sync],
    ];
    let case = Case::after("damage", fixture, view, &lives, vec![]);
    let rest = [Act::Append(fixture.spending()[2..].to_vec())];
    live(&view(&case.disk), fixture, &rest, &mut case.told.clone()).expect("no fault");
    case
}

/// Where the last block ends that was told.
fn told_end(case: &Case, fixture: &Fixture) -> usize {
    let chain = life::open(&honest(&case.disk.kill()), fixture).expect("nothing is damaged");
    let ends = case.told.blocks.iter().map(|id| {
        let meta = chain.store().find_meta(id).expect("whole").expect("told");
        usize::try_from(meta.end()).expect("small")
    });
    ends.max().expect("some were told")
}
