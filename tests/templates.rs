//! What our own miners get: the best-paying block on our tip, and a better one when it is worth it. Real nodes in a
//! world without sockets.

mod common;

use std::sync::Arc;

use common::world::World;
use common::{Coin, coin_from, pay};
use spindle::blockchain::params::Params;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::Transaction;
use spindle::node::event::{Effect, Event};
use spindle::node::orders::{Order, Ticket};
use spindle::primitives::hash::Hash;

/// A node that mines, on a chain of 40 blocks, and coins to pay with.
fn miner() -> (World, Vec<Coin>) {
    let mut world = World::new(Params::regtest(), 1);
    world.mine(0, 40);
    world.pass(15_000);
    world.keep_effects(0);
    let coins = world.spendable(0);
    (world, coins)
}

fn payment(world: &World, coin: Coin, fee: u64) -> Transaction {
    pay(&world.params, &[coin], &[coin.input.amount - fee])
}

/// What miners were given since the last look.
fn given(world: &mut World) -> Vec<Arc<Template>> {
    let effects = world.effects(0).into_iter();
    effects.filter_map(|effect| if let Effect::Mine { template } = effect { template } else { None }).collect()
}

fn ids(template: &Template) -> Vec<Hash> {
    template.to_block().transfers.iter().map(Transaction::id).collect()
}

/// Goal: who pays most for a byte comes first, a child pays for its parent, and the miner gets reward and fees.
/// Method: three payments and a rich child of the poorest.
#[test]
fn what_pays_most_comes_first() {
    let (mut world, coins) = miner();
    let poor = payment(&world, coins[0], 300);
    let middle = payment(&world, coins[1], 5_000);
    let rich = payment(&world, coins[2], 9_000);
    let child = payment(&world, coin_from(&poor, 0), 30_000);
    for payment in [&poor, &middle, &rich, &child] {
        world.submit(0, payment);
    }
    world.pass(1_250);
    let template = given(&mut world).pop().expect("a better one");
    assert_eq!(ids(&template), [&poor, &child, &rich, &middle].map(Transaction::id));
    let height = world.height(0) + 1;
    assert_eq!(template.coinbase().output.amount, world.params.reward(height) + 300 + 5_000 + 9_000 + 30_000);
    assert_eq!(template.header().prev, world.tip(0));
}

/// Goal: a template is renewed when more can be earned, once a second at most, and not when nothing has changed.
/// Method: a payment every 100 ms for three seconds; then silence.
#[test]
fn a_better_template_comes_once_a_second_at_most() {
    let (mut world, coins) = miner();
    given(&mut world);
    let mut renewed = 0;
    for coin in &coins[..30] {
        let payment = payment(&world, *coin, 5_000);
        world.submit(0, &payment);
        world.pass(100);
        renewed += given(&mut world).len();
    }
    assert!((2..=4).contains(&renewed), "{renewed} times in three seconds");
    world.pass(1_250);
    let last = given(&mut world);
    assert!(last.len() <= 1);
    world.pass(30_000);
    assert_eq!(given(&mut world).len(), 0, "nothing has changed");
    let template = world.members[0].template.clone().expect("it mines");
    assert_eq!(ids(&template).len(), 30);
}

fn wish() -> Event {
    Event::Order { ticket: Ticket(1), order: Order::Generate { count: 1, payout: None } }
}

/// Goal: whoever waits for a block gets the best one that there is at that moment. Method: a payment, and at once the
/// wish for a block; then the wish again, without news.
#[test]
fn a_wish_for_a_block_renews_the_template_at_once() {
    let (mut world, coins) = miner();
    world.pass(1_250);
    let payments = [payment(&world, coins[0], 5_000), payment(&world, coins[1], 5_000)];
    world.submit(0, &payments[0]);
    world.submit(0, &payments[1]);
    world.effects(0);
    world.step(0, wish());
    let effects = world.effects(0);
    let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
    let mine = place(|effect| matches!(effect, Effect::Mine { template: Some(template) } if ids(template).len() == 2));
    let generate = place(|effect| matches!(effect, Effect::Generate { count: 1 }));
    assert!(mine.is_some() && mine < generate, "first the template, then the wish: {mine:?}, {generate:?}");
    world.step(0, wish());
    assert_eq!(given(&mut world).len(), 0, "it is the same one");
}

/// Goal: a new tip gives a new template at once, without what it confirmed. Method: a block with one of two payments.
#[test]
fn a_new_tip_gives_a_new_template() {
    let (mut world, coins) = miner();
    let (first, second) = (payment(&world, coins[0], 5_000), payment(&world, coins[1], 9_000));
    world.submit(0, &first);
    let block = world.next_block(0, 0);
    world.submit(0, &second);
    given(&mut world);
    world.step(0, Event::Mined { block: Box::new(block) });
    world.settle();
    let templates = given(&mut world);
    let last = templates.last().expect("one on the new tip");
    assert_eq!((last.header().prev, ids(last)), (world.tip(0), vec![second.id()]));
}
