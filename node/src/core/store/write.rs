//! The verbs of a command that writes. Everything is checked before the first change.

use std::cell::{Cell, RefCell};

use dashmap::RwLockWriteGuard;
use dht_proto::{ReplyError, limits};
use smallvec::SmallVec;

use super::hash::{self, HashRef};
use super::key::Key;
use super::preimage::Touched;
use super::read::{self, Locked, Read, ValueKind, is_due};
use super::record::Record;
use super::slots::SlotSet;
use super::string::{self, StringRef};
use super::table::{self, Spot, Table};
use super::watched::Watched;
use super::whole::Whole;
use super::{Store, Volatile};
use crate::core::notify::Class;
use crate::core::time::UnixMs;

/// What becomes of a key's time to live when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Stays as it is.
    Keep,
    /// No expiry.
    Never,
    /// At this time.
    At(UnixMs),
}

/// Changes the keys of the command's slots.
pub struct Write<'a> {
    /// The command's time, put on it by the leader.
    pub stamp: UnixMs,
    /// The command's random seed, put on it by the leader.
    pub seed: u64,
    pub(super) store: &'a Store,
    /// Keys that were read and were there, and that were not.
    lookups: Cell<(u32, u32)>,
    /// Who is told of changes.
    watched: Option<&'a Watched>,
    first: Key<'a>,
    locked: Locked<RwLockWriteGuard<'a, Table>>,
}

impl<'a> Write<'a> {
    pub(super) const fn new(
        (stamp, seed): (UnixMs, u64),
        (store, watched): (&'a Store, Option<&'a Watched>),
        first: Key<'a>,
        locked: Locked<RwLockWriteGuard<'a, Table>>,
    ) -> Self {
        Self {
            stamp,
            seed,
            store,
            lookups: Cell::new((0, 0)),
            watched,
            first,
            locked,
        }
    }

    /// Lends the tables to a command that reads.
    pub fn reading<R>(&self, read: impl FnOnce(&Read<'_>) -> R) -> R {
        let occasion = (self.stamp, self.seed);
        let table = |slot| self.locked.table(slot);
        let lent = Read::lent(occasion, self.first, &table);
        let result = read(&lent);
        self.count(lent.lookups());
        result
    }

    /// How many of the keys that were read were there, and how many were not.
    pub(super) const fn lookups(&self) -> (u32, u32) {
        self.lookups.get()
    }

    fn count(&self, (more_hits, more_misses): (u32, u32)) {
        let (hits, misses) = self.lookups.get();
        self.lookups.set((hits + more_hits, misses + more_misses));
    }

    /// Counts that a key is read, by a command that changes data besides.
    pub fn count_lookup(&self, key: &[u8]) {
        let is_there = u32::from(self.live(key).is_some());
        self.count((is_there, 1 - is_there));
    }

    /// Lends the tables, which are those of all slots, to a command about the whole keyspace.
    pub fn whole<R>(&mut self, slots: &SlotSet, work: impl FnOnce(&Whole<'_>) -> R) -> R {
        let whole = self.store.whole(slots, self.stamp, true).sown(self.seed);
        let locked = RefCell::new(&mut self.locked);
        let lend = |slot: u16, work: &mut dyn FnMut(&mut Table)| {
            work(locked.borrow_mut().table_mut(slot));
        };
        work(&whole.telling(self.watched).in_tables(&lend))
    }

    /// Whether a key is due and still there, or a field of it is.
    #[must_use]
    pub fn has_due(&self, key: &[u8]) -> bool {
        let has_due = |record| is_due(record, self.stamp) || hash::due(record, self.stamp, 0) > 0;
        self.stored(key).is_some_and(has_due)
    }

    fn stored(&self, key: &[u8]) -> Option<&Record> {
        let key = self.first.or_new(key);
        let table = self.locked.table(key.slot());
        table::find(table, key.hash(), key.bytes())
    }

    /// Notes for those who listen what a command has done to a key.
    pub fn note(&self, class: Class, event: &'static str, key: &[u8]) {
        self.store.events.note(class, event, key);
    }

    /// Tells who watches a key that it was changed.
    pub(super) fn tell(&self, key: &[u8]) {
        if let Some(watched) = self.watched {
            watched.touch(key);
        }
    }

    pub(super) fn live(&self, key: &[u8]) -> Option<&Record> {
        self.locked.live(self.first.or_new(key), self.stamp)
    }

    /// Removes what is due at the key, of a large hash only as a whole, lets `change` work on its
    /// place, and keeps the counters.
    /// An open snapshot is told what is about to be touched.
    pub(super) fn change<R>(
        &mut self,
        key: &[u8],
        touched: Touched<'_>,
        change: impl FnOnce(&mut Spot<'_>, &Store) -> R,
    ) -> R {
        let key = self.first.or_new(key);
        let table = self.locked.table_mut(key.slot());
        let keys = table.len();
        let mut spot = Spot::find(table, key.hash(), key.bytes());
        let snapshots = &self.store.snapshots;
        let is_covered = snapshots.covers(key.slot());
        if is_covered {
            snapshots.before(key, spot.record(), touched);
        }
        let was = Volatile::of(spot.record());
        if was.keys || was.fields {
            let expired = expire(&mut spot, self.stamp, self.store);
            if !expired.is_empty()
                && let Some(watched) = self.watched
            {
                watched.touch(key.bytes());
            }
            for (class, event) in expired {
                self.store.events.note(*class, event, key.bytes());
            }
        }
        let was_there = spot.record().is_some();
        let result = change(&mut spot, self.store);
        if !was_there && spot.record().is_some() {
            self.store.events.note(Class::New, "new", key.bytes());
        }
        if is_covered {
            snapshots.after(key, spot.record(), touched);
        }
        // The counters lie elsewhere in memory; most changes leave them alone.
        let is = Volatile::of(spot.record());
        if spot.table_len() != keys || is != was {
            let counts = &self.store.counts[usize::from(key.slot())];
            counts.update(spot.table_len(), was, is);
        }
        result
    }

    /// The type of a key, if it exists.
    #[must_use]
    pub fn kind(&self, key: &[u8]) -> Option<ValueKind> {
        self.live(key).map(Record::kind)
    }

    /// The expiry of a key that exists: `Some(None)` when it has none.
    #[must_use]
    pub fn expiry(&self, key: &[u8]) -> Option<Option<UnixMs>> {
        self.live(key).map(Record::expiry)
    }

    /// A string's bytes.
    ///
    /// # Errors
    /// Another type.
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, ReplyError> {
        self.live(key).map(read::string).transpose()
    }

    /// A hash.
    ///
    /// # Errors
    /// Another type.
    pub fn hash(&self, key: &[u8]) -> Result<Option<HashRef<'_>>, ReplyError> {
        let hash = |record| read::hash(record, self.stamp);
        self.live(key).map(hash).transpose()
    }

    /// Whether [`Self::set_string`] would be an error: for commands that set several or none.
    ///
    /// # Errors
    /// The key or the value is longer than its limit.
    pub fn check_string(key: &[u8], value: &[u8]) -> Result<(), ReplyError> {
        check_key(key)?;
        check_value(value)
    }

    /// Sets a string, whatever the key held.
    ///
    /// # Errors
    /// The key or the value is longer than its limit; nothing has changed.
    pub fn set_string(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Expiry,
    ) -> Result<(), ReplyError> {
        Self::check_string(key, value)?;
        self.change(key, Touched::Key, |spot, store| {
            let old = spot.record().and_then(Record::expiry);
            let expiry = match expiry {
                Expiry::Keep => old,
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
            };
            if let Some(record) = spot.record_mut()
                && string::overwrite(record, value)
            {
                record.set_expiry(expiry);
            } else {
                put(spot, Record::string(key, expiry, value), store);
            }
        });
        self.tell(key);
        Ok(())
    }

    /// Appends to a string, made when absent; gives the new length. The expiry stays.
    ///
    /// # Errors
    /// Another type, or longer than the limit; nothing has changed.
    pub fn append(&mut self, key: &[u8], tail: &[u8]) -> Result<usize, ReplyError> {
        let old = self.string(key)?.map_or(0, |head| head.bytes().len());
        let len = old + tail.len();
        if len > limits::VALUE_BYTES {
            return Err(ReplyError::StringTooLong);
        }
        check_key(key)?;
        self.change(key, Touched::Key, |spot, store| match spot.record_mut() {
            Some(record) => string::append(record, tail),
            None => put(spot, Record::string(key, None, tail), store),
        });
        self.tell(key);
        Ok(len)
    }

    /// Overwrites a part of a string, made when absent and padded with zero bytes if need be; gives
    /// the new length. The expiry stays. A part without bytes changes nothing.
    ///
    /// # Errors
    /// Another type, or longer than the limit; nothing has changed.
    pub fn write_at(
        &mut self,
        key: &[u8],
        offset: usize,
        part: &[u8],
    ) -> Result<usize, ReplyError> {
        let old = self.string(key)?.map_or(0, |string| string.bytes().len());
        if part.is_empty() {
            return Ok(old);
        }
        if offset.saturating_add(part.len()) > limits::VALUE_BYTES {
            return Err(ReplyError::StringTooLong);
        }
        check_key(key)?;
        self.change(key, Touched::Key, |spot, store| {
            if spot.record().is_none() {
                put(spot, Record::string(key, None, b""), store);
            }
            if let Some(record) = spot.record_mut() {
                string::write_at(record, offset, part);
            }
        });
        self.tell(key);
        Ok(old.max(offset + part.len()))
    }

    /// Sets fields of a hash, made when absent; gives how many are new. They have no expiry after
    /// it. Nothing changes on an error.
    ///
    /// # Errors
    /// Another type; a key, field or value longer than its limit.
    pub fn hash_set(&mut self, key: &[u8], pairs: &[(&[u8], &[u8])]) -> Result<usize, ReplyError> {
        self.hash_put(key, pairs, Expiry::Never)
    }

    /// Likewise; says what becomes of their expiries.
    ///
    /// # Errors
    /// As above.
    pub fn hash_put(
        &mut self,
        key: &[u8],
        pairs: &[(&[u8], &[u8])],
        expiry: Expiry,
    ) -> Result<usize, ReplyError> {
        check_key(key)?;
        for (field, value) in pairs {
            check(field, "field", limits::FIELD_BYTES)?;
            check_value(value)?;
        }
        let fields = pairs.iter().map(|(field, value)| (*field, *value, expiry));
        let fields: SmallVec<[hash::Field<'_>; 4]> = fields.collect();
        let stamp = self.stamp;
        let added = self.change(key, Touched::Pairs(pairs), |spot, store| {
            match spot.record_mut() {
                Some(record) if record.kind() != ValueKind::Hash => Err(ReplyError::WrongType),
                Some(record) => Ok(hash::set(record, &fields, stamp, &store.graveyard)),
                None if pairs.is_empty() => Ok(0),
                None => {
                    let (record, added) = hash::create(key, &fields, &store.graveyard);
                    put(spot, record, store);
                    Ok(added)
                }
            }
        })?;
        if !pairs.is_empty() {
            self.tell(key);
        }
        Ok(added)
    }

    /// Removes fields of a hash, and the key with the last one; gives how many there were.
    ///
    /// # Errors
    /// Another type.
    pub fn hash_remove(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<usize, ReplyError> {
        let stamp = self.stamp;
        let removed = self.change(key, Touched::Fields(fields), |spot, store| {
            let Some(record) = spot.record_mut() else {
                return Ok(0);
            };
            read::hash(record, stamp)?;
            let removed = hash::remove(record, fields, stamp, &store.graveyard);
            if read::hash(record, stamp)?.stored() == 0 {
                remove(spot, store);
            }
            Ok(removed)
        })?;
        if removed > 0 {
            self.tell(key);
        }
        Ok(removed)
    }

    /// Sets or clears the expiry of fields that a hash has.
    pub fn hash_set_expiry(&mut self, key: &[u8], fields: &[&[u8]], at: Option<UnixMs>) {
        self.change(key, Touched::Fields(fields), |spot, _| {
            if let Some(record) = spot.record_mut() {
                for field in fields {
                    hash::set_expiry(record, field, at);
                }
            }
        });
        if !fields.is_empty() {
            self.tell(key);
        }
    }

    /// Removes a key; says whether there was one. A huge value is freed in slices, later.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.change(key, Touched::Key, remove);
        if removed {
            self.tell(key);
        }
        removed
    }

    /// Sets or clears the expiry of a key; says whether the key exists.
    pub fn set_expiry(&mut self, key: &[u8], at: Option<UnixMs>) -> bool {
        let exists = self.change(key, Touched::Key, |spot, _| {
            let record = spot.record_mut();
            record.map(|record| record.set_expiry(at)).is_some()
        });
        if exists {
            self.tell(key);
        }
        exists
    }

    /// Removes a key if it is due, or else at most so many of its fields that are; gives how many
    /// were removed.
    pub fn expire(&mut self, key: &[u8], most: usize) -> usize {
        let Some(record) = self.stored(key) else {
            return 0;
        };
        if is_due(record, self.stamp) {
            self.change(key, Touched::Key, |_, _| ());
            return 1;
        }
        let (stamp, due) = (self.stamp, hash::due(record, self.stamp, 0));
        let fields = hash::due_fields(record, stamp, most);
        if fields.is_empty() {
            // Those of a small hash go with any change.
            self.change(key, Touched::Key, |_, _| ());
            return due;
        }
        let names: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        self.change(key, Touched::Fields(&names), |spot, store| {
            if let Some(record) = spot.record_mut() {
                hash::remove(record, &names, stamp, &store.graveyard);
            }
        });
        self.tell(key);
        self.store.events.count_expired(0, names.len() as u64);
        self.note(Class::Hash, "hexpired", key);
        names.len()
    }
}

/// Of a hash that goes as a whole no more fields are counted than this.
const ALL_FIELDS_COUNTED: usize = 1 << 20;

/// What is told of what has expired.
type Told = &'static [(Class, &'static str)];

/// Removes what is due of a place: the key, or fields of a small hash; gives what is to be told.
fn expire(spot: &mut Spot<'_>, stamp: UnixMs, store: &Store) -> Told {
    const KEY: Told = &[(Class::Expired, "expired")];
    const FIELDS: Told = &[(Class::Hash, "hexpired")];
    const ALL_FIELDS: Told = &[(Class::Hash, "hexpired"), (Class::Generic, "del")];
    let Some(record) = spot.record_mut() else {
        return &[];
    };
    if is_due(record, stamp) {
        let by_key = record.expiry().is_some_and(|at| stamp > at);
        if by_key {
            store.events.count_expired(1, 0);
        } else {
            let fields = hash::due(record, stamp, ALL_FIELDS_COUNTED);
            store.events.count_expired(0, fields as u64);
        }
        remove(spot, store);
        return if by_key { KEY } else { ALL_FIELDS };
    }
    let fields = hash::purge(record, stamp);
    if fields > 0 {
        store.events.count_expired(0, fields as u64);
        return FIELDS;
    }
    &[]
}

pub(super) fn put(spot: &mut Spot<'_>, record: Record, store: &Store) {
    if let Some(old) = spot.put(record) {
        store.discard(old);
    }
}

fn remove(spot: &mut Spot<'_>, store: &Store) -> bool {
    let record = spot.remove();
    record.map(|record| store.discard(record)).is_some()
}

fn check(bytes: &[u8], what: &'static str, limit: usize) -> Result<(), ReplyError> {
    if bytes.len() > limit {
        return Err(ReplyError::TooLong { what, limit });
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), ReplyError> {
    check(key, "key", limits::KEY_BYTES)
}

fn check_value(value: &[u8]) -> Result<(), ReplyError> {
    check(value, "value", limits::VALUE_BYTES)
}
