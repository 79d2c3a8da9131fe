//! What is on the platter, what a running process sees, and everything that a power cut may leave.
//!
//! The model is the one that POSIX promises and no more. A file is two images and the changes between
//! them. At a power cut each sector of 512 bytes that was touched since the last sync is what it was, or
//! what it became at any change since, or its newest state up to anywhere and its oldest behind that; the length
//! is what it was or became at any of them, whatever became of the bytes. Creations, renames and removals since the last
//! sync of the directory each happened or did not, in any combination; one rename is one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a disk writes at once.
pub(super) const SECTOR_BYTES: usize = 512;

/// Picks one of so many possibilities; 0 is the oldest, the last one the newest.
pub(super) type Choose<'a> = &'a mut dyn FnMut(usize) -> usize;

/// Of so many bytes of a sector that is torn, says how many are new.
pub(super) type Tear<'a> = &'a mut dyn FnMut(usize) -> usize;

type Names = BTreeMap<String, u64>;

/// A directory and its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Platter {
    files: BTreeMap<u64, Images>,
    now: Names,
    durable: Names,
    /// Since the directory was synced: what became of which names, at once.
    pending: Vec<Vec<(String, Option<u64>)>>,
    next: u64,
    /// Counts the files that were named after it.
    pub(super) names_given: u8,
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// What a process reads.
    pub(super) now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Shared with the handles that are open: a file lives as long as a name or a handle leads to it.
    held: Arc<()>,
}

/// A call whose effect is not on the platter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetSize(usize),
}

impl Platter {
    /// The file of this name, made if it is missing, and what keeps it alive.
    pub(super) fn open(&mut self, name: &str) -> (u64, Arc<()>) {
        let id = if let Some(&id) = self.now.get(name) {
            id
        } else {
            let id = self.add(Images::default());
            self.rename_all(vec![(name.to_owned(), Some(id))]);
            id
        };
        (id, Arc::clone(&self.file(id).held))
    }

    /// An open file.
    pub(super) fn file(&mut self, id: u64) -> &mut Images {
        self.files.get_mut(&id).expect("a file lives as long as a handle to it")
    }

    /// The file of this name.
    pub(super) fn find(&mut self, name: &str) -> Option<&mut Images> {
        self.files.get_mut(self.now.get(name)?)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.now.keys()
    }

    /// False if there is no such file.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(&id) = self.now.get(from) else { return false };
        if from != to {
            self.rename_all(vec![(from.to_owned(), None), (to.to_owned(), Some(id))]);
        }
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.now.contains_key(name) {
            self.rename_all(vec![(name.to_owned(), None)]);
        }
    }

    pub(super) fn sync_dir(&mut self) {
        self.durable = self.now.clone();
        self.pending.clear();
        self.sweep();
    }

    /// Puts a file there as if it had been for ever.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) {
        let id = self.add(Images { now: bytes.to_vec(), durable: bytes.to_vec(), ..Images::default() });
        self.now.insert(name.to_owned(), id);
        self.durable.insert(name.to_owned(), id);
    }

    /// Another directory in the same state, without the handles.
    pub(super) fn fork(&self) -> Self {
        let mut fork = self.clone();
        fork.files.values_mut().for_each(|images| images.held = Arc::default());
        fork.sweep();
        fork
    }

    /// What is found after the power has failed now.
    pub(super) fn after_power_cut(&self, choose: Choose<'_>, tear: Tear<'_>) -> Self {
        let mut names = self.durable.clone();
        for step in &self.pending {
            if choose(2) == 1 {
                apply(&mut names, step);
            }
        }
        let mut left = Self { names_given: self.names_given, ..Self::default() };
        for (name, id) in names {
            left.put(&name, &self.files[&id].after_power_cut(choose, tear));
        }
        left
    }

    fn rename_all(&mut self, step: Vec<(String, Option<u64>)>) {
        apply(&mut self.now, &step);
        self.pending.push(step);
    }

    fn add(&mut self, images: Images) -> u64 {
        self.next += 1;
        self.files.insert(self.next, images);
        self.next
    }

    /// Forgets files to which nothing leads.
    fn sweep(&mut self) {
        let pending = self.pending.iter().flatten().filter_map(|(_, id)| *id);
        let named: BTreeSet<u64> = self.now.values().chain(self.durable.values()).copied().chain(pending).collect();
        self.files.retain(|id, images| named.contains(id) || Arc::strong_count(&images.held) > 1);
    }
}

fn apply(names: &mut Names, step: &[(String, Option<u64>)]) {
    for (name, id) in step {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

impl Images {
    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        self.change(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn set_size(&mut self, size_bytes: usize) {
        self.change(Change::SetSize(size_bytes));
    }

    pub(super) fn sync(&mut self) {
        let Self { durable, pending, .. } = self;
        for change in pending.drain(..) {
            change.apply(durable);
        }
    }

    /// What a sync that fails leaves on Linux: the system holds the file for clean, so what was to be
    /// written never will be, and processes read it all the same.
    pub(super) fn lose_pending(&mut self) {
        self.pending.clear();
    }

    /// Bits flip where they lie.
    pub(super) fn flip(&mut self, at: usize, mask: u8) {
        for image in [&mut self.now, &mut self.durable] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn after_power_cut(&self, choose: Choose<'_>, tear: Tear<'_>) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut sizes = vec![image.len()];
        let mut sectors: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for change in &self.pending {
            let before = image.len();
            let touched = change.touches(before);
            for sector in touched.clone() {
                sectors.entry(sector).or_insert_with(|| vec![sector_of(&image, sector)]);
            }
            change.apply(&mut image);
            for sector in touched {
                let versions = sectors.get_mut(&sector).expect("entered above");
                let version = sector_of(&image, sector);
                if versions.last() != Some(&version) {
                    versions.push(version);
                }
            }
            if image.len() != before {
                sizes.push(image.len());
            }
        }
        let size_bytes = sizes[choose(sizes.len())];
        let mut left = self.durable.clone();
        left.resize(size_bytes, 0);
        for (sector, versions) in sectors {
            let found = survivor(&versions, choose, tear);
            let start = (sector * SECTOR_BYTES).min(size_bytes);
            let room = (size_bytes - start).min(SECTOR_BYTES);
            left[start..start + room].copy_from_slice(&found[..room]);
        }
        left
    }
}

/// One of a sector's versions, or its newest over its oldest, torn anywhere within what differs.
fn survivor(versions: &[Vec<u8>], choose: Choose<'_>, tear: Tear<'_>) -> Vec<u8> {
    let [oldest, .., newest] = versions else { return versions[0].clone() };
    match choose(versions.len() + 1) {
        0 => oldest.clone(),
        1 => {
            let differs = |at: &usize| oldest[*at] != newest[*at];
            let first = (0..SECTOR_BYTES).find(differs).unwrap_or(0);
            let last = (0..SECTOR_BYTES).rfind(differs).unwrap_or(0);
            let differing = last + 1 - first;
            let cut = first + tear(differing).min(differing);
            [&newest[..cut], &oldest[cut..]].concat()
        }
        version => versions[version - 1].clone(),
    }
}

/// A sector's bytes, with zeros behind the end.
fn sector_of(image: &[u8], sector: usize) -> Vec<u8> {
    let start = (sector * SECTOR_BYTES).min(image.len());
    let mut bytes = image[start..image.len().min(start + SECTOR_BYTES)].to_vec();
    bytes.resize(SECTOR_BYTES, 0);
    bytes
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*at..end].copy_from_slice(bytes);
            }
            Self::SetSize(size_bytes) => image.resize(*size_bytes, 0),
        }
    }

    /// The sectors that it changes in an image of this size.
    fn touches(&self, size_bytes: usize) -> std::ops::Range<usize> {
        let (from, to) = match self {
            Self::Write { at, bytes } => (*at, at + bytes.len()),
            Self::SetSize(to) => ((*to).min(size_bytes), (*to).max(size_bytes)),
        };
        from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES)
    }
}
