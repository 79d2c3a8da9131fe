//! What is written: a small chain with a fork in it, the files beside it, and a wallet.

use std::collections::BTreeMap;
use std::sync::Arc;

use spindle::blockchain::block::{Block, CheckedBlock, Header, ReadBlock};
use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::condemned::{self, Condemned};
use spindle::blockchain::ledger::Ledger;
use spindle::blockchain::mempool::{self, Mempool, Saved};
use spindle::blockchain::params::Params;
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint, Output, Transaction};
use spindle::node::addresses::{self, AddressBook};
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::Wall;
use spindle::wallet::file::{Contents, Cost, Random, Secrets};
use spindle::wallet::state::{Mark, State};
use spindle::wallet::words;

use crate::common::secret;

/// Blocks before the first with a transfer in it, where it does not matter how many.
const PLAIN: usize = 11;
/// Blocks that spend.
const SPENDING: usize = 4;

/// Outputs of a transfer.
const PIECES: usize = 12;

pub(crate) struct Fixture {
    pub(crate) params: Arc<Params>,
    plain: usize,
    /// The first branch.
    pub(crate) trunk: Vec<CheckedBlock>,
    /// One block longer; parts from the trunk behind its plain blocks.
    pub(crate) rival: Vec<CheckedBlock>,
    /// Each block's bytes and work, and the hash of the ledger on it.
    pub(crate) known: BTreeMap<Hash, Known>,
}

pub(crate) struct Known {
    pub(crate) bytes: Vec<u8>,
    pub(crate) work: u128,
    pub(crate) ledger: Hash,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::sized(PLAIN)
    }

    /// With so many blocks before the first with a transfer in it.
    pub(crate) fn sized(plain: usize) -> Self {
        let params = Arc::new(Params::regtest());
        let genesis = Position::genesis(&params);
        let empty = Known { bytes: Vec::new(), work: 0, ledger: Ledger::default().hash() };
        let known = BTreeMap::from([(params.genesis_id(), empty)]);
        let mut fixture = Self { params, plain, trunk: Vec::new(), rival: Vec::new(), known };
        let (matured, ledger, fork) = fixture.branch(&[], genesis, &Ledger::default(), 1, plain);
        let (spending, _, _) = fixture.branch(&matured, fork, &ledger, 1, SPENDING);
        fixture.rival = fixture.branch(&matured, fork, &ledger, 2, SPENDING + 1).0;
        fixture.trunk = [matured, spending].concat();
        fixture
    }

    /// The blocks of the trunk before the fork.
    pub(crate) fn plain(&self) -> &[CheckedBlock] {
        &self.trunk[..self.plain]
    }

    /// Those behind it.
    pub(crate) fn spending(&self) -> &[CheckedBlock] {
        &self.trunk[self.plain..]
    }

    /// So many blocks on a position; those that follow `mature` blocks each spend one of them.
    fn branch(
        &mut self,
        mature: &[CheckedBlock],
        mut parent: Position,
        ledger: &Ledger,
        payee: u64,
        blocks: usize,
    ) -> (Vec<CheckedBlock>, Ledger, Position) {
        let (mut ledger, mut branch) = (ledger.clone(), Vec::new());
        for n in 0..blocks {
            let mut block = Template::new(&self.params, &parent, &secret(payee).public().into(), &[]).to_block();
            block.transfers = List::first_of(mature.get(n).map(|spent| self.spend(spent, payee)).into_iter().collect());
            let header = Header { merkle_root: block.merkle_root(), ..block.header };
            let read = ReadBlock::read(&self.params, Block { header, ..block }.to_bytes()).expect("a sound block");
            let block = read.verified(&crate::common::verifier()).expect("signed");
            parent = parent.child(&self.params, &block.checked_header(), Wall(u64::MAX)).expect("it follows");
            ledger.apply(block.spent(), block.created()).expect("its coins are there");
            let known = Known { bytes: block.bytes().to_vec(), work: parent.work, ledger: ledger.hash() };
            self.known.insert(block.id(), known);
            branch.push(block);
        }
        (branch, ledger, parent)
    }

    /// The reward of a block in pieces: a transfer that takes more than a sector.
    fn spend(&self, block: &CheckedBlock, payee: u64) -> Transaction {
        let coinbase = block_of(block).coinbase;
        let outpoint = Outpoint { transaction: coinbase.id(), index: 0 };
        let Output { amount, key, .. } = coinbase.output;
        let matures_at = block.header().height + self.params.spec().maturity;
        let inputs = List::first_of(vec![Input { outpoint, amount, key, matures_at }]);
        let piece = Output { amount: amount / PIECES as u64, key: secret(payee).public(), view_tag: 0 };
        let mut outputs = vec![piece; PIECES - 1];
        outputs.push(Output { amount: amount - (PIECES as u64 - 1) * piece.amount, ..piece });
        let unsigned = Transaction::unsigned(inputs, List::first_of(outputs), Key::default(), None);
        unsigned.signed(self.params.genesis_id(), |_, message| secret(1).sign(message))
    }

    /// The small files, each in a version that tells it from others.
    pub(crate) fn small(&self, version: u8) -> [(&'static str, Vec<u8>); 3] {
        let mut condemned = Condemned::default();
        (0..=version).for_each(|n| _ = condemned.add(Hash([n; 32])));
        let mut book = AddressBook::default();
        for n in 0..=version {
            let address = std::net::SocketAddr::from(([8, 8, 8, n + 1], 9_000));
            book.learn(std::net::IpAddr::from([9, 9, 9, 9]), &[address.into()]);
        }
        let waiting: Vec<Saved> = self
            .spending()
            .iter()
            .take(usize::from(version) + 1)
            .map(|block| block_of(block).transfers[0].clone())
            .map(|tx| ReadTx::read(&self.params, &codec::encode(&tx)).expect("sound"))
            .map(|tx| Saved { tx, arrived: Wall(1) })
            .collect();
        let pool = Mempool::new([0; 16]).to_file(&self.params, waiting.iter(), Wall(2));
        [
            (condemned::FILE, condemned.to_bytes()),
            (addresses::FILE, book.to_save().expect("it has changed")),
            (mempool::FILE, pool),
        ]
    }

    /// A wallet that stands at this height.
    pub(crate) fn wallet(&self, height: u64) -> Contents {
        let genesis = self.params.genesis_id();
        let (_, seed) = words::from_entropy(&[1; 32]);
        let state = State::new(Mark { height, id: genesis });
        Contents { genesis, secrets: Secrets::Spend(seed), state }
    }
}

/// As little as argon2 allows.
pub(crate) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
pub(crate) const WALLET: &str = "alice.wallet";
pub(crate) const PASSWORD: &[u8] = b"correct horse";

/// Salts and nonces that are the same on every run.
pub(crate) const NO_CHANCE: Random = |bytes| {
    bytes.fill(7);
    Ok(())
};

fn block_of(block: &CheckedBlock) -> Block {
    codec::decode(block.bytes()).expect("it was encoded from one")
}
