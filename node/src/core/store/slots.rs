//! Sets of slots: what a node, or one command about the whole keyspace, is about.

use std::ops::RangeInclusive;

use dht_proto::slot::SLOTS;

/// A set of slots, as disjoint ranges in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Vec<RangeInclusive<u16>>);

impl SlotSet {
    /// Every slot.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![0..=SLOTS - 1])
    }

    /// The slots of these ranges, which are disjoint and ascending.
    #[must_use]
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        debug_assert!(ranges.is_sorted_by(|a, b| a.end() < b.start()));
        Self(ranges)
    }

    /// The first slot of the set from `slot` on.
    #[must_use]
    pub fn at_or_after(&self, slot: u16) -> Option<u16> {
        let range = self.0.partition_point(|range| *range.end() < slot);
        self.0.get(range).map(|range| slot.max(*range.start()))
    }

    /// Whether a slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: u16) -> bool {
        self.at_or_after(slot) == Some(slot)
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_or_after() {
        let set = SlotSet::new(vec![3..=5, 9..=9, 16000..=16383]);
        let check = |slot, expect| assert_eq!(set.at_or_after(slot), expect, "{slot}");
        check(0, Some(3));
        check(3, Some(3));
        check(5, Some(5));
        check(6, Some(9));
        check(9, Some(9));
        check(10, Some(16000));
        check(16383, Some(16383));
        check(16384, None);
        assert!(set.contains(4) && !set.contains(6) && SlotSet::all().contains(16383));
        assert_eq!(
            SlotSet::new(vec![1..=2, 7..=8]).iter().collect::<Vec<_>>(),
            [1, 2, 7, 8]
        );
        assert_eq!(SlotSet::new(Vec::new()).at_or_after(0), None);
    }
}
