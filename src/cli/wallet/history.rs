//! `spindle wallet history`: what came and went.

use std::path::PathBuf;

use serde::Serialize;

use crate::blockchain::params::Params;
use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::wallet::balance::bring_up;
use crate::cli::wallet::opened::Place;
use crate::cli::{output, values, when};
use crate::primitives::hash::Hash;
use crate::wallet::history::{self, Direction, Entry};
use crate::wallet::{address, amount};

command! {
    /// show what came and went, the oldest first
    #[argh(subcommand, name = "history")]
    History {
        /// so many entries, the latest ones [all]
        #[argh(option, from_str_fn(entries))]
        last: Option<usize>,
        /// say what was known last, without asking a daemon
        #[argh(switch)]
        offline: bool,
        /// the wallet's file [one for each network, under the home directory]
        #[argh(option)]
        wallet: Option<PathBuf>,
        /// a file whose first line is the password [ask on the terminal]
        #[argh(option)]
        password_file: Option<PathBuf>,
    }
}

fn entries(text: &str) -> Result<usize, String> {
    values::count(text, 1..=u64::from(u32::MAX), "a number of entries is needed")
}

#[derive(Serialize)]
struct Shown {
    txid: Hash,
    /// `mined`, `received` or `sent`.
    direction: &'static str,
    /// What came in, or what others got; the fee is not part of it.
    amount: String,
    fee: String,
    /// None while it waits.
    height: Option<u64>,
    /// The block's, or when it was first seen, in milliseconds since 1970.
    time: u64,
    /// Whom we paid, if this wallet's file was there.
    address: Option<String>,
    note: Option<String>,
}

impl History {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = (!self.offline).then(|| self.place()).transpose()?;
        let mut wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        bring_up(&mut wallet, asked)?;
        let state = &wallet.contents.state;
        let mut entries = history::of(state);
        let all = entries.len();
        let entries = entries.split_off(all - self.last.unwrap_or(all).min(all));
        let shown: Vec<Shown> = entries.into_iter().map(|entry| Shown::new(&wallet.params, entry)).collect();
        if self.json {
            return output::say_json(&shown);
        }
        let mut lines: Vec<String> = shown.iter().map(Shown::for_people).collect();
        let height = state.tip().height;
        let many = if all == 1 { "one transaction".into() } else { format!("{all} transactions") };
        lines.push(match shown.len() {
            shown if shown < all => format!("the last {shown} of {many} as of height {height}; times are UTC"),
            _ => format!("{many} as of height {height}; times are UTC"),
        });
        output::say(&lines.join("\n"))
    }
}

impl Shown {
    fn new(params: &Params, entry: Entry) -> Self {
        let Entry { id, place, known_since, direction, amount, fee, address, note } = entry;
        let direction = match direction {
            Direction::Mined => "mined",
            Direction::Received => "received",
            Direction::Sent => "sent",
        };
        let (amount, fee) = (amount::show(amount), amount::show(fee));
        let (height, time) = (place.map(|place| place.height), place.map_or(known_since, |place| place.time));
        let address = address.map(|address| address::show(params, &address));
        Self { txid: id, direction, amount, fee, height, time, address, note }
    }

    fn for_people(&self) -> String {
        let Self { txid, direction, amount, fee, height, time, address, note } = self;
        let height = height.map_or("waiting".into(), |height| height.to_string());
        let mut text = format!("{}  {height:>9}  {direction:<8} {amount:>20}  {txid}", &when::utc(*time)[..19]);
        text.extend(address.iter().flat_map(|address| ["\n    to ", address]));
        text.extend((*direction == "sent").then_some(["\n    fee ", fee]).into_iter().flatten());
        text.extend(note.iter().flat_map(|note| ["\n    note: ", note]));
        text
    }
}
