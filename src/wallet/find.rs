//! Looking things up on a node's chain: the headers after a block, a block by its height, a transaction.
//!
//! Everything is found by following headers from a block that we know, genesis if need be: each must link to
//! the one before and be worth the work that it states. That is 100 bytes for a block, so even a long chain is
//! passed through in a moment, and no index is needed at the node.

use crate::blockchain::block::CheckedHeader;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::Transaction;
use crate::primitives::hash::Hash;
use crate::wallet::link::{Link, LinkError};
use crate::wallet::scan;
use crate::wallet::state::{Mark, Place};

/// Times that a node may leave the chain that we follow before we give up.
pub(super) const MOVES_MAX: usize = 8;

/// Why something was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It was not to be had.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It changes its mind faster than we can follow.
    #[error("the node's chain was reorganised {MOVES_MAX} times while it was read; try again")]
    Restless,
    /// There is no block of that height yet.
    #[error("the node has no block at height {height}; its chain ends at {top}")]
    TooHigh {
        /// What was looked for.
        height: u64,
        /// What there is.
        top: u64,
    },
}

/// A transaction of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The whole of it.
    pub transaction: Transaction,
    /// Its block.
    pub place: Place,
}

/// What a node does not stand by any more.
pub(super) struct Moved;

/// The blocks that follow this one on the node's chain, checked; none if it ends there.
pub(super) fn after(link: &mut dyn Link, mark: Mark) -> Result<Result<Vec<CheckedHeader>, Moved>, LinkError> {
    let headers = link.headers(&[mark.id])?;
    match headers.first() {
        Some(first) if first.prev != mark.id => return Ok(Err(Moved)),
        // An answer for genesis, from which nothing follows.
        None if mark.height > 0 && link.height()? == 0 => return Ok(Err(Moved)),
        _ => {}
    }
    let mut tip = mark;
    let mut checked = Vec::with_capacity(headers.len());
    for header in headers {
        let header = CheckedHeader::check(header).map_err(|reject| LinkError::Odd(reject.to_string()))?;
        let (height, prev) = (header.header().height, header.header().prev);
        if prev != tip.id || tip.height.checked_add(1) != Some(height) {
            return Err(LinkError::Odd(format!("header {height} does not follow the one before it")));
        }
        tip = Mark { height, id: header.id() };
        checked.push(header);
    }
    Ok(Ok(checked))
}

/// The block at a height, as a place to begin from.
pub fn mark_at(link: &mut dyn Link, params: &Params, height: u64) -> Result<Mark, FindError> {
    let genesis = Mark { height: 0, id: params.genesis_id() };
    let mut tip = genesis;
    for _ in 0..MOVES_MAX {
        while tip.height < height {
            match after(link, tip)? {
                Err(Moved) => break,
                Ok(headers) if headers.is_empty() => return Err(FindError::TooHigh { height, top: tip.height }),
                Ok(headers) => {
                    tip = headers.iter().map(mark_of).take_while(|mark| mark.height <= height).last().unwrap_or(tip);
                }
            }
        }
        if tip.height == height {
            return Ok(tip);
        }
        tip = genesis;
    }
    Err(FindError::Restless)
}

/// A transaction that waits in the node's pool.
pub fn in_pool(link: &mut dyn Link, id: &Hash) -> Result<Option<Transaction>, LinkError> {
    let found = link.transactions(&[*id])?;
    Ok(found.into_iter().find(|transaction| transaction.id() == *id))
}

/// A transaction in the block at a height; without one, in any block, all of which are then read.
pub fn in_chain(
    link: &mut dyn Link,
    params: &Params,
    height: Option<u64>,
    id: &Hash,
) -> Result<Option<Found>, FindError> {
    for _ in 0..MOVES_MAX {
        let start = match height {
            Some(height) => mark_at(link, params, height.saturating_sub(1)).map_err(|error| match error {
                // It was this block's parent that was looked for.
                FindError::TooHigh { top, .. } => FindError::TooHigh { height, top },
                other => other,
            })?,
            None => Mark { height: 0, id: params.genesis_id() },
        };
        if let Ok(found) = search(link, start, height, id)? {
            return Ok(found);
        }
    }
    Err(FindError::Restless)
}

/// Reads the one block of this height, or all from the start on.
fn search(
    link: &mut dyn Link,
    start: Mark,
    height: Option<u64>,
    id: &Hash,
) -> Result<Result<Option<Found>, Moved>, FindError> {
    let mut tip = start;
    loop {
        let Ok(mut headers) = after(link, tip)? else { return Ok(Err(Moved)) };
        if let Some(height) = height {
            if headers.is_empty() {
                return Err(FindError::TooHigh { height, top: tip.height });
            }
            headers.truncate(1);
        }
        let Some(last) = headers.last() else { return Ok(Ok(None)) };
        let Some(run) = link.blocks(last.id(), headers.len())? else { return Ok(Err(Moved)) };
        tip = mark_of(last);
        for (bytes, header) in run.zip(&headers) {
            let block = scan::open(&bytes?).map_err(|reject| LinkError::Odd(reject.to_string()))?;
            if block.header.id() != header.id() {
                return Err(LinkError::Odd("another block than the one that was asked for".into()).into());
            }
            // The first id is the coinbase's.
            if let Some(at) = block.ids[1..].iter().position(|found| found == id) {
                let place = Place { height: header.header().height, time: header.header().time };
                let transaction = block.transfers.into_iter().nth(at).expect("an id for each transfer");
                return Ok(Ok(Some(Found { transaction, place })));
            }
        }
        if height.is_some() {
            return Ok(Ok(None));
        }
    }
}

/// A header as a place to go on from.
pub(super) fn mark_of(header: &CheckedHeader) -> Mark {
    Mark { height: header.header().height, id: header.id() }
}
