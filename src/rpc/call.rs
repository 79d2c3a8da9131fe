//! One question, from the words of a client to the function that answers it and back.
//!
//! Every question is answered the same way: its parameters become one value with a type, a function makes another
//! value of it, and that is written behind what stands in the buffer already. The tables in [`methods`] say which
//! function, who may ask, and in words what it takes.
//!
//! Numbers are exact or refused: whole ones are read as such, so `1e400`, `-0` and `7.0` are no heights and no
//! amounts. Fields that we do not know are passed over, since clients of other programs send some.
//!
//! [`methods`]: super::methods

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rpc::fault::{Code, Fault};
use crate::rpc::http::IsWanted;
use crate::rpc::service::Service;

/// Brackets within brackets: no question that means something has so many.
pub(super) const DEPTH_MAX: usize = 32;

/// Something that can be asked.
#[derive(Clone, Copy)]
pub(super) struct Method {
    /// Its names, the first of which is the usual one.
    pub(super) names: &'static [&'static str],
    /// Whether it changes something, which takes the cookie.
    pub(super) changes: bool,
    /// Its parameters in words: for errors, and held to the page by a test.
    pub(super) takes: &'static str,
    pub(super) answer: fn(Call<'_>) -> Result<(), Fault>,
}

impl Method {
    /// One that only tells.
    pub(super) const fn reads(
        names: &'static [&'static str],
        takes: &'static str,
        answer: fn(Call<'_>) -> Result<(), Fault>,
    ) -> Self {
        Self { names, changes: false, takes, answer }
    }

    /// One that does something.
    pub(super) const fn changes(
        names: &'static [&'static str],
        takes: &'static str,
        answer: fn(Call<'_>) -> Result<(), Fault>,
    ) -> Self {
        Self { names, changes: true, takes, answer }
    }

    /// The one with this name.
    pub(super) fn find(table: &'static [Self], name: &str) -> Option<&'static Self> {
        table.iter().find(|method| method.names.contains(&name))
    }
}

/// A question that is being answered.
pub(super) struct Call<'a> {
    pub(super) service: &'a Service,
    pub(super) method: &'static Method,
    /// JSON; `None` if none were sent.
    pub(super) params: Option<&'a str>,
    /// Whether whoever asked still waits.
    pub(super) is_wanted: IsWanted<'a>,
    pub(super) out: &'a mut Vec<u8>,
}

impl<'a> Call<'a> {
    /// Has it answered by this function.
    pub(super) fn with<P: DeserializeOwned, R: Serialize>(
        self,
        answer: impl FnOnce(&'a Service, P) -> Result<R, Fault>,
    ) -> Result<(), Fault> {
        let answer = answer(self.service, self.read()?)?;
        push(self.out, &answer);
        Ok(())
    }

    /// The parameters, for whoever writes the answer by himself.
    pub(super) fn read<P: DeserializeOwned>(&self) -> Result<P, Fault> {
        let params = match self.params {
            None | Some("null") => "{}",
            Some(params) => params,
        };
        serde_json::from_str(params).map_err(|error| {
            let (name, takes) = (self.method.names[0], self.method.takes);
            Fault::new(Code::Params, format!("`{name}` takes {takes}: {error}"))
        })
    }
}

/// Appends a value as JSON.
pub(super) fn push(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("memory takes every answer of ours");
}

/// No parameters, or some that mean nothing here.
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// `"status": "OK"`, which monerod's clients look for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) enum Fine {
    #[default]
    #[serde(rename = "OK")]
    Ok,
}

/// Just that.
#[derive(Default, Serialize)]
pub(super) struct Done {
    pub(super) status: Fine,
}

/// Whether a text has more than [`DEPTH_MAX`] brackets within one another, in one pass and without a stack.
pub(super) fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: depth is counted as JSON has it. Method: brackets in strings, behind escapes, side by side.
    #[test]
    fn depth_is_of_brackets_outside_of_strings() {
        let deep = |count: usize| "[".repeat(count) + &"]".repeat(count);
        assert!(!is_too_deep(&deep(DEPTH_MAX)) && is_too_deep(&deep(DEPTH_MAX + 1)));
        assert!(is_too_deep(&"{\"a\":".repeat(100_000)));
        assert!(!is_too_deep(&format!("{{\"{}\":\"\\\"{}\"}}", "[".repeat(99), "{".repeat(99))));
        assert!(!is_too_deep(&"[]".repeat(1_000)), "side by side");
        assert!(is_too_deep(&format!("\"\\\\\"{}", deep(DEPTH_MAX + 1))), "the string has ended");
    }
}
