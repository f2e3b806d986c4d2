//! What a row of the command table says, and how a command is found by the words a client sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use crate::ReplyError;
use crate::commands::TABLE;
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
    /// Redis Cluster's view.
    Cluster,
}

/// How a command runs: where its data is, and whether it changes it.
#[expect(non_camel_case_types, reason = "the words of the table's third column")]
#[expect(
    clippy::upper_case_acronyms,
    reason = "the words of the table's third column"
)]
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
    /// Changes every shard; the answers are joined.
    WRITE_ALL,
    /// Reads at the place that the cursor in its first argument names.
    CURSOR,
    /// Runs on the node that the client is connected to.
    LOCAL,
    /// Likewise, and also before the client has authenticated.
    HANDSHAKE,
}

impl Kind {
    /// Whether it changes data.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::WRITE | Self::WRITE_EACH | Self::WRITE_ALL)
    }

    /// Whether it may run before the client has authenticated.
    #[must_use]
    pub const fn before_auth(self) -> bool {
        matches!(self, Self::HANDSHAKE)
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
}

struct Index {
    by_name: HashMap<&'static [u8], u16>,
    /// First words that have subcommands.
    containers: HashMap<&'static [u8], &'static str>,
    schemas: Vec<Schema>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut containers = HashMap::new();
    for spec in TABLE {
        if let Some((container, _)) = spec.name.split_once(' ') {
            containers.insert(container.as_bytes(), container);
        }
    }
    let by_name = (0u16..)
        .zip(TABLE)
        .map(|(index, spec)| (spec.name.as_bytes(), index))
        .collect();
    Index {
        by_name,
        containers,
        schemas: TABLE.iter().map(syntax::schema).collect(),
    }
});

/// Longest name in the table, the subcommand included, in bytes.
const NAME_BYTES: usize = 40;

/// Finds the command that a request names and checks its arity.
///
/// # Errors
/// Unknown command, unknown subcommand, or wrong number of arguments, in Redis's words.
pub fn find(argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
    let first = argv.first().copied().unwrap_or_default();
    let mut name = [0; NAME_BYTES];
    let Some(length) = upper_case(&mut name, 0, first) else {
        return Err(unknown(argv));
    };
    let found = match INDEX.containers.get(&name[..length]) {
        Some(container) if argv.len() > 1 => Some(find_sub(container, &mut name, length, argv[1])?),
        Some(container) => match INDEX.by_name.get(&name[..length]) {
            Some(index) => Some(*index),
            None => return Err(ReplyError::Arity(container.to_ascii_lowercase().into())),
        },
        None => INDEX.by_name.get(&name[..length]).copied(),
    };
    let id = CommandId(found.ok_or_else(|| unknown(argv))?);
    if id.schema().accepts(argv.len()) {
        Ok(id)
    } else {
        Err(ReplyError::Arity(Cow::Owned(id.spec().full_name())))
    }
}

fn find_sub(
    container: &'static str,
    name: &mut [u8; NAME_BYTES],
    length: usize,
    sub: &[u8],
) -> Result<u16, ReplyError> {
    name[length] = b' ';
    upper_case(name, length + 1, sub)
        .and_then(|end| INDEX.by_name.get(&name[..end]).copied())
        .ok_or_else(|| ReplyError::UnknownSubcommand {
            sub: shown(sub, 128),
            command: container,
        })
}

/// Writes `word` in upper case at `start`; gives the end, or nothing when no command is that long.
fn upper_case(name: &mut [u8; NAME_BYTES], start: usize, word: &[u8]) -> Option<usize> {
    let end = start + word.len();
    // One byte is kept for the blank before a subcommand.
    let place = name[..NAME_BYTES - 1].get_mut(start..end)?;
    place.copy_from_slice(word);
    place.make_ascii_uppercase();
    Some(end)
}

/// Redis shows at most 128 bytes of the name and, together, of the arguments.
fn unknown(argv: &[&[u8]]) -> ReplyError {
    let name = shown(argv.first().copied().unwrap_or_default(), 128);
    let mut args = String::new();
    for arg in argv.iter().skip(1) {
        if args.len() >= 128 {
            break;
        }
        let room = 128 - args.len();
        args.push_str(&format!("'{}' ", shown(arg, room)));
    }
    ReplyError::UnknownCommand { name, args }
}

/// The first bytes of client input, fit for one line of text.
fn shown(bytes: &[u8], limit: usize) -> String {
    let cut = &bytes[..bytes.len().min(limit)];
    String::from_utf8_lossy(cut).replace(['\r', '\n'], " ")
}
