//! Who has what: the members of a cluster, and the nodes that hold each shard, under one epoch.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::slot;

/// A node's identity for its whole life: 20 random bytes, 40 hexadecimal digits, as Redis writes
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 20]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a node id is 40 hexadecimal digits, not '{text}'");
        if text.len() != 40 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut id = [0; 20];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(id))
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its identity.
    pub id: NodeId,
    /// The address under which the cluster was told to find it; the ring places it by this.
    pub seat: String,
    /// `host:port` where clients are served without redirections.
    pub client: String,
    /// `host:port` where cluster-aware clients are served and `MOVED` is answered.
    pub redirect: String,
}

/// The copies of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Index in [`Topology::members`] of the node that orders the shard's commands.
    pub leader: u16,
    /// Indices in [`Topology::members`] of every node with a copy, the leader included.
    pub replicas: Vec<u16>,
}

/// What is: the members and, for each shard, its replicas and leader.
///
/// Two topologies of one cluster with the same epoch are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Grows with every change.
    pub epoch: u64,
    /// The members, ordered by seat.
    pub members: Vec<Member>,
    /// One placement a shard; their count is a power of two, fixed when the cluster is created.
    pub shards: Vec<Placement>,
}

impl Topology {
    /// The shard of a slot: shards are equal, contiguous ranges of slots.
    #[must_use]
    pub fn shard_of(&self, slot: u16) -> usize {
        slot::shard_of(slot, self.shards.len())
    }

    /// The slots of a shard.
    #[must_use]
    pub fn slots_of(&self, shard: usize) -> RangeInclusive<u16> {
        slot::slots_of(shard, self.shards.len())
    }

    /// The member that leads a slot.
    #[must_use]
    pub fn leader_of(&self, slot: u16) -> &Member {
        &self.members[usize::from(self.shards[self.shard_of(slot)].leader)]
    }

    /// The index of a member in [`Topology::members`].
    #[must_use]
    pub fn index_of(&self, id: NodeId) -> Option<u16> {
        let index = self.members.iter().position(|member| member.id == id)?;
        u16::try_from(index).ok()
    }

    /// The contiguous ranges of slots that a member leads, in order, adjacent shards merged.
    #[must_use]
    pub fn led_by(&self, member: u16) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for (shard, placement) in self.shards.iter().enumerate() {
            if placement.leader != member {
                continue;
            }
            let slots = self.slots_of(shard);
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == *slots.start() => {
                    *last = *last.start()..=*slots.end();
                }
                _ => ranges.push(slots),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::SLOTS;

    fn topology(leaders: &[u16]) -> Topology {
        let member = |index: u8| Member {
            id: NodeId([index; 20]),
            seat: format!("10.0.0.{index}:7400"),
            client: format!("10.0.0.{index}:7400"),
            redirect: format!("10.0.0.{index}:8400"),
        };
        Topology {
            epoch: 1,
            members: (0..3).map(member).collect(),
            shards: leaders
                .iter()
                .map(|&leader| Placement {
                    leader,
                    replicas: vec![leader],
                })
                .collect(),
        }
    }

    #[test]
    fn shards_are_equal_ranges_of_slots() {
        for shards in [1, 2, 64, 1024, 16384] {
            let topology = topology(&vec![0; shards]);
            let mut next = 0;
            for shard in 0..shards {
                let slots = topology.slots_of(shard);
                assert_eq!(*slots.start(), next);
                assert_eq!(slots.len(), usize::from(SLOTS) / shards);
                assert!(slots.clone().all(|slot| topology.shard_of(slot) == shard));
                next = slots.end() + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }

    #[test]
    fn adjacent_shards_of_a_member_are_one_range() {
        let topology = topology(&[0, 0, 1, 0]);
        assert_eq!(topology.led_by(0), [0..=8191, 12288..=16383]);
        assert_eq!(topology.led_by(1), std::slice::from_ref(&(8192..=12287)));
        assert_eq!(topology.led_by(2), []);
        assert_eq!(topology.leader_of(8192).id, NodeId([1; 20]));
        assert_eq!(topology.index_of(NodeId([2; 20])), Some(2));
        assert_eq!(topology.index_of(NodeId([9; 20])), None);
    }

    #[test]
    fn node_ids_are_40_digits() {
        let text = "00ff".repeat(10);
        let id: NodeId = text.parse().unwrap();
        assert_eq!((id.0[0], id.0[1]), (0, 255));
        assert_eq!(id.to_string(), text);
        for wrong in [
            "",
            "00",
            &"0g".repeat(20),
            &"00".repeat(21),
            &"é".repeat(20),
        ] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_topology_crosses_the_wire_unchanged() {
        let topology = topology(&[0, 1, 2, 0]);
        let bytes = rmp_serde::to_vec_named(&topology).unwrap();
        assert_eq!(rmp_serde::from_slice::<Topology>(&bytes).unwrap(), topology);
    }
}
