//! `peer-N-write`: one peer's outbox to its socket, and blocks from the file to its socket.
//!
//! It reads the chain through the read handle and never meets the owner. While it streams a long run
//! of blocks it sends waiting messages in between, so a peer that syncs from us still gets its pongs.
//! Each write has a deadline: a peer that does not read costs its outbox, one chunk of blocks, and its
//! place for that long. A block larger than a chunk is read whole, since only so can it be vouched for,
//! but never held while its peer is waited for: piece by piece leaves, and between two of them it is
//! read again (it lies in the page cache). So 40 peers that do not read hold 40 chunks, not 40 blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select_biased};

use crate::blockchain::block;
use crate::blockchain::storage::StoreError;
use crate::network::budget::Portion;
use crate::network::connection::{Connection, write_limit_ms};
use crate::network::limits::SERVED_BYTES;
use crate::network::outbox::{Frame, Outgoing};
use crate::network::p2p::Hub;
use crate::node::message::{Kind, Message};
use crate::node::reason::Reason;
use crate::node::serve::{CHUNK_BYTES, Request, Run, Server};
use crate::primitives::frame::HEADER_BYTES;
use crate::primitives::hash::Hash;
use crate::primitives::thread::caught;

/// Everything that the thread owns.
pub(crate) struct Writer {
    pub(crate) hub: Arc<Hub>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) outgoing: Outgoing,
    pub(crate) requests: Receiver<Request>,
}

/// Whole frames, read and verified, and the right to hold as many bytes as a block may have.
struct Frames {
    bytes: Vec<u8>,
    portion: Portion,
}

/// Whether there is more to do.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    /// The owner has hung up and everything is sent, or the reader has ended.
    End,
}

impl Writer {
    /// Writes until the owner drops the outbox or the reader its requests; then says goodbye.
    pub(crate) fn run(self) -> Reason {
        let peer = self.connection.peer;
        let outcome = caught(|| self.write()).unwrap_or_else(|panic| {
            log::error!("{peer} failed, which is a bug in spindle: {panic}");
            Err(Reason::Bug)
        });
        if let Err(reason) = outcome {
            self.connection.end(reason);
        }
        let reason = self.connection.reason();
        self.connection.farewell(&reason);
        reason
    }

    fn write(&self) -> Result<(), Reason> {
        loop {
            let then = select_biased! {
                recv(self.outgoing.frames) -> frame => match frame {
                    Ok(frame) => self.send(&frame)?,
                    Err(_) => Then::End,
                },
                recv(self.requests) -> request => match request {
                    Ok(request) => {
                        self.connection.requests.fetch_sub(1, Ordering::Relaxed);
                        self.answer(request)?
                    }
                    Err(_) => Then::End,
                },
            };
            if then == Then::End {
                return Ok(());
            }
        }
    }

    fn send(&self, frame: &Frame) -> Result<Then, Reason> {
        self.put(frame)?;
        self.outgoing.written(frame);
        Ok(Then::GoOn)
    }

    fn answer(&self, request: Request) -> Result<Then, Reason> {
        match request {
            Request::Headers { locator } => self.put_read(Kind::Headers, |server| server.headers(&locator)),
            Request::BlockTxs { block, places } => {
                self.put_read(Kind::BlockTxs, |server| server.transfers(block, &places))
            }
            Request::Blocks { last, count } => self.stream(last, count),
        }
    }

    /// One frame that has to be read first.
    fn put_read(&self, kind: Kind, read: impl FnOnce(&Server) -> Result<Vec<u8>, StoreError>) -> Result<Then, Reason> {
        let portion = self.hub.reading.take(SERVED_BYTES).ok_or(Reason::Stopping)?;
        let frame = read(&self.hub.server).map_err(|error| self.unreadable(&error))?;
        drop(portion);
        log::debug!("to {}: {kind:?}, {} bytes", self.connection.peer, frame.len());
        self.put(&frame).map(|()| Then::GoOn)
    }

    /// A run of blocks, chunk by chunk, waiting messages in between.
    fn stream(&self, last: Hash, count: u16) -> Result<Then, Reason> {
        let mut run = match self.hub.server.run(last, count) {
            Ok(Some(run)) => run,
            Ok(None) => return self.missing(last),
            Err(error) => {
                self.unreadable(&error);
                return self.missing(last);
            }
        };
        let mut is_first = true;
        loop {
            let more = match self.next_frames(&mut run) {
                Ok(Some(chunk)) => self.put_frames(chunk).map(|()| true)?,
                Ok(None) => false,
                // Nothing has left yet: somebody else may have the run whole.
                Err(_) if is_first => return self.missing(last),
                Err(reason) => return Err(reason),
            };
            is_first = false;
            if !more {
                return Ok(Then::GoOn);
            }
            while let Some(frame) = match self.outgoing.waiting() {
                Ok(frame) => frame,
                Err(_) => return Ok(Then::End),
            } {
                self.send(&frame)?;
            }
            if self.connection.is_ending() {
                return Ok(Then::GoOn);
            }
        }
    }

    /// The next frames of a run; `None` when it is complete.
    fn next_frames(&self, run: &mut Run) -> Result<Option<Frames>, Reason> {
        // Before it is read nobody knows how large it is.
        let portion = self.hub.reading.take(SERVED_BYTES).ok_or(Reason::Stopping)?;
        let mut bytes = Vec::new();
        match self.hub.server.fill(run, &mut bytes) {
            Ok(true) => Ok(Some(Frames { bytes, portion })),
            Ok(false) => Ok(None),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Writes them, holding no more than a chunk while the peer is waited for.
    fn put_frames(&self, frames: Frames) -> Result<(), Reason> {
        let Frames { mut bytes, mut portion } = frames;
        let total_bytes = bytes.len();
        log::debug!("to {}: {:?}, {total_bytes} bytes of them", self.connection.peer, Kind::Blocks);
        if total_bytes <= CHUNK_BYTES {
            drop(portion);
            return self.put(&bytes);
        }
        // More than a chunk is one block, and its id leads back to it.
        let header = bytes.get(HEADER_BYTES..).and_then(|body| body.first_chunk::<{ block::HEADER_BYTES }>());
        let id = Hash::sha256d(header.ok_or(Reason::Bug)?);
        let until = Instant::now() + Duration::from_millis(write_limit_ms(self.hub.write_ms, total_bytes));
        let mut at = 0;
        loop {
            let end = total_bytes.min(at + CHUNK_BYTES);
            let piece = bytes.get(at..end).ok_or(Reason::Bug)?.to_vec();
            drop((bytes, portion));
            self.connection.write_until(&piece, until, write_limit_ms(self.hub.write_ms, total_bytes))?;
            at = end;
            if at == total_bytes {
                return Ok(());
            }
            Frames { bytes, portion } = self.read_again(id)?;
        }
    }

    fn read_again(&self, id: Hash) -> Result<Frames, Reason> {
        let run = self.hub.server.run(id, 1).map_err(|error| self.unreadable(&error))?;
        self.next_frames(&mut run.ok_or(Reason::Bug)?)?.ok_or(Reason::Bug)
    }

    fn missing(&self, last: Hash) -> Result<Then, Reason> {
        log::debug!("to {}: {:?} {last:.12}", self.connection.peer, Kind::Missing);
        self.put(&Message::Missing(last).to_frame()).map(|()| Then::GoOn)
    }

    /// Our own file fails us: a person should know, and the peer should not get what nobody vouches for.
    fn unreadable(&self, error: &StoreError) -> Reason {
        self.hub.cannot_serve(self.connection.peer, error);
        Reason::Broken("what it asked for cannot be read here".into())
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Reason> {
        self.connection.write_all(bytes, self.hub.write_ms)
    }
}
