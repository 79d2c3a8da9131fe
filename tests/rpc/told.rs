//! What is told while the disk is slow.

use std::io;
use std::sync::{Arc, RwLock};

use serde_json::{Value, json};
use spindle::blockchain::disk::DiskFile;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::transaction::Transaction;
use spindle::node::orders::{Answer, Order};
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;
use spindle::rpc::http::Method;

use crate::common::between::{Between, before};
use crate::{Node, PATIENCE, hash, wait_until};

/// Syncs wait as long as somebody holds the gate.
#[derive(Debug)]
struct Gate(Arc<RwLock<()>>);

impl Between for Gate {
    fn sync(&self, _: &str, file: &dyn DiskFile) -> io::Result<()> {
        let _open = self.0.read().expect("nobody panics with it");
        file.sync()
    }
}

/// The ids of what waits, as wallets read them.
fn ids(node: &Node, query: &str) -> Vec<Hash> {
    let body = node.request(Method::Get, &format!("/pool.bin{query}"), b"", false).body;
    body.chunks(32).map(|id| Hash(id.try_into().expect("32 bytes"))).collect()
}

/// Goal: a payment is told of at every moment: as waiting until its block is told of, and from then on as confirmed.
/// Method: a disk whose sync is held up while a block takes the payments that wait; meanwhile the pool, the chain and
/// each payment are asked for in every way, and another payment comes.
#[test]
fn what_a_block_holds_waits_until_the_block_is_told_of() {
    let gate = Arc::new(RwLock::new(()));
    let memory = MemoryDisk::default();
    let slow = before(&memory, Gate(Arc::clone(&gate)));
    let node = Node::on(memory, slow, 40);
    let mut payments: Vec<Transaction> = (1..=5).map(|height| node.payment(height)).collect();
    payments.sort_by_key(Transaction::id);
    for payment in &payments {
        assert_eq!(node.offer(payment)["status"], json!("OK"));
    }
    let all: Vec<Hash> = payments.iter().map(Transaction::id).collect();
    let pool = |node: &Node| node.path("/get_transaction_pool", &json!({}));
    let (listed, before) = (ids(&node, ""), pool(&node));
    assert_eq!(listed, all);

    let held = gate.write().expect("nobody panics with it");
    let order = Order::Generate { count: 1, payout: None };
    let mined = node.daemon.handle().give(order, PATIENCE).expect("it runs");
    wait_until("the block is published", || node.daemon.tip().header.height == 41);
    let waits = node.daemon.handle().look(|view| view.node.pool().len());
    assert_eq!((waits, node.call("get_block_count", &json!({}))["count"].clone()), (Ok(0), json!(41)));
    assert_eq!(ids(&node, ""), all, "they are in no block that is told of");
    assert_eq!(ids(&node, &format!("?after={}", all[1])), all[2..]);
    let now = pool(&node);
    assert_eq!((&now["total"], &now["more"]), (&json!(5), &json!(false)));
    let rows = |page: &Value, field: &str| -> Vec<Value> {
        page["transactions"].as_array().expect("a list").iter().map(|row| row[field].clone()).collect()
    };
    for field in ["id_hash", "fee", "blob_size", "tx_blob", "tx_json"] {
        assert_eq!(rows(&now, field), rows(&before, field), "{field}");
    }
    let asked = [all[4], Hash::ZERO, all[0]];
    let body: Vec<u8> = asked.iter().flat_map(|id| id.0).collect();
    let bytes = |payment: &Transaction| {
        let bytes = codec::encode(payment);
        [&u32::try_from(bytes.len()).expect("small").to_le_bytes()[..], &bytes].concat()
    };
    let expected = [bytes(&payments[4]), vec![0; 4], bytes(&payments[0])].concat();
    assert_eq!(node.request(Method::Post, "/transactions.bin", &body, false).body, expected);
    let found = node.path("/get_transactions", &json!({ "txs_hashes": all }));
    assert_eq!(found["txs"].as_array().map(Vec::len), Some(5));
    assert!(found["txs"].as_array().expect("a list").iter().all(|tx| tx["in_pool"] == json!(true)), "{found}");
    let late = node.payment(6);
    assert_eq!(node.offer(&late)["status"], json!("OK"));
    assert_eq!(ids(&node, "").len(), 6, "what waits and what stands in a block, together");

    drop(held);
    let mined = mined.answer().recv_timeout(PATIENCE).expect("the disk goes on");
    assert!(matches!(mined, Answer::Blocks(Ok(_))), "{mined:?}");
    assert_eq!(node.call("get_block_count", &json!({}))["count"], json!(42));
    assert_eq!((ids(&node, ""), pool(&node)["total"].clone()), (vec![late.id()], json!(1)));
    let found = node.path("/get_transactions", &json!({ "txs_hashes": all }));
    for tx in found["txs"].as_array().expect("a list") {
        assert_eq!((&tx["in_pool"], &tx["block_height"]), (&json!(false), &json!(41)));
    }
    assert!(all.contains(&hash(&found["txs"][0]["tx_hash"])));
}
