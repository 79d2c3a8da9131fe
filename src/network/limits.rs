//! Every cap of the network with its worst case in bytes, and their sum.
//!
//! The sum is asserted at compile time and printed at start: whatever peers do, the process stays
//! within it, plus 40 bytes an unspent output and 13 bytes a block.

use crate::blockchain::params::BLOCK_BYTES_MAX;

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
/// events come to 40 peers × 3 × 64 KiB = 7.5 MiB. Large ones share [`BULK_BYTES`].
pub const CREDITS: usize = 2;
/// `Connected` and `Closed`, which cost no credit.
const EVENTS_FREE: usize = 2;
/// Dials that are under way or have failed and not been told: 16 × a thread that is connecting.
pub const DIALS_MAX: usize = 16;
/// Questions that a session has not seen. The hashes in them are at most two windows of 20,000
/// (RULES 18): 40,000 × 32 B = 1.3 MiB for all peers together.
pub const ASKED_MAX: usize = 32;

/// Messages that wait for one peer: 40 × 512 KiB = 20 MiB.
pub const OUTBOX_BYTES: usize = 512 << 10;
/// What a waiting message costs besides its bytes: its slot, its counter, the allocator.
pub const OUTBOX_MESSAGE_BYTES: usize = 64;
/// Requests for blocks or headers that wait for one peer's writer (a locator of 64 hashes each):
/// 40 × 4 × 2 KiB = 320 KiB. One more is a breach of the protocol.
pub const REQUESTS_MAX: usize = 4;
/// What a writer reads from the file at a time: 40 × 1 MiB (one whole block) = 40 MiB.
pub const SERVED_BYTES: usize = BLOCK_BYTES_MAX + 13;
/// A read buffer, which holds at most the largest frame: 40 × 1 MiB = 40 MiB.
pub const READ_BYTES: usize = BLOCK_BYTES_MAX + 13;
/// What large frames may hold between being whole and being handled by the owner, for all peers
/// together: 20 MiB.
pub const BULK_BYTES: usize = 20 << 20;
/// A read buffer that holds more than this asks the budget before it is decoded; what it makes
/// otherwise is a small event.
pub const BULK_FROM_BYTES: usize = 16 << 10;
/// What decoding a full buffer takes at its worst, in buffers: the copy, flat tables, the nested form
/// while it is checked, the claims of its signatures.
pub const BULK_FACTOR: usize = 4;
/// Stack that a peer's two threads touch: 40 × 2 × 48 KiB = 3.8 MiB.
const STACKS_BYTES: usize = 2 * (48 << 10);
/// Transactions that wait (the mempool's cap, here so that the sum is whole).
const MEMPOOL_BYTES: usize = 16 << 20;
/// Everything small: the binary, channels, tables of peers and addresses, the RPC's buffers.
const REST_BYTES: usize = 8 << 20;

/// What all caps come to at their worst with the default number of connections.
pub const SUM_BYTES: usize = sum_bytes(PEERS);

/// The same for so many connections in all.
pub const fn sum_bytes(peers: usize) -> usize {
    peers * PEER_BYTES + BULK_BYTES + REFUSED_MAX * 64 + 40_000 * 32 + MEMPOOL_BYTES + REST_BYTES
}

/// One peer's part of it.
const PEER_BYTES: usize = OUTBOX_BYTES
    + SERVED_BYTES
    + READ_BYTES
    + (CREDITS + 1) * BULK_FACTOR * BULK_FROM_BYTES
    + REQUESTS_MAX * (2 << 10)
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
