//! Why a question has no answer: a number for programs, a sentence for people.
//!
//! Numbers below -32000 are JSON-RPC's, small ones monerod's (`core_rpc_server_error_codes.h`). A sentence names what
//! was asked for, what is wrong with it and what to do. Nothing in it is longer than a person reads, since a part of
//! it may be what a client has sent.

use serde::Serialize;

use crate::blockchain::storage::StoreError;
use crate::rpc::http::Status;
use crate::runtime::handle::HandleError;

/// Characters of a sentence.
const CHARS_MAX: usize = 400;

/// What the number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Not JSON.
    Parse,
    /// JSON, and no question.
    Request,
    /// No such method.
    Method,
    /// Parameters that the method does not take.
    Params,
    /// A bug.
    Internal,
    /// A value that cannot be.
    WrongParam,
    /// Above the tip.
    TooBigHeight,
    /// An address that cannot be paid.
    WrongAddress,
    /// Not to be found, or the disk does not give it.
    NotFound,
    /// No block.
    WrongBlock,
    /// A block that was not taken.
    BlockRefused,
    /// At something else.
    Busy,
    /// More than one answer holds.
    TooLong,
    /// An order that cannot be followed.
    Refused,
    /// An order that was heard, and of which nothing more is known.
    Late,
}

impl Code {
    /// For programs.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Parse => -32700,
            Self::Request => -32600,
            Self::Method => -32601,
            Self::Params => -32602,
            Self::Internal => -32603,
            Self::WrongParam => -1,
            Self::TooBigHeight => -2,
            Self::WrongAddress => -4,
            Self::NotFound => -5,
            Self::WrongBlock => -6,
            Self::BlockRefused => -7,
            Self::Busy => -9,
            Self::TooLong => -19,
            Self::Refused => -32000,
            Self::Late => -32001,
        }
    }

    /// For HTTP, where a path stands for the method.
    pub(super) fn status(self) -> Status {
        match self {
            Self::NotFound => Status::NotFound,
            Self::Internal | Self::Late => Status::InternalError,
            // Nothing was begun: whoever comes again soon may be luckier.
            Self::Busy => Status::ServiceUnavailable,
            Self::Refused | Self::BlockRefused => Status::Conflict,
            _ => Status::BadRequest,
        }
    }
}

/// See the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
}

/// As it is sent.
#[derive(Serialize)]
pub(super) struct Sent<'a> {
    code: i32,
    message: &'a str,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(CHARS_MAX) {
            message.truncate(end);
            message.push('…');
        }
        Self { code, message }
    }

    /// An answer of another kind than the order's.
    pub(super) fn mixed_up() -> Self {
        Self::new(Code::Internal, "the node answered another question; this is a bug")
    }

    /// For an answer.
    pub(super) fn sent(&self) -> Sent<'_> {
        Sent { code: self.code.number(), message: &self.message }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        // A client learns that, the log has where.
        log::warn!("rpc: cannot answer: {error}");
        Self::new(Code::Internal, format!("the node cannot read its chain: {error}"))
    }
}

impl From<HandleError> for Fault {
    fn from(error: HandleError) -> Self {
        let code = match error {
            HandleError::Stopping => Code::Internal,
            HandleError::Busy { .. } => Code::Busy,
            HandleError::Late { .. } => Code::Late,
        };
        Self::new(code, error.to_string())
    }
}
