//! Commands of family string.

use std::borrow::Cow;

use dht_proto::{Reply, ReplyError};
use xxhash_rust::xxh3::xxh3_64;

use super::expiry::{ExpiryOption, Unit, time_to_live};
use super::{bulk_or_nil, remove, sum, values};
use crate::core::args::{Args, Pairs, choose, parse_int};
use crate::core::execute::Outcome;
use crate::core::keyspace::{Expiry, Read, StringRef, Write};
use crate::core::long_double::{LongDouble, NoNumber};
use crate::core::notify::Class;

/// APPEND.
pub fn append(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, tail) = (args.word()?, args.word()?);
    let length = ctx.append(key, tail)?;
    ctx.note(Class::String, "append", key);
    Ok(Reply::count(length))
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

/// DELEX.
pub fn delex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    match args.left() {
        0 => return Ok(Reply::flag(remove(ctx, key))),
        2 => {}
        _ => return Err(ReplyError::Arity(Cow::Borrowed("delex"))),
    }
    // In this order, as in Redis: where there is no key, nothing is wrong with the condition.
    let is_there = ctx
        .string(key)
        .map_err(|_| ReplyError::err("Key should be of string type if conditions are specified"))?;
    if is_there.is_none() {
        return Ok(Reply::flag(false));
    }
    let condition = Condition::of_value(args)?.ok_or(ReplyError::err(
        "Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
    ))?;
    Ok(Reply::flag(condition.allows(ctx, key)? && remove(ctx, key)))
}

/// DIGEST.
pub fn digest(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let value = ctx.string(args.word()?)?;
    Ok(Reply::bulk_or_nil(
        value.map(|value| digest_of(value.bytes())),
    ))
}

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 16;

fn digest_of(value: &[u8]) -> String {
    format!("{:0DIGEST_DIGITS$x}", xxh3_64(value))
}

/// The next word as a digest. As in Redis only its length is looked at: what has other digits is
/// the digest of nothing.
fn digest_word<'a>(args: &mut Args<'a>) -> Result<&'a [u8], ReplyError> {
    let word = args.word()?;
    if word.len() == DIGEST_DIGITS {
        Ok(word)
    } else {
        Err(ReplyError::err(
            "digest must be exactly 16 hexadecimal characters",
        ))
    }
}

/// GET.
pub fn get(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(bulk_or_nil(ctx.string(args.word()?)?))
}

/// GETDEL.
pub fn getdel(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    ctx.count_lookup(key);
    let value = bulk_or_nil(ctx.string(key)?);
    remove(ctx, key);
    Ok(value)
}

/// GETEX.
pub fn getex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    let mut option = ExpiryOption::default();
    while args.left() > 0 {
        if !option.take(args, "PERSIST")? {
            return Err(ReplyError::Syntax);
        }
    }
    ctx.count_lookup(key);
    let Some(value) = ctx.string(key)? else {
        return Ok(Reply::Nil);
    };
    let value = Reply::Bulk(value.to_bytes());
    match option.resolve_kept(ctx.stamp, "getex")? {
        Expiry::Keep => {}
        Expiry::At(at) if at <= ctx.stamp => _ = remove(ctx, key),
        Expiry::At(at) => {
            ctx.set_expiry(key, Some(at));
            ctx.note(Class::Generic, "expire", key);
        }
        Expiry::Never => persist(ctx, key),
    }
    Ok(value)
}

fn persist(ctx: &mut Write<'_>, key: &[u8]) {
    if ctx.expiry(key).flatten().is_some() {
        ctx.set_expiry(key, None);
        ctx.note(Class::Generic, "persist", key);
    }
}

/// GETRANGE.
pub fn getrange(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, start, end) = (args.word()?, args.int()?, args.int()?);
    let Some(value) = ctx.string(key)? else {
        return Ok(Reply::bulk(b""));
    };
    let len = i64::try_from(value.bytes().len()).unwrap_or(i64::MAX);
    // A part that ends before it starts is empty, also where both lie before the beginning.
    let is_reversed = start < 0 && end < 0 && start > end;
    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    if is_reversed || start > end {
        return Ok(Reply::bulk(b""));
    }
    let (start, end) = (start as usize, end as usize);
    Ok(Reply::Bulk(value.part(start..end + 1)))
}

/// GETSET.
pub fn getset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, value) = (args.word()?, args.word()?);
    ctx.count_lookup(key);
    let before = bulk_or_nil(ctx.string(key)?);
    put(ctx, key, value, Expiry::Never)?;
    Ok(before)
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

/// INCRBYFLOAT.
pub fn incrbyfloat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, increment) = (args.word()?, args.word()?);
    // Infinity is a number for Redis, and no sum with it is.
    let parse = |text: &[u8]| match LongDouble::parse(text) {
        Ok(number) => Ok(Some(number)),
        Err(NoNumber::Infinite) => Ok(None),
        Err(NoNumber::Unreadable) => Err(ReplyError::NotFloat),
    };
    let before = match ctx.string(key)? {
        Some(value) => parse(value.bytes())?,
        None => Some(LongDouble::ZERO),
    };
    let after = match (before, parse(increment)?) {
        (Some(before), Some(increment)) => before.checked_add(increment),
        _ => None,
    };
    let text = after.ok_or(ReplyError::NanOrInfinity)?.to_string();
    ctx.set_string(key, text.as_bytes(), Expiry::Keep)?;
    ctx.note(Class::String, "incrbyfloat", key);
    Ok(Reply::bulk(text))
}

fn add(ctx: &mut Write<'_>, key: &[u8], increment: i64) -> Outcome {
    let after = sum(ctx.string(key)?, increment, ReplyError::NotInteger)?;
    let mut text = itoa::Buffer::new();
    ctx.set_string(key, text.format(after).as_bytes(), Expiry::Keep)?;
    ctx.note(Class::String, "incrby", key);
    Ok(Reply::Int(after))
}

/// MGET.
pub fn mget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    // A key of another type counts as absent.
    let value = |key: &&[u8]| ctx.string(key).unwrap_or_default();
    values(args.rest().iter().map(value))
}

/// MSET.
pub fn mset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_all(ctx, &args.pairs("mset")?, Expiry::Never)?;
    Ok(Reply::Ok)
}

/// MSETEX.
pub fn msetex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let count = parse_int(args.word()?).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or(ReplyError::err("invalid numkeys value"))? as usize;
    if args.left() / 2 < count {
        return Err(ReplyError::err("wrong number of key-value pairs"));
    }
    let mut pairs = Pairs::new();
    for _ in 0..count {
        pairs.push((args.word()?, args.word()?));
    }
    let options = SetOptions::parse(args, false)?;
    let expiry = options.expiry.resolve(ctx.stamp, "msetex")?;
    if let Some(condition) = options.condition {
        for (key, _) in &pairs {
            if !condition.allows(ctx, key)? {
                return Ok(Reply::flag(false));
            }
        }
    }
    set_all(ctx, &pairs, expiry)?;
    Ok(Reply::flag(true))
}

/// MSETNX.
pub fn msetnx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let pairs = args.pairs("msetnx")?;
    let is_free = pairs.iter().all(|(key, _)| ctx.kind(key).is_none());
    if is_free {
        set_all(ctx, &pairs, Expiry::Never)?;
    }
    Ok(Reply::flag(is_free))
}

fn set_all(ctx: &mut Write<'_>, pairs: &Pairs<'_>, expiry: Expiry) -> Result<(), ReplyError> {
    for (key, value) in pairs {
        Write::check_string(key, value)?;
    }
    for (key, value) in pairs {
        put(ctx, key, value, expiry)?;
    }
    Ok(())
}

/// Sets a string and says so.
fn put(ctx: &mut Write<'_>, key: &[u8], value: &[u8], expiry: Expiry) -> Result<(), ReplyError> {
    ctx.set_string(key, value, expiry)?;
    ctx.note(Class::String, "set", key);
    if matches!(expiry, Expiry::At(_)) {
        ctx.note(Class::Generic, "expire", key);
    }
    Ok(())
}

/// PSETEX.
pub fn psetex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_for(ctx, args, Unit::Milliseconds, "psetex")
}

/// What has to be true of the key before it is set or removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    /// NX.
    Absent,
    /// XX.
    Present,
    /// IFEQ: it has this value.
    Equal(&'a [u8]),
    /// IFNE: it has another value, or none.
    Other(&'a [u8]),
    /// IFDEQ: its value has this digest.
    Digest(&'a [u8]),
    /// IFDNE: it has a value of another digest, or none.
    OtherDigest(&'a [u8]),
}

impl<'a> Condition<'a> {
    /// Takes the next words if they are a condition on the value.
    fn of_value(args: &mut Args<'a>) -> Result<Option<Self>, ReplyError> {
        Ok(if args.option("IFEQ") {
            Some(Self::Equal(args.word()?))
        } else if args.option("IFNE") {
            Some(Self::Other(args.word()?))
        } else if args.option("IFDEQ") {
            Some(Self::Digest(digest_word(args)?))
        } else if args.option("IFDNE") {
            Some(Self::OtherDigest(digest_word(args)?))
        } else {
            None
        })
    }

    fn allows(self, ctx: &Write<'_>, key: &[u8]) -> Result<bool, ReplyError> {
        let has_digest = |there: StringRef<'_>, digest: &[u8]| {
            let own = digest_of(there.bytes());
            own.as_bytes().eq_ignore_ascii_case(digest)
        };
        Ok(match self {
            Self::Absent => ctx.kind(key).is_none(),
            Self::Present => ctx.kind(key).is_some(),
            Self::Equal(value) => ctx.string(key)?.is_some_and(|there| there.bytes() == value),
            Self::Other(value) => ctx.string(key)?.is_none_or(|there| there.bytes() != value),
            Self::Digest(digest) => ctx
                .string(key)?
                .is_some_and(|there| has_digest(there, digest)),
            Self::OtherDigest(digest) => ctx
                .string(key)?
                .is_none_or(|there| !has_digest(there, digest)),
        })
    }
}

#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<Condition<'a>>,
    get: bool,
    expiry: ExpiryOption<'a>,
}

impl<'a> SetOptions<'a> {
    /// The options of SET, or those that MSETEX has of them.
    fn parse(args: &mut Args<'a>, of_one: bool) -> Result<Self, ReplyError> {
        let mut options = Self::default();
        while args.left() > 0 {
            if args.option("NX") {
                choose(&mut options.condition, Condition::Absent)?;
            } else if args.option("XX") {
                choose(&mut options.condition, Condition::Present)?;
            } else if of_one && args.option("GET") {
                options.get = true;
            } else if options.expiry.take(args, "KEEPTTL")? {
            } else if let Some(condition) = Condition::of_value(args)?.filter(|_| of_one) {
                choose(&mut options.condition, condition)?;
            } else {
                return Err(ReplyError::Syntax);
            }
        }
        Ok(options)
    }
}

/// SET.
pub fn set(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, value) = (args.word()?, args.word()?);
    let options = SetOptions::parse(args, true)?;
    let expiry = options.expiry.resolve(ctx.stamp, "set")?;
    let before = if options.get {
        ctx.count_lookup(key);
        Some(bulk_or_nil(ctx.string(key)?))
    } else {
        None
    };
    if let Some(condition) = options.condition
        && !condition.allows(ctx, key)?
    {
        return Ok(before.unwrap_or(Reply::Nil));
    }
    put(ctx, key, value, expiry)?;
    Ok(before.unwrap_or(Reply::Ok))
}

/// SETEX.
pub fn setex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_for(ctx, args, Unit::Seconds, "setex")
}

fn set_for(ctx: &mut Write<'_>, args: &mut Args<'_>, unit: Unit, command: &'static str) -> Outcome {
    let (key, amount, value) = (args.word()?, args.word()?, args.word()?);
    let expiry = time_to_live(amount, unit, ctx.stamp, command)?;
    put(ctx, key, value, expiry)?;
    Ok(Reply::Ok)
}

/// SETNX.
pub fn setnx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, value) = (args.word()?, args.word()?);
    let is_free = ctx.kind(key).is_none();
    if is_free {
        put(ctx, key, value, Expiry::Never)?;
    }
    Ok(Reply::flag(is_free))
}

/// SETRANGE.
pub fn setrange(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, offset, part) = (args.word()?, args.int()?, args.word()?);
    let offset = usize::try_from(offset).map_err(|_| ReplyError::err("offset is out of range"))?;
    let length = ctx.write_at(key, offset, part)?;
    if !part.is_empty() {
        ctx.note(Class::String, "setrange", key);
    }
    Ok(Reply::count(length))
}

/// STRLEN.
pub fn strlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let value = ctx.string(args.word()?)?;
    Ok(Reply::count(value.map_or(0, |value| value.bytes().len())))
}

/// SUBSTR.
pub fn substr(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    getrange(ctx, args)
}
