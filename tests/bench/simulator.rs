//! How fast the simulator draws and judges networks, and how full blocks get around in a large one.

use std::process::Command;

use serde_json::Value;

use crate::figures::Figure;
use crate::process::BINARY;

/// Drawn stories, whose rate is taken.
const SEEDS: &str = "100";
/// Honest nodes of the large network.
const NODES: &str = "300";

/// The figures that a run prints.
fn simulate(options: &[&str]) -> Value {
    let run = Command::new(BINARY).arg("simulate").args(options).arg("--json").output().expect("the binary runs");
    assert!(run.status.success(), "simulate {options:?}: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("it prints JSON")
}

pub(crate) fn figures() -> Vec<Figure> {
    let soaked = simulate(&["--seeds", SEEDS]);
    // Blocks are full once the crowd has coins enough, which takes the first twenty minutes.
    let crowd = ["--nodes", NODES, "--minutes", "24", "--payments", "40000", "--coins", "16"];
    let run = simulate(&crowd);
    let (figures, full) = (&run["figures"], &run["figures"]["propagation_full"]);
    vec![
        Figure {
            what: "drawn stories a minute (8 nodes, up to 8 that cheat, one virtual hour), all cores",
            must: "60",
            aim: "300",
            measured: format!("{} ({SEEDS} stories, {} crashes)", soaked["seeds_per_minute"], soaked["crashes"]),
        },
        Figure {
            what: "nodes in one simulated network, and how full blocks (1 MiB) get around in it",
            must: "300",
            aim: "5,000",
            measured: format!(
                "{NODES}: half of the nodes after {} ms, 90 % after {} ms, 99 % after {} ms of virtual time ({} full blocks)",
                full["p50_ms"], full["p90_ms"], full["p99_ms"], figures["full"]
            ),
        },
    ]
}
