//! `spindle chain …`: a network of one's own, and a chain's files, with no node running or beside one.

pub mod new;

pub mod generate;

pub mod transfers;

pub mod verify;

pub mod replay;

pub mod show;

use argh::FromArgs;

use crate::cli::failure::Failure;

/// make a network, or make, verify or look at a chain's files
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "chain")]
pub struct ChainCommand {
    #[argh(subcommand)]
    command: Command,
}

/// What can be done to them.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    New(new::New),
    Generate(generate::Generate),
    Verify(verify::Verify),
    Show(show::Show),
}

impl ChainCommand {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Show(command) => command.run(),
        }
    }
}
