//! Golden scripts: stories that a reader should know, told by the node itself.
//!
//! Each `tests/scripts/*.txt` is prose, commands, and after `---` the trace that they gave. The trace *is* the
//! output: this runner plays the commands again, in virtual time, and every line must be the same. Where one
//! is not, it shows which; `UPDATE=1 cargo test --test scripts` writes down what it was instead, and
//! `ONLY=fork cargo test --test scripts` plays those whose name has that in it. What commands there are and
//! how to read a trace stands in tests/scripts/README.md.
//!
//! What runs is the real node: `Node::step`, `Session`, `Server`, and the file code on a disk in memory. Made up
//! is only what lies between: time ([`stage`]), threads ([`life`]), a network with latency ([`wire`]), and peers
//! that lie ([`puppet`]). [`script`] knows the files, [`play`] the commands, [`names`] and [`words`] the language.
//!
//! Left out: bandwidth, lost packets, threads and their order. The simulator draws those; here every delay is
//! the same each time, so that a story has one course.

mod common;
#[path = "scripts/runner/disk.rs"]
mod disk;
#[path = "scripts/runner/life.rs"]
mod life;
#[path = "scripts/runner/names.rs"]
mod names;
#[path = "scripts/runner/play.rs"]
mod play;
#[path = "scripts/runner/puppet.rs"]
mod puppet;
#[path = "scripts/runner/script.rs"]
mod script;
#[path = "scripts/runner/stage.rs"]
mod stage;
#[path = "scripts/runner/trace.rs"]
mod trace;
#[path = "scripts/runner/wire.rs"]
mod wire;
#[path = "scripts/runner/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use script::{Script, differences};

/// All scripts that are wanted, in the order of their names.
fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let only = std::env::var("ONLY").unwrap_or_default();
    let files =
        fs::read_dir(directory).expect("the directory of this test").map(|entry| entry.expect("readable").path());
    let is_script = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txt");
    let is_wanted = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&only));
    let mut files: Vec<PathBuf> = files.filter(is_script).filter(is_wanted).collect();
    files.sort();
    files
}

/// Goal: every story goes as it is written. Method: each script is played, and what came of it compared with
/// what stands in the file.
#[test]
fn every_script_gives_its_trace() {
    let update = std::env::var_os("UPDATE").is_some();
    let (mut played, mut wrong) = (0, Vec::new());
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("a readable script");
        played += 1;
        let now = match Script::read(&text).and_then(|script| Ok(script.with(&play::play(&script)?))) {
            Ok(now) => now,
            Err(error) => {
                wrong.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        if now != text && update {
            fs::write(&path, now).expect("a writable script");
        } else if now != text {
            wrong.push(format!("{}\n{}", path.display(), differences(&text, &now)));
        }
    }
    println!("{played} scripts");
    assert!(played > 0, "no script is there");
    assert!(
        wrong.is_empty(),
        "{} of {played} scripts give another trace (`-` is written, `+` was played):\n\n{}\n\
         UPDATE=1 cargo test --test scripts writes the new ones down",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Goal: a script has one course. Method: each is played twice.
#[test]
fn a_script_played_twice_gives_one_trace() {
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("a readable script");
        let play = || play::play(&Script::read(&text).expect("played before")).expect("played before");
        assert_eq!(play(), play(), "{}", path.display());
    }
}
