//! Who is connected, counted: the caps at the door, and a way to end everybody at once.
//!
//! Shared by the listener, the owner and `main`; its lock is held for moments and never while anything
//! waits. A connection has a [`Place`] from before its thread starts until the owner has handled its
//! `Closed`, so the inbox can be sized by places.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::network::connection::Connection;
use crate::network::limits::{INBOUND_PER_IP, INBOUND_PER_PRIVATE_IP, REFUSED_MAX};
use crate::node::event::PeerId;
use crate::node::peers::{Scope, scope};
use crate::node::reason::Reason;
use crate::primitives::time::Wall;

#[derive(Debug, Default)]
struct State {
    next_peer: u64,
    connections: BTreeMap<PeerId, Option<Arc<Connection>>>,
    inbound: usize,
    inbound_from: BTreeMap<IpAddr, usize>,
    refused: BTreeMap<IpAddr, Wall>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped when the node stops: wakes whoever waits for [`Registry::stopped`].
    running: Option<Sender<()>>,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Registry {
    inbound_max: usize,
    state: Mutex<State>,
    stopped: Receiver<()>,
}

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    /// The connection's number.
    pub(crate) peer: PeerId,
    /// What its inbound connections are counted under.
    from: Option<IpAddr>,
}

impl Registry {
    pub(crate) fn new(inbound_max: usize) -> Arc<Self> {
        let (running, stopped) = bounded(0);
        let state = State { running: Some(running), ..State::default() };
        Arc::new(Self { inbound_max, state: Mutex::new(state), stopped })
    }

    /// A place for somebody at the door, or why there is none.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, now: Wall) -> Result<Place, Reason> {
        let (from, limit) = (counted_as(ip), limit_for(ip));
        let mut state = self.state.lock();
        if state.running.is_none() {
            return Err(Reason::Stopping);
        }
        if state.refused.get(&from).is_some_and(|until| now < *until) {
            return Err(Reason::Banned);
        }
        if state.inbound >= self.inbound_max {
            return Err(Reason::Full { limit: self.inbound_max });
        }
        let count = state.inbound_from.entry(from).or_default();
        if *count >= limit {
            return Err(Reason::FullForAddress { limit });
        }
        *count += 1;
        state.inbound += 1;
        Ok(self.place(&mut state, Some(from)))
    }

    /// A place for a connection that we make; how many there are is the core's business.
    pub(crate) fn outbound(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        state.running.as_ref()?;
        Some(self.place(&mut state, None))
    }

    fn place(self: &Arc<Self>, state: &mut State, from: Option<IpAddr>) -> Place {
        let peer = PeerId(state.next_peer);
        state.next_peer += 1;
        state.connections.insert(peer, None);
        Place { registry: Arc::clone(self), peer, from }
    }

    /// Sends this address (IPv6: its /64) away from now on, or no longer.
    pub(crate) fn refuse(&self, ip: IpAddr, until: Option<Wall>, now: Wall) {
        let refused = &mut self.state.lock().refused;
        match until {
            None => drop(refused.remove(&counted_as(ip))),
            Some(until) => {
                refused.retain(|_, until| now < *until);
                if refused.len() < REFUSED_MAX {
                    // Of two neighbours in a /64 the later end counts.
                    let ends = refused.entry(counted_as(ip)).or_insert(until);
                    *ends = until.max(*ends);
                }
            }
        }
    }

    /// Keeps a connection's thread to be joined, and joins those that have ended.
    pub(crate) fn keep(&self, thread: JoinHandle<()>) {
        self.state.lock().threads.push(thread);
        self.reap();
    }

    /// Joins threads that have ended: until then the system keeps their stacks.
    pub(crate) fn reap(&self) {
        let ended: Vec<_> = self.state.lock().threads.extract_if(.., |thread| thread.is_finished()).collect();
        for thread in ended {
            thread.join().expect("the spawn helper catches panics");
        }
    }

    /// Whether the node is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().running.is_none()
    }

    /// Disconnected once the node is stopping: something to wait on beside other things.
    pub(crate) fn stopped(&self) -> &Receiver<()> {
        &self.stopped
    }

    /// Ends every connection, complete or not, and lets nobody in any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.running = None;
        let live: Vec<_> = state.connections.values().flatten().cloned().collect();
        drop(state);
        for connection in live {
            connection.end(Reason::Stopping);
        }
    }

    /// Joins every connection's thread; after [`stop`](Self::stop).
    pub(crate) fn join(&self) {
        loop {
            let Some(thread) = self.state.lock().threads.pop() else { return };
            thread.join().expect("the spawn helper catches panics");
        }
    }
}

impl Place {
    /// Puts the connection where a stop finds it; an error if the stop has come already.
    pub(crate) fn occupy(&self, connection: &Arc<Connection>) -> Result<(), Reason> {
        let mut state = self.registry.state.lock();
        if state.running.is_none() {
            return Err(Reason::Stopping);
        }
        state.connections.insert(self.peer, Some(Arc::clone(connection)));
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        state.connections.remove(&self.peer);
        let Some(from) = self.from else { return };
        state.inbound -= 1;
        if let Some(count) = state.inbound_from.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                state.inbound_from.remove(&from);
            }
        }
    }
}

/// An IPv6 address stands for its /64: whoever has one of those has all of them.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    }
}

fn limit_for(ip: IpAddr) -> usize {
    match scope(ip) {
        Scope::Loopback => usize::MAX,
        Scope::Private => INBOUND_PER_PRIVATE_IP,
        Scope::Public => INBOUND_PER_IP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Goal: each kind of address has its own cap, and a place that is given back is free again.
    /// Method: the registry alone, without sockets.
    #[test]
    fn caps_per_address_and_in_all() {
        let registry = Registry::new(30);
        let mut places = Vec::new();
        let mut fill = |address: &str| loop {
            match registry.admit(ip(address), Wall(0)) {
                Ok(place) => places.push((address.to_owned(), place)),
                Err(reason) => break (places.iter().filter(|(of, _)| of == address).count(), reason),
            }
        };
        assert_eq!(fill("203.0.113.9"), (4, Reason::FullForAddress { limit: 4 }));
        assert_eq!(fill("::ffff:203.0.113.9").0, 0, "the same address in another notation");
        assert_eq!(fill("192.168.1.7"), (8, Reason::FullForAddress { limit: 8 }));
        assert_eq!(fill("2001:db8::1"), (4, Reason::FullForAddress { limit: 4 }));
        assert_eq!(fill("2001:db8::2").0, 0, "the same /64");
        let strangers: Vec<String> = (0..4).map(|n| format!("198.51.{n}.7")).collect();
        let filled: Vec<usize> = strangers.iter().map(|address| fill(address).0).collect();
        assert_eq!(filled, [4, 4, 4, 2], "30 in all");
        assert_eq!(fill("198.51.9.7"), (0, Reason::Full { limit: 30 }));
        assert_eq!(fill("127.0.0.1"), (0, Reason::Full { limit: 30 }));
        places.truncate(29);
        assert!(registry.admit(ip("198.51.9.7"), Wall(0)).is_ok());
    }

    /// Goal: a refused address is refused until then, and no longer. Method: driven time.
    #[test]
    fn a_ban_ends() {
        let registry = Registry::new(30);
        registry.refuse(ip("203.0.113.9"), Some(Wall(100)), Wall(0));
        let at = |now| registry.admit(ip("203.0.113.9"), Wall(now)).err();
        assert_eq!((at(99), at(100)), (Some(Reason::Banned), None));
        registry.refuse(ip("2001:db8::1"), Some(Wall(100)), Wall(0));
        let neighbour = |address| registry.admit(ip(address), Wall(50)).err();
        assert_eq!(neighbour("2001:db8::2"), Some(Reason::Banned), "whoever has one address of a /64 has all");
        assert_eq!(neighbour("2001:db8:0:1::1"), None);
        registry.refuse(ip("203.0.113.9"), Some(Wall(500)), Wall(100));
        registry.refuse(ip("203.0.113.9"), None, Wall(100));
        assert_eq!(at(200), None);
        registry.stop();
        assert_eq!(at(200), Some(Reason::Stopping));
        assert!(registry.outbound().is_none());
    }
}
