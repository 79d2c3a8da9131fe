//! A peer at the other end of a socket, which says and reads what a story wants.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use spindle::node::message::{Hello, Kind, Message};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};

use crate::model::net::at;
use crate::owner::{PORT, params};
use crate::primitives::codec::List;

/// A peer that has shaken hands, or not yet.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    /// A connection without a word.
    pub(crate) fn connect() -> io::Result<Self> {
        TcpStream::connect(at(PORT)).map(Self)
    }

    /// One that has shaken hands.
    pub(crate) fn greet(nonce: u64) -> io::Result<Self> {
        let mut peer = Self::connect()?;
        peer.say(&Message::Hello(hello(nonce)))?;
        match peer.hear()? {
            Some((Kind::HelloAck, _)) => Ok(peer),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// One that somebody else has connected to, and who greets.
    pub(crate) fn welcome(stream: TcpStream, nonce: u64) -> io::Result<Self> {
        let mut peer = Self(stream);
        peer.hear()?;
        peer.say(&Message::HelloAck(hello(nonce)))?;
        Ok(peer)
    }

    pub(crate) fn say(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(&message.to_frame())
    }

    /// The next frame; none at the end.
    pub(crate) fn hear(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        let mut header = [0; HEADER_BYTES];
        if self.0.read(&mut header[..1])? == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut header[1..])?;
        let header = FrameHeader::from_bytes(&header).expect("ours");
        let mut payload = vec![0; header.length as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Some((Kind::from_number(header.kind).expect("ours"), payload)))
    }

    /// All that comes until the other side ends.
    pub(crate) fn hear_all(&mut self) -> Vec<(Kind, Vec<u8>)> {
        let mut all = Vec::new();
        while let Ok(Some(frame)) = self.hear() {
            all.push(frame);
        }
        all
    }
}

pub(crate) fn hello(nonce: u64) -> Hello {
    Hello {
        protocol_least: 1,
        protocol_greatest: 1,
        genesis: params().genesis_id(),
        nonce,
        agent: List::first_of(b"story".to_vec()),
        listen_port: 0,
        height: 0,
        work: 0,
        activations: List::default(),
    }
}
