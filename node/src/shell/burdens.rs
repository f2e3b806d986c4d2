//! What the node keeps in memory for clients that do not go on: requests that have not arrived
//! whole, replies that are not read. Of all connections together it is bounded: beyond the bound
//! the one that has been still for longest is given up. It does not know what a connection is.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use dht_proto::limits::HELD_STILL;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// The burdens of a node.
pub struct Burdens {
    /// Beyond so many bytes of all together one that is still is given up.
    limit: usize,
    /// Beyond so many one that is not.
    most: usize,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    bytes: usize,
    /// Until then nobody can be still for long enough.
    none_still_until: Option<Instant>,
    /// Counts what happens; it tells what has happened later.
    events: u64,
    each: BTreeMap<u64, Entry>,
}

struct Entry {
    bytes: usize,
    /// The event with which its owner last went on, and when that was.
    moved: u64,
    moved_at: Instant,
    give_up: oneshot::Sender<()>,
}

impl Burdens {
    /// None yet; together they may have so many bytes, and most while none is still.
    #[must_use]
    pub fn new(limit: usize, most: usize) -> Arc<Self> {
        let all = Mutex::default();
        Arc::new(Self { limit, most, all })
    }

    /// A burden, still without weight.
    #[must_use]
    pub fn take_up(self: &Arc<Self>) -> Burden {
        let (give_up, given_up) = oneshot::channel();
        let mut all = self.lock();
        all.events += 1;
        let id = all.events;
        let entry = Entry {
            bytes: 0,
            moved: id,
            moved_at: Instant::now(),
            give_up,
        };
        all.each.insert(id, entry);
        Burden {
            of: Arc::clone(self),
            id,
            given_up,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.lock().each.len()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Whoever has panicked has left whole entries.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.each.remove(&id)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// The heavy one whose owner has been still for longest, and since when.
    fn stillest(&self) -> Option<(u64, Instant)> {
        let heavy = self.each.iter().filter(|(_, entry)| entry.bytes > 0);
        let stillest = heavy.min_by_key(|(_, entry)| entry.moved);
        stillest.map(|(id, entry)| (*id, entry.moved_at))
    }
}

/// What is kept for one connection, until this is dropped.
pub struct Burden {
    of: Arc<Burdens>,
    id: u64,
    given_up: oneshot::Receiver<()>,
}

impl Burden {
    /// Says how heavy it is at present, and whether its owner has gone on. It may be given up, or
    /// another one.
    pub fn weigh(&self, bytes: usize, has_moved: bool) {
        self.weigh_at(bytes, has_moved, Instant::now());
    }

    fn weigh_at(&self, bytes: usize, has_moved: bool, now: Instant) {
        let mut all = self.of.lock();
        let all = &mut *all;
        all.events += 1;
        // One that was given up has no entry any more.
        let Some(entry) = all.each.get_mut(&self.id) else {
            return;
        };
        all.bytes = all.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        if has_moved {
            (entry.moved, entry.moved_at) = (all.events, now);
        }
        while all.bytes > self.of.limit
            && (all.bytes > self.of.most || all.none_still_until.is_none_or(|until| now >= until))
            && let Some((stillest, since)) = all.stillest()
        {
            if all.bytes <= self.of.most && now.saturating_duration_since(since) < HELD_STILL {
                all.none_still_until = Some(since + HELD_STILL);
                break;
            }
            if let Some(entry) = all.remove(stillest) {
                // Its owner may just have gone.
                let _ = entry.give_up.send(());
            }
        }
    }

    /// Whether it is given up; if so it may not be asked again.
    pub fn is_given_up(&mut self) -> bool {
        self.given_up.try_recv() != Err(TryRecvError::Empty)
    }

    /// Ready once it is given up; afterwards it may not be asked again.
    pub fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.given_up).poll(cx).map(|_| ())
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.of.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_the_stillest_is_given_up() {
        let burdens = Burdens::new(100, 100);
        let mut all: Vec<Burden> = (0..4).map(|_| burdens.take_up()).collect();
        all[0].weigh(40, true);
        all[1].weigh(40, true);
        all[2].weigh(20, true);
        all[0].weigh(39, true);
        all[1].weigh(40, false);
        assert!(!all.iter_mut().any(Burden::is_given_up));
        all[3].weigh(10, true);
        let given_up: Vec<bool> = all.iter_mut().map(Burden::is_given_up).collect();
        assert_eq!(given_up, [false, true, false, false]);
        all[1].weigh(1000, true);
        assert!(!all[0].is_given_up(), "it has no weight any more");
    }

    #[test]
    fn who_goes_on_is_given_up_only_when_it_is_far_too_much() {
        let burdens = Burdens::new(100, 150);
        let [mut first, mut second] = [burdens.take_up(), burdens.take_up()];
        let start = Instant::now();
        first.weigh_at(70, true, start);
        second.weigh_at(70, true, start);
        second.weigh_at(75, true, start + HELD_STILL / 2);
        assert!(!first.is_given_up());
        first.weigh_at(70, true, start + HELD_STILL / 2);
        second.weigh_at(75, true, start + HELD_STILL);
        assert!(!first.is_given_up());
        let mut third = burdens.take_up();
        third.weigh_at(10, true, start + HELD_STILL);
        assert!(first.is_given_up() && !second.is_given_up());
        third.weigh_at(26, true, start + HELD_STILL * 2);
        assert!(second.is_given_up() && !third.is_given_up());
    }

    #[test]
    fn one_alone_may_be_too_heavy() {
        let burdens = Burdens::new(100, 100);
        let mut burden = burdens.take_up();
        burden.weigh(101, true);
        assert!(burden.is_given_up());
        assert_eq!(burdens.lock().bytes, 0);
    }

    #[test]
    fn what_is_dropped_weighs_nothing() {
        let burdens = Burdens::new(100, 100);
        let mut first = burdens.take_up();
        first.weigh(60, true);
        for _ in 0..10 {
            burdens.take_up().weigh(40, true);
        }
        assert!(!first.is_given_up());
        assert_eq!(burdens.lock().bytes, 60);
    }
}
