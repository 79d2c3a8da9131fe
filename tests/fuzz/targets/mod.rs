//! The fuzz targets: for each a function from any bytes to nothing, which panics if a promise is broken.
//!
//! The same functions run under libFuzzer (`make fuzz`) and, over the committed corpus, in `cargo test`. A target
//! asserts more than that nothing panics wherever there is something to assert: that what is accepted encodes back
//! to itself, that opening twice changes nothing, that a simple model gives the same. Where random bytes would
//! only ever be refused (a checksum, a merkle root, a signature), the target puts those right before it asks, or
//! reads its input as a little program in a grammar of its own ([`bytes`]).
//!
//! Whoever adds a target: a file here, a line in [`TARGETS`], a program in `binaries/` and its lines in
//! `Cargo.toml`, one in tests/fuzz.rs, and a corpus under `corpus/`; tests/fuzz.rs fails until all of them are there.

mod bytes;
mod kit;
mod machine;
mod universe;
mod words;

mod addresses;
mod block;
mod checkpoint;
mod condemned;
mod frames;
mod headers;
mod http;
mod ledger;
mod mempool;
mod messages;
mod network_spec;
mod node;
mod pool_file;
mod recovery;
mod rpc;
mod session;
mod sketch;
mod texts;
mod transaction;
mod wallet_file;

/// A target.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name.
pub(crate) const TARGETS: [(&str, Target); 20] = [
    ("frames", frames::run),
    ("messages", messages::run),
    ("transaction", transaction::run),
    ("block", block::run),
    ("session", session::run),
    ("headers", headers::run),
    ("node", node::run),
    ("sketch", sketch::run),
    ("mempool", mempool::run),
    ("ledger", ledger::run),
    ("recovery", recovery::run),
    ("checkpoint", checkpoint::run),
    ("condemned", condemned::run),
    ("pool_file", pool_file::run),
    ("addresses", addresses::run),
    ("network_spec", network_spec::run),
    ("texts", texts::run),
    ("wallet_file", wallet_file::run),
    ("http", http::run),
    ("rpc", rpc::run),
];

/// Gives an input to the target of this name.
pub(crate) fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target of TARGETS");
    target(data);
}
