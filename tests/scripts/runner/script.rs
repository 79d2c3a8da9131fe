//! A script's file: sections of prose and commands, `---`, and the trace that they gave.
//!
//! A trace ends at the first empty line, or with the file. Lines that begin with `#` are prose.

use std::fmt::Write as _;

/// A line of commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where in the file, counted from 1.
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// Commands and what they should give.
#[derive(Debug)]
pub(crate) struct Section {
    /// Everything before the `---`, as it stands.
    before: String,
    pub(crate) commands: Vec<Line>,
}

/// A whole file.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) sections: Vec<Section>,
    /// What follows the last trace.
    after: String,
}

impl Script {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut script = Self { sections: Vec::new(), after: String::new() };
        let (mut before, mut commands, mut in_trace) = (String::new(), Vec::new(), false);
        for (number, line) in (1..).zip(text.lines()) {
            if in_trace {
                in_trace = !line.is_empty();
                if in_trace {
                    continue;
                }
            } else if line == "---" {
                let (before, commands) = (std::mem::take(&mut before), std::mem::take(&mut commands));
                script.sections.push(Section { before, commands });
                in_trace = true;
                continue;
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                commands.push(Line { number, text: line.to_owned() });
            }
            before.push_str(line);
            before.push('\n');
        }
        match commands.first() {
            Some(line) => Err(format!("line {}: no `---` follows `{}`", line.number, line.text)),
            None if script.sections.is_empty() => Err("it has no commands".into()),
            None => {
                script.after = before;
                Ok(script)
            }
        }
    }

    /// The file with these traces, one for each section.
    pub(crate) fn with(&self, traces: &[Vec<String>]) -> String {
        let mut text = String::new();
        for (section, trace) in self.sections.iter().zip(traces) {
            text.push_str(&section.before);
            text.push_str("---\n");
            for line in trace {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text + &self.after
    }
}

/// Lines around a difference that are shown.
const CONTEXT: usize = 3;

/// What distinguishes two texts, line by line, each with its number in the old one.
pub(crate) fn differences(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut shown = String::new();
    let edits = edits(&old, &new);
    let is_near = |at: usize| {
        let near = edits.iter().take(at + CONTEXT + 1).skip(at.saturating_sub(CONTEXT));
        near.into_iter().any(|(mark, ..)| *mark != ' ')
    };
    let mut skipped = false;
    for (at, (mark, number, line)) in edits.iter().enumerate() {
        if is_near(at) {
            _ = writeln!(shown, "{number:>5} {mark} {line}");
            skipped = false;
        } else if !std::mem::replace(&mut skipped, true) {
            shown.push_str("      ...\n");
        }
    }
    shown
}

/// The least number of lines to take out and put in: `common[i][j]` is how many the rests have in common.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, usize, &'a str)> {
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push((' ', i + 1, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            edits.push(('-', i + 1, old[i]));
            i += 1;
        } else {
            edits.push(('+', i + 1, new[j]));
            j += 1;
        }
    }
    edits
}

/// Goal: a file that is read and written with its own traces is the same file, and prose may stand anywhere.
#[test]
fn a_script_is_read_and_written_back() {
    let text = "# A story.\n\nstart a; wait 1 s\nmine a x1\n---\nthis\nthat\n\n# More.\nmine a x2\n---\n\n# The end.\n";
    let script = Script::read(text).expect("a script");
    let commands = |at: usize| script.sections[at].commands.iter().map(|line| (line.number, &*line.text)).collect();
    let [first, second]: [Vec<(usize, &str)>; 2] = [commands(0), commands(1)];
    assert_eq!(first, [(3, "start a; wait 1 s"), (4, "mine a x1")]);
    assert_eq!(second, [(10, "mine a x2")]);
    assert_eq!(script.with(&[vec!["this".into(), "that".into()], Vec::new()]), text);
    assert!(Script::read("# Only prose.\n").is_err() && Script::read("mine a x1\n").is_err());
}

/// Goal: a difference is shown with its neighbours and nothing else.
#[test]
fn a_difference_is_shown_where_it_is() {
    let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    let shown = differences(old, &old.replace('8', "eight"));
    let expected = ["...", "5   5", "6   6", "7   7", "8 - 8", "9 + eight", "9   9"];
    assert_eq!(shown.lines().map(str::trim).collect::<Vec<_>>(), expected);
    assert_eq!(differences(old, old), "      ...\n");
}
