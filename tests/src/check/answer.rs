//! What the model answers, and which replies count as that. The protocols write one value in
//! different ways: a map is a flat array in RESP2, a status and a text are one type in MessagePack.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_proto::Reply;

/// The answer of a command of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `OK`.
    Ok,
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A byte string.
    Bulk(Bytes),
    /// The pairs of a hash, in any order.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// A list.
    Array(Vec<Answer>),
    /// An error, in full.
    Error(&'static str),
    /// Some time to live, of any length.
    TimeLeft,
}

impl Answer {
    /// A count.
    #[must_use]
    pub fn count(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// A byte string, or nothing.
    #[must_use]
    pub fn bulk_or_nil(bytes: Option<&Bytes>) -> Self {
        bytes.map_or(Self::Nil, |bytes| Self::Bulk(bytes.clone()))
    }

    /// Whether a client that should be told this was told it.
    #[must_use]
    pub fn fits(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Ok, Reply::Ok) | (Self::Nil, Reply::Nil) => true,
            (Self::Ok, Reply::Status(text)) => text == "OK",
            (Self::Int(expect), Reply::Int(n)) => expect == n,
            (Self::TimeLeft, Reply::Int(n)) => *n >= 0,
            (Self::Bulk(expect), Reply::Bulk(bytes) | Reply::Text(bytes)) => expect == bytes,
            (Self::Error(expect), Reply::Error(error)) => error.to_string() == *expect,
            (Self::Array(expect), Reply::Array(found)) => {
                let mut both = expect.iter().zip(found);
                expect.len() == found.len() && both.all(|(answer, reply)| answer.fits(reply))
            }
            (Self::Pairs(expect), reply) => {
                pairs(reply).is_some_and(|found| is_permutation(expect, &found))
            }
            _ => false,
        }
    }
}

/// The pairs of a map, in either form.
#[must_use]
pub fn pairs(reply: &Reply) -> Option<Vec<(&Bytes, &Bytes)>> {
    match reply {
        Reply::Map(pairs) => {
            let pairs = pairs.iter();
            pairs.map(|(a, b)| Some((bulk(a)?, bulk(b)?))).collect()
        }
        Reply::Array(flat) => {
            let (pairs, rest) = flat.as_chunks::<2>();
            let pairs = pairs.iter().map(|[a, b]| Some((bulk(a)?, bulk(b)?)));
            rest.is_empty().then(|| pairs.collect())?
        }
        _ => None,
    }
}

/// The bytes of a byte string.
#[must_use]
pub const fn bulk(reply: &Reply) -> Option<&Bytes> {
    match reply {
        Reply::Bulk(bytes) | Reply::Text(bytes) => Some(bytes),
        _ => None,
    }
}

fn is_permutation(expect: &BTreeMap<Bytes, Bytes>, found: &[(&Bytes, &Bytes)]) -> bool {
    let mut distinct: Vec<_> = found.iter().map(|(field, _)| field).collect();
    distinct.sort();
    distinct.dedup();
    let mut found_all = found.iter();
    distinct.len() == expect.len()
        && found.len() == expect.len()
        && found_all.all(|(field, value)| expect.get(*field) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_proto::ReplyError;

    #[test]
    fn one_value_has_several_forms() {
        let field = |n: u8| Bytes::copy_from_slice(&[n]);
        let hash = Answer::Pairs([(field(1), field(2)), (field(3), field(4))].into());
        let bulks = |ns: &[u8]| ns.iter().map(|n| Reply::bulk([*n])).collect::<Vec<_>>();
        assert!(hash.fits(&Reply::Array(bulks(&[3, 4, 1, 2]))));
        for wrong in [&[1, 2][..], &[1, 2, 1, 2], &[1, 2, 3, 5], &[1, 2, 3]] {
            assert!(!hash.fits(&Reply::Array(bulks(wrong))), "{wrong:?}");
        }
        let map = Reply::Map(vec![(Reply::bulk([1]), Reply::bulk([2]))]);
        assert!(!hash.fits(&map));
        assert!(Answer::Pairs([(field(1), field(2))].into()).fits(&map));
        assert!(Answer::Ok.fits(&Reply::Status("OK".into())));
        assert!(!Answer::Ok.fits(&Reply::Nil));
        assert!(!Answer::TimeLeft.fits(&Reply::Int(-1)));
    }

    #[test]
    fn errors_are_compared_by_their_text() {
        let text = "WRONGTYPE Operation against a key holding the wrong kind of value";
        let expect = Answer::Error(text);
        assert!(expect.fits(&Reply::Error(ReplyError::WrongType)));
        assert!(expect.fits(&Reply::Error(ReplyError::Received(text.to_owned()))));
        assert!(!expect.fits(&Reply::Error(ReplyError::NotInteger)));
    }
}
