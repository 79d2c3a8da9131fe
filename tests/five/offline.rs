//! What the disks say when nobody runs any more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use spindle::blockchain::params::Params;
use spindle::cli::network;
use tempfile::TempDir;

use crate::common::process::spindle;
use crate::node::Named;
use crate::purse::Balance;

/// A payment in a wallet's history: its id, its amount in units, its height.
type Entry = (String, u64, Option<u64>);

/// All that was told while the network ran.
pub(crate) struct Told {
    /// Each node's directory, and the blocks that it told as durable.
    pub(crate) nodes: Vec<(PathBuf, Vec<Named>)>,
    pub(crate) network: PathBuf,
    pub(crate) params: Params,
    /// Of the two wallets, at the end.
    pub(crate) balances: [Balance; 2],
    pub(crate) sent: Vec<Entry>,
    pub(crate) received: Vec<Entry>,
    pub(crate) paid: Vec<Paid>,
    pub(crate) reorganised: usize,
    pub(crate) took: Duration,
    pub(crate) _home: TempDir,
}

/// A payment that a node took, and what the wallet said of it later.
#[derive(Debug)]
pub(crate) struct Paid {
    pub(crate) id: String,
    pub(crate) units: u64,
    pub(crate) remarks: Vec<String>,
}

impl Paid {
    /// Whether the wallet has said that its coins are gone with a block that was undone.
    fn is_given_up(&self) -> bool {
        self.remarks.iter().any(|line| line.contains("cannot come into the chain") && line.contains("undone"))
    }
}

impl Told {
    pub(crate) fn figures(&self) -> String {
        let durable: usize = self.nodes.iter().map(|(_, blocks)| blocks.len()).sum();
        let (height, payments) = (self.balances[0].height, self.sent.len());
        let given_up = self.paid.iter().filter(|paid| paid.is_given_up()).count();
        let (reorganised, took) = (self.reorganised, self.took);
        format!(
            "height {height}, {payments} payments and {given_up} given up, {reorganised} reorganisations, {durable} durable lines, {took:.1?}"
        )
    }
}

/// Everybody has the same chain, the supply is right, and nothing that was told is missing.
pub(crate) fn check(told: &Told) {
    let verdicts: Vec<Value> = told.nodes.iter().map(|(data, _)| verify(data, &told.network)).collect();
    let first = &verdicts[0];
    for verdict in &verdicts {
        for part in ["tip", "height", "work", "ledger_hash", "supply", "coins"] {
            assert_eq!(verdict[part], first[part], "{part}: {verdict:#} and {first:#}");
        }
        assert_eq!((&verdict["refused"], &verdict["torn"]), (&Value::from(0), &Value::Null), "{verdict:#}");
        assert_eq!(verdict["durable_height"], verdict["height"], "{verdict:#}");
    }
    let (height, supply) = (first["height"].as_u64().expect("a number"), first["supply"].as_u64().expect("a number"));
    assert_eq!(u128::from(supply), told.params.supply(height));
    let [miner, friend] = told.balances;
    assert_eq!((miner.height, friend.height), (height, height));
    assert_eq!(miner.sum + friend.sum, supply, "both wallets together have all there is");
    assert_eq!((miner.unconfirmed, friend.unconfirmed), (0, 0));
    assert_eq!(friend.sum, told.received.iter().map(|(_, units, _)| units).sum::<u64>());
    for (id, units, height) in &told.sent {
        assert!(height.is_some(), "{id} was sent and is in no block");
        let arrived = told.received.iter().find(|(received, ..)| received == id);
        assert_eq!(arrived, Some(&(id.clone(), *units, *height)), "what was sent has arrived");
    }
    for paid in &told.paid {
        let is_there = told.sent.iter().any(|(sent, units, _)| (sent, units) == (&paid.id, &paid.units));
        let is_gone = paid.is_given_up() && told.received.iter().all(|(received, ..)| *received != paid.id);
        assert!(is_there || is_gone, "taken by a node and lost: {paid:#?}, {:#?}, {:#?}", told.sent, told.received);
    }
    for (data, blocks) in &told.nodes {
        find(data, &told.network, blocks);
    }
}

/// `spindle chain verify` of a directory.
fn verify(data: &Path, network: &Path) -> Value {
    let mut command = spindle();
    command.args(["chain", "verify", "--json", "--data-dir"]).arg(data).arg("--network").arg(network);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Every block that a node told as durable is in its file, on its chain or on a branch that it has left.
fn find(data: &Path, network: &Path, blocks: &[Named]) {
    let network = network.to_str().expect("plain letters");
    let looked = network::look(data, Some(network), &[], &mut |_, _| {}).expect("it opens");
    assert!(!blocks.is_empty(), "a node that said nothing");
    for block in blocks {
        let hash = block.hash.parse().expect("a hash");
        let meta = looked.store.find_meta(&hash).expect("it reads");
        let meta = meta.unwrap_or_else(|| panic!("{} told {block:?} as durable, and it is gone", data.display()));
        assert_eq!(meta.header.height, block.height);
    }
}
