//! New blocks from their sketches: header, coinbase, and six bytes for each transfer (RULES 40).
//!
//! What the pool has verified is put into its place and not verified again. What is missing, or matches
//! twice, is asked of the announcer by its place. If that leads to nothing (it does not answer, it has
//! left that branch, the root is another one) the whole block is fetched like any other, from whoever has
//! shown it. So a collision or a lie costs a round trip, never a wrong block; and each announcer is heard
//! for itself, so that a liar does not keep an honest copy away.
//!
//! After BIP 152 (<https://github.com/bitcoin/bips/blob/master/bip-0152.mediawiki>).

use std::collections::BTreeMap;

use crate::blockchain::block::{CheckedBlock, CheckedHeader};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::mempool::Mempool;
use crate::blockchain::position::Position;
use crate::blockchain::transaction::{Coinbase, TRANSACTION_BYTES_MIN};
use crate::node::event::{Asked, PeerId};
use crate::node::message::{BLOCK_TXS_BYTES, Message, NewBlock, ShortIdKey};
use crate::node::reason::Reason;
use crate::node::report::Level;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Sketches that wait for missing transfers: each has at most 4,600 ids, so 4 × 152 KiB. One more is
/// fetched as a whole block.
pub const SKETCHES_MAX: usize = 4;
/// Missing transfers that fit an answer, if all of them are of the least size.
const PLACES_MAX: usize = BLOCK_TXS_BYTES / TRANSACTION_BYTES_MIN;
/// For the missing transfers; then the whole block is fetched.
const ANSWER_MS: u64 = 2_000;
/// Who has not answered at all by then is cut.
const ANSWER_MS_MAX: u64 = 60_000;

/// A block that lacks some transfers.
#[derive(Debug)]
struct Sketch {
    peer: PeerId,
    since: Mono,
    header: CheckedHeader,
    position: Position,
    coinbase: Coinbase,
    /// Its transfers in order; `None` where one is asked for.
    ids: Vec<Option<Hash>>,
}

/// The sketches that are not complete.
#[derive(Debug, Default)]
pub struct Sketches {
    open: Vec<Sketch>,
    /// Who owes an answer, and since when.
    owing: BTreeMap<PeerId, Mono>,
}

impl Sketches {
    /// A peer has sketched a block whose header is right in its place. Gives the block if all of it is
    /// here; else asks for what is missing, or has the whole block fetched.
    pub fn on_sketch(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        (header, position): (CheckedHeader, Position),
        sketch: &NewBlock,
    ) -> Option<CheckedBlock> {
        let ids = match_pool(turn.pool, sketch);
        let sketch = Sketch { peer, since: turn.now.mono, header, position, coinbase: sketch.coinbase, ids };
        let places: Vec<u16> = (0..).zip(&sketch.ids).filter(|(_, id)| id.is_none()).map(|(place, _)| place).collect();
        if places.is_empty() {
            return complete(turn, &sketch, &[]);
        }
        if places.len() > PLACES_MAX || self.open.len() >= SKETCHES_MAX || self.owing.contains_key(&peer) {
            fetch(turn, &sketch);
            return None;
        }
        let (block, count) = (header.id(), places.len());
        turn.note(
            Level::Debug,
            format!("block {block:.12} of {peer}: {count} of {} transfers are missing", sketch.ids.len()),
        );
        turn.ask(peer, Asked::BlockTxs(block, count), Message::GetBlockTxs { block, places: List::first_of(places) });
        self.owing.insert(peer, turn.now.mono);
        self.open.push(sketch);
        None
    }

    /// The missing transfers have come: gives the block, or has it fetched.
    pub fn on_transfers(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        block: &Hash,
        transfers: &[CheckedTx],
    ) -> Option<CheckedBlock> {
        let sketch = self.take(peer, block)?;
        complete(turn, &sketch, transfers)
    }

    /// The announcer does not have it any more.
    pub fn on_missing(&mut self, turn: &mut Turn, peer: PeerId, block: &Hash) {
        if let Some(sketch) = self.take(peer, block) {
            fetch(turn, &sketch);
        }
    }

    /// Its answer is here; the sketch may have been given up before.
    fn take(&mut self, peer: PeerId, block: &Hash) -> Option<Sketch> {
        self.owing.remove(&peer);
        let place = self.open.iter().position(|sketch| sketch.peer == peer && sketch.header.id() == *block)?;
        Some(self.open.swap_remove(place))
    }

    /// Gives up what does not come, and cuts who never answers.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        for sketch in self.open.extract_if(.., |sketch| now.since(sketch.since) >= ANSWER_MS) {
            fetch(turn, &sketch);
        }
        let silent: Vec<PeerId> =
            self.owing.iter().filter(|(_, since)| now.since(**since) >= ANSWER_MS_MAX).map(|(peer, _)| *peer).collect();
        for peer in silent {
            turn.hang_up(peer, Reason::Stalled { limit_ms: ANSWER_MS_MAX });
        }
    }

    /// Forgets peers that are gone.
    pub fn forget_gone(&mut self, turn: &Turn) {
        self.owing.retain(|peer, _| turn.peers.get(*peer).is_some());
        self.open.retain(|sketch| turn.peers.get(sketch.peer).is_some());
    }
}

/// Which transaction of the pool stands at each place; `None` where none does, or more than one may.
fn match_pool(pool: &Mempool, sketch: &NewBlock) -> Vec<Option<Hash>> {
    let key = ShortIdKey::of(&sketch.header);
    match_ids(pool.ids(), &sketch.short_ids, |id| key.short_id(id))
}

fn match_ids(
    ids: impl Iterator<Item = Hash>,
    short_ids: &[[u8; 6]],
    short_id_of: impl Fn(&Hash) -> [u8; 6],
) -> Vec<Option<Hash>> {
    let mut wanted: Vec<([u8; 6], usize)> = short_ids.iter().copied().zip(0..).collect();
    wanted.sort_unstable();
    let mut found: Vec<Option<Hash>> = vec![None; wanted.len()];
    // Two of one kind in the sketch, or a second match in the pool: only the block can tell.
    let mut unclear: Vec<bool> = vec![false; wanted.len()];
    for pair in wanted.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        (unclear[pair[0].1], unclear[pair[1].1]) = (true, true);
    }
    for id in ids {
        let short_id = short_id_of(&id);
        let Ok(at) = wanted.binary_search_by_key(&short_id, |(wanted, _)| *wanted) else { continue };
        let place = wanted[at].1;
        unclear[place] |= found[place].is_some();
        found[place] = Some(id);
    }
    found.into_iter().zip(unclear).map(|(id, unclear)| id.filter(|_| !unclear)).collect()
}

/// Puts a block together; if that fails, the whole block is fetched, which shows who is to blame.
fn complete(turn: &mut Turn, sketch: &Sketch, missing: &[CheckedTx]) -> Option<CheckedBlock> {
    let mut missing = missing.iter();
    let transfers = sketch.ids.iter().map(|id| match id {
        // It may have left the pool meanwhile.
        Some(id) => turn.pool.get(id),
        None => missing.next(),
    });
    let transfers: Option<Vec<&CheckedTx>> = transfers.collect();
    let block = transfers
        .map(|transfers| CheckedBlock::assemble(turn.chain.params(), sketch.header, &sketch.coinbase, &transfers));
    match block {
        Some(Ok(block)) => Some(block),
        Some(Err(reject)) => {
            let (id, peer) = (sketch.header.id(), sketch.peer);
            turn.note(Level::Debug, format!("block {id:.12} as {peer} sketched it is none: {reject}"));
            fetch(turn, sketch);
            None
        }
        None => {
            fetch(turn, sketch);
            None
        }
    }
}

/// Has the whole block fetched, from this peer or another that shows it.
fn fetch(turn: &mut Turn, sketch: &Sketch) {
    if sketch.position.work <= turn.chain.tip().work {
        // Another announcer was faster.
        return;
    }
    if turn.chain.insert_header(sketch.header, sketch.position, false)
        && let Some(known) = turn.peers.get_mut(sketch.peer)
    {
        known.vouch(sketch.header.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a short id that two transactions of the pool have, or that stands in a sketch twice, is left to the
    /// block. Method: short ids of one's own making, since nobody can make real ones collide: the first byte.
    #[test]
    fn what_is_not_clear_is_asked_for() {
        let id = |first: u8, rest: u8| {
            let mut id = [rest; 32];
            id[0] = first;
            Hash(id)
        };
        let short = |first: u8| [first; 6];
        let pool = [id(1, 1), id(2, 1), id(2, 2), id(3, 1), id(4, 1), id(5, 1), id(5, 2), id(5, 3)];
        let sketch = [short(4), short(2), short(9), short(3), short(1), short(3), short(5)];
        let matched = match_ids(pool.into_iter(), &sketch, |id| short(id.0[0]));
        assert_eq!(matched, [Some(id(4, 1)), None, None, None, Some(id(1, 1)), None, None]);
        assert_eq!(match_ids(pool.into_iter(), &[], |id| short(id.0[0])), []);
    }
}
