//! `--watch`: the same again and again, until Ctrl-C.
//!
//! On a terminal it is drawn in one place; elsewhere each picture follows the last one with an empty line between.
//! A node that has gone is waited for: whoever watches wants to see it come back.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use crate::cli::ask::{Node, Place};
use crate::cli::console;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Between two pictures.
const EVERY: Duration = Duration::from_secs(1);
/// What a terminal that does not tell is taken for.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// Shows what `picture` gives of the node in this place, once and again. The first failure ends it, later ones are a
/// part of the picture.
pub(super) fn watch(
    place: &Place,
    json: bool,
    mut picture: impl FnMut(&mut Node) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let is_drawn = !json && io::stdout().is_terminal();
    let mut node = place.clone().node();
    let mut text = picture(&mut node)?;
    if is_drawn {
        // From an empty screen on.
        output::say_to_reader("\u{1b}[2J")?;
    }
    loop {
        let shown = match (is_drawn, json) {
            (true, _) => drawn(&text),
            (false, true) => format!("{text}\n"),
            (false, false) => format!("{text}\n\n"),
        };
        if !output::say_to_reader(&shown)? {
            return Ok(());
        }
        thread::sleep(EVERY);
        text = picture(&mut node).unwrap_or_else(|failure| {
            // The next one in its place has another cookie.
            node = place.clone().node();
            failed(json, &failure)
        });
    }
}

fn failed(json: bool, failure: &Failure) -> String {
    if json { serde_json::json!({ "error": failure.to_string() }).to_string() } else { format!("error: {failure}") }
}

/// From the terminal's first place on, over what stands there, and no more than fits.
fn drawn(text: &str) -> String {
    let (columns, rows) = console::size(&io::stdout()).unwrap_or((COLUMNS, ROWS));
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let (shown, hidden) = if lines.len() > room { lines.split_at(room - 1) } else { (&lines[..], &[][..]) };
    let mut screen = String::from("\u{1b}[H");
    for line in shown {
        // Codes take no place; what has some is short.
        let fits = line.contains('\u{1b}');
        screen.extend(line.chars().take(if fits { usize::MAX } else { columns }));
        screen += "\u{1b}[K\n";
    }
    if !hidden.is_empty() {
        screen.extend(["… and ", &hidden.len().to_string(), " lines more\u{1b}[K\n"]);
    }
    screen + "\u{1b}[J"
}
