//! Who should hear of a new block, once.
//!
//! A block is announced by its sketch: header, coinbase, and six bytes for each transfer, for whoever hears
//! of it is likely to have those (RULES 40). The sketch is made of what the walk has just connected and kept
//! for newcomers; nothing is read back or hashed again.

use crate::blockchain::block::{Block, COINBASE_BYTES, CheckedBlock, HEADER_BYTES};
use crate::blockchain::chain::Passed;
use crate::blockchain::storage::StoreError;
use crate::blockchain::transaction::{Coinbase, Transaction};
use crate::node::event::{Effect, PeerId};
use crate::node::message::{NewBlock, ShortIdKey};
use crate::node::report::Report;
use crate::node::turn::Turn;
use crate::primitives::codec::{self, List};
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Between two lines about the tip while catching up.
const TELL_MS: u64 = 200;

/// The news.
#[derive(Debug, Default)]
pub struct Relay {
    told_at: Option<Mono>,
    /// A new tip that peers have not heard of.
    due: Option<Due>,
    /// The block that was announced last.
    sketch: Option<(Hash, Box<NewBlock>)>,
}

/// What is to be told of the tip.
#[derive(Debug)]
struct Due {
    /// Blocks of the old branch that were undone.
    undone: u64,
    /// Whether people have heard of it.
    is_told: bool,
}

impl Relay {
    /// The chain has a new tip. On the way to another one that is no news for peers, and for people seldom.
    pub fn on_tip(&mut self, turn: &mut Turn, undone: u64, catching_up: bool) {
        let recently = self.told_at.is_some_and(|at| turn.now.mono.since(at) < TELL_MS);
        let mut due = Due { undone, is_told: false };
        if !(catching_up && recently) {
            self.tell(turn, &mut due);
        }
        self.due = Some(due);
    }

    fn tell(&mut self, turn: &mut Turn, due: &mut Due) {
        let tip = *turn.chain.tip();
        self.told_at = Some(turn.now.mono);
        let (height, hash, peers) = (tip.header.height, tip.id, turn.peers.len());
        turn.tell(Report::Tip { height, hash, peers, undone: due.undone });
        due.is_told = true;
    }

    /// Tells whoever has not heard of the tip, once nothing heavier is on its way.
    pub fn pump(&mut self, turn: &mut Turn, catching_up: bool) -> Result<(), StoreError> {
        let Some(mut due) = self.due.take_if(|_| !catching_up) else { return Ok(()) };
        if !due.is_told {
            self.tell(turn, &mut due);
        }
        let tip = turn.chain.tip().id;
        let unaware: Vec<PeerId> = turn.peers.iter().filter(|(_, peer)| !peer.knows(&tip)).map(|(id, _)| id).collect();
        if let Some(Passed::Connected(block)) = turn.chain.passed().last()
            && block.id() == tip
            && !unaware.is_empty()
        {
            self.sketch = Some((tip, Box::new(sketch_of(block))));
        }
        self.announce(turn, &unaware)
    }

    /// Tells these peers of our tip.
    pub fn announce(&mut self, turn: &mut Turn, peers: &[PeerId]) -> Result<(), StoreError> {
        let tip = *turn.chain.tip();
        if peers.is_empty() || tip.header.height == 0 {
            return Ok(());
        }
        let kept = self.sketch.take().filter(|(id, _)| *id == tip.id);
        let sketch = if let Some((_, sketch)) = kept {
            sketch
        } else {
            Box::new(sketch_of_bytes(&turn.chain.store().block(tip.record)?))
        };
        self.sketch = Some((tip.id, sketch.clone()));
        for peer in peers {
            if let Some(peer) = turn.peers.get_mut(*peer) {
                peer.has(tip.id);
            }
        }
        turn.out.push(Effect::BroadcastBlock { peers: peers.to_vec(), block: sketch });
        Ok(())
    }
}

/// The sketch of a block whose ids are known.
fn sketch_of(block: &CheckedBlock) -> NewBlock {
    let coinbase = &block.bytes()[HEADER_BYTES..HEADER_BYTES + COINBASE_BYTES];
    let coinbase: Coinbase = codec::decode(coinbase).expect("a checked block was decoded before");
    let key = ShortIdKey::of(block.header());
    let short_ids = block.transactions().iter().skip(1).map(|id| key.short_id(id)).collect();
    NewBlock { header: *block.header(), coinbase, short_ids: List::first_of(short_ids) }
}

/// The sketch of a block of the active chain.
fn sketch_of_bytes(bytes: &[u8]) -> NewBlock {
    let Block { header, coinbase, transfers } =
        codec::decode(bytes).expect("a block of the active chain was decoded before");
    let key = ShortIdKey::of(&header);
    let short_ids = transfers.iter().map(Transaction::id).map(|id| key.short_id(&id)).collect();
    NewBlock { header, coinbase, short_ids: List::first_of(short_ids) }
}
