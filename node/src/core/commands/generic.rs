//! Commands of family generic.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Read;
use crate::core::keyspace::Whole;
use crate::core::keyspace::Write;

/// DEL.
pub fn del(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// EXISTS.
pub fn exists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// EXPIRE.
pub fn expire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// KEYS.
pub fn keys(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// PERSIST.
pub fn persist(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// PEXPIRE.
pub fn pexpire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// PTTL.
pub fn pttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// SCAN.
pub fn scan(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// TOUCH.
pub fn touch(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// TTL.
pub fn ttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// TYPE.
pub fn type_of(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// UNLINK.
pub fn unlink(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
