//! The verbs of a command about the whole keyspace. Locks one slot at a time.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::export::Piece;
use super::read::{ValueKind, is_due};
use super::record::Record;
use super::scan::Cursor;
use super::slots::SlotSet;
use super::table::{self, Table};
use super::{Store, Volatile, Watched, scan_table};
use crate::core::random::Random;
use crate::core::time::UnixMs;

/// How often a random key is drawn, as long as what is found is due, before all are searched.
const SAMPLES: usize = 16;
/// Keys for which a slot is locked when all of a large one are visited.
const SLICE: usize = 256;

/// The keys of a set of slots.
pub struct Whole<'a> {
    /// The command's time.
    pub stamp: UnixMs,
    /// Whether a scan skips slots outside of the set, or stops there so that another node goes on.
    pub hop: bool,
    seed: u64,
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
            seed: 0,
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

    /// Likewise; with the command's random seed.
    #[must_use]
    pub const fn sown(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Likewise, in tables that are locked already.
    pub(super) const fn in_tables(self, lend: &'a Lend<'a>) -> Self {
        Self {
            tables: Some(lend),
            ..self
        }
    }

    /// Opens a snapshot of the slots, which are one range, for a client to fetch; gives its id and
    /// the range. Nothing if there is no room for it, or the slots are locked.
    #[must_use]
    pub fn export(&self) -> Option<(u64, RangeInclusive<u16>)> {
        let slots = self.slots.iter().min()?..=self.slots.iter().max()?;
        // Positive also where numbers have a sign.
        let id = Random::new(self.seed).next() >> 1;
        let begin = || self.store.begin_snapshot(slots.clone());
        let is_open = self.tables.is_none() && self.store.export(id, begin);
        is_open.then_some((id, slots))
    }

    /// See [`Store::export_piece`].
    #[must_use]
    pub fn export_piece(&self, id: u64, number: u64) -> Option<Piece> {
        self.store.export_piece(id, number)
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

    /// Visits every live key of the slots; one that comes or goes meanwhile perhaps.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], ValueKind)) {
        for slot in self
            .slots
            .iter()
            .filter(|slot| self.store.keys_in_slot(*slot) > 0)
        {
            if self.tables.is_none() && self.store.keys_in_slot(slot) > SLICE {
                self.for_each_in_slices(slot, visit);
                continue;
            }
            self.with_table(slot, &mut |table| {
                for record in table::records(table) {
                    if !is_due(record, self.stamp) {
                        visit(record.key(), record.kind());
                    }
                }
            });
        }
    }

    /// Likewise in a large slot, some keys at a time, which are visited while the slot is not
    /// locked: who wants to write to it gets its turn.
    fn for_each_in_slices(&self, slot: u16, visit: &mut dyn FnMut(&[u8], ValueKind)) {
        let (mut cursor, mut keys) = (Cursor::at_slot(slot), Vec::new());
        let mut found = Vec::with_capacity(SLICE);
        while cursor.slot == slot {
            cursor = self.store.scan_slot(cursor, SLICE, &mut |record| {
                if !is_due(record, self.stamp) {
                    keys.extend_from_slice(record.key());
                    found.push((keys.len(), record.kind()));
                }
            });
            let mut start = 0;
            for (end, kind) in found.drain(..) {
                visit(&keys[start..end], kind);
                start = end;
            }
            keys.clear();
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

    /// A random live key of the slots, if there is one.
    #[must_use]
    pub fn sample(&self) -> Option<Bytes> {
        let mut random = Random::new(self.seed);
        for _ in 0..SAMPLES {
            let slot = self.draw_slot(&mut random)?;
            let cursor = Cursor::draw(slot, &mut random);
            let mut found = None;
            // From a random place on; it may be the last one.
            for from in [cursor, Cursor::at_slot(slot)] {
                self.scan_slot(from, 1, &mut |record| {
                    if found.is_none() && !is_due(record, self.stamp) {
                        found = Some(Bytes::copy_from_slice(record.key()));
                    }
                });
                if found.is_some() {
                    return found;
                }
            }
        }
        let mut found = None;
        self.for_each(&mut |key, _| found = Some(Bytes::copy_from_slice(key)));
        found
    }

    /// A slot, the more probable the more keys it has.
    fn draw_slot(&self, random: &mut Random) -> Option<u16> {
        let total = self.len() as u64;
        if total == 0 {
            return None;
        }
        let mut left = random.below(total);
        self.slots.iter().find(|slot| {
            let keys = self.store.keys_in_slot(*slot) as u64;
            let is_it = left < keys;
            left = left.saturating_sub(keys);
            is_it
        })
    }

    /// Removes every key of the slots; memory is freed in slices, later.
    pub fn clear(&self) {
        let slots = self.slots.iter();
        for slot in slots.filter(|slot| self.store.keys_in_slot(*slot) > 0) {
            let mut clear = |table: &mut Table| {
                if let Some(watched) = self.watched.filter(|watched| !watched.is_empty()) {
                    table::records(table).for_each(|record| watched.touch(record.key()));
                }
                let nothing = (Table::new(), Volatile::default());
                self.store.replace_table(slot, table, nothing);
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
