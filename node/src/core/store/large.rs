//! A hash of many fields: a directory of chunks, each a small table with a range of the fields'
//! positions.
//!
//! No change touches more than two chunks, so that a hash of ten million fields grows, is scanned
//! and is freed in steps of at most [`CHUNK_FIELDS`] fields.

use std::collections::BTreeMap;

use super::key::table_hash;
use super::packed;
use super::record::Record;
use super::scan;
use super::table::{self, Spot, Table};

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
    chunks: BTreeMap<u64, Table>,
    len: usize,
}

impl LargeHash {
    /// A hash without fields.
    pub(super) fn new() -> Self {
        Self {
            chunks: BTreeMap::from([(0, Table::new())]),
            len: 0,
        }
    }

    /// Takes over the fields of a small hash.
    pub(super) fn from_packed(body: &[u8]) -> Self {
        let mut hash = Self::new();
        for (field, value) in packed::Pairs::new(body) {
            hash.set(field, value);
        }
        hash
    }

    /// Number of fields.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The record of a field.
    pub(super) fn get(&self, field: &[u8]) -> Option<&Record> {
        let hash = table_hash(field);
        let (_, chunk) = self.chunks.range(..=position_of_hash(hash)).next_back()?;
        table::find(chunk, hash, field)
    }

    /// Every field's record, chunk by chunk.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.chunks.values().flat_map(table::records)
    }

    /// The chunk that has or would have a field's position, and where it starts.
    fn chunk_mut(&mut self, position: u64) -> (u64, &mut Table) {
        self.chunks.range_mut(..=position).next_back().map_or_else(
            || unreachable!("the first chunk starts at 0"),
            |(start, chunk)| (*start, chunk),
        )
    }

    /// Sets a field; gives the record that it had.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8]) -> Option<Record> {
        self.put(Record::string(field, None, value))
    }

    /// Puts the record of a field; gives the one that it had.
    pub(super) fn put(&mut self, record: Record) -> Option<Record> {
        let hash = table::hash_of(&record);
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let old = Spot::find(chunk, hash, record.key()).put(record);
        if old.is_none() {
            let full = chunk.len() > CHUNK_FIELDS;
            self.len += 1;
            if full {
                self.split(start);
            }
        }
        old
    }

    /// Removes a field; gives its record.
    pub(super) fn remove(&mut self, field: &[u8]) -> Option<Record> {
        let hash = table_hash(field);
        let (start, chunk) = self.chunk_mut(position_of_hash(hash));
        let old = Spot::find(chunk, hash, field).remove()?;
        let sparse = chunk.len() < SPARSE_FIELDS;
        self.len -= 1;
        if sparse {
            self.join(start);
        }
        Some(old)
    }

    /// Moves the upper half of a chunk's fields to a new one. Does nothing where all have one
    /// position.
    fn split(&mut self, start: u64) {
        let (_, chunk) = self.chunk_mut(start);
        let mut positions: Vec<u64> = table::records(chunk)
            .map(|record| position_of_hash(table::hash_of(record)))
            .collect();
        let middle = positions.len() / 2;
        let (_, middle, _) = positions.select_nth_unstable(middle);
        let middle = *middle;
        if middle == start {
            return;
        }
        let whole = std::mem::take(chunk);
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
        *chunk = lower;
        self.chunks.insert(middle, upper);
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
        let len = |start| self.chunks.get(&start).map_or(0, Table::len);
        let smaller = len(left).min(len(right));
        if smaller > 0 && len(left) + len(right) > JOINED_FIELDS {
            return false;
        }
        let Some(mut few) = self.chunks.remove(&right) else {
            return false;
        };
        let (_, many) = self.chunk_mut(left);
        if few.len() > many.len() {
            std::mem::swap(&mut few, many);
        }
        for (record, _) in few {
            table::insert(many, table::hash_of(&record), record);
        }
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
            let next = scan::sweep(chunk, from, left, position_of_hash, &mut |record| {
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

    /// Takes a chunk away, for a hash that is freed piece by piece and used no more.
    pub(super) fn take_chunk(&mut self) -> Option<Table> {
        self.chunks.pop_first().map(|(_, chunk)| chunk)
    }
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
            for record in table::records(chunk) {
                let position = position_of_hash(table::hash_of(record));
                assert!((*start..end).contains(&position));
            }
        }
        assert_eq!(
            hash.chunks.values().map(Table::len).sum::<usize>(),
            hash.len()
        );
    }

    #[test]
    fn chunks_split_and_join_and_stay_small() {
        const FIELDS: usize = 20_000;
        let mut hash = LargeHash::from_packed(&[0]);
        for n in 0..FIELDS {
            assert!(hash.set(&name(n), b"v").is_none());
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
}
