//! Lines that strangers can cause, held back when they come in floods.
//!
//! What somebody else does must not fill a disk with log lines: of each kind so many a minute, then a
//! count of those that were left out. (Bitcoin Core's CVE-2025-54604 and 54605 are floods of this sort.)

use std::collections::HashMap;
use std::hash::Hash;

use crate::primitives::time::Mono;

const MINUTE_MS: u64 = 60_000;

#[derive(Debug)]
struct Told {
    since: Mono,
    lines: u32,
    held_back: u32,
}

/// What was told lately. The kinds must be few: each has an entry for good.
#[derive(Debug)]
pub struct Chatter<K> {
    lines_per_minute: u32,
    told: HashMap<K, Told>,
}

impl<K: Eq + Hash> Chatter<K> {
    /// So many lines of each kind in a minute.
    pub fn new(lines_per_minute: u32) -> Self {
        Self { lines_per_minute, told: HashMap::new() }
    }

    /// Whether a line of this kind may be written now, and how many were held back before it.
    pub fn admit(&mut self, kind: K, now: Mono) -> Option<u32> {
        let entry = self.told.entry(kind).or_insert(Told { since: now, lines: 0, held_back: 0 });
        if now.since(entry.since) >= MINUTE_MS {
            (entry.since, entry.lines) = (now, 0);
        }
        if entry.lines == self.lines_per_minute {
            entry.held_back += 1;
            return None;
        }
        entry.lines += 1;
        Some(std::mem::take(&mut entry.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a flood costs ten lines a minute for each kind, and the next line counts the rest.
    /// Method: driven time.
    #[test]
    fn a_flood_is_counted_not_printed() {
        let mut chatter = Chatter::new(10);
        let printed = (0..1_000).filter(|_| chatter.admit("one", Mono(0)).is_some()).count();
        assert_eq!(printed, 10);
        assert_eq!(chatter.admit("another", Mono(1)), Some(0), "another kind has its own ten");
        assert_eq!(chatter.admit("one", Mono(60_000)), Some(990));
    }
}
