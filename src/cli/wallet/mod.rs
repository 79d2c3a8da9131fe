//! `spindle wallet …`: coins, and nothing of them that a node has to know.
//!
//! Each command opens one wallet file, which no other command can do meanwhile ([`opened`]), asks a running daemon
//! for what has happened ([`node`]), which it finds as the commands in [`ask`](super::ask) do, and keeps what it found. Secrets come from a
//! terminal or from a file ([`secret`]), and go nowhere: not to the node, not into a log, not into an error.

mod opened;

mod secret;

mod node;

pub mod new;

pub mod restore;

pub mod watch;

pub mod address;

pub mod balance;

pub mod send;

pub mod forget;

pub mod history;

pub mod view_key;

pub mod prove;

pub mod check_proof;

use argh::FromArgs;

use crate::cli::failure::Failure;

/// Those that ask a daemon, and take the options that say where it is.
pub const ASKING: [&str; 7] = ["restore", "watch", "balance", "send", "history", "prove", "check-proof"];

/// make a wallet, look at it, pay with it
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "wallet")]
pub struct WalletCommand {
    #[argh(subcommand)]
    command: Command,
}

/// What can be done with one.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    New(new::New),
    Restore(restore::Restore),
    Watch(watch::Watch),
    Address(address::Address),
    Balance(balance::Balance),
    Send(send::Send),
    Forget(forget::Forget),
    History(history::History),
    ViewKey(view_key::ViewKey),
    Prove(prove::Prove),
    CheckProof(check_proof::CheckProof),
}

impl WalletCommand {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Restore(command) => command.run(),
            Command::Watch(command) => command.run(),
            Command::Address(command) => command.run(),
            Command::Balance(command) => command.run(),
            Command::Send(command) => command.run(),
            Command::Forget(command) => command.run(),
            Command::History(command) => command.run(),
            Command::ViewKey(command) => command.run(),
            Command::Prove(command) => command.run(),
            Command::CheckProof(command) => command.run(),
        }
    }
}
