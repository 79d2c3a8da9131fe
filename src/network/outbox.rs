//! What waits to be written to one peer: bounded by its bytes, filled by the owner alone.
//!
//! The channel itself has no bound: it would have to keep a slot for every possible message of every
//! idle peer. The bound is the count of bytes, in which each message is charged for its slot too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

use crate::network::limits::{OUTBOX_BYTES, OUTBOX_MESSAGE_BYTES};
use crate::node::reason::Reason;

/// A whole frame; a broadcast's is shared by all who get it.
pub(crate) type Frame = Arc<[u8]>;

/// The owner's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: Sender<Frame>,
    queued_bytes: Arc<AtomicUsize>,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frames: Receiver<Frame>,
    queued_bytes: Arc<AtomicUsize>,
}

/// Both ends of a new outbox.
pub(crate) fn outbox() -> (Outbox, Outgoing) {
    let (sender, receiver) = unbounded();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    (Outbox { frames: sender, queued_bytes: Arc::clone(&queued_bytes) }, Outgoing { frames: receiver, queued_bytes })
}

impl Outbox {
    /// What waits, in bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Acquire)
    }

    /// Queues a frame, or says that it does not fit. Never waits.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), Reason> {
        let cost_bytes = frame.len() + OUTBOX_MESSAGE_BYTES;
        // The owner is the only one who adds, so what fits now still fits when it is added.
        let queued_bytes = self.queued_bytes.load(Ordering::Acquire);
        if queued_bytes + cost_bytes > OUTBOX_BYTES {
            return Err(Reason::OutboxFull { queued_bytes, limit_bytes: OUTBOX_BYTES });
        }
        self.queued_bytes.fetch_add(cost_bytes, Ordering::AcqRel);
        // A writer that has ended has said why, and its `Closed` is on its way.
        self.frames.send(frame).map_err(|_| Reason::Closed)
    }
}

impl Outgoing {
    /// The next frame if one waits; an error when the owner has hung up and nothing is left.
    pub(crate) fn waiting(&self) -> Result<Option<Frame>, TryRecvError> {
        match self.frames.try_recv() {
            Ok(frame) => Ok(Some(frame)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(error @ TryRecvError::Disconnected) => Err(error),
        }
    }

    /// A frame has been written: its bytes are free again.
    pub(crate) fn written(&self, frame: &Frame) {
        self.queued_bytes.fetch_sub(frame.len() + OUTBOX_MESSAGE_BYTES, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an outbox takes what its cap says and not a byte more, and room comes back when frames
    /// are written, not when they are taken out. Method: frames of 1 KiB.
    #[test]
    fn the_cap_is_in_bytes_until_they_are_written() {
        let (outbox, outgoing) = outbox();
        let frame: Frame = Arc::from(vec![0; 1024 - OUTBOX_MESSAGE_BYTES]);
        for _ in 0..OUTBOX_BYTES / 1024 {
            assert_eq!(outbox.push(Arc::clone(&frame)), Ok(()));
        }
        let full = Err(Reason::OutboxFull { queued_bytes: OUTBOX_BYTES, limit_bytes: OUTBOX_BYTES });
        assert_eq!(outbox.push(Arc::clone(&frame)), full);
        let taken = outgoing.waiting().expect("connected").expect("a frame");
        assert_eq!(outbox.push(Arc::clone(&frame)), full);
        outgoing.written(&taken);
        assert_eq!(outbox.push(frame), Ok(()));
    }
}
