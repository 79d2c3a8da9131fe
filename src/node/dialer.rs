//! Whom to dial next: peers the operator named, the network's seeds, then the address book.
//!
//! A named peer is dialled for ever, with a growing pause; it grows too while connections are made and end
//! for what the peer does, and only a good one, or none to blame, is followed by a short one. Seeds are for
//! finding the first others. A target that turned out to be this very node is never dialled again, and one
//! that is connected the other way round is left alone until it goes. Whoever was disconnected by order is left alone
//! until somebody wants him again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::node::addresses::AddressBook;
use crate::node::event::{Effect, Target};
use crate::node::peers::{Peer, Peers};
use crate::node::reason::{Ending, Reason, cut_pause_ms};
use crate::node::report::{Level, Report};
use crate::primitives::rng::Rng;
use crate::primitives::time::{Mono, Now};

/// Between two rounds of looking for peers.
const ROUND_MS: u64 = 1_000;
/// The first pause after a failure; it doubles up to the longest.
const PAUSE_MS: u64 = 2_000;
/// The longest pause of a target that was named.
const PAUSE_MS_MAX: u64 = 60_000;
/// The longest pause of a neighbour on this machine: looking there costs nothing.
const PAUSE_LOCAL_MS_MAX: u64 = 15_000;
/// Whoever listens there may have borrowed our nonce: after this it is looked at again.
const OURSELVES_MS: u64 = 600_000;
/// Targets that are remembered to be this node.
const OURSELVES_MAX: usize = 64;
/// Those who were named have so long to show that they are ahead of us.
const LOOK_MS: u64 = 10_000;
/// Targets that are named at a time, unless the configuration names more.
const NAMED_MAX: usize = 64;
/// Addresses of those who were disconnected by order: the oldest goes for the newest.
const LEFT_ALONE_MAX: usize = 64;
/// Dials under way at a time.
const DIALS_MAX: usize = 4;

#[derive(Debug)]
struct Named {
    target: Target,
    /// Dialled even when there are peers enough.
    wanted: bool,
    /// A person asked for it while the node ran, and wants to hear what comes of it.
    ordered: bool,
    pause_ms: u64,
    next: Mono,
    /// Connections in a row that ended for what the peer did.
    cuts: u32,
    /// The node that was last found there.
    nonce: Option<u64>,
    /// Whether its failure was told: a missing neighbour is worth one line, not one each minute.
    told: bool,
}

/// The dial plan.
#[derive(Debug)]
pub struct Dialer {
    named: Vec<Named>,
    dialing: BTreeSet<Target>,
    /// Targets at which we have met ourselves, and until when that is believed.
    ourselves: BTreeMap<Target, Mono>,
    /// Those who were disconnected by order, the last of them last.
    left_alone: VecDeque<SocketAddr>,
    our_port: u16,
    outbound_max: usize,
    next_round: Mono,
    /// When the first round was.
    began: Option<Mono>,
    /// Whether the first round of dials has come to an end, one way or the other.
    has_looked: bool,
}

impl Dialer {
    /// `connect` are wanted for ever, `seeds` while there are too few.
    pub fn new(connect: Vec<Target>, seeds: &[String], our_port: u16, outbound_max: usize) -> Self {
        let named = |target, wanted| Named {
            target,
            wanted,
            ordered: false,
            pause_ms: PAUSE_MS,
            next: Mono(0),
            cuts: 0,
            nonce: None,
            told: false,
        };
        let seeds = seeds.iter().map(|seed| seed.parse().map_or_else(|_| Target::Name(seed.clone()), Target::Address));
        let seeds = seeds.filter(|seed| !matches!(seed, Target::Address(address) if is_us(*address, our_port)));
        let wanted: Vec<Named> = connect.into_iter().map(|target| named(target, true)).collect();
        let seeds: Vec<Target> = seeds.filter(|seed| wanted.iter().all(|wanted| wanted.target != *seed)).collect();
        let named = wanted.into_iter().chain(seeds.into_iter().map(|seed| named(seed, false))).collect();
        Self {
            named,
            dialing: BTreeSet::new(),
            ourselves: BTreeMap::new(),
            left_alone: VecDeque::new(),
            our_port,
            outbound_max,
            next_round: Mono(0),
            began: None,
            has_looked: false,
        }
    }

    /// Starts the dials that are due.
    pub fn on_tick(&mut self, now: Mono, peers: &Peers, book: &AddressBook, rng: &mut Rng, out: &mut Vec<Effect>) {
        let began = *self.began.get_or_insert(now);
        let is_looking = self.named.iter().any(|named| self.dialing.contains(&named.target));
        self.has_looked |= self.next_round != Mono(0) && (!is_looking || now.since(began) >= LOOK_MS);
        self.ourselves.retain(|_, until| *until > now);
        if now < self.next_round {
            return;
        }
        self.next_round = now.after(ROUND_MS);
        let places = self.outbound_max.saturating_sub(peers.outbound() + self.dialing.len());
        let mut seeds_left = places;
        let mut chosen = Vec::new();
        for named in &self.named {
            // Where an inbound peer says that it listens is only a claim: enough for a seed, not for a peer
            // that the operator wants.
            let is_chosen = named.wanted || named.ordered;
            let claims = |a: SocketAddr| !is_chosen && peers.iter().any(|(_, peer)| peer.listens_at() == Some(a));
            let connected = named.nonce.is_some_and(|nonce| peers.is_connected(nonce))
                || peers.iter().any(|(_, peer)| peer.target.as_ref() == Some(&named.target))
                || matches!(named.target, Target::Address(address) if claims(address));
            let under_way = self.dialing.contains(&named.target) || self.ourselves.contains_key(&named.target);
            let is_left_alone =
                matches!(named.target, Target::Address(a) if !is_chosen && self.left_alone.contains(&a));
            let due = !connected && !under_way && !is_left_alone && now >= named.next;
            if due && self.dialing.len() + chosen.len() < DIALS_MAX && (named.wanted || seeds_left > 0) {
                seeds_left = seeds_left.saturating_sub(usize::from(!named.wanted));
                chosen.push(named.target.clone());
            }
        }
        if chosen.is_empty() && places > 0 && self.dialing.len() < DIALS_MAX {
            // One a second at most: an address book full of black holes must not become a port scan.
            let skip = |address: SocketAddr| {
                is_us(address, self.our_port)
                    || self.dialing.contains(&Target::Address(address))
                    || self.ourselves.contains_key(&Target::Address(address))
                    || self.left_alone.contains(&address)
                    || peers.iter().any(|(_, peer)| peer.listens_at() == Some(address))
            };
            chosen.extend(book.choose(now, peers.outbound() == 0, rng, skip).map(Target::Address));
        }
        for target in chosen {
            self.dialing.insert(target.clone());
            out.push(Effect::Dial { target });
        }
    }

    /// Whether those who might be ahead of us had their chance: nobody should mine before.
    pub fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// A dial has led to a handshake.
    pub fn connected(&mut self, target: &Target, nonce: u64) {
        self.dialing.remove(target);
        if let Some(named) = self.named.iter_mut().find(|named| named.target == *target) {
            (named.nonce, named.pause_ms, named.told) = (Some(nonce), PAUSE_MS, false);
        }
    }

    /// A dial has come to nothing, or what it led to is closed: the next one waits.
    pub fn failed(&mut self, now: Now, target: &Target, reason: &Reason, out: &mut Vec<Effect>) {
        self.dialing.remove(target);
        let local = matches!(target, Target::Address(address) if address.ip().is_loopback());
        if *reason == Reason::Oneself {
            // There are few places at which we can meet ourselves; a liar may claim more.
            if self.ourselves.len() >= OURSELVES_MAX {
                self.ourselves.clear();
            }
            self.ourselves.insert(target.clone(), now.mono.after(OURSELVES_MS));
        }
        let Some(named) = self.named.iter_mut().find(|named| named.target == *target) else { return };
        named.next = now.mono.after(named.pause_ms);
        let longest = if local { PAUSE_LOCAL_MS_MAX } else { PAUSE_MS_MAX };
        named.pause_ms = (named.pause_ms * 2).min(longest);
        // Nobody there is what one expects of a neighbour; something else there is worth a line.
        let nobody = matches!(reason, Reason::Broken(_) | Reason::Duplicate | Reason::Oneself);
        let is_news = named.wanted || named.ordered || !nobody;
        let level = if is_news && !named.told { Level::Info } else { Level::Debug };
        named.told = true;
        out.push(Effect::Tell(Report::DialFailed { target: target.clone(), reason: reason.clone(), level }));
    }

    /// Somebody is to be dialled now, and again when a connection to it is lost; an error says why not.
    pub fn want(&mut self, now: Mono, target: Target, peers: &Peers) -> Result<(), String> {
        if matches!(target, Target::Address(address) if is_us(address, self.our_port)) {
            return Err(format!("{target} is this very node"));
        }
        if peers.iter().any(|(_, peer)| peer.target.as_ref() == Some(&target)) {
            return Err(format!("{target} is connected already"));
        }
        // Places are what memory was planned for, so an order gets no more of them than chance does.
        if peers.outbound() + self.dialing.len() >= self.outbound_max {
            let most = self.outbound_max;
            return Err(format!("all {most} places for connections of ours are taken; disconnect somebody first"));
        }
        self.ourselves.remove(&target);
        if let Target::Address(address) = target {
            self.left_alone.retain(|other| *other != address);
        }
        self.next_round = now;
        if let Some(named) = self.named.iter_mut().find(|named| named.target == target) {
            (named.next, named.told, named.ordered) = (now, false, true);
            return Ok(());
        }
        if self.named.len() >= NAMED_MAX {
            return Err(format!("{NAMED_MAX} peers are named already; disconnect one first"));
        }
        let named = Named {
            target,
            wanted: false,
            ordered: true,
            pause_ms: PAUSE_MS,
            next: now,
            cuts: 0,
            nonce: None,
            told: false,
        };
        // Those that were asked for come before the network's seeds.
        self.named.insert(0, named);
        Ok(())
    }

    /// A peer is not wanted: nobody dials it, whoever has named it, where we found it or where it says that it listens,
    /// until [`want`](Self::want) asks for that.
    pub fn leave_alone(&mut self, peer: &Peer) {
        self.named.retain(|named| Some(&named.target) != peer.target.as_ref() && named.nonce != Some(peer.nonce));
        if let Some(address) = peer.listens_at() {
            self.left_alone.retain(|other| *other != address);
            if self.left_alone.len() >= LEFT_ALONE_MAX {
                self.left_alone.pop_front();
            }
            self.left_alone.push_back(address);
        }
    }

    /// A connection that a dial had led to is gone: it is dialled again after a pause.
    pub fn lost(&mut self, now: Mono, target: &Target, ending: Ending) {
        if let Some(named) = self.named.iter_mut().find(|named| named.target == *target) {
            named.cuts = ending.cuts_after(named.cuts);
            named.next = now.after(cut_pause_ms(PAUSE_MS, named.cuts));
        }
    }
}

/// Whether an address is plainly our own: peers on this machine tell us of it too.
fn is_us(address: SocketAddr, our_port: u16) -> bool {
    address.ip().is_loopback() && address.port() == our_port
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::node::message::PeerAddress;
    use crate::node::reason::{CUT_MS_MAX, GOOD_MS};

    /// Goal: a node does not dial itself when its neighbours tell it of itself. Method: two addresses in the
    /// book, one of them our own, and ten rounds.
    #[test]
    fn our_own_address_is_not_dialled() {
        let (ours, other) = (SocketAddr::from(([127, 0, 0, 1], 9_000)), SocketAddr::from(([127, 0, 0, 1], 9_001)));
        let mut book = AddressBook::default();
        assert_eq!(book.learn(IpAddr::from([127, 0, 0, 1]), &[ours, other].map(PeerAddress::from)), 2);
        let mut dialer = Dialer::new(Vec::new(), &[], 9_000, 8);
        let (mut rng, mut out) = (Rng::new(1), Vec::new());
        for round in 0..10 {
            dialer.on_tick(Mono(round * ROUND_MS), &Peers::default(), &book, &mut rng, &mut out);
        }
        assert_eq!(out, [Effect::Dial { target: Target::Address(other) }]);
    }

    /// Goal: a peer that answers, and is cut each time for what it does, is not dialled again and again: the pause
    /// doubles up to minutes, and one good connection ends that. Method: a named peer, ten connections that end at
    /// once, one that breaks, one that lasts.
    #[test]
    fn whoever_is_cut_each_time_is_dialled_less_and_less() {
        let target = Target::Address(SocketAddr::from(([8, 8, 8, 8], 9_000)));
        let mut dialer = Dialer::new(vec![target.clone()], &[], 9_000, 8);
        let (book, mut rng, mut now) = (AddressBook::default(), Rng::new(1), Mono(0));
        let unshown = Reason::WorkNotShown { claimed: 2, shown: 1 };
        // How long after its end a connection is followed by the next dial.
        let mut pause_after = |lasted_ms, reason: &Reason| {
            dialer.connected(&target, 7);
            dialer.lost(now, &target, Ending::of(lasted_ms, reason));
            let (ended, mut out) = (now, Vec::new());
            while out.is_empty() {
                now = now.after(ROUND_MS);
                dialer.on_tick(now, &Peers::default(), &book, &mut rng, &mut out);
            }
            assert_eq!(out, [Effect::Dial { target: target.clone() }]);
            now.since(ended)
        };
        let pauses: Vec<u64> = (0..10).map(|_| pause_after(1_000, &unshown)).collect();
        assert_eq!(pauses[..4], [PAUSE_MS, 2 * PAUSE_MS, 4 * PAUSE_MS, 8 * PAUSE_MS]);
        assert_eq!(pauses[8..], [CUT_MS_MAX; 2]);
        assert_eq!(pause_after(1_000, &Reason::Closed), CUT_MS_MAX, "a break proves nothing");
        assert_eq!(pause_after(GOOD_MS, &unshown), PAUSE_MS);
    }
}
