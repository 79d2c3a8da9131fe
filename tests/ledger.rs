//! The ledger is a set: it does what a plain ordered set does, and its hash is that of the sorted ids.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::CoinId;
use spindle::primitives::hash::Hash;

/// One of few coins, so that random lists collide: half of them in one shard, on either side of a border
/// between two, and at both ends.
fn coin(number: u8) -> CoinId {
    let mut id = Hash::sha256d(&[number]).0;
    match number {
        0 => id = [0; 32],
        1 => id = [0xff; 32],
        2..20 => (id[0], id[1]) = (0x12, 0x30 | (id[1] & 0x0f)),
        20..30 => (id[0], id[1]) = (0x12, 0x40 | (id[1] & 0x0f)),
        _ => {}
    }
    CoinId(id)
}

fn hash_of(coins: &BTreeSet<CoinId>) -> Hash {
    let bytes: Vec<u8> = coins.iter().flat_map(|coin| coin.0).collect();
    Hash(Sha256::digest(bytes).into())
}

/// What `apply` means, said with a set: all or nothing, spending first.
fn apply_to_set(set: &BTreeSet<CoinId>, spent: &[CoinId], created: &[CoinId]) -> Result<BTreeSet<CoinId>, Reject> {
    let mut after = set.clone();
    for &coin in spent {
        if !after.remove(&coin) {
            return Err(Reject::MissingCoin { coin });
        }
    }
    for &coin in created {
        if !after.insert(coin) {
            return Err(Reject::CoinExists { coin });
        }
    }
    Ok(after)
}

#[derive(Clone, Debug)]
enum Step {
    /// A block of any coins; most are refused.
    Any(Vec<u8>, Vec<u8>),
    /// A block that spends and makes only what it may.
    Fitting(Vec<u8>, Vec<u8>),
    /// The last block back.
    Undo,
    /// A clone is kept, as for a checkpoint, and must not move.
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop::collection::vec(0_u8..60, 0..6);
    let many = || prop::collection::vec(0_u8..60, 0..20);
    let step = prop_oneof![
        2 => (few(), few()).prop_map(|(spent, made)| Step::Any(spent, made)),
        4 => (many(), many()).prop_map(|(spent, made)| Step::Fitting(spent, made)),
        3 => Just(Step::Undo),
        1 => Just(Step::Checkpoint),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: any sequence of blocks, refused blocks and undone blocks leaves the coins that a plain set would
    /// have. Method: a `BTreeSet` beside it; verdict, length, membership, hash and checkpoints compared.
    #[test]
    fn ledger_does_what_a_set_does(steps in steps()) {
        let (mut ledger, mut set) = (Ledger::default(), BTreeSet::new());
        let mut applied = Vec::new();
        let mut checkpoint = (ledger.clone(), set.clone());
        for step in steps {
            match step {
                Step::Any(spent, created) => {
                    let (spent, created) = (coins(&spent), coins(&created));
                    let expected = apply_to_set(&set, &spent, &created);
                    prop_assert_eq!(ledger.apply(&spent, &created), expected.as_ref().map(|_| ()).map_err(Clone::clone));
                    if let Ok(after) = expected {
                        set = after;
                        applied.push((spent, created));
                    }
                }
                Step::Fitting(spent, created) => {
                    let spent: Vec<_> = distinct(&spent).into_iter().filter(|coin| set.contains(coin)).collect();
                    let created: Vec<_> = distinct(&created).into_iter().filter(|coin| !set.contains(coin)).collect();
                    set = apply_to_set(&set, &spent, &created).expect("fitting");
                    prop_assert_eq!(ledger.apply(&spent, &created), Ok(()));
                    applied.push((spent, created));
                }
                Step::Undo => {
                    if let Some((spent, created)) = applied.pop() {
                        set = apply_to_set(&set, &created, &spent).expect("it was applied");
                        ledger.undo(&spent, &created);
                    }
                }
                Step::Checkpoint => checkpoint = (ledger.clone(), set.clone()),
            }
            prop_assert_eq!(ledger.len(), set.len());
            prop_assert_eq!(ledger.is_empty(), set.is_empty());
            prop_assert_eq!(ledger.hash(), hash_of(&set));
            prop_assert!((0..60).map(coin).all(|coin| ledger.contains(&coin) == set.contains(&coin)));
        }
        prop_assert_eq!(checkpoint.0.hash(), hash_of(&checkpoint.1));
        while let Some((spent, created)) = applied.pop() {
            ledger.undo(&spent, &created);
        }
        prop_assert_eq!(ledger, Ledger::default());
    }
}

fn coins(numbers: &[u8]) -> Vec<CoinId> {
    numbers.iter().map(|&number| coin(number)).collect()
}

fn distinct(numbers: &[u8]) -> Vec<CoinId> {
    numbers.iter().collect::<BTreeSet<_>>().into_iter().map(|&number| coin(number)).collect()
}

/// Goal: two nodes that have the same coins have the same hash, whatever way led there.
/// Method: the empty ledger's and one coin's pinned; 5,000 coins in two orders, with detours.
#[test]
fn hash_is_that_of_the_sorted_ids() {
    assert_eq!(
        Ledger::default().hash().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "SHA-256 of nothing"
    );
    let all: Vec<CoinId> = (0..5_000_u32).map(|n| CoinId(Hash::sha256d(&n.to_le_bytes()).0)).collect();
    let (mut forth, mut back) = (Ledger::default(), Ledger::default());
    forth.apply(&[], &all).expect("new");
    for pair in all.chunks(2).rev() {
        back.apply(&[], &[pair[1], pair[0], CoinId([7; 32])]).expect("new");
        back.apply(&[CoinId([7; 32])], &[]).expect("there");
    }
    assert_eq!(forth, back);
    assert_eq!(forth.hash(), hash_of(&all.into_iter().collect()));
    assert_eq!(forth.hash(), back.hash());
}

/// Goal: a block that names a spent coin twice, or a new one twice, is refused and leaves no trace.
#[test]
fn coins_named_twice_are_refused() {
    let mut ledger = Ledger::default();
    ledger.apply(&[], &[coin(1), coin(2)]).expect("new");
    let before = ledger.clone();
    assert_eq!(ledger.apply(&[coin(1), coin(1)], &[]), Err(Reject::MissingCoin { coin: coin(1) }));
    assert_eq!(ledger.apply(&[coin(1)], &[coin(3), coin(3)]), Err(Reject::CoinExists { coin: coin(3) }));
    assert_eq!(ledger, before);
}

/// Goal: a checkpoint's shards come back whole, and a shard that is out of order, out of place, repeated
/// or given twice is refused. Method: the shards of one ledger handed to another.
#[test]
fn shards_restore_only_in_their_place_and_order() {
    let mut ledger = Ledger::default();
    ledger.apply(&[], &distinct(&(0..60).collect::<Vec<_>>())).expect("new");
    let mut restored = Ledger::default();
    for (place, shard) in ledger.shards().enumerate() {
        restored.restore_shard(place, shard.to_vec()).expect("its own place");
    }
    assert_eq!((restored.hash(), restored.len()), (ledger.hash(), 60));
    assert_eq!(restored, ledger);

    let full: Vec<CoinId> = ledger.shards().nth(0x123).expect("a shard").to_vec();
    assert_eq!(restored.restore_shard(0x123, full.clone()), None, "already there");
    let mut empty = Ledger::default();
    let reversed = full.iter().rev().copied().collect();
    let repeated = vec![full[0], full[0]];
    let foreign = vec![full[0], coin(1)];
    for bad in [reversed, repeated, foreign] {
        assert_eq!(empty.restore_shard(0x123, bad), None);
    }
    assert_eq!(empty.restore_shard(0x124, full.clone()), None, "another's place");
    assert_eq!(empty.restore_shard(4_096, Vec::new()), None, "no such shard");
    assert_eq!(empty, Ledger::default());
}
