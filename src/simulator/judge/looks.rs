//! What is too dear to be looked at after every step: pools, tables, queues.
//!
//! The caps of the design stand here once more, so that one that is moved by mistake is seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::mempool::Source;
use crate::blockchain::transaction::CoinId;
use crate::node::Node;
use crate::simulator::end::{CREDITS, End, OUTBOX_BYTES, OUTBOX_MESSAGE_BYTES};
use crate::simulator::process::{INBOUND_MAX, Process};

const POOL_BYTES_MAX: usize = 16 << 20;
const ORPHANS_MAX: usize = 64;
const ORPHANS_PER_SOURCE: usize = 8;
const CHAIN_MAX: usize = 25;
const HEADERS_MAX: usize = 20_000;
const BOOK_MAX: usize = 4_096;
const LEAVES_MAX: usize = 4;
/// `Connected` and `Closed` of each connection, which cost no credit, and dials that failed.
const INBOX_FREE: usize = 2;
const DIALS_MAX: usize = 16;
/// A `Bye` goes out however full the outbox is.
const BYE_BYTES: usize = 300;

/// Each payment that waits spends what is there, and no two spend the same. Only while the node rests: during a
/// walk the pool follows a step behind.
pub(super) fn look_at_pool(node: &Node) -> Result<(), String> {
    let (pool, chain) = (node.pool(), node.chain());
    let waiting: Vec<&CheckedTx> = pool.ids().filter_map(|id| pool.get(&id)).collect();
    let made: BTreeSet<&CoinId> = waiting.iter().flat_map(|tx| tx.created()).collect();
    let mut spent = BTreeSet::new();
    for tx in waiting {
        for coin in tx.spent() {
            if !made.contains(coin) && !chain.ledger().contains(coin) {
                return Err(format!("transaction {:.12} waits for a coin that is not there", tx.id()));
            }
            if !spent.insert(coin) {
                return Err(format!("two transactions wait for one coin, one of them {:.12}", tx.id()));
            }
        }
    }
    Ok(())
}

/// Every table and queue is within its cap.
pub(super) fn look_at_caps(process: &Process) -> Result<(), String> {
    let node = process.node();
    let (pool, peers) = (node.pool(), node.peers());
    let of_source = peers.iter().map(|(id, _)| pool.orphans_of(Source(id.0))).max().unwrap_or(0);
    let leaves = peers.iter().map(|(_, peer)| peer.leaves().count()).max().unwrap_or(0);
    let ends = process.ends().count().max(peers.len());
    // Whoever went in between had its places too, so this is what the threads' inbox is sized by, and a few.
    let inbox_max = (INBOUND_MAX + 16).max(ends) * (CREDITS + INBOX_FREE) + DIALS_MAX;
    let queued = process.ends().map(End::queued_bytes).max().unwrap_or(0);
    let counted = [
        ("bytes in the pool", pool.used_bytes(), POOL_BYTES_MAX),
        ("orphans", pool.orphans(), ORPHANS_MAX),
        ("orphans of one peer", of_source, ORPHANS_PER_SOURCE),
        ("unconfirmed transactions in a row", longest_row(node), CHAIN_MAX),
        ("headers without bodies", node.chain().headers().len(), HEADERS_MAX),
        ("addresses in the book", node.addresses().len(), BOOK_MAX),
        ("branches that one peer has shown", leaves, LEAVES_MAX),
        ("events that waited for the owner", process.inbox_most(), inbox_max),
        ("bytes that wait for one peer", queued, OUTBOX_BYTES + BYE_BYTES + OUTBOX_MESSAGE_BYTES),
    ];
    match counted.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(format!("{found} {what} (limit {limit})")),
        None => Ok(()),
    }
}

/// The most transactions that wait one for another, each with all that must come before it.
fn longest_row(node: &Node) -> usize {
    let pool = node.pool();
    let waiting: Vec<&CheckedTx> = pool.ids().filter_map(|id| pool.get(&id)).collect();
    let makers: BTreeMap<&CoinId, usize> =
        (0..).zip(&waiting).flat_map(|(place, tx)| tx.created().iter().map(move |coin| (coin, place))).collect();
    let parents = |place: usize| waiting[place].spent().iter().filter_map(|coin| makers.get(coin).copied());
    let above = |place: usize| {
        let (mut found, mut open) = (BTreeSet::from([place]), vec![place]);
        while let Some(next) = open.pop() {
            open.extend(parents(next).filter(|parent| found.insert(*parent)));
        }
        found.len()
    };
    (0..waiting.len()).map(above).max().unwrap_or(0)
}
