//! Everything that the page draws its numbers from, held against `chain verify` of the same files.

use serde_json::{Value, json};
use spindle::rpc::client::Client;
use spindle::rpc::cookie::Cookie;

use crate::common::process::spindle;
use crate::siege::Besieged;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Goal: the numbers behind the page and behind `status` add up to what the block file holds, with transfers, blocks on
/// demand and a branch that lost. Method: a generated chain, a few blocks more and a sibling of the last; every answer that
/// the page asks for (`get_info`, the last header, all headers, each block, its transfers, the branches), summed up and
/// held against `chain verify` beside the running node.
#[test]
fn what_the_page_shows_adds_up_to_what_verify_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut command = spindle();
    command.args(["chain", "generate", "--network", "regtest", "--blocks", "30", "--txs", "90", "--data-dir"]);
    assert!(command.arg(&data).output().expect("the binary runs").status.success());
    let node = Besieged::start(&data, None);
    let mut client = Client::new(node.rpc, Some(Cookie::read(&data).expect("it is there")));
    let mut call = |method: &str, params: &Value| -> Value { client.call(method, params).expect("answered") };
    let [ours, theirs] = [0, 1].map(|number| crate::secret(number).public().to_string());
    call("generateblocks", &json!({ "amount_of_blocks": 4, "wallet_address": ours }));
    let template = call("get_block_template", &json!({ "wallet_address": theirs }));
    call("generateblocks", &json!({ "amount_of_blocks": 1, "wallet_address": ours }));
    let sibling = call("submit_block", &json!([template["blocktemplate_blob"]]));

    let verify = spindle().args(["chain", "verify", "--json", "--data-dir"]).arg(&data).output().expect("it runs");
    let verdict: Value = serde_json::from_slice(&verify.stdout).expect("JSON");
    let (info, status) = (call("get_info", &json!({})), node.says("status", &data));
    let height = number(&verdict["height"]);
    for (shown, found) in [
        (&info["top_block_hash"], "tip"),
        (&info["nettype"], "network"),
        (&info["cumulative_difficulty"], "work"),
        (&info["coins"], "coins"),
        (&status["tip"], "tip"),
        (&status["network"], "network"),
        (&status["height"], "height"),
        (&status["work"], "work"),
        (&status["coins"], "coins"),
    ] {
        assert_eq!(*shown, verdict[found], "{found}");
    }
    assert_eq!((number(&info["height"]), height), (height + 1, number(&verdict["durable_height"])));
    let last = call("get_last_block_header", &json!({}))["block_header"].clone();
    assert_eq!(
        (&last["hash"], &last["height"], &last["cumulative_difficulty"]),
        (&verdict["tip"], &json!(height), &verdict["work"])
    );
    assert_eq!(call("get_block_count", &json!({}))["count"], json!(height + 1));

    let range = call("get_block_headers_range", &json!({ "start_height": 0, "end_height": height }));
    let headers = range["headers"].as_array().expect("a list");
    let sum = |field: &str| headers.iter().map(|header| number(&header[field])).sum::<u64>();
    assert_eq!((headers.len() as u64, sum("difficulty")), (height + 1, number(&verdict["work"])));
    let (mut made, mut spent, mut fees) = (headers.len() - 1, 0, 0);
    for header in headers {
        let block = call("get_block", &json!({ "hash": header["hash"] }));
        assert_eq!(block["block_header"], *header);
        let ids = block["tx_hashes"].as_array().expect("a list").clone();
        assert_eq!(json!(ids.len()), header["num_txes"]);
        for id in ids {
            let asked = json!({ "txs_hashes": [id], "decode_as_json": true }).to_string();
            let found = Client::new(node.rpc, None).post("/get_transactions", "application/json", asked.as_bytes());
            let found: Value = serde_json::from_slice(&found.expect("answered")).expect("JSON");
            let transfer: Value =
                serde_json::from_str(found["txs"][0]["as_json"].as_str().expect("text")).expect("JSON");
            assert_eq!(found["txs"][0]["block_height"], header["height"]);
            made += transfer["vout"].as_array().expect("a list").len();
            spent += transfer["vin"].as_array().expect("a list").len();
            fees += number(&found["txs"][0]["fee"]);
        }
    }
    assert!(spent > 0 && fees > 0, "there are transfers");
    assert_eq!(
        (json!(made - spent), json!(sum("reward") - fees)),
        (verdict["coins"].clone(), verdict["supply"].clone())
    );

    let branches = call("get_alternate_chains", &json!({}))["chains"].clone();
    assert_eq!(branches[0]["block_hashes"], json!([sibling["block_id"]]));
    let alternates: u64 = branches.as_array().expect("a list").iter().map(|branch| number(&branch["length"])).sum();
    assert_eq!((alternates, height + alternates), (number(&info["alt_blocks_count"]), number(&verdict["blocks"])));
    node.ends_well();
}
