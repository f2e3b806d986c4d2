//! Every interleaving of readers with whoever applies, installs, drops data or steps down.
//!
//! The word of a shard, and the functions that read by it, are the node's own source, compiled here
//! against a model checker's atomics: it runs them in every order, and with every value that the
//! memory model lets a load see. What surrounds them is a model of one shard: two slots with their
//! locks and counters, a clock, and what was acknowledged, by whichever leader. Each test of a
//! broken order fails if the model does not find the fault.

use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{self, AtomicU64};
use loom::sync::{Arc, RwLock, RwLockReadGuard};
use loom::thread;

use self::word::{Word, read_locked, read_through};

/// As in the node.
type UnixMs = u64;

#[path = "../../node/src/core/lease/word.rs"]
mod word;

/// When the lease of every test ends at the latest, on the model's clock.
const UNTIL: u64 = 100;
/// What a slot holds without data: it was never acknowledged.
const NOTHING: u64 = 0;
/// The version that everything has at first.
const FIRST: u64 = 1;

/// One shard, as its node and the rest of the world see it. A value is its version, which is also
/// the stamp of the entry that wrote it.
#[derive(Default)]
struct Shard {
    word: Word,
    slots: [RwLock<u64>; 2],
    /// Changed under the slots' locks, read without.
    counts: [AtomicU64; 2],
    /// The last version that a client was told of.
    acknowledged: AtomicU64,
    clock: AtomicU64,
    /// A word without the order that [`Word`] keeps.
    loose_until: AtomicU64,
}

impl Shard {
    fn leading() -> Self {
        let shard = Self::default();
        shard.apply(FIRST);
        shard.acknowledge(FIRST);
        shard.word.grant(UNTIL);
        shard.loose_until.store(UNTIL, SeqCst);
        shard
    }

    fn set(&self, slot: usize, version: u64) {
        let mut value = self.slots[slot].write().unwrap();
        *value = version;
        self.counts[slot].store(version, Relaxed);
    }

    /// An entry is applied that changes both slots: they are locked together.
    fn apply(&self, version: u64) {
        self.word.advance(version);
        self.write_both(version);
    }

    fn write_both(&self, version: u64) {
        let mut values = [0, 1].map(|slot| self.slots[slot].write().unwrap());
        for (value, count) in values.iter_mut().zip(&self.counts) {
            **value = version;
            count.store(version, Relaxed);
        }
    }

    /// A copy takes the place of the data, or the data is removed: slot by slot.
    fn replace(&self, version: u64) {
        self.set(0, version);
        self.set(1, version);
    }

    /// A client is told that everything has this version, here or by another leader.
    fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Release);
    }

    /// A request arrives after this was acknowledged; then the time is taken.
    fn arrive(&self) -> (u64, u64) {
        let floor = self.acknowledged.load(Acquire);
        (floor, self.clock.load(SeqCst))
    }

    fn lock(&self) -> [RwLockReadGuard<'_, u64>; 2] {
        [0, 1].map(|slot| self.slots[slot].read().unwrap())
    }

    fn words(&self) -> impl Iterator<Item = &Word> + Clone {
        std::iter::once(&self.word)
    }
}

/// A command on keys of both slots.
fn get(shard: &Shard) {
    let (floor, now) = shard.arrive();
    let seen = read_locked(
        shard.words(),
        now,
        || shard.lock(),
        |locked, times| (locked.map(|value| *value), times.least),
    );
    if let Some((values, time)) = seen {
        judge(values, floor, time);
    }
}

fn judge(values: [u64; 2], floor: u64, time: UnixMs) {
    assert!(values[0] == values[1], "torn: {values:?}");
    assert!(values[0] >= floor, "stale: {values:?}, {floor} was known");
    assert!(time >= values[0], "early: {values:?} at {time}");
}

/// A command that works through the slots, one lock after the other.
fn scan(shard: &Shard) {
    let (floor, now) = shard.arrive();
    let seen = read_through(&shard.words(), now, |_| {
        [0, 1].map(|slot| *shard.slots[slot].read().unwrap())
    });
    judge_each(seen, floor);
}

/// A command that looks at counters only.
fn count(shard: &Shard) {
    let (floor, now) = shard.arrive();
    let seen = read_through(&shard.words(), now, |_| {
        [0, 1].map(|slot| shard.counts[slot].load(Relaxed))
    });
    judge_each(seen, floor);
}

fn judge_each(seen: Option<[u64; 2]>, floor: u64) {
    for value in seen.into_iter().flatten() {
        assert!(value >= floor, "stale: {value}, {floor} was known");
    }
}

/// Runs `changes` against `reads`, one thread each, in every order.
fn check(changes: &'static [fn(&Shard)], reads: &'static [fn(&Shard)]) {
    let mut model = loom::model::Builder::new();
    // A third thread makes more orders than can be tried: those with few switches are.
    model.preemption_bound = (reads.len() > 1).then_some(3);
    model.check(move || {
        let shard = Arc::new(Shard::leading());
        let threads: Vec<_> = reads
            .iter()
            .map(|read| {
                let shard = Arc::clone(&shard);
                thread::spawn(move || read(&shard))
            })
            .collect();
        changes.iter().for_each(|change| change(&shard));
        threads.into_iter().for_each(|read| read.join().unwrap());
    });
}

/// The leader's own work: applied, then acknowledged.
fn write(shard: &Shard) {
    shard.apply(2);
    shard.acknowledge(2);
}

/// The member has heard of a new leader, or lets another one be elected; that one acknowledges.
fn step_down(shard: &Shard) {
    shard.word.clear();
    shard.acknowledge(3);
}

/// A member that leads no more is sent a copy.
fn install(shard: &Shard) {
    shard.word.end(|| shard.replace(4));
    shard.word.advance(4);
    shard.acknowledge(4);
}

fn dismiss(shard: &Shard) {
    shard.word.end(|| shard.replace(NOTHING));
}

/// It catches up, leads again, and has a new lease.
fn lead_again(shard: &Shard) {
    shard.apply(5);
    shard.acknowledge(5);
    shard.word.grant(UNTIL);
}

/// Nobody has confirmed the lease: others wait until it is over, then they go on without this node.
fn lapse(shard: &Shard) {
    shard.clock.store(UNTIL, SeqCst);
    shard.acknowledge(3);
}

#[test]
fn a_read_sees_what_was_acknowledged_before_it_arrived() {
    check(&[write, step_down], &[get]);
    check(&[write, lapse], &[get]);
}

#[test]
fn readers_do_not_disturb_each_other() {
    check(&[write], &[get, get]);
    check(&[step_down], &[get, scan]);
    check(&[dismiss], &[get, count]);
}

#[test]
fn a_whole_life_is_safe_to_read() {
    check(&[write, step_down, install, lead_again], &[get]);
}

#[test]
fn a_read_sees_no_half_of_a_copy_and_nothing_dropped() {
    check(&[write, install], &[get]);
    check(&[dismiss], &[get]);
    check(&[install, lead_again], &[get]);
    check(&[dismiss, install, lead_again], &[get]);
}

#[test]
fn a_read_through_the_slots_is_void_when_a_lease_ended_meanwhile() {
    check(&[write, step_down], &[scan]);
    check(&[lapse], &[scan]);
    check(&[install, lead_again], &[scan]);
    check(&[dismiss, lead_again], &[scan]);
}

#[test]
fn counters_without_locks_are_ordered_with_the_end_of_a_lease() {
    check(&[write, step_down], &[count]);
    check(&[dismiss], &[count]);
    check(&[dismiss, lead_again], &[count]);
}

/// A command that was let in, and reads the slots at any time after that.
fn read_later(shard: &Shard) {
    let changes = shard.word.changes();
    let (floor, now) = shard.arrive();
    if shard.word.allows(now) {
        let read = || [0, 1].map(|slot| *shard.slots[slot].read().unwrap());
        judge_each(shard.word.read_since(changes, read), floor);
    }
}

#[test]
fn what_is_read_later_is_void_when_data_was_taken_away_meanwhile() {
    check(&[write, step_down], &[read_later]);
    check(&[dismiss], &[read_later]);
    check(&[dismiss, lead_again], &[read_later]);
    check(&[install, lead_again], &[read_later]);
}

/// The word is looked at, and only then are the slots locked.
fn check_before_lock(shard: &Shard) {
    let (floor, now) = shard.arrive();
    if shard.word.allows(now) {
        judge(shard.lock().map(|value| *value), floor, UnixMs::MAX);
    }
}

#[test]
#[should_panic(expected = "stale")]
fn found_a_check_before_the_lock_that_reads_what_was_dropped() {
    check(&[dismiss], &[check_before_lock]);
}

#[test]
#[should_panic(expected = "torn")]
fn found_a_check_before_the_lock_that_reads_half_of_a_copy() {
    check(&[install], &[check_before_lock]);
}

fn time_before_lock(shard: &Shard) {
    let (floor, now) = shard.arrive();
    let time = shard.word.time();
    let lock = || shard.lock();
    let seen = read_locked(shard.words(), now, lock, |locked, _| locked.map(|v| *v));
    if let Some(values) = seen {
        judge(values, floor, time);
    }
}

#[test]
#[should_panic(expected = "early")]
fn found_a_time_taken_before_the_lock() {
    check(&[write], &[time_before_lock]);
}

fn clock_before_arrival(shard: &Shard) {
    let now = shard.clock.load(SeqCst);
    let (floor, _) = shard.arrive();
    let lock = || shard.lock();
    if let Some(values) = read_locked(shard.words(), now, lock, |locked, _| locked.map(|v| *v)) {
        judge(values, floor, UnixMs::MAX);
    }
}

#[test]
#[should_panic(expected = "stale")]
fn found_a_clock_read_before_the_arrival() {
    check(&[lapse], &[clock_before_arrival]);
}

fn install_before_clear(shard: &Shard) {
    shard.word.advance(4);
    shard.replace(4);
    shard.word.clear();
}

#[test]
#[should_panic(expected = "torn")]
fn found_a_copy_installed_before_the_end_of_the_lease() {
    check(&[install_before_clear], &[get]);
}

fn drop_before_clear(shard: &Shard) {
    shard.replace(NOTHING);
    shard.word.clear();
}

#[test]
#[should_panic(expected = "stale")]
fn found_data_dropped_before_the_end_of_the_lease() {
    check(&[drop_before_clear], &[scan]);
}

fn acknowledge_before_clear(shard: &Shard) {
    shard.acknowledge(3);
    shard.word.clear();
}

#[test]
#[should_panic(expected = "stale")]
fn found_a_new_leader_before_the_end_of_the_lease() {
    check(&[acknowledge_before_clear], &[get]);
}

fn acknowledge_before_apply(shard: &Shard) {
    shard.acknowledge(2);
    shard.apply(2);
}

#[test]
#[should_panic(expected = "stale")]
fn found_an_answer_before_its_entry_was_applied() {
    check(&[acknowledge_before_apply], &[get]);
}

fn data_before_time(shard: &Shard) {
    shard.write_both(2);
    shard.word.advance(2);
}

#[test]
#[should_panic(expected = "early")]
fn found_data_applied_before_its_time() {
    check(&[data_before_time], &[get]);
}

fn scan_checked_before_only(shard: &Shard) {
    let (floor, now) = shard.arrive();
    if shard.word.allows(now) {
        judge_each(
            Some([0, 1].map(|slot| *shard.slots[slot].read().unwrap())),
            floor,
        );
    }
}

#[test]
#[should_panic(expected = "stale")]
fn found_a_scan_that_does_not_look_again() {
    check(&[dismiss], &[scan_checked_before_only]);
}

fn scan_checked_by_lease(shard: &Shard) {
    let (floor, now) = shard.arrive();
    if shard.word.allows(now) {
        let values = [0, 1].map(|slot| *shard.slots[slot].read().unwrap());
        judge_each(shard.word.allows(now).then_some(values), floor);
    }
}

#[test]
#[should_panic(expected = "stale")]
fn found_a_scan_that_takes_another_lease_for_the_same() {
    check(&[dismiss, lead_again], &[scan_checked_by_lease]);
}

fn count_by_loose_word(shard: &Shard, ordered: bool) {
    let (floor, now) = shard.arrive();
    if now < shard.loose_until.load(Acquire) {
        let counts = [0, 1].map(|slot| shard.counts[slot].load(Relaxed));
        if ordered {
            atomic::fence(Acquire);
        }
        let allowed = now < shard.loose_until.load(Acquire);
        judge_each(allowed.then_some(counts), floor);
    }
}

fn dismiss_by_loose_word(shard: &Shard, ordered: bool) {
    shard.loose_until.store(0, Release);
    if ordered {
        atomic::fence(Release);
    }
    shard.replace(NOTHING);
}

#[test]
fn counters_need_a_fence_at_both_ends() {
    check(
        &[|shard| dismiss_by_loose_word(shard, true)],
        &[|shard| count_by_loose_word(shard, true)],
    );
}

#[test]
#[should_panic(expected = "stale")]
fn found_the_end_of_a_lease_without_a_fence() {
    check(
        &[|shard| dismiss_by_loose_word(shard, false)],
        &[|shard| count_by_loose_word(shard, true)],
    );
}

#[test]
#[should_panic(expected = "stale")]
fn found_counters_read_without_a_fence() {
    check(
        &[|shard| dismiss_by_loose_word(shard, true)],
        &[|shard| count_by_loose_word(shard, false)],
    );
}
