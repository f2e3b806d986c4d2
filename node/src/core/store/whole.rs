//! The verbs of a command about the whole keyspace. Locks one slot at a time.

use super::read::{ValueKind, is_due};
use super::scan::Cursor;
use super::slots::SlotSet;
use super::{Store, table};
use crate::core::time::UnixMs;

/// The keys of a set of slots.
pub struct Whole<'a> {
    /// The command's time.
    pub stamp: UnixMs,
    /// Whether a scan skips slots outside of the set, or stops there so that another node goes on.
    pub hop: bool,
    store: &'a Store,
    slots: &'a SlotSet,
}

impl<'a> Whole<'a> {
    pub(super) const fn new(
        store: &'a Store,
        slots: &'a SlotSet,
        stamp: UnixMs,
        hop: bool,
    ) -> Self {
        Self {
            stamp,
            hop,
            store,
            slots,
        }
    }

    /// Number of keys in the slots; keys that are due and not yet removed count, as in Redis.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| self.store.keys_in_slot(slot))
            .sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every live key of the slots.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], ValueKind)) {
        for slot in self
            .slots
            .iter()
            .filter(|slot| self.store.keys_in_slot(*slot) > 0)
        {
            for record in table::records(&self.store.read_slot(slot)) {
                if !is_due(record, self.stamp) {
                    visit(record.key(), record.kind());
                }
            }
        }
    }

    /// Visits about `count` keys from `cursor` on; gives the cursor to go on from, 0 at the end. A
    /// key that is there from the first call to the last is visited at least once, on whichever
    /// nodes the calls run. Without `hop` the cursor has to be in the set; the one that is given
    /// may be outside.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], ValueKind)) -> u64 {
        let mut cursor = Cursor::from_number(cursor);
        let mut left = count.max(1);
        while left > 0 {
            match self.slots.at_or_after(cursor.slot) {
                Some(slot) if slot == cursor.slot => {}
                Some(slot) if self.hop => cursor = Cursor::at_slot(slot),
                None if self.hop => return 0,
                _ => return cursor.to_number(),
            }
            let mut visited = 0;
            cursor = self.store.scan_slot(cursor, left, &mut |record| {
                visited += 1;
                if !is_due(record, self.stamp) {
                    visit(record.key(), record.kind());
                }
            });
            if cursor.position > 0 {
                break;
            }
            left = left.saturating_sub(visited);
        }
        if self.hop && self.slots.at_or_after(cursor.slot).is_none() {
            return 0;
        }
        cursor.to_number()
    }

    /// Removes every key of the slots; memory is freed in slices, later.
    pub fn clear(&self) {
        for slot in self.slots.iter() {
            self.store.clear(slot..=slot);
        }
    }
}
