//! The items of a shard's image put together, as they come: long values are whole, and of large
//! hashes, which come in parts, is known which part is the first and which the last. Knows nothing
//! of tables and files.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::BytesMut;

use crate::frame::Malformed;
use crate::image::{Fields, Head, Item};

/// What is reserved for a long value before its bytes are there.
const RESERVED_BYTES: usize = 1024 * 1024;

/// The image of some slots, of which the first items have come.
pub struct Assembly {
    slots: RangeInclusive<u16>,
    phase: Phase,
    keys: usize,
    /// By key: the fields that large hashes still lack.
    lacking: BTreeMap<Box<[u8]>, usize>,
}

enum Phase {
    /// Nothing has come.
    Empty,
    /// Between two keys, or two parts of hashes.
    Items,
    /// In a long value.
    Long(Long),
    /// The end has come.
    Over,
}

/// A long value of which some bytes are there.
struct Long {
    key: Box<[u8]>,
    expiry: Option<u64>,
    /// The field of a large hash, its expiry, and how many fields the hash has.
    field: Option<(Box<[u8]>, Option<u64>, usize)>,
    len: usize,
    bytes: BytesMut,
}

/// A key, or a part of one.
#[derive(Debug)]
pub enum Assembled<'a> {
    /// A string.
    String(Head<'a>, Value<'a>),
    /// A small hash.
    Hash(Head<'a>, Fields<'a>),
    /// Some fields of a large hash.
    Part(Head<'a>, Place, Fields<'a>),
    /// A field of a large hash, and its expiry; its value, which is long.
    LongField(Head<'a>, Place, (&'a [u8], Option<u64>), BytesMut),
}

/// The value of a string.
#[derive(Debug)]
pub enum Value<'a> {
    /// It has come with its key.
    Short(&'a [u8]),
    /// It has come after it.
    Long(BytesMut),
}

/// Where a part of a hash stands among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// No other came before.
    pub is_first: bool,
    /// The hash has all its fields with it.
    pub is_last: bool,
}

impl Assembly {
    /// Of these slots, before the first item.
    #[must_use]
    pub const fn new(slots: RangeInclusive<u16>) -> Self {
        Self {
            slots,
            phase: Phase::Empty,
            keys: 0,
            lacking: BTreeMap::new(),
        }
    }

    /// How many keys have come, those included that are not whole.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// Whether everything has come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes the next items, in their order, and hands on what they come to.
    ///
    /// # Errors
    /// They make no sense at this place, or what they come to was refused.
    pub fn take(
        &mut self,
        mut items: &[u8],
        mut each: impl FnMut(Assembled<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        while !items.is_empty() {
            let item = Item::decode(&mut items)?;
            let phase = std::mem::replace(&mut self.phase, Phase::Items);
            self.phase = self.next(phase, item, &mut each)?;
        }
        Ok(())
    }

    fn next(
        &mut self,
        phase: Phase,
        item: Item<'_>,
        each: &mut impl FnMut(Assembled<'_>) -> Result<(), Malformed>,
    ) -> Result<Phase, Malformed> {
        match (phase, item) {
            (Phase::Empty, Item::Begin(slots)) if slots == self.slots => {}
            (Phase::Empty, Item::Begin(_)) => return Err(Malformed("the image is of other slots")),
            (Phase::Items, Item::String(head, value)) => {
                self.keys += 1;
                each(Assembled::String(head, Value::Short(value)))?;
            }
            (Phase::Items, Item::Hash(head, fields)) => {
                self.keys += 1;
                each(Assembled::Hash(head, fields))?;
            }
            (Phase::Items, Item::Part(head, count, fields)) => {
                let place = self.place(head.key, count, fields.len())?;
                each(Assembled::Part(head, place, fields))?;
            }
            (Phase::Items, Item::Long(head, len)) => {
                return Ok(Phase::Long(Long::new(head, None, len)));
            }
            (Phase::Items, Item::LongField(head, fields, (field, expiry), len)) => {
                let field = Some((field.into(), expiry, fields));
                return Ok(Phase::Long(Long::new(head, field, len)));
            }
            (Phase::Long(mut long), Item::More(bytes)) => {
                long.bytes.extend_from_slice(bytes);
                if long.bytes.len() < long.len {
                    return Ok(Phase::Long(long));
                }
                self.long(long, each)?;
            }
            (Phase::Items, Item::End(keys)) => {
                if keys != self.keys || !self.lacking.is_empty() {
                    return Err(Malformed("the image lacks a part"));
                }
                return Ok(Phase::Over);
            }
            _ => return Err(Malformed("an item in a place where it has no meaning")),
        }
        Ok(Phase::Items)
    }

    /// Where so many fields stand of a hash that has `count`.
    fn place(&mut self, key: &[u8], count: usize, fields: usize) -> Result<Place, Malformed> {
        let lacked = self.lacking.remove(key);
        let is_first = lacked.is_none();
        self.keys += usize::from(is_first);
        let lacks = lacked.unwrap_or(count).checked_sub(fields);
        let lacks = lacks.ok_or(Malformed("a hash has more fields than it should"))?;
        if lacks > 0 {
            self.lacking.insert(key.into(), lacks);
        }
        let is_last = lacks == 0;
        Ok(Place { is_first, is_last })
    }

    /// Hands on a long value whose bytes are there.
    fn long(
        &mut self,
        long: Long,
        each: &mut impl FnMut(Assembled<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let (key, expiry) = (&long.key, long.expiry);
        if long.bytes.len() > long.len {
            return Err(Malformed("a long value has more bytes than it should"));
        }
        let head = Head { key, expiry };
        match long.field {
            None => {
                self.keys += 1;
                each(Assembled::String(head, Value::Long(long.bytes)))
            }
            Some((field, at, count)) => {
                let place = self.place(key, count, 1)?;
                each(Assembled::LongField(head, place, (&field, at), long.bytes))
            }
        }
    }
}

impl Long {
    fn new(head: Head<'_>, field: Option<(Box<[u8]>, Option<u64>, usize)>, len: usize) -> Self {
        Self {
            key: head.key.into(),
            expiry: head.expiry,
            field,
            len,
            bytes: BytesMut::with_capacity(len.min(RESERVED_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: RangeInclusive<u16> = 3..=9;

    const fn head(key: &[u8], expiry: Option<u64>) -> Head<'_> {
        Head { key, expiry }
    }

    fn part<'a>(key: &'a str, count: usize, names: &[&'a str]) -> Item<'a> {
        let fields = names.iter().map(|name| (name.as_bytes(), &b"v"[..], None));
        Item::Part(head(key.as_bytes(), Some(9)), count, fields.collect())
    }

    /// Takes items; says what they come to, a line each, and at last what is known of them.
    fn taken(items: &[Item<'_>]) -> Result<Vec<String>, Malformed> {
        let (mut assembly, mut said) = (Assembly::new(SLOTS), Vec::new());
        for item in items {
            let mut bytes = Vec::new();
            item.encode(&mut bytes);
            assembly.take(&bytes, |assembled| {
                said.push(shown(&assembled));
                Ok(())
            })?;
        }
        said.push(format!("{} {}", assembly.keys(), assembly.is_over()));
        Ok(said)
    }

    fn shown(assembled: &Assembled<'_>) -> String {
        let text = String::from_utf8_lossy;
        let at = |place: &Place| match (place.is_first, place.is_last) {
            (true, true) => "all",
            (true, false) => "first",
            (false, false) => "next",
            (false, true) => "last",
        };
        match assembled {
            Assembled::String(head, Value::Short(value)) => {
                format!("{}={} {:?}", text(head.key), text(value), head.expiry)
            }
            Assembled::String(head, Value::Long(value)) => {
                format!("long {}={} {:?}", text(head.key), text(value), head.expiry)
            }
            Assembled::Hash(head, fields) => format!("{}: {}", text(head.key), fields.len()),
            Assembled::Part(head, place, fields) => {
                format!("{} {}: {}", at(place), text(head.key), fields.len())
            }
            Assembled::LongField(head, place, (field, expiry), value) => {
                let (key, field, value) = (text(head.key), text(field), text(value));
                format!("{} {key}: {field}={value} {expiry:?}", at(place))
            }
        }
    }

    #[test]
    fn long_values_and_large_hashes_are_put_together() {
        let items = [
            Item::Begin(SLOTS),
            Item::String(head(b"s", Some(5)), b"x"),
            part("big", 3, &["a"]),
            Item::Hash(head(b"h", None), Fields::from_slice(&[(b"f", b"v", None)])),
            Item::LongField(head(b"big", Some(9)), 3, (b"long", Some(8)), 4),
            Item::More(b"lo"),
            Item::More(b"ng"),
            part("big", 3, &["t"]),
            part("at once", 2, &["a", "b"]),
            Item::Long(head(b"l", None), 3),
            Item::More(b"abc"),
            Item::End(5),
        ];
        let expect = [
            "s=x Some(5)",
            "first big: 1",
            "h: 1",
            "next big: long=long Some(8)",
            "last big: 1",
            "all at once: 2",
            "long l=abc None",
            "5 true",
        ];
        assert_eq!(taken(&items).unwrap(), expect);
        let begun = taken(&items[..11]).unwrap();
        assert_eq!(begun.last().unwrap(), "5 false");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |items: &[Item<'_>], expect: &str| {
            let all = [&[Item::Begin(SLOTS)], items].concat();
            assert_eq!(taken(&all).unwrap_err().0, expect);
        };
        let lacks = "the image lacks a part";
        check(&[Item::End(1)], lacks);
        check(&[part("k", 3, &["a", "b"]), Item::End(1)], lacks);
        let more = "a hash has more fields than it should";
        check(&[part("k", 1, &["a", "b"])], more);
        let long = Item::Long(head(b"k", None), 2);
        let longer = "a long value has more bytes than it should";
        check(&[long.clone(), Item::More(b"abc")], longer);
        let astray = "an item in a place where it has no meaning";
        check(&[long, Item::End(1)], astray);
        check(&[Item::Begin(SLOTS)], astray);
        check(&[Item::More(b"x")], astray);
        check(&[Item::End(0), Item::End(0)], astray);
        assert_eq!(taken(&[Item::End(0)]).unwrap_err().0, astray);
        let other = taken(&[Item::Begin(3..=10)]).unwrap_err();
        assert_eq!(other.0, "the image is of other slots");
    }

    #[test]
    fn who_is_handed_a_key_may_refuse_it() {
        let (mut assembly, mut bytes) = (Assembly::new(SLOTS), Vec::new());
        Item::Begin(SLOTS).encode(&mut bytes);
        Item::String(head(b"k", None), b"").encode(&mut bytes);
        let refused = assembly.take(&bytes, |_| Err(Malformed("no")));
        assert_eq!(refused, Err(Malformed("no")));
    }
}
