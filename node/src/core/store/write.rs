//! The verbs of a command that writes. Everything is checked before the first change.

use std::cell::RefCell;

use dashmap::RwLockWriteGuard;
use dht_proto::{ReplyError, limits};

use super::Store;
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
    store: &'a Store,
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
            watched,
            first,
            locked,
        }
    }

    /// Lends the tables to a command that reads.
    pub fn reading<R>(&self, read: impl FnOnce(&Read<'_>) -> R) -> R {
        read(&Read::lent(self.stamp, self.first, &|slot| {
            self.locked.table(slot)
        }))
    }

    /// Lends the tables, which are those of all slots, to a command about the whole keyspace.
    pub fn whole<R>(&mut self, slots: &SlotSet, work: impl FnOnce(&Whole<'_>) -> R) -> R {
        let whole = self.store.whole(slots, self.stamp, true);
        let locked = RefCell::new(&mut self.locked);
        let lend = |slot: u16, work: &mut dyn FnMut(&mut Table)| {
            work(locked.borrow_mut().table_mut(slot));
        };
        work(&whole.telling(self.watched).in_tables(&lend))
    }

    /// Whether a key is due and still there.
    #[must_use]
    pub fn is_due(&self, key: &[u8]) -> bool {
        let key = self.first.or_new(key);
        let table = self.locked.table(key.slot());
        table::find(table, key.hash(), key.bytes()).is_some_and(|record| is_due(record, self.stamp))
    }

    /// Tells who watches a key that it was changed.
    fn tell(&self, key: &[u8]) {
        if let Some(watched) = self.watched {
            watched.touch(key);
        }
    }

    fn live(&self, key: &[u8]) -> Option<&Record> {
        self.locked.live(self.first.or_new(key), self.stamp)
    }

    /// Removes what is due at the key, lets `change` work on its place, and keeps the counters.
    /// An open snapshot is told what is about to be touched.
    fn change<R>(
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
        let was_volatile = is_volatile(&spot);
        if was_volatile
            && spot
                .record()
                .is_some_and(|record| is_due(record, self.stamp))
        {
            remove(&mut spot, self.store);
            self.watched
                .into_iter()
                .for_each(|watched| watched.touch(key.bytes()));
        }
        let result = change(&mut spot, self.store);
        if is_covered {
            snapshots.after(key, spot.record(), touched);
        }
        // The counters lie elsewhere in memory; most changes leave them alone.
        let is_volatile = is_volatile(&spot);
        if spot.table_len() != keys || is_volatile != was_volatile {
            let counts = &self.store.counts[usize::from(key.slot())];
            counts.update(spot.table_len(), was_volatile, is_volatile);
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
        self.live(key).map(read::hash).transpose()
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

    /// Sets fields of a hash, made when absent; gives how many are new. Nothing changes on an
    /// error.
    ///
    /// # Errors
    /// Another type; a key, field or value longer than its limit.
    pub fn hash_set(&mut self, key: &[u8], pairs: &[(&[u8], &[u8])]) -> Result<usize, ReplyError> {
        check_key(key)?;
        for (field, value) in pairs {
            check(field, "field", limits::FIELD_BYTES)?;
            check_value(value)?;
        }
        let added = self.change(key, Touched::Pairs(pairs), |spot, store| {
            match spot.record_mut() {
                Some(record) if record.kind() != ValueKind::Hash => Err(ReplyError::WrongType),
                Some(record) => Ok(hash::set(record, pairs, &store.graveyard)),
                None if pairs.is_empty() => Ok(0),
                None => {
                    let (record, added) = hash::create(key, pairs, &store.graveyard);
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
        let removed = self.change(key, Touched::Fields(fields), |spot, store| {
            let Some(record) = spot.record_mut() else {
                return Ok(0);
            };
            read::hash(record)?;
            let removed = hash::remove(record, fields, &store.graveyard);
            if read::hash(record)?.is_empty() {
                remove(spot, store);
            }
            Ok(removed)
        })?;
        if removed > 0 {
            self.tell(key);
        }
        Ok(removed)
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

    /// Removes a key if it is due; says whether it was.
    pub fn expire(&mut self, key: &[u8]) -> bool {
        let before = self.locked.table(self.first.or_new(key).slot()).len();
        self.change(key, Touched::Key, |spot, _| spot.table_len() < before)
    }
}

fn put(spot: &mut Spot<'_>, record: Record, store: &Store) {
    if let Some(old) = spot.put(record) {
        store.discard(old);
    }
}

fn remove(spot: &mut Spot<'_>, store: &Store) -> bool {
    let record = spot.remove();
    record.map(|record| store.discard(record)).is_some()
}

fn is_volatile(spot: &Spot<'_>) -> bool {
    spot.record()
        .is_some_and(|record| record.expiry().is_some())
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
