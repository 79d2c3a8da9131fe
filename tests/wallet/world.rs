//! A small world for wallets: blocks made by hand, people who mine and pay.

use spindle::blockchain::block::{Block, Header, ReadBlock};
use spindle::blockchain::params::{COIN, Params};
use spindle::blockchain::payout::Payout;
use spindle::blockchain::transaction::Transaction;
use spindle::primitives::codec::{List, encode};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Verifier;
use spindle::primitives::stealth::Address;
use spindle::wallet::keys::{SpendKeys, ViewKeys};
use spindle::wallet::scan::{self, SeenBlock};
use spindle::wallet::send::{self, FEE_RATE_MIN, Request};
use spindle::wallet::state::{Balance, Conflict, Mark, Sent, State};
use spindle::wallet::words;

/// A chain of blocks that keep every rule.
pub(crate) struct World {
    pub(crate) params: Params,
    /// From height 1.
    pub(crate) blocks: Vec<Vec<u8>>,
    header: Header,
}

impl World {
    pub(crate) fn new() -> Self {
        let params = Params::regtest();
        Self { header: *params.genesis(), params, blocks: Vec::new() }
    }

    /// A block mined by one of these people, which all of them see.
    pub(crate) fn mine(&mut self, people: &mut [&mut Person], miner: usize, transfers: Vec<Transaction>) {
        let payout = people[miner].payout();
        self.mine_to(people, &payout, transfers);
    }

    pub(crate) fn mine_to(&mut self, people: &mut [&mut Person], payout: &Payout, transfers: Vec<Transaction>) {
        let block = block_of(&self.params, self.header, payout, transfers);
        let bytes = block.to_bytes();
        let read = ReadBlock::read(&self.params, bytes.clone()).expect("every rule is kept");
        read.verified(&Verifier::new([1; 32], None)).expect("every signature holds");
        self.header = block.header;
        for person in people {
            let seen = scan::block(person.keys.view(), &self.params, &bytes).expect("a sound block");
            person.state.apply(&seen).expect("the next one");
        }
        self.blocks.push(bytes);
    }

    /// A fresh look at the whole chain.
    pub(crate) fn look(&self, keys: &ViewKeys) -> State {
        let mut state = State::new(start(&self.params));
        for seen in scan::blocks(keys, &self.params, &self.blocks, None).expect("sound blocks") {
            state.apply(&seen).expect("in order");
        }
        state
    }
}

/// Where every wallet can begin.
pub(crate) fn start(params: &Params) -> Mark {
    Mark { height: 0, id: params.genesis_id() }
}

/// A block after this header that keeps all rules.
pub(crate) fn block_of(params: &Params, parent: Header, payout: &Payout, transfers: Vec<Transaction>) -> Block {
    let height = parent.height + 1;
    let fees: u64 = transfers.iter().map(|tx| tx.check(encode(tx).len(), height).expect("a valid transfer")).sum();
    let coinbase = payout.coinbase(height, parent.id(), params.reward(height) + fees);
    let header = Header {
        version: 1,
        height,
        prev: parent.id(),
        merkle_root: Hash::ZERO,
        time: parent.time + 1,
        difficulty: 1,
        nonce: 0,
    };
    let block = Block { header, coinbase, transfers: List::try_from(transfers).expect("they fit") };
    Block { header: Header { merkle_root: block.merkle_root(), ..header }, ..block }
}

/// Somebody with a wallet.
pub(crate) struct Person {
    pub(crate) words: String,
    pub(crate) keys: SpendKeys,
    pub(crate) address: Address,
    pub(crate) state: State,
}

impl Person {
    pub(crate) fn new(world: &World, words: &str) -> Self {
        let keys = SpendKeys::from_seed(&words::to_seed(words).expect("good words"));
        let address = keys.view().address(world.params.genesis_id());
        Self { words: words.to_owned(), keys, address, state: State::new(start(&world.params)) }
    }

    pub(crate) fn from_entropy(world: &World, byte: u8) -> Self {
        Self::new(world, &words::from_entropy(&[byte; 32]).0)
    }

    fn payout(&self) -> Payout {
        Payout::Address { address: self.address, node_secret: [5; 32] }
    }

    /// Pays somebody; the payment waits.
    pub(crate) fn pay(&mut self, world: &World, to: &Self, amount: u64, note: &str) -> Transaction {
        self.try_pay(world, to.address, amount, note, FEE_RATE_MIN).expect("there is enough")
    }

    pub(crate) fn try_pay(
        &mut self,
        world: &World,
        address: Address,
        amount: u64,
        note: &str,
        fee_rate: u64,
    ) -> Option<Transaction> {
        let plan = send::plan(&self.state, &Request { address, amount, fee_rate, note }).ok()?;
        let transaction = plan.sign(&self.keys, world.params.genesis_id(), amount.is_multiple_of(2));
        let seen = scan::transaction(self.keys.view(), &transaction);
        let sent = Sent { address, amount, transaction: Some(transaction.clone()) };
        self.state.send(&seen, sent, note, 1_000).expect("unspent coins");
        Some(transaction)
    }

    pub(crate) fn see(&mut self, transaction: &Transaction) -> Result<bool, Conflict> {
        self.state.see(&scan::transaction(self.keys.view(), transaction), 2_000)
    }
}

/// A generator that is good enough for stories (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick(&mut self, count: usize) -> usize {
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
pub(crate) fn story(seed: u64, reorganisations: u64) {
    let mut dice = Dice(seed);
    let world = World::new();
    let mut people: Vec<Person> = (1..=3).map(|byte| Person::from_entropy(&world, byte)).collect();
    let mut chain: Vec<Link> = Vec::new();
    let mut pool: Vec<Transaction> = Vec::new();
    for _ in 0..30 {
        extend(&mut dice, &world, &mut people, &mut chain, &mut pool);
    }
    for n in 0..reorganisations {
        let deepest = if dice.roll(10) == 0 { 25 } else { 5 };
        let depth = 1 + dice.pick(deepest);
        // Mostly longer, sometimes not: a chain of more difficult blocks may be shorter.
        let fresh = if chain.len() > 60 { depth - 1 } else { depth + dice.pick(3) };
        let cut = chain.len() - depth;
        for person in &mut people {
            assert!(person.state.roll_back(cut as u64), "seed {seed}, reorganisation {n}: no mark at {cut}");
        }
        let undone: Vec<Transaction> = chain.drain(cut..).flat_map(|link| link.transfers).collect();
        pool.splice(0..0, undone);
        // Somebody pays on another branch with the same coins: what waited is displaced when that is mined.
        if dice.roll(3) == 0 {
            double_spend(&mut dice, &world, &mut people, &mut pool);
        }
        for _ in 0..fresh {
            extend(&mut dice, &world, &mut people, &mut chain, &mut pool);
        }
        check(&world, &people, &chain, &format!("seed {seed}, reorganisation {n}"));
    }
}

/// One more block: some of what waits is mined, and somebody may pay somebody.
fn extend(dice: &mut Dice, world: &World, people: &mut [Person], chain: &mut Vec<Link>, pool: &mut Vec<Transaction>) {
    for _ in 0..dice.roll(3) {
        let (from, to) = (dice.pick(people.len()), dice.pick(people.len()));
        let address = people[to].address;
        let amount = COIN / 100 + dice.roll(8 * COIN);
        if let Some(paid) = people[from].try_pay(world, address, amount, "", FEE_RATE_MIN + dice.roll(5_000)) {
            for person in people.iter_mut() {
                // Two branches may spend one coin; then the first that was seen stays.
                let _ = person.see(&paid);
            }
            pool.push(paid);
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
            coins.insert(
                spindle::blockchain::transaction::Outpoint { transaction: transaction.id(), index },
                output.amount,
            );
        }
        mined.push(transaction.clone());
        false
    });
    let excess = pool.len().saturating_sub(40);
    pool.drain(..excess);
    mined
}

/// The unspent outputs of a chain, whoever owns them: made from the blocks, with no wallet.
fn ledger(
    world: &World,
    chain: &[Link],
) -> std::collections::BTreeMap<spindle::blockchain::transaction::Outpoint, u64> {
    use spindle::blockchain::transaction::Outpoint;
    let mut coins = std::collections::BTreeMap::new();
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
fn double_spend(dice: &mut Dice, world: &World, people: &mut [Person], pool: &mut Vec<Transaction>) {
    let from = dice.pick(people.len());
    let waiting: Vec<Hash> = people[from].state.to_offer().map(Transaction::id).collect();
    let Some(id) = waiting.get(dice.pick(waiting.len().max(1))) else { return };
    let mut copy = Person::new(world, &people[from].words);
    copy.state = people[from].state.clone();
    copy.state.forget(id);
    if let Some(again) = copy.try_pay(world, people[dice.pick(3)].address, COIN / 10, "", FEE_RATE_MIN) {
        // First in the pool: it may well be mined before the other.
        pool.insert(0, again);
    }
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
            assert!(fresh.record(&record.id).is_none(), "{when}, person {n}: it waits and is mined");
        }
        // Shown in any order: what spends a waiting coin concerns a wallet only once it knows that coin.
        for _ in 0..=waiting.len() {
            for record in &waiting {
                let seen = scan::Seen {
                    id: record.id,
                    coinbase: false,
                    inputs: record.inputs.to_vec(),
                    received: record.received.to_vec(),
                    fee: record.fee,
                    note: None,
                };
                fresh.see(&seen, 0).expect("what waits has no conflict with the chain or with itself");
            }
        }
        assert_eq!(person.state.balance(), fresh.balance(), "{when}, person {n}");
        assert!(person.state.unspent().eq(fresh.unspent()), "{when}, person {n}");
        let Balance { confirmed, .. } = person.state.balance();
        let spendable = fresh.unspent().filter(|coin| fresh.place_of(coin).is_some() && fresh.matures_in(coin) == 0);
        assert_eq!(confirmed, spendable.map(|coin| coin.input.amount).sum::<u64>(), "{when}, person {n}");
    }
    assert_eq!(total, world.params.supply(chain.len() as u64), "{when}: all coins have an owner");
}
