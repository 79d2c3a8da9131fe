//! JSON-RPC 2.0: one question or a batch, each with whatever id its client likes, or none.
//!
//! Ids come back exactly as they were sent. What has no id is done and not answered. What is no JSON at all, or no
//! question, is told so with status 400; every other answer is a 200, as the error in it is for whoever asked and not
//! for what lies between. Whether the cookie is needed is decided before anything is done: a batch that changes
//! something without it is refused whole.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::rpc::call::{Call, DEPTH_MAX, Method, is_too_deep};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::http::parse::BODY_BYTES_MAX;
use crate::rpc::http::{IsWanted, Method as Verb, Request, Response, Status};
use crate::rpc::methods::METHODS;
use crate::rpc::service::{Service, needs_cookie};

/// Questions of one batch.
pub(super) const BATCH_MAX: usize = 64;
/// Once a batch's answers have come to this, the rest of it is not done any more.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// A question as it comes.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    /// `None`: no answer is wanted. `null` is an id.
    #[serde(borrow, default, deserialize_with = "there")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A batch, up to its limit.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {BATCH_MAX} questions in a batch")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut questions = Vec::new();
                while let Some(question) = sequence.next_element()? {
                    if questions.len() == BATCH_MAX {
                        return Err(serde::de::Error::custom(format_args!(
                            "a batch has at most {BATCH_MAX} questions"
                        )));
                    }
                    questions.push(question);
                }
                Ok(questions)
            }
        }
        deserializer.deserialize_seq(Few).map(Self)
    }
}

/// A question that is understood as far as its method, or is not.
type Understood<'a> = Result<(Envelope<'a>, Option<&'static Method>), Fault>;

/// Answers what was sent to `/json_rpc`.
pub(super) fn answer(service: &Service, request: &Request<'_>, is_wanted: IsWanted<'_>) -> Response {
    if request.method != Verb::Post {
        return Response::method_not_allowed("POST");
    }
    let text = match text_of(request.body) {
        Ok(text) => text,
        Err(fault) => return unreadable(&fault),
    };
    let is_large = text.len() > BODY_BYTES_MAX;
    if text.trim_start().starts_with('[') {
        if is_large {
            return unreadable(&too_large());
        }
        return answer_batch(service, request, is_wanted, text);
    }
    let (envelope, method) = match understand(text) {
        Ok(understood) => understood,
        Err(fault) => return unreadable(&fault),
    };
    if let Some(refused) = method.and_then(|method| needs_cookie(method, request)) {
        return refused;
    }
    if is_large && !method.is_some_and(|method| method.names.contains(&"submit_block")) {
        return unreadable(&too_large());
    }
    let mut out = Vec::with_capacity(2 << 10);
    answer_one((service, is_wanted), &envelope, method, &mut out);
    finished(out)
}

/// The text of a body, if it is one that anybody should parse.
pub(super) fn text_of(body: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::new(Code::Parse, format!("the body is not JSON: it is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    if is_too_deep(text) {
        let message =
            format!("the body has more than {DEPTH_MAX} brackets within one another; nothing here needs them");
        return Err(Fault::new(Code::Parse, message));
    }
    Ok(text)
}

fn answer_batch(service: &Service, request: &Request<'_>, is_wanted: IsWanted<'_>, text: &str) -> Response {
    let questions: Batch<'_> = match serde_json::from_str(text) {
        Ok(questions) => questions,
        Err(error) => return unreadable(&fault_of(&error)),
    };
    if questions.0.is_empty() {
        return unreadable(&Fault::new(Code::Request, "the batch is empty"));
    }
    let understood: Vec<Understood<'_>> = questions.0.iter().map(|question| understand(question.get())).collect();
    let mut methods = understood.iter().flatten().filter_map(|(_, method)| *method);
    if let Some(refused) = methods.find_map(|method| needs_cookie(method, request)) {
        return refused;
    }
    let mut out = vec![b'['];
    for question in &understood {
        // Nobody hears the rest, and it may be orders.
        if !is_wanted() {
            break;
        }
        let begun = out.len();
        if begun > 1 {
            out.push(b',');
        }
        let from = out.len();
        match question {
            Err(fault) => push_fault(&mut out, fault, None),
            Ok((envelope, _)) if from > BATCH_BYTES => {
                let message = format!(
                    "the answers to this batch have come to {BATCH_BYTES} bytes, and this question was not looked at; ask \
                     it again by itself"
                );
                if let Some(id) = envelope.id {
                    push_fault(&mut out, &Fault::new(Code::TooLong, message), Some(id));
                }
            }
            Ok((envelope, method)) => answer_one((service, is_wanted), envelope, *method, &mut out),
        }
        if out.len() == from {
            out.truncate(begun);
        }
    }
    if out.len() == 1 {
        out.clear();
    } else {
        out.push(b']');
    }
    finished(out)
}

fn finished(out: Vec<u8>) -> Response {
    if out.is_empty() { Response::new(Status::NoContent, "", Vec::new()) } else { Response::json(out) }
}

/// Reads a question; a fault if it is none.
fn understand(text: &str) -> Understood<'_> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| fault_of(&error))?;
    match envelope.jsonrpc.as_deref() {
        None | Some("2.0") => {}
        Some(other) => return Err(Fault::new(Code::Request, format!("jsonrpc is `{other}`; 2.0 is spoken here"))),
    }
    let method = Method::find(METHODS, &envelope.method);
    Ok((envelope, method))
}

fn fault_of(error: &serde_json::Error) -> Fault {
    if error.is_data() {
        let message =
            format!("this is no JSON-RPC request: {error}; `{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":…}}` is one");
        return Fault::new(Code::Request, message);
    }
    Fault::new(Code::Parse, format!("the body is not JSON: {error}"))
}

/// Does what one question wants and appends the answer, if one is wanted.
fn answer_one(
    (service, is_wanted): (&Service, IsWanted<'_>),
    envelope: &Envelope<'_>,
    method: Option<&'static Method>,
    out: &mut Vec<u8>,
) {
    let begun = out.len();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(envelope.id.map_or("null", RawValue::get).as_bytes());
    out.extend_from_slice(b",\"result\":");
    let params = envelope.params.map(RawValue::get);
    let outcome = match method {
        Some(method) => (method.answer)(Call { service, method, params, is_wanted, out }),
        None => Err(Fault::new(Code::Method, format!("there is no method `{}` here", envelope.method))),
    };
    match outcome {
        Ok(()) => out.push(b'}'),
        Err(fault) => {
            out.truncate(begun);
            push_fault(out, &fault, envelope.id);
        }
    }
    if envelope.id.is_none() {
        out.truncate(begun);
    }
}

fn push_fault(out: &mut Vec<u8>, fault: &Fault, id: Option<&RawValue>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.map_or("null", RawValue::get).as_bytes());
    out.extend_from_slice(b",\"error\":");
    serde_json::to_writer(&mut *out, &fault.sent()).expect("memory takes every answer of ours");
    out.push(b'}');
}

fn too_large() -> Fault {
    Fault::new(Code::Request, "only `submit_block`, and not in a batch, may take more than 256 KiB")
}

/// The answer to what nobody can make sense of.
fn unreadable(fault: &Fault) -> Response {
    let mut out = Vec::new();
    push_fault(&mut out, fault, None);
    Response::new(Status::BadRequest, "application/json", out)
}
