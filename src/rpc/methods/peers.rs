//! Who is connected, who could be, and connections on demand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::limits::{ASKED_MAX, CREDITS, OUTBOX_BYTES, REQUESTS_MAX};
use crate::network::p2p::Traffic;
use crate::node::addresses::Known;
use crate::node::event::{Direction, PeerId, Target};
use crate::node::orders::Order;
use crate::node::peers::{Peer, Scope, scope};
use crate::primitives::time::Now;
use crate::rpc::call::{Done, Fine, Nothing};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::service::{Making, Service};
use crate::rpc::show::{Hex, halves};
use crate::runtime::handle::View;

/// For an order that the owner follows at once.
pub(super) const ORDER_LIMIT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Connections {
    connections: Vec<Connection>,
    status: Fine,
    untrusted: bool,
}

/// A peer, in monerod's words where they mean something here; `rpc.md` says which do not.
#[derive(Serialize)]
struct Connection {
    address: String,
    address_type: u8,
    agent: String,
    asked: usize,
    asked_max: usize,
    avg_download: u64,
    avg_upload: u64,
    connection_id: String,
    credits: usize,
    credits_max: usize,
    cumulative_difficulty: u64,
    cumulative_difficulty_top64: u64,
    height: u64,
    host: String,
    incoming: bool,
    ip: String,
    listen_port: u16,
    live_ms: u64,
    live_time: u64,
    local_ip: bool,
    localhost: bool,
    peer: u64,
    peer_id: String,
    ping_ms: Option<u64>,
    port: String,
    /// Nobody prunes here.
    pruning_seed: u32,
    queue_bytes: usize,
    queue_bytes_max: usize,
    recv_count: u64,
    recv_idle_ms: u64,
    recv_idle_time: u64,
    requests: usize,
    requests_max: usize,
    send_count: u64,
    state: &'static str,
    target: Option<String>,
    wide_cumulative_difficulty: Hex,
}

/// What is taken along from the owner; it is put into words afterwards.
struct Seen {
    id: PeerId,
    peer: Peer,
    /// `None`: it has just gone.
    traffic: Option<Traffic>,
}

struct All {
    now: Now,
    /// The node has something to catch up with, and so much work.
    behind: bool,
    work: u128,
    peers: Vec<Seen>,
}

fn see(view: &View<'_>) -> All {
    let (node, now) = (view.node, view.now);
    let peers = node.peers().iter().map(|(id, peer)| Seen { id, peer: peer.clone(), traffic: view.traffic(id) });
    All { now, behind: node.is_catching_up(now.mono), work: node.chain().tip().work, peers: peers.collect() }
}

impl All {
    fn shown(self) -> Vec<Connection> {
        let Self { now, behind, work, peers } = self;
        peers.into_iter().map(|seen| show(now, behind && seen.peer.work > work, seen)).collect()
    }
}

fn show(now: Now, leads: bool, seen: Seen) -> Connection {
    let Seen { id, peer, traffic } = seen;
    let of = |figure: fn(Traffic) -> usize| traffic.map_or(0, figure);
    let (read_bytes, written_bytes) = traffic.map_or((0, 0), |traffic| (traffic.read_bytes, traffic.written_bytes));
    let (live_ms, idle_ms) = (now.mono.since(peer.came_at), now.mono.since(peer.heard_at));
    let ip = peer.address.ip().to_canonical();
    let (cumulative_difficulty, cumulative_difficulty_top64) = halves(peer.work);
    let kib_per_s = |bytes: u64| bytes.saturating_mul(1_000) / live_ms.max(1) / 1_024;
    Connection {
        address: SocketAddr::new(ip, peer.address.port()).to_string(),
        address_type: if ip.is_ipv4() { 1 } else { 2 },
        asked: of(|traffic| traffic.asked),
        asked_max: ASKED_MAX,
        avg_download: kib_per_s(read_bytes),
        avg_upload: kib_per_s(written_bytes),
        connection_id: format!("{:032x}", id.0),
        credits: of(|traffic| traffic.credits),
        credits_max: CREDITS,
        cumulative_difficulty,
        cumulative_difficulty_top64,
        height: peer.height.saturating_add(1),
        host: ip.to_string(),
        incoming: peer.direction == Direction::Inbound,
        ip: ip.to_string(),
        listen_port: peer.listen_port,
        live_ms,
        live_time: live_ms / 1_000,
        local_ip: scope(ip) != Scope::Public,
        localhost: ip.is_loopback(),
        peer: id.0,
        peer_id: format!("{:016x}", peer.nonce),
        ping_ms: peer.round_trip_ms,
        port: peer.address.port().to_string(),
        pruning_seed: 0,
        queue_bytes: of(|traffic| traffic.outbox_bytes),
        queue_bytes_max: OUTBOX_BYTES,
        recv_count: read_bytes,
        recv_idle_ms: idle_ms,
        recv_idle_time: idle_ms / 1_000,
        requests: of(|traffic| traffic.requests),
        requests_max: REQUESTS_MAX,
        send_count: written_bytes,
        state: if leads { "synchronizing" } else { "normal" },
        target: peer.target.as_ref().map(ToString::to_string),
        agent: peer.agent,
        wide_cumulative_difficulty: Hex(peer.work),
    }
}

pub(in crate::rpc) fn get_connections(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let connections = service.node().look(see)?.shown();
    Ok(Connections { connections, status: Fine::Ok, untrusted: false })
}

#[derive(Serialize)]
struct SyncInfo {
    headers_ahead: usize,
    height: u64,
    peers: Vec<SyncPeer>,
    status: Fine,
    target_height: u64,
    untrusted: bool,
}

#[derive(Serialize)]
struct SyncPeer {
    info: Connection,
}

pub(in crate::rpc) fn sync_info(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let peers = service.node().look(see)?.shown();
    let summary = service.node().board().summary();
    Ok(SyncInfo {
        headers_ahead: summary.headers,
        height: service.chain().end(&summary)?.0.header.height + 1,
        peers: peers.into_iter().map(|info| SyncPeer { info }).collect(),
        status: Fine::Ok,
        target_height: if summary.is_catching_up { summary.target_height + 1 } else { 0 },
        untrusted: false,
    })
}

#[derive(Serialize)]
struct PeerList<'a> {
    gray_list: Vec<ListedPeer>,
    status: Fine,
    untrusted: bool,
    white_list: Vec<ListedPeer>,
    /// Held until it is written down.
    #[serde(skip)]
    _turn: Making<'a>,
}

#[derive(Serialize)]
struct ListedPeer {
    host: String,
    id: u64,
    ip: u32,
    last_seen: u64,
    port: u16,
}

fn known(service: &Service) -> Result<(Now, Vec<Known>), Fault> {
    Ok(service.node().look(|view| (view.now, view.node.addresses().iter().collect()))?)
}

pub(in crate::rpc) fn get_peer_list(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let turn = service.making()?;
    let (_, known) = known(service)?;
    let listed = |known: Known| {
        let ip = known.address.ip().to_canonical();
        ListedPeer {
            host: ip.to_string(),
            id: 0,
            // As monerod has it: the first byte is the lowest.
            ip: if let IpAddr::V4(v4) = ip { u32::from_le_bytes(v4.octets()) } else { 0 },
            last_seen: known.talked_at.map_or(0, |at| at.0 / 1_000),
            port: known.address.port(),
        }
    };
    let (white, gray): (Vec<Known>, Vec<Known>) = known.into_iter().partition(|known| known.talked_at.is_some());
    Ok(PeerList {
        gray_list: gray.into_iter().map(listed).collect(),
        status: Fine::Ok,
        untrusted: false,
        white_list: white.into_iter().map(listed).collect(),
        _turn: turn,
    })
}

#[derive(Serialize)]
struct Addresses<'a> {
    addresses: Vec<Address>,
    status: Fine,
    /// Held until it is written down.
    #[serde(skip)]
    _turn: Making<'a>,
}

#[derive(Serialize)]
struct Address {
    address: String,
    failures: u32,
    talked_at_s: Option<u64>,
    next_try_in_ms: u64,
}

pub(in crate::rpc) fn get_addresses(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let turn = service.making()?;
    let (now, known) = known(service)?;
    let shown = known.into_iter().map(|known| Address {
        address: known.address.to_string(),
        failures: known.failures,
        talked_at_s: known.talked_at.map(|at| at.0 / 1_000),
        next_try_in_ms: known.next_try.since(now.mono),
    });
    Ok(Addresses { addresses: shown.collect(), status: Fine::Ok, _turn: turn })
}

/// Parameters of `connect`.
#[derive(Deserialize)]
pub(in crate::rpc) struct Whom {
    address: String,
}

pub(in crate::rpc) fn connect(service: &Service, Whom { address }: Whom) -> Result<impl Serialize, Fault> {
    let target = Target::parse(&address)
        .map_err(|why| Fault::new(Code::WrongParam, format!("`address` is `{address:.100}`, which {why}")))?;
    service.have_done(Order::Connect(target), ORDER_LIMIT)?;
    Ok(Done::default())
}

/// Parameters of `disconnect`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::rpc) struct WhichPeer {
    peer: Option<u64>,
    address: Option<String>,
}

pub(in crate::rpc) fn disconnect(service: &Service, which: WhichPeer) -> Result<impl Serialize, Fault> {
    let peer = match which {
        WhichPeer { peer: Some(peer), .. } => PeerId(peer),
        WhichPeer { address: Some(address), .. } => connected(service, &address)?,
        _ => return Err(Fault::new(Code::WrongParam, "neither `peer` nor `address` says who is meant")),
    };
    service.have_done(Order::Disconnect(peer), ORDER_LIMIT)?;
    Ok(Done::default())
}

/// Whoever is connected from, or listens at, an address.
fn connected(service: &Service, text: &str) -> Result<PeerId, Fault> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| Fault::new(Code::WrongParam, format!("`address` is `{text:.100}`, which is not IP:PORT")))?;
    let found = service.node().look(move |view| {
        let is = |peer: &Peer| peer.address == address || peer.listens_at() == Some(address);
        view.node.peers().iter().find(|(_, peer)| is(peer)).map(|(id, _)| id)
    })?;
    found.ok_or_else(|| {
        Fault::new(Code::Refused, format!("nobody is connected from {address}; `spindle peers` lists who is"))
    })
}
