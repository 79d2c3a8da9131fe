//! `spindle wallet view-key`: what it takes to see, and not to spend.

use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::opened::Place;

/// show the view key, with which others can see all that this wallet has, and spend nothing
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "view-key")]
pub struct ViewKey {
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
struct Shown<'a> {
    view_key: &'a str,
}

impl ViewKey {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        let key = wallet.contents.secrets.view_keys().show(&wallet.params);
        if self.json {
            return output::say_json(&Shown { view_key: &key });
        }
        output::remark(
            "whoever has this key sees every payment to this wallet, past and to come, its notes, and which of them are \
             spent; he can spend nothing, and it cannot be taken back (`spindle wallet watch` takes it)",
        );
        output::say(&key)
    }
}
