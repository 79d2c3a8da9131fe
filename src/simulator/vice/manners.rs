//! Peers without manners: what they say is well formed, and when or how they say it is not.

use std::net::{Ipv4Addr, SocketAddr};

use crate::blockchain::block::Block;
use crate::node::message::{ADDRESSES_MAX, Hello, Kind, Message, NewBlock, PeerAddress, Text, UNKNOWN_BYTES_MAX};
use crate::primitives::codec::{self, List};
use crate::primitives::frame::{FrameHeader, frame_into};
use crate::primitives::hash::Hash;
use crate::simulator::end::Frame;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// Tells of nodes that do not exist.
#[derive(Debug)]
pub(crate) struct Poisoner;

impl Vice for Poisoner {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        let Deed::Says(peer, Message::Peers(_)) = deed else { return Reaction::AsItShould };
        let made_up = |_| {
            let [a, b, c, d, ..] = scene.chance.draw().to_le_bytes();
            PeerAddress::from(SocketAddr::from((Ipv4Addr::new(a, b, c, d), 9000)))
        };
        let addresses = (0..ADDRESSES_MAX).map(made_up).collect();
        Reaction::Instead(vec![Act::Send(peer, Message::Peers(List::first_of(addresses)).to_frame().into())])
    }
}

/// Tells of nobody but others who cheat: whoever believes it alone has none but such peers in the end.
#[derive(Debug)]
pub(crate) struct Eclipser;

impl Vice for Eclipser {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        let Deed::Says(peer, Message::Peers(_)) = deed else { return Reaction::AsItShould };
        let addresses = scene.accomplices.iter().copied().map(PeerAddress::from).collect();
        Reaction::Instead(vec![Act::Send(peer, Message::Peers(List::first_of(addresses)).to_frame().into())])
    }
}

/// Never reads, and asks for more and more: for headers, which fill the wire; for pongs, now and then for so many
/// at once that they fill an outbox.
#[derive(Debug)]
pub(crate) struct NeverReader;

/// Of a thousand ticks, those at which it asks everybody; and those at which it floods somebody.
const ASKS_PERMILLE: u32 = 60;
const FLOODS_PERMILLE: u32 = 1;
/// Pings at once: a few, and a flood.
const PINGS: usize = 16;
const PINGS_FLOOD: usize = 3_200;

impl Vice for NeverReader {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Meets(peer) => Reaction::Instead(vec![Act::Deafen(peer)]),
            Deed::Waits if scene.chance.permille(ASKS_PERMILLE) => {
                let mut questions = Message::GetHeaders(List::default()).to_frame();
                questions.extend(Message::Ping(7).to_frame().repeat(PINGS));
                let questions = Frame::from(questions);
                Reaction::Instead(scene.peers.iter().map(|peer| Act::Send(*peer, questions.clone())).collect())
            }
            Deed::Waits if scene.chance.permille(FLOODS_PERMILLE) => {
                let flood = Frame::from(Message::Ping(7).to_frame().repeat(PINGS_FLOOD));
                let somebody = scene.chance.pick(scene.peers);
                somebody.map_or(Reaction::AsItShould, |peer| Reaction::Instead(vec![Act::Send(*peer, flood)]))
            }
            _ => Reaction::AsItShould,
        }
    }
}

/// Begins a frame and lets it come byte by byte; says nothing else.
#[derive(Debug)]
pub(crate) struct Dripper;

impl Vice for Dripper {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Meets(peer) => {
                let header = FrameHeader::of(Kind::Headers as u8, &vec![0; 100_000]);
                Reaction::Instead(vec![Act::Send(peer, Frame::from(header.to_bytes().to_vec()))])
            }
            Deed::Waits => {
                let drop = Frame::from(vec![0]);
                Reaction::Instead(scene.peers.iter().map(|peer| Act::Send(*peer, drop.clone())).collect())
            }
            Deed::Says(..) | Deed::Answers(..) => Reaction::Instead(Vec::new()),
            Deed::Opens(_) | Deed::Finds(..) => Reaction::AsItShould,
        }
    }
}

/// Says anything at any time, as long as it is well formed: also before it was greeted, or instead of greeting.
#[derive(Debug)]
pub(crate) struct Fuzzer;

impl Vice for Fuzzer {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        let peer = match deed {
            Deed::Waits if scene.chance.permille(200) => scene.chance.pick(scene.peers).copied(),
            Deed::Opens(peer) if scene.chance.permille(200) => Some(peer),
            _ => None,
        };
        let Some(peer) = peer else { return Reaction::AsItShould };
        let said = 1 + scene.chance.below(4);
        Reaction::Instead((0..said).map(|_| Act::Send(peer, any_frame(scene))).collect())
    }
}

/// An id that may mean something.
fn some_id(scene: &mut Scene) -> Hash {
    let height = scene.node.chain().tip().header.height;
    let drawn = scene.chance.between(0, height);
    let record = scene.node.reader().record_at(drawn);
    let known = record.and_then(|record| scene.node.reader().meta(record).ok()).map(|meta| meta.id);
    match scene.chance.below(3) {
        0 => Hash::sha256d(&drawn.to_le_bytes()),
        1 => scene.node.pool().ids().next().unwrap_or(Hash::ZERO),
        _ => known.unwrap_or(Hash::ZERO),
    }
}

/// A frame of any kind, of those that nobody knows too, up to more bytes than such a one may have.
fn any_frame(scene: &mut Scene) -> Frame {
    if !scene.chance.permille(60) {
        return anything(scene).to_frame().into();
    }
    let (number, length) = (scene.chance.below(256), scene.chance.below(UNKNOWN_BYTES_MAX + 100));
    let (mut number, mut frame) = (u8::try_from(number).expect("a byte"), Vec::new());
    while Kind::from_number(number).is_some() {
        number = number.wrapping_add(100);
    }
    frame_into(number, &vec![7; length], &mut frame);
    frame.into()
}

/// How somebody could greet: right, but for what is drawn.
fn some_hello(scene: &mut Scene) -> Hello {
    let genesis = scene.miner.params().genesis_id();
    Hello {
        protocol_least: u16::try_from(scene.chance.below(3)).expect("few"),
        protocol_greatest: u16::try_from(scene.chance.below(3)).expect("few"),
        genesis: if scene.chance.permille(800) { genesis } else { Hash::ZERO },
        nonce: scene.chance.draw(),
        agent: Text::first_of(b"\x07any".to_vec()),
        listen_port: u16::try_from(scene.chance.below(1 << 16)).expect("16 bits"),
        height: scene.chance.draw(),
        work: u128::from(scene.chance.draw()) << 64,
        activations: List::default(),
    }
}

/// A sketch of the tip, or of a block like it.
fn some_news(scene: &mut Scene) -> Option<NewBlock> {
    let tip = scene.node.chain().tip();
    let block = codec::decode::<Block>(&scene.node.reader().block(tip.record).ok()?).ok()?;
    let mut header = block.header;
    match scene.chance.below(3) {
        0 => {}
        1 => header.height = scene.chance.draw(),
        _ => header.time = scene.chance.draw(),
    }
    let short_ids = (0..scene.chance.below(9)).map(|n| [u8::try_from(n).expect("few"); 6]).collect();
    Some(NewBlock { header, coinbase: block.coinbase, short_ids: List::first_of(short_ids) })
}

/// Something of any kind.
fn anything(scene: &mut Scene) -> Message {
    let id = some_id(scene);
    let few = u16::try_from(scene.chance.below(20)).expect("few");
    let ids: Vec<Hash> = (0..few).map(|_| some_id(scene)).collect();
    let transactions =
        || scene.node.pool().ids().take(2).filter_map(|id| Some(scene.node.pool().get(&id)?.bytes().to_vec()));
    match scene.chance.below(19) {
        16 => Message::Hello(some_hello(scene)),
        17 => Message::HelloAck(some_hello(scene)),
        18 => some_news(scene).map_or(Message::GetPeers, |news| Message::NewBlock(Box::new(news))),
        0 => Message::Ping(u64::from(few)),
        1 => Message::Pong(u64::from(few)),
        2 => Message::GetHeaders(List::first_of(ids)),
        3 => Message::GetBlocks { last: id, count: few },
        4 => Message::Missing(id),
        5 => Message::NewTx(List::first_of(ids)),
        6 => Message::GetTxs(List::first_of(ids)),
        7 => Message::Txs(transactions().collect()),
        8 => Message::GetPeers,
        9 => Message::Peers(List::default()),
        10 => Message::GetBlockTxs { block: id, places: List::first_of((0..few).collect()) },
        11 => Message::BlockTxs { block: id, transfers: transactions().collect() },
        12 => Message::GetPool(id),
        13 => Message::Pool(List::first_of(ids)),
        14 => Message::Bye(Text::first_of(b"\x1b[2J".to_vec())),
        _ => Message::Headers(List::first_of(vec![scene.node.chain().tip().header])),
    }
}
