//! spindle: a complete proof-of-work blockchain node with no async runtime.
//!
//! One pair of OS threads for each peer, one thread that owns the chain, one file that is the chain. It
//! mines, keeps, connects and syncs; coins are held by keys, moved by signed transactions, and counted
//! as a set of hashes. It is meant to be read: from here down, in the order of the `mod` lines.
//!
//! Left out: scripts, pruning, assumed-valid blocks, checkpoints in the code, and protection of a small
//! network against somebody with more hash power than all the others. The [`wallet`], a program of its own in the
//! same binary, asks a node over its RPC ([`rpc::link`]), as every command does that asks one.
//!
//! # Threads
//!
//! `main` starts and stops everything. `owner` alone changes the chain, one event at a time, and never
//! waits for a peer or for the disk. `disk` makes what it wrote durable. `listen` accepts, and each peer
//! has `peer-N-read`, which checks all that needs no chain, and `peer-N-write`. `check-N` verify
//! signatures, `verify` gives them those of transactions that want to wait here, `mine-N` look for nonces.
//! `index` notes where each transaction is. All of these are started on one page, `runtime/mod.rs`; above them
//! `rpc-listen` lets clients in and `rpc-N` answer them (`rpc/http/server.rs`), and `watch` tells the progress.
//!
//! # One block's way through the node
//!
//! From a socket to the disk:
//!
//! 1. `talk`, `turn` (`network/reader.rs`): bytes come in, a frame at a time.
//! 2. `next` (`node/session.rs`): is it whole, within its cap, asked for; does each body link on.
//! 3. `ReadBlock::read`, `verified_all` (`blockchain/block.rs`): everything but the chain, signatures too.
//! 4. `run` (`runtime/owner.rs`): the inbox, where all threads meet.
//! 5. `step` (`node/mod.rs`): one event in, effects out; no socket and no clock from here on.
//! 6. `on_blocks`, `hand_over` (`node/sync/mod.rs`): the order in which blocks were asked for.
//! 7. `accept` (`blockchain/chain/mod.rs`), `advance` (`blockchain/chain/walk.rs`): where it belongs; the
//!    heaviest branch.
//! 8. `append` (`blockchain/storage/mod.rs`): one write to the block file.
//! 9. `apply` (`blockchain/ledger.rs`): coins spent go, coins made come.
//! 10. `pump` (`node/durability.rs`): asks for a sync.
//! 11. `sync` (`runtime/disk.rs`): fdatasync and the mark; only now may people be told.
//!
//! And back to other sockets:
//!
//! 1. `pump`, `announce` (`node/relay.rs`): who should hear of it, once, and in six bytes a transaction.
//! 2. `perform` (`runtime/owner.rs`): effects become messages.
//! 3. `push` (`network/outbox.rs`): it fits, or the peer is hung up on.
//! 4. `write`, `stream` (`network/writer.rs`): out; blocks that were asked for come straight from the file.
//!
//! # One transaction's way
//!
//! 1. `plan`, `sign` (`wallet/send.rs`): which coins, what comes back; the keys stay in the wallet's process.
//! 2. `send_raw_transaction` (`rpc/methods/transactions.rs`): from a wallet it comes as an order; `on_submit`, `judge`
//!    (`node/transactions/checking.rs`): the order is followed, and answered; from a peer it comes through
//!    `on_new` and `on_answer` (`node/transactions/mod.rs`).
//! 3. `match_inputs` (`blockchain/mempool/mod.rs`): its coins are there, and nothing else spends them.
//! 4. `verify` (`runtime/verify.rs`): its signatures, on other threads.
//! 5. `insert` (`blockchain/mempool/mod.rs`): now it waits, and whoever lacks it hears of it.
//! 6. `pack` (`blockchain/mempool/pack.rs`), `found` (`blockchain/template.rs`): into a block.
//! 7. `on_sketch` (`node/sketches.rs`): the block arrives as its sketch, and is put together from the pool.
//! 8. `block` (`wallet/scan.rs`): whoever was paid finds it with the view key alone.
//!
//! The same core, sessions and server run without threads and sockets in the [`simulator`], a whole network of
//! them in virtual time.
//!
//! `tests/layers.rs` checks that these names exist and that imports run downwards only.

pub mod primitives;

pub mod blockchain;

pub mod node;

pub mod network;

pub mod wallet;

pub mod runtime;

pub mod simulator;

pub mod rpc;

pub mod cli;
