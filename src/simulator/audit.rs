//! A second opinion on a chain: the ledger, from blocks alone and with the amounts kept.
//!
//! It shares nothing with the ledger that nodes keep but the form of a coin's id. Every block of the active
//! chain is decoded again; what is spent must be there, what is earned must be the reward and the fees, and
//! all coins together must be the supply.

use std::collections::BTreeMap;

use crate::blockchain::block::Block;
use crate::blockchain::chain::Chain;
use crate::blockchain::transaction::{CoinId, Outpoint};
use crate::primitives::codec;
use crate::primitives::hash::Hash;

/// What a chain comes to; an error is the sentence that says what is wrong with it.
pub(crate) fn audit(chain: &Chain) -> Result<(), String> {
    let (reader, params) = (chain.reader(), chain.params());
    let mut coins: BTreeMap<CoinId, u64> = BTreeMap::new();
    let mut prev = params.genesis_id();
    for height in 1..=chain.tip().header.height {
        let record = reader.record_at(height).ok_or_else(|| format!("no block at height {height}"))?;
        let bytes = reader.block(record).map_err(|error| format!("block {height} cannot be read: {error}"))?;
        let block: Block =
            codec::decode(&bytes).map_err(|error| format!("block {height} cannot be decoded: {error}"))?;
        if block.header.prev != prev || block.header.height != height {
            return Err(format!("block {height} does not link to the one before"));
        }
        if block.merkle_root() != block.header.merkle_root {
            return Err(format!("block {height} has another merkle root than its header"));
        }
        prev = block.id();
        let earned = params.reward(height) + connect(&mut coins, &block, params.spec().maturity)?;
        if block.coinbase.output.amount != earned {
            return Err(format!("coinbase {height} is {}, and should be {earned}", block.coinbase.output.amount));
        }
    }
    let sum: u128 = coins.values().map(|&amount| u128::from(amount)).sum();
    let supply = params.supply(chain.tip().header.height);
    if sum != supply {
        return Err(format!("the coins come to {sum}, and the supply is {supply}"));
    }
    compare(chain, &coins, prev)
}

/// Lets a block's coins go and come; gives its fees.
fn connect(coins: &mut BTreeMap<CoinId, u64>, block: &Block, maturity: u64) -> Result<u64, String> {
    let height = block.header.height;
    let mut fees = 0;
    for transfer in &block.transfers {
        let mut left: u64 = 0;
        for input in &transfer.inputs {
            let amount =
                coins.remove(&input.coin()).ok_or_else(|| format!("block {height} spends what is not there"))?;
            if amount != input.amount || input.matures_at > height {
                return Err(format!("block {height} spends a coin that is another one, or too young"));
            }
            left += amount;
        }
        for output in &transfer.outputs {
            left = left.checked_sub(output.amount).ok_or_else(|| format!("block {height} makes more than it has"))?;
        }
        fees += left;
        coins.extend(transfer.coins(transfer.id()).zip(transfer.outputs.iter().map(|output| output.amount)));
    }
    let outpoint = Outpoint { transaction: block.coinbase.id(), index: 0 };
    let output = &block.coinbase.output;
    let matures_at = height + maturity;
    coins.insert(CoinId::new(&outpoint, output.amount, &output.key, matures_at), output.amount);
    Ok(fees)
}

/// The node's ledger holds these coins and no others.
fn compare(chain: &Chain, coins: &BTreeMap<CoinId, u64>, tip: Hash) -> Result<(), String> {
    if tip != chain.tip().id {
        return Err("the active chain does not end in the tip".into());
    }
    if !chain.rests() {
        return Ok(());
    }
    let missing = coins.keys().filter(|coin| !chain.ledger().contains(coin)).count();
    if missing > 0 || chain.ledger().len() != coins.len() {
        return Err(format!("the ledger has {} coins and lacks {missing} of {}", chain.ledger().len(), coins.len()));
    }
    Ok(())
}
