//! One replica of a shard: its Raft group's member here, the state machine, and who waits for what.
//!
//! The order of a turn keeps the promises: what has arrived is proposed; committed entries are
//! applied; only then is anybody answered, and only then is a lease given.

mod receiving;
mod saving;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dht_proto::limits::{ENTRIES_IN_FLIGHT, LOG_BYTES, LOG_COPY_BYTES, LOG_HELD_BYTES};
use dht_proto::topology::NodeId;
use dht_proto::{Reply, ReplyError};

use super::copy::{Allowance, Incoming, Outgoing};
use super::keeper::Keeper;
use super::lease::Lease;
use super::machine::{Answer, Machine};
use super::mail::{Answered, Mail, Number, Post, Received};
use super::membership::{self, Step};
use super::raft::persist::Place;
use super::raft::{self, Committed, Content, Copy, Group, Message, PeerId, Point};
use super::task::{self, EntryWriter, Task};
use crate::core::disk::Record;
use crate::core::execute::{self, Moment};
use crate::core::lease::Word;
use crate::core::meta::Replica as Seat;
use crate::core::mutation::{self, Mutation};
use crate::core::random::Random;
use crate::core::rest::Found;
use crate::core::store::{Cursor, SlotSet, Store};
use crate::core::time::{Now, UnixMs};

pub use self::saving::{Files, Saved};

/// Keys looked at in one step of the search for those that are due.
const SWEEP_KEYS: usize = 1024;
/// Turns of the engine in one turn of the replica.
const ROUNDS: usize = 8;

/// A task of a client of this node, until it is answered.
#[derive(Debug)]
pub struct Pending<T> {
    /// The encoded task.
    pub task: Bytes,
    /// How it runs.
    pub mode: Mode,
    /// The monotonic time, in milliseconds, at which its client is answered without it.
    pub deadline_mono_ms: u64,
    /// Who waits; nobody any more after the deadline.
    pub ticket: Option<T>,
}

impl<T> Pending<T> {
    /// The same, when it may have been executed.
    #[must_use]
    pub fn sent_once(mut self) -> Self {
        if self.mode == Mode::Repeatable {
            self.mode = Mode::Repeated;
        }
        self
    }

    /// What its client is told when this try has not been sent, and there will be no other.
    #[must_use]
    pub fn unsent(&self) -> ReplyError {
        match self.mode {
            Mode::Repeated => in_flight(),
            Mode::Write | Mode::Repeatable | Mode::Read | Mode::OrderedRead => not_done(),
        }
    }

    /// What its client is told when it was sent, and no answer has come in time. A read changes
    /// nothing, also where it went through the log.
    #[must_use]
    pub fn unanswered(&self) -> ReplyError {
        match self.mode {
            Mode::Write | Mode::Repeatable | Mode::Repeated => in_flight(),
            Mode::Read | Mode::OrderedRead => not_done(),
        }
    }
}

/// How a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It changes data: it goes through the log.
    Write,
    /// Likewise, and it may go there again: its place in a session of its client, or what it does,
    /// makes that harmless.
    Repeatable,
    /// Likewise, and it may have been executed before.
    Repeated,
    /// It reads, at any time from now on.
    Read,
    /// It reads, behind a task of the same connection that is not yet answered: it goes through
    /// the log.
    OrderedRead,
}

/// A task that has reached its leader.
pub struct Inbound<T> {
    /// Who waits for it.
    pub waiter: Waiter<T>,
    /// The encoded task.
    pub task: Bytes,
    /// It may be answered without the log, if its session has not gone on from here meanwhile.
    pub read: Option<After>,
    /// The last round of confirmation that was asked for when it arrived.
    round: u64,
}

/// What a read of another node comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    session: u64,
    sequence: u64,
}

/// Who waits for a task.
pub enum Waiter<T> {
    /// A client of this node.
    Here(Pending<T>),
    /// A node; the place makes a retry recognizable.
    There {
        /// Which node.
        node: NodeId,
        /// What it calls the task.
        number: Number,
        /// Its session.
        session: u64,
        /// The last answer it has.
        acknowledged: u64,
    },
    /// A node that asked for a session.
    Opening(NodeId),
    /// Nobody: the leader itself has seen to it.
    Nobody,
}

/// What a turn of a replica works with, and what it leaves.
pub struct Turn<'a, T> {
    /// The moment.
    pub now: Now,
    /// The data.
    pub store: &'a Arc<Store>,
    /// The shard's word for readers.
    pub word: &'a Arc<Word>,
    /// Which node has which peer of the group.
    pub seats: &'a [Seat],
    /// Mails to other nodes.
    pub post: &'a mut Post,
    /// Answers to clients of this node.
    pub settled: &'a mut Vec<(T, Found)>,
    /// Tasks of this node that are to be tried again, in their order.
    pub returned: &'a mut Vec<Pending<T>>,
    /// How many tasks of this node were answered, or need no answer any more.
    pub resolved: &'a mut usize,
    /// What may still be sent of full copies.
    pub copies: &'a mut Allowance,
    /// Nodes that are being given full copies, and until which tick that is believed.
    pub learning: &'a BTreeMap<NodeId, u64>,
    /// What has to be kept.
    pub keeper: &'a mut Keeper,
    /// Files of snapshots.
    pub files: &'a mut Files,
}

/// An entry that was proposed and not yet seen applied.
struct Proposed<T> {
    at: Point,
    waiters: Vec<Waiter<T>>,
}

/// One copy of a shard.
pub struct Replica<T> {
    shard: u16,
    /// The member of the Raft group.
    pub group: Group,
    /// The replicated state besides the data.
    pub machine: Machine,
    lease: Lease,
    random: Random,
    inbox: VecDeque<Inbound<T>>,
    proposed: VecDeque<Proposed<T>>,
    last_stamp: UnixMs,
    /// To whom this leader sends full copies.
    outgoing: Vec<Outgoing>,
    /// The full copy that this member is being sent.
    incoming: Option<Incoming>,
    /// The name of the last copy that was begun; an earlier process of this node had others.
    attempts: u64,
    /// Where the search for keys that are due goes on.
    swept: Cursor,
    /// The leader has not looked after the group's members in this tick.
    unsteered: bool,
    /// It was there before this process was.
    is_restored: bool,
    /// What is on the disk, if there is one.
    kept: Saved,
}

impl<T> Replica<T> {
    /// A replica without data, made at this monotonic time; without voters, one that waits for a
    /// full copy.
    #[must_use]
    pub fn new(
        (shard, slots): (u16, SlotSet),
        (me, voters): (PeerId, &[PeerId]),
        now_mono_ms: u64,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        Self {
            shard,
            group: Group::new(me, voters, random.next()),
            machine: Machine::new(slots),
            lease: Lease::of_member(voters, now_mono_ms),
            inbox: VecDeque::new(),
            proposed: VecDeque::new(),
            last_stamp: 0,
            outgoing: Vec::new(),
            incoming: None,
            attempts: random.next() >> 1,
            swept: Cursor::at_slot(0),
            unsteered: false,
            is_restored: false,
            kept: Saved::default(),
            random,
        }
    }

    /// Takes a task of a client of this node.
    pub fn take(&mut self, pending: Pending<T>) {
        let read = (pending.mode == Mode::Read).then_some(After {
            session: 0,
            sequence: 0,
        });
        self.inbox.push_back(Inbound {
            task: pending.task.clone(),
            waiter: Waiter::Here(pending),
            read,
            round: self.lease.asked(),
        });
    }

    /// Takes a task that another node has sent.
    pub fn take_from(&mut self, node: NodeId, sent: &super::mail::Sent<'_>) {
        let read = matches!(sent.number, Number::Read(_)).then_some(After {
            session: sent.session,
            sequence: sent.after,
        });
        self.inbox.push_back(Inbound {
            task: Bytes::copy_from_slice(sent.task),
            waiter: Waiter::There {
                node,
                number: sent.number,
                session: sent.session,
                acknowledged: sent.after,
            },
            read,
            round: self.lease.asked(),
        });
    }

    /// Another node asks for a session.
    pub fn open_session(&mut self, node: NodeId) {
        self.inbox.push_back(Inbound {
            task: Task::OpenLane.to_bytes(),
            waiter: Waiter::Opening(node),
            read: None,
            round: self.lease.asked(),
        });
    }

    /// Time has gone on. Who is to lead a new group does not wait for its election timeout.
    pub fn tick(&mut self, is_preferred: bool) {
        self.group.tick();
        self.unsteered = true;
        let is_new = self.group.term() == raft::BIRTH.term && self.group.leader().is_none();
        // Who was there before may have promised a leader not to help another.
        if is_new && is_preferred && !self.is_restored || self.is_restored && self.group.is_alone()
        {
            self.group.campaign();
        }
    }

    /// Has keys removed that are due, some at a time, as long as this replica leads.
    pub fn sweep(&mut self, turn: &mut Turn<'_, T>) {
        if !self.group.is_current() {
            return;
        }
        let stamp = turn.now.unix_ms().max(self.machine.time);
        let due = turn
            .store
            .due(&self.machine.slots, self.swept, stamp, SWEEP_KEYS);
        self.swept = due.next;
        if !due.keys.is_empty() {
            let keys = due.keys.iter().map(AsRef::as_ref).collect();
            self.inbox.push_back(Inbound {
                task: Task::Expire(keys).to_bytes(),
                waiter: Waiter::Nobody,
                read: None,
                round: self.lease.asked(),
            });
        }
    }

    /// Takes a message of another member, unless it asks for a vote while a leader may hold a
    /// lease.
    pub fn step(&mut self, mut message: Message, now: Now) {
        if mutation::is(Mutation::NoVoteGuard) {
            raft::insist(&mut message);
        }
        // What it has already, the engine only says that it has: the leader may not have heard.
        let installable = raft::told_to_install(&message).is_none_or(|point| {
            let is_here = || self.incoming.as_ref().is_some_and(|copy| copy.is_at(point));
            point.index <= self.group.commit() || is_here()
        });
        if self.lease.hears(&message, now.mono_ms) && installable {
            self.group.step(message);
        }
    }

    /// Takes note of what a member has received of its copy.
    pub fn take_receipt(&mut self, received: Received, now: Now) {
        let useless =
            |copy: &mut Outgoing| copy.to() == received.to && !copy.received(received, now.mono_ms);
        for gone in self.outgoing.extract_if(.., useless) {
            self.group.withdraw_copy(gone.to());
        }
    }

    /// Does all that can be done now.
    pub fn turn(&mut self, turn: &mut Turn<'_, T>) {
        self.lease.check(&self.group, turn.word, turn.now.mono_ms);
        self.intake(turn);
        for _ in 0..ROUNDS {
            if !self.group.has_ready() {
                break;
            }
            self.advance(turn);
            self.intake(turn);
        }
        self.send_copies(turn);
        if std::mem::take(&mut self.unsteered) {
            self.steer(turn.seats, |node| turn.learning.contains_key(&node));
        }
        self.lease
            .renew(&mut self.group, turn.now.mono_ms, !self.inbox.is_empty());
        self.cut();
    }

    /// Whether another turn would do something without anything having arrived.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.group.has_ready()
    }

    fn advance(&mut self, turn: &mut Turn<'_, T>) {
        let ready = self.group.ready();
        // A new leader may be known by now: its entries change data only after the word is clear.
        self.lease.check(&self.group, turn.word, turn.now.mono_ms);
        let state = match ready.install {
            Some(copy) => self.install(&copy, turn),
            None => Place::Birth,
        };
        let is_change = |committed: &Committed| matches!(committed.what, Content::Members(_));
        let has_changed = ready.committed.iter().any(is_change);
        for committed in ready.committed {
            self.apply(committed, turn);
        }
        self.group.applied_all();
        for confirmed in ready.confirmed {
            self.lease.confirmed(&self.group, confirmed, turn.word);
        }
        if let Some(keep) = ready.keep {
            self.kept.logged(keep.bytes());
            turn.keeper
                .keep((self.shard + 1, self.group.me()), keep, &state);
        }
        if has_changed {
            let (who, hard) = (
                (self.shard + 1, self.group.me()),
                self.group.hard_of_applied(),
            );
            turn.keeper.record(|| Record::Hard(who, hard));
        }
        self.say(ready.messages, turn);
    }

    fn say(&mut self, messages: Vec<Message>, turn: &mut Turn<'_, T>) {
        for message in messages {
            self.lease.sends(&self.group, &message, turn.word);
            self.send(message, turn);
        }
    }

    /// Puts the received copy in the place of everything; says where it is on the disk.
    fn install(&mut self, copy: &Copy, turn: &mut Turn<'_, T>) -> Place {
        let file = self.incoming.as_ref().and_then(Incoming::file);
        let received = self.incoming.take().and_then(Incoming::finish);
        let Some((machine, staging)) = received else {
            unreachable!("the engine is told to install only what has arrived");
        };
        if turn.word.end(|| turn.store.install(staging)).is_err() {
            unreachable!("all pieces have arrived");
        }
        self.machine = machine;
        turn.word.advance(self.machine.time);
        // What the copy covers cannot be told apart: done or not.
        while let Some(covered) = self
            .proposed
            .pop_front_if(|first| first.at.index <= copy.index)
        {
            self.leave_open(covered.waiters, turn);
        }
        self.replaced(file, turn)
    }

    fn send_copies(&mut self, turn: &mut Turn<'_, T>) {
        if !self.group.leads() {
            for gone in self.outgoing.drain(..) {
                self.group.withdraw_copy(gone.to());
            }
            return;
        }
        let now_mono_ms = turn.now.mono_ms;
        for to in self.group.take_wanted_copies() {
            let known = self.outgoing.iter().any(|copy| copy.to() == to);
            let seat = turn.seats.iter().find(|seat| seat.peer == to);
            if let (false, Some(seat)) = (known, seat) {
                self.attempts += 1;
                let from = (&self.group, &self.machine, &**turn.store);
                let copy = Outgoing::new((to, seat.node), self.attempts, from, now_mono_ms);
                self.outgoing.push(copy);
            }
        }
        for copy in &mut self.outgoing {
            copy.send(self.shard, turn.store, now_mono_ms, turn.copies, turn.post);
            if copy.is_there() {
                self.group.offer_copy(copy.to(), copy.copy.clone());
                if copy.tell_again(now_mono_ms) {
                    self.group.tell_again(copy.to());
                }
            }
        }
        self.drop_copies();
    }

    /// Forgets copies that have been installed, and those that the log has grown too long for.
    fn drop_copies(&mut self) {
        let group = &mut self.group;
        self.outgoing.retain(|copy| {
            let progress = group.progress(copy.to());
            let goes_on = progress.is_some_and(|at| at.matched < copy.copy.index);
            let affordable = group.first_index() <= copy.copy.index + 1 && !copy.is_lost();
            if !goes_on || !affordable {
                group.withdraw_copy(copy.to());
            }
            goes_on && affordable
        });
    }

    /// Leads the group from the members that it has to those that it should have.
    fn steer(&mut self, seats: &[Seat], is_learning: impl Fn(NodeId) -> bool) {
        if !self.group.is_current() {
            return;
        }
        let target: Vec<PeerId> = seats.iter().map(|seat| seat.peer).collect();
        let last_index = self.group.last_index();
        let (me, conf) = (self.group.me(), self.group.conf());
        let progress = |peer| self.group.progress(peer);
        let is_busy = |peer| {
            let seat = seats.iter().find(|seat| seat.peer == peer);
            seat.is_some_and(|seat| is_learning(seat.node))
        };
        match membership::next_step(me, conf, &target, last_index, progress, is_busy) {
            Step::Nothing => (),
            Step::Change(change) => _ = self.group.change(&change),
            Step::Transfer(heir) => self.group.transfer(heir),
        }
    }

    /// Whether full copies are on their way from here.
    #[must_use]
    pub const fn copies(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes account of the full copies that are on their way from here.
    pub fn count_copies(&self, allowance: &mut Allowance) {
        self.outgoing.iter().for_each(|copy| allowance.note(copy));
    }

    /// Whether full copies could go on at once.
    #[must_use]
    pub fn copies_go_on(&self, allowance: &Allowance) -> bool {
        self.outgoing.iter().any(|copy| copy.has_more(allowance))
    }

    /// Whether this member is being given a full copy, or has no vote before it has had one.
    #[must_use]
    pub fn learns(&self) -> bool {
        let (me, conf) = (self.group.me(), self.group.conf());
        let has_vote = conf.voters.contains(&me) || conf.voters_outgoing.contains(&me);
        // One may be left that nobody sends any more, since the log has come by itself.
        let is_ahead = |copy: &Incoming| copy.is_ahead_of(self.group.applied());
        !has_vote || self.incoming.as_ref().is_some_and(is_ahead)
    }

    /// Whether this member leads, and every replica that there is to be has a vote and is heard.
    #[must_use]
    pub fn is_whole(&self, seats: &[Seat]) -> bool {
        let target: Vec<PeerId> = seats.iter().map(|seat| seat.peer).collect();
        let (me, conf) = (self.group.me(), self.group.conf());
        let progress = |peer| self.group.progress(peer);
        self.group.is_current() && membership::is_whole(me, conf, &target, progress)
    }

    /// Hands leadership to a member that has everything, if this one leads and that one can.
    pub fn hand_over(&mut self, to: PeerId) {
        let last_index = self.group.last_index();
        let is_voter = self.group.conf().voters.contains(&to);
        let progress = self.group.progress(to);
        let has_all = progress.is_some_and(|at| at.active && at.matched == last_index);
        if self.group.is_current() && to != self.group.me() && is_voter && has_all {
            self.group.transfer(to);
        }
    }

    /// This replica is dropped: who waits for it is answered, and its data is removed.
    pub fn dismiss(&mut self, turn: &mut Turn<'_, T>) {
        self.give_back(turn);
        for proposed in std::mem::take(&mut self.proposed) {
            self.leave_open(proposed.waiters, turn);
        }
        if let Some(incoming) = self.incoming.take() {
            turn.files.remove(incoming.file());
            incoming.discard(turn.store);
        }
        self.forget(turn);
        let slots = &self.machine.slots;
        if let (Some(first), Some(last)) = (slots.iter().min(), slots.iter().max()) {
            turn.word.end(|| turn.store.clear(first..=last));
        }
    }

    fn send(&self, message: Message, turn: &mut Turn<'_, T>) {
        if let Some(seat) = turn.seats.iter().find(|seat| seat.peer == message.to) {
            turn.post
                .send(seat.node, &Mail::Raft(self.shard + 1, message));
        }
    }

    /// Proposes what has arrived, and answers reads, in order; nothing overtakes a read that has to
    /// wait.
    fn intake(&mut self, turn: &mut Turn<'_, T>) {
        if !self.group.leads() {
            return self.give_back(turn);
        }
        while self.proposed.len() < ENTRIES_IN_FLIGHT && self.propose(turn) {}
    }

    /// Proposes one entry; says whether there may be another one.
    fn propose(&mut self, turn: &mut Turn<'_, T>) -> bool {
        let mut entry = EntryWriter::new();
        let mut taken = Vec::new();
        let mut more = false;
        while let Some(next) = self.inbox.front() {
            if entry.is_full() {
                more = true;
                break;
            }
            let seed = self.random.next();
            match self.try_read(next, seed, turn) {
                Attempt::Wait => break,
                // One that came late must not get behind what was sent after it, unapplied so far.
                Attempt::Log if next.is_ordered_read() && !(entry.is_empty() && self.is_idle()) => {
                    break;
                }
                Attempt::Answered(answer) => {
                    if let Some(next) = self.inbox.pop_front() {
                        self.answer(next.waiter, answer, turn);
                    }
                }
                Attempt::Log => {
                    if let Some(next) = self.inbox.pop_front() {
                        entry.push(next.waiter.place(), &next.task);
                        taken.push(next);
                    }
                }
            }
        }
        if entry.is_empty() {
            return false;
        }
        let stamp = turn
            .now
            .unix_ms()
            .max(self.machine.time)
            .max(self.last_stamp);
        match self.group.propose(entry.finish(stamp, self.random.next())) {
            Some(at) => {
                self.last_stamp = stamp;
                if mutation::is(Mutation::EarlyAnswer) {
                    taken
                        .iter_mut()
                        .for_each(|inbound| self.answer_early(inbound, turn));
                }
                let waiters = taken.into_iter().map(|inbound| inbound.waiter).collect();
                self.proposed.push_back(Proposed { at, waiters });
                more
            }
            None => {
                for inbound in taken.into_iter().rev() {
                    self.inbox.push_front(inbound);
                }
                false
            }
        }
    }

    /// Whether everything that was proposed is applied.
    fn is_idle(&self) -> bool {
        self.proposed.is_empty()
    }

    fn try_read(&self, next: &Inbound<T>, seed: u64, turn: &Turn<'_, T>) -> Attempt {
        let Some(after) = next.read else {
            return Attempt::Log;
        };
        let now_mono_ms = turn.now.mono_ms;
        if !turn.word.allows(now_mono_ms) && !self.lease.answers(&self.group, next.round) {
            return Attempt::Wait;
        }
        if after.sequence
            < self
                .machine
                .sessions
                .last(after.session)
                .unwrap_or_default()
        {
            let why = "a later write of this connection is done already";
            return Attempt::Answered(Answer::Done(ReplyError::TryAgain(why.into()).into()));
        }
        let moment = Moment {
            wall: turn.now.unix_ms(),
            shard: self.machine.time,
        };
        match task::decode(&mut crate::core::pack::Reader::new(&next.task)) {
            Ok(Task::Command(words)) => {
                let occasion = (moment, seed);
                let data = (turn.store, turn.word);
                let aside = execute::through(data, &self.machine.slots, moment.shard, &words);
                if let Some(found) = aside {
                    return Attempt::Answered(found.into());
                }
                match execute::peek(turn.store, &self.machine.slots, occasion, &words) {
                    Some(found) => Attempt::Answered(found.into()),
                    None => Attempt::Log,
                }
            }
            _ => Attempt::Log,
        }
    }

    fn apply(&mut self, committed: Committed, turn: &mut Turn<'_, T>) {
        let Committed { at, what } = committed;
        if mutation::is(Mutation::LocalExpiry) {
            self.machine.time = self.machine.time.max(turn.now.unix_ms());
        }
        // Once: by the leader under which it was proposed, not by one that comes to it later.
        let tells = self.group.leads() && at.term == self.group.term();
        turn.store.events.mute(!tells);
        let answers = match what {
            Content::Data(data) if data.is_empty() => Vec::new(),
            // What cannot be read does nothing, on every replica alike.
            Content::Data(data) => self
                .machine
                .apply(turn.store, turn.word, &data)
                .unwrap_or_default(),
            Content::Members(change) => {
                self.group.apply_change(&change);
                Vec::new()
            }
        };
        self.resolve(at, answers, turn);
    }

    /// Answers those whose fate is known now that the entry at `at` is applied. An entry of a later
    /// term at or before their place means that theirs never will be.
    fn resolve(&mut self, at: Point, answers: Vec<Answer>, turn: &mut Turn<'_, T>) {
        while let Some(first) = self.proposed.front() {
            let at = if mutation::is(Mutation::WaiterByIndex) {
                Point {
                    term: first.at.term,
                    ..at
                }
            } else {
                at
            };
            if first.at.term == at.term && first.at.index > at.index || first.at.term > at.term {
                return;
            }
            let Some(Proposed { at: place, waiters }) = self.proposed.pop_front() else {
                return;
            };
            if place == at {
                for (waiter, answer) in waiters.into_iter().zip(answers) {
                    self.answer(waiter, answer, turn);
                }
                return;
            }
            waiters
                .into_iter()
                .for_each(|waiter| waiter.give_back(turn));
        }
    }

    /// Tells who waits for a plain SET that it is done, which nobody knows.
    fn answer_early(&self, inbound: &mut Inbound<T>, turn: &mut Turn<'_, T>) {
        let task = task::decode(&mut crate::core::pack::Reader::new(&inbound.task));
        if !matches!(task, Ok(Task::Command(words)) if words.len() == 3 && words[0] == b"SET") {
            return;
        }
        let nobody = std::mem::replace(&mut inbound.waiter, Waiter::Nobody);
        match nobody {
            Waiter::Here(mut pending) => {
                let ticket = pending.ticket.take();
                turn.settled
                    .extend(ticket.map(|ticket| (ticket, Reply::Ok.into())));
                inbound.waiter = Waiter::Here(pending);
            }
            there => self.answer(there, Answer::Done(Reply::Ok), turn),
        }
    }

    fn answer(&self, waiter: Waiter<T>, answer: Answer, turn: &mut Turn<'_, T>) {
        match waiter {
            Waiter::Here(pending) => {
                *turn.resolved += 1;
                let ticket = pending.ticket;
                turn.settled
                    .extend(ticket.map(|ticket| (ticket, answer.found())));
            }
            Waiter::There {
                node,
                number,
                session,
                ..
            } => {
                let shard = self.shard;
                let answered = Answered {
                    shard,
                    number,
                    session,
                    answer,
                };
                turn.post.answer(node, answered);
            }
            Waiter::Nobody => (),
            Waiter::Opening(node) => {
                if let Answer::Done(Reply::Array(parts)) = answer
                    && let Some(Reply::Int(id)) = parts.first()
                {
                    turn.post.send(node, &Mail::Opened(self.shard, *id as u64));
                }
            }
        }
    }

    /// It will not be known here whether the tasks were executed. Those that can be are tried
    /// again, by another node on its own.
    fn leave_open(&self, waiters: Vec<Waiter<T>>, turn: &mut Turn<'_, T>) {
        for waiter in waiters {
            match waiter {
                Waiter::Here(Pending {
                    mode: Mode::Write, ..
                }) => self.answer(waiter, Answer::Done(in_flight().into()), turn),
                Waiter::Here(pending) => Waiter::Here(pending.sent_once()).give_back(turn),
                waiter => waiter.give_back(turn),
            }
        }
    }

    /// This replica does not lead: what was not proposed goes back to where it came from.
    fn give_back(&mut self, turn: &mut Turn<'_, T>) {
        let mut refused: Vec<NodeId> = Vec::new();
        for inbound in self.inbox.drain(..) {
            match inbound.waiter {
                Waiter::There { node, .. } | Waiter::Opening(node) if refused.contains(&node) => (),
                Waiter::There { node, .. } | Waiter::Opening(node) => {
                    turn.post.send(node, &Mail::Refused(self.shard));
                    refused.push(node);
                }
                here @ Waiter::Here(_) => here.give_back(turn),
                Waiter::Nobody => (),
            }
        }
    }

    /// Answers those whose deadline has passed: not done if not proposed, else unknown, unless they
    /// only read.
    pub fn expire(&mut self, turn: &mut Turn<'_, T>) {
        let now = turn.now.mono_ms;
        let late = |inbound: &Inbound<T>| match &inbound.waiter {
            Waiter::Here(pending) => pending.deadline_mono_ms <= now,
            Waiter::There { .. } | Waiter::Opening(_) | Waiter::Nobody => false,
        };
        if self.inbox.iter().any(late) {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) = self.inbox.drain(..).partition(late);
            self.inbox = kept;
            for inbound in gone {
                if let Waiter::Here(pending) = &inbound.waiter {
                    let reply = pending.unsent().into();
                    self.answer(inbound.waiter, Answer::Done(reply), turn);
                }
            }
        }
        for waiter in self.proposed.iter_mut().flat_map(|p| &mut p.waiters) {
            if let Waiter::Here(pending) = waiter
                && pending.deadline_mono_ms <= now
                && let Some(ticket) = pending.ticket.take()
            {
                turn.settled.push((ticket, pending.unanswered().into()));
            }
        }
    }

    /// Cuts off what all followers have, or what takes too much room.
    fn cut(&mut self) {
        let applied = self.group.applied();
        if self.group.log_bytes() <= LOG_BYTES {
            return;
        }
        let copied = self.outgoing.iter().map(|copy| copy.copy.index).min();
        let held = if copied.is_some() {
            LOG_COPY_BYTES
        } else {
            LOG_HELD_BYTES
        };
        self.group.cut(applied, held);
        if !self.group.leads() {
            return self.group.cut(applied, LOG_BYTES);
        }
        let conf = self.group.conf();
        let followers = conf.voters.iter().chain(&conf.learners);
        let needed = followers
            .filter_map(|peer| self.group.progress(*peer))
            .filter(|progress| progress.active)
            .map(|progress| progress.matched)
            .chain(copied)
            .min();
        self.group.cut(needed.unwrap_or(applied), LOG_BYTES);
    }
}

impl<T> Inbound<T> {
    /// Whether it is a read of a session, which has a place among the session's tasks.
    fn is_ordered_read(&self) -> bool {
        self.read.is_some_and(|after| after.session != 0)
    }
}

/// What became of a try to answer without the log.
enum Attempt {
    Answered(Answer),
    /// Not yet confirmed that this replica still leads.
    Wait,
    /// It has to go through the log.
    Log,
}

impl<T> Waiter<T> {
    fn place(&self) -> Option<task::Place> {
        match *self {
            Self::There {
                number: Number::Logged(sequence),
                session,
                acknowledged,
                ..
            } => Some(task::Place {
                session,
                sequence,
                acknowledged,
            }),
            _ => None,
        }
    }

    /// To be tried again, by another node on its own: it was surely not executed, or there is no
    /// harm in it.
    fn give_back(self, turn: &mut Turn<'_, T>) {
        if let Self::Here(pending) = self {
            *turn.resolved += 1;
            turn.returned.push(pending);
        }
    }
}

/// What a client is told whose task was never proposed.
#[must_use]
pub fn not_done() -> ReplyError {
    let why = "the shard has no leader that answers; nothing was changed";
    ReplyError::ClusterDown(why.into())
}

/// What a client is told whose task may yet be committed.
#[must_use]
pub fn in_flight() -> ReplyError {
    ReplyError::Unknown("no majority has confirmed it in time; it may yet happen".into())
}

/// The encoded task that takes the place of one whose client waits no more.
#[must_use]
pub fn nothing() -> Bytes {
    Task::Nothing.to_bytes()
}

#[cfg(test)]
mod testing;
