//! Miners and servers who do with blocks what they should not.

use crate::blockchain::block::{Block, CheckedBlock, Header};
use crate::blockchain::template::Template;
use crate::node::event::PeerId;
use crate::node::message::{Message, NewBlock, ShortIdKey};
use crate::node::serve::Request;
use crate::primitives::codec::{self, List};
use crate::primitives::frame::{KIND_BLOCK, frame_into};
use crate::primitives::hash::Hash;
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
}

impl Vice for Selfish {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Finds(template, header) => {
                let block = scene.miner.seal(template, header);
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

/// Announces, and never delivers.
#[derive(Debug)]
pub(crate) struct Withholder;

impl Vice for Withholder {
    fn react(&mut self, deed: Deed<'_>, _: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(_, Request::Blocks { .. } | Request::BlockTxs { .. }) => Reaction::Instead(Vec::new()),
            _ => Reaction::AsItShould,
        }
    }
}

/// Delivers blocks with a byte changed, and finds blocks that pay too much.
#[derive(Debug)]
pub(crate) struct Mutator;

impl Vice for Mutator {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(peer, Request::Blocks { last, count }) => {
                let bytes = first_of_run(scene, last, *count);
                let frame = bytes.map(|bytes| changed(bytes, scene));
                frame.map_or(Reaction::AsItShould, |frame| Reaction::Instead(vec![Act::Send(peer, frame)]))
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
