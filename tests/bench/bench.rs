//! `make bench`: every figure that spindle claims, measured on this machine, as one table.
//!
//! Figures of whole processes come from the release binary over loopback, with real files under
//! `target/bench`; a few are taken inside this process because nobody outside could see them. Nothing
//! is asserted: machines are shared and noisy, so what travels is the ratio to something measured in
//! the same run. Arguments choose sections by a part of their name: `cargo bench -- sync idle`.

#![allow(clippy::cast_precision_loss, reason = "measured values are shown with three digits")]

mod figures;
mod page;
mod pool;
mod process;
mod rpc;
mod simulator;
mod transfers;
mod wallet;

use std::fmt::Write as _;

use figures::{Figure, SECTIONS};

fn main() {
    // cargo adds `--bench`; everything else chooses sections.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if wanted == [transfers::LEDGER_ALONE] {
        return transfers::tell_ledger_kib();
    }
    println!("{}", machine());
    let mut table = String::from("| figure | must reach | aim | measured |\n| --- | --- | --- | --- |\n");
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            eprintln!("measuring: {name}");
            for Figure { what, must, aim, measured } in section() {
                writeln!(table, "| {what} | {must} | {aim} | {measured} |").expect("a string takes everything");
            }
        }
    }
    println!("\n{table}");
}

/// What the figures were measured on.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("machine: {model}, {cores} cores, Linux {}", kernel.trim())
}
