//! The address book: where nodes are said to listen, and whom to try next.
//!
//! What strangers tell is bounded thrice: each is asked once, each network that they come from has a
//! share of the book, and the book has a size. Only addresses that we have talked to
//! ourselves are passed on. The file is a convenience: one that cannot be read is ignored.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::blockchain::disk::{self, Disk};
use crate::node::message::{ADDRESSES_MAX, PeerAddress};
use crate::node::peers::scope;
use crate::node::reason::{Ending, cut_pause_ms};
use crate::primitives::codec::{self, Decode, Encode, List};
use crate::primitives::rng::Rng;
use crate::primitives::time::{Mono, Now, Wall};

/// The file's name in the data directory.
pub const FILE: &str = "addresses";
/// Addresses in the book: about half a MiB.
pub const BOOK_MAX: usize = 4_096;
/// Of these, from one network of sources (a /16, an IPv6 /32).
const GROUP_MAX: usize = 512;
/// An address that failed so often and never answered is dropped.
const FAILURES_MAX: u32 = 10;
/// The share of the book that one peer is told, in percent, once per connection.
const SHARE_PERCENT: usize = 23;
/// The longest wait of whoever has no connection of its own choice, for an address that answered once.
const RETRY_LONELY_MS: u64 = 60_000;
/// The least wait after a failure; it doubles up to an hour.
const RETRY_MS: u64 = 10_000;
const RETRY_MS_MAX: u64 = 3_600_000;

#[derive(Clone, Debug)]
struct Entry {
    /// The network of whoever told us.
    group: u32,
    /// When a handshake with it last succeeded.
    talked_at: Option<Wall>,
    failures: u32,
    /// Connections in a row that ended for what it did.
    cuts: u32,
    tried_at: Mono,
    next_try: Mono,
}

/// An address, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where.
    pub address: SocketAddr,
    /// When a handshake with it last succeeded.
    pub talked_at: Option<Wall>,
    /// Dials in a row that came to nothing.
    pub failures: u32,
    /// Before this it is not dialled.
    pub next_try: Mono,
}

impl Entry {
    /// One that was never tried.
    fn new(group: u32, talked_at: Option<Wall>) -> Self {
        Self { group, talked_at, failures: 0, cuts: 0, tried_at: Mono(0), next_try: Mono(0) }
    }
}

#[derive(Encode, Decode)]
struct SavedEntry {
    address: PeerAddress,
    group: u32,
    talked_at: u64,
}

#[derive(Encode, Decode)]
struct Saved {
    magic: [u8; 4],
    entries: List<SavedEntry, BOOK_MAX>,
}

const MAGIC: [u8; 4] = *b"spa\x01";

/// The book.
#[derive(Debug, Default)]
pub struct AddressBook {
    entries: BTreeMap<SocketAddr, Entry>,
    /// Entries with which a handshake succeeded: counted, since it is asked after each turn.
    talked_with: usize,
    changed: bool,
}

impl AddressBook {
    /// What an earlier run has saved; empty if there is nothing that can be read.
    pub fn load(disk: &dyn Disk) -> std::io::Result<Self> {
        let mut book = Self::default();
        let most = 4 + 2 + BOOK_MAX * 30 + 4;
        let Some(bytes) = disk::read_small(disk, FILE, most)? else { return Ok(book) };
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else { return Ok(book) };
        if crc32c::crc32c(body).to_le_bytes() != *checksum {
            return Ok(book);
        }
        if let Ok(saved) = codec::decode::<Saved>(body)
            && saved.magic == MAGIC
        {
            for saved in &saved.entries {
                let talked_at = (saved.talked_at != 0).then_some(Wall(saved.talked_at));
                book.entries.insert(saved.address.into(), Entry::new(saved.group, talked_at));
            }
            book.talked_with = book.proven().count();
        }
        Ok(book)
    }

    /// The bytes to save, if anything changed since the last call.
    pub fn to_save(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let entries = self.entries.iter().map(|(&address, entry)| SavedEntry {
            address: address.into(),
            group: entry.group,
            talked_at: entry.talked_at.map_or(0, |at| at.0),
        });
        let mut bytes = codec::encode(&Saved { magic: MAGIC, entries: List::first_of(entries.collect()) });
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    }

    /// How many addresses it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them a handshake succeeded with once.
    pub fn talked_with(&self) -> usize {
        self.talked_with
    }

    /// Those that a handshake succeeded with once.
    pub fn proven(&self) -> impl Iterator<Item = SocketAddr> {
        self.entries.iter().filter(|(_, entry)| entry.talked_at.is_some()).map(|(&address, _)| address)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Known> {
        self.entries.iter().map(|(&address, entry)| Known {
            address,
            talked_at: entry.talked_at,
            failures: entry.failures,
            next_try: entry.next_try,
        })
    }

    /// Takes what a peer told, as far as it may be; gives how many were new.
    pub fn learn(&mut self, source: IpAddr, addresses: &[PeerAddress]) -> usize {
        let group = group_of(source);
        let mut new = 0;
        let mut of_group = self.entries.values().filter(|entry| entry.group == group).count();
        for address in addresses.iter().copied().map(SocketAddr::from) {
            if !is_dialable(address, source) || self.entries.contains_key(&address) || of_group >= GROUP_MAX {
                continue;
            }
            if self.entries.len() >= BOOK_MAX && !self.drop_worst() {
                break;
            }
            self.entries.insert(address, Entry::new(group, None));
            of_group += 1;
            new += 1;
        }
        self.changed |= new > 0;
        new
    }

    /// A handshake with this address succeeded.
    pub fn talked(&mut self, now: Now, address: SocketAddr) {
        let address = plain(address);
        if self.entries.len() >= BOOK_MAX && !self.entries.contains_key(&address) && !self.drop_worst() {
            return;
        }
        let entry = self.entries.entry(address).or_insert_with(|| Entry::new(group_of(address.ip()), None));
        self.talked_with += usize::from(entry.talked_at.is_none());
        (entry.talked_at, entry.failures) = (Some(now.wall), 0);
        (entry.tried_at, entry.next_try) = (now.mono, now.mono.after(RETRY_MS));
        self.changed = true;
    }

    /// A dial came to nothing.
    pub fn failed(&mut self, now: Now, address: SocketAddr) {
        let address = plain(address);
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.failures = entry.failures.saturating_add(1);
        (entry.tried_at, entry.next_try) = (now.mono, now.mono.after(back_off_ms(entry.failures)));
        if entry.failures >= FAILURES_MAX && entry.talked_at.is_none() {
            self.entries.remove(&address);
            self.changed = true;
        }
    }

    /// A connection that we had opened has ended. Whoever is cut each time is tried less and less.
    pub fn lost(&mut self, now: Mono, address: SocketAddr, ending: Ending) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.cuts = ending.cuts_after(entry.cuts);
        if entry.cuts > 0 {
            (entry.tried_at, entry.next_try) = (now, now.after(cut_pause_ms(RETRY_MS, entry.cuts)));
        }
    }

    /// Somebody to dial now: mostly those that answered before, sometimes one that never has.
    ///
    /// `lonely`: there is no connection that we chose. Then nobody who answered once has to wait for more than a
    /// minute: it was our own network that was away, more likely than all of theirs.
    pub fn choose(
        &self,
        now: Mono,
        lonely: bool,
        rng: &mut Rng,
        mut skip: impl FnMut(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let again = |entry: &Entry| lonely && entry.talked_at.is_some() && now.since(entry.tried_at) >= RETRY_LONELY_MS;
        let is_due = |entry: &Entry| entry.next_try <= now || again(entry);
        let proven = rng.below(10) < 7;
        let mut ready: [Vec<SocketAddr>; 2] = [Vec::new(), Vec::new()];
        for (&address, entry) in self.entries.iter().filter(|(_, entry)| is_due(entry)) {
            ready[usize::from(entry.talked_at.is_some() == proven)].push(address);
        }
        let [others, wanted] = ready;
        [wanted, others].into_iter().find_map(|mut of| {
            while !of.is_empty() {
                let address = of.swap_remove(rng.below(of.len()));
                if !skip(address) {
                    return Some(address);
                }
            }
            None
        })
    }

    /// What one peer is told: a sample of those that we have talked to ourselves.
    pub fn sample(&self, rng: &mut Rng, asker: IpAddr) -> List<PeerAddress, ADDRESSES_MAX> {
        let mut known: Vec<SocketAddr> = self
            .entries
            .iter()
            .filter(|&(address, entry)| entry.talked_at.is_some() && scope(address.ip()) >= scope(asker))
            .map(|(&address, _)| address)
            .collect();
        // A share of a large book; a small one is no secret.
        let share = (self.entries.len() * SHARE_PERCENT / 100).max(16).min(known.len());
        for place in 0..share {
            let other = place + rng.below(known.len() - place);
            known.swap(place, other);
        }
        known.truncate(share);
        List::first_of(known.into_iter().map(PeerAddress::from).collect())
    }

    /// Makes room: the one that failed most and never answered. False if all have answered.
    fn drop_worst(&mut self) -> bool {
        let strangers = self.entries.iter().filter(|(_, entry)| entry.talked_at.is_none());
        let worst = strangers.max_by_key(|(_, entry)| entry.failures).map(|(&address, _)| address);
        let dropped = worst.and_then(|address| self.entries.remove(&address));
        self.talked_with -= usize::from(dropped.as_ref().is_some_and(|entry| entry.talked_at.is_some()));
        dropped.is_some()
    }
}

/// An address as messages and the file have it: what an operator wrote in another form is no second one.
fn plain(address: SocketAddr) -> SocketAddr {
    PeerAddress::from(address).into()
}

/// The wait after so many failures in a row.
pub fn back_off_ms(failures: u32) -> u64 {
    RETRY_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(RETRY_MS_MAX)
}

/// Addresses of one /16 (IPv6: /32) are likely to be one person's.
fn group_of(ip: IpAddr) -> u32 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u32::from(v4) >> 16,
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            u32::from(a) << 16 | u32::from(b)
        }
    }
}

/// Whether an address is worth keeping that a peer at `source` told: a stranger from afar cannot know
/// what listens on our own machine or network.
fn is_dialable(address: SocketAddr, source: IpAddr) -> bool {
    let ip = address.ip();
    let absurd = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    address.port() != 0 && !absurd && scope(ip) >= scope(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::reason::CUT_MS_MAX;

    fn addresses(text: &[&str]) -> Vec<PeerAddress> {
        text.iter().map(|text| PeerAddress::from(text.parse::<SocketAddr>().expect("an address"))).collect()
    }

    /// Goal: nobody can make us dial nonsense, or our own network from afar. Method: one of each kind.
    #[test]
    fn only_plausible_addresses_are_learnt() {
        let mut book = AddressBook::default();
        let told = addresses(&[
            "8.8.8.8:0",
            "0.0.0.0:9000",
            "224.0.0.1:9000",
            "127.0.0.1:9001",
            "192.168.1.7:9000",
            "8.8.8.8:9000",
        ]);
        assert_eq!(book.learn("1.2.3.4".parse().expect("ip"), &told), 1, "only the public one");
        assert_eq!(book.learn("192.168.1.2".parse().expect("ip"), &told), 1, "and the private one from a neighbour");
        assert_eq!(book.learn("127.0.0.1".parse().expect("ip"), &told), 1, "and loopback from this machine");
    }

    /// Goal: one source cannot fill the book. Method: more addresses than its share from one network.
    #[test]
    fn one_network_of_sources_has_a_bounded_share() {
        let mut book = AddressBook::default();
        for third in 0..8_u8 {
            let many: Vec<_> = (0..250_u8).map(|last| format!("8.8.{third}.{last}:9000")).collect();
            let many: Vec<_> = many.iter().map(String::as_str).collect();
            book.learn("1.2.3.4".parse().expect("ip"), &addresses(&many));
        }
        assert_eq!(book.len(), GROUP_MAX);
    }

    /// Goal: a node that has nobody tries those who answered once within a minute, however often they failed
    /// while its own network was away; one that has somebody waits longer. Method: two hours without a network.
    #[test]
    fn who_is_lonely_does_not_wait_an_hour() {
        let (mut book, mut rng) = (AddressBook::default(), Rng::new(1));
        let address = "8.8.8.8:9000".parse().expect("an address");
        book.talked(Now::default(), address);
        let mut now = Mono(0);
        while now < Mono(7_200_000) {
            now = now.after(RETRY_LONELY_MS);
            book.failed(Now { mono: now, ..Now::default() }, address);
        }
        let mut chosen = |ms, lonely| book.choose(now.after(ms), lonely, &mut rng, |_| false);
        assert_eq!((chosen(RETRY_LONELY_MS - 1, true), chosen(RETRY_LONELY_MS, true)), (None, Some(address)));
        assert_eq!((chosen(RETRY_MS_MAX - 1, false), chosen(RETRY_MS_MAX, false)), (None, Some(address)));
    }

    /// Goal: whoever answers, and is cut each time for what it does, is tried less and less, but by a node that has
    /// nobody; a good connection ends that. Method: ten short connections, then one that lasted.
    #[test]
    fn whoever_is_cut_each_time_is_tried_less_and_less() {
        let (mut book, mut rng, mut now) = (AddressBook::default(), Rng::new(1), Mono(0));
        let address = "8.8.8.8:9000".parse().expect("an address");
        let mut wait_after = |book: &mut AddressBook, ending, lonely| {
            book.talked(Now { mono: now, ..Now::default() }, address);
            book.lost(now, address, ending);
            let ended = now;
            while book.choose(now, lonely, &mut rng, |_| false).is_none() {
                now = now.after(1_000);
            }
            now.since(ended)
        };
        let waits: Vec<u64> = (0..10).map(|_| wait_after(&mut book, Ending::Cut, false)).collect();
        assert_eq!(waits[..3], [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]);
        assert_eq!(waits[8..], [CUT_MS_MAX; 2]);
        assert_eq!(wait_after(&mut book, Ending::Cut, true), RETRY_LONELY_MS);
        assert_eq!(wait_after(&mut book, Ending::Good, false), RETRY_MS);
    }

    /// Goal: an address is one entry however it is written, so that what was saved comes back as it was.
    /// Method: the same address as IPv4 and mapped into IPv6.
    #[test]
    fn one_address_is_one_entry() {
        let (plain, mapped) = ("8.8.8.8:9000".parse(), "[::ffff:8.8.8.8]:9000".parse());
        let (plain, mapped) = (plain.expect("an address"), mapped.expect("an address"));
        let mut book = AddressBook::default();
        book.talked(Now::default(), mapped);
        book.talked(Now::default(), plain);
        assert_eq!(book.proven().collect::<Vec<_>>(), [plain]);
        book.failed(Now::default(), mapped);
        assert_eq!(book.entries[&plain].failures, 1);
    }

    /// Goal: a damaged file never stops a node. Method: every byte of it changed, and every length.
    #[test]
    fn damaged_file_is_ignored() {
        use crate::blockchain::memory_disk::MemoryDisk;
        let mut book = AddressBook::default();
        book.talked(Now::default(), "8.8.8.8:9000".parse().expect("an address"));
        let bytes = book.to_save().expect("changed");
        for (place, keep) in (0..bytes.len()).map(|place| (place, bytes.len())).chain((0..bytes.len()).map(|n| (0, n)))
        {
            let disk = MemoryDisk::default();
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x40;
            damaged.truncate(keep);
            disk::replace(&disk, FILE, &damaged).expect("memory");
            assert!(AddressBook::load(&disk).expect("memory").is_empty());
        }
    }
}
