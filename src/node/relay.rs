//! Who should hear of a new block, once, and what our own miners work on.

use crate::blockchain::block::Block;
use crate::blockchain::payout::Payout;
use crate::blockchain::storage::StoreError;
use crate::blockchain::template::template;
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
    /// The tip that miners build on; `None` while they rest. Whom they pay never changes.
    mining: Option<Hash>,
}

impl Relay {
    /// The chain has a new tip: people and peers hear of it.
    pub fn on_tip(&mut self, turn: &mut Turn, undone: u64, catching_up: bool) -> Result<(), StoreError> {
        let tip = *turn.chain.tip();
        let recently = self.told_at.is_some_and(|at| turn.now.mono.since(at) < TELL_MS);
        if !(catching_up && recently) {
            self.told_at = Some(turn.now.mono);
            let (height, hash, peers) = (tip.header.height, tip.id, turn.peers.len());
            turn.tell(Report::Tip { height, hash, peers, undone });
        }
        if catching_up {
            // Blocks on the way to a tip are no news: whoever lacks them asks.
            return Ok(());
        }
        let unaware: Vec<PeerId> =
            turn.peers.iter().filter(|(_, peer)| !peer.knows(&tip.id)).map(|(id, _)| id).collect();
        self.announce(turn, &unaware)
    }

    /// Tells these peers of our tip.
    pub fn announce(&self, turn: &mut Turn, peers: &[PeerId]) -> Result<(), StoreError> {
        let tip = *turn.chain.tip();
        if peers.is_empty() || tip.header.height == 0 {
            return Ok(());
        }
        let bytes = turn.chain.store().block(tip.record)?;
        let block: Block = codec::decode(&bytes).expect("a block of the active chain was decoded before");
        // Without a mempool nobody has the transfers: they are announced by their short ids all the same,
        // and fetched with the block.
        let key = ShortIdKey::of(&block.header);
        let short_ids = block.transfers.iter().map(|transfer| key.short_id(&transfer.id())).collect();
        let news = NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) };
        for peer in peers {
            if let Some(peer) = turn.peers.get_mut(*peer) {
                peer.has(tip.id);
            }
        }
        turn.out.push(Effect::BroadcastBlock { peers: peers.to_vec(), block: Box::new(news) });
        Ok(())
    }

    /// Gives miners something new to work on when the tip has changed, or lets them rest.
    pub fn pump_miner(&mut self, turn: &mut Turn, payout: Option<&Payout>) {
        let wanted = payout.map(|_| turn.chain.tip().id);
        if wanted == self.mining {
            return;
        }
        if wanted.is_some() != self.mining.is_some() {
            turn.tell(Report::Mining { begins: wanted.is_some() });
        }
        self.mining = wanted;
        let template = payout.map(|to| Box::new(template(turn.chain.params(), turn.chain.tip_position(), to, &[])));
        turn.out.push(Effect::Mine { template });
    }
}
