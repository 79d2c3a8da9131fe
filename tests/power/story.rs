//! Random stories, and the disks that lie in them: the proof that a missing safeguard would be seen.

use spindle::blockchain::memory_disk::{Calls, Chances, Fault, MemoryDisk};
use spindle::blockchain::storage::BLOCKS;
use spindle::primitives::rng::Rng;

use crate::fixture::Fixture;
use crate::liar::{LIES, Lie, lying};
use crate::life::{Act, Depth, Stop, Told, Verdict, check, honest, live, verdict};
use crate::remains::sample;
use crate::scale::Scale;

/// Seeds of stories on a disk that keeps its promises, and of a deep run.
const STORIES: u64 = 1_500;
const STORIES_DEEP: u64 = 50_000;

/// Within so many of them a broken promise must be seen.
const STORIES_OF_A_LIAR: u64 = 200;

/// What a disk says that fails, and one that is full.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Goal: nothing that was told is lost in any story, and no life ends without a fault. Method: seeded stories; a failing
/// one prints its seed.
#[test]
fn no_story_loses_what_was_told() {
    let fixture = Fixture::new();
    let stories = Scale::asked().or_deep(STORIES, STORIES_DEEP);
    for seed in 0..stories {
        story(&fixture, seed, None).unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{stories} stories: nothing was lost");
}

/// Goal: stories see when a safeguard is missing. Method: the same stories on disks that do not do what they say
/// (power/liar.rs): each lie must be found within a few stories.
#[test]
fn a_missing_safeguard_is_found() {
    let fixture = Fixture::new();
    for (what, lie) in LIES {
        let mut stories =
            (0..STORIES_OF_A_LIAR).filter_map(|seed| Some((seed, story(&fixture, seed, Some(lie)).err()?)));
        let (seed, error) = stories.next().unwrap_or_else(|| panic!("{what}: {STORIES_OF_A_LIAR} stories saw nothing"));
        println!("{what:<26} found after {:>3} stories: {error}", seed + 1);
    }
}

/// A random story: lives that do anything, disturbed by signals and now and then an error, each ended by a kill
/// or a power cut; then a bit goes bad under what was told. The error is what the check found.
fn story(fixture: &Fixture, seed: u64, lie: Option<Lie>) -> Result<(), String> {
    let view = |disk: &MemoryDisk| lie.map_or_else(|| honest(disk), |lie| lying(disk, lie));
    let mut rng = Rng::new(seed);
    let (mut disk, mut told) = (MemoryDisk::default(), Told::default());
    for life in 0..=rng.below(4) {
        let acts: Vec<Act> = (0..=rng.below(5)).map(|_| any_act(fixture, &mut rng)).collect();
        disk.by_chance(rng.draw(), Chances { io: 2_000, full: 2_000, interrupted: 20_000, short: 20_000 });
        if rng.below(3) > 0 {
            disk.plan(Calls::All, 1 + rng.below(120) as u64, Fault::DeadInside);
        }
        ends_for_a_reason(live(&view(&disk), fixture, &acts, &mut told), disk.has_died())
            .map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
        disk = if rng.below(3) == 0 { disk.kill() } else { sample(&disk, &mut rng) };
        let held = check(&view, &disk, fixture, &told, Depth::Look);
        held.map_err(|error| format!("seed {seed}, after life {life}: {error}"))?;
    }
    if let Some(id) = told.blocks.iter().nth(rng.below(told.blocks.len().max(1))) {
        let hurt = disk.kill();
        let place = hurt.bytes(BLOCKS).and_then(|file| {
            let bytes = &fixture.known[id].bytes;
            file.windows(bytes.len()).position(|window| window == bytes).map(|at| at + rng.below(bytes.len()))
        });
        let place = place.ok_or_else(|| format!("seed {seed}: block {id} is not in the file"))?;
        hurt.flip(BLOCKS, place, 1 << rng.below(8));
        match verdict(&view, &hurt, fixture, &told) {
            Ok(Verdict::Whole) => return Err(format!("seed {seed}: a flipped bit at byte {place} goes unseen")),
            Ok(_) => {}
            Err(error) => return Err(format!("seed {seed}, a flipped bit at byte {place}: {error}")),
        }
    }
    check(&view, &disk, fixture, &told, Depth::GoOn).map_err(|error| format!("seed {seed}, at the end: {error}"))
}

/// A life ends before its time because the process did, or because the disk said that it fails or is full; signals and
/// calls done in part it never sees, and nobody outlives a death.
fn ends_for_a_reason(ended: Result<(), Stop>, has_died: bool) -> Result<(), String> {
    match ended {
        Ok(()) if has_died => Err("it outlived its death".into()),
        Ok(()) => Ok(()),
        Err(_) if has_died => Ok(()),
        Err(stop) if [Some(EIO), Some(ENOSPC)].contains(&stop.os_error()) => Ok(()),
        Err(stop) => Err(format!("nothing was planned that explains {stop:?}")),
    }
}

fn any_act(fixture: &Fixture, rng: &mut Rng) -> Act {
    match rng.below(10) {
        0..3 => Act::Append(fixture.trunk[..rng.below(fixture.trunk.len() + 1)].to_vec()),
        3 => Act::Append([fixture.plain(), &fixture.rival[..rng.below(fixture.rival.len() + 1)]].concat()),
        4..7 => Act::Sync,
        7 => Act::Checkpoint,
        8 => {
            let version = u8::try_from(rng.below(4)).expect("small");
            let [_, (name, bytes), _] = fixture.small(version);
            Act::Save(name, bytes)
        }
        _ => Act::Wallet(rng.below(4) as u64),
    }
}
