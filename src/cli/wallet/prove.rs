//! `spindle wallet prove`: shows others that a payment was made.

use std::path::PathBuf;

use serde::Serialize;

use crate::blockchain::transaction::Transaction;
use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::node::{self, catch_up};
use crate::cli::wallet::opened::{Place, Wallet};
use crate::primitives::hash::Hash;
use crate::rpc::link::NodeLink;
use crate::wallet::proof::Proof;
use crate::wallet::state::Sent;
use crate::wallet::{address, amount, find};

command! {
    /// prove to anybody that a transaction of this wallet paid an address
    #[argh(subcommand, name = "prove")]
    Prove {
        /// the transaction's id
        #[argh(positional, from_str_fn(txid))]
        txid: Hash,
        /// who was paid
        #[argh(positional)]
        address: String,
        /// the wallet's file [one for each network, under the home directory]
        #[argh(option)]
        wallet: Option<PathBuf>,
        /// a file whose first line is the password [ask on the terminal]
        #[argh(option)]
        password_file: Option<PathBuf>,
    }
}

/// A transaction's id.
pub(super) fn txid(text: &str) -> Result<Hash, String> {
    text.parse().map_err(|_| "is not a transaction's id; 64 hexadecimal digits are needed".into())
}

#[derive(Serialize)]
struct Shown {
    txid: Hash,
    address: String,
    amount: String,
    /// None while it waits.
    height: Option<u64>,
    proof: String,
}

impl Prove {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = self.place()?;
        let place = Place::find(&self.network, self.wallet)?;
        let address = address::parse(&place.params, &self.address);
        let address = address.map_err(|error| Failure::options(format!("argument `address`: {error}")))?;
        let mut wallet = place.open(self.password_file.as_deref())?;
        let Some(keys) = wallet.contents.secrets.spend_keys() else {
            return Err(Failure::world(
                "this wallet was made from a view key: it cannot prove what it cannot have sent",
            ));
        };
        let mut daemon = node::find(asked)?;
        catch_up(&mut wallet, &mut daemon)?;
        let transaction = transaction(&wallet, &mut daemon, &self.txid)?;
        let proof = Proof::make(&keys, &transaction, &address)?;
        let paid = proof.check(&transaction, &address)?;
        let height = wallet.contents.state.record(&self.txid).and_then(|record| record.place).map(|place| place.height);
        let params = &wallet.params;
        let (address, proof) = (address::show(params, &address), proof.show(params));
        let shown = Shown { txid: self.txid, address, amount: amount::show(paid.amount), height, proof };
        if self.json {
            return output::say_json(&shown);
        }
        let Shown { txid, address, amount, proof, .. } = shown;
        let at = height.map_or(String::new(), |height| format!(" --height {height}"));
        let network = if self.network == "local" { String::new() } else { format!(" --network {}", self.network) };
        let note = if paid.note.is_some() { ", and its note" } else { "" };
        output::remark(&format!(
            "who gets this learns which outputs of the transaction are that address's{note}, and nothing else; anybody with a \
             daemon checks it with\n  spindle wallet check-proof {txid} {address} {proof}{at}{network}"
        ));
        output::say(&format!("paid     {amount}\nproof    {proof}"))
    }
}

/// The whole of a transaction of this wallet: as it was kept, or from its block.
fn transaction(wallet: &Wallet, daemon: &mut NodeLink, id: &Hash) -> Result<Transaction, Failure> {
    let unknown = || Failure::world(format!("transaction {id} is none of this wallet's"));
    let record = wallet.contents.state.record(id).ok_or_else(unknown)?;
    if let Some(Sent { transaction: Some(transaction), .. }) = &record.sent {
        return Ok(transaction.clone());
    }
    let found = match record.place {
        _ if record.coinbase => return Err(Failure::world(format!("transaction {id} was mined, and paid by nobody"))),
        Some(place) => find::in_chain(daemon, &wallet.params, Some(place.height), id)?.map(|found| found.transaction),
        None => find::in_pool(daemon, id)?,
    };
    found.ok_or_else(|| Failure::world(format!("the node does not have transaction {id} any more; try again")))
}
