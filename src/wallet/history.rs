//! What came and went, told as a person would tell it.

use crate::primitives::hash::Hash;
use crate::primitives::stealth::Address;
use crate::wallet::state::{Place, Record, State};

/// What kind of event it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A block of ours.
    Mined,
    /// Somebody paid us.
    Received,
    /// We paid somebody.
    Sent,
}

/// One line of a wallet's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The transaction.
    pub id: Hash,
    /// Its block; none while it waits.
    pub place: Option<Place>,
    /// When we first knew of it, in milliseconds since 1970.
    pub known_since: u64,
    /// Mined, received or sent.
    pub direction: Direction,
    /// What came in, or what others got, in units; the fee is not part of it.
    pub amount: u64,
    /// What we paid for its being mined, in units.
    pub fee: u64,
    /// Whom we paid, if this file is what sent it.
    pub address: Option<Address>,
    /// The note that went with it.
    pub note: Option<String>,
}

/// The wallet's history: the oldest first, what waits last.
pub fn of(state: &State) -> Vec<Entry> {
    let mut entries: Vec<Entry> = state.records().map(|record| entry(state, record)).collect();
    let when = |entry: &Entry| (entry.place.map_or(u64::MAX, |place| place.height), entry.known_since);
    entries.sort_by_key(when);
    entries
}

fn entry(state: &State, record: &Record) -> Entry {
    let received = record.received.iter().fold(0_u64, |sum, coin| sum.saturating_add(coin.input.amount));
    let ours = record.inputs.iter().filter_map(|outpoint| state.coin(outpoint));
    let spent = ours.fold(0_u64, |sum, coin| sum.saturating_add(coin.input.amount));
    let (direction, amount, fee) = match () {
        () if record.coinbase => (Direction::Mined, received, 0),
        () if spent == 0 => (Direction::Received, received, 0),
        // Paid to ourselves, this is what was moved; otherwise, what did not come back.
        () => {
            let left = spent.saturating_sub(received).saturating_sub(record.fee);
            (Direction::Sent, record.sent.as_ref().map_or(left, |sent| sent.amount), record.fee)
        }
    };
    let note = String::from_utf8_lossy(&record.note);
    Entry {
        id: record.id,
        place: record.place,
        known_since: record.known_since,
        direction,
        amount,
        fee,
        address: record.sent.as_ref().map(|sent| sent.address),
        note: (!note.is_empty()).then(|| note.into_owned()),
    }
}
