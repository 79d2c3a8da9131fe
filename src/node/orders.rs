//! What people want of a running node, and what became of it.
//!
//! An order comes as one event and is answered by one [`Effect::Answer`] with the same ticket, at once or when
//! there is something to tell: a transaction when it waits, a block when it is durable. Who may give orders is
//! not for the core to know.
//!
//! Blocks on demand are found one order after the other, and those count that were found for it and pay whom it says,
//! so that each can be told which were its own. An order that nobody waits for is withdrawn, and no work goes into it.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::blockchain::block::{COINBASE_BYTES, CheckedBlock, HEADER_BYTES, Header};
use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::payout::Payout;
use crate::blockchain::storage::BlockMeta;
use crate::blockchain::transaction::Coinbase;
use crate::node::event::{Effect, PeerId, Target};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Blocks that one order can ask for.
pub const GENERATE_MAX: u32 = 10_000;
/// Orders that wait for blocks.
const WAITING_MAX: usize = 16;

/// Under which an answer is waited for: never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let a transaction wait for a block. Answered by [`Answer::Done`], when it waits or is refused.
    Submit(Box<ReadTx>),
    /// Take a block that was mined elsewhere. Answered by [`Answer::Done`], when it is durable or refused.
    SubmitBlock(Box<CheckedBlock>),
    /// Find so many blocks now, whatever the pace. Answered by [`Answer::Blocks`], when all are durable.
    Generate {
        /// 1 to [`GENERATE_MAX`].
        count: u32,
        /// Whom they pay; `None`: whom the node's own blocks pay.
        payout: Option<Payout>,
    },
    /// Mine at all times, or no longer; the latter ends every [`Order::Generate`], too.
    Mine {
        /// Threads; 0: only what will be asked for.
        threads: usize,
        /// Whom blocks pay from now on; `None`: as before.
        payout: Option<Payout>,
    },
    /// Dial somebody now, and whenever a place is free.
    Connect(Target),
    /// End a connection, and do not dial its address again by itself.
    Disconnect(PeerId),
    /// Let nobody in from an address until then, and end what there is.
    Ban {
        /// The address; IPv6: its /64.
        ip: IpAddr,
        /// When it ends.
        until: Wall,
    },
    /// Let an address in again.
    Unban(IpAddr),
    /// Nobody waits for the answer to an earlier order: what can still be left undone is.
    Withdraw(Ticket),
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done, or why not.
    Done(Result<(), String>),
    /// These blocks are durable, oldest first; or why there are none.
    Blocks(Result<Vec<Hash>, String>),
}

/// Orders that take their time.
#[derive(Debug, Default)]
pub struct Orders {
    generating: VecDeque<Generating>,
    /// Blocks from outside that are not durable yet.
    submitted: Vec<(Hash, Ticket)>,
}

#[derive(Debug)]
struct Generating {
    ticket: Ticket,
    payout: Option<Payout>,
    count: u32,
    /// The miners know of it.
    has_begun: bool,
    /// Found for it, and not durable yet.
    under_way: Vec<Hash>,
    found: Vec<Hash>,
}

impl Orders {
    /// Somebody wants blocks. `can_mine`: the node knows by itself whom to pay.
    pub fn on_generate(
        &mut self,
        ticket: Ticket,
        count: u32,
        payout: Option<Payout>,
        can_mine: bool,
        out: &mut Vec<Effect>,
    ) {
        let refusal = if payout.is_none() && !can_mine {
            Some("nobody is known whom a block could pay; name an address, or start the node with `--mine`".into())
        } else if count == 0 || count > GENERATE_MAX {
            Some(format!("{count} blocks are not to be had at once (1 to {GENERATE_MAX})"))
        } else if self.generating.len() >= WAITING_MAX {
            Some(format!("{WAITING_MAX} orders for blocks wait already; try again when they are done"))
        } else {
            None
        };
        match refusal {
            Some(why) => out.push(Effect::Answer { ticket, answer: Answer::Blocks(Err(why)) }),
            None => {
                self.generating.push_back(Generating {
                    ticket,
                    payout,
                    count,
                    has_begun: false,
                    under_way: Vec::new(),
                    found: Vec::new(),
                });
            }
        }
    }

    /// Whether blocks are wanted, and whom they pay if that was said.
    pub fn wanted(&self) -> Option<Option<&Payout>> {
        self.generating.front().map(|order| order.payout.as_ref())
    }

    /// Whether an order is about to begin: now is the time for the best template.
    pub fn is_new(&self) -> bool {
        self.generating.front().is_some_and(|order| !order.has_begun)
    }

    /// The miners have a template for the first order.
    pub fn pump(&mut self, out: &mut Vec<Effect>) {
        if let Some(order) = self.generating.front_mut()
            && !std::mem::replace(&mut order.has_begun, true)
        {
            out.push(Effect::Generate { count: order.count });
        }
    }

    /// Blocks that orders still lack.
    pub fn owed(&self) -> u64 {
        self.generating.iter().map(|order| u64::from(order.count).saturating_sub(order.found.len() as u64)).sum()
    }

    /// Our miners have found a block; whether it is for an order. `ours`: whom the node's own blocks pay.
    pub fn on_mined(&mut self, block: &CheckedBlock, ours: Option<&Payout>) -> bool {
        let Some(order) = self.generating.front_mut().filter(|order| order.has_begun) else { return false };
        // One that was found just before it may pay somebody else.
        let pays = order.payout.as_ref().or(ours).is_some_and(|payout| is_paid(payout, block));
        if pays {
            order.under_way.push(block.id());
        }
        pays
    }

    /// A block that was for an order came too late, or was refused: the order still lacks it.
    pub fn on_lost(&mut self, id: &Hash, out: &mut Vec<Effect>) {
        if let Some(order) = self.generating.front_mut()
            && order.takes(id)
        {
            out.push(Effect::Generate { count: 1 });
        }
    }

    /// Nobody waits for this order any more.
    pub fn withdraw(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        let withdrawn = self.generating.iter().position(|order| order.ticket == ticket);
        if withdrawn.and_then(|at| self.generating.remove(at)).is_some_and(|order| order.has_begun) {
            out.push(Effect::Generate { count: 0 });
        }
    }

    /// No more blocks on demand, for this reason.
    pub fn stop(&mut self, why: &str, out: &mut Vec<Effect>) {
        if self.generating.front().is_some_and(|order| order.has_begun) {
            out.push(Effect::Generate { count: 0 });
        }
        for Generating { ticket, count, found, .. } in self.generating.drain(..) {
            let why = format!("{why}; it ends after {} of {count} blocks", found.len());
            out.push(Effect::Answer { ticket, answer: Answer::Blocks(Err(why)) });
        }
    }

    /// A block from outside is in the file; its answer waits for the disk.
    pub fn on_submitted(&mut self, ticket: Ticket, id: Hash) {
        self.submitted.push((id, ticket));
    }

    /// Blocks of ours are durable, oldest first; `is_active`: on the active chain.
    pub fn on_durable(&mut self, mined: &[BlockMeta], is_active: impl Fn(&BlockMeta) -> bool, out: &mut Vec<Effect>) {
        for meta in mined {
            if let Some(at) = self.submitted.iter().position(|(id, _)| *id == meta.id) {
                let (_, ticket) = self.submitted.swap_remove(at);
                out.push(Effect::Answer { ticket, answer: Answer::Done(Ok(())) });
            } else if !is_active(meta) {
                self.on_lost(&meta.id, out);
            } else if let Some(order) = self.generating.front_mut()
                && order.takes(&meta.id)
            {
                order.found.push(meta.id);
                if order.found.len() >= order.count as usize
                    && let Some(Generating { ticket, found, .. }) = self.generating.pop_front()
                {
                    out.push(Effect::Answer { ticket, answer: Answer::Blocks(Ok(found)) });
                }
            }
        }
    }
}

impl Generating {
    /// Whether a block was found for it; it is not under way any more.
    fn takes(&mut self, id: &Hash) -> bool {
        let at = self.under_way.iter().position(|found| found == id);
        at.map(|at| self.under_way.swap_remove(at)).is_some()
    }
}

/// Whether a block's coinbase is the one that this payout makes.
fn is_paid(payout: &Payout, block: &CheckedBlock) -> bool {
    let bytes = block.bytes().get(HEADER_BYTES..HEADER_BYTES + COINBASE_BYTES);
    let coinbase: Option<Coinbase> = bytes.and_then(|bytes| codec::decode(bytes).ok());
    let Header { height, prev, .. } = *block.header();
    coinbase.is_some_and(|coinbase| coinbase == payout.coinbase(height, prev, coinbase.output.amount))
}
