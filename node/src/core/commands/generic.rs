//! Commands of family generic.

use std::borrow::Cow;

use dht_proto::parts::Packing;
use dht_proto::{Reply, ReplyError, limits, reply};
use smallvec::SmallVec;

use super::expiry::{Unit, point};
use super::{remove, scan};
use crate::core::args::{Args, parse_int};
use crate::core::execute::Outcome;
use crate::core::glob;
use crate::core::keyspace::{NoValue, Read, Restored, ValueKind, Whole, Write};
use crate::core::notify::Class;
use crate::core::time::UnixMs;

/// COPY.
pub fn copy(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (args.word()?, args.word()?);
    let mut replace = false;
    while args.left() > 0 {
        if args.option("REPLACE") {
            replace = true;
        } else if args.option("DB") {
            database(args.word()?)?;
        } else {
            return Err(ReplyError::Syntax);
        }
    }
    if from == to {
        let why = "source and destination objects are the same";
        return Err(ReplyError::err(why));
    }
    ctx.count_lookup(from);
    let is_free = replace || ctx.kind(to).is_none();
    let copied = is_free && ctx.copy(from, to);
    if copied {
        ctx.note(Class::Generic, "copy_to", to);
    }
    Ok(Reply::flag(copied))
}

/// The number of a database, of which there is one.
pub fn database(word: &[u8]) -> Result<(), ReplyError> {
    let index = parse_int(word).ok_or(ReplyError::NotInteger)?;
    match i32::try_from(index) {
        Ok(0) => Ok(()),
        Ok(_) => Err(ReplyError::err("DB index is out of range")),
        Err(_) => Err(ReplyError::Other(
            format!(
                "value is out of range, value must between {} and {}",
                i32::MIN,
                i32::MAX
            )
            .into(),
        )),
    }
}

/// DEL.
pub fn del(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let removed = args.rest().iter().filter(|key| remove(ctx, key)).count();
    Ok(Reply::count(removed))
}

/// DUMP.
pub fn dump(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let bytes = ctx.dump(args.word()?);
    Ok(bytes.map_or(Reply::Nil, |bytes| Reply::Bulk(bytes.into())))
}

/// EXISTS.
pub fn exists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let there = |key: &&&[u8]| ctx.kind(key).is_some();
    Ok(Reply::count(args.rest().iter().filter(there).count()))
}

/// EXPIRE.
pub fn expire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let now = ctx.stamp;
    expire_in(ctx, args, (Unit::Seconds, now), "expire")
}

/// EXPIREAT.
pub fn expireat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire_in(ctx, args, (Unit::Seconds, 0), "expireat")
}

/// EXPIRETIME.
pub fn expiretime(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiry(ctx, args, |at| at.saturating_add(500) / 1000)
}

/// PEXPIRE.
pub fn pexpire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let now = ctx.stamp;
    expire_in(ctx, args, (Unit::Milliseconds, now), "pexpire")
}

/// PEXPIREAT.
pub fn pexpireat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire_in(ctx, args, (Unit::Milliseconds, 0), "pexpireat")
}

/// PEXPIRETIME.
pub fn pexpiretime(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiry(ctx, args, |at| at)
}

/// Sets the expiry to an amount after `base`.
fn expire_in(
    ctx: &mut Write<'_>,
    args: &mut Args<'_>,
    (unit, base): (Unit, UnixMs),
    command: &'static str,
) -> Outcome {
    let (key, amount) = (args.word()?, args.word()?);
    let tests = expiry_tests(args)?;
    let amount = parse_int(amount).ok_or(ReplyError::NotInteger)?;
    let at = point(amount, unit, base).ok_or(ReplyError::InvalidExpire(command))?;
    let Some(present) = ctx.expiry(key) else {
        return Ok(Reply::flag(false));
    };
    if !tests.iter().all(|test| test.passes(present, at)) {
        return Ok(Reply::flag(false));
    }
    match UnixMs::try_from(at) {
        Ok(at) if at > ctx.stamp => {
            ctx.set_expiry(key, Some(at));
            ctx.note(Class::Generic, "expire", key);
        }
        _ => _ = remove(ctx, key),
    }
    Ok(Reply::flag(true))
}

/// What EXPIRE asks of the present expiry before it sets a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpiryTest {
    Nx,
    Xx,
    Gt,
    Lt,
}

impl ExpiryTest {
    /// A key without expiry counts as one that expires after every other.
    fn passes(self, present: Option<UnixMs>, at: i64) -> bool {
        let present = present.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        match self {
            Self::Nx => present.is_none(),
            Self::Xx => present.is_some(),
            Self::Gt => present.is_some_and(|present| at > present),
            Self::Lt => present.is_none_or(|present| at < present),
        }
    }
}

/// Any number of options; XX goes together with GT or LT.
fn expiry_tests(args: &mut Args<'_>) -> Result<SmallVec<[ExpiryTest; 4]>, ReplyError> {
    use ExpiryTest::{Gt, Lt, Nx, Xx};
    let options = [("NX", Nx), ("XX", Xx), ("GT", Gt), ("LT", Lt)];
    let mut tests = SmallVec::new();
    while args.left() > 0 {
        match options.into_iter().find(|(name, _)| args.option(name)) {
            Some((_, test)) => tests.push(test),
            None => return Err(unsupported(args.word()?)),
        }
    }
    let given = |test| tests.contains(&test);
    if given(Nx) && (given(Xx) || given(Gt) || given(Lt)) {
        Err(ReplyError::err(
            "NX and XX, GT or LT options at the same time are not compatible",
        ))
    } else if given(Gt) && given(Lt) {
        Err(ReplyError::err(
            "GT and LT options at the same time are not compatible",
        ))
    } else {
        Ok(tests)
    }
}

fn unsupported(option: &[u8]) -> ReplyError {
    let shown = reply::shown_last(option);
    ReplyError::Other(format!("Unsupported option {shown}").into())
}

/// KEYS.
pub fn keys(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let pattern = args.word()?;
    let mut found = Packing::default();
    ctx.for_each(&mut |key, _| {
        if found.len() <= limits::FRAME_BYTES && glob::lists(pattern, key) {
            found.push(key);
        }
    });
    if found.len() > limits::FRAME_BYTES {
        return Err(ReplyError::reply_too_long(false));
    }
    Ok(found.reply())
}

/// PERSIST.
pub fn persist(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    let expires = ctx.expiry(key).flatten().is_some();
    if expires {
        ctx.set_expiry(key, None);
        ctx.note(Class::Generic, "persist", key);
    }
    Ok(Reply::flag(expires))
}

/// PTTL.
pub fn pttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    time_to_live(ctx, args, |ms| ms)
}

/// RANDOMKEY.
pub fn randomkey(ctx: &Whole<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(ctx.sample().map_or(Reply::Nil, Reply::Bulk))
}

/// RENAME.
pub fn rename(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (args.word()?, args.word()?);
    let exists = ctx.kind(from).is_some();
    if !exists || from != to && !rename_to(ctx, from, to) {
        return Err(ReplyError::NoSuchKey);
    }
    Ok(Reply::Ok)
}

/// RENAMENX.
pub fn renamenx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (args.word()?, args.word()?);
    if ctx.kind(from).is_none() {
        return Err(ReplyError::NoSuchKey);
    }
    let is_free = ctx.kind(to).is_none();
    Ok(Reply::flag(is_free && rename_to(ctx, from, to)))
}

fn rename_to(ctx: &mut Write<'_>, from: &[u8], to: &[u8]) -> bool {
    let renamed = ctx.rename(from, to);
    if renamed {
        ctx.note(Class::Generic, "rename_from", from);
        ctx.note(Class::Generic, "rename_to", to);
    }
    renamed
}

/// RESTORE.
pub fn restore(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, ttl, bytes) = (args.word()?, args.word()?, args.word()?);
    let (replace, absolute) = restore_options(args)?;
    if !replace && ctx.kind(key).is_some() {
        return Err(ReplyError::BusyKey);
    }
    let ttl = parse_int(ttl).ok_or(ReplyError::NotInteger)?;
    let ttl = UnixMs::try_from(ttl);
    let ttl = ttl.map_err(|_| ReplyError::err("Invalid TTL value, must be >= 0"))?;
    let base = if absolute { 0 } else { ctx.stamp };
    let expiry = Some(ttl).filter(|ttl| *ttl > 0);
    let expiry = expiry.map(|ttl| base.saturating_add(ttl));
    let restored = ctx.restore(key, bytes, expiry);
    let restored = restored.map_err(|why| match why {
        NoValue::Foreign => ReplyError::err("DUMP payload version or checksum are wrong"),
        NoValue::Malformed => ReplyError::err("Bad data format"),
    })?;
    match restored {
        Restored::Put => ctx.note(Class::Generic, "restore", key),
        Restored::Removed => ctx.note(Class::Generic, "del", key),
        Restored::Nothing => {}
    }
    Ok(Reply::Ok)
}

/// Whether a key is replaced, and whether its expiry is a point in time. What is said of how the
/// key was used is checked and forgotten: nothing is evicted by it.
fn restore_options(args: &mut Args<'_>) -> Result<(bool, bool), ReplyError> {
    let (mut replace, mut absolute) = (false, false);
    let (mut idle, mut often) = (false, false);
    while args.left() > 0 {
        if args.option("REPLACE") {
            replace = true;
        } else if args.option("ABSTTL") {
            absolute = true;
        } else if args.left() > 1 && !often && args.option("IDLETIME") {
            idle = true;
            if args.int()? < 0 {
                return Err(ReplyError::err("Invalid IDLETIME value, must be >= 0"));
            }
        } else if args.left() > 1 && !idle && args.option("FREQ") {
            often = true;
            if !(0..=255).contains(&args.int()?) {
                let why = "Invalid FREQ value, must be >= 0 and <= 255";
                return Err(ReplyError::err(why));
            }
        } else {
            return Err(ReplyError::Syntax);
        }
    }
    Ok((replace, absolute))
}

/// SCAN.
pub fn scan(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = args.cursor()?;
    let options = scan::Options::parse(args, scan::Of::Keys)?;
    let mut found = Vec::new();
    let next = ctx.scan(cursor, options.count, &mut |key, kind| {
        if options.matches(key) && options.has_type(type_name(kind)) {
            found.push(Reply::bulk(key));
        }
    });
    Ok(scan::page(next, found))
}

/// TOUCH. There is nothing to touch: no eviction asks when a key was used last.
pub fn touch(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    exists(ctx, args)
}

/// TTL: the nearest second.
pub fn ttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    time_to_live(ctx, args, |ms| ms.saturating_add(500) / 1000)
}

fn time_to_live(ctx: &Read<'_>, args: &mut Args<'_>, unit: fn(u64) -> u64) -> Outcome {
    expiry(ctx, args, |at| unit(at.saturating_sub(ctx.stamp)))
}

fn expiry(ctx: &Read<'_>, args: &mut Args<'_>, show: impl Fn(UnixMs) -> u64) -> Outcome {
    Ok(Reply::Int(match ctx.expiry(args.word()?) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(show(at)).unwrap_or(i64::MAX),
    }))
}

/// TYPE.
pub fn type_of(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let name = ctx.kind(args.word()?).map_or("none", type_name);
    Ok(Reply::Status(Cow::Borrowed(name)))
}

const fn type_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::String => "string",
        ValueKind::Hash => "hash",
    }
}

/// UNLINK. DEL frees huge values in slices as well.
pub fn unlink(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    del(ctx, args)
}
