//! `--config FILE`: what could stand on the command line of `spindle daemon`, one option a line.
//!
//! ```text
//! # a node of our class
//! network = /etc/spindle/class2026.json
//! bind = 0.0.0.0
//! peer = 192.168.1.10:16030
//! peer = 192.168.1.11:16030
//! mine
//! ```
//!
//! The names are those of the options, without the dashes; a switch is its name alone, or has `true` or `false`
//! behind it. A value goes on to the end of its line and is taken as it stands, without quotes; a path is looked for
//! from where the file is. A line that begins with `#` is a remark. What the command line names too is taken from
//! there, all of it.
//!
//! The lines become words of the command line, so that there is one way to say what a value may be. Each is tried
//! alone first: so a complaint names the line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use crate::cli::daemon::DaemonCommand;
use crate::cli::failure::Failure;
use crate::cli::{NAME, ask, fold, wallet};

/// The command whose options these are.
const COMMAND: &str = "daemon";
/// The option that names the file.
const CONFIG: &str = "--config";
/// A file of options is a page or two, not more.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Letters by which a name may differ from the one that was probably meant.
const SLIPS_MAX: usize = 3;

/// The words of a daemon's command line, with those of the file behind them that it names. A command that asks a
/// daemon takes from that file where it is.
pub fn expand(mut words: Vec<String>) -> Result<Vec<String>, Failure> {
    let asks_for_help = words.iter().any(|word| word == "--help" || word == "help");
    let command = words.first().map_or("", String::as_str);
    let is_daemon = command == COMMAND;
    let is_wallet = command == "wallet" && words.get(1).is_some_and(|name| wallet::ASKING.contains(&name.as_str()));
    if asks_for_help || !(is_daemon || is_wallet || ask::COMMANDS.contains(&command)) {
        return Ok(words);
    }
    let given = given(&words[1..]);
    let Some(path) = given.iter().find_map(|(name, value)| value.filter(|_| *name == CONFIG)) else {
        return Ok(words);
    };
    let text = read(path)
        .map_err(|why| Failure::options(format!("option `{CONFIG}`: `{path}` {why}; a file of options is needed")))?;
    let base = Path::new(path).parent().unwrap_or(Path::new(""));
    let lines = Flags::of_daemon()
        .lines(&text, base)
        .map_err(|(number, why)| Failure::options(format!("option `{CONFIG}`: in `{path}`, line {number}: {why}")))?;
    let is_taken = |line: &Words| is_daemon || ask::OPTIONS.contains(&line[0].as_str());
    let more = lines.into_iter().filter(|line| is_taken(line) && !given.iter().any(|(name, _)| *name == line[0]));
    let more = more.flatten();
    let more: Vec<String> = more.collect();
    words.extend(more);
    Ok(words)
}

/// The options among these words of a daemon's command line, with their values.
pub fn given(words: &[String]) -> Vec<(&str, Option<&str>)> {
    let flags = Flags::of_daemon();
    let mut given = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let takes_value = flags.find(word).is_some_and(|flag| matches!(flag.kind, FlagInfoKind::Option { .. }));
        given.push((word, if takes_value { words.next() } else { None }));
    }
    given
}

/// Whether a daemon's option with this value names a file or a directory.
pub fn is_path(option: &str, value: &str) -> bool {
    match option {
        CONFIG | "--data-dir" => true,
        "--network" => !["local", "regtest"].contains(&value),
        // Neither addresses nor keys hold one of these.
        "--mine-to" => value.contains(['/', '.']),
        _ => false,
    }
}

fn read(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read.map_err(|error| format!("cannot be read: {error}"))? as u64 {
        read if read > FILE_BYTES_MAX => Err(format!("has more than {FILE_BYTES_MAX} bytes")),
        _ => Ok(text),
    }
}

/// A line's words: an option and its value, a switch, or nothing.
type Words = Vec<String>;

/// The daemon's options, as argh knows them.
struct Flags(&'static [FlagInfo<'static>]);

impl Flags {
    fn of_daemon() -> Self {
        Self(DaemonCommand::get_args_info().flags)
    }

    fn find(&self, name: &str) -> Option<&'static FlagInfo<'static>> {
        self.0.iter().find(|flag| flag.long == name)
    }

    /// Every line that says something, with paths from `base` on; an error has the number of its line.
    fn lines(&self, text: &str, base: &Path) -> Result<Vec<Words>, (usize, String)> {
        let mut lines: Vec<Words> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
                None => (line, None),
            };
            let words = self.words(name, value, &lines).map_err(|why| (number, why))?;
            lines.extend(words.map(|words| placed(base, words)));
        }
        Ok(lines)
    }

    fn words(&self, name: &str, value: Option<&str>, before: &[Words]) -> Result<Option<Words>, String> {
        let option = format!("--{name}");
        let Some(flag) = self.find(&option) else { return Err(self.unknown(name)) };
        if option == CONFIG {
            return Err("a file of options cannot name another one".into());
        }
        let may_come_again = matches!(flag.optionality, Optionality::Repeating | Optionality::Greedy);
        if !may_come_again && before.iter().any(|line| line[0] == option) {
            return Err(format!("`{name}` comes a second time; give it once"));
        }
        let words = match (&flag.kind, value) {
            (FlagInfoKind::Switch, None | Some("true")) => vec![option],
            (FlagInfoKind::Switch, Some("false")) => return Ok(None),
            (FlagInfoKind::Switch, Some(value)) => {
                return Err(format!("`{name}` is `{value}`; true or false is needed, or `{name}` alone"));
            }
            (FlagInfoKind::Option { .. }, None | Some("")) => {
                return Err(format!("`{name}` has no value; `{name} = VALUE` is needed"));
            }
            (FlagInfoKind::Option { .. }, Some(value)) => vec![option, value.to_owned()],
        };
        // Every option of the daemon can stand alone, so what is wrong here is this line's fault.
        let alone: Vec<&str> = words.iter().map(String::as_str).collect();
        match DaemonCommand::from_args(&[NAME, COMMAND], &alone) {
            Ok(_) => Ok(Some(words)),
            Err(early) => {
                let said = fold(&early.output, &format!("{NAME} {COMMAND} --help"));
                Err(said.replacen(&format!("option `--{name}`"), &format!("`{name}`"), 1))
            }
        }
    }

    /// What is said of a name that no option has.
    fn unknown(&self, name: &str) -> String {
        let others = self.0.iter().filter_map(|flag| flag.long.strip_prefix("--"));
        let plain = name.trim_start_matches('-').replace('_', "-").to_lowercase();
        match nearest(&plain, others) {
            Some(other) => format!("`{name}` is no option; did you mean `{other}`?"),
            None => format!("`{name}` is no option; `{NAME} {COMMAND} --help` lists them, to be written without `--`"),
        }
    }
}

/// A path in a file is meant from where the file is.
fn placed(base: &Path, mut words: Words) -> Words {
    if let [option, value] = &mut words[..]
        && is_path(option, value)
    {
        *value = base.join(&*value).to_string_lossy().into_owned();
    }
    words
}

/// Which of these was probably meant.
pub(super) fn nearest<'a>(word: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = others.map(|other| (distance(word, other), other)).min();
    nearest.filter(|(slips, other)| *slips <= SLIPS_MAX.min(other.len() - 1)).map(|(_, other)| other)
}

/// Letters to be put in, left out or changed to come from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in (1..).zip(from.chars()) {
        let mut diagonal = std::mem::replace(&mut row[0], above);
        for (place, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row.last().copied().expect("a row has a first place")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<String>, (usize, String)> {
        Flags::of_daemon().lines(text, Path::new("/etc/spindle")).map(|lines| lines.concat())
    }

    /// Goal: a file says what a command line says, with remarks and blanks as people write them. Method: one of
    /// each form.
    #[test]
    fn a_file_is_a_command_line() {
        let text = "# ours\n\n  port = 9005\npeer=a:1\n peer = b:2 \nmine\nno-seeds = true\nexpose-regtest=false\r\n\
                    data-dir = /a b/c=d #e\nnetwork = class.json\nmine-to = ./our.key\n";
        let words = "--port 9005 --peer a:1 --peer b:2 --mine --no-seeds";
        let mut words: Words = words.split(' ').map(str::to_owned).collect();
        words.extend(["--data-dir", "/a b/c=d #e", "--network", "/etc/spindle/class.json"].map(str::to_owned));
        words.extend(["--mine-to", "/etc/spindle/./our.key"].map(str::to_owned));
        assert_eq!(lines(text), Ok(words));
        assert_eq!(lines("network = local"), Ok(vec!["--network".into(), "local".into()]));
    }

    /// Goal: what is wrong is named with its line, and the option that was probably meant. Method: one of each kind.
    #[test]
    fn a_wrong_line_is_named() {
        let cases = [
            ("mine\nprot = 1", 2, "`prot` is no option; did you mean `port`?"),
            ("max_inbound = 3", 1, "did you mean `max-inbound`?"),
            ("--port = 3", 1, "did you mean `port`?"),
            ("Port = 3", 1, "did you mean `port`?"),
            ("[daemon]", 1, "`[daemon]` is no option; `spindle daemon --help`"),
            ("\n\nport", 3, "`port` has no value"),
            ("port =", 1, "`port` has no value"),
            ("port = x", 1, "`port`: `x` is not a whole number"),
            ("port = 1\nport = 2", 2, "`port` comes a second time"),
            ("mine\nmine", 2, "`mine` comes a second time"),
            ("mine = yes", 1, "`mine` is `yes`; true or false"),
            ("peer = a:1\npeer = b", 2, "`peer`: `b` has no port"),
            ("config = x", 1, "cannot name another"),
            ("log = loud", 1, "`log`: `loud` is not a level"),
            ("= 7", 1, "`` is no option"),
        ];
        for (text, line, why) in cases {
            let (number, said) = lines(text).expect_err(text);
            assert!(number == line && said.contains(why), "{text:?}: line {number}: {said}");
        }
    }

    /// Goal: distances are those that everybody counts. Method: words from textbooks.
    #[test]
    fn distances_are_levenshteins() {
        for (from, to, slips) in [("kitten", "sitting", 3), ("", "port", 4), ("port", "port", 0), ("flaw", "lawn", 2)] {
            assert_eq!((distance(from, to), distance(to, from)), (slips, slips), "{from} {to}");
        }
    }
}
