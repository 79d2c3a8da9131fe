//! The node in a few numbers.
//!
//! `get_info` is what pages and monitors ask all day: it comes from the board and costs the owner nothing.

use serde::{Deserialize, Serialize};

use crate::blockchain::params::RULES_KNOWN;
use crate::blockchain::storage::Room;
use crate::primitives::hash::Hash;
use crate::rpc::call::{Fine, Nothing};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::service::Service;
use crate::rpc::show::{Hex, halves};

/// Of this interface, as monerod counts: major × 65,536 + minor.
pub(super) const RPC_VERSION: u32 = 1 << 16;

/// `get_info`.
#[derive(Serialize)]
pub(in crate::rpc) struct Info<'a> {
    adjusted_time: u64,
    alt_blocks_count: u64,
    block_size_limit: usize,
    busy_syncing: bool,
    can_mine: bool,
    coins: usize,
    cumulative_difficulty: u64,
    cumulative_difficulty_top64: u64,
    difficulty: u64,
    difficulty_top64: u64,
    fee_rate_min: u64,
    genesis_hash: Hash,
    grey_peerlist_size: usize,
    headers_ahead: usize,
    height: u64,
    incoming_connections_count: usize,
    mainnet: bool,
    nettype: &'a str,
    outgoing_connections_count: usize,
    rpc_connections_count: u64,
    stagenet: bool,
    start_time: u64,
    status: Fine,
    synchronized: bool,
    target: u64,
    target_height: u64,
    testnet: bool,
    top_block_hash: Hash,
    top_block_timestamp_ms: u64,
    tx_pool_bytes: usize,
    tx_pool_orphans: usize,
    tx_pool_size: usize,
    has_disk_space: bool,
    bans_count: usize,
    mining_blocks_owed: u64,
    mining_threads: usize,
    mining_hashes_per_s: u64,
    untrusted: bool,
    version: &'a str,
    white_peerlist_size: usize,
    wide_cumulative_difficulty: Hex,
    wide_difficulty: Hex,
}

pub(in crate::rpc) fn get_info(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let node = service.node();
    let (summary, mining, spec) = (node.board().summary(), node.board().mining(), node.params().spec());
    let (tip, difficulty) = service.chain().end(&summary)?;
    let (cumulative_difficulty, cumulative_difficulty_top64) = halves(tip.work);
    let height = tip.header.height + 1;
    let blocks = u64::from(node.reader().records());
    Ok(Info {
        adjusted_time: node.now().wall.0 / 1_000,
        alt_blocks_count: blocks.saturating_sub(summary.tip.header.height + 1),
        block_size_limit: crate::blockchain::params::BLOCK_BYTES_MAX,
        busy_syncing: summary.is_catching_up,
        can_mine: summary.can_mine,
        coins: summary.coins,
        cumulative_difficulty,
        cumulative_difficulty_top64,
        difficulty,
        difficulty_top64: 0,
        fee_rate_min: summary.fee_rate_min,
        genesis_hash: node.params().genesis_id(),
        grey_peerlist_size: summary.addresses - summary.addresses_talked_with,
        headers_ahead: summary.headers,
        height,
        incoming_connections_count: summary.inbound,
        // Of Monero's networks it is none.
        mainnet: false,
        nettype: &spec.name,
        outgoing_connections_count: summary.outbound,
        rpc_connections_count: service.counters().connections(),
        stagenet: false,
        start_time: node.board().started().wall.0 / 1_000,
        status: Fine::Ok,
        synchronized: !summary.is_catching_up,
        target: spec.block_time_ms / 1_000,
        target_height: if summary.is_catching_up { summary.target_height + 1 } else { 0 },
        testnet: false,
        top_block_hash: tip.id,
        top_block_timestamp_ms: tip.header.time,
        tx_pool_bytes: summary.pool_bytes,
        tx_pool_orphans: summary.orphans,
        tx_pool_size: summary.pool_transactions,
        has_disk_space: summary.room == Room::Enough,
        bans_count: summary.bans,
        mining_blocks_owed: summary.blocks_owed,
        mining_threads: mining.threads,
        mining_hashes_per_s: mining.hashes_per_s,
        untrusted: false,
        version: env!("CARGO_PKG_VERSION"),
        white_peerlist_size: summary.addresses_talked_with,
        wide_cumulative_difficulty: Hex(tip.work),
        wide_difficulty: Hex(difficulty.into()),
    })
}

#[derive(Serialize)]
pub(in crate::rpc) struct Height {
    height: u64,
    hash: Hash,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn get_height(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let tip = service.chain().tip()?;
    Ok(Height { height: tip.header.height + 1, hash: tip.id, status: Fine::Ok, untrusted: false })
}

#[derive(Serialize)]
struct Version {
    current_height: u64,
    hard_forks: Vec<HardFork>,
    release: bool,
    status: Fine,
    target_height: u64,
    untrusted: bool,
    version: u32,
}

#[derive(Serialize)]
struct HardFork {
    height: u64,
    hf_version: u32,
}

pub(in crate::rpc) fn get_version(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let summary = service.node().board().summary();
    let activations = &service.node().params().spec().activations;
    let first = HardFork { height: 0, hf_version: crate::blockchain::params::RULES_FIRST };
    let later = activations.iter().map(|(&hf_version, &height)| HardFork { height, hf_version });
    Ok(Version {
        current_height: service.chain().end(&summary)?.0.header.height + 1,
        hard_forks: std::iter::once(first).chain(later).collect(),
        release: true,
        status: Fine::Ok,
        target_height: if summary.is_catching_up { summary.target_height + 1 } else { 0 },
        untrusted: false,
        version: RPC_VERSION,
    })
}

/// Parameters of `hard_fork_info`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::rpc) struct WhichRules {
    version: Option<u32>,
}

#[derive(Serialize)]
struct HardForkInfo {
    earliest_height: u64,
    enabled: bool,
    /// monerod's: 0 likely forked, 1 update needed, 2 ready.
    state: u8,
    status: Fine,
    untrusted: bool,
    version: u32,
}

pub(in crate::rpc) fn hard_fork_info(service: &Service, which: WhichRules) -> Result<impl Serialize, Fault> {
    let (params, next) = (service.node().params(), service.chain().tip()?.header.height + 1);
    let in_force = params.rules_at(next);
    let version = which.version.filter(|version| *version != 0).unwrap_or(in_force);
    let from = params.spec().activations.get(&version).copied();
    let is_first = version == crate::blockchain::params::RULES_FIRST;
    let Some(earliest_height) = from.or_else(|| is_first.then_some(0)) else {
        let message = format!("rules {version} are not a part of this network; its spec has no height for them");
        return Err(Fault::new(Code::WrongParam, message));
    };
    Ok(HardForkInfo {
        earliest_height,
        enabled: earliest_height <= next,
        state: if in_force > RULES_KNOWN { 0 } else { 2 },
        status: Fine::Ok,
        untrusted: false,
        version,
    })
}
