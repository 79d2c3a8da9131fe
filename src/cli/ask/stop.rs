//! `spindle stop`: ends a running node in order, and waits until it has ended.

use std::thread;
use std::time::{Duration, Instant};

use crate::blockchain::os::DataDir;
use crate::cli::ask::{Accepted, Nothing, command, say_done};
use crate::cli::failure::Failure;

/// A node stops within five seconds, whatever its peers do; a slow disk may take longer.
const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

command! {
    /// stop a running node, and wait until it has ended
    #[argh(subcommand, name = "stop")]
    Stop {}
}

impl Stop {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let Accepted {} = node.post("/stop_daemon", &Nothing {})?;
        // Its directory is free when all is written and the process has ended, and not before.
        let until = Instant::now() + LIMIT;
        while let Some(holder) = DataDir::held_by(&node.place.data_dir) {
            if Instant::now() >= until {
                return Err(Failure::world(format!(
                    "the node was told to stop and has not ended within {} s: {holder} still holds `{}`; its log says \
                     what it is at",
                    LIMIT.as_secs(),
                    node.place.data_dir.display()
                )));
            }
            thread::sleep(LOOK);
        }
        say_done(self.json, "the node has stopped")
    }
}
