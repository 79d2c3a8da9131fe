//! `spindle wallet address`: where the wallet is paid.

use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::opened::{Place, Wallet};

/// show the wallet's address
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "address")]
pub struct Address {
    /// the wallet's file [one for each network, under the home directory]
    #[argh(option)]
    wallet: Option<PathBuf>,
    /// local, regtest or a spec's file [local]
    #[argh(option, default = "String::from(\"local\")")]
    network: String,
    /// a file whose first line is the password [ask on the terminal]
    #[argh(option)]
    password_file: Option<PathBuf>,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    address: String,
}

impl Address {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        tell(&wallet, self.json)
    }
}

/// Says it.
pub(super) fn tell(wallet: &Wallet, json: bool) -> Result<(), Failure> {
    let address = wallet.address_text();
    if json { output::say_json(&Shown { address }) } else { output::say(&address) }
}
