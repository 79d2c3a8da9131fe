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
    assert_eq!(store.append(&trunk).expect("no fault"), RecordNo(1));
    assert_eq!(store.append(&branch).expect("no fault"), RecordNo(6));
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
    blocks.iter().for_each(|block| frame_into(KIND_BLOCK, block.bytes(), &mut expected));
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
                assert_damaged(store.block(record).expect_err("flipped"), record, mark);
                let mut buffer = Vec::new();
                assert!(store.reader().frames(RecordNo(1), 6, 1 << 20, &mut buffer).is_err() && buffer.is_empty());
            }
            Err(error) => {
                assert!((at as u64) < mark, "byte {at}: {error}");
                assert_damaged(error, record, mark);
                assert!(hurt.bytes(BLOCKS) == Some(bytes), "damage is never cut");
            }
        }
    }
}

fn assert_damaged(error: StoreError, record: RecordNo, mark: u64) {
    let text = error.to_string();
    let StoreError::Damaged { record: named, offset, mark: at, .. } = error else { panic!("not damage: {text}") };
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
        let error = try_open(&disk).err().expect("every byte counts");
        let expected = if at < FRONT { "blocks.dat" } else { "although it was synced (mark: 1247)" };
        assert!(error.to_string().contains(expected), "byte {at}: {error}");
        assert!(disk.bytes(BLOCKS) == Some(bytes));
    }
}
