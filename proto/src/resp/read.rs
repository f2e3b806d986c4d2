//! Replies out of bytes, for clients and tests: RESP2 and RESP3.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{integer, line};
use crate::escaped::escape;
use crate::frame::Malformed;
use crate::limits::{INLINE_BYTES, NESTING, VALUE_BYTES};
use crate::{Reply, ReplyError};

/// Most elements that an aggregate may declare.
const ELEMENTS: i64 = u32::MAX as i64;

/// Reads replies off the front of a buffer that grows, each byte once. Attributes are skipped.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// Everything before this is known to be there.
    at: usize,
    /// How many elements are still to come, for each aggregate that is open.
    open: Vec<i64>,
}

/// What a line begins.
enum Head {
    /// A value that ends with the line.
    Line,
    /// A text of so many bytes.
    Text(usize),
    /// So many further values.
    Aggregate(i64),
}

impl ReplyReader {
    /// Takes the next reply off the buffer, if it is complete. An error that was sent becomes
    /// [`ReplyError::Received`]. What was pushed is skipped, for those who have not asked for it.
    ///
    /// # Errors
    /// These bytes are no reply; nothing more can be read from that connection.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        loop {
            let next = self.read_any(input)?;
            if !matches!(next, Some(Reply::Pushes(_))) {
                return Ok(next);
            }
        }
    }

    /// Likewise, and what was pushed, too: as [`Reply::Pushes`] of one message.
    ///
    /// # Errors
    /// As above.
    pub fn read_any(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        if !self.is_complete(input)? {
            return Ok(None);
        }
        let whole = input.split_to(self.at).freeze();
        self.at = 0;
        let is_pushed = whole.starts_with(b">");
        Ok(Some(match parse(&whole, &mut 0)? {
            Reply::Array(message) if is_pushed => Reply::Pushes(vec![message]),
            reply => reply,
        }))
    }

    /// Goes on to the end of the first value; says whether it was reached.
    fn is_complete(&mut self, input: &[u8]) -> Result<bool, Malformed> {
        loop {
            let Some((text, next)) = line(input, self.at) else {
                return if input.len() - self.at > INLINE_BYTES {
                    Err(Malformed("too long a line"))
                } else {
                    Ok(false)
                };
            };
            match head(text)? {
                Head::Line | Head::Aggregate(0) => self.at = next,
                Head::Text(length) if input.len() < next + length + 2 => return Ok(false),
                Head::Text(length) => self.at = next + length + 2,
                Head::Aggregate(_) if self.open.len() == NESTING => {
                    return Err(Malformed("too deep a nesting"));
                }
                Head::Aggregate(count) => {
                    self.open.push(count);
                    self.at = next;
                    continue;
                }
            }
            if self.close() {
                return Ok(true);
            }
        }
    }

    /// A value has ended, and perhaps the aggregates around it; says whether all have.
    fn close(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

fn head(line: &[u8]) -> Result<Head, Malformed> {
    let Some((kind, text)) = line.split_first() else {
        return Err(Malformed("an empty line"));
    };
    match kind {
        b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => Ok(Head::Line),
        b'$' | b'*' if text == b"-1" => Ok(Head::Line),
        b'$' | b'!' | b'=' => integer(text)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= VALUE_BYTES)
            .map(Head::Text)
            .ok_or(Malformed("an invalid length")),
        b'*' | b'~' | b'>' => Ok(Head::Aggregate(count(text)?)),
        b'%' => Ok(Head::Aggregate(count(text)? * 2)),
        // Attributes stand before the value that they belong to.
        b'|' => Ok(Head::Aggregate(count(text)? * 2 + 1)),
        _ => Err(Malformed("an unknown type")),
    }
}

fn count(text: &[u8]) -> Result<i64, Malformed> {
    integer(text)
        .filter(|count| (0..=ELEMENTS).contains(count))
        .ok_or(Malformed("an invalid count"))
}

/// Reads a value that is known to be complete and nested no deeper than allowed.
fn parse(input: &Bytes, at: &mut usize) -> Result<Reply, Malformed> {
    let (head_line, next) = line(input, *at).ok_or(Malformed("an incomplete value"))?;
    let (kind, text) = head_line.split_first().ok_or(Malformed("an empty line"))?;
    *at = next;
    Ok(match (kind, text) {
        (b'_', _) | (b'$' | b'*', b"-1") => Reply::Nil,
        (b'+', b"OK") => Reply::Ok,
        (b'+', _) => Reply::Status(Cow::Owned(owned(text))),
        (b'-', _) => Reply::Error(ReplyError::Received(escape(text))),
        (b':', _) => Reply::Int(integer(text).ok_or(Malformed("an invalid integer"))?),
        (b'(', _) => Reply::bulk(text),
        (b',', _) => Reply::Double(double(text)?),
        (b'#', b"t") => Reply::Bool(true),
        (b'#', b"f") => Reply::Bool(false),
        (b'$', _) => Reply::Bulk(take(input, at, text)?),
        (b'=', _) => {
            let bytes = take(input, at, text)?;
            Reply::Text(bytes.slice(bytes.len().min(4)..))
        }
        (b'!', _) => Reply::Error(ReplyError::Received(escape(&take(input, at, text)?))),
        (b'~', _) => Reply::Set(parse_many(input, at, count(text)?)?),
        (b'*' | b'>', _) => Reply::Array(parse_many(input, at, count(text)?)?),
        (b'%', _) => Reply::Map(parse_pairs(input, at, count(text)?)?),
        (b'|', _) => {
            parse_pairs(input, at, count(text)?)?;
            parse(input, at)?
        }
        _ => return Err(Malformed("an unknown type")),
    })
}

fn parse_many(input: &Bytes, at: &mut usize, count: i64) -> Result<Vec<Reply>, Malformed> {
    (0..count).map(|_| parse(input, at)).collect()
}

fn parse_pairs(
    input: &Bytes,
    at: &mut usize,
    count: i64,
) -> Result<Vec<(Reply, Reply)>, Malformed> {
    (0..count)
        .map(|_| Ok((parse(input, at)?, parse(input, at)?)))
        .collect()
}

/// The text whose length was just read, not copied.
fn take(input: &Bytes, at: &mut usize, length: &[u8]) -> Result<Bytes, Malformed> {
    let length = integer(length).and_then(|length| usize::try_from(length).ok());
    let end = *at + length.ok_or(Malformed("an invalid length"))?;
    if input.len() < end + 2 {
        return Err(Malformed("an incomplete value"));
    }
    let text = input.slice(*at..end);
    *at = end + 2;
    Ok(text)
}

fn double(text: &[u8]) -> Result<f64, Malformed> {
    let text = str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(Malformed("an invalid double"))
}

fn owned(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Version, encode};

    /// Reads all replies of `input`, given in pieces of `piece` bytes.
    fn all(input: &[u8], piece: usize) -> Result<Vec<Reply>, Malformed> {
        let mut reader = ReplyReader::default();
        let mut buffer = BytesMut::new();
        let mut replies = Vec::new();
        for bytes in input.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some(reply) = reader.read(&mut buffer)? {
                replies.push(reply);
            }
        }
        assert!(buffer.is_empty(), "{buffer:?}");
        Ok(replies)
    }

    #[test]
    fn what_is_written_is_read() {
        let replies = [
            Reply::Ok,
            Reply::Status("PONG".into()),
            Reply::Int(-5),
            Reply::bulk("a\r\nb"),
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Array(vec![
                Reply::Array(vec![Reply::Nil]),
                Reply::Set(vec![Reply::Int(1)]),
            ]),
            Reply::Map(vec![(Reply::bulk("k"), Reply::Map(vec![]))]),
            Reply::Double(0.1),
            Reply::Double(f64::NEG_INFINITY),
            Reply::Bool(false),
            Reply::Text(Bytes::from_static(b"lines\n")),
            Reply::Error(ReplyError::Received("ERR no".into())),
        ];
        let mut bytes = BytesMut::new();
        replies
            .iter()
            .for_each(|reply| encode(reply, Version::V3, &mut bytes));
        for piece in [1, 2, 5, bytes.len()] {
            assert_eq!(all(&bytes, piece).unwrap(), replies);
        }
    }

    #[test]
    fn other_forms() {
        let check = |input: &str, expect| {
            let expect: &[Reply] = &[expect];
            for piece in [1, 3, input.len()] {
                let replies = all(input.as_bytes(), piece);
                assert_eq!(replies.as_deref(), Ok(expect), "{input:?}");
            }
        };
        check("*-1\r\n", Reply::Nil);
        check("$-1\r\n", Reply::Nil);
        check(
            "(123456789012345678901\r\n",
            Reply::bulk("123456789012345678901"),
        );
        check(
            "!5\r\nERR x\r\n",
            Reply::Error(ReplyError::Received("ERR x".into())),
        );
        check(
            "|1\r\n+ttl\r\n:5\r\n*1\r\n:7\r\n",
            Reply::Array(vec![Reply::Int(7)]),
        );
        check(">2\r\n+message\r\n+x\r\n:7\r\n", Reply::Int(7));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for input in [
            "\r\n",
            "x\r\n",
            ":x\r\n",
            "$-2\r\n",
            "$99999999999\r\n",
            "*99999999999\r\n",
            "*-2\r\n",
            ",x\r\n",
            "#x\r\n",
            "%-1\r\n",
            "$?\r\n",
        ] {
            assert!(all(input.as_bytes(), 1).is_err(), "{input:?}");
        }
        assert!(all(&b"*1\r\n".repeat(NESTING + 1), 7).is_err());
        assert!(all(&b"+".repeat(INLINE_BYTES + 2), 1000).is_err());
    }
}
