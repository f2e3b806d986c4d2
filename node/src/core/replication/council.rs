//! The meta group's member on this node: it orders the changes of the cluster's state.

use bytes::Bytes;
use dht_proto::topology::NodeId;

use super::lease::Lease;
use super::mail::{Mail, Post};
use super::membership::{self, Step};
use super::raft::{BIRTH, Content, Group, Message, PeerId};
use crate::core::meta::{Change, ClusterState, META};

/// Turns of the engine in one turn.
const ROUNDS: usize = 8;

/// A member of the meta group.
pub struct Council {
    /// The member of the Raft group.
    pub group: Group,
    /// The cluster, as of the last applied change.
    pub state: ClusterState,
    lease: Lease,
}

impl Council {
    /// A member that starts from this state; without voters, one that waits to be told.
    #[must_use]
    pub fn new(me: PeerId, voters: &[PeerId], state: ClusterState, seed: u64) -> Self {
        let mut council = Self {
            group: Group::new(me, voters, seed),
            state,
            lease: Lease::default(),
        };
        council.keep_copy();
        council
    }

    /// Time has gone on. Of a new group the first member does not wait for its election timeout.
    pub fn tick(&mut self) {
        self.group.tick();
        let is_new = self.group.term() == BIRTH.term && self.group.leader().is_none();
        let is_first = self.state.meta.first().map(|seat| seat.peer) == Some(self.group.me());
        if is_new && is_first {
            self.group.campaign();
        }
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message, now_mono_ms: u64) {
        if self.lease.hears(&message, now_mono_ms) {
            self.group.step(message);
        }
    }

    /// Proposes a change, if this member leads and the change is one.
    pub fn propose(&mut self, change: &Change) {
        let mut next = self.state.clone();
        if next.apply(change).is_ok() && next != self.state && self.group.is_current() {
            self.group.propose(encode(change));
        }
    }

    /// Who leads the group, as far as is known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.state.node_of(META, self.group.leader()?)
    }

    /// Whether this member leads, and every member that there is to be has a vote and is heard.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let target: Vec<PeerId> = self.state.meta.iter().map(|seat| seat.peer).collect();
        let (me, conf) = (self.group.me(), self.group.conf());
        let progress = |peer| self.group.progress(peer);
        self.group.is_current() && membership::is_whole(me, conf, &target, progress)
    }

    /// Does all that can be done now.
    pub fn turn(&mut self, post: &mut Post) {
        for _ in 0..ROUNDS {
            if !self.group.has_ready() {
                break;
            }
            let ready = self.group.ready();
            if let Some(state) = ready.inline.as_deref().and_then(decode_state) {
                self.state = state;
            }
            for committed in ready.committed {
                match committed.what {
                    Content::Data(data) => self.apply(&data),
                    Content::Members(change) => self.group.apply_change(&change),
                }
            }
            self.group.applied_all();
            self.keep_copy();
            for message in ready.messages {
                if let Some(node) = self.state.node_of(META, message.to) {
                    post.send(node, &Mail::Raft(META as u16, message));
                }
            }
        }
        self.steer();
        let applied = self.group.applied();
        self.group.cut(applied, 0);
    }

    fn apply(&mut self, data: &[u8]) {
        // A change that is out of date is refused, by every member alike.
        if let Ok(change) = rmp_serde::from_slice::<Change>(data) {
            let _ = self.state.apply(&change);
        }
    }

    fn keep_copy(&mut self) {
        self.group.keep_inline(encode_state(&self.state));
    }

    fn steer(&mut self) {
        if !self.group.is_current() {
            return;
        }
        let target: Vec<PeerId> = self.state.meta.iter().map(|seat| seat.peer).collect();
        let step = membership::next_step(
            self.group.me(),
            self.group.conf(),
            &target,
            self.group.last_index(),
            |peer| self.group.progress(peer),
        );
        match step {
            Step::Nothing => (),
            Step::Change(change) => _ = self.group.change(&change),
            Step::Transfer(heir) => self.group.transfer(heir),
        }
    }
}

/// A change as bytes, for the log and for mails.
#[must_use]
pub fn encode(change: &Change) -> Bytes {
    match rmp_serde::to_vec(change) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("writing to memory failed: {error}"),
    }
}

/// A state as bytes.
#[must_use]
pub fn encode_state(state: &ClusterState) -> Bytes {
    match rmp_serde::to_vec(state) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("writing to memory failed: {error}"),
    }
}

/// A state from bytes, if they are one.
#[must_use]
pub fn decode_state(bytes: &[u8]) -> Option<ClusterState> {
    rmp_serde::from_slice(bytes).ok()
}
