//! Commands of family connection.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::local::Local;

/// AUTH.
pub fn auth(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT GETNAME.
pub fn client_getname(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT ID.
pub fn client_id(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT INFO.
pub fn client_info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT LIST.
pub fn client_list(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT SETINFO.
pub fn client_setinfo(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLIENT SETNAME.
pub fn client_setname(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// ECHO.
pub fn echo(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// HELLO.
pub fn hello(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// PING.
pub fn ping(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// QUIT.
pub fn quit(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// RESET.
pub fn reset(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// SELECT.
pub fn select(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
