//! A connection: two streams of bytes, one each way, as TCP makes them of a bad network.
//!
//! Bytes arrive in order or not at all, in pieces that have nothing to do with frames. A stream holds a
//! bounded number of bytes that were sent and not read; whoever wants to send more waits. A lost packet is a
//! pause, since TCP sends it again. A reset lets some of what is on its way arrive, up to the middle of a frame. An
//! end that vanishes (its power failed) lets arrive what it has sent; what is sent to it fills the sender's socket,
//! and nothing is ever said of it.
//!
//! All that a host sends goes through one uplink, one piece after the other; a stream is also no faster than the
//! slower of its two ends. Left out: what TCP itself does about congestion, and that many who send to one host share
//! its way in.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::simulator::chance::Chance;
use crate::simulator::queue::At;

/// Bytes that two sockets and the wire between them hold.
pub(crate) const WINDOW_BYTES: usize = 64 << 10;
/// No wire cuts smaller pieces than this, unless it shreds.
const PACKET_BYTES: usize = 1_500;
/// A packet is sent again after this.
const RESEND_US: u64 = 200_000;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Whoever dialled.
    Caller,
    /// Whoever was dialled.
    Called,
}

impl Side {
    /// The one across.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }
}

/// What the way between two machines is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The way, in microseconds.
    pub latency_us: u64,
    /// What comes on top, on average.
    pub jitter_us: u64,
    /// How much fits through: what the slower end takes.
    pub bytes_per_s: u64,
    /// How much fits through the sender's uplink, which all of its streams share.
    pub uplink_bytes_per_s: u64,
    /// Packets of a thousand that are lost and sent again.
    pub loss_permille: u32,
    /// Whether what is written at once may arrive in several pieces.
    pub shreds: bool,
}

/// Some bytes of a frame; all who get it share it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) frame: Arc<[u8]>,
    pub(crate) range: Range<usize>,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame[self.range.clone()]
    }
}

/// One way.
#[derive(Debug)]
pub(crate) struct Stream {
    wire: Wire,
    /// On their way, and when they arrive.
    flight: VecDeque<(At, Piece)>,
    /// Arrived and not read.
    unread: VecDeque<Piece>,
    held_bytes: usize,
    /// When the slower end has taken all that was put on the wire.
    wire_free_at: At,
    last_arrival: At,
    /// When the reader learns that nothing more comes.
    ends_at: Option<At>,
    /// Nobody is at the other end: what is sent stays in the sender's socket.
    is_silent: bool,
    /// The sender waits for room.
    is_full: bool,
}

impl Stream {
    pub(crate) fn new(wire: Wire) -> Self {
        let (flight, unread) = (VecDeque::new(), VecDeque::new());
        let (wire_free_at, last_arrival) = (At(0), At(0));
        Self {
            wire,
            flight,
            unread,
            held_bytes: 0,
            wire_free_at,
            last_arrival,
            ends_at: None,
            is_silent: false,
            is_full: false,
        }
    }

    /// How much can be sent now; whoever finds none is told when there is some.
    pub(crate) fn room(&mut self) -> usize {
        let room = WINDOW_BYTES.saturating_sub(self.held_bytes);
        self.is_full = room == 0;
        room
    }

    /// Nothing is lost or shredded from now on.
    pub(crate) fn clear_up(&mut self) {
        (self.wire.loss_permille, self.wire.shreds) = (0, false);
    }

    /// Sends, through an uplink that is free at `uplink_free_at`; gives when it arrives, in how many pieces it may be.
    pub(crate) fn send(&mut self, now: At, piece: &Piece, uplink_free_at: &mut At, chance: &mut Chance) -> Vec<At> {
        if self.ends_at.is_some() {
            return Vec::new();
        }
        self.held_bytes += piece.range.len();
        if self.is_silent {
            return Vec::new();
        }
        let mut arrivals = Vec::with_capacity(1);
        let Range { start, end } = piece.range;
        let mut from = start;
        while from < end {
            // As much as comes in half a second: on a slow wire the front of a long answer is there before its end.
            let most = usize::try_from(self.wire.bytes_per_s / 2).unwrap_or(usize::MAX).max(PACKET_BYTES);
            let whole = end.min(from.saturating_add(most));
            let cut = self.wire.shreds && whole - from > 1 && chance.permille(200);
            let to = if cut { from + 1 + chance.below(whole - from - 1) } else { whole };
            let at = self.arrival(now, to - from, uplink_free_at, chance);
            self.flight.push_back((at, Piece { frame: Arc::clone(&piece.frame), range: from..to }));
            arrivals.push(at);
            from = to;
        }
        arrivals
    }

    fn arrival(&mut self, now: At, bytes: usize, uplink_free_at: &mut At, chance: &mut Chance) -> At {
        let takes_us = |bytes_per_s: u64| bytes as u64 * 1_000_000 / bytes_per_s.max(1);
        *uplink_free_at = (*uplink_free_at).max(now).after_us(takes_us(self.wire.uplink_bytes_per_s));
        let taken_at = self.wire_free_at.max(now).after_us(takes_us(self.wire.bytes_per_s));
        self.wire_free_at = taken_at.max(*uplink_free_at);
        let mut way_us = self.wire.latency_us;
        if self.wire.jitter_us > 0 {
            way_us += chance.exponential(self.wire.jitter_us);
        }
        let mut resend_us = RESEND_US;
        // What is sent again can be lost again; each time TCP waits twice as long.
        let loss_permille = self.wire.loss_permille;
        let mut packets = if loss_permille == 0 { 0 } else { bytes.div_ceil(PACKET_BYTES) };
        while resend_us < 1 << 24 && (0..packets).any(|_| chance.permille(loss_permille)) {
            (way_us, resend_us, packets) = (way_us + resend_us, resend_us * 2, 1);
        }
        // In order: what was delayed delays what follows.
        self.last_arrival = self.last_arrival.max(self.wire_free_at.after_us(way_us));
        self.last_arrival
    }

    /// What has arrived by now can be read.
    pub(crate) fn arrive(&mut self, now: At) {
        while self.flight.front().is_some_and(|(at, _)| *at <= now) {
            self.unread.extend(self.flight.pop_front().map(|(_, piece)| piece));
        }
    }

    /// The next bytes that can be read; and whether the sender, who waited for room, has some again.
    pub(crate) fn read(&mut self) -> Option<(Piece, bool)> {
        let piece = self.unread.pop_front()?;
        self.held_bytes -= piece.range.len();
        Some((piece, std::mem::take(&mut self.is_full)))
    }

    /// Whether everything was read that will ever come.
    pub(crate) fn has_ended(&self, now: At) -> bool {
        self.unread.is_empty() && self.flight.is_empty() && self.ends_at.is_some_and(|at| at <= now)
    }

    /// Nothing follows what was sent; gives when the reader learns it.
    pub(crate) fn finish(&mut self, now: At) -> Option<At> {
        if self.ends_at.is_some() || self.is_silent {
            return None;
        }
        let at = self.last_arrival.max(now.after_us(self.wire.latency_us));
        self.ends_at = Some(at);
        Some(at)
    }

    /// The reader has gone: nothing that is on its way will be read, and nothing keeps the sender waiting.
    pub(crate) fn abandon(&mut self) {
        self.unread.clear();
        self.flight.clear();
        self.held_bytes = 0;
        self.ends_at = self.ends_at.or(Some(At(0)));
    }

    /// A reset: some of what is on its way arrives, up to anywhere, and then the end.
    pub(crate) fn cut(&mut self, now: At, chance: &mut Chance) -> At {
        self.flight.truncate(chance.below(self.flight.len() + 1));
        if let Some((_, last)) = self.flight.back_mut() {
            last.range.end -= chance.below(last.range.len());
        }
        self.last_arrival = self.flight.back().map_or(now, |(at, _)| *at);
        let at = self.last_arrival.max(now.after_us(self.wire.latency_us));
        self.ends_at = Some(at);
        at
    }

    /// The reader's power failed: from now on there is no answer, not even a refusal.
    pub(crate) fn silence(&mut self) {
        self.unread.clear();
        self.flight.clear();
        self.is_silent = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(shreds: bool) -> Wire {
        let (bytes_per_s, uplink_bytes_per_s) = (1_000_000, 2_000_000);
        Wire { latency_us: 10_000, jitter_us: 5_000, bytes_per_s, uplink_bytes_per_s, loss_permille: 100, shreds }
    }

    fn piece(bytes: &[u8]) -> Piece {
        Piece { frame: Arc::from(bytes), range: 0..bytes.len() }
    }

    /// Goal: whatever the network does, bytes come in order and none is lost or doubled.
    /// Method: 500 writes over a wire that jitters, loses and shreds.
    #[test]
    fn bytes_come_in_order() {
        let (mut stream, mut chance) = (Stream::new(wire(true)), Chance::new(3, "test", 0));
        let (mut sent, mut read, mut now, mut free_at) = (Vec::new(), Vec::new(), At(0), At(0));
        for n in 0..500_u32 {
            let bytes = n.to_le_bytes().repeat(1 + chance.below(20));
            sent.extend_from_slice(&bytes);
            let arrivals = stream.send(now, &piece(&bytes), &mut free_at, &mut chance);
            assert!(!arrivals.is_empty() && arrivals.is_sorted());
            now = now.after_us(chance.between(0, 20_000));
            stream.arrive(now);
            while let Some((piece, _)) = stream.read() {
                read.extend_from_slice(piece.bytes());
            }
        }
        let end = stream.finish(now).expect("open");
        stream.arrive(end);
        while let Some((piece, _)) = stream.read() {
            read.extend_from_slice(piece.bytes());
        }
        assert!(stream.has_ended(end) && read == sent);
    }

    /// Goal: all that a host sends shares one uplink. Method: a second's bytes on each of three streams, at once.
    #[test]
    fn streams_of_one_host_share_its_uplink() {
        let wire = Wire { latency_us: 0, jitter_us: 0, loss_permille: 0, ..wire(false) };
        let wire = Wire { bytes_per_s: 10_000, uplink_bytes_per_s: 10_000, ..wire };
        let (mut free_at, mut chance) = (At(0), Chance::new(5, "test", 0));
        let mut arrives = || Stream::new(wire).send(At(0), &piece(&[7; 10_000]), &mut free_at, &mut chance);
        let last: Vec<Option<At>> = (0..3).map(|_| arrives().last().copied()).collect();
        assert_eq!(last, [1, 2, 3].map(|second| Some(At(second * 1_000_000))));
    }

    /// Goal: a reset leaves a prefix, and a sender who is not read from waits.
    #[test]
    fn a_reset_leaves_a_prefix_and_a_window_is_bounded() {
        let (mut stream, mut chance) = (Stream::new(wire(false)), Chance::new(4, "test", 0));
        let bytes: Vec<u8> = (0..=255).collect();
        let mut sent = 0;
        while stream.room() > 0 {
            let count = stream.room().min(bytes.len());
            let part = Piece { frame: Arc::from(bytes.as_slice()), range: 0..count };
            stream.send(At(0), &part, &mut At(0), &mut chance);
            sent += count;
        }
        assert_eq!(sent, WINDOW_BYTES);
        let end = stream.cut(At(0), &mut chance);
        stream.arrive(end);
        let (mut read, mut woken) = (Vec::new(), false);
        while let Some((piece, wakes)) = stream.read() {
            woken |= wakes;
            read.extend_from_slice(piece.bytes());
        }
        assert!(woken && read.len() < sent && stream.has_ended(end));
        assert!(read.iter().zip(bytes.iter().cycle()).all(|(a, b)| a == b));
    }
}
