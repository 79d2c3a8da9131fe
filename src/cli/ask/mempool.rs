//! `spindle mempool`: what waits for a block at a running node, the best-paying first.

use serde::{Deserialize, Serialize};

use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::table::{Side, Table};
use crate::cli::{output, values, when};
use crate::primitives::hash::Hash;
use crate::wallet::amount;

/// As many as a node tells at once.
const COUNT_MAX: u64 = 1_000;

command! {
    /// list what waits for a block at a running node, the best-paying first
    #[argh(subcommand, name = "mempool")]
    Mempool {
        /// how many at most, 1 to 1000 [20]
        #[argh(option, from_str_fn(count), default = "20")]
        count: u64,
    }
}

fn count(text: &str) -> Result<u64, String> {
    values::number(text, 1..=COUNT_MAX, "1 to 1000 are allowed")
}

#[derive(Serialize)]
struct HowMany {
    count: u64,
}

/// `get_pool`.
#[derive(Deserialize)]
struct Pool {
    bytes: u64,
    fee_rate_min: u64,
    orphans: u64,
    total: u64,
    transactions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    ancestors: u64,
    fee: u64,
    fee_per_1000_bytes: u64,
    id_hash: Hash,
    receive_time_ms: u64,
    size: u64,
}

/// The pool for people and programs.
#[derive(Debug, Serialize)]
struct Shown {
    /// All of them, also those that are not listed.
    total: u64,
    bytes: u64,
    orphans: u64,
    /// Units per 1,000 bytes that one has to pay at the least.
    fee_rate_min: u64,
    transactions: Vec<Waiting>,
}

#[derive(Debug, Serialize)]
struct Waiting {
    id: Hash,
    fee: u64,
    /// Units per 1,000 bytes.
    fee_rate: u64,
    size_bytes: u64,
    /// Milliseconds since 1970.
    came: u64,
    /// Others that wait and have to be in a block before it.
    ancestors: u64,
}

impl Mempool {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let pool: Pool = self.place()?.node().call("get_pool", &HowMany { count: self.count })?;
        let waiting = |row: Row| Waiting {
            id: row.id_hash,
            fee: row.fee,
            fee_rate: row.fee_per_1000_bytes,
            size_bytes: row.size,
            came: row.receive_time_ms,
            ancestors: row.ancestors,
        };
        let Pool { bytes, fee_rate_min, orphans, total, transactions } = pool;
        let transactions = transactions.into_iter().map(waiting).collect();
        let shown = Shown { total, bytes, orphans, fee_rate_min, transactions };
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl Shown {
    fn for_people(&self) -> String {
        let Self { total, bytes, orphans, fee_rate_min, transactions } = self;
        let last = format!(
            "{total} wait in {bytes} bytes of memory, {orphans} more without their parents; the least fee is \
             {fee_rate_min} units per 1000 bytes"
        );
        if transactions.is_empty() {
            return last;
        }
        let mut table = Table::new([
            ("fee per 1000 bytes", Side::Right),
            ("fee", Side::Right),
            ("bytes", Side::Right),
            ("came, UTC", Side::Left),
            ("ancestors", Side::Right),
            ("id", Side::Left),
        ]);
        for waiting in transactions {
            table.push([
                waiting.fee_rate.to_string(),
                amount::show(waiting.fee),
                waiting.size_bytes.to_string(),
                when::utc(waiting.came),
                waiting.ancestors.to_string(),
                waiting.id.to_string(),
            ]);
        }
        let hidden = *total - transactions.len() as u64;
        let more = (hidden > 0).then(|| format!("and {hidden} more; `--count` says how many are listed"));
        table.lines().into_iter().chain(more).chain([last]).collect::<Vec<_>>().join("\n")
    }
}
