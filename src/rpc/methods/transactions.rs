//! Transactions: by id, what waits, and new ones.
//!
//! What waits is copied between two of the owner's turns; what is in blocks is found through the index and read from
//! the file, each block once however many of its transactions are asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::blockchain::block::Block;
use crate::blockchain::checked_tx::ReadTx;
use crate::blockchain::mempool::Waiting;
use crate::blockchain::params::TRANSACTION_BYTES_MAX;
use crate::blockchain::storage::BlockMeta;
use crate::blockchain::transaction::Transaction;
use crate::node::orders::{Answer, Order};
use crate::primitives::codec;
use crate::primitives::hash::Hash;
use crate::rpc::call::{Call, Fine, Nothing, push};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::finding::Finding;
use crate::rpc::pool;
use crate::rpc::service::{ANSWER_BYTES, Service};
use crate::rpc::show::TxJson;

/// Transactions that one question may name: what monerod takes from strangers.
const TXS_MAX: usize = 100;
/// One answer of `get_transactions`: as many as that of one block fit, as JSON and without their bytes.
pub(in crate::rpc) const TXS_BYTES: usize = 5 << 19;
const TOO_LONG: usize = TXS_BYTES + 1;
/// Bytes of what waits that are copied for one answer.
const POOL_COPY_BYTES: usize = 1 << 20;
/// The same for a page of the pool; as JSON it is up to eight times as large.
const PAGE_BYTES: usize = 112 << 10;
/// Rows of `get_pool`.
const ROWS_MAX: usize = 1_000;
/// For a verdict: signatures are checked meanwhile.
const SUBMIT_LIMIT: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct FeeEstimate {
    /// Per byte, rounded up.
    fee: u64,
    fee_per_1000_bytes: u64,
    quantization_mask: u64,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn get_fee_estimate(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let floor = service.node().board().summary().fee_rate_min;
    Ok(FeeEstimate {
        fee: floor.div_ceil(1_000),
        fee_per_1000_bytes: floor,
        quantization_mask: 1,
        status: Fine::Ok,
        untrusted: false,
    })
}

/// Parameters of `get_transactions`.
#[derive(Deserialize)]
struct WhichTxs {
    txs_hashes: Vec<Hash>,
    #[serde(default)]
    decode_as_json: bool,
    #[serde(default)]
    prune: bool,
}

/// One transaction.
#[derive(Serialize)]
struct Tx<'a> {
    as_hex: String,
    as_json: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_timestamp: Option<u64>,
    confirmations: u64,
    double_spend_seen: bool,
    fee: u64,
    in_pool: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_timestamp: Option<u64>,
    relayed: bool,
    size: usize,
    tx_hash: &'a Hash,
}

pub(in crate::rpc) fn get_transactions(call: Call<'_>) -> Result<(), Fault> {
    let which: WhichTxs = call.read()?;
    let asked = which.txs_hashes.len();
    if asked > TXS_MAX {
        let message =
            format!("`txs_hashes` has {asked} entries; {TXS_MAX} are answered at once, so ask for them in parts");
        return Err(Fault::new(Code::WrongParam, message));
    }
    let Call { service, out, .. } = call;
    let _turn = service.making()?;
    let begun = out.len();
    out.extend_from_slice(b"{\"txs\":[");
    let mut rows = Rows { service, out, begun, is_first: true, which: &which };
    let waiting = rows.push_waiting()?;
    let left: Vec<Hash> = which.txs_hashes.iter().filter(|id| !waiting.contains(id)).copied().collect();
    let mut finding = Finding::new(service, &left)?;
    while let Some((meta, block)) = finding.next()? {
        rows.push_confirmed(&meta, &block, finding.found())?;
    }
    let (missed, unread) = finding.rest();
    out.extend_from_slice(b"],\"missed_tx\":");
    push(out, &missed);
    out.extend_from_slice(b",\"untrusted\":false,\"status\":");
    // What has not been looked through may have what is missed.
    match unread {
        Some((done, all)) if !missed.is_empty() => {
            push(
                out,
                &format!("BUSY: transactions of {done} of {all} blocks are indexed; ask for the missed ones later"),
            );
        }
        _ => push(out, &Fine::Ok),
    }
    out.push(b'}');
    Ok(())
}

/// The list of an answer as it grows.
struct Rows<'a> {
    service: &'a Service,
    out: &'a mut Vec<u8>,
    begun: usize,
    is_first: bool,
    which: &'a WhichTxs,
}

impl Rows<'_> {
    /// Those that wait; gives their ids.
    fn push_waiting(&mut self) -> Result<Vec<Hash>, Fault> {
        let ids = self.which.txs_hashes.clone();
        let (copied, is_all, ()) = pool::copy(self.service, POOL_COPY_BYTES, move |_| (ids, ()))?;
        if !is_all {
            return Err(too_long());
        }
        for (waiting, bytes) in &copied {
            let transfer: Transaction = codec::decode(bytes).expect("what waits was decoded before");
            self.push(&Tx {
                as_hex: self.hex(bytes),
                as_json: self.json(|pruned| TxJson::of_transfer(&transfer, bytes, pruned)),
                block_hash: None,
                block_height: None,
                block_timestamp: None,
                confirmations: 0,
                double_spend_seen: false,
                fee: waiting.fee,
                in_pool: true,
                received_timestamp: Some(waiting.arrived.0 / 1_000),
                relayed: true,
                size: waiting.size_bytes,
                tx_hash: &waiting.id,
            })?;
        }
        Ok(copied.into_iter().map(|(waiting, _)| waiting.id).collect())
    }

    /// Those of a block at these places, 0 being the coinbase.
    fn push_confirmed(&mut self, meta: &BlockMeta, block: &Block, found: &[(Hash, usize)]) -> Result<(), Fault> {
        let maturity = self.service.node().params().spec().maturity;
        let tip_height = self.service.chain().tip()?.header.height;
        for (id, place) in found {
            let transfer = place.checked_sub(1).map(|place| &block.transfers[place]);
            let bytes = transfer.map_or_else(|| codec::encode(&block.coinbase), codec::encode);
            let as_json = self.json(|pruned| match transfer {
                Some(transfer) => TxJson::of_transfer(transfer, &bytes, pruned),
                None => TxJson::of_coinbase(&block.coinbase, maturity),
            });
            self.push(&Tx {
                as_hex: self.hex(&bytes),
                as_json,
                block_hash: Some(meta.id),
                block_height: Some(meta.header.height),
                block_timestamp: Some(meta.header.time / 1_000),
                confirmations: tip_height.saturating_sub(meta.header.height) + 1,
                double_spend_seen: false,
                fee: transfer.map_or(0, fee_of),
                in_pool: false,
                received_timestamp: None,
                relayed: true,
                size: bytes.len(),
                tx_hash: id,
            })?;
        }
        Ok(())
    }

    fn hex(&self, bytes: &[u8]) -> String {
        if self.which.prune { String::new() } else { hex::encode(bytes) }
    }

    fn json<'t>(&self, of: impl FnOnce(bool) -> TxJson<'t>) -> String {
        if self.which.decode_as_json { json(&of(self.which.prune)) } else { String::new() }
    }

    fn push(&mut self, row: &Tx<'_>) -> Result<(), Fault> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        let before = self.out.len() - self.begun;
        push(self.out, row);
        match self.out.len() - self.begun {
            TOO_LONG.. => Err(too_long()),
            bytes if bytes > ANSWER_BYTES && before <= ANSWER_BYTES => self.service.hold_large(),
            _ => Ok(()),
        }
    }
}

fn too_long() -> Fault {
    let message = format!(
        "these transactions come to more than {TXS_BYTES} bytes; ask for fewer at once, or with `prune` and without their \
         bytes"
    );
    Fault::new(Code::TooLong, message)
}

fn json(transaction: &TxJson<'_>) -> String {
    serde_json::to_string(transaction).expect("memory takes every answer of ours")
}

/// What a transfer of a block leaves to the miner.
pub(in crate::rpc) fn fee_of(transfer: &Transaction) -> u64 {
    let spent: u64 = transfer.inputs.iter().map(|input| input.amount).sum();
    let made: u64 = transfer.outputs.iter().map(|output| output.amount).sum();
    spent - made
}

/// Parameters of `get_transaction_pool`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolPage {
    after: Option<Hash>,
}

/// One that waits, whole.
#[derive(Serialize)]
struct PoolTx {
    blob_size: usize,
    do_not_relay: bool,
    double_spend_seen: bool,
    fee: u64,
    id_hash: Hash,
    kept_by_block: bool,
    receive_time: u64,
    relayed: bool,
    tx_blob: String,
    tx_json: String,
    weight: usize,
}

pub(in crate::rpc) fn get_transaction_pool(call: Call<'_>) -> Result<(), Fault> {
    let PoolPage { after } = call.read()?;
    let Call { service, out, .. } = call;
    let _turn = service.making()?;
    // Who does not read on wants all of it.
    let is_large = after.is_none() && service.node().board().summary().pool_bytes > PAGE_BYTES;
    let answer_bytes = if is_large && service.hold_large().is_ok() { TXS_BYTES } else { ANSWER_BYTES };
    let page_bytes = answer_bytes / (ANSWER_BYTES / PAGE_BYTES);
    let (copied, is_all, (total, is_end)) = pool::copy(service, page_bytes, move |view| {
        let ids = pool::ids_after(view, after.unwrap_or_default(), ROWS_MAX);
        let is_end = ids.len() < ROWS_MAX;
        (ids, (pool::count(view), is_end))
    })?;
    let (begun, mut shown) = (out.len(), 0);
    out.extend_from_slice(b"{\"transactions\":[");
    for (waiting, bytes) in &copied {
        // The first is shown however large it is, so that whoever reads on gets on.
        if shown > 0 && out.len() - begun > answer_bytes - ANSWER_BYTES / 2 {
            break;
        }
        if shown > 0 {
            out.push(b',');
        }
        push(out, &pool_tx(waiting, bytes));
        shown += 1;
    }
    let last = copied.get(..shown).and_then(<[_]>::last).map(|(waiting, _)| waiting.id);
    let more = !(is_all && is_end && shown == copied.len());
    out.extend_from_slice(b"],\"total\":");
    push(out, &total);
    out.extend_from_slice(b",\"more\":");
    push(out, &more);
    out.extend_from_slice(b",\"after\":");
    push(out, &last.filter(|_| more));
    out.extend_from_slice(b",\"untrusted\":false,\"status\":");
    // Whoever reads on knows that there is more; whoever does not is told where he looks.
    let status = if more && after.is_none() {
        format!("BUSY: {shown} of {total} transactions fit into one answer; `after` asks for those behind them")
    } else {
        "OK".to_owned()
    };
    push(out, &status);
    out.push(b'}');
    Ok(())
}

fn pool_tx(waiting: &Waiting, bytes: &[u8]) -> PoolTx {
    let transfer: Transaction = codec::decode(bytes).expect("what waits was decoded before");
    PoolTx {
        blob_size: bytes.len(),
        do_not_relay: false,
        double_spend_seen: false,
        fee: waiting.fee,
        id_hash: waiting.id,
        kept_by_block: false,
        receive_time: waiting.arrived.0 / 1_000,
        relayed: true,
        tx_blob: hex::encode(bytes),
        tx_json: json(&TxJson::of_transfer(&transfer, bytes, false)),
        weight: bytes.len(),
    }
}

/// Parameters of `get_pool`.
#[derive(Deserialize)]
#[serde(default)]
pub(in crate::rpc) struct HowMany {
    count: usize,
}

impl Default for HowMany {
    fn default() -> Self {
        Self { count: 100 }
    }
}

#[derive(Serialize)]
struct Pool {
    bytes: usize,
    classes: Vec<Class>,
    fee_rate_min: u64,
    orphans: usize,
    status: Fine,
    total: usize,
    transactions: Vec<PoolRow>,
}

/// One that waits, without its bytes.
#[derive(Serialize)]
struct PoolRow {
    ancestors: usize,
    fee: u64,
    fee_per_1000_bytes: u64,
    id_hash: Hash,
    receive_time_ms: u64,
    size: usize,
}

/// Those that pay about the same.
#[derive(Serialize)]
struct Class {
    /// In half doublings of 1,000 units per 1,000 bytes.
    step: u32,
    count: usize,
    bytes: usize,
}

/// All that waits, by what it pays. `rated`: rate and size.
fn classes(rated: impl Iterator<Item = (u128, usize)>) -> Vec<Class> {
    let mut classes: BTreeMap<u32, Class> = BTreeMap::new();
    for (rate, size_bytes) in rated {
        // Nobody pays more than there are coins, so neither product leaves 128 bits.
        let rate = rate.clamp(1_000, u64::MAX.into());
        let doublings = (rate / 1_000).ilog2();
        let base = 1_000_u128 << doublings;
        let step = 2 * doublings + u32::from(rate.saturating_mul(rate) >= (2 * base).saturating_mul(base));
        let class = classes.entry(step).or_insert(Class { step, count: 0, bytes: 0 });
        class.count += 1;
        class.bytes += size_bytes;
    }
    classes.into_values().collect()
}

/// The best-paying ones.
pub(in crate::rpc) fn get_pool(service: &Service, HowMany { count }: HowMany) -> Result<impl Serialize, Fault> {
    if count > ROWS_MAX {
        return Err(Fault::new(Code::WrongParam, format!("`count` is {count}; {ROWS_MAX} rows are answered at once")));
    }
    let _turn = service.making()?;
    let mut all = service.node().look(|view| view.node.pool().snapshot())?;
    let rate = |waiting: &Waiting| u128::from(waiting.fee) * 1_000 / waiting.size_bytes.max(1) as u128;
    // Of those that pay the same whoever came first; the order in which they came is the list's.
    all.sort_by_key(|waiting| std::cmp::Reverse(rate(waiting)));
    let summary = service.node().board().summary();
    let rows = all.iter().take(count).map(|waiting| PoolRow {
        ancestors: waiting.ancestors,
        fee: waiting.fee,
        fee_per_1000_bytes: u64::try_from(rate(waiting)).unwrap_or(u64::MAX),
        id_hash: waiting.id,
        receive_time_ms: waiting.arrived.0,
        size: waiting.size_bytes,
    });
    Ok(Pool {
        bytes: summary.pool_bytes,
        classes: classes(all.iter().map(|waiting| (rate(waiting), waiting.size_bytes))),
        fee_rate_min: summary.fee_rate_min,
        orphans: summary.orphans,
        status: Fine::Ok,
        total: all.len(),
        transactions: rows.collect(),
    })
}

/// Parameters of `sendrawtransaction`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Offered {
    tx_as_hex: String,
    #[serde(default)]
    do_not_relay: bool,
}

/// What became of it. monerod answers a refusal like this, too.
#[derive(Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_hash: Option<Hash>,
    untrusted: bool,
}

/// Takes no cookie: a transaction carries its own authority, and any peer could bring it.
pub(in crate::rpc) fn send_raw_transaction(service: &Service, offered: Offered) -> Result<impl Serialize, Fault> {
    let refused = |reason: String| Verdict { reason, status: "Failed", tx_hash: None, untrusted: false };
    if offered.do_not_relay {
        let reason = "`do_not_relay` is not to be had here: what waits is offered to every peer";
        return Ok(refused(reason.into()));
    }
    if offered.tx_as_hex.len() > 2 * TRANSACTION_BYTES_MAX {
        let (digits, most) = (offered.tx_as_hex.len(), 2 * TRANSACTION_BYTES_MAX);
        return Ok(refused(format!("`tx_as_hex` has {digits} digits (limit {most})")));
    }
    let bytes = match hex::decode(&offered.tx_as_hex) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(refused(format!("`tx_as_hex` is no hexadecimal text: {error}"))),
    };
    let read = match ReadTx::read(service.node().params(), &bytes) {
        Ok(read) => read,
        Err(reject) => return Ok(refused(format!("the transaction is refused: {reject}"))),
    };
    let id = read.id();
    match service.order(Order::Submit(Box::new(read)), SUBMIT_LIMIT, &|| true)? {
        Answer::Done(Ok(())) => {
            Ok(Verdict { reason: String::new(), status: "OK", tx_hash: Some(id), untrusted: false })
        }
        Answer::Done(Err(why)) => Ok(refused(why)),
        Answer::Blocks(_) => Err(Fault::mixed_up()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each class ends where the next half doubling begins. Method: rates on both sides of the first ends, and the
    /// greatest.
    #[test]
    fn classes_are_half_doublings() {
        let step = |rate: u128| classes(std::iter::once((rate, 7))).first().map(|class| class.step);
        let steps = [0, 1_000, 1_414, 1_415, 1_999, 2_000, 2_828, 2_829, u128::MAX].map(step);
        assert_eq!(steps, [0, 0, 0, 1, 1, 2, 2, 3, 108].map(Some));
        let all = classes([(1_000, 7), (1_200, 5), (4_000, 1)].into_iter());
        let all: Vec<_> = all.iter().map(|class| (class.step, class.count, class.bytes)).collect();
        assert_eq!(all, [(0, 2, 12), (4, 1, 1)]);
    }
}
