//! What people paste: addresses, view keys, proofs, words, amounts, hashes. What is accepted has one text, and one
//! meaning.
//!
//! The first byte is the kind and whether the rest is the text, or bytes whose text is made with a right checksum.

use bech32::{Bech32m, Hrp};

use spindle::blockchain::params::Params;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::stealth::{ADDRESS_BYTES, Address};
use spindle::wallet::keys::ViewKeys;
use spindle::wallet::proof::Proof;
use spindle::wallet::{address, amount, words};

use super::kit;

pub(crate) fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let params = kit::params();
    match kind % 8 {
        0 => check_texts(params, &made("fuzz", params, bytes)),
        1 => check_texts(params, &made("fuzz-view", params, bytes)),
        2 => check_texts(params, &made("fuzz-proof", params, bytes)),
        3 => check_words(&String::from_utf8_lossy(bytes)),
        4 => check_amount(&String::from_utf8_lossy(bytes)),
        5 => check_address_bytes(bytes),
        6 => check_key(bytes),
        _ => check_texts(params, &String::from_utf8_lossy(bytes)),
    }
}

/// A text of this prefix for version and network, unless the first byte is odd, and then these bytes.
fn made(prefix: &str, params: &Params, bytes: &[u8]) -> String {
    let Some((&flaws, bytes)) = bytes.split_first() else { return String::new() };
    let mut whole = vec![1];
    whole.extend_from_slice(&params.genesis_id().0[..4]);
    if flaws % 2 == 1 {
        whole.clear();
    }
    whole.extend_from_slice(&bytes[..bytes.len().min(300)]);
    let prefix = Hrp::parse(prefix).expect("a plain name");
    bech32::encode::<Bech32m>(prefix, &whole).unwrap_or_default()
}

fn check_texts(params: &Params, text: &str) {
    let plain = text.trim().to_ascii_lowercase();
    if let Ok(address) = address::parse(params, text) {
        assert_eq!(address::show(params, &address), plain);
        assert!(address.is_of(params.genesis_id()));
    }
    if let Ok(keys) = ViewKeys::parse(params, text) {
        assert_eq!(*keys.show(params), plain);
        let (view, spend) = keys.to_bytes();
        assert!(ViewKeys::from_bytes(&view, &spend).is_ok_and(|again| again == keys));
    }
    if let Ok(proof) = Proof::parse(params, text) {
        assert_eq!(proof.show(params), plain);
    }
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    let meanings = [
        address::parse(params, text).is_ok(),
        ViewKeys::parse(params, text).is_ok(),
        Proof::parse(params, text).is_ok(),
        text.parse::<Hash>().is_ok(),
    ];
    assert!(meanings.iter().filter(|is_one| **is_one).count() <= 1, "a text means one thing");
}

fn check_words(text: &str) {
    let Ok(seed) = words::to_seed(text) else { return };
    let again = text.split_whitespace().collect::<Vec<_>>().join("\t").to_ascii_uppercase();
    assert!(words::to_seed(&again).is_ok_and(|again| again == seed), "case and blanks mean nothing");
}

fn check_amount(text: &str) {
    let Ok(units) = amount::parse(text) else { return };
    let shown = amount::show(units);
    assert_eq!(amount::parse(&shown), Ok(units));
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let plain = format!("{}.{places:0<8}", whole.trim_start_matches('0'));
    assert_eq!(shown.trim_start_matches('0'), plain, "nothing is rounded");
}

fn check_address_bytes(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<ADDRESS_BYTES>() else { return };
    if let Ok(address) = Address::from_bytes(bytes) {
        assert_eq!(address.to_bytes(), *bytes, "one address has one form");
        assert!(Key(address.spend().compress().0).check_payable().is_ok(), "a sound point is a sound key");
    }
}

/// A key that may be paid is a point of the curve; what anybody could spend may not.
fn check_key(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<32>() else { return };
    let is_sound = spindle::primitives::stealth::sound_point(bytes).is_ok();
    let is_payable = Key(*bytes).check_payable().is_ok();
    assert!(!is_sound || is_payable);
}
