//! Commands about services: names under which connections answer the calls of others.

use bytes::Bytes;
use dht_proto::{Reply, ReplyError};

use crate::core::args::Args;
use crate::core::client::Protocol;
use crate::core::execute::Outcome;
use crate::core::local::Local;
use crate::core::services::Call;

/// SERVICE CALL: leaves the call for the session, which has it answered.
pub fn call(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let name = Bytes::copy_from_slice(args.word()?);
    let words = args.rest().iter().map(|word| Bytes::copy_from_slice(word));
    let call = Call {
        name,
        words: words.collect(),
    };
    call.check()?;
    ctx.client.call = Some(call);
    Ok(Reply::Nil)
}

/// SERVICE LIST.
pub fn list(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let services = ctx.node.services.list().into_iter();
    let pairs = services.map(|(name, count)| (Reply::Bulk(name), Reply::count(count)));
    Ok(Reply::Map(pairs.collect()))
}

/// SERVICE REGISTER.
pub fn register(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    if ctx.client.protocol != Protocol::Native {
        let why = "who offers a service has to speak native frames: see docs/services.md";
        return Err(ReplyError::Other(why.into()));
    }
    let id = ctx.client.facts.id;
    ctx.node.services.register(id, args.word()?)?;
    ctx.client.provides = true;
    ctx.client.has_offered = true;
    Ok(Reply::Ok)
}

/// SERVICE UNREGISTER.
pub fn unregister(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let id = ctx.client.facts.id;
    let was = ctx.node.services.unregister(id, args.word()?);
    ctx.client.has_offered |= was;
    Ok(Reply::Int(was.into()))
}
