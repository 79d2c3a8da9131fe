//! One turn of the core: what every part of it may use while an event is handled.

use std::net::IpAddr;

use crate::blockchain::chain::Chain;
use crate::blockchain::mempool::Mempool;
use crate::node::event::{Asked, Effect, PeerId};
use crate::node::message::Message;
use crate::node::peers::{Peer, Peers, Scope, scope, whole};
use crate::node::reason::Reason;
use crate::node::report::{Level, Report};
use crate::primitives::time::{Now, Wall};

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
    /// Peers that went in this turn, and why.
    pub lost: &'a mut Vec<(Peer, Reason)>,
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

    /// Lets nobody in from an address until then, and ends what there is; an error says why not.
    pub fn ban(&mut self, ip: IpAddr, until: Wall) -> Result<(), String> {
        if scope(ip) == Scope::Loopback {
            return Err(format!("{ip} is this machine, which is never banned"));
        }
        if until <= self.now.wall {
            return Err("a ban that is over already bans nobody".into());
        }
        self.peers.ban_until(ip, until, "this node's operator wants it so".into());
        self.out.push(Effect::Refuse { ip: whole(ip), until: Some(until) });
        let there: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| whole(peer.address.ip()) == whole(ip)).map(|(id, _)| id).collect();
        for peer in there {
            self.hang_up(peer, Reason::Ordered);
        }
        Ok(())
    }

    /// Lets an address in again; an error if it was not banned.
    pub fn unban(&mut self, ip: IpAddr) -> Result<(), String> {
        if !self.peers.unban(ip) {
            return Err(format!("{ip} is not banned; `spindle bans` lists who is"));
        }
        self.out.push(Effect::Refuse { ip: whole(ip), until: None });
        Ok(())
    }

    /// A connection has ended: by us, by them, or by itself.
    pub fn gone(&mut self, peer: PeerId, reason: Reason) {
        let Some(gone) = self.peers.remove(peer) else { return };
        if reason.is_fault()
            && let Some(until) = self.peers.ban(self.now.wall, gone.address.ip(), reason.to_string())
        {
            self.out.push(Effect::Refuse { ip: gone.address.ip(), until: Some(until) });
        }
        let (address, peers) = (gone.address, self.peers.len());
        self.tell(Report::Disconnected { peer, address, reason: reason.clone(), peers });
        self.lost.push((gone, reason));
    }
}
