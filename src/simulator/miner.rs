//! A miner whose luck is drawn instead of worked for.
//!
//! When a block is found is drawn from the miner's share of the hash power: an exponential wait whose mean is
//! difficulty over rate, begun anew with every tip, which is what hashing comes to. Only then is a nonce
//! looked for, so the proof of work is real; the difficulty is small enough for that to take no time.

use std::sync::Arc;

use crate::blockchain::block::{CheckedBlock, Header};
use crate::blockchain::mining;
use crate::blockchain::params::{Params, TIME_STEP_MIN_MS};
use crate::blockchain::template::Template;
use crate::primitives::time::Wall;
use crate::simulator::chance::Chance;
use crate::simulator::net::{Happening, Host, Life, Net};

/// Microseconds in an hour.
const HOUR_US: u128 = 3_600_000_000;

/// One machine's miner.
#[derive(Clone, Debug)]
pub(crate) struct Miner {
    params: Arc<Params>,
    /// Hashes an hour; 0 for a node that does not mine.
    rate: u64,
    chance: Chance,
    template: Option<Arc<Template>>,
    /// The search under way; what was planned for an earlier one does not happen.
    search: u32,
}

impl Miner {
    pub(crate) fn new(params: Arc<Params>, rate: u64, chance: Chance) -> Self {
        Self { params, rate, chance, template: None, search: 0 }
    }

    /// There is something else to work on, or nothing.
    pub(crate) fn take(&mut self, net: &mut Net, who: (Host, Life), template: Option<Arc<Template>>) {
        let tip = |template: &Option<Arc<Template>>| template.as_ref().map(|template| template.header().prev);
        let goes_on = tip(&self.template) == tip(&template);
        self.template = template;
        // Hashing has no memory, so better fees on the same tip cost no time.
        if !goes_on {
            self.search_on(net, who);
        }
    }

    /// A new search begins.
    pub(crate) fn search_on(&mut self, net: &mut Net, (host, life): (Host, Life)) {
        self.search += 1;
        let Some(template) = self.template.as_ref().filter(|_| self.rate > 0) else { return };
        let mean_us = u128::from(template.header().difficulty) * HOUR_US / u128::from(self.rate);
        let wait_us = self.chance.exponential(u64::try_from(mean_us).unwrap_or(u64::MAX >> 8));
        net.plan(wait_us, Happening::Found(host, life, self.search));
    }

    /// Whether this is the search that is under way.
    pub(crate) fn is_searching(&self, search: u32) -> bool {
        self.search == search && self.rate > 0 && self.template.is_some()
    }

    /// No block from here any more, or again.
    pub(crate) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// What a block found now would be, without its nonce; none while the tip is too far ahead of the clock.
    pub(crate) fn draft(&self, now: Wall) -> Option<(Arc<Template>, Header)> {
        let template = Arc::clone(self.template.as_ref()?);
        let time = now.0.max(template.header().time);
        let is_early = time > now.0.saturating_add(self.params.spec().future_limit_ms);
        (!is_early).then(|| (Arc::clone(&template), Header { time, ..*template.header() }))
    }

    /// The header with a nonce that meets its difficulty.
    pub(crate) fn work(header: Header) -> Header {
        mining::Miner::new(header).search(0, u64::MAX).expect("one of so many nonces meets a small difficulty")
    }

    /// The block with this header, but for its nonce.
    pub(crate) fn seal(&self, template: &Template, header: Header) -> CheckedBlock {
        let found = template.found(&self.params, Self::work(header));
        found.expect("a template keeps every rule whatever its time and nonce")
    }

    /// The latest time that others accept.
    pub(crate) fn latest(&self, now: Wall) -> u64 {
        now.0 + self.params.spec().future_limit_ms - TIME_STEP_MIN_MS
    }

    /// The network.
    pub(crate) fn params(&self) -> &Arc<Params> {
        &self.params
    }
}
