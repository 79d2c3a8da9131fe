//! Commands that ask a running node, or tell it something: one file each.
//!
//! They find the node as its own command line names it: by port, network and data directory, or by the same file of
//! options. What is asked for goes over the node's RPC ([`crate::rpc`]); what changes something shows the cookie, so
//! whoever can read the data directory can steer the node. A height is that of the last block everywhere here, as
//! `chain verify` has it, while the RPC counts blocks, as monerod does.
//!
//! Wallets ask the same way, so they find the node by the same options ([`wallet`](super::wallet)).
//!
//! With `--json` each prints one object, or one a line with `--watch`.

pub mod status;

pub mod peers;

pub mod addresses;

pub mod links;

pub mod bans;

pub mod blocks;

pub mod block;

pub mod tx;

pub mod mempool;

pub mod mine;

pub mod stop;

pub mod level;

mod watching;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blockchain::os::DataDir;
use crate::blockchain::params::Params;
use crate::cli::failure::Failure;
use crate::cli::values::RPC_PORT_OFFSET;
use crate::cli::{directory, network, output};
use crate::primitives::hash::Hash;
use crate::rpc::client::{Client, ClientError};
use crate::rpc::cookie::{COOKIE_FILE, Cookie};

/// For an answer: a node looks into itself in milliseconds, or says within five seconds that it cannot.
const PATIENCE_MS: u64 = 10_000;
/// The names of these commands.
pub const COMMANDS: [&str; 15] = [
    "status",
    "peers",
    "addresses",
    "connect",
    "disconnect",
    "bans",
    "ban",
    "unban",
    "blocks",
    "block",
    "tx",
    "mempool",
    "mine",
    "stop",
    "log",
];
/// What of a daemon's options says where it is.
pub const OPTIONS: [&str; 5] = ["--port", "--rpc-port", "--rpc-bind", "--network", "--data-dir"];

/// Makes the struct of such a command: its own options, and behind them those that all of them have.
macro_rules! command {
    ($(#[$($meta:tt)*])* $name:ident { $($own:tt)* }) => {
        #[derive(argh::FromArgs, Debug)]
        $(#[$($meta)*])*
        pub struct $name {
            $($own)*
            /// port of the node, as `spindle daemon` has it [the network's: local 9000, regtest 9100]
            #[argh(option, from_str_fn(crate::cli::values::port))]
            port: Option<u16>,
            /// port of its RPC [1000 above the other]
            #[argh(option, from_str_fn(crate::cli::values::rpc_port))]
            rpc_port: Option<u16>,
            /// address of its RPC [127.0.0.1]
            #[argh(option, from_str_fn(crate::cli::values::bind))]
            rpc_bind: Option<std::net::IpAddr>,
            /// local, regtest or a spec's file [local]
            #[argh(option, default = "String::from(\"local\")")]
            network: String,
            /// its data directory [one for each network and port, under the home directory]
            #[argh(option)]
            data_dir: Option<std::path::PathBuf>,
            /// the file of options that it was started with [none]
            #[argh(option)]
            config: Option<std::path::PathBuf>,
            /// print the result as JSON [no]
            #[argh(switch)]
            json: bool,
        }

        impl $name {
            /// Where the node is that this is for.
            fn place(&self) -> Result<crate::cli::ask::Place, crate::cli::failure::Failure> {
                crate::cli::ask::Place::find(
                    (self.port, self.rpc_port, self.rpc_bind),
                    &self.network,
                    self.data_dir.as_ref(),
                    self.config.as_ref(),
                )
            }
        }
    };
}
pub(in crate::cli) use command;

/// Where a node is, or should be.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place {
    params: Params,
    /// Of its RPC.
    address: SocketAddr,
    data_dir: PathBuf,
    /// The command that would start it.
    start: String,
}

impl Place {
    /// From options as the node's own command line has them.
    pub(in crate::cli) fn find(
        (port, rpc_port, rpc_bind): (Option<u16>, Option<u16>, Option<IpAddr>),
        network: &str,
        data_dir: Option<&PathBuf>,
        config: Option<&PathBuf>,
    ) -> Result<Self, Failure> {
        let params = network::load(network)?;
        let own_port = port.unwrap_or(params.spec().port);
        let directory = match data_dir {
            Some(directory) => directory.clone(),
            None => directory::default_for(&params.spec().name, own_port)?,
        };
        let neighbour = || own_port.checked_add(RPC_PORT_OFFSET).expect("a port was checked to have a neighbour");
        // Who listens everywhere listens here.
        let ip = rpc_bind.filter(|ip| !ip.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut start = "spindle daemon".to_owned();
        let mut with = |option: &str, value: Option<String>| {
            if let Some(value) = value {
                start.extend([" ", option, " ", &value]);
            }
        };
        if let Some(config) = config {
            with("--config", Some(config.display().to_string()));
        } else {
            with("--network", Some(network.to_owned()).filter(|network| network != "local"));
            with("--port", port.map(|port| port.to_string()));
            with("--rpc-port", rpc_port.map(|port| port.to_string()));
            with("--rpc-bind", rpc_bind.map(|ip| ip.to_string()));
            with("--data-dir", data_dir.map(|directory| directory.display().to_string()));
        }
        let address = SocketAddr::new(ip, rpc_port.unwrap_or_else(neighbour));
        Ok(Self { params, address, data_dir: directory, start })
    }

    /// The node, to be asked.
    pub(in crate::cli) fn node(self) -> Node {
        // Whoever can read the cookie shows it: one connection is kept free for him.
        let cookie = Cookie::read(&self.data_dir).ok();
        let has_cookie = cookie.is_some();
        Node {
            client: Client::new(self.address, cookie).with_patience(PATIENCE_MS),
            place: self,
            has_cookie,
            must_show_it: false,
        }
    }

    /// What is said when nobody is there.
    fn nobody(&self) -> Failure {
        let Self { address, data_dir, start, .. } = self;
        let shown = data_dir.display();
        match DataDir::held_by(data_dir) {
            Some(holder) => Failure::world(format!(
                "no node answers on {address}, and yet {holder} holds `{shown}`: it starts or stops, listens elsewhere \
                 (`--rpc-port`), or was started with `--no-rpc`"
            )),
            None => Failure::world(format!(
                "no node runs here: nobody listens on {address}; `{start}` starts one, `--port` or `--network` names \
                 another"
            )),
        }
    }
}

/// A node that can be asked.
#[derive(Debug)]
pub(in crate::cli) struct Node {
    place: Place,
    client: Client,
    has_cookie: bool,
    /// Something is to be changed, which takes the cookie.
    must_show_it: bool,
}

impl Node {
    /// Asks a method of JSON-RPC.
    fn call<T: DeserializeOwned>(&mut self, method: &str, params: &impl Serialize) -> Result<T, Failure> {
        self.ask(&|client| client.call(method, params))
    }

    /// Asks a path.
    fn post<T: DeserializeOwned>(&mut self, path: &str, params: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(params)?;
        let answer = self.ask(&|client| client.post(path, "application/json", &body))?;
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::world(format!("the node's answer to `{path}` is not understood: {error}")))
    }

    /// A cookie that was left behind in its place opens nothing, and whoever only looks needs none.
    fn ask<T>(&mut self, question: &dyn Fn(&mut Client) -> Result<T, ClientError>) -> Result<T, Failure> {
        let mut answer = question(&mut self.client);
        if self.has_cookie && !self.must_show_it && matches!(answer, Err(ClientError::Unauthorised { .. })) {
            self.client = Client::new(self.place.address, None).with_patience(PATIENCE_MS);
            self.has_cookie = false;
            answer = question(&mut self.client);
        }
        answer.map_err(|error| self.failure(error))
    }

    /// What asks it, for whoever talks in bytes: once it has said that it is of the network that is meant.
    pub(in crate::cli) fn into_client(mut self) -> Result<Client, Failure> {
        let Network { genesis_hash: theirs } = self.call("get_info", &Nothing {})?;
        let Place { params, address, .. } = &self.place;
        if theirs != params.genesis_id() {
            return Err(Failure::world(format!(
                "the node on {address} is of another network (genesis {theirs:.12}); `--network` and `--port` say which is \
                 meant"
            )));
        }
        Ok(self.client)
    }

    /// That the cookie is here, before anything is asked that takes it.
    fn must_have_cookie(&mut self) -> Result<(), Failure> {
        if self.has_cookie {
            self.must_show_it = true;
            return Ok(());
        }
        let path = self.place.data_dir.join(COOKIE_FILE);
        // Whether anybody is there at all goes first: a node that has ended has taken its cookie along.
        self.client.get("/get_height").map_err(|error| self.failure(error))?;
        let why = match Cookie::read(&self.place.data_dir) {
            Ok(_) => "it was not there a moment ago; try again".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Failure::world(format!(
            "this takes the node's cookie, and `{}` cannot be read: {why}; name the node's data directory with \
             `--data-dir`, as the user that the node runs as",
            path.display()
        )))
    }

    fn failure(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Nobody { .. } => self.place.nobody(),
            ClientError::Silent { address, limit_ms } => Failure::world(format!(
                "the node on {address} has not answered for {} s; it may still be opening its chain, and its log says \
                 how far it is",
                limit_ms / 1_000
            )),
            ClientError::Unauthorised { address, .. } => Failure::world(format!(
                "the node on {address} does not take the cookie in `{}`; name its own data directory with `--data-dir`",
                self.place.data_dir.display()
            )),
            ClientError::Refused { why, status, address } => match sentence(&why) {
                Some(sentence) => Failure::world(sentence),
                None => ClientError::Refused { why, status, address }.into(),
            },
            ClientError::Failed { message, .. } => Failure::world(message),
            other => other.into(),
        }
    }
}

/// The sentence in the answer of a path that has failed.
fn sentence(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    Some(value.get("status")?.as_str()?.to_owned())
}

/// Of `get_info`.
#[derive(Deserialize)]
struct Network {
    genesis_hash: Hash,
}

/// No parameters.
#[derive(Serialize)]
struct Nothing {}

/// An answer that says only that something was done.
#[derive(Deserialize)]
struct Accepted {}

/// What a command prints that only does something.
fn say_done(json: bool, sentence: &str) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Done<'a> {
        done: &'a str,
    }
    if json { output::say_json(&Done { done: sentence }) } else { output::say(sentence) }
}

/// A block's header, as far as people are shown it.
#[derive(Clone, Debug, Deserialize)]
struct Header {
    block_size: u64,
    #[serde(flatten)]
    work: Work,
    depth: u64,
    difficulty: u64,
    hash: Hash,
    height: u64,
    major_version: u32,
    merkle_root: Hash,
    miner_tx_hash: Hash,
    nonce: u64,
    num_txes: u64,
    orphan_status: bool,
    prev_hash: Hash,
    reward: u64,
    timestamp_ms: u64,
}

impl Header {
    /// Blocks of the active chain from it up, itself included; 0 on another branch.
    fn confirmations(&self) -> u64 {
        if self.orphan_status { 0 } else { self.depth + 1 }
    }
}

/// A number that may outgrow 64 bits, in its two halves.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Work {
    cumulative_difficulty: u64,
    cumulative_difficulty_top64: u64,
}

impl Work {
    fn total(self) -> u128 {
        u128::from(self.cumulative_difficulty_top64) << 64 | u128::from(self.cumulative_difficulty)
    }
}
