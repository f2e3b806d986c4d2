//! The command table as `COMMAND` shows it. Everything is derived from the rows.

use dht_proto::Reply;
use dht_proto::spec::{CommandId, Family, Kind};
use dht_proto::syntax::{self, Extent, KeySpec, Schema};

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
        let traits = self.row.map_or_else(Traits::of_container, Traits::of);
        let schema = self.row.map(CommandId::schema);
        let keys = schema.and_then(|schema| schema.keys.or(schema.channels));
        let (first, last, step) = keys.map(KeySpec::published).unwrap_or_default();
        let subcommands = self.subcommands.iter().map(|id| Self::from(*id).info());
        Reply::Array(vec![
            Reply::bulk(self.full_name()),
            Reply::Int(schema.map_or(CONTAINER_ARITY, Schema::arity)),
            statuses(&traits.flags),
            Reply::count(first),
            Reply::Int(last),
            Reply::count(step),
            statuses(&traits.categories),
            Reply::Set(traits.tips.iter().map(Reply::bulk).collect()),
            Reply::Set(keys.map_or_else(Vec::new, |keys| key_specs(&traits.keys, keys))),
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
    let categories = Traits::of(id).categories;
    let mut names = categories.iter().map(|name| &name.as_bytes()[1..]);
    names.any(|name| name.eq_ignore_ascii_case(category))
}

/// What `COMMAND INFO` says of a command in words.
#[derive(Default)]
struct Traits {
    flags: Vec<&'static str>,
    categories: Vec<&'static str>,
    /// What a client that routes by itself does with the command.
    tips: Vec<&'static str>,
    /// What is done to the keys: to all alike, or to each of them.
    keys: Vec<Vec<&'static str>>,
}

impl Traits {
    fn of_container() -> Self {
        Self {
            categories: vec!["@slow"],
            ..Self::default()
        }
    }

    /// What follows from the kind and the family, and what the row says besides.
    fn of(id: CommandId) -> Self {
        let (kind, family) = (id.spec().kind, id.spec().family);
        let mut traits = Self {
            flags: flags(kind).to_vec(),
            categories: categories(kind, family),
            tips: tips(kind).to_vec(),
            keys: Vec::new(),
        };
        for word in id.spec().info.split_whitespace() {
            traits.place(word);
        }
        if traits.keys.is_empty() {
            traits.keys.push(if kind.writes() {
                vec!["RW", "update"]
            } else {
                vec!["RO", "access"]
            });
        }
        traits.categories.extend(implied(&traits.flags));
        traits
    }

    /// Puts a word of a row where it belongs.
    fn place(&mut self, word: &'static str) {
        match word {
            syntax::PROTECTED | syntax::SAYS | syntax::NEVER_PAUSED => (),
            "RO" | "RW" | "OW" | "RM" | "not_key" => self.keys.push(vec![word]),
            "access" | "update" | "insert" | "delete" | "variable_flags" => {
                self.keys
                    .last_mut()
                    .into_iter()
                    .for_each(|keys| keys.push(word));
            }
            _ if word.starts_with('@') => self.categories.push(word),
            _ if word.contains(':') || word.starts_with("nondeterministic") => self.tips.push(word),
            _ => self.flags.push(word),
        }
    }
}

const fn flags(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::READ | Kind::READ_EACH | Kind::READ_ALL | Kind::READ_ANY | Kind::CURSOR => {
            &["readonly"]
        }
        Kind::WRITE | Kind::WRITE_EACH | Kind::WRITE_ALL => &["write"],
        Kind::SESSION
        | Kind::SNAPSHOT
        | Kind::META
        | Kind::LOCAL
        | Kind::SIGN
        | Kind::LISTEN
        | Kind::CALL
        | Kind::TRANSACTION
        | Kind::EXECUTION => &[],
        Kind::HANDSHAKE | Kind::ENDING => &[
            "noscript",
            "loading",
            "stale",
            "fast",
            "no_auth",
            "allow_busy",
        ],
    }
}

fn categories(kind: Kind, family: Family) -> Vec<&'static str> {
    let mut categories = match kind {
        Kind::READ | Kind::READ_EACH | Kind::READ_ALL | Kind::READ_ANY | Kind::CURSOR => {
            vec!["@read"]
        }
        Kind::WRITE | Kind::WRITE_EACH => vec!["@write"],
        Kind::WRITE_ALL => vec!["@write", "@dangerous"],
        Kind::SESSION
        | Kind::SNAPSHOT
        | Kind::META
        | Kind::LOCAL
        | Kind::SIGN
        | Kind::LISTEN
        | Kind::CALL
        | Kind::HANDSHAKE
        | Kind::ENDING
        | Kind::TRANSACTION
        | Kind::EXECUTION => Vec::new(),
    };
    categories.extend(match (family, kind) {
        (Family::Connection, _) => Some("@connection"),
        (Family::String, _) => Some("@string"),
        (Family::Hash, _) => Some("@hash"),
        (Family::Generic, Kind::LOCAL) => None,
        (Family::Generic, _) | (Family::Server, Kind::READ_ALL | Kind::WRITE_ALL) => {
            Some("@keyspace")
        }
        (Family::Transaction, _) => Some("@transaction"),
        (Family::Server | Family::PubSub | Family::Cluster | Family::Service, _) => None,
    });
    categories
}

/// The categories that flags imply.
fn implied(flags: &[&str]) -> Vec<&'static str> {
    let mut categories = vec![if flags.contains(&"fast") {
        "@fast"
    } else {
        "@slow"
    }];
    if flags.contains(&"admin") {
        categories.extend(["@admin", "@dangerous"]);
    }
    if flags.contains(&"pubsub") {
        categories.push("@pubsub");
    }
    categories
}

const fn tips(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::READ_EACH | Kind::WRITE_EACH => &["request_policy:multi_shard"],
        Kind::READ_ALL | Kind::READ_ANY => &["request_policy:all_shards"],
        Kind::WRITE_ALL => &["request_policy:all_shards", "response_policy:all_succeeded"],
        Kind::CURSOR => &["nondeterministic_output", "request_policy:special"],
        Kind::READ
        | Kind::WRITE
        | Kind::SESSION
        | Kind::SNAPSHOT
        | Kind::META
        | Kind::LOCAL
        | Kind::SIGN
        | Kind::LISTEN
        | Kind::CALL
        | Kind::HANDSHAKE
        | Kind::ENDING
        | Kind::TRANSACTION
        | Kind::EXECUTION => &[],
    }
}

/// What a command with these arguments behind its keys does to its key of this number.
pub fn key_flags(id: CommandId, number: usize, arguments: &[&[u8]]) -> Reply {
    let keys = Traits::of(id).keys;
    let flags = keys.get(number).or_else(|| keys.last());
    let flags = flags.map_or(&[][..], Vec::as_slice);
    // Of a command that writes and, if it is told to GET, also reads.
    if let [flags @ .., "variable_flags"] = flags {
        let reads = arguments
            .iter()
            .any(|word| word.eq_ignore_ascii_case(b"GET"));
        return statuses(if reads { flags } else { &["OW", "update"] });
    }
    statuses(flags)
}

/// A specification of all keys, or one of each.
fn key_specs(flags: &[Vec<&'static str>], keys: KeySpec) -> Vec<Reply> {
    let place = |at: usize| match flags {
        [_] => keys,
        _ => KeySpec {
            first: keys.first + at * keys.step,
            extent: Extent::Few(1),
            ..keys
        },
    };
    let specs = flags.iter().enumerate();
    specs
        .map(|(at, flags)| key_spec(flags, place(at)))
        .collect()
}

/// Redis's three numbers that say where keys are, at length: a key specification.
fn key_spec(flags: &[&'static str], keys: KeySpec) -> Reply {
    let entry = |name: &str, value| (Reply::bulk(name), value);
    let typed = |kind: &str, spec| {
        Reply::Map(vec![
            entry("type", Reply::bulk(kind)),
            entry("spec", Reply::Map(spec)),
        ])
    };
    let step = Reply::count(keys.step);
    // Relative to the first key, or counted from the end.
    let range = |last| {
        let range = vec![
            entry("lastkey", Reply::Int(last)),
            entry("keystep", step.clone()),
            entry("limit", Reply::Int(0)),
        ];
        (keys.first, typed("range", range))
    };
    let (begin, find) = match keys.extent {
        Extent::Few(count) => range(i64::try_from((count - 1) * keys.step).unwrap_or(i64::MAX)),
        Extent::ToEnd => range(-1),
        Extent::Counted => {
            let counted = vec![
                entry("keynumidx", Reply::Int(0)),
                entry("firstkey", Reply::Int(1)),
                entry("keystep", step),
            ];
            (keys.first - 1, typed("keynum", counted))
        }
    };
    Reply::Map(vec![
        entry("flags", statuses(flags)),
        entry(
            "begin_search",
            typed("index", vec![entry("index", Reply::count(begin))]),
        ),
        entry("find_keys", find),
    ])
}
