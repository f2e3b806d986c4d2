//! Snapshots: a copy of some slots as they were at one point, streamed while they change.
//!
//! The store knows which slots have open snapshots and tells those of every change before it
//! happens; a flag a slot keeps that out of the way of all other writes. Locks are taken in one
//! order: the slot's, then that of the list of snapshots, then the snapshot's own.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::RwLock;
use dht_proto::image::Item;
use dht_proto::slot::SLOTS;

use super::graveyard::Graveyard;
use super::key::Key;
use super::preimage::{Chunk, Preimage, Task, Touched};
use super::record::Record;
use super::table::Table;
use super::{Store, Volatile};

/// Records that one step looks at, about.
const STEP_RECORDS: usize = 4096;

/// A copy of some slots at one point, on its way. Dropping it gives it up; what it held is freed
/// by [`Store::reclaim`].
#[must_use]
pub struct Snapshot {
    phase: Phase,
}

enum Phase {
    New(Arc<Open>),
    Streaming(Arc<Open>),
    Done,
}

/// What the store and the owner of a snapshot share.
struct Open {
    slots: RangeInclusive<u16>,
    state: RwLock<Preimage>,
}

impl Snapshot {
    fn open(&self) -> Option<&Arc<Open>> {
        match &self.phase {
            Phase::New(open) | Phase::Streaming(open) => Some(open),
            Phase::Done => None,
        }
    }

    /// Bytes of old data that are held because of changes since the point; at most about what the
    /// slots held then, and what came and is still there. Tables and large hashes that were
    /// removed as a whole live on until they have been streamed, and do not count.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.open().map_or(0, |open| open.state.read().held_bytes())
    }
}

/// The open snapshots of a store.
pub(super) struct Snapshots {
    /// By slot: whether any is open.
    covered: Box<[AtomicBool]>,
    open: RwLock<Vec<Arc<Open>>>,
}

impl Snapshots {
    pub(super) fn new() -> Self {
        Self {
            covered: (0..SLOTS).map(|_| AtomicBool::new(false)).collect(),
            open: RwLock::new(Vec::new()),
        }
    }

    /// Whether changes in a slot, which is locked exclusively, have to be told.
    pub(super) fn covers(&self, slot: u16) -> bool {
        // Set and read under the slot's lock.
        self.covered[usize::from(slot)].load(Ordering::Relaxed)
    }

    fn each(&self, slot: u16, mut tell: impl FnMut(&mut Preimage)) {
        let open = self.open.read();
        for open in open.iter().filter(|open| open.slots.contains(&slot)) {
            tell(&mut open.state.write());
        }
    }

    /// Tells of a change of a key from `record`, before it happens.
    #[cold]
    pub(super) fn before(&self, key: Key<'_>, record: Option<&Record>, touched: Touched<'_>) {
        self.each(key.slot(), |state| state.before(key, record, touched));
    }

    /// Tells that a key has changed to `record`.
    #[cold]
    pub(super) fn after(&self, key: Key<'_>, record: Option<&Record>, touched: Touched<'_>) {
        self.each(key.slot(), |state| state.after(key, record, touched));
    }

    /// Takes a large hash that is no longer in its table; gives it back if nobody needs it.
    #[cold]
    pub(super) fn keep_record(&self, record: Record) -> Option<Record> {
        let record = Arc::new(record);
        let key = Key::new(record.key());
        self.each(key.slot(), |state| state.keep_record(key, &record));
        Arc::into_inner(record)
    }

    /// Takes the table of a slot that has another one now; gives it back if nobody needs it.
    #[cold]
    pub(super) fn keep_table(&self, slot: u16, table: Table) -> Option<Table> {
        let table = Arc::new(table);
        self.each(slot, |state| state.keep_table(slot, &table));
        Arc::into_inner(table)
    }

    /// Opens a snapshot of slots that are all locked exclusively.
    fn begin(&self, slots: RangeInclusive<u16>) -> Arc<Open> {
        let open = Arc::new(Open {
            state: RwLock::new(Preimage::new(&slots)),
            slots,
        });
        let mut all = self.open.write();
        all.push(Arc::clone(&open));
        self.cover(&all, &open.slots);
        open
    }

    /// Sets the flags of slots.
    fn cover(&self, open: &[Arc<Open>], slots: &RangeInclusive<u16>) {
        for slot in slots.clone() {
            let covered = open.iter().any(|open| open.slots.contains(&slot));
            self.covered[usize::from(slot)].store(covered, Ordering::Relaxed);
        }
    }

    /// Forgets the snapshots of which only the store knows.
    pub(super) fn forget_dropped(&self, graveyard: &Graveyard) {
        let is_dropped = |open: &Arc<Open>| Arc::strong_count(open) == 1;
        if !self.open.read().iter().any(is_dropped) {
            return;
        }
        let mut all = self.open.write();
        let dropped: Vec<_> = all.extract_if(.., |open| is_dropped(open)).collect();
        for open in &dropped {
            self.cover(&all, &open.slots);
        }
        drop(all);
        for open in dropped.into_iter().filter_map(Arc::into_inner) {
            open.state.into_inner().bury(graveyard);
        }
    }
}

impl Store {
    /// Opens a snapshot of these slots as they are now: at one point between commands, whatever
    /// other threads do.
    pub fn begin_snapshot(&self, slots: RangeInclusive<u16>) -> Snapshot {
        let _all_locked: Vec<_> = slots.clone().map(|slot| self.shard(slot).write()).collect();
        Snapshot {
            phase: Phase::New(self.snapshots.begin(slots)),
        }
    }

    /// Appends the next part of a snapshot to `out`: about `budget` bytes, or fewer when they
    /// would take long to find, so that a step takes about a millisecond. Says whether it was the
    /// last. What was appended may be cut between two steps, nowhere else.
    pub fn snapshot_step(&self, snapshot: &mut Snapshot, budget: usize, out: &mut Vec<u8>) -> bool {
        let end = out.len() + budget;
        let mut chunk = Chunk { out, end };
        let open = match &snapshot.phase {
            Phase::New(open) => {
                let open = Arc::clone(open);
                Item::Begin(open.slots.clone()).encode(chunk.out);
                snapshot.phase = Phase::Streaming(Arc::clone(&open));
                open
            }
            Phase::Streaming(open) => Arc::clone(open),
            Phase::Done => return true,
        };
        let is_over = self.stream(&open, &mut chunk);
        drop(open);
        if is_over {
            snapshot.phase = Phase::Done;
            self.snapshots.forget_dropped(&self.graveyard);
        }
        is_over
    }

    fn stream(&self, open: &Open, chunk: &mut Chunk<'_>) -> bool {
        let mut looked_at = 0;
        while looked_at < STEP_RECORDS {
            let task = open.state.write().drain(chunk, &self.graveyard);
            match task {
                Task::Full => return false,
                Task::End => {
                    open.state.read().write_end(chunk);
                    return true;
                }
                Task::Visit(slot) => looked_at += self.visit(open, slot, chunk),
            }
        }
        false
    }

    fn visit(&self, open: &Open, slot: u16, chunk: &mut Chunk<'_>) -> usize {
        if self.keys_in_slot(slot) == 0 && open.state.write().skip(slot, &self.graveyard) {
            return 1;
        }
        let table = self.read_slot(slot);
        let mut state = open.state.write();
        state.visit(slot, &table, chunk, &self.graveyard)
    }

    /// Whether an open snapshot has the slot, which is locked exclusively.
    pub(super) fn is_covered(&self, slot: u16) -> bool {
        self.snapshots.covers(slot)
    }

    /// Frees what was replaced or removed, unless a snapshot needs it.
    pub(super) fn discard(&self, record: Record) {
        let record = if record.is_large() {
            self.snapshots.keep_record(record)
        } else {
            Some(record)
        };
        if let Some(record) = record {
            self.graveyard.bury(record);
        }
    }

    /// Puts another table in the place of a slot's.
    pub(super) fn replace_slot(&self, slot: u16, table: Table, volatile: Volatile<u32>) {
        self.replace_table(slot, &mut self.shard(slot).write(), (table, volatile));
    }

    /// Likewise, of a slot whose table is locked already.
    pub(super) fn replace_table(
        &self,
        slot: u16,
        there: &mut Table,
        (table, volatile): (Table, Volatile<u32>),
    ) {
        self.counts[usize::from(slot)].set(table.len(), volatile);
        let old = std::mem::replace(there, table);
        let old = if self.snapshots.covers(slot) {
            self.snapshots.keep_table(slot, old)
        } else {
            Some(old)
        };
        if let Some(old) = old {
            self.graveyard.bury_table(old);
        }
    }
}
