//! `spindle wallet restore`: the wallet that 24 words are.

use std::path::PathBuf;

use crate::blockchain::params::Params;
use crate::cli::ask::{self, command};
use crate::cli::failure::Failure;
use crate::cli::wallet::node;
use crate::cli::wallet::opened::{Place, Wallet, genesis};
use crate::cli::wallet::{address, secret};
use crate::cli::{output, values};
use crate::wallet::file::Secrets;
use crate::wallet::find::{self, FindError};
use crate::wallet::state::Mark;
use crate::wallet::words;

command! {
    /// make a wallet's file again from its 24 words, which are read from stdin
    #[argh(subcommand, name = "restore")]
    Restore {
        /// a file that holds the words [read them from stdin]
        #[argh(option)]
        words_file: Option<PathBuf>,
        /// a height below which nothing was paid to it, so that the scan begins there; needs the daemon [0]
        #[argh(option, from_str_fn(height))]
        from_height: Option<u64>,
        /// the wallet's file [one for each network, under the home directory]
        #[argh(option)]
        wallet: Option<PathBuf>,
        /// a file whose first line is the password [ask on the terminal]
        #[argh(option)]
        password_file: Option<PathBuf>,
    }
}

/// A height that a chain may have.
pub(super) fn height(text: &str) -> Result<u64, String> {
    values::number(text, 0..=u64::MAX, "a height is needed")
}

impl Restore {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = self.place()?;
        let place = Place::find(&self.network, self.wallet)?;
        place.must_be_free()?;
        let words = secret::text("--words-file", self.words_file.as_deref(), "the 24 words: ")?;
        let seed = words::to_seed(&words).map_err(|error| Failure::options(error.to_string()))?;
        let start = start(&place.params, self.from_height, asked)?;
        let wallet = place.make(Secrets::Spend(seed), start, self.password_file.as_deref())?;
        tell(&wallet, self.json)
    }
}

/// The block after which a wallet looks: below the height from which it may have been paid.
pub(super) fn start(params: &Params, from_height: Option<u64>, asked: ask::Place) -> Result<Mark, Failure> {
    match from_height {
        None | Some(0 | 1) => Ok(genesis(params)),
        Some(height) => find::mark_at(&mut node::find(asked)?, params, height - 1).map_err(|error| match error {
            FindError::TooHigh { top, .. } => {
                let why = format!("lies beyond the node's chain, which ends at height {top}");
                Failure::world(format!("option `--from-height`: `{height}` {why}; choose a lower one"))
            }
            other => other.into(),
        }),
    }
}

/// Says what was made.
pub(super) fn tell(wallet: &Wallet, json: bool) -> Result<(), Failure> {
    if !json {
        let (path, height) = (wallet.file.path(), wallet.contents.state.tip().height + 1);
        let next = "`spindle wallet balance` looks for its coins";
        output::remark(&format!("made {}; {next}, from height {height} on", path.display()));
    }
    address::tell(wallet, json)
}
