//! Names in place of hashes, so that a trace can be read, and stays the same when an encoding changes.

use std::collections::BTreeMap;

use spindle::primitives::hash::Hash;

/// What stands for a hash that has no name.
const UNNAMED: &str = "…";
/// The fewest hexadecimal digits in a row that are taken for the beginning of a hash.
const DIGITS_MIN: usize = 12;

/// The names of blocks and payments.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: BTreeMap<Hash, String>,
}

impl Names {
    pub(crate) fn add(&mut self, id: Hash, name: &str) {
        self.names.insert(id, name.to_owned());
    }

    /// What this is called.
    pub(crate) fn of(&self, id: &Hash) -> &str {
        self.names.get(id).map_or(UNNAMED, String::as_str)
    }

    /// What was given this name.
    pub(crate) fn find(&self, name: &str) -> Option<Hash> {
        self.names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// Several, where `x1..x5` stands for what lies between as well, in either direction.
    pub(crate) fn list<'a>(&self, ids: impl IntoIterator<Item = &'a Hash>) -> Vec<String> {
        let names: Vec<&str> = ids.into_iter().map(|id| self.of(id)).collect();
        let mut list = Vec::new();
        let mut at = 0;
        while at < names.len() {
            let length = run(&names[at..]);
            if length > 2 {
                list.push(format!("{}..{}", names[at], names[at + length - 1]));
            } else {
                list.extend(names[at..at + length].iter().map(|&name| name.to_owned()));
            }
            at += length;
        }
        list
    }

    /// Several in a row, separated by commas.
    pub(crate) fn row<'a>(&self, ids: impl IntoIterator<Item = &'a Hash>) -> String {
        self.list(ids).join(", ")
    }

    /// A text for people, with names in place of hashes and of their beginnings.
    pub(crate) fn in_text(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
            let digits = rest[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - start);
            let (before, word) = (&rest[..start], &rest[start..start + digits]);
            named.push_str(before);
            named.push_str(if digits < DIGITS_MIN { word } else { self.beginning_with(word) });
            rest = &rest[start + digits..];
        }
        named + rest
    }

    fn beginning_with(&self, digits: &str) -> &str {
        let found = self.names.iter().find(|(id, _)| hex::encode(id.0).starts_with(digits));
        found.map_or(UNNAMED, |(_, name)| name)
    }
}

/// How many of these, from the first on, count up or down by one.
fn run(names: &[&str]) -> usize {
    let step = |a: &str, b: &str| {
        let ((letters, from), (others, to)) = (split(a)?, split(b)?);
        (letters == others).then_some(to - from).filter(|step| step.abs() == 1)
    };
    let Some(first) = names.get(1).and_then(|second| step(names[0], second)) else { return 1 };
    1 + names.windows(2).take_while(|pair| step(pair[0], pair[1]) == Some(first)).count()
}

/// `x12` as its letters and its number.
pub(crate) fn split(name: &str) -> Option<(&str, i64)> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    Some((&name[..digits], name[digits..].parse().ok()?))
}

/// Goal: names in a row are told shortly, and hashes in a text get theirs.
#[test]
fn names_are_told_shortly() {
    let mut names = Names::default();
    let ids: Vec<Hash> = ["x1", "x2", "x3", "y9", "y10", "x4"]
        .iter()
        .map(|name| {
            let id = Hash::sha256d(name.as_bytes());
            names.add(id, name);
            id
        })
        .collect();
    assert_eq!(names.row(&ids), "x1..x3, y9, y10, x4");
    assert_eq!(names.row(ids[..3].iter().rev()), "x3..x1");
    let (known, unknown) = (ids[3], Hash::sha256d(b"nobody"));
    let text = names.in_text(&format!("block {known:.12} of {unknown}, not {known} at 182 ms face"));
    assert_eq!(text, "block y9 of …, not y9 at 182 ms face");
}
