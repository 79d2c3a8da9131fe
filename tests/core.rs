//! The core with peers: following, forks, ties, deep branches, liars, crashes. No socket, no thread.

mod common;

use common::world::{START, World};
use spindle::blockchain::block::{Block, CheckedBlock, CheckedHeader, Header};
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::blockchain::reject::Reject;
use spindle::node::event::{Announced, Effect, Event};
use spindle::node::message::{Message, NewBlock};
use spindle::node::reason::Reason;
use spindle::node::report::Report;
use spindle::node::sync::STALL_MS;
use spindle::primitives::codec::{self, List};
use spindle::primitives::frame::{KIND_BLOCK, frame_into};
use spindle::primitives::keys::Key;

/// Goal: a block travels from one end of a line to the other. Method: three nodes, the middle one knows
/// both; one block is mined at the end.
#[test]
fn block_reaches_the_end_of_a_line() {
    let mut world = World::new(Params::regtest(), 3);
    world.connect(0, 1);
    world.connect(1, 2);
    world.mine(0, 1);
    assert_eq!((world.height(1), world.height(2)), (1, 1));
    assert_eq!(world.tip(2), world.tip(0));
}

/// Goal: a newcomer fetches everything. Method: 5,000 blocks on one node, then a second connects.
#[test]
fn newcomer_fetches_the_whole_chain() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 5_000);
    world.connect(1, 0);
    assert_eq!((world.height(1), world.tip(1)), (5_000, world.tip(0)));
    let (kept, replayed) = world.ledger_and_replay(1);
    assert_eq!(kept, replayed);
    assert!(world.members[1].node.chain().headers().is_empty(), "no header is left without a body");
    assert!(world.now.wall.0 == START, "no deadline had to pass");
}

/// Goal: two nodes that mined apart agree on the heavier branch when they meet, however deep the fork.
/// Method: 10 against 12 blocks, then 2,000 against 2,002, then 9,000 against 9,001 (which needs the
/// two-pass stream); the ledger is compared with a replay from genesis.
#[test]
fn two_that_mined_apart_agree_when_they_meet() {
    for (ours, theirs) in [(10, 12), (2_000, 2_002), (9_000, 9_001)] {
        let mut world = World::new(Params::regtest(), 2);
        world.mine(0, ours);
        world.mine(1, theirs);
        assert_ne!(world.tip(0), world.tip(1));
        world.connect(0, 1);
        assert_eq!(world.tip(0), world.tip(1), "{ours} against {theirs}");
        assert_eq!(world.height(0), theirs as u64);
        let (kept, replayed) = world.ledger_and_replay(0);
        assert_eq!(kept, replayed);
        assert_eq!(world.connections(0), 1, "nobody is blamed");
    }
}

/// Goal: of two equal branches the one seen first stays, also after a restart, and a child decides.
/// Method: one block each, the nodes meet, one restarts, then the other mines one more.
#[test]
fn first_seen_wins_a_tie_across_restarts() {
    let mut world = World::new(Params::regtest(), 2);
    let [first] = world.mine(0, 1)[..] else { panic!("one block") };
    let [second] = world.mine(1, 1)[..] else { panic!("one block") };
    world.connect(0, 1);
    assert_eq!((world.tip(0), world.tip(1)), (first, second));
    world.crash(0);
    world.connect(0, 1);
    assert_eq!(world.tip(0), first);
    world.mine(1, 1);
    assert_eq!(world.tip(0), world.tip(1));
    world.crash(0);
    assert_eq!(world.tip(0), world.tip(1));
}

/// Goal: bodies that do not come are fetched from somebody else. Method: two nodes have the chain; the
/// one that is asked falls silent in the middle, and time passes.
#[test]
fn silent_peer_is_replaced() {
    for silent in [0, 1] {
        let mut world = World::new(Params::regtest(), 2);
        world.mine(0, 3_000);
        world.connect(1, 0);
        assert_eq!(world.height(1), 3_000);
        let newcomer = world.add(MemoryDisk::default());
        world.dial(newcomer, 0);
        world.dial(newcomer, 1);
        // The handshakes, the headers, some of the bodies.
        while world.height(newcomer) == 0 {
            assert!(world.deliver_one());
        }
        world.mute(silent, newcomer);
        world.settle();
        world.pass(STALL_MS + 30_000);
        assert_eq!((world.height(newcomer), world.tip(newcomer)), (3_000, world.tip(0)), "{silent} fell silent");
    }
}

/// Goal: a block from the future is refused without blame and taken when its time has come (RULES 9).
/// Method: a miner whose clock is 150 s ahead (limit 120 s), then 31 s pass.
#[test]
fn early_block_is_taken_when_its_time_has_come() {
    let mut world = World::new(Params::regtest(), 2);
    world.connect(0, 1);
    let early = world.next_block(0, 150_000);
    let id = early.id();
    let behind = world.now;
    world.now.wall.0 += 100_000;
    world.step(0, Event::Mined { block: Box::new(early) });
    world.now = behind;
    world.settle();
    assert_eq!((world.tip(0), world.height(1)), (id, 0));
    assert_eq!(world.connections(1), 1, "nobody is blamed");
    world.pass(31_000);
    assert_eq!(world.tip(1), id);
}

/// Goal: a heavier branch that breaks a rule only the ledger knows is left again, its sender is cut, and
/// it is never tried again, not even after a restart. Method: a fork of ten blocks whose third spends a
/// coin that does not exist, told and delivered by a peer whose own words do not arrive.
#[test]
fn invalid_heavier_branch_is_left_and_never_retried() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 15);
    world.connect(1, 0);
    world.disconnect(0, 1);
    let fork = world.forge_branch(1, 10, 3);
    let honest = world.mine(0, 5);
    let tip = world.tip(0);
    let ledger = world.members[0].node.chain().ledger().hash();
    world.connect(1, 0);
    world.mute(1, 0);
    let peer = world.peer_of(0, 1);
    let last = fork.last().expect("ten blocks").clone();
    let headers = fork.iter().map(CheckedBlock::checked_header).collect();
    world.step(0, Event::NewBlock { peer, block: Announced::Whole(Box::new(last)) });
    world.step(0, Event::Headers { peer, headers });
    world.step(0, Event::Blocks { peer, blocks: fork });
    world.settle();
    assert_eq!(world.connections(0), 0, "its sender is cut");
    assert_eq!((world.tip(0), honest.last()), (tip, Some(&tip)));
    assert_eq!(world.members[0].node.chain().ledger().hash(), ledger);
    let refused = world.told(0).into_iter().filter(|report| matches!(report, Report::Refused { .. })).count();
    assert_eq!(refused, 1, "one attempt");
    world.crash(0);
    assert_eq!(world.tip(0), tip);
    let (kept, replayed) = world.ledger_and_replay(0);
    assert_eq!((kept, replayed), (ledger, ledger));
}

/// Goal: two nodes that dial each other at the same time keep one connection. Method: both dial before
/// anything arrives.
#[test]
fn two_that_dial_each_other_keep_one_connection() {
    let mut world = World::new(Params::regtest(), 2);
    world.dial(0, 1);
    world.dial(1, 0);
    world.settle();
    assert_eq!((world.connections(0), world.connections(1)), (1, 1));
    world.mine(0, 1);
    assert_eq!(world.height(1), 1);
}

/// Goal: equal-work blocks cannot fill the file. Method: a hundred siblings of the tip, announced.
#[test]
fn siblings_of_the_tip_are_bounded() {
    let mut world = World::new(Params::regtest(), 2);
    world.connect(0, 1);
    let siblings: Vec<_> = (0..100).map(|variant| world.next_block(0, variant)).collect();
    for block in siblings {
        let peer = world.peer_of(1, 0);
        world.step(1, Event::NewBlock { peer, block: Announced::Whole(Box::new(block)) });
    }
    let records = world.members[1].node.chain().store().records();
    assert!(records <= 1 + 1 + 4, "{records} records: genesis, the tip, and four siblings at most");
}

/// Goal: a full disk stops appending before it hurts, nothing is lost, and it goes on when there is
/// space. Method: the disk's free bytes fall below the reserve and rise again.
#[test]
fn full_disk_pauses_the_node_and_space_wakes_it() {
    let mut world = World::new(Params::regtest(), 2);
    world.connect(0, 1);
    world.mine(0, 3);
    // The disk is asked only now and then: the next start is one of those times.
    world.crash(1);
    world.members[1].disk.set_free_bytes(32 << 20);
    world.connect(0, 1);
    world.mine(0, 3);
    assert_eq!(world.height(1), 3, "nothing is taken");
    world.members[1].disk.set_free_bytes(1 << 30);
    world.pass(3_000);
    world.mine(0, 1);
    assert_eq!(world.tip(1), world.tip(0));
}

/// Goal: what was told to be durable survives a power cut at any later time. Method: a node mines,
/// crashes after each block, and must come back at least as high as it said.
#[test]
fn durable_blocks_survive_a_crash() {
    let mut world = World::new(Params::regtest(), 1);
    for height in 1..=20 {
        world.mine(0, 1);
        let durable = world.told(0).into_iter().filter_map(|report| match report {
            Report::Durable { height, .. } => Some(height),
            _ => None,
        });
        assert_eq!(durable.max(), Some(height));
        world.crash(0);
        assert_eq!(world.height(0), height);
    }
}

/// Goal: people hear of a confirmation when a power cut could not take it back any more, and not at all if its block
/// was left before that. Method: a block with a payment; the sync that was asked for is done late, and the second
/// time after two blocks of another branch.
#[test]
fn a_payment_is_told_confirmed_when_its_block_is_durable() {
    for is_left in [false, true] {
        let mut world = World::new(Params::regtest(), 1);
        world.mine(0, 12);
        let coin = world.spendable(0)[0];
        let payment = common::pay(&world.params, &[coin], &[coin.input.amount - 5_000]);
        world.submit(0, &payment);
        let others = if is_left { world.forge_branch(0, 2, 0) } else { Vec::new() };
        let block = world.next_block(0, 0);
        let now = world.now;
        let node = &mut world.members[0].node;
        let mut step = |event| {
            let mut effects = node.step(now, event).expect("a memory disk does not fail");
            while node.has_more() {
                effects.extend(node.step(now, Event::Continue).expect("a memory disk does not fail"));
            }
            effects
        };
        let told = |effects: &[Effect]| -> Vec<Report> {
            let told = effects.iter().filter_map(|effect| match effect {
                Effect::Tell(report @ Report::Confirmed { .. }) => Some(report.clone()),
                _ => None,
            });
            told.collect()
        };
        for block in std::iter::once(block).chain(others) {
            assert_eq!(told(&step(Event::Mined { block: Box::new(block) })), []);
        }
        let upto = world.members[0].node.chain().store().appended_bytes();
        world.members[0].node.syncer().sync(upto).expect("a memory disk does not fail");
        let effects = world.members[0].node.step(now, Event::Durable { upto }).expect("a memory disk does not fail");
        let confirmed = Report::Confirmed { height: 13, ids: vec![payment.id()] };
        assert_eq!(told(&effects), if is_left { vec![] } else { vec![confirmed] });
        assert_eq!(world.members[0].node.pool().contains(&payment.id()), is_left);
    }
}

/// Goal: a body that is not the one its header commits to blames its sender and never the block: the
/// honest copy is still taken. Method: an announcement with another coinbase, then the true one.
#[test]
fn mutated_copy_does_not_harm_the_honest_one() {
    let mut world = World::new(Params::regtest(), 3);
    world.connect(1, 0);
    world.connect(2, 0);
    let honest = world.next_block(2, 0);
    let mut block: Block = codec::decode(honest.bytes()).expect("a block");
    block.coinbase.output.key = Key([0xee; 32]);
    let news = NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::default() };
    world.inject(1, 0, Message::NewBlock(Box::new(news)).to_frame());
    assert_eq!((world.height(0), world.connections(0)), (0, 1), "its sender is cut");
    assert!(!world.members[0].node.chain().is_condemned(&honest.id()));
    let id = honest.id();
    world.step(2, Event::Mined { block: Box::new(honest) });
    world.settle();
    assert_eq!(world.tip(0), id);
}

/// Goal: a header whose body never comes stops nothing but itself: the node goes on mining and syncing,
/// and forgets it with its peer. Method: a puppet announces a heavier header without a body, says that it
/// does not have it, and goes.
#[test]
fn withheld_body_stops_nothing() {
    for says_missing in [true, false] {
        let mut world = World::new(Params::regtest(), 3);
        world.mine(0, 2);
        world.connect(1, 0);
        world.mute(1, 0);
        let peer = world.peer_of(0, 1);
        let block = world.next_block(0, 7);
        let news: Block = codec::decode(block.bytes()).expect("a block");
        let sketch = NewBlock { header: news.header, coinbase: news.coinbase, short_ids: List::first_of(vec![[1; 6]]) };
        let told = Announced::Sketch(block.checked_header(), Box::new(sketch));
        world.step(0, Event::NewBlock { peer, block: told });
        // First for what the sketch lacks, then for the whole of it.
        world.pass(2_500);
        assert_eq!(world.members[0].node.chain().headers().len(), 1);
        if says_missing {
            world.step(0, Event::Missing { peer, last: block.id() });
        }
        world.pass(11_000);
        assert!(world.members[0].template.is_some(), "it mines");
        world.mine(2, 30);
        world.connect(0, 2);
        assert_eq!(world.tip(0), world.tip(2), "it syncs from somebody else");
        world.disconnect(0, 1);
        world.pass(1_500);
        assert!(world.members[0].node.chain().headers().is_empty(), "nobody has that header any more");
    }
}

/// Goal: a body that breaks a rule condemns its block, whoever finds it out, and it is never asked for
/// again. Method: a puppet shows a heavier header and then a body whose coinbase takes a unit too much.
#[test]
fn body_that_breaks_a_rule_is_never_asked_for_again() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 1);
    let good = world.next_block(0, 0);
    let mut bad: Block = codec::decode(good.bytes()).expect("a block");
    bad.coinbase.output.amount += 1;
    let bad = common::sealed(bad);
    for round in 0..3 {
        world.connect(1, 0);
        world.mute(0, 1);
        let peer = world.peer_of(0, 1);
        let sketch = NewBlock { header: bad.header, coinbase: bad.coinbase, short_ids: List::first_of(vec![[1; 6]]) };
        let asked = world.sent_bytes(0);
        let header = CheckedHeader::check(bad.header).expect("regtest takes any hash");
        world.step(0, Event::NewBlock { peer, block: Announced::Sketch(header, Box::new(sketch)) });
        assert_eq!(world.sent_bytes(0) > asked && round == 0, round == 0, "round {round}");
        if round == 0 {
            // What the sketch lacks does not come, so the whole of it is asked for.
            world.pass(2_500);
            world.inject(1, 0, frame_of(&bad.to_bytes()));
        }
        assert_eq!(world.connections(0), 0, "its sender is cut");
        assert!(world.members[0].node.chain().is_condemned(&bad.id()));
    }
    // Nor is what builds on it, and whoever is cut for that hears of both blocks.
    let child = common::sealed(Block { header: Header { height: 3, prev: bad.id(), ..bad.header }, ..bad.clone() });
    let peer = world.puppet(0, [198, 51, 100, 7]);
    world.told(0);
    let sketch = NewBlock { header: child.header, coinbase: child.coinbase, short_ids: List::first_of(vec![[1; 6]]) };
    let header = CheckedHeader::check(child.header).expect("regtest takes any hash");
    world.step(0, Event::NewBlock { peer, block: Announced::Sketch(header, Box::new(sketch)) });
    let cut = Reason::Rejected { id: child.id(), reject: Reject::Condemned { id: bad.id() } };
    assert!(world.told(0).iter().any(|told| matches!(told, Report::Disconnected { reason, .. } if *reason == cut)));
}

fn frame_of(block: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame_into(KIND_BLOCK, block, &mut frame);
    frame
}

/// Goal: a peer that sends bodies one by one does not hold up a sync that another could do at once.
/// Method: it has shown the whole branch and delivers a single block in three seconds; an honest peer is
/// connected too.
#[test]
fn trickling_peer_does_not_hold_up_the_sync() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 3_000);
    world.connect(1, 0);
    let newcomer = world.add(MemoryDisk::default());
    world.connect_slow(newcomer, 1);
    world.connect(newcomer, 0);
    let mut seconds = 0;
    while world.height(newcomer) < 3_000 {
        world.pass(3_000);
        seconds += 3;
        assert!(seconds < 60, "at height {} after a minute", world.height(newcomer));
    }
}

/// Goal: no peer is ever asked more at a time than the protocol allows, whatever becomes of the plan.
/// Method: goals that change while bodies are owed, from a peer whose answers do not arrive.
#[test]
fn plan_changes_do_not_overstep_the_request_limit() {
    let mut world = World::new(Params::regtest(), 3);
    world.mine(1, 4_000);
    world.mine(2, 4_100);
    world.dial(0, 1);
    world.dial(0, 2);
    while world.height(0) == 0 {
        assert!(world.deliver_one());
    }
    world.mute(1, 0);
    world.mute(2, 0);
    for _ in 0..20 {
        world.settle();
        world.pass(2_000);
    }
    // The world itself holds every server to four open requests: it panics at the fifth.
}

/// Goal: a branch that fills the header tree and that nobody can deliver does not keep an honest one out.
/// Method: a puppet shows 20,000 headers and has none of their bodies; an honest peer has 3,000 blocks.
#[test]
fn undeliverable_branch_that_fills_the_tree_is_given_up() {
    let mut world = World::new(Params::regtest(), 3);
    world.mine(2, 3_000);
    world.connect(1, 0);
    world.mute(1, 0);
    world.mute(0, 1);
    let peer = world.peer_of(0, 1);
    let branch = world.forge_branch(1, 20_000, 0);
    let sketch = World::sketch_of(branch.last().expect("many"));
    world.step(0, Event::NewBlock { peer, block: sketch });
    for message in branch.chunks(2_000) {
        let headers = message.iter().map(CheckedBlock::checked_header).collect();
        world.step(0, Event::Headers { peer, headers });
    }
    let first = world.members[0].node.chain().headers().len();
    assert_eq!(first, 20_000);
    world.connect(0, 2);
    for last in world.asked_of(0, 1) {
        world.step(0, Event::Missing { peer, last });
    }
    world.settle();
    world.pass(10_000);
    assert_eq!(world.tip(0), world.tip(2));
}

/// Goal: headers that come and go without bodies do not keep a node from mining, however often the plan
/// changes. Method: two puppets show one heavier header each, in turn, for a minute.
#[test]
fn withheld_headers_in_turn_do_not_stop_mining() {
    let mut world = World::new(Params::regtest(), 3);
    world.mine(0, 2);
    let blocks = [world.next_block(0, 7), world.next_block(0, 8)];
    let mut mining = 0;
    for round in 0..60 {
        let who = 1 + round % 2;
        world.connect(who, 0);
        world.mute(who, 0);
        world.mute(0, who);
        let peer = world.peer_of(0, who);
        world.step(0, Event::NewBlock { peer, block: World::sketch_of(&blocks[round % 2]) });
        world.pass(1_000);
        mining += usize::from(world.members[0].template.is_some());
        world.disconnect(0, who);
    }
    assert!(mining > 40, "{mining} of 60 seconds");
}

/// Goal: a new block is no reason to rest: miners go from one template to the next, and people are told once
/// that they mine. Method: three blocks on one node, and what it tells.
#[test]
fn miners_do_not_rest_between_two_blocks() {
    let mut world = World::new(Params::regtest(), 1);
    world.mine(0, 1);
    world.pass(1_000);
    world.mine(0, 2);
    let told = world.told(0);
    let begins: Vec<bool> = told
        .iter()
        .filter_map(|told| if let Report::Mining { begins } = told { Some(*begins) } else { None })
        .collect();
    assert_eq!(begins, [true]);
    assert_eq!(world.members[0].template.as_ref().map(|template| template.header().height), Some(4));
}

/// Goal: four peers that take all places for bodies and drip do not keep an honest one out. Method: they
/// have shown the branch and deliver a single block in three seconds each.
#[test]
fn four_that_drip_do_not_take_all_places() {
    let mut world = World::new(Params::regtest(), 5);
    world.mine(0, 3_000);
    for dripper in 1..5 {
        world.connect(dripper, 0);
    }
    let newcomer = world.add(MemoryDisk::default());
    for dripper in 1..5 {
        world.connect_slow(newcomer, dripper);
    }
    world.pass(6_000);
    world.connect(newcomer, 0);
    let mut seconds = 0;
    while world.height(newcomer) < 3_000 {
        world.pass(3_000);
        seconds += 3;
        assert!(seconds < 90, "at height {} after 90 seconds", world.height(newcomer));
    }
}

/// Goal: a node that all others dialled hears of more nodes: after a while it asks those who came.
/// Method: the first is dialled by the second alone, which knows a third.
#[test]
fn who_has_chosen_nobody_asks_those_who_came() {
    let mut world = World::new(Params::regtest(), 3);
    world.connect(1, 2);
    world.connect(1, 0);
    world.pass(50_000);
    assert_eq!((world.connections(0), world.connections(1)), (1, 2), "those who dial have their chance first");
    world.pass(20_000);
    assert_eq!((world.connections(0), world.connections(2)), (2, 2));
}
