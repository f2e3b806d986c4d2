//! Hashes of either form: read through a [`HashRef`], changed through functions on their record.
//!
//! A field that is due does not exist for who reads. Of a small hash the fields that are due are
//! removed before it is changed, of a large one those that are named; the others are left to the
//! sweep.

use std::cell::Cell;

use dht_proto::image::Fields;
use smallvec::SmallVec;

use super::graveyard::Graveyard;
use super::large::{LargeHash, SharedHash, is_due as has_passed};
use super::packed;
use super::read::Moment;
use super::record::{Record, Value, ValueMut};
use super::string::StringRef;
use super::write::Expiry;
use crate::core::random::Random;
use crate::core::time::UnixMs;

/// A field, its value and what becomes of its expiry.
pub(super) type Field<'a> = (&'a [u8], &'a [u8], Expiry);

/// The fields of an image as they are to be set.
pub(super) fn to_set<'a>(fields: &Fields<'a>) -> SmallVec<[Field<'a>; 8]> {
    let expiry = |at: Option<UnixMs>| at.map_or(Expiry::Never, Expiry::At);
    let fields = fields.iter();
    let fields = fields.map(|(field, value, at)| (*field, *value, expiry(*at)));
    fields.collect()
}

/// A hash, in place, at a moment.
#[derive(Clone, Copy)]
pub struct HashRef<'a> {
    form: Form<'a>,
    moment: Moment,
    /// Set when something was found that is due by the wall's time alone.
    early: Option<&'a Cell<bool>>,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Packed(&'a [u8]),
    Large(&'a LargeHash),
}

impl<'a> HashRef<'a> {
    /// The hash of a record, if it is one, with all its fields.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        Self::at(record, Moment::sure(0), None)
    }

    /// The hash of a record, if it is one, without the fields that are due.
    pub(super) fn at(
        record: &'a Record,
        moment: Moment,
        early: Option<&'a Cell<bool>>,
    ) -> Option<Self> {
        let form = match record.value() {
            Value::Packed(body) => Form::Packed(body),
            Value::Large(hash) => Form::Large(hash),
            Value::Inline(_) | Value::Shared(_) => return None,
        };
        Some(Self {
            form,
            moment,
            early,
        })
    }

    /// Whether a field with this expiry exists.
    fn shows(&self, expiry: Option<UnixMs>) -> bool {
        if !has_passed(expiry, self.moment.wall) {
            return true;
        }
        self.tell_early(!has_passed(expiry, self.moment.shard));
        false
    }

    fn tell_early(&self, is_early: bool) {
        if is_early && let Some(early) = self.early {
            early.set(true);
        }
    }

    /// Number of fields, with those that are due and not yet removed: what it costs to look at all.
    #[must_use]
    pub fn stored(&self) -> usize {
        match self.form {
            Form::Packed(body) => packed::len(body),
            Form::Large(hash) => hash.len(),
        }
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.form {
            Form::Packed(body) => {
                let due = packed::expiries(body).filter(|at| !self.shows(Some(*at)));
                packed::len(body) - due.count()
            }
            Form::Large(hash) => {
                let Moment { wall, shard } = self.moment;
                self.tell_early(hash.may_be_early(shard, wall));
                hash.len() - hash.due(wall, usize::MAX)
            }
        }
    }

    /// Whether it has no field; a hash that exists always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some field is due and not yet removed.
    #[must_use]
    pub fn has_due(&self) -> bool {
        match self.form {
            Form::Packed(body) => packed::expiries(body).any(|at| self.moment.wall > at),
            Form::Large(hash) => hash.due(self.moment.wall, 0) > 0,
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<StringRef<'a>> {
        self.get_timed(field).map(|(value, _)| value)
    }

    /// The value of a field, and its expiry if it has one.
    #[must_use]
    pub fn get_timed(&self, field: &[u8]) -> Option<(StringRef<'a>, Option<UnixMs>)> {
        let (value, expiry) = match self.form {
            Form::Packed(body) => {
                let (value, expiry) = packed::get(body, field)?;
                (StringRef::inline(value), expiry)
            }
            Form::Large(hash) => {
                let (record, expiry) = hash.get(field)?;
                (StringRef::of(record)?, expiry)
            }
        };
        self.shows(expiry).then_some((value, expiry))
    }

    /// Every field with its value: a small hash in the order of insertion, a large one in no
    /// particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], StringRef<'a>)> + use<'a> {
        self.iter_timed().map(|(field, value, _)| (field, value))
    }

    /// Likewise, with the expiries.
    pub fn iter_timed(
        &self,
    ) -> impl Iterator<Item = (&'a [u8], StringRef<'a>, Option<UnixMs>)> + use<'a> {
        let (small, large) = match self.form {
            Form::Packed(body) => (Some(packed::Fields::new(body)), None),
            Form::Large(hash) => (None, Some(hash.records())),
        };
        let small = small.into_iter().flatten();
        let small = small.map(|(field, value, at)| (field, StringRef::inline(value), at));
        let large = large.into_iter().flatten();
        let large =
            large.filter_map(|(record, at)| Some((record.key(), StringRef::of(record)?, at)));
        let this = *self;
        small.chain(large).filter(move |(_, _, at)| this.shows(*at))
    }

    /// The fields of a large hash as they are now, to be read when its slot is locked no more.
    #[must_use]
    pub fn share(&self) -> Option<SharedHash> {
        let Form::Large(hash) = self.form else {
            return None;
        };
        let Moment { wall, shard } = self.moment;
        self.tell_early(hash.may_be_early(shard, wall));
        Some(hash.share(wall))
    }

    /// A random field of a large hash with its value; nothing when one was met that is due.
    #[must_use]
    pub fn draw(&self, random: &mut Random) -> Option<(&'a [u8], StringRef<'a>)> {
        let Form::Large(hash) = self.form else {
            return None;
        };
        let (record, expiry) = hash.draw(random)?;
        let value = StringRef::of(record)?;
        self.shows(expiry).then_some((record.key(), value))
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
        let Form::Large(hash) = self.form else {
            for (field, value) in self.iter() {
                visit(field, value);
            }
            return 0;
        };
        hash.scan(cursor, count.max(1), &mut |record, expiry| {
            if let Some(value) = StringRef::of(record)
                && self.shows(expiry)
            {
                visit(record.key(), value);
            }
        })
    }
}

/// Whether a record is a hash of which some field has an expiry.
pub(super) fn is_timed(record: &Record) -> bool {
    match record.value() {
        Value::Packed(body) => packed::expiries(body).next().is_some(),
        Value::Large(hash) => hash.is_timed(),
        Value::Inline(_) | Value::Shared(_) => false,
    }
}

/// Whether a record is a hash of which every field is due.
pub(super) fn is_due(record: &Record, stamp: UnixMs) -> bool {
    match record.value() {
        Value::Packed(body) => {
            let due = packed::expiries(body).filter(|at| stamp > *at).count();
            due > 0 && due == packed::len(body)
        }
        Value::Large(hash) => hash.is_due(stamp),
        Value::Inline(_) | Value::Shared(_) => false,
    }
}

/// How many fields of a record are due, or a few more than `most` if there are more.
pub(super) fn due(record: &Record, stamp: UnixMs, most: usize) -> usize {
    match record.value() {
        Value::Packed(body) => packed::expiries(body).filter(|at| stamp > *at).count(),
        Value::Large(hash) => hash.due(stamp, most),
        Value::Inline(_) | Value::Shared(_) => 0,
    }
}

/// Removes what is due of a small hash; gives how many fields.
pub(super) fn purge(record: &mut Record, stamp: UnixMs) -> usize {
    let Value::Packed(body) = record.value() else {
        return 0;
    };
    if packed::expiries(body).all(|at| stamp <= at) {
        return 0;
    }
    let fields = packed::Fields::new(body);
    let due = fields.filter(|(_, _, expiry)| has_passed(*expiry, stamp));
    let due: Vec<Vec<u8>> = due.map(|(field, ..)| field.to_vec()).collect();
    let at = record.body_at();
    let mut edit = record.edit();
    for field in &due {
        packed::remove(&mut edit, at, field);
    }
    due.len()
}

/// The first fields of a large hash that are due, at most so many.
pub(super) fn due_fields(record: &Record, stamp: UnixMs, most: usize) -> Vec<Vec<u8>> {
    match record.value() {
        Value::Large(hash) => hash.due_fields(stamp, most),
        _ => Vec::new(),
    }
}

/// A new hash of these fields; gives its record and how many fields it has.
pub(super) fn create(key: &[u8], fields: &[Field<'_>], graveyard: &Graveyard) -> (Record, usize) {
    let room = fields
        .iter()
        .map(|(field, value, _)| packed::pair_len(field, value))
        .sum();
    // What does not fit in a small hash becomes a large one.
    let room = packed::MAX_BYTES.min(room);
    let (mut record, done) =
        Record::packed(key, room, |draft, body| set_packed(draft, body, fields));
    let added = done.added + set_rest(&mut record, &fields[done.fields..], graveyard);
    (record, added)
}

/// Sets fields of a hash; gives how many are new.
pub(super) fn set(
    record: &mut Record,
    fields: &[Field<'_>],
    stamp: UnixMs,
    graveyard: &Graveyard,
) -> usize {
    let mut done = Done::default();
    let body = record.body_at();
    match record.value_mut() {
        ValueMut::Packed => done = set_packed(&mut record.edit(), body, fields),
        ValueMut::Large(hash) => remove_due(hash, fields, stamp, graveyard),
        ValueMut::Inline(_) | ValueMut::Shared(_) => {}
    }
    done.added + set_rest(record, &fields[done.fields..], graveyard)
}

/// Removes those of these fields that are due, so that a successor is new and keeps no expiry.
/// All before the first is set: what is set may be due already and be named once more.
fn remove_due(hash: &mut LargeHash, fields: &[Field<'_>], stamp: UnixMs, graveyard: &Graveyard) {
    if !hash.is_timed() {
        return;
    }
    for (field, ..) in fields {
        let expiry = hash.get(field).and_then(|(_, expiry)| expiry);
        if has_passed(expiry, stamp)
            && let Some((old, _)) = hash.remove(field)
        {
            graveyard.bury(old);
        }
    }
}

/// How far [`set_packed`] came.
#[derive(Default)]
struct Done {
    fields: usize,
    added: usize,
}

fn set_packed(draft: &mut Vec<u8>, body: usize, fields: &[Field<'_>]) -> Done {
    let mut done = Done::default();
    for (field, value, expiry) in fields {
        match packed::set(draft, body, (field, value), *expiry) {
            packed::Set::Added => done.added += 1,
            packed::Set::Replaced => {}
            packed::Set::Full => break,
        }
        done.fields += 1;
    }
    done
}

/// Sets the fields for which a small hash has no room.
fn set_rest(record: &mut Record, fields: &[Field<'_>], graveyard: &Graveyard) -> usize {
    if fields.is_empty() {
        return 0;
    }
    let hash = enlarge(record);
    let mut added = 0;
    for (field, value, expiry) in fields {
        match hash.set(field, value, *expiry) {
            Some(old) => graveyard.bury(old),
            None => added += 1,
        }
    }
    added
}

/// Makes a large hash of a small one.
fn enlarge(record: &mut Record) -> &mut LargeHash {
    if let Value::Packed(body) = record.value() {
        *record = Record::large(record.key(), record.expiry(), LargeHash::from_packed(body));
    }
    let ValueMut::Large(hash) = record.value_mut() else {
        unreachable!("a hash that is not packed is large")
    };
    hash
}

/// Sets or clears the expiry of a field that is there.
pub(super) fn set_expiry(record: &mut Record, field: &[u8], expiry: Option<UnixMs>) {
    if matches!(record.value(), Value::Packed(_)) {
        let body = record.body_at();
        let set = packed::set_expiry(&mut record.edit(), body, field, expiry);
        if set != packed::Set::Full {
            return;
        }
    }
    enlarge(record).set_expiry(field, expiry);
}

/// Removes fields of a hash; gives how many there were that are not due. The hash may be empty
/// after it.
pub(super) fn remove(
    record: &mut Record,
    fields: &[&[u8]],
    stamp: UnixMs,
    graveyard: &Graveyard,
) -> usize {
    let body = record.body_at();
    let mut removed = 0;
    match record.value_mut() {
        ValueMut::Large(hash) => {
            for (old, expiry) in fields.iter().filter_map(|field| hash.remove(field)) {
                removed += usize::from(!has_passed(expiry, stamp));
                graveyard.bury(old);
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
