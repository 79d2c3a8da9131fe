//! `Miner`: the search for a nonce, over the midstate.
//!
//! A header's 100 bytes are two SHA blocks. The first 64 hold neither time nor nonce, so they are
//! compressed once per template; each nonce then costs two compressions, one for the second block and
//! one for the hash of the hash. What decides is [`difficulty::meets`], exactly; before it stands a
//! comparison of the leading 64 bits that no valid hash fails.
//!
//! No thread, no clock: those are in `runtime/miner.rs`. Left out: several hashes at a time (SIMD
//! lanes), which a processor without SHA instructions would gain from.

use sha2::block_api::compress256;

use crate::blockchain::block::{HEADER_BYTES, Header};
use crate::blockchain::difficulty;
use crate::primitives::hash::Hash;

/// FIPS 180-4, 5.3.3: the square roots of the first eight primes.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Where time and nonce lie in the second block.
const TIME_AT: usize = 76 - 64;
const NONCE_AT: usize = 92 - 64;

const _: () = assert!(HEADER_BYTES == 100, "the places above and the padding below follow from the header's size");

/// A header that lacks only time and nonce, prepared for hashing.
#[derive(Clone, Debug)]
pub struct Miner {
    header: Header,
    /// After the first 64 bytes.
    midstate: [u32; 8],
    /// The other 36 bytes, padded.
    tail: [u8; 64],
    /// The greatest that the leading 64 bits of a valid hash can be.
    leading_max: u64,
}

impl Miner {
    /// Prepares a header; its nonce does not matter.
    pub fn new(header: Header) -> Self {
        let bytes = header.to_bytes();
        let (head, rest) = bytes.split_first_chunk::<64>().expect("a header has 100 bytes");
        let mut midstate = INITIAL;
        compress256(&mut midstate, &[*head]);
        let mut tail = padded(8 * HEADER_BYTES as u64, rest.len());
        tail[..rest.len()].copy_from_slice(rest);
        // hash · difficulty < 2^256 needs the leading 64 bits · difficulty < 2^64.
        let leading_max = if header.difficulty <= 1 { u64::MAX } else { u64::MAX / header.difficulty };
        Self { header, midstate, tail, leading_max }
    }

    /// The header with its present time stamp.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Gives the header another time.
    pub fn stamp(&mut self, time: u64) {
        self.header.time = time;
        self.tail[TIME_AT..TIME_AT + 8].copy_from_slice(&time.to_le_bytes());
    }

    /// Tries `count` nonces from `first` on; the header that meets its difficulty, if one does.
    pub fn search(&self, first: u64, count: u64) -> Option<Header> {
        // The second hash: 32 bytes that change, and their padding.
        let mut outer = padded(256, 32);
        // Two blocks in turn, each written a round before it is read: a vector load right after a narrower
        // store to the same place waits for it, which costs a fifth of the rate.
        let mut tails = [self.tail; 2];
        let write =
            |tail: &mut [u8; 64], nonce: u64| tail[NONCE_AT..NONCE_AT + 8].copy_from_slice(&nonce.to_le_bytes());
        write(&mut tails[0], first);
        for step in 0..count {
            let nonce = first.wrapping_add(step);
            let [now, next] = &mut tails;
            write(next, nonce.wrapping_add(1));
            let mut inner = self.midstate;
            compress256(&mut inner, std::slice::from_ref(now));
            tails.swap(0, 1);
            for (bytes, word) in outer.chunks_exact_mut(4).zip(inner) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            let mut hash = INITIAL;
            compress256(&mut hash, std::slice::from_ref(&outer));
            let leading = u64::from(hash[0]) << 32 | u64::from(hash[1]);
            if leading <= self.leading_max && difficulty::meets(&to_hash(hash), self.header.difficulty) {
                return Some(Header { nonce, ..self.header });
            }
        }
        None
    }
}

/// A last block with nothing in it but the padding for a message of so many bits, the last `bytes` of
/// which lie in this block.
fn padded(bits: u64, bytes: usize) -> [u8; 64] {
    let mut block = [0; 64];
    block[bytes] = 0x80;
    block[56..].copy_from_slice(&bits.to_be_bytes());
    block
}

fn to_hash(words: [u32; 8]) -> Hash {
    let mut hash = Hash::ZERO;
    for (bytes, word) in hash.0.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(difficulty: u64) -> Header {
        let (prev, merkle_root) = (Hash([7; 32]), Hash([9; 32]));
        Header { version: 1, height: 5, prev, merkle_root, time: 1_000, difficulty, nonce: 0 }
    }

    /// Goal: the search over the midstate finds exactly the nonces whose ids meet the difficulty.
    /// Method: 2,000 nonces at difficulty 50, each judged by the plain double hash.
    #[test]
    fn finds_what_the_plain_hash_finds() {
        let mut miner = Miner::new(header(50));
        miner.stamp(123_456);
        let meets = |nonce: &u64| {
            let header = Header { nonce: *nonce, time: 123_456, ..header(50) };
            difficulty::meets(&header.id(), 50)
        };
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(header) = miner.search(from, 2_000 - from) {
            assert_eq!(header.time, 123_456);
            found.push(header.nonce);
            from = header.nonce + 1;
        }
        assert_eq!(found, (0..2_000).filter(meets).collect::<Vec<_>>());
        assert!(!found.is_empty());
    }

    /// Goal: on regtest the first hash wins, the very last nonce is tried too, and no difficulty is
    /// refused that a hash meets by a hair. Method: difficulty 1 and the greatest that a hash meets.
    #[test]
    fn the_quick_look_never_refuses_a_valid_hash() {
        assert_eq!(Miner::new(header(1)).search(u64::MAX, 1).map(|found| found.nonce), Some(u64::MAX));
        for nonce in 0..200 {
            // The id depends on the difficulty, so look for pairs that meet exactly or just fail.
            for difficulty in 1..40 {
                let candidate = Header { nonce, ..header(difficulty) };
                let found = Miner::new(header(difficulty)).search(nonce, 1).is_some();
                assert_eq!(found, difficulty::meets(&candidate.id(), difficulty));
            }
        }
    }
}
