//! Every block and transaction that peers of a fuzzed node know: branches that are sound, and some that break a rule
//! that only the chain, or only the ledger, can see.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader, ReadBlock};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint};
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;

use super::kit;

/// A header, and its body if that is right in itself: only such ones get past a session.
pub(crate) struct Known {
    pub(crate) header: CheckedHeader,
    pub(crate) block: Block,
    pub(crate) body: Option<CheckedBlock>,
}

pub(crate) struct Universe {
    /// In an order in which parents come first.
    pub(crate) all: Vec<Known>,
    places: BTreeMap<Hash, usize>,
    /// The ends of all branches.
    pub(crate) leaves: Vec<Hash>,
    pub(crate) transactions: Vec<ReadTx>,
}

pub(crate) fn universe() -> &'static Universe {
    static UNIVERSE: OnceLock<Universe> = OnceLock::new();
    UNIVERSE.get_or_init(Universe::new)
}

impl Universe {
    fn new() -> Self {
        let chain = kit::chain();
        let mut universe =
            Self { all: Vec::new(), places: BTreeMap::new(), leaves: Vec::new(), transactions: transactions() };
        for (block, body) in chain.decoded.iter().zip(&chain.blocks) {
            universe.add(body.checked_header(), block.clone(), Some(body.clone()));
        }
        universe.leaves.push(chain.tip().id);
        universe.grow_sound();
        universe.grow_bad();
        universe
    }

    fn grow_sound(&mut self) {
        let chain = kit::chain();
        let long = self.grow(chain.positions[3], 12, 1);
        let weak = self.grow(chain.positions[5], 3, 2);
        let mut leaf = *chain.tip();
        for place in 0..2 {
            leaf = self.add_block(&leaf, &[self.transactions[place].clone().trusted()], 3);
        }
        self.leaves.extend([long.id, weak.id, leaf.id]);
    }

    /// Each with the one thing that is wrong about it.
    fn grow_bad(&mut self) {
        let (chain, tip) = (kit::chain(), *kit::chain().tip());
        // A coin that was never made, and more on top of it.
        let fork = self.grow(chain.positions[6], 3, 4);
        let coin = Input { outpoint: Outpoint { transaction: Hash([9; 32]), index: 0 }, ..chain.coins[0] };
        let forged = kit::read(&kit::transfer(&[coin], &[coin.amount], false)).expect("right in itself").trusted();
        let forged = self.add_block(&fork, &[forged], 4);
        let forged = self.grow(forged, 6, 4);
        self.leaves.push(forged.id);
        let limit_ms = kit::params().spec().future_limit_ms;
        self.add_odd(&tip, |block| block.header.time = kit::WALL.0 + limit_ms + 10_000);
        self.add_odd(&tip, |block| block.header.difficulty = 2);
        self.add_odd(&tip, |block| block.header.version = 2);
        self.add_odd(&tip, |block| block.header.height += 1);
        self.add_odd(&tip, |block| block.header.time = 0);
        self.add_odd(&tip, |block| block.coinbase.output.amount += 1);
    }

    fn grow(&mut self, mut leaf: Position, blocks: u64, variant: u64) -> Position {
        for _ in 0..blocks {
            leaf = self.add_block(&leaf, &[], variant);
        }
        leaf
    }

    fn add_block(&mut self, parent: &Position, transfers: &[CheckedTx], variant: u64) -> Position {
        let body = kit::block_on(parent, &transfers.iter().collect::<Vec<_>>(), variant);
        let header = body.checked_header();
        let block = spindle::primitives::codec::decode(body.bytes()).expect("a block");
        self.add(header, block, Some(body));
        kit::position_of(parent, &header)
    }

    /// A block with something changed, and two on top of it.
    fn add_odd(&mut self, parent: &Position, change: impl FnOnce(&mut Block)) {
        let mut block = Template::new(kit::params(), parent, &kit::owner_key().into(), &[]).to_block();
        block.header.nonce = 5;
        change(&mut block);
        for _ in 0..3 {
            block.transfers = List::default();
            block.header.merkle_root = block.merkle_root();
            let header = std::iter::repeat_with(|| {
                block.header.nonce += 1;
                CheckedHeader::check(block.header)
            });
            let header = header.flatten().next().expect("every other hash will do");
            let body = ReadBlock::read(kit::params(), block.to_bytes()).ok().map(ReadBlock::trusted);
            self.add(header, block.clone(), body);
            block.header.prev = header.id();
            (block.header.height, block.header.time) = (block.header.height + 1, block.header.time + 1);
            block.coinbase.height = block.header.height;
        }
        self.leaves.push(block.header.prev);
    }

    fn add(&mut self, header: CheckedHeader, block: Block, body: Option<CheckedBlock>) {
        self.places.insert(header.id(), self.all.len());
        self.all.push(Known { header, block, body });
    }

    pub(crate) fn find(&self, id: &Hash) -> Option<&Known> {
        self.places.get(id).map(|&place| &self.all[place])
    }

    /// The headers up to this one, without genesis.
    pub(crate) fn branch(&self, leaf: &Hash) -> Vec<CheckedHeader> {
        let mut branch = Vec::new();
        let mut next = self.find(leaf);
        while let Some(known) = next {
            branch.push(known.header);
            next = self.find(&known.header.header().prev);
        }
        branch.reverse();
        branch
    }
}

/// Two in a row, of which the first two are in blocks of a branch; a third on top; conflicts; a coin that is young,
/// one that was never made, one that lies about its parent; one too cheap, one of dust; some of no consequence.
fn transactions() -> Vec<ReadTx> {
    let coins = &kit::chain().coins;
    let (old, young) = (&coins[..coins.len() - 2], coins[coins.len() - 1]);
    let pay =
        |inputs: &[Input], amounts: &[u64]| kit::read(&kit::transfer(inputs, amounts, false)).expect("right in itself");
    let parent = pay(&[old[0]], &[old[0].amount / 2, old[0].amount / 3]);
    let first = kit::coin_of(&parent, 0).expect("it has two outputs");
    let child = pay(&[first], &[first.amount - 5_000]);
    let second = kit::coin_of(&child, 0).expect("it has one");
    let lost = Input { outpoint: Outpoint { transaction: Hash([8; 32]), index: 1 }, ..old[1] };
    let orphan = pay(&[lost], &[lost.amount - 9_000]);
    let of_orphan = kit::coin_of(&orphan, 0).expect("it has one");
    let mut all = vec![
        parent.clone(),
        child,
        pay(&[second, old[1]], &[second.amount]),
        pay(&[old[0]], &[old[0].amount - 70_000]),
        pay(&[young], &[young.amount - 5_000]),
        pay(&[Input { amount: first.amount + 1, ..first }], &[1_000]),
        orphan,
        pay(&[of_orphan], &[1_000]),
        pay(&[old[2]], &[old[2].amount]),
        pay(&[old[2]], &[old[2].amount - 5_000, 5]),
    ];
    all.extend(old[3..].iter().map(|coin| pay(&[*coin], &[coin.amount - 2_000])));
    all
}
