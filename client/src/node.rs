//! One node, asked directly: a handle on the connection that all who talk to that node share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, ReplyError, limits, rpc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::backend::{Backend, Life};
use crate::command::{Args, Command};
use crate::connection::Frames;
use crate::error::{Cause, Result};
use crate::url::Credentials;
use crate::verdict::{Fate, Repeat, Verdict, judge};

/// Requests that may wait for the connection's task, besides those that the link holds.
const QUEUE: usize = 1024;
/// How long after its deadline the connection's own word on a request is waited for.
const GRACE: Duration = Duration::from_millis(200);
/// Bytes that a frame needs for a word besides the word.
const WORD_BYTES: usize = 5;

/// A handle on the connection to one node. Cheap to clone; the connection is made when a command
/// needs it, made anew when it broke, and closed when the last handle is gone.
#[derive(Clone)]
pub struct Node {
    address: Arc<str>,
    requests: mpsc::Sender<Request>,
    deadline: Duration,
}

/// A command on its way to the connection's task.
pub struct Request {
    /// Its words.
    pub argv: Vec<Bytes>,
    /// Its place in a session.
    pub place: Option<rpc::Place>,
    /// When to give up.
    pub deadline: Instant,
    /// It goes to the server that its slot is moving to, which has to be told so.
    pub asking: bool,
    /// Settled exactly once.
    pub ticket: Ticket,
}

/// Who waits for a command.
pub struct Ticket {
    /// Where to say what became of it.
    pub fate: oneshot::Sender<Fate>,
    /// The command works through the whole keyspace, and its connection says nothing meanwhile.
    pub is_long: bool,
}

/// The outcome of a request, to be waited for.
pub struct Answer {
    fate: oneshot::Receiver<Fate>,
    address: Arc<str>,
    deadline: Instant,
}

/// How a command goes to a node, besides its words.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Its place in a session.
    pub place: Option<rpc::Place>,
    /// See [`Request::asking`].
    pub asking: bool,
    /// When to give up.
    pub deadline: Instant,
}

impl Way {
    /// Until the deadline, and nothing more.
    pub const fn until(deadline: Instant) -> Self {
        Self {
            place: None,
            asking: false,
            deadline,
        }
    }
}

impl Node {
    /// A node of dht at `host:port`. Has to be called inside a tokio runtime, on which the
    /// connection's task runs.
    #[must_use]
    pub fn new(address: &str, credentials: Option<Credentials>) -> Self {
        Self::through(&Frames::Tcp(credentials), address, Life::Renewed)
    }

    pub(crate) fn through(backend: &dyn Backend, address: &str, life: Life) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let address: Arc<str> = address.into();
        tokio::spawn(backend.serve(Arc::clone(&address), receiver, life));
        Self {
            address,
            requests: sender,
            deadline: limits::DEADLINE,
        }
    }

    /// The same node with another deadline for each call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether its connection has ended, and will not be made again.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(crate) const fn shared_address(&self) -> &Arc<str> {
        &self.address
    }

    /// Sends any command to this node, once.
    ///
    /// # Errors
    /// Any of [`Error`](crate::Error) but a mismatch; `MOVED` comes as not done.
    pub async fn call(&self, words: impl Args) -> Result<Reply> {
        self.run(Command::from_words(words)).await
    }

    /// Sends a command to this node, once.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn run(&self, command: Command) -> Result<Reply> {
        let deadline = Instant::now() + self.deadline;
        let fate = self.send(command, Way::until(deadline)).await.fate().await;
        match judge(fate, Repeat::Never) {
            Verdict::Final(result) => result,
            Verdict::Again(error, _) => Err(error),
        }
    }

    /// Hands a command to the connection, as soon as there is room for it. Commands handed over one
    /// after the other are sent in that order.
    pub(crate) async fn send(&self, command: Command, way: Way) -> Answer {
        let deadline = way.deadline;
        let (sender, fate) = oneshot::channel();
        let ticket = Ticket {
            is_long: command.is_long(),
            fate: sender,
        };
        let request = Request {
            argv: command.words.into_iter().map(Bytes::from).collect(),
            place: way.place,
            asking: way.asking,
            deadline,
            ticket,
        };
        if is_too_long(&request.argv) {
            request.settle(Fate::Answered(too_long().into()));
        } else if let Ok(Ok(room)) = timeout_at(deadline, self.requests.reserve()).await {
            room.send(request);
        } else {
            request.settle(Fate::NotSent(Cause::Busy));
        }
        Answer {
            fate,
            address: Arc::clone(&self.address),
            deadline,
        }
    }
}

/// Whether a command is longer than a server takes, which counts a few bytes a word besides.
pub fn is_too_long(words: &[impl AsRef<[u8]>]) -> bool {
    let lengths = words.iter().map(|word| word.as_ref().len() + WORD_BYTES);
    lengths.sum::<usize>() > limits::QUERY_BYTES
}

/// The server would close the connection on it, with all that waits there.
pub const fn too_long() -> ReplyError {
    ReplyError::TooLong {
        what: "request",
        limit: limits::QUERY_BYTES,
    }
}

impl Request {
    /// Tells the caller.
    pub fn settle(self, fate: Fate) {
        self.ticket.settle(fate);
    }
}

impl Ticket {
    /// Tells the caller, who may have gone.
    pub fn settle(self, fate: Fate) {
        let _ = self.fate.send(fate);
    }
}

impl Answer {
    /// Waits for it. The connection's task settles every request; that it cannot, or not in time,
    /// is told as the worst.
    pub(crate) async fn fate(self) -> Fate {
        let broken = || Cause::Broken {
            address: self.address.to_string(),
            why: "its task has ended".to_owned(),
        };
        match timeout_at(self.deadline + GRACE, self.fate).await {
            Ok(Ok(fate)) => fate,
            Ok(Err(_)) => Fate::Lost(broken()),
            Err(_) => Fate::Lost(Cause::Deadline),
        }
    }
}
