//! A request as a handler sees it, and what it answers. Both are plain data.
//!
//! A handler is given nothing that it would have to distrust twice: who asks has been established
//! ([`gate`](super::gate)), and the body is whole and within its cap. It sees neither a header field that decides
//! about a connection nor the connection, but for whether that is still there.
//!
//! Left out: streaming. An answer is one piece of memory, and how large it may become is the handler's business.

use std::borrow::Cow;

/// What answers requests; it runs on the thread of the connection, and several at a time.
///
/// Whatever it waits for has to end when the node stops: [`Server::stop`](super::Server::stop) waits for it.
pub trait Handler: Send + Sync {
    /// The answer. Whoever takes minutes for it looks now and then whether somebody still wants it.
    fn answer(&self, request: &Request<'_>, is_wanted: IsWanted<'_>) -> Response;

    /// Paths whose bodies may have up to [`LARGE_BODY_BYTES_MAX`](super::parse::LARGE_BODY_BYTES_MAX): one at a time.
    fn large_paths(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Says whether the client is still there. One that has closed its side, if only for sending, is not.
pub type IsWanted<'a> = &'a dyn Fn() -> bool;

impl<F: Fn(&Request<'_>) -> Response + Send + Sync> Handler for F {
    fn answer(&self, request: &Request<'_>, _: IsWanted<'_>) -> Response {
        self(request)
    }
}

/// What is asked for. `HEAD` comes as `Get`, and the server keeps the body of the answer to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Has a body.
    Post,
}

/// One request, whole and admitted: whoever sent it may read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// As it was sent, not decoded; it begins with `/`.
    pub path: &'a str,
    /// What follows the question mark, not decoded; empty without one.
    pub query: &'a str,
    /// As it was sent; empty without one.
    pub content_type: &'a str,
    /// At most [`BODY_BYTES_MAX`](super::parse::BODY_BYTES_MAX), but on [`Handler::large_paths`].
    pub body: &'a [u8],
    /// Whether it comes from this machine.
    pub is_loopback: bool,
    /// Whether it may change something: it showed the cookie, and no web page has sent it.
    pub may_change: bool,
}

/// Every status that there is here, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
#[expect(missing_docs, reason = "each says what it means")]
pub enum Status {
    Ok = 200,
    NoContent = 204,
    BadRequest = 400,
    Unauthorised = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    Conflict = 409,
    LengthRequired = 411,
    ContentTooLarge = 413,
    TargetTooLong = 414,
    UnsupportedMediaType = 415,
    ExpectationFailed = 417,
    HeadersTooLarge = 431,
    InternalError = 500,
    NotImplemented = 501,
    ServiceUnavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    /// All of them, by number.
    pub const ALL: [Self; 19] = [
        Self::Ok,
        Self::NoContent,
        Self::BadRequest,
        Self::Unauthorised,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::LengthRequired,
        Self::ContentTooLarge,
        Self::TargetTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::ServiceUnavailable,
        Self::VersionNotSupported,
    ];

    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// What the line of a response calls it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::BadRequest => "Bad Request",
            Self::Unauthorised => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::Conflict => "Conflict",
            Self::LengthRequired => "Length Required",
            Self::ContentTooLarge => "Content Too Large",
            Self::TargetTooLong => "URI Too Long",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::ExpectationFailed => "Expectation Failed",
            Self::HeadersTooLarge => "Request Header Fields Too Large",
            Self::InternalError => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// The ways to show the cookie, a field each, as browsers read them; for the second they ask their user.
const CHALLENGES: [&str; 2] = ["Bearer realm=\"spindle\"", "Basic realm=\"spindle\", charset=\"UTF-8\""];

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// Further fields. Constants alone, so that nothing that was asked can end up in one.
    pub headers: Vec<(&'static str, &'static str)>,
    /// What a constant holds is not copied.
    pub body: Cow<'static, [u8]>,
}

impl Response {
    /// An answer without further fields.
    pub fn new(status: Status, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// A text of JSON, as it is.
    pub fn json(body: Vec<u8>) -> Self {
        Self::new(Status::Ok, "application/json", body)
    }

    /// A sentence for a person; the end of its line is added.
    pub fn text(status: Status, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::new(status, "text/plain; charset=utf-8", text.into_bytes())
    }

    /// Nothing is there.
    pub fn not_found() -> Self {
        Self::text(Status::NotFound, "nothing is here")
    }

    /// The path is right and the method is not; `allow` names those that would be: `"GET, HEAD"`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let refusal = Self::text(Status::MethodNotAllowed, format!("this method is not for this path; use {allow}"));
        refusal.with("Allow", allow)
    }

    /// The cookie is missing or wrong: for a request that is not [`Request::may_change`].
    pub fn unauthorised(text: impl Into<String>) -> Self {
        let refusal = Self::text(Status::Unauthorised, text);
        CHALLENGES.into_iter().fold(refusal, |refusal, challenge| refusal.with("WWW-Authenticate", challenge))
    }

    /// The same with one field more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: counters find each status. Method: the list is in order and whole.
    #[test]
    fn statuses_are_listed_by_number() {
        assert!(Status::ALL.is_sorted());
        let known = (100..600).filter(|code| Status::ALL.iter().any(|status| status.code() == *code)).count();
        assert_eq!(known, Status::ALL.len());
    }
}
