//! The ledger at some block, so that a start need not replay the whole chain.
//!
//! `magic 4 | version u32 | genesis id 32 | file id 16 | tip id 32 | coins u64 | crc32c 4`, then for
//! each of the 4,096 shards `count u32 | crc32c of count and ids u32 | ids`. Written a shard at a time
//! beside the old one and put in its place at the end; anything that does not match is ignored, for
//! the chain itself says it all. Whether the tip is in the block file is for the reader to look up.

use std::sync::Arc;

use crate::blockchain::disk::{Disk, DiskFile};
use crate::blockchain::ledger::{Ledger, SHARDS};
use crate::blockchain::storage::CHECKPOINT;
use crate::blockchain::storage::error::StoreError;
use crate::blockchain::storage::file::FileIdentity;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;

const MAGIC: [u8; 4] = *b"spnl";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 100;
const SHARD_HEADER_BYTES: usize = 8;
const COIN_BYTES: usize = 32;
/// Bytes that are written or read at once, unless a shard is larger.
const BUFFER_BYTES: usize = 256 << 10;

/// What became of reading a checkpoint.
#[derive(Debug)]
pub enum Loaded {
    /// The ledger after this block.
    Ledger {
        /// The block's id.
        tip: Hash,
        /// The unspent coins.
        ledger: Ledger,
    },
    /// There is none.
    Missing,
    /// There is one that does not count; the reason is for the log.
    Ignored(String),
}

/// What a checkpoint of so many coins takes.
pub fn size_bytes(coins: usize) -> u64 {
    (HEADER_BYTES + SHARDS * SHARD_HEADER_BYTES + coins * COIN_BYTES) as u64
}

/// Removes what a process left that ended while it was writing one.
pub fn clean(disk: &dyn Disk) -> Result<(), StoreError> {
    let fresh = fresh();
    if disk.exists(&fresh).map_err(StoreError::io("look for", disk.path(&fresh)))? {
        disk.remove(&fresh).map_err(StoreError::io("remove", disk.path(&fresh)))?;
    }
    Ok(())
}

/// Writes the ledger after block `tip`, which must be durable. Asks between shards whether to go on;
/// gives whether it did to the end. However it ends, nothing half written is left, and the checkpoint
/// before it stands until the new one is whole.
pub fn write(
    disk: &dyn Disk,
    identity: &FileIdentity,
    tip: Hash,
    ledger: &Ledger,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool, StoreError> {
    clean(disk)?;
    let path = disk.path(&fresh());
    let written = write_beside(disk, header_bytes(identity, tip, ledger.len() as u64), ledger, keep_going);
    match written {
        Ok(true) => {}
        Ok(false) => {
            clean(disk)?;
            return Ok(false);
        }
        Err(error) => {
            // The first failure is the one to be told; what cannot be removed goes with the next try.
            let _ = clean(disk);
            return Err(error);
        }
    }
    disk.sync_dir().map_err(StoreError::io("sync the directory of", &path))?;
    Ok(true)
}

fn fresh() -> String {
    format!("{CHECKPOINT}.new")
}

fn write_beside(
    disk: &dyn Disk,
    header: [u8; HEADER_BYTES],
    ledger: &Ledger,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool, StoreError> {
    let fresh = fresh();
    let path = disk.path(&fresh);
    let file = disk.open(&fresh).map_err(StoreError::io("create", &path))?;
    let mut buffer = header.to_vec();
    let mut at = 0;
    for shard in ledger.shards() {
        if !keep_going() {
            return Ok(false);
        }
        shard_into(shard, &mut buffer);
        if buffer.len() >= BUFFER_BYTES {
            file.write_at(&buffer, at).map_err(StoreError::io("write", &path))?;
            at += buffer.len() as u64;
            buffer.clear();
        }
    }
    file.write_at(&buffer, at).map_err(StoreError::io("write", &path))?;
    file.sync().map_err(StoreError::io("sync", &path))?;
    disk.rename(&fresh, CHECKPOINT).map_err(StoreError::io("rename", &path))?;
    Ok(true)
}

/// Reads the checkpoint of this block file.
pub fn read(disk: &dyn Disk, identity: &FileIdentity) -> Result<Loaded, StoreError> {
    let path = disk.path(CHECKPOINT);
    if !disk.exists(CHECKPOINT).map_err(StoreError::io("look for", &path))? {
        return Ok(Loaded::Missing);
    }
    let file = disk.open(CHECKPOINT).map_err(StoreError::io("open", &path))?;
    let read = Reading::read(&*file, identity);
    match read {
        Ok((tip, ledger)) => Ok(Loaded::Ledger { tip, ledger }),
        Err(Fault::Ignored(reason)) => Ok(Loaded::Ignored(reason)),
        Err(Fault::Io(source)) => Err(StoreError::io("read", &path)(source)),
    }
}

enum Fault {
    Ignored(String),
    Io(std::io::Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn ignored<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Ignored(reason.into()))
}

/// A file that is read from the front through one buffer.
struct Reading<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl<'a> Reading<'a> {
    fn read(file: &'a dyn DiskFile, identity: &FileIdentity) -> Result<(Hash, Ledger), Fault> {
        let size_bytes = file.size_bytes()?;
        let mut reading = Self { file, at: 0, buffer: Vec::new(), start: 0 };
        let header = reading.take(HEADER_BYTES)?;
        let (tip, coins) = check_header(header, identity)?;
        let rest = u128::from(size_bytes) - HEADER_BYTES as u128;
        if rest != (SHARDS * SHARD_HEADER_BYTES) as u128 + u128::from(coins) * COIN_BYTES as u128 {
            return ignored(format!("{size_bytes} bytes are not {coins} coins"));
        }
        let mut ledger = Ledger::default();
        for shard in 0..SHARDS {
            let left = coins - ledger.len() as u64;
            let coins = reading.shard(shard, left)?;
            if !coins.is_empty() && ledger.restore_shard(shard, coins).is_none() {
                return ignored(format!("shard {shard} holds coins that do not belong there"));
            }
        }
        if ledger.len() as u64 != coins {
            return ignored(format!("{} coins are there and {coins} should be", ledger.len()));
        }
        Ok((tip, ledger))
    }

    fn shard(&mut self, shard: usize, left: u64) -> Result<Vec<CoinId>, Fault> {
        let header = self.take(SHARD_HEADER_BYTES)?;
        let (count, checksum) = header.split_first_chunk::<4>().expect("as many were asked for");
        let checksum = u32::from_le_bytes(checksum.try_into().expect("as many were asked for"));
        let of_count = crc32c::crc32c(count);
        let count = u32::from_le_bytes(*count);
        // Before memory is taken for it; the file was found to hold that many.
        if u64::from(count) > left {
            return ignored(format!("shard {shard} claims {count} coins and {left} are left"));
        }
        let ids = self.take(count as usize * COIN_BYTES)?;
        if crc32c::crc32c_append(of_count, ids) != checksum {
            return ignored(format!("the checksum of shard {shard} fails"));
        }
        let coin = |id: &[u8]| CoinId(id.try_into().expect("chunks of 32"));
        Ok(ids.chunks_exact(COIN_BYTES).map(coin).collect())
    }

    fn take(&mut self, bytes: usize) -> Result<&[u8], Fault> {
        if self.buffer.len() - self.start < bytes {
            self.buffer.drain(..self.start);
            self.start = 0;
            let kept = self.buffer.len();
            self.buffer.resize(bytes.max(BUFFER_BYTES), 0);
            let read = self.file.read_at(&mut self.buffer[kept..], self.at)?;
            self.at += read as u64;
            self.buffer.truncate(kept + read);
        }
        if self.buffer.len() - self.start < bytes {
            return ignored("it ends early");
        }
        self.start += bytes;
        Ok(&self.buffer[self.start - bytes..self.start])
    }
}

fn header_bytes(identity: &FileIdentity, tip: Hash, coins: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..40].copy_from_slice(&identity.genesis_id.0);
    bytes[40..56].copy_from_slice(&identity.file_id);
    bytes[56..88].copy_from_slice(&tip.0);
    bytes[88..96].copy_from_slice(&coins.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..96]);
    bytes[96..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn check_header(bytes: &[u8], identity: &FileIdentity) -> Result<(Hash, u64), Fault> {
    let version = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
    if bytes[..4] == MAGIC && version > VERSION {
        return ignored(format!("its version is {version} and this program knows up to {VERSION}"));
    }
    let tip = Hash(bytes[56..88].try_into().expect("32 bytes"));
    let coins = u64::from_le_bytes(bytes[88..96].try_into().expect("eight bytes"));
    if bytes == header_bytes(identity, tip, coins) {
        return Ok((tip, coins));
    }
    if bytes[..4] == MAGIC && crc32c::crc32c(&bytes[..96]).to_le_bytes() == bytes[96..] {
        return ignored("it belongs to another block file");
    }
    ignored("its header is bad")
}

fn shard_into(coins: &Arc<Vec<CoinId>>, out: &mut Vec<u8>) {
    let count = u32::try_from(coins.len()).expect("a shard has fewer than 2^32 coins").to_le_bytes();
    out.extend_from_slice(&count);
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let ids_at = out.len();
    out.reserve(coins.len() * COIN_BYTES);
    coins.iter().for_each(|coin| out.extend_from_slice(&coin.0));
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&count), &out[ids_at..]);
    out[checksum_at..ids_at].copy_from_slice(&checksum.to_le_bytes());
}
