//! The power cut: what a node finds after any death at its disk, and after damage.
//!
//! The real file code runs on a disk in memory that keeps no more than POSIX promises. Each test prints
//! what it covered: `cargo test --test power -- --nocapture`. `make power` tries far more (power/scale.rs).
//!
//! power/life.rs is the life of a node at its disk and the check that follows each death, power/fixture.rs
//! what is written, power/cases.rs the steps. power/crash.rs lets each call be the last or fail,
//! power/remains.rs says what is then found, power/damage.rs has bytes at rest spoiled by power/spoil.rs.
//! power/story.rs strings it all together at random. power/controls.rs, the stories and the damage do so again on
//! the disks of power/liar.rs, which break a promise and must be found out.

#[path = "power/cases.rs"]
mod cases;
mod common;
#[path = "power/controls.rs"]
mod controls;
#[path = "power/crash.rs"]
mod crash;
#[path = "power/damage.rs"]
mod damage;
#[path = "power/fixture.rs"]
mod fixture;
#[path = "power/liar.rs"]
mod liar;
#[path = "power/life.rs"]
mod life;
#[path = "power/remains.rs"]
mod remains;
#[path = "power/scale.rs"]
mod scale;
#[path = "power/spoil.rs"]
mod spoil;
#[path = "power/story.rs"]
mod story;
