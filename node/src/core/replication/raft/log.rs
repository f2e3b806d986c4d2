//! A group's log in memory: what the engine reads back, and what is cut off.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dht_proto::frame::Malformed;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::{PeerId, Point, codec};
use crate::core::disk::Kept;
use crate::core::pack::Reader;

/// The entries behind a point up to which the state machine stands for them.
pub struct Log {
    hard: HardState,
    conf: ConfState,
    /// What was cut off ends here.
    start: Point,
    entries: VecDeque<Entry>,
    /// Bytes of the entries' data.
    bytes: usize,
    /// Full copies that followers have received and may now be told to install.
    copies: BTreeMap<PeerId, SnapshotMetadata>,
    /// The state machine itself, where it is so small that it travels with the engine's messages.
    inline: Option<(SnapshotMetadata, Bytes)>,
    /// Followers for which the engine has asked for a full copy since the last look.
    wanted: RefCell<BTreeSet<PeerId>>,
}

impl Log {
    /// A log that starts behind `start` with these voters; without voters, an empty one that waits
    /// for a full copy.
    pub fn new(start: Point, voters: &[PeerId]) -> Self {
        let start = if voters.is_empty() {
            Point::default()
        } else {
            start
        };
        Self {
            hard: HardState {
                term: start.term,
                commit: start.index,
                ..HardState::default()
            },
            conf: ConfState::from((voters.to_vec(), Vec::new())),
            start,
            entries: VecDeque::new(),
            bytes: 0,
            copies: BTreeMap::new(),
            inline: None,
            wanted: RefCell::default(),
        }
    }

    /// The log that was kept.
    pub fn recover(kept: &Kept) -> std::result::Result<Self, Malformed> {
        let base = codec::decode_copy(&mut Reader::new(&kept.base.members))?;
        let mut log = Self::new(kept.base.at, &[]);
        log.replace(&base);
        let hard = kept.hard.unwrap_or_default();
        log.hard.vote = hard.vote;
        log.hard.term = hard.term.max(base.term);
        log.hard.commit = hard.commit.max(base.index);
        let mut entries = Vec::with_capacity(kept.entries.len());
        for (at, bytes) in &kept.entries {
            if at.index != log.start.index + 1 + entries.len() as u64 {
                return Err(Malformed("an entry is missing"));
            }
            entries.push(codec::decode_kept(*at, bytes)?);
        }
        log.append(entries);
        Ok(log)
    }

    /// Bytes of data that are kept.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the log starts.
    pub const fn start(&self) -> Point {
        self.start
    }

    /// Where the entries stand.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.entries.iter().map(|entry| Point {
            index: entry.index,
            term: entry.term,
        })
    }

    /// The configuration at the last applied entry.
    pub const fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Term, vote, and what is known to be committed.
    pub const fn hard(&self) -> &HardState {
        &self.hard
    }

    pub fn set_hard(&mut self, hard: HardState) {
        self.hard = hard;
    }

    /// Adds entries; what stood at their places and behind is thrown away.
    pub fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else {
            return;
        };
        let kept = first.index.saturating_sub(self.start.index + 1) as usize;
        for gone in self.entries.drain(kept.min(self.entries.len())..) {
            self.bytes -= gone.data.len();
        }
        for entry in entries {
            self.bytes += entry.data.len();
            self.entries.push_back(entry);
        }
    }

    /// Cuts off entries up to `index`, oldest first, while `go_on` says so of the bytes that are
    /// left.
    pub fn cut(&mut self, index: u64, go_on: impl Fn(usize) -> bool) {
        while go_on(self.bytes)
            && let Some(oldest) = self.entries.front()
            && oldest.index <= index
        {
            self.start = Point {
                index: oldest.index,
                term: oldest.term,
            };
            self.bytes -= oldest.data.len();
            self.entries.pop_front();
        }
    }

    /// A full copy takes the place of the whole log.
    pub fn replace(&mut self, copy: &SnapshotMetadata) {
        self.start = Point {
            index: copy.index,
            term: copy.term,
        };
        self.conf = copy.get_conf_state().clone();
        self.entries.clear();
        self.bytes = 0;
        self.hard.commit = self.hard.commit.max(copy.index);
        self.hard.term = self.hard.term.max(copy.term);
    }

    /// Followers that need a full copy, since the last call.
    pub fn take_wanted(&self) -> BTreeSet<PeerId> {
        self.wanted.take()
    }

    /// A follower has received a copy and may be told to install it.
    pub fn offer(&mut self, to: PeerId, copy: SnapshotMetadata) {
        self.copies.insert(to, copy);
    }

    /// The state machine at a point, for followers whose logs do not reach far enough back.
    pub fn keep_inline(&mut self, copy: SnapshotMetadata, state: Bytes) {
        self.inline = Some((copy, state));
    }

    /// Withdraws what was offered to a follower.
    pub fn withdraw(&mut self, to: PeerId) {
        self.copies.remove(&to);
    }

    /// The last entry.
    pub fn last(&self) -> u64 {
        self.start.index + self.entries.len() as u64
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        let behind = index.checked_sub(self.start.index + 1)?;
        self.entries.get(behind as usize)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let from = (low - self.start.index - 1) as usize;
        let count = high.saturating_sub(low) as usize;
        if from + count > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let mut wanted = Vec::with_capacity(count);
        for entry in self.entries.range(from..from + count) {
            size += entry.data.len() as u64;
            if size > limit && !wanted.is_empty() {
                break;
            }
            wanted.push(entry.clone());
        }
        Ok(wanted)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.start.index {
            return Ok(self.start.term);
        }
        match self.at(index) {
            Some(entry) => Ok(entry.term),
            None if index < self.start.index => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.start.index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    /// The copy itself travels beside the engine; the engine sees where it stands, once the
    /// follower has all of it.
    fn snapshot(&self, least: u64, to: u64) -> Result<Snapshot> {
        if let Some((copy, state)) = &self.inline {
            let mut snapshot = Snapshot::default();
            snapshot.set_metadata(copy.clone());
            snapshot.data = state.clone();
            return Ok(snapshot);
        }
        match self.copies.get(&to) {
            Some(copy) if copy.index >= least => {
                let mut snapshot = Snapshot::default();
                snapshot.set_metadata(copy.clone());
                Ok(snapshot)
            }
            _ => {
                self.wanted.borrow_mut().insert(to);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(Point { index: 1, term: 1 }, &[1, 2, 3]);
        log.append(entries(2, terms));
        log
    }

    fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
        let entry = |(index, term): (u64, &u64)| Entry {
            index,
            term: *term,
            data: vec![b'x'; 10].into(),
            ..Entry::default()
        };
        (first..).zip(terms).map(entry).collect()
    }

    fn terms(log: &Log) -> Vec<u64> {
        log.entries.iter().map(|entry| entry.term).collect()
    }

    #[test]
    fn an_append_replaces_what_stood_there_and_behind() {
        let mut log = log(&[1, 1, 1]);
        log.append(entries(3, &[2]));
        assert_eq!((terms(&log), log.bytes()), (vec![1, 2], 20));
        assert_eq!((log.last_index(), log.term(3)), (Ok(3), Ok(2)));
        log.append(entries(4, &[2, 3]));
        assert_eq!(terms(&log), [1, 2, 2, 3]);
    }

    #[test]
    fn a_cut_keeps_the_term_at_its_edge() {
        let mut log = log(&[1, 2, 3]);
        log.cut(3, |_| true);
        assert_eq!(
            (log.first_index(), log.term(3), log.bytes()),
            (Ok(4), Ok(2), 10)
        );
        let compacted = || Err(Error::Store(StorageError::Compacted));
        assert_eq!(log.term(2), compacted().map(|()| 0));
        let context = || GetEntriesContext::empty(false);
        assert_eq!(
            log.entries(3, 5, None, context()),
            compacted().map(|()| Vec::new())
        );
        assert_eq!(log.entries(4, 5, None, context()).unwrap().len(), 1);
        log.cut(4, |bytes| bytes > 10);
        assert_eq!(log.bytes(), 10, "what is left is small enough");
    }

    #[test]
    fn a_reading_is_bounded_in_bytes_but_never_empty() {
        let log = log(&[1, 1, 1]);
        for (limit, count) in [(0, 1), (10, 1), (19, 1), (20, 2), (1000, 3)] {
            let read = log.entries(2, 5, limit, GetEntriesContext::empty(false));
            assert_eq!(read.unwrap().len(), count, "{limit}");
        }
    }

    #[test]
    fn a_copy_is_named_only_to_whom_it_was_offered() {
        let mut log = log(&[1]);
        assert!(log.snapshot(0, 7).is_err());
        assert_eq!(log.take_wanted(), BTreeSet::from([7]));
        let copy = SnapshotMetadata {
            index: 2,
            term: 1,
            ..SnapshotMetadata::default()
        };
        log.offer(7, copy);
        assert_eq!(log.snapshot(0, 7).unwrap().get_metadata().index, 2);
        assert!(log.snapshot(0, 8).is_err());
        log.withdraw(7);
        assert!(log.snapshot(0, 7).is_err());
    }
}
