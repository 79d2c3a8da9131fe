//! What a network is: its emission to the unit, and its identity to the bit.

mod common;

use std::collections::BTreeMap;

use common::regtest_with;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::primitives::hash::Hash;

/// A change of one field of a spec.
type Change = fn(&mut NetworkSpec);

// --- emission ---

/// Goal: the check values of RULES 28, and some of both networks from a second implementation of it.
#[test]
fn rewards_are_the_pinned_ones() {
    let local = Params::local();
    let pinned = [
        (1, 2_020_000_000),
        (2, 2_019_998_595),
        (3, 2_019_997_191),
        (123_457, 1_855_971_926),
        (500_001, 1_434_213_562),
        (1_000_001, 1_020_000_000),
        (10_000_001, 21_953_125),
    ];
    for (height, reward) in pinned {
        assert_eq!(local.reward(height), reward, "local, height {height}");
    }
    let regtest = Params::regtest();
    let pinned = [
        (1, 2_020_000_000),
        (2, 2_018_614_121),
        (1_000, 1_020_693_379),
        (1_001, 1_020_000_000),
        (1_002, 1_019_307_061),
        (2_001, 520_000_000),
    ];
    for (height, reward) in pinned {
        assert_eq!(regtest.reward(height), reward, "regtest, height {height}");
    }
}

/// Goal: in the end there is the tail, and tests can see it: on `regtest` within 32 half-lives.
#[test]
fn tail_is_all_that_remains() {
    let regtest = Params::regtest();
    assert!(regtest.reward(31_000) > 20_000_000, "a unit above the tail for 31 half-lives");
    for height in [32_001, 64_001, 65_001, 70_000, u64::MAX - 1, u64::MAX] {
        assert_eq!(regtest.reward(height), 20_000_000, "height {height}");
    }
    assert_eq!(Params::local().reward(u64::MAX), 20_000_000);
}

/// Goal: a reward never rises. Method: `regtest` through its whole emission; then every one of the 2^24
/// fractions of a halving, with the largest base that is allowed there, so that no rounding can hide.
#[test]
fn rewards_never_rise() {
    let falls = |params: &Params, heights: std::ops::RangeInclusive<u64>| {
        heights.fold(u64::MAX, |before, height| {
            let reward = params.reward(height);
            assert!(reward <= before, "height {height}: {reward} after {before}");
            reward
        })
    };
    assert_eq!(falls(&Params::regtest(), 1..=70_000), 20_000_000);
    let fine = regtest_with(|spec| {
        (spec.reward_half_life, spec.reward_base, spec.reward_tail) = (1 << 24, 1 << 38, 1);
    });
    assert_eq!(fine.reward(1), (1 << 38) + 1);
    assert_eq!(falls(&fine, 1..=(1 << 24) + 1), (1 << 37) + 1);
}

/// Goal: the integers are the formula. Method: floating point with the exponent rounded as the rule does,
/// within 1 unit and a half; and with the ideal exponent, within 5 parts in 10^8.
#[test]
#[allow(clippy::cast_precision_loss, reason = "all of these numbers are below 2^53")]
fn rewards_are_the_formula() {
    for params in [Params::local(), Params::regtest()] {
        let half_life = params.spec().reward_half_life;
        let step = half_life / 97 + 1;
        for height in (1..half_life * 20).step_by(usize::try_from(step).expect("small")).chain(1..500) {
            let above_tail = (params.reward(height) - 20_000_000) as f64;
            let exponent = (height - 1) as f64 / half_life as f64;
            let places = f64::from(1 << 24);
            let rule = 2e9 * (-(exponent * places).ceil() / places).exp2();
            assert!((above_tail - rule).abs() <= 1.5, "height {height}: {above_tail}, by the rule {rule}");
            let ideal = 2e9 * (-exponent).exp2();
            assert!((above_tail - ideal).abs() <= ideal * 5e-8 + 1.5, "height {height}: {above_tail}, ideal {ideal}");
        }
    }
}

/// Goal: the supply is the sum of all rewards, and a function of the height alone.
#[test]
fn supply_is_the_sum_of_rewards() {
    let params = Params::regtest();
    assert_eq!(params.supply(0), 0, "genesis makes nothing");
    assert_eq!(params.supply(1), 2_020_000_000);
    assert_eq!(params.supply(3), u128::from(params.reward(1) + params.reward(2) + params.reward(3)));
}

/// Goal: no emission that is let in can pass 2^63 in a hundred million blocks. Method: the largest bases
/// that are let in for some half-lives, summed until only the tail is left.
#[test]
fn largest_allowed_emissions_stay_below_2_to_the_63() {
    for half_life in [1, 2, 3, 10, 1_000] {
        let fits = |base: u64| {
            let mut spec = Params::regtest().spec().clone();
            (spec.reward_half_life, spec.reward_base) = (half_life, base);
            Params::new(spec).ok()
        };
        let (mut low, mut high) = (0, u64::MAX);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle).is_some() { low = middle } else { high = middle }
        }
        let params = fits(low).expect("the largest that fits");
        assert!(
            params.supply(half_life * 70) + 20_000_000 * 100_000_000 < 1 << 63,
            "base {low}, half-life {half_life}"
        );
        assert_eq!(fits(u64::MAX), None);
    }
}

// --- identity ---

/// Goal: the built-in networks are who they are for ever.
/// Method: ids of an independent implementation; the genesis header is checked field by field.
#[test]
fn built_in_networks_have_pinned_ids() {
    let (local, regtest) = (Params::local(), Params::regtest());
    assert_eq!(local.genesis_id().to_string(), "5accb93b7f6f5a1f079f39ef17d03460b743c0328f3546ba1746fd7f9a348424");
    assert_eq!(regtest.genesis_id().to_string(), "8b5e1db968179304924716abd9c15ad83f823e2f4b908e31187cd4a18e7d647d");
    for params in [local, regtest] {
        let genesis = params.genesis();
        assert_eq!(genesis.id(), params.genesis_id());
        let rest = (genesis.version, genesis.height, genesis.prev, genesis.time, genesis.difficulty, genesis.nonce);
        assert_eq!(rest, (1, 0, Hash::ZERO, 0, 0, 0));
    }
}

/// Goal: a network that differs in any rule, or in its name, is another network.
#[test]
fn any_consensus_field_changes_the_genesis_id() {
    let changes: [(&str, Change); 10] = [
        ("name", |spec| spec.name = "local2".into()),
        ("block_time_ms", |spec| spec.block_time_ms += 1),
        ("retarget", |spec| spec.retarget = false),
        ("difficulty_first", |spec| spec.difficulty_first += 1),
        ("difficulty_min", |spec| spec.difficulty_min -= 1),
        ("future_limit_ms", |spec| spec.future_limit_ms += 1),
        ("reward_base", |spec| spec.reward_base += 1),
        ("reward_tail", |spec| spec.reward_tail += 1),
        ("reward_half_life", |spec| spec.reward_half_life += 1),
        ("maturity", |spec| spec.maturity += 1),
    ];
    let mut ids = vec![Params::local().genesis_id()];
    for (field, change) in changes {
        let mut spec = Params::local().spec().clone();
        change(&mut spec);
        let id = Params::new(spec).expect("sound").genesis_id();
        assert!(!ids.contains(&id), "{field} is not part of the identity");
        ids.push(id);
    }
    let fields = serde_json::to_value(Params::local().spec()).expect("a spec is JSON");
    assert_eq!(fields.as_object().map(serde_json::Map::len), Some(changes.len() + 3), "a new field needs a line here");
}

/// Goal: where nodes meet, and when rules change, may change without founding a new network.
#[test]
fn seeds_ports_and_activations_do_not_change_the_genesis_id() {
    let changes: [Change; 3] = [
        |spec| spec.seeds = vec!["example.org:9000".into()],
        |spec| spec.port = 1,
        |spec| spec.activations = BTreeMap::from([(2, 1_000)]),
    ];
    for change in changes {
        let mut spec = Params::local().spec().clone();
        change(&mut spec);
        let params = Params::new(spec).expect("sound");
        assert_ne!(params, Params::local());
        assert_eq!(params.genesis_id(), Params::local().genesis_id());
    }
}

/// Goal: the rules in force follow the activations, whatever order they were written in.
#[test]
fn rules_in_force_follow_the_activations() {
    assert_eq!([0, 1, u64::MAX].map(|height| Params::local().rules_at(height)), [1, 1, 1]);
    let params = regtest_with(|spec| spec.activations = BTreeMap::from([(3, 200), (2, 100)]));
    let rules = [0, 99, 100, 199, 200, u64::MAX].map(|height| params.rules_at(height));
    assert_eq!(rules, [1, 1, 2, 2, 3, 3]);
}

/// Goal: a spec's file comes back as it was; what it may leave out has a value; what it does not know or
/// lacks is refused by name.
#[test]
fn spec_round_trips_through_json() {
    for params in [Params::local(), Params::regtest(), regtest_with(|spec| spec.activations = [(2, 77)].into())] {
        let text = serde_json::to_string_pretty(params.spec()).expect("a spec is JSON");
        let spec: NetworkSpec = serde_json::from_str(&text).expect("its own text");
        assert_eq!(Params::new(spec), Ok(params));
    }
    let short = r#"{"name": "class-7b", "block_time_ms": 5000, "retarget": true, "difficulty_first": 4096,
        "difficulty_min": 4096, "future_limit_ms": 60000, "reward_base": 1000, "reward_tail": 1,
        "reward_half_life": 100, "maturity": 3}"#;
    let spec: NetworkSpec = serde_json::from_str(short).expect("all that is needed");
    assert_eq!((spec.port, spec.seeds.len(), spec.activations.len()), (9000, 0, 0));
    Params::new(spec).expect("sound");
    let unknown = short.replace("\"maturity\"", "\"max_supply\": 21, \"maturity\"");
    let error = serde_json::from_str::<NetworkSpec>(&unknown).expect_err("an unknown field");
    assert!(error.to_string().contains("max_supply"), "{error}");
    let lacking = short.replace("\"retarget\": true,", "");
    let error = serde_json::from_str::<NetworkSpec>(&lacking).expect_err("a missing field");
    assert!(error.to_string().contains("retarget"), "{error}");
}

/// Goal: every figure that would break a network is refused, by its field's name, and none of them ends
/// the program. Method: one bad value at a time in `local`; the nearest good one passes.
#[test]
fn bad_fields_are_refused_by_name() {
    let bad: [(&str, Change); 19] = [
        ("name", |spec| spec.name = String::new()),
        ("name", |spec| spec.name = "a".repeat(33)),
        ("name", |spec| spec.name = "two words".into()),
        ("name", |spec| spec.name = "../up".into()),
        ("block_time_ms", |spec| spec.block_time_ms = 999),
        ("block_time_ms", |spec| spec.block_time_ms = 86_400_001),
        ("difficulty_min", |spec| (spec.difficulty_min, spec.retarget) = (0, false)),
        ("difficulty_min", |spec| spec.difficulty_min = 1_023),
        ("difficulty_first", |spec| spec.difficulty_first = spec.difficulty_min - 1),
        ("future_limit_ms", |spec| spec.future_limit_ms = 999),
        ("future_limit_ms", |spec| spec.future_limit_ms = 86_400_001),
        ("reward_half_life", |spec| spec.reward_half_life = 0),
        ("maturity", |spec| spec.maturity = 0),
        ("maturity", |spec| spec.maturity = 100_001),
        ("reward_tail", |spec| spec.reward_tail = 0),
        ("reward_base", |spec| spec.reward_base = 1 << 43),
        ("reward_base", |spec| (spec.reward_base, spec.reward_half_life) = (u64::MAX, u64::MAX)),
        ("reward_base", |spec| spec.reward_tail = u64::MAX),
        ("reward_base", |spec| spec.reward_half_life = u64::MAX),
    ];
    for (field, change) in bad {
        let mut spec = Params::local().spec().clone();
        change(&mut spec);
        let error = Params::new(spec).expect_err(field);
        assert_eq!(error.field, field, "{error}");
        assert!(error.to_string().contains(field) && !error.value.is_empty() || field == "name", "{error}");
    }
    let good: [Change; 6] = [
        |spec| spec.name = "a".repeat(32),
        |spec| spec.block_time_ms = 1_000,
        |spec| spec.difficulty_min = 1_024,
        |spec| (spec.difficulty_min, spec.retarget) = (1, false),
        |spec| spec.reward_base = 0,
        |spec| spec.maturity = 1,
    ];
    for change in good {
        let mut spec = Params::local().spec().clone();
        change(&mut spec);
        Params::new(spec).expect("at the limit");
    }
}
