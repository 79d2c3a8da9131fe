//! Whom a miner pays: a plain key, or a wallet's address through a key that nobody can tell is its own.

use std::fmt;

use crate::blockchain::transaction::{Coinbase, Output, VERSION};
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::primitives::stealth::{Address, TxSecret};

/// Whom the coinbase pays.
#[derive(Clone, PartialEq, Eq)]
pub enum Payout {
    /// This key itself: every block shows that it is the same miner's.
    Key(Key),
    /// A one-time key of this address.
    Address {
        /// The receiver.
        address: Box<Address>,
        /// 32 bytes that only this node knows. Who knew them could tell which blocks pay this address.
        node_secret: [u8; 32],
    },
}

impl Payout {
    /// The coinbase of the block at `height` after `prev`.
    ///
    /// The secret behind an address's key is `Hs("spindle/coinbase/1", node secret ‖ prev ‖ height ‖ address)`
    /// (RULES 34): the same template gives the same coinbase, two blocks never share a key.
    pub fn coinbase(&self, height: u64, prev: Hash, amount: u64) -> Coinbase {
        let (key, tx_key, view_tag) = match self {
            // No stealth address, so no sender's half of a secret.
            Self::Key(key) => (*key, Key::default(), 0),
            Self::Address { address, node_secret } => {
                let parts: [&[u8]; 4] = [node_secret, &prev.0, &height.to_le_bytes(), &address.to_bytes()];
                let secret = TxSecret::of("spindle/coinbase/1", &parts);
                let shared = secret.shared(address);
                (shared.key(0, address.spend()), secret.public(), shared.view_tag(0))
            }
        };
        Coinbase { version: VERSION, height, output: Output { amount, key, view_tag }, tx_key }
    }
}

impl From<Key> for Payout {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}

impl fmt::Debug for Payout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "Key({key})"),
            Self::Address { address, .. } => write!(f, "{address:?}"),
        }
    }
}
