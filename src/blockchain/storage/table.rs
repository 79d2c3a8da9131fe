//! From an id to a record in four bytes a slot, and one bit a record.

use crate::primitives::hash::Hash;

/// An open-addressing table of record numbers; the ids themselves are in the index.
///
/// With 2^bits slots a slot needs only `bits` bits for a record's number, since there are fewer records
/// than slots; the others hold bits of the id, so that a wrong slot costs a read once in thousands.
pub(super) struct Table {
    /// 0 is empty; else `bits of the id above the mask | record + 1 within it`.
    slots: Vec<u32>,
    mask: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self::for_records(0)
    }
}

impl Table {
    /// Room for this many records, and some more.
    pub(super) fn for_records(records: u32) -> Self {
        let mut bits = 10;
        while !fits(records.saturating_add(1), 1 << bits) {
            bits += 1;
        }
        Self { slots: vec![0; 1 << bits], mask: (1 << bits) - 1 }
    }

    /// Whether this many records leave a quarter of the slots empty.
    pub(super) fn has_room(&self, records: u32) -> bool {
        fits(records, self.slots.len() as u64)
    }

    /// Adds a record, which is not in it yet.
    pub(super) fn insert(&mut self, id: &Hash, record: u32) {
        let key = key(id);
        let mut place = key & self.mask;
        while self.slots[place as usize] != 0 {
            place = (place + 1) & self.mask;
        }
        self.slots[place as usize] = (key & !self.mask) | (record + 1);
    }

    /// The records that may have this id, oldest first: nearly always one or none.
    pub(super) fn candidates(&self, id: &Hash) -> Vec<u32> {
        let key = key(id);
        let mut place = key & self.mask;
        let mut found = Vec::new();
        loop {
            let slot = self.slots[place as usize];
            if slot == 0 {
                return found;
            }
            if slot & !self.mask == key & !self.mask {
                found.push((slot & self.mask) - 1);
            }
            place = (place + 1) & self.mask;
        }
    }
}

/// At most three quarters full: beyond it look-ups grow long.
fn fits(records: u32, slots: u64) -> bool {
    assert!(slots <= 1 << 31, "a block file has fewer than 1.6 billion blocks");
    u64::from(records) * 4 <= slots * 3
}

fn key(id: &Hash) -> u32 {
    u32::try_from(id.table_key() & 0xffff_ffff).expect("masked to 32 bits")
}

/// A set of record numbers.
#[derive(Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds one.
    pub(super) fn insert(&mut self, record: u32) {
        let word = record as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (record % 64);
    }

    /// Whether it is in.
    pub(super) fn contains(&self, record: u32) -> bool {
        self.0.get(record as usize / 64).is_some_and(|word| word >> (record % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every record is found among its candidates, at any fill, and strangers hardly ever.
    #[test]
    fn every_record_is_among_its_candidates() {
        let id = |n: u32| Hash::sha256d(&n.to_le_bytes());
        for records in [0, 1, 767, 768, 769, 10_000] {
            let mut table = Table::for_records(records);
            (0..records).for_each(|record| table.insert(&id(record), record));
            assert!((0..records).all(|record| table.candidates(&id(record)).contains(&record)));
            let wrong = (0..1_000).filter(|n| !table.candidates(&id(records + 1_000_000 + n)).is_empty()).count();
            assert!(wrong < 10, "{wrong} of 1000 look-ups of unknown ids would read the disk");
        }
    }

    /// Goal: a million blocks take 8 MiB in the table. Method: its slots are counted.
    #[test]
    fn a_million_records_take_two_million_slots() {
        assert_eq!(Table::for_records(1_000_000).slots.len(), 1 << 21);
        assert!(!Table::for_records(768).has_room(1_600));
    }
}
