//! The command table as `COMMAND` shows it. Everything is derived from the rows.

use dht_proto::Reply;
use dht_proto::spec::{CommandId, Family, Kind};
use dht_proto::syntax::KeySpec;

/// A command as Redis counts them: a row, or a first word with subcommands under it.
pub struct Command {
    name: &'static str,
    row: Option<CommandId>,
    subcommands: Vec<CommandId>,
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

    /// Its name as `COMMAND DOCS` writes it.
    pub fn full_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "|")
    }

    /// Its entry in the reply of `COMMAND INFO`.
    pub fn info(&self) -> Reply {
        let reach = self.row.and_then(Reach::of);
        let (first, last, step) = reach
            .as_ref()
            .map_or((0, 0, 0), |reach| (reach.first, reach.last, reach.step));
        let statuses = |words: Vec<&'static str>| {
            Reply::Set(
                words
                    .into_iter()
                    .map(|word| Reply::Status(word.into()))
                    .collect(),
            )
        };
        let categories = self.row.map_or_else(|| vec!["@slow"], categories);
        let tips = self.row.map_or_else(Vec::new, |id| tips(id.spec().kind));
        let subcommands = self.subcommands.iter().map(|id| Self::from(*id).info());
        Reply::Array(vec![
            Reply::bulk(self.full_name()),
            // A container takes any subcommand.
            Reply::Int(self.row.map_or(-2, arity)),
            statuses(self.row.map_or_else(Vec::new, flags)),
            Reply::Int(first),
            Reply::Int(last),
            Reply::Int(step),
            statuses(categories),
            Reply::Array(tips.into_iter().map(Reply::bulk).collect()),
            Reply::Array(
                reach
                    .iter()
                    .zip(self.row)
                    .map(|(reach, id)| reach.describe(id))
                    .collect(),
            ),
            Reply::Array(subcommands.collect()),
        ])
    }

    /// Its entry in the reply of `COMMAND DOCS`.
    pub fn docs(&self) -> Reply {
        let text = |name: &str, text: &str| (Reply::bulk(name), Reply::bulk(text));
        let mut docs = Vec::new();
        match self.row.map(CommandId::spec) {
            Some(spec) => docs.extend([
                text("summary", spec.summary),
                text("since", spec.since),
                text("group", group(spec.family)),
                text("complexity", spec.complexity),
            ]),
            None => docs.push(text("summary", "A container for subcommands.")),
        }
        if !self.subcommands.is_empty() {
            let subcommand = |id: &CommandId| {
                let command = Self::from(*id);
                (Reply::bulk(command.full_name()), command.docs())
            };
            let subcommands = self.subcommands.iter().map(subcommand).collect();
            docs.push((Reply::bulk("subcommands"), Reply::Map(subcommands)));
        }
        Reply::Map(docs)
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

/// Whether a command is in a category, with or without its `@`.
pub fn in_category(id: CommandId, category: &[u8]) -> bool {
    let category = category.strip_prefix(b"@").unwrap_or(category);
    categories(id)
        .iter()
        .any(|name| name.as_bytes()[1..].eq_ignore_ascii_case(category))
}

/// The arguments that are keys in a request of so many words.
pub fn key_positions(id: CommandId, words: usize) -> impl Iterator<Item = usize> {
    let keys = id.schema().keys;
    let positions = keys.map(|KeySpec { first, step }| {
        let end = if step == 0 {
            words.min(first + 1)
        } else {
            words
        };
        (first..end).step_by(step.max(1))
    });
    positions.into_iter().flatten()
}

/// The number of words with the name's: the fewest, negated, where there may be more.
fn arity(id: CommandId) -> i64 {
    let schema = id.schema();
    let fewest = i64::try_from(schema.min).unwrap_or(i64::MAX);
    if schema.max == Some(schema.min) {
        fewest
    } else {
        -fewest
    }
}

fn group(family: Family) -> &'static str {
    match family {
        Family::Connection => "connection",
        Family::Server => "server",
        Family::Generic => "generic",
        Family::String => "string",
        Family::Hash => "hash",
        Family::Cluster => "cluster",
    }
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
fn tips(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::READ_EACH | Kind::WRITE_EACH => vec!["request_policy:multi_shard"],
        Kind::READ_ALL => vec!["request_policy:all_shards"],
        Kind::WRITE_ALL => vec!["request_policy:all_shards", "response_policy:all_succeeded"],
        Kind::CURSOR => vec!["nondeterministic_output", "request_policy:special"],
        Kind::READ | Kind::WRITE | Kind::LOCAL | Kind::HANDSHAKE => Vec::new(),
    }
}

/// Where keys are, in Redis's three numbers: the last is -1 when they go on up to the end.
struct Reach {
    first: i64,
    last: i64,
    step: i64,
}

impl Reach {
    fn of(id: CommandId) -> Option<Self> {
        let KeySpec { first, step } = id.schema().keys?;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let last = if step == 0 { number(first) } else { -1 };
        Some(Self {
            first: number(first),
            last,
            step: number(step.max(1)),
        })
    }

    /// The key specification that repeats the three numbers at length.
    fn describe(&self, id: CommandId) -> Reply {
        let entry = |name: &str, value| (Reply::bulk(name), value);
        let typed = |kind: &str, spec| {
            Reply::Map(vec![
                entry("type", Reply::bulk(kind)),
                entry("spec", Reply::Map(spec)),
            ])
        };
        let flags = if id.spec().kind.writes() {
            ["RW", "update"]
        } else {
            ["RO", "access"]
        };
        // Relative to the first key, unless counted from the end.
        let last = if self.last < 0 {
            self.last
        } else {
            self.last - self.first
        };
        let range = vec![
            entry("lastkey", Reply::Int(last)),
            entry("keystep", Reply::Int(self.step)),
            entry("limit", Reply::Int(0)),
        ];
        Reply::Map(vec![
            entry(
                "flags",
                Reply::Set(flags.map(|flag| Reply::Status(flag.into())).to_vec()),
            ),
            entry(
                "begin_search",
                typed("index", vec![entry("index", Reply::Int(self.first))]),
            ),
            entry("find_keys", typed("range", range)),
        ])
    }
}
