//! A small world for wallets: blocks made by hand, people who mine and pay.

use spindle::blockchain::block::{Block, Header, ReadBlock};
use spindle::blockchain::params::Params;
use spindle::blockchain::payout::Payout;
use spindle::blockchain::transaction::Transaction;
use spindle::primitives::codec::{List, encode};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Verifier;
use spindle::primitives::stealth::Address;
use spindle::wallet::keys::{SpendKeys, ViewKeys};
use spindle::wallet::scan;
use spindle::wallet::send::{self, FEE_RATE_MIN, Plan, Request};
use spindle::wallet::state::{Conflict, Mark, Sent, State};
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

    pub(crate) fn payout(&self) -> Payout {
        Payout::Address { address: Box::new(self.address), node_secret: [5; 32] }
    }

    /// Pays somebody; the payment waits.
    pub(crate) fn pay(&mut self, world: &World, to: &Self, amount: u64, note: &str) -> Transaction {
        self.try_pay(world, &to.address, amount, note, FEE_RATE_MIN).expect("there is enough")
    }

    pub(crate) fn try_pay(
        &mut self,
        world: &World,
        address: &Address,
        amount: u64,
        note: &str,
        fee_rate: u64,
    ) -> Option<Transaction> {
        let plan = send::plan(&self.state, &Request { address: *address, amount, fee_rate, note }).ok()?;
        Some(self.make(world, &plan))
    }

    /// Does what was planned; the payment waits.
    pub(crate) fn make(&mut self, world: &World, plan: &Plan) -> Transaction {
        let Plan { address, amount, note, .. } = plan;
        let transaction = plan.sign(&self.keys, world.params.genesis_id(), amount.is_multiple_of(2));
        let seen = scan::transaction(self.keys.view(), &transaction);
        let sent = Sent { address: *address, amount: *amount, transaction: Some(transaction.clone()) };
        self.state.send(&seen, sent, note, 1_000).expect("unspent coins");
        transaction
    }

    /// Forgets what a file does not keep.
    pub(crate) fn through_file(&mut self) {
        let mut bytes = Vec::new();
        self.state.encode(&mut bytes);
        self.state = State::decode(&bytes).expect("as it was written");
    }

    pub(crate) fn see(&mut self, transaction: &Transaction) -> Result<bool, Conflict> {
        self.state.see(&scan::transaction(self.keys.view(), transaction), 2_000)
    }
}
