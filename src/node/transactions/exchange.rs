//! What passes between one peer and us about transactions: what it announced, owes, has and will be told.
//!
//! Bookkeeping, bounded for each peer. It decides nothing.

use std::collections::{BTreeSet, VecDeque};

use crate::node::event::PeerId;
use crate::node::message::TX_IDS_MAX;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Ids that one peer announced and that wait to be asked for, whatever others hold.
pub const QUEUE_OWN: usize = 1_024;
/// More of them, for all peers together: a whole pool at once. What finds no room is not asked for; it may come
/// with a block, or from somebody else.
pub const QUEUE_SHARED: usize = 32_768;
/// Ids of one peer that wait for others. More are lost like other gossip.
pub const WAITING_MAX: usize = 384;
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

    /// Ids that wait to be asked for.
    pub(super) fn held(&self) -> usize {
        self.queue.len() + self.for_next_tip.len()
    }

    /// Whether there is something to ask it for.
    pub(super) fn wants(&self) -> bool {
        !self.queue.is_empty() || matches!(self.page, Page::Due(_))
    }

    /// How many more may wait, if so many places that all share are free. A page of its pool always finds its
    /// own.
    pub(super) fn room(&self, shared_free: usize) -> usize {
        let room = QUEUE_OWN.saturating_sub(self.held()) + shared_free;
        room.saturating_sub(if matches!(self.page, Page::Asked(_)) { TX_IDS_MAX } else { 0 })
    }
}

/// Who is to be asked for what when it is clear what becomes of another id.
///
/// What is waited for is in flight, or is itself waiting; it is noted by its first eight bytes. Two ids that share
/// those let go of each other's a little early, and no harm done.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// `(first, peer, then)`: then is the same id, which the peer announced while another was asked for it, or a
    /// child, of which nothing can be said before.
    entries: BTreeSet<(u64, PeerId, Hash)>,
    /// The children among them.
    children: BTreeSet<(u64, PeerId)>,
}

impl Waiting {
    /// Notes one for a peer; false if it waits for too much.
    pub(super) fn add(&mut self, exchange: &mut Exchange, first: Hash, peer: PeerId, then: Hash) -> bool {
        let has_room = exchange.waiting < WAITING_MAX;
        if has_room && self.entries.insert((short(&first), peer, then)) {
            exchange.waiting += 1;
            if first != then {
                self.children.insert((short(&then), peer));
            }
        }
        has_room
    }

    /// Whether somebody is asked for this one when it is clear what becomes of its parent.
    pub(super) fn has_child(&self, id: &Hash) -> bool {
        let id = short(id);
        self.children.range((id, PeerId(0))..=(id, PeerId(u64::MAX))).next().is_some()
    }

    /// Takes out what waits for this one: the same id only, or its children too. The caller lowers the counts.
    pub(super) fn take(&mut self, first: &Hash, and_children: bool) -> Vec<(PeerId, Hash)> {
        let key = short(first);
        let all = (key, PeerId(0), Hash([0; 32]))..=(key, PeerId(u64::MAX), Hash([0xff; 32]));
        let taken = self.entries.extract_if(all, |(.., then)| and_children || then == first);
        let taken: Vec<(PeerId, Hash)> = taken.map(|(_, peer, then)| (peer, then)).collect();
        self.forget_children(&taken);
        taken
    }

    /// Takes out what waits for something that nobody is asked for any more and that does not itself wait; what
    /// peers that are gone waited for is forgotten.
    pub(super) fn take_stranded<'a>(
        &mut self,
        is_here: impl Fn(PeerId) -> bool,
        on_its_way: impl Iterator<Item = &'a Hash>,
    ) -> Vec<(PeerId, Hash)> {
        self.entries.retain(|(_, peer, _)| is_here(*peer));
        self.children.retain(|(_, peer)| is_here(*peer));
        let open: BTreeSet<u64> = on_its_way.map(short).chain(self.children.iter().map(|(child, _)| *child)).collect();
        let stranded = self.entries.extract_if(.., |(first, ..)| !open.contains(first));
        let stranded: Vec<(PeerId, Hash)> = stranded.map(|(_, peer, then)| (peer, then)).collect();
        self.forget_children(&stranded);
        stranded
    }

    fn forget_children(&mut self, taken: &[(PeerId, Hash)]) {
        for (peer, then) in taken {
            self.children.remove(&(short(then), *peer));
        }
    }
}
