//! What a row of the command table says, and how a command is found by the words a client sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::ReplyError;
use crate::absent;
use crate::commands::TABLE;
use crate::escaped::unescape;
use crate::names::Names;
use crate::reply::shown;
use crate::syntax::{self, Schema};

/// A row of the command table.
#[derive(Debug)]
pub struct Spec {
    /// In upper case; two words for a subcommand, `CLIENT ID`.
    pub name: &'static str,
    /// The subject, which is also the file of the handler.
    pub family: Family,
    /// How it runs.
    pub kind: Kind,
    /// What follows the name; see [`crate::syntax`].
    pub syntax: &'static str,
    /// The Redis version that introduced it.
    pub since: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What `COMMAND INFO` says of it that does not follow from its kind, in Redis's words: flags,
    /// `@categories`, what it does to its keys (`RW insert`), tips (`response_policy:agg_sum`).
    pub info: &'static str,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The connection itself.
    Connection,
    /// The node and the whole keyspace.
    Server,
    /// Keys of any type.
    Generic,
    /// Plain strings.
    String,
    /// Hashes.
    Hash,
    /// Several commands as one.
    Transaction,
    /// Messages between clients.
    PubSub,
    /// Redis Cluster's view.
    Cluster,
    /// Functions that clients offer each other.
    Service,
}

/// How a command runs: where its data is, and whether it changes it.
#[expect(non_camel_case_types, reason = "the words of the table's third column")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads keys of one slot.
    READ,
    /// Changes keys of one slot, atomically.
    WRITE,
    /// Reads keys of any slots; split by shard, the answers joined.
    READ_EACH,
    /// Changes keys of any slots; split by shard, atomic within each slot, the answers joined.
    WRITE_EACH,
    /// Reads every shard; the answers are joined.
    READ_ALL,
    /// Reads every shard; one of the answers is drawn at random.
    READ_ANY,
    /// Changes every shard; the answers are joined.
    WRITE_ALL,
    /// Reads at the place that the cursor in its first argument names.
    CURSOR,
    /// Opens a session with the shard of the slot that its first argument names.
    SESSION,
    /// Reads the shard of the slot that its first argument names, as it was at one moment.
    SNAPSHOT,
    /// Has another client, which offers a service, answer.
    CALL,
    /// Has the meta group decide a change of the cluster.
    META,
    /// Runs on the node that the client is connected to.
    LOCAL,
    /// Likewise, and also where a RESP2 client listens to messages.
    SIGN,
    /// Likewise; begins or ends to listen to messages, and is never part of a transaction.
    LISTEN,
    /// Runs on the node that the client is connected to, also before it has authenticated.
    HANDSHAKE,
    /// Likewise, and never part of a transaction: it ends one.
    ENDING,
    /// Begins, gives up or guards a transaction of the connection; watched keys are of one slot.
    TRANSACTION,
    /// Executes the transaction of the connection; where it is refused, that ends as well.
    EXECUTION,
}

impl Kind {
    /// Whether it changes data.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::WRITE | Self::WRITE_EACH | Self::WRITE_ALL)
    }

    /// Whether doing it twice does as little harm as doing it once.
    #[must_use]
    pub const fn is_repeatable(self) -> bool {
        !self.writes() && !matches!(self, Self::CALL)
    }

    /// Whether it reads, and leaves everything as it is.
    #[must_use]
    pub const fn reads(self) -> bool {
        self.is_read_anywhere() || matches!(self, Self::SNAPSHOT | Self::SIGN)
    }

    /// Whether it reads data, and any node that is asked for it has the same answer.
    #[must_use]
    pub const fn is_read_anywhere(self) -> bool {
        matches!(
            self,
            Self::READ | Self::READ_EACH | Self::READ_ALL | Self::READ_ANY | Self::CURSOR
        )
    }

    /// Whether it runs on the node that the client is connected to, whatever its arguments.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(
            self,
            Self::LOCAL | Self::SIGN | Self::LISTEN | Self::CALL | Self::HANDSHAKE | Self::ENDING
        )
    }

    /// Whether a RESP2 client may send it while it listens to messages.
    #[must_use]
    pub const fn while_listening(self) -> bool {
        matches!(self, Self::SIGN | Self::LISTEN | Self::ENDING)
    }

    /// Whether it works through the whole keyspace, or much of a shard, at once, however long that
    /// takes.
    #[must_use]
    pub const fn is_long(self) -> bool {
        matches!(self, Self::READ_ALL | Self::WRITE_ALL | Self::SNAPSHOT)
    }

    /// Whether it may run before the client has authenticated.
    #[must_use]
    pub const fn before_auth(self) -> bool {
        matches!(self, Self::HANDSHAKE | Self::ENDING)
    }

    /// Whether it runs as soon as it is sent also between MULTI and EXEC.
    #[must_use]
    pub const fn is_immediate(self) -> bool {
        matches!(self, Self::ENDING) || self.is_transaction()
    }

    /// Whether it is about the transaction of the connection.
    #[must_use]
    pub const fn is_transaction(self) -> bool {
        matches!(self, Self::TRANSACTION | Self::EXECUTION)
    }

    /// Whether it is about the whole cluster or keyspace and not about keys that it names.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::READ_ALL
                | Self::READ_ANY
                | Self::WRITE_ALL
                | Self::CURSOR
                | Self::SNAPSHOT
                | Self::META
        )
    }
}

/// A command of the table: the index of its row. The node's table of handlers has the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(u16);

impl CommandId {
    /// The index of the row.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The row.
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        &TABLE[self.index()]
    }

    /// What the row's syntax line says.
    #[must_use]
    pub fn schema(self) -> &'static Schema {
        &INDEX.schemas[self.index()]
    }

    /// The words of the name: 1, or 2 for a subcommand.
    #[must_use]
    pub fn words(self) -> usize {
        self.schema().words
    }

    /// Every command, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len()).map(|index| Self(u16::try_from(index).unwrap_or(u16::MAX)))
    }
}

impl Spec {
    /// The name as Redis writes it in errors: `client|setname`.
    #[must_use]
    pub fn full_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "|")
    }

    /// Whether the column of what is told of it has a word.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        self.info.split(' ').any(|each| each == word)
    }
}

struct Index {
    first_words: Names<First>,
    schemas: Vec<Schema>,
}

/// What the first word of a name leads to.
enum First {
    /// A command without subcommands, by its row.
    Command(u16),
    /// One with subcommands.
    Container(Container),
}

struct Container {
    name: &'static str,
    /// The row of the command that the name alone is, if it is one.
    alone: Option<u16>,
    /// The rows by the second word.
    subcommands: Names<u16>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut commands = BTreeMap::new();
    let mut containers: BTreeMap<&'static str, Vec<(&'static str, u16)>> = BTreeMap::new();
    for (index, spec) in (0u16..).zip(TABLE) {
        match spec.name.split_once(' ') {
            Some((name, sub)) => containers.entry(name).or_default().push((sub, index)),
            None => drop(commands.insert(spec.name, index)),
        }
    }
    let mut first_words = Vec::new();
    for (name, subcommands) in containers {
        let container = Container {
            name,
            alone: commands.remove(name),
            subcommands: Names::new(subcommands),
        };
        first_words.push((name, First::Container(container)));
    }
    let commands = commands.into_iter();
    first_words.extend(commands.map(|(name, index)| (name, First::Command(index))));
    Index {
        first_words: Names::new(first_words),
        schemas: TABLE.iter().map(syntax::schema).collect(),
    }
});

/// Finds the command that a request names and checks its arity.
///
/// # Errors
/// Unknown command, unknown subcommand, or wrong number of arguments, in Redis's words.
pub fn find(argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
    let id = look_up(argv)?;
    if id.schema().accepts(argv.len()) {
        Ok(id)
    } else {
        Err(ReplyError::Arity(Cow::Owned(id.spec().full_name())))
    }
}

/// Finds the command that a request names, however many arguments follow.
///
/// # Errors
/// Unknown command or subcommand, or a subcommand is missing, in Redis's words.
pub fn look_up(argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
    let index = &*INDEX;
    let first = argv.first().and_then(|word| index.first_words.get(word));
    let row = match (first, argv.get(1)) {
        (Some(First::Command(row)), _) => *row,
        (Some(First::Container(container)), Some(sub)) => find_sub(container, sub)?,
        (Some(First::Container(container)), None) => container
            .alone
            .ok_or_else(|| ReplyError::Arity(container.name.to_ascii_lowercase().into()))?,
        (None, _) => return Err(unknown(argv)),
    };
    Ok(CommandId(row))
}

fn find_sub(container: &Container, sub: &[u8]) -> Result<u16, ReplyError> {
    let found = container.subcommands.get(sub).copied();
    found.ok_or_else(|| {
        let command = container.name;
        let (what, name) = ("subcommand", shown(sub, 128));
        match absent::why(&[command.as_bytes(), sub].join(&b'|')) {
            Some(why) => ReplyError::Absent { what, name, why },
            None => ReplyError::UnknownSubcommand { sub: name, command },
        }
    })
}

/// Redis shows at most 128 bytes of the name and, together, of the arguments.
#[cold]
fn unknown(argv: &[&[u8]]) -> ReplyError {
    let word = argv.first().copied().unwrap_or_default();
    let name = shown(word, 128);
    if let Some(why) = absent::why(word) {
        let what = "command";
        return ReplyError::Absent { what, name, why };
    }
    let mut args = String::new();
    for arg in argv.iter().skip(1) {
        let length = unescape(&args).len();
        if length >= 128 {
            break;
        }
        args.push_str(&format!("'{}' ", shown(arg, 128 - length)));
    }
    ReplyError::UnknownCommand { name, args }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Result<&str, &str>) {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let found = find(&argv).map(|id| id.spec().name);
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn every_command_is_found_in_any_case() {
        for id in CommandId::all() {
            let min = id.schema().min;
            for name in [
                id.spec().name.to_owned(),
                id.spec().name.to_ascii_lowercase(),
            ] {
                let mut argv: Vec<&[u8]> = name.split(' ').map(str::as_bytes).collect();
                argv.resize(min, b"x");
                assert_eq!(find(&argv), Ok(id), "{name}");
            }
        }
    }

    #[test]
    fn errors_are_in_the_words_of_redis() {
        check("get k", Ok("GET"));
        check(
            "get",
            Err("ERR wrong number of arguments for 'get' command"),
        );
        check(
            "get k k",
            Err("ERR wrong number of arguments for 'get' command"),
        );
        check(
            "client",
            Err("ERR wrong number of arguments for 'client' command"),
        );
        check("command", Ok("COMMAND"));
        check("Command Count", Ok("COMMAND COUNT"));
        check(
            "client setname",
            Err("ERR wrong number of arguments for 'client|setname' command"),
        );
        check(
            "config fly high",
            Err("ERR unknown subcommand 'fly'. Try CONFIG HELP."),
        );
        check(
            "nope a bc",
            Err("ERR unknown command 'nope', with args beginning with: 'a' 'bc' "),
        );
        check(
            "BLPOP l 0",
            Err("ERR unknown command 'BLPOP': keys hold hashes and strings here, no lists"),
        );
        check(
            "memory stats",
            Err(
                "ERR unknown subcommand 'stats': INFO memory and MEMORY USAGE have what is known \
                 of memory",
            ),
        );
        check(
            "",
            Err("ERR unknown command '', with args beginning with: "),
        );
    }

    #[test]
    fn a_name_of_two_words_is_not_found_in_one() {
        let error = find(&[b"CLIENT ID"]).unwrap_err();
        assert!(
            matches!(error, ReplyError::UnknownCommand { .. }),
            "{error}"
        );
    }
}
