//! What crosses a wire: the command table, replies and their errors, RESP and MessagePack frames,
//! slots.
//!
//! Nothing here performs I/O, reads a clock or knows what a command does.

pub mod commands;
pub mod docs;
pub mod frame;
pub mod limits;
pub mod link;
pub mod msgpack;
mod names;
pub mod peer;
pub mod reply;
pub mod resp;
pub mod rpc;
pub mod slot;
pub mod spec;
pub mod syntax;
pub mod topology;

pub use frame::Malformed;
pub use reply::{Reply, ReplyError};
pub use spec::Spec;
