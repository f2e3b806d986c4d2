//! What native frames hold: MessagePack in the shape of MessagePack-RPC. docs/protocol.md describes
//! it for clients.
//!
//! Knows neither the commands that travel in it nor the connection. Everything written here
//! includes the frame's length; everything read is one frame without it.

use std::borrow::Cow;
use std::io::{self, Write};

use bytes::Bytes;
use rmp::encode;
use serde::Deserialize;

use crate::frame::{self, Malformed};
use crate::limits::{ARGUMENTS, FRAME_BYTES, NESTING, SEQUENCE};
use crate::msgpack::{Item, item, message_pack};
use crate::output::Stream;
use crate::parts::Shape;
use crate::{Reply, ReplyError, Sink};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const NOTIFICATION: u8 = 2;

/// The MessagePack extension type of an error inside a reply; its data is the error's text.
pub const ERROR_EXTENSION: i8 = 1;
/// The head of an array of two, longer than it had to be: so the pairs of a list are told from
/// other arrays where a reply goes on to a client of RESP2, for which they are one flat array.
const PAIR: [u8; 3] = [0xdc, 0, 2];

/// The notification with which a node ends a connection in order: all that it has executed is
/// answered, and whatever else arrives will not be executed.
pub const CLOSING: &str = "closing";

/// A frame's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// `[0, id, method, params, meta?]`: a command that wants an answer.
    Request(Request<'a>),
    /// `[1, id, error, result]`: the answer to the request with that id.
    Response {
        /// The request's id.
        id: u64,
        /// The result, or the error as [`ReplyError::Received`].
        reply: Reply,
    },
    /// `[2, method, params]`: a command that wants no answer.
    Notification(Words<'a>),
}

/// A command that wants an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Chosen by the sender, who recognizes the answer by it; 32 bits suffice, 64 are accepted.
    pub id: u64,
    /// The command: its name, then its arguments.
    pub argv: Words<'a>,
    /// What is said about the request.
    pub meta: Meta,
}

/// The words of a command, borrowed from the frame unless they had to be converted into text.
pub type Words<'a> = Vec<Cow<'a, [u8]>>;

/// What a request may say about itself: a map whose unknown keys are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Time that is left for an answer, in milliseconds from the moment of sending.
    pub deadline_ms: Option<u64>,
    /// The session in which the write has its place, as `CLUSTER SESSION` has answered.
    pub session: Option<u64>,
    /// The write's number in the session.
    pub sequence: Option<u64>,
    /// The number up to which the session's answers are needed no more; 0 when it is not said.
    pub acknowledged: Option<u64>,
}

/// A write's place in a session with its shard: what makes a retry recognizable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sender's session.
    pub session: u64,
    /// The write's number in the session, from 1 on; each is used once.
    pub sequence: u64,
    /// The sender will not ask again for the answers up to this number.
    pub acknowledged: u64,
}

impl Meta {
    /// The same with a place.
    #[must_use]
    pub const fn with_place(self, place: Place) -> Self {
        Self {
            session: Some(place.session),
            sequence: Some(place.sequence),
            acknowledged: Some(place.acknowledged),
            ..self
        }
    }

    /// The place that is given, if one is.
    ///
    /// # Errors
    /// It is given in part, or its number is above [`SEQUENCE`].
    pub fn place(&self) -> Result<Option<Place>, ReplyError> {
        match (self.session, self.sequence) {
            (Some(_), Some(sequence)) if sequence > SEQUENCE => {
                let what = format!("a sequence is at most {SEQUENCE}");
                Err(ReplyError::Other(what.into()))
            }
            (Some(session), Some(sequence)) => Ok(Some(Place {
                session,
                sequence,
                acknowledged: self.acknowledged.unwrap_or_default(),
            })),
            (None, None) => Ok(None),
            _ => Err(ReplyError::err("a session and a sequence go together")),
        }
    }
}

/// Appends a request. A command that fits into [`crate::limits::QUERY_BYTES`] as RESP fits into a
/// frame.
pub fn encode_request(id: u64, argv: &[impl AsRef<[u8]>], meta: &Meta, out: &mut impl Sink) {
    append(out, |to| {
        let with_meta = *meta != Meta::default();
        encode::write_array_len(to, 4 + u32::from(with_meta))?;
        encode::write_uint(to, REQUEST.into())?;
        encode::write_uint(to, id)?;
        write_words(argv, to)?;
        if with_meta {
            write_meta(meta, to)?;
        }
        Ok(())
    });
}

/// What serde reads, written without it, in a fraction of the time: each request has it.
fn write_meta(meta: &Meta, to: &mut impl Write) -> io::Result<()> {
    let fields = [
        ("deadline_ms", meta.deadline_ms),
        ("session", meta.session),
        ("sequence", meta.sequence),
        ("acknowledged", meta.acknowledged),
    ];
    let said = fields.into_iter();
    let said = said.filter_map(|(name, value)| Some((name, value?)));
    encode::write_map_len(to, length(said.clone().count()))?;
    for (name, value) in said {
        encode::write_str(to, name)?;
        encode::write_uint(to, value)?;
    }
    Ok(())
}

/// Appends a command that wants no answer.
pub fn encode_notification(argv: &[impl AsRef<[u8]>], out: &mut impl Sink) {
    append(out, |to| {
        encode::write_array_len(to, 3)?;
        encode::write_uint(to, NOTIFICATION.into())?;
        write_words(argv, to)
    });
}

/// Appends a response. A reply that is longer than a frame may be becomes an error, which says for
/// a command that writes that it is done.
pub fn encode_response(id: u64, reply: &Reply, writes: bool, out: &mut impl Sink) {
    let start = out.len();
    append_response(id, reply, out);
    if out.len() - start > FRAME_BYTES {
        out.truncate(start);
        append_response(id, &ReplyError::reply_too_long(writes).into(), out);
    }
}

fn append_response(id: u64, reply: &Reply, out: &mut impl Sink) {
    append(out, |to| {
        encode::write_array_len(to, 4)?;
        encode::write_uint(to, RESPONSE.into())?;
        encode::write_uint(to, id)?;
        match reply {
            Reply::Error(error) => {
                encode::write_str(to, &error.to_string())?;
                encode::write_nil(to)
            }
            reply => {
                encode::write_nil(to)?;
                write_reply(reply, to)
            }
        }
    });
}

/// Appends a frame that is written as a stream; memory takes all of it.
fn append<S: Sink>(out: &mut S, write: impl FnOnce(&mut Stream<'_, S>) -> io::Result<()>) {
    frame::append(out, |out| {
        if let Err(error) = write(&mut Stream(out)) {
            unreachable!("writing to memory failed: {error}");
        }
    });
}

/// The name as `str`, the arguments as an array of `bin`. In a name that is `str` a blank stands
/// before the subcommand, so that a name which holds another blank, or is no UTF-8, is `bin`.
fn write_words(argv: &[impl AsRef<[u8]>], to: &mut impl Write) -> io::Result<()> {
    let (name, args) = match argv.split_first() {
        Some((name, args)) => (name.as_ref(), args),
        None => (&[][..], argv),
    };
    match str::from_utf8(name) {
        Ok(name) if !name.contains(' ') => encode::write_str(to, name)?,
        _ => encode::write_bin(to, name)?,
    }
    encode::write_array_len(to, length(args.len()))?;
    for arg in args {
        encode::write_bin(to, arg.as_ref())?;
    }
    Ok(())
}

fn write_reply<S: Sink>(reply: &Reply, to: &mut Stream<'_, S>) -> io::Result<()> {
    match reply {
        Reply::Ok => encode::write_str(to, "OK")?,
        Reply::Status(text) => encode::write_str(to, text)?,
        Reply::Int(value) => encode::write_sint(to, *value).map(drop)?,
        Reply::Bulk(bytes) => {
            encode::write_bin_len(to, length(bytes.len()))?;
            to.0.put_shared(bytes);
        }
        Reply::Nil | Reply::NilArray => encode::write_nil(to)?,
        Reply::Array(items) | Reply::Set(items) => {
            encode::write_array_len(to, length(items.len()))?;
            items.iter().try_for_each(|item| write_reply(item, to))?;
        }
        Reply::Map(pairs) => {
            encode::write_map_len(to, length(pairs.len()))?;
            for (key, value) in pairs {
                write_reply(key, to)?;
                write_reply(value, to)?;
            }
        }
        Reply::Parts(parts) => {
            match parts.shape() {
                Shape::Array => encode::write_array_len(to, length(parts.len()))?,
                Shape::Map => encode::write_map_len(to, length(parts.len() / 2))?,
            };
            let start = to.0.len();
            for items in parts.blocks() {
                // It fits into no frame, and is not sent.
                if to.0.len() - start > FRAME_BYTES {
                    break;
                }
                items.iter().try_for_each(|item| write_reply(item, to))?;
            }
        }
        Reply::Pushes(messages) => {
            encode::write_array_len(to, length(messages.len()))?;
            for message in messages {
                encode::write_array_len(to, length(message.len()))?;
                message.iter().try_for_each(|item| write_reply(item, to))?;
            }
        }
        Reply::Pairs(pairs) => {
            encode::write_array_len(to, length(pairs.len()))?;
            for (first, second) in pairs {
                to.write_all(&PAIR)?;
                write_reply(first, to)?;
                write_reply(second, to)?;
            }
        }
        Reply::Double(value) => encode::write_f64(to, *value)?,
        Reply::Bool(value) => encode::write_bool(to, *value)?,
        Reply::Text(bytes) => encode::write_str(to, &String::from_utf8_lossy(bytes))?,
        Reply::Error(error) => {
            let text = error.to_string();
            encode::write_ext_meta(to, length(text.len()), ERROR_EXTENSION)?;
            to.write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

/// Appends a reply alone, for messages of other shapes.
pub fn append_reply(reply: &Reply, out: &mut impl Sink) {
    if let Err(error) = write_reply(reply, &mut Stream(out)) {
        unreachable!("writing to memory failed: {error}");
    }
}

/// Likewise, a byte string.
pub(crate) fn append_bulk(bytes: &[u8], out: &mut impl Sink) {
    if let Err(error) = encode::write_bin(&mut Stream(out), bytes) {
        unreachable!("writing to memory failed: {error}");
    }
}

/// Whether these bytes begin with a list of at least so many items; gives their number, that of a
/// map's keys and values together, and where the first one is.
pub(crate) fn long_list(bytes: &[u8], least: usize) -> Option<(Shape, usize, usize)> {
    let mut rest = bytes;
    let (shape, items) = match item(&mut rest).ok()? {
        Item::Array(count) if !rest.starts_with(&PAIR) => (Shape::Array, count),
        Item::Map(count) => (Shape::Map, 2 * count),
        _ => return None,
    };
    (items >= least).then(|| (shape, items, bytes.len() - rest.len()))
}

/// Takes a reply off the bytes, as [`append_reply`] has written it.
///
/// # Errors
/// There is none.
pub fn take_reply(rest: &mut &[u8]) -> Result<Reply, Malformed> {
    read_reply(rest, 0)
}

/// A count as MessagePack writes it; more than 32 bits would not fit into a frame either.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Reads the content of a frame.
///
/// # Errors
/// It is no such message. The sender cannot be answered, since its id may be wrong as well.
pub fn decode(frame: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut rest = frame;
    let Item::Array(count) = item(&mut rest)? else {
        return Err(Malformed("a message is an array"));
    };
    let message = match (unsigned(&mut rest)?, count) {
        (0, 4 | 5) => Message::Request(Request {
            id: unsigned(&mut rest)?,
            argv: read_words(&mut rest)?,
            meta: match count {
                5 => message_pack(&mut rest)?,
                _ => Meta::default(),
            },
        }),
        (1, 4) => read_response(&mut rest)?,
        (2, 3) => Message::Notification(read_words(&mut rest)?),
        _ => return Err(Malformed("unknown type of message")),
    };
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(Malformed("bytes behind the message"))
    }
}

fn unsigned(rest: &mut &[u8]) -> Result<u64, Malformed> {
    match item(rest)? {
        Item::Int(value) => u64::try_from(value).ok(),
        _ => None,
    }
    .ok_or(Malformed("an unsigned integer was expected"))
}

fn read_words<'a>(rest: &mut &'a [u8]) -> Result<Words<'a>, Malformed> {
    let mut argv = Words::new();
    match item(rest)? {
        Item::Str(name) => argv.extend(name.splitn(2, |byte| *byte == b' ').map(Cow::Borrowed)),
        Item::Bin(name) => argv.push(Cow::Borrowed(name)),
        _ => return Err(Malformed("a method is a string")),
    }
    let Item::Array(count) = item(rest)? else {
        return Err(Malformed("parameters are an array"));
    };
    if argv.len() + count > ARGUMENTS {
        return Err(Malformed("too many parameters"));
    }
    argv.reserve(count.min(rest.len()));
    for _ in 0..count {
        argv.push(match item(rest)? {
            Item::Str(bytes) | Item::Bin(bytes) => Cow::Borrowed(bytes),
            Item::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            _ => {
                return Err(Malformed(
                    "a parameter is a string, binary data or an integer",
                ));
            }
        });
    }
    Ok(argv)
}

fn read_response<'a>(rest: &mut &'a [u8]) -> Result<Message<'a>, Malformed> {
    let id = unsigned(rest)?;
    let error = match item(rest)? {
        Item::Nil => None,
        Item::Str(text) => Some(received(text)),
        _ => return Err(Malformed("an error is a string")),
    };
    let result = read_reply(rest, 0)?;
    Ok(Message::Response {
        id,
        reply: error.unwrap_or(result),
    })
}

/// An error of elsewhere.
#[must_use]
pub fn received(text: &[u8]) -> Reply {
    Reply::Error(ReplyError::Received(
        String::from_utf8_lossy(text).into_owned(),
    ))
}

fn read_pairs(
    rest: &mut &[u8],
    count: usize,
    depth: usize,
) -> Result<Vec<(Reply, Reply)>, Malformed> {
    let pair = |_| match rest.strip_prefix(&PAIR) {
        Some(behind) => {
            *rest = behind;
            Ok((read_reply(rest, depth + 2)?, read_reply(rest, depth + 2)?))
        }
        None => Err(Malformed("a pair was expected")),
    };
    (0..count).map(pair).collect()
}

fn read_reply(rest: &mut &[u8], depth: usize) -> Result<Reply, Malformed> {
    if depth > NESTING {
        return Err(Malformed("too deep a nesting"));
    }
    Ok(match item(rest)? {
        Item::Nil => Reply::Nil,
        Item::Bool(value) => Reply::Bool(value),
        Item::Int(value) => Reply::Int(i64::try_from(value).map_err(|_| Malformed("too large"))?),
        Item::Float(value) => Reply::Double(value),
        Item::Str(b"OK") => Reply::Ok,
        Item::Str(text) => Reply::Status(String::from_utf8_lossy(text).into_owned().into()),
        Item::Bin(bytes) => Reply::Bulk(Bytes::copy_from_slice(bytes)),
        Item::Ext(ERROR_EXTENSION, text) => received(text),
        Item::Ext(..) => return Err(Malformed("unknown extension type")),
        Item::Array(count) if count > 0 && rest.starts_with(&PAIR) => {
            Reply::Pairs(read_pairs(rest, count, depth)?)
        }
        Item::Array(count) => {
            let items = (0..count).map(|_| read_reply(rest, depth + 1));
            Reply::Array(items.collect::<Result<_, _>>()?)
        }
        Item::Map(count) => {
            let pairs = (0..count)
                .map(|_| Ok((read_reply(rest, depth + 1)?, read_reply(rest, depth + 1)?)));
            Reply::Map(pairs.collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn content(frame: &[u8]) -> &[u8] {
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        assert_eq!(frame.len(), length + 4);
        &frame[4..]
    }

    fn words<'a>(words: &[&'a [u8]]) -> Words<'a> {
        words.iter().map(|word| Cow::Borrowed(*word)).collect()
    }

    #[test]
    fn requests_round_trip() {
        let long = [7; 70_000];
        let commands: &[&[&[u8]]] = &[
            &[b"PING"],
            &[b"HSET", b"k", b"\xff\x00", b""],
            &[b"SET", b"k", &long],
            &[b"\xff", b"x"],
            &[b"two words"],
        ];
        for argv in commands {
            let place = Place {
                session: u64::MAX,
                sequence: 1,
                acknowledged: 0,
            };
            let deadlines = [None, Some(0), Some(u64::MAX)].map(|deadline_ms| Meta {
                deadline_ms,
                ..Meta::default()
            });
            for meta in deadlines
                .into_iter()
                .chain([deadlines[1].with_place(place)])
            {
                let mut out = BytesMut::new();
                encode_request(u64::MAX, argv, &meta, &mut out);
                let expect = Request {
                    id: u64::MAX,
                    argv: words(argv),
                    meta,
                };
                assert_eq!(decode(content(&out)), Ok(Message::Request(expect)));
            }
            let mut out = BytesMut::new();
            encode_notification(argv, &mut out);
            assert_eq!(
                decode(content(&out)),
                Ok(Message::Notification(words(argv)))
            );
        }
    }

    #[test]
    fn a_place_is_given_whole_or_not_at_all() {
        let place = Place {
            session: 7,
            sequence: 2,
            acknowledged: 1,
        };
        let whole = Meta::default().with_place(place);
        assert_eq!(whole.place(), Ok(Some(place)));
        assert_eq!(Meta::default().place(), Ok(None));
        let mut part = whole;
        part.acknowledged = None;
        let unsaid = Place {
            acknowledged: 0,
            ..place
        };
        assert_eq!(part.place(), Ok(Some(unsaid)));
        part.sequence = None;
        assert!(part.place().is_err());
    }

    #[test]
    fn what_a_simple_client_sends_is_understood() {
        let check = |frame: &[u8], argv: &[&[u8]]| match decode(frame).unwrap() {
            Message::Request(request) => assert_eq!(request.argv, words(argv)),
            other => panic!("{other:?}"),
        };
        check(b"\x94\x00\x07\xa4PING\x90", &[b"PING"]);
        check(b"\x94\x00\x07\xa9CLIENT ID\x90", &[b"CLIENT", b"ID"]);
        check(b"\x94\x00\x07\xa6CLIENT\x91\xa2ID", &[b"CLIENT", b"ID"]);
        check(
            b"\x94\x00\x07\xa3SET\x93\xa1k\x05\xd1\xff\x00",
            &[b"SET", b"k", b"5", b"-256"],
        );
        check(
            b"\x95\x00\x07\xa4PING\x90\x81\xa5trace\x93\x01\x02\x03",
            &[b"PING"],
        );
    }

    #[test]
    fn replies_round_trip() {
        let replies = [
            Reply::Ok,
            Reply::Status("PONG".into()),
            Reply::Int(i64::MIN),
            Reply::Int(200),
            Reply::bulk([0; 300]),
            Reply::Nil,
            Reply::Array(vec![Reply::Nil; 70_000]),
            Reply::Map(vec![(Reply::bulk("f"), Reply::bulk("v"))]),
            Reply::Double(-0.5),
            Reply::Bool(true),
            Reply::Error(ReplyError::Received("ERR x".into())),
            Reply::Array(vec![Reply::Error(ReplyError::Received(
                "TRYAGAIN y".into(),
            ))]),
        ];
        for reply in replies {
            let mut out = BytesMut::new();
            encode_response(9, &reply, false, &mut out);
            assert_eq!(
                decode(content(&out)),
                Ok(Message::Response { id: 9, reply })
            );
        }
    }

    #[test]
    fn a_reply_that_is_too_long_becomes_an_error() {
        let value = Bytes::from(vec![0; FRAME_BYTES]);
        let mut out = BytesMut::from("before");
        encode_response(9, &Reply::Bulk(value), false, &mut out);
        let Ok(Message::Response { id: 9, reply }) = decode(content(&out[6..])) else {
            panic!("no response");
        };
        let text = format!("ERR reply is longer than {FRAME_BYTES} bytes");
        assert_eq!(reply, Reply::Error(ReplyError::Received(text)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let deep = [
            b"\x94\x01\x01\xc0".to_vec(),
            vec![0x91; NESTING + 1],
            vec![0xc0],
        ]
        .concat();
        let frames: &[&[u8]] = &[
            b"",
            b"\xc0",
            b"\x90",
            b"\x94\x00",
            b"\x94\x03\x01\xc0\xc0",
            b"\x94\x00\xff\xa4PING\x90",
            b"\x94\x00\x01\xa4PING\x91\xc0",
            b"\x94\x00\x01\xa4PING\xdd\xff\xff\xff\xff",
            b"\x94\x00\x01\xa4PING\x90\x00",
            b"\x95\x00\x01\xa4PING\x90\x00",
            b"\x94\x01\x01\xc0\xdd\xff\xff\xff\xff",
            b"\x94\x01\x01\xc0\xc7\x00\x09",
            b"\x94\x01\x01\xc0\xc1",
            &deep,
        ];
        for frame in frames {
            assert!(decode(frame).is_err(), "{frame:?}");
        }
    }
}
