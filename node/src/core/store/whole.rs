//! The verbs of a command about the whole keyspace. Locks one slot at a time.

use super::read::{ValueKind, is_due};
use super::record::Record;
use super::scan::Cursor;
use super::slots::SlotSet;
use super::table::{self, Table};
use super::{Store, Watched, scan_table};
use crate::core::time::UnixMs;

/// The keys of a set of slots.
pub struct Whole<'a> {
    /// The command's time.
    pub stamp: UnixMs,
    /// Whether a scan skips slots outside of the set, or stops there so that another node goes on.
    pub hop: bool,
    store: &'a Store,
    slots: &'a SlotSet,
    watched: Option<&'a Watched>,
    tables: Option<&'a Lend<'a>>,
}

/// Hands the table of a slot to some work.
pub(super) type Lend<'a> = dyn Fn(u16, &mut dyn FnMut(&mut Table)) + 'a;

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
            watched: None,
            tables: None,
        }
    }

    /// Likewise; who watches a key learns that it was removed.
    #[must_use]
    pub const fn telling(self, watched: Option<&'a Watched>) -> Self {
        Self { watched, ..self }
    }

    /// Likewise, in tables that are locked already.
    pub(super) const fn in_tables(self, lend: &'a Lend<'a>) -> Self {
        Self {
            tables: Some(lend),
            ..self
        }
    }

    fn with_table(&self, slot: u16, work: &mut dyn FnMut(&Table)) {
        match self.tables {
            Some(lend) => lend(slot, &mut |table| work(table)),
            None => work(&self.store.read_slot(slot)),
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
            self.with_table(slot, &mut |table| {
                for record in table::records(table) {
                    if !is_due(record, self.stamp) {
                        visit(record.key(), record.kind());
                    }
                }
            });
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
            cursor = self.scan_slot(cursor, left, &mut |record| {
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
        let slots = self.slots.iter();
        for slot in slots.filter(|slot| self.store.keys_in_slot(*slot) > 0) {
            let mut clear = |table: &mut Table| {
                if let Some(watched) = self.watched.filter(|watched| !watched.is_empty()) {
                    table::records(table).for_each(|record| watched.touch(record.key()));
                }
                self.store.replace_table(slot, table, (Table::new(), 0));
            };
            match self.tables {
                Some(lend) => lend(slot, &mut clear),
                None => clear(&mut self.store.shard(slot).write()),
            }
        }
    }

    fn scan_slot(&self, cursor: Cursor, count: usize, visit: &mut dyn FnMut(&Record)) -> Cursor {
        match self.tables {
            None => self.store.scan_slot(cursor, count, visit),
            Some(lend) => {
                let mut next = cursor;
                let mut scan = |table: &mut Table| next = scan_table(table, cursor, count, visit);
                lend(cursor.slot, &mut scan);
                next
            }
        }
    }
}
