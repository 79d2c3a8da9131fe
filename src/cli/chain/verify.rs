//! `spindle chain verify`: what the block file holds, judged anew from genesis.
//!
//! Every block is read from the file and checked as if a stranger had sent it, signatures included, and
//! replayed into an empty ledger; the checkpoint is not looked at. The index is used to find frames and
//! compared with them; where it disagrees it is left aside, and the block file alone decides. Nothing is
//! written, so this works beside a running node. One mebibyte of blocks is in memory at a time.
//!
//! The ledger is a set of ids, so amounts are added up here while they go by: `supply` is the sum of all
//! unspent amounts, and it must be what the emission says for this height.

use std::path::PathBuf;
use std::sync::Arc;

use argh::FromArgs;
use serde::Serialize;

use crate::blockchain::storage::{Cut, INDEX, StoreError};
use crate::cli::chain::replay::Replay;
use crate::cli::failure::Failure;
use crate::cli::network::{self, Looked};
use crate::cli::output::{self, Progress};
use crate::primitives::hash::Hash;
use crate::primitives::thread::check_pool;

/// replay a chain from its first block and say what it comes to
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify")]
pub struct Verify {
    /// where the chain is; a node may be running there
    #[argh(option)]
    data_dir: PathBuf,
    /// local, regtest or a spec's file [what the directory says]
    #[argh(option)]
    network: Option<String>,
    /// no progress lines [no]
    #[argh(switch)]
    quiet: bool,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

/// What a chain comes to.
#[derive(Debug, Serialize)]
struct Verdict {
    network: String,
    height: u64,
    tip: Hash,
    /// All difficulties of the chain, added up.
    work: u128,
    ledger_hash: Hash,
    /// The sum of all unspent amounts, in units.
    supply: u128,
    /// The height up to which a power cut costs nothing.
    durable_height: u64,
    /// Unspent coins.
    coins: usize,
    /// Blocks in the file, those of left branches too.
    blocks: u32,
    /// Blocks in the file that the ledger refuses; a heavier branch that broke a rule leaves some.
    refused: usize,
    torn: Option<Torn>,
}

/// The end of the file that was never synced and holds no whole block: no damage, and passed over.
#[derive(Debug, Serialize)]
struct Torn {
    offset: u64,
    bytes: u64,
    reason: String,
}

/// Where the damage is.
#[derive(Debug, Serialize)]
struct Damage<'a> {
    error: String,
    file: Option<&'a PathBuf>,
    record: Option<u32>,
    offset: Option<u64>,
}

impl Verify {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let first = self.judge(&[]);
        let verdict = match first {
            // The index may be what is wrong: it is only a cache, and the file decides.
            Err(Failure::World(error)) if may_be_the_index(&*error) => {
                let verdict = self.judge(&[INDEX]);
                if verdict.is_ok() {
                    let index = self.data_dir.join(INDEX);
                    output::remark(&format!(
                        "`{}` does not agree with the block file, which is whole; a node makes it anew at its next start",
                        index.display()
                    ));
                }
                verdict
            }
            other => other,
        };
        match verdict {
            Ok(verdict) if self.json => output::say_json(&verdict),
            Ok(verdict) => output::say(&verdict.for_people()),
            Err(failure) => {
                if self.json {
                    say_damage(&failure)?;
                }
                Err(failure)
            }
        }
    }

    fn judge(&self, hidden: &'static [&'static str]) -> Result<Verdict, Failure> {
        let network = self.network.as_deref();
        let mut progress = Progress::new("reading", "bytes").quiet(self.quiet);
        let looked = network::look(&self.data_dir, network, hidden, &mut |done, total| progress.at(done, total))?;
        progress.end();
        let Looked { params, store, recovery } = looked;
        let mut progress = Progress::new("verifying", "blocks").quiet(self.quiet);
        // The threads end with the pool, which ends with this command: nobody has to wait for them.
        let pool = check_pool()?.map(|(pool, _)| Arc::new(pool));
        let mut replay = Replay::new(&params, &store, pool)?;
        replay.run(&mut |done, total| progress.at(done, total))?;
        progress.end();
        let tip = replay.tip();
        let due = params.supply(tip.header.height);
        if replay.supply() != due {
            return Err(Failure::world(format!(
                "the unspent amounts at height {} add up to {} units, and the emission says {due}",
                tip.header.height,
                replay.supply()
            )));
        }
        Ok(Verdict {
            network: params.spec().name.clone(),
            height: tip.header.height,
            tip: tip.id,
            work: tip.work,
            ledger_hash: replay.ledger().hash(),
            supply: replay.supply(),
            durable_height: replay.durable_height(recovery.durable_bytes)?,
            coins: replay.ledger().len(),
            blocks: recovery.records - 1,
            refused: replay.refused(),
            torn: recovery.cut.map(|Cut { offset, bytes, reason }| Torn { offset, bytes, reason: reason.to_string() }),
        })
    }
}

fn may_be_the_index(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Damaged { .. } | StoreError::IndexDamaged { .. }))
}

fn say_damage(failure: &Failure) -> Result<(), Failure> {
    let mut damage = Damage { error: failure.to_string(), file: None, record: None, offset: None };
    if let Failure::World(error) = failure {
        match error.downcast_ref() {
            Some(
                StoreError::Damaged { path, record, offset, .. } | StoreError::Unmarked { path, record, offset, .. },
            ) => {
                (damage.file, damage.record, damage.offset) = (Some(path), Some(*record), Some(*offset));
            }
            Some(StoreError::Short { path, size_bytes, .. }) => {
                (damage.file, damage.offset) = (Some(path), Some(*size_bytes));
            }
            _ => {}
        }
    }
    output::say_json(&damage)
}

impl Verdict {
    fn for_people(&self) -> String {
        let Self { network, height, tip, work, ledger_hash, supply, durable_height, coins, blocks, refused, torn } =
            self;
        let mut lines = vec![
            format!("network         {network}"),
            format!("height          {height}"),
            format!("tip             {tip}"),
            format!("work            {work}"),
            format!("ledger_hash     {ledger_hash}"),
            format!("supply          {supply} units in {coins} unspent coins, as the emission says"),
            format!("durable_height  {durable_height}"),
            format!("every block of {blocks} in the file is whole and keeps the rules"),
        ];
        if *refused > 0 {
            lines.push(format!("{refused} blocks of other branches are refused by the ledger and count for nothing"));
        }
        if let Some(Torn { offset, bytes, reason }) = torn {
            lines.push(format!(
                "passed over a torn tail of {bytes} bytes at byte {offset} ({reason}): it was never synced, so nobody was \
                 told of it; the next start of a node cuts it off"
            ));
        }
        lines.join("\n")
    }
}
