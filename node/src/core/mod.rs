//! The pure part of a node: executes commands, keeps the data, routes, places shards.
//!
//! No async, I/O, clock, threads or ambient randomness: time and randomness are handed in, and what
//! should be sent or answered is returned. `tests/it/style.rs` enforces it.

mod ahead;
pub mod args;
pub mod atomic;
pub mod client;
pub mod commands;
pub mod disk;
pub mod execute;
pub mod formation;
pub mod gather;
pub mod glob;
pub mod inside;
pub mod keyspace;
pub(crate) mod kinds;
pub mod lease;
pub mod local;
mod long_double;
pub mod measures;
pub mod meta;
pub mod mutation;
mod natural;
pub mod node;
pub mod notify;
pub(crate) mod pack;
pub mod pause;
pub mod placement;
pub mod pubsub;
pub mod replication;
pub mod rest;
pub mod ring;
pub mod router;
pub mod services;
pub mod session;
pub mod store;
pub mod time;
pub mod transaction;
pub mod wire;

pub use dht_proto::random;
