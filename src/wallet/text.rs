//! Keys and proofs as people copy them: bech32m, with the network's name in front.
//!
//! `local1…` is an address, `local-view1…` a view key, `local-proof1…` a proof: whoever has one of another
//! network, or of another kind, is told which. The checksum finds any three wrong letters, and misses
//! worse slips once in 10^9 (<https://github.com/bitcoin/bips/blob/master/bip-0350.mediawiki>; such
//! texts are longer than those for which four are promised). Inside stand a version, four bytes of the
//! genesis id, and what is meant.

use bech32::primitives::decode::{CheckedHrpstring, CheckedHrpstringError};
use bech32::{Bech32m, Hrp};
use zeroize::Zeroizing;

use crate::blockchain::params::Params;

/// Version and network: what every text begins with.
pub const HEAD_BYTES: usize = 5;
const VERSION: u8 = crate::primitives::stealth::ADDRESS_VERSION;

/// What a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where coins can be sent.
    Address,
    /// What a wallet sees with. A secret.
    ViewKey,
    /// That somebody was paid.
    Proof,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Address, Self::ViewKey, Self::Proof];

    fn suffix(self) -> &'static str {
        match self {
            Self::Address => "",
            Self::ViewKey => "-view",
            Self::Proof => "-proof",
        }
    }

    /// With its article, for sentences.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "an address",
            Self::ViewKey => "a view key",
            Self::Proof => "a proof of payment",
        }
    }
}

/// A text that does not stand for what is wanted here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not one at all, or with a slip in it.
    #[error("this is not {wanted}: {why}")]
    Malformed {
        /// What was wanted.
        wanted: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Nothing of the kind.
    #[error("this has not the form of {wanted}: here that is `{prefix}1`, then small letters and digits")]
    Form {
        /// What was wanted.
        wanted: &'static str,
        /// What it begins with.
        prefix: String,
    },
    /// A sound text of another kind.
    #[error("this is {found}, and {wanted} is needed")]
    OtherKind {
        /// What it is.
        found: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A sound text of another network.
    #[error("this is for network `{found}`, and `{expected}` is the one here")]
    OtherNetwork {
        /// Its network.
        found: String,
        /// Ours.
        expected: String,
    },
    /// A sound text of a network that has our network's name and other rules.
    #[error("this is for another network that is called `{name}` too: its genesis is not ours")]
    OtherGenesis {
        /// The shared name.
        name: String,
    },
    /// Of a later program.
    #[error("this has version {version}, and this program knows {VERSION}")]
    Version {
        /// The one it has.
        version: u8,
    },
    /// Letters right, meaning wrong: no program of ours made it.
    #[error("this must not be used: its {which} key {why}")]
    Unsound {
        /// Which of its keys.
        which: &'static str,
        /// The rest of the sentence.
        why: &'static str,
    },
}

/// The text of these bytes, which begin with [`head`].
pub(crate) fn show(params: &Params, kind: Kind, bytes: &[u8]) -> String {
    bech32::encode::<Bech32m>(prefix(params, kind), bytes).expect("short enough for its checksum")
}

/// Version and network.
pub(crate) fn head(params: &Params) -> [u8; HEAD_BYTES] {
    let [n0, n1, n2, n3] = *params.genesis_id().0.first_chunk().expect("4 of 32");
    [VERSION, n0, n1, n2, n3]
}

/// The bytes that a text stands for, version and network among them and checked. Blanks around it are
/// forgiven.
pub(crate) fn parse<const N: usize>(params: &Params, kind: Kind, text: &str) -> Result<Zeroizing<[u8; N]>, TextError> {
    let wanted = kind.name();
    let malformed = |why| TextError::Malformed { wanted, why };
    let text = text.trim();
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|error| match error {
        CheckedHrpstringError::Checksum(_) => malformed("its checksum is wrong, so a letter is; copy it again"),
        _ => TextError::Form { wanted, prefix: prefix(params, kind).to_lowercase() },
    })?;
    check_prefix(params, kind, checked.hrp())?;
    let mut bytes = Zeroizing::new([0; N]);
    if checked.byte_iter().len() != N {
        return Err(malformed("its length is wrong"));
    }
    bytes.iter_mut().zip(checked.byte_iter()).for_each(|(place, byte)| *place = byte);
    let (&[version, ..], head) = (bytes.first_chunk::<HEAD_BYTES>().expect("every kind has a head"), head(params));
    if version != VERSION {
        return Err(TextError::Version { version });
    }
    if bytes[..HEAD_BYTES] != head {
        return Err(TextError::OtherGenesis { name: params.spec().name.clone() });
    }
    // The last letter has bits to spare; two texts must not stand for one thing.
    if !Zeroizing::new(show(params, kind, &*bytes)).eq_ignore_ascii_case(text) {
        return Err(malformed("its last letter says more than there is to say"));
    }
    Ok(bytes)
}

fn check_prefix(params: &Params, kind: Kind, found: Hrp) -> Result<(), TextError> {
    if found == prefix(params, kind) {
        return Ok(());
    }
    if let Some(other) = Kind::ALL.into_iter().find(|&other| found == prefix(params, other)) {
        return Err(TextError::OtherKind { found: other.name(), wanted: kind.name() });
    }
    let found = found.to_lowercase();
    let found = found.strip_suffix(kind.suffix()).unwrap_or(&found).to_owned();
    Err(TextError::OtherNetwork { found, expected: params.spec().name.to_ascii_lowercase() })
}

fn prefix(params: &Params, kind: Kind) -> Hrp {
    // bech32 knows one case alone, and writes the lower.
    let name = params.spec().name.to_ascii_lowercase() + kind.suffix();
    Hrp::parse(&name).expect("a network's name is 1 to 32 plain letters")
}
