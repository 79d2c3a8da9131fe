//! Whose turn it is with a node's owner: control first, then peers, then time.
//!
//! The same order as the owner's loop has over channels: a tick is handled after those who were in the inbox
//! before it and before those who came after it, and a turn that was cut short goes on between two inputs.

use std::collections::VecDeque;

use crate::node::event::{Event, PeerId};

/// What lies before the owner.
#[derive(Debug)]
pub(crate) struct Desk {
    control: VecDeque<Event>,
    /// Whoever paid a credit for its event gets it back when that is handled.
    inbox: VecDeque<(Event, Option<PeerId>)>,
    /// A tick has come; so many were in the inbox before it.
    before_tick: Option<usize>,
    /// The last thing that was done was to go on with a turn.
    continued: bool,
    /// The most that ever lay in the inbox.
    most: usize,
}

impl Default for Desk {
    /// Time has always passed when a node starts.
    fn default() -> Self {
        let (control, inbox) = (VecDeque::new(), VecDeque::new());
        Self { control, inbox, before_tick: Some(0), continued: false, most: 0 }
    }
}

impl Desk {
    /// From a thread of our own.
    pub(crate) fn control(&mut self, event: Event) {
        self.control.push_back(event);
    }

    /// From a peer's thread, or from people; `credit`: whose credit it cost.
    pub(crate) fn inbox(&mut self, event: Event, credit: Option<PeerId>) {
        self.inbox.push_back((event, credit));
        self.most = self.most.max(self.inbox.len());
    }

    /// Time has passed; a tick that waits already is not put off.
    pub(crate) fn tick(&mut self) {
        self.before_tick = self.before_tick.or(Some(self.inbox.len()));
    }

    /// Whether the owner has nothing to do.
    pub(crate) fn is_clear(&self, busy: bool) -> bool {
        !busy && self.control.is_empty() && self.inbox.is_empty() && self.before_tick.is_none()
    }

    /// The most that ever waited.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// What is next; `busy`: a turn was cut short.
    pub(crate) fn next(&mut self, busy: bool) -> Option<(Event, Option<PeerId>)> {
        if busy && !self.continued && self.control.is_empty() {
            self.continued = true;
            return Some((Event::Continue, None));
        }
        self.continued = false;
        if self.before_tick == Some(0) {
            self.before_tick = None;
            return Some((Event::Tick, None));
        }
        if let Some(event) = self.control.pop_front() {
            return Some((event, None));
        }
        if let Some(input) = self.inbox.pop_front() {
            self.before_tick = self.before_tick.map(|before| before - 1);
            return Some(input);
        }
        busy.then_some((Event::Continue, None))
    }
}
