//! The power cut: what a node finds after any death at its disk, and after damage.
//!
//! The real file code runs on a disk in memory that keeps no more than POSIX promises. Each test prints
//! what it covered: `cargo test --test power -- --nocapture`.
//!
//! power/life.rs is the life of a node at its disk and the check that follows each death, power/fixture.rs
//! what is written, power/cases.rs the steps. power/crash.rs lets each call be the last or fail,
//! power/remains.rs says what is then found.

#[path = "power/cases.rs"]
mod cases;
mod common;
#[path = "power/crash.rs"]
mod crash;
#[path = "power/fixture.rs"]
mod fixture;
#[path = "power/life.rs"]
mod life;
#[path = "power/remains.rs"]
mod remains;
