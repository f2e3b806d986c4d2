//! The handlers, a file a family. Each is a function from its arguments to a reply; none touches a
//! socket.

pub mod clients;
pub mod cluster;
mod config;
pub mod connection;
pub mod debug;
mod describe;
mod docs;
mod expiry;
pub mod fields;
pub mod generic;
pub mod hash;
mod info;
pub mod lcs;
pub mod measured;
pub mod object;
pub mod pubsub;
mod scan;
pub mod server;
pub mod service;
pub mod string;
#[cfg(test)]
pub mod testing;
pub mod transaction;

use dht_proto::reply::shown;
use dht_proto::{Reply, ReplyError, limits};

use super::args::{Args, parse_int};
use super::execute::Outcome;
use super::keyspace::{StringRef, Write};
use super::notify::Class;

/// A stored value as a reply.
fn bulk(value: &StringRef<'_>) -> Reply {
    Reply::Bulk(value.to_bytes())
}

/// A stored value, or nil.
fn bulk_or_nil(value: Option<StringRef<'_>>) -> Reply {
    value.map_or(Reply::Nil, |value| bulk(&value))
}

/// Counts what a reading command copies for its reply: at most as much as a reply may have that
/// nodes hand on.
#[derive(Default)]
struct Copied(usize);

impl Copied {
    /// One value more, of which so many bytes are copied.
    fn add(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.0 += size_of::<Reply>() + bytes;
        if self.0 > limits::FRAME_BYTES {
            return Err(ReplyError::reply_too_long(false));
        }
        Ok(())
    }
}

/// Values as a list.
fn values<'a>(all: impl Iterator<Item = Option<StringRef<'a>>>) -> Outcome {
    let mut copied = Copied::default();
    let mut items = Vec::with_capacity(all.size_hint().0);
    for value in all {
        copied.add(value.as_ref().map_or(0, StringRef::copied_bytes))?;
        items.push(bulk_or_nil(value));
    }
    Ok(Reply::Array(items))
}

/// Removes a key and says so; says whether there was one.
fn remove(ctx: &mut Write<'_>, key: &[u8]) -> bool {
    let removed = ctx.remove(key);
    if removed {
        ctx.note(Class::Generic, "del", key);
    }
    removed
}

/// What Redis says of a subcommand with more words than it takes.
fn wrong_subcommand(args: &Args<'_>) -> ReplyError {
    let command = shown(args.name(), 128).to_ascii_uppercase();
    let sub = shown(args.subcommand(), 128);
    let why = "unknown subcommand or wrong number of arguments for";
    ReplyError::Other(format!("{why} '{sub}'. Try {command} HELP.").into())
}

/// Removes fields and says so; gives how many there were.
fn remove_fields(ctx: &mut Write<'_>, key: &[u8], fields: &[&[u8]]) -> Result<usize, ReplyError> {
    let removed = ctx.hash_remove(key, fields)?;
    if removed > 0 {
        note_removed(ctx, key);
    }
    Ok(removed)
}

/// Says that fields were removed, and the key if it had no others.
fn note_removed(ctx: &mut Write<'_>, key: &[u8]) {
    ctx.note(Class::Hash, "hdel", key);
    if ctx.kind(key).is_none() {
        ctx.note(Class::Generic, "del", key);
    }
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
