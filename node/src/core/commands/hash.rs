//! Commands of family hash.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Read;
use crate::core::keyspace::Write;

/// HDEL.
pub fn hdel(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HEXISTS.
pub fn hexists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HGET.
pub fn hget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HGETALL.
pub fn hgetall(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HINCRBY.
pub fn hincrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HINCRBYFLOAT.
pub fn hincrbyfloat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HKEYS.
pub fn hkeys(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HLEN.
pub fn hlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HMGET.
pub fn hmget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HMSET.
pub fn hmset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HSCAN.
pub fn hscan(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HSET.
pub fn hset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HSETNX.
pub fn hsetnx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HSTRLEN.
pub fn hstrlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HVALS.
pub fn hvals(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
