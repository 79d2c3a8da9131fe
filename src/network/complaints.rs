//! Lines about strangers, held back when they come in floods.
//!
//! Who never gets through the handshake is told of here, not by the core. A flood of such must not
//! fill a disk with log lines: for each reason a few a minute, then a count.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use parking_lot::Mutex;

use crate::node::reason::Reason;
use crate::primitives::time::Mono;

/// Lines for one reason in one minute.
const LINES: u32 = 10;
const MINUTE_MS: u64 = 60_000;

#[derive(Debug)]
struct Told {
    since: Mono,
    lines: u32,
    held_back: u32,
}

/// What was told lately; as many entries as there are reasons.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: Mutex<HashMap<Discriminant<Reason>, Told>>,
}

impl Complaints {
    /// Whether a line about this reason may be written now, and how many were held back before it.
    pub(crate) fn admit(&self, reason: &Reason, now: Mono) -> Option<u32> {
        let mut told = self.told.lock();
        let entry = told.entry(discriminant(reason)).or_insert(Told { since: now, lines: 0, held_back: 0 });
        if now.since(entry.since) >= MINUTE_MS {
            (entry.since, entry.lines) = (now, 0);
        }
        if entry.lines == LINES {
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

    /// Goal: a flood costs ten lines a minute for each reason, and the next line counts the rest.
    /// Method: driven time.
    #[test]
    fn a_flood_is_counted_not_printed() {
        let complaints = Complaints::default();
        let printed = |at| (0..1_000).filter(|_| complaints.admit(&Reason::Foreign, Mono(at)).is_some()).count();
        assert_eq!(printed(0), 10);
        assert_eq!(complaints.admit(&Reason::Banned, Mono(1)), Some(0), "another reason has its own ten");
        assert_eq!(complaints.admit(&Reason::Foreign, Mono(60_000)), Some(990));
    }
}
