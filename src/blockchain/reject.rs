//! Why something from a stranger is refused: the rule, the figure, the limit, and who is to blame.
//!
//! A `Reject` is a value that ends as an effect. It is never our own disk or our own bug.

use crate::blockchain::params::{
    BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, RULES_KNOWN, TRANSACTION_BYTES_MAX,
};
use crate::blockchain::transaction::{CoinId, Outpoint, VERSION};
use crate::primitives::codec::CodecError;
use crate::primitives::hash::Hash;

/// Whose fault a refusal is (RULES 9, 10, 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody's: it may be right at another time, or under rules that we do not know.
    Nobody,
    /// The sender's alone: the id fixes other bytes than these.
    Sender,
    /// The block's: whoever sends it, it will never be valid, nor will what builds on it.
    Block,
}

/// The rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    // --- bytes ---
    /// Not what it claims to be.
    #[error("it cannot be decoded: {0}")]
    Undecodable(#[from] CodecError),
    /// Too many bytes.
    #[error("it has {size_bytes} bytes (limit {BLOCK_BYTES_MAX})")]
    BlockTooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// The body is not the one that the header commits to.
    #[error("its merkle root is {found} but the header says {header}")]
    MerkleRoot {
        /// Of the transactions that came.
        found: Hash,
        /// Of those that belong there.
        header: Hash,
    },

    // --- headers ---
    /// Not the number of the rules in force.
    #[error("its version is {version} but rules {rules} are in force at its height")]
    Version {
        /// What it says.
        version: u32,
        /// What its height asks for.
        rules: u32,
    },
    /// Rules that this program does not know.
    #[error("it needs rules {rules} and this program knows rules up to {RULES_KNOWN}; a newer spindle is needed")]
    NeedsRules {
        /// Their number.
        rules: u32,
    },
    /// The height does not follow from the parent's.
    #[error("its height is {height} but its parent's is {parent}")]
    Height {
        /// What it says.
        height: u64,
        /// Of its parent.
        parent: u64,
    },
    /// Not the difficulty that the retarget asks for.
    #[error("its difficulty is {difficulty} but {expected} is due")]
    Difficulty {
        /// What it says.
        difficulty: u64,
        /// What the rule gives.
        expected: u64,
    },
    /// The hash does not meet the header's own difficulty.
    #[error("its hash {id} does not meet its difficulty {difficulty}")]
    Work {
        /// Its id.
        id: Hash,
        /// What it says.
        difficulty: u64,
    },
    /// Not later than its parent.
    #[error("its time {time} is not after its parent's {parent}")]
    TimeOrder {
        /// In milliseconds since 1970.
        time: u64,
        /// Of its parent.
        parent: u64,
    },
    /// Ahead of our clock: perhaps our clock is wrong. Not condemned.
    #[error("its time is {ahead_ms} ms ahead of our clock (limit {limit_ms} ms)")]
    TooEarly {
        /// How far.
        ahead_ms: u64,
        /// The network's limit.
        limit_ms: u64,
    },
    /// It, or a block that it builds on, was refused before.
    #[error("block {id} was refused before")]
    Condemned {
        /// The block that broke a rule.
        id: Hash,
    },

    // --- transactions ---
    /// A transaction of too many bytes.
    #[error("a transaction has {size_bytes} bytes (limit {TRANSACTION_BYTES_MAX})")]
    TransactionTooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// A version that does not exist.
    #[error("a transaction's version is {version} (only {VERSION} exists)")]
    TransactionVersion {
        /// What it says.
        version: u8,
    },
    /// Nothing spent.
    #[error("a transaction has no inputs")]
    NoInputs,
    /// Nothing made.
    #[error("a transaction has no outputs")]
    NoOutputs,
    /// A coin of nothing.
    #[error("an amount is 0 (at least 1 unit)")]
    ZeroAmount,
    /// Amounts that do not fit a sum.
    #[error("amounts add up to more than 2^64 − 1 units")]
    SumOverflows,
    /// Money from nowhere.
    #[error("it spends {spent} units and makes {made}")]
    SpendsMoreThanItHas {
        /// Sum of inputs.
        spent: u64,
        /// Sum of outputs.
        made: u64,
    },
    /// One coin twice.
    #[error("output {}:{} is spent twice", outpoint.transaction, outpoint.index)]
    DuplicateInput {
        /// The coin.
        outpoint: Outpoint,
    },
    /// A coinbase spent before its time.
    #[error("output {}:{} matures at height {matures_at}, this is {height}", outpoint.transaction, outpoint.index)]
    Immature {
        /// The coin.
        outpoint: Outpoint,
        /// The least height to spend it.
        matures_at: u64,
        /// The height that it was spent at.
        height: u64,
    },
    /// A signature that its key did not make for these bytes on this network.
    #[error("the signature of transaction {transaction} is wrong")]
    BadSignature {
        /// The transaction's id.
        transaction: Hash,
    },

    // --- blocks ---
    /// Too many inputs to verify.
    #[error("it has {inputs} inputs (limit {BLOCK_INPUTS_MAX})")]
    TooManyInputs {
        /// Their number.
        inputs: usize,
    },
    /// Too many new coins.
    #[error("it has {outputs} outputs (limit {BLOCK_OUTPUTS_MAX})")]
    TooManyOutputs {
        /// Their number.
        outputs: usize,
    },
    /// The coinbase names another height.
    #[error("its coinbase says height {coinbase} but its header {header}")]
    CoinbaseHeight {
        /// The coinbase's.
        coinbase: u64,
        /// The header's.
        header: u64,
    },
    /// A unit too many or too few.
    #[error("its coinbase is {found} units but reward and fees are {due}")]
    CoinbaseAmount {
        /// What it takes.
        found: u64,
        /// What is due.
        due: u64,
    },
    /// Spends a coin that is not there: never made, already spent, or not as claimed.
    #[error("it spends coin {} that the ledger does not have", Hash(coin.0))]
    MissingCoin {
        /// The claimed coin.
        coin: CoinId,
    },
    /// Makes a coin that is already there.
    #[error("it makes coin {} a second time", Hash(coin.0))]
    CoinExists {
        /// The coin.
        coin: CoinId,
    },
}

impl Reject {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooEarly { .. } | Self::NeedsRules { .. } => Blame::Nobody,
            // The id commits to other bytes: an honest copy may still come.
            Self::Undecodable(_) | Self::BlockTooLarge { .. } | Self::MerkleRoot { .. } => Blame::Sender,
            _ => Blame::Block,
        }
    }
}
