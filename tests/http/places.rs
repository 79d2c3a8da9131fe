//! Eight places: who gets one, who makes room, who is told to come back, and how all of it ends.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spindle::rpc::client::Client;
use spindle::rpc::http::{Limits, Status};

use crate::world::{LONG, Raw, World, wait_until};

/// Whoever has just been answered can be asked to make room.
const EAGER: Limits = Limits { moment_ms: 0, ..LONG };

/// Goal: pages that poll lock nobody out: the one that has been idle longest makes room. Method: 40 clients, each
/// of which keeps its connection after an answer, and then the first again.
#[test]
fn idle_connections_make_room() {
    let world = World::new(EAGER);
    let mut pages: Vec<Raw> = (0..40).map(|_| world.connect()).collect();
    for page in &mut pages {
        // It may have lost its place before it has asked.
        page.ask("GET", "/", "", b"");
        if page.answer().is_none() {
            *page = world.connect();
            assert_eq!(page.get("/").status, 200);
        }
    }
    assert!(world.counters.connections() <= 8);
    assert!(pages[0].is_closed(), "the first was idle longest");
    assert!(pages[39].is_quiet(), "the last has its place");
    assert_eq!(world.connect().get("/").status, 200);
    assert_eq!(world.counters.refused_busy(), 0);
}

/// Goal: silent connections keep nobody out. Method: 40 that say nothing, then one that asks.
#[test]
fn silent_connections_make_room() {
    let world = World::new(EAGER);
    let silent: Vec<Raw> = (0..40).map(|_| world.connect()).collect();
    assert_eq!(world.connect().get("/").status, 200);
    assert_eq!(world.counters.refused_busy(), 0);
    drop(silent);
}

/// Goal: seven busy strangers leave a place for whoever shows the cookie; he is then no stranger, so the place is
/// free again while there are eight in all. Method: requests that the handler holds.
#[test]
fn a_place_is_kept_for_holders() {
    let world = World::new(EAGER);
    let mut busy: Vec<Raw> = (0..7).map(|_| world.busy("")).collect();
    let mut stranger = world.connect();
    let answer = stranger.get("/");
    assert!(answer.status == 503 && answer.has("Retry-After: 1"), "{answer:?}");
    assert!(stranger.is_closed());
    let login = stranger.login.clone();
    let mut holder = world.connect();
    holder.ask("POST", "/change", &login, b"");
    assert_eq!(holder.answer().expect("an answer").text(), "changed\n");
    assert_eq!(holder.get("/").status, 200, "it is his until he goes");
    // He may not count as idle in the moment after his answer.
    wait_until("the idle holder has made room", || {
        let mut another = world.connect();
        another.ask("POST", "/change", &login, b"");
        another.answer().is_some_and(|answer| answer.status == 200)
    });
    assert!(holder.is_closed());
    wait_until("seven are left", || world.counters.connections() == 7);
    busy.push(world.busy(&login));
    let mut late = world.connect();
    late.ask("POST", "/change", &login, b"");
    assert_eq!(late.answer().expect("an answer").status, 503, "eight are busy: nobody waits");
    assert!(late.is_closed());
    for _ in &busy {
        world.release.send(()).expect("the handler waits");
    }
    for raw in &mut busy {
        assert_eq!(raw.answer().expect("an answer").text(), "waited\n");
    }
    wait_until("the last one is counted", || {
        let refused = world.counters.refused_busy();
        refused >= 2 && world.answers(Status::ServiceUnavailable) == refused
    });
}

/// Goal: half-open requests hold their places no longer than their limit, and the kept one for a moment only.
/// Method: 64 of them against short limits; then a good one is asked until it is answered.
#[test]
fn half_open_requests_end_at_their_limit() {
    let world = World::new(Limits { read_ms: 300, trial_ms: 20, ..LONG });
    let mut half: Vec<Raw> = (0..64).map(|_| world.connect()).collect();
    for raw in &mut half {
        raw.say("GET / HTTP/1.1\r\nHost: ");
    }
    wait_until("a good request is answered", || {
        let mut good = world.connect();
        good.ask("GET", "/", "", b"");
        good.answer().is_some_and(|answer| answer.status == 200)
    });
    for raw in &mut half {
        // A client that goes on talking may lose what it was told; most are told.
        let answer = raw.answer();
        assert!(answer.is_none_or(|answer| [408, 503].contains(&answer.status)));
    }
    assert!(world.answers(Status::RequestTimeout) >= 7);
}

/// Goal: strangers' half requests and those on trial make room for whoever shows the cookie, and hear so; never for
/// each other. Method: limits that end nothing; seven half-open requests and a silent one in the kept place, refilled
/// after each of six holders, who keep their places; each may be told to come back a counted number of times.
#[test]
fn half_open_requests_make_room_for_a_holder() {
    let world = World::new(LONG);
    let half = || {
        let mut raw = world.connect();
        raw.say("GET / HTTP/1.1\r\nHost: ");
        raw
    };
    let mut strangers: Vec<Raw> = (0..8).map(|_| half()).collect();
    wait_until("all places are taken", || world.counters.connections() == 8);
    assert_eq!(world.connect().get("/").status, 503);
    let login = strangers[0].login.clone();
    let mut holders = Vec::new();
    for _ in 0..6 {
        let mut answer = None;
        for _ in 0..50 {
            let mut holder = world.connect();
            holder.ask("POST", "/change", &login, b"");
            answer = holder.answer().map(|answer| answer.status);
            if answer == Some(200) {
                holders.push(holder);
                break;
            }
        }
        assert_eq!(answer, Some(200));
        strangers.push(half());
    }
    let told = strangers.iter_mut().filter(|raw| !raw.is_quiet()).map(|raw| raw.answer().map(|answer| answer.status));
    let told: Vec<Option<u16>> = told.collect();
    assert!(told.len() >= 6 && told.iter().all(|status| *status == Some(503)), "{told:?}");
}

/// Goal: strangers who come back at once lock no holder out. Method: seven half-open requests and eight clients that
/// connect again whenever they are sent away, or have lost the kept place; meanwhile 20 questions with the cookie.
#[test]
fn strangers_who_come_back_lock_no_holder_out() {
    let world = World::new(Limits { trial_moment_ms: Limits::default().trial_moment_ms, ..LONG });
    let mut half: Vec<Raw> = (0..7).map(|_| world.connect()).collect();
    for raw in &mut half {
        raw.say("GET / HTTP/1.1\r\nHost: ");
    }
    wait_until("seven are there", || world.counters.connections() == 7);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut raw = world.connect();
                    raw.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
                    raw.say("GET / HTTP/1.1\r\n");
                    // Its answer, its end or nothing: then the next.
                    let _ = raw.stream.read(&mut [0; 64]);
                }
            });
        }
        for _ in 0..20 {
            let asked = Client::new(world.address, Some(world.cookie.clone())).get("/");
            is_over.store(asked.is_err(), Ordering::Relaxed);
            assert_eq!(asked.expect("an answer"), b"hello\n");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Goal: nobody sits in the kept place. Method: no time at all for whoever is on trial; two who say nothing, the second
/// of whom takes the first one's place.
#[test]
fn who_is_on_trial_makes_room_for_the_next() {
    let world = World::new(Limits { trial_moment_ms: 0, ..EAGER });
    let busy: Vec<Raw> = (0..7).map(|_| world.busy("")).collect();
    let mut first = world.connect();
    wait_until("it is on trial", || world.counters.connections() == 8);
    let second = world.connect();
    assert_eq!(first.answer().expect("an answer").status, 503);
    assert!(first.is_closed());
    assert!(second.is_quiet(), "it has the place now");
    drop(world.release);
    drop(busy);
}

/// Goal: the place of a request that is not whole at its limit is the next one's. Method: seven, of which none ever
/// ends; the first of those that are told 408 has gone before a good request comes, which may lose the race with the
/// server's last step a counted number of times.
#[test]
fn a_place_is_free_when_its_request_is_late() {
    let world = World::new(Limits { read_ms: 200, ..LONG });
    let mut half: Vec<Raw> = (0..7).map(|_| world.connect()).collect();
    for raw in &mut half {
        raw.say("GET / HTTP/1.1\r\nHost: ");
    }
    assert_eq!(half[0].answer().expect("an answer").status, 408);
    assert!(half[0].is_closed());
    let tries = (0..50).take_while(|_| {
        let mut good = world.connect();
        good.ask("GET", "/", "Connection: close\r\n", b"");
        good.answer().is_none_or(|answer| answer.status != 200)
    });
    assert!(tries.count() < 50);
}

/// Goal: the kept place is given to one on trial at a time, who hears 503 when it is over. Method: seven busy
/// ones, one that never ends its head, one that comes meanwhile.
#[test]
fn a_trial_ends() {
    let world = World::new(Limits { trial_ms: 300, ..EAGER });
    let busy: Vec<Raw> = (0..7).map(|_| world.busy("")).collect();
    let mut slow = world.connect();
    slow.say("GET / HTTP/1.1\r\n");
    wait_until("it is on trial", || world.counters.connections() == 8);
    let mut other = world.connect();
    assert_eq!(other.get("/").status, 503, "at once");
    assert!(slow.is_quiet(), "the first still has its time");
    assert_eq!(slow.answer().expect("an answer").status, 503);
    assert!(slow.is_closed());
    drop(world.release);
    drop(busy);
}

/// Goal: stopping takes no longer for any client. Method: one of each kind that hangs: silent, idle, half-open, not
/// reading, lingering; after it, nobody listens.
#[test]
fn a_stop_waits_for_nobody() {
    let mut world = World::new(LONG);
    let silent = world.connect();
    let mut idle = world.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut half = world.connect();
    half.say("POST /echo HTTP/1.1\r\nHost: ");
    let mut deaf = world.connect();
    deaf.ask("GET", "/large?67108864", "", b"");
    let mut lingering = world.connect();
    assert_eq!(lingering.get("/panic").status, 500);
    wait_until("all are there", || world.counters.connections() == 5 && world.answers(Status::Ok) == 2);
    world.stop();
    for mut raw in [silent, idle, half, lingering] {
        assert!(raw.is_closed());
    }
    assert_eq!(world.counters.connections(), 0);
    assert!(std::net::TcpStream::connect(world.address).is_err());
}

/// Goal: what is being answered when the server stops is still told. Method: a stop while the handler is at it.
#[test]
fn a_stop_lets_an_answer_out() {
    let mut world = World::new(LONG);
    let mut raw = world.busy("");
    let server = world.server.take().expect("it runs");
    let stopping = std::thread::spawn(move || server.stop());
    wait_until("nobody is let in", || {
        let mut late = world.connect_if_open();
        late.as_mut().is_none_or(|late| {
            late.ask("GET", "/", "", b"");
            late.answer().is_none()
        })
    });
    world.release.send(()).expect("the handler waits");
    let answer = raw.answer().expect("an answer");
    assert!(answer.text() == "waited\n" && answer.has("Connection: close"), "{answer:?}");
    assert!(raw.is_closed());
    stopping.join().expect("it stops");
}

/// Goal: more parallel questions than places are answered or told to come back, and none is lost. Method: 200
/// clients at a time, who send head and body in two writes, as many do: who is refused after the first is still
/// sending.
#[test]
fn surplus_calls_are_told_so() {
    let world = World::new(Limits { moment_ms: LONG.moment_ms, ..Limits::default() });
    let answers: Vec<Option<u16>> = std::thread::scope(|scope| {
        let ask = || {
            let mut raw = world.connect();
            let request = raw.request("POST", "/echo", "Connection: close\r\n", b"{}");
            let (head, body) = request.split_at(request.len() - 2);
            raw.say(head);
            raw.say(body);
            raw.answer().map(|answer| answer.status)
        };
        let clients: Vec<_> = (0..200).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    assert!(answers.iter().all(|answer| matches!(answer, Some(200 | 503))), "{answers:?}");
    assert_eq!(world.answers(Status::Ok) + world.answers(Status::ServiceUnavailable), 200);
}
