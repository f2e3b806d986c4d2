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
}

/// Some of the fields, and what is known of their expiries without a look at them.
#[derive(Clone, Default)]
struct Chunk {
    fields: Arc<Table>,
    times: Times,
}

/// The expiries of the fields of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    /// How many there are.
    count: usize,
    /// The first of them; greater than any where there is none.
    first: UnixMs,
    /// The last of them; 0 where there is none.
    last: UnixMs,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            count: 0,
            first: UnixMs::MAX,
            last: 0,
        }
    }
}

impl Times {
    fn of(table: &Table) -> Self {
        let mut times = Self::default();
        for expiry in table::records(table).filter_map(Record::expiry) {
            times.add(expiry);
        }
        times
    }

    fn add(&mut self, expiry: UnixMs) {
        self.count += 1;
        self.first = self.first.min(expiry);
        self.last = self.last.max(expiry);
    }

    /// One of them is gone; says whether the others have to be looked at.
    const fn subtract(&mut self, expiry: UnixMs) -> bool {
        self.count -= 1;
        expiry == self.first || expiry == self.last
    }
}

impl Chunk {
    fn new(fields: Table) -> Self {
        Self {
            times: Times::of(&fields),
            fields: Arc::new(fields),
        }
    }

    fn len(&self) -> usize {
        self.fields.len()
    }

    /// The table, to be changed, for which it is copied if it is shared.
    fn own(&mut self) -> &mut Table {
        if Arc::get_mut(&mut self.fields).is_none() {
            self.fields = Arc::new(copy(&self.fields));
        }
        let fields = Arc::get_mut(&mut self.fields);
        fields.unwrap_or_else(|| unreachable!("nobody else knows the copy"))
    }

    /// The table out of the directory.
    fn take(self) -> Table {
        Arc::try_unwrap(self.fields).unwrap_or_else(|fields| copy(&fields))
    }

    /// A field had one expiry and has another.
    fn note(&mut self, old: Option<UnixMs>, new: Option<UnixMs>) {
        if let Some(new) = new {
            self.times.add(new);
        }
        if let Some(old) = old
            && self.times.subtract(old)
        {
            self.times = Times::of(&self.fields);
        }
    }

    /// How many fields are due.
    fn due(&self, stamp: UnixMs) -> usize {
        if self.times.first >= stamp {
            return 0;
        }
        if self.times.last < stamp {
            return self.times.count;
        }
        let expiries = table::records(&self.fields).filter_map(Record::expiry);
        expiries.filter(|expiry| *expiry < stamp).count()
    }
}

/// The fields that a large hash had at one moment.
#[derive(Clone)]
pub struct SharedHash {
    chunks: Vec<Arc<Table>>,
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
        chunk: &'a Table,
    ) -> impl Iterator<Item = (&'a [u8], StringRef<'a>)> + use<'a> {
        let stamp = self.stamp;
        let records = table::records(chunk);
        let records = records.filter(move |record| !is_due(record.expiry(), stamp));
        records.filter_map(|record| Some((record.key(), StringRef::of(record)?)))
    }

    /// Bytes of memory that it takes itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<Arc<Table>>()
    }

    /// Number of fields.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.is_timed {
            return self.iter().count();
        }
        self.chunks.iter().map(|chunk| chunk.len()).sum()
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
            let records = table::records(chunk).take(SAMPLE);
            let sample: usize = records.map(Record::size).sum();
            sample * chunk.len() / SAMPLE.min(chunk.len().max(1))
        });
        bytes.sum()
    }
}

fn copy(chunk: &Table) -> Table {
    let mut copied = Table::with_capacity(chunk.len());
    for record in table::records(chunk).filter_map(Record::copy) {
        table::insert(&mut copied, table::hash_of(&record), record);
    }
    copied
}

impl LargeHash {
    /// A hash without fields.
    pub(super) fn new() -> Self {
        Self {
            chunks: BTreeMap::from([(0, Chunk::default())]),
            len: 0,
            timed: 0,
        }
    }

    /// Takes over the fields of a small hash.
    pub(super) fn from_packed(body: &[u8]) -> Self {
        let mut hash = Self::new();
        for (field, value, expiry) in packed::Fields::new(body) {
            hash.put(Record::string(field, expiry, value));
        }
        hash
    }

    /// The same again: takes a step a chunk. What is changed afterwards in either is copied first.
    pub(super) fn copy(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
            timed: self.timed,
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
        let is_due = |chunk: &Chunk| chunk.times.last < stamp;
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
        let may = |chunk: &Chunk| chunk.times.first < wall && chunk.times.last >= shard;
        self.timed > 0 && shard < wall && self.chunks.values().any(may)
    }

    /// The record of a field.
    pub(super) fn get(&self, field: &[u8]) -> Option<&Record> {
        let hash = table_hash(field);
        let (_, chunk) = self.chunks.range(..=position_of_hash(hash)).next_back()?;
        table::find(&chunk.fields, hash, field)
    }

    /// The tables of the chunks.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.chunks.values().map(|chunk| chunk.fields.as_ref())
    }

    /// Every field's record, chunk by chunk.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.tables().flat_map(table::records)
    }

    /// The fields that are not due as they are now, whatever changes afterwards: takes a step a
    /// chunk, which is about 0.15 ms for a million fields.
    pub(super) fn share(&self, stamp: UnixMs) -> SharedHash {
        let chunks = self.chunks.values();
        SharedHash {
            chunks: chunks.map(|chunk| Arc::clone(&chunk.fields)).collect(),
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
            Expiry::Keep => self.get(field).and_then(Record::expiry),
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        self.put(Record::string(field, expiry, value))
    }

    /// Puts the record of a field; gives the one that it had.
    pub(super) fn put(&mut self, record: Record) -> Option<Record> {
        let (hash, expiry) = (table::hash_of(&record), record.expiry());
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let fields = chunk.own();
        let old = Spot::find(fields, hash, record.key()).put(record);
        let before = old.as_ref().and_then(Record::expiry);
        chunk.note(before, expiry);
        let full = chunk.len() > CHUNK_FIELDS;
        self.count_timed(before, expiry);
        if old.is_none() {
            self.len += 1;
            if full {
                self.split(start);
            }
        }
        old
    }

    fn count_timed(&mut self, old: Option<UnixMs>, new: Option<UnixMs>) {
        self.timed += usize::from(new.is_some());
        self.timed -= usize::from(old.is_some());
    }

    /// A random field, if one is met: each nearly as probable as any other, since positions are.
    pub(super) fn draw(&self, random: &mut Random) -> Option<&Record> {
        let position = random.below(POSITION_MASK);
        let (_, chunk) = self.chunks.range(..=position).next_back()?;
        let index = random.below(chunk.len().max(1) as u64);
        table::records(&chunk.fields).nth(index as usize)
    }

    /// Sets or clears the expiry of a field, if it is there.
    pub(super) fn set_expiry(&mut self, field: &[u8], expiry: Option<UnixMs>) {
        let hash = table_hash(field);
        let (_, chunk) = self.chunk_mut(position_of_hash(hash));
        let mut spot = Spot::find(chunk.own(), hash, field);
        let Some(record) = spot.record_mut() else {
            return;
        };
        let before = record.expiry();
        record.set_expiry(expiry);
        chunk.note(before, expiry);
        self.count_timed(before, expiry);
    }

    /// Removes a field; gives its record.
    pub(super) fn remove(&mut self, field: &[u8]) -> Option<Record> {
        let hash = table_hash(field);
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let old = Spot::find(chunk.own(), hash, field).remove()?;
        chunk.note(old.expiry(), None);
        let sparse = chunk.len() < SPARSE_FIELDS;
        self.len -= 1;
        self.count_timed(old.expiry(), None);
        if sparse {
            self.join(start);
        }
        Some(old)
    }

    /// The `most` first fields that are due, in the order of their positions, which is the same on
    /// every replica.
    pub(super) fn due_fields(&self, stamp: UnixMs, most: usize) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        if self.timed == 0 {
            return due;
        }
        let chunks = self.chunks.values();
        for chunk in chunks.filter(|chunk| chunk.times.first < stamp) {
            let records = table::records(&chunk.fields);
            let records = records.filter(|record| is_due(record.expiry(), stamp));
            let mut found: Vec<_> = records
                .map(|record| (position_of_hash(table::hash_of(record)), record.key()))
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
        let mut positions: Vec<u64> = table::records(&chunk.fields)
            .map(|record| position_of_hash(table::hash_of(record)))
            .collect();
        let middle = positions.len() / 2;
        let (_, middle, _) = positions.select_nth_unstable(middle);
        let middle = *middle;
        if middle == start {
            return;
        }
        let whole = std::mem::take(chunk).take();
        let mut lower = Table::with_capacity(CHUNK_FIELDS);
        let mut upper = Table::with_capacity(JOINED_FIELDS);
        for (record, _) in whole {
            let hash = table::hash_of(&record);
            let half = if position_of_hash(hash) < middle {
                &mut lower
            } else {
                &mut upper
            };
            table::insert(half, hash, record);
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
        if few.len() > many.len() {
            std::mem::swap(&mut few, many);
        }
        for (record, _) in few {
            table::insert(many, table::hash_of(&record), record);
        }
        chunk.times = Times::of(&chunk.fields);
        true
    }

    /// Visits about `count` fields from position `from` on; gives the position to go on from, 0 at
    /// the end.
    pub(super) fn scan<'h>(
        &'h self,
        mut from: u64,
        count: usize,
        visit: &mut dyn FnMut(&'h Record),
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
            let next = scan::sweep(&chunk.fields, from, left, position_of_hash, &mut |record| {
                visited += 1;
                visit(record);
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
        Some(Arc::into_inner(chunk.fields).unwrap_or_default())
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
            assert_eq!(chunk.times, Times::of(&chunk.fields));
            for record in table::records(&chunk.fields) {
                let position = position_of_hash(table::hash_of(record));
                assert!((*start..end).contains(&position));
            }
        }
        assert_eq!(
            hash.chunks.values().map(|chunk| chunk.len()).sum::<usize>(),
            hash.len()
        );
        let timed = hash.records().filter_map(Record::expiry).count();
        assert_eq!(hash.timed, timed);
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
        let is_shared = |chunk: &&Chunk| Arc::strong_count(&chunk.fields) == 2;
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
            let due = |record: &&Record| is_due(record.expiry(), stamp);
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
}
