//! One command of a caller, between its first try and its result.

use std::sync::Arc;
use std::time::Duration;

use dht_proto::{Reply, ReplyError};
use futures_util::future::select_all;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::Shared;
use crate::command::{Place, Plan};
use crate::course::{BESIDE, Course};
use crate::error::{Cause, Error, Result};
use crate::node::{Answer, Node, Request, Way};
use crate::parcel::Parcel;
use crate::routes::Routes;
use crate::sessions::Seat;
use crate::verdict::{Fate, Repeat, Turn, Verdict, judge};

/// So long an answer is waited for before another node is asked as well: the first may be cut off
/// from the others, and say that it is there all the same.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// The same of the node that is asked as well.
pub const PATIENCE_BESIDE: Duration = Duration::from_millis(500);
/// A node that has answered others so lately has much to do, and is given more time, ...
const BUSY: Duration = Duration::from_millis(1000);
/// ... up to so much in all.
const BUSY_PATIENCE: Duration = Duration::from_millis(2000);
/// A node that is gone, or refuses, says so much sooner. One that has not is silent.
pub const SILENCE: Duration = Duration::from_millis(1000);

/// A command between its first try and its result.
pub struct Call {
    /// Holds the command, by this index; the first try is handed over with it.
    parcel: Arc<Parcel>,
    index: usize,
    was_tried: bool,
    plan: Plan,
    course: Course,
    /// Where every try goes.
    fixed: Option<Arc<str>>,
    /// Its number in a session, which it keeps over all tries.
    pub seat: Option<Seat>,
    /// An earlier try may have done it.
    in_doubt: bool,
    /// It goes to a node at all.
    pub goes_out: bool,
    /// The tries that may still be answered, the last one behind.
    under_way: SmallVec<[Answer; 1]>,
    /// When the last try was sent.
    sent: Instant,
    /// Its result, or what it would be if the next try were the last.
    pub result: Result<Reply>,
}

impl Call {
    /// The commands of a parcel, which have not been tried.
    pub fn each(parcel: &Arc<Parcel>, now: Instant) -> impl Iterator<Item = Self> {
        let places = 0..parcel.commands().len();
        places.map(move |index| Self::new(Arc::clone(parcel), index, now))
    }

    /// One of them.
    pub fn new(parcel: Arc<Parcel>, index: usize, now: Instant) -> Self {
        let plan = parcel.commands()[index].plan();
        let nowhere = "a transaction or a subscription needs a connection of its own, and calls \
                       share theirs; send a pipeline with exec, watch the keys first, or listen \
                       with Client::subscription";
        let goes_out = plan.place != Place::OwnConnection;
        let result = match goes_out {
            true => Err(Error::NotDone(Cause::Deadline)),
            false => Err(Error::Reply(ReplyError::err(nowhere))),
        };
        Self {
            parcel,
            index,
            was_tried: false,
            plan,
            course: Course::new(plan.place),
            fixed: None,
            seat: None,
            in_doubt: false,
            goes_out,
            under_way: SmallVec::new(),
            sent: now,
            result,
        }
    }

    /// The same, where every try goes to one address, if it is said.
    pub fn at(mut self, fixed: Option<Arc<str>>) -> Self {
        self.fixed = fixed;
        self
    }

    /// The slot in whose session it needs a number.
    pub fn wants_seat(&self) -> Option<u16> {
        match self.plan.place {
            Place::Slot(slot) if self.plan.repeat == Repeat::Never => Some(slot),
            _ => None,
        }
    }

    /// The node for the next try, found by its address.
    pub fn node<T>(&mut self, shared: &Shared, routes: &Routes, find: impl FnOnce(&str) -> T) -> T {
        match self.course.next() {
            Some(address) => find(&address),
            None => match &self.fixed {
                Some(address) => find(address),
                None => shared.next_for(routes, self.course.place(), find),
            },
        }
    }

    /// The next try, at a node: what is to be handed over; nothing if it was refused already.
    pub fn next_try(&mut self, node: &Node, now: Instant, deadline: Instant) -> Option<Request> {
        let way = Way {
            place: self.seat.as_ref().map(Seat::place),
            asking: self.course.take_asking(),
            deadline,
        };
        let (parcel, index) = if std::mem::replace(&mut self.was_tried, true) {
            let command = self.parcel.commands()[self.index].clone();
            (Parcel::of_one(command), 0)
        } else {
            (Arc::clone(&self.parcel), self.index)
        };
        let ticket = parcel.ticket(index, self.plan.is_long);
        self.sent = now;
        self.under_way.push(node.answer_to(parcel, index, deadline));
        Request::new(ticket, way)
    }

    /// Takes an answer that is there, at this time. Gives the next turn, or that the call is over,
    /// if it says so.
    pub fn hear_now(&mut self, shared: &Shared, now: Instant) -> Option<Option<Turn>> {
        let is_known = |(at, answer): (usize, &Answer)| Some((at, answer.fate_now()?));
        let known = self.under_way.iter().enumerate().find_map(is_known)?;
        match self.take(shared, known, now) {
            Heard::Enough(turn) => Some(turn),
            Heard::Little => None,
        }
    }

    /// Waits for an answer. Gives the next turn, unless the call is over.
    pub async fn hear(&mut self, shared: &Shared) -> Option<Turn> {
        loop {
            let until = self.patience(shared);
            let heard = first_of(&mut self.under_way, until).await;
            let now = Instant::now();
            if let Some(first) = heard {
                if let Heard::Enough(turn) = self.take(shared, first, now) {
                    return turn;
                }
                continue;
            }
            // Others of the node may have been answered meanwhile.
            if self.patience(shared).is_some_and(|until| now < until) {
                continue;
            }
            if let Some(turn) = self.lose_patience(shared) {
                return Some(turn);
            }
        }
    }

    /// Takes the fate of a try, by its place among those under way.
    fn take(&mut self, shared: &Shared, (at, fate): (usize, Fate), now: Instant) -> Heard {
        let is_last = at + 1 == self.under_way.len();
        let answer = self.under_way.remove(at);
        match self.judge(fate) {
            Verdict::Final(Err(Error::Unknown(_))) if !self.under_way.is_empty() => Heard::Little,
            Verdict::Again(..) if !is_last => Heard::Little,
            Verdict::Again(error, turn) => {
                self.result = Err(error);
                if turn == Turn::Elsewhere && now >= self.sent + SILENCE {
                    shared.suspect(answer.address());
                }
                self.course.turn(shared, &turn, answer.address());
                Heard::Enough(Some(turn))
            }
            Verdict::Final(result) => {
                self.finish(shared, &answer, result, now);
                Heard::Enough(None)
            }
        }
    }

    /// There is no time for another try: waits for the answers to those before.
    pub async fn hear_out(&mut self, shared: &Shared) {
        while let Some((at, fate)) = first_of(&mut self.under_way, None).await {
            let answer = self.under_way.remove(at);
            if let Verdict::Final(result) = self.judge(fate)
                && !matches!(result, Err(Error::Unknown(_)))
            {
                return self.finish(shared, &answer, result, Instant::now());
            }
        }
    }

    /// Until when nobody else is asked; nothing where nobody else can be.
    fn patience(&self, shared: &Shared) -> Option<Instant> {
        let is_asked_twice = self.plan.is_asked_twice || self.seat.is_some();
        let most = if self.plan.is_long { 1 } else { BESIDE };
        if !is_asked_twice || self.course.beside() >= most || !shared.has_others_forward() {
            return None;
        }
        if self.course.beside() > 0 {
            return Some(self.sent + PATIENCE_BESIDE);
        }
        let progress = self.under_way.last()?.last_progress();
        let busy = (progress + BUSY).min(self.sent + BUSY_PATIENCE);
        Some(busy.max(self.sent + PATIENCE))
    }

    /// Has another node asked as well, if there is one.
    fn lose_patience(&mut self, shared: &Shared) -> Option<Turn> {
        let asked = self.under_way.iter().map(|it| Arc::clone(it.address()));
        let asked: SmallVec<[Arc<str>; BESIDE + 1]> = asked.collect();
        let (turn, from) = self.course.lose_patience(shared, &asked)?;
        self.in_doubt |= self.repeat() == Repeat::InPlace;
        self.result = Err(self.repeat().unanswered(Cause::Deadline));
        self.course.turn(shared, &turn, &from);
        Some(turn)
    }

    const fn repeat(&self) -> Repeat {
        match (self.plan.repeat, &self.seat) {
            (Repeat::Never, Some(_)) => Repeat::InPlace,
            (repeat, _) => repeat,
        }
    }

    fn judge(&mut self, fate: Fate) -> Verdict {
        let repeat = self.repeat();
        let is_lost = matches!(fate, Fate::Lost(_));
        let verdict = judge(fate, repeat);
        if self.in_doubt {
            return verdict.in_doubt();
        }
        self.in_doubt = is_lost && repeat == Repeat::InPlace;
        verdict
    }

    /// Takes the result. What else is under way is of no use any more.
    fn finish(&mut self, shared: &Shared, answer: &Answer, result: Result<Reply>, now: Instant) {
        match &result {
            // Of itself and the cluster a node can tell in any place.
            Ok(_) | Err(Error::Reply(_)) if self.plan.is_asked_twice || self.seat.is_some() => {
                answer.note_progress(now);
                shared.trust(answer.address());
            }
            Err(Error::Unknown(_)) => shared.avoid_seed(answer.address()),
            _ => {}
        }
        self.under_way.clear();
        shared.leave(self.seat.take(), &result);
        self.result = result;
    }
}

/// What was heard of a call.
enum Heard {
    /// Nothing that others under way could not tell better.
    Little,
    /// The next turn, or that the call is over.
    Enough(Option<Turn>),
}

/// The first of several answers, by its place among them, if one comes in time; nothing where there
/// are none.
async fn first_of(answers: &mut [Answer], until: Option<Instant>) -> Option<(usize, Fate)> {
    if let [answer] = answers {
        return answer.fate_by(until).await.map(|fate| (0, fate));
    }
    if answers.is_empty() {
        return None;
    }
    let waiting = answers
        .iter_mut()
        .map(|answer| Box::pin(answer.fate_by(until)));
    let (fate, at, _) = select_all(waiting).await;
    fate.map(|fate| (at, fate))
}
