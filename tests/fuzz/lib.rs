//! The targets, for the programs in `binaries/`.

mod targets;

/// One input for one target; a panic is a find.
pub fn run(target: &str, data: &[u8]) {
    targets::run(target, data);
}
