//! A log as it is found: whether it is whole, ends in a batch that was being written when the
//! power went, or is damaged.
//!
//! What stands behind a bad place decides. Every batch names the last one that was durable before
//! it, as does every segment by its number: if one of those lies at or behind the place, what
//! stood there was durable once, and is damaged. Otherwise nobody was ever told that it is kept.
//!
//! The last batch of all has none behind it: damage there cannot be told from a torn tail.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::codec;
use super::holdings::{Effect, Holdings, Segment};
use super::journal::{Journal, Operation};
use super::segment::{self, BATCH_HEAD_BYTES, BatchHead, SEGMENT_HEAD_BYTES, Salt};
use super::{Group, Kept, Record, Recovered};
use crate::core::mutation::{self, Mutation};
use crate::core::pack::Reader;
use crate::core::replication::raft::Point;

/// In which state a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is whole.
    Clean,
    /// Its end was being written: of no use to anybody, and cut off by [`Found::mending`].
    TornTail(Place),
    /// Something that was durable is not as it was written.
    Damage(Place, &'static str),
}

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the segment.
    pub segment: u64,
    /// How many bytes lie before it in the segment.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of log/{:016x}.seg", self.offset, self.segment)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// In which state the log is.
    pub verdict: Verdict,
    /// What it says; of a damaged one, a part.
    pub recovered: Recovered,
    /// The log, to go on with once [`Self::mending`] is done; not with a damaged one.
    pub journal: Journal,
    /// What has to be done, and be durable, before anything is added.
    pub mending: Vec<Operation>,
}

/// The reading of a log, segment by segment.
#[derive(Debug)]
pub struct Recovery {
    salt: Salt,
    segment_bytes: u64,
    holdings: Holdings,
    entries: BTreeMap<Group, VecDeque<(Point, Bytes)>>,
    segments: VecDeque<Segment>,
    /// The segment with which the present reading has begun.
    start: Segment,
    /// The number of the next batch; 0 before the first segment.
    next: u64,
    /// The highest number of a batch that is known to have been durable.
    mark: u64,
    /// The first segment that is needed, as the last good batch says.
    oldest: Segment,
    /// The first bad place since `start`.
    bad: Option<(Place, &'static str)>,
    /// Why there were other readings before this one: they could not go on here.
    given_up: Option<(Place, &'static str)>,
}

impl Recovery {
    /// Nothing is read yet.
    #[must_use]
    pub const fn new(salt: Salt, segment_bytes: u64) -> Self {
        Self {
            salt,
            segment_bytes,
            holdings: Holdings {
                groups: BTreeMap::new(),
                gone: BTreeMap::new(),
                cluster: None,
                last_snapshot: 0,
            },
            entries: BTreeMap::new(),
            segments: VecDeque::new(),
            start: 0,
            next: 0,
            mark: 0,
            oldest: 0,
            bad: None,
            given_up: None,
        }
    }

    /// Reads the segment whose number is `first`; in the order of the numbers.
    pub fn segment(&mut self, first: u64, bytes: &[u8]) {
        // It was begun when everything before it was durable.
        self.mark = self.mark.max(first.saturating_sub(1));
        self.segments.push_back(first);
        let place = |offset| Place {
            segment: first,
            offset,
        };
        if self.next == 0 {
            self.begin(first);
        } else if self.bad.is_some() || self.next != first {
            // Perhaps this and what follows says everything.
            let gap = (place(0), "what stood before it is missing");
            self.given_up = self.bad.take().or(Some(gap));
            self.begin(first);
        }
        if !segment::has_head(self.salt, first, bytes) {
            return self.spoil(place(0), "no segment of this log begins so", bytes);
        }
        let mut offset = SEGMENT_HEAD_BYTES;
        while offset < bytes.len() {
            match self.batch(first, &bytes[offset..]) {
                Ok(length) => offset += length,
                Err(why) => return self.spoil(place(offset as u64), why, &bytes[offset..]),
            }
        }
    }

    /// Begins anew with a segment.
    fn begin(&mut self, first: Segment) {
        self.holdings = Holdings {
            last_snapshot: self.holdings.last_snapshot,
            ..Holdings::default()
        };
        self.entries.clear();
        (self.start, self.next) = (first, first);
    }

    /// Takes note of a bad place, and looks for what was durable behind it.
    fn spoil(&mut self, place: Place, why: &'static str, rest: &[u8]) {
        self.bad = Some((place, why));
        let marks = segment::find_heads(self.salt, rest).map(|head| head.mark);
        self.mark = self.mark.max(marks.max().unwrap_or(0));
    }

    /// Reads the batch at the front; gives its length.
    fn batch(&mut self, segment: Segment, bytes: &[u8]) -> Result<usize, &'static str> {
        let head = segment::batch_head(self.salt, bytes).ok_or("no batch begins so")?;
        if head.number != self.next {
            return Err("another batch than the next");
        }
        let records =
            segment::records(self.salt, head, bytes).ok_or("a batch is not as it was written")?;
        self.take(segment, head, records)?;
        Ok(BATCH_HEAD_BYTES + head.length)
    }

    fn take(
        &mut self,
        segment: Segment,
        head: BatchHead,
        records: &[u8],
    ) -> Result<(), &'static str> {
        self.mark = self.mark.max(head.mark);
        let mut records = Reader::new(records);
        while !records.is_empty() {
            let record = codec::decode(&mut records);
            let record = record.map_err(|_| self.senseless(head, "a record cannot be read"))?;
            let effect = self.holdings.note(&record, segment);
            let effect = effect.map_err(|why| self.senseless(head, why))?;
            self.follow(effect, record);
        }
        self.oldest = head.oldest;
        self.next += 1;
        Ok(())
    }

    /// A batch that is as it was written and makes no sense is not torn.
    fn senseless(&mut self, head: BatchHead, why: &'static str) -> &'static str {
        self.mark = self.mark.max(head.number);
        why
    }

    fn follow(&mut self, effect: Effect, record: Record) {
        match effect {
            Effect::None => (),
            Effect::Clear(group) => _ = self.entries.remove(&group),
            Effect::Cut(group, at) => {
                let entries = self.entries.entry(group).or_default();
                let gone = entries.partition_point(|(point, _)| point.index <= at);
                entries.drain(..gone);
            }
            Effect::Append(group, first) => {
                let entries = self.entries.entry(group).or_default();
                let kept = entries.partition_point(|(point, _)| point.index < first);
                entries.truncate(kept);
                if entries
                    .back()
                    .is_some_and(|(point, _)| point.index + 1 < first)
                {
                    entries.clear();
                }
                if let Record::Entries(_, more) = record {
                    entries.extend(more);
                }
            }
        }
    }

    /// All segments were read.
    #[must_use]
    pub fn finish(mut self) -> Found {
        let start = Place {
            segment: self.start,
            offset: 0,
        };
        let mark = match self.mark {
            _ if mutation::is(Mutation::DamageIsTorn) => 0,
            _ if mutation::is(Mutation::TornIsDamage) => u64::MAX,
            mark => mark,
        };
        let verdict = match (self.bad, self.given_up) {
            (Some((place, why)), _) if mark >= self.next => Verdict::Damage(place, why),
            (_, given_up) if self.start > self.oldest.max(1) => {
                let (place, why) = given_up.unwrap_or((start, "what stood before it is missing"));
                Verdict::Damage(place, why)
            }
            (Some((place, _)), _) => Verdict::TornTail(place),
            (None, _) => Verdict::Clean,
        };
        let recovered = self.recovered();
        let verdict = match (verdict, &recovered) {
            (Verdict::Damage(place, why), _) => Verdict::Damage(place, why),
            (_, Err(why)) => Verdict::Damage(start, why),
            (verdict, Ok(_)) => verdict,
        };
        let mending = self.mend(&verdict);
        let next = self.next.max(1);
        let (holdings, segments) = (self.holdings, self.segments);
        Found {
            verdict,
            recovered: recovered.unwrap_or_default(),
            journal: Journal::from_parts(self.salt, self.segment_bytes, holdings, segments, next),
            mending,
        }
    }

    /// Cuts off a torn tail, and makes what is left durable: a batch that is found whole may not
    /// have been flushed before.
    fn mend(&mut self, verdict: &Verdict) -> Vec<Operation> {
        let mut mending = Vec::new();
        match verdict {
            Verdict::Damage(..) => return mending,
            Verdict::TornTail(place) if place.segment == self.next => {
                self.segments.pop_back();
                mending.push(Operation::Remove(place.segment));
            }
            Verdict::TornTail(place) => mending.push(Operation::Truncate {
                segment: place.segment,
                length: place.offset,
            }),
            Verdict::Clean => (),
        }
        mending.extend(self.segments.back().copied().map(Operation::Flush));
        mending.push(Operation::FlushDirectory);
        mending
    }

    /// What the log says.
    fn recovered(&mut self) -> Result<Recovered, &'static str> {
        let mut recovered = Recovered {
            gone: self.holdings.gone.keys().copied().collect(),
            cluster: self
                .holdings
                .cluster
                .as_ref()
                .map(|(bytes, _)| bytes.clone()),
            next_batch: self.next.max(1),
            next_snapshot: self.holdings.last_snapshot + 1,
            ..Recovered::default()
        };
        for (group, holding) in &mut self.holdings.groups {
            let entries = self.entries.remove(group).unwrap_or_default();
            let base = holding.base.clone();
            let (base, _) = base.ok_or("it is not said where the log of a group starts")?;
            holding.is_whole = true;
            let first = entries.front().map(|(at, _)| at.index);
            if first.is_some_and(|first| first != base.at.index + 1) {
                return Err("entries at the start of the log of a group are missing");
            }
            let kept = Kept {
                peer: holding.peer,
                base,
                entries,
                hard: holding.hard.map(|(hard, _)| hard),
            };
            recovered.groups.insert(*group, kept);
        }
        Ok(recovered)
    }
}
