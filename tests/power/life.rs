//! A life of a node at its disk, what it was told to be durable, and what must be found after its death.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use spindle::blockchain::block::CheckedBlock;
use spindle::blockchain::chain::{Chain, Step};
use spindle::blockchain::condemned::{self, Condemned};
use spindle::blockchain::disk::{self, Disk};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::mempool;
use spindle::blockchain::storage::{BLOCKS, PersistentBlockchain, RecordNo, StoreError, checkpoint};
use spindle::node::addresses::{self, AddressBook};
use spindle::primitives::hash::Hash;
use spindle::primitives::time::Wall;
use spindle::wallet::file::{FileError, WalletFile};

use crate::fixture::{CHEAP, Fixture, NO_CHANCE, PASSWORD, WALLET};

/// How a life sees the disk: as it is, or through one that lies.
pub(crate) type View<'a> = &'a dyn Fn(&MemoryDisk) -> Arc<dyn Disk>;

/// The disk as it is.
pub(crate) fn honest(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// One thing that a node does at its disk.
#[derive(Clone)]
pub(crate) enum Act {
    Append(Vec<CheckedBlock>),
    Sync,
    Checkpoint,
    Save(&'static str, Vec<u8>),
    Wallet(u64),
}

/// A value that is replaced as a whole: what was said to be durable, and what was tried since.
#[derive(Clone, PartialEq)]
pub(crate) struct History<T> {
    told: Option<T>,
    since: Vec<T>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self { told: None, since: Vec::new() }
    }
}

impl<T: PartialEq> History<T> {
    fn done(&mut self) {
        self.told = self.since.pop();
        self.since.clear();
    }

    fn allows(&self, found: Option<&T>) -> bool {
        found == self.told.as_ref() || found.is_some_and(|found| self.since.contains(found))
    }
}

/// What was said to be durable.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) blocks: BTreeSet<Hash>,
    /// Whether the mark was damaged since, so that it may say less.
    pub(crate) mark_is_hurt: bool,
    pub(crate) small: [History<Vec<u8>>; 3],
    pub(crate) wallet: History<u64>,
}

const SMALL: [&str; 3] = [condemned::FILE, addresses::FILE, mempool::FILE];

/// Why a life ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Store(StoreError),
    File(io::Error),
    Wallet(FileError),
}

impl Stop {
    /// What the system said; none if this is not of the system.
    pub(crate) fn os_error(&self) -> Option<i32> {
        match self {
            Self::Store(StoreError::Io { source, .. })
            | Self::File(source)
            | Self::Wallet(FileError::Io { source, .. }) => source.raw_os_error(),
            _ => None,
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Lives: opens what is there, acts, and notes what it is told.
pub(crate) fn live(disk: &Arc<dyn Disk>, fixture: &Fixture, acts: &[Act], told: &mut Told) -> Result<(), Stop> {
    let only_saves = acts.iter().all(|act| matches!(act, Act::Save(..) | Act::Wallet(_)));
    let mut chain = if only_saves && !acts.is_empty() { None } else { Some(open(disk, fixture)?) };
    for act in acts {
        match (act, &mut chain) {
            (Act::Append(blocks), Some(chain)) => append(chain, blocks)?,
            (Act::Sync, Some(chain)) => sync(chain, told)?,
            (Act::Checkpoint, Some(chain)) => {
                let (identity, tip) = (chain.store().identity(), chain.tip().id);
                checkpoint::write(&**disk, &identity, tip, chain.ledger(), &mut || true)?;
            }
            (Act::Save(name, bytes), _) => {
                let place = SMALL.iter().position(|small| small == name).expect("one of the three");
                told.small[place].since.push(bytes.clone());
                disk::replace(&**disk, name, bytes).map_err(Stop::File)?;
                told.small[place].done();
            }
            (Act::Wallet(height), _) => save_wallet(disk, fixture, *height, told).map_err(Stop::Wallet)?,
            (_, None) => unreachable!("a chain was opened for it"),
        }
    }
    Ok(())
}

pub(crate) fn open(disk: &Arc<dyn Disk>, fixture: &Fixture) -> Result<Chain, StoreError> {
    Ok(Chain::open(Arc::clone(&fixture.params), disk, &mut |_| {})?.0)
}

fn append(chain: &mut Chain, blocks: &[CheckedBlock]) -> Result<(), StoreError> {
    chain.accept(Wall(u64::MAX), blocks.to_vec(), true)?;
    while chain.advance()? != Step::Still {}
    Ok(())
}

fn sync(chain: &mut Chain, told: &mut Told) -> Result<(), StoreError> {
    let upto = chain.store().appended_bytes();
    let mut blocks = BTreeSet::new();
    chain.store().each_meta(RecordNo(1), &mut |meta| _ = blocks.insert(meta.id))?;
    chain.store().syncer().sync(upto)?;
    chain.store_mut().set_durable(upto);
    told.blocks.append(&mut blocks);
    Ok(())
}

fn save_wallet(disk: &Arc<dyn Disk>, fixture: &Fixture, height: u64, told: &mut Told) -> Result<(), FileError> {
    let held = (Arc::clone(disk), WALLET.to_owned());
    let contents = fixture.wallet(height);
    let opened = WalletFile::open(held.clone(), NO_CHANCE, PASSWORD, contents.genesis);
    told.wallet.since.push(height);
    match opened {
        Ok((file, _)) => file.save(&contents)?,
        Err(FileError::Missing { .. }) => drop(WalletFile::create(held, NO_CHANCE, CHEAP, PASSWORD, &contents)?),
        Err(error) => return Err(error),
    }
    told.wallet.done();
    Ok(())
}

/// How far a check goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What is there.
    Look,
    /// And that everything goes on from it, through one more power cut.
    GoOn,
}

/// What must hold whenever a node starts on a disk that broke no promise. Recovery is a part of it.
pub(crate) fn check(view: View, disk: &MemoryDisk, fixture: &Fixture, told: &Told, depth: Depth) -> Result<(), String> {
    files(view, disk, fixture, told)?;
    let seen = view(disk);
    let chain = open(&seen, fixture).map_err(|error| format!("it does not open: {error}"))?;
    holds(&chain, fixture, told)?;
    drop(chain);
    let before = image(disk);
    let mut chain = open(&seen, fixture).map_err(|error| format!("it does not open again: {error}"))?;
    if image(disk) != before {
        return Err("the second opening changed a byte".into());
    }
    if depth == Depth::Look {
        return holds(&chain, fixture, told);
    }
    let mut told = told.clone();
    let went_on = append(&mut chain, &fixture.trunk).and_then(|()| append(&mut chain, &fixture.rival));
    went_on.and_then(|()| sync(&mut chain, &mut told)).map_err(|error| format!("it does not go on: {error}"))?;
    if told.blocks.len() + 1 != fixture.known.len() {
        return Err(format!("{} blocks are in a file of all", told.blocks.len()));
    }
    let crashed = view(&disk.crash());
    let chain = open(&crashed, fixture).map_err(|error| format!("it does not open after going on: {error}"))?;
    holds(&chain, fixture, &told).map_err(|error| format!("after going on: {error}"))
}

/// Every block that was told is there, the tip is as heavy, and the ledger is the tip's.
fn holds(chain: &Chain, fixture: &Fixture, told: &Told) -> Result<(), String> {
    let tip = chain.tip();
    let known = fixture.known.get(&tip.id).ok_or_else(|| format!("the tip {} is nobody's", tip.id))?;
    for id in &told.blocks {
        let meta = chain.store().find_meta(id).map_err(|error| error.to_string())?;
        let meta = meta.ok_or_else(|| format!("block {id} is lost without a word"))?;
        let bytes = chain.store().block(meta.record).map_err(|error| error.to_string())?;
        if meta.end() > chain.store().durable_bytes() && !told.mark_is_hurt {
            return Err(format!("block {id} is no longer guarded by the mark"));
        }
        let right = &fixture.known[id];
        if bytes != right.bytes {
            return Err(format!("block {id} is served with other bytes"));
        }
        if right.work > known.work {
            return Err(format!("the tip {} has less work than block {id}", tip.id));
        }
    }
    if chain.ledger().hash() != known.ledger {
        return Err(format!("the ledger is not that of the tip {}", tip.id));
    }
    Ok(())
}

/// The small files and the wallet are what was told, or what was tried since, whole.
fn files(view: View, disk: &MemoryDisk, fixture: &Fixture, told: &Told) -> Result<(), String> {
    let seen = view(disk);
    for (name, history) in SMALL.iter().zip(&told.small) {
        let found = disk.bytes(name);
        if !history.allows(found.as_ref()) {
            return Err(format!("`{name}` is neither the old nor the new: {found:?}"));
        }
    }
    Condemned::load(&*seen).map_err(|error| format!("`condemned`: {error}"))?;
    AddressBook::load(&*seen).map_err(|error| format!("`addresses`: {error}"))?;
    if let Some(bytes) = disk.bytes(mempool::FILE) {
        mempool::read_file(&fixture.params, &bytes).map_err(|error| format!("`mempool`: {error}"))?;
    }
    let genesis = fixture.params.genesis_id();
    let found = match WalletFile::open((seen, WALLET.to_owned()), NO_CHANCE, PASSWORD, genesis) {
        Ok((_, contents)) => Some(contents),
        Err(FileError::Missing { .. }) => None,
        Err(error) => return Err(format!("the wallet: {error}")),
    };
    let heights = told.wallet.since.iter().chain(&told.wallet.told);
    let found = found.map(|found| heights.copied().find(|&height| fixture.wallet(height) == found));
    if found == Some(None) || !told.wallet.allows(found.flatten().as_ref()) {
        return Err(format!("the wallet is neither the old nor the new: {found:?}"));
    }
    Ok(())
}

/// Every byte of every file.
pub(crate) fn image(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.bytes(&name).expect("named"))).collect()
}

/// What became of damage in the block file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file is refused at opening, by name.
    Refused,
    /// It opens; what is damaged is named when it is read, and the rest is right.
    Named,
    /// All that was told is there and right.
    Whole,
}

/// Opens a block file that may be damaged and reads all that was told. An error if anything is lost
/// without a word, or served with other bytes.
pub(crate) fn verdict(view: View, disk: &MemoryDisk, fixture: &Fixture, told: &Told) -> Result<Verdict, String> {
    let before = disk.bytes(BLOCKS);
    let opened = PersistentBlockchain::open(view(disk), &fixture.params, &mut |_, _| {});
    let store = match opened {
        Ok((store, _)) => store,
        Err(StoreError::Io { source, .. }) => return Err(format!("the system is blamed: {source}")),
        Err(error) if !error.to_string().contains(BLOCKS) => return Err(format!("no file is named: {error}")),
        Err(_) if disk.bytes(BLOCKS) != before => return Err("a refused file was changed".into()),
        Err(_) => return Ok(Verdict::Refused),
    };
    let mut verdict = Verdict::Whole;
    let mut buffer = Vec::new();
    for id in &told.blocks {
        let record = store.find(id).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("block {id} is lost without a word"))?;
        match store.block(record) {
            Ok(bytes) if bytes == fixture.known[id].bytes => {}
            Ok(_) => return Err(format!("block {id} is served with other bytes")),
            Err(StoreError::Damaged { .. }) => verdict = Verdict::Named,
            Err(error) => return Err(error.to_string()),
        }
        match store.reader().frames(record, 1, 0, &mut buffer) {
            Ok(_) if buffer.ends_with(&fixture.known[id].bytes) => {}
            Ok(_) => return Err(format!("block {id} travels with other bytes")),
            Err(StoreError::Damaged { .. }) if verdict == Verdict::Named => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(verdict)
}
