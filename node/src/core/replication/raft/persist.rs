//! What a member of a group has to keep before it says so, where there is a disk.
//!
//! A member's promises (its vote, that it has entries, that a full copy took the place of
//! everything) wait in [`Persistence`] until what they are about is durable. A leader's messages
//! promise nothing of its own log and leave at once, unless the term in which they are said is not
//! durable itself: after a crash the same member could lead again in that term, with other entries.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use raft::eraftpb::{Entry, EntryType, HardState, MessageType};
use raft::{GetEntriesContext, Storage as _};

use super::log::Log;
use super::{Copy, Group, Message, Point, codec};
use crate::core::disk::{Base, Hard, Kept, Record, Who};
use crate::core::mutation::{self, Mutation};
use crate::core::pack::{self, Reader};

/// What has to be kept of one turn of the engine.
#[derive(Debug)]
pub struct Keep {
    /// The turn's number, for [`Group::persisted`].
    pub ready: u64,
    /// A full copy that takes the place of everything.
    pub start: Option<Copy>,
    /// Entries; what stood at their places and behind is thrown away.
    entries: Vec<Entry>,
    hard: HardState,
    /// The term or the vote is new.
    votes: bool,
}

impl Keep {
    /// How many entries there are.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the entries' data.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// The records of the log that say this of a member; where the state machine of a full copy is,
    /// if one came.
    pub fn records(self, who: Who, state: &Place, out: &mut Vec<Record>) {
        if let Some(copy) = &self.start {
            out.push(Record::Start(who, base_at(copy, state)));
        }
        if !self.entries.is_empty() {
            out.push(Record::Entries(who, encode(&self.entries)));
        }
        let hard = Hard {
            term: self.hard.term,
            vote: self.hard.vote,
            commit: self.hard.commit,
        };
        out.push(Record::Hard(who, hard));
    }
}

/// Whether a leader knows that a member has more entries than it has: it has lost some that it said
/// were durable. The engine panics over that.
#[must_use]
pub fn outruns(message: &Message, group: &Group) -> bool {
    message.get_msg_type() == MessageType::MsgHeartbeat && message.commit > group.last_index()
}

/// Whether a message brings entries with data.
#[must_use]
pub fn brings_data(message: &Message) -> bool {
    let has_data =
        |entry: &Entry| entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
    message.get_msg_type() == MessageType::MsgAppend && message.entries.iter().any(has_data)
}

/// Where the state machine is that a log starts from.
#[derive(Clone, Debug)]
pub enum Place {
    /// It is as at its birth.
    Birth,
    /// In the file of a snapshot.
    File(u64),
    /// In the record itself.
    Inline(Bytes),
}

/// Where a log starts that starts at a copy.
#[must_use]
pub fn base_at(copy: &Copy, state: &Place) -> Base {
    let mut members = BytesMut::new();
    codec::encode_copy(copy, &mut members);
    if let Place::Inline(state) = state {
        pack::bin(&mut members, state);
    }
    Base {
        at: Point {
            index: copy.index,
            term: copy.term,
        },
        members: members.freeze(),
        snapshot: match state {
            Place::File(number) => Some(*number),
            Place::Birth | Place::Inline(_) => None,
        },
    }
}

/// The state machine that a record of [`Place::Inline`] has kept.
#[must_use]
pub fn inline_of(members: &[u8]) -> Option<&[u8]> {
    let mut from = Reader::new(members);
    codec::decode_copy(&mut from).ok()?;
    from.bin().ok()
}

/// Entries as they are kept; they share one piece of memory.
fn encode(entries: &[Entry]) -> Vec<(Point, Bytes)> {
    let bytes = entries.iter().map(|entry| entry.data.len() + 16).sum();
    let mut out = BytesMut::with_capacity(bytes);
    let encode = |entry: &Entry| {
        codec::encode_kept(entry, &mut out);
        let at = Point {
            index: entry.index,
            term: entry.term,
        };
        (at, out.split().freeze())
    };
    entries.iter().map(encode).collect()
}

/// What is not durable yet of a member, and what it says once it is.
#[derive(Default)]
pub struct Persistence {
    pending: VecDeque<Pending>,
    /// The engine's last turn.
    last_ready: u64,
}

/// A turn of the engine that is not durable yet.
struct Pending {
    ready: u64,
    /// It has changed the term or the vote.
    votes: bool,
    /// What may be said only then.
    messages: Vec<Message>,
}

impl Persistence {
    /// Whether everything is durable.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes note of a turn of the engine; says whether it is durable already, since it leaves
    /// nothing to be kept and nothing is pending.
    pub fn note(&mut self, ready: u64, keep: Option<&Keep>) -> bool {
        self.last_ready = ready;
        self.pending.extend(keep.map(|keep| Pending {
            ready,
            votes: keep.votes,
            messages: Vec::new(),
        }));
        self.pending.is_empty()
    }

    /// Holds back those of a turn's messages that have to wait. What a leader says is not about its
    /// own log.
    pub fn hold(&mut self, messages: Vec<Message>, of_leader: bool) -> Vec<Message> {
        let votes = self.pending.iter().any(|pending| pending.votes);
        let Some(last) = self.pending.back_mut() else {
            return messages;
        };
        let waits = |message: &Message| {
            let promises =
                !of_leader && message.get_msg_type() != MessageType::MsgHeartbeatResponse;
            (votes || promises) && !is_let_out(message)
        };
        let (held, free) = messages.into_iter().partition(waits);
        append(&mut last.messages, held);
        free
    }

    /// A turn and all before it are durable: gives the turn up to which everything is, and what may
    /// be said now.
    fn persisted(&mut self, ready: u64) -> (u64, Vec<Message>) {
        let mut messages = Vec::new();
        while let Some(pending) = self.pending.pop_front_if(|first| first.ready <= ready) {
            append(&mut messages, pending.messages);
        }
        let upto = if self.is_idle() {
            self.last_ready
        } else {
            ready
        };
        (upto, messages)
    }
}

fn append(to: &mut Vec<Message>, mut more: Vec<Message>) {
    if to.is_empty() {
        *to = more;
    } else {
        to.append(&mut more);
    }
}

/// Whether a known bug lets a message leave too early.
fn is_let_out(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgAppendResponse => mutation::is(Mutation::AckBeforeFlush),
        MessageType::MsgRequestVoteResponse => mutation::is(Mutation::VoteBeforeFlush),
        _ => false,
    }
}

impl Group {
    /// From now on what this member has to remember is kept on a disk: [`Self::ready`] says what,
    /// and nothing is promised before [`Self::persisted`].
    pub fn keep(&mut self) {
        self.persistence = Some(Persistence::default());
    }

    /// A turn of the engine and all before it are durable: what may be said now.
    pub fn persisted(&mut self, ready: u64) -> Vec<Message> {
        let Some(persistence) = &mut self.persistence else {
            return Vec::new();
        };
        let (upto, messages) = persistence.persisted(ready);
        self.node.on_persist_ready(upto);
        self.advance_applied();
        self.draw();
        messages
    }

    /// Whether this member is the only voter of its group.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.node.raft.prs().is_singleton() && self.node.raft.promotable()
    }

    /// Whether the engine may call an election. It panics when the state machine is ahead of what
    /// it knows to be durable, and when the only voter would lead with entries that are not.
    pub(super) fn may_stand(&self) -> bool {
        let idle = self.persistence.as_ref().is_none_or(Persistence::is_idle);
        idle || self.node.raft.raft_log.applied == self.applied
            && !self.node.raft.prs().is_singleton()
    }

    /// The engine's hard state, and that all is committed which is applied. It has to be kept when
    /// the members have changed: who restarts goes by the members that it knows to be committed,
    /// and the former ones may be gone.
    #[must_use]
    pub fn hard_of_applied(&self) -> Hard {
        let hard = self.node.raft.hard_state();
        Hard {
            term: hard.term,
            vote: hard.vote,
            commit: self.applied,
        }
    }

    /// Tells the engine what is applied, as far as it is durable.
    pub(super) fn advance_applied(&mut self) {
        let log = &self.node.raft.raft_log;
        if log.applied < self.applied && self.applied <= log.persisted {
            self.node.advance_apply_to(self.applied);
        }
    }

    /// Where this member's log starts, with the members at its birth.
    #[must_use]
    pub fn birth(&self) -> Copy {
        let at = self.node.store().start();
        let mut copy = Copy {
            index: at.index,
            term: at.term,
            ..Copy::default()
        };
        copy.set_conf_state(self.conf().clone());
        copy
    }

    /// The records that this member's log starts at what is applied.
    pub fn records_from_applied(&self, who: Who, state: Bytes) -> impl Iterator<Item = Record> {
        let copy = self.copy_point();
        let log = self.node.store();
        let (first, end) = (copy.index + 1, log.last() + 1);
        let behind = log.entries(first, end, None, GetEntriesContext::empty(false));
        let behind = behind.unwrap_or_default();
        let start = Record::Start(who, base_at(&copy, &Place::Inline(state)));
        let entries = (!behind.is_empty()).then(|| Record::Entries(who, encode(&behind)));
        [start].into_iter().chain(entries)
    }

    /// What has to be kept of a turn of the engine, if anything. A place up to which entries are
    /// committed is kept with what else there is: it is found out again.
    pub(super) fn keep_of(
        &self,
        raw: &raft::Ready,
        start: Option<Copy>,
        entries: &[Entry],
    ) -> Option<Keep> {
        let must = self.persistence.is_some() && raw.must_sync();
        must.then(|| {
            let (hard, before) = (self.node.raft.hard_state(), self.node.store().hard());
            Keep {
                ready: raw.number(),
                start,
                entries: entries.to_vec(),
                votes: (hard.term, hard.vote) != (before.term, before.vote),
                hard,
            }
        })
    }

    /// The member that was kept, as it was: what is behind its start has yet to be applied.
    ///
    /// # Errors
    /// What was kept cannot be of a member: it is damaged.
    pub fn recover(kept: &Kept, seed: u64) -> Result<Self, Malformed> {
        let log = Log::recover(kept)?;
        if log.last() < log.hard().commit {
            return Err(Malformed("committed entries are missing"));
        }
        let mut group = Self::with_log(kept.peer, log, seed);
        group.keep();
        Ok(group)
    }
}
