//! `spindle chain generate`: a valid chain, fast; for tests, benches and classes.
//!
//! Blocks hold only their coinbase; with `--txs` the last ones are full of transfers ([`transfers`]). Their times
//! lie a block time apart and end a block time ago; where a chain is there already and time is short, they
//! follow its tip in steps of a millisecond. They go through the same door as a peer's blocks,
//! [`Chain::accept`], a batch at a time.
//!
//! [`transfers`]: crate::cli::chain::transfers

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use argh::FromArgs;
use serde::Serialize;

use crate::blockchain::block::{CheckedBlock, Header};
use crate::blockchain::chain::{Chain, Refusal, Step, TURN_BYTES};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::disk::Disk;
use crate::blockchain::mining::Miner;
use crate::blockchain::os::DataDir;
use crate::blockchain::params::{Params, TIME_STEP_MIN_MS};
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::blockchain::storage::checkpoint;
use crate::blockchain::template::Template;
use crate::cli::chain::transfers::{PER_BLOCK, Payer};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::payout::{self, MineTo};
use crate::cli::{directory, network, signals, values};
use crate::primitives::hash::Hash;
use crate::primitives::thread::check_pool;
use crate::primitives::time::{Clock, Wall};
use crate::wallet::address;

/// Blocks that are appended in one write.
const BATCH: usize = 500;
/// Nonces between two looks at whether to stop: a few milliseconds.
const CHUNK: u64 = 65_536;
/// More than four bytes count, less the genesis.
const BLOCKS_MAX: u64 = 4_000_000_000;
/// Each leaves a coin to be kept in mind: 72 bytes.
const TXS_MAX: u64 = 10_000_000;

/// write a valid chain, or more of one
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "generate")]
pub struct Generate {
    /// how many blocks [as many as --txs takes]
    #[argh(option, from_str_fn(blocks))]
    blocks: Option<u64>,
    /// how many transfers, each of one input and two outputs; they fill the last of the blocks, behind those in which
    /// the first coin matures; signed with the key file of --mine-to [0]
    #[argh(option, from_str_fn(txs))]
    txs: Option<u64>,
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
    /// no progress lines [no]
    #[argh(switch)]
    quiet: bool,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

fn blocks(text: &str) -> Result<u64, String> {
    values::number(text, 1..=BLOCKS_MAX, "1 to 4000000000 are allowed")
}

fn txs(text: &str) -> Result<u64, String> {
    values::number(text, 1..=TXS_MAX, "1 to 10000000 are allowed")
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Blocks made now.
    blocks: u64,
    /// Transfers in them.
    txs: u64,
    height: u64,
    tip: Hash,
    #[serde(flatten)]
    paid: Paid,
    blocks_per_s: u64,
    txs_per_s: u64,
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
        let order = Order::new(&params, self.blocks, self.txs.unwrap_or(0))?;
        if order.txs > 0 {
            mine_to.key_file().map_err(|what| {
                Failure::options(format!(
                    "option `--txs`: transfers are signed, and `--mine-to` names {what}; name a key file"
                ))
            })?;
        }

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
        let plan = Plan::new(&params, chain.tip_position(), order.blocks, clock.now().wall)?;
        let payer = match mine_to.key_file() {
            Ok(path) if order.txs > 0 => {
                // The threads end with the pool, which ends with this command: nobody has to wait for them.
                let pool = check_pool()?.map(|(pool, _)| pool);
                Some(Payer::new(Arc::clone(&params), pool, payout::secret(path)?.0, chain.tip().id))
            }
            _ => None,
        };
        let mut maker = Maker { params, chain, payout, payer, plan, stop, quiet: self.quiet };
        let made = maker.make(order)?;
        let elapsed_ms = clock.now().mono.0.max(1);
        maker.settle(&disk)?;
        self.tell(&maker, made, elapsed_ms)
    }

    fn tell(&self, maker: &Maker, made: Order, elapsed_ms: u64) -> Result<(), Failure> {
        let tip = maker.chain.tip();
        let paid = match &maker.payout {
            Payout::Key(key) => Paid::Key(key.to_string()),
            Payout::Address { address, .. } => Paid::Address(address::show(&maker.params, address)),
        };
        let Order { blocks, txs } = made;
        let [blocks_per_s, txs_per_s] = [blocks, txs].map(|count| count.saturating_mul(1_000) / elapsed_ms);
        let outcome = Outcome { blocks, txs, height: tip.header.height, tip: tip.id, paid, blocks_per_s, txs_per_s };
        if self.json {
            return output::say_json(&outcome);
        }
        let Outcome { height, tip, .. } = outcome;
        let with = if txs > 0 { format!(" with {txs} transfers ({txs_per_s} transfers/s)") } else { String::new() };
        output::say(&format!("made {blocks} blocks{with}: height {height}, tip {tip} ({blocks_per_s} blocks/s)"))
    }
}

/// So many blocks with so many transfers in all.
#[derive(Clone, Copy, Debug)]
struct Order {
    blocks: u64,
    txs: u64,
}

impl Order {
    fn new(params: &Params, blocks: Option<u64>, txs: u64) -> Result<Self, Failure> {
        let (maturity, full) = (params.spec().maturity, txs.div_ceil(PER_BLOCK as u64));
        match blocks {
            None if txs == 0 => Err(Failure::options("say how much is to be made: `--blocks`, `--txs` or both")),
            None => Ok(Self { blocks: maturity + full, txs }),
            Some(blocks) if txs > 0 && blocks < maturity + full => Err(Failure::options(format!(
                "option `--blocks`: `{blocks}` is too few for {txs} transfers, {PER_BLOCK} of which fit a block: {full} are \
                 needed, behind {maturity} in which the first coin matures"
            ))),
            Some(blocks) => Ok(Self { blocks, txs }),
        }
    }

    /// Of what is left to be made when `blocks` more follow, what belongs into this block: only what those
    /// cannot hold.
    fn due(self) -> usize {
        let due = self.txs.saturating_sub(self.blocks.saturating_mul(PER_BLOCK as u64));
        usize::try_from(due).map_or(PER_BLOCK, |due| due.min(PER_BLOCK))
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
    /// Who makes the transfers, if there are to be any.
    payer: Option<Payer>,
    plan: Plan,
    stop: Arc<AtomicBool>,
    quiet: bool,
}

impl Maker {
    /// Makes so much, unless it is told to stop; says how much it made.
    fn make(&mut self, order: Order) -> Result<Order, Failure> {
        let unit = if order.txs > 0 { "transfers" } else { "blocks" };
        let mut progress = Progress::new("generating", unit).quiet(self.quiet);
        let mut parent = *self.chain.tip_position();
        let mut made = Order { blocks: 0, txs: 0 };
        // A block that takes work is appended at once: the next may take long.
        let batch = if parent.difficulty_due(&self.params) == 1 { BATCH } else { 1 };
        while made.blocks < order.blocks && !self.stop.load(Ordering::Relaxed) {
            let (mut run, mut bytes) = (Vec::new(), 0);
            while run.len() < batch && bytes < TURN_BYTES && made.blocks < order.blocks {
                let left = Order { blocks: order.blocks - made.blocks - 1, txs: order.txs - made.txs };
                let Some(block) = self.block_after(&mut parent, left)? else { break };
                made.blocks += 1;
                made.txs += block.transactions().len() as u64 - 1;
                bytes += block.bytes().len();
                run.push(block);
            }
            self.take(run)?;
            let (done, total) = if order.txs > 0 { (made.txs, order.txs) } else { (made.blocks, order.blocks) };
            progress.at(done, total);
        }
        progress.end();
        Ok(made)
    }

    /// The next block, and `parent` moved on to it; none if it was told to stop. `left` is how many blocks come
    /// after it, and how many transfers in it and them.
    fn block_after(&mut self, parent: &mut Position, left: Order) -> Result<Option<CheckedBlock>, Failure> {
        let transfers = self.transfers(parent.height + 1, left.due())?;
        let transfers: Vec<&CheckedTx> = transfers.iter().collect();
        let template = Template::new(&self.params, parent, &self.payout, &transfers);
        let header = Header { time: self.plan.time(parent, left.blocks), ..*template.header() };
        let Some(header) = self.search(header) else { return Ok(None) };
        // Every rule is checked but the signatures, which were made just now.
        let checked = template.found(&self.params, header)?;
        *parent = parent.child(&self.params, &checked.checked_header(), Wall(u64::MAX))?;
        if let Some(payer) = &mut self.payer {
            payer.mined(template.coinbase());
        }
        Ok(Some(checked))
    }

    /// So many transfers for a block at this height.
    fn transfers(&mut self, height: u64, due: usize) -> Result<Vec<CheckedTx>, Failure> {
        let Some(payer) = self.payer.as_mut().filter(|_| due > 0) else { return Ok(Vec::new()) };
        let transfers = payer.transfers(height, due);
        if transfers.len() < due {
            return Err(Failure::world(format!(
                "at height {height} the coins mined since the start can be split into {} transfers and not into {due}: what is \
                 left of them is too small; ask for more blocks with `--blocks`, each of which brings a coin",
                transfers.len()
            )));
        }
        Ok(transfers)
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
