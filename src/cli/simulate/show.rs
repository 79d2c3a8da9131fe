//! What a person sees of a run: what it is about, a line each virtual minute, and what it came to.

use crate::simulator::story::{Faults, Story};
use crate::simulator::tally::Figures;
use crate::simulator::world::Outcome;

/// What the story is about, and the head of the lines that follow.
pub(super) fn opening(story: &Story) -> String {
    let mut text = format!("seed {}: {} honest nodes", story.seed, story.nodes);
    if !story.byzantine.is_empty() {
        let kinds: Vec<String> = story.byzantine.iter().map(|kind| format!("{kind:?}")).collect();
        text = format!("{text}, {} that cheat ({})", kinds.len(), kinds.join(", "));
    }
    let troubles = troubles(&story.faults);
    if !troubles.is_empty() {
        text = format!("{text}; {}", troubles.join(", "));
    }
    format!(
        "{text}\n\n{:>4}  {:>6}  {:>4}  {:>5}  {:>6}  {:>18}  {:>5}  {:>7}  {:>7}",
        "min", "height", "tips", "nodes", "reorgs", "ms p50/p90/p99", "pool", "MB", "crashes"
    )
}

/// Which kinds of trouble a story has, in words.
fn troubles(faults: &Faults) -> Vec<String> {
    let Faults { loss_permille, shreds: _, partitions, resets, stalls, crashes, torn, disks, clocks } = *faults;
    let words = [
        (partitions, "partitions"),
        (resets, "resets"),
        (stalls, "stalls"),
        (crashes, "crashes"),
        (torn, "power cuts in mid-write"),
        (disks, "failing disks"),
        (clocks, "wrong clocks"),
    ];
    let loss = (loss_permille > 0).then(|| format!("{}.{} % of packets lost", loss_permille / 10, loss_permille % 10));
    loss.into_iter().chain(words.iter().filter(|(is_on, _)| *is_on).map(|(_, word)| (*word).to_owned())).collect()
}

/// One virtual minute: no wider than a small terminal.
pub(super) fn minute(figures: &Figures) -> String {
    let ways = &figures.propagation;
    let ms = |way_ms: Option<u64>| way_ms.map_or("-".to_owned(), |ms| ms.to_string());
    format!(
        "{:>4}  {:>6}  {:>4}  {:>5}  {:>6}  {:>18}  {:>5}  {:>7}  {:>7}",
        figures.virtual_ms / 60_000,
        figures.height,
        figures.tips,
        figures.running,
        figures.reorganisations,
        format!("{}/{}/{}", ms(ways.p50_ms), ms(ways.p90_ms), ms(ways.p99_ms)),
        figures.waiting,
        megabytes(figures.bytes),
        figures.crashes,
    )
}

/// With one place behind the point.
fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// What a run came to; lines about what never happened are left away.
pub(super) fn summary(outcome: &Outcome, elapsed_ms: u64) -> String {
    let figures = &outcome.figures;
    let speed = figures.virtual_ms / elapsed_ms.max(1);
    let mut lines = vec![
        format!("\n{} virtual minutes in {elapsed_ms} ms ({speed} times as fast)", figures.virtual_ms / 60_000),
        format!(
            "{} blocks found, height {}, {} reorganisations, the deepest of {}",
            figures.found, figures.height, figures.reorganisations, figures.deepest
        ),
        format!("a block is with {}", figures.propagation),
    ];
    if figures.full > 0 {
        lines.push(format!("{} blocks are full; one of these is with {}", figures.full, figures.propagation_full));
    }
    lines.push(format!("{} payments; {} MB on wires", figures.payments, megabytes(figures.bytes)));
    if figures.crashes > 0 {
        lines.push(format!(
            "{} crashes, {} of them in the middle of a call to the disk, {} for a disk that failed",
            figures.crashes, figures.torn, figures.disk_failures
        ));
    }
    if figures.troubles > 0 {
        lines.push(format!("{} other troubles", figures.troubles));
    }
    lines.push(format!("{} connections ended, {} for a fault", figures.hang_ups, figures.blamed));
    lines.push(format!("{} things happened; trace {}", figures.happenings, figures.trace));
    lines.push(match outcome.violation {
        None => "all nodes agree, and nothing is wrong".to_owned(),
        Some(_) => "something is wrong".to_owned(),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::vice::Kind;

    /// Goal: head and lines stand in the same columns, on a terminal of eighty. Method: a common hour.
    #[test]
    fn lines_stand_under_their_heads() {
        let story = Story { byzantine: vec![Kind::Forger], ..Story::calm(1, 8, 60) };
        let opening = opening(&story);
        let head = opening.lines().last().expect("a head");
        let line = minute(&Figures { virtual_ms: 3_600_000, height: 120, bytes: 1_234_567, ..Figures::default() });
        assert_eq!(head.len(), line.len());
        assert!(head.len() < 80 && opening.starts_with("seed 1: 8 honest nodes, 1 that cheat (Forger)\n"), "{opening}");
        assert!(line.contains("-/-/-") && line.contains("1.2"), "{line}");
    }
}
