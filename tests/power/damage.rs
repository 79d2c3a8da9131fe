//! Bytes that go bad where they lie: nothing of it goes unseen, and nothing is cut that was synced.

use spindle::blockchain::condemned::{self, Condemned};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mempool;
use spindle::blockchain::storage::{BLOCKS, CHECKPOINT, INDEX, MARK};
use spindle::node::addresses::{self, AddressBook};
use spindle::primitives::rng::Rng;
use spindle::wallet::file::{FileError, WalletFile};

use crate::cases::Case;
use crate::fixture::{Fixture, NO_CHANCE, PASSWORD, WALLET};
use crate::life::{self, Act, Depth, Told, Verdict, check, honest, live, verdict};

/// Goal: damage in the block file is never served and never cut away where it was synced: it is named, at
/// opening or when it is read; behind the mark it costs nothing that was told. Method: the file cut at
/// every byte; every bit flipped; every byte made 0 and 255; every sector and every pair of neighbours made
/// zeros and noise; each with an index and without.
#[test]
fn no_damage_to_the_block_file_goes_unseen() {
    let fixture = Fixture::new();
    let case = damaged_case(&fixture);
    let good = case.disk.bytes(BLOCKS).expect("there");
    let told_ends = told_end(&case, &fixture);
    let index = case.disk.bytes(INDEX).expect("there");
    let mark = case.disk.bytes(MARK).expect("there");
    let disk = MemoryDisk::default();
    let mut rng = Rng::new(5);
    let row = |what: &str, damages: Vec<(usize, Vec<u8>)>| {
        let mut seen = [0; 3];
        for (n, (from, bytes)) in damages.into_iter().enumerate() {
            disk.put(BLOCKS, &bytes);
            disk.put(MARK, &mark);
            disk.put(INDEX, if n % 8 == 7 { b"" } else { &index });
            let outcome = verdict(&honest, &disk, &fixture, &case.told);
            let outcome = outcome.unwrap_or_else(|error| panic!("{what}, from byte {from}: {error}"));
            assert!(
                (outcome == Verdict::Whole) == (from >= told_ends || bytes == good),
                "{what}, from {from}: {outcome:?}"
            );
            seen[outcome as usize] += 1;
        }
        let [refused, named, whole] = seen;
        println!(
            "blocks.dat, {what:<19} {refused:>6} refused at opening {named:>6} named when read {whole:>6} behind the mark"
        );
        assert!(refused > 0 && whole > 0, "{what}");
    };
    row("cut at each byte", (0..good.len()).map(|at| (at, good[..at].to_vec())).collect());
    let changed = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let first = (at..at + new.len()).find(|&at| bytes[at] != good[at]).unwrap_or(good.len());
        (first, bytes)
    };
    row("each bit", (0..good.len() * 8).map(|bit| changed(bit / 8, &[good[bit / 8] ^ 1 << (bit % 8)])).collect());
    let extremes = (0..good.len()).flat_map(|at| [(at, 0), (at, 255)]);
    row("each byte 0 or 255", extremes.map(|(at, byte)| changed(at, &[byte])).collect());
    let runs = (0..good.len()).step_by(512).flat_map(|at| [(at, 512), (at, 1_024)]);
    let runs: Vec<_> = runs.map(|(at, bytes)| (at, bytes.min(good.len() - at))).collect();
    row("zeroed sectors", runs.iter().map(|&(at, bytes)| changed(at, &vec![0; bytes])).collect());
    let mut noise = |bytes: usize| (0..bytes).map(|_| rng.draw().to_le_bytes()[0]).collect::<Vec<_>>();
    row("sectors of noise", runs.iter().map(|&(at, bytes)| changed(at, &noise(bytes))).collect());
}

/// Goal: the mark, the index and the checkpoint may be damaged anyhow: all that was told is there, with the
/// right ledger. Method: each cut at every length and each sector zeroed; every bit of mark and index
/// flipped; of the checkpoint, which is all alike, the first 1,600 bits and 1,600 others.
#[test]
fn damage_beside_the_block_file_costs_nothing() {
    let fixture = Fixture::new();
    let case = damaged_case(&fixture);
    for (name, cut_step, bits_all) in [(MARK, 1, 1 << 20), (INDEX, 1, 1 << 20), (CHECKPOINT, 101, 1_600)] {
        let good = case.disk.bytes(name).expect("there");
        let mut damages: Vec<Vec<u8>> = (0..good.len()).step_by(cut_step).map(|at| good[..at].to_vec()).collect();
        let cuts = damages.len();
        let mut rng = Rng::new(9);
        let others = (0..1_600).map(|_| rng.below(good.len() * 8));
        let written = good.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let bits = (0..good.len() * 8).take(bits_all).chain(others.filter(|_| bits_all == 1_600));
        let bits = bits.filter(|bit| bit / 8 < written && !(name == MARK && (44..4_096).contains(&(bit / 8))));
        damages.extend(bits.map(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }));
        let flips = damages.len() - cuts;
        damages.extend((0..good.len()).step_by(512).map(|at| {
            let mut bytes = good.clone();
            bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0);
            bytes
        }));
        let sectors = damages.len() - cuts - flips;
        for (n, bytes) in damages.into_iter().enumerate() {
            let disk = case.disk.kill();
            disk.put(name, &bytes);
            let told = Told { mark_is_hurt: name == MARK, ..case.told.clone() };
            let held = check(&honest, &disk, &fixture, &told, Depth::Look);
            held.unwrap_or_else(|error| panic!("{name}, damage {n}: {error}"));
        }
        println!(
            "{name:<18} {cuts:>5} lengths {flips:>6} bits {sectors:>4} zeroed sectors: all that was told is there"
        );
    }
}

/// Goal: a small file that is damaged is as good as none; a wallet that is damaged is refused and kept.
/// Method: each at every length, with every bit flipped, and with its sectors zeroed.
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
        let disk = MemoryDisk::default();
        let is_lost = |bytes: &[u8]| {
            disk.put(name, bytes);
            lost(name, &disk, bytes)
        };
        assert!(!is_lost(&good));
        (0..good.len()).for_each(|at| assert!(is_lost(&good[..at]), "{name} cut at {at}"));
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(is_lost(&bytes), "{name}, bit {bit}");
        }
        for at in (0..good.len()).step_by(512) {
            let mut bytes = good.clone();
            bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0);
            assert!(is_lost(&bytes), "{name}, sector at {at}");
        }
        println!(
            "{name:<18} {:>5} lengths {:>6} bits {:>4} zeroed sectors: none goes unseen",
            good.len(),
            good.len() * 8,
            good.len().div_ceil(512)
        );
    }
}

/// A synced chain with a checkpoint and an end that was never synced.
fn damaged_case(fixture: &Fixture) -> Case {
    let lives: [&[Act]; 3] = [
        &[Act::Append(fixture.plain().to_vec()), Act::Sync],
        &[Act::Checkpoint],
        &[Act::Append(fixture.spending()[..2].to_vec()), Act::Sync],
    ];
    let case = Case::after("damage", fixture, &honest, &lives, vec![]);
    let rest = [Act::Append(fixture.spending()[2..].to_vec())];
    live(&honest(&case.disk), fixture, &rest, &mut case.told.clone()).expect("no fault");
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
