//! The command table as `COMMAND DOCS` shows it: what a row says of itself, and its syntax line
//! as a tree of arguments.

use dht_proto::Reply;
use dht_proto::spec::{CommandId, Family};
use dht_proto::syntax::{Argument, Shape};

use super::describe::Command;

/// What is known of a command.
pub fn docs(command: &Command) -> Reply {
    let mut docs = match command.row {
        Some(id) => row_docs(id),
        None => container_docs(&command.subcommands),
    };
    if !command.subcommands.is_empty() {
        let subcommand = |id: &CommandId| {
            let command = Command::from(*id);
            (Reply::bulk(command.full_name()), self::docs(&command))
        };
        let subcommands = command.subcommands.iter().map(subcommand).collect();
        docs.push(entry("subcommands", Reply::Map(subcommands)));
    }
    Reply::Map(docs)
}

fn row_docs(id: CommandId) -> Vec<(Reply, Reply)> {
    let (spec, schema) = (id.spec(), id.schema());
    let mut docs = vec![
        text("summary", spec.summary),
        text("since", spec.since),
        text("group", group(spec.family)),
        text("complexity", spec.complexity),
    ];
    if !schema.arguments.is_empty() {
        docs.push(entry("arguments", list(&schema.arguments)));
    }
    docs
}

/// A container is as old as the first of its subcommands.
fn container_docs(subcommands: &[CommandId]) -> Vec<(Reply, Reply)> {
    let specs = subcommands.iter().map(|id| id.spec());
    let mut docs = vec![text("summary", "A container for subcommands.")];
    if let Some(oldest) = specs.min_by_key(|spec| version(spec.since)) {
        docs.push(text("since", oldest.since));
        docs.push(text("group", group(oldest.family)));
    }
    docs
}

fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

const fn group(family: Family) -> &'static str {
    match family {
        Family::Connection => "connection",
        Family::Server => "server",
        Family::Generic => "generic",
        Family::String => "string",
        Family::Hash => "hash",
        Family::Transaction => "transactions",
        Family::PubSub => "pubsub",
        Family::Cluster => "cluster",
        Family::Service => "service",
    }
}

fn list(arguments: &[Argument]) -> Reply {
    Reply::Array(arguments.iter().map(describe).collect())
}

/// An argument, as a map. Redis has no block of a token and one value: the value names its token.
fn describe(argument: &Argument) -> Reply {
    let (token, parts) = match &argument.shape {
        Shape::Block(parts) => match parts.split_first() {
            Some((
                Argument {
                    shape: Shape::Token(token),
                    ..
                },
                rest,
            )) => (Some(*token), rest),
            _ => (None, &parts[..]),
        },
        Shape::Token(token) => (Some(*token), &[][..]),
        Shape::Value(_) | Shape::Choice(_) => (None, std::slice::from_ref(argument)),
    };
    let mut repeated = argument.repeated;
    let (name, kind, below) = match parts {
        [] => (
            token.unwrap_or_default().to_ascii_lowercase(),
            "pure-token",
            &[][..],
        ),
        [only] => {
            repeated |= only.repeated;
            let (kind, below) = kind(&only.shape);
            (name(only), kind, below)
        }
        several => (name(argument), "block", several),
    };
    let mut map = vec![text("name", &name), text("type", kind)];
    if kind == "key" {
        map.push(entry("key_spec_index", Reply::Int(0)));
    }
    map.extend(token.map(|token| text("token", token)));
    let flags = [("optional", argument.optional), ("multiple", repeated)];
    let flags: Vec<Reply> = flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(flag, _)| Reply::Status((*flag).into()))
        .collect();
    if !flags.is_empty() {
        map.push(entry("flags", Reply::Set(flags)));
    }
    if !below.is_empty() {
        map.push(entry("arguments", list(below)));
    }
    Reply::Map(map)
}

/// The type of an argument, in Redis's words, and the arguments that it consists of.
fn kind(shape: &Shape) -> (&'static str, &[Argument]) {
    match shape {
        Shape::Value(name) if name.ends_with("key") => ("key", &[]),
        Shape::Value("pattern") => ("pattern", &[]),
        Shape::Value(
            "client-id" | "count" | "cursor" | "decrement" | "index" | "milliseconds" | "protover"
            | "seconds" | "slot",
        ) => ("integer", &[]),
        Shape::Value(name) if name.starts_with("unix-time") => ("unix-time", &[]),
        Shape::Value(_) => ("string", &[]),
        Shape::Token(_) => ("pure-token", &[]),
        Shape::Choice(parts) => ("oneof", parts),
        Shape::Block(parts) => ("block", parts),
    }
}

/// The name of a value or of a token; what consists of several has all of their names.
fn name(argument: &Argument) -> String {
    let joined = |parts: &[Argument]| parts.iter().map(name).collect::<Vec<_>>().join("-");
    match &argument.shape {
        Shape::Value(name) => (*name).to_owned(),
        Shape::Token(token) => token.to_ascii_lowercase(),
        Shape::Choice(parts) | Shape::Block(parts) => joined(parts),
    }
}

fn entry(name: &str, value: Reply) -> (Reply, Reply) {
    (Reply::bulk(name), value)
}

fn text(name: &str, text: &str) -> (Reply, Reply) {
    entry(name, Reply::bulk(text))
}

#[cfg(test)]
mod tests {
    use crate::core::commands::testing::Desk;

    #[test]
    fn a_container_shows_its_subcommands() {
        let docs = Desk::standalone().run("COMMAND DOCS nothing CONFIG");
        let expect = "{\"config\": {\"summary\": \"A container for subcommands.\", \
             \"since\": \"2.0.0\", \"group\": \"server\", \"subcommands\": \
             {\"config|get\": {\"summary\": \"Returns the values of settings.\", \
             \"since\": \"2.0.0\", \"group\": \"server\", \
             \"complexity\": \"O(N) where N is the number of parameters.\", \
             \"arguments\": [{\"name\": \"parameter\", \"type\": \"string\", \
             \"flags\": ~[multiple]}]}, \"config|help\": {";
        assert!(docs.starts_with(expect), "{docs}");
    }

    #[test]
    fn arguments_are_trees() {
        let token = |name: &str| {
            let upper = name.to_ascii_uppercase();
            format!("{{\"name\": \"{name}\", \"type\": \"pure-token\", \"token\": \"{upper}\"}}")
        };
        let key = "{\"name\": \"key\", \"type\": \"key\", \"key_spec_index\": 0}";
        let value = |name: &str| format!("{{\"name\": \"{name}\", \"type\": \"string\"}}");
        let cases = [
            (
                "client|list",
                format!(
                    "[{{\"name\": \"normal-master-replica-pubsub\", \"type\": \"oneof\", \
                     \"token\": \"TYPE\", \"flags\": ~[optional], \
                     \"arguments\": [{}, {}, {}, {}]}}, \
                     {{\"name\": \"client-id\", \"type\": \"integer\", \"token\": \"ID\", \
                     \"flags\": ~[optional, multiple]}}]",
                    token("normal"),
                    token("master"),
                    token("replica"),
                    token("pubsub")
                ),
            ),
            (
                "hset",
                format!(
                    "[{key}, {{\"name\": \"field-value\", \"type\": \"block\", \
                     \"flags\": ~[multiple], \"arguments\": [{}, {}]}}]",
                    value("field"),
                    value("value")
                ),
            ),
            (
                "hello",
                format!(
                    "[{{\"name\": \"protover-auth-username-password-setname-clientname\", \
                     \"type\": \"block\", \"flags\": ~[optional], \"arguments\": [{}, \
                     {{\"name\": \"auth-username-password\", \"type\": \"block\", \
                     \"token\": \"AUTH\", \"flags\": ~[optional], \"arguments\": [{}, {}]}}, \
                     {{\"name\": \"clientname\", \"type\": \"string\", \"token\": \"SETNAME\", \
                     \"flags\": ~[optional]}}]}}]",
                    value("protover").replace("string", "integer"),
                    value("username"),
                    value("password")
                ),
            ),
        ];
        let mut desk = Desk::standalone();
        for (command, arguments) in cases {
            let docs = desk.run(&format!("COMMAND DOCS {command}"));
            let (_, found) = docs.split_once("\"arguments\": ").unwrap();
            assert_eq!(found, format!("{arguments}}}}}"), "{command}");
        }
    }
}
