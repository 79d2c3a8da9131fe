//! A transaction on its way in: read, then verified.
//!
//! [`ReadTx::read`] takes bytes and checks everything that needs neither signatures nor a ledger nor a
//! height. [`ReadTx::verified`] checks the signatures and gives a [`CheckedTx`], the only form in which
//! the mempool holds a transaction. The two are apart because a stranger's transaction is matched with
//! the ledger before its signatures cost us anything (RULES 31).
//!
//! Both are the bytes as they came and one table of coin ids: no tree of small allocations. What is
//! seldom needed (inputs, claims) is read again from the bytes.

use std::ops::Deref;

use crate::blockchain::params::{Params, TRANSACTION_BYTES_MAX};
use crate::blockchain::reject::Reject;
use crate::blockchain::transaction::{
    CoinId, INPUT_BYTES, INPUTS_AT, Input, SIGNATURE_BYTES, Transaction, signed_digest,
};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::primitives::keys::{Claim, Verifier};

/// What a transaction's bytes say by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxFacts {
    bytes: Box<[u8]>,
    /// What it spends, in the order of its inputs; then what it makes, in that of its outputs.
    coins: Box<[CoinId]>,
    inputs: usize,
    id: Hash,
    fee: u64,
    matures_at: u64,
    least_output: u64,
}

impl TxFacts {
    fn of(transaction: &Transaction, bytes: &[u8]) -> Result<Self, Reject> {
        let fee = transaction.check_alone(bytes.len())?;
        let id = Hash::sha256d(bytes);
        let mut coins = Vec::with_capacity(transaction.inputs.len() + transaction.outputs.len());
        coins.extend(transaction.inputs.iter().map(Input::coin));
        coins.extend(transaction.coins(id));
        Ok(Self {
            bytes: bytes.into(),
            coins: coins.into_boxed_slice(),
            inputs: transaction.inputs.len(),
            id,
            fee,
            matures_at: transaction.inputs.iter().map(|input| input.matures_at).max().unwrap_or(0),
            least_output: transaction.outputs.iter().map(|output| output.amount).min().unwrap_or(0),
        })
    }

    /// The bytes, as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The double SHA-256 of them.
    pub fn id(&self) -> Hash {
        self.id
    }

    /// What it leaves to the miner, in units.
    pub fn fee(&self) -> u64 {
        self.fee
    }

    /// The coins that it claims to spend, in the order of its inputs.
    pub fn spent(&self) -> &[CoinId] {
        &self.coins[..self.inputs]
    }

    /// The coins that it makes, in the order of its outputs.
    pub fn created(&self) -> &[CoinId] {
        &self.coins[self.inputs..]
    }

    /// The least height of a block that may have it, if its claims are true.
    pub fn matures_at(&self) -> u64 {
        self.matures_at
    }

    /// The worth of its smallest output.
    pub fn least_output(&self) -> u64 {
        self.least_output
    }

    /// Its inputs, read again.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        self.bytes[INPUTS_AT..]
            .chunks_exact(INPUT_BYTES)
            .take(self.inputs)
            .map(|bytes| codec::decode(bytes).expect("any 84 bytes are an input"))
    }

    /// All of it, read again.
    pub fn to_transaction(&self) -> Transaction {
        codec::decode(&self.bytes).expect("these bytes were decoded before")
    }
}

/// A transaction that is right in itself, but for its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTx {
    facts: TxFacts,
    /// What its signatures sign.
    digest: Hash,
}

impl Deref for ReadTx {
    type Target = TxFacts;

    fn deref(&self) -> &TxFacts {
        &self.facts
    }
}

impl ReadTx {
    /// Checks everything about a transaction's bytes that needs neither signatures nor a ledger; size
    /// comes before decoding. Maturity is the pool's to judge: it depends on the next block.
    pub fn read(params: &Params, bytes: &[u8]) -> Result<Self, Reject> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(Reject::TransactionTooLarge { size_bytes: bytes.len() });
        }
        Self::of(params, &codec::decode(bytes)?, bytes)
    }

    /// The transaction at the front of these bytes, and what follows it.
    pub fn read_prefix<'a>(params: &Params, bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Reject> {
        let (transaction, rest) = codec::decode_prefix::<Transaction>(bytes)?;
        Ok((Self::of(params, &transaction, &bytes[..bytes.len() - rest.len()])?, rest))
    }

    fn of(params: &Params, transaction: &Transaction, bytes: &[u8]) -> Result<Self, Reject> {
        let facts = TxFacts::of(transaction, bytes)?;
        let signed_part = &bytes[..bytes.len() - SIGNATURE_BYTES * transaction.inputs.len()];
        Ok(Self { facts, digest: signed_digest(params.genesis_id(), signed_part) })
    }

    /// How many signatures are yet to be verified.
    pub fn signatures(&self) -> usize {
        self.facts.inputs
    }

    /// "Each input's key signed this."
    pub fn claims(&self) -> Vec<Claim> {
        self.facts.to_transaction().claims_to(self.digest).collect()
    }

    /// Verifies the signatures.
    pub fn verified(self, verifier: &Verifier) -> Result<CheckedTx, Reject> {
        match verifier.verify(&self.claims()) {
            Ok(()) => Ok(self.trusted()),
            Err(_) => Err(Reject::BadSignature { transaction: self.facts.id }),
        }
    }

    /// Verifies several together, which is faster; when that fails, each alone, so that the verdict on
    /// each is its own. In the order given.
    pub fn verified_all(transactions: Vec<Self>, verifier: &Verifier) -> Vec<Result<CheckedTx, Reject>> {
        let claims: Vec<Claim> = transactions.iter().flat_map(Self::claims).collect();
        if verifier.verify(&claims).is_ok() {
            return transactions.into_iter().map(|read| Ok(read.trusted())).collect();
        }
        transactions.into_iter().map(|read| read.verified(verifier)).collect()
    }

    /// Without a look at its signatures: for what stood in a block of ours, which was verified before it
    /// was written.
    pub fn trusted(self) -> CheckedTx {
        CheckedTx(self.facts)
    }
}

/// A transaction whose signatures hold. Whether its coins are there only the ledger can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTx(TxFacts);

impl Deref for CheckedTx {
    type Target = TxFacts;

    fn deref(&self) -> &TxFacts {
        &self.0
    }
}
