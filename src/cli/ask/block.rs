//! `spindle block`: one block, as a running node has it.
//!
//! Under the names of `chain show`, which reads the file itself and has more: inputs and outputs stand with
//! `spindle tx` here.

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Header, command};
use crate::cli::failure::Failure;
use crate::cli::values::{self, Which};
use crate::cli::{output, when};
use crate::primitives::hash::Hash;
use crate::wallet::amount;

/// Ids that a person is shown.
const IDS_SHOWN: usize = 20;

command! {
    /// show one block of a running node
    #[argh(subcommand, name = "block")]
    Block {
        /// a height on the chain, or a block's hash on any branch
        #[argh(positional, from_str_fn(values::block), arg_name = "height|hash")]
        block: Which,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Height(u64),
    Hash(Hash),
}

#[derive(Deserialize)]
struct Answer {
    block_header: Header,
    tx_hashes: Vec<Hash>,
}

#[derive(Debug, Serialize)]
struct Shown {
    height: u64,
    hash: Hash,
    /// Whether it is on the active chain.
    active: bool,
    confirmations: u64,
    prev: Hash,
    merkle_root: Hash,
    version: u32,
    /// Since 1970.
    time_ms: u64,
    difficulty: u64,
    nonce: u64,
    work: u128,
    size_bytes: u64,
    /// None in genesis, which has no body.
    coinbase: Option<Coinbase>,
    /// Their ids.
    transfers: Vec<Hash>,
}

#[derive(Debug, Serialize)]
struct Coinbase {
    id: Hash,
    amount: u64,
}

impl Block {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let wanted = match self.block {
            Which::Height(height) => Wanted::Height(height),
            Which::Hash(hash) => Wanted::Hash(hash),
        };
        let answer: Answer = self.place()?.node().call("get_block", &wanted)?;
        let shown = Shown::from(answer);
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl From<Answer> for Shown {
    fn from(Answer { block_header: header, tx_hashes }: Answer) -> Self {
        Self {
            height: header.height,
            hash: header.hash,
            active: !header.orphan_status,
            confirmations: header.confirmations(),
            prev: header.prev_hash,
            merkle_root: header.merkle_root,
            version: header.major_version,
            time_ms: header.timestamp_ms,
            difficulty: header.difficulty,
            nonce: header.nonce,
            work: header.work.total(),
            size_bytes: header.block_size,
            coinbase: (header.height > 0).then_some(Coinbase { id: header.miner_tx_hash, amount: header.reward }),
            transfers: tx_hashes,
        }
    }
}

impl Shown {
    fn for_people(&self) -> String {
        let Self { height, hash, confirmations, prev, merkle_root, version, time_ms, difficulty, nonce, .. } = self;
        let branch = if self.active { "on the active chain" } else { "on a branch that is not active" };
        let mut lines = vec![
            format!("block           {hash}"),
            format!("height          {height}, {branch}, {confirmations} confirmations"),
            format!("parent          {prev}"),
            format!("merkle root     {merkle_root}"),
            format!("version         {version}"),
            format!("time            {} UTC ({time_ms})", when::utc(*time_ms)),
            format!("difficulty      {difficulty}, nonce {nonce}, work up to here {}", self.work),
            format!("size            {} bytes", self.size_bytes),
        ];
        match &self.coinbase {
            None => lines.push("genesis has no body: it is derived from the network's rules".into()),
            Some(Coinbase { id, amount }) => {
                lines.push(format!("coinbase        {id}, pays {}", amount::show(*amount)));
            }
        }
        lines.extend(self.transfers.iter().take(IDS_SHOWN).map(|id| format!("transfer        {id}")));
        if let Some(more @ 1..) = self.transfers.len().checked_sub(IDS_SHOWN) {
            lines.push(format!("and {more} transfers more; `--json` lists all of them"));
        }
        lines.join("\n")
    }
}
