//! What goes into the next block: the packages that pay most for a byte.
//!
//! A transaction's package is itself and those of its ancestors that are not in the block yet, so a
//! child can pay for its parent. The best package is taken, again and again. Taking one never makes
//! another better (what is taken paid at least as well as any package it was part of), so a heap whose
//! entries are only looked at again when they come up gives the same as one kept up to date.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::blockchain::block::TRANSFERS_AT;
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::mempool::Mempool;
use crate::blockchain::mempool::graph::{Slot, Totals};
use crate::blockchain::mempool::rate::FeeRate;
use crate::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX};

/// Packages in a row that did not fit, after which the block is as good as full.
const MISFITS_MAX: usize = 200;

/// A selection that fits a block.
#[derive(Clone, Debug)]
pub struct Pack<'a> {
    /// Parents before children.
    pub transfers: Vec<&'a CheckedTx>,
    /// What they pay together.
    pub fees: u64,
    /// To ask later whether a new selection is worth it.
    pub mark: PackMark,
}

/// What the pool was like when a selection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackMark {
    next_number: u64,
    /// What the last package taken paid, if not all found room.
    cutoff: Option<FeeRate>,
}

/// What is left of a block's limits.
struct Room {
    size_bytes: usize,
    inputs: usize,
    outputs: usize,
}

impl Room {
    /// Takes the place of these, or leaves everything as it is.
    fn take(&mut self, transactions: &[&CheckedTx]) -> bool {
        let sum = |part: fn(&CheckedTx) -> usize| transactions.iter().map(|tx| part(tx)).sum::<usize>();
        let size_bytes = self.size_bytes.checked_sub(sum(|tx| tx.bytes().len()));
        let inputs = self.inputs.checked_sub(sum(|tx| tx.spent().len()));
        let outputs = self.outputs.checked_sub(sum(|tx| tx.created().len()));
        let (Some(size_bytes), Some(inputs), Some(outputs)) = (size_bytes, inputs, outputs) else { return false };
        *self = Self { size_bytes, inputs, outputs };
        true
    }
}

impl Mempool {
    /// Selects what the next block should hold, by the fee rate of packages.
    pub fn pack(&self) -> Pack<'_> {
        let mut room =
            Room { size_bytes: BLOCK_BYTES_MAX - TRANSFERS_AT, inputs: BLOCK_INPUTS_MAX, outputs: BLOCK_OUTPUTS_MAX };
        let mut heap: BinaryHeap<(FeeRate, Reverse<u64>, Slot)> =
            self.graph.entries().map(|(slot, entry)| (entry.above.rate(), Reverse(entry.number), slot)).collect();
        let mut taken: BTreeSet<Slot> = BTreeSet::new();
        let mut pack = Pack { transfers: Vec::new(), fees: 0, mark: self.mark() };
        let (mut lowest, mut misfits, mut all) = (None, 0, true);
        while misfits < MISFITS_MAX
            && let Some((rate, number, slot)) = heap.pop()
        {
            if taken.contains(&slot) {
                continue;
            }
            let package = self.package(slot, &taken);
            let mut totals = Totals::default();
            for &slot in &package {
                totals.add(Totals::of(&self.graph.entry(slot).tx));
            }
            if totals.rate() < rate {
                // Part of it is in the block already, and what is left pays less.
                heap.push((totals.rate(), number, slot));
                continue;
            }
            let transactions: Vec<&CheckedTx> = package.iter().map(|&slot| &self.graph.entry(slot).tx).collect();
            if !room.take(&transactions) {
                (misfits, all) = (misfits + 1, false);
                continue;
            }
            (misfits, lowest) = (0, Some(rate));
            taken.extend(package);
            pack.fees += totals.fee;
            pack.transfers.extend(transactions);
        }
        pack.mark.cutoff = lowest.filter(|_| !all);
        pack
    }

    /// An entry and its ancestors without those taken, in the order of entry: parents before children.
    fn package(&self, slot: Slot, taken: &BTreeSet<Slot>) -> Vec<Slot> {
        if self.graph.parents(slot).is_empty() {
            return vec![slot];
        }
        let mut package = self.graph.ancestors(&[slot]);
        package.retain(|slot| !taken.contains(slot));
        package.sort_unstable_by_key(|&slot| self.graph.entry(slot).number);
        package
    }

    fn mark(&self) -> PackMark {
        PackMark { next_number: self.graph.next_number(), cutoff: None }
    }

    /// By how much a new selection might pay more than the one marked: the fees of what has entered
    /// since and pays better than the last that found room. Cheap: one pass, nothing is selected.
    pub fn gain_since(&self, mark: &PackMark) -> u64 {
        let better = |tx: &CheckedTx| mark.cutoff.is_none_or(|cutoff| Totals::of(tx).rate() > cutoff);
        let entered = self.graph.entries().filter(|(_, entry)| entry.number >= mark.next_number);
        entered.filter(|(_, entry)| better(&entry.tx)).map(|(_, entry)| entry.tx.fee()).sum()
    }
}
