//! A key or a field with its value: one thin pointer to one allocation.
//!
//! ```text
//! header  4 bytes   length of the allocation (27 bits), form of the body (2), expiry or none (1),
//!                   expiry elsewhere (1)
//! key     varint length, then the bytes
//! expiry  8 bytes, only where there is one
//! body    the string, the packed hash, or an owning pointer to a value that is kept outside
//! ```
//!
//! Knows how a value is laid out, not what a table or a command is. Every owning pointer is
//! handled here.

use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use bytes::Bytes;

use super::ValueKind;
use super::large::LargeHash;
use super::packed;
use crate::core::time::UnixMs;

/// Longest string that lies in the record itself, in bytes; a longer one is shared with the
/// replies.
pub(super) const INLINE_BYTES: usize = 4 * 1024;

const HEADER_BYTES: usize = size_of::<u32>();
const EXPIRY_BYTES: usize = size_of::<UnixMs>();
const POINTER_BYTES: usize = size_of::<*mut ()>();
const LENGTH_BITS: u32 = 27;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const FORM_MASK: u32 = 0b11 << LENGTH_BITS;
const VOLATILE: u32 = 1 << (LENGTH_BITS + 2);
/// The expiry is kept elsewhere.
const TIMED_APART: u32 = 1 << (LENGTH_BITS + 3);

/// How the body holds the value. The numbers are those in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Inline = 0,
    Packed = 1,
    Shared = 2,
    Large = 3,
}

/// The value of a record, in place.
pub(super) enum Value<'r> {
    /// A short string.
    Inline(&'r [u8]),
    /// A long string.
    Shared(&'r Bytes),
    /// The body of a small hash; see [`packed`].
    Packed(&'r [u8]),
    /// A large hash.
    Large(&'r LargeHash),
}

/// The value of a record, to be changed in place without changing its length.
pub(super) enum ValueMut<'r> {
    /// A short string.
    Inline(&'r mut [u8]),
    /// A long string.
    Shared(&'r mut Bytes),
    /// A small hash; changed by [`Record::edit`].
    Packed,
    /// A large hash.
    Large(&'r mut LargeHash),
}

/// A key or field with its value and perhaps an expiry.
pub(super) struct Record(NonNull<u8>);

// SAFETY: a record owns its allocation and whatever that points to, all of which may be sent and
// shared.
unsafe impl Send for Record {}
// SAFETY: as above; nothing in it changes through a shared reference.
unsafe impl Sync for Record {}

impl Record {
    /// A string.
    pub(super) fn string(key: &[u8], expiry: Option<UnixMs>, value: &[u8]) -> Self {
        if value.len() > INLINE_BYTES {
            return Self::shared(key, expiry, Bytes::copy_from_slice(value));
        }
        let mut draft = draft(Form::Inline, key, expiry, value.len());
        draft.extend_from_slice(value);
        Self::seal(draft)
    }

    /// A string that is kept outside of the record.
    pub(super) fn shared(key: &[u8], expiry: Option<UnixMs>, value: Bytes) -> Self {
        Self::boxed(Form::Shared, key, expiry, value)
    }

    /// A small hash without expiry, filled by `fill`, which is given the draft, with room for
    /// `room` bytes of fields, and where its body starts.
    pub(super) fn packed<R>(
        key: &[u8],
        room: usize,
        fill: impl FnOnce(&mut Vec<u8>, usize) -> R,
    ) -> (Self, R) {
        let mut draft = draft(Form::Packed, key, None, 1 + room);
        let body = draft.len();
        draft.push(0);
        let filled = fill(&mut draft, body);
        (Self::seal(draft), filled)
    }

    /// A large hash.
    pub(super) fn large(key: &[u8], expiry: Option<UnixMs>, hash: LargeHash) -> Self {
        Self::boxed(Form::Large, key, expiry, hash)
    }

    fn boxed<T>(form: Form, key: &[u8], expiry: Option<UnixMs>, value: T) -> Self {
        let mut draft = draft(form, key, expiry, POINTER_BYTES);
        let body = draft.len();
        draft.resize(body + POINTER_BYTES, 0);
        let record = Self::seal(draft);
        let pointer = Box::into_raw(Box::new(value));
        // SAFETY: the allocation has room for a pointer at `body`; nothing else refers to it yet.
        unsafe { record.0.add(body).cast::<*mut T>().write_unaligned(pointer) };
        record
    }

    /// Turns a finished draft into a record.
    fn seal(mut draft: Vec<u8>) -> Self {
        set_length(&mut draft);
        let allocation = Box::into_raw(draft.into_boxed_slice());
        // SAFETY: a box is never null.
        Self(unsafe { NonNull::new_unchecked(allocation.cast()) })
    }

    fn header(&self) -> u32 {
        // SAFETY: every record begins with its header.
        unsafe { self.0.cast::<u32>().read_unaligned() }
    }

    fn form(&self) -> Form {
        match (self.header() & FORM_MASK) >> LENGTH_BITS {
            0 => Form::Inline,
            1 => Form::Packed,
            2 => Form::Shared,
            _ => Form::Large,
        }
    }

    fn is_volatile(&self) -> bool {
        self.header() & VOLATILE != 0
    }

    /// Whether it has an expiry that is kept elsewhere, as those of fields of large hashes are.
    pub(super) fn is_timed_apart(&self) -> bool {
        self.header() & TIMED_APART != 0
    }

    /// Says so.
    pub(super) fn set_timed_apart(&mut self, timed: bool) {
        let flag = if timed { TIMED_APART } else { 0 };
        change_header(self.bytes_mut(), |header| header & !TIMED_APART | flag);
    }

    fn allocation(&self) -> *mut [u8] {
        let length = (self.header() & LENGTH_MASK) as usize;
        ptr::slice_from_raw_parts_mut(self.0.as_ptr(), length)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the header says how long the allocation is; it lives as long as the record.
        unsafe { &*self.allocation() }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the record is borrowed exclusively.
        unsafe { &mut *self.allocation() }
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        let bytes = self.bytes();
        let (length, start) = packed::varint_at(bytes, HEADER_BYTES);
        &bytes[start..start + length]
    }

    /// Where the expiry is, or would be.
    fn key_end(&self) -> usize {
        let (length, start) = packed::varint_at(self.bytes(), HEADER_BYTES);
        start + length
    }

    /// Where the body starts.
    pub(super) fn body_at(&self) -> usize {
        self.key_end() + if self.is_volatile() { EXPIRY_BYTES } else { 0 }
    }

    /// When the key stops to exist.
    pub(super) fn expiry(&self) -> Option<UnixMs> {
        if !self.is_volatile() {
            return None;
        }
        let bytes = self.bytes().get(self.key_end()..)?;
        bytes
            .first_chunk()
            .map(|expiry| UnixMs::from_le_bytes(*expiry))
    }

    /// Sets or clears the expiry.
    pub(super) fn set_expiry(&mut self, expiry: Option<UnixMs>) {
        let at = self.key_end();
        let old = at..self.body_at();
        let new = expiry.map(UnixMs::to_le_bytes);
        let new = new.as_ref().map_or(&[][..], |expiry| &expiry[..]);
        if new.len() == old.len() {
            self.bytes_mut()[old].copy_from_slice(new);
            return;
        }
        let mut edit = self.edit();
        edit.reserve_exact(new.len());
        // A pointer behind the expiry is moved, never read or written, as bytes.
        edit.splice(old, new.iter().copied());
        set_volatile(&mut edit, expiry.is_some());
    }

    /// The type of the value.
    pub(super) fn kind(&self) -> ValueKind {
        match self.form() {
            Form::Inline | Form::Shared => ValueKind::String,
            Form::Packed | Form::Large => ValueKind::Hash,
        }
    }

    /// The value.
    pub(super) fn value(&self) -> Value<'_> {
        match self.form() {
            Form::Inline => Value::Inline(&self.bytes()[self.body_at()..]),
            Form::Packed => Value::Packed(&self.bytes()[self.body_at()..]),
            // SAFETY: the form tells the type; the value lives as long as the record.
            Form::Shared => Value::Shared(unsafe { &*self.pointer() }),
            // SAFETY: as above.
            Form::Large => Value::Large(unsafe { &*self.pointer() }),
        }
    }

    /// The value, to be changed.
    pub(super) fn value_mut(&mut self) -> ValueMut<'_> {
        let body = self.body_at();
        match self.form() {
            Form::Inline => ValueMut::Inline(&mut self.bytes_mut()[body..]),
            Form::Packed => ValueMut::Packed,
            // SAFETY: the form tells the type; the value is owned by the record, which is borrowed
            // exclusively.
            Form::Shared => ValueMut::Shared(unsafe { &mut *self.pointer() }),
            // SAFETY: as above.
            Form::Large => ValueMut::Large(unsafe { &mut *self.pointer() }),
        }
    }

    /// The pointer in the body of a record whose form is `Shared` or `Large`.
    fn pointer<T>(&self) -> *mut T {
        // SAFETY: such a body is a pointer, written by `boxed`.
        unsafe { self.0.add(self.body_at()).cast::<*mut T>().read_unaligned() }
    }

    /// The whole record as a buffer that may grow and shrink, sealed again when dropped.
    pub(super) fn edit(&mut self) -> Edit<'_> {
        // SAFETY: the allocation was a box. The record does not use it until the edit gives it a
        // new one, which it also does in a panic.
        let whole = unsafe { Box::from_raw(self.allocation()) };
        Edit {
            record: self,
            draft: ManuallyDrop::new(whole.into_vec()),
        }
    }

    /// Whether the value is a large hash.
    pub(super) fn is_large(&self) -> bool {
        self.form() == Form::Large
    }

    /// The same again, sharing the bytes of a long string; nothing for a large hash.
    pub(super) fn copy(&self) -> Option<Self> {
        match self.value() {
            Value::Inline(_) | Value::Packed(_) => Some(Self::seal(self.bytes().to_vec())),
            Value::Shared(bytes) => {
                let mut copy = Self::shared(self.key(), self.expiry(), bytes.clone());
                copy.set_timed_apart(self.is_timed_apart());
                Some(copy)
            }
            Value::Large(_) => None,
        }
    }

    /// The same again with the expiry that is kept elsewhere; nothing for a large hash.
    pub(super) fn copy_with(&self, expiry: Option<UnixMs>) -> Option<Self> {
        let mut copy = self.copy()?;
        copy.set_timed_apart(false);
        copy.set_expiry(expiry);
        Some(copy)
    }

    /// The same value under another key, sharing the bytes of a long string.
    pub(super) fn copy_as(&self, key: &[u8]) -> Self {
        if let Value::Shared(bytes) = self.value() {
            return Self::shared(key, self.expiry(), bytes.clone());
        }
        debug_assert!(!self.is_large());
        let body = &self.bytes()[self.body_at()..];
        let mut draft = draft(self.form(), key, self.expiry(), body.len());
        draft.extend_from_slice(body);
        Self::seal(draft)
    }

    /// Bytes of the allocation.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes().len()
    }

    /// Bytes of the record and its string; the fields of a large hash do not count.
    pub(super) fn size(&self) -> usize {
        let outside = match self.value() {
            Value::Shared(bytes) => bytes.len(),
            Value::Inline(_) | Value::Packed(_) | Value::Large(_) => 0,
        };
        self.bytes().len() + outside
    }

    /// About how many small steps it takes to free the record: allocations, and pages of long
    /// strings.
    pub(super) fn weight(&self) -> usize {
        const PAGE_BYTES: usize = 4096;
        match self.value() {
            Value::Inline(_) | Value::Packed(_) => 1,
            Value::Shared(bytes) => 1 + bytes.len() / PAGE_BYTES,
            Value::Large(hash) => hash.len(),
        }
    }

    /// The address, for a hint to the processor.
    pub(super) const fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        match self.form() {
            Form::Inline | Form::Packed => {}
            // SAFETY: the record owns the value, and nothing uses it after this.
            Form::Shared => drop(unsafe { Box::from_raw(self.pointer::<Bytes>()) }),
            // SAFETY: as above.
            Form::Large => drop(unsafe { Box::from_raw(self.pointer::<LargeHash>()) }),
        }
        // SAFETY: the allocation was a box, and nothing uses it after this.
        drop(unsafe { Box::from_raw(self.allocation()) });
    }
}

/// Records are equal when their keys are, as a map of keys wants it.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Record {}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.key());
    }
}

/// The beginning of a record, with room for a body.
fn draft(form: Form, key: &[u8], expiry: Option<UnixMs>, body: usize) -> Vec<u8> {
    let expiry_bytes = if expiry.is_some() { EXPIRY_BYTES } else { 0 };
    let fixed = HEADER_BYTES + packed::varint_len(key.len()) + key.len() + expiry_bytes;
    let mut draft = Vec::with_capacity(fixed + body);
    draft.extend_from_slice(&((form as u32) << LENGTH_BITS).to_ne_bytes());
    draft.extend_from_slice(&packed::varint(key.len()));
    draft.extend_from_slice(key);
    if let Some(expiry) = expiry {
        draft.extend_from_slice(&expiry.to_le_bytes());
        set_volatile(&mut draft, true);
    }
    draft
}

fn change_header(draft: &mut [u8], change: impl FnOnce(u32) -> u32) {
    if let Some(header) = draft.first_chunk_mut() {
        *header = change(u32::from_ne_bytes(*header)).to_ne_bytes();
    }
}

fn set_volatile(draft: &mut [u8], volatile: bool) {
    let flag = if volatile { VOLATILE } else { 0 };
    change_header(draft, |header| header & !VOLATILE | flag);
}

/// Limits on keys and on what lies in a record keep the length far below its 27 bits.
fn set_length(draft: &mut [u8]) {
    let length = draft.len() as u32;
    debug_assert!(length <= LENGTH_MASK);
    change_header(draft, |header| header & !LENGTH_MASK | length);
}

/// A record as a buffer.
pub(super) struct Edit<'r> {
    record: &'r mut Record,
    draft: ManuallyDrop<Vec<u8>>,
}

impl Deref for Edit<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.draft
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.draft
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let draft = unsafe { ManuallyDrop::take(&mut self.draft) };
        // The old pointer must not be dropped: its allocation is the draft's.
        let gone = std::mem::replace(self.record, Record::seal(draft));
        std::mem::forget(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::store::Expiry;

    fn shown(record: &Record) -> Vec<u8> {
        match record.value() {
            Value::Inline(bytes) | Value::Packed(bytes) => bytes.to_vec(),
            Value::Shared(bytes) => bytes.to_vec(),
            Value::Large(hash) => hash.len().to_string().into_bytes(),
        }
    }

    /// Whatever the form, an expiry comes, changes and goes without touching key and value.
    fn check(mut record: Record, key: &[u8], value: &[u8]) {
        for expiry in [None, Some(0), Some(u64::MAX), Some(7), None, None, Some(1)] {
            record.set_expiry(expiry);
            if let Some(copy) = record.copy() {
                assert_eq!(copy.expiry(), expiry);
                assert!(copy.key() == key && shown(&copy) == value);
                assert!(!record.is_large() && copy.size() >= key.len() + value.len());
            }
            assert_eq!(record.expiry(), expiry);
            assert!(record.key() == key && shown(&record) == value);
        }
    }

    #[test]
    fn every_form_keeps_key_value_and_expiry() {
        for key in [&b""[..], b"k", &[b'k'; 127], &[b'k'; 128], &[b'k'; 65536]] {
            for len in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 1 << 20] {
                let value = vec![b'v'; len];
                check(Record::string(key, None, &value), key, &value);
                check(Record::string(key, Some(9), &value), key, &value);
            }
            let (packed, _) = Record::packed(key, 0, |draft, body| {
                packed::set(draft, body, (b"", b""), Expiry::Never);
            });
            let large = LargeHash::from_packed(packed_body(&packed));
            check(Record::large(key, Some(3), large), key, b"1");
            check(packed, key, b"\x01\x00\x00");
        }
    }

    fn packed_body(record: &Record) -> &[u8] {
        match record.value() {
            Value::Packed(body) => body,
            _ => &[],
        }
    }

    #[test]
    fn a_record_is_as_long_as_what_it_holds() {
        let length = |record: &Record| record.bytes().len();
        assert_eq!(
            length(&Record::string(b"user:1", None, b"Alice")),
            4 + 1 + 6 + 5
        );
        assert_eq!(
            length(&Record::string(b"user:1", Some(1), b"Alice")),
            4 + 1 + 6 + 8 + 5
        );
        let (hash, _) = Record::packed(b"user:1", 0, |draft, body| {
            packed::set(draft, body, (b"name", b"Alice"), Expiry::Never);
            packed::set(draft, body, (b"age", b"25"), Expiry::Never);
        });
        assert_eq!(
            length(&hash),
            4 + 1 + 6 + 1 + (1 + 4 + 1 + 5) + (1 + 3 + 1 + 2)
        );
        assert_eq!(size_of::<Option<Record>>(), 8);
    }

    #[test]
    fn an_edit_that_panics_leaves_a_record() {
        let mut record = Record::string(b"k", None, b"v");
        let edited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut edit = record.edit();
            edit.extend_from_slice(b"alue");
            panic!("in the middle of an edit");
        }));
        assert!(edited.is_err());
        assert_eq!(shown(&record), b"value");
    }
}
