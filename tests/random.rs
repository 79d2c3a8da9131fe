//! Random stories of a few nodes: they mine, meet, part, crash and fall silent; then the faults stop and
//! they must agree. A story is its seed: `SEED=7 cargo test --test random` tells one of them,
//! `SEEDS=10000` the first so many.

mod common;

use common::world::{Who, World};
use spindle::blockchain::params::Params;
use spindle::node::report::Report;
use spindle::primitives::rng::Rng;

const NODES: usize = 5;
const STEPS: usize = 60;

/// One thing that happens.
fn happen(world: &mut World, rng: &mut Rng) {
    let (a, b): (Who, Who) = (rng.below(NODES), rng.below(NODES));
    match rng.below(100) {
        0..40 => drop(world.mine(a, 1 + rng.below(4))),
        40..60 if a != b => world.connect(a, b),
        60..72 if a != b => world.disconnect(a, b),
        72..78 if a != b => world.mute(a, b),
        // A dial whose first bytes cross those of another one.
        78..82 if a != b => {
            world.dial(a, b);
            world.dial(b, a);
            (0..rng.below(6)).for_each(|_| _ = world.deliver_one());
        }
        82..92 => world.crash(a),
        _ => world.pass(1 + rng.below(20_000) as u64),
    }
}

/// No fault any more: everybody is connected in a line, and time passes.
fn heal(world: &mut World) {
    for a in 0..NODES {
        for b in 0..a {
            world.disconnect(a, b);
        }
    }
    // Long enough for a minute's ban of a private address, which a story must not have caused anyway.
    for a in 1..NODES {
        world.connect(a - 1, a);
    }
    world.pass(130_000);
    // By work they agree; one more block makes them agree by name.
    world.mine(2, 1);
    world.pass(5_000);
}

fn tell(seed: u64) {
    let mut world = World::new(Params::regtest(), NODES);
    let mut rng = Rng::new(seed);
    let mut durable = [0; NODES];
    for step in 0..STEPS {
        happen(&mut world, &mut rng);
        for (who, durable) in durable.iter_mut().enumerate() {
            for report in world.told(who) {
                match report {
                    Report::Durable { height, .. } => *durable = height,
                    Report::Disconnected { reason, .. } => {
                        assert!(!reason.is_fault(), "seed {seed}, step {step}: an honest peer is blamed: {reason}");
                    }
                    _ => {}
                }
            }
            let chain = world.members[who].node.chain();
            assert!(chain.rests(), "seed {seed}, step {step}: a settled world has nothing left to walk");
            assert!(
                chain.tip().work >= u128::from(*durable),
                "seed {seed}, step {step}: node {who} lost what it had called durable"
            );
        }
    }
    heal(&mut world);
    for who in 1..NODES {
        assert_eq!(world.tip(who), world.tip(0), "seed {seed}: nodes 0 and {who} disagree");
    }
    for who in 0..NODES {
        let (kept, replayed) = world.ledger_and_replay(who);
        assert_eq!(kept, replayed, "seed {seed}: node {who}'s ledger is not what its file says");
        let coins = world.members[who].node.chain().ledger().len() as u64;
        assert_eq!(coins, world.height(who), "seed {seed}: one coin for each block");
    }
}

/// Goal: whatever happens, nobody honest is blamed, nothing durable is lost, and they agree in the end.
/// Method: random stories of five nodes from fixed seeds, or the one that `SEED` names.
#[test]
fn nodes_agree_after_any_story() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("SEED") {
        Some(seed) => tell(seed),
        None => (0..number("SEEDS").unwrap_or(300)).for_each(tell),
    }
}
