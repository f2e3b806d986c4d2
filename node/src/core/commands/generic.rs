//! Commands of family generic.

use std::borrow::Cow;

use dht_proto::{Reply, ReplyError};
use smallvec::SmallVec;

use super::expiry::{Unit, point};
use super::scan;
use crate::core::args::{Args, parse_int};
use crate::core::execute::Outcome;
use crate::core::glob;
use crate::core::keyspace::{Read, ValueKind, Whole, Write};
use crate::core::time::UnixMs;

/// DEL.
pub fn del(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let removed = args.rest().iter().filter(|key| ctx.remove(key)).count();
    Ok(Reply::count(removed))
}

/// EXISTS.
pub fn exists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let there = |key: &&&[u8]| ctx.kind(key).is_some();
    Ok(Reply::count(args.rest().iter().filter(there).count()))
}

/// EXPIRE.
pub fn expire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire_in(ctx, args, Unit::Seconds, "expire")
}

/// PEXPIRE.
pub fn pexpire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire_in(ctx, args, Unit::Milliseconds, "pexpire")
}

fn expire_in(
    ctx: &mut Write<'_>,
    args: &mut Args<'_>,
    unit: Unit,
    command: &'static str,
) -> Outcome {
    let (key, amount) = (args.word()?, args.word()?);
    let tests = expiry_tests(args)?;
    let amount = parse_int(amount).ok_or(ReplyError::NotInteger)?;
    let at = point(amount, unit, ctx.stamp).ok_or(ReplyError::InvalidExpire(command))?;
    let Some(present) = ctx.expiry(key) else {
        return Ok(Reply::flag(false));
    };
    if !tests.iter().all(|test| test.passes(present, at)) {
        return Ok(Reply::flag(false));
    }
    match UnixMs::try_from(at) {
        Ok(at) if at > ctx.stamp => ctx.set_expiry(key, Some(at)),
        _ => ctx.remove(key),
    };
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
    let shown = String::from_utf8_lossy(&option[..option.len().min(128)]);
    ReplyError::Other(format!("Unsupported option {shown}").into())
}

/// KEYS.
pub fn keys(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let pattern = args.word()?;
    let mut found = Vec::new();
    ctx.for_each(&mut |key, _| {
        if glob::matches(pattern, key) {
            found.push(Reply::bulk(key));
        }
    });
    Ok(Reply::Array(found))
}

/// PERSIST.
pub fn persist(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    let expires = ctx.expiry(key).flatten().is_some();
    Ok(Reply::flag(expires && ctx.set_expiry(key, None)))
}

/// PTTL.
pub fn pttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    time_to_live(ctx, args, |ms| ms)
}

/// SCAN.
pub fn scan(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = args.cursor()?;
    let options = scan::Options::parse(args, true)?;
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
    Ok(Reply::Int(match ctx.expiry(args.word()?) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(unit(at.saturating_sub(ctx.stamp))).unwrap_or(i64::MAX),
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
