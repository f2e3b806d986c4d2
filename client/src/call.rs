//! One command of a caller, between its first try and its result.

use std::sync::Arc;
use std::time::Duration;

use dht_proto::{Reply, ReplyError};
use futures_util::future::select_all;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::Shared;
use crate::command::{Command, Place, Plan};
use crate::course::{BESIDE, Course};
use crate::error::{Cause, Error, Result};
use crate::node::{Answer, Way};
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
    command: Command,
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
    /// A command that has not been tried; a fixed one goes to one address only.
    pub fn new(command: Command, fixed: Option<Arc<str>>) -> Self {
        let plan = command.plan();
        let nowhere = "a transaction or a subscription needs a connection of its own, and calls \
                       share theirs; send a pipeline with exec, watch the keys first, or listen \
                       with Client::subscription";
        let goes_out = plan.place != Place::OwnConnection;
        let result = match goes_out {
            true => Err(Error::NotDone(Cause::Deadline)),
            false => Err(Error::Reply(ReplyError::err(nowhere))),
        };
        Self {
            command,
            plan,
            course: Course::new(plan.place),
            fixed,
            seat: None,
            in_doubt: false,
            goes_out,
            under_way: SmallVec::new(),
            sent: Instant::now(),
            result,
        }
    }

    /// The slot in whose session it needs a number.
    pub fn wants_seat(&self) -> Option<u16> {
        match self.plan.place {
            Place::Slot(slot) if self.plan.repeat == Repeat::Never => Some(slot),
            _ => None,
        }
    }

    /// Makes the next try.
    pub async fn send(&mut self, shared: &Shared, deadline: Instant) {
        let node = self.course.node(shared, self.fixed.as_deref());
        let way = Way {
            place: self.seat.as_ref().map(Seat::place),
            asking: self.course.take_asking(),
            deadline,
        };
        self.sent = Instant::now();
        let answer = node.send(self.command.clone(), way).await;
        self.under_way.push(answer);
    }

    /// Waits for an answer. Gives the next turn, unless the call is over.
    pub async fn hear(&mut self, shared: &Shared) -> Option<Turn> {
        loop {
            let until = self.patience(shared);
            let Some((at, fate)) = first_of(&mut self.under_way, until).await else {
                // Others of the node may have been answered meanwhile.
                if self
                    .patience(shared)
                    .is_some_and(|until| Instant::now() < until)
                {
                    continue;
                }
                match self.lose_patience(shared) {
                    Some(turn) => return Some(turn),
                    None => continue,
                }
            };
            let is_last = at + 1 == self.under_way.len();
            let answer = self.under_way.remove(at);
            match self.judge(fate) {
                Verdict::Final(Err(Error::Unknown(_))) if !self.under_way.is_empty() => {}
                Verdict::Again(..) if !is_last => {}
                Verdict::Again(error, turn) => {
                    self.result = Err(error);
                    if turn == Turn::Elsewhere && self.sent.elapsed() >= SILENCE {
                        shared.suspect(answer.address());
                    }
                    self.course.turn(shared, &turn, answer.address());
                    return Some(turn);
                }
                Verdict::Final(result) => {
                    self.finish(shared, &answer, result);
                    return None;
                }
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
                return self.finish(shared, &answer, result);
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
    fn finish(&mut self, shared: &Shared, answer: &Answer, result: Result<Reply>) {
        match &result {
            // Of itself and the cluster a node can tell in any place.
            Ok(_) | Err(Error::Reply(_)) if self.plan.is_asked_twice || self.seat.is_some() => {
                answer.note_progress();
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

/// The first of several answers, by its place among them, if one comes in time; nothing where there
/// are none.
async fn first_of(answers: &mut [Answer], until: Option<Instant>) -> Option<(usize, Fate)> {
    // No answer comes later than its own deadline.
    let far = || Instant::now() + Duration::from_secs(u64::from(u32::MAX));
    let until = until.unwrap_or_else(far);
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
