//! Bytes in, frames out: a buffer that grows with what came, never with what was promised.
//!
//! The length that a stranger declares is compared with the cap of its kind as soon as the 13 bytes
//! of the header are here. Partial reads stay in the buffer, so a slow sender loses nothing; how long
//! it may take is the [session](super::session)'s business.

use crate::node::message::{Kind, UNKNOWN_BYTES_MAX};
use crate::node::reason::Reason;
use crate::primitives::frame::{FrameHeader, HEADER_BYTES};

/// What the buffer shrinks back to between bursts.
const IDLE_BYTES: usize = 4 << 10;
/// The most that is held, unless the frame at hand is larger: then that frame and nothing else.
pub const READ_AHEAD_BYTES: usize = 256 << 10;

/// The front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Front {
    /// Not even a whole header.
    Nothing,
    /// A header whose payload is still coming.
    Partial(FrameHeader),
    /// A whole frame of a kind that we know.
    Whole(Kind, FrameHeader),
    /// A whole frame of a kind that we do not know: to be skipped.
    Unknown(FrameHeader),
}

/// Received bytes that have not been handled.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    /// Room to read into; tell [`filled`](Self::filled) how much was used.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.bytes.len() - self.end;
        // A buffer that was filled to the brim doubles; what it holds bounds what it takes.
        if room == 0 {
            let doubled = self.bytes.len() + self.bytes.len().clamp(IDLE_BYTES, READ_AHEAD_BYTES);
            let front_bytes = self.front_bytes();
            // Whole frames at the front are whoever's who feeds without handling (a simulator): not bounded here.
            let is_bounded = front_bytes > self.bytes.len();
            let size_bytes = if is_bounded { doubled.min(front_bytes.max(READ_AHEAD_BYTES)) } else { doubled };
            self.bytes.reserve_exact(size_bytes - self.bytes.len());
            self.bytes.resize(size_bytes, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes of the space are now received.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "nobody fills more than there is room for");
    }

    /// Appends received bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// What the frame at the front will take, as far as its header is known.
    fn front_bytes(&self) -> usize {
        let received = &self.bytes[self.start..self.end];
        let header = received.first_chunk().and_then(FrameHeader::from_bytes);
        header.map_or(0, |header| HEADER_BYTES.saturating_add(header.length as usize))
    }

    /// The header of the first frame of a kind that we know, once all of it is here; nothing of its payload has been
    /// looked at. Those before it are skipped when it is read, so they must not hide it.
    pub fn whole(&self) -> Option<FrameHeader> {
        let mut rest = &self.bytes[self.start..self.end];
        loop {
            let header = rest.first_chunk().and_then(FrameHeader::from_bytes)?;
            // Nobody has compared the length with a cap yet.
            rest = rest.get(HEADER_BYTES.saturating_add(header.length as usize)..)?;
            if Kind::from_number(header.kind).is_some() {
                return Some(header);
            }
        }
    }

    /// How much is at hand.
    pub fn held_bytes(&self) -> usize {
        self.end - self.start
    }

    /// What stands at the front; an error ends the connection.
    pub fn front(&self) -> Result<Front, Reason> {
        let received = &self.bytes[self.start..self.end];
        let Some(header) = received.first_chunk::<HEADER_BYTES>() else {
            // A stranger shows itself at the first wrong byte: no need to wait for thirteen.
            let foreign = received.iter().zip(crate::primitives::frame::MAGIC).any(|(&byte, magic)| byte != magic);
            return if foreign { Err(Reason::Foreign) } else { Ok(Front::Nothing) };
        };
        let header = FrameHeader::from_bytes(header).ok_or(Reason::Foreign)?;
        let kind = Kind::from_number(header.kind);
        let limit_bytes = kind.map_or(UNKNOWN_BYTES_MAX, Kind::bytes_max);
        let length = header.length as usize;
        if length > limit_bytes {
            return Err(Reason::FrameTooLong { kind: header.kind, length_bytes: header.length, limit_bytes });
        }
        if received.len() < HEADER_BYTES + length {
            return Ok(Front::Partial(header));
        }
        let Some(kind) = kind else { return Ok(Front::Unknown(header)) };
        if !header.matches(&received[HEADER_BYTES..HEADER_BYTES + length]) {
            return Err(Reason::BadChecksum { kind });
        }
        Ok(Front::Whole(kind, header))
    }

    /// The payload of the whole frame at the front.
    pub fn payload(&self, header: &FrameHeader) -> &[u8] {
        &self.bytes[self.start + HEADER_BYTES..][..header.length as usize]
    }

    /// Drops the whole frame at the front.
    pub fn pass(&mut self, header: &FrameHeader) {
        self.start += HEADER_BYTES + header.length as usize;
        assert!(self.start <= self.end, "only whole frames are passed");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives memory back after a burst; to be called when nothing more is at hand.
    pub fn rest(&mut self) {
        if self.end == 0 && self.bytes.len() > IDLE_BYTES {
            self.bytes = vec![0; IDLE_BYTES];
        }
    }
}
