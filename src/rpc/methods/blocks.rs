//! Blocks and headers, by height and by hash.

use serde::{Deserialize, Serialize};

use crate::blockchain::block::Block;
use crate::blockchain::storage::BlockMeta;
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::rpc::call::{Fine, Nothing};
use crate::rpc::chain::{Chain, Front};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::service::{Making, Service};
use crate::rpc::show::{BlockHeader, BlockJson, block_blob, transfer_ids};

/// Headers of one answer: 1,000 × about 800 bytes.
pub(in crate::rpc) const HEADERS_MAX: u64 = 1_000;
/// Bytes of blocks that are read for one answer.
const RANGE_BYTES: u64 = 64 << 20;
/// Blocks that are larger are read and shown by one at a time.
const SMALL_BYTES: u32 = 64 << 10;
/// Hashes that one question may name.
const HASHES_MAX: usize = 100;

#[derive(Serialize)]
struct Count {
    count: u64,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn get_block_count(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    Ok(Count { count: service.chain().tip()?.header.height + 1, status: Fine::Ok, untrusted: false })
}

pub(in crate::rpc) fn on_get_block_hash(service: &Service, (height,): (u64,)) -> Result<impl Serialize, Fault> {
    Ok(service.chain().need_at(height)?.id)
}

/// An answer that holds one header.
#[derive(Serialize)]
struct OneHeader {
    block_header: BlockHeader,
    status: Fine,
    untrusted: bool,
}

impl OneHeader {
    fn new(block_header: BlockHeader) -> Self {
        Self { block_header, status: Fine::Ok, untrusted: false }
    }
}

pub(in crate::rpc) fn get_last_block_header(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let chain = service.chain();
    Ok(OneHeader::new(header_of(service, &chain, &chain.tip()?)?))
}

/// Parameters of `get_block_header_by_height`.
#[derive(Deserialize)]
pub(in crate::rpc) struct AtHeight {
    height: u64,
}

pub(in crate::rpc) fn get_block_header_by_height(
    service: &Service,
    AtHeight { height }: AtHeight,
) -> Result<impl Serialize, Fault> {
    let chain = service.chain();
    Ok(OneHeader::new(header_of(service, &chain, &chain.need_at(height)?)?))
}

/// Parameters of `get_block_header_by_hash`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::rpc) struct ByHash {
    hash: Option<Hash>,
    hashes: Vec<Hash>,
}

#[derive(Serialize)]
struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    block_header: Option<BlockHeader>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    block_headers: Vec<BlockHeader>,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn get_block_header_by_hash(
    service: &Service,
    ByHash { hash, hashes }: ByHash,
) -> Result<impl Serialize, Fault> {
    if hash.is_none() && hashes.is_empty() {
        return Err(Fault::new(Code::WrongParam, "neither `hash` nor `hashes` says which block is meant"));
    }
    if hashes.len() > HASHES_MAX {
        let message = format!("`hashes` has {} entries; {HASHES_MAX} are answered at once", hashes.len());
        return Err(Fault::new(Code::WrongParam, message));
    }
    let chain = service.chain();
    let shown = |id: &Hash| header_of(service, &chain, &chain.need(id)?);
    Ok(Headers {
        block_header: hash.as_ref().map(shown).transpose()?,
        block_headers: hashes.iter().map(shown).collect::<Result<_, _>>()?,
        status: Fine::Ok,
        untrusted: false,
    })
}

/// Parameters of `get_block_headers_range`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Range {
    start_height: u64,
    end_height: u64,
}

#[derive(Serialize)]
struct HeadersRange<'a> {
    headers: Vec<BlockHeader>,
    status: Fine,
    untrusted: bool,
    /// Held until it is written down.
    #[serde(skip)]
    _turn: Making<'a>,
}

pub(in crate::rpc) fn get_block_headers_range(service: &Service, range: Range) -> Result<impl Serialize, Fault> {
    let Range { start_height, end_height } = range;
    let chain = service.chain();
    let tip = chain.tip()?.header.height;
    if start_height > end_height || end_height > tip {
        let message = if start_height > end_height {
            format!("the range {start_height} to {end_height} is none: the lower height comes first")
        } else {
            format!("there is no block at height {end_height}; the last one's is {tip}")
        };
        return Err(Fault::new(Code::TooBigHeight, message));
    }
    let count = end_height - start_height;
    if count >= HEADERS_MAX {
        let message =
            format!("{start_height} to {end_height} are too many headers at once; {HEADERS_MAX} are answered");
        return Err(Fault::new(Code::WrongParam, message));
    }
    let count = usize::try_from(count + 1).expect("at most a thousand");
    check_bytes(&chain, start_height, count)?;
    let (mut headers, mut buffer) = (Vec::with_capacity(count), service.making()?);
    let is_active = |meta: &BlockMeta| chain.reader().is_active(meta);
    chain.each_front(start_height, count, &mut buffer, &mut |meta, front| {
        headers.push(BlockHeader::new(meta, front, tip, is_active(meta)));
    })?;
    buffer.clear();
    buffer.shrink_to(0);
    Ok(HeadersRange { headers, status: Fine::Ok, untrusted: false, _turn: buffer })
}

/// Every block of a range is read whole, one client after the other: that takes no longer than a moment.
fn check_bytes(chain: &Chain<'_>, from: u64, count: usize) -> Result<(), Fault> {
    let (mut fits, mut bytes) = (0, 0);
    for row in chain.reader().records_from(from, count).chunk_by(|a, b| a.0 + 1 == b.0) {
        for meta in chain.reader().metas(row[0], row.len())? {
            bytes += u64::from(meta.size_bytes);
            if bytes > RANGE_BYTES {
                let message = format!(
                    "the {count} blocks from height {from} on are more than {} MiB, which one question has read; ask for \
                     {fits} headers at a time",
                    RANGE_BYTES >> 20
                );
                return Err(Fault::new(Code::TooLong, message));
            }
            fits += 1;
        }
    }
    Ok(())
}

/// Parameters of `get_block`. monero-python means height 0 when it sends neither.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::rpc) struct WhichBlock {
    height: u64,
    /// Goes before the height. Empty is none.
    hash: Option<String>,
}

#[derive(Serialize)]
struct ShownBlock<'a> {
    blob: String,
    block_header: BlockHeader,
    json: String,
    miner_tx_hash: Hash,
    status: Fine,
    tx_hashes: Vec<Hash>,
    untrusted: bool,
    /// Held until it is written down, if it is large.
    #[serde(skip)]
    _turn: Option<Making<'a>>,
}

pub(in crate::rpc) fn get_block(service: &Service, which: WhichBlock) -> Result<impl Serialize, Fault> {
    let chain = service.chain();
    let meta = match which.hash.filter(|hash| !hash.is_empty()) {
        None => chain.need_at(which.height)?,
        Some(hash) => {
            let id = hash.parse::<Hash>().map_err(|error| Fault::new(Code::WrongParam, error.to_string()))?;
            chain.need(&id)?
        }
    };
    let turn = (meta.size_bytes > SMALL_BYTES).then(|| service.making()).transpose()?;
    let bytes = chain.reader().block(meta.record)?;
    let front = Front::of(&bytes);
    let tx_hashes = ids_in(&bytes);
    drop(bytes);
    let maturity = service.node().params().spec().maturity;
    let json = serde_json::to_string(&BlockJson::new(&meta.header, &front, maturity, &tx_hashes));
    let block_header = shown(&chain, &meta, front)?;
    Ok(ShownBlock {
        blob: hex::encode(block_blob(&meta.header, &front, &tx_hashes)),
        miner_tx_hash: block_header.miner_tx_hash(),
        block_header,
        json: json.expect("memory takes every answer of ours"),
        status: Fine::Ok,
        tx_hashes,
        untrusted: false,
        _turn: turn,
    })
}

/// The ids of the transfers in a block's bytes; genesis has none of either.
fn ids_in(bytes: &[u8]) -> Vec<Hash> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let block: Block = codec::decode(bytes).expect("a block that was connected was decoded before");
    transfer_ids(&block)
}

fn header_of(service: &Service, chain: &Chain<'_>, meta: &BlockMeta) -> Result<BlockHeader, Fault> {
    let _turn = (meta.size_bytes > SMALL_BYTES).then(|| service.making()).transpose()?;
    shown(chain, meta, chain.front(meta)?)
}

fn shown(chain: &Chain<'_>, meta: &BlockMeta, front: Front) -> Result<BlockHeader, Fault> {
    Ok(BlockHeader::new(meta, front, chain.tip()?.header.height, chain.reader().is_active(meta)))
}
