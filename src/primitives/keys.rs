//! Ed25519 as consensus sees it: ZIP-215, one signature or a batch, with one verdict.
//!
//! <https://zips.z.cash/zip-0215>: non-canonical points are decoded, `s` must be canonical, and the
//! equation is the cofactored one. Only under these rules do single and batched checks agree on every
//! input, which is what makes a batch safe in consensus. dalek's own `verify` is never used: it
//! decides some of these inputs differently.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use ed25519_zebra::{Signature as ZebraSignature, SigningKey, VerificationKey, VerificationKeyBytes, batch};
use parking_lot::Mutex;
use rand_core::SeedableRng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::primitives::codec::{Decode, Encode};

/// Signatures in one batch. Smaller ones gain far less; larger ones little more, and blame takes longer.
pub const BATCH: usize = 256;
/// To have work for every thread batches get smaller, but not so small that all of it becomes much more.
const BATCH_LEAST: usize = 128;

/// 32 bytes that stand for a public key. Consensus does not look inside: an undecodable key is only
/// money that nobody can spend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// Whether coins paid to it can be spent by its owner and by nobody else; if not, the rest of a
    /// sentence. For people's keys alone: consensus takes any 32 bytes (RULES 27).
    pub fn check_payable(&self) -> Result<(), &'static str> {
        if VerificationKey::try_from(self.0).is_err() {
            return Err("is not a public key (no point of the curve): its coins could never be spent");
        }
        // `R` the neutral point and `s` zero fit any message if the key has small order, and only then.
        let mut nobodys = Signature([0; 64]);
        nobodys.0[0] = 1;
        if (Claim { key: *self, signature: nobodys, message: [0; 36] }).holds() {
            return Err("is a key of small order: anybody could spend its coins");
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A signature's 64 bytes: `R ‖ s`.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A secret key that signs. Its bytes are never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that follows from these 32 secret bytes (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What others may know.
    pub fn public(&self) -> Key {
        Key(self.0.verification_key().into())
    }

    /// Signs a message, deterministically.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).into())
    }
}

/// "This key signed this message": something to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who is said to have signed.
    pub key: Key,
    /// What is said to prove it.
    pub signature: Signature,
    /// A transaction's digest and the number of the input.
    pub message: [u8; 36],
}

impl Claim {
    fn item(&self) -> batch::Item {
        let key = VerificationKeyBytes::from(self.key.0);
        batch::Item::from((key, ZebraSignature::from(self.signature.0), &self.message))
    }

    /// The verdict on this one alone.
    pub fn holds(&self) -> bool {
        self.item().verify_single().is_ok()
    }

    /// What stands for all its bytes.
    fn fingerprint(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.key.0)
            .chain_update(self.signature.0)
            .chain_update(self.message)
            .finalize()
            .into()
    }
}

/// Checks claims in batches, on a pool of threads when it has one.
#[derive(Clone)]
pub struct Verifier {
    secret: [u8; 32],
    pool: Option<Arc<rayon::ThreadPool>>,
    /// Fingerprints of claims that held, if those are remembered.
    held: Option<Arc<Mutex<HashSet<[u8; 32]>>>>,
}

impl Verifier {
    /// `secret` must be unguessable: whoever knows the coefficients of a batch can make forgeries
    /// that cancel each other.
    pub fn new(secret: [u8; 32], pool: Option<Arc<rayon::ThreadPool>>) -> Self {
        Self { secret, pool, held: None }
    }

    /// One that looks at no claim twice that held, and whose clones share what they know: for many nodes in
    /// one process. What it knows only grows, so it is nothing for a node that strangers talk to.
    pub fn remembering(secret: [u8; 32]) -> Self {
        Self { secret, pool: None, held: Some(Arc::default()) }
    }

    /// Whether all claims hold; if not, the place of one that does not.
    pub fn verify(&self, claims: &[Claim]) -> Result<(), usize> {
        let Some(held) = &self.held else { return self.verify_anew(claims) };
        let fingerprints: Vec<[u8; 32]> = claims.iter().map(Claim::fingerprint).collect();
        let places: Vec<usize> = {
            let held = held.lock();
            (0..claims.len()).filter(|&place| !held.contains(&fingerprints[place])).collect()
        };
        let unknown: Vec<Claim> = places.iter().map(|&place| claims[place].clone()).collect();
        self.verify_anew(&unknown).map_err(|bad| places[bad])?;
        held.lock().extend(places.iter().map(|&place| fingerprints[place]));
        Ok(())
    }

    fn verify_anew(&self, claims: &[Claim]) -> Result<(), usize> {
        let bad = match &self.pool {
            Some(pool) if claims.len() > BATCH => pool.install(|| {
                // As many batches for each thread, of one size: none waits while another has a batch left.
                let batches = claims.len().div_ceil(BATCH).next_multiple_of(pool.current_num_threads());
                let size = claims.len().div_ceil(batches).max(BATCH_LEAST);
                // `find_map_first` names the same culprit on every run.
                let bad_in = |(n, batch)| self.bad_in(batch).map(|place| n * size + place);
                claims.par_chunks(size).enumerate().find_map_first(bad_in)
            }),
            _ => {
                let mut batches = claims.chunks(BATCH).enumerate();
                batches.find_map(|(n, batch)| self.bad_in(batch).map(|place| n * BATCH + place))
            }
        };
        bad.map_or(Ok(()), Err)
    }

    /// The place of a bad claim in a batch, if it has one.
    fn bad_in(&self, batch: &[Claim]) -> Option<usize> {
        if let [claim] = batch {
            return (!claim.holds()).then_some(0);
        }
        let mut seed = Sha256::new();
        seed.update(self.secret);
        let mut verifier = batch::Verifier::new();
        for claim in batch {
            seed.update(claim.key.0);
            seed.update(claim.signature.0);
            seed.update(claim.message);
            verifier.queue(claim.item());
        }
        if verifier.verify(ChaCha20Rng::from_seed(seed.finalize().into())).is_ok() {
            return None;
        }
        let culprit = batch.iter().position(|claim| !claim.holds());
        // With ZIP-215 a batch fails only if one of its members does.
        Some(culprit.expect("a batch of valid signatures is valid"))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
