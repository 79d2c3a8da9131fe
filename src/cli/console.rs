//! The terminal under stderr: one line at its foot that is drawn again, and everything else above it.
//!
//! A log line that comes while a progress line is drawn takes its place, and the progress line is drawn again
//! below. So both share one [`Console`]. Where stderr is no terminal nothing is ever drawn.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// What a terminal that does not tell is taken for.
const COLUMNS: usize = 80;
/// To the line's first place, and what stands there goes.
const ERASE: &str = "\r\u{1b}[K";

/// See the top of the file. Clones share the terminal.
#[derive(Clone, Debug)]
pub struct Console(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_terminal: bool,
    has_colours: bool,
    /// What is drawn at the foot now; empty: nothing.
    foot: Mutex<String>,
}

/// Of words that a person should see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// What went wrong.
    Red,
    /// What should be looked at.
    Yellow,
    /// What goes well.
    Green,
    /// What may be passed over.
    Faint,
}

impl Console {
    /// The one under stderr, as it is now.
    pub fn stderr() -> Self {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stderr().is_terminal() && !is_dumb;
        Self(Arc::new(Shared { is_terminal, has_colours: is_terminal && colours_are_wanted(), foot: Mutex::default() }))
    }

    /// Whether lines can be drawn again.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal
    }

    /// Letters that fit in a line.
    pub fn columns(&self) -> usize {
        size(&io::stderr()).map_or(COLUMNS, |(columns, _)| columns)
    }

    /// The text in a colour, if colours are to be had.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        paint(self.0.has_colours, colour, text)
    }

    /// Draws the line at the foot in place of the last one; an empty one takes it away.
    pub fn draw(&self, line: &str) {
        let mut foot = self.0.foot.lock();
        if self.0.is_terminal && *foot != line {
            line.clone_into(&mut foot);
            // Nobody looks at it any more.
            let _ = write!(io::stderr(), "{ERASE}{line}");
        }
    }
}

/// Whole lines, above the one at the foot.
impl Write for Console {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let foot = self.0.foot.lock();
        let mut stderr = io::stderr().lock();
        if foot.is_empty() {
            stderr.write_all(lines)?;
        } else {
            let erase = ERASE.as_bytes();
            stderr.write_all(&[erase, lines, foot.as_bytes()].concat())?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether whoever started this wants colours on terminals: <https://no-color.org>.
pub fn colours_are_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text in a colour, or as it is.
pub fn paint(has_colours: bool, colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Green => 32,
        Colour::Faint => 2,
    };
    if has_colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// How many columns and rows a terminal has, if it is one and tells.
#[cfg(unix)]
pub fn size(terminal: &impl std::os::fd::AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

/// Nothing is known elsewhere.
#[cfg(not(unix))]
pub fn size<T>(_terminal: &T) -> Option<(usize, usize)> {
    None
}
