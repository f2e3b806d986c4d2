//! The value of an executed command, and every error text that a client can see.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

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
    /// A set in RESP3, an array elsewhere.
    Set(Vec<Reply>),
    /// A double in RESP3, its decimal text in RESP2.
    Double(f64),
    /// A boolean in RESP3, 0 or 1 in RESP2.
    Bool(bool),
    /// Text to be shown as it is: a verbatim string in RESP3, a bulk string in RESP2.
    Text(Bytes),
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
    pub const fn is_long(&self) -> bool {
        const PARTS: usize = 2048;
        match self {
            Self::Array(items) | Self::Set(items) => items.len() > PARTS,
            Self::Map(pairs) => pairs.len() > PARTS,
            _ => false,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The key holds another type.
    WrongType,
    /// An option or its place is wrong.
    Syntax,
    /// Not an integer, or outside 64 bits.
    NotInteger,
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
    /// EXEC executed nothing, since a command could not be queued.
    ExecAbort,
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

/// Two keys that were expected in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossSlot {
    /// The first key, shown.
    pub first: (String, u16),
    /// The first key in another slot, shown.
    pub second: (String, u16),
}

impl ReplyError {
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
            Self::ExecAbort => "EXECABORT",
            Self::ClusterDown(_) => "CLUSTERDOWN",
            Self::TryAgain(_) => "TRYAGAIN",
            Self::Unknown(_) => "UNKNOWN",
            Self::Received(text) => text.split(' ').next().unwrap_or_default(),
            _ => "ERR",
        }
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
            Self::ExecAbort => f.write_str("Transaction discarded because of previous errors."),
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
