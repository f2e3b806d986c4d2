//! What nodes say to each other while at least one of them belongs to no cluster.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use dht_proto::frame::Malformed;
use dht_proto::topology::{Member, NodeId};
use serde::{Deserialize, Serialize};

use crate::core::meta::ClusterState;

/// What a node says to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormationMessage {
    /// Asks whether the other belongs to a cluster.
    Ask {
        /// Comes back if it does.
        question: u64,
    },
    /// The sender belongs to no cluster.
    Idle {
        /// Who it is.
        member: Member,
        /// What it was started with.
        terms: Terms,
    },
    /// The sender belongs to a cluster.
    Belongs {
        /// Which question or proposal it answers.
        question: u64,
        /// Which cluster.
        belonging: Box<Belonging>,
    },
    /// The sender is the founder and proposes a cluster.
    Propose {
        /// Which of its proposals; at the same time a question.
        number: u64,
        /// The cluster.
        state: Box<ClusterState>,
    },
    /// The sender belongs to no cluster and would belong to the one that was proposed.
    Accept {
        /// Which proposal.
        number: u64,
        /// Asks whether the other belongs to a cluster by now.
        question: u64,
    },
}

impl FormationMessage {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match rmp_serde::to_vec(self) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("writing to memory failed: {error}"),
        }
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        rmp_serde::from_slice(bytes).map_err(|_| Malformed("no message of formation"))
    }
}

/// A cluster, as one of its nodes knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belonging {
    /// As it was formed.
    pub founding: ClusterState,
    /// As it is.
    pub present: ClusterState,
}

impl Belonging {
    /// The cluster as bytes, to be kept.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match rmp_serde::to_vec(self) {
            Ok(bytes) => bytes.into(),
            Err(error) => unreachable!("writing to memory failed: {error}"),
        }
    }

    /// The cluster that was kept as these bytes.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        rmp_serde::from_slice(bytes).map_err(|_| Malformed("no cluster"))
    }

    /// What a node starts from, if it is a member.
    #[must_use]
    pub fn start_of(&self, node: NodeId) -> Option<&ClusterState> {
        self.present.member(node)?;
        let founding = self.founding.member(node).map(|_| &self.founding);
        Some(founding.unwrap_or(&self.present))
    }
}

/// What all nodes that form a cluster have to agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The addresses in `--join`.
    pub seats: BTreeSet<String>,
    /// The number of shards.
    pub shards: u32,
    /// The number of copies of each.
    pub copies: u32,
}

impl Terms {
    /// Why a node with other terms cannot be in one cluster with this one.
    #[must_use]
    pub fn differ(&self, other: &Self) -> Option<Refusal> {
        if self.seats != other.seats {
            return Some(Refusal::OtherSeats(other.seats.iter().cloned().collect()));
        }
        if self.shards != other.shards {
            return Some(Refusal::OtherShards(other.shards));
        }
        (self.copies != other.copies).then_some(Refusal::OtherCopies(other.copies))
    }

    /// Whether a cluster is formed on these terms.
    #[must_use]
    pub fn are_those_of(&self, state: &ClusterState) -> bool {
        state.seats().into_iter().eq(&self.seats)
            && state.shards.len() == self.shards as usize
            && state.copies == self.copies as usize
    }
}

/// Why this node cannot form a cluster with the one at a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other was started with another list: what it has.
    OtherSeats(Vec<String>),
    /// The other was started with another number of shards: which.
    OtherShards(u32),
    /// The other was started with another number of copies: which.
    OtherCopies(u32),
    /// Two addresses of the list lead to one node: the other address.
    SameNode(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSeats(seats) => write!(f, "it was started with --join {}", seats.join(",")),
            Self::OtherShards(shards) => write!(f, "it was started with --shards {shards}"),
            Self::OtherCopies(copies) => write!(f, "it was started with --replicas {copies}"),
            Self::SameNode(seat) => write!(f, "it is the same node as {seat}"),
        }
    }
}
