//! Following peers' headers, and deciding which are worth keeping, in almost no memory.
//!
//! A stream starts at a block X that we know. While its branch is at least as heavy as our tip, its
//! headers go into the header tree. If a full message ends below the tip's work, the branch is only
//! *weighed*: headers are checked and thrown away, and of each message nothing is kept but its last
//! header's height and hash. Once more work than the tip's is shown, the branch is *proven*: the same
//! headers are asked for again from X, must pass the same marks, and are kept this time. So a branch of
//! any depth can win, and a cheap one costs us nothing but the reading of it (after Bitcoin Core's
//! headers presync, without a built-in minimum work).

use std::collections::{BTreeMap, VecDeque};

use crate::blockchain::block::CheckedHeader;
use crate::blockchain::position::Position;
use crate::blockchain::reject::{Blame, Reject};
use crate::blockchain::storage::StoreError;
use crate::node::event::{Asked, PeerId};
use crate::node::message::{HEADERS_MAX, Message};
use crate::node::peers::Peer;
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::sync;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::time::{Mono, Wall};

/// For an answer to `GetHeaders`; doubles for each peer that fails in a row.
const ANSWER_MS: u64 = 5_000;
const ANSWER_MS_MAX: u64 = 64_000;
/// A peer that did not answer is not asked before then.
const PAUSE_MS: u64 = 30_000;
/// Marks of one weighed branch: when they are full, every other one is dropped, so any depth fits.
const MARKS_MAX: usize = 1_024;
/// A leader that has not answered by then gets another beside it.
const LEAD_MS: u64 = 1_000;
/// Between two questions for the same headers.
const AGAIN_MS: u64 = 1_000;
/// Headers that are weighed in a second, over all peers.
const WEIGHED_PER_S: u64 = 100_000;
/// Headers that are ahead of our clock and remembered, in all and for each peer.
const EARLY_MAX: usize = 64;
const EARLY_PER_PEER: usize = 4;

/// What a stream's headers are.
#[derive(Debug)]
enum Stage {
    /// On a branch at least as heavy as our tip: kept.
    Heavy,
    /// On a weaker branch: counted.
    Weighed { start: Hash, at: Position, marks: Marks },
    /// On a branch that was weighed and found heavier: kept.
    Proven { marks: VecDeque<(u64, Hash)> },
}

/// Height and id at the ends of messages.
#[derive(Debug, Default)]
struct Marks(VecDeque<(u64, Hash)>);

impl Marks {
    fn add(&mut self, position: &Position) {
        self.0.push_back((position.height, position.id));
        if self.0.len() > MARKS_MAX {
            // The last one always stays: it is where the proof is complete.
            let (mut place, last) = (0, self.0.len() - 1);
            self.0.retain(|_| {
                place += 1;
                place % 2 == 0 || place > last
            });
        }
    }
}

/// One peer's headers.
#[derive(Debug)]
struct Stream {
    stage: Stage,
    /// When the question went out that is not answered yet.
    asked_at: Option<Mono>,
    /// When some of a large frame came last: slow, not silent.
    moved_at: Mono,
    /// Where to ask from next; `None` for our own locator.
    from: Option<Hash>,
    /// The best that we could say we have when the question went out; nothing after it in the answer
    /// means that the peer has just that, or less.
    end: Option<Position>,
    /// Not asked on before then.
    not_before: Mono,
}

impl Stream {
    /// One that goes on from here.
    fn on(stage: Stage, from: Hash, end: Position) -> Self {
        Self { stage, asked_at: None, moved_at: Mono(0), from: Some(from), end: Some(end), not_before: Mono(0) }
    }
}

/// What a peer was asked: see the same of its [`Stream`].
#[derive(Clone, Copy, Debug)]
struct Question {
    from: Option<Hash>,
    end: Option<Position>,
}

/// A header that is ahead of our clock.
#[derive(Debug)]
struct Early {
    due: Wall,
    id: Hash,
    peer: PeerId,
}

/// All streams.
#[derive(Debug)]
pub struct Streams {
    of_peers: BTreeMap<PeerId, Stream>,
    /// Questions that are not answered yet, also those whose stream was given up: no second one goes out beside them,
    /// since a peer may hang up over too many.
    owing: BTreeMap<PeerId, Question>,
    /// Peers that did not answer, and until when they are not asked.
    paused: BTreeMap<PeerId, Mono>,
    early: Vec<Early>,
    answer_ms: u64,
    weighed: (Mono, u64),
    told_new_rules: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            of_peers: BTreeMap::new(),
            owing: BTreeMap::new(),
            paused: BTreeMap::new(),
            early: Vec::new(),
            answer_ms: ANSWER_MS,
            weighed: (Mono(0), 0),
            told_new_rules: false,
        }
    }
}

/// Headers of one message, as far as they are right.
struct Judged {
    /// The block that they follow.
    start: Hash,
    /// The new ones, with their positions.
    headers: Vec<(CheckedHeader, Position)>,
    /// Where the last right one stands.
    end: Position,
    /// Whether more may follow.
    full: bool,
    /// Whether our clock or our rules stopped us, which is no fault of the peer's.
    cut_short: bool,
}

impl Streams {
    /// A peer has something whose parent we do not know: follow it.
    pub fn follow(&mut self, peer: PeerId) {
        self.of_peers.entry(peer).or_insert(Stream {
            stage: Stage::Heavy,
            asked_at: None,
            moved_at: Mono(0),
            from: None,
            end: None,
            not_before: Mono(0),
        });
    }

    /// A peer has told of a block whose parent we do not know. If it has claimed more work than we have, its turn
    /// comes by itself ([`Self::lead`]): while somebody leads it need not tell the same, or a newcomer would read
    /// every header from each of its peers.
    pub fn hear_of(&mut self, turn: &Turn, peer: PeerId) {
        let is_in_line = turn.peers.get(peer).is_some_and(|known| known.work > turn.chain.known_work());
        if !(is_in_line && self.has_leader(turn.now.mono)) {
            self.follow(peer);
        }
    }

    /// A header is ahead of our clock: remembered if it is not far, and asked for again in time.
    pub fn remember_early(&mut self, turn: &Turn, early: sync::Early) {
        let sync::Early { peer, id, time } = early;
        let limit_ms = turn.chain.params().spec().future_limit_ms;
        let due = Wall(time.saturating_sub(limit_ms));
        let near = due.0.saturating_sub(turn.now.wall.0) <= limit_ms;
        let of_peer = self.early.iter().filter(|early| early.peer == peer).count();
        let known = self.early.iter().any(|early| early.id == id);
        if near && !known && of_peer < EARLY_PER_PEER && self.early.len() < EARLY_MAX {
            self.early.push(Early { due, id, peer });
        }
    }

    /// Gives up the streams of these peers; they begin anew some other time.
    pub fn give_up(&mut self, of: impl Fn(PeerId) -> bool) {
        self.of_peers.retain(|peer, _| !of(*peer));
    }

    /// Headers from which streams go on: not to be forgotten.
    pub fn ends(&self) -> impl Iterator<Item = Hash> {
        self.of_peers.values().filter_map(|stream| stream.from)
    }

    /// The answer to our question: decides what the stream is from now on.
    pub fn on_headers(&mut self, turn: &mut Turn, peer: PeerId, headers: &[CheckedHeader]) -> Result<(), StoreError> {
        self.owing.remove(&peer);
        // Asked for, but the stream was given up meanwhile: too late to be a reason for asking again at once.
        let Some(stream) = self.of_peers.remove(&peer) else { return Ok(()) };
        self.answer_ms = ANSWER_MS;
        self.paused.remove(&peer);
        let Some(first) = headers.first() else {
            if let (Some(end), Some(known)) = (stream.end, turn.peers.get_mut(peer))
                && known.work == end.work
            {
                known.vouch(end.id);
            }
            Self::ended(turn, peer, stream.end, false);
            return Ok(());
        };
        let prev = first.header().prev;
        // Headers that go on where the stream was, or else from a block that we know: then the peer has
        // moved to another branch since, which is nobody's fault, and the stream begins anew.
        let (stage, start) = match stream.stage {
            Stage::Weighed { at, start, marks } if at.id == prev => (Stage::Weighed { start, at, marks }, Some(at)),
            stage => match turn.chain.position(&prev)? {
                Some(position) if stream.from.is_none_or(|from| from == prev) => (stage, Some(position)),
                position => (Stage::Heavy, position),
            },
        };
        let Some(start) = start else {
            turn.hang_up(peer, Reason::UnknownStart { prev });
            return Ok(());
        };
        let Some(judged) = self.judge(turn, peer, start, headers) else { return Ok(()) };
        if let Some(known) = turn.peers.get_mut(peer) {
            known.height = known.height.max(judged.end.height);
        }
        match stage {
            Stage::Heavy => self.heavy(turn, peer, judged)?,
            Stage::Weighed { start, marks, .. } => self.weighed(turn, peer, start, marks, &judged),
            Stage::Proven { marks } => self.proven(turn, peer, marks, judged)?,
        }
        Ok(())
    }

    /// Checks headers against their positions; `None` if that was the end of the peer.
    fn judge(&mut self, turn: &mut Turn, peer: PeerId, start: Position, headers: &[CheckedHeader]) -> Option<Judged> {
        let mut judged = Judged {
            start: start.id,
            headers: Vec::new(),
            end: start,
            full: headers.len() == HEADERS_MAX,
            cut_short: false,
        };
        for header in headers {
            let verdict = if turn.chain.is_condemned(&header.id()) {
                Err(Reject::Condemned { id: header.id() })
            } else {
                judged.end.child(turn.chain.params(), header, turn.now.wall)
            };
            match verdict {
                Ok(position) => {
                    judged.end = position;
                    judged.headers.push((*header, position));
                }
                Err(reject) if reject.blame() == Blame::Nobody => {
                    self.stopped(turn, peer, header, &reject);
                    (judged.full, judged.cut_short) = (false, true);
                    break;
                }
                Err(reject) => {
                    let id = header.id();
                    // Only what cost its maker work may take a place among the condemned.
                    if header.header().difficulty == judged.end.difficulty_due(turn.chain.params()) {
                        turn.chain.condemn(id);
                    }
                    turn.tell(Report::Refused { id, why: reject.to_string() });
                    turn.hang_up(peer, Reason::Rejected { id, reject });
                    return None;
                }
            }
        }
        Some(judged)
    }

    /// Our clock or our rules say stop; nobody is to blame.
    pub fn stopped(&mut self, turn: &mut Turn, peer: PeerId, header: &CheckedHeader, reject: &Reject) {
        match reject {
            Reject::NeedsRules { .. } if !self.told_new_rules => {
                self.told_new_rules = true;
                turn.note(Level::Warn, format!("block {:.12} of {peer}: {reject}", header.id()));
            }
            Reject::NeedsRules { .. } => {}
            _ => {
                turn.note(Level::Info, format!("block {:.12} of {peer} is early: {reject}", header.id()));
                let early = sync::Early { peer, id: header.id(), time: header.header().time };
                self.remember_early(turn, early);
            }
        }
    }

    fn heavy(&mut self, turn: &mut Turn, peer: PeerId, judged: Judged) -> Result<(), StoreError> {
        let end = judged.end;
        if end.work >= turn.chain.tip().work {
            return self.keep(turn, peer, judged, Stage::Heavy, false);
        }
        if judged.full {
            let mut marks = Marks::default();
            marks.add(&end);
            self.weigh_on(turn.now.mono, peer, Stage::Weighed { start: judged.start, at: end, marks }, end.id);
        } else {
            Self::ended(turn, peer, Some(end), judged.cut_short);
        }
        Ok(())
    }

    fn weighed(&mut self, turn: &mut Turn, peer: PeerId, start: Hash, mut marks: Marks, judged: &Judged) {
        let end = judged.end;
        marks.add(&end);
        if end.work > turn.chain.tip().work {
            turn.tell(Report::Heavier { peer, from: start });
            self.of_peers.insert(peer, Stream::on(Stage::Proven { marks: marks.0 }, start, end));
        } else if judged.full {
            self.weigh_on(turn.now.mono, peer, Stage::Weighed { start, at: end, marks }, end.id);
        } else {
            Self::ended(turn, peer, Some(end), judged.cut_short);
        }
    }

    fn proven(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        mut marks: VecDeque<(u64, Hash)>,
        judged: Judged,
    ) -> Result<(), StoreError> {
        let first = judged.headers.first().map_or(0, |(_, position)| position.height);
        while let Some(&(height, id)) = marks.front()
            && height <= judged.end.height
        {
            let place = height.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            let there = place.and_then(|place| judged.headers.get(place)).is_some_and(|(header, _)| header.id() == id);
            if !there {
                turn.hang_up(peer, Reason::OtherHeaders);
                return Ok(());
            }
            marks.pop_front();
        }
        let stage = if marks.is_empty() { Stage::Heavy } else { Stage::Proven { marks } };
        if !judged.full && !judged.cut_short && matches!(stage, Stage::Proven { .. }) {
            turn.hang_up(peer, Reason::OtherHeaders);
            return Ok(());
        }
        self.keep(turn, peer, judged, stage, true)
    }

    /// Puts headers into the tree, and asks on if there may be more.
    fn keep(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        judged: Judged,
        stage: Stage,
        proven: bool,
    ) -> Result<(), StoreError> {
        let tip_work = turn.chain.tip().work;
        let is_new = !judged.headers.iter().any(|(header, _)| turn.chain.headers().position(&header.id()).is_some());
        if !proven && is_new && judged.end.work <= tip_work && !turn.chain.headers().takes_equal(judged.end.work) {
            // Enough branches as heavy as the tip; a heavier one will be told of again.
            Self::ended(turn, peer, Some(judged.end), judged.cut_short);
            return Ok(());
        }
        let end_id = judged.end.id;
        if let Some(known) = turn.peers.get_mut(peer) {
            known.work = known.work.max(judged.end.work);
            known.has(end_id);
        }
        let (mut last, mut has_room) = (judged.start, true);
        for (header, position) in judged.headers {
            // A body that is in the file needs no header in the tree.
            has_room = turn.chain.has_body(&header.id())? || turn.chain.insert_header(header, position, proven);
            if !has_room {
                break;
            }
            last = header.id();
        }
        if let Some(known) = turn.peers.get_mut(peer) {
            known.vouch(last);
        }
        let mut stream = Stream::on(stage, last, judged.end);
        if !has_room {
            // From here again when bodies have come.
            stream.not_before = turn.now.mono.after(AGAIN_MS);
            self.of_peers.insert(peer, stream);
        } else if judged.full {
            self.of_peers.insert(peer, stream);
        } else {
            Self::ended(turn, peer, Some(judged.end), judged.cut_short);
        }
        Ok(())
    }

    /// Goes on weighing, no faster than all peers together may.
    fn weigh_on(&mut self, now: Mono, peer: PeerId, stage: Stage, from: Hash) {
        if now.since(self.weighed.0) >= 1_000 {
            self.weighed = (now, 0);
        }
        self.weighed.1 += HEADERS_MAX as u64;
        let Stage::Weighed { at, .. } = stage else { return };
        self.of_peers.insert(peer, Stream::on(stage, from, at));
    }

    /// A stream has come to its end: did the peer show what it claimed?
    fn ended(turn: &mut Turn, peer: PeerId, end: Option<Position>, cut_short: bool) {
        let best = turn.chain.known_work();
        let Some(known) = turn.peers.get_mut(peer) else { return };
        let (claimed, shown) = (known.work, end.map_or(0, |end| end.work));
        if claimed <= best.max(shown) {
            return;
        }
        if cut_short {
            // We cannot take more of it now; its next announcement, or our clock, says when.
            known.work = best;
        } else {
            turn.hang_up(peer, Reason::WorkNotShown { claimed, shown });
        }
    }

    /// A large frame is on its way: a message of headers takes a slow connection longer than a silent peer is given.
    pub fn on_progress(&mut self, now: Mono, peer: PeerId) {
        if let Some(stream) = self.of_peers.get_mut(&peer) {
            stream.moved_at = now;
        }
    }

    /// Gives up on silent peers, and asks again for what was early.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now;
        let silent_ms = |stream: &Stream| stream.asked_at.map(|at| now.mono.since(at.max(stream.moved_at)));
        let late = |stream: &Stream| silent_ms(stream).is_some_and(|silent_ms| silent_ms >= self.answer_ms);
        let silent: Vec<PeerId> = self.of_peers.iter().filter(|(_, stream)| late(stream)).map(|(id, _)| *id).collect();
        for peer in silent {
            self.of_peers.remove(&peer);
            let again = self.paused.insert(peer, now.mono.after(PAUSE_MS)).is_some();
            let limit_ms = self.answer_ms;
            self.answer_ms = (self.answer_ms * 2).min(ANSWER_MS_MAX);
            turn.note(Level::Info, format!("{peer} sent no headers for {limit_ms} ms: asking somebody else"));
            if again {
                turn.hang_up(peer, Reason::Stalled { limit_ms });
            }
        }
        let (due, early): (Vec<Early>, _) =
            std::mem::take(&mut self.early).into_iter().partition(|early| early.due <= now.wall);
        self.early = early;
        for early in due {
            // Whoever is still here that has it.
            let first = turn.peers.iter().map(|(id, _)| id).next();
            if let Some(peer) = turn.peers.get(early.peer).map(|_| early.peer).or(first) {
                self.follow(peer);
            }
        }
    }

    /// Asks for whatever can be asked for now. Not followed are for now those who let us wait with bodies, and those
    /// whose new block is being put together from its sketch (`is_put_off`).
    pub fn pump(&mut self, turn: &mut Turn, is_put_off: impl Fn(PeerId) -> bool) -> Result<(), StoreError> {
        self.lead(turn, is_put_off);
        let weighing_allowed = turn.now.mono.since(self.weighed.0) >= 1_000 || self.weighed.1 < WEIGHED_PER_S;
        for (&peer, stream) in &mut self.of_peers {
            let ready = match stream.stage {
                Stage::Weighed { .. } => weighing_allowed,
                // Room for a whole message, or it would have to be asked for twice.
                Stage::Heavy | Stage::Proven { .. } => turn.chain.headers().room() >= HEADERS_MAX,
            };
            if stream.asked_at.is_some() || !ready || turn.now.mono < stream.not_before {
                continue;
            }
            if let Some(question) = self.owing.get(&peer) {
                // It began anew after it was given up: what it was asked before may still be answered.
                (stream.from, stream.end, stream.asked_at) = (question.from, question.end, Some(turn.now.mono));
                continue;
            }
            // Behind the place to go on from, our own: a peer that has left that branch answers from where
            // it and we part, and not from genesis.
            let locator = stream.from.into_iter().chain(turn.chain.locator()?).collect();
            if stream.from.is_none() {
                let tip = *turn.chain.tip_position();
                stream.end = turn.chain.headers().heaviest().filter(|heaviest| heaviest.work > tip.work).or(Some(tip));
            }
            stream.asked_at = Some(turn.now.mono);
            self.owing.insert(peer, Question { from: stream.from, end: stream.end });
            turn.ask(peer, Asked::Headers, Message::GetHeaders(List::first_of(locator)));
        }
        Ok(())
    }

    /// Whether some peer tells us of more: not one that lets us wait, and not one whose branch is only being
    /// weighed, for that keeps nobody else from being heard.
    fn has_leader(&self, now: Mono) -> bool {
        self.of_peers.values().any(|stream| {
            let waits = stream.asked_at.is_some_and(|at| now.since(at) >= LEAD_MS);
            !waits && !matches!(stream.stage, Stage::Weighed { .. })
        })
    }

    /// Starts to follow one more peer that claims more work than we know of: one at a time, since most would
    /// tell the same.
    fn lead(&mut self, turn: &Turn, is_put_off: impl Fn(PeerId) -> bool) {
        let now = turn.now.mono;
        if self.has_leader(now) {
            return;
        }
        let known = turn.chain.known_work();
        let free = |id: &PeerId| {
            let is_paused = self.paused.get(id).is_some_and(|until| *until > now);
            !self.of_peers.contains_key(id) && !is_paused && !is_put_off(*id)
        };
        // Who has shown a branch that is being fetched need not show it again.
        let shown = |peer: &Peer| peer.leaves().any(|leaf| turn.chain.headers().is_worth(&leaf, known).is_some());
        let ahead = turn.peers.iter().filter(|(id, peer)| peer.work > known && free(id) && !shown(peer));
        if let Some((peer, _)) = ahead.max_by_key(|(id, peer)| (std::cmp::Reverse(peer.distance_ms()), *id)) {
            self.follow(peer);
        }
    }

    /// Forgets peers that are gone.
    pub fn forget_gone(&mut self, turn: &Turn) {
        self.of_peers.retain(|peer, _| turn.peers.get(*peer).is_some());
        self.owing.retain(|peer, _| turn.peers.get(*peer).is_some());
        self.paused.retain(|peer, _| turn.peers.get(*peer).is_some());
    }
}
