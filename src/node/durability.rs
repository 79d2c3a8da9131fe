//! What is promised only once it cannot be lost: syncs, checkpoints, and what people are told of both.
//!
//! At most one sync is under way. At the tip each block is synced at once; while catching up, syncs are
//! grouped, because nobody waits for them and a peer has every block that a crash could cost.

use std::collections::VecDeque;

use crate::blockchain::chain::Chain;
use crate::blockchain::ledger::Ledger;
use crate::blockchain::storage::BlockMeta;
use crate::node::event::Effect;
use crate::node::report::{Level, Report};
use crate::primitives::hash::Hash;
use crate::primitives::time::Mono;

/// Between two syncs while catching up.
const GROUP_MS: u64 = 500;
/// Bytes that are synced without waiting for that.
const GROUP_BYTES: u64 = 16 << 20;
/// Blocks appended since the last checkpoint that make the next one due: what start-up replays at most.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Tips that wait for their sync. More are only counted by the last of them.
const PENDING_MAX: usize = 64;
/// Transactions in blocks that wait for their sync, 256 KiB of ids. Nobody is told of more: a line is lost.
const CONFIRMED_MAX: usize = 8_192;

/// What waits for the disk.
#[derive(Debug)]
pub struct Durability {
    in_flight: bool,
    asked_upto: u64,
    asked_at: Mono,
    /// Tips that are not durable yet.
    tips: VecDeque<BlockMeta>,
    /// Blocks of ours that are not durable yet.
    mined: VecDeque<BlockMeta>,
    /// Blocks that were applied, and which of the transactions that waited here they hold.
    confirmed: Vec<(BlockMeta, Vec<Hash>)>,
    checkpoint: Checkpoint,
    /// Where the block file ended when the newest checkpoint was taken.
    checkpointed: u64,
}

#[derive(Debug)]
enum Checkpoint {
    None,
    /// Taken, and waiting for its block to be durable.
    Taken(BlockMeta, Ledger),
    /// The disk thread writes it.
    Writing(Hash),
}

impl Durability {
    /// `checkpointed`: where the block lies that the checkpoint on disk stands on; 0 without one.
    pub fn new(chain: &Chain, checkpointed: u64) -> Self {
        Self {
            in_flight: false,
            asked_upto: chain.store().durable_bytes(),
            asked_at: Mono(0),
            tips: VecDeque::new(),
            mined: VecDeque::new(),
            confirmed: Vec::new(),
            checkpoint: Checkpoint::None,
            checkpointed,
        }
    }

    /// The chain has a new tip.
    pub fn on_tip(&mut self, tip: BlockMeta) {
        if self.tips.len() >= PENDING_MAX {
            self.tips.pop_back();
        }
        self.tips.push_back(tip);
    }

    /// A block of ours is in the file.
    pub fn on_mined(&mut self, meta: &BlockMeta) {
        self.mined.push_back(*meta);
    }

    /// A block holds transactions that waited here.
    pub fn on_confirmed(&mut self, block: BlockMeta, ids: Vec<Hash>) {
        let held: usize = self.confirmed.iter().map(|(_, ids)| ids.len()).sum();
        if !ids.is_empty() && held + ids.len() <= CONFIRMED_MAX {
            self.confirmed.push((block, ids));
        }
    }

    /// Transactions that have left the pool for a block that nobody has been told of, as far as they waited here: with
    /// their block, which is not durable or, in the middle of a walk, not published.
    pub fn untold(&self, chain: &Chain) -> impl Iterator<Item = (&BlockMeta, &[Hash])> {
        let (durable, reader, rests) = (chain.store().durable_bytes(), chain.reader(), chain.rests());
        // Of a branch that was left they have come back, or can no longer be mined.
        let waits = move |block: &BlockMeta| !rests || block.end() > durable && reader.is_active(block);
        self.confirmed.iter().filter(move |(block, _)| waits(block)).map(|(block, ids)| (block, &ids[..]))
    }

    /// Tells of those whose blocks last and are still on the chain; in the middle of a walk nobody can say that.
    fn tell_confirmed(&mut self, chain: &Chain, out: &mut Vec<Effect>) {
        if self.confirmed.is_empty() || !chain.rests() {
            return;
        }
        let (durable, reader) = (chain.store().durable_bytes(), chain.reader());
        let lasting = self.confirmed.extract_if(.., |(block, _)| block.end() <= durable);
        for (block, ids) in lasting.filter(|(block, _)| reader.is_active(block)) {
            out.push(Effect::Tell(Report::Confirmed { height: block.header.height, ids }));
        }
    }

    /// Asks for whatever the disk should do now.
    pub fn pump(&mut self, now: Mono, chain: &Chain, catching_up: bool, out: &mut Vec<Effect>) {
        self.tell_confirmed(chain, out);
        let appended = chain.store().appended_bytes();
        let waits = catching_up
            && now.since(self.asked_at) < GROUP_MS
            && appended.saturating_sub(self.asked_upto) < GROUP_BYTES;
        if !self.in_flight && appended > self.asked_upto && !waits {
            self.ask(now, appended, out);
        }
        let due = appended.saturating_sub(self.checkpointed) > CHECKPOINT_BYTES;
        if due && chain.rests() && matches!(self.checkpoint, Checkpoint::None) {
            self.checkpointed = appended;
            self.checkpoint = Checkpoint::Taken(*chain.tip(), chain.ledger().clone());
        }
        self.start_checkpoint(chain.store().durable_bytes(), out);
    }

    fn ask(&mut self, now: Mono, upto: u64, out: &mut Vec<Effect>) {
        (self.in_flight, self.asked_upto, self.asked_at) = (true, upto, now);
        out.push(Effect::Sync { upto });
    }

    fn start_checkpoint(&mut self, durable: u64, out: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.checkpoint, Checkpoint::None) {
            Checkpoint::Taken(meta, ledger) if meta.end() <= durable => {
                out.push(Effect::Checkpoint { tip: meta.id, ledger });
                self.checkpoint = Checkpoint::Writing(meta.id);
            }
            other => self.checkpoint = other,
        }
    }

    /// The file is durable up to here: now people may be told.
    /// Gives our own blocks for which that is true now.
    pub fn on_durable(&mut self, chain: &mut Chain, upto: u64, out: &mut Vec<Effect>) -> Vec<BlockMeta> {
        self.in_flight = false;
        chain.store_mut().set_durable(upto);
        let mut newest = None;
        while let Some(tip) = self.tips.pop_front_if(|tip| tip.end() <= upto) {
            // What has been left again meanwhile is no news.
            newest = Some(tip).filter(|tip| chain.reader().is_active(tip)).or(newest);
        }
        let mut mined = Vec::new();
        while let Some(meta) = self.mined.pop_front_if(|meta| meta.end() <= upto) {
            mined.push(meta);
            let (height, hash) = (meta.header.height, meta.id);
            out.push(Effect::Tell(if chain.reader().is_active(&meta) {
                Report::Mined { height, hash }
            } else {
                let text = format!("mined height={height} hash={hash}, but another block came first");
                Report::Note { level: Level::Info, text }
            }));
        }
        if let Some(tip) = newest {
            out.push(Effect::Tell(Report::Durable { height: tip.header.height, hash: tip.id }));
        }
        mined
    }

    /// A checkpoint is on the disk, or was not worth it.
    pub fn on_checkpointed(&mut self, tip: Hash) {
        if matches!(self.checkpoint, Checkpoint::Writing(writing) if writing == tip) {
            self.checkpoint = Checkpoint::None;
        }
    }

    /// What the disk should do before the end: everything appended made durable, and a checkpoint so
    /// that the next start is quick, if the disk can do that in time.
    pub fn close(&mut self, chain: &Chain, out: &mut Vec<Effect>) {
        let appended = chain.store().appended_bytes();
        if appended > chain.store().durable_bytes() {
            out.push(Effect::Sync { upto: appended });
        }
        if chain.rests() && chain.tip().end() > self.checkpointed {
            out.push(Effect::Checkpoint { tip: chain.tip().id, ledger: chain.ledger().clone() });
        }
    }
}
