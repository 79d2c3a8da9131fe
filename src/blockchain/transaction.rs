//! Transactions: who spends which coins, who gets new ones, and what of that can be checked alone.
//!
//! An input does not only point at a coin, it repeats all that is to be known of it: amount, key,
//! maturity. A [`CoinId`] is the hash of just that, and the ledger is the set of the ids of unspent
//! coins, so a false claim is an id that the ledger does not have. Fees, sums, maturity and signatures
//! are therefore checked here, on the thread of whoever sent the bytes; only membership is left for
//! the owner.
//!
//! A [`Transaction`] is what moves coins (RULES calls it a transfer); a [`Coinbase`] makes them. A
//! block has exactly one of the latter, and its type says so.

use std::cmp::Ordering;

use crate::blockchain::params::{BLOCK_OUTPUTS_MAX, INPUTS_MAX, OUTPUTS_MAX, TRANSACTION_BYTES_MAX};
use crate::blockchain::reject::Reject;
use crate::borrow_decode_by_decode;
use crate::primitives::codec::by_hand::{DecodeError, Decoder, EncodeError, Encoder};
use crate::primitives::codec::{self, Decode, Encode, List, decode_counted};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::keys::{Claim, Key, Signature};

/// The only version of transactions and coinbases so far.
pub const VERSION: u8 = 1;
/// The least transaction: version, one input, one output, transaction key, no note, one signature.
pub const TRANSACTION_BYTES_MIN: usize = 1 + (2 + 84) + (2 + 41) + 32 + 1 + 64;
/// An input's size in bytes.
pub const INPUT_BYTES: usize = 84;
/// Where the first input begins: after the version and the count.
pub const INPUTS_AT: usize = 1 + 2;
/// A signature's size in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// An encrypted note: 64 bytes and their tag.
pub const NOTE_BYTES: usize = 80;

/// Which output: a transaction's id and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Outpoint {
    /// The transaction or coinbase that made it.
    pub transaction: Hash,
    /// Its place, from 0.
    pub index: u32,
}

/// One coin to be spent, with all that its owner claims of it. 84 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    /// Which coin.
    pub outpoint: Outpoint,
    /// Its worth in units.
    pub amount: u64,
    /// The key that must sign.
    pub key: Key,
    /// The least height at which it may be spent; 0 unless a coinbase made it.
    pub matures_at: u64,
}

impl Input {
    /// What the ledger must hold for this claim to be true.
    pub fn coin(&self) -> CoinId {
        CoinId::new(&self.outpoint, self.amount, &self.key, self.matures_at)
    }

    /// Whether a block of this height may spend it.
    pub fn check_maturity(&self, height: u64) -> Result<(), Reject> {
        if self.matures_at > height {
            return Err(Reject::Immature { outpoint: self.outpoint, matures_at: self.matures_at, height });
        }
        Ok(())
    }
}

/// One coin to be made. 41 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Output {
    /// Its worth in units, at least 1.
    pub amount: u64,
    /// A one-time key; consensus does not look inside.
    pub key: Key,
    /// One byte that lets a wallet pass over what is not its own.
    pub view_tag: u8,
}

/// An unspent coin as the ledger knows it: the hash of everything that an input claims.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CoinId(pub [u8; 32]);

impl Ord for CoinId {
    /// As bytes. The first eight decide nearly always, and a comparison of two integers is several times
    /// faster than one of two slices: the ledger's searches do little else.
    fn cmp(&self, other: &Self) -> Ordering {
        let leading = |id: &Self| u64::from_be_bytes(*id.0.first_chunk().expect("32 bytes"));
        leading(self).cmp(&leading(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for CoinId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl CoinId {
    /// `H("spindle/coin/1" ‖ outpoint ‖ amount ‖ key ‖ matures_at)`.
    pub fn new(outpoint: &Outpoint, amount: u64, key: &Key, matures_at: u64) -> Self {
        let parts: [&[u8]; 5] = [
            &outpoint.transaction.0,
            &outpoint.index.to_le_bytes(),
            &amount.to_le_bytes(),
            &key.0,
            &matures_at.to_le_bytes(),
        ];
        Self(tagged("spindle/coin/1", &parts).0)
    }
}

/// New coins for whoever found the block. 82 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Coinbase {
    /// [`VERSION`].
    pub version: u8,
    /// The block's height: no two coinbases are the same.
    pub height: u64,
    /// Reward and fees, exactly.
    pub output: Output,
    /// The sender's half of the secret that a stealth address needs; zero when the key is a plain one.
    pub tx_key: Key,
}

impl Coinbase {
    /// The id that a spender names.
    pub fn id(&self) -> Hash {
        Hash::sha256d(&codec::encode(self))
    }
}

/// A transfer: coins spent, coins made, and a signature for each coin spent.
///
/// The signatures come last and have no count of their own (it is that of the inputs), so what is
/// signed is one slice from the front of the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// [`VERSION`].
    pub version: u8,
    /// 1 to 460.
    pub inputs: List<Input, INPUTS_MAX>,
    /// 1 to 1,024.
    pub outputs: List<Output, OUTPUTS_MAX>,
    /// `R` of the stealth addresses paid to.
    pub tx_key: Key,
    /// For the receiver's eyes.
    pub note: Option<[u8; NOTE_BYTES]>,
    /// As many as inputs.
    signatures: Vec<Signature>,
}

impl Encode for Transaction {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.version.encode(encoder)?;
        self.inputs.encode(encoder)?;
        self.outputs.encode(encoder)?;
        self.tx_key.encode(encoder)?;
        self.note.encode(encoder)?;
        self.signatures.iter().try_for_each(|signature| signature.encode(encoder))
    }
}

impl<C> Decode<C> for Transaction {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let version = Decode::decode(decoder)?;
        let inputs: List<Input, INPUTS_MAX> = Decode::decode(decoder)?;
        let outputs = Decode::decode(decoder)?;
        let tx_key = Decode::decode(decoder)?;
        let note = Decode::decode(decoder)?;
        let signatures = decode_counted(decoder, inputs.len())?;
        Ok(Self { version, inputs, outputs, tx_key, note, signatures })
    }
}
borrow_decode_by_decode!(Transaction);

impl Transaction {
    /// A transfer that nobody has signed yet.
    pub fn unsigned(
        inputs: List<Input, INPUTS_MAX>,
        outputs: List<Output, OUTPUTS_MAX>,
        tx_key: Key,
        note: Option<[u8; NOTE_BYTES]>,
    ) -> Self {
        Self { version: VERSION, inputs, outputs, tx_key, note, signatures: Vec::new() }
    }

    /// Signs every input; `sign` is given the input's place and the message.
    #[must_use]
    pub fn signed(mut self, network: Hash, mut sign: impl FnMut(usize, &[u8; 36]) -> Signature) -> Self {
        let digest = self.digest(network);
        self.signatures = (0..self.inputs.len()).map(|place| sign(place, &message(digest, place))).collect();
        self
    }

    /// Its id: the double SHA-256 of all its bytes, signatures included.
    pub fn id(&self) -> Hash {
        Hash::sha256d(&codec::encode(self))
    }

    /// What the signatures sign: every byte before them, on this network alone (RULES 22).
    pub fn digest(&self, network: Hash) -> Hash {
        let bytes = codec::encode(self);
        signed_digest(network, &bytes[..bytes.len() - SIGNATURE_BYTES * self.signatures.len()])
    }

    /// "Each input's key signed this", for the verifier: one claim for each input, always.
    ///
    /// Decoded transactions have as many signatures as inputs. Should one that was built here lack some,
    /// zeros stand for them, which no honest key accepts: an unsigned input must never pass unseen.
    pub fn claims(&self, network: Hash) -> impl Iterator<Item = Claim> {
        self.claims_to(self.digest(network))
    }

    /// The same, for one who has the digest already.
    pub(in crate::blockchain) fn claims_to(&self, digest: Hash) -> impl Iterator<Item = Claim> {
        let signatures = self.signatures.iter().copied().chain(std::iter::repeat(Signature([0; 64])));
        let pairs = self.inputs.iter().zip(signatures).enumerate();
        pairs.map(move |(place, (input, signature))| Claim {
            key: input.key,
            signature,
            message: message(digest, place),
        })
    }

    /// What the receiver of the bytes can say without a ledger, signatures apart: shape, sums and
    /// maturity. Gives the fee.
    pub fn check(&self, size_bytes: usize, height: u64) -> Result<u64, Reject> {
        let fee = self.check_alone(size_bytes)?;
        self.inputs.iter().try_for_each(|input| input.check_maturity(height))?;
        Ok(fee)
    }

    /// The same without a height: what holds in every block, or in none.
    pub fn check_alone(&self, size_bytes: usize) -> Result<u64, Reject> {
        if size_bytes > TRANSACTION_BYTES_MAX {
            return Err(Reject::TransactionTooLarge { size_bytes });
        }
        if self.version != VERSION {
            return Err(Reject::TransactionVersion { version: self.version });
        }
        if self.inputs.is_empty() {
            return Err(Reject::NoInputs);
        }
        if self.outputs.is_empty() {
            return Err(Reject::NoOutputs);
        }
        if self.inputs.iter().any(|input| input.amount == 0) || self.outputs.iter().any(|output| output.amount == 0) {
            return Err(Reject::ZeroAmount);
        }
        let spent = sum(self.inputs.iter().map(|input| input.amount))?;
        let made = sum(self.outputs.iter().map(|output| output.amount))?;
        let fee = spent.checked_sub(made).ok_or(Reject::SpendsMoreThanItHas { spent, made })?;
        self.check_outpoints()?;
        Ok(fee)
    }

    fn check_outpoints(&self) -> Result<(), Reject> {
        let mut outpoints: Vec<&Outpoint> = self.inputs.iter().map(|input| &input.outpoint).collect();
        outpoints.sort_unstable();
        match outpoints.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Reject::DuplicateInput { outpoint: *pair[0] }),
            None => Ok(()),
        }
    }

    /// The coins that it makes, given its id.
    pub fn coins(&self, id: Hash) -> impl Iterator<Item = CoinId> {
        (0..).zip(&self.outputs).map(move |(index, output)| {
            CoinId::new(&Outpoint { transaction: id, index }, output.amount, &output.key, 0)
        })
    }
}

/// What the signatures of a transaction sign, given every byte before them.
pub(in crate::blockchain) fn signed_digest(network: Hash, signed_part: &[u8]) -> Hash {
    tagged("spindle/sign/1", &[&network.0, signed_part])
}

/// A sum of amounts, or the rule that it breaks by not fitting.
pub fn sum(amounts: impl Iterator<Item = u64>) -> Result<u64, Reject> {
    let mut total: u64 = 0;
    for amount in amounts {
        total = total.checked_add(amount).ok_or(Reject::SumOverflows)?;
    }
    Ok(total)
}

/// `digest ‖ u32 place`: what the key of one input signs.
fn message(digest: Hash, place: usize) -> [u8; 36] {
    let place = u32::try_from(place).expect("an input list is counted by a u16");
    let mut message = [0; 36];
    message[..32].copy_from_slice(&digest.0);
    message[32..].copy_from_slice(&place.to_le_bytes());
    message
}

// Decoding is bounded by the bytes that came: nothing may take more than four times these in memory.
const _: () = assert!(size_of::<Input>() <= 4 * 84 && size_of::<Output>() <= 4 * 41);
const _: () = assert!(size_of::<Transaction>() <= 4 * TRANSACTION_BYTES_MIN);
const _: () = assert!(OUTPUTS_MAX <= BLOCK_OUTPUTS_MAX);
