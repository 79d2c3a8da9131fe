//! What targets build with: a network on which any hash is work enough, transactions, blocks, and a short chain.
//!
//! Everything is made once, in a setup outside of the fuzzer's loop, and the same on every run.

use std::sync::{Arc, OnceLock};

use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint, Output, Transaction};
use spindle::primitives::codec::{self, List};
use spindle::primitives::keys::{Key, SecretKey, Signature, Verifier};
use spindle::primitives::time::Wall;

/// The wall clock of every target: blocks are made a little before it.
pub(crate) const WALL: Wall = Wall(1_800_000_000_000);

/// `regtest`, but a coinbase can be spent two blocks later.
pub(crate) fn params() -> &'static Arc<Params> {
    static PARAMS: OnceLock<Arc<Params>> = OnceLock::new();
    PARAMS.get_or_init(|| {
        let mut spec = Params::regtest().spec().clone();
        (spec.name, spec.maturity) = ("fuzz".into(), 2);
        Arc::new(Params::new(spec).expect("a sound spec"))
    })
}

/// The key that owns every coin of [`chain`].
pub(crate) fn owner() -> &'static SecretKey {
    static OWNER: OnceLock<SecretKey> = OnceLock::new();
    OWNER.get_or_init(|| SecretKey::from_seed(&[7; 32]))
}

/// The same, for outputs.
pub(crate) fn owner_key() -> Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    *KEY.get_or_init(|| owner().public())
}

/// A verifier of this thread alone, which looks at no claim twice that held.
pub(crate) fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::remembering([3; 32]))
}

/// A transfer of these coins into outputs of these amounts, which [`owner`] has signed if it shall hold.
pub(crate) fn transfer(inputs: &[Input], amounts: &[u64], is_signed: bool) -> Transaction {
    let output = |&amount| Output { amount, key: owner_key(), view_tag: 0 };
    let outputs = List::first_of(amounts.iter().map(output).collect());
    let unsigned = Transaction::unsigned(List::first_of(inputs.to_vec()), outputs, Key::default(), None);
    unsigned
        .signed(params().genesis_id(), |_, message| if is_signed { owner().sign(message) } else { Signature([0; 64]) })
}

/// The same as a session reads it; `None` if it breaks a rule by itself.
pub(crate) fn read(transfer: &Transaction) -> Option<ReadTx> {
    ReadTx::read(params(), &codec::encode(transfer)).ok()
}

/// What an input says of a coin that a transfer makes.
pub(crate) fn coin_of(transfer: &ReadTx, index: u32) -> Option<Input> {
    let output = *transfer.to_transaction().outputs.get(usize::try_from(index).ok()?)?;
    let outpoint = Outpoint { transaction: transfer.id(), index };
    Some(Input { outpoint, amount: output.amount, key: output.key, matures_at: 0 })
}

/// What an input says of a block's coinbase.
pub(crate) fn coinbase_of(block: &Block) -> Input {
    let (outpoint, made) = (Outpoint { transaction: block.coinbase.id(), index: 0 }, block.coinbase.output);
    let matures_at = block.header.height + params().spec().maturity;
    Input { outpoint, amount: made.amount, key: made.key, matures_at }
}

/// The next block on this one that holds these; `variant` makes it another one.
pub(crate) fn block_on(parent: &Position, transfers: &[&CheckedTx], variant: u64) -> CheckedBlock {
    let template = Template::new(params(), parent, &owner_key().into(), transfers);
    let mut header = *template.header();
    header.nonce = variant;
    template.found(params(), header).expect("transfers that fit a block, and any hash is work enough")
}

/// Where a block stands.
pub(crate) fn position_of(parent: &Position, header: &CheckedHeader) -> Position {
    parent.child(params(), header, WALL).expect("it was made to follow")
}

/// A chain of a few blocks with transfers in them.
pub(crate) struct Chain {
    /// From height 1 on.
    pub(crate) blocks: Vec<CheckedBlock>,
    /// The same, decoded.
    pub(crate) decoded: Vec<Block>,
    /// Where each stands; genesis first.
    pub(crate) positions: Vec<Position>,
    /// Coins that are unspent at its end, in the order in which they were made.
    pub(crate) coins: Vec<Input>,
}

impl Chain {
    fn new() -> Self {
        Self {
            blocks: Vec::new(),
            decoded: Vec::new(),
            positions: vec![Position::genesis(params())],
            coins: Vec::new(),
        }
    }

    /// Its last block's place.
    pub(crate) fn tip(&self) -> &Position {
        self.positions.last().expect("genesis is always there")
    }

    /// Adds a block that holds these, which spend coins of this chain.
    fn add(&mut self, transfers: &[CheckedTx]) {
        let block = block_on(self.tip(), &transfers.iter().collect::<Vec<_>>(), 0);
        let decoded: Block = codec::decode(block.bytes()).expect("a block");
        for transfer in &decoded.transfers {
            let read = read(transfer).expect("it stands in a block");
            self.coins.retain(|coin| !read.spent().contains(&coin.coin()));
            self.coins.extend((0..).map_while(|index| coin_of(&read, index)));
        }
        self.coins.push(coinbase_of(&decoded));
        self.positions.push(position_of(self.tip(), &block.checked_header()));
        self.blocks.push(block);
        self.decoded.push(decoded);
    }
}

/// Twelve blocks: some are empty, some hold two transfers of which one spends the other's coin. At its end
/// there are coins to spend, old and young.
pub(crate) fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let mut chain = Chain::new();
        for height in 1..=12_u64 {
            let spends = height >= 6 && height % 2 == 0;
            let coin = chain.coins.iter().find(|coin| coin.matures_at <= height).copied().filter(|_| spends);
            let transfers = coin.map_or_else(Vec::new, |coin| {
                let split = [coin.amount / 2, coin.amount / 3];
                let parent = read(&transfer(&[coin], &split, true)).expect("right in itself");
                let change = coin_of(&parent, 1).expect("it has two outputs");
                let child = read(&transfer(&[change], &[change.amount - 1_000], true)).expect("right in itself");
                vec![parent.trusted(), child.trusted()]
            });
            chain.add(&transfers);
        }
        chain
    })
}
