//! The ledger against a set.
//!
//! The first byte says whether the ledger is restored from its shards in the end; the rest is a row of blocks, each a
//! few coins spent and a few made, that are applied or undone. Coins are few and lie in few shards, so that conflicts
//! are many.

use std::collections::BTreeSet;

use spindle::blockchain::ledger::{Ledger, SHARDS};
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::CoinId;
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let restores = input.byte() % 4 == 3;
    let (mut ledger, mut model) = (Ledger::default(), BTreeSet::new());
    let mut applied = Vec::new();
    let mut kept = None;
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=4 => {
                let (spent, created) = (coins(&mut input), coins(&mut input));
                let expected = apply(&mut model, &spent, &created);
                assert_eq!(ledger.apply(&spent, &created), expected);
                if expected.is_ok() {
                    applied.push((spent, created));
                }
            }
            5 | 6 => {
                if let Some((spent, created)) = applied.pop() {
                    ledger.undo(&spent, &created);
                    apply(&mut model, &created, &spent).expect("it was applied");
                }
            }
            // What a checkpoint is written from.
            _ => kept = Some((ledger.clone(), model.clone())),
        }
        assert_eq!((ledger.len(), ledger.is_empty()), (model.len(), model.is_empty()));
    }
    assert_same(&ledger, &model);
    if let Some((ledger, model)) = kept {
        assert_same(&ledger, &model);
    }
    if restores {
        assert_restored(&ledger);
    }
}

fn coins(input: &mut Bytes<'_>) -> Vec<CoinId> {
    let coin = |number: u8| {
        let mut id = [0; 32];
        // The first, the last and two neighbouring shards.
        (id[0], id[1]) = [(0, 0), (0xff, 0xff), (0x12, 0x3f), (0x12, 0x40)][usize::from(number >> 6)];
        id[31] = number;
        CoinId(id)
    };
    let count = usize::from(input.byte() % 8);
    input.take(count).iter().map(|&number| coin(number)).collect()
}

fn apply(model: &mut BTreeSet<CoinId>, spent: &[CoinId], created: &[CoinId]) -> Result<(), Reject> {
    let mut next = model.clone();
    for coin in spent {
        if !next.remove(coin) {
            return Err(Reject::MissingCoin { coin: *coin });
        }
    }
    for coin in created {
        if !next.insert(*coin) {
            return Err(Reject::CoinExists { coin: *coin });
        }
    }
    *model = next;
    Ok(())
}

fn assert_same(ledger: &Ledger, model: &BTreeSet<CoinId>) {
    assert!(ledger.shards().flat_map(|shard| shard.iter()).eq(model.iter()), "sorted, and the same coins");
    assert!(model.iter().all(|coin| ledger.contains(coin)));
    let all: Vec<u8> = model.iter().flat_map(|coin| coin.0).collect();
    assert_eq!(ledger.hash(), Hash(<sha2::Sha256 as sha2::Digest>::digest(&all).into()));
}

/// Each shard goes back to its place, once, and nowhere else.
fn assert_restored(ledger: &Ledger) {
    let mut restored = Ledger::default();
    for (place, shard) in ledger.shards().enumerate().filter(|(_, shard)| !shard.is_empty()) {
        let elsewhere = (place + 1) % SHARDS;
        assert_eq!(restored.restore_shard(elsewhere, shard.to_vec()), None, "coins of another shard");
        assert_eq!(restored.restore_shard(place, shard.to_vec()), Some(()));
        assert_eq!(restored.restore_shard(place, shard.to_vec()), None, "twice");
    }
    assert_eq!(restored, *ledger);
}
