//! Handing leaderships to those who are to have them, while nothing is wrong: once they have their
//! copies.
//!
//! A node that is being given copies is busy with them. What asks it to lead, and what it says as a
//! leader, would wait behind their pieces and behind their files, and clients would wait for that.

use dht_proto::topology::NodeId;

use super::{Worker, first_of};
use crate::core::replication::mail::Mail;

/// Ticks after which leadership goes to who is to have it, if it can.
const HAND_OVER_TICKS: u64 = 40;
/// Ticks for which it is believed that another node is being given copies.
const LEARNING_TICKS: u64 = 20;

impl<T> Worker<T> {
    /// Hands a leadership to whom is to have it, from time to time, if it can.
    pub(super) fn hand_over_to_first(&mut self, shard: u16) {
        if !self.ticks.is_multiple_of(HAND_OVER_TICKS) {
            return;
        }
        let first = self.state.as_ref().and_then(|state| first_of(state, shard));
        let can = |node| self.has_room(node) && !self.learning.contains_key(&node);
        let first = first.copied().filter(|first| can(first.node));
        if let Some(first) = first
            && let Some(replica) = &mut self.shards[usize::from(shard)].replica
        {
            replica.hand_over(first.peer);
        }
    }

    /// Tells all members, while it is so, that this node is being given copies. What nobody leads
    /// any more is given to nobody.
    pub(super) fn tell_learns(&mut self) {
        let ticks = self.ticks;
        self.learning.retain(|_, until| *until > ticks);
        let learns = |shard: &u16| {
            let replica = self.replica(*shard);
            replica.is_some_and(|it| it.learns()) && self.leader(*shard).is_some()
        };
        if !(0..self.shards.len() as u16).any(|shard| learns(&shard)) {
            return;
        }
        let members = self.state.iter().flat_map(|state| &state.members);
        for member in members.filter(|member| member.id != self.node.id) {
            self.post.send(member.id, &Mail::Learns);
        }
    }

    /// Another node is being given copies.
    pub(super) fn hear_learns(&mut self, from: NodeId) {
        self.learning.insert(from, self.ticks + LEARNING_TICKS);
    }
}
