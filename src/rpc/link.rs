//! A node as a wallet asks it: [`Link`] over HTTP, in the bytes of `rpc.md`.
//!
//! What a wallet reads it reads in pieces, of which one is in memory at a time: a run of blocks is as many questions as
//! its bytes need. A question that only reads is asked a second time when the connection ended before its answer, for a
//! node may hang up on whoever was idle; an offer is made once, and whoever made it is told that its end is not known.
//!
//! Forms are checked here, so that lengths, counts and ids are those that were asked for. What the bytes mean is not
//! believed: the wallet checks links, work and roots itself (RULES 41).

use serde::{Deserialize, Serialize};

use crate::blockchain::block::{HEADER_BYTES, Header};
use crate::blockchain::transaction::Transaction;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::frame::{FrameHeader, HEADER_BYTES as FRAME_BYTES, KIND_BLOCK};
use crate::primitives::hash::Hash;
use crate::rpc::client::{Client, ClientError, words};
use crate::wallet::link::{Link, LinkError, Run, Verdict};

/// The largest answer that is taken in: a whole block, and what the node may put around it.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Ids in a page of the pool; fewer are the last.
const POOL_PAGE: usize = 8_192;
/// Ids of a node's pool that are taken in: more than its bytes allow.
const POOL_IDS_MAX: usize = 1 << 20;
const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// See the top of the file.
#[derive(Debug)]
pub struct NodeLink {
    client: Client,
}

/// `/get_height`.
#[derive(Deserialize)]
struct Height {
    /// Blocks, genesis included.
    height: u64,
}

/// `/sendrawtransaction`.
#[derive(Serialize)]
struct Offered {
    tx_as_hex: String,
}

#[derive(Deserialize)]
struct Told {
    status: String,
    #[serde(default)]
    reason: String,
    tx_hash: Option<Hash>,
}

impl NodeLink {
    /// To the node that this client asks.
    pub fn new(client: Client) -> Self {
        Self { client: client.with_answers_of(ANSWER_BYTES_MAX) }
    }

    fn get(&mut self, target: &str) -> Result<Vec<u8>, ClientError> {
        self.read(|client| client.get(target))
    }

    fn post(&mut self, path: &str, ids: &[Hash]) -> Result<Vec<u8>, ClientError> {
        let body: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
        self.read(|client| client.post(path, BYTES, &body))
    }

    /// Asks what changes nothing, so it does no harm twice.
    fn read<T>(&mut self, ask: impl Fn(&mut Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
        match ask(&mut self.client) {
            Err(ClientError::Ended { .. }) => ask(&mut self.client),
            answer => answer,
        }
    }
}

impl Link for NodeLink {
    fn height(&mut self) -> Result<u64, LinkError> {
        let told: Height = parsed(&self.get("/get_height")?)?;
        told.height.checked_sub(1).ok_or_else(|| odd("a chain without genesis"))
    }

    fn headers(&mut self, known: &[Hash]) -> Result<Vec<Header>, LinkError> {
        let bytes = self.post("/headers.bin", known)?;
        let (headers, []) = bytes.as_chunks::<HEADER_BYTES>() else {
            return Err(odd(&format!("{} bytes of headers, each of which has {HEADER_BYTES}", bytes.len())));
        };
        headers.iter().map(|bytes| codec::decode(bytes).map_err(|error| undecodable(&error))).collect()
    }

    fn blocks(&mut self, last: Hash, count: usize) -> Result<Option<Run<'_>>, LinkError> {
        let mut blocks = Blocks { link: self, last, left: count, bytes: Vec::new(), at: 0 };
        match blocks.ask() {
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(Some(Box::new(blocks))),
        }
    }

    fn pool(&mut self) -> Result<Vec<Hash>, LinkError> {
        let mut all: Vec<Hash> = Vec::new();
        loop {
            let after = all.last().copied().unwrap_or_default();
            let bytes = self.get(&format!("/pool.bin?after={after}"))?;
            let (ids, []) = bytes.as_chunks::<32>() else { return Err(odd("a piece of an id")) };
            let page: Vec<Hash> = ids.iter().copied().map(Hash).collect();
            let ascends = page.first().is_none_or(|first| *first > after) && page.is_sorted_by(|a, b| a < b);
            if !ascends || all.len() > POOL_IDS_MAX {
                return Err(odd("its pool's ids do not come in order, or do not end"));
            }
            all.extend_from_slice(&page);
            if page.len() < POOL_PAGE {
                return Ok(all);
            }
        }
    }

    fn transactions(&mut self, mut ids: &[Hash]) -> Result<Vec<Transaction>, LinkError> {
        let mut all = Vec::new();
        while !ids.is_empty() {
            let bytes = self.post("/transactions.bin", ids)?;
            let mut rest = bytes.as_slice();
            let mut told = 0;
            while !rest.is_empty() {
                let asked = ids.get(told).ok_or_else(|| odd("more transactions than were asked for"))?;
                let transaction = next_transaction(&mut rest)?;
                if transaction.as_ref().is_some_and(|transaction| transaction.id() != *asked) {
                    return Err(odd(&format!("another transaction in the place of {asked:.12}")));
                }
                all.extend(transaction);
                told += 1;
            }
            if told == 0 {
                return Err(odd("no word of any transaction"));
            }
            ids = &ids[told..];
        }
        Ok(all)
    }

    fn submit(&mut self, transaction: &Transaction) -> Result<Verdict, LinkError> {
        let body = serde_json::to_vec(&Offered { tx_as_hex: hex::encode(codec::encode(transaction)) });
        let body = body.map_err(|error| odd(&error.to_string()))?;
        // Once: the answer to a second offer would be that it waits there already, or is in a block.
        let told: Told = parsed(&self.client.post("/sendrawtransaction", JSON, &body)?)?;
        match told.status.as_str() {
            "OK" if told.tx_hash == Some(transaction.id()) => Ok(Verdict::Waits),
            "Failed" => Ok(Verdict::Refused(words(told.reason.as_bytes()))),
            _ => Err(odd("neither that the transaction waits nor why not")),
        }
    }
}

/// A run on its way: the frames that came last, and how many blocks are still to come.
struct Blocks<'a> {
    link: &'a mut NodeLink,
    last: Hash,
    left: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl Blocks<'_> {
    /// The first of those that are left.
    fn ask(&mut self) -> Result<(), ClientError> {
        let Self { last, left, .. } = self;
        self.bytes = self.link.get(&format!("/blocks.bin?last={last}&count={left}"))?;
        self.at = 0;
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<u8>, LinkError> {
        if self.at > 0 && self.at == self.bytes.len() {
            self.ask()?;
        }
        let rest = &self.bytes[self.at..];
        let header = rest.first_chunk().and_then(FrameHeader::from_bytes);
        let header =
            header.filter(|header| header.kind == KIND_BLOCK).ok_or_else(|| odd("no block where one begins"))?;
        let payload = &rest[FRAME_BYTES..];
        let block = payload.get(..header.length as usize).ok_or_else(|| odd("a block that ends too early"))?;
        if !header.matches(block) {
            return Err(odd("a block that fails its checksum"));
        }
        let block = block.to_vec();
        self.at += FRAME_BYTES + block.len();
        self.left -= 1;
        if self.left == 0 && self.at < self.bytes.len() {
            return Err(odd("more blocks than were asked for"));
        }
        Ok(block)
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<Vec<u8>, LinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            // Nothing of what follows an error is to be trusted.
            self.left = 0;
        }
        Some(taken)
    }
}

/// A length, 0 for none, and so many bytes.
fn next_transaction(rest: &mut &[u8]) -> Result<Option<Transaction>, LinkError> {
    let cut = || odd("a transaction that ends too early");
    let (length, behind) = rest.split_first_chunk().ok_or_else(cut)?;
    let (bytes, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
    *rest = behind;
    if bytes.is_empty() {
        return Ok(None);
    }
    codec::decode(bytes).map(Some).map_err(|error| undecodable(&error))
}

fn parsed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, LinkError> {
    serde_json::from_slice(bytes).map_err(|error| odd(&error.to_string()))
}

fn undecodable(error: &CodecError) -> LinkError {
    odd(&format!("it cannot be decoded: {error}"))
}

fn odd(why: &str) -> LinkError {
    LinkError::Odd(why.to_owned())
}

impl From<ClientError> for LinkError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotHttp { .. } | ClientError::TooLong { .. } => Self::Odd(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}
