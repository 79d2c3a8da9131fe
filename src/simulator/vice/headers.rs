//! Peers who claim more work than anybody has, and show headers that cost next to nothing.

use crate::blockchain::block::{CheckedHeader, Header};
use crate::blockchain::position::Position;
use crate::node::event::PeerId;
use crate::node::message::{HEADERS_MAX, Hello, Message};
use crate::node::serve::Request;
use crate::primitives::codec::List;
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::time::Wall;
use crate::simulator::clock::BEGAN;
use crate::simulator::miner::Miner;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// Headers in a cheap chain: more work than an honest network has in its first half hour, or than a long chain has.
const CHEAP: u64 = 60;

/// Shows a cheap chain to whoever asks; where it `wavers`, another one each time.
#[derive(Debug, Default)]
pub(crate) struct Spammer {
    wavers: bool,
    asked: usize,
    faces: Vec<Vec<(Hash, Header)>>,
}

/// Chains that a wavering spammer has.
const FACES: u64 = 3;

impl Spammer {
    /// One that shows other headers on the second pass than on the first.
    pub(crate) fn wavering() -> Self {
        Self { wavers: true, ..Self::default() }
    }

    /// Goes on behind what it has shown of a chain, or begins with the next one.
    fn answer(&mut self, peer: PeerId, locator: &[Hash], scene: &Scene) -> Reaction {
        if self.faces.is_empty() {
            let faces = if self.wavers { FACES } else { 1 };
            self.faces = (0..faces).map(|face| cheap_chain(face, scene)).collect();
        }
        let first = locator.first();
        let shown = |face: &Vec<(Hash, Header)>| face.iter().position(|(id, _)| Some(id) == first);
        let rest = self.faces.iter().find_map(|face| Some(&face[shown(face)? + 1..]));
        let rest = rest.unwrap_or_else(|| {
            self.asked += 1;
            &self.faces[self.asked % self.faces.len()]
        });
        let headers = rest.iter().take(HEADERS_MAX).map(|(_, header)| *header).collect();
        Reaction::Instead(vec![Act::Send(peer, Message::Headers(List::first_of(headers)).to_frame().into())])
    }
}

impl Vice for Spammer {
    fn greets(&self, hello: Hello) -> Hello {
        Hello { work: 1 << 60, height: 1 << 20, ..hello }
    }

    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(peer, Request::Headers { locator }) => self.answer(peer, locator, scene),
            Deed::Answers(_, Request::Blocks { .. }) => Reaction::Instead(Vec::new()),
            _ => Reaction::AsItShould,
        }
    }
}

/// Headers from genesis at the least difficulty, whose bodies do not exist.
fn cheap_chain(face: u64, scene: &Scene) -> Vec<(Hash, Header)> {
    let params = scene.miner.params();
    let spacing_ms = params.spec().block_time_ms;
    let height = scene.node.chain().tip().header.height;
    let count = CHEAP + if height > HEADERS_MAX as u64 { height } else { 0 };
    let mut parent = Position::genesis(params);
    let mut headers = Vec::new();
    for height in 1..=count {
        let header = Header {
            version: params.rules_at(height),
            height,
            prev: parent.id,
            merkle_root: tagged("spindle/simulator/1", &[&face.to_le_bytes(), &height.to_le_bytes()]),
            time: BEGAN.0 - (count - height + 1) * spacing_ms,
            difficulty: parent.difficulty_due(params),
            nonce: 0,
        };
        let header = Miner::work(header);
        let checked = CheckedHeader::check(header).expect("its work was done");
        parent = parent.child(params, &checked, Wall(u64::MAX)).expect("it keeps every rule of headers");
        headers.push((parent.id, header));
    }
    headers
}
