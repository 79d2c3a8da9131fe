//! `spindle peers`: who is connected to a running node, and what goes over each connection.

use serde::{Deserialize, Serialize};

use crate::cli::ask::{Node, Nothing, command, watching};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::progress::span;
use crate::cli::table::{Side, Table};

command! {
    /// list who is connected to a running node
    #[argh(subcommand, name = "peers")]
    Peers {
        /// again every second, until Ctrl-C [no]
        #[argh(switch)]
        watch: bool,
    }
}

/// `get_connections`.
#[derive(Deserialize)]
struct Connections {
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    address: String,
    agent: String,
    /// Blocks, genesis included.
    height: u64,
    incoming: bool,
    live_ms: u64,
    peer: u64,
    ping_ms: Option<u64>,
    queue_bytes: u64,
    recv_count: u64,
    recv_idle_ms: u64,
    send_count: u64,
    state: String,
}

/// All of them, for people and programs.
#[derive(Debug, Serialize)]
struct Shown {
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize)]
struct Peer {
    peer: u64,
    /// `in`: it came; `out`: it was dialled.
    direction: &'static str,
    address: String,
    agent: String,
    height: u64,
    /// `null` before the first answer.
    ping_ms: Option<u64>,
    /// Since something came from it.
    idle_ms: u64,
    connected_ms: u64,
    in_bytes: u64,
    out_bytes: u64,
    /// What waits to be sent to it.
    queue_bytes: u64,
    /// `normal`, or `syncing`: it leads while we catch up.
    state: &'static str,
}

impl Peers {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut node = self.place()?.node();
        if self.watch {
            return watching::watch(self.json, move || {
                let shown = Shown::ask(&mut node)?;
                if self.json { Ok(serde_json::to_string(&shown)?) } else { Ok(shown.for_people()) }
            });
        }
        let shown = Shown::ask(&mut node)?;
        if self.json { output::say_json(&shown) } else { output::say(&shown.for_people()) }
    }
}

impl Shown {
    fn ask(node: &mut Node) -> Result<Self, Failure> {
        let Connections { connections } = node.call("get_connections", &Nothing {})?;
        Ok(Self { peers: connections.into_iter().map(Peer::from).collect() })
    }

    fn for_people(&self) -> String {
        let mut table = Table::new([
            ("peer", Side::Right),
            ("dir", Side::Left),
            ("address", Side::Left),
            ("agent", Side::Left),
            ("height", Side::Right),
            ("ping", Side::Right),
            ("heard", Side::Right),
            ("in", Side::Right),
            ("out", Side::Right),
            ("queue", Side::Right),
            ("state", Side::Left),
        ]);
        for peer in &self.peers {
            table.push([
                peer.peer.to_string(),
                peer.direction.to_owned(),
                peer.address.clone(),
                peer.agent.clone(),
                peer.height.to_string(),
                peer.ping_ms.map_or_else(|| "-".to_owned(), |ping| format!("{ping} ms")),
                // What came a moment ago came now.
                if peer.idle_ms < 1_000 { "now".to_owned() } else { format!("{} ago", span(peer.idle_ms / 1_000)) },
                bytes(peer.in_bytes),
                bytes(peer.out_bytes),
                bytes(peer.queue_bytes),
                peer.state.to_owned(),
            ]);
        }
        match self.peers.len() {
            0 => "no peer is connected".into(),
            _ => table.lines().join("\n"),
        }
    }
}

impl From<Connection> for Peer {
    fn from(connection: Connection) -> Self {
        let state = match connection.state.as_str() {
            "synchronizing" => "syncing",
            _ => "normal",
        };
        Self {
            peer: connection.peer,
            direction: if connection.incoming { "in" } else { "out" },
            address: connection.address,
            agent: connection.agent,
            height: connection.height.saturating_sub(1),
            ping_ms: connection.ping_ms,
            idle_ms: connection.recv_idle_ms,
            connected_ms: connection.live_ms,
            in_bytes: connection.recv_count,
            out_bytes: connection.send_count,
            queue_bytes: connection.queue_bytes,
            state,
        }
    }
}

/// A number of bytes in three digits or so.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let place = usize::try_from(count.ilog2() / 10).expect("a small number").min(UNITS.len());
    let tenths = (u128::from(count) * 10) >> (10 * place);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[place - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: sizes are short and of the right order. Method: the edges of the units.
    #[test]
    fn sizes_are_short() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }
}
