//! The meta group's member on this node: it orders the changes of the cluster's state.

use bytes::Bytes;
use dht_proto::frame::Malformed;
use dht_proto::topology::NodeId;

use super::keeper::Keeper;
use super::lease::Lease;
use super::mail::{Mail, Post};
use super::membership::{self, Step};
use super::raft::persist::{self, Place};
use super::raft::{BIRTH, Content, Group, Message, PeerId};
use crate::core::disk::{Kept, Record};
use crate::core::meta::{Change, ClusterState, META};

/// Turns of the engine in one turn.
const ROUNDS: usize = 8;
/// Ticks after which members that seem not to have got the state are sent it again.
const RETELL_TICKS: u32 = 10;
/// Entries after which the log on the disk is begun anew.
const LOGGED: u64 = 64;

/// A member of the meta group.
pub struct Council {
    /// The member of the Raft group.
    pub group: Group,
    /// The cluster, as of the last applied change.
    pub state: ClusterState,
    lease: Lease,
    ticks: u32,
    /// Entries on the disk since the log there was last begun anew.
    logged: u64,
    /// It was there before this process was.
    is_restored: bool,
}

impl Council {
    /// A member, made at this monotonic time, that starts from this state; without voters, one that
    /// waits to be told.
    #[must_use]
    pub fn new(
        (me, voters): (PeerId, &[PeerId]),
        state: ClusterState,
        now_mono_ms: u64,
        seed: u64,
    ) -> Self {
        let mut council = Self {
            group: Group::new(me, voters, seed),
            state,
            lease: Lease::of_member(voters, now_mono_ms),
            ticks: 0,
            logged: 0,
            is_restored: false,
        };
        council.keep_copy();
        council
    }

    /// The member that was kept.
    ///
    /// # Errors
    /// What was kept is damaged.
    pub fn recover(kept: &Kept, now_mono_ms: u64, seed: u64) -> Result<Self, Malformed> {
        let state = persist::inline_of(&kept.base.members).and_then(decode_state);
        let mut council = Self {
            group: Group::recover(kept, seed)?,
            state: state.ok_or(Malformed("the state of the cluster is missing"))?,
            lease: Lease::of_restored(now_mono_ms),
            ticks: 0,
            logged: kept.entries.len() as u64,
            is_restored: true,
        };
        council.keep_copy();
        Ok(council)
    }

    /// From now on what this member has to remember is kept on a disk.
    pub fn keep(&mut self, keeper: &mut Keeper) {
        if keeper.keeps() {
            self.group.keep();
            let state = Place::Inline(encode_state(&self.state));
            let who = (META as u16, self.group.me());
            keeper.record(|| Record::Start(who, persist::base_at(&self.group.birth(), &state)));
        }
    }

    /// Time has gone on. Of a new group the first member does not wait for its election timeout.
    pub fn tick(&mut self) {
        self.group.tick();
        self.ticks = self.ticks.wrapping_add(1);
        if self.group.leads() && self.ticks.is_multiple_of(RETELL_TICKS) {
            self.group.tell_all_again();
        }
        let is_new = self.group.term() == BIRTH.term && self.group.leader().is_none();
        let is_first = self.state.meta.first().map(|seat| seat.peer) == Some(self.group.me());
        // Who was there before may have promised a leader not to help another.
        if is_new && is_first && !self.is_restored || self.is_restored && self.group.is_alone() {
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
    pub fn turn(&mut self, post: &mut Post, keeper: &mut Keeper) {
        for _ in 0..ROUNDS {
            if !self.group.has_ready() {
                break;
            }
            let ready = self.group.ready();
            if let Some(state) = ready.inline.as_deref().and_then(decode_state) {
                self.state = state;
            }
            let mut has_changed = false;
            for committed in ready.committed {
                has_changed |= matches!(committed.what, Content::Members(_));
                match committed.what {
                    Content::Data(data) => self.apply(&data),
                    Content::Members(change) => self.group.apply_change(&change),
                }
            }
            self.group.applied_all();
            self.keep_copy();
            if let Some(keep) = ready.keep {
                self.logged += keep.entries() as u64;
                let state = Place::Inline(encode_state(&self.state));
                keeper.keep((META as u16, self.group.me()), keep, &state);
            }
            if has_changed {
                let (who, hard) = ((META as u16, self.group.me()), self.group.hard_of_applied());
                keeper.record(|| Record::Hard(who, hard));
            }
            self.say(ready.messages, post);
        }
        self.steer();
        self.shorten(keeper);
        let applied = self.group.applied();
        self.group.cut(applied, 0);
    }

    /// Everything up to a turn of the engine is durable.
    pub fn persisted(&mut self, ready: u64, post: &mut Post) {
        let messages = self.group.persisted(ready);
        self.say(messages, post);
    }

    fn say(&self, messages: Vec<Message>, post: &mut Post) {
        for message in messages {
            if let Some(node) = self.state.node_of(META, message.to) {
                post.send(node, &Mail::Raft(META as u16, message));
            }
        }
    }

    /// Begins the log on the disk anew when it has become long.
    fn shorten(&mut self, keeper: &mut Keeper) {
        if keeper.keeps() && self.logged >= LOGGED {
            let state = encode_state(&self.state);
            let who = (META as u16, self.group.me());
            for record in self.group.records_from_applied(who, state) {
                keeper.record(|| record);
            }
            self.logged = 0;
        }
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
            // No client waits for this group.
            |_| false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::meta::ClusterId;
    use crate::core::pack::Reader;
    use crate::core::replication::{mail, raft};
    use dht_proto::topology::Member;

    fn member(number: u8) -> Member {
        let address = format!("node{number}");
        Member {
            id: NodeId([number; 20]),
            seat: address.clone(),
            client: address.clone(),
            redirect: address,
        }
    }

    /// Lets all have a tick and their turns; what `loses` says is lost on the way.
    fn pass(councils: &mut [(NodeId, Council)], mut loses: impl FnMut(&Message) -> bool) {
        let mut sent = Vec::new();
        for (_, council) in &mut *councils {
            let mut post = Post::default();
            council.tick();
            council.turn(&mut post, &mut Keeper::default());
            sent.extend(post.take());
        }
        for (to, frame) in sent {
            let mut mails = Reader::new(&frame);
            while !mails.is_empty() {
                let Mail::Raft(_, message) = mail::decode(&mut mails).unwrap() else {
                    panic!("another mail");
                };
                let receiver = councils.iter_mut().find(|(id, _)| *id == to);
                if let Some((_, council)) = receiver.filter(|_| !loses(&message)) {
                    council.step(message, 0);
                }
            }
        }
    }

    #[test]
    fn a_newcomer_gets_the_state_although_it_was_lost_on_the_way() {
        let founding = ClusterState::form(ClusterId([1; 16]), [1, 2, 3].map(member).into(), 2, 3);
        let voters: Vec<PeerId> = founding.meta.iter().map(|seat| seat.peer).collect();
        let start = |seat: usize| {
            let me = (voters[seat], &voters[..]);
            let council = Council::new(me, founding.clone(), 0, seat as u64);
            (founding.meta[seat].node, council)
        };
        let mut councils = vec![start(0), start(1)];
        (0..20).for_each(|_| pass(&mut councils, |_| false));
        let change = Change::Replace {
            old: member(3).id,
            new: member(9),
        };
        councils[0].1.propose(&change);
        (0..20).for_each(|_| pass(&mut councils, |_| false));
        let state = councils[0].1.state.clone();
        let newcomer = Council::new((state.meta[2].peer, &[]), state.clone(), 0, 9);
        councils.push((member(9).id, newcomer));
        let mut lost = 0;
        for _ in 0..100 {
            pass(&mut councils, |message| {
                let is_lost = lost == 0 && raft::told_to_install(message).is_some();
                lost += u32::from(is_lost);
                is_lost
            });
        }
        let conf = councils[0].1.group.conf();
        assert_eq!(lost, 1);
        assert!(conf.voters.contains(&state.meta[2].peer), "{conf:?}");
    }
}
