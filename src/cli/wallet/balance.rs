//! `spindle wallet balance`: what there is to spend, now and later.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::ask::{self, command};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::node::{self, catch_up};
use crate::cli::wallet::opened::{Place, Wallet};
use crate::wallet::amount;
use crate::wallet::state;

command! {
    /// show what there is to spend, now and later
    #[argh(subcommand, name = "balance")]
    Balance {
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

#[derive(Serialize)]
struct Shown {
    /// In blocks, and can be spent in the next.
    confirmed: String,
    /// In transactions that wait, our own change among it.
    unconfirmed: String,
    /// Mined, and not old enough to be spent.
    immature: String,
    /// Of the last block that was looked at.
    height: u64,
}

impl Balance {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = (!self.offline).then(|| self.place()).transpose()?;
        let mut wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        bring_up(&mut wallet, asked)?;
        let state::Balance { confirmed, unconfirmed, immature } = wallet.contents.state.balance();
        let height = wallet.contents.state.tip().height;
        let [confirmed, unconfirmed, immature] = [confirmed, unconfirmed, immature].map(amount::show);
        if self.json {
            return output::say_json(&Shown { confirmed, unconfirmed, immature, height });
        }
        output::say(&format!(
            "confirmed    {confirmed:>20}\nunconfirmed  {unconfirmed:>20}\nimmature     {immature:>20}\nas of height {height:>11}"
        ))
    }
}

/// Brings a wallet up to date with the daemon in this place; without one, what it knew last is wanted.
pub(super) fn bring_up(wallet: &mut Wallet, place: Option<ask::Place>) -> Result<(), Failure> {
    let Some(place) = place else { return Ok(()) };
    let caught_up = node::find(place).and_then(|mut daemon| catch_up(wallet, &mut daemon));
    caught_up.map_err(|failure| Failure::world(format!("{failure}; `--offline` shows what was known last")))
}
