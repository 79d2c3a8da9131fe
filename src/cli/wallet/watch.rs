//! `spindle wallet watch`: a wallet that sees and cannot spend.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::cli::ask::command;
use crate::cli::failure::Failure;
use crate::cli::wallet::opened::Place;
use crate::cli::wallet::restore::{height, start, tell};
use crate::cli::wallet::secret;
use crate::wallet::file::Secrets;
use crate::wallet::keys::ViewKeys;

command! {
    /// make a wallet that sees what another one has, and cannot spend it, from that one's view key
    #[argh(subcommand, name = "watch")]
    Watch {
        /// the view key; others on this machine may see it here, so rather leave it out [read it from stdin]
        #[argh(positional)]
        view_key: Option<String>,
        /// a file that holds the view key
        #[argh(option)]
        view_key_file: Option<PathBuf>,
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

impl Watch {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let asked = self.place()?;
        let place = Place::find(&self.network, self.wallet)?;
        place.must_be_free()?;
        let text = match self.view_key {
            Some(_) if self.view_key_file.is_some() => {
                return Err(Failure::options(
                    "option `--view-key-file`: a view key is given already; leave one of them out",
                ));
            }
            Some(text) => Zeroizing::new(text),
            None => secret::text("--view-key-file", self.view_key_file.as_deref(), "the view key: ")?,
        };
        let keys = ViewKeys::parse(&place.params, &text).map_err(|error| Failure::options(error.to_string()))?;
        let start = start(&place.params, self.from_height, asked)?;
        let wallet = place.make(Secrets::Watch(keys), start, self.password_file.as_deref())?;
        tell(&wallet, self.json)
    }
}
