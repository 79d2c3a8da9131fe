//! The seeded bugs of tests/mutants still fit the sources. That each is found, `make mutants` shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What one hunk of a patch takes away with its surroundings, and what it puts there.
struct Hunk {
    before: String,
    after: String,
}

/// The hunks of a unified diff, each with the file that it is about.
fn hunks(patch: &str) -> Vec<(PathBuf, Hunk)> {
    let mut found: Vec<(PathBuf, Hunk)> = Vec::new();
    let mut file = PathBuf::new();
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            file = PathBuf::from(name.split('\t').next().expect("a name"));
        } else if line.starts_with("@@") {
            found.push((file.clone(), Hunk { before: String::new(), after: String::new() }));
        } else if let Some((_, hunk)) = found.last_mut() {
            let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            let text = format!("{text}\n");
            match sign {
                " " => {
                    hunk.before.push_str(&text);
                    hunk.after.push_str(&text);
                }
                "-" if !line.starts_with("--- ") => hunk.before.push_str(&text),
                "+" => hunk.after.push_str(&text),
                _ => {}
            }
        }
    }
    found
}

/// Goal: no seeded bug goes stale unseen. Method: what each patch takes away stands in the sources exactly once, and
/// what it puts there is something else; there are twenty or more, each under a number of its own.
#[test]
fn every_patch_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests/mutants")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let hunks = hunks(&fs::read_to_string(&path).expect("text"));
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for (file, Hunk { before, after }) in hunks {
            let source =
                fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{name}: {file:?}: {error}"));
            assert_eq!(
                source.matches(&before).count(),
                1,
                "{name} does not fit {} any more:\n{before}",
                file.display()
            );
            assert_ne!(before, after, "{name} changes nothing");
        }
        assert!(numbers.insert(name[..2].to_owned()), "two patches have the number of {name}");
    }
    assert!(numbers.len() >= 20, "only {} seeded bugs", numbers.len());
}
