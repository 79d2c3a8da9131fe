//! What is checked of a transaction, and what follows from the verdict.
//!
//! Signatures are verified elsewhere, a batch at a time ([`Effect::Verify`]): those of one peer together, so that
//! blame is certain; one that was handed in by an order alone; those of the saved file in their old order. No transaction is ever in two
//! batches, whoever brings it. While the chain walks nothing is judged: on moving ground what is right today looks
//! wrong.

use std::net::IpAddr;

use super::{BATCH, Transactions, VERIFYING_BYTES_MAX, VERIFYING_MAX, is_firm};
use crate::blockchain::checked_tx::{CheckedTx, ReadTx};
use crate::blockchain::mempool::PoolReject;
use crate::blockchain::reject::Reject;
use crate::node::event::{Effect, PeerId};
use crate::node::orders::{Answer, Ticket};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::node::turn::Turn;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;

/// Where a transaction that is being verified came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Its address is to blame even if it has gone meanwhile.
    Peer(PeerId, IpAddr),
    Order,
    /// Our own file says when it arrived.
    File(Wall),
}

/// One that is being verified.
#[derive(Debug)]
pub(super) struct Checking {
    origin: Origin,
    size_bytes: usize,
    /// Orders that wait for a verdict.
    tickets: Vec<Ticket>,
}

impl Transactions {
    /// Somebody hands one in. He hears what becomes of it, so it may not be held as an orphan.
    pub fn on_submit(&mut self, turn: &mut Turn, ticket: Ticket, transaction: ReadTx) {
        let id = transaction.id();
        if let Some(checking) = self.verifying.get_mut(&id) {
            checking.tickets.push(ticket);
            return;
        }
        // In a block it is as good as waiting: its sender wants it there, and sees it there with the next block.
        let why = if turn.pool.contains(&id) || self.confirmed.contains(&id) {
            String::new()
        } else if !is_firm(turn) {
            PoolReject::Reorganising.to_string()
        } else {
            match turn.pool.match_inputs(&transaction, &turn.chain.ground(turn.now)) {
                Ok(()) if self.verify(turn, vec![(Origin::Order, transaction)]) => {
                    self.verifying.entry(id).and_modify(|checking| checking.tickets.push(ticket));
                    return;
                }
                Ok(()) => "the node is busy with other transactions; try again".into(),
                Err(reject) => reject.to_string(),
            }
        };
        tell_verdict(turn, ticket, why);
    }

    /// Has the signatures of a peer's transactions checked; if too many are being checked, they are asked for
    /// again later.
    pub(super) fn verify_of(&mut self, turn: &mut Turn, peer: PeerId, mut transactions: Vec<ReadTx>) {
        let Some(ip) = turn.peers.get(peer).map(|peer| peer.address.ip()) else { return };
        // An order may have brought it meanwhile.
        transactions.retain(|transaction| !self.verifying.contains_key(&transaction.id()));
        let ids: Vec<Hash> = transactions.iter().map(|transaction| transaction.id()).collect();
        let origin = Origin::Peer(peer, ip);
        let batch = transactions.into_iter().map(|transaction| (origin, transaction)).collect();
        if !ids.is_empty() && !self.verify(turn, batch) {
            for id in ids {
                self.ask_again(peer, id);
            }
        }
    }

    /// Has signatures checked, of transactions none of which is being checked; false if too many are.
    fn verify(&mut self, turn: &mut Turn, batch: Vec<(Origin, ReadTx)>) -> bool {
        if self.batches >= VERIFYING_MAX || self.verifying_bytes >= VERIFYING_BYTES_MAX {
            return false;
        }
        for (origin, transaction) in &batch {
            let checking = Checking { origin: *origin, size_bytes: transaction.bytes().len(), tickets: Vec::new() };
            self.verifying_bytes += checking.size_bytes;
            let twin = self.verifying.insert(transaction.id(), checking);
            assert!(twin.is_none(), "a transaction is in one batch only");
        }
        self.batches += 1;
        turn.out.push(Effect::Verify { transactions: batch.into_iter().map(|(_, transaction)| transaction).collect() });
        true
    }

    /// Signatures are checked.
    pub fn on_verified(&mut self, turn: &mut Turn, verdicts: Vec<Result<CheckedTx, Reject>>) {
        self.verdicts.push_back(verdicts);
        if is_firm(turn) {
            self.judge_batch(turn);
        }
    }

    /// Whether verdicts wait for the chain to rest.
    pub fn has_verdicts(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// In with those whose signatures are right, and on to others: one batch in each turn.
    pub fn judge_batch(&mut self, turn: &mut Turn) {
        let Some(verdicts) = self.verdicts.pop_front() else { return };
        self.batches -= 1;
        for verdict in verdicts {
            let id = match &verdict {
                Ok(transaction) => transaction.id(),
                Err(Reject::BadSignature { transaction }) => *transaction,
                Err(reject) => unreachable!("only signatures are looked at, and not {reject}"),
            };
            self.judge(turn, id, verdict);
        }
    }

    /// The verdict on one.
    fn judge(&mut self, turn: &mut Turn, id: Hash, verdict: Result<CheckedTx, Reject>) {
        let Checking { origin, size_bytes, tickets } =
            self.verifying.remove(&id).expect("what is verified was given to be, once");
        self.verifying_bytes -= size_bytes;
        let arrived = match origin {
            Origin::File(arrived) => {
                self.saved.pop_front().expect("it is the first of those that the file held");
                arrived
            }
            _ => turn.now.wall,
        };
        let outcome = verdict.map_err(PoolReject::Rule).and_then(|transaction| {
            let (fee, size_bytes) = (transaction.fee(), transaction.bytes().len());
            turn.pool.insert(transaction, arrived, &turn.chain.ground(turn.now)).map(|()| (fee, size_bytes))
        });
        let why = match &outcome {
            // It came back from an undone block while it was verified: it waits, and that is what was wanted.
            Ok(_) | Err(PoolReject::Known { .. }) => String::new(),
            // Or it was mined meanwhile, so that its coins are spent: by itself.
            Err(_) if self.confirmed.contains(&id) => String::new(),
            Err(reject) => reject.to_string(),
        };
        match outcome {
            Ok((fee, size_bytes)) => {
                self.tell_on(id);
                if !matches!(origin, Origin::File(_)) {
                    turn.tell(Report::Waits { id, fee, size_bytes, waiting: turn.pool.len() });
                }
            }
            Err(PoolReject::Rule(reject)) => blame(turn, origin, reject),
            Err(reject) => match origin {
                Origin::Peer(peer, _) => drop(self.refuse(turn, peer, id, reject)),
                Origin::Order => {}
                Origin::File(_) => {
                    turn.note(Level::Debug, format!("transaction {id:.12} no longer waits: {reject}"));
                }
            },
        }
        self.release(turn, id);
        for ticket in tickets {
            tell_verdict(turn, ticket, why.clone());
        }
    }

    /// One orphan whose parent has come; one in each turn, so that a parent of many makes no long one.
    pub fn adopt(&mut self, turn: &mut Turn) {
        let Some((source, id, offer)) = turn.pool.next_orphan(&turn.chain.ground(turn.now)) else { return };
        let peer = PeerId(source.0);
        let mut ready = Vec::new();
        self.take_offer(turn, peer, id, offer, &mut ready);
        self.verify_of(turn, peer, ready);
    }

    /// What waited when the node stopped is verified again, a batch at a time and in the old order. Until
    /// it is, it stays: a node that stops soon must not lose it.
    pub(super) fn bring_back(&mut self, turn: &mut Turn) {
        if self.batches > 0 {
            return;
        }
        let batch = self.saved.iter().take(BATCH).map(|saved| (Origin::File(saved.arrived), saved.tx.clone()));
        let batch = batch.collect();
        assert!(self.verify(turn, batch), "nothing else is being verified");
    }
}

/// Tells whoever handed it in what became of a transaction; no words mean that it waits.
fn tell_verdict(turn: &mut Turn, ticket: Ticket, why: String) {
    let verdict = if why.is_empty() { Ok(()) } else { Err(why) };
    turn.out.push(Effect::Answer { ticket, answer: Answer::Done(verdict) });
}

/// Cuts whoever sent what could be in no block. Who has hung up before the verdict is not let in again so soon.
fn blame(turn: &mut Turn, origin: Origin, reject: Reject) {
    let Origin::Peer(peer, ip) = origin else { return };
    if turn.peers.get(peer).is_some() {
        turn.hang_up(peer, Reason::BadTransaction { reject });
    } else if let Some(until) = turn.peers.ban(turn.now.wall, ip, format!("a transaction is rejected: {reject}")) {
        turn.out.push(Effect::Refuse { ip, until: Some(until) });
    }
}
