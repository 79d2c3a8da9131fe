//! New blocks from their sketches: whatever liars say of a block, an honest node's copy is put together or fetched,
//! and nobody honest is blamed.
//!
//! The input says what waits in the pool, what the block holds, and how three peers announce and deliver it; then an
//! honest one does as it should, and the block must become the tip.

use std::net::SocketAddr;

use spindle::blockchain::block::{Block, CheckedBlock};
use spindle::blockchain::checked_tx::{CheckedTx, ReadTx};
use spindle::blockchain::transaction::CoinId;
use spindle::node::event::{Announced, Asked, Event, PeerId};
use spindle::node::message::{Hello, Message, NewBlock};
use spindle::node::orders::Order;
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;

use super::bytes::Bytes;
use super::machine::Machine;
use super::universe::universe;
use super::{kit, session};

/// Seconds in which an honest peer's block must have become the tip.
const PATIENCE: usize = 200;

pub(crate) fn run(data: &[u8]) {
    let mut input = Bytes::new(data);
    let mut machine = Machine::with_chain(2);
    for place in some_places(input.u32()) {
        let transaction = Box::new(universe().transactions[place].clone());
        machine.order(Order::Submit(transaction));
        machine.verified(0);
    }
    let (body, block) = block_of(&machine, &mut input);
    let liars: Vec<PeerId> = (0..input.byte() % 4).map(|n| connect(&mut machine, [8, 8, 1, n])).collect();
    for _ in 0..input.byte() % 12 {
        if let Some(liar) = input.pick(&liars) {
            lie(&mut machine, &mut input, *liar, &block);
        }
    }
    let honest = connect(&mut machine, [8, 8, 2, 2]);
    announce(&mut machine, honest, &body, session::news(&block));
    for _ in 0..PATIENCE {
        while deliver(&mut machine, honest, &body, &block) {}
        if machine.node.chain().tip().id == block.id() {
            assert!(machine.links.contains_key(&honest), "an honest peer is hung up on");
            return machine.finish();
        }
        machine.pass(1_000);
        machine.step(Event::Tick);
        assert!(machine.links.contains_key(&honest), "an honest peer is hung up on");
    }
    panic!("an honest peer's block does not arrive");
}

fn some_places(mask: u32) -> impl Iterator<Item = usize> {
    (0..universe().transactions.len()).filter(move |place| mask >> (place % 32) & 1 == 1)
}

fn connect(machine: &mut Machine, ip: [u8; 4]) -> PeerId {
    let hello = machine.hello();
    let nonce = u64::from(u32::from_be_bytes(ip));
    let peer = machine.connect(None, SocketAddr::from((ip, 50_000)), Hello { nonce, ..hello }, Hash::ZERO);
    assert!(machine.links.contains_key(&peer));
    peer
}

/// A block on the tip of those of these transactions that may stand in one.
fn block_of(machine: &Machine, input: &mut Bytes<'_>) -> (CheckedBlock, Block) {
    let (chain, mask, variant) = (machine.node.chain(), input.u32(), input.byte());
    let (mut made, mut spent): (Vec<CoinId>, Vec<CoinId>) = Default::default();
    let may = |transaction: &ReadTx| {
        let there = |coin: &CoinId| (chain.ledger().contains(coin) || made.contains(coin)) && !spent.contains(coin);
        let may = transaction.matures_at() <= chain.tip().header.height + 1 && transaction.spent().iter().all(there);
        if may {
            made.extend(transaction.created());
            spent.extend(transaction.spent());
        }
        may
    };
    let chosen = some_places(mask).map(|place| universe().transactions[place].clone()).filter(may);
    let chosen: Vec<CheckedTx> = chosen.map(ReadTx::trusted).collect();
    let body = kit::block_on(chain.tip_position(), &chosen.iter().collect::<Vec<_>>(), 200 + u64::from(variant));
    let block = codec::decode(body.bytes()).expect("a block");
    (body, block)
}

fn announce(machine: &mut Machine, peer: PeerId, body: &CheckedBlock, news: NewBlock) {
    let block = if news.short_ids.is_empty() {
        Announced::Whole(Box::new(body.clone()))
    } else {
        Announced::Sketch(body.checked_header(), Box::new(news))
    };
    machine.step(Event::NewBlock { peer, block });
}

/// A liar says something of the block, or answers a question, or is silent for a while.
fn lie(machine: &mut Machine, input: &mut Bytes<'_>, liar: PeerId, block: &Block) {
    let how = input.byte();
    if how % 4 == 3 {
        machine.pass(u64::from(input.byte()) * 20);
        return machine.step(Event::Tick);
    }
    let Some(link) = machine.links.get_mut(&liar) else { return };
    let header = spindle::blockchain::block::CheckedHeader::check(block.header).expect("any hash is work enough");
    if how % 4 != 2 || link.asked.is_empty() {
        let mut news = session::news(block);
        let mut short_ids = news.short_ids.into_vec();
        distort(input, &mut short_ids);
        if how & 64 != 0 {
            news.coinbase.output.amount ^= u64::from(input.byte());
        }
        news.short_ids = List::first_of(short_ids);
        return machine.step(Event::NewBlock { peer: liar, block: Announced::Sketch(header, Box::new(news)) });
    }
    let (asked, message) = link.asked.remove(input.below(link.asked.len()));
    let event = match (asked, message) {
        (Asked::BlockTxs(block, count), _) if how & 16 == 0 => {
            let all = &universe().transactions;
            let transfers = (0..count).map(|_| all[input.below(all.len())].clone().trusted()).collect();
            Event::BlockTxs { peer: liar, block, transfers }
        }
        (Asked::BlockTxs(block, _), _) => Event::BlockTxsMissing { peer: liar, block },
        (Asked::Blocks(ids), _) => Event::Missing { peer: liar, last: *ids.last().expect("runs are not empty") },
        (Asked::Headers, _) => {
            Event::Headers { peer: liar, headers: if how & 16 == 0 { vec![header] } else { vec![] } }
        }
        (Asked::Txs(asked), _) => Event::Txs { peer: liar, asked, transactions: Vec::new() },
        (Asked::Pool, _) => Event::Pool { peer: liar, ids: Vec::new() },
        (Asked::Peers, _) => Event::Peers { peer: liar, addresses: Vec::new() },
    };
    machine.step(event);
}

/// Other short ids than those of the block: never none, for that would be the whole of it.
fn distort(input: &mut Bytes<'_>, short_ids: &mut Vec<[u8; 6]>) {
    for _ in 0..=input.byte() % 4 {
        let place = input.below(short_ids.len().max(1));
        match input.byte() % 5 {
            0 => short_ids.insert(place.min(short_ids.len()), input.array()),
            1 if place < short_ids.len() => drop(short_ids.remove(place)),
            2 if place < short_ids.len() => short_ids.push(short_ids[place]),
            3 => short_ids.reverse(),
            _ => {}
        }
    }
    if short_ids.is_empty() {
        short_ids.push([1; 6]);
    }
}

/// Answers the honest peer's oldest question; false if there is none.
fn deliver(machine: &mut Machine, peer: PeerId, body: &CheckedBlock, block: &Block) -> bool {
    let Some(link) = machine.links.get_mut(&peer).filter(|link| !link.asked.is_empty()) else { return false };
    let event = match link.asked.remove(0) {
        (Asked::BlockTxs(id, _), Message::GetBlockTxs { places, .. }) => {
            assert_eq!(id, block.id());
            let transfer = |place: &u16| {
                let transfer = block.transfers.get(usize::from(*place)).expect("its sketch has so many");
                kit::read(transfer).expect("it stands in a block").trusted()
            };
            Event::BlockTxs { peer, block: id, transfers: places.iter().map(transfer).collect() }
        }
        (Asked::Blocks(ids), _) => {
            assert_eq!(ids, [block.id()]);
            Event::Blocks { peer, blocks: vec![body.clone()] }
        }
        (Asked::Headers, Message::GetHeaders(locator)) => {
            let has_it = locator.contains(&block.id());
            Event::Headers { peer, headers: if has_it { Vec::new() } else { vec![body.checked_header()] } }
        }
        (Asked::Txs(asked), _) => Event::Txs { peer, asked, transactions: Vec::new() },
        (Asked::Pool, _) => Event::Pool { peer, ids: Vec::new() },
        (Asked::Peers, _) => Event::Peers { peer, addresses: Vec::new() },
        (asked, message) => unreachable!("{message:?} is no question for {asked:?}"),
    };
    machine.step(event);
    true
}
