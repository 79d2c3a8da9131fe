//! Twenty-four words that are the whole wallet, and the seed that they stand for.
//!
//! BIP 39 (<https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki>), English, no passphrase.
//! The words are shown once and never stored; what the wallet keeps is the seed.

use std::fmt;

use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How many words: 256 bits and 8 of checksum.
pub const WORDS: usize = 24;

/// Why words are not a wallet's. Says which word, never what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Too few or too many.
    #[error("{count} words were given, and a wallet has {WORDS}")]
    Count {
        /// How many.
        count: usize,
    },
    /// One that is not in the list.
    #[error("word {place} is not in the list of words; look for a slip in it")]
    Unknown {
        /// Which, from 1.
        place: usize,
    },
    /// All known, and yet they do not fit together.
    #[error("the words do not fit together: one of them is another word than was shown, or their order is")]
    Checksum,
}

/// The 64 bytes from which all keys follow.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 64]);

impl Seed {
    /// From a file.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

/// The words for 32 bytes of chance, and their seed.
pub fn from_entropy(entropy: &[u8; 32]) -> (Zeroizing<String>, Seed) {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy).expect("256 bits make 24 words");
    // Room for all at once: a string that grows leaves copies behind.
    let mut words = Zeroizing::new(String::with_capacity(WORDS * 9));
    for word in mnemonic.words() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    (words, seed_of(&mnemonic))
}

/// The seed that these words stand for. Upper case and any white space between them are forgiven.
pub fn to_seed(words: &str) -> Result<Seed, WordsError> {
    let count = words.split_whitespace().count();
    if count != WORDS {
        return Err(WordsError::Count { count });
    }
    let mut plain = Zeroizing::new(words.to_owned());
    plain.make_ascii_lowercase();
    match Mnemonic::parse_in_normalized(Language::English, &plain) {
        Ok(mnemonic) => Ok(seed_of(&mnemonic)),
        Err(bip39::Error::UnknownWord(place)) => Err(WordsError::Unknown { place: place + 1 }),
        Err(_) => Err(WordsError::Checksum),
    }
}

fn seed_of(mnemonic: &Mnemonic) -> Seed {
    Seed(mnemonic.to_seed_normalized(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the words are those of BIP 39, so that any tool that knows it can read them.
    /// Method: two of the standard's own entropies. (What follows from the seed stands in tests/wallet.rs.)
    #[test]
    fn words_are_those_of_the_standard() {
        let (words, seed) = from_entropy(&[0; 32]);
        assert_eq!(*words, "abandon ".repeat(23) + "art");
        assert_eq!(to_seed(&words), Ok(seed));
        let (words, seed) = from_entropy(&[0x7f; 32]);
        assert!(words.starts_with("legal winner thank year wave sausage") && words.ends_with("title"));
        assert_eq!(to_seed(&words.to_uppercase().replace(' ', "\n ")), Ok(seed));
    }

    /// Goal: a slip is named, as far as that can be. Method: too few, an unknown word, two swapped.
    #[test]
    fn slips_are_named() {
        let (words, _) = from_entropy(&[0x7f; 32]);
        assert_eq!(to_seed("legal winner"), Err(WordsError::Count { count: 2 }));
        assert_eq!(to_seed(&words.replacen("thank", "thonk", 1)), Err(WordsError::Unknown { place: 3 }));
        assert_eq!(to_seed(&words.replacen("legal winner", "winner legal", 1)), Err(WordsError::Checksum));
        assert_eq!(format!("{:?}", from_entropy(&[1; 32]).1), "Seed");
    }
}
