//! The tasks of this node's clients on their way to the leader of one shard, in order.
//!
//! While this node leads, tasks go straight to the replica. Otherwise they travel in a lane: writes
//! under a session, numbered, sent again until they are answered, so that each is executed once
//! whatever leader it meets. A lane changes its end only when nothing is left open at the other
//! one, so that a later task never overtakes an earlier one.

use std::collections::VecDeque;

use bytes::Bytes;
use dht_proto::ReplyError;
use dht_proto::limits::{LANE_TASKS, WAITING};
use dht_proto::topology::NodeId;

use super::machine::{Answer, session_unknown};
use super::mail::{Answered, Mail, Number, Post, Sent};
use super::replica::{Mode, Pending, not_done, nothing};
use crate::core::rest::Found;

/// After so long without an answer, in milliseconds, everything unanswered is sent again.
const RESEND_MS: u64 = 250;
/// The same when the other node has said that it does not lead.
const REFUSED_MS: u64 = 20;
/// After so long, in milliseconds, nobody is expected to take over from a leader whose disk is
/// full.
const FULL_MS: u64 = 1000;
/// Where nobody leads for so long, in milliseconds, clients are told at once.
const LEADERLESS_MS: u64 = 3000;

/// The tasks of this node for one shard.
pub struct Courier<T> {
    shard: u16,
    /// Not yet sent, in order.
    queue: VecDeque<Pending<T>>,
    /// How many are with this node's own replica.
    here: usize,
    /// Sent to another node and not yet forgotten, in order.
    lane: VecDeque<InLane<T>>,
    session: Session,
    /// The last sequence given in the session.
    sequence: u64,
    /// Answers up to this sequence are here.
    acknowledged: u64,
    /// The last name given to a read.
    reads: u64,
    /// To whom everything in the lane was sent.
    sent_to: Option<NodeId>,
    /// When the lane last made progress.
    progress_ms: u64,
    /// Since when nobody leads, if so.
    leaderless_ms: Option<u64>,
    /// Since when the leader's disk is full, if so.
    full_ms: Option<u64>,
}

/// The lane's session with the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    /// Asked for at this time.
    Asked(u64),
    Open(u64),
}

struct InLane<T> {
    number: Number,
    /// The last sequence before it.
    after: u64,
    /// A read that was sent under no session: its leader cannot know what has come after it.
    is_loose: bool,
    /// A write that is answered stays until all before it are, so that it can be acknowledged.
    answered: bool,
    pending: Pending<T>,
}

/// What a courier works with, and what it leaves.
pub struct Round<'a, T> {
    /// The monotonic time, in milliseconds.
    pub now_mono_ms: u64,
    /// This node.
    pub me: NodeId,
    /// The shard's leader, if it is known and can be reached.
    pub leader: Option<NodeId>,
    /// How much room there is for what is written.
    pub room: Room,
    /// Mails to other nodes.
    pub post: &'a mut Post,
    /// Answers to clients of this node.
    pub settled: &'a mut Vec<(T, Found)>,
}

/// How much room there is where a shard's writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Enough,
    /// The leader's disk is full; another node may take over.
    Elsewhere,
    /// No node has any.
    Nowhere,
}

impl<T> Courier<T> {
    /// The courier of a shard; the numbers of its reads are not those of an earlier process of this
    /// node, to which answers may be on their way.
    #[must_use]
    pub const fn new(shard: u16, reads: u64) -> Self {
        Self {
            shard,
            queue: VecDeque::new(),
            here: 0,
            lane: VecDeque::new(),
            session: Session::None,
            sequence: 0,
            acknowledged: 0,
            reads,
            sent_to: None,
            progress_ms: 0,
            leaderless_ms: None,
            full_ms: None,
        }
    }

    /// Takes a task.
    ///
    /// # Errors
    /// Too many wait already; it comes back.
    pub fn push(&mut self, pending: Pending<T>) -> Result<(), Pending<T>> {
        if self.queue.len() + self.here + self.lane.len() >= WAITING {
            return Err(pending);
        }
        self.queue.push_back(pending);
        Ok(())
    }

    /// So many tasks that were given to the own replica are done with; these of them, which were
    /// not executed, go first again.
    pub fn resolved(&mut self, count: usize, returned: Vec<Pending<T>>) {
        self.here -= count;
        for pending in returned.into_iter().rev() {
            self.queue.push_front(pending);
        }
    }

    /// Whether there is nothing to do but to wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.lane.is_empty()
    }

    /// Sends what can be sent; gives what the own replica shall take.
    pub fn send(&mut self, round: &mut Round<'_, T>) -> Vec<Pending<T>> {
        self.note_leader(round);
        self.note_room(round);
        match round.leader {
            None => Vec::new(),
            Some(leader) if leader == round.me && self.lane.is_empty() => {
                let waits = |pending: &Pending<T>| self.full_ms.is_some() && is_logged(pending);
                let ready = self.queue.iter().position(waits);
                let ready = ready.unwrap_or(self.queue.len());
                self.here += ready;
                self.queue.drain(..ready).collect()
            }
            Some(leader) => {
                if self.here == 0 {
                    self.resend(leader, round);
                    self.fill_lane(leader, round);
                }
                Vec::new()
            }
        }
    }

    /// Where nobody leads for long, clients need not wait until their deadlines.
    fn note_leader(&mut self, round: &mut Round<'_, T>) {
        if round.leader.is_some() {
            self.leaderless_ms = None;
            return;
        }
        let since = *self.leaderless_ms.get_or_insert(round.now_mono_ms);
        if round.now_mono_ms >= since + LEADERLESS_MS {
            for pending in self.queue.drain(..) {
                let error = pending.unsent();
                refuse(pending, error, round.settled);
            }
        }
    }

    /// What is to be written waits for another leader when the disk of this one is full, and not
    /// for long.
    fn note_room(&mut self, round: &mut Round<'_, T>) {
        if round.room == Room::Enough || round.leader.is_none() {
            self.full_ms = None;
            return;
        }
        let since = *self.full_ms.get_or_insert(round.now_mono_ms);
        if round.room == Room::Nowhere || round.now_mono_ms >= since + FULL_MS {
            let (gone, kept): (VecDeque<_>, _) = self.queue.drain(..).partition(is_logged);
            self.queue = kept;
            for pending in gone {
                let error = match pending.mode {
                    Mode::Repeated => pending.unsent(),
                    _ => ReplyError::DiskFull,
                };
                refuse(pending, error, round.settled);
            }
        }
    }

    fn resend(&mut self, leader: NodeId, round: &mut Round<'_, T>) {
        let late = round.now_mono_ms >= self.progress_ms + RESEND_MS;
        if self.lane.is_empty() || self.sent_to == Some(leader) && !late {
            return;
        }
        self.begin(leader, round.now_mono_ms);
        for in_lane in self.lane.iter().filter(|in_lane| !in_lane.answered) {
            self.post(in_lane, leader, round.post);
        }
    }

    const fn begin(&mut self, leader: NodeId, now_mono_ms: u64) {
        self.sent_to = Some(leader);
        self.progress_ms = now_mono_ms;
    }

    fn fill_lane(&mut self, leader: NodeId, round: &mut Round<'_, T>) {
        while self.lane.len() < LANE_TASKS
            && let Some(next) = self.queue.front()
        {
            let logged = is_logged(next);
            if logged && self.full_ms.is_some() {
                return;
            }
            if logged && (!self.has_session(leader, round) || self.has_loose_reads()) {
                return;
            }
            let Some(pending) = self.queue.pop_front() else {
                return;
            };
            let after = self.sequence;
            let number = if logged {
                self.sequence += 1;
                Number::Logged(self.sequence)
            } else {
                self.reads += 1;
                Number::Read(self.reads)
            };
            if self.lane.is_empty() {
                self.begin(leader, round.now_mono_ms);
            }
            let in_lane = InLane {
                number,
                after,
                is_loose: !logged && self.session_id() == 0,
                answered: false,
                pending,
            };
            self.post(&in_lane, leader, round.post);
            self.lane.push_back(in_lane);
        }
    }

    fn post(&self, in_lane: &InLane<T>, leader: NodeId, post: &mut Post) {
        let after = match in_lane.number {
            Number::Logged(_) => self.acknowledged,
            Number::Read(_) => in_lane.after,
        };
        let sent = Sent {
            shard: self.shard,
            number: in_lane.number,
            session: self.session_id(),
            after,
            task: &in_lane.pending.task,
        };
        post.send(leader, &Mail::Task(sent));
    }

    /// Whether a read is out that might be answered after what is sent next.
    fn has_loose_reads(&self) -> bool {
        let mut lane = self.lane.iter();
        lane.any(|in_lane| in_lane.is_loose && !in_lane.answered)
    }

    const fn session_id(&self) -> u64 {
        match self.session {
            Session::Open(id) => id,
            Session::None | Session::Asked(_) => 0,
        }
    }

    fn has_session(&mut self, leader: NodeId, round: &mut Round<'_, T>) -> bool {
        let ask = match self.session {
            Session::Open(_) => return true,
            Session::None => true,
            Session::Asked(at) => round.now_mono_ms >= at + RESEND_MS,
        };
        if ask {
            self.session = Session::Asked(round.now_mono_ms);
            round.post.send(leader, &Mail::Open(self.shard));
        }
        false
    }

    /// A leader has opened a session for this courier.
    pub fn opened(&mut self, session: u64) {
        if matches!(self.session, Session::Asked(_)) {
            self.session = Session::Open(session);
            (self.sequence, self.acknowledged) = (0, 0);
            // Reads that are out belong to no session: what they come after is nothing.
            self.lane.iter_mut().for_each(|read| read.after = 0);
        }
    }

    /// The shard begins anew and knows no session. What was sent in one will be told so.
    pub fn begin_anew(&mut self) {
        if self.lane.is_empty() {
            self.session = Session::None;
        }
    }

    /// The node to which the lane was sent does not lead: sent again in a moment, if nothing
    /// better is known by then.
    pub fn refused(&mut self, by: NodeId, now_mono_ms: u64) {
        if self.sent_to == Some(by) {
            self.progress_ms = (now_mono_ms + REFUSED_MS).saturating_sub(RESEND_MS);
        }
        if let Session::Asked(_) = self.session {
            self.session = Session::None;
        }
    }

    /// Takes an answer.
    pub fn answered(
        &mut self,
        answered: Answered,
        now_mono_ms: u64,
        settled: &mut Vec<(T, Found)>,
    ) {
        let Answered {
            number,
            session,
            answer,
            ..
        } = answered;
        let logged = matches!(number, Number::Logged(_));
        if logged && session != self.session_id() {
            return;
        }
        let found = match answer {
            Answer::Done(_) | Answer::Later(_) => answer.found(),
            // Sent again, in order, when nothing comes any more.
            Answer::Gap => return,
            // One that is answered already was sent twice, and is forgotten where it was executed.
            Answer::Unknown if self.waits_for(number) => return self.lose_session(settled),
            Answer::Unknown => return,
        };
        let open = self
            .lane
            .iter_mut()
            .find(|in_lane| in_lane.number == number);
        if let Some(in_lane) = open.filter(|in_lane| !in_lane.answered) {
            in_lane.answered = true;
            in_lane.pending.task = Bytes::new();
            self.progress_ms = now_mono_ms;
            let ticket = in_lane.pending.ticket.take();
            settled.extend(ticket.map(|ticket| (ticket, found)));
        }
        self.forget_answered();
    }

    fn waits_for(&self, number: Number) -> bool {
        let mut lane = self.lane.iter();
        lane.any(|in_lane| in_lane.number == number && !in_lane.answered)
    }

    fn forget_answered(&mut self) {
        while let Some(done) = self.lane.pop_front_if(|first| first.answered) {
            if let Number::Logged(sequence) = done.number {
                self.acknowledged = sequence;
            }
        }
    }

    /// The shard knows the session no more: what became of the writes in it cannot be found out.
    /// All else is sent again, but for reads behind which something is answered: they would read
    /// what comes after that.
    fn lose_session(&mut self, settled: &mut Vec<(T, Found)>) {
        let mut is_late = false;
        for in_lane in self.lane.drain(..).rev() {
            is_late |= in_lane.answered;
            match in_lane.pending.mode {
                Mode::Write => refuse(in_lane.pending, session_unknown(), settled),
                _ if in_lane.pending.ticket.is_none() => (),
                Mode::Read | Mode::OrderedRead if is_late => {
                    refuse(in_lane.pending, not_done(), settled);
                }
                Mode::Repeatable | Mode::Repeated | Mode::Read | Mode::OrderedRead => {
                    self.queue.push_front(in_lane.pending.sent_once());
                }
            }
        }
        self.session = Session::None;
        self.sent_to = None;
    }

    /// Answers those whose deadline has passed: not done if never sent or only a read, else
    /// unknown. What was sent to the log keeps its place as a task that does nothing, so that it is
    /// never done later.
    pub fn expire(&mut self, now_mono_ms: u64, settled: &mut Vec<(T, Found)>) {
        let late = |pending: &Pending<T>| pending.deadline_mono_ms <= now_mono_ms;
        if self.queue.iter().any(late) {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) = self.queue.drain(..).partition(late);
            self.queue = kept;
            for pending in gone {
                let error = pending.unsent();
                refuse(pending, error, settled);
            }
        }
        for in_lane in &mut self.lane {
            if late(&in_lane.pending)
                && let Some(ticket) = in_lane.pending.ticket.take()
            {
                match in_lane.number {
                    Number::Logged(_) => in_lane.pending.task = nothing(),
                    Number::Read(_) => in_lane.answered = true,
                }
                settled.push((ticket, in_lane.pending.unanswered().into()));
            }
        }
        self.forget_answered();
    }
}

fn is_logged<T>(pending: &Pending<T>) -> bool {
    pending.mode != Mode::Read
}

fn refuse<T>(pending: Pending<T>, error: ReplyError, settled: &mut Vec<(T, Found)>) {
    settled.extend(pending.ticket.map(|ticket| (ticket, error.into())));
}

#[cfg(test)]
mod tests {
    use super::super::{mail, task};
    use super::*;
    use crate::core::pack::Reader;
    use dht_proto::Reply;

    const ME: NodeId = NodeId([1; 20]);
    const LEADER: NodeId = NodeId([2; 20]);
    const SESSION: u64 = 7;

    /// A courier whose lane holds these tasks, numbered from 1 on as tickets and in the session.
    fn sent(tasks: &[(&str, Mode)]) -> Courier<u64> {
        let mut courier = Courier::new(0, 0);
        for ((line, mode), ticket) in tasks.iter().zip(1..) {
            let words: Vec<&str> = line.split(' ').collect();
            let pushed = courier.push(Pending {
                task: task::command(&words),
                mode: *mode,
                deadline_mono_ms: 9000,
                ticket: Some(ticket),
            });
            assert!(pushed.is_ok());
        }
        let (mut post, mut settled) = (Post::default(), Vec::new());
        for _ in 0..2 {
            courier.send(&mut Round {
                now_mono_ms: 0,
                me: ME,
                leader: Some(LEADER),
                room: Room::Enough,
                post: &mut post,
                settled: &mut settled,
            });
            courier.opened(SESSION);
        }
        assert_eq!(courier.lane.len(), tasks.len());
        courier
    }

    fn answer(courier: &mut Courier<u64>, sequence: u64, answer: Answer) -> Vec<(u64, Found)> {
        let mut settled = Vec::new();
        let answered = Answered {
            shard: 0,
            number: Number::Logged(sequence),
            session: SESSION,
            answer,
        };
        courier.answered(answered, 0, &mut settled);
        settled
    }

    #[test]
    fn an_answer_that_comes_twice_and_says_nothing_loses_nothing() {
        let mut courier = sent(&[("INCR a", Mode::Write), ("INCR b", Mode::Write)]);
        let one = || Answer::Done(Reply::Int(1));
        assert_eq!(answer(&mut courier, 1, one()), [(1, Reply::Int(1).into())]);
        // It was sent twice; where it was executed its answer was acknowledged meanwhile.
        assert_eq!(answer(&mut courier, 1, Answer::Unknown), []);
        assert_eq!(answer(&mut courier, 2, one()), [(2, Reply::Int(1).into())]);
    }

    #[test]
    fn a_lost_session_puts_no_read_behind_what_came_after_it() {
        let reads = [
            ("GET a", Mode::OrderedRead),
            ("GET b", Mode::OrderedRead),
            ("GET c", Mode::OrderedRead),
            ("INCR d", Mode::Write),
        ];
        let mut courier = sent(&reads);
        answer(&mut courier, 2, Answer::Done(Reply::Nil));
        let settled = answer(&mut courier, 3, Answer::Unknown);
        assert_eq!(
            settled,
            [(4, session_unknown().into()), (1, not_done().into())]
        );
        let again: Vec<Option<u64>> = courier.queue.iter().map(|next| next.ticket).collect();
        assert_eq!(again, [Some(3)]);
    }

    /// Has a courier send what it can; gives the tasks that left.
    fn posted(courier: &mut Courier<u64>) -> Vec<(Number, u64)> {
        let (mut post, mut settled) = (Post::default(), Vec::new());
        courier.send(&mut Round {
            now_mono_ms: 100,
            me: ME,
            leader: Some(LEADER),
            room: Room::Enough,
            post: &mut post,
            settled: &mut settled,
        });
        let mut tasks = Vec::new();
        for (_, frame) in post.take() {
            let mut mails = Reader::new(&frame);
            while !mails.is_empty() {
                if let Mail::Task(sent) = mail::decode(&mut mails).unwrap() {
                    tasks.push((sent.number, sent.session));
                }
            }
        }
        tasks
    }

    fn get(mode: Mode, ticket: u64) -> Pending<u64> {
        Pending {
            task: task::command(&["GET", "k"]),
            mode,
            deadline_mono_ms: 5000,
            ticket: Some(ticket),
        }
    }

    #[test]
    fn only_so_many_tasks_wait_for_a_shard_wherever_they_are() {
        let mut courier = Courier::new(0, 0);
        let round = |courier: &mut Courier<u64>| {
            let (mut post, mut settled) = (Post::default(), Vec::new());
            let taken = courier.send(&mut Round {
                now_mono_ms: 0,
                me: ME,
                leader: Some(ME),
                room: Room::Enough,
                post: &mut post,
                settled: &mut settled,
            });
            taken.len()
        };
        for ticket in 0..WAITING as u64 {
            assert!(courier.push(get(Mode::Write, ticket)).is_ok());
            if ticket == WAITING as u64 / 2 {
                assert_eq!(
                    round(&mut courier),
                    WAITING / 2 + 1,
                    "those are with the replica"
                );
            }
        }
        assert!(courier.push(get(Mode::Write, 0)).is_err());
        courier.resolved(1, Vec::new());
        assert!(courier.push(get(Mode::Write, 0)).is_ok());
        assert!(courier.push(get(Mode::Write, 0)).is_err());
    }

    #[test]
    fn a_lane_holds_no_more_than_the_leader_keeps_answers_for() {
        let mut courier = sent(&[("INCR a", Mode::Write)]);
        for ticket in 2..=LANE_TASKS as u64 + 1 {
            courier.push(get(Mode::OrderedRead, ticket)).unwrap();
        }
        assert_eq!(posted(&mut courier).len(), LANE_TASKS - 1);
        assert_eq!(posted(&mut courier), [], "the last one waits");
        answer(&mut courier, 1, Answer::Done(Reply::Int(1)));
        let last = Number::Logged(LANE_TASKS as u64 + 1);
        assert_eq!(posted(&mut courier), [(last, SESSION)]);
    }

    #[test]
    fn writes_wait_for_room_and_not_for_long_and_reads_do_not() {
        let mut courier = Courier::new(0, 0);
        let round = |courier: &mut Courier<u64>, room, now_mono_ms| {
            let (mut post, mut settled) = (Post::default(), Vec::new());
            let taken = courier.send(&mut Round {
                now_mono_ms,
                me: ME,
                leader: Some(ME),
                room,
                post: &mut post,
                settled: &mut settled,
            });
            let tickets: Vec<Option<u64>> = taken.iter().map(|next| next.ticket).collect();
            (tickets, settled)
        };
        courier.push(get(Mode::Read, 1)).unwrap();
        courier.push(get(Mode::Write, 2)).unwrap();
        assert_eq!(
            round(&mut courier, Room::Elsewhere, 0),
            (vec![Some(1)], vec![])
        );
        let (nothing, full) = (vec![], ReplyError::DiskFull);
        assert_eq!(
            round(&mut courier, Room::Elsewhere, FULL_MS - 1),
            (nothing.clone(), vec![])
        );
        let refused = vec![(2, full.clone().into())];
        assert_eq!(
            round(&mut courier, Room::Elsewhere, FULL_MS),
            (nothing.clone(), refused)
        );
        courier.push(get(Mode::Write, 3)).unwrap();
        assert_eq!(
            round(&mut courier, Room::Enough, FULL_MS),
            (vec![Some(3)], vec![])
        );
        courier.push(get(Mode::Write, 4)).unwrap();
        let refused = vec![(4, full.into())];
        assert_eq!(round(&mut courier, Room::Nowhere, 9000), (nothing, refused));
    }

    #[test]
    fn nothing_overtakes_a_read_that_has_no_session() {
        let mut courier = Courier::new(0, 0);
        courier.push(get(Mode::Read, 1)).unwrap();
        assert_eq!(posted(&mut courier), [(Number::Read(1), 0)]);
        courier.push(get(Mode::OrderedRead, 2)).unwrap();
        assert_eq!(posted(&mut courier), [], "a session is asked for");
        courier.opened(SESSION);
        assert_eq!(posted(&mut courier), [], "the read may be answered later");
        let answered = Answered {
            shard: 0,
            number: Number::Read(1),
            session: 0,
            answer: Answer::Done(Reply::Nil),
        };
        let mut settled = Vec::new();
        courier.answered(answered, 100, &mut settled);
        assert_eq!(settled, [(1, Reply::Nil.into())]);
        assert_eq!(posted(&mut courier), [(Number::Logged(1), SESSION)]);
    }
}
