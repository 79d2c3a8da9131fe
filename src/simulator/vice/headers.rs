//! Peers who claim more work than anybody has, and show headers that cost next to nothing.

use crate::blockchain::block::{CheckedHeader, Header};
use crate::blockchain::position::Position;
use crate::node::event::PeerId;
use crate::node::message::{Hello, Message};
use crate::node::serve::Request;
use crate::primitives::codec::List;
use crate::primitives::hash::tagged;
use crate::primitives::time::Wall;
use crate::simulator::clock::BEGAN;
use crate::simulator::end::Frame;
use crate::simulator::miner::Miner;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// Headers in a cheap chain: more work than an honest network has in its first half hour.
const CHEAP: u64 = 60;

/// Shows a cheap chain to whoever asks; where it `wavers`, another one each time.
#[derive(Debug, Default)]
pub(crate) struct Spammer {
    wavers: bool,
    asked: u64,
    frames: Vec<Frame>,
}

/// Chains that a wavering spammer has.
const FACES: u64 = 3;

impl Spammer {
    /// One that shows other headers on the second pass than on the first.
    pub(crate) fn wavering() -> Self {
        Self { wavers: true, ..Self::default() }
    }

    fn answer(&mut self, peer: PeerId, scene: &Scene) -> Reaction {
        if self.frames.is_empty() {
            let faces = if self.wavers { FACES } else { 1 };
            self.frames = (0..faces).map(|face| cheap_chain(face, scene)).collect();
        }
        self.asked += 1;
        let places = self.frames.len() as u64;
        let place = usize::try_from(self.asked % places).expect("few faces");
        Reaction::Instead(vec![Act::Send(peer, self.frames[place].clone())])
    }
}

impl Vice for Spammer {
    fn greets(&self, hello: Hello) -> Hello {
        Hello { work: 1 << 60, height: 1 << 20, ..hello }
    }

    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        match deed {
            Deed::Answers(peer, Request::Headers { .. }) => self.answer(peer, scene),
            Deed::Answers(_, Request::Blocks { .. }) => Reaction::Instead(Vec::new()),
            _ => Reaction::AsItShould,
        }
    }
}

/// Headers from genesis at the least difficulty, whose bodies do not exist.
fn cheap_chain(face: u64, scene: &Scene) -> Frame {
    let params = scene.miner.params();
    let spacing_ms = params.spec().block_time_ms;
    let mut parent = Position::genesis(params);
    let mut headers = Vec::new();
    for height in 1..=CHEAP {
        let header = Header {
            version: params.rules_at(height),
            height,
            prev: parent.id,
            merkle_root: tagged("spindle/simulator/1", &[&face.to_le_bytes(), &height.to_le_bytes()]),
            time: BEGAN.0 - (CHEAP - height + 1) * spacing_ms,
            difficulty: parent.difficulty_due(params),
            nonce: 0,
        };
        let header = Miner::work(header);
        let checked = CheckedHeader::check(header).expect("its work was done");
        parent = parent.child(params, &checked, Wall(u64::MAX)).expect("it keeps every rule of headers");
        headers.push(header);
    }
    Message::Headers(List::first_of(headers)).to_frame().into()
}
