//! `peer-N-write`: one peer's outbox to its socket, and blocks from the file to its socket.
//!
//! It reads the chain through the read handle and never meets the owner. While it streams a long run
//! of blocks it sends waiting messages in between, so a peer that syncs from us still gets its pongs.
//! Each write has a deadline: a peer that does not read costs its outbox, one chunk of blocks, and its
//! place for that long.

use std::sync::Arc;

use crossbeam_channel::{Receiver, select_biased};

use crate::blockchain::storage::StoreError;
use crate::network::connection::Connection;
use crate::network::outbox::{Frame, Outgoing};
use crate::network::p2p::Hub;
use crate::node::message::Message;
use crate::node::reason::Reason;
use crate::node::serve::Request;
use crate::primitives::hash::Hash;
use crate::primitives::thread::caught;

/// Everything that the thread owns.
pub(crate) struct Writer {
    pub(crate) hub: Arc<Hub>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) outgoing: Outgoing,
    pub(crate) requests: Receiver<Request>,
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
                    Ok(request) => self.answer(request)?,
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
            Request::Headers { locator } => match self.hub.server.headers(&locator) {
                Ok(frame) => self.put(&frame).map(|()| Then::GoOn),
                Err(error) => Err(self.unreadable(&error)),
            },
            Request::Blocks { last, count } => self.stream(last, count),
        }
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
        let mut chunk = Vec::new();
        let mut is_first = true;
        loop {
            chunk.clear();
            let more = match self.hub.server.fill(&mut run, &mut chunk) {
                Ok(more) => more,
                Err(error) => {
                    let reason = self.unreadable(&error);
                    // Nothing has left yet: somebody else may have the run whole.
                    return if is_first { self.missing(last) } else { Err(reason) };
                }
            };
            self.put(&chunk)?;
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

    fn missing(&self, last: Hash) -> Result<Then, Reason> {
        self.put(&Message::Missing(last).to_frame()).map(|()| Then::GoOn)
    }

    /// Our own file fails us: a person should know, and the peer should not get what nobody vouches for.
    fn unreadable(&self, error: &StoreError) -> Reason {
        log::warn!("cannot serve {}: {error}", self.connection.peer);
        Reason::Broken("what it asked for cannot be read here".into())
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Reason> {
        self.connection.write_all(bytes, self.hub.write_ms)
    }
}
