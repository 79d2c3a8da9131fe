//! Paying: which coins, what fee, what change; then the signatures.
//!
//! A [`Plan`] is made without any secret, so that a person can be asked first, and a wallet that only
//! watches can say what a payment would cost. Change is an output to ourselves like any other; whether it
//! comes first is drawn by the caller, so that its place says nothing.
//!
//! Left out: several receivers at once, and a choice of coins that hides anything: amounts are public.

use std::cmp::Reverse;
use std::fmt;

use crate::blockchain::params::{INPUTS_MAX, TRANSACTION_BYTES_MAX};
use crate::blockchain::transaction::{NOTE_BYTES, Output, TRANSACTION_BYTES_MIN, Transaction};
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::stealth::Address;
use crate::wallet::amount;
use crate::wallet::keys::{Coin, OneTimeKey, SpendKeys};
use crate::wallet::note::{self, NoteError};
use crate::wallet::state::State;

/// What nodes ask for at least and do not pass on: their pool's own figures, not copies of them.
pub use crate::blockchain::mempool::{DUST_UNITS as DUST, FEE_RATE_MIN};

/// What each more input takes: the claim and the signature.
const INPUT_BYTES: usize = 84 + 64;
const OUTPUT_BYTES: usize = 41;
/// A transaction without inputs and outputs.
const BASE_BYTES: usize = TRANSACTION_BYTES_MIN - INPUT_BYTES - OUTPUT_BYTES;

/// Why a payment cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nodes would not pass it on.
    #[error("{} is too little to send (limit {}): nodes do not pass on smaller outputs", amount::show(*.amount), amount::show(DUST))]
    Dust {
        /// What was to be paid.
        amount: u64,
    },
    /// Nodes would not pass it on.
    #[error("a fee of {rate} units for 1,000 bytes is too little (limit {FEE_RATE_MIN}): nodes do not pass it on")]
    FeeRate {
        /// What was offered.
        rate: u64,
    },
    /// The note does not fit.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// There is not enough, and waiting does not help.
    #[error(
        "{} and a fee of {} are more than can be spent now ({}){left_out}",
        amount::show(*.amount), amount::show(*.fee), amount::show(*.spendable)
    )]
    TooMuch {
        /// What was to be paid.
        amount: u64,
        /// What that would cost at least.
        fee: u64,
        /// What there is.
        spendable: u64,
        /// What else there is, and why it does not count.
        left_out: LeftOut,
    },
    /// There will be enough.
    #[error(
        "{} and a fee of {} are more than can be spent now ({}); {} more is mined and immature, and will be enough at height {height}",
        amount::show(*.amount), amount::show(*.fee), amount::show(*.spendable), amount::show(*.immature)
    )]
    Immature {
        /// What was to be paid.
        amount: u64,
        /// What that would cost at least.
        fee: u64,
        /// What there is.
        spendable: u64,
        /// What is to come.
        immature: u64,
        /// When enough of it has come.
        height: u64,
    },
    /// Our coins are too small.
    #[error(
        "{} would take more coins than one transaction can spend (limit {limit}, {TRANSACTION_BYTES_MAX} bytes); send at most {} at once",
        amount::show(*.amount), amount::show(*.sendable)
    )]
    TooManyCoins {
        /// What was to be paid.
        amount: u64,
        /// How many coins fit.
        limit: usize,
        /// The most that so many coins can pay.
        sendable: u64,
    },
}

/// Coins of ours that a payment cannot spend, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Others have paid it, in transactions that wait for a block.
    pub waiting: u64,
    /// Mined, and not old enough.
    pub immature: u64,
    /// In coins whose place in a transaction would cost more.
    pub small: u64,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.waiting, "waits for a block"),
            (self.immature, "is mined and immature"),
            (self.small, "is in coins that are worth less than the fee for spending them"),
        ];
        parts
            .iter()
            .filter(|(units, _)| *units > 0)
            .try_for_each(|(units, why)| write!(f, "; {} more {why}", amount::show(*units)))
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who is paid.
    pub address: Address,
    /// How much, in units.
    pub amount: u64,
    /// Units for 1,000 bytes.
    pub fee_rate: u64,
    /// A word with it; an empty one is none.
    pub note: &'a str,
}

/// What will be done, for a person to agree to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who is paid.
    pub address: Address,
    /// How much, in units.
    pub amount: u64,
    /// What the miner gets, in units.
    pub fee: u64,
    /// What comes back to us; 0 if it would be dust, which goes to the miner.
    pub change: u64,
    /// What is spent for it.
    pub coins: Vec<Coin>,
    /// A word with it.
    pub note: String,
}

/// Chooses coins: the smallest that is enough alone; or else the largest first, which takes the fewest.
/// Our own change that still waits is touched only where all that is confirmed is not enough, since nodes take
/// few payments in a row; what others have not confirmed is not spent.
pub fn plan(state: &State, request: &Request) -> Result<Plan, SendError> {
    if request.amount < DUST {
        return Err(SendError::Dust { amount: request.amount });
    }
    if request.fee_rate < FEE_RATE_MIN {
        return Err(SendError::FeeRate { rate: request.fee_rate });
    }
    note::check(request.note)?;
    let candidates = candidates(state, request);
    let confirmed = candidates.partition_point(|coin| state.place_of(coin).is_some());
    let choice = choose(request, &candidates[..confirmed]).or_else(|| choose(request, &candidates));
    choice.ok_or_else(|| explain(state, request, &candidates))
}

/// The smallest of these that is enough alone, or else the first so many.
fn choose(request: &Request, candidates: &[Coin]) -> Option<Plan> {
    let alone = candidates.iter().rev().find_map(|coin| settle(request, &[*coin]));
    let together = || (2..=candidates.len().min(coins_max(request))).find_map(|n| settle(request, &candidates[..n]));
    alone.or_else(together)
}

/// The most that one payment can pay: all there is to spend, less the fee. At least what nodes pass on: if
/// there is less, [`plan`] says why.
pub fn most(state: &State, request: &Request) -> Result<u64, SendError> {
    let (candidates, limit) = (candidates(state, request), coins_max(request));
    let less_fee = |coins: &[Coin]| sum(coins).saturating_sub(fee(request, coins.len(), 1));
    if candidates.len() > limit {
        let (amount, sendable) = (less_fee(&candidates), less_fee(&candidates[..limit]));
        return Err(SendError::TooManyCoins { amount, limit, sendable });
    }
    Ok(less_fee(&candidates).max(DUST))
}

impl Plan {
    /// The transaction. Its secrets follow from the keys and the coins: the same plan gives the same bytes.
    ///
    /// # Panics
    /// If the plan was not made for the wallet of these keys.
    pub fn sign(&self, keys: &SpendKeys, genesis: Hash, change_first: bool) -> Transaction {
        let secret = keys.tx_secret(self.coins.iter().map(|coin| &coin.input.outpoint));
        let mut payments = vec![(self.address, self.amount)];
        if self.change > 0 {
            payments.push((keys.view().address(genesis), self.change));
        }
        if change_first {
            payments.reverse();
        }
        let outputs = (0..).zip(payments).map(|(index, (address, amount))| {
            let shared = secret.shared(&address);
            Output { amount, key: shared.key(index, address.spend()), view_tag: shared.view_tag(index) }
        });
        let outputs = List::first_of(outputs.collect());
        let tx_key = secret.public();
        let note = (!self.note.is_empty()).then(|| {
            note::seal(&secret.shared(&self.address), &tx_key, &self.note).expect("the note was checked for the plan")
        });
        let inputs = List::first_of(self.coins.iter().map(|coin| coin.input).collect());
        let ours = |coin| keys.one_time(coin).expect("the coins of a plan are those of its wallet");
        let signers: Vec<OneTimeKey> = self.coins.iter().map(ours).collect();
        let unsigned = Transaction::unsigned(inputs, outputs, tx_key, note);
        unsigned.signed(genesis, |place, message| signers[place].sign(message))
    }
}

/// Whether a payment can spend a coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Confirmed,
    OwnChange,
    Waiting,
    Immature,
    Small,
}

fn standing(state: &State, request: &Request, coin: &Coin) -> Standing {
    let own_change = || state.record(&coin.input.outpoint.transaction).is_some_and(|record| record.sent.is_some());
    match state.place_of(coin) {
        Some(_) if state.matures_in(coin) > 0 => Standing::Immature,
        None if !own_change() => Standing::Waiting,
        _ if coin.input.amount <= rated(INPUT_BYTES, request.fee_rate) => Standing::Small,
        Some(_) => Standing::Confirmed,
        None => Standing::OwnChange,
    }
}

/// What can be spent and is worth its own fee, in the order of preference.
fn candidates(state: &State, request: &Request) -> Vec<Coin> {
    let ranked = state.unspent().map(|coin| (standing(state, request, coin), *coin));
    let mut ranked: Vec<(Standing, Coin)> = ranked.filter(|(standing, _)| *standing <= Standing::OwnChange).collect();
    ranked.sort_by_key(|(standing, coin)| (*standing, Reverse(coin.input.amount), coin.input.outpoint));
    ranked.into_iter().map(|(_, coin)| coin).collect()
}

/// The plan that spends exactly these coins, if they are enough.
fn settle(request: &Request, coins: &[Coin]) -> Option<Plan> {
    let total = sum(coins);
    let fee_with = |outputs| fee(request, coins.len(), outputs);
    let left = total.checked_sub(request.amount)?;
    let (fee, change) = match left.checked_sub(fee_with(2)) {
        Some(change) if change >= DUST => (fee_with(2), change),
        // Too little to come back: the miner has it.
        _ => (left, 0),
    };
    let mut coins = coins.to_vec();
    // Not in the order of choice, which would tell of our other coins.
    coins.sort_by_key(|coin| coin.input.outpoint);
    let Request { address, amount, note, .. } = *request;
    (fee >= fee_with(1)).then(|| Plan { address, amount, fee, change, coins, note: note.to_owned() })
}

/// Why no choice of these coins is enough.
fn explain(state: &State, request: &Request, candidates: &[Coin]) -> SendError {
    let (amount, spendable, limit) = (request.amount, sum(candidates), coins_max(request));
    let fee = fee(request, candidates.len().clamp(1, limit), 1);
    let needed = amount.saturating_add(fee);
    if candidates.len() > limit && spendable >= needed {
        return SendError::TooManyCoins { amount, limit, sendable: sum(&candidates[..limit]).saturating_sub(fee) };
    }
    let mut young: Vec<&Coin> = state.unspent().filter(|coin| state.matures_in(coin) > 0).collect();
    young.sort_by_key(|coin| coin.input.matures_at);
    let mut have = spendable;
    for coin in &young {
        have = have.saturating_add(coin.input.amount);
        if have >= needed {
            let immature = young.iter().fold(0, |sum: u64, coin| sum.saturating_add(coin.input.amount));
            // A block at this height may spend it, so the chain must have the one before.
            let height = coin.input.matures_at - 1;
            return SendError::Immature { amount, fee, spendable, immature, height };
        }
    }
    let mut left_out = LeftOut::default();
    for coin in state.unspent() {
        let sum = match standing(state, request, coin) {
            Standing::Confirmed | Standing::OwnChange => continue,
            Standing::Waiting => &mut left_out.waiting,
            Standing::Immature => &mut left_out.immature,
            Standing::Small => &mut left_out.small,
        };
        *sum = sum.saturating_add(coin.input.amount);
    }
    SendError::TooMuch { amount, fee, spendable, left_out }
}

/// Inputs that fit a transaction with two outputs.
fn coins_max(request: &Request) -> usize {
    INPUTS_MAX.min((TRANSACTION_BYTES_MAX - size(request, 0, 2)) / INPUT_BYTES)
}

fn size(request: &Request, inputs: usize, outputs: usize) -> usize {
    let note = if request.note.is_empty() { 0 } else { NOTE_BYTES };
    BASE_BYTES + inputs * INPUT_BYTES + outputs * OUTPUT_BYTES + note
}

fn fee(request: &Request, inputs: usize, outputs: usize) -> u64 {
    rated(size(request, inputs, outputs), request.fee_rate)
}

/// Rounded up: a fee that is a fraction short is too small.
fn rated(bytes: usize, rate: u64) -> u64 {
    u64::try_from((bytes as u128 * u128::from(rate)).div_ceil(1_000)).unwrap_or(u64::MAX)
}

fn sum(coins: &[Coin]) -> u64 {
    coins.iter().fold(0, |sum, coin| sum.saturating_add(coin.input.amount))
}
