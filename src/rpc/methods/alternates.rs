//! Branches that lost: blocks in the file that are not on the active chain. What was refused is no branch, and neither
//! is what builds on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::blockchain::storage::{BlockMeta, RecordNo};
use crate::primitives::hash::Hash;
use crate::rpc::call::{Fine, Nothing};
use crate::rpc::fault::Fault;
use crate::rpc::service::Service;
use crate::rpc::show::{Hex, halves};

/// How far back in the file branches are looked for, in blocks: 1.6 MB of the index.
const LOOKED_AT: u32 = 10_000;
/// Records that are read at once.
const STEP: u32 = 1_000;
/// Blocks of all branches that are shown, the newest first.
const SHOWN_MAX: usize = 1_000;

#[derive(Serialize)]
struct Alternates {
    chains: Vec<Branch>,
    status: Fine,
    untrusted: bool,
}

/// A branch, from its last block down to the one that is on the active chain.
#[derive(Serialize)]
struct Branch {
    block_hash: Hash,
    block_hashes: Vec<Hash>,
    /// Of the whole branch, from genesis on.
    difficulty: u64,
    difficulty_top64: u64,
    /// Of its last block.
    height: u64,
    length: usize,
    main_chain_parent_block: Hash,
    wide_difficulty: Hex,
}

pub(in crate::rpc) fn get_alternate_chains(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let chain = service.chain();
    let reader = chain.reader();
    let _turn = service.making()?;
    let mut others: BTreeMap<Hash, BlockMeta> = BTreeMap::new();
    let records = reader.records();
    let mut first = records.saturating_sub(LOOKED_AT);
    while first < records {
        let count = STEP.min(records - first);
        let metas = reader.metas(RecordNo(first), count as usize)?;
        others
            .extend(metas.into_iter().filter(|meta| chain.is_told(meta) && !reader.is_active(meta)).map(|m| (m.id, m)));
        first += count;
    }
    let ids: Vec<(Hash, Hash)> = others.values().map(|meta| (meta.id, meta.header.prev)).collect();
    let refused = service.node().look(move |view| {
        let is_bad = |id: &Hash| view.node.chain().is_condemned(id);
        ids.into_iter().filter(|(id, prev)| is_bad(id) || is_bad(prev)).map(|(id, _)| id).collect::<BTreeSet<_>>()
    })?;
    others.retain(|id, _| !refused.contains(id));
    let parents: BTreeSet<Hash> = others.values().map(|meta| meta.header.prev).collect();
    let mut leaves: Vec<&BlockMeta> = others.values().filter(|meta| !parents.contains(&meta.id)).collect();
    leaves.sort_unstable_by_key(|meta| std::cmp::Reverse(meta.record));
    let (mut chains, mut shown) = (Vec::new(), 0);
    for leaf in leaves {
        if shown >= SHOWN_MAX {
            break;
        }
        let branch = branch_of(leaf, &others, SHOWN_MAX - shown);
        shown += branch.length;
        chains.push(branch);
    }
    Ok(Alternates { chains, status: Fine::Ok, untrusted: false })
}

fn branch_of(leaf: &BlockMeta, others: &BTreeMap<Hash, BlockMeta>, most: usize) -> Branch {
    let mut block_hashes = vec![leaf.id];
    let mut parent = leaf.header.prev;
    while let Some(meta) = others.get(&parent).filter(|_| block_hashes.len() < most) {
        block_hashes.push(meta.id);
        parent = meta.header.prev;
    }
    let (difficulty, difficulty_top64) = halves(leaf.work);
    Branch {
        block_hash: leaf.id,
        length: block_hashes.len(),
        block_hashes,
        difficulty,
        difficulty_top64,
        height: leaf.header.height,
        main_chain_parent_block: parent,
        wide_difficulty: Hex(leaf.work),
    }
}
