//! A second opinion on every block that an honest node stands on: its rules, and a ledger with the amounts kept.
//!
//! It shares nothing with the nodes but the form of bytes and of a coin's id. Each block is decoded again when it
//! is first somebody's tip and judged by [`rules`]; what is spent must be there and ripe, what is earned must be the
//! reward and the fees. Whenever a node's ledger is compared its coins are summed up, and must come to what the
//! network's parameters say was ever earned. The ledger goes from branch to branch as it is asked,
//! back and forth by lists that it keeps itself, so that a node's own can be compared with it at any time.
//!
//! Left out: signatures of payments that the crowd is known to have made; all others are verified.

mod rules;

use std::collections::{BTreeMap, HashMap};

use crate::blockchain::block::{Block, Header};
use crate::blockchain::ledger::Ledger;
use crate::blockchain::params::{
    BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, NetworkSpec, Params, RULES_FIRST,
};
use crate::blockchain::storage::ReadHandle;
use crate::blockchain::transaction::{CoinId, Outpoint, Transaction};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use rules::Emission;

/// What is known of a coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coin {
    amount: u64,
    ripe_at: u64,
}

/// A block that was found to be right, and what it changes.
#[derive(Debug)]
struct Known {
    header: Header,
    work: u128,
    /// In the order in which they go and come, so that undoing is the same backwards.
    moves: Vec<Move>,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Gone(CoinId, Coin),
    Come(CoinId, Coin),
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Audit {
    spec: NetworkSpec,
    genesis: Hash,
    emission: Emission,
    blocks: HashMap<Hash, Known>,
    /// Blocks that break a rule, and which.
    wrong: BTreeMap<Hash, String>,
    /// In which blocks a transfer is.
    places: HashMap<Hash, Vec<Hash>>,
    /// The branch on which the ledger stands: ids by height, from height 1 on.
    branch: Vec<Hash>,
    coins: HashMap<CoinId, Coin>,
}

/// Why the ledger cannot be taken to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It breaks a rule, or one below it does: so it does in every node's file.
    Wrong(String),
    /// This node's file does not give it; of the block that says nothing.
    Unreadable(String),
}

impl From<Fault> for String {
    fn from((Fault::Wrong(why) | Fault::Unreadable(why)): Fault) -> Self {
        why
    }
}

impl Audit {
    pub(crate) fn new(spec: NetworkSpec, genesis: Hash) -> Self {
        let (emission, blocks, wrong, places) = (Emission::new(&spec), HashMap::new(), BTreeMap::new(), HashMap::new());
        let (branch, coins) = (Vec::new(), HashMap::new());
        Self { spec, genesis, emission, blocks, wrong, places, branch, coins }
    }

    /// Takes the ledger to this block; `is_known`: the payment was made and signed by somebody we trust.
    ///
    /// An error is the sentence that says what is wrong with the block, or with one below it.
    pub(crate) fn stand_on(
        &mut self,
        id: Hash,
        reader: &ReadHandle,
        is_known: &dyn Fn(&Hash) -> bool,
    ) -> Result<(), Fault> {
        let mut path = Vec::new();
        let mut at = id;
        // Down to where the ledger's own branch is met.
        while at != self.genesis && !self.is_on_branch(&at) {
            if let Some(why) = self.wrong.get(&at) {
                return Err(Fault::Wrong(format!("block {at:.12}: {why}")));
            }
            path.push(at);
            at = match self.blocks.get(&at) {
                Some(known) => known.header.prev,
                None => meta_of(reader, &at).map_err(Fault::Unreadable)?.prev,
            };
        }
        let fork = if at == self.genesis { 0 } else { self.height_of(&at) };
        while self.branch.len() > fork {
            self.step_back();
        }
        for id in path.into_iter().rev() {
            if !self.blocks.contains_key(&id) {
                let bytes = bytes_of(reader, &id).map_err(Fault::Unreadable)?;
                if let Err(why) = self.learn(id, &bytes, is_known) {
                    self.wrong.insert(id, why.clone());
                    return Err(Fault::Wrong(format!("block {id:.12}: {why}")));
                }
            }
            self.step_on(id);
        }
        Ok(())
    }

    /// Whether a block was found to break a rule, or builds on one that does.
    pub(crate) fn is_wrong(&mut self, id: &Hash, prev: &Hash) -> bool {
        let is_wrong = self.wrong.contains_key(id) || self.wrong.contains_key(prev);
        if is_wrong {
            self.wrong.entry(*id).or_insert_with(|| "it builds on one that is wrong".into());
        }
        is_wrong
    }

    /// The work of a block that was looked at, with all below it.
    pub(crate) fn work_of(&self, id: &Hash) -> u128 {
        self.blocks.get(id).map_or(0, |known| known.work)
    }

    /// Whether this transfer is in a block of the branch on which the ledger stands.
    pub(crate) fn holds(&self, transfer: &Hash) -> bool {
        self.places.get(transfer).is_some_and(|blocks| blocks.iter().any(|block| self.is_on_branch(block)))
    }

    /// A node's ledger holds these coins and no others, and they come to the supply.
    pub(crate) fn compare(&self, ledger: &Ledger, params: &Params) -> Result<(), String> {
        let missing = self.coins.keys().filter(|coin| !ledger.contains(coin)).count();
        if missing > 0 || ledger.len() != self.coins.len() {
            return Err(format!("the ledger has {} coins and lacks {missing} of {}", ledger.len(), self.coins.len()));
        }
        let live = ledger.shards().flat_map(|shard| shard.iter()).filter_map(|coin| self.coins.get(coin));
        let (sum, height) = (live.map(|coin| u128::from(coin.amount)).sum::<u128>(), self.branch.len() as u64);
        let supply = params.supply(height);
        if sum != supply {
            return Err(format!("its coins come to {sum} units at height {height}, and the supply is {supply}"));
        }
        Ok(())
    }

    /// Nearly the same in no time: as many coins, and the tip's own.
    pub(crate) fn glance(&self, ledger: &Ledger, params: &Params) -> Result<(), String> {
        let tip = self.branch.last().and_then(|id| self.blocks.get(id));
        let is_right = |step: &Move| match step {
            Move::Come(coin, _) | Move::Gone(coin, _) => ledger.contains(coin) == self.coins.contains_key(coin),
        };
        if ledger.len() == self.coins.len() && tip.is_none_or(|tip| tip.moves.iter().all(is_right)) {
            return Ok(());
        }
        self.compare(ledger, params).and(Err("the ledger has another coin than the tip's block made".into()))
    }

    fn height_of(&self, id: &Hash) -> usize {
        let height = self.blocks.get(id).map_or(0, |known| known.header.height);
        usize::try_from(height).expect("heights are counted by blocks")
    }

    fn is_on_branch(&self, id: &Hash) -> bool {
        let height = self.height_of(id);
        height > 0 && self.branch.get(height - 1) == Some(id)
    }

    fn step_on(&mut self, id: Hash) {
        let known = &self.blocks[&id];
        for step in &known.moves {
            match *step {
                Move::Gone(id, _) => drop(self.coins.remove(&id)),
                Move::Come(id, coin) => drop(self.coins.insert(id, coin)),
            }
        }
        self.branch.push(id);
    }

    fn step_back(&mut self) {
        let Some(id) = self.branch.pop() else { return };
        for step in self.blocks[&id].moves.iter().rev() {
            match *step {
                Move::Gone(id, coin) => drop(self.coins.insert(id, coin)),
                Move::Come(id, _) => drop(self.coins.remove(&id)),
            }
        }
    }

    // --- a block that nobody has shown before ---

    /// Judges the block above the one on which the ledger stands.
    fn learn(&mut self, id: Hash, bytes: &[u8], is_known: &dyn Fn(&Hash) -> bool) -> Result<(), String> {
        let block: Block = codec::decode(bytes).map_err(|error| format!("it cannot be decoded: {error}"))?;
        self.check_header(id, &block.header)?;
        self.check_body(&block, bytes, is_known)?;
        let (mut judged, mut fees) = (Body::on(&self.coins), 0);
        for transfer in &block.transfers {
            fees += judged.transfer(transfer, block.header.height)?;
        }
        let earned = u128::from(self.emission.at(block.header.height)) + fees;
        let amount = block.coinbase.output.amount;
        if u128::from(amount) != earned || block.coinbase.height != block.header.height {
            return Err(format!("its coinbase is {amount}, and should be {earned}"));
        }
        let ripe_at = block.header.height + self.spec.maturity;
        judged.output(&codec::encode(&block.coinbase), 0, &block.coinbase.output, ripe_at)?;
        let moves = judged.moves;
        for transfer in &block.transfers {
            self.places.entry(rules::id_of(&codec::encode(transfer))).or_default().push(id);
        }
        let below = self.branch.last().map_or(0, |id| self.blocks[id].work);
        let work = below + u128::from(block.header.difficulty);
        self.blocks.insert(id, Known { header: block.header, work, moves });
        Ok(())
    }

    fn check_header(&self, id: Hash, header: &Header) -> Result<(), String> {
        let above = |n: usize| {
            let id = self.branch.len().checked_sub(n).and_then(|place| self.branch.get(place))?;
            Some(self.blocks[id].header)
        };
        let (parent, grandparent) = (above(1), above(2));
        let height = self.branch.len() as u64 + 1;
        let prev = self.branch.last().copied().unwrap_or(self.genesis);
        if header.prev != prev || header.height != height || header.version != RULES_FIRST {
            return Err("it does not follow from the one before".into());
        }
        if rules::id_of(&codec::encode(header)) != id || !rules::is_worth(&id, header.difficulty) {
            return Err(format!("its hash is not worth difficulty {}", header.difficulty));
        }
        let due = rules::due(&self.spec, parent.map(|p| (p.time, p.difficulty)), grandparent.map(|g| g.time));
        if header.difficulty != due {
            return Err(format!("its difficulty is {}, and should be {due}", header.difficulty));
        }
        match parent.filter(|parent| header.time <= parent.time) {
            Some(parent) => Err(format!("its time is {}, and its parent's {}", header.time, parent.time)),
            None => Ok(()),
        }
    }

    /// Sizes, the root, signatures.
    fn check_body(&self, block: &Block, bytes: &[u8], is_known: &dyn Fn(&Hash) -> bool) -> Result<(), String> {
        let inputs: usize = block.transfers.iter().map(|transfer| transfer.inputs.len()).sum();
        let outputs: usize = block.transfers.iter().map(|transfer| transfer.outputs.len()).sum();
        if bytes.len() > BLOCK_BYTES_MAX || inputs > BLOCK_INPUTS_MAX || outputs > BLOCK_OUTPUTS_MAX {
            return Err(format!("it has {} bytes, {inputs} inputs and {outputs} outputs", bytes.len()));
        }
        let coinbase = rules::id_of(&codec::encode(&block.coinbase));
        let transfers: Vec<Hash> = block.transfers.iter().map(|tx| rules::id_of(&codec::encode(tx))).collect();
        if rules::root(std::iter::once(coinbase).chain(transfers.iter().copied())) != block.header.merkle_root {
            return Err("its transactions have another merkle root than its header".into());
        }
        let unsigned = |(id, tx): &(&Hash, &Transaction)| !is_known(id) && !rules::is_signed(self.genesis, tx);
        match transfers.iter().zip(&block.transfers).find(unsigned) {
            Some((id, _)) => Err(format!("its transfer {id:.12} is not signed by whom it spends from")),
            None => Ok(()),
        }
    }
}

fn meta_of(reader: &ReadHandle, id: &Hash) -> Result<Header, String> {
    let found = reader.find_meta(id).map_err(|error| format!("block {id:.12} cannot be read: {error}"))?;
    found.map(|meta| meta.header).ok_or_else(|| format!("block {id:.12} is not there"))
}

fn bytes_of(reader: &ReadHandle, id: &Hash) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("block {id:.12} cannot be read: {error}");
    let record = reader.find(id).map_err(unreadable)?.ok_or_else(|| format!("block {id:.12} is not there"))?;
    reader.block(record).map_err(unreadable)
}

/// The transfers of a block, one after the other, on top of a ledger that stays as it is.
struct Body<'a> {
    below: &'a HashMap<CoinId, Coin>,
    /// What this block changes of it.
    here: HashMap<CoinId, Option<Coin>>,
    moves: Vec<Move>,
}

impl<'a> Body<'a> {
    fn on(below: &'a HashMap<CoinId, Coin>) -> Self {
        Self { below, here: HashMap::new(), moves: Vec::new() }
    }

    fn find(&self, id: &CoinId) -> Option<Coin> {
        self.here.get(id).copied().unwrap_or_else(|| self.below.get(id).copied())
    }

    /// Lets coins go and come; gives the fee.
    fn transfer(&mut self, transfer: &Transaction, height: u64) -> Result<u128, String> {
        let mut left: u128 = 0;
        for input in &transfer.inputs {
            let id = input.coin();
            let coin = self.find(&id).ok_or("it spends what is not there")?;
            if coin.amount != input.amount || coin.ripe_at > height {
                return Err(format!("it spends a coin that is ripe at height {} only", coin.ripe_at));
            }
            left += u128::from(coin.amount);
            self.here.insert(id, None);
            self.moves.push(Move::Gone(id, coin));
        }
        let bytes = codec::encode(transfer);
        for (place, output) in (0..).zip(&transfer.outputs) {
            left = left.checked_sub(output.amount.into()).ok_or("a transfer makes more than it spends")?;
            self.output(&bytes, place, output, 0)?;
        }
        if transfer.inputs.is_empty() || transfer.outputs.is_empty() {
            return Err("a transfer has nothing to it".into());
        }
        Ok(left)
    }

    /// A coin comes, the first of its kind.
    fn output(
        &mut self,
        maker: &[u8],
        index: u32,
        output: &crate::blockchain::transaction::Output,
        ripe_at: u64,
    ) -> Result<(), String> {
        let outpoint = Outpoint { transaction: rules::id_of(maker), index };
        let id = CoinId::new(&outpoint, output.amount, &output.key, ripe_at);
        if self.find(&id).is_some() || output.amount == 0 {
            return Err("it makes a coin that is there, or that is worth nothing".into());
        }
        let coin = Coin { amount: output.amount, ripe_at };
        self.here.insert(id, Some(coin));
        self.moves.push(Move::Come(id, coin));
        Ok(())
    }
}
