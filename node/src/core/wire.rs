//! The protocols of a connection, as its session tells them apart: how requests are read, and how
//! and by when each is answered.

use bytes::BytesMut;
use dht_proto::resp::{self, RequestReader, Version};
use dht_proto::{Reply, ReplyError, frame, limits, rpc};
use tokio_util::codec::LengthDelimitedCodec;

use super::client::Protocol;
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
    /// By its id, as soon as it can be.
    Native {
        /// The request's id.
        id: u64,
        /// Time for an answer, in milliseconds from its arrival.
        deadline_ms: u64,
        /// Its place in a session of the client, which makes a retry recognizable.
        place: Option<Place>,
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
            Self::Native { .. } | Self::Silent => self,
        }
    }

    /// Whether the answer has to wait for those of earlier requests.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Resp(_))
    }

    /// Time for other nodes to answer, in milliseconds.
    #[must_use]
    pub const fn deadline_ms(self) -> u64 {
        match self {
            Self::Native { deadline_ms, .. } => deadline_ms,
            Self::Resp(_) | Self::Silent => DEADLINE_MS,
        }
    }

    /// Its place in a session of the client.
    #[must_use]
    pub const fn place(self) -> Option<Place> {
        match self {
            Self::Native { place, .. } => place,
            Self::Resp(_) | Self::Silent => None,
        }
    }

    /// Writes the answer.
    pub fn encode(self, reply: &Reply, output: &mut BytesMut) {
        match self {
            Self::Resp(version) => resp::encode(reply, version, output),
            Self::Native { id, .. } => rpc::encode_response(id, reply, output),
            Self::Silent => (),
        }
    }
}

/// Tells a native client that what is not answered was not executed and will not be.
pub fn encode_farewell(output: &mut BytesMut) {
    rpc::encode_notification(&[rpc::CLOSING], output);
}

/// Tells a native client what was wrong with bytes that are no request: the notification `error`.
pub fn encode_refusal(error: &ReplyError, output: &mut BytesMut) {
    rpc::encode_notification(&["error", &error.to_string()], output);
}
