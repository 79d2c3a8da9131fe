//! What people want of a running core: blocks on demand, transactions, bans, connections; no threads, no sockets.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::world::World;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::{NetworkSpec, Params};
use spindle::node::event::{Direction, Effect, Event, PeerId, Target};
use spindle::node::message::Hello;
use spindle::node::orders::{Answer, GENERATE_MAX, Order, Ticket};
use spindle::node::reason::Reason;
use spindle::node::report::{Level, Report};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::Wall;

/// Gives an order and all effects of the turn.
fn order(world: &mut World, ticket: u64, order: Order) -> Vec<Effect> {
    world.keep_effects(0);
    world.step(0, Event::Order { ticket: Ticket(ticket), order });
    world.effects(0)
}

fn answer(effects: &[Effect], wanted: u64) -> Option<Answer> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer { ticket, answer } if *ticket == Ticket(wanted) => Some(answer.clone()),
        _ => None,
    })
}

fn refusal(effects: &[Effect], ticket: u64) -> String {
    match answer(effects, ticket) {
        Some(Answer::Done(Err(why)) | Answer::Blocks(Err(why))) => why,
        other => panic!("{other:?}"),
    }
}

fn asked_for(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        Effect::Generate { count } => Some(*count),
        _ => None,
    })
}

/// A node that has looked around, so that it would mine.
fn world() -> World {
    let mut world = World::new(Params::regtest(), 1);
    world.pass(12_000);
    world
}

/// Finds the block that its miners would, and gives its id and the effects.
fn mine(world: &mut World, variant: u64) -> (Hash, Vec<Effect>) {
    let block = world.next_block(0, variant);
    let id = block.id();
    world.keep_effects(0);
    world.step(0, Event::Mined { block: Box::new(block) });
    world.settle();
    (id, world.effects(0))
}

/// Finds the block of its template, and gives its id and the effects.
fn mine_template(world: &mut World) -> (Hash, Vec<Effect>) {
    let block = world.members[0].template.as_ref().expect("it mines").to_block();
    let block = world.checked(block);
    let id = block.id();
    world.keep_effects(0);
    world.step(0, Event::Mined { block: Box::new(block) });
    world.settle();
    (id, world.effects(0))
}

/// Goal: an order counts the blocks that were found for it, and no others of ours. Method: an order for somebody else;
/// a block that pays the node itself, found just before the miners heard; then one that pays whom it was ordered for.
#[test]
fn an_order_counts_its_own_blocks() {
    let mut world = world();
    let generate = Order::Generate { count: 1, payout: Some(Key([9; 32]).into()) };
    assert_eq!(asked_for(&order(&mut world, 1, generate)), Some(1));
    let (_, effects) = mine(&mut world, 0);
    assert_eq!((answer(&effects, 1), world.height(0)), (None, 1));
    assert_eq!(world.members[0].node.blocks_owed(), 1);
    let (theirs, effects) = mine_template(&mut world);
    assert_eq!(answer(&effects, 1), Some(Answer::Blocks(Ok(vec![theirs]))));
    assert_eq!(world.members[0].node.blocks_owed(), 0);
}

/// Goal: no work goes into what nobody waits for: an order that is withdrawn ends at once and the next one begins; when
/// mining is stopped, all of them end and are told so. Method: four orders, of which the first and the third are
/// withdrawn; a stop.
#[test]
fn an_order_ends_when_nobody_wants_it() {
    let mut world = world();
    let generate = |count| Order::Generate { count, payout: None };
    assert_eq!(asked_for(&order(&mut world, 1, generate(5))), Some(5));
    for ticket in 2..5 {
        order(&mut world, ticket, generate(2));
    }
    assert_eq!(world.members[0].node.blocks_owed(), 11);
    let wanted = |effects: Vec<Effect>| -> Vec<u32> {
        let counts = effects.into_iter().filter_map(|effect| asked_for(&[effect]));
        counts.collect()
    };
    assert_eq!(wanted(order(&mut world, 5, Order::Withdraw(Ticket(1)))), [0, 2], "none of the five, then the next");
    assert_eq!(wanted(order(&mut world, 6, Order::Withdraw(Ticket(3)))), [0; 0], "it had not begun");
    assert_eq!(world.members[0].node.blocks_owed(), 4);
    let (_, effects) = mine(&mut world, 0);
    assert_eq!(answer(&effects, 2), None);
    let effects = order(&mut world, 7, Order::Mine { threads: 0, payout: None });
    assert!(refusal(&effects, 2).contains("after 1 of 2 blocks"));
    assert!(refusal(&effects, 4).contains("after 0 of 2 blocks"));
    assert_eq!((answer(&effects, 1), answer(&effects, 3)), (None, None));
    assert_eq!((wanted(effects), world.members[0].node.blocks_owed()), (vec![0], 0));
}

/// Goal: each order for blocks is answered once with its own blocks, when the last of them is durable, one order
/// after the other. Method: two orders at once; three blocks.
#[test]
fn an_order_for_blocks_is_answered_when_they_are_durable() {
    let mut world = world();
    let generate = |count| Order::Generate { count, payout: None };
    assert_eq!(asked_for(&order(&mut world, 1, generate(2))), Some(2));
    assert_eq!(asked_for(&order(&mut world, 2, generate(1))), None, "it waits for the first");
    let (first, effects) = mine(&mut world, 0);
    assert_eq!(answer(&effects, 1), None, "one is missing");
    let (second, effects) = mine(&mut world, 0);
    assert_eq!(answer(&effects, 1), Some(Answer::Blocks(Ok(vec![first, second]))));
    world.pass(1_000);
    let (third, effects) = mine(&mut world, 0);
    assert_eq!(answer(&effects, 2), Some(Answer::Blocks(Ok(vec![third]))));
    assert_eq!(answer(&effects, 1), None, "once");
}

/// Goal: what cannot be done is refused at once, with the limit. Method: no block, too many.
#[test]
fn a_senseless_order_for_blocks_is_refused() {
    let mut world = world();
    for count in [0, GENERATE_MAX + 1] {
        let effects = order(&mut world, 1, Order::Generate { count, payout: None });
        assert!(refusal(&effects, 1).contains(&GENERATE_MAX.to_string()));
    }
}

/// Goal: whoever wants blocks hears at once why there are none, and does not wait: on a disk without room, and beyond
/// rules that this program does not know. Method: a full disk; a network whose third block has rules of the future, an order
/// that comes before it and one that comes then.
#[test]
fn an_order_that_cannot_be_followed_is_refused_at_once() {
    let (mut full, disk) = (World::new(Params::regtest(), 0), MemoryDisk::default());
    disk.set_free_bytes(1 << 20);
    full.add(disk);
    full.pass(12_000);
    let refused = order(&mut full, 1, Order::Generate { count: 1, payout: None });
    let why = refusal(&refused, 1);
    assert!(why.contains("the disk is too full") && why.contains("free some space"), "{why}");

    let spec = NetworkSpec { activations: [(2, 3)].into(), ..Params::regtest().spec().clone() };
    let mut future = World::new(Params::new(spec).expect("a sound spec"), 1);
    future.pass(12_000);
    order(&mut future, 1, Order::Generate { count: 5, payout: None });
    let mut effects = mine_template(&mut future).1;
    effects.extend(mine_template(&mut future).1);
    let why = refusal(&effects, 1);
    assert!(why.contains("block 3 needs rules 2") && why.contains("2 of 5"), "{why}");
    let refused = order(&mut future, 2, Order::Generate { count: 1, payout: None });
    assert!(refusal(&refused, 2).contains("needs rules 2"));
    assert!(future.members[0].template.is_none(), "nobody works on what cannot be");
}

/// Goal: blocks that were ordered for somebody pay him and nobody else, and the node's own payout returns after
/// them. Method: the keys in the templates.
#[test]
fn ordered_blocks_pay_whom_they_were_ordered_for() {
    let mut world = world();
    let ours = world.members[0].template.clone().expect("it mines").coinbase().output.key;
    let theirs = Key([9; 32]);
    order(&mut world, 1, Order::Generate { count: 1, payout: Some(theirs.into()) });
    let template = world.members[0].template.clone().expect("it mines");
    assert_eq!(template.coinbase().output.key, theirs);
    mine_template(&mut world);
    world.pass(1_000);
    let template = world.members[0].template.clone().expect("it mines");
    assert_eq!(template.coinbase().output.key, ours);
}

/// Goal: a block from outside is answered for when it is durable, and one that has no place with the reason.
/// Method: a good one; the same again; one beside it.
#[test]
fn a_submitted_block_is_answered_for() {
    let mut world = world();
    let (block, twin) = (world.next_block(0, 0), world.next_block(0, 1));
    world.keep_effects(0);
    let effects = order(&mut world, 1, Order::SubmitBlock(Box::new(block.clone())));
    let synced = effects.iter().position(|effect| matches!(effect, Effect::Sync { .. })).expect("it is to last");
    assert_eq!(answer(&effects[..synced], 1), None, "the disk has not said anything yet");
    assert_eq!(answer(&effects[synced..], 1), Some(Answer::Done(Ok(()))));
    assert_eq!(world.tip(0), block.id());
    let effects = order(&mut world, 2, Order::SubmitBlock(Box::new(block)));
    assert!(refusal(&effects, 2).contains("known already"));
    mine(&mut world, 0);
    let effects = order(&mut world, 3, Order::SubmitBlock(Box::new(twin)));
    assert!(refusal(&effects, 3).contains("as much work"));
}

/// Goal: a ban ends what there is, keeps the address out, is listed with its reason, and can be lifted; this machine
/// cannot be banned. Method: a peer from another address; orders.
#[test]
fn a_ban_is_kept_and_lifted() {
    let mut world = world();
    let ip = IpAddr::from([203, 0, 113, 9]);
    let peer = world.puppet(0, [203, 0, 113, 9]);
    let until = Wall(u64::MAX);
    let effects = order(&mut world, 1, Order::Ban { ip, until });
    assert_eq!(answer(&effects, 1), Some(Answer::Done(Ok(()))));
    assert!(effects.contains(&Effect::HangUp { peer, reason: Reason::Ordered }));
    assert!(effects.contains(&Effect::Refuse { ip, until: Some(until) }));
    let bans: Vec<_> = world.members[0].node.peers().bans().map(|(ip, ban)| (ip, ban.until)).collect();
    assert_eq!(bans, [(ip, until)]);
    let effects = order(&mut world, 2, Order::Unban(ip));
    assert_eq!(answer(&effects, 2), Some(Answer::Done(Ok(()))));
    assert!(effects.contains(&Effect::Refuse { ip, until: None }));
    assert!(refusal(&order(&mut world, 3, Order::Unban(ip)), 3).contains("is not banned"));
    let here = Order::Ban { ip: IpAddr::from([127, 0, 0, 1]), until };
    assert!(refusal(&order(&mut world, 4, here), 4).contains("this machine"));
    let past = Order::Ban { ip, until: Wall(1) };
    assert!(refusal(&order(&mut world, 5, past), 5).contains("over already"));
}

/// Goal: whom a person wants is dialled at once; who is disconnected by order goes and is not dialled again at
/// once. Method: an address that nobody knows, then its connection.
#[test]
fn connections_are_made_and_ended_by_order() {
    let mut world = world();
    let target = Target::Address(SocketAddr::from(([203, 0, 113, 9], 9_000)));
    let effects = order(&mut world, 1, Order::Connect(target.clone()));
    assert_eq!(answer(&effects, 1), Some(Answer::Done(Ok(()))));
    world.keep_effects(0);
    world.pass(250);
    assert!(world.effects(0).contains(&Effect::Dial { target }));
    let peer = world.puppet(0, [203, 0, 113, 10]);
    let effects = order(&mut world, 2, Order::Disconnect(peer));
    assert!(effects.contains(&Effect::HangUp { peer, reason: Reason::Ordered }));
    assert!(refusal(&order(&mut world, 3, Order::Disconnect(peer)), 3).contains("spindle peers"));
}

/// Goal: whoever is disconnected by order is not dialled again, where it was found or where it says that it listens,
/// until somebody wants him: then at once. Method: a peer that came and listens, one that we dialled, ten minutes.
#[test]
fn who_is_disconnected_by_order_is_left_alone() {
    let mut world = world();
    let there = |last: u8| SocketAddr::from(([203, 0, 113, last], 9_001));
    let (peers, targets) = ([PeerId(700), PeerId(701)], [9, 10].map(|last| Target::Address(there(last))));
    let hello = |nonce| Box::new(Hello { nonce, listen_port: 9_001, height: 0, work: 0, ..world.hello_of(0) });
    let hellos = [hello(1), hello(2)];
    let [came, dialled] = hellos;
    let address = SocketAddr::from(([203, 0, 113, 9], 50_000));
    let direction = Direction::Inbound;
    world.step(0, Event::Connected { peer: peers[0], direction, address, target: None, hello: came });
    order(&mut world, 1, Order::Connect(targets[1].clone()));
    let (direction, target) = (Direction::Outbound, Some(targets[1].clone()));
    world.step(0, Event::Connected { peer: peers[1], direction, address: there(10), target, hello: dialled });
    for (ticket, peer) in (2..).zip(peers) {
        let effects = order(&mut world, ticket, Order::Disconnect(peer));
        assert!(effects.contains(&Effect::HangUp { peer, reason: Reason::Ordered }));
        world.step(0, Event::Closed { peer, reason: Reason::Ordered });
    }
    world.keep_effects(0);
    world.pass(600_000);
    let dials = |effects: &[Effect], target: &Target| effects.contains(&Effect::Dial { target: target.clone() });
    let effects = world.effects(0);
    assert!(targets.iter().all(|target| !dials(&effects, target)));
    for (ticket, target) in (4..).zip(&targets) {
        order(&mut world, ticket, Order::Connect(target.clone()));
        world.keep_effects(0);
        world.pass(250);
        assert!(dials(&world.effects(0), target));
    }
}

/// Goal: a person who has ordered a connection reads in the log why there is none; once. Method: two refusals.
#[test]
fn an_ordered_dial_does_not_fail_silently() {
    let mut world = world();
    let target = Target::Address(SocketAddr::from(([203, 0, 113, 9], 9_000)));
    order(&mut world, 1, Order::Connect(target.clone()));
    let mut levels = Vec::new();
    for _ in 0..2 {
        world.keep_effects(0);
        let reason = Reason::Broken("connection refused".into());
        world.step(0, Event::DialFailed { target: target.clone(), reason });
        levels.extend(world.effects(0).iter().filter_map(|effect| match effect {
            Effect::Tell(report @ Report::DialFailed { .. }) => Some(report.level()),
            _ => None,
        }));
    }
    assert_eq!(levels, [Level::Info, Level::Debug]);
}
