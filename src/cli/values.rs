//! What an option's value may be. Each function gives the value or the rest of a sentence that begins
//! with "`value`": what is wrong with it, and what is allowed.

use std::net::{IpAddr, SocketAddr};
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
    let form = "HOST:PORT is needed, such as 192.168.1.7:9000, [::1]:9000 or node.example:9000";
    let Some((host, port)) = text.rsplit_once(':') else { return Err(format!("has no port; {form}")) };
    number(port, 1..=65_535, "1 to 65535 are allowed").map_err(|why| format!("has a wrong port, `{port}` {why}"))?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.ip().is_unspecified() {
            return Err(format!("is nobody's address; {form}"));
        }
        return Ok(Target::Address(address));
    }
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let name = host.strip_suffix('.').unwrap_or(host);
    if numeric || name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("has no such host as `{host}`; {form}"));
    }
    Ok(Target::Name(text.to_owned()))
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
