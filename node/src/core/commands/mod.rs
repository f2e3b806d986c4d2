//! The handlers, a file a family. Each is a function from its arguments to a reply; none touches a
//! socket.

pub mod cluster;
mod config;
pub mod connection;
mod describe;
mod docs;
mod expiry;
pub mod generic;
pub mod hash;
mod info;
mod scan;
pub mod server;
pub mod string;
#[cfg(test)]
pub mod testing;
pub mod transaction;

use dht_proto::{Reply, ReplyError};

use super::args::parse_int;
use super::keyspace::StringRef;

/// A stored value as a reply.
fn bulk(value: &StringRef<'_>) -> Reply {
    Reply::Bulk(value.to_bytes())
}

/// A stored value, or nil.
fn bulk_or_nil(value: Option<StringRef<'_>>) -> Reply {
    value.map_or(Reply::Nil, |value| bulk(&value))
}

/// A stored integer plus `delta`; an absent one counts as 0, one in any other form is
/// `not_integer`.
fn sum(
    stored: Option<StringRef<'_>>,
    delta: i64,
    not_integer: ReplyError,
) -> Result<i64, ReplyError> {
    let before = match stored {
        Some(value) => parse_int(value.bytes()).ok_or(not_integer)?,
        None => 0,
    };
    before.checked_add(delta).ok_or(ReplyError::Overflow)
}
