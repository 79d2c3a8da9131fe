//! What passes between one peer and us about transactions: what it announced, owes, has and will be told.
//!
//! Bookkeeping for [`transactions`](super::transactions), bounded for each peer. It decides nothing.

use std::collections::{BTreeSet, VecDeque};

use crate::node::message::TX_IDS_MAX;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Ids that one peer announced and that are not asked for yet, those included that wait for others. A page
/// of its pool always has its place among them.
pub const QUEUE_MAX: usize = 2_048;
/// Of these, ids that wait for others. More are taken for gossip that was lost.
pub const WAITING_MAX: usize = 512;
/// Ids that a peer is known to have.
pub const KNOWN_MAX: usize = 4_096;

/// The last so many ids, as their first eight bytes: two that share them cost 2^64 hashes to make, and
/// gain that one of them is not relayed.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Adds one; false if it is there already.
    pub(super) fn add(&mut self, id: &Hash, most: usize) -> bool {
        let short = short(id);
        let is_new = self.ids.insert(short);
        if is_new {
            self.order.push_back(short);
            if self.order.len() > most
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
        is_new
    }

    pub(super) fn contains(&self, id: &Hash) -> bool {
        self.ids.contains(&short(id))
    }
}

/// The first eight bytes.
pub(super) fn short(id: &Hash) -> u64 {
    u64::from_le_bytes(*id.0.first_chunk().expect("a hash has 32 bytes"))
}

/// A question for transactions that is not answered.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) since: Mono,
    /// Nothing once the time for it is over: others are asked for them.
    pub(super) ids: Vec<Hash>,
}

/// How much of a peer's pool we have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// What is greater than this id is to be asked for.
    Due(Hash),
    /// It is asked for.
    Asked(Hash),
    Done,
}

/// What passes between one peer and us.
#[derive(Debug)]
pub(super) struct Exchange {
    /// It announced these: to be asked for.
    pub(super) queue: VecDeque<Hash>,
    /// It announced these, which the next block will make mature.
    pub(super) for_next_tip: Vec<Hash>,
    /// So many more that it announced wait for others.
    pub(super) waiting: usize,
    /// Questions in a row that it left without an answer, or answered with nothing.
    pub(super) misses: u32,
    pub(super) open: Option<Open>,
    /// It has these.
    pub(super) known: Recent,
    /// To be told.
    pub(super) news: Vec<Hash>,
    pub(super) page: Page,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            for_next_tip: Vec::new(),
            waiting: 0,
            misses: 0,
            open: None,
            known: Recent::default(),
            news: Vec::new(),
            page: Page::Due(Hash::ZERO),
        }
    }

    /// Whether one more id that it announced is noted.
    pub(super) fn has_room(&self) -> bool {
        self.held() < QUEUE_MAX - if matches!(self.page, Page::Asked(_)) { TX_IDS_MAX } else { 0 }
    }

    /// Whether there is room for a page of its pool.
    pub(super) fn has_room_for_page(&self) -> bool {
        self.held() + TX_IDS_MAX <= QUEUE_MAX
    }

    fn held(&self) -> usize {
        self.queue.len() + self.for_next_tip.len() + self.waiting
    }
}
