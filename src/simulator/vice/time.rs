//! Miners who lie about the time, one way and the other.

use std::sync::Arc;

use crate::blockchain::block::Header;
use crate::blockchain::template::Template;
use crate::simulator::vice::{Act, Deed, Reaction, Scene, Vice};

/// Stamps the latest time that others accept: intervals look long, so that difficulty falls.
#[derive(Debug)]
pub(crate) struct Early;

impl Vice for Early {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        let Deed::Finds(template, header) = deed else { return Reaction::AsItShould };
        let time = scene.miner.latest(scene.now.wall).max(header.time);
        stamped(template, Header { time, ..header }, scene)
    }
}

/// Stamps the least time that the rules allow: the next miner's interval looks longer by that.
#[derive(Debug)]
pub(crate) struct Least;

impl Vice for Least {
    fn react(&mut self, deed: Deed<'_>, scene: &mut Scene<'_>) -> Reaction {
        let Deed::Finds(template, header) = deed else { return Reaction::AsItShould };
        stamped(template, Header { time: template.header().time, ..header }, scene)
    }
}

fn stamped(template: &Arc<Template>, header: Header, scene: &Scene<'_>) -> Reaction {
    Reaction::Instead(vec![Act::Take(Box::new(scene.miner.seal(template, header)))])
}
