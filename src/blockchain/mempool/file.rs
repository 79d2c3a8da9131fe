//! What waits, over a restart.
//!
//! The file: magic 4 | version u32 | genesis id 32 | count u32 | transactions | crc32c u32 of all before
//! it; each transaction: arrival u64 (milliseconds since 1970) | length u32 | bytes. Parents come before
//! children. Nothing in it is believed but the arrivals: what is read must be matched and verified again.
//! A file that is damaged in any place costs what waited, and nothing else.

use crate::blockchain::checked_tx::{ReadTx, TxFacts};
use crate::blockchain::mempool::{Mempool, POOL_BYTES_MAX, RETURNING_BYTES_MAX};
use crate::blockchain::params::Params;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// The file's name in the data directory.
pub const FILE: &str = "mempool";
/// No such file is larger: what waits takes more memory than it takes bytes here; what blocks give back
/// gets twelve bytes to each of its 227 or more.
pub const FILE_BYTES_MAX: usize = POOL_BYTES_MAX + RETURNING_BYTES_MAX + RETURNING_BYTES_MAX / 16;

const MAGIC: [u8; 4] = *b"spmp";
const VERSION: u32 = 1;

#[derive(Encode, Decode)]
struct FileHeader {
    magic: [u8; 4],
    version: u32,
    genesis: Hash,
    count: u32,
}

/// One from the file, to be verified, and when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Read, and nothing more.
    pub tx: ReadTx,
    /// When we saw it first.
    pub arrived: Wall,
}

/// Why a file is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Cut, altered, or never ours.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Of a newer program.
    #[error("its version is {version} and this program knows {VERSION}")]
    Version {
        /// What it says.
        version: u32,
    },
    /// Of another network.
    #[error("it belongs to the network {genesis}")]
    Network {
        /// That network's genesis id.
        genesis: Hash,
    },
}

impl Mempool {
    /// The bytes to save: all that waits, then what is about to enter anew, then what a file before this one
    /// held and nobody has looked at yet.
    pub fn to_file<'a>(&self, params: &Params, unread: impl Iterator<Item = &'a Saved>, now: Wall) -> Vec<u8> {
        let returning = self.returning.all(params, now);
        let mut all: Vec<(&TxFacts, Wall)> = Vec::with_capacity(self.len() + returning.len());
        all.extend(self.in_order().into_iter().map(|slot| {
            let entry = self.graph.entry(slot);
            (&*entry.tx, entry.arrived)
        }));
        all.extend(returning.iter().map(|(tx, arrived)| (&**tx, *arrived)));
        all.extend(unread.map(|saved| (&*saved.tx, saved.arrived)));
        let header =
            FileHeader { magic: MAGIC, version: VERSION, genesis: params.genesis_id(), count: count(all.len()) };
        let mut bytes = codec::encode(&header);
        for (tx, arrived) in all {
            codec::encode_into(&(arrived.0, count(tx.bytes().len())), &mut bytes);
            bytes.extend_from_slice(tx.bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("the pool's bytes hold fewer than 2^32 of anything")
}

/// What a file says was waiting, in an order in which it may be inserted.
pub fn read_file(params: &Params, bytes: &[u8]) -> Result<Vec<Saved>, FileError> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(FileError::Damaged("it is too short"))?;
    if crc32c::crc32c(body).to_le_bytes() != *checksum {
        return Err(FileError::Damaged("its checksum is wrong"));
    }
    let cut = |_| FileError::Damaged("it ends early");
    let (header, mut rest) = codec::decode_prefix::<FileHeader>(body).map_err(cut)?;
    if header.magic != MAGIC {
        return Err(FileError::Damaged("it does not begin with `spmp`"));
    }
    if header.version != VERSION {
        return Err(FileError::Version { version: header.version });
    }
    if header.genesis != params.genesis_id() {
        return Err(FileError::Network { genesis: header.genesis });
    }
    let mut saved = Vec::new();
    for _ in 0..header.count {
        let ((arrived, size_bytes), after) = codec::decode_prefix::<(u64, u32)>(rest).map_err(cut)?;
        let (tx, after) =
            after.split_at_checked(size_bytes as usize).ok_or(FileError::Damaged("a transaction ends early"))?;
        rest = after;
        let tx = ReadTx::read(params, tx).map_err(|_| FileError::Damaged("a transaction breaks a rule"))?;
        saved.push(Saved { tx, arrived: Wall(arrived) });
    }
    if !rest.is_empty() {
        return Err(FileError::Damaged("bytes follow the last transaction"));
    }
    Ok(saved)
}
