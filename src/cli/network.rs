//! Which network: a built-in name, a spec's file, or what a data directory says of itself.
//!
//! A spec's errors name the file, the field, its value and what may stand there, so that a person can
//! repair it without reading this program.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::blockchain::os::DataDir;
use crate::blockchain::params::{NetworkSpec, Params, SpecError};
use crate::blockchain::storage::{BLOCKS, Overlay, PersistentBlockchain, Recovery, StoreError};
use crate::cli::failure::Failure;
use crate::cli::values;

/// A spec is a page of text, not more.
const SPEC_BYTES_MAX: u64 = 64 << 10;

/// The network with this name, or the one in this file.
pub fn load(text: &str) -> Result<Params, Failure> {
    match text {
        "local" => Ok(Params::local()),
        "regtest" => Ok(Params::regtest()),
        file => {
            let json = read(file).map_err(|why| {
                Failure::options(format!(
                    "option `--network`: `{file}` {why}; local, regtest or a spec's file is needed"
                ))
            })?;
            parse(&json).map_err(|why| Failure::options(format!("option `--network`: in `{file}` {why}")))
        }
    }
}

/// A data directory opened beside whoever holds it, and its network.
pub struct Looked {
    /// The network.
    pub params: Arc<Params>,
    /// The chain's file.
    pub store: PersistentBlockchain,
    /// What opening found.
    pub recovery: Recovery,
}

/// Looks into a data directory; its network is found from the directory unless it is given.
pub fn look(
    directory: &Path,
    network: Option<&str>,
    hidden: &'static [&'static str],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Looked, Failure> {
    let candidates = match network {
        Some(network) => vec![load(network)?],
        None => vec![Params::local(), Params::regtest()],
    };
    let mut other = None;
    for params in candidates {
        let disk = Overlay::hiding(DataDir::open_read_only(directory)?, hidden);
        match PersistentBlockchain::open(Arc::new(disk), &params, progress) {
            Ok((store, recovery)) => return Ok(Looked { params: Arc::new(params), store, recovery }),
            // Said before anything else is read: the next candidate costs nothing.
            Err(error @ StoreError::OtherNetwork { .. }) => other = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match other {
        Some(StoreError::OtherNetwork { found, .. }) if network.is_none() => Err(Failure::world(format!(
            "`{}` belongs to the network with genesis {found:.16}, which is not built in; name its spec with `--network FILE`",
            directory.join(BLOCKS).display()
        ))),
        Some(error) => Err(error.into()),
        None => unreachable!("there is a candidate, and each ends in one of three ways"),
    }
}

fn read(file: &str) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if Path::new(file).is_dir() {
        return Err("is a directory".into());
    }
    let mut json = String::new();
    let read = File::open(file).map_err(cannot)?.take(SPEC_BYTES_MAX + 1).read_to_string(&mut json);
    match read.map_err(cannot)? as u64 {
        read if read > SPEC_BYTES_MAX => Err(format!("has more than {SPEC_BYTES_MAX} bytes, which no spec has")),
        _ => Ok(json),
    }
}

/// A spec from JSON; an error is the rest of a sentence that begins with "in `file`".
pub fn parse(json: &str) -> Result<Params, String> {
    let value: Value = serde_json::from_str(json).map_err(|error| format!("is no JSON: {error}"))?;
    let Value::Object(fields) = value else {
        return Err("is no JSON object: {…} with a spec's fields is needed".into());
    };
    check_fields(&fields)?;
    // From the text again: what stands there twice would be lost in a map.
    let spec: NetworkSpec = serde_json::from_str(json).map_err(|error| error.to_string())?;
    for seed in &spec.seeds {
        values::target(seed).map_err(|why| format!("seeds holds `{seed}`, which {why}"))?;
    }
    values::port(&spec.port.to_string()).map_err(|why| format!("port is `{}`, which {why}", spec.port))?;
    let params =
        Params::new(spec).map_err(|SpecError { field, value, limit, .. }| format!("{field} is `{value}`, {limit}"))?;
    for built_in in [Params::local(), Params::regtest()] {
        let (name, ours) = (&params.spec().name, built_in.spec());
        if *name == ours.name && params.genesis_id() != built_in.genesis_id() {
            return Err(format!(
                "name is `{name}`, which is that of another network, one that is built in; choose another"
            ));
        }
    }
    Ok(params)
}

/// Puts one field after another into a spec that is known to be good: the first that does not fit there
/// is the one to name.
fn check_fields(fields: &Map<String, Value>) -> Result<(), String> {
    let mut sample = serde_json::to_value(Params::local().spec()).map_err(|error| error.to_string())?;
    let known = sample.as_object().map(|known| known.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    for (field, value) in fields {
        if !known.contains(field) {
            return Err(format!("`{field}` is no field of a spec; {} are", known.join(", ")));
        }
        sample[field] = value.clone();
        if let Err(error) = serde_json::from_value::<NetworkSpec>(sample.clone()) {
            return Err(format!("{field} is `{value}`: {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(field: &str, value: Value) -> String {
        let mut spec = serde_json::to_value(Params::local().spec()).expect("a spec is JSON");
        spec[field] = value;
        spec.to_string()
    }

    /// Goal: what the program writes it reads, and each wrong field is named with its value.
    /// Method: the spec of `local`, with one field changed at a time.
    #[test]
    fn a_wrong_field_is_named_with_its_value() {
        assert_eq!(parse(&with("name", "local".into())).expect("unchanged"), Params::local());
        let wrong: [(&str, Value, &str); 9] = [
            ("block_time_ms", "soon".into(), "soon"),
            ("block_time_ms", 999.into(), "1000 to 86400000"),
            ("maturity", (-1).into(), "-1"),
            ("retarget", 1.into(), "boolean"),
            ("port", 64_536.into(), "64535"),
            ("port", 0.into(), "64535"),
            ("seeds", vec!["here"].into(), "HOST:PORT"),
            ("difficulty_min", 0.into(), "at least 1"),
            ("blocktime", 5.into(), "block_time_ms"),
        ];
        for (field, value, why) in wrong {
            let error = parse(&with(field, value)).expect_err(field);
            assert!(error.contains(field) && error.contains(why), "{field}: {error}");
        }
    }
}
