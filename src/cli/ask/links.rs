//! `spindle connect` and `spindle disconnect`: a running node's connections, by hand.

use serde::Serialize;

use crate::cli::ask::{Accepted, command, say_done};
use crate::cli::failure::Failure;
use crate::cli::values;
use crate::node::event::Target;

command! {
    /// have a running node dial somebody now, and again whenever it has a place free, until it stops
    #[argh(subcommand, name = "connect")]
    Connect {
        /// whom: HOST:PORT
        #[argh(positional, from_str_fn(values::target), arg_name = "host:port")]
        target: Target,
    }
}

command! {
    /// end a connection of a running node, which does not dial there again by itself
    #[argh(subcommand, name = "disconnect")]
    Disconnect {
        /// whose: a number that `spindle peers` shows, or an address, IP:PORT
        #[argh(positional, from_str_fn(which), arg_name = "peer")]
        peer: Which,
    }
}

#[derive(Serialize)]
struct Whom {
    address: String,
}

/// One of those that are connected.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    Peer(u64),
    Address(String),
}

fn which(text: &str) -> Result<Which, String> {
    if let Ok(peer) = values::number(text, 0..=u64::MAX, "") {
        return Ok(Which::Peer(peer));
    }
    let address = text.parse::<std::net::SocketAddr>();
    let form = "is neither the number of a peer nor its address, IP:PORT; `spindle peers` lists both";
    address.map(|address| Which::Address(address.to_string())).map_err(|_| form.into())
}

impl Connect {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let address = self.target.to_string();
        let Accepted {} = node.call("connect", &Whom { address: address.clone() })?;
        say_done(self.json, &format!("{address} is dialled; `spindle peers` shows whether it answers"))
    }
}

impl Disconnect {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let Accepted {} = node.call("disconnect", &self.peer)?;
        let whom = match &self.peer {
            Which::Peer(peer) => format!("peer {peer}"),
            Which::Address(address) => address.clone(),
        };
        say_done(self.json, &format!("{whom} is disconnected"))
    }
}
