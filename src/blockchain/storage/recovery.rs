//! Opening: what the files say, what of it can be trusted, and what a crash left over.
//!
//! Before the mark everything was synced: a bad record there is damage and an error, and nothing is
//! changed. Behind it nothing was: the file is cut at the first bad record, whatever follows, because
//! after a power cut sectors land out of order. Records behind the mark are always read from the block
//! file, since nobody knows whether their bytes arrived; before it the index is believed as far as its
//! checksums hold and its last record agrees with the block file. Opening twice changes nothing.
//!
//! What can be read need not be on the disk: the process before may have died before a sync, or failed at
//! one, after which the system shows bytes that it will never write. So what lies behind the mark, and the
//! mark itself, are written again as they are.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::blockchain::disk::Disk;
use crate::blockchain::params::Params;
use crate::blockchain::storage::error::{BadRecord, StoreError};
use crate::blockchain::storage::file::{BlockFile, FILE_FRAME_BYTES, FileIdentity, Front, Scan};
use crate::blockchain::storage::index::{
    BlockMeta, Index, IndexView, RECORD_BYTES, RUN, Raw, RecordNo, Shared, header_bytes, record_at, record_into,
};
use crate::blockchain::storage::mark::{Mark, Slots};
use crate::blockchain::storage::table::Table;
use crate::blockchain::storage::{BLOCKS, INDEX, MARK};
use crate::primitives::hash::Hash;

/// Index bytes that are staged before they are written: 400 records.
const STAGED_BYTES_MAX: usize = 64 << 10;
/// Progress is told after this many bytes.
const PROGRESS_BYTES: u64 = 4 << 20;
/// Blocks by which another branch must have led before the active chain is moved to it.
const LEADS_MAX: u32 = 1_024;

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Blocks in the file, genesis included.
    pub records: u32,
    /// Bytes that are known to be synced.
    pub durable_bytes: u64,
    /// What was cut off, if anything.
    pub cut: Option<Cut>,
    /// Whether records before the mark had to be read from the block file because the index lacked them.
    pub index_rebuilt: bool,
}

/// The end of the block file that a crash left unusable. It was never synced, so nobody was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the first bad record began; the file now ends there.
    pub offset: u64,
    /// How many bytes are gone.
    pub bytes: u64,
    /// What was wrong with it.
    pub reason: BadRecord,
}

/// The parts of an opened store.
pub(super) struct Opened {
    pub(super) identity: FileIdentity,
    pub(super) data: BlockFile,
    pub(super) mark: Mark,
    pub(super) index: Index,
    pub(super) recovery: Recovery,
}

/// Opens the files of a directory, or founds them.
pub(super) fn open(disk: &dyn Disk, params: &Params, progress: &mut dyn FnMut(u64, u64)) -> Result<Opened, StoreError> {
    let open = |name| disk.open(name).map_err(StoreError::io("open", disk.path(name)));
    let slots = Slots::read(open(MARK)?, disk.path(MARK))?;
    let data = BlockFile { file: open(BLOCKS)?, path: disk.path(BLOCKS) };
    let index_file = open(INDEX)?;
    let (identity, mark, founded) = open_data(disk, params, &data, slots)?;
    let size_bytes = data.size_bytes()?;
    if size_bytes < mark.durable_bytes() {
        return Err(StoreError::Short { path: data.path, size_bytes, mark: mark.durable_bytes() });
    }
    let shared = Arc::new(RwLock::new(Shared::default()));
    let durable_bytes = Arc::new(AtomicU64::new(mark.durable_bytes()));
    let view = IndexView { file: index_file, path: disk.path(INDEX), shared, durable_bytes };
    let (index, heaviest) = load_index(&data, view, identity, params)?;
    let index_rebuilt = !founded && index.last().end() < mark.durable_bytes();
    let loaded = index.records();
    index.view.end_at(loaded)?;
    let mut opening = Opening { mark_path: disk.path(MARK), data, mark, index, heaviest, size_bytes };
    let cut = opening.read_rest(progress)?;
    opening.finish(disk, loaded)?;
    let Opening { data, mark, index, .. } = opening;
    let recovery = Recovery { records: index.records(), durable_bytes: mark.durable_bytes(), cut, index_rebuilt };
    Ok(Opened { identity, data, mark, index, recovery })
}

/// Frame 0 and the mark; both are written if there is no chain yet.
fn open_data(
    disk: &dyn Disk,
    params: &Params,
    data: &BlockFile,
    slots: Slots,
) -> Result<(FileIdentity, Mark, bool), StoreError> {
    match data.front(params.genesis_id())? {
        Front::Ours(identity) => Ok((identity, slots.mark_of(identity.file_id)?, false)),
        Front::Unfinished if slots.is_blank() => {
            let file_id = disk.unique().map_err(StoreError::io("name", &data.path))?;
            let identity = FileIdentity { genesis_id: params.genesis_id(), file_id };
            data.create(identity)?;
            disk.sync_dir().map_err(StoreError::io("sync the directory of", &data.path))?;
            let mut mark = slots.mark_of(file_id)?;
            mark.advance(FILE_FRAME_BYTES as u64)?;
            Ok((identity, mark, true))
        }
        // The mark is written last of all: where there is one, there was a whole frame 0.
        Front::Unfinished => {
            let mark = slots.stated_bytes().unwrap_or(FILE_FRAME_BYTES as u64);
            Err(StoreError::Short { path: data.path.clone(), size_bytes: data.size_bytes()?, mark })
        }
        Front::Bad(reason) => match slots.stated_bytes() {
            Some(mark) => Err(data.damaged(0, 0, mark, reason)),
            None => Err(StoreError::Foreign { path: data.path.clone(), reason: reason.to_string() }),
        },
    }
}

/// Believes what can be believed of the index, and finds the heaviest chain in it.
fn load_index(
    data: &BlockFile,
    view: IndexView,
    identity: FileIdentity,
    params: &Params,
) -> Result<(Index, Heaviest), StoreError> {
    let genesis = BlockMeta::genesis(params.genesis_id(), *params.genesis());
    let durable_bytes = view.durable_bytes.load(Ordering::Relaxed);
    let mut front = header_bytes(&identity.file_id).to_vec();
    record_into(&genesis, &mut front);
    if view.begins_with(&front)? {
        let mut heaviest = Heaviest::new(&genesis);
        let last = load_records(&view, durable_bytes, &mut heaviest)?;
        if let Some(last) = last.filter(|last| last.record != RecordNo::GENESIS) {
            match data.block(&last, durable_bytes) {
                Ok(_) => return Ok((Index::new(view, last), heaviest)),
                // They disagree, and the index is only a cache: read everything.
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    } else {
        view.file.set_size(0).map_err(StoreError::io("empty", &view.path))?;
        view.file.write_at(&front, 0).map_err(StoreError::io("write", &view.path))?;
    }
    let mut table = Table::for_records(1);
    table.insert(&genesis.id, 0);
    *view.shared.write() = Shared { table, records: 1, ..Shared::default() };
    Ok((Index::new(view, genesis), Heaviest::new(&genesis)))
}

/// Fills the table with the records that are whole and lie before the mark; gives the last of them, or
/// none if one does not follow from those before it.
fn load_records(
    view: &IndexView,
    durable_bytes: u64,
    heaviest: &mut Heaviest,
) -> Result<Option<BlockMeta>, StoreError> {
    let size_bytes = view.file.size_bytes().map_err(StoreError::io("look at", &view.path))?;
    // No more than the block file can have, whatever the index's length says.
    let there = (size_bytes.saturating_sub(record_at(0)) / RECORD_BYTES as u64).min(durable_bytes / 113 + 1);
    let there = u32::try_from(there).expect("a block file has fewer than 2^32 blocks");
    view.shared.write().table = Table::for_records(there);
    heaviest.path.reserve_exact(there as usize + there as usize / 8);
    let mut buffer = vec![0; RECORD_BYTES * RUN.min(there as usize)];
    let (mut last, mut prev, mut end, mut next) = (None, Hash::ZERO, 0, 0);
    while next < there {
        let run = &mut buffer[..RECORD_BYTES * RUN.min((there - next) as usize)];
        view.read(run, next)?;
        let good = insert_run(view, run, next, &mut end, durable_bytes);
        for (record, bytes) in (next..next + good).zip(run.chunks_exact(RECORD_BYTES)) {
            let raw = Raw::trusted(bytes);
            if raw.prev() != prev && view.find(&raw.prev())?.is_none() {
                return Ok(None);
            }
            prev = raw.id();
            heaviest.see(record, raw, view)?;
        }
        next += good;
        if let Some(bytes) = run.chunks_exact(RECORD_BYTES).take(good as usize).next_back() {
            last = Some(Raw::trusted(bytes).meta(next - 1));
        }
        if good as usize * RECORD_BYTES < run.len() {
            break;
        }
    }
    Ok(last)
}

/// Lets those records of a run be found that are whole, follow each other in the file and end before
/// the mark; gives how many, up to the first that does not.
fn insert_run(view: &IndexView, run: &[u8], first: u32, end: &mut u64, durable_bytes: u64) -> u32 {
    let mut shared = view.shared.write();
    let mut next = first;
    for bytes in run.chunks_exact(RECORD_BYTES) {
        let Some(raw) = Raw::check(bytes).filter(|raw| raw.offset() == *end && raw.end() <= durable_bytes) else {
            break;
        };
        shared.table.insert(&raw.id(), next);
        (*end, next) = (raw.end(), next + 1);
    }
    shared.records = next;
    next - first
}

/// An index that is right up to some record, and a block file that goes on.
struct Opening {
    mark_path: PathBuf,
    data: BlockFile,
    mark: Mark,
    index: Index,
    heaviest: Heaviest,
    size_bytes: u64,
}

impl Opening {
    /// Reads what the index does not have, and cuts at the first bad record behind the mark.
    fn read_rest(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Option<Cut>, StoreError> {
        let mut told = self.index.last().end();
        let mut scan = Scan::new(&self.data, told, self.size_bytes);
        let reason = loop {
            let staged = match scan.next()? {
                None => break None,
                Some(Ok((block, size_bytes))) => self.index.stage(block.id(), *block.header(), size_bytes)?,
                Some(Err(bad)) => Err(bad),
            };
            let Ok(meta) = staged else { break staged.err() };
            if self.index.staged_bytes() >= STAGED_BYTES_MAX {
                self.index.commit()?;
            }
            if meta.end() - told >= PROGRESS_BYTES {
                told = meta.end();
                progress(told, self.size_bytes);
            }
        };
        self.index.commit()?;
        reason.map(|reason| self.cut(reason)).transpose()
    }

    /// Ends the file behind the last good record.
    fn cut(&self, reason: BadRecord) -> Result<Cut, StoreError> {
        let (record, offset) = (self.index.records(), self.index.last().end());
        let path = &self.data.path;
        match self.mark.durable_bytes() {
            0 => {
                let (path, mark) = (path.clone(), self.mark_path.clone());
                return Err(StoreError::Unmarked { path, mark, record, offset, reason });
            }
            mark if offset < mark => return Err(self.data.damaged(record, offset, mark, reason)),
            _ => {}
        }
        self.data.file.set_size(offset).map_err(StoreError::io("cut", path))?;
        self.data.file.sync().map_err(StoreError::io("sync", path))?;
        Ok(Cut { offset, bytes: self.size_bytes - offset, reason })
    }

    /// Makes the index last, and the mark that was found, or marks a file whose mark was lost, and publishes the
    /// heaviest chain.
    fn finish(&mut self, disk: &dyn Disk, loaded: u32) -> Result<(), StoreError> {
        let view = &self.index.view;
        let (records, last) = (self.index.records(), *self.index.last());
        // Else a later power cut could bring back records from before this cut among newer ones.
        view.file.sync().map_err(StoreError::io("sync", &view.path))?;
        let path = &self.data.path;
        // What was appended and never synced, the next sync must write, whatever became of those before it.
        let unsynced = self.data.file.write_again(self.mark.durable_bytes(), last.end());
        unsynced.map_err(StoreError::io("write again the end of", path))?;
        if self.mark.durable_bytes() == 0 {
            self.data.file.sync().map_err(StoreError::io("sync", path))?;
            // Whoever founded the directory may have died before its names were synced.
            disk.sync_dir().map_err(StoreError::io("sync the directory of", path))?;
            self.mark.advance(last.end())?;
            view.durable_bytes.store(last.end(), Ordering::Relaxed);
        } else {
            self.mark.settle()?;
        }
        let heaviest = &mut self.heaviest;
        view.each(loaded, records, &mut |record, raw| heaviest.see(record, raw, view))?;
        let tip = heaviest.settle(view)?;
        let mut shared = view.shared.write();
        shared.heights = std::mem::take(&mut heaviest.path);
        shared.tip = Some(tip);
        Ok(())
    }
}

/// The heaviest chain of a file that is read from the front: the first to have most work, which is
/// also the one that a node that never stopped is on.
struct Heaviest {
    /// Height to record, of the chain that is followed.
    path: Vec<u32>,
    /// The id of its last block.
    tip: Hash,
    /// The block with most work, which may be elsewhere.
    best: u32,
    best_work: u128,
    /// How often another branch took the lead since the path was laid.
    leads: u32,
}

impl Heaviest {
    fn new(genesis: &BlockMeta) -> Self {
        Self { path: vec![0], tip: genesis.id, best: 0, best_work: 0, leads: 0 }
    }

    /// Takes the next record. The path is laid anew only when another branch has led for a while: two
    /// that overtake each other with every block would cost their length each time.
    fn see(&mut self, record: u32, raw: Raw<'_>, view: &IndexView) -> Result<(), StoreError> {
        let leads = raw.work() > self.best_work;
        if leads {
            (self.best, self.best_work) = (record, raw.work());
        }
        if raw.prev() == self.tip {
            self.path.push(record);
            self.tip = raw.id();
            self.leads = if leads { 0 } else { self.leads };
        } else if leads {
            self.leads += 1;
            if self.leads == LEADS_MAX {
                self.settle(view)?;
            }
        }
        Ok(())
    }

    /// Lays the path to the best block.
    fn settle(&mut self, view: &IndexView) -> Result<BlockMeta, StoreError> {
        let best = view.meta(self.best)?;
        let mut branch = Vec::new();
        let mut meta = best;
        let fork = loop {
            let height = usize::try_from(meta.header.height).expect("heights are counted by records");
            if self.path.get(height) == Some(&meta.record.0) {
                break height;
            }
            branch.push(meta.record.0);
            meta = view.parent(&meta)?;
        };
        self.path.truncate(fork + 1);
        self.path.extend(branch.iter().rev());
        (self.tip, self.leads) = (best.id, 0);
        Ok(best)
    }
}
