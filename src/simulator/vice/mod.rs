//! Peers that cheat: real nodes with a real chain, whose mouths lie.
//!
//! A vicious machine runs the same core, sessions and frames as everybody else. Before it speaks, answers or
//! publishes a block its [`Vice`] is asked, and may do something else. So each vice is only what is wrong
//! with it. Nothing is promised of vicious nodes themselves; the judge looks at the others.
//!
//! Left out: somebody who lies about the time of day to peers. No message carries one, and no node asks another for
//! it: the only times that anybody hears of are stamped into blocks, and miners who lie there are among these.

mod blocks;

mod forger;

mod headers;

mod manners;

mod time;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::blockchain::block::{CheckedBlock, Header};
use crate::blockchain::template::Template;
use crate::node::Node;
use crate::node::event::PeerId;
use crate::node::message::{Hello, Message};
use crate::node::serve::Request;
use crate::primitives::time::Now;
use crate::simulator::chance::Chance;
use crate::simulator::end::Frame;
use crate::simulator::miner::Miner;
use crate::simulator::vice::blocks::{Equivocator, Mutator, Selfish, Withholder};
use crate::simulator::vice::forger::{Forger, Stranger};
use crate::simulator::vice::headers::Spammer;
use crate::simulator::vice::manners::{Dripper, Eclipser, Fuzzer, NeverReader, Poisoner};
use crate::simulator::vice::time::{Early, Least};

/// Ways to cheat, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A miner who finds two blocks at once, one for each half of the others.
    Equivocator,
    /// A miner who keeps what it finds to itself for a while.
    Selfish,
    /// Announces, and never delivers.
    Withholder,
    /// Delivers blocks with a byte changed; finds blocks that pay too much.
    Mutator,
    /// Claims much work and shows cheap headers.
    Spammer,
    /// The same with other headers each time.
    Waverer,
    /// A miner whose clock is wrong by minutes; it does not know.
    WrongClock,
    /// A miner who stamps the latest time that others accept.
    LatestStamp,
    /// A miner who stamps the least time that the rules allow.
    LeastStamp,
    /// Tells of nodes that do not exist.
    Poisoner,
    /// Never reads.
    NeverReader,
    /// Lets a frame come byte by byte.
    Dripper,
    /// Says anything at any time.
    Fuzzer,
    /// A miner who breaks one rule at a time.
    Forger,
    /// Announces payments with coins that nobody has ever seen.
    Stranger,
    /// Tells of nobody but others who cheat.
    Eclipser,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Equivocator,
        Self::Selfish,
        Self::Withholder,
        Self::Mutator,
        Self::Spammer,
        Self::Waverer,
        Self::WrongClock,
        Self::LatestStamp,
        Self::LeastStamp,
        Self::Poisoner,
        Self::NeverReader,
        Self::Dripper,
        Self::Fuzzer,
        Self::Forger,
        Self::Stranger,
        Self::Eclipser,
    ];

    /// The first that there were; drawn stories pick from them, so that they stay what they are.
    pub(crate) const EARLIER: &[Self] = Self::ALL.as_slice().split_at(15).0;

    /// Those that were thought of later, and those that bite the more of them there are.
    pub(crate) const LATEST: [Self; 3] = [Self::Eclipser, Self::Withholder, Self::Forger];

    /// Whether others can agree while it is there, as long as it finds no blocks: a miner who shows what it has
    /// kept to itself would turn the tip once more.
    pub(crate) fn may_stay(self) -> bool {
        self != Self::Selfish
    }

    /// What a run that it did something in has reached.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equivocator => "vice Equivocator",
            Self::Selfish => "vice Selfish",
            Self::Withholder => "vice Withholder",
            Self::Mutator => "vice Mutator",
            Self::Spammer => "vice Spammer",
            Self::Waverer => "vice Waverer",
            Self::WrongClock => "vice WrongClock",
            Self::LatestStamp => "vice LatestStamp",
            Self::LeastStamp => "vice LeastStamp",
            Self::Poisoner => "vice Poisoner",
            Self::NeverReader => "vice NeverReader",
            Self::Dripper => "vice Dripper",
            Self::Fuzzer => "vice Fuzzer",
            Self::Forger => "vice Forger",
            Self::Stranger => "vice Stranger",
            Self::Eclipser => "vice Eclipser",
        }
    }

    /// What it does, if that is not just an honest node with something wrong.
    pub(crate) fn vice(self) -> Option<Box<dyn Vice>> {
        Some(match self {
            Self::Equivocator => Box::new(Equivocator::default()),
            Self::Selfish => Box::new(Selfish::default()),
            Self::Withholder => Box::new(Withholder::default()),
            Self::Mutator => Box::new(Mutator),
            Self::Spammer => Box::new(Spammer::default()),
            Self::Waverer => Box::new(Spammer::wavering()),
            Self::WrongClock => return None,
            Self::LatestStamp => Box::new(Early),
            Self::LeastStamp => Box::new(Least),
            Self::Poisoner => Box::new(Poisoner),
            Self::NeverReader => Box::new(NeverReader),
            Self::Dripper => Box::new(Dripper),
            Self::Fuzzer => Box::new(Fuzzer),
            Self::Forger => Box::new(Forger::default()),
            Self::Stranger => Box::new(Stranger::default()),
            Self::Eclipser => Box::new(Eclipser),
        })
    }

    /// How wrong its clock is, if that is its vice: up to half an hour either way.
    pub(crate) fn clock_ms(self, chance: &mut Chance) -> Option<i64> {
        const WRONG_MS: i64 = 30 * 60_000;
        let drawn = chance.between(0, 2 * WRONG_MS.unsigned_abs());
        (self == Self::WrongClock).then(|| i64::try_from(drawn).map_or(0, |drawn| drawn - WRONG_MS))
    }
}

/// What a node is about to do, or has just seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed<'a> {
    /// A connection is there, and nothing was said yet.
    Opens(PeerId),
    /// A handshake is complete.
    Meets(PeerId),
    /// It would say this.
    Says(PeerId, &'a Message),
    /// It would answer this.
    Answers(PeerId, &'a Request),
    /// Its miner would look for the nonce of this header.
    Finds(&'a Arc<Template>, Header),
    /// Some time has passed: a quarter of a second, up to four of them.
    Waits,
}

/// What it does.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// What an honest node does.
    AsItShould,
    /// This and nothing else.
    Instead(Vec<Act>),
}

/// Something that a vice does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Says something.
    Send(PeerId, Frame),
    /// Says something however long it is: an outbox that everybody else keeps would not hold it.
    Pour(PeerId, Frame),
    /// Takes a block of its own as an honest miner's node does.
    Take(Box<CheckedBlock>),
    /// Never reads from somebody again.
    Deafen(PeerId),
}

/// What a vice sees of its node.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) node: &'a Node,
    pub(crate) now: Now,
    /// Everybody who is connected.
    pub(crate) peers: &'a [PeerId],
    pub(crate) chance: &'a mut Chance,
    pub(crate) miner: &'a Miner,
    /// Where everybody listens who cheats.
    pub(crate) accomplices: &'a [SocketAddr],
}

/// A way to cheat.
pub(crate) trait Vice: fmt::Debug {
    /// What it says of itself.
    fn greets(&self, hello: Hello) -> Hello {
        hello
    }

    /// What it does instead of what it should.
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction;
}
