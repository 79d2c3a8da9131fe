//! A checkpoint's bytes: what is believed is what would be written.
//!
//! The input spoils a sound file: shards of its own making, with or without a right checksum, header fields,
//! single bytes, its length. One that is still believed must be, byte for byte, the file that its ledger gives.

use std::sync::OnceLock;

use spindle::blockchain::ledger::SHARDS;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::checkpoint::{self, Loaded};
use spindle::blockchain::storage::{CHECKPOINT, FileIdentity};
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;

const HEADER_BYTES: usize = 100;
const IDENTITY: FileIdentity = FileIdentity { genesis_id: Hash([1; 32]), file_id: [2; 16] };

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let bytes = if input.flag() { input.rest().to_vec() } else { file(&mut input) };
    let disk = MemoryDisk::default();
    disk.put(CHECKPOINT, &bytes);
    match checkpoint::read(&disk, &IDENTITY).expect("memory") {
        Loaded::Ledger { tip, ledger } => {
            assert_eq!(checkpoint::size_bytes(ledger.len()), bytes.len() as u64);
            let all_shards_are_sorted = ledger.shards().all(|shard| shard.is_sorted_by(|a, b| a < b));
            assert!(all_shards_are_sorted && ledger.shards().map(|shard| shard.len()).sum::<usize>() == ledger.len());
            let again = MemoryDisk::default();
            assert!(checkpoint::write(&again, &IDENTITY, tip, &ledger, &mut || true).expect("memory"));
            assert_eq!(again.bytes(CHECKPOINT).as_deref(), Some(&bytes[..]), "one ledger has one file");
        }
        Loaded::Ignored(why) => assert!(!why.is_empty()),
        Loaded::Missing => unreachable!("a file was put there"),
    }
    assert_eq!(disk.bytes(CHECKPOINT), Some(bytes), "reading changes nothing");
}

/// The files's bytes of a shard without coins.
fn empty_shard() -> &'static [u8; 8] {
    static EMPTY: OnceLock<[u8; 8]> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let mut bytes = [0; 8];
        bytes[4..].copy_from_slice(&crc32c::crc32c(&[0; 4]).to_le_bytes());
        bytes
    })
}

fn file(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut shards: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut coins = 0;
    for _ in 0..input.byte() % 8 {
        let (place, bytes, count) = shard(input);
        coins += u64::from(count);
        shards.push((place, bytes));
    }
    shards.sort_by_key(|(place, _)| *place);
    shards.dedup_by_key(|(place, _)| *place);
    let mut bytes = header(input, coins);
    let mut shards = shards.into_iter().peekable();
    for place in 0..SHARDS {
        match shards.next_if(|(other, _)| *other == place) {
            Some((_, shard)) => bytes.extend_from_slice(&shard),
            None => bytes.extend_from_slice(empty_shard()),
        }
    }
    while !input.is_empty() {
        spoil(input, &mut bytes);
    }
    bytes
}

/// A shard's place, its bytes, and how many coins it says to have.
fn shard(input: &mut Bytes<'_>) -> (usize, Vec<u8>, u32) {
    let (place, flaws, coins) = (usize::from(input.u16()) % SHARDS, input.byte(), input.byte() % 8);
    let count = if flaws % 8 == 1 { input.u32() } else { u32::from(coins) };
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    for _ in 0..coins {
        let mut id = [0; 32];
        let leading = u16::try_from(place << 4).expect("twelve bits");
        id[..2].copy_from_slice(&leading.to_be_bytes());
        if flaws % 8 == 2 {
            id[0] ^= input.byte();
        }
        id[30..].copy_from_slice(&input.u16().to_be_bytes());
        bytes.extend_from_slice(&id);
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
    bytes[4..8].copy_from_slice(&(checksum ^ u32::from(flaws % 8 == 3)).to_le_bytes());
    (place, bytes, count)
}

fn header(input: &mut Bytes<'_>, coins: u64) -> Vec<u8> {
    let flaws = input.byte();
    let (magic, version) = if flaws % 16 == 1 { (input.array(), input.u32()) } else { (*b"spnl", 1) };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + SHARDS * 8);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&if flaws % 16 == 2 { input.array() } else { IDENTITY.genesis_id.0 });
    bytes.extend_from_slice(&if flaws % 16 == 3 { input.array() } else { IDENTITY.file_id });
    bytes.extend_from_slice(&input.array::<32>());
    bytes.extend_from_slice(&(if flaws % 16 == 4 { input.u64() } else { coins }).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes) ^ u32::from(flaws % 16 == 5);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn spoil(input: &mut Bytes<'_>, bytes: &mut Vec<u8>) {
    match input.byte() % 4 {
        0 => bytes.truncate(bytes.len().saturating_sub(usize::from(input.u16()))),
        1 => {
            let length = usize::from(input.byte());
            bytes.extend_from_slice(input.take(length));
        }
        _ => {
            let (at, mask) = (usize::from(input.u16()), input.byte());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }
}
