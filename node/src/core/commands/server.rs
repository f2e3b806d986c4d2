//! Commands of family server.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Whole;
use crate::core::local::Local;

/// COMMAND.
pub fn command(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// COMMAND COUNT.
pub fn command_count(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// COMMAND DOCS.
pub fn command_docs(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// COMMAND GETKEYS.
pub fn command_getkeys(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// COMMAND INFO.
pub fn command_info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// COMMAND LIST.
pub fn command_list(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CONFIG GET.
pub fn config_get(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// DBSIZE.
pub fn dbsize(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// FLUSHALL.
pub fn flushall(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// FLUSHDB.
pub fn flushdb(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// INFO.
pub fn info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// TIME.
pub fn time(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
