//! The address book: its file, and what strangers make of it.
//!
//! The input is a file, whose checksum is put right, then a row of things that happen to the book: peers tell
//! addresses, dials succeed and fail, somebody is to be chosen. The book keeps its bounds, passes on nobody it has
//! not talked to, and a saved book comes back as it was.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::node::addresses::{AddressBook, BOOK_MAX, FILE};
use spindle::node::message::{ADDRESSES_MAX, PeerAddress};
use spindle::node::peers::scope;
use spindle::primitives::rng::Rng;
use spindle::primitives::time::{Mono, Now, Wall};

use super::bytes::Bytes;

/// What one network of sources may fill of a book.
const GROUP_MAX: usize = 512;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let flaws = input.byte();
    let length = usize::from(input.u16());
    let mut file = input.take(length).to_vec();
    if !flaws.is_multiple_of(8) {
        file.splice(..file.len().min(4), *b"spa\x01");
        file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
    }
    let mut book = load(&file);
    let mut now = Now { mono: Mono(1), wall: Wall(1) };
    let mut rng = Rng::new(u64::from(flaws));
    while !input.is_empty() {
        happen(&mut input, &mut book, &mut now, &mut rng);
        assert!(book.len() <= BOOK_MAX);
    }
    check_sample(&book, &mut rng);
    save_and_load(&mut book, now);
}

fn load(file: &[u8]) -> AddressBook {
    let disk = MemoryDisk::default();
    disk.put(FILE, file);
    let book = AddressBook::load(&disk).expect("memory");
    assert_eq!(disk.bytes(FILE).as_deref(), Some(file), "reading changes nothing");
    book
}

/// Few networks and few hosts of each, so that they meet again; some of every scope.
fn ip(input: &mut Bytes<'_>) -> IpAddr {
    match input.byte() % 8 {
        0 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        1 => IpAddr::from([192, 168, 0, input.byte()]),
        2 => IpAddr::V6(Ipv4Addr::from(input.array::<4>()).to_ipv6_mapped()),
        3 => IpAddr::V6(Ipv6Addr::from(input.array::<16>())),
        4 => IpAddr::from(input.array::<4>()),
        _ => IpAddr::from([8, 8, input.byte() % 4, input.byte()]),
    }
}

fn address(input: &mut Bytes<'_>) -> SocketAddr {
    let port = if input.byte().is_multiple_of(16) { input.u16() } else { 9000 };
    SocketAddr::new(ip(input), port)
}

fn happen(input: &mut Bytes<'_>, book: &mut AddressBook, now: &mut Now, rng: &mut Rng) {
    match input.byte() % 8 {
        0 | 1 => {
            let source = ip(input);
            let told: Vec<PeerAddress> = (0..input.byte() % 8).map(|_| address(input).into()).collect();
            let before = book.len();
            let new = book.learn(source, &told);
            assert!(new <= told.len() && book.len() <= before + new);
        }
        2 => {
            // A crowd from one network.
            let (third, first) = (input.byte(), input.byte());
            let crowd = (0..250).map(|last| SocketAddr::from(([9, first % 4, third, last], 9000)).into());
            let crowd: Vec<PeerAddress> = crowd.collect();
            let new = book.learn(IpAddr::from([1, 2, 3, 4]), &crowd);
            assert!(new <= GROUP_MAX, "{new} at once from one network");
        }
        3 | 4 => book.talked(*now, address(input)),
        5 => {
            let address = address(input);
            (0..=input.byte() % 16).for_each(|_| book.failed(*now, address));
        }
        6 => {
            let ms = u64::from(input.u32());
            *now = Now { mono: now.mono.after(ms), wall: Wall(now.wall.0.saturating_add(ms)) };
        }
        _ => {
            let (lonely, skipped) = (input.flag(), input.byte());
            let skip = |address: SocketAddr| address.ip().is_loopback() == (skipped % 2 == 1);
            let chosen = book.choose(now.mono, lonely, rng, skip);
            assert!(chosen.is_none_or(|address| !skip(address)), "who was to be passed over is chosen");
        }
    }
}

fn check_sample(book: &AddressBook, rng: &mut Rng) {
    let proven: BTreeSet<SocketAddr> = book.proven().collect();
    for asker in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::from([192, 168, 0, 1]), IpAddr::from([8, 8, 8, 8])] {
        let sample = book.sample(rng, asker);
        let told: BTreeSet<SocketAddr> = sample.iter().map(|address| SocketAddr::from(*address)).collect();
        assert!(sample.len() <= ADDRESSES_MAX && told.len() == sample.len(), "each once");
        assert!(told.iter().all(|address| proven.contains(address) && scope(address.ip()) >= scope(asker)));
    }
}

fn save_and_load(book: &mut AddressBook, now: Now) {
    // A time of zero stands for "never" in the file.
    book.talked(Now { wall: Wall(now.wall.0.max(1)), ..now }, SocketAddr::from(([8, 8, 8, 8], 9000)));
    let Some(saved) = book.to_save() else {
        assert_eq!(book.len(), BOOK_MAX, "one more has changed the book, unless it is full of proven ones");
        return;
    };
    assert_eq!(book.to_save(), None, "nothing has changed since");
    let mut again = load(&saved);
    let all = |book: &AddressBook| (book.len(), book.proven().collect::<Vec<_>>());
    assert_eq!(all(&again), all(book), "what was saved comes back");
    assert_eq!(again.to_save(), None);
}
