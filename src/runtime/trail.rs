//! Trails: which way the last tips took through the threads, and how long each part of it was.
//!
//! For people who want to see it; nothing is decided by what stands here. A peer's thread stamps what it lays into
//! the inbox, the owner adds its own turn and whom it told, and the disk's answer closes the trail.
//!
//! Left out: blocks that did not become a tip, and of a turn that connects many all but the last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::blockchain::storage::BlockMeta;
use crate::network::p2p::Input;
use crate::node::event::{Effect, Event, PeerId};
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Trails that are kept: 32 × 120 B, and the peers that were told.
const TRAILS_MAX: usize = 32;

/// Who brought a block to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A peer's reading thread, through the inbox.
    Peer(PeerId),
    /// A mining thread, through control.
    Miner,
    /// Somebody who asks over HTTP.
    Client,
    /// The node by itself: what it had already has become the best.
    Node,
}

/// One tip's way.
#[derive(Clone, Debug)]
pub struct Trail {
    /// The block.
    pub id: Hash,
    /// Its height.
    pub height: u64,
    /// Where it came from.
    pub source: Source,
    /// When the owner took it.
    pub taken_at: Wall,
    /// How long it lay in the inbox, in microseconds; `None` if it came another way.
    pub waited_us: Option<u64>,
    /// The owner's turn, from taking it to the last effect.
    pub turn_us: u64,
    /// Whom that turn told of it.
    pub told: Vec<PeerId>,
    /// From the begin of the turn until the owner heard from the disk; `None`: it has not yet.
    pub durable_us: Option<u64>,
    begun: Instant,
    end_bytes: u64,
}

/// The last trails, oldest first, laid out for readers.
#[derive(Debug, Default)]
pub struct Trails(Mutex<VecDeque<Trail>>);

impl Trails {
    /// Those of durable tips, as others are not told of.
    pub fn durable(&self) -> Vec<Trail> {
        self.0.lock().iter().filter(|trail| trail.durable_us.is_some()).cloned().collect()
    }
}

/// The owner's side: what is known of the turn that is under way.
#[derive(Debug)]
pub(crate) struct Tracker {
    tip: Hash,
    /// What of the file was durable after the last turn.
    durable_bytes: u64,
    /// For how long that which is being handled had lain in the inbox.
    waited: Option<Duration>,
    source: Source,
    told: Vec<PeerId>,
}

impl Tracker {
    pub(crate) fn new(tip: &BlockMeta) -> Self {
        Self { tip: tip.id, durable_bytes: 0, waited: None, source: Source::Node, told: Vec::new() }
    }

    /// The owner has taken this out of its inbox.
    pub(crate) fn took(&mut self, input: &Input) {
        if let Input::Peer { sent, .. } = input {
            self.waited = Some(sent.elapsed());
        }
    }

    /// A turn begins. One that goes on with another has that one's source.
    pub(crate) fn begin(&mut self, event: &Event) {
        self.told.clear();
        self.source = match event {
            Event::Continue => return,
            Event::Mined { .. } => Source::Miner,
            Event::Order { .. } => Source::Client,
            event => event.peer().map_or(Source::Node, Source::Peer),
        };
    }

    pub(crate) fn perform(&mut self, effect: &Effect) {
        if let Effect::BroadcastBlock { peers, .. } = effect {
            self.told.extend(peers);
        }
    }

    /// The turn is over.
    pub(crate) fn end(&mut self, trails: &Trails, tip: &BlockMeta, durable_bytes: u64, begun: (Instant, Wall)) {
        let (waited, (begun, taken_at)) = (self.waited.take(), begun);
        if tip.id != self.tip {
            self.tip = tip.id;
            let trail = Trail {
                id: tip.id,
                height: tip.header.height,
                source: self.source,
                taken_at,
                waited_us: waited.map(us),
                turn_us: us(begun.elapsed()),
                told: std::mem::take(&mut self.told),
                durable_us: None,
                begun,
                end_bytes: tip.end(),
            };
            let mut trails = trails.0.lock();
            if trails.len() >= TRAILS_MAX {
                trails.pop_front();
            }
            trails.push_back(trail);
        }
        if durable_bytes > self.durable_bytes {
            self.durable_bytes = durable_bytes;
            let mut trails = trails.0.lock();
            let open = trails.iter_mut().filter(|trail| trail.durable_us.is_none() && trail.end_bytes <= durable_bytes);
            open.for_each(|trail| trail.durable_us = Some(us(trail.begun.elapsed())));
        }
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blockchain::params::Params;

    fn tip(id: u8, height: u64) -> BlockMeta {
        let params = Params::regtest();
        let disk = crate::blockchain::memory_disk::MemoryDisk::default();
        let opened =
            crate::blockchain::storage::PersistentBlockchain::open(std::sync::Arc::new(disk), &params, &mut |_, _| {});
        let mut meta = opened.expect("an empty disk").0.reader().tip();
        meta.id = Hash([id; 32]);
        meta.header.height = height;
        meta
    }

    /// Goal: a trail has its source, is shown once it is durable and not before, and the oldest goes. Method: turns
    /// that move the tip, one that does not, and one that goes on with another; then more than are kept.
    #[test]
    fn a_trail_is_shown_once_it_is_durable() {
        let (trails, genesis) = (Trails::default(), tip(0, 0));
        let mut tracker = Tracker::new(&genesis);
        let turn = |tracker: &mut Tracker, event: &Event, tip: &BlockMeta, durable_bytes| {
            tracker.begin(event);
            tracker.end(&trails, tip, durable_bytes, (Instant::now(), Wall(7)));
        };
        let (alice, nonce) = (PeerId(3), 0);
        turn(&mut tracker, &Event::Ping { peer: alice, nonce }, &genesis, 0);
        turn(&mut tracker, &Event::Ping { peer: alice, nonce }, &tip(1, 1), 0);
        turn(&mut tracker, &Event::Continue, &tip(2, 2), 0);
        assert!(trails.durable().is_empty());
        turn(&mut tracker, &Event::Tick, &tip(2, 2), u64::MAX);
        let shown = trails.durable();
        assert_eq!(
            shown.iter().map(|trail| (trail.height, trail.source)).collect::<Vec<_>>(),
            [(1, Source::Peer(alice)), (2, Source::Peer(alice)),]
        );
        for height in 3..100 {
            turn(&mut tracker, &Event::Tick, &tip(u8::try_from(height).expect("small"), height), u64::MAX);
        }
        assert_eq!(trails.0.lock().len(), TRAILS_MAX);
        assert_eq!(trails.0.lock().front().expect("full").height, 100 - TRAILS_MAX as u64);
    }
}
