//! Who may ask for what, without a socket.

use std::net::{IpAddr, SocketAddr};

use spindle::rpc::cookie::Cookie;
use spindle::rpc::http::gate::{Access, Ends, Gate};
use spindle::rpc::http::parse::{Front, RequestBuffer};

const READS: Result<Access, u16> = Ok(Access { is_holder: false, may_change: false });
const CHANGES: Result<Access, u16> = Ok(Access { is_holder: true, may_change: true });
/// A page that was given the cookie.
const ONLY_READS: Result<Access, u16> = Ok(Access { is_holder: true, may_change: false });

/// A gate and the connection that requests come over.
struct Door {
    gate: Gate,
    ends: Ends,
    cookie: Cookie,
}

impl Door {
    fn new(listening_on: &str, peer: &str, local: &str) -> Self {
        let cookie = Cookie::random().expect("random bytes");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let local: SocketAddr = local.parse().expect("an address and a port");
        let gate = Gate::new(cookie.clone(), vec!["node.lan".into()], ip(listening_on));
        Self { gate, ends: Ends::new(ip(peer), local), cookie }
    }

    /// What a request with these fields may do; `COOKIE` in them stands for the real one.
    fn asked(&self, fields: &[&str]) -> Result<Access, u16> {
        let lines = [&["GET / HTTP/1.1"], fields, &["\r\n"]].concat();
        let text = lines.join("\r\n").replace("COOKIE", self.cookie.hex());
        let mut buffer = RequestBuffer::default();
        buffer.space()[..text.len()].copy_from_slice(text.as_bytes());
        buffer.filled(text.len());
        let Ok(Front::Whole(head, _)) = buffer.front() else { panic!("{:?} to {text}", buffer.front()) };
        self.gate.admit(&head, self.ends).map_err(|refusal| refusal.status.code())
    }
}

/// Goal: a name that somebody has pointed at this machine does not get through; ours do. Method: a server on
/// loopback, and every way to name it.
#[test]
fn only_our_own_names_are_answered() {
    let door = Door::new("127.0.0.1", "127.0.0.1", "127.0.0.1:10000");
    for ours in ["127.0.0.1:10000", "localhost:10000", "LOCALHOST:10000", "[::1]:10000", "node.lan:10000"] {
        assert_eq!(door.asked(&[&format!("Host: {ours}")]), READS, "{ours}");
    }
    for foreign in [
        "",
        "evil.example:10000",
        "127.0.0.1",
        "127.0.0.1:9000",
        "127.0.0.1:+10000",
        "127.0.0.1:10000:10000",
        "127.0.0.2:10000",
        "0.0.0.0:10000",
        "localhost.:10000",
        "localhost.evil.example:10000",
        "me@localhost:10000",
        "[::1]",
        "::1:10000",
        "[127.0.0.1]:10000",
        "[::2]:10000",
        "2130706433:10000",
        "127.1:10000",
        "node.lan",
    ] {
        assert_eq!(door.asked(&[&format!("Host: {foreign}")]), Err(403), "{foreign}");
    }
    let web = Door::new("127.0.0.1", "127.0.0.1", "127.0.0.1:80");
    assert_eq!(web.asked(&["Host: localhost"]), READS, "the port that none means");
    assert_eq!(web.asked(&["Host: [::1]"]), READS);
}

/// Goal: no page but ours may ask, and ours only reads, whatever it shows. Method: what browsers send.
#[test]
fn pages_of_others_are_sent_away() {
    let door = Door::new("127.0.0.1", "127.0.0.1", "127.0.0.1:10000");
    let asked = |fields: &[&str]| door.asked(&[&["Host: 127.0.0.1:10000"], fields].concat());
    assert_eq!(asked(&["Origin: http://127.0.0.1:10000"]), READS);
    assert_eq!(asked(&["Sec-Fetch-Site: same-origin"]), READS);
    assert_eq!(asked(&["Sec-Fetch-Site: none"]), READS, "typed by a person");
    for foreign in [
        "Origin: null",
        "Origin:",
        "Origin: http://evil.example",
        "Origin: http://localhost:10000",
        "Origin: http://127.0.0.1:9000",
        "Origin: http://127.0.0.1",
        "Origin: https://127.0.0.1:10000",
        "Origin: 127.0.0.1:10000",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: nonsense",
    ] {
        assert_eq!(asked(&[foreign]), Err(403), "{foreign}");
        assert_eq!(asked(&[foreign, "Authorization: Bearer COOKIE"]), Err(403), "{foreign}");
    }
    assert_eq!(asked(&["Authorization: Bearer COOKIE"]), CHANGES);
    assert_eq!(asked(&["Authorization: Bearer COOKIE", "Origin: http://127.0.0.1:10000"]), ONLY_READS);
    assert_eq!(asked(&["Authorization: Bearer COOKIE", "Sec-Fetch-Site: same-origin"]), ONLY_READS);
    assert_eq!(asked(&["Authorization: Bearer COOKIES"]), Err(401), "a wrong one is never passed over");
    assert_eq!(asked(&["Authorization:"]), Err(401));
}

/// Goal: where other machines can reach us, everything needs the cookie, from this machine too. Method: a server
/// on all addresses, asked over the network and over loopback.
#[test]
fn elsewhere_everything_needs_the_cookie() {
    for (peer, local) in [
        ("192.168.1.7", "192.168.1.5:10000"),
        ("127.0.0.1", "127.0.0.1:10000"),
        ("::ffff:192.168.1.7", "[::ffff:192.168.1.5]:10000"),
    ] {
        for listening_on in ["0.0.0.0", "::", "192.168.1.5"] {
            let door = Door::new(listening_on, peer, local);
            let host = format!("Host: {}", door.ends.local);
            assert_eq!(door.asked(&[&host]), Err(401), "{peer}");
            assert_eq!(door.asked(&[&host, "Authorization: Bearer COOKIE"]), CHANGES, "{peer}");
            assert_eq!(door.asked(&["Host: node.lan:10000", "Authorization: Bearer COOKIE"]), CHANGES, "{peer}");
        }
    }
    let door = Door::new("0.0.0.0", "192.168.1.7", "192.168.1.5:10000");
    assert_eq!(door.asked(&["Host: localhost:10000", "Authorization: Bearer COOKIE"]), Err(403));
    let v6 = Door::new("::", "2001:db8::7", "[2001:db8::5]:10000");
    assert_eq!(v6.asked(&["Host: [2001:db8::5]:10000", "Authorization: Bearer COOKIE"]), CHANGES);
    let mapped = Door::new("::ffff:127.0.0.1", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:10000");
    assert_eq!(mapped.asked(&["Host: 127.0.0.1:10000"]), READS, "loopback by another name");
}
