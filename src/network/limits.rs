//! Every cap of the network with its worst case in bytes, that of the RPC's clients, and their sum.
//!
//! The sum is asserted at compile time and printed at start: whatever peers do, the process stays
//! within it, plus 40 bytes an unspent output and 13 bytes a block. (While a checkpoint is written, parts
//! of the ledger that change meanwhile are there twice: at most 40 bytes an unspent output more.)

use crate::blockchain::block::TRANSFERS_MAX;
use crate::blockchain::chain::TURN_BYTES;
use crate::blockchain::headers;
use crate::blockchain::mempool::MEMPOOL_BYTES_MAX;
use crate::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_INPUTS_MAX, BLOCK_OUTPUTS_MAX, TRANSACTION_BYTES_MAX};
use crate::blockchain::tx_index::INDEX_BYTES;
use crate::node::frame::READ_AHEAD_BYTES;
use crate::node::message::{BLOCKS_MAX, Kind, TXS_BYTES};
use crate::node::serve::CHUNK_BYTES;
use crate::node::sync::{OUTSTANDING_BYTES_MAX, OWING_PEERS_MAX};
use crate::node::transactions::VERIFYING_BYTES_MAX;
use crate::node::transactions::exchange::{KNOWN_MAX, QUEUE_OWN, QUEUE_SHARED, WAITING_MAX};
use crate::primitives::frame::HEADER_BYTES;

/// Connections from others, unless the configuration says otherwise.
pub const INBOUND_MAX: usize = 32;
/// Connections that we make, unless the configuration says otherwise.
pub const OUTBOUND_MAX: usize = 8;
/// Both together: what the sums below are over. A larger configuration has a larger sum.
const PEERS: usize = INBOUND_MAX + OUTBOUND_MAX;

/// Inbound connections from one private address (a class room behind one router).
pub const INBOUND_PER_PRIVATE_IP: usize = 8;
/// Inbound connections from one public address (IPv6: from one /64).
pub const INBOUND_PER_IP: usize = 4;
/// Addresses that are refused at the door: 4,096 × about 64 B = 256 KiB.
pub const REFUSED_MAX: usize = 4_096;

/// Events of one peer that may be in the owner's hands. With the one that waits for a credit, small
/// events come to 40 peers × 3 × 16 KiB = 1.9 MiB. Large ones share [`BULK_BYTES`].
pub const CREDITS: usize = 2;
/// `Connected` and `Closed`, which cost no credit.
const EVENTS_FREE: usize = 2;
/// Dials that are under way or have failed and not been told: 16 × a thread that is connecting.
pub const DIALS_MAX: usize = 16;
/// Questions that a session has not seen. The hashes in them come from [`ASKED_BYTES`].
pub const ASKED_MAX: usize = 32;
/// Ids of bodies that are to be fetched: two windows of 20,000 (RULES 18), each id in the core's queue,
/// in its run, and with the session that may receive it: 3.7 MiB.
const ASKED_BYTES: usize = 2 * headers::HEADERS_MAX * 3 * 32;

/// Messages that wait for one peer: 40 × 256 KiB = 10 MiB. The largest, transactions that it asked for, has 192 KiB.
pub const OUTBOX_BYTES: usize = 256 << 10;
/// What a waiting message costs besides its bytes: its slot, its counter, the allocator.
pub const OUTBOX_MESSAGE_BYTES: usize = 64;
/// Requests that wait for one peer's writer. One more is a breach of the protocol.
pub const REQUESTS_MAX: usize = 4;
/// The longest has the places of a whole block's transfers: 40 × 4 × 9 KiB = 1.4 MiB.
const REQUEST_BYTES: usize = 2 * TRANSFERS_MAX;
/// Ids of transactions that a peer announced, those that wait for others (48 bytes in a tree that is a third
/// empty, and 16 in another), and those that it has (8 bytes in a list, 16 in such a tree): 40 × 164 KiB = 6.4 MiB.
const RELAY_BYTES: usize = 32 * QUEUE_OWN + 96 * WAITING_MAX + 24 * KNOWN_MAX;
/// A peer's sketch of a block that is not complete: 40 × 29 KiB = 1.1 MiB.
const SKETCH_BYTES: usize = 6 * TRANSFERS_MAX + (2 << 10);
/// The largest frame.
pub const SERVED_BYTES: usize = BLOCK_BYTES_MAX + HEADER_BYTES;
/// What a writer holds while its peer is waited for: headers (a chunk of blocks is less), 40 × 195 KiB =
/// 7.6 MiB, and the numbers of the blocks that it is to send.
const WRITING_BYTES: usize = Kind::Headers.bytes_max() + HEADER_BYTES + 4 * BLOCKS_MAX as usize;
const _: () = assert!(
    CHUNK_BYTES <= Kind::Headers.bytes_max() && Kind::BlockTxs.bytes_max() <= Kind::Headers.bytes_max(),
    "headers are the longest that a writer holds"
);
/// Writers that read from the file at a time, each up to a whole block: 4 × 1 MiB. None waits for its peer
/// meanwhile.
pub const READING_MAX: usize = 4;
/// A read buffer of a peer that was asked for bodies, which holds at most the largest frame: 14 × 1 MiB. The others'
/// hold [`READ_AHEAD_BYTES`], 26 × 256 KiB: a body that nobody asked for is refused by its first 13 bytes, and no other
/// frame is as long.
pub const READ_BYTES: usize = BLOCK_BYTES_MAX + HEADER_BYTES;
const _: () = assert!(
    Kind::Headers.bytes_max() + HEADER_BYTES <= READ_AHEAD_BYTES
        && Kind::Txs.bytes_max() + HEADER_BYTES <= READ_AHEAD_BYTES,
    "only bodies are longer than what is read ahead"
);
/// What large frames may hold between being whole and being handled by the owner, for all peers
/// together: 8 MiB, two blocks of the largest size.
pub const BULK_BYTES: usize = 8 << 20;
/// A frame larger than this asks the budget before it is decoded; what others make is a small event.
pub const BULK_FROM_BYTES: usize = 4 << 10;
/// What decoding a full buffer takes at its worst, in buffers: the copy, flat tables, the nested form
/// while it is checked, the claims of its signatures.
pub const BULK_FACTOR: usize = 4;
/// The largest block with its tables: what a bound in bytes may be passed by.
pub const CHECKED_BYTES: usize = BLOCK_BYTES_MAX + 32 * (TRANSFERS_MAX + BLOCK_INPUTS_MAX + BLOCK_OUTPUTS_MAX + 1);
/// Bodies that wait for an earlier one: 6 MiB.
const WAITING_BYTES: usize = OUTSTANDING_BYTES_MAX + CHECKED_BYTES;
/// Blocks just appended that the walk has not come to, and those that it has passed in this turn: 2 × 4 MiB.
const WALK_BYTES: usize = 2 * (TURN_BYTES + CHECKED_BYTES);
/// Transactions whose signatures are being checked: their bytes, as many for coins and tables, as many for
/// keys and signatures.
const VERIFYING_BYTES: usize = 3 * (VERIFYING_BYTES_MAX + TXS_BYTES + TRANSACTION_BYTES_MAX);
/// A full template, shared by those who mine on it (its nested form takes three times the bytes), and the
/// block that comes of it.
const MINING_BYTES: usize = 3 * BLOCK_BYTES_MAX + CHECKED_BYTES;
/// Headers without bodies, in two B-trees of which a third is empty: 7.6 MiB.
const HEADERS_BYTES: usize = headers::HEADERS_MAX * 400;
/// What clients of the RPC can make the node hold; `rpc/service.rs` counts it.
pub const RPC_BYTES: usize = (18 << 20) + (128 << 10);
/// Stack that a peer's two threads touch: 40 × 2 × 48 KiB = 3.8 MiB.
const STACKS_BYTES: usize = 2 * (48 << 10);
/// Everything small: the binary, channels, found blocks on their way, tables of peers and addresses.
const REST_BYTES: usize = 8 << 20;

/// What all caps come to at their worst with the default number of connections.
pub const SUM_BYTES: usize = sum_bytes(PEERS);

/// The same for so many connections in all.
pub const fn sum_bytes(peers: usize) -> usize {
    let of_chain = WAITING_BYTES + WALK_BYTES + HEADERS_BYTES + ASKED_BYTES + INDEX_BYTES;
    let of_relay = 32 * QUEUE_SHARED + VERIFYING_BYTES;
    let of_pool = MEMPOOL_BYTES_MAX + MINING_BYTES;
    let of_network = BULK_BYTES + READING_MAX * SERVED_BYTES + REFUSED_MAX * 64;
    let owing = if peers < OWING_PEERS_MAX { peers } else { OWING_PEERS_MAX };
    let of_readers = owing * READ_BYTES + (peers - owing) * READ_AHEAD_BYTES;
    peers * PEER_BYTES + of_readers + of_chain + of_pool + of_relay + of_network + RPC_BYTES + REST_BYTES
}

/// One peer's part of it.
const PEER_BYTES: usize = OUTBOX_BYTES
    + WRITING_BYTES
    + (CREDITS + 1) * BULK_FACTOR * BULK_FROM_BYTES
    + REQUESTS_MAX * REQUEST_BYTES
    + SKETCH_BYTES
    + RELAY_BYTES
    + STACKS_BYTES;

const _: () = assert!(SUM_BYTES < 160 << 20, "whatever peers do, the process stays under 160 MiB");

/// What the inbox must hold so that no sender ever waits.
pub fn inbox_capacity(peers: usize) -> usize {
    peers * (CREDITS + EVENTS_FREE) + DIALS_MAX
}

/// A connection that does not come about is given up after this.
pub const CONNECT_MS: u64 = 3_000;
/// One write to a socket must be through by then, and gets a second more for each 16 KiB: a link of
/// 16 KiB/s is enough.
pub const WRITE_MS: u64 = 20_000;
/// After a hang-up what waits may still go out for so long.
pub const FAREWELL_MS: u64 = 1_000;
/// A name that is not found by then does not exist.
pub const LOOKUP_MS: u64 = 5_000;
/// Look-ups that hang in the system's resolver; nobody can end those.
pub const LOOKUPS_MAX: usize = 8;
