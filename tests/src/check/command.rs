//! Commands as the checkers understand them, read from the words that a client sent.
//!
//! Written apart from the product on purpose: what both misread would never be noticed.

use std::fmt;

use bytes::Bytes;

use crate::quoting::quote;

/// A command on keys of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// As sent.
    pub argv: Vec<Bytes>,
    /// The keys, in the order of their arguments.
    pub keys: Vec<Bytes>,
    /// What is done to them.
    pub verb: Verb,
}

/// What a command does to its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// GET.
    Get,
    /// MGET.
    GetMany,
    /// STRLEN.
    Strlen,
    /// SET.
    Set(Set),
    /// MSET; a value a key.
    SetMany(Vec<Bytes>),
    /// APPEND.
    Append(Bytes),
    /// INCR, DECR, INCRBY, DECRBY.
    Add(i64),
    /// DEL, UNLINK.
    Delete,
    /// EXISTS.
    Exists,
    /// HSET.
    HashSet(Vec<(Bytes, Bytes)>),
    /// HSETNX.
    HashSetNew(Bytes, Bytes),
    /// HGET.
    HashGet(Bytes),
    /// HDEL.
    HashDelete(Vec<Bytes>),
    /// HGETALL.
    HashAll,
    /// HLEN.
    HashLen,
    /// HINCRBY.
    HashAdd(Bytes, i64),
    /// HSETEX of one field, with milliseconds.
    HashSetTtl(Bytes, Bytes, i64),
    /// HPEXPIRE of one field.
    HashExpire(Bytes, i64),
    /// HPERSIST of one field.
    HashPersist(Bytes),
    /// HPTTL of one field: only whether there is one.
    HashTtl(Bytes),
    /// HCAS of one field: what it has to have, and gets.
    HashSwap(Bytes, Option<Bytes>, Option<Bytes>),
    /// EXPIRE, PEXPIRE: milliseconds, and what the key has to have: a time to live, or none.
    Expire(i64, Option<bool>),
    /// PERSIST.
    Persist,
    /// TTL, PTTL: only whether there is one.
    Ttl,
}

/// SET with its options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// The new value.
    pub value: Bytes,
    /// XX: the key has to be there; NX: it must not.
    pub present: Option<bool>,
    /// Answers the value before.
    pub get: bool,
    /// What becomes of the time to live.
    pub ttl: SetTtl,
}

/// The time to live after a SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetTtl {
    /// None.
    Clear,
    /// As it was.
    Keep,
    /// Milliseconds.
    Ms(i64),
}

/// Words that are no command of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotModelled(pub String);

impl fmt::Display for NotModelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model does not know {}", self.0)
    }
}

impl std::error::Error for NotModelled {}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// The model does not know it, or not with these arguments.
    pub fn parse(argv: &[Bytes]) -> Result<Self, NotModelled> {
        let parsed = argv.split_first().and_then(|(name, args)| {
            let name = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
            parse(&name, args)
        });
        let (keys, verb) = parsed.ok_or_else(|| NotModelled(show(argv)))?;
        Ok(Self {
            argv: argv.to_vec(),
            keys,
            verb,
        })
    }

    /// Whether it changes nothing, whatever it finds.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        use Verb::{Exists, Get, GetMany, HashAll, HashGet, HashLen, HashTtl, Strlen, Ttl};
        matches!(
            self.verb,
            Get | GetMany | Strlen | Exists | HashGet(_) | HashAll | HashLen | HashTtl(_) | Ttl
        )
    }

    /// Whether it gives a key, or a field of it, a time to live.
    #[must_use]
    pub const fn sets_ttl(&self) -> bool {
        match &self.verb {
            Verb::Set(set) => matches!(set.ttl, SetTtl::Ms(_)),
            verb => matches!(
                verb,
                Verb::Expire(..) | Verb::HashExpire(..) | Verb::HashSetTtl(..)
            ),
        }
    }

    /// The values that it writes as they are.
    pub fn values_mut(&mut self) -> Vec<&mut Bytes> {
        match &mut self.verb {
            Verb::Set(Set { value, .. })
            | Verb::Append(value)
            | Verb::HashSetNew(_, value)
            | Verb::HashSetTtl(_, value, _) => vec![value],
            Verb::SetMany(values) => values.iter_mut().collect(),
            Verb::HashSet(pairs) => pairs.iter_mut().map(|(_, value)| value).collect(),
            _ => vec![],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.argv))
    }
}

/// Words as one types them; those that need it are quoted.
#[must_use]
pub fn show(argv: &[Bytes]) -> String {
    let words: Vec<_> = argv.iter().map(|word| show_word(word)).collect();
    words.join(" ")
}

fn show_word(word: &[u8]) -> String {
    let quoted = quote(word);
    let is_plain = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    match quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')) {
        Some(inner) if is_plain && inner.len() == word.len() => inner.to_owned(),
        _ => quoted,
    }
}

/// An integer as Redis stores one: what the number's own decimal form is, and nothing else.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn parse(name: &str, args: &[Bytes]) -> Option<(Vec<Bytes>, Verb)> {
    let many = |verb| (!args.is_empty()).then(|| (args.to_vec(), verb));
    match name {
        "MGET" => return many(Verb::GetMany),
        "DEL" | "UNLINK" => return many(Verb::Delete),
        "EXISTS" => return many(Verb::Exists),
        "MSET" => {
            let (keys, values) = pairs(args)?.into_iter().unzip();
            return Some((keys, Verb::SetMany(values)));
        }
        _ => {}
    }
    let (key, args) = args.split_first()?;
    Some((vec![key.clone()], single(name, args)?))
}

/// The verb of a command on one key, from what follows the key.
fn single(name: &str, args: &[Bytes]) -> Option<Verb> {
    Some(match (name, args) {
        ("GET", []) => Verb::Get,
        ("STRLEN", []) => Verb::Strlen,
        ("SET", [value, options @ ..]) => Verb::Set(set(value, options)?),
        ("APPEND", [tail]) => Verb::Append(tail.clone()),
        ("INCR", []) => Verb::Add(1),
        ("DECR", []) => Verb::Add(-1),
        ("INCRBY", [by]) => Verb::Add(integer(by)?),
        ("DECRBY", [by]) => Verb::Add(integer(by)?.checked_neg()?),
        ("HSET", args) => Verb::HashSet(pairs(args)?),
        ("HSETNX", [field, value]) => Verb::HashSetNew(field.clone(), value.clone()),
        ("HGET", [field]) => Verb::HashGet(field.clone()),
        ("HDEL", [_, ..]) => Verb::HashDelete(args.to_vec()),
        ("HGETALL", []) => Verb::HashAll,
        ("HLEN", []) => Verb::HashLen,
        ("HINCRBY", [field, by]) => Verb::HashAdd(field.clone(), integer(by)?),
        ("HSETEX", [px, ms, fields, one, field, value]) if words_are(px, fields, one) => {
            Verb::HashSetTtl(field.clone(), value.clone(), integer(ms)?)
        }
        ("HPEXPIRE", [ms, fields, one, field]) if words_are(b"PX", fields, one) => {
            Verb::HashExpire(field.clone(), integer(ms)?)
        }
        ("HPERSIST", [fields, one, field]) if words_are(b"PX", fields, one) => {
            Verb::HashPersist(field.clone())
        }
        ("HPTTL", [fields, one, field]) if words_are(b"PX", fields, one) => {
            Verb::HashTtl(field.clone())
        }
        ("HCAS", [option, nil, field, expected, new]) if option.eq_ignore_ascii_case(b"NIL") => {
            let value = |word: &Bytes| (word != nil).then(|| word.clone());
            Verb::HashSwap(field.clone(), value(expected), value(new))
        }
        ("EXPIRE", [seconds, rule @ ..]) => {
            Verb::Expire(integer(seconds)?.checked_mul(1000)?, expire_rule(rule)?)
        }
        ("PEXPIRE", [ms, rule @ ..]) => Verb::Expire(integer(ms)?, expire_rule(rule)?),
        ("PERSIST", []) => Verb::Persist,
        ("TTL" | "PTTL", []) => Verb::Ttl,
        _ => return None,
    })
}

/// `PX` and `FIELDS 1`.
fn words_are(px: &[u8], fields: &[u8], one: &[u8]) -> bool {
    px.eq_ignore_ascii_case(b"PX") && fields.eq_ignore_ascii_case(b"FIELDS") && one == b"1"
}

fn set(value: &Bytes, options: &[Bytes]) -> Option<Set> {
    let mut set = Set {
        value: value.clone(),
        present: None,
        get: false,
        ttl: SetTtl::Clear,
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" if set.present.is_none() => set.present = Some(false),
            b"XX" if set.present.is_none() => set.present = Some(true),
            b"GET" => set.get = true,
            b"KEEPTTL" => set.ttl = SetTtl::Keep,
            b"PX" => set.ttl = SetTtl::Ms(integer(options.next()?)?),
            b"EX" => set.ttl = SetTtl::Ms(integer(options.next()?)?.checked_mul(1000)?),
            _ => return None,
        }
    }
    Some(set)
}

fn expire_rule(words: &[Bytes]) -> Option<Option<bool>> {
    match words {
        [] => Some(None),
        [word] if word.eq_ignore_ascii_case(b"NX") => Some(Some(false)),
        [word] if word.eq_ignore_ascii_case(b"XX") => Some(Some(true)),
        _ => None,
    }
}

fn pairs(args: &[Bytes]) -> Option<Vec<(Bytes, Bytes)>> {
    let (pairs, rest) = args.as_chunks::<2>();
    let is_even = rest.is_empty() && !pairs.is_empty();
    is_even.then(|| pairs.iter().cloned().map(|[a, b]| (a, b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::words;

    #[test]
    fn options_are_read_and_what_is_not_modelled_is_refused() {
        let command = Command::parse(&words("set k v NX px 50 GET")).unwrap();
        let expect = Set {
            value: "v".into(),
            present: Some(false),
            get: true,
            ttl: SetTtl::Ms(50),
        };
        assert_eq!(command.verb, Verb::Set(expect));
        assert_eq!(command.keys, words("k"));
        let refused = [
            "",
            "GET",
            "GET a b",
            "SET k v PX",
            "SET k v EXAT 1",
            "PEXPIRE k 1 GT",
            "HSET k f",
            "INCRBY k 01",
            "KEYS *",
        ];
        for line in refused {
            assert!(Command::parse(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        let argv: Vec<Bytes> = vec!["SET".into(), "k".into(), "a b\n".into(), "".into()];
        assert_eq!(show(&argv), r#"SET k "a b\n" """#);
    }
}
