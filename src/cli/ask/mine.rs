//! `spindle mine`: blocks on demand, at a running node.

use serde::{Deserialize, Serialize};

use crate::blockchain::params::Params;
use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::values;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::wallet::address;

/// Blocks that are asked for at a time where they take no work, and where they do.
const EASY: u64 = 500;
const HARD: u64 = 1;
/// What is worth mining by hand.
const COUNT_MAX: u64 = 1_000_000;
/// For the next of them; a node gives up after five minutes.
const PATIENCE_MS: u64 = 310_000;

command! {
    /// have a running node find blocks now; on a network whose blocks take work, each takes its time
    #[argh(subcommand, name = "mine")]
    Mine {
        /// how many
        #[argh(positional, from_str_fn(count), arg_name = "blocks")]
        count: u64,
        /// whom they pay: an address or a public key [whom the node's own blocks pay]
        #[argh(option, arg_name = "address")]
        to: Option<String>,
        /// no progress lines [no]
        #[argh(switch)]
        quiet: bool,
    }
}

fn count(text: &str) -> Result<u64, String> {
    values::number(text, 1..=COUNT_MAX, "1 to 1000000 blocks are allowed")
}

/// `generateblocks`.
#[derive(Serialize)]
struct Wanted<'a> {
    amount_of_blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet_address: Option<&'a str>,
}

#[derive(Deserialize)]
struct Generated {
    blocks: Vec<Hash>,
    height: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Shown {
    /// Oldest first, all of them durable.
    blocks: Vec<Hash>,
    height: u64,
}

impl Mine {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let place = self.place()?;
        if let Some(to) = &self.to {
            check(&place.params, to)?;
        }
        let at_a_time = if place.params.spec().retarget { HARD } else { EASY };
        let mut node = place.node();
        node.must_have_cookie()?;
        node.client = node.client.with_patience(PATIENCE_MS);
        let mut progress = Progress::new("mining", "blocks").quiet(self.quiet);
        let mut shown = Shown { blocks: Vec::new(), height: 0 };
        let mut left = self.count;
        while left > 0 {
            progress.at(self.count - left, self.count);
            let amount_of_blocks = left.min(at_a_time);
            let wanted = Wanted { amount_of_blocks, wallet_address: self.to.as_deref() };
            let Generated { blocks, height } = node.call("generateblocks", &wanted)?;
            left -= amount_of_blocks;
            shown.blocks.extend(blocks);
            shown.height = height;
        }
        progress.end();
        if self.json {
            return output::say_json(&shown);
        }
        let what = if self.count == 1 { "a block".into() } else { format!("{} blocks", self.count) };
        let tip = shown.blocks.last().map_or_else(String::new, |hash| format!(", the last one {hash}"));
        output::say(&format!("mined {what}: height {}{tip}", shown.height))
    }
}

/// Whether this can be paid, before anybody is asked.
fn check(params: &Params, to: &str) -> Result<(), Failure> {
    let mut key = Key::default();
    let wrong = |why: String| Err(Failure::options(format!("option `--to`: `{to:.16}…` cannot be paid: {why}")));
    if hex::decode_to_slice(to, &mut key.0).is_ok() {
        return key.check_payable().or_else(|why| wrong(why.to_string()));
    }
    // Only its beginning is repeated: it may be a view key, which is a secret.
    match address::parse(params, to) {
        Ok(_) => Ok(()),
        Err(error) => wrong(format!("{error}; an address of this network or a public key in hex is needed")),
    }
}
