//! The keys of a shard's image as entries to be written: of a large hash, which comes in parts, the
//! first part clears what is there, and the last one has its expiry, so that it stays until then.

use std::ops::RangeInclusive;

use bytes::Bytes;
use dht_proto::Malformed;
use dht_proto::assembly::{Assembled, Assembly, Place, Value as Bare};
use dht_proto::image::Head;
use dht_proto::slot::key_slot;

use crate::put::{Entry, Life, Value};

/// A shard's keys, as they come.
pub struct Keys {
    slots: RangeInclusive<u16>,
    image: Assembly,
}

impl Keys {
    /// Of these slots, before the first item.
    pub fn of(slots: RangeInclusive<u16>) -> Self {
        Self {
            image: Assembly::new(slots.clone()),
            slots,
        }
    }

    /// How many have come.
    pub const fn count(&self) -> u64 {
        self.image.keys() as u64
    }

    /// Whether all have.
    pub const fn is_over(&self) -> bool {
        self.image.is_over()
    }

    /// Takes some items; hands on the keys, and the parts of large hashes, that are in them.
    ///
    /// # Errors
    /// They make no sense at this place.
    pub fn take(&mut self, items: &[u8], each: &mut impl FnMut(Entry)) -> Result<(), Malformed> {
        let Self { slots, image } = self;
        image.take(items, |assembled| {
            let entry = entry(assembled);
            if !slots.contains(&key_slot(&entry.key)) {
                return Err(Malformed("a key of another shard"));
            }
            each(entry);
            Ok(())
        })
    }
}

fn entry(assembled: Assembled<'_>) -> Entry {
    const WHOLE: Place = Place {
        is_first: true,
        is_last: true,
    };
    let own = Bytes::copy_from_slice;
    let timed = |expiry: Option<u64>| expiry.map(Life::At);
    let field = |(field, value, expiry): &(&[u8], &[u8], Option<u64>)| {
        (own(field), own(value), timed(*expiry))
    };
    let (head, place, value): (Head<'_>, _, _) = match assembled {
        Assembled::String(head, Bare::Short(value)) => (head, WHOLE, Value::String(own(value))),
        Assembled::String(head, Bare::Long(value)) => (head, WHOLE, Value::String(value.freeze())),
        Assembled::Hash(head, fields) => {
            let fields = fields.iter().map(field).collect();
            (head, WHOLE, Value::Fields(fields))
        }
        Assembled::Part(head, place, fields) => {
            let fields = fields.iter().map(field).collect();
            (head, place, Value::Fields(fields))
        }
        Assembled::LongField(head, place, (field, expiry), value) => {
            let field = (own(field), value.freeze(), timed(expiry));
            (head, place, Value::Fields(vec![field]))
        }
    };
    Entry {
        key: own(head.key),
        expiry: timed(head.expiry).filter(|_| place.is_last),
        value,
        clears: place.is_first,
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::image::{Fields, Item};

    use super::*;

    const SLOTS: RangeInclusive<u16> = 0..=16383;

    const fn head(key: &[u8], expiry: Option<u64>) -> Head<'_> {
        Head { key, expiry }
    }

    fn fields<'a>(names: &[&'a str]) -> Fields<'a> {
        let timed = |name: &&'a str| (name.as_bytes(), &b"v"[..], Some(7).filter(|_| *name == "t"));
        names.iter().map(timed).collect()
    }

    fn taken(
        slots: RangeInclusive<u16>,
        items: &[Item<'_>],
    ) -> Result<(Vec<Entry>, u64, bool), Malformed> {
        let (mut keys, mut found) = (Keys::of(slots), Vec::new());
        for item in items {
            let mut bytes = Vec::new();
            item.encode(&mut bytes);
            keys.take(&bytes, &mut |entry| found.push(entry))?;
        }
        Ok((found, keys.count(), keys.is_over()))
    }

    #[test]
    fn keys_become_entries() {
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
        let (found, count, is_over) = taken(SLOTS, &items).unwrap();
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
        assert!(!taken(SLOTS, &items[..10]).unwrap().2);
    }

    #[test]
    fn a_key_of_another_shard_is_refused() {
        let items = [Item::Begin(0..=1), Item::String(head(b"foo", None), b"")];
        let error = taken(0..=1, &items).unwrap_err();
        assert_eq!(error.0, "a key of another shard");
    }
}
