//! `/metrics`: the node's figures as Prometheus reads them.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>: names end in their unit, counters in `_total`.

use std::fmt::{Display, Write};

use crate::blockchain::storage::Room;
use crate::rpc::http::{Response, Status};
use crate::rpc::service::{Service, failed};
use crate::runtime::handle::{TURN_BOUNDS_US, Turns};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A figure with its kind and what it means.
    fn figure(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        writeln!(self.0, "{name}{labels} {value}").expect("a string takes everything");
    }
}

/// The answer to `/metrics`.
pub(super) fn answer(service: &Service) -> Response {
    let mut text = Text::default();
    if let Err(error) = chain(&mut text, service) {
        return failed(&error.into());
    }
    others(&mut text, service);
    let board = service.node().board();
    turns(&mut text, "spindle_owner_turn", "How long the owner's turns took.", board.turns());
    turns(&mut text, "spindle_owner_look", "How long it was looked at between two turns, for answers.", board.looks());
    http(&mut text, service);
    process(&mut text);
    Response::new(Status::Ok, CONTENT_TYPE, text.0.into_bytes())
}

fn chain(text: &mut Text, service: &Service) -> Result<(), crate::blockchain::storage::StoreError> {
    let summary = service.node().board().summary();
    let (durable, difficulty) = service.chain().end(&summary)?;
    text.figure("spindle_height", "gauge", "Height of the tip.", summary.tip.header.height);
    text.figure("spindle_durable_height", "gauge", "Height that no power cut takes away.", durable.header.height);
    text.figure(
        "spindle_target_height",
        "gauge",
        "Greatest height that a peer is known to have.",
        summary.target_height,
    );
    text.figure("spindle_catching_up", "gauge", "1 while blocks are missing.", u8::from(summary.is_catching_up));
    text.figure("spindle_difficulty", "gauge", "Difficulty of the next block.", difficulty);
    text.figure("spindle_work_total", "counter", "Difficulties of the chain, added up.", durable.work);
    text.figure("spindle_headers_ahead", "gauge", "Headers whose bodies are missing.", summary.headers);
    text.figure("spindle_coins", "gauge", "Unspent coins.", summary.coins);
    text.figure("spindle_blocks", "gauge", "Blocks in the file, genesis included.", service.node().reader().records());
    let bytes = service.node().reader().durable_bytes();
    text.figure("spindle_blocks_durable_bytes", "gauge", "Bytes of the block file that are on the disk.", bytes);
    let has_space = u8::from(summary.room == Room::Enough);
    text.figure("spindle_disk_has_space", "gauge", "0 while the disk is too full to append.", has_space);
    Ok(())
}

fn others(text: &mut Text, service: &Service) {
    let (summary, mining) = (service.node().board().summary(), service.node().board().mining());
    text.family("spindle_peers", "gauge", "Peers by who dialled.");
    text.sample("spindle_peers", "{direction=\"in\"}", summary.inbound);
    text.sample("spindle_peers", "{direction=\"out\"}", summary.outbound);
    text.figure("spindle_addresses", "gauge", "Addresses in the book.", summary.addresses);
    text.figure("spindle_bans", "gauge", "Banned addresses.", summary.bans);
    text.figure("spindle_pool_transactions", "gauge", "Transactions that wait.", summary.pool_transactions);
    text.figure("spindle_pool_bytes", "gauge", "Memory that they take.", summary.pool_bytes);
    text.figure("spindle_orphans", "gauge", "Transactions that wait for others.", summary.orphans);
    let help = "Least fee to be let in, in units per 1,000 bytes.";
    text.figure("spindle_fee_rate_min", "gauge", help, summary.fee_rate_min);
    text.figure("spindle_mining_threads", "gauge", "Threads that mine at all times.", mining.threads);
    text.figure("spindle_hashes_total", "counter", "Hashes tried.", mining.hashes);
    text.figure("spindle_hashes_per_second", "gauge", "Hashes tried in a second, of late.", mining.hashes_per_s);
}

/// A histogram in the form that Prometheus has for it: each class holds those before it.
fn turns(text: &mut Text, name: &str, help: &str, turns: &Turns) {
    text.family(&format!("{name}_seconds"), "histogram", help);
    let mut sum = 0;
    for (bound_us, count) in TURN_BOUNDS_US.into_iter().zip(turns.counts()) {
        sum += count;
        let bound = if bound_us == u64::MAX { "+Inf".into() } else { seconds(bound_us) };
        text.sample(&format!("{name}_seconds_bucket"), &format!("{{le=\"{bound}\"}}"), sum);
    }
    text.sample(&format!("{name}_seconds_sum"), "", seconds(turns.sum_us()));
    text.sample(&format!("{name}_seconds_count"), "", sum);
    let help = "The longest of them since the start.";
    text.figure(&format!("{name}_longest_seconds"), "gauge", help, seconds(turns.longest_us()));
}

fn http(text: &mut Text, service: &Service) {
    let counters = service.counters();
    text.family("spindle_rpc_responses_total", "counter", "Answers by status.");
    for (status, count) in counters.responses() {
        text.sample("spindle_rpc_responses_total", &format!("{{status=\"{}\"}}", status.code()), count);
    }
    text.figure("spindle_rpc_connections", "gauge", "Open connections to this server.", counters.connections());
    let help = "Connections sent away because all places were taken.";
    text.figure("spindle_rpc_refused_busy_total", "counter", help, counters.refused_busy());
    let handling = u64::try_from(counters.handling().as_micros()).unwrap_or(u64::MAX);
    text.figure("spindle_rpc_handling_seconds_total", "counter", "Time that answers took.", seconds(handling));
}

/// What the kernel says of the process, under the names that Prometheus has for it; nothing where it does not tell.
fn process(text: &mut Text) {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(kib) = of("VmRSS") {
        text.figure("process_resident_memory_bytes", "gauge", "Memory that the process has.", kib << 10);
    }
    if let Some(threads) = of("Threads") {
        text.figure("process_threads", "gauge", "Its threads.", threads);
    }
    if let Some(spent_us) = processor_us() {
        text.figure("process_cpu_seconds_total", "counter", "Processor time that it has taken.", seconds(spent_us));
    }
}

/// Fields 14 and 15 of proc(5), in hundredths of a second.
fn processor_us() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name in brackets, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) * 10_000)
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
