//! Where transactions are: the look-up follows the chain, survives whatever a disk does, and never errs.

mod common;

use std::sync::Arc;

use common::world::World;
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::{RecordNo, StoreError};
use spindle::blockchain::tx_index::TxIndex;
use spindle::primitives::hash::Hash;
use spindle::primitives::rng::Rng;

/// Entries that wait in memory: few, so that a short chain fills several levels.
const TAIL: usize = 8;

/// A node with a chain, and a branch that it has left.
fn world(blocks: usize) -> World {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 30);
    world.mine(1, blocks);
    world.connect(0, 1);
    world.settle();
    assert_eq!(world.tip(0), world.tip(1), "the longer one has won");
    world
}

/// The index of the first node's chain, kept on another disk.
fn index(world: &World, disk: &MemoryDisk) -> Result<TxIndex, StoreError> {
    let node = &world.members[0].node;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    TxIndex::with_tail(disk, node.reader(), node.chain().store().identity(), TAIL)
}

/// Every transaction in the file, with its block and its place.
fn all(world: &World) -> Vec<(Hash, RecordNo, usize)> {
    let reader = world.members[0].node.reader();
    let mut all = Vec::new();
    for record in (1..reader.records()).map(RecordNo) {
        let bytes = reader.block(record).expect("it can be read");
        let block = common::check_bytes(&world.params, bytes).expect("it was checked once");
        all.extend(block.transactions().iter().enumerate().map(|(place, id)| (*id, record, place)));
    }
    all
}

fn assert_finds_all(world: &World, index: &TxIndex) {
    for (id, record, place) in all(world) {
        let found = index.find(&id).expect("it can be read").expect("it is there");
        assert_eq!((found.meta.record, found.place), (record, place));
    }
    assert!(index.find(&Hash([7; 32])).expect("it can be read").is_none());
    let blocks = world.members[0].node.reader().records() - 1;
    assert_eq!(index.progress(), (blocks, blocks));
}

/// Goal: whatever was confirmed is found with its block and place, on the active chain and in the branch that was
/// left; after a restart too, and in blocks that come later. Method: three levels of runs; an index opened again.
#[test]
fn every_transaction_is_found() {
    let (mut world, disk) = (world(40), MemoryDisk::default());
    let first = index(&world, &disk).expect("nothing is there yet");
    assert_eq!(first.progress(), (0, 70));
    let mut levels = 0;
    for _ in 0..40 {
        first.follow(&|| true).expect("a disk that works");
        levels = levels.max(disk.names().len());
        world.mine(0, 20);
    }
    first.follow(&|| true).expect("a disk that works");
    assert_finds_all(&world, &first);
    assert!(levels >= 3, "several runs at a time: {levels}");
    drop(first);
    let again = index(&world, &disk).expect("it is there");
    assert!(again.progress().0 > 800, "only the tail is read again: {:?}", again.progress());
    world.mine(0, 100);
    again.follow(&|| true).expect("a disk that works");
    assert_finds_all(&world, &again);
}

/// Goal: what is not durable is not indexed, since a power cut may take it back. Method: a block whose sync is
/// held up.
#[test]
fn only_durable_blocks_are_taken() {
    let (mut world, disk) = (world(40), MemoryDisk::default());
    let index = index(&world, &disk).expect("nothing is there yet");
    world.members[0].disk.fail_sync(1);
    let block = world.next_block(0, 0);
    let appended = world.members[0].node.chain().store().appended_bytes();
    let events = spindle::node::event::Event::Mined { block: Box::new(block) };
    world.members[0].node.step(world.now, events).expect("the write is done");
    assert!(world.members[0].node.chain().store().appended_bytes() > appended);
    index.follow(&|| true).expect("a disk that works");
    assert_eq!(index.progress(), (70, 71));
}

/// Goal: it stops when it is told to, and goes on from there. Method: a few looks at a time.
#[test]
fn it_can_be_stopped_anywhere() {
    let (world, disk) = (world(600), MemoryDisk::default());
    let index = index(&world, &disk).expect("nothing is there yet");
    for round in 0.. {
        let looks = std::cell::Cell::new(0);
        let go_on = || looks.replace(looks.get() + 1) < 1;
        index.follow(&go_on).expect("a disk that works");
        if index.progress().0 == index.progress().1 {
            assert!(round > 1, "it took several rounds");
            break;
        }
    }
    assert_finds_all(&world, &index);
}

/// Goal: a byte that has decayed costs time and never an answer. Method: every eleventh byte of every run flipped
/// alone; the index is opened, checked and brought up to date.
#[test]
fn a_flipped_byte_is_made_good() {
    let (world, disk) = (world(200), MemoryDisk::default());
    index(&world, &disk).expect("empty").follow(&|| true).expect("a disk that works");
    for name in disk.names() {
        let size = disk.bytes(&name).expect("it is there").len();
        for at in (0..size).step_by(11) {
            let spoilt = disk.kill();
            spoilt.flip(&name, at, 1 << (at % 8));
            let index = index(&world, &spoilt).expect("it opens");
            index.check(&|| true).expect("a disk that works");
            index.follow(&|| true).expect("a disk that works");
            assert_finds_all(&world, &index);
        }
    }
}

/// Goal: a power cut at any call leaves an index that opens, and finds all when it has caught up. Method: each call
/// of a run through three levels is the last; of what was not synced chance decides what lasts.
#[test]
fn a_power_cut_at_any_call_is_survived() {
    let (world, quiet) = (world(100), MemoryDisk::default());
    index(&world, &quiet).expect("empty").follow(&|| true).expect("a disk that works");
    let mut rng = Rng::new(7);
    for call in 1..=quiet.made(Calls::All) {
        let disk = MemoryDisk::default();
        disk.plan(Calls::All, call, if call % 2 == 0 { Fault::Dead } else { Fault::DeadInside });
        // Whether it notices depends on the call.
        let _ = index(&world, &disk).and_then(|index| index.follow(&|| true));
        let found = disk.power_cut(&mut |choices| rng.below(choices));
        let again = index(&world, &found).expect("it opens");
        again.check(&|| true).expect("a disk that works");
        again.follow(&|| true).expect("a disk that works");
        assert_finds_all(&world, &again);
    }
}

/// Goal: the index leaves the last of the disk to the chain, still finds what it holds, takes no more memory meanwhile,
/// and goes on when there is space. Method: a disk that is nearly full while the chain grows.
#[test]
fn a_full_disk_only_pauses_it() {
    let (mut world, disk) = (world(100), MemoryDisk::default());
    disk.set_free_bytes(1 << 20);
    let index = index(&world, &disk).expect("empty");
    index.follow(&|| true).expect("no error");
    let (done, _) = index.progress();
    world.mine(0, 20);
    index.follow(&|| true).expect("no error");
    assert_eq!(index.progress(), (done, done + 20), "what cannot be written is not taken");
    let kept = all(&world).into_iter().take(done as usize);
    for (id, record, _) in kept {
        assert_eq!(index.find(&id).expect("it can be read").map(|found| found.meta.record), Some(record));
    }
    assert!(disk.names().is_empty(), "nothing was written: {:?}", disk.names());
    disk.set_free_bytes(1 << 40);
    index.follow(&|| true).expect("a disk that works");
    assert_finds_all(&world, &index);
}
