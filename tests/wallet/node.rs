//! A node in memory, as a wallet sees one: a chain that can be reorganised, a pool, and lies.

use std::collections::BTreeMap;

use spindle::blockchain::block::Header;
use spindle::blockchain::params::Params;
use spindle::blockchain::payout::Payout;
use spindle::blockchain::transaction::Transaction;
use spindle::primitives::hash::Hash;
use spindle::wallet::link::{KNOWN_MAX, Link, LinkError, Run, TXS_MAX, Verdict};

use crate::world::block_of;

/// Headers in one answer: few, so that tests see many.
pub(crate) const PAGE: usize = 20;

/// What a node does that no node should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// One bit of the third block of each run is another.
    Bit(usize),
    /// The third block of each run is left out.
    Gap,
    /// Each run ends early.
    Short,
    /// Each run is another one, sound in itself.
    OtherRun,
    /// Headers skip one.
    Skip,
    /// Headers state work that they do not have.
    NoWork,
    /// Transactions that nobody asked for.
    OtherTransactions,
    /// It hangs up after so many questions.
    HangsUp(u32),
}

/// One block of its chain.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) id: Hash,
    pub(crate) header: Header,
    pub(crate) bytes: Vec<u8>,
}

/// See the top of the file.
#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) params: Params,
    /// From height 1.
    pub(crate) chain: Vec<Block>,
    pub(crate) pool: BTreeMap<Hash, Transaction>,
    /// Ids that it does not let into its pool, with the reason.
    pub(crate) refuses: BTreeMap<Hash, String>,
    pub(crate) submitted: Vec<Hash>,
    pub(crate) lie: Option<Lie>,
    pub(crate) questions: u32,
    /// The chain that it turns to at its so manieth question.
    pub(crate) turns: BTreeMap<u32, Vec<Block>>,
    pub(crate) blocks_served: usize,
}

impl FakeNode {
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            params: params.clone(),
            chain: Vec::new(),
            pool: BTreeMap::new(),
            refuses: BTreeMap::new(),
            submitted: Vec::new(),
            lie: None,
            questions: 0,
            turns: BTreeMap::new(),
            blocks_served: 0,
        }
    }

    /// One more block; what it contains leaves the pool.
    pub(crate) fn mine(&mut self, payout: &Payout, transfers: Vec<Transaction>) {
        let parent = self.chain.last().map_or(*self.params.genesis(), |block| block.header);
        for transfer in &transfers {
            self.pool.remove(&transfer.id());
        }
        let block = block_of(&self.params, parent, payout, transfers);
        self.chain.push(Block { id: block.header.id(), header: block.header, bytes: block.to_bytes() });
    }

    /// Takes so many blocks back.
    pub(crate) fn undo(&mut self, blocks: usize) {
        self.chain.truncate(self.chain.len() - blocks);
    }

    pub(crate) fn tip(&self) -> Hash {
        self.chain.last().map_or(self.params.genesis_id(), |block| block.id)
    }

    fn question(&mut self) -> Result<(), LinkError> {
        self.questions += 1;
        if let Some(chain) = self.turns.remove(&self.questions) {
            self.chain = chain;
        }
        match self.lie {
            Some(Lie::HangsUp(after)) if self.questions > after => Err(LinkError::Broken("on purpose".into())),
            _ => Ok(()),
        }
    }
}

impl Link for FakeNode {
    fn height(&mut self) -> Result<u64, LinkError> {
        Ok(self.chain.len() as u64)
    }

    fn headers(&mut self, known: &[Hash]) -> Result<Vec<Header>, LinkError> {
        assert!((1..=KNOWN_MAX).contains(&known.len()), "{}", known.len());
        self.question()?;
        let place = |id: &Hash| self.chain.iter().position(|block| block.id == *id).map(|at| at + 1);
        let from = known.iter().find_map(place).unwrap_or(0);
        let mut headers: Vec<Header> = self.chain[from..].iter().take(PAGE).map(|block| block.header).collect();
        match self.lie {
            Some(Lie::Skip) if headers.len() > 3 => _ = headers.remove(2),
            Some(Lie::NoWork) => headers.iter_mut().for_each(|header| header.difficulty = u64::MAX),
            _ => {}
        }
        Ok(headers)
    }

    fn blocks(&mut self, last: Hash, count: usize) -> Result<Option<Run<'_>>, LinkError> {
        assert!((1..=PAGE).contains(&count), "{count}");
        self.question()?;
        let Some(at) = self.chain.iter().position(|block| block.id == last) else { return Ok(None) };
        let mut run: Vec<Vec<u8>> = self.chain[at + 1 - count..=at].iter().map(|block| block.bytes.clone()).collect();
        match self.lie {
            Some(Lie::Bit(bit)) if count > 3 => {
                let place = bit / 8 % run[2].len();
                run[2][place] ^= 1 << (bit % 8);
            }
            Some(Lie::Gap) if count > 3 => _ = run.remove(2),
            Some(Lie::Short) if count > 3 => run.truncate(2),
            Some(Lie::OtherRun) => run.iter_mut().for_each(|bytes| bytes.clone_from(&self.chain[0].bytes)),
            _ => {}
        }
        self.blocks_served += run.len();
        Ok(Some(Box::new(run.into_iter().map(Ok))))
    }

    fn pool(&mut self) -> Result<Vec<Hash>, LinkError> {
        self.question()?;
        Ok(self.pool.keys().copied().collect())
    }

    fn transactions(&mut self, ids: &[Hash]) -> Result<Vec<Transaction>, LinkError> {
        assert!((1..=TXS_MAX).contains(&ids.len()), "{}", ids.len());
        self.question()?;
        let mut found: Vec<Transaction> = ids.iter().filter_map(|id| self.pool.get(id)).cloned().collect();
        if self.lie == Some(Lie::OtherTransactions) {
            for transaction in &mut found {
                transaction.tx_key.0[0] ^= 1;
            }
        }
        Ok(found)
    }

    fn submit(&mut self, transaction: &Transaction) -> Result<Verdict, LinkError> {
        self.question()?;
        let id = transaction.id();
        self.submitted.push(id);
        if let Some(why) = self.refuses.get(&id) {
            return Ok(Verdict::Refused(why.clone()));
        }
        self.pool.insert(id, transaction.clone());
        Ok(Verdict::Waits)
    }
}
