//! What all groups of a node have to keep, gathered into batches: at most one is being flushed,
//! and what comes meanwhile gathers in the next. It knows who waits for a batch, and nothing of
//! what is in it.

use std::collections::VecDeque;

use super::raft::PeerId;
use super::raft::persist::{Keep, Place};
use crate::core::disk::{Batch, Group, Record, Who};

/// The log of a node as its replication sees it.
#[derive(Debug, Default)]
pub struct Keeper {
    /// The next batch; none without a disk.
    next: Option<Batch>,
    /// There is a batch that was handed over and is not durable.
    is_flushing: bool,
    waiting: VecDeque<Waiting>,
}

/// Somebody that goes on once a batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    batch: u64,
    /// Which group.
    pub group: Group,
    /// Which member of it.
    pub peer: PeerId,
    /// Up to which turn of the engine.
    pub ready: u64,
}

impl Keeper {
    /// The keeper of a node with a disk, whose next batch has this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        let next = Batch {
            number,
            records: Vec::new(),
        };
        Self {
            next: Some(next),
            is_flushing: false,
            waiting: VecDeque::new(),
        }
    }

    /// Whether there is a disk.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.next.is_some()
    }

    /// The number of the batch that gathers now.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.next.as_ref().map_or(0, |next| next.number)
    }

    /// Has a record kept, if there is a disk. Gives the number of the batch that it is in.
    pub fn record(&mut self, record: impl FnOnce() -> Record) -> u64 {
        let Some(next) = &mut self.next else {
            return 0;
        };
        next.records.push(record());
        next.number
    }

    /// Has kept what a turn of a member's engine leaves. If that is a full copy, its state machine
    /// is in this place.
    pub fn keep(&mut self, (group, peer): Who, keep: Keep, state: &Place) {
        let Some(next) = &mut self.next else {
            return;
        };
        let (batch, ready) = (next.number, keep.ready);
        keep.records((group, peer), state, &mut next.records);
        let last = self.waiting.iter_mut().rev();
        let mut same = last.take_while(|waiting| waiting.batch == batch);
        match same.find(|waiting| (waiting.group, waiting.peer) == (group, peer)) {
            Some(waiting) => waiting.ready = ready,
            None => self.waiting.push_back(Waiting {
                batch,
                group,
                peer,
                ready,
            }),
        }
    }

    /// The next batch, if there is something in it and none is being flushed.
    pub fn take(&mut self) -> Option<Batch> {
        let next = self.next.as_mut()?;
        if self.is_flushing || next.records.is_empty() {
            return None;
        }
        self.is_flushing = true;
        let after = Batch {
            number: next.number + 1,
            records: Vec::new(),
        };
        Some(std::mem::replace(next, after))
    }

    /// A batch is durable, and all before it: who goes on.
    pub fn durable(&mut self, number: u64) -> Vec<Waiting> {
        self.is_flushing = false;
        let mut who = Vec::new();
        while let Some(waiting) = self.waiting.pop_front_if(|first| first.batch <= number) {
            who.push(waiting);
        }
        who
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(peer: PeerId) -> Record {
        Record::Gone((1, peer))
    }

    #[test]
    fn one_batch_is_flushed_while_the_next_gathers() {
        let mut keeper = Keeper::new(7);
        assert_eq!(keeper.take(), None);
        assert_eq!(keeper.record(|| gone(1)), 7);
        let first = keeper.take().unwrap();
        assert_eq!((first.number, first.records), (7, vec![gone(1)]));
        assert_eq!(keeper.record(|| gone(2)), 8);
        keeper.record(|| gone(3));
        assert_eq!(keeper.take(), None, "the first is not durable");
        assert_eq!(keeper.durable(7), []);
        let second = keeper.take().unwrap();
        assert_eq!((second.number, second.records), (8, vec![gone(2), gone(3)]));
    }

    #[test]
    fn without_a_disk_nothing_is_kept() {
        let mut keeper = Keeper::default();
        keeper.record(|| unreachable!("it is not even made"));
        assert!(!keeper.keeps());
        assert_eq!(keeper.take(), None);
    }
}
