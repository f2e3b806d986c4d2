//! A copy of some slots that is being received: tables off to the side, which take the place of
//! the store's once they are whole.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use dht_proto::assembly::{Assembled, Assembly, Place, Value};
use dht_proto::frame::Malformed;
use dht_proto::image::Head;

use super::graveyard::Graveyard;
use super::key::Key;
use super::large::LargeHash;
use super::record::{INLINE_BYTES, Record, ValueMut};
use super::table::{self, Spot, Table};
use super::{Store, Volatile, hash};
use crate::core::time::UnixMs;

/// Slots that are being received.
pub struct Staging {
    image: Assembly,
    slots: Slots,
}

/// What has come of them.
struct Slots {
    range: RangeInclusive<u16>,
    /// By slot, from the first one on.
    tables: Vec<Staged>,
}

#[derive(Default)]
struct Staged {
    table: Table,
    volatile: Volatile<u32>,
}

impl Staging {
    /// Room for these slots.
    #[must_use]
    pub fn new(slots: RangeInclusive<u16>) -> Self {
        Self {
            image: Assembly::new(slots.clone()),
            slots: Slots {
                tables: slots.clone().map(|_| Staged::default()).collect(),
                range: slots,
            },
        }
    }

    /// Whether everything has come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.image.is_over()
    }

    /// Takes the next chunk: what one or more steps of a snapshot have appended, in their order.
    ///
    /// # Errors
    /// It is not that. What has come is of no use then; give it to [`Store::discard_staging`].
    pub fn load(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        let Self { image, slots } = self;
        image.take(chunk, |assembled| slots.take(assembled))
    }
}

impl Slots {
    fn take(&mut self, assembled: Assembled<'_>) -> Result<(), Malformed> {
        match assembled {
            Assembled::String(head, Value::Short(value)) => {
                self.add(Record::string(head.key, head.expiry, value))
            }
            Assembled::String(head, Value::Long(value)) => {
                self.add(string(head.key, head.expiry, value))
            }
            Assembled::Hash(head, fields) => {
                let fields = hash::to_set(&fields);
                // Nothing is replaced in a new hash, or else it is refused.
                let (mut record, added) = hash::create(head.key, &fields, &Graveyard::new());
                record.set_expiry(head.expiry);
                if added < fields.len() {
                    return Err(Malformed("a field comes twice"));
                }
                self.add(record)
            }
            Assembled::Part(head, place, fields) => {
                let records = fields.iter();
                let records =
                    records.map(|(field, value, at)| (Record::string(field, None, value), *at));
                self.add_fields(head, place, records)
            }
            Assembled::LongField(head, place, (field, at), value) => self.add_fields(
                head,
                place,
                std::iter::once((string(field, None, value), at)),
            ),
        }
    }

    /// The table of a key's slot.
    fn staged(&mut self, key: Key<'_>) -> Result<&mut Staged, Malformed> {
        let index = key.slot().checked_sub(*self.range.start());
        let staged = index.and_then(|index| self.tables.get_mut(usize::from(index)));
        staged.ok_or(Malformed("a key of another slot"))
    }

    fn add(&mut self, record: Record) -> Result<(), Malformed> {
        let key = Key::new(record.key());
        let hash = key.hash();
        let staged = self.staged(key)?;
        if table::find(&staged.table, hash, record.key()).is_some() {
            return Err(Malformed("a key comes twice"));
        }
        staged.volatile.keys += u32::from(record.expiry().is_some());
        staged.volatile.fields += u32::from(hash::is_timed(&record));
        table::insert(&mut staged.table, hash, record);
        Ok(())
    }

    fn add_fields(
        &mut self,
        head: Head<'_>,
        place: Place,
        records: impl Iterator<Item = (Record, Option<UnixMs>)>,
    ) -> Result<(), Malformed> {
        if place.is_first {
            self.add(Record::large(head.key, head.expiry, LargeHash::new()))?;
        }
        let key = Key::new(head.key);
        let staged = self.staged(key)?;
        let mut spot = Spot::find(&mut staged.table, key.hash(), head.key);
        let record = spot.record_mut();
        let record = record.filter(|record| record.expiry() == head.expiry);
        let Some(ValueMut::Large(hash)) = record.map(Record::value_mut) else {
            return Err(Malformed("two parts of a hash differ in its expiry"));
        };
        let was_timed = hash.is_timed();
        for (record, expiry) in records {
            if hash.put(record, expiry).is_some() {
                return Err(Malformed("a field comes twice"));
            }
        }
        staged.volatile.fields += u32::from(hash.is_timed() && !was_timed);
        Ok(())
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
        let Slots { range, tables } = staging.slots;
        for (slot, staged) in range.zip(tables) {
            if !staged.table.is_empty() || self.keys_in_slot(slot) > 0 {
                self.replace_slot(slot, staged.table, staged.volatile);
            }
        }
        Ok(())
    }

    /// Frees what was received, in slices, later.
    pub fn discard_staging(&self, staging: Staging) {
        for staged in staging.slots.tables {
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
