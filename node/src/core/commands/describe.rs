//! The command table as `COMMAND` shows it. Everything is derived from the rows.

use dht_proto::Reply;
use dht_proto::spec::{CommandId, Family, Kind};
use dht_proto::syntax::KeySpec;

/// A command as Redis counts them: a row, or a first word with subcommands under it.
pub struct Command {
    name: &'static str,
    /// Nothing if the name takes a subcommand.
    pub row: Option<CommandId>,
    /// The rows under its name.
    pub subcommands: Vec<CommandId>,
}

impl Command {
    /// Every command, in the order of the table.
    pub fn all() -> Vec<Self> {
        let mut commands: Vec<Self> = Vec::new();
        for id in CommandId::all() {
            let (first, sub) = match id.spec().name.split_once(' ') {
                Some((first, _)) => (first, Some(id)),
                None => (id.spec().name, None),
            };
            match commands.last_mut().filter(|command| command.name == first) {
                Some(command) => command.subcommands.extend(sub),
                None => commands.push(Self {
                    name: first,
                    row: if sub.is_none() { Some(id) } else { None },
                    subcommands: Vec::from_iter(sub),
                }),
            }
        }
        commands
    }

    /// The command or subcommand of this name, `get` or `client|id` in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        if name.contains(&b'|') {
            let row = CommandId::all().find(|id| {
                id.spec().name.contains(' ')
                    && id.spec().full_name().as_bytes().eq_ignore_ascii_case(&name)
            });
            return row.map(Self::from);
        }
        Self::all()
            .into_iter()
            .find(|command| command.name.as_bytes() == name)
    }

    /// Its names and those of its subcommands, as `COMMAND LIST` writes them.
    pub fn names(&self) -> impl Iterator<Item = (String, Option<CommandId>)> {
        let subcommands = self
            .subcommands
            .iter()
            .map(|id| (id.spec().full_name(), Some(*id)));
        std::iter::once((self.full_name(), self.row)).chain(subcommands)
    }

    /// Its name as Redis writes it: `get`, `client|id`.
    pub fn full_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "|")
    }

    /// Its entry in the reply of `COMMAND INFO`.
    pub fn info(&self) -> Reply {
        let Some(id) = self.row else {
            return self.info_with(CONTAINER_ARITY, &[], &["@slow"], &[], None);
        };
        let kind = id.spec().kind;
        let keys = id.schema().keys.map(|keys| (kind, keys));
        self.info_with(
            id.schema().arity(),
            &flags(id),
            &categories(id),
            tips(kind),
            keys,
        )
    }

    fn info_with(
        &self,
        arity: i64,
        flags: &[&'static str],
        categories: &[&'static str],
        tips: &[&str],
        keys: Option<(Kind, KeySpec)>,
    ) -> Reply {
        let (first, last, step) = keys.map_or((0, 0, 0), |(_, keys)| {
            (keys.first, keys.last(), keys.step.max(1))
        });
        let subcommands = self.subcommands.iter().map(|id| Self::from(*id).info());
        Reply::Array(vec![
            Reply::bulk(self.full_name()),
            Reply::Int(arity),
            statuses(flags),
            Reply::count(first),
            Reply::Int(last),
            Reply::count(step),
            statuses(categories),
            Reply::Array(tips.iter().map(Reply::bulk).collect()),
            Reply::Array(
                keys.iter()
                    .map(|(kind, keys)| key_spec(*kind, *keys))
                    .collect(),
            ),
            Reply::Array(subcommands.collect()),
        ])
    }
}

impl From<CommandId> for Command {
    fn from(id: CommandId) -> Self {
        Self {
            name: id.spec().name,
            row: Some(id),
            subcommands: Vec::new(),
        }
    }
}

/// A container takes a subcommand, and what that takes.
const CONTAINER_ARITY: i64 = -2;

fn statuses(words: &[&'static str]) -> Reply {
    Reply::Set(
        words
            .iter()
            .map(|word| Reply::Status((*word).into()))
            .collect(),
    )
}

/// Whether a command is in a category, with or without its `@`.
pub fn in_category(id: CommandId, category: &[u8]) -> bool {
    let category = category.strip_prefix(b"@").unwrap_or(category);
    categories(id)
        .iter()
        .any(|name| name.as_bytes()[1..].eq_ignore_ascii_case(category))
}

fn is_fast(id: CommandId) -> bool {
    id.spec().complexity.starts_with("O(1)")
}

fn flags(id: CommandId) -> Vec<&'static str> {
    let mut flags = match id.spec().kind {
        Kind::READ | Kind::READ_EACH | Kind::READ_ALL | Kind::CURSOR => vec!["readonly"],
        Kind::WRITE | Kind::WRITE_EACH | Kind::WRITE_ALL => vec!["write"],
        Kind::LOCAL => vec!["loading", "stale"],
        Kind::HANDSHAKE => vec!["noscript", "loading", "stale", "no_auth"],
    };
    if is_fast(id) {
        flags.push("fast");
    }
    flags
}

fn categories(id: CommandId) -> Vec<&'static str> {
    let spec = id.spec();
    let mut categories = match spec.kind {
        Kind::READ | Kind::READ_EACH | Kind::READ_ALL | Kind::CURSOR => vec!["@read"],
        Kind::WRITE | Kind::WRITE_EACH => vec!["@write"],
        Kind::WRITE_ALL => vec!["@write", "@dangerous"],
        Kind::LOCAL | Kind::HANDSHAKE => Vec::new(),
    };
    categories.extend(match (spec.family, spec.kind) {
        (Family::Connection, _) => Some("@connection"),
        (Family::String, _) => Some("@string"),
        (Family::Hash, _) => Some("@hash"),
        (Family::Generic, _) => Some("@keyspace"),
        (Family::Server, Kind::READ_ALL | Kind::WRITE_ALL) => Some("@keyspace"),
        (Family::Server | Family::Cluster, _) => None,
    });
    categories.push(if is_fast(id) { "@fast" } else { "@slow" });
    categories
}

/// What a client that routes by itself does with the command.
const fn tips(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::READ_EACH | Kind::WRITE_EACH => &["request_policy:multi_shard"],
        Kind::READ_ALL => &["request_policy:all_shards"],
        Kind::WRITE_ALL => &["request_policy:all_shards", "response_policy:all_succeeded"],
        Kind::CURSOR => &["nondeterministic_output", "request_policy:special"],
        Kind::READ | Kind::WRITE | Kind::LOCAL | Kind::HANDSHAKE => &[],
    }
}

/// Redis's three numbers that say where keys are, at length: a key specification.
fn key_spec(kind: Kind, keys: KeySpec) -> Reply {
    let entry = |name: &str, value| (Reply::bulk(name), value);
    let typed = |kind: &str, spec| {
        Reply::Map(vec![
            entry("type", Reply::bulk(kind)),
            entry("spec", Reply::Map(spec)),
        ])
    };
    let flags = if kind.writes() {
        ["RW", "update"]
    } else {
        ["RO", "access"]
    };
    // Relative to the first key, or counted from the end.
    let last = if keys.step == 0 { 0 } else { keys.last() };
    let range = vec![
        entry("lastkey", Reply::Int(last)),
        entry("keystep", Reply::count(keys.step.max(1))),
        entry("limit", Reply::Int(0)),
    ];
    Reply::Map(vec![
        entry("flags", statuses(&flags)),
        entry(
            "begin_search",
            typed("index", vec![entry("index", Reply::count(keys.first))]),
        ),
        entry("find_keys", typed("range", range)),
    ])
}
