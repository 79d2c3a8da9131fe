//! Who is refused, and who shall be.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::node::orders::Order;
use crate::primitives::time::Wall;
use crate::rpc::call::{Done, Fine, Nothing};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::methods::peers::ORDER_LIMIT;
use crate::rpc::service::{Making, Service};

/// Bans of one question.
const BANS_MAX: usize = 100;
/// Characters of a reason: 4,096 bans stay under a mebibyte.
const REASON_MAX: usize = 100;

#[derive(Serialize)]
struct Bans<'a> {
    bans: Vec<Ban>,
    status: Fine,
    untrusted: bool,
    /// Held until it is written down.
    #[serde(skip)]
    _turn: Making<'a>,
}

#[derive(Serialize)]
struct Ban {
    ban: bool,
    host: String,
    ip: u32,
    reason: String,
    seconds: u64,
}

pub(in crate::rpc) fn get_bans(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let turn = service.making()?;
    let bans = service.node().look(|view| {
        let now = view.now.wall.0;
        let shown = view.node.peers().bans().map(|(ip, ban)| Ban {
            ban: true,
            host: ip.to_string(),
            ip: if let IpAddr::V4(v4) = ip { u32::from_le_bytes(v4.octets()) } else { 0 },
            reason: ban.why.chars().take(REASON_MAX).collect(),
            seconds: ban.until.0.saturating_sub(now).div_ceil(1_000),
        });
        shown.collect()
    })?;
    Ok(Bans { bans, status: Fine::Ok, untrusted: false, _turn: turn })
}

/// Parameters of `set_bans`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Wanted {
    bans: Vec<WantedBan>,
}

/// monerod's: a host in words, or an IPv4 address as a number whose lowest byte is the first.
#[derive(Deserialize)]
struct WantedBan {
    host: Option<String>,
    ip: Option<u32>,
    ban: bool,
    #[serde(default)]
    seconds: u32,
}

impl WantedBan {
    fn address(&self) -> Result<IpAddr, Fault> {
        match (&self.host, self.ip) {
            (Some(host), _) if !host.is_empty() => host.parse().map_err(|_| {
                Fault::new(Code::WrongParam, format!("`host` is `{host:.100}`, which is not an IP address"))
            }),
            (_, Some(ip)) => Ok(Ipv4Addr::from(ip.to_le_bytes()).into()),
            _ => Err(Fault::new(Code::WrongParam, "neither `host` nor `ip` says who is meant")),
        }
    }
}

pub(in crate::rpc) fn set_bans(service: &Service, Wanted { bans }: Wanted) -> Result<impl Serialize, Fault> {
    if bans.len() > BANS_MAX {
        let message = format!("`bans` has {} entries; {BANS_MAX} are taken at once", bans.len());
        return Err(Fault::new(Code::WrongParam, message));
    }
    // All of them are understood before the first is followed.
    let orders = bans.iter().map(|wanted| {
        let ip = wanted.address()?;
        if !wanted.ban {
            return Ok(Order::Unban(ip));
        }
        if wanted.seconds == 0 {
            return Err(Fault::new(
                Code::WrongParam,
                format!("`seconds` is 0 or missing, so {ip} would not be banned"),
            ));
        }
        let now = service.node().now().wall.0;
        Ok(Order::Ban { ip, until: Wall(now.saturating_add(u64::from(wanted.seconds) * 1_000)) })
    });
    for order in orders.collect::<Result<Vec<_>, Fault>>()? {
        service.have_done(order, ORDER_LIMIT)?;
    }
    Ok(Done::default())
}
