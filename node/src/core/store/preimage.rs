//! What an open snapshot has still to say: a shard as it was at one point, while it changes.
//!
//! A walk visits the keys in the order of their positions. What it has not passed is in the live
//! tables, except for what was changed since the point: of that a copy was made *before* the first
//! change, or note was taken that there was nothing, and the walk skips it. A large hash is not
//! copied but has a walk of its own over its fields, under the same rule. What is removed as a
//! whole,
//! a large hash or the table of a slot, is not freed but kept, and the walk goes on in it.
//!
//! Is told of every change under the exclusive lock of the key's slot, and walks under the shared
//! one. Knows nothing of locks and of other snapshots.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use dht_proto::image::{Fields, Head, Item};

use super::graveyard::Graveyard;
use super::key::{Key, table_hash};
use super::large::{self, CHUNK_FIELDS, LargeHash};
use super::packed;
use super::record::{Record, Value};
use super::scan::{self, Cursor};
use super::table::{self, Spot, Table};
use crate::core::mutation::{self, Mutation};
use crate::core::time::UnixMs;

/// Keys that the walk visits at once, at most and at least.
const MOST_KEYS: usize = 512;
const LEAST_KEYS: usize = 16;
/// The bytes of a key that the walk reckons with.
const KEY_BYTES: usize = 64;
/// What a note costs besides its name.
const NOTE_BYTES: usize = 32;

/// What of a key is about to change.
#[derive(Clone, Copy)]
pub(super) enum Touched<'a> {
    /// The value as a whole, or the expiry.
    Key,
    /// These fields of a hash are set.
    Pairs(&'a [(&'a [u8], &'a [u8])]),
    /// These fields of a hash are removed.
    Fields(&'a [&'a [u8]]),
}

impl<'a> Touched<'a> {
    fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        let (pairs, fields) = match self {
            Self::Key => (&[][..], &[][..]),
            Self::Pairs(pairs) => (pairs, &[][..]),
            Self::Fields(fields) => (&[][..], fields),
        };
        let set = pairs.iter().map(|(field, _)| *field);
        set.chain(fields.iter().copied())
    }
}

/// What the snapshot is to do next.
pub(super) enum Task {
    /// Nothing: the chunk is full.
    Full,
    /// To go on in this slot.
    Visit(u16),
    /// To end.
    End,
}

/// Where a chunk goes, and how long it may be.
pub(super) struct Chunk<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) end: usize,
}

impl Chunk<'_> {
    fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }
}

/// The state of a shard at one point, as far as it has not been streamed.
pub(super) struct Preimage {
    last_slot: u16,
    /// Where the walk over the keys is.
    cursor: Cursor,
    /// Keys streamed whole.
    keys: usize,
    /// The rest of a long value, of which the beginning has been streamed.
    long: Bytes,
    /// Copies made before the first change, and what did not fit in a chunk.
    copies: Copies,
    /// By slot: keys ahead of the walk that changed since the point and are there.
    handled: BTreeMap<u16, Names>,
    /// By key: large hashes that have begun to be streamed or to change.
    sliced: BTreeMap<Box<[u8]>, Sliced>,
    /// Tables that were removed whole.
    removed: BTreeMap<u16, Arc<Table>>,
}

impl Preimage {
    pub(super) fn new(slots: &RangeInclusive<u16>) -> Self {
        Self {
            last_slot: *slots.end(),
            cursor: Cursor::at_slot(*slots.start()),
            keys: 0,
            long: Bytes::new(),
            copies: Copies::default(),
            handled: BTreeMap::new(),
            sliced: BTreeMap::new(),
            removed: BTreeMap::new(),
        }
    }

    /// Bytes that are held because of changes since the point. Tables and large hashes that were
    /// removed whole do not count: they are as big as when they were in use.
    pub(super) fn held_bytes(&self) -> usize {
        let handled: usize = self.handled.values().map(|names| names.bytes).sum();
        let sliced: usize = self.sliced.values().map(Sliced::held_bytes).sum();
        self.copies.bytes + handled + sliced
    }

    /// A key is about to change from `record`.
    pub(super) fn before(&mut self, key: Key<'_>, record: Option<&Record>, touched: Touched<'_>) {
        if self.removed.contains_key(&key.slot()) || mutation::is(Mutation::LateCopy) {
            return;
        }
        if let Some(sliced) = self.live_sliced(key) {
            if let Some(Value::Large(hash)) = record.map(Record::value) {
                sliced.before(hash, touched);
            }
            return;
        }
        let passed = self
            .cursor
            .has_passed(key.slot(), scan::position_of_hash(key.hash()));
        if passed || !self.note(key) {
            return;
        }
        let Some(record) = record else { return };
        if let Value::Large(hash) = record.value() {
            let mut sliced = Sliced::new(key.slot(), record.expiry(), hash);
            sliced.before(hash, touched);
            self.sliced.insert(key.bytes().into(), sliced);
        } else {
            self.copies.extend(record.copy());
        }
    }

    /// A key has changed to `record`: a note of what is not there is of no use.
    pub(super) fn after(&mut self, key: Key<'_>, record: Option<&Record>, touched: Touched<'_>) {
        if self.removed.contains_key(&key.slot()) {
            return;
        }
        match record.map(Record::value) {
            None => {
                if let Some(handled) = self.handled.get_mut(&key.slot()) {
                    handled.remove(key.hash(), key.bytes());
                }
            }
            Some(Value::Large(hash)) => {
                if let Some(sliced) = self.live_sliced(key) {
                    sliced.after(hash, touched);
                }
            }
            Some(_) => {}
        }
    }

    /// The walk over a large hash that is the key's value now.
    fn live_sliced(&mut self, key: Key<'_>) -> Option<&mut Sliced> {
        let sliced = self.sliced.get_mut(key.bytes());
        sliced.filter(|sliced| sliced.removed.is_none())
    }

    fn note(&mut self, key: Key<'_>) -> bool {
        let handled = self.handled.entry(key.slot()).or_default();
        handled.insert(key.hash(), key.bytes())
    }

    /// A large hash was removed or replaced; keeps it if it is needed.
    pub(super) fn keep_record(&mut self, key: Key<'_>, record: &Arc<Record>) {
        if !self.removed.contains_key(&key.slot())
            && let Some(sliced) = self.live_sliced(key)
        {
            sliced.removed = Some(Arc::clone(record));
        }
    }

    /// The table of a slot was removed; keeps it if it is needed.
    pub(super) fn keep_table(&mut self, slot: u16, table: &Arc<Table>) {
        let is_ahead = slot >= self.cursor.slot || self.sliced.values().any(|s| s.slot == slot);
        if is_ahead {
            let table = || Arc::clone(table);
            self.removed.entry(slot).or_insert_with(table);
        }
    }

    /// Streams what needs no slot; says what needs one.
    pub(super) fn drain(&mut self, chunk: &mut Chunk<'_>, graveyard: &Graveyard) -> Task {
        while chunk.room() > 0 {
            if !self.long.is_empty() {
                let bytes = self.long.split_to(self.long.len().min(chunk.room()));
                Item::More(&bytes).encode(chunk.out);
            } else if let Some(record) = self.copies.pop() {
                self.long = write_record(&record, chunk.out);
                self.keys += 1;
            } else if let Some(sliced) = self.sliced.values().next() {
                return Task::Visit(sliced.slot);
            } else {
                self.give_back(graveyard);
                let is_over = self.cursor.slot > self.last_slot;
                return if is_over {
                    Task::End
                } else {
                    Task::Visit(self.cursor.slot)
                };
            }
        }
        Task::Full
    }

    /// Whether nothing of the slot to which the walk came is needed, when it has no key now.
    pub(super) fn skip(&mut self, slot: u16, graveyard: &Graveyard) -> bool {
        let is_empty = self.sliced.is_empty() && !self.removed.contains_key(&slot);
        if is_empty {
            self.pass_slot(graveyard);
        }
        is_empty
    }

    /// Goes on in a slot; says how many records it looked at.
    pub(super) fn visit(
        &mut self,
        slot: u16,
        live: &Table,
        chunk: &mut Chunk<'_>,
        graveyard: &Graveyard,
    ) -> usize {
        let removed = self.removed.get(&slot).cloned();
        let table = removed.as_deref().unwrap_or(live);
        if self.sliced.is_empty() {
            return self.walk(table, chunk, graveyard);
        }
        let Some(mut entry) = self.sliced.first_entry() else {
            return 1;
        };
        if entry.get().slot != slot {
            return 1;
        }
        let key = entry.key().clone();
        let (looked_at, long) = entry.get_mut().step(&key, table, chunk);
        self.long = long;
        if entry.get().is_over() {
            entry.remove().bury(graveyard);
            self.keys += 1;
        }
        looked_at
    }

    /// Walks over some keys of the cursor's slot.
    fn walk(&mut self, table: &Table, chunk: &mut Chunk<'_>, graveyard: &Graveyard) -> usize {
        let Self {
            handled,
            copies,
            sliced,
            keys,
            cursor,
            ..
        } = self;
        let handled = handled.get(&cursor.slot);
        let count = (chunk.room() / KEY_BYTES).clamp(LEAST_KEYS, MOST_KEYS);
        let mut looked_at = 1;
        let next = scan::step(table, cursor.position, count, &mut |record| {
            looked_at += 1;
            if handled.is_some_and(|names| names.contains(record)) {
                return;
            }
            match record.value() {
                Value::Large(hash) => {
                    let walk = Sliced::new(cursor.slot, record.expiry(), hash);
                    sliced.insert(record.key().into(), walk);
                }
                Value::Inline(_) | Value::Packed(_) if chunk.room() > 0 => {
                    write_record(record, chunk.out);
                    *keys += 1;
                }
                _ => copies.extend(record.copy()),
            }
        });
        match next {
            Some(position) => cursor.position = position,
            None => self.pass_slot(graveyard),
        }
        looked_at
    }

    fn pass_slot(&mut self, graveyard: &Graveyard) {
        if let Some(names) = self.handled.remove(&self.cursor.slot) {
            graveyard.bury_table(names.table);
        }
        self.cursor = Cursor::at_slot(self.cursor.slot + 1);
    }

    /// Gives the tables back that were kept for the walk and are behind it.
    fn give_back(&mut self, graveyard: &Graveyard) {
        while let Some(entry) = self.removed.first_entry()
            && *entry.key() < self.cursor.slot
        {
            bury_shared_table(entry.remove(), graveyard);
        }
    }

    /// Streams the end.
    pub(super) fn write_end(&self, chunk: &mut Chunk<'_>) {
        Item::End(self.keys).encode(chunk.out);
    }

    /// Frees all, later.
    pub(super) fn bury(self, graveyard: &Graveyard) {
        graveyard.bury_all(self.copies.records);
        for names in self.handled.into_values() {
            graveyard.bury_table(names.table);
        }
        for sliced in self.sliced.into_values() {
            sliced.bury(graveyard);
        }
        for table in self.removed.into_values() {
            bury_shared_table(table, graveyard);
        }
    }
}

/// The last snapshot that kept a table frees it.
fn bury_shared_table(table: Arc<Table>, graveyard: &Graveyard) {
    if let Some(table) = Arc::into_inner(table) {
        graveyard.bury_table(table);
    }
}

/// Appends a record that is no large hash; gives the bytes that have to follow.
fn write_record(record: &Record, out: &mut Vec<u8>) -> Bytes {
    let head = Head {
        key: record.key(),
        expiry: record.expiry(),
    };
    match record.value() {
        Value::Inline(value) => Item::String(head, value).encode(out),
        Value::Packed(body) => Item::Hash(head, packed::Fields::new(body).collect()).encode(out),
        Value::Shared(value) => {
            Item::Long(head, value.len()).encode(out);
            return value.clone();
        }
        Value::Large(_) => unreachable!("a large hash is streamed in parts"),
    }
    Bytes::new()
}

/// Copies, with the expiries that are in them.
fn timed(copies: &[Record]) -> impl Iterator<Item = (&Record, Option<UnixMs>)> {
    copies.iter().map(|record| (record, record.expiry()))
}

/// A large hash at the point, as far as it has not been streamed.
struct Sliced {
    slot: u16,
    expiry: Option<UnixMs>,
    /// Number of fields at the point.
    fields: usize,
    /// Fields before this position have been streamed; nothing when all have.
    next: Option<u64>,
    /// Copies of fields, as for keys.
    copies: Copies,
    /// Fields ahead of `next` that changed since the point and are there.
    handled: Names,
    /// The hash, if it is no longer the value of the key in its slot's table.
    removed: Option<Arc<Record>>,
}

impl Sliced {
    fn new(slot: u16, expiry: Option<UnixMs>, hash: &LargeHash) -> Self {
        Self {
            slot,
            expiry,
            fields: hash.len(),
            next: Some(0),
            copies: Copies::default(),
            handled: Names::default(),
            removed: None,
        }
    }

    fn held_bytes(&self) -> usize {
        self.copies.bytes + self.handled.bytes
    }

    fn is_over(&self) -> bool {
        self.next.is_none() && self.copies.records.is_empty()
    }

    fn before(&mut self, hash: &LargeHash, touched: Touched<'_>) {
        let Some(next) = self.next else { return };
        for field in touched.fields() {
            let field_hash = table_hash(field);
            let is_ahead = large::position_of_hash(field_hash) >= next;
            if is_ahead && self.handled.insert(field_hash, field) {
                let found = hash.get(field);
                let copy = found.and_then(|(record, expiry)| record.copy_with(expiry));
                self.copies.extend(copy);
            }
        }
    }

    fn after(&mut self, hash: &LargeHash, touched: Touched<'_>) {
        if self.handled.table.is_empty() {
            return;
        }
        for field in touched.fields().filter(|field| hash.get(field).is_none()) {
            self.handled.remove(table_hash(field), field);
        }
    }

    /// Streams some fields; gives how many it looked at, and the bytes that have to follow.
    fn step(&mut self, key: &[u8], table: &Table, chunk: &mut Chunk<'_>) -> (usize, Bytes) {
        let expiry = self.expiry;
        let head = Head { key, expiry };
        if !self.copies.records.is_empty() {
            return self.write_copies(head, chunk);
        }
        let removed = self.removed.clone();
        let record = removed.as_deref();
        let record = record.or_else(|| table::find(table, Key::new(key).hash(), key));
        let Some(Value::Large(hash)) = record.map(Record::value) else {
            unreachable!("a large hash that is replaced is kept");
        };
        (self.walk(head, hash, chunk), Bytes::new())
    }

    /// Streams copies: as many short values as there is room for, or a long one.
    fn write_copies(&mut self, head: Head<'_>, chunk: &mut Chunk<'_>) -> (usize, Bytes) {
        let mut written = Vec::new();
        let mut bytes = 0;
        while bytes < chunk.room()
            && let Some(record) = self.copies.pop()
        {
            if let Value::Shared(value) = record.value() {
                let field = (record.key(), record.expiry());
                let long = Item::LongField(head, self.fields, field, value.len());
                self.write_part(head, timed(&written), chunk);
                long.encode(chunk.out);
                return (written.len() + 1, value.clone());
            }
            bytes += record.size();
            written.push(record);
        }
        self.write_part(head, timed(&written), chunk);
        (written.len(), Bytes::new())
    }

    /// Streams fields of the hash itself.
    fn walk(&mut self, head: Head<'_>, hash: &LargeHash, chunk: &mut Chunk<'_>) -> usize {
        let Some(from) = self.next else { return 1 };
        let mut looked_at = 1;
        let mut written = Vec::new();
        let mut bytes = 0;
        let next = hash.scan(from, CHUNK_FIELDS, &mut |record, expiry| {
            looked_at += 1;
            if self.handled.contains(record) {
                return;
            }
            if bytes >= chunk.room() || matches!(record.value(), Value::Shared(_)) {
                self.copies.extend(record.copy_with(expiry));
            } else {
                bytes += record.size();
                written.push((record, expiry));
            }
        });
        self.next = Some(next).filter(|next| *next > 0);
        self.write_part(head, written.into_iter(), chunk);
        looked_at
    }

    fn write_part<'r>(
        &self,
        head: Head<'_>,
        records: impl Iterator<Item = (&'r Record, Option<UnixMs>)>,
        chunk: &mut Chunk<'_>,
    ) {
        let field = |(record, expiry): (&'r Record, _)| match record.value() {
            Value::Inline(value) => Some((record.key(), value, expiry)),
            _ => None,
        };
        let fields: Fields<'_> = records.filter_map(field).collect();
        if !fields.is_empty() {
            Item::Part(head, self.fields, fields).encode(chunk.out);
        }
    }

    fn bury(self, graveyard: &Graveyard) {
        graveyard.bury_all(self.copies.records);
        graveyard.bury_table(self.handled.table);
        if let Some(record) = self.removed.and_then(Arc::into_inner) {
            graveyard.bury(record);
        }
    }
}

/// Records that wait to be streamed.
#[derive(Default)]
struct Copies {
    records: Vec<Record>,
    bytes: usize,
}

impl Copies {
    fn extend(&mut self, record: Option<Record>) {
        if let Some(record) = record {
            self.bytes += record.size();
            self.records.push(record);
        }
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop()?;
        self.bytes -= record.size();
        Some(record)
    }
}

/// A set of keys or fields.
#[derive(Default)]
struct Names {
    /// Records without values.
    table: Table,
    bytes: usize,
}

impl Names {
    /// Adds a name; says whether it is new.
    fn insert(&mut self, hash: u64, name: &[u8]) -> bool {
        let is_new = table::find(&self.table, hash, name).is_none();
        if is_new {
            table::insert(&mut self.table, hash, Record::string(name, None, b""));
            self.bytes += name.len() + NOTE_BYTES;
        }
        is_new
    }

    fn remove(&mut self, hash: u64, name: &[u8]) {
        if Spot::find(&mut self.table, hash, name).remove().is_some() {
            self.bytes -= name.len() + NOTE_BYTES;
        }
    }

    fn contains(&self, record: &Record) -> bool {
        let is_in = |hash| table::find(&self.table, hash, record.key()).is_some();
        !self.table.is_empty() && is_in(table::hash_of(record))
    }
}
