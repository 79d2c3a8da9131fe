//! `spindle log`: how much the log of a running node says.

use log::LevelFilter;
use serde::Serialize;

use crate::cli::ask::{Accepted, command, say_done};
use crate::cli::failure::Failure;
use crate::cli::values;

command! {
    /// say how much the log of a running node says, until it stops or this is said again
    #[argh(subcommand, name = "log")]
    Log {
        /// error, warn, info or debug
        #[argh(positional, from_str_fn(values::level))]
        level: LevelFilter,
    }
}

#[derive(Serialize)]
struct HowMuch {
    level: String,
}

impl Log {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let level = self.level.to_string().to_lowercase();
        let Accepted {} = node.call("set_log_level", &HowMuch { level: level.clone() })?;
        say_done(self.json, &format!("the log says {level} from now on"))
    }
}
