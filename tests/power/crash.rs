//! Each call as the last one, and each call that fails.

use spindle::blockchain::memory_disk::{Calls, Fault, MemoryDisk};

use crate::cases::{Case, after_a_failed_sync, cases};
use crate::fixture::Fixture;
use crate::life::{Act, Depth, Told, check, honest, live};
use crate::remains::remains;

/// Up to so many mixtures at one crash point are all tried; of more, [`SAMPLES`].
const EVERY_MIXTURE: usize = 64;

const SAMPLES: u64 = 16;

/// Goal: whatever call a node's process or power dies at, the next start has all that was told to be
/// durable, the right ledger and whole files, and goes on; also if it dies again while it recovers.
/// Method: every call of each step as the last; of each, every mixture of sectors, sizes and names that
/// a power cut may leave, or samples of them; then every call of the recovery.
#[test]
fn every_call_of_a_chain_s_life_may_be_the_last() {
    let fixture = Fixture::new();
    print_crash_points(cases(&fixture).into_iter().take(5), &fixture);
}

/// Goal: the same for the files beside the chain, the wallet, and recovery itself.
#[test]
fn every_call_of_saving_and_recovering_may_be_the_last() {
    let fixture = Fixture::new();
    print_crash_points(cases(&fixture).into_iter().skip(5), &fixture);
}

/// Goal: an error of the disk at any call is told as what it is, or does no harm; nothing that was told
/// before or after it is lost, on the same machine or after a power cut; signals and calls done in part
/// are never seen. Method: each call of each step fails in each of four ways.
#[test]
fn every_call_may_fail_in_every_way() {
    let fixture = Fixture::new();
    for case in cases(&fixture) {
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
                for (which, left) in remains(&disk, nth, 0, 2).into_iter().enumerate() {
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
    crash_points(&fixture, &after_a_failed_sync(&fixture, 0), false);
}

/// Goal: blocks that a failed sync has lost, and that the system still shows to the next process, are
/// written again before they are told. Method: the sync of the block file fails; a second life.
#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let fixture = Fixture::new();
    crash_points(&fixture, &after_a_failed_sync(&fixture, 1), false);
}

/// Goal: a directory whose node died before its names were synced gets them synced by the next, before
/// anything is told. Method: death at that sync; a second life; each of its calls as the last.
#[test]
fn a_death_before_the_names_are_synced_is_made_good() {
    let fixture = Fixture::new();
    let mut case = Case::after("names", &fixture, &[&[Act::Wallet(1)]], vec![]);
    case.disk.plan(Calls::Syncs, 2, Fault::Dead);
    live(&honest(&case.disk), &fixture, &[], &mut case.told).expect_err("it died while it was founded");
    case.acts = vec![Act::Append(fixture.plain().to_vec()), Act::Sync];
    crash_points(&fixture, &case, false);
}

fn print_crash_points(cases: impl Iterator<Item = Case>, fixture: &Fixture) {
    for case in cases {
        let Row { calls, points, remains, nested } = crash_points(fixture, &case, true);
        println!(
            "{:<31} {calls:>4} calls {points:>4} crash points {remains:>6} remains {nested:>6} of a second crash: all kept",
            case.name
        );
        assert!(points > 5 && remains > 3 * points && nested > 20, "{}", case.name);
    }
}

/// What a row covered.
#[derive(Default)]
struct Row {
    calls: u64,
    points: u64,
    remains: u64,
    nested: u64,
}

/// Each call of a step as the last one, and its remains; if nested, each call of the recovery from one of
/// these, and their remains.
fn crash_points(fixture: &Fixture, case: &Case, nested: bool) -> Row {
    let mut row = Row::default();
    let mut writes = 0;
    for nth in 1.. {
        let end = dies_at(fixture, case, nth, Fault::Dead);
        let Some((disk, told)) = end else { break };
        row.calls = nth;
        // A write is the only call in whose middle there is something between before and after.
        let is_write = disk.made(Calls::Writes) > writes;
        writes = disk.made(Calls::Writes);
        let inside = is_write.then(|| dies_at(fixture, case, nth, Fault::DeadInside).expect("it has this call"));
        for (disk, told) in [(disk, told)].into_iter().chain(inside) {
            row.points += 1;
            let in_turn = match row.points % 3 {
                0 => 0,
                1 => 1,
                _ => 3,
            };
            for (which, left) in remains(&disk, nth, EVERY_MIXTURE, SAMPLES).into_iter().enumerate() {
                let recovers = left.kill();
                let held = check(&honest, &left, fixture, &told, Depth::GoOn);
                held.unwrap_or_else(|error| panic!("{}: dead at call {nth}, remains {which}: {error}", case.name));
                row.remains += 1;
                // Killed, cut off, or one of the mixtures: in turn, for each takes as many starts as it has calls.
                if nested && which == in_turn {
                    row.nested += recovery_points(fixture, case.name, &recovers, &told, nth);
                }
            }
        }
    }
    row
}

/// The disk and what was told when a step ends at its nth call; none if it has fewer.
fn dies_at(fixture: &Fixture, case: &Case, nth: u64, fault: Fault) -> Option<(MemoryDisk, Told)> {
    let (disk, mut told) = (case.disk.kill(), case.told.clone());
    disk.plan(Calls::All, nth, fault);
    let ended = live(&honest(&disk), fixture, &case.acts, &mut told);
    assert!(ended.is_err() || disk.made(Calls::All) < nth, "{}: it outlived its death at call {nth}", case.name);
    (disk.made(Calls::All) >= nth).then_some((disk, told))
}

/// A crash at each call that changes anything during the recovery from a crash.
fn recovery_points(fixture: &Fixture, name: &str, crashed: &MemoryDisk, told: &Told, seed: u64) -> u64 {
    let mut remains_seen = 0;
    for nth in 1.. {
        let disk = crashed.kill();
        let (writes, syncs) = disk.calls();
        disk.plan(Calls::All, nth, if nth % 2 == 0 { Fault::Dead } else { Fault::DeadInside });
        let ended = live(&honest(&disk), fixture, &[], &mut told.clone());
        if ended.is_ok() {
            break;
        }
        if disk.calls() == (writes, syncs) {
            // Nothing was changed: it is the crash itself once more.
            continue;
        }
        for left in remains(&disk, seed << 8 | nth, 0, 1).into_iter().skip(1) {
            let held = check(&honest, &left, fixture, told, Depth::Look);
            held.unwrap_or_else(|error| panic!("{name}: dead at {seed}, recovery dead at {nth}: {error}"));
            remains_seen += 1;
        }
    }
    remains_seen
}
