//! New blocks from their sketches: what is known is not sent again, what is missing is asked for by its place, and
//! whoever lies costs a round trip: never a wrong block, never the honest copy.

mod common;

use common::world::{Verifying, World};
use common::{Coin, coin_from, pay, sealed, unsigned};
use spindle::blockchain::block::{Block, CheckedHeader};
use spindle::blockchain::mempool::LIFE_MS;
use spindle::blockchain::params::Params;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Output, Transaction};
use spindle::node::event::{Announced, Asked, Effect, Event, PeerId};
use spindle::node::message::{Message, NewBlock, ShortIdKey};
use spindle::node::reason::Reason;
use spindle::node::report::Report;
use spindle::primitives::codec::List;
use spindle::primitives::frame::{KIND_BLOCK, frame_into};
use spindle::primitives::keys::{Key, Signature};
use spindle::primitives::time::Wall;

/// A node on a chain of 40 blocks, and payments that could be in the next one.
fn node(payments: usize) -> (World, Vec<Transaction>) {
    let mut world = World::new(Params::regtest(), 1);
    world.mine(0, 40);
    world.pass(15_000);
    world.keep_effects(0);
    let coins = world.spendable(0);
    let payments = coins[..payments].iter().map(|coin| pay(&world.params, &[*coin], &[coin.input.amount - 5_000]));
    let payments = payments.collect();
    (world, payments)
}

/// A block on the node's tip with these transfers, which somebody else has mined.
fn block_of(world: &World, transfers: &[Transaction]) -> Block {
    let parent = world.members[0].node.chain().tip_position();
    let mut block = Template::new(&world.params, parent, &Key([0xcc; 32]).into(), &[]).to_block();
    block.coinbase.output.amount += transfers.iter().map(common::fee).sum::<u64>();
    block.transfers = List::first_of(transfers.to_vec());
    block.header.time = world.now.wall.0.max(block.header.time);
    sealed(block)
}

/// Its sketch, as it should be.
fn sketch_of(block: &Block) -> NewBlock {
    let key = ShortIdKey::of(&block.header);
    let short_ids = block.transfers.iter().map(|transfer| key.short_id(&transfer.id())).collect();
    NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) }
}

fn announce(world: &mut World, peer: PeerId, sketch: &NewBlock) {
    let header = CheckedHeader::check(sketch.header).expect("its work is done");
    world.step(0, Event::NewBlock { peer, block: Announced::Sketch(header, Box::new(sketch.clone())) });
}

/// Answers with these transfers.
fn answer(world: &mut World, peer: PeerId, block: &Block, transfers: &[Transaction]) {
    let transfers = transfers.iter().map(|transfer| world.read(transfer).trusted()).collect();
    world.step(0, Event::BlockTxs { peer, block: block.id(), transfers });
    world.settle();
}

/// Places that a peer was asked for.
fn asked_places(effects: &[Effect], of: PeerId) -> Vec<Vec<u16>> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Ask { peer, message: Message::GetBlockTxs { places, .. }, .. } if *peer == of => Some(places.to_vec()),
        _ => None,
    });
    asked.collect()
}

/// Who was asked for the whole of it.
fn asked_whole(effects: &[Effect], block: &Block) -> Vec<PeerId> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Ask { peer, message: Message::GetBlocks { last, .. }, .. } if *last == block.id() => Some(*peer),
        _ => None,
    });
    asked.collect()
}

fn deliver_whole(world: &mut World, peer: PeerId, block: &Block) {
    let blocks = vec![common::check(&world.params, block).expect("valid")];
    world.step(0, Event::Blocks { peer, blocks });
    world.settle();
}

fn stranger(world: &mut World, number: u8) -> PeerId {
    world.puppet(0, [198, 51, number, 7])
}

fn is_cut(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::HangUp { .. }))
}

// --- all is well ---------------------------------------------------------------------------------

/// Goal: a block whose transfers are all known needs no further message, and few bytes. Method: two nodes that share
/// 3,000 payments; one mines them; the other's questions and the bytes on the wire are counted.
#[test]
fn a_known_block_travels_as_its_sketch() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 30);
    world.connect(0, 1);
    world.pass(15_000);
    world.verifying = Verifying::Trusting;
    let key = common::secret(0).public();
    let mut coins: Vec<Coin> = Vec::new();
    for coin in world.spendable(0).into_iter().take(3) {
        let output = Output { amount: coin.input.amount / 1_001, key, view_tag: 0 };
        let split = unsigned(&[coin], vec![output; 1_000], false);
        let split = split.signed(world.params.genesis_id(), |_, message| common::secret(0).sign(message));
        world.submit(0, &split);
        coins.extend((0..1_000).map(|place| Coin { owner: 0, ..coin_from(&split, place) }));
    }
    world.mine(0, 1);
    for coin in &coins {
        let output = Output { amount: coin.input.amount - 5_000, key, view_tag: 0 };
        let payment = unsigned(&[*coin], vec![output], false);
        let payment = payment.signed(world.params.genesis_id(), |_, message| common::secret(0).sign(message));
        world.submit(0, &payment);
    }
    assert_eq!(world.members[1].node.pool().len(), 3_000);
    world.keep_effects(1);
    let before = (world.sent_bytes(0), world.sent_bytes(1));
    world.mine(0, 1);
    assert_eq!(world.tip(1), world.tip(0));
    assert!(world.members[1].node.pool().is_empty());
    let there = world.sent_bytes(0) - before.0;
    let asked = world.effects(1).iter().filter(|effect| matches!(effect, Effect::Ask { .. })).count();
    assert_eq!(asked, 0, "no further message");
    println!("{there} bytes for a block of 3,000 known transactions");
    assert!(there < 3_000 * 7, "{there} bytes");
}

/// Goal: what is missing is asked for by its place, from the announcer, once. Method: none, some, all of ten
/// transfers are known; also a row of them.
#[test]
fn missing_transfers_are_asked_for_by_place() {
    for known in [0, 3, 9] {
        let (mut world, mut payments) = node(9);
        let last = &payments[8];
        payments.push(pay(&world.params, &[coin_from(last, 0)], &[last.outputs[0].amount - 5_000]));
        let block = block_of(&world, &payments);
        for payment in &payments[..known] {
            world.submit(0, payment);
        }
        let peer = stranger(&mut world, 1);
        world.effects(0);
        announce(&mut world, peer, &sketch_of(&block));
        let places: Vec<u16> = (0..10).skip(known).collect();
        let effects = world.effects(0);
        assert_eq!(asked_places(&effects, peer), [places]);
        assert!(asked_whole(&effects, &block).is_empty());
        answer(&mut world, peer, &block, &payments[known..]);
        assert_eq!(world.tip(0), block.id(), "{known} known");
        assert!(asked_whole(&world.effects(0), &block).is_empty());
    }
}

/// Goal: while a block is put together from its sketch nobody is asked for headers: an answer that comes before the
/// missing transfers would have the whole block fetched as well. Method: two announcers of a block of which
/// something is missing, before and after a tick.
#[test]
fn a_sketch_asks_nobody_for_headers() {
    let (mut world, payments) = node(9);
    let block = block_of(&world, &payments);
    let peers = [1, 2].map(|number| stranger(&mut world, number));
    world.effects(0);
    for peer in peers {
        announce(&mut world, peer, &sketch_of(&block));
    }
    world.pass(1_000);
    let effects = world.effects(0);
    let headers = effects.iter().filter(|effect| matches!(effect, Effect::Ask { asked: Asked::Headers, .. })).count();
    assert_eq!((asked_places(&effects, peers[0]).len(), headers), (1, 0));
    answer(&mut world, peers[0], &block, &payments);
    assert_eq!(world.tip(0), block.id());
    assert!(asked_whole(&world.effects(0), &block).is_empty());
}

/// Goal: between real nodes, through sessions and files, the same. Method: a node whose payments are still being
/// verified when the block that holds them comes.
#[test]
fn transfers_are_served_from_the_block() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 30);
    world.connect(0, 1);
    world.pass(15_000);
    let coins = world.spendable(0);
    let payments: Vec<Transaction> =
        coins[..5].iter().map(|coin| pay(&world.params, &[*coin], &[coin.input.amount - 5_000])).collect();
    for payment in &payments[..2] {
        world.submit(0, payment);
    }
    world.verifying = Verifying::Held;
    for payment in &payments[2..] {
        world.submit(0, payment);
        assert!(world.verify(0), "by the first, not by the second");
        world.settle();
    }
    world.keep_effects(1);
    world.mine(0, 1);
    assert_eq!(world.tip(1), world.tip(0));
    let effects = world.effects(1);
    assert_eq!(asked_places(&effects, world.peer_of(1, 0)).concat().len(), 3);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask { message: Message::GetBlocks { .. }, .. })));
    while world.verify(1) {}
    world.settle();
    let pool = world.members[1].node.pool();
    assert_eq!((pool.len(), pool.orphans(), world.connections(1)), (0, 0, 1), "what was verified is confirmed");
}

/// Goal: what the pool has verified is not verified again in a block. Method: a payment with zeros for a signature
/// is let into the pool by a verifier that trusts; its block is taken by its sketch, and refused when it comes
/// whole, where it is verified.
#[test]
fn what_the_pool_has_verified_is_not_verified_again() {
    let (mut world, _) = node(0);
    let coin = world.spendable(0)[0];
    let output = Output { amount: coin.input.amount - 5_000, key: Key([9; 32]), view_tag: 0 };
    let forged = unsigned(&[coin], vec![output], false).signed(world.params.genesis_id(), |_, _| Signature([0; 64]));
    world.verifying = Verifying::Trusting;
    world.submit(0, &forged);
    let block = block_of(&world, std::slice::from_ref(&forged));
    assert!(common::check(&world.params, &block).is_err(), "whoever looks at the signature refuses it");
    let peer = stranger(&mut world, 1);
    announce(&mut world, peer, &sketch_of(&block));
    assert_eq!(world.tip(0), block.id());
}

// --- who does not deliver ------------------------------------------------------------------------

/// Goal: where the missing transfers do not come, the whole block does. Method: the announcer has left the branch;
/// it does not answer for two seconds; it hangs up, and another has announced it too.
#[test]
fn a_sketch_that_leads_nowhere_is_followed_by_the_block() {
    for case in ["missing", "silent", "gone"] {
        let (mut world, payments) = node(3);
        let block = block_of(&world, &payments);
        let (peer, other) = (stranger(&mut world, 1), stranger(&mut world, 2));
        announce(&mut world, peer, &sketch_of(&block));
        if case == "gone" {
            announce(&mut world, other, &sketch_of(&block));
        }
        world.effects(0);
        match case {
            "missing" => world.step(0, Event::BlockTxsMissing { peer, block: block.id() }),
            "gone" => {
                world.step(0, Event::Closed { peer, reason: Reason::Closed });
                answer(&mut world, other, &block, &payments);
                assert_eq!(world.tip(0), block.id(), "{case}");
                continue;
            }
            _ => world.pass(2_250),
        }
        assert_eq!(asked_whole(&world.effects(0), &block), [peer], "{case}");
        deliver_whole(&mut world, peer, &block);
        assert_eq!(world.tip(0), block.id(), "{case}");
        // A late answer is no fault, and changes nothing.
        answer(&mut world, peer, &block, &payments);
        assert_eq!((world.tip(0), is_cut(&world.effects(0))), (block.id(), false));
    }
}

/// Goal: who never answers is cut after a minute, without blame. Method: a silent announcer.
#[test]
fn who_owes_transfers_for_a_minute_is_cut() {
    let (mut world, payments) = node(3);
    let block = block_of(&world, &payments);
    let peer = stranger(&mut world, 1);
    announce(&mut world, peer, &sketch_of(&block));
    world.pass(62_000);
    let reasons: Vec<Reason> = world
        .effects(0)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::HangUp { peer: gone, reason } if gone == peer => Some(reason),
            _ => None,
        })
        .collect();
    assert!(matches!(reasons[..], [Reason::Stalled { .. }]), "{reasons:?}");
}

/// Goal: a transaction that leaves the pool while others are fetched does not spoil the block. Method: it becomes
/// too old in between.
#[test]
fn a_transaction_may_leave_the_pool_in_between() {
    let (mut world, payments) = node(3);
    let block = block_of(&world, &payments);
    world.submit(0, &payments[0]);
    // The pool is searched for what is too old each minute; the next time is a second away.
    world.pass(179_000 - world.now.mono.0);
    let peer = stranger(&mut world, 1);
    announce(&mut world, peer, &sketch_of(&block));
    assert_eq!(asked_places(&world.effects(0), peer), [[1, 2]]);
    let wall = world.now.wall;
    world.now.wall = Wall(wall.0 + LIFE_MS);
    world.pass(1_500);
    assert!(world.members[0].node.pool().is_empty(), "it has waited for three days");
    answer(&mut world, peer, &block, &payments[1..]);
    assert_eq!(asked_whole(&world.effects(0), &block), [peer]);
    deliver_whole(&mut world, peer, &block);
    assert_eq!(world.tip(0), block.id());
}

/// What a liar does to a sketch.
type Lie = fn(&mut NewBlock);

// --- liars ---------------------------------------------------------------------------------------

/// Goal: a sketch that lies under an honest header leads to the whole block and to no other, and keeps no honest copy
/// away. Method: other short ids, the right ones in another order, one twice, one too few, another coinbase; then
/// an honest announcer of the same block.
#[test]
fn a_lying_sketch_never_makes_a_wrong_block() {
    let lies: [(&str, Lie); 5] = [
        ("others", |sketch| sketch.short_ids = List::first_of(vec![[7; 6]; 3])),
        ("order", |sketch| sketch.short_ids = List::first_of(sketch.short_ids.iter().rev().copied().collect())),
        ("twice", |sketch| sketch.short_ids = List::first_of(vec![sketch.short_ids[0]; 3])),
        ("few", |sketch| sketch.short_ids = List::first_of(sketch.short_ids[..2].to_vec())),
        ("coinbase", |sketch| sketch.coinbase.output.key = Key([0xdd; 32])),
    ];
    for (name, lie) in lies {
        for knows_all in [true, false] {
            let (mut world, payments) = node(3);
            let block = block_of(&world, &payments);
            let known = if knows_all { 3 } else { 1 };
            for payment in &payments[..known] {
                world.submit(0, payment);
            }
            let (liar, honest) = (stranger(&mut world, 1), stranger(&mut world, 2));
            let mut sketch = sketch_of(&block);
            lie(&mut sketch);
            world.effects(0);
            announce(&mut world, liar, &sketch);
            let effects = world.effects(0);
            let places = asked_places(&effects, liar).concat();
            if places.is_empty() {
                assert_eq!(asked_whole(&effects, &block), [liar], "{name}");
            } else {
                // It answers with what is right in itself, and not what was sketched.
                let wrong: Vec<Transaction> = places.iter().map(|_| payments[0].clone()).collect();
                answer(&mut world, liar, &block, &wrong);
                assert_eq!(asked_whole(&world.effects(0), &block), [liar], "{name}");
            }
            assert_ne!(world.tip(0), block.id(), "{name}");
            announce(&mut world, honest, &sketch_of(&block));
            if !knows_all {
                answer(&mut world, honest, &block, &payments[1..]);
            }
            assert_eq!(world.tip(0), block.id(), "{name}: the honest copy is taken");
            assert!(!world.members[0].node.chain().is_condemned(&block.id()));
            world.assert_pool_stands(0);
        }
    }
}

/// Goal: a crowd of liars keeps an honest announcer away for a second at the most. Method: 26 peers sketch a block
/// first and deliver nothing, then the honest one does; the pool knows all of it, or nothing.
#[test]
fn a_crowd_of_liars_does_not_hold_up_the_honest_one() {
    for knows_all in [true, false] {
        let (mut world, payments) = node(3);
        let block = block_of(&world, &payments);
        if knows_all {
            for payment in &payments {
                world.submit(0, payment);
            }
        }
        let mut sketch = sketch_of(&block);
        sketch.short_ids = List::first_of(vec![[7; 6]; 3]);
        for number in 0..26 {
            let liar = stranger(&mut world, number);
            announce(&mut world, liar, &sketch);
        }
        let honest = stranger(&mut world, 99);
        announce(&mut world, honest, &sketch_of(&block));
        if !knows_all {
            world.pass(1_000);
            assert_eq!(asked_places(&world.effects(0), honest), [[0, 1, 2]], "in its turn");
            answer(&mut world, honest, &block, &payments);
        }
        assert_eq!(world.tip(0), block.id());
    }
}

/// Goal: a block that completes from its sketch is told on at once, also while a sync is under way that it makes
/// needless. Method: silent announcers until the whole block is asked for, then one that delivers; a listener.
#[test]
fn a_block_is_told_on_although_it_was_being_fetched() {
    let (mut world, payments) = node(3);
    let block = block_of(&world, &payments);
    let listener = stranger(&mut world, 200);
    let silent = stranger(&mut world, 1);
    announce(&mut world, silent, &sketch_of(&block));
    world.pass(2_500);
    assert_eq!(asked_whole(&world.effects(0), &block), [silent], "its two seconds are over");
    let honest = stranger(&mut world, 99);
    announce(&mut world, honest, &sketch_of(&block));
    answer(&mut world, honest, &block, &payments);
    assert_eq!(world.tip(0), block.id());
    let told = world.effects(0).into_iter().any(|effect| match effect {
        Effect::BroadcastBlock { peers, block: told } => {
            told.header.id() == block.id() && peers.contains(&listener) && !peers.contains(&honest)
        }
        _ => false,
    });
    assert!(told, "in the same turn");
}

/// Goal: who repeats himself has the pool looked through once. Method: sketches a hundred times: of a block that is not
/// known, and of one that is complete and a lie.
#[test]
fn a_repeated_sketch_is_looked_at_once() {
    for is_lie in [false, true] {
        let (mut world, payments) = node(3);
        let block = block_of(&world, &payments);
        let mut sketch = sketch_of(&block);
        if is_lie {
            for payment in &payments {
                world.submit(0, payment);
            }
            sketch.coinbase.output.key = Key([0xdd; 32]);
        }
        let peer = stranger(&mut world, 1);
        world.effects(0);
        for _ in 0..100 {
            announce(&mut world, peer, &sketch);
        }
        let effects = world.effects(0);
        let is_doubt = |effect: &&Effect| matches!(effect, Effect::Tell(Report::Note { text, .. }) if text.contains("sketched it is none"));
        let (asked, doubts) = (asked_places(&effects, peer).len(), effects.iter().filter(is_doubt).count());
        assert_eq!((asked, doubts), if is_lie { (0, 1) } else { (1, 0) });
        assert!(asked_whole(&effects, &block).len() <= 1);
    }
}

/// Goal: a block that breaks a rule is condemned by its whole body, however complete its sketch is, and its sender is
/// cut. Method: a coinbase that takes a unit too much, over known transfers.
#[test]
fn a_complete_sketch_of_a_bad_block_is_judged_by_its_body() {
    let mut world = World::new(Params::regtest(), 2);
    world.mine(0, 40);
    world.connect(1, 0);
    world.pass(15_000);
    world.mute(0, 1);
    world.keep_effects(0);
    let coin = world.spendable(0)[0];
    let payment = pay(&world.params, &[coin], &[coin.input.amount - 5_000]);
    world.submit(0, &payment);
    let mut block = block_of(&world, &[payment]);
    block.coinbase.output.amount += 1;
    let block = sealed(block);
    let tip = world.tip(0);
    world.inject(1, 0, Message::NewBlock(Box::new(sketch_of(&block))).to_frame());
    assert_eq!(asked_whole(&world.effects(0), &block), [world.peer_of(0, 1)]);
    let mut frame = Vec::new();
    frame_into(KIND_BLOCK, &block.to_bytes(), &mut frame);
    world.inject(1, 0, frame);
    assert!(world.members[0].node.chain().is_condemned(&block.id()));
    assert_eq!((world.tip(0), world.connections(0)), (tip, 0));
    assert_eq!(world.members[0].node.pool().len(), 1, "its payment waits on");
}
