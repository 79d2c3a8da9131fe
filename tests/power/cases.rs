//! The steps of a node's life at its disk, each from a state in which it takes it.

use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};
use spindle::blockchain::storage::BLOCKS;

use crate::fixture::Fixture;
use crate::life::{Act, Told, honest, live};

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
