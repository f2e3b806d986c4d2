//! Commands about messages between clients.

use bytes::Bytes;
use dht_proto::{Reply, ReplyError};

use super::wrong_subcommand;
use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::local::Local;
use crate::core::pubsub::{News, Said, Way};
use crate::core::router::{Keys, Router};
use crate::core::store::Key;

/// PSUBSCRIBE.
pub fn psubscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    listen(ctx, args, Way::Pattern)
}

/// PUBLISH.
pub fn publish(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    say(ctx, args, false)
}

/// PUBSUB CHANNELS.
pub fn channels(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    matching(ctx, args, Way::Channel)
}

/// PUBSUB NUMPAT.
pub fn numpat(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::count(ctx.node.hub.names(Way::Pattern)))
}

/// PUBSUB NUMSUB.
pub fn numsub(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(count(ctx, args, Way::Channel))
}

/// PUBSUB SHARDCHANNELS.
pub fn shardchannels(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    matching(ctx, args, Way::Shard)
}

/// PUBSUB SHARDNUMSUB.
pub fn shardnumsub(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(count(ctx, args, Way::Shard))
}

/// PUNSUBSCRIBE.
pub fn punsubscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(ignore(ctx, args, Way::Pattern))
}

/// SPUBLISH.
pub fn spublish(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    say(ctx, args, true)
}

/// SSUBSCRIBE.
pub fn ssubscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    listen(ctx, args, Way::Shard)
}

/// SUBSCRIBE.
pub fn subscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    listen(ctx, args, Way::Channel)
}

/// SUNSUBSCRIBE.
pub fn sunsubscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(ignore(ctx, args, Way::Shard))
}

/// UNSUBSCRIBE.
pub fn unsubscribe(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(ignore(ctx, args, Way::Channel))
}

/// Tells a channel something; says how many messages that makes at this node.
fn say(ctx: &mut Local<'_>, args: &mut Args<'_>, sharded: bool) -> Outcome {
    let (channel, text) = (args.word()?, args.word()?);
    if sharded {
        check_slot(ctx, &[channel])?;
    }
    let hearers = ctx.node.hub.hearers(sharded, channel);
    ctx.client.news.push(News::Said(Said {
        sharded,
        channel: Bytes::copy_from_slice(channel),
        text: Bytes::copy_from_slice(text),
    }));
    Ok(Reply::count(hearers))
}

fn listen(ctx: &mut Local<'_>, args: &mut Args<'_>, way: Way) -> Outcome {
    let names = args.rest();
    if way == Way::Shard {
        check_slot(ctx, names)?;
    }
    ctx.client.subscriptions.check(way, names)?;
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let subscriptions = &mut ctx.client.subscriptions;
        let id = ctx.client.facts.id;
        ctx.node.hub.join(id, subscriptions, way, name);
        answers.push(answer(
            way.begun(),
            Reply::bulk(name),
            subscriptions.told(way),
        ));
    }
    ctx.client.show_subscriptions();
    Ok(Reply::Pushes(answers))
}

/// Ends to listen to the names that are given, or to all.
fn ignore(ctx: &mut Local<'_>, args: &mut Args<'_>, way: Way) -> Reply {
    let given = args.rest().iter().map(|name| Bytes::copy_from_slice(name));
    let mut names: Vec<Bytes> = given.collect();
    if names.is_empty() {
        names = ctx.client.subscriptions.names(way);
    }
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let subscriptions = &mut ctx.client.subscriptions;
        let id = ctx.client.facts.id;
        ctx.node.hub.leave(id, subscriptions, way, &name);
        answers.push(answer(
            way.ended(),
            Reply::Bulk(name),
            subscriptions.told(way),
        ));
    }
    if answers.is_empty() {
        let told = ctx.client.subscriptions.told(way);
        answers.push(answer(way.ended(), Reply::Nil, told));
    }
    ctx.client.show_subscriptions();
    Reply::Pushes(answers)
}

fn answer(kind: &str, name: Reply, told: i64) -> Vec<Reply> {
    vec![Reply::bulk(kind), name, Reply::Int(told)]
}

fn matching(ctx: &Local<'_>, args: &mut Args<'_>, way: Way) -> Outcome {
    let pattern = args.word().ok();
    if args.left() > 0 {
        return Err(wrong_subcommand(args));
    }
    Ok(Reply::Array(ctx.node.hub.matching(way, pattern)))
}

fn count(ctx: &Local<'_>, args: &mut Args<'_>, way: Way) -> Reply {
    let hub = &ctx.node.hub;
    let pair = |name: &&[u8]| [Reply::bulk(name), Reply::count(hub.listeners(way, name))];
    Reply::Array(args.rest().iter().flat_map(pair).collect())
}

/// Channels of SPUBLISH have slots, as keys have; those of one command have one, and the
/// redirecting port knows those of its node only.
fn check_slot(ctx: &Local<'_>, channels: &[&[u8]]) -> Result<(), ReplyError> {
    let view = ctx.view();
    let router = Router::new(&view, ctx.client.door, ctx.node.settings.standalone)?;
    if router.standalone {
        return Ok(());
    }
    let keys: Keys<'_> = channels.iter().map(|channel| Key::new(channel)).collect();
    router.one_slot(&keys).map(drop)
}

#[cfg(test)]
mod tests {
    use crate::core::client::Door;
    use crate::core::commands::testing::{Desk, check, cluster};
    use crate::core::pubsub::News;

    #[test]
    fn names_are_counted() {
        check(&[
            (
                "SUBSCRIBE a b a",
                "[subscribe a 1] [subscribe b 2] [subscribe a 2]",
            ),
            ("PSUBSCRIBE a*", "[psubscribe a* 3]"),
            ("SSUBSCRIBE a", "[ssubscribe a 1]"),
            ("PUBSUB CHANNELS", "[\"a\", \"b\"]"),
            ("PUBSUB CHANNELS [b-z]", "[\"b\"]"),
            ("PUBSUB NUMSUB a c", "[\"a\", 1, \"c\", 0]"),
            ("PUBSUB NUMPAT", "1"),
            ("PUBSUB SHARDCHANNELS b", "[]"),
            ("PUBSUB SHARDNUMSUB a", "[\"a\", 1]"),
            ("PUBLISH a hi", "2"),
            ("SPUBLISH a hi", "1"),
            ("PUBLISH c hi", "0"),
            ("UNSUBSCRIBE c a", "[unsubscribe c 3] [unsubscribe a 2]"),
            ("UNSUBSCRIBE", "[unsubscribe b 1]"),
            ("UNSUBSCRIBE", "[unsubscribe nil 1]"),
            ("PUNSUBSCRIBE", "[punsubscribe a* 0]"),
            ("PING x", "[\"pong\", \"x\"]"),
            ("SUNSUBSCRIBE", "[sunsubscribe a 0]"),
            ("PING", "PONG"),
            ("PUBSUB CHANNELS", "[]"),
        ]);
    }

    #[test]
    fn what_is_said_is_left_for_the_shell() {
        let mut desk = Desk::standalone();
        desk.run("PUBLISH a hi");
        desk.run("SPUBLISH b ho");
        let said = desk.client.news.iter().map(|news| match news {
            News::Said(said) => said,
            other => panic!("{other:?}"),
        });
        let said = said.map(|said| (said.sharded, &said.channel[..], &said.text[..]));
        let expect = [(false, &b"a"[..], &b"hi"[..]), (true, b"b", b"ho")];
        assert_eq!(said.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn channels_of_shards_have_slots_in_a_cluster() {
        let mut desk = Desk::at(cluster());
        let crossed = "-CROSSSLOT Keys in request don't hash to the same slot";
        assert!(desk.run("SSUBSCRIBE b foo").starts_with(crossed));
        assert_eq!(
            desk.run("SSUBSCRIBE foo {foo}"),
            "[ssubscribe foo 1] [ssubscribe {foo} 2]"
        );
        assert_eq!(
            desk.run("SUBSCRIBE b foo"),
            "[subscribe b 1] [subscribe foo 2]"
        );
        desk.client.door = Door::Redirect;
        assert_eq!(desk.run("SPUBLISH foo x"), "-MOVED 12182 [::1]:8403");
        assert_eq!(desk.run("SSUBSCRIBE foo"), "-MOVED 12182 [::1]:8403");
        assert_eq!(desk.run("SPUBLISH b x"), "0");
        assert_eq!(desk.run("SUNSUBSCRIBE foo"), "[sunsubscribe foo 1]");
    }
}
