//! `spindle status`: how a running node is, and what a person should look at.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Node, Nothing, Work, command, watching};
use crate::cli::console::{self, Colour};
use crate::cli::failure::Failure;
use crate::cli::progress::span;
use crate::cli::{output, when};
use crate::primitives::hash::Hash;

/// A newest block that is older than so many times the time between blocks is worth a word.
const LATE_TIMES: u64 = 30;

command! {
    /// say how a running node is
    #[argh(subcommand, name = "status")]
    Status {
        /// again every second, until Ctrl-C [no]
        #[argh(switch)]
        watch: bool,
    }
}

/// `get_info`.
#[derive(Deserialize)]
struct Info {
    adjusted_time: u64,
    bans_count: u64,
    coins: u64,
    difficulty: u64,
    fee_rate_min: u64,
    genesis_hash: Hash,
    grey_peerlist_size: u64,
    has_disk_space: bool,
    /// Blocks, genesis included.
    height: u64,
    incoming_connections_count: u64,
    mining_blocks_owed: u64,
    mining_hashes_per_s: u64,
    mining_threads: u64,
    nettype: String,
    outgoing_connections_count: u64,
    start_time: u64,
    synchronized: bool,
    /// Seconds between blocks.
    target: u64,
    target_height: u64,
    top_block_hash: Hash,
    top_block_timestamp_ms: u64,
    tx_pool_bytes: u64,
    tx_pool_orphans: u64,
    tx_pool_size: u64,
    version: String,
    white_peerlist_size: u64,
    #[serde(flatten)]
    work: Work,
}

/// What a node is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    InSync,
    CatchingUp,
    Alone,
}

/// A node for people and programs.
#[derive(Debug, Serialize)]
struct Shown {
    state: State,
    /// What a person should look at.
    warnings: Vec<String>,
    network: String,
    genesis: Hash,
    height: u64,
    tip: Hash,
    /// Since 1970.
    tip_time_ms: u64,
    /// All difficulties of the chain, added up.
    work: u128,
    /// Of the next block.
    difficulty: u64,
    /// The height that the best peer has, where that is more.
    target_height: u64,
    /// Unspent coins.
    coins: u64,
    peers_inbound: u64,
    peers_outbound: u64,
    addresses: u64,
    bans: u64,
    pool_transactions: u64,
    pool_bytes: u64,
    orphans: u64,
    /// Units per 1,000 bytes that a transaction has to pay at the least.
    fee_rate_min: u64,
    mining_threads: u64,
    mining_hashes_per_s: u64,
    /// Blocks that orders for them still lack.
    blocks_owed: u64,
    version: String,
    /// Since 1970.
    started_ms: u64,
    uptime_s: u64,
    rpc: SocketAddr,
    data_dir: PathBuf,
}

impl Status {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let place = self.place()?;
        let has_colours = !self.json && io::stdout().is_terminal() && console::colours_are_wanted();
        if self.watch {
            let mut last = None;
            return watching::watch(&place, self.json, move |node| {
                let shown = Shown::ask(node)?;
                let per_s = last.map_or(0, |last| shown.height.saturating_sub(last));
                last = Some(shown.height);
                if self.json { Ok(serde_json::to_string(&shown)?) } else { Ok(shown.for_people(has_colours, per_s)) }
            });
        }
        let shown = Shown::ask(&mut place.node())?;
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people(has_colours, 0)) }
    }
}

impl Shown {
    fn ask(node: &mut Node) -> Result<Self, Failure> {
        let info: Info = node.call("get_info", &Nothing {})?;
        let peers = info.incoming_connections_count + info.outgoing_connections_count;
        let state = match (info.synchronized, peers) {
            (false, _) => State::CatchingUp,
            (true, 0) => State::Alone,
            (true, _) => State::InSync,
        };
        let height = info.height.saturating_sub(1);
        Ok(Self {
            state,
            warnings: warnings(&info, node.place.params.spec().retarget),
            network: info.nettype,
            genesis: info.genesis_hash,
            height,
            tip: info.top_block_hash,
            tip_time_ms: info.top_block_timestamp_ms,
            work: info.work.total(),
            difficulty: info.difficulty,
            target_height: info.target_height.saturating_sub(1).max(height),
            coins: info.coins,
            peers_inbound: info.incoming_connections_count,
            peers_outbound: info.outgoing_connections_count,
            addresses: info.white_peerlist_size + info.grey_peerlist_size,
            bans: info.bans_count,
            pool_transactions: info.tx_pool_size,
            pool_bytes: info.tx_pool_bytes,
            orphans: info.tx_pool_orphans,
            fee_rate_min: info.fee_rate_min,
            mining_threads: info.mining_threads,
            mining_hashes_per_s: info.mining_hashes_per_s,
            blocks_owed: info.mining_blocks_owed,
            version: info.version,
            started_ms: info.start_time * 1_000,
            uptime_s: info.adjusted_time.saturating_sub(info.start_time),
            rpc: node.place.address,
            data_dir: node.place.data_dir.clone(),
        })
    }

    /// `per_s`: blocks that came in the last second, while it is watched.
    fn for_people(&self, has_colours: bool, per_s: u64) -> String {
        let Self { network, genesis, height, tip, work, difficulty, coins, .. } = self;
        let mut mining = match self.mining_threads {
            0 if self.blocks_owed > 0 => format!("on demand, {} hashes/s", self.mining_hashes_per_s),
            0 => "no".into(),
            1 => format!("one thread, {} hashes/s", self.mining_hashes_per_s),
            threads => format!("{threads} threads, {} hashes/s", self.mining_hashes_per_s),
        };
        if self.blocks_owed > 0 {
            mining = format!("{mining}; {} blocks are wanted", self.blocks_owed);
        }
        let mut lines = vec![
            format!("state           {}", self.state(has_colours, per_s)),
            format!("network         {network}, genesis {genesis:.16}"),
            format!("height          {height}"),
            format!("tip             {tip}"),
            format!("tip's time      {}", self.tip_time()),
            format!("work            {work}"),
            format!("difficulty      {difficulty} for the next block"),
            format!("coins           {coins} unspent"),
            format!(
                "peers           {}: {} came, {} were dialled; {} addresses known, {} banned",
                self.peers_inbound + self.peers_outbound,
                self.peers_inbound,
                self.peers_outbound,
                self.addresses,
                self.bans
            ),
            format!(
                "mempool         {} transactions, {} bytes, {} more without parents; at least {} units per 1000 bytes",
                self.pool_transactions, self.pool_bytes, self.orphans, self.fee_rate_min
            ),
            format!("mining          {mining}"),
            format!(
                "node            spindle {}, up {}, rpc {}, data {}",
                self.version,
                span(self.uptime_s),
                self.rpc,
                self.data_dir.display()
            ),
        ];
        for warning in &self.warnings {
            lines.push(console::paint(has_colours, Colour::Yellow, &format!("warning         {warning}")));
        }
        lines.join("\n")
    }

    fn tip_time(&self) -> String {
        // Genesis has no time.
        if self.height == 0 {
            return "no block yet".into();
        }
        format!("{} UTC, {} ago", when::utc(self.tip_time_ms), span(self.tip_age_s()))
    }

    fn tip_age_s(&self) -> u64 {
        (self.started_ms / 1_000 + self.uptime_s).saturating_sub(self.tip_time_ms / 1_000)
    }

    fn state(&self, has_colours: bool, per_s: u64) -> String {
        match self.state {
            State::InSync => console::paint(has_colours, Colour::Green, "in sync"),
            State::Alone => console::paint(has_colours, Colour::Yellow, "alone: no peer is connected"),
            State::CatchingUp => {
                let (height, target) = (self.height, self.target_height);
                let percent = u128::from(height) * 100 / u128::from(target.max(1));
                let rate = match (target - height).checked_div(per_s) {
                    Some(left_s) => format!(", {per_s} blocks/s, {} left", span(left_s)),
                    None => String::new(),
                };
                let said = format!("catching up: {height} of {target} ({percent} %){rate}");
                console::paint(has_colours, Colour::Yellow, &said)
            }
        }
    }
}

fn warnings(info: &Info, retargets: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !info.has_disk_space {
        warnings.push("the disk is too full: no block is taken until there is more space".into());
    }
    let (now_ms, block_ms) = (info.adjusted_time * 1_000, info.target * 1_000);
    let age_ms = now_ms.saturating_sub(info.top_block_timestamp_ms);
    // Without retargeting blocks come on demand; genesis has no time.
    if retargets && info.height > 1 && info.synchronized && age_ms > LATE_TIMES * block_ms {
        warnings.push(format!(
            "the last block is {} old, and one every {} s is meant: nobody mines, or no peer tells of it",
            span(age_ms / 1_000),
            info.target
        ));
    }
    if info.top_block_timestamp_ms > now_ms + block_ms.max(60_000) {
        let ahead = span((info.top_block_timestamp_ms - now_ms) / 1_000);
        warnings.push(format!("the last block's time is {ahead} ahead of this machine's clock: is that right?"));
    }
    warnings
}
