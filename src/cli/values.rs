//! What an option's value may be. Each function gives the value or the rest of a sentence that begins
//! with "`value`": what is wrong with it, and what is allowed.

use std::net::IpAddr;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use crate::node::event::Target;
use crate::primitives::hash::Hash;

/// RPC listens this far above the peers' port, so both must exist.
pub const RPC_PORT_OFFSET: u16 = 1_000;
/// The greatest port that has such a neighbour.
pub const PORT_MAX: u16 = u16::MAX - RPC_PORT_OFFSET;

/// A port to listen on.
pub fn port(text: &str) -> Result<u16, String> {
    let limit = format!("1 to {PORT_MAX} are allowed, because port + {RPC_PORT_OFFSET} is the RPC's");
    number(text, 1..=u64::from(PORT_MAX), &limit).map(|port| u16::try_from(port).expect("it is within the range"))
}

/// A port that has no neighbour to think of.
pub fn rpc_port(text: &str) -> Result<u16, String> {
    number(text, 1..=65_535, "1 to 65535 are allowed").map(|port| u16::try_from(port).expect("it is within the range"))
}

/// A name of this machine.
pub fn host(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) {
        return Err("is not a host's name; letters, digits, `-`, `_` and `.` are allowed, and no port".into());
    }
    Ok(text.to_owned())
}

/// A whole number within a range; `limit` says which.
pub fn number(text: &str, range: RangeInclusive<u64>, limit: &str) -> Result<u64, String> {
    // `parse` would take `+5`, which no other tool does.
    if text.starts_with('+') {
        return Err(format!("is not a whole number; {limit}"));
    }
    match text.parse::<u64>() {
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(value) if value < *range.start() => Err(format!("is too small; {limit}")),
        Ok(_) => Err(format!("is too large; {limit}")),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(format!("is too large; {limit}")),
        Err(_) if text.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok()) => {
            Err(format!("is negative; {limit}"))
        }
        Err(_) => Err(format!("is not a whole number; {limit}")),
    }
}

/// A count that fits in memory's numbers.
pub fn count(text: &str, range: RangeInclusive<u64>, limit: &str) -> Result<usize, String> {
    number(text, range, limit).map(|count| usize::try_from(count).expect("counts are at most a few thousand"))
}

/// An address of this machine.
pub fn bind(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "is not an IP address; 127.0.0.1 is this machine alone, 0.0.0.0 every network".into())
}

/// `HOST:PORT`: an address, or a name that is looked up when it is dialled.
pub fn target(text: &str) -> Result<Target, String> {
    Target::parse(text)
}

/// A span of time: a number and its unit.
pub fn seconds(text: &str) -> Result<u32, String> {
    let form = "a number with s, m, h or d behind it is needed, such as 90s, 30m, 24h or 7d";
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let found = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let Some((digits, seconds)) = found else { return Err(format!("is no span of time; {form}")) };
    let most = u64::from(u32::MAX) / seconds;
    let count = number(digits, 1..=most, form)?;
    Ok(u32::try_from(count * seconds).expect("the range allows no more"))
}

/// A block: a height on the chain, or a hash on any branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one at this height.
    Height(u64),
    /// The one with this hash.
    Hash(Hash),
}

/// Which block is meant.
pub fn block(text: &str) -> Result<Which, String> {
    if text.len() == 64
        && let Ok(hash) = text.parse()
    {
        return Ok(Which::Hash(hash));
    }
    // No height has more digits; so many are a hash with one missing.
    let digits = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(height) if digits => Ok(Which::Height(height)),
        _ => Err("is neither a height (a whole number) nor a hash (64 hexadecimal digits)".into()),
    }
}

/// A transaction's id.
pub fn id(text: &str) -> Result<Hash, String> {
    text.parse().map_err(|_| "is not the id of a transaction, which has 64 hexadecimal digits".into())
}

/// How much the log says.
pub fn level(text: &str) -> Result<log::LevelFilter, String> {
    match text {
        "error" => Ok(log::LevelFilter::Error),
        "warn" => Ok(log::LevelFilter::Warn),
        "info" => Ok(log::LevelFilter::Info),
        "debug" => Ok(log::LevelFilter::Debug),
        _ => Err("is not a level; error, warn, info and debug are".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: hosts as people write them are taken, everything else is named. Method: both lists.
    #[test]
    fn targets_are_addresses_or_names() {
        for good in ["127.0.0.1:9000", "[::1]:1", "localhost:9001", "a-b.example.:65535", "_x.example:9000", "n1:1"] {
            assert!(target(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            ":",
            ":9000",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:-1",
            "host:+1",
            "host:x",
            "::1:9000",
            "1.2.3:9000",
            "256.1.1.1:9000",
            "a b:9000",
            "-a:9000",
            "a-:9000",
            "a..b:9000",
            "a/b:9000",
            "[::1:9000",
            "0.0.0.0:9000",
            "http://a:9000",
            "ä:9000",
        ];
        for bad in bad {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    /// Goal: spans of time are exact or refused. Method: each unit, and what is none.
    #[test]
    fn spans_have_a_unit() {
        assert_eq!((seconds("90s"), seconds("30m"), seconds("24h")), (Ok(90), Ok(1_800), Ok(86_400)));
        assert_eq!(seconds("7d"), Ok(604_800));
        for bad in ["", "s", "90", "0s", "-1h", "1.5h", "1h30m", "1w", "+1h", "99999999999d", "1 h"] {
            assert!(seconds(bad).is_err_and(|error| error.contains("90s")), "{bad}");
        }
    }

    /// Goal: every wrong number says why. Method: the edges of the port's range.
    #[test]
    fn ports_have_a_neighbour_for_the_rpc() {
        assert_eq!((port("1"), port("64535")), (Ok(1), Ok(64_535)));
        for (bad, why) in [("0", "small"), ("64536", "large"), ("99999999999999999999", "large"), ("-1", "negative")] {
            assert!(port(bad).is_err_and(|error| error.contains(why) && error.contains("64535")), "{bad}");
        }
        assert!(port("+1").is_err() && port("").is_err() && port(" 1").is_err() && port("0x10").is_err());
    }
}
