//! `spindle bans`, `ban` and `unban`: whom a running node refuses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Accepted, Nothing, command, say_done};
use crate::cli::failure::Failure;
use crate::cli::progress::span;
use crate::cli::table::{Side, Table};
use crate::cli::{output, values};

/// How long, if nothing is said.
const DAY_S: u32 = 86_400;

command! {
    /// list whom a running node refuses
    #[argh(subcommand, name = "bans")]
    Bans {}
}

command! {
    /// have a running node refuse an address, and end its connections
    #[argh(subcommand, name = "ban")]
    Ban {
        /// an IP address; of IPv6 its whole /64
        #[argh(positional, from_str_fn(ip), arg_name = "ip")]
        ip: IpAddr,
        /// how long: a number with s, m, h or d behind it [24h]
        #[argh(option, from_str_fn(values::seconds), default = "DAY_S", long = "for", arg_name = "time")]
        seconds: u32,
    }
}

command! {
    /// have a running node refuse an address no longer
    #[argh(subcommand, name = "unban")]
    Unban {
        /// an IP address, as `spindle bans` shows it
        #[argh(positional, from_str_fn(ip), arg_name = "ip")]
        ip: IpAddr,
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "is not an IP address; one such as 192.168.1.7 or fe80::1 is needed, without a port".into())
}

/// `get_bans`.
#[derive(Deserialize)]
struct Listed {
    bans: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    host: String,
    seconds: u64,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    bans: Vec<Banned>,
}

#[derive(Debug, Serialize)]
struct Banned {
    address: String,
    left_s: u64,
    reason: String,
}

/// `set_bans`.
#[derive(Serialize)]
struct Wanted {
    bans: [WantedBan; 1],
}

#[derive(Serialize)]
struct WantedBan {
    host: String,
    ban: bool,
    seconds: u32,
}

impl Bans {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let Listed { bans } = self.place()?.node().call("get_bans", &Nothing {})?;
        let shown = |Row { host, seconds, reason }: Row| Banned { address: host, left_s: seconds, reason };
        let shown = Shown { bans: bans.into_iter().map(shown).collect() };
        if self.json {
            return output::say_json(&shown);
        }
        let mut table = Table::new([("address", Side::Left), ("for another", Side::Left), ("because", Side::Left)]);
        for Banned { address, left_s, reason } in &shown.bans {
            table.push([address.clone(), span(*left_s), reason.clone()]);
        }
        match shown.bans.len() {
            0 => output::say("nobody is banned"),
            _ => output::say(&table.lines().join("\n")),
        }
    }
}

impl Ban {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let (host, seconds) = (self.ip.to_string(), self.seconds);
        let Accepted {} = node.call("set_bans", &Wanted { bans: [WantedBan { host, ban: true, seconds }] })?;
        say_done(self.json, &format!("{} is banned for {}", self.ip, span(seconds.into())))
    }
}

impl Unban {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        node.must_have_cookie()?;
        let host = self.ip.to_string();
        let Accepted {} = node.call("set_bans", &Wanted { bans: [WantedBan { host, ban: false, seconds: 0 }] })?;
        say_done(self.json, &format!("{} is banned no longer", self.ip))
    }
}
