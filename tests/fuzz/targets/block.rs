//! A block's bytes: one encoding, the rules said once more in the plainest way, and the same block however it is
//! put together.
//!
//! The first byte says what is put right before the block is read: height and version, the coinbase's amount, its
//! height, the root. The rest is the block.

use std::collections::{BTreeMap, BTreeSet};

use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader, ReadBlock};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX};
use spindle::blockchain::transaction::{CoinId, Outpoint, VERSION};
use spindle::primitives::codec;

use super::{kit, transaction};

pub(crate) fn run(data: &[u8]) {
    let Some((&mends, bytes)) = data.split_first() else { return };
    let Ok(mut block) = codec::decode::<Block>(bytes) else {
        assert!(ReadBlock::read(kit::params(), bytes.to_vec()).is_err(), "what cannot be decoded is no block");
        return;
    };
    assert_eq!(block.to_bytes(), bytes, "one value has one encoding");
    mend(&mut block, mends);
    let bytes = block.to_bytes();
    let read = ReadBlock::read(kit::params(), bytes.clone());
    let expected = model(&block, bytes.len());
    assert_eq!(read.is_ok(), expected.is_some(), "{read:?}");
    let assembled = assemble(&block);
    // One that is taken apart may break a rule that the whole one's reading meets later, and the reverse; but both
    // accept, or both refuse.
    assert_eq!(assembled.is_some(), read.is_ok());
    let (Ok(read), Some((spent, created))) = (read, expected) else { return };
    let claims = read.signatures();
    assert_eq!(claims, block.transfers.iter().map(|transfer| transfer.inputs.len()).sum::<usize>());
    let network = kit::params().genesis_id();
    // Curves are slow: one of eight, and of few inputs.
    if claims <= 4 && block.id().0[0] % 8 == 0 {
        let holds = block.transfers.iter().all(|transfer| transfer.claims(network).all(|claim| claim.holds()));
        let again = ReadBlock::read(kit::params(), bytes.clone()).expect("a moment ago it could be read");
        assert_eq!(again.verified(kit::verifier()).is_ok(), holds);
    }
    let checked = read.trusted();
    assert_eq!((checked.bytes(), checked.id(), checked.header()), (&bytes[..], block.id(), &block.header));
    assert_eq!(sorted(checked.spent()), spent);
    assert_eq!(sorted(checked.created()), created);
    assert_eq!(assembled, Some(checked));
}

fn mend(block: &mut Block, mends: u8) {
    if mends & 1 != 0 {
        (block.header.version, block.header.height) = (1, block.header.height % 100_000);
        block.header.difficulty = 1;
    }
    if mends & 2 != 0 {
        (block.coinbase.version, block.coinbase.height) = (VERSION, block.header.height);
        let fees = block.transfers.iter().filter_map(|transfer| transaction::model(transfer, 0));
        let fees = fees.fold(0, u64::saturating_add);
        block.coinbase.output.amount = kit::params().reward(block.header.height).saturating_add(fees);
    }
    if mends & 4 != 0 {
        block.header.merkle_root = block.merkle_root();
    }
}

/// The coins that a right block takes from the ledger and those that it adds, sorted.
fn model(block: &Block, size_bytes: usize) -> Option<(Vec<CoinId>, Vec<CoinId>)> {
    let header = &block.header;
    let inputs: usize = block.transfers.iter().map(|transfer| transfer.inputs.len()).sum();
    let outputs: usize = block.transfers.iter().map(|transfer| transfer.outputs.len()).sum();
    let right = size_bytes <= BLOCK_BYTES_MAX
        && CheckedHeader::check(*header).is_ok()
        && header.version == 1
        && header.merkle_root == block.merkle_root()
        && inputs <= BLOCK_INPUTS_MAX
        && outputs <= BLOCK_OUTPUTS_MAX
        && block.coinbase.version == VERSION
        && block.coinbase.height == header.height;
    if !right {
        return None;
    }
    let (mut fees, mut outpoints) = (0_u128, BTreeSet::new());
    let (mut spent, mut created): (Vec<CoinId>, BTreeMap<CoinId, usize>) = (Vec::new(), BTreeMap::new());
    let mut twins = Vec::new();
    for transfer in &block.transfers {
        let bytes = codec::encode(transfer);
        fees += u128::from(transaction::model(transfer, bytes.len())?);
        for input in &transfer.inputs {
            if input.matures_at > header.height || !outpoints.insert(input.outpoint) {
                return None;
            }
            if created.remove(&input.coin()).is_none() {
                spent.push(input.coin());
            }
        }
        for coin in transfer.coins(transfer.id()) {
            if created.insert(coin, 0).is_some() {
                twins.push(coin);
            }
        }
    }
    let due = u128::from(kit::params().reward(header.height)) + fees;
    if u128::from(block.coinbase.output.amount) != due {
        return None;
    }
    let made = Outpoint { transaction: block.coinbase.id(), index: 0 };
    let matures_at = header.height.saturating_add(kit::params().spec().maturity);
    let output = &block.coinbase.output;
    let created = created.into_keys().chain(twins).chain([CoinId::new(&made, output.amount, &output.key, matures_at)]);
    Some((sorted(&spent), sorted(&created.collect::<Vec<_>>())))
}

fn sorted(coins: &[CoinId]) -> Vec<CoinId> {
    let mut coins = coins.to_vec();
    coins.sort_unstable();
    coins
}

/// The block as a node puts it together that has its transfers.
fn assemble(block: &Block) -> Option<CheckedBlock> {
    let header = CheckedHeader::check(block.header).ok()?;
    let read = |transfer| ReadTx::read(kit::params(), &codec::encode(transfer));
    let transfers: Result<Vec<ReadTx>, _> = block.transfers.iter().map(read).collect();
    let transfers: Vec<CheckedTx> = transfers.ok()?.into_iter().map(ReadTx::trusted).collect();
    CheckedBlock::assemble(kit::params(), header, &block.coinbase, &transfers.iter().collect::<Vec<_>>()).ok()
}
