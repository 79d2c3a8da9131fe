//! How a command ends when it does not end well: two kinds, two exit codes, one line.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The options are wrong: nothing was touched. Exit code 2.
    Options(String),
    /// The options are right and the world is not: a disk, a port, a damaged file. Exit code 1.
    World(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// Wrong options: what, its value, the limit and the way out.
    pub fn options(text: impl Into<String>) -> Self {
        Self::Options(text.into())
    }

    /// Something in the world that a sentence describes best.
    pub fn world(text: impl Into<String>) -> Self {
        Self::World(text.into().into())
    }

    /// What the process returns.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Options(_) => ExitCode::from(2),
            Self::World(_) => ExitCode::FAILURE,
        }
    }

    /// Says it on stderr, once and in one line.
    pub fn tell(&self) {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(io::stderr(), "error: {self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Options(text) => text.clone(),
            Self::World(error) => chain(&**error),
        };
        f.write_str(&one_line(&text))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::World(Box::new(error))
    }
}

/// An error and its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            write!(text, ": {said}").expect("a string takes every write");
        }
        cause = error.source();
    }
    text
}

/// Values are repeated in messages, and a value may hold anything: no line breaks, no terminal codes,
/// and no more than a person reads.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 1_000;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
    }
    if line.chars().count() > CHARS_MAX {
        line = line.chars().take(CHARS_MAX).chain(['…']).collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one line whatever the value was, and every cause once. Method: an error with a cause, and a
    /// value with line breaks and an escape code.
    #[test]
    fn a_failure_is_one_line() {
        let inner = io::Error::other("disk\nfull");
        let outer = crate::blockchain::storage::StoreError::Io { action: "write", path: "x".into(), source: inner };
        let text = Failure::from(outer).to_string();
        assert!(text.starts_with("cannot write `x`") && text.ends_with(": disk full"), "{text}");
        assert_eq!(Failure::options("a\n  b\u{1b}[1m").to_string(), "a b\u{fffd}[1m");
    }
}
