//! What lies between machines: the links, the weather, and the one queue of all that is going to happen.
//!
//! A machine that acts is lent all of this; so a machine never reaches into another, only into the wires
//! between them. While two hosts are apart (a partition, both ways or one), what would arrive waits, as it does in
//! TCP, and arrives when they are together again, if the connection lives that long.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::node::event::{PeerId, Target};
use crate::node::reason::Reason;
use crate::node::report::Report;
use crate::primitives::hash::Hash;
use crate::simulator::chance::Chance;
use crate::simulator::link::{Piece, Side, Stream, Wire};
use crate::simulator::queue::{At, Queue};
use crate::simulator::reached::Effects;
use crate::simulator::trace::Trace;

/// A machine's number in its world.
pub(crate) type Host = usize;
/// How often a machine restarted: what was planned for an earlier life does not happen.
pub(crate) type Life = u32;
/// A connection's number in its world; never used twice.
pub(crate) type LinkId = usize;

/// Where nodes listen.
const PORT: u16 = 9000;
/// Where connections come from.
const PORT_FROM: u16 = 50_000;

/// Something that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Bytes, or the end of them, reach this end of a link.
    Arrive(LinkId, Side),
    /// This end of a link has room to write again.
    Room(LinkId, Side),
    /// A dial comes to something, or nothing.
    Dialled(LinkId),
    /// The owner of a node is free for its next event.
    Turn(Host, Life),
    /// Time has passed.
    Tick(Host, Life),
    /// The disk has done what it was asked.
    Synced(Host, Life, u64),
    /// Signatures are checked.
    Verified(Host, Life),
    /// A miner finds a block, unless it has begun another search.
    Found(Host, Life, u32),
    /// A machine comes back.
    Restart(Host, Life),
    /// Somebody makes room on a disk.
    Freed(Host),
    /// Something goes wrong somewhere.
    Trouble,
    /// Somebody pays somebody.
    Payment,
    /// The judge looks at everything.
    Look,
}

/// Something that a person, or the judge, may want to know.
#[derive(Debug)]
pub(crate) enum Note {
    /// A node said it.
    Told(Report),
    /// A node has hung up on somebody.
    HungUp { on: Host, reason: Reason },
    /// A miner found a block of so many bytes.
    Found { id: Hash, bytes: usize },
    /// A node sends blocks of its file.
    Served { frames: Arc<[u8]> },
}

/// A dial that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) life: Life,
    pub(crate) target: Target,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who dialled, and who was dialled; nobody is at an address that was made up.
    pub(crate) hosts: [Option<Host>; 2],
    /// Its number with each of them.
    pub(crate) peers: [PeerId; 2],
    /// Until it is made.
    pub(crate) dial: Option<Dial>,
    /// What each side reads.
    streams: [Stream; 2],
    shut: [bool; 2],
}

fn place(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        Side::Called => 1,
    }
}

impl Link {
    pub(crate) fn host(&self, side: Side) -> Option<Host> {
        self.hosts[place(side)]
    }

    pub(crate) fn peer(&self, side: Side) -> PeerId {
        self.peers[place(side)]
    }
}

/// Which hosts reach each other.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// The part that each host is in.
    pub(crate) parts: Vec<u8>,
    /// Part 0 still reaches part 1, and hears nothing from there.
    pub(crate) is_one_way: bool,
    pub(crate) until: At,
}

/// Everything between machines.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) now: At,
    pub(crate) queue: Queue<Happening>,
    pub(crate) chance: Chance,
    pub(crate) notes: Vec<(Host, Note)>,
    pub(crate) trace: Trace,
    pub(crate) bytes_sent: u64,
    pub(crate) effects: Effects,
    /// How often each host did something else than it should.
    pub(crate) misdeeds: Vec<u64>,
    /// Where those listen who cheat: they may know each other.
    pub(crate) accomplices: Arc<[SocketAddr]>,
    /// How far each host is from the middle of the network.
    wires: Vec<Wire>,
    /// When each host's uplink has taken all that it was given.
    uplinks_free_at: Vec<At>,
    links: Vec<Option<Box<Link>>>,
    pub(crate) partition: Option<Partition>,
    /// No byte passes a link until then.
    stalls: Vec<(LinkId, At)>,
}

impl Net {
    pub(crate) fn new(seed: u64, wires: Vec<Wire>, trace: Trace) -> Self {
        Self {
            now: At(0),
            queue: Queue::default(),
            chance: Chance::new(seed, "net", 0),
            notes: Vec::new(),
            trace,
            bytes_sent: 0,
            effects: Effects::default(),
            misdeeds: vec![0; wires.len()],
            accomplices: Arc::default(),
            uplinks_free_at: vec![At(0); wires.len()],
            wires,
            links: Vec::new(),
            partition: None,
            stalls: Vec::new(),
        }
    }

    /// Plans something, so much later.
    pub(crate) fn plan(&mut self, in_us: u64, what: Happening) {
        self.queue.push(self.now.after_us(in_us), what);
    }

    /// Says something to whoever watches.
    pub(crate) fn note(&mut self, host: Host, note: Note) {
        self.notes.push((host, note));
    }

    // --- places ---

    /// Where a host listens: each has a /16 of its own.
    pub(crate) fn address(host: Host) -> SocketAddr {
        let [.., high, low] = u32::try_from(host).expect("few hosts").to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(20 + high, low, 7, 1), PORT))
    }

    /// Who listens there.
    pub(crate) fn host_at(&self, address: SocketAddr) -> Option<Host> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let [high, low, ..] = ip.octets();
        let host = usize::from(high.checked_sub(20)?) << 8 | usize::from(low);
        (host < self.wires.len() && Self::address(host) == address).then_some(host)
    }

    /// The other end of the socket, as this side sees it.
    pub(crate) fn address_across(&self, link: LinkId, side: Side) -> Option<SocketAddr> {
        let host = self.link(link)?.host(side.other())?;
        let mut address = Self::address(host);
        if side == Side::Called {
            address.set_port(PORT_FROM);
        }
        Some(address)
    }

    // --- weather ---

    /// Whether nothing gets from one host to another now, and until when.
    fn cut_until(&self, from: Host, to: Host) -> Option<At> {
        let partition = self.partition.as_ref().filter(|partition| partition.until > self.now)?;
        let (from, to) = (partition.parts[from], partition.parts[to]);
        let is_cut = if partition.is_one_way { from > to } else { from != to };
        is_cut.then_some(partition.until)
    }

    /// Whether two hosts are apart now, one way or both, so that neither gets an answer; and until when.
    pub(crate) fn apart_until(&self, a: Host, b: Host) -> Option<At> {
        self.cut_until(a, b).max(self.cut_until(b, a))
    }

    /// Whether the two ends of a link are apart now.
    pub(crate) fn is_apart(&self, id: LinkId) -> bool {
        let hosts = self.link(id).map(|link| link.hosts);
        hosts.is_some_and(|hosts| matches!(hosts, [Some(a), Some(b)] if self.apart_until(a, b).is_some()))
    }

    /// Until when nothing reaches this side of a link.
    fn blocked_until(&self, id: LinkId, side: Side) -> Option<At> {
        let stall = self.stalls.iter().find(|(stalled, until)| *stalled == id && *until > self.now);
        let link = self.link(id)?;
        let apart = match (link.host(side.other()), link.host(side)) {
            (Some(from), Some(to)) => self.cut_until(from, to),
            _ => None,
        };
        stall.map(|(_, until)| *until).max(apart)
    }

    /// Nothing passes this link for a while.
    pub(crate) fn stall(&mut self, id: LinkId, us: u64) {
        let now = self.now;
        self.stalls.retain(|(_, until)| *until > now);
        self.stalls.push((id, now.after_us(us)));
    }

    /// The weather is fine from now on.
    pub(crate) fn clear_up(&mut self) {
        self.partition = None;
        self.stalls.clear();
        for wire in &mut self.wires {
            (wire.loss_permille, wire.shreds) = (0, false);
        }
        // Each stream has its own copy of that.
        for (id, link) in self.links.iter_mut().enumerate() {
            let Some(link) = link else { continue };
            link.streams.iter_mut().for_each(Stream::clear_up);
            // What was held up is not any more.
            for side in [Side::Caller, Side::Called] {
                self.queue.push(self.now, Happening::Arrive(id, side));
            }
        }
    }

    // --- links ---

    pub(crate) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id).and_then(Option::as_deref)
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(id).and_then(Option::as_deref_mut)
    }

    /// Links that are made and not closed.
    pub(crate) fn open_links(&self) -> Vec<LinkId> {
        let open = |id: &LinkId| self.link(*id).is_some_and(|link| link.dial.is_none() && link.shut == [false; 2]);
        (0..self.links.len()).filter(open).collect()
    }

    /// The way from one host to another.
    fn wire(&self, a: Host, b: Host) -> Wire {
        let (a, b) = (self.wires[a], self.wires[b]);
        Wire {
            latency_us: a.latency_us + b.latency_us,
            jitter_us: a.jitter_us + b.jitter_us,
            bytes_per_s: a.bytes_per_s.min(b.bytes_per_s),
            uplink_bytes_per_s: a.uplink_bytes_per_s,
            loss_permille: a.loss_permille.max(b.loss_permille),
            shreds: a.shreds || b.shreds,
        }
    }

    /// Somebody dials; [`Happening::Dialled`] follows.
    pub(crate) fn dial(&mut self, from: Host, life: Life, target: Target, connect_ms: u64) {
        let to = match &target {
            Target::Address(address) => self.host_at(*address),
            Target::Name(_) => None,
        };
        let (wire, back) = (self.wire(from, to.unwrap_or(from)), self.wire(to.unwrap_or(from), from));
        let reaches = to.is_some_and(|to| self.apart_until(from, to).is_none());
        let dial = Some(Dial { life, target });
        let (hosts, peers) = ([Some(from), to.filter(|_| reaches)], [PeerId(0); 2]);
        let link = Link { hosts, peers, dial, streams: [Stream::new(back), Stream::new(wire)], shut: [false; 2] };
        self.links.push(Some(Box::new(link)));
        let takes_us = if reaches { 2 * wire.latency_us } else { connect_ms * 1_000 };
        self.plan(takes_us.min(connect_ms * 1_000), Happening::Dialled(self.links.len() - 1));
    }

    /// A dial got through: both sides have given the link a number.
    pub(crate) fn connect(&mut self, id: LinkId, peers: [PeerId; 2]) {
        if let Some(link) = self.link_mut(id) {
            (link.peers, link.dial) = (peers, None);
        }
    }

    /// A dial came to nothing.
    pub(crate) fn forget(&mut self, id: LinkId) {
        self.links[id] = None;
    }

    /// How much this side can write now; it is told when there is room again.
    pub(crate) fn room(&mut self, id: LinkId, side: Side) -> usize {
        self.link_mut(id).map_or(usize::MAX, |link| link.streams[place(side.other())].room())
    }

    /// This side writes.
    pub(crate) fn send(&mut self, id: LinkId, side: Side, frame: &Arc<[u8]>, range: std::ops::Range<usize>) {
        let (now, to) = (self.now, side.other());
        self.bytes_sent += range.len() as u64;
        self.trace.bytes(&frame[range.clone()]);
        let Some(link) = self.links.get_mut(id).and_then(Option::as_deref_mut) else { return };
        let Some(uplink_free_at) = link.host(side).and_then(|host| self.uplinks_free_at.get_mut(host)) else { return };
        let piece = Piece { frame: Arc::clone(frame), range };
        for at in link.streams[place(to)].send(now, &piece, uplink_free_at, &mut self.chance) {
            self.queue.push(at, Happening::Arrive(id, to));
        }
    }

    /// Something reaches this side: false if it is held up.
    pub(crate) fn arrive(&mut self, id: LinkId, side: Side) -> bool {
        if let Some(until) = self.blocked_until(id, side) {
            self.queue.push(until, Happening::Arrive(id, side));
            return false;
        }
        let now = self.now;
        if let Some(link) = self.link_mut(id) {
            link.streams[place(side)].arrive(now);
        }
        true
    }

    /// The next bytes for this side.
    pub(crate) fn read(&mut self, id: LinkId, side: Side) -> Option<Piece> {
        let (now, links) = (self.now, &mut self.links);
        let stream = &mut links.get_mut(id)?.as_deref_mut()?.streams[place(side)];
        let (piece, wakes) = stream.read()?;
        if wakes {
            self.queue.push(now, Happening::Room(id, side.other()));
        }
        Some(piece)
    }

    /// Whether this side has read everything that will ever come.
    pub(crate) fn has_ended(&self, id: LinkId, side: Side) -> bool {
        let apart = self.blocked_until(id, side).is_some();
        self.link(id).is_none_or(|link| !apart && link.streams[place(side)].has_ended(self.now))
    }

    /// This side closes both ways: what it sent before still arrives.
    pub(crate) fn shut(&mut self, id: LinkId, side: Side) {
        let now = self.now;
        let Some(link) = self.link_mut(id) else { return };
        link.shut[place(side)] = true;
        link.streams[place(side)].abandon();
        let end = link.streams[place(side.other())].finish(now);
        if link.shut == [true; 2] {
            self.links[id] = None;
        } else if let Some(at) = end {
            self.queue.push(at, Happening::Arrive(id, side.other()));
        }
    }

    /// The connection breaks: each side gets a part of what was on its way.
    pub(crate) fn reset(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id).and_then(Option::as_deref_mut) else { return };
        for side in [Side::Caller, Side::Called] {
            let at = link.streams[place(side)].cut(now, &mut self.chance);
            self.queue.push(at, Happening::Arrive(id, side));
        }
    }

    /// This side's power fails: the other side hears nothing more, not even that.
    pub(crate) fn vanish(&mut self, id: LinkId, side: Side) {
        if let Some(link) = self.link_mut(id) {
            link.shut[place(side)] = true;
            link.streams[place(side)].silence();
            if link.shut == [true; 2] {
                self.links[id] = None;
            }
        }
    }
}
