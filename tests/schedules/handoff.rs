//! One peer's two threads, the owner, and whoever stops them.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::spawn;

use crossbeam_channel::bounded;
use spindle::node::event::{Event, PeerId, Target};
use spindle::node::message::{Kind, Message};
use spindle::node::reason::Reason;
use spindle::primitives::hash::Hash;

use crate::explore::{calm, explore, seen};
use crate::model::chance::{below, once_in};
use crate::model::net::at;
use crate::model::weave::{World, give_way, world};
use crate::network::limits::{OUTBOX_BYTES, WRITE_MS};
use crate::owner::{Life, Owner, PORT, network, own, reader};
use crate::peer::Peer;
use crate::primitives::codec::List;

/// Answers pings.
fn answer(owner: &mut Owner, event: &Event) {
    if let Event::Ping { peer, nonce } = *event {
        owner.node.send(peer, &Message::Pong(nonce));
    }
}

/// Announces so many transactions: with more than 128 ids it takes of the common budget.
fn announce(ids: u64) -> Message {
    Message::NewTx(List::first_of((0..ids).map(|n| Hash::sha256d(&n.to_le_bytes())).collect()))
}

fn pongs(frames: &[(Kind, Vec<u8>)]) -> Vec<u64> {
    let pongs = frames.iter().filter(|(kind, _)| *kind == Kind::Pong);
    pongs.map(|(_, payload)| u64::from_le_bytes(*payload.first_chunk().expect("eight bytes"))).collect()
}

/// Goal: all that a peer says is heard by the owner, in order, and all that the owner and the writer answer
/// arrives; then the peer's one `Closed`. No credit is lost: there are more events than credits.
/// Method: two peers at once that ask a writer and the owner, in small frames and in large ones, and go when they
/// have all answers.
#[test]
fn all_that_is_said_is_heard_and_answered() {
    explore("said and heard", calm, || {
        let (owner, threads, _stop) = network(2, WRITE_MS);
        let owner = own(owner, |owner, event| {
            answer(owner, &event);
            !owner.has_seen_off(2)
        });
        let peers = [10, 11].map(|nonce| spawn(move || converse(nonce)));
        for peer in peers {
            peer.join().expect("it ends");
        }
        let heard = owner.join().expect("it ends");
        threads.stop();
        for life in heard.values() {
            assert_eq!(life.nonces, [0, 1, 2, 3], "each ping once and in order");
            assert_eq!((life.events, &life.closed), (4 + 3 + 1, &Some(Reason::Closed)));
        }
    });
}

/// Says all that it wants to know at once, and goes with the last answer.
fn converse(nonce: u64) {
    let mut peer = Peer::greet(nonce).expect("it listens");
    for ping in 0..4 {
        peer.say(&Message::Ping(ping)).expect("it reads");
        if ping > 0 {
            peer.say(&announce(130)).expect("it reads");
        }
        if ping == 1 {
            peer.say(&Message::GetHeaders(List::default())).expect("it reads");
            peer.say(&Message::GetBlocks { last: reader().tip().id, count: 3 }).expect("it reads");
        }
    }
    let mut heard = Vec::new();
    while heard.len() < 4 + 1 + 3 {
        heard.push(peer.hear().expect("no error").expect("not the end"));
    }
    assert_eq!(pongs(&heard), [0, 1, 2, 3]);
    assert_eq!(heard.iter().filter(|(kind, _)| *kind == Kind::Blocks).count(), 3);
}

/// Goal: what is queued for a peer never exceeds its cap, and nothing is counted any more once it has been
/// written. Method: more news than fits, for a peer that reads all that it gets.
#[test]
fn what_waits_for_a_peer_is_counted_to_the_byte() {
    explore("outbox", calm, || {
        let (owner, threads, _stop) = network(1, WRITE_MS);
        let owner = own(owner, |owner, event| {
            if let Event::Connected { peer, .. } | Event::Ping { peer, .. } = event {
                let ids = vec![Hash::default(); 1_000];
                (0..9).for_each(|_| owner.node.broadcast_tx(&[peer], ids.clone()));
            }
            answer(owner, &event);
            !owner.has_seen_off(1)
        });
        let mut peer = Peer::greet(10).expect("it listens");
        for ping in 0..2 {
            peer.say(&Message::Ping(ping)).expect("it reads");
            while peer.hear().expect("no error").expect("not the end").0 != Kind::Pong {}
        }
        drop(peer);
        owner.join().expect("it ends");
        threads.stop();
        world(|world| {
            for counter in &world.counters {
                assert!(counter.highest() <= OUTBOX_BYTES, "{} bytes queued", counter.highest().cast_signed());
                assert_eq!(counter.now(), 0, "everything was written");
            }
        });
    });
}

/// Goal: after a hang-up what was queued before it still goes out, then a `Bye`, and nothing else ever; the one
/// `Closed` has the reason that was given. Method: an owner that hangs up at the second ping and goes on talking.
#[test]
fn a_hang_up_is_the_last_word() {
    explore("hang-up", calm, || {
        let (owner, threads, _stop) = network(1, WRITE_MS);
        let owner = own(owner, |owner, event| {
            answer(owner, &event);
            if let Event::Ping { peer, nonce: 1 } = event {
                owner.node.hang_up(peer, Reason::Duplicate);
                owner.node.send(peer, &Message::Pong(100));
                owner.node.broadcast_tx(&[peer], vec![Hash::default()]);
            }
            !owner.has_seen_off(1)
        });
        let mut peer = Peer::greet(10).expect("it listens");
        for ping in 0..4 {
            // It may have been hung up on.
            let _ = peer.say(&Message::Ping(ping));
        }
        let frames = peer.hear_all();
        let kinds: Vec<Kind> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Pong, Kind::Pong, Kind::Bye]);
        assert_eq!(pongs(&frames), [0, 1]);
        let heard = owner.join().expect("it ends");
        threads.stop();
        assert!(heard.values().all(|life| life.closed == Some(Reason::Duplicate)), "{heard:?}");
    });
}

/// Goal: a reader that waits for a credit ends with the network, and so does everybody else. Method: an owner that
/// takes nothing more after `Connected` and then closes; a peer that has said more than its credits allow.
#[test]
fn a_reader_without_credits_is_woken_by_the_stop() {
    explore("no credits", calm, || {
        let (mut owner, threads, _stop) = network(1, WRITE_MS);
        let peer = spawn(|| {
            let mut peer = Peer::greet(10).expect("it listens");
            for ping in 0..4 {
                let _ = peer.say(&Message::Ping(ping));
            }
            peer.hear_all()
        });
        let connected = owner.next().expect("nobody stops it");
        assert!(matches!(connected, Event::Connected { .. }), "{connected:?}");
        owner.node.close();
        threads.stop();
        let heard = peer.join().expect("it ends");
        assert!(heard.iter().all(|(kind, _)| *kind == Kind::Bye), "{heard:?}");
    });
}

/// Goal: a place at the door is free again once its `Closed` is handled. Method: two peers, one after the other,
/// where there is one place.
#[test]
fn a_place_comes_back_with_the_closed() {
    explore("places", calm, || {
        let (owner, threads, _stop) = network(1, WRITE_MS);
        let (gone, is_gone) = bounded(1);
        let owner = own(owner, move |owner, event| {
            if matches!(event, Event::Closed { .. }) {
                gone.send(()).expect("the story waits");
            }
            !owner.has_seen_off(2)
        });
        for nonce in [10, 11] {
            drop(Peer::greet(nonce).expect("there is a place"));
            is_gone.recv().expect("the owner runs");
        }
        assert_eq!(owner.join().expect("it ends").len(), 2);
        threads.stop();
    });
}

/// Goal: each dial ends in one `Connected` or one `DialFailed`. Method: somebody who greets, somebody who closes,
/// nobody, and the node itself.
#[test]
fn each_dial_has_one_outcome() {
    explore("dials", calm, || {
        let (mut owner, threads, _stop) = network(4, WRITE_MS);
        let greets = TcpListener::bind(at(9_001)).expect("free");
        let closes = TcpListener::bind(at(9_002)).expect("free");
        let hosts = [
            spawn(move || {
                let peer = Peer::welcome(greets.accept().expect("a visitor").0, 10);
                drop(peer.expect("it greets"));
            }),
            spawn(move || drop(closes.accept().expect("a visitor"))),
        ];
        for port in [9_001, 9_002, 9_003, PORT] {
            owner.node.dial(Target::Address(at(port)));
        }
        let (mut connected, mut failed) = (0, 0);
        let owner = own(owner, move |owner, event| {
            match event {
                Event::Connected { target: Some(_), .. } => connected += 1,
                Event::DialFailed { .. } => failed += 1,
                _ => {}
            }
            !(connected == 1 && failed == 3 && owner.has_seen_off(1))
        });
        owner.join().expect("it ends");
        for host in hosts {
            host.join().expect("it ends");
        }
        threads.stop();
    });
}

/// Goal: a stop ends everything, whatever is under way: no thread is left, and the port is free. Method: peers that
/// never say a word, never end it, never read, flood or ask for more than they may; dials; sockets that take little;
/// limits that pass, threads that the system refuses, readers that panic; a stop at any moment.
#[test]
fn a_stop_ends_everything() {
    let rough = || World { limits_end: true, socket_bytes: 700, ..World::default() };
    explore("stop", rough, || {
        let (mut owner, threads, stop) = network(3, 500);
        let host = TcpListener::bind(at(9_001)).expect("free");
        let visitors: Vec<_> = (0..3).map(|n| spawn(move || visit(10 + n))).collect();
        let host = spawn(move || {
            if let Ok((stream, _)) = host.accept()
                && let Ok(mut peer) = Peer::welcome(stream, 20)
            {
                peer.hear_all();
            }
        });
        owner.node.dial(Target::Address(at(9_001)));
        owner.node.dial(Target::Address(at(9_002)));
        if once_in(4) {
            world(|world| world.threads_left = Some(1 + below(6)));
        }
        let owner = own(owner, |owner, event| {
            answer(owner, &event);
            if let Some(peer) = event.peer()
                && once_in(8)
            {
                owner.node.hang_up(peer, Reason::Duplicate);
            }
            true
        });
        (0..below(400)).for_each(|_| give_way());
        stop.send(()).expect("the owner runs");
        let heard = owner.join().expect("it ends");
        note(&heard);
        threads.stop();
        TcpListener::bind(at(PORT)).expect("nobody has the port any more");
        // One that nobody has visited.
        drop(TcpStream::connect(at(9_001)));
        for visitor in visitors {
            visitor.join().expect("it ends");
        }
        host.join().expect("it ends");
    });
}

/// What a stop came upon.
fn note(heard: &BTreeMap<PeerId, Life>) {
    if heard.len() >= 2 {
        seen("with two peers or more");
    }
    if heard.values().any(|life| life.closed == Some(Reason::Bug)) {
        seen("with a panic");
    }
    if heard.values().any(|life| matches!(life.closed, Some(Reason::WriteTimeout { .. }))) {
        seen("with a write that took too long");
    }
    if heard.values().any(|life| matches!(life.closed, Some(Reason::TooManyRequests { .. }))) {
        seen("with too many requests");
    }
}

/// A visitor of one kind or another, until the node has ended it.
fn visit(nonce: u64) {
    let Ok(mut peer) = Peer::connect() else { return };
    let way = below(6);
    if way > 0 {
        peer = match Peer::greet(nonce) {
            Ok(peer) => peer,
            Err(_) => return,
        };
    }
    let said = match way {
        0 | 1 => Ok(()),
        2 => (0..6).try_for_each(|ping| peer.say(&Message::Ping(ping))),
        3 => (0..3).try_for_each(|_| peer.say(&announce(130))),
        4 => (0..6).try_for_each(|_| peer.say(&Message::GetBlocks { last: reader().tip().id, count: 4 })),
        _ => {
            peer.0.poison();
            peer.say(&Message::Ping(0))
        }
    };
    if said.is_ok() && once_in(2) {
        let _ = peer.0.shutdown(Shutdown::Write);
    }
    // Whoever floods does not read; the others do until the end.
    if way < 4 || once_in(2) {
        peer.hear_all();
    }
}
