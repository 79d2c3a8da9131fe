//! The house: imports run one way, nothing asynchronous is let in, and maps name what exists.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A line in one may name rooms of lower floors, and its own.
const FLOORS: [(&str, u32); 9] = [
    ("primitives", 0),
    ("blockchain", 1),
    ("node", 2),
    ("network", 3),
    ("wallet", 3),
    ("runtime", 4),
    ("simulator", 4),
    ("rpc", 5),
    ("cli", 6),
];

/// What the wallet may not see although it lies below: keys and rules are all it needs.
const WALLET_SEES: [&str; 3] = ["primitives", "blockchain", "wallet"];
/// The same for the simulator: it stands in the place of sockets and threads, so it sees neither.
/// Of wallets it uses the keys: its crowd signs as people do.
const SIMULATOR_SEES: [&str; 5] = ["primitives", "blockchain", "node", "wallet", "simulator"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn floor(room: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|&(_, floor)| floor)
}

/// What follows each `marker` in a text, up to the end of a path's first word.
fn words_after<'a>(text: &'a str, marker: &str) -> Vec<&'a str> {
    let end = |rest: &str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    text.split(marker).skip(1).map(|rest| &rest[..end(rest)]).collect()
}

/// Goal: no room knows of the floors above it. Method: every `crate::room` in code under `src`, comments
/// apart.
#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (room, height) in FLOORS {
        let directory = root().join("src").join(room);
        if !directory.is_dir() {
            continue;
        }
        for file in sources(&directory) {
            let text = read(&file);
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for (number, line) in (1..).zip(&code) {
                assert!(!line.contains("use crate::{"), "{}: name the room in each `use crate::`", file.display());
                for other in words_after(line, "crate::") {
                    let Some(other_height) = floor(other) else { continue };
                    let hidden = (room == "wallet" && !WALLET_SEES.contains(&other))
                        || (room == "simulator" && !SIMULATOR_SEES.contains(&other));
                    if other_height > height || (other_height == height && other != room) || hidden {
                        wrong.push(format!("{}, code line {number}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these look upwards:\n{}", wrong.join("\n"));
}

/// Goal: every room that is declared has its floor, and every folder is declared. Method: `mod` lines of
/// lib.rs against the list above.
#[test]
fn every_room_has_a_floor() {
    let lib = read(&root().join("src/lib.rs"));
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(declared.len() >= 6, "{declared:?}");
    for room in &declared {
        assert!(floor(room).is_some(), "`{room}` has no floor in tests/layers.rs");
    }
    let order: Vec<u32> = declared.iter().filter_map(|room| floor(room)).collect();
    assert!(order.is_sorted(), "mod lines stand in reading order, from the ground up: {declared:?}");
}

/// Goal: there is no async runtime anywhere in the dependency tree. Method: the names in Cargo.lock.
#[test]
fn no_async_runtime_is_locked_in() {
    const FORBIDDEN: [&str; 16] = [
        "tokio",
        "async-std",
        "smol",
        "mio",
        "hyper",
        "futures-executor",
        "futures",
        "async-executor",
        "async-io",
        "async-global-executor",
        "actix-rt",
        "glommio",
        "monoio",
        "polling",
        "pollster",
        "embassy-executor",
    ];
    let lock = read(&root().join("Cargo.lock"));
    let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains(&"spindle") && names.len() > 20, "this is the lock file");
    for name in names {
        assert!(!FORBIDDEN.contains(&name) && !name.starts_with("tokio-"), "{name} brings an async runtime");
    }
}

/// Goal: only the codec names bincode, and nothing prints in a way that panics when nobody reads.
/// Method: every line of code under `src`.
#[test]
fn the_codec_alone_names_bincode_and_nothing_prints_blindly() {
    for file in sources(&root().join("src")) {
        let text = read(&file);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let codec = file.ends_with("primitives/codec.rs");
            assert!(codec || !line.contains("bincode"), "{}: {line}", file.display());
            let prints =
                ["println!(", "print!(", "eprint!(", "dbg!("].iter().any(|macro_name| line.contains(macro_name));
            assert!(!prints, "{}: {line}", file.display());
        }
    }
}

/// Goal: the maps stay true: every file that README.md and lib.rs name exists, and every function that
/// they name beside a file is in that file.
/// Method: words in backticks that end in `.rs`, and `name` in "`name` (`file.rs`)" or "`file.rs`: `name`".
#[test]
fn what_the_maps_name_exists() {
    for map in ["README.md", "src/lib.rs"] {
        let text = read(&root().join(map));
        let words: Vec<&str> = text.split('`').collect();
        let mut named = 0;
        // Odd pieces stand between backticks.
        for (place, word) in words.iter().enumerate().filter(|(place, _)| place % 2 == 1) {
            let is_source = Path::new(word).extension().is_some_and(|extension| extension == "rs");
            if !is_source || word.contains([' ', '*']) {
                continue;
            }
            let paths = [root().join(word), root().join("src").join(word)];
            let path = paths.iter().find(|path| path.is_file());
            let path = path.unwrap_or_else(|| panic!("{map} names `{word}`, which is not there"));
            let file = read(path);
            // "`a`, `b` (`file.rs`": the functions before an opening parenthesis are that file's.
            let mut before = place;
            while before >= 2 && words[before - 1].trim() == if before == place { "(" } else { "," } {
                let name = words[before - 2].trim_end_matches("()");
                let name = name.rsplit("::").next().unwrap_or(name);
                assert!(file.contains(name), "{map} says that `{name}` is in `{word}`");
                named += 1;
                before -= 2;
            }
        }
        assert!(named >= 8, "{map} names only {named} functions with their files");
    }
}
