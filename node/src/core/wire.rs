//! The protocols of a connection, as its session tells them apart: how requests are read, and how
//! and by when each is answered.

use dht_proto::resp::{self, RequestReader, Version};
use dht_proto::spec::Kind;
use dht_proto::{Output, Reply, ReplyError, frame, limits, rpc};
use tokio_util::codec::LengthDelimitedCodec;

use super::client::{Client, Protocol};
use super::pubsub::Message;
use super::replication::task::Place;

/// Time for other nodes to answer a request that names none, in milliseconds.
pub const DEADLINE_MS: u64 = limits::DEADLINE.as_millis() as u64;

/// Longest frame of a native connection, in bytes. Who has not authenticated has little to say.
#[must_use]
pub const fn frame_bytes(authenticated: bool) -> usize {
    if authenticated {
        limits::FRAME_BYTES
    } else {
        limits::UNAUTHENTICATED_BYTES
    }
}

/// Reads the requests of a connection.
#[derive(Debug)]
pub enum Wire {
    /// RESP of either version, and inline commands.
    Resp(RequestReader),
    /// MessagePack frames.
    Native(LengthDelimitedCodec),
}

impl Wire {
    /// A connection that begins in this protocol.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp2 | Protocol::Resp3 => Self::Resp(RequestReader::default()),
            Protocol::Native => Self::Native(frame::codec(limits::FRAME_BYTES)),
        }
    }
}

/// How and by when one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the order of requests.
    Resp(Version),
    /// Likewise, but for what is said of channels, not at all: its client wants no replies.
    Muted(Version),
    /// By its id, as soon as it can be.
    Native {
        /// The request's id.
        id: u64,
        /// Time for an answer, in milliseconds from its arrival.
        deadline_ms: u64,
        /// Its place in a session of the client, which makes a retry recognizable.
        place: Option<Place>,
        /// Whether the command writes, as soon as that is known.
        writes: bool,
    },
    /// Not at all: a notification.
    Silent,
}

impl Origin {
    /// A RESP request of a connection that speaks this protocol at present.
    #[must_use]
    pub const fn resp(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp2 => Self::Resp(Version::V2),
            Protocol::Resp3 | Protocol::Native => Self::Resp(Version::V3),
        }
    }

    /// The same request, answered in RESP as this protocol has it.
    #[must_use]
    pub const fn in_version_of(self, protocol: Protocol) -> Self {
        match self {
            Self::Resp(_) => Self::resp(protocol),
            Self::Native { .. } | Self::Muted(_) | Self::Silent => self,
        }
    }

    /// The same request, answered as its client wants it once it is executed: in another version,
    /// or not at all.
    #[must_use]
    pub fn as_wanted_by(self, client: &Client) -> Self {
        match self {
            Self::Resp(_) | Self::Muted(_) => client.origin(),
            Self::Native { .. } | Self::Silent => self,
        }
    }

    /// The same request, of a command that writes, or of one that does not.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        if let Self::Native { writes, .. } = &mut self {
            *writes = kind.writes() || kind.is_transaction();
        }
        self
    }

    /// Whether the answer has to wait for those of earlier requests.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Resp(_) | Self::Muted(_))
    }

    /// Time for other nodes to answer, in milliseconds.
    #[must_use]
    pub const fn deadline_ms(self) -> u64 {
        match self {
            Self::Native { deadline_ms, .. } => deadline_ms,
            Self::Resp(_) | Self::Muted(_) | Self::Silent => DEADLINE_MS,
        }
    }

    /// Its place in a session of the client.
    #[must_use]
    pub const fn place(self) -> Option<Place> {
        match self {
            Self::Native { place, .. } => place,
            Self::Resp(_) | Self::Muted(_) | Self::Silent => None,
        }
    }

    /// Writes the answer.
    pub fn encode(self, reply: &Reply, output: &mut Output) {
        match self {
            Self::Resp(version) => resp::encode(reply, version, output),
            Self::Native { id, writes, .. } => {
                rpc::encode_response(id, reply, writes, output);
            }
            Self::Muted(version) if matches!(reply, Reply::Pushes(_)) => {
                resp::encode(reply, version, output);
            }
            Self::Muted(_) | Self::Silent => (),
        }
    }
}

/// Writes a message that the client listens to: pushed in RESP3, an array among the replies in
/// RESP2, a notification in native frames.
pub fn encode_message(message: &Message, protocol: Protocol, output: &mut Output) {
    let kind = message.kind();
    match Origin::resp(protocol) {
        Origin::Resp(version) if protocol != Protocol::Native => {
            let words = message.words().cloned().map(Reply::Bulk);
            let words = std::iter::once(Reply::bulk(kind)).chain(words).collect();
            resp::encode(&Reply::Pushes(vec![words]), version, output);
        }
        _ => {
            let words = message.words().map(|word| &word[..]);
            let words: Vec<&[u8]> = std::iter::once(kind.as_bytes()).chain(words).collect();
            rpc::encode_notification(&words, output);
        }
    }
}

/// Tells a native client that what is not answered was not executed and will not be.
pub fn encode_farewell(output: &mut Output) {
    rpc::encode_notification(&[rpc::CLOSING], output);
}

/// Tells a native client what was wrong with bytes that are no request: the notification `error`.
pub fn encode_refusal(error: &ReplyError, output: &mut Output) {
    rpc::encode_notification(&["error", &error.to_string()], output);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_too_long_says_whether_something_was_done() {
        let reply = Reply::bulk(vec![0; limits::FRAME_BYTES]);
        let kinds = [
            (Kind::READ, &b"ERR reply is longer"[..]),
            (Kind::WRITE, b"UNKNOWN done"),
            (Kind::EXECUTION, b"UNKNOWN done"),
        ];
        for (kind, begin) in kinds {
            let origin = Origin::Native {
                id: 1,
                deadline_ms: 1,
                place: None,
                writes: false,
            };
            let mut output = Output::default();
            origin.of_kind(kind).encode(&reply, &mut output);
            let text = output.to_vec();
            assert!(text.windows(begin.len()).any(|part| part == begin));
        }
    }
}
