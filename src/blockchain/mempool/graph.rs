//! The transactions that wait, and how they hang together: who spends whose coins.
//!
//! One table of slots, and three ways into it: by id, by spent coin, and from the worst-paying up. Each
//! entry keeps the sums over its ancestors (what a block must take before it) and its descendants (what
//! leaves with it). The limit of [`CHAIN_MAX`] in either direction bounds every walk in here.
//!
//! A parent enters before its child, always, so the number of entry is an order in which parents come
//! before children.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::mempool::CHAIN_MAX;
use crate::blockchain::mempool::rate::FeeRate;
use crate::blockchain::transaction::CoinId;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Where an entry lies; meaningless once it has left.
pub(super) type Slot = u32;

/// Hashes of the look-up tables, under a key that strangers do not know: else ids could be made that all
/// fall into one place. Nothing is ever iterated in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed(SipHasher13);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

/// Sums over an entry and all before it, or all after it.
///
/// Fees of transactions that do not conflict are parts of what the ledger holds, so their sum fits
/// (RULES 29).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: usize,
    pub(super) fee: u64,
    pub(super) size_bytes: usize,
}

impl Totals {
    pub(super) fn of(tx: &CheckedTx) -> Self {
        Self { count: 1, fee: tx.fee(), size_bytes: tx.bytes().len() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.fee += other.fee;
        self.size_bytes += other.size_bytes;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.fee -= other.fee;
        self.size_bytes -= other.size_bytes;
    }

    pub(super) fn rate(self) -> FeeRate {
        FeeRate::new(self.fee, self.size_bytes)
    }
}

/// One that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) tx: CheckedTx,
    /// The number of its entry.
    pub(super) number: u64,
    pub(super) arrived: Wall,
    parents: Vec<Slot>,
    children: Vec<Slot>,
    /// Itself and what must be mined before it.
    pub(super) above: Totals,
    /// Itself and what spends its coins, directly or not.
    below: Totals,
}

impl Entry {
    /// What decides who is pushed out: a poor parent is kept for its rich children.
    pub(super) fn worth(&self) -> FeeRate {
        FeeRate::new(self.tx.fee(), self.tx.bytes().len()).max(self.below.rate())
    }

    fn place(&self, slot: Slot) -> Place {
        (self.worth(), Reverse(self.number), slot)
    }
}

/// Order of leaving: the least worth first, the last come among equals.
type Place = (FeeRate, Reverse<u64>, Slot);

/// What the memory allocator adds to each piece, generously.
const PIECE_BYTES: usize = 16;
/// A place in a hash table that has just grown: 8 of 16 in use, and a byte of its own for each.
const fn table_bytes(element: usize) -> usize {
    (element + 1) * 16 / 7 + 1
}

/// The memory that a transaction takes here, counted at its worst: half-empty tables and tree nodes,
/// the greatest number of links.
pub fn memory_bytes(tx: &CheckedTx) -> usize {
    let (inputs, outputs) = (tx.spent().len(), tx.created().len());
    let entry = size_of::<Entry>() + PIECE_BYTES + 2 * (size_of::<Option<Box<Entry>>>() + size_of::<Slot>());
    let sorted = 2 * (size_of::<Place>() + size_of::<(u64, Slot)>());
    let tables = table_bytes(size_of::<(Hash, Slot)>()) + sorted;
    let bytes = tx.bytes().len() + PIECE_BYTES + size_of::<CoinId>() * (inputs + outputs) + PIECE_BYTES;
    // A link is noted at both ends, and a list's first one takes room for four.
    let links = inputs.min(CHAIN_MAX) * 2 * (4 * size_of::<Slot>() + PIECE_BYTES);
    entry + tables + bytes + links + inputs * table_bytes(size_of::<(CoinId, Slot)>())
}

/// The entries.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    slots: Vec<Option<Box<Entry>>>,
    free: Vec<Slot>,
    by_id: HashMap<Hash, Slot, Keyed>,
    spenders: HashMap<CoinId, Slot, Keyed>,
    worst_first: BTreeSet<Place>,
    /// Those that a block may hold from some height on only.
    by_maturity: BTreeSet<(u64, Slot)>,
    next_number: u64,
    used_bytes: usize,
}

impl Graph {
    pub(super) fn new(key: [u8; 16]) -> Self {
        let keyed = Keyed(SipHasher13::new_with_key(&key));
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(keyed),
            spenders: HashMap::with_hasher(keyed),
            worst_first: BTreeSet::new(),
            by_maturity: BTreeSet::new(),
            next_number: 0,
            used_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Memory as counted by [`memory_bytes`].
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// The number that the next one gets.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(super) fn find(&self, id: &Hash) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    pub(super) fn spender(&self, coin: &CoinId) -> Option<Slot> {
        self.spenders.get(coin).copied()
    }

    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        self.slots[slot as usize].as_ref().expect("the tables name taken slots only")
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.slots[slot as usize].as_mut().expect("the tables name taken slots only")
    }

    /// All entries; the same order on every run, and no other meaning.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        (0..).zip(&self.slots).filter_map(|(slot, entry)| Some((slot, entry.as_deref()?)))
    }

    /// The one to leave first when room is needed.
    pub(super) fn worst(&self) -> Option<(FeeRate, Slot)> {
        self.worst_first.first().map(|&(worth, _, slot)| (worth, slot))
    }

    /// One that no block at this height may hold, if there is any.
    pub(super) fn immature_at(&self, height: u64) -> Option<Slot> {
        self.by_maturity.last().filter(|(matures_at, _)| *matures_at > height).map(|&(_, slot)| slot)
    }

    /// The parents and everything above them; more than a row may have are counted no further.
    pub(super) fn ancestors(&self, parents: &[Slot]) -> Vec<Slot> {
        self.reachable(parents, |entry| &entry.parents)
    }

    /// An entry and everything that hangs on it, in the order of entry.
    pub(super) fn with_descendants(&self, slot: Slot) -> Vec<Slot> {
        let mut all = self.reachable(&[slot], |entry| &entry.children);
        all.sort_unstable_by_key(|&slot| self.entry(slot).number);
        all
    }

    pub(super) fn parents(&self, slot: Slot) -> &[Slot] {
        &self.entry(slot).parents
    }

    pub(super) fn children(&self, slot: Slot) -> &[Slot] {
        &self.entry(slot).children
    }

    /// How many hang on it, itself included.
    pub(super) fn descendants(&self, slot: Slot) -> usize {
        self.entry(slot).below.count
    }

    fn reachable(&self, from: &[Slot], next: impl Fn(&Entry) -> &[Slot]) -> Vec<Slot> {
        let mut found = from.to_vec();
        let mut looked = 0;
        while looked < found.len() && found.len() <= CHAIN_MAX {
            for &slot in next(self.entry(found[looked])) {
                // A list of at most 25, usually of none: faster than a set.
                if !found.contains(&slot) {
                    found.push(slot);
                }
            }
            looked += 1;
        }
        found
    }

    /// Adds an entry under its parents.
    pub(super) fn insert(&mut self, tx: CheckedTx, arrived: Wall, parents: Vec<Slot>, ancestors: &[Slot]) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).expect("the pool's bytes hold fewer than 2^32 entries")
        });
        let own = Totals::of(&tx);
        let mut above = own;
        for &ancestor in ancestors {
            above.add(Totals::of(&self.entry(ancestor).tx));
            self.reweigh(ancestor, |below| below.add(own));
        }
        for &parent in &parents {
            self.entry_mut(parent).children.push(slot);
        }
        self.used_bytes += memory_bytes(&tx);
        let taken = self.by_id.insert(tx.id(), slot);
        assert!(taken.is_none(), "an id enters once");
        for &coin in tx.spent() {
            let taken = self.spenders.insert(coin, slot);
            assert!(taken.is_none(), "a coin has one spender here");
        }
        let number = self.next_number;
        self.next_number += 1;
        let entry = Entry { tx, number, arrived, parents, children: Vec::new(), above, below: own };
        self.worst_first.insert(entry.place(slot));
        if entry.tx.matures_at() > 0 {
            self.by_maturity.insert((entry.tx.matures_at(), slot));
        }
        self.slots[slot as usize] = Some(Box::new(entry));
    }

    /// Takes one entry out; those above and below it stay.
    pub(super) fn remove(&mut self, slot: Slot) -> Entry {
        let own = Totals::of(&self.entry(slot).tx);
        for ancestor in self.ancestors(&self.entry(slot).parents) {
            self.reweigh(ancestor, |below| below.subtract(own));
        }
        for descendant in self.reachable(&self.entry(slot).children, |entry| &entry.children) {
            self.entry_mut(descendant).above.subtract(own);
        }
        let entry = self.slots[slot as usize].take().expect("the tables name taken slots only");
        self.free.push(slot);
        for &parent in &entry.parents {
            self.entry_mut(parent).children.retain(|&child| child != slot);
        }
        for &child in &entry.children {
            self.entry_mut(child).parents.retain(|&parent| parent != slot);
        }
        self.used_bytes -= memory_bytes(&entry.tx);
        self.by_id.remove(&entry.tx.id());
        for coin in entry.tx.spent() {
            self.spenders.remove(coin);
        }
        assert!(self.worst_first.remove(&entry.place(slot)), "each entry has its place");
        self.by_maturity.remove(&(entry.tx.matures_at(), slot));
        *entry
    }

    /// Takes an entry out with everything that hangs on it; in the order of entry.
    pub(super) fn remove_with_descendants(&mut self, slot: Slot) -> Vec<Entry> {
        let all = self.with_descendants(slot);
        // Children first: nothing is left below that would have to be weighed again.
        let mut removed: Vec<Entry> = all.into_iter().rev().map(|slot| self.remove(slot)).collect();
        removed.reverse();
        removed
    }

    fn reweigh(&mut self, slot: Slot, change: impl FnOnce(&mut Totals)) {
        let old = self.entry(slot).place(slot);
        change(&mut self.entry_mut(slot).below);
        let new = self.entry(slot).place(slot);
        if old != new {
            self.worst_first.remove(&old);
            self.worst_first.insert(new);
        }
    }
}
