//! `spindle wallet new`: a wallet, and the words that are all of it.

use std::fmt::Write;
use std::path::PathBuf;

use argh::FromArgs;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::wallet::opened::{Place, genesis, random};
use crate::wallet::file::Secrets;
use crate::wallet::words;

/// make a new wallet, and show its 24 words once
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "new")]
pub struct New {
    /// the wallet's file [one for each network, under the home directory]
    #[argh(option)]
    wallet: Option<PathBuf>,
    /// local, regtest or a spec's file [local]
    #[argh(option, default = "String::from(\"local\")")]
    network: String,
    /// a file whose first line is the password [ask on the terminal]
    #[argh(option)]
    password_file: Option<PathBuf>,
    /// print the result as JSON
    #[argh(switch)]
    json: bool,
}

/// What is shown, once.
#[derive(Serialize)]
struct Shown<'a> {
    address: String,
    words: &'a str,
}

impl New {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let place = Place::find(&self.network, self.wallet)?;
        place.must_be_free()?;
        let mut entropy = Zeroizing::new([0; 32]);
        random(&mut *entropy)?;
        let (words, seed) = words::from_entropy(&entropy);
        let start = genesis(&place.params);
        // The file first: words that were written down and belong to nothing would be worse than none.
        let wallet = place.make(Secrets::Spend(seed), start, self.password_file.as_deref())?;
        let (address, path) = (wallet.address_text(), wallet.file.path());
        let text = if self.json {
            Zeroizing::new(serde_json::to_string_pretty(&Shown { address, words: &words })?)
        } else {
            Zeroizing::new(format!("address  {address}\n{}", *in_rows(&words)))
        };
        if let Err(failure) = output::say_surely(&text) {
            // Nobody has the words: coins that were sent there would hang on this one file.
            wallet.file.remove()?;
            return Err(Failure::world(format!(
                "{failure}; so no wallet was made, and words that were shown belong to none"
            )));
        }
        output::remark(&format!("made {}", path.display()));
        if self.json {
            return Ok(());
        }
        output::remark(
            "these 24 words are the whole wallet: write them down, they are not shown again. Whoever has them has the coins; \
             where the file is lost, `spindle wallet restore` brings the wallet back from them",
        );
        Ok(())
    }
}

/// Numbered, in four columns, as they are copied onto paper.
fn in_rows(words: &str) -> Zeroizing<String> {
    let words: Vec<&str> = words.split(' ').collect();
    let rows = words.len() / 4;
    // Room for all at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(words.len() * 16));
    for row in 0..rows {
        for (n, word) in (row..words.len()).step_by(rows).map(|n| (n + 1, words[n])) {
            write!(text, "{n:2} {word:<12}").expect("a string takes every write");
        }
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the words on paper are all words, in their order down the columns. Method: 24 numbered ones.
    #[test]
    fn words_stand_in_numbered_columns() {
        let words: Vec<String> = (1..=24).map(|n| format!("w{n}")).collect();
        let text = in_rows(&words.join(" "));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["1", "w1", "7", "w7", "13", "w13", "19", "w19"]);
        assert_eq!(lines[5].split_whitespace().last(), Some("w24"));
    }
}
