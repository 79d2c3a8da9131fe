//! What happens, in words. `None` is what a trace leaves out: pings, gossip of addresses, empty pools.

use std::collections::BTreeMap;

use spindle::blockchain::block::Header;
use spindle::blockchain::chain::{Opening, Passed};
use spindle::node::event::Asked;
use spindle::node::message::{Hello, Message};
use spindle::node::report::{Level, Report};
use spindle::primitives::hash::Hash;

use crate::disk::{Op, is_worth_telling};
use crate::names::Names;

/// A message.
pub(crate) fn said(names: &Names, message: &Message, asked: Option<&Asked>) -> Option<String> {
    Some(match message {
        Message::Hello(Hello { height, .. }) => format!("hello, I am at height {height}"),
        Message::HelloAck(Hello { height, .. }) => format!("hello too, I am at height {height}"),
        Message::GetHeaders(locator) => format!("want headers after {}", either(names, locator)),
        Message::Headers(headers) if headers.is_empty() => "no headers after that".into(),
        Message::Headers(headers) => {
            let ids: Vec<Hash> = headers.iter().map(Header::id).collect();
            format!("headers {}", names.row(&ids))
        }
        Message::GetBlocks { last, count } => match asked {
            Some(Asked::Blocks(ids)) => format!("want blocks {}", names.row(ids)),
            _ => format!("want {count} blocks up to {}", names.of(last)),
        },
        Message::Missing(last) => format!("do not have {}", names.of(last)),
        Message::NewBlock(block) => {
            let name = names.of(&block.header.id()).to_owned();
            match block.short_ids.len() {
                0 => format!("announce {name}"),
                1 => format!("announce {name}, and 6 bytes for its transfer"),
                count => format!("announce {name}, and 6 bytes for each of {count} transfers"),
            }
        }
        Message::GetBlockTxs { block, places } => {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            format!("want the transfers of {} at places {}", names.of(block), places.join(", "))
        }
        Message::BlockTxs { block, transfers } => {
            format!("transfers of {}: {}", names.of(block), transfers_in(names, transfers))
        }
        Message::NewTx(ids) => format!("announce {}", names.row(ids)),
        Message::GetTxs(ids) => format!("want {}", names.row(ids)),
        Message::Txs(transfers) if transfers.is_empty() => "none of these waits here".into(),
        Message::Txs(transfers) => format!("transfers {}", transfers_in(names, transfers)),
        Message::Pool(ids) if !ids.is_empty() => format!("in my pool: {}", names.row(ids)),
        Message::Ping(_)
        | Message::Pong(_)
        | Message::GetPeers
        | Message::Peers(_)
        | Message::GetPool(_)
        | Message::Pool(_)
        | Message::Bye(_) => return None,
    })
}

fn either(names: &Names, locator: &[Hash]) -> String {
    match &names.list(locator)[..] {
        [only] => only.clone(),
        [others @ .., last] => format!("{} or {last}, the first that you have", others.join(", ")),
        [] => "nothing".into(),
    }
}

fn transfers_in(names: &Names, transfers: &[Vec<u8>]) -> String {
    let ids: Vec<Hash> = transfers.iter().map(|bytes| Hash::sha256d(bytes)).collect();
    names.row(&ids)
}

/// What was done to the disk, in one line. `ends`: which block ends at which byte of the block file.
pub(crate) fn done(names: &Names, ends: &BTreeMap<u64, Hash>, ops: &[Op]) -> Option<String> {
    let told = ops.iter().filter_map(|op| match op {
        Op::Append { blocks, torn } => {
            let mut words = Vec::new();
            if !blocks.is_empty() {
                words.push(format!("append {}", names.row(blocks.iter().map(|(id, _)| id))));
            }
            words.extend(torn.map(|id| format!("append half of {}, and the power fails", names.of(&id))));
            Some(words.join(", "))
        }
        Op::SyncBlocks => Some("sync".into()),
        Op::Mark(upto) => Some(format!("mark {}", ends.get(upto).map_or("genesis", |id| names.of(id)))),
        Op::SyncMark => Some("sync the mark".into()),
        Op::Replace(file) => is_worth_telling(file).then(|| format!("replace `{file}`")),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("disk: {}", told.join(", ")))
}

/// What a start found on the disk, and did with it.
pub(crate) fn opened(names: &Names, ends: &BTreeMap<u64, Hash>, tip: &Hash, opening: &Opening) -> Vec<String> {
    if opening.recovery.records == 1 {
        return vec!["starts on an empty disk".into()];
    }
    let end = |at: u64| ends.get(&at).map_or("genesis", |id| names.of(id));
    let mut words = vec![format!("starts: the mark is at {}", end(opening.recovery.durable_bytes))];
    if let Some(cut) = &opening.recovery.cut {
        let reason = names.in_text(&cut.reason.to_string());
        words.push(format!("disk: cut {} bytes behind {}: {reason}", cut.bytes, end(cut.offset)));
    }
    words.push(format!("ledger: replay {} blocks, up to {}", opening.replayed, names.of(tip)));
    words
}

/// Where the ledger has gone.
pub(crate) fn walked(names: &Names, passed: &[Passed]) -> Option<String> {
    let pick = |undone: bool| {
        passed.iter().filter_map(move |passed| match passed {
            Passed::Connected(block) if !undone => Some(block.id()),
            Passed::Undone(block) if undone => Some(block.id()),
            _ => None,
        })
    };
    let (undone, applied): (Vec<Hash>, Vec<Hash>) = (pick(true).collect(), pick(false).collect());
    let mut words = Vec::new();
    for (verb, ids) in [("undo", undone), ("apply", applied)] {
        if !ids.is_empty() {
            words.push(format!("{verb} {}", names.row(&ids)));
        }
    }
    (!words.is_empty()).then(|| format!("ledger: {}", words.join(", ")))
}

/// What a node tells people, unless the trace says it elsewhere: new tips, connections.
pub(crate) fn told(names: &Names, report: &Report) -> Option<String> {
    let words = match report {
        Report::Tip { .. } | Report::Connected { .. } | Report::Disconnected { .. } | Report::Mining { .. } => {
            return None;
        }
        Report::Note { level: Level::Debug, .. } | Report::DialFailed { level: Level::Debug, .. } => return None,
        Report::Durable { height, hash } => format!("{} is durable, height {height}", names.of(hash)),
        Report::Mined { height, hash } => format!("{}, mined here, is durable, height {height}", names.of(hash)),
        Report::Waits { id, fee, .. } => format!("{} waits, fee {fee}", names.of(id)),
        Report::Confirmed { height, ids } => format!("{} confirmed at height {height}", names.row(ids)),
        Report::Dropped { ids } => format!("{} given up: their coins are spent on this chain", names.row(ids)),
        Report::Unconfirmed { ids } => format!("{} no longer confirmed, and waiting again", names.row(ids)),
        Report::Refused { id, why } => format!("{} is refused: {}", names.of(id), names.in_text(why)),
        other => names.in_text(&other.to_string()),
    };
    Some(format!("tells people: {words}"))
}
