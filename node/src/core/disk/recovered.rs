//! What a log says, once all of it was read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{Group, Who};
use crate::core::replication::raft::{PeerId, Point};

/// What a node finds in its data directory when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The groups of which this node is a member.
    pub groups: BTreeMap<Group, Kept>,
    /// Members of groups that this node was and never will be again.
    pub gone: BTreeSet<Who>,
    /// The cluster as it was last known here, in the encoding of its module.
    pub cluster: Option<Bytes>,
    /// The number of the next batch.
    pub next_batch: u64,
    /// No file of a snapshot has this number or a higher one.
    pub next_snapshot: u64,
}

/// What is kept of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which member of it this node is.
    pub peer: PeerId,
    /// Where the log starts.
    pub base: Base,
    /// The entries behind that, one behind the other, in the encoding of the engine's module.
    pub entries: VecDeque<(Point, Bytes)>,
    /// The engine's hard state, if any was kept for this member.
    pub hard: Option<Hard>,
}

/// The point at which the log of a group starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The state machine stands here.
    pub at: Point,
    /// The members of the group at this point, in the encoding of the engine's module.
    pub members: Bytes,
    /// The number of the file with the state machine; without one it is as at its birth.
    pub snapshot: Option<u64>,
}

/// The engine's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    /// The term.
    pub term: u64,
    /// For whom this member has voted in it; 0 for nobody.
    pub vote: PeerId,
    /// What is known to be committed; it may lie behind the last entry that was kept.
    pub commit: u64,
}

impl Default for Recovered {
    /// What is found in a new data directory.
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            gone: BTreeSet::new(),
            cluster: None,
            next_batch: 1,
            next_snapshot: 1,
        }
    }
}
