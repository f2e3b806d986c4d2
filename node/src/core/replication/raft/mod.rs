//! The consensus engine: one member of one group. The only module that names the `raft` crate.
//!
//! The engine is a pure state machine: messages, ticks and proposals in; messages, entries and
//! committed entries out. This module gives it a log in memory, timeouts from our own seed, and
//! our own encoding.

pub mod codec;
mod log;
pub mod persist;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dht_proto::limits::{APPEND_BYTES, APPENDS, APPLIED_BYTES, UNCOMMITTED_BYTES};
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType,
};
use raft::{Config, ProgressState, RawNode, ReadOnlyOption, ReadState, StateRole};

use self::log::Log;
use self::persist::{Keep, Persistence};
use crate::core::mutation::{self, Mutation};
use crate::core::pack::{self, Reader};
use crate::core::random::Random;

pub use raft::eraftpb::{ConfState, Message, MessageType, SnapshotMetadata as Copy};

/// A member of one group: never 0, never used again.
pub type PeerId = u64;

/// Ticks without a sign of the leader after which a follower calls an election, at least; at most
/// twice as many.
pub const ELECTION_TICKS: usize = 12;
/// Ticks after which a candidate that was not elected stands again: from and to. Two that have
/// stood at the same time are likely to differ now.
const RETRY_TICKS: (u64, u64) = (2, 8);
/// Ticks from one heartbeat to the next.
pub const HEARTBEAT_TICKS: usize = 2;

/// What the engine calls an election that the leader has wished for.
const BY_WISH: &[u8] = b"CampaignTransfer";

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The entry's number.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
}

/// Where every log of a new cluster starts. It is not 0, so that who comes later, without the
/// first configuration, gets a full copy.
pub const BIRTH: Point = Point { index: 1, term: 1 };

/// What the engine has to be done with, in this order: install, apply, send.
#[derive(Default)]
pub struct Ready {
    /// A full copy that takes the place of everything.
    pub install: Option<Copy>,
    /// The state machine that came with it, if it travels so.
    pub inline: Option<Bytes>,
    /// Entries to be applied.
    pub committed: Vec<Committed>,
    /// Confirmed rounds of [`Group::confirm`].
    pub confirmed: Vec<Confirmed>,
    /// For other members.
    pub messages: Vec<Message>,
    /// What has to be kept on the disk, if there is one.
    pub keep: Option<Keep>,
}

/// A majority has confirmed that a member still led its group after it had asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The term in which it was asked.
    pub term: u64,
    /// The number of the round.
    pub round: u64,
    /// Everything that was acknowledged before it was asked is at or before this index.
    pub index: u64,
}

/// An entry that a majority has.
#[derive(Debug)]
pub struct Committed {
    /// Its place.
    pub at: Point,
    /// What it holds.
    pub what: Content,
}

/// What an entry holds.
#[derive(Debug)]
pub enum Content {
    /// Data for the state machine; empty at the beginning of a term.
    Data(Bytes),
    /// A change of members.
    Members(Change),
}

/// A change of a group's members; an empty one leaves a joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// To become voters.
    pub voters: Vec<PeerId>,
    /// To become learners.
    pub learners: Vec<PeerId>,
    /// To be removed.
    pub removed: Vec<PeerId>,
}

/// How far a follower is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// It has everything up to here.
    pub matched: u64,
    /// It was heard from within an election timeout.
    pub active: bool,
}

/// One member of one group.
pub struct Group {
    node: RawNode<Log>,
    random: Random,
    /// The election timeout, drawn for this term and role.
    timeout: usize,
    drawn_for: (u64, StateRole),
    ticks: u64,
    /// For a candidate, the tick at which it stands again.
    retry_at: u64,
    /// The tick at which each member was last heard from.
    heard: BTreeMap<PeerId, u64>,
    /// What is not durable yet; none without a disk.
    persistence: Option<Persistence>,
    /// The last entry that was handed out to be applied, or covered by a copy.
    handed: u64,
    /// The last entry that the state machine stands for.
    applied: u64,
}

impl Group {
    /// A member with an empty log. One without voters waits for a full copy.
    #[must_use]
    pub fn new(me: PeerId, voters: &[PeerId], seed: u64) -> Self {
        Self::with_log(me, Log::new(BIRTH, voters), seed)
    }

    fn with_log(me: PeerId, log: Log, seed: u64) -> Self {
        let start = log.start().index;
        let config = Config {
            id: me,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: start,
            max_size_per_msg: APPEND_BYTES as u64,
            max_inflight_msgs: APPENDS,
            check_quorum: true,
            pre_vote: true,
            // The engine adds entries to a message that has none without looking at the place that
            // the message names: a follower would panic, or take them for others.
            batch_append: false,
            read_only_option: if mutation::is(Mutation::LeaseBased) {
                ReadOnlyOption::LeaseBased
            } else {
                ReadOnlyOption::Safe
            },
            max_uncommitted_size: UNCOMMITTED_BYTES as u64,
            max_committed_size_per_ready: APPLIED_BYTES as u64,
            ..Config::default()
        };
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let node = match RawNode::new(&config, log, &silent) {
            Ok(node) => node,
            Err(error) => unreachable!("the configuration is constant and valid: {error}"),
        };
        let mut group = Self {
            node,
            random: Random::new(seed),
            timeout: ELECTION_TICKS,
            drawn_for: (u64::MAX, StateRole::Follower),
            ticks: 0,
            retry_at: 0,
            heard: BTreeMap::new(),
            persistence: None,
            handed: start,
            applied: start,
        };
        group.draw();
        group
    }

    /// This member.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.node.raft.id
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader of the current term, if it is known.
    #[must_use]
    pub fn leader(&self) -> Option<PeerId> {
        Some(self.node.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID)
    }

    /// Whether this member leads its group, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Whether it has applied an entry of the term in which it leads: only then does it know all
    /// that was acknowledged before.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.leads() && self.node.raft.apply_to_current_term()
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// The last entry that is known to be committed.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// The last entry that the state machine stands for.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The last applied entry, with its term.
    #[must_use]
    pub fn applied_point(&self) -> Point {
        let index = self.applied();
        let term = self.node.raft.raft_log.term(index).unwrap_or_default();
        Point { index, term }
    }

    /// Time has gone on.
    pub fn tick(&mut self) {
        self.ticks += 1;
        if !self.leads() && !self.may_stand() {
            return;
        }
        self.node.tick();
        if self.stands() && self.drawn_for == self.term_and_role() && self.ticks >= self.retry_at {
            self.retry_at = self.next_retry();
            self.campaign();
        }
        self.draw();
    }

    fn term_and_role(&self) -> (u64, StateRole) {
        (self.node.raft.term, self.node.raft.state)
    }

    const fn next_retry(&mut self) -> u64 {
        let (from, to) = RETRY_TICKS;
        self.ticks + from + self.random.below(to - from + 1)
    }

    /// Calls an election now.
    pub fn campaign(&mut self) {
        if self.may_stand() {
            // Refused when it may not stand: then there is nothing to do.
            let _ = self.node.campaign();
            self.draw();
        }
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message) {
        self.heard.insert(message.from, self.ticks);
        if is_timeout_now(&message) && !self.may_stand() {
            return;
        }
        // An unknown sender's answers are refused; they are of no interest.
        let _ = self.node.step(message);
        self.draw();
    }

    /// Appends an entry, if this member leads; gives its place.
    pub fn propose(&mut self, data: Bytes) -> Option<Point> {
        let entry = Entry {
            data,
            ..Entry::default()
        };
        self.append(entry)
    }

    /// Appends a change of members, if this member leads and no other change is on its way.
    pub fn change(&mut self, change: &Change) -> Option<Point> {
        use protobuf::Message as _;
        if self.node.raft.has_pending_conf() {
            return None;
        }
        let mut entry = Entry {
            data: change.engine().write_to_bytes().ok()?.into(),
            context: change.encode(),
            ..Entry::default()
        };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        self.append(entry)
    }

    /// The engine would send a proposal on to the leader, where nobody waits for it.
    fn append(&mut self, entry: Entry) -> Option<Point> {
        if !self.leads() {
            return None;
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.me();
        message.set_entries(vec![entry].into());
        self.node.step(message).ok()?;
        Some(Point {
            index: self.last_index(),
            term: self.term(),
        })
    }

    /// Asks a majority whether this member still leads. The engine forgets the question when
    /// messages get lost.
    pub fn confirm(&mut self, round: u64) {
        // The engine does not ask where there is one voter, though it be another than the leader.
        let asks_nobody = self.node.raft.prs().is_singleton();
        if asks_nobody && !self.node.raft.promotable() {
            return;
        }
        // No other question of this member has the same name, in whatever term.
        let name = [self.term().to_be_bytes(), round.to_be_bytes()];
        self.node.read_index(name.concat());
    }

    /// Hands leadership over to a member, if this one leads.
    pub fn transfer(&mut self, to: PeerId) {
        self.node.transfer_leader(to);
        self.draw();
    }

    /// Goes on leading instead of handing over to a member.
    pub fn keep_from(&mut self, peer: PeerId) {
        if self.node.raft.lead_transferee == Some(peer) {
            self.node.raft.abort_leader_transfer();
        }
    }

    /// The follower that has most of those that may lead, if this member leads.
    #[must_use]
    pub fn heir(&self, may_lead: impl Fn(PeerId) -> bool) -> Option<PeerId> {
        let voters = self.conf().voters.iter().copied();
        let others = voters.filter(|peer| *peer != self.me() && may_lead(*peer));
        let known = others.filter_map(|peer| Some((self.progress(peer)?, peer)));
        let active = known.filter(|(at, _)| at.active);
        let best = active.max_by_key(|(at, _)| at.matched);
        best.map(|(_, peer)| peer)
    }

    /// Whether this member asks for votes.
    #[must_use]
    pub fn stands(&self) -> bool {
        matches!(
            self.node.raft.state,
            StateRole::PreCandidate | StateRole::Candidate
        )
    }

    /// Whether leadership is being handed over.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// Whether [`Self::ready`] has something.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.node.has_ready()
    }

    /// Takes what has to be done. Without a disk the log is written at once. The caller calls
    /// [`Self::applied_all`] once everything committed is applied, and [`Self::persisted`] once
    /// everything that is to be kept is durable.
    pub fn ready(&mut self) -> Ready {
        let mut raw = self.node.ready();
        let install = (!raw.snapshot().is_empty()).then(|| raw.snapshot().get_metadata().clone());
        let inline = install.is_some().then(|| raw.snapshot().data.clone());
        let confirmed = raw.take_read_states().into_iter();
        let confirmed = confirmed
            .filter_map(|state| Confirmed::of(&state))
            .collect();
        let committed = raw.take_committed_entries();
        let log = self.node.mut_store();
        if let Some(copy) = &install {
            log.replace(copy);
            self.handed = copy.index;
        }
        let entries = raw.take_entries();
        let keep = self.keep_of(&raw, install.clone(), &entries);
        let log = self.node.mut_store();
        log.append(entries);
        if let Some(hard) = raw.hs() {
            log.set_hard(hard.clone());
        }
        let mut ready = Ready {
            install,
            inline,
            committed: committed.into_iter().map(Committed::from).collect(),
            confirmed,
            messages: raw.take_messages(),
            keep,
        };
        self.finish(raw, &mut ready);
        if let Some(last) = ready.committed.last() {
            self.handed = last.at.index;
        }
        ready
    }

    /// Gives a turn back to the engine: as durable if it is, else to be called so later.
    fn finish(&mut self, mut raw: raft::Ready, ready: &mut Ready) {
        let promised = raw.take_persisted_messages();
        let Some(persistence) = &mut self.persistence else {
            ready.messages.extend(promised);
            let mut light = self.node.advance_append(raw);
            ready.messages.extend(light.take_messages());
            let more = light.take_committed_entries();
            ready
                .committed
                .extend(more.into_iter().map(Committed::from));
            return;
        };
        let number = raw.number();
        let is_durable = persistence.note(number, ready.keep.as_ref());
        ready.messages = persistence.hold(std::mem::take(&mut ready.messages), true);
        ready.messages.extend(persistence.hold(promised, false));
        self.node.advance_append_async(raw);
        if is_durable {
            self.node.on_persist_ready(number);
        }
    }

    /// Everything that [`Self::ready`] gave was applied.
    pub fn applied_all(&mut self) {
        self.applied = self.handed;
        self.advance_applied();
        self.draw();
    }

    /// Applies a change of members.
    pub fn apply_change(&mut self, change: &Change) {
        // The engine refuses what does not fit the configuration; every member refuses alike.
        if let Ok(conf) = self.node.apply_conf_change(&change.engine()) {
            self.node.mut_store().set_conf(conf);
        }
        let members = self.node.raft.prs();
        self.heard.retain(|peer, _| members.get(*peer).is_some());
        self.draw();
    }

    /// The members of the group, as of the last applied entry.
    #[must_use]
    pub fn conf(&self) -> &ConfState {
        self.node.store().conf()
    }

    /// How far a member is; known to the leader. The engine's own mark of who is active is of no
    /// use here: once an election timeout it forgets all of them, and asks again.
    #[must_use]
    pub fn progress(&self, peer: PeerId) -> Option<Progress> {
        let progress = self.node.raft.prs().get(peer)?;
        let is_recent = |tick: &u64| self.ticks - tick <= ELECTION_TICKS as u64;
        Some(Progress {
            matched: progress.matched,
            active: peer == self.me() || self.heard.get(&peer).is_some_and(is_recent),
        })
    }

    /// Bytes of entries that the log keeps.
    #[must_use]
    pub fn log_bytes(&self) -> usize {
        self.node.store().bytes()
    }

    /// Cuts the log up to `index` while it holds more than `keep_bytes`.
    pub fn cut(&mut self, index: u64, keep_bytes: usize) {
        let index = index.min(self.applied());
        self.node.mut_store().cut(index, |bytes| bytes > keep_bytes);
    }

    /// The first entry that the log still has.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.node.store().start().index + 1
    }

    /// Members that need a full copy, since the last call.
    #[must_use]
    pub fn take_wanted_copies(&self) -> BTreeSet<PeerId> {
        self.node.store().take_wanted()
    }

    /// Where a full copy of what is applied stands.
    #[must_use]
    pub fn copy_point(&self) -> Copy {
        let Point { index, term } = self.applied_point();
        let mut copy = Copy {
            index,
            term,
            ..Copy::default()
        };
        copy.set_conf_state(self.conf().clone());
        copy
    }

    /// A member has received a full copy: the engine may tell it to install it.
    pub fn offer_copy(&mut self, to: PeerId, copy: Copy) {
        self.node.mut_store().offer(to, copy);
    }

    /// No copy is offered to a member any more. It may have been told to install the copy, and the
    /// engine would wait for that for ever.
    pub fn withdraw_copy(&mut self, to: PeerId) {
        self.node.mut_store().withdraw(to);
        self.tell_again(to);
    }

    /// A member seems not to have heard that it should install its copy: it is told again.
    pub fn tell_again(&mut self, to: PeerId) {
        self.node.report_snapshot(to, raft::SnapshotStatus::Failure);
    }

    /// The same for all members that were told to and have not answered.
    pub fn tell_all_again(&mut self) {
        let told = |(id, progress): (&PeerId, &raft::Progress)| {
            (progress.state == ProgressState::Snapshot).then_some(*id)
        };
        let told: Vec<PeerId> = self.node.raft.prs().iter().filter_map(told).collect();
        told.into_iter().for_each(|to| self.tell_again(to));
    }

    /// Gives members whose logs do not reach far enough back this state, as of what is applied.
    pub fn keep_inline(&mut self, state: Bytes) {
        let copy = self.copy_point();
        self.node.mut_store().keep_inline(copy, state);
    }

    /// The terms of the committed entries that the log still has, for tests of its history.
    pub fn committed_terms(&self) -> impl Iterator<Item = Point> {
        let commit = self.commit();
        let points = self.node.store().points();
        points.take_while(move |point| point.index <= commit)
    }

    /// Puts an election timeout of our own in the place of the engine's random one.
    fn draw(&mut self) {
        let now = self.term_and_role();
        if now != self.drawn_for {
            self.drawn_for = now;
            self.retry_at = self.next_retry();
            self.timeout = ELECTION_TICKS + self.random.below(ELECTION_TICKS as u64) as usize;
        }
        self.node.raft.set_randomized_election_timeout(self.timeout);
    }
}

impl Confirmed {
    fn of(state: &ReadState) -> Option<Self> {
        let (term, round) = state.request_ctx.split_first_chunk()?;
        Some(Self {
            term: u64::from_be_bytes(*term),
            round: u64::from_be_bytes(round.try_into().ok()?),
            index: state.index,
        })
    }
}

impl From<Entry> for Committed {
    fn from(entry: Entry) -> Self {
        let at = Point {
            index: entry.index,
            term: entry.term,
        };
        let what = match entry.get_entry_type() {
            EntryType::EntryNormal => Content::Data(entry.data),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                Content::Members(Change::decode(&entry.context).unwrap_or_default())
            }
        };
        Self { at, what }
    }
}

impl Change {
    fn engine(&self) -> ConfChangeV2 {
        let single = |kind, peer: &PeerId| {
            let mut single = ConfChangeSingle::default();
            single.set_change_type(kind);
            single.node_id = *peer;
            single
        };
        let learners = self.learners.iter();
        let voters = self.voters.iter();
        let removed = self.removed.iter();
        let singles: Vec<ConfChangeSingle> = learners
            .map(|peer| single(ConfChangeType::AddLearnerNode, peer))
            .chain(voters.map(|peer| single(ConfChangeType::AddNode, peer)))
            .chain(removed.map(|peer| single(ConfChangeType::RemoveNode, peer)))
            .collect();
        let mut change = ConfChangeV2::default();
        if singles.len() > 1 {
            // Left by an entry of its own: the engine forgets to when the leader changes.
            change.set_transition(ConfChangeTransition::Explicit);
        }
        change.set_changes(singles.into());
        change
    }

    fn encode(&self) -> Bytes {
        let mut out = bytes::BytesMut::new();
        pack::array(&mut out, 3);
        for peers in [&self.voters, &self.learners, &self.removed] {
            pack::array(&mut out, peers.len());
            peers.iter().for_each(|peer| pack::uint(&mut out, *peer));
        }
        out.freeze()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let mut change = Self::default();
        from.array_of(3).ok()?;
        for peers in [
            &mut change.voters,
            &mut change.learners,
            &mut change.removed,
        ] {
            for _ in 0..from.array(64).ok()? {
                peers.push(from.uint().ok()?);
            }
        }
        Some(change)
    }
}

/// Whether a message asks for a vote, other than on the leader's own wish.
#[must_use]
pub fn asks_for_vote(message: &Message) -> bool {
    let asks = matches!(
        message.get_msg_type(),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
    );
    asks && message.context[..] != *BY_WISH
}

/// Makes a request for a vote one that is listened to, whatever its receiver has promised.
pub fn insist(message: &mut Message) {
    if asks_for_vote(message) {
        message.context = Bytes::from_static(BY_WISH);
    }
}

/// Whether a message is a sign of life of a leader.
#[must_use]
pub fn is_from_leader(message: &Message) -> bool {
    matches!(
        message.get_msg_type(),
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
    )
}

/// Whether a message makes its receiver call an election at once.
#[must_use]
pub fn is_timeout_now(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgTimeoutNow
}

/// Where the copy stands that a message tells its receiver to install, if it is such a message.
#[must_use]
pub fn told_to_install(message: &Message) -> Option<Point> {
    (message.get_msg_type() == MessageType::MsgSnapshot).then(|| {
        let copy = message.get_snapshot().get_metadata();
        Point {
            index: copy.index,
            term: copy.term,
        }
    })
}

/// A leader's message that tells another member to install a copy, for tests.
#[cfg(test)]
pub fn tells_to_install((from, to): (PeerId, PeerId), at: Point) -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgSnapshot);
    (message.from, message.to, message.term) = (from, to, at.term);
    let copy = message.mut_snapshot().mut_metadata();
    (copy.index, copy.term) = (at.index, at.term);
    copy.set_conf_state(ConfState::from((vec![from, to], Vec::new())));
    message
}

/// Whether a message says that its sender has entries up to a place, for tests.
#[cfg(test)]
pub fn accepts_entries(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgAppendResponse && !message.reject
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what a member has to say, the rest being done with.
    fn said(group: &mut Group) -> Vec<Message> {
        let mut messages = Vec::new();
        while group.has_ready() {
            messages.extend(group.ready().messages);
            group.applied_all();
        }
        messages
    }

    /// Lets all messages arrive but those that are lost.
    fn talk(groups: &mut [Group], is_lost: impl Fn(&Message) -> bool) {
        loop {
            let messages: Vec<Message> = groups.iter_mut().flat_map(said).collect();
            if messages.is_empty() {
                return;
            }
            for message in messages.into_iter().filter(|message| !is_lost(message)) {
                groups[message.to as usize - 1].step(message);
            }
        }
    }

    #[test]
    fn a_copy_that_is_withdrawn_is_wanted_again() {
        let mut groups: Vec<Group> = (1..=3).map(|me| Group::new(me, &[1, 2, 3], me)).collect();
        groups[0].campaign();
        talk(&mut groups, |message| message.to == 3);
        groups[0].propose(Bytes::from_static(b"a"));
        talk(&mut groups, |message| message.to == 3);
        groups[0].cut(u64::MAX, 0);
        let is_lost = |message: &Message| told_to_install(message).is_some();
        let goes_on = |groups: &mut Vec<Group>| {
            groups[0].tick();
            talk(groups, is_lost);
            groups[0].take_wanted_copies().contains(&3)
        };
        assert!((0..10).any(|_| goes_on(&mut groups)));
        let copy = groups[0].copy_point();
        groups[0].offer_copy(3, copy);
        assert!(
            !(0..10).any(|_| goes_on(&mut groups)),
            "it was told, which is lost"
        );
        groups[0].withdraw_copy(3);
        assert!((0..10).any(|_| goes_on(&mut groups)));
    }

    #[test]
    fn entries_follow_the_place_that_their_message_names() {
        let mut groups: Vec<Group> = (1..=3).map(|me| Group::new(me, &[1, 2, 3], me)).collect();
        groups[0].campaign();
        talk(&mut groups, |_| false);
        groups[0].propose(Bytes::from_static(b"a"));
        talk(&mut groups, |message| message.to == 2);
        let behind = groups[1].last_index();
        groups[0].propose(Bytes::from_static(b"b"));
        for message in said(&mut groups[0]) {
            groups[message.to as usize - 1].step(message);
        }
        // In one turn: what is new is committed, which member 2 is to be told; and it has refused
        // the entry before, so that it is sent everything from there on.
        let (refusal, agreement) = (said(&mut groups[1]), said(&mut groups[2]));
        for message in agreement.into_iter().chain(refusal) {
            groups[0].step(message);
        }
        let appends = said(&mut groups[0]).into_iter().filter(|message| {
            message.get_msg_type() == MessageType::MsgAppend && !message.entries.is_empty()
        });
        let places: Vec<(u64, u64)> = appends
            .map(|message| (message.index + 1, message.entries[0].index))
            .collect();
        assert_eq!(places, [(behind + 1, behind + 1)]);
    }

    #[test]
    fn what_is_not_committed_has_a_bound() {
        let mut groups: Vec<Group> = (1..=3).map(|me| Group::new(me, &[1, 2, 3], me)).collect();
        groups[0].campaign();
        talk(&mut groups, |_| false);
        let data = Bytes::from(vec![0; APPEND_BYTES]);
        let propose = |groups: &mut Vec<Group>| groups[0].propose(data.clone()).is_some();
        // One that makes it more than the bound is the last.
        let proposed = (0..10_000).take_while(|_| propose(&mut groups)).count();
        assert_eq!(proposed, UNCOMMITTED_BYTES / APPEND_BYTES);
        // Of that no more is on its way to a follower than so many messages.
        let sent = said(&mut groups[0])
            .into_iter()
            .filter(|message| message.to == 2);
        let appends = sent.filter(|message| !message.entries.is_empty()).count();
        assert!((1..=APPENDS).contains(&appends), "{appends}");
        groups[0].tick();
        groups[0].tick();
        talk(&mut groups, |_| false);
        assert!(propose(&mut groups), "when it is committed");
    }

    /// Two members of three, of which the third leads no more: ticks until one of them leads.
    fn ticks_to_elect(seed: u64) -> u64 {
        let mut groups = [1, 2].map(|me| Group::new(me, &[1, 2, 3], 2 * seed + me));
        for ticks in 0..100 {
            if groups.iter().any(Group::leads) {
                return ticks;
            }
            groups.iter_mut().for_each(Group::tick);
            talk(&mut groups, |message| message.to == 3);
        }
        100
    }

    #[test]
    fn candidates_that_stand_at_the_same_time_do_not_wait_for_long() {
        let mut ticks: Vec<u64> = (0..1000).map(ticks_to_elect).collect();
        ticks.sort_unstable();
        assert!(ticks[500] <= 17, "half: {}", ticks[500]);
        assert!(ticks[990] <= 28, "99 in 100: {}", ticks[990]);
        assert!(ticks[999] <= 40, "all: {}", ticks[999]);
    }
}
