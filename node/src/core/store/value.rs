//! Values as a whole: copied, renamed, written down and read again, measured.

use bytes::Bytes;
use dht_proto::frame::Malformed;
use dht_proto::image::{Fields, Head, Item};
use xxhash_rust::xxh3::xxh3_64;

use super::hash;
use super::key::Key;
use super::large::LargeHash;
use super::preimage::Touched;
use super::read::Read;
use super::record::{Record, Value, ValueMut};
use super::string::StringRef;
use super::table::{Spot, Table};
use super::write::{Write, put};
use crate::core::args::parse_int;
use crate::core::notify::Class;
use crate::core::time::UnixMs;

/// The version of a value's bytes; another one is refused.
const VERSION: u8 = 1;
/// Of the checksum behind them.
const CHECKSUM_BYTES: usize = size_of::<u64>();
/// Longest string that Redis keeps beside its header, in bytes.
const EMBEDDED_BYTES: usize = 44;
/// What is longer takes whole slices of the allocator's memory.
const LARGE_BYTES: usize = 512 * 1024;
/// What the allocator gives is a multiple of a word.
const WORD_BYTES: usize = 8;

/// What has become of a key that a value was to be put at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It holds the value.
    Put,
    /// It held another, and the time of the new one has passed.
    Removed,
    /// It held nothing, likewise.
    Nothing,
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// They are of another version, or damaged.
    Foreign,
    /// They are whole, and make no sense.
    Malformed,
}

impl From<Malformed> for NoValue {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Read<'_> {
    /// A value as bytes that [`Write::restore`] takes, on any node and platform.
    #[must_use]
    pub fn dump(&self, key: &[u8]) -> Option<Vec<u8>> {
        let record = self.live(key)?;
        let head = Head {
            key: b"",
            expiry: None,
        };
        let mut out = vec![VERSION];
        match StringRef::of(record) {
            Some(string) => Item::String(head, string.bytes()).encode(&mut out),
            None => {
                let hash = self.hash_of(record)?;
                let fields: Fields<'_> = hash
                    .iter_timed()
                    .map(|(field, value, expiry)| (field, value.bytes(), expiry))
                    .collect();
                Item::Hash(head, fields).encode(&mut out);
            }
        }
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Some(out)
    }

    /// How a value is kept, in the words of Redis.
    #[must_use]
    pub fn encoding(&self, key: &[u8]) -> Option<&'static str> {
        Some(match self.live(key)?.value() {
            Value::Packed(_) => "listpack",
            Value::Large(_) => "hashtable",
            Value::Inline(bytes) if parse_int(bytes).is_some() => "int",
            Value::Inline(bytes) if bytes.len() <= EMBEDDED_BYTES => "embstr",
            Value::Inline(_) | Value::Shared(_) => "raw",
        })
    }

    /// Bytes of memory that a key takes, which is not counted as reading it.
    #[must_use]
    pub fn usage(&self, key: &[u8]) -> Option<usize> {
        let record = self.look_up(key)?;
        let value = match record.value() {
            Value::Inline(_) | Value::Packed(_) | Value::Shared(_) => 0,
            Value::Large(hash) => hash.usage(),
        };
        Some(entry_bytes(self.table(Key::new(key))) + record_usage(record) + value)
    }
}

/// What a record and its string take, as the allocator gives it.
pub(super) fn record_usage(record: &Record) -> usize {
    let outside = match record.value() {
        // The handle, the bytes, and the count of those who share them.
        Value::Shared(bytes) => allotted(size_of::<Bytes>()) + allotted(bytes.len()) + allotted(40),
        Value::Large(_) => allotted(size_of::<LargeHash>()),
        Value::Inline(_) | Value::Packed(_) => 0,
    };
    allotted(record.len_bytes()) + outside
}

/// What a table has allocated: buckets, a control byte for each and a group of them more.
pub(super) fn table_bytes(table: &Table) -> usize {
    const BUCKET_BYTES: usize = size_of::<super::table::Entry>() + 1;
    if table.is_empty() {
        return 0;
    }
    allotted(table.buckets() * BUCKET_BYTES + 16)
}

/// A record's part of its table.
fn entry_bytes(table: &Table) -> usize {
    table_bytes(table) / table.len().max(1)
}

/// What the allocator gives to who asks for so many bytes: one of four sizes to each power of two,
/// and of what is large, whole slices of its memory, more at once the larger it is.
pub(super) fn allotted(bytes: usize) -> usize {
    const SLICE_BYTES: usize = 64 * 1024;
    if bytes > LARGE_BYTES {
        let mut step = SLICE_BYTES;
        while bytes > 32 * step {
            step *= 4;
        }
        return bytes.next_multiple_of(step);
    }
    let words = bytes.div_ceil(WORD_BYTES).max(1);
    if words <= 8 {
        return words.next_multiple_of(if words == 1 { 1 } else { 2 }) * WORD_BYTES;
    }
    let step = 1 << ((words - 1).ilog2() - 2);
    words.next_multiple_of(step) * WORD_BYTES
}

impl Write<'_> {
    /// Puts a copy of a value with its expiry in the place of whatever `to` holds; says whether
    /// there was something to copy.
    pub fn copy(&mut self, from: &[u8], to: &[u8]) -> bool {
        let copy = self.live(from).map(|record| copy_as(record, to));
        copy.map(|copy| self.put_whole(to, copy)).is_some()
    }

    /// Moves a value with its expiry to where `to` is, whatever that holds; says whether there was
    /// something to move.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let moved = self.change(from, Touched::Key, |spot, store| {
            // An open snapshot goes on with the fields of a large hash under the old name.
            let is_covered = store.is_covered(Key::new(from).slot());
            let moved = move_to(spot, to, is_covered);
            if let Some(old) = spot.remove() {
                store.discard(old);
            }
            moved
        });
        let Some(record) = moved else {
            return false;
        };
        self.tell(from);
        self.put_whole(to, record);
        true
    }

    /// Puts a value, which [`Read::dump`] has written down, in the place of whatever the key holds,
    /// unless its time has passed; then nothing is left there.
    ///
    /// # Errors
    /// The bytes are something else; nothing has changed.
    pub fn restore(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        expiry: Option<UnixMs>,
    ) -> Result<Restored, NoValue> {
        let mut record = self.read_value(key, bytes)?;
        record.set_expiry(expiry);
        if expiry.is_none_or(|at| at > self.stamp) {
            self.put_whole(key, record);
            return Ok(Restored::Put);
        }
        Ok(if self.remove(key) {
            Restored::Removed
        } else {
            Restored::Nothing
        })
    }

    fn read_value(&self, key: &[u8], bytes: &[u8]) -> Result<Record, NoValue> {
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(NoValue::Foreign)?;
        let mut item = match body {
            [VERSION, item @ ..] if xxh3_64(body) == u64::from_le_bytes(*checksum) => item,
            _ => return Err(NoValue::Foreign),
        };
        let record = match Item::decode(&mut item)? {
            Item::String(_, value) => Record::string(key, None, value),
            Item::Hash(_, fields) => {
                let fields = hash::to_set(&fields);
                let (record, added) = hash::create(key, &fields, &self.store.graveyard);
                if added < fields.len() {
                    return Err(NoValue::Malformed);
                }
                record
            }
            _ => return Err(NoValue::Malformed),
        };
        if item.is_empty() {
            Ok(record)
        } else {
            Err(NoValue::Malformed)
        }
    }

    fn put_whole(&mut self, key: &[u8], record: Record) {
        // One that is replaced as a whole is made anew, as in Redis.
        let replaced = self.live(key).is_some();
        self.change(key, Touched::Key, |spot, store| put(spot, record, store));
        if replaced {
            self.note(Class::New, "new", key);
        }
        self.tell(key);
    }
}

fn copy_as(record: &Record, key: &[u8]) -> Record {
    match record.value() {
        Value::Large(hash) => Record::large(key, record.expiry(), hash.copy()),
        _ => record.copy_as(key),
    }
}

/// The record at a place under another key; what stays behind is of no use any more.
fn move_to(spot: &mut Spot<'_>, key: &[u8], must_stay: bool) -> Option<Record> {
    let record = spot.record_mut()?;
    let expiry = record.expiry();
    if must_stay {
        return Some(copy_as(record, key));
    }
    Some(match record.value_mut() {
        ValueMut::Large(hash) => {
            Record::large(key, expiry, std::mem::replace(hash, LargeHash::new()))
        }
        _ => record.copy_as(key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::store::graveyard::Graveyard;
    use crate::core::store::write::Expiry;

    /// What the allocator says itself of every length up to a few pages, of many up to 2 MiB, and
    /// of a few up to the longest value.
    #[cfg(feature = "cli")]
    #[test]
    fn sizes_are_what_the_allocator_gives() {
        const MIB: usize = 1024 * 1024;
        let many = (16 * 1024..2 * MIB).step_by(509);
        let few = [MIB, 4 * MIB, 17 * MIB + 1, 33 * MIB - 1, 64 * MIB];
        for asked in (1..16 * 1024).chain(many).chain(few) {
            // SAFETY: what is allocated is measured and freed, and nothing else.
            let given = unsafe {
                let pointer = libmimalloc_sys::mi_malloc(asked);
                let given = libmimalloc_sys::mi_usable_size(pointer);
                libmimalloc_sys::mi_free(pointer);
                given
            };
            let off = allotted(asked).abs_diff(given);
            assert!(
                off * 10 <= given,
                "{asked}: {given}, not {}",
                allotted(asked)
            );
        }
    }

    /// What a string takes that has grown step by step, by what the allocator gives for what is
    /// allocated.
    #[cfg(feature = "cli")]
    #[test]
    fn a_string_that_has_grown_takes_what_is_said() {
        use crate::core::store::string;

        for (len, more) in [
            (8192, 1),
            (8192, 4000),
            (40_000, 1),
            (40_000, 38_000),
            (100, 5000),
            (500_000, 30_000),
            (3 << 20, 100_000),
        ] {
            let mut record = Record::string(b"k", None, &vec![b'v'; len]);
            for grown in 1..=8 {
                if grown % 2 == 0 {
                    let end = len + (grown - 1) * more;
                    string::write_at(&mut record, end, &vec![b'v'; more]);
                } else {
                    string::append(&mut record, &vec![b'v'; more]);
                }
                let said = record_usage(&record);
                let ValueMut::Shared(bytes) = record.value_mut() else {
                    panic!("a short string")
                };
                let whole = std::mem::take(bytes).try_into_mut().unwrap();
                let capacity = whole.capacity();
                *bytes = whole.freeze();
                // SAFETY: what is allocated is measured and freed, and nothing else.
                let given = unsafe {
                    let pointer = libmimalloc_sys::mi_malloc(capacity);
                    let given = libmimalloc_sys::mi_usable_size(pointer);
                    libmimalloc_sys::mi_free(pointer);
                    given
                };
                let off = said.abs_diff(given);
                assert!(
                    off * 10 <= given,
                    "{len} and {grown} times {more}: {said} of {given}"
                );
            }
        }
    }

    /// Of hashes of all sizes, with short fields and long ones, by what their keys take.
    #[test]
    fn an_expiry_takes_at_most_ten_bytes_a_field() {
        let made = |name: usize, value: usize, fields: usize, expiry| {
            let names: Vec<_> = (0..fields).map(|n| format!("{n:0name$}")).collect();
            let value = vec![b'v'; value];
            let fields = names
                .iter()
                .map(|name| (name.as_bytes(), &value[..], expiry));
            let fields: Vec<_> = fields.collect();
            hash::create(b"k", &fields, &Graveyard::new()).0
        };
        let usage = |name, value, fields, expiry| {
            let record = made(name, value, fields, expiry);
            let large = match record.value() {
                Value::Large(hash) => hash.usage(),
                _ => 0,
            };
            record_usage(&record) + large
        };
        let mut most: f64 = 0.0;
        for fields in [65, 100, 1000, 5000] {
            for name in [4, 6, 9, 16, 40] {
                for value in [0, 3, 8, 20, 100, 300] {
                    let [plain, timed] = [Expiry::Never, Expiry::At(1 << 40)]
                        .map(|expiry| usage(name, value, fields, expiry));
                    let each = (timed - plain) as f64 / fields as f64;
                    assert!(each <= 10.0, "{fields} of {name} and {value}: {each}");
                    most = most.max(each);
                }
            }
        }
        // A small hash asks for no more than that, whatever it holds; what it is given grows in
        // steps of the allocator's, as with all else that it gets.
        for fields in 1..=64 {
            for value in [0, 5, 20, 100] {
                let [plain, timed] = [Expiry::Never, Expiry::At(1 << 40)]
                    .map(|expiry| made(6, value, fields, expiry).len_bytes());
                assert!(timed - plain <= 8 * fields, "{fields} of {value}");
            }
        }
        let (mut sum, mut count) = (0, 0);
        for fields in 5..=64 {
            for name in 2..20 {
                let [plain, timed] = [Expiry::Never, Expiry::At(1 << 40)]
                    .map(|expiry| usage(name, 5, fields, expiry));
                sum += timed - plain;
                count += fields;
            }
        }
        let mean = sum as f64 / count as f64;
        println!("{most:.2} bytes at most in large hashes, {mean:.2} on average in small ones");
        assert!(mean <= 9.0, "{mean}");
    }

    #[test]
    fn sizes_are_those_of_the_allocator() {
        for (asked, given) in [
            (1, 8),
            (8, 8),
            (9, 16),
            (17, 32),
            (33, 48),
            (64, 64),
            (65, 80),
            (81, 96),
            (128, 128),
            (129, 160),
            (1000, 1024),
            (1025, 1280),
            (4096, 4096),
        ] {
            assert_eq!(allotted(asked), given, "{asked}");
        }
    }
}
