//! Catching up: headers first, then bodies from several peers, and another peer when one stalls.
//!
//! Two machines side by side. [`streams`](super::streams) follows peers' headers and decides whether
//! they are worth having. This file fetches the bodies of the heaviest branch that some peer has shown:
//! it cuts the branch into runs, asks several peers for one or two runs each, hands them to the chain in
//! order, and gives a run to somebody else when its peer is silent, or slower than one who has nothing
//! left to do.
//!
//! A branch that nobody here has, or only peers that do not deliver, is nobody's goal: a header whose
//! body never comes stops nothing but itself. What may be on its way or waiting for an earlier run is
//! bounded in bytes for the whole node, and no peer ever owes us more answers than the protocol allows,
//! whatever becomes of the plan. Blocks that arrive after their run was given away are taken if they
//! still fit, else passed over: they were asked for, so nobody is to blame.

mod books;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use books::{Delivery, Run, Source};

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::chain::Refusal;
use crate::blockchain::position::Position;
use crate::blockchain::reject::Reject;
use crate::blockchain::storage::{RecordNo, StoreError};
use crate::node::event::{Asked, Direction, PeerId};
use crate::node::message::{BLOCKS_MAX, Message};
use crate::node::peers::Peer;
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::turn::Turn;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Requested bodies on their way or waiting for an earlier one, in the whole node, as they lie in memory.
pub const OUTSTANDING_BYTES_MAX: usize = 6 << 20;
/// Peers that are asked for bodies at a time.
pub const BODY_PEERS_MAX: usize = 4;
/// Peers that may owe us bodies at a time, those included that were too slow and are no longer waited for: each may
/// have a large frame half received, until it is cut for its silence or at the frame's deadline.
pub const OWING_PEERS_MAX: usize = 14;
/// Questions for bodies that one peer may leave unanswered: while it sends one run, the next is already
/// on its way. With one for headers this stays within the four that the protocol allows.
const UNANSWERED_MAX: usize = 2;
/// What a run aims at.
const RUN_BYTES: usize = 512 << 10;
/// Silence that costs a peer its runs; doubles up to the longest while nobody is faster.
pub const STALL_MS: u64 = 5_000;
const STALL_MS_MAX: u64 = 64_000;
/// A peer that owes an answer and is silent for so long is cut.
const SILENCE_MS_MAX: u64 = 64_000;
/// The first run of the window may take this long before somebody with nothing to do gets it.
const FRONT_MS: u64 = 2_000;
/// Without a body for so long we are not catching up, whatever is still missing.
const CATCHING_UP_MS: u64 = 10_000;
/// Deliveries that are remembered, for blame.
const DELIVERIES_MAX: usize = 1_024;
/// Between two lines about a long sync.
const REPORT_MS: u64 = 1_000;
/// A sync shorter than this many blocks is not worth a line of its own.
const REPORT_BLOCKS: u64 = 200;

/// A block that is ahead of our clock, and who told of it.
#[derive(Clone, Copy, Debug)]
pub struct Early {
    /// Who.
    pub peer: PeerId,
    /// The block.
    pub id: Hash,
    /// Its time.
    pub time: u64,
}

/// The fetching of bodies.
#[derive(Debug)]
pub struct Sync {
    /// Where the runs lead.
    goal: Option<Position>,
    /// Ids of the branch that no run covers yet, oldest first.
    queue: VecDeque<Hash>,
    /// Oldest first; only the front one's blocks can go to the chain.
    runs: VecDeque<Run>,
    sources: BTreeMap<PeerId, Source>,
    deliveries: VecDeque<Delivery>,
    stall_ms: u64,
    /// Bytes of all `waiting`.
    waiting_bytes: usize,
    /// A running mean of what bodies take in memory.
    body_bytes: usize,
    /// When a body came last, or the first plan on this tip was made.
    progressed_at: Mono,
    planned_on: Hash,
    reported: (Mono, u64),
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            goal: None,
            queue: VecDeque::new(),
            runs: VecDeque::new(),
            sources: BTreeMap::new(),
            deliveries: VecDeque::new(),
            stall_ms: STALL_MS,
            waiting_bytes: 0,
            // Cautious until the first bodies tell.
            body_bytes: 8 << 10,
            progressed_at: Mono(0),
            planned_on: Hash::ZERO,
            reported: (Mono(0), 0),
        }
    }
}

impl Sync {
    /// Whether bodies are coming in: what the chain has now is soon outdated, so it is no news and
    /// nothing to mine on.
    pub fn is_catching_up(&self, now: Mono) -> bool {
        self.is_busy() && now.since(self.progressed_at) < CATCHING_UP_MS
    }

    fn is_busy(&self) -> bool {
        !self.runs.is_empty() || !self.queue.is_empty()
    }

    /// Blocks came that were asked for; gives the one that was ahead of our clock, if one was.
    pub fn on_blocks(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        blocks: Vec<CheckedBlock>,
    ) -> Result<Option<Early>, StoreError> {
        let source = self.sources.entry(peer).or_default();
        source.delivered(blocks.len());
        source.moved_at = turn.now.mono;
        self.stall_ms = STALL_MS;
        let mut ready = Vec::with_capacity(blocks.len());
        for block in blocks {
            self.body_bytes = (self.body_bytes * 63 + block.memory_bytes()) / 64;
            match self.runs.iter().position(|run| run.missing.front() == Some(&block.id())) {
                Some(0) => {
                    self.runs[0].missing.pop_front();
                    ready.push((peer, block));
                    self.take_waiting(turn.now.mono, &mut ready);
                }
                Some(later) => {
                    self.waiting_bytes += block.memory_bytes();
                    self.runs[later].missing.pop_front();
                    self.runs[later].waiting.push((peer, block));
                }
                // Its run was given away and has come from elsewhere, or the goal has changed.
                None => {}
            }
        }
        self.shed();
        self.hand_over(turn, ready)
    }

    /// Blocks came that cannot be taken now.
    pub fn passed_over(&mut self, peer: PeerId, blocks: usize) {
        self.sources.entry(peer).or_default().delivered(blocks);
        self.start_over();
    }

    /// The front run is complete: what waited for it can follow.
    fn take_waiting(&mut self, now: Mono, ready: &mut Vec<(PeerId, CheckedBlock)>) {
        while let Some(front) = self.runs.front_mut() {
            for (peer, block) in front.waiting.drain(..) {
                self.waiting_bytes -= block.memory_bytes();
                ready.push((peer, block));
            }
            if !front.missing.is_empty() {
                return;
            }
            self.runs.pop_front();
            if let Some(next) = self.runs.front_mut() {
                // It is the front run from now on, however long ago it was asked for.
                next.asked_at = now;
            }
        }
    }

    /// Blocks weighed more than they were expected to: the latest runs are asked for again later.
    fn shed(&mut self) {
        while self.waiting_bytes > OUTSTANDING_BYTES_MAX {
            let Some(run) = self.runs.iter_mut().rev().find(|run| !run.waiting.is_empty()) else { return };
            let waiting = std::mem::take(&mut run.waiting);
            self.waiting_bytes -= waiting.iter().map(|(_, block)| block.memory_bytes()).sum::<usize>();
            waiting.iter().rev().for_each(|(_, block)| run.missing.push_front(block.id()));
            run.peer = None;
        }
    }

    /// Blocks in the order of the branch go to the chain, and it is remembered who brought them.
    fn hand_over(&mut self, turn: &mut Turn, ready: Vec<(PeerId, CheckedBlock)>) -> Result<Option<Early>, StoreError> {
        let mut ready = ready.into_iter().peekable();
        while let Some((peer, block)) = ready.next() {
            self.progressed_at = turn.now.mono;
            let mut blocks = vec![block];
            while let Some((_, block)) = ready.next_if(|(other, _)| *other == peer) {
                blocks.push(block);
            }
            let first = turn.chain.store().records();
            let acceptance = turn.chain.accept(turn.now.wall, blocks, true)?;
            self.brought(turn, peer, first);
            let refusal = acceptance.refused.into_iter().find(|(_, refusal)| *refusal != Refusal::Known);
            let Some((id, refusal)) = refusal else { continue };
            // Their headers were checked before they were asked for, so this is rare: our clock was set
            // back, or the branch was condemned while its bodies were on their way. It is not asked for
            // again until something tells of it anew.
            turn.note(Level::Debug, format!("block {id:.12} was asked for but not taken: {refusal:?}"));
            let position = turn.chain.headers().position(&id);
            turn.chain.forget_headers(&id);
            self.start_over();
            let is_early = matches!(refusal, Refusal::Rule(Reject::TooEarly { .. }));
            return Ok(position.filter(|_| is_early).map(|position| Early { peer, id, time: position.time }));
        }
        Ok(None)
    }

    /// Remembers that this peer brought what was appended since the file had `first` records.
    pub fn brought(&mut self, turn: &Turn, peer: PeerId, first: u32) {
        let end = turn.chain.store().records();
        if first == end {
            return;
        }
        self.deliveries.push_back(Delivery { first, end, peer });
        if self.deliveries.len() > DELIVERIES_MAX {
            self.deliveries.pop_front();
        }
    }

    /// Who brought the block of this record, if it was brought not long ago.
    pub fn deliverer(&self, record: RecordNo) -> Option<PeerId> {
        let place = self.deliveries.partition_point(|delivery| delivery.end <= record.0);
        let delivery = self.deliveries.get(place)?;
        (delivery.first <= record.0).then_some(delivery.peer)
    }

    /// A large frame is on its way.
    pub fn on_progress(&mut self, now: Mono, peer: PeerId) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.moved_at = now;
        }
    }

    /// A peer does not have a run: if it is of the branch that is being fetched, it does not have that
    /// branch, and somebody else may.
    pub fn on_missing(&mut self, turn: &mut Turn, peer: PeerId, last: Hash) {
        let source = self.sources.entry(peer).or_default();
        source.unanswered.pop_front();
        source.moved_at = turn.now.mono;
        let is_current = |run: &Run| run.peer == Some(peer) && run.missing.back() == Some(&last);
        let Some(goal) = self.goal.filter(|_| self.runs.iter().any(is_current)) else { return };
        source.lacks = Some(goal.id);
        self.release(peer);
        // Who has shown a branch and does not have it is not believed so soon again.
        let Some(known) = turn.peers.get_mut(peer) else { return };
        if known.leaves().any(|leaf| leaf == goal.id) {
            known.disown_all();
            self.slow_down(turn.now.mono, peer);
        }
    }

    /// Forgets the plan; the next [`pump`](Self::pump) makes another. What was asked stays asked.
    pub fn start_over(&mut self) {
        (self.goal, self.waiting_bytes) = (None, 0);
        self.queue.clear();
        self.runs.clear();
    }

    /// Takes runs away from peers that are silent, and cuts those that stay so.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        let owing: BTreeSet<PeerId> = self.runs.iter().filter_map(Run::owed_by).collect();
        let (mut slow, mut mute) = (Vec::new(), Vec::new());
        for (&peer, source) in &self.sources {
            let silence_ms = now.since(source.moved_at);
            if !source.unanswered.is_empty() && silence_ms >= SILENCE_MS_MAX {
                mute.push(peer);
            } else if owing.contains(&peer) && silence_ms >= self.stall_ms {
                slow.push(peer);
            }
        }
        for peer in slow {
            let limit_ms = self.stall_ms;
            turn.note(Level::Info, format!("{peer} sent no block for {limit_ms} ms: asking somebody else"));
            self.slow_down(now, peer);
            self.stall_ms = (limit_ms * 2).min(STALL_MS_MAX);
        }
        for peer in mute {
            turn.hang_up(peer, Reason::Stalled { limit_ms: SILENCE_MS_MAX });
        }
        self.report(turn);
    }

    /// A peer has let us wait: for a while, longer each time, others come first.
    fn slow_down(&mut self, now: Mono, peer: PeerId) {
        let source = self.sources.entry(peer).or_default();
        source.slow_until = now.after(STALL_MS << source.lates.min(4));
        source.lates += 1;
        self.release(peer);
    }

    fn release(&mut self, peer: PeerId) {
        self.runs.iter_mut().filter(|run| run.peer == Some(peer)).for_each(|run| run.peer = None);
    }

    /// Forgets peers that are gone.
    pub fn forget_gone(&mut self, turn: &Turn) {
        let gone: Vec<PeerId> = self.sources.keys().filter(|peer| turn.peers.get(**peer).is_none()).copied().collect();
        for peer in gone {
            self.release(peer);
            self.sources.remove(&peer);
        }
    }

    /// Says how far a long sync is.
    fn report(&mut self, turn: &mut Turn) {
        let (since, from) = self.reported;
        let elapsed_ms = turn.now.mono.since(since);
        if elapsed_ms < REPORT_MS {
            return;
        }
        let height = turn.chain.tip().header.height;
        self.reported = (turn.now.mono, height);
        let target = self.goal.map_or(0, |goal| goal.height);
        let target = turn.peers.iter().map(|(_, peer)| peer.height).fold(target, u64::max);
        // A sync that stands still has its own lines: who is slow, who is asked instead.
        if self.is_busy() && target > height + REPORT_BLOCKS && height > from && from > 0 {
            let blocks_per_s = (height - from) * 1_000 / elapsed_ms;
            turn.tell(Report::Syncing { height, target, blocks_per_s });
        }
    }

    // --- asking ---

    /// Asks for whatever can be asked for now.
    pub fn pump(&mut self, turn: &mut Turn) {
        self.follow_goal(turn);
        let now = turn.now.mono;
        loop {
            if let Some(peer) = self.next_source(turn, None)
                && let Some(place) = self.next_run()
            {
                self.assign(turn, place, peer);
                continue;
            }
            // Nothing more can be asked for. If everything waits for the front run, who is free gets the rest
            // of it, whoever has taken all places.
            let Some(late) = self.late_front(now) else { return };
            if let Some(other) = self.next_source(turn, Some(late)) {
                self.slow_down(now, late);
                self.assign(turn, 0, other);
                continue;
            }
            // Nobody else has this branch. Others who are ahead of us get a hearing: the only holder of a
            // heavy branch must not set everybody's pace.
            if !self.others_are_ahead(turn, late) {
                return;
            }
            self.slow_down(now, late);
            self.follow_goal(turn);
        }
    }

    /// Whether somebody else, who does not let us wait, claims more than we have.
    fn others_are_ahead(&self, turn: &Turn, than: PeerId) -> bool {
        let tip_work = turn.chain.tip().work;
        turn.peers.iter().any(|(id, peer)| id != than && peer.work > tip_work && !self.is_slow(turn.now.mono, id))
    }

    /// Whether a peer has lately let us wait.
    pub fn is_slow(&self, now: Mono, peer: PeerId) -> bool {
        self.sources.get(&peer).is_some_and(|source| source.slow_until > now)
    }

    /// The heaviest branch that some peer has shown and is likely to deliver; failing that, any that some
    /// peer has shown.
    fn best(&self, turn: &Turn) -> Option<Position> {
        // The usual case, and this is asked after every event: nothing is missing.
        if turn.chain.headers().is_empty() {
            return None;
        }
        let able = |id| !self.is_slow(turn.now.mono, id);
        Self::best_of(turn, able).or_else(|| Self::best_of(turn, |_| true))
    }

    fn best_of(turn: &Turn, may: impl Fn(PeerId) -> bool) -> Option<Position> {
        let tip_work = turn.chain.tip().work;
        let peers = turn.peers.iter().filter(|(id, _)| may(*id));
        let leaves = peers.flat_map(|(_, peer)| peer.leaves());
        let worth = leaves.filter_map(|leaf| turn.chain.headers().is_worth(&leaf, tip_work));
        // The least id among equals: any fixed choice will do, since the bodies decide by who comes first.
        worth.max_by_key(|position| (position.work, std::cmp::Reverse(position.id)))
    }

    /// Keeps the queue on the way to the best branch.
    fn follow_goal(&mut self, turn: &Turn) {
        let best = self.best(turn);
        if best == self.goal && (best.is_none() || self.is_busy()) {
            return;
        }
        let Some(best) = best else { return self.start_over() };
        let known = self.queue.back().or_else(|| self.runs.back().and_then(|run| run.missing.back())).copied();
        let (branch, follows) = turn.chain.headers().branch(&best.id, known.as_ref());
        if known == Some(follows) {
            // The usual case: more headers of the branch that is being fetched.
            self.queue.extend(branch);
        } else {
            self.start_over();
            self.queue.extend(branch);
            // Once for each tip: plans that change and bring no bodies must not keep us from mining.
            let tip = turn.chain.tip().id;
            if self.planned_on != tip {
                (self.planned_on, self.progressed_at) = (tip, turn.now.mono);
            }
        }
        self.goal = Some(best);
    }

    /// Somebody who may be asked for one more run: who has shown the branch first, the least busy first.
    fn next_source(&self, turn: &Turn, except: Option<PeerId>) -> Option<PeerId> {
        let goal = self.goal.filter(|_| self.is_busy())?;
        let tip_work = turn.chain.tip().work;
        let owing = self.runs.iter().filter_map(Run::owed_by).filter(|owing| Some(*owing) != except);
        let owing: BTreeSet<PeerId> = owing.collect();
        let unanswered = |id: &PeerId| self.sources.get(id).map_or(0, |source| source.unanswered.len());
        let has_room = self.sources.values().filter(|source| !source.unanswered.is_empty()).count() < OWING_PEERS_MAX;
        let candidates = turn.peers.iter().filter(|(id, _)| {
            let has_place = owing.contains(id) || owing.len() < BODY_PEERS_MAX;
            // Whoever owes us something has its place already.
            let has_place = has_place && (has_room || unanswered(id) > 0);
            let lacks = self.sources.get(id).is_some_and(|source| source.lacks == Some(goal.id));
            let is_free = unanswered(id) < UNANSWERED_MAX && !lacks && !self.is_slow(turn.now.mono, *id);
            has_place && is_free && Some(*id) != except
        });
        // Who has only claimed to have it is asked as long as it has not let us wait.
        let trust = |id: PeerId, peer: &Peer| {
            let is_prompt = self.sources.get(&id).is_none_or(|source| source.lates == 0);
            if peer.leaves().any(|leaf| leaf == goal.id) {
                3
            } else if !is_prompt {
                0
            } else if peer.work >= goal.work {
                2
            } else {
                u8::from(peer.work > tip_work)
            }
        };
        // Whom we dialled, and who has delivered before, come before newcomers: those cost nothing to make.
        let is_proven = |id: PeerId, peer: &Peer| {
            peer.direction == Direction::Outbound || self.sources.get(&id).is_some_and(|source| source.has_delivered)
        };
        let best = candidates.filter(|(id, peer)| trust(*id, peer) > 0).max_by_key(|(id, peer)| {
            let rest = std::cmp::Reverse((unanswered(id), peer.distance_ms(), *id));
            (trust(*id, peer), is_proven(*id, peer), rest)
        });
        best.map(|(id, _)| id)
    }

    /// The place of a run that nobody is asked for: an orphaned one, or one cut from the queue if the
    /// bytes on their way allow.
    fn next_run(&mut self) -> Option<usize> {
        if let Some(orphaned) = self.runs.iter().position(Run::is_orphaned) {
            return Some(orphaned);
        }
        let on_their_way: usize = self.runs.iter().map(|run| run.missing.len()).sum();
        let length = (RUN_BYTES / self.body_bytes.max(1)).clamp(1, usize::from(BLOCKS_MAX));
        let count = length.min(self.queue.len());
        let expected = (on_their_way + count).saturating_mul(self.body_bytes) + self.waiting_bytes;
        if count == 0 || (expected > OUTSTANDING_BYTES_MAX && !self.runs.is_empty()) {
            return None;
        }
        let missing = self.queue.drain(..count).collect();
        self.runs.push_back(Run { missing, waiting: Vec::new(), peer: None, asked_at: Mono(0) });
        Some(self.runs.len() - 1)
    }

    /// Whose front run has taken long.
    fn late_front(&self, now: Mono) -> Option<PeerId> {
        let front = self.runs.front()?;
        front.owed_by().filter(|_| now.since(front.asked_at) >= FRONT_MS)
    }

    fn assign(&mut self, turn: &mut Turn, place: usize, peer: PeerId) {
        let run = &mut self.runs[place];
        (run.peer, run.asked_at) = (Some(peer), turn.now.mono);
        let ids: Vec<Hash> = run.missing.iter().copied().collect();
        let source = self.sources.entry(peer).or_default();
        if source.unanswered.is_empty() {
            // It begins to owe us something now.
            source.moved_at = turn.now.mono;
        }
        source.unanswered.push_back(ids.len());
        let last = *ids.last().expect("a run that misses nothing is complete and gone");
        let count = u16::try_from(ids.len()).expect("a run has at most 2,000 blocks");
        turn.ask(peer, Asked::Blocks(ids), Message::GetBlocks { last, count });
    }
}
