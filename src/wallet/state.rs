//! What a wallet knows: its transactions, its coins, and how far it has looked.
//!
//! The transactions that concern us are the whole truth; coins and who spends them are tables made from
//! them. A transaction in a block has a place; one that waits has none. So undoing blocks, however many,
//! needs no journal: their transactions lose their places; coinbases that do not come again go, and so does
//! what was built on those. A transaction that waits goes too when a block spends one of its coins otherwise. If it was
//! a payment of ours, that is remembered until a person is told.
//!
//! What was signed may be known, even if it was refused and is forgotten here. Its note is encrypted under a
//! key that follows from its coins and its receiver alone (RULES 38), so a second note for the same of both
//! would be told by the first. Hence this wallet remembers for good which notes it has made, and refuses
//! another one. A second copy of a wallet, or one that is restored from its words, cannot know.
//!
//! Left out: judging blocks. Links are checked here, bodies in `scan.rs`, rules by the node.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::blockchain::params::INPUTS_MAX;
use crate::blockchain::params::OUTPUTS_MAX;
use crate::blockchain::transaction::{Outpoint, Transaction};
use crate::primitives::codec::{self, CodecError, Decode, Encode, List};
use crate::primitives::hash::{Hash, tagged};
use crate::primitives::stealth::Address;
use crate::wallet::keys::Coin;
use crate::wallet::scan::{Seen, SeenBlock};

/// Marks near the tip are kept all; further back ever fewer.
const MARKS_DENSE: u64 = 64;
/// A note's 64 bytes, each at worst replaced by a sign of three.
const NOTE_BYTES_MAX: usize = 192;

/// A block that the wallet has looked at, or from which it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Its height.
    pub height: u64,
    /// Its id.
    pub id: Hash,
}

/// Where a transaction stands in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    /// The block's height.
    pub height: u64,
    /// The block's time, in milliseconds since 1970.
    pub time: u64,
}

/// What only the sender knows of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sent {
    /// Who was paid.
    pub address: Address,
    /// How much, in units.
    pub amount: u64,
    /// The transaction as a whole, to be offered to nodes while it waits. Kept for good, since no depth rules out
    /// that its block is undone. Files of earlier programs may lack it.
    pub transaction: Option<Transaction>,
}

/// A transaction that concerns us.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Its id.
    pub id: Hash,
    /// Its block; none while it waits.
    pub place: Option<Place>,
    /// Whether it is a coinbase.
    pub coinbase: bool,
    /// When we first knew of it, in milliseconds since 1970.
    pub known_since: u64,
    /// Everything that it spends, ours or not.
    pub inputs: List<Outpoint, INPUTS_MAX>,
    /// What it made for us.
    pub received: List<Coin, OUTPUTS_MAX>,
    /// Its fee, in units.
    pub fee: u64,
    /// Its note, as text.
    pub note: List<u8, NOTE_BYTES_MAX>,
    /// If we sent it from this file.
    pub sent: Option<Sent>,
}

/// A payment that was sent from this file, waited, and is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its id.
    pub id: Hash,
    /// Who was to be paid.
    pub address: Address,
    /// How much, in units.
    pub amount: u64,
    /// What became of it.
    pub loss: Loss,
}

/// Why a payment can no longer be mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// A second copy of the wallet made another payment, or somebody displaced the one that it was built on.
    #[error("transaction {by}, which is in a block, spends the same coins")]
    Spent {
        /// The one that was mined.
        by: Hash,
    },
    /// What was mined in an undone block is gone with it.
    #[error("the coins that it spends were mined in a block that a reorganisation has undone")]
    Unmade,
    /// An earlier program did not keep it whole, and the node does not have it.
    #[error("the block that it was in was undone, the node has dropped it, and this wallet did not keep it whole")]
    Dropped,
}

/// What there is to spend, now and later, in units. The three have nothing in common; their sum is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// In blocks, and can be spent in the next.
    pub confirmed: u64,
    /// In transactions that wait, our own change among it.
    pub unconfirmed: u64,
    /// Mined, and not old enough to be spent.
    pub immature: u64,
}

/// A block that does not follow what the wallet has seen: the chain was reorganised, or the node errs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height} does not follow the last block that this wallet has seen, {} at height {}", tip.id, tip.height)]
pub struct NotLinked {
    /// The block's height.
    pub height: u64,
    /// Where the wallet stands.
    pub tip: Mark,
}

/// A transaction that spends what another one spends that the wallet knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction {id} spends a coin that transaction {other} spends")]
pub struct Conflict {
    /// The later one.
    pub id: Hash,
    /// The earlier one.
    pub other: Hash,
}

/// Why a transaction that we have just made must not leave the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFault {
    /// See [`Conflict`].
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The key of its note has encrypted another one.
    #[error(
        "these coins were offered to this address before, with another note, and two notes under one key tell each other; \
         send the same note, or none"
    )]
    OtherNote,
}

/// The wallet's knowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Ascending, never empty; the first is where the wallet started.
    marks: Vec<Mark>,
    records: BTreeMap<Hash, Record>,
    coins: BTreeMap<Outpoint, Coin>,
    /// What the records spend, and which of them does.
    spenders: BTreeMap<Outpoint, Hash>,
    /// What the key of each note that we made has encrypted, as hashes of both.
    notes: BTreeMap<Hash, Hash>,
    /// Payments of ours that were forgotten, until somebody is told.
    lost: Vec<Lost>,
}

impl State {
    /// A wallet that looks at the blocks after this one: genesis, or a later one if it is known that
    /// nothing was paid before.
    pub fn new(start: Mark) -> Self {
        Self {
            marks: vec![start],
            records: BTreeMap::default(),
            coins: BTreeMap::default(),
            spenders: BTreeMap::default(),
            notes: BTreeMap::default(),
            lost: Vec::new(),
        }
    }

    /// The last block that was looked at.
    pub fn tip(&self) -> Mark {
        *self.marks.last().expect("never empty")
    }

    /// Blocks by which a common one with a node is found, newest first: all of the last 64, then ever fewer.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().rev()
    }

    /// The transactions that concern us, by id.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// One of them.
    pub fn record(&self, id: &Hash) -> Option<&Record> {
        self.records.get(id)
    }

    /// A coin of ours, spent or not.
    pub fn coin(&self, outpoint: &Outpoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    /// Takes the next block in.
    pub fn apply(&mut self, block: &SeenBlock) -> Result<(), NotLinked> {
        let tip = self.tip();
        if block.prev != tip.id || tip.height.checked_add(1) != Some(block.height) {
            return Err(NotLinked { height: block.height, tip });
        }
        let place = Place { height: block.height, time: block.time };
        for seen in &block.transactions {
            self.displace(seen);
            if self.concerns_us(seen) {
                self.insert(seen, Some(place), place.time);
            }
        }
        self.marks.push(Mark { height: block.height, id: block.id });
        self.thin_marks();
        Ok(())
    }

    /// Takes back every block above this height, of which there must be a mark; says whether there is. Their
    /// coinbases go with [`State::keep_waiting`] and not yet: marks are sparse, and a block between this one and
    /// the fork comes again, with payments of ours that are built on it.
    pub fn roll_back(&mut self, height: u64) -> bool {
        let Ok(at) = self.marks.binary_search_by_key(&height, |mark| mark.height) else { return false };
        self.marks.truncate(at + 1);
        let undone = |record: &&mut Record| record.place.is_some_and(|place| place.height > height);
        self.records.values_mut().filter(undone).for_each(|record| record.place = None);
        true
    }

    /// Takes in a transaction that waits; says whether it concerns us. A repetition changes nothing.
    pub fn see(&mut self, seen: &Seen, now: u64) -> Result<bool, Conflict> {
        if self.records.contains_key(&seen.id) {
            return Ok(true);
        }
        if !self.concerns_us(seen) {
            return Ok(false);
        }
        if let Some(&other) = seen.inputs.iter().find_map(|outpoint| self.spenders.get(outpoint)) {
            return Err(Conflict { id: seen.id, other });
        }
        self.insert(seen, None, now);
        Ok(true)
    }

    /// Takes in a transaction that we have just made, before anybody else hears of it.
    pub fn send(&mut self, seen: &Seen, sent: Sent, note: &str, now: u64) -> Result<(), SendFault> {
        let noted = sent.transaction.as_ref().and_then(|transaction| noted(transaction, &sent.address));
        if let Some((key, note)) = noted
            && *self.notes.get(&key).unwrap_or(&note) != note
        {
            return Err(SendFault::OtherNote);
        }
        self.see(seen, now)?;
        self.notes.extend(noted);
        let record = self.records.get_mut(&seen.id).expect("what spends our coins concerns us");
        record.note = List::first_of(note.as_bytes().to_vec());
        record.sent = Some(sent);
        Ok(())
    }

    /// Transactions of ours that wait: what to offer to a node that may not have them.
    pub fn to_offer(&self) -> impl Iterator<Item = &Transaction> {
        let waiting = self.records.values().filter(|record| record.place.is_none());
        waiting.filter_map(|record| record.sent.as_ref()?.transaction.as_ref())
    }

    /// To be called at the end of the node's chain. Forgets coinbases whose blocks were undone and did not come
    /// again, with all that was built on them; and waiting transactions that the node does not have any more: they
    /// were replaced or expired, and nobody would tell us. What we can offer again stays, and so does all on which
    /// it is built: a node that has just undone the block of a parent may not have it at the moment.
    pub fn keep_waiting(&mut self, in_pool: impl Fn(&Hash) -> bool) {
        let unmade = self.records.values().filter(|record| record.coinbase && record.place.is_none());
        let unmade: Vec<Hash> = unmade.map(|record| record.id).collect();
        for id in &unmade {
            self.remove(id, Some(Loss::Unmade));
        }
        let waits = |id: &Hash| self.records.get(id).filter(|record| record.place.is_none());
        let mut kept = BTreeSet::new();
        let mut next: Vec<Hash> = self.to_offer().map(Transaction::id).collect();
        while let Some(id) = next.pop() {
            if let Some(record) = waits(&id)
                && kept.insert(id)
            {
                next.extend(record.inputs.iter().map(|outpoint| outpoint.transaction));
            }
        }
        let waiting = self.records.values().filter(|record| record.place.is_none()).map(|record| record.id);
        let gone: Vec<Hash> = waiting.filter(|id| !kept.contains(id) && !in_pool(id)).collect();
        for id in &gone {
            self.remove(id, Some(Loss::Dropped));
        }
    }

    /// Payments of ours that were forgotten since this was last asked, because they can no longer be mined.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        let mut lost = std::mem::take(&mut self.lost);
        lost.retain(|lost| !self.records.contains_key(&lost.id));
        lost
    }

    /// Forgets a transaction that waits, and what was built on it; its coins can be spent again.
    pub fn forget(&mut self, id: &Hash) {
        self.remove(id, None);
    }

    /// The same; what was ours of it is remembered as lost if there is a reason that nobody has been told.
    fn remove(&mut self, id: &Hash, loss: Option<Loss>) {
        let mut gone = vec![*id];
        while let Some(id) = gone.pop() {
            let Entry::Occupied(entry) = self.records.entry(id) else { continue };
            if entry.get().place.is_some() {
                continue;
            }
            let record = entry.remove();
            if let (Some(loss), Some(Sent { address, amount, .. })) = (loss, &record.sent) {
                self.lost.push(Lost { id, address: *address, amount: *amount, loss });
            }
            for outpoint in &record.inputs {
                if self.spenders.get(outpoint) == Some(&id) {
                    self.spenders.remove(outpoint);
                }
            }
            for coin in &record.received {
                self.coins.remove(&coin.input.outpoint);
            }
            let made = Outpoint { transaction: id, index: 0 }..=Outpoint { transaction: id, index: u32::MAX };
            gone.extend(self.spenders.range(made).map(|(_, child)| *child));
        }
    }

    /// What there is to spend.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for coin in self.unspent() {
            let sum = match self.place_of(coin) {
                None => &mut balance.unconfirmed,
                Some(_) if self.matures_in(coin) > 0 => &mut balance.immature,
                Some(_) => &mut balance.confirmed,
            };
            // The rules keep the supply below 2^63; a lying node does not.
            *sum = sum.saturating_add(coin.input.amount);
        }
        balance
    }

    /// Coins that nothing known spends.
    pub fn unspent(&self) -> impl Iterator<Item = &Coin> {
        self.coins.values().filter(|coin| !self.spenders.contains_key(&coin.input.outpoint))
    }

    /// Where a coin of ours was made; none while its transaction waits.
    pub fn place_of(&self, coin: &Coin) -> Option<Place> {
        self.records.get(&coin.input.outpoint.transaction)?.place
    }

    /// Blocks until the next block may spend a coin.
    pub fn matures_in(&self, coin: &Coin) -> u64 {
        coin.input.matures_at.saturating_sub(self.tip().height.saturating_add(1))
    }

    /// Bytes for the wallet file.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        encode_all(self.marks.iter(), bytes);
        encode_all(self.records.values(), bytes);
        codec::encode_into(&(self.notes.len() as u64), bytes);
        self.notes.iter().for_each(|(key, note)| codec::encode_into(&(*key, *note), bytes));
    }

    /// From such bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (marks, bytes) = decode_all::<Mark>(bytes)?;
        let (records, bytes) = decode_all::<Record>(bytes)?;
        let (notes, bytes) = decode_all::<(Hash, Hash)>(bytes)?;
        if !bytes.is_empty() {
            return Err(CodecError::Trailing { extra: bytes.len() });
        }
        // One state has one form, and all look-ups rely on the order.
        let ordered = marks.is_sorted_by(|below, above| below.height < above.height)
            && records.is_sorted_by(|one, next| one.id < next.id)
            && notes.is_sorted_by(|one, next| one.0 < next.0);
        if !ordered {
            return Err(CodecError::Malformed("what it holds is out of order".into()));
        }
        let (&start, rest) =
            marks.split_first().ok_or_else(|| CodecError::Malformed("a wallet without a beginning".into()))?;
        if !marks.is_sorted_by(|below, above| below.height < above.height) {
            return Err(CodecError::Malformed("the blocks that it has looked at are out of order".into()));
        }
        let mut state = Self::new(start);
        state.marks.extend(rest);
        for record in records {
            state.index(&record);
            state.records.insert(record.id, record);
        }
        state.notes.extend(notes);
        Ok(state)
    }

    fn concerns_us(&self, seen: &Seen) -> bool {
        !seen.received.is_empty() || seen.inputs.iter().any(|outpoint| self.coins.contains_key(outpoint))
    }

    /// Forgets whatever waits and spends what this transaction, now in a block, spends.
    fn displace(&mut self, seen: &Seen) {
        for outpoint in &seen.inputs {
            if let Some(&other) = self.spenders.get(outpoint)
                && other != seen.id
            {
                self.remove(&other, Some(Loss::Spent { by: seen.id }));
            }
        }
    }

    fn insert(&mut self, seen: &Seen, place: Option<Place>, now: u64) {
        if let Some(record) = self.records.get_mut(&seen.id) {
            record.place = place;
            return;
        }
        let record = Record {
            id: seen.id,
            place,
            coinbase: seen.coinbase,
            known_since: now,
            inputs: List::first_of(seen.inputs.clone()),
            received: List::first_of(seen.received.clone()),
            fee: seen.fee,
            note: List::first_of(seen.note.clone().unwrap_or_default().into_bytes()),
            sent: None,
        };
        self.index(&record);
        self.records.insert(record.id, record);
    }

    fn index(&mut self, record: &Record) {
        self.coins.extend(record.received.iter().map(|coin| (coin.input.outpoint, *coin)));
        self.spenders.extend(record.inputs.iter().map(|outpoint| (*outpoint, record.id)));
    }

    /// Drops marks that are too close to each other for their distance from the tip: one at a height that
    /// 2^n divides lives 64 · 2^n blocks, so 64 and 32 for each doubling of the height remain.
    fn thin_marks(&mut self) {
        let (tip, start) = (self.tip().height, self.marks[0].height);
        self.marks.retain(|mark| {
            let lives = u128::from(MARKS_DENSE) << mark.height.trailing_zeros();
            mark.height == start || u128::from(tip - mark.height) < lives
        });
    }
}

/// What a payment's note was encrypted under, and what came of it, as hashes; none without a note.
fn noted(transaction: &Transaction, address: &Address) -> Option<(Hash, Hash)> {
    let key = tagged("spindle/noted-key/1", &[&transaction.tx_key.0, &address.to_bytes()]);
    Some((key, tagged("spindle/noted/1", &[&transaction.note?])))
}

fn encode_all<'a, T: Encode + 'a>(values: impl ExactSizeIterator<Item = &'a T>, bytes: &mut Vec<u8>) {
    codec::encode_into(&(values.len() as u64), bytes);
    values.for_each(|value| codec::encode_into(value, bytes));
}

/// Not one list for the codec, whose limits are those of messages: a wallet may grow beyond them.
fn decode_all<T: Decode<()>>(bytes: &[u8]) -> Result<(Vec<T>, &[u8]), CodecError> {
    let (count, mut bytes) = codec::decode_prefix::<u64>(bytes)?;
    let mut values = Vec::new();
    for _ in 0..count {
        let (value, rest) = codec::decode_prefix(bytes)?;
        values.push(value);
        bytes = rest;
    }
    Ok((values, bytes))
}
