//! What came to pass: runs in which nothing ever went wrong prove nothing.
//!
//! Trouble is counted by its name when somebody could notice it, not when it is drawn: a reset of a connection that was
//! there, a full disk of which a node told, a fault of a disk that ended a process. So are ways to cheat when one
//! did something else than it should, the effects of the cores, and the reasons for which connections ended. Of many
//! runs together none of [`MUST`] and of the vices may be missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::event::Effect;
use crate::node::reason::Reason;
use crate::simulator::vice::Kind;

/// What must come to pass in many drawn stories, besides every [`Kind`] of vice.
///
/// Not among them are two effects, `Generate` and `Miners`, which only a person asks for, and reasons to hang up that
/// come too seldom to be counted on.
pub const MUST: [&str; 43] = [
    "trouble Partition",
    "trouble one way",
    "trouble Reset",
    "trouble Stall",
    "trouble Crash",
    "trouble Torn",
    "trouble Disk",
    "trouble Full",
    "trouble Clock",
    "end Stopped",
    "end Killed",
    "end PowerFailed",
    "end in a call",
    "end by the disk",
    "end by the disk at the start",
    "effect Send",
    "effect Ask",
    "effect BroadcastBlock",
    "effect BroadcastTx",
    "effect Verify",
    "effect HangUp",
    "effect Dial",
    "effect Refuse",
    "effect Sync",
    "effect Checkpoint",
    "effect Save",
    "effect Mine",
    "effect Tell",
    "effect Answer",
    "hang-up Closed",
    "hang-up Duplicate",
    "hang-up FrameTimeout",
    "hang-up OtherHeaders",
    "hang-up OutboxFull",
    "hang-up PongTimeout",
    "hang-up Rejected",
    "hang-up Stalled",
    "hang-up Unasked",
    "hang-up WorkNotShown",
    "hang-up WriteTimeout",
    "second pass",
    "calm among cheats",
    "calm payment",
];

/// How often what came to pass, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reached(BTreeMap<String, u64>);

impl Reached {
    /// Something came to pass, so many times.
    pub(crate) fn add(&mut self, name: impl Into<String>, times: u64) {
        if times > 0 {
            *self.0.entry(name.into()).or_default() += times;
        }
    }

    /// What came to pass in another run did so too.
    pub fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, times)| self.add(name, *times));
    }

    /// What must have come to pass by now, and did not.
    pub fn missing(&self) -> Vec<&'static str> {
        let vices = Kind::ALL.into_iter().map(Kind::name);
        MUST.into_iter().chain(vices).filter(|name| !self.0.contains_key(*name)).collect()
    }
}

/// The effects of all cores, counted: there are too many of them for names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effects([u64; EFFECTS.len()]);

const EFFECTS: [&str; 16] = [
    "Send",
    "Ask",
    "BroadcastBlock",
    "BroadcastTx",
    "Verify",
    "HangUp",
    "Dial",
    "Refuse",
    "Sync",
    "Checkpoint",
    "Save",
    "Mine",
    "Generate",
    "Tell",
    "Miners",
    "Answer",
];

impl Effects {
    pub(crate) fn count(&mut self, effect: &Effect) {
        let place = match effect {
            Effect::Send { .. } => 0,
            Effect::Ask { .. } => 1,
            Effect::BroadcastBlock { .. } => 2,
            Effect::BroadcastTx { .. } => 3,
            Effect::Verify { .. } => 4,
            Effect::HangUp { .. } => 5,
            Effect::Dial { .. } => 6,
            Effect::Refuse { .. } => 7,
            Effect::Sync { .. } => 8,
            Effect::Checkpoint { .. } => 9,
            Effect::Save { .. } => 10,
            Effect::Mine { .. } => 11,
            Effect::Generate { .. } => 12,
            Effect::Tell(_) => 13,
            Effect::Miners { .. } => 14,
            Effect::Answer { .. } => 15,
        };
        self.0[place] += 1;
    }

    pub(crate) fn add_to(&self, reached: &mut Reached) {
        for (name, times) in EFFECTS.iter().zip(self.0) {
            reached.add(format!("effect {name}"), times);
        }
    }
}

/// The name of a reason, without what it holds.
pub(crate) fn name_of(reason: &Reason) -> String {
    let text = format!("{reason:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}
