//! What crosses a wire: the command table, replies and their errors, RESP and MessagePack frames,
//! slots.
//!
//! Nothing here performs I/O, reads a clock or knows what a command does.

pub mod absent;
pub mod assembly;
pub mod commands;
pub mod differs;
pub mod docs;
pub mod escaped;
pub mod frame;
pub mod image;
pub mod limits;
pub mod link;
pub mod msgpack;
mod names;
pub mod output;
pub mod parts;
pub mod peer;
pub mod random;
pub mod reply;
pub mod resp;
pub mod rpc;
pub mod slot;
pub mod spec;
pub mod syntax;
pub mod topology;

pub use frame::Malformed;
pub use output::{Output, Sink};
pub use parts::Parts;
pub use reply::{Reply, ReplyError};
pub use spec::Spec;
