//! Hashes of either form: read through a [`HashRef`], changed through functions on their record.

use super::graveyard::Graveyard;
use super::large::LargeHash;
use super::packed;
use super::record::{Record, Value, ValueMut};
use super::string::StringRef;

/// A hash, in place.
#[derive(Clone, Copy)]
pub struct HashRef<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Packed(&'a [u8]),
    Large(&'a LargeHash),
}

impl<'a> HashRef<'a> {
    /// The hash of a record, if it is one.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        match record.value() {
            Value::Packed(body) => Some(Self(Form::Packed(body))),
            Value::Large(hash) => Some(Self(Form::Large(hash))),
            Value::Inline(_) | Value::Shared(_) => None,
        }
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Form::Packed(body) => packed::len(body),
            Form::Large(hash) => hash.len(),
        }
    }

    /// Whether it has no field; a hash that is stored always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<StringRef<'a>> {
        match self.0 {
            Form::Packed(body) => packed::get(body, field).map(StringRef::inline),
            Form::Large(hash) => StringRef::of(hash.get(field)?),
        }
    }

    /// Every field with its value: a small hash in the order of insertion, a large one in no
    /// particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], StringRef<'a>)> {
        let (small, large) = match self.0 {
            Form::Packed(body) => (Some(packed::Pairs::new(body)), None),
            Form::Large(hash) => (None, Some(hash.records())),
        };
        let small = small.into_iter().flatten();
        let small = small.map(|(field, value)| (field, StringRef::inline(value)));
        let large = large.into_iter().flatten();
        small.chain(large.filter_map(|record| Some((record.key(), StringRef::of(record)?))))
    }

    /// Visits about `count` fields from `cursor` on; gives the cursor to go on from, 0 at the end.
    /// What is in the hash from the first call to the last is visited at least once. A small hash
    /// is visited whole.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], StringRef<'_>),
    ) -> u64 {
        let Form::Large(hash) = self.0 else {
            for (field, value) in self.iter() {
                visit(field, value);
            }
            return 0;
        };
        hash.scan(cursor, count.max(1), &mut |record| {
            if let Some(value) = StringRef::of(record) {
                visit(record.key(), value);
            }
        })
    }
}

/// A new hash of these fields; gives its record and how many fields it has.
pub(super) fn create(
    key: &[u8],
    pairs: &[(&[u8], &[u8])],
    graveyard: &Graveyard,
) -> (Record, usize) {
    let room = pairs
        .iter()
        .map(|(field, value)| packed::pair_len(field, value))
        .sum();
    // What does not fit in a small hash becomes a large one.
    let room = packed::MAX_BYTES.min(room);
    let (mut record, done) =
        Record::packed(key, room, |draft, body| set_packed(draft, body, pairs));
    let added = done.added + set_rest(&mut record, &pairs[done.pairs..], graveyard);
    (record, added)
}

/// Sets fields of a hash; gives how many are new.
pub(super) fn set(record: &mut Record, pairs: &[(&[u8], &[u8])], graveyard: &Graveyard) -> usize {
    let mut done = Done::default();
    if matches!(record.value(), Value::Packed(_)) {
        let body = record.body_at();
        done = set_packed(&mut record.edit(), body, pairs);
    }
    done.added + set_rest(record, &pairs[done.pairs..], graveyard)
}

/// How far [`set_packed`] came.
#[derive(Default)]
struct Done {
    pairs: usize,
    added: usize,
}

fn set_packed(draft: &mut Vec<u8>, body: usize, pairs: &[(&[u8], &[u8])]) -> Done {
    let mut done = Done::default();
    for (field, value) in pairs {
        match packed::set(draft, body, field, value) {
            packed::Set::Added => done.added += 1,
            packed::Set::Replaced => {}
            packed::Set::Full => break,
        }
        done.pairs += 1;
    }
    done
}

/// Sets the fields for which a small hash has no room.
fn set_rest(record: &mut Record, pairs: &[(&[u8], &[u8])], graveyard: &Graveyard) -> usize {
    if pairs.is_empty() {
        return 0;
    }
    if let Value::Packed(body) = record.value() {
        *record = Record::large(record.key(), record.expiry(), LargeHash::from_packed(body));
    }
    let ValueMut::Large(hash) = record.value_mut() else {
        unreachable!("a hash that is not packed is large")
    };
    let mut added = 0;
    for (field, value) in pairs {
        match hash.set(field, value) {
            Some(old) => graveyard.bury(old),
            None => added += 1,
        }
    }
    added
}

/// Removes fields of a hash; gives how many there were. The hash may be empty after it.
pub(super) fn remove(record: &mut Record, fields: &[&[u8]], graveyard: &Graveyard) -> usize {
    let body = record.body_at();
    let mut removed = 0;
    match record.value_mut() {
        ValueMut::Large(hash) => {
            for old in fields.iter().filter_map(|field| hash.remove(field)) {
                graveyard.bury(old);
                removed += 1;
            }
        }
        ValueMut::Packed => {
            let mut edit = record.edit();
            removed = fields
                .iter()
                .filter(|field| packed::remove(&mut edit, body, field))
                .count();
        }
        ValueMut::Inline(_) | ValueMut::Shared(_) => {}
    }
    removed
}
