//! A hash: 32 bytes, compared as a big-endian number and shown in the same order.
//!
//! Block and transaction ids are double SHA-256 of bytes that travel and rest unchanged. All other
//! hashing goes through [`tagged`], so that bytes hashed for one purpose never mean anything for
//! another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::primitives::codec::{Decode, Encode};

/// 32 bytes of SHA-256. Ordered as a big-endian number, which is how proof of work reads it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The parent of a genesis header, and nothing else.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of SHA-256: the id of a block or of a transaction.
    pub fn sha256d(bytes: &[u8]) -> Self {
        Self(Sha256::digest(Sha256::digest(bytes)).into())
    }

    /// Eight bytes of the hash for a look-up table. Not the leading ones: proof of work makes those zero.
    pub fn table_key(&self) -> u64 {
        let mut key = [0; 8];
        key.copy_from_slice(&self.0[24..]);
        u64::from_le_bytes(key)
    }
}

/// SHA-256 over `len(tag) as u8 ‖ tag ‖ parts…`: every use of the hash has a tag of its own.
pub fn tagged(tag: &str, parts: &[&[u8]]) -> Hash {
    let length = u8::try_from(tag.len()).expect("tags are short constants of ours");
    let mut hasher = Sha256::new();
    hasher.update([length]);
    hasher.update(tag.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:.8}` shortens, as precision does for text.
        let text = hex::encode(self.0);
        f.pad(&text)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:.12}")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a hash: 64 hexadecimal digits are needed")]
pub struct ParseHashError {
    text: String,
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(ParseHashError { text: text.chars().take(80).collect() }),
        }
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ids are the double SHA-256 that everybody knows. Method: a published vector.
    #[test]
    fn sha256d_of_hello_is_the_known_one() {
        let hash = Hash::sha256d(b"hello");
        assert_eq!(hash.to_string(), "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(format!("{hash:.8}"), "9595c9df");
    }

    /// Goal: a tag's length is part of the hash, so no tag can swallow data of another.
    #[test]
    fn tags_do_not_run_into_data() {
        assert_ne!(tagged("ab", &[b"c"]), tagged("a", &[b"bc"]));
        assert_eq!(tagged("a", &[b"b", b"c"]), tagged("a", &[b"bc"]));
    }
}
