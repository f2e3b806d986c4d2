//! A hash of many fields: a directory of chunks, each a small table with a range of the fields'
//! positions.
//!
//! No change touches more than two chunks, so that a hash of ten million fields grows, is scanned
//! and is freed in steps of at most [`CHUNK_FIELDS`] fields.
//!
//! Chunks are shared with those who read the whole hash without its slot's lock: what is shared is
//! copied before it is changed, one chunk at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::table_hash;
use super::packed;
use super::record::Record;
use super::scan;
use super::string::StringRef;
use super::table::{self, Spot, Table};
use super::times::{self, Times};
use super::value::{allotted, record_usage, table_bytes};
use super::write::Expiry;
use crate::core::random::Random;
use crate::core::time::UnixMs;

/// Most fields of a chunk: as many as a table of 512 buckets takes.
pub(super) const CHUNK_FIELDS: usize = 448;
/// A chunk with fewer fields joins a neighbour if there is one that is not full.
const SPARSE_FIELDS: usize = 64;
/// Most fields of two chunks that are joined.
const JOINED_FIELDS: usize = CHUNK_FIELDS / 2;
/// A field's position: its hash without the tag of its table. The top ones of these bits tell the
/// chunk, the low ones are the index inside the chunk.
const POSITION_MASK: u64 = (1 << 57) - 1;

pub(super) const fn position_of_hash(hash: u64) -> u64 {
    hash & POSITION_MASK
}

/// A hash of many fields.
pub(super) struct LargeHash {
    /// By the first position of each chunk, which reaches to the next. The first is always 0.
    chunks: BTreeMap<u64, Chunk>,
    len: usize,
    /// Fields with an expiry.
    timed: usize,
    /// What the fields' records take, as the allocator gives it.
    records_bytes: usize,
}

/// Some of the fields. Shared with those who read them later.
#[derive(Clone, Default)]
struct Chunk(Arc<Members>);

/// The fields of a chunk: their records, and beside them the expiries of those that have one.
#[derive(Default)]
struct Members {
    table: Table,
    times: Times,
}

impl Members {
    fn with_capacity(fields: usize) -> Self {
        Self {
            table: Table::with_capacity(fields),
            times: Times::default(),
        }
    }

    /// The expiry of a field, whose record this is.
    fn expiry(&self, record: &Record) -> Option<UnixMs> {
        if !record.is_timed_apart() {
            return None;
        }
        let place = self.place(table::hash_of(record), record.key());
        self.times.at(place)
    }

    /// Where the expiry of a field is, or would be. Seldom there is more than one of a tag.
    fn place(&self, hash: u64, field: &[u8]) -> usize {
        let tag = times::tag(hash);
        let tagged = self.times.tagged(tag);
        if tagged.is_empty() {
            return tagged.start;
        }
        let is_before = |other: &&Record| {
            other.is_timed_apart()
                && times::tag(table::hash_of(other)) == tag
                && other.key() < field
        };
        tagged.start + table::records(&self.table).filter(is_before).count()
    }

    /// Every record, with the expiry.
    fn records(&self) -> impl Iterator<Item = (&Record, Option<UnixMs>)> {
        table::records(&self.table).map(|record| (record, self.expiry(record)))
    }

    /// Notes the expiry of a field that has none; its record has to say that it has.
    fn note(&mut self, hash: u64, field: &[u8], at: UnixMs) {
        let place = self.place(hash, field);
        self.times.insert(place, times::tag(hash), at);
    }

    /// Takes away the expiry of a field, if it has one.
    fn take_expiry(&mut self, hash: u64, field: &[u8]) -> Option<UnixMs> {
        if self.times.is_empty() {
            return None;
        }
        let mut spot = Spot::find(&mut self.table, hash, field);
        let record = spot.record_mut().filter(|record| record.is_timed_apart())?;
        record.set_timed_apart(false);
        let place = self.place(hash, field);
        Some(self.times.remove(place))
    }

    /// Adds a field that is not there.
    fn add(&mut self, mut record: Record, expiry: Option<UnixMs>) {
        let hash = table::hash_of(&record);
        if let Some(at) = expiry {
            self.note(hash, record.key(), at);
        }
        record.set_timed_apart(expiry.is_some());
        table::insert(&mut self.table, hash, record);
    }

    /// Puts the record of a field; gives the one that it had, and its expiry.
    fn put(
        &mut self,
        hash: u64,
        mut record: Record,
        expiry: Option<UnixMs>,
    ) -> Option<(Record, Option<UnixMs>)> {
        let before = self.take_expiry(hash, record.key());
        if let Some(at) = expiry {
            self.note(hash, record.key(), at);
        }
        record.set_timed_apart(expiry.is_some());
        let old = Spot::find(&mut self.table, hash, record.key()).put(record);
        old.map(|old| (old, before))
    }

    /// Sets or clears the expiry of a field; gives the one that it had, if it is there.
    fn set_expiry(
        &mut self,
        hash: u64,
        field: &[u8],
        expiry: Option<UnixMs>,
    ) -> Option<Option<UnixMs>> {
        table::find(&self.table, hash, field)?;
        let before = self.take_expiry(hash, field);
        if let Some(at) = expiry {
            self.note(hash, field, at);
            let mut spot = Spot::find(&mut self.table, hash, field);
            spot.record_mut()?.set_timed_apart(true);
        }
        Some(before)
    }

    fn remove(&mut self, hash: u64, field: &[u8]) -> Option<(Record, Option<UnixMs>)> {
        let before = self.take_expiry(hash, field);
        let old = Spot::find(&mut self.table, hash, field).remove()?;
        Some((old, before))
    }

    /// Hands out every record with its expiry.
    fn into_records(self) -> impl Iterator<Item = (Record, Option<UnixMs>)> {
        // Both go through the table in one order.
        let expiries: Vec<_> = self.records().map(|(_, expiry)| expiry).collect();
        let records = self.table.into_iter().map(Record::from);
        records.zip(expiries)
    }

    fn copy(&self) -> Self {
        let mut copied = Table::with_capacity(self.table.len());
        for record in table::records(&self.table).filter_map(Record::copy) {
            table::insert(&mut copied, table::hash_of(&record), record);
        }
        Self {
            table: copied,
            times: self.times.clone(),
        }
    }
}

impl Chunk {
    fn new(members: Members) -> Self {
        Self(Arc::new(members))
    }

    fn len(&self) -> usize {
        self.0.table.len()
    }

    /// The fields, to be changed, for which they are copied if they are shared.
    fn own(&mut self) -> &mut Members {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(self.0.copy());
        }
        let members = Arc::get_mut(&mut self.0);
        members.unwrap_or_else(|| unreachable!("nobody else knows the copy"))
    }

    /// The fields out of the directory.
    fn take(self) -> Members {
        Arc::try_unwrap(self.0).unwrap_or_else(|members| members.copy())
    }

    /// The first and the last expiry; those of no time where there is none.
    fn bounds(&self) -> (UnixMs, UnixMs) {
        self.0.times.bounds()
    }

    /// How many fields are due.
    fn due(&self, stamp: UnixMs) -> usize {
        let times = &self.0.times;
        let (first, last) = times.bounds();
        if first >= stamp {
            return 0;
        }
        if last < stamp {
            return times.len();
        }
        times.iter().filter(|expiry| *expiry < stamp).count()
    }
}

/// The fields that a large hash had at one moment.
#[derive(Clone)]
pub struct SharedHash {
    chunks: Vec<Arc<Members>>,
    stamp: UnixMs,
    is_timed: bool,
}

impl SharedHash {
    /// Every field with its value, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], StringRef<'_>)> {
        self.chunks.iter().flat_map(|chunk| self.fields(chunk))
    }

    /// Likewise, those of one chunk, at most a few hundred; nothing behind the last one.
    #[must_use]
    pub fn chunk(&self, index: usize) -> Option<impl Iterator<Item = (&[u8], StringRef<'_>)>> {
        self.chunks.get(index).map(|chunk| self.fields(chunk))
    }

    fn fields<'a>(
        &self,
        chunk: &'a Members,
    ) -> impl Iterator<Item = (&'a [u8], StringRef<'a>)> + use<'a> {
        let stamp = self.stamp;
        let records = chunk.records();
        let records = records.filter(move |(_, expiry)| !is_due(*expiry, stamp));
        records.filter_map(|(record, _)| Some((record.key(), StringRef::of(record)?)))
    }

    /// Bytes of memory that it takes itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<Arc<Members>>()
    }

    /// Number of fields.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.is_timed {
            return self.iter().count();
        }
        self.chunks.iter().map(|chunk| chunk.table.len()).sum()
    }

    /// About how many bytes the fields have that the hash itself has no more, or not like this.
    #[must_use]
    pub fn kept(&self) -> usize {
        /// A chunk is judged by so many of its fields.
        const SAMPLE: usize = 8;
        let own = self
            .chunks
            .iter()
            .filter(|chunk| Arc::strong_count(chunk) == 1);
        let bytes = own.map(|chunk| {
            let records = table::records(&chunk.table).take(SAMPLE);
            let sample: usize = records.map(Record::size).sum();
            let len = chunk.table.len();
            sample * len / SAMPLE.min(len.max(1))
        });
        bytes.sum()
    }
}

impl LargeHash {
    /// A hash without fields.
    pub(super) fn new() -> Self {
        Self {
            chunks: BTreeMap::from([(0, Chunk::default())]),
            len: 0,
            timed: 0,
            records_bytes: 0,
        }
    }

    /// Takes over the fields of a small hash.
    pub(super) fn from_packed(body: &[u8]) -> Self {
        let mut hash = Self::new();
        for (field, value, expiry) in packed::Fields::new(body) {
            hash.put(Record::string(field, None, value), expiry);
        }
        hash
    }

    /// The same again: takes a step a chunk. What is changed afterwards in either is copied first.
    pub(super) fn copy(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
            timed: self.timed,
            records_bytes: self.records_bytes,
        }
    }

    /// Number of fields, with those that are due.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether some field has an expiry.
    pub(super) const fn is_timed(&self) -> bool {
        self.timed > 0
    }

    /// Whether every field is due.
    pub(super) fn is_due(&self, stamp: UnixMs) -> bool {
        let is_due = |chunk: &Chunk| chunk.bounds().1 < stamp;
        self.timed == self.len && self.timed > 0 && self.chunks.values().all(is_due)
    }

    /// How many fields are due, or a few more than `most` if there are more.
    pub(super) fn due(&self, stamp: UnixMs, most: usize) -> usize {
        if self.timed == 0 {
            return 0;
        }
        let mut due = 0;
        for chunk in self.chunks.values() {
            due += chunk.due(stamp);
            if due > most {
                break;
            }
        }
        due
    }

    /// Whether a field may be due at `wall` that is not due at `shard`: never said in vain, and
    /// seldom without cause.
    pub(super) fn may_be_early(&self, shard: UnixMs, wall: UnixMs) -> bool {
        let may = |chunk: &Chunk| {
            let (first, last) = chunk.bounds();
            first < wall && last >= shard
        };
        self.timed > 0 && shard < wall && self.chunks.values().any(may)
    }

    /// The record of a field, and its expiry.
    pub(super) fn get(&self, field: &[u8]) -> Option<(&Record, Option<UnixMs>)> {
        let hash = table_hash(field);
        let (_, chunk) = self.chunks.range(..=position_of_hash(hash)).next_back()?;
        let record = table::find(&chunk.0.table, hash, field)?;
        Some((record, chunk.0.expiry(record)))
    }

    /// Bytes of memory that it takes, as the allocator gives them. Takes a step a chunk.
    pub(super) fn usage(&self) -> usize {
        /// The counts of those who share it.
        const SHARED_BYTES: usize = 16;
        let bytes = self.chunks.values().map(|chunk| {
            let own = allotted(SHARED_BYTES + size_of::<Members>());
            own + table_bytes(&chunk.0.table) + chunk.0.times.bytes()
        });
        self.records_bytes + bytes.sum::<usize>()
    }

    /// Every field's record with its expiry, chunk by chunk.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Record, Option<UnixMs>)> {
        self.chunks.values().flat_map(|chunk| chunk.0.records())
    }

    /// The fields that are not due as they are now, whatever changes afterwards: takes a step a
    /// chunk, which is about 0.15 ms for a million fields.
    pub(super) fn share(&self, stamp: UnixMs) -> SharedHash {
        let chunks = self.chunks.values();
        SharedHash {
            chunks: chunks.map(|chunk| Arc::clone(&chunk.0)).collect(),
            stamp,
            is_timed: self.is_timed(),
        }
    }

    /// The chunk that has or would have a field's position, and where it starts.
    fn chunk_mut(&mut self, position: u64) -> (u64, &mut Chunk) {
        self.chunks.range_mut(..=position).next_back().map_or_else(
            || unreachable!("the first chunk starts at 0"),
            |(start, chunk)| (*start, chunk),
        )
    }

    /// Sets a field; gives the record that it had.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8], expiry: Expiry) -> Option<Record> {
        let expiry = match expiry {
            Expiry::Keep => self.get(field).and_then(|(_, expiry)| expiry),
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        self.put(Record::string(field, None, value), expiry)
    }

    /// Puts the record of a field, in which is no expiry; gives the one that it had.
    pub(super) fn put(&mut self, record: Record, expiry: Option<UnixMs>) -> Option<Record> {
        let hash = table::hash_of(&record);
        self.records_bytes += record_usage(&record);
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let old = chunk.own().put(hash, record, expiry);
        let full = chunk.len() > CHUNK_FIELDS;
        let Some((old, before)) = old else {
            self.count_timed(None, expiry);
            self.len += 1;
            if full {
                self.split(start);
            }
            return None;
        };
        self.count_timed(before, expiry);
        self.records_bytes -= record_usage(&old);
        Some(old)
    }

    fn count_timed(&mut self, old: Option<UnixMs>, new: Option<UnixMs>) {
        self.timed += usize::from(new.is_some());
        self.timed -= usize::from(old.is_some());
    }

    /// A random field, if one is met: each nearly as probable as any other, since positions are.
    pub(super) fn draw(&self, random: &mut Random) -> Option<(&Record, Option<UnixMs>)> {
        let position = random.below(POSITION_MASK);
        let (_, chunk) = self.chunks.range(..=position).next_back()?;
        let index = random.below(chunk.len().max(1) as u64);
        let record = table::records(&chunk.0.table).nth(index as usize)?;
        Some((record, chunk.0.expiry(record)))
    }

    /// Sets or clears the expiry of a field, if it is there.
    pub(super) fn set_expiry(&mut self, field: &[u8], expiry: Option<UnixMs>) {
        let hash = table_hash(field);
        let (_, chunk) = self.chunk_mut(position_of_hash(hash));
        if let Some(before) = chunk.own().set_expiry(hash, field, expiry) {
            self.count_timed(before, expiry);
        }
    }

    /// Removes a field; gives its record and its expiry.
    pub(super) fn remove(&mut self, field: &[u8]) -> Option<(Record, Option<UnixMs>)> {
        let hash = table_hash(field);
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let (old, expiry) = chunk.own().remove(hash, field)?;
        let sparse = chunk.len() < SPARSE_FIELDS;
        self.len -= 1;
        self.count_timed(expiry, None);
        self.records_bytes -= record_usage(&old);
        if sparse {
            self.join(start);
        }
        Some((old, expiry))
    }

    /// The `most` first fields that are due, in the order of their positions, which is the same on
    /// every replica.
    pub(super) fn due_fields(&self, stamp: UnixMs, most: usize) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        if self.timed == 0 {
            return due;
        }
        let chunks = self.chunks.values();
        for chunk in chunks.filter(|chunk| chunk.bounds().0 < stamp) {
            let records = chunk.0.records();
            let records = records.filter(|(_, expiry)| is_due(*expiry, stamp));
            let mut found: Vec<_> = records
                .map(|(record, _)| (position_of_hash(table::hash_of(record)), record.key()))
                .collect();
            found.sort_unstable();
            let room = most - due.len();
            due.extend(found.iter().take(room).map(|(_, field)| field.to_vec()));
            if due.len() == most {
                break;
            }
        }
        due
    }

    /// Moves the upper half of a chunk's fields to a new one. Does nothing where all have one
    /// position.
    fn split(&mut self, start: u64) {
        let (_, chunk) = self.chunk_mut(start);
        let mut positions: Vec<u64> = table::records(&chunk.0.table)
            .map(|record| position_of_hash(table::hash_of(record)))
            .collect();
        let middle = positions.len() / 2;
        let (_, middle, _) = positions.select_nth_unstable(middle);
        let middle = *middle;
        if middle == start {
            return;
        }
        let whole = std::mem::take(chunk).take();
        let mut lower = Members::with_capacity(CHUNK_FIELDS);
        let mut upper = Members::with_capacity(JOINED_FIELDS);
        for (record, expiry) in whole.into_records() {
            let half = if position_of_hash(table::hash_of(&record)) < middle {
                &mut lower
            } else {
                &mut upper
            };
            half.add(record, expiry);
        }
        *chunk = Chunk::new(lower);
        self.chunks.insert(middle, Chunk::new(upper));
    }

    /// Joins a sparse chunk with its right or else its left neighbour, where the two are small
    /// enough.
    fn join(&mut self, start: u64) {
        let right = self
            .chunks
            .range(start + 1..)
            .next()
            .map(|(start, _)| *start);
        let left = self
            .chunks
            .range(..start)
            .next_back()
            .map(|(start, _)| *start);
        let joined = right.is_some_and(|right| self.join_pair(start, right));
        if let Some(left) = left
            && !joined
        {
            self.join_pair(left, start);
        }
    }

    fn join_pair(&mut self, left: u64, right: u64) -> bool {
        let len = |start| self.chunks.get(&start).map_or(0, |chunk| chunk.len());
        let smaller = len(left).min(len(right));
        if smaller > 0 && len(left) + len(right) > JOINED_FIELDS {
            return false;
        }
        let Some(few) = self.chunks.remove(&right) else {
            return false;
        };
        let mut few = few.take();
        let (_, chunk) = self.chunk_mut(left);
        let many = chunk.own();
        if few.table.len() > many.table.len() {
            std::mem::swap(&mut few, many);
        }
        for (record, expiry) in few.into_records() {
            many.add(record, expiry);
        }
        true
    }

    /// Visits about `count` fields from position `from` on; gives the position to go on from, 0 at
    /// the end.
    pub(super) fn scan<'h>(
        &'h self,
        mut from: u64,
        count: usize,
        visit: &mut dyn FnMut(&'h Record, Option<UnixMs>),
    ) -> u64 {
        let start = self
            .chunks
            .range(..=from)
            .next_back()
            .map_or(0, |(start, _)| *start);
        let mut left = count;
        for (chunk_start, chunk) in self.chunks.range(start..) {
            if left == 0 {
                return *chunk_start;
            }
            from = from.max(*chunk_start);
            let mut visited = 0;
            let table = &chunk.0.table;
            let next = scan::sweep(table, from, left, position_of_hash, &mut |record| {
                visited += 1;
                visit(record, chunk.0.expiry(record));
            });
            if let Some(next) = next {
                return next;
            }
            left = left.saturating_sub(visited);
        }
        0
    }

    /// Takes a chunk away, for a hash that is freed piece by piece and used no more. One that is
    /// shared is empty: it is freed by the last of those who share it.
    pub(super) fn take_chunk(&mut self) -> Option<Table> {
        let (_, chunk) = self.chunks.pop_first()?;
        let members = Arc::into_inner(chunk.0).unwrap_or_default();
        Some(members.table)
    }
}

/// Whether something with this expiry has ceased to exist: when its time has passed.
pub(super) fn is_due(expiry: Option<UnixMs>, stamp: UnixMs) -> bool {
    expiry.is_some_and(|expiry| stamp > expiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Vec<u8> {
        format!("field:{n}").into_bytes()
    }

    fn check(hash: &LargeHash) {
        assert_eq!(hash.chunks.keys().next(), Some(&0));
        let ends = hash
            .chunks
            .keys()
            .skip(1)
            .copied()
            .chain([POSITION_MASK + 1]);
        for ((start, chunk), end) in hash.chunks.iter().zip(ends) {
            assert!(chunk.len() <= CHUNK_FIELDS);
            let expiries = chunk.0.records().filter_map(|(_, expiry)| expiry);
            let mut expiries: Vec<_> = expiries.collect();
            expiries.sort_unstable();
            let mut kept: Vec<_> = chunk.0.times.iter().collect();
            kept.sort_unstable();
            assert_eq!(kept, expiries);
            if let Some((first, last)) = kept.first().zip(kept.last()) {
                assert_eq!(chunk.bounds(), (*first, *last));
            }
            for record in table::records(&chunk.0.table) {
                let position = position_of_hash(table::hash_of(record));
                assert!((*start..end).contains(&position));
            }
        }
        assert_eq!(
            hash.chunks.values().map(|chunk| chunk.len()).sum::<usize>(),
            hash.len()
        );
        let timed = hash.records().filter_map(|(_, expiry)| expiry).count();
        assert_eq!(hash.timed, timed);
        let records = hash.records().map(|(record, _)| record_usage(record));
        assert_eq!(hash.records_bytes, records.sum::<usize>());
    }

    #[test]
    fn chunks_split_and_join_and_stay_small() {
        const FIELDS: usize = 20_000;
        let mut hash = LargeHash::from_packed(&[0]);
        for n in 0..FIELDS {
            assert!(hash.set(&name(n), b"v", Expiry::Never).is_none());
            if n % 1000 == 0 {
                check(&hash);
            }
        }
        assert!((FIELDS / CHUNK_FIELDS..FIELDS / JOINED_FIELDS + 10).contains(&hash.chunks.len()));
        for n in 0..FIELDS {
            assert!(hash.remove(&name(n)).is_some() && hash.remove(&name(n)).is_none());
            if n % 1000 == 0 {
                check(&hash);
            }
        }
        assert_eq!((hash.len(), hash.chunks.len()), (0, 1));
    }

    #[test]
    fn who_shares_a_hash_keeps_nobody_for_long() {
        const FIELDS: usize = 100_000;
        let mut hash = LargeHash::from_packed(&[0]);
        for n in 0..FIELDS {
            hash.set(&name(n), b"v", Expiry::Never);
        }
        let shared = hash.share(0);
        // The work of a reader while the slot is locked.
        assert!(
            shared.chunks.len() < FIELDS / 100,
            "{} steps",
            shared.chunks.len()
        );
        hash.set(&name(7), b"w", Expiry::Never);
        let is_shared = |chunk: &&Chunk| Arc::strong_count(&chunk.0) == 2;
        let copied = hash.chunks.len() - hash.chunks.values().filter(is_shared).count();
        assert_eq!(
            copied, 1,
            "of at most {CHUNK_FIELDS} fields, for one change"
        );
        for n in 0..FIELDS {
            match n % 3 {
                0 => _ = hash.remove(&name(n)),
                1 => _ = hash.set(&name(n), b"w", Expiry::Never),
                _ => _ = hash.set(&name(FIELDS + n), b"w", Expiry::Never),
            }
        }
        check(&hash);
        while hash.take_chunk().is_some() {}
        let fields: Vec<_> = shared.iter().map(|(field, _)| field.to_vec()).collect();
        let mut expect: Vec<_> = (0..FIELDS).map(name).collect();
        expect.sort();
        assert!(shared.iter().all(|(_, value)| value.bytes() == b"v"));
        assert_eq!(
            std::collections::BTreeSet::from_iter(fields),
            expect.into_iter().collect()
        );
    }

    #[test]
    fn what_is_known_of_expiries_is_true() {
        const FIELDS: usize = 3000;
        let mut hash = LargeHash::new();
        for n in 0..FIELDS {
            let expiry = if n % 3 == 0 {
                Expiry::Never
            } else {
                Expiry::At(n as u64)
            };
            hash.set(&name(n), b"v", expiry);
        }
        let count = |hash: &LargeHash, stamp| {
            let due = |(_, expiry): &(&Record, Option<UnixMs>)| is_due(*expiry, stamp);
            hash.records().filter(due).count()
        };
        for n in 0..FIELDS {
            match n % 7 {
                0 => _ = hash.remove(&name(n)),
                1 => hash.set_expiry(&name(n), Some(10_000)),
                2 => hash.set_expiry(&name(n), None),
                3 => _ = hash.set(&name(n), b"w", Expiry::Keep),
                _ => {}
            }
            if n % 500 == 0 {
                check(&hash);
                for stamp in [0, 1, 1500, 2999, 3001, 20_000] {
                    assert_eq!(hash.due(stamp, usize::MAX), count(&hash, stamp));
                }
            }
        }
        let first: Vec<_> = hash.due_fields(1500, 10);
        assert_eq!(
            (first.len(), hash.due_fields(1500, 4)),
            (10, first[..4].to_vec())
        );
        assert!(!hash.is_due(20_000));
        for n in 0..FIELDS {
            hash.set_expiry(&name(n), Some(n as u64));
        }
        check(&hash);
        assert!(hash.is_due(3000) && !hash.is_due(2999));
    }

    /// Also of those whose tags are the same, of which there are some among so many, and when
    /// chunks are split, joined and copied.
    #[test]
    fn every_field_has_its_own_expiry() {
        const FIELDS: usize = 20_000;
        let mut hash = LargeHash::new();
        let expect = |n: usize| (!n.is_multiple_of(5)).then_some(1000 + n as u64);
        for n in 0..FIELDS {
            let expiry = expect(n).map_or(Expiry::Never, Expiry::At);
            hash.set(&name(n), b"v", expiry);
        }
        let expiry = |hash: &LargeHash, n: usize| hash.get(&name(n)).map(|(_, expiry)| expiry);
        let shared = hash.share(0);
        for n in 0..FIELDS {
            assert_eq!(expiry(&hash, n), Some(expect(n)), "{n}");
            match n % 4 {
                0 => assert_eq!(hash.remove(&name(n)).map(|(_, at)| at), Some(expect(n))),
                1 => hash.set_expiry(&name(n), None),
                2 => hash.set_expiry(&name(n), Some(n as u64)),
                _ => _ = hash.set(&name(n), b"w", Expiry::Keep),
            }
        }
        check(&hash);
        for n in 0..FIELDS {
            let expect = [None, Some(None), Some(Some(n as u64)), Some(expect(n))];
            assert_eq!(expiry(&hash, n), expect[n % 4], "{n}");
        }
        let timed = shared.chunks.iter().flat_map(|chunk| chunk.records());
        let timed = timed.filter(|(_, at)| at.is_some()).count();
        assert_eq!(timed, FIELDS / 5 * 4, "as it was");
        assert!(hash.chunks.values().any(|chunk| {
            let tags: Vec<_> = chunk.0.records().filter(|(_, at)| at.is_some()).collect();
            let tags = tags
                .iter()
                .map(|(record, _)| times::tag(table::hash_of(record)));
            let tags: Vec<_> = tags.collect();
            tags.len() > std::collections::BTreeSet::from_iter(tags.iter()).len()
        }));
    }
}
