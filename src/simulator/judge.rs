//! What must always hold, whatever goes wrong. The first thing that does not ends the run.
//!
//! After every step of a node that changed its tip: the new one has more work, keeps every rule by a second opinion
//! ([`Audit`]), and is not ahead of every time that its clock ever showed. As soon as the node rests after that: it
//! stands on the block that came first of those with most work; its ledger agrees, by number and by the tip's coins,
//! and every so often by every coin and their sum; its pool agrees with the ledger; what it told to wait waits, or is
//! in a block, or something stands against it. Before every start: recovery gives the same twice; after it: what was
//! told to be durable is there, unless more work undid it. Once a minute: every table and queue is within its cap
//! and, in stories in which nothing but peers goes wrong, nobody lags behind. At every hang-up: no honest node blames
//! another. Of every block that is served: its server had it on its chain, or tried it. None of this is a debug
//! assertion.

mod looks;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::blockchain::disk::Disk;
use crate::blockchain::memory_disk::MemoryDisk;
use crate::blockchain::params::Params;
use crate::blockchain::storage::{BlockMeta, RecordNo};
use crate::node::reason::Reason;
use crate::node::report::Report;
use crate::node::{Node, NodeConfig};
use crate::primitives::frame::{FrameHeader, HEADER_BYTES, KIND_BLOCK};
use crate::primitives::hash::Hash;
use crate::primitives::time::Now;
use crate::simulator::audit::{Audit, Fault};
use crate::simulator::crowd::Crowd;
use crate::simulator::net::{Host, Life};
use crate::simulator::process::Process;
use crate::simulator::queue::At;

/// Of so many new tips one is the occasion to compare every coin of a ledger.
const COMPARE_EVERY: u32 = 16;
/// What was told to wait is followed for so long.
const FOLLOWED_MS: u64 = 5 * 60_000;
/// What waited when a node was told to stop waits again by then.
const BROUGHT_BACK_MS: u64 = 2 * 60_000;
/// A block that is refused so often in one life was not remembered.
const REFUSALS_MAX: u32 = 24;
/// Looks that a node may be behind the best of the others while nothing is in its way.
const BEHIND_LOOKS: usize = 3;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// When it was seen, in microseconds of virtual time.
    #[serde(rename = "at_us")]
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
    tips: u32,
    /// It has a new tip, and has not rested since.
    is_due: bool,
    /// The latest time that its clock ever showed.
    latest_ms: u64,
    /// The first of the blocks in its file with most work that keep the rules, and how many were looked at.
    best: Option<BlockMeta>,
    records: u32,
    /// Blocks that were on its chain, in any life, or on a branch that it tried.
    connected: HashSet<Hash>,
    /// Those of them that came to its chain since somebody last asked.
    news: Vec<Hash>,
    /// The block with the most work of those that it told to be durable.
    promised: Option<BlockMeta>,
    /// Transactions that it told to wait, in this life or before it was told to stop; and since when that counts.
    waiting: VecDeque<(At, Hash)>,
    /// It was told to stop, and had time for it.
    is_stopped: bool,
    /// How often it refused a block, in this life.
    refused: BTreeMap<Hash, u32>,
}

/// What is looked at: an honest node in its world.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) host: Host,
    pub(crate) life: Life,
    pub(crate) at: At,
    /// What its clocks show.
    pub(crate) now: Now,
    pub(crate) node: &'a Node,
    pub(crate) crowd: &'a Crowd,
}

/// Who looks.
#[derive(Debug)]
pub(crate) struct Judge {
    seen: Vec<Seen>,
    audit: Audit,
    /// The most work of an honest tip, at each look so far that still counts.
    best_works: VecDeque<u128>,
}

impl Judge {
    pub(crate) fn new(hosts: usize, params: &Params) -> Self {
        let audit = Audit::new(params.spec().clone(), params.genesis_id());
        Self { seen: vec![Seen::default(); hosts], audit, best_works: VecDeque::new() }
    }

    // --- a step ---

    /// A node of whom nothing is promised has done something; gives its tip if that is another one.
    pub(crate) fn glimpse(&mut self, host: Host, node: &Node) -> Option<BlockMeta> {
        let tip = *node.chain().tip();
        let before = self.seen[host].tip.replace(tip);
        (before.map(|before| before.id) != Some(tip.id)).then_some(tip)
    }

    /// A node has done something; gives its tip if that is another one.
    pub(crate) fn after_step(&mut self, scene: Scene) -> Result<Option<BlockMeta>, String> {
        let seen = &mut self.seen[scene.host];
        seen.latest_ms = seen.latest_ms.max(scene.now.wall.0);
        let tip = *scene.node.chain().tip();
        let before = seen.tip.replace(tip);
        let is_start = std::mem::replace(&mut seen.life, scene.life) != scene.life;
        let is_new = is_start || before.is_some_and(|before| before.id != tip.id);
        if is_start {
            self.after_start(scene)?;
        } else if let Some(before) = before.filter(|before| before.id != tip.id) {
            self.after_tip(scene, &before)?;
        }
        let seen = &mut self.seen[scene.host];
        if seen.is_due && !scene.node.has_more() {
            seen.is_due = false;
            self.at_rest(scene)?;
        }
        Ok(is_new.then_some(tip))
    }

    /// Blocks that came to a node's chain since this was last asked, each for the first time in all its lives.
    pub(crate) fn news(&mut self, host: Host) -> Vec<Hash> {
        std::mem::take(&mut self.seen[host].news)
    }

    fn after_tip(&mut self, scene: Scene, before: &BlockMeta) -> Result<(), String> {
        let (tip, seen) = (scene.node.chain().tip(), &mut self.seen[scene.host]);
        (seen.is_due, seen.tips) = (true, seen.tips + 1);
        if tip.work <= before.work {
            return Err(format!(
                "the tip went from {:.12} with work {} to {:.12} with work {}",
                before.id, before.work, tip.id, tip.work
            ));
        }
        let limit_ms = scene.node.chain().params().spec().future_limit_ms;
        if tip.header.time > seen.latest_ms + limit_ms {
            let ahead_ms = tip.header.time - seen.latest_ms;
            return Err(format!("block {:.12} is {ahead_ms} ms ahead of its clock (limit {limit_ms})", tip.id));
        }
        self.stand_on_tip(scene)?;
        self.note_connected(scene)
    }

    /// The second opinion on the tip.
    fn stand_on_tip(&mut self, scene: Scene) -> Result<(), String> {
        let tip = scene.node.chain().tip();
        self.audit.stand_on(tip.id, &scene.node.reader(), &|id| scene.crowd.made(id).is_some())?;
        let work = self.audit.work_of(&tip.id);
        if work != tip.work {
            return Err(format!("it counts work {} up to {:.12}, and it is {work}", tip.work, tip.id));
        }
        Ok(())
    }

    /// What the tip stands on was on its chain, so it may be served.
    fn note_connected(&mut self, scene: Scene) -> Result<(), String> {
        let Seen { connected, news, .. } = &mut self.seen[scene.host];
        let reader = scene.node.reader();
        let mut at = scene.node.chain().tip().id;
        while connected.insert(at) {
            news.push(at);
            let Some(meta) = reader.find_meta(&at).map_err(|error| error.to_string())? else { break };
            at = meta.header.prev;
        }
        Ok(())
    }

    /// It has started on what a crash has left.
    fn after_start(&mut self, scene: Scene) -> Result<(), String> {
        let seen = &mut self.seen[scene.host];
        (seen.is_due, seen.best, seen.records) = (true, None, 0);
        seen.refused.clear();
        self.keeps_promise(scene)?;
        self.stand_on_tip(scene)?;
        self.note_connected(scene)?;
        self.compare(scene)?;
        let (seen, audit) = (&mut self.seen[scene.host], &self.audit);
        if std::mem::take(&mut seen.is_stopped) {
            // All of it is verified again, as soon as there is time for that.
            seen.waiting.iter_mut().for_each(|(since, _)| *since = scene.at.after_ms(BROUGHT_BACK_MS));
        } else {
            // What only waited is lost with the process; what is in a block is not.
            seen.waiting.retain(|(_, id)| audit.holds(id));
        }
        Ok(())
    }

    /// It was told to stop; whether it could keep what waits.
    pub(crate) fn on_stop(&mut self, host: Host, is_kept: bool) {
        self.seen[host].is_stopped = is_kept;
    }

    fn keeps_promise(&self, scene: Scene) -> Result<(), String> {
        let Some(promised) = &self.seen[scene.host].promised else { return Ok(()) };
        let (reader, tip) = (scene.node.reader(), scene.node.chain().tip());
        let found = reader.find_meta(&promised.id).map_err(|error| error.to_string())?;
        let Some(found) = found else {
            return Err(format!("block {:.12} was told to be durable, and is lost", promised.id));
        };
        let is_kept = reader.is_active(&found) || tip.work > promised.work;
        if is_kept { Ok(()) } else { Err(format!("block {:.12} was durable, and less work undid it", promised.id)) }
    }

    /// Nothing is left to do for it: everything it has agrees.
    fn at_rest(&mut self, scene: Scene) -> Result<(), String> {
        self.stands_on_the_first(scene)?;
        self.stand_on_tip(scene)?;
        let ledger = scene.node.chain().ledger();
        if self.seen[scene.host].tips.is_multiple_of(COMPARE_EVERY) {
            self.compare(scene)?;
        } else {
            self.audit.glance(ledger, scene.node.chain().params())?;
        }
        looks::look_at_pool(scene.node)?;
        self.look_at_waiting(scene)
    }

    /// Of the blocks in its file that keep the rules its tip has most work, and came first of those that have as much.
    fn stands_on_the_first(&mut self, scene: Scene) -> Result<(), String> {
        let (store, tip) = (scene.node.chain().store(), scene.node.chain().tip());
        loop {
            let Self { seen, audit, .. } = self;
            let seen = &mut seen[scene.host];
            let best = &mut seen.best;
            let visited = store.each_meta(RecordNo(seen.records), &mut |meta| {
                let is_wrong = audit.is_wrong(&meta.id, &meta.header.prev);
                if !is_wrong && best.is_none_or(|best| best.work < meta.work) {
                    *best = Some(meta);
                }
            });
            visited.map_err(|error| error.to_string())?;
            seen.records = store.records();
            let Some(best) = seen.best.filter(|best| best.id != tip.id) else { return Ok(()) };
            match self.audit.stand_on(best.id, &scene.node.reader(), &|id| scene.crowd.made(id).is_some()) {
                Ok(()) => {
                    return Err(format!(
                        "it stands on {:.12} with work {}, although {:.12} with work {} is in its file, and before it",
                        tip.id, tip.work, best.id, best.work
                    ));
                }
                Err(unreadable @ Fault::Unreadable(_)) => return Err(unreadable.into()),
                // It is marked as wrong now, so another one is the best.
                Err(Fault::Wrong(_)) => {}
            }
            let seen = &mut self.seen[scene.host];
            (seen.best, seen.records) = (None, 0);
        }
    }

    // --- what it says ---

    /// It tells people something.
    pub(crate) fn on_report(&mut self, scene: Scene, report: &Report) -> Result<(), String> {
        match report {
            Report::Durable { hash, .. } | Report::Mined { hash, .. } => self.promises(scene, hash),
            Report::Confirmed { height, ids } => {
                let record = scene.node.reader().record_at(*height);
                let record = record.ok_or_else(|| format!("block {height} confirms, and is not there"))?;
                let hash = scene.node.chain().store().meta(record).map_err(|error| error.to_string())?.id;
                self.promises(scene, &hash)?;
                self.stand_on_tip(scene)?;
                match ids.iter().find(|id| !self.audit.holds(id)) {
                    Some(id) => Err(format!("transaction {id:.12} is told to be confirmed, and is in no block")),
                    None => Ok(()),
                }
            }
            Report::Waits { id, .. } => {
                self.seen[scene.host].waiting.push_back((scene.at, *id));
                Ok(())
            }
            Report::Refused { id, .. } => self.refuses(scene, id),
            _ => Ok(()),
        }
    }

    fn promises(&mut self, scene: Scene, hash: &Hash) -> Result<(), String> {
        let meta = scene.node.reader().find_meta(hash).map_err(|error| error.to_string())?;
        let meta = meta.ok_or_else(|| format!("block {hash:.12} is told to be durable, and is not in the file"))?;
        if meta.end() > scene.node.chain().store().durable_bytes() {
            return Err(format!("block {hash:.12} is told to be durable before it is"));
        }
        let promised = &mut self.seen[scene.host].promised;
        if promised.as_ref().is_none_or(|promised| promised.work < meta.work) {
            *promised = Some(meta);
        }
        Ok(())
    }

    fn refuses(&mut self, scene: Scene, id: &Hash) -> Result<(), String> {
        let (reader, seen) = (scene.node.reader(), &mut self.seen[scene.host]);
        // What is below it was tried, and may be served.
        let mut at = reader.find_meta(id).map_err(|error| error.to_string())?.map(|meta| meta.header.prev);
        while let Some(id) = at.filter(|id| seen.connected.insert(*id)) {
            at = reader.find_meta(&id).map_err(|error| error.to_string())?.map(|meta| meta.header.prev);
        }
        let times = seen.refused.entry(*id).or_default();
        *times += 1;
        if *times > REFUSALS_MAX {
            return Err(format!("block {id:.12} was refused {times} times, as if it were not remembered"));
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

    /// It serves these frames.
    pub(crate) fn on_served(&self, host: Host, mut frames: &[u8]) -> Result<(), String> {
        while let Some((header, rest)) = frames.split_first_chunk::<HEADER_BYTES>() {
            let header = FrameHeader::from_bytes(header).ok_or("it serves what is no frame")?;
            let payload = rest.get(..header.length as usize).ok_or("it serves half a frame")?;
            if header.kind == KIND_BLOCK {
                let id = Hash::sha256d(payload.get(..100).ok_or("it serves half a block")?);
                if !header.matches(payload) || !self.seen[host].connected.contains(&id) {
                    return Err(format!("it serves block {id:.12}, which was never on its chain"));
                }
            }
            frames = &rest[payload.len()..];
        }
        Ok(())
    }

    // --- now and then ---

    /// Everything that is too dear to be looked at after every step.
    pub(crate) fn look(scene: Scene, process: &Process) -> Result<(), String> {
        looks::look_at_caps(process)?;
        if scene.node.has_more() {
            return Ok(());
        }
        looks::look_at_pool(scene.node)
    }

    /// What was told to wait does, or is in a block, or something stands against it. Looked at whenever it rests: what
    /// stood against it may be undone later, and it does not come back for that.
    fn look_at_waiting(&mut self, scene: Scene) -> Result<(), String> {
        if self.seen[scene.host].waiting.is_empty() {
            return Ok(());
        }
        self.stand_on_tip(scene)?;
        let Self { seen, audit, .. } = self;
        let (pool, ground) = (scene.node.pool(), scene.node.chain().ground(scene.now));
        let mut lost = None;
        seen[scene.host].waiting.retain(|(since, id)| {
            if scene.at < *since {
                return true;
            }
            let is_there = pool.contains(id) || audit.holds(id);
            if !is_there && scene.crowd.made(id).is_some_and(|tx| pool.match_inputs(tx, &ground).is_ok()) {
                lost = lost.or(Some(*id));
            }
            is_there && scene.at.since(*since) < FOLLOWED_MS * 1_000
        });
        match lost {
            Some(id) => Err(format!("transaction {id:.12} was told to wait, and is forgotten")),
            None => Ok(()),
        }
    }

    /// Whether a payment is in a block of this node's chain.
    pub(crate) fn has_paid(&mut self, scene: Scene, payment: &Hash) -> Result<bool, String> {
        self.stand_on_tip(scene)?;
        Ok(self.audit.holds(payment))
    }

    /// The ledger is what the blocks come to.
    pub(crate) fn look_at_ledger(&mut self, scene: Scene) -> Result<(), String> {
        self.stand_on_tip(scene)?;
        self.compare(scene)
    }

    /// Every coin of a ledger, where the audit stands on its tip.
    fn compare(&self, scene: Scene) -> Result<(), String> {
        self.audit.compare(scene.node.chain().ledger(), scene.node.chain().params())
    }

    /// While nothing but liars is in anybody's way nobody stays behind; gives who does.
    pub(crate) fn look_at_works(&mut self, works: &[(Host, u128)]) -> Option<Host> {
        let due = (self.best_works.len() == BEHIND_LOOKS).then(|| self.best_works.pop_front()).flatten();
        self.best_works.push_back(works.iter().map(|(_, work)| *work).max().unwrap_or(0));
        works.iter().find(|(_, work)| due.is_some_and(|due| *work < due)).map(|(host, _)| *host)
    }
}

/// Opens what a crash has left, twice, and what that left once more: three times the same, and the last time no
/// byte is changed.
pub(crate) fn recovers_alike(config: &NodeConfig, left: &MemoryDisk) -> Result<(), String> {
    let open = |disk: &MemoryDisk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let (node, _) = Node::open(config.clone(), &disk, &mut |_| {})
            .map_err(|error| format!("it does not start again: {error}"))?;
        let chain = node.chain();
        Ok::<_, String>((chain.tip().id, chain.ledger().len(), chain.store().records(), chain.ledger().hash()))
    };
    let files = |disk: &MemoryDisk| -> Vec<_> { disk.names().iter().map(|name| disk.bytes(name)).collect() };
    let (one, other) = (left.kill(), left.kill());
    // Whether there is space is not what is asked here.
    for disk in [&one, &other] {
        disk.set_free_bytes(1 << 40);
    }
    let found = [open(&one)?, open(&other)?];
    let before = files(&one);
    let again = open(&one)?;
    if found[0] != found[1] || found[0] != again {
        return Err(format!(
            "recovery gives tip {:.12} of {} records, then {:.12} of {}, then {:.12} of {}, or other ledgers",
            found[0].0, found[0].2, found[1].0, found[1].2, again.0, again.2
        ));
    }
    if files(&one) != before {
        return Err("a second recovery changes what the first one left".into());
    }
    Ok(())
}

/// The ids of tips, for a sentence.
pub(crate) fn list(ids: &BTreeSet<Hash>) -> String {
    let ids: Vec<String> = ids.iter().take(4).map(|id| format!("{id:.12}")).collect();
    ids.join(", ")
}
