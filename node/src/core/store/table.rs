//! A hash table of records: one slot of the store, or one chunk of a large hash.
//!
//! The tables are hashbrown's raw ones, since those are what DashMap is made of; everything unsafe
//! about them is here, behind [`find`], [`Spot`], [`records`] and [`residents`].

use std::marker::PhantomData;

use dashmap::SharedValue;
use hashbrown::raw::{Bucket, RawIter, RawTable};

use super::key::table_hash;
use super::record::Record;

/// What DashMap keeps for a key without a value: 8 bytes.
pub(super) type Entry = (Record, SharedValue<()>);
impl From<Entry> for Record {
    fn from((record, _): Entry) -> Self {
        record
    }
}

/// The table behind one DashMap shard.
pub(super) type Table = RawTable<Entry>;

/// A table with fewer than one record to so many buckets gives memory back.
const SPARSE: usize = 8;
/// Most records that are moved to give memory back.
const SHRINK_RECORDS: usize = 16 * 1024;
/// Tags of hashbrown: the top seven bits of a hash.
const TAGS: u64 = 128;
const TAG_SHIFT: u32 = 57;

/// The hash of a record's key, as far as a table looks at it.
pub(super) fn hash_of(record: &Record) -> u64 {
    table_hash(record.key())
}

fn rehash(entry: &Entry) -> u64 {
    hash_of(&entry.0)
}

/// The record of a key.
pub(super) fn find<'t>(table: &'t Table, hash: u64, key: &[u8]) -> Option<&'t Record> {
    table
        .get(hash, |entry| entry.0.key() == key)
        .map(|entry| &entry.0)
}

/// The place of a key in a table, whether there is a record or not.
pub(super) struct Spot<'t> {
    table: &'t mut Table,
    hash: u64,
    /// Of a record in `table`, which nothing else can change while the spot borrows it.
    bucket: Option<Bucket<Entry>>,
}

impl<'t> Spot<'t> {
    /// Looks for a key.
    pub(super) fn find(table: &'t mut Table, hash: u64, key: &[u8]) -> Self {
        let bucket = table.find(hash, |entry| entry.0.key() == key);
        Self {
            table,
            hash,
            bucket,
        }
    }

    /// The record that is there.
    pub(super) fn record(&self) -> Option<&Record> {
        // SAFETY: the bucket is full and the table borrowed; see `bucket`.
        self.bucket
            .as_ref()
            .map(|bucket| unsafe { &bucket.as_ref().0 })
    }

    /// The record that is there, to be changed; its key must stay.
    pub(super) fn record_mut(&mut self) -> Option<&mut Record> {
        // SAFETY: as in `record`, and the spot is borrowed exclusively.
        self.bucket
            .as_ref()
            .map(|bucket| unsafe { &mut bucket.as_mut().0 })
    }

    /// Puts a record of the key here; gives the one that was there.
    pub(super) fn put(&mut self, record: Record) -> Option<Record> {
        if let Some(there) = self.record_mut() {
            return Some(std::mem::replace(there, record));
        }
        self.bucket = Some(insert(self.table, self.hash, record));
        None
    }

    /// Takes the record away.
    pub(super) fn remove(&mut self) -> Option<Record> {
        let bucket = self.bucket.take()?;
        // SAFETY: as in `record`; the bucket is forgotten with this.
        let ((record, _), _) = unsafe { self.table.remove(bucket) };
        give_back(self.table);
        Some(record)
    }

    /// Number of records in the table.
    pub(super) fn table_len(&self) -> usize {
        self.table.len()
    }
}

/// Adds the record of a key that the table does not have.
pub(super) fn insert(table: &mut Table, hash: u64, record: Record) -> Bucket<Entry> {
    table.insert(hash, (record, SharedValue::new(())), rehash)
}

/// Makes a sparse table smaller, when that is little work.
fn give_back(table: &mut Table) {
    let len = table.len();
    if len == 0 {
        *table = Table::new();
    } else if len < SHRINK_RECORDS && len * SPARSE < table.buckets() {
        table.shrink_to(len * 2, rehash);
    }
}

/// Every record of a table, in no particular order.
pub(super) struct Records<'t> {
    buckets: RawIter<Entry>,
    table: PhantomData<&'t Table>,
}

/// Every record of a table.
pub(super) fn records(table: &Table) -> Records<'_> {
    Records {
        // SAFETY: the iterator borrows the table.
        buckets: unsafe { table.iter() },
        table: PhantomData,
    }
}

impl<'t> Iterator for Records<'t> {
    type Item = &'t Record;

    fn next(&mut self) -> Option<&'t Record> {
        // SAFETY: the bucket is full, and the table borrowed.
        self.buckets
            .next()
            .map(|bucket| unsafe { &bucket.as_ref().0 })
    }
}

/// The records whose search begins at bucket `home`, with their hashes. The table must have more
/// buckets than hashbrown looks at in one step (16).
pub(super) fn residents(table: &Table, home: usize) -> impl Iterator<Item = (u64, &Record)> {
    let mask = table.buckets() as u64 - 1;
    (0..TAGS)
        .flat_map(move |tag| candidates(table, tag << TAG_SHIFT | home as u64))
        .map(|record| (hash_of(record), record))
        .filter(move |(hash, _)| hash & mask == home as u64)
}

/// The records that may have this hash, judged by its tag.
pub(super) fn candidates(table: &Table, hash: u64) -> impl Iterator<Item = &Record> {
    // SAFETY: the iterator borrows the table, by its result's lifetime; the buckets are full.
    unsafe { table.iter_hash(hash).map(|bucket| &bucket.as_ref().0) }
}

/// Where a search for a hash begins: the control bytes and the bucket, as addresses to be fetched,
/// never read.
pub(super) fn home(table: &Table, hash: u64) -> (*const u8, *const Entry) {
    let index = hash as usize & (table.buckets() - 1);
    // The control bytes follow the buckets, which are numbered from the end.
    let end = table.data_end().as_ptr();
    (
        end.cast::<u8>().wrapping_add(index),
        end.wrapping_sub(index + 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Vec<u8> {
        format!("key:{n}").into_bytes()
    }

    fn put(table: &mut Table, n: usize) {
        let record = Record::string(&name(n), None, b"v");
        assert!(
            Spot::find(table, table_hash(&name(n)), &name(n))
                .put(record)
                .is_none()
        );
    }

    #[test]
    fn every_record_resides_at_one_home() {
        let mut table = Table::new();
        for n in 0..1000 {
            put(&mut table, n);
        }
        // Holes and tombstones.
        for n in (0..1000).step_by(3) {
            assert!(
                Spot::find(&mut table, table_hash(&name(n)), &name(n))
                    .remove()
                    .is_some()
            );
        }
        let mut seen: Vec<Vec<u8>> = (0..table.buckets())
            .flat_map(|home| residents(&table, home))
            .map(|(_, record)| record.key().to_vec())
            .collect();
        seen.sort();
        let mut there: Vec<Vec<u8>> = (0..1000).filter(|n| n % 3 != 0).map(name).collect();
        there.sort();
        assert_eq!(seen, there);
    }

    #[test]
    fn an_emptied_table_gives_memory_back() {
        let mut table = Table::new();
        for n in 0..1000 {
            put(&mut table, n);
        }
        for n in 0..1000 {
            Spot::find(&mut table, table_hash(&name(n)), &name(n)).remove();
            assert!(table.len() * SPARSE * 2 >= table.buckets() || table.len() < 4);
        }
        assert_eq!(table.capacity(), 0);
    }
}
