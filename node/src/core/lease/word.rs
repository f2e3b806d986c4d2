//! The word of one shard, and the order in which readers and whoever ends a lease go about it.
//!
//! It takes its atomics from its parent module, so that a model checker can compile this very file
//! with its own.

use super::UnixMs;
use super::atomic::{AtomicU64, Ordering, fence};

/// The word of one shard. Only the thread that replicates the shard changes it.
#[derive(Debug, Default)]
pub struct Word {
    /// Monotonic milliseconds until which this node alone orders the shard's commands, and has
    /// applied all that it acknowledged; 0 without a lease.
    until_mono_ms: AtomicU64,
    /// How many leases were ended before their time.
    ends: AtomicU64,
    /// How often data was taken away.
    changes: AtomicU64,
    /// The greatest stamp applied.
    time: AtomicU64,
}

impl Word {
    /// Whether a read that arrived at this time may be answered: for whoever replicates the shard.
    /// Everybody else goes by [`read_locked`] or [`read_through`].
    #[must_use]
    pub fn allows(&self, now_mono_ms: u64) -> bool {
        // Acquire: what was applied before the lease was given is seen, without a lock too.
        now_mono_ms < self.until_mono_ms.load(Ordering::Acquire)
    }

    /// The shard's time, by which is judged what has expired.
    #[must_use]
    pub fn time(&self) -> UnixMs {
        self.time.load(Ordering::Acquire)
    }

    /// Lets reads be answered until then.
    pub fn grant(&self, until_mono_ms: u64) {
        self.until_mono_ms.store(until_mono_ms, Ordering::Release);
    }

    /// Lets no read be answered any more. What changes the data comes after this.
    pub fn clear(&self) {
        if self.until_mono_ms.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.until_mono_ms.store(0, Ordering::Relaxed);
        let ends = self.ends.load(Ordering::Relaxed);
        self.ends.store(ends + 1, Ordering::Release);
        // Whoever sees a change that comes after this, under a lock or not, sees the end too. What
        // is sent to others after this is, by that, known to them only once the end is known here.
        fence(Ordering::Release);
    }

    /// Ends the lease, then makes a change that no reader may see.
    pub fn end<R>(&self, change: impl FnOnce() -> R) -> R {
        self.clear();
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes + 1, Ordering::Release);
        fence(Ordering::Release);
        change()
    }

    /// How often data was taken away, for [`Self::read_since`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Reads slots one after the other, at any time after it was sure that they may be read; gives
    /// nothing if data was taken away since then, when there were so many changes. A lease does not
    /// matter: what was there then still is.
    pub fn read_since<R>(&self, changes: u64, read: impl FnOnce() -> R) -> Option<R> {
        let result = read();
        fence(Ordering::Acquire);
        (self.changes() == changes).then_some(result)
    }

    /// An entry of this stamp is about to be applied.
    pub fn advance(&self, time: UnixMs) {
        self.time.store(time, Ordering::Release);
    }

    fn ends(&self) -> u64 {
        self.ends.load(Ordering::Acquire)
    }
}

/// The times of the shards that are read.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Of the one that is behind: what is due by it is due in every one.
    pub least: UnixMs,
    /// Of the one that is ahead.
    pub greatest: UnixMs,
}

/// Reads what `lock` locks, if the leases of all its shards allow it at the time when the request
/// arrived.
///
/// Only with the slots locked do the words say something about what is read: nothing is changed
/// then before the lock is gone, and what was changed before was preceded by the end of the lease.
pub fn read_locked<'w, G, R>(
    words: impl Iterator<Item = &'w Word>,
    now_mono_ms: u64,
    lock: impl FnOnce() -> G,
    read: impl FnOnce(G, Times) -> R,
) -> Option<R> {
    let locked = lock();
    let times = admit(words, now_mono_ms)?;
    Some(read(locked, times))
}

/// Reads slots one after the other, each under its own lock or none, if the leases of all shards
/// allow it at the time when the request arrived, and none of them is ended meanwhile.
///
/// That every lease is there again afterwards would not be enough: it may be another one.
pub fn read_through<'w, R>(
    words: &(impl Iterator<Item = &'w Word> + Clone),
    now_mono_ms: u64,
    read: impl FnOnce(Times) -> R,
) -> Option<R> {
    let ends = || words.clone().map(Word::ends).sum::<u64>();
    let before = ends();
    let times = admit(words.clone(), now_mono_ms)?;
    let result = read(times);
    // Counters are read without a lock: this is what orders them with `Word::clear`.
    fence(Ordering::Acquire);
    (ends() == before).then_some(result)
}

/// The times of the shards, if all leases allow a read.
fn admit<'w>(mut words: impl Iterator<Item = &'w Word>, now_mono_ms: u64) -> Option<Times> {
    let none = Times {
        least: UnixMs::MAX,
        greatest: 0,
    };
    words.try_fold(none, |times, word| {
        word.allows(now_mono_ms).then(|| {
            let time = word.time();
            Times {
                least: times.least.min(time),
                greatest: times.greatest.max(time),
            }
        })
    })
}
