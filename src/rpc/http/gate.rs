//! Who may ask: a program of this machine may read, whoever shows the cookie may change, a web page of somebody
//! else may nothing.
//!
//! A browser runs strangers' code beside us, and sends what that code wants to any address that it can reach.
//! Three things tell it from a program. `Host` is a name of ours, so no name that somebody has pointed at
//! 127.0.0.1 gets through (DNS rebinding). `Origin` and `Sec-Fetch-Site`, which a page cannot keep a browser from
//! sending, name no other page than ours. And even ours only reads: a browser that was given the cookie once
//! would show it for every page. No answer ever carries a field of CORS.
//!
//! Nothing in here reads a socket or a clock.

use std::net::{IpAddr, SocketAddr};

use crate::rpc::cookie::Cookie;
use crate::rpc::http::message::Status;
use crate::rpc::http::parse::Head;
use crate::rpc::http::refusal::Refusal;

/// The port that a `Host` without one means.
const HTTP_PORT: u16 = 80;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Whoever asks.
    pub peer: IpAddr,
    /// Where he found us, the port included.
    pub local: SocketAddr,
}

impl Ends {
    /// Addresses in their plainest form, whatever the socket calls them.
    pub fn new(peer: IpAddr, local: SocketAddr) -> Self {
        Self { peer: peer.to_canonical(), local: SocketAddr::new(local.ip().to_canonical(), local.port()) }
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// He showed the cookie.
    pub is_holder: bool,
    /// He may change something, too.
    pub may_change: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Gate {
    cookie: Cookie,
    /// Names that this machine has for others, besides its addresses.
    names: Vec<String>,
    /// Whether only this machine can reach us, and reading is open.
    is_local: bool,
}

impl Gate {
    /// For a server that listens on this address.
    pub fn new(cookie: Cookie, names: Vec<String>, listening_on: IpAddr) -> Self {
        Self { cookie, names, is_local: listening_on.to_canonical().is_loopback() }
    }

    /// What the sender of this may do, or why it is not answered.
    pub fn admit(&self, head: &Head<'_>, ends: Ends) -> Result<Access, Refusal> {
        let foreign = |why| Err(Refusal::new(Status::Forbidden, why));
        if head.host.is_some_and(|host| !self.is_ours(host, ends.local)) {
            return foreign("Host is not an address of this server; ask it by its address and port");
        }
        if head.origin.is_some_and(|origin| !is_page_of(origin, head.host)) {
            return foreign("a page of another origin may not ask");
        }
        // `none`: a person has typed the address, or chosen it from a list.
        if head.fetch_site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
            return foreign("a page of another site may not ask; open this address by hand");
        }
        let is_holder = head.authorization.is_some_and(|shown| self.cookie.is_shown_by(shown));
        if head.authorization.is_some() && !is_holder {
            return Err(Refusal::new(Status::Unauthorised, "this is not the cookie of the running node"));
        }
        let is_near = self.is_local && ends.peer.is_loopback();
        if !is_holder && !is_near {
            return Err(Refusal::new(Status::Unauthorised, "from another machine everything needs the node's cookie"));
        }
        let by_page = head.origin.is_some() || head.fetch_site.is_some();
        Ok(Access { is_holder, may_change: is_holder && !by_page })
    }

    /// Whether a `Host` means us: the address that the connection came to, a name of loopback on loopback, or
    /// one of our names, with our port.
    fn is_ours(&self, host: &str, local: SocketAddr) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !host.ends_with(']') => (name, port_of(port)),
            _ => (host, Some(HTTP_PORT)),
        };
        if port != Some(local.port()) {
            return false;
        }
        let ip = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(v6) => v6.parse().map(IpAddr::V6).ok(),
            None => name.parse().map(IpAddr::V4).ok(),
        };
        let is_loopback = local.ip().is_loopback();
        if let Some(ip) = ip {
            return ip == local.ip() || is_loopback && ["127.0.0.1", "[::1]"].contains(&name);
        }
        let is = |ours: &str| name.eq_ignore_ascii_case(ours);
        is_loopback && is("localhost") || self.names.iter().any(|ours| is(ours))
    }
}

fn port_of(text: &str) -> Option<u16> {
    // A sign would be taken for a part of a number.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether an origin is the one that this host's page has.
fn is_page_of(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.strip_prefix("http://");
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}
