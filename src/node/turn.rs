//! One turn of the core: what every part of it may use while an event is handled.

use crate::blockchain::chain::Chain;
use crate::blockchain::mempool::Mempool;
use crate::node::event::{Asked, Effect, PeerId};
use crate::node::message::Message;
use crate::node::peers::{Peer, Peers};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::primitives::time::Now;

/// What a turn works on, and the effects that it collects.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The instant at which it happens.
    pub now: Now,
    /// Blocks and ledger.
    pub chain: &'a mut Chain,
    /// What waits for a block.
    pub pool: &'a mut Mempool,
    /// Who is connected.
    pub peers: &'a mut Peers,
    /// What shall be done.
    pub out: &'a mut Vec<Effect>,
    /// Peers that went in this turn.
    pub lost: &'a mut Vec<Peer>,
}

impl Turn<'_> {
    /// Sends a reply or a notice.
    pub fn send(&mut self, peer: PeerId, message: Message) {
        self.out.push(Effect::Send { peer, message });
    }

    /// Asks, so that the answer is expected.
    pub fn ask(&mut self, peer: PeerId, asked: Asked, message: Message) {
        self.out.push(Effect::Ask { peer, asked, message });
    }

    /// Tells people.
    pub fn tell(&mut self, report: Report) {
        self.out.push(Effect::Tell(report));
    }

    /// Tells people something that has no form of its own.
    pub fn note(&mut self, level: Level, text: String) {
        self.tell(Report::Note { level, text });
    }

    /// Ends a connection, once: whoever has overstepped two limits is cut for the first. The peer is forgotten at
    /// once: what it still has on its way is not heard.
    pub fn hang_up(&mut self, peer: PeerId, reason: Reason) {
        if self.peers.get(peer).is_none() {
            return;
        }
        self.out.push(Effect::HangUp { peer, reason: reason.clone() });
        self.gone(peer, reason);
    }

    /// A connection has ended: by us, by them, or by itself.
    pub fn gone(&mut self, peer: PeerId, reason: Reason) {
        let Some(gone) = self.peers.remove(peer) else { return };
        if reason.is_fault()
            && let Some(until) = self.peers.ban(self.now.wall, gone.address.ip())
        {
            self.out.push(Effect::Refuse { ip: gone.address.ip(), until: Some(until) });
        }
        let level = if gone.is_program() && !reason.is_fault() { Level::Debug } else { Level::Info };
        self.tell(Report::Disconnected { peer, address: gone.address, reason, peers: self.peers.len(), level });
        self.lost.push(gone);
    }
}
