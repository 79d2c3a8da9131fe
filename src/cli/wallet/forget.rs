//! `spindle wallet forget`: gives up a payment that no node takes, so that its coins are free.
//!
//! What was signed and offered is out of our hands: who has it can still have it mined. So a person is asked,
//! and told the one thing that makes sure of it, which is to pay with the same coins.

use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::opened::Place;
use crate::cli::wallet::prove::txid;
use crate::cli::wallet::secret;
use crate::primitives::hash::Hash;
use crate::wallet::amount;
use crate::wallet::state::{Record, State};

/// give up a payment that waits and that no node takes, so that its coins can be spent again
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "forget")]
pub struct Forget {
    /// the payment's transaction id
    #[argh(positional, from_str_fn(txid))]
    txid: Hash,
    /// do it without asking
    #[argh(switch)]
    yes: bool,
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
    txid: Hash,
    /// Payments that were built on its change and went with it.
    also: Vec<Hash>,
}

impl Forget {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut wallet = Place::find(&self.network, self.wallet)?.open(self.password_file.as_deref())?;
        let txid = self.txid;
        let payment = payment(&wallet.contents.state, &txid)?;
        let sent = payment.sent.as_ref().map_or(0, |sent| sent.amount);
        let mut state = wallet.contents.state.clone();
        state.forget(&txid);
        let gone = |record: &&Record| record.id != txid && state.record(&record.id).is_none();
        let also: Vec<Hash> = wallet.contents.state.records().filter(gone).map(|record| record.id).collect();
        output::remark(&format!(
            "warning: payment {txid} of {} is signed, and whoever has it can still have it mined, also after it is \
             forgotten here. Nobody can take it back; only another payment that spends the same coins, once mined, \
             rules it out. So do not pay again for the same thing before that",
            amount::show(sent)
        ));
        for id in &also {
            output::remark(&format!("transaction {id} is built on it, and is forgotten with it"));
        }
        if !self.yes && !agreed()? {
            return Err(Failure::world("nothing was forgotten, because that was not agreed to"));
        }
        wallet.contents.state = state;
        wallet.save()?;
        if self.json {
            return output::say_json(&Shown { txid, also });
        }
        output::say(&format!("payment {txid} is forgotten, and its coins can be spent again"))
    }
}

/// The payment of this id, if it is one that can be given up.
fn payment<'a>(state: &'a State, id: &Hash) -> Result<&'a Record, Failure> {
    let unknown = || Failure::world(format!("transaction {id} is none of this wallet's"));
    let record = state.record(id).ok_or_else(unknown)?;
    match record.place {
        Some(place) => {
            let height = place.height;
            Err(Failure::world(format!("transaction {id} is in block {height}, and cannot be forgotten")))
        }
        None if record.sent.is_none() => Err(Failure::world(format!(
            "transaction {id} is no payment that this file made; it goes by itself when the node has dropped it"
        ))),
        None => Ok(record),
    }
}

fn agreed() -> Result<bool, Failure> {
    let answer = secret::agrees("forget it? [y/N] ")?;
    answer.ok_or_else(|| Failure::options("there is no terminal to ask on whether that is meant; add `--yes` if it is"))
}
