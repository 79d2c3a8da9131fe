//! A proof of payment: who sent a transaction shows that it paid an address, and how much.
//!
//! The sender names `S` and proves, without a word about `r`, that it is the `r` of this transaction
//! times `8·A`: one number behind two points (Chaum and Pedersen, CRYPTO '92; made non-interactive by a
//! hash over everything that is public). From `S` anybody computes which outputs are the address's.
//!
//! ```text
//! n = Hs("spindle/proof-nonce/1", r ‖ context)           context = tx id ‖ address ‖ R ‖ S
//! c = Hs("spindle/proof/1", context ‖ n·G ‖ n·8·A)       s = n + c·r
//! checks: c = Hs("spindle/proof/1", context ‖ s·G − c·R ‖ s·8·A − c·S)
//! ```
//!
//! The tx id covers every byte of the transaction and the address names its network. What a proof gives
//! away is `S`: its reader sees which outputs of this one transaction are the address's, and its note.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use zeroize::Zeroize;

use crate::blockchain::params::Params;
use crate::blockchain::transaction::Transaction;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::primitives::stealth::{Address, Shared, scalar_of, sound_point};
use crate::wallet::keys::SpendKeys;
use crate::wallet::note;
use crate::wallet::text::{self, HEAD_BYTES, Kind, TextError};

/// Version, network, `S`, `c`, `s`.
const PROOF_BYTES: usize = HEAD_BYTES + 3 * 32;

/// "This transaction paid this address."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    shared: [u8; 32],
    challenge: Scalar,
    response: Scalar,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The sum of the outputs that are the address's, in units.
    pub amount: u64,
    /// Their places.
    pub outputs: Vec<u32>,
    /// The note that went with them.
    pub note: Option<String>,
}

/// Why nothing is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Only the sender can prove, and this wallet is not he.
    #[error("this wallet did not send that transaction, so it cannot prove what it paid")]
    NotTheSender,
    /// The transaction has no output for the address.
    #[error("that transaction pays nothing to this address")]
    PaysNothing,
    /// The proof is of something else, or invented.
    #[error("the proof does not hold for this transaction and this address")]
    DoesNotHold,
}

impl Proof {
    /// Proves what a transaction of ours paid to an address.
    pub fn make(keys: &SpendKeys, transaction: &Transaction, address: &Address) -> Result<Self, ProofError> {
        let secret = keys.tx_secret(transaction.inputs.iter().map(|input| &input.outpoint));
        if secret.public() != transaction.tx_key {
            return Err(ProofError::NotTheSender);
        }
        let shared = secret.shared(address);
        paid(transaction, address, &shared)?;
        let context = context(transaction, address, shared.as_bytes());
        let mut nonce = scalar_of("spindle/proof-nonce/1", &[&secret.scalar().to_bytes(), &context]);
        let bases = [EdwardsPoint::mul_base(&nonce), address.view().mul_by_cofactor() * nonce];
        let challenge = challenge(&context, &bases);
        let response = nonce + challenge * secret.scalar();
        nonce.zeroize();
        Ok(Self { shared: *shared.as_bytes(), challenge, response })
    }

    /// What is proven about this transaction and this address.
    pub fn check(&self, transaction: &Transaction, address: &Address) -> Result<Paid, ProofError> {
        // A point outside of the prime-order group could pass with a part of it that is not r·8·A, and with
        // it outputs that the receiver would never find.
        let shared = sound_point(&self.shared).map_err(|_| ProofError::DoesNotHold)?;
        let tx_key = CompressedEdwardsY(transaction.tx_key.0).decompress().ok_or(ProofError::DoesNotHold)?;
        let (c, s) = (self.challenge, self.response);
        let bases = [EdwardsPoint::mul_base(&s) - tx_key * c, address.view().mul_by_cofactor() * s - shared * c];
        if challenge(&context(transaction, address, &self.shared), &bases) != c {
            return Err(ProofError::DoesNotHold);
        }
        paid(transaction, address, &Shared::from_bytes(self.shared))
    }

    /// As a text to be copied.
    pub fn show(&self, params: &Params) -> String {
        let parts = [self.shared, self.challenge.to_bytes(), self.response.to_bytes()].concat();
        text::show(params, Kind::Proof, &[text::head(params).as_slice(), &parts].concat())
    }

    /// From such a text.
    pub fn parse(params: &Params, text: &str) -> Result<Self, TextError> {
        let bytes = text::parse::<PROOF_BYTES>(params, Kind::Proof, text)?;
        let part = |n: usize| *bytes[HEAD_BYTES + 32 * n..].first_chunk::<32>().expect("three of 32");
        let scalar = |n| {
            let unsound = TextError::Malformed { wanted: "a proof of payment", why: "a number in it is too large" };
            Option::<Scalar>::from(Scalar::from_canonical_bytes(part(n))).ok_or(unsound)
        };
        Ok(Self { shared: part(0), challenge: scalar(1)?, response: scalar(2)? })
    }
}

/// Everything that a proof is about, in one row.
fn context(transaction: &Transaction, address: &Address, shared: &[u8; 32]) -> Vec<u8> {
    let (Hash(id), Key(tx_key)) = (transaction.id(), transaction.tx_key);
    [id.as_slice(), &address.to_bytes(), &tx_key, shared].concat()
}

fn challenge(context: &[u8], bases: &[EdwardsPoint; 2]) -> Scalar {
    scalar_of("spindle/proof/1", &[context, &bases[0].compress().0, &bases[1].compress().0])
}

fn paid(transaction: &Transaction, address: &Address, shared: &Shared) -> Result<Paid, ProofError> {
    let ours = (0..).zip(&transaction.outputs).filter(|(index, output)| {
        output.view_tag == shared.view_tag(*index) && output.key == shared.key(*index, address.spend())
    });
    let (outputs, amounts): (Vec<u32>, Vec<u64>) = ours.map(|(index, output)| (index, output.amount)).unzip();
    if outputs.is_empty() {
        return Err(ProofError::PaysNothing);
    }
    let note = transaction.note.and_then(|note| note::open(shared, &transaction.tx_key, &note));
    // Its transaction may never have been checked by anybody.
    Ok(Paid { amount: amounts.iter().fold(0, |sum: u64, &amount| sum.saturating_add(amount)), outputs, note })
}
