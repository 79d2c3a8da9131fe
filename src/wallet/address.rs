//! An address as people copy it. Its bytes and its meaning stand in `primitives/stealth.rs`.

use crate::blockchain::params::Params;
use crate::primitives::stealth::{ADDRESS_BYTES, Address, AddressFault};
use crate::wallet::text::{self, Kind, TextError};

/// The text of an address of this network.
pub fn show(params: &Params, address: &Address) -> String {
    text::show(params, Kind::Address, &address.to_bytes())
}

/// The address that a text is, if it is a sound one of this network.
pub fn parse(params: &Params, text: &str) -> Result<Address, TextError> {
    let bytes = text::parse::<ADDRESS_BYTES>(params, Kind::Address, text)?;
    Address::from_bytes(&bytes).map_err(|fault| match fault {
        AddressFault::Version { version } => TextError::Version { version },
        AddressFault::Point { which, why } => TextError::Unsound { which, why },
    })
}
