//! Strings, short in their record and long outside of it: read through a [`StringRef`], changed in
//! place.

use bytes::{Bytes, BytesMut};

use super::record::{INLINE_BYTES, Record, Value, ValueMut};

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

/// In place when no reply holds the bytes, else to a copy.
fn append_shared(bytes: &mut Bytes, tail: &[u8]) {
    let mut head = std::mem::take(bytes)
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    head.extend_from_slice(tail);
    *bytes = head.freeze();
}
