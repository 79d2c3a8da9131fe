//! Five nodes, the wires between them, and two people who pay.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::primitives::hash::Hash;
use spindle::primitives::rng::Rng;
use spindle::rpc::client::Client;
use spindle::rpc::link::NodeLink;
use spindle::wallet::link::Link;
use tempfile::TempDir;

use crate::common::process::{PATIENCE, free_port, spindle};
use crate::common::proxy::{Flow, Wire};
use crate::node::{Node, Orders, named};
use crate::offline::{Paid, Told};
use crate::purse::Purse;

const NODES: usize = 5;
/// Who mines: both ends of a row, and its middle.
pub(crate) const MINERS: [usize; 3] = [0, 2, 4];
/// Blocks that are there before the story begins: half of their coins are mature then, and everybody has them.
const BLOCKS_FIRST: u64 = 20;

/// See the top of the file.
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) wires: Vec<Wire>,
    home: TempDir,
    network: PathBuf,
    params: Params,
    miner: Purse,
    friend: Purse,
    /// Payments that a node took, with what they were of, in units.
    paid: Vec<(String, u64)>,
    began: Instant,
}

/// A network of its own: a block a second, and so little work that the pace is kept by the clock.
fn spec() -> NetworkSpec {
    NetworkSpec {
        name: "five".into(),
        block_time_ms: 1_000,
        difficulty_first: 1 << 19,
        ..Params::regtest().spec().clone()
    }
}

impl Net {
    /// Starts five nodes on these wires and waits until all have the same first blocks.
    pub(crate) fn start(pairs: &[(usize, usize)]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let network = home.path().join("five.json");
        fs::write(&network, serde_json::to_string(&spec()).expect("a spec is JSON")).expect("a small file");
        let miner = Purse::new(&home.path().join("miner"), &network);
        let friend = Purse::new(&home.path().join("friend"), &network);
        let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let wires: Vec<Wire> = pairs.iter().map(|&(_, to)| Wire::to(ports[to])).collect();
        let orders = |number: usize| Orders {
            port: ports[number],
            data: home.path().join(format!("node-{number}")),
            network: network.clone(),
            peers: pairs.iter().zip(&wires).filter(|((from, _), _)| *from == number).map(|(_, w)| w.port()).collect(),
            mine_to: MINERS.contains(&number).then(|| miner.address.clone()),
        };
        let nodes: Vec<Node> = (0..NODES).map(|number| Node::new(orders(number))).collect();
        generate(&nodes[0].orders, &miner.address);
        let params = Params::new(spec()).expect("a sound spec");
        let mut net =
            Self { nodes, wires, home, network, params, miner, friend, paid: Vec::new(), began: Instant::now() };
        net.nodes.iter_mut().for_each(Node::start);
        for node in net.nodes.iter_mut().skip(1) {
            reach(node, BLOCKS_FIRST);
        }
        net
    }

    /// Half of the time, a payment through somebody who is awake.
    pub(crate) fn pay_now_and_then(&mut self, rng: &mut Rng) {
        let awake: Vec<u16> = self.nodes.iter().filter(|node| node.is_awake()).map(|node| node.orders.port).collect();
        let port = awake[rng.below(awake.len())];
        let units = 100_000_000 + 1_000_000 * rng.below(100) as u64;
        if rng.below(2) == 0 {
            return;
        }
        let coins = spindle::wallet::amount::show(units);
        match self.miner.pay(&self.friend.address, &coins, port) {
            Ok(id) => self.paid.push((id, units)),
            // The wallet knows better than we whether it was sent; its history is what counts in the end.
            Err(why) => println!("not paid: {}", why.lines().last().unwrap_or_default()),
        }
    }

    /// Until a miner who is awake has one more block of its own that is durable.
    pub(crate) fn await_block(&mut self) {
        // The last of them dials nobody in a row, so it never waits for somebody who might be ahead.
        let miner = MINERS.into_iter().rev().find(|&miner| self.nodes[miner].is_awake()).expect("one is always spared");
        let process = self.nodes[miner].process();
        process.catch_up();
        process.wait_for("durable height=");
    }

    /// Everything works again.
    pub(crate) fn mend(&mut self) {
        self.wires.iter().for_each(|wire| wire.set(Flow::All));
        for node in &mut self.nodes {
            node.wake();
            if !node.is_up() {
                node.start();
            }
        }
    }

    /// Until all have one tip, on a chain that has every payment.
    pub(crate) fn agree(&mut self) {
        // One goes on mining, so that of two branches of the same work one becomes the heavier.
        for node in self.nodes.iter_mut().skip(1).filter(|node| node.orders.mine_to.is_some()) {
            node.stop();
            node.orders.mine_to = None;
            node.start();
        }
        self.follow_the_first();
        let port = self.nodes[0].orders.port;
        let until = Instant::now() + PATIENCE;
        while self.miner.history(port, "sent").iter().any(|(_, _, height)| height.is_none()) {
            assert!(Instant::now() < until, "payments that are never mined: {:?}", self.miner.history(port, "sent"));
            self.nodes[0].process().wait_for("durable height=");
        }
        self.nodes[0].stop();
        self.nodes[0].orders.mine_to = None;
        self.nodes[0].start();
        loop {
            let tips: Vec<(u64, Hash)> = (0..NODES).map(|number| self.tip(number)).collect();
            if tips.iter().all(|tip| *tip == tips[0]) {
                return;
            }
            // Whoever is behind says so when it no longer is.
            let behind = (0..NODES).min_by_key(|&number| tips[number].0).expect("five");
            self.nodes[behind].process().wait_for("tip height=");
        }
    }

    /// Until all others have a block that the first has mined by now: they are on one branch then.
    fn follow_the_first(&mut self) {
        let before = self.tip(0).0;
        for number in 1..NODES {
            loop {
                let line = self.nodes[number].process().wait_for("tip height=");
                let tip = named(&line, "tip").expect("a block");
                if tip.height > before && self.nodes[0].all_named("mined").contains(&tip) {
                    break;
                }
            }
        }
    }

    /// A node's tip, as it tells whoever asks.
    fn tip(&self, number: usize) -> (u64, Hash) {
        let port = self.nodes[number].orders.port;
        let mut client = NodeLink::new(Client::new(([127, 0, 0, 1], port + 1_000).into(), None));
        let mut tip = (0, self.params.genesis_id());
        while let Some(last) = client.headers(&[tip.1]).expect("it answers").last() {
            tip = (last.height, last.id());
        }
        tip
    }

    /// Stops everybody in order; gives what they, and the wallets, have told.
    pub(crate) fn stop(mut self) -> Told {
        let port = self.nodes[0].orders.port;
        let balances = [&self.miner, &self.friend].map(|purse| purse.balance(port));
        let (sent, received) = (self.miner.history(port, "sent"), self.friend.history(port, "received"));
        self.nodes.iter_mut().for_each(Node::stop);
        let reorganised = self.nodes.iter_mut().map(|node| node.lines().filter(|l| l.contains("reorganised")).count());
        let reorganised = reorganised.sum();
        let nodes = self.nodes.iter_mut().map(|node| {
            let told = [node.all_named("durable"), node.all_named("mined")].concat();
            (node.orders.data.clone(), told)
        });
        Told {
            nodes: nodes.collect(),
            network: self.network.clone(),
            params: self.params.clone(),
            balances,
            sent,
            received,
            paid: self
                .paid
                .into_iter()
                .map(|(id, units)| Paid { remarks: self.miner.remarks_on(&id), id, units })
                .collect(),
            reorganised,
            took: self.began.elapsed(),
            _home: self.home,
        }
    }
}

/// The chain that the story begins with.
fn generate(orders: &Orders, to: &str) {
    let mut command = spindle();
    command.args(["chain", "generate", "--mine-to", to, "--blocks", &BLOCKS_FIRST.to_string(), "--data-dir"]);
    let output = command.arg(&orders.data).arg("--network").arg(&orders.network).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Until the node's tip is at this height or above it.
fn reach(node: &mut Node, height: u64) {
    let process = node.process();
    loop {
        let line = process.wait_for("tip height=");
        if named(&line, "tip").is_some_and(|tip| tip.height >= height) {
            return;
        }
    }
}
