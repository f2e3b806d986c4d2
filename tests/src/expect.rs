//! Replies as one line of text, and what a script may expect of one. Knows nothing of where replies
//! come from.
//!
//! ```text
//! +OK  -ERR syntax error  3  "text\x00"  nil  ["a", nil, 1]  {"field": "value"}
//! unordered [...]     the elements, or the pairs of {...}, in any order
//! between 1 and 60    an integer in this range, both ends included
//! like "v=*"          a string that matches the glob
//! any int             any integer; likewise any string, array, map
//! ```
//!
//! Inside an array or map a status ends before a blank or one of `,:]}`, and an error is written as
//! `-"ERR text"`.

use std::fmt;

use dht_node::core::glob;
use dht_proto::Reply;

use crate::quoting::{quote, unquote};

/// What a reply should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A status.
    Status(String),
    /// An error, its whole text.
    Error(String),
    /// An integer.
    Int(i64),
    /// A byte string.
    Bulk(Vec<u8>),
    /// The absent value.
    Nil,
    /// These elements in this order.
    Array(Vec<Self>),
    /// These pairs in this order.
    Map(Vec<(Self, Self)>),
    /// The elements or pairs of this array or map in any order.
    Unordered(Box<Self>),
    /// An integer between two.
    Between(i64, i64),
    /// A string that matches a glob.
    Like(Vec<u8>),
    /// Anything of a kind.
    Any(Kind),
}

/// The kind of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Int,
    /// A byte string or text.
    String,
    /// An array or a set.
    Array,
    /// A map.
    Map,
}

const KINDS: [(&str, Kind); 4] = [
    ("int", Kind::Int),
    ("string", Kind::String),
    ("array", Kind::Array),
    ("map", Kind::Map),
];

impl Expect {
    /// Reads a whole line.
    ///
    /// # Errors
    /// What could not be read, from where on.
    pub fn parse(line: &str) -> Result<Self, String> {
        if let Some(status) = line.strip_prefix('+') {
            return Ok(Self::Status(status.to_owned()));
        }
        if let Some(error) = line.strip_prefix('-')
            && error.starts_with(|first: char| first.is_ascii_uppercase())
        {
            return Ok(Self::Error(error.to_owned()));
        }
        match parse_value(line) {
            Some((value, rest)) if rest.trim().is_empty() => Ok(value),
            _ => Err(format!("no expectation: {line}")),
        }
    }

    /// Whether the reply is as expected. `flat` is said of a door that speaks RESP2, where a map is
    /// an array.
    #[must_use]
    pub fn accepts(&self, reply: &Reply, flat: bool) -> bool {
        match (self, reply) {
            (_, Reply::Pairs(pairs)) => self.accepts(&nested(pairs), flat),
            (Self::Nil, Reply::Nil | Reply::NilArray) => true,
            (Self::Status(expected), Reply::Ok) => expected == "OK",
            (Self::Status(expected), Reply::Status(status)) => expected == status,
            (Self::Error(expected), Reply::Error(error)) => *expected == error.to_string(),
            (Self::Int(expected), Reply::Int(int)) => expected == int,
            (Self::Between(from, to), Reply::Int(int)) => (from..=to).contains(&int),
            (Self::Bulk(expected), Reply::Bulk(bytes) | Reply::Text(bytes)) => expected == bytes,
            (Self::Like(pattern), Reply::Bulk(bytes) | Reply::Text(bytes)) => {
                glob::matches(pattern, bytes)
            }
            (Self::Any(kind), reply) => kind.covers(reply, flat),
            (Self::Array(expected), Reply::Array(elements))
                if flat && is_of_pairs(expected) && elements.len() == 2 * expected.len() =>
            {
                self.accepts(&in_pairs(elements), flat)
            }
            (Self::Array(expected), Reply::Array(elements) | Reply::Set(elements)) => {
                let accepts = |(expect, reply): (&Self, &Reply)| expect.accepts(reply, flat);
                expected.len() == elements.len() && expected.iter().zip(elements).all(accepts)
            }
            (Self::Map(expected), Reply::Map(pairs)) => {
                let accepts = |(expect, pair)| accepts_pair(expect, pair, flat);
                expected.len() == pairs.len() && expected.iter().zip(pairs).all(accepts)
            }
            (Self::Unordered(expected), _) => expected.accepts_unordered(reply, flat),
            (Self::Map(_), Reply::Array(elements)) if flat => {
                paired(elements).is_some_and(|pairs| self.accepts(&pairs, flat))
            }
            _ => false,
        }
    }

    fn accepts_unordered(&self, reply: &Reply, flat: bool) -> bool {
        match (self, reply) {
            (Self::Array(expected), Reply::Array(elements))
                if flat && is_of_pairs(expected) && elements.len() == 2 * expected.len() =>
            {
                self.accepts_unordered(&in_pairs(elements), flat)
            }
            (Self::Array(expected), Reply::Array(elements) | Reply::Set(elements)) => {
                is_matching(expected, elements, |expect, reply| {
                    expect.accepts(reply, flat)
                })
            }
            (Self::Map(expected), Reply::Map(pairs)) => {
                is_matching(expected, pairs, |expect, pair| {
                    accepts_pair(expect, pair, flat)
                })
            }
            (Self::Map(_), Reply::Array(elements)) if flat => {
                paired(elements).is_some_and(|pairs| self.accepts_unordered(&pairs, flat))
            }
            _ => false,
        }
    }
}

/// Whether it is a list of arrays of two, which RESP2 gives as one flat array.
fn is_of_pairs(expected: &[Expect]) -> bool {
    let is_pair = |expect: &Expect| matches!(expect, Expect::Array(pair) if pair.len() == 2);
    !expected.is_empty() && expected.iter().all(is_pair)
}

fn in_pairs(elements: &[Reply]) -> Reply {
    let pairs = elements.as_chunks::<2>().0.iter();
    Reply::Array(pairs.map(|pair| Reply::Array(pair.to_vec())).collect())
}

fn nested(pairs: &[(Reply, Reply)]) -> Reply {
    let pair = |(first, second): &(Reply, Reply)| vec![first.clone(), second.clone()];
    Reply::Array(pairs.iter().map(pair).map(Reply::Array).collect())
}

impl Kind {
    fn covers(self, reply: &Reply, flat: bool) -> bool {
        match self {
            Self::Int => matches!(reply, Reply::Int(_)),
            Self::String => matches!(reply, Reply::Bulk(_) | Reply::Text(_)),
            Self::Array => matches!(reply, Reply::Array(_) | Reply::Set(_)),
            Self::Map => matches!(reply, Reply::Map(_)) || flat && Self::Array.covers(reply, flat),
        }
    }
}

fn accepts_pair(expect: &(Expect, Expect), pair: &(Reply, Reply), flat: bool) -> bool {
    expect.0.accepts(&pair.0, flat) && expect.1.accepts(&pair.1, flat)
}

/// Whether each expectation finds an element of its own. The first that fits is taken, so
/// expectations that overlap should come with the narrower one first.
fn is_matching<E, R>(expected: &[E], found: &[R], accepts: impl Fn(&E, &R) -> bool) -> bool {
    let mut left: Vec<&R> = found.iter().collect();
    let all = expected.iter().all(|expect| {
        let at = left.iter().position(|reply| accepts(expect, reply));
        at.map(|at| left.swap_remove(at)).is_some()
    });
    all && left.is_empty()
}

/// The flat form of a map, as a map.
fn paired(elements: &[Reply]) -> Option<Reply> {
    let (pairs, []) = elements.as_chunks() else {
        return None;
    };
    let pair = |[name, value]: &[Reply; 2]| (name.clone(), value.clone());
    Some(Reply::Map(pairs.iter().map(pair).collect()))
}

/// Reads a value from the start of `text`; gives what follows it.
fn parse_value(text: &str) -> Option<(Expect, &str)> {
    let text = text.trim_start();
    let (word, rest) = split_word(text);
    match text.as_bytes().first()? {
        b'"' => unquote(text).map(|(bytes, rest)| (Expect::Bulk(bytes), rest)),
        b'[' => parse_list(&text[1..], "]", parse_value)
            .map(|(elements, rest)| (Expect::Array(elements), rest)),
        b'{' => {
            parse_list(&text[1..], "}", parse_pair).map(|(pairs, rest)| (Expect::Map(pairs), rest))
        }
        b'+' => Some((Expect::Status(word[1..].to_owned()), rest)),
        b'-' if text.starts_with("-\"") => {
            let (error, rest) = unquote(&text[1..])?;
            Some((Expect::Error(String::from_utf8(error).ok()?), rest))
        }
        b'-' | b'0'..=b'9' => Some((Expect::Int(word.parse().ok()?), rest)),
        _ => parse_word(word, rest),
    }
}

fn parse_word<'a>(word: &str, rest: &'a str) -> Option<(Expect, &'a str)> {
    match word {
        "nil" => Some((Expect::Nil, rest)),
        "unordered" => {
            let (expect, rest) = parse_value(rest)?;
            Some((Expect::Unordered(Box::new(expect)), rest))
        }
        "like" => {
            let (pattern, rest) = unquote(rest.trim_start())?;
            Some((Expect::Like(pattern), rest))
        }
        "any" => {
            let (kind, rest) = split_word(rest.trim_start());
            let (_, kind) = KINDS.into_iter().find(|(name, _)| *name == kind)?;
            Some((Expect::Any(kind), rest))
        }
        "between" => {
            let (from, rest) = split_word(rest.trim_start());
            let (to, rest) = split_word(rest.strip_prefix(" and ")?);
            Some((Expect::Between(from.parse().ok()?, to.parse().ok()?), rest))
        }
        _ => None,
    }
}

fn parse_pair(text: &str) -> Option<((Expect, Expect), &str)> {
    let (name, rest) = parse_value(text)?;
    let (value, rest) = parse_value(rest.strip_prefix(':')?)?;
    Some(((name, value), rest))
}

/// Elements between commas, up to `end`.
fn parse_list<'a, T>(
    text: &'a str,
    end: &str,
    parse: fn(&'a str) -> Option<(T, &'a str)>,
) -> Option<(Vec<T>, &'a str)> {
    let mut list = Vec::new();
    let mut rest = text;
    loop {
        if let Some(rest) = rest.strip_prefix(end) {
            return Some((list, rest));
        }
        if !list.is_empty() {
            rest = rest.strip_prefix(',')?;
        }
        let (element, tail) = parse(rest)?;
        list.push(element);
        rest = tail;
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', ',', ':', ']', '}']);
    text.split_at(end.unwrap_or(text.len()))
}

/// A reply as [`Expect::parse`] reads it.
#[must_use]
pub fn render(reply: &Reply) -> String {
    match reply {
        Reply::Error(error) => format!("-{error}"),
        _ => Shown(reply).to_string(),
    }
}

struct Shown<'a>(&'a Reply);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Ok => f.write_str("+OK"),
            Reply::Status(status) => write!(f, "+{status}"),
            Reply::Error(error) => write!(f, "-{}", quote(error.to_string().as_bytes())),
            Reply::Int(int) => write!(f, "{int}"),
            Reply::Bulk(bytes) | Reply::Text(bytes) => f.write_str(&quote(bytes)),
            Reply::Nil | Reply::NilArray => f.write_str("nil"),
            Reply::Double(double) => write!(f, "{}", quote(double.to_string().as_bytes())),
            Reply::Bool(truth) => write!(f, "{}", i64::from(*truth)),
            Reply::Array(elements) => write!(f, "[{}]", joined(elements)),
            Reply::Set(elements) => write!(f, "unordered [{}]", joined(elements)),
            Reply::Pushes(messages) => {
                let shown = |message: &Vec<Reply>| format!("pushed [{}]", joined(message));
                let messages: Vec<String> = messages.iter().map(shown).collect();
                f.write_str(&messages.join(" "))
            }
            Reply::Pairs(pairs) => Shown(&nested(pairs)).fmt(f),
            Reply::Parts(parts) => Shown(&parts.made()).fmt(f),
            Reply::Map(pairs) => {
                let pair = |(name, value)| format!("{}: {}", Shown(name), Shown(value));
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(name, value)| pair((name, value)))
                    .collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
        }
    }
}

fn joined(elements: &[Reply]) -> String {
    let elements: Vec<String> = elements
        .iter()
        .map(|reply| Shown(reply).to_string())
        .collect();
    elements.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_proto::ReplyError;

    fn accepts(line: &str, reply: &Reply) -> bool {
        Expect::parse(line).expect(line).accepts(reply, false)
    }

    #[test]
    fn a_rendered_reply_is_what_it_expects() {
        let nested = Reply::Array(vec![
            Reply::Nil,
            Reply::Int(-1),
            Reply::bulk("a\"\n, ]"),
            Reply::Status("write".into()),
            Reply::Error(ReplyError::Syntax),
            Reply::Map(vec![(Reply::bulk("f"), Reply::Array(Vec::new()))]),
        ]);
        let replies = [
            Reply::Ok,
            Reply::Status("two words".into()),
            Reply::Error(ReplyError::WrongType),
            nested,
            Reply::Map(Vec::new()),
            Reply::Set(vec![Reply::bulk("b"), Reply::bulk("a")]),
        ];
        for reply in &replies {
            let line = render(reply);
            for other in &replies {
                assert_eq!(accepts(&line, other), reply == other, "{line} {other:?}");
            }
        }
    }

    #[test]
    fn loose_expectations_have_limits() {
        let check = |line: &str, good: &[Reply], bad: &[Reply]| {
            for reply in good {
                assert!(accepts(line, reply), "{line} {reply:?}");
            }
            for reply in bad {
                assert!(!accepts(line, reply), "{line} {reply:?}");
            }
        };
        let list = |ints: &[i64]| Reply::Array(ints.iter().map(|int| Reply::Int(*int)).collect());
        check(
            "between -1 and 3",
            &[Reply::Int(-1), Reply::Int(3)],
            &[Reply::Int(4), Reply::Int(-2), Reply::Nil],
        );
        check(
            "unordered [1, 2, 2]",
            &[list(&[2, 1, 2])],
            &[list(&[1, 2]), list(&[1, 1, 2]), list(&[1, 2, 2, 2])],
        );
        check(
            "like \"a*\"",
            &[Reply::bulk("ab")],
            &[Reply::bulk("b"), Reply::Ok],
        );
        check("any int", &[Reply::Int(7)], &[Reply::bulk("7"), Reply::Nil]);
        check(
            "[any string]",
            &[Reply::Array(vec![Reply::bulk("")])],
            &[list(&[1])],
        );
    }

    #[test]
    fn a_map_may_be_flat_in_resp2_only() {
        let expect = Expect::parse("[{\"a\": 1}]").expect("a map");
        let flat = Reply::Array(vec![Reply::Array(vec![Reply::bulk("a"), Reply::Int(1)])]);
        assert!(expect.accepts(&flat, true));
        assert!(!expect.accepts(&flat, false));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "OK",
            "[1",
            "[1 2]",
            "{1}",
            "any",
            "any thing",
            "1 2",
            "between 1",
            "\"a",
        ] {
            assert!(Expect::parse(line).is_err(), "{line}");
        }
    }
}
