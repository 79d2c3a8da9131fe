//! What must always hold, whatever goes wrong. The first thing that does not ends the run.
//!
//! After every step of a node: its tip gained work. After every crash: what was told to be durable is there,
//! unless more work undid it. Once a minute: pools agree with ledgers, and every table and queue is within
//! its cap. At every hang-up: no honest node blames another. None of this is a debug assertion.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::blockchain::headers;
use crate::blockchain::mempool::{ORPHANS_MAX, POOL_BYTES_MAX};
use crate::blockchain::storage::BlockMeta;
use crate::blockchain::transaction::CoinId;
use crate::node::Node;
use crate::node::addresses::BOOK_MAX;
use crate::node::reason::Reason;
use crate::node::report::Report;
use crate::primitives::hash::Hash;
use crate::simulator::end::{CREDITS, OUTBOX_BYTES, OUTBOX_MESSAGE_BYTES};
use crate::simulator::net::{Host, Life};
use crate::simulator::process::Process;
use crate::simulator::queue::At;

/// `Connected` and `Closed` of each connection, which cost no credit, and dials that failed.
const INBOX_FREE: usize = 2;
const DIALS_MAX: usize = 16;
/// A `Bye` goes out however full the outbox is.
const BYE_BYTES: usize = 300;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: At,
    /// Which node, if it was one.
    pub host: Option<usize>,
    /// What.
    pub what: String,
}

impl Violation {
    /// The simulator itself has failed: a bug, but of no node.
    pub fn of_simulator(panic: &str) -> Self {
        Self { at: At(0), host: None, what: format!("the simulator failed: {panic}") }
    }
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}, ", self.at)?;
        if let Some(host) = self.host {
            write!(f, "node {host}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// What a node was seen to be, and what it has promised.
#[derive(Clone, Debug, Default)]
struct Seen {
    life: Life,
    tip: Option<BlockMeta>,
    /// The block with the most work of those that it told to be durable.
    promised: Option<BlockMeta>,
}

/// Who looks.
#[derive(Debug)]
pub(crate) struct Judge {
    seen: Vec<Seen>,
}

impl Judge {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { seen: vec![Seen::default(); hosts] }
    }

    /// A node has done something; gives its tip if that is another one.
    pub(crate) fn after_step(&mut self, host: Host, life: Life, node: &Node) -> Result<Option<BlockMeta>, String> {
        let (tip, seen) = (node.chain().tip(), &mut self.seen[host]);
        let before = seen.tip.replace(*tip);
        if seen.life != life {
            seen.life = life;
            self.after_start(host, node)?;
            return Ok(Some(*tip));
        }
        let Some(before) = before.filter(|before| before.id != tip.id) else { return Ok(None) };
        if tip.work <= before.work {
            return Err(format!(
                "the tip went from {:.12} with work {} to {:.12} with work {}",
                before.id, before.work, tip.id, tip.work
            ));
        }
        Ok(Some(*tip))
    }

    /// It has started on what a crash has left.
    fn after_start(&self, host: Host, node: &Node) -> Result<(), String> {
        let Some(promised) = &self.seen[host].promised else { return Ok(()) };
        let (reader, tip) = (node.reader(), node.chain().tip());
        let found = reader.find_meta(&promised.id).map_err(|error| error.to_string())?;
        let Some(found) = found else {
            return Err(format!("block {:.12} was told to be durable, and is lost", promised.id));
        };
        let is_kept = reader.is_active(&found) || tip.work > promised.work;
        if is_kept { Ok(()) } else { Err(format!("block {:.12} was durable, and less work undid it", promised.id)) }
    }

    /// It tells people something.
    pub(crate) fn on_report(&mut self, host: Host, node: &Node, report: &Report) -> Result<(), String> {
        let (Report::Durable { hash, .. } | Report::Mined { hash, .. }) = report else { return Ok(()) };
        let meta = node.reader().find_meta(hash).map_err(|error| error.to_string())?;
        let meta = meta.ok_or_else(|| format!("block {hash:.12} is told to be durable, and is not in the file"))?;
        if meta.end() > node.chain().store().durable_bytes() {
            return Err(format!("block {hash:.12} is told to be durable before it is"));
        }
        let promised = &mut self.seen[host].promised;
        if promised.as_ref().is_none_or(|promised| promised.work < meta.work) {
            *promised = Some(meta);
        }
        Ok(())
    }

    /// An honest node has hung up on another.
    pub(crate) fn on_hang_up(on: Host, reason: &Reason) -> Result<(), String> {
        if reason.is_fault() || matches!(reason, Reason::Bug) {
            return Err(format!("it blames node {on}, which is honest: {reason}"));
        }
        Ok(())
    }

    /// Everything that is too dear to be looked at after every step.
    pub(crate) fn look(process: &Process) -> Result<(), String> {
        look_at_pool(process.node())?;
        look_at_queues(process)
    }
}

/// Each payment that waits spends what is there, and no two spend the same.
fn look_at_pool(node: &Node) -> Result<(), String> {
    let (pool, chain) = (node.pool(), node.chain());
    if pool.used_bytes() > POOL_BYTES_MAX || pool.orphans() > ORPHANS_MAX {
        return Err(format!("the pool holds {} bytes and {} orphans", pool.used_bytes(), pool.orphans()));
    }
    // While a walk is under way the pool follows a step behind.
    if node.has_more() {
        return Ok(());
    }
    let waiting: Vec<_> = pool.ids().filter_map(|id| pool.get(&id)).collect();
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

fn look_at_queues(process: &Process) -> Result<(), String> {
    let node = process.node();
    if node.chain().headers().len() > headers::HEADERS_MAX {
        return Err(format!("{} headers without bodies", node.chain().headers().len()));
    }
    if node.addresses().len() > BOOK_MAX {
        return Err(format!("{} addresses in the book (limit {BOOK_MAX})", node.addresses().len()));
    }
    let ends = process.ends().count().max(node.peers().len());
    // Whoever went in between had its places too, so this is what the threads' inbox is sized by, and a few.
    let inbox_max = (super::process::INBOUND_MAX + 16).max(ends) * (CREDITS + INBOX_FREE) + DIALS_MAX;
    if process.inbox_most() > inbox_max {
        return Err(format!("{} events waited for the owner (limit {inbox_max})", process.inbox_most()));
    }
    let outbox_max = OUTBOX_BYTES + BYE_BYTES + OUTBOX_MESSAGE_BYTES;
    match process.ends().find(|end| end.queued_bytes() > outbox_max) {
        Some(end) => Err(format!("{} bytes wait for {}", end.queued_bytes(), end.peer)),
        None => Ok(()),
    }
}

/// The ids of tips, for a sentence.
pub(crate) fn list(ids: &BTreeSet<Hash>) -> String {
    let ids: Vec<String> = ids.iter().take(4).map(|id| format!("{id:.12}")).collect();
    ids.join(", ")
}
