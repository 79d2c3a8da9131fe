//! The mempool: what enters, what leaves, what returns, and what of it is packed into a block.
//!
//! Signatures are zeros where only coins matter: the pool never looks at them (their verdicts are tested
//! with [`ReadTx::verified`] below).

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{pay, regtest_with, sealed, verifier};
use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader, ReadBlock};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::mempool::{
    CHAIN_MAX, DUST_UNITS, FEE_RATE_MIN, FLOOR_HALVES_MS, FLOOR_STEP, FileError, Ground, LIFE_MS, Mempool,
    ORPHAN_LIFE_MS, ORPHAN_SOURCES, ORPHANS_MAX, ORPHANS_PER_SOURCE, Offer, POOL_BYTES_MAX, PoolReject, READMIT_BYTES,
    Source, memory_bytes, read_file,
};
use spindle::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, Params};
use spindle::blockchain::position::Position;
use spindle::blockchain::reject::Reject;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{CoinId, Input, Outpoint, Output, Transaction};
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Signature};
use spindle::primitives::rng::Rng;
use spindle::primitives::time::{Mono, Now, Wall};

const KEY: Key = Key([9; 32]);
const START_MS: u64 = 1_800_000_000_000;

/// The present, so many milliseconds after a start.
fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(START_MS + ms) }
}

/// A coin by its number, of a key that nobody has.
fn plain(number: u64, amount: u64) -> Input {
    let outpoint = Outpoint { transaction: Hash::sha256d(&number.to_le_bytes()), index: 0 };
    Input { outpoint, amount, key: KEY, matures_at: 0 }
}

/// A transaction with zeros for signatures.
fn spend(params: &Params, inputs: &[Input], amounts: &[u64]) -> ReadTx {
    let outputs = amounts.iter().map(|&amount| Output { amount, key: KEY, view_tag: 0 }).collect::<Vec<_>>();
    let inputs = List::try_from(inputs.to_vec()).expect("within the limit of inputs");
    let outputs = List::try_from(outputs).expect("within the limit of outputs");
    let tx = Transaction::unsigned(inputs, outputs, Key([5; 32]), None);
    let tx = tx.signed(params.genesis_id(), |_, _| Signature([0; 64]));
    ReadTx::read(params, &codec::encode(&tx)).expect("right in itself")
}

/// The coin that a transaction makes at a place.
fn made(tx: &ReadTx, index: u32) -> Input {
    let output = tx.to_transaction().outputs[index as usize];
    Input { outpoint: Outpoint { transaction: tx.id(), index }, amount: output.amount, key: output.key, matures_at: 0 }
}

/// What one input and so many outputs cost at a rate.
fn fee_at(rate: u64, inputs: usize, outputs: usize) -> u64 {
    let size_bytes = (1 + 2 + 84 * inputs + 2 + 41 * outputs + 32 + 1 + 64 * inputs) as u64;
    (rate * size_bytes).div_ceil(1_000)
}

/// A pool on a ledger with coins of one million units, numbered from 0.
struct Bench {
    params: Params,
    ledger: Ledger,
    pool: Mempool,
    now: Now,
    next_height: u64,
}

const WORTH: u64 = 1_000_000;

impl Bench {
    fn new(coins: u64) -> Self {
        let mut ledger = Ledger::default();
        let ids: Vec<CoinId> = (0..coins).map(|number| plain(number, WORTH).coin()).collect();
        ledger.apply(&[], &ids).expect("coins of different numbers");
        Self { params: Params::regtest(), ledger, pool: Mempool::new([7; 16]), now: at(0), next_height: 20 }
    }

    /// Spends coin `number` into one output, at a fee.
    fn pays(&self, number: u64, fee: u64) -> ReadTx {
        spend(&self.params, &[plain(number, WORTH)], &[WORTH - fee])
    }

    fn offer(&mut self, source: u64, tx: &ReadTx) -> Offer {
        let Self { ledger, pool, now, next_height, .. } = self;
        pool.offer(Source(source), tx.clone(), &Ground { ledger, next_height: *next_height, now: *now })
    }

    fn insert(&mut self, tx: &ReadTx) -> Result<(), PoolReject> {
        let Self { ledger, pool, now, next_height, .. } = self;
        pool.insert(tx.clone().trusted(), now.wall, &Ground { ledger, next_height: *next_height, now: *now })
    }

    fn next_orphan(&mut self) -> Option<(Source, Offer)> {
        let Self { ledger, pool, now, next_height, .. } = self;
        let next = pool.next_orphan(&Ground { ledger, next_height: *next_height, now: *now });
        next.map(|(source, _, offer)| (source, offer))
    }

    /// A block of the pool's best, that keeps every rule, its ledger's too.
    fn block_of_pool(&self) -> (Block, u64) {
        let pack = self.pool.pack();
        let parent = Position { height: self.next_height - 1, ..Position::genesis(&self.params) };
        let block = sealed(Template::new(&self.params, &parent, &KEY.into(), &pack.transfers).to_block());
        let read = ReadBlock::read(&self.params, block.to_bytes()).expect("it keeps every rule").trusted();
        self.ledger.clone().apply(read.spent(), read.created()).expect("its coins are there");
        let header = CheckedHeader::check(block.header).expect("difficulty 1");
        let assembled = CheckedBlock::assemble(&self.params, header, &block.coinbase, &pack.transfers);
        assert_eq!(assembled, Ok(read), "assembled from the pool it is the same block");
        (block, pack.fees)
    }

    fn assert_accounts(&self) {
        let sum: usize = self.pool.ids().map(|id| memory_bytes(self.pool.get(&id).expect("it waits"))).sum();
        assert_eq!(self.pool.used_bytes(), sum);
        assert!(sum <= POOL_BYTES_MAX, "{sum}");
    }
}

// --- coming in ---

/// Goal: who came first keeps the coin, nothing is replaced, and only a lie is blamed.
/// Method: a second spender at a higher fee; the first once more; coins that never were; a false claim about
/// a coin that the pool makes; a wrong signature.
#[test]
fn first_seen_wins_and_only_lies_are_blamed() {
    let mut bench = Bench::new(3);
    let (first, second) = (bench.pays(0, 1_000), bench.pays(0, 9_000));
    assert_eq!(bench.offer(1, &first), Offer::Ready(first.clone()));
    assert_eq!(bench.insert(&first), Ok(()));
    let coin = plain(0, WORTH).coin();
    let conflict = PoolReject::Conflict { coin, with: first.id() };
    assert_eq!(bench.offer(2, &second), Offer::Refused(conflict.clone()));
    assert_eq!(bench.insert(&second), Err(conflict.clone()));
    assert_eq!(bench.offer(2, &first), Offer::Refused(PoolReject::Known { id: first.id() }));
    assert!(!conflict.blames_sender());

    let false_claim = Input { amount: 5_000_000, ..made(&first, 0) };
    let liar = spend(&bench.params, &[false_claim], &[4_000_000]);
    let Offer::Refused(refused) = bench.offer(2, &liar) else { panic!("no such coin can be") };
    assert_eq!(refused, PoolReject::Rule(Reject::MissingCoin { coin: false_claim.coin() }));
    assert!(refused.blames_sender());

    let owned = common::coin(1, 5_000);
    let mut signed = pay(&bench.params, &[owned], &[4_000]);
    let honest = ReadTx::read(&bench.params, &codec::encode(&signed)).expect("right in itself");
    signed.tx_key = Key([6; 32]);
    let altered = ReadTx::read(&bench.params, &codec::encode(&signed)).expect("right in itself");
    let bad = Reject::BadSignature { transaction: altered.id() };
    assert!(PoolReject::from(bad.clone()).blames_sender());
    let verdicts = ReadTx::verified_all(vec![honest.clone(), altered.clone()], &verifier());
    assert_eq!(verdicts, [Ok(honest.clone().trusted()), Err(bad.clone())]);
    assert_eq!(altered.verified(&verifier()), Err(bad));
    assert!(honest.verified(&verifier()).is_ok());
}

/// Goal: a row of unconfirmed ones ends at 25, whichever side it grows on; after a block it goes on.
/// Method: a chain of 1,000, one after the other; then 30 children of one parent.
#[test]
fn a_thousand_in_a_row_leave_twenty_five() {
    let mut bench = Bench::new(2);
    let mut coin = plain(0, WORTH);
    let mut refused = Vec::new();
    for place in 0..1_000 {
        let tx = spend(&bench.params, &[coin], &[coin.amount - 900]);
        coin = made(&tx, 0);
        if let Err(reject) = bench.insert(&tx) {
            refused.push((place, reject));
        }
    }
    assert_eq!((bench.pool.len(), refused.len()), (CHAIN_MAX, 975));
    assert_eq!(refused[0], (25, PoolReject::TooManyAncestors { count: 26 }));
    assert!(matches!(refused[1].1, PoolReject::Missing { .. }));

    let parent = spend(&bench.params, &[plain(1, WORTH)], &[10_000; 30]);
    bench.insert(&parent).expect("a parent");
    for index in 0..30 {
        let child = spend(&bench.params, &[made(&parent, index)], &[9_000]);
        let verdict = bench.insert(&child);
        let full = PoolReject::TooManyDescendants { ancestor: parent.id(), count: 26 };
        assert_eq!(verdict, if index < 24 { Ok(()) } else { Err(full) }, "child {index}");
    }
    bench.assert_accounts();
}

/// Goal: what costs more than it is worth is not relayed. Method: outputs and fees at the limit and one
/// unit below.
#[test]
fn dust_and_the_floor_are_exact() {
    let mut bench = Bench::new(4);
    let fee = fee_at(FEE_RATE_MIN, 1, 2);
    let small = spend(&bench.params, &[plain(0, WORTH)], &[DUST_UNITS - 1, 5_000]);
    assert_eq!(bench.offer(1, &small), Offer::Refused(PoolReject::Dust { amount: 299 }));
    let enough = spend(&bench.params, &[plain(0, WORTH)], &[DUST_UNITS, WORTH - DUST_UNITS - fee]);
    assert_eq!(bench.insert(&enough), Ok(()));
    let cheap = spend(&bench.params, &[plain(1, WORTH)], &[DUST_UNITS, WORTH - DUST_UNITS - fee + 1]);
    let size_bytes = cheap.bytes().len();
    let reject = PoolReject::TooCheap { fee: fee - 1, size_bytes, floor: FEE_RATE_MIN };
    assert!(!reject.blames_sender());
    assert_eq!(bench.offer(1, &cheap), Offer::Refused(reject));
}

/// Goal: 100,000 transactions at the floor's fee fill the pool and no more; whoever pays better enters; the
/// floor rises above what was pushed out, by a step, and halves every ten minutes.
/// Method: so many of them; then better ones; then time.
#[test]
fn a_flood_at_the_floor_is_bounded_and_a_better_fee_enters() {
    let mut bench = Bench::new(101_000);
    let fee = fee_at(FEE_RATE_MIN, 1, 1);
    let mut entered = 0;
    for number in 0..100_000 {
        let tx = bench.pays(number, fee);
        let offer = bench.offer(number % 32, &tx);
        assert!(matches!(offer, Offer::Ready(_) | Offer::Refused(PoolReject::TooCheap { .. })), "{offer:?}");
        if offer == Offer::Ready(tx.clone()) {
            entered += usize::from(bench.insert(&tx).is_ok());
        }
    }
    bench.assert_accounts();
    assert!(bench.pool.len() > 15_000, "{}", bench.pool.len());
    assert_eq!(entered, bench.pool.len(), "among equals the last to come leaves: itself");
    // 227 bytes at 1,000 per 1,000 cost 227 units.
    assert_eq!(bench.pool.floor(bench.now.mono), FEE_RATE_MIN + FLOOR_STEP);

    let better = bench.pays(100_000, fee_at(FEE_RATE_MIN + FLOOR_STEP, 1, 1));
    assert_eq!(bench.offer(40, &better), Offer::Ready(better.clone()));
    assert_eq!(bench.insert(&better), Ok(()));
    assert_eq!(bench.pool.floor(bench.now.mono), 2_000, "what it pushed out paid 1,000");
    bench.assert_accounts();

    bench.now = at(FLOOR_HALVES_MS - 1);
    assert_eq!(bench.pool.floor(bench.now.mono), 2_000);
    bench.now = at(FLOOR_HALVES_MS);
    assert_eq!(bench.pool.floor(bench.now.mono), 1_000);
}

/// Goal: a floor that has risen far falls by half every ten minutes, to the minimum and not below.
/// Method: a pool of rich ones, one of which is pushed out; then hours.
#[test]
fn the_floor_halves_every_ten_minutes() {
    let mut bench = Bench::new(30_000);
    let fee = fee_at(63_000, 1, 1);
    let mut number = 0;
    while bench.pool.floor(bench.now.mono) == FEE_RATE_MIN {
        let tx = bench.pays(number, fee);
        let _ = bench.insert(&tx);
        number += 1;
    }
    let top = bench.pool.floor(Mono(0));
    assert!((64_000..64_010).contains(&top), "{top}");
    for halvings in 0..100 {
        let expected = (top >> halvings.min(63)).max(FEE_RATE_MIN);
        assert_eq!(bench.pool.floor(Mono(halvings * FLOOR_HALVES_MS)), expected, "after {halvings}");
    }
}

/// Goal: the pool's memory never passes its cap, whatever comes, and is what a sum over its transactions
/// gives; those that pay best stay, and no child without its parent.
/// Method: random sizes, fees and families, three times what fits; then an own estimate of who must be there.
#[test]
fn memory_is_bounded_and_accounted() {
    let mut bench = Bench::new(60_000);
    let mut rng = Rng::new(19);
    let mut families: Vec<ReadTx> = Vec::new();
    for number in 0..30_000 {
        let rate = 1_000 + rng.below(50_000) as u64;
        let outputs = if rng.below(50) == 0 { 1 + rng.below(700) } else { 1 + rng.below(4) };
        let input = match families.last() {
            Some(parent) if rng.below(3) == 0 => made(parent, 0),
            _ => plain(number, WORTH * 1_000),
        };
        if input.amount == WORTH * 1_000 {
            bench.ledger.apply(&[], &[input.coin()]).expect("a new coin");
        }
        let fee = fee_at(rate, 1, outputs);
        let left = input.amount.saturating_sub(fee + 400 * (outputs as u64 - 1));
        if left < 400 {
            families.clear();
            continue;
        }
        let amounts: Vec<u64> = std::iter::once(left).chain(vec![400; outputs - 1]).collect();
        let tx = spend(&bench.params, &[input], &amounts);
        if bench.insert(&tx).is_ok() {
            families.push(tx);
        }
        assert!(bench.pool.used_bytes() <= POOL_BYTES_MAX);
    }
    bench.assert_accounts();
    let seen: BTreeSet<Hash> = bench.pool.ids().collect();
    assert_eq!(seen.len(), bench.pool.len());
    let mut before: BTreeSet<Hash> = BTreeSet::new();
    for waiting in bench.pool.snapshot() {
        let tx = bench.pool.get(&waiting.id).expect("it waits");
        for input in tx.inputs() {
            assert!(bench.ledger.contains(&input.coin()) || before.contains(&input.outpoint.transaction));
        }
        before.insert(waiting.id);
    }
    let floor = bench.pool.floor(bench.now.mono);
    assert!(floor > 10_000, "{floor}");
}

/// Goal: a coinbase may be spent in the first block that allows it and not before; nobody is to blame.
/// Method: one that matures at 30, at the heights around it.
#[test]
fn immature_coins_wait_for_their_height() {
    let mut bench = Bench::new(0);
    let input = Input { matures_at: 30, ..plain(1, WORTH) };
    bench.ledger.apply(&[], &[input.coin()]).expect("a new coin");
    let tx = spend(&bench.params, &[input], &[WORTH - 1_000]);
    bench.next_height = 29;
    let Offer::Refused(refused) = bench.offer(1, &tx) else { panic!("a block too early") };
    assert_eq!(refused, PoolReject::Immature { matures_at: 30, next_height: 29 });
    assert!(!refused.blames_sender());
    bench.next_height = 30;
    assert_eq!(bench.insert(&tx), Ok(()));
}

/// Goal: nothing waits longer than three days, and what hangs on it leaves with it.
/// Method: a parent, a child that came a day later, and a stranger; time a millisecond before and at the end.
#[test]
fn what_waits_too_long_leaves_with_its_children() {
    let mut bench = Bench::new(2);
    let parent = bench.pays(0, 1_000);
    bench.insert(&parent).expect("valid");
    bench.now = at(LIFE_MS / 3);
    let (child, stranger) = (spend(&bench.params, &[made(&parent, 0)], &[900_000]), bench.pays(1, 1_000));
    bench.insert(&child).expect("valid");
    bench.insert(&stranger).expect("valid");
    bench.pool.tick(at(LIFE_MS - 1));
    assert_eq!(bench.pool.len(), 3);
    bench.pool.tick(at(LIFE_MS));
    assert_eq!(bench.pool.len(), 3, "it looks once a minute");
    bench.pool.tick(at(LIFE_MS + 60_000));
    assert_eq!(bench.pool.ids().collect::<Vec<_>>(), [stranger.id()]);
    bench.assert_accounts();
}

// --- orphans ---

/// An orphan by its number: its coin will never be.
fn lost(params: &Params, number: u64) -> ReadTx {
    spend(params, &[plain(1 << 40 | number, WORTH)], &[WORTH - 1_000])
}

/// Goal: a source has its share, a greedy crowd leaves a place for everybody else, nobody's orphan is pushed
/// out, and what a source left goes with it.
/// Method: sources that leave as many as they can; then forty more; then departures and time.
#[test]
fn orphans_are_shared_out_and_nobody_evicts_anothers() {
    let mut bench = Bench::new(0);
    let params = bench.params.clone();
    let mut number = 0;
    let mut held_by = |bench: &mut Bench, source: u64, tries: usize| {
        let mut held = 0;
        for _ in 0..tries {
            number += 1;
            held += usize::from(matches!(bench.offer(source, &lost(&params, number)), Offer::Held { .. }));
        }
        held
    };
    assert_eq!(held_by(&mut bench, 0, 100), ORPHANS_PER_SOURCE);
    let greedy: usize = (1..20).map(|source| held_by(&mut bench, source, 100)).sum();
    let honest: usize = (20..ORPHAN_SOURCES as u64).map(|source| held_by(&mut bench, source, 1)).sum();
    assert_eq!((honest, ORPHANS_PER_SOURCE + greedy + honest), (20, ORPHANS_MAX), "each finds its place");
    assert_eq!(bench.pool.orphans(), ORPHANS_MAX);
    assert_eq!(held_by(&mut bench, 99, 1), 0, "more sources than a node has peers");
    let Offer::Refused(full) = bench.offer(99, &lost(&params, 1 << 30)) else { panic!("full") };
    assert_eq!(full, PoolReject::OrphansFull { held: 64 });
    assert!(!full.blames_sender());
    assert_eq!(bench.offer(7, &lost(&params, 1)), Offer::Refused(PoolReject::Known { id: lost(&params, 1).id() }));

    bench.pool.forget_source(Source(0));
    assert_eq!((bench.pool.orphans(), bench.pool.orphans_of(Source(0))), (56, 0));
    bench.pool.tick(at(ORPHAN_LIFE_MS - 1));
    assert_eq!(bench.pool.orphans(), 56);
    bench.pool.tick(at(ORPHAN_LIFE_MS + 60_000));
    assert_eq!(bench.pool.orphans(), 0);
    assert_eq!(held_by(&mut bench, 0, 1), 1, "its place is free again");
}

/// Goal: 64 orphans with 100 inputs each on one parent are looked at one in a call, and in the end the pool
/// has what it would have had in the right order.
/// Method: the orphans from forty sources, then the parent; calls counted.
#[test]
fn orphans_of_one_parent_are_looked_at_one_by_one() {
    let mut bench = Bench::new(0);
    let rich = plain(0, WORTH * 1_000);
    bench.ledger.apply(&[], &[rich.coin()]).expect("a new coin");
    let parent = spend(&bench.params, &[rich], &[10_000; 1_000]);
    let outputs = parent.to_transaction().outputs;
    let made: Vec<Input> = (0..)
        .zip(&outputs)
        .map(|(index, output)| Input {
            outpoint: Outpoint { transaction: parent.id(), index },
            amount: output.amount,
            key: output.key,
            matures_at: 0,
        })
        .collect();
    let orphans: Vec<ReadTx> = (0..64_usize)
        .map(|n| {
            // Ten take all the coins, the others compete with them.
            let first = if n < 10 { n * 100 } else { (n * 13) % 900 };
            spend(&bench.params, &made[first..first + 100], &[900_000 - n as u64])
        })
        .collect();
    for (n, orphan) in orphans.iter().enumerate() {
        let offer = bench.offer(n as u64 % ORPHAN_SOURCES as u64, orphan);
        assert_eq!(offer, Offer::Held { parent: parent.id() }, "orphan {n}");
    }
    assert_eq!(bench.next_orphan(), None);
    bench.insert(&parent).expect("valid");
    assert!(bench.pool.orphans_ready());
    let (mut entered, mut refused) = (0, 0);
    for left in (0..64).rev() {
        match bench.next_orphan().expect("one in each call").1 {
            Offer::Ready(tx) => {
                bench.insert(&tx).expect("just matched");
                entered += 1;
            }
            Offer::Refused(PoolReject::Conflict { .. }) => refused += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.pool.orphans(), left);
    }
    assert_eq!(bench.next_orphan(), None);
    assert!(entered >= 5 && entered + refused == 64, "{entered} entered");
    bench.assert_accounts();
}

/// Goal: an orphan that lacks two parents comes in with the second, whichever that is.
#[test]
fn orphan_of_two_parents_waits_for_both() {
    for order in [[0, 1], [1, 0]] {
        let mut bench = Bench::new(2);
        let parents = [bench.pays(0, 1_000), bench.pays(1, 1_000)];
        let child = spend(&bench.params, &[made(&parents[0], 0), made(&parents[1], 0)], &[1_900_000]);
        assert_eq!(bench.offer(3, &child), Offer::Held { parent: parents[0].id() });
        bench.insert(&parents[order[0]]).expect("valid");
        if order[0] == 0 {
            let waits = Offer::Held { parent: parents[1].id() };
            assert_eq!(bench.next_orphan(), Some((Source(3), waits)));
        }
        assert_eq!(bench.next_orphan(), None);
        bench.insert(&parents[order[1]]).expect("valid");
        assert_eq!(bench.next_orphan(), Some((Source(3), Offer::Ready(child.clone()))));
        assert_eq!(bench.pool.orphans(), 0);
    }
}

// --- packing ---

/// Goal: a rich child brings its poor parent into the block, before it; a full block of the pool's keeps
/// every rule and pays more than the best transactions one by one.
/// Method: more than a block of middling ones, and families of a poor parent and a rich child.
#[test]
fn packages_beat_single_fees() {
    let mut bench = Bench::new(6_000);
    for number in 0..5_000 {
        let tx = bench.pays(number, fee_at(5_000, 1, 1));
        bench.insert(&tx).expect("valid");
    }
    let mut families = Vec::new();
    for number in 5_000..5_100 {
        let parent = bench.pays(number, fee_at(1_000, 1, 1));
        let child = spend(&bench.params, &[made(&parent, 0)], &[WORTH - 50_000]);
        bench.insert(&parent).expect("valid");
        bench.insert(&child).expect("valid");
        families.push((parent.id(), child.id()));
    }
    let (block, fees) = bench.block_of_pool();
    let places: BTreeMap<Hash, usize> = block.transfers.iter().map(Transaction::id).zip(0..).collect();
    for (parent, child) in families {
        assert!(places[&parent] < places[&child]);
    }
    // By single fee rates children come first and are invalid, so only the middling ones are left.
    let room = (BLOCK_BYTES_MAX - 184) / 227;
    let naive = fee_at(5_000, 1, 1) * room as u64;
    assert!(fees > naive + 90 * 40_000, "{fees} against {naive}");
    let size_bytes = block.to_bytes().len();
    assert!(BLOCK_BYTES_MAX - size_bytes < 227, "{size_bytes}: no room is left");
}

/// Goal: the block of a full pool keeps the limits on inputs and on outputs too.
/// Method: a pool of many inputs, one of many outputs, one of small ones; each block read as a peer would.
#[test]
fn blocks_of_full_pools_are_valid() {
    for (inputs, outputs) in [(100, 1), (1, 200), (1, 1)] {
        let mut bench = Bench::new(0);
        let mut number = 0;
        while bench.pool.floor(bench.now.mono) == FEE_RATE_MIN {
            let coins: Vec<Input> = (0..inputs).map(|n| plain(number * 1_000 + n, WORTH)).collect();
            let ids: Vec<CoinId> = coins.iter().map(Input::coin).collect();
            bench.ledger.apply(&[], &ids).expect("new coins");
            let tx = spend(&bench.params, &coins, &vec![WORTH / 250; outputs]);
            let _ = bench.insert(&tx);
            number += 1;
        }
        let (block, _) = bench.block_of_pool();
        let inputs: usize = block.transfers.iter().map(|transfer| transfer.inputs.len()).sum();
        let outputs: usize = block.transfers.iter().map(|transfer| transfer.outputs.len()).sum();
        assert!(inputs <= BLOCK_INPUTS_MAX && outputs <= BLOCK_OUTPUTS_MAX);
        assert!(block.transfers.len() > 39, "{}", block.transfers.len());
    }
}

/// Goal: what a new selection would gain is known without making it.
/// Method: the mark of a selection; then fees that enter, in a pool that fits a block and in one that does not.
#[test]
fn the_gain_of_a_new_selection_is_known() {
    let mut bench = Bench::new(6_000);
    let mark = bench.pool.pack().mark;
    let tx = bench.pays(0, 1_234);
    bench.insert(&tx).expect("valid");
    assert_eq!(bench.pool.gain_since(&mark), 1_234);
    assert_eq!(bench.pool.gain_since(&bench.pool.pack().mark), 0);
    for number in 1..5_000 {
        let tx = bench.pays(number, 5_000);
        bench.insert(&tx).expect("valid");
    }
    let mark = bench.pool.pack().mark;
    let (poor, rich) = (bench.pays(5_000, 300), bench.pays(5_001, 7_000));
    bench.insert(&poor).expect("valid");
    assert_eq!(bench.pool.gain_since(&mark), 0, "it finds no room");
    bench.insert(&rich).expect("valid");
    assert_eq!(bench.pool.gain_since(&mark), 7_000);
}

/// Goal: a block from pooled parts is refused as one from bytes is, and the root comes before every rule of
/// the body. Method: one valid assembly, then one thing changed at a time.
#[test]
fn assembling_keeps_every_rule_of_a_block() {
    let bench = Bench::new(4);
    let params = &bench.params;
    let parent = Position { height: 19, ..Position::genesis(params) };
    let tx = |n: u64, matures_at| {
        let input = Input { matures_at, ..plain(n, WORTH) };
        spend(params, &[input], &[WORTH - 1_000]).trusted()
    };
    let verdict = |transfers: &[&CheckedTx], change: &dyn Fn(&mut Block)| {
        let mut block = Template::new(params, &parent, &KEY.into(), transfers).to_block();
        change(&mut block);
        let block = sealed(block);
        let header = CheckedHeader::check(block.header).expect("difficulty 1");
        let assembled = CheckedBlock::assemble(params, header, &block.coinbase, transfers);
        let read = ReadBlock::read(params, block.to_bytes()).map(ReadBlock::trusted);
        assert_eq!(assembled, read, "one verdict");
        assembled.map(|block| block.transactions().len())
    };
    let (one, two, young) = (tx(0, 0), tx(1, 0), tx(2, 21));
    assert_eq!(verdict(&[&one, &two], &|_| {}), Ok(3));
    assert_eq!(verdict(&[], &|_| {}), Ok(1));
    let immature = verdict(&[&one, &young], &|_| {}).expect_err("a block too early");
    assert!(matches!(immature, Reject::Immature { matures_at: 21, height: 20, .. }));
    let twice = verdict(&[&one, &one], &|_| {}).expect_err("one coin twice");
    assert!(matches!(twice, Reject::DuplicateInput { .. }));
    let greedy = verdict(&[&one], &|block| block.coinbase.output.amount += 1).expect_err("a unit too many");
    assert!(matches!(greedy, Reject::CoinbaseAmount { .. }));
    let late = verdict(&[&one], &|block| block.coinbase.height = 21).expect_err("another height");
    assert!(matches!(late, Reject::CoinbaseHeight { .. }));
    let newer = verdict(&[&one], &|block| block.header.version = 2).expect_err("rules that we do not know");
    assert_eq!(newer, Reject::NeedsRules { rules: 2 });

    let block = sealed(Template::new(params, &parent, &KEY.into(), &[&one, &two]).to_block());
    let header = CheckedHeader::check(block.header).expect("difficulty 1");
    for other in [vec![&one], vec![&two, &one], vec![&one, &young], vec![&one, &one]] {
        let refused = CheckedBlock::assemble(params, header, &block.coinbase, &other);
        assert!(matches!(refused, Err(Reject::MerkleRoot { .. })), "{refused:?}");
    }
}

// --- the file ---

/// Goal: what waited still waits after a restart, with the time of its arrival; a file that is damaged
/// anywhere, cut, of another network or newer is ignored, with the reason.
/// Method: a family and a stranger saved and loaded; then every byte altered and every length cut.
#[test]
fn saved_pool_returns_and_a_damaged_file_is_ignored() {
    let mut bench = Bench::new(3);
    let parent = bench.pays(0, 1_000);
    let child = spend(&bench.params, &[made(&parent, 0)], &[900_000]);
    for (n, tx) in [&parent, &child, &bench.pays(1, 2_000)].into_iter().enumerate() {
        bench.now = at(1_000 * n as u64);
        bench.insert(tx).expect("valid");
    }
    let before = bench.pool.snapshot();
    let bytes = bench.pool.to_file(&bench.params, std::iter::empty(), bench.now.wall);
    let saved = read_file(&bench.params, &bytes).expect("as it was written");
    bench.pool = Mempool::new([8; 16]);
    for entry in saved {
        let ground = Ground { ledger: &bench.ledger, next_height: 20, now: at(9_000) };
        bench.pool.insert(entry.tx.trusted(), entry.arrived, &ground).expect("still valid");
    }
    assert_eq!(bench.pool.snapshot(), before);
    assert_eq!(bench.pool.to_file(&bench.params, std::iter::empty(), bench.now.wall), bytes);

    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x41;
        assert!(matches!(read_file(&bench.params, &damaged), Err(FileError::Damaged(_))), "byte {place}");
        assert!(matches!(read_file(&bench.params, &bytes[..place]), Err(FileError::Damaged(_))), "cut at {place}");
    }
    let genesis = bench.params.genesis_id();
    assert_eq!(read_file(&Params::local(), &bytes), Err(FileError::Network { genesis }));
    let mut newer = bytes[..bytes.len() - 4].to_vec();
    newer[4] = 2;
    newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
    assert_eq!(read_file(&bench.params, &newer), Err(FileError::Version { version: 2 }));
}

// --- blocks come and go ---

/// A chain in memory, a pool that follows it, and the naive idea of what the pool should hold.
struct World {
    params: Params,
    /// From block 1 up; each with the position of its parent.
    chain: Vec<(Position, CheckedBlock)>,
    position: Position,
    ledger: Ledger,
    /// All unspent coins: what the ledger knows only by id.
    coins: BTreeMap<CoinId, Input>,
    pool: Mempool,
    naive: Vec<CheckedTx>,
    rng: Rng,
    made: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let params = regtest_with(|spec| spec.maturity = 3);
        let mut world = Self {
            chain: Vec::new(),
            position: Position::genesis(&params),
            ledger: Ledger::default(),
            coins: BTreeMap::new(),
            pool: Mempool::new([1; 16]),
            naive: Vec::new(),
            rng: Rng::new(seed),
            made: 0,
            params,
        };
        for _ in 0..6 {
            world.mine(&[]);
        }
        let rich = world.spendable();
        let split: Vec<CheckedTx> = rich.iter().map(|coin| world.spend_into(&[*coin], 8)).collect();
        world.mine(&split.iter().collect::<Vec<_>>());
        world
    }

    fn next_height(&self) -> u64 {
        self.position.height + 1
    }

    fn spendable(&self) -> Vec<Input> {
        let next = self.next_height();
        self.coins.values().filter(|coin| coin.matures_at <= next).copied().collect()
    }

    /// Equal parts, and a fee that differs each time, so that no two transactions are the same.
    fn spend_into(&mut self, inputs: &[Input], outputs: u64) -> CheckedTx {
        self.made += 1;
        let sum: u64 = inputs.iter().map(|input| input.amount).sum();
        let each = (sum - 100_000 - self.made) / outputs;
        let first = sum - 100_000 - self.made - each * (outputs - 1);
        let amounts: Vec<u64> = std::iter::once(first).chain((1..outputs).map(|_| each)).collect();
        spend(&self.params, inputs, &amounts).trusted()
    }

    /// A block of these on the tip, whose key differs each time; connected.
    fn mine(&mut self, transfers: &[&CheckedTx]) {
        self.made += 1;
        let mut key = [3; 32];
        key[..8].copy_from_slice(&self.made.to_le_bytes());
        let block = sealed(Template::new(&self.params, &self.position, &Key(key).into(), transfers).to_block());
        let block = ReadBlock::read(&self.params, block.to_bytes()).expect("it keeps every rule").trusted();
        self.connect(block);
    }

    fn connect(&mut self, block: CheckedBlock) {
        self.ledger.apply(block.spent(), block.created()).expect("its coins are there");
        let body: Block = codec::decode(block.bytes()).expect("a block");
        for transfer in &body.transfers {
            for input in &transfer.inputs {
                self.coins.remove(&input.coin()).expect("it was unspent");
            }
            self.add_coins(transfer.id(), &transfer.outputs, 0);
        }
        self.add_coins(body.coinbase.id(), &[body.coinbase.output], body.header.height + self.params.spec().maturity);
        let child = self.position.child(&self.params, &block.checked_header(), Wall(u64::MAX)).expect("in its place");
        self.pool.on_block_connected(&block);
        self.chain.push((self.position, block));
        self.position = child;
        let sum: u128 = self.coins.values().map(|coin| u128::from(coin.amount)).sum();
        assert_eq!(sum, self.params.supply(self.position.height), "supply is a function of height");
        assert_eq!(self.coins.len(), self.ledger.len());
        assert!(self.coins.keys().all(|coin| self.ledger.contains(coin)));
    }

    fn add_coins(&mut self, transaction: Hash, outputs: &[Output], matures_at: u64) {
        for (index, output) in (0..).zip(outputs) {
            let outpoint = Outpoint { transaction, index };
            let coin = Input { outpoint, amount: output.amount, key: output.key, matures_at };
            self.coins.insert(coin.coin(), coin);
        }
    }

    fn undo(&mut self) -> CheckedBlock {
        let (parent, block) = self.chain.pop().expect("a block");
        self.ledger.undo(block.spent(), block.created());
        let body: Block = codec::decode(block.bytes()).expect("a block");
        let mut back = Vec::new();
        for transfer in &body.transfers {
            back.extend(transfer.inputs.iter().copied());
        }
        for coin in back {
            self.coins.insert(coin.coin(), coin);
        }
        let ledger = &self.ledger;
        self.coins.retain(|coin, _| ledger.contains(coin));
        assert_eq!(self.coins.len(), self.ledger.len());
        self.position = parent;
        self.pool.on_block_undone(&block);
        block
    }

    fn transfers(&self, block: &CheckedBlock) -> Vec<CheckedTx> {
        let body: Block = codec::decode(block.bytes()).expect("a block");
        let bytes = body.transfers.iter().map(codec::encode);
        bytes.map(|bytes| ReadTx::read(&self.params, &bytes).expect("it was read before").trusted()).collect()
    }

    // --- the naive pool ---

    /// Whether this one may follow those, by looking at all of them.
    fn naive_allows(&self, pool: &[CheckedTx], tx: &CheckedTx) -> bool {
        let all = || pool.iter();
        if all().any(|other| other.spent().iter().any(|coin| tx.spent().contains(coin))) {
            return false;
        }
        let there = |coin: &CoinId| self.ledger.contains(coin) || all().any(|other| other.created().contains(coin));
        if !tx.spent().iter().all(there) || tx.matures_at() > self.next_height() {
            return false;
        }
        let mut with = pool.to_vec();
        with.push(tx.clone());
        let ancestors = |of: &CheckedTx| {
            let mut found = vec![of.clone()];
            let mut looked = 0;
            while looked < found.len() {
                for other in &with {
                    let parent = other.created().iter().any(|coin| found[looked].spent().contains(coin));
                    if parent && !found.contains(other) {
                        found.push(other.clone());
                    }
                }
                looked += 1;
            }
            found
        };
        let rows: Vec<Vec<CheckedTx>> = with.iter().map(ancestors).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = with.iter().map(|tx| rows.iter().filter(|row| row.contains(tx)).count()).max().unwrap_or(0);
        longest <= CHAIN_MAX && widest <= CHAIN_MAX
    }

    /// What a pool holds that is given these in this order, from nothing.
    fn recomputed(&self, order: Vec<CheckedTx>) -> Vec<CheckedTx> {
        let mut pool: Vec<CheckedTx> = Vec::new();
        for tx in order {
            if self.naive_allows(&pool, &tx) {
                pool.push(tx);
            }
        }
        pool
    }

    fn settle(&mut self) {
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: at(0) };
        while !self.pool.is_settled() {
            self.pool.readmit(&self.params, &ground, READMIT_BYTES);
        }
    }

    /// Compares, and takes over the order of entry: those that a reorganisation let stay entered earlier.
    fn assert_equal(&mut self, seed: u64, step: usize) {
        let ours: BTreeSet<Hash> = self.pool.ids().collect();
        let naive: BTreeSet<Hash> = self.naive.iter().map(|tx| tx.id()).collect();
        assert_eq!(ours, naive, "seed {seed}, step {step}");
        let sum: usize = self.naive.iter().map(memory_bytes).sum();
        assert_eq!(self.pool.used_bytes(), sum, "seed {seed}, step {step}");
        let snapshot = self.pool.snapshot();
        let places: BTreeMap<Hash, usize> = snapshot.iter().map(|waiting| waiting.id).zip(0..).collect();
        self.naive.sort_by_key(|tx| places[&tx.id()]);
        for waiting in snapshot {
            let tx = self.pool.get(&waiting.id).expect("it waits");
            assert_eq!((waiting.fee, waiting.size_bytes), (tx.fee(), tx.bytes().len()));
        }
    }

    // --- what happens ---

    /// Somebody pays somebody: with coins of the ledger, of the pool, or with some that are spent.
    fn random_tx(&mut self) -> CheckedTx {
        let mut coins: Vec<Input> = self.coins.values().copied().collect();
        for tx in &self.naive {
            let transaction = tx.to_transaction();
            // Three times as likely: rows grow long.
            for (index, output) in (0..).zip(&transaction.outputs) {
                let outpoint = Outpoint { transaction: tx.id(), index };
                coins.extend([Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 }; 3]);
            }
        }
        coins.retain(|coin| coin.amount > 10_000_000);
        let mut inputs: Vec<Input> = Vec::new();
        for _ in 0..=self.rng.below(3) {
            let coin = coins[self.rng.below(coins.len())];
            if inputs.iter().all(|input| input.outpoint != coin.outpoint) {
                inputs.push(coin);
            }
        }
        let outputs = 1 + self.rng.below(3) as u64;
        self.spend_into(&inputs, outputs)
    }

    fn receive(&mut self, seed: u64) {
        let tx = self.random_tx();
        let allowed = self.naive_allows(&self.naive, &tx);
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: at(0) };
        let verdict = self.pool.insert(tx.clone(), Wall(START_MS), &ground);
        assert_eq!(verdict.is_ok(), allowed, "seed {seed}: {verdict:?}");
        if allowed {
            self.naive.push(tx);
        }
    }

    /// A block of the pool's best, of some that wait, or of strangers that conflict with it.
    fn mine_something(&mut self) {
        let mut chosen: Vec<CheckedTx> = match self.rng.below(4) {
            0 => self.pool.pack().transfers.into_iter().cloned().collect(),
            1 => Vec::new(),
            _ => {
                let all = self.naive.clone();
                all.into_iter().filter(|_| self.rng.below(2) == 0).collect()
            }
        };
        for _ in 0..self.rng.below(4) {
            let stranger = self.random_tx();
            let place = self.rng.below(chosen.len() + 1);
            chosen.insert(place, stranger);
        }
        // Only what may stand in a block, in this order; no limit of rows there.
        let mut there: BTreeSet<CoinId> = self.coins.keys().copied().collect();
        let height = self.next_height();
        chosen.retain(|tx| {
            let may = tx.matures_at() <= height && tx.spent().iter().all(|coin| there.contains(coin));
            if may {
                for coin in tx.spent() {
                    there.remove(coin);
                }
                there.extend(tx.created());
            }
            may
        });
        self.mine(&chosen.iter().collect::<Vec<_>>());
    }

    /// Blocks back and others in their place, now and then once more before all has returned; what the
    /// pool should hold then.
    fn reorganise(&mut self) {
        let mut order = self.naive.clone();
        loop {
            let (back, forth) = (1 + self.rng.below(4.min(self.chain.len() - 6)), self.rng.below(6));
            for _ in 0..back {
                let block = self.undo();
                order.splice(0..0, self.transfers(&block));
            }
            for _ in 0..forth {
                self.mine_something();
            }
            if self.chain.len() < 10 || self.rng.below(3) > 0 {
                break;
            }
            let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: at(0) };
            // At least one: else what follows would be the same walk.
            for _ in 0..=self.rng.below(20) {
                self.pool.readmit(&self.params, &ground, 1);
            }
            // What was refused on this tip is gone; nothing else is.
            let bytes = self.pool.to_file(&self.params, std::iter::empty(), Wall(0));
            let saved = read_file(&self.params, &bytes).expect("as it was written");
            let left: BTreeSet<Hash> = saved.iter().map(|saved| saved.tx.id()).collect();
            assert!(self.recomputed(order.clone()).iter().all(|tx| left.contains(&tx.id())));
            // Those that are in go before those that are still to return.
            order = saved.into_iter().map(|saved| saved.tx.trusted()).collect();
        }
        self.settle();
        self.naive = self.recomputed(order);
    }
}

/// How many random stories are told: `SEEDS=10000` for more.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

/// Goal: after any walk of the chain the pool holds what a pool built from nothing would: first what the
/// undone blocks held, in their order, then everybody else in the order of arrival, each if it may. Supply
/// equals emission after every block.
/// Method: random payments (conflicting, long rows, unknown coins), blocks of the pool and of strangers, and
/// reorganisations to longer, equal and shorter branches, against a list and loops; accounting too.
#[test]
fn pool_equals_a_recomputation_from_scratch() {
    let (mut returned, mut longest) = (0, 0);
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        for step in 0..60 {
            match world.rng.below(12) {
                0 | 1 => {
                    world.mine_something();
                    let order = std::mem::take(&mut world.naive);
                    world.naive = world.recomputed(order);
                }
                2 if world.chain.len() > 10 => {
                    let before = world.pool.len();
                    world.reorganise();
                    returned += world.pool.len().saturating_sub(before);
                }
                _ => (0..4).for_each(|_| world.receive(seed)),
            }
            world.assert_equal(seed, step);
            longest = longest.max(world.pool.snapshot().iter().map(|waiting| waiting.ancestors).max().unwrap_or(0));
        }
    }
    assert!(returned > 100 && longest == CHAIN_MAX - 1, "{returned} returned, {longest} in a row");
}

/// Goal: a branch that fails half-way and is left again costs the pool nothing that the old one allows.
/// Method: blocks undone, others applied and undone, the old ones applied again; all that waited must wait.
#[test]
fn a_walk_that_turns_back_restores_the_pool() {
    let mut world = World::new(5);
    for _ in 0..3 {
        (0..10).for_each(|_| world.receive(5));
        let best: Vec<CheckedTx> = world.pool.pack().transfers.into_iter().take(6).cloned().collect();
        world.mine(&best.iter().collect::<Vec<_>>());
        let order = std::mem::take(&mut world.naive);
        world.naive = world.recomputed(order);
    }
    (0..20).for_each(|_| world.receive(5));
    let before: BTreeSet<Hash> = world.pool.ids().collect();
    assert!(before.len() > 5);
    let mut old: Vec<CheckedBlock> = (0..3).map(|_| world.undo()).collect();
    assert!(!world.pool.is_settled());
    let early = world.transfers(&old[2]).remove(0);
    let ground = Ground { ledger: &world.ledger, next_height: world.position.height + 1, now: at(0) };
    let refused = world.pool.insert(early, Wall(0), &ground);
    assert_eq!(refused, Err(PoolReject::Reorganising), "nobody slips in before those that return");
    world.mine(&[]);
    world.mine(&[]);
    world.undo();
    world.undo();
    while let Some(block) = old.pop() {
        world.connect(block);
    }
    assert!(!world.pool.orphans_ready());
    world.settle();
    assert_eq!(world.pool.ids().collect::<BTreeSet<_>>(), before);
}

/// Goal: what stops in the middle of a return is saved with the rest.
#[test]
fn returning_transactions_are_saved_too() {
    let mut world = World::new(9);
    (0..12).for_each(|_| world.receive(9));
    let all: Vec<CheckedTx> = world.pool.pack().transfers.into_iter().cloned().collect();
    assert!(all.len() > 3);
    world.mine(&all.iter().take(2).collect::<Vec<_>>());
    world.undo();
    let bytes = world.pool.to_file(&world.params, std::iter::empty(), Wall(START_MS));
    let saved = read_file(&world.params, &bytes).expect("as it was written");
    world.pool = Mempool::new([2; 16]);
    let ground = Ground { ledger: &world.ledger, next_height: world.position.height + 1, now: at(0) };
    for entry in saved {
        let _ = world.pool.insert(entry.tx.trusted(), entry.arrived, &ground);
    }
    assert_eq!(world.pool.len(), all.len());
}

/// Goal: a deep reorganisation returns its transactions in slices, not in one turn.
/// Method: blocks of 1,000 payments each, undone; the calls counted, and all of them back in the end.
#[test]
fn returning_is_sliced() {
    let mut world = World::new(1);
    let coins = world.spendable();
    let split: Vec<CheckedTx> = coins.iter().take(12).map(|coin| world.spend_into(&[*coin], 1_000)).collect();
    world.mine(&split.iter().collect::<Vec<_>>()[..6]);
    world.mine(&split.iter().collect::<Vec<_>>()[6..]);
    let coins = world.spendable();
    let payments: Vec<CheckedTx> = coins.iter().take(4_000).map(|coin| world.spend_into(&[*coin], 1)).collect();
    for block in payments.chunks(1_000) {
        world.mine(&block.iter().collect::<Vec<_>>());
    }
    for _ in 0..payments.chunks(1_000).len() {
        world.undo();
    }
    let ground = Ground { ledger: &world.ledger, next_height: world.position.height + 1, now: at(0) };
    let mut calls = 0;
    while !world.pool.is_settled() {
        world.pool.readmit(&world.params, &ground, READMIT_BYTES);
        calls += 1;
    }
    assert_eq!(world.pool.len(), payments.len());
    assert!(calls >= payments.len() * 227 / READMIT_BYTES, "{calls} calls");
}
