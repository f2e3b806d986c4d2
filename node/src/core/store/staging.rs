//! A copy of some slots that is being received: tables off to the side, which take the place of
//! the store's once they are whole.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::BytesMut;
use dht_proto::frame::Malformed;
use dht_proto::image::{Head, Item};

use super::graveyard::Graveyard;
use super::key::Key;
use super::large::LargeHash;
use super::record::{INLINE_BYTES, Record, ValueMut};
use super::table::{self, Spot, Table};
use super::{Store, Volatile, hash};
use crate::core::time::UnixMs;

/// What is reserved for a long value before its bytes are there.
const RESERVED_BYTES: usize = 1024 * 1024;

/// Slots that are being received.
pub struct Staging {
    slots: RangeInclusive<u16>,
    /// By slot, from the first one on.
    tables: Vec<Staged>,
    phase: Phase,
    keys: usize,
    /// By key: the fields that large hashes still lack.
    lacking: BTreeMap<Box<[u8]>, usize>,
}

#[derive(Default)]
struct Staged {
    table: Table,
    volatile: Volatile<u32>,
}

enum Phase {
    /// Nothing has come.
    Empty,
    /// Between two keys, or two parts of hashes.
    Items,
    /// In a long value.
    Long(Long),
    /// The end has come.
    Over,
}

/// A long value that is being received.
struct Long {
    key: Box<[u8]>,
    expiry: Option<UnixMs>,
    /// The field of a large hash, its expiry, and how many fields the hash has.
    field: Option<(Box<[u8]>, Option<UnixMs>, usize)>,
    len: usize,
    bytes: BytesMut,
}

impl Staging {
    /// Room for these slots.
    #[must_use]
    pub fn new(slots: RangeInclusive<u16>) -> Self {
        Self {
            tables: slots.clone().map(|_| Staged::default()).collect(),
            slots,
            phase: Phase::Empty,
            keys: 0,
            lacking: BTreeMap::new(),
        }
    }

    /// Whether everything has come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes the next chunk: what one or more steps of a snapshot have appended, in their order.
    ///
    /// # Errors
    /// It is not that. What has come is of no use then; give it to [`Store::discard_staging`].
    pub fn load(&mut self, mut chunk: &[u8]) -> Result<(), Malformed> {
        while !chunk.is_empty() {
            let item = Item::decode(&mut chunk)?;
            let phase = std::mem::replace(&mut self.phase, Phase::Items);
            self.phase = self.take(phase, item)?;
        }
        Ok(())
    }

    fn take(&mut self, phase: Phase, item: Item<'_>) -> Result<Phase, Malformed> {
        match (phase, item) {
            (Phase::Empty, Item::Begin(slots)) if slots == self.slots => Ok(Phase::Items),
            (Phase::Empty, Item::Begin(_)) => Err(Malformed("the image is of other slots")),
            (Phase::Items, Item::String(head, value)) => {
                self.add(Record::string(head.key, head.expiry, value))
            }
            (Phase::Items, Item::Hash(head, fields)) => {
                let fields = hash::to_set(&fields);
                // Nothing is replaced in a new hash, or else it is refused.
                let (mut record, added) = hash::create(head.key, &fields, &Graveyard::new());
                record.set_expiry(head.expiry);
                if added < fields.len() {
                    return Err(Malformed("a field comes twice"));
                }
                self.add(record)
            }
            (Phase::Items, Item::Part(head, count, fields)) => {
                let records = fields.iter();
                let records = records.map(|(field, value, at)| Record::string(field, *at, value));
                self.add_fields(head, count, records)
            }
            (Phase::Items, Item::Long(head, len)) => Ok(Phase::Long(Long::new(head, None, len))),
            (Phase::Items, Item::LongField(head, fields, (field, at), len)) => {
                let field = Some((field.into(), at, fields));
                Ok(Phase::Long(Long::new(head, field, len)))
            }
            (Phase::Long(long), Item::More(bytes)) => self.add_bytes(long, bytes),
            (Phase::Items, Item::End(keys)) if keys == self.keys && self.lacking.is_empty() => {
                Ok(Phase::Over)
            }
            (Phase::Items, Item::End(_)) => Err(Malformed("the image lacks a part")),
            _ => Err(Malformed("an item in a place where it has no meaning")),
        }
    }

    /// The table of a key's slot.
    fn staged(&mut self, key: Key<'_>) -> Result<&mut Staged, Malformed> {
        let index = key.slot().checked_sub(*self.slots.start());
        let staged = index.and_then(|index| self.tables.get_mut(usize::from(index)));
        staged.ok_or(Malformed("a key of another slot"))
    }

    fn add(&mut self, record: Record) -> Result<Phase, Malformed> {
        let key = Key::new(record.key());
        let hash = key.hash();
        let staged = self.staged(key)?;
        if table::find(&staged.table, hash, record.key()).is_some() {
            return Err(Malformed("a key comes twice"));
        }
        staged.volatile.keys += u32::from(record.expiry().is_some());
        staged.volatile.fields += u32::from(hash::is_timed(&record));
        table::insert(&mut staged.table, hash, record);
        self.keys += 1;
        Ok(Phase::Items)
    }

    fn add_fields(
        &mut self,
        head: Head<'_>,
        fields: usize,
        records: impl Iterator<Item = Record>,
    ) -> Result<Phase, Malformed> {
        let key = Key::new(head.key);
        if !self.lacking.contains_key(head.key) {
            self.add(Record::large(head.key, head.expiry, LargeHash::new()))?;
            self.lacking.insert(head.key.into(), fields);
        }
        let staged = self.staged(key)?;
        let mut spot = Spot::find(&mut staged.table, key.hash(), head.key);
        let record = spot.record_mut();
        let record = record.filter(|record| record.expiry() == head.expiry);
        let Some(ValueMut::Large(hash)) = record.map(Record::value_mut) else {
            return Err(Malformed("two parts of a hash differ in its expiry"));
        };
        let was_timed = hash.is_timed();
        for record in records {
            if hash.put(record).is_some() {
                return Err(Malformed("a field comes twice"));
            }
        }
        staged.volatile.fields += u32::from(hash.is_timed() && !was_timed);
        let lacks = fields.checked_sub(hash.len());
        match lacks.ok_or(Malformed("a hash has more fields than it should"))? {
            0 => self.lacking.remove(head.key),
            lacks => self.lacking.insert(head.key.into(), lacks),
        };
        Ok(Phase::Items)
    }

    fn add_bytes(&mut self, mut long: Long, bytes: &[u8]) -> Result<Phase, Malformed> {
        long.bytes.extend_from_slice(bytes);
        if long.bytes.len() < long.len {
            return Ok(Phase::Long(long));
        }
        if long.bytes.len() > long.len {
            return Err(Malformed("a long value has more bytes than it should"));
        }
        let Long {
            key,
            expiry,
            field,
            bytes,
            ..
        } = long;
        let head = Head { key: &key, expiry };
        match field {
            Some((field, at, fields)) => {
                let record = string(&field, at, bytes);
                self.add_fields(head, fields, [record].into_iter())
            }
            None => self.add(string(&key, expiry, bytes)),
        }
    }
}

impl Long {
    fn new(head: Head<'_>, field: Option<(Box<[u8]>, Option<UnixMs>, usize)>, len: usize) -> Self {
        Self {
            key: head.key.into(),
            expiry: head.expiry,
            field,
            len,
            bytes: BytesMut::with_capacity(len.min(RESERVED_BYTES)),
        }
    }
}

/// A string of any length.
fn string(key: &[u8], expiry: Option<UnixMs>, value: BytesMut) -> Record {
    if value.len() > INLINE_BYTES {
        Record::shared(key, expiry, value.freeze())
    } else {
        Record::string(key, expiry, &value)
    }
}

impl Store {
    /// Puts what was received in the place of what the slots hold, slot by slot. What they held is
    /// freed in slices, later. An open snapshot of them goes on with the old data.
    ///
    /// # Errors
    /// Not everything has come; nothing has changed then.
    pub fn install(&self, staging: Staging) -> Result<(), Malformed> {
        if !staging.is_over() {
            self.discard_staging(staging);
            return Err(Malformed("the image has no end"));
        }
        for (slot, staged) in staging.slots.zip(staging.tables) {
            if !staged.table.is_empty() || self.keys_in_slot(slot) > 0 {
                self.replace_slot(slot, staged.table, staged.volatile);
            }
        }
        Ok(())
    }

    /// Frees what was received, in slices, later.
    pub fn discard_staging(&self, staging: Staging) {
        for staged in staging.tables {
            self.graveyard.bury_table(staged.table);
        }
    }

    /// Removes all keys of these slots; memory is freed in slices, later. An open snapshot of them
    /// goes on with the old data.
    pub fn clear(&self, slots: RangeInclusive<u16>) {
        for slot in slots.filter(|slot| self.keys_in_slot(*slot) > 0) {
            self.replace_slot(slot, Table::new(), Volatile::default());
        }
    }
}
