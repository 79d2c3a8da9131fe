//! Chains that nodes have before their story begins.
//!
//! Long ones, which part at genesis: whoever has the lighter one must first weigh the headers of the heavier, more
//! than one message holds, and then have them shown a second time. Their blocks hold nothing but what miners earn.

use std::sync::Arc;

use crate::blockchain::block::Header;
use crate::blockchain::disk::Disk;
use crate::blockchain::memory_disk::MemoryDisk;
use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::blockchain::storage::{PersistentBlockchain, StoreError};
use crate::blockchain::template::Template;
use crate::primitives::keys::Key;
use crate::primitives::time::Wall;
use crate::simulator::clock::BEGAN;
use crate::simulator::miner::Miner;

/// A disk with a chain of so many blocks, all of them durable, that pay this key.
pub(crate) fn disk_with(params: &Arc<Params>, blocks: u64, payee: Key) -> Result<MemoryDisk, StoreError> {
    let disk = MemoryDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, _) = PersistentBlockchain::open(shared, params, &mut |_, _| {})?;
    let (payout, spacing_ms) = (Payout::from(payee), params.spec().block_time_ms);
    let mut parent = Position::genesis(params);
    let mut chain = Vec::new();
    for left in (0..blocks).rev() {
        let template = Template::new(params, &parent, &payout, &[]);
        let header = Header { time: BEGAN.0 - (left + 1) * spacing_ms, ..*template.header() };
        let block = template.found(params, Miner::work(header)).expect("a template keeps every rule");
        parent = parent.child(params, &block.checked_header(), Wall(u64::MAX)).expect("and its header too");
        chain.push(block);
    }
    store.append(&chain)?;
    store.syncer().sync(store.appended_bytes())?;
    Ok(disk)
}
