//! Requests out of bytes, wherever their pieces were cut.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::inline::split_words;
use super::integer;
use crate::ReplyError;
use crate::limits::{
    ARGUMENTS, INLINE_BYTES, QUERY_BYTES, UNAUTHENTICATED_ARGUMENTS, UNAUTHENTICATED_BYTES,
    VALUE_BYTES,
};

/// Words for which memory is kept from one request to the next.
const KEPT_WORDS: usize = 128;

/// What is said of a number that is wrong.
struct Texts {
    /// Its line does not end.
    too_big: &'static str,
    /// It is no number, or too large.
    invalid: &'static str,
}

/// Of the number of words.
const COUNT: Texts = Texts {
    too_big: "too big mbulk count string",
    invalid: "invalid multibulk length",
};

/// Of the length of a word.
const LENGTH: Texts = Texts {
    too_big: "too big bulk count string",
    invalid: "invalid bulk length",
};

/// What the beginning of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a request. Nothing may be taken from the buffer until more has arrived.
    Incomplete,
    /// A request of at least one word, and its length in bytes. See [`RequestReader::words`].
    Request(usize),
    /// So many bytes that ask for nothing and get no answer: an empty line or an empty array.
    Nothing(usize),
}

/// Reads requests off the front of a buffer that grows, each byte once.
///
/// ```
/// use dht_proto::resp::{Decoded, RequestReader};
/// let mut reader = RequestReader::default();
/// assert_eq!(reader.read(b"*2\r\n$3\r\nGET\r\n$1", true), Ok(Decoded::Incomplete));
/// let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n";
/// assert_eq!(reader.read(input, true), Ok(Decoded::Request(20)));
/// assert!(reader.words(input).eq([b"GET".as_slice(), b"k"]));
/// assert_eq!(reader.read(&input[20..], true), Ok(Decoded::Request(6)));
/// ```
#[derive(Debug, Default)]
pub struct RequestReader {
    phase: Phase,
    /// Where the next unread part begins, from the beginning of the request.
    at: usize,
    /// No end of line lies before this.
    scanned: usize,
    /// The words read so far: where they begin and end in the buffer, or in `unquoted`.
    words: Vec<(u32, u32)>,
    /// The words of an inline request, which may have been quoted.
    unquoted: Option<Vec<u8>>,
}

/// What is to be read next.
#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// A request.
    #[default]
    Start,
    /// The length of one of so many words.
    Length(usize),
    /// So many bytes of one of so many words.
    Word { left: usize, length: usize },
}

impl RequestReader {
    /// Reads the request at the beginning of `input`. After [`Decoded::Incomplete`] the same bytes,
    /// with more behind them, have to be given again; otherwise the bytes behind those that were
    /// taken.
    ///
    /// # Errors
    /// A protocol error in Redis's words; nothing more can be read from that connection.
    pub fn read(&mut self, input: &[u8], authenticated: bool) -> Result<Decoded, ReplyError> {
        if let Phase::Start = self.phase {
            match input.first() {
                None => return Ok(Decoded::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.read_inline(input),
            }
            let Some(count) = self.number(input, &COUNT)? else {
                return Ok(Decoded::Incomplete);
            };
            match self.begin(count, authenticated)? {
                0 => {
                    let taken = self.at;
                    self.reset();
                    return Ok(Decoded::Nothing(taken));
                }
                left => self.phase = Phase::Length(left),
            }
        }
        self.read_words(input, authenticated)
    }

    /// The words of the request that [`read`](Self::read) has just found at the beginning of the
    /// same `input`.
    pub fn words<'a>(&'a self, input: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let base = self.unquoted.as_deref().unwrap_or(input);
        let word = move |(start, end): &(u32, u32)| &base[*start as usize..*end as usize];
        self.words.iter().map(word)
    }

    /// Where in `input` a word of that request lies; no word of an inline request lies there.
    #[must_use]
    pub fn place(&self, word: usize) -> Option<Range<usize>> {
        let (start, end) = *self.words.get(word)?;
        self.unquoted
            .is_none()
            .then_some(start as usize..end as usize)
    }

    /// Lets go of what was kept of the last request, unless one has only begun: a connection may
    /// be idle for long.
    pub fn rest(&mut self) {
        if let Phase::Start = self.phase {
            self.forget();
        }
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let unquoted = self.unquoted.as_ref().map_or(0, Vec::capacity);
        self.words.capacity() * size_of::<(u32, u32)>() + unquoted
    }

    fn forget(&mut self) {
        self.words.clear();
        self.words.shrink_to(KEPT_WORDS);
        self.unquoted = None;
    }

    /// Checks the count of words, and forgets the last request.
    fn begin(&mut self, count: i64, authenticated: bool) -> Result<usize, ReplyError> {
        self.forget();
        // Redis takes a negative count for an empty request.
        let count = usize::try_from(count).unwrap_or(0);
        if count > ARGUMENTS {
            Err(protocol(COUNT.invalid))
        } else if count > UNAUTHENTICATED_ARGUMENTS && !authenticated {
            Err(protocol("unauthenticated multibulk length"))
        } else {
            Ok(count)
        }
    }

    fn read_words(&mut self, input: &[u8], authenticated: bool) -> Result<Decoded, ReplyError> {
        loop {
            let (left, length) = match self.phase {
                Phase::Start | Phase::Length(0) => {
                    let taken = self.at;
                    self.reset();
                    return Ok(Decoded::Request(taken));
                }
                Phase::Length(left) => match self.read_length(input, authenticated)? {
                    Some(length) => (left, length),
                    None => return Ok(Decoded::Incomplete),
                },
                Phase::Word { left, length } => (left, length),
            };
            let end = self.at + length;
            // The two bytes behind a word are not looked at, as in Redis.
            if input.len() < end + 2 {
                self.phase = Phase::Word { left, length };
                return Ok(Decoded::Incomplete);
            }
            self.words.push((position(self.at), position(end)));
            self.at = end + 2;
            self.scanned = self.at;
            self.phase = Phase::Length(left - 1);
        }
    }

    fn read_length(
        &mut self,
        input: &[u8],
        authenticated: bool,
    ) -> Result<Option<usize>, ReplyError> {
        let start = self.at;
        let found = input.get(start).copied().unwrap_or(b'$');
        if found != b'$' {
            // Redis looks at it only once the line is there.
            let line = self.line(input, LENGTH.too_big)?;
            return line.map_or(Ok(None), |_| Err(unexpected(found)));
        }
        let Some(length) = self.number(input, &LENGTH)? else {
            return Ok(None);
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= VALUE_BYTES)
            .ok_or_else(|| protocol(LENGTH.invalid))?;
        if length > UNAUTHENTICATED_BYTES && !authenticated {
            return Err(protocol("unauthenticated bulk length"));
        }
        if start + length > QUERY_BYTES {
            return Err(protocol("too big request"));
        }
        Ok(Some(length))
    }

    /// Takes the number behind a sign, and the end of its line, if that is complete. Usually a few
    /// digits are all of it; whatever else is there is left to the slower way.
    #[inline]
    fn number(&mut self, input: &[u8], texts: &Texts) -> Result<Option<i64>, ReplyError> {
        let digits = input.get(self.at + 1..).unwrap_or_default();
        let mut value = 0;
        for (count, byte) in digits.iter().take(10).enumerate() {
            match byte {
                b'1'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
                b'0' if count > 0 => value *= 10,
                b'\r' if count > 0 && digits.len() > count + 1 => {
                    self.at += count + 3;
                    self.scanned = self.at;
                    return Ok(Some(value));
                }
                _ => break,
            }
        }
        match self.line(input, texts.too_big)? {
            None => Ok(None),
            Some(text) => match integer(text) {
                None => Err(protocol(texts.invalid)),
                value => Ok(value),
            },
        }
    }

    /// Takes the line at `at`, without its first byte and its end, if it is complete.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        too_big: &'static str,
    ) -> Result<Option<&'a [u8]>, ReplyError> {
        let from = self.scanned.max(self.at);
        let limit = input.len().min(self.at + INLINE_BYTES);
        let unseen = input.get(from..limit).unwrap_or_default();
        match memchr(b'\r', unseen) {
            Some(length) if from + length + 1 < input.len() => {
                let text = input.get(self.at + 1..from + length).unwrap_or_default();
                self.at = from + length + 2;
                self.scanned = self.at;
                Ok(Some(text))
            }
            Some(length) => {
                self.scanned = from + length;
                Ok(None)
            }
            None if input.len() >= self.at + INLINE_BYTES => Err(protocol(too_big)),
            None => {
                self.scanned = limit;
                Ok(None)
            }
        }
    }

    fn read_inline(&mut self, input: &[u8]) -> Result<Decoded, ReplyError> {
        let limit = input.len().min(INLINE_BYTES);
        let from = self.scanned.min(limit);
        let Some(length) = memchr(b'\n', &input[from..limit]) else {
            self.scanned = limit;
            return if input.len() >= INLINE_BYTES {
                Err(protocol("too big inline request"))
            } else {
                Ok(Decoded::Incomplete)
            };
        };
        let end = from + length;
        let text = &input[..end];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let words = split_words(text).ok_or_else(|| protocol("unbalanced quotes in request"))?;
        self.begin(0, true)?;
        let mut unquoted = Vec::new();
        for word in &words {
            let start = position(unquoted.len());
            unquoted.extend_from_slice(word);
            self.words.push((start, position(unquoted.len())));
        }
        self.unquoted = Some(unquoted);
        self.reset();
        Ok(if words.is_empty() {
            Decoded::Nothing(end + 1)
        } else {
            Decoded::Request(end + 1)
        })
    }

    /// The next request begins where this one ended; its words stay readable.
    fn reset(&mut self) {
        self.phase = Phase::Start;
        self.at = 0;
        self.scanned = 0;
    }
}

/// A place in a request, which is never longer than [`QUERY_BYTES`] and a line.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cold]
fn protocol(what: &'static str) -> ReplyError {
    ReplyError::Protocol(Cow::Borrowed(what))
}

#[cold]
fn unexpected(byte: u8) -> ReplyError {
    let shown = char::from(if byte.is_ascii_graphic() { byte } else { b' ' });
    ReplyError::Protocol(Cow::Owned(format!("expected '$', got '{shown}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in `input`, given in pieces of `piece` bytes: requests as words, then the error
    /// if there is one.
    fn all(input: &[u8], piece: usize, authenticated: bool) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
        let mut reader = RequestReader::default();
        let (mut requests, mut start, mut arrived) = (Vec::new(), 0, 0);
        loop {
            match reader.read(&input[start..arrived], authenticated) {
                Ok(Decoded::Incomplete) if arrived == input.len() => return (requests, None),
                Ok(Decoded::Incomplete) => arrived = input.len().min(arrived + piece),
                Ok(Decoded::Nothing(taken)) => start += taken,
                Ok(Decoded::Request(taken)) => {
                    let words = reader.words(&input[start..arrived]);
                    requests.push(words.map(<[u8]>::to_vec).collect());
                    start += taken;
                }
                Err(error) => return (requests, Some(error.to_string())),
            }
        }
    }

    fn check(input: &str, expect: &str) {
        for piece in [1, 2, 3, 7, input.len().max(1)] {
            let (requests, error) = all(input.as_bytes(), piece, true);
            let mut shown: Vec<String> = requests
                .iter()
                .map(|words| {
                    let words = words
                        .iter()
                        .map(|word| String::from_utf8_lossy(word).into_owned());
                    words.collect::<Vec<_>>().join(",")
                })
                .collect();
            shown.extend(error);
            assert_eq!(shown.join(" / "), expect, "{input:?} in pieces of {piece}");
        }
    }

    #[test]
    fn requests() {
        check("", "");
        check("*1\r\n$4\r\nPING\r\n", "PING");
        check(
            "*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n",
            "GET, / PING",
        );
        check(
            "*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\nPING\r\n",
            "GET,\r\n\r\n / PING",
        );
        check("*0\r\n*-1\r\n\r\n \r\nPING\n", "PING");
        check(
            "PING\r\nset k \"a b\"\r\n*1\r\n$1\r\nx\r\n",
            "PING / set,k,a b / x",
        );
        check("*2\r\n$3\r\nGET\r\n$1", "");
    }

    #[test]
    fn protocol_errors_are_those_of_redis() {
        let wrong = |input: &str, what: &str| check(input, &format!("ERR Protocol error: {what}"));
        wrong("*x\r\n", "invalid multibulk length");
        wrong("*1048577\r\n", "invalid multibulk length");
        wrong("*01\r\n", "invalid multibulk length");
        wrong("*1\r\n:4\r\n", "expected '$', got ':'");
        wrong("*1\r\n\r\n", "expected '$', got ' '");
        wrong("*1\r\n$-1\r\n", "invalid bulk length");
        wrong("*1\r\n$1073741824\r\n", "invalid bulk length");
        wrong("*1\r\n$\r\n", "invalid bulk length");
        wrong("say \"hi\r\n", "unbalanced quotes in request");
        let long = "1".repeat(INLINE_BYTES + 10);
        wrong(&format!("*{long}"), "too big mbulk count string");
        wrong(&format!("*1\r\n${long}"), "too big bulk count string");
        wrong(&format!("*1\r\n:{long}\r\n"), "too big bulk count string");
        wrong(&long, "too big inline request");
        wrong(&format!("{long}\r\n"), "too big inline request");
    }

    #[test]
    fn clients_that_are_not_authenticated_get_little() {
        let error = |input: &str| all(input.as_bytes(), 1, false).1.unwrap_or_default();
        assert_eq!(error("*10\r\n$16384\r\n"), "");
        assert_eq!(
            error("*11\r\n"),
            "ERR Protocol error: unauthenticated multibulk length"
        );
        assert_eq!(
            error("*1\r\n$16385\r\n"),
            "ERR Protocol error: unauthenticated bulk length"
        );
    }

    #[test]
    fn a_request_has_a_limit_as_a_whole() {
        let mut input = b"*3\r\n".to_vec();
        for _ in 0..2 {
            input.extend(format!("${}\r\n", VALUE_BYTES / 2 + QUERY_BYTES - VALUE_BYTES).bytes());
            input.resize(
                input.len() + VALUE_BYTES / 2 + QUERY_BYTES - VALUE_BYTES,
                b'x',
            );
            input.extend(b"\r\n");
        }
        let error = all(&input, input.len(), true).1;
        assert_eq!(
            error.as_deref(),
            Some("ERR Protocol error: too big request")
        );
    }

    #[test]
    fn who_rests_keeps_little_and_never_what_has_only_begun() {
        let little = KEPT_WORDS * 8;
        let many = format!("*3000\r\n{}", "$1\r\nx\r\n".repeat(3000));
        let long = format!("ECHO {}\r\n", "x".repeat(60_000));
        for request in [many.as_bytes(), long.as_bytes()] {
            let mut reader = RequestReader::default();
            let read = reader.read(request, true);
            assert_eq!(read, Ok(Decoded::Request(request.len())));
            assert!(reader.kept_bytes() > 20_000);
            reader.rest();
            assert!(reader.kept_bytes() <= little, "{}", reader.kept_bytes());
        }
        let mut reader = RequestReader::default();
        let begun = &many.as_bytes()[..many.len() - 1];
        assert_eq!(reader.read(begun, true), Ok(Decoded::Incomplete));
        reader.rest();
        assert!(reader.kept_bytes() >= 2999 * 8);
        let read = reader.read(many.as_bytes(), true);
        assert_eq!(read, Ok(Decoded::Request(many.len())));
        assert_eq!(reader.words(many.as_bytes()).len(), 3000);
    }

    #[test]
    fn a_large_request_in_small_pieces_is_read_once() {
        let mut input = format!("*2\r\n$3\r\nGET\r\n${}\r\n", 1 << 22).into_bytes();
        input.resize(input.len() + (1 << 22), b'\r');
        input.extend(b"\r\n");
        let (requests, error) = all(&input, 16, true);
        assert_eq!((requests.len(), error), (1, None));
    }
}
