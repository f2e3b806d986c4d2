//! What a node with a data directory keeps on its disk, as bytes in and bytes out: the shell
//! writes, flushes and reads files, and decides nothing.
//!
//! There is one log for all groups of the node. What a turn of the replication leaves to be kept
//! is a [`Batch`] of [`Record`]s; once the shell has flushed it, what had to wait for that goes on.

mod codec;
mod holdings;
pub mod identity;
pub mod image;
pub mod journal;
mod recovered;
pub mod recovery;
pub mod segment;

use bytes::Bytes;

pub use self::recovered::{Base, Hard, Kept, Recovered};
use crate::core::formation::Belonging;
use crate::core::meta::ClusterId;
use crate::core::replication::raft::{PeerId, Point};

/// A group in the log: 0 is the meta group, shard `n` is group `n + 1`.
pub type Group = u16;

/// What one turn leaves to be kept, all or nothing as far as anybody is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Its number: one more than that of the batch before.
    pub number: u64,
    /// In this order.
    pub records: Vec<Record>,
}

impl Batch {
    /// The cluster to which the node belongs, if this batch says so.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        let bytes = self.records.iter().rev().find_map(|record| match record {
            Record::Cluster(bytes) => Some(bytes),
            _ => None,
        });
        let belonging = Belonging::decode(bytes?).ok()?;
        Some(belonging.present.id)
    }
}

/// A group, and which member of it this node is.
pub type Who = (Group, PeerId);

/// Something that is kept. Of one group later records supersede earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// This member's log of a group starts here: nothing that was kept of the group before counts
    /// any more, but for the vote and the term of the same peer.
    Start(Who, Base),
    /// The log starts here from now on, and what is behind that stays: a later snapshot is durable,
    /// or what is known already is said again, so that the segment that said it first can go.
    Cut(Who, Base),
    /// Entries, one behind the other, each with its place, in the encoding of the engine's module;
    /// what stood at their places and behind is thrown away.
    Entries(Who, Vec<(Point, Bytes)>),
    /// The engine's hard state.
    Hard(Who, Hard),
    /// This node is no member of a group any more, and this peer never will be again.
    Gone(Who),
    /// The cluster as this node knows it, in the encoding of its module: where its groups' members
    /// live. Only the latest counts.
    Cluster(Bytes),
}

/// A part of the file of a snapshot, to be written in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Save {
    /// The next bytes of a file, which begins with the first of them.
    Piece {
        /// The file's number: never used before.
        snapshot: u64,
        /// The bytes.
        bytes: Bytes,
        /// These are the last ones: the file is made durable.
        last: bool,
    },
    /// A file is of no use any more, complete or not.
    Remove(u64),
}

/// What the shell says of what it was given to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// All batches up to this number are durable.
    Durable(u64),
    /// A piece of the snapshot with this number was written, though it may not be durable.
    Piece(u64),
    /// The file of the snapshot with this number is complete and durable.
    Saved(u64),
    /// The file could not be written, and nothing is left of it.
    Unsaved(u64),
    /// Whether there is room for more than what has to be kept at any price.
    Room(bool),
}
