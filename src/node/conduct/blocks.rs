//! What blocks bring about: news of one, bodies that were asked for, a block of our own; then the walk of the
//! ledger, and the pool behind it.

use std::sync::Arc;

use super::Conduct;
use crate::blockchain::block::CheckedBlock;
use crate::blockchain::chain::{Passed, Refusal, Step};
use crate::blockchain::mempool::{Mempool, READMIT_BYTES};
use crate::blockchain::reject::{Blame, Reject};
use crate::blockchain::storage::{Room, StoreError};
use crate::node::event::{Announced, Effect, PeerId};
use crate::node::message::HEADERS_MAX;
use crate::node::orders::{Answer, Ticket};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::turn::Turn;
use crate::primitives::hash::Hash;

/// Between two times that the header tree is pruned.
const PRUNE_MS: u64 = 1_000;
/// What whoever brings or wants a block is told.
pub(super) const TOO_FULL: &str = "the disk is too full to take blocks; free some space";

impl Conduct {
    /// A session has ended its connection over a block: if it was one that we had asked for, so that its
    /// header is right in its place, its body breaks a rule for good (RULES 14).
    pub(super) fn judge_last_words(&mut self, turn: &mut Turn, reason: &Reason) {
        let Reason::Rejected { id, reject } = reason else { return };
        if reject.blame() == Blame::Block && turn.chain.headers().position(id).is_some() {
            turn.chain.condemn(*id);
            turn.tell(Report::Refused { id: *id, why: reject.to_string() });
            self.sync.start_over();
        }
    }

    pub(super) fn on_blocks(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        blocks: Vec<CheckedBlock>,
    ) -> Result<(), StoreError> {
        if self.room != Room::Enough {
            // They are asked for again when there is room on the disk.
            self.sync.passed_over(peer, blocks.len());
            return Ok(());
        }
        if let Some(early) = self.sync.on_blocks(turn, peer, blocks)? {
            self.streams.remember_early(turn, early);
        }
        Ok(())
    }

    pub(super) fn on_new_block(&mut self, turn: &mut Turn, peer: PeerId, block: Announced) -> Result<(), StoreError> {
        let header = block.header();
        let (id, prev) = (header.id(), header.header().prev);
        let is_first = turn.peers.get_mut(peer).is_some_and(|known| known.has(id));
        if turn.chain.has_body(&id)? || self.room != Room::Enough {
            return Ok(());
        }
        if let Some(&bad) = [id, prev].iter().find(|id| turn.chain.is_condemned(id)) {
            turn.hang_up(peer, Reason::Rejected { id, reject: Reject::Condemned { id: bad } });
            return Ok(());
        }
        let Some(parent) = turn.chain.position(&prev)? else {
            // It is ahead of us, or on another branch: its headers will tell.
            self.streams.hear_of(turn, peer);
            return Ok(());
        };
        let position = match parent.child(turn.chain.params(), &header, turn.now.wall) {
            Ok(position) => position,
            Err(reject) if reject.blame() == Blame::Nobody => {
                self.streams.stopped(turn, peer, &header, &reject);
                return Ok(());
            }
            Err(reject) => {
                // Only what cost its maker work may take a place among the condemned.
                if header.header().difficulty == parent.difficulty_due(turn.chain.params()) {
                    turn.chain.condemn(id);
                }
                turn.tell(Report::Refused { id, why: reject.to_string() });
                turn.hang_up(peer, Reason::Rejected { id, reject });
                return Ok(());
            }
        };
        if let Some(known) = turn.peers.get_mut(peer) {
            known.work = known.work.max(position.work);
            known.height = known.height.max(position.height);
        }
        match block {
            Announced::Whole(block) if turn.chain.has_body(&prev)? => self.take_news(turn, peer, *block)?,
            // Once for each peer: to look through the pool costs more than to repeat oneself.
            Announced::Sketch(_, sketch)
                if is_first && position.work > turn.chain.tip().work && turn.chain.has_body(&prev)? =>
            {
                if let Some(block) = self.sketches.on_sketch(turn, peer, (header, position), sketch) {
                    self.take_news(turn, peer, block)?;
                }
            }
            // Its body is fetched, with those of the headers below it.
            _ if position.work > turn.chain.tip().work => {
                if turn.chain.insert_header(header, position, false)
                    && let Some(known) = turn.peers.get_mut(peer)
                {
                    known.vouch(id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A new block, complete, whose header is right in its place.
    pub(super) fn take_news(&mut self, turn: &mut Turn, peer: PeerId, block: CheckedBlock) -> Result<(), StoreError> {
        // Refused it can only be as one that we have, or as one too many of its height.
        let first = turn.chain.store().records();
        self.sketches.forget(&block.id());
        turn.chain.accept(turn.now.wall, vec![block], false)?;
        self.sync.brought(turn, peer, first);
        Ok(())
    }

    pub(super) fn on_mined(&mut self, turn: &mut Turn, block: CheckedBlock) -> Result<(), StoreError> {
        let id = block.id();
        let is_ordered = self.orders.on_mined(&block, self.config.payout.as_ref());
        let Some(refusal) = self.take_own(turn, block)? else { return Ok(()) };
        // Somebody else's block came first, or it is a bug.
        if !matches!(refusal, Refusal::Weak | Refusal::Known) {
            turn.note(Level::Warn, format!("block {id:.12} of our own was refused: {refusal:?}"));
        }
        if is_ordered {
            self.orders.on_lost(&id, turn.out);
        }
        Ok(())
    }

    /// Somebody has mined a block with another program.
    pub(super) fn on_submitted(
        &mut self,
        turn: &mut Turn,
        ticket: Ticket,
        block: CheckedBlock,
    ) -> Result<(), StoreError> {
        let id = block.id();
        let why = if self.room == Room::Enough {
            self.take_own(turn, block)?.map(|refusal| match refusal {
                Refusal::Known => "it is known already".into(),
                Refusal::Weak => "there is a block with as much work, or more, in its place".into(),
                Refusal::NoParent => "its parent is not known here".into(),
                Refusal::Rule(reject) => reject.to_string(),
            })
        } else {
            Some(TOO_FULL.into())
        };
        match why {
            None => self.orders.on_submitted(ticket, id),
            Some(why) => {
                let answer = Answer::Done(Err(format!("block {id:.12} is refused: {why}")));
                turn.out.push(Effect::Answer { ticket, answer });
            }
        }
        Ok(())
    }

    /// A block that nobody sent: into the file, and told to people once it is durable. Gives why it was refused.
    fn take_own(&mut self, turn: &mut Turn, block: CheckedBlock) -> Result<Option<Refusal>, StoreError> {
        let id = block.id();
        let mut acceptance = turn.chain.accept(turn.now.wall, vec![block], false)?;
        if let Some((_, refusal)) = acceptance.refused.pop() {
            return Ok(Some(refusal));
        }
        let meta = turn.chain.store().find_meta(&id)?.expect("it was appended just now");
        self.durability.on_mined(&meta);
        Ok(None)
    }

    /// The pool goes where the walk has gone.
    pub(super) fn follow(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let catching_up = self.sync.is_catching_up(turn.now.mono);
        for passed in turn.chain.take_passed() {
            if let Passed::Connected(block) = &passed
                && !catching_up
            {
                // Transactions that waited here: people are told of them once the block lasts.
                let ids = block.transactions().iter().filter(|id| turn.pool.contains(id));
                let ids: Vec<Hash> = ids.copied().collect();
                if let Some(meta) = turn.chain.store().find_meta(&block.id())? {
                    self.durability.on_confirmed(meta, ids);
                }
            }
            self.transactions.on_passed(&passed);
            let dropped = pool_follows(turn.pool, &passed);
            if !dropped.is_empty() {
                turn.tell(Report::Dropped { ids: dropped });
            }
        }
        Ok(())
    }

    /// Goes on towards the heaviest branch, for one turn's bytes.
    pub(super) fn walk(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        match turn.chain.advance()? {
            Step::Still => self.settle(turn),
            Step::More => {}
            Step::NewTip { undone } => {
                self.durability.on_tip(*turn.chain.tip());
                self.transactions.on_tip();
                self.prune_due |= turn.chain.headers().has_outgrown(turn.chain.tip().work);
                self.relay.on_tip(turn, undone, self.sync.is_catching_up(turn.now.mono));
            }
            Step::Failed { id, record, reject } => {
                turn.tell(Report::Refused { id, why: reject.to_string() });
                self.sync.start_over();
                if let Some(peer) = self.sync.deliverer(record) {
                    turn.hang_up(peer, Reason::Rejected { id, reject });
                }
            }
        }
        Ok(())
    }

    /// While the chain rests: what undone blocks held returns to the pool; then come orphans whose parents have
    /// come, and what was verified meanwhile. A piece of that in each turn.
    fn settle(&mut self, turn: &mut Turn) {
        if turn.pool.is_settled() {
            self.transactions.adopt(turn);
            self.transactions.judge_batch(turn);
        } else {
            let params = Arc::clone(turn.chain.params());
            let returned = turn.pool.readmit(&params, &turn.chain.ground(turn.now), READMIT_BYTES);
            self.transactions.on_returned(&returned.entered);
            if !returned.unconfirmed.is_empty() {
                turn.tell(Report::Unconfirmed { ids: returned.unconfirmed });
            }
            if !returned.dropped.is_empty() {
                turn.tell(Report::Dropped { ids: returned.dropped });
            }
        }
    }

    /// Forgets header-only branches that nobody here has; when room is short, also those that only slow
    /// peers have. It looks at the whole tree, so it is not done with every event.
    pub(super) fn prune_headers(&mut self, turn: &mut Turn) {
        let room_is_short = turn.chain.headers().room() < HEADERS_MAX;
        let is_due = self.prune_due || room_is_short;
        if !is_due || turn.now.mono.since(self.pruned_at) < PRUNE_MS {
            return;
        }
        (self.prune_due, self.pruned_at) = (false, turn.now.mono);
        let is_out = |id: PeerId| room_is_short && self.sync.is_slow(turn.now.mono, id);
        self.streams.give_up(is_out);
        let trusted = turn.peers.iter().filter(|(id, _)| !is_out(*id));
        let leaves: Vec<Hash> = trusted.flat_map(|(_, peer)| peer.leaves()).chain(self.streams.ends()).collect();
        turn.chain.keep_headers(leaves.into_iter());
    }
}

/// The pool takes a step of the walk; gives what had to leave it for good.
pub(super) fn pool_follows(pool: &mut Mempool, passed: &Passed) -> Vec<Hash> {
    match passed {
        Passed::Connected(block) => pool.on_block_connected(block),
        Passed::Undone(block) => {
            pool.on_block_undone(block);
            Vec::new()
        }
    }
}
