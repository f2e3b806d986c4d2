//! The client's sessions with the shards, which make a write recognizable when it is sent again.
//!
//! Numbers are given and taken back here; opening a session is the caller's. Knows no connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dht_proto::Reply;
use dht_proto::limits::{SESSION_IDLE, SESSION_WINDOW};
use dht_proto::rpc;
use dht_proto::slot::{SLOTS, shard_of, slots_of};
use tokio::time::Instant;

/// How long writes go without a session, after one was refused, before it is asked for again.
const REFUSED: Duration = Duration::from_secs(10);
/// A session that was not used for so long is left alone: the shard may have forgotten it.
const IDLE: Duration = Duration::from_secs(SESSION_IDLE.as_secs() / 2);

/// The sessions with all shards of a cluster.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many shards the cluster has, once a session has told.
    shards: Option<usize>,
    /// By shard; the only one while the number of shards is not known.
    lines: Vec<Line>,
}

/// What is known of the sessions with one shard.
#[derive(Debug, Default)]
struct Line {
    session: Option<Arc<Session>>,
    /// Until then writes go without one.
    refused_until: Option<Instant>,
    /// Held by who opens one.
    gate: Gate,
}

/// Held by who opens a session, so that nobody else does meanwhile.
pub type Gate = Arc<tokio::sync::Mutex<()>>;

/// How a write goes.
#[derive(Debug)]
pub enum Way {
    /// With a place in a session.
    In(Seat),
    /// Without one.
    Without,
    /// A session has to be opened first, by who gets through the gate.
    Open(Gate),
}

/// A session that is open.
#[derive(Debug)]
struct Session {
    id: u64,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    /// The next to be given.
    next: u64,
    /// Of those given since the oldest whose result is still waited for: whether that is so.
    open: VecDeque<bool>,
    used: Instant,
}

/// A write's number in a session, which it keeps over all tries. Taken back when it is dropped: the
/// shard then refuses what may still be on its way.
#[derive(Debug)]
pub struct Seat {
    session: Arc<Session>,
    number: u64,
}

impl Sessions {
    /// How a write to a slot goes.
    pub fn way(&self, slot: u16, now: Instant) -> Way {
        let mut state = lock(&self.0);
        let line = state.line(slot);
        let seat = line.session.as_ref().and_then(|at| Session::take(at, now));
        match seat {
            Some(seat) => Way::In(seat),
            None if line.refused_until.is_some_and(|until| now < until) => Way::Without,
            None => Way::Open(Arc::clone(&line.gate)),
        }
    }

    /// Takes the answer to `CLUSTER SESSION slot`.
    pub fn opened(&self, slot: u16, answer: &Reply, now: Instant) {
        let Some((id, shards)) = read(slot, answer) else {
            return self.refused(slot, now);
        };
        let mut state = lock(&self.0);
        if state.shards != Some(shards) {
            *state = State {
                shards: Some(shards),
                lines: Vec::new(),
            };
        }
        let numbers = Numbers {
            next: 1,
            open: VecDeque::new(),
            used: now,
        };
        state.line(slot).session = Some(Arc::new(Session {
            id,
            numbers: Mutex::new(numbers),
        }));
    }

    /// No session could be opened for a slot.
    pub fn refused(&self, slot: u16, now: Instant) {
        lock(&self.0).line(slot).refused_until = Some(now + REFUSED);
    }

    /// The shard seems not to know the session of a seat any more: later writes get another one.
    pub fn forget(&self, seat: &Seat) {
        let is_it = |at: &Arc<Session>| Arc::ptr_eq(at, &seat.session);
        for line in &mut lock(&self.0).lines {
            line.session.take_if(|at| is_it(at));
        }
    }
}

impl State {
    fn line(&mut self, slot: u16) -> &mut Line {
        let shards = self.shards.unwrap_or(1);
        if self.lines.is_empty() {
            self.lines.resize_with(shards, Line::default);
        }
        &mut self.lines[shard_of(slot, shards)]
    }
}

/// The id of the session and the number of shards, of which the answer tells one's slots.
fn read(slot: u16, answer: &Reply) -> Option<(u64, usize)> {
    let Reply::Array(parts) = answer else {
        return None;
    };
    let &[Reply::Int(id), Reply::Int(first), Reply::Int(last)] = parts.as_slice() else {
        return None;
    };
    let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
    let width = last.checked_sub(first)?.checked_add(1)?;
    let shards = usize::from(SLOTS / width);
    let is_shard = shards > 0 && slots_of(shard_of(slot, shards), shards) == (first..=last);
    Some((u64::try_from(id).ok()?, shards)).filter(|_| is_shard)
}

impl Session {
    /// Gives the next number, unless the session is used up: so old that the shard may have
    /// forgotten it, or with a result outstanding for so long that the shard would.
    fn take(session: &Arc<Self>, now: Instant) -> Option<Seat> {
        let mut numbers = lock(&session.numbers);
        let is_idle = numbers.open.is_empty() && now >= numbers.used + IDLE;
        if is_idle || numbers.next - numbers.lowest() >= SESSION_WINDOW as u64 {
            return None;
        }
        let number = numbers.next;
        numbers.next += 1;
        numbers.used = now;
        numbers.open.push_back(true);
        let session = Arc::clone(session);
        Some(Seat { session, number })
    }
}

impl Numbers {
    /// The lowest number whose result is still waited for.
    fn lowest(&self) -> u64 {
        self.next - self.open.len() as u64
    }

    fn close(&mut self, number: u64) {
        let place = number.checked_sub(self.lowest());
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(is_open) = place.and_then(|place| self.open.get_mut(place)) {
            *is_open = false;
        }
        while self.open.front() == Some(&false) {
            self.open.pop_front();
        }
    }
}

impl Seat {
    /// What a request says of it.
    pub fn place(&self) -> rpc::Place {
        rpc::Place {
            session: self.session.id,
            sequence: self.number,
            acknowledged: lock(&self.session.numbers).lowest() - 1,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.session.numbers).close(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u16 = 5000;

    fn answer(id: i64, first: i64, last: i64) -> Reply {
        Reply::Array([id, first, last].map(Reply::Int).to_vec())
    }

    /// With a session of the shard of [`SLOT`], one of four.
    fn opened() -> Sessions {
        let sessions = Sessions::default();
        sessions.opened(SLOT, &answer(7, 4096, 8191), Instant::now());
        sessions
    }

    fn seat(sessions: &Sessions) -> Seat {
        match sessions.way(SLOT, Instant::now()) {
            Way::In(seat) => seat,
            way => panic!("{way:?}"),
        }
    }

    fn has_to_open(sessions: &Sessions, slot: u16) -> bool {
        matches!(sessions.way(slot, Instant::now()), Way::Open(_))
    }

    fn numbers(seat: &Seat) -> (u64, u64, u64) {
        let place = seat.place();
        (place.session, place.sequence, place.acknowledged)
    }

    #[test]
    fn numbers_go_up_and_are_acknowledged_up_to_the_lowest_that_is_open() {
        let sessions = opened();
        let (one, two, three) = (seat(&sessions), seat(&sessions), seat(&sessions));
        assert_eq!(numbers(&three), (7, 3, 0));
        drop(two);
        assert_eq!(numbers(&three), (7, 3, 0));
        drop(one);
        assert_eq!(numbers(&three), (7, 3, 2));
        drop(three);
        assert_eq!(numbers(&seat(&sessions)), (7, 4, 3));
    }

    #[test]
    fn a_session_is_of_one_shard() {
        let sessions = opened();
        let in_session = |slot| matches!(sessions.way(slot, Instant::now()), Way::In(_));
        assert!(in_session(4096) && in_session(8191));
        assert!(has_to_open(&sessions, 4095) && has_to_open(&sessions, 8192));
    }

    #[test]
    fn a_full_window_takes_a_new_session() {
        let sessions = opened();
        let first = seat(&sessions);
        for _ in 1..SESSION_WINDOW {
            seat(&sessions);
        }
        assert!(has_to_open(&sessions, SLOT));
        drop(first);
        assert_eq!(numbers(&seat(&sessions)).1, SESSION_WINDOW as u64 + 1);
    }

    #[test]
    fn an_idle_session_is_left_alone() {
        let sessions = opened();
        let later = Instant::now() + IDLE;
        assert!(matches!(sessions.way(SLOT, later), Way::Open(_)));
        let seat = seat(&sessions);
        assert!(matches!(sessions.way(SLOT, later), Way::In(_)));
        drop(seat);
    }

    #[test]
    fn what_is_refused_is_asked_for_again_after_a_while() {
        let sessions = Sessions::default();
        assert!(has_to_open(&sessions, SLOT));
        let now = Instant::now();
        sessions.opened(SLOT, &answer(7, 0, 4095), now);
        assert!(matches!(sessions.way(SLOT, now), Way::Without));
        let later = now + REFUSED;
        assert!(matches!(sessions.way(SLOT, later), Way::Open(_)));
    }

    #[test]
    fn a_forgotten_session_gives_no_more_numbers() {
        let sessions = opened();
        let old = seat(&sessions);
        sessions.forget(&old);
        assert!(has_to_open(&sessions, SLOT));
        sessions.opened(SLOT, &answer(8, 4096, 8191), Instant::now());
        sessions.forget(&old);
        assert_eq!(numbers(&seat(&sessions)), (8, 1, 0));
    }

    #[test]
    fn answers_that_make_no_sense_are_no_sessions() {
        let check = |answer: Reply, expect| assert_eq!(read(SLOT, &answer), expect, "{answer:?}");
        check(answer(7, 4096, 8191), Some((7, 4)));
        check(answer(7, 0, 16383), Some((7, 1)));
        check(answer(7, 5000, 5000), Some((7, 16384)));
        check(answer(7, 4096, 8190), None);
        check(answer(7, 8191, 4096), None);
        check(answer(7, 0, 65535), None);
        check(answer(-7, 4096, 8191), None);
        check(Reply::Int(7), None);
        check(Reply::Array(vec![Reply::Int(7)]), None);
    }
}
