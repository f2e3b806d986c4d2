//! The protocol of a connection: requests out of its bytes, replies into them.

use bytes::BytesMut;
use dht_proto::resp::{self, Decoded, RequestReader, Version};
use dht_proto::{Reply, ReplyError, limits};
use smallvec::SmallVec;

use super::client::Protocol;

/// Reads the requests of a connection.
#[derive(Debug, Default)]
pub struct Wire(RequestReader);

/// What the beginning of the input holds.
#[derive(Debug)]
pub enum Next<'a> {
    /// The beginning of a request, or nothing.
    Incomplete,
    /// So many bytes that ask for nothing.
    Blank(usize),
    /// A request, and its length in bytes.
    Request(Words<'a>, usize),
}

/// The words of a request.
pub type Words<'a> = SmallVec<[&'a [u8]; 8]>;

impl Wire {
    /// Reads the beginning of `input`. After [`Next::Incomplete`] the same bytes, with more behind
    /// them, have to be given again.
    ///
    /// # Errors
    /// The bytes are no request; nothing more can be read from the connection.
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
        authenticated: bool,
    ) -> Result<Next<'a>, ReplyError> {
        Ok(match self.0.read(input, authenticated)? {
            Decoded::Incomplete => Next::Incomplete,
            Decoded::Nothing(length) => Next::Blank(length),
            Decoded::Request(length) => Next::Request(self.0.words(input).collect(), length),
        })
    }
}

/// How and by when one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    version: Version,
}

impl Origin {
    /// The next request of a connection that speaks this protocol.
    #[must_use]
    pub const fn new(protocol: Protocol) -> Self {
        let version = match protocol {
            Protocol::Resp2 => Version::V2,
            Protocol::Resp3 | Protocol::Native => Version::V3,
        };
        Self { version }
    }

    /// Writes the answer.
    pub fn encode(self, reply: &Reply, output: &mut BytesMut) {
        resp::encode(reply, self.version, output);
    }

    /// Time for other nodes to answer, in milliseconds.
    #[must_use]
    pub const fn deadline_ms(self) -> u64 {
        limits::DEADLINE.as_millis() as u64
    }
}
