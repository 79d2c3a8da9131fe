//! The command line: one file and one struct for each command.
//!
//! A command goes three steps. [`parse`] makes a [`Command`] from words, each value already what it
//! means ([`values`]). The command's `run` checks everything else that can be wrong with its options
//! before it touches the disk, so wrong options leave no trace. Then it works. What goes wrong is a
//! [`Failure`], which [`main`](../../src/main.rs) prints once, in one line.
//!
//! argh finds the options; its own complaints span lines and give no way out, so [`parse`] folds them
//! into our form.

pub mod failure;

pub mod values;

pub mod network;

pub mod directory;

pub mod payout;

pub mod signals;

pub mod when;

pub mod console;

pub mod progress;

pub mod output;

pub mod logging;

pub mod notify;

pub mod watch;

pub mod config;

pub mod daemon;

pub mod service;

pub mod table;

pub mod ask;

pub mod chain;

pub mod wallet;

pub mod simulate;

use std::ffi::OsString;

use argh::FromArgs;

use crate::cli::failure::Failure;

const NAME: &str = "spindle";

/// a complete proof-of-work blockchain node with no async runtime
#[derive(FromArgs, Debug)]
struct Spindle {
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

/// What can be asked for.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum Command {
    /// Run a node.
    Daemon(daemon::DaemonCommand),
    /// How a running node is.
    Status(ask::status::Status),
    /// Who is connected to it.
    Peers(ask::peers::Peers),
    /// Whom it knows.
    Addresses(ask::addresses::Addresses),
    /// Connect it to somebody.
    Connect(ask::links::Connect),
    /// End a connection.
    Disconnect(ask::links::Disconnect),
    /// Whom it refuses.
    Bans(ask::bans::Bans),
    /// Refuse somebody.
    Ban(ask::bans::Ban),
    /// Refuse somebody no longer.
    Unban(ask::bans::Unban),
    /// The newest blocks.
    Blocks(ask::blocks::Blocks),
    /// One block.
    Block(ask::block::Block),
    /// One transaction.
    Tx(ask::tx::Tx),
    /// What waits for a block.
    Mempool(ask::mempool::Mempool),
    /// Find blocks now.
    Mine(ask::mine::Mine),
    /// Stop it.
    Stop(ask::stop::Stop),
    /// How much its log says.
    Log(ask::level::Log),
    /// Print a unit for systemd.
    Service(service::ServiceFile),
    /// Work on a chain's files.
    Chain(chain::ChainCommand),
    /// Make a wallet, look at it, pay with it.
    Wallet(wallet::WalletCommand),
    /// Watch a network in virtual time.
    Simulate(simulate::SimulateCommand),
}

/// What the words on the command line come to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Asked {
    /// Something to do.
    Command(Command),
    /// Something to read: help, or the version.
    Text(String),
}

/// Makes a command from the words after the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| {
            let shown =
                |word: OsString| Failure::options(format!("argument `{}` is not UTF-8", word.to_string_lossy()));
            word.into_string().map_err(shown)
        })
        .collect::<Result<_, _>>()?;
    let words: Vec<String> = words.iter().flat_map(|word| split(word)).map(str::to_owned).collect();
    let mut words = config::expand(words)?;
    // All that follows is the daemon's, and not looked at yet.
    if words.first().is_some_and(|word| word == service::COMMAND) && !words.iter().any(|word| word == "--help") {
        words.insert(1, "--".into());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Spindle::from_args(&[NAME], &words) {
        Ok(Spindle { version: true, .. }) => Ok(Asked::Text(version())),
        Ok(Spindle { command: Some(command), .. }) => Ok(Asked::Command(command)),
        Ok(Spindle { command: None, .. }) => {
            Err(Failure::options(format!("no command is given; `{NAME} --help` lists them")))
        }
        Err(early) if early.status.is_ok() => Ok(Asked::Text(early.output)),
        Err(early) => Err(Failure::options(fold(&early.output, &help_command(&words)))),
    }
}

/// Does what was asked for.
pub fn run(asked: Asked) -> Result<(), Failure> {
    match asked {
        Asked::Text(text) => output::say(&text),
        Asked::Command(command) => match command {
            Command::Daemon(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Peers(command) => command.run(),
            Command::Addresses(command) => command.run(),
            Command::Connect(command) => command.run(),
            Command::Disconnect(command) => command.run(),
            Command::Bans(command) => command.run(),
            Command::Ban(command) => command.run(),
            Command::Unban(command) => command.run(),
            Command::Blocks(command) => command.run(),
            Command::Block(command) => command.run(),
            Command::Tx(command) => command.run(),
            Command::Mempool(command) => command.run(),
            Command::Mine(command) => command.run(),
            Command::Stop(command) => command.run(),
            Command::Log(command) => command.run(),
            Command::Service(command) => command.run(),
            Command::Chain(command) => command.run(),
            Command::Wallet(command) => command.run(),
            Command::Simulate(command) => command.run(),
        },
    }
}

/// Name and version, as peers are told too.
pub fn version() -> String {
    format!("{NAME} {}", env!("CARGO_PKG_VERSION"))
}

/// `--name=value` is what half of all programs take, so it is taken here.
fn split(word: &str) -> Vec<&str> {
    match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name, value],
        _ => vec![word],
    }
}

/// Commands, and those of `chain`, besides those that ask a node.
const COMMANDS: [&str; 9] =
    ["daemon", "chain", "new", "generate", "verify", "show", "wallet", "simulate", service::COMMAND];

/// The help that lists what could have been said: that of the commands named so far.
fn help_command(words: &[&str]) -> String {
    const WALLET: [&str; 11] = [
        "new",
        "restore",
        "watch",
        "address",
        "balance",
        "send",
        "forget",
        "history",
        "view-key",
        "prove",
        "check-proof",
    ];
    let known = |word: &&&str| COMMANDS.contains(word) || WALLET.contains(word) || ask::COMMANDS.contains(word);
    let named = words.iter().take_while(known);
    let mut command = NAME.to_owned();
    for word in named {
        command.push(' ');
        command.push_str(word);
    }
    command + " --help"
}

/// argh's complaint as one sentence in our form.
fn fold(complaint: &str, help: &str) -> String {
    let complaint = complaint.trim();
    let parsed = |kind: &str| {
        let (name, rest) = complaint.strip_prefix(kind)?.split_once("' with value '")?;
        // No message of ours holds this mark, while a value may.
        let (value, why) = rest.rsplit_once("': ")?;
        let why = if why == "duplicate values provided" { "comes a second time; give it once" } else { why };
        Some(format!("`{name}`: `{value}` {why}"))
    };
    if let Some(said) = parsed("Error parsing option '") {
        return format!("option {said}");
    }
    if let Some(said) = parsed("Error parsing positional argument '") {
        return format!("argument {said}");
    }
    if let Some(rest) = complaint.strip_prefix("No value provided for option '") {
        let name = rest.trim_end_matches(['.', '\'']);
        return format!("option `{name}` has no value; `{help}` says what it takes");
    }
    if let Some(word) = complaint.strip_prefix("Unrecognized argument: ") {
        let kind = if word.starts_with('-') { "option" } else { "argument" };
        let first = COMMANDS.into_iter().filter(|word| !["new", "generate", "verify", "show"].contains(word));
        if help == format!("{NAME} --help")
            && let Some(meant) = config::nearest(word, first.chain(ask::COMMANDS))
        {
            return format!("{kind} `{word}` is unknown here; did you mean `{meant}`? `{help}` lists what there is");
        }
        return format!("{kind} `{word}` is unknown here; `{help}` lists what there is");
    }
    let mut said = complaint.to_owned();
    if let Some(first) = said.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!("{said}; `{help}` lists what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(words: &[&str]) -> String {
        match parse(words.iter().map(OsString::from)) {
            Err(failure @ Failure::Options(_)) => failure.to_string(),
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    /// Goal: every complaint of the parser becomes one line that names the word and the way out.
    /// Method: one of each kind.
    #[test]
    fn complaints_name_the_word_and_the_way_out() {
        let cases: [(&[&str], &[&str]); 9] = [
            (&[], &["no command", "spindle --help"]),
            (&["fly"], &["argument `fly`", "spindle --help"]),
            (&["stauts"], &["argument `stauts`", "did you mean `status`?", "spindle --help"]),
            (&["--fly"], &["option `--fly`", "spindle --help"]),
            (&["chain"], &["generate", "spindle chain --help"]),
            (&["chain", "verify"], &["--data-dir", "spindle chain verify --help"]),
            (&["chain", "verify", "--data-dir"], &["option `--data-dir` has no value"]),
            (&["chain", "verify", "--data-dir", "a", "--data-dir=b"], &["option `--data-dir`: `b`", "second time"]),
            (&["chain", "generate", "--blocks", "x': y"], &["option `--blocks`: `x': y` is not a whole number"]),
        ];
        for (words, parts) in cases {
            let said = complaint(words);
            assert!(parts.iter().all(|part| said.contains(part)) && !said.contains('\n'), "{words:?}: {said}");
        }
    }
}
