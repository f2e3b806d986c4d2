//! A connection as a client sees it: requests out as bytes, replies in, each told apart by what it
//! was wanted for.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dht_node::core::client::Protocol;
use dht_proto::frame::codec;
use dht_proto::limits::FRAME_BYTES;
use dht_proto::resp::{self, ReplyReader};
use dht_proto::rpc::{self, Message, Meta, Place};
use dht_proto::{Reply, frame::Malformed};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// The client's end of a connection. `W` says what a reply is wanted for.
pub struct Line<W> {
    protocol: Protocol,
    /// Requests that are not answered, oldest first, with their ids.
    waiting: VecDeque<(u64, W)>,
    last_id: u64,
    input: BytesMut,
    replies: ReplyReader,
    frames: LengthDelimitedCodec,
}

impl<W> Line<W> {
    /// A connection that has just been opened.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            waiting: VecDeque::new(),
            last_id: 0,
            input: BytesMut::new(),
            replies: ReplyReader::default(),
            frames: codec(FRAME_BYTES),
        }
    }

    /// Whether everything is answered.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends a request.
    pub fn ask(&mut self, argv: &[Bytes], deadline_ms: u64, want: W, out: &mut BytesMut) {
        self.ask_in(None, (argv, deadline_ms), want, out);
    }

    /// Appends a request with its place in a session, which RESP cannot say.
    pub fn ask_in(
        &mut self,
        place: Option<Place>,
        (argv, deadline_ms): (&[Bytes], u64),
        want: W,
        out: &mut BytesMut,
    ) {
        self.last_id += 1;
        if self.protocol == Protocol::Native {
            let meta = Meta {
                deadline_ms: Some(deadline_ms),
                session: place.map(|place| place.session),
                sequence: place.map(|place| place.sequence),
                acknowledged: place.map(|place| place.acknowledged),
            };
            rpc::encode_request(self.last_id, argv, &meta, out);
        } else {
            resp::encode_request(argv, out);
        }
        self.waiting.push_back((self.last_id, want));
    }

    /// What has no answer and will get none.
    pub fn give_up(self) -> impl Iterator<Item = W> {
        self.waiting.into_iter().map(|(_, want)| want)
    }

    /// Takes what has arrived; gives the replies that are complete.
    ///
    /// # Errors
    /// These bytes are no reply, or to no request.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<(W, Reply)>, Malformed> {
        self.input.extend_from_slice(bytes);
        let mut taken = Vec::new();
        while let Some(next) = if self.protocol == Protocol::Native {
            self.next_frame()?
        } else {
            self.next_reply()?
        } {
            taken.push(next);
        }
        Ok(taken)
    }

    fn next_reply(&mut self) -> Result<Option<(W, Reply)>, Malformed> {
        let Some(reply) = self.replies.read(&mut self.input)? else {
            return Ok(None);
        };
        let first = self.waiting.pop_front();
        let (_, want) = first.ok_or(Malformed("a reply to no request"))?;
        Ok(Some((want, reply)))
    }

    fn next_frame(&mut self) -> Result<Option<(W, Reply)>, Malformed> {
        let frame = self.frames.decode(&mut self.input);
        let Some(frame) = frame.map_err(|_| Malformed("too long a frame"))? else {
            return Ok(None);
        };
        let Message::Response { id, reply } = rpc::decode(&frame)? else {
            return Err(Malformed("no response"));
        };
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id);
        let found = at.and_then(|at| self.waiting.remove(at));
        let (_, want) = found.ok_or(Malformed("a response to no request"))?;
        Ok(Some((want, reply)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_proto::resp::Version;

    #[test]
    fn replies_in_resp_come_in_order_and_in_pieces() {
        let mut line = Line::new(Protocol::Resp2);
        let mut out = BytesMut::new();
        line.ask(&["GET".into(), "k".into()], 0, 'a', &mut out);
        line.ask(&["GET".into(), "l".into()], 0, 'b', &mut out);
        let mut replies = BytesMut::new();
        resp::encode(&Reply::Int(1), Version::V2, &mut replies);
        resp::encode(&Reply::Nil, Version::V2, &mut replies);
        assert_eq!(line.take(&replies[..2]).unwrap(), []);
        let taken = line.take(&replies[2..]).unwrap();
        assert_eq!(taken, [('a', Reply::Int(1)), ('b', Reply::Nil)]);
        assert!(line.is_quiet() && line.take(&replies).is_err());
    }

    #[test]
    fn native_responses_come_in_any_order() {
        let mut line = Line::new(Protocol::Native);
        let mut out = BytesMut::new();
        line.ask(&["GET".into(), "k".into()], 5, 'a', &mut out);
        line.ask(&["GET".into(), "l".into()], 5, 'b', &mut out);
        let mut responses = BytesMut::new();
        rpc::encode_response(2, &Reply::Nil, false, &mut responses);
        assert_eq!(line.take(&responses).unwrap(), [('b', Reply::Nil)]);
        assert!(!line.is_quiet() && line.take(&responses).is_err());
    }
}
