//! What was removed and is too big to be freed at once.

use dashmap::RwLock;
use hashbrown::raw::RawIntoIter;

use super::record::{Record, ValueMut};
use super::table::{Entry, Table};

/// A record that takes more steps than this to free is freed later.
const HEAVY: usize = 1024;

enum Corpse {
    Record(Record),
    Records(std::vec::IntoIter<Record>),
    Table(RawIntoIter<Entry>),
}

/// Removed tables and large values.
pub(super) struct Graveyard(RwLock<Vec<Corpse>>);

impl Graveyard {
    pub(super) const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }

    /// Frees a record, at once when that is little work.
    pub(super) fn bury(&self, record: Record) {
        if record.weight() > HEAVY {
            self.0.write().push(Corpse::Record(record));
        }
    }

    /// Frees the records of a table later.
    pub(super) fn bury_table(&self, table: Table) {
        if !table.is_empty() {
            self.0.write().push(Corpse::Table(table.into_iter()));
        }
    }

    /// Frees records later.
    pub(super) fn bury_all(&self, records: Vec<Record>) {
        if !records.is_empty() {
            self.0.write().push(Corpse::Records(records.into_iter()));
        }
    }

    /// Frees about `budget` records, or pages of long strings; says whether anything is left.
    pub(super) fn reclaim(&self, budget: usize) -> bool {
        let mut done = 0;
        while done < budget {
            let Some(corpse) = self.0.write().pop() else {
                return false;
            };
            done += match corpse {
                Corpse::Record(record) => self.dismantle(record),
                Corpse::Records(records) => self.free(records, budget - done, Corpse::Records),
                Corpse::Table(records) => self.free(records, budget - done, Corpse::Table),
            };
        }
        !self.0.read().is_empty()
    }

    /// Takes one chunk of a large hash apart, or frees a long string; says how much work it was.
    fn dismantle(&self, mut record: Record) -> usize {
        let weight = record.weight();
        let ValueMut::Large(hash) = record.value_mut() else {
            return weight;
        };
        if let Some(chunk) = hash.take_chunk() {
            self.0.write().push(Corpse::Record(record));
            self.bury_table(chunk);
        }
        1
    }

    /// Frees some of what `rest` makes a corpse again; says how much work it was.
    fn free<I: Iterator<Item: Into<Record>>>(
        &self,
        mut records: I,
        budget: usize,
        rest: fn(I) -> Corpse,
    ) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(record) = records.next() else {
                return done + 1;
            };
            self.bury(record.into());
            done += 1;
        }
        self.0.write().push(rest(records));
        done
    }
}
