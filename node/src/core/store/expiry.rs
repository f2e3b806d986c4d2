//! Finding keys that are due before anybody asks for them. Removing them is a separate step that
//! depends on nothing but keys and a stamp, so that it can be a command in a log.

use bytes::Bytes;

use super::read::is_due;
use super::scan::Cursor;
use super::slots::SlotSet;
use super::{Key, Keys, Store, Watched};
use crate::core::time::UnixMs;

/// Keys that are due.
#[derive(Debug)]
pub struct Due {
    /// The keys.
    pub keys: Vec<Bytes>,
    /// How many keys were looked at to find them.
    pub looked_at: usize,
    /// Where the next search goes on; the beginning once all slots were visited.
    pub next: Cursor,
}

impl Store {
    /// Looks for keys that are due at `stamp`, from `from` on, at about `budget` keys of slots that
    /// have keys with an expiry. Changes nothing.
    #[must_use]
    pub fn due(&self, slots: &SlotSet, from: Cursor, stamp: UnixMs, budget: usize) -> Due {
        let mut due = Due {
            keys: Vec::new(),
            looked_at: 0,
            next: from,
        };
        while due.looked_at < budget {
            let Some(slot) = slots.at_or_after(due.next.slot) else {
                due.next = Cursor::at_slot(0);
                break;
            };
            if slot != due.next.slot {
                due.next = Cursor::at_slot(slot);
            }
            if self.counts[usize::from(slot)].volatile() == 0 {
                due.next = Cursor::at_slot(slot + 1);
                continue;
            }
            due.next = self.scan_slot(due.next, budget - due.looked_at, &mut |record| {
                due.looked_at += 1;
                if is_due(record, stamp) {
                    due.keys.push(Bytes::copy_from_slice(record.key()));
                }
            });
            // A huge sparse table is walked in several calls, whatever they find.
            if due.next.position > 0 {
                break;
            }
        }
        due
    }

    /// Removes those of the keys that are due at `stamp`, which whoever watches them learns; gives
    /// how many.
    pub fn expire(
        &self,
        keys: &[impl AsRef<[u8]>],
        stamp: UnixMs,
        watched: Option<&Watched>,
    ) -> usize {
        let expire = |key: &&_| {
            let key = AsRef::<[u8]>::as_ref(*key);
            let keys = Keys::one(Key::new(key));
            self.write_watched(&keys, (stamp, 0), watched, |write| write.expire(key))
        };
        keys.iter().filter(expire).count()
    }

    /// Number of keys with an expiry in these slots.
    #[must_use]
    pub fn volatile(&self, slots: &SlotSet) -> usize {
        slots
            .iter()
            .map(|slot| self.counts[usize::from(slot)].volatile())
            .sum()
    }
}
