//! What makes a retry harmless: the answers that senders have not yet acknowledged.
//!
//! A part of a shard's replicated state. A session's tasks are numbered; each number is executed
//! once at most, and a repeated one gets the first answer again. (After: Ongaro, *Consensus:
//! Bridging Theory and Practice*, 2014, section 6.3.)

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use bytes::BytesMut;
use dht_proto::frame::Malformed;
use dht_proto::limits::{
    LANES, SEQUENCE, SESSION_ANSWER_BYTES, SESSION_BYTES, SESSION_IDLE, SESSION_WINDOW, SESSIONS,
    SESSIONS_BYTES,
};
use dht_proto::{Reply, ReplyError, rpc};

use super::task::Place;
use crate::core::pack::{self, Reader};
use crate::core::rest::Found;
use crate::core::time::UnixMs;

const IDLE_MS: u64 = SESSION_IDLE.as_millis() as u64;

/// What a number takes up besides its answer, in bytes.
const OUTCOME_BYTES: usize = 64;

/// The sessions of a shard. Those of nodes have room of their own, which no client can use up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sessions {
    lanes: Pool,
    clients: Pool,
}

/// Sessions that share one room.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pool {
    sessions: BTreeMap<u64, Session>,
    /// Those of them of which something is known.
    holding: BTreeSet<u64>,
    /// Bytes of all of it.
    bytes: usize,
    /// The last one that had to make room for the others.
    robbed: u64,
}

/// One sender's tasks.
#[derive(Clone, Debug, PartialEq)]
struct Session {
    /// Lower numbers are not executed any more; nothing is known of them.
    floor: u64,
    /// What became of the numbers from `floor` on.
    outcomes: VecDeque<Outcome>,
    /// Bytes of the answers in `outcomes`.
    bytes: usize,
    /// When it was last used.
    used: UnixMs,
}

/// What became of a number.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It has not come yet.
    Missing,
    /// It was executed; what was answered is kept no more.
    Done,
    /// It was executed and answered so.
    Answered(Reply),
}

/// In which order a session's tasks are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In that of their numbers, without gaps: the lane of another node.
    Strict,
    /// As they come, since those of a client that multiplexes may overtake each other.
    Loose,
}

/// What has to be done with a task.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// It is new: execute it, then [`Sessions::keep`] the answer.
    Execute,
    /// It was executed before: this is its answer.
    Again(Reply),
    /// An earlier one is missing: not executed.
    Gap,
    /// The session is unknown, or the number too old: not executed now, perhaps before.
    Unknown,
}

impl Sessions {
    /// Opens a session under an id that no other one has.
    ///
    /// # Errors
    /// There are too many that were used lately.
    pub fn open(&mut self, order: Order, id: u64, now: UnixMs) -> Result<(), ReplyError> {
        let most = match order {
            Order::Strict => LANES,
            Order::Loose => SESSIONS,
        };
        self.pool(order).open(id, now, most)
    }

    /// Whether there is a session of this id.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        let pools = [&self.lanes, &self.clients];
        pools.iter().any(|pool| pool.sessions.contains_key(&id))
    }

    /// Decides about a task.
    pub fn admit(&mut self, place: Place, order: Order, now: UnixMs) -> Admission {
        let pool = self.pool(order);
        let admission = pool.change(place.session, |session| session.admit(place, order, now));
        admission.unwrap_or(Admission::Unknown)
    }

    /// Keeps the answer to a task that was admitted.
    pub fn keep(&mut self, place: Place, order: Order, found: &Found) {
        let pool = self.pool(order);
        pool.change(place.session, |session| session.keep(place.sequence, found));
        pool.bound_bytes();
    }

    const fn pool(&mut self, order: Order) -> &mut Pool {
        match order {
            Order::Strict => &mut self.lanes,
            Order::Loose => &mut self.clients,
        }
    }

    /// Appends all sessions, for a copy of the shard.
    pub fn encode(&self, out: &mut BytesMut) {
        self.lanes.encode(out);
        self.clients.encode(out);
    }

    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            lanes: Pool::decode(from, LANES)?,
            clients: Pool::decode(from, SESSIONS)?,
        })
    }

    /// The number up to which the tasks of a session with a strict order are executed.
    #[must_use]
    pub fn last(&self, session: u64) -> Option<u64> {
        let session = self.lanes.sessions.get(&session)?;
        Some(session.floor - 1 + session.outcomes.len() as u64)
    }
}

impl Pool {
    fn open(&mut self, id: u64, now: UnixMs, most: usize) -> Result<(), ReplyError> {
        if self.sessions.len() >= most {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
            match oldest.map(|(id, session)| (*id, session.used)) {
                Some((oldest, used)) if used + IDLE_MS <= now => self.remove(oldest),
                _ => return Err(ReplyError::err("max number of sessions reached")),
            }
        }
        let session = Session {
            floor: 1,
            outcomes: VecDeque::new(),
            bytes: 0,
            used: now,
        };
        self.sessions.insert(id, session);
        Ok(())
    }

    fn remove(&mut self, id: u64) {
        if let Some(gone) = self.sessions.remove(&id) {
            self.bytes -= gone.room();
            self.holding.remove(&id);
        }
    }

    /// Has a session changed, if there is one.
    fn change<R>(&mut self, id: u64, change: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let session = self.sessions.get_mut(&id)?;
        let before = session.room();
        let result = change(session);
        let after = session.room();
        self.bytes = self.bytes - before + after;
        match (before, after) {
            (0, 1..) => _ = self.holding.insert(id),
            (1.., 0) => _ = self.holding.remove(&id),
            _ => (),
        }
        Some(result)
    }

    /// One session after the other makes room: what it knows longest is forgotten, and never
    /// executed any more.
    fn bound_bytes(&mut self) {
        while self.bytes > SESSIONS_BYTES {
            let mut behind = self.holding.range((Excluded(self.robbed), Unbounded));
            let next = behind.next().or_else(|| self.holding.first()).copied();
            let Some(next) = next else {
                return;
            };
            self.robbed = next;
            let more = self.bytes - SESSIONS_BYTES;
            self.change(next, |session| session.make_room(more));
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        pack::uint(out, self.robbed);
        pack::array(out, self.sessions.len());
        for (id, session) in &self.sessions {
            for number in [*id, session.floor, session.used] {
                pack::uint(out, number);
            }
            pack::array(out, session.outcomes.len());
            for outcome in &session.outcomes {
                match outcome {
                    Outcome::Missing => pack::uint(out, 0),
                    Outcome::Done => pack::uint(out, 1),
                    Outcome::Answered(reply) => {
                        pack::uint(out, 2);
                        rpc::append_reply(reply, out);
                    }
                }
            }
        }
    }

    fn decode(from: &mut Reader<'_>, most: usize) -> Result<Self, Malformed> {
        let mut pool = Self {
            robbed: from.uint()?,
            ..Self::default()
        };
        for _ in 0..from.array(most)? {
            let id = from.uint()?;
            let (floor, used) = (from.uint()?, from.uint()?);
            let count = from.array(SESSION_WINDOW)?;
            let outcomes: VecDeque<Outcome> = (0..count)
                .map(|_| decode_outcome(from))
                .collect::<Result<_, _>>()?;
            let session = Session {
                floor,
                bytes: outcomes.iter().map(Outcome::bytes).sum(),
                outcomes,
                used,
            };
            pool.bytes += session.room();
            if session.room() > 0 {
                pool.holding.insert(id);
            }
            pool.sessions.insert(id, session);
        }
        Ok(pool)
    }
}
fn decode_outcome(from: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    Ok(match from.uint()? {
        0 => Outcome::Missing,
        1 => Outcome::Done,
        2 => Outcome::Answered(from.reply()?),
        _ => return Err(Malformed("an unknown outcome")),
    })
}

impl Session {
    fn admit(&mut self, place: Place, order: Order, now: UnixMs) -> Admission {
        self.used = now;
        self.raise(place.acknowledged.saturating_add(1));
        let index = match place.sequence.checked_sub(self.floor) {
            Some(index) if place.sequence > place.acknowledged => index,
            _ => return Admission::Unknown,
        };
        let known = usize::try_from(index).ok();
        match known.and_then(|index| self.outcomes.get(index)) {
            Some(Outcome::Answered(reply)) => return Admission::Again(reply.clone()),
            Some(Outcome::Done) => return Admission::Again(not_kept().into()),
            Some(Outcome::Missing) | None => (),
        }
        if order == Order::Strict && index > self.outcomes.len() as u64 {
            return Admission::Gap;
        }
        if place.sequence > SEQUENCE {
            return Admission::Unknown;
        }
        self.raise(place.sequence.saturating_sub(SESSION_WINDOW as u64 - 1));
        Admission::Execute
    }

    /// Bytes that it takes up.
    fn room(&self) -> usize {
        self.bytes + OUTCOME_BYTES * self.outcomes.len()
    }

    /// Forgets its oldest numbers, until so many bytes are free or nothing is left.
    fn make_room(&mut self, bytes: usize) {
        let upto = self.room().saturating_sub(bytes);
        while self.room() > upto
            && let Some(oldest) = self.outcomes.pop_front()
        {
            self.bytes -= oldest.bytes();
            self.floor = self.floor.saturating_add(1);
        }
    }

    /// Forgets what became of the numbers below a new floor, if it is one.
    fn raise(&mut self, floor: u64) {
        let gone = usize::try_from(floor.saturating_sub(self.floor)).unwrap_or(usize::MAX);
        let gone = self.outcomes.drain(..gone.min(self.outcomes.len()));
        self.bytes -= gone.map(|outcome| outcome.bytes()).sum::<usize>();
        self.floor = self.floor.max(floor);
    }

    fn keep(&mut self, sequence: u64, found: &Found) {
        let Some(index) = sequence.checked_sub(self.floor) else {
            return;
        };
        let index = index as usize;
        if self.outcomes.len() <= index {
            self.outcomes.resize(index + 1, Outcome::Missing);
        }
        self.outcomes[index] = match found {
            Found::Reply(reply) if bytes_of(reply) <= SESSION_ANSWER_BYTES => {
                Outcome::Answered(reply.clone())
            }
            // What is made later is long.
            Found::Reply(_) | Found::Rest(_) => Outcome::Done,
        };
        self.bytes += self.outcomes[index].bytes();
        self.bound_bytes();
    }

    fn bound_bytes(&mut self) {
        let mut outcomes = self.outcomes.iter_mut();
        while self.bytes > SESSION_BYTES
            && let Some(oldest) = outcomes.next()
        {
            if matches!(oldest, Outcome::Answered(_)) {
                self.bytes -= oldest.bytes();
                *oldest = Outcome::Done;
            }
        }
    }
}

impl Outcome {
    fn bytes(&self) -> usize {
        match self {
            Self::Missing | Self::Done => 0,
            Self::Answered(reply) => bytes_of(reply),
        }
    }
}

/// What a retry is told whose first answer is kept no more.
#[must_use]
pub fn not_kept() -> ReplyError {
    ReplyError::Unknown("done, but the reply is not kept for a retry".into())
}

/// Bytes of a reply, about: of what it holds. The same for a reply and for what a copy of the shard
/// makes of it, or copies would forget differently.
fn bytes_of(reply: &Reply) -> usize {
    match reply {
        Reply::Ok => 2,
        Reply::Bulk(bytes) | Reply::Text(bytes) => bytes.len(),
        Reply::Status(text) => text.len(),
        Reply::Error(error) => error.to_string().len(),
        Reply::Parts(parts) => {
            let items = parts.blocks().flatten();
            16 + items.map(|item| bytes_of(&item)).sum::<usize>()
        }
        Reply::Array(items) | Reply::Set(items) => 16 + items.iter().map(bytes_of).sum::<usize>(),
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            let bytes = |(key, value): &(Reply, Reply)| bytes_of(key) + bytes_of(value);
            16 + pairs.iter().map(bytes).sum::<usize>()
        }
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 5;
    const WINDOW: u64 = SESSION_WINDOW as u64;

    const fn place(sequence: u64, acknowledged: u64) -> Place {
        Place {
            session: ID,
            sequence,
            acknowledged,
        }
    }

    fn opened() -> Sessions {
        let mut sessions = Sessions::default();
        for order in [Order::Strict, Order::Loose] {
            sessions.open(order, ID, 0).unwrap();
        }
        sessions
    }

    fn execute(sessions: &mut Sessions, place: Place, order: Order) {
        assert_eq!(sessions.admit(place, order, 0), Admission::Execute);
        sessions.keep(place, order, &Reply::Int(place.sequence as i64).into());
    }

    fn after(executed: u64, order: Order) -> Sessions {
        let mut sessions = opened();
        for sequence in 1..=executed {
            execute(&mut sessions, place(sequence, 0), order);
        }
        sessions
    }

    fn again(sequence: u64) -> Admission {
        Admission::Again(Reply::Int(sequence as i64))
    }

    #[test]
    fn a_retry_gets_the_first_answer() {
        for order in [Order::Strict, Order::Loose] {
            let mut sessions = after(3, order);
            for sequence in 1..=3 {
                let retry = sessions.admit(place(sequence, 0), order, 0);
                assert_eq!(retry, again(sequence), "{order:?}");
            }
            let last = if order == Order::Strict { 3 } else { 0 };
            assert_eq!(sessions.last(ID), Some(last), "of the session of a node");
        }
    }

    #[test]
    fn a_lane_has_no_gaps() {
        let mut sessions = after(3, Order::Strict);
        let mut admit = |sequence| sessions.admit(place(sequence, 0), Order::Strict, 0);
        assert_eq!(admit(5), Admission::Gap);
        assert_eq!(admit(u64::MAX), Admission::Gap);
        assert_eq!(admit(4), Admission::Execute);
    }

    #[test]
    fn the_tasks_of_a_client_may_overtake_each_other() {
        let mut sessions = opened();
        for sequence in [3, 1, 4, 2] {
            execute(&mut sessions, place(sequence, 0), Order::Loose);
        }
        for sequence in 1..=4 {
            let retry = sessions.admit(place(sequence, 0), Order::Loose, 0);
            assert_eq!(retry, again(sequence));
        }
    }

    #[test]
    fn what_was_acknowledged_is_forgotten() {
        for order in [Order::Strict, Order::Loose] {
            let mut sessions = after(3, order);
            execute(&mut sessions, place(4, 2), order);
            assert_eq!(
                sessions.admit(place(2, 2), order, 0),
                Admission::Unknown,
                "{order:?}"
            );
            assert_eq!(sessions.admit(place(3, 2), order, 0), again(3));
        }
    }

    #[test]
    fn what_was_given_up_is_never_executed_later() {
        let mut sessions = after(3, Order::Loose);
        execute(&mut sessions, place(9, 8), Order::Loose);
        let late = sessions.admit(place(6, 2), Order::Loose, 0);
        assert_eq!(late, Admission::Unknown);
        let last = sessions.admit(place(u64::MAX, u64::MAX), Order::Loose, 0);
        assert_eq!(last, Admission::Unknown);
    }

    #[test]
    fn a_retry_older_than_the_window_is_not_executed() {
        for order in [Order::Strict, Order::Loose] {
            let mut sessions = after(WINDOW, order);
            assert_eq!(sessions.admit(place(1, 0), order, 0), again(1));
            execute(&mut sessions, place(WINDOW + 1, 0), order);
            let too_old = sessions.admit(place(1, 0), order, 0);
            assert_eq!(too_old, Admission::Unknown, "{order:?}");
            assert_eq!(sessions.admit(place(2, 0), order, 0), again(2));
        }
        // Also one that has never come.
        let mut sessions = opened();
        execute(&mut sessions, place(WINDOW + 7, 0), Order::Loose);
        let mut admit = |sequence| sessions.admit(place(sequence, 0), Order::Loose, 0);
        assert_eq!(admit(7), Admission::Unknown);
        assert_eq!(admit(8), Admission::Execute);
        assert_eq!(admit(0), Admission::Unknown);
    }

    #[test]
    fn an_unknown_session_executes_nothing() {
        for order in [Order::Strict, Order::Loose] {
            let admission = Sessions::default().admit(place(1, 0), order, 0);
            assert_eq!(admission, Admission::Unknown);
        }
    }

    #[test]
    fn a_copy_knows_the_same_answers() {
        let mut sessions = after(3, Order::Strict);
        sessions.open(Order::Loose, 9, 77).unwrap();
        for sequence in [2, 5] {
            let place = Place {
                session: 9,
                ..place(sequence, 0)
            };
            sessions.keep(
                place,
                Order::Loose,
                &Reply::bulk(vec![b'x'; SESSION_ANSWER_BYTES + 1]).into(),
            );
        }
        let mut out = BytesMut::new();
        sessions.encode(&mut out);
        assert_eq!(Sessions::decode(&mut Reader::new(&out)), Ok(sessions));
        assert!(Sessions::decode(&mut Reader::new(&out[..out.len() - 1])).is_err());
    }

    #[test]
    fn a_copy_counts_the_same_bytes() {
        let replies = [
            Reply::Ok,
            Reply::Nil,
            Reply::Int(-1),
            Reply::Double(0.5),
            Reply::Bool(true),
            Reply::Status("PONG".into()),
            Reply::Text("two\nlines".into()),
            ReplyError::WrongType.into(),
            Reply::Set(vec![Reply::bulk("x"), Reply::Int(7)]),
            Reply::Map(vec![(Reply::bulk("k"), Reply::Ok)]),
        ];
        for reply in replies {
            let mut out = BytesMut::new();
            rpc::append_reply(&reply, &mut out);
            let copy = Reader::new(&out).reply().unwrap();
            assert_eq!(bytes_of(&reply), bytes_of(&copy), "{reply:?}");
        }
    }

    fn keep_bulk(sessions: &mut Sessions, sequence: u64, length: usize) {
        let place = place(sequence, 0);
        assert_eq!(sessions.admit(place, Order::Loose, 0), Admission::Execute);
        sessions.keep(place, Order::Loose, &Reply::bulk(vec![b'x'; length]).into());
    }

    #[test]
    fn the_highest_numbers_are_as_good_as_others_and_there_are_none_above() {
        let (mut sessions, last) = full();
        let high = last + 1;
        sessions.open(Order::Loose, high, 0).unwrap();
        let place = |sequence| Place {
            acknowledged: SEQUENCE - 2,
            ..of(high, sequence)
        };
        for sequence in [SEQUENCE - 1, SEQUENCE] {
            keep_of(&mut sessions, place(sequence), 1);
        }
        // All have to make room, this one included, and it forgets its highest number.
        let more = sessions.clients.bytes;
        sessions
            .clients
            .change(high, |session| session.make_room(more));
        for sequence in [SEQUENCE - 1, SEQUENCE, SEQUENCE + 1, u64::MAX] {
            let admission = sessions.admit(place(sequence), Order::Loose, 0);
            assert_eq!(admission, Admission::Unknown, "{sequence}");
        }
        let above = Place {
            acknowledged: u64::MAX,
            ..of(high, SEQUENCE)
        };
        assert_eq!(sessions.admit(above, Order::Loose, 0), Admission::Unknown);
    }

    #[test]
    fn long_answers_are_not_kept() {
        let mut sessions = opened();
        keep_bulk(&mut sessions, 1, SESSION_ANSWER_BYTES);
        keep_bulk(&mut sessions, 2, SESSION_ANSWER_BYTES + 1);
        let mut admit = |sequence| sessions.admit(place(sequence, 0), Order::Loose, 0);
        assert!(matches!(admit(1), Admission::Again(Reply::Bulk(_))));
        assert_eq!(admit(2), Admission::Again(not_kept().into()));
    }

    #[test]
    fn the_oldest_answers_make_room_and_stay_done() {
        let mut sessions = opened();
        let full = (SESSION_BYTES / SESSION_ANSWER_BYTES) as u64;
        for sequence in 2..=full + 1 {
            keep_bulk(&mut sessions, sequence, SESSION_ANSWER_BYTES);
        }
        let mut admit = |sequence| sessions.admit(place(sequence, 0), Order::Loose, 0);
        assert!(matches!(admit(2), Admission::Again(Reply::Bulk(_))));
        assert_eq!(admit(1), Admission::Execute);
        keep_bulk(&mut sessions, full + 2, 1);
        let mut admit = |sequence| sessions.admit(place(sequence, 0), Order::Loose, 0);
        assert_eq!(admit(2), Admission::Again(not_kept().into()));
        assert!(matches!(admit(3), Admission::Again(Reply::Bulk(_))));
        assert_eq!(admit(1), Admission::Execute, "one that has not come yet");
    }

    #[test]
    fn only_an_idle_session_makes_room_and_none_of_the_other_kind() {
        for (order, most) in [(Order::Strict, LANES), (Order::Loose, SESSIONS)] {
            let mut sessions = Sessions::default();
            for id in 0..most as u64 {
                sessions.open(order, id, id).unwrap();
            }
            let full = most as u64;
            assert!(sessions.open(order, full, IDLE_MS - 1).is_err());
            let other = match order {
                Order::Strict => Order::Loose,
                Order::Loose => Order::Strict,
            };
            assert_eq!(sessions.open(other, full + 1, 0), Ok(()));
            assert!(sessions.has(0));
            assert_eq!(sessions.open(order, full, IDLE_MS), Ok(()));
            assert!(!sessions.has(0) && sessions.has(1));
        }
    }

    /// The place of a task in the session of a client.
    const fn of(session: u64, sequence: u64) -> Place {
        Place {
            session,
            sequence,
            acknowledged: 0,
        }
    }

    /// Sessions of clients that have as much as all of them may, and one byte less than that.
    fn full() -> (Sessions, u64) {
        let mut sessions = Sessions::default();
        let each = SESSION_ANSWER_BYTES + OUTCOME_BYTES;
        let numbers = (SESSION_BYTES / SESSION_ANSWER_BYTES) as u64;
        let (mut id, mut sequence) = (1, 0);
        sessions.open(Order::Loose, id, 0).unwrap();
        while sessions.clients.bytes + each <= SESSIONS_BYTES {
            if sequence == numbers {
                (id, sequence) = (id + 1, 0);
                sessions.open(Order::Loose, id, 0).unwrap();
            }
            sequence += 1;
            keep_of(&mut sessions, of(id, sequence), SESSION_ANSWER_BYTES);
        }
        (sessions, id)
    }

    fn keep_of(sessions: &mut Sessions, place: Place, length: usize) {
        assert_eq!(sessions.admit(place, Order::Loose, 0), Admission::Execute);
        let answer = Reply::bulk(vec![b'x'; length]).into();
        sessions.keep(place, Order::Loose, &answer);
    }

    #[test]
    fn all_answers_of_a_shard_have_a_bound_and_what_is_forgotten_is_not_executed() {
        let (mut sessions, last) = full();
        let is_kept = |sessions: &mut Sessions, place| {
            let admission = sessions.admit(place, Order::Loose, 0);
            assert!(matches!(
                admission,
                Admission::Again(_) | Admission::Unknown
            ));
            admission != Admission::Unknown
        };
        let firsts = |sessions: &mut Sessions| -> Vec<bool> {
            (1..=last).map(|id| is_kept(sessions, of(id, 1))).collect()
        };
        assert!(
            firsts(&mut sessions).iter().all(|is_kept| *is_kept),
            "up to the edge"
        );
        let more = SESSIONS_BYTES - sessions.clients.bytes;
        sessions.open(Order::Loose, 0, 0).unwrap();
        keep_of(&mut sessions, of(0, 1), SESSION_ANSWER_BYTES);
        assert!(more < SESSION_ANSWER_BYTES + OUTCOME_BYTES);
        let mut expect = vec![true; last as usize];
        expect[0] = false;
        assert_eq!(firsts(&mut sessions), expect, "one of them makes room");
        assert!(is_kept(&mut sessions, of(1, 2)) && is_kept(&mut sessions, of(0, 1)));
        // Then another one, and a copy of the shard chooses the same.
        let mut out = BytesMut::new();
        sessions.encode(&mut out);
        let mut copy = Sessions::decode(&mut Reader::new(&out)).unwrap();
        for sessions in [&mut sessions, &mut copy] {
            keep_of(sessions, of(0, 2), SESSION_ANSWER_BYTES);
            expect[1] = false;
            assert_eq!(firsts(sessions), expect);
            assert!(sessions.clients.bytes <= SESSIONS_BYTES);
        }
        assert_eq!(sessions, copy);
        // The sessions of nodes have lost nothing by it, and have room.
        sessions.open(Order::Strict, 7, 0).unwrap();
        assert_eq!(
            sessions.admit(of(7, 1), Order::Strict, 0),
            Admission::Execute
        );
    }
}
