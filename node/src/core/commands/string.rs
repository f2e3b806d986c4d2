//! Commands of family string.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Read;
use crate::core::keyspace::Write;

/// APPEND.
pub fn append(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// DECR.
pub fn decr(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// DECRBY.
pub fn decrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// GET.
pub fn get(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// INCR.
pub fn incr(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// INCRBY.
pub fn incrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// MGET.
pub fn mget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// MSET.
pub fn mset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// SET.
pub fn set(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// STRLEN.
pub fn strlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
