//! The expiries of the fields of one chunk of a large hash. They lie beside the records, so that
//! each takes eight bytes, whatever the allocator makes of a record that is longer by as much.
//!
//! An expiry is found by some bits of its field's hash, its tag; among fields whose tags are the
//! same, by the order of their names. Knows no records: it is told which one of those it is.

use std::ops::Range;

use super::value::allotted;
use crate::core::time::UnixMs;

/// Bits of a time, below which the tag has the others.
const TIME_BITS: u32 = 48;
/// The last time that can be kept: in the year 10889. Commands take none that is so late.
const LAST_MS: UnixMs = (1 << TIME_BITS) - 1;
const ENTRY_BYTES: usize = size_of::<u64>();

/// Some bits of the hash of a field.
pub(super) const fn tag(hash: u64) -> u16 {
    hash as u16
}

/// The expiries, in the order of tags, and then of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Times {
    entries: Vec<u64>,
    /// The first and the last of them; where there is none, such as are no bounds of any.
    bounds: (UnixMs, UnixMs),
}

const NO_BOUNDS: (UnixMs, UnixMs) = (UnixMs::MAX, 0);

impl Default for Times {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            bounds: NO_BOUNDS,
        }
    }
}

const fn time(entry: u64) -> UnixMs {
    entry & LAST_MS
}

impl Times {
    /// Where those of a tag are.
    pub(super) fn tagged(&self, tag: u16) -> Range<usize> {
        let tag_of = |entry: &u64| (*entry >> TIME_BITS) as u16;
        let start = self.entries.partition_point(|entry| tag_of(entry) < tag);
        let same = self.entries[start..].iter();
        start..start + same.take_while(|entry| tag_of(entry) == tag).count()
    }

    /// The expiry at a place.
    pub(super) fn at(&self, index: usize) -> Option<UnixMs> {
        self.entries.get(index).copied().map(time)
    }

    /// Adds one at a place among those of its tag.
    pub(super) fn insert(&mut self, index: usize, tag: u16, at: UnixMs) {
        let at = at.min(LAST_MS);
        if self.entries.len() == self.entries.capacity() {
            // As much as the allocator gives anyhow.
            let room = allotted((self.entries.len() + 1) * ENTRY_BYTES) / ENTRY_BYTES;
            self.entries.reserve_exact(room - self.entries.len());
        }
        self.entries.insert(index, u64::from(tag) << TIME_BITS | at);
        let (first, last) = self.bounds;
        self.bounds = (first.min(at), last.max(at));
    }

    /// Removes the one at a place.
    pub(super) fn remove(&mut self, index: usize) -> UnixMs {
        let at = time(self.entries.remove(index));
        if at == self.bounds.0 || at == self.bounds.1 {
            let wider = |(first, last): (UnixMs, UnixMs), at: UnixMs| (first.min(at), last.max(at));
            self.bounds = self.iter().fold(NO_BOUNDS, wider);
        }
        if self.entries.capacity() > 2 * self.entries.len() {
            self.entries.shrink_to_fit();
        }
        at
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first and the last of them; where there is none, such as are no bounds of any.
    pub(super) const fn bounds(&self) -> (UnixMs, UnixMs) {
        self.bounds
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = UnixMs> {
        self.entries.iter().copied().map(time)
    }

    /// Bytes of memory, as the allocator gives them.
    pub(super) fn bytes(&self) -> usize {
        match self.entries.capacity() {
            0 => 0,
            room => allotted(room * ENTRY_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_their_tags() {
        let mut times = Times::default();
        for (tag, at) in [(5, 50), (u16::MAX, LAST_MS), (0, 7), (5, u64::MAX)] {
            let place = times.tagged(tag).end;
            times.insert(place, tag, at);
        }
        assert_eq!((times.len(), times.bounds()), (4, (7, LAST_MS)));
        assert_eq!(times.tagged(5), 1..3);
        assert_eq!((times.at(1), times.at(2)), (Some(50), Some(LAST_MS)));
        assert_eq!((times.tagged(4).len(), times.at(4)), (0, None));
        assert_eq!(times.remove(0), 7);
        assert_eq!(times.bounds(), (50, LAST_MS));
        assert_eq!(times.iter().collect::<Vec<_>>(), [50, LAST_MS, LAST_MS]);
        (0..3).for_each(|_| _ = times.remove(0));
        assert_eq!(times, Times::default());
    }
}
