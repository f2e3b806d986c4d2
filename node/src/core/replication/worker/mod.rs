//! All replication of a node, as one machine without I/O: tasks of clients and frames of other
//! nodes in, answers and frames out. The shell runs it on a thread of its own, turn by turn.

mod handing;
mod keeping;
mod leaving;
mod reach;
#[cfg(test)]
pub(super) mod testing;
mod wishes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use dht_proto::limits::{COPIED_BYTES, PIECE_BYTES};
use dht_proto::topology::NodeId;

use self::keeping::Disk;
pub use self::keeping::Restart;
use self::reach::Reach;
use self::wishes::Wish;
use super::copy::{self, Allowance};
use super::council::{self, Council};
use super::courier::{Courier, Round};
use super::keeper::Keeper;
use super::lease::TICK_MS;
use super::mail::{self, Chunk, Led, Long, Made, Mail, Post};
use super::raft::persist::{brings_data, outruns};
use super::raft::{self, Message};
use super::replica::{Files, Pending, Replica, Turn, not_done};
use crate::core::disk::{Batch, Group, Record, Save};
use crate::core::formation::{self, Formation, FormationMessage, Verdict};
use crate::core::meta::{Change, ClusterId, ClusterState, GroupId, META, Replica as Seat};
use crate::core::mutation::{self, Mutation};
use crate::core::node::{Node, View};
use crate::core::pack::Reader;
use crate::core::random::Random;
use crate::core::rest::Found;
use crate::core::store::SlotSet;
use crate::core::time::Now;

/// Passes over the shards in one turn, while each leaves something to do at once.
const PASSES: usize = 8;
/// Ticks from one look at deadlines to the next.
const EXPIRY_TICKS: u64 = 4;
/// Ticks from one wish to be a member to the next.
const WISH_TICKS: u64 = 10;
/// Bytes of full copies that are sent in a tick.
const COPY_BYTES: usize = COPIED_BYTES / 1000 * TICK_MS as usize;
/// The same in a turn, a piece: whoever asks meanwhile waits for the turn's end.
const TURN_COPY_BYTES: usize = PIECE_BYTES / 2;
/// Ticks after which a node says again which shards it leads, and with it that it is there.
const LEADS_TICKS: u64 = 10;
/// After so long without a word a member counts as unreachable, in milliseconds.
const SILENT_MS: u64 = 4 * LEADS_TICKS * TICK_MS;
/// Ticks for which it is believed that a group is whole, after its leader has last said so.
const WHOLE_TICKS: u64 = 40;

/// A client's task for a shard.
#[derive(Debug)]
pub struct Request<T> {
    /// Which shard.
    pub shard: u16,
    /// The task, and who waits for it.
    pub pending: Pending<T>,
}

/// What a turn leaves for the shell.
#[derive(Debug)]
pub struct Outbox<T> {
    /// Answers to clients of this node.
    pub settled: Vec<(T, Found)>,
    /// To be sent to other nodes, one frame each; one that cannot be sent may be dropped.
    pub frames: Vec<(NodeId, Bytes)>,
    /// To be made durable; there is no other before [`Worker::report`] has said that it is.
    pub batch: Option<Batch>,
    /// Files of snapshots, to be written in the background, in this order.
    pub saves: Vec<Save>,
    /// To be made where that holds up nobody, and given to [`Worker::made`].
    pub long: Vec<Long>,
    /// The data directory cannot be used as it is, and nothing that is left here counts.
    pub trouble: Option<Trouble>,
}

/// Why a node with a data directory cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The leader of a group knows that this node has said to have entries that it has not.
    Lost(Group),
    /// It belongs to the first cluster, and the others to the second.
    Stranger(ClusterId, ClusterId),
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self {
            settled: Vec::new(),
            frames: Vec::new(),
            batch: None,
            saves: Vec::new(),
            long: Vec::new(),
            trouble: None,
        }
    }
}

/// The replication of a node.
pub struct Worker<T> {
    node: Arc<Node>,
    state: Option<ClusterState>,
    shards: Vec<Shard<T>>,
    /// Shards in which something has happened.
    dirty: Vec<u16>,
    post: Post,
    random: Random,
    ticks: u64,
    last_tick_ms: u64,
    /// Something that clients are shown has changed.
    stale_view: bool,
    /// The shards that this node leads have changed.
    news: bool,
    /// The state has changed, and the replicas have not followed yet.
    unsettled: bool,
    /// Until this node is a member of a cluster, and for nodes that are not yet.
    formation: Formation,
    /// This node's member of the meta group.
    council: Option<Council>,
    /// Bytes of full copies that may still be sent in this tick.
    copy_bytes: usize,
    /// What may be sent of them in this turn.
    copies: Allowance,
    /// Some are on their way from here, as of the last tick.
    is_copying: bool,
    /// The other nodes that are being given full copies, and until which tick it is believed.
    learning: BTreeMap<NodeId, u64>,
    /// Which other nodes can be reached.
    reach: Reach,
    /// This node is about to end.
    is_leaving: bool,
    /// For each group, the tick until which it is believed to be whole.
    whole_until: Vec<u64>,
    /// Changes that clients of this node wait for.
    wishes: Vec<Wish<T>>,
    /// What has to be kept.
    keeper: Keeper,
    /// The files of snapshots.
    files: Files,
    disk: Disk,
}

/// What a node knows of one shard.
struct Shard<T> {
    replica: Option<Replica<T>>,
    courier: Courier<T>,
    /// Who leads it, and in which term, as far as is known.
    leader: (u64, Option<NodeId>),
    dirty: bool,
}

impl<T> Worker<T> {
    /// The worker of a node that is in no cluster yet.
    #[must_use]
    pub fn new(node: Arc<Node>, formation: Formation, seed: u64, now: Now) -> Self {
        Self {
            node,
            formation,
            unsettled: false,
            council: None,
            copy_bytes: 0,
            copies: Allowance::default(),
            is_copying: false,
            learning: BTreeMap::new(),
            reach: Reach::default(),
            is_leaving: false,
            wishes: Vec::new(),
            whole_until: Vec::new(),
            state: None,
            shards: Vec::new(),
            dirty: Vec::new(),
            post: Post::default(),
            random: Random::new(seed),
            ticks: 0,
            last_tick_ms: now.mono_ms,
            stale_view: false,
            news: false,
            keeper: Keeper::default(),
            files: Files::default(),
            disk: Disk::default(),
        }
    }

    /// The cluster as this node knows it.
    #[must_use]
    pub const fn state(&self) -> Option<&ClusterState> {
        self.state.as_ref()
    }

    /// This node's replica of a shard, for tests.
    #[must_use]
    pub fn replica(&self, shard: u16) -> Option<&Replica<T>> {
        self.shards.get(usize::from(shard))?.replica.as_ref()
    }

    /// This node's member of the meta group, for tests.
    #[must_use]
    pub const fn council(&self) -> Option<&Council> {
        self.council.as_ref()
    }

    /// Takes a client's task.
    pub fn request(&mut self, request: Request<T>, out: &mut Outbox<T>) {
        let Request { shard, pending } = request;
        if shard == self.node.meta_shard() {
            return self.take_wish(pending, out);
        }
        let refused = match self.shards.get_mut(usize::from(shard)) {
            Some(shard) => shard.courier.push(pending).err(),
            None => Some(pending),
        };
        if let Some(ticket) = refused.and_then(|pending| pending.ticket) {
            out.settled.push((ticket, not_done().into()));
        }
        self.mark(shard);
    }

    /// Takes a frame of another node.
    pub fn receive(&mut self, from: NodeId, frame: &[u8], now: Now, out: &mut Outbox<T>) {
        if self.reach.hear(from, now.mono_ms) {
            self.note_reach();
        }
        self.node.stats.frames_received.fetch_add(1, Relaxed);
        let mut mails = Reader::new(frame);
        while !mails.is_empty() {
            let Ok(mail) = mail::decode(&mut mails) else {
                return;
            };
            self.open(from, mail, now, out);
        }
    }

    /// Takes a long answer that was made.
    pub fn made(&mut self, made: Made, now: Now, out: &mut Outbox<T>) {
        let (to, frame) = self.post.made(made);
        self.dispatch((to, frame), now, out);
    }

    fn open(&mut self, from: NodeId, mail: Mail<'_>, now: Now, out: &mut Outbox<T>) {
        match mail {
            Mail::Raft(group, message) => self.step(GroupId::from(group), message, now),
            Mail::Task(sent) => self.with_replica(from, sent.shard, |replica, _| {
                replica.take_from(from, &sent);
            }),
            Mail::Open(shard) => self.with_replica(from, shard, |replica, _| {
                replica.open_session(from);
            }),
            Mail::Answer(answered) => {
                let shard = answered.shard;
                if let Some(at) = self.shards.get_mut(usize::from(shard)) {
                    at.courier.answered(answered, now.mono_ms, &mut out.settled);
                }
                self.mark(shard);
            }
            Mail::Refused(shard) => {
                if let Some(at) = self.shards.get_mut(usize::from(shard)) {
                    at.courier.refused(from, now.mono_ms);
                }
            }
            Mail::Opened(shard, session) => {
                if let Some(at) = self.shards.get_mut(usize::from(shard)) {
                    at.courier.opened(session);
                }
                self.mark(shard);
            }
            Mail::Leads(epoch, groups) => self.hear_leads(from, epoch, &groups),
            Mail::Formation(bytes) => {
                if let Ok(message) = FormationMessage::decode(bytes) {
                    self.form(|formation, out| formation.hear(from, message, out));
                }
            }
            Mail::State(bytes) => self.learn(council::decode_state(bytes)),
            Mail::Wish(bytes) => self.hear_wish(from, bytes),
            Mail::Room(has_room) => self.hear_room(from, has_room),
            Mail::Chunk(chunk) => self.take_piece(from, &chunk, now, out),
            Mail::Received(received) => {
                let at = self.shards.get_mut(usize::from(received.shard));
                if let Some(replica) = at.and_then(|at| at.replica.as_mut()) {
                    replica.take_receipt(received, now);
                }
                self.mark(received.shard);
            }
            Mail::Leaves => self.hear_leaves(from),
            Mail::Learns => self.hear_learns(from),
        }
    }

    fn take_piece(&mut self, from: NodeId, chunk: &Chunk<'_>, now: Now, out: &mut Outbox<T>) {
        if self.replica(chunk.shard).is_none() || self.disk.is_full {
            return self.post.send(from, &Mail::Received(copy::useless(chunk)));
        }
        self.with_turn(chunk.shard, now, out, |replica, turn| {
            replica.take_piece(from, chunk, turn);
        });
    }

    /// The link to the node that was dialled at a seat is up or down.
    pub fn link(&mut self, peer: NodeId, seat: &str, up: bool) {
        self.reach.link(peer, up, self.last_tick_ms);
        self.note_reach();
        if !self.reaches(peer) {
            // What was said before does not count any more.
            self.whole_until.fill(0);
            self.news = true;
        }
        self.form(|formation, out| formation.link(seat, peer, up, out));
    }

    /// Who can be reached has changed.
    fn note_reach(&mut self) {
        self.stale_view = true;
        for shard in 0..self.shards.len() as u16 {
            self.mark(shard);
        }
    }

    /// Whether something that is sent to a node is likely to be heard.
    fn reaches(&self, node: NodeId) -> bool {
        node == self.node.id || self.reach.reaches(node)
    }

    /// Finds out who has fallen silent. Who is no member yet has nothing to say all the time.
    fn listen(&mut self, now: Now) {
        let state = self.state.as_ref();
        let is_member = |node| state.is_some_and(|state| state.member(node).is_some());
        if self.reach.listen(now.mono_ms, SILENT_MS, is_member) {
            self.note_reach();
        }
    }

    /// Who leads a shard, if that is known and the leader can be reached.
    fn leader(&self, shard: u16) -> Option<NodeId> {
        let (_, leader) = self.shards.get(usize::from(shard))?.leader;
        leader.filter(|leader| self.reaches(*leader))
    }

    fn form(&mut self, act: impl FnOnce(&mut Formation, &mut formation::Outbox)) {
        let mut messages = formation::Outbox::new();
        act(&mut self.formation, &mut messages);
        for (to, message) in messages {
            self.post.send(to, &Mail::Formation(&message.encode()));
        }
        if self.state.is_none() {
            self.stale_view = true;
            if let Verdict::Formed(state) = self.formation.verdict() {
                self.enter(state);
            }
        }
    }

    /// Takes over a later state of the cluster. An earlier one has members that are gone.
    fn learn(&mut self, state: Option<ClusterState>) {
        let known = self.state.as_ref();
        let is_later = |state: &ClusterState| {
            let is_newer = |known: u64| match mutation::is(Mutation::NoTombstones) {
                true => known != state.epoch,
                false => known < state.epoch,
            };
            known.is_some_and(|known| known.id == state.id && is_newer(known.epoch))
        };
        if let Some(state) = state.filter(is_later) {
            self.formation.learn(&state);
            self.enter(state);
        }
    }

    /// A node wishes a change. Who does not lead the meta group sends the wish on, once.
    fn hear_wish(&mut self, from: NodeId, bytes: &[u8]) {
        let Some(state) = &self.state else {
            return;
        };
        match &mut self.council {
            Some(council) if council.group.leads() => {
                if let Ok(change) = rmp_serde::from_slice(bytes) {
                    council.propose(&change);
                }
            }
            Some(council) => {
                let leader = council.leader().filter(|_| state.member(from).is_none());
                if let Some(leader) = leader {
                    self.post.send(leader, &Mail::Wish(bytes));
                }
            }
            None => {
                for seat in &state.meta {
                    self.post.send(seat.node, &Mail::Wish(bytes));
                }
            }
        }
    }

    fn step(&mut self, group: GroupId, message: Message, now: Now) {
        if self.is_leaving && raft::is_timeout_now(&message) {
            return;
        }
        if group == META {
            if let Some(council) = &mut self.council
                && mail::is_for(&message, council.group.me())
            {
                if self.keeper.keeps() && outruns(&message, &council.group) {
                    self.disk.lost = Some(META as u16);
                    return;
                }
                council.step(message, now.mono_ms);
            }
            return;
        }
        let shard = (group - 1) as u16;
        if let Some(at) = self.shards.get_mut(usize::from(shard))
            && let Some(replica) = &mut at.replica
            && mail::is_for(&message, replica.group.me())
        {
            if self.keeper.keeps() && outruns(&message, &replica.group) {
                self.disk.lost = Some(group as u16);
                return;
            }
            if self.disk.is_full && brings_data(&message) {
                return;
            }
            replica.step(message, now);
            self.mark(shard);
        }
    }

    /// Gives something to this node's replica of a shard, if it has one.
    fn with_replica(
        &mut self,
        from: NodeId,
        shard: u16,
        give: impl FnOnce(&mut Replica<T>, &mut Post),
    ) {
        let at = self.shards.get_mut(usize::from(shard));
        match at.and_then(|at| at.replica.as_mut()) {
            Some(replica) => give(replica, &mut self.post),
            None => self.post.send(from, &Mail::Refused(shard)),
        }
        self.mark(shard);
    }

    /// Believes who says that it leads, where this node has no replica of its own to ask.
    fn hear_leads(&mut self, from: NodeId, epoch: u64, groups: &[Led]) {
        let known = self.state.as_ref().map_or(0, |state| state.epoch);
        if let Some(state) = self.state.as_ref().filter(|_| epoch < known) {
            let state = council::encode_state(state);
            self.post.send(from, &Mail::State(&state));
        }
        for led in groups {
            // Whether a group is whole depends on the state that its leader goes by.
            self.note_whole(led.group, epoch >= known && led.whole);
            let Some(shard) = led.group.checked_sub(1) else {
                continue;
            };
            if let Some(at) = self.shards.get_mut(usize::from(shard))
                && at.replica.is_none()
                && at.leader.0 <= led.term
                && at.leader != (led.term, Some(from))
            {
                at.leader = (led.term, Some(from));
                self.stale_view = true;
                self.mark(shard);
            }
        }
    }

    fn note_whole(&mut self, group: u16, whole: bool) {
        let until = self.ticks + WHOLE_TICKS;
        if let Some(at) = self.whole_until.get_mut(usize::from(group)) {
            *at = if whole { until } else { 0 };
        }
    }

    /// Counts the groups that lack something, as far as is known here. Who is in no cluster knows
    /// of one group at least that it lacks.
    fn count_short(&self) {
        let is_short = |until: &&u64| **until <= self.ticks;
        let short = match &self.state {
            // Of two copies both are needed.
            Some(state) if state.members.len() < 3 => self.whole_until.len(),
            Some(_) => self.whole_until.iter().filter(is_short).count(),
            None => 1,
        };
        self.node.short.store(short, Relaxed);
    }

    fn mark(&mut self, shard: u16) {
        if let Some(at) = self.shards.get_mut(usize::from(shard))
            && !at.dirty
        {
            at.dirty = true;
            self.dirty.push(shard);
        }
    }

    /// Puts a state of the cluster in force: makes and drops replicas as it says.
    pub fn enter(&mut self, state: ClusterState) {
        while self.shards.len() < state.shards.len().min(self.node.words.len()) {
            self.add_shard();
        }
        for (shard, at) in (0u16..).zip(&mut self.shards) {
            let known = self.state.as_ref().map(|state| state.founders_of(shard));
            if known.is_some_and(|founder| founder != state.founders_of(shard)) {
                // It has begun anew, and so have its terms.
                at.leader = (0, None);
                at.courier.begin_anew();
            }
        }
        if let Some(belonging) = self.formation.belonging() {
            self.keeper.record(|| Record::Cluster(belonging.encode()));
        }
        self.settle_council(&state);
        self.whole_until = vec![0; self.shards.len() + 1];
        self.state = Some(state);
        self.stale_view = true;
        self.news = true;
        self.unsettled = true;
    }

    fn add_shard(&mut self) {
        let shard = Shard::new(self.shards.len() as u16, &mut self.random);
        self.shards.push(shard);
    }

    /// Makes this node's member of the meta group the one that the state says.
    fn settle_council(&mut self, state: &ClusterState) {
        let mine = state.meta.iter().find(|seat| seat.node == self.node.id);
        let mine = mine.filter(|seat| self.may_be(META as u16, seat.peer));
        let now_here = self.council.as_ref().map(|council| council.group.me());
        if mine.map(|seat| seat.peer) != now_here {
            let seed = self.random.next();
            let made_ms = self.last_tick_ms;
            if let Some(peer) = now_here {
                self.keeper.record(|| Record::Gone((META as u16, peer)));
            }
            self.council = mine.map(|seat| {
                let voters = state.first_voters(META, seat.peer);
                Council::new((seat.peer, &voters), state.clone(), made_ms, seed)
            });
            if let Some(council) = &mut self.council {
                council.keep(&mut self.keeper);
            }
        }
    }

    /// Makes this node's replica of a shard the one that the state says. One that is not in it any
    /// more never comes back.
    fn settle_replica(&mut self, shard: u16, now: Now, out: &mut Outbox<T>) {
        let Some(state) = &self.state else {
            return;
        };
        let seats = state.replicas(GroupId::from(shard) + 1);
        let mine = seats.iter().find(|seat| seat.node == self.node.id);
        let peer = mine.map(|seat| seat.peer);
        let peer = peer.filter(|peer| self.may_be(shard + 1, *peer));
        let voters = peer.map(|peer| state.first_voters(GroupId::from(shard) + 1, peer));
        let voters = voters.unwrap_or_default();
        if peer != self.replica(shard).map(|replica| replica.group.me()) {
            self.with_turn(shard, now, out, Replica::dismiss);
            let slots = SlotSet::new(vec![self.node.slots_of(shard)]);
            let seed = self.random.next();
            let mut replica =
                peer.map(|peer| Replica::new((shard, slots), (peer, &voters), now.mono_ms, seed));
            if let Some(replica) = &mut replica {
                replica.keep(&mut self.keeper);
            }
            self.shards[usize::from(shard)].replica = replica;
        }
        self.mark(shard);
    }

    /// Does all that can be done now; says whether more could be done at once.
    pub fn turn(&mut self, now: Now, out: &mut Outbox<T>) -> bool {
        self.tick(now, out);
        self.confer();
        if std::mem::take(&mut self.unsettled) {
            self.grant(out);
            for shard in 0..self.shards.len() as u16 {
                self.settle_replica(shard, now, out);
            }
        }
        self.deliver(now, out);
        let copy_bytes = self.allow_copies();
        for _ in 0..PASSES {
            if self.dirty.is_empty() {
                break;
            }
            for shard in std::mem::take(&mut self.dirty) {
                self.serve(shard, now, out);
            }
            self.deliver(now, out);
        }
        if self.news {
            self.news = false;
            self.tell_leads();
            self.count_short();
            self.deliver(now, out);
        }
        if std::mem::take(&mut self.stale_view) {
            self.publish();
        }
        self.go_on_copying(copy_bytes);
        self.hand_over_files(out);
        !self.dirty.is_empty()
    }

    /// Finds out what may be sent of full copies in this turn; gives how many bytes.
    fn allow_copies(&mut self) -> usize {
        let bytes = self.copy_bytes.min(TURN_COPY_BYTES);
        self.copies = Allowance::of(bytes);
        if self.is_copying {
            let replicas = self.shards.iter().filter_map(|at| at.replica.as_ref());
            replicas.for_each(|replica| replica.count_copies(&mut self.copies));
        }
        bytes
    }

    /// Copies that have used up the turn's bytes go on in the next one.
    fn go_on_copying(&mut self, bytes: usize) {
        self.copy_bytes = self.copy_bytes.saturating_sub(bytes - self.copies.bytes);
        if self.copies.bytes > 0 || self.copy_bytes == 0 {
            return;
        }
        for shard in 0..self.shards.len() as u16 {
            let replica = self.replica(shard);
            if replica.is_some_and(|replica| replica.copies_go_on(&self.copies)) {
                self.mark(shard);
            }
        }
    }

    /// Lets the meta group's member have its turn.
    fn confer(&mut self) {
        let Some(council) = &mut self.council else {
            return;
        };
        council.turn(&mut self.post, &mut self.keeper);
        let known = self.state.as_ref().map_or(0, |state| state.epoch);
        if council.state.epoch > known {
            let state = council.state.clone();
            self.learn(Some(state));
        }
    }

    /// Hands over the frames, and the answers that are to be made.
    fn deliver(&mut self, now: Now, out: &mut Outbox<T>) {
        for frame in self.post.take() {
            self.dispatch(frame, now, out);
        }
        out.long.append(&mut self.post.take_long());
    }

    /// Hands over a frame; what this node has sent to itself is opened at once.
    fn dispatch(&mut self, (to, frame): (NodeId, Bytes), now: Now, out: &mut Outbox<T>) {
        if to == self.node.id {
            return self.receive(to, &frame, now, out);
        }
        self.node.stats.frames_sent.fetch_add(1, Relaxed);
        out.frames.push((to, frame));
    }

    /// Ticks that were missed are not made up for.
    fn tick(&mut self, now: Now, out: &mut Outbox<T>) {
        if now.mono_ms < self.last_tick_ms + TICK_MS {
            return;
        }
        self.last_tick_ms = now.mono_ms;
        self.ticks += 1;
        self.listen(now);
        self.copy_bytes = COPY_BYTES;
        let mut replicas = self.shards.iter().filter_map(|at| at.replica.as_ref());
        self.is_copying = replicas.any(Replica::copies);
        self.tell_learns();
        self.form(|formation, out| formation.tick(now.mono_ms, out));
        if let Some(council) = &mut self.council {
            council.tick();
        }
        if self.ticks.is_multiple_of(WISH_TICKS) {
            self.wish();
            self.wish_again(now, out);
        }
        let expiry = self.ticks.is_multiple_of(EXPIRY_TICKS);
        for shard in 0..self.shards.len() as u16 {
            let is_mine = self.is_preferred(shard);
            let at = &mut self.shards[usize::from(shard)];
            if let Some(replica) = &mut at.replica {
                replica.tick(is_mine);
            }
            self.hand_over_to_first(shard);
            if !self.disk.is_full && self.node.sweeps.load(Relaxed) {
                self.with_turn(shard, now, out, Replica::sweep);
            }
            let at = &mut self.shards[usize::from(shard)];
            if expiry {
                at.courier.expire(now.mono_ms, &mut out.settled);
                self.with_turn(shard, now, out, Replica::expire);
            }
            self.mark(shard);
        }
        self.news |= self.ticks.is_multiple_of(LEADS_TICKS);
        self.make_room();
        self.save(now, out);
    }

    /// Asks the cluster, of which this node is no member yet, for the seat it was started for; of
    /// which it is one, to note where it is.
    fn wish(&mut self) {
        if let Verdict::Join { via, change, .. } = self.formation.verdict() {
            self.post.send(via, &Mail::Wish(&council::encode(&change)));
        }
        if let Some(change) = self.moved() {
            self.send_wish(&change);
        }
    }

    /// What the cluster has to be told when this node, which it knows, has come back with other
    /// addresses.
    fn moved(&self) -> Option<Change> {
        let known = self.state.as_ref()?.member(self.node.id)?;
        let me = self.node.settings.member(self.node.id);
        let is_known = (&known.client, &known.redirect) == (&me.client, &me.redirect);
        (!is_known).then_some(Change::Move { member: me })
    }

    /// Whether this node is to lead a shard if it can.
    fn is_preferred(&self, shard: u16) -> bool {
        let first = self.state.as_ref().and_then(|state| first_of(state, shard));
        first.is_some_and(|seat| seat.node == self.node.id) && !self.is_leaving
    }

    fn serve(&mut self, shard: u16, now: Now, out: &mut Outbox<T>) {
        let leader = self.leader(shard);
        let room = self.room(shard, leader);
        let at = &mut self.shards[usize::from(shard)];
        at.dirty = false;
        let taken = at.courier.send(&mut Round {
            now_mono_ms: now.mono_ms,
            me: self.node.id,
            leader,
            room,
            post: &mut self.post,
            settled: &mut out.settled,
        });
        if let Some(replica) = &mut at.replica {
            taken.into_iter().for_each(|pending| replica.take(pending));
        }
        self.with_turn(shard, now, out, Replica::turn);
        self.note_leader(shard);
    }

    /// Lets a replica do something, and its courier know what became of its tasks.
    fn with_turn(
        &mut self,
        shard: u16,
        now: Now,
        out: &mut Outbox<T>,
        act: impl FnOnce(&mut Replica<T>, &mut Turn<'_, T>),
    ) {
        let at = &mut self.shards[usize::from(shard)];
        let (Some(replica), Some(state)) = (&mut at.replica, &self.state) else {
            return;
        };
        let (mut returned, mut resolved) = (Vec::new(), 0);
        let mut turn = Turn {
            now,
            store: &self.node.store,
            word: &self.node.words[usize::from(shard)],
            seats: state.replicas(GroupId::from(shard) + 1),
            post: &mut self.post,
            settled: &mut out.settled,
            returned: &mut returned,
            resolved: &mut resolved,
            copies: &mut self.copies,
            learning: &self.learning,
            keeper: &mut self.keeper,
            files: &mut self.files,
        };
        act(replica, &mut turn);
        let more = replica.has_more();
        at.courier.resolved(resolved, returned);
        if more {
            self.mark(shard);
        }
    }

    /// Takes note of whom the own replica follows.
    fn note_leader(&mut self, shard: u16) {
        let at = &mut self.shards[usize::from(shard)];
        let (Some(replica), Some(state)) = (&at.replica, &self.state) else {
            return;
        };
        let group = GroupId::from(shard) + 1;
        let leader = replica.group.leader();
        let leader = leader.and_then(|peer| state.node_of(group, peer));
        let known = (replica.group.term(), leader);
        if at.leader != known {
            let mine = Some(self.node.id);
            self.news |= known.1 == mine;
            self.stale_view = true;
            at.leader = known;
            self.mark(shard);
        }
    }

    fn tell_leads(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let leads = self.leads(state);
        for member in state
            .members
            .iter()
            .filter(|member| member.id != self.node.id)
        {
            self.post
                .send(member.id, &Mail::Leads(state.epoch, leads.clone()));
        }
        for led in leads {
            self.note_whole(led.group, led.whole);
        }
        if self.is_leaving {
            self.tell_leaves();
        }
    }

    /// The groups that this node leads.
    fn leads(&self, state: &ClusterState) -> Vec<Led> {
        let all_reached = |seats: &[Seat]| seats.iter().all(|seat| self.reaches(seat.node));
        let meta = self
            .council
            .iter()
            .filter(|council| council.group.leads())
            .map(|council| Led {
                group: META as u16,
                term: council.group.term(),
                whole: council.is_whole() && all_reached(&state.meta),
            });
        let mine = (0..)
            .zip(&self.shards)
            .filter(|(_, at)| at.leader.1 == Some(self.node.id));
        let shards = mine.map(|(shard, at): (u16, _)| {
            let seats = state.replicas(GroupId::from(shard) + 1);
            Led {
                group: shard + 1,
                term: at.leader.0,
                whole: at
                    .replica
                    .as_ref()
                    .is_some_and(|replica| replica.is_whole(seats) && all_reached(seats)),
            }
        });
        meta.chain(shards).collect()
    }

    /// What clients of a node are told that is not let in yet.
    fn joining(&self, meta: &[NodeId]) -> String {
        let (all, reached) = (
            meta.len(),
            meta.iter().filter(|node| self.reaches(**node)).count(),
        );
        if 2 * reached > all {
            return "joining the cluster".to_owned();
        }
        format!(
            "joining a cluster of which {reached} of the {all} nodes that decide can be reached; \
             if the others have lost what they kept, all nodes have to be started anew"
        )
    }

    fn publish(&self) {
        let topology = match (&self.state, self.formation.verdict()) {
            (Some(state), _) => {
                let leader = |shard: usize| self.shards[shard].leader.1;
                Ok(state.topology(leader))
            }
            (None, Verdict::Forming(why)) => Err(why),
            (None, Verdict::Join { meta, .. }) => Err(self.joining(&meta)),
            (None, Verdict::Formed(_)) => Err("joining the cluster".to_owned()),
        };
        let mut view = View::new(self.node.id, topology);
        if let Ok(topology) = &view.topology {
            let members = topology.members.iter();
            view.down = members.map(|member| !self.reaches(member.id)).collect();
            let shards = 0..self.shards.len() as u16;
            view.unled = shards
                .filter(|shard| self.leader(*shard).is_none())
                .collect();
        }
        self.node.show(view);
    }
}

/// Who is to lead a shard if it can.
fn first_of(state: &ClusterState, shard: u16) -> Option<&Seat> {
    state.replicas(GroupId::from(shard) + 1).first()
}

impl<T> Shard<T> {
    const fn new(shard: u16, random: &mut Random) -> Self {
        Self {
            replica: None,
            courier: Courier::new(shard, random.next() >> 1),
            leader: (0, None),
            dirty: false,
        }
    }
}
