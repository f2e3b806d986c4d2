//! OBJECT and MEMORY: what is known of how a value is kept.

use dht_proto::{Reply, ReplyError};

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Read;

/// OBJECT ENCODING.
pub fn encoding(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::bulk_or_nil(ctx.encoding(args.word()?)))
}

/// OBJECT FREQ.
pub fn freq(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    of_value(ctx, args, || {
        Err(ReplyError::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ))
    })
}

/// OBJECT IDLETIME: 0, since nobody keeps account of when a key was used.
pub fn idletime(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    of_value(ctx, args, || Ok(Reply::Int(0)))
}

/// OBJECT REFCOUNT: no two keys share a value.
pub fn refcount(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    of_value(ctx, args, || Ok(Reply::Int(1)))
}

/// Nil for a key that does not exist.
fn of_value(ctx: &Read<'_>, args: &mut Args<'_>, answer: impl FnOnce() -> Outcome) -> Outcome {
    if ctx.kind(args.word()?).is_some() {
        answer()
    } else {
        Ok(Reply::Nil)
    }
}

/// MEMORY USAGE. All of a value is counted, however few samples are asked for.
pub fn memory_usage(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    while args.left() > 0 {
        if args.left() < 2 || !args.option("SAMPLES") {
            return Err(ReplyError::Syntax);
        }
        // It has to be a number, and makes no difference.
        usize::try_from(args.int()?).map_err(|_| ReplyError::Syntax)?;
    }
    Ok(ctx.usage(key).map_or(Reply::Nil, Reply::count))
}
