//! The sharded map and its locks. The only module that knows the map; no guard leaves it but inside
//! a [`Read`] or [`Write`], which live for one command.
//!
//! DashMap's shards are aligned with hash slots, one a slot. A command locks the slots of its keys,
//! in ascending order, and is atomic by that.

mod digest;
mod expiry;
mod export;
mod graveyard;
mod hash;
mod key;
mod large;
mod packed;
mod prefetch;
mod preimage;
mod read;
mod record;
mod scan;
mod slots;
mod snapshot;
mod staging;
mod string;
mod table;
mod times;
mod value;
mod watched;
mod whole;
mod write;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::{DashMap, RwLock, RwLockReadGuard};
use dht_proto::slot::SLOTS;

use self::export::Exports;
use self::graveyard::Graveyard;
use self::key::SlotHasher;
use self::read::Locked;
use self::record::Record;
use self::snapshot::Snapshots;
use self::table::Table;
use super::lease::{self, Word};
use super::notify::Events;
use super::time::{Now, UnixMs};

pub use self::expiry::Due;
pub use self::export::Piece;
pub use self::hash::HashRef;
pub use self::key::{Key, Keys};
pub use self::large::SharedHash;
pub use self::packed::MAX_FIELDS as PACKED_FIELDS;
pub use self::read::{LONG_FIELDS, Moment, Read, ValueKind};
pub use self::scan::Cursor;
pub use self::slots::SlotSet;
pub use self::snapshot::Snapshot;
pub use self::staging::Staging;
pub use self::string::StringRef;
pub use self::value::{NoValue, Restored};
pub use self::watched::{Watched, Watcher};
pub use self::whole::Whole;
pub use self::write::{Expiry, Write};

/// All data of a node.
pub struct Store {
    map: DashMap<Record, (), SlotHasher>,
    /// By slot.
    counts: Box<[Counts]>,
    graveyard: Graveyard,
    snapshots: Snapshots,
    exports: Exports,
    /// What happens to keys.
    pub events: Events,
    /// How often keys are read.
    pub lookups: Lookups,
}

/// How many of the keys that were read were there, and how many were not.
#[derive(Debug, Default)]
pub struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Lookups {
    /// Counts some.
    pub fn add(&self, (hits, misses): (u32, u32)) {
        for (counter, count) in [(&self.hits, hits), (&self.misses, misses)] {
            if count > 0 {
                counter.fetch_add(count.into(), Ordering::Relaxed);
            }
        }
    }

    /// Both numbers.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.hits), count(&self.misses))
    }

    /// Begins again.
    pub fn reset(&self) {
        self.hits.store(0, Ordering::Relaxed);
        self.misses.store(0, Ordering::Relaxed);
    }
}

/// Counters of a slot: changed under its exclusive lock, read without.
#[derive(Default)]
struct Counts {
    keys: AtomicU32,
    /// Keys with an expiry.
    volatile: AtomicU32,
    /// Hashes of which some field has an expiry.
    timed: AtomicU32,
}

/// What may become due: of a key, whether, and of a slot, how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Volatile<T> {
    /// The key itself.
    keys: T,
    /// Some of its fields.
    fields: T,
}

impl Volatile<bool> {
    fn of(record: Option<&Record>) -> Self {
        record.map_or_else(Self::default, |record| Self {
            keys: record.expiry().is_some(),
            fields: hash::is_timed(record),
        })
    }
}

impl Counts {
    fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed) as usize
    }

    fn volatile(&self) -> usize {
        self.volatile.load(Ordering::Relaxed) as usize
    }

    fn timed(&self) -> usize {
        self.timed.load(Ordering::Relaxed) as usize
    }

    /// Takes note that a key was changed.
    fn update(&self, keys: usize, was: Volatile<bool>, is: Volatile<bool>) {
        // Plain stores: nobody else writes while the slot is locked.
        let change = |count: &AtomicU32, was: bool, is: bool| {
            let before = count.load(Ordering::Relaxed);
            count.store(before - u32::from(was) + u32::from(is), Ordering::Relaxed);
        };
        self.keys.store(keys as u32, Ordering::Relaxed);
        change(&self.volatile, was.keys, is.keys);
        change(&self.timed, was.fields, is.fields);
    }

    /// Takes note that the slot has another table.
    fn set(&self, keys: usize, volatile: Volatile<u32>) {
        self.keys.store(keys as u32, Ordering::Relaxed);
        self.volatile.store(volatile.keys, Ordering::Relaxed);
        self.timed.store(volatile.fields, Ordering::Relaxed);
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let map = DashMap::with_hasher_and_shard_amount(SlotHasher::default(), SLOTS.into());
        for slot in 0..SLOTS {
            let shard = map.determine_shard(key::hash_in_slot(slot) as usize);
            assert_eq!(
                shard,
                usize::from(slot),
                "a shard of the map has to be a slot"
            );
        }
        Self {
            map,
            counts: (0..SLOTS).map(|_| Counts::default()).collect(),
            graveyard: Graveyard::new(),
            snapshots: Snapshots::new(),
            exports: Exports::default(),
            events: Events::default(),
            lookups: Lookups::default(),
        }
    }

    /// Executes a command that reads these keys, with their slots locked together.
    pub fn read<R>(
        &self,
        keys: &Keys<'_>,
        moment: Moment,
        execute: impl FnOnce(&Read<'_>) -> R,
    ) -> R {
        let locked = Locked::new(keys.slots(), |slot| self.read_slot(slot));
        execute(&Read::new(moment, keys.first(), locked))
    }

    /// Executes a command that reads these keys, with their slots locked together, if the leases of
    /// their shards, whose words these are, allow it at the time of arrival.
    pub fn read_leased<'w, R>(
        &self,
        keys: &Keys<'_>,
        words: impl Iterator<Item = &'w Word>,
        now: Now,
        execute: impl FnOnce(&Read<'_>) -> R,
    ) -> Option<R> {
        let lock = || Locked::new(keys.slots(), |slot| self.read_slot(slot));
        lease::read_locked(words, now.mono_ms, lock, |locked, times| {
            let moment = Moment {
                // What is due in one of the shards alone is not for here to tell.
                wall: now.unix_ms().max(times.greatest),
                shard: times.least,
            };
            execute(&Read::new(moment, keys.first(), locked))
        })
    }

    /// Executes a command that changes these keys, with their slots locked together.
    pub fn write<R>(
        &self,
        keys: &Keys<'_>,
        stamp: UnixMs,
        seed: u64,
        execute: impl FnOnce(&mut Write<'_>) -> R,
    ) -> R {
        self.write_watched(keys, (stamp, seed), None, execute)
    }

    /// Likewise; who watches a key learns of its change while its slot is locked.
    pub fn write_watched<R>(
        &self,
        keys: &Keys<'_>,
        occasion: (UnixMs, u64),
        watched: Option<&Watched>,
        execute: impl FnOnce(&mut Write<'_>) -> R,
    ) -> R {
        let locked = Locked::new(keys.slots(), |slot| self.shard(slot).write());
        let first = keys.first();
        let mut write = Write::new(occasion, (self, watched), first, locked);
        let result = execute(&mut write);
        // What is executed from a log every replica executes.
        if !self.events.is_muted() {
            self.lookups.add(write.lookups());
        }
        result
    }

    /// The keys of these slots, for a command about the whole keyspace. With `hop`, a scan skips
    /// what lies between them; without, it stops there.
    #[must_use]
    pub const fn whole<'a>(&'a self, slots: &'a SlotSet, stamp: UnixMs, hop: bool) -> Whole<'a> {
        Whole::new(self, slots, stamp, hop)
    }

    /// Number of keys in a slot.
    #[must_use]
    pub fn keys_in_slot(&self, slot: u16) -> usize {
        self.counts[usize::from(slot)].keys()
    }

    /// Bytes that the tables of keys have allocated.
    #[must_use]
    pub fn tables_bytes(&self) -> usize {
        let slots = (0..SLOTS).filter(|slot| self.keys_in_slot(*slot) > 0);
        slots
            .map(|slot| value::table_bytes(&self.read_slot(slot)))
            .sum()
    }

    /// Up to `count` keys of a slot.
    #[must_use]
    pub fn sample_slot(&self, slot: u16, count: usize) -> Vec<Bytes> {
        let table = self.read_slot(slot);
        let keys = table::records(&table).map(|record| Bytes::copy_from_slice(record.key()));
        keys.take(count).collect()
    }

    /// Frees about `budget` records of what was removed and is big, and of what snapshots held that
    /// were given up; says whether anything is left.
    pub fn reclaim(&self, budget: usize) -> bool {
        self.snapshots.forget_dropped(&self.graveyard);
        self.graveyard.reclaim(budget)
    }

    fn shard(&self, slot: u16) -> &RwLock<Table> {
        &self.map.shards()[usize::from(slot)]
    }

    fn read_slot(&self, slot: u16) -> RwLockReadGuard<'_, Table> {
        self.shard(slot).read()
    }

    /// Visits about `count` records of the cursor's slot, or as many as it may be locked for; gives
    /// where to go on, in this slot or at the next.
    fn scan_slot(&self, cursor: Cursor, count: usize, visit: &mut dyn FnMut(&Record)) -> Cursor {
        if self.keys_in_slot(cursor.slot) == 0 {
            return Cursor::at_slot(cursor.slot + 1);
        }
        let count = count.min(LONG_FIELDS);
        scan_table(&self.read_slot(cursor.slot), cursor, count, visit)
    }
}

/// Likewise, in the table of the slot.
fn scan_table(
    table: &Table,
    cursor: Cursor,
    count: usize,
    visit: &mut dyn FnMut(&Record),
) -> Cursor {
    let after = Cursor::at_slot(cursor.slot + 1);
    scan::step(table, cursor.position, count, visit)
        .map_or(after, |position| Cursor { position, ..cursor })
}
