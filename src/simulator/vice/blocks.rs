//! Miners and servers who do with blocks what they should not.

use crate::blockchain::block::{Block, CheckedBlock, Header};
use crate::blockchain::template::Template;
use crate::node::event::PeerId;
use crate::node::message::{Hello, Message, NewBlock, ShortIdKey};
use crate::node::serve::Request;
use crate::primitives::codec::{self, List};
use crate::primitives::frame::{KIND_BLOCK, frame_into};
use crate::primitives::hash::{Hash, tagged};
use crate::simulator::end::Frame;
use crate::simulator::miner::Miner;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// A block as it is announced.
pub(super) fn news_of(block: &Block) -> Frame {
    let key = ShortIdKey::of(&block.header);
    let short_ids = block.transfers.iter().map(|transfer| key.short_id(&transfer.id())).collect();
    let news = NewBlock { header: block.header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) };
    Message::NewBlock(Box::new(news)).to_frame().into()
}

fn decoded(block: &CheckedBlock) -> Block {
    codec::decode(block.bytes()).expect("a checked block was decoded before")
}

/// Tells one half of the others of one block, and the other half of another at the same height.
#[derive(Debug, Default)]
pub(crate) struct Equivocator {
    /// The last that it took itself: its own node would tell everybody.
    own: Option<Hash>,
}

impl Vice for Equivocator {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Finds(template, header) => {
                let own = scene.miner.seal(template, header);
                let twin = scene.miner.seal(template, Header { time: header.time + 1, ..header });
                self.own = Some(own.id());
                let news = [news_of(&decoded(&own)), news_of(&decoded(&twin))];
                let tell = |(place, peer): (usize, &PeerId)| Act::Send(*peer, news[place % 2].clone());
                let mut acts: Vec<Act> = scene.peers.iter().enumerate().map(tell).collect();
                acts.push(Act::Take(Box::new(own)));
                Reaction::Instead(acts)
            }
            Deed::Says(_, Message::NewBlock(news)) if Some(news.header.id()) == self.own => {
                Reaction::Instead(Vec::new())
            }
            _ => Reaction::AsItShould,
        }
    }
}

/// Keeps what it finds to itself until the others have nearly caught up (Eyal and Sirer, "Majority is not
/// enough", 2014).
#[derive(Debug, Default)]
pub(crate) struct Selfish {
    secret: Vec<Hash>,
    /// Height and work of the tip on which the first of these stands.
    shown: (u64, u128),
}

impl Vice for Selfish {
    fn greets(&self, hello: Hello) -> Hello {
        let (height, work) = self.shown;
        if self.secret.is_empty() { hello } else { Hello { height, work, ..hello } }
    }

    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Finds(template, header) => {
                let (block, tip) = (scene.miner.seal(template, header), scene.node.chain().tip());
                if self.secret.is_empty() {
                    self.shown = (tip.header.height, tip.work);
                }
                self.secret.push(block.id());
                Reaction::Instead(vec![Act::Take(Box::new(block))])
            }
            Deed::Says(_, Message::NewBlock(news)) if self.secret.contains(&news.header.id()) => {
                Reaction::Instead(Vec::new())
            }
            // The answer would show what it hides.
            Deed::Answers(peer, Request::Headers { .. }) if !self.secret.is_empty() => {
                Reaction::Instead(vec![Act::Send(peer, Message::Headers(List::default()).to_frame().into())])
            }
            Deed::Waits if !self.secret.is_empty() => self.wait(scene),
            _ => Reaction::AsItShould,
        }
    }
}

impl Selfish {
    /// Shows everything when the others are a block behind.
    fn wait(&mut self, scene: &Scene) -> Reaction {
        let tip = scene.node.chain().tip();
        let known = scene.node.peers().iter().map(|(_, peer)| peer.work).max().unwrap_or(0);
        if known + u128::from(tip.header.difficulty) < tip.work {
            return Reaction::AsItShould;
        }
        self.secret.clear();
        let bytes = scene.node.reader().block(tip.record).unwrap_or_default();
        let Ok(block) = codec::decode::<Block>(&bytes) else { return Reaction::AsItShould };
        let news = news_of(&block);
        Reaction::Instead(scene.peers.iter().map(|peer| Act::Send(*peer, news.clone())).collect())
    }
}

/// Announces, and never delivers: blocks of others, blocks that nobody else can have, and transfers of which there
/// is nothing but the id.
#[derive(Debug, Default)]
pub(crate) struct Withholder {
    invented: u64,
}

/// Of a thousand ticks, those at which a withholder tells somebody of such a transfer.
const INVENTS_PERMILLE: u32 = 5;

impl Vice for Withholder {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(_, Request::Blocks { .. } | Request::BlockTxs { .. }) => Reaction::Instead(Vec::new()),
            // Its own node found none of those that were asked for.
            Deed::Says(_, Message::Txs(found)) if found.is_empty() => Reaction::Instead(Vec::new()),
            Deed::Finds(template, header) if scene.chance.permille(500) => {
                let news = unheard_of(template, header, scene);
                Reaction::Instead(scene.peers.iter().map(|peer| Act::Send(*peer, news.clone())).collect())
            }
            Deed::Waits if scene.chance.permille(INVENTS_PERMILLE) => {
                let Some(&peer) = scene.chance.pick(scene.peers) else { return Reaction::AsItShould };
                self.invented += 1;
                let id = tagged("spindle/simulator/1", &[b"withheld", &self.invented.to_le_bytes()]);
                Reaction::Instead(vec![Act::Send(peer, Message::NewTx(List::first_of(vec![id])).to_frame().into())])
            }
            _ => Reaction::AsItShould,
        }
    }
}

/// A block that was worked for, with one transfer more than it had, that nobody has.
fn unheard_of(template: &Template, header: Header, scene: &mut Scene) -> Frame {
    let block = template.to_block();
    let merkle_root = tagged("spindle/simulator/1", &[b"withheld", &scene.chance.draw().to_le_bytes()]);
    let header = Miner::work(Header { merkle_root, ..header });
    let key = ShortIdKey::of(&header);
    let mut short_ids: Vec<[u8; 6]> = block.transfers.iter().map(|transfer| key.short_id(&transfer.id())).collect();
    short_ids.push(key.short_id(&merkle_root));
    let news = NewBlock { header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) };
    Message::NewBlock(Box::new(news)).to_frame().into()
}

/// Delivers blocks, transfers and sketches of blocks with a bit changed, and finds blocks that pay too much.
#[derive(Debug)]
pub(crate) struct Mutator;

/// Of a thousand sketches that a mutator passes on, and of as many transfers, those that it changes.
const CHANGES_PERMILLE: u32 = 100;

impl Vice for Mutator {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(peer, Request::Blocks { last, count }) => {
                let bytes = first_of_run(scene, last, *count);
                let frame = bytes.map(|bytes| changed(bytes, scene));
                frame.map_or(Reaction::AsItShould, |frame| Reaction::Instead(vec![Act::Send(peer, frame)]))
            }
            Deed::Answers(peer, Request::BlockTxs { block, places }) => {
                let transfers = transfers_of(scene, block, places).map(|transfers| one_changed(transfers, scene));
                transfers.map_or(Reaction::AsItShould, |transfers| {
                    let frame = Message::BlockTxs { block: *block, transfers }.to_frame();
                    Reaction::Instead(vec![Act::Send(peer, frame.into())])
                })
            }
            Deed::Says(peer, Message::Txs(found)) if !found.is_empty() && scene.chance.permille(CHANGES_PERMILLE) => {
                let frame = Message::Txs(one_changed(found.clone(), scene)).to_frame();
                Reaction::Instead(vec![Act::Send(peer, frame.into())])
            }
            Deed::Says(peer, Message::NewBlock(news))
                if !news.short_ids.is_empty() && scene.chance.permille(CHANGES_PERMILLE) =>
            {
                let mut short_ids = news.short_ids.to_vec();
                short_ids[scene.chance.below(news.short_ids.len())][0] ^= 1;
                let news = NewBlock { short_ids: List::first_of(short_ids), ..(**news).clone() };
                Reaction::Instead(vec![Act::Send(peer, Message::NewBlock(Box::new(news)).to_frame().into())])
            }
            Deed::Finds(template, header) if scene.chance.permille(500) => {
                let news = news_of(&greedy(template, header));
                Reaction::Instead(scene.peers.iter().map(|peer| Act::Send(*peer, news.clone())).collect())
            }
            _ => Reaction::AsItShould,
        }
    }
}

/// The first block of what was asked for, if it lies on the active chain.
fn first_of_run(scene: &Scene, last: &Hash, count: u16) -> Option<Vec<u8>> {
    let reader = scene.node.reader();
    let meta = reader.find_meta(last).ok()??;
    let first = (meta.header.height + 1).checked_sub(u64::from(count))?;
    let record = reader.record_at(first).filter(|_| reader.is_active(&meta) && first > 0)?;
    reader.block(record).ok()
}

/// What was asked for of a block that is there.
fn transfers_of(scene: &Scene, block: &Hash, places: &[u16]) -> Option<Vec<Vec<u8>>> {
    let reader = scene.node.reader();
    let bytes = reader.block(reader.find(block).ok()??).ok()?;
    let block = codec::decode::<Block>(&bytes).ok()?;
    let transfers: Option<Vec<_>> = places.iter().map(|place| block.transfers.get(usize::from(*place))).collect();
    transfers.filter(|found| !found.is_empty()).map(|found| found.into_iter().map(codec::encode).collect())
}

/// A bit of one of these is another.
fn one_changed(mut transfers: Vec<Vec<u8>>, scene: &mut Scene) -> Vec<Vec<u8>> {
    let transfer = scene.chance.below(transfers.len());
    let place = scene.chance.below(transfers[transfer].len());
    transfers[transfer][place] ^= 1 << scene.chance.below(8);
    transfers
}

/// A frame that is right around a block that is not.
fn changed(mut bytes: Vec<u8>, scene: &mut Scene) -> Frame {
    let place = scene.chance.below(bytes.len());
    bytes[place] ^= 1 << scene.chance.below(8);
    let mut frame = Vec::new();
    frame_into(KIND_BLOCK, &bytes, &mut frame);
    frame.into()
}

/// A block whose miner takes one unit more than is due; all else is right, the work too.
fn greedy(template: &Template, header: Header) -> Block {
    let mut block = template.to_block();
    block.header = header;
    block.coinbase.output.amount += 1;
    block.header.merkle_root = block.merkle_root();
    block.header = Miner::work(block.header);
    block
}
