//! A node that is about to end: it hands over what it leads, and is handed nothing back.

use super::Worker;
use crate::core::meta::{ClusterState, GroupId, META};
use crate::core::replication::mail::Mail;
use crate::core::replication::raft::{Group, PeerId};
use dht_proto::topology::NodeId;

impl<T> Worker<T> {
    /// From now on this node is about to end; says whether it leads nothing that another node
    /// could, so that it may. To be called until it says so, and as long as the node goes on.
    pub fn leave(&mut self) -> bool {
        if !self.is_leaving {
            self.is_leaving = true;
            self.tell_leaves();
        }
        self.hand_all_over()
    }

    /// Hands all leaderships over, as far as somebody can take them; says whether none is left,
    /// and none may come.
    pub fn hand_all_over(&mut self) -> bool {
        let mut left = true;
        for shard in 0..self.shards.len() as u16 {
            let group = GroupId::from(shard) + 1;
            let at = &mut self.shards[usize::from(shard)];
            let (Some(replica), Some(state)) = (&mut at.replica, &self.state) else {
                continue;
            };
            let may_lead = |peer| may_lead(state, group, peer, |node| self.reach.is_leaving(node));
            let is_learning = |node| self.learning.contains_key(&node);
            let is_free =
                |peer| may_lead(peer) && !state.node_of(group, peer).is_some_and(is_learning);
            if hand_over(&mut replica.group, is_free, may_lead) {
                left = false;
                self.mark(shard);
            }
        }
        if let (Some(council), Some(state)) = (&mut self.council, &self.state) {
            let may_lead = |peer| may_lead(state, META, peer, |node| self.reach.is_leaving(node));
            left &= !hand_over(&mut council.group, may_lead, may_lead);
        }
        left
    }

    /// Tells all members that this node wants to lead nothing any more.
    pub(super) fn tell_leaves(&mut self) {
        let members = self.state.iter().flat_map(|state| &state.members);
        for member in members.filter(|member| member.id != self.node.id) {
            self.post.send(member.id, &Mail::Leaves);
        }
    }

    /// Another node is about to end: what was to be handed to it stays here.
    pub(super) fn hear_leaves(&mut self, from: NodeId) {
        self.reach.leaves(from);
        let Some(state) = &self.state else {
            return;
        };
        for (group, peer) in state.hosted_by(from) {
            let shard = usize::try_from(group)
                .ok()
                .and_then(|group| group.checked_sub(1));
            match shard.map(|shard| self.shards.get_mut(shard)) {
                None => self
                    .council
                    .iter_mut()
                    .for_each(|it| it.group.keep_from(peer)),
                Some(at) => {
                    let replica = at.and_then(|at| at.replica.as_mut());
                    replica.into_iter().for_each(|it| it.group.keep_from(peer));
                }
            }
        }
    }
}

fn may_lead(
    state: &ClusterState,
    group: GroupId,
    peer: PeerId,
    is_leaving: impl Fn(NodeId) -> bool,
) -> bool {
    let node = state.node_of(group, peer);
    node.is_some_and(|node| !is_leaving(node))
}

/// Hands a leadership over if somebody can take it, rather to who is not busy; says whether it is
/// not gone yet, or may come.
fn hand_over(
    group: &mut Group,
    is_free: impl Fn(PeerId) -> bool,
    may_lead: impl Fn(PeerId) -> bool,
) -> bool {
    if group.leads() {
        let heir = group.heir(is_free).or_else(|| group.heir(may_lead));
        heir.into_iter().for_each(|heir| group.transfer(heir));
        return heir.is_some();
    }
    group.stands()
}
