//! What counts of all that a log says, and which segment it stands in: so it is known which
//! segments can go, and what has to be written again before.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Base, Group, Hard, Record, Who};
use crate::core::replication::raft::{PeerId, Point};

/// A segment, by the number of its first batch.
pub(super) type Segment = u64;

/// Why a record cannot follow what was kept before.
pub(super) type Contradiction = &'static str;

/// What counts. Of what it knows nothing of it believes the first that it hears: a log whose old
/// segments have gone is read from the middle.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    pub(super) groups: BTreeMap<Group, Holding>,
    pub(super) gone: BTreeMap<Who, Segment>,
    pub(super) cluster: Option<(Bytes, Segment)>,
    /// The greatest number of a snapshot that was ever named.
    pub(super) last_snapshot: u64,
}

/// What counts of a group.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) peer: PeerId,
    pub(super) base: Option<(Base, Segment)>,
    pub(super) hard: Option<(Hard, Segment)>,
    /// Segments with entries that count, and the first of those in each; both grow.
    runs: VecDeque<(Segment, u64)>,
    /// The last entry, or the one at which the log starts.
    last: u64,
    /// All is known that counts: a log that is read from the middle says later where it starts.
    pub(super) is_whole: bool,
}

/// What becomes of a group's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// None of them counts any more.
    Clear(Group),
    /// Those up to this one count no more.
    Cut(Group, u64),
    /// Those from this one on are replaced.
    Append(Group, u64),
}

impl Holdings {
    /// Takes note of a record in a segment.
    ///
    /// # Errors
    /// It contradicts what was kept before; then it may be half noted.
    pub(super) fn note(
        &mut self,
        record: &Record,
        segment: Segment,
    ) -> Result<Effect, Contradiction> {
        match record {
            Record::Start(who, base) => self.start(*who, base, segment),
            Record::Cut(who, base) => self.cut(*who, base, segment),
            Record::Entries(who, entries) => self.append(*who, entries, segment),
            Record::Hard(who, hard) => {
                self.of(*who)?.hard = Some((*hard, segment));
                Ok(Effect::None)
            }
            Record::Gone(who) => Ok(self.end(*who, segment)),
            Record::Cluster(bytes) => {
                self.cluster = Some((bytes.clone(), segment));
                Ok(Effect::None)
            }
        }
    }

    fn of(&mut self, (group, peer): Who) -> Result<&mut Holding, Contradiction> {
        if self.gone.contains_key(&(group, peer)) {
            return Err("something of a member that has gone");
        }
        let holding = self.groups.entry(group).or_insert(Holding::new(peer));
        if holding.peer == peer {
            Ok(holding)
        } else {
            Err("something of another member of a group")
        }
    }

    fn start(
        &mut self,
        (group, peer): Who,
        base: &Base,
        segment: Segment,
    ) -> Result<Effect, Contradiction> {
        self.groups
            .retain(|of, holding| *of != group || holding.peer == peer);
        let holding = self.of((group, peer))?;
        holding.last = base.at.index;
        holding.is_whole = true;
        holding.runs.clear();
        self.rest_on(group, base, segment);
        Ok(Effect::Clear(group))
    }

    fn cut(&mut self, who: Who, base: &Base, segment: Segment) -> Result<Effect, Contradiction> {
        let holding = self.of(who)?;
        let at = base.at.index;
        let old = holding.base.as_ref().map(|(old, _)| old.at.index);
        if old.is_some_and(|old| old > at) {
            return Err("a log that starts before its start");
        }
        if holding.is_whole && holding.last < at {
            return Err("a cut beyond the last entry");
        }
        holding.cut(at);
        self.rest_on(who.0, base, segment);
        Ok(Effect::Cut(who.0, at))
    }

    /// From now on the log of a group starts here.
    fn rest_on(&mut self, group: Group, base: &Base, segment: Segment) {
        self.last_snapshot = self.last_snapshot.max(base.snapshot.unwrap_or(0));
        if let Some(holding) = self.groups.get_mut(&group) {
            holding.base = Some((base.clone(), segment));
        }
    }

    fn append(
        &mut self,
        who: Who,
        entries: &[(Point, Bytes)],
        segment: Segment,
    ) -> Result<Effect, Contradiction> {
        let holding = self.of(who)?;
        let Some(first) = entries.first().map(|(at, _)| at.index) else {
            return Ok(Effect::None);
        };
        if (first..)
            .zip(entries)
            .any(|(index, (at, _))| at.index != index)
        {
            return Err("entries with a gap between them");
        }
        let start = holding.base.as_ref().map(|(base, _)| base.at.index);
        if start.is_some_and(|start| first <= start) {
            return Err("an entry before the start of its log");
        }
        if first > holding.last + 1 {
            if holding.is_whole {
                return Err("an entry behind a gap");
            }
            holding.runs.clear();
        }
        holding.append(first, entries.len() as u64, segment);
        Ok(Effect::Append(who.0, first))
    }

    fn end(&mut self, (group, peer): Who, segment: Segment) -> Effect {
        self.gone.insert((group, peer), segment);
        if self
            .groups
            .get(&group)
            .is_some_and(|holding| holding.peer == peer)
        {
            self.groups.remove(&group);
            return Effect::Clear(group);
        }
        Effect::None
    }

    /// The oldest segment that has entries which count.
    pub(super) fn pinning(&self) -> Option<Segment> {
        let first = |holding: &Holding| holding.runs.front().map(|(segment, _)| *segment);
        self.groups.values().filter_map(first).min()
    }

    /// What has to be written again, and stands in this segment from now on, so that all segments
    /// before `from` can go.
    pub(super) fn carry(&mut self, from: Segment, to: Segment) -> Vec<Record> {
        let mut carried = Vec::new();
        for (group, holding) in &mut self.groups {
            holding.carry((*group, from, to), &mut carried);
        }
        for (who, segment) in &mut self.gone {
            if move_on(segment, from, to) {
                carried.push(Record::Gone(*who));
            }
        }
        if let Some((bytes, segment)) = &mut self.cluster
            && move_on(segment, from, to)
        {
            carried.push(Record::Cluster(bytes.clone()));
        }
        carried
    }
}

fn move_on(segment: &mut Segment, from: Segment, to: Segment) -> bool {
    let moves = *segment < from;
    if moves {
        *segment = to;
    }
    moves
}

impl Holding {
    const fn new(peer: PeerId) -> Self {
        Self {
            peer,
            base: None,
            hard: None,
            runs: VecDeque::new(),
            last: 0,
            is_whole: false,
        }
    }

    fn append(&mut self, first: u64, count: u64, segment: Segment) {
        while self.runs.back().is_some_and(|(_, start)| *start >= first) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|(at, _)| *at != segment) {
            self.runs.push_back((segment, first));
        }
        self.last = first + count - 1;
    }

    fn cut(&mut self, at: u64) {
        if self.last <= at {
            self.runs.clear();
            self.last = at;
        }
        while self.runs.get(1).is_some_and(|(_, start)| *start <= at + 1) {
            self.runs.pop_front();
        }
    }

    fn carry(&mut self, (group, from, to): (Group, Segment, Segment), carried: &mut Vec<Record>) {
        let who = (group, self.peer);
        if let Some((base, segment)) = &mut self.base
            && move_on(segment, from, to)
        {
            carried.push(Record::Cut(who, base.clone()));
        }
        if let Some((hard, segment)) = &mut self.hard
            && move_on(segment, from, to)
        {
            carried.push(Record::Hard(who, *hard));
        }
    }
}
