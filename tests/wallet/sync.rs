//! Catching up: reorganisations, lies, what waits, and what is offered again.

use std::cell::RefCell;
use std::collections::BTreeSet;

use spindle::blockchain::params::{COIN, Params};
use spindle::blockchain::transaction::Transaction;
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;
use spindle::wallet::file::FileError;
use spindle::wallet::find::{self, FindError};
use spindle::wallet::keys::ViewKeys;
use spindle::wallet::link::LinkError;
use spindle::wallet::scan;
use spindle::wallet::state::{Balance, Loss, Lost, Mark, State};
use spindle::wallet::sync::{Outcome, Sync, SyncError};

use crate::node::{Block, FakeNode, Lie, PAGE};
use crate::story::Dice;
use crate::world::{Person, World, start};

/// Brings a wallet up to date.
fn catch_up(state: &mut State, keys: &ViewKeys, node: &mut FakeNode) -> Result<Outcome, SyncError> {
    catch_up_saving(state, keys, node, &mut |_| Ok(()))
}

fn catch_up_saving(
    state: &mut State,
    keys: &ViewKeys,
    node: &mut FakeNode,
    save: &mut dyn FnMut(&State) -> Result<(), FileError>,
) -> Result<Outcome, SyncError> {
    let params = node.params.clone();
    Sync { params: &params, keys, pool: None, now: 5_000, save, progress: &mut |_, _| {} }.run(state, node)
}

impl Person {
    fn sync(&mut self, node: &mut FakeNode) -> Outcome {
        catch_up(&mut self.state, self.keys.view(), node).expect("an honest node")
    }

    /// What a wallet finds that knows nothing but the words.
    fn restored(&self, node: &FakeNode) -> State {
        let mut state = State::new(start(&node.params));
        catch_up(&mut state, self.keys.view(), &mut node.clone()).expect("an honest node");
        state
    }
}

/// A node with so many blocks that pay the first of two people.
fn two_people_and(blocks: usize) -> (World, Person, Person, FakeNode) {
    let world = World::new();
    let (alice, bob) = (Person::from_entropy(&world, 1), Person::from_entropy(&world, 2));
    let mut node = FakeNode::new(&world.params);
    for _ in 0..blocks {
        node.mine(&alice.payout(), vec![]);
    }
    (world, alice, bob, node)
}

/// Goal: whatever the node's chain does, each wallet has what one finds that begins anew.
/// Method: 150 reorganisations at random, up to 45 deep, with payments that are mined and unmined; the node's
/// pool takes undone ones back. (A thousand without a node between: `story.rs`.)
#[test]
fn wallets_follow_reorganisations_over_a_link() {
    let seed = 0xfeed;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let (world, mut alice, mut bob, mut node) = two_people_and(60);
    let mut in_blocks: Vec<Vec<Transaction>> = vec![vec![]; 60];
    let mut paid = 0;
    for n in 0..150 {
        let deepest = if dice.roll(8) == 0 { 45 } else { 6 };
        let depth = dice.pick(deepest);
        let undone: Vec<Transaction> = in_blocks.drain(in_blocks.len() - depth..).flatten().collect();
        node.undo(depth);
        node.pool.extend(undone.into_iter().map(|transaction| (transaction.id(), transaction)));
        let fresh = if in_blocks.len() > 120 { 1 + depth / 2 } else { 1 + depth + dice.pick(3) };
        for _ in 0..fresh {
            // What can be mined: all of its coins are there.
            let payout = if dice.roll(2) == 0 { alice.payout() } else { bob.payout() };
            let mined = if dice.roll(3) == 0 { vec![] } else { mineable(&node, &in_blocks) };
            node.mine(&payout, mined.clone());
            in_blocks.push(mined);
        }
        drop_impossible(&mut node, &in_blocks);
        alice.sync(&mut node);
        bob.sync(&mut node);
        for (person, name) in [(&alice, "alice"), (&bob, "bob")] {
            let fresh = person.restored(&node);
            assert_eq!(person.state.tip().id, node.tip(), "reorganisation {n}, {name}");
            assert_eq!(person.state.balance(), fresh.balance(), "reorganisation {n}, {name}");
            assert!(person.state.unspent().eq(fresh.unspent()), "reorganisation {n}, {name}");
        }
        let amount = COIN + dice.roll(30 * COIN);
        if let Some(transaction) = alice.try_pay(&world, &bob.address, amount, "rent", 1_000) {
            paid += 1;
            node.pool.insert(transaction.id(), transaction);
        }
    }
    assert!(paid > 50, "only {paid} payments: no story");
}

/// The transactions of these blocks, and the coinbases, by id.
fn made(node: &FakeNode, in_blocks: &[Vec<Transaction>]) -> BTreeSet<Hash> {
    let coinbase = |block: &Block| scan::open(&block.bytes).expect("our own").ids[0];
    let mut ids: BTreeSet<Hash> = node.chain.iter().map(coinbase).collect();
    ids.extend(in_blocks.iter().flatten().map(Transaction::id));
    ids
}

/// What of the pool the next block may contain, parents first.
fn mineable(node: &FakeNode, in_blocks: &[Vec<Transaction>]) -> Vec<Transaction> {
    let mut mined = Vec::new();
    let mut ids = made(node, in_blocks);
    let height = node.chain.len() as u64 + 1;
    loop {
        let fits = |transaction: &&Transaction| {
            !ids.contains(&transaction.id())
                && transaction.inputs.iter().all(|input| ids.contains(&input.outpoint.transaction))
                && transaction.inputs.iter().all(|input| input.matures_at <= height)
        };
        let Some(next) = node.pool.values().find(fits) else { return mined };
        ids.insert(next.id());
        mined.push(next.clone());
    }
}

/// Drops from the pool what hangs on a coinbase that is undone.
fn drop_impossible(node: &mut FakeNode, in_blocks: &[Vec<Transaction>]) {
    let made = made(node, in_blocks);
    loop {
        let pool: BTreeSet<Hash> = node.pool.keys().copied().collect();
        let stays = |transaction: &Transaction| {
            let mut parents = transaction.inputs.iter().map(|input| &input.outpoint.transaction);
            parents.all(|parent| made.contains(parent) || pool.contains(parent))
        };
        node.pool.retain(|_, transaction| stays(transaction));
        if node.pool.len() == pool.len() {
            return;
        }
    }
}

/// Goal: a reorganisation in the midst of a scan begins it anew; one at every question ends in an error.
/// Method: the node turns to another branch at each question in turn.
#[test]
fn a_chain_that_changes_while_it_is_read_is_followed() {
    let (_, alice, bob, mut node) = two_people_and(70);
    let mut other = node.clone();
    other.undo(30);
    (0..35).for_each(|_| other.mine(&bob.payout(), vec![]));
    let questions = {
        let mut node = node.clone();
        catch_up(&mut State::new(start(&node.params)), alice.keys.view(), &mut node).expect("honest");
        node.questions
    };
    assert!(questions > 8, "a scan in several pages");
    for at in 1..=questions {
        let mut node = node.clone();
        node.turns.insert(at, other.chain.clone());
        let mut state = State::new(start(&node.params));
        catch_up(&mut state, alice.keys.view(), &mut node).expect("an honest node");
        // At the last question the pool is not looked at again.
        assert_eq!(state.tip().id, other.tip(), "turned at question {at}");
    }
    let (one, two) = (node.chain.clone(), other.chain);
    node.turns = (1..1_000).map(|n| (n, if n % 2 == 0 { one.clone() } else { two.clone() })).collect();
    let mut state = State::new(start(&node.params));
    let before = state.clone();
    let verdict = catch_up(&mut state, alice.keys.view(), &mut node);
    assert!(matches!(verdict, Err(SyncError::Restless)), "{verdict:?}");
    assert_eq!(state, before);
}

/// Goal: a node that lies or breaks off gets an error, and the wallet stays as it was. Method: every lie, from
/// a wallet that knows 30 of 70 blocks.
#[test]
fn lies_change_nothing() {
    let (world, mut alice, bob, mut node) = two_people_and(30);
    alice.sync(&mut node);
    (0..40).for_each(|_| node.mine(&alice.payout(), vec![]));
    let paid = alice.try_pay(&world, &bob.address, COIN, "", 1_000).expect("there is enough");
    node.pool.insert(paid.id(), paid);
    let mut lies = vec![Lie::Gap, Lie::Short, Lie::OtherRun, Lie::Skip, Lie::NoWork];
    let block_bits = node.chain[0].bytes.len() * 8;
    lies.extend((0..block_bits).step_by(37).map(Lie::Bit));
    lies.extend((0..9).map(Lie::HangsUp));
    for lie in lies {
        let mut lying = FakeNode { lie: Some(lie), ..node.clone() };
        let mut state = alice.state.clone();
        let verdict = catch_up(&mut state, alice.keys.view(), &mut lying);
        assert!(matches!(verdict, Err(SyncError::Link(_))), "{lie:?}: {verdict:?}");
        assert_eq!(state, alice.state, "{lie:?}");
    }
    let mut lying = FakeNode { lie: Some(Lie::OtherTransactions), ..node.clone() };
    let mut state = bob.state.clone();
    let verdict = catch_up(&mut state, bob.keys.view(), &mut lying);
    assert!(matches!(verdict, Err(SyncError::Link(LinkError::Odd(_)))), "{verdict:?}");
    assert_eq!(state, bob.state);
}

/// Goal: what waits and is not signed is no money: neither for whoever it claims to pay, nor of whoever it claims to
/// spend. Method: a payment with a bit of its signature changed, under the id that it has then.
#[test]
fn what_nobody_has_signed_does_not_count() {
    let (world, mut alice, bob, mut node) = two_people_and(30);
    alice.sync(&mut node);
    let before = alice.state.clone();
    let paid = alice.try_pay(&world, &bob.address, COIN, "", 1_000).expect("there is enough");
    let mut bytes = codec::encode(&paid);
    *bytes.last_mut().expect("a signature") ^= 1;
    let forged: Transaction = codec::decode(&bytes).expect("any bytes are a signature");
    node.pool.insert(forged.id(), forged);
    for (state, keys) in [(bob.state.clone(), &bob.keys), (before, &alice.keys)] {
        let mut after = state.clone();
        let verdict = catch_up(&mut after, keys.view(), &mut node);
        assert!(matches!(verdict, Err(SyncError::Link(LinkError::Odd(_)))), "{verdict:?}");
        assert_eq!(after, state);
    }
}

/// Goal: a first scan that is broken off goes on where it was last saved. Method: 12,000 blocks, of which the
/// node serves 11,000 before it hangs up.
#[test]
fn an_interrupted_scan_is_not_lost() {
    let (_, alice, _, mut node) = two_people_and(12_000);
    let mut state = State::new(start(&node.params));
    let saved = RefCell::new(state.clone());
    let mut save = |state: &State| {
        *saved.borrow_mut() = state.clone();
        Ok(())
    };
    // Two questions for each page.
    node.lie = Some(Lie::HangsUp(u32::try_from(11_000 / PAGE * 2).expect("small")));
    catch_up_saving(&mut state, alice.keys.view(), &mut node, &mut save).expect_err("it hangs up");
    assert_eq!(saved.borrow().tip().height, 10_000);
    node.lie = None;
    node.blocks_served = 0;
    let mut resumed = saved.into_inner();
    catch_up(&mut resumed, alice.keys.view(), &mut node).expect("honest");
    assert_eq!((resumed.tip().id, node.blocks_served), (node.tip(), 2_000));
    assert_eq!(resumed.balance(), alice.restored(&node).balance());
}

/// Goal: a node that has not caught up does not make a wallet forget; one whose chain is another says so; a
/// chain that was begun anew below the wallet's height is followed. Method: shorter and other chains.
#[test]
fn a_node_that_is_behind_or_elsewhere_is_told_from_a_reorganisation() {
    let (_, mut alice, bob, mut node) = two_people_and(300);
    alice.sync(&mut node);
    let before = alice.state.clone();
    let behind = |node: &mut FakeNode, state: &State| catch_up(&mut state.clone(), alice.keys.view(), node);
    let mut young = node.clone();
    young.undo(101);
    let verdict = behind(&mut young, &before);
    assert!(matches!(verdict, Err(SyncError::Behind { node: 199, wallet: 300 })), "{verdict:?}");
    // A crash may cost a node its last blocks, of which nobody was promised anything.
    let mut crashed = node.clone();
    crashed.undo(3);
    let mut state = before.clone();
    catch_up(&mut state, alice.keys.view(), &mut crashed).expect("close enough");
    assert_eq!(state.tip().id, crashed.tip());

    let mut other = FakeNode::new(&node.params);
    (0..250).for_each(|_| other.mine(&bob.payout(), vec![]));
    let mut state = before.clone();
    catch_up(&mut state, alice.keys.view(), &mut other).expect("it shares genesis");
    assert_eq!((state.tip().id, state.balance()), (other.tip(), Balance::default()));
    let mut late = State::new(Mark { height: 200, id: node.chain[199].id });
    catch_up(&mut late, alice.keys.view(), &mut node).expect("honest");
    let verdict = catch_up(&mut late, alice.keys.view(), &mut other);
    assert!(matches!(verdict, Err(SyncError::NothingInCommon { start }) if start.height == 200), "{verdict:?}");
    // Begun anew, and nothing mined yet.
    let (mut empty, mut small) = (FakeNode::new(&node.params), before);
    assert!(small.roll_back(100));
    catch_up(&mut small, alice.keys.view(), &mut empty).expect("it shares genesis");
    assert_eq!((small.tip(), small.balance()), (start(&node.params), Balance::default()));
}

/// Goal: a payment is seen while it waits, by the one and the other, also one that spends a waiting one; it goes
/// when the node has dropped it; our own stays and is offered again, parents first, until the node takes it.
/// Method: a node whose pool is emptied, and which refuses for a while.
#[test]
fn what_waits_is_seen_and_what_is_ours_is_offered_again() {
    let (world, mut alice, mut bob, mut node) = two_people_and(10);
    alice.sync(&mut node);
    let first = alice.try_pay(&world, &bob.address, COIN, "one", 1_000).expect("enough");
    let second = alice.try_pay(&world, &bob.address, 2 * COIN, "two", 1_000).expect("its own change");
    let ids = [first.id(), second.id()];
    assert!(second.inputs.iter().any(|input| input.outpoint.transaction == ids[0]), "one coin is mature");
    let outcome = alice.sync(&mut node);
    assert_eq!((outcome.offered.as_slice(), node.submitted.as_slice()), (&ids[..], &ids[..]), "parents first");
    bob.sync(&mut node);
    assert_eq!(bob.state.balance(), Balance { unconfirmed: 3 * COIN, ..Balance::default() });
    // A wallet that was restored sees its own payments in the pool, and the change of the second.
    assert_eq!(alice.restored(&node).balance(), alice.state.balance());

    node.pool.clear();
    node.refuses.insert(ids[0], "the pool is full".into());
    bob.sync(&mut node);
    assert_eq!(bob.state.balance(), Balance::default(), "the node has dropped them");
    let before = alice.state.clone();
    let outcome = alice.sync(&mut node);
    assert_eq!(outcome.refused, [(ids[0], "the pool is full".to_owned())], "and the child is not offered");
    assert_eq!(alice.state, before, "they are kept");
    node.refuses.clear();
    assert_eq!(alice.sync(&mut node).offered, ids);
    node.mine(&bob.payout(), vec![first, second]);
    assert_eq!(alice.sync(&mut node), Outcome::default());
    bob.sync(&mut node);
    assert_eq!(bob.state.balance().confirmed, 3 * COIN);
}

/// Goal: a payment that waits here and conflicts with one at the node is told, and kept until a block decides.
/// Method: two copies of one wallet spend one coin.
#[test]
fn a_second_copy_of_a_wallet_is_noticed() {
    let (world, mut alice, bob, mut node) = two_people_and(10);
    alice.sync(&mut node);
    let mut copy = Person::from_entropy(&world, 1);
    copy.sync(&mut node);
    let ours = alice.try_pay(&world, &bob.address, COIN, "", 1_000).expect("enough").id();
    let other = copy.try_pay(&world, &bob.address, 2 * COIN, "", 1_000).expect("enough");
    node.pool.insert(other.id(), other.clone());
    node.refuses.insert(ours, "it spends a coin that another spends".into());
    let outcome = alice.sync(&mut node);
    assert_eq!((outcome.conflicts.as_slice(), outcome.refused.len()), (&[(other.id(), ours)][..], 1));
    let loss = Loss::Spent { by: other.id() };
    node.mine(&bob.payout(), vec![other]);
    let lost = Lost { id: ours, address: bob.address, amount: COIN, loss };
    assert_eq!(alice.sync(&mut node), Outcome { lost: vec![lost], ..Outcome::default() }, "a person is told");
    assert_eq!(alice.sync(&mut node), Outcome::default(), "once");
    assert_eq!(alice.state.balance(), copy.restored(&node).balance());
}

/// Goal: a payment of ours outlives a reorganisation after which the node lacks the coin that it spends for a
/// moment; and one deeper than 100 blocks, after the file. Method: Bob pays on what Alice paid him; both are
/// undone, first the one, then 120 blocks later both; the node's pool is empty.
#[test]
fn our_payments_outlive_reorganisations() {
    let (world, mut alice, mut bob, mut node) = two_people_and(11);
    alice.sync(&mut node);
    let first = alice.try_pay(&world, &bob.address, 2 * COIN, "", 1_000).expect("enough");
    node.mine(&alice.payout(), vec![first.clone()]);
    bob.sync(&mut node);
    let second = bob.try_pay(&world, &alice.address, COIN, "", 1_000).expect("a confirmed coin");
    node.undo(1);
    (0..2).for_each(|_| node.mine(&alice.payout(), vec![]));
    node.refuses.insert(second.id(), "it spends a coin that is not there".into());
    let outcome = bob.sync(&mut node);
    assert_eq!((outcome.refused.len(), outcome.lost.len(), bob.state.to_offer().count()), (1, 0, 1));
    node.refuses.clear();
    assert_eq!(bob.sync(&mut node).offered, [second.id()]);
    node.mine(&alice.payout(), vec![first.clone(), second.clone()]);
    (0..120).for_each(|_| node.mine(&alice.payout(), vec![]));
    for person in [&mut alice, &mut bob] {
        person.sync(&mut node);
        person.through_file();
    }
    node.undo(121);
    (0..122).for_each(|_| node.mine(&alice.payout(), vec![]));
    assert_eq!(alice.sync(&mut node).offered, [first.id()]);
    assert_eq!(bob.sync(&mut node).offered, [second.id()]);
    node.mine(&alice.payout(), vec![first, second]);
    bob.sync(&mut node);
    assert_eq!(bob.state.balance(), bob.restored(&node).balance());
    assert!(bob.state.balance().confirmed > 0);
}

/// Goal: a payment goes with the mined coin that it spends, and a person is told. Method: a block undone that
/// made the coin.
#[test]
fn a_payment_of_an_unmade_coin_is_told() {
    let (world, mut alice, bob, mut node) = two_people_and(10);
    alice.sync(&mut node);
    let paid = alice.try_pay(&world, &bob.address, COIN, "", 1_000).expect("one mature coin");
    node.undo(10);
    (0..11).for_each(|_| node.mine(&bob.payout(), vec![]));
    let lost = Lost { id: paid.id(), address: bob.address, amount: COIN, loss: Loss::Unmade };
    assert_eq!(alice.sync(&mut node).lost, [lost]);
    assert_eq!(alice.state.balance(), Balance::default());
}

/// Goal: blocks and transactions are found by height, by reading everything, or among what waits; what is not
/// there is said. Method: a chain of several pages with one payment in it.
#[test]
fn things_are_looked_up_over_a_link() {
    let (world, mut alice, bob, mut node) = two_people_and(50);
    alice.sync(&mut node);
    let params = Params::regtest();
    let paid = alice.try_pay(&world, &bob.address, COIN, "", 1_000).expect("enough");
    let id = paid.id();
    node.pool.insert(id, paid.clone());
    assert_eq!(find::in_pool(&mut node, &id), Ok(Some(paid.clone())));
    assert_eq!(find::in_chain(&mut node, &params, None, &id), Ok(None));
    node.mine(&bob.payout(), vec![paid.clone()]);
    (0..50).for_each(|_| node.mine(&bob.payout(), vec![]));
    assert_eq!(find::in_pool(&mut node, &id), Ok(None));
    for height in [None, Some(51)] {
        let found = find::in_chain(&mut node, &params, height, &id).expect("honest").expect("mined");
        assert_eq!((found.transaction, found.place.height), (paid.clone(), 51));
    }
    assert_eq!(find::in_chain(&mut node, &params, Some(50), &id), Ok(None));
    assert_eq!(find::in_chain(&mut node, &params, Some(102), &id), Err(FindError::TooHigh { height: 102, top: 101 }));
    for height in [0, 1, 20, 101] {
        let mark = find::mark_at(&mut node, &params, height).expect("there");
        let block = usize::try_from(height).expect("small").checked_sub(1).map(|at| node.chain[at].id);
        assert_eq!(mark, Mark { height, id: block.unwrap_or(params.genesis_id()) });
    }
    assert_eq!(find::mark_at(&mut node, &params, 500), Err(FindError::TooHigh { height: 500, top: 101 }));
    node.lie = Some(Lie::OtherRun);
    assert!(matches!(find::in_chain(&mut node, &params, Some(51), &id), Err(FindError::Link(LinkError::Odd(_)))));
}
