//! The steps of a node's life at its disk, each from a state in which it takes it.

use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};
use spindle::blockchain::storage::{BLOCKS, INDEX, MARK};
use spindle::primitives::rng::Rng;

use crate::fixture::Fixture;
use crate::life::{Act, Told, honest, image, live};

/// A row of the table: one step, from one state of the disk.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) disk: MemoryDisk,
    pub(crate) told: Told,
    pub(crate) acts: Vec<Act>,
}

impl Case {
    /// The state that these lives leave, each after the other on one disk.
    pub(crate) fn after(name: &'static str, fixture: &Fixture, lives: &[&[Act]], acts: Vec<Act>) -> Self {
        let (disk, mut told) = (MemoryDisk::default(), Told::default());
        for acts in lives {
            live(&honest(&disk), fixture, acts, &mut told).expect("no fault");
        }
        Self { name, disk, told, acts }
    }
}

/// What a node does at its disk, each from a state in which it does it.
pub(crate) fn cases(fixture: &Fixture) -> Vec<Case> {
    let append = |blocks: &[_]| Act::Append(blocks.to_vec());
    let save = |version: u8| fixture.small(version).map(|(name, bytes)| Act::Save(name, bytes)).to_vec();
    let plain = [append(fixture.plain()), Act::Sync];
    let both = [append(&fixture.trunk), Act::Sync];
    let (spending, rival) = (fixture.spending(), &fixture.rival[..]);
    vec![
        Case::after("found a directory", fixture, &[], vec![]),
        Case::after("append, sync", fixture, &[&plain], vec![append(&spending[..2]), Act::Sync]),
        Case::after(
            "two appends, two syncs",
            fixture,
            &[&plain],
            vec![append(&spending[..1]), Act::Sync, append(&spending[1..3]), Act::Sync],
        ),
        Case::after("reorganise", fixture, &[&both], vec![append(rival), Act::Sync]),
        Case::after("checkpoint", fixture, &[&plain, &[Act::Checkpoint], &both], vec![Act::Checkpoint]),
        Case::after("condemned, addresses, mempool", fixture, &[&save(1)], save(2)),
        Case::after("new wallet", fixture, &[], vec![Act::Wallet(1)]),
        Case::after("save a wallet", fixture, &[&[Act::Wallet(1)]], vec![Act::Wallet(2)]),
        Case::after("open with a checkpoint", fixture, &[&plain, &[Act::Checkpoint], &both], vec![]),
        without("rebuild the index", fixture, &[INDEX]),
        without("mark anew", fixture, &[MARK]),
        torn("cut a torn end", fixture),
    ]
}

/// A synced chain whose files of these names are gone, which is then opened.
fn without(name: &'static str, fixture: &Fixture, missing: &[&str]) -> Case {
    let case = Case::after(name, fixture, &[&[Act::Append(fixture.trunk.clone()), Act::Sync]], vec![]);
    let disk = MemoryDisk::default();
    image(&case.disk)
        .iter()
        .filter(|(name, _)| !missing.contains(&&**name))
        .for_each(|(name, bytes)| disk.put(name, bytes));
    Case { disk, ..case }
}

/// A chain whose end was never synced, and is there in part after a power cut.
fn torn(name: &'static str, fixture: &Fixture) -> Case {
    let case = Case::after(name, fixture, &[&[Act::Append(fixture.plain().to_vec()), Act::Sync]], vec![]);
    live(&honest(&case.disk), fixture, &[Act::Append(fixture.spending().to_vec())], &mut case.told.clone())
        .expect("no fault");
    let mut rng = Rng::new(11);
    let sectors = |left: &MemoryDisk| left.bytes(BLOCKS).expect("there").len();
    let whole = sectors(&case.disk);
    let mut power_cuts = (0..).map(|_| case.disk.power_cut(&mut |bound| rng.below(bound)));
    let disk = power_cuts.find(|left| sectors(left) == whole && left.bytes(BLOCKS) != case.disk.bytes(BLOCKS));
    Case { disk: disk.expect("one of many"), ..case }
}

/// A chain whose node ended because a sync failed, and whose system goes on: the last sync of its life, which
/// is the mark's, or the one before it, which is the block file's.
pub(crate) fn after_a_failed_sync(fixture: &Fixture, from_the_end: u64) -> Case {
    let lives: [&[Act]; 2] =
        [&[Act::Append(fixture.plain()[..4].to_vec()), Act::Sync], &[Act::Append(fixture.plain().to_vec()), Act::Sync]];
    let mut case = Case::after("after a failed sync", fixture, &lives, vec![]);
    let acts = [Act::Append(fixture.trunk.clone()), Act::Sync];
    let well = case.disk.kill();
    live(&honest(&well), fixture, &acts, &mut case.told.clone()).expect("no fault");
    case.disk.plan(Calls::Syncs, well.made(Calls::Syncs) - from_the_end, Fault::Io);
    live(&honest(&case.disk), fixture, &acts, &mut case.told).expect_err("a sync failed");
    let appended = |disk: &MemoryDisk| disk.bytes(BLOCKS).expect("there").len();
    assert_eq!(appended(&case.disk), appended(&well), "it failed when all was appended");
    Case { acts: vec![Act::Append(fixture.rival.clone()), Act::Sync], ..case }
}
