//! `spindle addresses`: where a running node knows of others, and what it makes of each.

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Nothing, command};
use crate::cli::failure::Failure;
use crate::cli::progress::span;
use crate::cli::table::{Side, Table};
use crate::cli::{output, when};

command! {
    /// list the addresses that a running node knows
    #[argh(subcommand, name = "addresses")]
    Addresses {}
}

/// `get_addresses`, and what is printed.
#[derive(Debug, Deserialize, Serialize)]
struct Known {
    addresses: Vec<Address>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Address {
    address: String,
    /// Dials in a row that came to nothing.
    failures: u32,
    /// When it was last spoken with, in seconds since 1970.
    talked_at_s: Option<u64>,
    next_try_in_ms: u64,
}

impl Addresses {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let known: Known = self.place()?.node().call("get_addresses", &Nothing {})?;
        if self.json {
            return output::say_json(&known);
        }
        let mut table = Table::new([
            ("address", Side::Left),
            ("last spoken with, UTC", Side::Left),
            ("failures", Side::Right),
            ("next try", Side::Left),
        ]);
        for Address { address, failures, talked_at_s, next_try_in_ms } in &known.addresses {
            let next = match next_try_in_ms {
                0 => "when there is room".into(),
                ms => format!("in {}", span(ms.div_ceil(1_000))),
            };
            let talked = talked_at_s.map_or_else(|| "never".into(), |at| when::utc(at * 1_000));
            table.push([address.clone(), talked, failures.to_string(), next]);
        }
        match known.addresses.len() {
            0 => output::say("no address is known yet"),
            _ => output::say(&table.lines().join("\n")),
        }
    }
}
