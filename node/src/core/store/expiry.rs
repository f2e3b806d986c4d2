//! Finding keys that are due before anybody asks for them. Removing them is a separate step that
//! depends on nothing but keys and a stamp, so that it can be a command in a log.

use bytes::Bytes;

use super::hash;
use super::read::is_due;
use super::scan::Cursor;
use super::slots::SlotSet;
use super::{Key, Keys, Store, Watched};
use crate::core::time::UnixMs;

/// Fields of one hash that [`Store::expire`] removes at once.
const FIELDS_AT_ONCE: usize = 512;

/// Keys that are due, or have fields that are.
#[derive(Debug)]
pub struct Due {
    /// The keys.
    pub keys: Vec<Bytes>,
    /// How many keys were looked at to find them, and how many of their fields are due.
    pub looked_at: usize,
    /// Where the next search goes on; the beginning once all slots were visited.
    pub next: Cursor,
}

impl Store {
    /// Looks for keys that are due at `stamp`, or have fields that are, from `from` on, at about
    /// `budget` keys of slots that have some with an expiry. Where more is due than one call of
    /// [`Self::expire`] removes, the next search begins there again. Changes nothing.
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
            let counts = &self.counts[usize::from(slot)];
            if counts.volatile() + counts.timed() == 0 {
                due.next = Cursor::at_slot(slot + 1);
                continue;
            }
            let here = due.next;
            let mut is_left = false;
            due.next = self.scan_slot(here, budget - due.looked_at, &mut |record| {
                let fields = if is_due(record, stamp) {
                    1
                } else {
                    hash::due(record, stamp, FIELDS_AT_ONCE)
                };
                if fields > 0 && due.looked_at < budget {
                    due.keys.push(Bytes::copy_from_slice(record.key()));
                    is_left |= fields > FIELDS_AT_ONCE;
                } else {
                    is_left |= fields > 0;
                }
                due.looked_at += fields.clamp(1, FIELDS_AT_ONCE);
            });
            if is_left {
                due.next = here;
                break;
            }
            // A huge sparse table is walked in several calls, whatever they find.
            if due.next.position > 0 {
                break;
            }
        }
        due
    }

    /// Removes those of the keys that are due at `stamp`, and of the others some fields that are,
    /// which whoever watches them learns; gives how many.
    pub fn expire(
        &self,
        keys: &[impl AsRef<[u8]>],
        stamp: UnixMs,
        watched: Option<&Watched>,
    ) -> usize {
        let expire = |key: &_| {
            let key = AsRef::<[u8]>::as_ref(key);
            let keys = Keys::one(Key::new(key));
            let most = FIELDS_AT_ONCE;
            self.write_watched(&keys, (stamp, 0), watched, |write| write.expire(key, most))
        };
        keys.iter().map(expire).sum()
    }

    /// For how many milliseconds keys with an expiry are still there, on average: of the first such
    /// keys that are found among so many.
    #[must_use]
    pub fn mean_ttl_ms(&self, slots: &SlotSet, now: UnixMs, most: usize) -> u64 {
        let (mut sum_ms, mut timed, mut looked_at) = (0_u128, 0, 0);
        let has_some = |slot: &u16| self.counts[usize::from(*slot)].volatile() > 0;
        for slot in slots.iter().filter(has_some) {
            if looked_at >= most {
                break;
            }
            self.scan_slot(Cursor::at_slot(slot), most - looked_at, &mut |record| {
                looked_at += 1;
                if let Some(expiry) = record.expiry() {
                    sum_ms += u128::from(expiry.saturating_sub(now));
                    timed += 1;
                }
            });
        }
        u64::try_from(sum_ms / timed.max(1)).unwrap_or(u64::MAX)
    }

    /// Number of hashes in these slots of which some field has an expiry.
    #[must_use]
    pub fn timed(&self, slots: &SlotSet) -> usize {
        slots
            .iter()
            .map(|slot| self.counts[usize::from(slot)].timed())
            .sum()
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
