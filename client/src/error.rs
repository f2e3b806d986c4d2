//! What can become of a call, said so that the caller knows whether its command took effect.

use std::fmt;

use dht_proto::{Reply, ReplyError};

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call gave no value. The variant says what became of the command.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// It was not executed, for certain: the same command may be sent again.
    NotDone(Cause),
    /// It may or may not have been executed: it was sent, and no answer came; the cause may be what
    /// another server said, which knew nothing of it. Never of a command that only reads.
    Unknown(Cause),
    /// The server refused it, and no other can have done it before: it has changed nothing.
    Reply(ReplyError),
    /// It was executed, and the answer is not of the type that the call gives.
    Mismatch {
        /// The type that was wanted.
        wanted: &'static str,
        /// What came instead.
        reply: Reply,
    },
    /// A Rust value and what a hash holds do not fit each other, for this reason. What was to be
    /// written was not sent; what was read is there, and something else.
    Shape(String),
    /// The address or URL makes no sense, for this reason. Nothing was sent.
    Address(String),
}

/// What kept a command from being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection to this address, for this reason.
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The connection to this address broke.
    Broken {
        /// `host:port`.
        address: String,
        /// What was seen of it.
        why: String,
    },
    /// The deadline passed.
    Deadline,
    /// Too many requests were waiting on the connection.
    Busy,
    /// The cluster said so: `CLUSTERDOWN`, `TRYAGAIN`, `MOVED` or `UNKNOWN`; a server of Redis also
    /// `ASK`, `LOADING`, `MASTERDOWN` or `READONLY`. Where an earlier try may have done a write,
    /// also what was said of a later one by who has not looked for it: `MISCONF`, `NOAUTH`. Of a
    /// command that several servers had to do a part of, likewise, what the one said that did not
    /// do its part.
    Cluster(ReplyError),
}

impl Error {
    /// What the server said, where this is what a server said.
    #[must_use]
    pub const fn reply(&self) -> Option<&ReplyError> {
        match self {
            Self::Reply(error)
            | Self::NotDone(Cause::Cluster(error))
            | Self::Unknown(Cause::Cluster(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether no connection could be made.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::NotDone(Cause::Unreachable { .. }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone(cause) => write!(f, "not done: {cause}"),
            Self::Unknown(cause) => write!(f, "may or may not have been done: {cause}"),
            Self::Reply(error) => write!(f, "{error}"),
            Self::Mismatch { wanted, reply } => {
                write!(f, "the answer is not {wanted} but {reply:?}")
            }
            Self::Shape(why) | Self::Address(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, why } => write!(f, "cannot connect to {address}: {why}"),
            Self::Broken { address, why } => {
                write!(f, "the connection to {address} broke: {why}")
            }
            Self::Deadline => f.write_str("the deadline passed"),
            Self::Busy => f.write_str("too many requests are waiting"),
            Self::Cluster(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}
