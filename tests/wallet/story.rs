//! Three people, a chain that is reorganised again and again, and a pool of what waits: each wallet is
//! compared with a fresh one, with the ledger, and with what the pool still could have mined.

use std::collections::{BTreeMap, BTreeSet};

use spindle::blockchain::block::Header;
use spindle::blockchain::params::COIN;
use spindle::blockchain::transaction::{Outpoint, Transaction};
use spindle::primitives::codec::encode;
use spindle::primitives::hash::Hash;
use spindle::wallet::scan::{self, Seen, SeenBlock};
use spindle::wallet::send::{FEE_RATE_MIN, Plan};
use spindle::wallet::state::{Balance, Record, State};

use crate::world::{Person, World, block_of, start};

/// A generator that is good enough for stories (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.roll(count as u64)).expect("below a usize")
    }
}

/// A block on the active chain, and what each person sees of it.
struct Link {
    header: Header,
    seen: Vec<SeenBlock>,
    transfers: Vec<Transaction>,
}

/// So many reorganisations, each followed by a recomputation.
pub(crate) fn tell(seed: u64, reorganisations: u64) {
    let mut dice = Dice(seed);
    let world = World::new();
    let mut people: Vec<Person> = (1..=3).map(|byte| Person::from_entropy(&world, byte)).collect();
    let mut chain: Vec<Link> = Vec::new();
    let mut pool: Vec<Transaction> = Vec::new();
    let mut tally = Tally::default();
    for _ in 0..30 {
        extend(&mut dice, &world, &mut people, &mut chain, &mut pool);
    }
    for n in 0..reorganisations {
        let deepest = match dice.roll(100) {
            0..3 => 130,
            3..13 => 25,
            _ => 5,
        };
        let depth = (1 + dice.pick(deepest)).min(chain.len() - 20);
        tally.deep += u32::from(depth > 100);
        // Mostly longer, sometimes not: a chain of more difficult blocks may be shorter.
        let fresh = if chain.len() > 160 { depth - 1 } else { depth + dice.pick(3) };
        let cut = chain.len() - depth;
        let when = format!("seed {seed}, reorganisation {n}");
        let known: Vec<BTreeSet<Hash>> = people.iter().map(known).collect();
        // Marks are fewer, the further back: one below is as good, and what lies between is looked at again.
        let marked = people[0].state.marks().map(|mark| mark.height).find(|&height| height <= cut as u64);
        let marked = usize::try_from(marked.expect("genesis is one")).expect("a short chain");
        for (n, person) in people.iter_mut().enumerate() {
            person.through_file();
            assert!(person.state.roll_back(marked as u64), "{when}: no mark at {marked}");
            for link in &chain[marked..cut] {
                person.state.apply(&link.seen[n]).expect("in order");
            }
        }
        let undone: Vec<Transaction> = chain.drain(cut..).flat_map(|link| link.transfers).collect();
        pool.splice(0..0, undone);
        // Somebody pays on another branch with the same coins: what waited is displaced when that is mined.
        if dice.roll(3) == 0 {
            tally.double_spends += u32::from(double_spend(&mut dice, &world, &mut people, &mut pool));
        }
        for _ in 0..fresh {
            extend(&mut dice, &world, &mut people, &mut chain, &mut pool);
        }
        tally.given_up += prune(&world, &chain, &mut pool);
        let in_pool: BTreeSet<Hash> = pool.iter().map(Transaction::id).collect();
        for (person, known) in people.iter_mut().zip(known) {
            person.state.keep_waiting(|id| in_pool.contains(id));
            let coinbases = person.state.records().filter(|record| record.coinbase && record.place.is_none());
            assert_eq!(coinbases.count(), 0, "{when}: a coinbase waits");
            // A payment of what somebody else cannot pay any more: its sender is told by the node, and gives it up.
            let refused: Vec<Hash> = person.state.to_offer().map(Transaction::id).collect();
            for id in refused.iter().filter(|id| !in_pool.contains(id)) {
                person.state.forget(id);
                tally.refused += 1;
            }
            person.state.keep_waiting(|id| in_pool.contains(id));
            let waiting = person.state.records().filter(|record| record.place.is_none());
            let waiting: BTreeSet<Hash> = waiting.map(|record| record.id).collect();
            assert!(waiting.is_subset(&in_pool), "{when}: something waits that can never be mined");
            let lost: Vec<&Hash> = known.intersection(&in_pool).filter(|id| !waiting.contains(id)).collect();
            assert!(lost.is_empty(), "{when}: {lost:?} could be mined and are forgotten");
            tally.waiting += waiting.len();
        }
        check(&world, &people, &chain, &when);
    }
    println!("{tally:?}");
    assert!(tally.deep > 3, "deeper than 100 blocks");
    assert!(tally.double_spends > 50 && tally.given_up > 50 && tally.waiting > 1_000, "a story that is worth telling");
}

/// What has happened, so that a story in which nothing does is not taken for a test.
#[derive(Debug, Default)]
struct Tally {
    double_spends: u32,
    given_up: usize,
    waiting: usize,
    deep: u32,
    refused: u32,
}

/// The transfers that a person knows of.
fn known(person: &Person) -> BTreeSet<Hash> {
    person.state.records().filter(|record| !record.coinbase).map(|record| record.id).collect()
}

/// Drops what can never be mined on this chain, as a node does: its coins are spent, or were never made.
fn prune(world: &World, chain: &[Link], pool: &mut Vec<Transaction>) -> usize {
    let (coins, before) = (ledger(world, chain), pool.len());
    loop {
        let ids: BTreeSet<Hash> = pool.iter().map(Transaction::id).collect();
        let length = pool.len();
        pool.retain(|transaction| {
            let mut spends = transaction.inputs.iter().map(|input| &input.outpoint);
            spends.all(|outpoint| coins.contains_key(outpoint) || ids.contains(&outpoint.transaction))
        });
        if pool.len() == length {
            return before - length;
        }
    }
}

/// One more block: some of what waits is mined, and somebody may pay somebody.
fn extend(dice: &mut Dice, world: &World, people: &mut [Person], chain: &mut Vec<Link>, pool: &mut Vec<Transaction>) {
    for _ in 0..dice.roll(3) {
        let (from, to) = (dice.pick(people.len()), dice.pick(people.len()));
        let address = people[to].address;
        let amount = COIN / 100 + dice.roll(8 * COIN);
        if let Some(paid) = people[from].try_pay(world, &address, amount, "", FEE_RATE_MIN + dice.roll(5_000)) {
            for person in people.iter_mut() {
                // Two branches may spend one coin; then the first that was seen stays.
                let _ = person.see(&paid);
            }
            pool.push(paid);
        }
    }
    // What waits too long is dropped by the nodes, and its sender gives it up.
    let excess = pool.len().saturating_sub(20);
    for old in pool.drain(..excess) {
        for person in people.iter_mut() {
            person.state.forget(&old.id());
        }
    }
    let parent = chain.last().map_or(*world.params.genesis(), |link| link.header);
    let transfers = mineable(dice, world, chain, pool);
    let payout = people[dice.pick(people.len())].payout();
    let block = block_of(&world.params, parent, &payout, transfers.clone());
    let bytes = block.to_bytes();
    let look = |person: &mut Person| {
        let seen = scan::block(person.keys.view(), &world.params, &bytes).expect("a sound block");
        person.state.apply(&seen).expect("the next one");
        seen
    };
    chain.push(Link { header: block.header, seen: people.iter_mut().map(look).collect(), transfers });
}

/// Takes from the pool what this chain can mine; what it never can is dropped.
fn mineable(dice: &mut Dice, world: &World, chain: &[Link], pool: &mut Vec<Transaction>) -> Vec<Transaction> {
    let mut coins = ledger(world, chain);
    let height = chain.len() as u64 + 1;
    let mut mined = Vec::new();
    pool.retain(|transaction| {
        let spends: Vec<_> = transaction.inputs.iter().map(|input| input.outpoint).collect();
        let mature = transaction.inputs.iter().all(|input| input.matures_at <= height);
        if !spends.iter().all(|outpoint| coins.contains_key(outpoint)) {
            // A parent may follow; a coin that is spent or undone does not come back on this branch.
            return true;
        }
        if !mature || dice.roll(4) == 0 {
            return true;
        }
        for outpoint in &spends {
            coins.remove(outpoint);
        }
        for (index, output) in (0..).zip(&transaction.outputs) {
            coins.insert(Outpoint { transaction: transaction.id(), index }, output.amount);
        }
        mined.push(transaction.clone());
        false
    });
    mined
}

/// The unspent outputs of a chain, whoever owns them: made from the blocks, with no wallet.
fn ledger(world: &World, chain: &[Link]) -> BTreeMap<Outpoint, u64> {
    let mut coins = BTreeMap::new();
    for link in chain {
        let fees: u64 =
            link.transfers.iter().map(|tx| tx.check(encode(tx).len(), link.header.height).expect("it was mined")).sum();
        let coinbase = link.seen[0].transactions[0].id;
        let reward = world.params.reward(link.header.height) + fees;
        coins.insert(Outpoint { transaction: coinbase, index: 0 }, reward);
        for transaction in &link.transfers {
            for input in &transaction.inputs {
                assert!(coins.remove(&input.outpoint).is_some(), "parents first, each coin once");
            }
            let id = transaction.id();
            let made = (0..).zip(&transaction.outputs);
            coins.extend(made.map(|(index, output)| (Outpoint { transaction: id, index }, output.amount)));
        }
    }
    coins
}

/// Somebody spends again what a waiting payment of his spends, from a second copy of the wallet.
fn double_spend(dice: &mut Dice, world: &World, people: &mut [Person], pool: &mut Vec<Transaction>) -> bool {
    let from = dice.pick(people.len());
    let waiting: Vec<&Transaction> = people[from].state.to_offer().collect();
    let Some(first) = waiting.get(dice.pick(waiting.len().max(1))) else { return false };
    let coins: Vec<_> =
        first.inputs.iter().filter_map(|input| people[from].state.coin(&input.outpoint)).copied().collect();
    let total: u64 = coins.iter().map(|coin| coin.input.amount).sum();
    let (amount, fee, id) = (total / 3, 50_000, first.id());
    let plan = Plan {
        address: people[dice.pick(3)].address,
        amount,
        fee,
        change: total - amount - fee,
        coins,
        note: String::new(),
    };
    let mut copy = Person::new(world, &people[from].words);
    copy.state = people[from].state.clone();
    copy.state.forget(&id);
    // First in the pool: it may well be mined before the other.
    pool.insert(0, copy.make(world, &plan));
    true
}

/// Each wallet against a fresh one that looks at the same chain, and all of them against the ledger.
fn check(world: &World, people: &[Person], chain: &[Link], when: &str) {
    let unspent = ledger(world, chain);
    let mut total = 0;
    for (n, person) in people.iter().enumerate() {
        let mut fresh = State::new(start(&world.params));
        for link in chain {
            fresh.apply(&link.seen[n]).expect("in order");
        }
        for coin in fresh.unspent() {
            assert_eq!(unspent.get(&coin.input.outpoint), Some(&coin.input.amount), "{when}, person {n}");
            total += u128::from(coin.input.amount);
        }
        let waiting: Vec<_> = person.state.records().filter(|record| record.place.is_none()).collect();
        for record in &waiting {
            assert!(!record.coinbase && fresh.record(&record.id).is_none(), "{when}, person {n}: it cannot wait");
        }
        // Shown in any order: what spends a waiting coin concerns a wallet only once it knows that coin.
        let mut known = 0;
        while known < waiting.len() {
            let show = |record: &&&Record| fresh_see(&mut fresh, record);
            let now = waiting.iter().filter(show).count();
            assert!(now > known, "{when}, person {n}: what waits concerns this wallet");
            known = now;
        }
        assert_eq!(person.state.balance(), fresh.balance(), "{when}, person {n}");
        assert!(person.state.unspent().eq(fresh.unspent()), "{when}, person {n}");
        let Balance { confirmed, .. } = person.state.balance();
        let spendable = fresh.unspent().filter(|coin| fresh.place_of(coin).is_some() && fresh.matures_in(coin) == 0);
        assert_eq!(confirmed, spendable.map(|coin| coin.input.amount).sum::<u64>(), "{when}, person {n}");
    }
    assert_eq!(total, world.params.supply(chain.len() as u64), "{when}: all coins have an owner");
}

/// Shows a waiting transaction to a wallet; says whether that knows it now.
fn fresh_see(fresh: &mut State, record: &Record) -> bool {
    let (inputs, received) = (record.inputs.to_vec(), record.received.to_vec());
    let seen = Seen { id: record.id, coinbase: false, inputs, received, fee: record.fee, note: None };
    fresh.see(&seen, 0).expect("what waits has no conflict with the chain or with itself")
}
