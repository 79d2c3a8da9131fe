//! Chains that `spindle chain generate` does not make: of large blocks, and of headers alone.

use std::path::Path;
use std::sync::Arc;

use spindle::blockchain::block::{Block, CheckedHeader, Header};
use spindle::blockchain::chain::{Chain, Step};
use spindle::blockchain::disk::Disk;
use spindle::blockchain::os::DataDir;
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint, Output, Transaction};
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::Wall;

/// Transfers of a large block, each of 1,024 outputs: 330 KiB.
const TRANSFERS: usize = 8;

/// Puts so many large blocks on top of a regtest chain, behind those whose coins they spend; gives the tip.
pub(crate) fn add_large_blocks(data: &Path, params: &Arc<Params>, blocks: usize) -> Hash {
    let disk: Arc<dyn Disk> = Arc::new(DataDir::open(data).expect("nobody holds it"));
    let (mut chain, _) = Chain::open(Arc::clone(params), &disk, &mut |_| {}).expect("sound");
    let maturity = params.spec().maturity;
    let mut coins = Vec::new();
    for _ in 0..TRANSFERS as u64 + maturity {
        let block = Template::new(params, chain.tip_position(), &super::secret(0).public().into(), &[]).to_block();
        let (outpoint, made) = (Outpoint { transaction: block.coinbase.id(), index: 0 }, block.coinbase.output);
        let matures_at = block.header.height + maturity;
        coins.push(Input { outpoint, amount: made.amount, key: made.key, matures_at });
        add(&mut chain, params, &super::sealed(block));
    }
    coins.truncate(TRANSFERS);
    for _ in 0..blocks {
        let mut block = Template::new(params, chain.tip_position(), &super::secret(0).public().into(), &[]).to_block();
        let transfers: Vec<Transaction> = coins.iter().map(|coin| split(params, *coin)).collect();
        coins = transfers.iter().map(largest).collect();
        block.transfers = List::first_of(transfers);
        add(&mut chain, params, &super::sealed(block));
    }
    let store = chain.store();
    store.syncer().sync(store.appended_bytes()).expect("a disk that works");
    chain.tip().id
}

fn add(chain: &mut Chain, params: &Params, block: &Block) {
    let checked = super::check(params, block).expect("it keeps every rule");
    let acceptance = chain.accept(Wall(u64::MAX), vec![checked], true).expect("a disk that works");
    assert_eq!(acceptance.appended, 1, "{acceptance:?}");
    while !matches!(chain.advance().expect("a disk that works"), Step::Still) {}
}

/// A thousand coins of one unit, and one of the rest.
fn split(params: &Params, coin: Input) -> Transaction {
    let rest = Output { amount: coin.amount - 1_023, key: coin.key, view_tag: 0 };
    let mut outputs = vec![Output { amount: 1, ..rest }; 1_023];
    outputs.push(rest);
    let (inputs, outputs) = (List::first_of(vec![coin]), List::first_of(outputs));
    let unsigned = Transaction::unsigned(inputs, outputs, Key::default(), None);
    unsigned.signed(params.genesis_id(), |_, message| super::secret(0).sign(message))
}

fn largest(transfer: &Transaction) -> Input {
    let made = transfer.outputs[1_023];
    let outpoint = Outpoint { transaction: transfer.id(), index: 1_023 };
    Input { outpoint, amount: made.amount, key: made.key, matures_at: 0 }
}

/// So many valid headers from genesis on, which cost nothing on regtest.
pub(crate) fn headers(params: &Params, count: usize) -> Vec<Header> {
    let mut parent = Position::genesis(params);
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let header = Template::new(params, &parent, &Key([0xbb; 32]).into(), &[]).to_block().header;
        let checked = CheckedHeader::check(header).expect("any hash does");
        parent = parent.child(params, &checked, Wall(u64::MAX)).expect("right in its place");
        headers.push(header);
    }
    headers
}
