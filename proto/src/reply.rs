//! The value of an executed command, and every error text that a client can see.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::escaped::{escape, unescape};
use crate::limits::FRAME_BYTES;
use crate::parts::{Parts, Shape};

/// What a command answers, before any protocol has encoded it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `OK`.
    Ok,
    /// A short status other than `OK`, such as `PONG` or a type's name.
    Status(Cow<'static, str>),
    /// A signed integer.
    Int(i64),
    /// A byte string.
    Bulk(Bytes),
    /// The absent value: RESP2's null bulk string.
    Nil,
    /// The absent list: RESP2's null array, elsewhere the same as [`Reply::Nil`].
    NilArray,
    /// An ordered list.
    Array(Vec<Reply>),
    /// Pairs in order: a map in RESP3 and in native frames, a flat array in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// Pairs of which some may be alike: an array of arrays, but a flat array in RESP2.
    Pairs(Vec<(Reply, Reply)>),
    /// A set in RESP3, an array elsewhere.
    Set(Vec<Reply>),
    /// A double in RESP3, its decimal text in RESP2.
    Double(f64),
    /// A boolean in RESP3, 0 or 1 in RESP2.
    Bool(bool),
    /// Text to be shown as it is: a verbatim string in RESP3, a bulk string in RESP2.
    Text(Bytes),
    /// A list or a map whose items are made as they are written.
    Parts(Parts),
    /// Messages, each of its own: what a command answers that says something of each channel. In
    /// native frames a list of lists, since a request has one answer.
    Pushes(Vec<Vec<Reply>>),
    /// An error; as an element, the error of one part.
    Error(ReplyError),
}

impl Reply {
    /// A byte string, copied.
    #[must_use]
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// Whether it has so many parts that encoding them takes more than a moment.
    #[must_use]
    pub fn is_long(&self) -> bool {
        const PARTS: usize = 2048;
        match self {
            Self::Parts(_) => true,
            Self::Array(items) => items.len() > PARTS || items.iter().any(Self::is_long),
            Self::Set(items) => items.len() > PARTS,
            Self::Map(pairs) | Self::Pairs(pairs) => pairs.len() > PARTS,
            Self::Pushes(messages) => messages.len() > PARTS,
            _ => false,
        }
    }

    /// About how many bytes it takes: so many for each value, what `of` says of its bytes, and what
    /// is kept of lists that are not made yet.
    pub fn weigh(&self, of: &impl Fn(&Bytes) -> usize) -> usize {
        let inner = match self {
            Self::Bulk(bytes) | Self::Text(bytes) => of(bytes),
            Self::Status(text) => text.len(),
            Self::Array(items) | Self::Set(items) => items.iter().map(|it| it.weigh(of)).sum(),
            Self::Map(pairs) | Self::Pairs(pairs) => {
                let both = |(key, value): &(Self, Self)| key.weigh(of) + value.weigh(of);
                pairs.iter().map(both).sum()
            }
            Self::Pushes(messages) => messages.iter().flatten().map(|it| it.weigh(of)).sum(),
            Self::Parts(parts) => parts.kept(),
            Self::Error(error) => error.to_string().len(),
            Self::Ok | Self::Int(_) | Self::Nil | Self::NilArray => 0,
            Self::Double(_) | Self::Bool(_) => 0,
        };
        size_of::<Self>() + inner
    }

    /// Likewise, of what nobody else has.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.weigh(&|bytes| if bytes.is_unique() { bytes.len() } else { 0 })
    }

    /// The items of an array.
    ///
    /// # Errors
    /// It is no array.
    pub fn into_items(self) -> Result<Vec<Self>, Self> {
        match self {
            Self::Array(items) => Ok(items),
            Self::Parts(parts) if parts.shape() == Shape::Array => Ok(parts.whole()),
            other => Err(other),
        }
    }

    /// A byte string, or nil.
    #[must_use]
    pub fn bulk_or_nil(bytes: Option<impl AsRef<[u8]>>) -> Self {
        bytes.map_or(Self::Nil, Self::bulk)
    }

    /// A count.
    #[must_use]
    pub fn count(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// 1 or 0, as Redis writes truth.
    #[must_use]
    pub fn flag(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }
}

impl From<ReplyError> for Reply {
    fn from(error: ReplyError) -> Self {
        Self::Error(error)
    }
}

/// An error as a client sees it. `Display` gives the wire text without the leading `-`: the prefix
/// that clients match on, then the sentence. The texts are those of Redis wherever Redis has one.
/// Bytes of a client in it are [escaped](crate::escaped); [`ReplyError::to_bytes`] gives them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The key holds another type.
    WrongType,
    /// An option or its place is wrong.
    Syntax,
    /// Not an integer, or outside 64 bits.
    NotInteger,
    /// A RESP2 connection that listens to messages can do little else; the command's full name in
    /// lower case.
    OnlyListening(String),
    /// A command that cannot wait for EXEC.
    NotInTransaction,
    /// Not a float.
    NotFloat,
    /// The result of an increment would leave 64 bits.
    Overflow,
    /// The decrement itself would leave 64 bits.
    DecrementOverflow,
    /// The result of an increment would not be finite.
    NanOrInfinity,
    /// A hash field's value is no integer.
    HashNotInteger,
    /// A hash field's value is no float.
    HashNotFloat,
    /// Wrong number of arguments; the command's full name in lower case, `client|setname`.
    Arity(Cow<'static, str>),
    /// No such command: its name and the first of its arguments, as sent.
    UnknownCommand {
        /// The name as sent.
        name: String,
        /// The arguments, quoted and cut as Redis does.
        args: String,
    },
    /// A command of Redis that is out of scope here.
    Absent {
        /// `command`, or `subcommand`.
        what: &'static str,
        /// The name as sent.
        name: String,
        /// What is lacking.
        why: &'static str,
    },
    /// No such subcommand of a known command: the subcommand as sent and the command in upper case.
    UnknownSubcommand {
        /// The subcommand as sent.
        sub: String,
        /// The container command, in upper case.
        command: &'static str,
    },
    /// A time to live that is not positive or overflows; the command in lower case.
    InvalidExpire(&'static str),
    /// A SCAN cursor that is no number.
    InvalidCursor,
    /// A key, a field or a value is longer than its limit: which, and the limit in bytes.
    TooLong {
        /// `key`, `field` or `value`.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Appending would make the string longer than a value may be.
    StringTooLong,
    /// The bytes are no request; the connection closes after this answer. What was wrong.
    Protocol(Cow<'static, str>),
    /// The connection has to authenticate first.
    NoAuth,
    /// HELLO without AUTH on a connection that has to authenticate first.
    NoAuthHello,
    /// AUTH failed.
    WrongPass,
    /// HELLO with another version than 2 or 3.
    NoProto,
    /// The slot is led by another node: its slot and address. Only on the redirecting port.
    Moved {
        /// The slot of the keys.
        slot: u16,
        /// `host:port` of the redirecting port of the slot's leader.
        to: String,
    },
    /// Keys of an atomic command lie in different slots: the two first that do.
    CrossSlot(Option<Box<CrossSlot>>),
    /// The key that is to be made exists.
    BusyKey,
    /// The key that is to be changed does not exist.
    NoSuchKey,
    /// EXEC executed nothing, since a command could not be queued.
    ExecAbort,
    /// EXEC itself was refused, for this reason: the transaction is over.
    Discarded(Box<ReplyError>),
    /// Not done: the disk of the only node that could execute it is full.
    DiskFull,
    /// Not done: the node that was asked is reading its data from its disk.
    Loading,
    /// Not done: no node that can execute the command is reachable. Says why.
    ClusterDown(Cow<'static, str>),
    /// Not done: the cluster is changing; the same command may succeed in a moment. Says why.
    TryAgain(Cow<'static, str>),
    /// The command may or may not have taken effect. Says why.
    Unknown(Cow<'static, str>),
    /// Any other error of prefix `ERR`: the sentence.
    Other(Cow<'static, str>),
    /// An error received from elsewhere, whole, prefix included.
    Received(String),
}

/// How errors begin that are said of a command before anybody has looked at what it does, and so
/// before its number in a session is looked up: by who checks the sender or the words, by a node
/// that cannot reach the shard, or does not write at present, and, of the last ones, by what stands
/// between. All others are the answer of who has executed it.
const BEFOREHAND: [&str; 26] = [
    // Who is asking?
    "NOAUTH",
    "WRONGPASS",
    "NOPROTO",
    "NOPERM",
    "ERR max number of clients reached",
    // What is asked?
    "ERR Protocol error",
    "ERR unknown command",
    "ERR unknown subcommand",
    "ERR wrong number of arguments for",
    "ERR request is longer than",
    "ERR key is longer than",
    "ERR a session and a sequence go together",
    "ERR a sequence is at most",
    "ERR a command that is split over shards",
    "ERR Command not allowed inside a transaction",
    "ERR Can't execute",
    "CROSSSLOT",
    "EXECABORT",
    // Who executes it?
    "CLUSTERDOWN",
    "TRYAGAIN",
    "LOADING",
    "MISCONF",
    "MOVED",
    "ASK",
    "MASTERDOWN",
    "READONLY",
];

/// Two keys that were expected in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossSlot {
    /// The first key, shown.
    pub first: (String, u16),
    /// The first key in another slot, shown.
    pub second: (String, u16),
}

impl ReplyError {
    /// What is said instead of a reply that fits into no frame.
    #[must_use]
    pub fn reply_too_long(writes: bool) -> Self {
        let limit = FRAME_BYTES;
        if writes {
            let why = format!("done, but the reply is longer than {limit} bytes");
            return Self::Unknown(why.into());
        }
        let what = "reply";
        Self::TooLong { what, limit }
    }

    /// The prefix that clients match on, such as `ERR` or `WRONGTYPE`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self {
            Self::WrongType => "WRONGTYPE",
            Self::NoAuth | Self::NoAuthHello => "NOAUTH",
            Self::WrongPass => "WRONGPASS",
            Self::NoProto => "NOPROTO",
            Self::Moved { .. } => "MOVED",
            Self::CrossSlot(_) => "CROSSSLOT",
            Self::BusyKey => "BUSYKEY",
            Self::ExecAbort | Self::Discarded(_) => "EXECABORT",
            Self::DiskFull => "MISCONF",
            Self::Loading => "LOADING",
            Self::ClusterDown(_) => "CLUSTERDOWN",
            Self::TryAgain(_) => "TRYAGAIN",
            Self::Unknown(_) => "UNKNOWN",
            Self::Received(text) => text.split(' ').next().unwrap_or_default(),
            _ => "ERR",
        }
    }

    /// Whether it was said before anybody looked at what the command does: of a write that was sent
    /// before under the same number, it says nothing.
    #[must_use]
    pub fn is_beforehand(&self) -> bool {
        let text = self.to_string();
        let ends_there = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
        let mut beginnings = BEFOREHAND.iter();
        beginnings.any(|begin| text.strip_prefix(begin).is_some_and(ends_there))
    }

    /// The wire text without the leading `-`, with the very bytes that clients have sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        unescape(&self.to_string()).into_owned()
    }

    /// An `ERR` error with a fixed sentence.
    #[must_use]
    pub const fn err(sentence: &'static str) -> Self {
        Self::Other(Cow::Borrowed(sentence))
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Received(text) = self {
            return f.write_str(text);
        }
        write!(f, "{} ", self.prefix())?;
        match self {
            Self::WrongType => {
                f.write_str("Operation against a key holding the wrong kind of value")
            }
            Self::Syntax => f.write_str("syntax error"),
            Self::NotInteger => f.write_str("value is not an integer or out of range"),
            Self::NotFloat => f.write_str("value is not a valid float"),
            Self::OnlyListening(name) => write!(
                f,
                "Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context"
            ),
            Self::NotInTransaction => f.write_str("Command not allowed inside a transaction"),
            Self::Overflow => f.write_str("increment or decrement would overflow"),
            Self::DecrementOverflow => f.write_str("decrement would overflow"),
            Self::NanOrInfinity => f.write_str("increment would produce NaN or Infinity"),
            Self::HashNotInteger => f.write_str("hash value is not an integer"),
            Self::HashNotFloat => f.write_str("hash value is not a float"),
            Self::Arity(name) => write!(f, "wrong number of arguments for '{name}' command"),
            Self::UnknownCommand { name, args } => {
                write!(
                    f,
                    "unknown command '{name}', with args beginning with: {args}"
                )
            }
            Self::Absent { what, name, why } => write!(f, "unknown {what} '{name}': {why}"),
            Self::UnknownSubcommand { sub, command } => {
                write!(f, "unknown subcommand '{sub}'. Try {command} HELP.")
            }
            Self::InvalidExpire(command) => {
                write!(f, "invalid expire time in '{command}' command")
            }
            Self::InvalidCursor => f.write_str("invalid cursor"),
            Self::TooLong { what, limit } => write!(f, "{what} is longer than {limit} bytes"),
            Self::StringTooLong => {
                f.write_str("string exceeds maximum allowed size (proto-max-bulk-len)")
            }
            Self::Protocol(what) => write!(f, "Protocol error: {what}"),
            Self::NoAuth => f.write_str("Authentication required."),
            Self::NoAuthHello => f.write_str(
                "HELLO must be called with the client already authenticated, otherwise the HELLO \
                 AUTH <user> <pass> option can be used to authenticate the client and select the \
                 RESP protocol version at the same time",
            ),
            Self::WrongPass => f.write_str("invalid username-password pair or user is disabled."),
            Self::NoProto => f.write_str("unsupported protocol version"),
            Self::Moved { slot, to } => write!(f, "{slot} {to}"),
            Self::CrossSlot(keys) => write_cross_slot(f, keys.as_deref()),
            Self::BusyKey => f.write_str("Target key name already exists."),
            Self::NoSuchKey => f.write_str("no such key"),
            Self::DiskFull => f.write_str(
                "the disk is full: nothing is written until there is room again, and reads go on",
            ),
            Self::Loading => f.write_str("Redis is loading the dataset in memory"),
            Self::ExecAbort => f.write_str("Transaction discarded because of previous errors."),
            Self::Discarded(why) => {
                let why = why.to_string();
                let sentence = why.strip_prefix("ERR ").unwrap_or(&why);
                write!(f, "Transaction discarded because of: {sentence}")
            }
            Self::ClusterDown(why) | Self::TryAgain(why) | Self::Unknown(why) => f.write_str(why),
            Self::Other(sentence) => f.write_str(sentence),
            Self::Received(_) => Ok(()),
        }
    }
}

fn write_cross_slot(f: &mut fmt::Formatter<'_>, keys: Option<&CrossSlot>) -> fmt::Result {
    f.write_str("Keys in request don't hash to the same slot")?;
    let Some(CrossSlot { first, second }) = keys else {
        return Ok(());
    };
    write!(
        f,
        " ('{}' is in slot {}, '{}' in slot {}; give keys that belong together one {{tag}})",
        first.0, first.1, second.0, second.1
    )
}

impl std::error::Error for ReplyError {}

/// A client's word at the end of an error, where Redis drops the ends of lines.
#[must_use]
pub fn shown_last(word: &[u8]) -> String {
    let end = memchr::memchr(0, word).unwrap_or(word.len());
    let text = escape(&word[..end]);
    text.trim_end_matches(['\r', '\n'])
        .replace(['\r', '\n'], " ")
}

/// The first bytes of a client's word, fit for a line of text; as in Redis, up to a zero byte.
#[must_use]
pub fn shown(word: &[u8], limit: usize) -> String {
    let cut = &word[..word.len().min(limit)];
    let end = memchr::memchr(0, cut).unwrap_or(cut.len());
    escape(&cut[..end]).replace(['\r', '\n'], " ")
}

/// A key in a sentence of our own, where Redis names none: what cannot be printed is escaped as in
/// Rust, and of a long one there is the beginning.
#[must_use]
pub fn shown_key(key: &[u8]) -> String {
    const BYTES: usize = 64;
    let mut shown = String::new();
    for chunk in key[..key.len().min(BYTES)].utf8_chunks() {
        shown.extend(chunk.valid().escape_debug());
        shown.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    if key.len() > BYTES {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error, and whether it is said before anybody looks at what a command does. What the
    /// executor of a command says is the first answer again, when it is sent a second time.
    fn errors() -> Vec<(ReplyError, bool)> {
        use ReplyError as E;
        let text = || "x".into();
        let long = |what| E::TooLong { what, limit: 9 };
        let (name, args, to) = (String::from("x"), String::new(), String::from("h:1"));
        vec![
            (E::WrongType, false),
            (E::Syntax, false),
            (E::NotInteger, false),
            (E::OnlyListening(name.clone()), true),
            (E::NotInTransaction, true),
            (E::NotFloat, false),
            (E::Overflow, false),
            (E::DecrementOverflow, false),
            (E::NanOrInfinity, false),
            (E::HashNotInteger, false),
            (E::HashNotFloat, false),
            (E::Arity(text()), true),
            (
                E::UnknownCommand {
                    name: name.clone(),
                    args,
                },
                true,
            ),
            (
                E::Absent {
                    what: "command",
                    name: name.clone(),
                    why: "x",
                },
                true,
            ),
            (
                E::UnknownSubcommand {
                    sub: name,
                    command: "X",
                },
                true,
            ),
            (E::InvalidExpire("x"), false),
            (E::InvalidCursor, false),
            (long("key"), true),
            (long("request"), true),
            (long("field"), false),
            (long("value"), false),
            (E::StringTooLong, false),
            (E::Protocol(text()), true),
            (E::NoAuth, true),
            (E::NoAuthHello, true),
            (E::WrongPass, true),
            (E::NoProto, true),
            (E::Moved { slot: 1, to }, true),
            (E::CrossSlot(None), true),
            (E::BusyKey, false),
            (E::NoSuchKey, false),
            (E::ExecAbort, true),
            (E::Discarded(Box::new(E::NoAuth)), true),
            (E::DiskFull, true),
            (E::Loading, true),
            (E::ClusterDown(text()), true),
            (E::TryAgain(text()), true),
            (E::Unknown(text()), false),
            (E::Other(text()), false),
        ]
    }

    /// A new error has to be added to [`errors`].
    #[test]
    fn it_is_known_of_every_error_whether_the_executor_says_it() {
        let received = |error: &ReplyError| ReplyError::Received(error.to_string());
        for (error, beforehand) in errors() {
            assert_eq!(error.is_beforehand(), beforehand, "{error}");
            assert_eq!(received(&error).is_beforehand(), beforehand, "{error}");
        }
        for (text, beforehand) in [
            ("ASK 7 h:1", true),
            ("LOADING", true),
            ("MASTERDOWN Link with MASTER is down", true),
            (
                "READONLY You can't write against a read only replica.",
                true,
            ),
            ("NOPERM this user has no permissions", true),
            ("ERR max number of clients reached", true),
            ("ERR unknown command", true),
            ("ERR unknown commands are many", false),
            ("MOVEDX", false),
            ("WRONGTYPE MISCONF", false),
            ("", false),
        ] {
            let error = ReplyError::Received(text.to_owned());
            assert_eq!(error.is_beforehand(), beforehand, "{text}");
        }
    }

    #[test]
    fn keys_are_escaped_and_cut() {
        for (key, shown) in [
            (&b"user:1"[..], "user:1"),
            (b"a\r\nb", r"a\r\nb"),
            (b"c\0d", r"c\0d"),
            (b"\xffe'", r"\xffe\'"),
            ("größe".as_bytes(), "größe"),
        ] {
            assert_eq!(shown_key(key), shown);
        }
        assert_eq!(shown_key(&[b'k'; 64]), "k".repeat(64));
        assert_eq!(shown_key(&[b'k'; 65536]), "k".repeat(64) + "...");
    }

    #[test]
    fn a_refused_exec_says_why_without_a_prefix_of_no_meaning() {
        let said = |why| ReplyError::Discarded(Box::new(why)).to_string();
        let expect = "EXECABORT Transaction discarded because of: ";
        let arity = ReplyError::Arity("exec".into());
        let sentence = "wrong number of arguments for 'exec' command";
        assert_eq!(said(arity), format!("{expect}{sentence}"));
        let no_auth = "NOAUTH Authentication required.";
        assert_eq!(said(ReplyError::NoAuth), format!("{expect}{no_auth}"));
    }

    #[test]
    fn what_clients_have_sent_is_repeated_byte_by_byte() {
        let sub = shown(b"\xe9\0x", 128);
        let command = "CLIENT";
        let error = ReplyError::UnknownSubcommand { sub, command };
        let expect = b"ERR unknown subcommand '\xe9'. Try CLIENT HELP.";
        assert_eq!(error.to_bytes(), expect);
        let option = shown_last(b"\xff\xfe\r\n");
        let error = ReplyError::Other(option.into());
        assert_eq!(error.to_bytes(), b"ERR \xff\xfe");
    }
}
