//! Exact bytes: the only file that names bincode.
//!
//! Integers are little-endian and of fixed size, lists are counted by a `u16` ([`List`]), and one
//! value has one encoding: [`decode`] takes a complete slice and refuses what is left over, so every
//! byte string that it accepts encodes back to itself (tests/codec.rs holds it to that).
//!
//! No size rule is checked here. Callers compare the length of the bytes with their limit *before*
//! they decode; the limit inside is against memory alone. `serde` stays out of this file: it is for
//! JSON, and several times slower here.

use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
pub use bincode::{Decode, Encode};
use std::ops::Deref;

/// Four times the largest thing that is ever decoded (a block of 1 MiB).
const DECODE_BYTES_MAX: usize = 4 << 20;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<DECODE_BYTES_MAX>,
> = bincode::config::standard().with_fixed_int_encoding().with_limit::<DECODE_BYTES_MAX>();

/// Why bytes are not a value: what a stranger sent, or what a disk returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end early, or hold a value that the type does not have.
    #[error("{0}")]
    Malformed(String),
    /// A complete value, and then more.
    #[error("{extra} bytes follow a complete value")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

/// The bytes of a value.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// The bytes of a value that always has so many: nothing is allocated.
pub fn encode_fixed<T: Encode, const N: usize>(value: &T) -> [u8; N] {
    let mut bytes = [0; N];
    let written = bincode::encode_into_slice(value, &mut bytes, CONFIG).expect("it has no more bytes than that");
    assert_eq!(written, N, "it has no fewer either");
    bytes
}

/// Appends the bytes of a value.
pub fn encode_into<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    struct Append<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Append<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::encode_into_writer(value, Append(bytes), CONFIG).expect("a list never outgrows its own limit");
}

/// The value that these bytes are, all of them.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing { extra: rest.len() }) }
}

/// The value at the front of these bytes, and what follows it.
pub fn decode_prefix<T: Decode<()>>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    match bincode::decode_from_slice(bytes, CONFIG) {
        Ok((value, used)) => Ok((value, &bytes[used..])),
        Err(error) => Err(CodecError::Malformed(in_words(&error))),
    }
}

/// What went wrong, for people; the library's own text is meant for its debugger.
fn in_words(error: &DecodeError) -> String {
    match error {
        DecodeError::UnexpectedEnd { additional } => format!("it ends {additional} bytes early"),
        DecodeError::OtherString(text) => text.clone(),
        DecodeError::LimitExceeded => "it would take too much memory".into(),
        _ => "it holds a value that does not exist".into(),
    }
}

/// A list of at most `MAX` elements: a `u16` count, then the elements.
///
/// Memory grows with elements that were really decoded, never with the count that was promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// What a peer may send at most.
    pub const MAX: usize = MAX;

    /// Keeps the first `MAX` elements.
    pub fn first_of(mut elements: Vec<T>) -> Self {
        elements.truncate(MAX);
        Self(elements)
    }

    /// The elements, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = usize;

    /// Gives the length back when it is over the limit.
    fn try_from(elements: Vec<T>) -> Result<Self, usize> {
        if elements.len() <= MAX { Ok(Self(elements)) } else { Err(elements.len()) }
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Encode, const MAX: usize> Encode for List<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        const { assert!(MAX <= u16::MAX as usize, "a list is counted by a u16") };
        let count = u16::try_from(self.0.len()).map_err(|_| EncodeError::Other("a list outgrew its limit"))?;
        count.encode(encoder)?;
        self.0.iter().try_for_each(|element| element.encode(encoder))
    }
}

impl<C, T: Decode<C>, const MAX: usize> Decode<C> for List<T, MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = usize::from(u16::decode(decoder)?);
        if count > MAX {
            return Err(DecodeError::OtherString(format!("a list of {count} elements (limit {MAX})")));
        }
        decode_counted(decoder, count).map(Self)
    }
}

impl<'de, C, T: Decode<C>, const MAX: usize> BorrowDecode<'de, C> for List<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// As many elements as another field says, with no count of their own.
pub fn decode_counted<C, T: Decode<C>, D: Decoder<Context = C>>(
    decoder: &mut D,
    count: usize,
) -> Result<Vec<T>, DecodeError> {
    const { assert!(size_of::<T>() > 0, "an element without bytes would cost work and no traffic") };
    // Room for a page at first: a count is only a promise until its bytes are here.
    let mut elements = Vec::with_capacity(count.min(4096 / size_of::<T>()));
    for _ in 0..count {
        elements.push(T::decode(decoder)?);
    }
    Ok(elements)
}

/// Gives a type whose `Decode` is written by hand the borrowing form that containers ask for.
#[macro_export]
macro_rules! borrow_decode_by_decode {
    ($type:ty) => {
        impl<'de, C> bincode::BorrowDecode<'de, C> for $type {
            fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                <Self as bincode::Decode<C>>::decode(decoder)
            }
        }
    };
}

/// What a hand-written `Encode` or `Decode` needs, so that it need not name the crate.
pub mod by_hand {
    pub use bincode::de::Decoder;
    pub use bincode::enc::Encoder;
    pub use bincode::error::{DecodeError, EncodeError};
}
