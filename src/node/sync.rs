//! Catching up: headers first, then bodies from several peers, and another peer when one stalls.
//!
//! Two machines side by side. [`streams`](super::streams) follows peers' headers and decides whether
//! they are worth having. This file fetches the bodies of the heaviest branch of
//! the header tree: it cuts the branch into runs, asks several peers for one or two runs each, hands
//! them to the chain in order, and gives a run to somebody else when its peer is silent.
//!
//! What may be on its way or waiting for an earlier run is bounded in bytes for the whole node. Blocks
//! that arrive after their run was given away are taken if they still fit, else passed over: they were
//! asked for, so nobody is to blame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::blockchain::block::CheckedBlock;
use crate::blockchain::position::Position;
use crate::blockchain::storage::{RecordNo, StoreError};
use crate::node::event::{Asked, PeerId};
use crate::node::message::{BLOCKS_MAX, Message};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::turn::Turn;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Requested bodies on their way or waiting for an earlier one, in the whole node.
pub const OUTSTANDING_BYTES_MAX: usize = 16 << 20;
/// Peers that are asked for bodies at a time: each may have a large frame half received.
pub const BODY_PEERS_MAX: usize = 4;
/// Runs that one peer is asked for at a time: while it sends one, the next is already on its way.
const RUNS_PER_PEER: usize = 2;
/// What a run aims at.
const RUN_BYTES: usize = 512 << 10;
/// Silence that costs a peer its runs; doubles up to the longest while nobody is faster.
pub const STALL_MS: u64 = 5_000;
const STALL_MS_MAX: u64 = 64_000;
/// So many stalls without a block in between end the connection.
const STALLS_MAX: u32 = 4;
/// Deliveries that are remembered, for blame.
const DELIVERIES_MAX: usize = 1_024;
/// Between two lines about a long sync.
const REPORT_MS: u64 = 1_000;
/// A sync shorter than this many blocks is not worth a line of its own.
const REPORT_BLOCKS: u64 = 200;

/// Consecutive blocks that one peer is asked for.
#[derive(Debug)]
struct Run {
    /// Those that have not come yet, oldest first.
    missing: VecDeque<Hash>,
    /// Those that have come before their predecessors' run was complete, and from whom.
    waiting: Vec<(PeerId, CheckedBlock)>,
    /// Who is asked; nobody yet, or nobody any more.
    peer: Option<PeerId>,
}

impl Run {
    /// Who owes us blocks of it.
    fn owed_by(&self) -> Option<PeerId> {
        self.peer.filter(|_| !self.missing.is_empty())
    }

    /// Whether somebody has to be asked for it.
    fn is_orphaned(&self) -> bool {
        self.peer.is_none() && !self.missing.is_empty()
    }
}

/// What we know of a peer as a source of bodies.
#[derive(Debug, Default)]
struct Source {
    /// When it last sent a body, or began to owe one.
    moved_at: Mono,
    /// Not asked before then.
    slow_until: Mono,
    /// In a row.
    stalls: u32,
    /// It said that it does not have the run that ends here.
    lacks: Option<Hash>,
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
    /// How many records the file had after a delivery, and whose it was.
    deliveries: VecDeque<(u32, PeerId)>,
    stall_ms: u64,
    /// Bytes of all `waiting`.
    waiting_bytes: usize,
    /// A running mean of what bodies weigh.
    body_bytes: usize,
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
            reported: (Mono(0), 0),
        }
    }
}

impl Sync {
    /// Whether bodies are being fetched.
    pub fn is_busy(&self) -> bool {
        !self.runs.is_empty() || !self.queue.is_empty()
    }

    /// The header that the fetching leads to.
    pub fn goal(&self) -> Option<Hash> {
        self.goal.map(|goal| goal.id)
    }

    /// Blocks came that were asked for.
    pub fn on_blocks(&mut self, turn: &mut Turn, peer: PeerId, blocks: Vec<CheckedBlock>) -> Result<(), StoreError> {
        self.moved(turn.now.mono, peer);
        let mut ready = Vec::with_capacity(blocks.len());
        for block in blocks {
            self.body_bytes = (self.body_bytes * 63 + block.bytes().len()) / 64;
            match self.runs.iter().position(|run| run.missing.front() == Some(&block.id())) {
                Some(0) => {
                    self.runs[0].missing.pop_front();
                    ready.push((peer, block));
                    self.take_waiting(&mut ready);
                }
                Some(later) => {
                    self.waiting_bytes += block.bytes().len();
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

    /// The front run is complete: what waited for it can follow.
    fn take_waiting(&mut self, ready: &mut Vec<(PeerId, CheckedBlock)>) {
        while let Some(front) = self.runs.front_mut() {
            for (peer, block) in front.waiting.drain(..) {
                self.waiting_bytes -= block.bytes().len();
                ready.push((peer, block));
            }
            if !front.missing.is_empty() {
                return;
            }
            self.runs.pop_front();
        }
    }

    /// Blocks weighed more than they were expected to: the latest runs are asked for again later.
    fn shed(&mut self) {
        while self.waiting_bytes > OUTSTANDING_BYTES_MAX {
            let Some(run) = self.runs.iter_mut().rev().find(|run| !run.waiting.is_empty()) else { return };
            let waiting = std::mem::take(&mut run.waiting);
            self.waiting_bytes -= waiting.iter().map(|(_, block)| block.bytes().len()).sum::<usize>();
            waiting.iter().rev().for_each(|(_, block)| run.missing.push_front(block.id()));
            run.peer = None;
        }
    }

    /// Blocks in the order of the branch go to the chain, and it is remembered who brought them.
    fn hand_over(&mut self, turn: &mut Turn, ready: Vec<(PeerId, CheckedBlock)>) -> Result<(), StoreError> {
        let mut ready = ready.into_iter().peekable();
        while let Some((peer, block)) = ready.next() {
            let mut blocks = vec![block];
            while let Some((_, block)) = ready.next_if(|(other, _)| *other == peer) {
                blocks.push(block);
            }
            let acceptance = turn.chain.accept(turn.now.wall, blocks, true)?;
            self.brought(turn, peer);
            // Their headers were checked before they were asked for, so this is rare: our clock was set
            // back, or a branch was condemned while its bodies were on their way.
            if let Some((id, refusal)) = acceptance.refused.into_iter().next() {
                turn.note(Level::Debug, format!("block {id:.12} was asked for but not taken: {refusal:?}"));
                self.start_over();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Remembers that this peer brought what was appended last.
    pub fn brought(&mut self, turn: &Turn, peer: PeerId) {
        self.deliveries.push_back((turn.chain.store().records(), peer));
        if self.deliveries.len() > DELIVERIES_MAX {
            self.deliveries.pop_front();
        }
    }

    /// Who brought the block of this record, if it was brought not long ago.
    pub fn deliverer(&self, record: RecordNo) -> Option<PeerId> {
        let place = self.deliveries.partition_point(|(end, _)| *end <= record.0);
        self.deliveries.get(place).map(|(_, peer)| *peer)
    }

    /// A large frame is on its way.
    pub fn on_progress(&mut self, now: Mono, peer: PeerId) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.moved_at = now;
        }
    }

    /// A peer does not have a run: somebody else may.
    pub fn on_missing(&mut self, now: Mono, peer: PeerId, last: Hash) {
        self.moved(now, peer);
        self.sources.entry(peer).or_default().lacks = Some(last);
        for run in &mut self.runs {
            if run.peer == Some(peer) && run.missing.back() == Some(&last) {
                run.peer = None;
            }
        }
    }

    fn moved(&mut self, now: Mono, peer: PeerId) {
        let source = self.sources.entry(peer).or_default();
        (source.moved_at, source.stalls) = (now, 0);
        self.stall_ms = STALL_MS;
    }

    /// Forgets the plan; the next [`pump`](Self::pump) makes another.
    pub fn start_over(&mut self) {
        (self.goal, self.waiting_bytes) = (None, 0);
        self.queue.clear();
        self.runs.clear();
    }

    /// Takes runs away from peers that are gone or silent.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        let owing: BTreeSet<PeerId> = self.runs.iter().filter_map(Run::owed_by).collect();
        for peer in owing {
            let source = self.sources.entry(peer).or_default();
            if now.since(source.moved_at) < self.stall_ms {
                continue;
            }
            source.stalls += 1;
            source.slow_until = now.after(2 * self.stall_ms);
            let (limit_ms, stalls) = (self.stall_ms, source.stalls);
            self.stall_ms = (self.stall_ms * 2).min(STALL_MS_MAX);
            self.release(peer);
            turn.note(Level::Info, format!("{peer} sent no block for {limit_ms} ms: asking somebody else"));
            if stalls >= STALLS_MAX {
                turn.hang_up(peer, Reason::Stalled { limit_ms });
            }
        }
        self.report(turn);
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
        let height = turn.chain.tip().header.height;
        let target = turn.peers.iter().map(|(_, peer)| peer.height).max().unwrap_or(0);
        if elapsed_ms < REPORT_MS {
            return;
        }
        self.reported = (turn.now.mono, height);
        if self.is_busy() && target > height + REPORT_BLOCKS && from > 0 {
            let blocks_per_s = height.saturating_sub(from) * 1_000 / elapsed_ms;
            turn.tell(Report::Syncing { height, target, blocks_per_s });
        }
    }

    // --- asking ---

    /// Asks for whatever can be asked for now.
    pub fn pump(&mut self, turn: &mut Turn) {
        self.follow_goal(turn);
        while let Some(peer) = self.next_source(turn) {
            let Some(place) = self.next_run() else { return };
            self.assign(turn, place, peer);
        }
    }

    /// Keeps the queue on the way to the heaviest branch.
    fn follow_goal(&mut self, turn: &Turn) {
        let best = turn.chain.headers().best(turn.chain.tip().work);
        if best == self.goal && (best.is_none() || self.is_busy()) {
            return;
        }
        let Some(best) = best else { return self.start_over() };
        let branch = turn.chain.headers().branch(&best.id);
        // The usual case: more headers of the branch that is being fetched.
        let known = self.queue.back().or_else(|| self.runs.back().and_then(|run| run.missing.back())).copied();
        let extends = known.and_then(|known| branch.iter().position(|id| *id == known));
        if let Some(end) = extends {
            self.queue.extend(&branch[end + 1..]);
        } else {
            self.start_over();
            self.queue.extend(branch);
        }
        self.goal = Some(best);
    }

    /// Somebody who may be asked for one more run, the least busy first.
    fn next_source(&self, turn: &Turn) -> Option<PeerId> {
        let goal = self.goal?;
        let next = self.upcoming()?;
        let mut owed: BTreeMap<PeerId, usize> = BTreeMap::new();
        for peer in self.runs.iter().filter_map(Run::owed_by) {
            *owed.entry(peer).or_default() += 1;
        }
        let now = turn.now.mono;
        let may = |id: PeerId| {
            let runs = owed.get(&id).copied().unwrap_or(0);
            let source = self.sources.get(&id);
            let ready = source.is_none_or(|source| source.slow_until <= now && source.lacks != Some(next));
            ready && runs < RUNS_PER_PEER && (runs > 0 || owed.len() < BODY_PEERS_MAX)
        };
        let candidates = turn.peers.iter().filter(|(id, _)| may(*id));
        // Whoever has the goal has all that leads there; failing that, whoever is ahead of us may.
        let worth = |work: u128| if work >= goal.work { 2 } else { u8::from(work > turn.chain.tip().work) };
        let best = candidates.filter(|(_, peer)| worth(peer.work) > 0).max_by_key(|(id, peer)| {
            (worth(peer.work), std::cmp::Reverse((owed.get(id).copied().unwrap_or(0), peer.round_trip_ms, *id)))
        });
        best.map(|(id, _)| id)
    }

    /// The last id of the run that would be asked for next.
    fn upcoming(&self) -> Option<Hash> {
        if let Some(run) = self.runs.iter().find(|run| run.is_orphaned()) {
            return run.missing.back().copied();
        }
        let count = self.run_length().min(self.queue.len());
        count.checked_sub(1).map(|last| self.queue[last])
    }

    fn run_length(&self) -> usize {
        (RUN_BYTES / self.body_bytes.max(1)).clamp(1, usize::from(BLOCKS_MAX))
    }

    /// The place of a run that nobody is asked for: an orphaned one, or one cut from the queue if the
    /// bytes on their way allow.
    fn next_run(&mut self) -> Option<usize> {
        if let Some(orphaned) = self.runs.iter().position(Run::is_orphaned) {
            return Some(orphaned);
        }
        let on_their_way: usize = self.runs.iter().map(|run| run.missing.len()).sum();
        let count = self.run_length().min(self.queue.len());
        let expected = (on_their_way + count).saturating_mul(self.body_bytes) + self.waiting_bytes;
        if count == 0 || (expected > OUTSTANDING_BYTES_MAX && !self.runs.is_empty()) {
            return None;
        }
        let missing = self.queue.drain(..count).collect();
        self.runs.push_back(Run { missing, waiting: Vec::new(), peer: None });
        Some(self.runs.len() - 1)
    }

    fn assign(&mut self, turn: &mut Turn, place: usize, peer: PeerId) {
        if !self.runs.iter().any(|run| run.owed_by() == Some(peer)) {
            // It begins to owe us something now.
            self.sources.entry(peer).or_default().moved_at = turn.now.mono;
        }
        let run = &mut self.runs[place];
        run.peer = Some(peer);
        let ids: Vec<Hash> = run.missing.iter().copied().collect();
        let last = *ids.last().expect("a run that misses nothing is complete and gone");
        let count = u16::try_from(ids.len()).expect("a run has at most 2,000 blocks");
        turn.ask(peer, Asked::Blocks(ids), Message::GetBlocks { last, count });
    }
}
