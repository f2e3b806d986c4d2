//! Small hashes as bytes: a count, then the length and bytes of each field and value in order of
//! insertion.
//!
//! Where fields have expiries, the top bit of the count is set, and between it and the fields stand
//! the number of expiries and, by the number of the field, each of them: 7 bytes a field.
//!
//! Works on byte slices, and on the buffer of a record that is being edited; knows nothing of
//! records, and no time.

use std::ops::Range;

use smallvec::SmallVec;

use super::write::Expiry;
use crate::core::time::UnixMs;

/// Most fields of a packed hash; the count is one byte.
pub const MAX_FIELDS: usize = 64;
/// Most bytes of a packed hash.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// On the count: some field has an expiry.
const TIMED: u8 = 0x80;
/// Bytes of an expiry: up to the year 10889, and commands take none that is so late.
const TIME_BYTES: usize = 6;
const LAST_MS: UnixMs = (1 << (8 * TIME_BYTES)) - 1;
/// The number of a field and its expiry.
const ENTRY_BYTES: usize = 1 + TIME_BYTES;

/// Bytes of a number's variable-length form: seven bits a byte, the lowest first, the top bit set
/// on all but the last.
pub(super) const fn varint_len(n: usize) -> usize {
    let bits = usize::BITS - (n | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// A number's variable-length form.
pub(super) fn varint(mut n: usize) -> SmallVec<[u8; 16]> {
    let mut bytes = SmallVec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// Reads a number in its variable-length form at `at`; gives it, and where it ends.
pub(super) fn varint_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let first = bytes[at];
    // Nearly all lengths are short.
    if first < 0x80 {
        return (usize::from(first), at + 1);
    }
    let mut n = usize::from(first & 0x7f);
    let mut next = at + 1;
    let mut shift = 7;
    loop {
        let byte = bytes[next];
        next += 1;
        n |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (n, next);
        }
        shift += 7;
    }
}

/// Bytes that a field and its value take.
pub(super) const fn pair_len(field: &[u8], value: &[u8]) -> usize {
    varint_len(field.len()) + field.len() + varint_len(value.len()) + value.len()
}

/// Number of fields.
pub(super) fn len(body: &[u8]) -> usize {
    usize::from(body[0] & !TIMED)
}

/// Where the expiries are.
fn entries_at(body: &[u8]) -> Range<usize> {
    if body[0] & TIMED == 0 {
        return 1..1;
    }
    2..2 + usize::from(body[1]) * ENTRY_BYTES
}

/// The fields with an expiry, by their numbers, ascending.
fn entries(body: &[u8]) -> impl Iterator<Item = (usize, UnixMs)> {
    let (entries, _) = body[entries_at(body)].as_chunks::<ENTRY_BYTES>();
    entries.iter().map(|[index, expiry @ ..]| {
        let mut bytes = [0; size_of::<UnixMs>()];
        bytes[..TIME_BYTES].copy_from_slice(expiry);
        (usize::from(*index), UnixMs::from_le_bytes(bytes))
    })
}

/// The expiries of the fields that have one.
pub(super) fn expiries(body: &[u8]) -> impl Iterator<Item = UnixMs> {
    entries(body).map(|(_, expiry)| expiry)
}

/// Where a field and its value are in the body.
#[derive(Clone)]
struct Place {
    /// Its number, from 0.
    index: usize,
    start: usize,
    field: Range<usize>,
    value: Range<usize>,
}

impl Place {
    fn at(body: &[u8], index: usize, start: usize) -> Self {
        let (field_len, field) = varint_at(body, start);
        let (value_len, value) = varint_at(body, field + field_len);
        Self {
            index,
            start,
            field: field..field + field_len,
            value: value..value + value_len,
        }
    }

    fn find(body: &[u8], field: &[u8]) -> Option<Self> {
        let mut at = entries_at(body).end;
        let mut index = 0;
        while at < body.len() {
            let place = Self::at(body, index, at);
            if &body[place.field.clone()] == field {
                return Some(place);
            }
            at = place.value.end;
            index += 1;
        }
        None
    }

    fn expiry(&self, body: &[u8]) -> Option<UnixMs> {
        let mut entries = entries(body);
        let own = entries.find(|(index, _)| *index == self.index);
        own.map(|(_, expiry)| expiry)
    }
}

/// The value of a field, and its expiry.
pub(super) fn get<'b>(body: &'b [u8], field: &[u8]) -> Option<(&'b [u8], Option<UnixMs>)> {
    let place = Place::find(body, field)?;
    let expiry = place.expiry(body);
    Some((&body[place.value], expiry))
}

/// The fields with their values and expiries, in order of insertion.
pub(super) struct Fields<'b> {
    body: &'b [u8],
    index: usize,
    at: usize,
}

impl<'b> Fields<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        let at = entries_at(body).end;
        Self { body, index: 0, at }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = (&'b [u8], &'b [u8], Option<UnixMs>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let place = Place::at(self.body, self.index, self.at);
        self.at = place.value.end;
        self.index += 1;
        let expiry = place.expiry(self.body);
        Some((&self.body[place.field], &self.body[place.value], expiry))
    }
}

/// What became of a pair that was to be set.
#[derive(Debug, PartialEq)]
pub(super) enum Set {
    /// The field is new.
    Added,
    /// The field had a value.
    Replaced,
    /// It does not fit; nothing has changed.
    Full,
}

/// Sets a field in the body that starts at `body` in `record`.
pub(super) fn set(
    record: &mut Vec<u8>,
    body: usize,
    (field, value): (&[u8], &[u8]),
    expiry: Expiry,
) -> Set {
    let place = Place::find(&record[body..], field);
    // There has to be room for the expiry before anything changes.
    let spare = match expiry {
        Expiry::At(_) => entry_room(&record[body..], place.as_ref()),
        Expiry::Keep | Expiry::Never => 0,
    };
    let (set, index) = match place {
        Some(place) => (replace(record, body, &place, value, spare), place.index),
        None => {
            let index = len(&record[body..]);
            (add(record, body, (field, value), spare), index)
        }
    };
    match (&set, expiry) {
        (Set::Full, _) | (_, Expiry::Keep) => {}
        (_, Expiry::Never) => set_entry(record, body, index, None),
        (_, Expiry::At(at)) => set_entry(record, body, index, Some(at)),
    }
    set
}

fn add(record: &mut Vec<u8>, body: usize, (field, value): (&[u8], &[u8]), spare: usize) -> Set {
    let more = pair_len(field, value);
    if len(&record[body..]) == MAX_FIELDS || record.len() - body + more + spare > MAX_BYTES {
        return Set::Full;
    }
    record.reserve_exact(more + spare);
    record.extend_from_slice(&varint(field.len()));
    record.extend_from_slice(field);
    record.extend_from_slice(&varint(value.len()));
    record.extend_from_slice(value);
    record[body] += 1;
    Set::Added
}

fn replace(record: &mut Vec<u8>, body: usize, place: &Place, value: &[u8], spare: usize) -> Set {
    let old = body + place.value.start..body + place.value.end;
    if old.len() == value.len() && spare == 0 {
        record[old].copy_from_slice(value);
        return Set::Replaced;
    }
    let old = body + place.field.end..old.end;
    let new_len = varint_len(value.len()) + value.len();
    if record.len() - body - old.len() + new_len + spare > MAX_BYTES {
        return Set::Full;
    }
    record.reserve_exact((new_len + spare).saturating_sub(old.len()));
    record.splice(
        old,
        varint(value.len()).into_iter().chain(value.iter().copied()),
    );
    Set::Replaced
}

/// Sets or clears the expiry of a field that is there, and says that; nothing changes where there
/// is no room.
pub(super) fn set_expiry(
    record: &mut Vec<u8>,
    body: usize,
    field: &[u8],
    expiry: Option<UnixMs>,
) -> Set {
    let Some(place) = Place::find(&record[body..], field) else {
        return Set::Full;
    };
    let more = expiry.map_or(0, |_| entry_room(&record[body..], Some(&place)));
    if record.len() - body + more > MAX_BYTES {
        return Set::Full;
    }
    set_entry(record, body, place.index, expiry);
    Set::Replaced
}

/// Bytes by which the body grows when a field, which may be new, gets an expiry.
fn entry_room(body: &[u8], place: Option<&Place>) -> usize {
    let has_one = place.is_some_and(|place| place.expiry(body).is_some());
    match (has_one, entries_at(body).is_empty()) {
        (true, _) => 0,
        (false, true) => 1 + ENTRY_BYTES,
        (false, false) => ENTRY_BYTES,
    }
}

/// Sets or clears the expiry of the field of this number.
fn set_entry(record: &mut Vec<u8>, body: usize, field: usize, expiry: Option<UnixMs>) {
    let at = entries_at(&record[body..]);
    let before = entries(&record[body..]).take_while(|(index, _)| *index < field);
    let start = body + at.start + before.count() * ENTRY_BYTES;
    let is_there = entries(&record[body..]).any(|(index, _)| index == field);
    let mut entry = [0; ENTRY_BYTES];
    entry[0] = field as u8;
    let time = expiry.unwrap_or_default().min(LAST_MS).to_le_bytes();
    entry[1..].copy_from_slice(&time[..TIME_BYTES]);
    match (is_there, expiry) {
        (true, Some(_)) => record[start..start + ENTRY_BYTES].copy_from_slice(&entry),
        (false, Some(_)) if at.is_empty() => {
            record[body] |= TIMED;
            record.splice(start..start, [1].into_iter().chain(entry));
        }
        (false, Some(_)) => {
            record.splice(start..start, entry);
            record[body + 1] += 1;
        }
        (true, None) if at.len() == ENTRY_BYTES => {
            record.drain(start - 1..start + ENTRY_BYTES);
            record[body] &= !TIMED;
        }
        (true, None) => {
            record.drain(start..start + ENTRY_BYTES);
            record[body + 1] -= 1;
        }
        (false, None) => {}
    }
}

/// Removes a field from the body that starts at `body` in `record`; says whether there was one.
pub(super) fn remove(record: &mut Vec<u8>, body: usize, field: &[u8]) -> bool {
    let Some(place) = Place::find(&record[body..], field) else {
        return false;
    };
    record.drain(body + place.start..body + place.value.end);
    record[body] -= 1;
    set_entry(record, body, place.index, None);
    let entries = entries_at(&record[body..]);
    let (entries, _) = record[body..][entries].as_chunks_mut::<ENTRY_BYTES>();
    for [index, ..] in entries {
        *index -= u8::from(usize::from(*index) > place.index);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for n in [
            0,
            1,
            127,
            128,
            300,
            16383,
            16384,
            65536,
            1 << 26,
            usize::MAX,
        ] {
            let mut bytes = vec![9];
            bytes.extend_from_slice(&varint(n));
            assert_eq!(bytes.len() - 1, varint_len(n), "{n}");
            assert_eq!(varint_at(&bytes, 1), (n, bytes.len()), "{n}");
        }
    }

    fn pairs(record: &[u8]) -> Vec<(&[u8], &[u8])> {
        let fields = Fields::new(&record[1..]);
        fields.map(|(field, value, _)| (field, value)).collect()
    }

    fn set(record: &mut Vec<u8>, body: usize, field: &[u8], value: &[u8]) -> Set {
        super::set(record, body, (field, value), Expiry::Never)
    }

    #[test]
    fn sets_replaces_and_removes_in_place() {
        // One byte in front, as a record has its key there.
        let mut record = vec![7, 0];
        assert_eq!(set(&mut record, 1, b"a", b"1"), Set::Added);
        assert_eq!(set(&mut record, 1, b"", b""), Set::Added);
        assert_eq!(set(&mut record, 1, b"c", &[5; 200]), Set::Added);
        assert_eq!(set(&mut record, 1, b"a", b"22"), Set::Replaced);
        assert_eq!(set(&mut record, 1, b"c", b""), Set::Replaced);
        assert_eq!(set(&mut record, 1, b"", &[6; 300]), Set::Replaced);
        assert_eq!(
            pairs(&record),
            [(&b"a"[..], &b"22"[..]), (b"", &[6; 300]), (b"c", b"")]
        );
        assert!(remove(&mut record, 1, b"") && !remove(&mut record, 1, b""));
        assert_eq!(pairs(&record), [(&b"a"[..], &b"22"[..]), (b"c", b"")]);
        assert_eq!(len(&record[1..]), 2);
        assert_eq!(get(&record[1..], b"c"), Some((&b""[..], None)));
        assert_eq!(get(&record[1..], b"x"), None);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut record = vec![0];
        let name = |n: usize| n.to_string().into_bytes();
        for n in 0..MAX_FIELDS {
            assert_eq!(set(&mut record, 0, &name(n), b"v"), Set::Added);
        }
        let before = record.clone();
        assert_eq!(set(&mut record, 0, b"one more", b"v"), Set::Full);
        assert_eq!(set(&mut record, 0, b"3", &[0; MAX_BYTES]), Set::Full);
        assert_eq!(record, before);
        assert_eq!(set(&mut record, 0, b"3", b"w"), Set::Replaced);
    }

    /// What has no expiry takes no byte more beside what has one.
    #[test]
    fn an_expiry_takes_seven_bytes_and_the_count_one() {
        let mut record = vec![0];
        for n in 0..10u8 {
            set(&mut record, 0, &[n], b"v");
        }
        let plain = record.clone();
        for n in [3u8, 9, 0, 3] {
            assert_eq!(
                set_expiry(&mut record, 0, &[n], Some(n.into())),
                Set::Replaced
            );
        }
        assert_eq!(record.len(), plain.len() + 1 + 3 * 7);
        for n in [9u8, 3, 7, 0] {
            set_expiry(&mut record, 0, &[n], None);
        }
        assert_eq!(record, plain);
        assert_eq!(set_expiry(&mut record, 0, b"none", Some(1)), Set::Full);
        assert_eq!(record, plain);
    }

    #[test]
    fn expiries_stay_with_their_fields() {
        let mut record = vec![0];
        for n in 0..6u8 {
            let expiry = if n % 2 == 0 {
                Expiry::Never
            } else {
                Expiry::At(n.into())
            };
            super::set(&mut record, 0, (&[n], b"v"), expiry);
        }
        let shown = |record: &[u8]| -> Vec<(u8, Option<UnixMs>)> {
            let fields = Fields::new(record);
            fields
                .map(|(field, _, expiry)| (field[0], expiry))
                .collect()
        };
        assert!(remove(&mut record, 0, &[1]) && remove(&mut record, 0, &[2]));
        assert_eq!(
            shown(&record),
            [(0, None), (3, Some(3)), (4, None), (5, Some(5))]
        );
        super::set(&mut record, 0, (&[3], b"longer"), Expiry::Keep);
        super::set(&mut record, 0, (&[0], b"w"), Expiry::At(9));
        set(&mut record, 0, &[5], b"v");
        assert_eq!(
            shown(&record),
            [(0, Some(9)), (3, Some(3)), (4, None), (5, None)]
        );
        assert_eq!(get(&record, &[3]), Some((&b"longer"[..], Some(3))));
        assert_eq!(expiries(&record).collect::<Vec<_>>(), [9, 3]);
    }

    /// A copy is made from what a hash holds, and has to be a small hash again.
    #[test]
    fn what_fits_fits_again() {
        let mut record = vec![0];
        set(&mut record, 0, b"a", &[0; MAX_BYTES - 50]);
        set(&mut record, 0, b"b", b"v");
        let room = MAX_BYTES - record.len();
        set(&mut record, 0, b"b", &vec![0; 1 + room - 15]);
        let timed = |record: &mut Vec<u8>, field: &[u8]| set_expiry(record, 0, field, Some(1));
        assert_eq!(timed(&mut record, b"a"), Set::Replaced);
        assert_eq!(timed(&mut record, b"b"), Set::Replaced);
        assert_eq!(record.len(), MAX_BYTES);
        assert_eq!(timed(&mut record, b"b"), Set::Replaced);
        let mut again = vec![0];
        for (field, value, expiry) in Fields::new(&record) {
            let expiry = expiry.map_or(Expiry::Never, Expiry::At);
            assert_eq!(
                super::set(&mut again, 0, (field, value), expiry),
                Set::Added
            );
        }
        assert_eq!(again, record);
    }
}
