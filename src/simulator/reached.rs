//! What came to pass: runs in which nothing ever went wrong prove nothing.
//!
//! Every fault, every way to cheat, every effect of the core and every way in which those are met is counted by its
//! name. Of many runs together none of [`MUST`] may be missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::event::Effect;
use crate::node::reason::Reason;

/// What must come to pass in many drawn stories.
///
/// Not among them: `Generate`, which only a person asks for.
pub const MUST: [&str; 52] = [
    "trouble Partition",
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
    "vice Equivocator",
    "vice Selfish",
    "vice Withholder",
    "vice Mutator",
    "vice Spammer",
    "vice Waverer",
    "vice WrongClock",
    "vice LatestStamp",
    "vice LeastStamp",
    "vice Poisoner",
    "vice NeverReader",
    "vice Dripper",
    "vice Fuzzer",
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
        MUST.into_iter().filter(|name| !self.0.contains_key(*name)).collect()
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
