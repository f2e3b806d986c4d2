//! From replies to the Rust types that typed calls give.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use bytes::Bytes;
use dht_proto::Reply;

use crate::error::{Error, Result};

/// A type that a reply can become.
pub trait FromReply: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Makes the value.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the reply is of another type.
    fn from_reply(reply: Reply) -> Result<Self>;

    /// Makes one value of each element of a list.
    ///
    /// # Errors
    /// [`Error::Mismatch`] at the first element of another type.
    fn from_list(replies: Vec<Reply>) -> Result<Vec<Self>> {
        replies.into_iter().map(Self::from_reply).collect()
    }

    /// Makes one value of each pair of a map.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when a pair cannot become one.
    fn from_map(pairs: Vec<(Reply, Reply)>) -> Result<Vec<Self>> {
        mismatch("a list", Reply::Map(pairs))
    }
}

const fn mismatch<T>(wanted: &'static str, reply: Reply) -> Result<T> {
    Err(Error::Mismatch { wanted, reply })
}

impl FromReply for Reply {
    const NAME: &'static str = "any reply";

    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(reply)
    }
}

impl FromReply for () {
    const NAME: &'static str = "OK";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Ok => Ok(()),
            other => mismatch(Self::NAME, other),
        }
    }
}

impl FromReply for i64 {
    const NAME: &'static str = "an integer";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Int(n) => Ok(n),
            other => mismatch(Self::NAME, other),
        }
    }
}

impl FromReply for u64 {
    const NAME: &'static str = "a count";

    /// A SCAN cursor comes as text.
    fn from_reply(reply: Reply) -> Result<Self> {
        let number = match &reply {
            Reply::Int(n) => Self::try_from(*n).ok(),
            Reply::Bulk(text) => parsed(text),
            _ => None,
        };
        number.map_or_else(|| mismatch(Self::NAME, reply), Ok)
    }
}

impl FromReply for f64 {
    const NAME: &'static str = "a float";

    fn from_reply(reply: Reply) -> Result<Self> {
        let number = match &reply {
            Reply::Double(number) => Some(*number),
            Reply::Bulk(text) => parsed(text),
            _ => None,
        };
        number.map_or_else(|| mismatch(Self::NAME, reply), Ok)
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

impl FromReply for bool {
    const NAME: &'static str = "0 or 1, OK or nil";

    /// `SET … NX` says OK or nil; most other commands say 1 or 0.
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Int(1) | Reply::Bool(true) | Reply::Ok => Ok(true),
            Reply::Int(0) | Reply::Bool(false) | Reply::Nil => Ok(false),
            other => mismatch(Self::NAME, other),
        }
    }
}

impl FromReply for Bytes {
    const NAME: &'static str = "a byte string";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Bulk(bytes) | Reply::Text(bytes) => Ok(bytes),
            other => mismatch(Self::NAME, other),
        }
    }
}

impl FromReply for String {
    const NAME: &'static str = "UTF-8 text";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Ok => Ok("OK".to_owned()),
            Reply::Status(text) => Ok(text.into_owned()),
            Reply::Bulk(bytes) | Reply::Text(bytes) => match Self::from_utf8(bytes.into()) {
                Ok(text) => Ok(text),
                Err(wrong) => mismatch(Self::NAME, Reply::Bulk(wrong.into_bytes().into())),
            },
            other => mismatch(Self::NAME, other),
        }
    }
}

impl<T: FromReply> FromReply for Option<T> {
    const NAME: &'static str = T::NAME;

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Nil | Reply::NilArray => Ok(None),
            other => T::from_reply(other).map(Some),
        }
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    const NAME: &'static str = "a list";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Array(items) | Reply::Set(items) => T::from_list(items),
            Reply::Map(pairs) | Reply::Pairs(pairs) => T::from_map(pairs),
            other => mismatch(Self::NAME, other),
        }
    }
}

impl<A: FromReply, B: FromReply> FromReply for (A, B) {
    const NAME: &'static str = "two values";

    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Array(items) if items.len() == 2 => {
                let mut items = items.into_iter();
                let (Some(first), Some(second)) = (items.next(), items.next()) else {
                    unreachable!("the length was checked");
                };
                pair(first, second)
            }
            other => mismatch(Self::NAME, other),
        }
    }

    /// A flat list holds the pairs one after the other, as HSCAN gives them.
    fn from_list(replies: Vec<Reply>) -> Result<Vec<Self>> {
        let mut pairs = Vec::with_capacity(replies.len() / 2);
        let mut replies = replies.into_iter();
        while let Some(first) = replies.next() {
            match replies.next() {
                Some(second) => pairs.push(pair(first, second)?),
                None => return mismatch(Self::NAME, first),
            }
        }
        Ok(pairs)
    }

    fn from_map(pairs: Vec<(Reply, Reply)>) -> Result<Vec<Self>> {
        pairs
            .into_iter()
            .map(|(first, second)| pair(first, second))
            .collect()
    }
}

fn pair<A: FromReply, B: FromReply>(first: Reply, second: Reply) -> Result<(A, B)> {
    Ok((A::from_reply(first)?, B::from_reply(second)?))
}

impl<K, V, S> FromReply for HashMap<K, V, S>
where
    K: FromReply + Eq + Hash,
    V: FromReply,
    S: BuildHasher + Default,
{
    const NAME: &'static str = "a map";

    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(Vec::<(K, V)>::from_reply(reply)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromReply + PartialEq + std::fmt::Debug>(reply: Reply, expect: &Option<T>) {
        let shown = format!("{reply:?}");
        assert_eq!(T::from_reply(reply).ok(), *expect, "{shown}");
    }

    fn bulks(words: &[&str]) -> Vec<Reply> {
        words.iter().map(Reply::bulk).collect()
    }

    #[test]
    fn single_values() {
        check(Reply::Ok, &Some(()));
        check::<()>(Reply::Nil, &None);
        check(Reply::Int(-3), &Some(-3_i64));
        check::<u64>(Reply::Int(-3), &None);
        check(Reply::bulk("17"), &Some(17_u64));
        check(Reply::bulk("10.5"), &Some(10.5));
        check::<f64>(Reply::bulk("ten"), &None);
        check(Reply::Int(1), &Some(true));
        check(Reply::Nil, &Some(false));
        check::<bool>(Reply::Int(2), &None);
        check(Reply::bulk("v"), &Some(Bytes::from_static(b"v")));
        check(Reply::Status("hash".into()), &Some("hash".to_owned()));
        check(Reply::Text("a\nb".into()), &Some("a\nb".to_owned()));
        check::<String>(Reply::bulk([0xff]), &None);
        check(Reply::Nil, &Some(None::<Bytes>));
        check::<Option<i64>>(Reply::bulk("x"), &None);
    }

    #[test]
    fn lists_and_pairs() {
        let alice = || ("name".to_owned(), "Alice".to_owned());
        let flat = bulks(&["name", "Alice"]);
        check(Reply::Array(flat.clone()), &Some(vec![alice()]));
        check(Reply::Array(flat.clone()), &Some(alice()));
        check(
            Reply::Map(vec![(Reply::bulk("name"), Reply::bulk("Alice"))]),
            &Some(vec![alice()]),
        );
        check::<Vec<(String, String)>>(Reply::Array(bulks(&["name"])), &None);
        check::<HashMap<String, String>>(Reply::Array(flat.clone()), &Some([alice()].into()));
        let page = Reply::Array(vec![Reply::bulk("0"), Reply::Array(flat)]);
        check(page, &Some((0_u64, vec![alice()])));
        check(
            Reply::Array(vec![Reply::Nil, Reply::bulk("x")]),
            &Some(vec![None, Some("x".to_owned())]),
        );
    }
}
