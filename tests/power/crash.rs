//! Each call as the last one, and each call that fails.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};

use crate::cases::{BESIDE, CHAIN, Case, after_a_failed_sync};
use crate::fixture::Fixture;
use crate::life::{Act, Depth, Told, View, check, honest, image, live};
use crate::remains::{PLAIN, remains};
use crate::scale::Scale;

/// Goal: whatever call a node's process or power dies at, the next start has all that was told to be
/// durable, the right ledger and whole files, and goes on; also if it dies again while it recovers.
/// Method: every call of each step as the last; of each, every mixture of sectors, sizes and names that
/// a power cut may leave, or samples of them; then every call of the recovery from some of these.
#[test]
fn every_call_of_a_chain_s_life_may_be_the_last() {
    let fixture = Fixture::new();
    print_crash_points(&CHAIN, &fixture);
}

/// Goal: the same for the files beside the chain, the wallet, and recovery itself.
#[test]
fn every_call_of_saving_and_recovering_may_be_the_last() {
    let fixture = Fixture::new();
    print_crash_points(&BESIDE, &fixture);
}

/// Goal: an error of the disk at any call is told as what it is, or does no harm; nothing that was told
/// before or after it is lost, on the same machine or after a power cut; signals and calls done in part
/// are never seen. Method: each call of each step fails in each of four ways.
#[test]
fn every_call_may_fail_in_every_way() {
    let fixture = Fixture::new();
    for name in CHAIN.into_iter().chain(BESIDE) {
        let case = Case::of(name, &fixture, &honest);
        for (fault, code) in [(Fault::Io, 5), (Fault::Full, 28), (Fault::Interrupted, 0), (Fault::Short, 0)] {
            let (mut told_so, mut went_on) = (0, 0);
            for nth in 1.. {
                let (disk, mut told) = (case.disk.kill(), case.told.clone());
                disk.plan(Calls::All, nth, fault);
                let ended = live(&honest(&disk), &fixture, &case.acts, &mut told);
                let what = format!("{}: {fault:?} at call {nth}", case.name);
                if disk.made(Calls::All) < nth {
                    break;
                }
                match ended {
                    Ok(()) => went_on += 1,
                    Err(stop) => {
                        assert_eq!(stop.os_error(), Some(code), "{what}: {stop:?}");
                        told_so += 1;
                    }
                }
                for (which, left) in remains(&disk, nth, 0, 2).enumerate() {
                    let held = check(&honest, &left, &fixture, &told, Depth::GoOn);
                    held.unwrap_or_else(|error| panic!("{what}, remains {which}: {error}"));
                }
            }
            println!("{:<31} {fault:<11?} at each call: {told_so:>3} told, {went_on:>3} without harm", case.name);
            assert!(code > 0 || told_so == 0, "{}: {fault:?} was seen", case.name);
        }
    }
}

/// Goal: a mark whose sync failed does not take the place of the one before it: what was told stays
/// guarded. Method: the sync of the mark fails; a second life dies in the middle of the next mark.
#[test]
fn a_mark_that_was_never_written_is_written_again() {
    let fixture = Fixture::new();
    crash_points(&honest, &fixture, &after_a_failed_sync(&fixture, 0), Scale::asked(), Nested::No)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Goal: blocks that a failed sync has lost, and that the system still shows to the next process, are
/// written again before they are told. Method: the sync of the block file fails; a second life.
#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let fixture = Fixture::new();
    crash_points(&honest, &fixture, &after_a_failed_sync(&fixture, 1), Scale::asked(), Nested::No)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Goal: a directory whose node died before its names were synced gets them synced by the next, before
/// anything is told. Method: death at that sync; a second life; each of its calls as the last.
#[test]
fn a_death_before_the_names_are_synced_is_made_good() {
    let fixture = Fixture::new();
    let mut case = Case::after("names", &fixture, &honest, &[&[Act::Wallet(1)]], vec![]);
    case.disk.plan(Calls::Syncs, 2, Fault::Dead);
    live(&honest(&case.disk), &fixture, &[], &mut case.told).expect_err("it died while it was founded");
    case.acts = vec![Act::Append(fixture.plain().to_vec()), Act::Sync];
    crash_points(&honest, &fixture, &case, Scale::asked(), Nested::No).unwrap_or_else(|error| panic!("{error}"));
}

fn print_crash_points(names: &[&'static str], fixture: &Fixture) {
    for &name in names {
        let row = crash_points(&honest, fixture, &Case::of(name, fixture, &honest), Scale::asked(), Nested::Too);
        let Row { calls, points, remains, nested_points, nested } = row.unwrap_or_else(|error| panic!("{error}"));
        println!(
            "{name:<31} {calls:>4} calls {points:>4} crash points {remains:>6} remains; \
             a second crash: {nested_points:>6} points {nested:>6} remains: all kept"
        );
        assert!(points > 4 && remains > points && nested > 0, "{name}");
    }
}

/// What a row covered. What is like the one before it is not counted: each of these is another disk.
#[derive(Debug, Default)]
pub(crate) struct Row {
    calls: u64,
    points: u64,
    remains: u64,
    nested_points: u64,
    nested: u64,
}

/// Whether recovery meets its death too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nested {
    Too,
    No,
}

/// Each call of a step as the last one, and its remains; if nested, each call of the recovery from some of
/// these, and their remains. The error says what was lost.
pub(crate) fn crash_points(
    view: View,
    fixture: &Fixture,
    case: &Case,
    scale: Scale,
    nested: Nested,
) -> Result<Row, String> {
    let name = case.name;
    let mut row = Row::default();
    let mut seen = Seen::default();
    row.calls = each_death(view, fixture, &case.disk, &case.acts, &case.told, &mut |nth, disk, told| {
        row.points += 1;
        for (which, left) in remains(disk, nth, scale.mixtures as usize, scale.mixtures.into()).enumerate() {
            // The first was killed: its bytes do not tell what of them is synced.
            if which > 0 && !seen.is_new(&left, told) {
                continue;
            }
            let recovers = left.kill();
            check(view, &left, fixture, told, Depth::GoOn)
                .map_err(|error| format!("{name}: dead at call {nth}, remains {which}: {error}"))?;
            row.remains += 1;
            if nested == Nested::Too && (which < PLAIN || which % scale.nested_each == 0) {
                let (points, remains) = recovery_points(view, fixture, &recovers, told, nth)
                    .map_err(|error| format!("{name}: dead at call {nth}, remains {which}, {error}"))?;
                row.nested_points += points;
                row.nested += remains;
            }
        }
        Ok(())
    })?;
    Ok(row)
}

/// A crash at each call of the recovery from a crash; gives how many there were, and their remains.
fn recovery_points(
    view: View,
    fixture: &Fixture,
    crashed: &MemoryDisk,
    told: &Told,
    seed: u64,
) -> Result<(u64, u64), String> {
    let (mut points, mut remains_seen) = (0, 0);
    let mut seen = Seen::default();
    each_death(view, fixture, crashed, &[], told, &mut |nth, disk, _| {
        if disk.is_like(crashed) {
            // Nothing was changed: it is the crash itself once more.
            return Ok(());
        }
        points += 1;
        for left in remains(disk, seed << 8 | nth, 0, 1).skip(1).filter(|left| seen.is_new(left, told)) {
            check(view, &left, fixture, told, Depth::Look)
                .map_err(|error| format!("recovery dead at call {nth}: {error}"))?;
            remains_seen += 1;
        }
        Ok(())
    })?;
    Ok((points, remains_seen))
}

/// Lets a life end before each of its calls and in the middle of each, and shows the disk and what was told at
/// each death that is not like the one before it; gives how many calls there are.
fn each_death(
    view: View,
    fixture: &Fixture,
    from: &MemoryDisk,
    acts: &[Act],
    told: &Told,
    show: &mut dyn FnMut(u64, &MemoryDisk, &Told) -> Result<(), String>,
) -> Result<u64, String> {
    let mut last: Option<(MemoryDisk, Told)> = None;
    for nth in 1.. {
        for fault in [Fault::Dead, Fault::DeadInside] {
            let (disk, mut told) = (from.kill(), told.clone());
            disk.plan(Calls::All, nth, fault);
            let ended = live(&view(&disk), fixture, acts, &mut told);
            match (ended, disk.has_died()) {
                (Err(_), true) => {}
                (Ok(()), false) => return Ok(nth - 1),
                (Err(stop), false) => return Err(format!("it ends without a fault: {stop:?}")),
                (Ok(()), true) => return Err(format!("it outlived its death at call {nth}")),
            }
            if last.as_ref().is_some_and(|(as_before, before)| *before == told && as_before.is_like(&disk)) {
                continue;
            }
            show(nth, &disk, &told)?;
            last = Some((disk, told));
        }
    }
    unreachable!("a life has an end")
}

/// Remains that were looked at under the same promises, by a hash of their bytes.
#[derive(Default)]
struct Seen {
    told: Told,
    hashes: HashSet<u64>,
}

impl Seen {
    fn is_new(&mut self, left: &MemoryDisk, told: &Told) -> bool {
        if self.told != *told {
            *self = Self { told: told.clone(), hashes: HashSet::new() };
        }
        let mut hasher = DefaultHasher::new();
        image(left).hash(&mut hasher);
        self.hashes.insert(hasher.finish())
    }
}
