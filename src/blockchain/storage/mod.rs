//! Blocks on disk: one file, one frame for each block, only ever appended to.
//!
//! The owner thread is the only writer ([`PersistentBlockchain`]); the disk thread makes what it wrote
//! last ([`Syncer`]); everybody else reads beside them ([`ReadHandle`]). What lies before the durable
//! mark survived a sync: a bad record there is damage, and an error. What lies behind it never did: it
//! is cut at the first bad record when the chain is opened. A block is told to a person only once the
//! mark has passed it.
//!
//! `blocks.dat` (file.rs) is the chain. `blocks.mark` (mark.rs) says how much of it is durable.
//! `blocks.index` (index.rs, table.rs) and `ledger.checkpoint` (checkpoint.rs) are caches: they can be
//! deleted, and are made anew. recovery.rs opens them all, reader.rs reads beside the writer.
//!
//! Left out: pruning, and repair in place. A damaged chain is fetched again from peers.

pub mod error;

mod file;

mod mark;

mod index;

mod table;

mod recovery;

mod reader;

pub mod checkpoint;

mod overlay;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

pub use crate::blockchain::storage::error::{BadRecord, StoreError};
pub use crate::blockchain::storage::file::FileIdentity;
pub use crate::blockchain::storage::index::{BlockMeta, RecordNo};
pub use crate::blockchain::storage::mark::Syncer;
pub use crate::blockchain::storage::overlay::Overlay;
pub use crate::blockchain::storage::reader::ReadHandle;
pub use crate::blockchain::storage::recovery::{Cut, Recovery};

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::disk::Disk;
use crate::blockchain::params::Params;
use crate::blockchain::reject::Reject;
use crate::blockchain::storage::file::BlockFile;
use crate::blockchain::storage::index::Index;
use crate::primitives::frame::{self, KIND_BLOCK, frame_into};
use crate::primitives::hash::Hash;

/// The chain.
pub const BLOCKS: &str = "blocks.dat";
/// How much of it is durable.
pub const MARK: &str = "blocks.mark";
/// Where each block lies.
pub const INDEX: &str = "blocks.index";
/// The unspent coins at some block.
pub const CHECKPOINT: &str = "ledger.checkpoint";

/// With less space than this nothing is appended: a full disk would tear a record, and leave no room for
/// logs and other programs.
pub const ROOM_MIN_BYTES: u64 = 64 << 20;
/// Appending goes on once there is this much again: not at every byte that comes and goes.
pub const ROOM_AGAIN_BYTES: u64 = 96 << 20;
/// The disk is asked again after this much was appended.
const ROOM_ASK_BYTES: u64 = 8 << 20;

/// The chain's file, as its only writer holds it.
#[derive(Debug)]
pub struct PersistentBlockchain {
    disk: Arc<dyn Disk>,
    identity: FileIdentity,
    reader: ReadHandle,
    index: Index,
    syncer: Syncer,
    poison: Poison,
    room: Room,
    /// How long the block file was when the disk was last asked for its free space.
    room_asked_at: Option<u64>,
}

/// Whether there is space to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// Nothing should be appended.
    Low {
        /// What is left.
        free_bytes: u64,
    },
}

impl PersistentBlockchain {
    /// Opens the chain in a directory, or founds one. `progress` is told bytes read and bytes in all
    /// while much has to be read.
    ///
    /// The active chain is then the heaviest in the file, first appended first; none of it counts as
    /// connected. The chain layer says what of it stands: [`Self::publish`] takes blocks back,
    /// [`Self::mark_active_connected`] lets the rest be served.
    pub fn open(
        disk: Arc<dyn Disk>,
        params: &Params,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Recovery), StoreError> {
        let opened = recovery::open(&*disk, params, progress)?;
        let poison = Poison::default();
        let syncer = Syncer::new(opened.data.clone(), opened.mark, poison.clone());
        let reader = ReadHandle { data: opened.data, index: opened.index.view.clone() };
        let store = Self {
            disk,
            identity: opened.identity,
            reader,
            index: opened.index,
            syncer,
            poison,
            room: Room::Enough,
            room_asked_at: None,
        };
        Ok((store, opened.recovery))
    }

    /// Looks at a directory that another process may hold and append to: as the files are now, and
    /// without changing a byte of them. What recovery would do is done in memory, and reported.
    pub fn open_read_only(
        path: &Path,
        params: &Params,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Recovery), StoreError> {
        let directory = crate::blockchain::os::DataDir::open_read_only(path)?;
        Self::open(Arc::new(Overlay::new(directory)), params, progress)
    }

    /// Appends blocks, each of whose parents is in the file or earlier among them; gives what is now
    /// known of each. They are not durable yet. The first error is final.
    pub fn append(&mut self, blocks: &[CheckedBlock]) -> Result<Vec<BlockMeta>, StoreError> {
        self.poison.check(&self.reader.data.path)?;
        let at = self.appended_bytes();
        let total = blocks.iter().map(|block| frame::HEADER_BYTES + block.bytes().len()).sum();
        let mut frames = Vec::with_capacity(total);
        let written = self.stage(blocks, &mut frames).and_then(|metas| {
            self.reader.data.write(&frames, at)?;
            self.index.commit()?;
            Ok(metas)
        });
        written.inspect_err(|error| self.poison.set(error))
    }

    /// Blocks in the file, genesis included.
    pub fn records(&self) -> u32 {
        self.index.records()
    }

    /// What is known of a block.
    pub fn meta(&self, record: RecordNo) -> Result<BlockMeta, StoreError> {
        if record == self.index.last().record {
            return Ok(*self.index.last());
        }
        self.reader.meta(record)
    }

    /// The block with this id, on any branch.
    pub fn find(&self, id: &Hash) -> Result<Option<RecordNo>, StoreError> {
        Ok(self.find_meta(id)?.map(|meta| meta.record))
    }

    /// The same, with what the look-up has read anyway.
    pub fn find_meta(&self, id: &Hash) -> Result<Option<BlockMeta>, StoreError> {
        if *id == self.index.last().id {
            return Ok(Some(*self.index.last()));
        }
        self.reader.find_meta(id)
    }

    /// A block's bytes, verified; none for genesis.
    pub fn block(&self, record: RecordNo) -> Result<Vec<u8>, StoreError> {
        self.reader.block(record)
    }

    /// The error of a block whose bytes are as they were written and that breaks a rule all the same: it
    /// was never checked by this program.
    pub fn broken(&self, record: RecordNo, reject: Reject) -> Result<StoreError, StoreError> {
        let offset = self.meta(record)?.offset;
        let reason = BadRecord::Rule(Box::new(reject));
        Ok(self.reader.data.damaged(record.0, offset, self.durable_bytes(), reason))
    }

    /// Visits what is known of each block in file order, from this one on: a sequential read, many times
    /// faster than asking for each.
    pub fn each_meta(&self, from: RecordNo, visit: &mut dyn FnMut(BlockMeta)) -> Result<(), StoreError> {
        self.index.view.each(from.0, self.records(), &mut |record, raw| {
            visit(raw.meta(record));
            Ok(())
        })
    }

    /// From now on this block may be served: the ledger took it.
    pub fn mark_connected(&mut self, record: RecordNo) {
        self.index.view.shared.write().connected.insert(record.0);
    }

    /// The same for all of the active chain: said once at start, when what the file's heaviest chain
    /// holds is known to connect.
    pub fn mark_active_connected(&mut self) {
        let mut shared = self.index.view.shared.write();
        let index::Shared { heights, connected, .. } = &mut *shared;
        for &record in heights.iter() {
            connected.insert(record);
        }
    }

    /// Moves the active chain: what is above `fork_height` becomes `path`, whose last block is `tip`.
    pub fn publish(&mut self, fork_height: u64, path: &[RecordNo], tip: BlockMeta) {
        let kept = usize::try_from(fork_height).expect("heights are counted by records") + 1;
        let mut shared = self.index.view.shared.write();
        assert!(kept <= shared.heights.len(), "a fork is on the active chain");
        shared.heights.truncate(kept);
        if shared.heights.capacity() < kept + path.len() {
            // By an eighth, not by doubling: four bytes a block that will not be used for months.
            shared.heights.reserve_exact(path.len() + kept / 8 + 1_024);
        }
        shared.heights.extend(path.iter().map(|record| record.0));
        for record in path {
            shared.connected.insert(record.0);
        }
        assert!(shared.heights.last() == Some(&tip.record.0), "the tip is the path's last block");
        shared.tip = Some(tip);
    }

    /// For other threads.
    pub fn reader(&self) -> ReadHandle {
        self.reader.clone()
    }

    /// For the disk thread.
    pub fn syncer(&self) -> Syncer {
        self.syncer.clone()
    }

    /// Which file this is: what a checkpoint must name.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// The block file's length, durable or not.
    pub fn appended_bytes(&self) -> u64 {
        self.index.last().end()
    }

    /// How much of it is known to be on the disk.
    pub fn durable_bytes(&self) -> u64 {
        self.reader.durable_bytes()
    }

    /// The disk thread has synced this much.
    pub fn set_durable(&mut self, upto: u64) {
        self.index.view.durable_bytes.fetch_max(upto, Ordering::Relaxed);
    }

    /// Whether there is space to append; asks the disk only after much was appended.
    pub fn room(&mut self) -> Result<Room, StoreError> {
        match self.room_asked_at {
            Some(asked_at) if self.appended_bytes() - asked_at < ROOM_ASK_BYTES => Ok(self.room),
            _ => self.refresh_room(),
        }
    }

    /// Asks the disk: what finds out that there is space again, since nothing is appended meanwhile.
    pub fn refresh_room(&mut self) -> Result<Room, StoreError> {
        let path = &self.reader.data.path;
        let free_bytes = self.disk.free_bytes().map_err(StoreError::io("ask for the free space beside", path))?;
        let needed = if self.room == Room::Enough { ROOM_MIN_BYTES } else { ROOM_AGAIN_BYTES };
        self.room = if free_bytes < needed { Room::Low { free_bytes } } else { Room::Enough };
        self.room_asked_at = Some(self.appended_bytes());
        Ok(self.room)
    }

    fn stage(&mut self, blocks: &[CheckedBlock], frames: &mut Vec<u8>) -> Result<Vec<BlockMeta>, StoreError> {
        let mut metas = Vec::with_capacity(blocks.len());
        for block in blocks {
            frame_into(KIND_BLOCK, block.bytes(), frames);
            let size_bytes = u32::try_from(block.bytes().len()).expect("a block has at most 1 MiB");
            let staged = self.index.stage(block.id(), *block.header(), size_bytes)?;
            metas.push(staged.expect("a block is appended after its parent, one height above it"));
        }
        Ok(metas)
    }
}

impl BlockFile {
    fn write(&self, frames: &[u8], at: u64) -> Result<(), StoreError> {
        if frames.is_empty() {
            return Ok(());
        }
        self.file.write_at(frames, at).map_err(StoreError::io("append to", &self.path))
    }
}

/// The first failure of a write or a sync, which is the last thing that is tried.
#[derive(Clone, Debug, Default)]
struct Poison(Arc<OnceLock<String>>);

impl Poison {
    fn check(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Poisoned { path: path.to_owned(), reason: reason.clone() }),
        }
    }

    /// Keeps the first.
    fn set(&self, error: &StoreError) {
        self.0.get_or_init(|| error.cause());
    }
}
