//! Everything that can be asked, by name: one row for each.
//!
//! [`METHODS`] are JSON-RPC's, asked at `/json_rpc`; [`PATHS`] stand for themselves, as with monerod. Each row names
//! the function that answers; the rooms hold them by what they are about: [`info`] the node, [`blocks`] the chain,
//! [`transactions`] what is paid, [`peers`] the others, [`mining`] new blocks, [`inside`] threads and the log.
//!
//! `rpc.md` is the page about all of it, and `tests/rpc.rs` holds the two together.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "all methods have one shape, so that each is a row of a table"
)]

pub(super) mod info;

pub(super) mod blocks;

pub(super) mod alternates;

pub(super) mod transactions;

pub(super) mod peers;

pub(super) mod bans;

pub(super) mod mining;

pub(super) mod inside;

use crate::rpc::call::Method;

/// Methods of JSON-RPC.
pub(super) const METHODS: &[Method] = &[
    Method::reads(&["get_info", "getinfo"], "nothing", |call| call.with(info::get_info)),
    Method::reads(&["get_version"], "nothing", |call| call.with(info::get_version)),
    Method::reads(&["hard_fork_info"], "version (a number, optional)", |call| call.with(info::hard_fork_info)),
    Method::reads(&["sync_info"], "nothing", |call| call.with(peers::sync_info)),
    Method::reads(&["get_block_count", "getblockcount"], "nothing", |call| call.with(blocks::get_block_count)),
    Method::reads(&["on_get_block_hash", "on_getblockhash"], "[height]", |call| call.with(blocks::on_get_block_hash)),
    Method::reads(&["get_last_block_header", "getlastblockheader"], "nothing", |call| {
        call.with(blocks::get_last_block_header)
    }),
    Method::reads(&["get_block_header_by_height", "getblockheaderbyheight"], "height (a number)", |call| {
        call.with(blocks::get_block_header_by_height)
    }),
    Method::reads(
        &["get_block_header_by_hash", "getblockheaderbyhash"],
        "hash (64 hexadecimal digits), or hashes (a list of them)",
        |call| call.with(blocks::get_block_header_by_hash),
    ),
    Method::reads(
        &["get_block_headers_range", "getblockheadersrange"],
        "start_height and end_height (numbers, at most 999 apart)",
        |call| call.with(blocks::get_block_headers_range),
    ),
    Method::reads(&["get_block", "getblock"], "height (a number) or hash (64 hexadecimal digits)", |call| {
        call.with(blocks::get_block)
    }),
    Method::reads(&["get_alternate_chains"], "nothing", |call| call.with(alternates::get_alternate_chains)),
    Method::reads(&["get_connections"], "nothing", |call| call.with(peers::get_connections)),
    Method::reads(&["get_addresses"], "nothing", |call| call.with(peers::get_addresses)),
    Method::reads(&["get_bans"], "nothing", |call| call.with(bans::get_bans)),
    Method::changes(&["set_bans"], "bans (a list of {host or ip, ban, seconds})", |call| call.with(bans::set_bans)),
    Method::changes(&["connect"], "address (HOST:PORT)", |call| call.with(peers::connect)),
    Method::changes(&["disconnect"], "peer (a number, of get_connections) or address (IP:PORT)", |call| {
        call.with(peers::disconnect)
    }),
    Method::reads(&["get_fee_estimate"], "nothing", |call| call.with(transactions::get_fee_estimate)),
    Method::reads(&["get_pool"], "count (a number up to 1000, optional)", |call| call.with(transactions::get_pool)),
    Method::reads(&["get_block_template", "getblocktemplate"], "wallet_address (an address or a public key)", |call| {
        mining::get_block_template(call)
    }),
    Method::reads(&["submit_block", "submitblock"], "[block] (in hex)", |call| call.with(mining::submit_block)),
    Method::changes(
        &["generateblocks"],
        "amount_of_blocks (a number up to 10000) and wallet_address (optional)",
        mining::generate_blocks,
    ),
    Method::reads(&["get_inside"], "nothing", |call| call.with(inside::get_inside)),
    Method::changes(&["set_log_level"], "level (error, warn, info or debug; or 0 to 4)", |call| {
        call.with(inside::set_log_level)
    }),
];

/// Paths, whose parameters are a body of JSON.
pub(super) const PATHS: &[Method] = &[
    Method::reads(&["/get_info", "/getinfo"], "nothing", |call| call.with(info::get_info)),
    Method::reads(&["/get_height", "/getheight"], "nothing", |call| call.with(info::get_height)),
    Method::reads(&["/get_peer_list"], "nothing", |call| call.with(peers::get_peer_list)),
    Method::reads(
        &["/get_transactions", "/gettransactions"],
        "txs_hashes (a list of up to 100 ids), decode_as_json and prune (both optional)",
        transactions::get_transactions,
    ),
    Method::reads(&["/get_transaction_pool"], "after (an id, optional)", transactions::get_transaction_pool),
    Method::reads(&["/sendrawtransaction", "/send_raw_transaction"], "tx_as_hex and do_not_relay (optional)", |call| {
        call.with(transactions::send_raw_transaction)
    }),
    Method::changes(&["/start_mining"], "threads_count and miner_address (both optional)", |call| {
        call.with(mining::start_mining)
    }),
    Method::changes(&["/stop_mining"], "nothing", |call| call.with(mining::stop_mining)),
    Method::reads(&["/mining_status"], "nothing", |call| call.with(mining::mining_status)),
    Method::changes(&["/set_log_level"], "level (error, warn, info or debug; or 0 to 4)", |call| {
        call.with(inside::set_log_level)
    }),
    Method::changes(&["/stop_daemon"], "nothing", |call| call.with(inside::stop_daemon)),
];
