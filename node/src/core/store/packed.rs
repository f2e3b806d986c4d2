//! Small hashes as bytes: a count, then the length and bytes of each field and value in order of
//! insertion.
//!
//! Works on byte slices, and on the buffer of a record that is being edited; knows nothing of
//! records.

use std::ops::Range;

use smallvec::SmallVec;

/// Most fields of a packed hash; the count is one byte.
pub const MAX_FIELDS: usize = 64;
/// Most bytes of a packed hash.
pub(super) const MAX_BYTES: usize = 8 * 1024;

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
    usize::from(body[0])
}

/// Where a field and its value are in the body.
#[derive(Clone)]
struct Place {
    start: usize,
    field: Range<usize>,
    value: Range<usize>,
}

impl Place {
    fn at(body: &[u8], start: usize) -> Self {
        let (field_len, field) = varint_at(body, start);
        let (value_len, value) = varint_at(body, field + field_len);
        Self {
            start,
            field: field..field + field_len,
            value: value..value + value_len,
        }
    }

    fn find(body: &[u8], field: &[u8]) -> Option<Self> {
        let mut at = 1;
        while at < body.len() {
            let place = Self::at(body, at);
            if &body[place.field.clone()] == field {
                return Some(place);
            }
            at = place.value.end;
        }
        None
    }
}

/// The value of a field.
pub(super) fn get<'b>(body: &'b [u8], field: &[u8]) -> Option<&'b [u8]> {
    Place::find(body, field).map(|place| &body[place.value])
}

/// The fields with their values, in order of insertion.
pub(super) struct Pairs<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Pairs<'b> {
    pub(super) const fn new(body: &'b [u8]) -> Self {
        Self { body, at: 1 }
    }
}

impl<'b> Iterator for Pairs<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let place = Place::at(self.body, self.at);
        self.at = place.value.end;
        Some((&self.body[place.field], &self.body[place.value]))
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
pub(super) fn set(record: &mut Vec<u8>, body: usize, field: &[u8], value: &[u8]) -> Set {
    match Place::find(&record[body..], field) {
        Some(place) => replace(record, body, &place, value),
        None => add(record, body, field, value),
    }
}

fn add(record: &mut Vec<u8>, body: usize, field: &[u8], value: &[u8]) -> Set {
    let more = pair_len(field, value);
    if len(&record[body..]) == MAX_FIELDS || record.len() - body + more > MAX_BYTES {
        return Set::Full;
    }
    record.reserve_exact(more);
    record.extend_from_slice(&varint(field.len()));
    record.extend_from_slice(field);
    record.extend_from_slice(&varint(value.len()));
    record.extend_from_slice(value);
    record[body] += 1;
    Set::Added
}

fn replace(record: &mut Vec<u8>, body: usize, place: &Place, value: &[u8]) -> Set {
    let old = body + place.value.start..body + place.value.end;
    if old.len() == value.len() {
        record[old].copy_from_slice(value);
        return Set::Replaced;
    }
    let old = body + place.field.end..old.end;
    let new_len = varint_len(value.len()) + value.len();
    if record.len() - body - old.len() + new_len > MAX_BYTES {
        return Set::Full;
    }
    record.reserve_exact(new_len.saturating_sub(old.len()));
    record.splice(
        old,
        varint(value.len()).into_iter().chain(value.iter().copied()),
    );
    Set::Replaced
}

/// Removes a field from the body that starts at `body` in `record`; says whether there was one.
pub(super) fn remove(record: &mut Vec<u8>, body: usize, field: &[u8]) -> bool {
    let Some(place) = Place::find(&record[body..], field) else {
        return false;
    };
    record.drain(body + place.start..body + place.value.end);
    record[body] -= 1;
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
        Pairs::new(&record[1..]).collect()
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
        assert_eq!(get(&record[1..], b"c"), Some(&b""[..]));
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
}
