//! The frame reader: whatever comes, in whatever pieces, it sees what stands in the stream, and no more
//! memory is taken than bytes have come.
//!
//! The input says in which pieces the stream arrives, then of what it is made: whole frames, frames whose
//! header lies, raw bytes, long frames of one byte. Beside the reader runs a model that has all of it.

use spindle::node::frame::{FrameBuffer, Front};
use spindle::node::message::{Kind, UNKNOWN_BYTES_MAX};
use spindle::node::reason::Reason;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES, MAGIC, frame_into};

use super::bytes::Bytes;

/// What the reader keeps between bursts.
const IDLE_BYTES: usize = 4 << 10;
/// Longer streams show nothing new.
const STREAM_BYTES_MAX: usize = 512 << 10;

/// Frames by number and payload, and what ended the connection.
type Seen = (Vec<(u8, Vec<u8>)>, Option<Reason>);

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let pieces: Vec<usize> = (0..input.byte() % 8).map(|_| usize::from(input.u16())).collect();
    let stream = stream(&mut input);
    assert_eq!(read(&stream, &pieces), model(&stream));
}

/// What arrives.
pub(crate) fn stream(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < STREAM_BYTES_MAX {
        match input.byte() % 8 {
            0..=2 => {
                let kind = input.byte() % 26;
                let length = usize::from(input.byte());
                frame_into(kind, input.take(length), &mut stream);
            }
            3 => {
                let (kind, length) = (input.byte() % 26, usize::from(input.u16()));
                frame_into(kind, input.take(length), &mut stream);
            }
            4 => {
                let header = FrameHeader { kind: input.byte(), length: input.u32(), checksum: input.u32() };
                stream.extend_from_slice(&header.to_bytes());
            }
            5 => {
                let length = usize::from(input.byte());
                stream.extend_from_slice(input.take(length));
            }
            6 => {
                let (kind, fill, length) = (input.byte() % 26, input.byte(), usize::from(input.u16()) * 5);
                frame_into(kind, &vec![fill; length], &mut stream);
            }
            _ => {
                let mask = input.byte();
                if let Some(last) = stream.last_mut() {
                    *last ^= mask;
                }
            }
        }
    }
    stream
}

/// The stream through the reader, in pieces of these sizes, over and over; in one piece if there are none.
fn read(stream: &[u8], pieces: &[usize]) -> Seen {
    let (mut buffer, mut seen) = (FrameBuffer::default(), Vec::new());
    let (mut rest, mut most_bytes) = (stream, 0);
    let mut sizes = pieces.iter().cycle();
    loop {
        let piece = sizes.next().map_or(rest.len(), |&size| size.max(1)).min(rest.len());
        let mut arriving = &rest[..piece];
        while !arriving.is_empty() {
            let space = buffer.space();
            assert!(!space.is_empty(), "there is always room for more");
            let count = space.len().min(arriving.len());
            space[..count].copy_from_slice(&arriving[..count]);
            buffer.filled(count);
            arriving = &arriving[count..];
            most_bytes = most_bytes.max(buffer.held_bytes());
            if let Err(reason) = handle(&mut buffer, &mut seen) {
                return (seen, Some(reason));
            }
            let room = buffer.space().len();
            let grown = buffer.held_bytes() + room;
            assert!(grown <= IDLE_BYTES.max(2 * most_bytes), "{grown} bytes for {most_bytes} that came");
        }
        rest = &rest[piece..];
        if rest.is_empty() {
            return (seen, None);
        }
    }
}

/// Takes what is whole out of the buffer.
fn handle(buffer: &mut FrameBuffer, seen: &mut Vec<(u8, Vec<u8>)>) -> Result<(), Reason> {
    loop {
        let whole = buffer.whole();
        match buffer.front()? {
            Front::Nothing => {
                assert!(buffer.held_bytes() < HEADER_BYTES && whole.is_none());
                buffer.rest();
                return Ok(());
            }
            Front::Partial(header) => {
                assert!(buffer.held_bytes() < HEADER_BYTES + header.length as usize && whole.is_none());
                return Ok(());
            }
            Front::Whole(kind, header) => {
                assert_eq!((header.kind, whole), (kind as u8, Some(header)));
                seen.push((header.kind, buffer.payload(&header).to_vec()));
                buffer.pass(&header);
            }
            Front::Unknown(header) => {
                assert!(Kind::from_number(header.kind).is_none() && whole != Some(header), "it hides nothing");
                seen.push((header.kind, buffer.payload(&header).to_vec()));
                buffer.pass(&header);
            }
        }
    }
}

/// What stands in a stream that is here as a whole.
fn model(mut rest: &[u8]) -> Seen {
    let mut seen = Vec::new();
    loop {
        if !rest.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic) {
            return (seen, Some(Reason::Foreign));
        }
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return (seen, None) };
        let (kind, length) = (header[4], u32::from_le_bytes([header[5], header[6], header[7], header[8]]));
        let known = Kind::from_number(kind);
        let limit_bytes = known.map_or(UNKNOWN_BYTES_MAX, Kind::bytes_max);
        if length as usize > limit_bytes {
            return (seen, Some(Reason::FrameTooLong { kind, length_bytes: length, limit_bytes }));
        }
        let Some(payload) = rest[HEADER_BYTES..].get(..length as usize) else { return (seen, None) };
        if let Some(kind) = known
            && crc32c::crc32c(payload).to_le_bytes() != header[9..]
        {
            return (seen, Some(Reason::BadChecksum { kind }));
        }
        seen.push((kind, payload.to_vec()));
        rest = &rest[HEADER_BYTES + payload.len()..];
    }
}
