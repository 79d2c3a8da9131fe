//! Bytes as they rest, for wallets.

use crate::rpc::http::{Request, Response};
use crate::rpc::service::Service;

/// The answer of a path that is asked for in bytes; `None` if there is no such path.
pub(super) fn answer(_: &Service, _: &Request<'_>) -> Option<Response> {
    None
}
