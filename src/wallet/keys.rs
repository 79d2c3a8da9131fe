//! A wallet's secrets: to see with, to spend with, and one for each coin.
//!
//! ```text
//! b = Hs("spindle/spend/1", seed)    a = Hs("spindle/view/1", seed)    k = H("spindle/tx-secret/1", seed)
//! ```
//!
//! Each is hashed from the seed alone, so whoever has `a` learns nothing of `b` or `k`. [`ViewKeys`] and
//! [`SpendKeys`] are different types: what signs takes the latter, so a wallet that only watches has no
//! words for signing. Nothing in here is ever shown, and all of it is wiped when it is dropped.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::blockchain::params::Params;
use crate::blockchain::transaction::{Input, Outpoint};
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::keys::{Key, Signature};
use crate::primitives::stealth::{Address, Shared, TxSecret, scalar_of, sound_point, tagged_wide};
use crate::wallet::text::{self, HEAD_BYTES, Kind, TextError};
use crate::wallet::words::Seed;

/// A view key's bytes: version, network, `a`, `B`.
const VIEW_KEY_BYTES: usize = HEAD_BYTES + 32 + 32;

/// A coin that is ours, with what it takes to find its secret again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Coin {
    /// What spends it must claim of it.
    pub input: Input,
    /// `R` of the transaction that made it; zero if it was paid to our spend key itself.
    pub tx_key: Key,
}

/// Sees what comes in, and cannot spend it: no function makes spend keys of it, and signing takes those.
///
/// ```compile_fail,E0308
/// use spindle::{primitives::hash::Hash, wallet::{keys::ViewKeys, send::Plan}};
/// fn spend(plan: &Plan, keys: &ViewKeys) {
///     plan.sign(keys, Hash::ZERO, false);
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ViewKeys {
    view: Scalar,
    #[zeroize(skip)]
    spend: EdwardsPoint,
}

impl ViewKeys {
    /// From 32 bytes of `a` and 32 of `B`; the error is the rest of a sentence about the key that it names.
    pub fn from_bytes(view: &[u8; 32], spend: &[u8; 32]) -> Result<Self, (&'static str, &'static str)> {
        let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(*view)).filter(|view| *view != Scalar::ZERO);
        let view = scalar.ok_or(("view", "is no number below the group's order"))?;
        Ok(Self { view, spend: sound_point(spend).map_err(|why| ("spend", why))? })
    }

    /// The bytes of `a` and of `B`.
    pub fn to_bytes(&self) -> (Zeroizing<[u8; 32]>, [u8; 32]) {
        (Zeroizing::new(self.view.to_bytes()), self.spend.compress().0)
    }

    /// As a text to be carried to a wallet that only watches. Whoever has it sees all payments.
    pub fn show(&self, params: &Params) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; VIEW_KEY_BYTES]);
        let (view, spend) = self.to_bytes();
        bytes[..HEAD_BYTES].copy_from_slice(&text::head(params));
        bytes[HEAD_BYTES..HEAD_BYTES + 32].copy_from_slice(&*view);
        bytes[HEAD_BYTES + 32..].copy_from_slice(&spend);
        Zeroizing::new(text::show(params, Kind::ViewKey, &*bytes))
    }

    /// From such a text.
    pub fn parse(params: &Params, text: &str) -> Result<Self, TextError> {
        let bytes = text::parse::<VIEW_KEY_BYTES>(params, Kind::ViewKey, text)?;
        let (view, spend) = bytes[HEAD_BYTES..].split_first_chunk().expect("32 of 64");
        let spend = spend.try_into().expect("the other 32");
        Self::from_bytes(view, spend).map_err(|(which, why)| TextError::Unsound { which, why })
    }

    /// Where this wallet is paid.
    pub fn address(&self, genesis: Hash) -> Address {
        Address::new(genesis, EdwardsPoint::mul_base(&self.view), self.spend)
    }

    /// `B` as a plain key: what a miner may be told to pay without an address.
    pub fn spend_key(&self) -> Key {
        Key(self.spend.compress().0)
    }

    /// `B`.
    pub fn spend_point(&self) -> &EdwardsPoint {
        &self.spend
    }

    /// `S`, as the receiver finds it; none if `R` is no point, or one of small order.
    pub fn shared(&self, tx_key: &Key) -> Option<Shared> {
        Shared::of_product(&self.product(tx_key)?)
    }

    /// [`ViewKeys::shared`] of many, several times faster than one by one but for the multiplication.
    pub fn shared_all(&self, tx_keys: &[Key]) -> Vec<Option<Shared>> {
        // The neutral point stands for what is no point, and is passed over like it.
        let products = tx_keys.iter().map(|key| self.product(key).unwrap_or_default());
        Shared::of_products(&products.collect::<Vec<_>>())
    }

    fn product(&self, tx_key: &Key) -> Option<EdwardsPoint> {
        Some(CompressedEdwardsY(tx_key.0).decompress()? * self.view)
    }
}

impl fmt::Debug for ViewKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewKeys")
    }
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SpendKeys {
    view: ViewKeys,
    spend: Scalar,
    tx_secret: [u8; 32],
}

impl SpendKeys {
    /// The keys that follow from a seed.
    pub fn from_seed(seed: &Seed) -> Self {
        let secret = seed.as_bytes();
        let spend = scalar_of("spindle/spend/1", &[secret]);
        let view = ViewKeys { view: scalar_of("spindle/view/1", &[secret]), spend: EdwardsPoint::mul_base(&spend) };
        Self { view, spend, tx_secret: tagged("spindle/tx-secret/1", &[secret]).0 }
    }

    /// What of it only sees.
    pub fn view(&self) -> &ViewKeys {
        &self.view
    }

    /// `r` of the transaction that spends these coins, in this order (RULES 34).
    pub fn tx_secret<'a>(&self, outpoints: impl Iterator<Item = &'a Outpoint>) -> TxSecret {
        let outpoints: Vec<u8> = outpoints
            .flat_map(|outpoint| outpoint.transaction.0.into_iter().chain(outpoint.index.to_le_bytes()))
            .collect();
        TxSecret::of("spindle/tx-key/1", &[&self.tx_secret, &outpoints])
    }

    /// The secret of one coin; none if the coin is not ours.
    pub fn one_time(&self, coin: &Coin) -> Option<OneTimeKey> {
        let secret = if coin.tx_key == Key::default() {
            self.spend
        } else {
            self.view.shared(&coin.tx_key)?.offset(coin.input.outpoint.index) + self.spend
        };
        let key = OneTimeKey::new(secret);
        (key.public() == coin.input.key).then_some(key)
    }
}

impl fmt::Debug for SpendKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpendKeys")
    }
}

/// `x`: what spends one coin.
pub struct OneTimeKey(ExpandedSecretKey);

impl OneTimeKey {
    /// The prefix hides the nonces of signatures, and is this key's alone (RULES 37): with one prefix
    /// for two keys, whoever has the view key computes the spend key from two signatures.
    fn new(scalar: Scalar) -> Self {
        let wide = Zeroizing::new(tagged_wide("spindle/nonce/1", &[&*Zeroizing::new(scalar.to_bytes())]));
        let hash_prefix = *wide.first_chunk().expect("32 of 64");
        Self(ExpandedSecretKey { scalar, hash_prefix })
    }

    /// `P = x·G`.
    pub fn public(&self) -> Key {
        Key(VerifyingKey::from(&self.0).to_bytes())
    }

    /// Signs a message, deterministically.
    pub fn sign(&self, message: &[u8]) -> Signature {
        // Computed here and never handed in: a signature under a foreign public key reveals the secret.
        let public = VerifyingKey::from(&self.0);
        Signature(raw_sign::<Sha512>(&self.0, message, &public).to_bytes())
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::primitives::keys::Claim;

    fn keys() -> SpendKeys {
        SpendKeys::from_seed(&Seed::from_bytes([7; 64]))
    }

    /// `c = SHA-512(R ‖ A ‖ M) mod l`, as RFC 8032 has it.
    fn challenge(nonce: &[u8], key: &Key, message: &[u8]) -> Scalar {
        use sha2::Digest;
        let hash = Sha512::new().chain_update(nonce).chain_update(key.0).chain_update(message).finalize();
        Scalar::from_bytes_mod_order_wide(&hash.into())
    }

    fn s_of(signature: &Signature) -> Scalar {
        Scalar::from_canonical_bytes(*signature.0.last_chunk().expect("32 of 64")).expect("canonical")
    }

    /// Goal: no two one-time keys share a hash prefix, and every signature verifies under its own key.
    /// Method: the keys of 500 places and of the spend key itself.
    #[test]
    fn every_one_time_key_has_a_prefix_of_its_own() {
        let keys = keys();
        let tx_key = TxSecret::of("test", &[]).public();
        let shared = keys.view.shared(&tx_key).expect("a sound point");
        let secrets = (0..500).map(|index| shared.offset(index) + keys.spend).chain([keys.spend]);
        let ones: Vec<OneTimeKey> = secrets.map(OneTimeKey::new).collect();
        let prefixes: BTreeSet<_> = ones.iter().map(|one| one.0.hash_prefix).collect();
        assert_eq!(prefixes.len(), ones.len());
        for one in &ones {
            let message = [3; 36];
            assert!(Claim { key: one.public(), signature: one.sign(&message), message }.holds());
        }
    }

    /// Goal: the two mistakes that RULES 37 forbids would each hand the spend key to whoever can see.
    /// Method: make them, and compute the key; then show that our own signatures do not give it away.
    #[test]
    fn a_shared_prefix_or_a_foreign_key_would_reveal_the_spend_key() {
        let (keys, message) = (keys(), [5; 36]);
        let tx_key = TxSecret::of("test", &[]).public();
        let shared = keys.view.shared(&tx_key).expect("a sound point");
        let offsets = [shared.offset(0), shared.offset(1)];
        // All that the thief knows: the view key (so the offsets), the public keys, the signatures.
        let steal = |signatures: [Signature; 2]| {
            let [c0, c1] = [0, 1].map(|n| {
                let key = Key(EdwardsPoint::mul_base(&(offsets[n] + keys.spend)).compress().0);
                challenge(&signatures[n].0[..32], &key, &message)
            });
            let [s0, s1] = signatures.map(|signature| s_of(&signature));
            (s0 - s1 - c0 * offsets[0] + c1 * offsets[1]) * (c0 - c1).invert()
        };
        let mistaken = offsets.map(|offset| {
            let one = OneTimeKey(ExpandedSecretKey { scalar: offset + keys.spend, hash_prefix: [9; 32] });
            one.sign(&message)
        });
        assert_eq!(steal(mistaken), keys.spend);
        assert_ne!(steal(offsets.map(|offset| OneTimeKey::new(offset + keys.spend).sign(&message))), keys.spend);

        let one = OneTimeKey::new(offsets[0] + keys.spend);
        let foreign = VerifyingKey::from(&OneTimeKey::new(Scalar::ONE).0);
        let (right, wrong) = (one.sign(&message), raw_sign::<Sha512>(&one.0, &message, &foreign));
        let c_right = challenge(&right.0[..32], &one.public(), &message);
        let c_wrong = challenge(&right.0[..32], &Key(foreign.to_bytes()), &message);
        let stolen = (s_of(&right) - s_of(&Signature(wrong.to_bytes()))) * (c_right - c_wrong).invert();
        assert_eq!(stolen - offsets[0], keys.spend);
    }

    /// Goal: no secret is ever printed. Method: the debug text of each type.
    #[test]
    fn debug_shows_no_secret() {
        let keys = keys();
        let one = OneTimeKey::new(keys.spend);
        assert_eq!(format!("{keys:?} {:?} {one:?}", keys.view()), "SpendKeys ViewKeys OneTimeKey");
    }
}
