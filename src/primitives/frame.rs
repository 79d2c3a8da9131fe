//! The frame: what every message travels in and every stored block rests in.
//!
//! `magic 4 | kind u8 | length u32 | checksum u32 | payload`, little-endian; the checksum is CRC-32C
//! of the payload. A block's frame is the same 13 + n bytes on the wire and in the block file, so a
//! server copies and never re-encodes, and the file is the recorded answer to "send me everything".

/// One constant for the protocol: the network is told apart in `Hello`, so that a stranger can be
/// told "other network" instead of nothing.
pub const MAGIC: [u8; 4] = *b"spn\x01";
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 13;
/// The kind of the block file's first frame; it never travels.
pub const KIND_FILE: u8 = 0;
/// The kind of a frame that holds one block.
pub const KIND_BLOCK: u8 = 1;

/// The 13 bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the payload is.
    pub kind: u8,
    /// Its length in bytes.
    pub length: u32,
    /// Its CRC-32C.
    pub checksum: u32,
}

impl FrameHeader {
    /// The header for a payload.
    pub fn of(kind: u8, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("every kind has a cap far below 4 GiB");
        Self { kind, length, checksum: crc32c::crc32c(payload) }
    }

    /// The bytes that precede the payload.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind;
        bytes[5..9].copy_from_slice(&self.length.to_le_bytes());
        bytes[9..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if the magic is not ours.
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let [m0, m1, m2, m3, kind, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        ([m0, m1, m2, m3] == MAGIC).then_some(Self {
            kind,
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }

    /// Whether this payload is the one that was framed.
    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32c::crc32c(payload) == self.checksum
    }
}

/// Appends a whole frame.
pub fn frame_into(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&FrameHeader::of(kind, payload).to_bytes());
    out.extend_from_slice(payload);
}
