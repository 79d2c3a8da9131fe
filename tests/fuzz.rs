//! The fuzz targets' corpus, replayed on the stable toolchain without libFuzzer: what was once found stays mended.
//!
//! The targets stand in fuzz/targets/mod.rs, their inputs in fuzz/corpus/, a directory for each. Inputs that broke
//! something have a name that says what; the others are what a fuzzer found worth keeping. `make fuzz` goes on.

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

/// Every input of a target's corpus, and the empty one.
fn replay(target: &str) {
    let corpus = directory().join("corpus").join(target);
    let inputs = names_in(&corpus);
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    targets::run(target, &[]);
    for input in inputs {
        let path = corpus.join(input);
        // Shown if it panics: the input to look at.
        println!("{}", path.display());
        targets::run(target, &fs::read(&path).expect("readable"));
    }
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(
            /// Goal: nothing that this target holds the code to is broken. Method: every input of its corpus.
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replayed! {
    frames
    messages
    transaction
    block
    session
    headers
    node
    sketch
    mempool
    ledger
    recovery
    checkpoint
    condemned
    pool_file
    addresses
    network_spec
    texts
    wallet_file
    http
    rpc
}

/// Goal: no target is forgotten anywhere. Method: the list of targets, those that are replayed here, the programs
/// for libFuzzer, and the directories of the corpus.
#[test]
fn every_target_is_replayed_and_can_be_run() {
    let all: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(all.len(), targets::TARGETS.len(), "each has a name of its own");
    assert_eq!(REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), all);
    assert_eq!(names_in(&directory().join("corpus")), all);
    let programs = names_in(&directory().join("binaries"));
    assert_eq!(programs, all.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(directory().join("Cargo.toml")).expect("readable");
    let named: BTreeSet<String> =
        all.iter().filter(|name| manifest.contains(&format!("path = \"binaries/{name}.rs\""))).cloned().collect();
    assert_eq!(named, all);
}
