//! What the server has done so far, for `/metrics`. Plain sums; nothing decides by them.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::rpc::http::message::Status;

/// Made by whoever starts the server, who can show them while it runs.
#[derive(Debug)]
pub struct Counters {
    responses: [AtomicU64; Status::ALL.len()],
    connections: AtomicU64,
    visitors: AtomicU64,
    refused_busy: AtomicU64,
    handling_ns: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            responses: array::from_fn(|_| AtomicU64::new(0)),
            connections: AtomicU64::new(0),
            visitors: AtomicU64::new(0),
            refused_busy: AtomicU64::new(0),
            handling_ns: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Answers of each status since the start, those without any left out.
    pub fn responses(&self) -> impl Iterator<Item = (Status, u64)> {
        let counts = Status::ALL.into_iter().zip(&self.responses);
        counts.map(|(status, count)| (status, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Of these, those that no thread has taken yet.
    pub fn visitors(&self) -> u64 {
        self.visitors.load(Ordering::Relaxed)
    }

    /// Connections that were sent away because all places were taken.
    pub fn refused_busy(&self) -> u64 {
        self.refused_busy.load(Ordering::Relaxed)
    }

    /// Time that handlers have taken, all threads together.
    pub fn handling(&self) -> Duration {
        Duration::from_nanos(self.handling_ns.load(Ordering::Relaxed))
    }

    pub(super) fn responded(&self, status: Status) {
        let place = Status::ALL.iter().position(|known| *known == status);
        self.responses[place.expect("all are listed")].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn busy(&self) {
        self.refused_busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn handled(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.handling_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn now_visiting(&self, visitors: usize) {
        self.visitors.store(visitors as u64, Ordering::Relaxed);
    }

    pub(super) fn now_open(&self, connections: usize) {
        self.connections.store(connections as u64, Ordering::Relaxed);
    }
}
