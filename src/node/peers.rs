//! Who is connected, whether they live, and who is refused.
//!
//! Ticks come only when nothing waits to be handled, so a deadline that runs out here ran out on the
//! peer's side: what it sent in time has been heard.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::node::event::{Direction, Effect, PeerId, Target};
use crate::node::message::{Hello, Message, shown};
use crate::primitives::hash::Hash;
use crate::primitives::rng::Rng;
use crate::primitives::time::{Mono, Wall};

/// Between pings.
pub const PING_MS: u64 = 30_000;
/// For an answer to one.
pub const PONG_MS: u64 = 60_000;
/// How long a misbehaving address is refused.
const BAN_MS: u64 = 24 * 60 * 60 * 1_000;
/// The same for an address of a private range: perhaps a whole class shares it.
const BAN_PRIVATE_MS: u64 = 60_000;
/// Refused addresses that are remembered.
const BANS_MAX: usize = 4_096;
/// Ends of branches that we remember a peer to have shown.
const LEAVES_MAX: usize = 4;
/// Blocks that we know a peer has.
const KNOWN_MAX: usize = 16;

/// One connected node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// Who dialled.
    pub direction: Direction,
    /// What we dialled, if we did.
    pub target: Option<Target>,
    /// The node behind it.
    pub nonce: u64,
    /// Its program and version, in its own words; at most 64 plain characters.
    pub agent: String,
    /// Where it listens; 0 if it does not.
    pub listen_port: u16,
    /// The height that it is known to have.
    pub height: u64,
    /// The most work that it is known or says to have.
    pub work: u128,
    /// When its handshake was complete.
    pub came_at: Mono,
    /// When we last heard anything from it.
    pub heard_at: Mono,
    /// The last round trip of a ping.
    pub round_trip_ms: Option<u64>,
    /// Whether it has had our addresses already.
    pub had_addresses: bool,
    /// Where it may go on to read what waits in our pool; `None` when it has read all of it.
    pub pool_from: Option<Hash>,
    /// Whether we have asked for its.
    pub was_asked: bool,
    known: VecDeque<Hash>,
    leaves: VecDeque<Hash>,
    ping: Option<(u64, Mono)>,
    next_ping: Mono,
}

impl Peer {
    /// Notes that it has a block; false if that was known.
    pub fn has(&mut self, id: Hash) -> bool {
        let is_new = !self.knows(&id);
        if is_new {
            self.known.push_back(id);
            if self.known.len() > KNOWN_MAX {
                self.known.pop_front();
            }
        }
        is_new
    }

    /// Whether it is known to have a block.
    pub fn knows(&self, id: &Hash) -> bool {
        self.known.contains(id)
    }

    /// It has shown the headers up to this one, so it says that it has their bodies.
    pub fn vouch(&mut self, leaf: Hash) {
        self.leaves.retain(|known| *known != leaf);
        self.leaves.push_back(leaf);
        if self.leaves.len() > LEAVES_MAX {
            self.leaves.pop_front();
        }
    }

    /// It does not have what it has shown.
    pub fn disown_all(&mut self) {
        self.leaves.clear();
    }

    /// The ends of the branches that it has shown, the newest last.
    pub fn leaves(&self) -> impl Iterator<Item = Hash> {
        self.leaves.iter().copied()
    }

    /// The last round trip; a peer that has never answered a ping counts as the slowest.
    pub fn distance_ms(&self) -> u64 {
        self.round_trip_ms.unwrap_or(u64::MAX)
    }

    /// Where it can be dialled, as far as we know.
    pub fn listens_at(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Outbound => Some(self.address),
            // A socket that takes both families shows IPv4 mapped into IPv6; the address book does not.
            Direction::Inbound => {
                let ip = self.address.ip().to_canonical();
                (self.listen_port != 0).then(|| SocketAddr::new(ip, self.listen_port))
            }
        }
    }
}

/// Somebody whose handshake is complete.
#[derive(Debug)]
pub struct Newcomer<'a> {
    /// The connection's number.
    pub peer: PeerId,
    /// Who dialled.
    pub direction: Direction,
    /// The other end of the socket.
    pub address: SocketAddr,
    /// What we dialled, if we did.
    pub target: Option<Target>,
    /// What they said of themselves.
    pub hello: &'a Hello,
}

/// Everybody who is connected, and everybody who may not be.
#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    bans: BTreeMap<IpAddr, Ban>,
}

/// An address that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Until when.
    pub until: Wall,
    /// Why, in words.
    pub why: String,
}

impl Peers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// One of them; `None` if it is gone or about to be.
    pub fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(&peer)
    }

    /// One of them, to note something.
    pub fn get_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(&peer)
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.iter().map(|(&id, peer)| (id, peer))
    }

    /// How many we have dialled.
    pub fn outbound(&self) -> usize {
        self.peers.values().filter(|peer| peer.direction == Direction::Outbound).count()
    }

    /// Whether a node with this nonce is connected.
    pub fn is_connected(&self, nonce: u64) -> bool {
        self.peers.values().any(|peer| peer.nonce == nonce)
    }

    /// Takes a newcomer in. If the same node is connected twice, gives the connection to close: both
    /// sides must pick the same one, so the one dialled by the node of the greater nonce stays.
    pub fn add(&mut self, now: Mono, ours: u64, newcomer: Newcomer<'_>, rng: &mut Rng) -> Option<PeerId> {
        let Newcomer { peer, direction, address, target, hello } = newcomer;
        // Nonces are told to everybody: only from the same machine is it the same node.
        let ip = address.ip().to_canonical();
        let same = |other: &Peer| other.nonce == hello.nonce && other.address.ip().to_canonical() == ip;
        let twin = self.peers.iter().find(|(_, other)| same(other));
        let twin = twin.map(|(&id, other)| (id, other.direction));
        // At once, but not all in the same instant: the first ping measures the distance.
        let next_ping = now.after(rng.below(1_000) as u64);
        let entry = Peer {
            address,
            direction,
            target,
            nonce: hello.nonce,
            agent: shown(&hello.agent),
            listen_port: hello.listen_port,
            height: hello.height,
            work: hello.work,
            came_at: now,
            heard_at: now,
            round_trip_ms: None,
            had_addresses: false,
            pool_from: Some(Hash::ZERO),
            was_asked: false,
            known: VecDeque::new(),
            leaves: VecDeque::new(),
            ping: None,
            next_ping,
        };
        self.peers.insert(peer, entry);
        let (twin, twin_direction) = twin?;
        let stays = if ours > hello.nonce { Direction::Outbound } else { Direction::Inbound };
        // Two of one direction: the newcomer goes.
        Some(if direction == stays && twin_direction != stays { twin } else { peer })
    }

    /// Forgets a peer.
    pub fn remove(&mut self, peer: PeerId) -> Option<Peer> {
        self.peers.remove(&peer)
    }

    /// A pong came; one that answers nothing of ours is only a sign of life.
    pub fn pong(&mut self, now: Mono, peer: PeerId, nonce: u64) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && let Some((sent, at)) = peer.ping
            && sent == nonce
        {
            peer.ping = None;
            peer.round_trip_ms = Some(now.since(at));
        }
    }

    /// Sends the pings that are due and gives those who have not answered theirs.
    pub fn on_tick(&mut self, now: Mono, rng: &mut Rng, out: &mut Vec<Effect>) -> Vec<PeerId> {
        let mut silent = Vec::new();
        for (&id, peer) in &mut self.peers {
            match peer.ping {
                // A peer in the middle of a long answer may be late with its pong: anything heard counts.
                Some((_, at)) if now.since(at.max(peer.heard_at)) >= PONG_MS => silent.push(id),
                None if now >= peer.next_ping => {
                    let nonce = rng.draw();
                    peer.ping = Some((nonce, now));
                    peer.next_ping = now.after(PING_MS);
                    out.push(Effect::Send { peer: id, message: Message::Ping(nonce) });
                }
                _ => {}
            }
        }
        silent
    }

    /// Refuses an address after a fault, unless it is on this machine: what runs here is the
    /// operator's own. Gives until when.
    pub fn ban(&mut self, now: Wall, ip: IpAddr, why: String) -> Option<Wall> {
        let ms = match scope(ip) {
            Scope::Loopback => return None,
            Scope::Private => BAN_PRIVATE_MS,
            Scope::Public => BAN_MS,
        };
        let until = Wall(now.0.saturating_add(ms));
        self.ban_until(ip, until, why);
        Some(until)
    }

    /// Refuses an address until then. Of too many the one that ends soonest is forgotten.
    pub fn ban_until(&mut self, ip: IpAddr, until: Wall, why: String) {
        if self.bans.len() >= BANS_MAX
            && let Some((&soonest, _)) = self.bans.iter().min_by_key(|(_, ban)| ban.until)
        {
            self.bans.remove(&soonest);
        }
        self.bans.insert(whole(ip), Ban { until, why });
    }

    /// Refuses an address no longer; false if it was not refused.
    pub fn unban(&mut self, ip: IpAddr) -> bool {
        self.bans.remove(&whole(ip)).is_some()
    }

    /// Whom nobody lets in here, and why.
    pub fn bans(&self) -> impl ExactSizeIterator<Item = (IpAddr, &Ban)> {
        self.bans.iter().map(|(&ip, ban)| (ip, ban))
    }

    /// Lifts bans that are over; gives their addresses.
    pub fn lift_bans(&mut self, now: Wall) -> Vec<IpAddr> {
        let over: Vec<IpAddr> = self.bans.iter().filter(|(_, ban)| now >= ban.until).map(|(&ip, _)| ip).collect();
        for ip in &over {
            self.bans.remove(ip);
        }
        over
    }
}

/// What one person has: an IPv4 address, or the first address of an IPv6 /64.
pub fn whole(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// This network: RFC 1918, link-local, unique local.
    Private,
    /// Anywhere.
    Public,
}

/// How far an address reaches.
pub fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => Scope::Private,
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Scope::Private,
        _ => Scope::Public,
    }
}
