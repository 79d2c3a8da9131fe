//! The file of what waited when a node stopped: what is accepted is the one file that says it.
//!
//! The first byte says what is put right: the header but for the count, the checksum. The rest is the file.

use spindle::blockchain::mempool::{Mempool, read_file};
use spindle::primitives::time::Wall;

use super::kit;

const MAGIC_AND_VERSION: [u8; 8] = *b"spmp\x01\x00\x00\x00";
const COUNT_AT: usize = 8 + 32;

pub(crate) fn run(data: &[u8]) {
    let Some((&mends, bytes)) = data.split_first() else { return };
    let mut file = bytes.to_vec();
    if mends & 1 != 0 && file.len() >= COUNT_AT {
        file[..8].copy_from_slice(&MAGIC_AND_VERSION);
        file[8..COUNT_AT].copy_from_slice(&kit::params().genesis_id().0);
    }
    if mends & 2 != 0 {
        file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
    }
    match read_file(kit::params(), &file) {
        Ok(saved) => {
            let again = Mempool::new([0; 16]).to_file(kit::params(), saved.iter(), Wall(0));
            assert_eq!(again, file, "one pool has one file");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
