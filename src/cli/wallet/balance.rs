//! `spindle wallet balance`: what there is to spend, now and later.

use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::values;
use crate::cli::wallet::node::catch_up_with_daemon;
use crate::cli::wallet::opened::{Place, Wallet};
use crate::wallet::amount;
use crate::wallet::state;

/// show what there is to spend, now and later
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "balance")]
pub struct Balance {
    /// say what was known last, without asking a daemon
    #[argh(switch)]
    offline: bool,
    /// the wallet's file [one for each network, under the home directory]
    #[argh(option)]
    wallet: Option<PathBuf>,
    /// local, regtest or a spec's file [local]
    #[argh(option, default = "String::from(\"local\")")]
    network: String,
    /// port of the running daemon [the network's: local 9000, regtest 9100]
    #[argh(option, from_str_fn(values::port))]
    port: Option<u16>,
    /// a file whose first line is the password [ask on the terminal]
    #[argh(option)]
    password_file: Option<PathBuf>,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
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
        let mut wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        bring_up(&mut wallet, self.offline, self.port)?;
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

/// Brings a wallet up to date, unless what it knew last is wanted.
pub(super) fn bring_up(wallet: &mut Wallet, offline: bool, port: Option<u16>) -> Result<(), Failure> {
    if offline {
        return Ok(());
    }
    let caught_up = catch_up_with_daemon(wallet, port);
    caught_up.map_err(|failure| Failure::world(format!("{failure}; `--offline` shows what was known last")))
}
