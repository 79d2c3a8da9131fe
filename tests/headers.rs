//! Headers: the rules that look at the parent, and streams of headers that are not worth having.

mod common;

use std::net::SocketAddr;

use common::mined;
use common::world::{START, World};
use spindle::blockchain::block::{CheckedHeader, Header};
use spindle::blockchain::headers::HEADERS_MAX as TREE_MAX;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::blockchain::position::Position;
use spindle::blockchain::reject::{Blame, Reject};
use spindle::node::event::{Asked, Direction, Effect, Event, PeerId};
use spindle::node::message::{HEADERS_MAX, Hello, Message, NewBlock};
use spindle::node::reason::Reason;
use spindle::node::report::Report;
use spindle::primitives::codec::List;
use spindle::primitives::hash::Hash;
use spindle::primitives::time::Wall;

/// A network on which work counts and difficulty moves.
fn working() -> Params {
    let spec = NetworkSpec {
        name: "working".into(),
        difficulty_first: 1 << 12,
        difficulty_min: 1 << 10,
        ..Params::local().spec().clone()
    };
    Params::new(spec).expect("a sound spec")
}

/// A header that keeps every rule on its parent.
fn child_of(params: &Params, parent: &Position) -> Header {
    mined(Header {
        version: 1,
        height: parent.height + 1,
        prev: parent.id,
        merkle_root: Hash::ZERO,
        time: START + (parent.height + 1) * 10_000,
        difficulty: parent.difficulty_due(params),
        nonce: 0,
    })
}

fn judge(params: &Params, parent: &Position, header: Header, now: u64) -> Result<Position, Reject> {
    parent.child(params, &CheckedHeader::check(mined(header))?, Wall(now))
}

/// Goal: each rule of a header's place is broken alone, and the refusal names rule, figure and limit.
/// Method: a valid third header with one field changed.
#[test]
fn each_rule_of_place_is_broken_alone() {
    let params = working();
    let now = START + 1_000_000;
    let mut parent = Position::genesis(&params);
    for _ in 0..2 {
        parent = judge(&params, &parent, child_of(&params, &parent), now).expect("valid");
    }
    let right = child_of(&params, &parent);
    let after = judge(&params, &parent, right, now).expect("valid");
    assert_eq!(after.work, parent.work + u128::from(right.difficulty));
    let expected = right.difficulty;
    let broken = [
        (Header { height: 4, ..right }, Reject::Height { height: 4, parent: 2 }),
        (Header { height: 2, ..right }, Reject::Height { height: 2, parent: 2 }),
        (Header { version: 0, ..right }, Reject::Version { version: 0, rules: 1 }),
        (Header { version: 2, ..right }, Reject::NeedsRules { rules: 2 }),
        (Header { difficulty: expected - 1, ..right }, Reject::Difficulty { difficulty: expected - 1, expected }),
        (Header { difficulty: expected + 1, ..right }, Reject::Difficulty { difficulty: expected + 1, expected }),
        (Header { time: parent.time, ..right }, Reject::TimeOrder { time: parent.time, parent: parent.time }),
        (Header { time: now + 120_001, ..right }, Reject::TooEarly { ahead_ms: 120_001, limit_ms: 120_000 }),
    ];
    for (header, reject) in broken {
        assert_eq!(judge(&params, &parent, header, now), Err(reject));
    }
    assert!(judge(&params, &parent, Header { time: parent.time + 1, ..right }, now).is_ok(), "the least step");
    assert!(judge(&params, &parent, Header { time: now + 120_000, ..right }, now).is_ok(), "the limit itself");
}

/// Goal: difficulty 0 passes nothing, and work is checked before place. Method: both on a header that is
/// otherwise right.
#[test]
fn work_is_checked_first() {
    let params = working();
    let parent = Position::genesis(&params);
    let right = child_of(&params, &parent);
    let idle = Header { difficulty: 0, ..right };
    assert!(matches!(CheckedHeader::check(idle), Err(Reject::Work { difficulty: 0, .. })));
    let lazy = (0..9).map(|nonce| Header { nonce, ..right }).find(|header| CheckedHeader::check(*header).is_err());
    let lazy = lazy.expect("few hashes meet 2^12");
    let reject = CheckedHeader::check(lazy).expect_err("found as one");
    assert_eq!(reject, Reject::Work { id: lazy.id(), difficulty: right.difficulty });
    assert_eq!(reject.blame(), Blame::Block);
}

/// A branch of headers alone, from genesis, stamped one millisecond apart.
fn cheap_branch(params: &Params, count: usize, root: u8) -> Vec<CheckedHeader> {
    let mut parent = Position::genesis(params);
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let header = Header {
            version: 1,
            height: parent.height + 1,
            prev: parent.id,
            merkle_root: Hash([root; 32]),
            time: START - 100_000_000 + parent.height,
            difficulty: parent.difficulty_due(params),
            nonce: 0,
        };
        let header = CheckedHeader::check(header).expect("regtest takes any hash");
        parent = parent.child(params, &header, Wall(START)).expect("in its place");
        headers.push(header);
    }
    headers
}

/// A node with `height` blocks and a peer whose own words do not arrive: the test speaks for it.
fn with_puppet(height: usize) -> (World, PeerId) {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, height);
    world.connect(1, 0);
    world.mute(1, 0);
    world.mute(0, 1);
    let peer = world.peer_of(0, 1);
    world.told(0);
    (world, peer)
}

/// Makes the node follow the puppet, as an announcement of an unknown block does.
fn follow(world: &mut World, peer: PeerId) {
    let mut stranger = world.next_block(0, 5).header().to_owned();
    stranger.prev = Hash([0x77; 32]);
    let coinbase = spindle::blockchain::transaction::Coinbase {
        version: 1,
        height: stranger.height,
        output: spindle::blockchain::transaction::Output {
            amount: 1,
            key: spindle::primitives::keys::Key([1; 32]),
            view_tag: 0,
        },
        tx_key: spindle::primitives::keys::Key([0; 32]),
    };
    let news = NewBlock { header: stranger, coinbase, short_ids: List::first_of(vec![[0; 6]]) };
    let header = CheckedHeader::check(stranger).expect("regtest takes any hash");
    let block = spindle::node::event::Announced::Sketch(header, Box::new(news));
    world.step(0, Event::NewBlock { peer, block });
}

fn reasons(world: &mut World) -> Vec<Reason> {
    let told = world.told(0).into_iter();
    told.filter_map(|report| match report {
        Report::Disconnected { reason, .. } => Some(reason),
        _ => None,
    })
    .collect()
}

/// Goal: a branch of a million cheap headers that never gets heavier costs no memory. Method: a puppet
/// feeds full messages of valid headers below the tip's work; the tree must stay empty and the file as
/// it was. (Fewer than a million here: the stream keeps 40 bytes per message, whatever its length.)
#[test]
fn weak_headers_are_weighed_and_thrown_away() {
    let (mut world, peer) = with_puppet(12_000);
    let records = world.members[0].node.chain().store().records();
    let branch = cheap_branch(&world.params, 10_000, 0xaa);
    follow(&mut world, peer);
    for message in branch.chunks(HEADERS_MAX) {
        world.step(0, Event::Headers { peer, headers: message.to_vec() });
        assert!(world.members[0].node.chain().headers().is_empty());
        world.pass(1_000);
    }
    assert_eq!(world.members[0].node.chain().store().records(), records);
    assert_eq!(reasons(&mut world), [], "nobody lied yet");
}

/// Goal: other headers on the second pass than on the first end the connection. Method: a branch that
/// is proven heavier, and then another one from the same start.
#[test]
fn other_headers_on_the_second_pass_are_a_fault() {
    let (mut world, peer) = with_puppet(3_000);
    let first = cheap_branch(&world.params, 4_000, 0xaa);
    let second = cheap_branch(&world.params, 4_000, 0xbb);
    follow(&mut world, peer);
    for message in first.chunks(HEADERS_MAX) {
        world.step(0, Event::Headers { peer, headers: message.to_vec() });
    }
    world.step(0, Event::Headers { peer, headers: second[..HEADERS_MAX].to_vec() });
    assert_eq!(reasons(&mut world), [Reason::OtherHeaders]);
    assert!(world.members[0].node.chain().headers().is_empty());
}

/// Goal: the header tree is bounded however heavy the branch. Method: a heavier branch of 20,000 headers
/// whose bodies never come; when they are all there, nothing more is asked for.
#[test]
fn header_tree_is_bounded() {
    let (mut world, peer) = with_puppet(1);
    let branch = cheap_branch(&world.params, 20_000, 0xaa);
    follow(&mut world, peer);
    for message in branch.chunks(HEADERS_MAX) {
        world.step(0, Event::Headers { peer, headers: message.to_vec() });
    }
    let told = world.sent_bytes(0);
    world.step(0, Event::Tick);
    assert_eq!(world.sent_bytes(0), told, "no question for more");
    let tree = world.members[0].node.chain().headers();
    assert!(tree.len() <= TREE_MAX, "{} headers", tree.len());
    assert!(tree.len() >= TREE_MAX - HEADERS_MAX, "and it does take as many as it may");
}

/// Goal: a newcomer reads the headers of one peer, not those of each that tells it of its tip; when that one lets it
/// wait, of one more. Method: eight strangers claim a branch and announce a block of it; who is asked for headers is
/// counted, at once and after more than a second.
#[test]
fn newcomer_reads_headers_of_one_peer_at_a_time() {
    let mut world = World::new(Params::regtest(), 1);
    world.keep_effects(0);
    let strangers: Vec<PeerId> = (70..78).map(PeerId).collect();
    for &peer in &strangers {
        let address = SocketAddr::from(([198, 51, 100, u8::try_from(peer.0).expect("small")], 9_000));
        let hello = Box::new(Hello { nonce: 900_000 + peer.0, height: 5, work: 5, ..world.hello_of(0) });
        world.step(0, Event::Connected { peer, direction: Direction::Inbound, address, target: None, hello });
    }
    for &peer in &strangers {
        follow(&mut world, peer);
    }
    let asked = |world: &mut World| -> Vec<PeerId> {
        let effects = world.effects(0).into_iter();
        let asked = effects.filter_map(|effect| match effect {
            Effect::Ask { peer, asked: Asked::Headers, .. } => Some(peer),
            _ => None,
        });
        asked.collect()
    };
    let leader = asked(&mut world);
    assert_eq!(leader.len(), 1, "{leader:?}");
    world.pass(1_250);
    let beside = asked(&mut world);
    assert!(beside.len() == 1 && beside != leader, "{beside:?} beside {leader:?}");
    let headers = cheap_branch(&world.params, 5, 0xaa);
    world.step(0, Event::Headers { peer: beside[0], headers });
    let next = asked(&mut world);
    assert!(next.len() == 1 && next != beside, "{next:?}: has it the same?");
}

/// Goal: a peer whose headers take longer than a silent peer is given, because its connection is slow, is heard to
/// the end; one that is silent is not. Method: an answer that comes after twenty seconds, with signs of it each second,
/// and without.
#[test]
fn slow_headers_are_waited_for() {
    for comes in [true, false] {
        let (mut world, peer) = with_puppet(0);
        follow(&mut world, peer);
        for _ in 0..20 {
            world.pass(1_000);
            if comes {
                world.step(0, Event::Progress { peer });
            }
        }
        let gave_up = world.told(0).iter().any(|report| report.to_string().contains("sent no headers"));
        assert_eq!(gave_up, !comes);
        let headers = cheap_branch(&world.params, 5, 0xaa);
        world.step(0, Event::Headers { peer, headers });
        assert_eq!(world.members[0].node.chain().headers().len(), if comes { 5 } else { 0 });
    }
}

/// Goal: who claims more work than it can show is cut. Method: a puppet's hello claims much; its headers
/// end below.
#[test]
fn claimed_work_must_be_shown() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 10);
    world.mine(1, 20);
    world.dial(0, 1);
    // The handshake, and the question for headers; the answer is the test's.
    for _ in 0..3 {
        world.deliver_one();
    }
    world.mute(1, 0);
    world.settle();
    let peer = world.peer_of(0, 1);
    world.told(0);
    let short = cheap_branch(&world.params, 5, 0xaa);
    world.step(0, Event::Headers { peer, headers: short });
    assert_eq!(reasons(&mut world), [Reason::WorkNotShown { claimed: 20, shown: 5 }]);
}

/// Goal: a header that is wrong in its place ends the connection; its id is condemned if it cost the work
/// that is due there, else it would be free to fill that list. Method: a bad time, then a bad difficulty,
/// in the middle of a message.
#[test]
fn wrong_header_condemns_its_id() {
    let (mut world, peer) = with_puppet(3);
    let mut branch = cheap_branch(&world.params, 10, 0xaa);
    let parent = branch[4].header().time;
    let late = Header { time: parent, ..*branch[5].header() };
    let late = CheckedHeader::check(late).expect("regtest takes any hash");
    branch.truncate(5);
    branch.push(late);
    follow(&mut world, peer);
    world.step(0, Event::Headers { peer, headers: branch.clone() });
    let reject = Reject::TimeOrder { time: parent, parent };
    assert_eq!(reasons(&mut world), [Reason::Rejected { id: late.id(), reject }]);
    assert!(world.members[0].node.chain().is_condemned(&late.id()));
    let (mut world, peer) = with_puppet(3);
    let cheap = Header { difficulty: 2, time: parent + 1, ..*late.header() };
    let cheap = CheckedHeader::check(mined(cheap)).expect("mined");
    branch[5] = cheap;
    follow(&mut world, peer);
    world.step(0, Event::Headers { peer, headers: branch });
    let reject = Reject::Difficulty { difficulty: 2, expected: 1 };
    assert_eq!(reasons(&mut world), [Reason::Rejected { id: cheap.id(), reject }]);
    assert!(!world.members[0].node.chain().is_condemned(&cheap.id()));
}

/// Goal: headers that nobody asked for end the connection before they are complete. Method: the first
/// thirteen bytes of such a frame.
#[test]
fn unasked_headers_end_the_connection() {
    let mut world = World::new(Params::regtest(), 2);
    world.connect(1, 0);
    world.told(0);
    let branch = cheap_branch(&world.params, 10, 0xaa).iter().map(|header| *header.header()).collect();
    let frame = Message::Headers(List::first_of(branch)).to_frame();
    world.inject(1, 0, frame[..13].to_vec());
    let kind = spindle::node::message::Kind::Headers;
    assert_eq!(reasons(&mut world), [Reason::Unasked { kind }]);
}
