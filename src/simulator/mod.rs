//! A network of nodes in one thread, with a clock that is only counted: every run can be repeated.
//!
//! The core, the sessions and the server are those that threads drive; only what lies between them is made
//! up. [`queue`] is what is going to happen, in one order; [`link`] a connection as bytes, [`net`] all of
//! them; [`end`] and [`process`] stand for a node's threads, [`desk`] says whose turn it is, [`machine`] keeps
//! what a crash leaves, [`history`] what it had before. [`miner`] draws when blocks are found, [`crowd`] pays, [`vice`] cheats. [`story`] says
//! what a seed is about, [`world`] lets it happen, [`judge`] and [`audit`] say whether all is as it must be,
//! [`tally`] what it was like, and [`reached`] whether all that is to be tried was.
//!
//! Left out: memory and its caps in bytes, threads and their races, sockets and what a system does with
//! them. Signatures are verified once for all nodes: what one found to hold is not looked at again, so a
//! verifier that errs now and then would not be found here.

mod chance;

pub mod queue;

pub mod clock;

pub mod link;

mod net;

mod trace;

pub mod end;

mod desk;

mod miner;

pub mod vice;

pub mod process;

mod machine;

mod history;

mod crowd;

pub mod story;

mod audit;

pub mod judge;

pub mod reached;

pub mod tally;

pub mod world;
