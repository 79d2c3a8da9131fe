//! The wallet file: as bytes, and as contents that somebody sealed with the right password.
//!
//! With an even first byte the rest is a file, whose checksum is put right if the second bit is set. Else it is
//! what is sealed; the file around it is as it should be. What opens can be saved and opens again as the same, and
//! an error changes nothing.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use argon2::{Algorithm, Argon2, Params as Argon2Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use sha2::{Digest, Sha256};

use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::primitives::hash::Hash;
use spindle::wallet::file::{Contents, FileError, WalletFile};

use super::kit;

const NAME: &str = "wallet";
const PASSWORD: &[u8] = b"pass";
const HEAD_BYTES: usize = 61;
/// Genesis id, kind, secret: what stands before the state.
const SECRETS_BYTES: usize = 97;
/// The greatest cost of a password that is worth a fuzzer's time, in KiB times passes.
const COST_MAX: u64 = 64;

pub(crate) fn run(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let file = match mode {
        mode if mode & 1 != 0 => sealed(bytes),
        mode if mode & 2 != 0 => [bytes, &Sha256::digest(bytes)[..]].concat(),
        _ => bytes.to_vec(),
    };
    if cost(&file) > COST_MAX {
        return;
    }
    let disk = MemoryDisk::default();
    disk.put(NAME, &file);
    let opened = open(&disk);
    assert_eq!(disk.bytes(NAME), Some(file), "opening changes nothing");
    match opened {
        Ok((held, contents)) => {
            check(&contents);
            if mode & 1 != 0 {
                let mut state = Vec::new();
                contents.state.encode(&mut state);
                assert_eq!(state, bytes[SECRETS_BYTES..], "one state has one form");
            }
            held.save(&contents).expect("memory");
            let (_, again) = open(&disk).expect("what was saved opens");
            assert_eq!(again, contents);
            assert_eq!(disk.names(), [NAME]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn open(disk: &MemoryDisk) -> Result<(WalletFile, Contents), FileError> {
    WalletFile::open((Arc::new(disk.clone()), NAME.into()), no_chance, PASSWORD, kit::params().genesis_id())
}

/// A nonce is drawn for each save; here nobody else knows the key.
fn no_chance(bytes: &mut [u8]) -> io::Result<()> {
    io::repeat(5).read_exact(bytes)
}

/// What trying a password costs, as the head of a file says.
fn cost(file: &[u8]) -> u64 {
    let number = |at: usize| file.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u32::from_le_bytes(*n));
    u64::from(number(9)).saturating_mul(u64::from(number(13)))
}

/// A file in which these bytes stand for the contents.
fn sealed(plain: &[u8]) -> Vec<u8> {
    static HEAD_AND_KEY: OnceLock<(Vec<u8>, [u8; 32])> = OnceLock::new();
    let (head, key) = HEAD_AND_KEY.get_or_init(|| {
        let costs = [8_u32, 1, 1].map(u32::to_le_bytes).concat();
        let (salt, nonce) = ([3; 16], [4; 24]);
        let head = [b"spwallet".as_slice(), &[1], &costs, &salt, &nonce].concat();
        let params = Argon2Params::new(8, 1, 1, Some(32)).expect("the least there is");
        let mut key = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(PASSWORD, &salt, &mut key).expect("sound parameters");
        (head, key)
    });
    assert_eq!(head.len(), HEAD_BYTES);
    let mut file = [head, plain].concat();
    let nonce: &[u8; 24] = head.last_chunk().expect("24 of the head");
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), head, file[HEAD_BYTES..].as_mut().into())
        .expect("a short text");
    file.extend_from_slice(&tag);
    let checksum = Sha256::digest(&file);
    file.extend_from_slice(&checksum);
    file
}

/// What is done with any wallet that opens.
fn check(contents: &Contents) {
    assert_eq!(contents.genesis, kit::params().genesis_id());
    let mut state = contents.state.clone();
    let balance = state.balance();
    let sum = state.unspent().fold(0_u64, |sum, coin| sum.saturating_add(coin.input.amount));
    assert!(balance.confirmed.saturating_add(balance.unconfirmed).saturating_add(balance.immature) >= sum);
    let (heights, tip): (Vec<u64>, _) = (state.marks().map(|mark| mark.height).collect(), state.tip());
    assert!(heights.is_sorted_by(|a, b| a > b), "each mark lies above the one before");
    let next = spindle::wallet::scan::SeenBlock {
        height: tip.height.wrapping_add(1),
        id: Hash([9; 32]),
        prev: tip.id,
        time: 0,
        transactions: Vec::new(),
    };
    assert_eq!(state.apply(&next).is_ok(), tip.height < u64::MAX);
    state.keep_waiting(|_| false);
    for height in heights {
        if state.roll_back(height) {
            assert_eq!(state.tip().height, height);
        }
    }
    state
        .unspent()
        .for_each(|coin| assert!(state.place_of(coin).is_none_or(|place| place.height <= state.tip().height)));
}
