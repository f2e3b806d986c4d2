//! The verbs of a command that reads, and what it means that a key is due.

use std::cell::Cell;
use std::ops::Deref;

use dashmap::RwLockReadGuard;
use dht_proto::{Reply, ReplyError, limits};
use smallvec::SmallVec;

use super::hash::{self, HashRef};
use super::key::Key;
use super::large;
use super::record::Record;
use super::string::StringRef;
use super::table::{self, Table};
use crate::core::random::Random;
use crate::core::rest::{Found, Rest};
use crate::core::time::UnixMs;

/// Fields, or keys, that are copied within a fraction of a millisecond, while a slot is locked.
pub const LONG_FIELDS: usize = limits::SCAN_COUNT;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A plain string.
    String,
    /// A hash.
    Hash,
}

/// Whether a record has ceased to exist: as in Redis, when its time has passed, not when it is
/// reached; or when that of all its fields has.
pub(super) fn is_due(record: &Record, stamp: UnixMs) -> bool {
    large::is_due(record.expiry(), stamp) || hash::is_due(record, stamp)
}

/// The string of a record.
pub(super) fn string(record: &Record) -> Result<StringRef<'_>, ReplyError> {
    StringRef::of(record).ok_or(ReplyError::WrongType)
}

/// The hash of a record at a time.
pub(super) fn hash(record: &Record, stamp: UnixMs) -> Result<HashRef<'_>, ReplyError> {
    HashRef::at(record, Moment::sure(stamp), None).ok_or(ReplyError::WrongType)
}

/// The locked tables of a command by slot, ascending.
pub(super) struct Locked<G>(SmallVec<[(u16, G); 1]>);

impl<G: Deref<Target = Table>> Locked<G> {
    pub(super) fn new(slots: &[u16], lock: impl Fn(u16) -> G) -> Self {
        Self(slots.iter().map(|slot| (*slot, lock(*slot))).collect())
    }

    fn index(&self, slot: u16) -> usize {
        if let [(only, _)] = &self.0[..]
            && *only == slot
        {
            return 0;
        }
        self.0
            .binary_search_by_key(&slot, |(slot, _)| *slot)
            .unwrap_or_else(|_| unreachable!("a command uses only the keys that it names"))
    }

    /// The table of a slot.
    pub(super) fn table(&self, slot: u16) -> &Table {
        &self.0[self.index(slot)].1
    }

    /// The table of a slot, to be changed.
    pub(super) fn table_mut(&mut self, slot: u16) -> &mut Table
    where
        G: std::ops::DerefMut,
    {
        let index = self.index(slot);
        &mut self.0[index].1
    }

    /// The record of a key that is not due.
    pub(super) fn live(&self, key: Key<'_>, stamp: UnixMs) -> Option<&Record> {
        live(self.table(key.slot()), key, stamp)
    }
}

/// The record of a key of this table, if it is not due.
fn live<'t>(table: &'t Table, key: Key<'_>, stamp: UnixMs) -> Option<&'t Record> {
    let record = table::find(table, key.hash(), key.bytes())?;
    (!is_due(record, stamp)).then_some(record)
}

/// When a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock: what is due by it, clients shall not see.
    pub wall: UnixMs,
    /// By the entries applied: what is due by it has ceased to exist, on every replica. It is at
    /// `wall` where a node is alone.
    pub shard: UnixMs,
}

impl Moment {
    /// A moment of which no clock says anything else.
    #[must_use]
    pub const fn sure(stamp: UnixMs) -> Self {
        Self {
            wall: stamp,
            shard: stamp,
        }
    }
}

/// Reads the keys of the command's slots.
pub struct Read<'a> {
    /// The command's time: what is due at it does not exist.
    pub stamp: UnixMs,
    /// The command's random seed.
    seed: Cell<u64>,
    shard_time: UnixMs,
    early: Cell<bool>,
    /// Keys that were there, and that were not.
    lookups: Cell<(u32, u32)>,
    rest: Cell<Option<Rest>>,
    first: Key<'a>,
    locked: Tables<'a>,
}

/// Where a command reads.
enum Tables<'a> {
    /// It has locked them.
    Own(Locked<RwLockReadGuard<'a, Table>>),
    /// They are locked for a transaction that it is a part of.
    Lent(&'a (dyn Fn(u16) -> &'a Table + 'a)),
}

impl<'a> Read<'a> {
    pub(super) fn new(
        moment: Moment,
        first: Key<'a>,
        locked: Locked<RwLockReadGuard<'a, Table>>,
    ) -> Self {
        Self {
            stamp: moment.wall.max(moment.shard),
            seed: Cell::new(0),
            shard_time: moment.shard,
            early: Cell::new(false),
            lookups: Cell::default(),
            rest: Cell::new(None),
            first,
            locked: Tables::Own(locked),
        }
    }

    /// Reads in tables that are locked by a writer.
    pub(super) fn lent(
        (stamp, seed): (UnixMs, u64),
        first: Key<'a>,
        tables: &'a (dyn Fn(u16) -> &'a Table + 'a),
    ) -> Self {
        Self {
            stamp,
            seed: Cell::new(seed),
            shard_time: stamp,
            early: Cell::new(false),
            lookups: Cell::default(),
            rest: Cell::new(None),
            first,
            locked: Tables::Lent(tables),
        }
    }

    /// The table of a key's slot.
    pub(super) fn table(&self, key: Key<'_>) -> &Table {
        match &self.locked {
            Tables::Own(locked) => locked.table(key.slot()),
            Tables::Lent(table) => table(key.slot()),
        }
    }

    /// How many of the keys that were read were there, and how many were not.
    #[must_use]
    pub fn lookups(&self) -> (u32, u32) {
        self.lookups.get()
    }

    pub(super) fn live(&self, key: &[u8]) -> Option<&Record> {
        let found = self.look_up(key);
        let (hits, misses) = self.lookups.get();
        let is_there = u32::from(found.is_some());
        self.lookups.set((hits + is_there, misses + 1 - is_there));
        found
    }

    pub(super) fn look_up(&self, key: &[u8]) -> Option<&Record> {
        let key = self.first.or_new(key);
        let record = live(self.table(key), key, self.shard_time)?;
        if is_due(record, self.stamp) {
            self.early.set(true);
            return None;
        }
        Some(record)
    }

    /// Whether a key was found that is due by the clock and not by the shard's time: what was read
    /// must not be shown, since a replica whose clock is behind would still have the key.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early.get()
    }

    /// Leaves the making of the reply for when no slot is locked, for which so many bytes are kept;
    /// gives what the handler has to return, which nobody sees.
    pub fn leave(&self, bytes: usize, make: impl Fn() -> Reply + Send + Sync + 'static) -> Reply {
        self.rest.set(Some(Rest::new(bytes, make)));
        Reply::Nil
    }

    /// Gives the command its random seed.
    pub fn sow(&self, seed: u64) {
        self.seed.set(seed);
    }

    /// Random numbers for the command.
    #[must_use]
    pub fn random(&self) -> Random {
        Random::new(self.seed.get())
    }

    /// What a handler that returned this has come to.
    #[must_use]
    pub fn found(&self, outcome: Result<Reply, ReplyError>) -> Found {
        match self.rest.take() {
            Some(rest) => Found::Rest(rest),
            None => outcome.unwrap_or_else(Reply::Error).into(),
        }
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
        self.live(key).map(string).transpose()
    }

    /// A hash.
    ///
    /// # Errors
    /// Another type.
    pub fn hash(&self, key: &[u8]) -> Result<Option<HashRef<'_>>, ReplyError> {
        let hash = self.live(key).map(|record| self.hash_of(record));
        hash.map(|hash| hash.ok_or(ReplyError::WrongType))
            .transpose()
    }

    /// The hash of a record that was looked up.
    pub(super) fn hash_of<'r>(&'r self, record: &'r Record) -> Option<HashRef<'r>> {
        let moment = Moment {
            wall: self.stamp,
            shard: self.shard_time,
        };
        HashRef::at(record, moment, Some(&self.early))
    }
}
