//! Commands executed as one, on a connection that nobody shares.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use dht_proto::Reply;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::call::{PATIENCE, PATIENCE_BESIDE, SILENCE};
use crate::client::{Client, Shared, random};
use crate::command::{Args, Command, Place};
use crate::course::{BESIDE, Course};
use crate::error::{Cause, Error, Result};
use crate::node::{Node, Way, is_too_long, too_long};
use crate::pipeline::Pipeline;
use crate::sessions::Seat;
use crate::verdict::{Backoff, Fate, Repeat, Turn, Verdict, judge};

/// Pauses between tries of a transaction that was not executed, in milliseconds.
const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_MOST_MS: u64 = 500;
/// Connections to a node that wait for the next transaction.
const SPARE: usize = 16;

/// Keys that are watched, on a connection that nobody shares. What is read through it, and decided
/// on, is written by [`exec`](Self::exec) only if none of the keys has changed meanwhile. Dropped
/// without it, it changes nothing.
#[must_use = "to watch keys does nothing by itself"]
pub struct Watch {
    shared: Arc<Shared>,
    node: Node,
}

impl Client {
    /// WATCH: watches keys of one slot, and gives the connection that does.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::Mismatch`].
    pub async fn watch(&self, keys: impl Args) -> Result<Watch> {
        let mut command = Command::new("WATCH");
        keys.append_to(&mut command);
        if self.deadline().is_zero() {
            return Err(Error::NotDone(Cause::Deadline));
        }
        let place = command.place_of_keys();
        let deadline = Instant::now() + self.deadline();
        // To watch keys twice does no harm: nobody has the other connection.
        let watched = Tries::new(self, place, Repeat::Reads, deadline);
        let watch = |node: Node| watch(node, command.clone(), deadline);
        let (node, ()) = watched.settle(watch).await?;
        Ok(Watch {
            shared: Arc::clone(self.shared()),
            node: node.with_deadline(self.deadline()),
        })
    }
}

impl Watch {
    /// Executes any command at once, on the connection that watches: a read of a watched key.
    ///
    /// # Errors
    /// As [`Node::call`].
    pub async fn call(&self, words: impl Args) -> Result<Reply> {
        self.node.call(words).await
    }

    /// Executes a command at once, on the connection that watches.
    ///
    /// # Errors
    /// As [`Node::call`].
    pub async fn run(&self, command: Command) -> Result<Reply> {
        self.node.run(command).await
    }

    /// MULTI and EXEC: executes the commands as one, or none of them when a watched key has
    /// changed; then there are no answers.
    ///
    /// # Errors
    /// [`Error::Reply`] when a command was refused before any was executed, otherwise any of
    /// [`Error`] but [`Error::Mismatch`]. An error of one of the executed commands is among the
    /// answers. What is watched is watched by this connection: when the shard's leader has changed
    /// meanwhile, [`Error::NotDone`] says so, and the keys have to be watched anew.
    pub async fn exec(self, commands: Pipeline<'_>) -> Result<Option<Vec<Reply>>> {
        let deadline = Instant::now() + self.node.deadline();
        match exec(&self.node, commands.into_commands(), Way::until(deadline)).await {
            Outcome::Done(answers) => {
                self.shared.give_back(self.node);
                Ok(answers)
            }
            Outcome::Refused(error) | Outcome::Judged(Verdict::Again(error, _)) => Err(error),
            Outcome::Judged(Verdict::Final(result)) => Err(unfit(result)),
        }
    }
}

impl Pipeline<'_> {
    /// MULTI and EXEC: executes the commands as one, and once, as a write; their keys have to be of
    /// one slot. Gives the answers, of which some may be errors: the others have taken effect all
    /// the same.
    ///
    /// # Errors
    /// [`Error::Reply`] when a command was refused before any was executed, otherwise any of
    /// [`Error`] but [`Error::Mismatch`].
    pub async fn exec(self) -> Result<Vec<Reply>> {
        let client = self.client();
        if client.deadline().is_zero() {
            return Err(Error::NotDone(Cause::Deadline));
        }
        let deadline = Instant::now() + client.deadline();
        let commands = self.into_commands();
        let place = commands
            .iter()
            .map(Command::place_of_keys)
            .find(|place| *place != Place::Anywhere)
            .unwrap_or(Place::Anywhere);
        let seat = match place {
            Place::Slot(slot) => client.seat(slot, deadline).await.map_err(Error::NotDone)?,
            Place::Anywhere | Place::OwnConnection => None,
        };
        let result = exec_in(client, commands, (place, seat.as_ref()), deadline).await;
        client.shared().leave(seat, &result);
        result
    }
}

/// Tries until an answer comes; with a place in a session also when one was lost, or is late.
async fn exec_in(
    client: &Client,
    commands: Vec<Command>,
    (place, seat): (Place, Option<&Seat>),
    deadline: Instant,
) -> Result<Vec<Reply>> {
    let repeat = match seat {
        Some(_) => Repeat::InPlace,
        None => Repeat::Never,
    };
    let tries = Tries::new(client, place, repeat, deadline);
    let execute = |node: Node| {
        let way = Way {
            place: seat.map(Seat::place),
            ..Way::until(deadline)
        };
        let commands = commands.clone();
        async move { exec(&node, commands, way).await }
    };
    let (node, answers) = tries.settle(execute).await?;
    client.shared().give_back(node);
    // Nothing was watched that could have changed.
    Ok(answers.unwrap_or_default())
}

impl Shared {
    /// Keeps a connection on which nothing is watched or queued.
    fn give_back(&self, node: Node) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let list = spare.entry(Arc::clone(node.shared_address())).or_default();
        if list.len() < SPARE {
            list.push(node);
        }
    }
}

/// What became of one try.
enum Outcome<T> {
    /// It is done.
    Done(T),
    /// What leads up to it was refused, so that this try has done nothing.
    Refused(Error),
    /// What follows from how it ended.
    Judged(Verdict),
}

/// A try that is under way.
type UnderWay<'a, T> = Pin<Box<dyn Future<Output = (Node, Outcome<T>)> + Send + 'a>>;

/// The tries of something that needs a connection of its own.
struct Tries<'a> {
    client: &'a Client,
    course: Course,
    repeat: Repeat,
    /// An earlier try may have done it.
    in_doubt: bool,
    backoff: Backoff,
    /// When the last try began.
    sent: Instant,
    deadline: Instant,
    first: bool,
}

impl<'a> Tries<'a> {
    fn new(client: &'a Client, place: Place, repeat: Repeat, deadline: Instant) -> Self {
        Self {
            client,
            course: Course::new(place),
            repeat,
            in_doubt: false,
            backoff: Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS),
            sent: Instant::now(),
            deadline,
            first: true,
        }
    }

    /// Tries until it is done or refused, or the deadline has passed. Where an answer is late it is
    /// tried on another node as well. Gives the node that has done it.
    async fn settle<T, F>(mut self, attempt: impl Fn(Node) -> F) -> Result<(Node, T)>
    where
        T: Send,
        F: Future<Output = Outcome<T>> + Send,
    {
        let shared = self.client.shared();
        let mut under_way: FuturesUnordered<UnderWay<'_, T>> = FuturesUnordered::new();
        let mut asked = Vec::new();
        loop {
            let node = self.course.own_node(shared);
            self.sent = Instant::now();
            let trying = attempt(node.clone());
            asked.push(Arc::clone(node.shared_address()));
            under_way.push(Box::pin(async move { (node, trying.await) }));
            let (error, turn, from) = loop {
                let next = match self.patience() {
                    Some(until) => timeout_at(until, under_way.next()).await,
                    None => Ok(under_way.next().await),
                };
                let Ok(Some((node, outcome))) = next else {
                    match self.lose_patience(&asked) {
                        Some(late) => break late,
                        None => continue,
                    }
                };
                let from = Arc::clone(node.shared_address());
                let is_last = asked.last() == Some(&from);
                asked.retain(|asked| *asked != from);
                match self.judge(outcome) {
                    Ok(done) => {
                        shared.trust(&from);
                        return Ok((node, done));
                    }
                    // Others may know more.
                    Err(Verdict::Final(Err(Error::Unknown(_)))) if !under_way.is_empty() => {}
                    Err(Verdict::Again(..)) if !is_last && !under_way.is_empty() => {}
                    Err(Verdict::Again(error, turn)) => break (error, turn, from),
                    Err(Verdict::Final(result)) => return Err(unfit(result)),
                }
            };
            if !self.turn(turn, &from).await {
                return self.hear_out(under_way).await.ok_or(error);
            }
        }
    }

    /// There is no time for another try: waits for those before.
    async fn hear_out<T>(
        &self,
        mut under_way: FuturesUnordered<UnderWay<'_, T>>,
    ) -> Option<(Node, T)> {
        while let Some((node, outcome)) = under_way.next().await {
            if let Outcome::Done(done) = outcome {
                return Some((node, done));
            }
        }
        None
    }

    /// Until when nobody else is asked; nothing where nobody else can be.
    fn patience(&self) -> Option<Instant> {
        let may_be_twice = self.repeat != Repeat::Never && self.course.beside() < BESIDE;
        let patience = match self.course.beside() {
            0 => PATIENCE,
            _ => PATIENCE_BESIDE,
        };
        let others_forward = self.client.shared().has_others_forward();
        (may_be_twice && others_forward).then(|| self.sent + patience)
    }

    /// Has another node asked as well, if there is one.
    fn lose_patience(&mut self, asked: &[Arc<str>]) -> Option<(Error, Turn, Arc<str>)> {
        let (turn, from) = self.course.lose_patience(self.client.shared(), asked)?;
        self.in_doubt |= self.repeat == Repeat::InPlace;
        let error = self.repeat.unanswered(Cause::Deadline);
        Some((error, turn, from))
    }

    fn judge<T>(&mut self, outcome: Outcome<T>) -> std::result::Result<T, Verdict> {
        let verdict = match outcome {
            Outcome::Done(done) => return Ok(done),
            Outcome::Judged(verdict) => verdict,
            // Not even EXEC has been looked at.
            Outcome::Refused(Error::Reply(error)) if self.in_doubt => {
                Verdict::Again(Error::NotDone(Cause::Cluster(error)), Turn::Later)
            }
            Outcome::Refused(error) => Verdict::Final(Err(error)),
        };
        if self.in_doubt {
            return Err(verdict.in_doubt());
        }
        self.in_doubt = matches!(verdict, Verdict::Again(Error::Unknown(_), _));
        Err(verdict)
    }

    /// Prepares the next try; says whether there is time for one.
    async fn turn(&mut self, turn: Turn, from: &Arc<str>) -> bool {
        let shared = self.client.shared();
        if turn == Turn::Elsewhere && self.sent.elapsed() >= SILENCE {
            shared.suspect(from);
        }
        // For once only one command can be sent there, and not before the connection has a use.
        let turn = match turn {
            Turn::Asked { .. } => Turn::Later,
            other => other,
        };
        self.course.turn(shared, &turn, from);
        shared.refresh_soon(!matches!(turn, Turn::Moved { .. }));
        let is_first = std::mem::replace(&mut self.first, false);
        let at_once = match turn {
            Turn::Moved { .. } | Turn::Elsewhere => is_first,
            Turn::Beside { .. } => true,
            Turn::Asked { .. } | Turn::Later => false,
        };
        if !at_once {
            let pause = self.backoff.pause(random());
            if Instant::now() + pause >= self.deadline {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
        true
    }
}

/// Sends WATCH.
async fn watch(node: Node, command: Command, deadline: Instant) -> Outcome<()> {
    let answer = node.send(command, Way::until(deadline)).await;
    match judge(answer.fate().await, Repeat::Reads) {
        Verdict::Final(Ok(_)) => Outcome::Done(()),
        verdict => Outcome::Judged(verdict),
    }
}

/// Sends MULTI, the commands and EXEC together. EXEC goes this way: with its place in a session, if
/// it has one. Gives what EXEC answered; nothing when a watched key had changed.
async fn exec(node: &Node, commands: Vec<Command>, way: Way) -> Outcome<Option<Vec<Reply>>> {
    let repeat = match way.place {
        Some(_) => Repeat::InPlace,
        None => Repeat::Never,
    };
    if commands.iter().any(|command| is_too_long(&command.words)) {
        return Outcome::Refused(Error::Reply(too_long()));
    }
    let queued = Way::until(way.deadline);
    let mut answers = vec![node.send(Command::new("MULTI"), queued).await];
    for command in commands {
        answers.push(node.send(command, queued).await);
    }
    // Of the commands some may not have been sent.
    if Instant::now() >= way.deadline {
        return Outcome::Refused(Error::NotDone(Cause::Deadline));
    }
    let last = node.send(Command::new("EXEC"), way).await;
    let mut refused = None;
    for answer in answers {
        let fate = answer.fate().await;
        // What becomes of a command that was queued is told by EXEC.
        let refusal = match judge(fate, Repeat::Never) {
            Verdict::Final(Ok(_)) | Verdict::Final(Err(Error::Unknown(_))) => None,
            Verdict::Final(Err(error)) => Some(Outcome::Refused(error)),
            again @ Verdict::Again(..) => Some(Outcome::Judged(again)),
        };
        refused = refused.or(refusal);
    }
    match (last.fate().await, refused) {
        (Fate::Answered(Reply::Array(answers)), None) => Outcome::Done(Some(answers)),
        (Fate::Answered(Reply::Nil | Reply::NilArray), None) => Outcome::Done(None),
        // A command that was refused before it tells more.
        (Fate::Answered(Reply::Error(_)) | Fate::NotSent(_), Some(refused)) => refused,
        (fate, _) => Outcome::Judged(judge(fate, repeat)),
    }
}

/// Why there is no result: the error, or an answer that is none of a transaction.
fn unfit(result: Result<Reply>) -> Error {
    match result {
        Err(error) => error,
        Ok(reply) => Error::Mismatch {
            wanted: "the answers of a transaction",
            reply,
        },
    }
}
