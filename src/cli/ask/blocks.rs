//! `spindle blocks`: the newest blocks of a running node, one a line.

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Header, Nothing, command};
use crate::cli::failure::Failure;
use crate::cli::table::{Side, Table};
use crate::cli::{output, values, when};
use crate::primitives::hash::Hash;
use crate::wallet::amount;

/// As many as a node tells at once.
const COUNT_MAX: u64 = 1_000;

command! {
    /// list blocks of a running node's chain, newest first
    #[argh(subcommand, name = "blocks")]
    Blocks {
        /// the height of the first one listed [the last block's]
        #[argh(positional, from_str_fn(height), arg_name = "height")]
        from: Option<u64>,
        /// how many, 1 to 1000 [10]
        #[argh(option, from_str_fn(count), default = "10")]
        count: u64,
    }
}

fn height(text: &str) -> Result<u64, String> {
    values::number(text, 0..=u64::MAX, "a block's height is needed")
}

fn count(text: &str) -> Result<u64, String> {
    values::number(text, 1..=COUNT_MAX, "1 to 1000 are allowed")
}

#[derive(Deserialize)]
struct Last {
    block_header: Header,
}

#[derive(Serialize)]
struct Range {
    start_height: u64,
    end_height: u64,
}

#[derive(Deserialize)]
struct Headers {
    headers: Vec<Header>,
}

#[derive(Debug, Serialize)]
struct Shown {
    blocks: Vec<Block>,
}

/// A block, under the names of `chain show`.
#[derive(Debug, Serialize)]
struct Block {
    height: u64,
    hash: Hash,
    time_ms: u64,
    difficulty: u64,
    work: u128,
    transfers: u64,
    size_bytes: u64,
    /// What its coinbase pays: the reward and all fees.
    paid: u64,
}

impl From<Header> for Block {
    fn from(header: Header) -> Self {
        Self {
            height: header.height,
            hash: header.hash,
            time_ms: header.timestamp_ms,
            difficulty: header.difficulty,
            work: header.work.total(),
            transfers: header.num_txes,
            size_bytes: header.block_size,
            paid: header.reward,
        }
    }
}

impl Blocks {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        let end_height = match self.from {
            Some(height) => height,
            None => node.call::<Last>("get_last_block_header", &Nothing {})?.block_header.height,
        };
        let start_height = end_height.saturating_sub(self.count - 1);
        let Headers { mut headers } = node.call("get_block_headers_range", &Range { start_height, end_height })?;
        headers.reverse();
        let shown = Shown { blocks: headers.into_iter().map(Block::from).collect() };
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl Shown {
    fn for_people(&self) -> String {
        let mut table = Table::new([
            ("height", Side::Right),
            ("time, UTC", Side::Left),
            ("transfers", Side::Right),
            ("bytes", Side::Right),
            ("pays", Side::Right),
            ("difficulty", Side::Right),
            ("hash", Side::Left),
        ]);
        for block in &self.blocks {
            table.push([
                block.height.to_string(),
                when::utc(block.time_ms),
                block.transfers.to_string(),
                block.size_bytes.to_string(),
                amount::show(block.paid),
                block.difficulty.to_string(),
                block.hash.to_string(),
            ]);
        }
        table.lines().join("\n")
    }
}
