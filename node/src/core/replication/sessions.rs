//! What makes a retry harmless: the answers that senders have not yet acknowledged.
//!
//! A part of a shard's replicated state. A session's tasks are numbered without gaps; each is
//! executed once, in order, and a repeated one gets the first answer again. (After: Ongaro,
//! *Consensus: Bridging Theory and Practice*, 2014, section 6.3.)

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use dht_proto::frame::Malformed;
use dht_proto::{Reply, ReplyError, rpc};

use super::task::Place;
use crate::core::pack::{self, Reader};
use crate::core::time::UnixMs;

/// Sessions of a shard at a time.
pub const SESSIONS: usize = 10_000;
/// A session that was silent for so long, in milliseconds of shard time, may have to make room.
pub const IDLE_MS: u64 = 60_000;
/// Answers kept for a session; its sender waits for no more than these.
pub const WINDOW: usize = 4096;
/// An answer of more bytes than this is kept as done, without what was answered.
pub const KEPT_BYTES: usize = 4096;

/// The sessions of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sessions(BTreeMap<u64, Session>);

/// One sender's tasks.
#[derive(Clone, Debug, PartialEq)]
struct Session {
    /// The last executed number.
    last: u64,
    /// The answers to the numbers up to `last`, the oldest ones left out.
    answers: VecDeque<Reply>,
    /// When it was last used.
    used: UnixMs,
}

/// What has to be done with a task.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// It is the next one: execute it, then [`Sessions::keep`] the answer.
    Execute,
    /// It was executed before: this is its answer.
    Again(Reply),
    /// An earlier one is missing: not executed.
    Gap,
    /// The session is unknown, or the answer is kept no more: not executed now, perhaps before.
    Unknown,
}

impl Sessions {
    /// Opens a session under an id that was never used.
    ///
    /// # Errors
    /// There are too many that were used lately.
    pub fn open(&mut self, id: u64, now: UnixMs) -> Result<(), ReplyError> {
        if self.0.len() >= SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used);
            match oldest.map(|(id, session)| (*id, session.used)) {
                Some((oldest, used)) if used + IDLE_MS <= now => _ = self.0.remove(&oldest),
                _ => return Err(ReplyError::TryAgain("too many sessions".into())),
            }
        }
        let session = Session {
            last: 0,
            answers: VecDeque::new(),
            used: now,
        };
        self.0.insert(id, session);
        Ok(())
    }

    /// Decides about a task.
    pub fn admit(&mut self, place: Place, now: UnixMs) -> Admission {
        let Some(session) = self.0.get_mut(&place.session) else {
            return Admission::Unknown;
        };
        session.used = now;
        session.acknowledge(place.acknowledged);
        match place.sequence {
            next if next == session.last + 1 => Admission::Execute,
            later if later > session.last => Admission::Gap,
            before => session
                .answer(before)
                .map_or(Admission::Unknown, |reply| Admission::Again(reply.clone())),
        }
    }

    /// Keeps the answer to the task that was admitted last in its session.
    pub fn keep(&mut self, place: Place, reply: &Reply) {
        if let Some(session) = self.0.get_mut(&place.session) {
            session.last = place.sequence;
            if session.answers.len() == WINDOW {
                session.answers.pop_front();
            }
            let kept = if bytes_of(reply) > KEPT_BYTES {
                not_kept().into()
            } else {
                reply.clone()
            };
            session.answers.push_back(kept);
        }
    }

    /// Appends all sessions, for a copy of the shard.
    pub fn encode(&self, out: &mut BytesMut) {
        pack::array(out, self.0.len());
        for (id, session) in &self.0 {
            for number in [*id, session.last, session.used] {
                pack::uint(out, number);
            }
            pack::array(out, session.answers.len());
            for answer in &session.answers {
                rpc::append_reply(answer, out);
            }
        }
    }

    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut sessions = BTreeMap::new();
        for _ in 0..from.array(SESSIONS)? {
            let id = from.uint()?;
            let (last, used) = (from.uint()?, from.uint()?);
            let count = from.array(WINDOW)?;
            let answers = (0..count).map(|_| from.reply()).collect::<Result<_, _>>()?;
            sessions.insert(
                id,
                Session {
                    last,
                    answers,
                    used,
                },
            );
        }
        Ok(Self(sessions))
    }

    /// The number up to which a session's tasks are executed.
    #[must_use]
    pub fn last(&self, session: u64) -> Option<u64> {
        self.0.get(&session).map(|session| session.last)
    }
}

impl Session {
    fn acknowledge(&mut self, up_to: u64) {
        let first = self.last + 1 - self.answers.len() as u64;
        let known = up_to.saturating_add(1).saturating_sub(first) as usize;
        self.answers.drain(..known.min(self.answers.len()));
    }

    fn answer(&self, sequence: u64) -> Option<&Reply> {
        let from_the_end = (self.last - sequence) as usize;
        let index = self.answers.len().checked_sub(from_the_end + 1)?;
        self.answers.get(index)
    }
}

/// What a retry is told whose first answer was too long to be kept.
#[must_use]
pub fn not_kept() -> ReplyError {
    ReplyError::Unknown("done, but the reply was too long to be kept for a retry".into())
}

/// Bytes of a reply, about.
fn bytes_of(reply: &Reply) -> usize {
    match reply {
        Reply::Bulk(bytes) | Reply::Text(bytes) => bytes.len(),
        Reply::Array(items) | Reply::Set(items) => 16 + items.iter().map(bytes_of).sum::<usize>(),
        Reply::Map(pairs) => {
            let bytes = |(key, value): &(Reply, Reply)| bytes_of(key) + bytes_of(value);
            16 + pairs.iter().map(bytes).sum::<usize>()
        }
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 5;

    fn place(sequence: u64, acknowledged: u64) -> Place {
        Place {
            session: ID,
            sequence,
            acknowledged,
        }
    }

    fn after(executed: u64) -> Sessions {
        let mut sessions = Sessions::default();
        sessions.open(ID, 0).unwrap();
        for sequence in 1..=executed {
            assert_eq!(sessions.admit(place(sequence, 0), 0), Admission::Execute);
            sessions.keep(place(sequence, 0), &Reply::Int(sequence as i64));
        }
        sessions
    }

    #[test]
    fn a_retry_gets_the_first_answer() {
        let mut sessions = after(3);
        for sequence in 1..=3 {
            let again = sessions.admit(place(sequence, 0), 0);
            assert_eq!(again, Admission::Again(Reply::Int(sequence as i64)));
        }
        assert_eq!(sessions.admit(place(5, 0), 0), Admission::Gap);
        assert_eq!(sessions.admit(place(4, 0), 0), Admission::Execute);
    }

    #[test]
    fn what_was_acknowledged_is_forgotten() {
        let mut sessions = after(3);
        assert_eq!(sessions.admit(place(4, 2), 0), Admission::Execute);
        sessions.keep(place(4, 2), &Reply::Ok);
        assert_eq!(sessions.admit(place(2, 2), 0), Admission::Unknown);
        assert_eq!(
            sessions.admit(place(3, 2), 0),
            Admission::Again(Reply::Int(3))
        );
        assert_eq!(sessions.admit(place(1, u64::MAX), 0), Admission::Unknown);
        assert_eq!(sessions.admit(place(5, 1000), 0), Admission::Execute);
    }

    #[test]
    fn a_retry_older_than_the_window_is_not_executed() {
        let mut sessions = after(WINDOW as u64 + 1);
        assert_eq!(sessions.admit(place(1, 0), 0), Admission::Unknown);
        assert_eq!(
            sessions.admit(place(2, 0), 0),
            Admission::Again(Reply::Int(2))
        );
    }

    #[test]
    fn an_unknown_session_executes_nothing() {
        assert_eq!(
            Sessions::default().admit(place(1, 0), 0),
            Admission::Unknown
        );
    }

    #[test]
    fn a_copy_knows_the_same_answers() {
        let mut sessions = after(3);
        sessions.open(9, 77).unwrap();
        let mut out = BytesMut::new();
        sessions.encode(&mut out);
        assert_eq!(Sessions::decode(&mut Reader::new(&out)), Ok(sessions));
        assert!(Sessions::decode(&mut Reader::new(&out[..out.len() - 1])).is_err());
    }

    #[test]
    fn long_answers_are_not_kept() {
        let mut sessions = after(0);
        for (sequence, length) in [(1, KEPT_BYTES), (2, KEPT_BYTES + 1)] {
            sessions.keep(place(sequence, 0), &Reply::bulk(vec![b'x'; length]));
        }
        assert!(matches!(
            sessions.admit(place(1, 0), 0),
            Admission::Again(Reply::Bulk(_))
        ));
        assert_eq!(
            sessions.admit(place(2, 0), 0),
            Admission::Again(not_kept().into())
        );
    }

    #[test]
    fn only_an_idle_session_makes_room() {
        let mut sessions = Sessions::default();
        for id in 0..SESSIONS as u64 {
            sessions.open(id, id).unwrap();
        }
        let full = SESSIONS as u64;
        assert!(sessions.open(full, IDLE_MS - 1).is_err());
        assert_eq!(sessions.open(full, IDLE_MS), Ok(()));
        assert_eq!((sessions.last(0), sessions.last(1)), (None, Some(0)));
    }
}
