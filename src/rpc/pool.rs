//! The pool as it is told: what waits, and what stands in blocks that are not told of yet.
//!
//! A transfer leaves the pool when the ledger takes its block, and that block is told of once no power cut can take it
//! away ([`chain`](super::chain)). For the length of a sync it would be nowhere, a payment that comes and goes before its
//! owner's eyes; so for so long it is told as waiting. Whoever asks for the pool first and then for the chain misses
//! nothing.
//!
//! Looking is done between two of the owner's turns; blocks are read by whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::blockchain::block::TRANSFERS_AT;
use crate::blockchain::mempool::Waiting;
use crate::blockchain::storage::{BlockMeta, RecordNo};
use crate::blockchain::transaction::Transaction;
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::primitives::time::Wall;
use crate::rpc::fault::Fault;
use crate::rpc::methods::transactions::fee_of;
use crate::rpc::service::Service;
use crate::runtime::handle::View;

/// A transaction that waits, and its bytes.
pub(super) type Copied = (Waiting, Box<[u8]>);

/// What one look found of those that were asked for.
enum Found {
    Waits(Copied),
    /// It is in this block.
    Stands(Hash, BlockMeta),
}

/// How many wait, as it is told.
pub(super) fn count(view: &View<'_>) -> usize {
    view.node.pool().len() + untold(view).len()
}

/// The ids of what waits behind this one, ascending, at most so many.
pub(super) fn ids_after(view: &View<'_>, after: Hash, most: usize) -> Vec<Hash> {
    let all = view.node.pool().ids().chain(untold(view).into_keys());
    let mut ids: Vec<Hash> = all.filter(|id| *id > after).collect();
    if ids.len() > most {
        ids.select_nth_unstable(most);
        ids.truncate(most);
    }
    ids.sort_unstable();
    ids
}

/// Those that wait of the ones that `pick` names, in its order, with their bytes, up to so many; whether that was all,
/// and what `pick` saw besides. All of it is of one moment.
pub(super) fn copy<T: Send + 'static>(
    service: &Service,
    bytes_max: usize,
    pick: impl FnOnce(&View<'_>) -> (Vec<Hash>, T) + Send + 'static,
) -> Result<(Vec<Copied>, bool, T), Fault> {
    let (found, all_waiting, more) = service.node().look(move |view| {
        let (ids, more) = pick(view);
        let (found, is_all) = look(view, &ids, bytes_max);
        (found, is_all, more)
    })?;
    let mut standing = read(service, &found, bytes_max)?;
    let (mut copied, mut bytes) = (Vec::with_capacity(found.len()), 0);
    for found in found {
        let one = match found {
            Found::Waits(copied) => copied,
            // Left out if there were too many of them before it.
            Found::Stands(id, _) => match standing.remove(&id) {
                Some(copied) => copied,
                None => return Ok((copied, false, more)),
            },
        };
        bytes += one.1.len();
        if bytes > bytes_max {
            return Ok((copied, false, more));
        }
        copied.push(one);
    }
    Ok((copied, all_waiting, more))
}

fn look(view: &View<'_>, ids: &[Hash], bytes_max: usize) -> (Vec<Found>, bool) {
    let (pool, untold) = (view.node.pool(), untold(view));
    let (mut found, mut bytes) = (Vec::new(), 0);
    for id in ids {
        if let Some((waiting, transaction)) = pool.waiting(id).zip(pool.get(id)) {
            bytes += transaction.bytes().len();
            if bytes > bytes_max {
                return (found, false);
            }
            found.push(Found::Waits((waiting, transaction.bytes().into())));
        } else if let Some(block) = untold.get(id) {
            found.push(Found::Stands(*id, *block));
        }
    }
    (found, true)
}

/// What waited, stands in a block that is not told of, and did not come back.
fn untold(view: &View<'_>) -> BTreeMap<Hash, BlockMeta> {
    let pool = view.node.pool();
    let all = view.node.untold().flat_map(|(block, ids)| ids.iter().map(move |id| (*id, *block)));
    all.filter(|(id, _)| pool.get(id).is_none()).collect()
}

/// Reads those that stand in blocks, one block at a time, up to so many bytes.
fn read(service: &Service, found: &[Found], bytes_max: usize) -> Result<BTreeMap<Hash, Copied>, Fault> {
    let mut wanted: BTreeMap<RecordNo, (BlockMeta, BTreeSet<Hash>)> = BTreeMap::new();
    for found in found {
        if let Found::Stands(id, block) = found {
            wanted.entry(block.record).or_insert_with(|| (*block, BTreeSet::new())).1.insert(*id);
        }
    }
    let (mut copied, mut bytes) = (BTreeMap::new(), 0);
    for (block, ids) in wanted.into_values() {
        let block_bytes = service.node().reader().block(block.record)?;
        let mut rest = &block_bytes[TRANSFERS_AT..];
        while !rest.is_empty() {
            let (transfer, after) = codec::decode_prefix::<Transaction>(rest).expect("a block that was checked");
            let of_it = &rest[..rest.len() - after.len()];
            rest = after;
            let id = Hash::sha256d(of_it);
            if ids.contains(&id) && bytes <= bytes_max {
                bytes += of_it.len();
                copied.insert(id, (as_waiting(id, &block, &transfer, of_it.len()), of_it.into()));
            }
        }
    }
    Ok(copied)
}

/// How one is told that is in a block already. When it came nobody knows any more; it was before the block.
fn as_waiting(id: Hash, block: &BlockMeta, transfer: &Transaction, size_bytes: usize) -> Waiting {
    Waiting { id, fee: fee_of(transfer), size_bytes, arrived: Wall(block.header.time), ancestors: 0 }
}
