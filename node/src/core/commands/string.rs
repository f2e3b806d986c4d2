//! Commands of family string.

use dht_proto::{Reply, ReplyError};

use super::expiry::ExpiryOption;
use super::{bulk_or_nil, sum};
use crate::core::args::{Args, choose};
use crate::core::execute::Outcome;
use crate::core::keyspace::{Expiry, Read, Write};

/// APPEND.
pub fn append(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, tail) = (args.word()?, args.word()?);
    Ok(Reply::count(ctx.append(key, tail)?))
}

/// DECR.
pub fn decr(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    add(ctx, args.word()?, -1)
}

/// DECRBY.
pub fn decrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, decrement) = (args.word()?, args.int()?);
    let increment = decrement
        .checked_neg()
        .ok_or(ReplyError::DecrementOverflow)?;
    add(ctx, key, increment)
}

/// GET.
pub fn get(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(bulk_or_nil(ctx.string(args.word()?)?))
}

/// INCR.
pub fn incr(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    add(ctx, args.word()?, 1)
}

/// INCRBY.
pub fn incrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, increment) = (args.word()?, args.int()?);
    add(ctx, key, increment)
}

fn add(ctx: &mut Write<'_>, key: &[u8], increment: i64) -> Outcome {
    let after = sum(ctx.string(key)?, increment, ReplyError::NotInteger)?;
    let mut text = itoa::Buffer::new();
    ctx.set_string(key, text.format(after).as_bytes(), Expiry::Keep)?;
    Ok(Reply::Int(after))
}

/// MGET.
pub fn mget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    // A key of another type counts as absent.
    let value = |key: &&[u8]| bulk_or_nil(ctx.string(key).unwrap_or_default());
    Ok(Reply::Array(args.rest().iter().map(value).collect()))
}

/// MSET.
pub fn mset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let pairs = args.pairs("mset")?;
    for (key, value) in &pairs {
        Write::check_string(key, value)?;
    }
    for (key, value) in pairs {
        ctx.set_string(key, value, Expiry::Never)?;
    }
    Ok(Reply::Ok)
}

/// Whether the key has to be there before SET.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// NX.
    Absent,
    /// XX.
    Present,
}

#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<Condition>,
    get: bool,
    expiry: ExpiryOption<'a>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, ReplyError> {
        let mut options = Self::default();
        while args.left() > 0 {
            if args.option("NX") {
                choose(&mut options.condition, Condition::Absent)?;
            } else if args.option("XX") {
                choose(&mut options.condition, Condition::Present)?;
            } else if args.option("GET") {
                options.get = true;
            } else if !options.expiry.take(args)? {
                return Err(ReplyError::Syntax);
            }
        }
        Ok(options)
    }

    fn allow(&self, exists: bool) -> bool {
        match self.condition {
            None => true,
            Some(Condition::Absent) => !exists,
            Some(Condition::Present) => exists,
        }
    }
}

/// SET.
pub fn set(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, value) = (args.word()?, args.word()?);
    let options = SetOptions::parse(args)?;
    let expiry = options.expiry.resolve(ctx.stamp, "set")?;
    let before = if options.get {
        Some(bulk_or_nil(ctx.string(key)?))
    } else {
        None
    };
    if options.condition.is_some() && !options.allow(ctx.kind(key).is_some()) {
        return Ok(before.unwrap_or(Reply::Nil));
    }
    ctx.set_string(key, value, expiry)?;
    Ok(before.unwrap_or(Reply::Ok))
}

/// STRLEN.
pub fn strlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let value = ctx.string(args.word()?)?;
    Ok(Reply::count(value.map_or(0, |value| value.bytes().len())))
}
