//! Whole networks in virtual time: fixed seeds, and those that once found something.

use spindle::network::limits;
use spindle::simulator::reached::Reached;
use spindle::simulator::story::Story;
use spindle::simulator::world::{Outcome, run};
use spindle::simulator::{end, process};

/// Seeds of each `cargo test`; `make soak` runs as many as wanted.
const SEEDS: u64 = 16;
/// Besides those, two whose nodes begin with chains longer than a message of headers, among peers that show other
/// headers each time; and one with somebody who announces and never delivers.
const MORE_SEEDS: [u64; 3] = [21, 26, 41];

fn outcome(story: Story) -> Outcome {
    run(story, None, &mut |_| {}).expect("nothing is written")
}

fn is_clean(story: Story) -> Outcome {
    let outcome = outcome(story);
    let (seed, violation) = (outcome.story.seed, &outcome.violation);
    assert!(violation.is_none(), "seed {seed}: {}", violation.as_ref().expect("there is one"));
    outcome
}

/// Goal: three honest nodes on a good network agree on every block. Method: ten virtual minutes; nothing
/// goes wrong, so nobody is blamed either.
#[test]
fn three_honest_nodes_agree() {
    let figures = is_clean(Story::calm(7, 3, 10)).figures;
    assert_eq!((figures.tips, figures.blamed), (1, 0));
    assert!(figures.height > 10 && figures.payments > 50, "{figures:?}");
}

/// Goal: the same seed gives the same run, to the last byte on every wire, and another seed another.
/// Method: a story in which everything goes wrong, twice.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let story = |seed| Story { minutes: 20, ..Story::of_seed(seed) };
    let [one, again, other] = [5, 5, 6].map(|seed| outcome(story(seed)).figures);
    assert_eq!(one, again);
    assert_ne!(one.trace, other.trace);
}

/// Goal: whatever goes wrong, nothing that must never be is; and all that is to go wrong does. Method: the first
/// seeds and three more, on two threads; each fault, vice and effect must have come to pass among them.
#[test]
fn the_first_seeds_are_clean() {
    let seeds: Vec<u64> = (0..SEEDS).chain(MORE_SEEDS).collect();
    let halves = [0, 1].map(|half| {
        let seeds: Vec<u64> = seeds.iter().copied().skip(half).step_by(2).collect();
        std::thread::spawn(move || -> Vec<Outcome> {
            seeds.into_iter().map(|seed| is_clean(Story::of_seed(seed))).collect()
        })
    });
    let outcomes: Vec<Outcome> = halves.into_iter().flat_map(|half| half.join().expect("clean")).collect();
    let mut reached = Reached::default();
    for outcome in &outcomes {
        reached.extend(&outcome.figures.reached);
    }
    assert_eq!(reached.missing(), [""; 0], "these never came to pass");
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let counts = [
        sum(|outcome| outcome.figures.reorganisations),
        sum(|outcome| outcome.figures.blamed),
        sum(|outcome| outcome.figures.confirmed),
    ];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let deepest = outcomes.iter().map(|outcome| outcome.figures.deepest).max();
    assert!(deepest > Some(2_000), "a branch that took two passes over its headers won: {deepest:?}");
}

/// Goal: a run in which nothing goes wrong is no proof, and is not taken for one. Method: a calm story.
#[test]
fn a_run_that_crashes_nobody_misses_something() {
    let figures = is_clean(Story::calm(3, 3, 5)).figures;
    let missing = figures.reached.missing();
    assert!(missing.contains(&"end PowerFailed") && missing.contains(&"vice Selfish"), "{missing:?}");
    assert!(!missing.contains(&"effect Sync"), "{missing:?}");
}

/// Goal: a peer that asks for the transfers of genesis, which has no body, gets an answer and no panic.
/// Method: the story in which one did.
#[test]
fn seed_3_genesis_has_no_transfers() {
    is_clean(Story { minutes: 2, ..Story::of_seed(3) });
}

/// Goal: the simulated threads keep the limits of the real ones. Method: each beside the other.
#[test]
fn simulated_limits_are_the_real_ones() {
    assert_eq!(end::CREDITS, limits::CREDITS);
    assert_eq!(end::OUTBOX_BYTES, limits::OUTBOX_BYTES);
    assert_eq!(end::OUTBOX_MESSAGE_BYTES, limits::OUTBOX_MESSAGE_BYTES);
    assert_eq!(end::REQUESTS_MAX, limits::REQUESTS_MAX);
    assert_eq!((end::WRITE_MS, end::FAREWELL_MS), (limits::WRITE_MS, limits::FAREWELL_MS));
    assert_eq!((process::INBOUND_MAX, process::INBOUND_PER_IP), (limits::INBOUND_MAX, limits::INBOUND_PER_IP));
    assert_eq!(process::CONNECT_MS, limits::CONNECT_MS);
}
