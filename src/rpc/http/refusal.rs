//! Why a request never comes to a handler. Each ends its connection, because what follows cannot be trusted, or
//! would be read for nothing.

use crate::rpc::http::message::{Response, Status};

/// A status and a sentence. Constants alone: a refusal costs no memory and repeats nothing that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the answer says.
    pub status: Status,
    /// For a person.
    pub why: &'static str,
}

/// Methods that there are at all.
const METHODS: &str = "GET, HEAD, POST";

impl Refusal {
    pub(super) const fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }

    pub(super) const fn bad(why: &'static str) -> Self {
        Self::new(Status::BadRequest, why)
    }

    /// The answer.
    pub fn response(self) -> Response {
        match self.status {
            Status::Unauthorised => Response::unauthorised(self.why),
            Status::MethodNotAllowed => Response::text(self.status, self.why).with("Allow", METHODS),
            // Those who come back at once find the same.
            Status::ServiceUnavailable => Response::text(self.status, self.why).with("Retry-After", "1"),
            status => Response::text(status, self.why),
        }
    }
}
