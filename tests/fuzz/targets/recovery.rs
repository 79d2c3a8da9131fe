//! Opening what is left of a chain's files: whatever became of them, it ends in a chain that is right or in an error
//! that names the place; and to open twice changes nothing.
//!
//! The input picks one of two directories (all synced, or only the first half) and spoils its files: bytes changed,
//! ranges zeroed or copied, ends cut, blocks appended that belong there or not, marks of any content. A plain
//! reading of the two files that count says what opening must find.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use spindle::blockchain::block::{CheckedHeader, HEADER_BYTES, Header, ReadBlock};
use spindle::blockchain::chain::Chain;
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::BLOCK_BYTES_MAX;
use spindle::blockchain::storage::{
    BLOCKS, CHECKPOINT, INDEX, MARK, PersistentBlockchain, RecordNo, Recovery, StoreError, checkpoint,
};
use spindle::primitives::codec;
use spindle::primitives::frame::{self, KIND_BLOCK, frame_into};
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;
use super::kit;
use super::universe::universe;

/// Frame 0: its header, format version, genesis id, file id.
const FRONT_BYTES: usize = frame::HEADER_BYTES + 52;
const SLOT_BYTES: usize = 44;
const SLOT_STEP: usize = 4_096;
const FILES: [&str; 4] = [BLOCKS, MARK, INDEX, CHECKPOINT];
/// Longer ones show nothing new.
const FILE_BYTES_MAX: usize = 64 << 10;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let base = &bases()[input.below(2)];
    let disk = base.kill();
    while !input.is_empty() {
        spoil(&mut input, &disk);
    }
    let without = disk.kill();
    without.remove(INDEX).expect("memory");
    let expected = model(&disk);
    let was_synced = disk.bytes(BLOCKS).and_then(|bytes| Some(bytes.get(..expected.durable_bytes)?.to_vec()));
    let is_as_it_was =
        base.bytes(BLOCKS).as_deref().and_then(|bytes| bytes.get(..expected.durable_bytes)) == was_synced.as_deref();
    let opened = open(&disk);
    let first = opened.as_ref().map(|(store, recovery)| (store.records(), recovery.clone()));
    check_twice(&disk, first, expected.is_between);
    if let Ok((store, _)) = &opened {
        check_blocks(store);
    }
    if expected.is_ours {
        assert!(!is_as_it_was || found(&opened) == expected.found, "{opened:?} with an index that has nothing to hide");
        assert_eq!(found(&open(&without)), expected.found, "the index is only a cache");
    }
    check_chain(&disk);
}

// --- what is spoilt ---

/// Eight blocks of the short chain and a fork of three, with a checkpoint: all of it synced, or the first half.
fn bases() -> &'static [MemoryDisk; 2] {
    static BASES: OnceLock<[MemoryDisk; 2]> = OnceLock::new();
    BASES.get_or_init(|| [true, false].map(base))
}

fn base(is_synced: bool) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut store, _) = open(&disk).expect("memory");
    store.append(&kit::chain().blocks[..6]).expect("memory");
    store.syncer().sync(store.appended_bytes()).expect("memory");
    let (chain, _) = Chain::open(kit::params().clone(), &shared(&disk), &mut |_| {}).expect("memory");
    let (identity, tip) = (store.identity(), chain.tip().id);
    checkpoint::write(&disk, &identity, tip, chain.ledger(), &mut || true).expect("memory");
    // The short branch that leaves the chain at height 5.
    let fork = universe().branch(&universe().leaves[2]);
    let fork = fork[5..].iter().filter_map(|header| universe().find(&header.id())?.body.clone());
    store.append(&fork.collect::<Vec<_>>()).expect("memory");
    store.append(&kit::chain().blocks[6..8]).expect("memory");
    if is_synced {
        store.syncer().sync(store.appended_bytes()).expect("memory");
    }
    disk
}

fn shared(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn spoil(input: &mut Bytes<'_>, disk: &MemoryDisk) {
    let how = input.byte();
    let name = FILES[usize::from(how / 16 % 4)];
    let mut bytes = disk.bytes(name).unwrap_or_default();
    let at = usize::from(input.u16()) % (bytes.len() + 1);
    match how % 16 {
        0..=3 => {
            let mask = input.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        4 | 5 => bytes.truncate(at),
        6 => {
            let length = usize::from(input.u16()).min(bytes.len() - at);
            bytes[at..at + length].fill(0);
        }
        7 => {
            let length = usize::from(input.byte());
            bytes.splice(at.., input.take(length).iter().copied());
        }
        8 => {
            let length = usize::from(input.u16()).min(bytes.len() - at);
            let to = usize::from(input.u16()).min(bytes.len() - length);
            bytes.copy_within(at..at + length, to);
        }
        9 => return disk.remove(name).expect("memory"),
        10 => bytes.resize((at + usize::from(input.u16())).min(FILE_BYTES_MAX), 0),
        11 | 12 => {
            let (sequence, durable_bytes, file_id) = (input.byte() % 5, u64::from(input.u16()), input.byte());
            bytes = disk.bytes(MARK).unwrap_or_default();
            put_slot(&mut bytes, u64::from(sequence), durable_bytes, file_id);
            return disk.put(MARK, &bytes);
        }
        _ => {
            bytes = disk.bytes(BLOCKS).unwrap_or_default();
            let known = &universe().all[input.below(universe().all.len())];
            let mut payload = known.block.to_bytes();
            payload.truncate(payload.len() - usize::from(input.byte() % 128));
            frame_into(if how % 16 == 13 { input.byte() } else { KIND_BLOCK }, &payload, &mut bytes);
            bytes.truncate(FILE_BYTES_MAX);
            return disk.put(BLOCKS, &bytes);
        }
    }
    disk.put(name, &bytes);
}

/// Writes a slot of the mark; mostly of the right file, which was the first that its disk named.
fn put_slot(bytes: &mut Vec<u8>, sequence: u64, durable_bytes: u64, other: u8) {
    let at = usize::try_from(sequence % 2).expect("0 or 1") * SLOT_STEP;
    bytes.resize(bytes.len().max(at + SLOT_BYTES), 0);
    let slot = &mut bytes[at..at + SLOT_BYTES];
    slot[..8].copy_from_slice(b"spnm\x01\0\0\0");
    slot[8..24].fill(if other >= 240 { other } else { 1 });
    slot[24..32].copy_from_slice(&sequence.to_le_bytes());
    slot[32..40].copy_from_slice(&durable_bytes.to_le_bytes());
    let checksum = crc32c::crc32c(&slot[..40]);
    slot[40..].copy_from_slice(&checksum.to_le_bytes());
}

// --- what must be found ---

/// What opening says.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Chain { records: u32, cut: Option<u64> },
    Damaged { record: u32, offset: u64 },
    Short,
    Unmarked { record: u32, offset: u64 },
    Other,
}

struct Expected {
    /// Whether frame 0 is as it was; else nothing is said here.
    is_ours: bool,
    /// Whether the mark stands at the end of a block, as every mark of ours does.
    is_between: bool,
    durable_bytes: usize,
    found: Found,
}

fn found(opened: &Result<(PersistentBlockchain, Recovery), StoreError>) -> Found {
    match opened {
        Ok((_, recovery)) => {
            Found::Chain { records: recovery.records, cut: recovery.cut.as_ref().map(|cut| cut.offset) }
        }
        Err(StoreError::Damaged { record, offset, .. }) => Found::Damaged { record: *record, offset: *offset },
        Err(StoreError::Short { .. }) => Found::Short,
        Err(StoreError::Unmarked { record, offset, .. }) => Found::Unmarked { record: *record, offset: *offset },
        Err(_) => Found::Other,
    }
}

/// The two files that count, read in the plainest way.
fn model(disk: &MemoryDisk) -> Expected {
    let bytes = disk.bytes(BLOCKS).unwrap_or_default();
    let front = bases()[0].bytes(BLOCKS).map(|bytes| bytes[..FRONT_BYTES].to_vec());
    let is_ours = bytes.get(..FRONT_BYTES) == front.as_deref();
    let durable_bytes = durable_bytes(&disk.bytes(MARK).unwrap_or_default());
    if bytes.len() < durable_bytes {
        return Expected { is_ours, is_between: false, durable_bytes, found: Found::Short };
    }
    let mut heights = BTreeMap::from([(kit::params().genesis_id(), 0)]);
    let (mut at, mut records, mut is_between) = (FRONT_BYTES, 1, durable_bytes == FRONT_BYTES);
    while let Some((header, size_bytes)) = bytes.get(at..).and_then(frame_at) {
        let follows = header.height.checked_sub(1).is_some_and(|parent| heights.get(&header.prev) == Some(&parent));
        if !follows {
            break;
        }
        heights.insert(header.id(), header.height);
        (at, records) = (at + size_bytes, records + 1);
        is_between |= at == durable_bytes;
    }
    let offset = at as u64;
    let found = match durable_bytes {
        _ if at == bytes.len() => Found::Chain { records, cut: None },
        0 => Found::Unmarked { record: records, offset },
        durable if at < durable => Found::Damaged { record: records, offset },
        _ => Found::Chain { records, cut: Some(offset) },
    };
    Expected { is_ours, is_between, durable_bytes, found }
}

/// The header of the block whose whole frame stands at the front, and what the frame takes.
fn frame_at(bytes: &[u8]) -> Option<(Header, usize)> {
    let rest = bytes.strip_prefix(&frame::MAGIC)?.strip_prefix(&[KIND_BLOCK])?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let payload = rest.get(..length).filter(|_| (HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&length))?;
    let header = codec::decode(&payload[..HEADER_BYTES]).ok()?;
    let is_right = crc32c::crc32c(payload).to_le_bytes() == *checksum && CheckedHeader::check(header).is_ok();
    is_right.then_some((header, frame::HEADER_BYTES + length))
}

fn durable_bytes(mark: &[u8]) -> usize {
    let number = |slot: &[u8], at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let slots = [0, SLOT_STEP].into_iter().zip(0..).filter_map(|(at, place)| {
        let slot = mark.get(at..at + SLOT_BYTES)?;
        let (sequence, durable) = (number(slot, 24), number(slot, 32));
        let is_right = slot.starts_with(b"spnm\x01\0\0\0")
            && slot[8..24] == [1; 16]
            && crc32c::crc32c(&slot[..40]).to_le_bytes() == slot[40..]
            && sequence % 2 == place
            && sequence > 0
            && durable >= FRONT_BYTES as u64;
        is_right.then_some((sequence, durable))
    });
    slots.max().map_or(0, |(_, durable)| usize::try_from(durable).unwrap_or(usize::MAX))
}

// --- what holds of every opening ---

fn open(disk: &MemoryDisk) -> Result<(PersistentBlockchain, Recovery), StoreError> {
    PersistentBlockchain::open(shared(disk), kit::params(), &mut |_, _| {})
}

fn contents(disk: &MemoryDisk) -> Vec<Option<Vec<u8>>> {
    FILES.iter().map(|name| disk.bytes(name)).collect()
}

/// Opened again, a directory is as the first opening has left it, and says the same.
fn check_twice(disk: &MemoryDisk, first: Result<(u32, Recovery), &StoreError>, is_between: bool) {
    let left = contents(disk);
    let again = open(disk);
    assert_eq!(contents(disk), left, "the second opening changes nothing");
    match (first, again) {
        (Ok((records, recovery)), Ok((store, second))) => {
            assert_eq!((store.records(), second.records), (records, records));
            assert!(second.cut.is_none() && !(second.index_rebuilt && is_between));
            assert!(second.durable_bytes >= recovery.durable_bytes);
        }
        (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
        (first, second) => panic!("{first:?}, then {second:?}"),
    }
}

/// What is served is what was stored: each block is the one of its id, or is named as damaged.
fn check_blocks(store: &PersistentBlockchain) {
    let reader = store.reader();
    for record in (1..store.records()).map(RecordNo) {
        let meta = store.meta(record).expect("the index was made or checked a moment ago");
        // No node of ours writes a block twice; in such a file one of them is found.
        let found = store.find_meta(&meta.id).expect("memory").expect("it is in the file");
        assert_eq!((found.id, found.header), (meta.id, meta.header));
        match reader.block(record) {
            Ok(bytes) => assert_eq!(Hash::sha256d(&bytes[..HEADER_BYTES]), meta.id),
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
        }
    }
    let tip = reader.tip();
    for height in 1..=tip.header.height {
        let meta = store.meta(reader.record_at(height).expect("heights up to the tip are active")).expect("memory");
        let parent = store.meta(reader.record_at(height - 1).expect("active")).expect("memory");
        assert!(meta.header.prev == parent.id && meta.header.height == height && meta.work > parent.work);
    }
}

/// The whole chain stands on its ledger, with its caches or without.
fn check_chain(disk: &MemoryDisk) {
    let open = |disk: &MemoryDisk| Chain::open(kit::params().clone(), &shared(disk), &mut |_| {});
    let (with, plain) = (disk.kill(), disk.kill());
    for cache in [INDEX, CHECKPOINT] {
        plain.remove(cache).expect("memory");
    }
    let (Ok((with, _)), Ok((plain, _))) = (open(&with), open(&plain)) else { return };
    assert_eq!(with.tip().id, plain.tip().id);
    assert!(with.ledger() == plain.ledger(), "the ledger is what the blocks say");
    let reader = with.reader();
    for height in 1..=with.tip().header.height {
        let record = reader.record_at(height).expect("active");
        // Before the checkpoint nothing was read.
        let Ok(bytes) = reader.block(record) else { continue };
        assert!(ReadBlock::read(kit::params(), bytes).is_ok() && reader.is_served(record));
    }
}
