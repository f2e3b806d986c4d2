//! Commands executed as one, on a connection that nobody shares.

use std::sync::{Arc, PoisonError};

use dht_proto::{Reply, ReplyError};
use tokio::time::Instant;

use crate::client::{Client, Shared, random};
use crate::command::{Args, Command, Place};
use crate::error::{Cause, Error, Result};
use crate::node::{Node, Way, is_too_long, too_long};
use crate::pipeline::Pipeline;
use crate::sessions::Seat;
use crate::verdict::{Backoff, Fate, Repeat, Turn, Verdict, doubtful, judge};

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

/// What became of MULTI, the commands and EXEC.
enum Outcome {
    /// What EXEC answered; nothing when a watched key had changed.
    Executed(Option<Vec<Reply>>),
    /// Nothing was executed, and another try may be worth it.
    Again(Error, Turn),
}

impl Client {
    /// WATCH: watches keys of one slot, and gives the connection that does.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::Mismatch`].
    pub async fn watch(&self, keys: impl Args) -> Result<Watch> {
        let mut command = Command::new("WATCH");
        keys.append_to(&mut command);
        let place = command.place_of_keys();
        let deadline = Instant::now() + self.deadline();
        let mut tries = Tries::new(self, place, deadline);
        loop {
            let node = tries.node();
            let fate = node.send(command.clone(), Way::until(deadline)).await;
            // To watch keys twice does no harm: the first connection is gone.
            match judge(fate.fate().await, Repeat::Freely) {
                Verdict::Final(result) => {
                    return result.map(|_| Watch {
                        shared: Arc::clone(self.shared()),
                        node: node.with_deadline(self.deadline()),
                    });
                }
                Verdict::Again(error, turn) => tries.turn(error, turn, &node).await?,
            }
        }
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
        match exec(&self.node, commands.into_commands(), Way::until(deadline)).await? {
            Outcome::Executed(answers) => {
                self.shared.give_back(self.node);
                Ok(answers)
            }
            Outcome::Again(error, _) => Err(error),
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

/// Tries until an answer comes; with a place in a session also when one was lost.
async fn exec_in(
    client: &Client,
    commands: Vec<Command>,
    (place, seat): (Place, Option<&Seat>),
    deadline: Instant,
) -> Result<Vec<Reply>> {
    let mut tries = Tries::new(client, place, deadline);
    let mut is_in_doubt = false;
    loop {
        let node = tries.node();
        let way = Way {
            place: seat.map(Seat::place),
            ..Way::until(deadline)
        };
        // That this try did nothing says nothing of one whose answer was lost.
        let as_known = |error| if is_in_doubt { doubtful(error) } else { error };
        let outcome = exec(&node, commands.clone(), way).await;
        match outcome.map_err(as_known)? {
            Outcome::Executed(answers) => {
                client.shared().give_back(node);
                // Nothing was watched that could have changed.
                return Ok(answers.unwrap_or_default());
            }
            Outcome::Again(error, turn) => {
                let error = as_known(error);
                is_in_doubt |= matches!(error, Error::Unknown(_));
                tries.turn(error, turn, &node).await?;
            }
        }
    }
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

/// Where the next try goes, and how long it waits.
struct Tries<'a> {
    client: &'a Client,
    place: Place,
    redirected: Option<String>,
    backoff: Backoff,
    deadline: Instant,
    first: bool,
}

impl<'a> Tries<'a> {
    const fn new(client: &'a Client, place: Place, deadline: Instant) -> Self {
        Self {
            client,
            place,
            redirected: None,
            backoff: Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS),
            deadline,
            first: true,
        }
    }

    fn node(&mut self) -> Node {
        let shared = self.client.shared();
        match self.redirected.take() {
            Some(address) => shared.own_node(&address),
            None => shared.own_node(shared.node_for(self.place).address()),
        }
    }

    /// Prepares the next try, unless there is no time for one.
    async fn turn(&mut self, error: Error, turn: Turn, node: &Node) -> Result<()> {
        let shared = self.client.shared();
        match &turn {
            Turn::Moved { slot, to } => {
                shared.learn(*slot, to);
                self.redirected = Some(to.clone());
            }
            Turn::Elsewhere => {
                self.redirected = shared.elsewhere(node.address());
                self.place = Place::Anywhere;
            }
            Turn::Later | Turn::Asked { .. } => shared.avoid_seed(node.address()),
        }
        shared.refresh_soon(!matches!(turn, Turn::Moved { .. }));
        let at_once = matches!(turn, Turn::Moved { .. } | Turn::Elsewhere);
        if !std::mem::replace(&mut self.first, false) || !at_once {
            let pause = self.backoff.pause(random());
            if Instant::now() + pause >= self.deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}

/// Sends MULTI, the commands and EXEC together. EXEC goes this way: with its place in a session, if
/// it has one.
async fn exec(node: &Node, commands: Vec<Command>, way: Way) -> Result<Outcome> {
    let repeat = match way.place {
        Some(_) => Repeat::InPlace,
        None => Repeat::Never,
    };
    if commands.iter().any(|command| is_too_long(&command.words)) {
        return Err(Error::Reply(too_long()));
    }
    let queued = Way::until(way.deadline);
    let mut answers = vec![node.send(Command::new("MULTI"), queued).await];
    for command in commands {
        answers.push(node.send(command, queued).await);
    }
    // Of the commands some may not have been sent.
    if Instant::now() >= way.deadline {
        return Err(Error::NotDone(Cause::Deadline));
    }
    let last = node.send(Command::new("EXEC"), way).await;
    let mut refused = None;
    for answer in answers {
        let fate = answer.fate().await;
        // What becomes of a command that was queued is told by EXEC.
        let refusal = match judge(fate, Repeat::Never) {
            Verdict::Final(Ok(_)) | Verdict::Final(Err(Error::Unknown(_))) => None,
            Verdict::Final(Err(error)) => Some((error, None)),
            Verdict::Again(error, turn) => Some((error, Some(turn))),
        };
        refused = refused.or(refusal);
    }
    match (last.fate().await, refused) {
        (Fate::Answered(Reply::Array(answers)), None) => Ok(Outcome::Executed(Some(answers))),
        (Fate::Answered(Reply::Nil | Reply::NilArray), None) => Ok(Outcome::Executed(None)),
        (Fate::Answered(Reply::Error(error)), refused) => after_error(error, refused),
        (Fate::NotSent(_), Some((error, turn))) => again(error, turn),
        (fate, _) => match judge(fate, repeat) {
            Verdict::Final(Ok(reply)) => Err(Error::Mismatch {
                wanted: "the answers of a transaction",
                reply,
            }),
            Verdict::Final(Err(error)) => Err(error),
            Verdict::Again(error, turn) => Ok(Outcome::Again(error, turn)),
        },
    }
}

/// EXEC was refused; a command that was refused before it tells more.
fn after_error(error: ReplyError, refused: Option<(Error, Option<Turn>)>) -> Result<Outcome> {
    if let Some((error, turn)) = refused {
        return again(error, turn);
    }
    match judge(Fate::Answered(Reply::Error(error)), Repeat::Never) {
        Verdict::Again(error, turn) => Ok(Outcome::Again(error, turn)),
        Verdict::Final(Err(error)) => Err(error),
        Verdict::Final(Ok(_)) => Err(Error::Unknown(Cause::Deadline)),
    }
}

fn again(error: Error, turn: Option<Turn>) -> Result<Outcome> {
    match turn {
        Some(turn) => Ok(Outcome::Again(error, turn)),
        None => Err(error),
    }
}
