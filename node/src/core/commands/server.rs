//! Commands about the node and the whole keyspace.

use std::sync::atomic::Ordering::Relaxed;

use dht_proto::spec::{self, CommandId};
use dht_proto::{Reply, ReplyError};

use super::describe::{self, Command};
use super::docs::docs;
use super::{config, info};
use crate::core::args::{Args, parse_int};
use crate::core::client::{Order, Replies};
use crate::core::execute::Outcome;
use crate::core::glob;
use crate::core::keyspace::Whole;
use crate::core::local::Local;

/// The Redis whose clients can expect to be at home here: they turn features on by it.
pub const REDIS_VERSION: &str = "7.4.0";

/// COMMAND.
pub fn command(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Array(
        Command::all().iter().map(Command::info).collect(),
    ))
}

/// COMMAND COUNT.
pub fn command_count(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::count(Command::all().len()))
}

/// COMMAND DOCS.
pub fn command_docs(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let commands = match args.rest() {
        [] => Command::all(),
        names => names
            .iter()
            .filter_map(|name| Command::named(name))
            .collect(),
    };
    let entry = |command: &Command| (Reply::bulk(command.full_name()), docs(command));
    Ok(Reply::Map(commands.iter().map(entry).collect()))
}

/// COMMAND GETKEYS.
pub fn command_getkeys(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let keys = keys_of(args.rest())?.1;
    Ok(Reply::Array(keys.into_iter().map(Reply::bulk).collect()))
}

/// COMMAND GETKEYSANDFLAGS.
pub fn command_getkeysandflags(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let words = args.rest();
    let (id, keys) = keys_of(words)?;
    // Behind the key and the value.
    let options = words.get(id.schema().min..).unwrap_or_default();
    let entry = |(at, key): (usize, &[u8])| {
        Reply::Array(vec![Reply::bulk(key), describe::key_flags(id, at, options)])
    };
    Ok(Reply::Array(
        keys.into_iter().enumerate().map(entry).collect(),
    ))
}

/// The command that a request names, and its keys.
fn keys_of<'a>(words: &'a [&'a [u8]]) -> Result<(CommandId, Vec<&'a [u8]>), ReplyError> {
    let id = spec::look_up(words).map_err(|_| ReplyError::err("Invalid command specified"))?;
    let keys = id
        .schema()
        .keys
        .ok_or_else(|| ReplyError::err("The command has no key arguments"))?;
    // As in Redis the least number alone counts here, also where keys and values come in pairs.
    let given = i64::try_from(words.len()).unwrap_or(i64::MAX);
    let arity = id.schema().arity();
    if given < arity.abs() || (0..given).contains(&arity) {
        let text = "Invalid number of arguments specified for command";
        return Err(ReplyError::err(text));
    }
    Ok((id, keys.positions(words).map(|at| words[at]).collect()))
}

/// COMMAND INFO.
pub fn command_info(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let info = |name: &&[u8]| Command::named(name).map_or(Reply::Nil, |command| command.info());
    Ok(Reply::Array(match args.rest() {
        [] => Command::all().iter().map(Command::info).collect(),
        names => names.iter().map(info).collect(),
    }))
}

/// COMMAND LIST.
pub fn command_list(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let filter = if args.left() > 0 {
        Filter::parse(args)?
    } else {
        Filter::None
    };
    let commands = Command::all();
    let names = commands.iter().flat_map(Command::names);
    let kept = names.filter(|(name, id)| filter.keeps(name, *id));
    Ok(Reply::Array(
        kept.map(|(name, _)| Reply::bulk(name)).collect(),
    ))
}

/// What `COMMAND LIST` shows.
enum Filter<'a> {
    None,
    /// There are no modules.
    Module,
    Category(&'a [u8]),
    Pattern(Vec<u8>),
}

impl<'a> Filter<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, ReplyError> {
        if !args.option("FILTERBY") {
            return Err(ReplyError::Syntax);
        }
        let filter = if args.option("MODULE") {
            args.word().map(|_| Self::Module)
        } else if args.option("ACLCAT") {
            args.word().map(Self::Category)
        } else if args.option("PATTERN") {
            args.word()
                .map(|pattern| Self::Pattern(pattern.to_ascii_lowercase()))
        } else {
            Err(ReplyError::Syntax)
        };
        args.finish()?;
        filter
    }

    fn keeps(&self, name: &str, id: Option<CommandId>) -> bool {
        match self {
            Self::None => true,
            Self::Module => false,
            Self::Category(category) => id.is_some_and(|id| describe::in_category(id, category)),
            Self::Pattern(pattern) => glob::matches(pattern, name.as_bytes()),
        }
    }
}

/// CONFIG GET.
pub fn config_get(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let settings = config::matching(ctx.node, args.rest());
    let entry = |(name, value): (String, String)| (Reply::bulk(name), Reply::bulk(value));
    Ok(Reply::Map(settings.into_iter().map(entry).collect()))
}

/// CONFIG RESETSTAT.
pub fn config_resetstat(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.node.stats.reset();
    ctx.node.measures.reset();
    ctx.node.store.lookups.reset();
    ctx.node.store.events.reset_expired();
    Ok(Reply::Ok)
}

/// CONFIG REWRITE.
pub fn config_rewrite(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Err(ReplyError::err(if ctx.node.settings.has_file {
        "Rewriting config file: not supported: a node changes no file of settings"
    } else {
        "The server is running without a config file"
    }))
}

/// CONFIG SET.
pub fn config_set(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let news = config::set(ctx.node, ctx.now.unix_ms(), args.rest())?;
    ctx.client.news.extend(news);
    Ok(Reply::Ok)
}

/// DBSIZE.
pub fn dbsize(ctx: &Whole<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::count(ctx.len()))
}

/// FLUSHALL.
pub fn flushall(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    // Keys are gone at once and memory is freed later, whichever is asked for.
    if !args.option("ASYNC") {
        args.option("SYNC");
    }
    args.finish()?;
    ctx.clear();
    Ok(Reply::Ok)
}

/// FLUSHDB: there is one database.
pub fn flushdb(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    flushall(ctx, args)
}

/// HELP of a command that has subcommands.
pub fn help(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let name = String::from_utf8_lossy(args.name()).to_ascii_uppercase();
    let title = format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let mut lines = vec![title];
    for id in CommandId::all() {
        let spec = id.spec();
        if let Some((first, sub)) = spec.name.split_once(' ')
            && first == name
        {
            lines.push(format!("{sub} {}", spec.syntax).trim_end().to_owned());
            lines.push(format!("    {}", spec.summary));
        }
    }
    let status = |line: String| Reply::Status(line.into());
    Ok(Reply::Array(lines.into_iter().map(status).collect()))
}

/// INFO.
pub fn info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::Text(info::text(ctx, args.rest()).into()))
}

/// BGSAVE.
pub fn bgsave(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    if !args
        .rest()
        .iter()
        .all(|word| word.eq_ignore_ascii_case(b"SCHEDULE"))
    {
        return Err(ReplyError::Syntax);
    }
    durable(ctx)?;
    let saves = &ctx.node.saves;
    if saves.is_under_way.load(Relaxed) {
        return Err(ReplyError::err("Background save already in progress"));
    }
    // In this order: what is under way and not wanted is taken for done.
    saves.is_wanted.store(true, Relaxed);
    saves.is_under_way.store(true, Relaxed);
    Ok(Reply::Status("Background saving started".into()))
}

/// ROLE: nobody copies a node as a whole, so there is no offset and no replica to show.
pub fn role(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Array(vec![
        Reply::bulk("master"),
        Reply::Int(0),
        Reply::Array(Vec::new()),
    ]))
}

/// SAVE: an acknowledged write is on the disk already.
pub fn save(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    durable(ctx).map(|()| Reply::Ok)
}

fn durable(ctx: &Local<'_>) -> Result<(), ReplyError> {
    let why = "this node keeps nothing on a disk: it was started without --data-dir";
    let is_durable = ctx.node.settings.is_durable;
    is_durable.then_some(()).ok_or(ReplyError::err(why))
}

/// LASTSAVE.
pub fn lastsave(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let last_s = ctx.node.saves.last_s.load(Relaxed);
    Ok(Reply::Int(i64::try_from(last_s).unwrap_or(i64::MAX)))
}

/// SHUTDOWN.
pub fn shutdown(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let (mut save, mut nosave, mut now, mut force, mut abort) = Default::default();
    while args.left() > 0 {
        let flag = [
            ("SAVE", &mut save),
            ("NOSAVE", &mut nosave),
            ("NOW", &mut now),
            // Nothing stands in the way of a shutdown that could be overcome.
            ("FORCE", &mut force),
            ("ABORT", &mut abort),
        ]
        .into_iter()
        .find(|(name, _)| args.option(name));
        *flag.ok_or(ReplyError::Syntax)?.1 = true;
    }
    if save && nosave || abort && (save || nosave || now || force) {
        return Err(ReplyError::Syntax);
    }
    if abort {
        // One that has begun goes on to its end, within moments.
        return Err(ReplyError::err("No shutdown in progress."));
    }
    if save {
        durable(ctx)?;
    }
    if !ctx.node.may_be_shut_down.load(Relaxed) {
        let why = "the program that this node is a part of does not end it for clients";
        return Err(ReplyError::err(why));
    }
    ctx.client.orders.push(Order::ShutDown { at_once: now });
    // As in Redis, the end of the connection is the answer.
    ctx.client.replies = Replies::Off;
    ctx.client.closing = true;
    Ok(Reply::Ok)
}

/// TIME.
pub fn time(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let (seconds, micros) = (ctx.now.unix_us / 1_000_000, ctx.now.unix_us % 1_000_000);
    Ok(Reply::Array(
        [seconds, micros]
            .map(|n| Reply::bulk(n.to_string()))
            .to_vec(),
    ))
}

/// WAIT: the answers of earlier writes, which stand before this one, have said already that a
/// majority of the copies has them.
pub fn wait(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    args.int()?;
    check_timeout(args)?;
    Ok(Reply::count(copies_elsewhere(ctx)))
}

/// WAITAOF: what was acknowledged is on the disks of a majority, where there are disks.
pub fn waitaof(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let local = args.int()?;
    if !(0..=1).contains(&local) {
        let text = "value is out of range, must be between 0 and 1";
        return Err(ReplyError::err(text));
    }
    if args.int()? < 0 {
        return Err(ReplyError::err("value is out of range, must be positive"));
    }
    check_timeout(args)?;
    let is_durable = ctx.node.settings.is_durable;
    if local > 0 && !is_durable {
        return Err(ReplyError::err(
            "WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let elsewhere = if is_durable { copies_elsewhere(ctx) } else { 0 };
    let disks = [usize::from(is_durable), elsewhere];
    Ok(Reply::Array(disks.map(Reply::count).to_vec()))
}

fn check_timeout(args: &mut Args<'_>) -> Result<(), ReplyError> {
    let timeout = parse_int(args.word()?);
    let timeout = timeout.ok_or(ReplyError::err("timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(ReplyError::err("timeout is negative"));
    }
    Ok(())
}

/// Of a majority of the copies, those that are not the leader's.
fn copies_elsewhere(ctx: &Local<'_>) -> usize {
    let view = ctx.view();
    let topology = ctx.topology(&view);
    let copies = topology.shards.iter().map(|shard| shard.replicas.len());
    copies.min().unwrap_or(1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::{Desk, check};

    #[test]
    fn time_is_the_moment_of_arrival() {
        check(&[("TIME", "[\"1700000003\", \"250\"]")]);
    }

    #[test]
    fn config_get_takes_patterns() {
        check(&[
            ("CONFIG GET maxmemory", "{\"maxmemory\": \"0\"}"),
            (
                "CONFIG GET MAXMEM* save maxmemory",
                "{\"maxmemory\": \"0\", \"maxmemory-policy\": \"noeviction\", \"save\": \"\"}",
            ),
            (
                "CONFIG GET port bind",
                "{\"bind\": \"127.0.0.1\", \"port\": \"7401\"}",
            ),
            ("CONFIG GET PORT", "{\"PORT\": \"7401\"}"),
            ("CONFIG GET requirepass", "{\"requirepass\": \"\"}"),
        ]);
    }

    #[test]
    fn commands_are_listed_by_filters() {
        check(&[
            ("COMMAND LIST FILTERBY PATTERN H*SETN*", "[\"hsetnx\"]"),
            (
                "COMMAND LIST FILTERBY PATTERN memory*",
                "[\"memory\", \"memory|help\", \"memory|usage\"]",
            ),
            ("COMMAND LIST FILTERBY MODULE x", "[]"),
            (
                "COMMAND LIST FILTERBY ACLCAT admin",
                "[\"client|kill\", \"client|list\", \"client|no-evict\", \"client|pause\", \
                 \"client|unblock\", \"client|unpause\", \"bgsave\", \"config|get\", \
                 \"config|resetstat\", \
                 \"config|rewrite\", \"config|set\", \"debug\", \"lastsave\", \
                 \"latency|doctor\", \"latency|histogram\", \"latency|history\", \
                 \"latency|latest\", \"latency|reset\", \"role\", \"save\", \"shutdown\", \
                 \"slowlog|get\", \"slowlog|len\", \"slowlog|reset\", \"cluster|empty\", \
                 \"cluster|snapshot\"]",
            ),
            ("COMMAND LIST FILTERBY ACLCAT nothing", "[]"),
            ("COMMAND LIST FILTERBY ACLCAT", "-ERR syntax error"),
            ("COMMAND LIST FILTERBY other x", "-ERR syntax error"),
            ("COMMAND LIST FILTERBY MODULE x y", "-ERR syntax error"),
            ("COMMAND LIST other", "-ERR syntax error"),
        ]);
        let mut desk = Desk::standalone();
        let rows = CommandId::all().count();
        let containers = 9;
        let listed = desk.run("COMMAND LIST").matches(", ").count() + 1;
        assert_eq!(listed, rows + containers);
        let subcommands = CommandId::all()
            .filter(|id| id.spec().name.contains(' '))
            .count();
        assert_eq!(
            desk.run("COMMAND COUNT"),
            (rows + containers - subcommands).to_string()
        );
    }

    #[test]
    fn commands_are_described() {
        check(&[
            ("COMMAND INFO nothing client|nothing", "[nil, nil]"),
            (
                "COMMAND GETKEYS GET a b",
                "-ERR Invalid number of arguments specified for command",
            ),
            (
                "COMMAND GETKEYS PING a b",
                "-ERR The command has no key arguments",
            ),
            ("COMMAND GETKEYS mset a b c d", "[\"a\", \"c\"]"),
            ("COMMAND GETKEYS hset a b c", "[\"a\"]"),
            (
                "COMMAND INFO mset",
                "[[\"mset\", -3, ~[write, denyoom], 1, -1, 2, ~[@write, @string, @slow], \
                 ~[\"request_policy:multi_shard\", \"response_policy:all_succeeded\"], \
                 ~[{\"flags\": ~[OW, update], \
                 \"begin_search\": {\"type\": \"index\", \"spec\": {\"index\": 1}}, \
                 \"find_keys\": {\"type\": \"range\", \"spec\": {\"lastkey\": -1, \
                 \"keystep\": 2, \"limit\": 0}}}], []]]",
            ),
            (
                "COMMAND INFO config|get",
                "[[\"config|get\", -3, ~[admin, loading, noscript, stale], 0, 0, 0, \
                 ~[@slow, @admin, @dangerous], ~[], ~[], []]]",
            ),
            (
                "COMMAND INFO memory|help",
                "[[\"memory|help\", 2, ~[loading, stale], 0, 0, 0, ~[@slow], ~[], ~[], []]]",
            ),
            (
                "COMMAND GETKEYS nothing x",
                "-ERR Invalid command specified",
            ),
        ]);
        let mut desk = Desk::standalone();
        assert_eq!(desk.run("COMMAND"), desk.run("COMMAND INFO"));
        assert_eq!(
            desk.run("COMMAND INFO client|ID")
                .matches("client|id")
                .count(),
            1
        );
        assert!(
            desk.run("COMMAND INFO client")
                .contains("[\"client|setname\", ")
        );
    }
}
