//! The pool against a list and loops: what enters, what a block takes, what a reorganisation brings back.
//!
//! The input is a story: payments with coins of the ledger, of the pool, of orphans, or with some that are spent;
//! blocks of what waits and of strangers; branches left for others, some before all of the last one has returned;
//! time. After each chapter the pool holds what a pool would that was built from nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use spindle::blockchain::block::CheckedBlock;
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::mempool::{
    CHAIN_MAX, DUST_UNITS, FEE_RATE_MIN, Ground, LIFE_MS, Mempool, ORPHANS_MAX, ORPHANS_PER_SOURCE, Offer,
    READMIT_BYTES, Source, memory_bytes, read_file,
};
use spindle::blockchain::position::Position;
use spindle::blockchain::transaction::{CoinId, Input, Outpoint};
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;
use spindle::primitives::time::{Mono, Now, Wall};

use super::bytes::Bytes;
use super::kit;

/// Coins that are there from the beginning.
const COINS: u32 = 12;
/// Transactions that a story may have: all loops here are over these.
const STORY_MAX: usize = 80;
const BLOCKS_MAX: usize = 12;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let mut story = Story::new();
    while !input.is_empty() && story.made.len() < STORY_MAX {
        match input.byte() % 16 {
            0..=6 => story.receive(&mut input),
            7 | 8 => story.offer(&mut input),
            9 => story.adopt(),
            10 | 11 => story.mine_and_compare(&mut input),
            12 | 13 => story.reorganise(&mut input),
            14 => story.time_passes(&mut input),
            _ => story.restart(),
        }
        story.assert_equal();
    }
    story.assert_pack();
    story.assert_no_orphan_is_forgotten();
}

struct Story {
    ledger: Ledger,
    /// From block 1 up, each behind the position of its parent.
    chain: Vec<(Position, CheckedBlock)>,
    position: Position,
    now: Now,
    pool: Mempool,
    /// What should wait, in the order of entry, and when it arrived.
    model: Vec<(CheckedTx, Wall)>,
    /// Every transaction of the story.
    made: Vec<ReadTx>,
    /// Every coin that was ever spoken of.
    coins: Vec<Input>,
}

fn beginning() -> &'static (Ledger, Vec<Input>) {
    static BEGINNING: OnceLock<(Ledger, Vec<Input>)> = OnceLock::new();
    BEGINNING.get_or_init(|| {
        let coin = |index| {
            let outpoint = Outpoint { transaction: Hash([1; 32]), index };
            // The last ones are young.
            let matures_at = u64::from(index.saturating_sub(COINS - 3)) * 2;
            Input { outpoint, amount: 1_000_000_000, key: kit::owner_key(), matures_at }
        };
        let coins: Vec<Input> = (0..COINS).map(coin).collect();
        let mut ledger = Ledger::default();
        ledger.apply(&[], &coins.iter().map(Input::coin).collect::<Vec<_>>()).expect("different coins");
        (ledger, coins)
    })
}

impl Story {
    fn new() -> Self {
        let (ledger, coins) = beginning().clone();
        Self {
            ledger,
            chain: Vec::new(),
            position: Position::genesis(kit::params()),
            now: Now { mono: Mono(0), wall: kit::WALL },
            pool: Mempool::new([5; 16]),
            model: Vec::new(),
            made: Vec::new(),
            coins,
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now }
    }

    // --- what happens ---

    /// A new transaction, or one that was seen before.
    fn transaction(&mut self, input: &mut Bytes<'_>) -> Option<ReadTx> {
        let shape = input.byte();
        if shape >= 240 {
            return input.pick(&self.made).cloned();
        }
        let mut inputs: Vec<Input> = Vec::new();
        for _ in 0..=shape % 3 {
            let place = usize::from(input.byte());
            // Half of the time one of the newest: rows grow long.
            let place = if place < 128 { place } else { self.coins.len() - 1 - (place - 128) % 8 };
            let coin = self.coins[place % self.coins.len()];
            if inputs.iter().all(|other| other.outpoint != coin.outpoint) {
                inputs.push(coin);
            }
        }
        let sum: u64 = inputs.iter().map(|input| input.amount).sum();
        let fee = u64::from(input.u16()) * 4;
        let parts = u64::from(shape / 3 % 3) + 1;
        let dust = if shape / 9 % 8 == 7 { DUST_UNITS - u64::from(shape % 2) } else { 0 };
        let rest = sum.checked_sub(fee + dust)?;
        let mut amounts: Vec<u64> = (0..parts).map(|_| rest / parts).filter(|amount| *amount > 0).collect();
        amounts.extend((dust > 0).then_some(dust));
        let read = kit::read(&kit::transfer(&inputs, &amounts, false))?;
        if self.made.iter().all(|other| other.id() != read.id()) {
            self.coins.extend((0..).map_while(|index| kit::coin_of(&read, index)));
            self.made.push(read.clone());
        }
        Some(read)
    }

    fn receive(&mut self, input: &mut Bytes<'_>) {
        let Some(transaction) = self.transaction(input) else { return };
        self.insert(transaction.trusted());
    }

    /// Lets one in, if the model says so too.
    fn insert(&mut self, transaction: CheckedTx) {
        let allowed = passes_policy(&transaction) && self.allows(&self.model, &transaction);
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now };
        let verdict = self.pool.insert(transaction.clone(), self.now.wall, &ground);
        assert_eq!(verdict.is_ok(), allowed, "{verdict:?}");
        if allowed {
            self.model.push((transaction, self.now.wall));
        }
    }

    fn offer(&mut self, input: &mut Bytes<'_>) {
        let source = Source(u64::from(input.byte() % 4));
        let Some(transaction) = self.transaction(input) else { return };
        let was_held = self.pool.knows(&transaction.id()) && !self.pool.contains(&transaction.id());
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now };
        match self.pool.offer(source, transaction.clone(), &ground) {
            Offer::Ready(same) => {
                assert_eq!(same, transaction);
                self.insert(same.trusted());
            }
            Offer::Held { parent } => {
                assert!(!was_held && !self.pool.contains(&parent));
                assert!(transaction.inputs().any(|input| input.outpoint.transaction == parent));
            }
            Offer::Refused(_) => {
                let allowed = passes_policy(&transaction) && self.allows(&self.model, &transaction);
                assert!(!allowed || was_held);
            }
        }
        if input.byte() % 32 == 31 {
            self.pool.forget_source(source);
            assert_eq!(self.pool.orphans_of(source), 0);
        }
    }

    /// One orphan whose coin has appeared.
    fn adopt(&mut self) {
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now };
        let ready = self.pool.orphans_ready();
        let next = self.pool.next_orphan(&ground);
        assert_eq!(next.is_some(), ready);
        if let Some((_, id, Offer::Ready(transaction))) = next {
            assert_eq!(id, transaction.id());
            assert!(self.allows(&self.model, &transaction), "it was looked at a moment ago");
            self.insert(transaction.trusted());
        }
    }

    fn time_passes(&mut self, input: &mut Bytes<'_>) {
        // The pool looks for what is old once a minute.
        let ms = 60_000 + u64::from(input.byte()) * LIFE_MS / 100;
        self.now = Now { mono: self.now.mono.after(ms), wall: Wall(self.now.wall.0 + ms) };
        self.pool.tick(self.now);
        let mut gone: BTreeSet<Hash> = BTreeSet::new();
        let now = self.now.wall.0;
        self.model.retain(|(transaction, arrived)| {
            let lost = transaction.inputs().any(|input| gone.contains(&input.outpoint.transaction));
            if lost || now - arrived.0 >= LIFE_MS {
                gone.insert(transaction.id());
                return false;
            }
            true
        });
    }

    /// What waits is written to a file and read into a new pool.
    fn restart(&mut self) {
        let bytes = self.pool.to_file(kit::params(), std::iter::empty(), self.now.wall);
        let saved = read_file(kit::params(), &bytes).expect("as it was written");
        self.pool = Mempool::new([6; 16]);
        self.model.clear();
        for saved in saved {
            let transaction = saved.tx.trusted();
            // What was undone with a block returned without a look at what we ask of strangers.
            let allowed = passes_policy(&transaction) && self.allows(&self.model, &transaction);
            let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now };
            let verdict = self.pool.insert(transaction.clone(), saved.arrived, &ground);
            assert_eq!(verdict.is_ok(), allowed, "{verdict:?}");
            if allowed {
                self.model.push((transaction, saved.arrived));
            }
        }
    }

    // --- blocks ---

    /// A block of the pool's best, of some that wait, or of strangers.
    fn mine(&mut self, input: &mut Bytes<'_>) {
        let how = input.byte();
        let mut chosen: Vec<CheckedTx> = match how % 4 {
            0 => self.pool.pack().transfers.into_iter().cloned().collect(),
            1 => Vec::new(),
            _ => {
                let mask = input.u16();
                let some = (0_u32..).zip(&self.model).filter(|(place, _)| mask >> (place % 16) & 1 == 1);
                some.map(|(_, (transaction, _))| transaction.clone()).collect()
            }
        };
        for _ in 0..how / 4 % 4 {
            let Some(stranger) = input.pick(&self.made).cloned() else { break };
            let place = input.below(chosen.len() + 1);
            chosen.insert(place, stranger.trusted());
        }
        // Only what may stand in a block, in this order; no limit of rows there.
        let (height, ledger) = (self.position.height + 1, &self.ledger);
        let (mut made, mut spent): (BTreeSet<CoinId>, BTreeSet<CoinId>) = Default::default();
        chosen.retain(|transaction| {
            let there = |coin: &CoinId| (ledger.contains(coin) || made.contains(coin)) && !spent.contains(coin);
            let may = transaction.matures_at() <= height && transaction.spent().iter().all(there);
            if may {
                spent.extend(transaction.spent());
                made.extend(transaction.created());
            }
            may
        });
        let block = kit::block_on(&self.position, &chosen.iter().collect::<Vec<_>>(), u64::from(how));
        self.connect(block);
    }

    fn connect(&mut self, block: CheckedBlock) {
        self.ledger.apply(block.spent(), block.created()).expect("its coins are there");
        self.pool.on_block_connected(&block);
        let decoded = codec::decode(block.bytes()).expect("a block");
        self.coins.push(kit::coinbase_of(&decoded));
        let child = kit::position_of(&self.position, &block.checked_header());
        self.chain.push((std::mem::replace(&mut self.position, child), block));
    }

    fn mine_and_compare(&mut self, input: &mut Bytes<'_>) {
        if self.chain.len() >= BLOCKS_MAX {
            return;
        }
        self.mine(input);
        let order = std::mem::take(&mut self.model);
        self.model = self.recomputed(order);
    }

    /// Blocks back and others in their place, perhaps once more before all has returned.
    fn reorganise(&mut self, input: &mut Bytes<'_>) {
        let mut order = std::mem::take(&mut self.model);
        loop {
            for _ in 0..=input.byte() % 4 {
                let Some((parent, block)) = self.chain.pop() else { break };
                self.ledger.undo(block.spent(), block.created());
                self.position = parent;
                self.pool.on_block_undone(&block);
                let now = self.now.wall;
                order.splice(0..0, transfers(&block).into_iter().map(|transaction| (transaction, now)));
            }
            for _ in 0..input.byte() % 4 {
                self.mine(input);
            }
            let again = input.byte();
            if !again.is_multiple_of(4) || input.is_empty() {
                break;
            }
            for _ in 0..=again / 16 {
                self.readmit(1);
            }
            // What was refused on this tip is gone; nothing else is. Those that are in go before those to return.
            let bytes = self.pool.to_file(kit::params(), std::iter::empty(), self.now.wall);
            let saved = read_file(kit::params(), &bytes).expect("as it was written");
            let left: BTreeSet<Hash> = saved.iter().map(|saved| saved.tx.id()).collect();
            assert!(self.recomputed(order).iter().all(|(transaction, _)| left.contains(&transaction.id())));
            order = saved.into_iter().map(|saved| (saved.tx.trusted(), saved.arrived)).collect();
        }
        while !self.pool.is_settled() {
            assert!(!self.pool.orphans_ready(), "those that return go first");
            self.readmit(READMIT_BYTES);
        }
        self.model = self.recomputed(order);
    }

    fn readmit(&mut self, turn_bytes: usize) {
        let ground = Ground { ledger: &self.ledger, next_height: self.position.height + 1, now: self.now };
        let returned = self.pool.readmit(kit::params(), &ground, turn_bytes);
        assert!(returned.entered.iter().all(|id| self.pool.contains(id)));
    }

    // --- the model ---

    /// Whether this one may follow those, by looking at all of them.
    fn allows(&self, pool: &[(CheckedTx, Wall)], transaction: &ReadOrChecked) -> bool {
        let conflict = |other: &CheckedTx| other.spent().iter().any(|coin| transaction.spent().contains(coin));
        let makes = |coin: &CoinId| pool.iter().any(|(other, _)| other.created().contains(coin));
        let known = pool.iter().any(|(other, _)| other.id() == transaction.id());
        if known
            || pool.iter().any(|(other, _)| conflict(other))
            || !transaction.spent().iter().all(|coin| self.ledger.contains(coin) || makes(coin))
            || transaction.matures_at() > self.position.height + 1
        {
            return false;
        }
        let above = |coins: &[CoinId]| {
            let mut found: BTreeSet<usize> = BTreeSet::new();
            let mut next = coins.to_vec();
            while let Some(coin) = next.pop() {
                let parent = pool.iter().position(|(other, _)| other.created().contains(&coin));
                if let Some(parent) = parent.filter(|parent| found.insert(*parent)) {
                    next.extend(pool[parent].0.spent());
                }
            }
            found
        };
        let ancestors = above(transaction.spent());
        let rows: Vec<BTreeSet<usize>> = pool.iter().map(|(other, _)| above(other.spent())).collect();
        let hang_on = |ancestor: &usize| rows.iter().filter(|row| row.contains(ancestor)).count() + 1;
        ancestors.len() < CHAIN_MAX && ancestors.iter().all(|ancestor| hang_on(ancestor) < CHAIN_MAX)
    }

    /// What a pool holds that is given these in this order, from nothing.
    fn recomputed(&self, order: Vec<(CheckedTx, Wall)>) -> Vec<(CheckedTx, Wall)> {
        let mut pool = Vec::with_capacity(order.len());
        for (transaction, arrived) in order {
            if self.allows(&pool, &transaction) {
                pool.push((transaction, arrived));
            }
        }
        pool
    }

    /// Compares, and takes over the order of entry: those that a reorganisation let stay entered earlier.
    fn assert_equal(&mut self) {
        let snapshot = self.pool.snapshot();
        let places: BTreeMap<Hash, usize> = snapshot.iter().map(|waiting| waiting.id).zip(0..).collect();
        let model: BTreeSet<Hash> = self.model.iter().map(|(transaction, _)| transaction.id()).collect();
        assert!(places.keys().eq(model.iter()), "{places:?} wait, and {model:?} should");
        self.model.sort_by_key(|(transaction, _)| places[&transaction.id()]);
        for (waiting, (transaction, arrived)) in snapshot.iter().zip(&self.model) {
            assert_eq!((waiting.fee, waiting.size_bytes), (transaction.fee(), transaction.bytes().len()));
            assert_eq!(waiting.arrived, *arrived);
            assert!(waiting.ancestors < CHAIN_MAX);
        }
        let sum: usize = self.model.iter().map(|(transaction, _)| memory_bytes(transaction)).sum();
        assert_eq!((self.pool.used_bytes(), self.pool.len()), (sum, model.len()));
        assert_eq!(self.pool.ids().collect::<BTreeSet<_>>(), model);
        assert!(self.pool.orphans() <= ORPHANS_MAX);
        let of_sources: usize = (0..4).map(|source| self.pool.orphans_of(Source(source))).sum();
        assert_eq!(of_sources, self.pool.orphans());
        assert!((0..4).all(|source| self.pool.orphans_of(Source(source)) <= ORPHANS_PER_SOURCE));
    }

    /// What is selected is a block that the ledger takes, and all of it if there is room.
    fn assert_pack(&self) {
        let pack = self.pool.pack();
        assert_eq!(pack.transfers.len(), self.model.len(), "all of so few fit a block");
        assert_eq!(pack.fees, self.model.iter().map(|(transaction, _)| transaction.fee()).sum::<u64>());
        assert_eq!(self.pool.gain_since(&pack.mark), 0);
        let block = kit::block_on(&self.position, &pack.transfers, 0);
        self.ledger.clone().apply(block.spent(), block.created()).expect("parents come before children");
    }

    /// What could wait does not stay an orphan, once all that are ready were looked at.
    fn assert_no_orphan_is_forgotten(&mut self) {
        while self.pool.orphans_ready() {
            self.adopt();
        }
        for transaction in &self.made {
            let id = transaction.id();
            if self.pool.knows(&id) && !self.pool.contains(&id) {
                let verdict = self.pool.match_inputs(transaction, &self.ground());
                assert!(verdict.is_err(), "{id} is held for later, and nothing is missing");
            }
        }
    }
}

/// What both kinds of transaction say of themselves.
type ReadOrChecked = spindle::blockchain::checked_tx::TxFacts;

fn passes_policy(transaction: &ReadOrChecked) -> bool {
    let size_bytes = transaction.bytes().len() as u128;
    let pays = u128::from(transaction.fee()) * 1_000 >= u128::from(FEE_RATE_MIN) * size_bytes;
    pays && transaction.least_output() >= DUST_UNITS
}

fn transfers(block: &CheckedBlock) -> Vec<CheckedTx> {
    let decoded: spindle::blockchain::block::Block = codec::decode(block.bytes()).expect("a block");
    let read = |transfer| kit::read(transfer).expect("it stood in a block").trusted();
    decoded.transfers.iter().map(read).collect()
}
