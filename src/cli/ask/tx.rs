//! `spindle tx`: one transaction, whether it waits or is in a block.

use serde::{Deserialize, Serialize};

use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::{output, values, when};
use crate::primitives::hash::Hash;
use crate::wallet::amount;

command! {
    /// show one transaction that a running node knows
    #[argh(subcommand, name = "tx")]
    Tx {
        /// its id
        #[argh(positional, from_str_fn(values::id))]
        id: Hash,
    }
}

/// `get_transactions`.
#[derive(Serialize)]
struct Wanted {
    txs_hashes: [Hash; 1],
    decode_as_json: bool,
    prune: bool,
}

#[derive(Deserialize)]
struct Answer {
    txs: Vec<Found>,
    status: String,
}

#[derive(Deserialize)]
struct Found {
    as_json: String,
    block_hash: Option<Hash>,
    block_height: Option<u64>,
    block_timestamp: Option<u64>,
    confirmations: u64,
    fee: u64,
    received_timestamp: Option<u64>,
    size: u64,
    tx_hash: Hash,
}

/// What stands in `as_json`.
#[derive(Deserialize)]
struct Parts {
    vin: Vec<Source>,
    vout: Vec<Paid>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Gen { height: u64 },
    Key(Input),
}

/// A coin that is spent.
#[derive(Debug, Deserialize, Serialize)]
struct Input {
    transaction: Hash,
    index: u32,
    amount: u64,
    key: String,
}

#[derive(Deserialize)]
struct Paid {
    amount: u64,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    tagged_key: TaggedKey,
}

#[derive(Deserialize)]
struct TaggedKey {
    key: String,
}

/// A transaction for people and programs.
#[derive(Debug, Serialize)]
struct Shown {
    id: Hash,
    /// Whether it makes the coins of a block.
    is_coinbase: bool,
    /// `null` while it waits.
    height: Option<u64>,
    block: Option<Hash>,
    confirmations: u64,
    /// Seconds since 1970: its block's, or when it came.
    time_s: Option<u64>,
    size_bytes: u64,
    fee: u64,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
}

#[derive(Debug, Serialize)]
struct Output {
    amount: u64,
    key: String,
}

impl Tx {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let wanted = Wanted { txs_hashes: [self.id], decode_as_json: true, prune: true };
        let Answer { txs, status } = self.place()?.node().post("/get_transactions", &wanted)?;
        let Some(found) = txs.into_iter().next() else {
            // The index of transactions may not be whole yet, which the node says here.
            let more = if status == "OK" { String::new() } else { format!("; {status}") };
            return Err(Failure::world(format!(
                "the node knows no transaction {}: none waits and none is in a block of its chain{more}",
                self.id
            )));
        };
        let shown = Shown::new(&found)?;
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl Shown {
    fn new(found: &Found) -> Result<Self, Failure> {
        let parts: Parts = serde_json::from_str(&found.as_json)?;
        let is_coinbase = parts.vin.iter().any(|source| matches!(source, Source::Gen { height } if *height > 0));
        let inputs = parts.vin.into_iter().filter_map(|source| match source {
            Source::Key(input) => Some(input),
            Source::Gen { .. } => None,
        });
        let output = |Paid { amount, target }: Paid| Output { amount, key: target.tagged_key.key };
        Ok(Self {
            id: found.tx_hash,
            is_coinbase,
            height: found.block_height,
            block: found.block_hash,
            confirmations: found.confirmations,
            time_s: found.block_timestamp.or(found.received_timestamp),
            size_bytes: found.size,
            fee: found.fee,
            inputs: inputs.collect(),
            outputs: parts.vout.into_iter().map(output).collect(),
        })
    }

    fn for_people(&self) -> String {
        let time = self.time_s.map_or_else(|| "unknown".into(), |time| format!("{} UTC", when::utc(time * 1_000)));
        let mut lines = vec![format!("transaction     {}", self.id)];
        if let (Some(height), Some(block)) = (self.height, self.block) {
            lines.push(format!("block           {block}"));
            lines.push(format!("height          {height}, {} confirmations", self.confirmations));
            lines.push(format!("time            {time}"));
        } else {
            lines.push("height          none yet: it waits for a block".into());
            lines.push(format!("came            {time}"));
        }
        let fee = if self.is_coinbase { "none: a coinbase".into() } else { amount::show(self.fee) };
        lines.push(format!("fee             {fee}"));
        lines.push(format!("size            {} bytes", self.size_bytes));
        for Input { transaction, index, amount, .. } in &self.inputs {
            lines.push(format!("    spends {} of {transaction}:{index}", amount::show(*amount)));
        }
        for Output { amount, key } in &self.outputs {
            lines.push(format!("    pays {} to key {key}", amount::show(*amount)));
        }
        lines.join("\n")
    }
}
