//! What happened, as one number: two runs of a seed must give the same.
//!
//! Every happening goes in, every byte that was sent, every report of a node, and every change of a disk. On request there is a line for each as well, for a
//! person who follows a failure or compares two runs.

use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::io::Write;

use siphasher::sip::SipHasher13;

use crate::blockchain::memory_disk::MemoryDisk;
use crate::node::report::Report;
use crate::simulator::net::{Happening, Host};
use crate::simulator::queue::At;

/// The number so far, and where lines go.
pub(crate) struct Trace {
    hash: SipHasher13,
    happenings: u64,
    lines: Option<Box<dyn Write>>,
    /// The first line that could not be written ends the lines; whoever asked for them is told.
    failure: Option<std::io::Error>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} happenings)", self.happenings)
    }
}

impl Trace {
    pub(crate) fn new(lines: Option<Box<dyn Write>>) -> Self {
        Self { hash: SipHasher13::new(), happenings: 0, lines, failure: None }
    }

    /// Something happens.
    pub(crate) fn happening(&mut self, at: At, what: &Happening) {
        self.happenings += 1;
        self.hash.write_u64(at.0);
        self.hash.write_u64(number_of(what));
        if self.lines.is_some() && !matches!(what, Happening::Tick(..) | Happening::Turn(..)) {
            self.line(at, &format!("{what:?}"));
        }
    }

    /// Somebody sends these.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // The front of a frame has its checksum; a crc of the rest is as good as the rest.
        self.hash.write_u32(crc32c::crc32c(bytes));
    }

    /// A node says something to people, all of it.
    pub(crate) fn report(&mut self, host: Host, report: &Report) {
        self.hash.write_usize(host);
        write!(Hashed(&mut self.hash), "{report:?}").expect("a hash takes every text");
    }

    /// What was ever done to a disk.
    pub(crate) fn disk(&mut self, host: Host, disk: &MemoryDisk) {
        self.hash.write_usize(host);
        self.hash.write_u32(disk.history());
    }

    /// A line for people.
    pub(crate) fn line(&mut self, at: At, text: &str) {
        if let Some(lines) = &mut self.lines
            && let Err(error) = writeln!(lines, "{at} {text}")
        {
            (self.lines, self.failure) = (None, Some(error));
        }
    }

    /// Whether somebody reads lines.
    pub(crate) fn has_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// The number.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How much has happened.
    pub(crate) fn happenings(&self) -> u64 {
        self.happenings
    }

    /// Why the lines ended early, if they did.
    pub(crate) fn finish(&mut self) -> Option<std::io::Error> {
        let flushed = self.lines.as_mut().map_or(Ok(()), Write::flush);
        self.failure.take().or(flushed.err())
    }
}

/// Text that is hashed instead of kept.
struct Hashed<'a>(&'a mut SipHasher13);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// All that distinguishes a happening from others at the same time, as a number.
fn number_of(what: &Happening) -> u64 {
    let (kind, a, b) = match *what {
        Happening::Arrive(link, side) => (1, link, side as u64),
        Happening::Room(link, side) => (2, link, side as u64),
        Happening::Dialled(link) => (3, link, 0),
        Happening::Turn(host, life) => (4, host, u64::from(life)),
        Happening::Tick(host, life) => (5, host, u64::from(life)),
        Happening::Synced(host, _, upto) => (6, host, upto),
        Happening::Verified(host, life) => (7, host, u64::from(life)),
        Happening::Found(host, _, search) => (8, host, u64::from(search)),
        Happening::Restart(host, life) => (9, host, u64::from(life)),
        Happening::Trouble => (10, 0, 0),
        Happening::Payment => (11, 0, 0),
        Happening::Look => (12, 0, 0),
        Happening::Freed(host) => (13, host, 0),
    };
    (kind << 56) ^ ((a as u64) << 32) ^ b
}
