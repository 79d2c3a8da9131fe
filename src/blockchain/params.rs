//! A network: every number on which its nodes must agree, and the identity that follows from them.
//!
//! A [`NetworkSpec`] is a small JSON file; [`Params`] is what a node makes of it. The genesis header
//! commits to every consensus number and to the name, so two networks that differ in any rule differ
//! in their genesis id, and nothing has to be mined to make one. Seeds, ports and activation heights
//! stay outside of that hash: they may change without founding a new network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blockchain::block::Header;
use crate::primitives::codec::{self, Encode};
use crate::primitives::hash::{Hash, tagged};

/// One coin, in the units that all amounts are counted in.
pub const COIN: u64 = 100_000_000;
/// The rules that every network starts with.
pub const RULES_FIRST: u32 = 1;
/// The newest rules that this program knows (RULES 10).
pub const RULES_KNOWN: u32 = 1;
/// A block's greatest size with its header, in bytes.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// A transaction's greatest size, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 65_536;
/// Inputs of one transaction.
pub const INPUTS_MAX: usize = 460;
/// Outputs of one transaction.
pub const OUTPUTS_MAX: usize = 1_024;
/// Inputs of all transactions of a block: bounds the time that its signatures take.
pub const BLOCK_INPUTS_MAX: usize = 8_192;
/// Outputs of all transactions of a block: bounds what a block can add to the ledger.
pub const BLOCK_OUTPUTS_MAX: usize = 8_192;
/// Each block is later than its parent by at least this.
pub const TIME_STEP_MIN_MS: u64 = 1;

/// The least `difficulty_min` of a network that retargets. A step divides by 45 and rounds down: from
/// less than 45 no step up is a whole number, and until about 1,000 the rounding speeds blocks up.
pub const RETARGET_DIFFICULTY_MIN: u64 = 1_024;

/// What a network's file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Its name, for people; part of its identity.
    pub name: String,
    /// The time between blocks that difficulty aims at.
    pub block_time_ms: u64,
    /// Whether difficulty follows the hash rate.
    pub retarget: bool,
    /// The difficulty of block 1.
    pub difficulty_first: u64,
    /// Difficulty never falls below this.
    pub difficulty_min: u64,
    /// How far a block's time may be ahead of a node's clock.
    pub future_limit_ms: u64,
    /// The reward of block 1, above the tail.
    pub reward_base: u64,
    /// The reward that never ends.
    pub reward_tail: u64,
    /// Blocks after which the part above the tail has halved.
    pub reward_half_life: u64,
    /// Blocks that a coinbase waits before it can be spent.
    pub maturity: u64,
    /// Not consensus: the port that nodes of this network listen on.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Not consensus: where to look for other nodes, `host:port`.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// Not consensus: rules number → the height from which it is in force.
    #[serde(default)]
    pub activations: BTreeMap<u32, u64>,
}

fn default_port() -> u16 {
    9000
}

/// The bytes that a network's identity hashes.
#[derive(Encode)]
struct Identity<'a> {
    name: &'a [u8],
    block_time_ms: u64,
    retarget: bool,
    difficulty_first: u64,
    difficulty_min: u64,
    future_limit_ms: u64,
    reward_base: u64,
    reward_tail: u64,
    reward_half_life: u64,
    maturity: u64,
    limits: [u64; 7],
}

/// A spec that no node should run on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network `{name}`: {field} is {value}, {limit}")]
pub struct SpecError {
    /// The network's name.
    pub name: String,
    /// The field's name in the file.
    pub field: &'static str,
    /// What stands there.
    pub value: String,
    /// What may stand there.
    pub limit: &'static str,
}

/// A checked network: its spec, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    spec: NetworkSpec,
    genesis: Header,
    genesis_id: Hash,
}

impl Params {
    /// `local`: blocks every ten seconds, looks for other nodes on this machine.
    pub fn local() -> Self {
        let spec = NetworkSpec {
            name: "local".into(),
            block_time_ms: 10_000,
            retarget: true,
            difficulty_first: 1 << 20,
            difficulty_min: 1 << 20,
            future_limit_ms: 120_000,
            reward_base: 20 * COIN,
            reward_tail: COIN / 5,
            reward_half_life: 1_000_000,
            maturity: 10,
            port: 9000,
            seeds: (9000..=9003).map(|port| format!("127.0.0.1:{port}")).collect(),
            activations: BTreeMap::new(),
        };
        Self::new(spec).expect("the built-in spec is sound")
    }

    /// `regtest`: any hash is work enough, so that tests make blocks on demand.
    pub fn regtest() -> Self {
        let spec = NetworkSpec {
            name: "regtest".into(),
            retarget: false,
            difficulty_first: 1,
            difficulty_min: 1,
            reward_half_life: 1_000,
            port: 9100,
            seeds: Vec::new(),
            ..Self::local().spec
        };
        Self::new(spec).expect("the built-in spec is sound")
    }

    /// Checks a spec and derives its genesis.
    pub fn new(spec: NetworkSpec) -> Result<Self, SpecError> {
        check_spec(&spec)?;
        let identity = Identity {
            name: spec.name.as_bytes(),
            block_time_ms: spec.block_time_ms,
            retarget: spec.retarget,
            difficulty_first: spec.difficulty_first,
            difficulty_min: spec.difficulty_min,
            future_limit_ms: spec.future_limit_ms,
            reward_base: spec.reward_base,
            reward_tail: spec.reward_tail,
            reward_half_life: spec.reward_half_life,
            maturity: spec.maturity,
            limits: [
                BLOCK_BYTES_MAX as u64,
                TRANSACTION_BYTES_MAX as u64,
                INPUTS_MAX as u64,
                OUTPUTS_MAX as u64,
                BLOCK_INPUTS_MAX as u64,
                BLOCK_OUTPUTS_MAX as u64,
                TIME_STEP_MIN_MS,
            ],
        };
        let genesis = Header {
            // Not the newest rules that this program knows: a newer program keeps the network's identity.
            version: RULES_FIRST,
            height: 0,
            prev: Hash::ZERO,
            merkle_root: tagged("spindle/spec/1", &[&codec::encode(&identity)]),
            time: 0,
            difficulty: 0,
            nonce: 0,
        };
        Ok(Self { genesis_id: genesis.id(), genesis, spec })
    }

    /// What the file said.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The derived, bodiless header at height 0: no work, no reward, time 0.
    pub fn genesis(&self) -> &Header {
        &self.genesis
    }

    /// The network's identity.
    pub fn genesis_id(&self) -> Hash {
        self.genesis_id
    }

    /// The number of the rules in force at a height (RULES 10); it may be one that we do not know.
    pub fn rules_at(&self, height: u64) -> u32 {
        let active = self.spec.activations.iter().filter(|&(_, &from)| from <= height);
        active.map(|(&rules, _)| rules).fold(RULES_FIRST, u32::max)
    }

    /// Units that block `height` creates, fees apart (RULES 28).
    ///
    /// `tail + round(base · 2^x)`, `x = −(height−1)/half_life`, in integers: the same on every machine. `x`
    /// is rounded down to 24 binary places, which moves a reward from the ideal curve by less than 5 parts in
    /// 10^8. It is negative: its whole part is `−halvings`, the rest lies in 0..1.
    pub fn reward(&self, height: u64) -> u64 {
        let elapsed = u128::from(height.saturating_sub(1));
        let exponent = (elapsed << 24).div_ceil(u128::from(self.spec.reward_half_life));
        let halvings = exponent.div_ceil(1 << 24);
        let above_tail = if halvings > 64 {
            0
        } else {
            let fraction = (halvings << 24) - exponent;
            let mut factor: u128 = 1 << 32;
            for (k, power) in (1..=24).zip(TWO_TO_TWO_TO_MINUS) {
                if fraction >> (24 - k) & 1 == 1 {
                    factor = (factor * u128::from(power) + (1 << 31)) >> 32;
                }
            }
            let shift = 32 + halvings;
            let rounded = (u128::from(self.spec.reward_base) * factor + (1 << (shift - 1))) >> shift;
            u64::try_from(rounded).expect("2^x is at most 1, so the reward stays within its base")
        };
        self.spec.reward_tail + above_tail
    }

    /// Coinbases that exist after block `height`: the supply, since fees only move.
    pub fn supply(&self, height: u64) -> u128 {
        (1..=height).map(|h| u128::from(self.reward(h))).sum()
    }
}

/// `round(2^32 · 2^(2^(−k)))` for k = 1..=24.
const TWO_TO_TWO_TO_MINUS: [u64; 24] = [
    6_074_001_000,
    5_107_605_667,
    4_683_695_048,
    4_485_121_744,
    4_389_014_833,
    4_341_736_423,
    4_318_288_544,
    4_306_612_134,
    4_300_785_774,
    4_297_875_550,
    4_296_421_177,
    4_295_694_175,
    4_295_330_720,
    4_295_149_004,
    4_295_058_149,
    4_295_012_722,
    4_294_990_009,
    4_294_978_653,
    4_294_972_974,
    4_294_970_135,
    4_294_968_716,
    4_294_968_006,
    4_294_967_651,
    4_294_967_473,
];

fn check_spec(spec: &NetworkSpec) -> Result<(), SpecError> {
    let refuse = |field, value: String, limit| Err(SpecError { name: spec.name.clone(), field, value, limit });
    let name_is_plain = spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if spec.name.is_empty() || spec.name.len() > 32 || !name_is_plain {
        return refuse("name", spec.name.clone(), "1 to 32 letters, digits, `-` or `_` are allowed");
    }
    if spec.activations.contains_key(&0) {
        return refuse("activations", "0".into(), "rules are numbered from 1 on");
    }
    if !(1_000..=86_400_000).contains(&spec.block_time_ms) {
        return refuse("block_time_ms", spec.block_time_ms.to_string(), "1000 to 86400000 are allowed");
    }
    if spec.difficulty_min < 1 {
        return refuse(
            "difficulty_min",
            spec.difficulty_min.to_string(),
            "at least 1 is needed: 0 would let every hash pass",
        );
    }
    if spec.retarget && spec.difficulty_min < RETARGET_DIFFICULTY_MIN {
        let limit = "with retarget at least 1024 is needed: below 45 it could never rise, in whole numbers";
        return refuse("difficulty_min", spec.difficulty_min.to_string(), limit);
    }
    if spec.difficulty_first < spec.difficulty_min {
        return refuse("difficulty_first", spec.difficulty_first.to_string(), "at least difficulty_min is needed");
    }
    if !(1_000..=86_400_000).contains(&spec.future_limit_ms) {
        return refuse("future_limit_ms", spec.future_limit_ms.to_string(), "1000 to 86400000 are allowed");
    }
    if spec.reward_half_life < 1 {
        return refuse("reward_half_life", spec.reward_half_life.to_string(), "at least 1 block is needed");
    }
    if spec.maturity < 1 || spec.maturity > 100_000 {
        return refuse("maturity", spec.maturity.to_string(), "1 to 100000 blocks are allowed");
    }
    if spec.reward_tail < 1 {
        return refuse(
            "reward_tail",
            spec.reward_tail.to_string(),
            "at least 1 unit is needed: every coinbase has an output",
        );
    }
    // Above the tail at most base · half_life · 1.5 units are ever made (the integral is 1 / ln 2); the
    // tail gets a hundred million blocks.
    let most = u128::from(spec.reward_base)
        .saturating_mul(u128::from(spec.reward_half_life))
        .saturating_mul(3)
        .saturating_add(2 * u128::from(spec.reward_base))
        .saturating_add(2 * u128::from(spec.reward_tail) * 100_000_000);
    if most >= 2 << 63 {
        return refuse(
            "reward_base",
            spec.reward_base.to_string(),
            "with its half-life and tail it could pass 2^63 units",
        );
    }
    Ok(())
}
