//! Stealth addresses: how a sender makes a key that only the receiver knows to be his.
//!
//! After CryptoNote (<https://www.getmonero.org/resources/research-lab/pubs/whitepaper_annotated.pdf>, 4.3).
//! An address is two points, `A = a·G` to see with and `B = b·G` to spend with. Who pays it picks a
//! secret `r`, publishes `R = r·G`, and both sides arrive at the same point: `S = 8·(r·A) = 8·(a·R)`.
//! All that an output needs is hashed from `S` and its place in the transaction:
//!
//! ```text
//! h_i = Hs("spindle/output/1", S ‖ u32 i)      P_i = h_i·G + B      x_i = h_i + b
//! tag = first byte of sha256("spindle/view-tag/1" ‖ S ‖ u32 i)
//! ```
//!
//! It lies this low because a miner's coinbase pays addresses too. Here are the public half and the
//! sender's; the secrets `a` and `b` live in `wallet/` and nowhere else.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::borrow_decode_by_decode;
use crate::primitives::codec::by_hand::{DecodeError, Decoder, EncodeError, Encoder};
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::keys::Key;

/// The only version of addresses so far.
pub const ADDRESS_VERSION: u8 = 1;
/// Version, network, `A`, `B`.
pub const ADDRESS_BYTES: usize = 1 + 4 + 32 + 32;

/// SHA-512 over `len(tag) as u8 ‖ tag ‖ parts…`.
pub fn tagged_wide(tag: &str, parts: &[&[u8]]) -> [u8; 64] {
    let length = u8::try_from(tag.len()).expect("tags are short constants of ours");
    let mut hasher = Sha512::new();
    hasher.update([length]);
    hasher.update(tag.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// `Hs`: [`tagged_wide`] as a number below the group's order. From 64 bytes no number is likelier than another.
pub fn scalar_of(tag: &str, parts: &[&[u8]]) -> Scalar {
    let mut wide = tagged_wide(tag, parts);
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    wide.zeroize();
    scalar
}

/// Bytes that are no address of the form that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Of a later program.
    #[error("it has version {version}, and this program knows {ADDRESS_VERSION}")]
    Version {
        /// The one it has.
        version: u8,
    },
    /// One of its two keys would make coins that are lost or anybody's.
    #[error("its {which} key {why}")]
    Point {
        /// `view` or `spend`.
        which: &'static str,
        /// The rest of the sentence.
        why: &'static str,
    },
}

/// Where coins can be sent: a network and two points of the prime-order group. An address that exists
/// is sound, for only such ones can be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    network: [u8; 4],
    view: EdwardsPoint,
    spend: EdwardsPoint,
}

impl Address {
    /// The address of these two points, which are multiples of `G`, on the network with this genesis.
    pub fn new(genesis: Hash, view: EdwardsPoint, spend: EdwardsPoint) -> Self {
        let address = Self { network: network_of(genesis), view, spend };
        debug_assert_eq!(Self::from_bytes(&address.to_bytes()), Ok(address), "our own keys are sound");
        address
    }

    /// Whether it belongs to the network with this genesis, as far as four bytes can tell.
    pub fn is_of(&self, genesis: Hash) -> bool {
        self.network == network_of(genesis)
    }

    /// `version ‖ network ‖ A ‖ B`: what its text encodes, and what is hashed where an address is.
    pub fn to_bytes(&self) -> [u8; ADDRESS_BYTES] {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes[0] = ADDRESS_VERSION;
        bytes[1..5].copy_from_slice(&self.network);
        bytes[5..37].copy_from_slice(&self.view.compress().0);
        bytes[37..].copy_from_slice(&self.spend.compress().0);
        bytes
    }

    /// The address that these bytes are.
    pub fn from_bytes(bytes: &[u8; ADDRESS_BYTES]) -> Result<Self, AddressFault> {
        let (&[version, n0, n1, n2, n3], keys) = bytes.split_first_chunk().expect("5 of 69");
        if version != ADDRESS_VERSION {
            return Err(AddressFault::Version { version });
        }
        let (view, spend) = keys.split_first_chunk().expect("32 of 64");
        let point = |which, bytes: &[u8; 32]| sound_point(bytes).map_err(|why| AddressFault::Point { which, why });
        let spend = spend.try_into().expect("the other 32");
        Ok(Self { network: [n0, n1, n2, n3], view: point("view", view)?, spend: point("spend", spend)? })
    }

    /// `A`.
    pub fn view(&self) -> &EdwardsPoint {
        &self.view
    }

    /// `B`.
    pub fn spend(&self) -> &EdwardsPoint {
        &self.spend
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", hex::encode(self.to_bytes()))
    }
}

impl Encode for Address {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.to_bytes().encode(encoder)
    }
}

impl<C> Decode<C> for Address {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::from_bytes(&Decode::decode(decoder)?).map_err(|fault| DecodeError::OtherString(fault.to_string()))
    }
}
borrow_decode_by_decode!(Address);

/// A point of the prime-order group in its one encoding, and not the neutral one; if not, the rest of a
/// sentence. Anything else could make two addresses look different and be one, or make keys that anybody
/// can spend.
pub fn sound_point(bytes: &[u8; 32]) -> Result<EdwardsPoint, &'static str> {
    let point = CompressedEdwardsY(*bytes).decompress().ok_or("is no point of the curve")?;
    if point.compress().0 != *bytes {
        return Err("is not written in its canonical form");
    }
    if point.is_small_order() {
        return Err("has small order");
    }
    if !point.is_torsion_free() {
        return Err("lies outside of the prime-order group");
    }
    Ok(point)
}

/// `r`: the sender's secret of one transaction.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TxSecret(Scalar);

impl TxSecret {
    /// Hashed, not drawn (RULES 34): no generator can fail, and who restores a wallet has it again.
    pub fn of(tag: &str, parts: &[&[u8]]) -> Self {
        Self(scalar_of(tag, parts))
    }

    /// `R = r·G`, for everybody to see.
    pub fn public(&self) -> Key {
        Key(EdwardsPoint::mul_base(&self.0).compress().0)
    }

    /// `S`, as the sender finds it.
    pub fn shared(&self, address: &Address) -> Shared {
        // First the multiplication, then the cofactor: 8·r mod l is another number where torsion is about.
        Shared::of_product(&(address.view * self.0)).expect("r is not 0, and an address has no small order")
    }

    /// The number itself, for a proof that is made of it.
    pub fn scalar(&self) -> &Scalar {
        &self.0
    }
}

impl fmt::Debug for TxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TxSecret")
    }
}

/// `S`: what sender and receiver know of one transaction, and nobody else.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Shared([u8; 32]);

impl Shared {
    /// From `r·A` or `a·R`. `None` if the product has small order, which is if `R` has: then the secret
    /// would be known to all.
    pub fn of_product(product: &EdwardsPoint) -> Option<Self> {
        let point = product.mul_by_cofactor();
        (!point.is_identity()).then(|| Self(point.compress().0))
    }

    /// [`Shared::of_product`] of many, with one division for all of them.
    pub fn of_products(products: &[EdwardsPoint]) -> Vec<Option<Self>> {
        let points: Vec<EdwardsPoint> = products.iter().map(EdwardsPoint::mul_by_cofactor).collect();
        let bytes = EdwardsPoint::compress_batch_alloc(&points);
        points.iter().zip(bytes).map(|(point, bytes)| (!point.is_identity()).then_some(Self(bytes.0))).collect()
    }

    /// From the bytes of a point that has been checked.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The point's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `h_i`: how far a one-time key lies from the spend key.
    pub fn offset(&self, index: u32) -> Scalar {
        scalar_of("spindle/output/1", &[&self.0, &index.to_le_bytes()])
    }

    /// `P_i`: the one-time key at a place.
    pub fn key(&self, index: u32, spend: &EdwardsPoint) -> Key {
        Key((EdwardsPoint::mul_base(&self.offset(index)) + spend).compress().0)
    }

    /// One byte that agrees by chance in 1 of 256 outputs of others: it spares a receiver the curve.
    pub fn view_tag(&self, index: u32) -> u8 {
        tagged("spindle/view-tag/1", &[&self.0, &index.to_le_bytes()]).0[0]
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

fn network_of(genesis: Hash) -> [u8; 4] {
    *genesis.0.first_chunk().expect("4 of 32")
}
