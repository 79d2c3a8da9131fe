//! A miner who breaks one rule at a time and keeps all others, the work included.
//!
//! It first earns honestly, to a key of its own; with a coin of its own it can commit every crime that takes one:
//! to spend it twice, too early, for more than it is worth, or without a right to it. Its own node is not told.

use crate::blockchain::block::{Block, Header, ReadBlock};
use crate::blockchain::params::{BLOCK_BYTES_MAX, BLOCK_OUTPUTS_MAX, OUTPUTS_MAX, Params, RULES_KNOWN};
use crate::blockchain::template::Template;
use crate::blockchain::transaction::{Coinbase, Input, NOTE_BYTES, Outpoint, Output, Transaction};
use crate::node::event::PeerId;
use crate::node::message::Message;
use crate::node::serve::Request;
use crate::primitives::codec::{self, List};
use crate::primitives::frame::{KIND_BLOCK, frame_into};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::keys::{Key, SecretKey};
use crate::simulator::chance::Chance;
use crate::simulator::miner::Miner;
use crate::simulator::vice::blocks::news_of;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// What its payments leave to the miner.
const FEE_UNITS: u64 = 10_000;

/// Rules to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crime {
    /// Two children spend one coin that this very block makes.
    SpentTwice,
    /// One child spends it twice.
    SpentTwiceAtOnce,
    /// It spends a coin that is worth less.
    Invented,
    /// Somebody else signed.
    Unsigned,
    /// More is made than was spent.
    Overspent,
    /// The child stands before its parent.
    ChildFirst,
    /// The coin is not ripe yet.
    Early,
    /// The miner takes a unit less than is due.
    Modest,
    /// The block takes half of the work that is due.
    Easy,
    /// It is as old as its parent.
    NotLater,
    /// It keeps rules that nobody knows.
    Unknown,
    /// A transfer makes a coin that is worth nothing.
    Worthless,
    /// It makes more coins than a block may.
    Outputs,
    /// It has more bytes than a block may.
    Oversize,
}

const CRIMES: [Crime; 13] = [
    Crime::SpentTwice,
    Crime::SpentTwiceAtOnce,
    Crime::Invented,
    Crime::Unsigned,
    Crime::Overspent,
    Crime::ChildFirst,
    Crime::Modest,
    Crime::Easy,
    Crime::NotLater,
    Crime::Unknown,
    Crime::Worthless,
    Crime::Outputs,
    Crime::Oversize,
];

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Forger {
    /// What it has earned.
    coin: Option<Input>,
    /// The crimes that it has committed.
    forged: Vec<Block>,
}

impl Vice for Forger {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Finds(template, header) => self.find(template, header, scene),
            Deed::Answers(peer, request) => {
                let answer = self.answer(request);
                answer.map_or(Reaction::AsItShould, |frame| Reaction::Instead(vec![Act::Pour(peer, frame.into())]))
            }
            Deed::Opens(_) | Deed::Meets(_) | Deed::Says(..) | Deed::Waits => Reaction::AsItShould,
        }
    }
}

impl Forger {
    fn find(&mut self, template: &Template, header: Header, scene: &mut Scene) -> Reaction {
        let ledger = scene.node.chain().ledger();
        let coin = self.coin.filter(|coin| ledger.contains(&coin.coin()));
        let crime = match coin {
            None => return self.earn(template, header, scene),
            Some(coin) if coin.matures_at == header.height + 1 => Crime::Early,
            Some(coin) if coin.matures_at > header.height => return Reaction::AsItShould,
            Some(_) => *scene.chance.pick(&CRIMES).expect("there are some"),
        };
        let Some(block) = forged(crime, template, header, coin.expect("seen above"), scene) else {
            return Reaction::AsItShould;
        };
        let news = news_of(&block);
        self.forged.push(block);
        Reaction::Instead(scene.peers.iter().map(|peer: &PeerId| Act::Send(*peer, news.clone())).collect())
    }

    /// An honest block, but that it pays a key of its own.
    fn earn(&mut self, template: &Template, header: Header, scene: &Scene) -> Reaction {
        let params = scene.miner.params();
        let mut block = template.to_block();
        block.coinbase = Coinbase {
            output: Output { key: key(1).public(), ..block.coinbase.output },
            tx_key: Key::default(),
            ..block.coinbase
        };
        sealed(&mut block, header);
        let Ok(read) = ReadBlock::read(params, block.to_bytes()) else { return Reaction::AsItShould };
        let outpoint = Outpoint { transaction: block.coinbase.id(), index: 0 };
        let Output { amount, key, .. } = block.coinbase.output;
        self.coin = Some(Input { outpoint, amount, key, matures_at: header.height + params.spec().maturity });
        Reaction::Instead(vec![Act::Take(Box::new(read.trusted()))])
    }

    /// Whoever asks for a forged block gets it.
    fn answer(&self, request: &Request) -> Option<Vec<u8>> {
        let asked = match request {
            Request::Blocks { last, .. } => last,
            Request::BlockTxs { block, .. } => block,
            Request::Headers { .. } => return None,
        };
        let block = self.forged.iter().find(|block| block.id() == *asked)?;
        let Request::BlockTxs { places, .. } = request else {
            let mut frame = Vec::new();
            frame_into(KIND_BLOCK, &block.to_bytes(), &mut frame);
            return Some(frame);
        };
        let transfers = places.iter().filter_map(|place| block.transfers.get(usize::from(*place)));
        let transfers = transfers.map(codec::encode).collect();
        Some(Message::BlockTxs { block: *asked, transfers }.to_frame())
    }
}

/// One of the keys that only forgers have.
fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&tagged("spindle/simulator/1", &[b"forger", &[number]]).0)
}

/// The block as it must be to be taken, but for the rule that was broken.
fn sealed(block: &mut Block, header: Header) {
    block.header = Header { merkle_root: block.merkle_root(), ..header };
    block.header = Miner::work(block.header);
}

fn forged(crime: Crime, template: &Template, header: Header, coin: Input, scene: &mut Scene) -> Option<Block> {
    let params = scene.miner.params();
    let (mut block, mut header) = (template.to_block(), header);
    let mut transfers = block.transfers.to_vec();
    let due: u64 = block.coinbase.output.amount;
    let mut fees = FEE_UNITS;
    let pay = |inputs: Vec<Input>, amount: u64, signer: u8, salt: u64| {
        let output = Output { amount, key: key(1).public(), view_tag: 0 };
        let tx_key = Key(tagged("spindle/simulator/1", &[&salt.to_le_bytes()]).0);
        let unsigned = Transaction::unsigned(List::first_of(inputs), List::first_of(vec![output]), tx_key, None);
        unsigned.signed(params.genesis_id(), |_, message| key(signer).sign(message))
    };
    let child_of = |parent: &Transaction| {
        let outpoint = Outpoint { transaction: parent.id(), index: 0 };
        Input { outpoint, amount: parent.outputs[0].amount, key: parent.outputs[0].key, matures_at: 0 }
    };
    let rest = coin.amount.checked_sub(3 * FEE_UNITS)?;
    let salt = Chance::draw(scene.chance);
    match crime {
        Crime::Early => transfers.push(pay(vec![coin], coin.amount - FEE_UNITS, 1, salt)),
        Crime::Unsigned => transfers.push(pay(vec![coin], coin.amount - FEE_UNITS, 2, salt)),
        Crime::Overspent => {
            transfers.push(pay(vec![coin], coin.amount + 1, 1, salt));
            fees = 0;
        }
        Crime::Invented => {
            let richer = Input { amount: coin.amount + 1_000, ..coin };
            transfers.push(pay(vec![richer], richer.amount - FEE_UNITS, 1, salt));
        }
        Crime::SpentTwice | Crime::SpentTwiceAtOnce | Crime::ChildFirst => {
            let parent = pay(vec![coin], coin.amount - FEE_UNITS, 1, salt);
            let input = child_of(&parent);
            let children = match crime {
                Crime::SpentTwice => vec![pay(vec![input], rest, 1, salt), pay(vec![input], rest, 1, salt + 1)],
                Crime::SpentTwiceAtOnce => vec![pay(vec![input, input], 2 * rest, 1, salt)],
                _ => vec![pay(vec![input], rest, 1, salt)],
            };
            let spent: u64 = children.iter().flat_map(|child| &child.inputs).map(|input| input.amount).sum();
            let made: u64 = children.iter().flat_map(|child| &child.outputs).map(|output| output.amount).sum();
            fees += spent - made;
            if crime == Crime::ChildFirst {
                transfers.extend(children);
                transfers.push(parent);
            } else {
                transfers.push(parent);
                transfers.extend(children);
            }
        }
        Crime::Modest => (fees, block.coinbase.output.amount) = (0, due - 1),
        Crime::Easy => (fees, header.difficulty) = (0, header.difficulty / 2),
        Crime::NotLater => (fees, header.time) = (0, template.header().time - 1),
        Crime::Unknown => (fees, header.version) = (0, RULES_KNOWN + 1),
        Crime::Worthless => {
            let worthless = Output { amount: 0, key: key(1).public(), view_tag: 0 };
            let output = Output { amount: coin.amount - FEE_UNITS, ..worthless };
            transfers.push(transfer(params, coin, vec![output, worthless], None));
        }
        Crime::Outputs => (transfers, fees) = (row(params, coin, OUTPUTS_MAX, None)?, 0),
        Crime::Oversize => (transfers, fees) = (row(params, coin, 1, Some([7; NOTE_BYTES]))?, 0),
    }
    block.transfers = List::first_of(transfers);
    block.coinbase.output.amount += fees;
    sealed(&mut block, header);
    Some(block)
}

/// A transfer of one coin of the forger's.
fn transfer(params: &Params, coin: Input, outputs: Vec<Output>, note: Option<[u8; NOTE_BYTES]>) -> Transaction {
    let tx_key = Key(tagged("spindle/simulator/1", &[b"row"]).0);
    let unsigned = Transaction::unsigned(List::first_of(vec![coin]), List::first_of(outputs), tx_key, note);
    unsigned.signed(params.genesis_id(), |_, message| key(1).sign(message))
}

/// So many transfers, each of the last coin that the one before makes, that a block of them is too large.
fn row(params: &Params, coin: Input, outputs: usize, note: Option<[u8; NOTE_BYTES]>) -> Option<Vec<Transaction>> {
    let (mut coin, mut row) = (coin, Vec::new());
    let (mut made, mut bytes) = (0, 0);
    while made <= BLOCK_OUTPUTS_MAX && bytes <= BLOCK_BYTES_MAX {
        let small = Output { amount: 1, key: key(1).public(), view_tag: 0 };
        let mut each = vec![small; outputs];
        each[outputs - 1].amount = coin.amount.checked_sub(outputs as u64 - 1).filter(|rest| *rest > 0)?;
        let next = transfer(params, coin, each, note);
        let outpoint = Outpoint { transaction: next.id(), index: u32::try_from(outputs).ok()? - 1 };
        coin = Input { outpoint, amount: next.outputs[outputs - 1].amount, key: key(1).public(), matures_at: 0 };
        (made, bytes) = (made + outputs, bytes + codec::encode(&next).len());
        row.push(next);
    }
    Some(row)
}

/// Announces transfers whose coins nobody has ever seen, more of them than anybody wants to hold.
#[derive(Debug, Default)]
pub(crate) struct Stranger {
    told: Vec<PeerId>,
}

/// Transfers that a stranger makes up.
const MADE_UP: u64 = 12;

impl Vice for Stranger {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Waits => {
                let Some(&peer) = scene.peers.iter().find(|peer| !self.told.contains(peer)) else {
                    return Reaction::AsItShould;
                };
                self.told.push(peer);
                let ids: Vec<Hash> = made_up(peer, scene).iter().map(Transaction::id).collect();
                Reaction::Instead(vec![Act::Send(peer, Message::NewTx(List::first_of(ids)).to_frame().into())])
            }
            // Its own node does not have them.
            Deed::Says(peer, Message::Txs(found)) if found.is_empty() && self.told.contains(&peer) => {
                let transfers = made_up(peer, scene).iter().map(codec::encode).collect();
                Reaction::Instead(vec![Act::Send(peer, Message::Txs(transfers).to_frame().into())])
            }
            _ => Reaction::AsItShould,
        }
    }
}

/// Right in themselves, each from a coin that never was; the same whenever this peer is meant.
fn made_up(peer: PeerId, scene: &Scene) -> Vec<Transaction> {
    let genesis = scene.miner.params().genesis_id();
    let one = |number: u64| {
        let transaction = tagged("spindle/simulator/1", &[&peer.0.to_le_bytes(), &number.to_le_bytes()]);
        let outpoint = Outpoint { transaction, index: 0 };
        let input = Input { outpoint, amount: 1_000_000, key: key(1).public(), matures_at: 0 };
        let output = Output { amount: 1_000_000 - FEE_UNITS, key: key(1).public(), view_tag: 0 };
        let (inputs, outputs) = (List::first_of(vec![input]), List::first_of(vec![output]));
        let unsigned = Transaction::unsigned(inputs, outputs, Key([5; 32]), None);
        unsigned.signed(genesis, |_, message| key(1).sign(message))
    };
    (0..MADE_UP).map(one).collect()
}
