//! `spindle wallet check-proof`: whether a proof of payment holds. It takes a daemon and no wallet.

use serde::Serialize;

use crate::blockchain::params::Params;
use crate::blockchain::transaction::Transaction;
use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::wallet::node;
use crate::cli::wallet::prove::txid;
use crate::cli::wallet::restore::height;
use crate::cli::{network, output};
use crate::primitives::hash::Hash;
use crate::rpc::link::NodeLink;
use crate::wallet::find::{self, Found};
use crate::wallet::proof::Proof;
use crate::wallet::state::Place;
use crate::wallet::{address, amount};

command! {
    /// check that a transaction paid an address, by the proof that its sender gave; no wallet is needed
    #[argh(subcommand, name = "check-proof")]
    CheckProof {
        /// the transaction's id
        #[argh(positional, from_str_fn(txid))]
        txid: Hash,
        /// who is said to have been paid
        #[argh(positional)]
        address: String,
        /// what is said to prove it
        #[argh(positional)]
        proof: String,
        /// the height of its block, as `prove` has shown it [read the whole chain for it]
        #[argh(option, from_str_fn(height))]
        height: Option<u64>,
    }
}

#[derive(Serialize)]
struct Shown {
    txid: Hash,
    address: String,
    amount: String,
    /// None while it waits.
    height: Option<u64>,
    note: Option<String>,
}

impl CheckProof {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let params = network::load(&self.network)?;
        let wrong = |what: &str, why: String| Failure::options(format!("argument `{what}`: {why}"));
        let address = address::parse(&params, &self.address).map_err(|error| wrong("address", error.to_string()))?;
        let proof = Proof::parse(&params, &self.proof).map_err(|error| wrong("proof", error.to_string()))?;
        let mut daemon = node::find(self.place()?)?;
        let (transaction, place) = self.look_up(&mut daemon, &params)?;
        let paid = proof.check(&transaction, &address)?;
        let height = place.map(|place| place.height);
        let shown = Shown {
            txid: self.txid,
            address: address::show(&params, &address),
            amount: amount::show(paid.amount),
            height,
            note: paid.note,
        };
        if self.json {
            return output::say_json(&shown);
        }
        let Shown { txid, address, amount, note, .. } = shown;
        let place = height.map_or("waits for a block".into(), |height| format!("is in block {height}"));
        let note = note.map_or(String::new(), |note| format!("\nnote     {note}"));
        output::say(&format!("the proof holds: transaction {txid}, which {place}, paid {amount} to {address}{note}"))
    }

    /// The transaction, wherever it is.
    fn look_up(&self, daemon: &mut NodeLink, params: &Params) -> Result<(Transaction, Option<Place>), Failure> {
        let id = self.txid;
        if let Some(transaction) = find::in_pool(daemon, &id)? {
            return Ok((transaction, None));
        }
        let found = find::in_chain(daemon, params, self.height, &id)?;
        let found = found.map(|Found { transaction, place }| (transaction, Some(place)));
        found.ok_or_else(|| {
            let place = self.height.map_or("in any block".into(), |height| format!("in block {height}"));
            Failure::world(format!("transaction {id} is neither {place} nor among those that wait at the node"))
        })
    }
}
