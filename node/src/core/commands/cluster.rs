//! Commands of family cluster.

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::local::Local;

/// ASKING.
pub fn asking(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER COUNTKEYSINSLOT.
pub fn countkeysinslot(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER GETKEYSINSLOT.
pub fn getkeysinslot(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER INFO.
pub fn info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER KEYSLOT.
pub fn keyslot(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER MYID.
pub fn myid(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER NODES.
pub fn nodes(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER SHARDS.
pub fn shards(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// CLUSTER SLOTS.
pub fn slots(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// READONLY.
pub fn readonly(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}

/// READWRITE.
pub fn readwrite(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let _ = (ctx, args);
    unreachable!("skeleton")
}
