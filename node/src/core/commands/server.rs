//! Commands about the node and the whole keyspace.

use dht_proto::spec::{self, CommandId};
use dht_proto::{Reply, ReplyError};

use super::describe::{self, Command};
use super::docs::docs;
use super::{config, info};
use crate::core::args::Args;
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
    let words = args.rest();
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
    let positions = keys.positions(words.len());
    Ok(Reply::Array(
        positions.map(|at| Reply::bulk(words[at])).collect(),
    ))
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
    let settings = config::matching(&ctx.node.settings, args.rest());
    let entry = |(name, value): (String, String)| (Reply::bulk(name), Reply::bulk(value));
    Ok(Reply::Map(settings.into_iter().map(entry).collect()))
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

/// INFO.
pub fn info(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::Text(info::text(ctx, args.rest()).into()))
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
            ("CONFIG GET requirepass", "{}"),
        ]);
    }

    #[test]
    fn commands_are_listed_by_filters() {
        check(&[
            ("COMMAND LIST FILTERBY PATTERN H*SETN*", "[\"hsetnx\"]"),
            (
                "COMMAND LIST FILTERBY PATTERN config*",
                "[\"config\", \"config|get\"]",
            ),
            ("COMMAND LIST FILTERBY MODULE x", "[]"),
            (
                "COMMAND LIST FILTERBY ACLCAT admin",
                "[\"client|list\", \"config|get\", \"cluster|empty\"]",
            ),
            ("COMMAND LIST FILTERBY ACLCAT nothing", "[]"),
            ("COMMAND LIST FILTERBY ACLCAT", "-ERR syntax error"),
            ("COMMAND LIST FILTERBY other x", "-ERR syntax error"),
            ("COMMAND LIST FILTERBY MODULE x y", "-ERR syntax error"),
            ("COMMAND LIST other", "-ERR syntax error"),
        ]);
        let mut desk = Desk::standalone();
        let rows = CommandId::all().count();
        let containers = 3;
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
                "COMMAND INFO config",
                "[[\"config\", -2, ~[], 0, 0, 0, ~[@slow], ~[], ~[], [[\"config|get\", -3, \
                 ~[admin, loading, noscript, stale], 0, 0, 0, ~[@slow, @admin, @dangerous], \
                 ~[], ~[], []]]]]",
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
