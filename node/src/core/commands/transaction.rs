//! Commands about the transaction of a connection: what they change in it, and what comes next.

use dht_proto::{Reply, ReplyError};

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::local::Local;
use crate::core::transaction::{Next, Transaction};

/// DISCARD.
pub fn discard(ctx: &mut Transaction) -> Result<Next, ReplyError> {
    if !ctx.is_open() {
        return Err(ReplyError::err("DISCARD without MULTI"));
    }
    ctx.end();
    Ok(Next::Answer(Reply::Ok))
}

/// EXEC.
pub fn exec(ctx: &mut Transaction) -> Result<Next, ReplyError> {
    ctx.take().map(Next::Execute)
}

/// MULTI.
pub fn multi(ctx: &mut Transaction) -> Result<Next, ReplyError> {
    if ctx.is_open() {
        return Err(ReplyError::err("MULTI calls can not be nested"));
    }
    ctx.begin();
    Ok(Next::Answer(Reply::Ok))
}

/// UNWATCH. Between MULTI and EXEC it has no effect, since EXEC ends the watch anyway.
pub fn unwatch(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.client.transaction.unwatch();
    Ok(Reply::Ok)
}

/// WATCH.
pub fn watch(ctx: &mut Transaction) -> Result<Next, ReplyError> {
    if ctx.is_open() {
        return Err(ReplyError::err("WATCH inside MULTI is not allowed"));
    }
    Ok(Next::Watch)
}
