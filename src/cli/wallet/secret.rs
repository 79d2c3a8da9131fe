//! Secrets from people: passwords, words, view keys. And the one question that a payment asks.
//!
//! A terminal is there if stderr is one: what is asked goes there, so that stdout is the result's alone. What
//! is read is wiped when it is done with. None of it is ever repeated in a message.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::cli::signals;

/// More than any password, and than 24 words with generous blanks.
const BYTES_MAX: usize = 4_096;

/// The password of a wallet that exists.
pub(super) fn password(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(file) => password_in(file),
        None => ask_unseen("password: "),
    }
}

/// The password of a wallet that is about to be made; typed twice, since nobody sees it.
pub(super) fn new_password(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let password = if let Some(file) = file {
        password_in(file)?
    } else {
        let password = ask_unseen("a password for the new wallet: ")?;
        if *password != *ask_unseen("the same again: ")? {
            return Err(Failure::world("the two passwords differ; nothing was made"));
        }
        password
    };
    if password.is_empty() {
        return Err(Failure::world("the password is empty; without one, whoever has the file has the coins"));
    }
    Ok(password)
}

/// A secret text: from a file, or else from stdin, where a person is asked for it.
pub(super) fn text(option: &str, file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let Some(path) = file else {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            say(prompt)?;
            return line();
        }
        return read_all(stdin.lock()).map_err(|why| Failure::world(format!("stdin {why}")));
    };
    read_file(option, path)
}

/// Whether a person agrees. None if nobody can be asked.
pub(super) fn agrees(question: &str) -> Result<Option<bool>, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    say(question)?;
    Ok(Some(matches!(line()?.trim(), "y" | "Y" | "yes")))
}

/// The first line of a file; the rest is for notes.
fn password_in(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = read_file("--password-file", path)?;
    let end = text.find('\n').unwrap_or(text.len());
    text.truncate(end);
    if text.ends_with('\r') {
        text.pop();
    }
    Ok(text)
}

fn read_file(option: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |why: String| Failure::options(format!("option `{option}`: `{}` {why}", path.display()));
    if path.is_dir() {
        return Err(wrong("is a directory".into()));
    }
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    read_all(file).map_err(wrong)
}

/// All there is, without copies left in memory; an error is the rest of a sentence.
fn read_all(mut source: impl Read) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new([0; BYTES_MAX + 1]);
    let mut length = 0;
    loop {
        match source.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
    if length > BYTES_MAX {
        return Err(format!("holds more than {BYTES_MAX} bytes, so it is something else"));
    }
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| "is not UTF-8".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// One line from the terminal, seen as it is typed.
fn line() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(BYTES_MAX));
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::world(format!("cannot read from the terminal: {error}")))?;
    Ok(line)
}

fn say(prompt: &str) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    let said = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    said.map_err(|error| Failure::world(format!("cannot write to the terminal: {error}")))
}

/// One line from the terminal that nobody sees.
fn ask_unseen(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stderr().is_terminal() {
        return Err(Failure::options(
            "there is no terminal to ask for the password on; name a file with `--password-file`",
        ));
    }
    signals::restore_terminal_on_stop()?;
    let password = rpassword::prompt_password(prompt);
    password.map(Zeroizing::new).map_err(|error| Failure::world(format!("cannot ask for the password: {error}")))
}
