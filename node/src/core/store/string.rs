//! Strings, short in their record and long outside of it: read through a [`StringRef`], changed in
//! place.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::record::{INLINE_BYTES, Record, Value, ValueMut};
use super::value::allotted;

/// A string's bytes, in place.
#[derive(Clone, Copy)]
pub struct StringRef<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Inline(&'a [u8]),
    Shared(&'a Bytes),
}

impl<'a> StringRef<'a> {
    /// The string of a record, if it is one.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        match record.value() {
            Value::Inline(bytes) => Some(Self(Form::Inline(bytes))),
            Value::Shared(bytes) => Some(Self(Form::Shared(bytes))),
            Value::Packed(_) | Value::Large(_) => None,
        }
    }

    pub(super) const fn inline(bytes: &'a [u8]) -> Self {
        Self(Form::Inline(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self.0 {
            Form::Inline(bytes) => bytes,
            Form::Shared(bytes) => bytes,
        }
    }

    /// The bytes, copied when short and shared when long.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.0 {
            Form::Inline(bytes) => Bytes::copy_from_slice(bytes),
            Form::Shared(bytes) => bytes.clone(),
        }
    }

    /// How many bytes are copied.
    #[must_use]
    pub const fn copied_bytes(&self) -> usize {
        match self.0 {
            Form::Inline(bytes) => bytes.len(),
            Form::Shared(_) => 0,
        }
    }

    /// A part of the bytes: copied when short, so that it holds no long string alive.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Bytes {
        match self.0 {
            Form::Shared(bytes) if range.len() > INLINE_BYTES => bytes.slice(range),
            _ => Bytes::copy_from_slice(&self.bytes()[range]),
        }
    }
}

/// Overwrites a short string with one of the same length; says whether it could.
pub(super) fn overwrite(record: &mut Record, value: &[u8]) -> bool {
    match record.value_mut() {
        ValueMut::Inline(old) if old.len() == value.len() => {
            old.copy_from_slice(value);
            true
        }
        _ => false,
    }
}

/// Appends to a string.
pub(super) fn append(record: &mut Record, tail: &[u8]) {
    if let ValueMut::Shared(bytes) = record.value_mut() {
        append_shared(bytes, tail);
        return;
    }
    let Value::Inline(head) = record.value() else {
        unreachable!("the caller has seen that it is a string")
    };
    let len = head.len() + tail.len();
    if len <= INLINE_BYTES {
        let mut edit = record.edit();
        edit.reserve_exact(tail.len());
        edit.extend_from_slice(tail);
        return;
    }
    let mut bytes = BytesMut::with_capacity(len);
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(tail);
    *record = Record::shared(record.key(), record.expiry(), bytes.freeze());
}

fn append_shared(bytes: &mut Bytes, tail: &[u8]) {
    change_shared(bytes, tail.len(), |bytes| bytes.extend_from_slice(tail));
}

/// In place when no reply holds the bytes and there is room for so many more, else in a copy.
fn change_shared(bytes: &mut Bytes, more: usize, change: impl FnOnce(&mut BytesMut)) {
    let len = bytes.len() + more;
    let copy = |from: &[u8]| {
        // As much as the allocator gives anyhow: that is known from the length, and at least a
        // fiftieth more.
        let room = if more > 0 { allotted(len) } else { len };
        let mut copied = BytesMut::with_capacity(room);
        copied.extend_from_slice(from);
        copied
    };
    let mut owned = match std::mem::take(bytes).try_into_mut() {
        Ok(owned) if owned.capacity() < len => copy(&owned),
        Ok(owned) => owned,
        Err(shared) => copy(&shared),
    };
    change(&mut owned);
    *bytes = owned.freeze();
}

/// Overwrites a part of a string, which is padded with zero bytes up to the part.
pub(super) fn write_at(record: &mut Record, offset: usize, part: &[u8]) {
    let end = offset + part.len();
    let len = StringRef::of(record).map_or(0, |string| string.bytes().len());
    if end > len {
        append(record, &vec![0; end - len]);
    }
    match record.value_mut() {
        ValueMut::Inline(bytes) => bytes[offset..end].copy_from_slice(part),
        ValueMut::Shared(bytes) => {
            change_shared(bytes, 0, |bytes| bytes[offset..end].copy_from_slice(part));
        }
        ValueMut::Packed | ValueMut::Large(_) => {
            unreachable!("the caller has seen that it is a string")
        }
    }
}
