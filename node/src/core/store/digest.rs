//! A number for the data of some slots: the same for the same data, however it is laid out and in
//! whatever order it came.

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::hash::HashRef;
use super::record::Record;
use super::string::StringRef;
use super::{Store, table};

impl Store {
    /// A hash of all keys of these slots with their expiries, values and fields: equal on replicas
    /// that have applied the same commands, also when one was made from a snapshot. Looks at
    /// everything; for tests and checks.
    #[must_use]
    pub fn state_hash(&self, slots: RangeInclusive<u16>) -> u64 {
        let slots = slots.filter(|slot| self.keys_in_slot(*slot) > 0);
        slots.fold(0, |sum, slot| {
            let table = self.read_slot(slot);
            table::records(&table).fold(sum, |sum, record| sum.wrapping_add(digest(record)))
        })
    }
}

/// The hash of a record; those of a set of records are added up.
fn digest(record: &Record) -> u64 {
    let (kind, value) = StringRef::of(record).map_or_else(
        || (b'h', HashRef::of(record).map_or(0, digest_fields)),
        |string| (b's', xxh3_64(string.bytes())),
    );
    let (volatile, expiry) = record.expiry().map_or((0, 0), |expiry| (1, expiry));
    let mut facts = [kind, volatile].to_vec();
    facts.extend_from_slice(&expiry.to_le_bytes());
    facts.extend_from_slice(&value.to_le_bytes());
    xxh3_64_with_seed(&facts, xxh3_64(record.key()))
}

fn digest_fields(hash: HashRef<'_>) -> u64 {
    hash.iter_timed().fold(0, |sum, (field, value, expiry)| {
        let seed = xxh3_64(field).wrapping_add(expiry.map_or(0, |at| at.wrapping_add(1)));
        sum.wrapping_add(xxh3_64_with_seed(value.bytes(), seed))
    })
}
