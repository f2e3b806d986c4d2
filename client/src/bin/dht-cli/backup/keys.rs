//! The keys of a shard's image, gathered from its items: long values are put together, and of
//! hashes that come in parts is known which part is the first and which the last.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use dht_proto::Malformed;
use dht_proto::image::{Fields, Head, Item};
use dht_proto::slot::key_slot;

use crate::put::{Entry, Life, Value};

/// What is reserved for a long value before its bytes are there.
const RESERVED_BYTES: usize = 1024 * 1024;

/// A shard's keys, as they come.
pub struct Keys {
    slots: RangeInclusive<u16>,
    phase: Phase,
    count: u64,
    /// By key: the fields that large hashes still lack.
    lacking: BTreeMap<Bytes, usize>,
}

enum Phase {
    Empty,
    Items,
    Long(Long),
    Over,
}

/// A long value of which some bytes are there.
struct Long {
    key: Bytes,
    expiry: Option<u64>,
    /// The field of a large hash, its expiry, and how many fields the hash has.
    field: Option<(Bytes, Option<u64>, usize)>,
    length: usize,
    bytes: BytesMut,
}

impl Keys {
    /// Of these slots, before the first item.
    pub const fn of(slots: RangeInclusive<u16>) -> Self {
        Self {
            slots,
            phase: Phase::Empty,
            count: 0,
            lacking: BTreeMap::new(),
        }
    }

    /// How many have come.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether all have.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes some items; hands on the keys, and the parts of large hashes, that are in them.
    ///
    /// # Errors
    /// They make no sense at this place.
    pub fn take(
        &mut self,
        mut items: &[u8],
        each: &mut impl FnMut(Entry),
    ) -> Result<(), Malformed> {
        while !items.is_empty() {
            let item = Item::decode(&mut items)?;
            let phase = std::mem::replace(&mut self.phase, Phase::Items);
            self.phase = self.next(phase, item, each)?;
        }
        Ok(())
    }

    fn next(
        &mut self,
        phase: Phase,
        item: Item<'_>,
        each: &mut impl FnMut(Entry),
    ) -> Result<Phase, Malformed> {
        match (phase, item) {
            (Phase::Empty, Item::Begin(slots)) if slots == self.slots => {}
            (Phase::Items, Item::String(head, value)) => {
                each(self.whole(head, Value::String(Bytes::copy_from_slice(value)))?);
            }
            (Phase::Items, Item::Hash(head, fields)) => {
                each(self.whole(head, values(&fields))?);
            }
            (Phase::Items, Item::Part(head, count, fields)) => {
                each(self.part(head, count, values(&fields), fields.len())?);
            }
            (Phase::Items, Item::Long(head, length)) => {
                return Ok(Phase::Long(Long::new(head, None, length)));
            }
            (Phase::Items, Item::LongField(head, fields, (field, expiry), length)) => {
                let field = (Bytes::copy_from_slice(field), expiry, fields);
                return Ok(Phase::Long(Long::new(head, Some(field), length)));
            }
            (Phase::Long(mut long), Item::More(bytes)) => {
                long.bytes.extend_from_slice(bytes);
                if long.bytes.len() < long.length {
                    return Ok(Phase::Long(long));
                }
                each(self.long(long)?);
            }
            (Phase::Items, Item::End(keys)) => {
                if keys as u64 != self.count || !self.lacking.is_empty() {
                    return Err(Malformed("keys or fields are missing before it"));
                }
                return Ok(Phase::Over);
            }
            _ => return Err(Malformed("an item in a place where it has no meaning")),
        }
        Ok(Phase::Items)
    }

    fn whole(&mut self, head: Head<'_>, value: Value) -> Result<Entry, Malformed> {
        if !self.slots.contains(&key_slot(head.key)) {
            return Err(Malformed("a key of another shard"));
        }
        self.count += 1;
        Ok(Entry {
            key: Bytes::copy_from_slice(head.key),
            expiry: head.expiry.map(Life::At),
            value,
            clears: true,
        })
    }

    /// Some fields of a hash that has so many.
    fn part(
        &mut self,
        head: Head<'_>,
        count: usize,
        value: Value,
        fields: usize,
    ) -> Result<Entry, Malformed> {
        let lacked = self.lacking.get(head.key).copied();
        let lacks = lacked.unwrap_or(count).checked_sub(fields);
        let lacks = lacks.ok_or(Malformed("a hash has more fields than it should"))?;
        let entry = if lacked.is_some() {
            Entry {
                key: Bytes::copy_from_slice(head.key),
                expiry: head.expiry.map(Life::At),
                value,
                clears: false,
            }
        } else {
            self.whole(head, value)?
        };
        if lacks == 0 {
            self.lacking.remove(head.key);
            return Ok(entry);
        }
        self.lacking.insert(entry.key.clone(), lacks);
        // It is to stay until it is whole.
        Ok(Entry {
            expiry: None,
            ..entry
        })
    }

    fn long(&mut self, long: Long) -> Result<Entry, Malformed> {
        if long.bytes.len() > long.length {
            return Err(Malformed("a long value has more bytes than it should"));
        }
        let bytes = long.bytes.freeze();
        let head = Head {
            key: &long.key,
            expiry: long.expiry,
        };
        match long.field {
            None => self.whole(head, Value::String(bytes)),
            Some((field, expiry, count)) => {
                let field = (field, bytes, expiry.map(Life::At));
                self.part(head, count, Value::Fields(vec![field]), 1)
            }
        }
    }
}

impl Long {
    fn new(head: Head<'_>, field: Option<(Bytes, Option<u64>, usize)>, length: usize) -> Self {
        Self {
            key: Bytes::copy_from_slice(head.key),
            expiry: head.expiry,
            field,
            length,
            bytes: BytesMut::with_capacity(length.min(RESERVED_BYTES)),
        }
    }
}

fn values(fields: &Fields<'_>) -> Value {
    let own = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let fields = fields.iter();
    let fields =
        fields.map(|(field, value, expiry)| (own(field), own(value), expiry.map(Life::At)));
    Value::Fields(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: RangeInclusive<u16> = 0..=16383;

    const fn head(key: &[u8], expiry: Option<u64>) -> Head<'_> {
        Head { key, expiry }
    }

    fn fields<'a>(names: &[&'a str]) -> Fields<'a> {
        let timed = |name: &&'a str| (name.as_bytes(), &b"v"[..], Some(7).filter(|_| *name == "t"));
        names.iter().map(timed).collect()
    }

    fn taken(items: &[Item<'_>]) -> Result<(Vec<Entry>, u64, bool), Malformed> {
        let (mut keys, mut found) = (Keys::of(SLOTS), Vec::new());
        for item in items {
            let mut bytes = Vec::new();
            item.encode(&mut bytes);
            keys.take(&bytes, &mut |entry| found.push(entry))?;
        }
        Ok((found, keys.count(), keys.is_over()))
    }

    #[test]
    fn keys_are_put_together() {
        let items = [
            Item::Begin(SLOTS),
            Item::String(head(b"s", Some(5)), b"x"),
            Item::Part(head(b"big", Some(9)), 3, fields(&["a"])),
            Item::Hash(head(b"h", None), fields(&["a", "t"])),
            Item::LongField(head(b"big", Some(9)), 3, (b"long", Some(8)), 4),
            Item::More(b"lo"),
            Item::More(b"ng"),
            Item::Part(head(b"big", Some(9)), 3, fields(&["t"])),
            Item::Long(head(b"l", None), 3),
            Item::More(b"abc"),
            Item::End(4),
        ];
        let (found, count, is_over) = taken(&items).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|entry| {
                let key = String::from_utf8_lossy(&entry.key);
                let value = match &entry.value {
                    Value::String(value) => String::from_utf8_lossy(value).into_owned(),
                    Value::Fields(fields) => format!("{}", fields.len()),
                };
                format!("{key}={value} {:?} {}", entry.expiry, entry.clears)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "s=x Some(At(5)) true",
                "big=1 None true",
                "h=2 None true",
                "big=1 None false",
                "big=1 Some(At(9)) false",
                "l=abc None true",
            ]
        );
        let Value::Fields(timed) = &found[2].value else {
            panic!("{:?}", found[2]);
        };
        assert_eq!((timed[0].2, timed[1].2), (None, Some(Life::At(7))));
        assert_eq!((count, is_over), (4, true));
        assert!(!taken(&items[..10]).unwrap().2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |items: &[Item<'_>], expect: &str| {
            let mut all = vec![Item::Begin(SLOTS)];
            all.extend_from_slice(items);
            assert_eq!(taken(&all).unwrap_err().0, expect);
        };
        let lacks = "keys or fields are missing before it";
        check(&[Item::End(1)], lacks);
        let part = |count, names| Item::Part(head(b"k", None), count, fields(names));
        check(&[part(3, &["a", "b"]), Item::End(1)], lacks);
        let more = "a hash has more fields than it should";
        check(&[part(1, &["a", "b"])], more);
        let long = Item::Long(head(b"k", None), 2);
        let longer = "a long value has more bytes than it should";
        check(&[long.clone(), Item::More(b"abc")], longer);
        let astray = "an item in a place where it has no meaning";
        check(&[long, Item::End(1)], astray);
        check(&[Item::Begin(SLOTS)], astray);
        let mut keys = Keys::of(0..=1);
        let mut bytes = Vec::new();
        Item::Begin(0..=1).encode(&mut bytes);
        Item::String(head(b"foo", None), b"").encode(&mut bytes);
        let error = keys.take(&bytes, &mut |_| {}).unwrap_err();
        assert_eq!(error.0, "a key of another shard");
    }
}
