//! The block file and what stands beside it, through crashes, damage and failing disks.

use std::sync::Arc;

use spindle::blockchain::block::{Block, CheckedBlock, Header, ReadBlock};
use spindle::blockchain::disk::Disk;
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::os::DataDir;
use spindle::blockchain::params::Params;
use spindle::blockchain::storage::checkpoint::{self, Loaded};
use spindle::blockchain::storage::{
    BLOCKS, BadRecord, BlockMeta, CHECKPOINT, INDEX, MARK, PersistentBlockchain, ROOM_AGAIN_BYTES, ROOM_MIN_BYTES,
    RecordNo, Recovery, Room, StoreError,
};
use spindle::blockchain::transaction::{CoinId, Coinbase, Output, VERSION};
use spindle::primitives::codec::List;
use spindle::primitives::frame::{self, KIND_BLOCK, KIND_FILE, frame_into};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Verifier};

/// Frame 0.
const FRONT: usize = 65;

/// A valid regtest block on this parent; `branch` tells siblings apart.
fn block_on(parent: &Header, branch: u8) -> CheckedBlock {
    let params = Params::regtest();
    let height = parent.height + 1;
    let output = Output { amount: params.reward(height), key: Key([branch; 32]), view_tag: 0 };
    let coinbase = Coinbase { version: VERSION, height, output, tx_key: Key([0; 32]) };
    let header = Header {
        version: params.rules_at(height),
        height,
        prev: parent.id(),
        merkle_root: Hash::ZERO,
        time: parent.time + 1,
        difficulty: 1,
        nonce: 0,
    };
    let mut block = Block { header, coinbase, transfers: List::default() };
    block.header.merkle_root = block.merkle_root();
    let read = ReadBlock::read(&params, block.to_bytes()).expect("a valid block");
    read.verified(&Verifier::new([0; 32], None)).expect("nothing is signed")
}

fn chain_on(parent: &Header, blocks: usize, branch: u8) -> Vec<CheckedBlock> {
    let mut chain: Vec<CheckedBlock> = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        let block = block_on(chain.last().map_or(parent, CheckedBlock::header), branch);
        chain.push(block);
    }
    chain
}

fn chain(blocks: usize) -> Vec<CheckedBlock> {
    chain_on(Params::regtest().genesis(), blocks, 1)
}

fn try_open(disk: &MemoryDisk) -> Result<(PersistentBlockchain, Recovery), StoreError> {
    PersistentBlockchain::open(Arc::new(disk.clone()), &Params::regtest(), &mut |_, _| {})
}

fn open(disk: &MemoryDisk) -> (PersistentBlockchain, Recovery) {
    try_open(disk).expect("nothing is damaged")
}

/// A disk with these blocks, of which all are synced.
fn synced(blocks: &[CheckedBlock]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut store, _) = open(&disk);
    store.append(blocks).expect("no fault");
    store.syncer().sync(store.appended_bytes()).expect("no fault");
    disk
}

/// Every byte of every file.
fn image(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.bytes(&name).expect("there"))).collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("few")
}

/// Goal: what is appended is found by number, id and height, and served as it came, also after a
/// restart. Method: two branches; the second overtakes; every look-up before and after reopening.
#[test]
fn what_is_appended_is_found_again() {
    let params = Params::regtest();
    let trunk = chain(5);
    let branch = chain_on(trunk[2].header(), 4, 2);
    let disk = MemoryDisk::default();
    let (mut store, recovery) = open(&disk);
    assert_eq!(recovery, Recovery { records: 1, durable_bytes: 65, cut: None, index_rebuilt: false });
    assert_eq!(store.append(&trunk).expect("no fault")[0].record, RecordNo(1));
    assert_eq!(store.append(&branch).expect("no fault")[0].record, RecordNo(6));
    let numbers = |from: u32, to: u32| (from..=to).map(RecordNo).collect::<Vec<_>>();
    store.publish(0, &numbers(1, 5), store.meta(RecordNo(5)).expect("there"));
    store.publish(3, &numbers(6, 9), store.meta(RecordNo(9)).expect("there"));
    store.syncer().sync(store.appended_bytes()).expect("no fault");
    for reopened in [false, true] {
        if reopened {
            store = open(&disk).0;
            assert!(!store.reader().is_served(RecordNo(9)), "nobody has said that it connects");
            store.mark_active_connected();
        }
        let reader = store.reader();
        assert_eq!((store.records(), reader.tip().record, reader.tip().work), (10, RecordNo(9), 7));
        for (n, block) in (1..).zip(trunk.iter().chain(&branch)) {
            let meta = reader.meta(RecordNo(n)).expect("whole");
            assert_eq!((meta.id, meta.header), (block.id(), *block.header()));
            assert_eq!(reader.find(&block.id()).expect("readable"), Some(RecordNo(n)));
            assert_eq!(reader.block(RecordNo(n)).expect("whole"), block.bytes());
            assert_eq!(reader.is_active(&meta), n <= 3 || n >= 6);
            assert_eq!(reader.is_served(RecordNo(n)), !reopened || n <= 3 || n >= 6);
        }
        assert_eq!(reader.record_at(4), Some(RecordNo(6)));
        assert_eq!(reader.record_at(8), None);
        assert_eq!(reader.find(&params.genesis_id()).expect("readable"), Some(RecordNo::GENESIS));
        assert_eq!(reader.find(&Hash::ZERO).expect("readable"), None);
        assert_eq!(reader.block(RecordNo::GENESIS).expect("it has none"), Vec::<u8>::new());
    }
    let mut seen = Vec::new();
    store.each_meta(RecordNo(8), &mut |meta: BlockMeta| seen.push(meta.record.0)).expect("readable");
    assert_eq!(seen, [8, 9]);
}

/// Goal: the first of two equally heavy branches stays the active one across restarts.
#[test]
fn a_tie_stays_with_the_branch_appended_first() {
    let trunk = chain(3);
    let rival = chain_on(trunk[0].header(), 2, 2);
    let disk = synced(&[trunk.clone(), rival].concat());
    assert_eq!(open(&disk).0.reader().tip().id, trunk[2].id());
}

/// Goal: two branches that overtake each other with every block end in the right path.
/// Method: thousands of blocks in turns, so that the path is laid anew in mid-file; with and without an index.
#[test]
fn branches_that_race_end_in_the_heavier_one() {
    let left = chain(3_000);
    let right = chain_on(Params::regtest().genesis(), 3_001, 2);
    let mut both = Vec::new();
    for (n, (a, b)) in left.iter().zip(&right).enumerate() {
        both.extend(if n % 2 == 0 { [a.clone(), b.clone()] } else { [b.clone(), a.clone()] });
    }
    both.push(right[3_000].clone());
    let disk = synced(&both);
    for rebuilt in [false, true] {
        if rebuilt {
            disk.put(INDEX, b"");
        }
        let (store, recovery) = open(&disk);
        assert_eq!(recovery.index_rebuilt, rebuilt);
        let reader = store.reader();
        assert_eq!(reader.tip().id, right[3_000].id());
        for (height, block) in (1..).zip(&right) {
            let record = reader.record_at(height).expect("on the path");
            assert_eq!(reader.meta(record).expect("whole").id, block.id());
        }
    }
}

/// Goal: the block file's and the mark's formats. Method: their bytes are put together by hand, in hex.
#[test]
fn the_files_have_these_bytes() {
    let blocks = chain(2);
    let disk = synced(&blocks);
    let mut payload = vec![1, 0, 0, 0];
    payload.extend_from_slice(&Params::regtest().genesis_id().0);
    payload.extend_from_slice(&[1; 16]);
    let mut expected = Vec::new();
    frame_into(KIND_FILE, &payload, &mut expected);
    assert_eq!(expected.len(), FRONT);
    for block in &blocks {
        frame_into(KIND_BLOCK, block.bytes(), &mut expected);
    }
    let file = disk.bytes(BLOCKS).expect("there");
    assert_eq!(file, expected);
    assert_eq!(hex::encode(&file[..9]), "73706e010034000000");
    assert_eq!(hex::encode(&file[FRONT..FRONT + 9]), "73706e0101b8000000");
    // The second slot was written when the file was founded, the first when it was synced.
    let mark = disk.bytes(MARK).expect("there");
    let slot = |sequence: u8, durable: &str| {
        let head = "73706e6d01000000".to_owned() + &"01".repeat(16);
        let bytes = hex::decode(format!("{head}{sequence:02x}00000000000000{durable}")).expect("hex");
        let checksum = crc32c::crc32c(&bytes).to_le_bytes();
        [bytes, checksum.to_vec()].concat()
    };
    assert_eq!(mark[..44], slot(2, "cb01000000000000"));
    assert_eq!(mark[4_096..], slot(1, "4100000000000000"));
    assert_eq!(disk.bytes(INDEX).expect("there").len(), 28 + 3 * 164);
}

/// Goal: a crash that tears the end costs the torn records and nothing else; opening again changes nothing.
/// Method: the block file truncated at every byte of its last 50 records, the index as the crash left it.
#[test]
fn truncation_opens_to_the_longest_valid_prefix() {
    let blocks = chain(60);
    let disk = synced(&blocks[..10]);
    let (mut store, _) = open(&disk);
    store.append(&blocks[10..]).expect("no fault");
    let ends: Vec<usize> =
        (0..=60).map(|n| usize::try_from(store.meta(RecordNo(n)).expect("whole").end()).expect("small")).collect();
    let file = disk.bytes(BLOCKS).expect("there");
    for size_bytes in ends[10]..=file.len() {
        let crashed = disk.kill();
        crashed.put(BLOCKS, &file[..size_bytes]);
        let (store, recovery) = open(&crashed);
        let whole = ends.partition_point(|&end| end <= size_bytes) - 1;
        assert_eq!(recovery.records, count(whole + 1), "cut at {size_bytes}");
        let cut = recovery.cut.map(|cut| (cut.offset, cut.bytes));
        let torn = size_bytes - ends[whole];
        assert_eq!(cut, (torn > 0).then_some((ends[whole] as u64, torn as u64)));
        assert_eq!(store.reader().tip().header.height, whole as u64);
        let before = image(&crashed);
        let (again, recovery) = open(&crashed);
        assert_eq!((recovery.cut, recovery.index_rebuilt, again.records()), (None, false, count(whole + 1)));
        assert!(image(&crashed) == before, "the second opening changed a byte");
    }
}

/// Goal: a flipped byte before the mark is damage: never served, never cut, named. Behind it, it is cut.
/// Method: every byte behind frame 0 of a file of six records, of which three are synced.
#[test]
fn a_flipped_byte_is_never_served() {
    let blocks = chain(6);
    let disk = synced(&blocks[..3]);
    let (mut store, _) = open(&disk);
    store.append(&blocks[3..]).expect("no fault");
    let metas: Vec<BlockMeta> = (0..=6).map(|n| store.meta(RecordNo(n)).expect("whole")).collect();
    let mark = metas[3].end();
    let file = disk.bytes(BLOCKS).expect("there");
    for at in FRONT..file.len() {
        let hurt = disk.kill();
        let mut bytes = file.clone();
        bytes[at] ^= 1 << (at % 8);
        hurt.put(BLOCKS, &bytes);
        let record = metas.iter().find(|meta| meta.end() > at as u64).expect("inside").record;
        match try_open(&hurt) {
            Ok((store, recovery)) if at as u64 >= mark => {
                assert_eq!(recovery.cut.map(|cut| cut.offset), Some(metas[record.0 as usize].offset), "byte {at}");
                assert_eq!(store.records(), record.0);
            }
            Ok((store, recovery)) => {
                assert_eq!((recovery.cut, recovery.records), (None, 7));
                assert_damaged(&store.block(record).expect_err("flipped"), record, mark);
                let mut buffer = Vec::new();
                assert!(store.reader().frames(RecordNo(1), 6, 1 << 20, &mut buffer).is_err() && buffer.is_empty());
            }
            Err(error) => {
                assert!((at as u64) < mark, "byte {at}: {error}");
                assert_damaged(&error, record, mark);
                assert!(hurt.bytes(BLOCKS) == Some(bytes), "damage is never cut");
            }
        }
    }
}

fn assert_damaged(error: &StoreError, record: RecordNo, mark: u64) {
    let text = error.to_string();
    let &StoreError::Damaged { record: named, offset, mark: at, .. } = error else { panic!("not damage: {text}") };
    assert_eq!((named, at), (record.0, mark));
    assert!(text.contains("blocks.dat") && text.contains(&offset.to_string()), "{text}");
}

/// Goal: damage is also found when the index is gone, and frame 0 is guarded like the rest.
#[test]
fn damage_without_an_index_is_named_at_opening() {
    let disk = synced(&chain(6));
    let file = disk.bytes(BLOCKS).expect("there");
    disk.put(INDEX, b"");
    for at in (0..FRONT).chain((FRONT..file.len()).step_by(7)) {
        let mut bytes = file.clone();
        bytes[at] ^= 0x20;
        disk.put(BLOCKS, &bytes);
        let error = try_open(&disk).expect_err("every byte counts");
        // A flip in the length or kind of frame 0 included: nothing there goes unseen.
        assert!(error.to_string().contains("although it was synced (mark: 1247)"), "byte {at}: {error}");
        assert!(disk.bytes(BLOCKS) == Some(bytes));
    }
}

/// Goal: damage that was named once is named again: an index that is mended on the way to it does not hide it from
/// the next opening. Method: a bad block, and a bad record of the index before it; whole ones behind both.
#[test]
fn damage_is_named_every_time() {
    let disk = synced(&chain(6));
    let (mut file, mut index) = (disk.bytes(BLOCKS).expect("there"), disk.bytes(INDEX).expect("there"));
    let (store, _) = open(&disk);
    let bad = store.meta(RecordNo(4)).expect("whole");
    let mark = store.durable_bytes();
    file[usize::try_from(bad.offset).expect("small") + 120] ^= 1;
    // Within record 2, behind a header of 28 bytes.
    index[28 + 2 * 164 + 50] ^= 1;
    disk.put(BLOCKS, &file);
    disk.put(INDEX, &index);
    for _ in 0..3 {
        assert_damaged(&try_open(&disk).expect_err("flipped"), RecordNo(4), mark);
    }
}

/// Goal: behind the mark a whole, valid block that does not belong there is cut with all that follows.
/// Method: a block whose parent is nowhere, and one whose height skips, each followed by good blocks.
#[test]
fn a_record_that_does_not_follow_is_cut() {
    let blocks = chain(4);
    let orphan = block_on(block_on(blocks[3].header(), 9).header(), 9);
    let skips = block_on(&Header { height: 3, ..*blocks[1].header() }, 1);
    let skips_prev = Header { prev: blocks[1].id(), ..*skips.header() };
    let skips = {
        let mut bytes = skips.bytes().to_vec();
        bytes[..100].copy_from_slice(&skips_prev.to_bytes());
        bytes
    };
    let reasons = [
        (orphan.bytes().to_vec(), BadRecord::UnknownParent(orphan.header().prev)),
        (skips, BadRecord::Height { height: 4, parent: 2 }),
    ];
    for (bad, reason) in reasons {
        let disk = synced(&blocks[..2]);
        let mut file = disk.bytes(BLOCKS).expect("there");
        let offset = file.len() as u64;
        frame_into(KIND_BLOCK, &bad, &mut file);
        blocks[2..].iter().for_each(|block| frame_into(KIND_BLOCK, block.bytes(), &mut file));
        disk.put(BLOCKS, &file);
        let (_, recovery) = open(&disk);
        let cut = recovery.cut.expect("it does not belong there");
        assert_eq!((cut.offset, cut.bytes, cut.reason), (offset, file.len() as u64 - offset, reason));
        assert_eq!(recovery.records, 3);
    }
}

/// Goal: the index is only a cache. Method: each of its bytes flipped, and it cut at each length; every
/// time the chain opens, and the index is afterwards what it was.
#[test]
fn a_bad_index_is_made_anew() {
    let blocks = chain(6);
    let disk = synced(&blocks);
    let index = disk.bytes(INDEX).expect("there");
    let tip = blocks[5].id();
    let opens_well = |bytes: &[u8], what: &str| {
        disk.put(INDEX, bytes);
        let (store, recovery) = open(&disk);
        assert_eq!((recovery.cut, recovery.index_rebuilt, recovery.records), (None, true, 7), "{what}");
        assert_eq!(store.reader().tip().id, tip);
        assert!(disk.bytes(INDEX).as_ref() == Some(&index), "{what}");
    };
    for at in 0..index.len() {
        let mut bytes = index.clone();
        bytes[at] ^= 1 << (at % 8);
        opens_well(&bytes, &format!("byte {at} flipped"));
        opens_well(&index[..at], &format!("cut at {at}"));
    }
    // An index of other blocks, whole in itself.
    let other = synced(&chain_on(Params::regtest().genesis(), 6, 7));
    opens_well(&other.bytes(INDEX).expect("there"), "of another chain");
    disk.put(INDEX, &[&index[..], &[0; 500]].concat());
    assert!(!open(&disk).1.index_rebuilt);
    assert!(disk.bytes(INDEX) == Some(index), "what lies behind its end is gone");
}

/// Goal: blocks behind the mark are read from the file even if the index has them.
/// Method: a synced-looking index beside a file whose unsynced end was lost in a power cut.
#[test]
fn the_index_is_not_believed_behind_the_mark() {
    let blocks = chain(6);
    let disk = synced(&blocks[..3]);
    let (mut store, _) = open(&disk);
    store.append(&blocks[3..]).expect("no fault");
    let index = disk.bytes(INDEX).expect("there");
    let crashed = disk.crash();
    crashed.put(INDEX, &index);
    let (mut store, recovery) = open(&crashed);
    assert_eq!((recovery.records, recovery.cut, recovery.index_rebuilt), (4, None, false));
    assert_eq!(store.find(&blocks[4].id()).expect("readable"), None);
    store.append(&blocks[3..]).expect("no fault");
    assert!(crashed.bytes(INDEX) == Some(index));
}

/// Goal: after a power cut everything that a sync has confirmed is there, and it all goes on.
/// Method: blocks appended and synced in turns; a crash and a kill after every step.
#[test]
fn what_was_synced_survives_a_power_cut() {
    let blocks = chain(12);
    let disk = MemoryDisk::default();
    let (mut store, _) = open(&disk);
    let mut durable = 0;
    for (n, block) in blocks.iter().enumerate() {
        store.append(std::slice::from_ref(block)).expect("no fault");
        if n % 3 == 2 {
            let upto = store.appended_bytes();
            store.syncer().sync(upto).expect("no fault");
            store.set_durable(upto);
            durable = n + 1;
        }
        let (mut crashed, recovery) = open(&disk.crash());
        assert_eq!((recovery.records, recovery.durable_bytes), (count(durable + 1), crashed.durable_bytes()));
        crashed.append(&blocks[durable..]).expect("it goes on");
        let (killed, recovery) = open(&disk.kill());
        assert_eq!((killed.records(), recovery.cut), (count(n + 2), None));
    }
}

/// Goal: a failed sync confirms nothing and is the last thing that is tried.
/// Method: the sync of the data fails, then that of the mark, then the mark's write.
#[test]
fn a_failing_sync_is_final() {
    let blocks = chain(4);
    for fault in 0..3 {
        let disk = synced(&blocks[..2]);
        let (mut store, recovery) = open(&disk);
        store.append(&blocks[2..3]).expect("no fault");
        let mut syncer = store.syncer();
        match fault {
            0 => disk.fail_sync(1),
            1 => disk.fail_sync(2),
            _ => disk.fail_write(1),
        }
        let upto = store.appended_bytes();
        let error = syncer.sync(upto).expect_err("a fault");
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        let calls = disk.calls();
        let again = syncer.sync(upto).expect_err("final");
        assert!(matches!(again, StoreError::Poisoned { .. }), "{again}");
        assert!(again.to_string().contains("blocks."), "{again}");
        let append = store.append(&blocks[3..]).expect_err("final");
        assert!(matches!(append, StoreError::Poisoned { .. }), "{append}");
        assert_eq!(disk.calls(), calls, "nothing is tried again");
        assert_eq!(store.durable_bytes(), recovery.durable_bytes);
        // The blocks that were durable before are still.
        assert!(open(&disk.crash()).1.records >= 3);
    }
}

/// Goal: a failed or short write is final, and what it left is cut at the next start.
/// Method: the write to the block file fails, that to the index fails, the disk is full in mid-record.
#[test]
fn a_failing_write_is_final() {
    let blocks = chain(4);
    for fault in 0..3 {
        let disk = synced(&blocks[..2]);
        let (mut store, _) = open(&disk);
        match fault {
            0 => disk.fail_write(1),
            1 => disk.fail_write(2),
            _ => disk.set_free_bytes(100),
        }
        let error = store.append(&blocks[2..]).expect_err("a fault");
        assert_eq!(error.to_string().contains("free some space"), fault == 2, "{error}");
        disk.set_free_bytes(1 << 40);
        assert!(matches!(store.append(&blocks[2..]), Err(StoreError::Poisoned { .. })));
        assert!(matches!(store.syncer().sync(store.appended_bytes()), Err(StoreError::Poisoned { .. })));
        let (mut store, recovery) = open(&disk);
        let whole = if fault == 1 { 5 } else { 3 };
        assert_eq!((recovery.records, recovery.cut.is_some()), (whole, fault == 2));
        store.append(&blocks[whole as usize - 1..]).expect("it goes on");
    }
}

/// Goal: a crash while a directory is being founded can be recovered from.
/// Method: each write and each sync of the founding fails; then a power cut or a kill; then frame 0 torn
/// at each byte.
#[test]
fn a_crash_at_creation_starts_over() {
    let disk = MemoryDisk::default();
    drop(open(&disk));
    let (writes, syncs) = disk.calls();
    for n in 1..=writes + syncs {
        let disk = MemoryDisk::default();
        if n <= writes {
            disk.fail_write(n);
        } else {
            disk.fail_sync(n - writes);
        }
        assert!(try_open(&disk).is_err(), "call {n}");
        for left in [disk.crash(), disk.kill()] {
            let (mut store, recovery) = open(&left);
            assert_eq!((recovery.records, recovery.durable_bytes, recovery.cut), (1, 65, None));
            store.append(&chain(2)).expect("it goes on");
            store.syncer().sync(store.appended_bytes()).expect("no fault");
            assert_eq!(open(&left.crash()).1.records, 3);
        }
    }
    let front = disk.bytes(BLOCKS).expect("there");
    for at in 0..FRONT {
        for torn in [front[..at].to_vec(), [&front[..at], &vec![0; FRONT - at][..]].concat()] {
            let disk = MemoryDisk::default();
            disk.put(BLOCKS, &torn);
            assert_eq!(open(&disk).1.records, 1, "torn at {at}");
            assert_eq!(open(&disk).1.records, 1, "torn at {at}, again");
        }
    }
}

/// Goal: without a valid mark a whole file is taken as it is and marked anew; a torn one is not touched.
#[test]
fn a_lost_mark_cuts_nothing() {
    let disk = synced(&chain(4));
    let file = disk.bytes(BLOCKS).expect("there");
    for mark in [vec![], vec![0x5a; 5_000]] {
        disk.put(MARK, &mark);
        let (_, recovery) = open(&disk);
        assert_eq!((recovery.records, recovery.durable_bytes), (5, file.len() as u64));
        assert_eq!(open(&disk).1.durable_bytes, file.len() as u64);
        disk.put(MARK, &mark);
        disk.put(BLOCKS, &file[..file.len() - 1]);
        let error = try_open(&disk).expect_err("nobody can tell");
        assert!(matches!(error, StoreError::Unmarked { record: 4, .. }), "{error}");
        assert_eq!(disk.bytes(BLOCKS).expect("there").len(), file.len() - 1);
        disk.put(BLOCKS, &file);
    }
}

/// Goal: what is not this network's chain in this format is refused by name and left as it is.
#[test]
fn foreign_files_are_refused_by_name() {
    let disk = synced(&chain(2));
    let file = disk.bytes(BLOCKS).expect("there");
    let newer = |payload_bytes: usize| {
        let mut payload = vec![2, 0, 0, 0];
        payload.resize(payload_bytes, 9);
        let mut bytes = Vec::new();
        frame_into(KIND_FILE, &payload, &mut bytes);
        bytes.resize(bytes.len().max(100), 0);
        bytes
    };
    let cases = [
        (b"#!/bin/sh".to_vec(), "record 0 at byte 0"),
        (vec![0; 500], "record 0 at byte 0"),
        (newer(52), "format version 2 and this program knows up to 1"),
        (newer(80), "format version 2 and this program knows up to 1"),
        (file[..file.len() - 1].to_vec(), "has 458 bytes but 459 were synced"),
        (Vec::new(), "has 0 bytes but 459 were synced"),
    ];
    for (bytes, text) in cases {
        disk.put(BLOCKS, &bytes);
        let error = try_open(&disk).expect_err("refused").to_string();
        assert!(error.contains(text) && error.contains("blocks.dat"), "{error}");
        assert!(disk.bytes(BLOCKS) == Some(bytes));
    }
    for bytes in [&b"#!/bin/sh"[..], &[0; 500]] {
        let elsewhere = MemoryDisk::default();
        elsewhere.put(BLOCKS, bytes);
        let error = try_open(&elsewhere).expect_err("refused").to_string();
        assert!(error.contains("is not a block file of spindle"), "{error}");
        assert_eq!(elsewhere.bytes(BLOCKS).as_deref(), Some(bytes));
    }
    disk.put(BLOCKS, &file);
    let other = PersistentBlockchain::open(Arc::new(disk.clone()), &Params::local(), &mut |_, _| {});
    assert!(matches!(other, Err(StoreError::OtherNetwork { .. })));
    let mut slot = disk.bytes(MARK).expect("there");
    slot[4] = 2;
    let checksum = crc32c::crc32c(&slot[..40]).to_le_bytes();
    slot[40..44].copy_from_slice(&checksum);
    disk.put(MARK, &slot);
    assert!(matches!(try_open(&disk), Err(StoreError::Newer { version: 2, .. })));
}

/// Goal: a run of frames is served as it lies in the file, within its bounds, and verified.
#[test]
fn frames_are_served_as_they_lie() {
    let blocks = chain(10);
    let disk = synced(&blocks);
    let (store, _) = open(&disk);
    let reader = store.reader();
    let mut buffer = Vec::new();
    let frame_bytes = frame::HEADER_BYTES + blocks[0].bytes().len();
    let cases = [
        (1, 10, 1 << 20, 10),
        (1, 3, 1 << 20, 3),
        (4, 100, 1 << 20, 7),
        (4, 100, 3 * frame_bytes, 3),
        (4, 100, 3 * frame_bytes - 1, 2),
        (4, 100, 1, 1),
        (10, 1, 0, 1),
        (0, 5, 1 << 20, 0),
        (11, 5, 1 << 20, 0),
        (5, 0, 1 << 20, 0),
    ];
    for (first, wanted, bytes_max, given) in cases {
        let found = reader.frames(RecordNo(first), wanted, bytes_max, &mut buffer).expect("whole");
        assert_eq!(found, given, "from {first}, {wanted}, {bytes_max}");
        let mut expected = Vec::new();
        let run = blocks.iter().skip(first.saturating_sub(1) as usize).take(given);
        run.for_each(|block| frame_into(KIND_BLOCK, block.bytes(), &mut expected));
        assert!(buffer == expected);
    }
    // The disk goes bad under a running node.
    let file = disk.open(BLOCKS).expect("there");
    file.write_at(b"?", (FRONT + 5 * frame_bytes + 50) as u64).expect("no fault");
    assert_eq!(reader.frames(RecordNo(1), 5, 1 << 20, &mut buffer).expect("whole"), 5);
    assert!(matches!(
        reader.frames(RecordNo(1), 6, 1 << 20, &mut buffer),
        Err(StoreError::Damaged { record: 6, reason: BadRecord::Checksum, .. })
    ));
    let index = disk.open(INDEX).expect("there");
    index.write_at(b"?", 28 + 164 * 3).expect("no fault");
    assert!(matches!(reader.block(RecordNo(3)), Err(StoreError::IndexDamaged { record: 3, .. })));
}

/// Goal: low space is seen before it hurts, with a distance between stopping and going on.
#[test]
fn low_space_stops_appending_in_time() {
    let disk = MemoryDisk::default();
    let (mut store, _) = open(&disk);
    disk.set_free_bytes(ROOM_MIN_BYTES);
    assert_eq!(store.room().expect("asked"), Room::Enough);
    disk.set_free_bytes(ROOM_MIN_BYTES - 1);
    assert_eq!(store.room().expect("cheap"), Room::Enough, "it is not asked at every block");
    let low = Room::Low { free_bytes: ROOM_MIN_BYTES - 1 };
    assert_eq!(store.refresh_room().expect("asked"), low);
    disk.set_free_bytes(ROOM_AGAIN_BYTES - 1);
    assert!(matches!(store.refresh_room().expect("asked"), Room::Low { .. }));
    disk.set_free_bytes(ROOM_AGAIN_BYTES);
    assert_eq!(store.refresh_room().expect("asked"), Room::Enough);
}

fn ledger(coins: u32) -> Ledger {
    let coins: Vec<CoinId> = (0..coins).map(|n| CoinId(Hash::sha256d(&n.to_le_bytes()).0)).collect();
    let mut ledger = Ledger::default();
    ledger.apply(&[], &coins).expect("new coins");
    ledger
}

/// Goal: a checkpoint reads back as the ledger that was written, or not at all.
/// Method: every byte flipped, every 97th length, another file's identity; each is ignored with a reason.
#[test]
fn a_checkpoint_that_does_not_match_is_ignored() {
    let disk = MemoryDisk::default();
    let (store, _) = open(&disk);
    let identity = store.identity();
    assert!(matches!(checkpoint::read(&disk, &identity), Ok(Loaded::Missing)));
    let (tip, coins) = (Hash([5; 32]), ledger(40));
    assert!(checkpoint::write(&disk, &identity, tip, &coins, &mut || true).expect("no fault"));
    let Loaded::Ledger { tip: found, ledger } = checkpoint::read(&disk, &identity).expect("readable") else {
        panic!("it matches");
    };
    assert!(found == tip && ledger == coins);
    let bytes = disk.bytes(CHECKPOINT).expect("there");
    let ignored = |what: String| match checkpoint::read(&disk, &identity).expect("readable") {
        Loaded::Ignored(reason) => assert!(!reason.is_empty()),
        other => panic!("{what}: {other:?}"),
    };
    let file = disk.open(CHECKPOINT).expect("there");
    for (at, byte) in bytes.iter().enumerate() {
        file.write_at(&[byte ^ (1 << (at % 8))], at as u64).expect("room");
        ignored(format!("byte {at} flipped"));
        file.write_at(&[*byte], at as u64).expect("room");
    }
    for size_bytes in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        disk.put(CHECKPOINT, &bytes[..size_bytes]);
        ignored(format!("cut at {size_bytes}"));
    }
    disk.put(CHECKPOINT, &[&bytes[..], &[0]].concat());
    ignored("one byte more".to_owned());
    disk.put(CHECKPOINT, &bytes);
    let other = spindle::blockchain::storage::FileIdentity { file_id: [0; 16], ..identity };
    assert!(matches!(checkpoint::read(&disk, &other), Ok(Loaded::Ignored(reason)) if reason.contains("another")));
}

/// Goal: the checkpoint's format. Method: its bytes for two coins, put together by hand.
#[test]
fn a_checkpoint_has_these_bytes() {
    let disk = MemoryDisk::default();
    let identity = open(&disk).0.identity();
    let mut coins = Ledger::default();
    coins.apply(&[], &[CoinId([0; 32]), CoinId([0xff; 32])]).expect("new");
    checkpoint::write(&disk, &identity, Hash([5; 32]), &coins, &mut || true).expect("no fault");
    let bytes = disk.bytes(CHECKPOINT).expect("there");
    let genesis = hex::encode(identity.genesis_id.0);
    let head = format!("73706e6c01000000{genesis}{}{}0200000000000000", "01".repeat(16), "05".repeat(32));
    assert_eq!(hex::encode(&bytes[..96]), head);
    assert_eq!(bytes[96..100], crc32c::crc32c(&bytes[..96]).to_le_bytes());
    let shard = |id: u8| {
        let content = [&[1, 0, 0, 0][..], &[id; 32]].concat();
        [&[1, 0, 0, 0][..], &crc32c::crc32c(&content).to_le_bytes(), &[id; 32]].concat()
    };
    let empty = [&[0; 4][..], &crc32c::crc32c(&[0; 4]).to_le_bytes()].concat();
    assert_eq!(bytes[100..], [shard(0), empty.repeat(4_094), shard(0xff)].concat());
}

/// Goal: writing a checkpoint never harms the one before: stopped, failed or cut off by a crash.
#[test]
fn an_unfinished_checkpoint_leaves_the_old_one() {
    let disk = MemoryDisk::default();
    let identity = open(&disk).0.identity();
    let old = ledger(10);
    checkpoint::write(&disk, &identity, Hash([1; 32]), &old, &mut || true).expect("no fault");
    let is_old = |disk: &MemoryDisk| match checkpoint::read(disk, &identity).expect("readable") {
        Loaded::Ledger { tip, ledger } => assert!(tip == Hash([1; 32]) && ledger == old),
        other => panic!("{other:?}"),
    };
    let mut shards = 0;
    let stopped = checkpoint::write(&disk, &identity, Hash([2; 32]), &ledger(20), &mut || {
        shards += 1;
        shards < 2_000
    });
    assert!(!stopped.expect("no fault"));
    assert!(!disk.exists("ledger.checkpoint.new").expect("looked up"));
    is_old(&disk);
    disk.fail_sync(1);
    assert!(checkpoint::write(&disk, &identity, Hash([2; 32]), &ledger(20), &mut || true).is_err());
    is_old(&disk);
    is_old(&disk.crash());
    disk.fail_sync(2);
    assert!(checkpoint::write(&disk, &identity, Hash([2; 32]), &ledger(20), &mut || true).is_err());
    is_old(&disk.crash());
}

/// Goal: a directory that a node holds can be looked into, torn end and all, and stays as it is.
/// Method: a real directory; its node appends, and is in the middle of a record.
#[test]
fn a_held_directory_can_be_read() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("data");
    let blocks = chain(8);
    let disk: Arc<dyn Disk> = Arc::new(DataDir::open(&path).expect("free"));
    let (mut store, _) =
        PersistentBlockchain::open(Arc::clone(&disk), &Params::regtest(), &mut |_, _| {}).expect("new");
    store.append(&blocks[..5]).expect("no fault");
    store.syncer().sync(store.appended_bytes()).expect("no fault");
    store.append(&blocks[5..]).expect("no fault");
    let torn = store.appended_bytes();
    disk.open(BLOCKS).expect("there").write_at(b"spn", torn).expect("room");
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(&path)
            .expect("there")
            .map(|entry| entry.expect("readable").path())
            .map(|path| (path.clone(), std::fs::read(path).expect("readable")))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let params = Params::regtest();
    for missing in ["", INDEX] {
        if !missing.is_empty() {
            std::fs::remove_file(path.join(missing)).expect("there");
        }
        let looked = PersistentBlockchain::open_read_only(&path, &params, &mut |_, _| {});
        let (looked, recovery) = looked.expect("nothing is damaged");
        assert_eq!((recovery.records, recovery.cut.map(|cut| (cut.offset, cut.bytes))), (9, Some((torn, 3))));
        assert_eq!(recovery.index_rebuilt, !missing.is_empty());
        assert_eq!(looked.block(RecordNo(8)).expect("whole"), blocks[7].bytes());
        assert_eq!(looked.reader().tip().id, blocks[7].id());
    }
    let mut after = files();
    after.push((path.join(INDEX), before.iter().find(|(path, _)| path.ends_with(INDEX)).expect("there").1.clone()));
    after.sort();
    assert!(before == after, "looking changed a byte");
    let nowhere = PersistentBlockchain::open_read_only(&parent.path().join("none"), &params, &mut |_, _| {});
    assert!(matches!(nowhere, Err(StoreError::NoChain { .. })));
    assert!(!parent.path().join("none").exists());
}

/// Goal: readers find every block that was there before they looked, while the owner appends and the
/// table grows under them. Method: one thread looks up and reads, the owner appends thousands of blocks.
#[test]
fn readers_go_on_while_the_owner_appends() {
    let blocks = chain(4_000);
    let disk = MemoryDisk::default();
    let (mut store, _) = open(&disk);
    store.append(&blocks[..10]).expect("no fault");
    let reader = store.reader();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looked = 0;
            while looked < blocks.len() {
                let there = reader.records() as usize - 1;
                for n in (looked..there).chain(0..1) {
                    let record = reader.find(&blocks[n].id()).expect("whole").expect("it was there before");
                    assert_eq!(
                        (record.0 as usize, reader.block(record).expect("whole")),
                        (n + 1, blocks[n].bytes().to_vec())
                    );
                }
                looked = there;
            }
        });
        for run in blocks[10..].chunks(7) {
            store.append(run).expect("no fault");
        }
        looking.join().expect("the reader found all");
    });
}
