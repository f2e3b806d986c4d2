//! Commands of family hash.

use dht_proto::{Reply, ReplyError};

use super::{bulk, bulk_or_nil, scan, sum};
use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::{Read, StringRef, Write};
use crate::core::long_double::{LongDouble, NoNumber};

/// HDEL.
pub fn hdel(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, fields) = (args.word()?, args.rest());
    Ok(Reply::count(ctx.hash_remove(key, fields)?))
}

/// HEXISTS.
pub fn hexists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, |value| Reply::flag(value.is_some()))
}

/// HGET.
pub fn hget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, bulk_or_nil)
}

/// HGETALL.
pub fn hgetall(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    each_field(ctx, args, |field, value| (Reply::bulk(field), bulk(&value))).map(Reply::Map)
}

/// HINCRBY.
pub fn hincrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, increment) = (args.word()?, args.word()?, args.int()?);
    let hash = ctx.hash(key)?;
    let stored = hash.as_ref().and_then(|hash| hash.get(field));
    let after = sum(stored, increment, ReplyError::HashNotInteger)?;
    let mut text = itoa::Buffer::new();
    ctx.hash_set(key, &[(field, text.format(after).as_bytes())])?;
    Ok(Reply::Int(after))
}

/// HINCRBYFLOAT.
pub fn hincrbyfloat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, increment) = (args.word()?, args.word()?, args.word()?);
    let increment = LongDouble::parse(increment).map_err(|why| match why {
        NoNumber::Unreadable => ReplyError::NotFloat,
        NoNumber::Infinite => ReplyError::err("value is NaN or Infinity"),
    })?;
    let hash = ctx.hash(key)?;
    let before = match hash.as_ref().and_then(|hash| hash.get(field)) {
        Some(value) => LongDouble::parse(value.bytes()).map_err(|why| match why {
            NoNumber::Unreadable => ReplyError::HashNotFloat,
            NoNumber::Infinite => ReplyError::NanOrInfinity,
        })?,
        None => LongDouble::ZERO,
    };
    let after = before
        .checked_add(increment)
        .ok_or(ReplyError::NanOrInfinity)?;
    let text = after.to_string();
    ctx.hash_set(key, &[(field, text.as_bytes())])?;
    Ok(Reply::bulk(text))
}

/// HKEYS.
pub fn hkeys(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    each_field(ctx, args, |field, _| Reply::bulk(field)).map(Reply::Array)
}

/// HLEN.
pub fn hlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let hash = ctx.hash(args.word()?)?;
    Ok(Reply::count(hash.map_or(0, |hash| hash.len())))
}

/// HMGET.
pub fn hmget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let hash = ctx.hash(args.word()?)?;
    let value = |field: &&[u8]| bulk_or_nil(hash.as_ref().and_then(|hash| hash.get(field)));
    Ok(Reply::Array(args.rest().iter().map(value).collect()))
}

/// HMSET.
pub fn hmset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_fields(ctx, args, "hmset").map(|_| Reply::Ok)
}

/// HSCAN.
pub fn hscan(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, cursor) = (args.word()?, args.cursor()?);
    // As in Redis, the options of a call about no hash are not looked at.
    let Some(hash) = ctx.hash(key)? else {
        return Ok(scan::page(0, Vec::new()));
    };
    let options = scan::Options::parse(args, false)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, &mut |field, value| {
        if options.matches(field) {
            found.extend([Reply::bulk(field), bulk(&value)]);
        }
    });
    Ok(scan::page(next, found))
}

/// HSET.
pub fn hset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_fields(ctx, args, "hset").map(Reply::count)
}

/// HSETNX.
pub fn hsetnx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, value) = (args.word()?, args.word()?, args.word()?);
    let hash = ctx.hash(key)?;
    if hash.is_some_and(|hash| hash.get(field).is_some()) {
        return Ok(Reply::flag(false));
    }
    ctx.hash_set(key, &[(field, value)])?;
    Ok(Reply::flag(true))
}

/// HSTRLEN.
pub fn hstrlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, |value| {
        Reply::count(value.map_or(0, |value| value.bytes().len()))
    })
}

/// HVALS.
pub fn hvals(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    each_field(ctx, args, |_, value| bulk(&value)).map(Reply::Array)
}

/// Sets `field value …`; gives how many fields are new.
fn set_fields(
    ctx: &mut Write<'_>,
    args: &mut Args<'_>,
    command: &'static str,
) -> Result<usize, ReplyError> {
    let key = args.word()?;
    let pairs = args.pairs(command)?;
    ctx.hash_set(key, &pairs)
}

/// Answers from the value of the field `key field`.
fn with_field(
    ctx: &Read<'_>,
    args: &mut Args<'_>,
    answer: impl FnOnce(Option<StringRef<'_>>) -> Reply,
) -> Outcome {
    let (key, field) = (args.word()?, args.word()?);
    let hash = ctx.hash(key)?;
    Ok(answer(hash.as_ref().and_then(|hash| hash.get(field))))
}

/// Collects something of every field of the hash `key`.
fn each_field<T>(
    ctx: &Read<'_>,
    args: &mut Args<'_>,
    take: impl Fn(&[u8], StringRef<'_>) -> T,
) -> Result<Vec<T>, ReplyError> {
    let Some(hash) = ctx.hash(args.word()?)? else {
        return Ok(Vec::new());
    };
    if ctx.puts_off(hash.len()) {
        return Ok(Vec::new());
    }
    Ok(hash
        .iter()
        .map(|(field, value)| take(field, value))
        .collect())
}
