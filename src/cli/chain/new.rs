//! `spindle chain new`: the spec of a network of one's own, on stdout.
//!
//! A network is its numbers and its name: nothing is mined, nothing is drawn by chance, and the same words give
//! the same network wherever they are said. What is printed has gone through the same checks as `--network FILE`.
//!
//! The port follows from the network's identity, so that two networks hardly ever want the same one on one
//! machine: it is one of a thousand, ten apart, and none is the RPC's of another.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use argh::FromArgs;

use crate::blockchain::block::Header;
use crate::blockchain::mining::Miner;
use crate::blockchain::params::{NetworkSpec, Params, RETARGET_DIFFICULTY_MIN, RULES_FIRST, SpecError};
use crate::cli::failure::Failure;
use crate::cli::values::RPC_PORT_OFFSET;
use crate::cli::{network, output, values};
use crate::node::event::Target;
use crate::primitives::hash::Hash;
use crate::wallet::amount;

/// Ports of networks lie in `PORT_BANDS` bands of 1,000 from here on, and their RPC's in the bands between.
const PORT_FIRST: u64 = 10_000;
const PORT_BANDS: u64 = 10;
/// So that a few nodes of one network can stand side by side.
const PORT_STEP: u64 = 10;
/// Where nodes of a network without seeds look for each other: as those of `local`, on this machine.
const NEIGHBOURS: u16 = 4;
/// How long the hash rate is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// make a network of your own: its spec, on stdout. The name and the numbers are the network, so choose a name
/// that nobody else does; seeds and port may be changed later
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "new")]
pub struct New {
    /// what it is called, and what its addresses begin with: 1 to 32 letters, digits, - or _
    #[argh(option)]
    name: String,
    /// seconds between two blocks that the difficulty aims at, 1 to 86400 [10]
    #[argh(option, from_str_fn(seconds), default = "10", arg_name = "seconds")]
    block_time: u64,
    /// where its nodes look for others, HOST or HOST:PORT; may come several times [ports of this machine]
    #[argh(option, from_str_fn(seed), arg_name = "host[:port]")]
    seed: Vec<Seed>,
    /// the port that its nodes listen on [one that follows from name and numbers]
    #[argh(option, from_str_fn(values::port))]
    port: Option<u16>,
    /// the hashes that block 1 takes on average, or `measure`: those of one thread of this machine in one
    /// block's time. Later blocks follow the hash rate [1048576: a second or less for most machines]
    #[argh(option, from_str_fn(difficulty), arg_name = "hashes")]
    difficulty: Option<Difficulty>,
    /// what the difficulty never falls below [1048576, or less if block 1 takes less]
    #[argh(option, from_str_fn(hashes), arg_name = "hashes")]
    difficulty_min: Option<u64>,
    /// leave the difficulty as it is in block 1, whatever the hash rate [no]
    #[argh(switch)]
    no_retarget: bool,
    /// coins of the reward that shrink with time [20]
    #[argh(option, from_str_fn(coins), arg_name = "coins")]
    reward: Option<u64>,
    /// coins of the reward that every block brings, for ever [0.2]
    #[argh(option, from_str_fn(coins), arg_name = "coins")]
    reward_tail: Option<u64>,
    /// blocks in which the first part of the reward halves [1000000]
    #[argh(option, from_str_fn(blocks), arg_name = "blocks")]
    reward_half_life: Option<u64>,
    /// blocks that a reward waits before it can be spent, 1 to 100000 [10]
    #[argh(option, from_str_fn(blocks))]
    maturity: Option<u64>,
    /// seconds that a block's time may be ahead of a node's clock, 1 to 86400 [120]
    #[argh(option, from_str_fn(seconds), arg_name = "seconds")]
    future_limit: Option<u64>,
}

fn seconds(text: &str) -> Result<u64, String> {
    values::number(text, 1..=86_400, "1 to 86400 seconds are allowed")
}

fn hashes(text: &str) -> Result<u64, String> {
    values::number(text, 1..=u64::MAX, "1 or more are allowed")
}

fn blocks(text: &str) -> Result<u64, String> {
    values::number(text, 1..=u64::MAX, "1 or more are allowed")
}

fn coins(text: &str) -> Result<u64, String> {
    amount::parse(text).map_err(|error| {
        // It names the text again, which our sentence has done already.
        let said = error.to_string();
        let why = said.rsplit_once("is not an amount: ").map_or(said.as_str(), |(_, why)| why);
        format!("is not a number of coins: {why}")
    })
}

/// How hard block 1 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difficulty {
    Hashes(u64),
    Measure,
}

fn difficulty(text: &str) -> Result<Difficulty, String> {
    match text {
        "measure" => Ok(Difficulty::Measure),
        _ => values::number(text, 1..=u64::MAX, "a number from 1 on, or `measure`, is needed").map(Difficulty::Hashes),
    }
}

/// Where to look for others; a host alone means the network's own port there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seed {
    Host(String),
    Full(Target),
}

fn seed(text: &str) -> Result<Seed, String> {
    let why = match values::target(text) {
        Ok(target) => return Ok(Seed::Full(target)),
        Err(why) => why,
    };
    // An IPv6 address needs brackets as soon as a port follows.
    let hosts = [text.to_owned(), format!("[{text}]")];
    let host = hosts.into_iter().find(|host| values::target(&format!("{host}:1")).is_ok());
    host.map(Seed::Host).ok_or(why)
}

impl Seed {
    fn with(&self, port: u16) -> String {
        match self {
            Self::Host(host) => format!("{host}:{port}"),
            Self::Full(target) => target.to_string(),
        }
    }
}

impl New {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        // Wrong numbers are found out before anything is measured, and the measure cannot make them wrong.
        self.params(None)?;
        let params = match self.difficulty {
            Some(Difficulty::Measure) => self.params(Some(measure(self.block_time)))?,
            _ => self.params(None)?,
        };
        output::say_json(params.spec())?;
        if io::stdout().is_terminal() {
            output::remark("this is the network; put it into a file: the same command with `> FILE.json` behind it");
        }
        let port = params.spec().port;
        output::remark(&format!(
            "network {}, genesis {:.16}, port {port} (RPC {}): `spindle daemon --network FILE` runs a node of it",
            params.spec().name,
            params.genesis_id(),
            port + RPC_PORT_OFFSET
        ));
        Ok(())
    }

    /// The network, checked.
    fn params(&self, measured: Option<u64>) -> Result<Params, Failure> {
        let mut spec = self.numbers(measured);
        if ["local", "regtest"].iter().any(|built_in| built_in.eq_ignore_ascii_case(&spec.name)) {
            let name = &spec.name;
            return Err(Failure::options(format!("option `--name`: `{name}` is built in; choose another name")));
        }
        // What the port follows from does not depend on the port.
        let genesis_id = Params::new(spec.clone()).map_err(|error| self.refused(error))?.genesis_id();
        spec.port = self.port.unwrap_or_else(|| port_of(&genesis_id));
        spec.seeds = if self.seed.is_empty() {
            (0..NEIGHBOURS).map(|n| format!("127.0.0.1:{}", spec.port.saturating_add(n))).collect()
        } else {
            self.seed.iter().map(|seed| seed.with(spec.port)).collect()
        };
        let json = serde_json::to_string(&spec)?;
        network::parse(&json).map_err(|why| Failure::options(format!("this is no network: {why}")))
    }

    fn numbers(&self, measured: Option<u64>) -> NetworkSpec {
        let local = Params::local();
        let local = local.spec();
        let first = match self.difficulty {
            Some(Difficulty::Hashes(hashes)) => hashes,
            Some(Difficulty::Measure) => measured.unwrap_or(local.difficulty_first).max(RETARGET_DIFFICULTY_MIN),
            None => local.difficulty_first.max(self.difficulty_min.unwrap_or(0)),
        };
        NetworkSpec {
            name: self.name.clone(),
            block_time_ms: self.block_time * 1_000,
            retarget: !self.no_retarget,
            difficulty_first: first,
            difficulty_min: self.difficulty_min.unwrap_or(local.difficulty_min.min(first)),
            future_limit_ms: self.future_limit.map_or(local.future_limit_ms, |seconds| seconds * 1_000),
            reward_base: self.reward.unwrap_or(local.reward_base),
            reward_tail: self.reward_tail.unwrap_or(local.reward_tail),
            reward_half_life: self.reward_half_life.unwrap_or(local.reward_half_life),
            maturity: self.maturity.unwrap_or(local.maturity),
            port: local.port,
            seeds: Vec::new(),
            activations: local.activations.clone(),
        }
    }

    /// The loader's complaint, with the option that the field comes from.
    fn refused(&self, SpecError { field, value, limit, .. }: SpecError) -> Failure {
        let option = match field {
            "name" => "--name",
            "block_time_ms" => "--block-time",
            "difficulty_first" => "--difficulty",
            // It follows from the first unless it is given.
            "difficulty_min" if self.difficulty_min.is_none() => "--difficulty",
            "difficulty_min" => "--difficulty-min",
            "future_limit_ms" => "--future-limit",
            "reward_base" => "--reward",
            "reward_tail" => "--reward-tail",
            "reward_half_life" => "--reward-half-life",
            "maturity" => "--maturity",
            other => other,
        };
        let way_out = if field == "difficulty_min" && !self.no_retarget { "; or add `--no-retarget`" } else { "" };
        Failure::options(format!("option `{option}`: {field} would be `{value}`; {limit}{way_out}"))
    }
}

/// See the top of the file.
fn port_of(genesis_id: &Hash) -> u16 {
    let (draw, _) = genesis_id.0.split_first_chunk().expect("a hash has 32 bytes");
    let per_band = 1_000 / PORT_STEP;
    let place = u64::from_le_bytes(*draw) % (PORT_BANDS * per_band);
    let band = PORT_FIRST + place / per_band * 2_000;
    u16::try_from(band + place % per_band * PORT_STEP).expect("the last band ends below 29,000")
}

/// Hashes that one thread of this machine tries in so many seconds, as measured in one.
fn measure(block_time_s: u64) -> u64 {
    const ROUND: u64 = 1 << 16;
    // One that no hash meets, so that every round goes to its end.
    let (prev, merkle_root) = (Hash::ZERO, Hash::ZERO);
    let header = Header { version: RULES_FIRST, height: 1, prev, merkle_root, time: 0, difficulty: u64::MAX, nonce: 0 };
    let miner = Miner::new(header);
    let started = Instant::now();
    let mut tried: u64 = 0;
    while started.elapsed() < MEASURED {
        miner.search(tried, ROUND);
        tried += ROUND;
    }
    let elapsed_ms = started.elapsed().as_millis().max(1);
    let hashes = u128::from(tried) * 1_000 * u128::from(block_time_s) / elapsed_ms;
    let per_s = u128::from(tried) * 1_000 / elapsed_ms;
    output::remark(&format!("one thread of this machine tries {per_s} hashes a second; block 1 will take {hashes}"));
    u64::try_from(hashes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no network's port is another one's RPC port, and all of them are ports that can be listened on.
    /// Method: many identities.
    #[test]
    fn ports_of_networks_are_no_rpc_ports() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..20_000_u64 {
            let mut id = Hash::ZERO;
            id.0[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            seen.insert(port_of(&id));
        }
        assert_eq!(seen.len(), 1_000);
        for port in &seen {
            assert!(!seen.contains(&(port + RPC_PORT_OFFSET)) && values::port(&port.to_string()).is_ok(), "{port}");
        }
    }

    /// Goal: a seed is a host, with or without a port. Method: each form, and what is none.
    #[test]
    fn a_seed_is_a_host_with_or_without_a_port() {
        let cases = [
            ("192.168.1.10", "192.168.1.10:12340"),
            ("192.168.1.10:9", "192.168.1.10:9"),
            ("teacher.example", "teacher.example:12340"),
            ("teacher.example:9", "teacher.example:9"),
            ("::1", "[::1]:12340"),
            ("[::1]", "[::1]:12340"),
            ("[::1]:9", "[::1]:9"),
        ];
        for (text, full) in cases {
            assert_eq!(seed(text).map(|seed| seed.with(12_340)), Ok(full.to_owned()));
        }
        for wrong in ["", ":9000", "a b", "host:0", "host:x", "1.2.3", "0.0.0.0", "http://host"] {
            assert!(seed(wrong).is_err(), "{wrong}");
        }
    }
}
