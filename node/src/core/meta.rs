//! What the meta group decides: who the members are, and which of them hold a replica of which
//! group. Every replica of the meta group applies the same changes in the same order and so has the
//! same state. It knows nothing of Raft, links or data.
//!
//! A replica is known to its group by a peer id, which no other replica of any group has or will
//! ever have: so a node that has lost its data cannot be taken for the one that had them. A group
//! begins, empty, with peers that follow each other; all later ones have to be given the data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dht_proto::topology::{Member, NodeId, Placement, Topology};
use serde::{Deserialize, Serialize};

use super::mutation::{self, Mutation};
use super::placement::place;

/// A group of replicas: [`META`], or one more than the number of a shard.
pub type GroupId = u32;

/// The group that keeps the [`ClusterState`] itself.
pub const META: GroupId = 0;

/// A replica's name within its group: never 0, never given to a second replica of any group.
pub type PeerId = u64;

/// A cluster's identity: 16 random bytes, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its name.
    pub peer: PeerId,
    /// Where it is.
    pub node: NodeId,
}

/// A cluster as its meta group has decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Which cluster.
    pub id: ClusterId,
    /// 1 when it was formed; one more with every change.
    pub epoch: u64,
    /// The members, ordered by seat.
    pub members: Vec<Member>,
    /// How many copies of a shard there are to be, were there members enough.
    pub copies: usize,
    /// The replicas of the meta group.
    pub meta: Vec<Replica>,
    /// The replicas of each shard, first the one that is to lead if it can.
    pub shards: Vec<Vec<Replica>>,
    /// The first and the last of the peers with which each group has begun, by group.
    pub founders: Vec<(PeerId, PeerId)>,
    /// The next peer id to be given.
    pub next_peer: PeerId,
}

/// A change of a cluster, as a member proposes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node takes the seat of another, which has lost its data.
    Replace {
        /// The node that is gone.
        old: NodeId,
        /// The node that takes its seat; what it says of its own seat does not count.
        new: Member,
    },
    /// A node joins beside the members, in a seat of its own: it gets a copy of everything, as long
    /// as there are fewer members than copies to be.
    Add {
        /// The node.
        member: Member,
    },
    /// A member is reached at other addresses than before; its seat stays the same.
    Move {
        /// The member; what it says of its seat does not count.
        member: Member,
    },
    /// Shards begin anew, without what they held: they have lost most of their replicas.
    Empty {
        /// Each shard, and the first of the peers with which it has begun: what has begun anew
        /// since is left alone.
        shards: Vec<(u16, PeerId)>,
    },
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such member, or no longer.
    NoMember(NodeId),
    /// The new member is one already, in another seat: which.
    Seated(String),
    /// There is no such shard.
    NoShard(u16),
    /// There are as many members as copies.
    Enough,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMember(node) => write!(f, "{node} is no member"),
            Self::Seated(seat) => write!(f, "the new member is the one at {seat} already"),
            Self::Enough => f.write_str("there are as many members as copies of each shard"),
            Self::NoShard(shard) => write!(f, "there is no shard {shard}"),
        }
    }
}

impl std::error::Error for Refused {}

impl ClusterState {
    /// The cluster that these members form: `shards` shards in `copies` copies each, or one on
    /// every member if there are fewer.
    #[must_use]
    pub fn form(id: ClusterId, mut members: Vec<Member>, shards: usize, copies: usize) -> Self {
        members.sort_by(|a, b| a.seat.cmp(&b.seat));
        let seats: BTreeSet<String> = members.iter().map(|member| member.seat.clone()).collect();
        let mut next_peer = 1;
        let mut replica = |member: usize| {
            let peer = next_peer;
            next_peer += 1;
            Replica {
                peer,
                node: members[member].id,
            }
        };
        let meta: Vec<Replica> = (0..members.len().min(meta_copies(copies)))
            .map(&mut replica)
            .collect();
        let shards: Vec<Vec<Replica>> = place(&seats, shards, copies, None)
            .into_iter()
            .map(|placement| {
                let held = placement.replicas.into_iter().map(usize::from);
                held.map(&mut replica).collect()
            })
            .collect();
        let groups = [&meta].into_iter().chain(&shards);
        let founders = groups.map(|replicas| founders_of(replicas)).collect();
        Self {
            id,
            epoch: 1,
            members,
            copies,
            meta,
            shards,
            founders,
            next_peer,
        }
    }

    /// Makes a change. One that was made already changes nothing.
    ///
    /// # Errors
    /// The change is out of date or makes no sense; nothing has changed.
    pub fn apply(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Replace { old, new } => self.replace(*old, new),
            Change::Add { member } => self.add(member),
            Change::Move { member } => self.move_to(member),
            Change::Empty { shards } => self.empty(shards),
        }
    }

    fn empty(&mut self, shards: &[(u16, PeerId)]) -> Result<(), Refused> {
        if let Some((shard, _)) = (shards.iter()).find(|(shard, _)| self.founders_of(*shard) == 0) {
            return Err(Refused::NoShard(*shard));
        }
        let before = self.next_peer;
        for (shard, founder) in shards {
            if self.founders_of(*shard) == *founder {
                let replicas = &mut self.shards[usize::from(*shard)];
                for replica in &mut *replicas {
                    replica.peer = self.next_peer;
                    self.next_peer += 1;
                }
                self.founders[usize::from(*shard) + 1] = founders_of(replicas);
            }
        }
        self.epoch += u64::from(self.next_peer != before);
        Ok(())
    }

    /// The first of the peers with which a shard has begun; 0 when there is no such shard.
    #[must_use]
    pub fn founders_of(&self, shard: u16) -> PeerId {
        let founders = self.founders.get(usize::from(shard) + 1);
        founders.map_or(0, |(first, _)| *first)
    }

    /// The voters of a group at its beginning, if this peer was one of them; else none: it has to
    /// be given the data.
    #[must_use]
    pub fn first_voters(&self, group: GroupId, peer: PeerId) -> Vec<PeerId> {
        let founders = self.founders.get(group as usize);
        let all = founders.map(|(first, last)| *first..=*last);
        let all = all.filter(|all| all.contains(&peer));
        all.into_iter().flatten().collect()
    }

    fn replace(&mut self, old: NodeId, new: &Member) -> Result<(), Refused> {
        match (self.seat_of(old), self.seat_of(new.id)) {
            (None, None) => Err(Refused::NoMember(old)),
            (None, Some(_)) => Ok(()),
            (Some(seat), Some(taken)) if seat == taken => Ok(()),
            (Some(_), Some(taken)) => Err(Refused::Seated(self.members[taken].seat.clone())),
            (Some(seat), None) => {
                let seat = &mut self.members[seat];
                *seat = Member {
                    seat: std::mem::take(&mut seat.seat),
                    ..new.clone()
                };
                self.move_replicas(old, new.id);
                self.epoch += 1;
                Ok(())
            }
        }
    }

    fn move_to(&mut self, new: &Member) -> Result<(), Refused> {
        let seat = self.seat_of(new.id).ok_or(Refused::NoMember(new.id))?;
        let member = &mut self.members[seat];
        let moved = Member {
            seat: member.seat.clone(),
            ..new.clone()
        };
        self.epoch += u64::from(*member != moved);
        *member = moved;
        Ok(())
    }

    fn add(&mut self, new: &Member) -> Result<(), Refused> {
        if self.seat_of(new.id).is_some() {
            return Ok(());
        }
        if self.members.iter().any(|member| member.seat == new.seat) {
            return Err(Refused::Seated(new.seat.clone()));
        }
        if self.members.len() >= self.copies {
            return Err(Refused::Enough);
        }
        self.members.push(new.clone());
        self.members.sort_by(|a, b| a.seat.cmp(&b.seat));
        let mut next_peer = self.next_peer;
        let mut newcomer = || {
            next_peer += 1;
            Replica {
                peer: next_peer - 1,
                node: new.id,
            }
        };
        if self.meta.len() < meta_copies(self.copies) {
            self.meta.push(newcomer());
        }
        let seats: BTreeSet<String> = self.members.iter().map(|it| it.seat.clone()).collect();
        let placements = place(&seats, self.shards.len(), self.copies, None);
        for (replicas, placement) in self.shards.iter_mut().zip(placements) {
            let old = std::mem::take(replicas);
            for index in placement.replicas {
                let node = self.members[usize::from(index)].id;
                let known = old.iter().find(|replica| replica.node == node);
                replicas.push(known.copied().unwrap_or_else(&mut newcomer));
            }
        }
        self.next_peer = next_peer;
        self.epoch += 1;
        Ok(())
    }

    /// Puts a new replica on `new` for every one on `old`.
    fn move_replicas(&mut self, old: NodeId, new: NodeId) {
        let groups = [&mut self.meta].into_iter().chain(&mut self.shards);
        for replica in groups.flatten().filter(|replica| replica.node == old) {
            let name = if mutation::is(Mutation::NamesReused) {
                replica.peer
            } else {
                self.next_peer
            };
            *replica = Replica {
                peer: name,
                node: new,
            };
            self.next_peer += 1;
        }
    }

    /// The index of a member in [`ClusterState::members`].
    fn seat_of(&self, node: NodeId) -> Option<usize> {
        self.members.iter().position(|member| member.id == node)
    }

    /// The seats of the members, in order.
    #[must_use]
    pub fn seats(&self) -> Vec<&str> {
        self.members
            .iter()
            .map(|member| member.seat.as_str())
            .collect()
    }

    /// A member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == node)
    }

    /// The replicas of a group; none of a group that there is not.
    #[must_use]
    pub fn replicas(&self, group: GroupId) -> &[Replica] {
        if group == META {
            return &self.meta;
        }
        let shard = self.shards.get(group as usize - 1);
        shard.map_or(&[], Vec::as_slice)
    }

    /// Every group with its replicas, in order.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &[Replica])> {
        let groups = [&self.meta].into_iter().chain(&self.shards);
        (META..).zip(groups.map(Vec::as_slice))
    }

    /// The groups of which a node holds a replica, with its names in them.
    pub fn hosted_by(&self, node: NodeId) -> impl Iterator<Item = (GroupId, PeerId)> {
        self.groups().filter_map(move |(group, replicas)| {
            let replica = replicas.iter().find(|replica| replica.node == node)?;
            Some((group, replica.peer))
        })
    }

    /// Where a replica is.
    #[must_use]
    pub fn node_of(&self, group: GroupId, peer: PeerId) -> Option<NodeId> {
        let mut replicas = self.replicas(group).iter();
        let replica = replicas.find(|replica| replica.peer == peer)?;
        Some(replica.node)
    }

    /// The topology, given who leads a shard at present. Where that is not known, or is no replica
    /// any more, it is the replica that is to lead if it can.
    #[must_use]
    pub fn topology(&self, leaders: impl Fn(usize) -> Option<NodeId>) -> Topology {
        let indices: BTreeMap<NodeId, u16> =
            (self.members.iter().map(|member| member.id).zip(0..)).collect();
        let placement = |(shard, replicas): (usize, &Vec<Replica>)| {
            let held = replicas
                .iter()
                .filter_map(|replica| indices.get(&replica.node));
            let replicas: Vec<u16> = held.copied().collect();
            let leader = leaders(shard).and_then(|node| indices.get(&node));
            let leader = leader.filter(|leader| replicas.contains(leader));
            Placement {
                leader: leader.or(replicas.first()).copied().unwrap_or_default(),
                replicas,
            }
        };
        Topology {
            epoch: self.epoch,
            members: self.members.clone(),
            shards: self.shards.iter().enumerate().map(placement).collect(),
        }
    }
}

/// The first and the last of replicas whose names follow each other.
fn founders_of(replicas: &[Replica]) -> (PeerId, PeerId) {
    let peer = |replica: Option<&Replica>| replica.map_or(0, |replica| replica.peer);
    (peer(replicas.first()), peer(replicas.last()))
}

/// How many replicas the meta group has, were there members enough.
const fn meta_copies(copies: usize) -> usize {
    if copies >= 5 { 5 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 20])
    }

    fn member(number: u8, seat: u8) -> Member {
        Member {
            id: node(number),
            seat: format!("10.0.0.{seat}:7400"),
            client: format!("10.0.1.{number}:7400"),
            redirect: format!("10.0.1.{number}:8400"),
        }
    }

    fn formed(members: u8, shards: usize, copies: usize) -> ClusterState {
        // Not in the order of seats.
        let members = (1..=members).rev().map(|number| member(number, number));
        ClusterState::form(ClusterId([0xa5; 16]), members.collect(), shards, copies)
    }

    fn replace(old: u8, new: u8, seat: u8) -> Change {
        Change::Replace {
            old: node(old),
            new: member(new, seat),
        }
    }

    fn peers(state: &ClusterState) -> Vec<PeerId> {
        let replicas = state.groups().flat_map(|(_, replicas)| replicas);
        replicas.map(|replica| replica.peer).collect()
    }

    #[test]
    fn a_cluster_is_formed_in_the_order_of_seats_with_a_name_for_every_replica() {
        for (members, copies, meta, each) in [
            (1, 3, 1, 1),
            (2, 3, 2, 2),
            (3, 1, 3, 1),
            (4, 3, 3, 3),
            (4, 5, 4, 4),
            (7, 5, 5, 5),
        ] {
            let state = formed(members, 16, copies);
            assert_eq!((state.epoch, state.copies), (1, copies));
            assert!(state.members.is_sorted_by_key(|member| &member.seat));
            assert_eq!(state.meta.len(), meta, "{members} members");
            assert!(
                state
                    .meta
                    .iter()
                    .map(|r| r.node)
                    .eq((1..).map(node).take(meta))
            );
            assert!(state.shards.iter().all(|shard| shard.len() == each));
            let total = u64::try_from(meta + 16 * each).unwrap();
            assert!(peers(&state).into_iter().eq(1..=total));
            assert_eq!(state.next_peer, total + 1);
            for (group, replicas) in state.groups() {
                let peers: Vec<PeerId> = replicas.iter().map(|replica| replica.peer).collect();
                assert_eq!(state.first_voters(group, peers[0]), peers);
            }
        }
    }

    #[test]
    fn members_that_join_beside_others_get_a_copy_of_everything() {
        let mut state = formed(1, 16, 3);
        let before = peers(&state);
        for number in [3, 2] {
            let change = Change::Add {
                member: member(number, number),
            };
            state.apply(&change).unwrap();
            let once = state.clone();
            state.apply(&change).unwrap();
            assert_eq!(state, once, "it is one already");
            assert_eq!(state.hosted_by(node(number)).count(), 17);
            assert!(state.hosted_by(node(number)).all(|(group, peer)| {
                state.first_voters(group, peer).is_empty() && !before.contains(&peer)
            }));
        }
        let kept: Vec<PeerId> = state.hosted_by(node(1)).map(|(_, peer)| peer).collect();
        assert_eq!(kept, before);
        let seats = state.members.iter().map(|m| m.seat.clone()).collect();
        assert_eq!(state.topology(|_| None).shards, place(&seats, 16, 3, None));
        let fourth = Change::Add {
            member: member(4, 4),
        };
        assert_eq!(state.apply(&fourth), Err(Refused::Enough));
        assert_eq!(state.epoch, 3);
    }

    #[test]
    fn the_placement_is_that_of_the_ring() {
        let state = formed(5, 64, 3);
        let seats = state.members.iter().map(|m| m.seat.clone()).collect();
        let topology = state.topology(|_| None);
        assert_eq!(topology.shards, place(&seats, 64, 3, None));
        assert_eq!(topology.members, state.members);
    }

    #[test]
    fn a_replacement_takes_the_seat_and_gets_names_of_its_own() {
        let before = formed(4, 16, 3);
        let mut state = before.clone();
        // It names a wrong seat, which does not count.
        state.apply(&replace(2, 9, 7)).unwrap();
        assert_eq!(state.epoch, 2);
        assert_eq!(state.members[1], member(9, 2));
        assert_eq!(state.hosted_by(node(2)).count(), 0);
        let groups = |state: &ClusterState, number| -> Vec<GroupId> {
            state
                .hosted_by(node(number))
                .map(|(group, _)| group)
                .collect()
        };
        assert_eq!(groups(&state, 9), groups(&before, 2));
        assert!(
            state
                .hosted_by(node(9))
                .all(|(group, peer)| state.first_voters(group, peer).is_empty()),
            "an old name was given again"
        );
        assert_eq!(groups(&state, 3), groups(&before, 3));
        let distinct: BTreeSet<PeerId> = peers(&state).into_iter().collect();
        assert_eq!(distinct.len(), peers(&before).len());
        assert_eq!(distinct.last(), Some(&(state.next_peer - 1)));
        assert_eq!(state.founders, before.founders);
    }

    #[test]
    fn a_shard_begins_anew_once_with_names_of_its_own() {
        let before = formed(3, 16, 3);
        let mut state = before.clone();
        let empty = Change::Empty {
            shards: vec![(2, before.founders_of(2)), (5, before.founders_of(5))],
        };
        state.apply(&empty).unwrap();
        assert_eq!(state.epoch, 2);
        for shard in 0..16u16 {
            let group = GroupId::from(shard) + 1;
            let (old, new) = (before.replicas(group), state.replicas(group));
            let nodes = |replicas: &[Replica]| replicas.iter().map(|r| r.node).collect::<Vec<_>>();
            assert_eq!(nodes(old), nodes(new));
            let is_new = new.iter().all(|replica| replica.peer >= before.next_peer);
            assert_eq!(is_new, [2, 5].contains(&shard), "{shard}");
            let peers: Vec<PeerId> = new.iter().map(|replica| replica.peer).collect();
            assert_eq!(state.first_voters(group, peers[1]), peers);
        }
        assert!(state.first_voters(3, before.shards[2][0].peer).is_empty());
        let once = state.clone();
        assert_eq!(state.apply(&empty), Ok(()));
        assert_eq!(state, once, "made twice");
        let nowhere = Change::Empty {
            shards: vec![(2, state.founders_of(2)), (16, 1)],
        };
        assert_eq!(state.apply(&nowhere), Err(Refused::NoShard(16)));
        assert_eq!(state, once);
    }

    #[test]
    fn changes_made_twice_or_too_late_change_nothing() {
        let mut state = formed(3, 16, 3);
        state.apply(&replace(2, 9, 2)).unwrap();
        let cases = [
            (replace(2, 9, 2), Ok(())),
            (replace(9, 9, 2), Ok(())),
            (replace(2, 8, 2), Err(Refused::NoMember(node(2)))),
            (replace(1, 3, 1), Err(Refused::Seated(member(3, 3).seat))),
        ];
        for (change, result) in cases {
            let before = state.clone();
            assert_eq!(state.apply(&change), result, "{change:?}");
            assert_eq!(state, before, "{change:?}");
        }
        state.apply(&replace(9, 10, 2)).unwrap();
        assert_eq!(
            state.apply(&replace(2, 9, 2)),
            Err(Refused::NoMember(node(2))),
            "a node that was replaced comes back"
        );
        assert_eq!(state.epoch, 3);
    }

    #[test]
    fn a_member_that_moves_keeps_its_seat_and_its_replicas() {
        let mut state = formed(3, 16, 3);
        let before = state.clone();
        let moved = Member {
            client: "10.9.9.9:1".to_owned(),
            redirect: "10.9.9.9:2".to_owned(),
            seat: "not its own".to_owned(),
            id: node(2),
        };
        let change = Change::Move {
            member: moved.clone(),
        };
        state.apply(&change).unwrap();
        let there = state.member(node(2)).unwrap();
        let seat = before.member(node(2)).unwrap().seat.clone();
        assert_eq!(*there, Member { seat, ..moved });
        assert_eq!((state.epoch, &state.shards), (2, &before.shards));
        let once = state.clone();
        state.apply(&change).unwrap();
        assert_eq!(state, once);
        let stranger = Change::Move {
            member: member(9, 9),
        };
        assert_eq!(state.apply(&stranger), Err(Refused::NoMember(node(9))));
    }

    #[test]
    fn replicas_are_found_by_group_peer_and_node() {
        let state = formed(3, 16, 1);
        assert_eq!(state.groups().count(), 17);
        for (group, replicas) in state.groups() {
            assert_eq!(state.replicas(group), replicas);
            for replica in replicas {
                assert_eq!(state.node_of(group, replica.peer), Some(replica.node));
                assert_eq!(state.node_of(group + 1, replica.peer), None);
                assert!(
                    state
                        .hosted_by(replica.node)
                        .any(|held| held == (group, replica.peer)),
                    "{group}"
                );
            }
        }
        assert_eq!(state.replicas(17), []);
        assert_eq!(state.member(node(3)), Some(&member(3, 3)));
        assert_eq!(state.member(node(4)), None);
    }

    #[test]
    fn a_topology_shows_who_leads_among_the_replicas() {
        let mut state = formed(3, 4, 2);
        let second = state.shards[1][1].node;
        let mut outsiders = state.members.iter().map(|m| m.id);
        let outsider = outsiders.find(|id| state.shards[2].iter().all(|r| r.node != *id));
        let outsider = outsider.unwrap();
        let topology = state.topology(|shard| match shard {
            1 => Some(second),
            2 => Some(outsider),
            3 => Some(node(99)),
            _ => None,
        });
        let leader = |shard: usize| topology.members[usize::from(topology.shards[shard].leader)].id;
        assert_eq!(leader(1), second);
        for shard in [0, 2, 3] {
            assert_eq!(leader(shard), state.shards[shard][0].node, "shard {shard}");
        }
        state.apply(&replace(1, 9, 1)).unwrap();
        let next = state.topology(|_| None);
        assert_eq!((next.epoch, next.members[0].id), (2, node(9)));
        assert_eq!(next.shards, state.topology(|_| Some(node(1))).shards);
    }

    #[test]
    fn states_and_changes_cross_the_wire_unchanged() {
        let mut state = formed(3, 64, 3);
        state.apply(&replace(2, 9, 2)).unwrap();
        let bytes = rmp_serde::to_vec(&state).unwrap();
        assert_eq!(
            rmp_serde::from_slice::<ClusterState>(&bytes).unwrap(),
            state
        );
        let change = replace(9, 10, 2);
        let bytes = rmp_serde::to_vec(&change).unwrap();
        assert_eq!(rmp_serde::from_slice::<Change>(&bytes).unwrap(), change);
        assert_eq!(state.id.to_string(), "a5".repeat(16));
    }
}
