//! The file of condemned blocks: what is read is written again, each id once, and no more than there is room for.
//!
//! The first byte says whether head and checksum are put right; then comes the file, and behind a length in it ids
//! to be added.

use spindle::blockchain::condemned::{Condemned, FILE};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;

const IDS_MAX: usize = 4_096;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let mends = input.byte();
    let fresh = Condemned::default().to_bytes();
    // All before the count of ids: magic, rules, the program's version.
    let head = &fresh[..fresh.len() - 6];
    let length = usize::from(input.u16());
    let mut file = if mends & 1 != 0 { head.to_vec() } else { Vec::new() };
    file.extend_from_slice(input.take(length));
    if mends & 2 != 0 {
        file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
    }
    let mut condemned = load(&file);
    let saved = condemned.to_bytes();
    if !condemned.is_empty() {
        let ids = file[head.len() + 2..file.len() - 4].chunks_exact(32);
        assert!(ids.clone().all(|id| condemned.contains(&Hash(id.try_into().expect("32 bytes")))), "all are believed");
        assert!(saved.len() <= file.len(), "and each is kept once");
    }
    assert_eq!(load(&saved).to_bytes(), saved, "what is written is read again as it was");
    let mut last = None;
    for _ in 0..input.byte() % 20 {
        // A crowd, so that the oldest have to go.
        let (number, crowd) = (input.u16(), u16::from(input.byte()));
        for number in number..=number.saturating_add(crowd) {
            let mut id = Hash([0xcc; 32]);
            id.0[..2].copy_from_slice(&number.to_be_bytes());
            let was_known = condemned.contains(&id);
            assert_eq!(condemned.add(id), !was_known);
            last = Some(id);
        }
    }
    assert!(last.is_none_or(|last| condemned.contains(&last)), "the newest is never the one to go");
    let saved = condemned.to_bytes();
    assert!(saved.len() <= fresh.len() + 32 * IDS_MAX);
    assert_eq!(load(&saved).to_bytes(), saved);
}

fn load(file: &[u8]) -> Condemned {
    let disk = MemoryDisk::default();
    disk.put(FILE, file);
    let condemned = Condemned::load(&disk).expect("memory");
    assert_eq!(disk.bytes(FILE).as_deref(), Some(file), "reading changes nothing");
    condemned
}
