//! Bytes as they rest, for programs that scan the chain: headers, runs of blocks, the pool.
//!
//! What is asked for is small and what is answered is what the node has anyway, copied: a wallet that reads a million
//! blocks costs the node the reading of a file. Every answer has a cap, and whoever gets less than he asked for asks
//! for the rest; how, stands with each path in `rpc.md`.
//!
//! Only the durable part of the chain is handed out ([`chain`](super::chain)), and only blocks that were connected
//! once.

use crate::blockchain::storage::{BlockMeta, RecordNo};
use crate::node::message::HEADERS_MAX;
use crate::primitives::frame;
use crate::primitives::hash::Hash;
use crate::rpc::chain::Chain;
use crate::rpc::fault::{Code, Fault};
use crate::rpc::http::{Method, Request, Response, Status};
use crate::rpc::methods::mining;
use crate::rpc::pool;
use crate::rpc::service::{Service, failed};

const CONTENT_TYPE: &str = "application/octet-stream";

/// Hashes of a locator.
const KNOWN_MAX: usize = 64;
/// Blocks of one run: as many as headers come at once.
const BLOCKS_MAX: u64 = 2_000;
/// Bytes of one answer; a block that is larger comes alone.
pub(super) const RUN_BYTES: usize = 512 << 10;
/// Ids of one page of the pool: 256 KiB.
const POOL_IDS_MAX: usize = 8_192;
/// Ids that one question may name.
const TXS_MAX: usize = 1_000;

/// The answer of a path that is asked for in bytes; `None` if there is no such path.
pub(super) fn answer(service: &Service, request: &Request<'_>) -> Option<Response> {
    let (expected, allow) = match request.path {
        "/headers.bin" | "/transactions.bin" | "/submit_block.bin" => (Method::Post, "POST"),
        "/blocks.bin" | "/pool.bin" => (Method::Get, "GET, HEAD"),
        _ => return None,
    };
    if request.method != expected {
        return Some(Response::method_not_allowed(allow));
    }
    let answered = match request.path {
        "/headers.bin" => headers(service, request.body),
        "/blocks.bin" => blocks(service, request.query),
        "/pool.bin" => waiting(service, request.query),
        "/transactions.bin" => transactions(service, request.body),
        _ => mining::submit(service, request.body.to_vec()).map(|id| id.0.to_vec()),
    };
    Some(match answered {
        Ok(body) => Response::new(Status::Ok, CONTENT_TYPE, body),
        Err(fault) => failed(&fault),
    })
}

/// Headers of the active chain behind the first of these that is on it, or behind genesis if none is.
fn headers(service: &Service, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let known = hashes(body, KNOWN_MAX)?;
    let chain = service.chain();
    let reader = chain.reader();
    let mut fork_height = 0;
    for id in &known {
        if let Some(meta) = reader.find_meta(id)?.filter(|meta| reader.is_active(meta)) {
            fork_height = meta.header.height;
            break;
        }
    }
    let records = reader.records_from(fork_height + 1, HEADERS_MAX);
    let mut bytes = Vec::with_capacity(100 * records.len());
    for row in records.chunk_by(|a, b| a.0 + 1 == b.0) {
        let metas = reader.metas(row[0], row.len())?;
        for meta in &metas {
            // What lies behind it is not durable either.
            if !chain.is_told(meta) {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&meta.header.to_bytes());
        }
    }
    Ok(bytes)
}

/// The first frames, as many as fit, of the run of `count` blocks that ends in `last`.
fn blocks(service: &Service, query: &str) -> Result<Vec<u8>, Fault> {
    let (mut last, mut count) = (None, None);
    for (name, value) in pairs(query) {
        match name {
            "last" => last = Some(hash("last", value)?),
            "count" => count = value.parse::<u64>().ok().filter(|count| (1..=BLOCKS_MAX).contains(count)),
            _ => {}
        }
    }
    let last = last.ok_or_else(|| wrong("`last` is missing: the id of the run's last block".into()))?;
    let count = count.ok_or_else(|| wrong(format!("`count` is missing or not one of 1 to {BLOCKS_MAX}")))?;
    let chain = service.chain();
    let records = run(&chain, last, count)?;
    let reader = chain.reader();
    let (mut bytes, mut buffer, mut next) = (Vec::new(), Vec::new(), 0);
    while let Some(row) = records[next..].chunk_by(|a, b| a.0 + 1 == b.0).next() {
        let room = RUN_BYTES.saturating_sub(bytes.len());
        let size_bytes = reader.meta(row[0])?.size_bytes as usize;
        if !bytes.is_empty() && frame::HEADER_BYTES + size_bytes > room {
            break;
        }
        let read = reader.frames(row[0], row.len(), room, &mut buffer)?;
        if read == 0 {
            break;
        }
        if bytes.is_empty() {
            std::mem::swap(&mut bytes, &mut buffer);
        } else {
            bytes.extend_from_slice(&buffer);
        }
        next += read;
    }
    Ok(bytes)
}

/// The records of a run, oldest first.
fn run(chain: &Chain<'_>, last: Hash, count: u64) -> Result<Vec<RecordNo>, Fault> {
    let reader = chain.reader();
    let mut meta = chain.need(&last)?;
    if !reader.is_served(meta.record) {
        return Err(Fault::new(Code::NotFound, format!("block {last} was never a part of this node's chain")));
    }
    if count > meta.header.height {
        let height = meta.header.height;
        let message = format!("`count` is {count}, and only {height} blocks lead to {last}; genesis has no bytes");
        return Err(Fault::new(Code::NotFound, message));
    }
    let wanted = usize::try_from(count).expect("at most two thousand");
    if reader.is_active(&meta) {
        let records = reader.records_from(meta.header.height + 1 - count, wanted);
        // A reorganisation between the two looks is told by the last record being another one.
        if records.last() == Some(&meta.record) && records.len() == wanted {
            return Ok(records);
        }
    }
    let mut records = vec![meta.record];
    while records.len() < wanted {
        let parent: BlockMeta = chain.need(&meta.header.prev)?;
        records.push(parent.record);
        meta = parent;
    }
    records.reverse();
    Ok(records)
}

/// A page of the ids of what waits.
fn waiting(service: &Service, query: &str) -> Result<Vec<u8>, Fault> {
    let mut after = Hash::ZERO;
    for (name, value) in pairs(query) {
        if name == "after" {
            after = hash("after", value)?;
        }
    }
    let _turn = service.making()?;
    let ids = service.node().look(move |view| pool::ids_after(view, after, POOL_IDS_MAX))?;
    Ok(ids.iter().flat_map(|id| id.0).collect())
}

/// For each of these ids a length and the bytes of what waits under it, 0 without; as many as fit.
fn transactions(service: &Service, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let ids = hashes(body, TXS_MAX)?;
    let _turn = service.making()?;
    let asked = ids.clone();
    let (copied, is_all, ()) = pool::copy(service, RUN_BYTES, move |_| (ids, ()))?;
    let mut waiting = copied.into_iter().peekable();
    let mut bytes = Vec::new();
    for id in asked {
        if let Some((_, transaction)) = waiting.next_if(|(waiting, _)| waiting.id == id) {
            let length = u32::try_from(transaction.len()).expect("a transaction has at most 64 KiB");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&transaction);
        } else if waiting.peek().is_none() && !is_all {
            // Whether this one waits was not looked at: the answer ends here.
            break;
        } else {
            bytes.extend_from_slice(&0_u32.to_le_bytes());
        }
    }
    Ok(bytes)
}

fn hashes(body: &[u8], most: usize) -> Result<Vec<Hash>, Fault> {
    if !body.len().is_multiple_of(32) || body.len() > 32 * most {
        return Err(wrong(format!("the body has {} bytes; up to {most} ids of 32 bytes are needed", body.len())));
    }
    Ok(body.chunks_exact(32).map(|id| Hash(id.try_into().expect("32 bytes"))).collect())
}

/// `name=value` between ampersands.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('='))
}

fn hash(name: &str, value: &str) -> Result<Hash, Fault> {
    value.parse().map_err(|error| wrong(format!("`{name}`: {error}")))
}

fn wrong(message: String) -> Fault {
    Fault::new(Code::WrongParam, message)
}
