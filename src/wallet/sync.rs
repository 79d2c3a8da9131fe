//! Catching up with a node: which of our blocks it still has, what came after them, what waits, and what of
//! ours it should hear of again.
//!
//! All of it happens on a copy of the [`State`], which takes the place of the old one at the very end: a node
//! that breaks off or lies leaves the wallet as it was. Only in a long scan the copy is saved on the way, at
//! a block to which everything is checked, so that whoever interrupts it does not begin anew.
//!
//! Left out: judging whether the node's branch is the heaviest. A wallet that wants that checked asks a node
//! that it trusts; it does notice one that is far behind what it has seen already.

use std::collections::{BTreeMap, BTreeSet};

use rayon::ThreadPool;

use crate::blockchain::block::CheckedHeader;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::{Outpoint, Transaction};
use crate::primitives::hash::Hash;
use crate::wallet::file::FileError;
use crate::wallet::find::{self, MOVES_MAX, Moved, mark_of};
use crate::wallet::keys::ViewKeys;
use crate::wallet::link::{KNOWN_MAX, Link, LinkError, TXS_MAX, Verdict};
use crate::wallet::scan::{self, Seen};
use crate::wallet::state::{Lost, Mark, State};

/// A node may be so much lower than what we have seen and be on a heavier branch; beyond that it is more
/// likely that it has not caught up itself.
const BEHIND_MAX: u64 = 100;
/// Bytes of blocks that are looked at together, all threads at them.
const BATCH_BYTES: usize = 4 << 20;
/// Blocks, and their bytes, after which a long scan is saved.
const SAVE_BLOCKS: u64 = 10_000;
const SAVE_BYTES: usize = 64 << 20;
/// Times that a new block may come while we look at what waits. After that what we saw has to do.
const LOOKS_MAX: usize = 4;

/// Why a wallet did not catch up. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The node was not to be had, or made no sense.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It changes its mind faster than we can follow.
    #[error("the node's chain was reorganised {MOVES_MAX} times while it was read; try again")]
    Restless,
    /// It knows less than we do.
    #[error(
        "the node is at height {node}, and this wallet has seen height {wallet}: wait until the node has caught up (if its \
         chain was begun anew, restore the wallet from its words)"
    )]
    Behind {
        /// Where the node is.
        node: u64,
        /// Where we are.
        wallet: u64,
    },
    /// None of our blocks is on its chain.
    #[error(
        "the node's chain does not contain block {} at height {}, from which this wallet looks; restore the wallet from its \
         words, from a lower height",
        start.id, start.height
    )]
    NothingInCommon {
        /// Where the wallet began.
        start: Mark,
    },
    /// What was found could not be kept.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What it takes to catch up, beside the node.
pub struct Sync<'a> {
    /// The network.
    pub params: &'a Params,
    /// What sees.
    pub keys: &'a ViewKeys,
    /// Threads to look with.
    pub pool: Option<&'a ThreadPool>,
    /// Milliseconds since 1970.
    pub now: u64,
    /// Keeps what was found so far, in a long scan.
    pub save: &'a mut dyn FnMut(&State) -> Result<(), FileError>,
    /// Hears at which height of how many the scan is.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

/// What a person might want to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Payments of ours that the node did not have, and has now.
    pub offered: Vec<Hash>,
    /// Payments of ours that it does not want now, with its words. They are offered again next time.
    pub refused: Vec<(Hash, String)>,
    /// What waits at the node and spends coins that a payment of ours spends: that one, then ours.
    pub conflicts: Vec<(Hash, Hash)>,
    /// Payments of ours that can no longer be mined, and were forgotten.
    pub lost: Vec<Lost>,
}

impl Sync<'_> {
    /// Brings a wallet up to date, or leaves it as it was.
    pub fn run(self, state: &mut State, link: &mut dyn Link) -> Result<Outcome, SyncError> {
        let (node, wallet) = (link.height()?, state.tip().height);
        if node.saturating_add(BEHIND_MAX) < wallet {
            return Err(SyncError::Behind { node, wallet });
        }
        let mut walk = Walk { sync: self, state: state.clone(), link, unsaved: (0, 0) };
        let outcome = walk.run()?;
        *state = walk.state;
        Ok(outcome)
    }
}

/// On the way, with a copy of what the wallet knew.
struct Walk<'a, 'b> {
    sync: Sync<'a>,
    state: State,
    link: &'b mut dyn Link,
    /// Blocks and bytes since the last save.
    unsaved: (u64, usize),
}

impl Walk<'_, '_> {
    fn run(&mut self) -> Result<Outcome, SyncError> {
        self.follow()?;
        let mut outcome = Outcome::default();
        for look in 1..=LOOKS_MAX {
            let ids: BTreeSet<Hash> = self.link.pool()?.into_iter().collect();
            let seen = self.look_at_pool(&ids)?;
            // What is in neither may be in a block that came between the two questions.
            let moved = self.follow()?;
            if !moved || look == LOOKS_MAX {
                outcome.conflicts = self.take_pool(&ids, seen);
                self.offer(&ids, &mut outcome)?;
                break;
            }
        }
        outcome.lost = self.state.take_lost();
        Ok(outcome)
    }

    /// Goes to the end of the node's chain; says whether that was somewhere else.
    fn follow(&mut self) -> Result<bool, SyncError> {
        let before = self.state.tip();
        let mut moves = 0;
        loop {
            let went = match find::after(self.link, self.state.tip())? {
                Ok(headers) if headers.is_empty() => return Ok(self.state.tip() != before),
                Ok(headers) => self.scan(&headers)?,
                Err(Moved) => {
                    self.part()?;
                    false
                }
            };
            if !went {
                moves += 1;
                if moves > MOVES_MAX {
                    return Err(SyncError::Restless);
                }
            }
        }
    }

    /// Goes back to the newest block that the node's chain has too.
    fn part(&mut self) -> Result<(), SyncError> {
        let marks: Vec<Mark> = self.state.marks().copied().collect();
        let start = *marks.last().expect("a wallet began somewhere");
        let headers = self.link.headers(&known(&marks))?;
        let common = if let Some(first) = headers.first() {
            marks.iter().find(|mark| mark.id == first.prev)
        } else {
            // It has nothing beyond one of ours, and its height tells which.
            let height = self.link.height()?;
            marks.iter().find(|mark| mark.height == height)
        };
        let common = common.ok_or(SyncError::NothingInCommon { start })?;
        // Not every mark fits the question: the answer may pass over more of them.
        let ours: BTreeMap<Hash, u64> = marks.iter().map(|mark| (mark.id, mark.height)).collect();
        let passed = headers.iter().filter_map(|header| ours.get(&header.id()).filter(|&&at| at == header.height));
        let height = passed.fold(common.height, |height, &at| height.max(at));
        assert!(self.state.roll_back(height), "it is the height of a mark");
        Ok(())
    }

    /// Takes in the blocks of these headers; false if the node has left them meanwhile.
    fn scan(&mut self, headers: &[CheckedHeader]) -> Result<bool, SyncError> {
        let Sync { params, keys, pool, .. } = self.sync;
        let Some(last) = headers.last() else { return Ok(true) };
        let top = self.link.height()?.max(mark_of(last).height);
        let Some(mut run) = self.link.blocks(last.id(), headers.len())? else { return Ok(false) };
        let mut expected = headers.iter();
        while expected.len() > 0 {
            let mut batch = Vec::new();
            let mut batch_bytes = 0;
            while batch_bytes < BATCH_BYTES && batch.len() < expected.len() {
                let ended = || LinkError::Odd("fewer blocks than were asked for".into());
                let bytes = run.next().ok_or_else(ended)??;
                batch_bytes += bytes.len();
                batch.push(bytes);
            }
            let seen = scan::blocks(keys, params, &batch, pool).map_err(|reject| LinkError::Odd(reject.to_string()))?;
            for (block, header) in seen.iter().zip(expected.by_ref()) {
                if block.id != header.id() {
                    return Err(LinkError::Odd("another block than the one that was asked for".into()).into());
                }
                self.state.apply(block).map_err(|error| LinkError::Odd(error.to_string()))?;
            }
            let height = self.state.tip().height;
            (self.sync.progress)(height, top);
            self.unsaved = (self.unsaved.0 + batch.len() as u64, self.unsaved.1 + batch_bytes);
            if self.unsaved.0 >= SAVE_BLOCKS || self.unsaved.1 >= SAVE_BYTES {
                (self.sync.save)(&self.state)?;
                self.unsaved = (0, 0);
            }
        }
        Ok(true)
    }

    /// What waits at the node and we do not know.
    fn look_at_pool(&mut self, ids: &BTreeSet<Hash>) -> Result<Vec<Seen>, SyncError> {
        let unknown: Vec<Hash> = ids.iter().filter(|id| self.state.record(id).is_none()).copied().collect();
        let mut seen = Vec::new();
        for asked in unknown.chunks(TXS_MAX) {
            let transactions = self.link.transactions(asked)?;
            let found = scan::transactions(self.sync.keys, &transactions, self.sync.pool);
            for (transaction, seen) in transactions.iter().zip(&found) {
                self.check_signed(transaction, seen, ids)?;
            }
            seen.extend(found);
        }
        if seen.iter().any(|seen| !ids.contains(&seen.id)) {
            return Err(LinkError::Odd("another transaction than those that were asked for".into()).into());
        }
        Ok(seen)
    }

    /// What waits has no work behind it, so whoever says that it pays us, or spends what is ours, shows the
    /// signatures. The others are nobody's business here.
    fn check_signed(&self, transaction: &Transaction, seen: &Seen, ids: &BTreeSet<Hash>) -> Result<(), LinkError> {
        let may_be_ours =
            |outpoint: &Outpoint| self.state.coin(outpoint).is_some() || ids.contains(&outpoint.transaction);
        let concerns_us = !seen.received.is_empty() || seen.inputs.iter().any(may_be_ours);
        if concerns_us && !transaction.claims(self.sync.params.genesis_id()).all(|claim| claim.holds()) {
            return Err(LinkError::Odd(format!("transaction {}, which nobody has signed", seen.id)));
        }
        Ok(())
    }

    /// Takes in what waits; gives what cannot wait together with payments of ours.
    fn take_pool(&mut self, ids: &BTreeSet<Hash>, mut seen: Vec<Seen>) -> Vec<(Hash, Hash)> {
        self.state.keep_waiting(|id| ids.contains(id));
        let mut conflicts = Vec::new();
        // In any order: what spends a waiting coin concerns us only once we know that coin.
        loop {
            let before = seen.len();
            seen.retain(|seen| match self.state.see(seen, self.sync.now) {
                Ok(concerns_us) => !concerns_us,
                Err(conflict) => {
                    conflicts.push((conflict.id, conflict.other));
                    false
                }
            });
            if seen.len() == before {
                return conflicts;
            }
        }
    }

    /// Offers again what is ours and neither in a block nor at the node, parents first.
    fn offer(&mut self, ids: &BTreeSet<Hash>, outcome: &mut Outcome) -> Result<(), SyncError> {
        let missing = self.state.to_offer().map(|transaction| (transaction.id(), transaction.clone()));
        let mut left: BTreeMap<Hash, Transaction> = missing.filter(|(id, _)| !ids.contains(id)).collect();
        loop {
            let is_next = |(_, it): &(&Hash, &Transaction)| {
                !it.inputs.iter().any(|input| left.contains_key(&input.outpoint.transaction))
            };
            // Children of one that is refused stay behind it: the node could only say that it is missing.
            let Some((&id, _)) =
                left.iter().filter(|(id, _)| outcome.refused.iter().all(|(no, _)| no != *id)).find(is_next)
            else {
                return Ok(());
            };
            match self.link.submit(&left[&id])? {
                Verdict::Waits => {
                    left.remove(&id);
                    outcome.offered.push(id);
                }
                Verdict::Refused(why) => outcome.refused.push((id, why)),
            }
        }
    }
}

/// As many ids of ours as a question takes: the newest, the first, and every so manieth between them.
fn known(marks: &[Mark]) -> Vec<Hash> {
    let (newest, older) = marks.split_at(marks.len().min(KNOWN_MAX / 2));
    let places = KNOWN_MAX - newest.len();
    let count = older.len().min(places);
    // The last of them is the last of all, where the wallet began.
    let spread = (1..=count).map(|n| older[n * older.len() / count - 1]);
    newest.iter().copied().chain(spread).map(|mark| mark.id).collect()
}
