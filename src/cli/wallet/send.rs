//! `spindle wallet send`: a payment.
//!
//! The signed payment is in the wallet's file before the node hears of it: whatever breaks after that, the
//! wallet knows what it may have paid, and offers it again. If the node refuses it, it is forgotten again and
//! its coins are free: a person who is told that nothing was sent may try again at once, with another fee. (Its
//! note may be known to the node by then; `wallet/state.rs` sees to it that no other one is made with its key.)

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::values;
use crate::cli::wallet::node::{self, catch_up};
use crate::cli::wallet::opened::{Place, Wallet, random};
use crate::cli::wallet::secret;
use crate::primitives::hash::Hash;
use crate::primitives::time::Clock;
use crate::rpc::link::NodeLink;
use crate::wallet::keys::SpendKeys;
use crate::wallet::link::{Link, LinkError, Verdict};
use crate::wallet::note;
use crate::wallet::scan;
use crate::wallet::send::{self, FEE_RATE_MIN, Plan, Request};
use crate::wallet::state::Sent;
use crate::wallet::{address, amount};

/// More than any queue is worth: 0.01 coins for 1,000 bytes, a thousand times what nodes ask for.
const FEE_RATE_MAX: u64 = 1_000_000;

command! {
    /// pay somebody
    #[argh(subcommand, name = "send")]
    Send {
        /// who is paid
        #[argh(positional)]
        address: String,
        /// how many coins, such as 12.5, or all
        #[argh(positional)]
        amount: String,
        /// what the miner is paid for 1,000 bytes, in units of 0.00000001 [1000]
        #[argh(option, from_str_fn(fee_rate), default = "FEE_RATE_MIN")]
        fee_rate: u64,
        /// a word to the receiver that nobody else can read, up to 64 bytes [none]
        #[argh(option, default = "String::new()")]
        note: String,
        /// do it without asking
        #[argh(switch)]
        yes: bool,
        /// the wallet's file [one for each network, under the home directory]
        #[argh(option)]
        wallet: Option<PathBuf>,
        /// a file whose first line is the password [ask on the terminal]
        #[argh(option)]
        password_file: Option<PathBuf>,
    }
}

fn fee_rate(text: &str) -> Result<u64, String> {
    if let Ok(rate) = text.parse::<u64>()
        && rate > FEE_RATE_MAX
    {
        return Err(format!(
            "is {} coins for 1,000 bytes (at most {FEE_RATE_MAX} units are taken, lest a slip costs a fortune); leave \
             `--fee-rate` out for {FEE_RATE_MIN}, or choose one between",
            amount::show(rate)
        ));
    }
    let limit = format!("{FEE_RATE_MIN} to {FEE_RATE_MAX} are taken: nodes pass on nothing below, and more is a slip");
    values::number(text, FEE_RATE_MIN..=FEE_RATE_MAX, &limit)
}

#[derive(Serialize)]
struct Shown {
    txid: Hash,
    fee: String,
}

impl Send {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = self.place()?;
        let place = Place::find(&self.network, self.wallet)?;
        let address = address::parse(&place.params, &self.address);
        let address = address.map_err(|error| Failure::options(format!("argument `address`: {error}")))?;
        let amount = if self.amount == "all" { None } else { Some(amount::parse(&self.amount)) };
        let amount = amount.transpose().map_err(|error| Failure::options(format!("argument `amount`: {error}")))?;
        note::check(&self.note).map_err(|error| Failure::options(format!("option `--note`: {error}")))?;
        let mut wallet = place.open(self.password_file.as_deref())?;
        let Some(keys) = wallet.contents.secrets.spend_keys() else {
            return Err(Failure::world(format!(
                "the wallet `{}` was made from a view key: it sees coins and cannot sign for them",
                wallet.file.path().display()
            )));
        };
        let mut daemon = node::find(asked)?;
        catch_up(&mut wallet, &mut daemon)?;
        let state = &wallet.contents.state;
        let mut request = Request { address, amount: 0, fee_rate: self.fee_rate, note: &self.note };
        request.amount = amount.map_or_else(|| send::most(state, &request), Ok)?;
        let plan = send::plan(state, &request)?;
        if !agreed(&wallet, &plan, self.yes)? {
            return Err(Failure::world("nothing was sent, because that was not agreed to"));
        }
        // A person may think for long: whether it is still there is asked before anything is signed.
        daemon.height()?;
        let txid = pay(&mut wallet, &keys, &mut daemon, &plan)?;
        let fee = amount::show(plan.fee);
        if self.json {
            return output::say_json(&Shown { txid, fee });
        }
        output::say(&format!(
            "sent {} in transaction {txid}, fee {fee}; it waits for a block",
            amount::show(plan.amount)
        ))
    }
}

/// Shows what will be done, and asks.
fn agreed(wallet: &Wallet, plan: &Plan, yes: bool) -> Result<bool, Failure> {
    let Plan { address, amount, fee, change, coins, note } = plan;
    let total = amount.saturating_add(*fee);
    let own = if *address == wallet.address() { " (this wallet's own)" } else { "" };
    let [amount, fee, total, change] = [*amount, *fee, total, *change].map(amount::show);
    let address = address::show(&wallet.params, address);
    let spent = if coins.len() == 1 { "one coin that is".into() } else { format!("{} coins that are", coins.len()) };
    let mut lines = vec![
        format!("pays     {amount:>20}  to {address}{own}"),
        format!("fee      {fee:>20}"),
        format!("total    {total:>20}"),
        format!("change   {change:>20}  comes back, out of {spent} spent"),
    ];
    if !note.is_empty() {
        lines.push(format!("note     {note}"));
    }
    output::remark(&lines.join("\n"));
    if yes {
        return Ok(true);
    }
    let answer = secret::agrees("send it? [y/N] ")?;
    answer.ok_or_else(|| Failure::options("there is no terminal to ask on whether that is meant; add `--yes` if it is"))
}

/// Signs, keeps, and then offers.
fn pay(wallet: &mut Wallet, keys: &SpendKeys, daemon: &mut NodeLink, plan: &Plan) -> Result<Hash, Failure> {
    let mut chance = [0];
    random(&mut chance)?;
    let transaction = plan.sign(keys, wallet.params.genesis_id(), chance[0] % 2 == 0);
    let (id, seen) = (transaction.id(), scan::transaction(keys.view(), &transaction));
    let sent = Sent { address: plan.address, amount: plan.amount, transaction: Some(transaction.clone()) };
    wallet.contents.state.send(&seen, sent, &plan.note, Clock::start().now().wall.0)?;
    wallet.save()?;
    match daemon.submit(&transaction) {
        Ok(Verdict::Waits) => Ok(id),
        Ok(Verdict::Refused(why)) => {
            wallet.contents.state.forget(&id);
            wallet.save()?;
            Err(Failure::world(format!("nothing was sent, because the node refuses it: {why}")))
        }
        Err(LinkError::Broken(why) | LinkError::Odd(why)) => Err(Failure::world(format!(
            "payment {id} is signed and kept, and whether the node has it is not known ({why}): the next command that \
             talks to a node offers it again, so do not send it a second time"
        ))),
    }
}
