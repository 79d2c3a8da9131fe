//! What an option's value may be. Each function gives the value or the rest of a sentence that begins
//! with "`value`": what is wrong with it, and what is allowed.

use std::net::IpAddr;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use crate::node::event::Target;

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
