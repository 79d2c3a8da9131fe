//! The second opinion on a block file: branches, and blocks that only a ledger can refuse.

mod common;

use std::sync::Arc;

use spindle::blockchain::block::{Block, CheckedBlock, Header, ReadBlock};
use spindle::blockchain::chain::Chain;
use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::storage::PersistentBlockchain;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::Transaction;
use spindle::cli::chain::replay::Replay;
use spindle::primitives::codec::List;
use spindle::primitives::time::Wall;

use crate::common::{coin, fee, pay, secret};

/// The block after a position that pays a key by its number, and where it stands.
fn child(params: &Params, parent: &Position, payee: u64, transfers: Vec<Transaction>) -> (CheckedBlock, Position) {
    let mut block = Template::new(params, parent, &secret(payee).public().into(), &[]).to_block();
    block.coinbase.output.amount += transfers.iter().map(fee).sum::<u64>();
    block.transfers = List::try_from(transfers).expect("few");
    let header = Header { merkle_root: block.merkle_root(), ..block.header };
    let read = ReadBlock::read(params, Block { header, ..block }.to_bytes()).expect("a sound block").trusted();
    let position = parent.child(params, &read.checked_header(), Wall(u64::MAX)).expect("it follows");
    (read, position)
}

/// Goal: the replay ends on the heaviest branch whose every block the ledger takes, counts the others, and
/// agrees with the node's own walk. Method: a branch that overtakes and then spends a coin that never was,
/// read in one run and, block by block, as files that end earlier.
#[test]
fn a_branch_that_spends_nothing_real_counts_for_nothing() {
    let params = Arc::new(Params::regtest());
    let genesis = Position::genesis(&params);
    let (a1, at_a1) = child(&params, &genesis, 1, Vec::new());
    let (a2, at_a2) = child(&params, &at_a1, 1, Vec::new());
    let (b2, at_b2) = child(&params, &at_a1, 2, Vec::new());
    let (b3, at_b3) = child(&params, &at_b2, 2, Vec::new());
    let (c3, at_c3) = child(&params, &at_a2, 3, Vec::new());
    let invented = pay(&params, &[coin(5, 1_000)], &[900]);
    let (b4, at_b4) = child(&params, &at_b3, 2, vec![invented]);
    let (b5, _) = child(&params, &at_b4, 2, Vec::new());
    let (c4, at_c4) = child(&params, &at_c3, 3, Vec::new());
    let blocks = [a1, a2, b2, b3, c3, b4, b5, c4];
    // After so many blocks: the tip, and how many are refused. First seen wins ties: b3 before c3.
    let expected = [
        (at_a1.id, 0),
        (at_a2.id, 0),
        (at_a2.id, 0),
        (at_b3.id, 0),
        (at_b3.id, 0),
        (at_b3.id, 1),
        (at_b3.id, 2),
        (at_c4.id, 2),
    ];
    for (count, (tip, refused)) in (1..).zip(expected) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let opened = PersistentBlockchain::open(Arc::clone(&disk), &params, &mut |_, _| {});
        let (mut store, _) = opened.expect("a new file");
        store.append(&blocks[..count]).expect("no fault");
        let mut replay = Replay::new(&params, &store, None).expect("random numbers");
        replay.run(&mut |_, _| {}).expect("no damage");
        assert_eq!((replay.tip().id, replay.refused()), (tip, refused), "after {count} blocks");
        assert_eq!(replay.supply(), params.supply(replay.tip().header.height), "after {count} blocks");
        assert_eq!(replay.durable_height(u64::MAX).expect("no fault"), replay.tip().header.height);
        assert_eq!(replay.durable_height(0).expect("no fault"), 0);
        let ledger = replay.ledger().hash();
        drop(store);
        let (chain, _) = Chain::open(Arc::clone(&params), &disk, &mut |_| {}).expect("no damage");
        assert_eq!((chain.tip().id, chain.ledger().hash()), (tip, ledger), "after {count} blocks");
    }
}
