//! `P2PNode`: the owner's side of the network. Nothing in here waits.
//!
//! It lives in the owner's thread. [`P2PNode::admit`] turns what peers' threads send into events and
//! keeps the links; the other methods perform effects. What it shares with the threads is the [`Hub`].
//!
//! A flooding peer slows only itself: each event costs one of its two credits, which come back through
//! [`P2PNode::handled`]. A peer that does not read loses its connection ([`Reason::OutboxFull`]), never
//! the owner's time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::blockchain::storage::{ReadHandle, StoreError};
use crate::network::budget::{Budget, Portion};
use crate::network::connection::Connection;
use crate::network::limits::{BULK_BYTES, DIALS_MAX, READING_MAX, SERVED_BYTES};
use crate::network::outbox::{Frame, Outbox};
use crate::network::registry::{Place, Registry};
use crate::network::{dial, listen};
use crate::node::NodeConfig;
use crate::node::event::{Asked, Event, PeerId, Target};
use crate::node::message::{Hello, Kind, Message, NewBlock};
use crate::node::reason::Reason;
use crate::node::serve::Server;
use crate::node::session::SessionConfig;
use crate::primitives::chatter::Chatter;
use crate::primitives::codec::List;
use crate::primitives::hash::Hash;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};
use crate::primitives::time::{Clock, Wall};

/// Lines a minute about strangers who do not get through the handshake, for each reason.
const COMPLAINTS_PER_MINUTE: u32 = 10;

/// What a network needs to know.
#[derive(Debug)]
pub struct P2PConfig {
    /// Bound already, so that a port in use is found out before anything else is touched.
    pub listener: TcpListener,
    /// What sessions share.
    pub session: SessionConfig,
    /// The read side of the chain: what is served, and how far we are.
    pub reader: ReadHandle,
    /// What we say of ourselves.
    pub node: NodeConfig,
    /// Connections from others.
    pub max_inbound: usize,
    /// What one write may take, before what its bytes add;
    /// [`limits::WRITE_MS`](crate::network::limits::WRITE_MS).
    pub write_ms: u64,
    /// The node's clocks.
    pub clock: Clock,
}

/// What a peer's threads have for the owner.
#[derive(Debug)]
pub enum Input {
    /// A handshake is complete; the owner gets its ends of the connection.
    Connected {
        /// An [`Event::Connected`].
        event: Event,
        /// See [`Link`].
        link: Box<Link>,
    },
    /// Something a peer said; it has cost a credit.
    Peer {
        /// Who.
        peer: PeerId,
        /// What.
        event: Event,
        /// Its share of the budget for large frames, given back when it is handled.
        portion: Option<Portion>,
        /// When it was laid into the inbox.
        sent: Instant,
    },
    /// The last of a peer that was `Connected`.
    Closed {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: Reason,
    },
    /// A dial, or the handshake after it, has failed.
    DialFailed {
        /// What was dialled.
        target: Target,
        /// Why.
        reason: Reason,
    },
}

/// The owner's ends of one connection.
#[derive(Debug)]
pub struct Link {
    connection: Arc<Connection>,
    /// `None` once we have hung up: dropping these is what ends both threads.
    open: Option<Open>,
    /// Free again when the link goes, which is after its `Closed`: so the inbox never overflows.
    _place: Place,
}

/// What goes over a connection, and what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came.
    pub read_bytes: u64,
    /// Bytes that went.
    pub written_bytes: u64,
    /// Bytes that wait for its writer, of [`OUTBOX_BYTES`](crate::network::limits::OUTBOX_BYTES).
    pub outbox_bytes: usize,
    /// Events that it may still have in the owner's hands, of [`CREDITS`](crate::network::limits::CREDITS).
    pub credits: usize,
    /// Requests of its that wait for its writer, of [`REQUESTS_MAX`](crate::network::limits::REQUESTS_MAX).
    pub requests: usize,
    /// Questions of ours that its session has not seen yet, of
    /// [`ASKED_MAX`](crate::network::limits::ASKED_MAX).
    pub asked: usize,
}

#[derive(Debug)]
struct Open {
    outbox: Outbox,
    asked: Sender<Asked>,
    credit: Sender<()>,
}

impl Link {
    pub(crate) fn new(
        connection: Arc<Connection>,
        place: Place,
        outbox: Outbox,
        asked: Sender<Asked>,
        credit: Sender<()>,
    ) -> Self {
        Self { connection, open: Some(Open { outbox, asked, credit }), _place: place }
    }

    fn end(&mut self, reason: Reason) {
        // The reason first: whoever wakes because a channel is gone reads it.
        self.connection.end(reason);
        self.open = None;
    }
}

/// What all threads of the network share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) session: SessionConfig,
    pub(crate) server: Server,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    /// For decoding large frames.
    pub(crate) budget: Arc<Budget>,
    /// For reading blocks that are served.
    pub(crate) reading: Arc<Budget>,
    pub(crate) write_ms: u64,
    /// Look-ups of names under way.
    pub(crate) lookups: Arc<AtomicUsize>,
    complaints: Mutex<Chatter<Discriminant<Reason>>>,
    /// About our own file, but as often as strangers ask for what is bad in it.
    unreadable: Mutex<Chatter<()>>,
    inbox: Sender<Input>,
    reader: ReadHandle,
    node: NodeConfig,
}

impl Hub {
    /// What we say of ourselves at this moment.
    pub(crate) fn hello(&self) -> Hello {
        self.node.hello(&self.reader)
    }

    /// Ends every connection and every wait for a budget, and lets nobody in any more.
    fn stop(&self) {
        self.registry.stop();
        self.budget.close();
        self.reading.close();
    }

    /// For the owner; never waits, because the inbox has room for all that places allow.
    pub(crate) fn tell(&self, input: Input) {
        // An owner that has ended hears nothing, and nobody waits for it.
        let _ = self.inbox.send(input);
    }

    /// A line about somebody who never became a peer.
    pub(crate) fn complain(&self, address: SocketAddr, reason: &Reason) {
        match self.complaints.lock().admit(discriminant(reason), self.clock.now().mono) {
            _ if *reason == Reason::Stopping => {}
            Some(0) => log::info!("{address} sent away: {reason}"),
            Some(more) => log::info!("{address} sent away: {reason} (and {more} others for a like reason)"),
            None => {}
        }
    }

    /// A line about what a peer asked for and our own file does not give.
    pub(crate) fn cannot_serve(&self, peer: PeerId, error: &StoreError) {
        match self.unreadable.lock().admit((), self.clock.now().mono) {
            Some(0) => log::warn!("cannot serve {peer}: {error}"),
            Some(more) => log::warn!("cannot serve {peer}: {error} (and {more} lines like it were left out)"),
            None => {}
        }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub struct P2PNode {
    hub: Arc<Hub>,
    listener: TcpListener,
    address: SocketAddr,
    links: BTreeMap<PeerId, Link>,
    /// Dials whose end has not been told.
    dials: usize,
    /// Dials that failed before they began.
    stillborn: VecDeque<Input>,
    /// Whose event is being handled, and its share of the budget.
    handling: Option<(PeerId, Option<Portion>)>,
}

impl P2PNode {
    /// A network that does not run yet. `inbox` must hold
    /// [`inbox_capacity`](crate::network::limits::inbox_capacity).
    pub fn new(config: P2PConfig, inbox: Sender<Input>) -> io::Result<Self> {
        let address = config.listener.local_addr()?;
        let hub = Hub {
            server: Server::new(config.reader.clone()),
            session: config.session,
            clock: config.clock,
            registry: Registry::new(config.max_inbound),
            budget: Budget::new(BULK_BYTES),
            reading: Budget::new(READING_MAX * SERVED_BYTES),
            write_ms: config.write_ms,
            lookups: Arc::default(),
            complaints: Mutex::new(Chatter::new(COMPLAINTS_PER_MINUTE)),
            unreadable: Mutex::new(Chatter::new(COMPLAINTS_PER_MINUTE)),
            inbox,
            reader: config.reader,
            node: config.node,
        };
        Ok(Self {
            hub: Arc::new(hub),
            listener: config.listener,
            address,
            links: BTreeMap::new(),
            dials: 0,
            stillborn: VecDeque::new(),
            handling: None,
        })
    }

    /// Opens the door. What comes back is for whoever stops the node.
    pub fn start(&self) -> io::Result<P2PThreads> {
        let listener = self.listener.try_clone()?;
        // A second name of the same socket, kept only to be dropped: stopping takes a descriptor, and
        // a flood may have taken all others.
        let spare = self.listener.try_clone()?;
        let (hub, heard) = (Arc::clone(&self.hub), Arc::clone(&self.hub));
        let listen = spawn("listen", STACK_SMALL_BYTES, move || listen::run(&heard, &listener))?;
        Ok(P2PThreads { hub, address: self.address, running: Some((spare, listen)) })
    }

    /// Where others can connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an input means for the core. Links are kept from here on.
    pub fn admit(&mut self, input: Input) -> Event {
        match input {
            Input::Connected { event, link } => {
                if let Event::Connected { target: Some(_), .. } = event {
                    self.dials -= 1;
                }
                self.links.insert(link.connection.peer, *link);
                event
            }
            Input::Peer { peer, event, portion, .. } => {
                self.handling = Some((peer, portion));
                event
            }
            Input::Closed { peer, reason } => {
                self.links.remove(&peer);
                self.hub.registry.reap();
                Event::Closed { peer, reason }
            }
            Input::DialFailed { target, reason } => {
                self.dials -= 1;
                self.hub.registry.reap();
                Event::DialFailed { target, reason }
            }
        }
    }

    /// The last admitted event is handled and its effects are performed: its credit goes back.
    pub fn handled(&mut self) {
        if let Some((peer, portion)) = self.handling.take() {
            drop(portion);
            if let Some(open) = self.links.get(&peer).and_then(|link| link.open.as_ref()) {
                // Gone if the reader has ended; its `Closed` is on its way.
                let _ = open.credit.try_send(());
            }
        }
    }

    /// Something that failed at once, here in the owner's thread; to be admitted like the rest.
    pub fn take_stillborn(&mut self) -> Option<Input> {
        self.stillborn.pop_front()
    }

    /// Queues a message; a peer without room for it is hung up on, for a reply is never dropped.
    pub fn send(&mut self, peer: PeerId, message: &Message) {
        log::debug!("to {peer}: {:?}", message.kind());
        self.push(peer, Frame::from(message.to_frame()));
    }

    /// Tells the session what may come, then sends the question.
    pub fn ask(&mut self, peer: PeerId, asked: Asked, message: &Message) {
        let Some(open) = self.links.get(&peer).and_then(|link| link.open.as_ref()) else { return };
        match open.asked.try_send(asked) {
            Ok(()) => self.send(peer, message),
            // The core never has so many questions open; going on would condemn honest answers.
            Err(error) if error.is_full() => self.hang_up(peer, Reason::Bug),
            Err(_) => {}
        }
    }

    /// News of a block for these peers, encoded once; who has no room for it goes without.
    pub fn broadcast_block(&mut self, peers: &[PeerId], block: &NewBlock) {
        let what = format!("{:?} {:.12}", Kind::NewBlock, block.header.id());
        self.broadcast(peers, &Message::NewBlock(Box::new(block.clone())), &what);
    }

    /// News of transactions for these peers, the same way; at most
    /// [`TX_IDS_MAX`](crate::node::message::TX_IDS_MAX) ids.
    pub fn broadcast_tx(&mut self, peers: &[PeerId], ids: Vec<Hash>) {
        let what = format!("{:?}, {} of them", Kind::NewTx, ids.len());
        self.broadcast(peers, &Message::NewTx(List::first_of(ids)), &what);
    }

    fn broadcast(&mut self, peers: &[PeerId], message: &Message, what: &str) {
        let frame = Frame::from(message.to_frame());
        for peer in peers {
            let Some(open) = self.links.get(peer).and_then(|link| link.open.as_ref()) else { continue };
            match open.outbox.push(Arc::clone(&frame)) {
                Ok(()) => log::debug!("to {peer}: {what}"),
                Err(_) => log::debug!("{peer} has no room for {what}"),
            }
        }
    }

    /// Ends a connection: what waits goes out for a moment longer, then a `Bye`. `Closed` follows.
    pub fn hang_up(&mut self, peer: PeerId, reason: Reason) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.end(reason);
        }
    }

    /// Connects to somebody; `Connected` or `DialFailed` follows.
    pub fn dial(&mut self, target: Target) {
        self.dials += 1;
        let started = if self.dials > DIALS_MAX {
            Err(Reason::Broken(format!("{DIALS_MAX} connections are being made already")))
        } else {
            dial::start(&self.hub, target.clone())
        };
        if let Err(reason) = started {
            self.stillborn.push_back(Input::DialFailed { target, reason });
        }
    }

    /// Sends connections from this address away until then; `None`: no longer.
    pub fn refuse(&mut self, ip: IpAddr, until: Option<Wall>) {
        self.hub.registry.refuse(ip, until, self.hub.clock.now().wall);
    }

    /// What goes over a connection and waits for it; `None` once it is gone.
    pub fn traffic(&self, peer: PeerId) -> Option<Traffic> {
        let link = self.links.get(&peer)?;
        let (read_bytes, written_bytes) = link.connection.bytes();
        let open = link.open.as_ref();
        Some(Traffic {
            read_bytes,
            written_bytes,
            outbox_bytes: open.map_or(0, |open| open.outbox.queued_bytes()),
            credits: open.map_or(0, |open| open.credit.len()),
            requests: link.connection.requests.load(Ordering::Relaxed),
            asked: open.map_or(0, |open| open.asked.len()),
        })
    }

    /// Ends everything: every socket, every channel. Waits for nothing; joining is for
    /// [`P2PThreads::stop`].
    pub fn close(mut self) {
        self.hub.stop();
        for link in self.links.values_mut() {
            link.end(Reason::Stopping);
        }
    }

    fn push(&mut self, peer: PeerId, frame: Frame) {
        let Some(open) = self.links.get(&peer).and_then(|link| link.open.as_ref()) else { return };
        if let Err(reason) = open.outbox.push(frame) {
            self.hang_up(peer, reason);
        }
    }
}

/// The network's threads, in the hands of whoever started them; dropping it ends and joins them.
#[derive(Debug)]
pub struct P2PThreads {
    hub: Arc<Hub>,
    address: SocketAddr,
    /// The spare descriptor and the listener's thread, until they are ended.
    running: Option<(TcpListener, JoinHandle<()>)>,
}

impl P2PThreads {
    /// Ends every connection and joins every thread: within the time of a farewell, or of a connect
    /// that is under way. The owner has dropped its links by now.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for P2PThreads {
    fn drop(&mut self) {
        let Some((spare, listen)) = self.running.take() else { return };
        self.hub.stop();
        drop(spare);
        listen::wake(self.address);
        listen.join().expect("the spawn helper catches panics");
        self.hub.registry.join();
    }
}
