//! How often each kind of fault has happened.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A frame is lost.
    Loss,
    /// A frame takes much longer than others.
    Delay,
    /// A frame arrives before one that was sent earlier.
    Reorder,
    /// A frame arrives twice.
    Duplicate,
    /// Nothing arrives in one direction.
    OneWay,
    /// Nothing arrives in either direction.
    Partition,
    /// A node ends at once, and loses everything.
    Crash,
    /// The process of a node stands still; time does not.
    Pause,
    /// The thread of a node's replication stands still; its connections do not.
    Stall,
    /// A wall clock is set forward.
    JumpForward,
    /// A wall clock is set back.
    JumpBack,
    /// A monotonic clock goes too fast or too slow.
    Drift,
    /// A node hands its leaderships over.
    Transfer,
    /// All nodes lose their power at once, and come back with their disks.
    PowerCut,
    /// A node ends at once, and comes back with its disk.
    Restart,
    /// A node ends at once, and its disk is lost.
    DiskLoss,
    /// A disk is slow for a time.
    SlowDisk,
    /// The file of a snapshot cannot be written to its end.
    Unsaved,
    /// A disk has no room for a time.
    FullDisk,
    /// Something on a disk that was durable is changed or lost.
    Damage,
    /// A new node has taken the place of a lost one, with all its data.
    Replacement,
    /// A shard loses everything and begins anew, before it has anything.
    Anew,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 22] = [
        Self::Loss,
        Self::Delay,
        Self::Reorder,
        Self::Duplicate,
        Self::OneWay,
        Self::Partition,
        Self::Crash,
        Self::Pause,
        Self::Stall,
        Self::JumpForward,
        Self::JumpBack,
        Self::Drift,
        Self::Transfer,
        Self::PowerCut,
        Self::Restart,
        Self::DiskLoss,
        Self::SlowDisk,
        Self::Unsaved,
        Self::FullDisk,
        Self::Damage,
        Self::Replacement,
        Self::Anew,
    ];

    /// Whether it happens to single frames, and so very often.
    #[must_use]
    pub const fn is_of_frames(self) -> bool {
        matches!(
            self,
            Self::Loss | Self::Delay | Self::Reorder | Self::Duplicate
        )
    }
}

/// Counts of faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Fault, u64>);

impl Tally {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// How many of a kind.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }

    /// How many, without those that happen to single frames.
    #[must_use]
    pub fn events(&self) -> u64 {
        let events = Fault::ALL.into_iter().filter(|fault| !fault.is_of_frames());
        events.map(|fault| self.of(fault)).sum()
    }

    /// The kinds that have not happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Fault> {
        let faults = Fault::ALL.into_iter();
        faults.filter(|fault| self.of(*fault) == 0).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in Fault::ALL.into_iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{fault:?} {}", self.of(fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known() {
        let mut tally = Tally::default();
        tally.count(Fault::Loss);
        tally.count(Fault::Crash);
        let mut sum = tally.clone();
        sum.add(&tally);
        assert_eq!((sum.of(Fault::Crash), sum.events()), (2, 2));
        assert_eq!(sum.missing().len(), Fault::ALL.len() - 2);
        assert!(sum.to_string().starts_with("Loss 2, Delay 0, "));
    }
}
