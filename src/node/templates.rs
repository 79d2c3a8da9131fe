//! What our own miners work on: the best-paying block on our tip, renewed when a better one is worth it.

use std::sync::Arc;

use crate::blockchain::mempool::PackMark;
use crate::blockchain::payout::Payout;
use crate::blockchain::template::Template;
use crate::node::event::Effect;
use crate::node::report::Report;
use crate::node::turn::Turn;
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// A template is renewed for better fees once in this time: packing a full pool takes some milliseconds.
const RENEW_MS: u64 = 1_000;

/// The template that miners have.
#[derive(Debug)]
struct Given {
    /// The block that it builds on.
    tip: Hash,
    /// Whom it pays.
    payout: Payout,
    /// What the pool was like.
    mark: PackMark,
    looked_at: Mono,
}

/// What miners were given.
#[derive(Debug, Default)]
pub struct Templates {
    /// `None` while they rest.
    given: Option<Given>,
    /// Somebody waits for a block: now is the time for the best one.
    is_urgent: bool,
}

impl Templates {
    /// A block is about to be made at once: the template is looked at again in this turn.
    pub fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Whether miners have something to work on.
    pub fn is_mining(&self) -> bool {
        self.given.is_some()
    }

    /// Gives miners something new to work on when the tip has changed or more can be earned on it, or
    /// lets them rest. `payout`: whom to pay, if now is a time to mine.
    pub fn pump(&mut self, turn: &mut Turn, payout: Option<&Payout>) {
        let is_urgent = std::mem::take(&mut self.is_urgent);
        let Some(payout) = payout else {
            if self.given.take().is_some() {
                turn.tell(Report::Mining { begins: false });
                turn.out.push(Effect::Mine { template: None });
            }
            return;
        };
        let (tip, now) = (turn.chain.tip().id, turn.now.mono);
        match &mut self.given {
            None => turn.tell(Report::Mining { begins: true }),
            Some(given) if given.tip != tip || given.payout != *payout => {}
            Some(given) => {
                if !is_urgent && now.since(given.looked_at) < RENEW_MS {
                    return;
                }
                given.looked_at = now;
                if turn.pool.gain_since(&given.mark) == 0 {
                    return;
                }
            }
        }
        let pack = turn.pool.pack();
        let template = Template::new(turn.chain.params(), turn.chain.tip_position(), payout, &pack.transfers);
        self.given = Some(Given { tip, payout: payout.clone(), mark: pack.mark, looked_at: now });
        turn.out.push(Effect::Mine { template: Some(Arc::new(template)) });
    }
}
