//! `spindle chain show`: one block, as the file has it.

use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;

use crate::blockchain::block::{Block, HEADER_BYTES};
use crate::blockchain::params::COIN;
use crate::blockchain::storage::BlockMeta;
use crate::blockchain::transaction::{Output, Transaction};
use crate::cli::failure::Failure;
use crate::cli::network::{self, Looked};
use crate::cli::values::{self, Which};
use crate::cli::{output, when};
use crate::primitives::codec;
use crate::primitives::hash::Hash;

/// show one block
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub struct Show {
    /// a height on the chain, or a block's hash on any branch
    #[argh(positional, from_str_fn(values::block), arg_name = "height|hash")]
    block: Which,
    /// where the chain is; a node may be running there
    #[argh(option)]
    data_dir: PathBuf,
    /// local, regtest or a spec's file [what the directory says]
    #[argh(option)]
    network: Option<String>,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

/// A block for people and programs.
#[derive(Debug, Serialize)]
struct Shown {
    height: u64,
    hash: Hash,
    /// Whether it is on the active chain.
    active: bool,
    /// Blocks of the active chain from it up, itself included; 0 on another branch.
    confirmations: u64,
    prev: Hash,
    merkle_root: Hash,
    version: u32,
    /// Since 1970.
    time_ms: u64,
    difficulty: u64,
    nonce: u64,
    work: u128,
    size_bytes: usize,
    /// Where its frame begins in the block file.
    offset: u64,
    /// None in genesis, which has no body.
    coinbase: Option<ShownCoinbase>,
    transfers: Vec<ShownTransfer>,
}

#[derive(Debug, Serialize)]
struct ShownCoinbase {
    id: Hash,
    #[serde(flatten)]
    output: ShownOutput,
    tx_key: String,
}

#[derive(Debug, Serialize)]
struct ShownTransfer {
    id: Hash,
    fee: u64,
    inputs: Vec<ShownInput>,
    outputs: Vec<ShownOutput>,
    tx_key: String,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownInput {
    transaction: Hash,
    index: u32,
    amount: u64,
    key: String,
    matures_at: u64,
}

#[derive(Debug, Serialize)]
struct ShownOutput {
    amount: u64,
    key: String,
    view_tag: u8,
}

impl Show {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let Looked { store, .. } = network::look(&self.data_dir, self.network.as_deref(), &[], &mut |_, _| {})?;
        let reader = store.reader();
        let tip = reader.tip();
        let meta = match self.block {
            Which::Height(height) => {
                let top = tip.header.height;
                let none = || Failure::world(format!("there is no block at height {height}; the chain ends at {top}"));
                store.meta(reader.record_at(height).ok_or_else(none)?)?
            }
            Which::Hash(hash) => store.find_meta(&hash)?.ok_or_else(|| {
                let blocks = store.records() - 1;
                Failure::world(format!("none of the {blocks} blocks in the file has the hash {hash}"))
            })?,
        };
        let active = reader.is_active(&meta);
        let confirmations = if active { tip.header.height - meta.header.height + 1 } else { 0 };
        let shown = Shown::new(&meta, &store.block(meta.record)?, active, confirmations)?;
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl Shown {
    fn new(meta: &BlockMeta, bytes: &[u8], active: bool, confirmations: u64) -> Result<Self, Failure> {
        let header = &meta.header;
        let block: Option<Block> = if bytes.is_empty() { None } else { Some(codec::decode(bytes)?) };
        let coinbase = block.as_ref().map(|block| ShownCoinbase {
            id: block.coinbase.id(),
            output: (&block.coinbase.output).into(),
            tx_key: block.coinbase.tx_key.to_string(),
        });
        let transfers = block.iter().flat_map(|block| block.transfers.iter()).map(ShownTransfer::from).collect();
        Ok(Self {
            height: header.height,
            hash: meta.id,
            active,
            confirmations,
            prev: header.prev,
            merkle_root: header.merkle_root,
            version: header.version,
            time_ms: header.time,
            difficulty: header.difficulty,
            nonce: header.nonce,
            work: meta.work,
            // Genesis is all header.
            size_bytes: if bytes.is_empty() { HEADER_BYTES } else { bytes.len() },
            offset: meta.offset,
            coinbase,
            transfers,
        })
    }

    fn for_people(&self) -> String {
        let Self { height, hash, prev, merkle_root, version, time_ms, difficulty, nonce, size_bytes, offset, .. } =
            self;
        let branch = if self.active { "on the active chain" } else { "on a branch that is not active" };
        let mut lines = vec![
            format!("block           {hash}"),
            format!("height          {height}, {branch}, {} confirmations", self.confirmations),
            format!("parent          {prev}"),
            format!("merkle root     {merkle_root}"),
            format!("version         {version}"),
            format!("time            {} UTC ({time_ms})", when::utc(*time_ms)),
            format!("difficulty      {difficulty}, nonce {nonce}, work up to here {}", self.work),
            match self.coinbase {
                Some(_) => format!("size            {size_bytes} bytes at byte {offset} of the file"),
                None => format!("size            {size_bytes} bytes"),
            },
        ];
        match &self.coinbase {
            None => lines.push("genesis has no body: it is derived from the network's rules".into()),
            Some(ShownCoinbase { id, output, .. }) => {
                lines.push(format!("coinbase        {id}"));
                lines.push(output.for_people());
            }
        }
        for ShownTransfer { id, fee, inputs, outputs, .. } in &self.transfers {
            lines.push(format!("transfer        {id}, fee {}", coins(*fee)));
            for ShownInput { transaction, index, amount, .. } in inputs {
                lines.push(format!("    spends {} of {transaction}:{index}", coins(*amount)));
            }
            lines.extend(outputs.iter().map(ShownOutput::for_people));
        }
        lines.join("\n")
    }
}

impl ShownOutput {
    fn for_people(&self) -> String {
        format!("    pays {} to {}", coins(self.amount), self.key)
    }
}

impl From<&Output> for ShownOutput {
    fn from(output: &Output) -> Self {
        Self { amount: output.amount, key: output.key.to_string(), view_tag: output.view_tag }
    }
}

impl From<&Transaction> for ShownTransfer {
    fn from(transfer: &Transaction) -> Self {
        let input = |input: &crate::blockchain::transaction::Input| ShownInput {
            transaction: input.outpoint.transaction,
            index: input.outpoint.index,
            amount: input.amount,
            key: input.key.to_string(),
            matures_at: input.matures_at,
        };
        let spent: u64 = transfer.inputs.iter().map(|input| input.amount).fold(0, u64::saturating_add);
        let made: u64 = transfer.outputs.iter().map(|output| output.amount).fold(0, u64::saturating_add);
        Self {
            id: transfer.id(),
            fee: spent.saturating_sub(made),
            inputs: transfer.inputs.iter().map(input).collect(),
            outputs: transfer.outputs.iter().map(ShownOutput::from).collect(),
            tx_key: transfer.tx_key.to_string(),
            note: transfer.note.map(hex::encode),
        }
    }
}

/// Units as coins, exactly.
fn coins(units: u64) -> String {
    format!("{}.{:08} coins", units / COIN, units % COIN)
}
