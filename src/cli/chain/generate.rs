//! `spindle chain generate`: a valid chain, fast; for tests, benches and classes.
//!
//! Blocks hold only their coinbase. Their times lie a block time apart and end a block time ago; where
//! a chain is there already and time is short, they follow its tip in steps of a millisecond. They go
//! through the same door as a peer's blocks, [`Chain::accept`], a batch at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use argh::FromArgs;
use serde::Serialize;

use crate::blockchain::block::{Block, CheckedBlock, Header, ReadBlock};
use crate::blockchain::chain::{Chain, Refusal, Step};
use crate::blockchain::disk::Disk;
use crate::blockchain::mining::Miner;
use crate::blockchain::os::DataDir;
use crate::blockchain::params::{Params, TIME_STEP_MIN_MS};
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::blockchain::storage::checkpoint;
use crate::blockchain::template::template;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::payout::MineTo;
use crate::cli::{directory, network, signals, values};
use crate::primitives::hash::Hash;
use crate::primitives::time::{Clock, Wall};
use crate::wallet::address;

/// Blocks that are appended in one write.
const BATCH: u64 = 500;
/// Nonces between two looks at whether to stop: a few milliseconds.
const CHUNK: u64 = 65_536;
/// More than four bytes count, less the genesis.
const BLOCKS_MAX: u64 = 4_000_000_000;

/// write a valid chain, or more of one
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "generate")]
pub struct Generate {
    /// how many blocks
    #[argh(option, from_str_fn(blocks))]
    blocks: u64,
    /// where the chain is, or will be
    #[argh(option)]
    data_dir: PathBuf,
    /// local, regtest or a spec's file [regtest]
    #[argh(option, default = "String::from(\"regtest\")")]
    network: String,
    /// whom the blocks pay: a wallet's address, a public key in hex, or a key file, made on first use
    /// [miner.key in the data directory]
    #[argh(option)]
    mine_to: Option<String>,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

fn blocks(text: &str) -> Result<u64, String> {
    values::number(text, 1..=BLOCKS_MAX, "1 to 4000000000 are allowed")
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Blocks made now.
    blocks: u64,
    height: u64,
    tip: Hash,
    #[serde(flatten)]
    paid: Paid,
    blocks_per_s: u64,
}

/// Whom the coinbases pay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Paid {
    Key(String),
    Address(String),
}

impl Generate {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let params = Arc::new(network::load(&self.network)?);
        directory::check(&self.data_dir)?;
        let mine_to = MineTo::check(&params, self.mine_to.as_deref(), &self.data_dir)?;

        let disk: Arc<dyn Disk> = Arc::new(DataDir::open(&self.data_dir)?);
        let (payout, made) = mine_to.payout()?;
        if let Some(path) = made {
            output::remark(&format!("made the key file {}", path.display()));
        }
        let (chain, _) = Chain::open(Arc::clone(&params), &disk, &mut |_| {})?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        signals::on_stop(move || asked.store(true, Ordering::Relaxed))?;
        let clock = Clock::start();
        let plan = Plan::new(&params, chain.tip_position(), self.blocks, clock.now().wall)?;
        let mut maker = Maker { params, chain, payout, plan, stop };
        let made = maker.make(self.blocks)?;
        let elapsed_ms = clock.now().mono.0.max(1);
        maker.settle(&disk)?;
        let tip = *maker.chain.tip();
        let blocks_per_s = made.saturating_mul(1_000) / elapsed_ms;
        let paid = match &maker.payout {
            Payout::Key(key) => Paid::Key(key.to_string()),
            Payout::Address { address, .. } => Paid::Address(address::show(&maker.params, address)),
        };
        let outcome = Outcome { blocks: made, height: tip.header.height, tip: tip.id, paid, blocks_per_s };
        if self.json {
            return output::say_json(&outcome);
        }
        let Outcome { blocks, height, tip, .. } = outcome;
        output::say(&format!("made {blocks} blocks: height {height}, tip {tip} ({blocks_per_s} blocks/s)"))
    }
}

/// The times of the blocks to come.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// What the last of them would have if there were time enough.
    end: u64,
    spacing_ms: u64,
}

impl Plan {
    /// A block must not be further ahead of the clock than nodes allow, so only so many fit behind a tip.
    fn new(params: &Params, tip: &Position, blocks: u64, now: Wall) -> Result<Self, Failure> {
        let room = now.0.saturating_add(params.spec().future_limit_ms).saturating_sub(tip.time) / TIME_STEP_MIN_MS;
        if blocks > room {
            return Err(Failure::world(format!(
                "{blocks} blocks do not fit behind the tip: its time is so close to this machine's clock that only {room} \
                 more can be at least {TIME_STEP_MIN_MS} ms apart; ask for fewer, or wait"
            )));
        }
        let spacing_ms = params.spec().block_time_ms;
        // Not now: what is generated next needs room too.
        Ok(Self { end: now.0.saturating_sub(spacing_ms), spacing_ms })
    }

    /// The time of the block that `left` more will follow.
    fn time(&self, parent: &Position, left: u64) -> u64 {
        self.end.saturating_sub(left.saturating_mul(self.spacing_ms)).max(parent.time + TIME_STEP_MIN_MS)
    }
}

struct Maker {
    params: Arc<Params>,
    chain: Chain,
    payout: Payout,
    plan: Plan,
    stop: Arc<AtomicBool>,
}

impl Maker {
    /// Makes so many blocks, unless it is told to stop; says how many it made.
    fn make(&mut self, blocks: u64) -> Result<u64, Failure> {
        let mut progress = Progress::new("generating", "blocks");
        let mut parent = *self.chain.tip_position();
        let mut made = 0;
        // A block that takes work is appended at once: the next may take long.
        let batch = if parent.difficulty_due(&self.params) == 1 { BATCH } else { 1 };
        while made < blocks && !self.stop.load(Ordering::Relaxed) {
            let count = batch.min(blocks - made);
            let mut run = Vec::with_capacity(usize::try_from(count).expect("a batch is small"));
            for n in 1..=count {
                let Some(block) = self.block_after(&mut parent, blocks - made - n)? else { break };
                run.push(block);
            }
            made += run.len() as u64;
            self.take(run)?;
            progress.at(made, blocks);
        }
        progress.end();
        Ok(made)
    }

    /// The next block, and `parent` moved on to it; none if it was told to stop.
    fn block_after(&self, parent: &mut Position, left: u64) -> Result<Option<CheckedBlock>, Failure> {
        let block = template(&self.params, parent, &self.payout, &[]);
        let header = Header { time: self.plan.time(parent, left), ..block.header };
        let Some(header) = self.search(header) else { return Ok(None) };
        let bytes = Block { header, ..block }.to_bytes();
        let block = ReadBlock::read(&self.params, bytes)?.trusted();
        *parent = parent.child(&self.params, &block.checked_header(), Wall(u64::MAX))?;
        Ok(Some(block))
    }

    /// The header with a nonce that meets its difficulty; none if it was told to stop.
    fn search(&self, header: Header) -> Option<Header> {
        if header.difficulty == 1 {
            return Some(header);
        }
        let miner = Miner::new(header);
        let mut first = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(found) = miner.search(first, CHUNK) {
                return Some(found);
            }
            first += CHUNK;
        }
        None
    }

    /// Appends blocks and moves the ledger on to them.
    fn take(&mut self, run: Vec<CheckedBlock>) -> Result<(), Failure> {
        let acceptance = self.chain.accept(Clock::start().now().wall, run, true)?;
        if let Some((id, refusal)) = acceptance.refused.first() {
            let why = match refusal {
                Refusal::Rule(reject) => reject.to_string(),
                other => format!("{other:?}"),
            };
            return Err(Failure::world(format!("block {id:.16} was refused by its own chain: {why}")));
        }
        loop {
            match self.chain.advance()? {
                Step::Still => return Ok(()),
                Step::More | Step::NewTip { .. } => {}
                Step::Failed { reject, .. } => return Err(reject.into()),
            }
        }
    }

    /// Makes everything durable, and the next start quick.
    fn settle(&mut self, disk: &Arc<dyn Disk>) -> Result<(), Failure> {
        let store = self.chain.store();
        store.syncer().sync(store.appended_bytes())?;
        let tip = self.chain.tip();
        checkpoint::write(&**disk, &store.identity(), tip.id, self.chain.ledger(), &mut || true)?;
        Ok(())
    }
}
