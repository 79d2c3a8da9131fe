//! Blocks that broke a rule: remembered across restarts, never tried again.
//!
//! Only ids are kept whose every byte is fixed by the id itself (RULES 14), so no honest twin can be
//! caught. The file is dropped when the rules or the program change: what an older program refused by
//! mistake gets another chance.

use std::collections::{BTreeSet, VecDeque};

use crate::blockchain::disk::{self, Disk};
use crate::blockchain::params::RULES_KNOWN;
use crate::primitives::codec::{self, Decode, Encode, List};
use crate::primitives::hash::Hash;

/// The file's name in the data directory.
pub const FILE: &str = "condemned";
/// Ids that are remembered; the oldest are forgotten first.
const IDS_MAX: usize = 4_096;

/// The file: who wrote it under which rules, the ids in the order in which they were condemned, and a
/// checksum of all before it.
#[derive(Encode, Decode)]
struct Saved {
    magic: [u8; 4],
    rules: u32,
    program: List<u8, 32>,
    ids: List<Hash, IDS_MAX>,
}

const MAGIC: [u8; 4] = *b"spc\x01";

/// The ids of blocks that will never be valid.
#[derive(Clone, Debug, Default)]
pub struct Condemned {
    ids: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl Condemned {
    /// What an earlier run has saved. A file that cannot be read costs a second look at a bad block
    /// and nothing else, so it is ignored; the disk's own errors are not.
    pub fn load(disk: &dyn Disk) -> std::io::Result<Self> {
        let most = 4 + 4 + 2 + 32 + 2 + 32 * IDS_MAX + 4;
        let mut condemned = Self::default();
        let Some(bytes) = disk::read_small(disk, FILE, most)? else { return Ok(condemned) };
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else { return Ok(condemned) };
        if crc32c::crc32c(body).to_le_bytes() != *checksum {
            return Ok(condemned);
        }
        if let Ok(saved) = codec::decode::<Saved>(body)
            && saved.magic == MAGIC
            && saved.rules == RULES_KNOWN
            && *saved.program == *env!("CARGO_PKG_VERSION").as_bytes()
        {
            saved.ids.into_vec().into_iter().for_each(|id| _ = condemned.add(id));
        }
        Ok(condemned)
    }

    /// The bytes to save.
    pub fn to_bytes(&self) -> Vec<u8> {
        let saved = Saved {
            magic: MAGIC,
            rules: RULES_KNOWN,
            program: List::first_of(env!("CARGO_PKG_VERSION").into()),
            ids: List::first_of(self.order.iter().copied().collect()),
        };
        let mut bytes = codec::encode(&saved);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Remembers an id; false if it was known.
    pub fn add(&mut self, id: Hash) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether this block was refused for good.
    pub fn contains(&self, id: &Hash) -> bool {
        self.ids.contains(id)
    }
}
