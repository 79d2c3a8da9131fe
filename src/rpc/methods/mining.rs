//! New blocks: on demand, all the time, or found by others.
//!
//! A block that is found elsewhere carries its own authority, its work, and any peer could bring it: it takes no
//! cookie. It may come in the short form that templates have: header, coinbase, count, ids of transfers that wait
//! here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::blockchain::block::{
    COINBASE_BYTES, CheckedBlock, CheckedHeader, HEADER_BYTES, Header, ReadBlock, TRANSFERS_AT, TRANSFERS_MAX,
    merkle_root,
};
use crate::blockchain::checked_tx::CheckedTx;
use crate::blockchain::params::{BLOCK_BYTES_MAX, Params};
use crate::blockchain::payout::Payout;
use crate::blockchain::position::Position;
use crate::node::orders::{Answer, GENERATE_MAX, Order};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::primitives::keys::Key;
use crate::primitives::time::Mono;
use crate::rpc::call::{Call, Done, Fine, Nothing, push};
use crate::rpc::chain::Front;
use crate::rpc::fault::{Code, Fault};
use crate::rpc::methods::peers::ORDER_LIMIT;
use crate::rpc::service::Service;
use crate::rpc::show::{Hex, block_blob};
use crate::wallet::address;

/// For blocks on demand; whoever wants more asks again.
const GENERATE_LIMIT: Duration = Duration::from_mins(5);
/// For a block that was found elsewhere: until it is durable.
const SUBMIT_LIMIT: Duration = Duration::from_secs(20);
/// Mining threads: more than any small machine has.
const THREADS_MAX: usize = 256;
/// What the pool has for a block is looked up again after this, or when there is a new tip.
const PACKED_MS: u64 = 1_000;

/// What the pool has for a block.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Packed {
    parent: Position,
    transfers: Vec<Hash>,
    fees: u64,
    packed_at: Mono,
}

/// Parameters of `generateblocks`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Wanted {
    amount_of_blocks: u32,
    #[serde(default)]
    wallet_address: Option<String>,
}

#[derive(Serialize)]
struct Generated {
    blocks: Vec<Hash>,
    height: u64,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn generate_blocks(call: Call<'_>) -> Result<(), Fault> {
    let wanted: Wanted = call.read()?;
    let Call { service, is_wanted, out, .. } = call;
    let count = wanted.amount_of_blocks;
    if count == 0 || count > GENERATE_MAX {
        let message = format!("`amount_of_blocks` is {count}; 1 to {GENERATE_MAX} are mined for one question");
        return Err(Fault::new(Code::WrongParam, message));
    }
    let payout = payout(service, wanted.wallet_address.as_deref())?;
    let _place = service.long_wait()?;
    let blocks = match service.order(Order::Generate { count, payout }, GENERATE_LIMIT, is_wanted)? {
        Answer::Blocks(blocks) => blocks.map_err(|why| Fault::new(Code::Refused, why))?,
        Answer::Done(_) => return Err(Fault::mixed_up()),
    };
    let last = blocks.last().map(|id| service.chain().need(id)).transpose()?;
    let height = last.map_or(0, |meta| meta.header.height);
    push(out, &Generated { blocks, height, status: Fine::Ok, untrusted: false });
    Ok(())
}

/// Whom an address or a public key means; `None`: whom the node pays by itself.
fn payout(service: &Service, text: Option<&str>) -> Result<Option<Payout>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let mut key = Key::default();
    if hex::decode_to_slice(text, &mut key.0).is_ok() {
        let wrong = |why| Fault::new(Code::WrongAddress, format!("`{text}` {why}"));
        return key.check_payable().map_err(wrong).map(|()| Some(key.into()));
    }
    match address::parse(service.node().params(), text) {
        Ok(address) => Ok(Some(Payout::Address { address: Box::new(address), node_secret: service.node_secret })),
        // Only its beginning is repeated: it may be a view key, which is a secret.
        Err(error) => Err(Fault::new(
            Code::WrongAddress,
            format!(
                "`{text:.16}…` cannot be paid: {error}; an address of this network or a public key in hex is needed"
            ),
        )),
    }
}

/// Parameters of `start_mining`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Miners {
    #[serde(default)]
    miner_address: Option<String>,
    #[serde(default = "one")]
    threads_count: usize,
}

fn one() -> usize {
    1
}

pub(in crate::rpc) fn start_mining(service: &Service, miners: Miners) -> Result<impl Serialize, Fault> {
    // monerod's "as many as are good".
    let threads = if miners.threads_count == 0 { 1 } else { miners.threads_count };
    if threads > THREADS_MAX {
        let message = format!("`threads_count` is {threads}; 1 to {THREADS_MAX} mine");
        return Err(Fault::new(Code::WrongParam, message));
    }
    let payout = payout(service, miners.miner_address.as_deref())?;
    service.have_done(Order::Mine { threads, payout }, ORDER_LIMIT)?;
    Ok(Done::default())
}

pub(in crate::rpc) fn stop_mining(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    service.have_done(Order::Mine { threads: 0, payout: None }, ORDER_LIMIT)?;
    Ok(Done::default())
}

#[derive(Serialize)]
struct MiningStatus {
    active: bool,
    block_reward: u64,
    block_target: u64,
    /// Of orders for blocks that are under way or wait.
    blocks_owed: u64,
    difficulty: u64,
    difficulty_top64: u64,
    hashes: u64,
    is_background_mining_enabled: bool,
    pow_algorithm: &'static str,
    speed: u64,
    status: Fine,
    threads_count: usize,
    untrusted: bool,
    wide_difficulty: Hex,
}

pub(in crate::rpc) fn mining_status(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let (node, mining, summary) = (service.node(), service.node().board().mining(), service.node().board().summary());
    let (tip, difficulty) = service.chain().end(&summary)?;
    Ok(MiningStatus {
        active: mining.threads > 0 || summary.blocks_owed > 0,
        block_reward: node.params().reward(tip.header.height + 1),
        block_target: node.params().spec().block_time_ms / 1_000,
        blocks_owed: summary.blocks_owed,
        difficulty,
        difficulty_top64: 0,
        hashes: mining.hashes,
        is_background_mining_enabled: false,
        pow_algorithm: "double SHA-256",
        speed: mining.hashes_per_s,
        status: Fine::Ok,
        threads_count: mining.threads,
        untrusted: false,
        wide_difficulty: Hex(difficulty.into()),
    })
}

/// Parameters of `get_block_template`.
#[derive(Deserialize)]
struct ForWhom {
    wallet_address: String,
}

#[derive(Serialize)]
struct Template<'a> {
    blockhashing_blob: &'a str,
    blocktemplate_blob: &'a str,
    difficulty: u64,
    difficulty_top64: u64,
    expected_reward: u64,
    height: u64,
    /// Where the nonce, a u64 in little endian, stands in both.
    nonce_offset: usize,
    prev_hash: Hash,
    status: Fine,
    untrusted: bool,
    wide_difficulty: Hex,
}

pub(in crate::rpc) fn get_block_template(call: Call<'_>) -> Result<(), Fault> {
    let ForWhom { wallet_address } = call.read()?;
    let Call { service, out, .. } = call;
    let payout = payout(service, Some(&wallet_address))?;
    let payout =
        payout.ok_or_else(|| Fault::new(Code::WrongAddress, "`wallet_address` is empty; whom shall it pay?"))?;
    let _turn = service.making()?;
    let Packed { parent, transfers, fees, .. } = packed(service)?;
    let params = service.node().params();
    let height = parent.height + 1;
    let coinbase = payout.coinbase(height, parent.id, params.reward(height) + fees);
    let ids: Vec<Hash> = std::iter::once(coinbase.id()).chain(transfers.iter().copied()).collect();
    let header = Header {
        version: params.rules_at(height),
        height,
        prev: parent.id,
        merkle_root: merkle_root(&ids),
        time: service.node().now().wall.0.max(parent.time + 1),
        difficulty: parent.difficulty_due(params),
        nonce: 0,
    };
    let count = u16::try_from(transfers.len()).expect("a block of legal size has few enough transfers");
    let blob = hex::encode(block_blob(&header, &Front { coinbase: Some(coinbase), transfers: count }, &transfers));
    push(
        out,
        &Template {
            blockhashing_blob: &blob[..2 * HEADER_BYTES],
            blocktemplate_blob: &blob,
            difficulty: header.difficulty,
            difficulty_top64: 0,
            expected_reward: coinbase.output.amount,
            height,
            nonce_offset: HEADER_BYTES - 8,
            prev_hash: parent.id,
            status: Fine::Ok,
            untrusted: false,
            wide_difficulty: Hex(header.difficulty.into()),
        },
    );
    Ok(())
}

/// What is best now; the owner is asked at most once in a while, since packing a full pool takes some milliseconds.
fn packed(service: &Service) -> Result<Packed, Fault> {
    let mut kept = service.packed.lock();
    let (summary, now) = (service.node().board().summary(), service.node().now().mono);
    if summary.is_catching_up {
        return Err(Fault::new(Code::Busy, "the node is catching up, and a block on its tip would come too late"));
    }
    if let Some(packed) = &*kept
        && packed.parent.id == summary.tip.id
        && now.since(packed.packed_at) < PACKED_MS
    {
        return Ok(packed.clone());
    }
    let packed = service.node().look(|view| {
        let pack = view.node.pool().pack();
        Packed {
            parent: *view.node.chain().tip_position(),
            transfers: pack.transfers.iter().map(|transfer| transfer.id()).collect(),
            fees: pack.transfers.iter().map(|transfer| transfer.fee()).sum(),
            packed_at: view.now.mono,
        }
    })?;
    *kept = Some(packed.clone());
    Ok(packed)
}

#[derive(Serialize)]
struct Submitted {
    block_id: Hash,
    status: Fine,
    untrusted: bool,
}

/// Takes no cookie: see the top of the file.
pub(in crate::rpc) fn submit_block(service: &Service, (blob,): (String,)) -> Result<impl Serialize, Fault> {
    let bytes = hex::decode(&blob)
        .map_err(|error| Fault::new(Code::WrongBlock, format!("the block is no hexadecimal text: {error}")))?;
    drop(blob);
    let block_id = submit(service, bytes)?;
    Ok(Submitted { block_id, status: Fine::Ok, untrusted: false })
}

/// Has a block taken; gives its id once it is durable.
pub(in crate::rpc) fn submit(service: &Service, bytes: Vec<u8>) -> Result<Hash, Fault> {
    // Held until the block is durable: a mebibyte and its tables, once.
    let _turn = service.submitting()?;
    let block = checked(service, bytes)?;
    let id = block.id();
    match service.order(Order::SubmitBlock(Box::new(block)), SUBMIT_LIMIT, &|| true)? {
        Answer::Done(done) => done.map(|()| id).map_err(|why| Fault::new(Code::BlockRefused, why)),
        Answer::Blocks(_) => Err(Fault::mixed_up()),
    }
}

/// A block from its bytes, whole or in the short form.
fn checked(service: &Service, bytes: Vec<u8>) -> Result<CheckedBlock, Fault> {
    // Whoever makes a large answer has as much in memory: they take turns.
    let _turn = service.making()?;
    let params = service.node().params();
    if bytes.len() > BLOCK_BYTES_MAX {
        let message = format!("the block has {} bytes (limit {BLOCK_BYTES_MAX})", bytes.len());
        return Err(Fault::new(Code::WrongBlock, message));
    }
    let refused = |why: &dyn std::fmt::Display| Fault::new(Code::WrongBlock, format!("the block is refused: {why}"));
    let (header, rest) = codec::decode_prefix::<Header>(&bytes).map_err(|error| refused(&error))?;
    check_place(service, params, header)?;
    if let Some(ids) = short_form(rest) {
        return put_together(service, params, &bytes, ids);
    }
    let read = ReadBlock::read(params, bytes).map_err(|reject| refused(&reject))?;
    read.verified(service.node().verifier()).map_err(|reject| refused(&reject))
}

/// Checks its work against its parent before anything else of it is looked at: who has not worked buys no look at
/// signatures.
fn check_place(service: &Service, params: &Params, header: Header) -> Result<(), Fault> {
    let refused = |why: &dyn std::fmt::Display| Fault::new(Code::BlockRefused, format!("the block is refused: {why}"));
    let header = CheckedHeader::check(header).map_err(|reject| refused(&reject))?;
    let reader = service.node().reader();
    let prev = header.header().prev;
    let unknown =
        || Fault::new(Code::BlockRefused, format!("the block is refused: its parent {prev} is not known here"));
    let parent = reader.find_meta(&prev)?.ok_or_else(unknown)?;
    let before = if parent.header.height == 0 { Some(parent) } else { reader.find_meta(&parent.header.prev)? };
    let position = Position::of(&parent.header, parent.id, before.ok_or_else(unknown)?.header.time, parent.work);
    let judged = position.child(params, &header, service.node().now().wall);
    judged.map(|_| ()).map_err(|reject| refused(&reject))
}

/// The ids in the short form of a block, given what follows its header; `None` if it is a whole block.
fn short_form(rest: &[u8]) -> Option<&[u8]> {
    let (count, ids) = rest.get(COINBASE_BYTES..)?.split_first_chunk()?;
    let count = usize::from(u16::from_le_bytes(*count));
    // A transfer is longer than an id, so no whole block has this length; one without transfers is the same in both.
    (ids.len() == 32 * count && count <= TRANSFERS_MAX && count > 0).then_some(ids)
}

/// A block of transfers that wait here, whose signatures were checked when they came.
fn put_together(service: &Service, params: &Params, bytes: &[u8], ids: &[u8]) -> Result<CheckedBlock, Fault> {
    let ids: Vec<Hash> = ids.chunks_exact(32).map(|id| Hash(id.try_into().expect("32 bytes"))).collect();
    let found = service.node().look(move |view| {
        let (mut found, mut size_bytes) = (Vec::with_capacity(ids.len()), TRANSFERS_AT);
        for id in ids {
            let transfer = view.node.pool().get(&id).cloned().ok_or(id)?;
            size_bytes += transfer.bytes().len();
            found.push(transfer);
            if size_bytes > BLOCK_BYTES_MAX {
                break;
            }
        }
        Ok::<Vec<CheckedTx>, Hash>(found)
    })?;
    let transfers = found.map_err(|id| {
        Fault::new(Code::BlockRefused, format!("the block is refused: its transfer {id} does not wait here any more"))
    })?;
    let refused = |why: &dyn std::fmt::Display| Fault::new(Code::BlockRefused, format!("the block is refused: {why}"));
    let (header, rest) = codec::decode_prefix(bytes).map_err(|error| refused(&error))?;
    let (coinbase, _) = codec::decode_prefix(rest).map_err(|error| refused(&error))?;
    let header = CheckedHeader::check(header).map_err(|reject| refused(&reject))?;
    let transfers: Vec<&CheckedTx> = transfers.iter().collect();
    CheckedBlock::assemble(params, header, &coinbase, &transfers).map_err(|reject| refused(&reject))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the short form is told from a whole block by its length alone. Method: both, with and without transfers.
    #[test]
    fn the_short_form_is_told_by_its_length() {
        let with =
            |count: u16, more: usize| [vec![0; COINBASE_BYTES], count.to_le_bytes().to_vec(), vec![0; more]].concat();
        assert_eq!(short_form(&with(3, 96)).map(<[u8]>::len), Some(96));
        for (count, more) in [(0, 0), (1, 227), (1, 31), (1, 33), (3, 0), (0, 32)] {
            assert_eq!(short_form(&with(count, more)), None, "{count} {more}");
        }
        assert_eq!(short_form(&[0; 10]), None);
    }
}
