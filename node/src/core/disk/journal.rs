//! The log as it grows: lays batches out into segments, and says when a segment can go.
//!
//! A segment is begun only once everything before it is durable. Its first batch says again what
//! the segments before it hold besides entries, so that they can go when no entries pin them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::holdings::{Contradiction, Holdings, Segment};
use super::segment::{self, Salt};
use super::{Batch, Record, codec};

/// Bytes of a segment, about: a batch is never split.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// What is to be done with the files of a log, in this order; all of it may be done once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make an empty segment, whatever there was under its number.
    Create(u64),
    /// Write bytes at a place in a segment.
    Write {
        /// Which segment.
        segment: u64,
        /// The place, in bytes.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Cut a segment off.
    Truncate {
        /// Which segment.
        segment: u64,
        /// The bytes that are left of it.
        length: u64,
    },
    /// Wait until all that was written to a segment, and its length, is durable.
    Flush(u64),
    /// Remove a segment.
    Remove(u64),
    /// Wait until it is durable which segments there are.
    FlushDirectory,
}

/// A log that grows.
#[derive(Clone, Debug)]
pub struct Journal {
    salt: Salt,
    segment_bytes: u64,
    holdings: Holdings,
    /// All segments that there are, in order.
    segments: VecDeque<Segment>,
    /// The segment that is written to, and how long it is.
    open: Option<(Segment, u64)>,
    /// The first segment that is needed, once the batch with this number is durable.
    oldest: Segment,
    oldest_since: u64,
    next: u64,
    durable: u64,
}

impl Journal {
    /// An empty log, whose segments have about this many bytes.
    #[must_use]
    pub fn new(salt: Salt, segment_bytes: u64) -> Self {
        Self::from_parts(salt, segment_bytes, Holdings::default(), VecDeque::new(), 1)
    }

    /// A log that goes on with the batch `next`, in a new segment.
    pub(super) const fn from_parts(
        salt: Salt,
        segment_bytes: u64,
        holdings: Holdings,
        segments: VecDeque<Segment>,
        next: u64,
    ) -> Self {
        Self {
            salt,
            segment_bytes,
            holdings,
            segments,
            open: None,
            oldest: 0,
            oldest_since: 0,
            next,
            durable: next - 1,
        }
    }

    /// The number that the next batch has to have.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Adds a batch. All before it have to be [`Self::durable`].
    ///
    /// # Errors
    /// It cannot follow what was kept before: a defect in who has made it. The log is of no use
    /// then.
    pub fn append(&mut self, batch: &Batch) -> Result<Vec<Operation>, Contradiction> {
        if batch.number != self.next || self.durable + 1 != self.next {
            return Err("a batch out of turn");
        }
        let is_full = |(_, length): &(Segment, u64)| *length >= self.segment_bytes;
        let open = self.open.filter(|open| !is_full(open));
        let is_new = open.is_none();
        let (segment, offset) = open.unwrap_or((batch.number, 0));
        let mut bytes = BytesMut::new();
        let mut again = Vec::new();
        if is_new {
            segment::put_head(self.salt, segment, &mut bytes);
            self.segments.push_back(segment);
            again = self.carry(segment);
        }
        for record in &batch.records {
            self.holdings.note(record, segment)?;
        }
        let numbers = (batch.number, self.durable, self.oldest);
        segment::put_batch(self.salt, numbers, &mut bytes, |out| {
            let records = again.iter().chain(&batch.records);
            records.for_each(|record| codec::encode(record, out));
        })?;
        self.open = Some((segment, offset + bytes.len() as u64));
        self.next += 1;
        let write = Operation::Write {
            segment,
            offset,
            bytes: bytes.freeze(),
        };
        Ok(if is_new {
            let (create, flush) = (Operation::Create(segment), Operation::Flush(segment));
            vec![create, write, flush, Operation::FlushDirectory]
        } else {
            vec![write, Operation::Flush(segment)]
        })
    }

    /// What is said again in a new segment, since it may stand nowhere else once older ones have
    /// gone.
    fn carry(&mut self, segment: Segment) -> Vec<Record> {
        let pinned = self.holdings.pinning().unwrap_or(segment);
        (self.oldest, self.oldest_since) = (pinned, segment);
        self.holdings.carry(pinned, segment)
    }

    /// A batch is durable, and all before it: gives what can be done now.
    pub fn durable(&mut self, number: u64) -> Vec<Operation> {
        self.durable = self.durable.max(number);
        let mut removed = Vec::new();
        if self.durable < self.oldest_since {
            return removed;
        }
        while let Some(first) = self.segments.front().copied()
            && first < self.oldest
        {
            self.segments.pop_front();
            removed.push(Operation::Remove(first));
        }
        removed
    }
}
