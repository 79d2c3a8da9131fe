//! New blocks from their sketches: header, coinbase, and six bytes for each transfer (RULES 40).
//!
//! What the pool has verified is put into its place and not verified again. What is missing, or matches
//! twice, is asked of the announcer by its place. If that leads to nothing (it does not answer, it has
//! left that branch, the root is another one) the whole block is fetched like any other, from whoever has
//! shown it. So a collision or a lie costs a round trip, never a wrong block.
//!
//! Each announcer is heard for itself: a few of one block are asked at once, and as long as none of them
//! delivers, twice as many more at each tick. So a crowd of liars keeps an honest copy away for a second.
//!
//! After BIP 152 (<https://github.com/bitcoin/bips/blob/master/bip-0152.mediawiki>).

use std::collections::BTreeMap;

use crate::blockchain::block::{CheckedBlock, CheckedHeader};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::mempool::Mempool;
use crate::blockchain::position::Position;
use crate::blockchain::transaction::TRANSACTION_BYTES_MIN;
use crate::node::event::{Asked, PeerId};
use crate::node::message::{BLOCK_TXS_BYTES, Message, NewBlock, ShortIdKey};
use crate::node::reason::Reason;
use crate::node::report::Level;
use crate::node::turn::Turn;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Announcers of one block that are asked for its missing transfers at first.
const ASKED_FIRST: usize = 3;
/// Missing transfers that fit an answer, if all of them are of the least size.
const PLACES_MAX: usize = BLOCK_TXS_BYTES / TRANSACTION_BYTES_MIN;
/// For the missing transfers; then the whole block is fetched.
const ANSWER_MS: u64 = 2_000;
/// Who has not answered at all by then is cut.
const ANSWER_MS_MAX: u64 = 60_000;

/// A block that lacks some transfers, as one peer has sketched it: 28 KiB, and 2 more for the places.
#[derive(Debug)]
struct Sketch {
    header: CheckedHeader,
    position: Position,
    block: Box<NewBlock>,
    /// When it was asked for the transfers at these places; none while others are.
    asked: Option<(Mono, Vec<u16>)>,
}

/// The sketches that are not complete, one for each peer.
#[derive(Debug, Default)]
pub struct Sketches {
    open: BTreeMap<PeerId, Sketch>,
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
        block: Box<NewBlock>,
    ) -> Option<CheckedBlock> {
        let sketch = Sketch { header, position, block, asked: None };
        let ids = match_pool(turn.pool, &sketch.block);
        let places = missing(&ids);
        if places.is_empty() {
            return complete(turn, peer, &sketch, &ids, &[]);
        }
        if places.len() > PLACES_MAX || self.owing.contains_key(&peer) {
            fetch(turn, peer, &sketch);
            return None;
        }
        let asked = self.of_block(&header.id()).filter(|(_, other)| other.asked.is_some()).count();
        self.open.insert(peer, sketch);
        if asked < ASKED_FIRST {
            self.ask(turn, peer, places);
        }
        None
    }

    /// Asks a peer for what its sketch lacks.
    fn ask(&mut self, turn: &mut Turn, peer: PeerId, places: Vec<u16>) {
        let Some(sketch) = self.open.get_mut(&peer) else { return };
        let (block, count) = (sketch.header.id(), places.len());
        let of = sketch.block.short_ids.len();
        turn.note(Level::Debug, format!("block {block:.12} of {peer}: {count} of {of} transfers are missing"));
        sketch.asked = Some((turn.now.mono, places.clone()));
        self.owing.insert(peer, turn.now.mono);
        turn.ask(peer, Asked::BlockTxs(block, count), Message::GetBlockTxs { block, places: List::first_of(places) });
    }

    /// The missing transfers have come: gives the block, or has it fetched.
    pub fn on_transfers(
        &mut self,
        turn: &mut Turn,
        peer: PeerId,
        block: &Hash,
        transfers: &[CheckedTx],
    ) -> Option<CheckedBlock> {
        let (sketch, places) = self.answered(peer, block)?;
        let mut ids = match_pool(turn.pool, &sketch.block);
        for place in places {
            ids[usize::from(place)] = None;
        }
        let block = complete(turn, peer, &sketch, &ids, transfers)?;
        self.forget(&block.id());
        Some(block)
    }

    /// The announcer does not have it any more.
    pub fn on_missing(&mut self, turn: &mut Turn, peer: PeerId, block: &Hash) {
        if let Some((sketch, _)) = self.answered(peer, block) {
            fetch(turn, peer, &sketch);
        }
    }

    /// Its answer is here; the sketch may have been given up before.
    fn answered(&mut self, peer: PeerId, block: &Hash) -> Option<(Sketch, Vec<u16>)> {
        self.owing.remove(&peer);
        self.open.get(&peer).filter(|sketch| sketch.header.id() == *block && sketch.asked.is_some())?;
        let mut sketch = self.open.remove(&peer)?;
        let (_, places) = sketch.asked.take()?;
        Some((sketch, places))
    }

    /// Whether a block is being put together that this peer has sketched: it has more work than we, and its
    /// headers would only have the whole of it fetched as well.
    pub fn is_open(&self, peer: PeerId) -> bool {
        self.open.contains_key(&peer)
    }

    /// A block is here: who else sketched it need not be asked.
    pub fn forget(&mut self, block: &Hash) {
        self.open.retain(|_, sketch| sketch.header.id() != *block);
    }

    fn of_block(&self, block: &Hash) -> impl Iterator<Item = (PeerId, &Sketch)> {
        self.open.iter().filter(move |(_, sketch)| sketch.header.id() == *block).map(|(&peer, sketch)| (peer, sketch))
    }

    /// Asks more announcers where nobody has delivered, gives up what does not come, and cuts who never answers.
    pub fn on_tick(&mut self, turn: &mut Turn) {
        let (now, tip_work) = (turn.now.mono, turn.chain.tip().work);
        self.open.retain(|_, sketch| sketch.position.work > tip_work);
        let mut blocks: Vec<Hash> = self.open.values().map(|sketch| sketch.header.id()).collect();
        blocks.sort_unstable();
        blocks.dedup();
        for block in blocks {
            let asked = self.of_block(&block).filter(|(_, sketch)| sketch.asked.is_some()).count();
            let spare = self.of_block(&block).filter(|(_, sketch)| sketch.asked.is_none());
            let next: Vec<PeerId> = spare.map(|(peer, _)| peer).take(2 * asked.max(1)).collect();
            for peer in next {
                let places = missing(&match_pool(turn.pool, &self.open[&peer].block));
                self.ask(turn, peer, places);
            }
        }
        let is_late = |sketch: &Sketch| sketch.asked.as_ref().is_some_and(|(since, _)| now.since(*since) >= ANSWER_MS);
        let late: Vec<PeerId> = self.open.iter().filter(|(_, sketch)| is_late(sketch)).map(|(peer, _)| *peer).collect();
        for peer in late {
            if let Some(sketch) = self.open.remove(&peer) {
                fetch(turn, peer, &sketch);
            }
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
        self.open.retain(|peer, _| turn.peers.get(*peer).is_some());
    }
}

/// The places where nothing stands.
fn missing(ids: &[Option<Hash>]) -> Vec<u16> {
    (0..).zip(ids).filter(|(_, id)| id.is_none()).map(|(place, _)| place).collect()
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
fn complete(
    turn: &mut Turn,
    peer: PeerId,
    sketch: &Sketch,
    ids: &[Option<Hash>],
    missing: &[CheckedTx],
) -> Option<CheckedBlock> {
    let mut missing = missing.iter();
    let transfers = ids.iter().map(|id| match id {
        Some(id) => turn.pool.get(id),
        None => missing.next(),
    });
    // One that was there may have left the pool meanwhile.
    let transfers: Option<Vec<&CheckedTx>> = transfers.collect();
    let coinbase = &sketch.block.coinbase;
    let block =
        transfers.map(|transfers| CheckedBlock::assemble(turn.chain.params(), sketch.header, coinbase, &transfers));
    match block {
        Some(Ok(block)) => return Some(block),
        Some(Err(reject)) => {
            let id = sketch.header.id();
            turn.note(Level::Debug, format!("block {id:.12} as {peer} sketched it is none: {reject}"));
        }
        None => {}
    }
    fetch(turn, peer, sketch);
    None
}

/// Has the whole block fetched, from this peer or another that shows it.
fn fetch(turn: &mut Turn, peer: PeerId, sketch: &Sketch) {
    if sketch.position.work <= turn.chain.tip().work {
        // Another announcer was faster.
        return;
    }
    if turn.chain.insert_header(sketch.header, sketch.position, false)
        && let Some(known) = turn.peers.get_mut(peer)
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
