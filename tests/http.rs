//! The HTTP server, from bytes to sockets, and the client that asks it.
//!
//! http/parse.rs and http/gate.rs need no socket. http/server.rs and http/places.rs are clients of every manner on
//! real ones (port 0); http/descriptors.rs takes all descriptors of a process. Nothing sleeps or measures time:
//! what has to be over soon has a short limit in the configuration, and an answer is waited for.

#[path = "http/client.rs"]
mod client;
#[path = "http/descriptors.rs"]
mod descriptors;
#[path = "http/gate.rs"]
mod gate;
#[path = "http/parse.rs"]
mod parse;
#[path = "http/places.rs"]
mod places;
#[path = "http/server.rs"]
mod server;
#[path = "http/world.rs"]
mod world;
