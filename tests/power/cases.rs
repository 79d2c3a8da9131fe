//! The steps of a node's life at its disk, each from a state in which it takes it.

use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};
use spindle::blockchain::storage::{BLOCKS, INDEX, MARK};
use spindle::primitives::rng::Rng;

use crate::fixture::Fixture;
use crate::life::{Act, Told, View, honest, image, live};

/// A row of the table: one step, from one state of the disk.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) disk: MemoryDisk,
    pub(crate) told: Told,
    pub(crate) acts: Vec<Act>,
}

/// What a node does with its chain.
pub(crate) const CHAIN: [&str; 5] =
    ["found a directory", "append, sync", "two appends, two syncs", "reorganise", "checkpoint"];

/// What it does beside that, and how it recovers.
pub(crate) const BESIDE: [&str; 7] = [
    "condemned, addresses, mempool",
    "new wallet",
    "save a wallet",
    "open with a checkpoint",
    "rebuild the index",
    "mark anew",
    "cut a torn end",
];

impl Case {
    /// The state that these lives leave, each after the other on one disk.
    pub(crate) fn after(name: &'static str, fixture: &Fixture, view: View, lives: &[&[Act]], acts: Vec<Act>) -> Self {
        let (disk, mut told) = (MemoryDisk::default(), Told::default());
        for acts in lives {
            live(&view(&disk), fixture, acts, &mut told).expect("no fault");
        }
        Self { name, disk, told, acts }
    }

    /// The row of this name.
    pub(crate) fn of(name: &'static str, fixture: &Fixture, view: View) -> Self {
        let append = |blocks: &[_]| Act::Append(blocks.to_vec());
        let save = |version: u8| fixture.small(version).map(|(name, bytes)| Act::Save(name, bytes)).to_vec();
        let plain = &[append(fixture.plain()), Act::Sync];
        let both = &[append(&fixture.trunk), Act::Sync];
        let spending = fixture.spending();
        let after = |lives: &[&[Act]], acts| Self::after(name, fixture, view, lives, acts);
        match name {
            "found a directory" => after(&[], vec![]),
            "append, sync" => after(&[plain], vec![append(&spending[..2]), Act::Sync]),
            "two appends, two syncs" => {
                after(&[plain], vec![append(&spending[..1]), Act::Sync, append(&spending[1..3]), Act::Sync])
            }
            "reorganise" => after(&[both], vec![append(&fixture.rival), Act::Sync]),
            "checkpoint" => after(&[plain, &[Act::Checkpoint], both], vec![Act::Checkpoint]),
            "condemned, addresses, mempool" => after(&[&save(1)], save(2)),
            "new wallet" => after(&[], vec![Act::Wallet(1)]),
            "save a wallet" => after(&[&[Act::Wallet(1)]], vec![Act::Wallet(2)]),
            "open with a checkpoint" => after(&[plain, &[Act::Checkpoint], both], vec![]),
            "rebuild the index" => after(&[both], vec![]).without(INDEX),
            "mark anew" => after(&[both], vec![]).without(MARK),
            "cut a torn end" => after(&[plain], vec![]).torn(fixture),
            _ => unreachable!("`{name}` is no row of the table"),
        }
    }

    /// The same synced files without one, which is then opened.
    fn without(self, missing: &str) -> Self {
        let disk = MemoryDisk::default();
        image(&self.disk).iter().filter(|(name, _)| name != missing).for_each(|(name, bytes)| disk.put(name, bytes));
        Self { disk, ..self }
    }

    /// A chain whose end was never synced, and is there in part after a power cut.
    fn torn(mut self, fixture: &Fixture) -> Self {
        live(&honest(&self.disk), fixture, &[Act::Append(fixture.spending().to_vec())], &mut self.told.clone())
            .expect("no fault");
        let mut rng = Rng::new(11);
        let sectors = |left: &MemoryDisk| left.bytes(BLOCKS).expect("there").len();
        let whole = sectors(&self.disk);
        let mut power_cuts = (0..).map(|_| self.disk.power_cut(&mut |bound| rng.below(bound)));
        let disk = power_cuts.find(|left| sectors(left) == whole && left.bytes(BLOCKS) != self.disk.bytes(BLOCKS));
        self.disk = disk.expect("one of many");
        self
    }
}

/// A chain whose node ended because a sync failed, and whose system goes on: the last sync of its life, which
/// is the mark's, or the one before it, which is the block file's.
pub(crate) fn after_a_failed_sync(fixture: &Fixture, from_the_end: u64) -> Case {
    let lives: [&[Act]; 2] =
        [&[Act::Append(fixture.plain()[..4].to_vec()), Act::Sync], &[Act::Append(fixture.plain().to_vec()), Act::Sync]];
    let mut case = Case::after("after a failed sync", fixture, &honest, &lives, vec![]);
    let acts = [Act::Append(fixture.trunk.clone()), Act::Sync];
    let well = case.disk.kill();
    live(&honest(&well), fixture, &acts, &mut case.told.clone()).expect("no fault");
    case.disk.plan(Calls::Syncs, well.made(Calls::Syncs) - from_the_end, Fault::Io);
    live(&honest(&case.disk), fixture, &acts, &mut case.told).expect_err("a sync failed");
    let appended = |disk: &MemoryDisk| disk.bytes(BLOCKS).expect("there").len();
    assert_eq!(appended(&case.disk), appended(&well), "it failed when all was appended");
    Case { acts: vec![Act::Append(fixture.rival.clone()), Act::Sync], ..case }
}
