//! The durable log on a virtual disk: what is found again after the power went at any moment, and
//! after damage.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dht_node::core::disk::journal::{Journal, Operation};
use dht_node::core::disk::recovery::{Found, Verdict};
use dht_node::core::disk::segment::{SEGMENT_HEAD_BYTES, Salt};
use dht_node::core::disk::{Base, Batch, Group, Hard, Kept, Record, Recovered};
use dht_node::core::replication::raft::Point;
use dht_tests::random::Random;
use dht_tests::sim::sectors::Disk;

const SALT: Salt = Salt(42);

/// Where a batch was written: its segment, and the bytes in it.
type Written = (u64, std::ops::Range<usize>);

/// A log under test, and what it has to say after each batch.
struct Test {
    random: Random,
    disk: Disk,
    journal: Journal,
    segment_bytes: u64,
    /// By the number of the last batch.
    states: BTreeMap<u64, Recovered>,
    written: BTreeMap<u64, Written>,
    durable: u64,
    peers: u64,
    snapshots: u64,
}

impl Test {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let segment_bytes = random.between(100, 4000);
        Self {
            disk: Disk::default(),
            journal: Journal::new(SALT, segment_bytes),
            segment_bytes,
            states: BTreeMap::from([(0, Recovered::default())]),
            written: BTreeMap::new(),
            durable: 0,
            peers: 0,
            snapshots: 0,
            random,
        }
    }

    fn state(&self) -> &Recovered {
        &self.states[&self.durable]
    }

    /// A batch that can follow; what the log says then goes to `states`.
    fn make(&mut self) -> Batch {
        let number = self.durable + 1;
        let mut state = self.state().clone();
        let mut batch = Batch {
            number,
            records: Vec::new(),
        };
        for _ in 0..self.random.below(8) {
            let record = self.record(&state);
            apply(&mut state, &record);
            batch.records.push(record);
        }
        state.next_batch = number + 1;
        self.states.insert(number, state);
        batch
    }

    fn record(&mut self, state: &Recovered) -> Record {
        let group = self.random.below(4) as Group;
        let bytes = Bytes::from(vec![group as u8; self.random.below(20)]);
        let Some(kept) = state.groups.get(&group) else {
            return self.start(group, None);
        };
        let (start, peer) = (kept.base.at.index, kept.peer);
        let (who, last) = ((group, peer), start + kept.entries.len() as u64);
        match self.random.below(20) {
            0 => Record::Gone(who),
            1 => self.start(group, Some(peer)),
            2 => self.start(group, None),
            3 => Record::Cluster(bytes),
            4..=6 => {
                let at = self.random.between(start, last);
                let snapshot = Some(self.snapshot());
                Record::Cut(who, base(at, bytes, snapshot))
            }
            7..=10 => {
                let hard = Hard {
                    term: self.random.next(),
                    vote: 3,
                    commit: self.random.next(),
                };
                Record::Hard(who, hard)
            }
            _ => {
                let from = self.random.between(start.max(last.saturating_sub(3)), last);
                let size = if self.random.percent(5) { 3000 } else { 40 };
                let count = self.random.between(0, 5);
                let mut entry = |index| {
                    let data = vec![index as u8; self.random.below(size)];
                    (Point { index, term: 3 }, Bytes::from(data))
                };
                let entries = (from + 1..=from + count).map(&mut entry).collect();
                Record::Entries(who, entries)
            }
        }
    }

    fn start(&mut self, group: Group, peer: Option<u64>) -> Record {
        self.peers += 1;
        let snapshot = self.random.percent(50).then(|| self.snapshot());
        let members = Bytes::from_static(b"members");
        let at = self.random.between(0, 50);
        let who = (group, peer.unwrap_or(self.peers));
        Record::Start(who, base(at, members, snapshot))
    }

    fn snapshot(&mut self) -> u64 {
        self.snapshots += 1;
        self.snapshots
    }

    fn append(&mut self) -> Vec<Operation> {
        let batch = self.make();
        let operations = self.journal.append(&batch).unwrap();
        for operation in &operations {
            if let Operation::Write {
                segment,
                offset,
                bytes,
            } = operation
            {
                let (from, head) = (*offset as usize, [0, SEGMENT_HEAD_BYTES]);
                let from = from + head[usize::from(*offset == 0)];
                let to = *offset as usize + bytes.len();
                self.written.insert(batch.number, (*segment, from..to));
            }
        }
        operations
    }

    /// A batch becomes durable.
    fn add(&mut self) {
        let operations = self.append();
        self.disk.execute(&operations);
        self.durable += 1;
        let removed = self.journal.durable(self.durable);
        self.disk.execute(&removed);
    }

    fn read(&self) -> Found {
        self.disk.read(SALT, self.segment_bytes)
    }

    /// A log of so many batches that are all durable.
    fn filled(seed: u64) -> Self {
        println!("seed {seed}");
        let mut test = Self::new(seed);
        (0..40).for_each(|_| test.add());
        test
    }

    /// The power goes while some of these are done, and again while that is mended.
    fn cut(&mut self, operations: &[Operation]) {
        let done = self.random.below(operations.len() + 1);
        self.disk.execute(&operations[..done]);
        self.disk.cut_power(&mut self.random);
        let found = self.read();
        assert!(
            matches!(found.verdict, Verdict::Clean | Verdict::TornTail(_)),
            "{:?} after a cut",
            found.verdict
        );
        let last = found.recovered.next_batch - 1;
        assert!(
            last >= self.durable,
            "{last} < {}: something flushed is lost",
            self.durable
        );
        assert_same(&found.recovered, &self.states[&last]);
        if self.random.percent(30) {
            return self.cut(&found.mending);
        }
        self.disk.execute(&found.mending);
        let again = self.read();
        assert_eq!(again.verdict, Verdict::Clean);
        assert_same(&again.recovered, &self.states[&last]);
        self.durable = last;
        self.journal = found.journal;
    }
}

fn base(index: u64, members: Bytes, snapshot: Option<u64>) -> Base {
    Base {
        at: Point { index, term: 2 },
        members,
        snapshot,
    }
}

/// As the records are documented, as simply as can be.
fn apply(state: &mut Recovered, record: &Record) {
    if let Record::Start(_, base) | Record::Cut(_, base) = record {
        let above = base.snapshot.map_or(0, |number| number + 1);
        state.next_snapshot = state.next_snapshot.max(above);
    }
    let groups = &mut state.groups;
    match record.clone() {
        Record::Start((group, peer), base) => {
            let old = groups.remove(&group).filter(|old| old.peer == peer);
            let kept = Kept {
                peer,
                base,
                entries: [].into(),
                hard: old.and_then(|old| old.hard),
            };
            groups.insert(group, kept);
        }
        Record::Cut((group, _), base) => {
            let kept = groups.get_mut(&group).unwrap();
            kept.entries.retain(|(at, _)| at.index > base.at.index);
            kept.base = base;
        }
        Record::Entries((group, _), entries) => {
            let kept = groups.get_mut(&group).unwrap();
            if let Some((first, _)) = entries.first() {
                kept.entries.retain(|(at, _)| at.index < first.index);
            }
            kept.entries.extend(entries);
        }
        Record::Hard((group, _), hard) => groups.get_mut(&group).unwrap().hard = Some(hard),
        Record::Gone(who) => {
            groups.remove(&who.0);
            state.gone.insert(who);
        }
        Record::Cluster(bytes) => state.cluster = Some(bytes),
    }
}

/// The numbers of snapshots that only old records have named may be forgotten.
fn assert_same(found: &Recovered, expected: &Recovered) {
    let bases = expected.groups.values().map(|kept| kept.base.snapshot);
    assert!(bases.flatten().all(|number| number < found.next_snapshot));
    let found = Recovered {
        next_snapshot: expected.next_snapshot,
        ..found.clone()
    };
    assert_eq!(found, *expected);
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_flushed() {
    let seed = Random::seeded().next();
    let mut torn = 0;
    for round in 0..300 {
        println!("seed {}", seed + round);
        let mut test = Test::new(seed + round);
        for _ in 0..60 {
            if test.random.percent(20) {
                let operations = test.append();
                test.cut(&operations);
                torn += 1;
            } else {
                test.add();
            }
        }
    }
    assert!(torn > 1000);
}

#[test]
fn old_segments_go_and_what_they_held_stays() {
    let mut test = Test::new(1);
    test.segment_bytes = 300;
    test.journal = Journal::new(SALT, 300);
    let mut most = BTreeSet::new();
    for _ in 0..2000 {
        test.add();
        most.insert(test.disk.segments().count());
    }
    assert!(test.disk.segments().next().unwrap().0 > 1000);
    assert_same(&test.read().recovered, test.state());
    assert!(*most.last().unwrap() < 300, "{most:?}");
}

/// The segments with their lengths.
fn lengths(disk: &Disk) -> Vec<(u64, usize)> {
    let segments = disk.segments();
    segments
        .map(|(number, bytes)| (number, bytes.len()))
        .collect()
}

/// Whether nothing tells damage at a place from a torn tail: it lies in the last batch, or in the
/// header of the segment that begins with it.
fn is_last(test: &Test, segment: u64, place: usize) -> bool {
    let (last, bytes) = &test.written[&test.durable];
    *last == segment && (bytes.contains(&place) || bytes.start == SEGMENT_HEAD_BYTES)
}

/// What is found in a damaged log is damage, unless the segment was not needed or `may_hide`; then
/// it is what was there before.
fn check_damaged(test: &Test, may_hide: bool) -> bool {
    let found = test.read();
    match found.verdict {
        Verdict::Damage(..) => return true,
        Verdict::Clean if !may_hide => assert_same(&found.recovered, test.state()),
        Verdict::Clean | Verdict::TornTail(_) => {
            assert!(may_hide, "{:?} of {}", found.verdict, test.durable);
            let last = found.recovered.next_batch - 1;
            assert_same(&found.recovered, &test.states[&last]);
        }
    }
    false
}

#[test]
fn every_durable_bit_that_changes_is_noticed() {
    let seed = Random::seeded().next();
    let mut damaged = 0;
    for round in 0..200 {
        let mut test = Test::filled(seed + round);
        let intact = test.disk.clone();
        let segments = lengths(&intact);
        for _ in 0..20 {
            let (segment, length) = *test.random.pick(&segments);
            let bit = test.random.below(length * 8);
            test.disk.flip(segment, bit);
            damaged += u32::from(check_damaged(&test, is_last(&test, segment, bit / 8)));
            test.disk = intact.clone();
        }
    }
    assert!(damaged > 2000, "{damaged}");
}

#[test]
fn what_is_cut_off_or_missing_is_noticed_where_something_stands_behind_it() {
    let seed = Random::seeded().next();
    let mut damaged = 0;
    for round in 0..200 {
        let mut test = Test::filled(seed + round);
        let intact = test.disk.clone();
        let segments = lengths(&intact);
        for (segment, length) in &segments {
            let is_end = segments.last() == Some(&(*segment, *length));
            test.disk.lose(*segment);
            damaged += u32::from(check_damaged(&test, is_end));
            test.disk = intact.clone();
            let left = test.random.below(*length);
            test.disk.shorten(*segment, left);
            damaged += u32::from(check_damaged(&test, is_end));
            test.disk = intact.clone();
        }
    }
    assert!(damaged > 500, "{damaged}");
}

#[test]
fn a_client_cannot_write_what_looks_like_a_batch() {
    let mut test = Test::new(5);
    (0..20).for_each(|_| test.add());
    let (last, bytes) = test.disk.segments().last().unwrap();
    let copied = Bytes::copy_from_slice(bytes);
    // The same log elsewhere, with a value that was copied from here.
    let mut other = Journal::new(Salt(43), 1 << 20);
    let batch = |number| Batch {
        number,
        records: vec![Record::Cluster(copied.clone())],
    };
    let mut disk = Disk::default();
    for number in 1..=2 {
        disk.execute(&other.append(&batch(number)).unwrap());
        other.durable(number);
    }
    let length = disk.segments().next().unwrap().1.len();
    disk.shorten(1, length - 1);
    let found = disk.read(Salt(43), 1 << 20);
    assert!(
        matches!(found.verdict, Verdict::TornTail(_)),
        "{last} {:?}",
        found.verdict
    );
    assert_eq!(found.recovered.next_batch, 2);
}
